# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The steps of a move between regions, in their order.

The playbook, the report and the runbook are made of this list, so they cannot differ.
"""

from __future__ import annotations

import typing as t

FAILOVER, FAILBACK, DRILL = "failover", "failback", "drill"
OPERATIONS = (FAILOVER, FAILBACK, DRILL)


class Step(t.NamedTuple):
    """One step: what is done, why in this place, what shows that it worked, and how a person does it by hand."""

    name: str
    title: str
    does: str
    why: str
    proof: str
    by_hand: tuple[str, ...]


STEPS = (
    Step(
        "gates",
        "Refuse what cannot go well",
        "Asks the witness, the standby, the hosts of the region, the copy of the media and the name servers, and "
        "refuses with all reasons at once.",
        "Nothing has been touched yet, so nothing has to be taken back.",
        "Every gate is ok, or was accepted by a variable that repeats what was measured.",
        ("ansible-playbook matrixon.ops.dr_failover --check -e dr_failover_to=REGION",),
    ),
    Step(
        "fence",
        "Keep the old region from taking writes",
        "Stops the old homeserver, and stops and masks the old database, where they can be reached, so that the "
        "standby gets the last word. Then tells the witness that nobody may serve. Where the old side cannot be "
        "reached, the next of the fences below must hold.",
        "Two primaries are two databases. Changing DNS fences nothing.",
        "The old server was seen stopped, or the report says who or what vouches for it.",
        (
            "# On each old homeserver host, for each process\nsystemctl disable --now UNIT",
            "# On each old database host\nsystemctl stop postgresql@MAJOR-main\nsystemctl mask postgresql@MAJOR-main",
            "# Or cut the old region off at its power, its network or its cloud",
            "# Then let nobody serve: the claim below, with the region empty",
        ),
    ),
    Step(
        "promote",
        "Make the standby the primary",
        "Lets the standby take what the archive still has, names the loss, claims the region at the witness, and "
        "promotes.",
        "What arrives after the promotion can never be added.",
        "A row is written and read back, the timeline is a new one, and the archive has a segment of it.",
        (
            "# On the standby: all that it has received must be replayed\n"
            "sudo -u postgres psql -c 'SELECT pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()'",
            "# Claim the region as below, or the guard stops what is promoted. Then\n"
            "sudo -u postgres psql -c 'SELECT pg_promote()'",
        ),
    ),
    Step(
        "scale",
        "Start the homeserver of the region",
        "Starts the processes, the main one first, and enables them; then the load balancers that were stopped by a "
        "fence.",
        "A homeserver on a standby cannot write, so it comes after the promotion.",
        "Each process answers, and reads from the database.",
        ("ansible-playbook matrixon.ops.homeserver -e matrixon_active_region=REGION --limit region_REGION",),
    ),
    Step(
        "verify",
        "Try what users and other servers do",
        "Asks through the load balancer of the region, by the public names: versions, federation, keys, login, a "
        "message from one user to another, a file up and down.",
        "Users come only when this works.",
        "Each of them worked through the new region.",
        ("curl --resolve NAME:443:ADDRESS https://NAME/_matrix/client/versions",),
    ),
    Step(
        "switch_dns",
        "Lead the names to the region",
        "Changes the records by the driver of the role dns.",
        "Now there is something to lead to.",
        "Every authoritative name server gives the new addresses.",
        ("dig @NAME_SERVER NAME A",),
    ),
    Step(
        "communicate",
        "Tell people",
        "Sends what happened, what is lost and what comes next, through the role notify.",
        "They hear facts, not intentions.",
        "Each channel says that it has taken the message; one that fails is named in the report.",
        ("# Say what the report says: what is lost, since when it works again, and who to ask",),
    ),
)


class Fence(t.NamedTuple):
    """A way to keep the old region from taking writes: when it holds, and whether that was seen or is believed."""

    method: str
    holds: str
    seen: bool


# In the order in which they count: what was seen comes before what is believed.
FENCES = (
    Fence(
        "ssh",
        "The hosts of the old region are stopped, their database is masked, and they are seen stopped. A primary that "
        "is stopped so has sent all it had: nothing is lost.",
        True,
    ),
    Fence(
        "guard",
        "The guards of all old databases say that they have stopped, after the witness told them that nobody may "
        "serve.",
        True,
    ),
    Fence("lease", "Their leases at the witness have ended, so they stopped by themselves (`dr_guard_lease`).", True),
    Fence(
        "edge",
        "The load balancers of the old region are stopped, with `dr_failover_fence_edge`, where its databases cannot "
        "be reached and nothing else leads to its homeserver.",
        False,
    ),
    Fence(
        "command",
        "`dr_failover_fence_command`, on the controller, has cut the region off and ended with 0: by power, network or "
        "cloud.",
        False,
    ),
    Fence(
        "statement",
        "`dr_failover_fence_statement` and `dr_failover_fence_by`: an operator's word, such as "
        "`one takes no writes: the provider has switched it off`.",
        False,
    ),
)
NAMES = tuple(step.name for step in STEPS)
