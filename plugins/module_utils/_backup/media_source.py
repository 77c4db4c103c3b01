# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Reading a media store: the guards before a run, the scan, the shrink guard, the list of changes, the sample.

Nothing here follows a symbolic link, and nothing writes. What refuses says
what is wrong, that the copies before stay, and the way out.
"""

from __future__ import annotations

import heapq
import os
import random
import stat
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._backup.changes import relative, to_bytes, to_text
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.media import (
    WHOLE,
    Found,
    MediaPart,
    Sample,
    Source,
    digest_of,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.mounts import (
    FileSystem,
    file_system,
    known_uuids,
    read_mounts,
)
from ansible_collections.matrixon.ops.plugins.module_utils._human import digits, human
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, Deadline

# How often a file is read that changes meanwhile, before that is only noted.
ROUNDS = 3
# Files of a sample, and the largest that is taken into one, in bytes.
SAMPLE = 24
SAMPLE_BYTES = 32 * 1024 * 1024
# Names that a note shows.
SHOWN = 5
# A file whose inode was touched so long before a run began counts as touched in it, in nanoseconds: the kernel's
# stamps are those of its last tick, and a file server's clock is not ours.
EARLIER = 2_000_000_000


# --- before a run


class Looked(t.NamedTuple):
    """A media store that can be read: its real path, and the kept directories that are there."""

    root: bytes
    present: tuple[bytes, ...]
    file_systems: dict[str, FileSystem]
    owner: tuple[int, int, int]
    notes: list[str]


def look(source: Source, previous: MediaPart | None) -> Looked:
    """Look at a media store without reading it, and refuse what cannot be the one that is meant."""
    if problems := source.problems():
        raise BackupError(INTERNAL, "; ".join(problems))
    root = os.path.realpath(to_bytes(source.root))
    try:
        info = os.stat(root)
        os.listdir(root)
    except OSError as error:
        raise BackupError(INTERNAL, f"media: {source.root} cannot be read: {error.strerror}") from error
    present, notes, filled = [], [], False
    for kept in source.directories:
        path = os.path.join(root, to_bytes(kept.path))
        if not _is_directory(path, kept.path, source.root):
            notes.append(f"{kept.path} is not there")
            continue
        present.append(to_bytes(kept.path))
        filled = filled or (kept.required and _has_entries(path))
    had = previous is not None and any(
        previous.found[kept.path].files for kept in source.directories if kept.required and kept.path in previous.found
    )
    if not filled and not source.accept_empty and (previous is None or had):
        names = ", ".join(kept.path for kept in source.directories if kept.required)
        raise BackupError(
            INTERNAL,
            f"media: {source.root} has nothing in {names}"
            + (f", and had {_amount(previous)} at the last full run" if had and previous else "")
            + "; is its file system mounted? Nothing was copied, and the copies before stay. Where it is meant to be "
            "empty, say so with accept_empty",
        )
    # After the directories were entered, so that what is mounted on demand is mounted.
    mounts, uuids = read_mounts(), known_uuids()
    systems = {to_text(path): file_system(os.path.join(root, path), mounts, uuids) for path in present}
    if previous and not source.accept_file_system:
        for name, system in systems.items():
            before = previous.found.get(name)
            if before and not system.same_as(before.file_system):
                raise BackupError(
                    INTERNAL,
                    f"media: {os.path.join(source.root, name)} lies on {system}, and at the last run on "
                    f"{before.file_system}; is the right file system mounted? Where it was moved on purpose, "
                    "say so with accept_file_system",
                )
    return Looked(root, tuple(present), systems, (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)), notes)


def _is_directory(path: bytes, name: str, root: str) -> bool:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise BackupError(INTERNAL, f"media: {to_text(path)} cannot be read: {error.strerror}") from error
    if stat.S_ISLNK(mode):
        raise BackupError(
            INTERNAL,
            f"media: {os.path.join(root, name)} is a symbolic link to {os.path.realpath(to_text(path))}, and links are "
            "never followed; mount that directory there instead, for example with mount --bind",
        )
    if not stat.S_ISDIR(mode):
        raise BackupError(INTERNAL, f"media: {os.path.join(root, name)} is no directory")
    return True


def _has_entries(path: bytes) -> bool:
    try:
        with os.scandir(path) as entries:
            return next(entries, None) is not None
    except OSError as error:
        raise BackupError(INTERNAL, f"media: {to_text(path)} cannot be read: {error.strerror}") from error


def _amount(previous: MediaPart) -> str:
    return f"{digits(sum(found.files for found in previous.found.values()))} files"


# --- scanning


class Tally:
    """Counts of one kept directory."""

    def __init__(self) -> None:
        self.files = self.bytes = self.directories = self.newest = 0

    def add(self, size: int, mtime: int = 0) -> None:
        """Count a regular file. ``mtime`` is in nanoseconds."""
        self.files += 1
        self.bytes += size
        self.newest = max(self.newest, mtime)


class Scan:
    """What a walk over the kept directories found.

    ``young`` are regular files whose inode was touched since the moment that
    was given: they may have been read while they were written.
    """

    def __init__(self, looked: Looked) -> None:
        self.tallies = {path: Tally() for path in looked.present}
        self.young: list[bytes] = []
        self.special: list[bytes] = []
        self.outside: list[bytes] = []
        self.pick = Pick()

    @property
    def newest(self) -> int:
        """Return the youngest mtime in nanoseconds, 0 where there is no file."""
        return max((tally.newest for tally in self.tallies.values()), default=0)

    def found(self, looked: Looked) -> dict[str, Found]:
        """Return the counts as they stand in a MediaPart."""
        return {
            to_text(path): Found(tally.files, tally.bytes, looked.file_systems[to_text(path)])
            for path, tally in self.tallies.items()
        }

    def notes(self) -> list[str]:
        """Return sentences about what is no plain file."""
        return [
            *note(self.special, "neither file, directory nor link, and skipped"),
            *note(
                self.outside, "symbolic links that lead out of the media store: kept as links, not what they lead to"
            ),
        ]


class Pick:
    """A choice of files at random, each as likely as any other, without keeping all their names."""

    def __init__(self, size: int = SAMPLE, generator: random.Random | None = None) -> None:
        self._size, self._random = size, generator or random.Random()
        self._heap: list[tuple[float, bytes]] = []

    def add(self, path: bytes, size: int) -> None:
        """Offer a file."""
        if size > SAMPLE_BYTES:
            return
        weight = self._random.random()
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, (weight, path))
        elif weight > self._heap[0][0]:
            heapq.heapreplace(self._heap, (weight, path))

    @property
    def paths(self) -> list[bytes]:
        """Return the choice, in order of names."""
        return sorted(path for dummy, path in self._heap)


def scan(looked: Looked, deadline: Deadline, since: int | None = None) -> Scan:
    """Walk over the kept directories, following no link. ``since`` is in nanoseconds since the epoch."""
    result = Scan(looked)
    for kept, tally in result.tallies.items():
        prefix = b"" if kept == to_bytes(WHOLE) else kept + b"/"
        waiting = [prefix]
        while waiting:
            _scan_one(looked.root, waiting, result, tally, since)
            deadline.require("scanning the media store")
    return result


def _scan_one(root: bytes, waiting: list[bytes], result: Scan, tally: Tally, since: int | None) -> None:
    folder = waiting.pop()
    try:
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                path = folder + entry.name
                if entry.is_dir(follow_symlinks=False):
                    tally.directories += 1
                    waiting.append(path + b"/")
                elif entry.is_file(follow_symlinks=False):
                    _scan_file(entry, path, result, tally, since)
                elif not entry.is_symlink():
                    result.special.append(path)
                elif leads_outside(root, path):
                    result.outside.append(path)
    except FileNotFoundError:
        # It went away after it was listed. What is gone needs no copy.
        return
    except OSError as error:
        raise BackupError(
            INTERNAL, f"media: {to_text(os.path.join(root, folder))} cannot be read: {error.strerror}"
        ) from error


def _scan_file(entry: os.DirEntry[bytes], path: bytes, result: Scan, tally: Tally, since: int | None) -> None:
    try:
        info = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return
    tally.add(info.st_size, info.st_mtime_ns)
    if since is not None and info.st_ctime_ns >= since:
        result.young.append(path)
    else:
        result.pick.add(path, info.st_size)


def leads_outside(root: bytes, path: bytes) -> bool:
    """Say whether a link leads out of the media store, by its text alone."""
    try:
        target = os.readlink(os.path.join(root, path))
    except OSError:
        return False
    end = os.path.normpath(os.path.join(root, os.path.dirname(path), target))
    return end != root and not end.startswith(root + b"/")


def touched_since(started: float) -> int:
    """Return the moment, in nanoseconds, from which on a touched inode was touched in a run that started then."""
    return int(started * 1e9) - EARLIER


# --- the shrink guard


def judge(source: Source, previous: MediaPart | None, found: t.Mapping[str, Found]) -> list[str]:
    """Refuse a source that lost more than it may since the last full scan. Return notes about the rest."""
    notes = []
    total = sum(found[kept.path].files for kept in source.directories if kept.required and kept.path in found)
    had = sum(
        previous.found[kept.path].files
        for kept in source.directories
        if previous and kept.required and kept.path in previous.found
    )
    if not total and not source.accept_empty and (previous is None or had):
        raise BackupError(
            INTERNAL,
            f"media: {source.root} holds no file; is its file system mounted? The copies before stay. Where it is "
            "meant to be empty, say so with accept_empty",
        )
    for kept in source.directories:
        before = previous.found.get(kept.path) if previous else None
        if before is None:
            continue
        now = found.get(kept.path)
        lost = max(_lost(before.files, now.files if now else 0), _lost(before.bytes, now.bytes if now else 0))
        if lost <= source.shrink_percent:
            continue
        left = f"{digits(now.files)} files with {human(now.bytes, 'B')}" if now else "no files"
        then = f"{digits(before.files)} with {human(before.bytes, 'B')}"
        words = f"{kept.path} has {left}, and had {then} at the last full run: {lost:.0f} % are gone"
        if kept.required and not (source.accept_empty and not total):
            raise BackupError(
                INTERNAL,
                f"media: {words}. More than {source.shrink_percent:g} % is refused, and the copies before stay; "
                "where files were removed on purpose, raise shrink_percent for one run",
                {"lost_percent": lost, "directory": kept.path},
            )
        notes.append(words)
    return notes


def _lost(before: int, now: int) -> float:
    return 0.0 if before <= 0 else max(0.0, 100.0 * (before - now) / before)


# --- a list of changes


class Listed(t.NamedTuple):
    """What of a list can be copied: regular files and links, as paths below the root, in the list's order."""

    paths: list[bytes]
    bytes: int
    newest: int
    notes: list[str]


def resolve(looked: Looked, source: Source, changes: t.Sequence[str | bytes], deadline: Deadline) -> Listed:
    """Look at what a list names. Nothing of it is followed out of the kept directories.

    A directory stands for the files below it. Refused is a path that leads
    out of the media store, and a list of which nothing is there.
    """
    wanted, left_out, missing, special, behind_links = [], [], [], [], []
    for change in changes:
        path = change if isinstance(change, bytes) else to_bytes(change)
        try:
            wanted.append(relative(path, looked.root))
        except ValueError as error:
            raise BackupError(INTERNAL, f"changes: {to_text(path)!r}: {error}") from error
    kept = [b"" if path == to_bytes(WHOLE) else path + b"/" for path in (to_bytes(k.path) for k in source.directories)]
    parents: dict[bytes, bool] = {b"": True}
    paths: dict[bytes, None] = {}
    size = newest = 0
    waiting = list(reversed(wanted))
    while waiting:
        path = waiting.pop()
        deadline.require("looking at the list of changes")
        if not any((path + b"/").startswith(prefix) for prefix in kept):
            left_out.append(path)
            continue
        if not _real_parents(looked.root, os.path.dirname(path), parents):
            behind_links.append(path)
            continue
        try:
            info = os.lstat(os.path.join(looked.root, path))
        except (FileNotFoundError, NotADirectoryError):
            missing.append(path)
            continue
        if stat.S_ISDIR(info.st_mode):
            waiting += [os.path.join(path, name) for name in _names(looked.root, path)]
        elif stat.S_ISREG(info.st_mode) or stat.S_ISLNK(info.st_mode):
            if path not in paths and stat.S_ISREG(info.st_mode):
                size, newest = size + info.st_size, max(newest, info.st_mtime_ns)
            paths[path] = None
        else:
            special.append(path)
    if missing and not paths:
        raise BackupError(
            INTERNAL,
            f"changes: none of the {len(missing)} listed files is in {source.root}, for example "
            f"{to_text(missing[0])!r}; is this the media store of that list, and is its file system mounted?",
        )
    notes = [
        *note(left_out, "listed, but in no directory that is kept"),
        *note(missing, "listed, but not there any more"),
        *note(special, "listed, but neither file, directory nor link, and skipped"),
        *note(behind_links, "listed, but behind a symbolic link, which is never followed"),
    ]
    return Listed(list(paths), size, newest, notes)


def _names(root: bytes, path: bytes) -> list[bytes]:
    try:
        return sorted(os.listdir(os.path.join(root, path)), reverse=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BackupError(
            INTERNAL, f"media: {to_text(os.path.join(root, path))} cannot be read: {error.strerror}"
        ) from error


def _real_parents(root: bytes, folder: bytes, known: dict[bytes, bool]) -> bool:
    """Say whether no directory on the way to a path is a link. What is not there is no link."""
    if folder not in known:
        above = _real_parents(root, os.path.dirname(folder), known)
        known[folder] = above and not os.path.islink(os.path.join(root, folder))
    return known[folder]


# --- files that change


def stamp(path: bytes) -> tuple[int, ...] | None:
    """Return what changes with a file's content, or None where the file is not there."""
    try:
        info = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def settle(
    root: bytes, paths: t.Sequence[bytes], copy: t.Callable[[list[bytes]], None], rounds: int = ROUNDS
) -> list[str]:
    """Copy files until each was the same before and after, and return notes about those that never were."""
    vanished: list[bytes] = []
    waiting = list(paths)
    for dummy in range(rounds):
        before = {path: stamp(os.path.join(root, path)) for path in waiting}
        there = [path for path in waiting if before[path] is not None]
        vanished += [path for path in waiting if before[path] is None]
        if not there:
            waiting = []
            break
        copy(there)
        waiting = [path for path in there if stamp(os.path.join(root, path)) != before[path]]
        if not waiting:
            break
    gone = [path for path in waiting if stamp(os.path.join(root, path)) is None]
    return [
        *note(vanished + gone, "vanished while they were read"),
        *note(
            [path for path in waiting if path not in gone],
            "changed each time they were read; the copy may be a mixture",
        ),
    ]


def note(paths: t.Sequence[bytes], what: str) -> list[str]:
    """Return one sentence about some files, or none about no file."""
    if not paths:
        return []
    shown = ", ".join(repr(to_text(path)) for path in paths[:SHOWN])
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return [f"{len(paths)} {what}: {shown}{more}"]


# --- the sample


def take_sample(root: bytes, paths: t.Iterable[bytes], deadline: Deadline) -> tuple[Sample, ...]:
    """Return files of the source with their checksums. One that is gone or changes meanwhile is left out."""
    found = []
    for path in paths:
        full = os.path.join(root, path)
        before = stamp(full)
        try:
            digest = digest_of(full, deadline)
        except OSError:
            continue
        if before == stamp(full):
            found.append(Sample(to_text(path), digest))
    return tuple(found)


def join_samples(own: tuple[Sample, ...], previous: MediaPart, changed: t.Container[bytes]) -> tuple[Sample, ...]:
    """Return the sample of a list-driven run: half of it from the chain so far, as long as that did not change."""
    old = [entry for entry in previous.sample if to_bytes(entry.path) not in changed]
    return own[: SAMPLE - min(len(old), SAMPLE // 2)] + tuple(old[: SAMPLE // 2])
