# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What the page shows of a run: plots, rankings and one sentence. All pure."""

from __future__ import annotations

import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Facts, Limits
from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    UNKNOWN,
    WARNING,
    CheckResult,
    severity,
)


class Plot(t.NamedTuple):
    """How one group of series is drawn. ``check`` is the one whose thresholds are lines in it."""

    title: str
    unit: str
    check: str | None = None


# In this order.
PLOTS = {
    "cpu": Plot("CPU", "%", "cpu"),
    "memory": Plot("Memory in use", "%", "memory"),
    "pressure": Plot("Time in which some task waited (PSI)", "%"),
    "postgresql_connections": Plot("Connections of PostgreSQL", "count"),
    "postgresql_transactions": Plot("Transactions per second", "/s"),
    "load": Plot("Load average of 1 minute", ""),
    "swap": Plot("Pages read back from swap per second", "/s"),
}
PREFIXES = {
    "disk_": Plot("Disk {}: bytes per second", "B"),
    "network_": Plot("Network {}: bytes per second", "B"),
}

_QUERY = (("query", "code"), ("share", "%"), ("total", "ms"), ("mean", "ms"), ("calls", "count"))
_ENDPOINT = (("endpoint", "code"), ("total", "ms"), ("mean", "ms"), ("95 of 100 within", "ms"), ("requests", "count"))


class Ranking(t.NamedTuple):
    """How one table is shown. ``drawn`` is the column that is drawn as a bar."""

    title: str
    columns: tuple[tuple[str, str], ...]
    drawn: int | None = None


RANKINGS = {
    "comparison": Ranking(
        "Compared with the earlier run", (("figure", "text"), ("now", "text"), ("then", "text"), ("times", ""))
    ),
    "queries_total": Ranking("Queries of the interval by total time", _QUERY, 2),
    "queries_mean": Ranking("Queries of the interval by mean time", _QUERY, 3),
    "queries_slower": Ranking(
        "Queries that take longer than they did",
        (("query", "code"), ("mean now", "ms"), ("mean then", "ms"), ("times", "")),
        3,
    ),
    "endpoints": Ranking("Endpoints of the interval by total time", _ENDPOINT, 1),
    "locks": Ranking(
        "Who waits for whom",
        (("waits", "text"), ("for", "s"), ("lock", "text"), ("holder", "text"), ("holder's transaction", "s")),
        1,
    ),
    "processes": Ranking(
        "Processes by CPU",
        (("service", "text"), ("command", "text"), ("process", "text"), ("of one core", "%"), ("memory", "B")),
        3,
    ),
    "queries_total_ever": Ranking("Queries since the counters began, by total time", _QUERY, 2),
    "queries_mean_ever": Ranking("Queries since the counters began, by mean time", _QUERY, 3),
    "endpoints_ever": Ranking("Endpoints since the processes began, by total time", _ENDPOINT, 1),
    "tables_largest": Ranking("Largest tables", (("table", "text"), ("size", "B"), ("rows", "count")), 1),
    "tables_dead": Ranking(
        "Tables by dead rows",
        (("table", "text"), ("dead", "%"), ("dead rows", "count"), ("rows", "count"), ("vacuumed ago", "s")),
        2,
    ),
    "tuning": Ranking(
        "Settings of PostgreSQL",
        (("setting", "code"), ("stands", "text"), ("now", "code"), ("advised", "code"), ("reason", "text")),
    ),
    "guide": Ranking(
        "Settings of the guide on this machine",
        (("setting", "code"), ("value", "code"), ("verdict", "status"), ("reason", "text")),
    ),
}


def plots(series: Facts, limits: t.Mapping[str, Limits], before: Facts, shift: float | None) -> list[Facts]:
    """Return the plots, each with the earlier points laid over, and the thresholds that lie near what was measured."""
    names = [name for name in PLOTS if name in series] + sorted(name for name in series if name not in PLOTS)
    return [_plot(name, series[name], limits, before.get(name), shift) for name in names]


def _plot(name: str, series: Facts, limits: t.Mapping[str, Limits], before: t.Any, shift: float | None) -> Facts:
    plot = PLOTS.get(name) or _prefixed(name)
    drawn = [{"name": what, "role": "measured", "points": points} for what, points in series.items()]
    if shift is not None and isinstance(before, dict):
        drawn += [
            {"name": what, "role": "earlier", "shift_s": round(shift), "points": before[what]}
            for what in series
            if isinstance(before.get(what), list) and before[what]
        ]
    found: Facts = {"name": name, "title": plot.title, "unit": plot.unit, "series": drawn}
    lines = _lines(limits.get(plot.check or "", Limits()))
    return {**found, "lines": lines} if lines else found


def _prefixed(name: str) -> Plot:
    for prefix, plot in PREFIXES.items():
        if name.startswith(prefix):
            return plot._replace(title=plot.title.format(name[len(prefix) :]))
    return Plot(name, "")


def _lines(limits: Limits) -> list[Facts]:
    levels = ((WARNING, limits.warning), (CRITICAL, limits.critical))
    return [{"name": name, "value": value, "status": name} for name, value in levels if value is not None]


def rankings(rows: Facts) -> list[Facts]:
    """Return the tables that have rows, in their order."""
    found = []
    for name, ranking in RANKINGS.items():
        if rows.get(name):
            columns = [{"title": title, "unit": unit} for title, unit in ranking.columns]
            found.append(
                {"name": name, "title": ranking.title, "columns": columns, "rows": rows[name], "bar": ranking.drawn}
            )
    return found


# What is named first where several things are wrong: the cause before what it leads to.
_CAUSES = (
    "postgresql_lock_wait",
    "swap_in",
    "memory",
    "postgresql_slow_query",
    "disk_latency",
    "disk_busy",
    "cpu",
    "process_cpu",
)


def answer(results: t.Sequence[CheckResult], rows: Facts, figures: Facts) -> str:
    """Return what is slow and why, in one sentence."""
    bad = [result for result in results if result.status in (CRITICAL, WARNING)]
    if bad:
        first = min(bad, key=lambda result: (severity(result)[0], _rank(result.name)))
        more = len(bad) - 1
        others = f"; {more} more {'finding' if more == 1 else 'findings'}" if more else ""
        return f"{_capital(first.message)}{others}."
    measured = [result for result in results if result.status == OK]
    if not measured:
        return "Nothing could be measured."
    unknown = sum(result.status == UNKNOWN for result in results)
    unseen = f"; {unknown} checks could not be made" if unknown else ""
    return f"Nothing stands out: {_calm(rows, figures)}{unseen}."


def _rank(name: str) -> int:
    return _CAUSES.index(name) if name in _CAUSES else len(_CAUSES)


def _calm(rows: Facts, figures: Facts) -> str:
    words = []
    for name, title, unit in (
        ("cpu", "CPUs busy", "%"),
        ("memory", "memory in use", "%"),
        ("response_p95", "95 of 100 requests within", "ms"),
        ("query_time", "a query takes", "ms"),
    ):
        if name in figures:
            words.append(f"{title} {human(figures[name], unit)}")
    if rows.get("queries_total"):
        words.append(f"most of the database's time goes into {rows['queries_total'][0][0][:80]}")
    return ", ".join(words) or "what was measured is within its thresholds"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
