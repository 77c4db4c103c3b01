"""Tests of options that cannot be right: all are told at once, before anything is read."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.matrixon.ops.plugins.module_utils._report import OBSERVER
from ansible_collections.matrixon.ops.plugins.module_utils._security.model import CHECKS, Check
from ansible_collections.matrixon.ops.plugins.module_utils._security.options import SPEC, errors, limits_of

ROOT = pathlib.Path(__file__).resolve().parents[5]
PATTERNS = yaml.safe_load((ROOT / "roles/matrixon/files/profiles/synapse.yml").read_text())["security"]
PATTERNS.pop("log")
BASE = {"target": "h", "deployment": "d", "profile": "p", "patterns": PATTERNS, "log_files": ["/l"]}


def options(**given: Any) -> dict[str, Any]:
    """Return options as the module has them."""
    checked = ArgumentSpecValidator({**OBSERVER, **SPEC}).validate({**BASE, **given})
    assert not checked.error_messages, checked.error_messages
    return checked.validated_parameters


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an empty deployment": ({"deployment": " "}, "deployment: it is empty; give the name"),
    "no time": ({"deadline": 0}, "deadline: 0 is no time to wait"),
    "nothing": (
        {"patterns": None, "log_files": [], "host_log": False, "fail2ban": False},
        "patterns: there is nothing to look at; give patterns with a log, host_log, service_ports or fail2ban",
    ),
    "a log without patterns": ({"patterns": None}, "patterns: there is a log and no way to read it"),
    "patterns without a log": ({"log_files": []}, "patterns: there is no log to read with them; give journal_units"),
    "both": ({"unsupported": "why"}, "unsupported: there are patterns, too; give one of both"),
    "a bad pattern": ({"patterns": {**PATTERNS, "line": "("}}, "patterns.line: '(' is no regular expression"),
    "a short needle": (
        {"patterns": {**PATTERNS, "events": [{**PATTERNS["events"][0], "needle": "a"}]}},
        "patterns.events[0].needle: 'a' finds too much",
    ),
    "a short unit": ({"journal_units": ["synapse"]}, "journal_units[0]: 'synapse' is not the full name of a unit"),
    "an option as unit": (
        {"journal_units": ["--root=/x.service"]},
        "journal_units[0]: '--root=/x.service' is not the full",
    ),
    "a unit twice": ({"journal_units": ["a.service"] * 2}, "journal_units: a.service stands there twice"),
    "a relative file": (
        {"log_files": ["x.log"]},
        "log_files[0]: 'x.log' is no absolute path; give one that begins",
    ),
    "the root": ({"state_dir": "/"}, "state_dir: '/' cannot be; give the absolute path of a directory of its own"),
    "a port": ({"service_ports": [70000]}, "service_ports[0]: 70000 is not a port"),
    "a proxy": ({"proxies": ["lb1"]}, "proxies[0]: 'lb1' is no address or network; give for example 10.0.0.5"),
    "jails": (
        {"fail2ban": False, "fail2ban_jails": ["a"]},
        "fail2ban_jails: they are not looked at with fail2ban",
    ),
    "no hours": ({"since_hours": 0}, "since_hours: 0 cannot be; give hours above 0, 336 at most"),
    "no hours at all": ({"since_hours": float("nan")}, "since_hours: nan cannot be"),
    "no window": ({"window_minutes": 0}, "window_minutes: 0 cannot be; give a number from 1 to 1440"),
    "no rows": ({"top": 101}, "top: 101 cannot be; give a number from 1 to 100"),
    "a check": ({"thresholds": {"fail2bam": {}}}, "thresholds: 'fail2bam' is not a check; did you mean fail2ban?"),
    "a fixed check": (
        {"thresholds": {"fail2ban": {"warning": 1}}},
        "thresholds.fail2ban: the verdict of this check",
    ),
    "no level": ({"thresholds": {"bans": {"warn": 1}}}, "thresholds.bans: {'warn': 1} is not understood; give warning"),
    "no number": (
        {"thresholds": {"bans": {"warning": "many"}}},
        "thresholds.bans.warning: 'many' is no number above",
    ),
    "zero": ({"thresholds": {"bans": {"warning": 0}}}, "thresholds.bans.warning: 0 is no number above 0"),
    "crossed": (
        {"thresholds": {"admin_refused": {"warning": 30}}},
        "thresholds.admin_refused: warning 30 is above critical 20, so it would never warn; exchange them or give both",
    ),
    "no reason": ({"skip_checks": {"bans": " "}}, "skip_checks.bans: say why it is skipped"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_refused(name: str) -> None:
    given, words = WRONG[name]
    found = list(errors(options(**given)))
    assert len(found) == 1, found
    assert words in found[0]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"patterns": None, "log_files": [], "fail2ban": False},
        {"patterns": None, "unsupported": "none was seen", "log_files": []},
        {"journal_units": ["matrix-synapse.service", "matrix-synapse-worker@*.service"]},
        {"thresholds": {"bans": {"warning": 5}, "admin_refused": {"warning": None}}},
        {"proxies": ["10.0.0.0/24", "2001:db8::1"]},
    ],
)
def test_what_can_be_is_taken(given: dict[str, Any]) -> None:
    assert list(errors(options(**given))) == []


def test_given_thresholds_stand_over_the_checks_own() -> None:
    limits = limits_of("admin_refused", {"admin_refused": {"warning": None}})
    assert (limits.warning, limits.critical) == (None, 20)


def test_the_table_of_the_role_is_that_of_the_checks() -> None:
    def level(value: float | None) -> str:
        return "-" if value is None else f"{value:g}"

    expected = [
        f"| `{check.name}` | {check.summary} | {level(check.warning)} | {level(check.critical)} |"
        for check in CHECKS.values()
    ]
    lines = (ROOT / "roles/security_monitor/README.md").read_text().splitlines()
    start = lines.index("| check | what is judged | warning | critical |") + 2
    assert lines[start : start + len(expected)] == expected
    assert not lines[start + len(expected)]


def test_each_kind_is_judged_by_a_check() -> None:
    from ansible_collections.matrixon.ops.plugins.module_utils._security.facts import GROUPS
    from ansible_collections.matrixon.ops.plugins.module_utils._security.model import KINDS

    judged = {kind for check in CHECKS.values() if isinstance(check, Check) for kind in check.kinds}
    assert judged == set(KINDS)
    assert sorted(kind for _title, kinds in GROUPS for kind in kinds) == sorted(KINDS)


def test_the_kinds_of_the_module_are_those_of_the_schema() -> None:
    import json

    schema = json.loads((ROOT / "roles/matrixon/files/profiles/schema.json").read_text())
    events = schema["properties"]["security"]["properties"]["events"]["items"]["properties"]
    assert events["kind"]["enum"] == SPEC["patterns"]["options"]["events"]["options"]["kind"]["choices"]
