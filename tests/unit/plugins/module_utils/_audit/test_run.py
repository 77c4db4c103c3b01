"""A whole audit: options, plan, looks that fail, the report and what is in it."""

from __future__ import annotations

import datetime
import json
import pathlib
import re
import threading
from typing import Any

import jsonschema
import pytest

from ansible_collections.matrixon.ops.plugins.module_utils import _fleet
from ansible_collections.matrixon.ops.plugins.module_utils._audit import options, run
from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import (
    Look,
    NotHere,
    Rule,
    Seen,
    Skip,
    Tools,
    bad,
)
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure

ROOT = pathlib.Path(__file__).resolve().parents[5]
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
NOW = datetime.datetime(2026, 11, 27, 9, 0, tzinfo=datetime.timezone.utc)
A, B = Rule("rule-a", "critical", "it is so", "make it so"), Rule("rule-b", "warning", "it is", "make it")


def given(**other: Any) -> dict[str, Any]:
    whole = {
        "target": "db1",
        "deployment": "example",
        "profile": "synapse",
        "unknown_as": "unknown",
        "areas": None,
        "deadline": 30,
        "timeout": 10,
        "lists_max_days": 7,
        "debsecan": False,
        "debsecan_source": "",
        "lynis": False,
        "ports": [],
        "firewall": False,
        "automation_users": [],
        "shell_users": ["postgres"],
        "secret_files": [],
        "directories": [],
        "directories_without": [],
        "postgresql": None,
        "redis": None,
        "homeserver": None,
        "exceptions": [],
    }
    return {**whole, **other}


def looked(monkeypatch: pytest.MonkeyPatch, *plan: Look | Skip, **other: Any) -> run.Outcome:
    monkeypatch.setattr(run, "make_plan", lambda options: list(plan))
    monkeypatch.setattr(run, "rules", lambda: {"rule-a": A, "rule-b": B})
    monkeypatch.setattr(options, "rules", lambda: {"rule-a": A, "rule-b": B})
    outcome = run.audit(given(**other), NOW, tools=Tools("/nowhere"))
    jsonschema.validate(outcome.report.as_dict("full"), SCHEMA)
    return outcome


def look(probe: Any = lambda tools, deadline: None, judge: Any = lambda facts: Seen(), *rules: Rule) -> Look:
    return Look("one", rules or (A, B), probe, judge)


def statuses(outcome: run.Outcome) -> dict[str, str]:
    return {check.name: check.status for check in outcome.report.checks}


def test_a_rule_without_a_finding_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = looked(monkeypatch, look(judge=lambda facts: Seen([bad(B, "it is not", "thing")])))
    assert statuses(outcome) == {"rule_a": "ok", "rule_b": "warning"}
    assert outcome.report.status == "warning"
    check = next(check for check in outcome.report.checks if check.name == "rule_b")
    assert check.target == "thing"
    assert check.message == "it is not; expected: it is; to mend: make it [rule-b:thing]"


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (ProbeFailure("auth", "may not"), "unknown", "auth"),
        (PermissionError(13, "Permission denied", "/etc/x"), "unknown", "auth"),
        (KeyError("x"), "unknown", "internal"),
        (NotHere("not installed"), "skipped", None),
    ],
)
def test_what_cannot_be_seen(monkeypatch: pytest.MonkeyPatch, error: Exception, status: str, kind: str | None) -> None:
    def probe(tools: Tools, deadline: Deadline) -> None:
        raise error

    outcome = looked(monkeypatch, look(probe))
    assert set(statuses(outcome).values()) == {status}
    assert {check.error_kind for check in outcome.report.checks} == {kind}
    # Nothing was measured.
    assert outcome.report.status == "unknown"
    assert "nothing is known" in outcome.report.facts["answer"]


def test_one_that_hangs_does_not_hold_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    hung = Look("hung", (A,), lambda tools, deadline: gate.wait(20), lambda facts: Seen())
    good = Look("good", (B,), lambda tools, deadline: None, lambda facts: Seen())
    try:
        outcome = looked(monkeypatch, hung, good, deadline=0.3)
    finally:
        gate.set()
    assert statuses(outcome) == {"rule_a": "unknown", "rule_b": "ok"}
    assert next(check for check in outcome.report.checks if check.name == "rule_a").error_kind == "timeout"


def test_the_ranking_and_the_answer_begin_with_the_worst(monkeypatch: pytest.MonkeyPatch) -> None:
    weak = [bad(B, "lesser", "x"), bad(A, "worse", "y")]
    outcome = looked(monkeypatch, look(judge=lambda facts: Seen(weak, {"users": []})))
    table = outcome.report.facts["rankings"][0]
    assert [row[0] for row in table["rows"]] == ["rule-a:y", "rule-b:x"] and table["bar"] is None
    assert [len(row) for row in table["rows"]] == [len(table["columns"])] * 2
    assert outcome.report.facts["answer"] == "db1: 1 critical and 1 lesser weaknesses; begin with rule-a:y: worse"
    assert outcome.findings[0]["mend"] == "make it so"


def test_an_exception_takes_a_finding_out_of_all_of_that(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"id": "rule-a", "host": "db1", "reason": "a test", "owner": "alice", "expires": "2026-11-27"}
    outcome = looked(monkeypatch, look(judge=lambda facts: Seen([bad(A, "worse")])), exceptions=[entry])
    assert statuses(outcome) == {"rule_a": "skipped", "rule_b": "ok"} and outcome.report.status == "ok"
    assert outcome.findings == [] and outcome.exceptions == [{"id": "rule-a", "host": "db1", "state": "used"}]


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("deadline", 0, "deadline: 0"),
        ("areas", [], "areas: the list is empty"),
        ("lists_max_days", 0, "lists_max_days: 0"),
        ("ports", ["ssh"], "ports: 'ssh' is not a port"),
        ("directories", ["etc"], "directories: 'etc' is not absolute"),
        ("secret_files", [{"paths": ["x"], "owners": []}], "secret_files: 'x' is not absolute"),
        ("redis", {"host": "127.0.0.1", "port": 0, "password": None}, "redis.port: 0 is not a port"),
        ("exceptions", [{"id": "x"}], "exceptions: entry 1: lacks host"),
        (
            "homeserver",
            {
                "configuration": ["python"],
                "settings": {"registratoin": "x"},
                "signing_key": None,
                "signing_key_max_days": 1,
                "unsupported": None,
            },
            "did you mean registration?",
        ),
    ],
)
def test_what_cannot_be_right_is_refused_before_anything(option: str, value: Any, words: str) -> None:
    with pytest.raises(options.OptionErrors, match=re.escape(words)):
        run.audit(given(**{option: value}), NOW, tools=Tools("/nowhere"))


def test_a_password_comes_from_its_file_and_an_empty_one_is_refused(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "password"
    file.write_text("from-the-file\n")
    asked = given(redis={"host": "127.0.0.1", "port": 6379, "password": "inventory", "password_file": str(file)})
    assert options.read_secrets(asked) == ["from-the-file"] and asked["redis"]["password"] == "from-the-file"
    assert options.read_secrets(given()) == []
    file.write_text("\n")
    for path in (file, tmp_path / "none"):
        asked["redis"]["password_file"] = str(path)
        with pytest.raises(options.OptionErrors, match=f"redis.password_file: {path} cannot be read: "):
            options.read_secrets(asked)


def test_areas_are_chosen() -> None:
    named = {rule.id for entry in options.make_plan(given(areas=["kernel"])) for rule in entry.rules}
    assert named == {"kernel-setting", "core-dumps", "time-sync"}


def test_every_rule_is_in_the_readme_as_it_is_declared() -> None:
    text = (ROOT / "roles/security_audit/README.md").read_text()
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (critical|warning) \| (.+) \|$", text, re.MULTILINE)
    declared = {(rule.id, rule.severity, rule.expected) for rule in options.rules().values()}
    assert set(rows) == declared and len(rows) == len(declared)


def test_names_of_looks_and_ids_of_rules_are_there_once() -> None:
    everything = given(
        lynis=True,
        debsecan=True,
        ports=["22"],
        firewall=True,
        directories=["/x"],
        secret_files=[{"paths": ["/x"], "owners": []}],
    )
    plan = options.make_plan(everything)
    names = [entry.name for entry in plan if isinstance(entry, Look)]
    assert len(names) == len(set(names))
    ids = [rule.id for entry in plan for rule in entry.rules]
    assert len(ids) == len(set(ids))


def test_reports_hide_no_part_of_a_finding() -> None:
    """What looks like a password in a text is hidden, so no text of a rule may look so."""
    for rule in options.rules().values():
        for subject in ("", "thing"):
            finding = bad(rule, "it was found", subject)
            message = finding.result("db1", 0).message
            assert _fleet.redacted(message) == message
            assert [_fleet.redacted(word) for word in finding.row()] == finding.row()
