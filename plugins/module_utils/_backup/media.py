# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The interface of the media drivers: what is kept, what a run leaves behind, and how it comes back.

Media are files that are written once. A full run scans the whole source; a
run that is fed a list of changes costs what changed, adds a snapshot to a
chain, and knows nothing of deletions. A restore is the chain's first snapshot
with the later ones laid over it, in order, so a file that was deleted since
the last full run is back.

Paths are bytes inside, and in a MediaPart text as ``changes.to_text`` gives it.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.matrixon.ops.plugins.module_utils._backup.changes import to_bytes, to_text
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import Component, Json, Reader
from ansible_collections.matrixon.ops.plugins.module_utils._backup.mounts import FileSystem
from ansible_collections.matrixon.ops.plugins.module_utils._human import digits, human
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, PARSE, Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import rfc3339

# The directory that stands for all of a media store.
WHOLE = "."


# --- what is kept


@dataclass(frozen=True)
class Kept:
    """A directory below the media store that is kept. ``required`` says that it may not shrink unnoticed."""

    path: str
    required: bool = True


@dataclass(frozen=True)
class Source:
    """A media store and what of it is kept.

    ``shrink_percent`` is how much of a required directory may be gone
    since the last full run. ``accept_file_system`` says that the store was
    moved to another file system on purpose, ``accept_empty`` that it has no
    files yet.
    """

    root: str
    directories: tuple[Kept, ...]
    shrink_percent: float = 10.0
    accept_file_system: bool = False
    accept_empty: bool = False

    def problems(self) -> list[str]:
        """Return a sentence for each thing in these options that cannot be right."""
        found = []
        if not os.path.isabs(self.root) or not os.path.normpath(self.root).strip("/"):
            found.append(f"media: {self.root!r} is not the absolute path of a media store")
        if not 0 <= self.shrink_percent <= 100:
            found.append(f"shrink_percent: {self.shrink_percent:g} is not between 0 and 100")
        if not self.directories:
            found.append("media: no directory of the store is to be kept")
        seen: list[str] = []
        for kept in self.directories:
            if kept.path != WHOLE and (_not_plain(kept.path) or kept.path.startswith("-")):
                found.append(f"media: {kept.path!r} is no plain path below {self.root}, such as local_content")
            for other in seen:
                if (
                    WHOLE in (kept.path, other)
                    or (kept.path + "/").startswith(other + "/")
                    or (other + "/").startswith(kept.path + "/")
                ):
                    found.append(f"media: {kept.path!r} and {other!r} overlap; name each directory once")
            seen.append(kept.path)
        return found


def _not_plain(path: str) -> bool:
    return "\0" in path or any(part in ("", ".", "..") for part in path.split("/"))


def place_problem(source: Source, place: str, option: str) -> str | None:
    """Return why a repository may not be at a place: it and the media store may not lie in each other."""
    if not os.path.isabs(place):
        return f"{option}: {place!r} is not an absolute path"
    mine, theirs = os.path.realpath(place), os.path.realpath(source.root)
    if os.path.commonpath([mine, theirs]) == theirs:
        return f"{option}: {place} lies in the media store {source.root}, so each copy would hold the copies before it"
    if os.path.commonpath([mine, theirs]) == mine:
        return f"{option}: the media store {source.root} lies in {place}; a backup beside its source is none. Move it"
    return None


# --- what a run leaves behind


@dataclass(frozen=True)
class Link:
    """One snapshot of a chain: its id, its regular files and their bytes, and the SHA-256 of its own list of them."""

    snapshot: str
    files: int
    bytes: int
    digest: str | None = None


@dataclass(frozen=True)
class Found:
    """What the last full scan found in a kept directory. ``bytes`` and ``files`` are those of regular files."""

    files: int
    bytes: int
    file_system: FileSystem


class Sample(t.NamedTuple):
    """A file of the run and the SHA-256 of its content."""

    path: str
    sha256: str


@dataclass(frozen=True)
class MediaPart:
    """What a media driver hands back of a run that went well.

    ``chain`` are all snapshots that a restore needs, in order; the last is
    this run's. ``files`` and ``bytes`` are what this run looked at: all that
    is kept, or with ``list_driven`` what the list named. ``stored`` is what it
    added to the repository, in bytes. ``found`` is by kept directory and of
    the last full scan, also where this run had none. ``newest`` is the
    youngest mtime. ``high_water`` is the caller's: up to where the list of
    changes went. ``root`` is owner, group and mode of the media store.
    ``notes`` are sentences for people. Timings are seconds.
    """

    driver: str
    chain: tuple[Link, ...]
    list_driven: bool
    files: int
    bytes: int
    stored: int = 0
    newest: datetime.datetime | None = None
    high_water: int | None = None
    found: dict[str, Found] = field(default_factory=dict)
    sample: tuple[Sample, ...] = ()
    root: tuple[int, int, int] | None = None
    notes: tuple[str, ...] = ()
    tool_versions: dict[str, str] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def snapshot(self) -> str:
        """Return the id of this run's own snapshot."""
        return self.chain[-1].snapshot

    @property
    def parent(self) -> str | None:
        """Return the id of the snapshot before it, which a restore needs, too."""
        return self.chain[-2].snapshot if len(self.chain) > 1 else None

    @property
    def snapshots(self) -> tuple[str, ...]:
        """Return the ids of all that a restore needs: none of these may be forgotten."""
        return tuple(link.snapshot for link in self.chain)

    def guards_only(self) -> MediaPart:
        """Return the facts without the chain: for the first run into a new place, with all guards in force."""
        return replace(self, chain=())

    def component(self) -> Component:
        """Return the manifest's component."""
        return Component(self.driver, (), self.stored, {"snapshot": self.snapshot})

    def as_dict(self) -> Json:
        """Return the JSON object that stands in a manifest under ``media``."""
        return {
            "driver": self.driver,
            "snapshot": self.snapshot,
            "parent": self.parent,
            "chain": [
                {"snapshot": link.snapshot, "files": link.files, "bytes": link.bytes, "digest": link.digest}
                for link in self.chain
            ],
            "list_driven": self.list_driven,
            "files": self.files,
            "bytes": self.bytes,
            "stored": self.stored,
            "newest": self.newest and rfc3339(self.newest),
            "high_water": self.high_water,
            "found": {
                path: {
                    "files": found.files,
                    "bytes": found.bytes,
                    "file_system": found.file_system._asdict(),
                }
                for path, found in self.found.items()
            },
            "sample": [entry._asdict() for entry in self.sample],
            "root": None if self.root is None else dict(zip(("uid", "gid", "mode"), self.root)),
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, document: t.Any) -> MediaPart:
        """Return the part that a manifest holds, or fail with kind parse and the reason."""
        try:
            return _part(Reader(document, "media"))
        except ValueError as error:
            raise BackupError(PARSE, f"the manifest: {error}") from error


def _part(source: Reader) -> MediaPart:
    root = None if source.absent("root") else source.below("root")
    part = MediaPart(
        driver=source.text("driver"),
        chain=tuple(
            Link(link.text("snapshot"), link.number("files"), link.number("bytes"), link.text_or_none("digest"))
            for link in source.each("chain")
        ),
        list_driven=source.flag("list_driven"),
        files=source.number("files"),
        bytes=source.number("bytes"),
        stored=source.number("stored"),
        newest=None if source.absent("newest") else source.time("newest"),
        high_water=source.number_or_none("high_water"),
        found={path: _found(found) for path, found in source.named("found")},
        sample=tuple(Sample(entry.text("path"), entry.text("sha256")) for entry in source.each("sample")),
        root=None if root is None else (root.number("uid"), root.number("gid"), root.number("mode")),
        notes=source.texts("notes"),
    )
    if not part.chain or part.snapshot != source.text("snapshot"):
        raise ValueError("the chain of media does not end with its snapshot")
    return part


def _found(source: Reader) -> Found:
    system = source.below("file_system")
    return Found(
        source.number("files"),
        source.number("bytes"),
        FileSystem(system.text("kind"), system.text("source"), system.text("uuid")),
    )


@dataclass(frozen=True)
class Restored:
    """What a restore brought back and proved: regular files and their bytes, and sentences for people."""

    files: int
    bytes: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verified:
    """What was read and found whole: in files for a driver that knows files, in bytes for one that does."""

    files: int | None = None
    bytes: int | None = None
    notes: tuple[str, ...] = ()


class Share(t.NamedTuple):
    """The part of a repository that one scrub reads, such as 3 of 30. After ``of`` scrubs all of it was read."""

    number: int
    of: int

    @classmethod
    def of_day(cls, day: datetime.date, of: int) -> Share:
        """Return the share of a day, so that ``of`` days in a row cover everything."""
        return cls(day.toordinal() % of + 1, of).checked()

    def checked(self) -> Share:
        """Return itself, or fail where there is no such share."""
        if not 1 <= self.number <= self.of:
            raise BackupError(
                INTERNAL, f"share: there is no share {self.number} of {self.of}; the first is 1 of {self.of}"
            )
        return self

    def __str__(self) -> str:
        """Return the share in words."""
        return f"share {self.number} of {self.of}"


WHOLE_SHARE = Share(1, 1)


class MediaDriver(t.Protocol):
    """One way to keep media. Failures are ProbeFailures."""

    name: str

    def problems(self, source: Source) -> list[str]:
        """Return what stands in the way of a backup, a sentence each. Nothing is touched."""

    def prepare(self, deadline: Deadline) -> bool:
        """Make the repository if it is not there, and say whether that was done. A backup never does this."""

    def backup(
        self,
        source: Source,
        previous: MediaPart | None,
        changes: t.Sequence[str | bytes] | None,
        deadline: Deadline,
        high_water: int | None = None,
    ) -> MediaPart:
        """Keep the source: all of it, or with ``changes`` the files that are listed, on top of ``previous``."""

    def restore(
        self, part: MediaPart, directory: str, deadline: Deadline, only: t.Sequence[str] | None = None
    ) -> Restored:
        """Bring a chain back into a directory that is absent or empty; with ``only`` nothing but these files."""

    def verify(self, part: MediaPart, share: Share, deadline: Deadline) -> Verified:
        """Read a share of what a chain is made of, and fail with kind parse where it is not what was put away."""

    def held(self, part: MediaPart, wanted: t.Collection[bytes], deadline: Deadline) -> dict[bytes, int]:
        """Return which of some regular files a restore of a chain would bring back, with their bytes."""

    def forget(self, snapshots: t.Sequence[str], deadline: Deadline) -> None:
        """Remove snapshots, and with them what no other snapshot needs."""

    def snapshots(self, deadline: Deadline) -> list[str]:
        """Return the ids of the snapshots that are there, oldest first."""


# --- a copy and its files


def digest_of(path: bytes, deadline: Deadline) -> str:
    """Return the SHA-256 of a regular file's content, following no link."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb", buffering=0) as file:
        whole = hashlib.sha256()
        while piece := file.read(1 << 20):
            whole.update(piece)
            deadline.require(f"reading {to_text(path)}")
        return whole.hexdigest()


def sample_problems(part: MediaPart, directory: str, deadline: Deadline) -> list[str]:
    """Return a sentence for each file of the sample that is not in a restored directory as it was."""
    found = []
    for entry in part.sample:
        path = os.path.join(to_bytes(directory), to_bytes(entry.path))
        try:
            digest = digest_of(path, deadline)
        except OSError as error:
            found.append(f"{entry.path!r} cannot be read: {error.strerror}")
            continue
        if digest != entry.sha256:
            found.append(f"{entry.path!r} has the SHA-256 {digest} and had {entry.sha256}")
    return found


# --- places


def check_room(path: str, needed: int, inodes: int, what: str) -> None:
    """Refuse before the first byte where a file system has not enough room, nor inodes if their number is fixed."""
    room = os.statvfs(path)
    free = room.f_bavail * room.f_frsize
    if needed > free:
        raise BackupError(
            INTERNAL,
            f"{what} needs {human(needed, 'B')}, and the file system of {path} has {human(free, 'B')} left; "
            "make room there, or use another place",
        )
    if room.f_files and inodes > room.f_favail:
        raise BackupError(
            INTERNAL,
            f"{what} makes {digits(inodes)} files and directories, and the file system of {path} has inodes for "
            f"{digits(room.f_favail)}; remove snapshots, or use another place",
        )


def open_target(directory: str) -> bytes:
    """Make the directory of a restore, or take an empty one, and let only its owner enter it meanwhile."""
    if not os.path.isabs(directory):
        raise BackupError(INTERNAL, f"target: {directory!r} is not an absolute path")
    path = to_bytes(directory)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if os.path.islink(path) or not os.path.isdir(path):
            raise BackupError(INTERNAL, f"target: {directory} is no directory") from None
        if os.listdir(path):
            raise BackupError(
                INTERNAL, f"target: {directory} is not empty, and nothing is restored over files; name another one"
            ) from None
    except OSError as error:
        raise BackupError(INTERNAL, f"target: {directory} cannot be made: {error.strerror}") from error
    os.chmod(path, 0o700)
    return path


def close_target(path: bytes, root: tuple[int, int, int] | None) -> None:
    """Give a restored directory the owner and the mode that the media store had."""
    if root is None:
        return
    uid, gid, mode = root
    if os.geteuid() == 0:
        os.chown(path, uid, gid)
    os.chmod(path, mode)


# --- times


def moment(nanoseconds: int) -> datetime.datetime | None:
    """Return a file's time in UTC to the millisecond, or None for 0."""
    if not nanoseconds:
        return None
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    whole = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return whole.replace(microsecond=rest // 1_000_000 * 1000)
