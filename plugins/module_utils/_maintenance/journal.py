# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Shorten systemd's journal without taking an entry that is to be kept.

``journalctl --vacuum-time`` removes each closed file that *begins* before the given time, with all that is in it. On a
quiet host one file may hold a month, today's entries among them. So files are looked at first: what each begins and
ends with stands in its header (systemd's JOURNAL_FILE_FORMAT.md), and the time that is given is one at which only files
go whose last entry is old enough.
"""

from __future__ import annotations

import math
import os
import struct
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils._command import Runner, run
from ansible_collections.matrixon.ops.plugins.module_utils._human import human, span
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import failure_of, unseen
from ansible_collections.matrixon.ops.plugins.module_utils._report import CRITICAL, OK, SKIPPED, UNKNOWN, CheckResult

DAY = 86400.0
PERSISTENT, VOLATILE = "var/log/journal", "run/log/journal"
SIGNATURE = b"LPKSHHRH"
# Where the header has the times of the first and the last entry, in microseconds.
ENTRIES_AT, HEAD_AT, HEADER = 152, 184, 200


@dataclass(frozen=True)
class File:
    """One file of a journal. ``head`` and ``tail`` are None where it has no entry."""

    path: str
    size: int
    closed: bool
    head: float | None
    tail: float | None


@dataclass(frozen=True)
class Journal:
    """The journal of a host: where it is, and whether it is on disk."""

    directory: str
    volatile: bool
    files: tuple[File, ...]

    @property
    def size(self) -> int:
        """Return how much room it takes."""
        return sum(one.size for one in self.files)


@dataclass(frozen=True)
class Plan:
    """What is to go, which files in use are to be closed first, and the age to give to journalctl, in seconds."""

    remove: tuple[File, ...] = ()
    close: tuple[File, ...] = ()
    age: int = 0


@dataclass(frozen=True)
class Tools:
    """What this works with. Tests put others in their place."""

    root: str = "/"
    runner: Runner = run
    now: t.Callable[[], float] = field(default=time.time)


@dataclass(frozen=True)
class Done:
    """How a run ended."""

    check: CheckResult
    changed: bool
    plan: list[str]
    facts: dict[str, t.Any]


def times_of(header: bytes) -> tuple[float | None, float | None]:
    """Return when the first and the last entry were made; raise ValueError where this is no journal."""
    if len(header) < HEADER or header[:8] != SIGNATURE:
        raise ValueError("it does not begin as a journal does")
    (entries,) = struct.unpack_from("<Q", header, ENTRIES_AT)
    if not entries:
        return None, None
    head, tail = struct.unpack_from("<QQ", header, HEAD_AT)
    return head / 1e6, tail / 1e6


def look(tools: Tools, directory: str | None) -> Journal | None:
    """Return the journal of this host, or None where there is none."""
    for place in (directory,) if directory else (PERSISTENT, VOLATILE):
        path = os.path.join(tools.root, place)
        found = _files(path)
        if found:
            return Journal(path, place == VOLATILE, tuple(found))
    return None


def _files(path: str) -> list[File]:
    found: list[File] = []
    try:
        for folder, _folders, names in os.walk(path, onerror=unseen):
            for name in sorted(names):
                if name.endswith((".journal", ".journal~")):
                    found += _file(os.path.join(folder, name))
    except OSError as error:
        raise failure_of(error) from error
    return found


def _file(path: str) -> list[File]:
    try:
        with open(path, "rb") as file:
            header = file.read(HEADER)
        # Files are larger than the room that they take.
        size = os.stat(path).st_blocks * 512
    except FileNotFoundError:
        return []
    try:
        head, tail = times_of(header)
    except ValueError:
        head = tail = None
    return [File(path, size, "@" in os.path.basename(path), head, tail)]


def plan(journal: Journal, keep: float, now: float) -> Plan:
    """Return what goes. ``keep`` is in seconds."""
    cut = now - keep
    closed = [one for one in journal.files if one.closed and one.head is not None and one.tail is not None]
    # All that begins before this goes, so it must lie before the beginning of each file that stays.
    stays = [one.head for one in closed if one.head is not None and (one.tail or now) >= cut]
    before = min([cut, *stays])
    remove = tuple(one for one in closed if one.head is not None and one.head < before and (one.tail or now) < cut)
    close = tuple(one for one in journal.files if not one.closed and one.head is not None and one.head < cut)
    return Plan(remove, close, math.ceil(now - before))


def sentences(wanted: Plan) -> list[str]:
    """Return what would be done, a sentence each."""
    found = []
    if wanted.close:
        found.append(f"{len(wanted.close)} files in use would be closed, for they begin before what is kept")
    if wanted.remove:
        size = human(sum(one.size for one in wanted.remove), "B")
        found.append(f"{len(wanted.remove)} files with {size} would be removed, whose last entry is too old")
    return found


def vacuum(options: dict[str, t.Any], dry: bool, tools: Tools | None = None) -> Done:
    """Shorten the journal, and say what is there before and after."""
    tools = tools or Tools()
    deadline = Deadline(options["deadline"])
    try:
        return _vacuum(options, dry, tools, deadline)
    except ProbeFailure as failure:
        check = _check(options, UNKNOWN, failure.message, deadline, error_kind=failure.kind)
        return Done(check, False, [], {})


def _vacuum(options: dict[str, t.Any], dry: bool, tools: Tools, deadline: Deadline) -> Done:
    keep = options["keep_days"] * DAY
    before = look(tools, options["directory"])
    if before is None:
        reason = "this host has no journal: neither on disk nor in memory is there a file of one"
        return Done(_check(options, SKIPPED, reason, deadline, skipped_reason=reason), False, [], {})
    wanted = plan(before, keep, tools.now())
    lines = sentences(wanted)
    if dry or not lines:
        return Done(_settled(options, before, before, lines, tools, deadline), bool(lines), lines, _facts(before))
    if wanted.close and options["rotate"]:
        _call(["journalctl", "--rotate"], tools, deadline)
        wanted = plan(look(tools, options["directory"]) or before, keep, tools.now())
    if wanted.remove:
        argv = ["journalctl", f"--vacuum-time={wanted.age}s", f"--directory={before.directory}"]
        _call(argv, tools, deadline)
    after = look(tools, options["directory"]) or Journal(before.directory, before.volatile, ())
    left = {one.path for one in after.files} & {one.path for one in wanted.remove}
    changed = {one.path for one in after.files} != {one.path for one in before.files}
    facts = {**_facts(after), "bytes_before": before.size}
    if left:
        text = f"journalctl said that it removed them, and {len(left)} files are still there: {sorted(left)[0]}"
        return Done(_check(options, CRITICAL, text, deadline, after.size), changed, lines, facts)
    return Done(_settled(options, before, after, [], tools, deadline), changed, lines, facts)


def _call(argv: list[str], tools: Tools, deadline: Deadline) -> None:
    done = tools.runner(argv, deadline)
    if done.code != 0:
        raise ProbeFailure(INTERNAL, f"'{' '.join(argv)}' failed: {done.complaint}")


def _settled(
    options: dict[str, t.Any], before: Journal, after: Journal, lines: list[str], tools: Tools, deadline: Deadline
) -> CheckResult:
    heads = [one.head for one in after.files if one.head is not None]
    kind = "volatile, it ends with the next boot, " if after.volatile else ""
    text = f"{kind}{human(after.size, 'B')} in {len(after.files)} files"
    if after.size != before.size or after is not before:
        text = f"{kind}{human(before.size, 'B')} before, {human(after.size, 'B')} in {len(after.files)} files now"
    if heads:
        text += f"; it goes back {span(max(0.0, tools.now() - min(heads)))}"
    text = "; ".join([text, *lines])
    return _check(options, OK, text, deadline, after.size)


def _check(
    options: dict[str, t.Any], status: str, message: str, deadline: Deadline, value: float | None = None, **others: str
) -> CheckResult:
    return CheckResult(
        "journal",
        options["target"],
        status,
        message,
        value=value,
        unit=None if value is None else "B",
        duration_ms=round(deadline.elapsed() * 1000),
        error_kind=others.get("error_kind"),
        skipped_reason=others.get("skipped_reason"),
    )


def _facts(journal: Journal) -> dict[str, t.Any]:
    return {"bytes": journal.size, "files": len(journal.files), "volatile": journal.volatile}
