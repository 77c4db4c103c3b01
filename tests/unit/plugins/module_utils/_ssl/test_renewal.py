"""Tests of the timers that renew certificates. The answers are those of systemd 252 and 257."""

from __future__ import annotations

import datetime
import json
import pathlib
from typing import Any

import pytest
from certificates import NOW

from ansible_collections.matrixon.ops.plugins.module_utils._command import Finished
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._ssl import renewal
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.model import Renewal

HOUR = datetime.timedelta(hours=1)
TIMER = {
    **{"Id": "certbot.timer", "LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled"},
    "Unit": "certbot.service",
}
SERVICE = {
    **{"Id": "certbot.service", "LoadState": "loaded", "ActiveState": "inactive", "Result": "success"},
    "ExecMainStatus": "0",
}
CERTBOT = Renewal("certbot.timer")
FOUND = {"next": NOW + 12 * HOUR, "last": NOW - 12 * HOUR}


def microseconds(moment: datetime.datetime | None) -> int:
    return int(moment.timestamp() * 1_000_000) if moment else 0


@pytest.fixture
def root(tmp_path: pathlib.Path) -> str:
    """Return the root of a host that systemd runs."""
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    return str(tmp_path)


class Systemd:
    """Answers as systemctl does, and remembers what it was asked."""

    def __init__(self, timer: dict[str, str], service: dict[str, str], listed: Any) -> None:
        self.units = {timer["Id"]: timer, service["Id"]: service}
        self.listed = listed
        self.asked: list[list[str]] = []

    def __call__(self, argv: list[str], deadline: Deadline) -> Finished:
        self.asked.append(argv)
        if "list-timers" in argv:
            return Finished(0, self.listed if isinstance(self.listed, str) else json.dumps(self.listed), "")
        return Finished(0, "".join(f"{key}={value}\n" for key, value in self.units[argv[-1]].items()), "")


def verdict(
    root: str,
    timer: dict[str, str] | None = None,
    service: dict[str, str] | None = None,
    ends: dict[str, datetime.datetime] | None = None,
    **times: Any,
) -> tuple[str, str]:
    times = {**FOUND, **times}
    listed = [{"unit": "certbot.timer", **{name: microseconds(moment) for name, moment in times.items()}}]
    systemd = Systemd({**TIMER, **(timer or {})}, {**SERVICE, **(service or {})}, listed)
    state = renewal.observe(CERTBOT, Deadline(5), systemd, root)
    finding = renewal.judge(CERTBOT, state, ends or {})
    return finding.status, finding.message


def test_good_timer(root: str) -> None:
    assert verdict(root) == (
        "ok",
        "last run of certbot.service on 2026-06-01 00:00 UTC, with success; next on 2026-06-02 00:00 UTC",
    )
    assert verdict(root, last=None)[1].startswith("the timer has not run certbot.service yet; next on")


BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "a timer that is not there": (
        {"timer": {"LoadState": "not-found"}},
        "critical",
        "there is no such timer (not-found)",
    ),
    "a timer that is masked": ({"timer": {"LoadState": "masked"}}, "critical", "there is no such timer (masked)"),
    "a timer that is stopped": ({"timer": {"ActiveState": "inactive"}}, "critical", "the timer is inactive"),
    "a timer that no boot starts": (
        {"timer": {"UnitFileState": "disabled"}},
        "warning",
        "the timer is active and disabled",
    ),
    "a timer that is not enabled at all": (
        {"timer": {"UnitFileState": ""}},
        "warning",
        "the timer is active and not enabled",
    ),
    "a service that is not there": (
        {"service": {"LoadState": "not-found"}},
        "critical",
        "the timer starts certbot.service, and there is no such service",
    ),
    "a run that failed": (
        {"service": {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "1"}},
        "critical",
        "the last run of certbot.service failed (exit-code, exit status 1)",
    ),
    "a run that timed out": (
        {"service": {"Result": "timeout"}},
        "critical",
        "the last run of certbot.service failed (timeout)",
    ),
    "no next run": ({"next": None}, "critical", "the timer is active and plans no next run"),
    "no next run while it runs": ({"next": None, "service": {"ActiveState": "activating"}}, "ok", "last run of"),
    "an end before the next run": (
        {"ends": {"/a": NOW + 13 * HOUR, "/b": NOW + 11 * HOUR}},
        "critical",
        "the next run is on 2026-06-02 00:00 UTC, and /b ends before it, on 2026-06-01 23:00 UTC",
    ),
    "an end after the next run": ({"ends": {"/a": NOW + 13 * HOUR}}, "ok", "last run of"),
}


@pytest.mark.parametrize(("given", "status", "words"), BAD.values(), ids=list(BAD))
def test_verdict(root: str, given: dict[str, Any], status: str, words: str) -> None:
    found = verdict(root, **given)
    assert found[0] == status and found[1].startswith(words)


def test_service_of_its_own_is_asked(root: str) -> None:
    other = {**SERVICE, "Id": "renew.service", "Result": "exit-code"}
    systemd = Systemd(TIMER, other, [])
    given = Renewal("certbot.timer", "renew.service")
    finding = renewal.judge(given, renewal.observe(given, Deadline(5), systemd, root), {})
    assert finding.message.startswith("the last run of renew.service failed")
    assert all("--" in argv for argv in systemd.asked)


def test_host_without_systemd_has_no_timers(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ProbeFailure) as caught:
        renewal.observe(CERTBOT, Deadline(5), Systemd(TIMER, SERVICE, []), str(tmp_path))
    assert caught.value.kind == "missing_tool"


@pytest.mark.parametrize("listed", ["nonsense", [{"next": 1}], {"a": 1}, [{"unit": "certbot.timer", "next": "soon"}]])
def test_answer_that_is_not_understood_is_no_verdict(root: str, listed: Any) -> None:
    with pytest.raises(ProbeFailure) as caught:
        renewal.observe(CERTBOT, Deadline(5), Systemd(TIMER, SERVICE, listed), root)
    assert caught.value.kind == "parse"
