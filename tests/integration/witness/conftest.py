"""One witness and one template of a cluster for all tests of this directory."""

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
from etcd import Etcd
from host import Host, fill
from proxy import Proxy

from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster
from ansible_collections.matrixon.ops.plugins.module_utils._dr import witness
from lab import software


@pytest.fixture(scope="session")
def base() -> t.Iterator[pathlib.Path]:
    """A directory that PostgreSQL's user can enter; pytest's own are closed to him."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="matrixon-witness-", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Etcd]:
    running = Etcd(tmp_path_factory.mktemp("etcd"))
    running.start()
    try:
        running.secure()
        yield running
    finally:
        running.stop()


@pytest.fixture
def client(store: Etcd) -> witness.Client:
    """The deployment's user, whose keys are empty."""
    root = store.root()
    prefix = root.settings.key("")
    wanted = {"key": witness.encode(prefix), "range_end": witness.encode(witness.after(prefix))}
    root.administer("kv/deleterange", wanted, witness.Deadline(20))
    return store.client()


@pytest.fixture
def proxy(store: Etcd) -> t.Iterator[Proxy]:
    between = Proxy(store.port)
    yield between
    between.close()


@pytest.fixture(scope="session")
def template(base: pathlib.Path) -> Cluster:
    """A stopped cluster, to be copied."""
    software.ensure_packages()
    found = cluster.installed()
    assert found, "no PostgreSQL server is installed"
    made = Cluster(base / "template", found[0], 5433)
    # Small, for it is copied often.
    made.make("--wal-segsize=1")
    made.start()
    try:
        fill(made)
    finally:
        made.stop("fast")
    return made


@pytest.fixture(scope="session")
def home(template: Cluster, base: pathlib.Path, store: Etcd) -> t.Iterator[Host]:
    """A host of region one with a database and a homeserver process."""
    made = Host(template, base, store)
    yield made
    made.close()


@pytest.fixture
def host(home: Host, client: witness.Client) -> t.Iterator[Host]:
    """The same one as before anything was done to it. Nothing runs, and there is no record."""
    yield home
    home.reset()


@pytest.fixture
def running(host: Host) -> Host:
    """The same one, with its database and its homeserver running, and no guard."""
    host.run()
    return host


@pytest.fixture
def spare(template: Cluster, base: pathlib.Path, store: Etcd, client: witness.Client) -> t.Iterator[Host]:
    """One whose database may become another."""
    made = Host(template, base, store)
    yield made
    made.close()
