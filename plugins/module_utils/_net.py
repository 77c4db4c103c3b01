# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Sockets whose every wait ends with one deadline."""

from __future__ import annotations

import errno
import io
import socket
import ssl
import typing as t

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

CHUNK = 65536


class Address(t.NamedTuple):
    """One place to connect to, as the resolver gives it."""

    family: int
    sockaddr: t.Any

    def __str__(self) -> str:
        if self.family == socket.AF_UNIX:
            return str(self.sockaddr)
        return join_host_port(self.sockaddr[0], self.sockaddr[1])


def join_host_port(host: str, port: int) -> str:
    """Return host:port, with brackets where the host is an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def resolve(host: str, port: int) -> list[Address]:
    """Return the addresses of a host in the order to try them.

    The resolver takes no deadline. The engine runs each probe in a thread
    that it can leave behind, so a stuck resolver costs one probe.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise ProbeFailure(DNS, f"the name {host} does not resolve: {reason(error)}") from error
    return list(dict.fromkeys(Address(family, sockaddr) for family, _type, _proto, _name, sockaddr in found))


def connect(host: str, port: int, deadline: Deadline, peer: str | None = None) -> socket.socket:
    """Connect to the first address of a host that answers. Failures speak of ``peer``."""
    return connect_first(resolve(host, port), deadline, peer)


def connect_first(addresses: t.Iterable[Address], deadline: Deadline, peer: str | None = None) -> socket.socket:
    """Connect to the first of these addresses that answers."""
    failures = []
    for address in addresses:
        try:
            return connect_address(address, deadline, peer)
        except ProbeFailure as failure:
            failures.append(failure)
    raise failures[-1]


def connect_unix(path: str, deadline: Deadline, peer: str | None = None) -> socket.socket:
    """Connect to a Unix socket."""
    return connect_address(Address(socket.AF_UNIX, path), deadline, peer)


def connect_address(address: Address, deadline: Deadline, peer: str | None = None) -> socket.socket:
    """Connect to one address."""
    peer = peer or str(address)
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.settimeout(deadline.require(peer))
        sock.connect(address.sockaddr)
        if address.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        sock.close()
        raise failure_of(error, peer, deadline) from error
    except ProbeFailure:
        sock.close()
        raise
    return sock


def start_tls(
    sock: socket.socket, server_name: str, context: ssl.SSLContext, deadline: Deadline, peer: str | None = None
) -> ssl.SSLSocket:
    """Do a client handshake; its deadline is total, not per read."""
    peer = peer or server_name
    try:
        sock.settimeout(deadline.require(peer))
        return context.wrap_socket(sock, server_hostname=server_name)
    except OSError as error:
        sock.close()
        raise failure_of(error, peer, deadline) from error
    except ProbeFailure:
        sock.close()
        raise


def failure_of(error: OSError, peer: str, deadline: Deadline) -> ProbeFailure:
    """Say what an operating system error means to an operator."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return ProbeFailure(TLS, f"{peer}: the certificate is not accepted: {error.verify_message}")
    if isinstance(error, (socket.timeout, ssl.SSLWantReadError)) or error.errno == errno.ETIMEDOUT:
        return deadline.failure(peer) if deadline.remaining() <= 0 else ProbeFailure(TIMEOUT, f"{peer}: no answer")
    if isinstance(error, ssl.SSLError):
        return ProbeFailure(TLS, f"{peer}: TLS failed: {reason(error)}")
    if isinstance(error, ConnectionRefusedError):
        return ProbeFailure(REFUSED, f"{peer}: connection refused, nothing listens there")
    if isinstance(error, FileNotFoundError):
        return ProbeFailure(REFUSED, f"{peer}: no such socket, the service that makes it is not running")
    if isinstance(error, PermissionError):
        return ProbeFailure(AUTH, f"{peer}: this user may not open it ({reason(error)})")
    if isinstance(error, ConnectionError):
        return ProbeFailure(REFUSED, f"{peer}: the connection was cut ({reason(error)})")
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN):
        return ProbeFailure(REFUSED, f"{peer}: unreachable ({reason(error)})")
    return ProbeFailure(INTERNAL, f"{peer}: {reason(error)}")


def reason(error: BaseException) -> str:
    """Return the words of an error without its number."""
    if isinstance(error, ssl.SSLError) and getattr(error, "reason", None):
        return error.reason.replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


class Stream(io.RawIOBase):
    """A connected socket that reads and writes under one deadline."""

    def __init__(self, sock: socket.socket, peer: str, deadline: Deadline) -> None:
        super().__init__()
        self._sock = sock
        self._peer = peer
        self._deadline = deadline

    def readable(self) -> bool:
        """Say yes: it reads."""
        return True

    def readinto(self, buffer: t.Any) -> int:
        """Read what is there, waiting no longer than the deadline."""
        try:
            self._sock.settimeout(self._deadline.require(self._peer))
            return self._sock.recv_into(buffer)
        except OSError as error:
            raise failure_of(error, self._peer, self._deadline) from error

    def send(self, data: bytes) -> None:
        """Write everything."""
        try:
            self._sock.settimeout(self._deadline.require(self._peer))
            self._sock.sendall(data)
        except OSError as error:
            raise failure_of(error, self._peer, self._deadline) from error

    def makefile(self, mode: str = "rb") -> io.BufferedReader:
        """Return a buffered reader; http.client asks a socket for this."""
        if mode != "rb":
            raise ValueError(f"only mode 'rb' is known here, not {mode!r}")
        return io.BufferedReader(self)

    def read_to_end(self, limit: int) -> bytes:
        """Read until the peer closes, and refuse more than ``limit`` bytes."""
        chunks: list[bytes] = []
        size = 0
        while True:
            buffer = bytearray(CHUNK)
            got = self.readinto(buffer)
            if not got:
                return b"".join(chunks)
            size += got
            if size > limit:
                raise ProbeFailure(PARSE, f"{self._peer}: the answer is larger than {limit} bytes")
            chunks.append(bytes(buffer[:got]))

    def close(self) -> None:
        """Close the socket too."""
        if not self.closed:
            self._sock.close()
        super().close()
