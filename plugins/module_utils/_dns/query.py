# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""One question to one name server, and what its answer means."""

from __future__ import annotations

import errno
import socket
import typing as t
from dataclasses import replace

from ansible_collections.matrixon.ops.plugins.module_utils._dns import model
from ansible_collections.matrixon.ops.plugins.module_utils._dns.model import Answer, Server, normal_name, normal_value
from ansible_collections.matrixon.ops.plugins.module_utils._net import reason
from ansible_collections.matrixon.ops.plugins.module_utils._probe import MISSING_TOOL, Deadline, ProbeFailure

try:
    import dns.exception
    import dns.flags
    import dns.message
    import dns.query
    import dns.rcode
    import dns.rdatatype

    HAS_DNSPYTHON = True
except ImportError:
    HAS_DNSPYTHON = False

MISSING = "name servers cannot be asked without dnspython (package python3-dnspython)"
# A datagram may get lost, so each question goes out more than once: after these parts of its time.
SHARES = (0.3, 0.5, 1.0)
NO_WAY = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
RCODES = {
    2: (model.SERVFAIL, "it cannot answer (SERVFAIL): it has no data of the zone, or they have expired"),
    5: (model.DENIED, "it refuses to answer (REFUSED): it does not serve the zone, or not for this host"),
}
MOST_ALIASES = 16


def require_dnspython() -> None:
    """Fail where the library is missing."""
    if not HAS_DNSPYTHON:
        raise ProbeFailure(MISSING_TOOL, MISSING)


def _failure(outcome: str, message: str) -> ProbeFailure:
    return ProbeFailure(model.KINDS[outcome], message, {"outcome": outcome})


def ask(server: Server, name: str, kind: str, deadline: Deadline, *, recurse: bool = False) -> t.Any:
    """Return the answer of a server, asked again by TCP where it was cut short."""
    query = dns.message.make_query(name, kind)
    if not recurse:
        query.flags &= ~dns.flags.RD
    try:
        return _by_datagram(query, server, deadline)
    except dns.message.Truncated:
        return _by_tcp(query, server, deadline)


def _by_datagram(query: t.Any, server: Server, deadline: Deadline) -> t.Any:
    for share in SHARES:
        inner = deadline.within(max(0.0, deadline.seconds * share - deadline.elapsed()))
        try:
            with _connected(server) as sock:
                return dns.query.udp(
                    query,
                    server.address,
                    timeout=inner.remaining(),
                    port=server.port,
                    ignore_unexpected=True,
                    raise_on_truncation=True,
                    sock=sock,
                )
        except dns.exception.Timeout:
            continue
        except OSError as error:
            raise _cannot(error, server) from error
        except dns.message.Truncated:
            raise
        except (dns.exception.DNSException, ValueError) as error:
            raise _malformed(error) from error
    raise _failure(model.SILENT, f"it does not answer within {deadline.seconds:.3g} s")


def _connected(server: Server) -> socket.socket:
    """Return a socket that hears of a port that is closed, which one without a peer does not."""
    family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.connect((server.address, server.port))
    except OSError:
        sock.close()
        raise
    return sock


def _by_tcp(query: t.Any, server: Server, deadline: Deadline) -> t.Any:
    try:
        return dns.query.tcp(query, server.address, timeout=deadline.require("TCP"), port=server.port)
    except dns.exception.Timeout as error:
        message = f"its answer is too long for UDP, and by TCP it does not answer within {deadline.seconds:.3g} s"
        raise _failure(model.SILENT, message) from error
    except (OSError, EOFError) as error:
        message = f"its answer is too long for UDP, and by TCP it cannot be asked: {reason(error)}"
        raise _failure(model.UNREACHABLE, message) from error
    except (dns.exception.DNSException, ValueError) as error:
        raise _malformed(error) from error


def _cannot(error: OSError, server: Server) -> ProbeFailure:
    if ":" in server.address and error.errno in NO_WAY:
        return _failure(model.NO_IPV6, f"this host has no IPv6 to reach it with ({reason(error)})")
    if isinstance(error, ConnectionRefusedError):
        return _failure(model.UNREACHABLE, "nothing listens there")
    return _failure(model.UNREACHABLE, f"it cannot be reached ({reason(error)})")


def _malformed(error: Exception) -> ProbeFailure:
    return _failure(model.MALFORMED, f"what it answers is no DNS ({type(error).__name__}: {error})")


def look_up(server: Server, at: Server, name: str, kind: str, deadline: Deadline) -> Answer:
    """Return what an authoritative server says of a name; ``at`` is where it is reached."""
    try:
        answer = read(server, ask(at, name, kind, deadline), name, kind)
    except ProbeFailure as failure:
        outcome = failure.facts.get("outcome", model.SILENT)
        answer = Answer(server, name, outcome, message=failure.message)
    return replace(answer, duration_ms=int(deadline.elapsed() * 1000))


def read(server: Server, message: t.Any, name: str, kind: str) -> Answer:
    """Say what an answer of an authoritative server means."""
    rcode = message.rcode()
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        outcome, text = RCODES.get(rcode, (model.MALFORMED, f"it answers {dns.rcode.to_text(rcode)}"))
        return Answer(server, name, outcome, message=text)
    if not message.flags & dns.flags.AA:
        return Answer(server, name, model.LAME, message=_lame(message))
    here = name
    aliases: list[str] = []
    ttls: list[int] = []
    while True:
        found = _rrset(message, here, kind)
        if found is not None:
            values = tuple(sorted(_value(kind, record) for record in found))
            return Answer(server, name, model.ANSWERED, values, max([*ttls, found.ttl]), tuple(aliases))
        alias = _rrset(message, here, "CNAME")
        if alias is None:
            break
        here = normal_name(alias[0].target.to_text())
        if here in (name, *aliases) or len(aliases) == MOST_ALIASES:
            text = f"aliases lead in a circle: {' -> '.join([name, *aliases, here])}"
            return Answer(server, name, model.LOOP, (), max(ttls, default=None), tuple(aliases), message=text)
        aliases.append(here)
        ttls.append(alias.ttl)
    if aliases and rcode == dns.rcode.NOERROR:
        return Answer(server, name, model.ANSWERED, (), max(ttls), tuple(aliases), target=here)
    return _absent(server, message, name, kind, tuple(aliases), ttls)


def _absent(server: Server, message: t.Any, name: str, kind: str, aliases: tuple[str, ...], ttls: list[int]) -> Answer:
    kept = [min(found.ttl, found[0].minimum) for found in message.authority if found.rdtype == dns.rdatatype.SOA]
    ttl = max([*ttls, *kept], default=None)
    what = f"its alias {aliases[-1]}" if aliases else name
    if message.rcode() == dns.rcode.NXDOMAIN:
        return Answer(server, name, model.NXDOMAIN, (), ttl, aliases, message=f"{what} does not exist (NXDOMAIN)")
    return Answer(server, name, model.NODATA, (), ttl, aliases, message=f"{what} has no record of type {kind}")


def _lame(message: t.Any) -> str:
    referred = [found for found in message.authority if found.rdtype == dns.rdatatype.NS]
    if referred:
        zone = normal_name(referred[0].name.to_text()) or "the root"
        return f"it is not authoritative for the name, and refers to the servers of {zone}"
    return "it is not authoritative for the name"


def _rrset(message: t.Any, name: str, kind: str) -> t.Any:
    for found in message.answer:
        if found.rdtype == dns.rdatatype.from_text(kind) and normal_name(found.name.to_text()) == name:
            return found
    return None


def _value(kind: str, record: t.Any) -> str:
    if kind == "SOA":
        return str(record.serial)
    return normal_value(kind, (record.target if kind in ("CNAME", "NS") else record).to_text())


def zone_in(message: t.Any, name: str, candidate: str, *, authoritative: bool) -> str | None:
    """Return the zone that an answer to a question for SOA names, if it is one that holds the name."""
    if message.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return None
    if authoritative and not message.flags & dns.flags.AA:
        return None
    if _rrset(message, candidate, "SOA") is not None:
        return candidate
    if message.answer:
        return None
    for found in message.authority:
        owner = normal_name(found.name.to_text())
        if found.rdtype == dns.rdatatype.SOA and (owner == name or name.endswith(f".{owner}")):
            return owner
    return None


def values_in(message: t.Any, name: str, kind: str) -> list[str]:
    """Return the values of a record in a resolver's answer, past aliases of addresses."""
    for dummy in range(MOST_ALIASES):
        found = _rrset(message, name, kind)
        if found is not None:
            return sorted(_value(kind, record) for record in found)
        alias = _rrset(message, name, "CNAME")
        if alias is None:
            return []
        name = normal_name(alias[0].target.to_text())
    return []
