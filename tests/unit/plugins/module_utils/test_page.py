"""What the page shows: numbers as people read them, scales and plots."""

from __future__ import annotations

import datetime
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils import _fleet, _page
from ansible_collections.matrixon.ops.plugins.module_utils._fleet import epoch_ms
from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._report import CheckResult, Report, rfc3339
from ansible_collections.matrixon.ops.plugins.module_utils._timeline import timeline

MOMENT = datetime.datetime(2026, 11, 23, 3, 0, tzinfo=datetime.timezone.utc)


@pytest.mark.parametrize(("value", "unit", "text"), [
    (0, "B", "0 B"), (1023, "B", "1 023 B"), (1024, "B", "1.0 KiB"), (6.2 * 1024**3, "B", "6.2 GiB"),
    (1024**2 - 1, "B", "1.0 MiB"), (-2048, "B", "-2.0 KiB"), (2.0**70, "B", "1 048 576.0 PiB"),
    (0.31, "ms", "0.31 ms"), (184.2, "ms", "184 ms"), (1240, "ms", "1.24 s"), (75000, "ms", "1 min 15 s"),
    (0, "s", "0 s"), (0.5, "s", "500 ms"), (59.4, "s", "59.4 s"), (430, "s", "7 min 10 s"), (1800, "s", "30 min"),
    (12000, "s", "3 h 20 min"), (86400 * 14, "s", "14 d"), (86400 * 45 + 3600, "s", "45 d"), (-90, "s", "-1 min 30 s"),
    (83.44, "%", "83.4 %"), (100, "%", "100 %"), (12, "/s", "12/s"), (1234567, "count", "1 234 567"),
    (0.00004, "ms", "0.00004 ms"), (3, None, "3"),
])  # fmt: skip
def test_numbers_as_people_read_them(value, unit, text):
    shown = human(value, unit).replace("\N{NO-BREAK SPACE}", " ")
    assert shown.replace("1 048 576.0", "1048576.0") == text.replace("1 048 576.0", "1048576.0")


def zones(scale):
    return [zone["status"] for zone in scale["zones"]]


def test_scale_where_more_is_worse():
    scale = _page.scale(83.4, 80, 90, "%", "warning")
    assert zones(scale) == ["ok", "warning", "critical"]
    assert [zone["x"] for zone in scale["zones"]] == [0, 80, 90]
    assert scale["mark_x"] == pytest.approx(82.57)
    assert "warning from 80" in scale["text"]


def test_scale_where_less_is_worse():
    scale = _page.scale(12, 30, 14, "s", "critical")
    assert zones(scale) == ["critical", "warning", "ok"]
    assert "critical below 14" in scale["text"]


@pytest.mark.parametrize(("value", "status", "expected"), [
    (5, "ok", ["ok", "critical"]), (15, "critical", ["ok", "critical"]),
    (15, "ok", ["critical", "ok"]), (5, "critical", ["critical", "ok"]),
])  # fmt: skip
def test_scale_with_one_limit_reads_its_direction_from_the_verdict(value, status, expected):
    assert zones(_page.scale(value, None, 10, "count", status)) == expected


def test_a_value_far_beyond_its_limits_stays_on_the_scale():
    scale = _page.scale(10**9, 10, 20, "count", "critical")
    assert scale["beyond"] and scale["mark_x"] == 99
    assert max(zone["x"] for zone in scale["zones"]) > 20


@pytest.mark.parametrize("args", [(None, 1, 2), (1, None, None), (-1, 1, 2), (0, 0, 0), (True, 1, 2)])
def test_no_scale_where_it_says_nothing(args):
    assert _page.scale(*args, "count", "ok") is None


def fleet(hour, status="ok", value=10.0, target="hs1"):
    at = MOMENT + datetime.timedelta(hours=hour)
    check = CheckResult("client_api", "http://a", status, f"it is {status}", value, "ms", 50, 100)
    report = Report("health", target, "example.org", "synapse", at, at, (check,)).as_dict()
    return _fleet.fleet_view([report])


def test_plots_show_earlier_runs_and_this_one():
    history = [_fleet.history_point(fleet(hour, "ok" if hour != 2 else "critical", 10 + hour)) for hour in range(5)]
    page = _page.page_view(fleet(5, value=15), history)
    strip = page["strip"]
    assert [drawn["status"] for drawn in strip["bars"]] == ["ok", "ok", "critical", "ok", "ok", "ok"]
    assert strip["text"] == "Last 6 runs: 1 critical, 5 ok"
    assert strip["bars"][-1]["x"] == 29 * 6
    spark = page["hosts"][0]["latency"]["spark"]
    assert len(spark["points"].split()) == 6
    assert "between 10" in spark["text"] and "now 15" in spark["text"]


def test_a_run_without_the_host_is_a_gap():
    history = [
        _fleet.history_point(fleet(0)),
        _fleet.history_point(fleet(1, target="other")),
        _fleet.history_point(fleet(2)),
    ]
    strip = _page.page_view(fleet(3), history)["hosts"][0]["strip"]
    assert [drawn["x"] // 6 for drawn in strip["bars"]] == [26, 28, 29]


def test_runs_after_this_one_and_more_than_thirty_are_not_plotted():
    history = [_fleet.history_point(fleet(hour)) for hour in range(60)]
    page = _page.page_view(fleet(40), history)
    assert len(page["strip"]["bars"]) == 30
    assert page["strip"]["bars"][0]["title"].startswith("2026-11-23 14:00")


def test_without_history_nothing_is_plotted():
    page = _page.page_view(fleet(0))
    assert page["strip"] is None and page["hosts"][0]["strip"] is None
    assert page["hosts"][0]["latency"]["spark"] is None


def test_self_reports_are_kept_apart():
    claim = CheckResult("server_health", "hs", "critical", "it says it is dead", source="self_report")
    report = Report(
        "health", "hs1", "example.org", "synapse", MOMENT, MOMENT, (claim, CheckResult("a", "b", "ok", "m"))
    )
    (host,) = _page.page_view(_fleet.fleet_view([report.as_dict()]))["hosts"]
    assert host["status"] == "ok" and host["failing"] == []
    assert [check["name"] for check in host["passed"]] == ["a"]
    assert [check["name"] for check in host["claims"]] == ["server_health"]


def test_time_of_plots_is_that_of_the_report():
    assert _page.moment(rfc3339(MOMENT)) == {
        "machine": "2026-11-23T03:00:00.000Z",
        "text": "2026-11-23 03:00:00 UTC",
        "epoch_ms": int(MOMENT.timestamp() * 1000),
    }


def test_what_was_not_measured_for_one_reason_is_one_finding():
    lost = {"message": "not measured: db: refused", "error_kind": "refused", "status": "unknown", "target": "db"}
    checks = [
        CheckResult("connect", "db", "critical", "db: refused", error_kind="refused"),
        CheckResult("lag", **lost, duration_ms=7, warning=16777216),
        CheckResult("slots", **lost),
        CheckResult("memory", "cache", "unknown", "not measured: cache: refused", error_kind="refused"),
        CheckResult("disk", "/a", "warning", "it is full", 81, "%", 80, 90),
        CheckResult("disk", "/b", "warning", "it is full", 82, "%", 80, 90),
    ]
    report = Report("health", "hs1", "example.org", "synapse", MOMENT, MOMENT, tuple(checks))
    (host,) = _page.page_view(_fleet.fleet_view([report.as_dict()]))["hosts"]
    assert [finding["names"] for finding in host["failing"]] == [
        ["connect"],
        ["lag", "slots"],
        ["memory"],
        ["disk"],
        ["disk"],
    ]
    together = host["failing"][1]
    assert together["duration"].startswith("7") and together["limits"] == []
    assert host["summary"] == "1 critical, 3 unknown, 2 warning"
    assert [finding["targets"] for finding in host["failing"]][-2:] == ["/a", "/b"]


# Plots, tables and answers of the reports


def told(**facts: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the page of hosts with these facts."""
    reports = [
        Report("capacity", host, "example.org", "synapse", MOMENT, MOMENT, (CheckResult("a", "b", "ok", "m"),), given)
        for host, given in facts.items()
    ]
    return _page.page_view(_fleet.fleet_view([report.as_dict() for report in reports], kind="capacity"))


PLOT = {"title": "Disk", "unit": "B", "series": [{"name": "used", "points": [["2026-11-23T00:00:00Z", 5]]}]}


@pytest.mark.parametrize(("kind", "title"), [
    ("performance", "Performance"), ("capacity", "Capacity"), ("security", "Security events"),
    ("security_audit", "Security audit"), ("something_new", "Something new"),
])  # fmt: skip
def test_kinds_have_titles(kind, title):
    assert _page.title(kind) == title


def test_plots_and_tables_stand_with_their_host():
    page = told(db1={"plots": [PLOT], "rankings": [{"title": "Tables", "columns": [], "rows": []}]}, hs1={})
    first, second = page["hosts"]
    assert first["pictured"] and [plot["title"] for plot in first["plots"]["shown"]] == ["Disk"]
    assert [table["title"] for table in first["rankings"]["tables"]] == ["Tables"]
    assert not second["pictured"]


def test_answers_stand_on_top_once_each_and_name_their_hosts():
    answers = {f"hs{number}": {"answer": "Nothing is full within a year."} for number in range(1, 4)}
    page = told(**answers, db1={"answer": "/var is full in 41 days."}, hs9={})
    assert page["answers"] == [
        {"text": "/var is full in 41 days.", "hosts": "db1"},
        {"text": "Nothing is full within a year.", "hosts": "hs1, hs2, hs3"},
    ]
    assert page["more_answers"] == 0
    assert [host["line"] for host in page["hosts"]][:2] == [
        "/var is full in 41 days.",
        "Nothing is full within a year.",
    ]
    assert page["hosts"][-1]["line"] == "1 check passed"


def test_the_answer_of_one_host_alone_needs_no_name():
    assert told(db1={"answer": "It is full."})["answers"] == [{"text": "It is full.", "hosts": ""}]


def test_many_answers_are_counted_and_long_ones_cut():
    page = told(**{f"hs{number}": {"answer": f"{number} password=hunter2 " + "x" * 9000} for number in range(1, 9)})
    assert len(page["answers"]) == 3 and page["more_answers"] == 5
    assert all(len(answer["text"]) == 300 and "hunter2" not in answer["text"] for answer in page["answers"])


def full_disks(*sentences: str) -> dict[str, t.Any]:
    """Return the page of hosts whose worst check says what is their answer, too."""
    reports = [
        Report(
            "capacity", f"db{number}", "example.org", "synapse", MOMENT, MOMENT,
            (CheckResult("disk_growth", "/var", "critical", said),), {"answer": said},
        )
        for number, said in enumerate(sentences, 1)
    ]  # fmt: skip
    return _page.page_view(_fleet.fleet_view([report.as_dict() for report in reports], kind="capacity"))


def test_what_the_headline_and_a_finding_say_is_no_answer_again():
    page = full_disks("disk of /var on db1 is full in 9 days")
    assert page["headline"] == "db1 is critical: disk of /var on db1 is full in 9 days"
    assert page["answers"] == [] and page["more_answers"] == 0
    page = full_disks("disk of /var on db1 is full in 9 days", "disk of /var on db2 is full in 8 days")
    assert "on db1 is full" in page["headline"]
    assert page["answers"] == [{"text": "disk of /var on db2 is full in 8 days", "hosts": "db2"}]
    assert [host["own_answer"] for host in page["hosts"]] == ["", ""]


def test_an_answer_that_no_finding_gives_stands_with_its_host_and_on_top():
    page = told(db1={"answer": "It is full."}, hs1={"answer": "It is empty."})
    assert [host["own_answer"] for host in page["hosts"]] == ["It is full.", "It is empty."]
    assert [host["own_answer"] for host in told(db1={"answer": "It is full."})["hosts"]] == [""]
    # Of a long sentence the headline has the beginning only.
    assert full_disks("disk of /var " + "x" * 250)["answers"] == [{"text": "disk of /var " + "x" * 250, "hosts": ""}]


@pytest.mark.parametrize("answer", [None, 5, [], {"a": 1}, ""])
def test_what_is_no_answer_is_none(answer):
    assert told(db1={"answer": answer})["answers"] == []


# The steps of an operation


def at(second: str) -> str:
    return f"2026-11-27T12:00:{second}.000Z"


def steps_of(**steps: tuple[str, str | None]) -> dict[str, t.Any]:
    found = {
        name: {"started": at(begun), "finished": at(ended) if ended else None} for name, (begun, ended) in steps.items()
    }
    return {"target": "db2", "finished": "2026-11-27T12:00:40.000Z", "facts": {"steps": found}}


def test_steps_are_drawn_in_their_order_and_to_scale() -> None:
    rows = timeline([steps_of(promote=("10", "20"), fence=("00", "10"), scale=("20", "40"))], epoch_ms)
    assert [row["name"] for row in rows] == ["fence", "promote", "scale"]
    assert [(row["from"], row["share"]) for row in rows] == [(0.0, 25.0), (25.0, 25.0), (50.0, 50.0)]
    assert rows[2]["took"].startswith("20") and {row["status"] for row in rows} == {"ok"}


def test_a_step_that_has_not_ended_lasts_until_the_end_and_is_seen_as_such() -> None:
    (dummy, row) = timeline([steps_of(fence=("00", "10"), switch_dns=("10", None))], epoch_ms)
    assert (row["name"], row["share"], row["status"]) == ("switch dns", 75.0, "critical")


def test_a_step_without_length_is_still_seen_inside_of_the_picture() -> None:
    (dummy, row) = timeline([steps_of(fence=("00", "40"), tell=("40", "40"))], epoch_ms)
    assert row["share"] > 0 and row["from"] + row["share"] <= 100


@pytest.mark.parametrize("facts", [{}, {"steps": []}, {"steps": {"x": None}}, {"steps": {"x": {}}}])
def test_what_tells_of_no_steps_has_no_picture(facts: dict[str, t.Any]) -> None:
    assert timeline([{"target": "x", "finished": "2026-11-27T12:00:40.000Z", "facts": facts}], epoch_ms) == []
