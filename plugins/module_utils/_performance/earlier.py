# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The figures of this run beside those of an earlier one. All pure."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._fleet import is_number
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import (
    Check,
    Facts,
    Limits,
    Verdict,
    grade,
    human_seconds,
    skipped,
)
from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._performance.sampling import Points
from ansible_collections.matrixon.ops.plugins.module_utils._probe import PARSE, ProbeFailure

FORMAT = "%Y-%m-%dT%H:%M:%S.%f%z"


class Figure(t.NamedTuple):
    """A figure that is compared. ``floor`` is the difference below which it is not worth a word.

    ``slower`` marks those that are bad when they grow, whatever the load is.
    """

    title: str
    unit: str
    floor: float
    slower: bool = False


FIGURES = {
    "query_time": Figure("mean query time", "ms", 1.0, True),
    "response_p95": Figure("95th percentile of the response time", "ms", 10.0, True),
    "response_time": Figure("mean response time", "ms", 5.0, True),
    "cpu": Figure("busy CPUs", "%", 5.0),
    "iowait": Figure("waiting for disks", "%", 5.0),
    "memory": Figure("memory in use", "%", 5.0),
    "transactions": Figure("transactions", "/s", 5.0),
}
# A statement that ran less often, or that grew by less, is no news.
FEWEST_CALLS, QUERY_FLOOR_MS = 5.0, 1.0
MOST_QUERIES = 10
MOST_POINTS = 120


class Earlier(t.NamedTuple):
    """What an earlier run kept of this host, or why there is none."""

    taken: datetime.datetime | None
    kept: Facts
    reason: str = ""


class Change(t.NamedTuple):
    """One figure, then and now."""

    title: str
    unit: str
    before: float
    now: float
    slower: bool

    @property
    def ratio(self) -> float | None:
        """Return how many times larger it is; None where it was nothing."""
        return self.now / self.before if self.before > 0 else None

    def row(self) -> list[t.Any]:
        """Return the change as a line of a table: figure, now, then, how many times."""
        times = None if self.ratio is None else round(self.ratio, 2)
        return [self.title, human(self.now, self.unit), human(self.before, self.unit), times]

    def words(self) -> str:
        """Return the change as a person says it."""
        values = f"{human(self.now, self.unit)}, was {human(self.before, self.unit)}"
        return f"{self.title} {values}" if self.ratio is None else f"{self.title} {self.ratio:.1f}x ({values})"


def read(document: t.Any) -> Earlier:
    """Return what a caller gave as the earlier run; one that cannot be read is none, with the reason."""
    given = document if isinstance(document, dict) else {}
    if not given or given.get("reason"):
        return Earlier(None, {}, str(given.get("reason") or "no earlier run was given"))
    try:
        taken = datetime.datetime.strptime(given["finished"], FORMAT)
        kept = given["kept"]
        if not isinstance(kept, dict):
            raise TypeError("it kept nothing")
    except (KeyError, TypeError, ValueError) as error:
        return Earlier(None, {}, f"the earlier run cannot be read ({error})")
    return Earlier(taken, kept)


def keep(facts: Facts) -> Facts:
    """Return what a later run needs of this one: a few KB."""
    return {
        "figures": {name: round(value, 3) for name, value in facts.get("figures", {}).items()},
        "series": {
            name: {what: _thinned(points) for what, points in found.items() if name != "cpu" or what == "busy"}
            for name, found in facts.get("series", {}).items()
            if name in ("cpu", "memory", "postgresql_transactions")
        },
        "statements": facts.get("postgresql", {}).get("statements", {}),
    }


def _thinned(points: Points) -> Points:
    """Return every so many points, so that a run of many samples is still small enough for the history."""
    return points[:: -(-len(points) // MOST_POINTS) or 1]


def changes(figures: Facts, kept: Facts) -> list[Change]:
    """Return every figure that both runs know."""
    before = kept.get("figures")
    known = before if isinstance(before, dict) else {}
    found = []
    for name, figure in FIGURES.items():
        then, now = known.get(name), figures.get(name)
        if is_number(then) and is_number(now):
            found.append(Change(figure.title, figure.unit, t.cast(float, then), t.cast(float, now), figure.slower))
    return found


def worth_a_word(found: t.Iterable[Change]) -> list[Change]:
    """Return the changes that are beyond chance, the largest first."""
    floors = {figure.title: figure.floor for figure in FIGURES.values()}
    large = [change for change in found if abs(change.now - change.before) >= floors[change.title]]
    return sorted(large, key=lambda change: -_size(change))


def _size(change: Change) -> float:
    ratio = change.ratio
    if ratio is None:
        return float("inf")
    return max(ratio, 1 / ratio) if ratio > 0 else float("inf")


def slower_queries(now: t.Any, kept: Facts) -> list[list[t.Any]]:
    """Return rows of the statements that take longer than they did: text, now, then, ratio."""
    before = kept.get("statements")
    if not isinstance(before, dict) or not isinstance(now, dict):
        return []
    rows = []
    for number, (text, calls, mean) in now.items():
        then = before.get(number)
        if not isinstance(then, list) or len(then) != 3 or not is_number(then[2]) or not is_number(then[1]):
            continue
        if min(calls, then[1]) >= FEWEST_CALLS and mean - then[2] >= QUERY_FLOOR_MS and then[2] > 0:
            rows.append([text, mean, then[2], round(mean / then[2], 1)])
    return sorted(rows, key=lambda row: -row[3])[:MOST_QUERIES]


def judge(facts: Facts, limits: Limits) -> Verdict:
    """Judge how many times longer something takes than it did; the load itself may change as it likes."""
    earlier: Earlier = facts["earlier"]
    if earlier.taken is None:
        return skipped(f"nothing to compare with: {earlier.reason}")
    found: list[Change] = facts["changes"]
    if not found:
        raise ProbeFailure(PARSE, "the earlier run and this one have no figure in common")
    since = f"compared with {human_seconds(facts['seconds'])} ago ({earlier.taken:%Y-%m-%d %H:%M} UTC)"
    told = worth_a_word(found)
    slower = [change.ratio for change in told if change.slower and change.ratio is not None]
    words = "; ".join(change.words() for change in told) or "no figure is different beyond chance"
    return grade(max(slower, default=1.0), limits, f"{since}: {words}")


COMPARISON = Check(
    "comparison",
    "how many times longer queries and requests take than in the run of about a week ago",
    judge,
    warning=3,
)
