"""Samples, their rates and their spread, on a clock that the test moves."""

from __future__ import annotations

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._performance import sampling
from ansible_collections.matrixon.ops.plugins.module_utils._performance.sampling import Clock, Interval, Sample
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, Facts, ProbeFailure

EPOCH = 1_795_780_800.0


class Hands:
    """A clock that only moves when somebody waits or works."""

    def __init__(self) -> None:
        self.at = 0.0
        self.waited: list[float] = []

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.at += seconds

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.at, lambda: EPOCH + self.at, self.wait)


def test_a_slow_reading_takes_nothing_from_the_steps_after_it() -> None:
    hands = Hands()

    def read() -> Facts:
        hands.at += 0.25
        return {}

    samples = sampling.sample(read, Interval(4, 4, hands.clock), Deadline(10, lambda: hands.at), "reading")
    assert [one.tick for one in samples] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert hands.waited == [0.75, 0.75, 0.75, 0.75]


def test_a_reading_longer_than_its_step_does_not_wait() -> None:
    hands = Hands()

    def read() -> Facts:
        hands.at += 3
        return {}

    samples = sampling.sample(read, Interval(4, 2, hands.clock), Deadline(60, lambda: hands.at), "reading")
    assert len(samples) == 3 and hands.waited == []


def test_the_deadline_ends_the_sampling() -> None:
    hands = Hands()
    with pytest.raises(ProbeFailure, match="sampling the host: no answer within 3 s"):
        sampling.sample(dict, Interval(10, 10, hands.clock), Deadline(3, lambda: hands.at), "sampling the host")
    assert hands.at <= 3.001


def samples(*values: float | None, step: float = 2.0) -> list[Sample]:
    return [Sample(at * step, EPOCH + at * step, {"it": value}) for at, value in enumerate(values)]


def test_rates_are_those_of_each_step_and_a_counter_that_went_back_is_a_gap() -> None:
    points = sampling.rates(samples(10, 14, 3, 5), "it", lambda value: value)
    assert [value for _when, value in points] == [2.0, None, 1.0]
    assert [when for when, _value in points][0] == "2026-11-27T12:00:02.000Z"
    assert sampling.rate(samples(10, 14, 30), "it", lambda value: value) == 5.0
    assert sampling.rate(samples(10, 14, 3), "it", lambda value: value) is None


def test_the_spread_knows_what_was_not_measured() -> None:
    points = sampling.rates(samples(0, 2, 8), "it", lambda value: value)
    assert sampling.spread(points) == sampling.Spread(1.0, 2.0, 3.0)
    assert sampling.spread([]) is None and sampling.spread([["2026-11-27T00:00:00.000Z", None]]) is None


def test_a_part_that_failed_fails_for_who_asks() -> None:
    failed = [Sample(0.0, EPOCH, {"it": ProbeFailure("auth", "not allowed")})] * 2
    with pytest.raises(ProbeFailure, match="not allowed"):
        sampling.rate(failed, "it", lambda value: value)
