# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""All that a clean-up of media asks: the API, the tables, the files of the store, and the backup sets."""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import os
import stat
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._backup import options as shared
from ansible_collections.matrixon.ops.plugins.module_utils._backup.changes import to_bytes, to_text
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import MEDIA
from ansible_collections.matrixon.ops.plugins.module_utils._backup.media import MediaPart, digest_of
from ansible_collections.matrixon.ops.plugins.module_utils._backup.store import Entry, Store
from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient, Response
from ansible_collections.matrixon.ops.plugins.module_utils._matrix import refusal
from ansible_collections.matrixon.ops.plugins.module_utils._media.model import (
    Amount,
    Item,
    Key,
    Kind,
    Row,
    Way,
    filled,
    items_of,
    written,
)
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Session
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, PARSE, Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import unseen

# A file that is downloaded as a proof has no more bytes.
MOST_BYTES = 1_000_000


# --- the API


@dataclass(frozen=True)
class Api:
    """The homeserver's API as an administrator sees it."""

    http: HttpClient
    base: str
    token: str
    server_name: str
    timeout: float

    def ask(self, method: str, path: str, deadline: Deadline, max_body: int = 1 << 20) -> Response:
        """Send one request, whatever the answer is."""
        body: Row | None = {} if method == "POST" else None
        within = deadline.within(self.timeout)
        return self.http.request(
            method, self.base.rstrip("/") + path, within, token=self.token, body=body, max_body=max_body
        )

    def probe(self, facts: Row, deadline: Deadline) -> float:
        """Make sure that the API takes the token for an administrator's; return its clock, in seconds."""
        path = filled(str(facts["path"]), {"server_name": self.server_name})
        response = self.ask("GET", path, deadline)
        if response.status != facts["status"]:
            raise refusal(response)
        if not response.date:
            raise ProbeFailure(PARSE, f"{response.url} answered without a Date, so its clock is not known")
        try:
            return email.utils.parsedate_to_datetime(response.date).timestamp()
        except (TypeError, ValueError) as error:
            raise ProbeFailure(PARSE, f"{response.url} answered with the Date {response.date!r:.60}") from error

    def take(self, way: Way, values: Row, deadline: Deadline) -> int:
        """Have files deleted; return how many the API says that went."""
        response = self.ask(way.method, filled(way.path, {"server_name": self.server_name, **values}), deadline)
        if way.absent is not None and response.status == way.absent:
            return 0
        if not 200 <= response.status < 300:
            raise refusal(response)
        try:
            return int(response.json()[way.counted])
        except (KeyError, TypeError, ValueError) as error:
            raise ProbeFailure(
                PARSE, f"{response.url} does not say under {way.counted!r} how many files went: {response.excerpt()}"
            ) from error

    def download(self, way: Way, row: Row, deadline: Deadline) -> str:
        """Fetch a file as clients do; return the SHA-256 of it."""
        path = filled(way.download, {"server_name": self.server_name, **row})
        response = self.ask("GET", path, deadline, max_body=MOST_BYTES)
        if response.status != 200:
            raise refusal(response)
        return hashlib.sha256(response.body).hexdigest()


# --- the tables


@dataclass(frozen=True)
class Tables:
    """What the homeserver's tables say of media."""

    session: Session
    server_name: str

    def _rows(self, kind: Kind, query: str, before_ms: int) -> list[Row]:
        values = {
            "server_name": self.server_name,
            "before_ms": before_ms,
            "larger_than": kind.larger_than,
            "most_bytes": MOST_BYTES,
        }
        return t.cast("list[Row]", self.session.rows(written(query, values)))

    def total(self, kind: Kind, way: Way) -> Amount:
        """Return how much there is of a kind."""
        (row,) = self._rows(kind, way.total, 0)
        return Amount(int(row["files"]), int(row["bytes"]))

    def old(self, kind: Kind, way: Way, before_ms: int) -> list[Item]:
        """Return the files that may go."""
        return items_of(self._rows(kind, way.old, before_ms), way, before_ms)

    def kept(self, kind: Kind, way: Way, before_ms: int) -> list[Row]:
        """Return some small files that stay."""
        return self._rows(kind, way.kept, before_ms)

    def present(self, way: Way, items: t.Sequence[Item]) -> set[Key]:
        """Return which of some files still have a row."""
        if not items:
            return set()
        values = {name: [item.key[number] for item in items] for number, name in enumerate(way.keys)}
        return {tuple(str(row[name]) for name in way.keys) for row in self.session.rows(way.present, values)}


# --- the media store


@dataclass(frozen=True)
class Stored:
    """What lies in the store of some files: regular files with their bytes, what they take, and what lacks its file."""

    files: dict[bytes, int]
    disk: int
    missing: list[Item]


@dataclass(frozen=True)
class MediaFiles:
    """The media store on this host."""

    root: str

    def path(self, relative: bytes) -> bytes:
        """Return where a file of the store is."""
        return os.path.join(to_bytes(self.root), relative)

    def require(self) -> None:
        """Fail where there is no store."""
        if not os.path.isdir(self.root):
            raise ProbeFailure(INTERNAL, f"media_dir: {self.root} is no directory on this host; is it mounted?")

    def free(self) -> int:
        """Return the bytes that are free on its file system."""
        room = os.statvfs(self.root)
        return room.f_bavail * room.f_frsize

    def has(self, relative: bytes) -> bool:
        """Say whether a regular file is there."""
        return self._size(relative) is not None

    def _size(self, relative: bytes) -> os.stat_result | None:
        try:
            info = os.lstat(self.path(relative))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ProbeFailure(INTERNAL, f"{to_text(relative)} cannot be looked at: {error.strerror}") from error
        return info if stat.S_ISREG(info.st_mode) else None

    def look(self, items: t.Sequence[Item], deadline: Deadline) -> Stored:
        """Look at all that goes with some files."""
        files: dict[bytes, int] = {}
        disk, missing = 0, []
        for item in items:
            deadline.require("looking at the files of the media store")
            info = self._size(item.path)
            if info is None:
                missing.append(item)
            else:
                files[item.path], disk = info.st_size, disk + info.st_blocks * 512
            for name in self._below(item.thumbnails):
                info = self._size(name)
                if info is not None:
                    files[name], disk = info.st_size, disk + info.st_blocks * 512
        return Stored(files, disk, missing)

    def _below(self, directory: bytes) -> list[bytes]:
        top = to_bytes(self.root)
        found = []
        for folder, _folders, names in os.walk(self.path(directory), onerror=unseen):
            found += [os.path.relpath(os.path.join(folder, name), top) for name in names]
        return found

    def digest(self, relative: bytes, deadline: Deadline) -> str:
        """Return the SHA-256 of a file."""
        try:
            return digest_of(self.path(relative), deadline)
        except OSError as error:
            raise ProbeFailure(INTERNAL, f"{to_text(relative)} cannot be read: {error.strerror}") from error


# --- the backup


@dataclass(frozen=True)
class Backups:
    """The backup sets of this host."""

    options: t.Mapping[str, t.Any]
    place: Store

    @classmethod
    def of(cls, given: t.Mapping[str, t.Any], deployment: str) -> Backups:
        """Return the sets of the options ``backup``."""
        options = {**given, "deployment": deployment}
        return cls(options, shared.store(options))

    def described(self) -> list[dict[str, t.Any]]:
        """Return all sets as matrixon_backup_info does."""
        return [shared.described(entry) for entry in self.place.sets()]

    def newest(self) -> Entry:
        """Return the newest verified set that holds media."""
        entries = self.place.sets()
        media = [e for e in entries if e.manifest and not e.damage and MEDIA in e.manifest.components]
        verified = [entry for entry in media if entry.verified]
        if not verified:
            raise ProbeFailure(
                PARSE,
                f"{self.place.path} holds {len(entries)} sets, {len(media)} of them with media, and no drill proved "
                "one of these; take one and prove it with the playbook matrixon.ops.backup. Nothing was deleted",
            )
        return verified[-1]

    @contextlib.contextmanager
    def holding(self, entry: Entry, stored: Stored, deadline: Deadline) -> t.Iterator[dict[bytes, int]]:
        """Return which of some files a set holds, and keep it from being removed meanwhile."""
        with self.place.in_use(entry.id) as chain:
            part = MediaPart.from_dict(chain[-1][1].media)
            driver = shared.media_driver(part.driver, self.options, self.place)
            wanted = {*stored.files, *(item.path for item in stored.missing)}
            yield driver.held(part, wanted, deadline)


def lacking(stored: Stored, held: t.Mapping[bytes, int]) -> list[str]:
    """Return what would go and is not in the backup, or in another length, in words."""
    found = [
        to_text(path) if path not in held else f"{to_text(path)} ({held[path]} bytes there, {size} here)"
        for path, size in sorted(stored.files.items())
        if held.get(path) != size
    ]
    # Its row would go, and without its file nobody could say any more that it is lost.
    return found + [to_text(item.path) for item in stored.missing if item.path not in held]
