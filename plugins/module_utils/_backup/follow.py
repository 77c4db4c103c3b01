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
their branch again. What the server's history is stays noted in the archive, so
that no restore takes a branch that was left for the newest.
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
    known_history,
    note_history,
    set_aside,
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


def ask(client: cluster.Client, deadline: Deadline) -> wal.History:
    """Return the history of a running primary."""
    with client.session(deadline) as session:
        if session.value("SELECT pg_is_in_recovery()") != "f":
            raise BackupError(INTERNAL, "host: the server is a standby; an archive follows the primary")
        segment_bytes = int(session.value("SELECT setting FROM pg_settings WHERE name = 'wal_segment_size'"))
        # What a checkpoint noted may be older than the promotion.
        name = session.value("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
        timeline, _number = wal.split(name, segment_bytes)
        if timeline == 1:
            return wal.History(1, (), segment_bytes)
        path = f"pg_wal/{wal.history_name(timeline)}"
        text = "\n".join(
            row["line"]
            for row in session.rows(
                f"SELECT line FROM regexp_split_to_table(pg_read_file({literal(path)}), '\\n') AS line"
            )
        )
    return wal.History(timeline, wal.parse_history(timeline, text), segment_bytes)


def run(options: shared.Options, check_mode: bool, clock: Clock = utc_now) -> Outcome:
    """Set aside what the server's history does not hold, and bring back what it holds again."""
    if found := shared.problems(options):
        raise BackupError(INTERNAL, "; ".join(found))
    deadline = Deadline(options["deadline"])
    path = options["path"]
    if not os.path.isdir(path):
        raise BackupError(INTERNAL, f"path: {path} is no directory; name the archive that pg_receivewal fills")
    with cluster.client(shared.reach(options), shared.runner(options), deadline) as client:
        history = ask(client, deadline)
    known = known_history(path)
    try:
        names = os.listdir(path)
        seen = [file.timeline for file in map(wal.parse_name, names) if file]
        history = history.among([*seen, *(known.others if known else ())])
        apart = to_set_aside(names, history)
        back = to_bring_back(set(names).difference(apart), set_aside(path), history)
        if not check_mode:
            _bring_back(path, back)
            _set_aside(path, apart, clock())
            note_history(path, history)
    except OSError as error:
        raise BackupError(INTERNAL, f"{error.filename or path}: {reason(error)}") from error
    return Outcome(
        changed=bool(apart or back) or known != history,
        msg=_words(history, apart, back),
        values={"timeline": history.timeline, "set_aside": sorted(apart), "brought_back": sorted(back)},
    )


def _words(history: wal.History, apart: list[str], back: t.Mapping[str, str]) -> str:
    said = []
    if apart:
        said.append(f"set aside {len(apart)} segments of a branch that the server has left, {min(apart)} the first")
    if back:
        said.append(f"brought back {len(back)} segments of its history, {min(back)} the first")
    return f"the server is on timeline {history.timeline}; " + ("; ".join(said) or "the archive is of its history")


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
