# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Keep an archive of the log to the history of its server: what matrixon_archive_follow does.

pg_receivewal goes on behind the highest segment of its directory. After a
restore to a moment in the past that is one of a branch that the server has
left, which the server refuses to send on, and nothing would be received ever
after. So such segments are set aside, and come back when the server is on
their branch again. Where the server has not kept what would be asked for next,
which nothing can bring back, an empty segment marks from where on it has. What
the server's history is stays noted in the archive, so that no restore takes a
branch that was left for the newest.
"""

from __future__ import annotations

import datetime
import os
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _files
from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster, wal
from ansible_collections.matrixon.ops.plugins.module_utils._backup import options as shared
from ansible_collections.matrixon.ops.plugins.module_utils._backup.archive import (
    ASIDE,
    LOST,
    MISSING,
    create_slot,
    known_history,
    note_history,
    set_aside,
    slot_problems,
    slot_state,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.cluster import literal
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.outcome import Outcome
from ansible_collections.matrixon.ops.plugins.module_utils._backup.store import Clock, utc_now
from ansible_collections.matrixon.ops.plugins.module_utils._net import reason
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, Deadline


def to_set_aside(names: t.Iterable[str], history: wal.History) -> list[str]:
    """Return the files behind which a receiver would not get on, the latest first."""
    found = []
    for name, file in sorted(_segments(names), key=lambda pair: _place(pair[1], history), reverse=True):
        if history.sends_behind(file):
            break
        found.append(name)
    return found


def to_bring_back(names: t.Iterable[str], aside: t.Mapping[str, str], history: wal.History) -> dict[str, str]:
    """Return what was set aside and is of the server's history, name to path; the archive's own files stay."""
    there = set(names)
    return {name: aside[name] for name, file in _segments(aside) if name not in there and history.sends_behind(file)}


def _segments(names: t.Iterable[str]) -> list[tuple[str, wal.File]]:
    files = ((name, wal.parse_name(name)) for name in names)
    return [(name, file) for name, file in files if file and file.kind in (wal.SEGMENT, wal.PARTIAL)]


def _place(file: wal.File, history: wal.History) -> tuple[int, int]:
    """Return by what pg_receivewal takes one segment for later than another."""
    timeline, number = wal.split(file.segment or "", history.segment_bytes)
    return number, timeline


class Asked(t.NamedTuple):
    """What a running primary says: its history, the segment it writes, its files of the log, and what a slot holds."""

    history: wal.History
    current: int
    files: frozenset[tuple[int, int]]
    slot: str | None = None
    reserved: int | None = None


def resume_at(names: t.Iterable[str], asked: Asked) -> tuple[str | None, bool]:
    """Return the segment to begin at, if a receiver would not get on by itself, and whether there is a hole before it.

    That is so where the server has no more what would be asked for, and where
    a timeline was left exactly at the end of a segment: the server answers
    that nothing is left of it, and pg_receivewal takes that for a failure. A
    receiver that finds no segment begins where its slot does.
    """
    history, size = asked.history, asked.history.segment_bytes
    files = [file for _name, file in _segments(names)]
    if not files:
        return None, False
    last = max(files, key=lambda file: _place(file, history))
    number, line = _place(last, history)
    start = number + 1 if last.kind == wal.SEGMENT else number
    lines = [*(switch.timeline for switch in history.ancestors), history.timeline]
    if start < asked.current and not any((other, start) in asked.files for other in lines):
        first = asked.current
        while (history.timeline, first - 1) in asked.files:
            first -= 1
        # What the slot holds cannot go away meanwhile.
        return wal.name_of(history.timeline, max(first, (asked.reserved or 0) // size), size), True
    ends = dict(history.ancestors)
    follower = line
    while ends.get(follower) == start * size:
        follower = lines[lines.index(follower) + 1]
    return (None if follower == line else wal.name_of(follower, start, size)), False


def ask(client: cluster.Client, slot: str | None, deadline: Deadline) -> Asked:
    """Ask a running primary."""
    with client.session(deadline) as session:
        if session.value("SELECT pg_is_in_recovery()") != "f":
            raise BackupError(INTERNAL, "host: the server is a standby; an archive follows the primary")
        size = int(session.value("SELECT setting FROM pg_settings WHERE name = 'wal_segment_size'"))
        # What a checkpoint noted may be older than the promotion.
        timeline, current = wal.split(session.value("SELECT pg_walfile_name(pg_current_wal_insert_lsn())"), size)
        rows = session.rows("SELECT name FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'")
        state, reserved = slot_state(session, slot) if slot else (None, None)
        return Asked(
            wal.History(timeline, _ancestors(session, timeline), size),
            current,
            frozenset(wal.split(row["name"], size) for row in rows),
            state,
            reserved,
        )


def _ancestors(session: cluster.Session, timeline: int) -> tuple[wal.Switch, ...]:
    if timeline == 1:
        return ()
    path = literal(f"pg_wal/{wal.history_name(timeline)}")
    lines = session.rows(f"SELECT line FROM regexp_split_to_table(pg_read_file({path}), '\\n') AS line")
    return wal.parse_history(timeline, "\n".join(row["line"] for row in lines))


def run(options: shared.Options, check_mode: bool, clock: Clock = utc_now) -> Outcome:
    """Set aside what the server's history does not hold, and bring back what it holds again."""
    slot = options["slot"] or None
    if found := [*shared.problems(options), *slot_problems(slot)]:
        raise BackupError(INTERNAL, "; ".join(found))
    deadline = Deadline(options["deadline"])
    path = options["path"]
    if not os.path.isdir(path):
        raise BackupError(INTERNAL, f"path: {path} is no directory; name the archive that pg_receivewal fills")
    with cluster.client(shared.reach(options), shared.runner(options), deadline) as client:
        asked = ask(client, slot, deadline)
        made = slot if asked.slot in (LOST, MISSING) else None
        if made and not check_mode:
            create_slot(client, made, deadline)
            # Only what is there now stays there.
            asked = ask(client, slot, deadline)
    known = known_history(path)
    try:
        names = os.listdir(path)
        seen = [file.timeline for file in map(wal.parse_name, names) if file]
        history = asked.history.among([*seen, *(known.others if known else ())])
        apart = to_set_aside(names, history)
        left = set(names).difference(apart)
        back = to_bring_back(left, set_aside(path), history)
        begin, hole = resume_at([*left, *back], asked._replace(history=history))
        if not check_mode:
            _bring_back(path, back)
            _set_aside(path, apart, clock())
            _begin_at(path, begin)
            note_history(path, history)
    except OSError as error:
        raise BackupError(INTERNAL, f"{error.filename or path}: {reason(error)}") from error
    return Outcome(
        changed=bool(apart or back or begin or made) or known != history,
        msg=_words(history, apart, back, begin if hole else None, made),
        values={
            "timeline": history.timeline,
            "set_aside": sorted(apart),
            "brought_back": sorted(back),
            "hole_before": begin if hole else None,
        },
    )


def _words(
    history: wal.History, apart: list[str], back: t.Mapping[str, str], hole: str | None, made: str | None
) -> str:
    said = []
    if made:
        said.append(f"made the slot {made}, which holds the log for the archive")
    if apart:
        said.append(f"set aside {len(apart)} segments of a branch that the server has left, {min(apart)} the first")
    if back:
        said.append(f"brought back {len(back)} segments of its history, {min(back)} the first")
    if hole:
        said.append(
            f"the server has not kept the log up to {hole}, so the archive has a hole before that; take a new set"
        )
    return f"the server is on timeline {history.timeline}; {'; '.join(said) or 'the archive is of its history'}"


def _begin_at(path: str, name: str | None) -> None:
    """Let a receiver begin at a segment: behind an empty one, which it fills."""
    if name is None:
        return
    info = os.stat(path)
    handle = os.open(os.path.join(path, f"{name}.partial"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    os.fchown(handle, info.st_uid, info.st_gid)
    os.close(handle)
    _files.sync_directory(path)


def _set_aside(path: str, names: list[str], now: datetime.datetime) -> None:
    if not names:
        return
    folder = os.path.join(path, ASIDE, f"{now:%Y%m%dT%H%M%S.%fZ}")
    os.makedirs(folder, 0o700)
    info = os.stat(path)
    for made in (os.path.dirname(folder), folder):
        os.chown(made, info.st_uid, info.st_gid)
    # The latest first: what a killed run leaves behind is an archive that ends earlier, and has no hole.
    for name in names:
        os.rename(os.path.join(path, name), os.path.join(folder, name))
    for changed in (folder, path):
        _files.sync_directory(changed)


def _bring_back(path: str, back: t.Mapping[str, str]) -> None:
    for name in sorted(back):
        os.rename(back[name], os.path.join(path, name))
        with_nothing = os.path.dirname(back[name])
        if not os.listdir(with_nothing):
            os.rmdir(with_nothing)
    if back:
        _files.sync_directory(path)
