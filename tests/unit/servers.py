"""Servers on loopback that play a script to each connection, in threads that end with the test."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import trustme

Script = Callable[[socket.socket, "Server"], None]


class Server:
    """A listener whose every connection gets the script, and that remembers what it was asked."""

    def __init__(
        self, script: Script, tls: ssl.SSLContext | None = None, listener: socket.socket | None = None
    ) -> None:
        self.script, self.tls = script, tls
        self.connections = 0
        self.requests: list[Any] = []
        self.stopping = threading.Event()
        self._listener = listener or tcp_listener()
        self._threads = [self._start(self._accept)]

    @property
    def port(self) -> int:
        """The TCP port that it listens on."""
        return self._listener.getsockname()[1]

    @property
    def authority(self) -> str:
        """Its host:port."""
        return f"127.0.0.1:{self.port}"

    def close(self) -> None:
        """End the listener and every script."""
        self.stopping.set()
        # Closing alone does not wake up a thread in accept().
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(2)

    def _start(self, work: Callable[..., None], *args: Any) -> threading.Thread:
        thread = threading.Thread(target=work, args=args, daemon=True)
        thread.start()
        return thread

    def _accept(self) -> None:
        while True:
            try:
                sock, _peer = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            sock.settimeout(5)
            self._threads.append(self._start(self._play, sock))

    def _play(self, sock: socket.socket) -> None:
        # A client that walks away is what half of the tests are about.
        with contextlib.suppress(OSError):
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            self.script(sock, self)
        sock.close()


def tcp_listener(address: str = "127.0.0.1") -> socket.socket:
    """Listen on a free port."""
    return socket.create_server((address, 0))


def unix_listener(path: str) -> socket.socket:
    """Listen on a Unix socket."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    return listener


def tls_for(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """Server side of TLS with a certificate for these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


# Scripts. Those that answer first read what there is to read: closing a socket
# with unread data resets it.


def silent(_sock: socket.socket, server: Server) -> None:
    """Accept, and never say a word."""
    server.stopping.wait(10)


def hang_up(sock: socket.socket, server: Server) -> None:
    """Listen to the request, and close without an answer."""
    server.requests.append(sock.recv(65536))


def reset(sock: socket.socket, server: Server) -> None:
    """Listen to the request, and reset the connection."""
    server.requests.append(sock.recv(65536))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def say(data: bytes) -> Script:
    """Listen to the request, answer with these bytes, and close."""

    def script(sock: socket.socket, server: Server) -> None:
        server.requests.append(sock.recv(65536))
        sock.sendall(data)

    return script


def drip(start: bytes, forever: bytes = b"x", every: float = 0.02) -> Script:
    """Answer with a start and then byte by byte without end: no single read waits long."""

    def script(sock: socket.socket, server: Server) -> None:
        sock.recv(65536)
        sock.sendall(start)
        while not server.stopping.wait(every):
            sock.sendall(forever)

    return script


def flood(start: bytes) -> Script:
    """Answer with a start and then with as much as anyone takes."""

    def script(sock: socket.socket, server: Server) -> None:
        sock.recv(65536)
        sock.sendall(start)
        while not server.stopping.is_set():
            sock.sendall(b"x" * 65536)

    return script


@dataclass(frozen=True)
class Request:
    """What an HTTP server was asked. Names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def http_answer(body: Any = b"", status: int = 200, content_type: str = "application/json", **headers: str) -> bytes:
    """Return a whole HTTP answer; a body that is not bytes becomes JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Said", f"Content-Type: {content_type}", f"Content-Length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


def web(handle: Callable[[Request], bytes]) -> Script:
    """Serve one HTTP request per connection."""

    def script(sock: socket.socket, server: Server) -> None:
        with sock.makefile("rb") as reader:
            line = reader.readline().decode()
            if not line:
                return
            method, path, _version = line.split()
            headers = {}
            while line := reader.readline().decode().strip():
                name, _colon, value = line.partition(":")
                headers[name.lower()] = value.strip()
            body = reader.read(int(headers.get("content-length", 0)))
        request = Request(method, path, headers, body)
        server.requests.append(request)
        sock.sendall(handle(request))

    return script


def pages(answers: dict[str, bytes]) -> Script:
    """Serve fixed answers by path without its query; anything else is a Matrix 404."""
    missing = http_answer({"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"}, 404)
    return web(lambda request: answers.get(request.path.partition("?")[0], missing))


def redis(replies: dict[str, bytes], last: str | None = None) -> Script:
    """Serve Redis commands with fixed replies by command; close after the ``last`` one."""

    def script(sock: socket.socket, server: Server) -> None:
        with sock.makefile("rb") as reader:
            while line := reader.readline():
                words = []
                for _word in range(int(line[1:])):
                    size = int(reader.readline()[1:])
                    words.append(reader.read(size + 2)[:-2].decode())
                server.requests.append(words)
                sock.sendall(replies[words[0]])
                if words[0] == last:
                    return

    return script


def bulk(text: str) -> bytes:
    """Return a text as a Redis bulk reply."""
    data = text.encode()
    return b"$%d\r\n%s\r\n" % (len(data), data)


def commands(answers: dict[str, str]) -> Script:
    """Serve HAProxy's runtime commands, one per connection."""

    def script(sock: socket.socket, server: Server) -> None:
        command = sock.recv(4096).decode().strip()
        server.requests.append(command)
        sock.sendall(answers[command].encode())

    return script
