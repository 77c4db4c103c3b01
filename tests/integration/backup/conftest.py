"""A real PostgreSQL cluster under a temporary directory, and a store's directories beside it."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import sys
import tempfile
import typing as t

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3]))

from clusters import USER, Cluster, Make, Sets, copy_of, make_owned, numbers
from modules import Store

from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster, process
from ansible_collections.matrixon.ops.plugins.module_utils._backup.logical import Logical
from ansible_collections.matrixon.ops.plugins.module_utils._backup.native import Native
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
from lab import software


@pytest.fixture(scope="session")
def major() -> int:
    """The newest PostgreSQL server that is installed; the lab's packages bring one."""
    software.ensure_packages()
    found = [number for number in cluster.installed() if os.path.exists(f"/usr/lib/postgresql/{number}/bin/initdb")]
    assert found, "no PostgreSQL server is installed"
    return found[0]


@pytest.fixture(scope="session")
def base() -> t.Iterator[pathlib.Path]:
    """A directory that the server's user can enter; pytest's own are closed to him."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="matrixon-backup-", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def template(base: pathlib.Path, major: int) -> Cluster:
    """A stopped cluster with data in it, to be copied."""
    made = Cluster(base / "template", major, 5433)
    made.make()
    made.start()
    try:
        made.fill()
    finally:
        made.stop("fast")
    return made


@pytest.fixture(scope="session")
def shared(template: Cluster, base: pathlib.Path) -> t.Iterator[Cluster]:
    """A running server that tests only read."""
    with copy_of(template, base) as running:
        yield running


@pytest.fixture
def server(template: Cluster, base: pathlib.Path) -> t.Iterator[Cluster]:
    """A running server of the test's own."""
    with copy_of(template, base) as running:
        yield running


@pytest.fixture(scope="session")
def runner() -> process.Runner:
    """The way to run tools as the server's user."""
    return process.Runner(process.find_user(USER))


@pytest.fixture
def place(base: pathlib.Path) -> t.Iterator[pathlib.Path]:
    """An empty directory of the test's own."""
    path = make_owned(base / f"place{next(numbers)}")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def sets(place: pathlib.Path) -> Sets:
    """A store's directories."""
    return Sets(place / "db1")


@pytest.fixture
def native(runner: process.Runner, sets: Sets) -> t.Iterator[Make]:
    """Return a way to make the driver for a server."""
    with contextlib.ExitStack() as stack:

        def make(server: Cluster | None, **options: t.Any) -> Native:
            client = None
            if server:
                client = stack.enter_context(cluster.client(server.server, runner, Deadline(10)))
            return Native(str(sets.root), runner, client, durable=False, **options)

        yield make


@pytest.fixture
def logical(runner: process.Runner, sets: Sets) -> t.Iterator[t.Callable[..., Logical]]:
    """Return a way to make the driver for dumps of a server."""
    with contextlib.ExitStack() as stack:

        def make(server: Cluster | None, **options: t.Any) -> Logical:
            client = None
            if server:
                client = stack.enter_context(cluster.client(server.server, runner, Deadline(10)))
            return Logical(str(sets.root), runner, client, durable=False, **options)

        yield make


@pytest.fixture
def store(place: pathlib.Path, server: Cluster) -> Store:
    """A store beside a server of the test's own."""
    return Store(make_owned(place / "store"), server)


@pytest.fixture
def read_only(place: pathlib.Path, shared: Cluster) -> Store:
    """A store beside a server that the test only reads."""
    return Store(make_owned(place / "store"), shared)
