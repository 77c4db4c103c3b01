# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What pg_stat_statements counts: its columns of each version, differences of two readings, and texts fit to show."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Row
from ansible_collections.matrixon.ops.plugins.module_utils._probe import AUTH, MISSING_TOOL, ProbeFailure

# Stands in every question of this collector, so that it can leave itself out.
TAG = "/* matrixon.ops performance */"
TEXT_CHARS = 300
MOST_RANKED = 10
# The observer's own may be among the first, and has no rank.
CANDIDATES = 3 * MOST_RANKED

EXTENSION = f"""
SELECT {TAG} e.extversion AS version, quote_ident(n.nspname) AS schema
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'"""

_HERE = "dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
# Words after which a statement has been given names in place of its constants.
_NORMALIZED = re.compile(r"(?i)\s*\(*\s*(select|insert|update|delete|merge|with|values|table)\b")
_QUOTED = re.compile(r"[eE]'(?:[^'\\]|\\.|'')*'?|'(?:[^']|'')*'?|(\$(?:[A-Za-z_]\w*)?\$).*?(?:\1|\Z)")
_OPAQUE = re.compile(r"'|\$(?:[A-Za-z_]\w*)?\$")


class Counted(t.NamedTuple):
    """What one statement took: how often it ran, and the milliseconds of all runs."""

    calls: float
    total: float

    @property
    def mean(self) -> float:
        """Return the milliseconds of one run."""
        return self.total / self.calls if self.calls else 0.0


class Ranked(t.NamedTuple):
    """A statement in a ranking."""

    id: int
    text: str
    counted: Counted


def version(text: str) -> tuple[int, ...]:
    """Return a version such as 1.10 as numbers."""
    return tuple(int(word) for word in re.findall(r"\d+", text))


def failure(database: str, refusal: ProbeFailure) -> ProbeFailure:
    """Return what a refused question about the extension means, with the way out."""
    if refusal.facts.get("sqlstate") == "55000":
        return ProbeFailure(
            MISSING_TOOL,
            "pg_stat_statements is installed but not loaded; put it into shared_preload_libraries "
            "and restart PostgreSQL",
        )
    if refusal.kind == AUTH:
        way = f"GRANT pg_read_all_stats to the login that observes {database}"
        return ProbeFailure(AUTH, f"{refusal.message}; {way}", refusal.facts)
    return refusal


def missing(database: str) -> ProbeFailure:
    """Return the failure of a database without the extension."""
    return ProbeFailure(
        MISSING_TOOL,
        f"pg_stat_statements is not in the database {database}; put it into shared_preload_libraries and run "
        f"CREATE EXTENSION pg_stat_statements there",
    )


def counters_query(extension: Row) -> str:
    """Return the question for all counters, without the texts: those lie in a file that would be read whole.

    A server that was upgraded may keep an older version of the extension, so its columns follow from that.
    """
    number = version(extension["version"])
    total = "total_exec_time" if number >= (1, 8) else "total_time"
    # What ran within a function is counted with its caller already.
    outer = " AND toplevel" if number >= (1, 9) else ""
    return (
        f"SELECT {TAG} queryid AS id, sum(calls)::float8 AS calls, sum({total})::float8 AS total "
        f"FROM {extension['schema']}.pg_stat_statements(false) "
        f"WHERE {_HERE} AND queryid IS NOT NULL{outer} GROUP BY queryid"
    )


def info_query(extension: Row) -> str | None:
    """Return the question for when the counters were last set to zero; older versions do not know."""
    if version(extension["version"]) < (1, 9):
        return None
    return (
        f"SELECT {TAG} extract(epoch FROM stats_reset)::float8 AS reset "
        f"FROM {extension['schema']}.pg_stat_statements_info"
    )


def texts_query(extension: Row, ids: t.Iterable[int]) -> str:
    """Return the question for the texts of some statements, and of all that this collector asked itself."""
    listed = ", ".join(str(int(number)) for number in ids)
    wanted = f"queryid IN ({listed}) OR " if listed else ""
    return (
        f"SELECT {TAG} DISTINCT ON (queryid) queryid AS id, left(query, 4000) AS query, "
        f"position('{TAG}' in query) > 0 AS own FROM {extension['schema']}.pg_stat_statements(true) "
        f"WHERE {_HERE} AND ({wanted}position('{TAG}' in query) > 0) ORDER BY queryid"
    )


def counted(rows: t.Iterable[Row]) -> dict[int, Counted]:
    """Return the counters by statement."""
    return {row["id"]: Counted(row["calls"], row["total"]) for row in rows}


def difference(before: dict[int, Counted], after: dict[int, Counted]) -> dict[int, Counted]:
    """Return what each statement took between two readings.

    One whose count went back was set to zero or pushed out meanwhile: all that it has now is new.
    """
    found = {}
    for number, now in after.items():
        then = before.get(number, Counted(0.0, 0.0))
        if now.calls < then.calls or now.total < then.total:
            then = Counted(0.0, 0.0)
        if now.calls > then.calls:
            found[number] = Counted(now.calls - then.calls, now.total - then.total)
    return found


def candidates(*groups: dict[int, Counted]) -> set[int]:
    """Return the statements that may come into a ranking."""
    ids: set[int] = set()
    for group in groups:
        for key in (_by_total, _by_mean):
            ids |= {number for number, _counted in sorted(group.items(), key=key)[:CANDIDATES]}
    return ids


def ranked(group: dict[int, Counted], texts: t.Mapping[int, str], *, by_mean: bool = False) -> list[Ranked]:
    """Return the first statements of those whose text is known."""
    order = sorted(group.items(), key=_by_mean if by_mean else _by_total)
    known = [Ranked(number, texts[number], each) for number, each in order if number in texts]
    return known[:MOST_RANKED]


def together(group: dict[int, Counted]) -> Counted:
    """Return the sum of all statements."""
    return Counted(sum(each.calls for each in group.values()), sum(each.total for each in group.values()))


def _by_total(item: tuple[int, Counted]) -> tuple[float, int]:
    return -item[1].total, item[0]


def _by_mean(item: tuple[int, Counted]) -> tuple[float, int]:
    return -item[1].mean, item[0]


def shown(query: str | None) -> str:
    """Return a statement on one line, without anything that a person put into quotes.

    The extension puts names in the place of constants, but not in statements such as ALTER ROLE, which may hold a
    password: there everything from the first quote on is left out.
    """
    text = " ".join((query or "").replace(TAG, "").split())
    if _NORMALIZED.match(_without_comments(text)):
        text = _QUOTED.sub("'...'", text)
    else:
        found = _OPAQUE.search(text)
        text = text[: found.start()] + "..." if found else text
    return text if len(text) <= TEXT_CHARS else text[: TEXT_CHARS - 3] + "..."


def _without_comments(text: str) -> str:
    return re.sub(r"\A(?:\s*/\*.*?\*/)+", "", text)
