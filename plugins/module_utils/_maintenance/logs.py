# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""See that log files are rotated, and do it once where the timer that should has not."""

from __future__ import annotations

import os
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils._command import Runner, run
from ansible_collections.matrixon.ops.plugins.module_utils._human import human, span
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import failure_of, unseen
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    SKIPPED,
    UNKNOWN,
    WARNING,
    CheckResult,
)
from ansible_collections.matrixon.ops.plugins.module_utils._systemd import is_booted
from ansible_collections.matrixon.ops.plugins.module_utils._units import State, states

TIMER, SERVICE = "logrotate.timer", "logrotate.service"
# logrotate writes its state here whenever it ran to its end.
STATUS = "var/lib/logrotate/status"
MOST_NAMES = 5


@dataclass(frozen=True)
class Tools:
    """What this works with. Tests put others in their place."""

    root: str = "/"
    runner: Runner = run
    now: t.Callable[[], float] = field(default=time.time)


class Seen(t.NamedTuple):
    """What there is: the units, when logrotate last came to its end, and the files that are too large."""

    timer: State
    service: State
    last: float | None
    large: list[tuple[str, int]]


@dataclass(frozen=True)
class Done:
    """How a run ended."""

    checks: tuple[CheckResult, ...]
    changed: bool
    plan: list[str]


def why_run(seen: Seen, most: float, now: float) -> str:
    """Return why logrotate is to be run now, or nothing. A timer that is dead is none while the last run is young."""
    if seen.last is None:
        return "it has never come to its end on this host"
    if seen.service.result != "success":
        return f"its last run ended with '{seen.service.result}'"
    age = now - seen.last
    return f"its last run was {span(age)} ago, more than {span(most)}" if age > most else ""


def look(options: dict[str, t.Any], tools: Tools, deadline: Deadline) -> Seen:
    """Ask systemd, and look through the directories."""
    units = states([TIMER, SERVICE], deadline, tools.runner)
    last: float | None = None
    try:
        last = os.stat(os.path.join(tools.root, STATUS)).st_mtime
    except FileNotFoundError:
        pass
    except OSError as error:
        raise failure_of(error) from error
    return Seen(units[TIMER], units[SERVICE], last, large_files(options["directories"], options["max_bytes"]))


def large_files(directories: t.Iterable[str], most: float) -> list[tuple[str, int]]:
    """Return files that have grown past the bound, the largest first. A directory that is not there has none."""
    found = []
    for directory in directories:
        for folder, _folders, names in os.walk(directory, onerror=unseen):
            for name in names:
                path = os.path.join(folder, name)
                try:
                    size = os.lstat(path).st_size
                except FileNotFoundError:
                    continue
                if size > most:
                    found.append((path, size))
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))


def rotate(options: dict[str, t.Any], dry: bool, tools: Tools | None = None) -> Done:
    """Look, run logrotate where that is called for, and look again."""
    tools = tools or Tools()
    deadline = Deadline(options["deadline"])
    if not is_booted(tools.root):
        reason = "systemd does not run this host, so there is no timer of logrotate to look at"
        check = CheckResult("logrotate", options["target"], SKIPPED, reason, skipped_reason=reason)
        return Done((check,), False, [])
    try:
        seen = look(options, tools, deadline)
        if seen.service.load != "loaded":
            text = "logrotate is not installed, so nothing rotates the logs; install the package logrotate"
            return Done((CheckResult("logrotate", options["target"], CRITICAL, text),), False, [])
        why = why_run(seen, options["max_age"], tools.now())
        if not why or dry:
            lines = [f"logrotate would be run once, for {why}"] if why else []
            return Done(judge(options, seen, why, dry, tools.now()), bool(why), lines)
        began = tools.now()
        done = tools.runner(["systemctl", "start", SERVICE], deadline)
        after = look(options, tools, deadline)
    except ProbeFailure as failure:
        check = CheckResult("logrotate", options["target"], UNKNOWN, failure.message, error_kind=failure.kind)
        return Done((check,), False, [])
    ran = done.code == 0 and after.last is not None and after.last >= began - 1
    if not ran:
        said = done.complaint if done.code else "it left no state behind"
        text = f"logrotate was run, for {why}, and failed: {said}; see 'journalctl -u {SERVICE}'"
        return Done((CheckResult("logrotate", options["target"], CRITICAL, text),), True, [])
    return Done(judge(options, after, f"it was run now, for {why}", False, tools.now()), True, [])


def judge(options: dict[str, t.Any], seen: Seen, said: str, dry: bool, now: float) -> tuple[CheckResult, ...]:
    """Return a check for the runs, for the timer and for the sizes."""
    target = options["target"]
    text = said or f"its last run was good, {span(now - (seen.last or now))} ago"
    if dry and said:
        text = f"would be run once, for {said}"
    return (
        CheckResult("logrotate", target, OK, text),
        _timer(seen.timer, target),
        _sizes(seen.large, options["max_bytes"], target),
    )


def _timer(timer: State, target: str) -> CheckResult:
    if timer.active == "active":
        return CheckResult("logrotate_timer", target, OK, f"{TIMER} is active")
    text = f"{TIMER} is {timer.active}, so nothing rotates logs by itself; run 'systemctl enable --now {TIMER}'"
    return CheckResult("logrotate_timer", target, WARNING, text)


def _sizes(large: list[tuple[str, int]], most: float, target: str) -> CheckResult:
    if not large:
        return CheckResult("log_size", target, OK, f"no log is larger than {human(most, 'B')}")
    names = ", ".join(f"{path} ({human(size, 'B')})" for path, size in large[:MOST_NAMES])
    more = f" and {len(large) - MOST_NAMES} more" if len(large) > MOST_NAMES else ""
    text = f"larger than {human(most, 'B')}: {names}{more}; no rule of logrotate keeps them small"
    return CheckResult("log_size", target, WARNING, text, value=large[0][1], unit="B", warning=most)
