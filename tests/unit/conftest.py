"""What the unit tests share: servers on loopback, certificates, and a clock that is set by hand."""

from __future__ import annotations

import pathlib
import socket
import sys
from collections.abc import Callable, Iterator

import pytest
import trustme

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from servers import Server

from ansible_collections.matrixon.ops.plugins.module_utils._health.engine import Policy, execute
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Check, Limits, Probe
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import CheckResult

Serve = Callable[..., Server]


class Clock:
    """A monotonic clock that goes on only when told to, and by ``step`` each time it is read."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 1000.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands still."""
    return Clock()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a way to start servers, which all end with the test."""
    servers: list[Server] = []

    def start(*args: object, **options: object) -> Server:
        servers.append(Server(*args, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Return a port that refuses: bound, so that nobody else takes it, and not listening."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Return a certificate authority."""
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the file with the authority's certificate."""
    path = tmp_path_factory.mktemp("pki") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture
def judged() -> Callable[..., CheckResult]:
    """Return a way to let one check judge facts, as the engine does it."""

    def judge(check: Check, limits: Limits | None = None, **facts: object) -> CheckResult:
        policy = Policy(thresholds={check.name: limits} if limits else {})
        (result,) = execute([Probe("the target", (check,), lambda _deadline: facts)], policy, Deadline(5)).results
        return result

    return judge
