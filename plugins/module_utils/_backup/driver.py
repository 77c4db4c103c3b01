# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What every database driver is, and what several of them share."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils import _files
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import (
    DATABASE,
    DatabasePart,
    FileEntry,
    Manifest,
    PostgresqlFacts,
    Target,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner, damaged, this_user
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import unseen

# (the set's directory, its manifest) from the full set to the wanted one
Chain = list[tuple[str, Manifest]]

# How long the questions may take that are asked before anything is done, in seconds.
QUESTIONS = 60.0


@dataclass(frozen=True)
class Reach:
    """What a target means for recovery.

    ``position`` is the one that recovery must come to at least, ``timelines``
    those that it may end on, oldest first, ``settings`` what the server must
    be told.
    """

    position: int
    timelines: tuple[int, ...]
    settings: dict[str, str]


class Driver(t.Protocol):
    """One way to put a database away and to bring it back. Failures are ProbeFailures."""

    name: str

    def problems(self) -> list[str]:
        """Return what stands in the way of a backup, a sentence each. Nothing is touched."""

    def estimate(self) -> int:
        """Return the bytes that a backup will need on the store's file system."""

    def backup(self, directory: str, parent: Manifest | None, deadline: Deadline) -> DatabasePart:
        """Put the database into a set's directory; with a parent, only what changed since."""

    def reach(self, chain: Chain, target: Target, deadline: Deadline) -> Reach:
        """Return what a target means for recovery, or fail with the reason why it cannot be reached."""

    def restore(self, chain: Chain, directory: str, target: Target, deadline: Deadline) -> None:
        """Write a data directory that recovers by itself when it is started. It must be absent or empty."""


@t.runtime_checkable
class Refreshing(Driver, t.Protocol):
    """A driver that can bring an older copy of the cluster to a set by writing what differs."""

    def refresh(self, chain: Chain, directory: str, target: Target, deadline: Deadline) -> None:
        """Do it to the data directory of a copy that is kept and held, or write it where there is none."""


# --- sets


def check_chain(chain: Chain, driver: str) -> PostgresqlFacts:
    """Return the facts of the last set of a chain, after making sure that each link is there and fits.

    pg_verifybackup finds nothing wrong with an incremental backup whose full
    one is gone.
    """
    if not chain:
        raise BackupError(INTERNAL, "there is no set to restore")
    wanted = chain[-1][1]
    if [manifest.id for dummy, manifest in chain] != list(wanted.chain):
        given = ", ".join(manifest.id for dummy, manifest in chain)
        raise damaged(f"set {wanted.id} needs the sets {', '.join(wanted.chain)}, and here are {given}")
    if wanted.pg is None:
        raise BackupError(INTERNAL, f"set {wanted.id} holds no database")
    for place, manifest in chain:
        _check_link(place, manifest, driver, wanted)
    return wanted.pg


def _check_link(place: str, manifest: Manifest, driver: str, wanted: Manifest) -> None:
    part = manifest.components.get(DATABASE)
    if manifest.pg is None or part is None or part.driver != driver:
        raise BackupError(INTERNAL, f"set {manifest.id} was not made by the driver {driver}")
    if wanted.pg and manifest.pg.system_identifier != wanted.pg.system_identifier:
        raise damaged(f"set {manifest.id} is of another cluster than set {wanted.id}, which needs it")
    for entry in part.files:
        path = os.path.join(place, entry.path)
        try:
            found = os.stat(path, follow_symlinks=False)
        except OSError as error:
            raise damaged(
                f"set {wanted.id} cannot be restored: {path} of set {manifest.id}, which it needs, "
                f"cannot be read: {error.strerror}"
            ) from error
        size = found.st_size if stat.S_ISREG(found.st_mode) else 0
        if size != entry.bytes:
            raise damaged(
                f"set {wanted.id} cannot be restored: {path} of set {manifest.id} has {size} bytes "
                f"and had {entry.bytes}"
            )


@contextlib.contextmanager
def as_damage(set_id: str) -> t.Iterator[None]:
    """Call it the set's damage when a tool that reads the set says no. Nor space nor a signal is the set's fault."""
    try:
        yield
    except BackupError as error:
        code = error.facts.get("code", -1)
        if error.kind != INTERNAL or code < 0 or error.facts.get("no_space"):
            raise
        raise damaged(f"set {set_id} is damaged: {error.message}", error.facts) from error


def entries(directory: str, folder: str, deadline: Deadline) -> tuple[FileEntry, ...]:
    """Return the files below a folder of a set with their lengths and checksums."""
    found = []
    for parent, folders, names in os.walk(os.path.join(directory, folder), onerror=unseen):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(parent, name)
            size, digest = checksum(path, deadline)
            found.append(FileEntry(os.path.relpath(path, directory), size, digest))
    return tuple(found)


def checksum(path: str, deadline: Deadline) -> tuple[int, str]:
    """Return the length of a file and its SHA-256 in hexadecimal digits."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(1 << 20):
            deadline.require(f"reading {path}")
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


class Stopwatch:
    """Seconds of each step, by monotonic time."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        """Give a name to the time since the last step."""
        now = time.monotonic()
        self.laps[name] = round(now - self._last, 3)
        self._last = now


# --- a data directory


# Stands before what only the recovery is told, so that it can be taken back.
RECOVERY_NOTE = "# Written by matrixon.ops for the recovery of a backup set."
# What a data directory that recovers from a backup must not bring along.
RECOVERY = {
    "recovery_target": "",
    "recovery_target_lsn": "",
    "recovery_target_name": "",
    "recovery_target_time": "",
    "recovery_target_xid": "",
    "recovery_target_action": "promote",
    "recovery_end_command": "",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "archive_mode": "off",
}


def prepare(directory: str, settings: dict[str, str], runner: Runner) -> None:
    """Make a copied data directory recover with these settings when it is started, and send nothing anywhere."""
    for name in ("standby.signal", "postmaster.pid", "postmaster.opts"):
        # A copy of a standby says that it is one.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, name))
    wanted = {**RECOVERY, **settings}
    # Only one target may be set, and an empty one takes back what stands in a file before this.
    lines = [configuration_line(name, wanted[name]) for name in sorted(wanted, key=lambda name: bool(wanted[name]))]
    path = os.path.join(directory, "postgresql.auto.conf")
    found = _files.look(path)
    before = (found.content or b"").decode("utf-8", "surrogateescape")
    text = f"{before}\n{RECOVERY_NOTE}\n" + "\n".join(lines) + "\n"
    user = runner.user or this_user()
    _files.replace(path, text.encode("utf-8", "surrogateescape"), user.uid, user.gid, 0o600)
    with runner.create(os.path.join(directory, "recovery.signal")):
        pass


def configuration_line(name: str, value: str) -> str:
    """Return a setting as it stands in a configuration file of PostgreSQL."""
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"{name} = '{escaped}'"
