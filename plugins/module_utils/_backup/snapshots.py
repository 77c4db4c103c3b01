# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Media as plain directories: rsync snapshots that share the files that did not change by hard links.

    <place>/<snapshot>/files/...      a copy of what is kept
    <place>/<snapshot>/LIST.gz        SHA-256, length, mtime and path of each file in it
    <place>/<snapshot>/SNAPSHOT.json  its chain, its counts, and the SHA-256 of the list; written last
    <place>/.partial-<snapshot>       a run at work, or one that was killed: the next one removes it
    <place>/.damaged                  paths whose copy a scrub found changed: the next full run takes them anew
    <place>/.lock                     held by a run that writes

A snapshot appears by rename, after everything in it was flushed, and is never
changed. Nothing is ever mirrored: what is gone from the source stays in the
snapshots that had it.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import json
import os
import re
import secrets
import stat
import typing as t
import zlib
from dataclasses import replace

from ansible_collections.matrixon.ops.plugins.module_utils import _files
from ansible_collections.matrixon.ops.plugins.module_utils._backup.capture import Captured, capture
from ansible_collections.matrixon.ops.plugins.module_utils._backup.changes import to_bytes, to_text
from ansible_collections.matrixon.ops.plugins.module_utils._backup.driver import Stopwatch
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import Reader, id_problem, new_id
from ansible_collections.matrixon.ops.plugins.module_utils._backup.media import (
    WHOLE,
    Link,
    MediaPart,
    Restored,
    Sample,
    Share,
    Source,
    Verified,
    check_room,
    digest_of,
    moment,
    open_target,
    place_problem,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.media_source import (
    Listed,
    Looked,
    Pick,
    Scan,
    join_samples,
    judge,
    leads_outside,
    look,
    note,
    resolve,
    scan,
    settle,
    take_sample,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner, damaged, failure
from ansible_collections.matrixon.ops.plugins.module_utils._backup.store import utc_now
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, Deadline

SCHEMA = "matrixon.ops/media-snapshot/1"
FILES, LIST, SNAPSHOT = "files", "LIST.gz", "SNAPSHOT.json"
PARTIAL, REMOVING, DAMAGED, LOCK = ".partial-", ".removing-", ".damaged", ".lock"

# The oldest rsync that compares times to the nanosecond.
OLDEST = (3, 1, 3)
# "some files vanished before they could be transferred"
VANISHED = 24
# What a file takes beyond its content, and a directory, in bytes.
BLOCK = 4096
# What cleaning up may take after a failure, in seconds.
CLEANING = 600.0

_VERSION = re.compile(r"version v?(\d+)\.(\d+)\.(\d+)")
_ITEM = re.compile(rb"([<>ch.*][fdLDS][^ ]{0,9} *)_(\d+)_(.+)")
_ESCAPE = re.compile(rb"\\#([0-7]{3})")
_SKIPPED = re.compile(rb'skipping non-regular file "(.*)"')

# What rsync keeps of a file: links as links, mode, times, owner and group by number. No devices, nothing deleted.
KEEP = ("--links", "--perms", "--times", "--group", "--owner", "--numeric-ids")
SAY = ("--itemize-changes", "--itemize-changes", "--8-bit-output", "--out-format=%i_%l_%n")

# path -> b"f <sha256> <length> <mtime in nanoseconds>", or l for a link with the SHA-256 of where it leads to
Records = dict[bytes, bytes]


class Item(t.NamedTuple):
    """A line of rsync's: what was done, to which kind of entry (f, d, L), its length and its path."""

    done: str
    kind: str
    size: int
    path: bytes


class Snapshots:
    """The plain media driver. ``place`` is a directory of its own, outside of the media store."""

    name = "rsync"

    def __init__(self, place: str, runner: Runner | None = None, tool: str = "rsync") -> None:
        self.place = place
        self._runner = runner or Runner()
        self._tool = tool
        self._version = ""

    # --- before

    def problems(self, source: Source) -> list[str]:
        """Return what stands in the way of a backup, a sentence each. Nothing is touched."""
        found = source.problems()
        if problem := place_problem(source, self.place, "repository"):
            found.append(problem)
        try:
            self.version(Deadline(30))
        except BackupError as error:
            found.append(error.message)
        return found

    def version(self, deadline: Deadline) -> str:
        """Return rsync's version, or fail where there is none or it is too old."""
        if not self._version:
            said = capture(self._runner, [self._tool, "--version"], deadline, "rsync --version")
            match = _VERSION.search(said.out.decode("utf-8", "replace"))
            if said.code or not match:
                raise failure(self._tool, said.code, said.words, "asking rsync for its version")
            numbers = tuple(int(number) for number in match.groups())
            if numbers < OLDEST:
                raise BackupError(
                    INTERNAL,
                    f"rsync is {'.'.join(match.groups())}, and before {'.'.join(map(str, OLDEST))} it takes two "
                    "files of one second for the same; install a newer one",
                )
            self._version = ".".join(match.groups())
        return self._version

    def prepare(self, deadline: Deadline) -> bool:
        """Make the directory of the snapshots if it is not there, and say whether that was done."""
        deadline.require("preparing the place of the snapshots")
        found = _files.look(self.place, read=False)
        if found.kind == "directory":
            return False
        if found.kind != "absent":
            raise BackupError(INTERNAL, f"repository: {self.place} is no directory")
        try:
            _files.make_parents(self.place)
        except OSError as error:
            raise BackupError(INTERNAL, f"repository: {self.place} cannot be made: {error.strerror}") from error
        self._runner.make_directory(self.place)
        return True

    # --- backup

    def backup(
        self,
        source: Source,
        previous: MediaPart | None,
        changes: t.Sequence[str | bytes] | None,
        deadline: Deadline,
        high_water: int | None = None,
    ) -> MediaPart:
        """Keep the source: all of it, or with ``changes`` the files that are listed, on top of ``previous``."""
        watch = Stopwatch()
        if problems := self.problems(source):
            raise BackupError(INTERNAL, "; ".join(problems))
        with self._writing():
            looked = look(source, previous)
            chain = self._chain(previous)
            if changes is None:
                watch.lap("look")
                return self._full(source, looked, previous, chain, deadline, high_water, watch)
            if previous is None or not chain:
                raise BackupError(
                    INTERNAL, f"changes: {self.place} has no full run to which a list could add; make a full run first"
                )
            listed = resolve(looked, source, changes, deadline)
            watch.lap("look")
            return self._listed(looked, listed, previous, deadline, high_water, watch)

    def _chain(self, previous: MediaPart | None) -> tuple[Link, ...]:
        """Return the chain that a run builds on, after making sure that it is there."""
        if previous is None or previous.driver != self.name:
            return ()
        for link in previous.chain:
            if not os.path.exists(self._path(link.snapshot, SNAPSHOT)):
                raise BackupError(
                    INTERNAL,
                    f"repository: {self.place} has no snapshot {link.snapshot}, which the last run left there; is its "
                    "file system mounted? Nothing was copied",
                )
        return previous.chain

    def _full(
        self,
        source: Source,
        looked: Looked,
        previous: MediaPart | None,
        chain: tuple[Link, ...],
        deadline: Deadline,
        high_water: int | None,
        watch: Stopwatch,
    ) -> MediaPart:
        base = chain[0].snapshot if chain else None
        self._room_for_all(looked, base, deadline)
        old = self._read_list(base, chain[0].digest, deadline) if base else {}
        with self._new() as (snapshot, partial):
            target, window = os.path.join(partial, FILES), self._window(partial)
            options = ["--recursive", "--relative", *window]
            if base:
                options.append(f"--link-dest={self._path(base, FILES)}")
            places = ["./" + to_text(path) for path in looked.present]
            done = self._rsync(
                [*options, "--", *places, target + "/"], looked.root, deadline, "copying the media store"
            )
            items, special = parse_items(done.out)
            watch.lap("copy")
            counts = _count(looked, items, special)
            notes = [*looked.notes, *judge(source, previous, counts.found(looked)), *counts.notes()]
            fresh = [item.path for item in items if item.kind == "f" and item.done in "<>"]
            again = [path for path in fresh if _moved_on(looked.root, target, path, bool(window))]
            rotten = self._unlink(target, sorted(self._damaged() & old.keys()))

            def copy(paths: list[bytes]) -> None:
                self._copy(looked.root, target, paths, window, deadline)

            notes += settle(looked.root, again + rotten, copy)
            new = {*fresh, *rotten}
            records = self._records(target, items, new, old, deadline)
            watch.lap("checksums")
            sample, silent = self._sample(looked, target, records, bool(window), deadline)
            spoilt = set(self._spoilt(target, sample, records, deadline))
            if doubtful := sorted({*silent, *spoilt}):
                notes += settle(looked.root, self._unlink(target, doubtful), copy)
                for path in doubtful:
                    records.pop(path)
                records.update(_hash_all(target, doubtful, deadline))
            notes += note(sorted({*rotten, *spoilt}), "whose copy was not what was put away; copied anew")
            notes += note(
                [path for path in silent if path not in spoilt],
                "whose content is another one in the media store although length and time are the same; copied anew, "
                "and the snapshots before have the old one",
            )
            watch.lap("sample")
            tallies = _recount(looked, records, counts)
            link, stored = self._finish(snapshot, partial, (), records, new, tallies, deadline)
        self._forget_damage()
        watch.lap("publish")
        return MediaPart(
            driver=self.name,
            chain=(link,),
            list_driven=False,
            files=link.files,
            bytes=link.bytes,
            stored=stored,
            newest=moment(tallies.newest),
            high_water=high_water,
            found=tallies.found(looked),
            sample=sample,
            root=looked.owner,
            notes=tuple(notes),
            tool_versions={"rsync": self.version(deadline)},
            timings=watch.laps,
        )

    def _listed(
        self,
        looked: Looked,
        listed: Listed,
        previous: MediaPart,
        deadline: Deadline,
        high_water: int | None,
        watch: Stopwatch,
    ) -> MediaPart:
        notes = [*looked.notes, *listed.notes]
        newest = max((time for time in (previous.newest, moment(listed.newest)) if time), default=None)
        part = replace(
            previous,
            list_driven=True,
            files=len(listed.paths),
            bytes=listed.bytes,
            stored=0,
            newest=newest,
            high_water=high_water,
            root=looked.owner,
            tool_versions={"rsync": self.version(deadline)},
        )
        if not listed.paths:
            return replace(part, notes=tuple(notes), timings=watch.laps)
        check_room(self.place, listed.bytes + 3 * BLOCK * len(listed.paths), 3 * len(listed.paths), "the copy")
        items: list[Item] = []
        with self._new() as (snapshot, partial):
            target, window = os.path.join(partial, FILES), self._window(partial)
            # The directories of the later snapshots would cost rsync more than all the copying.
            options = [*window, f"--compare-dest={self._path(previous.chain[0].snapshot, FILES)}"]
            known, doubts = self._known(previous.chain[1:], deadline)
            notes += doubts
            wanted = [path for path in listed.paths if not _is_known(looked.root, path, known)]

            def copy(paths: list[bytes]) -> None:
                items.extend(self._copy(looked.root, target, paths, options, deadline))

            notes += settle(looked.root, wanted, copy)
            watch.lap("copy")
            new = {item.path for item in items if item.kind in "fL" and item.done in "<>c"}
            records = _hash_all(target, sorted(new), deadline)
            if not records:
                # All of it is in the chain already.
                return replace(part, notes=tuple(notes), timings=watch.laps)
            own = take_sample(looked.root, _pick(records), deadline)
            own = tuple(entry for entry in own if entry.sha256 == _sha256(records[to_bytes(entry.path)]))
            watch.lap("checksums")
            tallies = _recount(looked, records)
            link, stored = self._finish(snapshot, partial, previous.snapshots, records, new, tallies, deadline)
        watch.lap("publish")
        return replace(
            part,
            chain=(*previous.chain, link),
            stored=stored,
            sample=join_samples(own, previous, new),
            notes=tuple(notes),
            timings=watch.laps,
        )

    def _known(self, links: t.Sequence[Link], deadline: Deadline) -> tuple[Records, list[str]]:
        """Return what list-driven snapshots hold, and a note about one that cannot be trusted and so is left out."""
        known: Records = {}
        doubts = []
        for link in links:
            try:
                known.update(self._read_list(link.snapshot, link.digest, deadline))
            except BackupError as error:
                doubts.append(f"{error.message}; make a full run soon")
        return known, doubts

    def _room_for_all(self, looked: Looked, base: str | None, deadline: Deadline) -> None:
        """Refuse before the first byte. With a base, its directories are made anew, and a twentieth may be new."""
        if base:
            facts = self._facts(base)
            made = facts.number("directories")
            size, entries = facts.number("bytes") // 20, made + facts.number("files") // 20
        else:
            found = scan(looked, deadline)
            made = sum(tally.directories for tally in found.tallies.values())
            size = sum(tally.bytes for tally in found.tallies.values())
            entries = made + sum(tally.files for tally in found.tallies.values())
        check_room(self.place, size + entries * BLOCK, entries, f"a snapshot of {to_text(looked.root)}")

    def _window(self, partial: str) -> list[str]:
        """Compare times to the nanosecond where the file system of the copies keeps them so."""
        path, wanted = os.path.join(partial, ".time"), 1_000_000_000_123_456_789
        with self._runner.create(path):
            os.utime(path, ns=(wanted, wanted))
        kept = os.stat(path).st_mtime_ns
        os.unlink(path)
        return ["--modify-window=-1"] if kept == wanted else []

    def _copy(
        self, root: bytes, target: str, paths: t.Sequence[bytes], options: list[str], deadline: Deadline
    ) -> list[Item]:
        """Copy files that a list names. One that is gone by now is no failure."""
        names = b"".join(b"./" + path + b"\0" for path in paths)
        argv = ["--relative", "--from0", "--files-from=-", "--ignore-missing-args", *options, "--", ".", target + "/"]
        done = self._rsync(argv, root, deadline, "copying new files", names)
        return parse_items(done.out)[0]

    def _rsync(self, argv: list[str], directory: bytes, deadline: Deadline, doing: str, stdin: bytes = b"") -> Captured:
        runner = replace(self._runner, directory=os.fsdecode(directory))
        done = capture(runner, [self._tool, *KEEP, *SAY, *argv], deadline, doing, stdin=stdin)
        if done.code not in (0, VANISHED):
            raise failure(self._tool, done.code, _first(done.words), doing)
        return done

    def _unlink(self, target: str, paths: t.Sequence[bytes]) -> list[bytes]:
        """Take copies out of a new snapshot that came from an older one, and return those that were there."""
        found = []
        for path in paths:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(os.path.join(to_bytes(target), path))
                found.append(path)
        return found

    def _records(
        self, target: str, items: t.Iterable[Item], new: set[bytes], old: Records, deadline: Deadline
    ) -> Records:
        """Return a record of each file: what was copied is read, what was linked is as the snapshot before says."""
        records: Records = {}
        unknown = list(new)
        for item in items:
            if item.kind in "fL" and item.path not in new:
                if item.kind == "f" and item.path in old:
                    records[item.path] = old[item.path]
                else:
                    unknown.append(item.path)
        records.update(_hash_all(target, unknown, deadline))
        return records

    def _sample(
        self, looked: Looked, target: str, records: Records, exact: bool, deadline: Deadline
    ) -> tuple[tuple[Sample, ...], list[bytes]]:
        """Return files of the source with their checksums, and those that changed and do not show it.

        A file that changed since it was copied, and shows it, is in neither.
        """
        own = take_sample(looked.root, _pick(records), deadline)
        wrong = [entry for entry in own if _sha256(records[to_bytes(entry.path)]) != entry.sha256]
        late = [entry for entry in wrong if _moved_on(looked.root, target, to_bytes(entry.path), exact)]
        return (
            tuple(entry for entry in own if entry not in late),
            [to_bytes(entry.path) for entry in wrong if entry not in late],
        )

    def _spoilt(
        self, target: str, sample: t.Iterable[Sample], records: Records, deadline: Deadline
    ) -> t.Iterator[bytes]:
        """Return the files of the sample whose copy, shared with older snapshots, is not what was put away."""
        for entry in sample:
            path = to_bytes(entry.path)
            if _difference(to_bytes(target), path, records[path], deadline):
                yield path

    def _finish(
        self,
        snapshot: str,
        partial: str,
        chain: tuple[str, ...],
        records: Records,
        new: set[bytes],
        tallies: Scan,
        deadline: Deadline,
    ) -> tuple[Link, int]:
        """Write the list and the facts, flush everything, and let the snapshot appear."""
        digest = self._write_list(os.path.join(partial, LIST), records)
        link = Link(
            snapshot,
            sum(tally.files for tally in tallies.tallies.values()),
            sum(tally.bytes for tally in tallies.tallies.values()),
            digest,
        )
        document = {
            "schema": SCHEMA,
            "snapshot": snapshot,
            "number": 1 + max((number for number, dummy in self._numbered()), default=0),
            "chain": [*chain, snapshot],
            "files": link.files,
            "bytes": link.bytes,
            "directories": sum(tally.directories for tally in tallies.tallies.values()),
            "digest": digest,
        }
        with self._runner.create(os.path.join(partial, SNAPSHOT)) as file:
            file.write(json.dumps(document, sort_keys=True, indent=1).encode() + b"\n")
        self._runner.run(["sync", "--file-system", partial], deadline, doing="flushing the snapshot")
        os.rename(partial, self._path(snapshot))
        _sync_directory(self.place)
        stored = sum(_length(records[path]) for path in new if path in records)
        return link, stored

    # --- restore and verify

    def restore(
        self, part: MediaPart, directory: str, deadline: Deadline, only: t.Sequence[str] | None = None
    ) -> Restored:
        """Bring a chain back into a directory that is absent or empty; with ``only`` nothing but these files.

        Every file that came back is read and compared with its checksum.
        """
        with self._reading(part):
            lists = [self._read_list(link.snapshot, link.digest, deadline) for link in part.chain]
            expected = union(lists)
            if only is not None:
                expected = _only(expected, only)
            target = open_target(directory)
            check_room(directory, _size(expected) + BLOCK * len(expected), len(expected), "the restore")
            for link, records in zip(part.chain, lists):
                self._bring(link, records, expected if only is not None else None, target, deadline)
            problems = _compare(target, expected, deadline)
        if problems:
            raise damaged(
                f"{len(problems)} files of {len(expected)} did not come back into {directory} as they were put away: "
                + "; ".join(problems[:5]),
                {"damaged": problems},
            )
        files = sum(record.startswith(b"f") for record in expected.values())
        return Restored(files, _size(expected))

    def _bring(self, link: Link, records: Records, wanted: Records | None, target: bytes, deadline: Deadline) -> None:
        place, doing = self._path(link.snapshot, FILES), f"restoring snapshot {link.snapshot}"
        if wanted is None:
            self._rsync(["--recursive", "--force", "--", "./", to_text(target) + "/"], to_bytes(place), deadline, doing)
            return
        names = b"".join(b"./" + path + b"\0" for path in wanted if path in records)
        if names:
            argv = ["--relative", "--from0", "--files-from=-", "--", ".", to_text(target) + "/"]
            self._rsync(argv, to_bytes(place), deadline, doing, names)

    def verify(self, part: MediaPart, share: Share, deadline: Deadline) -> Verified:
        """Read a share of the files of a chain, and fail with kind parse where one is not what was put away."""
        share.checked()
        files = size = 0
        wrong: dict[bytes, str] = {}
        with self._reading(part):
            for link in part.chain:
                records = self._read_list(link.snapshot, link.digest, deadline)
                chosen = {path: record for path, record in records.items() if in_share(path, share)}
                place = to_bytes(self._path(link.snapshot, FILES))
                for path, record in chosen.items():
                    if problem := _difference(place, path, record, deadline):
                        wrong[path] = f"{to_text(path)!r} of snapshot {link.snapshot} {problem}"
                files, size = files + len(chosen), size + _size(chosen)
        if wrong:
            self._remember_damage(set(wrong))
            problems = list(wrong.values())
            raise damaged(
                f"{len(problems)} files are not what was put away: {'; '.join(problems[:5])}. The next full run takes "
                "them anew from the media store",
                {"damaged": problems},
            )
        return Verified(files, size)

    def held(self, part: MediaPart, wanted: t.Collection[bytes], deadline: Deadline) -> dict[bytes, int]:
        """Return which of some regular files a chain holds: those that its lists name and whose copy is there."""
        found: dict[bytes, int] = {}
        with self._reading(part):
            for link in part.chain:
                place = to_bytes(self._path(link.snapshot, FILES))
                records = self._read_list(link.snapshot, link.digest, deadline)
                for path in wanted:
                    if (record := records.get(path)) is None:
                        continue
                    found.pop(path, None)
                    if record.startswith(b"f") and _is_whole(os.path.join(place, path), record):
                        found[path] = _length(record)
        return found

    # --- snapshots

    def forget(self, snapshots: t.Sequence[str], deadline: Deadline) -> None:
        """Remove snapshots. Refused where one that stays needs one of them, and where one is being read."""
        for snapshot in snapshots:
            if problem := id_problem(snapshot, "snapshot"):
                raise BackupError(INTERNAL, problem)
        with self._writing():
            going = set(snapshots)
            for dummy, name in self._numbered():
                needed = sorted(going.intersection(self._facts(name).texts("chain")) - {name})
                if name not in going and needed:
                    raise BackupError(
                        INTERNAL, f"snapshot {name} needs {', '.join(needed)}; forget it, too, or keep them all"
                    )
            for snapshot in sorted(going):
                self._remove(snapshot, deadline)

    def _remove(self, snapshot: str, deadline: Deadline) -> None:
        try:
            handle = os.open(self._path(snapshot, SNAPSHOT), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            _flock(handle, fcntl.LOCK_EX, f"snapshot {snapshot} is being read by a restore or a scrub")
            away = os.path.join(self.place, REMOVING + snapshot)
            os.rename(self._path(snapshot), away)
        finally:
            os.close(handle)
        _sync_directory(self.place)
        self._clear(away, deadline)

    def snapshots(self, deadline: Deadline) -> list[str]:
        """Return the ids of the snapshots that are there, oldest first."""
        deadline.require("listing the snapshots")
        return [name for dummy, name in self._numbered()]

    def _numbered(self) -> list[tuple[int, str]]:
        try:
            names = [name for name in os.listdir(self.place) if not name.startswith(".")]
        except OSError as error:
            raise BackupError(INTERNAL, f"repository: {self.place} cannot be read: {error.strerror}") from error
        return sorted((self._facts(name).number("number"), name) for name in names)

    def _facts(self, snapshot: str) -> Reader:
        path = self._path(snapshot, SNAPSHOT)
        try:
            with open(path, "rb") as file:
                facts = Reader(json.loads(file.read()), path)
            if facts.text("schema") != SCHEMA or facts.text("snapshot") != snapshot:
                raise ValueError("it is of another snapshot or version")
        except OSError as error:
            raise damaged(f"snapshot {snapshot}: {path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise damaged(f"snapshot {snapshot}: {path}: {error}") from error
        return facts

    def _path(self, snapshot: str, *more: str) -> str:
        if problem := id_problem(snapshot, "snapshot"):
            raise BackupError(INTERNAL, problem)
        return os.path.join(self.place, snapshot, *more)

    # --- lists

    def _write_list(self, path: str, records: Records) -> str:
        digest = hashlib.sha256()
        with self._runner.create(path) as raw, gzip.GzipFile("", "wb", 1, raw, mtime=0) as file:
            for name in sorted(records):
                line = records[name] + b" " + name + b"\0"
                digest.update(line)
                file.write(line)
        return digest.hexdigest()

    def _read_list(self, snapshot: str, digest: str | None, deadline: Deadline) -> Records:
        """Return the records of a snapshot, after making sure that they are those that were written."""
        deadline.require(f"reading the list of snapshot {snapshot}")
        path = self._path(snapshot, LIST)
        try:
            with gzip.open(path, "rb") as file:
                content = file.read()
        except (OSError, EOFError, zlib.error) as error:
            raise damaged(f"snapshot {snapshot}: its list {path} cannot be read: {error}") from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise damaged(f"snapshot {snapshot}: its list {path} is not the one that was written")
        records: Records = {}
        for line in content.split(b"\0")[:-1]:
            kind, sha256, size, mtime, name = line.split(b" ", 4)
            records[name] = b" ".join((kind, sha256, size, mtime))
        return records

    # --- damage

    def _damaged(self) -> set[bytes]:
        found = _files.look(os.path.join(self.place, DAMAGED))
        return {path for path in (found.content or b"").split(b"\0") if path}

    def _remember_damage(self, paths: set[bytes]) -> None:
        whole = b"".join(path + b"\0" for path in sorted(self._damaged() | paths))
        info = os.stat(self.place)
        _files.replace(os.path.join(self.place, DAMAGED), whole, info.st_uid, info.st_gid, 0o600)

    def _forget_damage(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.place, DAMAGED))

    # --- the place

    @contextlib.contextmanager
    def _writing(self) -> t.Iterator[None]:
        """Keep other runs out, and clear away what killed ones left."""
        path = os.path.join(self.place, LOCK)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BackupError(
                INTERNAL,
                f"repository: {self.place} cannot be used: {error.strerror}; is its file system mounted, and was it "
                "prepared?",
            ) from error
        try:
            _flock(handle, fcntl.LOCK_EX, f"another run is at work in {self.place}")
            for name in os.listdir(self.place):
                if name.startswith((PARTIAL, REMOVING)):
                    self._clear(os.path.join(self.place, name), Deadline(CLEANING))
            yield
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def _reading(self, part: MediaPart) -> t.Iterator[None]:
        """Keep the snapshots of a chain from being removed."""
        if part.driver != self.name:
            raise BackupError(
                INTERNAL, f"snapshot {part.snapshot} was made by the driver {part.driver}, not by {self.name}"
            )
        with contextlib.ExitStack() as stack:
            for link in part.chain:
                try:
                    handle = os.open(self._path(link.snapshot, SNAPSHOT), os.O_RDONLY | os.O_CLOEXEC)
                except OSError as error:
                    raise damaged(
                        f"snapshot {link.snapshot}, which is needed, is not in {self.place}: {error.strerror}"
                    ) from error
                stack.callback(os.close, handle)
                _flock(handle, fcntl.LOCK_SH, f"snapshot {link.snapshot} is being removed")
            yield

    @contextlib.contextmanager
    def _new(self) -> t.Iterator[tuple[str, str]]:
        """Make the directory of a new snapshot. What fails is removed; what is killed is left to the next run."""
        snapshot = new_id(utc_now(), secrets.token_bytes(2))
        partial = os.path.join(self.place, PARTIAL + snapshot)
        self._runner.make_directory(partial)
        try:
            self._runner.make_directory(os.path.join(partial, FILES))
            yield snapshot, partial
        except Exception:
            self._clear(partial, Deadline(CLEANING))
            raise
        if os.path.exists(partial):
            self._clear(partial, Deadline(CLEANING))

    def _clear(self, path: str, deadline: Deadline) -> None:
        self._runner.run(["rm", "-rf", "--one-file-system", "--", path], deadline, doing="removing a snapshot")


# --- what rsync says


def parse_items(said: bytes) -> tuple[list[Item], list[bytes]]:
    """Return the entries that rsync lists, and the special files that it skipped."""
    items, skipped = [], []
    for line in said.split(b"\n"):
        if match := _ITEM.fullmatch(line):
            name = unescape(match[3])
            items.append(Item(chr(line[0]), chr(line[1]), int(match[2]), _clean(name)))
        elif match := _SKIPPED.fullmatch(line):
            skipped.append(_clean(unescape(match[1])))
    return items, skipped


def unescape(name: bytes) -> bytes:
    r"""Return a name as it is; rsync writes a byte that would break its line as \#012."""
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), name)


def _clean(name: bytes) -> bytes:
    name = name[2:] if name.startswith(b"./") else name
    return name.rstrip(b"/")


def _first(words: str) -> str:
    """Return what rsync said, the first line that names a file last; that only something was is no news."""
    lines = [line for line in words.splitlines() if line.strip() and not line.startswith("rsync error:")]
    return "\n".join([*lines, *[line for line in lines if line.startswith("rsync:")][:1]]) or words


# --- counts


def _kept(looked: Looked, path: bytes) -> bytes:
    """Return the kept directory that a path lies in."""
    for kept in looked.present:
        if kept == to_bytes(WHOLE) or path == kept or path.startswith(kept + b"/"):
            return kept
    return b""


def _count(looked: Looked, items: t.Iterable[Item], special: list[bytes]) -> Scan:
    """Count what rsync listed, by kept directory."""
    counts = Scan(looked)
    counts.special = special
    for item in items:
        tally = counts.tallies.get(_kept(looked, item.path))
        if tally is None:
            continue
        if item.kind == "f":
            tally.add(item.size)
        elif item.kind == "d":
            tally.directories += 1
        elif item.kind == "L" and leads_outside(looked.root, item.path):
            counts.outside.append(item.path)
    return counts


def _recount(looked: Looked, records: Records, directories: Scan | None = None) -> Scan:
    """Count what a snapshot holds, by kept directory. Only its directories are as rsync listed them."""
    counts = Scan(looked)
    for path, record in records.items():
        kind, dummy, size, mtime = record.split(b" ")
        tally = counts.tallies.get(_kept(looked, path))
        if tally is not None and kind == b"f":
            tally.add(int(size), int(mtime))
    for kept, tally in counts.tallies.items():
        tally.directories = directories.tallies[kept].directories if directories else 0
    return counts


def _pick(records: Records) -> list[bytes]:
    """Return the files of a sample."""
    pick = Pick()
    for path, record in records.items():
        if record.startswith(b"f"):
            pick.add(path, _length(record))
    return pick.paths


# --- records


def _sha256(record: bytes) -> str:
    return record.split(b" ")[1].decode()


def _length(record: bytes) -> int:
    return int(record.split(b" ")[2])


def _is_whole(path: bytes, record: bytes) -> bool:
    """Say whether a copy is there, by its kind and length. Its content is what a scrub reads."""
    try:
        info = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(info.st_mode) and info.st_size == _length(record)


def _size(records: Records) -> int:
    """Return the bytes of the regular files."""
    return sum(_length(record) for record in records.values() if record.startswith(b"f"))


def _record(path: bytes, deadline: Deadline) -> bytes | None:
    """Return the record of a file or a link, or None for anything else."""
    info = os.lstat(path)
    if stat.S_ISLNK(info.st_mode):
        kind, sha256 = "l", hashlib.sha256(os.readlink(path)).hexdigest()
    elif stat.S_ISREG(info.st_mode):
        kind, sha256 = "f", digest_of(path, deadline)
    else:
        return None
    return f"{kind} {sha256} {info.st_size} {info.st_mtime_ns}".encode()


def _hash_all(target: str, paths: t.Iterable[bytes], deadline: Deadline) -> Records:
    """Return the records of copies. One that is not there vanished from the source before it was copied."""
    found: Records = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            record = _record(os.path.join(to_bytes(target), path), deadline)
            if record is not None:
                found[path] = record
    return found


def _difference(place: bytes, path: bytes, record: bytes, deadline: Deadline) -> str | None:
    """Return what is wrong with a copy, or None."""
    try:
        found = _record(os.path.join(place, path), deadline)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if found is None or found[:1] != record[:1]:
        return "is of another kind"
    if _length(found) != _length(record):
        return f"has {_length(found)} bytes and had {_length(record)}"
    if _sha256(found) != _sha256(record):
        return f"has the SHA-256 {_sha256(found)} and had {_sha256(record)}"
    return None


def _compare(target: bytes, expected: Records, deadline: Deadline) -> list[str]:
    return [
        f"{to_text(path)!r} {problem}"
        for path, record in expected.items()
        if (problem := _difference(target, path, record, deadline))
    ]


def union(lists: t.Sequence[Records]) -> Records:
    """Return what a chain holds. What is in the way of a later file is gone, as is all below a path that is one."""
    expected = dict(lists[0])
    for records in lists[1:]:
        for path in records:
            for above in _above(path):
                expected.pop(above, None)
        expected.update(records)
    if len(lists) == 1:
        return expected
    return {path: record for path, record in expected.items() if not any(above in expected for above in _above(path))}


def _above(path: bytes) -> t.Iterator[bytes]:
    while path := os.path.dirname(path):
        yield path


def _only(records: Records, paths: t.Sequence[str]) -> Records:
    wanted = [to_bytes(path) for path in paths]
    if missing := [path for path in wanted if path not in records]:
        raise BackupError(INTERNAL, f"the snapshots hold no {to_text(missing[0])!r}")
    return {path: records[path] for path in wanted}


def in_share(path: bytes, share: Share) -> bool:
    """Say whether a file belongs to a share. It is always the same one, whatever else is there."""
    return zlib.crc32(path) % share.of == share.number - 1


# --- the file system


def _moved_on(root: bytes, target: str, path: bytes, exact: bool) -> bool:
    """Say whether a file is not as it was when it was listed, so that its copy may be half of it."""
    try:
        mine, theirs = os.lstat(os.path.join(root, path)), os.lstat(os.path.join(to_bytes(target), path))
    except OSError:
        return True
    unit = 1 if exact else 1_000_000_000
    return (mine.st_size, mine.st_mtime_ns // unit) != (theirs.st_size, theirs.st_mtime_ns // unit)


def _is_known(root: bytes, path: bytes, known: Records) -> bool:
    """Say whether a file is in a snapshot already, by its length and time."""
    record = known.get(path)
    if record is None or not record.startswith(b"f"):
        return False
    try:
        info = os.lstat(os.path.join(root, path))
    except OSError:
        return False
    kind, dummy, size, mtime = record.split(b" ")
    return stat.S_ISREG(info.st_mode) and (info.st_size, info.st_mtime_ns) == (int(size), int(mtime))


def _flock(handle: int, operation: int, otherwise: str) -> None:
    try:
        fcntl.flock(handle, operation | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BackupError(INTERNAL, f"{otherwise}; nothing was done, try again later") from error


def _sync_directory(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
