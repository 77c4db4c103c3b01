"""The verdicts that need no host: locks, disk, reboot, and options that cannot be right."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._probe import TIMEOUT, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._updates import judge, run

OPTIONS: dict[str, t.Any] = {
    "lock_timeout": 0.0,
    "free_bytes": 100,
    "free_boot": 50,
    "skip_checks": {},
    "timeout": 1.0,
    "deadline": 1.0,
    "journal": "/var/lib/matrixon-updates/journal.json",
}
HOLDER = {"path": "/var/lib/dpkg/lock-frontend", "pid": 42, "process": "unattended-upgr"}
NO_REBOOT = {"wanted": False, "packages": []}


def verdict(name: str, facts: dict[str, t.Any], **changes: t.Any) -> t.Any:
    return judge.verdict(name, "host", facts, {**OPTIONS, **changes})


def test_a_lock_is_a_warning_at_first_and_critical_after_waiting() -> None:
    facts = {"locks": {"holders": [HOLDER], "waited": 0.0}}
    assert verdict("updates_locks", facts).status == "warning"
    waited = verdict("updates_locks", {"locks": {"holders": [HOLDER], "waited": 5.0}}, lock_timeout=5.0)
    assert waited.status == "critical"
    assert "unattended-upgr (process 42)" in waited.message
    assert verdict("updates_locks", {"locks": {"holders": [], "waited": 0.0}}).status == "ok"


def test_boot_has_a_limit_of_its_own() -> None:
    def disk(path: str, free: int) -> str:
        return verdict("updates_disk", {"disk": [{"path": path, "free": free}]}).status

    assert (disk("/", 100), disk("/", 99)) == ("ok", "critical")
    assert (disk("/boot", 50), disk("/boot", 49)) == ("ok", "critical")
    assert verdict("updates_disk", {"disk": []}).status == "unknown"


def test_a_reboot_that_is_asked_for_is_told_where_nobody_knows_of_kernels() -> None:
    blind = ProbeFailure("missing_tool", "needrestart is not installed")
    asked = {"reboot": {"wanted": True, "packages": ["linux-image-6.1"]}, "restarts": blind}
    assert verdict("updates_reboot", asked).status == "warning"
    nothing = verdict("updates_reboot", {"reboot": NO_REBOOT, "restarts": blind})
    assert (nothing.status, nothing.error_kind) == ("unknown", "missing_tool")


@pytest.mark.parametrize("name", sorted(judge.CHECKS))
def test_what_could_not_be_seen_is_unknown(name: str) -> None:
    failure = ProbeFailure(TIMEOUT, "no answer")
    names = ("mirrors", "choice", "packages", "locks", "disk", "restarts", "reboot", "journal")
    found = verdict(name, dict.fromkeys(names, failure), packages="security", expected={"openssl": "1"})
    assert (found.status, found.error_kind) == ("unknown", TIMEOUT)


def test_a_check_that_is_skipped_says_why() -> None:
    found = verdict("updates_disk", {}, skip_checks={"updates_disk": "it is a container"})
    assert (found.status, found.skipped_reason) == ("skipped", "it is a container")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("deadline", 0.0),
        ("timeout", -1.0),
        ("lock_timeout", -1.0),
        ("free_bytes", -1),
        ("journal", "relative.json"),
        ("skip_checks", {"no_such_check": "why"}),
    ],
)
def test_options_that_cannot_be_right_name_themselves(name: str, value: t.Any) -> None:
    (error,) = run.errors({**OPTIONS, name: value})
    assert error.startswith(f"{name}: ")
