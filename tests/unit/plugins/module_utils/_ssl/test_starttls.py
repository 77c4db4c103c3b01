"""Tests of the words that come before TLS, with servers that say them right and wrong."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any

import pytest
import servers

from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._ssl import starttls


def script(*lines: tuple[bytes, bytes]) -> servers.Script:
    """Return a server that waits for words and answers with others; it begins where it waits for none."""

    def play(sock: socket.socket, server: servers.Server) -> None:
        for wanted, answer in lines:
            if wanted:
                server.requests.append(sock.recv(1024))
                if not server.requests[-1].startswith(wanted):
                    return
            sock.sendall(answer)
        server.stopping.wait(5)

    return play


def ask(protocol: str, server: servers.Server, seconds: float = 2) -> bytes:
    """Ask for TLS, and return what was left unread: the first bytes of TLS."""
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        starttls.ask(protocol, sock, Deadline(seconds))
        sock.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            return sock.recv(100)
        return b""


def greet(data: bytes) -> servers.Script:
    """Return a server that speaks first, and then waits."""
    return script((b"", data))


def cut(sock: socket.socket, _server: servers.Server) -> None:
    """Reset the connection at once."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def drip(sock: socket.socket, server: servers.Server) -> None:
    """Say a greeting that has no end, byte by byte."""
    while not server.stopping.wait(0.02):
        sock.sendall(b"2")


EHLO = (b"EHLO ", b"250-mx\r\n250-SIZE 1000\r\n250-STARTTLS\r\n250 HELP\r\n")
GOOD = {
    "smtp": script((b"", b"220-mx\r\n220 hello\r\n"), EHLO, (b"STARTTLS", b"220 go\r\n\x16\x03")),
    "imap": script((b"", b"* OK hello\r\n"), (b"a1 STARTTLS", b"* NOTE\r\na1 OK go\r\n\x16\x03")),
    "postgresql": script((starttls.SSL_REQUEST, b"S\x16\x03")),
}


@pytest.mark.parametrize("protocol", GOOD)
def test_no_byte_of_tls_is_swallowed(serve: Any, protocol: str) -> None:
    assert ask(protocol, serve(GOOD[protocol])) == b"\x16\x03"


BAD = {
    "a mail server without": (
        "smtp",
        script((b"", b"220 mx\r\n"), (b"EHLO ", b"250-mx\r\n250 STARTTLSX\r\n")),
        ("tls", "offers no STARTTLS"),
    ),
    "a mail server that is busy": ("smtp", greet(b"421 busy\r\n"), ("tls", "'421 busy'")),
    "a mail server that refuses": (
        "smtp",
        script((b"", b"220 mx\r\n"), EHLO, (b"STARTTLS", b"454 not now\r\n")),
        ("tls", "'454 not now'"),
    ),
    "a web server": ("smtp", greet(b"HTTP/1.1 400 Bad Request\r\n\r\n"), ("tls", "'HTTP/1.1 400 Bad Request'")),
    "IMAP that refuses": (
        "imap",
        script((b"", b"* OK\r\n"), (b"a1 ", b"a1 BAD what\r\n")),
        ("tls", "'a1 BAD what'"),
    ),
    "mail in the place of IMAP": ("imap", greet(b"220 mx\r\n"), ("tls", "does not greet as an IMAP server")),
    "PostgreSQL without TLS": ("postgresql", script((starttls.SSL_REQUEST, b"N")), ("tls", "speaks no TLS")),
    "another server for PostgreSQL": ("postgresql", script((starttls.SSL_REQUEST, b"-ERR")), ("tls", "b'-'")),
    "an end before a word": ("imap", lambda _sock, _server: None, ("refused", "closed the connection before TLS")),
    "a reset": ("imap", cut, ("refused", "the connection was cut")),
    "a line without end": ("smtp", greet(b"220 " + b"x" * 4096), ("tls", "a line of more than 2048 bytes")),
    "lines without end": ("smtp", greet(b"220-x\r\n" * 100), ("tls", "does not go on to TLS")),
}


@pytest.mark.parametrize(("protocol", "play", "wanted"), BAD.values(), ids=list(BAD))
def test_what_goes_wrong(serve: Any, protocol: str, play: servers.Script, wanted: tuple[str, str]) -> None:
    with pytest.raises(ProbeFailure) as caught:
        ask(protocol, serve(play))
    assert caught.value.kind == wanted[0] and wanted[1] in caught.value.message


@pytest.mark.parametrize("play", [servers.silent, drip], ids=["silent", "dripping"])
def test_deadline_is_total(serve: Any, play: servers.Script) -> None:
    with pytest.raises(ProbeFailure) as caught:
        ask("smtp", serve(play), seconds=0.3)
    assert caught.value.kind == "timeout"
