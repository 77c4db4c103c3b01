# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Read systemd's journal from a cursor on, as it streams out of journalctl."""

from __future__ import annotations

import io
import os
import re
import select
import subprocess
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    AUTH,
    INTERNAL,
    MISSING_TOOL,
    Deadline,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._security.lines import Lines

CURSOR = re.compile(rb'"__CURSOR" ?: ?"([^"]*)"')
TIME = re.compile(rb'"__REALTIME_TIMESTAMP" ?: ?"(\d+)"')
# An entry of one megabyte that is no text is four times as long in JSON.
LONGEST_ENTRY = 16 * 1024 * 1024
BLOCK = 1024 * 1024
LONGEST_END = 5.0
FIELDS = "MESSAGE,_SYSTEMD_UNIT,_PID,_COMM,_EXE,_UID"
HIDDEN = b"not seeing messages from other users"
GONE = "the entry that was read last is gone or of no unit that is asked for, so what followed it may be gone, too"
EMPTY = b"No journal files were"

Spawn = t.Callable[[list[str]], "Output"]


class Output:
    """A journalctl that runs: what it prints, and what it says when it has ended."""

    def __init__(self, argv: list[str]) -> None:
        self._errors = io.FileIO(os.memfd_create("complaints"), "rb+")
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={**os.environ, "LC_ALL": "C"},
            )
        except FileNotFoundError as error:
            self._errors.close()
            raise ProbeFailure(MISSING_TOOL, f"{argv[0]} is not installed on this host, or not on the PATH") from error
        except OSError as error:
            self._errors.close()
            raise ProbeFailure(INTERNAL, f"{argv[0]} could not be started: {error.strerror}") from error

    def read(self, size: int, deadline: Deadline) -> bytes | None:
        """Return the next bytes, none at the end, or None if the deadline came first."""
        pipe = t.cast(t.IO[bytes], self._process.stdout)
        if not select.select([pipe], [], [], deadline.remaining())[0]:
            return None
        return os.read(pipe.fileno(), size)

    def end(self, stop: bool) -> tuple[int, bytes]:
        """Wait for its end, or stop it; return its code and what it complained of."""
        if self._process.stdout:
            self._process.stdout.close()
        if stop:
            self._process.terminate()
        try:
            code = self._process.wait(LONGEST_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._errors.seek(0)
        complaint = self._errors.read(65536)
        self._errors.close()
        return code, complaint


@dataclass
class Read:
    """What came of reading the journal."""

    cursor: str | None = None
    lines: int = 0
    size: int = 0
    cut: int = 0
    bad: int = 0
    partial: bool = False
    lost: str = ""
    # What went wrong, perhaps after some of it was read. What was read counts, and the cursor says how far.
    failure: ProbeFailure | None = None


def argv(matches: t.Sequence[str], cursor: str | None, since: float, directory: str | None = None) -> list[str]:
    """Return the command. From a cursor it begins with the entry that was read last, so that a gap is seen.

    Without --all, fields of 4096 bytes and more would be left out, and with
    them whoever writes long enough a name.
    """
    words = ["journalctl", "--output=json", "--all", "--no-pager", f"--output-fields={FIELDS}"]
    if directory:
        words.append(f"--directory={directory}")
    words.append(f"--cursor={cursor}" if cursor else f"--since=@{int(since)}")
    return [*words, *matches]


def read_journal(
    matches: t.Sequence[str],
    cursor: str | None,
    since: float,
    take: t.Callable[[bytes], int],
    deadline: Deadline,
    spawn: Spawn = Output,
    directory: str | None = None,
) -> Read:
    """Read the entries after a cursor, or since a time. ``take`` returns how many entries it did not understand."""
    done = Read(cursor=cursor)
    output = spawn(argv(matches, cursor, since, directory))
    unread = True

    def read(_size: int) -> bytes:
        nonlocal unread
        block = output.read(BLOCK, deadline)
        done.partial, unread = block is None, block != b""
        return block or b""

    first = cursor is not None
    try:
        lines = Lines(read, LONGEST_ENTRY)
        for block in lines:
            _take(_after(block, t.cast(str, cursor), done) if first else block, take, done)
            first = False
    finally:
        code, complaint = output.end(unread)
    done.cut = lines.cut
    done.failure = _failure(code, complaint, done.partial)
    if first and not done.partial and not done.failure:
        done.lost = GONE
    return done


def _failure(code: int, complaint: bytes, stopped: bool) -> ProbeFailure | None:
    if HIDDEN in complaint:
        way = "run with become, or as a member of systemd-journal"
        return ProbeFailure(AUTH, f"this user sees no entries of others in the journal; {way}")
    if EMPTY in complaint:
        return ProbeFailure(MISSING_TOOL, "this host has no journal")
    if code == 0 or stopped:
        return None
    words = complaint.decode("utf-8", "replace").strip().splitlines()
    return ProbeFailure(INTERNAL, f"journalctl failed: {words[-1] if words else f'it ended with code {code}'}")


def _take(block: bytes, take: t.Callable[[bytes], int], done: Read) -> None:
    if not block:
        return
    done.lines += block.count(b"\n")
    done.size += len(block)
    done.bad += take(block)
    start = block.rfind(b"\n", 0, -1) + 1
    found = CURSOR.search(block, start)
    if found:
        done.cursor = found[1].decode("ascii", "replace")


def _after(block: bytes, cursor: str, done: Read) -> bytes:
    """Return a first block without the entry of the cursor. If it begins with another, that one is gone."""
    end = block.find(b"\n") + 1
    found = CURSOR.search(block, 0, end)
    if found and found[1].decode("ascii", "replace") == cursor:
        return block[end:]
    done.lost = GONE
    return block


def time_of(block: bytes) -> float | None:
    """Return the time of the last entry of a block, in seconds since 1970."""
    found = TIME.search(block, block.rfind(b"\n", 0, -1) + 1)
    return int(found[1]) / 1e6 if found else None
