# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Where the backup sets of one server lie.

A set is made beside, in a hidden directory, and appears whole under its name
by one rename; it goes by a rename to a hidden name, too, so a set that is half
there never counts. What a killed run leaves behind is hidden, and the next run
that holds the lock removes it, and only that.

    <root>/<fleet>/<server>/
      .lock               held by the run that makes or removes sets; who holds it stands in it
      .sequence           the highest number that a set ever had
      sets/<id>/          a set, never changed
      sets/.partial-<id>/ a set in the making; its run holds a lock on .run in it
      sets/.removing-<id>/
      drills/<id>/        what each drill of the set found, one file each
      holds/<id>          somebody wants the set to stay
      catalog.json        for people and other programs, made from the rest

Who reads a set holds a shared lock on its manifest. All directories have mode
0700 and files 0600. Every error names the path.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import errno
import fcntl
import hashlib
import json
import os
import pwd
import re
import shutil
import socket
import stat
import tempfile
import time
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.matrixon.ops.plugins.module_utils import _files
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import (
    CHECKSUM,
    MANIFEST,
    MAX_BYTES,
    FileEntry,
    Json,
    Manifest,
    check_id,
    folder_problem,
    id_problem,
    new_id,
    path_problem,
)
from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._net import reason
from ansible_collections.matrixon.ops.plugins.module_utils._probe import AUTH, INTERNAL, PARSE, Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import OK, UNKNOWN, rfc3339

CATALOG_SCHEMA = "matrixon.ops/backup-catalog/1"

_LOCK = ".lock"
_RUN = ".run"
_SEQUENCE = ".sequence"
_PARTIAL = ".partial-"
_REMOVING = ".removing-"
_CATALOG = "catalog.json"
_FOLDERS = ("sets", "drills", "holds")

_CHUNK = 1 << 20
# A name of a drill: when it ended, for people, and its number, for the order. A clock may jump back.
_DRILL = re.compile(r"([0-9]{8}T[0-9]{6}Z)-([0-9]{4,9})\.json")
# What a write that was killed leaves beside its file.
_UNWRITTEN = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp", re.DOTALL)
_YOUNG = 86400
_DRILL_LIMIT = 16 * 1024 * 1024
_LINKS = 40
# Whoever asks whether a set is in use holds its lock for a moment, so one refusal says nothing yet. In seconds.
_PATIENCE = 2.0
_PROBE = 0.1
_PAUSE = 0.01

Clock = t.Callable[[], datetime.datetime]


def utc_now() -> datetime.datetime:
    """Return the time of the clock on the wall."""
    return datetime.datetime.now(datetime.timezone.utc)


# --- what is in a store


class Drill(t.NamedTuple):
    """One drill of a set: its number (1 for the first), its time by the clock of then, its status and its report.

    The report is None where the file cannot be read; the status is unknown then.
    """

    number: int
    time: str
    path: str
    status: str
    report: Json | None


@dataclass(frozen=True)
class Entry:
    """One set as it is found.

    ``damage`` is a sentence where the set can not be used, then it never
    counts; ``manifest`` is None where it cannot be read. ``drill`` is the newest
    drill. ``held`` is the reason for which somebody wants it to stay.
    ``sha256`` is that of the manifest.
    """

    id: str
    path: str
    manifest: Manifest | None = None
    damage: str | None = None
    drill: Drill | None = None
    held: str | None = None
    in_use: bool = False
    sha256: str | None = None

    @property
    def verified(self) -> bool:
        """Say whether the newest drill proved the set, and it is still whole."""
        return self.damage is None and self.manifest is not None and self.drill is not None and self.drill.status == OK

    @property
    def sequence(self) -> int:
        """Return the place in the order of sets, 0 where the manifest cannot be read."""
        return self.manifest.sequence if self.manifest else 0


class Space(t.NamedTuple):
    """The file system of a path: what may still be written to it and its size, in bytes."""

    path: str
    free: int
    total: int


class Verification(t.NamedTuple):
    """What was read again of a set. ``bad`` are sentences, one for each file that is not as recorded.

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


class Partial:
    """A set in the making. As a context manager it removes itself unless it was committed."""

    def __init__(self, store: Store, set_id: str, handle: int) -> None:
        self.id = set_id
        self.path = store.partial_path(set_id)
        self._store = store
        self._handle = handle

    @property
    def open(self) -> bool:
        """Say whether it was neither committed nor discarded."""
        return self._handle >= 0

    def close(self) -> None:
        """Let the lock go."""
        if self.open:
            os.close(self._handle)
            self._handle = -1

    def discard(self) -> None:
        """Remove everything that was written."""
        if self.open:
            with _told(self.path, "cannot be removed"), contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self.path)
            self.close()

    def __enter__(self) -> Partial:
        """Return itself."""
        return self

    def __exit__(self, kind: object, *dummy: object) -> None:
        """Remove what was not committed. Why it was not is worth more than that it cannot be removed."""
        try:
            self.discard()
        except BackupError:
            if kind is None:
                raise
            self.close()


# --- errors


@contextlib.contextmanager
def _told(path: str, what: str) -> t.Iterator[None]:
    """Turn an error of the operating system into one that names the path."""
    try:
        yield
    except OSError as error:
        kind = AUTH if isinstance(error, PermissionError) else INTERNAL
        where = error.filename if isinstance(error.filename, str) and os.path.isabs(error.filename) else path
        raise BackupError(kind, f"{_shown(where)} {what}: {reason(error)}") from error


def _shown(path: str) -> str:
    """Return a path for people: names may hold newlines and bytes that are no UTF-8."""
    return path if path.isprintable() and path.isascii() else ascii(path)


# --- names as bytes
#
# A name is bytes to the system and a text in the manifest. The way between them
# must not depend on the locale that a run happens to have.


def _raw(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


# --- the store


class Store:
    """The sets of one server of one fleet below a root.

    ``owner`` is the uid and gid to which everything belongs, None for those of
    this process. ``apart`` gives places that the store must not share, by what
    they are in words, such as ``{"the data directory": "/srv/data"}``. Nothing
    is touched before ``lock``.
    """

    def __init__(
        self,
        root: str,
        fleet: str,
        server: str,
        owner: tuple[int, int] | None = None,
        clock: Clock = utc_now,
        apart: t.Mapping[str, str] | None = None,
    ) -> None:
        self.root, self.fleet, self.server = root, fleet, server
        self.uid, self.gid = owner or (os.geteuid(), os.getegid())
        self.path = os.path.join(root, fleet, server)
        self._clock = clock
        self._apart = dict(apart or {})
        self._held: int | None = None

    # --- names

    def set_path(self, set_id: str) -> str:
        """Return the directory of a set, there or not."""
        return os.path.join(self.path, "sets", check_id(set_id))

    def partial_path(self, set_id: str) -> str:
        """Return the directory in which a set is made."""
        return os.path.join(self.path, "sets", _PARTIAL + check_id(set_id))

    def _removing_path(self, set_id: str) -> str:
        return os.path.join(self.path, "sets", _REMOVING + check_id(set_id))

    def _hold_path(self, set_id: str) -> str:
        return os.path.join(self.path, "holds", check_id(set_id))

    def _drills_path(self, set_id: str) -> str:
        return os.path.join(self.path, "drills", check_id(set_id))

    def new_id(self) -> str:
        """Return an id for a set that starts now and that no other one has."""
        while True:
            set_id = new_id(self._clock(), os.urandom(2))
            if not os.path.lexists(self.set_path(set_id)) and not os.path.lexists(self.partial_path(set_id)):
                return set_id

    # --- whether the store can be here

    def problems(self) -> list[str]:
        """Return sentences that say why no sets can be kept here. Nothing is touched."""
        found = [
            problem for option in ("fleet", "server") if (problem := folder_problem(getattr(self, option), option))
        ]
        if not os.path.isabs(self.root) or os.path.normpath(self.root) in ("/", "//") or ".." in self.root.split("/"):
            found.append(
                f"root: {_shown(self.root)!r} is not the absolute path of a directory for backups; "
                "write for example /var/backups/matrixon"
            )
        if os.geteuid() not in (0, self.uid):
            found.append(
                f"root: the store {_shown(self.path)} belongs to the user with uid {self.uid}, and this is "
                f"uid {os.geteuid()}; run as that user or as root"
            )
        if not found:
            found = [*self._place_problems(), *self._apart_problems()]
        return found

    def _place_problems(self) -> t.Iterator[str]:
        trusted = (0, self.uid)
        groups = _groups(self.uid, self.gid)
        below = os.path.realpath(self.root)
        open_to_all = False
        try:
            steps = list(_steps(self.path))
        except OSError as error:
            yield f"root: {_shown(self.path)} cannot be looked at: {reason(error)}"
            return
        for path, info in steps:
            shown = _shown(path)
            ours = path == below or path.startswith(below + "/")
            if stat.S_ISLNK(info.st_mode):
                if info.st_uid not in trusted:
                    yield (
                        f"root: {shown} is a symbolic link that uid {info.st_uid} made, who could lead the backups "
                        "elsewhere; remove it, or let root make it"
                    )
            elif not stat.S_ISDIR(info.st_mode):
                yield f"root: {shown} is not a directory"
            else:
                if info.st_uid not in trusted and (ours or open_to_all):
                    yield (
                        f"root: {shown} belongs to uid {info.st_uid}, who could read or replace the backups; "
                        f"give it to uid {self.uid}, or choose another place"
                    )
                if info.st_mode & stat.S_IWOTH and not info.st_mode & stat.S_ISVTX:
                    yield (
                        f"root: everybody can rename what lies in {shown}; take the right to write there away from "
                        "others (chmod o-w), or choose another place"
                    )
                if not _may_enter(info, self.uid, groups):
                    yield f"root: {shown} cannot be entered by uid {self.uid}, to whom the store belongs (chmod o+x)"
            open_to_all = bool(info.st_mode & stat.S_IWOTH) and stat.S_ISDIR(info.st_mode)

    def _apart_problems(self) -> t.Iterator[str]:
        mine = os.path.realpath(self.path)
        for words, path in self._apart.items():
            other = os.path.realpath(path)
            if _inside(mine, other):
                yield (
                    f"root: {_shown(self.root)} lies in {words} {_shown(path)}, and would be lost together with it; "
                    "choose a place outside, best on another disk"
                )
            elif _inside(other, mine):
                yield f"root: {words} {_shown(path)} lies in the store {_shown(self.path)}; choose another place"

    def require(self) -> None:
        """Fail with everything that stands against a store here."""
        if problems := self.problems():
            raise BackupError(INTERNAL, "; ".join(problems))

    def _prepare(self) -> None:
        for path in (self.root, os.path.dirname(self.path)):
            # These may be shared with other servers, so the ones that are there stay as they are.
            if not os.path.isdir(path):
                self._make_directory(path)
        for path in (self.path, *(os.path.join(self.path, name) for name in _FOLDERS)):
            self._make_directory(path)

    def _make_directory(self, path: str) -> None:
        with _told(path, "cannot be made"):
            try:
                _files.make_directory(path, self.uid, self.gid, 0o700)
            except _files.FilesError as error:
                raise BackupError(INTERNAL, f"{_shown(path)}: {error}") from error

    # --- the lock

    @contextlib.contextmanager
    def lock(self, doing: str) -> t.Iterator[None]:
        """Hold the store for a run that makes or removes sets; fail at once where another one does.

        The directories are made. ``doing`` says in a word what the run does.
        """
        if self._held is not None:
            raise BackupError(INTERNAL, f"{self.path}: this run holds the lock already")
        self.require()
        self._prepare()
        path = os.path.join(self.path, _LOCK)
        with _told(path, "cannot be locked"):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with _told(path, "cannot be locked"):
                if not _flock(handle, fcntl.LOCK_EX):
                    raise BackupError(INTERNAL, f"{path} is held by {_holder(handle)}; wait until that run has ended")
                self._own(handle, 0o600)
                self._sign(handle, doing)
            self._held = handle
            yield
        finally:
            self._held = None
            with contextlib.suppress(OSError):
                os.ftruncate(handle, 0)
            os.close(handle)

    def _sign(self, handle: int, doing: str) -> None:
        """Write into a lock who holds it."""
        owner = {
            "pid": os.getpid(),
            "boot_id": _boot_id(),
            "start_time": _start_time(os.getpid()),
            "host": socket.gethostname(),
            "since": rfc3339(self._clock()),
            "doing": doing,
        }
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(owner).encode() + b"\n", 0)

    def _own(self, handle: int, mode: int) -> None:
        info = os.fstat(handle)
        if (info.st_uid, info.st_gid) != (self.uid, self.gid):
            os.fchown(handle, self.uid, self.gid)
        if stat.S_IMODE(info.st_mode) != mode:
            os.fchmod(handle, mode)

    def _require_lock(self, doing: str) -> None:
        if self._held is None:
            raise BackupError(INTERNAL, f"{self.path}: {doing} needs the lock of the store")

    @contextlib.contextmanager
    def in_use(self, set_id: str) -> t.Iterator[list[tuple[str, Manifest]]]:
        """Keep a set and its whole chain from being removed while it is read.

        Yields the directories and manifests from the full set to this one.
        Fails where the set or a part of its chain is not there or is damaged.
        Any number of readers may do so at once.
        """
        with contextlib.ExitStack() as stack:
            wanted = self._shared(set_id, stack)
            chain = []
            for link in wanted[1].chain:
                try:
                    chain.append(wanted if link == set_id else self._shared(link, stack))
                except BackupError as error:
                    raise BackupError(error.kind, f"set {set_id} needs set {link}: {error.message}") from error
            if problem := _chain_problem(wanted[1], {manifest.id: manifest for _path, manifest in chain}):
                raise BackupError(PARSE, f"set {set_id}: {problem}")
            yield chain

    def _shared(self, set_id: str, stack: contextlib.ExitStack) -> tuple[str, Manifest]:
        path = self.set_path(set_id)
        with _told(path, "cannot be used"):
            handle = _lockable(path, MANIFEST)
            if handle is None:
                manifest, damage, _sha256 = self._read_there(set_id)
                raise BackupError(PARSE, f"set {set_id} is damaged: {damage}")
            stack.callback(os.close, handle)
            if not _flock(handle, fcntl.LOCK_SH, _PATIENCE):
                raise BackupError(INTERNAL, f"set {set_id} is being removed")
            # It may have gone between the two calls.
            other = _lockable(path, MANIFEST)
            if other is None:
                raise BackupError(INTERNAL, f"set {set_id} was removed")
            stack.callback(os.close, other)
            if not os.path.samestat(os.fstat(handle), os.fstat(other)):
                raise BackupError(INTERNAL, f"set {set_id} was removed, and another one has its name")
        manifest, damage, _sha256 = self._read(set_id)
        if manifest is None or damage:
            raise BackupError(PARSE, f"set {set_id} is damaged: {damage}")
        return path, manifest

    # --- making a set

    def next_sequence(self) -> int:
        """Return the number of the next set: one more than any set here ever had."""
        self._require_lock("a new number")
        return 1 + max([self._recorded_sequence(), *(entry.sequence for entry in self.sets())])

    def _recorded_sequence(self) -> int:
        with _told(os.path.join(self.path, _SEQUENCE), "cannot be read"):
            content = _content(self.path, _SEQUENCE, 64)
        # Lost or damaged: the manifests say it, too.
        return int(content) if content is not None and content.strip().isdigit() else 0

    def begin(self, set_id: str) -> Partial:
        """Make the hidden directory of a new set. What a killed run left under this name is removed."""
        self._require_lock("a new set")
        path = self.partial_path(set_id)
        if os.path.lexists(self.set_path(set_id)):
            raise BackupError(
                INTERNAL, f"set {set_id} is there already, and a set is never changed; choose another name"
            )
        with _told(path, "cannot be made"):
            if os.path.lexists(path):
                self._sweep(path)
            os.mkdir(path, 0o700)
            handle = -1
            try:
                with _directory(path) as folder:
                    self._own(folder, 0o700)
                    handle = os.open(_RUN, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
                self._own(handle, 0o600)
                if not _flock(handle, fcntl.LOCK_EX):
                    raise BackupError(INTERNAL, f"{path} is in use")
                self._sign(handle, f"making set {set_id}")
                return Partial(self, set_id, handle)
            except BaseException:
                if handle >= 0:
                    os.close(handle)
                shutil.rmtree(path)
                raise

    def commit(self, partial: Partial, manifest: Manifest, unlisted: t.Collection[str] = ()) -> Entry:
        """Let a set appear: everything to the disk, the manifest, then the rename.

        Every file must be in the manifest with the length that it has, but for
        those below the directories ``unlisted``, whose driver keeps a list of
        its own; there owners, modes and links stay as they are. The checksums
        are those of the manifest; see ``digest_tree``.
        """
        self._require_lock("a new set")
        path = self.set_path(partial.id)
        self._check_new(partial, manifest)
        content = manifest.to_bytes()
        digest = hashlib.sha256(content).hexdigest()
        with _told(partial.path, "cannot be completed"):
            self._settle(partial.path, manifest, unlisted)
            self._write(os.path.join(partial.path, MANIFEST), content)
            self._write(os.path.join(partial.path, CHECKSUM), f"{digest}  {MANIFEST}\n".encode())
            os.unlink(os.path.join(partial.path, _RUN))
            _sync_directory(partial.path)
            # First the number, so that none is used twice whenever this is cut short.
            self._write(os.path.join(self.path, _SEQUENCE), b"%d\n" % manifest.sequence)
            os.rename(partial.path, path)
            _sync_directory(os.path.dirname(path))
        partial.close()
        return Entry(partial.id, path, manifest, sha256=digest)

    def _check_new(self, partial: Partial, manifest: Manifest) -> None:
        if not partial.open or partial.path != self.partial_path(partial.id):
            raise BackupError(INTERNAL, f"{partial.path} is no set in the making of this store")
        if (manifest.id, manifest.fleet, manifest.server) != (partial.id, self.fleet, self.server):
            raise BackupError(
                INTERNAL,
                f"the manifest is of set {manifest.id} of {manifest.fleet}/{manifest.server} and not of "
                f"set {partial.id} of {self.fleet}/{self.server}",
            )
        if os.path.lexists(self.set_path(partial.id)):
            raise BackupError(INTERNAL, f"set {partial.id} is there already, and a set is never changed")
        present = self.sets()
        if manifest.sequence <= max([self._recorded_sequence(), *(entry.sequence for entry in present)]):
            raise BackupError(INTERNAL, f"set {manifest.id}: its sequence {manifest.sequence} was used before")
        sound = {entry.id: entry.manifest for entry in present if entry.manifest and not entry.damage}
        if problem := _chain_problem(manifest, sound):
            raise BackupError(INTERNAL, f"set {manifest.id}: {problem}")

    def _settle(self, directory: str, manifest: Manifest, unlisted: t.Collection[str]) -> None:
        """Hold the tree to the manifest, give it to the owner, and bring it to the disk."""
        expected = {_raw(entry.path): entry.bytes for entry in manifest.files}
        trees, seen = {_raw(path) for path in unlisted}, set()
        for path in unlisted:
            if problem := path_problem(path):
                raise BackupError(INTERNAL, f"unlisted: {_shown(path)} {problem}")
        for member in _members(_raw(directory), trees):
            shown = _shown(os.path.join(directory, _text(member.path)))
            if member.path == _raw(_RUN):
                continue
            if member.path in trees:
                # No rename leads a reader to what is not on the disk yet, and one call for a large tree is enough.
                _sync_file_system(member.name, member.folder)
                seen.add(member.path)
                continue
            if stat.S_ISDIR(member.info.st_mode):
                with _directory(member.name, member.folder) as handle:
                    self._own(handle, 0o700)
                    os.fsync(handle)
                continue
            if not stat.S_ISREG(member.info.st_mode):
                raise BackupError(INTERNAL, f"{shown} is {_kind(member.info)}; a set holds files and directories only")
            size = expected.pop(member.path, None)
            if size is None:
                raise BackupError(INTERNAL, f"{shown} is in the set and not in its manifest")
            with _opened(member.name, member.folder) as handle:
                info = os.fstat(handle)
                if info.st_size != size:
                    raise BackupError(INTERNAL, f"{shown} has {info.st_size} bytes, and the manifest says {size}")
                if info.st_uid != self.uid and info.st_nlink > 1:
                    raise BackupError(INTERNAL, f"{shown} has another name elsewhere and belongs to uid {info.st_uid}")
                self._own(handle, 0o600)
                os.fsync(handle)
        if missing := trees - seen:
            raise BackupError(INTERNAL, f"{directory}: unlisted {_shown(_text(min(missing)))} is not in the set")
        if expected:
            missing_file = _shown(_text(min(expected)))
            raise BackupError(INTERNAL, f"{directory}: {missing_file} is in the manifest of the set and not in the set")

    def _write(self, path: str, content: bytes) -> None:
        """Write a file of the store, whole or not at all, and to the disk."""
        _files.replace(path, content, self.uid, self.gid, 0o600)
        _sync_directory(os.path.dirname(path))

    # --- what killed runs left

    def leftovers(self) -> list[str]:
        """Return the paths of what runs left that were killed: sets half made, half removed, files half written."""
        found = []
        for name in self._names("sets"):
            path = os.path.join(self.path, "sets", name)
            if _left_behind(name) and _is_directory(path) and self._abandoned(path):
                found.append(path)
        found += [os.path.join(self.path, name) for name in self._names("") if _UNWRITTEN.fullmatch(name)]
        # Others write these without the lock of the store, so a young one may still be in the making.
        for folder in ("holds", *(f"drills/{name}" for name in self._names("drills") if not id_problem(name))):
            for name in self._names(folder):
                path = os.path.join(self.path, folder, name)
                if _UNWRITTEN.fullmatch(name) and self._old(path):
                    found.append(path)
        return found

    def _old(self, path: str) -> bool:
        with _told(path, "cannot be looked at"):
            try:
                return self._clock().timestamp() - os.lstat(path).st_mtime > _YOUNG
            except FileNotFoundError:
                return False

    def sweep(self) -> list[str]:
        """Remove the leftovers and return their paths. Nothing else is touched."""
        self._require_lock("sweeping")
        found = self.leftovers()
        for path in found:
            self._sweep(path)
        return found

    def _sweep(self, path: str) -> None:
        with _told(path, "is left over from a run that was killed and cannot be removed"):
            if not _is_directory(path):
                os.unlink(path)
            elif self._abandoned(path):
                shutil.rmtree(path)
            else:
                raise BackupError(INTERNAL, f"{path} is in use by another run")

    def _abandoned(self, path: str) -> bool:
        """Say whether no run is at work in a hidden directory of sets."""
        return not any(self._locked(path, name) for name in (_RUN, MANIFEST))

    def _locked(self, path: str, name: str) -> bool:
        """Say whether somebody holds a lock on a file of a set."""
        with _told(path, "cannot be looked at"):
            handle = _lockable(path, name, exclusive=True)
            if handle is None:
                return False
            try:
                return not _flock(handle, fcntl.LOCK_EX, _PROBE)
            finally:
                os.close(handle)

    # --- looking

    def _names(self, folder: str) -> list[str]:
        """Return the names in a directory of the store; none where it is not there."""
        path = os.path.join(self.path, folder) if folder else self.path
        with _told(path, "cannot be read"):
            try:
                return sorted(os.listdir(path))
            except FileNotFoundError:
                return []

    def sets(self) -> list[Entry]:
        """Return all sets, oldest first by their sequence; those that cannot be read come before."""
        found = [self._entry(name) for name in self._names("sets") if not name.startswith(".")]
        # Without the lock one may have gone meanwhile.
        found = [entry for entry in found if entry.damage is None or os.path.lexists(entry.path)]
        sound = {entry.id: entry.manifest for entry in found if entry.manifest and not entry.damage}
        result = []
        for entry in found:
            if entry.manifest and not entry.damage and (problem := _chain_problem(entry.manifest, sound)):
                entry = replace(entry, damage=problem)
            result.append(entry)
        return sorted(result, key=lambda entry: (entry.sequence, entry.id))

    def entry(self, set_id: str) -> Entry:
        """Return one set, or fail where it is not there."""
        check_id(set_id)
        for entry in self.sets():
            if entry.id == set_id:
                return entry
        raise BackupError(INTERNAL, f"there is no set {set_id} in {os.path.join(self.path, 'sets')}")

    def chain(self, set_id: str) -> list[Entry]:
        """Return the sets from the full one to this one, or fail where one is not there or is damaged."""
        entries = {entry.id: entry for entry in self.sets()}
        wanted = entries.get(check_id(set_id))
        if wanted is None:
            raise BackupError(INTERNAL, f"there is no set {set_id} in {os.path.join(self.path, 'sets')}")
        if wanted.manifest is None or wanted.damage:
            raise BackupError(PARSE, f"set {set_id} is damaged: {wanted.damage}")
        return [entries[link] for link in wanted.manifest.chain]

    def _entry(self, name: str) -> Entry:
        path = os.path.join(self.path, "sets", name)
        if id_problem(name):
            return Entry(name, path, damage="its name is none that a set can have")
        manifest, damage, sha256 = self._read(name)
        return Entry(
            name,
            path,
            manifest,
            damage,
            self._newest_drill(name, sha256),
            self.hold_reason(name),
            self._locked(path, MANIFEST),
            sha256,
        )

    def _read(self, set_id: str) -> tuple[Manifest | None, str | None, str | None]:
        """Return the manifest of a set, what is wrong with it, and its checksum."""
        path = self.set_path(set_id)
        try:
            if not _is_directory(path):
                return None, f"it is {_kind(os.lstat(path))} and not a directory", None
            content, recorded = (_content(path, name, MAX_BYTES) for name in (MANIFEST, CHECKSUM))
        except PermissionError as error:
            # What may not be read is not damaged.
            raise BackupError(AUTH, f"{path} cannot be read: {reason(error)}") from error
        except OSError as error:
            return None, f"it cannot be read: {reason(error)}", None
        if content is None:
            return None, f"it has no readable {MANIFEST}", None
        digest = hashlib.sha256(content).hexdigest()
        try:
            manifest = Manifest.from_bytes(content)
        except BackupError as error:
            return None, error.message, digest
        if recorded is None or recorded.split() != [digest.encode(), MANIFEST.encode()]:
            return manifest, f"{MANIFEST} does not have the checksum that {CHECKSUM} says", digest
        if manifest.id != set_id:
            return manifest, f"its manifest is that of set {manifest.id}", digest
        if (manifest.fleet, manifest.server) != (self.fleet, self.server):
            return manifest, f"it belongs to {manifest.fleet}/{manifest.server}", digest
        return manifest, None, digest

    # --- proof of the content

    def verify_files(self, entry: Entry, deadline: Deadline, shares: int = 1, turn: int | None = None) -> Verification:
        """Read files of a set again and compare them with their recorded checksums.

        With ``shares`` of n only every n-th part of the bytes is read, in the
        order of the manifest; ``turn`` says which, None the number of the day,
        so that n days read all. A file is read whole or not at all. Hits the
        deadline's failure where nothing bad was found before.
        """
        manifest = entry.manifest
        if manifest is None:
            raise BackupError(PARSE, f"set {entry.id} is damaged: {entry.damage}")
        if turn is None:
            turn = int(self._clock().timestamp()) // 86400
        total = sum(file.bytes for file in manifest.files)
        files = _share(manifest.files, total, shares, turn)
        bad: list[str] = []
        count = size = 0
        for file in files:
            try:
                problem, length = _compare(entry.path, file, deadline)
            except ProbeFailure as error:
                if bad and not isinstance(error, BackupError):
                    return Verification(count, size, len(manifest.files), total, tuple(bad), False)
                raise
            if problem:
                bad.append(f"{_shown(file.path)} {problem}")
            count, size = count + 1, size + length
        return Verification(count, size, len(manifest.files), total, tuple(bad))

    # --- removal

    def remove(self, set_id: str) -> None:
        """Remove a set. Refuses one that is held, is being read, or that another set needs."""
        self._require_lock("removing a set")
        path, away = self.set_path(set_id), self._removing_path(set_id)
        entries = self.sets()
        if set_id not in {entry.id for entry in entries}:
            raise BackupError(INTERNAL, f"there is no set {set_id} in {os.path.dirname(path)}")
        children = [entry.id for entry in entries if entry.manifest and set_id in entry.manifest.chain[:-1]]
        if children:
            raise BackupError(
                INTERNAL, f"set {set_id} cannot be removed: set {', '.join(children)} cannot do without it"
            )
        with _told(path, "cannot be removed"), contextlib.ExitStack() as stack:
            if not _is_directory(path):
                raise BackupError(INTERNAL, f"{path} is {_kind(os.lstat(path))}, and no set; look at it yourself")
            handle = _lockable(path, MANIFEST, exclusive=True)
            if handle is not None:
                stack.callback(os.close, handle)
                if not _flock(handle, fcntl.LOCK_EX, _PATIENCE):
                    raise BackupError(
                        INTERNAL, f"set {set_id} is in use by a restore or a drill; wait until it has ended"
                    )
            # Nobody can put a hold on it now: that takes the same lock.
            if held := self.hold_reason(set_id):
                raise BackupError(INTERNAL, f"set {set_id} is held: {held}; release it first")
            if os.path.lexists(away):
                shutil.rmtree(away)
            os.rename(path, away)
            _sync_directory(os.path.dirname(path))
            shutil.rmtree(away)

    # --- drills

    def record_drill(self, set_id: str, document: Json) -> str:
        """Write down what a drill found, and return the path. ``document`` is a report.

        The set's id and the checksum of its manifest are put into the facts: a
        later set of the same name has to prove itself anew.
        """
        path = self._drills_path(set_id)
        if not isinstance(document.get("status"), str):
            raise BackupError(INTERNAL, f"the drill of set {set_id} has no status")
        _manifest, _damage, sha256 = self._read_there(set_id)
        facts = {**document.get("facts", {}), "set": set_id, "manifest_sha256": sha256}
        content = json.dumps({**document, "facts": facts}, sort_keys=True, indent=1, ensure_ascii=True).encode() + b"\n"
        self._make_directory(path)
        while True:
            number = 1 + max((drill[0] for drill in self._drill_names(set_id)), default=0)
            target = os.path.join(path, f"{self._clock():%Y%m%dT%H%M%SZ}-{number:04d}.json")
            with _told(target, "cannot be written"), contextlib.suppress(FileExistsError):
                self._write_new(target, content)
                return target

    def _write_new(self, path: str, content: bytes) -> None:
        """Write a file that must not be there yet, whole or not at all, and to the disk."""
        folder = os.path.dirname(path)
        handle, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", suffix=".tmp", dir=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                self._own(file.fileno(), 0o600)
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)
        finally:
            os.unlink(temporary)
        _sync_directory(folder)

    def _read_there(self, set_id: str) -> tuple[Manifest | None, str | None, str | None]:
        if not os.path.lexists(self.set_path(set_id)):
            raise BackupError(INTERNAL, f"there is no set {set_id} in {os.path.join(self.path, 'sets')}")
        return self._read(set_id)

    def _drill_names(self, set_id: str) -> list[tuple[int, str, str]]:
        """Return number, time and name of each drill of a set, oldest first."""
        matches = [_DRILL.fullmatch(name) for name in self._names(f"drills/{check_id(set_id)}")]
        return sorted((int(match[2]), match[1], match[0]) for match in matches if match)

    def drills(self, set_id: str) -> list[Drill]:
        """Return the drills of a set, oldest first, without those of an earlier set of the same name."""
        _manifest, _damage, sha256 = self._read_there(set_id)
        found = [self._drill(set_id, *names) for names in self._drill_names(set_id)]
        return [drill for drill in found if _is_of(drill, sha256)]

    def _newest_drill(self, set_id: str, sha256: str | None) -> Drill | None:
        drills = (self._drill(set_id, *names) for names in reversed(self._drill_names(set_id)))
        return next((drill for drill in drills if _is_of(drill, sha256)), None)

    def _drill(self, set_id: str, number: int, moment: str, name: str) -> Drill:
        folder = self._drills_path(set_id)
        path = os.path.join(folder, name)
        with _told(path, "cannot be read"):
            content = _content(folder, name, _DRILL_LIMIT)
        try:
            report = json.loads(content or b"")
            return Drill(number, moment, path, str(report["status"]), report)
        except (ValueError, KeyError, TypeError, RecursionError):
            return Drill(number, moment, path, UNKNOWN, None)

    # --- holds

    def hold(self, set_id: str, why: str) -> bool:
        """Keep a set from being removed until it is released; say whether that changed anything."""
        path = self._hold_path(set_id)
        if not why.strip():
            raise BackupError(
                INTERNAL, f"hold: say why set {set_id} is to stay; whoever meets the hold later must know"
            )
        with contextlib.ExitStack() as stack:
            # A removal that has begun is not stopped any more.
            self._read_there(set_id)
            handle = _lockable(self.set_path(set_id), MANIFEST)
            if handle is not None:
                stack.callback(os.close, handle)
                if not _flock(handle, fcntl.LOCK_SH, _PATIENCE):
                    raise BackupError(INTERNAL, f"set {set_id} is being removed")
            self._read_there(set_id)
            if self.hold_reason(set_id) == why:
                return False
            document = {"reason": why, "since": rfc3339(self._clock())}
            with _told(path, "cannot be written"):
                self._write(path, json.dumps(document, sort_keys=True).encode() + b"\n")
        return True

    def release(self, set_id: str) -> bool:
        """Take the hold of a set away; say whether there was one."""
        path = self._hold_path(set_id)
        with _told(path, "cannot be removed"):
            try:
                os.unlink(path)
            except FileNotFoundError:
                return False
            _sync_directory(os.path.dirname(path))
        return True

    def hold_reason(self, set_id: str) -> str | None:
        """Return why a set is held, or None. A hold that cannot be read is one."""
        path = self._hold_path(set_id)
        if not os.path.lexists(path):
            return None
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            content = _content(os.path.dirname(path), set_id, 1 << 16)
            return str(json.loads(content or b"")["reason"])
        return f"{_shown(path)} does not say why"

    # --- the catalog

    def write_catalog(self) -> str:
        """Write what there is for people and other programs, and return the path. Nothing here reads it."""
        self._require_lock("the catalog")
        path = os.path.join(self.path, _CATALOG)
        document = {
            "schema": CATALOG_SCHEMA,
            "written": rfc3339(self._clock()),
            "fleet": self.fleet,
            "server": self.server,
            "sets": [summary(entry) for entry in self.sets()],
        }
        with _told(path, "cannot be written"):
            self._write(path, json.dumps(document, sort_keys=True, indent=1).encode() + b"\n")
        return path

    # --- space

    def space(self) -> Space:
        """Return what may still be written to the store."""
        return space(self.path)

    def require_space(self, needed: int, reserve: int = 0) -> None:
        """Fail where so many bytes, with so many left over, do not fit into the store."""
        require_space(self.path, needed, reserve)


def summary(entry: Entry) -> Json:
    """Return what is worth knowing of a set without its files and tables."""
    manifest, drill = entry.manifest, entry.drill
    result: Json = {
        "id": entry.id,
        "verified": entry.verified,
        "damage": entry.damage,
        "held": entry.held,
        "in_use": entry.in_use,
        "drill": drill and {"number": drill.number, "time": drill.time, "status": drill.status},
    }
    if manifest:
        result.update(
            sequence=manifest.sequence,
            kind=manifest.kind,
            chain=list(manifest.chain),
            created=rfc3339(manifest.created),
            finished=rfc3339(manifest.finished),
            bytes=manifest.stored_bytes,
            components=sorted(manifest.components),
            manifest_sha256=entry.sha256,
        )
    return result


# --- space


def space(path: str) -> Space:
    """Return what may still be written to the file system of a path, which need not be there yet."""
    place = path
    while not os.path.isdir(place) and place != os.path.dirname(place):
        place = os.path.dirname(place)
    with _told(path, "cannot be measured"):
        found = os.statvfs(place)
    # Not what root may use beyond that: the server's own user writes here.
    return Space(path, found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def require_space(path: str, needed: int, reserve: int = 0) -> None:
    """Fail where so many bytes, with so many left over, do not fit."""
    found = space(path)
    if needed + reserve > found.free:
        kept = f" and {human(reserve, 'B')} are to stay free" if reserve else ""
        raise BackupError(
            INTERNAL,
            f"{_shown(path)} has too little space: {human(needed, 'B')} ({needed} bytes) are needed{kept}, and "
            f"{human(found.free, 'B')} ({found.free} bytes) are free; make room, or choose another place",
        )


# --- checksums


def digest_tree(directory: str, deadline: Deadline, below: str = "") -> tuple[FileEntry, ...]:
    """Return the files in a directory with their lengths and checksums, ordered by their paths.

    ``below`` is put before each path, for a directory of a set. Fails at
    anything but files and directories, and at a file that changes meanwhile.
    """
    found = []
    with _told(directory, "cannot be read"):
        for member in _members(_raw(directory)):
            path = os.path.join(below, _text(member.path))
            if stat.S_ISDIR(member.info.st_mode):
                continue
            if not stat.S_ISREG(member.info.st_mode):
                where = _shown(os.path.join(directory, _text(member.path)))
                raise BackupError(INTERNAL, f"{where} is {_kind(member.info)}; a set holds files and directories only")
            with _opened(member.name, member.folder) as handle:
                before = os.fstat(handle)
                length, digest = _digest(handle, deadline, path)
                after = os.fstat(handle)
            if length != before.st_size or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise BackupError(INTERNAL, f"{_shown(os.path.join(directory, path))} changed while it was read")
            found.append(FileEntry(path, length, digest))
    return tuple(sorted(found, key=lambda entry: _raw(entry.path)))


def _digest(handle: int, deadline: Deadline, path: str) -> tuple[int, str]:
    digest, length = hashlib.sha256(), 0
    while chunk := os.read(handle, _CHUNK):
        deadline.require(f"reading {_shown(path)}")
        digest.update(chunk)
        length += len(chunk)
    return length, digest.hexdigest()


def _compare(directory: str, file: FileEntry, deadline: Deadline) -> tuple[str | None, int]:
    """Return what is wrong with a file of a set, or None, and how many bytes were read."""
    deadline.require(f"reading {_shown(file.path)}")
    try:
        handle = _open_below(directory, file.path)
    except FileNotFoundError:
        return "is missing", 0
    except PermissionError as error:
        raise BackupError(AUTH, f"{directory}/{_shown(file.path)} cannot be read: {reason(error)}") from error
    except OSError as error:
        return f"cannot be opened: {reason(error)}", 0
    try:
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode):
            return f"is {_kind(info)}", 0
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


# --- chains and drills


def _chain_problem(manifest: Manifest, sound: t.Mapping[str, Manifest]) -> str | None:
    """Return what is wrong with the chain of a set, given the sets that are not damaged themselves, or None."""
    for place, link in enumerate(manifest.chain[:-1]):
        other = sound.get(link)
        if other is None:
            return f"its chain is broken: set {link} is missing or damaged"
        if other.chain != manifest.chain[: place + 1] or other.sequence >= manifest.sequence:
            return f"its chain is broken: set {link} is not the one that it was made on"
    return None


def _is_of(drill: Drill, sha256: str | None) -> bool:
    """Say whether a drill was one of the set that has this manifest. One that cannot be read may be."""
    if drill.report is None:
        return True
    facts = drill.report.get("facts")
    return isinstance(facts, dict) and sha256 is not None and facts.get("manifest_sha256") == sha256


# --- files


class _Member(t.NamedTuple):
    """Something in a tree: its path from the top, its name, the open directory it is in, and what it is."""

    path: bytes
    name: bytes
    folder: int
    info: os.stat_result


def _members(top: bytes, without: t.Collection[bytes] = ()) -> t.Iterator[_Member]:
    """Yield everything below a directory and follow no link. What is below ``without`` is left out, itself not."""
    for place, folders, files, handle in os.fwalk(top, onerror=_fail, follow_symlinks=False):
        below = place[len(top) :].lstrip(b"/")
        paths = {name: os.path.join(below, name) for name in (*folders, *files)}
        folders[:] = [name for name in folders if paths[name] not in without]
        for name, path in paths.items():
            yield _Member(path, name, handle, os.stat(name, dir_fd=handle, follow_symlinks=False))


def _fail(error: OSError) -> None:
    raise error


@contextlib.contextmanager
def _opened(name: str | bytes, folder: int | None = None, flags: int = 0) -> t.Iterator[int]:
    """Open a file for reading, without following a link or waiting for a pipe."""
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | flags, dir_fd=folder)
    try:
        yield handle
    finally:
        os.close(handle)


def _directory(name: str | bytes, folder: int | None = None) -> contextlib.AbstractContextManager[int]:
    return _opened(name, folder, os.O_DIRECTORY)


def _open_below(directory: str, path: str, access: int = os.O_RDONLY) -> int:
    """Open a file below a directory without following a link on the way; the caller closes it."""
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    *folders, name = _raw(path).split(b"/")
    here = os.open(directory, flags | os.O_RDONLY | os.O_DIRECTORY)
    try:
        for folder in folders:
            below = os.open(folder, flags | os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
            os.close(here)
            here = below
        return os.open(name, flags | access, dir_fd=here)
    finally:
        os.close(here)


def _content(directory: str, name: str, limit: int) -> bytes | None:
    """Return what a file of a directory holds; None where there is no such file, or a longer one."""
    try:
        handle = _open_below(directory, name)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        # Not a byte more than the limit and one, whatever the file has become.
        with os.fdopen(os.dup(handle), "rb") as file:
            content = file.read(limit + 1)
    finally:
        os.close(handle)
    return content if len(content) <= limit else None


def _lockable(directory: str, name: str, exclusive: bool = False) -> int | None:
    """Open a file to lock it; None where there is none. NFS gives an exclusive lock to a writer only."""
    for access in (os.O_RDWR, os.O_RDONLY) if exclusive else (os.O_RDONLY,):
        try:
            handle = _open_below(directory, name, access)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR):
                return None
            if access == os.O_RDONLY or error.errno not in (errno.EACCES, errno.EROFS):
                raise
        else:
            return handle
    return None


def _flock(handle: int, operation: int, patience: float = 0.0) -> bool:
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


def _is_directory(path: str) -> bool:
    """Say whether there is a directory, and not a link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _kind(info: os.stat_result) -> str:
    """Return in words what something is."""
    kinds = {
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFDIR: "a directory",
        stat.S_IFREG: "a file",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(info.st_mode), "a device")


def _left_behind(name: str) -> bool:
    """Say whether a name is one of those that a run gives to what is not a set yet, or no more."""
    return any(name.startswith(prefix) and not id_problem(name[len(prefix) :]) for prefix in (_PARTIAL, _REMOVING))


def _sync_directory(path: str) -> None:
    with _directory(path) as handle:
        os.fsync(handle)


def _sync_file_system(name: bytes, folder: int) -> None:
    """Bring all that was written to a directory's file system to the disk."""
    with _directory(name, folder) as handle:
        library = ctypes.CDLL(None, use_errno=True)
        if not hasattr(library, "syncfs"):
            os.sync()
        elif library.syncfs(handle):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


# --- who may do what


def _steps(path: str) -> t.Iterator[tuple[str, os.stat_result]]:
    """Yield all that the system passes on its way along a path, links and their targets, as far as it is there."""
    here, hops = "/", 0
    yield here, os.lstat(here)
    parts = path.split("/")[::-1]
    while parts:
        part = parts.pop()
        if part in ("", "."):
            continue
        if part == "..":
            here = os.path.dirname(here)
            continue
        there = os.path.join(here, part)
        try:
            info = os.lstat(there)
        except (FileNotFoundError, NotADirectoryError):
            return
        yield there, info
        if not stat.S_ISLNK(info.st_mode):
            here = there
            continue
        hops += 1
        if hops > _LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        target = os.readlink(there)
        parts += target.split("/")[::-1]
        if target.startswith("/"):
            here = "/"


def _inside(path: str, other: str) -> bool:
    """Say whether a path is another one, or below it."""
    return path == other or path.startswith(other.rstrip("/") + "/")


def _groups(uid: int, gid: int) -> set[int]:
    try:
        return set(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
    except KeyError:
        return {gid}


def _may_enter(info: os.stat_result, uid: int, groups: set[int]) -> bool:
    if uid == 0:
        return True
    if info.st_uid == uid:
        return bool(info.st_mode & stat.S_IXUSR)
    return bool(info.st_mode & (stat.S_IXGRP if info.st_gid in groups else stat.S_IXOTH))


# --- who holds a lock


def _boot_id() -> str:
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
    return ""


def _start_time(pid: int) -> int | None:
    """Return when a process began, in ticks since the start of the system; None where it is not there."""
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])
    return None


def _holder(handle: int) -> str:
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
