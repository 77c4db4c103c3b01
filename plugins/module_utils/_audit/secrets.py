# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Files: who may read secrets, who owns them, and what everybody may write where services look."""

from __future__ import annotations

import glob
import grp
import os
import pwd
import stat
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import (
    Finding,
    Look,
    Plan,
    Rule,
    Seen,
    Skip,
    Tools,
    bad,
    good,
    skipped,
    unseen,
)
from ansible_collections.matrixon.ops.plugins.module_utils._probe import AUTH, TIMEOUT, Deadline, Facts, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import failure_of

READABLE = Rule(
    "secret-readable",
    "critical",
    "nobody but its owner and group reads a secret",
    "run 'chmod o-rwx FILE', and replace the secret",
)
WRITABLE = Rule(
    "secret-writable",
    "critical",
    "nobody but its owner writes a secret",
    "run 'chmod go-w FILE', and see what is in it",
)
OWNER = Rule(
    "secret-owner",
    "warning",
    "a secret belongs to root or to the service that reads it",
    "run 'chown' with the owner that is expected",
)
OPEN = Rule(
    "world-writable",
    "critical",
    "nothing below the directories of services can be written by everybody",
    "run 'chmod o-w PATH', and see what is in it",
)

RULES = (READABLE, WRITABLE, OWNER)
MOST_ENTRIES = 200_000
MOST_NAMED = 20


class Mode(t.NamedTuple):
    """A file as it lies there. Reached by others is one to which every directory above lets them pass."""

    path: str
    mode: int
    owner: str
    group: str
    reached: bool

    @property
    def described(self) -> str:
        """Return owner, group and mode as people write them."""
        return f"{self.mode:04o} {self.owner}:{self.group}"


def _name(number: int, table: t.Callable[[int], t.Any]) -> str:
    try:
        return str(table(number)[0])
    except KeyError:
        return str(number)


def look_at(path: str) -> Mode:
    """Return the mode of a file; what a link leads to counts."""
    info = os.stat(path)
    return Mode(
        path,
        stat.S_IMODE(info.st_mode),
        _name(info.st_uid, pwd.getpwuid),
        _name(info.st_gid, grp.getgrgid),
        _reached(path),
    )


def _reached(path: str) -> bool:
    """Return whether others may pass all directories above a file."""
    folder = os.path.dirname(os.path.realpath(path))
    while True:
        if not os.stat(folder).st_mode & stat.S_IXOTH:
            return False
        if folder == os.path.dirname(folder):
            return True
        folder = os.path.dirname(folder)


def secrets_probe(entries: list[Facts]) -> t.Callable[[Tools, Deadline], list[tuple[Facts, t.Any]]]:
    """Return the probe that looks at each file of the patterns; a file that is not there is nobody's fault."""

    def probe(tools: Tools, deadline: Deadline) -> list[tuple[Facts, t.Any]]:
        found: list[tuple[Facts, t.Any]] = []
        seen: set[str] = set()
        for entry in entries:
            patterns = [os.path.join(tools.root, path.lstrip("/")) for path in entry["paths"]]
            closed = {place: None for pattern in patterns for place in _closed(pattern)}
            for place in closed:
                failure = ProbeFailure(AUTH, f"{place} cannot be looked into; run with become")
                found.append(({**entry, "path": place}, failure))
            for path in sorted(path for pattern in patterns for path in glob.glob(pattern)):
                deadline.require(f"looking at {path}")
                if path not in seen and not os.path.isdir(path):
                    seen.add(path)
                    found.append(({**entry, "path": path}, _mode(path)))
        return found

    return probe


def _closed(pattern: str) -> t.Iterator[str]:
    """Yield the directories of a pattern into which this user cannot look: what is in them looks as if it was not."""
    folder, name = os.path.split(pattern)
    needed = os.X_OK | (os.R_OK if glob.has_magic(name) else 0)
    for place in glob.glob(folder) or [folder]:
        try:
            if stat.S_ISDIR(os.stat(place).st_mode) and not os.access(place, needed):
                yield place
        except PermissionError:
            yield place
        except OSError:
            continue


def _mode(path: str) -> Mode | ProbeFailure:
    try:
        return look_at(path)
    except OSError as error:
        return failure_of(error)


def judge_secrets(found: list[tuple[Facts, t.Any]]) -> Seen:
    """Hold each file against what may be."""
    findings: list[Finding] = []
    seen = 0
    for entry, mode in found:
        if isinstance(mode, ProbeFailure):
            findings += [unseen(rule, mode, entry["path"]) for rule in RULES]
            continue
        seen += 1
        findings += _secret_findings(entry, mode)
    if not found:
        findings += [skipped(rule, "none of the files with secrets is on this host") for rule in RULES]
    findings += [
        good(rule, f"{seen} files were looked at")
        for rule in RULES
        if not any(finding.rule is rule for finding in findings)
    ]
    return Seen(findings, {"secret_files": seen})


def _secret_findings(entry: Facts, mode: Mode) -> t.Iterator[Finding]:
    if mode.mode & stat.S_IROTH and mode.reached:
        yield bad(READABLE, f"{mode.path} is {mode.described}", mode.path)
    if mode.mode & stat.S_IWGRP or (mode.mode & stat.S_IWOTH and mode.reached):
        yield bad(WRITABLE, f"{mode.path} is {mode.described}", mode.path)
    owners = entry["owners"]
    if owners and mode.owner not in owners:
        yield bad(OWNER, f"{mode.path} belongs to {mode.owner}, not to {' or '.join(owners)}", mode.path)


class Walk(t.NamedTuple):
    """What was found below the directories."""

    open: list[str]
    looked: int
    unread: list[str]
    unfinished: str


def walk_probe(
    directories: t.Sequence[str], without: t.Sequence[str], most: int = MOST_ENTRIES
) -> t.Callable[[Tools, Deadline], Walk]:
    """Return the probe that looks for what everybody may write. It follows no link and stays on each file system."""

    def probe(tools: Tools, deadline: Deadline) -> Walk:
        left_out = {os.path.join(tools.root, path.lstrip("/")) for path in without}
        open_: list[str] = []
        unread: list[str] = []
        looked = 0
        stack = []
        for path in directories:
            start = os.path.join(tools.root, path.lstrip("/"))
            if os.path.isdir(start) and not os.path.islink(start):
                info = os.stat(start)
                if _may_be_written(info):
                    open_.append(start)
                stack.append((start, info.st_dev))
        while stack:
            folder, device = stack.pop()
            try:
                entries = list(os.scandir(folder))
            except OSError as error:
                unread.append(f"{folder}: {error.strerror}")
                continue
            for entry in entries:
                try:
                    info = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                looked += 1
                if entry.path in left_out or stat.S_ISLNK(info.st_mode):
                    continue
                if _may_be_written(info):
                    open_.append(entry.path)
                if stat.S_ISDIR(info.st_mode) and info.st_dev == device:
                    stack.append((entry.path, device))
            if looked >= most:
                return Walk(open_, looked, unread, f"more than {most} entries; the rest was not looked at")
            if deadline.remaining() <= 0:
                return Walk(open_, looked, unread, f"the time was up after {looked} entries")
        return Walk(sorted(set(open_)), looked, unread, "")

    return probe


def _may_be_written(info: os.stat_result) -> bool:
    """Return whether everybody may write here: a sticky directory is made for that, and so are sockets and devices."""
    if not info.st_mode & stat.S_IWOTH or not (stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode)):
        return False
    return not (stat.S_ISDIR(info.st_mode) and info.st_mode & stat.S_ISVTX)


def judge_walk(walk: Walk) -> Seen:
    """Name what was found, and say what was not looked at."""
    findings = [bad(OPEN, f"{path} can be written by everybody", path) for path in walk.open[:MOST_NAMED]]
    more = len(walk.open) - MOST_NAMED
    if more > 0:
        findings.append(bad(OPEN, f"{more} further paths can be written by everybody", "others"))
    if walk.unread:
        failure = ProbeFailure(
            AUTH, f"{len(walk.unread)} directories cannot be read, first {walk.unread[0]}; run with become"
        )
        findings.append(unseen(OPEN, failure, "unread"))
    if walk.unfinished:
        findings.append(unseen(OPEN, ProbeFailure(TIMEOUT, walk.unfinished), "unfinished"))
    if not findings:
        findings.append(good(OPEN, f"{walk.looked} entries were looked at"))
    return Seen(findings, {"entries_looked_at": walk.looked})


def plan(options: Facts) -> Plan:
    """Return what is looked at."""
    looks: Plan = []
    if options["secret_files"]:
        looks.append(Look("secrets", RULES, secrets_probe(options["secret_files"]), judge_secrets))
    else:
        looks.append(Skip(RULES, "no files with secrets are given; name them in secret_files"))
    if options["directories"]:
        probe = walk_probe(options["directories"], options["directories_without"])
        looks.append(Look("directories", (OPEN,), probe, judge_walk))
    else:
        looks.append(Skip((OPEN,), "no directories are given; name them in directories"))
    return looks
