# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the inventory of a fleet, and how its hosts' values compare."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import typing as t

from ansible import constants
from ansible.errors import AnsibleFilterError

from ansible_collections.matrixon.ops.plugins.module_utils import _topology
from ansible_collections.matrixon.ops.plugins.module_utils._topology import Fleet, Problem
from ansible_collections.matrixon.ops.plugins.plugin_utils.profile import profile_facts

# A directory that Ansible makes for each run, with a random name: the same for all hosts
# of a run, and another one in the next.
SALT = str(constants.DEFAULT_LOCAL_TMP).encode()


# What roles that use the processes have to ask by themselves, too, for those who use them alone.
_CAUSES = ("is empty", "main process", "port", "not know")
# What Ansible says before it comes to the point.
_WRAPPING = re.compile(
    r"^(Task failed: |Finalization of task args for '[\w.]+' failed: |Error while resolving value for '\w+': )+"
)


def fleet_problems(
    views: list[dict[str, t.Any]],
    groups: dict[str, list[str]],
    profile: t.Any,
    processes: t.Any = None,
    addresses: t.Any = None,
    required_groups: t.Iterable[str] = (),
    lost: t.Iterable[str] = (),
    more: t.Iterable[dict[str, list[str]]] = (),
) -> dict[str, list[str]]:
    """Return what must be mended and what should be looked at, as numbered lists."""
    facts = _facts(profile)
    fleet = Fleet(
        views=[dict(view) for view in views],
        groups={name: [str(host) for host in hosts] for name, hosts in groups.items()},
        processes=_processes(processes, facts),
        addresses=_addresses(addresses),
        facts=facts,
        required_groups=list(required_groups),
    )
    of_fleet = _topology.problems_of(fleet)
    by_role = [(view["name"], str(text)) for view in fleet.views for text in view.get("problems") or []]
    problems = [Problem(text, (name,)) for name, text in by_role if not _is_said(text, of_fleet)]
    problems += [
        Problem("cannot be reached, or cannot run Ansible's modules; see its message above", (name,)) for name in lost
    ]
    problems += [Problem(str(text), (name,)) for some in more for name, texts in some.items() for text in texts]
    problems += of_fleet
    return {
        "errors": _topology.lines(_topology.merged(problem for problem in problems if not problem.warning)),
        "warnings": _topology.lines(_topology.merged(problem for problem in problems if problem.warning)),
    }


def fingerprints(values: dict[str, t.Any]) -> dict[str, str]:
    """Return a few digits for each value that is there: enough to see that two differ, and to see nothing else."""
    return {
        name: hmac.new(SALT, json.dumps(value, sort_keys=True, default=str).encode(), hashlib.sha256).hexdigest()[:6]
        for name, value in values.items()
        if value is not None
    }


def plain_error(message: t.Any, role: str) -> str:
    """Return the error of a task as a sentence about the option that caused it, where that can be known."""
    text = " ".join(str(message).split())
    # The collection's own filters name the option themselves; Ansible puts the way to it around.
    own = re.search(r"The filter plugin '?matrixon\.ops\.\w+'? failed: (?P<text>.+)$", text)
    if own:
        return own["text"]
    missing = re.search(r"'(?P<name>[a-z]\w*)' is undefined", text)
    if missing:
        return f"{missing['name']}: is not defined; give it a value"
    return f"{role}: {_WRAPPING.sub('', text)}"


def _is_said(text: str, of_fleet: list[Problem]) -> bool:
    """Say whether a role complains of a process of which the fleet's rules say the same, and where it is."""
    if not text.startswith("matrixon_processes:"):
        return False
    others = [problem.text for problem in of_fleet if problem.text.startswith("matrixon_processes:")]
    return any(cause in text and cause in other for other in others for cause in _CAUSES)


def _facts(profile: t.Any) -> dict[str, t.Any]:
    """Return the facts of a profile. That there is no such profile was said by the role that needs it."""
    try:
        return profile_facts(profile)
    except AnsibleFilterError:
        return {}


def _processes(processes: t.Any, facts: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """Return the processes with their keys filled in, as far as their kind and ports can be known."""
    found: list[dict[str, t.Any]] = []
    for process in processes if isinstance(processes, list) else []:
        if not isinstance(process, dict):
            continue
        name = facts["topology"]["main"] if facts else "main"
        kind = process.get("kind") or ("main" if process.get("name") == name else "worker")
        # A second main on a host is refused as such; that it wants the ports of the first follows from it.
        first = kind == "main" and ("main", process.get("host")) not in [
            (one["kind"], one.get("host")) for one in found
        ]
        ports = facts["ports"] if facts and first else {}
        defaults = {
            "port": ports.get("client"),
            "metrics_port": ports.get("metrics"),
            "replication_port": ports.get("replication"),
        }
        given = {key: value for key, value in process.items() if value}
        found.append({**defaults, **given, "kind": kind})
    return found


def _addresses(addresses: t.Any) -> dict[str, list[str]]:
    if not isinstance(addresses, dict):
        return {}
    return {
        str(group): [str(one) for one in some] if isinstance(some, (list, tuple)) else [str(some)]
        for group, some in addresses.items()
    }
