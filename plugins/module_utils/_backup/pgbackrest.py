# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The database driver that lets pgBackRest do the copying.

The data stays in pgBackRest's repository, on this host or in an object store;
a set names the backup there that is its own, and nothing of the repository's
format is taken for granted beyond that. Each backup is marked with its set, so
that one which a killed run left is known as ours and as nobody's.

pgBackRest is asked for lists and not for its opinion: see
``pgbackrest_output``. Before a data directory is touched it is shown that the
target can be reached; recovery takes a hole in the log for its end, and calls
that success.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import secrets
import shutil
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster, kept, wal
from ansible_collections.matrixon.ops.plugins.module_utils._backup import pgbackrest_rules as rules
from ansible_collections.matrixon.ops.plugins.module_utils._backup.driver import (
    QUESTIONS,
    Chain,
    Reach,
    Stopwatch,
    check_chain,
    entries,
    prepare,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import (
    DATABASE,
    FULL,
    IMMEDIATE,
    INCREMENTAL,
    DatabasePart,
    Manifest,
    PostgresqlFacts,
    Target,
    parse_time,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.native import COMPRESSED, NOW
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest_archive import (
    Continuity,
    Engine,
    RepositoryArchive,
    reached_position,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest_output import (
    DAMAGE,
    Backup,
    Stanza,
    read_verification,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest_rules import (
    MARK_RUN,
    MARK_SET,
    MARK_STORE,
    NAME,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest_settings import (
    DIRECTORY,
    FOREVER,
    TOOL,
    read,
    restore_command,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner, damaged
from ansible_collections.matrixon.ops.plugins.module_utils._backup.store import Entry
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, PARSE, Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import rfc3339

FOLDER = "db"
RECORD = "db/physical.json"
# What a set itself takes on the store's file system: its record, and the manifest with all tables.
SET_BYTES = 1 << 20


class Tidied(t.NamedTuple):
    """Labels of the backups that were removed, sentences about those that had to stay, and how many segments of the
    log went."""

    removed: tuple[str, ...]
    kept: tuple[str, ...]
    segments: int = 0


class PgBackRest:
    """Physical backups in a repository of pgBackRest, on this host or in an object store.

    ``store`` is the directory of the server's sets; ``directory`` that of
    pgBackRest's configuration, ``repository`` the number in it of the one for
    new backups. A set names its own; where another host has that one under
    another number, ``elsewhere`` is this. ``apart`` are places that a
    repository must not lie in, by what they are called. A restore needs
    neither ``client`` nor ``stanza``.
    """

    name = NAME

    def __init__(
        self,
        store: str,
        runner: Runner,
        client: cluster.Client | None = None,
        *,
        stanza: str | None = None,
        repository: int = 1,
        elsewhere: int | None = None,
        directory: str = DIRECTORY,
        apart: t.Mapping[str, str] | None = None,
        processes: int = 2,
        durable: bool = True,
    ) -> None:
        self.store, self.directory = store, directory
        self._runner, self._client = runner, client
        self._stanza, self._repository, self._elsewhere = stanza, repository, elsewhere
        self._apart = dict(apart or {})
        self._processes, self._durable = processes, durable

    @property
    def engine(self) -> Engine:
        """Return pgBackRest for backups."""
        if self._stanza is None:
            raise BackupError(INTERNAL, "a backup with pgBackRest needs a stanza, and none was named")
        return Engine(self._runner, self._stanza, self._repository, self.directory)

    @property
    def _server(self) -> cluster.Client:
        if self._client is None:
            raise BackupError(INTERNAL, "a backup needs a server, and none was named")
        return self._client

    # --- before

    def look(self, deadline: Deadline) -> rules.Look:
        """Return everything that decides whether a backup can be made."""
        engine = self.engine
        version, found = engine.version(deadline), read(self.directory)
        with self._server.session(deadline) as session:
            running = cluster.look(session)
            archiving = rules.look_at_archiving(session)
        stanza = None if found.stanza_problem(engine.stanza) else engine.info(deadline)
        return rules.Look(version, found, running, archiving, stanza)

    def problems(self) -> list[str]:
        """Return what stands in the way of a backup, a sentence each."""
        places = {"the store of the sets": self.store, **self._apart}
        return rules.problems(self.look(Deadline(QUESTIONS)), self.engine, self._server.server.user, places)

    def warnings(self) -> list[str]:
        """Return what is worse than it could be, and stands in no way."""
        return rules.warnings(self.look(Deadline(QUESTIONS)), self.engine)

    def estimate(self) -> int:
        """Return the bytes that a set takes in the store; the data goes into the repository, which is asked itself."""
        return SET_BYTES

    def prepare(self, deadline: Deadline) -> bool:
        """Make the stanza in all repositories of the configuration; say whether this one did not have it."""
        missing = self.engine.info(deadline).missing
        self.engine.run(deadline, "stanza-create", doing=f"making the stanza {self.engine.stanza}", everywhere=True)
        return missing

    def reason_for_full(self, parent: Manifest) -> str | None:
        """Return why the next backup cannot add to this set, or None."""
        deadline = Deadline(QUESTIONS)
        with self._server.session(deadline) as session:
            identifier = session.value("SELECT system_identifier FROM pg_control_system()")
        return rules.reason_for_full(parent, self.engine, identifier, self.engine.info(deadline))

    # --- backup

    def backup(self, directory: str, parent: Manifest | None, deadline: Deadline) -> DatabasePart:
        """Let pgBackRest copy the cluster; the set gets a record of it."""
        engine, server = self.engine, self._server
        if parent and (reason := self.reason_for_full(parent)):
            raise BackupError(INTERNAL, f"this backup cannot add to set {parent.id}: {reason}; make a full one")
        with server.session(deadline) as session:
            running = cluster.look(session)
            names = cluster.database_names(session)
            position = wal.parse_lsn(session.value("SELECT pg_current_wal_lsn()"))
        self._require_room(running, parent, position)
        clock, run = Stopwatch(), secrets.token_hex(8)
        with cluster.counting(server, names, deadline) as counts:
            # The rows as they were before the copy began are counted while it is made.
            for count in counts.values():
                count.start()
            words = self._copy(directory, parent, run, deadline)
            clock.lap("copy")
            before = {name: count.finish() for name, count in counts.items()}
        with server.session(deadline) as session:
            stopped = parse_time(session.value(NOW))
            superuser = session.value("SELECT pg_get_userbyid(10)")
        after = cluster.count_rows(server, names, deadline)
        described = cluster.with_tables(cluster.facts(server, deadline), before, after)
        clock.lap("count")
        made = _made_by(engine.info(deadline), run)
        _check_made(made, parent)
        pg = _with_positions(described, made)
        detail: dict[str, t.Any] = {
            "stanza": engine.stanza,
            "repository": engine.repository,
            "label": made.label,
            "needs": list(made.needs),
            "run": run,
            "archive_id": made.archive_id,
            "unpacked_bytes": made.bytes,
            "stored_bytes": made.stored,
            "stopped": rfc3339(_rounded_up(stopped)),
            "superuser": superuser,
            "warnings": _warned(words),
        }
        self._check_log(rules.set_id(directory), pg, detail, deadline)
        clock.lap("archive")
        self._runner.make_directory(os.path.join(directory, FOLDER))
        with self._runner.create(os.path.join(directory, RECORD)) as file:
            document = {"engine": NAME, **detail, "wal_start": pg.wal_start, "wal_stop": pg.wal_stop}
            file.write(json.dumps(document, indent=1, sort_keys=True).encode() + b"\n")
        files = entries(directory, FOLDER, deadline)
        return DatabasePart(
            driver=self.name,
            kind=INCREMENTAL if parent else FULL,
            pg=pg,
            files=files,
            bytes=made.stored + sum(entry.bytes for entry in files),
            parent=parent.id if parent else None,
            tool_versions={TOOL: ".".join(str(part) for part in engine.version(deadline))},
            detail=detail,
            timings=clock.laps,
        )

    def _copy(self, directory: str, parent: Manifest | None, run: str, deadline: Deadline) -> str:
        marks = {MARK_SET: rules.set_id(directory), MARK_STORE: rules.store_name(self.store), MARK_RUN: run}
        _out, words = self.engine.run(
            deadline,
            "backup",
            f"--type={'incr' if parent else 'full'}",
            *(f"--annotation={key}={value}" for key, value in marks.items()),
            f"--process-max={self._processes}",
            "--no-expire-auto",
            doing="the copy of the database",
        )
        return words

    def _require_room(self, running: cluster.Running, parent: Manifest | None, position: int) -> None:
        """Fail before the first byte where the repository is on this host and has no room."""
        path = read(self.directory).repository_path(self.engine.stanza, self.engine.repository)
        if path:
            needed = running.bytes
            if parent and parent.pg and parent.pg.lsn_stop:
                # What changed since the parent is in the log since then.
                needed = min(needed, max(0, position - wal.parse_lsn(parent.pg.lsn_stop)))
            cluster.require_room(path, int(needed * COMPRESSED) + 4 * running.segment_bytes)

    def _check_log(self, name: str, pg: PostgresqlFacts, detail: t.Mapping[str, t.Any], deadline: Deadline) -> None:
        """Fail where the log that the backup cannot be restored without is not in the repository."""
        found = self._continuity(name, pg, detail, None, deadline)
        if found.walk.end is None or found.walk.end < found.stop:
            raise BackupError(PARSE, "; ".join(found.problems()))

    # --- what the repository holds

    def continuity(self, manifest: Manifest, deadline: Deadline, timeline: int | None = None) -> Continuity:
        """Follow the log from a set on, by the repository's own listing."""
        pg, part = manifest.pg, manifest.components.get(DATABASE)
        if pg is None or part is None or part.driver != self.name:
            raise BackupError(INTERNAL, f"set {manifest.id} was not made by the driver {self.name}")
        return self._continuity(manifest.id, pg, part.detail, timeline, deadline)

    def _continuity(
        self,
        name: str,
        pg: PostgresqlFacts,
        detail: t.Mapping[str, t.Any],
        timeline: int | None,
        deadline: Deadline,
    ) -> Continuity:
        archive = self._archive(pg, detail, "")
        walk = archive.follow(pg, timeline, deadline)
        stop = wal.parse_lsn(pg.lsn_stop or "")
        return Continuity(name, archive.path, stop, walk, archive.newest(walk), archive.listed.twice)

    def verify(self, manifests: t.Sequence[Manifest], deadline: Deadline) -> list[str]:
        """Let pgBackRest read all again, and return what is wrong with what these sets need, a sentence each."""
        found = []
        for engine, mine in self._by_engine(manifests):
            # Not those of the repository alone: it forgets a backup whose directory is gone.
            labels: dict[str, str] = {}
            for manifest in mine:
                detail = manifest.components[DATABASE].detail
                for label in (*detail["needs"], detail["label"]):
                    labels.setdefault(str(label), f"set {manifest.id}")
            archives = sorted({str(manifest.components[DATABASE].detail["archive_id"]) for manifest in mine})
            arguments = ["--output=text", "--verbose", f"--process-max={self._processes}"]
            out, _words = engine.run(deadline, "verify", *arguments, doing=f"reading repository {engine.repository}")
            verified = read_verification(out, engine.stanza)
            found += verified.problems(labels, archives)
        return found

    def _by_engine(self, manifests: t.Sequence[Manifest]) -> t.Iterator[tuple[Engine, list[Manifest]]]:
        """Yield the repositories that sets are in, each with its own."""
        mine = [
            manifest
            for manifest in manifests
            if DATABASE in manifest.components and manifest.components[DATABASE].driver == self.name
        ]
        by_place: dict[tuple[str, int], list[Manifest]] = {}
        for manifest in mine:
            engine = self._engine_of(manifest.components[DATABASE].detail)
            by_place.setdefault((engine.stanza, engine.repository), []).append(manifest)
        for (stanza, repository), group in sorted(by_place.items(), key=lambda item: item[0]):
            yield Engine(self._runner, stanza, repository, self.directory), group

    def _engine_of(self, detail: t.Mapping[str, t.Any]) -> Engine:
        """Return pgBackRest for the place where a set's backup is."""
        repository = self._elsewhere or int(detail["repository"])
        return Engine(self._runner, str(detail["stanza"]), repository, self.directory)

    # --- removal

    def removal_problems(self, manifests: t.Sequence[Manifest], deadline: Deadline) -> list[str]:
        """Return why the backups of sets cannot be removed together, a sentence each. Ask before the sets go."""
        found = []
        for engine, mine in self._by_engine(manifests):
            stanza = engine.info(deadline)
            labels = {str(manifest.components[DATABASE].detail["label"]) for manifest in mine}
            for manifest in mine:
                if problem := rules.removal_problem(stanza, str(manifest.components[DATABASE].detail["label"]), labels):
                    found.append(f"set {manifest.id} cannot be removed: {problem}")
        return found

    def spare(self, sets: t.Mapping[str, Manifest | None], deadline: Deadline) -> Tidied:
        """Return what ``tidy`` would remove."""
        stanza = self.engine.info(deadline)
        going, staying = rules.unnamed(stanza, rules.store_name(self.store), sets)
        return Tidied(tuple(going), tuple(staying), self._spare_segments(stanza, going, deadline))

    def _spare_segments(self, stanza: Stanza, going: t.Collection[str], deadline: Deadline) -> int:
        """Return how many segments are older than each full backup that stays; 0 where there is none to tell by."""
        fulls = [backup for backup in stanza.backups if backup.kind == FULL and backup.label not in going]
        if not fulls:
            return 0
        oldest = min(fulls, key=lambda backup: backup.label)
        listed = self.engine.log(oldest.archive_id, deadline)
        return len([name for name in listed.segments if name < oldest.wal_start])

    def tidy(self, sets: t.Mapping[str, Manifest | None], deadline: Deadline) -> Tidied:
        """Remove backups of this store that no set names any more, and the log that no backup needs.

        ``sets`` are all sets of the store by id, None for one whose manifest
        cannot be read: what is marked with its name stays. The lock of the
        store must be held, so that no backup of it is being made.
        """
        engine = self.engine
        spare = self.spare(sets, deadline)
        for label in spare.removed:
            # The list is from the newest to the oldest, so nothing takes another along that nobody looked at.
            engine.run(deadline, "expire", f"--set={label}", doing=f"removing backup {label}")
        left = engine.info(deadline)
        for label in spare.removed:
            if left.find(label):
                raise BackupError(
                    INTERNAL, f"backup {label} is still there, though pgbackrest expire ended with code 0"
                )
        if spare.segments:
            prefix = f"--repo{engine.repository}-retention"
            # As many as there are: the log goes that is older than the oldest of them, and no backup.
            options = [f"{prefix}-archive={len(left.fulls)}", f"{prefix}-archive-type=full"]
            options.append(f"{prefix}-full={FOREVER}")
            engine.run(deadline, "expire", *options, doing="removing the log that no backup needs")
            if more := self._spare_segments(left, (), deadline):
                raise BackupError(
                    INTERNAL,
                    f"{more} segments that no backup needs are still there, though pgbackrest expire ended with code 0",
                )
        return spare

    def stores(self, entries: t.Iterable[Entry]) -> list[PgBackRest]:
        """Return the driver for each stanza and repository that sets are in, to tidy there."""
        manifests = [entry.manifest for entry in entries if entry.manifest]
        return [
            PgBackRest(
                self.store,
                self._runner,
                stanza=engine.stanza,
                repository=engine.repository,
                directory=self.directory,
                processes=self._processes,
            )
            for engine, _mine in self._by_engine(manifests)
        ]

    # --- restore

    def reach(self, chain: Chain, target: Target, deadline: Deadline) -> Reach:
        """Return what the target means for recovery, or fail with the reason why it cannot be reached."""
        pg = check_chain(chain, self.name)
        manifest = chain[-1][1]
        detail = manifest.components[DATABASE].detail
        engine = self._engine_of(detail)
        rules.check_backups(chain, engine.info(deadline), engine.repository)
        archive = self._archive(pg, detail, cluster.programs(pg.major, "pg_waldump"))
        own = wal.split(pg.wal_start or "", pg.segment_bytes)[0]
        walk = archive.follow(pg, own if target.kind == IMMEDIATE else target.timeline, deadline)
        stop = wal.parse_lsn(pg.lsn_stop or "")
        found = Continuity(manifest.id, archive.path, stop, walk, archive.newest(walk), archive.listed.twice)
        settings = {
            # The server wants the history of a timeline that it is told by number, and that may be in no archive.
            "recovery_target_timeline": "current" if walk.timelines[-1] == own else str(walk.timelines[-1]),
            "restore_command": restore_command(engine.stanza, engine.repository, self.directory),
        }
        if walk.end is None or walk.end < stop:
            raise damaged(f"target: {target} cannot be reached: {'; '.join(found.problems())}")
        if target.kind == IMMEDIATE:
            return Reach(stop, (own,), {**settings, "recovery_target": "immediate"})
        position = reached_position(archive, found, target, manifest, deadline)
        if target.time is not None:
            settings["recovery_target_time"] = target.time.astimezone(datetime.timezone.utc).isoformat(sep=" ")
        if target.lsn is not None:
            settings["recovery_target_lsn"] = target.lsn
        return Reach(max(stop, position), walk.timelines, settings)

    def restore(self, chain: Chain, directory: str, target: Target, deadline: Deadline) -> None:
        """Write a data directory that recovers to the target when it is started.

        Everything that can refuse is asked first. What was begun is removed
        again if it cannot be finished.
        """
        reach = self._reachable(chain, target, deadline)
        if problem := cluster.empty_problem(directory):
            raise BackupError(INTERNAL, problem)
        cluster.require_room(directory, needed_bytes(chain))
        with cluster.occupied(directory, self._runner):
            self._write(chain, directory, reach, deadline)

    def refresh(self, chain: Chain, directory: str, target: Target, deadline: Deadline) -> None:
        """Bring the data directory of a copy that is kept to a set, by writing what differs.

        All that is in it may be changed or removed, so its place must be held (`kept.hold`).
        """
        reach = self._reachable(chain, target, deadline)
        pg = chain[-1][1].pg
        if not pg:
            raise AssertionError
        tools = cluster.programs(pg.major, "postgres")
        if kept.is_copy(directory, pg.system_identifier, self._runner, tools, deadline):
            # Only this much can be new. Without it the copy may have been the whole cluster's size before.
            cluster.require_room(directory, 4 * pg.segment_bytes)
            self._write(chain, directory, reach, deadline, "--delta")
            return
        if os.path.lexists(directory):
            shutil.rmtree(directory)
        cluster.require_room(directory, needed_bytes(chain))
        with cluster.occupied(directory, self._runner):
            self._write(chain, directory, reach, deadline)

    def _reachable(self, chain: Chain, target: Target, deadline: Deadline) -> Reach:
        pg = check_chain(chain, self.name)
        cluster.programs(pg.major, "postgres")
        return self.reach(chain, target, deadline)

    def _write(self, chain: Chain, directory: str, reach: Reach, deadline: Deadline, *options: str) -> None:
        """Let pgBackRest write a data directory, and tell it where recovery ends ourselves, as for every driver."""
        manifest = chain[-1][1]
        detail = manifest.components[DATABASE].detail
        arguments = [f"--pg1-path={directory}", f"--set={detail['label']}", "--type=none"]
        arguments += [f"--process-max={self._processes}", *options]
        with _as_damage(manifest.id):
            self._engine_of(detail).run(deadline, "restore", *arguments, doing="bringing the database back")
        if os.listdir(os.path.join(directory, "pg_tblspc")):
            raise BackupError(INTERNAL, f"set {manifest.id} has tablespaces, and the driver {NAME} does not carry them")
        prepare(directory, reach.settings, self._runner)
        if self._durable:
            self._runner.run(["sync", "-f", directory], deadline)

    def _archive(self, pg: PostgresqlFacts, detail: t.Mapping[str, t.Any], tools: str) -> RepositoryArchive:
        return RepositoryArchive(self._engine_of(detail), str(detail["archive_id"]), self._runner, tools, pg)


# --- pure parts


def needed_bytes(chain: Chain) -> int:
    """Return the bytes that a restore takes."""
    manifest = chain[-1][1]
    segment = manifest.pg.segment_bytes if manifest.pg else wal.DEFAULT_SEGMENT_BYTES
    return int(manifest.components[DATABASE].detail.get("unpacked_bytes", 0)) + 4 * segment


def _made_by(stanza: Stanza, run: str) -> Backup:
    made = [backup for backup in stanza.backups if backup.annotations.get(MARK_RUN) == run]
    if len(made) != 1:
        raise BackupError(
            INTERNAL, f"pgbackrest backup ended with code 0, and the repository has {len(made)} backups of this run"
        )
    return made[0]


def _check_made(made: Backup, parent: Manifest | None) -> None:
    if made.bad_pages:
        raise BackupError(
            PARSE,
            f"pages of the cluster do not have their checksum, so backup {made.label} holds damaged data: find them "
            "with pg_amcheck, and restore what was good from an older set",
        )
    label = parent.components[DATABASE].detail["label"] if parent else None
    if made.prior != label:
        raise BackupError(
            INTERNAL,
            f"backup {made.label} adds to {made.prior or 'none'} and should add to {label or 'none'}: another run came "
            "between; try again",
        )


def _with_positions(described: PostgresqlFacts, made: Backup) -> PostgresqlFacts:
    return dataclasses.replace(
        described,
        timeline=wal.split(made.wal_stop, described.segment_bytes)[0],
        lsn_start=made.lsn_start,
        lsn_stop=made.lsn_stop,
        wal_start=made.wal_start,
        wal_stop=made.wal_stop,
    )


def _rounded_up(moment: datetime.datetime) -> datetime.datetime:
    """Return a time that is not before this one and has no part of a millisecond."""
    return moment + datetime.timedelta(microseconds=-moment.microsecond % 1000)


def _warned(words: str) -> list[str]:
    """Return the first lines of the warnings that it gave."""
    return [line.partition("WARN: ")[2] for line in words.splitlines() if "WARN: " in line][:10]


@contextlib.contextmanager
def _as_damage(name: str) -> t.Iterator[None]:
    """Call it the set's damage when the repository does not have what it should have. Nothing else is its fault."""
    try:
        yield
    except BackupError as error:
        if error.kind != INTERNAL or error.facts.get("no_space") or error.facts.get("engine_code") not in DAMAGE:
            raise
        raise damaged(f"set {name} is damaged: {error.message}", error.facts) from error
