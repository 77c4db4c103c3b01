# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""A history in a CSV file: appended under a lock, brought to the disk, and never overwritten.

A line that was cut off cannot pass for a good one: its unit stands last, and
a line without an end does not count.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import io
import os
import time
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _files
from ansible_collections.matrixon.ops.plugins.module_utils._capacity.history import Content, StoreError
from ansible_collections.matrixon.ops.plugins.module_utils._capacity.resources import COLUMNS, Row, parse_row
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    AUTH,
    INTERNAL,
    MISSING_TOOL,
    PARSE,
    TIMEOUT,
    Deadline,
)

HEADER = ",".join(COLUMNS)
MOST_BAD_KEPT = 20
# Longer than any line of ours.
LONGEST_LINE = 4096
MODE = 0o640
PAUSE = 0.05


class CsvStore:
    """One file, the lock file beside it, and the time that all of it may take."""

    def __init__(self, path: str, deadline: Deadline) -> None:
        self.path = path
        self._deadline = deadline
        self._lock_path = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.lock")

    def __str__(self) -> str:
        return self.path

    def read(self) -> Content:
        """Return what the file holds; raise StoreError where it is not ours."""
        try:
            with open(self.path, "rb") as file:
                return self._content(file)
        except FileNotFoundError:
            return Content(exists=False)
        except OSError as error:
            kind = AUTH if isinstance(error, PermissionError) else INTERNAL
            raise StoreError(kind, f"{self.path} cannot be read: {error.strerror}") from error

    def _content(self, file: t.BinaryIO) -> Content:
        content = Content()
        first = file.readline(LONGEST_LINE)
        if not first:
            content.empty = True
            return content
        if first.rstrip(b"\r\n") != HEADER.encode():
            raise StoreError(
                PARSE,
                f"{self.path} is no history of this collection and was left alone: it begins with "
                f"{first[:60]!r} and not with {HEADER!r}; name another file, or move this one away",
            )
        content.torn = not first.endswith(b"\n")
        number = 1
        while True:
            line = file.readline(LONGEST_LINE)
            if not line:
                return content
            number += 1
            if number % 10000 == 0 and not self._deadline.remaining():
                raise StoreError(TIMEOUT, f"{self.path} was not read in time: {number} lines in")
            content.torn = not line.endswith(b"\n")
            try:
                content.rows.append(_row(line))
            except ValueError as error:
                content.bad_count += 1
                if len(content.bad) < MOST_BAD_KEPT:
                    content.bad.append((number, str(error)))

    @contextlib.contextmanager
    def locked(self) -> t.Iterator[None]:
        """Keep every other run of this collection from writing; readers need no lock."""
        folder = os.path.dirname(self.path)
        try:
            handle = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            kind = MISSING_TOOL if isinstance(error, FileNotFoundError) else AUTH
            raise StoreError(kind, f"{folder} cannot be written to: {error.strerror}") from error
        try:
            self._wait_for(handle)
            yield
        finally:
            os.close(handle)

    def _wait_for(self, handle: int) -> None:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not self._deadline.remaining():
                    raise StoreError(TIMEOUT, f"{self.path}: another run holds its lock") from None
                time.sleep(PAUSE)
            else:
                return

    def append(self, rows: list[Row], content: Content) -> None:
        """Add rows behind what was read under the same lock, all or none of them."""
        fresh = not content.exists or content.empty
        before = HEADER + "\n" if fresh else "\n" if content.torn else ""
        try:
            self._write((before + lines(rows)).encode(), new=not content.exists)
        except OSError as error:
            raise StoreError(INTERNAL, f"{self.path} cannot be written: {error.strerror}; it is as it was") from error

    def _write(self, data: bytes, *, new: bool) -> None:
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, MODE)
        try:
            before = os.fstat(handle).st_size
            try:
                rest = data
                while rest:
                    rest = rest[os.write(handle, rest) :]
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, before)
                if new:
                    # An empty one would tell the next run of a history that was lost.
                    os.unlink(self.path)
                raise
        finally:
            os.close(handle)
        if new:
            _files.sync_directory(os.path.dirname(self.path))


def lines(rows: list[Row]) -> str:
    """Return rows as they stand in the file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        fields = row.as_dict()
        writer.writerow(["" if fields[name] is None else fields[name] for name in COLUMNS])
    return text.getvalue()


def _row(line: bytes) -> Row:
    if not line.endswith(b"\n"):
        raise ValueError("it has no end" if len(line) < LONGEST_LINE else "it is too long")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("it is no UTF-8") from None
    if '"' in text or "\0" in text:
        fields = _quoted(text)
    else:
        fields = text.rstrip("\r\n").split(",")
    if len(fields) != len(COLUMNS):
        raise ValueError(f"it has {len(fields)} fields in place of {len(COLUMNS)}")
    return parse_row(dict(zip(COLUMNS, fields)))


def _quoted(text: str) -> list[str]:
    try:
        return next(csv.reader([text], strict=True))
    except (csv.Error, StopIteration) as error:
        raise ValueError(f"it is no line of CSV ({error})") from None
