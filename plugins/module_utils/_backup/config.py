# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Configuration and signing keys, encrypted with age to the public keys of those who may read them.

The archive ``config.tar.zst.age`` (or ``.gz.age``) opens with common tools:

    age --decrypt -i IDENTITY config.tar.zst.age | zstd -d | tar -x

In it are ``MANIFEST.json``, with length, mode, owner and SHA-256 of each
member, and the files themselves below ``files/``, with the paths they had.
The set's manifest keeps a digest of the whole tar. What is secret is only ever
in memory and in pipes: it touches no disk, no argument and no message.

Without an identity it can be proved that the archive is the one that was
written, complete and for as many recipients as were asked for; that it opens,
only with one. Before it is encrypted, it is unpacked again in memory and
compared.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import stat
import tarfile
import typing as t
import zlib
from dataclasses import dataclass, field
from grp import getgrgid, getgrnam
from pwd import getpwnam, getpwuid

from ansible_collections.matrixon.ops.plugins.module_utils._backup.capture import capture
from ansible_collections.matrixon.ops.plugins.module_utils._backup.changes import to_bytes, to_text
from ansible_collections.matrixon.ops.plugins.module_utils._backup.driver import Stopwatch, checksum
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import Component, FileEntry, Json, Reader
from ansible_collections.matrixon.ops.plugins.module_utils._backup.media import open_target
from ansible_collections.matrixon.ops.plugins.module_utils._backup.private import secret_problem
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner, damaged, failure
from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._probe import AUTH, INTERNAL, Deadline, ProbeFailure

SCHEMA = "matrixon.ops/config/1"
MANIFEST = "MANIFEST.json"
FILES = "files/"
# Everything is held in memory, and this is no place for data.
MAX_BYTES = 64 * 1024 * 1024
# How often a file is read that changes meanwhile.
ROUNDS = 3

ZSTD, GZIP = "zstd", "gzip"
SUFFIXES = {ZSTD: "zst", GZIP: "gz"}

FILE, DIRECTORY, LINK = "file", "directory", "link"

# How age builds a file: a header in lines, a nonce, and chunks that each carry a tag.
FIRST_LINE = b"age-encryption.org/v1\n"
NONCE, CHUNK, TAG = 16, 64 * 1024, 16
MAX_HEADER = 64 * 1024

_RECIPIENT = re.compile(r"age1[0-9a-z]{10,}|ssh-(?:ed25519|rsa) [A-Za-z0-9+/]+=*(?: .*)?")
_SIGNING_KEY = re.compile(rb"^\s*(ed25519)\s+([A-Za-z0-9_]+)\s+[A-Za-z0-9+/]{20,}=*\s*$", re.MULTILINE)


@dataclass(frozen=True)
class ConfigPath:
    """A file or a directory that is kept. One that is ``optional`` may be absent."""

    path: str
    optional: bool = False


@dataclass(frozen=True)
class Member:
    """A file, directory or link in the archive. ``name`` is its path without the first slash.

    ``sha256`` and ``content`` are those of a file, ``target`` is where a link
    leads to, ``mtime`` is in seconds.
    """

    name: bytes
    kind: str
    mode: int
    uid: int
    gid: int
    user: str
    group: str
    mtime: int
    size: int = 0
    sha256: str | None = None
    target: str | None = None
    content: bytes = field(default=b"", repr=False)

    def as_dict(self) -> Json:
        """Return what stands in the archive's own manifest."""
        return {
            "name": to_text(self.name),
            "kind": self.kind,
            "mode": self.mode,
            "uid": self.uid,
            "gid": self.gid,
            "user": self.user,
            "group": self.group,
            "mtime": self.mtime,
            "size": self.size,
            "sha256": self.sha256,
            "target": self.target,
        }


@dataclass(frozen=True)
class ConfigPart:
    """What a run hands back: the archive's entry for the manifest, and what can be said without opening it."""

    files: tuple[FileEntry, ...]
    detail: Json
    notes: tuple[str, ...] = ()
    signing_key_ids: tuple[str, ...] = ()
    tool_versions: dict[str, str] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)

    def component(self) -> Component:
        """Return the manifest's component."""
        return Component(Config.name, self.files, sum(entry.bytes for entry in self.files), self.detail)


class Config:
    """The driver of configuration and keys. ``recipients`` are public keys: age1..., ssh-ed25519 or ssh-rsa."""

    name = "age"

    def __init__(
        self,
        recipients: t.Sequence[str] = (),
        runner: Runner | None = None,
        compression: str | None = None,
        max_bytes: int = MAX_BYTES,
        tool: str = "age",
    ) -> None:
        self._recipients = tuple(" ".join(recipient.split()) for recipient in recipients)
        self._runner = runner or Runner()
        self._compression = compression
        self._max_bytes = max_bytes
        self._tool = tool

    # --- before

    def problems(self, paths: t.Sequence[ConfigPath], directory: str | None = None) -> list[str]:
        """Return what stands in the way of a backup, a sentence each. Nothing is touched, no content is read."""
        found = recipient_problems(self._recipients)
        if self._compression not in (None, *SUFFIXES):
            found.append(f"compression: {self._compression!r} is neither {ZSTD} nor {GZIP}")
        if not paths:
            found.append("config: no path is to be kept")
        for kept in paths:
            if not os.path.isabs(kept.path) or not os.path.normpath(kept.path).strip("/"):
                found.append(f"config: {kept.path!r} is no absolute path of a file or a directory")
            elif not os.path.lexists(kept.path):
                if not kept.optional:
                    found.append(f"config: {kept.path} is not there; correct the path, or take it out of the list")
            elif directory and os.path.isdir(kept.path) and _inside(directory, kept.path):
                found.append(f"config: {kept.path} holds the store of the backups, {directory}")
        if not shutil.which(self._tool):
            found.append(
                f"{self._tool} is not installed on this host, or not on the PATH; on Debian it is in the package age"
            )
        return found

    def version(self, deadline: Deadline) -> str:
        """Return age's version."""
        done = capture(self._runner, [self._tool, "--version"], deadline, "age --version")
        if done.code:
            raise failure(self._tool, done.code, done.words, "asking age for its version")
        return done.out.decode("utf-8", "replace").strip().lstrip("v")

    # --- backup

    def backup(self, paths: t.Sequence[ConfigPath], directory: str, deadline: Deadline) -> ConfigPart:
        """Put an encrypted archive into a set's directory."""
        watch = Stopwatch()
        if problems := self.problems(paths, directory):
            raise BackupError(INTERNAL, "; ".join(problems))
        members, notes = gather(paths, self._max_bytes, deadline)
        plain = pack(members)
        watch.lap("read")
        compression = self._compression or (ZSTD if shutil.which(ZSTD) else GZIP)
        packed = self._compress(plain, compression, deadline)
        digest = hashlib.sha256(plain).hexdigest()
        self._rehearse(packed, compression, digest, members, deadline)
        watch.lap("compress")
        name = f"config.tar.{SUFFIXES[compression]}.age"
        path = os.path.join(directory, name)
        arguments = [word for recipient in self._recipients for word in ("--recipient", recipient)]
        self._runner.run(
            [self._tool, "--encrypt", *arguments],
            deadline,
            stdin=packed,
            target=path,
            doing="encrypting the configuration",
        )
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        size, sha256 = checksum(path, deadline)
        part = ConfigPart(
            files=(FileEntry(name, size, sha256),),
            detail={
                "compression": compression,
                "recipients": list(self._recipients),
                "members": len(members),
                "tar_bytes": len(plain),
                "tar_sha256": digest,
                "packed_bytes": len(packed),
            },
            notes=tuple(notes),
            signing_key_ids=tuple(dict.fromkeys(key for member in members for key in signing_key_ids(member.content))),
            tool_versions={"age": self.version(deadline)},
            timings=watch.laps,
        )
        self.check(part.component(), directory, deadline)
        watch.lap("encrypt")
        return part

    def _compress(self, plain: bytes, compression: str, deadline: Deadline) -> bytes:
        if compression == GZIP:
            return gzip.compress(plain, 6, mtime=0)
        doing = "compressing the configuration"
        done = capture(self._runner, [ZSTD, "-q", "-3", "-c"], deadline, doing, stdin=plain, in_memory=True)
        if done.code:
            raise failure(ZSTD, done.code, done.words, doing)
        return done.out

    def _expand(self, packed: bytes, compression: str, deadline: Deadline) -> bytes:
        doing = "expanding the configuration"
        if compression == GZIP:
            try:
                return gzip.decompress(packed)
            except (OSError, EOFError, zlib.error) as error:
                raise damaged(f"{doing}: {error}") from error
        done = capture(self._runner, [ZSTD, "-q", "-d", "-c"], deadline, doing, stdin=packed, in_memory=True)
        if done.code:
            raise damaged(f"{doing}: {failure(ZSTD, done.code, done.words).message}")
        return done.out

    def _rehearse(
        self, packed: bytes, compression: str, digest: str, members: list[Member], deadline: Deadline
    ) -> None:
        """Unpack what is about to be encrypted, and make sure that nothing is missing."""
        plain = self._expand(packed, compression, deadline)
        if hashlib.sha256(plain).hexdigest() != digest or unpack(plain) != members:
            raise BackupError(
                INTERNAL, "the archive of the configuration did not unpack as it was packed; run it again"
            )

    # --- check and restore

    def check(self, component: Component, directory: str, deadline: Deadline) -> None:
        """Prove what can be proved without an identity, and fail with kind parse where something is wrong."""
        path, entry = _archive(component, directory)
        try:
            size, sha256 = checksum(path, deadline)
            with open(path, "rb") as file:
                head = file.read(MAX_HEADER)
        except OSError as error:
            raise damaged(f"{path} cannot be read: {error.strerror}") from error
        if (size, sha256) != (entry.bytes, entry.sha256):
            raise damaged(f"{path} is not what was written: it has {size} bytes and the SHA-256 {sha256}")
        stanzas, length = parse_header(head, path)
        detail = Reader(component.detail, "config")
        recipients = detail.texts("recipients")
        if stanzas < len(recipients):
            raise damaged(f"{path} can be opened by {stanzas} recipients, and {len(recipients)} were asked for")
        expected = encrypted_size(length, detail.number("packed_bytes"))
        if size != expected:
            raise damaged(f"{path} has {size} bytes, and its content makes {expected}")

    def read(self, component: Component, directory: str, identity_file: str, deadline: Deadline) -> list[Member]:
        """Return what is in an archive, after comparing all of it with what was put away. Nothing is written."""
        if problem := secret_problem(identity_file, "identity_file"):
            raise BackupError(AUTH, problem)
        self.check(component, directory, deadline)
        path, dummy = _archive(component, directory)
        detail = Reader(component.detail, "config")
        doing = f"decrypting {path}"
        argv = [self._tool, "--decrypt", "--identity", identity_file, path]
        done = capture(self._runner, argv, deadline, doing, in_memory=True)
        if done.code:
            raise self._closed(done.code, done.words, doing, detail.texts("recipients"))
        plain = self._expand(done.out, detail.text("compression"), deadline)
        if len(plain) != detail.number("tar_bytes") or hashlib.sha256(plain).hexdigest() != detail.text("tar_sha256"):
            raise damaged(f"{path} holds another archive than the one that was put away")
        members = unpack(plain)
        if len(members) != detail.number("members"):
            raise damaged(f"{path} holds {len(members)} members, and {detail.number('members')} were put away")
        return members

    def _closed(self, code: int, words: str, doing: str, recipients: t.Sequence[str]) -> ProbeFailure:
        error = failure(self._tool, code, words, doing)
        if "no identity matched" in words:
            return BackupError(
                AUTH,
                f"{doing}: the identity belongs to none of the recipients; it was made for {', '.join(recipients)}",
            )
        if code > 0 and ("failed to decrypt" in words or "header" in words or "EOF" in words):
            return damaged(error.message)
        return error

    def restore(
        self, component: Component, directory: str, identity_file: str, target: str, deadline: Deadline
    ) -> list[str]:
        """Write an archive below a directory that is absent or empty, and return notes.

        A file of /etc/x is written as TARGET/etc/x, with the mode it had. Run
        as root it gets its owner, by name where this host knows the name.
        """
        members = self.read(component, directory, identity_file, deadline)
        root = open_target(target)
        try:
            return write(members, root)
        except OSError as error:
            raise BackupError(INTERNAL, f"target: {target} cannot be written: {error}") from error


def _archive(component: Component, directory: str) -> tuple[str, FileEntry]:
    if component.driver != Config.name or len(component.files) != 1:
        raise damaged(f"the configuration in {directory} was not made by the driver {Config.name}")
    entry = component.files[0]
    return os.path.join(directory, entry.path), entry


def _inside(path: str, other: str) -> bool:
    mine, theirs = os.path.realpath(path), os.path.realpath(other)
    return os.path.commonpath([mine, theirs]) == theirs


# --- recipients and keys


def recipient_problems(recipients: t.Sequence[str]) -> list[str]:
    """Return a sentence for each recipient that is none. A secret that was given by mistake is not repeated."""
    if not recipients:
        return ["recipients: name at least one public key of age; configuration and keys are never stored in the clear"]
    found = []
    for number, recipient in enumerate(recipients, 1):
        if "SECRET-KEY" in recipient.upper() or "PRIVATE KEY" in recipient.upper():
            found.append(
                f"recipients: number {number} is an identity, which is secret, and not a public key; give what "
                "`age-keygen -y` prints for it, and make a new one if this one may have been seen"
            )
        elif not _RECIPIENT.fullmatch(recipient):
            found.append(f"recipients: number {number} is no public key such as age1... or ssh-ed25519 ...")
    return found


def signing_key_ids(content: bytes) -> list[str]:
    """Return the ids of the signing keys in a file of a homeserver, such as ed25519:a_AbCd, and nothing secret."""
    return [f"{kind.decode()}:{version.decode()}" for kind, version in _SIGNING_KEY.findall(content)]


# --- reading


def gather(paths: t.Sequence[ConfigPath], max_bytes: int, deadline: Deadline) -> tuple[list[Member], list[str]]:
    """Return what is at the paths, each once, and notes. A link is kept as a link.

    Where one of the paths itself is a link, what it leads to is kept, too.
    """
    collector = _Collector(max_bytes, deadline)
    for kept in paths:
        path = to_bytes(os.path.normpath(kept.path))
        if not os.path.lexists(path):
            collector.notes.append(f"{kept.path} is not there")
            continue
        collector.add(path, given=True)
        if os.path.islink(path):
            end = os.path.realpath(path)
            if not os.path.exists(end):
                raise BackupError(INTERNAL, f"config: {kept.path} is a link that leads nowhere, to {to_text(end)}")
            collector.add(end, given=True)
    return [collector.members[name] for name in sorted(collector.members)], collector.notes


class _Collector:
    """Reads files until they are too many bytes."""

    def __init__(self, max_bytes: int, deadline: Deadline) -> None:
        self.members: dict[bytes, Member] = {}
        self.notes: list[str] = []
        self._left = self._max = max_bytes
        self._deadline = deadline

    def add(self, path: bytes, given: bool = False) -> None:
        """Take a path and what is below it. One that vanished is a note, unless it was given by name."""
        self._deadline.require("reading the configuration")
        name = path.lstrip(b"/")
        if name in self.members:
            return
        try:
            member = self._member(path, name)
        except FileNotFoundError as error:
            if given:
                raise BackupError(INTERNAL, f"config: {to_text(path)} vanished while it was read") from error
            self.notes.append(f"{to_text(path)!r} vanished while it was read")
            return
        except OSError as error:
            raise BackupError(AUTH, f"config: {to_text(path)} cannot be read: {error.strerror}") from error
        if member is None:
            self.notes.append(f"{to_text(path)!r} is neither file, directory nor link, and was skipped")
            return
        self.members[name] = member
        if member.kind == DIRECTORY:
            for entry in self._names(path):
                self.add(os.path.join(path, entry))

    def _names(self, path: bytes) -> list[bytes]:
        try:
            return sorted(os.listdir(path))
        except OSError as error:
            raise BackupError(AUTH, f"config: {to_text(path)} cannot be read: {error.strerror}") from error

    def _member(self, path: bytes, name: bytes) -> Member | None:
        info = os.lstat(path)
        if stat.S_ISDIR(info.st_mode):
            return _make(name, DIRECTORY, info)
        if stat.S_ISLNK(info.st_mode):
            return _make(name, LINK, info, target=to_text(os.readlink(path)))
        if not stat.S_ISREG(info.st_mode):
            return None
        info, content = self._content(path)
        self._left -= len(content)
        return _make(name, FILE, info, content=content)

    def _content(self, path: bytes) -> tuple[os.stat_result, bytes]:
        """Return a file as it was at one moment."""
        for dummy in range(ROUNDS):
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(handle, "rb", buffering=0) as file:
                before = os.fstat(handle)
                content = b""
                while piece := file.read(1 << 20):
                    content += piece
                    if len(content) > self._left:
                        raise BackupError(
                            INTERNAL,
                            f"config: with {to_text(path)} it is more than {human(self._max, 'B')}, and this is meant "
                            "for configuration and keys; name the directories more narrowly",
                        )
                after = os.fstat(handle)
            if _state(before) == _state(after) and len(content) == after.st_size:
                return after, content
        raise BackupError(
            INTERNAL, f"config: {to_text(path)} changed each of the {ROUNDS} times it was read; try again"
        )


def _state(info: os.stat_result) -> tuple[int, ...]:
    return (info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def _make(name: bytes, kind: str, info: os.stat_result, content: bytes = b"", target: str | None = None) -> Member:
    return Member(
        name=name,
        kind=kind,
        mode=stat.S_IMODE(info.st_mode),
        uid=info.st_uid,
        gid=info.st_gid,
        user=_user(info.st_uid),
        group=_group(info.st_gid),
        mtime=int(info.st_mtime),
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest() if kind == FILE else None,
        target=target,
        content=content,
    )


def _user(uid: int) -> str:
    try:
        return getpwuid(uid).pw_name
    except KeyError:
        return ""


def _group(gid: int) -> str:
    try:
        return getgrgid(gid).gr_name
    except KeyError:
        return ""


# --- the archive

_TYPES = {FILE: tarfile.REGTYPE, DIRECTORY: tarfile.DIRTYPE, LINK: tarfile.SYMTYPE}


def pack(members: t.Sequence[Member]) -> bytes:
    """Return a tar with its manifest first."""
    document = {"schema": SCHEMA, "members": [member.as_dict() for member in members]}
    manifest = json.dumps(document, sort_keys=True, indent=1).encode() + b"\n"
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        info = tarfile.TarInfo(MANIFEST)
        info.size, info.mode = len(manifest), 0o600
        archive.addfile(info, io.BytesIO(manifest))
        for member in members:
            info = tarfile.TarInfo(FILES + to_text(member.name))
            info.type, info.mode, info.mtime = _TYPES[member.kind], member.mode, member.mtime
            info.uid, info.gid, info.uname, info.gname = member.uid, member.gid, member.user, member.group
            info.size, info.linkname = member.size, member.target or ""
            archive.addfile(info, io.BytesIO(member.content))
    return buffer.getvalue()


def unpack(plain: bytes) -> list[Member]:
    """Return the members of a tar, after comparing each with the manifest in it; kind parse where one differs."""
    try:
        with tarfile.open(fileobj=io.BytesIO(plain), mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
            infos = archive.getmembers()
            contents = [_read(archive, info) for info in infos]
        if not infos or infos[0].name != MANIFEST:
            raise ValueError("it does not begin with its manifest")
        source = Reader(json.loads(contents[0]), MANIFEST)
        if source.text("schema") != SCHEMA:
            raise ValueError(f"its schema is {source.text('schema')!r}; this version reads {SCHEMA!r}")
        members = [_member(entry) for entry in source.each("members")]
        if len({member.name for member in members}) != len(members):
            raise ValueError("it lists a member twice")
    except (ValueError, tarfile.TarError, EOFError) as error:
        raise damaged(f"the archive of the configuration: {error}") from error
    if len(members) != len(infos) - 1:
        raise damaged(f"the archive of the configuration has {len(infos) - 1} members, and lists {len(members)}")
    found = []
    for member, info, content in zip(members, infos[1:], contents[1:]):
        if problem := _difference(member, info, content):
            raise damaged(f"the archive of the configuration: {to_text(member.name)!r} {problem}")
        found.append(Member(**{**vars(member), "content": content}))
    return found


def _read(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    if not info.isreg():
        return b""
    file = archive.extractfile(info)
    content = file.read() if file else b""
    if len(content) != info.size:
        raise ValueError(f"{info.name!r} is cut off")
    return content


def _member(source: Reader) -> Member:
    member = Member(
        name=to_bytes(source.text("name")),
        kind=source.text("kind"),
        mode=source.number("mode"),
        uid=source.number("uid"),
        gid=source.number("gid"),
        user=source.text("user"),
        group=source.text("group"),
        mtime=source.number("mtime"),
        size=source.number("size"),
        sha256=source.text_or_none("sha256"),
        target=source.text_or_none("target"),
    )
    parts = member.name.split(b"/")
    if any(part in (b"", b".", b"..") for part in parts) or b"\0" in member.name:
        raise ValueError(f"{to_text(member.name)!r} is no plain path")
    if member.kind not in _TYPES or (member.kind == LINK) != (member.target is not None):
        raise ValueError(f"{to_text(member.name)!r} is of no known kind")
    return member


def _difference(member: Member, info: tarfile.TarInfo, content: bytes) -> str | None:
    if to_bytes(info.name) != to_bytes(FILES) + member.name or info.type != _TYPES[member.kind]:
        return f"stands where {info.name!r} is"
    if (info.size, info.mode, info.uid, info.gid) != (member.size, member.mode, member.uid, member.gid):
        return "has another length, mode or owner than it should"
    if member.kind == LINK and info.linkname != member.target:
        return "leads elsewhere than it should"
    if member.kind == FILE and hashlib.sha256(content).hexdigest() != member.sha256:
        return "has another content than it should"
    return None


def parse_header(head: bytes, path: str) -> tuple[int, int]:
    """Return for how many recipients a file of age is, and how long its header is; kind parse where it has none."""
    if not head.startswith(FIRST_LINE):
        raise damaged(f"{path} is not encrypted with age")
    position, stanzas = 0, 0
    for line in head.splitlines(keepends=True):
        position += len(line)
        if line.startswith(b"-> "):
            stanzas += 1
        elif line.startswith(b"---"):
            if not line.endswith(b"\n"):
                break
            return stanzas, position
    raise damaged(f"{path} has no whole header of age")


def encrypted_size(header: int, size: int) -> int:
    """Return how long a file of age must be whose header and content are so long."""
    return header + NONCE + size + TAG * max(1, -(-size // CHUNK))


# --- writing


def write(members: t.Sequence[Member], root: bytes) -> list[str]:
    """Write members below an empty directory that only we can enter, links last, and return notes."""
    notes = []
    for member in members:
        path = os.path.join(root, member.name)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        if member.kind == DIRECTORY:
            os.makedirs(path, mode=0o700, exist_ok=True)
        elif member.kind == FILE:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with open(handle, "wb") as file:
                file.write(member.content)
                file.flush()
                os.fsync(file.fileno())
    for member in members:
        if member.kind == LINK:
            os.symlink(to_bytes(member.target or ""), os.path.join(root, member.name))
    # The deepest first, so that a directory is closed after what is in it was done.
    for member in sorted(members, key=lambda member: member.name.count(b"/"), reverse=True):
        path = os.path.join(root, member.name)
        if os.geteuid() == 0:
            os.chown(path, *_owner(member), follow_symlinks=False)
        if member.kind != LINK:
            mode = member.mode
            if member.kind == FILE and mode & 0o6000:
                mode &= 0o1777
                notes.append(f"{to_text(member.name)!r} lost its right to run as another user")
            os.chmod(path, mode)
            os.utime(path, (member.mtime, member.mtime))
    return notes


def _owner(member: Member) -> tuple[int, int]:
    """Return the numbers of a member's owner on this host."""
    uid, gid = member.uid, member.gid
    if member.user:
        with contextlib.suppress(KeyError):
            uid = getpwnam(member.user).pw_uid
    if member.group:
        with contextlib.suppress(KeyError):
            gid = getgrnam(member.group).gr_gid
    return uid, gid
