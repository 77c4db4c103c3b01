# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The steps of an operation one after the other, for who would rather look than read."""

from __future__ import annotations

import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._report import CRITICAL, OK

Document = dict[str, t.Any]

# A step that took no time is seen, too.
LEAST = 0.5


def timeline(hosts: t.Sequence[Document], milliseconds: t.Callable[[str], int]) -> list[Document]:
    """Return the steps that a report tells of in its facts, in the order in which they began.

    ``from`` and ``share`` are where a bar begins and how long it is, in percent of
    the whole time. A step that has not ended lasts until the end of the report.
    """
    steps = [
        (host, name, step)
        for host in hosts
        for name, step in _steps(host).items()
        if isinstance(step, dict) and step.get("started")
    ]
    if not steps:
        return []
    begun = min(milliseconds(step["started"]) for dummy, dummy2, step in steps)
    ended = max(milliseconds(step.get("finished") or host["finished"]) for host, dummy, step in steps)
    whole = max(1, ended - begun)
    rows = []
    for host, name, step in sorted(steps, key=lambda one: milliseconds(one[2]["started"])):
        start = milliseconds(step["started"])
        took = max(0, milliseconds(step.get("finished") or host["finished"]) - start)
        share = max(LEAST, 100 * took / whole)
        rows.append(
            {
                "name": name.replace("_", " "),
                "host": host["target"],
                "took": human(took / 1000, "s"),
                "after": human((start - begun) / 1000, "s"),
                "from": round(min(100 - share, 100 * (start - begun) / whole), 1),
                "share": round(share, 1),
                "status": OK if step.get("finished") else CRITICAL,
            }
        )
    return rows


def _steps(host: Document) -> dict[str, t.Any]:
    found = (host.get("facts") or {}).get("steps")
    return found if isinstance(found, dict) else {}
