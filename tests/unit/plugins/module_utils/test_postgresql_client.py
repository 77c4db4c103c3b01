"""The PostgreSQL client against servers that refuse, freeze, drip or talk nonsense."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils import _postgresql
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Server, connect
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure

PASSWORD = "s3cret-canary"
SSL_REQUEST = struct.pack("!ii", 8, 80877103)
PARAMETERS = {
    "server_version": "15.18",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "standard_conforming_strings": "on",
}

Script = Callable[[socket.socket, bytes], None]


def packet(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def error(code: str, text: str, severity: str = "FATAL") -> bytes:
    fields = f"S{severity}\0VFATAL\0C{code}\0M{text}\0Fsome.c\0L1\0Rsome\0\0"
    return packet(b"E", fields.encode())


def welcome() -> bytes:
    states = b"".join(packet(b"S", f"{name}\0{value}\0".encode()) for name, value in PARAMETERS.items())
    return packet(b"R", b"\0\0\0\0") + states + packet(b"Z", b"I")


@contextlib.contextmanager
def server(script: Script) -> Iterator[Server]:
    """Play a server: ``script`` gets each connection and its startup packet."""
    done = threading.Event()

    def serve(peer: socket.socket) -> None:
        with contextlib.suppress(OSError), peer:
            startup = peer.recv(4096)
            if startup == SSL_REQUEST:
                peer.sendall(b"N")
                startup = peer.recv(4096)
            script(peer, startup)

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not done.is_set():
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield target(listener.getsockname()[1])
        done.set()


def target(port: int, host: str = "127.0.0.1") -> Server:
    return Server(host, port, "matrix", "monitor", PASSWORD)


def saying(data: bytes) -> Script:
    return lambda peer, _startup: peer.sendall(data)


def frozen(peer: socket.socket, _startup: bytes) -> None:
    peer.recv(1)


def dripping(peer: socket.socket, _startup: bytes) -> None:
    for byte in packet(b"R", b"\0\0\0\0") + packet(b"S", b"a" * 4096):
        peer.sendall(bytes([byte]))
        time.sleep(0.02)


def mute_after_welcome(peer: socket.socket, _startup: bytes) -> None:
    peer.sendall(welcome())
    while peer.recv(4096):
        pass


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def failure_of(where: Server, seconds: float = 2.0) -> ProbeFailure:
    with pytest.raises(ProbeFailure) as caught:
        connect(where, Deadline(seconds))
    assert PASSWORD not in caught.value.message
    assert where.where in caught.value.message
    return caught.value


def test_password_is_in_no_representation() -> None:
    assert PASSWORD not in repr(target(1)) + str(target(1))


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        ("28P01", "password authentication failed", "auth"),
        ("28000", "no pg_hba.conf entry", "auth"),
        ("42501", "permission denied for database", "auth"),
        ("57P03", "the database system is starting up", "refused"),
        ("57P03", "the database system is shutting down", "refused"),
        ("53300", "sorry, too many clients already", "refused"),
        ("53300", 'too many connections for role "monitor"', "auth"),
        ("3D000", "database does not exist", "refused"),
        ("08P01", "unsupported startup parameter", "internal"),
        ("XX000", "something else", "internal"),
    ],
)
def test_refusal_is_told_by_its_code(code: str, text: str, kind: str) -> None:
    with server(saying(error(code, text))) as where:
        failure = failure_of(where)
    assert (failure.kind, failure.facts["sqlstate"]) == (kind, code)
    assert text in failure.message


def test_refusal_in_another_language_is_told_by_its_code() -> None:
    with server(saying(error("53300", "przepraszamy, już zbyt wiele klientów", "KATASTROFALNY"))) as where:
        assert failure_of(where).kind == "refused"


def test_password_that_the_server_repeats_is_taken_out() -> None:
    with server(saying(error("28P01", f"no user with {PASSWORD}"))) as where:
        assert "no user with ***" in failure_of(where).message


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "parse"),
        (lambda peer, _startup: peer.close(), "refused"),
        (saying(packet(b"R", struct.pack("!i", 3))), "refused"),
    ],
    ids=["another protocol", "cut at once", "cut while authenticating"],
)
def test_nonsense_and_cuts(script: Script, kind: str) -> None:
    with server(script) as where:
        assert failure_of(where).kind == kind


@pytest.mark.parametrize("script", [frozen, dripping])
def test_connect_ends_with_the_deadline(script: Script) -> None:
    with server(script) as where:
        started = time.monotonic()
        failure = failure_of(where, 0.4)
        assert time.monotonic() - started < 0.9
    assert failure.kind == "timeout"


def test_hung_query_ends_with_the_deadline_and_spoils_the_session() -> None:
    with server(mute_after_welcome) as where, connect(where, Deadline(0.6)) as session:
        started = time.monotonic()
        for _question in range(2):
            with pytest.raises(ProbeFailure) as caught:
                session.rows("SELECT 1")
            assert caught.value.kind == "timeout"
        assert time.monotonic() - started < 1.1


def test_broken_query_has_its_code_and_the_session_goes_on_until_it_is_cut() -> None:
    answers = iter([error("42501", "permission denied for function f", "ERROR"), error("57014", "canceled", "ERROR")])

    def script(peer: socket.socket, _startup: bytes) -> None:
        peer.sendall(welcome())
        for answer in answers:
            peer.recv(4096)
            peer.sendall(answer + packet(b"Z", b"I"))
        peer.recv(4096)

    with server(script) as where, connect(where, Deadline(2)) as session:
        for kind in ("auth", "timeout", "refused", "refused"):
            with pytest.raises(ProbeFailure) as caught:
                session.rows("SELECT f()")
            assert caught.value.kind == kind


def test_session_is_read_only_named_and_bounded_on_the_server() -> None:
    seen: list[bytes] = []

    def script(peer: socket.socket, startup: bytes) -> None:
        seen.append(startup)
        mute_after_welcome(peer, startup)

    with server(script) as where, connect(where, Deadline(4.0)):
        pass
    fields = seen[0][8:].split(b"\0")
    startup = dict(zip(fields[::2], fields[1::2], strict=False))
    assert startup[b"application_name"] == b"matrixon.ops"
    assert b"-c default_transaction_read_only=on" in startup[b"options"]
    timeout = int(startup[b"options"].split(b"statement_timeout=")[1])
    assert 1500 <= timeout <= 2000
    assert PASSWORD.encode() not in seen[0]


def test_nothing_listens() -> None:
    assert failure_of(target(closed_port())).kind == "refused"


def test_no_socket_in_the_directory(tmp_path: object) -> None:
    failure = failure_of(target(5432, str(tmp_path)))
    assert failure.kind == "refused"
    assert f"{tmp_path}/.s.PGSQL.5432" in failure.message


def test_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_arguments: object, **_options: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(ProbeFailure) as caught:
        connect(target(5432, "db.invalid"), Deadline(1))
    assert caught.value.kind == "dns"


def test_tls_is_demanded_and_not_offered() -> None:
    with server(frozen) as where:
        demanding = Server(where.host, where.port, "matrix", "monitor", PASSWORD, sslmode="require")
        assert failure_of(demanding).kind == "tls"


class TestWithoutPsycopg2:
    @pytest.fixture(autouse=True)
    def absent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_postgresql, "psycopg2", None)

    def test_server_that_listens_cannot_be_asked(self) -> None:
        with server(frozen) as where:
            failure = failure_of(where)
        assert failure.kind == "missing_tool"
        assert "python3-psycopg2" in failure.message

    def test_nothing_listens(self) -> None:
        assert failure_of(target(closed_port())).kind == "refused"
