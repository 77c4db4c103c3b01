"""Servers that were left drained in a running HAProxy, and the module that sends them requests again."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils import _haproxy
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure

pytestmark = pytest.mark.integration

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Nobody listens at these ports.
CONFIGURATION = """
global
    stats socket {socket} mode 600 level admin
defaults
    timeout connect 1s
    timeout client 1s
    timeout server 1s
frontend door
    bind unix@{socket}.door
    default_backend general
backend general
    server worker1 127.0.0.1:9 check
    server worker2 127.0.0.1:9 check
    server other 127.0.0.1:9
backend sync
    server worker1 127.0.0.1:9 track general/worker1
    server worker2 127.0.0.1:9 track general/worker2
"""


@pytest.fixture
def socket(tmp_path: pathlib.Path) -> t.Iterator[str]:
    """The runtime socket of an HAProxy."""
    path, configuration = tmp_path / "s", tmp_path / "haproxy.cfg"
    configuration.write_text(CONFIGURATION.format(socket=path))
    process = subprocess.Popen(["haproxy", "-db", "-f", str(configuration)], stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                _haproxy.servers_state(str(path), Deadline(1))
                break
            except ProbeFailure:
                time.sleep(0.1)
        yield str(path)
    finally:
        process.terminate()
        process.wait(20)


def run(**arguments: t.Any) -> dict[str, t.Any]:
    """Run the module as Ansible does."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "plugins/modules/matrixon_haproxy_enable.py")],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        env={**os.environ, "PYTHONPATH": str(ROOT / ".build/collections")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return json.loads(done.stdout)


def states(socket: str) -> dict[str, str]:
    rows = _haproxy.servers_state(socket, Deadline(5))
    return {f"{row['be_name']}/{row['srv_name']}": row["srv_admin_state"] for row in rows}


def test_what_was_left_drained_gets_requests_again_and_nothing_else_is_touched(socket: str) -> None:
    good = states(socket)
    for command in ("general/worker1 state drain", "sync/worker1 state drain", "general/worker2 state maint"):
        assert _haproxy.ask(socket, f"set server {command}", Deadline(5)).strip() == ""
    assert _haproxy.ask(socket, "set server general/other state drain", Deadline(5)).strip() == ""
    before, servers = states(socket), ["worker1", "worker2", "worker9"]

    drained = ["general/worker1", "sync/worker1"]
    said = run(socket=socket, servers=servers, _ansible_check_mode=True)
    assert (said["changed"], said["enabled"]) == (True, drained)
    assert states(socket) == before
    said = run(socket=socket, servers=servers)
    assert (said["changed"], said["enabled"]) == (True, drained)
    assert states(socket) == {**before, **{name: good[name] for name in drained}}
    said = run(socket=socket, servers=servers)
    assert (said["changed"], said["enabled"]) == (False, [])


def test_a_server_gets_the_port_that_a_reload_would_not_give_it(socket: str) -> None:
    def ports() -> dict[str, str]:
        rows = _haproxy.servers_state(socket, Deadline(5))
        return {f"{row['be_name']}/{row['srv_name']}": row["srv_port"] for row in rows}

    before, wanted = ports(), {"worker1": 10, "worker2": 9}
    moved = ["general/worker1", "sync/worker1"]
    said = run(socket=socket, servers=[], ports=wanted, _ansible_check_mode=True)
    assert (said["changed"], said["moved"]) == (True, moved) and ports() == before
    said = run(socket=socket, servers=[], ports=wanted)
    assert (said["changed"], said["moved"]) == (True, moved)
    assert ports() == {**before, **dict.fromkeys(moved, "10")}
    said = run(socket=socket, servers=[], ports=wanted)
    assert (said["changed"], said["moved"]) == (False, [])


def test_an_haproxy_that_does_not_answer_is_a_failure(tmp_path: pathlib.Path) -> None:
    said = run(socket=str(tmp_path / "none"), servers=["worker1"])
    assert said["failed"] is True and str(tmp_path / "none") in said["msg"]
