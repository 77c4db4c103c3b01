"""Which rows may join a history: nothing twice, and none of a clock that is wrong."""

from __future__ import annotations

import datetime

from ansible_collections.matrixon.ops.plugins.module_utils._capacity.history import Content, decide
from ansible_collections.matrixon.ops.plugins.module_utils._capacity.resources import Row

NOON = datetime.datetime(2026, 11, 27, 12, tzinfo=datetime.timezone.utc)


def row(hours: float = 0, host: str = "db1", resource: str = "memory") -> Row:
    return Row(NOON + datetime.timedelta(hours=hours), "example", host, resource, 10, 100, "B")


def test_new_rows_are_added_and_the_same_run_twice_adds_nothing() -> None:
    rows = [row(), row(resource="disk:/")]
    assert decide(rows, Content(), NOON).add == rows
    again = decide(rows, Content(rows=rows), NOON)
    assert (again.add, again.known, again.refused) == ([], rows, [])
    # Twice in one call is once, too.
    assert decide([row(), row()], Content(), NOON).add == [row()]


def test_a_clock_that_went_back_is_refused_and_hosts_stand_for_themselves() -> None:
    content = Content(rows=[row(), row(host="db2")])
    decision = decide([row(-2), row(1, host="db2")], content, NOON + datetime.timedelta(hours=1))
    assert decision.add == [row(1, host="db2")]
    ((refused, reason),) = decision.refused
    assert refused == row(-2)
    assert reason == "the clock of db1 went back: it read 2026-11-27T10:00:00Z after 2026-11-27T12:00:00Z"


def test_a_clock_that_is_ahead_is_refused_but_for_a_few_minutes() -> None:
    now = NOON - datetime.timedelta(minutes=4)
    assert decide([row()], Content(), now).add == [row()]
    ((_row, reason),) = decide([row(24)], Content(), NOON).refused
    assert reason == "the clock of db1 is ahead: it read 2026-11-28T12:00:00Z when it was 2026-11-27T12:00:00Z here"


def test_a_history_from_the_future_tells_the_way_out() -> None:
    ((_row, reason),) = decide([row()], Content(rows=[row(9000)]), NOON).refused
    assert reason.endswith("which is still to come; remove the rows of that time from the history")
