"""The controller's part: rows join a history, and reports learn what is ahead."""

from __future__ import annotations

import datetime
import json
import pathlib
import typing as t

import jsonschema
import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._capacity import review
from ansible_collections.matrixon.ops.plugins.module_utils._capacity.resources import Row
from ansible_collections.matrixon.ops.plugins.module_utils._capacity.store_csv import HEADER, lines
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors

ROOT = pathlib.Path(__file__).resolve().parents[5]
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
NOW = datetime.datetime(2026, 11, 27, 9, tzinfo=datetime.timezone.utc)
GIB = 1024**3
SERVER: dict[str, t.Any] = {
    "host": "db1",
    "port": 5432,
    "database": "reports",
    "user": "reports",
    "password": None,
    "sslmode": "verify-full",
    "ca_file": None,
}


def row(days_ago: float, value: float, host: str = "db1", resource: str = "disk:/var") -> Row:
    return Row(NOW - datetime.timedelta(days=days_ago), "example", host, resource, value, 140 * GIB, "B")


TABLES = {
    "name": "tables",
    "title": "Largest tables",
    "columns": [{"title": "table", "unit": "code"}, {"title": "size", "unit": "B"}],
    "rows": [["events", 5 * GIB]],
    "bar": 1,
}


def document(*rows: Row, host: str = "db1") -> dict[str, t.Any]:
    return {
        "schema": "matrixon.ops/report/1",
        "kind": "capacity",
        "target": host,
        "deployment": "example",
        "profile": "synapse",
        "started": "2026-11-27T09:00:00.000Z",
        "finished": "2026-11-27T09:00:01.000Z",
        "duration_ms": 1000,
        "status": "ok",
        "counts": {"ok": 1, "warning": 0, "critical": 0, "unknown": 0, "skipped": 0},
        "checks": [{"name": "capacity_disk", "target": "/var", "status": "ok", "duration_ms": 1, "source": "probe"}],
        "facts": {"rows": [one.as_dict() for one in rows], "rankings": [TABLES]},
        "evidence": [],
    }


def options(csv: pathlib.Path, *documents: dict[str, t.Any], **changes: t.Any) -> dict[str, t.Any]:
    return {
        "target": "controller",
        "deployment": "example",
        "profile": "synapse",
        "unknown_as": "unknown",
        "detail": "problems",
        "documents": list(documents),
        "path": str(csv),
        "postgresql": None,
        "create": False,
        "deadline": 10,
        "window_days": 28,
        "level": 90,
        "horizon_days": 365,
        "warning_days": 60,
        "critical_days": 14,
        "provision_days": 180,
        "thresholds": {},
        **changes,
    }


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "capacity.csv"


@pytest.fixture
def grown(path: pathlib.Path) -> pathlib.Path:
    """A history of forty days on which a disk grew by a GiB each."""
    path.write_text(HEADER + "\n" + lines([row(day, (100 - day) * GIB) for day in range(40, 0, -1)]))
    return path


def test_rows_are_kept_once(path: pathlib.Path) -> None:
    given = options(path, document(row(0, GIB), row(0, GIB, resource="memory")), document(row(0, 5, "db2"), host="db2"))
    first = review.record(given, True, NOW)
    assert (first.changed, first.report.status) == (True, "ok")
    assert first.report.checks[0].message == f"3 rows were added to {path}"
    content = path.read_bytes()
    second = review.record(given, True, NOW)
    assert (second.changed, second.report.checks[0].message) == (
        False,
        f"0 rows were added to {path}, 3 stood there already",
    )
    assert path.read_bytes() == content


def test_check_mode_says_what_it_would_do_and_writes_nothing(path: pathlib.Path) -> None:
    would = review.record(options(path, document(row(0, GIB))), False, NOW)
    assert (would.changed, would.report.checks[0].message) == (True, f"1 row would be added to {path}")
    assert list(path.parent.iterdir()) == []


def test_a_clock_that_went_back_is_told_of_and_the_others_are_kept(grown: pathlib.Path) -> None:
    back, good = document(row(20.5, GIB)), document(row(0, GIB, "db2"), host="db2")
    written = review.record(options(grown, back, good), True, NOW)
    assert written.report.status == "warning"
    assert "1 row was added" in written.report.checks[0].message
    assert "1 were refused: the clock of db1 went back" in written.report.checks[0].message
    assert grown.read_text().endswith(lines([row(0, GIB, "db2")]))


def test_a_foreign_file_is_unknown_and_everything_else_is_reported(path: pathlib.Path) -> None:
    path.write_text("date,what\n")
    given = options(path, document(row(0, GIB)))
    written = review.record(given, True, NOW)
    assert (written.changed, written.report.status, written.decision) == (False, "unknown", None)
    assert written.report.checks[0].error_kind == "parse"
    found = review.review({**given, "documents": [*given["documents"], written.report.as_dict("full")]}, NOW)
    host, own = found.documents
    assert {check["name"]: check["status"] for check in host["checks"]} == {
        "capacity_disk": "ok",
        "capacity_disk_growth": "unknown",
    }
    assert {check["name"] for check in own["checks"]} == {"capacity_history", "capacity_history_rows"}
    assert host["status"] == own["status"] == "unknown"
    assert path.read_text() == "date,what\n"


def test_a_history_that_cannot_be_read_is_of_the_same_kind_for_every_resource(grown: pathlib.Path) -> None:
    beneath = grown / "capacity.csv"
    host, own = review.review(options(beneath, document(row(0, GIB))), NOW).documents
    ahead = next(check for check in host["checks"] if check["name"] == "capacity_disk_growth")
    assert (ahead["status"], ahead["error_kind"]) == ("unknown", "internal")
    assert own["checks"][0]["error_kind"] == "internal"


def test_reports_learn_what_is_ahead(grown: pathlib.Path) -> None:
    given = options(grown, document(row(0, 100 * GIB)), document(row(0, 5, "db2"), host="db2"))
    found = review.review(given, NOW)
    for one in found.documents:
        jsonschema.validate(one, SCHEMA)
    first, second, own = found.documents
    ahead = next(check for check in first["checks"] if check["name"] == "capacity_disk_growth")
    assert (ahead["status"], ahead["value"]) == ("warning", 40 * 86400)
    assert (first["status"], first["counts"]["warning"]) == ("warning", 1)
    assert first["checks"][0] == ahead
    assert first["facts"]["answer"] == found.answer
    # Once is enough, and a host that nothing presses on has nothing to say.
    assert "answer" not in second["facts"] and "answer" not in own["facts"]
    assert found.answer.startswith("disk of /var on db1 is full in 40 days at the present rate (4")
    assert [one["name"] for one in first["facts"]["rankings"]] == ["growth", "tables"]
    assert first["facts"]["plots"][0]["name"] == "disk:/var"
    assert (second["status"], second["counts"]["skipped"]) == ("ok", 1)
    assert (own["target"], own["status"]) == ("controller", "ok")


def test_where_nothing_presses_the_report_on_the_history_has_the_answer(grown: pathlib.Path) -> None:
    found = review.review(options(grown, document(row(0, 100 * GIB)), warning_days=20), NOW)
    host, own = found.documents
    assert "answer" not in host["facts"]
    assert own["facts"]["answer"] == found.answer
    assert found.answer.startswith("disk of /var on db1 is full in 40 days")


def test_what_was_just_read_counts_before_it_is_kept(grown: pathlib.Path) -> None:
    # As in check mode: the history ends yesterday.
    kept = grown.read_text()
    found = review.review(options(grown, document(row(0, 100 * GIB))), NOW)
    points = found.documents[0]["facts"]["plots"][0]["series"][0]["points"]
    assert points[-1] == ["2026-11-27T12:00:00Z", 100 * GIB]
    assert grown.read_text() == kept


def test_garbled_lines_are_a_warning_of_the_history(grown: pathlib.Path) -> None:
    with grown.open("a") as file:
        file.write("what is this\n")
    found = review.review(options(grown, document(row(0, 100 * GIB))), NOW)
    assert found.answer
    assert found.documents[-1]["status"] == "warning"
    assert "1 line cannot be read and were kept" in found.documents[-1]["checks"][0]["message"]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"path": None}, "path: give the path of a CSV file, or postgresql, and not both"),
        ({"path": None, "postgresql": SERVER}, "postgresql.sslmode: verify-full needs certificates to check against"),
        ({"path": "capacity.csv"}, "path: 'capacity.csv' is no absolute path"),
        ({"window_days": 7}, "window_days: 7 days show no trend; give from 14 to 400"),
        ({"level": 100}, "level: 100 is no level of an interval"),
        ({"warning_days": 5}, "warning_days: 5 with critical_days 14 cannot be"),
        ({"horizon_days": 0}, "horizon_days: 0 is not to be foreseen"),
        ({"provision_days": 0}, "provision_days: 0 cannot be planned for"),
        ({"deadline": 0}, "deadline: 0 is no time to wait"),
        ({"target": " "}, "target: it is empty"),
        ({"thresholds": {"cats": {}}}, "thresholds: 'cats' has no thresholds"),
        (
            {"target": "db1", "documents": [document(row(0, GIB))]},
            "target: 'db1' is a host with rows of its own; give the history another name",
        ),
        ({"documents": [{"kind": "capacity"}]}, r"documents\[0\]: it is no report without target"),
    ],
)
def test_options_that_cannot_be_are_refused(path: pathlib.Path, changes: dict[str, t.Any], what: str) -> None:
    with pytest.raises(OptionErrors, match=what):
        review.review(options(path, **changes), NOW)


def test_a_row_that_is_none_is_refused_before_anything_is_kept(path: pathlib.Path) -> None:
    wrong = document(row(0, GIB))
    wrong["facts"]["rows"][0]["value"] = "5 GB"
    with pytest.raises(OptionErrors, match=r"documents\[0\]: a row of 'db1' cannot be used: its value '5 GB'"):
        review.record(options(path, wrong), True, NOW)
    assert not path.exists()
