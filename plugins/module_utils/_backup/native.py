# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The database driver made of PostgreSQL's own tools alone.

A backup is what pg_basebackup writes: one compressed archive of the data
directory, the log that was written meanwhile, and the server's list of all
files with their checksums. From version 17 on it can hold only the blocks that
changed since the parent. An optional archive of the log, which pg_receivewal
fills, lets a restore go on to any later moment.

Before a data directory is touched it is shown that the target can be reached:
recovery takes a hole in the log for its end, and calls that success.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
import shutil
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster, wal
from ansible_collections.matrixon.ops.plugins.module_utils._backup.archive import (
    UNPACK,
    Archive,
    first_hole,
    restore_command,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.driver import (
    QUESTIONS,
    Chain,
    Reach,
    Stopwatch,
    as_damage,
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
    LATEST,
    LSN,
    TIME,
    Component,
    DatabasePart,
    Manifest,
    PostgresqlFacts,
    Target,
    parse_time,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import PIPE_BYTES, Runner, damaged
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import rfc3339

NAME = "native"
FOLDER = "db/physical"
SERVER_MANIFEST = "backup_manifest"
# A guess of what is left of a data directory in an archive; text comes to a third. The disk has the last word.
COMPRESSED = 0.5
# How hard the server's zstd tries. 3 makes a copy 8 % smaller, for twice the time of the processor.
LEVEL = 1
# What tar reads and writes at once, in blocks of 512 bytes: half of what a pipe holds.
BLOCKS = PIPE_BYTES // 2 // 512
FIRST_WITH_SERVER_COMPRESSION = 15
FIRST_INCREMENTAL = 17
NOW = """SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


class Native:
    """Physical backups with pg_basebackup, and with pg_receivewal's archive restores to any moment.

    ``store`` is the directory of the server's sets, ``archive`` the one that
    pg_receivewal fills, if there is one. A restore needs no ``client``. With
    ``durable`` a restored directory is on the disk when the call returns; a
    scratch copy need not be.
    """

    name = NAME

    def __init__(
        self,
        store: str,
        runner: Runner,
        client: cluster.Client | None = None,
        archive: str | None = None,
        *,
        level: int = LEVEL,
        workers: int = 2,
        durable: bool = True,
    ) -> None:
        self.store, self.archive = store, archive
        self._runner, self._client = runner, client
        self._level, self._workers, self._durable = level, workers, durable

    # --- before

    def problems(self) -> list[str]:
        """Return what stands in the way of a backup, a sentence each."""
        with self._server.session(Deadline(QUESTIONS)) as session:
            return problems(cluster.look(session), self._server.server.user, self.store, self.archive)

    def estimate(self) -> int:
        """Return the bytes that a full backup will need at most, as far as can be guessed."""
        with self._server.session(Deadline(QUESTIONS)) as session:
            running = cluster.look(session)
        return int(running.bytes * COMPRESSED) + 4 * running.segment_bytes

    def reason_for_full(self, parent: Manifest) -> str | None:
        """Return why the next backup cannot add to this set, or None."""
        with self._server.session(Deadline(QUESTIONS)) as session:
            running = cluster.look(session)
            identifier = session.value("SELECT system_identifier FROM pg_control_system()")
            timeline = int(session.value("SELECT timeline_id FROM pg_control_checkpoint()"))
        if running.major < FIRST_INCREMENTAL:
            return f"PostgreSQL {running.major} has no incremental backups; they came with {FIRST_INCREMENTAL}"
        if not running.summarize_wal:
            return "the server's setting summarize_wal is off, so it does not know what changed"
        if parent.pg is None or parent.components.get(DATABASE, Component("")).driver != self.name:
            return f"set {parent.id} was not made by the driver {self.name}"
        if parent.pg.system_identifier != identifier:
            return f"set {parent.id} is of another cluster"
        if parent.pg.timeline != timeline:
            return f"the server is on timeline {timeline}, and set {parent.id} is of timeline {parent.pg.timeline}"
        if not os.path.isfile(self._server_manifest(parent.id)):
            return f"set {parent.id} has no {SERVER_MANIFEST} any more"
        return None

    # --- backup

    def backup(self, directory: str, parent: Manifest | None, deadline: Deadline) -> DatabasePart:
        """Copy the cluster into a set's directory; with a parent, only what changed since."""
        server = self._server
        if parent and (reason := self.reason_for_full(parent)):
            raise BackupError(INTERNAL, f"this backup cannot add to set {parent.id}: {reason}; make a full one")
        with server.session(deadline) as session:
            running = cluster.look(session)
            names = cluster.database_names(session)
        folder = os.path.join(directory, FOLDER)
        self._runner.make_directory(os.path.dirname(folder))
        clock = Stopwatch()
        with cluster.counting(server, names, deadline) as counts:
            # The rows as they were before the copy began are counted while it is made.
            for count in counts.values():
                count.start()
            compression = self._copy(folder, running, parent, os.path.basename(directory), deadline)
            clock.lap("copy")
            before = {name: count.finish() for name, count in counts.items()}
        with server.session(deadline) as session:
            stopped = parse_time(session.value(NOW))
            superuser = session.value("SELECT pg_get_userbyid(10)")
        with cluster.counting(server, names, deadline) as counts:
            # The server counts once more while the copy is read again.
            for count in counts.values():
                count.start()
            listed = read_server_manifest(os.path.join(folder, SERVER_MANIFEST))
            self._pack_log(folder, compression, deadline)
            files = entries(directory, FOLDER, deadline)
            clock.lap("checksum")
            after = {name: count.finish() for name, count in counts.items()}
        described = cluster.with_tables(cluster.facts(server, deadline), before, after)
        clock.lap("count")
        return DatabasePart(
            driver=self.name,
            kind=INCREMENTAL if parent else FULL,
            pg=_with_positions(described, listed),
            files=files,
            bytes=sum(entry.bytes for entry in files),
            parent=parent.id if parent else None,
            tool_versions={"pg_basebackup": described.version},
            detail={
                "compression": compression,
                "unpacked_bytes": listed.bytes,
                "stopped": rfc3339(_rounded_up(stopped)),
                "superuser": superuser,
            },
            timings=clock.laps,
        )

    def _copy(
        self, folder: str, running: cluster.Running, parent: Manifest | None, label: str, deadline: Deadline
    ) -> str:
        """Let pg_basebackup write the archive, and return how it is compressed."""
        compression = "zst" if running.zstd and shutil.which("zstd") else "gz"
        if running.major < FIRST_WITH_SERVER_COMPRESSION:
            compression, method = "gz", "1"
        elif compression == "zst":
            method = f"server-zstd:level={self._level},workers={self._workers}"
        else:
            method = "server-gzip:1"
        arguments = [f"--pgdata={folder}", "--format=tar", "--wal-method=stream", f"--compress={method}"]
        # The store brings everything to the disk, once.
        arguments += ["--checkpoint=fast", "--no-sync", f"--label=matrixon.ops {label}"]
        if parent:
            arguments.append(f"--incremental={self._server_manifest(parent.id)}")
        self._server.run(deadline, "pg_basebackup", *arguments, doing="the copy of the database")
        return compression

    def _pack_log(self, folder: str, compression: str, deadline: Deadline) -> None:
        """Compress the log that came uncompressed; it is mostly zeros."""
        path = os.path.join(folder, "pg_wal.tar")
        if os.path.exists(path):
            argv = ["zstd", "-qc", "-3"] if compression == "zst" else ["gzip", "-c1"]
            self._runner.pipe([argv], deadline, source=path, target=f"{path}.{compression}")
            os.unlink(path)

    def _server_manifest(self, set_id: str) -> str:
        return os.path.join(self.store, "sets", set_id, FOLDER, SERVER_MANIFEST)

    @property
    def _server(self) -> cluster.Client:
        if self._client is None:
            raise BackupError(INTERNAL, "a backup needs a server, and none was named")
        return self._client

    # --- restore

    def reach(self, chain: Chain, target: Target, deadline: Deadline) -> Reach:
        """Return what the target means for recovery, or fail with the reason why it cannot be reached."""
        pg = check_chain(chain, self.name)
        stop = wal.parse_lsn(pg.lsn_stop or "")
        manifest = chain[-1][1]
        if self.archive is None or target.kind == IMMEDIATE:
            if target.kind in (TIME, LSN):
                raise BackupError(
                    INTERNAL,
                    f"target: {target} cannot be reached with set {manifest.id} alone, which ends at log position "
                    f"{pg.lsn_stop}; that needs an archive of the log, and none was named",
                )
            settings = {"recovery_target_timeline": "current", "restore_command": self._restore_command([])}
            if target.kind == IMMEDIATE:
                settings["recovery_target"] = "immediate"
            return Reach(stop, (pg.timeline or 1,), settings)
        archive = Archive(self.archive, self._runner, cluster.programs(pg.major, "pg_waldump"), pg.segment_bytes)
        walk, names = archive.walk(pg, target)
        if walk.trap and target.kind != LSN:
            # A position is held against the last record before it. Nothing but a later commit ends recovery at a time.
            raise BackupError(
                INTERNAL,
                f"target: {target} cannot be reached from set {manifest.id}: {first_hole(walk, archive.path)}, and "
                f"recovery would take {walk.trap} instead, which is another history, and call it success; take another "
                "set, name an earlier timeline or a log position before it, or immediate for the set's own end",
            )
        if target.kind in (LATEST, TIME) and (line := archive.left_branch(walk, stop)):
            raise BackupError(
                INTERNAL,
                f"target: {target} cannot be reached from set {manifest.id}: it is of timeline {line}, and the server "
                "left that before the end of the set; take an older set or one made since, or immediate for the set's "
                "own end",
            )
        settings = {
            "recovery_target_timeline": str(walk.timelines[-1]),
            "restore_command": self._restore_command(names),
        }
        position = self._position(archive, walk, target, manifest, deadline)
        if target.time is not None:
            settings["recovery_target_time"] = target.time.astimezone(datetime.timezone.utc).isoformat(sep=" ")
        if target.lsn is not None:
            settings["recovery_target_lsn"] = target.lsn
        return Reach(max(stop, position), walk.timelines, settings)

    def _position(
        self, archive: Archive, walk: wal.Walk, target: Target, manifest: Manifest, deadline: Deadline
    ) -> int:
        """Return the position that recovery to a target comes to at least, or fail where it does not come there."""
        pg = manifest.pg
        if not (pg and pg.lsn_stop):
            raise AssertionError
        stop = wal.parse_lsn(pg.lsn_stop)
        hole = first_hole(walk, archive.path)
        if target.kind == LATEST:
            if hole:
                raise BackupError(
                    INTERNAL,
                    f"target: the end of the archive cannot be reached from set {manifest.id}: {hole}. Recovery would "
                    f"end there and call it success; choose a target before it, or immediate for the set's own end",
                )
            return archive.last_record(walk, stop, deadline) + 1
        if target.lsn is not None:
            wanted, last = wal.parse_lsn(target.lsn), archive.last_record(walk, stop, deadline)
            if wanted < stop:
                raise BackupError(
                    INTERNAL,
                    f"target: {target} lies before the end of set {manifest.id} at {pg.lsn_stop}; take an older set",
                )
            if wanted > last:
                raise BackupError(
                    INTERNAL,
                    f"target: {target} cannot be reached from set {manifest.id}: "
                    f"{hole or f'the archive {archive.path} ends'} at {wal.format_lsn(last)}",
                )
            return wanted
        if not target.time:
            raise AssertionError
        ended = parse_time(str(manifest.components[DATABASE].detail.get("stopped", rfc3339(manifest.finished))))
        if target.time < ended:
            raise BackupError(
                INTERNAL,
                f"target: {target} lies before the end of set {manifest.id} at {rfc3339(ended)}; take an older set",
            )
        newest = archive.last_commit(walk, stop, deadline)
        if newest is None or newest < target.time:
            known = f"up to {rfc3339(newest)}" if newest else "nothing"
            raise BackupError(
                INTERNAL,
                f"target: {target} cannot be reached from set {manifest.id}: {hole or 'the archive ends before it'}; "
                f"of what was committed after the set, {archive.path} holds {known}",
            )
        return stop

    def _restore_command(self, names: t.Iterable[str]) -> str:
        return restore_command(self.archive, {file.compression for name in names if (file := wal.parse_name(name))})

    def restore(self, chain: Chain, directory: str, target: Target, deadline: Deadline) -> None:
        """Write a data directory that recovers to the target when it is started.

        Everything that can refuse is asked first. What was begun is removed
        again if it cannot be finished.
        """
        pg = check_chain(chain, self.name)
        tools = cluster.programs(pg.major, "postgres")
        reach = self.reach(chain, target, deadline)
        if problem := cluster.empty_problem(directory):
            raise BackupError(INTERNAL, problem)
        cluster.require_room(directory, needed_bytes(chain, pg))
        with cluster.occupied(directory, self._runner):
            if len(chain) == 1:
                self._unpack(chain[0], directory, tools, deadline, last=True)
            else:
                self._combine(chain, directory, tools, deadline)
            prepare(directory, reach.settings, self._runner)
            if self._durable:
                self._runner.run(["sync", "-f", directory], deadline)

    def _unpack(self, link: tuple[str, Manifest], directory: str, tools: str, deadline: Deadline, last: bool) -> None:
        """Unpack one set and hold it against the server's own list of files."""
        place, manifest = link
        folder = os.path.join(place, FOLDER)
        compression = str(manifest.components[DATABASE].detail.get("compression", ""))
        parts = [("base.tar", directory)]
        if last:
            parts.append(("pg_wal.tar", os.path.join(directory, "pg_wal")))
        with as_damage(manifest.id):
            for name, into in parts:
                self._runner.pipe(
                    [UNPACK[compression], ["tar", f"--blocking-factor={BLOCKS}", "-xpf", "-", "-C", into]],
                    deadline,
                    source=os.path.join(folder, f"{name}.{compression}"),
                    doing=f"unpacking {name}.{compression}",
                )
            _no_tablespaces(directory, manifest.id)
            argv = [os.path.join(tools, "pg_verifybackup"), "--quiet", "--exit-on-error"]
            argv += [] if last else ["--no-parse-wal"]
            argv += [f"--manifest-path={os.path.join(folder, SERVER_MANIFEST)}", directory]
            self._runner.run(argv, deadline)

    def _combine(self, chain: Chain, directory: str, tools: str, deadline: Deadline) -> None:
        parts = []
        for place, link in enumerate(chain):
            parts.append(os.path.join(directory, f".part{place}"))
            self._runner.make_directory(parts[-1])
            self._unpack(link, parts[-1], tools, deadline, last=place == len(chain) - 1)
            # The server's list of files is not in its own archive, and the combined copy gets one of its own by it.
            listed = os.path.join(link[0], FOLDER, SERVER_MANIFEST)
            self._runner.run(["cp", listed, os.path.join(parts[-1], SERVER_MANIFEST)], deadline)
        combined = os.path.join(directory, ".combined")
        with as_damage(chain[-1][1].id):
            argv = [os.path.join(tools, "pg_combinebackup"), "--no-sync", f"--output={combined}", *parts]
            self._runner.run(argv, deadline)
            verify = [os.path.join(tools, "pg_verifybackup"), "--quiet", "--exit-on-error", "--no-parse-wal", combined]
            self._runner.run(verify, deadline)
        os.unlink(os.path.join(combined, SERVER_MANIFEST))
        for part in parts:
            shutil.rmtree(part)
        for entry in os.listdir(combined):
            os.rename(os.path.join(combined, entry), os.path.join(directory, entry))
        os.rmdir(combined)


# --- pure parts


def problems(running: cluster.Running, user: str, store: str, archive: str | None) -> list[str]:
    """Return what stands in the way of a physical backup of a server, a sentence each."""
    found = []
    if not running.replication:
        found.append(f"the role {user} may not copy the cluster; ALTER ROLE {cluster.quoted(user)} REPLICATION")
    if not running.reads_all:
        found.append(
            f"the role {user} may not read all tables, so rows cannot be counted; "
            f"GRANT pg_read_all_data TO {cluster.quoted(user)}"
        )
    if running.wal_level == "minimal":
        found.append("wal_level is minimal, so a copy could not be made consistent; set it to replica and restart")
    if running.max_wal_senders < 2:
        found.append(
            f"max_wal_senders is {running.max_wal_senders}, and a backup needs two: one for the data and one for the "
            "log; set it to 10 and restart"
        )
    for name, place in running.tablespaces:
        found.append(
            f"tablespace {name} lies in {place}, outside of the data directory, and the driver {NAME} does not carry "
            "tablespaces; move its tables into pg_default, or use the driver logical, which brings them back there"
        )
    for words, path in (("store", store), ("archive of the log", archive)):
        if path and running.data_directory and cluster.inside(path, running.data_directory):
            found.append(
                f"the {words} {path} lies inside the data directory {running.data_directory}, so it would be lost "
                "with it; choose another place"
            )
    return found


def needed_bytes(chain: Chain, pg: PostgresqlFacts) -> int:
    """Return the bytes that a restore of a chain takes while it is made."""
    needed = sum(int(manifest.components[DATABASE].detail.get("unpacked_bytes", 0)) for dummy, manifest in chain)
    if len(chain) > 1:
        # The combined copy stands beside its parts for a while.
        needed += sum(database.bytes for database in pg.databases)
    # A little of the log comes with each copy.
    return needed + 4 * pg.segment_bytes


class ServerManifest(t.NamedTuple):
    """What the server's own list of files says: the range of the log as text, and the bytes of all files."""

    timeline: int
    start: str
    stop: str
    first_timeline: int
    bytes: int


def read_server_manifest(path: str) -> ServerManifest:
    """Return what matters of a backup_manifest, after holding it against its own checksum."""
    try:
        with open(path, "rb") as file:
            content = file.read()
        body, mark, dummy = content.rpartition(b'"Manifest-Checksum"')
        document = json.loads(content)
        if not mark or hashlib.sha256(body).hexdigest() != document["Manifest-Checksum"]:
            raise damaged(f"{path} does not have the checksum that it names")
        ranges = document["WAL-Ranges"]
        return ServerManifest(
            timeline=ranges[0]["Timeline"],
            start=ranges[-1]["Start-LSN"],
            stop=ranges[0]["End-LSN"],
            first_timeline=ranges[-1]["Timeline"],
            bytes=sum(entry["Size"] for entry in document["Files"]),
        )
    except OSError as error:
        raise damaged(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise damaged(f"{path} is no list of files that PostgreSQL made: {error}") from error


def _with_positions(described: PostgresqlFacts, listed: ServerManifest) -> PostgresqlFacts:
    size = described.segment_bytes
    return dataclasses.replace(
        described,
        timeline=listed.timeline,
        lsn_start=listed.start,
        lsn_stop=listed.stop,
        wal_start=wal.segment_at(listed.first_timeline, wal.parse_lsn(listed.start), size),
        wal_stop=wal.segment_before(listed.timeline, wal.parse_lsn(listed.stop), size),
    )


def _rounded_up(moment: datetime.datetime) -> datetime.datetime:
    """Return a time that is not before this one and has no part of a millisecond."""
    return moment + datetime.timedelta(microseconds=-moment.microsecond % 1000)


def _no_tablespaces(directory: str, set_id: str) -> None:
    """Refuse a copy that would follow its tablespaces to where the source has them."""
    path = os.path.join(directory, "tablespace_map")
    if os.path.exists(path) and os.path.getsize(path):
        raise BackupError(INTERNAL, f"set {set_id} has tablespaces, and the driver {NAME} does not carry them")
