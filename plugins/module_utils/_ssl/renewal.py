# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Whether a certificate will be renewed: the timer that does it, its last run and its next."""

from __future__ import annotations

import datetime
import json
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._command import Runner, run
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    INTERNAL,
    MISSING_TOOL,
    PARSE,
    Deadline,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.judge import moment
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.model import Finding, Renewal, critical, ok, warning
from ansible_collections.matrixon.ops.plugins.module_utils._systemd import is_booted, parse_blocks

RENEWAL = "certificate_renewal"
TIMER_PROPERTIES = "Id,LoadState,ActiveState,UnitFileState,Unit"
SERVICE_PROPERTIES = "Id,LoadState,ActiveState,Result,ExecMainStatus"
# The others are started by nothing after the next boot.
STARTED_AT_BOOT = ("enabled", "enabled-runtime", "static", "generated", "alias", "indirect")


@dataclass(frozen=True)
class State:
    """What systemd says of a timer and its service."""

    timer: dict[str, str]
    service: dict[str, str]
    next: datetime.datetime | None
    last: datetime.datetime | None


def observe(renewal: Renewal, deadline: Deadline, runner: Runner = run, root: str = "/") -> State:
    """Ask systemd about a timer and its service."""
    if not is_booted(root):
        raise ProbeFailure(MISSING_TOOL, "systemd does not run this host, so it has no timers")
    timer = _show(renewal.timer, TIMER_PROPERTIES, deadline, runner)
    if timer.get("LoadState") != "loaded":
        return State(timer, {}, None, None)
    service = _show(renewal.service or timer.get("Unit", ""), SERVICE_PROPERTIES, deadline, runner)
    argv = ["systemctl", "list-timers", "--all", "--no-pager", "--output=json", "--", renewal.timer]
    done = runner(argv, deadline)
    if done.code != 0:
        raise ProbeFailure(INTERNAL, f"systemctl list-timers failed: {done.complaint}")
    try:
        found: dict[str, t.Any] = next((one for one in json.loads(done.out) if one["unit"] == renewal.timer), {})
        return State(timer, service, _time(found.get("next")), _time(found.get("last")))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ProbeFailure(
            PARSE, f"systemctl list-timers answered something that was not understood ({error})"
        ) from error


def _show(unit: str, properties: str, deadline: Deadline, runner: Runner) -> dict[str, str]:
    done = runner(["systemctl", "show", "--no-pager", "--property", properties, "--", unit], deadline)
    blocks = parse_blocks(done.out)
    if done.code != 0 or not blocks:
        raise ProbeFailure(INTERNAL, f"systemctl show {unit} failed: {done.complaint}")
    return blocks[0]


def _time(microseconds: t.Any) -> datetime.datetime | None:
    """Return a time of systemd; 0 and the largest number stand for none."""
    if not microseconds or microseconds >= 2**63:
        return None
    return datetime.datetime.fromtimestamp(microseconds / 1_000_000, datetime.timezone.utc)


def judge(renewal: Renewal, state: State, ends: dict[str, datetime.datetime]) -> Finding:
    """Judge a timer. ``ends`` tells of each file that it renews when the first certificate in it ends."""
    timer, service = state.timer, state.service
    if timer.get("LoadState") != "loaded":
        return critical(RENEWAL, f"there is no such timer ({timer.get('LoadState', 'unknown')}): nothing renews here")
    if timer.get("ActiveState") != "active":
        return critical(RENEWAL, f"the timer is {timer.get('ActiveState')}: nothing renews until it is started")
    name = service.get("Id", renewal.service or "its service")
    if service.get("LoadState") != "loaded":
        return critical(RENEWAL, f"the timer starts {name}, and there is no such service")
    if service.get("ActiveState") == "failed" or service.get("Result", "success") != "success":
        code = service.get("ExecMainStatus", "0")
        why = service.get("Result", "failed") + (f", exit status {code}" if code != "0" else "")
        return critical(RENEWAL, f"the last run of {name} failed ({why}): see its journal")
    running = service.get("ActiveState") in ("activating", "active", "reloading")
    if state.next is None and not running:
        return critical(RENEWAL, "the timer is active and plans no next run")
    early = [(end, path) for path, end in ends.items() if state.next is not None and end <= state.next]
    if early and state.next is not None:
        end, path = min(early)
        return critical(
            RENEWAL, f"the next run is on {moment(state.next)}, and {path} ends before it, on {moment(end)}"
        )
    if timer.get("UnitFileState") not in STARTED_AT_BOOT:
        return warning(
            RENEWAL, f"the timer is active and {timer.get('UnitFileState') or 'not enabled'}: no boot starts it again"
        )
    last = (
        f"last run of {name} on {moment(state.last)}, with success"
        if state.last
        else f"the timer has not run {name} yet"
    )
    return ok(RENEWAL, f"{last}; {f'next on {moment(state.next)}' if state.next else 'it runs now'}")
