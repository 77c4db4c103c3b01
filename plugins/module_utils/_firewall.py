# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which rules the packet filter of a host needs, from what the inventory says. Pure."""

from __future__ import annotations

import ipaddress
import re
import typing as t

Rule = dict[str, str]
Spec = dict[str, t.Any]
Network = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

ANY = "any"
ACTIONS = ("allow", "deny", "reject")
PROTOCOLS = ("tcp", "udp", "any")
KEYS = {"action", "proto", "port", "from", "interface", "comment"}
INTERFACE = re.compile(r"^[A-Za-z0-9_.+,=%@-]{1,15}$")

# Who a host of a group must hear, or the deployment stands still.
NEEDED = {"homeserver": "load_balancer", "postgresql": "homeserver", "redis": "homeserver"}


def network(text: t.Any) -> Network:
    """Return the network that an address or a network in CIDR notation means."""
    value = ipaddress.ip_network(str(text).strip(), strict=False)
    if isinstance(value, ipaddress.IPv6Network) and value.network_address.ipv4_mapped is not None:
        raise ValueError(
            f"'{text}' is an IPv4 address in IPv6 clothes, which the packet filter never sees; write it plainly"
        )
    return value


def plain(value: Network) -> str:
    """Write a network as ufw does: a single address without its prefix."""
    return str(value.network_address) if value.prefixlen == value.max_prefixlen else str(value)


def port_range(text: t.Any) -> tuple[int, int]:
    """Return the first and the last port of '443' or '1000:2000'."""
    match = re.match(r"^(\d{1,5})(?::(\d{1,5}))?$", str(text))
    if not match:
        raise ValueError(f"'{text}' is not a port; write 443, or 1000:2000 for a range")
    first, last = int(match.group(1)), int(match.group(2) or match.group(1))
    if not 0 < first <= last < 65536 or (match.group(2) and first == last):
        raise ValueError(f"'{text}' is not a port; ports go from 1 to 65535, and a range upwards")
    return first, last


def firewall_rules(spec: Spec) -> list[Rule]:
    """Return every rule of a host in the order in which the packet filter reads them.

    The first rule that matches decides, so what denies stands before what allows.
    """
    own = _own_rules(spec)
    denies = [rule for rule in own if rule["action"] != "allow"]
    allows = [rule for rule in own if rule["action"] == "allow"]
    seen: set[tuple[str, ...]] = set()
    rules = []
    for rule in [*denies, *_computed(spec), *allows]:
        key = (rule["action"], rule["proto"], rule["port"], rule["from"], rule["interface"])
        if key not in seen:
            seen.add(key)
            rules.append(rule)
    return rules


def _computed(spec: Spec) -> list[Rule]:
    groups = spec["groups"]
    rules: list[Rule] = []

    def allow(port: t.Any, sources: list[str], comment: str) -> None:
        if port:
            rules.extend(_rule("allow", "tcp", str(port), source, "", comment) for source in sources)

    def allow_groups(port: t.Any, names: list[str], what: str) -> None:
        for name in names:
            allow(port, _group(spec, name), f"{what} from {name}")

    # First of all the way in for the operator.
    allow(spec["ssh_port"], _sources(spec, spec["ssh_networks"]), "ssh from firewall_ssh_networks")
    if "load_balancer" in groups:
        for port in spec["public_ports"]:
            allow(port, [ANY], "public")
    if "homeserver" in groups:
        for process in (entry for entry in spec["processes"] if entry["host"] == spec["host"]):
            name = process["name"]
            allow_groups(process["port"], ["load_balancer", "homeserver"], name)
            allow_groups(process.get("replication_port"), ["homeserver"], f"{name} replication")
            allow_groups(process.get("metrics_port"), ["monitoring"], f"{name} metrics")
    if "postgresql" in groups:
        allow_groups(spec["database_port"], ["homeserver", "postgresql", "monitoring", "backup"], "database")
    if "redis" in groups:
        allow_groups(spec["redis_port"], ["homeserver"], "redis")
    if "witness" in groups:
        for port in spec["witness_ports"]:
            allow_groups(port, ["homeserver", "postgresql"], "witness")
    for group, ports in spec["metrics_ports"].items():
        if group == "all" or group in groups:
            for port in ports:
                allow_groups(port, ["monitoring"], f"{group} metrics")
    return rules


def _own_rules(spec: Spec) -> list[Rule]:
    rules = []
    for entry in spec["extra"]:
        port = "" if entry.get("port") in (None, "") else str(entry["port"])
        # A list that is empty is nobody, not everybody.
        sources = entry.get("from", ANY) or []
        sources = [sources] if isinstance(sources, str) else sources
        for source in _sources(spec, sources):
            rules.append(
                _rule(
                    entry.get("action") or "allow",
                    entry.get("proto") or "tcp",
                    port,
                    source,
                    entry.get("interface") or "",
                    entry.get("comment") or "firewall_rules_extra",
                )
            )
    return rules


def _sources(spec: Spec, names: list[t.Any]) -> list[str]:
    """Resolve addresses, networks, groups of addresses and 'any'."""
    found: list[str] = []
    for name in names:
        if name == ANY:
            found.append(ANY)
        elif name in spec["addresses"]:
            found += _group(spec, name)
        else:
            found.append(plain(network(name)))
    return list(dict.fromkeys(found))


def _group(spec: Spec, name: str) -> list[str]:
    return list(dict.fromkeys(plain(network(address)) for address in spec["addresses"].get(name) or []))


def _rule(action: str, proto: str, port: str, source: str, interface: str, comment: str) -> Rule:
    return {
        "action": action,
        "proto": proto,
        "port": port,
        "from": source,
        "interface": interface,
        "comment": comment,
    }


def verdict(rules: list[Rule], address: str, port: int, proto: str = "tcp") -> Rule | None:
    """Return the rule that decides on a new connection, or None where the default does.

    A rule for one interface counts when it denies only: through which one a connection
    comes is not known here.
    """
    source = ipaddress.ip_address(address)
    for rule in rules:
        if rule["interface"] and rule["action"] == "allow":
            continue
        if rule["proto"] not in (proto, "any"):
            continue
        if rule["port"]:
            first, last = port_range(rule["port"])
            if not first <= port <= last:
                continue
        if rule["from"] == ANY or source in network(rule["from"]):
            return rule
    return None


def firewall_problems(
    spec: Spec,
    connection: str = "",
    controller: str = "",
    proof: str = "none",
    over_ssh: bool = False,
    rollback_after: int = 0,
    proof_timeout: int = 0,
) -> list[str]:
    """Return all that is wrong, one sentence for each.

    connection is what the host says in SSH_CONNECTION: the controller's address and
    port, then its own. controller is the operator's word, which counts more.
    """
    problems = [*_address_problems(spec), *_ssh_problems(spec), *_port_problems(spec), *_own_problems(spec)]
    for group, needed in NEEDED.items():
        if group in spec["groups"] and needed not in spec["groups"] and not spec["addresses"].get(needed):
            problems.append(
                f"matrixon_addresses: holds no address of the group {needed}, so this host ({group}) would be "
                f"closed to it; list the addresses of its hosts"
            )
    if proof == "ssh" and not over_ssh:
        problems.append("firewall_proof: 'ssh' needs a host that Ansible reaches by ssh; write tcp or none")
    if proof != "none" and rollback_after < proof_timeout + 10:
        problems.append(
            f"firewall_rollback_after: {rollback_after} leaves no time to prove anything; give at least "
            f"firewall_proof_timeout and ten seconds, that is {proof_timeout + 10}"
        )
    if problems:
        return problems
    return _lock_out_problems(spec, connection, controller, proof)


def _lock_out_problems(spec: Spec, connection: str, controller: str, proof: str) -> list[str]:
    """Return why the controller could not come back in."""
    words = connection.split()
    address, option = controller, "firewall_controller_address"
    if not controller and len(words) == 4:
        address, option = words[0].split("%", 1)[0], "SSH_CONNECTION"
    if not address:
        if proof == "none":
            return []
        return [
            "firewall_controller_address: this host does not tell from where it is managed; give the address that "
            "it sees the controller come from"
        ]
    try:
        seen = ipaddress.ip_address(address)
    except ValueError:
        return [f"{option}: '{address}' is not an address; give firewall_controller_address one, such as 10.0.9.7"]
    mapped = seen.ipv4_mapped if isinstance(seen, ipaddress.IPv6Address) else None
    address = str(mapped or seen)
    port = spec["ssh_port"]
    problems = []
    if len(words) == 4 and words[3] != str(port):
        problems.append(
            f"firewall_ssh_port: is {port}, but Ansible is logged in at port {words[3]} of this host, which would be "
            f"closed; set it to {words[3]}"
        )
    rule = verdict(firewall_rules(spec), address, port)
    if rule is None:
        problems.append(
            f"firewall_ssh_networks: {', '.join(spec['ssh_networks'])} does not hold {address}, from where this host "
            f"is managed; add it, or its network"
        )
    elif rule["action"] != "allow":
        problems.append(
            f"firewall_rules_extra: the rule '{describe(rule)}' would lock out {address}, from where this host is "
            f"managed; make it narrower"
        )
    return problems


def describe(rule: Rule) -> str:
    """Write a rule in one line, much as one would tell it to ufw."""
    words = [rule["action"]]
    if rule["interface"]:
        words.append(f"in on {rule['interface']}")
    words.append(f"from {rule['from']} to {'any port ' + rule['port'] if rule['port'] else 'any'}")
    if rule["proto"] != ANY:
        words.append(f"proto {rule['proto']}")
    return " ".join(words) + (f" ({rule['comment']})" if rule["comment"] else "")


def _address_problems(spec: Spec) -> list[str]:
    problems = []
    for group, addresses in spec["addresses"].items():
        if not isinstance(addresses, (list, tuple)):
            problems.append(f"matrixon_addresses: {group} is not a list; write the addresses as a list")
            continue
        for address in addresses:
            message = _bad_network(address)
            if message:
                problems.append(f"matrixon_addresses: {group}: {message}")
            elif network(address).prefixlen == 0:
                problems.append(f"matrixon_addresses: {group}: '{address}' is everybody; list the hosts' addresses")
    return problems


def _ssh_problems(spec: Spec) -> list[str]:
    if not spec["ssh_networks"]:
        return ["firewall_ssh_networks: is empty, so nobody could log in; list the networks of the operators"]
    problems = []
    for name in spec["ssh_networks"]:
        if name in spec["addresses"]:
            continue
        message = _bad_network(name, or_group=True) if name != ANY else ""
        if message:
            problems.append(f"firewall_ssh_networks: {message}")
        elif name == ANY or network(name).prefixlen == 0:
            problems.append(
                f"firewall_ssh_networks: '{name}' opens SSH to everybody; name your networks, or open it to all by a "
                f"rule in firewall_rules_extra"
            )
    return problems


def _port_problems(spec: Spec) -> list[str]:
    problems = []
    named = [("firewall_ssh_port", spec["ssh_port"])]
    named += [("firewall_public_ports", port) for port in spec["public_ports"]]
    for group, ports in spec["metrics_ports"].items():
        if not isinstance(ports, (list, tuple)):
            problems.append(f"firewall_metrics_ports: {group} is not a list; write the ports as a list")
        else:
            named += [("firewall_metrics_ports", port) for port in ports]
    for option, port in named:
        if not str(port).isdigit() or not 0 < int(port) < 65536:
            problems.append(f"{option}: {port} is not a port; give a number from 1 to 65535")
    return problems


def _own_problems(spec: Spec) -> list[str]:
    problems = []
    for number, entry in enumerate(spec["extra"], 1):
        where = f"firewall_rules_extra: rule {number}"
        unknown = sorted(set(entry) - KEYS)
        if unknown:
            problems.append(f"{where}: does not know {', '.join(unknown)}; it takes {', '.join(sorted(KEYS))}")
        for key, known in (("action", ACTIONS), ("proto", PROTOCOLS)):
            if entry.get(key) and entry[key] not in known:
                problems.append(f"{where}: {key} is '{entry[key]}'; write {', '.join(known[:-1])} or {known[-1]}")
        port = entry.get("port")
        if port not in (None, ""):
            try:
                first, last = port_range(port)
            except ValueError as error:
                problems.append(f"{where}: port {error}")
            else:
                if first != last and entry.get("proto") == ANY:
                    problems.append(f"{where}: a range of ports needs proto tcp or udp")
        elif (entry.get("action") or "allow") == "allow" and not entry.get("from") and not entry.get("interface"):
            problems.append(f"{where}: allows everything from everybody; give it a port, from or interface")
        sources = entry.get("from", ANY)
        if not sources:
            problems.append(f"{where}: from is empty; leave it out if everybody is meant")
            sources = []
        for source in [sources] if isinstance(sources, str) else sources:
            if source != ANY and source not in spec["addresses"]:
                message = _bad_network(source, or_group=True)
                if message:
                    problems.append(f"{where}: from: {message}")
        if entry.get("interface") and not INTERFACE.match(entry["interface"]):
            problems.append(f"{where}: '{entry['interface']}' is not the name of an interface; write one such as eth0")
    return problems


def _bad_network(text: t.Any, or_group: bool = False) -> str:
    try:
        network(text)
    except ValueError as error:
        if "clothes" in str(error):
            return str(error)
        what = "an address, a network or a group of matrixon_addresses" if or_group else "an address or a network"
        return f"'{text}' is not {what}; write one, such as 10.0.9.7 or 2001:db8:9::/64"
    return ""
