# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""A clean-up of media from end to end: look, gates, calls in small parts, and what is true afterwards."""

from __future__ import annotations

import contextlib
import datetime
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils import _postgresql
from ansible_collections.matrixon.ops.plugins.module_utils._backup.changes import to_text
from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient
from ansible_collections.matrixon.ops.plugins.module_utils._human import digits, human
from ansible_collections.matrixon.ops.plugins.module_utils._media.look import (
    Api,
    Backups,
    MediaFiles,
    Stored,
    Tables,
    lacking,
)
from ansible_collections.matrixon.ops.plugins.module_utils._media.model import (
    CHUNK,
    LISTED,
    LOCAL,
    REMOTE,
    Amount,
    Item,
    Kind,
    Way,
    amount,
    before,
    judge_clocks,
    judge_fresh,
    judge_held,
    judge_share,
    moment,
    named,
    slices,
)
from ansible_collections.matrixon.ops.plugins.module_utils._media.options import kinds_of
from ansible_collections.matrixon.ops.plugins.module_utils._probe import AUTH, PARSE, Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    SELF_REPORT,
    SKIPPED,
    UNKNOWN,
    WARNING,
    CheckResult,
    Report,
)

Options = t.Mapping[str, t.Any]
Clock = t.Callable[[], float]

# The part of the deadline that is kept for seeing what is true afterwards, and its most seconds.
AFTER_SHARE = 0.2
AFTER_SECONDS = 60.0


class Stop(Exception):
    """What stands in the way of the whole run was noted as a check."""


@dataclass
class Outcome:
    """A finished run: what it deleted, or in check mode would delete."""

    report: Report
    changed: bool
    doomed: dict[str, list[dict[str, t.Any]]]


@dataclass
class Call:
    """What was seen of a row of calls."""

    said: int = 0
    calls: int = 0
    spared: int = 0
    failure: ProbeFailure | None = None


@dataclass
class Run:
    """One run. Checks, facts and evidence are added as it goes on."""

    options: Options
    check_mode: bool
    clock: Clock
    deadline: Deadline
    checks: list[CheckResult] = field(default_factory=list)
    facts: dict[str, t.Any] = field(default_factory=dict)
    evidence: list[str] = field(default_factory=list)
    doomed: dict[str, list[dict[str, t.Any]]] = field(default_factory=dict)
    changed: bool = False
    fresh: bool | None = None
    started: float = 0.0

    # --- notes

    @property
    def target(self) -> str:
        return str(self.options["target"])

    def add(self, check: CheckResult) -> bool:
        """Note a check, and say whether it is good."""
        self.checks.append(check)
        return check.status == OK

    def note(self, name: str, status: str, message: str, **more: t.Any) -> bool:
        """Note a verdict in words."""
        reason = message if status == SKIPPED else None
        return self.add(CheckResult(name, self.target, status, message, skipped_reason=reason, **more))

    def skip(self, kind: Kind, why: str) -> None:
        """Note that media of a kind were left alone."""
        self.note(f"{kind.name}_media", SKIPPED, why)

    @contextlib.contextmanager
    def observing(self, name: str) -> t.Iterator[None]:
        """What could not be observed becomes an unknown check, and ends the run."""
        try:
            yield
        except ProbeFailure as failure:
            self.note(name, UNKNOWN, failure.message, error_kind=failure.kind)
            raise Stop from failure

    # --- the whole

    def all(self, kinds: t.Sequence[Kind]) -> None:
        """Clean up media of all kinds."""
        able = []
        for kind in kinds:
            if kind.way is None:
                self.skip(kind, kind.reason)
            elif kind.days is None:
                self.skip(kind, f"not asked for: {kind.name}_days is not set")
            else:
                able.append(kind)
        if not able:
            return
        try:
            self._with_servers(able)
        except Stop:
            noted = {check.name for check in self.checks}
            for kind in able:
                if f"{kind.name}_media" not in noted:
                    self.skip(kind, "nothing was deleted, for what stands in the way")

    def _with_servers(self, kinds: t.Sequence[Kind]) -> None:
        given, files = self.options["api"], MediaFiles(self.options["media_dir"])
        http = HttpClient(given["connect_to"], given["ca_file"], given["validate_certs"])
        name = self.options["server_name"]
        api = Api(http, given["url"], given["token"], name, self.options["timeout"])
        with self.observing("admin_api"):
            server = api.probe(self.options["ways"]["probe"], self.deadline)
            now = self.clock()
        self.note("admin_api", OK, f"{given['url']} takes the token for an administrator's")
        # All three as they were when the module began.
        at_start = server - (now - self.started)
        if not self.add(judge_clocks(self.options["controller_time"], self.started, at_start, self.target)):
            raise Stop
        with self.observing("media_store"):
            files.require()
        with self.observing("database"):
            session = _postgresql.connect(_postgresql.server_of(self.options["postgresql"]), self.deadline)
        with session:
            for kind in kinds:
                _Kind(self, kind, t.cast(Way, kind.way), api, Tables(session, name), files, now).clean()


@dataclass
class _Kind:
    """The clean-up of one kind of media."""

    run: Run
    kind: Kind
    way: Way
    api: Api
    tables: Tables
    files: MediaFiles
    now: float
    before_ms: int = 0

    @property
    def name(self) -> str:
        return f"{self.kind.name}_media"

    def clean(self) -> None:
        """Look, pass the gates, delete, and see what is true afterwards."""
        run, kind = self.run, self.kind
        try:
            self.before_ms = before(self.now, kind.days or 0)
            total = self.tables.total(kind, self.way)
            items = self.tables.old(kind, self.way, self.before_ms)
            stored = self.files.look(items, run.deadline)
            free = self.files.free()
        except ProbeFailure as failure:
            run.note(self.name, UNKNOWN, f"{failure.message}; nothing was deleted", error_kind=failure.kind)
            return
        old = amount(items)
        run.facts[kind.name] = {
            "days": kind.days,
            "before": moment(self.before_ms),
            "before_ms": self.before_ms,
            "there": total.as_dict(),
            "old": {**old.as_dict(), "disk": stored.disk, "without_file": len(stored.missing)},
            "disk_free": free,
        }
        if not items:
            words = f"none of {total} was unused for {kind.days} days, since {moment(self.before_ms)}, and may go"
            run.note(self.name, OK, words, value=0, unit="count")
            return
        with contextlib.ExitStack() as stack:
            if not self._gates(items, stored, old, total, stack):
                run.skip(kind, f"refused: {old} would go, and a gate is shut. Nothing was deleted")
                return
            run.doomed[kind.name] = [item.as_dict() for item in items[:LISTED]]
            if run.check_mode:
                run.changed = True
                run.skip(
                    kind,
                    f"check mode: {old} would go, {human(stored.disk, 'B')} on the disk, which nobody used for "
                    f"{kind.days} days, since {moment(self.before_ms)}: {named([to_text(i.path) for i in items])}",
                )
                return
            call = self._take(items)
        self._prove(items, stored, call)

    # --- gates

    def _gates(
        self, items: t.Sequence[Item], stored: Stored, old: Amount, total: Amount, stack: contextlib.ExitStack
    ) -> bool:
        run = self.run
        good = [
            run.add(judge_share(self.kind.name, old, total, run.options["max_share"], run.target)),
            self._is_store(items, stored),
            self._is_kept_database(),
        ]
        if self.kind.name == LOCAL:
            good.append(self._is_held(stored, stack))
        return all(good)

    def _is_store(self, items: t.Sequence[Item], stored: Stored) -> bool:
        """Where no row has its file, this is another store, or it is not mounted."""
        if len(stored.missing) < len(items):
            return True
        with contextlib.suppress(ProbeFailure):
            rows = self.tables.kept(self.kind, self.way, self.before_ms)
            if any(self.files.has(self.way.file.expand(row)) for row in rows):
                return True
        words = (
            f"none of the {digits(len(items))} files that would go lies in {self.files.root}, such as "
            f"{to_text(items[0].path)}; is it this server's store, and mounted? Nothing was deleted"
        )
        return self.run.note(f"{self.kind.name}_store", CRITICAL, words)

    def _is_kept_database(self) -> bool:
        """The rows go, too, so the database must have been put away. Judged once for all kinds."""
        run = self.run
        waiver = run.options["remote_without_backup"]
        if self.kind.name == REMOTE and waiver:
            run.facts["remote"]["without_backup"] = waiver
            run.evidence.append(f"remote media without a backup, by remote_without_backup: {waiver}")
            words = f"not asked for, by remote_without_backup: {waiver}"
            run.note("database_backup", SKIPPED, words)
            return True
        if run.fresh is None:
            now = datetime.datetime.fromtimestamp(self.now, datetime.timezone.utc)
            try:
                own = run.options["backup"]
                sets = [*run.options["database_sets"]]
                sets += Backups.of(own, run.options["deployment"]).described() if own else []
                run.fresh = run.add(judge_fresh(sets, now, run.options["backup_max_age"], run.target))
            except ProbeFailure as failure:
                run.fresh = run.note("database_backup", UNKNOWN, failure.message, error_kind=failure.kind)
        return run.fresh

    def _is_held(self, stored: Stored, stack: contextlib.ExitStack) -> bool:
        run = self.run
        try:
            backups = Backups.of(run.options["backup"], run.options["deployment"])
            entry = backups.newest()
            held = stack.enter_context(backups.holding(entry, stored, run.deadline))
        except ProbeFailure as failure:
            bad = CRITICAL if failure.kind == PARSE else UNKNOWN
            return run.note("media_backup", bad, failure.message, error_kind=failure.kind)
        run.facts[self.kind.name]["backup_set"] = entry.id
        names = lacking(stored, held)
        return run.add(judge_held(names, len(stored.files) + len(stored.missing), entry.id, run.target))

    # --- act

    def _take(self, items: t.Sequence[Item]) -> Call:
        """Have the files deleted, part by part; the first failure ends it."""
        call = Call()
        by_time = self.way.takes == "time"
        keep = min(AFTER_SECONDS, self.run.deadline.remaining() * AFTER_SHARE)
        deadline = self.run.deadline.within(self.run.deadline.remaining() - keep)
        try:
            for part in slices(items, self.run.options["batch"] if by_time else CHUNK, by_time):
                deadline.require(f"deleting {self.kind.name} media")
                if by_time:
                    self._take_before(part.before_ms, call, deadline)
                else:
                    self._take_each(part.items, call, deadline)
                self._require_progress(part.items, call)
        except ProbeFailure as failure:
            call.failure = failure
        return call

    def _take_before(self, before_ms: int, call: Call, deadline: Deadline) -> None:
        call.calls += 1
        call.said += self.api.take(self.way, {"before_ms": min(before_ms, self.before_ms)}, deadline)

    def _take_each(self, items: t.Sequence[Item], call: Call, deadline: Deadline) -> None:
        """Ask again what may go: a file may have been used, or have become a picture of somebody, meanwhile."""
        still = {item.key for item in self.tables.old(self.kind, self.way, self.before_ms)}
        call.spared += sum(item.key not in still for item in items)
        for item in items:
            if item.key in still:
                deadline.require(f"deleting {self.kind.name} media")
                call.calls += 1
                call.said += self.api.take(self.way, item.row, deadline)

    def _require_progress(self, items: t.Sequence[Item], call: Call) -> None:
        """An API that says that files went, whose rows are all there, is not the one of this database."""
        left = self.tables.present(self.way, items)
        if call.said and len(left) == len(items):
            raise ProbeFailure(
                PARSE,
                f"the API says that {digits(call.said)} files went, and the database still has a row of each: are "
                "api.url and postgresql of one server?",
            )

    # --- what is true afterwards

    def _prove(self, items: t.Sequence[Item], stored: Stored, call: Call) -> None:
        run, kind = self.run, self.kind
        # The session's own deadline may be over.
        deadline = Deadline(AFTER_SECONDS)
        said = f"the API says that {digits(call.said)} files went, in {digits(call.calls)} calls"
        run.note(f"{kind.name}_self_report", OK, said, value=call.said, unit="count", source=SELF_REPORT)
        try:
            with _postgresql.connect(_postgresql.server_of(run.options["postgresql"]), deadline) as session:
                tables = Tables(session, self.tables.server_name)
                present = tables.present(self.way, items)
                old_left = {item.key for item in tables.old(kind, self.way, self.before_ms)}
                total = tables.total(kind, self.way)
                kept = tables.kept(kind, self.way, self.before_ms)
        except ProbeFailure as failure:
            # That something went is sure where the API said so; how much is not.
            run.changed = run.changed or bool(call.calls)
            first = f"{call.failure.message}; " if call.failure else ""
            words = f"{first}what went was not seen: {failure.message}"
            run.note(self.name, UNKNOWN, words, error_kind=failure.kind)
            return
        gone = [item for item in items if item.key not in present]
        left = [item for item in items if item.key in present and item.key in old_left]
        run.changed = run.changed or bool(gone)
        after = self.files.look(items, deadline)
        run.facts[kind.name].update(
            gone=amount(gone).as_dict(),
            left=amount(left).as_dict(),
            used_meanwhile=len(items) - len(gone) - len(left),
            there_after=total.as_dict(),
            disk_freed=stored.disk - after.disk,
            disk_free_after=self.files.free(),
        )
        self._judge_result(gone, left, stored.disk - after.disk, call)
        self._judge_files(gone, deadline)
        self._judge_kept(kept, deadline)

    def _judge_result(self, gone: t.Sequence[Item], left: t.Sequence[Item], freed: int, call: Call) -> None:
        words = f"{amount(gone)} went, {human(freed, 'B')} on the disk"
        spared = f"; {digits(call.spared)} were used meanwhile and stay" if call.spared else ""
        if not call.failure and not left:
            self.run.note(self.name, OK, f"{words}{spared}", value=len(gone), unit="count")
            return
        why = f"{call.failure.message}. " if call.failure else ""
        self.run.note(
            self.name,
            CRITICAL if left else WARNING,
            f"{why}{words}, {amount(left)} are left{spared}; run it again to go on",
            value=len(gone),
            unit="count",
            error_kind=call.failure.kind if call.failure else None,
        )

    def _judge_files(self, gone: t.Sequence[Item], deadline: Deadline) -> None:
        """Rows that went must have taken their files with them."""
        name = f"{self.kind.name}_proof"
        if not gone:
            return
        try:
            there = sorted(to_text(path) for path in self.files.look(gone, deadline).files)
        except ProbeFailure as failure:
            self.run.note(name, UNKNOWN, failure.message, error_kind=failure.kind)
            return
        if there:
            words = f"{digits(len(there))} files are still there whose rows went: {named(there)}"
            self.run.note(name, CRITICAL, words, value=len(there), unit="count")
            return
        words = f"of {digits(len(gone))} files that went, neither row nor file nor thumbnail is there"
        self.run.note(name, OK, words, value=0, unit="count")

    def _judge_kept(self, rows: t.Sequence[t.Mapping[str, t.Any]], deadline: Deadline) -> None:
        """A file that was to stay must come as it lies in the store."""
        name = f"{self.kind.name}_kept"
        here = [(row, self.way.file.expand(row)) for row in rows]
        there = [(row, path) for row, path in here if self.files.has(path)]
        if rows and not there:
            words = f"none of the {len(rows)} files looked at that should have stayed is there: {to_text(here[0][1])}"
            self.run.note(name, CRITICAL, words)
            return
        if not there:
            self.run.note(name, SKIPPED, f"no {self.kind.name} file stayed that could be fetched as a proof")
            return
        barred = ""
        for row, path in there:
            try:
                same = self.api.download(self.way, row, deadline) == self.files.digest(path, deadline)
            except ProbeFailure as failure:
                if self.kind.name == REMOTE and failure.kind == AUTH:
                    barred = failure.message
                    continue
                words = f"{to_text(path)}, which stayed, cannot be fetched: {failure.message}"
                self.run.note(name, CRITICAL, words, error_kind=failure.kind)
                return
            words = f"{to_text(path)}, which stayed, comes {'as it lies there' if same else 'with another content'}"
            self.run.note(name, OK if same else CRITICAL, words)
            return
        # Such as a homeserver that may no longer talk to their server.
        words = f"by the homeserver's own rules nobody may fetch any of {len(there)} files that stayed: {barred}"
        self.run.note(name, SKIPPED, words)


def run(options: Options, check_mode: bool, clock: Clock = time.time) -> Outcome:
    """Clean up; raise OptionErrors before anything is contacted."""
    kinds = kinds_of(options)
    started = clock()
    found = Run(options, check_mode, clock, Deadline(options["deadline"]), started=started)
    found.all(kinds)
    found.facts["check_mode"] = check_mode

    def moment_of(seconds: float) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)

    report = Report(
        "media_cleanup",
        options["target"],
        options["deployment"],
        options["profile"],
        moment_of(started),
        moment_of(clock()),
        tuple(found.checks),
        found.facts,
        tuple(found.evidence),
        options["unknown_as"],
    )
    return Outcome(report, found.changed, found.doomed)
