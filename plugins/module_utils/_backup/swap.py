# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Let a directory take another's place by rename, with the old one kept: what matrixon_swap does.

Beside the place lies a note of the swap until it is confirmed or reverted. A
run that was killed between the renames is finished by the next one.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _files
from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.outcome import Outcome
from ansible_collections.matrixon.ops.plugins.module_utils._backup.store import Clock, utc_now
from ansible_collections.matrixon.ops.plugins.module_utils._net import reason
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, PARSE
from ansible_collections.matrixon.ops.plugins.module_utils._report import rfc3339

SWAPPED = "swapped"
REVERTED = "reverted"
CONFIRMED = "confirmed"
STATES = (SWAPPED, REVERTED, CONFIRMED)


class Place(t.NamedTuple):
    """The place, what is to take it, where the old one is kept, and the note of the swap."""

    path: str
    new: str | None
    kept: str
    note: str


def run(options: t.Mapping[str, t.Any], check_mode: bool, clock: Clock = utc_now) -> Outcome:
    """Bring about the state that was asked for, or say why not."""
    path, state = options["path"], options["state"]
    if not os.path.isabs(path) or os.path.normpath(path) == "/":
        raise BackupError(INTERNAL, f"path: {path!r} is no absolute path of a directory")
    path = os.path.normpath(path)
    note = _read(_note_path(path))
    kept = str(note["kept"]) if note else f"{path}.before-{clock():%Y%m%dT%H%M%SZ}"
    place = Place(path, options["new"], kept, _note_path(path))
    do = {SWAPPED: _swap, REVERTED: _revert, CONFIRMED: _confirm}[state]
    try:
        msg, changed = do(place, note, check_mode, clock())
    except OSError as error:
        raise BackupError(INTERNAL, f"{error.filename or path}: {reason(error)}") from error
    there = kept if os.path.lexists(kept) else None
    return Outcome(changed=changed, msg=msg, values={"kept": there})


def _note_path(path: str) -> str:
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.swap.json")


def _read(path: str) -> dict[str, t.Any] | None:
    try:
        with open(path, encoding="utf-8") as file:
            note: dict[str, t.Any] = json.load(file)
        if not {"kept", "new", "since"} <= set(note):
            raise ValueError("a key is missing")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BackupError(PARSE, f"{path} cannot be read, so nobody knows what was swapped: {error}") from error
    return note


def _swap(place: Place, note: dict[str, t.Any] | None, check_mode: bool, now: datetime.datetime) -> tuple[str, bool]:
    if note and not os.path.lexists(str(note["new"])):
        return f"{place.path} was swapped at {note['since']}; the old one is {place.kept}", False
    if note and place.new != note["new"]:
        raise BackupError(
            INTERNAL, f"new: a swap with {note['new']} was begun at {note['since']}; finish it, or revert it first"
        )
    if note and os.path.lexists(place.path) and os.path.lexists(place.kept):
        raise BackupError(
            INTERNAL,
            f"path: {place.path} was swapped at {note['since']}, and that is neither confirmed nor reverted; do one of "
            "the two before you swap it again",
        )
    if not place.new or not os.path.isabs(place.new):
        raise BackupError(INTERNAL, f"new: {place.new!r} is no absolute path; name what is to be at {place.path}")
    _check_new(place)
    msg = f"{place.new} takes the place of {place.path}; the old one is {place.kept}"
    if check_mode:
        return msg, True
    _write(place.note, {"kept": place.kept, "new": place.new, "since": rfc3339(now)})
    # Whoever finds the note and the new one still there knows what was not done yet.
    if os.path.lexists(place.path) and not os.path.lexists(place.kept):
        os.rename(place.path, place.kept)
    os.rename(place.new, place.path)
    _files.sync_directory(os.path.dirname(place.path))
    return msg, True


def _check_new(place: Place) -> None:
    if not place.new:
        raise AssertionError
    if os.path.islink(place.new) or not os.path.isdir(place.new):
        raise BackupError(INTERNAL, f"new: {place.new} is no directory")
    if os.path.islink(place.path):
        raise BackupError(INTERNAL, f"path: {place.path} is a symbolic link; name the directory that it leads to")
    if os.path.ismount(place.path) or os.path.ismount(place.new):
        raise BackupError(INTERNAL, f"path: {place.path} or {place.new} is a mount point, which no rename can move")
    if os.stat(place.new).st_dev != os.stat(os.path.dirname(place.path)).st_dev:
        raise BackupError(
            INTERNAL, f"new: {place.new} lies on another file system than {place.path}; no rename can bring it there"
        )
    for path in (place.path, place.new):
        _require_idle(path)


def _require_idle(path: str) -> None:
    if pid := cluster.running_on(path):
        raise BackupError(INTERNAL, f"path: a server with process {pid} runs on {path}; stop it first")


def _revert(place: Place, note: dict[str, t.Any] | None, check_mode: bool, now: datetime.datetime) -> tuple[str, bool]:
    if note is None:
        return f"{place.path} was not swapped, or that is confirmed", False
    back, new = place.kept, str(note["new"])
    if not os.path.lexists(back) and os.path.lexists(new):
        # Killed before the first rename.
        if not check_mode:
            os.unlink(place.note)
        return f"the swap of {place.path} was not begun", True
    if not os.path.lexists(back):
        raise BackupError(INTERNAL, f"{back} is not there any more, so there is nothing to go back to")
    _require_idle(place.path)
    msg = f"{back} is back at {place.path}; what had taken its place is {new}"
    if check_mode:
        return msg, True
    if os.path.lexists(place.path):
        if os.path.lexists(new):
            raise BackupError(INTERNAL, f"both {place.path} and {new} are there; look which one is which")
        os.rename(place.path, new)
    os.rename(back, place.path)
    os.unlink(place.note)
    _files.sync_directory(os.path.dirname(place.path))
    return msg, True


def _confirm(place: Place, note: dict[str, t.Any] | None, check_mode: bool, now: datetime.datetime) -> tuple[str, bool]:
    if note is None:
        return f"{place.path} was not swapped, or that is confirmed", False
    if os.path.lexists(str(note["new"])):
        raise BackupError(INTERNAL, f"the swap of {place.path} with {note['new']} is not finished; run it again first")
    _require_idle(place.kept)
    msg = f"{place.kept} is removed"
    if check_mode:
        return msg, True
    if os.path.lexists(place.kept):
        shutil.rmtree(place.kept)
    os.unlink(place.note)
    _files.sync_directory(os.path.dirname(place.path))
    return msg, True


def _write(path: str, note: dict[str, t.Any]) -> None:
    _files.replace(path, json.dumps(note, indent=1).encode() + b"\n", os.geteuid(), os.getegid(), 0o600)
    _files.sync_directory(os.path.dirname(path))
