# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Names to addresses and services, under a deadline that the system's resolver does not know."""

from __future__ import annotations

import functools
import ipaddress
import queue
import socket
import threading
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _net
from ansible_collections.matrixon.ops.plugins.module_utils._delegation import Srv, is_address, look_up_srv
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    DNS,
    INTERNAL,
    MISSING_TOOL,
    TIMEOUT,
    Deadline,
    ProbeFailure,
)

NONEXISTENT = {"nonexistent": True}
NO_SUCH_NAME = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))


class Server(t.NamedTuple):
    """A name server."""

    address: str
    port: int


def parse_server(text: str) -> Server:
    """Return a name server that is given as an address or as address:port; raise ValueError if it is neither."""
    host, _colon, port = text.rpartition(":")
    try:
        return Server(str(ipaddress.ip_address(text.strip("[]"))), 53)
    except ValueError:
        number = int(port) if port.isdigit() else 0
        if not 1 <= number <= 65535:
            raise ValueError("it is no address") from None
        return Server(str(ipaddress.ip_address(host.strip("[]"))), number)


class Resolver:
    """Looks names up: at the name servers that are given, or as the system does."""

    def __init__(self, servers: t.Sequence[Server] = ()) -> None:
        self.servers = servers

    def addresses(self, host: str, port: int, deadline: Deadline) -> list[_net.Address]:
        """Return the addresses of a host. That a name does not exist is told from that nobody could say."""
        if is_address(host):
            return _net.resolve(host, port)
        if self.servers:
            return self._ask_for_addresses(host, port, deadline)
        return _within(lambda: _by_system(host, port), host, deadline)

    def srv(self, name: str, deadline: Deadline) -> Srv | None:
        """Return an SRV record; None where there is none."""
        if not self.servers:
            return look_up_srv(name, deadline)
        found: Srv | None = self._each(functools.partial(look_up_srv, name), name, deadline)
        return found

    def _ask_for_addresses(self, host: str, port: int, deadline: Deadline) -> list[_net.Address]:
        found: list[_net.Address] = []
        for kind in ("A", "AAAA"):
            texts = self._each(functools.partial(_query, host, kind), host, deadline)
            found += [address for text in texts for address in _net.resolve(text, port)]
        if not found:
            raise ProbeFailure(DNS, f"the name {host} has no address", NONEXISTENT)
        return found

    def _each(self, ask: t.Callable[[Deadline, t.Any], t.Any], name: str, deadline: Deadline) -> t.Any:
        """Ask one name server after the other until one answers, each with its share of the time."""
        trouble = deadline.failure(f"the name servers, asked for {name},")
        for number, server in enumerate(self.servers):
            inner = deadline.within(deadline.remaining() / (len(self.servers) - number))
            try:
                return ask(inner, _dnspython(server, name))
            except ProbeFailure as failure:
                if failure.kind == MISSING_TOOL or failure.facts == NONEXISTENT:
                    raise
                trouble = failure
        raise trouble


def _within(resolve: t.Callable[[], list[_net.Address]], host: str, deadline: Deadline) -> list[_net.Address]:
    """Resolve in a thread that can be left behind: the system's resolver takes no deadline."""
    answer: queue.Queue[list[_net.Address] | ProbeFailure] = queue.Queue()

    def work() -> None:
        try:
            answer.put(resolve())
        except ProbeFailure as failure:
            answer.put(failure)
        except Exception as error:
            answer.put(ProbeFailure(INTERNAL, f"the name {host} cannot be looked up: {_net.reason(error)}"))

    threading.Thread(target=work, daemon=True).start()
    try:
        found = answer.get(timeout=deadline.remaining())
    except queue.Empty:
        raise deadline.failure(f"the name {host} is being looked up") from None
    if isinstance(found, ProbeFailure):
        raise found
    return found


def _by_system(host: str, port: int) -> list[_net.Address]:
    try:
        return _net.resolve(host, port)
    except ProbeFailure as failure:
        cause = failure.__cause__
        if isinstance(cause, socket.gaierror) and cause.errno in NO_SUCH_NAME:
            failure.facts = NONEXISTENT
        raise


def _dnspython(server: Server, name: str) -> t.Any:
    try:
        import dns.resolver
    except ImportError as error:
        raise ProbeFailure(
            MISSING_TOOL,
            f"{name} cannot be looked up at {server.address} without dnspython (package python3-dnspython)",
        ) from error
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [server.address]
    resolver.port = server.port
    return resolver


def _query(host: str, kind: str, deadline: Deadline, resolver: t.Any) -> list[str]:
    """Return addresses of one kind, none where the name has none of it."""
    import dns.exception
    import dns.resolver

    try:
        answer = resolver.resolve(host, kind, lifetime=deadline.require(f"the name server, asked for {host},"))
    except dns.resolver.NoAnswer:
        return []
    except dns.resolver.NXDOMAIN as error:
        raise ProbeFailure(DNS, f"the name {host} does not exist", NONEXISTENT) from error
    except dns.exception.Timeout as error:
        raise ProbeFailure(TIMEOUT, f"the name server does not answer for {host}") from error
    except dns.exception.DNSException as error:
        raise ProbeFailure(DNS, f"the name {host} cannot be looked up: {error}") from error
    return [str(record.address) for record in answer]
