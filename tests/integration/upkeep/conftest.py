"""Servers that nobody tends but the module under test."""

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
from upkept import start

from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster
from lab import software


@pytest.fixture(scope="session")
def upkept() -> t.Iterator[Cluster]:
    """One server of the newest version that is installed."""
    if not cluster.installed():
        software.ensure_packages()
    found = cluster.installed()
    assert found, "no PostgreSQL server is installed"
    base = pathlib.Path(tempfile.mkdtemp(prefix="matrixon-upkeep-", dir="/var/tmp"))
    base.chmod(0o755)
    server = start(base / "server", found[0])
    yield server
    server.stop()
    shutil.rmtree(base)
