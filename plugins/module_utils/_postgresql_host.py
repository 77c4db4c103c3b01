# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What a host says of PostgreSQL on it without a running server: parsers, all pure."""

from __future__ import annotations

import re
import typing as t

# The major version that a distribution brings.
MAJORS = {
    ("debian", "12"): 15,
    ("debian", "13"): 17,
    ("ubuntu", "22.04"): 14,
    ("ubuntu", "24.04"): 16,
}

# What pg_controldata calls the settings in which a standby may not fall behind its primary.
LIMITS = {
    "max_connections setting": "max_connections",
    "max_worker_processes setting": "max_worker_processes",
    "max_wal_senders setting": "max_wal_senders",
    "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
}


def os_release(content: str) -> tuple[str, str]:
    """Return the id and the version of a distribution."""
    values = dict(re.findall(r'^([A-Z_]+)="?([^"\n]*)"?$', content, re.MULTILINE))
    return values.get("ID", ""), values.get("VERSION_ID", "")


def memory_bytes(meminfo: str, limit: str = "") -> int:
    """Return the memory of the machine, or the smaller limit of the control group."""
    found = re.search(r"^MemTotal:\s+(\d+) kB$", meminfo, re.MULTILINE)
    total = int(found.group(1)) * 1024 if found else 0
    return min(total, int(limit)) if limit.strip().isdigit() else total


def control_data(output: str) -> dict[str, t.Any]:
    """Return what matters of pg_controldata's output in the C locale."""
    lines = (line.partition(":") for line in output.splitlines())
    values = {name.strip(): value.strip() for name, dummy, value in lines}
    return {
        "system_identifier": values.get("Database system identifier", ""),
        "state": values.get("Database cluster state", ""),
        "checksums": values.get("Data page checksum version", "0") != "0",
        "timeline": timeline(values),
        "limits": {setting: int(values[name]) for name, setting in LIMITS.items() if name in values},
    }


def timeline(values: dict[str, str]) -> int:
    """Return the latest timeline that a control file knows: a promotion is noted before its first checkpoint."""
    names = ("Latest checkpoint's TimeLineID", "Min recovery ending loc's timeline")
    return max(int(values.get(name, "0")) for name in names)


def rivals(own: dict[str, t.Any], others: dict[str, dict[str, t.Any] | None]) -> list[str]:
    """Return why a server that is stopped must not be started as the primary: one sentence for each reason.

    own and others are what the servers' hosts say; an other one is None if its host could not be asked.
    """
    found = []
    for name, other in others.items():
        if own["data"] != "cluster":
            # A new cluster has nothing in common with what could not be seen.
            if other and other["data"] == "cluster":
                found.append(f"{name} has a cluster already, and an empty one would be made here")
            continue
        if other is None:
            found.append(f"{name} could not be asked what it holds")
            continue
        if other["data"] != "cluster" or not _same_cluster(own, other):
            continue
        known, here = other["control"]["timeline"], own["control"]["timeline"]
        if known > here:
            what = "follows" if other["standby"] else "was promoted to"
            found.append(f"{name} {what} timeline {known} of this cluster, and the data here ends on timeline {here}")
        elif other["running"] and not other["standby"]:
            found.append(f"{name} runs as a primary of this cluster")
    return found


def _same_cluster(own: dict[str, t.Any], other: dict[str, t.Any]) -> bool:
    ours, theirs = own["control"]["system_identifier"], other["control"]["system_identifier"]
    return bool(ours) and ours == theirs


def setting(content: str, name: str) -> str:
    """Return the value that a configuration file gives a setting last, or nothing."""
    found = re.findall(rf"^\s*{re.escape(name)}\s*=?\s*('(?:[^']|'')*'|[^\s#]+)", content, re.MULTILINE)
    return found[-1].strip("'").replace("''", "'") if found else ""
