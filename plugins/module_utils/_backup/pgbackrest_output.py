# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What pgBackRest says, read and judged. Pure.

Its exit status proves little: ``info`` ends with 0 where the repository cannot
be reached, and ``verify`` where a backup is damaged. ``verify`` even calls a
stanza "ok" whose archive is empty, or that has lost the manifest of a backup.
So everything that is wanted must be named as good, and whatever is not known
here is held to be bad.
"""

from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._backup import wal
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import Json, Reader
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import NO_SPACE
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    AUTH,
    DNS,
    INTERNAL,
    PARSE,
    REFUSED,
    TIMEOUT,
    TLS,
)

Version = tuple[int, ...]

FULL = "full"
INCREMENTAL = "incr"

LOCKED = 50
ONLY_FULL = 75
# Codes with which it says of what it reads that it is not there, or not what was put away.
DAMAGE = frozenset((26, 28, 29, 51, 55, 73, 75, 95, 99))
# Codes that say nothing about a backup: somebody else works, or everything was told to stop.
_OUTSIDE = {
    LOCKED: "another pgBackRest works on this stanza; wait for it, or look for one that hangs",
    62: "pgBackRest was told to stop here; let it go on with 'pgbackrest start'",
    63: "it was told to end",
}
_KINDS = {39: REFUSED, 49: REFUSED, 56: REFUSED, 59: TIMEOUT, 66: TIMEOUT, 82: TIMEOUT, 101: REFUSED, 105: AUTH}
# What it says decides before the code: one code stands for many failures.
_SIGNS = (
    (AUTH, ("403 (Forbidden)", "401 (Unauthorized)", "Permission denied", "authentication failed")),
    (TLS, ("certificate", "TLS error", "unable to negotiate")),
    (DNS, ("unable to get address",)),
    (TIMEOUT, ("timeout", "timed out")),
    (REFUSED, ("[HostConnectError]", "[ProtocolError]", "[ServiceError]")),
)

_VERSION = re.compile(r"pgBackRest ([0-9]+(?:\.[0-9]+)+)")
_ERROR = re.compile(r"ERROR: \[([0-9]{3})\]: (.*)")
_CODE_OF_SERVICE = re.compile(r"<Code>(\w+)</Code>")

# What `info` says of a repository that has been reached: it is empty, but for the last.
_NO_STANZA = (1, 3)
_NO_BACKUP = 2
_OK = 0


# --- failures


def trouble(code: int, words: str, doing: str) -> BackupError:
    """Return the error for a command that ended with a code other than 0, by what it said on standard error.

    ``facts`` hold its own number as ``engine_code``, which stands in the words
    where several errors come together, and ``outside`` where nothing was
    learned about any backup.
    """
    found = _ERROR.search(words)
    number = int(found[1]) if found else code
    said = (found[2] if found else (words.strip().splitlines() or ["it said nothing"])[-1]).strip().rstrip(":")
    if service := _CODE_OF_SERVICE.search(words):
        said += f" ({service[1]})"
    message = f"{doing}: pgbackrest ended with code {code}: {said}"
    if code < 0:
        message = f"{doing}: pgbackrest was killed by signal {-code}: {said}"
    if number in _OUTSIDE:
        message += f". {_OUTSIDE[number]}"
    full = NO_SPACE in words
    if full:
        message += "; make room on that file system, or use another one"
    kind = next((kind for kind, signs in _SIGNS if any(sign in words for sign in signs)), _KINDS.get(number, INTERNAL))
    facts = {"code": code, "engine_code": number, "words": words, "no_space": full, "outside": number in _OUTSIDE}
    return BackupError(INTERNAL if code < 0 else kind, message, facts)


def read_version(text: str) -> Version:
    """Return the version as numbers that can be compared."""
    match = _VERSION.search(text)
    if not match:
        raise BackupError(PARSE, f"pgbackrest version: {text.strip()!r:.80} names no version")
    return tuple(int(part) for part in match[1].split("."))


# --- info


class Backup(t.NamedTuple):
    """One backup in a repository.

    ``needs`` are the labels of the backups whose files it refers to,
    ``bytes`` the size of the cluster, ``stored`` what this backup added to the
    repository. ``bad_pages`` says that pages of the cluster had a wrong
    checksum when they were copied. Times are seconds since 1970.
    """

    label: str
    kind: str
    prior: str | None
    needs: tuple[str, ...]
    archive_id: str
    wal_start: str
    wal_stop: str
    lsn_start: str
    lsn_stop: str
    bytes: int
    stored: int
    bad_pages: bool
    started: int
    stopped: int
    annotations: dict[str, str]


class Stanza(t.NamedTuple):
    """What one repository holds of a stanza: backups, oldest first, and the clusters that it has seen.

    ``missing`` says that the repository does not know the stanza.
    ``clusters`` are (id, system identifier, version), the newest last.
    ``busy`` says that a backup or its like runs on this host.
    """

    missing: bool
    backups: tuple[Backup, ...] = ()
    clusters: tuple[tuple[int, str, str], ...] = ()
    cipher: str = "none"
    busy: bool = False

    def find(self, label: str) -> Backup | None:
        """Return the backup of that label, if it is there."""
        return next((backup for backup in self.backups if backup.label == label), None)

    @property
    def newest(self) -> Backup | None:
        """Return the backup that an incremental one would add to."""
        return self.backups[-1] if self.backups else None

    @property
    def fulls(self) -> list[str]:
        """Return the labels of the full backups, oldest first."""
        return [backup.label for backup in self.backups if backup.kind == FULL]

    def dependents(self, label: str) -> list[str]:
        """Return the labels of the backups that cannot be restored without this one, which it takes along."""
        return [backup.label for backup in self.backups if label in backup.needs or backup.prior == label]


def read_info(text: str, stanza: str, repository: int) -> Stanza:
    """Return what ``info --output=json`` says of one stanza in one repository, or fail where it could not look."""
    try:
        # What it could not decrypt stands in there as it is.
        document = json.loads(text, strict=False)
        found = [Reader(entry, "an entry") for entry in document]
        entry = next((entry for entry in found if entry.text("name") == stanza), None)
        if entry is None:
            return Stanza(missing=True)
        place = next((place for place in entry.each("repo") if place.number("key") == repository), None)
        if place is None:
            raise ValueError(f"it does not speak of repository {repository}")
        status = place.below("status")
        if status.number("code") not in (_OK, _NO_BACKUP, *_NO_STANZA):
            raise _unreachable(repository, status.text("message"), place.text("cipher"))
        clusters = [
            (cluster.number("id"), str(cluster.number("system-id")), cluster.text("version"))
            for cluster in entry.each("db")
            if cluster.number("repo-key") == repository
        ]
        versions = {number: version for number, _system, version in clusters}
        return Stanza(
            missing=status.number("code") in _NO_STANZA,
            backups=tuple(
                _backup(backup, versions)
                for backup in entry.each("backup")
                if backup.below("database").number("repo-key") == repository
            ),
            clusters=tuple(sorted(clusters)),
            cipher=place.text("cipher"),
            busy=entry.below("status").below("lock").below("backup").flag("held"),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BackupError(PARSE, f"pgbackrest info gave no answer that can be read: {error}") from error


def _unreachable(repository: int, message: str, cipher: str) -> BackupError:
    """Return the error for a repository of which info says, with code 0, that it could not be read."""
    error = trouble(1, message, f"repository {repository} cannot be read")
    said = (message.splitlines() or ["it said nothing"])[0].rstrip(":")
    if service := _CODE_OF_SERVICE.search(message):
        said += f" ({service[1]})"
    kind = error.kind
    if kind == INTERNAL and "CryptoError" in message:
        kind = AUTH
        said += ". The passphrase is another than that of the repository, or the repository is not encrypted"
    elif kind == INTERNAL and cipher != "none" and "FormatError" in message:
        # With another passphrase nonsense comes out, and only the end of a longer file tells that it is none.
        kind = AUTH
        said += (
            ". The passphrase is another than that of the repository, or what the repository says of itself is broken"
        )
    return BackupError(kind, f"repository {repository} cannot be read: {said}", error.facts)


def _backup(entry: Reader, versions: t.Mapping[int, str]) -> Backup:
    archive, position, size, times = (entry.below(key) for key in ("archive", "lsn", "info", "timestamp"))
    number = entry.below("database").number("id")
    return Backup(
        label=entry.text("label"),
        kind=entry.text("type"),
        prior=entry.text_or_none("prior"),
        needs=() if entry.absent("reference") else entry.texts("reference"),
        archive_id=f"{versions[number]}-{number}",
        wal_start=archive.text("start"),
        wal_stop=archive.text("stop"),
        lsn_start=position.text("start"),
        lsn_stop=position.text("stop"),
        bytes=size.number("size"),
        stored=size.below("repository").number("delta"),
        bad_pages=entry.flag("error"),
        started=times.number("start"),
        stopped=times.number("stop"),
        annotations={} if entry.absent("annotation") else entry.named_texts("annotation"),
    )


# --- repo-ls


class Item(t.NamedTuple):
    """A file of a repository: its path, its length in bytes, and when it was written, in seconds since 1970."""

    path: str
    bytes: int
    time: int


def read_listing(text: str) -> list[Item]:
    """Return the files that ``repo-ls --recurse --output=json`` names. A directory that is not there has none."""
    try:
        document: Json = json.loads(text)
        return [
            Item(path, item.number("size"), item.number("time"))
            for path, value in document.items()
            if (item := Reader(value, path)).text("type") == "file"
        ]
    except (ValueError, AttributeError) as error:
        raise BackupError(PARSE, f"pgbackrest repo-ls gave no listing that can be read: {error}") from error


class Listed(t.NamedTuple):
    """The log in a repository, of one cluster.

    ``segments`` are files by the plain name of 24 digits, ``histories`` paths
    by timeline. ``twice`` are segments that are there with two different
    contents, none of which recovery gets.
    """

    segments: dict[str, Item]
    histories: dict[int, str]
    twice: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Return the names of what recovery can ask for."""
        return [*self.segments, *(wal.history_name(timeline) for timeline in self.histories)]


def archive_listing(items: t.Iterable[Item]) -> Listed:
    """Return the log among the files of a repository. Unfinished segments are left out: recovery asks for none."""
    segments: dict[str, Item] = {}
    histories: dict[int, str] = {}
    twice: set[str] = set()
    for item in items:
        file = wal.parse_name(item.path.rpartition("/")[2])
        if file is None or not item.bytes:
            continue
        if file.kind == wal.HISTORY:
            histories[file.timeline] = item.path
        elif file.kind == wal.SEGMENT and file.segment:
            if file.segment in segments:
                twice.add(file.segment)
            segments[file.segment] = item
    for name in twice:
        del segments[name]
    return Listed(segments, histories, tuple(sorted(twice)))


# --- verify


_ARCHIVE = re.compile(r"  archiveId: (\S+), total WAL checked: ([0-9]+), total valid WAL: ([0-9]+)")
_CHECKED = re.compile(r"  backup: (\S+), status: (.+), total files checked: ([0-9]+), total valid files: ([0-9]+)")
_COUNTS = re.compile(r"    (\S.*)")
# What is wanted and not named is missed anyway.
_NONE = ("  archiveId: none found", "  backup: none found")


class Verified(t.NamedTuple):
    """What ``verify`` found, in sentences: by the label of a backup, by the id of an archive, and of the stanza.

    ``verdict`` is its own one where that is not good, which may be about
    backups that nobody asked for.
    """

    backups: dict[str, str | None]
    archives: dict[str, str | None]
    stanza: tuple[str, ...]
    verdict: str | None

    def problems(self, labels: t.Mapping[str, str], archive_ids: t.Iterable[str]) -> list[str]:
        """Return what is wrong with backups (by label, with the words to call them by) and with archives.

        What it does not name was not looked at, and is no better than bad.
        """
        found = list(self.stanza)
        for label, words in labels.items():
            problem = self.backups.get(label, "was not looked at, as if it were not there")
            if problem:
                found.append(f"{words}: backup {label} {problem}")
        for archive_id in archive_ids:
            problem = self.archives.get(archive_id, "has no segment at all")
            if problem:
                found.append(f"the archive {archive_id} {problem}")
        return found or [self.verdict] if self.verdict else found


def read_verification(text: str, stanza: str) -> Verified:
    """Return what ``verify --output=text --verbose`` says. Its exit status says nothing."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    if lines[:1] != [f"stanza: {stanza}"] or len(lines) < 2 or not lines[1].startswith("status: "):
        raise BackupError(PARSE, f"pgbackrest verify gave no answer that can be read: {text.strip()!r:.200}")
    backups: dict[str, str | None] = {}
    archives: dict[str, str | None] = {}
    strange = []
    counts: dict[int, str] = {}
    for number, line in enumerate(lines):
        if match := _COUNTS.fullmatch(line):
            counts[number - 1] = match[1]
    for number, line in enumerate(lines[2:], 2):
        why = counts.get(number, "it does not say why")
        if match := _ARCHIVE.fullmatch(line):
            archives[match[1]] = _grade("valid", int(match[2]), int(match[3]), "segments", why)
        elif match := _CHECKED.fullmatch(line):
            backups[match[1]] = _grade(match[2], int(match[3]), int(match[4]), "files", why)
        elif not _COUNTS.fullmatch(line) and line not in _NONE:
            strange.append(f"pgBackRest says of the stanza {stanza}: {line.strip()}")
    bad = [f"backup {label} {problem}" for label, problem in backups.items() if problem]
    bad += [f"archive {archive_id} {problem}" for archive_id, problem in archives.items() if problem]
    verdict = None
    if lines[1] != "status: ok":
        verdict = f"pgBackRest says of the stanza {stanza}: {lines[1]}; {'; '.join(bad) or 'it does not say why'}"
    return Verified(backups, archives, tuple(strange), verdict)


def _grade(status: str, checked: int, good: int, what: str, why: str) -> str | None:
    if status == "valid" and checked == good and checked > 0:
        return None
    if status != "valid" and not checked:
        return f"is not good: {status}"
    return f"is damaged: of {checked} {what} {good} are good ({why})"
