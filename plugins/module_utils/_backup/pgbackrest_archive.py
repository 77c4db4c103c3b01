# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""pgBackRest as a tool, and the log in its repository, believed only as far as its own listing leads."""

from __future__ import annotations

import datetime
import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster, wal
from ansible_collections.matrixon.ops.plugins.module_utils._backup.archive import UNPACK, Archive
from ansible_collections.matrixon.ops.plugins.module_utils._backup.capture import capture
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import (
    DATABASE,
    LATEST,
    TIME,
    Manifest,
    PostgresqlFacts,
    Target,
    parse_time,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest_output import (
    Listed,
    Stanza,
    Version,
    archive_listing,
    read_info,
    read_listing,
    read_version,
    trouble,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest_settings import DIRECTORY, TOOL
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import (
    Runner,
    complaint,
    damaged,
    uninterrupted,
)
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import rfc3339


@dataclass(frozen=True)
class Engine:
    """pgBackRest with one configuration, stanza and repository. It reads secrets from its own files."""

    runner: Runner
    stanza: str
    repository: int
    directory: str = DIRECTORY

    def argv(self, command: str, *arguments: str, everywhere: bool = False) -> list[str]:
        """Return a command line. What it logs goes to standard error, without times; ``everywhere`` is all
        repositories."""
        return [
            TOOL,
            f"--config-path={self.directory}",
            f"--stanza={self.stanza}",
            "--log-level-console=off",
            "--log-level-stderr=warn",
            "--no-log-timestamp",
            *([] if everywhere else [f"--repo={self.repository}"]),
            command,
            *arguments,
        ]

    def run(
        self, deadline: Deadline, command: str, *arguments: str, doing: str, everywhere: bool = False
    ) -> tuple[str, str]:
        """Run a command and return what it printed, and what it said on standard error."""
        done = capture(self.runner, self.argv(command, *arguments, everywhere=everywhere), deadline, doing)
        out = done.out.decode("utf-8", "surrogateescape")
        if done.code:
            # Before it knows its configuration it logs as it likes.
            raise trouble(done.code, done.words if done.words.strip() else out, doing)
        return out, done.words

    def version(self, deadline: Deadline) -> Version:
        """Return its version, such as (2, 55, 1)."""
        return read_version(self.runner.run([TOOL, "version"], deadline).out)

    def info(self, deadline: Deadline) -> Stanza:
        """Return what the repository holds."""
        out, _words = self.run(deadline, "info", "--output=json", doing=f"asking repository {self.repository}")
        return read_info(out, self.stanza, self.repository)

    def log(self, archive_id: str, deadline: Deadline) -> Listed:
        """Return the log in the repository, by its own listing."""
        path = self.log_path(archive_id)
        doing = f"listing the log in repository {self.repository}"
        out, _words = self.run(deadline, "repo-ls", "--recurse", "--output=json", path, doing=doing)
        return archive_listing(read_listing(out))

    def log_path(self, archive_id: str) -> str:
        """Return where the log of a cluster is in the repository."""
        return f"archive/{self.stanza}/{archive_id}"


class RepositoryArchive(Archive):
    """The log in a repository. Segments are fetched one at a time, when their content is asked for."""

    def __init__(self, engine: Engine, archive_id: str, runner: Runner, tools: str, pg: PostgresqlFacts) -> None:
        super().__init__(f"{archive_id} in repository {engine.repository}", runner, tools, pg.segment_bytes)
        self._engine, self._archive_id = engine, archive_id
        self.listed = Listed({}, {}, ())

    def follow(self, pg: PostgresqlFacts, timeline: int | None, deadline: Deadline) -> wal.Walk:
        """Follow the log from the start of a set. Unlike other sets, this one holds nothing of it."""
        if not (pg.wal_start and pg.lsn_stop):
            raise AssertionError
        self.listed = self._engine.log(self._archive_id, deadline)
        start = wal.split(pg.wal_start, self._size)[0]
        later = {line: path for line, path in self.listed.histories.items() if line > start and timeline != start}
        histories = {line: self._text(path, deadline) for line, path in later.items()}
        stop = wal.parse_lsn(pg.lsn_stop)
        return wal.walk(self.listed.names, histories, pg.wal_start, start, timeline, self._size, stop)

    def newest(self, walk: wal.Walk) -> datetime.datetime | None:
        """Return when the last segment on the way was stored."""
        name = walk.newest or walk.last
        item = self.listed.segments.get(name) if name else None
        return datetime.datetime.fromtimestamp(item.time, datetime.timezone.utc) if item else None

    def _text(self, path: str, deadline: Deadline) -> str:
        where = f"{self._engine.log_path(self._archive_id)}/{path}"
        return self._engine.run(deadline, "repo-get", where, doing=f"reading {path}")[0]

    def _dump(self, segment: str, deadline: Deadline, *options: str) -> str:
        """Return what pg_waldump says of one segment; where the log ends it complains, and that is no failure."""
        if segment not in self.listed.segments:
            return ""
        folder = tempfile.mkdtemp(prefix="matrixon-")
        try:
            cluster.give(folder, self._runner)
            path = os.path.join(folder, segment)
            self._fetch(segment, path, deadline)
            done = self._runner.run([os.path.join(self._tools, "pg_waldump"), *options, path], deadline, accept=(0, 1))
        finally:
            with uninterrupted():
                shutil.rmtree(folder)
        if done.code and not done.out and "could not find" not in done.err and "invalid" not in done.err:
            raise damaged(f"segment {segment} in the archive {self.path} cannot be read: {complaint(done.err)}")
        return done.out

    def _fetch(self, segment: str, path: str, deadline: Deadline) -> None:
        """Bring a segment to a file, and hold it against the checksum in its name."""
        item = self.listed.segments[segment]
        file = wal.parse_name(item.path.rpartition("/")[2])
        if not file:
            raise AssertionError
        stages = [self._engine.argv("repo-get", f"{self._engine.log_path(self._archive_id)}/{item.path}")]
        if file.compression:
            stages.append(UNPACK[file.compression])
        try:
            self._runner.pipe(stages, deadline, target=path, doing=f"reading {segment} of the log")
        except BackupError as error:
            if error.facts.get("code", -1) > 0 and "ERROR: [" in error.facts.get("words", ""):
                raise trouble(error.facts["code"], error.facts["words"], f"reading {segment} of the log") from error
            if error.facts.get("code", -1) > 0 and not error.facts.get("no_space"):
                raise damaged(f"segment {segment} in the archive {self.path} is damaged: {error.message}") from error
            raise
        digest = hashlib.sha1(usedforsecurity=False)
        with open(path, "rb") as content:
            while piece := content.read(1 << 20):
                digest.update(piece)
        if file.digest and digest.hexdigest() != file.digest:
            raise damaged(f"segment {segment} in the archive {self.path} does not have the checksum in its name")


@dataclass(frozen=True)
class Continuity:
    """How far the log in a repository leads from a set on, and when its newest segment was stored."""

    set_id: str
    place: str
    stop: int
    walk: wal.Walk
    newest: datetime.datetime | None
    twice: tuple[str, ...] = ()

    def problems(self) -> list[str]:
        """Return what is missing, a sentence each. What lies behind it cannot be restored."""
        found = []
        if self.walk.end is None or self.walk.end < self.stop:
            end = "nothing of it" if self.walk.end is None else f"only the log up to {wal.format_lsn(self.walk.end)}"
            found.append(
                f"set {self.set_id} cannot be restored: it needs the log up to {wal.format_lsn(self.stop)}, and the "
                f"archive {self.place} has {end}"
            )
        for span in self.walk.holes:
            names = span.first if span.length == 1 else f"{span.first} to {span.last} ({span.length} segments)"
            double = [name for name in self.twice if span.first <= name <= span.last]
            why = f"; it has {double[0]} twice, with different contents" if double else ""
            found.append(f"the archive {self.place} lacks {names}, behind set {self.set_id}{why}")
        if self.walk.trap:
            found.append(
                f"the archive {self.place} lacks the first segment of timeline {self.walk.timelines[-1]}, and recovery "
                f"would take {self.walk.trap} instead, which is another history"
            )
        return found

    def age(self, now: datetime.datetime, position: int | None = None) -> float | None:
        """Return for how many seconds at most nothing was stored that the server has written since.

        ``position`` is where the server's log ends; where all of it is stored,
        nothing can be lost. None where there is no segment.
        """
        if self.newest is None:
            return None
        end = self.walk.end
        if position is not None and end is not None and not self.walk.holes and position <= end + _PAGE_HEADER:
            return 0.0
        return max(0.0, (now - self.newest).total_seconds())


# A new segment begins with this many bytes that say nothing.
_PAGE_HEADER = 40


def reached_position(
    archive: RepositoryArchive, found: Continuity, target: Target, manifest: Manifest, deadline: Deadline
) -> int:
    """Return the position that recovery to a target comes to at least, or fail where it does not come there."""
    walk, stop = found.walk, found.stop
    lacking = "; ".join(found.problems())
    if target.kind == LATEST:
        if lacking:
            raise BackupError(
                INTERNAL,
                f"target: the end of the archive cannot be reached from set {manifest.id}: {lacking}. Recovery would "
                "end there and call it success; choose a target before it, or immediate for the set's own end",
            )
        return archive.last_record(walk, stop, deadline) + 1
    if target.lsn is not None:
        wanted, last = wal.parse_lsn(target.lsn), archive.last_record(walk, stop, deadline)
        if wanted < stop:
            raise _too_early(target, manifest, wal.format_lsn(stop))
        if wanted > last:
            raise BackupError(
                INTERNAL,
                f"target: {target} cannot be reached from set {manifest.id}: "
                f"{lacking or f'the archive {archive.path} ends'} at {wal.format_lsn(last)}",
            )
        return wanted
    if not (target.kind == TIME and target.time):
        raise AssertionError
    ended = parse_time(str(manifest.components[DATABASE].detail.get("stopped", rfc3339(manifest.finished))))
    if target.time < ended:
        raise _too_early(target, manifest, rfc3339(ended))
    newest = archive.last_commit(walk, stop, deadline)
    # Recovery stops at the first commit that is later, and without one it does not know that it is there.
    if newest is None or newest <= target.time:
        known = f"up to {rfc3339(newest)}" if newest else "nothing"
        raise BackupError(
            INTERNAL,
            f"target: {target} cannot be reached from set {manifest.id}: {lacking or 'the archive ends before it'}; "
            f"of what was committed after the set, the archive {archive.path} holds {known}",
        )
    return stop


def _too_early(target: Target, manifest: Manifest, end: str) -> BackupError:
    return BackupError(
        INTERNAL, f"target: {target} lies before the end of set {manifest.id} at {end}; take an older set"
    )
