"""One farm and one name server for all tests of certificates."""

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

from authority import pem
from cases import CASES, Pki
from farm import LOOPBACK, Farm
from names import Names

from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster
from lab import software


@pytest.fixture(scope="session")
def base() -> t.Iterator[pathlib.Path]:
    """A directory that PostgreSQL's user can enter; pytest's own are closed to him."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="matrixon-ssl-", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def major() -> int:
    """The newest PostgreSQL server that is installed; the lab's packages bring one."""
    software.ensure_packages()
    found = cluster.installed()
    assert found, "no PostgreSQL server is installed"
    return found[0]


@pytest.fixture(scope="session")
def pki() -> Pki:
    return Pki()


@pytest.fixture(scope="session")
def farm(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Farm]:
    running = Farm(tmp_path_factory.mktemp("farm"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def names() -> t.Iterator[Names]:
    running = Names()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def ca_file(pki: Pki, farm: Farm) -> str:
    path = farm.directory / "anchors.pem"
    path.write_bytes(pem(*pki.anchors))
    return str(path)


@pytest.fixture(scope="session")
def endpoints(farm: Farm, pki: Pki) -> dict[str, dict[str, t.Any]]:
    """Every case of the farm, running, as the module is told of it."""
    return {
        name: {
            key: value
            for key, value in {
                "name": name,
                "host": case.host_of(name),
                "port": case.start(farm, pki),
                "address": LOOPBACK,
                **case.options,
            }.items()
            if value is not None
        }
        for name, case in CASES.items()
    }
