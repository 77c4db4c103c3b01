# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The report of a move between regions, made of its journal: how long each step took, and what was lost."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._dr.journal import Journal
from ansible_collections.matrixon.ops.plugins.module_utils._dr.standby import parse_time
from ansible_collections.matrixon.ops.plugins.module_utils._dr.steps import STEPS
from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    UNKNOWN,
    WARNING,
    CheckResult,
    Report,
)


class Frame(t.NamedTuple):
    """What a report is about, and the objectives: seconds."""

    target: str
    deployment: str
    profile: str
    rto_s: float
    rpo_s: float


def report(journal: Journal, frame: Frame, now: datetime.datetime) -> Report:
    """Return the report of a move, ended or not."""
    started = parse_time(journal["started"])
    finished = max(started, parse_time(journal["finished"]) if journal["finished"] else now)
    checks = [*_steps(journal, frame, now), _rto(journal, frame, finished), _loss(journal, frame)]
    return Report(
        journal["operation"],
        frame.target,
        frame.deployment,
        frame.profile,
        started,
        finished,
        (*checks, *_fence(journal, frame)),
        facts={"from": journal["from"], "to": journal["to"], "loss": lost(journal), "steps": journal["steps"]},
    )


def lost(journal: Journal) -> dict[str, t.Any]:
    """Return what is known of the loss. Bytes, seconds, and events where the homeserver counts them."""
    found = journal["steps"].get("promote", {}).get("data", {}).get("loss") or {}
    return {name: _number(value) if name in ("bytes", "seconds", "events") else value for name, value in found.items()}


def _number(value: t.Any) -> float | None:
    """Return a number. An older Ansible hands over text, and an empty one for what is not known."""
    if value in (None, "", "None"):
        return None
    return float(value) if not float(value).is_integer() else int(float(value))


def _between(earlier: datetime.datetime, later: datetime.datetime) -> float:
    """Return the seconds between two times. The clocks of two hosts may differ by a little."""
    return max(0.0, (later - earlier).total_seconds())


def _steps(journal: Journal, frame: Frame, now: datetime.datetime) -> t.Iterator[CheckResult]:
    for step in STEPS:
        known = journal["steps"].get(step.name)
        name = f"dr_step_{step.name}"
        if known is None:
            yield CheckResult(name, frame.target, UNKNOWN, f"{step.title}: not begun")
            continue
        begun = parse_time(known["started"])
        if not known["finished"]:
            ago = _between(begun, now)
            yield CheckResult(
                name, frame.target, CRITICAL, f"{step.title}: begun {ago:.0f} s ago, and not done", value=ago, unit="s"
            )
            continue
        took = _between(begun, parse_time(known["finished"]))
        again = f", at attempt {known['attempts']}" if known["attempts"] > 1 else ""
        yield CheckResult(name, frame.target, OK, f"{step.title}: {took:.1f} s{again}", value=took, unit="s")


def _rto(journal: Journal, frame: Frame, finished: datetime.datetime) -> CheckResult:
    """Judge the time from the order to the end, and say how long nobody was served, where that is known."""
    took = _between(parse_time(journal["started"]), finished)
    heartbeat = journal["steps"].get("promote", {}).get("data", {}).get("heartbeat") or {}
    away = ""
    if heartbeat.get("at"):
        away = f"; {_between(parse_time(heartbeat['at']), finished):.0f} s after the last sign of the primary"
    status = OK if journal["finished"] and took <= frame.rto_s else CRITICAL
    return CheckResult(
        "dr_rto",
        frame.target,
        status,
        f"{'done' if journal['finished'] else 'not done'} {took:.1f} s after the order{away}; the objective is "
        f"{frame.rto_s:g} s",
        value=took,
        unit="s",
        critical=frame.rto_s,
    )


def _loss(journal: Journal, frame: Frame) -> CheckResult:
    loss = lost(journal)
    if not loss:
        return CheckResult("dr_loss", frame.target, UNKNOWN, "what is lost was not measured")
    if loss.get("bytes") is None:
        return CheckResult(
            "dr_loss", frame.target, UNKNOWN, "there was no heartbeat, so what is lost is not known; it was accepted"
        )
    events = f", {loss['events']} events" if loss.get("events") is not None else ""
    if not loss["bytes"]:
        text = f"nothing is lost of what the last heartbeat ({loss.get('at', 'time unknown')}) knew of{events}"
        return CheckResult("dr_loss", frame.target, OK, text, value=0, unit="B")
    seconds = loss.get("seconds")
    when = f"{seconds:.0f} s" if seconds is not None else "an unknown time"
    text = f"lost are {human(loss['bytes'], 'B')} of the log, {when} before the last heartbeat{events}"
    within = seconds is not None and seconds <= frame.rpo_s
    return CheckResult("dr_loss", frame.target, WARNING if within else CRITICAL, text, value=loss["bytes"], unit="B")


def _fence(journal: Journal, frame: Frame) -> t.Iterator[CheckResult]:
    data = journal["steps"].get("fence", {}).get("data", {})
    for proof in data.get("proofs") or []:
        # What nobody could look at rests on somebody's word, and is never shown as seen.
        status = WARNING if proof["method"] in ("statement", "command", "edge") else OK
        yield CheckResult("dr_fenced", frame.target, status, f"{proof['method']}: {proof['message']}")
