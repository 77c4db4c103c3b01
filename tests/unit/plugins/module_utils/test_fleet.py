"""The fleet: verdict, order, counts, headline, versions, and what is kept."""

from __future__ import annotations

import copy
import importlib.util
import json
import pathlib

import jsonschema
import pytest

from ansible_collections.matrixon.ops.plugins.module_utils import _fleet
from ansible_collections.matrixon.ops.plugins.module_utils._report import CheckResult

ROOT = pathlib.Path(__file__).resolve().parents[4]
VALIDATOR = jsonschema.Draft202012Validator(json.loads((ROOT / "docs/report.schema.json").read_text()))

_spec = importlib.util.spec_from_file_location("sample_reports", ROOT / "tests/unit/fixtures/sample_reports.py")
assert _spec and _spec.loader
samples = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(samples)


def host(name, *statuses, **more):
    checks = []
    for number, status in enumerate(statuses):
        reason = "not set" if status == "skipped" else None
        checks.append(
            CheckResult(f"check_{number}", f"{name}:{number}", status, f"{name} is {status}", skipped_reason=reason)
        )
    return samples.report(name, checks, **more)


def names(fleet):
    return [one["target"] for one in fleet["hosts"]]


@pytest.mark.parametrize(("hosts", "expected"), [
    (["ok", "ok"], "ok"),
    (["ok", "warning"], "warning"),
    (["ok", "unknown", "warning"], "unknown"),
    (["ok", "unknown", "critical", "warning"], "critical"),
    (["ok", "skipped"], "unknown"),
    ([], "unknown"),
])  # fmt: skip
def test_fleet_is_as_bad_as_its_worst_host(hosts, expected):
    fleet = _fleet.fleet_view([host(f"h{number}", status) for number, status in enumerate(hosts)])
    assert fleet["status"] == expected


def test_the_verdict_a_document_claims_is_not_believed():
    document = host("h1", "critical")
    document.update(status="ok", counts={**document["counts"], "ok": 99, "critical": 0})
    fleet = _fleet.fleet_view([document])
    assert fleet["status"] == "critical"
    assert fleet["counts"]["checks"]["critical"] == 1


@pytest.mark.parametrize(
    ("stated", "checks", "expected"),
    [
        ("warning", ["ok", "unknown"], "warning"),
        ("critical", ["unknown", "warning"], "critical"),
        ("warning", ["skipped"], "warning"),
        ("ok", ["unknown"], "unknown"),
        ("warning", ["critical", "unknown"], "critical"),
        ("critical", ["warning"], "warning"),
        ("fine", ["unknown"], "unknown"),
    ],
)
def test_a_host_may_weigh_its_unknowns_but_never_as_ok(stated, checks, expected):
    fleet = _fleet.fleet_view([{**host("h1", *checks), "status": stated}])
    assert fleet["status"] == expected
    if "skipped" not in checks:
        assert "is " in fleet["headline"].split(": ")[1]


def test_self_report_never_counts():
    claim = CheckResult("server_health", "hs", "ok", "fine", source="self_report")
    fleet = _fleet.fleet_view([samples.report("h1", [claim])])
    assert fleet["status"] == "unknown"
    assert fleet["counts"]["checks"] == dict.fromkeys(("ok", "warning", "critical", "unknown", "skipped"), 0)


def test_unreachable_host_is_a_host_that_could_not_be_judged():
    fleet = _fleet.fleet_view([host("h1", "ok")], [{"target": "h2", "message": "SSH timed out"}])
    assert fleet["status"] == "unknown"
    assert fleet["counts"]["hosts"] == {"critical": 0, "unknown": 1, "warning": 0, "ok": 1}
    absent = fleet["hosts"][0]
    assert absent["synthesised"] is True
    (check,) = absent["checks"]
    assert (check["name"], check["status"], check["message"]) == ("host_reachable", "unknown", "SSH timed out")
    assert fleet["headline"] == "1 of 2 hosts could not be judged: SSH timed out (h2)"


def test_host_lost_after_its_report_keeps_both():
    fleet = _fleet.fleet_view([host("h1", "critical")], [{"target": "h1", "message": "lost"}])
    (only,) = fleet["hosts"]
    assert only["status"] == "critical"
    assert [check["name"] for check in only["checks"]] == ["check_0", "host_reachable"]
    assert "synthesised" not in only


@pytest.mark.parametrize("document", [
    None, 7, "text", [], {}, {"schema": "other/1", "target": "h2"},
    {**host("h2", "ok"), "kind": "backup"},
    {**host("h2", "ok"), "checks": None},
    {**host("h2", "ok"), "checks": ["x"]},
    {**host("h2", "ok"), "checks": [{"name": "a_check", "status": "fine"}]},
    {**host("h2", "ok"), "checks": [{"name": "../x", "status": "ok"}]},
    {**host("h2", "ok"), "finished": "yesterday"},
    {**host("h2", "ok"), "deployment": ""},
])  # fmt: skip
def test_what_is_no_report_is_unknown_and_never_lost(document):
    fleet = _fleet.fleet_view([host("h1", "ok"), document])
    assert len(fleet["hosts"]) == 2
    assert fleet["status"] == "unknown"
    assert fleet["hosts"][0]["checks"][0]["name"] == "report_readable"


def test_hosts_are_sorted_worst_first_then_by_number():
    fleet = _fleet.fleet_view([
        host("h10", "ok"), host("h2", "ok"), host("w1", "warning"), host("c1", "critical"),
        host("c2", "critical", "critical"), host("u1", "unknown"), host("v1", "skipped"),
    ])  # fmt: skip
    assert names(fleet) == ["c2", "c1", "u1", "v1", "w1", "h2", "h10"]


def test_of_two_reports_of_a_host_the_later_one_counts():
    earlier = host("h1", "critical", at=samples.MOMENT.replace(minute=1))
    fleet = _fleet.fleet_view([host("h1", "ok"), earlier])
    assert fleet["status"] == "ok" and len(fleet["hosts"]) == 1


def test_counts_add_up():
    documents, unreachable = samples.troubled_fleet()
    fleet = _fleet.fleet_view(documents, unreachable)
    assert fleet["counts"]["hosts"] == {"critical": 1, "unknown": 1, "warning": 1, "ok": 17}
    shown = [check for one in fleet["hosts"] for check in one["checks"] if check["source"] != "self_report"]
    assert sum(fleet["counts"]["checks"].values()) == len(shown) + len(fleet["checks"])


def test_headlines():
    documents, unreachable = samples.troubled_fleet(20)
    assert _fleet.fleet_view(documents, unreachable)["headline"] == (
        "1 of 20 hosts critical: PostgreSQL at 10.0.0.15:5432 refused the connection (hs5)"
    )
    assert _fleet.fleet_view(samples.healthy_fleet(4))["headline"] == "All 4 hosts are ok: 41 checks passed"
    assert _fleet.fleet_view([host("h1", "ok")])["headline"] == "The one host is ok: 1 check passed"
    assert _fleet.fleet_view([host("h1", "warning")])["headline"] == "h1 has warnings: h1 is warning"
    assert _fleet.fleet_view([])["headline"] == "Nothing was measured: no host returned a report"
    assert _fleet.fleet_view([host("h1", "skipped")])["headline"].endswith("no check was executed")


def versions(name, **found):
    return host(name, "ok", facts={"versions": found})


def test_two_homeserver_versions_are_a_warning_that_names_the_hosts():
    fleet = _fleet.fleet_view(
        [versions("a", homeserver="1.1"), versions("b", homeserver="1.2"), versions("c", homeserver="1.2")]
    )
    (check,) = fleet["checks"]
    assert fleet["status"] == check["status"] == "warning"
    assert check["message"] == "homeserver: 2 versions run side by side: 1.1 on a; 1.2 on b, c"
    assert fleet["headline"].startswith("All 3 hosts are ok, but the fleet is not: homeserver: 2 versions")
    assert fleet["counts"]["checks"]["warning"] == 1


def test_one_version_and_versions_of_other_components_are_no_warning():
    fleet = _fleet.fleet_view(
        [versions("a", homeserver="1.1", redis="7"), versions("b", homeserver=["1.1"], redis="8")]
    )
    assert [check["status"] for check in fleet["checks"]] == ["ok"]
    assert fleet["versions"]["redis"] == {"7": ["a"], "8": ["b"]}


def test_one_host_with_two_versions_is_skew():
    fleet = _fleet.fleet_view([versions("a", homeserver=["1.1", "1.2"])])
    assert fleet["checks"][0]["status"] == "warning"


def test_no_version_known_gives_no_verdict():
    assert _fleet.fleet_view([host("a", "ok"), host("b", "ok", facts={"versions": "?"})])["checks"] == []


def test_versions_are_compared_within_a_deployment():
    one = versions("a", homeserver="1.1")
    other = {**versions("b", homeserver="1.2"), "deployment": "example.net"}
    fleet = _fleet.fleet_view([one, other])
    assert fleet["deployment"] == "example.net+example.org"
    assert [check["status"] for check in fleet["checks"]] == ["ok", "ok"]


def test_same_documents_give_the_same_view_and_are_not_changed():
    documents, unreachable = samples.troubled_fleet()
    before = copy.deepcopy(documents)
    first = _fleet.fleet_view(documents, unreachable, now="2030-01-01T00:00:00.000Z")
    assert first == _fleet.fleet_view(documents[::-1], unreachable, now="2031-01-01T00:00:00.000Z")
    assert documents == before
    assert json.loads(json.dumps(first, allow_nan=False)) == first


def test_what_the_next_run_reads_as_baseline_is_a_report():
    documents, dummy = samples.troubled_fleet()
    for one in _fleet.fleet_view(documents)["hosts"]:
        kept = _fleet.compact(one)
        VALIDATOR.validate(kept)
        assert kept["facts"] == one["facts"]
        assert len(json.dumps(kept)) < len(json.dumps(one))
        VALIDATOR.validate(one)


def test_history_point_keeps_verdicts_problems_and_numbers():
    documents, unreachable = samples.troubled_fleet()
    point = _fleet.history_point(_fleet.fleet_view(documents, unreachable))
    assert _fleet.is_history_point(json.loads(json.dumps(point)))
    assert point["hosts"][0]["problems"][0]["error_kind"] == "refused"
    assert {"name": "client_api", "target": "http://10.0.0.19:8008", "unit": "ms", "value": 184.2} in point["hosts"][2][
        "values"
    ]


@pytest.mark.parametrize("point", [None, [], {}, {"schema": _fleet.HISTORY_SCHEMA}, {"schema": "x", "hosts": []}])
def test_what_is_no_history_is_refused(point):
    assert not _fleet.is_history_point(point)


def test_summary_is_a_few_kilobytes_whatever_the_fleet():
    documents = [host(f"h{number}", *["critical"] * 40) for number in range(100)]
    for document in documents:
        for check in document["checks"]:
            check["message"] = "it broke " * 200
    summary = _fleet.summary(_fleet.fleet_view(documents), {"json": "/srv/x.json"}, "ok")
    assert len(json.dumps(summary)) < 4000
    assert summary["problems"] == 4000 and len(summary["worst"]) == 5
    assert summary["status_changed"] is True


@pytest.mark.parametrize(("previous", "changed"), [(None, False), ("ok", False), ("critical", True)])
def test_summary_says_whether_the_status_changed(previous, changed):
    assert _fleet.summary(_fleet.fleet_view([host("a", "ok")]), {}, previous)["status_changed"] is changed


@pytest.mark.parametrize(("text", "expected"), [
    ("cannot reach postgresql://matrix:hunter2@db1:5432/x", "cannot reach postgresql://matrix:***@db1:5432/x"),
    ("connect: password=hunter2 host=db1", "connect: password=*** host=db1"),
    ("GET /x?access_token=hunter2&y=1", "GET /x?access_token=***&y=1"),
    ("redis://:hunter2@cache", "redis://:***@cache"),
    ("password authentication failed for user x", "password authentication failed for user x"),
])  # fmt: skip
def test_secrets_in_messages_are_cut_out(text, expected):
    document = host("a", "critical")
    document["checks"][0]["message"] = text
    fleet = _fleet.fleet_view([document], [{"target": "b", "message": text}])
    assert {check["message"] for one in fleet["hosts"] for check in one["checks"]} == {expected}
    assert "hunter2" not in json.dumps([fleet, _fleet.summary(fleet, {}), _fleet.history_point(fleet)])


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", ".hidden", "a/b", "a b", "a\nb", "x" * 300, "ü"])
def test_file_names_stay_in_their_directory(name):
    safe = _fleet.file_name(name)
    assert "/" not in safe and not safe.startswith(".") and len(safe) < 140 and safe.isascii()
    assert safe != _fleet.file_name(name + "_")


@pytest.mark.parametrize("name", ["hs1", "hs1.example.org", "10.0.0.5", "fe80::1"])
def test_ordinary_names_are_file_names_as_they_are(name):
    assert _fleet.file_name(name) == name


@pytest.mark.parametrize("value", [True, None, "1", float("nan"), float("inf"), 10**400, -(10**400)])
def test_what_is_no_number(value):
    assert not _fleet.is_number(value)


@pytest.mark.parametrize("value", [0, -1, 1.5, 10**30])
def test_what_is_a_number(value):
    assert _fleet.is_number(value)
