# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The proof of a backup set: restore it beside, let it recover, and hold it against what was recorded.

Nothing that an engine says of its own backups is believed. A set is proven
when a server ran on its copy, recovery came as far as the log goes, every row
is there, and every index has every row.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import functools
import os
import re
import shutil
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster, kept, wal
from ansible_collections.matrixon.ops.plugins.module_utils._backup.driver import Chain, Driver, Reach, Refreshing
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import (
    DATABASE,
    IMMEDIATE,
    LOGICAL,
    Manifest,
    PostgresqlFacts,
    Target,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner, complaint, uninterrupted
from ansible_collections.matrixon.ops.plugins.module_utils._backup.scratch import Recovered, Scratch, control
from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    AUTH,
    INTERNAL,
    MISSING_TOOL,
    PARSE,
    REFUSED,
    TIMEOUT,
    TLS,
    Deadline,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import unseen
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    SKIPPED,
    UNKNOWN,
    WARNING,
    CheckResult,
)

# What a drill makes in the directory that it is given.
MARKER = ".matrixon-drill"
DATA = "data"
WORK = "run"

SET_END = Target(IMMEDIATE)

# Failures that say nothing about the set.
OUTSIDE = (AUTH, MISSING_TOOL, REFUSED, TIMEOUT, TLS)
# How many differences a message names.
SHOWN = 3


@dataclass(frozen=True)
class Query:
    """A question to the restored copy, to which one value that is not null is the good answer."""

    name: str
    database: str
    sql: str
    meaning: str = ""


class Verdict(t.NamedTuple):
    """What one check found. ``value`` is in ``unit``."""

    status: str
    message: str
    value: float | None = None
    unit: str | None = None


@dataclass(frozen=True)
class Proof:
    """What a drill found, and what it measured: bytes and seconds of the restore."""

    checks: tuple[CheckResult, ...]
    facts: dict[str, t.Any] = field(default_factory=dict)


def drill(
    driver: Driver,
    chain: Chain,
    directory: str,
    runner: Runner,
    deadline: Deadline,
    *,
    target: Target = SET_END,
    queries: t.Sequence[Query] = (),
    jobs: int = 2,
    copy: str | None = None,
) -> Proof:
    """Prove a set in a directory that is absent or empty, or holds what a drill left that was killed.

    It steps back for everything else on the host. At the end, however it
    comes, nothing of it runs and nothing of it is left, but for ``copy``: a
    place of its own in which the restored cluster is kept, so that the next
    drill writes only what differs.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_place(directory, runner))
        data, bring = os.path.join(directory, DATA), driver.restore
        if copy:
            if not isinstance(driver, Refreshing):
                raise BackupError(INTERNAL, f"the driver {driver.name} writes every copy anew, so none can be kept")
            stack.enter_context(kept.hold(copy, _facts(chain[-1][1]).system_identifier, runner))
            data, bring = os.path.join(copy, kept.DATA), driver.refresh
        work = os.path.join(directory, WORK)
        run = _Run(driver, chain, data, work, bring, dataclasses.replace(runner, gentle=True), deadline, target, jobs)
        return run.prove(queries)


def _facts(manifest: Manifest) -> PostgresqlFacts:
    if manifest.pg is None:
        raise BackupError(INTERNAL, f"set {manifest.id} holds no database, so there is none to prove")
    return manifest.pg


class _Run:
    """The checks of one drill, in their order. What a check needs that went wrong before makes it skip."""

    def __init__(
        self,
        driver: Driver,
        chain: Chain,
        data: str,
        work: str,
        bring: t.Callable[[Chain, str, Target, Deadline], None],
        runner: Runner,
        deadline: Deadline,
        target: Target,
        jobs: int,
    ) -> None:
        self._driver, self._chain, self._target, self._jobs = driver, chain, target, jobs
        self._runner, self._deadline, self._bring = runner, deadline, bring
        self._data, self._work = data, work
        self._manifest: Manifest = chain[-1][1]
        self._checks: list[CheckResult] = []
        self._facts: dict[str, t.Any] = {"set": self._manifest.id, "target": str(target)}

    def prove(self, queries: t.Sequence[Query]) -> Proof:
        pg = _facts(self._manifest)
        begun = time.monotonic()
        reach = self._restore()
        if reach:
            tools = cluster.programs(pg.major, "postgres")
            superuser = str(self._manifest.components[DATABASE].detail.get("superuser", "postgres"))
            with Scratch(self._data, self._work, self._runner, tools, superuser) as server:
                if self._check("recovery", lambda: self._start(server, begun)):
                    self._compare(server, pg, reach, queries)
                    if self._check("clean_stop", lambda: self._stop(server)):
                        self._check("page_checksums", lambda: self._page_checksums(pg, tools))
        return Proof(tuple(self._checks), self._facts)

    # --- running a check

    def _check(self, name: str, act: t.Callable[[], Verdict]) -> bool:
        """Make one check, and say whether it went well."""
        begun = time.monotonic()
        kind = None
        try:
            verdict = act()
        except ProbeFailure as failure:
            verdict, kind = Verdict(status_of(failure), failure.message), failure.kind
        skipped = verdict.status == SKIPPED
        self._checks.append(
            CheckResult(
                name=name,
                target=f"set {self._manifest.id}",
                status=verdict.status,
                message=verdict.message,
                value=verdict.value,
                unit=verdict.unit,
                error_kind=kind,
                duration_ms=int((time.monotonic() - begun) * 1000),
                skipped_reason=verdict.message if skipped else None,
            )
        )
        return verdict.status in (OK, WARNING, SKIPPED)

    # --- the steps

    def _restore(self) -> Reach | None:
        reach: list[Reach] = []

        def act() -> Verdict:
            begun = time.monotonic()
            reach.append(self._driver.reach(self._chain, self._target, self._deadline))
            self._bring(self._chain, self._data, self._target, self._deadline)
            seconds = time.monotonic() - begun
            size = tree_bytes(self._data)
            self._facts.update(bytes=size, restore_seconds=round(seconds, 3))
            return Verdict(OK, f"restored {human(size, 'B')} in {human(seconds, 's')}", seconds, "s")

        return reach[0] if self._check("restore", act) else None

    def _start(self, server: Scratch, begun: float) -> Verdict:
        server.start(self._deadline)
        seconds = time.monotonic() - begun
        self._facts.update(open_seconds=round(seconds, 3), bytes_per_second=int(self._facts["bytes"] / seconds))
        return Verdict(OK, f"the server took connections {human(seconds, 's')} after the restore began", seconds, "s")

    def _compare(self, server: Scratch, pg: PostgresqlFacts, reach: Reach, queries: t.Sequence[Query]) -> None:
        logical = self._manifest.kind == LOGICAL
        client = server.client()
        recovered = None
        if not logical:
            with contextlib.suppress(ProbeFailure):
                recovered = server.recovered(self._deadline)
                self._facts.update(timeline=recovered.timeline, lsn=wal.format_lsn(recovered.position))
        self._check("timeline", lambda: judge_timeline(reach, recovered, logical))
        self._check("log_position", lambda: judge_position(reach, recovered, logical))
        found: list[PostgresqlFacts] = []

        def locale() -> Verdict:
            found.append(cluster.facts(client, self._deadline))
            return judge_locale(pg, found[0])

        self._check("locale", locale)
        self._check("system_identifier", lambda: self._identifier(pg, client, logical))
        self._check("row_counts", lambda: self._rows(client, pg, recovered))
        self._check("indexes", lambda: self._indexes(client))
        for query in queries:
            self._check(f"query_{query.name}", functools.partial(self._ask, client, query))

    def _identifier(self, pg: PostgresqlFacts, client: cluster.Client, logical: bool) -> Verdict:
        known = control(self._runner, client.programs, self._data, self._deadline)
        return judge_identifier(pg, known.get("Database system identifier", ""), logical)

    def _rows(self, client: cluster.Client, pg: PostgresqlFacts, recovered: Recovered | None) -> Verdict:
        stop = pg.lsn_stop and wal.parse_lsn(pg.lsn_stop)
        if recovered and stop and recovered.position > stop and self._target.kind != IMMEDIATE:
            words = f"recovery went on to {wal.format_lsn(recovered.position)}, so the rows are not those of the set"
            return Verdict(SKIPPED, words)
        with client.session(self._deadline) as session:
            here = set(cluster.database_names(session))
        names = [database.name for database in pg.databases if database.name in here]
        return judge_rows(pg, cluster.count_rows(client, names, self._deadline))

    def _indexes(self, client: cluster.Client) -> Verdict:
        argv = [client.tool("pg_amcheck"), *client.options(), "--all", "--heapallindexed", "--install-missing"]
        done = client.runner.run(
            [*argv, f"--jobs={self._jobs}"], self._deadline, accept=(0, 2), doing="reading all tables and indexes"
        )
        return judge_amcheck(done.code, done.out, done.err)

    def _ask(self, client: cluster.Client, query: Query) -> Verdict:
        if "\\" in query.sql:
            raise BackupError(INTERNAL, f"query {query.name}: {query.sql!r} has a backslash, which psql would take")
        with client.session(self._deadline, query.database) as session:
            session.execute("SET search_path TO DEFAULT")
            rows = session.rows(query.sql)
        return judge_query(query, rows)

    def _stop(self, server: Scratch) -> Verdict:
        server.stop(self._deadline)
        return Verdict(OK, "the server stopped and left everything on the disk")

    def _page_checksums(self, pg: PostgresqlFacts, tools: str) -> Verdict:
        if not pg.checksums:
            return Verdict(
                SKIPPED, "the cluster has no page checksums; pg_checksums --enable gives it some while it is stopped"
            )
        argv = [os.path.join(tools, "pg_checksums"), "--check", f"--pgdata={self._data}"]
        done = self._runner.run(argv, self._deadline, accept=(0, 1), doing="reading all pages")
        return judge_checksums(done.code, done.out, done.err)


# --- verdicts, all pure


def status_of(failure: ProbeFailure) -> str:
    """Return what a failure says about the set: nothing, or that it cannot be restored."""
    facts = failure.facts
    outside = facts.get("outside") or facts.get("no_space") or facts.get("code", 1) < 0
    return UNKNOWN if outside or failure.kind in OUTSIDE else CRITICAL


def judge_timeline(reach: Reach, recovered: Recovered | None, logical: bool) -> Verdict:
    """Recovery must have ended on a timeline of the way that was planned."""
    if logical:
        return Verdict(SKIPPED, "a dump has no timeline")
    if recovered is None:
        return Verdict(UNKNOWN, "where recovery ended could not be read")
    if recovered.timeline in reach.timelines:
        return Verdict(OK, f"recovery ended on timeline {recovered.timeline}", recovered.timeline)
    planned = " or ".join(str(timeline) for timeline in reach.timelines)
    return Verdict(
        CRITICAL,
        f"recovery ended on timeline {recovered.timeline} and not on {planned}: this is another history of the data",
        recovered.timeline,
    )


def judge_position(reach: Reach, recovered: Recovered | None, logical: bool) -> Verdict:
    """Recovery must have come as far as the log goes: it takes a hole for the end and calls it success."""
    if logical:
        return Verdict(SKIPPED, "a dump has no log")
    if recovered is None:
        return Verdict(UNKNOWN, "where recovery ended could not be read")
    ended, wanted = wal.format_lsn(recovered.position), wal.format_lsn(reach.position)
    missing = reach.position - recovered.position
    if missing <= 0:
        return Verdict(OK, f"recovery came to {ended}, at or behind the expected {wanted}", 0, "B")
    return Verdict(
        CRITICAL,
        f"recovery ended at {ended} and should have come to {wanted}: the last {human(missing, 'B')} of the log are "
        "lost; look for a missing or damaged segment there",
        missing,
        "B",
    )


def judge_identifier(pg: PostgresqlFacts, found: str, logical: bool) -> Verdict:
    """The copy must be of the cluster that the manifest names."""
    if logical:
        return Verdict(SKIPPED, "a dump is loaded into a new cluster")
    if found == pg.system_identifier:
        return Verdict(OK, f"it is the cluster {found}")
    return Verdict(CRITICAL, f"it is the cluster {found or 'without a name'}, and the set is of {pg.system_identifier}")


def judge_locale(pg: PostgresqlFacts, found: PostgresqlFacts) -> Verdict:
    """Encoding and locale of the cluster and of each database must be those of the source."""
    wrong = []
    if _locale(pg) != _locale(found):
        wrong.append(f"the cluster has {_words(_locale(found))} and had {_words(_locale(pg))}")
    here = {database.name: database for database in found.databases}
    for database in pg.databases:
        if database.name not in here:
            wrong.append(f"database {database.name} is missing")
        else:
            before, now = _own(pg, database), _own(found, here[database.name])
            if before != now:
                wrong.append(f"database {database.name} has {_words(now)} and had {_words(before)}")
    if wrong:
        return Verdict(CRITICAL, some(wrong), len(wrong), "count")
    return Verdict(OK, f"encoding and locale of {len(pg.databases)} databases are as recorded")


def _locale(facts: PostgresqlFacts) -> tuple[str | None, ...]:
    return facts.encoding, facts.collate, facts.ctype, facts.locale_provider, facts.locale


def _own(facts: PostgresqlFacts, database: t.Any) -> tuple[str | None, ...]:
    if database.encoding is None:
        return _locale(facts)
    return database.encoding, database.collate, database.ctype, database.locale_provider, database.locale


def _words(locale: tuple[str | None, ...]) -> str:
    encoding, collate, ctype, provider, name = locale
    return f"{encoding}, {collate}/{ctype}, {provider}{' ' + name if name else ''}"


def judge_rows(pg: PostgresqlFacts, found: t.Mapping[str, list[cluster.Counted]]) -> Verdict:
    """Every table must have the rows that were counted, or a number that it can have had between the two counts."""
    wrong, rows, moved, number = [], 0, 0, 0
    for database in pg.databases:
        if database.name not in found:
            wrong.append(f"database {database.name} is missing")
            continue
        here = {(table.schema, table.name): table.rows for table in found[database.name]}
        for table in database.tables:
            name = f"{table.schema}.{table.name} of {database.name}"
            count = here.get((table.schema, table.name))
            low, high = cluster.bounds(table)
            number += 1
            moved += low != high
            rows += count or 0
            if count is None:
                wrong.append(f"table {name} is missing; it had {table.rows_after} rows")
            elif not low <= count <= high:
                expected = str(low) if low == high else f"{low} to {high}"
                wrong.append(f"table {name} has {count} rows and should have {expected}")
    if wrong:
        return Verdict(CRITICAL, some(wrong), len(wrong), "count")
    if not number:
        return Verdict(UNKNOWN, "the manifest names no table, so there was nothing to compare")
    between = f", {moved} of which moved during the backup and lie between the two counts" if moved else ""
    return Verdict(OK, f"all {rows} rows of {number} tables are there{between}", rows, "count")


def judge_amcheck(code: int, out: str, err: str) -> Verdict:
    """pg_amcheck must have found nothing: it prints what is damaged and ends with code 2."""
    if code == 0 and not out.strip():
        return Verdict(OK, "every table can be read, and every index has every row", 0, "count")
    findings = re.findall(r"^(?:btree index|heap table) .+$", out, re.MULTILINE)
    lines = [line.strip() for line in out.splitlines() if line.strip()]
    first = " ".join(lines[:2]) or complaint(err)
    return Verdict(CRITICAL, f"damaged: {first}", len(set(findings)) or None, "count")


def judge_checksums(code: int, out: str, err: str) -> Verdict:
    """pg_checksums must have read pages, and found all well."""
    bad, scanned = (re.search(rf"{words}:\s+([0-9]+)", out) for words in ("Bad checksums", "Blocks scanned"))
    if bad is None or scanned is None:
        raise BackupError(PARSE, f"pg_checksums gave no answer that can be read: {complaint(err or out)}")
    wrong, pages = int(bad[1]), int(scanned[1])
    if code or wrong or not pages:
        return Verdict(CRITICAL, f"{wrong} of {pages} pages have a wrong checksum: {complaint(err)}", wrong, "count")
    return Verdict(OK, f"all {pages} pages have their checksum", 0, "count")


def judge_query(query: Query, rows: list[dict[str, t.Any]]) -> Verdict:
    """The answer must be one row with one value that is not null."""
    values = [value for row in rows for value in row.values()]
    words = f" ({query.meaning})" if query.meaning else ""
    if len(values) == 1 and values[0] is not None:
        return Verdict(OK, f"the answer is {str(values[0])[:80]!r}{words}")
    shown = "nothing" if not values or values == [None] else f"{len(rows)} rows with {len(values)} values"
    return Verdict(CRITICAL, f"the answer is {shown}, and one value was expected{words}")


def some(sentences: list[str]) -> str:
    """Return the first few of several findings, with the number of the others."""
    rest = len(sentences) - SHOWN
    return "; ".join(sentences[:SHOWN]) + (f"; and {rest} more" if rest > 0 else "")


# --- the place


@contextlib.contextmanager
def _place(directory: str, runner: Runner) -> t.Iterator[None]:
    """Take a directory for one drill, and leave it as it was found."""
    existed = os.path.isdir(directory)
    marker = os.path.join(directory, MARKER)
    if existed and os.path.lexists(marker) and not os.path.islink(directory):
        with _locked(marker, directory):
            _remove_leftovers(directory)
            # Only now nobody can mistake an empty directory for that of a drill.
            os.unlink(marker)
    cluster.occupy(directory, runner)
    try:
        with runner.create(marker):
            pass
        with _locked(marker, directory):
            yield
    finally:
        with uninterrupted():
            for name in (DATA, WORK):
                if os.path.lexists(os.path.join(directory, name)):
                    shutil.rmtree(os.path.join(directory, name))
            with contextlib.suppress(FileNotFoundError):
                os.unlink(marker)
            if not existed:
                os.rmdir(directory)


@contextlib.contextmanager
def _locked(marker: str, directory: str) -> t.Iterator[None]:
    handle = os.open(marker, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise BackupError(
                INTERNAL, f"another drill runs in {directory}; wait for it, or use another directory"
            ) from error
        yield
    finally:
        os.close(handle)


def _remove_leftovers(directory: str) -> None:
    """Remove what a drill left that was killed, if that is all there is."""
    strangers = set(os.listdir(directory)) - {MARKER, DATA, WORK}
    if strangers:
        raise BackupError(
            INTERNAL, f"{directory} holds {sorted(strangers)[0]}, which no drill made; use another directory"
        )
    data = os.path.join(directory, DATA)
    if pid := cluster.running_on(data):
        raise BackupError(INTERNAL, f"a server with process {pid} still runs on {data}; stop it first")
    for path in (data, os.path.join(directory, WORK)):
        if os.path.islink(path):
            raise BackupError(INTERNAL, f"{path} is a symbolic link, which no drill made; use another directory")
        if os.path.lexists(path):
            shutil.rmtree(path)


def tree_bytes(path: str) -> int:
    """Return the length of all files below a directory."""
    return sum(
        os.stat(os.path.join(parent, name), follow_symlinks=False).st_size
        for parent, dummy, names in os.walk(path, onerror=unseen)
        for name in names
    )
