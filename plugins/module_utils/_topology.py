# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with an inventory as a whole: the rules that no host can judge alone.

Pure. It takes one view of each host, as the role `preflight` composes it, and
returns problems. Nothing is assumed of the inventory's shape: what has the wrong
type was named by the roles' argument specs already, and is passed over here.
"""

from __future__ import annotations

import collections
import ipaddress
import typing as t

# The groups that hold what the collection builds, each with what it is.
GROUPS = {
    "homeserver": "homeserver processes",
    "postgresql": "PostgreSQL",
    "redis": "Redis",
    "load_balancer": "HAProxy",
    "monitoring": "monitoring",
    "backup": "backups",
    "witness": "the witness of which region serves",
}
HERE = ("127.0.0.1", "::1", "localhost")

View = dict[str, t.Any]


class Problem(t.NamedTuple):
    """A sentence, and the hosts that it is about. No host: it is about the fleet."""

    text: str
    hosts: tuple[str, ...] = ()
    # A warning is shown and refuses nothing.
    warning: bool = False


class Fleet(t.NamedTuple):
    """All that the rules look at."""

    views: list[View]
    groups: dict[str, list[str]]
    processes: list[dict[str, t.Any]]
    addresses: dict[str, list[str]]
    # Facts of the profile, empty if there is no such profile.
    facts: dict[str, t.Any]
    required_groups: list[str]

    @property
    def regions(self) -> list[str]:
        """Return the regions that the processes name; one without a name where there are none."""
        return sorted({str(process.get("region") or "") for process in self.processes})

    def of_region(self, region: str) -> list[dict[str, t.Any]]:
        """Return the processes of a region."""
        return [process for process in self.processes if (process.get("region") or "") == region]

    def hosts(self, group: str) -> list[str]:
        """Return the hosts of a group, also those outside the limit of the run."""
        return self.groups.get(group) or []

    def members(self, group: str) -> list[View]:
        """Return the views of a group's hosts, as far as the run looks at them."""
        return [view for view in self.views if view["name"] in self.hosts(group)]

    def whole(self, group: str) -> bool:
        """Say whether the run looks at every host of a group, and could judge its variables."""
        return sum("database_role" in view for view in self.members(group)) == len(set(self.hosts(group)))


def problems_of(fleet: Fleet) -> list[Problem]:
    """Return all that is wrong with a fleet."""
    return [problem for rule in RULES for problem in rule(fleet)]


def _groups(fleet: Fleet) -> t.Iterator[Problem]:
    for group in fleet.required_groups:
        if not fleet.hosts(group):
            yield Problem(
                f"group {group}: has no host; put the hosts of {GROUPS.get(group, group)} into it, or take the group "
                "out of preflight_required_groups if somebody else runs them"
            )
    known = {host for group in GROUPS for host in fleet.hosts(group)}
    for view in fleet.views:
        if view["name"] not in known:
            yield Problem(
                f"is in none of the groups {', '.join(GROUPS)}; only system_setup and firewall will look after it",
                (view["name"],),
                warning=True,
            )


def _primaries(fleet: Fleet) -> t.Iterator[Problem]:
    primaries = _primary_names(fleet)
    if len(primaries) > 1:
        yield Problem(
            f"matrixon_database_role: {_listed(primaries)} are all primary, and two primaries are two databases; "
            "leave one and say standby on the others"
        )
    elif not primaries and fleet.hosts("postgresql") and fleet.whole("postgresql"):
        yield Problem(
            "matrixon_database_role: no host of group postgresql is the primary; say primary on one of "
            f"{_listed(fleet.hosts('postgresql'))}"
        )


def _standbys(fleet: Fleet) -> t.Iterator[Problem]:
    """Hold standbys against their primary. That a standby names a slot and a primary is asked by its role."""
    primaries = [view for view in fleet.members("postgresql") if view.get("database_role") == "primary"]
    standbys = [view for view in fleet.members("postgresql") if view.get("database_role") == "standby"]
    owners: dict[str, list[str]] = collections.defaultdict(list)
    for view in standbys:
        target = str(view.get("primary_host") or "")
        if target in (*HERE, view["name"]):
            yield Problem(
                f"postgresql_primary_host: leads to the standby itself ({target}); give the address of "
                f"{_listed(_primary_names(fleet)) or 'the primary'}",
                (view["name"],),
            )
        slot = str(view.get("slot") or "")
        if not slot:
            continue
        owners[slot].append(view["name"])
        if len(primaries) == 1 and slot not in (primaries[0].get("slots") or []):
            yield Problem(
                f"postgresql_slot_name: the primary {primaries[0]['name']} keeps no slot '{slot}'; add the standby "
                "to matrixon_database_standbys, or the slot to postgresql_slots of the primary",
                (view["name"],),
            )
    for slot, names in owners.items():
        if len(names) > 1:
            yield Problem(f"postgresql_slot_name: '{slot}' can serve one standby only; give each its own", tuple(names))


def _processes(fleet: Fleet) -> t.Iterator[Problem]:
    if not fleet.processes:
        if fleet.hosts("homeserver"):
            yield Problem(
                "matrixon_processes: is empty; list at least the main process, for example "
                f"{{name: main, host: {fleet.hosts('homeserver')[0]}}}"
            )
        return
    for region in fleet.regions:
        yield from _mains(fleet, region)
    everybody = {host for hosts in fleet.groups.values() for host in hosts}
    for process in fleet.processes:
        host = process.get("host")
        if host is None:
            continue
        if host not in everybody:
            yield Problem(
                f"matrixon_processes: {_name(process)} is to run on {host}, which the inventory does not know; "
                "write the host's inventory name"
            )
        elif host not in fleet.hosts("homeserver"):
            yield Problem(
                f"matrixon_processes: {_name(process)} is to run on {host}, which is not in group homeserver; "
                "put the host into the group"
            )
    used = {process.get("host") for process in fleet.processes}
    for host in fleet.hosts("homeserver"):
        if host not in used:
            yield Problem(
                "is in group homeserver and matrixon_processes has no process for it; nothing will run there",
                (host,),
                warning=True,
            )


def _mains(fleet: Fleet, region: str) -> t.Iterator[Problem]:
    """See that a region has one main process, and one process of each name."""
    processes = fleet.of_region(region)
    where = f" in region {region}" if region else ""
    mains = [_name(process) for process in processes if process.get("kind") == "main"]
    if fleet.facts.get("topology", {}).get("several_mains"):
        hosts = [process.get("host") for process in processes if process.get("kind") == "main"]
        for host, count in collections.Counter(hosts).items():
            if count > 1:
                yield Problem(
                    f"matrixon_processes: {count} main processes are to run on {host}, and a host has one unit for "
                    "them; put each on a host of its own"
                )
    elif len(mains) > 1:
        yield Problem(
            f"matrixon_processes: {_listed(mains)} are main processes{where}, and two on one database destroy it; "
            "keep one and make workers of the others"
        )
    if not mains and fleet.facts:
        yield Problem(
            f"matrixon_processes: there is no main process{where}; give one kind: main, or the name "
            f"{fleet.facts['topology']['main']}"
        )
    for name, count in collections.Counter(map(_name, processes)).items():
        if count > 1:
            yield Problem(f"matrixon_processes: {count} processes{where} are called {name}; give each its own name")


def _regions(fleet: Fleet) -> t.Iterator[Problem]:
    """Hold the processes and the hosts of a deployment in several places against the inventory's regions."""
    if fleet.regions in ([], [""]):
        return
    for process in fleet.of_region(""):
        yield Problem(
            f"matrixon_processes: {_name(process)} on {process.get('host')} has no region, and others have one; "
            "give every process its own"
        )
    for region in filter(None, fleet.regions):
        members = fleet.hosts(f"region_{region}")
        if not members:
            yield Problem(
                f"matrixon_processes: the region {region} has no host; put the hosts of it into the group "
                f"region_{region}"
            )
            continue
        for process in fleet.of_region(region):
            if process.get("host") is not None and process["host"] not in members:
                yield Problem(
                    f"matrixon_processes: {_name(process)} is of region {region} and its host {process['host']} is not "
                    f"in the group region_{region}; correct one of them"
                )
    for view in fleet.views:
        groups = [region for region in fleet.regions if view["name"] in fleet.hosts(f"region_{region}")]
        if "region" in view and view["region"] not in (groups or [""]):
            yield Problem(
                f"matrixon_region: {view['region'] or 'is missing'}, and the host is in "
                f"{f'the group region_{groups[0]}' if groups else 'no group of a region'}; set it in the group_vars of "
                "each region",
                (view["name"],),
            )
        if view.get("active_region") and view["active_region"] not in fleet.regions:
            yield Problem(
                f"matrixon_active_region: {view['active_region']} has no process in matrixon_processes; there are "
                f"{_listed(filter(None, fleet.regions))}"
            )


def _workers(fleet: Fleet) -> t.Iterator[Problem]:
    workers = [process for process in fleet.processes if process.get("kind") == "worker"]
    if not workers or not fleet.facts:
        return
    title, support = fleet.facts["title"], fleet.facts["topology"]["workers"]
    if support["state"] == "unsupported":
        yield Problem(
            f"matrixon_processes: {_listed(map(_name, workers))} cannot be: {support['reason']}; "
            "list the main process alone"
        )
        return
    # With the group required, the rule of groups has said so already.
    missing = "redis" not in fleet.required_groups and not fleet.hosts("redis")
    if missing and fleet.facts["cache"]["required_with_workers"]:
        yield Problem(
            f"group redis: has no host, and processes of {title} talk to each other through Redis; put a host into it"
        )
    for process in workers:
        if process.get("address") in HERE and len({one.get("host") for one in fleet.processes}) > 1:
            yield Problem(
                f"matrixon_processes: {_name(process)} has the address {process['address']}, where no other host "
                f"reaches it; give the address of {process.get('host')}"
            )
        if not process.get("port"):
            yield Problem(
                f"matrixon_processes: worker {_name(process)} has no port; give it one that is free on "
                f"{process.get('host')}, for example port: 8081"
            )


def _classes(fleet: Fleet) -> t.Iterator[Problem]:
    if not fleet.facts or fleet.facts["topology"]["workers"]["state"] == "unsupported":
        return
    title = fleet.facts["title"]
    entries = fleet.facts.get("routing", {}).get("classes", [])
    classes = [entry["name"] for entry in entries]
    writers = {entry["name"]: entry["stream"] for entry in entries if entry.get("stream")}
    streams = _stream_names(fleet.facts)
    for process in fleet.processes:
        for name in process.get("serves") or []:
            if name not in classes:
                yield Problem(
                    f"matrixon_processes: {_name(process)} is to serve '{name}', which {title} does not know; "
                    f"there are {_listed(classes)}"
                )
            elif name in writers and writers[name] not in (process.get("streams") or []):
                yield Problem(
                    f"matrixon_processes: {_name(process)} is to serve '{name}', which only a process that writes the "
                    f"stream {writers[name]} can; add it to its streams"
                )
        for name in process.get("streams") or []:
            if streams is not None and name not in streams:
                yield Problem(
                    f"matrixon_processes: {_name(process)} is to write the stream '{name}', which {title} does not "
                    f"know; there are {_listed(streams)}"
                )
        if process.get("streams") and not process.get("replication_port"):
            yield Problem(
                f"matrixon_processes: {_name(process)} writes streams and has no replication_port, so the other "
                "processes cannot reach it; give it one"
            )


def _media(fleet: Fleet) -> t.Iterator[Problem]:
    """See that those who serve media find each other's files."""
    servers = [process for process in fleet.processes if "media" in (process.get("serves") or [])]
    if len({process.get("host") for process in servers}) > 1:
        yield Problem(
            f"matrixon_processes: {_listed(map(_name, servers))} serve media on several hosts; that is right only if "
            "these hosts share one media directory",
            warning=True,
        )


def _ports(fleet: Fleet) -> t.Iterator[Problem]:
    users: dict[str, dict[int, list[str]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    for view in fleet.views:
        for port in view.get("ports") or []:
            number = _number(port.get("port"))
            if number:
                users[view["name"]][number].append(str(port.get("name")))
    for process in fleet.processes:
        for key in ("port", "metrics_port", "replication_port"):
            number = _number(process.get(key))
            if not number:
                continue
            if not 1024 <= number < 65536:
                yield Problem(
                    f"matrixon_processes: {key} {number} of {_name(process)} cannot be; "
                    "the service user may bind 1024 to 65535"
                )
            if process.get("host") is not None:
                users[process["host"]][number].append(f"{_name(process)} ({key})")
    for host, ports in users.items():
        for number, names in sorted(ports.items()):
            if len(names) > 1:
                yield Problem(f"port {number} is wanted by {_listed(names)}; give each its own", (host,))


def _acme(fleet: Fleet) -> t.Iterator[Problem]:
    """See that a CA's requests find their way: the first certificate comes without it, its renewals do not."""
    views = [view for view in fleet.members("load_balancer") if view.get("acme_challenge") in ("standalone", "webroot")]
    for view in views:
        server, port = str(view.get("acme_server") or ""), str(view.get("acme_port"))
        listener = f"127.0.0.1:{port}" if view["acme_challenge"] == "standalone" else "the address of the web server"
        if not server or (view["acme_challenge"] == "standalone" and server.rpartition(":")[2] != port):
            yield Problem(
                f"load_balancer_acme_server: {server or 'is empty'}, so the CA's requests do not get past HAProxy and "
                f"the certificate would end without a renewal (certificates_certbot_challenge is "
                f"{view['acme_challenge']}); give {listener}",
                (view["name"],),
            )
    if len(fleet.hosts("load_balancer")) > 1:
        for view in views:
            yield Problem(
                "certificates_certbot_challenge: several load balancers answer to one name, and the CA's request may "
                "come to another one than asked for the certificate; dns has no such doubt",
                (view["name"],),
                warning=True,
            )


def _addresses(fleet: Fleet) -> t.Iterator[Problem]:
    for group in fleet.addresses:
        if group not in GROUPS:
            yield Problem(f"matrixon_addresses: '{group}' is no group of the collection; there are {_listed(GROUPS)}")
    # What is no address, and a group that has none at all, is said by the firewall of the hosts.
    for group in GROUPS:
        hosts, given = set(fleet.hosts(group)), set(fleet.addresses.get(group) or [])
        if given and len(given) < len(hosts) and not any("/" in address for address in given):
            yield Problem(
                f"matrixon_addresses: has {len(given)} of the {len(hosts)} hosts of group {group}; list every address "
                f"of {_listed(fleet.hosts(group))}"
            )


def _same(fleet: Fleet) -> t.Iterator[Problem]:
    """Find what must be equal on all hosts and is not. Values are compared by their fingerprints."""
    holders: dict[str, dict[str, list[str]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    for view in fleet.views:
        for option, fingerprint in (view.get("fingerprints") or {}).items():
            holders[option][fingerprint].append(view["name"])
    for option, values in sorted(holders.items()):
        if len(values) > 1:
            parties = sorted(values.values(), key=len, reverse=True)
            yield Problem(
                f"{option}: differs between hosts ({' / '.join(', '.join(names) for names in parties)}); "
                "set it once, for all of them"
            )


def _reached(fleet: Fleet) -> t.Iterator[Problem]:
    """See where the homeserver hosts look for the database and for Redis."""
    primaries = _primary_names(fleet)
    for view in fleet.members("homeserver"):
        for group, option in (("postgresql", "database_host"), ("redis", "redis_host")):
            target = str(view.get(option) or "")
            if target in HERE and fleet.hosts(group) and view["name"] not in fleet.hosts(group):
                yield Problem(
                    f"matrixon_{option}: leads to the host itself ({target}), where no {GROUPS[group]} is; "
                    f"give the address of {_listed(primaries if option == 'database_host' else fleet.hosts(group))}",
                    (view["name"],),
                )
        target = str(view.get("database_host") or "")
        addresses = fleet.addresses.get("postgresql") or []
        others = [name for name in fleet.hosts("postgresql") if name not in primaries]
        passive = view.get("region") and view.get("region") != view.get("active_region")
        if target in others and primaries and not passive:
            yield Problem(
                f"matrixon_database_host: {target} is not the primary; it should lead to {_listed(primaries)}",
                (view["name"],),
                warning=True,
            )
        elif target not in HERE and addresses and _outside(addresses, target):
            yield Problem(
                f"matrixon_database_host: {target} is none of the addresses of group postgresql; that is right "
                "only if it is a floating address that leads to the primary",
                (view["name"],),
                warning=True,
            )


RULES: tuple[t.Callable[[Fleet], t.Iterator[Problem]], ...] = (
    _groups,
    _primaries,
    _standbys,
    _processes,
    _regions,
    _workers,
    _classes,
    _media,
    _ports,
    _acme,
    _addresses,
    _same,
    _reached,
)


def merged(problems: t.Iterable[Problem]) -> list[Problem]:
    """Say once what several hosts have in common; first what is about the fleet, then by host."""
    hosts: dict[tuple[str, bool], list[str]] = {}
    for problem in problems:
        names = hosts.setdefault((problem.text, problem.warning), [])
        names += [name for name in problem.hosts if name not in names]
    found = [Problem(text, tuple(names), warning) for (text, warning), names in hosts.items()]
    return sorted(found, key=lambda problem: (bool(problem.hosts), problem.hosts))


def lines(problems: t.Iterable[Problem]) -> list[str]:
    """Return problems as a numbered list for people."""
    return [
        f"{number}. {', '.join(problem.hosts) + ': ' if problem.hosts else ''}{problem.text}"
        for number, problem in enumerate(problems, 1)
    ]


def _primary_names(fleet: Fleet) -> list[str]:
    return [view["name"] for view in fleet.members("postgresql") if view.get("database_role") == "primary"]


def _stream_names(facts: dict[str, t.Any]) -> list[str] | None:
    """Return the streams that a profile knows, or nothing if it does not say."""
    streams = facts.get("topology", {}).get("streams")
    if streams is None:
        return None
    return [entry["name"] if isinstance(entry, dict) else entry for entry in streams]


def _name(process: dict[str, t.Any]) -> str:
    return str(process.get("name", "a process without a name"))


def _number(value: t.Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0


def _network(value: t.Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Return an address as the network that it is, one address large if it has no prefix."""
    try:
        return ipaddress.ip_network(str(value), strict=False)
    except ValueError:
        return None


def _outside(networks: list[str], value: str) -> bool:
    """Say whether a value is an address and in none of the networks. A name may lead anywhere."""
    address = _network(value)
    known = [network for network in map(_network, networks) if network and address]
    return address is not None and not any(
        address.version == network.version and address[0] in network for network in known
    )


def _listed(names: t.Iterable[str]) -> str:
    words = list(names)
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)
