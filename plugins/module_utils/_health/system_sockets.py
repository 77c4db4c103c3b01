# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Who listens, and whether the ports for outgoing connections last."""

from __future__ import annotations

import functools
import ipaddress
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._health.model import (
    Check,
    Facts,
    Limits,
    Probe,
    Verdict,
    grade,
)
from ansible_collections.matrixon.ops.plugins.module_utils._net import join_host_port
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import Place, Sockets, gather, part, read_sockets
from ansible_collections.matrixon.ops.plugins.module_utils._report import CRITICAL, OK, WARNING

EVERYWHERE = ("0.0.0.0", "::")


def observe(deadline: Deadline, root: str = "/") -> Facts:
    """Read the TCP sockets of the host."""
    return gather({"sockets": lambda: read_sockets(root, deadline)})


def judge_listeners(facts: Facts, limits: Limits) -> list[Verdict]:
    """Judge each expected listener."""
    listening = part(facts, "sockets").listening
    return [_judge_listener(expected, listening) for expected in facts["listeners"]]


def _judge_listener(expected: Facts, listening: set[Place]) -> Verdict:
    name, port = expected["name"], expected["port"]
    open_on = sorted(address for address, its_port in listening if its_port == port)
    serving = [address for address in open_on if _serves(address, expected["address"])]
    if serving:
        places = ", ".join(join_host_port(address, port) for address in serving)
        return Verdict(OK, f"{name}: something listens on {places}", target=name)
    if not open_on:
        wanted = join_host_port(expected["address"], port) if expected["address"] else f"port {port}"
        return Verdict(CRITICAL, f"{name}: nothing listens on {wanted}", target=name)
    wanted = join_host_port(expected["address"], port)
    found = ", ".join(join_host_port(address, port) for address in open_on)
    return Verdict(CRITICAL, f"{name}: nothing listens on {wanted}, only on {found}", target=name)


def _serves(address: str, wanted: str | None) -> bool:
    """Return whether a socket at ``address`` takes connections for the wanted one."""
    if wanted is None:
        return True
    target = str(ipaddress.ip_address(wanted))
    if address == target:
        return True
    return address == "::" or (address == "0.0.0.0" and ":" not in target)


def judge_ephemeral_ports(facts: Facts, limits: Limits) -> Verdict:
    """Judge the ports that one source address has left toward its busiest destination.

    The kernel can use a local port again for another destination or from
    another source address, so neither a total nor a mean says anything.
    """
    sockets: Sockets = part(facts, "sockets")
    wide = f"{sockets.ports} ports ({sockets.first} to {sockets.last})"
    if sockets.outgoing:
        (source, (address, port)), used = max(sockets.outgoing.items(), key=lambda item: item[1])
        share = 100 * used / sockets.ports
        there = join_host_port(address, port)
        message = f"{share:.1f} % used: {used} connections from {source} to {there}, the busiest destination, of {wide}"
    else:
        share, message = 0.0, f"none of {wide} is used for a connection to anywhere"
    verdict = grade(share, limits, message)
    expected = facts["expected"]
    if verdict.status != OK or expected is None or expected <= sockets.ports * _sources(sockets):
        return verdict
    return Verdict(WARNING, _too_few(expected, sockets), value=share)


def _sources(sockets: Sockets) -> int:
    """Return the most source addresses from which any one destination is reached; one is always there."""
    sources: dict[Place, int] = {}
    for _source, destination in sockets.outgoing:
        sources[destination] = sources.get(destination, 0) + 1
    return max(sources.values(), default=1)


def _too_few(expected: int, sockets: Sockets) -> str:
    count = _sources(sockets)
    addresses = "1 source address" if count == 1 else f"{count} source addresses"
    return (
        f"{expected} connections to one destination are expected, but {addresses} with {sockets.ports} ports each "
        f"carry {sockets.ports * count}; use more source addresses or widen net.ipv4.ip_local_port_range"
    )


LISTENERS = Check(
    "listeners", "each expected TCP port is listened on, at the expected address", judge_listeners, fixed=True
)
EPHEMERAL_PORTS = Check(
    "ephemeral_ports",
    "used share of the local port range from one source address toward its busiest destination",
    judge_ephemeral_ports,
    unit="%",
    warning=70,
    critical=90,
)
CHECKS = (LISTENERS, EPHEMERAL_PORTS)


def probe(listeners: t.Sequence[Facts], expected_connections: int | None, root: str) -> Probe:
    """Return the probe of the host's TCP sockets."""
    given = {"listeners": listeners, "expected": expected_connections}
    checks = CHECKS if listeners else (EPHEMERAL_PORTS,)
    return Probe("host", checks, functools.partial(observe, root=root), given)
