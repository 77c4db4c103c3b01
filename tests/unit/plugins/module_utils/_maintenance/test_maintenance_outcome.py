"""What became of a step: done, needs a person, failed, skipped; and the report of a run."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import jsonschema
import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._maintenance import calendar, outcome

SCHEMA = json.loads((pathlib.Path(__file__).resolve().parents[5] / "docs/report.schema.json").read_text())
BEGAN, NOW = "2026-11-27T10:00:00+00:00", "2026-11-27T10:00:02.500000+00:00"
STEP, NEXT, LAST = calendar.steps_of(
    [
        {"id": "10-010", "name": "health", "title": "Look", "groups": ["all"], "acts": False},
        {"id": "10-020", "name": "journal", "title": "Shorten", "groups": ["all"], "acts": True, "needs": ["10-010"]},
        {"id": "10-030", "name": "media", "title": "Clean", "groups": ["all"], "acts": True},
    ]
)


def result(status: str, msg: str = "", changed: bool = False, **others: Any) -> dict[str, Any]:
    return {"changed": changed, "msg": msg or f"{status}: said", "report": {"status": status, **others}}


def finished(step: calendar.Step, *results: dict[str, Any], dry: bool = False) -> tuple[str, str]:
    found = outcome.finished(step, results, dry, BEGAN, NOW)
    return found["status"], found["message"]


@pytest.mark.parametrize("status", ["ok", "warning", "critical", "unknown"])
def test_a_step_is_as_good_as_its_report(status: str) -> None:
    assert finished(STEP, result(status)) == (status, "said")


def test_the_worst_of_several_reports_counts_and_all_are_told() -> None:
    assert finished(STEP, result("ok", "ok: a"), result("critical", "critical: b")) == ("critical", "a; b")


def test_a_step_that_changed_nothing_had_nothing_to_do() -> None:
    assert finished(LAST, result("ok", "5 MiB")) == ("ok", "nothing to do: 5 MiB")
    assert finished(LAST, result("ok", "5 MiB", changed=True)) == ("ok", "5 MiB")


def test_what_was_only_planned_is_not_done() -> None:
    planned = {**result("ok", "x", changed=True), "plan": ["3 files would go"]}
    assert finished(LAST, planned, dry=True) == ("skipped", "dry run, nothing was done: 3 files would go")
    assert finished(LAST, result("critical", "x", changed=True), dry=True) == ("critical", "x")
    assert finished(LAST, result("ok", "x"), dry=True) == ("ok", "nothing to do: x")
    assert finished(STEP, result("ok", "x"), dry=True) == ("ok", "x")


def test_of_many_hosts_in_one_answer_the_worst_counts() -> None:
    full = {"name": "disk_growth", "status": "critical", "message": "/var is full in 5 days"}
    reports = [{"status": "ok", "facts": {}}, {"status": "critical", "facts": {"answer": "x"}, "checks": [full]}]
    given = {"changed": False, "answer": "Disk of db1 is full in 5 days", "documents": reports}
    told = "Disk of db1 is full in 5 days; disk_growth: /var is full in 5 days"
    assert finished(STEP, given) == ("critical", told)
    assert finished(STEP, {**given, "answer": "", "documents": reports[:1]}) == ("ok", "ok")


def test_a_step_without_an_answer_is_not_done() -> None:
    assert finished(STEP, {}) == ("skipped", "there is nothing of it on this host")
    assert finished(STEP, {"skipped": True, "changed": False})[0] == "skipped"
    assert finished(STEP, {"unreachable": True, "msg": "gone"}) == ("unknown", "the host could not be reached: gone")
    assert finished(STEP, {"msg": "boom"})[0] == "unknown"


def test_a_report_that_looked_at_nothing_is_a_skip_with_its_reason() -> None:
    idle = result("unknown", checks=[{"status": "skipped", "skipped_reason": "no journal"}])
    assert finished(STEP, idle) == ("skipped", "no journal")
    assert finished(STEP, idle, result("ok", "ok: fine")) == ("ok", "fine")


def test_a_failed_task_is_told_by_name() -> None:
    found = outcome.failed(STEP, "Delete it", {"msg": "no backup"}, BEGAN, NOW)
    assert (found["status"], found["message"]) == ("critical", "Delete it: no backup")
    blind = {"msg": "x", "report": {"status": "unknown", "checks": [{"error_kind": "timeout"}]}}
    assert outcome.failed(STEP, "Look", blind, BEGAN, NOW)["error_kind"] == "timeout"
    assert outcome.failed(STEP, "Look", {"report": {"status": "ok"}}, BEGAN, NOW)["status"] == "critical"


def test_a_step_waits_for_one_that_failed_anywhere_and_for_no_other() -> None:
    bad = outcome.failed(STEP, "Look", {"msg": "x"}, BEGAN, NOW)
    fleet = {"db1": [bad], "db2": [outcome.skipped(STEP, "not today", NOW)]}
    assert outcome.blocked_by(NEXT, fleet) == "10-010 failed on db1"
    assert outcome.blocked_by(NEXT, {"db2": fleet["db2"]}) == ""
    assert outcome.blocked_by(LAST, fleet) == ""


def test_the_report_has_a_check_for_each_step_of_the_plan() -> None:
    plan = [
        {"id": "10-010", "name": "health", "state": "due", "reason": ""},
        {"id": "10-020", "name": "journal", "state": "due", "reason": ""},
        {"id": "10-030", "name": "media", "state": "skipped", "reason": "maintenance_skip: moved"},
    ]
    done = [outcome.finished(STEP, [result("ok", "ok: all good")], False, BEGAN, NOW)]
    found = outcome.document("maintenance_daily", "db1", "d", "p", (STEP, NEXT, LAST), plan, done, NOW)
    jsonschema.validate(found, SCHEMA)
    checks = {check["target"]: check for check in found["checks"]}
    assert found["status"] == "unknown" and found["duration_ms"] == 2500
    assert checks["10-010"]["message"] == "done: all good" and checks["10-010"]["duration_ms"] == 2500
    assert checks["10-020"]["status"] == "unknown" and "no end" in checks["10-020"]["message"]
    assert checks["10-030"]["skipped_reason"] == "maintenance_skip: moved"
    assert found["facts"]["answer"] == "3 steps: 1 not known (10-020), 1 done, 1 skipped"
    assert [row[0] for row in found["facts"]["rankings"][0]["rows"]] == ["10-010", "10-020", "10-030"]


def test_one_step_is_one() -> None:
    assert outcome.answer([outcome.finished(STEP, [result("ok")], False, BEGAN, NOW)]) == "1 step: 1 done"


def test_a_line_is_short() -> None:
    found = outcome.failed(STEP, "Look", {"msg": "x\n" * 5000}, BEGAN, NOW)
    assert len(found["message"]) == outcome.LONGEST and "\n" not in found["message"]


def test_the_answer_of_an_earlier_step_is_not_this_ones() -> None:
    old, new = result("ok", "a"), result("ok", "b")
    assert outcome.fresh([old, new], [old]) == [{}, new]
    assert finished(STEP, *outcome.fresh([old], [old]))[0] == "skipped"


def test_a_step_names_all_that_its_report_found() -> None:
    found = [
        {"name": "sudo", "status": "warning", "message": "eve is new"},
        {"name": "login", "status": "warning", "message": "mal is new"},
        {"name": "key", "status": "ok", "message": "all known"},
    ]
    said = result("warning", "warning: 2 of 3 checks are warning; sudo: eve is new", checks=found)
    assert finished(STEP, said)[1] == "2 of 3 checks are warning; sudo: eve is new; login: mal is new"
