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
    mine = subprocess.Popen(["/bin/sh", "-c", "sleep 60; :", form.format(prefix)])
    other = subprocess.Popen(["/bin/sh", "-c", "sleep 60; :", str(tmp_path / "sets/whole")])
    try:
        assert process.orphans(prefix) == [mine.pid]
        # A zombie has no arguments, so it counts no more.
        assert process.end_orphans(prefix) == 1
        assert mine.wait(5) == -signal.SIGTERM and other.poll() is None
        assert process.end_orphans(prefix) == 0
    finally:
        for child in (mine, other):
            child.kill()
            child.wait()


def test_one_that_does_not_listen_is_killed(tmp_path: pathlib.Path) -> None:
    prefix = str(tmp_path / "sets/.partial-")
    script = "trap '' TERM; echo; while :; do sleep 0.1; done"
    stubborn = subprocess.Popen(["/bin/sh", "-c", script, prefix + "one"], stdout=subprocess.PIPE)
    try:
        assert stubborn.stdout and stubborn.stdout.readline()
        assert process.end_orphans(prefix, 0.3) == 1
        assert stubborn.wait(5) == -signal.SIGKILL
    finally:
        stubborn.kill()
