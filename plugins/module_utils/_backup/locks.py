# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Locks between runs, and who holds one."""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import json
import os
import socket
import time

from ansible_collections.matrixon.ops.plugins.module_utils._backup import tree
from ansible_collections.matrixon.ops.plugins.module_utils._report import rfc3339

SHARED = fcntl.LOCK_SH
EXCLUSIVE = fcntl.LOCK_EX

_PAUSE = 0.01


def take(handle: int, operation: int, patience: float = 0.0) -> bool:
    """Take a lock; False where another process has it for longer than ``patience`` seconds."""
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(_PAUSE)
        else:
            return True


def open_file(directory: str, name: str, exclusive: bool = False) -> int | None:
    """Open a file to lock it; None where there is none. NFS gives an exclusive lock to a writer only."""
    for access in (os.O_RDWR, os.O_RDONLY) if exclusive else (os.O_RDONLY,):
        try:
            handle = tree.open_below(directory, name, access)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR):
                return None
            if access == os.O_RDONLY or error.errno not in (errno.EACCES, errno.EROFS):
                raise
        else:
            return handle
    return None


def _boot_id() -> str:
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
    return ""


def _start_time(pid: int) -> int | None:
    """Return when a process began, in ticks since the start of the system; None where it is not there."""
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])
    return None


def sign(handle: int, doing: str, since: datetime.datetime) -> None:
    """Write into a lock who holds it."""
    owner = {
        "pid": os.getpid(),
        "boot_id": _boot_id(),
        "start_time": _start_time(os.getpid()),
        "host": socket.gethostname(),
        "since": rfc3339(since),
        "doing": doing,
    }
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(owner).encode() + b"\n", 0)


def holder(handle: int) -> str:
    """Return in words who holds a lock, by what stands in it."""
    try:
        owner = json.loads(os.pread(handle, 4096, 0))
        words = f"process {owner['pid']} on {owner['host']}, which does: {owner['doing']}, since {owner['since']}"
        here = owner["host"] == socket.gethostname() and owner["boot_id"] == _boot_id()
        if here and _start_time(int(owner["pid"])) != owner["start_time"]:
            words += "; that process has ended, but one that it started still runs"
    except (OSError, ValueError, KeyError, TypeError):
        return "another run, which has not said who it is"
    return words
