# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Who listens where, held against the ports that the inventory's packet filter knows."""

from __future__ import annotations

import ipaddress
import os
import re
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import (
    Look,
    Plan,
    Rule,
    Seen,
    Skip,
    Tools,
    bad,
    tool,
)
from ansible_collections.matrixon.ops.plugins.module_utils._net import join_host_port
from ansible_collections.matrixon.ops.plugins.module_utils._probe import AUTH, PARSE, Deadline, Facts, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import LISTEN, parse_address, parse_stat, read

UNEXPECTED = Rule(
    "port-unexpected",
    "warning",
    "what others can reach is named by the packet filter's rules",
    "stop what listens, bind it to loopback, or name the port in firewall_rules_extra or security_audit_ports",
)
FIREWALL = Rule(
    "firewall-inactive",
    "critical",
    "the packet filter that the inventory describes is active",
    "run the playbook matrixon.ops.firewall",
)

# A UDP socket that hears from everybody is in this state.
UDP_OPEN = b"07"
TABLES = (("tcp", "tcp"), ("tcp6", "tcp"), ("udp", "udp"), ("udp6", "udp"))
PORT = re.compile(r"^(\d{1,5})(?::(\d{1,5}))?(?:/(tcp|udp|any))?$")
# Ports that the kernel gives to sockets which ask for none are no service's.
EPHEMERAL = "proc/sys/net/ipv4/ip_local_port_range"


class Listener(t.NamedTuple):
    """One socket that hears from others."""

    proto: str
    address: str
    port: int
    inode: str


class Ports(t.NamedTuple):
    """Ports that may be listened at, first to last."""

    first: int
    last: int
    proto: str

    def holds(self, listener: Listener) -> bool:
        """Return whether a listener is one of them."""
        return self.first <= listener.port <= self.last and self.proto in (listener.proto, "any")


def parse_ports(text: str) -> Ports:
    """Return what '443', '443/tcp' or '49152:65535/udp' means."""
    match = PORT.match(text)
    if not match:
        raise ValueError(f"{text!r} is not a port; write for example 443/tcp or 49152:65535/udp")
    first, last = int(match.group(1)), int(match.group(2) or match.group(1))
    if not 0 < first <= last < 65536:
        raise ValueError(f"{text!r} is not a port; ports go from 1 to 65535, and a range upwards")
    return Ports(first, last, match.group(3) or "tcp")


def parse_table(text: str, proto: str) -> list[Listener]:
    """Return who listens, from a table of /proc/net."""
    wanted = LISTEN if proto == "tcp" else UDP_OPEN
    found = []
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) < 10:
            raise ProbeFailure(PARSE, f"a line of /proc/net/{proto} was not understood")
        if words[3].encode() != wanted or (proto == "udp" and words[2].rpartition(":")[2] != "0000"):
            continue
        address, _colon, port = words[1].partition(":")
        found.append(Listener(proto, parse_address(address), int(port, 16), words[9]))
    return found


def is_local(address: str) -> bool:
    """Return whether only this host itself can reach an address."""
    return ipaddress.ip_address(address).is_loopback


def owners(root: str, inodes: t.Collection[str], deadline: Deadline) -> dict[str, str]:
    """Return by socket the command and number of a process that holds it, as far as this user may see."""
    found: dict[str, str] = {}
    proc = os.path.join(root, "proc")
    for pid in sorted((name for name in os.listdir(proc) if name.isdigit()), key=int):
        deadline.require("looking for who listens")
        if len(found) == len(inodes):
            break
        try:
            held = [os.readlink(entry.path) for entry in os.scandir(os.path.join(proc, pid, "fd"))]
            mine = {link[8:-1] for link in held if link.startswith("socket:[")} & set(inodes) - set(found)
            if mine:
                command, dummy = parse_stat(read(os.path.join(proc, pid), "stat"))
                found.update(dict.fromkeys(mine, f"{command} ({pid})"))
        except OSError:
            # It ended meanwhile, or is another user's.
            continue
    return found


def probe_ports(tools: Tools, deadline: Deadline) -> Facts:
    """Read the tables of sockets, and who holds those that others reach."""
    found: list[Listener] = []
    for name, proto in TABLES:
        path = os.path.join(tools.root, "proc/net", name)
        if os.path.exists(path):
            with open(path, encoding="ascii", errors="replace") as file:
                found += parse_table(file.read(), proto)
    outer = [one for one in found if not is_local(one.address)]
    low, high = (int(word) for word in read(tools.root, EPHEMERAL).split())
    return {
        "listeners": outer,
        "owners": owners(tools.root, {one.inode for one in outer}, deadline),
        "ephemeral": (low, high),
    }


def judge_ports(facts: Facts, expected: list[Ports]) -> Seen:
    """Say who listens at a port that nobody named."""
    by_port: dict[tuple[str, int], list[Listener]] = {}
    for one in facts["listeners"]:
        by_port.setdefault((one.proto, one.port), []).append(one)
    low, high = facts["ephemeral"]
    findings, listed = [], []
    for (proto, port), listeners in sorted(by_port.items()):
        process = next(
            (facts["owners"][one.inode] for one in listeners if one.inode in facts["owners"]),
            "a process that was not seen",
        )
        addresses = ", ".join(sorted({join_host_port(one.address, port) for one in listeners}))
        named = any(ports.holds(listeners[0]) for ports in expected)
        listed.append({"port": f"{port}/{proto}", "process": process, "addresses": addresses, "named": named})
        # A client's UDP socket looks the same as a server's.
        if not named and not (proto == "udp" and low <= port <= high):
            findings.append(bad(UNEXPECTED, f"{process} listens at {addresses} ({proto})", f"{port}/{proto}"))
    return Seen(findings, {"ports": listed})


def probe_firewall(tools: Tools, deadline: Deadline) -> str:
    """Ask ufw, which asks the kernel."""
    if not os.path.exists(tool("ufw")):
        return "ufw is not installed"
    done = tools.runner([tool("ufw"), "status"], deadline)
    match = re.search(r"^Status: (\w+)$", done.out, re.MULTILINE)
    if done.code != 0 or not match:
        kind = AUTH if "need to be root" in done.err else PARSE
        raise ProbeFailure(kind, f"'ufw status' said no status: {done.complaint[:80]!r}")
    return "" if match.group(1) == "active" else f"ufw is {match.group(1)}"


def judge_firewall(wrong: str) -> Seen:
    """Say what is wrong with it."""
    return Seen([bad(FIREWALL, wrong)] if wrong else [])


def plan(options: Facts) -> Plan:
    """Return what is looked at."""
    looks: Plan = []
    if options["ports"]:
        expected = [parse_ports(text) for text in options["ports"]]
        looks.append(Look("ports", (UNEXPECTED,), probe_ports, lambda facts: judge_ports(facts, expected)))
    else:
        looks.append(Skip((UNEXPECTED,), "no ports are given that this host should listen at; name them in ports"))
    if options["firewall"]:
        looks.append(Look("firewall", (FIREWALL,), probe_firewall, judge_firewall))
    else:
        looks.append(Skip((FIREWALL,), "the inventory describes no packet filter of this host"))
    return looks
