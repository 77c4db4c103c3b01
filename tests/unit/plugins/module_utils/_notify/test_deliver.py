"""Tests of how often a channel is tried, and of what is said at the end. Time is set by hand."""

from __future__ import annotations

import threading
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._notify.deliver import UNCERTAIN, Telling, tell_all
from ansible_collections.matrixon.ops.plugins.module_utils._notify.model import (
    Channel,
    Delivery,
    DeliveryFailure,
    Result,
)
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

CHANNEL = Channel("one", "webhook", {"webhook_url": "https://h.test/secret-path"}, "info", (), 10.0)


class Playing:
    """A sender whose tries end as they are told, each after some seconds."""

    def __init__(self, clock: t.Any, *ends: t.Any, repeatable: bool = False, takes: float = 0.0) -> None:
        self.clock, self.ends, self.repeatable, self.takes = clock, list(ends), repeatable, takes
        self.limits: list[float] = []

    def destination(self) -> str:
        return "nowhere"

    def send(self, deadline: Deadline) -> Delivery:
        self.limits.append(round(deadline.seconds, 3))
        self.clock.now += self.takes
        end = self.ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return t.cast(Delivery, end)


def failure(again: bool = True, wait: float | None = None, uncertain: bool = False) -> DeliveryFailure:
    return DeliveryFailure("refused", "no", again, wait, uncertain)


def run(clock: t.Any, sender: t.Any, attempts: int = 3, seconds: float = 10.0) -> tuple[Result, list[float]]:
    slept: list[float] = []

    def sleep(wait: float) -> None:
        slept.append(wait)
        clock.now += wait

    return Telling(CHANNEL, sender, attempts, Deadline(seconds, clock), sleep).run(), slept


def test_sent_at_once(clock: t.Any) -> None:
    result, slept = run(clock, Playing(clock, Delivery("taken"), takes=2))
    assert (result.status, result.message, len(result.tries), slept) == ("sent", "taken", 1, [])
    assert (result.duration_ms, result.error_kind, result.uncertain) == (2000, None, False)


def test_tried_again_after_a_longer_pause_each_time(clock: t.Any) -> None:
    result, slept = run(clock, Playing(clock, failure(), failure(), Delivery("taken")))
    assert (result.status, len(result.tries), slept) == ("sent", 3, [0.5, 1.0])
    assert [one["status"] for one in result.tries] == ["critical", "critical", "ok"]


def test_given_up_after_so_many_attempts(clock: t.Any) -> None:
    result, slept = run(clock, Playing(clock, *[failure()] * 5), attempts=2)
    assert (result.status, len(result.tries), slept) == ("failed", 2, [0.5])


def test_not_tried_again_where_that_could_do_harm(clock: t.Any) -> None:
    result, slept = run(clock, Playing(clock, failure(again=False, uncertain=True), Delivery("taken")))
    assert (result.status, len(result.tries), slept) == ("failed", 1, [])
    assert result.uncertain and result.message == f"no; {UNCERTAIN}"
    assert result.tries[0]["status"] == "unknown"


def test_waits_as_long_as_it_is_asked_to_and_no_longer_than_there_is_time(clock: t.Any) -> None:
    result, slept = run(clock, Playing(clock, failure(wait=7.0), Delivery("taken")))
    assert (result.status, slept) == ("sent", [7.0])
    result, slept = run(clock, Playing(clock, failure(wait=10.0), Delivery("taken")))
    assert (result.status, slept) == ("failed", [])
    assert result.message == "no; the next try would be in 10 s, which is too late"


def test_half_of_the_time_for_a_try_that_can_be_repeated(clock: t.Any) -> None:
    sender = Playing(clock, failure(), failure(), failure(), repeatable=True)
    run(clock, sender)
    assert sender.limits == [5.0, 4.75, 8.5]
    sender = Playing(clock, failure(), failure())
    run(clock, sender, attempts=2)
    assert sender.limits == [10.0, 9.5]


def test_repeat_that_was_taken_leaves_no_doubt(clock: t.Any) -> None:
    result, _slept = run(clock, Playing(clock, failure(uncertain=True), Delivery("taken"), repeatable=True))
    assert (result.status, result.uncertain, result.message) == ("sent", False, "taken")


def test_secret_in_an_answer_is_not_told(clock: t.Any) -> None:
    words = DeliveryFailure("refused", "Cannot POST\n/secret-path")
    result, _slept = run(clock, Playing(clock, words))
    assert result.message == "Cannot POST ***" == result.tries[0]["message"]


def test_none_waits_for_one_that_is_stuck_where_no_deadline_reaches() -> None:
    ended = threading.Event()

    class Stuck:
        repeatable = False

        def destination(self) -> str:
            return "a resolver"

        def send(self, _deadline: Deadline) -> Delivery:
            ended.wait(30)
            return Delivery("too late")

    class Broken(Stuck):
        def send(self, _deadline: Deadline) -> Delivery:
            raise ZeroDivisionError("secret-path")

    class Good(Stuck):
        def send(self, _deadline: Deadline) -> Delivery:
            return Delivery("taken")

    short = Channel("one", "webhook", {}, "info", (), 0.2)
    stuck, broken, good = tell_all([(short, Stuck()), (CHANNEL, Broken()), (CHANNEL, Good())], 3)
    ended.set()
    assert (stuck.status, stuck.error_kind, stuck.uncertain) == ("failed", "timeout", True)
    assert stuck.message == f"a resolver: no answer within 0.2 s; {UNCERTAIN}"
    assert (broken.status, broken.error_kind) == ("failed", "internal")
    assert broken.message.startswith("ZeroDivisionError in the program that sends") and "secret" not in broken.message
    assert (good.status, good.message) == ("sent", "taken")


@pytest.mark.parametrize("number", [1, 40])
def test_results_are_in_the_order_of_the_channels(number: int, clock: t.Any) -> None:
    senders = [
        (Channel(str(one), "webhook", {}, "info", (), 30.0), Playing(clock, Delivery(str(one))))
        for one in range(number)
    ]
    results = tell_all(t.cast(t.Any, senders), 1)
    assert [(one.channel, one.message) for one in results] == [(str(one), str(one)) for one in range(number)]
