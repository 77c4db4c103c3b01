# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""A compression of room state from end to end: gates, the tool in small parts, each proven, and what is true then."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import secrets
import threading
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils import _postgresql
from ansible_collections.matrixon.ops.plugins.module_utils._backup import process
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._compression import tables as asked
from ansible_collections.matrixon.ops.plugins.module_utils._compression import tool as tools
from ansible_collections.matrixon.ops.plugins.module_utils._compression.model import (
    Chunk,
    Difference,
    Seen,
    Way,
    difference,
    hurt_words,
    lagging,
    named,
    redacted,
    sample,
)
from ansible_collections.matrixon.ops.plugins.module_utils._compression.options import (
    RESERVE_SECONDS,
    RESERVE_SHARE,
    Options,
    way_of,
)
from ansible_collections.matrixon.ops.plugins.module_utils._human import digits, human
from ansible_collections.matrixon.ops.plugins.module_utils._media.model import judge_fresh
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Server, Session, server_of
from ansible_collections.matrixon.ops.plugins.module_utils._probe import MISSING_TOOL, Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    SKIPPED,
    UNKNOWN,
    WARNING,
    CheckResult,
    Report,
    headline,
)
from ansible_collections.matrixon.ops.plugins.module_utils._upkeep import act as upkeep
from ansible_collections.matrixon.ops.plugins.module_utils._upkeep import questions

KIND = "state_compression"
RESULT, GATES, PROOF = "state_compression", "state_compression_gates", "state_compression_proof"
# With less time no part is begun.
LEAST_TIME = 1.0
# Of the time for which the homeserver leaves a group alone that is to be deleted, what a part may take.
GRACE_SHARE = 0.8
# Seconds for which sessions of the tool are ended before the groups are looked at again.
SESSIONS_WAIT, SESSIONS_PAUSE = 10.0, 0.1
VACUUM = "space comes back to the tables by VACUUM, and to the disk only where it is rebuilt"


class Stop(Exception):
    """No further part is to be begun, and why. ``kind`` is set where something could not be observed."""

    def __init__(self, reason: str, kind: str | None = None) -> None:
        super().__init__(reason)
        self.kind = kind


class Ended(Exception):
    """The parts came to an end before all was done: why, and what that is worth."""

    def __init__(self, reason: str, status: str, kind: str | None = None) -> None:
        super().__init__(reason)
        self.status, self.kind = status, kind


@dataclass(frozen=True)
class Outcome:
    """What a run returns: the report, whether rows changed or in check mode may change, and what would be done."""

    report: Report
    changed: bool = False
    plan: tuple[str, ...] = ()


@dataclass
class Totals:
    """What all parts came to."""

    parts: int = 0
    chunks: int = 0
    groups: int = 0
    proven: int = 0
    changed: int = 0
    removed: int = 0
    added: int = 0
    gone: int = 0

    def add(self, chunks: t.Sequence[Chunk], seen: Seen, found: Difference) -> None:
        """Count one part."""
        self.parts += 1
        self.chunks += len(chunks)
        self.groups += len(seen.shapes)
        self.proven += len(seen.states)
        self.changed += len(found.changed)
        self.removed += found.removed
        self.added += found.added
        self.gone += len(found.gone)


@dataclass
class Run:
    """One run. Checks, facts and evidence are added as it goes on."""

    options: Options
    server: Server
    deadline: Deadline
    check_mode: bool
    now: datetime.datetime
    checks: list[CheckResult] = field(default_factory=list)
    facts: dict[str, t.Any] = field(default_factory=dict)
    evidence: list[str] = field(default_factory=list)
    totals: Totals = field(default_factory=Totals)
    hurt: list[str] = field(default_factory=list)
    unproven: ProbeFailure | None = None
    plan: tuple[str, ...] = ()
    changed: bool = False

    # --- notes

    def note(self, name: str, status: str, message: str, **more: t.Any) -> None:
        """Note a verdict in words."""
        text = redacted(message, self.server.password)
        reason = text if status == SKIPPED else None
        self.checks.append(CheckResult(name, self.options["target"], status, text, skipped_reason=reason, **more))

    # --- the whole

    def all(self, way: Way) -> None:
        """Compress what time and gates allow."""
        options = self.options
        secret = bool(self.server.password)
        try:
            user = process.find_user(options["tool_user"]) if options["tool_user"] else None
            tool = tools.find(way, options["tool"], options["python"], user, secret, self.deadline)
        except ProbeFailure as failure:
            if failure.kind == MISSING_TOOL:
                self.note(RESULT, SKIPPED, failure.message)
            else:
                self.note(GATES, UNKNOWN, f"nothing was done: {failure.message}", error_kind=failure.kind)
            return
        self.facts["tool"] = str(tool)
        try:
            with _postgresql.connect(self.server, self.deadline) as control:
                self._with_server(way, tool, control)
        except ProbeFailure as failure:
            self.note(GATES, UNKNOWN, f"nothing was done: {failure.message}", error_kind=failure.kind)

    def _with_server(self, way: Way, tool: tools.Tool, control: Session) -> None:
        options, identity = self.options, control.row(questions.IDENTITY)
        self.facts["versions"] = {"postgresql": identity["version"]}
        if identity["in_recovery"]:
            self.note(RESULT, SKIPPED, f"{self.server} is a standby; state is compressed on the primary")
            return
        tables = asked.Tables(control, way)
        tables.require()
        gates = _Gates(self, control, identity, tables)
        if not self._backed_up():
            return
        try:
            words = [gates.lock(), *gates.each()]
            first = gates.next(options["chunks"])
        except Stop as stop:
            status = UNKNOWN if stop.kind else CRITICAL
            self.note(GATES, status, f"nothing was done: {stop}", error_kind=stop.kind)
            return
        self.note(GATES, OK, f"{self.server} is a primary, and nobody else compresses; {'; '.join(words)}")
        ahead = tables.ahead()
        self.facts.update(position=tables.position(), ahead=ahead, size=tables.size())
        if not first:
            self.note(RESULT, OK, "nothing is left to compress", value=0, unit="count")
            return
        if self.check_mode:
            # Whether the tool then finds something to save, only the tool can say.
            self.changed = True
            self.plan = (
                f"{_counted(ahead)} groups are not compressed yet; the tool would begin with group {first[0].ids[0]} "
                f"and take {digits(options['chunks'])} times {digits(options['chunk_size'])} of them at most",
            )
            self.note(RESULT, SKIPPED, f"check mode: {self.plan[0]}")
            return
        try:
            self._end(way, self._parts(tool, tables, gates, bool(identity["number"] >= 140000)), OK)
        except Ended as ended:
            self._end(way, str(ended), ended.status, ended.kind)
        except ProbeFailure as failure:
            self._end(way, failure.message, UNKNOWN, failure.kind)

    def _backed_up(self) -> bool:
        """The tool rewrites rows, so there must be something to fall back on."""
        options = self.options
        waiver = options["without_backup"]
        if waiver:
            self.evidence.append(f"without a proven backup, by without_backup: {waiver}")
            self.note("database_backup", SKIPPED, f"not asked for, by without_backup: {waiver}")
            return True
        check = judge_fresh(options["backup_sets"], self.now, options["backup_max_age"], options["target"])
        words = check.message.replace("Nothing was deleted", "Nothing was changed")
        self.checks.append(dataclasses.replace(check, message=words))
        return check.status == OK

    # --- act

    def _parts(self, tool: tools.Tool, tables: asked.Tables, gates: _Gates, checks: bool) -> str:
        """Take part after part; return why no further one was begun, and raise Ended where that is not as it should."""
        left = self.options["chunks"]
        acting = self.deadline.within(self.deadline.remaining() - _reserve(self.deadline))
        while left > 0:
            # Counted from the look at what the homeserver is about to delete.
            part_time = acting.within(tables.way.grace * GRACE_SHARE)
            try:
                gates.each()
                part = gates.next(min(left, self.options["part"]))
            except Stop as stop:
                status = UNKNOWN if stop.kind else WARNING
                raise Ended(f"stopped before all was done: {stop}", status, stop.kind) from stop
            if not part:
                return ""
            if part_time.remaining() < LEAST_TIME:
                return f"the deadline of {self.options['deadline']:g} s leaves no time for more"
            self._part(tool, tables, part, part_time, checks)
            left -= len(part)
        return f"{digits(self.options['chunks'])} chunks were taken, which is all that chunks allows"

    def _part(self, tool: tools.Tool, tables: asked.Tables, chunks: list[Chunk], limit: Deadline, checks: bool) -> None:
        ids = tuple(number for chunk in chunks for number in chunk.ids)
        some = sample(chunks, self.options["proof_groups"])
        before = tables.see(ids, some)
        task = tools.Task(
            self.options["chunk_size"],
            len(chunks),
            tuple(self.options["levels"]),
            f"{_postgresql.APPLICATION_NAME} compression {secrets.token_hex(6)}",
            checks,
        )
        ended: Ended | None = None
        try:
            tool.run(self.server, task, limit)
        except BackupError as error:
            ended = Ended(error.message, CRITICAL, error.kind)
        except ProbeFailure as error:
            # It goes on where it was, so being cut off by time needs no more than another run.
            hint = "the next run goes on there; a smaller part or chunk_size takes less time"
            ended = Ended(f"{error.message}; {hint}", WARNING, error.kind)
        try:
            after, progress = self._look_again(tables.way, chunks, some, task.name)
        except ProbeFailure as error:
            # What it did is not known, so that it did something must be said.
            self.unproven, self.changed = error, True
            if ended and ended.status == CRITICAL:
                raise ended from error
            raise Ended(f"what the tool did was not seen: {error.message}", UNKNOWN, error.kind) from error
        found = difference(before, after, chunks)
        self.totals.add(chunks, before, found)
        self.changed = self.changed or bool(found.changed)
        if found.bad:
            self.hurt.append(hurt_words(found))
            raise Ended(f"the tool hurt groups{f'; {ended}' if ended else ''}", CRITICAL)
        if ended:
            raise ended
        if behind := lagging(chunks, progress):
            raise Ended(f"the tool says that it is done, and did not get through {named(behind)}", CRITICAL)

    def _look_again(
        self, way: Way, chunks: list[Chunk], some: tuple[int, ...], name: str
    ) -> tuple[Seen, dict[str, int]]:
        """Look at a part again, when no session of the tool can change it any more."""
        # The whole deadline may be over.
        left = Deadline(max(self.deadline.remaining(), RESERVE_SECONDS))
        with _postgresql.connect(self.server, left) as session:
            tables = asked.Tables(session, way)
            wait = left.within(SESSIONS_WAIT)
            while not tables.end_sessions(name):
                wait.require("ending the sessions of the tool")
                threading.Event().wait(SESSIONS_PAUSE)
            ids = tuple(number for chunk in chunks for number in chunk.ids)
            return tables.see(ids, some), tables.progress([chunk.room for chunk in chunks])

    # --- what is true afterwards

    def _end(self, way: Way, reason: str, status: str, kind: str | None = None) -> None:
        totals = self.totals
        self.facts.update(dataclasses.asdict(totals))
        ahead: int | None = None
        with contextlib.suppress(ProbeFailure), _postgresql.connect(self.server, Deadline(RESERVE_SECONDS)) as session:
            tables = asked.Tables(session, way)
            ahead = tables.ahead()
            self.facts.update(position_after=tables.position(), ahead_after=ahead, size_after=tables.size())
        self._prove()
        did = (
            f"{digits(totals.groups)} groups were taken and {digits(totals.changed)} of them stored anew: "
            f"{digits(totals.removed)} rows removed, {digits(totals.added)} added"
        )
        left = "how many are left is not known" if ahead is None else f"{_counted(ahead)} groups are left"
        words = f"{did}; {left}" if ahead or ahead is None else f"{did}; nothing is left"
        words += f"; {VACUUM}" if totals.removed else ""
        saved = {"value": totals.removed - totals.added, "unit": "count"}
        if status == OK:
            self.note(RESULT, OK, f"{words}; {reason}" if reason else words, **saved)
        else:
            self.note(RESULT, status, f"{reason}. {words}", error_kind=kind, **saved)

    def _prove(self) -> None:
        totals = self.totals
        if self.hurt:
            self.note(
                PROOF,
                CRITICAL,
                f"of {digits(totals.groups)} groups, {'; '.join(self.hurt)}. Nothing more was begun. Do not run it "
                "again; bring the database back from the proven backup set, or have these groups looked at",
                value=len(self.hurt),
                unit="count",
            )
        elif self.unproven:
            words = f"what the tool did was not seen: {self.unproven.message}"
            self.note(PROOF, UNKNOWN, words, error_kind=self.unproven.kind)
        elif totals.groups:
            gone = (
                f"; {digits(totals.gone)} are gone with their rooms: were these purged meanwhile?"
                if totals.gone
                else ""
            )
            self.note(
                PROOF,
                WARNING if totals.gone else OK,
                f"all {digits(totals.groups)} groups stand on others that are there, and the whole state of "
                f"{digits(totals.proven)} of them is as before{gone}",
                value=totals.proven,
                unit="count",
            )


class _Gates:
    """What must be so before the first part, and before each further one."""

    def __init__(self, run: Run, control: Session, identity: _postgresql.Row, tables: asked.Tables) -> None:
        options = run.options
        limits = upkeep.Limits(max_lag=options["max_lag"], lag_wait=options["lag_wait"])
        self.hand = upkeep.Hand(run.server, control, identity, limits, run.deadline)
        self.run, self.control, self.tables = run, control, tables

    def lock(self) -> str:
        """Keep other runs out until this session ends."""
        if not self.control.row(asked.TAKE_LOCK)["taken"]:
            owners = self.control.rows(asked.LOCK_OWNER)
            who = f"pid {owners[0]['pid']} ({owners[0]['user']}, {owners[0]['application']})" if owners else "somebody"
            raise Stop(f"another compression works in {self.run.server.database}: {who} holds its lock")
        return "no other run of this module works here"

    def each(self) -> list[str]:
        """Say what was seen, or raise Stop."""
        try:
            lag = upkeep.lag_words(self.hand)
        except upkeep.Stop as stop:
            raise Stop(str(stop)) from stop
        room = self._room()
        # Last, for a wait for a standby must not make it old.
        if busy := self.tables.busy():
            raise Stop(f"the homeserver's tables are worked on: {'; '.join(busy)}; run it again when that is through")
        return [lag, room]

    def _room(self) -> str:
        least = self.run.options["min_free"]
        if not least:
            return "the disk is not looked at (min_free is 0)"
        free = self.hand.room(0)
        if isinstance(free, str):
            return f"the disk is not looked at: {free}"
        if free < least:
            raise Stop(f"{human(free, 'B')} are free where the database is, and min_free is {human(least, 'B')}")
        return f"{human(free, 'B')} are free"

    def next(self, chunks: int) -> list[Chunk]:
        """Return what the tool takes next, or raise Stop where it would build on what is not there."""
        part = self.tables.part(min(chunks, self.run.options["part"]), self.run.options["chunk_size"])
        if stale := self.tables.stale(part):
            room, head = stale[0]
            # matrix-org/rust-synapse-compress-state issues 78 and 148: the tool panics there, and would for good.
            raise Stop(
                f"the homeserver has deleted group {head}, on which the tool would go on in {room}; delete the rows of "
                f"that room from {' and '.join(self.tables.way.own[:2])}, and the tool begins anew in it"
            )
        return part


def _reserve(deadline: Deadline) -> float:
    return min(RESERVE_SECONDS, deadline.seconds * RESERVE_SHARE)


def _counted(ahead: int) -> str:
    return f"{digits(ahead)} or more" if ahead >= asked.MOST_AHEAD else digits(ahead)


def compress(
    options: Options,
    check_mode: bool = False,
    now: datetime.datetime | None = None,
    clock: t.Callable[[], float] = time.monotonic,
) -> Outcome:
    """Compress room state; raise OptionErrors before anything is contacted."""
    way = way_of(options)
    started = now or datetime.datetime.now(datetime.timezone.utc)
    run = Run(options, server_of(options["postgresql"]), Deadline(options["deadline"], clock), check_mode, started)
    if isinstance(way, str):
        run.note(RESULT, SKIPPED, way)
    else:
        run.all(way)
    report = Report(
        KIND,
        options["target"],
        options["deployment"],
        options["profile"],
        started,
        started + datetime.timedelta(seconds=run.deadline.elapsed()),
        tuple(run.checks),
        {**run.facts, "check_mode": check_mode},
        tuple(run.evidence),
        options["unknown_as"],
    )
    return Outcome(_answered(report), run.changed, run.plan)


def _answered(report: Report) -> Report:
    """Give the report the sentence that a calendar shows: what was done, where nothing is bad."""
    done = next((check for check in report.checks if check.name == RESULT), None)
    idle = done is not None and len(report.checks) == 1 and done.status == SKIPPED
    words = done.message if done and (idle or report.status == OK) else headline(report)
    facts = {**report.facts, "answer": f"{words[:1].upper()}{words[1:]}."}
    return dataclasses.replace(report, facts={**facts, "skipped": words} if idle else facts)
