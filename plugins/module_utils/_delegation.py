# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""How other homeservers find a server name, and which name its certificate must carry.

The steps are those of "Resolving server names" in the Matrix server-server API.
"""

from __future__ import annotations

import ipaddress
import json
import typing as t
import urllib.parse
from dataclasses import dataclass, replace

from ansible_collections.matrixon.ops.plugins.module_utils import _net
from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient, Response
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    DNS,
    MISSING_TOOL,
    PARSE,
    REFUSED,
    TIMEOUT,
    Deadline,
    ProbeFailure,
)

DEFAULT_PORT = 8448
MAX_WELL_KNOWN = 51200
MAX_REDIRECTS = 5
# How long other servers keep what well-known says: without a word of its own, and at most.
DEFAULT_CACHE, LONGEST_CACHE = 24 * 3600, 48 * 3600
SERVICES = ("_matrix-fed._tcp", "_matrix._tcp")


class Srv(t.NamedTuple):
    """An SRV answer: where to connect first, and where others go when that fails or chance has it."""

    host: str
    port: int
    others: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Delegation:
    """Where a server name leads.

    ``host`` and ``port`` are connected to; the certificate is for
    ``certificate_name``. ``host_header`` has a port only where one was named.
    ``steps`` tell how it was found; ``trouble`` is a failure that other servers
    pass over in silence. ``others`` are more places, where there are several SRV
    records. ``kept`` is for how many seconds others may go on with this well-known
    after it changed; None without one, or where that cannot be told.
    """

    host: str
    port: int
    certificate_name: str
    host_header: str
    steps: tuple[str, ...]
    trouble: ProbeFailure | None = None
    others: tuple[tuple[str, int], ...] = ()
    kept: int | None = None

    def __str__(self) -> str:
        return _net.join_host_port(self.host, self.port)


LookUpSrv = t.Callable[[str, Deadline], t.Optional[Srv]]


def split_server_name(name: str) -> tuple[str, int | None]:
    """Return host and explicit port of a server name; raise ValueError if it is none."""
    parts = urllib.parse.urlsplit(f"//{name}")
    if any(not "!" <= letter <= "~" for letter in name):
        raise ValueError("a server name has ASCII letters only and no space")
    if not parts.hostname or parts.path or parts.query or parts.fragment or parts.username:
        raise ValueError("a server name is host or host:port, such as example.com")
    return parts.hostname, parts.port


def is_address(host: str) -> bool:
    """Say whether a host is an IP literal."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def discover(server_name: str, http: HttpClient, look_up: LookUpSrv, deadline: Deadline) -> Delegation:
    """Follow the steps from a server name to an address."""
    host, port = split_server_name(server_name)
    if port is not None or is_address(host):
        return Delegation(host, port or DEFAULT_PORT, host, server_name, ("the server name itself says where",))
    # A web server that is silent must leave time for what comes after it.
    target, kept, trouble = _well_known(host, http, deadline.within(deadline.remaining() / 3))
    if trouble is not None:
        return _despite(trouble, host, look_up, deadline)
    if target is None:
        return _by_srv(host, look_up, deadline, ("no well-known file",))
    try:
        to_host, to_port = split_server_name(target)
    except ValueError as error:
        raise ProbeFailure(PARSE, f"well-known of {host} names {target!r}: {error}") from error
    steps = (f"well-known says {target}",)
    if to_port is not None or is_address(to_host):
        return Delegation(to_host, to_port or DEFAULT_PORT, to_host, target, steps, kept=kept)
    return replace(_by_srv(to_host, look_up, deadline, steps), kept=kept)


def _despite(trouble: ProbeFailure, host: str, look_up: LookUpSrv, deadline: Deadline) -> Delegation:
    """Go on without well-known, as other servers do, but keep what was wrong with it."""
    try:
        found = _by_srv(host, look_up, deadline, ("well-known could not be read",))
    except ProbeFailure as failure:
        # What could not be looked up here may be good for others.
        kind = failure.kind if failure.kind == MISSING_TOOL else trouble.kind
        raise ProbeFailure(kind, f"{trouble.message}; and without it: {failure.message}") from failure
    return replace(found, trouble=trouble)


def _by_srv(host: str, look_up: LookUpSrv, deadline: Deadline, steps: tuple[str, ...]) -> Delegation:
    for service in SERVICES:
        found = look_up(f"{service}.{host}", deadline)
        if found:
            steps = (*steps, f"SRV {service}.{host} says {found.host}:{found.port}")
            return Delegation(found.host, found.port, host, host, steps, others=found.others)
    return Delegation(host, DEFAULT_PORT, host, host, (*steps, "no SRV record", "default port"))


def _well_known(host: str, http: HttpClient, deadline: Deadline) -> tuple[str | None, int | None, ProbeFailure | None]:
    """Return what m.server says, for how long others keep it, and the failure where it could not be read."""
    url = f"https://{host}/.well-known/matrix/server"
    try:
        for _hop in range(MAX_REDIRECTS):
            response = http.request("GET", url, deadline, max_body=MAX_WELL_KNOWN)
            if response.status not in (301, 302, 303, 307, 308):
                break
            url = urllib.parse.urljoin(url, response.location or "")
        if response.status == 404:
            return None, None, None
        if response.status != 200:
            return None, None, ProbeFailure(REFUSED, f"{url} answered {response.status}")
        target = json.loads(response.body)["m.server"]
        if not isinstance(target, str):
            raise TypeError
        return target, kept_for(response), None
    except (ValueError, KeyError, TypeError):
        return None, None, ProbeFailure(PARSE, f"{url} is not JSON with an m.server in it: {response.excerpt()}")
    except ProbeFailure as failure:
        return None, None, failure


def kept_for(response: Response) -> int | None:
    """Return for how many seconds other servers keep a well-known file; None where only its clock could tell."""
    words = [word.strip().lower() for word in (response.cache_control or "").split(",")]
    if "no-store" in words or "no-cache" in words:
        return 0
    age = next((word[len("max-age=") :].strip('"') for word in words if word.startswith("max-age=")), "")
    if age.isdigit():
        return min(int(age), LONGEST_CACHE)
    return None if response.expires else DEFAULT_CACHE


def look_up_srv(name: str, deadline: Deadline, resolver: t.Any = None) -> Srv | None:
    """Ask DNS for an SRV record, the system's name servers or a resolver of dnspython; None where there is none."""
    try:
        import dns.exception
        import dns.resolver
    except ImportError as error:
        raise ProbeFailure(
            MISSING_TOOL, f"the SRV record {name} cannot be looked up without dnspython (package python3-dnspython)"
        ) from error
    try:
        resolve = resolver.resolve if resolver else dns.resolver.resolve
        answer = resolve(name, "SRV", lifetime=deadline.require(f"SRV {name}"))
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return None
    except dns.exception.Timeout as error:
        raise ProbeFailure(TIMEOUT, f"the name server does not answer for the SRV record {name}") from error
    except dns.exception.DNSException as error:
        raise ProbeFailure(DNS, f"the SRV record {name} cannot be looked up: {error}") from error
    records = sorted(answer, key=lambda record: (record.priority, -record.weight))
    first, *others = [(str(record.target).rstrip("."), record.port) for record in records]
    if not first[0]:
        raise ProbeFailure(REFUSED, f"the SRV record {name} says that there is no such service (its target is '.')")
    return Srv(*first, tuple(others))
