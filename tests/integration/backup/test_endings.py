"""However a run ends, it leaves nothing that runs, and on the disk nothing but what is marked as unfinished."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import typing as t

import pytest
from clusters import USER, Cluster, Make, Sets, listing, make_owned, pids, until

from ansible_collections.matrixon.ops.plugins.module_utils._backup import process
from ansible_collections.matrixon.ops.plugins.module_utils._backup.drill import MARKER, drill
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import Manifest
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

# What a module does, without Ansible around it.
PROGRAM = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster, process
from ansible_collections.matrixon.ops.plugins.module_utils._backup.drill import drill
from ansible_collections.matrixon.ops.plugins.module_utils._backup.logical import Logical
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import Manifest
from ansible_collections.matrixon.ops.plugins.module_utils._backup.native import Native
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Server
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

what, user, root, directory, server, manifest = json.loads(sys.argv[2])
runner, deadline = process.Runner(process.find_user(user)), Deadline(120)
with process.terminable():
    try:
        if what == "drill":
            read = Manifest.from_bytes(open(manifest, "rb").read())
            drill(Native(root, runner, durable=False), [(root + "/sets/" + read.id, read)], directory, runner, deadline)
        else:
            with cluster.client(Server(*server), runner, deadline) as client:
                driver = (Native if what == "native" else Logical)(root, runner, client)
                driver.backup(directory, None, deadline)
        print("done")
    except process.Terminated as error:
        # Told here and now: a signal that comes once nothing holds it back any more ends the program as it ends any.
        print(f"told: {error}", flush=True)
"""


class Program:
    """The program as a process that can be told to end, or killed."""

    def __init__(
        self, what: str, sets: Sets, directory: pathlib.Path, server: Cluster | None = None, manifest: str = ""
    ) -> None:
        address = server and [server.server.host, server.server.port, "postgres", "postgres"]
        words = [what, USER, str(sets.root), str(directory), address, manifest]
        argv = [sys.executable, "-c", PROGRAM, json.dumps(sys.path), json.dumps(words)]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def end(self, number: int) -> str:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return out + err


TOOLS = {"native": "pg_basebackup ", "logical": "pg_dump "}
TOLD = {
    signal.SIGTERM: "told: ended by SIGTERM before the work was done\n",
    signal.SIGHUP: "told: ended by SIGHUP before the work was done\n",
    signal.SIGKILL: "",
}


@pytest.mark.parametrize("number", TOLD)
@pytest.mark.parametrize("what", ["native", "logical"])
def test_a_backup_that_is_ended_leaves_only_what_is_unfinished(
    server: Cluster, sets: Sets, what: str, number: signal.Signals
) -> None:
    hidden = make_owned(sets.folder / ".partial-new")
    with server.held() if what == "native" else server.locked("events"):
        program = Program(what, sets, hidden, server)
        until(lambda: pids(TOOLS[what], str(server.socket)))
        assert program.end(number) == TOLD[number]
        until(lambda: not pids(TOOLS[what], str(server.socket)))
    assert [path.name for path in sets.folder.iterdir()] == [".partial-new"]
    # Nor does anything go on in the server.
    until(lambda: server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'matrixon.ops'") == "0")


@pytest.fixture
def proven(shared: Cluster, native: Make, sets: Sets) -> tuple[Manifest, str]:
    """A good set, and the path of its manifest."""
    manifest = sets.take(native(shared))
    path = sets.root / "manifest"
    path.write_bytes(manifest.to_bytes())
    return manifest, str(path)


def scratch_runs(directory: pathlib.Path) -> bool:
    return bool(pids("postgres", "-D", f"{directory}/data"))


STAGES: dict[str, t.Callable[[pathlib.Path], object]] = {
    "unpacking": lambda directory: (directory / "data/base").exists(),
    "recovering": scratch_runs,
    "checking": lambda directory: pids("pg_amcheck", str(directory)),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_drill_that_is_told_to_end_leaves_nothing(
    sets: Sets, proven: tuple[Manifest, str], place: pathlib.Path, stage: str
) -> None:
    directory = place / "drill"
    program = Program("drill", sets, directory, manifest=proven[1])
    until(lambda: STAGES[stage](directory))
    assert program.end(signal.SIGTERM) == TOLD[signal.SIGTERM]
    assert not directory.exists()
    assert not pids(str(directory))


@pytest.mark.parametrize("stage", STAGES)
def test_a_drill_that_is_killed_leaves_no_server_and_the_next_one_clears_up(
    native: Make, sets: Sets, proven: tuple[Manifest, str], runner: process.Runner, place: pathlib.Path, stage: str
) -> None:
    directory = place / "drill"
    program = Program("drill", sets, directory, manifest=proven[1])
    until(lambda: STAGES[stage](directory))
    program.end(signal.SIGKILL)
    until(lambda: not pids(str(directory)))
    assert MARKER in listing(directory)
    proof = drill(native(None), sets.chain(proven[0]), str(directory), runner, Deadline(60))
    assert {check.status for check in proof.checks} == {"ok"}
    assert listing(directory) == []


def test_a_second_signal_does_not_cut_the_clearing_up_short(
    sets: Sets, proven: tuple[Manifest, str], place: pathlib.Path
) -> None:
    directory = place / "drill"
    program = Program("drill", sets, directory, manifest=proven[1])
    until(lambda: scratch_runs(directory))
    # All the time while it clears up.
    while program.process.poll() is None:
        program.process.send_signal(signal.SIGTERM)
        time.sleep(0.002)
    out, err = program.process.communicate()
    assert out + err == TOLD[signal.SIGTERM]
    assert not directory.exists()
    assert not pids(str(directory))
    assert os.path.exists(sets.folder)
