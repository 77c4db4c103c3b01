# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Questions to PostgreSQL, read-only but for who says otherwise, each of which ends with one deadline.

psycopg2 runs in its asynchronous mode: libpq's ``connect_timeout`` counts
per address and stops counting once the server has said a word, and nothing
bounds a query in the blocking mode.
"""

from __future__ import annotations

import ctypes
import re
import select
import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils import _net
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    AUTH,
    INTERNAL,
    MISSING_TOOL,
    PARSE,
    REFUSED,
    TIMEOUT,
    TLS,
    Deadline,
    ProbeFailure,
)

try:
    import psycopg2
    from psycopg2.extensions import POLL_OK, POLL_READ
except ImportError:
    psycopg2 = None

Row = dict[str, t.Any]
Values = t.Union[t.Sequence[t.Any], t.Mapping[str, t.Any]]

APPLICATION_NAME = "matrixon.ops"
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

# The options of a module that say where a server is and as whom to ask it, as ``Server`` has them.
LOGIN_SPEC: dict[str, t.Any] = {
    "host": {"type": "str", "default": "127.0.0.1"},
    "port": {"type": "int", "default": 5432},
    "database": {"type": "str", "required": True},
    "user": {"type": "str", "required": True},
    "password": {"type": "str", "no_log": True},
    "sslmode": {"type": "str", "choices": list(SSL_MODES), "default": "prefer"},
    "ca_file": {"type": "path"},
}
PASSWORD_FILE_SPEC: dict[str, t.Any] = {"password_file": {"type": "path", "no_log": False}}

# The part of the deadline that one statement may take on the server, so that
# a slow one leaves time for those after it.
STATEMENT_SHARE = 0.5

# In the verbose form the server's SQLSTATE stands before its words, which
# come in the language of the server. The severity before it does, too.
VERBOSE = 2
SQLSTATE = re.compile(r"(?:^|\s)\S+:\s+([0-9A-Z]{5}): (.+)$", re.MULTILINE)

TOO_MANY = "53300"
# What a SQLSTATE, or the class that it starts with, means for an observer.
KINDS = {
    "08": REFUSED,
    "28": AUTH,
    "3D000": REFUSED,
    "42501": AUTH,
    TOO_MANY: REFUSED,
    "57014": TIMEOUT,
    "57P": REFUSED,
    "08P01": INTERNAL,
}
# What libpq itself says where the server said nothing of its own.
CLIENT_WORDS = (
    (PARSE, ("expected authentication request", "invalid response to ssl", "lost synchronization")),
    (TLS, ("ssl", "certificate")),
    (AUTH, ("no password supplied", "authentication")),
    (REFUSED, ("closed the connection", "connection reset", "broken pipe")),
)


@dataclass(frozen=True)
class Server:
    """Where a server is, and as whom to ask it. A host that starts with / is a socket directory."""

    host: str
    port: int
    database: str
    user: str
    password: str | None = field(default=None, repr=False)
    sslmode: str = "prefer"
    ca_file: str | None = None

    @property
    def socket_path(self) -> str | None:
        """Return the path of the Unix socket, or None for TCP."""
        return f"{self.host.rstrip('/')}/.s.PGSQL.{self.port}" if self.host.startswith("/") else None

    @property
    def where(self) -> str:
        """Return the server's address as people write it."""
        return self.socket_path or _net.join_host_port(self.host, self.port)

    def __str__(self) -> str:
        return f"PostgreSQL at {self.where}"


def server_of(given: t.Mapping[str, t.Any]) -> Server:
    """Return the server that options with LOGIN_SPEC name."""
    return Server(**{name: given[name] for name in LOGIN_SPEC})


class Session:
    """One connection. After a failure that leaves it unusable, each further question repeats that failure."""

    def __init__(self, connection: t.Any, server: Server, deadline: Deadline) -> None:
        self._connection = connection
        self._server = server
        self._deadline = deadline
        self._broken: ProbeFailure | None = None

    def rows(self, sql: str, values: Values | None = None) -> list[Row]:
        """Return what one query yields; values are put in by psycopg2."""
        cursor = self._ask(sql, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, values)) for values in cursor.fetchall()]

    def _ask(self, sql: str, values: Values | None = None) -> t.Any:
        if self._broken:
            raise self._broken
        try:
            cursor = self._connection.cursor()
            cursor.execute(sql, values)
            _wait(self._connection, self._deadline, f"{self._server}: a query")
            return cursor
        except ProbeFailure as failure:
            self._broken = failure
            raise
        except psycopg2.Error as error:
            refusal = _query_failure(error, self._server)
            if self._connection.closed:
                self._broken = refusal
            raise refusal from error

    def execute(self, sql: str, values: Values | None = None) -> None:
        """Run statements whose answer does not matter, in one transaction; values are put in by psycopg2."""
        self._ask(sql, values)

    def notices(self) -> list[str]:
        """Return what the server said beside its answers since this was last asked, such as what it skipped."""
        said = [_one_line(text, self._server) for text in self._connection.notices]
        del self._connection.notices[:]
        return said

    def row(self, sql: str, values: Values | None = None) -> Row:
        """Return the first row of a query that always yields one; values are put in by psycopg2."""
        return self.rows(sql, values)[0]

    def close(self) -> None:
        """Close the connection; the server cancels what still runs at its own statement timeout."""
        self._connection.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def connect(server: Server, deadline: Deadline, writes: bool = False) -> Session:
    """Open a session before the deadline, read-only unless it is to write, or say why not."""
    if psycopg2 is None:
        _reach(server, deadline)
        raise ProbeFailure(
            MISSING_TOOL,
            f"{server} can be reached, but this host's Python has no psycopg2 to ask it with; install python3-psycopg2",
        )
    doing = f"connecting to {server}"
    addresses = _addresses(server)
    deadline.require(doing)
    connection = None
    try:
        connection = psycopg2.connect(async_=1, **_keywords(server, addresses, deadline, writes))
        _be_verbose(connection)
        _wait(connection, deadline, doing)
    except psycopg2.Error as error:
        raise _connect_failure(str(error), server, deadline) from error
    except ProbeFailure:
        if connection is not None:
            connection.close()
        raise
    return Session(connection, server, deadline)


def _keywords(server: Server, addresses: list[str], deadline: Deadline, writes: bool) -> dict[str, t.Any]:
    statement_ms = max(1, int(deadline.remaining() * STATEMENT_SHARE * 1000))
    keywords = {
        "host": ",".join([server.host] * max(1, len(addresses))),
        "hostaddr": ",".join(addresses) or None,
        "port": server.port,
        "dbname": server.database,
        "user": server.user,
        "password": server.password,
        "sslmode": server.sslmode,
        "sslrootcert": server.ca_file,
        # Looking for a Kerberos ticket may wait on the network, and takes no deadline.
        "gssencmode": "disable",
        "application_name": APPLICATION_NAME,
        "options": f"-c default_transaction_read_only={'off' if writes else 'on'} -c statement_timeout={statement_ms}",
    }
    return {key: value for key, value in keywords.items() if value is not None}


def _addresses(server: Server) -> list[str]:
    """Resolve here: in libpq a stuck resolver would hold up every thread of this process."""
    if server.socket_path:
        return []
    return [str(address.sockaddr[0]) for address in _net.resolve(server.host, server.port)]


def _wait(connection: t.Any, deadline: Deadline, doing: str) -> None:
    while True:
        state = connection.poll()
        if state == POLL_OK:
            return
        poller = select.poll()
        poller.register(connection.fileno(), select.POLLIN if state == POLL_READ else select.POLLOUT)
        poller.poll(deadline.require(doing) * 1000)


def _be_verbose(connection: t.Any) -> None:
    """Ask libpq for the SQLSTATE of a failed connect; psycopg2 has no call for that.

    Where it cannot be asked, such a failure is of kind internal.
    """
    try:
        function = ctypes.CDLL(psycopg2._psycopg.__file__).PQsetErrorVerbosity
        function.argtypes = (ctypes.c_void_p, ctypes.c_int)
        function(connection.pgconn_ptr, VERBOSE)
    except (AttributeError, OSError):
        return


def _reach(server: Server, deadline: Deadline) -> None:
    """Open and close a bare connection; its failure says whether anything listens."""
    try:
        if server.socket_path:
            _net.connect_unix(server.socket_path, deadline).close()
        else:
            _net.connect(server.host, server.port, deadline).close()
    except ProbeFailure as failure:
        prefix = "PostgreSQL at " if failure.message.startswith(server.where) else f"{server}: "
        raise ProbeFailure(failure.kind, prefix + failure.message) from failure


def _connect_failure(text: str, server: Server, deadline: Deadline) -> ProbeFailure:
    """Say what it means that a connection did not come about."""
    found = SQLSTATE.search(text)
    if found:
        return _server_failure(found.group(1), found.group(2), server)
    try:
        _reach(server, deadline)
    except ProbeFailure as failure:
        return failure
    words = _one_line(text, server)
    return ProbeFailure(_kind_of_words(words), f"{server}: {words}")


def _query_failure(error: t.Any, server: Server) -> ProbeFailure:
    if error.pgcode:
        return _server_failure(error.pgcode, error.diag.message_primary or "", server)
    found = SQLSTATE.search(str(error))
    if found:
        return _server_failure(found.group(1), found.group(2), server)
    words = _one_line(str(error), server)
    return ProbeFailure(_kind_of_words(words), f"{server}: {words}")


def _server_failure(code: str, text: str, server: Server) -> ProbeFailure:
    kind = next((KINDS[key] for key in (code, code[:3], code[:2]) if key in KINDS), INTERNAL)
    words = _one_line(text, server)
    if code == TOO_MANY and f'"{server.user}"' in words:
        # The limit of the role that asks says nothing about the server.
        kind = AUTH
    lead = {
        "28P01": "turns the password or the user away",
        TOO_MANY: "has no connection left for this check",
        "57P03": "takes no connections now",
    }.get(code)
    message = f"{server} {lead}: {words}" if lead else f"{server}: {words}"
    return ProbeFailure(kind, message, {"sqlstate": code, "words": words})


def _kind_of_words(words: str) -> str:
    lowered = words.lower()
    return next((kind for kind, signs in CLIENT_WORDS if any(sign in lowered for sign in signs)), INTERNAL)


def _one_line(text: str, server: Server) -> str:
    """Return the first line of a text, without the password, whoever put it there."""
    line = (text.strip().splitlines() or ["no reason given"])[0]
    return line.replace(server.password, "***") if server.password else line
