# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What there is to fall back on, and how good it is: what matrixon_backup_info does.

Facts are read from manifests, drills and the archive's listing; no engine is
asked for its opinion, but to read a repository again, where its exit status
counts for nothing. The verdicts are pure.
"""

from __future__ import annotations

import datetime
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster, take
from ansible_collections.matrixon.ops.plugins.module_utils._backup import options as shared
from ansible_collections.matrixon.ops.plugins.module_utils._backup.archive import Archive, first_hole
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import (
    DATABASE,
    PHYSICAL,
    Manifest,
    Target,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.media import Share
from ansible_collections.matrixon.ops.plugins.module_utils._backup.outcome import Outcome
from ansible_collections.matrixon.ops.plugins.module_utils._backup.steps import Failed, Steps
from ansible_collections.matrixon.ops.plugins.module_utils._backup.store import Clock, Entry, Store, utc_now
from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, PARSE, Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    FAILING,
    OK,
    SKIPPED,
    UNKNOWN,
    WARNING,
    CheckResult,
    headline,
    rfc3339,
)


@dataclass(frozen=True)
class Limits:
    """From which value on a check warns and is critical, in the unit of the check."""

    warning: float | None = None
    critical: float | None = None

    def status(self, value: float) -> str:
        """Return the verdict on a value."""
        if self.critical is not None and value >= self.critical:
            return CRITICAL
        return WARNING if self.warning is not None and value >= self.warning else OK


DAY = 86400.0
# In seconds, but for the free space, which is judged by the days until none is left.
DEFAULTS = {
    "complete_age": Limits(26 * 3600, 50 * 3600),
    "verified_age": Limits(8 * DAY, 15 * DAY),
    "archive_age": Limits(600, 900),
    "restore_time": Limits(2 * 3600, 4 * 3600),
}
# Days until the store is full, from below.
FULL_IN = Limits(30 * DAY, 7 * DAY)


def run(options: shared.Options, check_mode: bool, clock: Clock = utc_now) -> Outcome:
    """Look at the store; nothing is changed."""
    target = shared.server_name(options)
    steps = Steps("backup_info", target, options["deployment"], options["profile"], clock)
    try:
        with steps.step("store") as note:
            limits = _limits(options)
            place = shared.store(options)
            entries = place.sets()
            note.say(f"{place.path} holds {len(entries)} sets", len(entries), "count")
    except Failed:
        report = steps.report()
        return Outcome(report=report, failed=True, msg=headline(report))
    now = clock()
    steps.add(
        judge_complete(entries, now, limits["complete_age"], target),
        judge_verified(entries, now, limits["verified_age"], target),
        judge_damage(entries, target),
        judge_leftovers(place.leftovers(), target),
        _archive(entries, place, options, now, limits["archive_age"], target),
        judge_restore_time(entries, limits["restore_time"], target),
        judge_space(entries, place.space().free, target),
    )
    if options["verify_shares"]:
        steps.add(_verify(entries, place, options["verify_shares"], Deadline(options["deadline"]), target))
        if shared.in_repository(entries):
            steps.add(_verify_repository(entries, place, options, target))
    steps.facts["sets"] = [shared.described(entry) for entry in reversed(entries)]
    report = steps.report()
    return Outcome(
        report=report,
        failed=report.status in FAILING[options["fail_on"]],
        values={"sets": steps.facts["sets"]},
    )


def _limits(options: shared.Options) -> dict[str, Limits]:
    found = shared.problems(options)
    if options["verify_shares"] < 0:
        found.append(f"verify_shares: {options['verify_shares']} is not 0 or more; 1 reads everything, 0 nothing")
    limits = dict(DEFAULTS)
    for name, given in options["thresholds"].items():
        if name not in DEFAULTS:
            found.append(f"thresholds: there is no check {name!r}; there are {', '.join(DEFAULTS)}")
        elif not isinstance(given, dict) or set(given) - {"warning", "critical"}:
            found.append(f"thresholds.{name}: give warning and critical, such as {{warning: 3600, critical: 7200}}")
        else:
            try:
                values = {key: None if value is None else float(value) for key, value in given.items()}
            except (TypeError, ValueError):
                found.append(f"thresholds.{name}: {given} are no numbers of seconds")
                continue
            limits[name] = Limits(values.get("warning"), values.get("critical"))
    if found:
        raise BackupError(INTERNAL, "; ".join(found))
    return limits


# --- verdicts, all pure


def _age(manifest: Manifest, now: datetime.datetime) -> float:
    """Return seconds. A set from the future has the age 0: the clock jumped, and order goes by sequence."""
    return max(0.0, (now - manifest.finished).total_seconds())


def _graded(name: str, target: str, value: float, limits: Limits, message: str) -> CheckResult:
    return CheckResult(
        name,
        target,
        limits.status(value),
        message,
        value=round(value, 3),
        unit="s",
        warning=limits.warning,
        critical=limits.critical,
    )


def judge_complete(entries: t.Sequence[Entry], now: datetime.datetime, limits: Limits, target: str) -> CheckResult:
    """Grade the age of the newest complete set."""
    found = take.sound(entries)
    if not found or not found[-1].manifest:
        return CheckResult("complete_age", target, CRITICAL, "there is no complete set")
    age = _age(found[-1].manifest, now)
    message = f"the newest complete set is {found[-1].id}, {human(age, 's')} old"
    return _graded("complete_age", target, age, limits, message)


def judge_verified(entries: t.Sequence[Entry], now: datetime.datetime, limits: Limits, target: str) -> CheckResult:
    """Grade the age of the newest set that a drill proved, by the age of its data."""
    found = [entry for entry in take.sound(entries) if entry.verified]
    if not found or not found[-1].manifest:
        return CheckResult("verified_age", target, CRITICAL, "no set was ever proven by a drill")
    age = _age(found[-1].manifest, now)
    message = f"the newest set that a drill proved is {found[-1].id}, {human(age, 's')} old"
    return _graded("verified_age", target, age, limits, message)


def judge_damage(entries: t.Sequence[Entry], target: str) -> CheckResult:
    """Name sets that cannot be used, and sets whose drill went wrong."""
    damaged = [f"set {entry.id} is damaged: {entry.damage}" for entry in entries if entry.damage]
    unproven = [
        f"the last drill of set {entry.id} ended {entry.drill.status}"
        for entry in take.sound(entries)
        if entry.drill and entry.drill.status != OK
    ]
    count = len(damaged) + len(unproven)
    if not count:
        return CheckResult("damaged_sets", target, OK, "no set is known to be damaged", value=0, unit="count")
    newest = entries[-1]
    # Of the newest set it is what one would restore tonight.
    status = CRITICAL if newest.damage or (newest.drill and newest.drill.status == CRITICAL) else WARNING
    message = "; ".join((damaged + unproven)[:3]) + (f"; and {count - 3} more" if count > 3 else "")
    return CheckResult("damaged_sets", target, status, message, value=count, unit="count")


def judge_leftovers(left: t.Sequence[str], target: str) -> CheckResult:
    """Name what killed runs left. The next run removes it; that it is there says that one was killed."""
    if not left:
        return CheckResult("killed_runs", target, OK, "no run was killed since the last one", value=0, unit="count")
    message = f"a run was killed and left {', '.join(left[:3])}; the next run removes it"
    return CheckResult("killed_runs", target, WARNING, message, value=len(left), unit="count")


def judge_restore_time(entries: t.Sequence[Entry], limits: Limits, target: str) -> CheckResult:
    """Grade how long a restore would take, by the size of the newest set and the rate of the newest drill."""
    rates = [
        (entry.id, rate)
        for entry in entries
        if entry.drill and entry.drill.status == OK and (rate := _rate(entry.drill.report))
    ]
    newest = next((e.manifest for e in reversed(take.sound(entries)) if e.manifest and e.manifest.pg), None)
    if not rates or newest is None or newest.pg is None:
        words = "no drill has measured how fast a restore is"
        return CheckResult("restore_time", target, SKIPPED, words, skipped_reason=words)
    size = sum(database.bytes for database in newest.pg.databases)
    set_id, rate = rates[-1]
    seconds = size / rate
    message = (
        f"a restore of {human(size, 'B')} would take {human(seconds, 's')} at the "
        f"{human(rate, 'B')} per second of the drill of set {set_id}"
    )
    return _graded("restore_time", target, seconds, limits, message)


def _rate(report: t.Mapping[str, t.Any] | None) -> float:
    found = (report or {}).get("facts", {}).get("bytes_per_second", 0)
    return float(found) if isinstance(found, (int, float)) else 0.0


def judge_space(entries: t.Sequence[Entry], free: int, target: str) -> CheckResult:
    """Grade how long the room lasts, at the rate at which sets were added in the time that they span."""
    found = [entry.manifest for entry in take.sound(entries) if entry.manifest]
    span = (found[-1].finished - found[0].finished).total_seconds() if found else 0.0
    if len(found) < 2 or span < DAY:
        words = "the sets span less than a day, which is too little to say how long the room lasts"
        return CheckResult("space_left", target, SKIPPED, words, skipped_reason=words)
    rate = sum(manifest.stored_bytes for manifest in found[1:]) / span
    seconds = free / rate if rate else float("inf")
    if seconds > 3650 * DAY:
        return CheckResult("space_left", target, OK, f"{human(free, 'B')} are free, which lasts for years")
    status = CRITICAL if seconds <= (FULL_IN.critical or 0) else WARNING if seconds <= (FULL_IN.warning or 0) else OK
    message = (
        f"{human(free, 'B')} are free, which lasts {human(seconds, 's')} at the {human(rate * DAY, 'B')} a day of the "
        "last sets, if none of them is removed"
    )
    return CheckResult(
        "space_left",
        target,
        status,
        message,
        value=round(seconds, 0),
        unit="s",
        warning=FULL_IN.warning,
        critical=FULL_IN.critical,
    )


# --- the files of the sets


def _verify(entries: t.Sequence[Entry], place: Store, shares: int, deadline: Deadline, target: str) -> CheckResult:
    """Read the files of all sets again, or a part that is another one each day, and compare checksums."""
    bad, size, files = [], 0, 0
    begun = time.monotonic()
    try:
        for entry in take.sound(entries):
            with place.in_use(entry.id):
                read = place.verify_files(entry, deadline, shares)
            bad += [f"set {entry.id}: {sentence}" for sentence in read.bad]
            size, files = size + read.bytes, files + read.files
    except ProbeFailure as failure:
        return CheckResult("set_checksums", target, UNKNOWN, failure.message, error_kind=failure.kind)
    took = int((time.monotonic() - begun) * 1000)
    if bad:
        message = "; ".join(bad[:3]) + (f"; and {len(bad) - 3} more" if len(bad) > 3 else "")
        return CheckResult("set_checksums", target, CRITICAL, message, value=len(bad), unit="count", duration_ms=took)
    if not files:
        words = "no file was read: there is no set, or none of its files has its turn today"
        return CheckResult("set_checksums", target, SKIPPED, words, skipped_reason=words)
    part = "" if shares == 1 else f", a part of {shares}"
    message = f"{files} files with {human(size, 'B')} were read again{part}, each has its checksum"
    return CheckResult("set_checksums", target, OK, message, value=0, unit="count", duration_ms=took)


# --- the archive of the log


def _archive(
    entries: t.Sequence[Entry],
    place: Store,
    options: shared.Options,
    now: datetime.datetime,
    limits: Limits,
    target: str,
) -> CheckResult:
    """Follow the archive from the newest physical set, and grade how old its end is: what would be lost now."""
    path = shared.archive(options, place)
    manifest = next(
        (e.manifest for e in reversed(take.sound(entries)) if e.manifest and e.manifest.kind in PHYSICAL), None
    )
    if manifest and manifest.components[DATABASE].driver == shared.PGBACKREST:
        return _repository_log(manifest, place, options, now, limits, target)
    if path is None or manifest is None or manifest.pg is None:
        words = "there is no archive of the log here" if path is None else "there is no set that it could go on from"
        return CheckResult("archive_age", target, SKIPPED, words, skipped_reason=words)
    try:
        pg = manifest.pg
        tools = cluster.programs(pg.major, "pg_waldump")
        archive = Archive(path, shared.runner(options), tools, pg.segment_bytes)
        walk, names = archive.walk(pg, Target())
        if hole := first_hole(walk, path):
            message = f"the log of set {manifest.id} has a hole: {hole}. What came after it cannot be restored"
            return CheckResult("archive_age", target, CRITICAL, message, error_kind=PARSE)
        newest = archive.written(names)
    except ProbeFailure as failure:
        return CheckResult("archive_age", target, UNKNOWN, failure.message, error_kind=failure.kind)
    if newest is None:
        return CheckResult("archive_age", target, CRITICAL, f"the archive {path} holds no log at all")
    age = max(0.0, (now - newest).total_seconds())
    message = (
        f"{path} holds the log without a hole from set {manifest.id} on; it was written to {human(age, 's')} ago, "
        f"at {rfc3339(newest)}: so much would be lost now at most"
    )
    return _graded("archive_age", target, age, limits, message)


def _repository_log(
    manifest: Manifest, place: Store, options: shared.Options, now: datetime.datetime, limits: Limits, target: str
) -> CheckResult:
    """The same for the log in a repository of pgBackRest."""
    try:
        driver = shared.pgbackrest(options, place, shared.runner(options))
        found = driver.continuity(manifest, Deadline(options["deadline"]))
    except ProbeFailure as failure:
        return CheckResult("archive_age", target, UNKNOWN, failure.message, error_kind=failure.kind)
    if lacking := found.problems():
        message = f"{'; '.join(lacking)}. What came after it cannot be restored"
        return CheckResult("archive_age", target, CRITICAL, message, error_kind=PARSE)
    age = found.age(now)
    if found.newest is None or age is None:
        return CheckResult("archive_age", target, CRITICAL, f"the archive {found.place} holds no log at all")
    message = (
        f"the archive {found.place} holds the log without a hole from set {manifest.id} on; its newest segment came "
        f"{human(age, 's')} ago, at {rfc3339(found.newest)}: so much would be lost now at most"
    )
    return _graded("archive_age", target, age, limits, message)


def _verify_repository(entries: t.Sequence[Entry], place: Store, options: shared.Options, target: str) -> CheckResult:
    """Let pgBackRest read all again that the sets need. It knows no parts, so of ``verify_shares`` days it is one."""
    name, begun = "repository_checksums", time.monotonic()
    share = Share.of_day(datetime.datetime.now(datetime.timezone.utc).date(), options["verify_shares"])
    if share.number != share.of:
        words = f"the repository is read again as a whole with share {share.of} of {share.of}, and this is {share}"
        return CheckResult(name, target, SKIPPED, words, skipped_reason=words)
    manifests = [entry.manifest for entry in take.sound(entries) if entry.manifest]
    try:
        driver = shared.pgbackrest(options, place, shared.runner(options))
        bad = driver.verify(manifests, Deadline(options["deadline"]))
    except ProbeFailure as failure:
        return CheckResult(name, target, UNKNOWN, failure.message, error_kind=failure.kind)
    took = int((time.monotonic() - begun) * 1000)
    if bad:
        message = "; ".join(bad[:3]) + (f"; and {len(bad) - 3} more" if len(bad) > 3 else "")
        return CheckResult(name, target, CRITICAL, message, value=len(bad), unit="count", duration_ms=took)
    message = "all backups and all of the log that the sets have in the repository were read again and are whole"
    return CheckResult(name, target, OK, message, value=0, unit="count", duration_ms=took)
