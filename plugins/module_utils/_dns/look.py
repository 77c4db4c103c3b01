# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Looks at records: finds their zones and servers, and asks every server at once."""

from __future__ import annotations

import functools
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.matrixon.ops.plugins.module_utils._dns import query
from ansible_collections.matrixon.ops.plugins.module_utils._dns.model import (
    DENIED,
    MALFORMED,
    SERVFAIL,
    SILENT,
    Answer,
    Observed,
    Seen,
    Server,
    Wanted,
    Zone,
)
from ansible_collections.matrixon.ops.plugins.module_utils._probe import DNS, INTERNAL, TIMEOUT, Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.pool import Pool
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.resolver import parse_server

THREADS = 32
NOT_ANSWERED = {SERVFAIL, DENIED, MALFORMED}

R = t.TypeVar("R")
Key = tuple[str, str]


@dataclass
class Tools:
    """What every look needs. ``found`` keeps zones and their servers from one look to the next."""

    servers: tuple[Server, ...]
    resolvers: tuple[Server, ...]
    moves: dict[str, Server]
    timeout: float
    deadline: Deadline
    found: dict[str, Zone] = field(default_factory=dict)

    def at(self, server: Server) -> Server:
        """Return where a server is reached."""
        return self.moves.get(server.endpoint, server)

    def each(self, jobs: t.Sequence[t.Callable[[Deadline], R]]) -> list[R | ProbeFailure]:
        """Run jobs at once, each with its own time; return what each brought, or why it brought nothing."""
        pool: Pool[tuple[int, R | ProbeFailure]] = Pool(THREADS, self.deadline)
        for number, job in enumerate(jobs):
            pool.add(str(number), functools.partial(self._attempt, number, job))
        done = dict(pool.collect()[0])
        late = ProbeFailure(TIMEOUT, f"not finished when the total deadline of {self.deadline.seconds:.3g} s ended")
        return [done.get(number, late) for number in range(len(jobs))]

    def _attempt(self, number: int, job: t.Callable[[Deadline], R]) -> list[tuple[int, R | ProbeFailure]]:
        try:
            return [(number, job(self.deadline))]
        except ProbeFailure as failure:
            return [(number, failure)]
        except Exception as error:
            message = f"the check itself broke ({type(error).__name__}: {error}); please report this"
            return [(number, ProbeFailure(INTERNAL, message))]


def server_of(text: str) -> Server:
    """Return a name server that is given as address or address:port."""
    parsed = parse_server(text)
    return Server(parsed.address, parsed.port)


def moves_of(connect_to: t.Mapping[str, t.Any]) -> dict[str, Server]:
    """Return where servers are reached in the stead of their addresses; what speaks of names is for others."""
    moves = {}
    for source, other in connect_to.items():
        try:
            moves[server_of(source).endpoint] = server_of(str(other))
        except ValueError:
            continue
    return moves


def system_resolvers() -> tuple[Server, ...]:
    """Return the name servers that this host asks."""
    query.require_dnspython()
    import dns.exception
    import dns.resolver

    try:
        system = dns.resolver.Resolver()
    except (dns.exception.DNSException, OSError) as error:
        raise ProbeFailure(DNS, f"this host has no resolver in /etc/resolv.conf: {error}; give resolvers") from error
    return tuple(Server(str(address), system.port) for address in system.nameservers)


def look(wanted: t.Sequence[Wanted], tools: Tools) -> Observed:
    """Look at every record once, and follow the aliases that lead to other zones."""
    asked: dict[Key, list[Answer] | ProbeFailure] = {}
    zones: dict[str, Zone] = {}
    front = list(dict.fromkeys((record.name, record.type) for record in wanted))
    first = True
    while front:
        found = _zones_of(dict.fromkeys(name for name, _kind in front), tools, given_only=first)
        asked.update(_ask_all(front, found, zones, tools))
        ahead = [(one.target, kind) for name, kind in front for one in _answers(asked[name, kind]) if one.target]
        front = [key for key in dict.fromkeys(ahead) if key not in asked]
        first = False
    return Observed(tuple(_seen(record, asked, tools) for record in wanted), tuple(zones.values()))


def _answers(found: list[Answer] | ProbeFailure) -> list[Answer]:
    return [] if isinstance(found, ProbeFailure) else found


def _seen(record: Wanted, asked: dict[Key, list[Answer] | ProbeFailure], tools: Tools) -> Seen:
    """Collect what was said of a record and of all that its aliases lead to."""
    answers: list[Answer] = []
    failure = None
    front, done = [record.name], []
    while front:
        name = front.pop(0)
        done.append(name)
        found = asked[name, record.type]
        if isinstance(found, ProbeFailure):
            failure = failure or found
        answers += _answers(found)
        front += [one.target for one in _answers(found) if one.target and one.target not in (*done, *front)]
    zone = tools.found.get(record.name)
    return Seen(record, zone.name if zone else None, tuple(answers), failure)


def _ask_all(
    keys: list[Key], found: dict[str, Zone | ProbeFailure], zones: dict[str, Zone], tools: Tools
) -> dict[Key, list[Answer] | ProbeFailure]:
    """Ask every server of each name's zone, and once for the serial of each zone."""
    questions: list[tuple[Server, str, str]] = []
    for name, kind in keys:
        zone = found[name]
        if isinstance(zone, Zone):
            questions += [(server, name, kind) for server in zone.servers]
            if zone.name not in zones:
                zones[zone.name] = zone
                questions += [(server, zone.name, "SOA") for server in zone.servers]
    questions = list(dict.fromkeys(questions))
    answers = dict(zip(questions, _ask_each(questions, tools)))
    for zone in list(zones.values()):
        serials = tuple(answers[key] for key in answers if key[1:] == (zone.name, "SOA"))
        if serials:
            zones[zone.name] = replace(zone, serials=serials)
    result: dict[Key, list[Answer] | ProbeFailure] = {}
    for name, kind in keys:
        zone_found = found[name]
        if isinstance(zone_found, ProbeFailure):
            result[name, kind] = zone_found
        else:
            result[name, kind] = [answers[server, name, kind] for server in zone_found.servers]
    return result


def _ask_each(questions: list[tuple[Server, str, str]], tools: Tools) -> list[Answer]:
    def job(server: Server, name: str, kind: str, deadline: Deadline) -> Answer:
        return query.look_up(server, tools.at(server), name, kind, deadline.within(tools.timeout))

    brought = tools.each([functools.partial(job, *question) for question in questions])
    return [
        Answer(server, name, SILENT, message=one.message) if isinstance(one, ProbeFailure) else one
        for (server, name, _kind), one in zip(questions, brought)
    ]


# --- zones and their servers


def _zones_of(names: t.Iterable[str], tools: Tools, *, given_only: bool) -> dict[str, Zone | ProbeFailure]:
    """Return the zone of each name with its servers, or why it cannot be had."""
    missing = [name for name in names if name not in tools.found]
    result: dict[str, Zone | ProbeFailure] = {name: tools.found[name] for name in names if name in tools.found}
    found = tools.each([functools.partial(_zone_of, name, tools, given_only) for name in missing])
    bare = {zone for zone in found if isinstance(zone, Zone) and not zone.servers}
    whole = dict(zip(bare, tools.each([functools.partial(_with_servers, zone, tools) for zone in bare])))
    for name, zone in zip(missing, found):
        one = zone if isinstance(zone, ProbeFailure) else whole.get(zone, zone)
        result[name] = one
        if isinstance(one, Zone) and not one.lost:
            tools.found[name] = one
    return result


def _zone_of(name: str, tools: Tools, given_only: bool, deadline: Deadline) -> Zone:
    """Return the zone that holds a name: with the servers that were given, else without servers."""
    if tools.servers:
        try:
            return Zone(_first(tools.servers, name, tools, deadline, recurse=False), tools.servers)
        except ProbeFailure:
            # An alias may well lead to where these servers do not know the way.
            if given_only:
                raise
    return Zone(_first(tools.resolvers or system_resolvers(), name, tools, deadline, recurse=True))


def _first(servers: t.Sequence[Server], name: str, tools: Tools, deadline: Deadline, *, recurse: bool) -> str:
    """Return the zone by the first server that can tell."""
    trouble = ProbeFailure(DNS, f"there is no name server to ask for the zone of {name}")
    for server in servers:
        try:
            return _walk(server, name, tools, deadline, recurse=recurse)
        except ProbeFailure as failure:
            trouble = failure
    raise trouble


def _walk(server: Server, name: str, tools: Tools, deadline: Deadline, *, recurse: bool) -> str:
    labels = name.split(".")
    for number in range(len(labels)):
        candidate = ".".join(labels[number:])
        message = _resolved(server, candidate, "SOA", tools, deadline, recurse=recurse)
        zone = query.zone_in(message, name, candidate, authoritative=not recurse)
        if zone:
            return zone
    raise ProbeFailure(DNS, f"the name server {server} knows no zone that holds {name}", {"nonexistent": True})


def _resolved(server: Server, name: str, kind: str, tools: Tools, deadline: Deadline, *, recurse: bool) -> t.Any:
    """Return a message that answers a question; SERVFAIL and its like are failures here."""
    try:
        message = query.ask(tools.at(server), name, kind, deadline.within(tools.timeout), recurse=recurse)
    except ProbeFailure as failure:
        raise ProbeFailure(failure.kind, f"the name server {server}, asked for {name}: {failure.message}") from failure
    told = query.RCODES.get(message.rcode())
    if told and told[0] in NOT_ANSWERED:
        raise ProbeFailure(DNS, f"the name server {server}, asked for {name} {kind}: {told[1]}")
    return message


def _with_servers(zone: Zone, tools: Tools, deadline: Deadline) -> Zone:
    """Return a zone with the addresses of all servers that its NS records name."""
    resolvers = tools.resolvers or system_resolvers()
    names = _any(resolvers, zone.name, "NS", tools, deadline)
    if not names:
        raise ProbeFailure(DNS, f"the zone {zone.name} names no server (no NS record)", {"nonexistent": True})
    servers: list[Server] = []
    lost: list[tuple[str, ProbeFailure]] = []
    for name in names:
        try:
            addresses = [one for kind in ("A", "AAAA") for one in _any(resolvers, name, kind, tools, deadline)]
            if not addresses:
                raise ProbeFailure(DNS, f"{name} has no address", {"nonexistent": True})
            servers += [Server(address, 53, name) for address in addresses]
        except ProbeFailure as failure:
            lost.append((name, failure))
    if not servers:
        raise lost[0][1]
    return replace(zone, servers=tuple(servers), lost=tuple(lost))


def _any(resolvers: t.Sequence[Server], name: str, kind: str, tools: Tools, deadline: Deadline) -> list[str]:
    """Return the values of a record by the first resolver that can tell."""
    trouble = ProbeFailure(DNS, f"there is no name server to ask for {name}")
    for resolver in resolvers:
        try:
            return query.values_in(_resolved(resolver, name, kind, tools, deadline, recurse=True), name, kind)
        except ProbeFailure as failure:
            trouble = failure
    raise trouble
