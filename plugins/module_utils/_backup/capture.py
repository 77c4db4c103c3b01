# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Run one tool and keep all that it says: megabytes of lines, bytes that are no text, or secrets in memory."""

from __future__ import annotations

import contextlib
import os
import tempfile
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Child, Runner, uninterrupted
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline


class Captured(t.NamedTuple):
    """How a tool ended, and all that it wrote. ``code`` is below zero where a signal ended it."""

    code: int
    out: bytes
    err: bytes

    @property
    def words(self) -> str:
        """Return what it said on standard error as text for people."""
        return self.err.decode("utf-8", "replace")


def capture(
    runner: Runner, argv: list[str], deadline: Deadline, doing: str, *, stdin: bytes = b"", in_memory: bool = False
) -> Captured:
    """Run one tool to its end. Any code is for the caller to judge.

    ``in_memory`` keeps its output off every disk. What it reads never touches
    one.
    """
    deadline.require(doing)
    with contextlib.ExitStack() as stack:
        options: dict[str, t.Any] = {}
        if stdin:
            options["stdin"] = stack.enter_context(memory_file(stdin))
        out, err = (stack.enter_context(_output(kept)) for kept in (in_memory, False))
        with uninterrupted():
            child = runner.start(argv, stdout=out, stderr=err, **options)
            stack.callback(_end, child)
        if not child.ended(deadline.remaining()):
            raise deadline.failure(doing)
        code = child.reap()
        return Captured(code, _all_of(out), _all_of(err))


def memory_file(content: bytes = b"") -> t.IO[bytes]:
    """Return an open file that is only in memory, to be read from its start."""
    file = os.fdopen(os.memfd_create("matrixon"), "w+b")
    file.write(content)
    file.seek(0)
    return file


def _output(in_memory: bool) -> t.IO[bytes]:
    return memory_file() if in_memory else tempfile.TemporaryFile()


def _end(child: Child) -> None:
    with uninterrupted():
        child.end()
        child.forget()


def _all_of(file: t.IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()
