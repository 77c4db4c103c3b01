"""One PostgreSQL with a load that is known, for all tests of performance."""

from __future__ import annotations

import pathlib
import shutil
import sys
import tempfile
import typing as t

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "backup"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3]))

from clusters import Cluster
from loaded import DATABASE, fill, start

from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster
from lab import software


@pytest.fixture(scope="session")
def base() -> t.Iterator[pathlib.Path]:
    """A directory that PostgreSQL's user can enter; pytest's own are closed to him."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="matrixon-performance-", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def majors() -> list[int]:
    """The PostgreSQL servers that are installed, the newest first; if there is none, the lab's packages bring one."""
    if not cluster.installed():
        software.ensure_packages()
    found = cluster.installed()
    assert found, "no PostgreSQL server is installed"
    return found


@pytest.fixture(scope="session")
def busy(base: pathlib.Path, majors: list[int]) -> t.Iterator[Cluster]:
    """A server on loopback, with a database that is to be loaded."""
    server = start(base / "busy", majors[0])
    fill(server, DATABASE)
    yield server
    server.stop()
