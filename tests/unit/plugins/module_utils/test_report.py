"""The report: its verdict, its counts and its schema."""

from __future__ import annotations

import datetime
import importlib.util
import itertools
import json
import pathlib

import jsonschema
import pytest

from ansible_collections.matrixon.ops.plugins.module_utils import _report
from ansible_collections.matrixon.ops.plugins.module_utils._report import CheckResult, Report

ROOT = pathlib.Path(__file__).resolve().parents[4]
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
_spec = importlib.util.spec_from_file_location("sample_reports", ROOT / "tests/unit/fixtures/sample_reports.py")
assert _spec and _spec.loader
samples = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(samples)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
STARTED = datetime.datetime(2026, 11, 23, 9, 0, tzinfo=datetime.timezone.utc)


def check(status: str, name: str = "a_check", **more: object) -> CheckResult:
    if status == "skipped":
        more.setdefault("skipped_reason", "not configured")
    return CheckResult(name, "host:1", status, f"it is {status}", **more)


def report(*checks: CheckResult) -> Report:
    finished = STARTED + datetime.timedelta(milliseconds=1500)
    return Report("health", "hs1", "example.org", "synapse", STARTED, finished, checks)


MIXTURES = [mix for number in range(4) for mix in itertools.combinations_with_replacement(_report.STATUSES, number)]


@pytest.mark.parametrize("statuses", MIXTURES)
def test_verdict_is_the_worst_of_what_was_executed(statuses):
    executed = set(statuses) - {"skipped"}
    expected = next((one for one in ("critical", "unknown", "warning", "ok") if one in executed), "unknown")
    document = report(*map(check, statuses)).as_dict()
    assert document["status"] == expected
    assert sum(document["counts"].values()) == len(statuses)
    VALIDATOR.validate(document)


@pytest.mark.parametrize("checks", [(), (check("skipped"),), (check("ok", source="self_report"),)])
def test_nothing_measured_is_unknown(checks):
    assert report(*checks).status == "unknown"


@pytest.mark.parametrize("claim", ["ok", "warning", "critical", "unknown"])
def test_self_report_does_not_count(claim):
    document = report(check("warning"), check(claim, "claim", source="self_report")).as_dict()
    assert document["status"] == "warning"
    assert document["counts"] == {"ok": 0, "warning": 1, "critical": 0, "unknown": 0, "skipped": 0}
    assert len(document["checks"]) == 2


@pytest.mark.parametrize("detail", ["full", "problems"])
@pytest.mark.parametrize("unit", ["ms", "s", "B", "%", "count", "/s", None])
@pytest.mark.parametrize("error_kind", [*_report.ERROR_KINDS, None])
def test_every_shape_holds_the_schema(detail, unit, error_kind):
    attempt = {"status": "critical", "message": "refused", "duration_ms": 1}
    checks = [check(status, value=1.5, unit=unit, warning=1, critical=2, error_kind=error_kind, attempts=(attempt,))
              for status in _report.STATUSES]  # fmt: skip
    document = report(*checks, check("ok", "bare")).as_dict(detail)
    VALIDATOR.validate(document)
    assert json.loads(json.dumps(document)) == document


def test_a_value_that_was_not_measured_is_absent():
    (only,) = report(check("unknown", unit="ms", warning=0)).as_dict()["checks"]
    assert "value" not in only
    assert only["warning"] == 0


def test_a_measured_zero_is_kept():
    (only,) = report(check("ok", value=0, unit="count")).as_dict("problems")["checks"]
    assert only["value"] == 0


def test_problems_detail_drops_only_the_words_of_what_is_well():
    document = report(check("ok", "good", value=1), check("critical", "bad")).as_dict("problems")
    bad, good = document["checks"]
    assert bad["message"] == "it is critical"
    assert "message" not in good and good["value"] == 1


def test_checks_are_sorted_worst_first():
    checks = [check(status, status) for status in ("skipped", "ok", "warning", "unknown", "critical")]
    names = [one["name"] for one in report(*checks).as_dict()["checks"]]
    assert names == ["critical", "unknown", "warning", "ok", "skipped"]


def test_times_are_utc_and_duration_is_in_milliseconds():
    zone = datetime.timezone(datetime.timedelta(hours=2))
    started = STARTED.astimezone(zone)
    finished = started + datetime.timedelta(seconds=61, microseconds=7999)
    document = Report("health", "hs1", "example.org", "synapse", started, finished, (check("ok"),)).as_dict()
    assert document["started"] == "2026-11-23T09:00:00.000Z"
    assert document["finished"] == "2026-11-23T09:01:01.007Z"
    assert document["duration_ms"] == 61007


@pytest.mark.parametrize("harm", [
    {"status": "skipped"},
    {"kind": "No Kind"},
    {"finished": "2026-11-23 09:00"},
    {"extra": 1},
    {"checks": [{"name": "a", "target": "b", "status": "skipped", "duration_ms": 0, "source": "probe"}]},
    {"checks": [{"name": "a", "target": "b", "status": "critical", "duration_ms": 0, "source": "probe"}]},
    {"facts": {"answer": ["a"]}},
    {"facts": {"plots": {}}},
    {"facts": {"plots": [{"name": "p", "title": "P", "unit": "B"}]}},
    {"facts": {"plots": [{"name": "p", "title": "P", "unit": "B", "series": [], "serie": []}]}},
    {"facts": {"plots": [{"name": "p", "title": "P", "unit": "B", "series": [
        {"name": "a", "role": "x", "points": []}]}]}},
    {"facts": {"plots": [{"name": "p", "title": "P", "unit": "B", "series": [
        {"name": "a", "role": "measured", "points": [[1764201600, 1]]}]}]}},
    {"facts": {"plots": [{"name": "p", "title": "P", "unit": "B", "series": [], "lines": [{"name": "warning"}]}]}},
    {"facts": {"rankings": [{"name": "r", "title": "R", "columns": ["a"], "rows": []}]}},
    {"facts": {"rankings": [{"name": "r", "title": "R", "columns": [], "rows": [{"a": 1}]}]}},
])  # fmt: skip
def test_the_schema_refuses(harm):
    document = {**report(check("ok")).as_dict(), **harm}
    assert not VALIDATOR.is_valid(document)


def test_what_the_page_draws_is_in_the_schema():
    for document in samples.pictured_fleet():
        VALIDATOR.validate(document)


class Ended(Exception):
    """The module has said something and ended."""


class Module:
    """As AnsibleModule ends."""

    def __init__(self, **params: object) -> None:
        self.params = {"detail": "full", "fail_on": "never", **params}

    def exit_json(self, **result: object) -> None:
        raise Ended("good", result)

    def fail_json(self, **result: object) -> None:
        raise Ended("failed", result)


@pytest.mark.parametrize(
    ("fail_on", "given", "how", "changed"),
    [("never", {}, "good", False), ("critical", {"changed": True}, "good", True), ("warning", {}, "failed", False)],
)
def test_a_module_leaves_with_its_report_and_fails_from_the_status_on_that_was_asked_for(
    fail_on: str, given: dict[str, bool], how: str, changed: bool
) -> None:
    options = {"target": "hs1", "deployment": "example", "profile": "synapse", "unknown_as": "warning"}
    report = _report.report_of("user_probe", options, STARTED, [check("unknown")], {"answer": "so"})
    assert report.status == "warning" and report.target == "hs1" and report.finished > STARTED
    with pytest.raises(Ended) as caught:
        _report.leave(Module(fail_on=fail_on), report, plan=["one"], **given)
    ended, result = caught.value.args
    assert (ended, result["changed"], result["plan"]) == (how, changed, ["one"])
    assert result["msg"] == _report.headline(report) and result["report"]["facts"] == {"answer": "so"}
    VALIDATOR.validate(result["report"])


def test_one_check_is_one() -> None:
    options = {"target": "hs1", "deployment": "example", "profile": "synapse", "unknown_as": "unknown"}
    said = {
        number: _report.headline(_report.report_of("user_probe", options, STARTED, [check("ok")] * number, {}))
        for number in (1, 2)
    }
    assert said == {1: "ok: the one check is good", 2: "ok: all 2 checks are good"}
