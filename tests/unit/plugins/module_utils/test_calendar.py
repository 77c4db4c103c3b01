"""When the certificates of a fleet end."""

from __future__ import annotations

import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._calendar import calendar

DAY = 86400.0


def host(name: str, started: str, *checks: tuple[str, str, t.Any]) -> dict[str, t.Any]:
    return {
        "target": name,
        "started": started,
        "checks": [
            {"name": "certificate_expiry", "target": target, "status": status, "value": value}
            for target, status, value in checks
        ],
    }


def test_a_month_at_a_time_and_the_first_one_first() -> None:
    fleet = [
        host("lb1", "2026-11-27T08:00:00.000Z", ("public", "ok", 60 * DAY), ("old", "critical", -3 * DAY)),
        host("db1", "2026-11-27T08:00:00.000Z", ("database", "warning", 10 * DAY), ("silent", "unknown", None)),
    ]
    months = calendar(fleet)
    assert [(month["name"], [entry["targets"] for entry in month["entries"]]) for month in months] == [
        ("November 2026", [["old"]]),
        ("December 2026", [["database"]]),
        ("January 2027", [["public"]]),
    ]
    (old,), (database,), (public,) = (month["entries"] for month in months)
    assert (old["date"], old["left"], old["share"]) == ("2026-11-24 08:00 UTC", "3\u00a0d ago", 0.0)
    assert (public["share"], database["share"], database["status"]) == (100.0, 16.7, "warning")


def test_one_certificate_in_several_places_is_one_entry() -> None:
    fleet = [
        host("lb1", "2026-11-27T08:00:00.000Z", ("public", "ok", 60 * DAY)),
        host("controller", "2026-11-27T08:00:03.204Z", ("public 192.0.2.1:443", "warning", 60 * DAY - 3.204)),
    ]
    ((entry,),) = (month["entries"] for month in calendar(fleet))
    assert entry["status"] == "warning" and entry["hosts"] == ["lb1", "controller"]
    assert entry["targets"] == ["public", "public 192.0.2.1:443"]


def test_one_that_lives_for_years_does_not_hide_the_others() -> None:
    fleet = [host("lb1", "2026-11-27T08:00:00.000Z", ("ca", "ok", 3650 * DAY), ("public", "ok", 90 * DAY))]
    shares = [entry["share"] for month in calendar(fleet) for entry in month["entries"]]
    assert shares == [50.0, 100.0]


def test_a_report_of_another_kind_has_none() -> None:
    assert calendar([{"target": "db1", "started": "2026-11-27T08:00:00Z", "checks": []}]) == []
