# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Who is connected now, and whom fail2ban holds."""

from __future__ import annotations

import ipaddress
import os
import re
import typing as t
from collections import Counter

from ansible_collections.matrixon.ops.plugins.module_utils._command import Runner, run
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    AUTH,
    INTERNAL,
    MISSING_TOOL,
    PARSE,
    REFUSED,
    Deadline,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import batches, failure_of, parse_address

ESTABLISHED = b"01"
# Only the first two are said of a fail2ban that does not run.
COMPLAINTS = {
    "Failed to access socket path": REFUSED,
    "Unable to contact server": REFUSED,
    "Permission denied": AUTH,
}
JAIL = re.compile(r"[A-Za-z0-9_.-]+")


def connections(root: str, ports: t.Collection[int], deadline: Deadline) -> Counter[str]:
    """Return how many connections each remote address has to the ports of this host."""
    counts: Counter[bytes] = Counter()
    wanted = {b"%04X" % port for port in ports}
    try:
        _count(os.path.join(root, "proc/net/tcp"), wanted, counts, deadline)
        six = os.path.join(root, "proc/net/tcp6")
        if os.path.exists(six):
            _count(six, wanted, counts, deadline)
        found: Counter[str] = Counter()
        for address, count in counts.items():
            found[parse_address(address.decode())] += count
    except OSError as error:
        raise failure_of(error) from error
    except ValueError as error:
        raise ProbeFailure(PARSE, f"the table of connections was not understood ({error})") from error
    return found


def _count(path: str, wanted: t.Collection[bytes], counts: Counter[bytes], deadline: Deadline) -> None:
    for lines in batches(path, deadline):
        for line in lines:
            _slot, local, remote, state, _rest = line.split(None, 4)
            if state == ESTABLISHED and local[-4:] in wanted:
                counts[remote[:-5]] += 1


def fail2ban(deadline: Deadline, runner: Runner = run) -> dict[str, dict[str, int]] | None:
    """Return the counts of each jail, or None where fail2ban is not installed."""
    try:
        done = runner(["fail2ban-client", "status"], deadline)
    except ProbeFailure as failure:
        if failure.kind == MISSING_TOOL:
            return None
        raise
    if done.code != 0:
        # Its own log line stands before what it says.
        words = re.sub(r"^.*?ERROR\s+", "", done.complaint)
        kind = next((kind for said, kind in COMPLAINTS.items() if said in words), INTERNAL)
        raise ProbeFailure(kind, f"fail2ban does not answer: {words}")
    found = re.search(r"Jail list:(.*)", done.out)
    if not found:
        raise ProbeFailure(
            PARSE, f"fail2ban-client status answered something that was not understood: {done.out[:200]!r}"
        )
    jails = [name for name in re.split(r"[,\s]+", found[1]) if JAIL.fullmatch(name)]
    return {jail: _jail(jail, deadline, runner) for jail in jails}


def _jail(name: str, deadline: Deadline, runner: Runner) -> dict[str, int]:
    done = runner(["fail2ban-client", "status", name], deadline)
    counts = {
        key.lower().replace(" ", "_"): int(value)
        for key, value in re.findall(r"((?:Currently|Total) (?:failed|banned)):\s*(\d+)", done.out)
    }
    if done.code != 0 or len(counts) != 4:
        raise ProbeFailure(PARSE, f"fail2ban-client status {name} was not understood: {done.complaint}")
    return counts


def is_one_of(address: str, networks: t.Sequence[str]) -> bool:
    """Return whether an address lies in one of the networks."""
    parsed = ipaddress.ip_address(address)
    return any(parsed in ipaddress.ip_network(network, strict=False) for network in networks)
