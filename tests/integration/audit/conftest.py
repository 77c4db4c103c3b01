"""Servers of their own for the audit's tests, clean ones and weak ones."""

from __future__ import annotations

import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import typing as t

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "backup"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3]))

from auditing import Audited, audit
from clusters import Cluster

from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster
from lab import software


@pytest.fixture(scope="session")
def audited() -> t.Callable[..., Audited]:
    """A way to call the module."""
    return audit


@pytest.fixture(scope="session")
def base() -> t.Iterator[pathlib.Path]:
    """A directory that PostgreSQL's user can enter; pytest's own are closed to him."""
    software.ensure_packages()
    path = pathlib.Path(tempfile.mkdtemp(prefix="matrixon-audit-", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture(scope="session")
def database(base: pathlib.Path) -> t.Iterator[Cluster]:
    """A server with a role and a database, asked at its socket."""
    server = Cluster(base / "db", cluster.installed()[0], free_port())
    server.make()
    with open(server.data / "postgresql.auto.conf", "a", encoding="utf-8") as file:
        file.write(
            "listen_addresses = '127.0.0.1'\nshared_preload_libraries = ''\npassword_encryption = 'scram-sha-256'\n"
        )
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_at(base: pathlib.Path) -> t.Iterator[t.Callable[..., int]]:
    """Start a Redis with these lines of configuration; return its port."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*lines: str) -> int:
        port = free_port()
        config = base / f"redis-{port}.conf"
        config.write_text("\n".join([f"port {port}", 'save ""', f"dir {base}", *lines, ""]))
        running.append(subprocess.Popen(["redis-server", str(config)], stdout=subprocess.DEVNULL, cwd=base))
        end = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return port
            except OSError:
                assert running[-1].poll() is None and time.monotonic() < end, "Redis does not start"
                time.sleep(0.05)

    yield start
    for process in running:
        process.terminate()
    for process in running:
        process.wait(20)
