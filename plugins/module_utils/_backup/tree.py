# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Trees of files: read and held to their checksums without following a link, and brought to the disk.

A name is bytes to the system and a text in a manifest. The way between them
must not depend on the locale that a run happens to have.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import stat
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import FileEntry
from ansible_collections.matrixon.ops.plugins.module_utils._net import reason
from ansible_collections.matrixon.ops.plugins.module_utils._probe import AUTH, INTERNAL, Deadline, ProbeFailure

ONLY = "a set holds files and directories only"

_CHUNK = 1 << 20


# --- errors


@contextlib.contextmanager
def told(path: str, what: str) -> t.Iterator[None]:
    """Turn an error of the operating system into one that names the path."""
    try:
        yield
    except OSError as error:
        kind = AUTH if isinstance(error, PermissionError) else INTERNAL
        where = error.filename if isinstance(error.filename, str) and os.path.isabs(error.filename) else path
        raise BackupError(kind, f"{shown(where)} {what}: {reason(error)}") from error


def shown(path: str) -> str:
    """Return a path for people: names may hold newlines and bytes that are no UTF-8."""
    return path if path.isprintable() and path.isascii() else ascii(path)


# --- names as bytes


def raw(path: str) -> bytes:
    """Return the bytes that a name is to the system."""
    return path.encode("utf-8", "surrogateescape")


def text(path: bytes) -> str:
    """Return the text that a name is in a manifest."""
    return path.decode("utf-8", "surrogateescape")


# --- files


class Member(t.NamedTuple):
    """Something in a tree: its path from the top, its name, the open directory it is in, and what it is."""

    path: bytes
    name: bytes
    folder: int
    info: os.stat_result


def members(top: bytes, without: t.Collection[bytes] = ()) -> t.Iterator[Member]:
    """Yield everything below a directory and follow no link. What is below ``without`` is left out, itself not."""
    for place, folders, files, handle in os.fwalk(top, onerror=_fail, follow_symlinks=False):
        below = place[len(top) :].lstrip(b"/")
        paths = {name: os.path.join(below, name) for name in (*folders, *files)}
        folders[:] = [name for name in folders if paths[name] not in without]
        for name, path in paths.items():
            yield Member(path, name, handle, os.stat(name, dir_fd=handle, follow_symlinks=False))


def _fail(error: OSError) -> None:
    raise error


@contextlib.contextmanager
def opened(name: str | bytes, folder: int | None = None, flags: int = 0) -> t.Iterator[int]:
    """Open a file for reading, without following a link or waiting for a pipe."""
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | flags, dir_fd=folder)
    try:
        yield handle
    finally:
        os.close(handle)


def directory(name: str | bytes, folder: int | None = None) -> contextlib.AbstractContextManager[int]:
    """Open a directory, and not a link to one."""
    return opened(name, folder, os.O_DIRECTORY)


def open_below(directory: str, path: str, access: int = os.O_RDONLY) -> int:
    """Open a file below a directory without following a link on the way; the caller closes it."""
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    *folders, name = raw(path).split(b"/")
    here = os.open(directory, flags | os.O_RDONLY | os.O_DIRECTORY)
    try:
        for folder in folders:
            below = os.open(folder, flags | os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
            os.close(here)
            here = below
        return os.open(name, flags | access, dir_fd=here)
    finally:
        os.close(here)


def content(directory: str, name: str, limit: int) -> bytes | None:
    """Return what a file of a directory holds; None where there is no such file, or a longer one."""
    try:
        handle = open_below(directory, name)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        # Not a byte more than the limit and one, whatever the file has become.
        with os.fdopen(os.dup(handle), "rb") as file:
            found = file.read(limit + 1)
    finally:
        os.close(handle)
    return found if len(found) <= limit else None


def is_directory(path: str) -> bool:
    """Say whether there is a directory, and not a link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def kind_of(info: os.stat_result) -> str:
    """Return in words what something is."""
    kinds = {
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFDIR: "a directory",
        stat.S_IFREG: "a file",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(info.st_mode), "a device")


def sync_directory(path: str) -> None:
    """Bring the names in a directory to the disk."""
    with directory(path) as handle:
        os.fsync(handle)


def sync_file_system(name: bytes, folder: int) -> None:
    """Bring all that was written to a directory's file system to the disk."""
    with directory(name, folder) as handle:
        library = ctypes.CDLL(None, use_errno=True)
        if not hasattr(library, "syncfs"):
            os.sync()
        elif library.syncfs(handle):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


# --- checksums


class Verification(t.NamedTuple):
    """What was read again of some files. ``bad`` are sentences, one for each file that is not as recorded.

    ``files`` and ``bytes`` are what was read, of ``all_files`` and
    ``all_bytes``. ``finished`` is False where the time was up after something
    bad had been found.
    """

    files: int
    bytes: int
    all_files: int
    all_bytes: int
    bad: tuple[str, ...]
    finished: bool = True


def digest_tree(directory: str, deadline: Deadline, below: str = "") -> tuple[FileEntry, ...]:
    """Return the files in a directory with their lengths and checksums, ordered by their paths.

    ``below`` is put before each path, for a directory of a set. Fails at
    anything but files and directories, and at a file that changes meanwhile.
    """
    found = []
    with told(directory, "cannot be read"):
        for member in members(raw(directory)):
            path = os.path.join(below, text(member.path))
            if stat.S_ISDIR(member.info.st_mode):
                continue
            if not stat.S_ISREG(member.info.st_mode):
                where = shown(os.path.join(directory, text(member.path)))
                raise BackupError(INTERNAL, f"{where} is {kind_of(member.info)}; {ONLY}")
            with opened(member.name, member.folder) as handle:
                before = os.fstat(handle)
                length, digest = _digest(handle, deadline, path)
                after = os.fstat(handle)
            if length != before.st_size or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise BackupError(INTERNAL, f"{shown(os.path.join(directory, path))} changed while it was read")
            found.append(FileEntry(path, length, digest))
    return tuple(sorted(found, key=lambda entry: raw(entry.path)))


def _digest(handle: int, deadline: Deadline, path: str) -> tuple[int, str]:
    digest, length = hashlib.sha256(), 0
    while chunk := os.read(handle, _CHUNK):
        deadline.require(f"reading {shown(path)}")
        digest.update(chunk)
        length += len(chunk)
    return length, digest.hexdigest()


def verify(
    directory: str, files: t.Sequence[FileEntry], deadline: Deadline, shares: int = 1, turn: int = 0
) -> Verification:
    """Read files again and compare them with their recorded checksums.

    With ``shares`` of n only every n-th part of the bytes is read, in the order
    of the files; ``turn`` says which, so that n turns in a row read all. A file
    is read whole or not at all. Hits the deadline's failure where nothing bad
    was found before.
    """
    total = sum(file.bytes for file in files)
    bad: list[str] = []
    count = size = 0
    for file in _share(files, total, shares, turn):
        try:
            problem, length = _compare(directory, file, deadline)
        except ProbeFailure as error:
            if bad and not isinstance(error, BackupError):
                return Verification(count, size, len(files), total, tuple(bad), False)
            raise
        if problem:
            bad.append(f"{shown(file.path)} {problem}")
        count, size = count + 1, size + length
    return Verification(count, size, len(files), total, tuple(bad))


def _compare(directory: str, file: FileEntry, deadline: Deadline) -> tuple[str | None, int]:
    """Return what is wrong with a file of a set, or None, and how many bytes were read."""
    deadline.require(f"reading {shown(file.path)}")
    try:
        handle = open_below(directory, file.path)
    except FileNotFoundError:
        return "is missing", 0
    except PermissionError as error:
        raise BackupError(AUTH, f"{directory}/{shown(file.path)} cannot be read: {reason(error)}") from error
    except OSError as error:
        return f"cannot be opened: {reason(error)}", 0
    try:
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode):
            return f"is {kind_of(info)}", 0
        if info.st_size != file.bytes:
            return f"has {info.st_size} bytes in place of {file.bytes}", 0
        length, digest = _digest(handle, deadline, file.path)
    except OSError as error:
        return f"cannot be read: {reason(error)}", 0
    finally:
        os.close(handle)
    return (None if digest == file.sha256 else "has another content than was written"), length


def _share(files: t.Sequence[FileEntry], total: int, shares: int, turn: int) -> list[FileEntry]:
    """Return the files that begin in one share of all bytes: in the first with turn 0, and again after all shares."""
    if shares < 1:
        raise BackupError(INTERNAL, f"shares: {shares} is not 1 or more")
    chosen, start = [], 0
    for file in files:
        # An empty file at the very end begins behind the last byte.
        if min(shares - 1, start * shares // total if total else 0) == turn % shares:
            chosen.append(file)
        start += file.bytes
    return chosen
