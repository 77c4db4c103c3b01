"""Tests of sockets whose every wait ends with one deadline."""

from __future__ import annotations

import errno
import socket
import ssl
import time

import pytest
import servers

from ansible_collections.matrixon.ops.plugins.module_utils import _net
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    AUTH,
    DNS,
    INTERNAL,
    PARSE,
    REFUSED,
    TIMEOUT,
    TLS,
    Deadline,
    ProbeFailure,
)


def loopback(port: int, host: str = "127.0.0.1") -> _net.Address:
    return _net.Address(socket.AF_INET, (host, port))


def stream_to(server: servers.Server, deadline: Deadline) -> _net.Stream:
    return _net.Stream(_net.connect("127.0.0.1", server.port, deadline), "the peer", deadline)


FAILURES = {
    "refused": (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), REFUSED, "nothing listens"),
    "reset": (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), REFUSED, "cut"),
    "broken pipe": (BrokenPipeError(errno.EPIPE, "Broken pipe"), REFUSED, "cut"),
    "no such socket": (FileNotFoundError(errno.ENOENT, "No such file or directory"), REFUSED, "no such socket"),
    "may not open": (PermissionError(errno.EACCES, "Permission denied"), AUTH, "may not"),
    "no route to host": (OSError(errno.EHOSTUNREACH, "No route to host"), REFUSED, "unreachable"),
    "no route to network": (OSError(errno.ENETUNREACH, "Network is unreachable"), REFUSED, "unreachable"),
    "host down": (OSError(errno.EHOSTDOWN, "Host is down"), REFUSED, "unreachable"),
    "socket timeout": (TimeoutError("timed out"), TIMEOUT, "no answer"),
    "timeout of the kernel": (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), TIMEOUT, "no answer"),
    "TLS gone wrong": (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), TLS, "TLS failed"),
    "TLS cut short": (ssl.SSLEOFError(8, "EOF occurred"), TLS, "TLS failed"),
    "anything else": (OSError(errno.EMFILE, "Too many open files"), INTERNAL, "Too many open files"),
}


@pytest.mark.parametrize(("error", "kind", "words"), FAILURES.values(), ids=list(FAILURES))
def test_every_error_of_the_system_has_a_meaning_and_names_the_peer(error: OSError, kind: str, words: str) -> None:
    failure = _net.failure_of(error, "db1:5432", Deadline(5))
    assert failure.kind == kind
    assert failure.message.startswith("db1:5432: ") and words in failure.message
    assert "Errno" not in failure.message


def test_timeout_at_the_deadline_tells_how_long_was_waited(clock) -> None:
    deadline = Deadline(5, clock)
    clock.now += 5
    assert "within 5 s" in _net.failure_of(TimeoutError(), "db1:5432", deadline).message


@pytest.mark.parametrize(
    ("host", "port", "text"), [("db1", 5432, "db1:5432"), ("10.0.0.5", 80, "10.0.0.5:80"), ("::1", 80, "[::1]:80")]
)
def test_host_and_port_are_joined_with_brackets_for_ipv6(host: str, port: int, text: str) -> None:
    assert _net.join_host_port(host, port) == text
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    assert str(_net.Address(family, (host, port))) == text


def test_resolve_lists_each_address_once() -> None:
    addresses = _net.resolve("127.0.0.1", 80)
    assert addresses == [loopback(80)]


def test_name_that_does_not_resolve_is_a_dns_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_args: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ProbeFailure) as caught:
        _net.connect("db1.test", 5432, Deadline(5))
    assert caught.value.kind == DNS and "db1.test" in caught.value.message


def test_name_that_cannot_be_a_name_is_a_dns_failure() -> None:
    with pytest.raises(ProbeFailure) as caught:
        _net.resolve("a" * 64 + ".test", 80)
    assert caught.value.kind == DNS


def test_second_address_is_tried_when_the_first_refuses(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(servers.say(b"hello"))
    # Nothing listens at 127.0.0.2 with this port.
    monkeypatch.setattr(_net, "resolve", lambda *_: [loopback(server.port, "127.0.0.2"), loopback(server.port)])
    with _net.connect("db1.test", server.port, Deadline(5)) as sock:
        assert sock.getpeername()[0] == "127.0.0.1"


def test_closed_port_is_refused_by_name(closed_port: int) -> None:
    with pytest.raises(ProbeFailure) as caught:
        _net.connect("127.0.0.1", closed_port, Deadline(5))
    assert caught.value.kind == REFUSED and f"127.0.0.1:{closed_port}" in caught.value.message


def test_unix_socket_is_reached(serve, tmp_path) -> None:
    path = str(tmp_path / "s")
    serve(servers.say(b"hello"), listener=servers.unix_listener(path))
    deadline = Deadline(5)
    with _net.Stream(_net.connect_unix(path, deadline), path, deadline) as stream:
        stream.send(b"hi")
        assert stream.read_to_end(100) == b"hello"


@pytest.mark.parametrize(
    ("name", "kind"), [("missing", REFUSED), ("x" * 200, INTERNAL)], ids=["no such file", "name too long"]
)
def test_unix_socket_that_cannot_be_reached_is_named(tmp_path, name: str, kind: str) -> None:
    with pytest.raises(ProbeFailure) as caught:
        _net.connect_unix(str(tmp_path / name), Deadline(5))
    assert caught.value.kind == kind and name in caught.value.message


def test_nothing_is_contacted_once_the_deadline_is_over(serve, clock) -> None:
    server = serve(servers.silent)
    deadline = Deadline(1, clock)
    clock.now += 1
    with pytest.raises(ProbeFailure) as caught:
        _net.connect("127.0.0.1", server.port, deadline)
    assert caught.value.kind == TIMEOUT and server.connections == 0


def test_reading_ends_when_the_peer_closes(serve) -> None:
    deadline = Deadline(5)
    with stream_to(serve(servers.say(b"x" * 100_000)), deadline) as stream:
        stream.send(b"?")
        assert stream.read_to_end(100_000) == b"x" * 100_000


def test_larger_answer_than_allowed_is_refused_while_it_comes(serve) -> None:
    deadline = Deadline(5)
    with stream_to(serve(servers.flood(b"")), deadline) as stream:
        stream.send(b"?")
        with pytest.raises(ProbeFailure) as caught:
            stream.read_to_end(100_000)
    assert caught.value.kind == PARSE and "larger than 100000 bytes" in caught.value.message


@pytest.mark.parametrize("script", [servers.drip(b""), servers.silent], ids=["drips", "is silent"])
def test_read_ends_at_the_total_deadline_when_the_peer(serve, script: servers.Script) -> None:
    deadline = Deadline(0.25)
    started = time.monotonic()
    with stream_to(serve(script), deadline) as stream:
        stream.send(b"?")
        with pytest.raises(ProbeFailure) as caught:
            stream.read_to_end(100_000)
    assert caught.value.kind == TIMEOUT and "the peer" in caught.value.message
    assert 0.2 < time.monotonic() - started < 0.9


def test_connection_that_is_reset_is_refused(serve) -> None:
    deadline = Deadline(5)
    with stream_to(serve(servers.reset), deadline) as stream:
        stream.send(b"?")
        with pytest.raises(ProbeFailure) as caught:
            stream.read_to_end(100)
    assert caught.value.kind == REFUSED and "cut" in caught.value.message


def test_write_ends_at_the_total_deadline_when_the_peer_does_not_read(serve) -> None:
    deadline = Deadline(0.3)
    with stream_to(serve(servers.silent), deadline) as stream, pytest.raises(ProbeFailure) as caught:
        stream.send(b"x" * 50_000_000)
    assert caught.value.kind == TIMEOUT and deadline.elapsed() < 0.8


def test_failure_to_connect_speaks_of_the_peer_if_there_is_a_name_for_it(closed_port: int) -> None:
    with pytest.raises(ProbeFailure, match="^Redis at cache1: connection refused"):
        _net.connect("127.0.0.1", closed_port, Deadline(5), "Redis at cache1")


def test_stream_closes_its_socket() -> None:
    ours, theirs = socket.socketpair()
    _net.Stream(ours, "the peer", Deadline(5)).close()
    assert ours.fileno() == -1 and theirs.recv(1) == b""
    theirs.close()


TLS_FAILURES = {
    "certificate for another name": ("other.test", True, "other.test"),
    "certificate of an unknown authority": ("matrix.test", False, "matrix.test"),
}


@pytest.mark.parametrize(("name", "trusted", "words"), TLS_FAILURES.values(), ids=list(TLS_FAILURES))
def test_tls_handshake_refuses_a(serve, authority, ca_file: str, name: str, trusted: bool, words: str) -> None:
    server = serve(servers.silent, tls=servers.tls_for(authority, "matrix.test"))
    context = ssl.create_default_context(cafile=ca_file if trusted else None)
    deadline = Deadline(5)
    with pytest.raises(ProbeFailure) as caught:
        _net.start_tls(_net.connect("127.0.0.1", server.port, deadline), name, context, deadline)
    assert caught.value.kind == TLS
    assert words in caught.value.message and "certificate is not accepted" in caught.value.message


def test_tls_handshake_with_a_server_that_does_not_speak_it_is_a_tls_failure(serve) -> None:
    deadline = Deadline(5)
    sock = _net.connect("127.0.0.1", serve(servers.say(b"220 mail.test ESMTP\r\n")).port, deadline)
    with pytest.raises(ProbeFailure) as caught:
        _net.start_tls(sock, "matrix.test", ssl.create_default_context(), deadline)
    assert caught.value.kind == TLS and "TLS failed: " in caught.value.message
    assert "_" not in caught.value.message and "[" not in caught.value.message


def test_tls_handshake_after_the_deadline_is_not_begun_and_the_socket_closed(clock) -> None:
    ours, theirs = socket.socketpair()
    deadline = Deadline(1, clock)
    clock.now += 1
    with pytest.raises(ProbeFailure) as caught:
        _net.start_tls(ours, "matrix.test", ssl.create_default_context(), deadline)
    assert caught.value.kind == TIMEOUT and ours.fileno() == -1 and theirs.recv(1) == b""
    theirs.close()


DRIPPING_TLS = servers.drip(b"\x16\x03\x03\x10\x00", b"\x00")


@pytest.mark.parametrize("script", [servers.silent, DRIPPING_TLS], ids=["silent", "dripping"])
def test_tls_handshake_ends_at_the_total_deadline_with_a_peer_that_is(serve, script: servers.Script) -> None:
    deadline = Deadline(0.25)
    started = time.monotonic()
    sock = _net.connect("127.0.0.1", serve(script).port, deadline)
    with pytest.raises(ProbeFailure) as caught:
        _net.start_tls(sock, "matrix.test", ssl.create_default_context(), deadline)
    assert caught.value.kind == TIMEOUT
    assert time.monotonic() - started < 0.9
