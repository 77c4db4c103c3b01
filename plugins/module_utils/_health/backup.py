# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Backup sets: how old is the newest one that is complete, the newest one that is proven, and the end of the log.

The age comes from the set's own manifest. The time of a file says when it
was copied, not when the backup ended. Nothing is read but manifests, what
drills wrote down, and the names in the archive of the log.
"""

from __future__ import annotations

import datetime
import functools
import json
import os
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._health.model import (
    Check,
    Context,
    Limits,
    Plan,
    Probe,
    Verdict,
    grade,
    human_seconds,
    skipped,
)
from ansible_collections.matrixon.ops.plugins.module_utils._net import reason
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    AUTH,
    INTERNAL,
    PARSE,
    Deadline,
    Facts,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._report import CRITICAL, OK, UNKNOWN, WARNING

SPEC: dict[str, t.Any] = {
    "root": {"type": "path", "required": True},
    "expected": {"type": "bool", "default": True},
}

MANIFEST = "MANIFEST.json"
MAX_MANIFEST = 16 * 1024 * 1024
# Sets lie in <root>/<fleet>/<server>/sets; a root may also be one fleet or one server.
MAX_DEPTH = 2
# How far clocks may differ before a set from the future is not believed.
CLOCK_TOLERANCE = 300.0
DAY = 86400.0


def observe(root: str, deadline: Deadline) -> Facts:
    """Return, for each server under the root, when its complete sets ended and what cannot be read."""
    try:
        servers = list(servers_below(root, MAX_DEPTH))
    except OSError as error:
        if isinstance(error, FileNotFoundError) and error.filename == root:
            return {"servers": None}
        raise failure_of(error) from error
    return {"servers": {server: _sets(os.path.join(server, "sets"), deadline) for server in servers}}


def failure_of(error: OSError) -> ProbeFailure:
    kind = AUTH if isinstance(error, PermissionError) else INTERNAL
    return ProbeFailure(kind, f"{error.filename} cannot be read: {reason(error)}")


def servers_below(directory: str, depth: int) -> t.Iterator[str]:
    names = _directories(directory)
    if "sets" in names:
        yield directory
    elif depth:
        for name in names:
            yield from servers_below(os.path.join(directory, name), depth - 1)


def _directories(path: str) -> list[str]:
    """Return the directories in a directory, without hidden ones: a set in the making is hidden."""
    with os.scandir(path) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _sets(path: str, deadline: Deadline) -> Facts | ProbeFailure:
    found: Facts = {"complete": {}, "unreadable": {}}
    try:
        names = _directories(path)
    except OSError as error:
        return failure_of(error)
    for name in names:
        deadline.require(f"reading the manifests in {path}")
        try:
            manifest = _manifest(os.path.join(path, name, MANIFEST))
            if manifest["status"] == "complete":
                found["complete"][name] = parse_time(manifest["finished"])
        except OSError as error:
            kind = AUTH if isinstance(error, PermissionError) else PARSE
            found["unreadable"][name] = (kind, reason(error))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            found["unreadable"][name] = (PARSE, f"{type(error).__name__}: {error}")
    return found


def _manifest(path: str) -> dict[str, t.Any]:
    with open(path, "rb") as file:
        content = file.read(MAX_MANIFEST + 1)
    if len(content) > MAX_MANIFEST:
        raise ValueError(f"larger than {MAX_MANIFEST} bytes")
    manifest: dict[str, t.Any] = json.loads(content)
    return manifest


def parse_time(text: str) -> datetime.datetime:
    """Return an RFC 3339 time; one without a zone is refused."""
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment


def judge_age(facts: Facts, limits: Limits) -> Verdict | list[Verdict]:
    """Grade the newest complete set of each server."""
    if not facts["servers"] and not facts["expected"]:
        return skipped(f"{facts['root']} holds no backup set, and none is expected on this host")
    if facts["servers"] is None:
        return Verdict(CRITICAL, f"{facts['root']} does not exist: there is no backup on this host")
    if not facts["servers"]:
        return Verdict(CRITICAL, f"{facts['root']} holds no backup set at all")
    return [_judge_server(server, found, facts["now"], limits) for server, found in facts["servers"].items()]


def _judge_server(server: str, found: Facts | ProbeFailure, now: datetime.datetime, limits: Limits) -> Verdict:
    if isinstance(found, ProbeFailure):
        return Verdict(UNKNOWN, found.message, target=server, error_kind=found.kind)
    ages = {name: (now - finished).total_seconds() for name, finished in found["complete"].items()}
    unreadable = dict(found["unreadable"])
    for name in [name for name, age in ages.items() if age < -CLOCK_TOLERANCE]:
        unreadable[name] = (PARSE, f"it claims to end {human_seconds(-ages.pop(name))} in the future")
    notes = "".join(f"; set {name} cannot be judged: {why}" for name, (_kind, why) in sorted(unreadable.items())[:3])
    if ages:
        newest = min(ages, key=lambda name: ages[name])
        age = max(0.0, ages[newest])
        message = f"the newest complete backup set in {server} is {newest}, which ended {human_seconds(age)} ago{notes}"
        verdict = grade(age, limits, message, target=server)
    else:
        verdict = Verdict(CRITICAL, f"{server} holds no complete backup set{notes}", target=server)
    if verdict.status != OK and any(kind == AUTH for kind, _why in unreadable.values()):
        # What may not be read may be newer.
        return Verdict(UNKNOWN, verdict.message, target=server, error_kind=AUTH)
    if verdict.status == OK and unreadable:
        return Verdict(WARNING, verdict.message, value=verdict.value, target=server)
    return verdict


# --- what drills and the archive say


def judge_proof(facts: Facts, limits: Limits) -> Verdict | list[Verdict]:
    """Grade the newest proven set of each server by the age of its data."""
    return _each(facts, lambda server, found: _judge_proven(server, found, facts["now"], limits))


def judge_log(facts: Facts, limits: Limits) -> Verdict | list[Verdict]:
    """Grade how old the end of each server's log is: what would be lost now."""
    return _each(facts, lambda server, found: _judge_log(server, found["log"], facts["now"], limits))


def _each(facts: Facts, judge: t.Callable[[str, Facts], Verdict]) -> Verdict | list[Verdict]:
    if not facts["servers"]:
        return skipped(f"{facts['root']} holds no backup set, which {AGE.name} judges")
    return [
        Verdict(UNKNOWN, found.message, target=server, error_kind=found.kind)
        if isinstance(found, ProbeFailure)
        else judge(server, found)
        for server, found in facts["servers"].items()
    ]


def _judge_proven(server: str, found: Facts, now: datetime.datetime, limits: Limits) -> Verdict:
    if not found["sets"]:
        return skipped(f"{server} holds no complete backup set, which {AGE.name} judges", server)
    if found["proven"] is None:
        return Verdict(CRITICAL, f"none of the {found['sets']} sets in {server} was proven by a drill", target=server)
    name, finished = found["proven"]
    age = max(0.0, (now - finished).total_seconds())
    message = f"the newest set in {server} that a drill proved is {name}, which ended {human_seconds(age)} ago"
    return grade(age, limits, message, target=server)


def _judge_log(server: str, log: Facts | ProbeFailure, now: datetime.datetime, limits: Limits) -> Verdict:
    if isinstance(log, ProbeFailure):
        return Verdict(UNKNOWN, log.message, target=server, error_kind=log.kind)
    if "skipped" in log:
        return skipped(log["skipped"], server)
    if log["hole"]:
        message = f"the log of set {log['set']} has a hole: {log['hole']}. What came after it cannot be restored"
        return Verdict(CRITICAL, message, target=server, error_kind=PARSE)
    if log["newest"] is None:
        return Verdict(CRITICAL, f"the archive {log['path']} holds no log at all", target=server)
    age = max(0.0, (now - log["newest"]).total_seconds())
    message = (
        f"{log['path']} holds the log without a hole from set {log['set']} on, and was written to "
        f"{human_seconds(age)} ago: so much would be lost now at most"
    )
    return grade(age, limits, message, target=server)


AGE = Check(
    "backup_age",
    "Age of the newest complete backup set, by the end that its manifest records",
    judge_age,
    unit="s",
    warning=26 * 3600,
    critical=50 * 3600,
)
# The thresholds of these two are those of matrixon_backup_info.
VERIFIED = Check(
    "backup_verified_age",
    "Age of the newest backup set that a drill has proved",
    judge_proof,
    unit="s",
    warning=8 * DAY,
    critical=15 * DAY,
)
ARCHIVE = Check(
    "backup_archive_age",
    "Age of the end of the database's log in the archive beside the sets, if it has no hole: what would be lost now",
    judge_log,
    unit="s",
    warning=600,
    critical=900,
)
CHECKS: tuple[Check, ...] = (AGE, VERIFIED, ARCHIVE)


def validate(options: dict[str, t.Any]) -> t.Iterator[str]:
    """Yield a sentence for each option that cannot be right."""
    if not os.path.isabs(options["root"]):
        yield f"backup.root: {options['root']!r} is not an absolute path; write for example /var/backups/matrixon"


def plan(options: dict[str, t.Any], context: Context) -> Plan:
    """Return the probe that reads when sets ended, and the one that reads what was proven and archived."""
    # Most hosts have no sets, and there this is not worth its time.
    from ansible_collections.matrixon.ops.plugins.module_utils._health import backup_proof

    root = options["root"]
    given = {"root": root, "expected": options["expected"], "now": context.now}
    return [
        Probe(root, (AGE,), functools.partial(observe, root), given),
        Probe(root, (VERIFIED, ARCHIVE), functools.partial(backup_proof.observe, root), given),
    ]
