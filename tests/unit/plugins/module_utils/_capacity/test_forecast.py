"""What is said of a resource: a verdict, one sentence, and pictures as data."""

from __future__ import annotations

import dataclasses
import datetime
import random
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._capacity import forecast
from ansible_collections.matrixon.ops.plugins.module_utils._capacity.forecast import Bag, Outlook, Policy
from ansible_collections.matrixon.ops.plugins.module_utils._capacity.resources import KINDS, Row

GIB = 1024**3
NOW = datetime.datetime(2026, 11, 27, 9, tzinfo=datetime.timezone.utc)
POLICY = Policy()


def history(
    resource: str, first: float, each: float, limit: float | None, days: int = 60, host: str = "db1"
) -> list[Row]:
    """A reading a day up to now, growing each day, with a little noise that is always the same."""
    rng = random.Random(days)
    unit = KINDS[resource.partition(":")[0]].unit
    return [
        Row(
            NOW - datetime.timedelta(days=days - 1 - day),
            "example",
            host,
            resource,
            first + each * day + abs(each) * rng.gauss(0, 0.2),
            limit,
            unit,
        )
        for day in range(days)
    ]


def outlook(*given: t.Any, policy: Policy = POLICY, **more: t.Any) -> Outlook:
    rows = history(*given, **more)
    return forecast.look(rows[-1], Bag(rows), policy)


def said(one: Outlook) -> str:
    return forecast.sentence(one, POLICY)


def test_a_disk_that_fills_says_when_and_what_to_add_by_when() -> None:
    one = outlook("disk:/var", 40 * GIB, GIB, 140 * GIB)
    found = forecast.check(one, POLICY)
    assert found is not None
    assert (found.name, found.target, found.status) == ("capacity_disk_growth", "/var", "warning")
    assert found.value is not None and found.value / 86400 == pytest.approx(41, abs=2)
    assert said(one) == found.message
    assert found.message.startswith("disk of /var on db1 is full in 4")
    assert "days at the present rate (" in found.message
    assert "90 % sure); add 1" in found.message
    reached = t.cast("t.Any", one.reached)
    assert reached.earliest < reached.days < reached.latest
    # Not later than the early edge of the interval.
    by = NOW.date() + datetime.timedelta(days=reached.earliest)
    assert found.message.endswith(f" by {forecast.date_text(by)}")


@pytest.mark.parametrize(
    ("limit", "status"),
    [(105 * GIB, "critical"), (112 * GIB, "critical"), (140 * GIB, "warning"), (180 * GIB, "ok"), (9000 * GIB, "ok")],
)
def test_the_verdict_follows_the_days_that_are_left(limit: float, status: str) -> None:
    # 100 GiB are used now, and each day takes one more.
    found = forecast.check(outlook("disk:/var", 41 * GIB, GIB, limit), POLICY)
    assert found is not None and found.status == status


def test_a_scaling_trigger_is_at_most_a_warning() -> None:
    one = outlook("memory", 4 * GIB, 0.1 * GIB, 13 * GIB)
    found = forecast.check(one, POLICY)
    assert found is not None and found.value is not None
    assert found.value / 86400 < 14
    assert found.status == "warning"
    assert "memory on db1 is at 80 % of its limit of 13.0 GiB in" in found.message


def test_beyond_its_limit_now_is_said_and_what_to_add() -> None:
    found = forecast.check(outlook("service_connections:main", 100_000, 1000, 150_000), POLICY)
    assert found is not None
    assert (found.status, found.value) == ("warning", 0)
    assert found.message.startswith("client connections of main on db1 are at 10")
    assert "; make room for 1" in found.message
    assert found.message.endswith("more client connections now")


def test_what_does_not_grow_or_shrinks_is_never_full() -> None:
    flat = outlook("disk:/var", 40 * GIB, 0.0, 100 * GIB)
    assert said(flat).endswith("and is not full within 365 days")
    shrinking = outlook("disk:/var", 90 * GIB, -0.5 * GIB, 100 * GIB)
    assert "shrinks by 51" in said(shrinking)
    found = forecast.check(shrinking, POLICY)
    assert found is not None and (found.status, found.value) == ("ok", None)


def test_a_step_is_told_of() -> None:
    rows = history("disk:/var", 40 * GIB, GIB / 10, 500 * GIB)
    jump = NOW - datetime.timedelta(days=9)
    jumped = [dataclasses.replace(row, value=row.value + (50 * GIB if row.time >= jump else 0)) for row in rows]
    one = forecast.look(jumped[-1], Bag(jumped), POLICY)
    assert ", stepped up by 49.9 GiB on 18 November 2026" in said(one)
    assert forecast.data(one)["steps"][0]["date"] == "2026-11-18"


@pytest.mark.parametrize(("days", "window"), [(1, 28), (20, 28), (60, 90)])
def test_a_window_longer_than_the_history_is_not_enough_data(days: int, window: int) -> None:
    policy = Policy(window=window)
    one = outlook("disk:/var", 40 * GIB, GIB, 140 * GIB, days=days, policy=policy)
    found = forecast.check(one, policy)
    assert found is not None and found.status == "skipped"
    assert "not enough data: the history has" in str(found.skipped_reason)
    assert forecast.answer([one], policy).startswith("Not enough data: the history has")
    assert "disk of /var on db1 is fullest, at" in forecast.answer([one], policy)


def test_what_has_no_limit_has_no_verdict_and_a_trend() -> None:
    one = outlook("events", 1_000_000, 5000, None)
    assert forecast.check(one, POLICY) is None
    assert said(one).startswith("events grow by 4 9")
    assert forecast.data(one)["direction"] == "grows"


def test_a_limit_of_the_inventory_is_looked_ahead_to() -> None:
    found = forecast.check(outlook("users", 1000, 20, 3000), POLICY)
    assert found is not None and found.status == "warning"
    assert "users are at 100 % of their limit of 3 000 in 4" in found.message


def test_a_failover_goes_on_with_the_history() -> None:
    rows = history("users", 1000, 20, 3000)
    moved = [
        Row(r.time, r.deployment, "db2" if place > 40 else "db1", r.resource, r.value, r.limit, r.unit)
        for place, r in enumerate(rows)
    ]
    assert forecast.look(moved[-1], Bag(moved), POLICY).grown is not None
    disks = [
        Row(r.time, r.deployment, "db2" if place > 40 else "db1", "disk:/var", r.value, r.limit, "B")
        for place, r in enumerate(rows)
    ]
    assert forecast.look(disks[-1], Bag(disks), POLICY).grown is None


def test_rows_after_this_run_have_no_say() -> None:
    rows = history("disk:/var", 40 * GIB, GIB, 140 * GIB)
    assert len(Bag(rows).of(rows[30])) == 31


def test_the_answer_is_what_is_full_first() -> None:
    soon = outlook("disk:/var", 40 * GIB, GIB, 140 * GIB)
    late = outlook("disk:/", 10 * GIB, GIB / 2, 100 * GIB, host="db2")
    never = outlook("memory", GIB, 0.0, 8 * GIB)
    new = outlook("disk:/srv", GIB, GIB, 100 * GIB, days=3)
    assert forecast.answer([late, never, soon, new], POLICY) == said(soon)
    assert forecast.answer([never, new], POLICY) == (
        "Nothing is full within 365 days; of 1 of 2 there is not enough data; "
        "disk of /srv on db1 is fullest, at 3 % of its limit now"
    )
    assert forecast.answer([outlook("events", 1, 1, None)], POLICY) == ""
    table = forecast.ranking([late, never, soon, new])
    assert table is not None
    assert [line[0] for line in table["rows"]] == ["disk of /var on db1", "disk of / on db2", "memory on db1"]
    assert all(len(line) == len(table["columns"]) for line in table["rows"])


def test_a_busy_day_is_no_new_level_of_what_goes_by_and_one_of_a_disk() -> None:
    for resource, status, left_out in (("load", "ok", 1), ("disk:/var", "critical", 0)):
        rows = history(resource, 10, 0.01, 100)
        rows[-1] = dataclasses.replace(rows[-1], value=96)
        one = forecast.look(rows[-1], Bag(rows), Policy(thresholds={resource.partition(":")[0]: {"full": 95}}))
        found = t.cast("t.Any", forecast.check(one, POLICY))
        assert len(forecast.data(one)["left_out"]) == left_out
        assert one.beyond is (resource != "load")
        assert (found.status == "ok") is (status == "ok"), found.message
    busy = history("load", 10, 0.01, 100)
    busy[-3:] = [dataclasses.replace(row, value=96) for row in busy[-3:]]
    assert forecast.look(busy[-1], Bag(busy), POLICY).beyond


def test_what_breaks_is_told_of_before_what_is_only_scaled() -> None:
    scaled = outlook("memory", 12 * GIB, 0.0, 13 * GIB)
    disk = outlook("disk:/var", 40 * GIB, GIB, 140 * GIB)
    assert scaled.beyond and forecast.answer([scaled, disk], POLICY) == said(disk)


def test_the_picture_has_the_measured_year_the_forecast_and_its_band() -> None:
    one = outlook("disk:/var", 40 * GIB, GIB / 10, 140 * GIB, days=500)
    drawn = t.cast(dict[str, t.Any], forecast.plot(one, POLICY))
    measured, ahead = drawn["series"]
    assert (measured["role"], ahead["role"], drawn["unit"]) == ("measured", "forecast", "B")
    assert len(measured["points"]) == 365
    assert measured["points"][-1][0] == "2026-11-27T12:00:00Z"
    assert [point[0] for point in ahead["points"]] == [point[0] for point in drawn["band"]]
    assert all(
        low <= value <= high for (_at, value), (_same, low, high) in zip(ahead["points"], drawn["band"], strict=True)
    )
    assert [(line["name"], line["status"]) for line in drawn["lines"]] == [
        ("warning", "warning"),
        ("critical", "critical"),
        ("full", "critical"),
    ]
    assert drawn["lines"][0]["value"] == pytest.approx(112 * GIB)


def test_tables_have_no_picture_and_short_histories_have_no_forecast() -> None:
    assert forecast.plot(outlook("table:events", GIB, 1000, None), POLICY) is None
    drawn = forecast.plot(outlook("disk:/var", GIB, 1000, GIB * 5, days=3), POLICY)
    assert drawn is not None
    assert [series["role"] for series in drawn["series"]] == ["measured"]
    assert "band" not in drawn


@pytest.mark.parametrize(
    ("amount", "unit", "rounded"),
    [
        (0.3, "count", 1),
        (1234, "count", 1300),
        (99.1, "count", 100),
        (20, "count", 20),
        (1.1 * GIB, "B", 2 * GIB),
        (187.2 * GIB, "B", 190 * GIB),
        (0, "B", 0),
    ],
)
def test_amounts_are_rounded_up(amount: float, unit: str, rounded: float) -> None:
    assert forecast.round_up(amount, unit) == pytest.approx(rounded)
