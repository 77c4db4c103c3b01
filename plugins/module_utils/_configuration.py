# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Several files that are right only together: checked beside, then put in place."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import tempfile
import typing as t
from dataclasses import dataclass

MAX_COMPLAINT = 2000


class Refused(Exception):
    """The set was refused, or could not be written. The message is for people."""


@dataclass(frozen=True)
class Entry:
    """One file of a set; ``path`` is below the root."""

    path: str
    content: bytes
    mode: int
    secret: bool = False


@dataclass(frozen=True)
class Owner:
    """Whose the files are."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Difference:
    """How a file is not yet as it should be."""

    entry: Entry
    before: bytes | None
    content: bool
    attributes: bool


@dataclass(frozen=True)
class Account:
    """Who runs the checks."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


def differences(root: str, entries: t.Sequence[Entry], owner: Owner) -> list[Difference]:
    """Return how the files under the root are not as they should be."""
    found = []
    for entry in entries:
        path = os.path.join(root, entry.path)
        try:
            info = os.lstat(path)
        except FileNotFoundError:
            found.append(Difference(entry, None, True, False))
            continue
        if not stat.S_ISREG(info.st_mode):
            raise Refused(f"{path} is not a file; move it away first")
        with open(path, "rb") as file:
            before = file.read()
        attributes = (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) != (entry.mode, owner.uid, owner.gid)
        if before != entry.content or attributes:
            found.append(Difference(entry, before, before != entry.content, attributes))
    return found


def relocated(content: bytes, root: str, stage: str, entries: t.Sequence[Entry]) -> bytes:
    """Return a content in which the files of the set are named where they are staged, and no others."""
    text = content
    for entry in sorted(entries, key=lambda each: len(each.path), reverse=True):
        name = os.path.join(root, entry.path).encode()
        text = re.sub(re.escape(name) + rb"(?![\w./-])", os.path.join(stage, entry.path).encode(), text)
    return text


def check(
    root: str,
    entries: t.Sequence[Entry],
    commands: t.Sequence[t.Sequence[str]],
    owner: Owner,
    account: Account | None = None,
    timeout: float = 60,
) -> None:
    """Hand a copy of the set to each command. It is refused by the first one that does not end with 0."""
    # In memory where there is such a place: the copies hold secrets, too.
    parent = "/run" if os.path.isdir("/run") and os.access("/run", os.W_OK) else tempfile.gettempdir()
    with tempfile.TemporaryDirectory(prefix="matrixon-check-", dir=parent) as stage:
        os.chown(stage, owner.uid, owner.gid)
        # The owner of the directory is not who runs the checks, but the group is.
        os.chmod(stage, 0o750)
        for entry in entries:
            place(stage, entry, relocated(entry.content, root, stage, entries), owner, 0o750)
        for command in commands:
            argv = [argument.replace("{root}", stage) for argument in command]
            run_check(argv, stage, root, entries, account, timeout)


def run_check(
    argv: list[str],
    stage: str,
    root: str,
    entries: t.Sequence[Entry],
    account: Account | None,
    timeout: float,
) -> None:
    """Run one command over the staged files."""
    shown = " ".join(argv).replace(stage, root)
    identity: dict[str, t.Any] = {}
    if account is not None and os.geteuid() == 0:
        identity = {"user": account.uid, "group": account.gid, "extra_groups": list(account.groups)}
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"},
            **identity,
        )
    except subprocess.TimeoutExpired as error:
        raise Refused(f"the check did not end within {timeout:g} s: {shown}") from error
    except OSError as error:
        raise Refused(f"the check could not be started ({error.strerror}): {shown}") from error
    if done.returncode != 0:
        said = complaint(done.stderr.decode("utf-8", "replace"), done.stdout.decode("utf-8", "replace"))
        said = mask(said.replace(stage, root), entries)
        raise Refused(f"{said or f'it ended with code {done.returncode} and said nothing'} (asked: {shown})")


def complaint(err: str, out: str) -> str:
    """Return what a program complained about: of a Python traceback the exception and where it was, else its words."""
    text = err.strip() or out.strip()
    if "Traceback (most recent call last)" in text:
        lines = text.splitlines()
        starts = [number for number, line in enumerate(lines) if line and not line[0].isspace() and ":" in line]
        frames = [after.strip() for line, after in zip(lines, lines[1:]) if line.startswith('  File "')]
        where = f"; it came from: {' > '.join(frames[-2:])}" if frames else ""
        text = "\n".join(lines[max(starts, default=len(lines) - 1) :]) + where
    return text[-MAX_COMPLAINT:]


def mask(text: str, entries: t.Sequence[Entry]) -> str:
    """Take out of a text what secret files hold."""
    for entry in entries:
        if not entry.secret:
            continue
        for line in entry.content.decode("utf-8", "replace").splitlines():
            for part in (line.strip(), line.rpartition(": ")[2].strip(" '\""), line.rpartition(" ")[2].strip(" '\"")):
                if len(part) >= 8:
                    text = text.replace(part, "********")
    return text


def place(root: str, entry: Entry, content: bytes, owner: Owner, directory_mode: int) -> None:
    """Write one file in one step for whoever reads it, and the directories above it."""
    path = os.path.join(root, entry.path)
    make_directories(root, os.path.dirname(path), owner, directory_mode)
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=os.path.dirname(path))
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchown(file.fileno(), owner.uid, owner.gid)
            os.fchmod(file.fileno(), entry.mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def make_directories(root: str, directory: str, owner: Owner, mode: int) -> None:
    """Make the directories from the root down that are not there."""
    missing = []
    while not os.path.isdir(directory):
        missing.append(directory)
        if directory == root:
            break
        directory = os.path.dirname(directory)
    for path in reversed(missing):
        os.mkdir(path)
        os.chown(path, owner.uid, owner.gid)
        os.chmod(path, mode)


def apply(root: str, found: t.Sequence[Difference], owner: Owner, directory_mode: int) -> None:
    """Put each file in place that is not as it should be."""
    for difference in found:
        entry = difference.entry
        if difference.content:
            place(root, entry, entry.content, owner, directory_mode)
        else:
            # Not rewritten: its time must keep telling when its content changed.
            path = os.path.join(root, entry.path)
            os.chown(path, owner.uid, owner.gid)
            os.chmod(path, entry.mode)
