# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The few Redis commands that the collection needs, under one deadline.

A library would have to be installed on every target, and its timeouts are per
read. AUTH, PING, INFO and CONFIG are a few lines of a protocol that does not change.
"""

from __future__ import annotations

import io
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils import _http, _net
from ansible_collections.matrixon.ops.plugins.module_utils._probe import AUTH, PARSE, REFUSED, Deadline, ProbeFailure

MAX_REPLY = 256 * 1024
MAX_ITEMS = 1024


class RedisError(Exception):
    """An error reply. ``code`` is its first word, such as LOADING or NOAUTH."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = text.split(" ", 1)[0]


@dataclass(frozen=True)
class RedisServer:
    """Where a Redis server is and how to log in to it."""

    host: str
    port: int
    socket: str | None = None
    user: str | None = None
    password: str | None = None
    tls: bool = False
    ca_file: str | None = None

    @property
    def name(self) -> str:
        """Return how people call it."""
        return self.socket or _net.join_host_port(self.host, self.port)

    def session(self, deadline: Deadline) -> Session:
        """Connect and log in."""
        peer = f"Redis at {self.name}"
        if self.socket:
            sock = _net.connect_unix(self.socket, deadline, peer)
        else:
            sock = _net.connect(self.host, self.port, deadline, peer)
        if self.tls:
            sock = _net.start_tls(sock, self.host, _http.tls_context(self.ca_file, True), deadline, peer)
        session = Session(_net.Stream(sock, peer, deadline), self.name)
        try:
            session.login(self.user, self.password)
        except ProbeFailure:
            session.close()
            raise
        return session


class Session:
    """One connection that speaks RESP2."""

    def __init__(self, stream: _net.Stream, name: str) -> None:
        self._stream = stream
        self._reader = io.BufferedReader(stream)
        self._name = name

    def login(self, user: str | None, password: str | None) -> None:
        """Send AUTH where there is a password, and say what a refusal means."""
        if not password:
            return
        try:
            self.call("AUTH", *([user] if user else []), password)
        except RedisError as error:
            if error.code == "LOADING":
                return
            # Where AUTH is not known the error repeats what it was given.
            said = str(error).replace(password, "***")
            if error.code in ("MISCONF", "MASTERDOWN"):
                raise ProbeFailure(REFUSED, f"Redis at {self._name} refuses: {said}") from None
            raise ProbeFailure(AUTH, f"Redis at {self._name} answered but refused the password: {said}") from None

    def call(self, *words: str) -> t.Any:
        """Send one command and return its reply; an error reply is raised."""
        encoded = [word.encode() for word in words]
        self._stream.send(
            b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
        )
        return self._reply()

    def info(self) -> dict[str, str]:
        """Return INFO as a mapping."""
        return parse_info(self.call("INFO"))

    def close(self) -> None:
        """Close the connection."""
        self._reader.close()

    def _reply(self) -> t.Any:
        line = self._reader.readline(MAX_REPLY)
        if not line:
            raise ProbeFailure(REFUSED, f"Redis at {self._name} closed the connection")
        kind = line[:1] if line.endswith(b"\r\n") else b""
        rest = line[1:-2].decode("utf-8", "replace")
        if kind == b"+":
            return rest
        if kind == b"-":
            raise RedisError(rest)
        if kind == b"$" and rest.isdecimal() and int(rest) <= MAX_REPLY:
            data = self._reader.read(int(rest) + 2)
            if len(data) < int(rest) + 2:
                raise ProbeFailure(PARSE, f"Redis at {self._name}: the answer was cut short after {len(data)} bytes")
            return data[:-2].decode("utf-8", "replace")
        if kind == b"*" and rest.isdecimal() and int(rest) <= MAX_ITEMS:
            return [self._reply() for dummy in range(int(rest))]
        raise ProbeFailure(PARSE, f"{self._name} does not speak the Redis protocol: it answered {line[:40]!r}")


def parse_info(text: str) -> dict[str, str]:
    """Return the key:value lines of INFO."""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith("#"))
    return {key: value.strip() for key, value in pairs}
