# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The report of a rehearsed failover: what was found, and how long a real one would take. Pure."""

from __future__ import annotations

import datetime
import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils._dr.standby import parse_time
from ansible_collections.matrixon.ops.plugins.module_utils._dr.steps import STEPS
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

KIND = "drill_dr"
# From which share of an objective on a forecast is a warning.
NEAR = 0.8
# Seconds after which a heartbeat says nothing of now.
FRESH_S = 60.0
# Which phase of a drill rehearses which step of a move. The others are known only from a real one.
REHEARSED = {"gates": "gates", "promote": "promote", "scale": "homeserver", "verify": "try"}
# Without these a forecast is none: they are what takes long.
ESSENTIAL = ("promote", "scale")
UNSEEN = "the time that others keep the old address (TTL), and what people take to decide"

Facts = dict[str, t.Any]


@dataclass(frozen=True)
class Drill:
    """What a drill found and measured. Times are moments, the objectives and phases seconds."""

    target: str
    deployment: str
    profile: str
    started: datetime.datetime
    finished: datetime.datetime
    rto_s: float
    rpo_s: float
    phases: t.Mapping[str, float] = field(default_factory=dict)
    checks: t.Sequence[Facts] = ()
    failures: t.Sequence[Facts] = ()
    move: t.Mapping[str, t.Any] = field(default_factory=dict)
    loss: t.Mapping[str, t.Any] = field(default_factory=dict)
    media: t.Mapping[str, t.Any] | None = None
    before: t.Mapping[str, t.Any] = field(default_factory=dict)
    after: t.Mapping[str, t.Any] = field(default_factory=dict)
    left: t.Sequence[str] | None = None


class Part(t.NamedTuple):
    """How long a step of a move takes, and whence that is known."""

    step: str
    seconds: float
    source: str


def report(drill: Drill) -> Report:
    """Return the report of a drill."""
    parts, missing = forecast(drill.phases, drill.move)
    checks = [_of(found, drill.target) for found in drill.checks]
    checks += [_failure(found, drill.target) for found in drill.failures]
    checks += [*_phases(drill), _rto(drill, parts, missing), _rpo(drill), _media(drill)]
    checks += [_untouched(drill), _nothing_left(drill)]
    return Report(
        KIND,
        drill.target,
        drill.deployment,
        drill.profile,
        drill.started,
        drill.finished,
        tuple(checks),
        facts={
            "phases_s": dict(drill.phases),
            "forecast": {
                "rto_s": round(sum(part.seconds for part in parts), 3),
                "parts": [part._asdict() for part in parts],
                "missing": missing,
                "rpo_bytes": drill.loss.get("bytes"),
                "rpo_s": drill.loss.get("seconds"),
            },
            "production": {"before": dict(drill.before), "after": dict(drill.after)},
        },
    )


def phases(started: datetime.datetime, marks: t.Iterable[Facts]) -> dict[str, float]:
    """Return how long each phase took: from the end of the one before it, unless that was measured better."""
    found, last = {}, started.timestamp()
    for mark in marks:
        took = mark["seconds"] if mark.get("seconds") is not None else mark["at"] - last
        found[mark["phase"]] = round(max(0.0, took), 3)
        last = mark["at"]
    return found


def forecast(phases: t.Mapping[str, float], move: t.Mapping[str, t.Any]) -> tuple[list[Part], list[str]]:
    """Return how long each step would take, rehearsed now or as in the last real move, and which are not known."""
    parts, missing = [], []
    for step in STEPS:
        phase = REHEARSED.get(step.name, "")
        real = (move.get("seconds") or {}).get(step.name)
        if phase in phases:
            parts.append(Part(step.name, phases[phase], "rehearsed"))
        elif real is not None:
            parts.append(Part(step.name, real, f"the move of {move.get('started')}"))
        else:
            missing.append(step.name)
    return parts, missing


def _of(found: Facts, target: str) -> CheckResult:
    """Return a check that another module made, as one of this report."""
    names = CheckResult.__dataclass_fields__
    known = {name: value for name, value in found.items() if name in names and name != "attempts"}
    known["message"] = known.get("message") or known.get("skipped_reason") or "nothing was said"
    return CheckResult(**{"target": target, **known})


def _failure(found: Facts, target: str) -> CheckResult:
    words = f"the drill did not get through it: {found['reason']}"
    return CheckResult(f"drill_{found['phase']}", target, CRITICAL, words)


TITLES = {
    "gates": "asking whether the move would be refused",
    "copy": "copying the database",
    "promote": "promoting the copy",
    "check": "reading the copy",
    "homeserver": "starting the homeserver on the copy",
    "try": "doing what users do",
    "teardown": "removing all of it",
}


def _phases(drill: Drill) -> t.Iterator[CheckResult]:
    for name, seconds in drill.phases.items():
        words = f"{TITLES.get(name, name)} took {seconds:.1f} s"
        yield CheckResult(f"drill_phase_{name}", drill.target, OK, words, value=round(seconds, 3), unit="s")


def _rto(drill: Drill, parts: list[Part], missing: list[str]) -> CheckResult:
    seconds = round(sum(part.seconds for part in parts), 1)
    name = "drill_forecast_rto"
    unknown = [step for step in ESSENTIAL if step in missing]
    if unknown:
        words = f"no forecast: {', '.join(unknown)} could not be rehearsed, and no real move is known"
        return CheckResult(name, drill.target, UNKNOWN, words)
    known = ", ".join(f"{part.step} {part.seconds:.1f} s ({part.source})" for part in parts)
    absent = f"; not in it: {', '.join(missing)}, which nobody has measured yet," if missing else "; not in it:"
    words = f"a move would take at least {seconds:g} s: {known}{absent} {'and ' if missing else ''}{UNSEEN}"
    warning = drill.rto_s * NEAR
    return CheckResult(
        name,
        drill.target,
        _grade(seconds, warning, drill.rto_s),
        words,
        value=seconds,
        unit="s",
        warning=warning,
        critical=drill.rto_s,
    )


def _rpo(drill: Drill) -> CheckResult:
    name, loss = "drill_forecast_rpo", drill.loss
    if not loss.get("at"):
        return CheckResult(name, drill.target, UNKNOWN, "no forecast: the witness has no heartbeat of the primary")
    age = (drill.started - parse_time(loss["at"])).total_seconds()
    if age > FRESH_S:
        words = f"no forecast: the last heartbeat was {age:.0f} s old when the drill began, and says nothing of now"
        return CheckResult(name, drill.target, UNKNOWN, words)
    if loss.get("bytes") is None or (loss["bytes"] and loss.get("seconds") is None):
        return CheckResult(name, drill.target, UNKNOWN, "no forecast: how far the standby is behind is not known")
    seconds = float(loss["seconds"] or 0)
    words = (
        f"{human(loss['bytes'], 'B')} of the log, {seconds:g} s, would be lost now"
        if loss["bytes"]
        else "nothing would be lost now of what the last heartbeat knew of"
    )
    warning = drill.rpo_s * NEAR
    return CheckResult(
        name,
        drill.target,
        _grade(seconds, warning, drill.rpo_s),
        words,
        value=seconds,
        unit="s",
        warning=warning,
        critical=drill.rpo_s,
    )


def _media(drill: Drill) -> CheckResult:
    name, media = "drill_media", drill.media
    if media is None:
        reason = "dr_drill_media_root names no backups of the media"
        return CheckResult(name, drill.target, SKIPPED, reason, skipped_reason=reason)
    if media.get("age_s") is None:
        return CheckResult(name, drill.target, CRITICAL, "there is no copy of the media")
    age, warning = float(media["age_s"]), drill.rpo_s * NEAR
    words = f"the newest copy of the media is {human(age, 's')} old, of {media.get('taken')}"
    return CheckResult(
        name,
        drill.target,
        _grade(age, warning, drill.rpo_s),
        words,
        value=round(age),
        unit="s",
        warning=warning,
        critical=drill.rpo_s,
    )


def _untouched(drill: Drill) -> CheckResult:
    """The server of the host must be the same process as before, and do what it did."""
    name, before, after = "drill_production", drill.before, drill.after
    if not before or not after:
        return CheckResult(name, drill.target, UNKNOWN, "the server of this host was not looked at before and after")
    differs = [
        f"{key} was {before.get(key)} and is {after.get(key)}"
        for key in ("pid", "started", "in_recovery", "timeline", "receiver")
        if before.get(key) != after.get(key)
    ]
    if differs:
        return CheckResult(name, drill.target, CRITICAL, f"the server of this host is another: {'; '.join(differs)}")
    if after.get("in_recovery") and after.get("receiver") != "streaming":
        return CheckResult(
            name, drill.target, WARNING, f"the receiver of its log was {after.get('receiver')} before, too"
        )
    does = "streams" if after.get("in_recovery") else "takes writes"
    return CheckResult(name, drill.target, OK, f"process {after['pid']} was not restarted, and {does} as before")


def _nothing_left(drill: Drill) -> CheckResult:
    name = "drill_removed"
    if drill.left is None:
        return CheckResult(name, drill.target, UNKNOWN, "whether something of the drill is left could not be asked")
    if drill.left:
        return CheckResult(name, drill.target, CRITICAL, f"of the drill there is still {', '.join(drill.left)}")
    return CheckResult(name, drill.target, OK, "nothing of the drill is left")


def _grade(value: float, warning: float, critical: float) -> str:
    return CRITICAL if value > critical else WARNING if value > warning else OK
