# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The facts of a report: what a page draws, and what an operator wants to read first. Pure."""

from __future__ import annotations

import datetime
import typing as t
from collections import Counter

from ansible_collections.matrixon.ops.plugins.module_utils._human import digits
from ansible_collections.matrixon.ops.plugins.module_utils._security.judge import Seen, Source
from ansible_collections.matrixon.ops.plugins.module_utils._security.model import (
    HOST,
    KINDS,
    LOGINS,
    MODERATION,
    SERVER,
    source_of,
)
from ansible_collections.matrixon.ops.plugins.module_utils._security.pseudonym import Names
from ansible_collections.matrixon.ops.plugins.module_utils._security.tally import HOUR, OTHERS, Row, ranking

# What is drawn: a line for each of these, if there was one such event.
GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("failed logins", LOGINS),
    ("over a rate limit", ("rate_limited",)),
    ("SSH and sudo", ("ssh_failed", "ssh_unknown_user", "sudo_failed", "sudo_refused")),
    ("admin API refused", ("admin_refused",)),
    ("invalid tokens", ("token_refused",)),
    ("federation refused", ("federation_signature", "federation_refused")),
    ("bans and kicks", ("ban", "kick")),
    ("other", ("registration_refused", "account_locked", "banned_user")),
)

# A row names no more kinds than these.
MOST_KINDS = 3
# A week: a fleet has many hosts, and each brings its points.
SHOWN_HOURS = 7 * 24


def stamp(seconds: float) -> str:
    """Return a time as 2026-11-27T09:00:00Z."""
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def plots(hours: t.Mapping[tuple[int, str], int], begun: float, now: float, name: str) -> list[dict[str, t.Any]]:
    """Return the events by hour as a picture. An hour without events has a 0, but only since there are counts."""
    first, last = int(begun // HOUR), int(now // HOUR)
    grid = range(max(first, last - SHOWN_HOURS), last + 1)
    series = []
    for title, kinds in GROUPS:
        counts = [sum(hours.get((hour, kind), 0) for kind in kinds) for hour in grid]
        if any(counts) or kinds is LOGINS:
            points = [[stamp(hour * HOUR), float(count)] for hour, count in zip(grid, counts)]
            series.append({"name": title, "role": "measured", "points": points})
    return [{"name": "events_by_hour", "title": f"Security events by hour on {name}", "unit": "", "series": series}]


def rankings(seen: Seen, connections: Counter[str] | None, top: int) -> list[dict[str, t.Any]]:
    """Return who stands out: addresses, IPv6 networks, users, limits, connections."""
    tally, names = seen.tally, seen.names
    addresses, users = _suspects(tally.addresses), _suspects(tally.users)
    networks = Counter({row: count for row, count in addresses.items() if "/" in source_of(row[2])})
    tables = [
        _table("addresses", "Events by address", "address", ranking(addresses), names.address, top),
        _table("networks", "Events by IPv6 network", "network", ranking(networks, source_of), names.address, top),
        _table("users", "Events by user", "user", ranking(users), names.user, top),
        _limits(tally.details, top),
        _connections(connections or Counter(), names, top),
    ]
    return [table for table in tables if table["rows"]]


def _suspects(rows: Counter[Row]) -> Counter[Row]:
    return Counter({row: count for row, count in rows.items() if row[1] not in MODERATION})


def _table(
    name: str,
    title: str,
    column: str,
    found: list[tuple[str, int, dict[str, int]]],
    named: t.Callable[[str], str],
    top: int,
) -> dict[str, t.Any]:
    rows = []
    for who, count, kinds in found[:top]:
        ordered = sorted(kinds.items(), key=lambda one: (-one[1], one[0]))
        words = ", ".join(f"{KINDS[kind].title} {digits(n)}" for kind, n in ordered[:MOST_KINDS])
        rest = ", and others" if len(ordered) > MOST_KINDS else ""
        rows.append([named(who), float(count), words + rest])
    columns = [{"title": column, "unit": "text"}, {"title": "events", "unit": ""}, {"title": "of them", "unit": "text"}]
    return {"name": name, "title": title, "columns": columns, "rows": rows, "bar": 1}


def _limits(details: Counter[tuple[str, str]], top: int) -> dict[str, t.Any]:
    limits = Counter({detail: count for (kind, detail), count in details.items() if kind == "rate_limited"})
    columns = [{"title": "limit", "unit": "text"}, {"title": "requests", "unit": ""}]
    rows = [[limit, float(count)] for limit, count in sorted(limits.items(), key=lambda one: (-one[1], one[0]))[:top]]
    return {"name": "limits", "title": "Rate limits that were reached", "columns": columns, "rows": rows, "bar": 1}


def _connections(found: Counter[str], names: Names, top: int) -> dict[str, t.Any]:
    columns = [{"title": "address", "unit": "text"}, {"title": "connections", "unit": ""}]
    ordered = sorted(found.items(), key=lambda one: (-one[1], one[0]))[:top]
    rows = [[names.address(address), float(count)] for address, count in ordered]
    return {
        "name": "connections",
        "title": "Connections to the service now",
        "columns": columns,
        "rows": rows,
        "bar": 1,
    }


def answer(seen: Seen, begun: float) -> str:
    """Return the one sentence that says whether somebody tries to get in."""
    blind = [source for source in seen.sources if source.blind]
    caveat = f" Not all was seen: {blind[0].name}: {blind[0].blind}." if blind else ""
    read = {source.origin for source in seen.sources if not source.failure and not source.strange}
    if not read:
        return f"It is not known whether somebody tries to get in: no log was read.{caveat}"
    where = " and ".join(name for origin, name in ((SERVER, "the homeserver"), (HOST, "SSH")) if origin in read)
    kinds = seen.tally.kinds
    failed = sum(kinds[kind] for kind in (*LOGINS, "ssh_failed", "ssh_unknown_user"))
    since = stamp(begun).replace("T", " ")[:16] + " UTC"
    if not failed:
        return f"Nobody failed to log in to {where} since {since}.{caveat}"
    words = f"{digits(failed)} failed logins to {where} since {since}"
    most = [one for one in ranking(_suspects(seen.tally.addresses), source_of) if one[0] != OTHERS]
    if most:
        words += f"; {seen.names.address(most[0][0])} stands out with {digits(most[0][1])} events"
    return f"{words}.{caveat}"


def sources(found: t.Sequence[Source]) -> list[dict[str, t.Any]]:
    """Return what was read of each log."""
    return [
        {
            "name": one.name,
            "origin": one.origin,
            "lines": one.lines,
            "bytes": one.size,
            "files": one.files,
            "long_lines": one.cut,
        }
        for one in found
    ]
