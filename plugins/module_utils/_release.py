# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""A release archive: fetched, held to its checksum and signature, unpacked, tried out.

Nothing of an archive is unpacked before its checksum was right, and nothing of
it runs before its signature was.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import http.client
import lzma
import os
import posixpath
import re
import shutil
import stat
import subprocess
import tarfile
import tempfile
import typing as t
import urllib.error
import zlib

from ansible_collections.matrixon.ops.plugins.module_utils._command import Runner
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure

CHUNK = 1 << 20
SIGNATURE_LIMIT = 1 << 16

# What a release was made of, kept in it.
MARK = ".release.json"

# Numbers of ELF for the names that the kernel gives its architectures.
MACHINES = {
    "aarch64": 183,
    "armv7l": 40,
    "i686": 3,
    "loongarch64": 258,
    "ppc64le": 21,
    "riscv64": 243,
    "s390x": 22,
    "x86_64": 62,
}
# 64-bit kernels that run 32-bit programs.
ALSO_RUNS = {"x86_64": (3,), "aarch64": (40,)}

_KEY_BLOCK = re.compile(
    r"-----BEGIN PGP PUBLIC KEY BLOCK-----[^\n]*\n(.*?)-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL
)


class ReleaseError(Exception):
    """Why there is no release, in words for an operator."""


class Opened(t.Protocol):
    """What opening a URL returns."""

    headers: t.Any

    def read(self, size: int = -1, /) -> bytes:
        """Return at most so many bytes."""


Opener = t.Callable[[str, float], Opened]


class Entry(t.NamedTuple):
    """One thing to be made of an archive's member, with its path below the release."""

    path: str
    member: tarfile.TarInfo


# --- fetching


def wanted_digest(checksum: str) -> str:
    """Return the hexadecimal digits of a checksum."""
    if not re.fullmatch(r"sha256:[0-9a-fA-F]{64}", checksum):
        raise ReleaseError("checksum: is not 'sha256:' and 64 hexadecimal digits, as 'sha256sum ARCHIVE' prints them")
    return checksum[len("sha256:") :].lower()


def fetch(opener: Opener, url: str, target: str, deadline: Deadline, limit: int | None = None) -> str:
    """Write what a URL holds to a new file and return the SHA-256 of it."""
    digest, size = hashlib.sha256(), 0
    try:
        answer = opener(url, deadline.require(url))
        expected = answer.headers.get("Content-Length")
        # Of what has arrived, not until so much has: else a slow server would outlast the deadline.
        read = getattr(answer, "read1", answer.read)
        with open(target, "xb") as file:
            while chunk := read(CHUNK):
                deadline.require(url)
                digest.update(chunk)
                size += len(chunk)
                if limit is not None and size > limit:
                    raise ReleaseError(f"{url}: is larger than {limit} bytes, so it is not what it should be")
                file.write(chunk)
    except urllib.error.HTTPError as error:
        raise ReleaseError(f"{url}: the server answers {error.code} {error.reason}") from error
    except ProbeFailure as error:
        raise ReleaseError(f"{url}: is not here whole within {deadline.seconds:.3g} s; {size} bytes came") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise ReleaseError(f"{url}: cannot be fetched: {reason}") from error
    if expected is not None and expected.isdigit() and int(expected) != size:
        raise ReleaseError(f"{url}: the download broke off after {size} of {expected} bytes; try again")
    return digest.hexdigest()


def compare(url: str, found: str, wanted: str) -> None:
    """Refuse an archive that is not the one that was asked for."""
    if found != wanted:
        raise ReleaseError(
            f"{url}: its checksum is sha256:{found}, and sha256:{wanted} was asked for. What the server gives is not "
            "the release that the checksum was made of: see which of the two is wrong before you change either"
        )


# --- signature


def keyring_of(text: str) -> bytes:
    """Return public keys in the form that gpgv reads."""
    if "PRIVATE KEY BLOCK" in text:
        raise ReleaseError("signing_key: holds a private key; give the public one, and treat the other as stolen")
    blocks = _KEY_BLOCK.findall(text.replace("\r\n", "\n"))
    if not blocks:
        raise ReleaseError("signing_key: holds no block 'BEGIN PGP PUBLIC KEY BLOCK'; 'gpg --armor --export' makes one")
    keys = b""
    for block in blocks:
        # Between headers with a colon and a checksum after an equals sign lies the base64.
        lines = [line.strip() for line in block.splitlines()]
        body = "".join(line for line in lines if ":" not in line and not line.startswith("="))
        try:
            keys += base64.b64decode(body, validate=True)
        except binascii.Error as error:
            raise ReleaseError("signing_key: its block is damaged; export it again") from error
    return keys


def signer(archive: str, signature: str, keyring: bytes, run: Runner, deadline: Deadline) -> str:
    """Return the fingerprint of the key that signed an archive, or refuse it."""
    with tempfile.TemporaryDirectory() as home:
        ring = os.path.join(home, "keyring.gpg")
        with open(ring, "wb") as file:
            file.write(keyring)
        argv = ["gpgv", "--homedir", home, "--status-fd", "1", "--keyring", ring, signature, archive]
        try:
            done = run(argv, deadline)
        except ProbeFailure as error:
            raise ReleaseError(f"the signature cannot be verified: {error.message}") from error
    said = [line.split()[1:] for line in done.out.splitlines() if line.startswith("[GNUPG:] ")]
    words = {line[0]: line[1:] for line in said if line}
    # GOODSIG stands for a signature whose key is neither expired nor revoked.
    if done.code == 0 and "GOODSIG" in words and "VALIDSIG" in words:
        return words["VALIDSIG"][0]
    if "BADSIG" in words:
        reason = "it was made of other bytes: the archive or the signature was changed"
    elif "NO_PUBKEY" in words:
        reason = f"it was made with the key {words['NO_PUBKEY'][0]}, which is not among those of signing_key"
    elif "EXPKEYSIG" in words or "KEYEXPIRED" in words:
        reason = "the key of signing_key has expired"
    elif "REVKEYSIG" in words:
        reason = "the key of signing_key was revoked"
    elif "EXPSIG" in words:
        reason = "it has expired"
    else:
        reason = done.complaint
    raise ReleaseError(f"the archive's signature is not good: {reason}")


# --- unpacking


def entries_of(members: t.Iterable[tarfile.TarInfo], program: str) -> list[Entry]:
    """Return what is to be made of an archive's members, or refuse all of it.

    An archive may hold the program at its top or below one directory, which then
    is left out. Files, directories, and links to a neighbour are all that a
    release needs; anything else could reach out of its directory.
    """
    entries: list[Entry] = []
    for member in members:
        name = member.name
        path = posixpath.normpath(name)
        if not name or "\0" in name or posixpath.isabs(name) or ".." in name.split("/"):
            raise ReleaseError(f"the archive is refused: {name!r} would lie outside of the release")
        if path == ".":
            continue
        if member.issym():
            if "/" in member.linkname or member.linkname in ("", ".", ".."):
                raise ReleaseError(f"the archive is refused: {name!r} is a link that leads out of its directory")
        elif not member.isreg() and not member.isdir():
            raise ReleaseError(f"the archive is refused: {name!r} is neither a file, a directory nor a symbolic link")
        entries.append(Entry(path, member))

    paths = [entry.path for entry in entries]
    if program not in paths:
        tops = {path.split("/")[0] for path in paths}
        top = tops.pop() if len(tops) == 1 else ""
        if not top or f"{top}/{program}" not in paths:
            held = ", ".join(sorted(paths)[:8]) or "nothing"
            raise ReleaseError(f"the archive is refused: it has no program {program!r} at its top; it holds {held}")
        entries = [Entry(entry.path[len(top) + 1 :], entry.member) for entry in entries if entry.path != top]

    kinds: dict[str, tarfile.TarInfo] = {}
    for path, member in entries:
        if path in kinds and not (member.isdir() and kinds[path].isdir()):
            raise ReleaseError(f"the archive is refused: it holds {path!r} twice")
        kinds[path] = member
    for path in kinds:
        above = posixpath.dirname(path)
        while above:
            if above in kinds and not kinds[above].isdir():
                raise ReleaseError(f"the archive is refused: {path!r} lies below {above!r}, which is no directory")
            above = posixpath.dirname(above)
    if MARK in kinds:
        raise ReleaseError(f"the archive is refused: it holds {MARK!r}, where this collection keeps its own record")
    if not kinds[program].isreg():
        raise ReleaseError(f"the archive is refused: {program!r} in it is not a file")
    return entries


def unpack(archive: str, target: str, program: str) -> None:
    """Make a new directory of an archive, owned by who runs this and readable by all."""
    try:
        with tarfile.open(archive, "r:*") as tar:
            entries = entries_of(tar, program)
            os.mkdir(target, 0o755)
            for path, member in entries:
                place = os.path.join(target, path)
                os.makedirs(place if member.isdir() else os.path.dirname(place), 0o755, exist_ok=True)
                if member.issym():
                    os.symlink(member.linkname, place)
                elif member.isreg():
                    _write(t.cast(t.IO[bytes], tar.extractfile(member)), place, member)
    except (EOFError, tarfile.TarError, lzma.LZMAError, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ReleaseError(f"the archive is truncated or damaged, or no tar archive at all: {reason}") from error
    except OSError as error:
        raise ReleaseError(f"the archive cannot be unpacked: {error.strerror or error}") from error


def _write(source: t.IO[bytes], place: str, member: tarfile.TarInfo) -> None:
    """Write one file; of its mode only counts whether it is a program."""
    mode = 0o755 if member.mode & 0o111 else 0o644
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(handle, "wb") as file:
        shutil.copyfileobj(source, file, CHUNK)
        os.fchmod(file.fileno(), mode)
        if file.tell() != member.size:
            raise EOFError(f"it ends within {member.name!r}")
        file.flush()
        os.fsync(file.fileno())


# --- trying out


def fits_machine(path: str, machine: str) -> None:
    """Refuse a program that was made for another kind of computer."""
    with open(path, "rb") as file:
        head = file.read(20)
    if head.startswith(b"#!"):
        return
    if head.startswith(b"MZ"):
        raise ReleaseError("the program in the archive was made for Windows, and this host runs Linux")
    if head[:4] in (b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe"):
        raise ReleaseError("the program in the archive was made for macOS, and this host runs Linux")
    if not head.startswith(b"\x7fELF") or len(head) < 20:
        raise ReleaseError("the program in the archive is neither an ELF program nor a script")
    number = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
    if machine in MACHINES and number not in (MACHINES[machine], *ALSO_RUNS.get(machine, ())):
        name = next((name for name, value in MACHINES.items() if value == number), f"ELF machine {number}")
        raise ReleaseError(
            f"the program in the archive was made for {name}, and this host is {machine}; take that archive"
        )


def first_words(argv: list[str], uid: int, gid: int, folder: str, deadline: Deadline) -> str:
    """Start a program as its user, who has no other rights, and return the first line that it prints."""
    seconds = deadline.require(argv[0])
    who: dict[str, t.Any] = {"user": uid, "group": gid, "extra_groups": []} if os.geteuid() == 0 else {}
    command = " ".join([os.path.basename(argv[0]), *argv[1:]])
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
            cwd=folder,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"},
            **who,
        )
    except subprocess.TimeoutExpired as error:
        raise ReleaseError(f"the program does not start: '{command}' did not end within {seconds:.3g} s") from error
    except OSError as error:
        raise ReleaseError(f"the program does not start: '{command}': {error.strerror}") from error
    lines = (done.stdout + b"\n" + done.stderr).decode("utf-8", "replace").split("\n")
    said = next((line.strip() for line in lines if line.strip()), "")
    if done.returncode:
        loudest = next((line.strip() for line in reversed(lines) if line.strip()), "nothing was printed")
        ended = f"signal {-done.returncode}" if done.returncode < 0 else f"code {done.returncode}"
        raise ReleaseError(f"the program does not start: '{command}' ended with {ended}: {loudest}")
    if not said:
        raise ReleaseError(f"the program does not start: '{command}' printed nothing")
    return said


def remove(path: str) -> None:
    """Remove what is at a path, if anything is."""
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(kind):
        shutil.rmtree(path)
    else:
        os.unlink(path)
