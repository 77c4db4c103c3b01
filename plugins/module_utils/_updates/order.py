# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""In which order the hosts of a deployment are updated, and which are left out of it. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

# What may go first: the fleet serves without it for a moment, or another one has it.
FIRST = ("monitoring", "backup", "redis")
STAGES = {"interrupted": 0, "around": 1, "standby": 2, "homeserver": 3, "load_balancer": 4, "primary": 5}


@dataclass(frozen=True)
class Host:
    """What must be known of a host. ``standby`` is what its PostgreSQL says: None if it could not be asked."""

    name: str
    groups: tuple[str, ...]
    standby: bool | None = None
    interrupted: bool = False


def stage_of(host: Host) -> str:
    """Return where a host stands: by the last of the things on it that may go."""
    if host.interrupted:
        return "interrupted"
    if "postgresql" in host.groups and not host.standby:
        return "primary"
    for group in ("load_balancer", "homeserver"):
        if group in host.groups:
            return group
    return "standby" if "postgresql" in host.groups else "around"


def domain_of(host: Host) -> str:
    """Return the failure domain: the region's group, if there is one."""
    return next((group for group in sorted(host.groups) if group.startswith("region_")), "")


def _rank(host: Host) -> tuple[int, str, int, str]:
    stage = stage_of(host)
    first = min((FIRST.index(group) for group in host.groups if group in FIRST), default=len(FIRST))
    return STAGES[stage], domain_of(host), first, host.name


def left_out(hosts: t.Sequence[Host], balancers: t.Sequence[str], accept_lb_gap: bool = False) -> dict[str, str]:
    """Return the hosts that are not touched, each with the reason and the way out."""
    found = {}
    for host in hosts:
        if "postgresql" in host.groups and host.standby is None:
            found[host.name] = "its PostgreSQL could not be asked whether it is the primary; bring it up first"
        elif list(balancers) == [host.name] and not accept_lb_gap and not host.interrupted:
            found[host.name] = (
                "it is the only load balancer, and keeping its address in service is not this role's; "
                "set updates_accept_lb_gap to true if it may be away for a moment"
            )
    return found


def order(hosts: t.Sequence[Host], balancers: t.Sequence[str], accept_lb_gap: bool = False) -> dict[str, t.Any]:
    """Return the steps in their order, and who is left out. The primaries of all regions come last.

    The load balancers are all of the deployment, and not those of this run alone.
    """
    out = left_out(hosts, balancers, accept_lb_gap)
    steps = [
        {"host": host.name, "stage": stage_of(host), "domain": domain_of(host)}
        for host in sorted(hosts, key=_rank)
        if host.name not in out
    ]
    return {"steps": steps, "left_out": out}
