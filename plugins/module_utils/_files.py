# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Files, directories and links as they are and as they should be."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
import typing as t


class FilesError(Exception):
    """Something stands in the way, and it is not for a program to clear away."""


class Found(t.NamedTuple):
    """What is at a path: kind is absent, file, directory, link or other."""

    kind: str
    content: bytes | None = None
    target: str | None = None
    uid: int | None = None
    gid: int | None = None
    mode: int | None = None


def look(path: str, read: bool = True) -> Found:
    """Return what is at a path, without following a link."""
    try:
        info = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return Found("absent")
    facts = (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode))
    if stat.S_ISLNK(info.st_mode):
        return Found("link", None, os.readlink(path), *facts)
    if stat.S_ISDIR(info.st_mode):
        return Found("directory", None, None, *facts)
    if not stat.S_ISREG(info.st_mode):
        return Found("other", None, None, *facts)
    content = None
    if read:
        with open(path, "rb") as file:
            content = file.read()
    return Found("file", content, None, *facts)


def with_block(text: str, name: str, content: str) -> str:
    """Return a text with a marked block of lines put in, replaced, or with no content taken out."""
    first, last = f"# BEGIN {name}", f"# END {name}"
    lines = text.splitlines()
    firsts, lasts = lines.count(first), lines.count(last)
    if (firsts, lasts) not in ((0, 0), (1, 1)) or (firsts and lines.index(first) > lines.index(last)):
        raise FilesError(f"the lines '{first}' and '{last}' must both be there once in this order, or not at all")
    block = [first, *content.splitlines(), last] if content.strip() else []
    if firsts:
        lines[lines.index(first) : lines.index(last) + 1] = block
    else:
        lines += block
    return "".join(line + "\n" for line in lines)


def replace(path: str, content: bytes, uid: int, gid: int, mode: int) -> None:
    """Make a file hold a text, in one step for whoever reads it.

    A file that is mounted by itself, as a container's /etc/hosts, cannot be
    renamed over; only there it is written in place.
    """
    folder, name = os.path.split(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=".tmp", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchown(file.fileno(), uid, gid)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.replace(temporary, path)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            with open(path, "r+b") as file:
                file.write(content)
                file.truncate()
                os.fchown(file.fileno(), uid, gid)
                os.fchmod(file.fileno(), mode)
            os.unlink(temporary)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def make_directory(path: str, uid: int, gid: int, mode: int) -> None:
    """Make a directory with this owner and mode, or give them to the one that is there.

    It may lie where somebody without rights can write, so nothing is followed
    but a link that root made.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY
    found = look(path, read=False)
    if found.kind == "absent":
        make_parents(path)
        # Nobody else sees it before it has its owner and mode.
        os.mkdir(path, 0o700)
    elif found.kind == "link" and found.uid != 0:
        raise FilesError("it is a symbolic link that root did not make; remove it, or let root make it")
    if found.kind != "link":
        flags |= os.O_NOFOLLOW
    handle = os.open(path, flags)
    try:
        os.fchown(handle, uid, gid)
        os.fchmod(handle, mode)
    finally:
        os.close(handle)


def make_link(path: str, target: str) -> None:
    """Let a path lead to a target, in one step for whoever reads it."""
    make_parents(path)
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.tmp")
    os.symlink(target, temporary)
    try:
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def make_parents(path: str) -> None:
    """Make the directories above a path, readable by all as those of the system are."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        make_parents(folder)
        os.mkdir(folder, 0o755)
        # Whatever the umask is.
        os.chmod(folder, 0o755)


def sync_directory(path: str) -> None:
    """Bring a directory's names to the disk, so that a rename in it outlives a crash."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
