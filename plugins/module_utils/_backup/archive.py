# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""An archive of the log that pg_receivewal fills: how far it leads, and how recovery takes from it."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import shlex
import shutil
import tempfile
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _files
from ansible_collections.matrixon.ops.plugins.module_utils._backup import wal
from ansible_collections.matrixon.ops.plugins.module_utils._backup.cluster import Client, Session, literal
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import PostgresqlFacts, Target, parse_time
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import (
    Runner,
    complaint,
    damaged,
    uninterrupted,
)
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import unseen

# Below an archive: segments of branches that its server has left, a directory for each time that some were set aside,
# and the history of the server.
ASIDE = "aside"
SERVER = "server.json"

# What a server does with a replication slot: it keeps the log for it, has given that up, or knows none of that name.
HELD, LOST, MISSING = "held", "lost", "missing"
_SLOT = re.compile(r"[a-z0-9_]{1,63}")

# How each compression is undone, by the suffix of its files.
UNPACK = {"zst": ["zstd", "-dcq"], "gz": ["gzip", "-dc"], "lz4": ["lz4", "-dcq"], "xz": ["xz", "-dc"]}

_COMMIT = re.compile(r"desc: COMMIT(?:_PREPARED)? (?:[^;]*?: )?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) UTC")
_RECORD = re.compile(r", lsn: ([0-9A-F]+/[0-9A-F]+),")


class Archive:
    """A directory of segments, and what its content says about positions and times."""

    def __init__(self, path: str, runner: Runner, tools: str, segment_bytes: int) -> None:
        self.path = path
        self._runner, self._tools, self._size = runner, tools, segment_bytes
        self._names: dict[str, str] = {}

    def walk(self, pg: PostgresqlFacts, target: Target) -> tuple[wal.Walk, list[str]]:
        """Follow the log from a set, over what the set itself holds and what the archive has."""
        names = self._listing()
        stop = wal.parse_lsn(pg.lsn_stop or "")
        if not (pg.wal_start and pg.wal_stop):
            raise AssertionError
        timeline = wal.split(pg.wal_start, self._size)[0]
        own: list[str] = []
        if timeline == wal.split(pg.wal_stop, self._size)[0]:
            own = list(wal.segments(pg.wal_start, pg.wal_stop, self._size))
            # The set's copy of its last segment ends where the set does.
            own[-1] += ".partial"
        walk = wal.walk(
            [*names, *own], self._histories(names), pg.wal_start, timeline, target.timeline, self._size, stop
        )
        return walk, names

    def left_branch(self, walk: wal.Walk, stop: int) -> int | None:
        """Return the timeline on which the way ends, if the server left it before the end of the set."""
        server, timeline = known_history(self.path), walk.timelines[-1]
        return timeline if server and server.left(timeline, stop) else None

    def _listing(self) -> list[str]:
        """Return the names of what recovery can use. A segment that is cut off is none."""
        try:
            found = os.listdir(self.path)
        except OSError as error:
            raise BackupError(INTERNAL, f"the archive {self.path} cannot be listed: {error.strerror}") from error
        names = []
        for name in found:
            file = wal.parse_name(name)
            if not file or (file.compression and (file.compression not in UNPACK or file.kind == wal.PARTIAL)):
                continue
            path = os.path.join(self.path, name)
            if file.segment and file.kind != wal.BACKUP and not file.compression:
                with contextlib.suppress(FileNotFoundError):
                    if os.path.getsize(path) != self._size:
                        continue
            names.append(name)
            if file.segment and file.kind != wal.BACKUP:
                self._names.setdefault(file.segment, name)
                if file.kind == wal.SEGMENT:
                    self._names[file.segment] = name
        return names

    def _histories(self, names: list[str]) -> dict[int, str]:
        """Return the histories of the timelines that recovery may take, by their numbers.

        The history of a timeline that the server has left stays in the archive, so
        that no later timeline gets its number.
        """
        server = known_history(self.path)
        texts = {}
        for name in names:
            file = wal.parse_name(name)
            if file and file.kind == wal.HISTORY and not file.compression:
                if server and server.left(file.timeline):
                    continue
                with open(os.path.join(self.path, name), encoding="ascii", errors="replace") as content:
                    texts[file.timeline] = content.read()
        return texts

    def written(self, names: t.Iterable[str]) -> datetime.datetime | None:
        """Return when it was last written to. Whoever copies an archive must keep the times of its files."""
        times = []
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                times.append(os.stat(os.path.join(self.path, name)).st_mtime)
        return datetime.datetime.fromtimestamp(max(times), datetime.timezone.utc) if times else None

    def last_record(self, walk: wal.Walk, stop: int, deadline: Deadline) -> int:
        """Return where the last record begins that recovery can read; before that of the set's end it does not look."""
        for segment in self._backwards(walk, stop):
            found = _RECORD.findall(self._dump(segment, deadline))
            if found:
                return max(wal.parse_lsn(found[-1]), stop - 1)
        return stop - 1

    def last_commit(self, walk: wal.Walk, stop: int, deadline: Deadline) -> datetime.datetime | None:
        """Return when the last transaction was committed that recovery can read, if there is one after the set."""
        for segment in self._backwards(walk, stop):
            found = _COMMIT.findall(self._dump(segment, deadline, "--rmgr=Transaction"))
            if found:
                return max(parse_time(f"{moment}+00:00") for moment in found)
        return None

    def _backwards(self, walk: wal.Walk, stop: int) -> t.Iterator[str]:
        """Yield the segments on the way that the archive has, newest first, down to the end of the set."""
        if walk.partial and not walk.holes:
            yield walk.partial
        last = walk.last
        for leg in reversed(walk.path):
            if last is None:
                return
            line, number = wal.split(last, self._size)
            if line != leg.timeline:
                continue
            first = wal.split(leg.first, self._size)[1]
            while number >= first and (number + 1) * self._size > stop:
                yield wal.name_of(line, number, self._size)
                number -= 1
            place = walk.path.index(leg)
            last = walk.path[place - 1].last if place else None

    def _dump(self, segment: str, deadline: Deadline, *options: str) -> str:
        """Return what pg_waldump says of one segment; where the log ends it complains, and that is no failure."""
        name = self._names.get(segment)
        if name is None:
            return ""
        folder = tempfile.mkdtemp(prefix="matrixon-")
        try:
            path = os.path.join(folder, segment)
            file = wal.parse_name(name)
            source = os.path.join(self.path, name)
            if file and file.compression:
                self._runner.pipe([UNPACK[file.compression]], deadline, source=source, target=path)
            else:
                os.symlink(source, path)
            if self._runner.user:
                os.chown(folder, self._runner.user.uid, self._runner.user.gid)
            done = self._runner.run([os.path.join(self._tools, "pg_waldump"), *options, path], deadline, accept=(0, 1))
        finally:
            with uninterrupted():
                shutil.rmtree(folder)
        if done.code and not done.out and "could not find" not in done.err and "invalid" not in done.err:
            raise damaged(f"{source} cannot be read: {complaint(done.err)}")
        return done.out


def set_aside(path: str) -> dict[str, str]:
    """Return what was set aside in an archive, name to path."""
    found = {}
    for folder, _folders, names in os.walk(os.path.join(path, ASIDE), onerror=unseen):
        found.update({name: os.path.join(folder, name) for name in names})
    return found


def known_history(path: str) -> wal.History | None:
    """Return the history of an archive's server when somebody looked last, or None where nobody did."""
    try:
        with open(os.path.join(path, SERVER), encoding="ascii") as file:
            noted = json.load(file)
        switches = tuple(wal.Switch(int(line), wal.parse_lsn(position)) for line, position in noted["ancestors"])
        others = tuple(int(line) for line in noted["others"])
        return wal.History(int(noted["timeline"]), switches, wal.check_segment_bytes(noted["segment_bytes"]), others)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(
            f"{os.path.join(path, SERVER)} cannot be read: {error}; remove it, and the next run writes it anew"
        ) from error


def note_history(path: str, history: wal.History) -> None:
    """Note the history of an archive's server."""
    info = os.stat(path)
    noted = {
        "timeline": history.timeline,
        "ancestors": [[switch.timeline, wal.format_lsn(switch.position)] for switch in history.ancestors],
        "segment_bytes": history.segment_bytes,
        "others": list(history.others),
    }
    _files.replace(os.path.join(path, SERVER), json.dumps(noted).encode() + b"\n", info.st_uid, info.st_gid, 0o600)


def first_hole(walk: wal.Walk, path: str) -> str | None:
    """Return the first hole in words, or None."""
    if not walk.holes:
        return None
    span = walk.holes[0]
    names = span.first if span.length == 1 else f"{span.first} to {span.last} ({span.length} segments)"
    return f"the archive {path} lacks {names}"


def restore_command(archive: str | None, compressions: t.Collection[str | None]) -> str:
    """Return the command with which recovery fetches a file of the log, for what is compressed in these ways.

    The unfinished segment at the end of pg_receivewal's archive counts, too,
    if it is not compressed: that is filled up to its full length.
    """
    if archive is None:
        return "/bin/false"
    base = shlex.quote(archive).replace("%", "%%")
    steps = [f'if [ -f {base}/%f ]; then exec cp {base}/%f "%p"; fi']
    for compression in sorted(kind for kind in compressions if kind in UNPACK):
        tool = " ".join(UNPACK[compression])
        steps.append(f'if [ -f {base}/%f.{compression} ]; then exec {tool} {base}/%f.{compression} > "%p"; fi')
    steps.append(f'if [ -f {base}/%f.partial ]; then exec cp {base}/%f.partial "%p"; fi')
    return "; ".join([*steps, "exit 1"])


def receiver(client: Client, archive: str, slot: str) -> list[str]:
    """Return the command that keeps an archive of the log filled, from a replication slot that ``create_slot`` made."""
    return [
        client.tool("pg_receivewal"),
        *client.options(),
        f"--directory={archive}",
        f"--slot={slot}",
        "--synchronous",
        "--no-loop",
    ]


def slot_problems(slot: str | None) -> list[str]:
    """Return a sentence if no server takes this for the name of a slot."""
    if slot is None or _SLOT.fullmatch(slot):
        return []
    return [f"slot: {slot!r} is no name of a slot; use a to z, 0 to 9 and _, at most 63 of them"]


def slot_state(session: Session, slot: str) -> tuple[str, int | None]:
    """Return whether a physical slot is HELD, LOST or MISSING, and from which position on it keeps the log."""
    rows = session.rows(
        "SELECT coalesce(restart_lsn::text, '') AS position FROM pg_replication_slots "
        f"WHERE slot_name = {literal(slot)} AND slot_type = 'physical'"
    )
    if not rows:
        return MISSING, None
    return (HELD, wal.parse_lsn(rows[0]["position"])) if rows[0]["position"] else (LOST, None)


def create_slot(client: Client, slot: str, deadline: Deadline) -> None:
    """Make the slot from which an archive is filled, if it is not there. The server keeps the log from now on for it.

    pg_receivewal's own slot keeps nothing before its first connection, and one
    that the server gave up keeps nothing ever after, so that is made anew.
    """
    with client.session(deadline) as session:
        state, _position = slot_state(session, slot)
        if state == LOST:
            session.execute(f"SELECT pg_drop_replication_slot({literal(slot)})")
        if state != HELD:
            session.execute(f"SELECT pg_create_physical_replication_slot({literal(slot)}, true)")
