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
import datetime
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.matrixon.ops.plugins.module_utils import _files
from ansible_collections.matrixon.ops.plugins.module_utils._backup import locks, place, tree
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import (
    CHECKSUM,
    MANIFEST,
    MAX_BYTES,
    Json,
    Manifest,
    check_id,
    folder_problem,
    id_problem,
    new_id,
    path_problem,
)
from ansible_collections.matrixon.ops.plugins.module_utils._net import reason
from ansible_collections.matrixon.ops.plugins.module_utils._probe import AUTH, INTERNAL, PARSE, Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import OK, UNKNOWN, rfc3339

CATALOG_SCHEMA = "matrixon.ops/backup-catalog/1"

_LOCK = ".lock"
_RUN = ".run"
_SEQUENCE = ".sequence"
_PARTIAL = ".partial-"
_REMOVING = ".removing-"
_CATALOG = "catalog.json"
_FOLDERS = ("sets", "drills", "holds")

# A name of a drill: when it ended, for people, and its number, for the order. A clock may jump back.
_DRILL = re.compile(r"([0-9]{8}T[0-9]{6}Z)-([0-9]{4,9})\.json")
# What a write that was killed leaves beside its file.
_UNWRITTEN = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp", re.DOTALL)
_YOUNG = 86400
_DRILL_LIMIT = 16 * 1024 * 1024
# Whoever asks whether a set is in use holds its lock for a moment, so one refusal says nothing yet. In seconds.
_PATIENCE = 2.0
_PROBE = 0.1

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


class Partial:
    """A set in the making. As a context manager it removes itself unless it was committed."""

    def __init__(self, store: Store, set_id: str, handle: int) -> None:
        self.id = set_id
        self.path = store.partial_path(set_id)
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
            with tree.told(self.path, "cannot be removed"), contextlib.suppress(FileNotFoundError):
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

    @property
    def partial_prefix(self) -> str:
        """Return how the paths of all sets in the making begin."""
        return os.path.join(self.path, "sets", _PARTIAL)

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
                f"root: {tree.shown(self.root)!r} is not the absolute path of a directory for backups; "
                "write for example /var/backups/matrixon"
            )
        if os.geteuid() not in (0, self.uid):
            found.append(
                f"root: the store {tree.shown(self.path)} belongs to the user with uid {self.uid}, and this is "
                f"uid {os.geteuid()}; run as that user or as root"
            )
        if not found:
            found = [
                *place.problems(self.root, self.path, self.uid, self.gid),
                *place.apart_problems(self.root, self.path, self._apart),
            ]
        return found

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
        with tree.told(path, "cannot be made"):
            try:
                _files.make_directory(path, self.uid, self.gid, 0o700)
            except _files.FilesError as error:
                raise BackupError(INTERNAL, f"{tree.shown(path)}: {error}") from error

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
        with tree.told(path, "cannot be locked"):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with tree.told(path, "cannot be locked"):
                if not locks.take(handle, locks.EXCLUSIVE):
                    raise BackupError(
                        INTERNAL, f"{path} is held by {locks.holder(handle)}; wait until that run has ended"
                    )
                self._own(handle, 0o600)
                locks.sign(handle, doing, self._clock())
            self._held = handle
            yield
        finally:
            self._held = None
            with contextlib.suppress(OSError):
                os.ftruncate(handle, 0)
            os.close(handle)

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
        with tree.told(path, "cannot be used"):
            handle = locks.open_file(path, MANIFEST)
            if handle is None:
                manifest, damage, _sha256 = self._read_there(set_id)
                raise BackupError(PARSE, f"set {set_id} is damaged: {damage}")
            stack.callback(os.close, handle)
            if not locks.take(handle, locks.SHARED, _PATIENCE):
                raise BackupError(INTERNAL, f"set {set_id} is being removed")
            # It may have gone between the two calls.
            other = locks.open_file(path, MANIFEST)
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
        with tree.told(os.path.join(self.path, _SEQUENCE), "cannot be read"):
            content = tree.content(self.path, _SEQUENCE, 64)
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
        with tree.told(path, "cannot be made"):
            if os.path.lexists(path):
                self._sweep(path)
            os.mkdir(path, 0o700)
            handle = -1
            try:
                with tree.directory(path) as folder:
                    self._own(folder, 0o700)
                    handle = os.open(_RUN, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
                self._own(handle, 0o600)
                if not locks.take(handle, locks.EXCLUSIVE):
                    raise BackupError(INTERNAL, f"{path} is in use")
                locks.sign(handle, f"making set {set_id}", self._clock())
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
        are those of the manifest; see ``tree.digest_tree``.
        """
        self._require_lock("a new set")
        path = self.set_path(partial.id)
        self._check_new(partial, manifest)
        content = manifest.to_bytes()
        digest = hashlib.sha256(content).hexdigest()
        with tree.told(partial.path, "cannot be completed"):
            self._settle(partial.path, manifest, unlisted)
            self._write(os.path.join(partial.path, MANIFEST), content)
            self._write(os.path.join(partial.path, CHECKSUM), f"{digest}  {MANIFEST}\n".encode())
            os.unlink(os.path.join(partial.path, _RUN))
            tree.sync_directory(partial.path)
            # First the number, so that none is used twice whenever this is cut short.
            self._write(os.path.join(self.path, _SEQUENCE), b"%d\n" % manifest.sequence)
            os.rename(partial.path, path)
            tree.sync_directory(os.path.dirname(path))
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
        expected = {tree.raw(entry.path): entry.bytes for entry in manifest.files}
        trees, seen = {tree.raw(path) for path in unlisted}, set()
        for path in unlisted:
            if problem := path_problem(path):
                raise BackupError(INTERNAL, f"unlisted: {tree.shown(path)} {problem}")
        for member in tree.members(tree.raw(directory), trees):
            shown = tree.shown(os.path.join(directory, tree.text(member.path)))
            if member.path == tree.raw(_RUN):
                continue
            if member.path in trees:
                # No rename leads a reader to what is not on the disk yet, and one call for a large tree is enough.
                tree.sync_file_system(member.name, member.folder)
                seen.add(member.path)
                continue
            if stat.S_ISDIR(member.info.st_mode):
                with tree.directory(member.name, member.folder) as handle:
                    self._own(handle, 0o700)
                    os.fsync(handle)
                continue
            if not stat.S_ISREG(member.info.st_mode):
                raise BackupError(INTERNAL, f"{shown} is {tree.kind_of(member.info)}; {tree.ONLY}")
            size = expected.pop(member.path, None)
            if size is None:
                raise BackupError(INTERNAL, f"{shown} is in the set and not in its manifest")
            with tree.opened(member.name, member.folder) as handle:
                info = os.fstat(handle)
                if info.st_size != size:
                    raise BackupError(INTERNAL, f"{shown} has {info.st_size} bytes, and the manifest says {size}")
                if info.st_uid != self.uid and info.st_nlink > 1:
                    raise BackupError(INTERNAL, f"{shown} has another name elsewhere and belongs to uid {info.st_uid}")
                self._own(handle, 0o600)
                os.fsync(handle)
        if missing := trees - seen:
            raise BackupError(
                INTERNAL, f"{directory}: unlisted {tree.shown(tree.text(min(missing)))} is not in the set"
            )
        if expected:
            missing_file = tree.shown(tree.text(min(expected)))
            raise BackupError(INTERNAL, f"{directory}: {missing_file} is in the manifest of the set and not in the set")

    def _write(self, path: str, content: bytes) -> None:
        """Write a file of the store, whole or not at all, and to the disk."""
        _files.replace(path, content, self.uid, self.gid, 0o600)
        tree.sync_directory(os.path.dirname(path))

    # --- what killed runs left

    def leftovers(self) -> list[str]:
        """Return the paths of what runs left that were killed: sets half made, half removed, files half written."""
        found = []
        for name in self._names("sets"):
            path = os.path.join(self.path, "sets", name)
            if _left_behind(name) and tree.is_directory(path) and self._abandoned(path):
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
        with tree.told(path, "cannot be looked at"):
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
        with tree.told(path, "is left over from a run that was killed and cannot be removed"):
            if not tree.is_directory(path):
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
        with tree.told(path, "cannot be looked at"):
            handle = locks.open_file(path, name, exclusive=True)
            if handle is None:
                return False
            try:
                return not locks.take(handle, locks.EXCLUSIVE, _PROBE)
            finally:
                os.close(handle)

    # --- looking

    def _names(self, folder: str) -> list[str]:
        """Return the names in a directory of the store; none where it is not there."""
        path = os.path.join(self.path, folder) if folder else self.path
        with tree.told(path, "cannot be read"):
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
            if not tree.is_directory(path):
                return None, f"it is {tree.kind_of(os.lstat(path))} and not a directory", None
            content, recorded = (tree.content(path, name, MAX_BYTES) for name in (MANIFEST, CHECKSUM))
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

    def verify_files(
        self, entry: Entry, deadline: Deadline, shares: int = 1, turn: int | None = None
    ) -> tree.Verification:
        """Read files of a set again and compare them with their recorded checksums, see ``tree.verify``.

        ``turn`` is the number of the day where it is None, so with n shares n
        days in a row read all.
        """
        manifest = entry.manifest
        if manifest is None:
            raise BackupError(PARSE, f"set {entry.id} is damaged: {entry.damage}")
        if turn is None:
            turn = int(self._clock().timestamp()) // 86400
        return tree.verify(entry.path, manifest.files, deadline, shares, turn)

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
        with tree.told(path, "cannot be removed"), contextlib.ExitStack() as stack:
            if not tree.is_directory(path):
                raise BackupError(
                    INTERNAL, f"{path} is {tree.kind_of(os.lstat(path))}, and no set; look at it yourself"
                )
            handle = locks.open_file(path, MANIFEST, exclusive=True)
            if handle is not None:
                stack.callback(os.close, handle)
                if not locks.take(handle, locks.EXCLUSIVE, _PATIENCE):
                    raise BackupError(
                        INTERNAL, f"set {set_id} is in use by a restore or a drill; wait until it has ended"
                    )
            # Nobody can put a hold on it now: that takes the same lock.
            if held := self.hold_reason(set_id):
                raise BackupError(INTERNAL, f"set {set_id} is held: {held}; release it first")
            if os.path.lexists(away):
                shutil.rmtree(away)
            os.rename(path, away)
            tree.sync_directory(os.path.dirname(path))
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
            with tree.told(target, "cannot be written"), contextlib.suppress(FileExistsError):
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
        tree.sync_directory(folder)

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
        with tree.told(path, "cannot be read"):
            content = tree.content(folder, name, _DRILL_LIMIT)
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
            handle = locks.open_file(self.set_path(set_id), MANIFEST)
            if handle is not None:
                stack.callback(os.close, handle)
                if not locks.take(handle, locks.SHARED, _PATIENCE):
                    raise BackupError(INTERNAL, f"set {set_id} is being removed")
            # A removal that has begun is not stopped any more.
            self._read_there(set_id)
            if self.hold_reason(set_id) == why:
                return False
            document = {"reason": why, "since": rfc3339(self._clock())}
            with tree.told(path, "cannot be written"):
                self._write(path, json.dumps(document, sort_keys=True).encode() + b"\n")
        return True

    def release(self, set_id: str) -> bool:
        """Take the hold of a set away; say whether there was one."""
        path = self._hold_path(set_id)
        with tree.told(path, "cannot be removed"):
            try:
                os.unlink(path)
            except FileNotFoundError:
                return False
            tree.sync_directory(os.path.dirname(path))
        return True

    def hold_reason(self, set_id: str) -> str | None:
        """Return why a set is held, or None. A hold that cannot be read is one."""
        path = self._hold_path(set_id)
        if not os.path.lexists(path):
            return None
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            content = tree.content(os.path.dirname(path), set_id, 1 << 16)
            return str(json.loads(content or b"")["reason"])
        return f"{tree.shown(path)} does not say why"

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
        with tree.told(path, "cannot be written"):
            self._write(path, json.dumps(document, sort_keys=True, indent=1).encode() + b"\n")
        return path

    # --- space

    def space(self) -> place.Space:
        """Return what may still be written to the store."""
        return place.space(self.path)

    def require_space(self, needed: int, reserve: int = 0) -> None:
        """Fail where so many bytes, with so many left over, do not fit into the store."""
        place.require_space(self.path, needed, reserve)


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


# --- chains and drills


def _chain_problem(manifest: Manifest, sound: t.Mapping[str, Manifest]) -> str | None:
    """Return what is wrong with the chain of a set, given the sets that are not damaged themselves, or None."""
    for depth, link in enumerate(manifest.chain[:-1]):
        other = sound.get(link)
        if other is None:
            return f"its chain is broken: set {link} is missing or damaged"
        if other.chain != manifest.chain[: depth + 1] or other.sequence >= manifest.sequence:
            return f"its chain is broken: set {link} is not the one that it was made on"
    return None


def _is_of(drill: Drill, sha256: str | None) -> bool:
    """Say whether a drill was one of the set that has this manifest. One that cannot be read may be."""
    if drill.report is None:
        return True
    facts = drill.report.get("facts")
    return isinstance(facts, dict) and sha256 is not None and facts.get("manifest_sha256") == sha256


def _left_behind(name: str) -> bool:
    """Say whether a name is one of those that a run gives to what is not a set yet, or no more."""
    return any(name.startswith(prefix) and not id_problem(name[len(prefix) :]) for prefix in (_PARTIAL, _REMOVING))
