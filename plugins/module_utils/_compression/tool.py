# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The tool that compresses: an executable, or a module of a Python interpreter.

The executable takes the location of the database as an argument, so it is used only where that has no password. The
interpreter is told everything on standard input, and takes the password out of what the module says.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._backup import process
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._compression.model import (
    HIDDEN,
    Way,
    forms,
    location,
    redacted,
)
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Server
from ansible_collections.matrixon.ops.plugins.module_utils._probe import MISSING_TOOL, Deadline, ProbeFailure

# Seconds for a look at the tool.
LOOK = 20.0
DOING = "compressing"
# The codes of PROGRAM: there is no such module, or it is an empty shell.
NO_MODULE, EMPTY = 3, 4
# Runs in the interpreter that has the module. It is given on the command line, and all that it is told on its input.
PROGRAM = f"""
import importlib, json, sys
given = json.load(sys.stdin)
def end(words, code):
    for form in given["hide"]:
        words = words.replace(form, "***")
    sys.stderr.write(words + chr(10))
    sys.stderr.flush()
    sys.exit(code)
try:
    module = importlib.import_module(given["module"])
except ImportError as error:
    end(str(error), {NO_MODULE} if getattr(error, "name", None) == given["module"] else {EMPTY})
except BaseException as error:
    end(type(error).__name__ + ": " + str(error), {EMPTY})
call = next((getattr(module, name) for name in given["functions"] if callable(getattr(module, name, None))), None)
if call is None:
    end("it has none of " + ", ".join(given["functions"]), {EMPTY})
if given["arguments"]:
    try:
        call(**given["arguments"])
    except BaseException as error:
        end("error: " + type(error).__name__ + ": " + str(error), 1)
"""


@dataclass(frozen=True)
class Task:
    """What one call of the tool is to do, and what its sessions are called."""

    chunk_size: int
    chunks: int
    levels: tuple[int, ...]
    name: str
    checks: bool = False


class Tool(t.Protocol):
    """One form of the tool."""

    def run(self, server: Server, task: Task, deadline: Deadline) -> None:
        """Compress, or raise BackupError where the tool failed, and another ProbeFailure where the deadline was hit."""


@dataclass(frozen=True)
class Program:
    """The executable."""

    path: str
    user: process.User | None = None

    def __str__(self) -> str:
        return self.path

    def run(self, server: Server, task: Task, deadline: Deadline) -> None:
        """Compress, or raise BackupError where the tool failed, and another ProbeFailure where the deadline was hit."""
        where = location(server, task.name, _milliseconds(deadline), task.checks, password=False)
        argv = [self.path, "-p", where, "-c", str(task.chunk_size), "-n", str(task.chunks), "-l", _joined(task.levels)]
        with _saying_nothing_of(where, None):
            process.Runner(self.user, gentle=True).run(argv, deadline, doing=DOING)


@dataclass(frozen=True)
class Module:
    """A module of an interpreter."""

    python: str
    way: Way
    user: process.User | None = None

    def __str__(self) -> str:
        return f"module {self.way.module} of {self.python}"

    def look(self, deadline: Deadline) -> str:
        """Return why this is no tool, or nothing."""
        done = self._call({}, (), deadline.within(LOOK), accept=(0, NO_MODULE, EMPTY))
        if done.code == NO_MODULE:
            return f"{self.python} has no module {self.way.module}"
        if done.code == EMPTY:
            return (
                f"the {self}, is an empty shell, as some releases of it on PyPI are: {done.complaint}; install one "
                "that works"
            )
        return ""

    def run(self, server: Server, task: Task, deadline: Deadline) -> None:
        """Compress, or raise BackupError where the tool failed, and another ProbeFailure where the deadline was hit."""
        where = location(server, task.name, _milliseconds(deadline), task.checks)
        arguments = {
            "db_url": where,
            "chunk_size": task.chunk_size,
            "number_of_chunks": task.chunks,
            "default_levels": _joined(task.levels),
        }
        hide = (where, *forms(server.password))
        with _saying_nothing_of(where, server.password):
            self._call(arguments, hide, deadline)

    def _call(
        self,
        arguments: dict[str, t.Any],
        hide: tuple[str, ...],
        deadline: Deadline,
        accept: t.Container[int] = (0,),
    ) -> process.Finished:
        given = {
            "module": self.way.module,
            "functions": self.way.functions,
            "arguments": arguments,
            "hide": hide,
        }
        return process.Runner(self.user, gentle=True).run(
            [self.python, "-I", "-B", "-c", PROGRAM],
            deadline,
            stdin=json.dumps(given).encode(),
            accept=accept,
            doing=DOING,
        )


def find(
    way: Way, tool: str | None, python: str | None, user: process.User | None, secret: bool, deadline: Deadline
) -> Tool:
    """Return the tool of this host, or raise ProbeFailure; of the kind missing_tool where it is not there, with why."""
    if python:
        if not (os.path.isfile(python) and os.access(python, os.X_OK)):
            raise ProbeFailure(MISSING_TOOL, f"{python} is no interpreter on this host")
        module = Module(python, way, user)
        if why := module.look(deadline):
            raise ProbeFailure(MISSING_TOOL, why)
        return module
    path = shutil.which(tool or way.program)
    if not path:
        what = f"{tool} is" if tool else f"neither tool nor python is given, and {way.program} is"
        raise ProbeFailure(MISSING_TOOL, f"{what} not installed on this host, or not on the PATH")
    if secret:
        raise ProbeFailure(
            MISSING_TOOL,
            f"{path} would take the password on its command line; give python with an interpreter that has the module "
            f"{way.module}, or a login that needs no password",
        )
    return Program(path, user)


@contextlib.contextmanager
def _saying_nothing_of(where: str, password: str | None) -> t.Iterator[None]:
    """Take the location out of what a tool said; its settings would be taken for a kind of failure, too."""
    try:
        yield
    except BackupError as error:
        words = redacted(error.message.replace(where, HIDDEN), password)
        raise BackupError(process.kind_of(words), words) from error


def _milliseconds(deadline: Deadline) -> int:
    return max(1, int(deadline.remaining() * 1000))


def _joined(levels: tuple[int, ...]) -> str:
    return ",".join(map(str, levels))
