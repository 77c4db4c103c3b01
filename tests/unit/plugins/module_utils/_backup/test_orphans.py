"""Processes that a killed run left at work on a set."""

from __future__ import annotations

import pathlib
import signal
import subprocess

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import process


@pytest.mark.parametrize("form", ["{}/one", "--pgdata={}/one"])
def test_they_are_ended_and_nobody_else(tmp_path: pathlib.Path, form: str) -> None:
    prefix = str(tmp_path / "sets/.partial-")
    # `read` is the shell's own: a child of it would have its arguments for a moment, too.
    mine = subprocess.Popen(["/bin/sh", "-c", "read _", form.format(prefix)], stdin=subprocess.PIPE)
    other = subprocess.Popen(["/bin/sh", "-c", "read _", str(tmp_path / "sets/whole")], stdin=subprocess.PIPE)
    try:
        assert process.orphans(prefix) == [mine.pid]
        # A zombie has no arguments, so it counts no more.
        assert process.end_orphans(prefix) == 1
        assert mine.wait(5) == -signal.SIGTERM and other.poll() is None
        assert process.end_orphans(prefix) == 0
    finally:
        for child in (mine, other):
            child.kill()
            child.communicate()


def test_one_that_does_not_listen_is_killed(tmp_path: pathlib.Path) -> None:
    prefix = str(tmp_path / "sets/.partial-")
    script = ["/bin/sh", "-c", "trap '' TERM; echo; read _"]
    stubborn = subprocess.Popen([*script, prefix + "one"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert stubborn.stdout and stubborn.stdout.readline()
        assert process.end_orphans(prefix, 0.3) == 1
        assert stubborn.wait(5) == -signal.SIGKILL
    finally:
        stubborn.kill()
        stubborn.communicate()
