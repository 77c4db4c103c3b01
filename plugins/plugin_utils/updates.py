# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order in which hosts are updated, and how the update of one ended."""

from __future__ import annotations

import datetime
import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.matrixon.ops.plugins.module_utils._updates.order import Host, order
from ansible_collections.matrixon.ops.plugins.module_utils._updates.outcome import STATES, with_outcome
from ansible_collections.matrixon.ops.plugins.module_utils._updates.plan import matching


def updates_order(hosts: list[dict[str, t.Any]], balancers: list[str], accept_lb_gap: bool = False) -> dict[str, t.Any]:
    """Return the steps in their order, and which hosts are left out of them."""
    try:
        known = [
            Host(str(host["name"]), tuple(host["groups"]), host.get("standby"), bool(host.get("interrupted")))
            for host in hosts
        ]
    except (KeyError, TypeError) as error:
        raise AnsibleFilterError(f"updates_order: each host needs a name and its groups: {error}") from error
    return order(known, balancers, accept_lb_gap)


def updates_outcome(
    report: dict[str, t.Any] | None, state: str, message: str, target: str, deployment: str, profile: str
) -> dict[str, t.Any]:
    """Return the report with the check that says how the update of a host ended."""
    if state not in STATES:
        raise AnsibleFilterError(f"updates_outcome: there is no state '{state}'; it is one of {', '.join(STATES)}")
    frame = {"target": target, "deployment": deployment, "profile": profile}
    return with_outcome(report or None, frame, state, message, datetime.datetime.now(datetime.timezone.utc))


def updates_matching(names: list[str], patterns: list[str]) -> list[str]:
    """Return the names that fit one of the shell patterns."""
    return [name for name in names if matching(name, patterns)]
