"""Findings that somebody answers for, until a day."""

from __future__ import annotations

import datetime
import pathlib
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.matrixon.ops.plugins.module_utils._audit import exceptions
from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import Finding, Rule, bad, good, unseen
from ansible_collections.matrixon.ops.plugins.module_utils._probe import ProbeFailure
from ansible_collections.matrixon.ops.plugins.plugin_utils import security_audit

RULE = Rule("user-uid0", "critical", "only root has the user id 0", "remove it")
OTHER = Rule("ssh-root-login", "critical", "no", "no")
TODAY = datetime.date(2026, 11, 27)


def entry(**other: Any) -> dict[str, Any]:
    whole = {"id": "user-uid0", "host": "db*", "reason": "a test", "owner": "alice", "expires": "2026-11-27"}
    return {key: value for key, value in {**whole, **other}.items() if value is not None}


def parsed(*entries: dict[str, Any]) -> list[exceptions.Exemption]:
    found, problems = exceptions.parse(list(entries), {"user-uid0", "ssh-root-login"})
    assert problems == []
    return found


def applied(finding: Finding, *entries: dict[str, Any], host: str = "db1") -> tuple[Finding, list[str]]:
    found, states = exceptions.apply([finding], parsed(*entries), host, TODAY)
    return found[0], [state["state"] for state in states]


def test_until_its_day_a_finding_is_skipped_with_the_reason() -> None:
    finding, states = applied(bad(RULE, "toor", "toor"), entry())
    assert finding.status == "skipped" and states == ["used"]
    reason = finding.result("db1", 0).skipped_reason
    assert reason is not None and "a test" in reason and "alice" in reason and "2026-11-27" in reason


def test_the_day_after_it_counts_and_says_so() -> None:
    finding, states = applied(bad(RULE, "toor", "toor"), entry(expires="2026-11-26"))
    assert finding.status == "critical" and states == ["expired"]
    assert "alice ended on 2026-11-26" in finding.result("db1", 0).message


def test_of_two_the_valid_one_counts() -> None:
    finding, states = applied(bad(RULE, "x", "toor"), entry(expires="2026-11-26"), entry(id="user-uid0:toor"))
    assert finding.status == "skipped" and sorted(states) == ["expired", "used"]


@pytest.mark.parametrize(
    ("change", "host", "status"),
    [
        ({"id": "user-uid0:toor"}, "db1", "skipped"),
        ({"id": "user-uid0:other"}, "db1", "critical"),
        ({"id": "ssh-root-login"}, "db1", "critical"),
        ({"host": "*"}, "lb1", "skipped"),
        ({}, "lb1", "critical"),
        ({}, "DB1", "critical"),
    ],
)
def test_which_findings_it_is_about(change: dict[str, Any], host: str, status: str) -> None:
    assert applied(bad(RULE, "x", "toor"), entry(**change), host=host)[0].status == status


def test_no_exception_is_for_what_was_not_seen() -> None:
    finding, states = applied(unseen(RULE, ProbeFailure("auth", "no")), entry())
    assert finding.status == "unknown" and states == ["unseen"]
    assert applied(good(RULE, "fine"), entry())[1] == ["unused"]


def test_of_an_area_that_was_left_out_nothing_is_known() -> None:
    """An exception whose rule was not asked must not look as if it could go."""
    assert applied(good(RULE, "fine"), entry(id="ssh-root-login"))[1] == ["unseen"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("text", "no list"),
        ({"id": "x"}, "no list"),
        (["text"], "no mapping"),
        ([entry(reason=None)], "lacks reason"),
        ([entry(owner="  ")], "lacks owner"),
        ([entry(until="x")], "does not know until"),
        ([entry(id="no-such-rule")], "is no rule"),
        ([entry(expires="soon")], "is no day"),
        ([entry(expires="2026-13-01")], "is no day"),
        ([entry(), entry()], "twice"),
    ],
)
def test_what_cannot_be_right_is_refused(given: Any, words: str) -> None:
    problems = exceptions.parse(given, {"user-uid0"}, "security_audit_exceptions: /x.yml")[1]
    assert len(problems) == 1 and words in problems[0] and problems[0].startswith("security_audit_exceptions: /x.yml")


def use(states: dict[str, str], hosts: list[str], **change: Any) -> list[str]:
    found = parsed(entry(**change))
    told = {host: [{"id": found[0].id, "host": found[0].host, "state": state}] for host, state in states.items()}
    return [check.status for check in exceptions.judge_use(found, told, hosts)]


def test_one_that_matches_nothing_anywhere_is_a_warning() -> None:
    assert use({"db1": "unused", "db2": "unused"}, ["db1", "db2", "lb1"]) == ["warning"]
    assert use({"db1": "unused", "db2": "used"}, ["db1", "db2", "lb1"]) == ["ok"]
    assert use({"db1": "unused", "db2": "expired"}, ["db1", "db2"]) == ["ok"]
    assert use({"db1": "unused", "db2": "unseen"}, ["db1", "db2"]) == ["skipped"]
    # A limit, or a host that was lost.
    assert use({"db1": "unused"}, ["db1", "db2"]) == ["skipped"]
    assert use({}, ["lb1"]) == ["warning"]


def test_the_file(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "exceptions.yml"
    file.write_text("- {id: ssh-root-login, host: db1, reason: a test, owner: alice, expires: 2027-01-31}\n")
    found = security_audit.security_exceptions(str(file))
    assert found["problems"] == [] and found["entries"][0]["expires"] == "2027-01-31"
    assert security_audit.security_exceptions("") == {"entries": [], "problems": []}
    file.write_text("")
    assert security_audit.security_exceptions(str(file)) == {"entries": [], "problems": []}


@pytest.mark.parametrize("text", ["- {id: [", "- id: x\n  - y", "\x00", "a: 1", "- &a [*a]"])
def test_a_garbled_file_is_one_clear_sentence(tmp_path: pathlib.Path, text: str) -> None:
    file = tmp_path / "exceptions.yml"
    file.write_text(text)
    found = security_audit.security_exceptions(str(file))
    assert found["entries"] == [] and len(found["problems"]) == 1
    assert found["problems"][0].startswith(f"security_audit_exceptions: {file}")


def test_a_file_that_is_not_there_or_not_a_file(tmp_path: pathlib.Path) -> None:
    for path in ("relative.yml", str(tmp_path / "no.yml"), str(tmp_path)):
        assert len(security_audit.security_exceptions(path)["problems"]) == 1
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "not YAML" in security_audit.security_exceptions(str(binary))["problems"][0]


def test_the_report_on_exceptions() -> None:
    entries = [entry(id="ssh-root-login")]
    results = [
        {"report": {"target": "db1"}, "exceptions": [{"id": "ssh-root-login", "host": "db*", "state": "unused"}]}
    ]
    documents = security_audit.security_exceptions_use(entries, results, ["db1"], "example", "synapse")
    assert [document["target"] for document in documents] == ["exceptions"] and documents[0]["status"] == "warning"
    assert security_audit.security_exceptions_use([], results, ["db1"], "example", "synapse") == []
    with pytest.raises(AnsibleFilterError, match="lacks"):
        security_audit.security_exceptions_use(entries, [{}], ["db1"], "example", "synapse")
