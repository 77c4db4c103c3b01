# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Ask a server that begins in plain text to go on in TLS."""

from __future__ import annotations

import socket
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _net
from ansible_collections.matrixon.ops.plugins.module_utils._probe import REFUSED, TLS, Deadline, ProbeFailure

LONGEST_LINE = 2048
MOST_LINES = 64
DOING = "the words before TLS"
# The number that PostgreSQL takes for a version, and that means: TLS, please.
SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


class _Talk:
    """Lines of text with a server. It reads no byte past the last line: those after it are TLS."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self.sock = sock
        self.deadline = deadline

    def byte(self) -> bytes:
        self.sock.settimeout(self.deadline.require(DOING))
        got = self.sock.recv(1)
        if not got:
            raise ProbeFailure(REFUSED, "it closed the connection before TLS began")
        return got

    def line(self) -> str:
        text = b""
        while not text.endswith(b"\n"):
            if len(text) >= LONGEST_LINE:
                raise ProbeFailure(TLS, f"it sent a line of more than {LONGEST_LINE} bytes before TLS")
            text += self.byte()
        return text.decode("utf-8", "replace").strip()

    def say(self, data: bytes) -> None:
        self.sock.settimeout(self.deadline.require(DOING))
        self.sock.sendall(data)


def _smtp(talk: _Talk) -> None:
    _smtp_answer(talk, "220")
    talk.say(b"EHLO localhost\r\n")
    offered = _smtp_answer(talk, "250")
    if not any(line[4:].split()[:1] == ["STARTTLS"] for line in offered):
        raise ProbeFailure(TLS, "the mail server offers no STARTTLS")
    talk.say(b"STARTTLS\r\n")
    _smtp_answer(talk, "220")


def _smtp_answer(talk: _Talk, wanted: str) -> list[str]:
    lines: list[str] = []
    while not lines or lines[-1][3:4] == "-":
        lines.append(talk.line())
        if len(lines) > MOST_LINES or not lines[-1].startswith(wanted):
            raise ProbeFailure(TLS, f"it does not go on to TLS as a mail server does: {lines[-1][:60]!r}")
    return [line.upper() for line in lines]


def _imap(talk: _Talk) -> None:
    greeting = talk.line()
    if not greeting.startswith("* "):
        raise ProbeFailure(TLS, f"it does not greet as an IMAP server does: {greeting[:60]!r}")
    talk.say(b"a1 STARTTLS\r\n")
    for dummy in range(MOST_LINES):
        answer = talk.line()
        if answer.startswith("* "):
            continue
        if answer.upper().startswith("A1 OK"):
            return
        break
    raise ProbeFailure(TLS, f"the IMAP server does not go on to TLS: {answer[:60]!r}")


def _postgresql(talk: _Talk) -> None:
    talk.say(SSL_REQUEST)
    answer = talk.byte()
    if answer == b"N":
        raise ProbeFailure(TLS, "PostgreSQL answers that it speaks no TLS (ssl = off)")
    if answer != b"S":
        raise ProbeFailure(TLS, f"it does not answer as PostgreSQL does: {answer!r}")


PROTOCOLS: dict[str, t.Callable[[_Talk], None]] = {"smtp": _smtp, "imap": _imap, "postgresql": _postgresql}


def ask(protocol: str, sock: socket.socket, deadline: Deadline) -> None:
    """Bring a connection to where the TLS handshake begins."""
    try:
        PROTOCOLS[protocol](_Talk(sock, deadline))
    except OSError as error:
        raise _net.failure_of(error, DOING, deadline) from error
