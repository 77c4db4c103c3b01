# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The report of a maintenance window, made of its journal and of the fleet as it is afterwards. Pure."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._dr.standby import parse_time
from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    SKIPPED,
    UNKNOWN,
    WARNING,
    CheckResult,
    Report,
)
from ansible_collections.matrixon.ops.plugins.module_utils._window.journal import CLOSED, Journal
from ansible_collections.matrixon.ops.plugins.module_utils._window.judge import Documents, states
from ansible_collections.matrixon.ops.plugins.module_utils._window.model import Window, window_of

# How bad a verdict is. What is skipped was not looked at, which is no verdict.
RANK = {OK: 0, WARNING: 1, UNKNOWN: 2, CRITICAL: 3}


class Frame(t.NamedTuple):
    """What a report is about."""

    deployment: str
    profile: str


class After(t.NamedTuple):
    """What was seen when the window was closed: why an answer or the silence is not known to be off, by its place."""

    health: Documents
    silent: t.Mapping[str, str]
    answers: t.Mapping[str, str]
    silence: str | None
    told: t.Sequence[dict[str, t.Any]]


def report(journal: Journal, frame: Frame, after: After, now: datetime.datetime) -> Report:
    """Return the report of a window that is closed, or is just being closed."""
    window = window_of(journal["window"], float("inf"))
    opened = parse_time(journal["opened"])
    finished = max(opened, parse_time(journal["closed"]) if journal["state"] == CLOSED else now)
    return Report(
        "maintenance_window",
        window.id,
        frame.deployment,
        frame.profile,
        opened,
        finished,
        (
            _notice(journal, window),
            _backup(journal, window),
            _steps(journal, window),
            _time(window, opened, finished),
            *_answers(journal, after),
            _silence(journal, window, after),
            *worse(journal["baseline"], after.health, after.silent),
            *_told(window, after),
        ),
        facts={"window": journal["window"], "state": journal["state"], "steps": journal["steps"]},
    )


def _notice(journal: Journal, window: Window) -> CheckResult:
    told = journal["announced"]
    message = f"announced {human(told['ahead_s'], 's')} ahead, for {window.shown()}"
    if told["ahead_s"] < 0:
        message = f"announced when it had begun, for {window.shown()}"
    if told["short_notice"]:
        message += f"; at short notice: {told['short_notice']}"
    status = WARNING if told["short_notice"] else OK
    return CheckResult("window_announced", window.id, status, message, value=told["ahead_s"], unit="s")


def _backup(journal: Journal, window: Window) -> CheckResult:
    ages = journal["backup"] or {}
    if not ages:
        return CheckResult("window_backup", window.id, UNKNOWN, "the journal says nothing of a backup")
    oldest = max(ages, key=lambda host: ages[host])
    message = f"the newest proven backup was {human(ages[oldest], 's')} old on {oldest} when the window was opened"
    return CheckResult("window_backup", window.id, OK, message, value=ages[oldest], unit="s")


def _steps(journal: Journal, window: Window) -> CheckResult:
    begun = [one["name"] for one in journal["steps"]]
    left = [one["name"] for one in journal["refused"] if one["name"] not in begun]
    if left:
        why = next(one["why"] for one in journal["refused"] if one["name"] == left[0])
        message = f"not done: {', '.join(left)}; {why}. Begun: {', '.join(begun) or 'nothing'}"
        return CheckResult("window_steps", window.id, CRITICAL, message, value=len(left), unit="count")
    if not begun:
        reason = "nothing in this window asked whether it may begin, so nobody knows what was done"
        return CheckResult("window_steps", window.id, SKIPPED, reason, skipped_reason=reason)
    return CheckResult("window_steps", window.id, OK, f"begun in time: {', '.join(begun)}", value=0, unit="count")


def _time(window: Window, opened: datetime.datetime, finished: datetime.datetime) -> CheckResult:
    late = (finished - window.ends).total_seconds()
    took = human((finished - opened).total_seconds(), "s")
    if late > 0:
        message = f"it ran out {human(late, 's')} before it was closed, at {window.ends.strftime('%H:%M UTC')}"
        return CheckResult("window_time", window.id, CRITICAL, message, value=late, unit="s")
    message = f"open for {took}, and closed {human(-late, 's')} before its end"
    return CheckResult("window_time", window.id, OK, message, value=late, unit="s")


def _answers(journal: Journal, after: After) -> t.Iterator[CheckResult]:
    for host, why in sorted(after.answers.items()):
        if why:
            message = f"nobody knows whether its maintenance answer is off ({why}); it ends by itself with the window"
            yield CheckResult("window_answer", host, UNKNOWN, message, error_kind="refused")
        else:
            yield CheckResult("window_answer", host, OK, "its maintenance answer is off")


def _silence(journal: Journal, window: Window, after: After) -> CheckResult:
    if after.silence is None:
        reason = "no Alertmanager is named, so nothing was silenced"
        return CheckResult("window_silence", window.id, SKIPPED, reason, skipped_reason=reason)
    if after.silence:
        message = f"nobody knows whether the silence is over ({after.silence}); it ends by itself with the window"
        return CheckResult("window_silence", window.id, UNKNOWN, message, error_kind="refused")
    return CheckResult("window_silence", window.id, OK, "the silence is over, alerts come through")


def _told(window: Window, after: After) -> t.Iterator[CheckResult]:
    for one in after.told:
        failed = one["status"] == "failed"
        message = f"{one['channel']}: {one['message']}" if failed else f"{one['channel']} was told"
        yield CheckResult("window_told", f"{window.id} {one['channel']}", WARNING if failed else OK, message)


def worse(
    baseline: t.Mapping[str, t.Mapping[str, t.Mapping[str, str]]], health: Documents, silent: t.Mapping[str, str]
) -> t.Iterator[CheckResult]:
    """Return what got worse on each host since the window was opened."""
    now = {document["target"]: states(document) for document in health}
    for host in sorted(set(baseline) | set(now) | set(silent)):
        if host not in baseline:
            reason = "it was not looked at before, so nothing can be compared"
            yield CheckResult("window_health", host, SKIPPED, reason, skipped_reason=reason)
        elif host not in now:
            why = silent.get(host, "it was not looked at")
            yield CheckResult("window_health", host, UNKNOWN, f"its health could not be seen afterwards: {why}")
        else:
            yield _compared(host, baseline[host], now[host])


def _compared(
    host: str, before: t.Mapping[str, t.Mapping[str, str]], now: t.Mapping[str, t.Mapping[str, str]]
) -> CheckResult:
    bad: list[str] = []
    lost: list[str] = []
    for name, was in sorted(before.items()):
        if was["status"] not in RANK:
            continue
        found = now.get(name)
        if found is None or found["status"] not in RANK:
            lost.append(f"{name} is not looked at any more")
        elif RANK[found["status"]] > RANK[was["status"]]:
            said = f": {found['message']}" if found["message"] else ""
            text = f"{name} was {was['status']} and is {found['status']}{said}"
            (lost if found["status"] == UNKNOWN else bad).append(text)
    for name, found in sorted(now.items()):
        if name not in before and found["status"] == CRITICAL:
            bad.append(f"{name} is new and critical: {found['message']}")
    if bad:
        return CheckResult("window_health", host, CRITICAL, "; ".join([*bad, *lost]), value=len(bad), unit="count")
    if lost:
        return CheckResult("window_health", host, UNKNOWN, "; ".join(lost))
    known = sum(1 for was in before.values() if was["status"] in RANK)
    return CheckResult("window_health", host, OK, f"none of {known} checks is worse than before", value=0, unit="count")
