"""Two clusters that Patroni runs: one with two members, and the standby cluster of another region."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import subprocess
import sys
import tempfile
import typing as t

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "backup"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3]))

from clusters import until
from patronis import Member, Regions, free_port

from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster
from lab import software


@pytest.fixture(scope="session")
def base() -> t.Iterator[pathlib.Path]:
    """A directory that PostgreSQL's user can enter; pytest's own are closed to him."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="matrixon-patroni-", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def store(base: pathlib.Path) -> t.Iterator[str]:
    """An etcd, where each Patroni keeps what it knows of its cluster."""
    port, peer = free_port(), f"http://127.0.0.1:{free_port()}"
    url = f"http://127.0.0.1:{port}"
    argv = ["etcd", "--name=store", f"--data-dir={base}/etcd", "--unsafe-no-fsync"]
    argv += [f"--listen-client-urls={url}", f"--advertise-client-urls={url}", f"--listen-peer-urls={peer}"]
    argv += [f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=store={peer}"]
    with open(base / "etcd.log", "ab") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, cwd="/")
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(30)


@pytest.fixture(scope="session")
def regions(base: pathlib.Path, store: str) -> t.Iterator[Regions]:
    """Region one with the members one1 and one2, and region two, whose two1 follows one1. Tests change them in turn."""
    software.ensure_packages()
    majors = cluster.installed()
    assert majors, "no PostgreSQL server is installed"
    with contextlib.ExitStack() as stack:
        members = []
        for scope, name in (("one", "one1"), ("one", "one2"), ("two", "two1")):
            member = Member(base, store, scope, name, majors[0])
            stack.callback(member.remove)
            members.append(member)
        made = Regions(*members)
        made.one1.configure()
        made.one2.configure()
        made.two1.configure(made.one1)
        made.one1.start()
        made.one1.await_word(state="running", role="primary")
        made.one2.start()
        made.two1.start()
        made.one2.await_word(state="running", role="replica")
        made.two1.await_word(state="running", role="standby_leader")
        made.one1.psql("CREATE TABLE t AS SELECT 1 AS a")
        until(lambda: made.one1.senders() == {"one2", "two1"}, 60)
        yield made
