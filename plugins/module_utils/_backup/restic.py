# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Media in a restic repository: encrypted, deduplicated, on this host, in S3 or on a rest server.

Works with restic 0.14 and later. What restic says is read from its JSON, and
a run counts only when it says that every file was read: its exit status 3,
"some files could not be read", is no success unless all of those files are
gone by now.

The password is in a file, and what a remote repository asks for in another
one. Neither they nor the repository's address, which may hold a password, are
ever an argument.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import tempfile
import time
import typing as t
from dataclasses import replace

from ansible_collections.matrixon.ops.plugins.module_utils._backup.capture import Captured, capture
from ansible_collections.matrixon.ops.plugins.module_utils._backup.changes import to_bytes, to_text
from ansible_collections.matrixon.ops.plugins.module_utils._backup.driver import Stopwatch
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.media import (
    Link,
    MediaPart,
    Restored,
    Share,
    Source,
    Verified,
    check_room,
    close_target,
    moment,
    open_target,
    place_problem,
    sample_problems,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.media_source import (
    Listed,
    Looked,
    Pick,
    join_samples,
    judge,
    look,
    note,
    resolve,
    scan,
    settle,
    take_sample,
    touched_since,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.private import read_environment, secret_problem
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner, complaint, damaged, kind_of
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    AUTH,
    DNS,
    INTERNAL,
    PARSE,
    REFUSED,
    TIMEOUT,
    TLS,
    Deadline,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import unseen

OLDEST = (0, 14)
# From here on restic can be told not to walk over the files a second time, only to know how far it is.
WITHOUT_SCAN = (0, 15)
TAG = "matrixon.ops"
UNREADABLE = 3
NO_REPOSITORY = 10
GONE = 2
# What cleaning up may take after a failure, in seconds.
CLEANING = 300.0

OPTION = "repository"
# Where a snapshot lies before it is laid over the ones before it.
STAGING = b".matrixon-restore-"
# Where the environment file may say which repository it is.
ADDRESS, ADDRESS_FILE = ADDRESSES = ("RESTIC_REPOSITORY", "RESTIC_REPOSITORY_FILE")
# These have options of their own.
OWN = ("RESTIC_PASSWORD", "RESTIC_PASSWORD_FILE", "RESTIC_PASSWORD_COMMAND", "RESTIC_CACHE_DIR", "RESTIC_PROGRESS_FPS")

_VERSION = re.compile(r"restic (\d+)\.(\d+)(?:\.(\d+))?")
_ID = re.compile(r"[0-9a-f]{8,64}")
_REMOTE = re.compile(r"(?:sftp|rest|s3|swift|b2|azure|gs|rclone):")
_CREDENTIALS = re.compile(r"//[^/@\s]*@")
_GLOB = re.compile(r"([\\*?\[\]])")

# What restic says, and what kind of failure it is; the first that fits counts.
KINDS = (
    (
        AUTH,
        (
            "wrong password",
            "Access Denied",
            "AccessDenied",
            "SignatureDoesNotMatch",
            "InvalidAccessKeyId",
            "401 Unauthorized",
            "403 Forbidden",
        ),
    ),
    (DNS, ("no such host",)),
    (TLS, ("x509:", "tls:")),
    (REFUSED, ("connection refused", "connection reset", "unable to create lock", "already locked")),
    (TIMEOUT, ("i/o timeout", "context deadline exceeded")),
)
# Before 0.17 a repository that is not there is told by words alone, and they stand there also when nobody answers.
NOWHERE = "Is there a repository at the following location"
# Stands where a byte is no UTF-8.
UNSPELT = "\ufffd"
ABSENT = ("no such file or directory", "does not exist", "404 Not Found", "NoSuchBucket")
# How check ends where it found the repository not to be what was written, and the lines that say what it found.
DAMAGED = ("repository contains errors", "LoadIndex returned errors")
DAMAGE = ("error", "does not match", "does not exist", "unexpected", "failed", "not found", "too short")


def names_repository(environment_file: str | None) -> bool:
    """Say whether an environment file says which repository it is."""
    if not environment_file:
        return False
    variables = read_environment(environment_file, "environment_file", OWN)
    return any(variables.get(name) for name in ADDRESSES)


def _first_line(path: str) -> str:
    """Return the address in a file, which may hold a password."""
    option = f"environment_file: {ADDRESS_FILE}"
    if problem := secret_problem(path, option):
        raise BackupError(AUTH, problem)
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            found = file.readline().strip()
    except OSError as error:
        raise BackupError(AUTH, f"{option}: {path} cannot be read: {error.strerror}") from error
    if not found:
        raise BackupError(
            INTERNAL, f"{option}: the first line of {path} is empty; write the repository's address there"
        )
    return found


class Failed(t.NamedTuple):
    """A file that restic could not keep: its path as restic shows it, why, and whether it was gone, if it is told."""

    path: str
    why: str
    gone: bool | None

    def gone_from(self, root: bytes) -> bool:
        """Say whether the file is not there any more. Where restic gives no reason, its place is looked at."""
        if self.gone is not None:
            return self.gone
        # What restic cannot spell would seem to be gone.
        return UNSPELT not in self.path and not os.path.lexists(os.path.join(root, to_bytes(self.path)))


class Restic:
    """The driver of a restic repository.

    ``repository`` is a directory, or an address such as s3:https://host/bucket
    or rest:https://host/; None takes RESTIC_REPOSITORY of the environment
    file, or what stands in the file that its RESTIC_REPOSITORY_FILE names.
    ``environment_file`` has lines such as AWS_ACCESS_KEY_ID=...; both files may
    be readable by their owner only. ``host`` is the name that snapshots carry.
    """

    name = "restic"

    def __init__(
        self,
        repository: str | None,
        password_file: str,
        environment_file: str | None = None,
        host: str = "matrixon",
        runner: Runner | None = None,
        tool: str = "restic",
        cache: str | None = None,
    ) -> None:
        self._repository = repository
        self._password_file = password_file
        self._environment_file = environment_file
        self._host = host
        self._plain = runner or Runner()
        self._tool = tool
        self._cache = cache
        self._version: tuple[int, ...] = ()

    # --- before

    def problems(self, source: Source | None) -> list[str]:
        """Return what stands in the way of a backup, a sentence each. Nothing is touched."""
        found = source.problems() if source else []
        if problem := secret_problem(self._password_file, "password_file"):
            found.append(problem)
        try:
            repository = self._address()
            if not _REMOTE.match(repository):
                if not os.path.isabs(repository):
                    found.append(f"{OPTION}: {repository!r} is neither an absolute path nor an address such as s3:...")
                elif source and (problem := place_problem(source, repository, OPTION)):
                    found.append(problem)
            if self._repository and _CREDENTIALS.search(self._repository):
                found.append(
                    f"{OPTION}: the address holds a name or a password, and options are shown; write it as "
                    "RESTIC_REPOSITORY=... into the environment file"
                )
            named = [name for name in ADDRESSES if name in self._variables()]
            if self._repository and named:
                found.append(f"{OPTION}: the environment file sets {' and '.join(named)}, too; leave one of them out")
            self.version(Deadline(30))
        except BackupError as error:
            found.append(error.message)
        return found

    def _address(self) -> str:
        """Return the repository's address. It may hold a password."""
        if self._repository:
            return self._repository
        variables = self._variables()
        named = [name for name in ADDRESSES if variables.get(name)]
        if not named:
            raise BackupError(
                INTERNAL,
                f"{OPTION}: neither the option nor {' or '.join(ADDRESSES)} of the environment file is set",
            )
        if len(named) > 1:
            raise BackupError(
                INTERNAL, f"environment_file: it sets {' and '.join(named)}, and there is one repository; leave one out"
            )
        return variables[ADDRESS] if named == [ADDRESS] else _first_line(variables[ADDRESS_FILE])

    def _variables(self) -> dict[str, str]:
        if not self._environment_file:
            return {}
        return read_environment(self._environment_file, "environment_file", OWN)

    @property
    def _local(self) -> bool:
        return not _REMOTE.match(self._address())

    @property
    def _shown(self) -> str:
        """Return the address without what is secret in it."""
        return _CREDENTIALS.sub("//***@", self._address())

    def version(self, deadline: Deadline) -> str:
        """Return restic's version, or fail where there is none or it is too old."""
        if not self._version:
            said = capture(self._plain, [self._tool, "version"], deadline, "restic version")
            match = _VERSION.search(said.out.decode("utf-8", "replace"))
            if said.code or not match:
                raise BackupError(INTERNAL, f"restic does not say which version it is: {complaint(said.words)}")
            self._version = tuple(int(number) for number in match.groups() if number)
        if self._version < OLDEST:
            raise BackupError(
                INTERNAL,
                f"restic is {'.'.join(map(str, self._version))}; this needs {'.'.join(map(str, OLDEST))} or later",
            )
        return ".".join(map(str, self._version))

    def prepare(self, deadline: Deadline) -> bool:
        """Make the repository if it is not there, and say whether that was done."""
        self._require(None, deadline)
        if self._local and os.path.exists(os.path.join(self._address(), "config")):
            return False
        done = self._call(["cat", "config"], deadline, "opening the repository")
        if done.code == 0:
            return False
        if not _is_nowhere(done):
            raise self._failure(done, "opening the repository")
        self._demand(self._call(["init"], deadline, "making the repository"), "making the repository")
        return True

    def _require(self, source: Source | None, deadline: Deadline) -> None:
        if problems := self.problems(source):
            kind = AUTH if problems[0].startswith("password_file") else INTERNAL
            raise BackupError(kind, "; ".join(problems))
        self.version(deadline)

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
        self._require(source, deadline)
        looked = look(source, previous)
        mine = previous if previous and previous.driver == self.name else None
        if changes is None:
            watch.lap("look")
            part = self._full(source, looked, previous, mine, deadline, watch)
        elif mine is None or not mine.chain:
            raise BackupError(
                INTERNAL, f"changes: {self._shown} has no full run to which a list could add; make a full run first"
            )
        else:
            listed = resolve(looked, source, changes, deadline)
            watch.lap("look")
            part = self._listed(looked, listed, mine, deadline, watch)
        return replace(
            part,
            high_water=high_water,
            root=looked.owner,
            tool_versions={"restic": self.version(deadline)},
            timings=watch.laps,
        )

    def _full(
        self,
        source: Source,
        looked: Looked,
        previous: MediaPart | None,
        mine: MediaPart | None,
        deadline: Deadline,
        watch: Stopwatch,
    ) -> MediaPart:
        if previous is None and self._local:
            tallies = scan(looked, deadline).tallies.values()
            check_room(self._address(), sum(tally.bytes for tally in tallies), 0, f"a copy of {source.root}")
        made: list[Link] = []
        stored: list[int] = []
        started = time.time()
        base = mine.chain[0].snapshot if mine and mine.chain else None
        with self._unless_refused(made):
            arguments = ["--parent", base] if base else []
            if self._version >= WITHOUT_SCAN:
                arguments.append("--no-scan")
            places = ["./" + to_text(path) for path in looked.present]
            notes = self._run(looked.root, [*arguments, "--", *places], b"", made, stored, deadline)
            watch.lap("copy")
            found = scan(looked, deadline, touched_since(started))
            watch.lap("scan")
            counts = found.found(looked)
            notes = [*looked.notes, *judge(source, previous, counts), *found.notes(), *notes]
            known = sum(entry.files for entry in counts.values()) - len(found.young)
            if made[0].files < known:
                raise BackupError(
                    INTERNAL,
                    f"restic kept {made[0].files} files, and {source.root} has {known} that were there before it "
                    "began; run it again",
                )

            def copy(paths: list[bytes]) -> None:
                notes.extend(self._run_list(looked.root, paths, made, stored, deadline))

            notes += settle(looked.root, found.young, copy)
            watch.lap("young files")
            sample = take_sample(looked.root, found.pick.paths, deadline)
            watch.lap("sample")
        return MediaPart(
            driver=self.name,
            chain=tuple(made),
            list_driven=False,
            files=sum(entry.files for entry in counts.values()),
            bytes=sum(entry.bytes for entry in counts.values()),
            stored=sum(stored),
            newest=moment(found.newest),
            found=counts,
            sample=sample,
            notes=tuple(notes),
        )

    def _listed(
        self, looked: Looked, listed: Listed, previous: MediaPart, deadline: Deadline, watch: Stopwatch
    ) -> MediaPart:
        notes = [*looked.notes, *listed.notes]
        made: list[Link] = []
        stored: list[int] = []
        sample = previous.sample
        if listed.paths:
            if self._local:
                check_room(self._address(), listed.bytes, 0, "the copy")

            def copy(paths: list[bytes]) -> None:
                notes.extend(
                    self._run_list(looked.root, paths, made, stored, deadline, parent=previous.chain[0].snapshot)
                )

            with self._unless_refused(made):
                notes += settle(looked.root, listed.paths, copy)
                watch.lap("copy")
                pick = Pick()
                for path in listed.paths:
                    pick.add(path, 0)
                own = take_sample(looked.root, pick.paths, deadline)
                sample = join_samples(own, previous, set(listed.paths))
                watch.lap("sample")
        newest = max((time for time in (previous.newest, moment(listed.newest)) if time), default=None)
        return replace(
            previous,
            chain=(*previous.chain, *made),
            list_driven=True,
            files=len(listed.paths),
            bytes=listed.bytes,
            stored=sum(stored),
            newest=newest,
            sample=sample,
            notes=tuple(notes),
        )

    def _run_list(
        self,
        root: bytes,
        paths: list[bytes],
        made: list[Link],
        stored: list[int],
        deadline: Deadline,
        parent: str | None = None,
    ) -> list[str]:
        names = b"".join(path + b"\0" for path in paths)
        arguments = ["--parent", parent] if parent else ["--force"]
        return self._run(root, [*arguments, "--files-from-raw", "-"], names, made, stored, deadline)

    def _run(
        self,
        root: bytes,
        arguments: list[str],
        stdin: bytes,
        made: list[Link],
        stored: list[int],
        deadline: Deadline,
    ) -> list[str]:
        """Make one snapshot, and return notes about files that vanished meanwhile."""
        doing = "copying the media store"
        argv = ["backup", "--json", "--quiet", "--host", self._host, "--tag", TAG, *arguments]
        done = self._call(argv, deadline, doing, directory=root, stdin=stdin)
        failed = parse_errors(done.err)
        if done.code not in (0, UNREADABLE):
            if stdin and "do not exist" in done.words:
                # All that was listed is gone by now, which the caller sees.
                return []
            raise self._failure(done, doing)
        summary = parse_summary(done.out)
        made.append(Link(self._full_id(summary.snapshot, deadline), summary.files, summary.bytes))
        stored.append(summary.stored)
        left = [item for item in failed if not item.gone_from(root)]
        if left or (done.code == UNREADABLE and not failed):
            shown = "; ".join(f"{item.path!r}: {item.why}" for item in left[:5]) or complaint(done.words)
            raise BackupError(
                INTERNAL,
                f"{doing}: restic could not read {len(left) or 'some'} files, so the snapshot was dropped and the ones "
                f"before stay: {shown}",
            )
        return note([to_bytes(item.path) for item in failed], "vanished while they were read")

    @contextlib.contextmanager
    def _unless_refused(self, made: list[Link]) -> t.Iterator[None]:
        """Forget the snapshots that were made where what follows says no: they are in no manifest."""
        try:
            yield
        except ProbeFailure:
            if made:
                with contextlib.suppress(ProbeFailure):
                    self._call(["forget", *(link.snapshot for link in made)], Deadline(CLEANING), "forgetting it")
            raise

    def _full_id(self, snapshot: str, deadline: Deadline) -> str:
        """Return the whole id of a snapshot, of which old versions say the first digits only."""
        if len(snapshot) == 64:
            return snapshot
        if self._local:
            names = [
                name for name in os.listdir(os.path.join(self._address(), "snapshots")) if name.startswith(snapshot)
            ]
        else:
            names = [name for name in self.snapshots(deadline) if name.startswith(snapshot)]
        if len(names) != 1:
            raise BackupError(
                PARSE, f"restic made snapshot {snapshot}, and {len(names)} in {self._shown} begin like this"
            )
        return names[0]

    # --- restore and verify

    def restore(
        self, part: MediaPart, directory: str, deadline: Deadline, only: t.Sequence[str] | None = None
    ) -> Restored:
        """Bring a chain back into a directory that is absent or empty; with ``only`` nothing but these files.

        Restic compares what it reads with its checksums. Counted here is what
        came back, and the sample is compared.
        """
        self._of_mine(part)
        self._require(None, deadline)
        target = open_target(directory)
        check_room(directory, sum(link.bytes for link in part.chain), 0, "the restore")
        special = self._bring_all(part, target, deadline) if only is None else self._pick(part, only, target, deadline)
        files, size = _counted(target, deadline)
        wanted = None if only is None else set(only)
        problems = sample_problems(
            replace(part, sample=tuple(e for e in part.sample if wanted is None or e.path in wanted)),
            directory,
            deadline,
        )
        missing = [path for path in only or () if not os.path.lexists(os.path.join(target, to_bytes(path)))]
        problems += [f"{path!r} is in none of the snapshots" for path in missing]
        if problems:
            raise damaged(
                f"{len(problems)} files did not come back into {directory} as they were put away: "
                + "; ".join(problems[:5]),
                {"damaged": problems},
            )
        close_target(target, part.root)
        notes = [f"{special} entries that are neither file, directory nor link were left out"] if special else []
        return Restored(files, size, tuple(notes))

    def _bring_all(self, part: MediaPart, target: bytes, deadline: Deadline) -> int:
        """Restore a chain, each snapshot over the ones before."""
        special = self._bring(part.chain[0], target, [], deadline)
        for link in part.chain[1:]:
            # Beside first: restic would write through a link that the snapshot before left in its way.
            with tempfile.TemporaryDirectory(prefix=STAGING, dir=target) as staging:
                special += self._bring(link, staging, [], deadline)
                overlay(staging, target)
        return special

    def _pick(self, part: MediaPart, only: t.Sequence[str], target: bytes, deadline: Deadline) -> int:
        """Restore some files, each from the last snapshot that has it."""
        special, left = 0, list(dict.fromkeys(only))
        for link in reversed(part.chain):
            if not left:
                break
            with tempfile.TemporaryDirectory(prefix=STAGING, dir=target) as staging:
                special += self._bring(link, staging, include(left), deadline)
                left = [path for path in left if not os.path.lexists(os.path.join(staging, to_bytes(path)))]
                overlay(staging, target)
        return special

    def _bring(self, link: Link, target: bytes, patterns: list[str], deadline: Deadline) -> int:
        """Restore one snapshot, check that all of it came, and return how many special files were taken out."""
        doing = f"restoring snapshot {link.snapshot}"
        argv = ["restore", "--quiet", link.snapshot, "--target", to_text(target), *patterns]
        self._demand(self._call(argv, deadline, doing), doing)
        special = _drop_special(target)
        if not patterns:
            files, size = _counted(target, deadline)
            if (files, size) != (link.files, link.bytes):
                raise damaged(
                    f"{doing}: {files} files with {size} bytes came back, and {link.files} with {link.bytes} bytes "
                    "were put away"
                )
        return special

    def verify(self, part: MediaPart, share: Share, deadline: Deadline) -> Verified:
        """Check the repository and read a share of its packs, and fail with kind parse where one is damaged."""
        share.checked()
        self._of_mine(part)
        self._require(None, deadline)
        there = set(self.snapshots(deadline))
        if missing := [link.snapshot for link in part.chain if link.snapshot not in there]:
            raise damaged(f"snapshot {missing[0]}, which is needed, is not in {self._shown}")
        doing = f"checking {share} of {self._shown}"
        done = self._call(["check", f"--read-data-subset={share.number}/{share.of}"], deadline, doing)
        said = done.out.decode("utf-8", "replace") + done.words
        if done.code == 0 and "no errors were found" in said:
            return Verified(notes=(f"restic checked its index and trees, and read {share} of its packs",))
        if done.code == 0 or (any(sign in said for sign in DAMAGED) and not _transport(said)):
            lines = [line.strip() for line in said.splitlines() if any(sign in line for sign in DAMAGE)]
            signs = [line for line in lines if not line.startswith(("Load(", "Fatal:"))]
            raise damaged(
                f"{self._shown} is damaged: {'; '.join(signs[:3]) or complaint(said)}. Repair it with restic's own "
                "`repair` and take what was lost anew with a full run, or begin another repository",
                {"words": said[-4000:]},
            )
        raise self._failure(done, doing)

    def held(self, part: MediaPart, wanted: t.Collection[bytes], deadline: Deadline) -> dict[bytes, int]:
        """Return which of some regular files a chain holds, with their bytes, as its snapshots list them."""
        self._of_mine(part)
        self._require(None, deadline)
        found: dict[bytes, int] = {}
        for link in part.chain:
            doing = f"listing snapshot {link.snapshot}"
            done = self._call(["ls", "--json", link.snapshot], deadline, doing)
            self._demand(done, doing)
            found.update(parse_listing(done.out))
        return {path: found[path] for path in wanted if path in found}

    # --- snapshots

    def forget(self, snapshots: t.Sequence[str], deadline: Deadline, prune: bool = True) -> None:
        """Remove snapshots, and with ``prune`` what no other snapshot needs. The first is quick."""
        for snapshot in snapshots:
            if not _ID.fullmatch(snapshot):
                raise BackupError(INTERNAL, f"snapshot: {snapshot!r} is no id of a snapshot")
        if not snapshots:
            return
        self._require(None, deadline)
        # Only locks whose process is gone.
        self._demand(self._call(["unlock"], deadline, "removing old locks"), "removing old locks")
        argv = ["forget", *(["--prune"] if prune else []), *snapshots]
        self._demand(self._call(argv, deadline, "forgetting snapshots"), "forgetting snapshots")
        # It says 0 also for snapshots that it does not find.
        if left := sorted(set(snapshots).intersection(self.snapshots(deadline))):
            raise BackupError(INTERNAL, f"restic says that snapshot {left[0]} was removed, and it is still there")

    def snapshots(self, deadline: Deadline) -> list[str]:
        """Return the ids of the snapshots that this driver made for its host, oldest first."""
        doing = "listing the snapshots"
        done = self._call(["snapshots", "--json", "--host", self._host, "--tag", TAG], deadline, doing)
        self._demand(done, doing)
        try:
            found = sorted((str(entry["time"]), str(entry["id"])) for entry in json.loads(done.out) or [])
        except (ValueError, KeyError, TypeError) as error:
            raise BackupError(PARSE, f"{doing}: what restic says is no list of snapshots") from error
        return [snapshot for dummy, snapshot in found]

    def _of_mine(self, part: MediaPart) -> None:
        if part.driver != self.name:
            raise BackupError(
                INTERNAL, f"snapshot {part.snapshot} was made by the driver {part.driver}, not by {self.name}"
            )
        for link in part.chain:
            if not _ID.fullmatch(link.snapshot):
                raise damaged(f"snapshot {link.snapshot!r} is no id of a snapshot of restic")

    # --- calls

    def _call(
        self, arguments: list[str], deadline: Deadline, doing: str, directory: bytes = b"/", stdin: bytes = b""
    ) -> Captured:
        environment = {
            # restic takes no two of them.
            **{name: value for name, value in self._variables().items() if name != ADDRESS_FILE},
            ADDRESS: self._address(),
            "RESTIC_PASSWORD_FILE": self._password_file,
        }
        if self._cache:
            environment["RESTIC_CACHE_DIR"] = self._cache
        elif self._local:
            # It would only be a second copy of what lies on this host.
            arguments = ["--no-cache", *arguments]
        runner = replace(self._plain, directory=os.fsdecode(directory)).with_environment(**environment)
        return capture(runner, [self._tool, *arguments], deadline, doing, stdin=stdin)

    def _demand(self, done: Captured, doing: str) -> None:
        if done.code != 0:
            raise self._failure(done, doing)

    def _failure(self, done: Captured, doing: str) -> BackupError:
        """Return the error for a call that failed, with what to do where that is known."""
        words = _plain_words(done)
        line = _CREDENTIALS.sub("//***@", _said(words))
        if done.code < 0:
            return BackupError(INTERNAL, f"{doing}: restic was killed by signal {-done.code}")
        if _is_nowhere(done):
            return BackupError(
                INTERNAL,
                f"{doing}: there is no repository at {self._shown}; is its file system mounted, and was it prepared? "
                "Nothing was copied",
            )
        if "no matching ID" in words or ("failed to load snapshot" in words and any(sign in words for sign in ABSENT)):
            return BackupError(
                INTERNAL,
                f"{doing}: {self._shown} does not hold the snapshot that the last run left there ({line}); "
                "is it the right repository?",
            )
        kind = _transport(words) or kind_of(line)
        if "unable to create lock" in words or "already locked" in words:
            line += "; another restic is at work there, or was killed: then `restic unlock` removes its lock"
        if "no space left" in words:
            line += "; make room on that file system, or use another one"
        return BackupError(kind, f"{doing}: restic ended with code {done.code}: {line}", {"code": done.code})


# --- what restic says


class Summary(t.NamedTuple):
    """What a backup ended with: the snapshot, its regular files and their bytes, and the bytes that were new."""

    snapshot: str
    files: int
    bytes: int
    stored: int


def parse_summary(said: bytes) -> Summary:
    """Return the summary of a backup's JSON. There is none where it did not end well."""
    for line in reversed(said.splitlines()):
        document = _document(line)
        if document.get("message_type") != "summary":
            continue
        try:
            found = Summary(
                str(document["snapshot_id"]),
                int(document["total_files_processed"]),
                int(document["total_bytes_processed"]),
                int(document.get("data_added_packed", document["data_added"])),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BackupError(PARSE, f"restic's summary is not as it should be: {line!r:.300}") from error
        if not _ID.fullmatch(found.snapshot):
            raise BackupError(PARSE, f"restic says that it made no snapshot: {line!r:.300}")
        return found
    raise BackupError(PARSE, "restic ended without a summary, so nobody knows what it kept")


def parse_errors(said: bytes) -> list[Failed]:
    """Return the files that could not be kept. Restic names the reason as a number up to 0.14, then in words."""
    found = []
    for line in said.splitlines():
        document = _document(line)
        if document.get("message_type") != "error" or document.get("during") == "scan":
            continue
        error = document.get("error")
        gone: bool | None
        if isinstance(error, dict) and "Err" in error:
            number = error.get("Err")
            gone, why = number == GONE, os.strerror(number) if isinstance(number, int) else str(number)
        elif not error:
            # 0.14 has no words for some errors, such as that of a file that vanished between two looks at it.
            gone, why = None, "restic does not say why"
        else:
            why = str(error.get("message") if isinstance(error, dict) else error)
            gone = why.endswith(os.strerror(GONE).lower())
        found.append(Failed(str(document.get("item")), why, gone))
    return found


def parse_listing(said: bytes) -> dict[bytes, int]:
    """Return the regular files that ``restic ls --json`` says, by their path below the media store.

    One whose name it cannot spell is left out. It gives no size for an empty one.
    """
    found = {}
    for line in said.splitlines():
        entry = _document(line)
        if entry.get("type") != "file":
            continue
        try:
            if UNSPELT not in entry["path"]:
                found[to_bytes(entry["path"].lstrip("/"))] = int(entry.get("size", 0))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BackupError(PARSE, "what restic lists is not understood: a file without a path or size") from error
    return found


def _document(line: bytes) -> dict[str, t.Any]:
    if not line.startswith(b"{"):
        return {}
    try:
        document = json.loads(line)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _plain_words(done: Captured) -> str:
    """Return what restic said on standard error, with the messages of its JSON in place of it."""
    lines = []
    for line in done.err.splitlines():
        document = _document(line)
        lines.append(str(document["message"]) if "message" in document else line.decode("utf-8", "replace"))
    return "\n".join(lines)


def _said(words: str) -> str:
    """Return the line that says best what went wrong."""
    return next((line for line in words.splitlines() if line.startswith("Fatal:")), complaint(words))


def _is_nowhere(done: Captured) -> bool:
    words = done.words
    return done.code == NO_REPOSITORY or (NOWHERE in words and any(sign in words for sign in ABSENT))


def _transport(words: str) -> str | None:
    """Return the kind of a failure that has to do with the way to the repository, or None."""
    return next((kind for kind, signs in KINDS if any(sign in words for sign in signs)), None)


# --- what came back


def include(only: t.Sequence[str]) -> list[str]:
    """Return the arguments that restore nothing but these files; a name is no pattern."""
    return ["--include=/" + _GLOB.sub(r"\\\1", path) for path in only]


def overlay(staging: bytes, target: bytes) -> None:
    """Move everything of one directory over another one, by renames, through no link of the other."""
    for entry in sorted(os.scandir(staging), key=lambda entry: entry.name):
        theirs = os.path.join(target, entry.name)
        if entry.is_dir(follow_symlinks=False) and os.path.isdir(theirs) and not os.path.islink(theirs):
            overlay(entry.path, theirs)
            continue
        if os.path.lexists(theirs) and entry.is_dir(follow_symlinks=False):
            os.unlink(theirs)
        os.rename(entry.path, theirs)


def _drop_special(target: bytes) -> int:
    """Remove devices, pipes and sockets below a directory, and return how many there were."""
    found = 0
    for folder, dummy, names in os.walk(target, onerror=unseen):
        for name in names:
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
                os.unlink(path)
                found += 1
    return found


def _counted(target: bytes, deadline: Deadline) -> tuple[int, int]:
    """Return how many regular files are below a directory, and their bytes."""
    files = size = 0
    for folder, dummy, names in os.walk(target, onerror=unseen):
        deadline.require("counting what came back")
        for name in names:
            info = os.lstat(os.path.join(folder, name))
            if stat.S_ISREG(info.st_mode):
                files, size = files + 1, size + info.st_size
    return files, size
