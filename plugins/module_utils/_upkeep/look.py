# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The daily look at a database: checks, each declared once, and what the page shows beside them."""

from __future__ import annotations

import dataclasses
import functools
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._health import postgresql as health
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import (
    Check,
    Judge,
    Limits,
    Verdict,
    grade,
    human_seconds,
    skipped,
)
from ansible_collections.matrixon.ops.plugins.module_utils._health.postgresql import PRIMARY
from ansible_collections.matrixon.ops.plugins.module_utils._human import digits, human
from ansible_collections.matrixon.ops.plugins.module_utils._performance import postgresql as performance
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Row
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Facts, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import CRITICAL, OK, WARNING
from ansible_collections.matrixon.ops.plugins.module_utils._upkeep import bloat, plan
from ansible_collections.matrixon.ops.plugins.module_utils._upkeep.questions import catalog

MIB = 1024**2
# Below these a share says nothing.
FEWEST_DEAD_ROWS = 10_000
LEAST_SIZE = 16 * MIB
FEWEST_ROWS = 10_000
MOST_ROWS = 15
NAMES_SHOWN = 5
ESTIMATE = "estimated from the planner's statistics"

RowsJudge = t.Callable[..., t.Union[Verdict, list[Verdict]]]


def _of(*names: str, role: str | None = None) -> t.Callable[[RowsJudge], Judge]:
    """Make a judge of some answers: it is skipped on the other role, and fails as the first failed question did."""

    def decorate(judge: RowsJudge) -> Judge:
        @functools.wraps(judge)
        def judged(facts: Facts, limits: Limits) -> Verdict | list[Verdict]:
            if role not in (None, facts["role"]):
                return skipped(f"asked on the {role} only, and this server is a {facts['role']}")
            return judge(*catalog(facts, *names), facts, limits)

        return judged

    return decorate


def judge_role(facts: Facts, _limits: Limits) -> Verdict:
    """Say what was looked at."""
    identity = facts["identity"]
    return Verdict(OK, f"{facts['server']} is a {facts['role']} of version {identity['version']}")


@_of("options", "tables", role=PRIMARY)
def judge_autovacuum(options: list[Row], tables: list[Row], facts: Facts, limits: Limits) -> Verdict:
    """Judge whether autovacuum does its part."""
    if not options[0]["autovacuum"]:
        return Verdict(CRITICAL, f"autovacuum or track_counts is off on {facts['server']}: nothing removes dead rows")
    left_out = [row for row in tables if not plan.autovacuumed(row, options[0])]
    if left_out:
        return Verdict(WARNING, f"autovacuum is on, but not for {_names(left_out)}")
    return Verdict(OK, "autovacuum is on, for all tables")


@_of("tables", "options", role=PRIMARY)
def judge_dead(tables: list[Row], options: list[Row], facts: Facts, limits: Limits) -> Verdict:
    """Judge the table that is furthest beyond autovacuum's own threshold."""
    many = [row for row in tables if row["dead"] >= FEWEST_DEAD_ROWS]
    if not many:
        total = sum(row["dead"] for row in tables)
        return grade(
            0.0, limits, f"no table has {FEWEST_DEAD_ROWS} dead rows or more; all have {digits(total)} together"
        )
    worst = max(many, key=lambda row: _of_threshold(row, options[0]))
    ago = "never" if worst["vacuumed"] is None else f"{human_seconds(worst['vacuumed'])} ago"
    return grade(
        _of_threshold(worst, options[0]),
        limits,
        f"{_name(worst)} has {digits(worst['dead'])} dead rows ({plan.dead_share(worst):.0f} %), autovacuum's own "
        f"threshold is {digits(plan.threshold(worst, options[0], 'vacuum'))}; vacuumed last: {ago}; tables with "
        f"{FEWEST_DEAD_ROWS} or more: {len(many)}",
    )


def _of_threshold(row: Row, options: Row) -> float:
    return float(100.0 * row["dead"] / max(1.0, plan.threshold(row, options, "vacuum")))


Sized = list[tuple[Row, bloat.Estimate]]


def estimates(facts: Facts) -> tuple[Sized, Sized, int]:
    """Return the estimates of tables and of indexes, and of how many too little is known."""
    tables, indexes, statistics = catalog(facts, "tables", "indexes", "statistics")
    known, block = bloat.widths(statistics), facts["identity"]["block_size"]
    columns = bloat.by_table(known)
    own = [row for row in tables if row["schema"] != "pg_catalog"]
    found = [(row, bloat.of_table(row, columns.get((row["schema"], row["name"]), ()), block)) for row in own]
    others = [(row, bloat.of_index(row, known, block)) for row in indexes if row["method"] == "btree"]
    unknown = sum(each is None and row["pages"] * block >= LEAST_SIZE for row, each in [*found, *others])
    return [(row, one) for row, one in found if one], [(row, one) for row, one in others if one], unknown


def _judge_bloat(at: int, what: str, facts: Facts, limits: Limits) -> Verdict:
    if facts["role"] != PRIMARY:
        return skipped(f"asked on the {PRIMARY} only, and this server is a {facts['role']}")
    tables, indexes, unknown = estimates(facts)
    large = [(row, each) for row, each in (tables, indexes)[at] if each.size >= LEAST_SIZE]
    more = f"; of {unknown} large tables and indexes the planner knows too little" if unknown else ""
    if not large:
        if unknown:
            return skipped(f"not enough data{more}; ANALYZE them, or let this login see pg_stats")
        return grade(0.0, limits, f"no {what} has {human(LEAST_SIZE, 'B')} or more")
    row, worst = max(large, key=lambda pair: pair[1].share)
    wasted = sum(each.wasted for _row, each in large)
    return grade(
        worst.share,
        limits,
        f"{_name(row)} could be {human(worst.wasted, 'B')} smaller than its {human(worst.size, 'B')} "
        f"({worst.share:.0f} %, {ESTIMATE}); {len(large)} large ones together: {human(wasted, 'B')}{more}",
    )


def judge_unused(facts: Facts, limits: Limits) -> Verdict:
    """Judge what all tables and indexes together could do without."""
    if facts["role"] != PRIMARY:
        return skipped(f"asked on the {PRIMARY} only, and this server is a {facts['role']}")
    tables, indexes, _unknown = estimates(facts)
    size = sum(each.size for _row, each in [*tables, *indexes])
    if size < LEAST_SIZE:
        return skipped(f"not enough data: what can be estimated is {human(size, 'B')} in all")
    wasted = sum(each.wasted for _row, each in [*tables, *indexes])
    share = 100.0 * wasted / size
    message = f"{human(wasted, 'B')} of {human(size, 'B')} are unused space ({share:.0f} %, {ESTIMATE})"
    return grade(share, limits, f"{message}; the tables fill theirs again")


@_of("ages", "options", role=PRIMARY)
def judge_wraparound(ages: list[Row], options: list[Row], facts: Facts, limits: Limits) -> list[Verdict]:
    """Judge the ages of transaction and of multixact ids against those at which autovacuum must act."""
    return [
        _judge_age(ages, options[0], key, name, what, facts, limits)
        for key, name, what in (
            ("xid", "autovacuum_freeze_max_age", "transaction id"),
            ("mxid", "autovacuum_multixact_freeze_max_age", "multixact id"),
        )
    ]


def _judge_age(ages: list[Row], options: Row, key: str, name: str, what: str, facts: Facts, limits: Limits) -> Verdict:
    oldest = max(ages, key=lambda row: row[key])
    share = 100.0 * oldest[key] / options[name]
    message = (
        f"the oldest {what}, in database {oldest['database']}, is {digits(oldest[key])} old: {share:.0f} % of {name}, "
        f"from where on autovacuum freezes at any cost"
    )
    return grade(share, limits, message, target=f"{facts['where']} {what}")


@_of("holders")
def judge_horizon(holders: list[Row], facts: Facts, limits: Limits) -> Verdict:
    """Judge who keeps VACUUM from removing rows."""
    aged = [row for row in holders if row["age"] is not None]
    if not aged:
        return grade(0.0, limits, "nobody keeps VACUUM from removing rows")
    oldest = max(aged, key=lambda row: row["age"])
    where = " in the system catalogs" if oldest["catalogs"] else ""
    words = f"what died{where} within the last {digits(oldest['age'])} transactions"
    said = grade(oldest["age"], limits, f"{words} is kept by {plan.holder_words(oldest)}")
    if said.status == OK:
        return said
    return dataclasses.replace(said, message=f"{said.message}; {plan.way_out(oldest)}")


@_of("prepared")
def judge_prepared(rows: list[Row], facts: Facts, limits: Limits) -> Verdict:
    """Judge prepared transactions, which outlive their sessions and hold their locks."""
    if not rows:
        return grade(0.0, limits, "there are no prepared transactions")
    row = rows[0]
    return grade(
        max(0.0, row["seconds"]),
        limits,
        f"the prepared transaction {row['name']} of {row['user']} in {row['database']} is "
        f"{human_seconds(max(0.0, row['seconds']))} old; {plan.PREPARED_WAY_OUT}",
    )


@_of("indexes", "building", role=PRIMARY)
def judge_invalid(indexes: list[Row], building: list[Row], facts: Facts, limits: Limits) -> Verdict:
    """Judge indexes that cost writes and serve no read."""
    busy = {row["table"] for row in building}
    bad = [row for row in indexes if not row["valid"] and row["table_oid"] not in busy]
    if not bad:
        return grade(0.0, limits, f"all {len(indexes)} indexes are valid, or being built")
    left = [row for row in bad if plan.twin_of(row, indexes)]
    note = f"; {len(left)} were left by a rebuild, which the weekly upkeep drops" if left else ""
    return grade(len(bad), limits, f"{len(bad)} invalid indexes, which are written and never read: {_names(bad)}{note}")


@_of("tables", "options", role=PRIMARY)
def judge_last_vacuum(tables: list[Row], options: list[Row], facts: Facts, limits: Limits) -> Verdict:
    """Judge how long ago the large tables were vacuumed and analysed, of those that changed since."""
    due: list[tuple[float, str]] = []
    for row in tables:
        if row["live"] < FEWEST_ROWS or row["schema"] == "pg_catalog":
            continue
        if row["vacuumed"] is not None and row["dead"] + row["inserted"] > 0:
            due.append((row["vacuumed"], f"{_name(row)} was vacuumed {human_seconds(row['vacuumed'])} ago"))
        if row["analyzed"] is not None and row["modified"] > 0:
            due.append((row["analyzed"], f"{_name(row)} was analysed {human_seconds(row['analyzed'])} ago"))
    never = [row for row in tables if row["live"] >= FEWEST_ROWS and row["schema"] != "pg_catalog" and _neglected(row)]
    if never:
        return Verdict(
            WARNING, f"large tables that were never analysed, as far as the statistics know: {_names(never)}"
        )
    if not due:
        return skipped(f"no table with {FEWEST_ROWS} rows or more has changed since its last VACUUM and ANALYZE")
    seconds, words = max(due)
    return grade(seconds, limits, f"of the large tables that changed since, {words}")


def _neglected(row: Row) -> bool:
    return row["analyzed"] is None and bool(row["modified"] or row["dead"])


@_of("checksums", "options")
def judge_checksums(rows: list[Row], options: list[Row], facts: Facts, limits: Limits) -> Verdict:
    """Judge what the server itself saw of damaged pages."""
    if not options[0]["checksums"]:
        return skipped("the cluster has no checksums, so damage is not noticed; pg_checksums adds them")
    failures = rows[0]["failures"]
    if not failures:
        return grade(0.0, limits, "no page with a wrong checksum was read since the statistics began")
    last = f", last at {rows[0]['last']}" if rows[0]["last"] else ""
    return grade(failures, limits, f"{digits(failures)} pages with a wrong checksum in {rows[0]['databases']}{last}")


def _name(row: Row) -> str:
    return f"{row['schema']}.{row['name']}"


def _names(rows: t.Sequence[Row]) -> str:
    more = f" and {len(rows) - NAMES_SHOWN} more" if len(rows) > NAMES_SHOWN else ""
    return ", ".join(_name(row) for row in rows[:NAMES_SHOWN]) + more


# Declarations ------------------------------------------------------------------------------------------------------

_HEALTH = {check.name: check for check in health.CHECKS}
_PERFORMANCE = {check.name: check for check in performance.CHECKS}

CHECKS: tuple[Check, ...] = (
    Check("database_role", "the server answers, and is a primary or a standby", judge_role, gate=True, fixed=True),
    dataclasses.replace(_PERFORMANCE["postgresql_connections"], gate=False),
    Check("database_autovacuum", "autovacuum is on, for every table", judge_autovacuum, fixed=True),
    Check(
        "database_dead_rows",
        "dead rows in percent of autovacuum's own threshold (options of the table included), in the worst table of "
        f"those with {FEWEST_DEAD_ROWS} dead rows or more",
        judge_dead,
        unit="%",
        warning=200,
        critical=1000,
    ),
    Check(
        "database_table_bloat",
        "share of the worst table of 16 MiB or more that it would not need if it were written anew; an estimate",
        functools.partial(_judge_bloat, 0, "table"),
        unit="%",
        warning=50,
    ),
    Check(
        "database_index_bloat",
        "share of the worst B-tree of 16 MiB or more that it would not need if it were built anew; an estimate",
        functools.partial(_judge_bloat, 1, "index"),
        unit="%",
        warning=50,
    ),
    Check(
        "database_unused_space", "share of all tables and B-trees that is unused; an estimate", judge_unused, unit="%"
    ),
    _HEALTH["postgresql_wraparound"],
    Check(
        "database_freeze_age",
        "age of the oldest transaction id and of the oldest multixact id, in percent of the age from which on "
        "autovacuum freezes at any cost",
        judge_wraparound,
        unit="%",
        warning=125,
        critical=300,
    ),
    _PERFORMANCE["postgresql_transaction"],
    _HEALTH["postgresql_idle_in_transaction"],
    Check(
        "database_prepared",
        "age of the oldest prepared transaction",
        judge_prepared,
        unit="s",
        warning=300,
        critical=3600,
    ),
    Check(
        "database_horizon",
        "transactions ago from which on dead rows are kept, and who keeps them: a session, a prepared transaction, a "
        "standby's feedback, a slot",
        judge_horizon,
        unit="count",
        warning=1_000_000,
        critical=50_000_000,
    ),
    _HEALTH["postgresql_slots"],
    Check(
        "database_invalid_indexes",
        "indexes that are not valid and are not being built",
        judge_invalid,
        unit="count",
        warning=1,
    ),
    _PERFORMANCE["postgresql_cache_tables"],
    _PERFORMANCE["postgresql_cache_indexes"],
    Check(
        "database_last_vacuum",
        f"time since the last VACUUM and ANALYZE of the tables with {FEWEST_ROWS} rows or more that changed since",
        judge_last_vacuum,
        unit="s",
        warning=30 * 86400,
    ),
    Check(
        "database_checksums",
        "pages with a wrong checksum that the server has read",
        judge_checksums,
        unit="count",
        critical=1,
    ),
)


# What the page shows -----------------------------------------------------------------------------------------------


def rankings(facts: Facts) -> list[Facts]:
    """Return the tables of the page; what could not be read has none."""
    try:
        (tables, options) = catalog(facts, "tables", "options")
        sized, indexes, _unknown = estimates(facts)
    except (KeyError, ProbeFailure):
        return []
    dead = sorted((row for row in tables if row["dead"] > 0), key=lambda row: -row["dead"])[:MOST_ROWS]
    rows = [
        [
            _name(row),
            row["dead"],
            round(plan.dead_share(row), 1),
            _finite(plan.threshold(row, options[0], "vacuum")),
            row["vacuumed"],
        ]
        for row in dead
    ]
    found = [_ranking("dead_rows", "Dead rows", DEAD_COLUMNS, rows, 2)]
    for name, title, those in (
        ("bloat_tables", "Tables by unused space (an estimate)", sized),
        ("bloat_indexes", "Indexes by bloat (an estimate)", indexes),
    ):
        most = sorted(those, key=lambda pair: -pair[1].wasted)[:MOST_ROWS]
        lines = [[_name(row), each.size, each.wasted, round(each.share, 1)] for row, each in most if each.wasted]
        found.append(_ranking(name, title, BLOAT_COLUMNS, lines, 3))
    return [one for one in found if one["rows"]]


DEAD_COLUMNS = (
    ("table", "code"),
    ("dead", "count"),
    ("share", "%"),
    ("autovacuum's threshold", "count"),
    ("vacuumed ago", "s"),
)
BLOAT_COLUMNS = (("relation", "code"), ("size", "B"), ("unused", "B"), ("share", "%"))


def _ranking(
    name: str, title: str, columns: t.Sequence[tuple[str, str]], rows: list[list[t.Any]], drawn: int | None
) -> Facts:
    named = [{"title": one, "unit": unit} for one, unit in columns]
    return {"name": name, "title": title, "columns": named, "rows": rows, "bar": drawn}


def _finite(value: float) -> float | None:
    return None if value in (float("inf"), float("-inf")) else value
