"""A server with a room whose state is stored badly, and the tool in its forms."""

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
from compressed import Tools, World, start

from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster
from lab import software


@pytest.fixture(scope="session")
def server() -> t.Iterator[Cluster]:
    """One server of the newest version that is installed."""
    software.ensure_packages()
    found = cluster.installed()
    assert found, "no PostgreSQL server is installed"
    base = pathlib.Path(tempfile.mkdtemp(prefix="matrixon-compression-", dir="/var/tmp"))
    base.chmod(0o755)
    made = start(base / "server", found[0])
    yield made
    made.stop()
    shutil.rmtree(base)


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    """The real module, and others that fail in their own ways."""
    return Tools(tmp_path_factory.mktemp("tools"))


@pytest.fixture
def world(server: Cluster, tools: Tools) -> t.Iterator[World]:
    """A database with state that was never compressed."""
    made = World(server, tools)
    yield made
    made.drop()
