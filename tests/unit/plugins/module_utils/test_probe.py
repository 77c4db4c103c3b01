"""Tests of the deadline that everything below a probe shares."""

from __future__ import annotations

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._probe import TIMEOUT, Deadline, ProbeFailure


def test_time_left_shrinks_to_zero_and_never_below(clock) -> None:
    deadline = Deadline(5, clock)
    left = [deadline.remaining()]
    for step in (3, 1.5, 0.5, 60):
        clock.now += step
        left.append(deadline.remaining())
    assert left == [5, 2, 0.5, 0, 0]
    assert (deadline.elapsed(), deadline.seconds) == (65, 5)


def test_require_returns_what_is_left(clock) -> None:
    deadline = Deadline(5, clock)
    clock.now += 4
    assert deadline.require("asking db1") == 1


def test_require_fails_at_the_very_end_and_names_what_was_going_on(clock) -> None:
    deadline = Deadline(5, clock)
    clock.now += 5
    with pytest.raises(ProbeFailure) as caught:
        deadline.require("asking db1")
    assert caught.value.kind == TIMEOUT
    assert caught.value.message == "asking db1: no answer within 5 s"


@pytest.mark.parametrize(("seconds", "expected"), [(2, 2), (30, 6)], ids=["shorter", "never longer"])
def test_inner_deadline_ends_with_the_outer_one(clock, seconds: float, expected: float) -> None:
    outer = Deadline(10, clock)
    clock.now += 4
    inner = outer.within(seconds)
    assert (inner.remaining(), inner.elapsed()) == (expected, 0)
    clock.now += expected
    assert inner.remaining() == 0
