# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""When the certificates of a fleet end, month by month."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._report import PRECEDENCE

Document = dict[str, t.Any]

EXPIRY = "certificate_expiry"
# The longest bar stands for so many seconds at most, or one authority's ten years would hide all others.
WIDEST = 180 * 86400


def calendar(hosts: t.Sequence[Document]) -> list[Document]:
    """Return the months in which certificates end, the first one first, each with its entries.

    What ends in the same second stands together, as one certificate that was
    seen in several places does; it is as bad as at the worst of them.
    """
    found: dict[datetime.datetime, list[tuple[Document, Document]]] = {}
    for host in hosts:
        for check in host["checks"]:
            if check["name"] == EXPIRY and isinstance(check.get("value"), (int, float)):
                found.setdefault(_end(host["started"], check["value"]), []).append((host, check))
    longest = min(WIDEST, max((check["value"] for seen in found.values() for dummy, check in seen), default=0))
    months: list[Document] = []
    for end in sorted(found):
        name = f"{end:%B %Y}"
        if not months or months[-1]["name"] != name:
            months.append({"name": name, "entries": []})
        months[-1]["entries"].append(_entry(end, found[end], longest))
    return months


def _end(started: str, seconds: float) -> datetime.datetime:
    begun = datetime.datetime.fromisoformat(started.replace("Z", "+00:00"))
    exact = begun + datetime.timedelta(seconds=seconds)
    # Clocks that are read a moment apart name the same second.
    return (exact + datetime.timedelta(milliseconds=500)).replace(microsecond=0)


def _entry(end: datetime.datetime, seen: list[tuple[Document, Document]], longest: float) -> Document:
    status = min((check["status"] for dummy, check in seen), key=PRECEDENCE.index)
    left = min(check["value"] for dummy, check in seen)
    return {
        "date": f"{end:%Y-%m-%d %H:%M} UTC",
        "left": human(left, "s") if left > 0 else f"{human(-left, 's')} ago",
        "status": status,
        "targets": list(dict.fromkeys(check["target"] for dummy, check in seen)),
        "hosts": list(dict.fromkeys(host["target"] for host, dummy in seen)),
        "share": round(100.0 * min(1.0, max(0.0, left / longest)), 1) if longest > 0 else 0.0,
    }
