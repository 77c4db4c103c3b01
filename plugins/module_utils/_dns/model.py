# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What is asked of the name servers of a zone, and what each of them said."""

from __future__ import annotations

import ipaddress
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._net import join_host_port
from ansible_collections.matrixon.ops.plugins.module_utils._probe import DNS, PARSE, REFUSED, TIMEOUT, ProbeFailure

TYPES = ("A", "AAAA", "CNAME")

SERVERS = "dns_servers"
RECORD = "dns_record"
TTL = "dns_ttl"
SERIAL = "dns_serial"
CHECKS = {
    SERVERS: "Each authoritative server of a zone answers for it",
    RECORD: "All authoritative servers answer alike, and with the expected values where there are some",
    TTL: "How long clients may keep the record: the largest TTL on the way to it, at most that which was asked for",
    SERIAL: "All authoritative servers have the same serial of the zone",
}

# How a server answers a question.
ANSWERED = "answered"
NXDOMAIN = "nxdomain"
NODATA = "nodata"
LAME = "lame"
SERVFAIL = "servfail"
DENIED = "refused"
LOOP = "loop"
MALFORMED = "malformed"
SILENT = "timeout"
UNREACHABLE = "unreachable"
NO_IPV6 = "no_ipv6"
# Nothing was seen of the server itself.
UNSEEN = (SILENT, UNREACHABLE, NO_IPV6)
ABSENT = (NXDOMAIN, NODATA)

KINDS = {
    NXDOMAIN: DNS,
    NODATA: DNS,
    LAME: DNS,
    SERVFAIL: DNS,
    LOOP: DNS,
    DENIED: REFUSED,
    MALFORMED: PARSE,
    SILENT: TIMEOUT,
    UNREACHABLE: REFUSED,
    NO_IPV6: REFUSED,
}


@dataclass(frozen=True)
class Wanted:
    """A record to look at. Without values, only that all servers agree is asked for."""

    name: str
    type: str
    values: tuple[str, ...] = ()
    ttl: int | None = None

    @property
    def label(self) -> str:
        """Return how the report calls it."""
        return f"{self.name} {self.type}"


@dataclass(frozen=True)
class Server:
    """A name server: an address, and the name that led to it, if one did."""

    address: str
    port: int = 53
    name: str = ""

    @property
    def endpoint(self) -> str:
        """Return address and port."""
        return join_host_port(self.address, self.port)

    def __str__(self) -> str:
        return f"{self.name} ({self.endpoint})" if self.name else self.endpoint


@dataclass(frozen=True)
class Answer:
    """What one server said of one name.

    ``aliases`` are the names that CNAME records led through, and ``target`` the last of them where this server
    does not say what is there. ``ttl`` is the largest on the way; for an answer that there is nothing it is for
    how long that may be kept.
    """

    server: Server
    name: str
    outcome: str
    values: tuple[str, ...] = ()
    ttl: int | None = None
    aliases: tuple[str, ...] = ()
    target: str | None = None
    message: str = ""
    duration_ms: int = 0

    @property
    def error_kind(self) -> str | None:
        """Return the kind of failure that this is."""
        return KINDS.get(self.outcome)


@dataclass(frozen=True)
class Zone:
    """A zone, its authoritative servers, and the serial that each of them has.

    ``lost`` are servers that the zone names and whose addresses could not be had, each with the failure.
    """

    name: str
    servers: tuple[Server, ...] = ()
    serials: tuple[Answer, ...] = ()
    lost: tuple[tuple[str, ProbeFailure], ...] = ()

    def serial(self, server: Server) -> int | None:
        """Return the serial of a server; None where it did not tell."""
        found = [one.values[0] for one in self.serials if one.server == server and one.values]
        return int(found[0]) if found else None


@dataclass(frozen=True)
class Seen:
    """All that was seen of a record: the answers to its name, and to the names that aliases lead to elsewhere."""

    wanted: Wanted
    zone: str | None
    answers: tuple[Answer, ...]
    failure: ProbeFailure | None = None


@dataclass(frozen=True)
class Observed:
    """One look at everything."""

    records: tuple[Seen, ...]
    zones: tuple[Zone, ...]


def normal_name(text: str) -> str:
    """Return a name as it is compared: without the dot at its end, in small letters."""
    return text.rstrip(".").lower()


def normal_value(kind: str, text: str) -> str:
    """Return the value of a record as it is compared; raise ValueError if it is none of this type."""
    if kind == "A":
        return str(ipaddress.IPv4Address(text))
    if kind == "AAAA":
        return str(ipaddress.IPv6Address(text))
    return normal_name(text)


def wanted_of(given: dict[str, t.Any]) -> Wanted:
    """Return a record of the options."""
    kind = given["type"]
    values = {normal_value(kind, value) for value in given.get("values") or ()}
    return Wanted(normal_name(given["name"]), kind, tuple(sorted(values)), given.get("ttl"))
