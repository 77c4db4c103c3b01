"""The other sides of the channels: web servers that can be told how to answer, and a mail server."""

from __future__ import annotations

import pathlib
import sys
import typing as t

import pytest
import trustme

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "unit"))

from ends import MailServer, Pages, Receiver


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("pki") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture
def receiver() -> t.Iterator[t.Callable[..., Receiver]]:
    """A way to start receivers, which end with the test."""
    running: list[Receiver] = []

    def start(*answers: t.Any) -> Receiver:
        running.append(Receiver(*answers))
        return running[-1]

    yield start
    for one in running:
        one.close()


@pytest.fixture
def pages() -> t.Iterator[Pages]:
    """A status page."""
    running = Pages()
    yield running
    running.close()


@pytest.fixture
def mail(authority: trustme.CA) -> t.Iterator[t.Callable[..., MailServer]]:
    """A way to start mail servers, which end with the test."""
    running: list[MailServer] = []

    def start(**options: t.Any) -> MailServer:
        running.append(MailServer(authority, **options))
        return running[-1]

    yield start
    for one in running:
        one.close()
