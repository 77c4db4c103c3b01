"""The web servers that Matrix server names lead to: their well-known files, good and bad."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import typing as t

from farm import Farm

Answer = t.Callable[[ssl.SSLSocket], None]
HEAD = "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nConnection: close\r\n{more}\r\n"


def _send(sock: ssl.SSLSocket, status: int, body: bytes = b"", more: str = "") -> None:
    sock.sendall(HEAD.format(status=status, more=more).encode() + body)


def says(target: t.Any, headers: str = "") -> Answer:
    return text(json.dumps({"m.server": target}).encode(), headers)


def text(body: bytes, headers: str = "") -> Answer:
    return lambda sock: _send(sock, 200, body, headers)


def missing(sock: ssl.SSLSocket) -> None:
    _send(sock, 404)


def moved(location: str) -> Answer:
    return lambda sock: _send(sock, 302, more=f"Location: {location}\r\n")


def large(sock: ssl.SSLSocket) -> None:
    """Five megabytes that begin well."""
    _send(sock, 200, b'{"m.server": "large.matrix.test:8448", "x": "')
    for _part in range(50):
        sock.sendall(b"x" * 100_000)


def slow(ended: threading.Event) -> Answer:
    """A byte now and then, for longer than anyone waits."""

    def answer(sock: ssl.SSLSocket) -> None:
        _send(sock, 200)
        for byte in b'{"m.server": "slow.matrix.test:8448"}' + b" " * 1000:
            sock.sendall(bytes([byte]))
            if ended.wait(0.2):
                return

    return answer


class Web:
    """One web server for many names."""

    def __init__(self, farm: Farm, server: ssl.SSLContext) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self._server = server
        self.port = farm.serve(self._serve)

    def _serve(self, connection: socket.socket) -> None:
        with self._server.wrap_socket(connection, server_side=True) as sock:
            lines = sock.makefile("rb")
            path = lines.readline().split()[1].decode()
            headers = dict(line.rstrip().split(b": ", 1) for line in iter(lines.readline, b"\r\n"))
            host = headers[b"Host"].decode()
            self.asked.append(host + path)
            answer = self.answers[host] if path == "/.well-known/matrix/server" else self.answers[host + path]
            answer(sock)
