# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""From module options to a report on who tries to get in, without Ansible in it."""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import time
import typing as t
from collections import Counter
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils._command import Runner
from ansible_collections.matrixon.ops.plugins.module_utils._command import run as run_tool
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Limits, Verdict, skipped
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, MISSING_TOOL, Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    OK,
    SKIPPED,
    WARNING,
    CheckResult,
    Report,
)
from ansible_collections.matrixon.ops.plugins.module_utils._security import facts, files, journal, judge, network, state
from ansible_collections.matrixon.ops.plugins.module_utils._security.judge import Seen, Source
from ansible_collections.matrixon.ops.plugins.module_utils._security.language import (
    HOST_LANGUAGE,
    HOST_PROGRAMS,
    Clock,
    Language,
    Reader,
    Sink,
    compile_language,
)
from ansible_collections.matrixon.ops.plugins.module_utils._security.model import (
    ADDRESSES,
    CLOCK,
    CONNECTIONS,
    COUNTED,
    CURSOR,
    FAIL2BAN,
    HOST,
    LOG,
    SERVER,
    Access,
    Check,
    Event,
    Plain,
)
from ansible_collections.matrixon.ops.plugins.module_utils._security.options import (
    Options,
    errors,
    limits_of,
)
from ansible_collections.matrixon.ops.plugins.module_utils._security.pseudonym import Names
from ansible_collections.matrixon.ops.plugins.module_utils._security.state import State
from ansible_collections.matrixon.ops.plugins.module_utils._security.tally import MINUTE

Judged = t.Callable[[], t.Union[Verdict, "list[Verdict]"]]
HOUR = 3600
JOURNAL = "journal: homeserver"
HOST_JOURNAL = "journal: sshd, sudo"


@dataclass
class Tools:
    """What the run works with; tests put their own in its place."""

    spawn: journal.Spawn = journal.Output
    runner: Runner = run_tool
    root: str = "/"
    clock: t.Callable[[], float] = time.monotonic
    logs: Clock = field(default_factory=Clock)
    chunk: int = files.CHUNK


@dataclass
class Outcome:
    """A finished run. ``commit`` moves the place up to which the logs were read; until then a run changed nothing."""

    report: Report
    commit: t.Callable[[], None]


@contextlib.contextmanager
def watched(
    options: Options, check_mode: bool, now: datetime.datetime, tools: Tools | None = None
) -> t.Iterator[Outcome]:
    """Validate the options, read what is new, and hand out the report, while nobody else reads with the same cursor.

    Raise OptionErrors before anything is read, and ProbeFailure where the place of the last run cannot be had.
    """
    wrong = list(errors(options))
    if wrong:
        raise OptionErrors(wrong)
    tools = tools or Tools()
    deadline = Deadline(options["deadline"], tools.clock)
    directory = options["state_dir"]
    with contextlib.ExitStack() as stack:
        if not check_mode:
            stack.enter_context(state.locked(directory, deadline))
        before = state.load(os.path.join(directory, state.NAME))
        key, kept = state.key_of(directory, not check_mode)
        run = _Run(options, before, now.timestamp(), tools, deadline)
        run.observe()
        report = run.report(now, Names(key, options["show"]), kept)

        def commit() -> None:
            if not check_mode:
                state.save(directory, run.after())

        yield Outcome(report, commit)


class _Run:
    """One run: what it asks, what it found."""

    def __init__(self, options: Options, before: State, now: float, tools: Tools, deadline: Deadline) -> None:
        self.options, self.before, self.now, self.tools, self.deadline = options, before, now, tools, deadline
        self.first_since = now - options["since_hours"] * HOUR
        self.tally = before.tally
        self.sources: list[Source] = []
        self.places: dict[str, dict[str, t.Any]] = dict(before.sources)
        self.missing: dict[str, str] = {}
        self.connections: Counter[str] | ProbeFailure | None = None
        self.jails: dict[str, dict[str, int]] | ProbeFailure | None = None

    def observe(self) -> None:
        """Do all of the input."""
        options = self.options
        if options["service_ports"]:
            self.connections = _kept(
                lambda: network.connections(self.tools.root, options["service_ports"], self.deadline)
            )
        if options["fail2ban"]:
            self.jails = _kept(lambda: network.fail2ban(self.deadline.within(30), self.tools.runner))
        # The host's own log is short, so it comes before one that may use up the time.
        if options["host_log"]:
            matches = [f"_COMM={name}" for name in HOST_PROGRAMS]
            self._journal(HOST_JOURNAL, HOST, HOST_LANGUAGE, matches, programs=True)
        else:
            self.missing[HOST] = "the host's own log is not looked at (host_log: false)"
        if not options["patterns"]:
            self.missing[SERVER] = options["unsupported"] or "no log of a homeserver is looked at on this host"
            return
        language = compile_language(options["patterns"])
        if options["journal_units"]:
            matches = [f"--unit={unit}" for unit in options["journal_units"]]
            self._journal(JOURNAL, SERVER, language, matches)
        self._files(language)

    def _journal(self, name: str, origin: str, language: Language, matches: list[str], programs: bool = False) -> None:
        cursor, seen = self.before.cursor(name), self.before.seen(name)
        source = Source(name, origin, first=cursor is None and seen is None)
        reader = Reader(language, self._sink(source), programs=programs, awaited=self.tally.awaits)
        since = seen if seen is not None else self.first_since

        def take(block: bytes) -> int:
            _note(source, journal.time_of(block))
            return reader.journal(block)

        def read() -> None:
            done = journal.read_journal(matches, cursor, since, take, self.deadline, self.tools.spawn)
            source.lines, source.size, source.files = done.lines, done.size, 1
            source.bad, source.lost, source.failure = done.bad + done.cut, done.lost, done.failure
            if done.partial:
                source.left = "the time was up; the next run goes on where this one ended"
            # A run that was cut short before its first entry has seen nothing up to now.
            place: dict[str, t.Any] = {"seen": since if done.partial or done.failure else self.now}
            self.places[name] = {**place, "cursor": done.cursor} if done.cursor else place

        self._try(source, reader, read)

    def _files(self, language: Language) -> None:
        paths, empty = files.expand(self.options["log_files"])
        for pattern in empty:
            failure = ProbeFailure(MISSING_TOOL, f"no file is there that fits {pattern}")
            self.sources.append(Source(pattern, SERVER, failure=failure))
        for path in paths:
            self._file(path, language)

    def _file(self, path: str, language: Language) -> None:
        trail = self.before.trail(path)
        source = Source(path, SERVER, first=not trail)
        reader = Reader(language, self._sink(source), self.tools.logs, awaited=self.tally.awaits)

        def take(block: bytes) -> None:
            line = language.line.match(block, block.rfind(b"\n", 0, -1) + 1)
            _note(source, self.tools.logs.seconds(line["time"]) if line else None)
            reader.text(block, path)

        def read() -> None:
            done = files.read_log(path, trail, self.first_since, self.now, take, self.deadline, self.tools.chunk)
            source.lines, source.size, source.files = done.lines, done.size, done.files
            source.cut, source.lost, source.failure = done.cut, done.lost, done.failure
            if done.left:
                source.left = "the time was up; the next run goes on where this one ended"
            self.places[path] = {"seen": self.now, "trail": [place.as_dict() for place in done.trail]}

        self._try(source, reader, read)

    def _try(self, source: Source, reader: Reader, read: t.Callable[[], None]) -> None:
        self.sources.append(source)
        try:
            read()
        except ProbeFailure as failure:
            source.failure = failure
        source.tried, source.fitting = reader.tried, reader.fitting
        source.ahead = max(0.0, source.newest - self.now)

    def _sink(self, source: Source) -> Sink:
        """Return what takes the events of a log. One that is read for the first time may hold what is too old."""
        if not source.first:
            return self.tally.take

        def take(seen: Event | Access) -> None:
            if not isinstance(seen, Event) or seen.seconds >= self.first_since:
                self.tally.take(seen)

        return take

    def report(self, now: datetime.datetime, names: Names, kept: bool) -> Report:
        """Judge what was found. ``kept`` is whether the key of the names stays."""
        seen = Seen(self.tally, self.sources, self.options["window_minutes"], names, self.missing)
        results = [result for check, judged in self._judges(seen) for result in self._results(check, judged)]
        return Report(
            kind="security",
            target=self.options["target"],
            deployment=self.options["deployment"],
            profile=self.options["profile"],
            started=now,
            finished=now + datetime.timedelta(seconds=self.deadline.elapsed()),
            checks=tuple(results),
            facts=self._facts(seen, kept),
            unknown_as=self.options["unknown_as"],
        )

    def _judges(self, seen: Seen) -> t.Iterator[tuple[Check | Plain, Judged]]:
        options, names = self.options, seen.names
        yield CURSOR, lambda: _cursor(self.before, options["state_dir"], self.now)
        yield LOG, lambda: [judge.log(source) for source in self.sources] + self._unread()
        yield (
            CLOCK,
            lambda: [
                judge.clock(source, self._limits(CLOCK))
                for source in self.sources
                if source.lines and not source.failure
            ],
        )
        for check in COUNTED:
            yield check, functools.partial(judge.counted, check, seen, self._limits(check))
        if SERVER not in self.missing:
            yield ADDRESSES, lambda: judge.addresses(self.tally, options["proxies"], names)
        if self.connections is not None:
            found = self.connections
            yield CONNECTIONS, lambda: judge.connected(found, options["proxies"], names, self._limits(CONNECTIONS))
        if options["fail2ban"]:
            yield FAIL2BAN, lambda: judge.fail2ban(self.jails, options["fail2ban_jails"])

    def _unread(self) -> list[Verdict]:
        return [skipped(reason, origin) for origin, reason in self.missing.items()]

    def _limits(self, check: Check | Plain) -> Limits:
        return limits_of(check.name, self.options["thresholds"])

    def _results(self, check: Check | Plain, judged: Judged) -> t.Iterator[CheckResult]:
        reason = self.options["skip_checks"].get(check.name)
        found = skipped(reason) if reason else judged()
        limits = self._limits(check)
        for verdict in found if isinstance(found, list) else [found]:
            shown = verdict.status != SKIPPED
            yield CheckResult(
                name=check.name,
                target=verdict.target or self.options["target"],
                status=verdict.status,
                message=verdict.message,
                value=verdict.value,
                unit=_unit(check),
                warning=limits.warning if shown else None,
                critical=limits.critical if shown else None,
                error_kind=verdict.error_kind,
                skipped_reason=verdict.skipped_reason,
            )

    def _begun(self) -> float:
        return self.before.updated if self.before.updated is not None else self.first_since

    def _hours(self) -> tuple[dict[tuple[int, str], int], float]:
        begun = self.before.begun if self.before.begun is not None else self.first_since
        return state.added_hours(self.before.hours, self.tally.hours, self.now), begun

    def _facts(self, seen: Seen, kept: bool) -> dict[str, t.Any]:
        hours, begun = self._hours()
        tally, connections = self.tally, self.connections
        found: dict[str, t.Any] = {
            "since": facts.stamp(self._begun()),
            "window_minutes": self.options["window_minutes"],
            "events": dict(sorted(tally.kinds.items())),
            "with_address": sum(tally.with_address.values()),
            "not_listed": tally.folded,
            "sources": facts.sources(self.sources),
            "pseudonyms": {
                "shown": sorted(self.options["show"]),
                "key": "kept on this host" if kept else "of this run only: none is made in check mode",
            },
            "plots": facts.plots(hours, begun, self.now, self.options["target"]),
            "rankings": facts.rankings(
                seen, connections if isinstance(connections, Counter) else None, self.options["top"]
            ),
            "answer": facts.answer(seen, self._begun()),
        }
        if isinstance(self.jails, dict):
            found["fail2ban"] = self.jails
        if isinstance(connections, Counter):
            found["connections"] = sum(connections.values())
        return found

    def after(self) -> State:
        """Return what the next run needs: the places, the counts by hour, and the counts of one window."""
        hours, begun = self._hours()
        self.tally.forget(self.now - (self.options["window_minutes"] + 1) * MINUTE)
        return State(self.now, self.places, hours, self.tally, begun, self.before.garbled)


def _unit(check: Check | Plain) -> str | None:
    units = {CLOCK.name: "s", ADDRESSES.name: "%", CURSOR.name: None}
    return units.get(check.name, "count")


def _cursor(before: State, directory: str, now: float) -> Verdict:
    path = os.path.join(directory, state.NAME)
    if before.garbled:
        words = (
            f"{path} is not understood ({before.garbled}), so this run began anew, and events may count twice; "
            f"a run that is not in check mode keeps it as {state.kept_name(path, now)}"
        )
        return Verdict(WARNING, words)
    if before.updated is None:
        return Verdict(OK, f"the first run: there is no {path} yet")
    if before.updated > now:
        return Verdict(
            WARNING, f"the last run was at {facts.stamp(before.updated)}, which is still to come: the clock was set"
        )
    return Verdict(OK, f"goes on from the run at {facts.stamp(before.updated)}")


def _note(source: Source, seconds: float | None) -> None:
    """Keep by how much the times of a log went back, and the latest of them."""
    if seconds is None:
        return
    source.back = max(source.back, source.newest - seconds)
    source.newest = max(source.newest, seconds)


Found = t.TypeVar("Found")


def _kept(observe: t.Callable[[], Found]) -> Found | ProbeFailure:
    try:
        return observe()
    except ProbeFailure as failure:
        return failure
    except OSError as error:
        return ProbeFailure(INTERNAL, str(error))
