# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""PostgreSQL 13 and later over an interval: work, cache, locks, statements, tables, settings."""

from __future__ import annotations

import functools
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _postgresql
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import (
    Check,
    Judge,
    Limits,
    Probe,
    Verdict,
    grade,
    human_bytes,
    human_seconds,
    skipped,
)
from ansible_collections.matrixon.ops.plugins.module_utils._health.postgresql import (
    PRIMARY,
    SETTINGS,
    STANDBY,
    STATS,
    Question,
    answer,
)
from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._performance import advice, sampling, statements
from ansible_collections.matrixon.ops.plugins.module_utils._performance.sampling import Interval, Sample
from ansible_collections.matrixon.ops.plugins.module_utils._performance.statements import TAG, Counted, Ranked
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Row, Server, Session
from ansible_collections.matrixon.ops.plugins.module_utils._probe import AUTH, Deadline, Facts, ProbeFailure

# A share of fewer blocks, checkpoints, calls or rows is chance.
FEWEST_BLOCKS = 1000
# Of all time more are needed: a server that has just been started had to read everything once.
FEWEST_BLOCKS_EVER = 100_000
FEWEST_CHECKPOINTS = 10
FEWEST_CALLS = 10
FEWEST_DEAD_ROWS = 10_000
MOST_TABLES = 10
TEXT_CHARS = 120


IDENTITY = f"""
SELECT {TAG} pg_is_in_recovery() AS in_recovery, current_database() AS database,
       split_part(current_setting('server_version'), ' ', 1) AS version,
       current_setting('server_version_num')::int AS number,
       pg_has_role('{STATS}', 'USAGE') AS {STATS}, pg_has_role('{SETTINGS}', 'USAGE') AS {SETTINGS},
       set_config('lock_timeout', '1s', false) AS lock_timeout"""

_CLIENTS = "backend_type = 'client backend'"
_OTHERS = f"{_CLIENTS} AND pid <> pg_backend_pid()"

# What is asked at each step.
TICK = f"""
SELECT {TAG} (SELECT sum(xact_commit + xact_rollback) FROM pg_stat_database)::float8 AS transactions,
       count(*) AS connections, count(*) FILTER (WHERE state = 'active') AS active,
       count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting
FROM pg_stat_activity WHERE {_OTHERS}"""

WORK = f"""
SELECT {TAG} sum(xact_commit)::float8 AS commits, sum(xact_rollback)::float8 AS rollbacks,
       sum(temp_files)::float8 AS temp_files, sum(temp_bytes)::float8 AS temp_bytes,
       (SELECT sum(heap_blks_hit + coalesce(toast_blks_hit, 0)) FROM pg_statio_user_tables)::float8 AS table_hits,
       (SELECT sum(heap_blks_read + coalesce(toast_blks_read, 0)) FROM pg_statio_user_tables)::float8 AS table_reads,
       (SELECT sum(idx_blks_hit) FROM pg_statio_user_indexes)::float8 AS index_hits,
       (SELECT sum(idx_blks_read) FROM pg_statio_user_indexes)::float8 AS index_reads
FROM pg_stat_database"""

LOCKS = """
SELECT {tag} a.pid, a.usename AS user, a.application_name AS application,
       extract(epoch FROM clock_timestamp() - {since})::float8 AS seconds, l.locktype AS kind,
       l.relation::regclass::text AS relation, b.pid AS blocker, s.usename AS blocker_user,
       s.application_name AS blocker_application, s.state AS blocker_state,
       extract(epoch FROM clock_timestamp() - s.xact_start)::float8 AS blocker_seconds
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
LEFT JOIN LATERAL unnest(pg_blocking_pids(a.pid)) b(pid) ON true
LEFT JOIN pg_stat_activity s ON s.pid = b.pid
WHERE NOT l.granted AND a.backend_type = 'client backend' ORDER BY 4 DESC, 1, b.pid LIMIT 20"""

CONNECTIONS = Question(
    f"""
SELECT {TAG} coalesce(state, 'none') AS state, count(*) AS count,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
       - coalesce(current_setting('reserved_connections', true), '0')::int AS usable
FROM pg_stat_activity WHERE {_CLIENTS} GROUP BY 1 ORDER BY 2 DESC""",
    right=STATS,
)


def questions(number: int) -> dict[str, Question]:
    """Return what is asked at the end of the interval of a server of this version number, such as 150018."""
    checkpoints = (
        "num_timed AS timed, num_requested AS requested FROM pg_stat_checkpointer"
        if number >= 170000
        else "checkpoints_timed AS timed, checkpoints_req AS requested FROM pg_stat_bgwriter"
    )
    since = "coalesce(l.waitstart, clock_timestamp())" if number >= 140000 else "a.query_start"
    return {
        "connections": CONNECTIONS,
        "locks": Question(LOCKS.format(tag=TAG, since=since), right=STATS),
        "transaction": Question(
            f"""
SELECT {TAG} pid, usename AS user, datname AS database, application_name AS application, state,
       extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds
FROM pg_stat_activity WHERE {_OTHERS} AND xact_start IS NOT NULL ORDER BY xact_start LIMIT 1""",
            right=STATS,
        ),
        "checkpoints": Question(f"SELECT {TAG} {checkpoints}", role=PRIMARY),
        "dead": Question(
            f"""
SELECT {TAG} schemaname || '.' || relname AS name, n_live_tup::float8 AS live, n_dead_tup::float8 AS dead,
       extract(epoch FROM clock_timestamp() - greatest(last_vacuum, last_autovacuum))::float8 AS vacuumed
FROM pg_stat_user_tables WHERE n_dead_tup > 0 ORDER BY n_dead_tup DESC LIMIT {MOST_TABLES}"""
        ),
        "largest": Question(
            f"""
SELECT {TAG} schemaname || '.' || relname AS name, pg_total_relation_size(relid)::float8 AS size,
       n_live_tup::float8 AS live
FROM pg_stat_user_tables ORDER BY 2 DESC LIMIT {MOST_TABLES}"""
        ),
        "settings": Question(
            f"""
SELECT {TAG} name, setting, unit, vartype, current_setting(name) AS shown
FROM pg_settings ORDER BY name""",
            right=SETTINGS,
        ),
    }


# Probe -------------------------------------------------------------------------------------------------------------


def observe(server: Server, deadline: Deadline, interval: Interval, machine: advice.Machine) -> Facts:
    """Watch one server for the interval. What cannot be answered leaves its failure in its place."""
    with _postgresql.connect(server, deadline) as session:
        identity = session.row(IDENTITY)
        ask = functools.partial(answer, session, identity=identity, server=server)
        role = STANDBY if identity["in_recovery"] else PRIMARY
        extension = _extension(session, identity)
        asked = questions(identity["number"])
        before = {"work": ask(Question(WORK)), "statements": _count(session, extension, identity)}
        seen: list[t.Any] = []

        def step() -> Facts:
            row = ask(Question(TICK, right=STATS))
            if isinstance(row, list) and row[0]["waiting"]:
                seen.append(ask(asked["locks"]))
            return {"tick": row if isinstance(row, ProbeFailure) else row[0]}

        samples = sampling.sample(step, interval, deadline, f"watching {server}")
        after = {"work": ask(Question(WORK)), "statements": _count(session, extension, identity)}
        facts: Facts = {"role": role, "seconds": sampling.seconds_between(samples), "samples": samples}
        for name, question in asked.items():
            if question.role in (None, role):
                facts[name] = ask(question)
        facts["locks"] = longest_wait(facts["locks"], seen)
        facts["work"] = _both(before["work"], after["work"])
        facts["statements"] = _statements(session, extension, identity, before["statements"], after["statements"])
    facts["advice"] = _advice(facts, machine, identity["number"] // 10000)
    return {**facts, "report": _report(identity, facts)}


def longest_wait(last: list[Row] | ProbeFailure, seen: t.Iterable[t.Any]) -> list[Row] | ProbeFailure:
    """Return the answer with the longest wait of the interval; each has its own longest first."""
    if isinstance(last, ProbeFailure):
        return last
    known = [last, *(rows for rows in seen if isinstance(rows, list))]
    return max(known, key=lambda rows: rows[0]["seconds"] if rows else -1.0)


def _both(before: t.Any, after: t.Any) -> tuple[Row, Row] | ProbeFailure:
    for one in (before, after):
        if isinstance(one, ProbeFailure):
            return one
    return before[0], after[0]


def _extension(session: Session, identity: Row) -> Row | ProbeFailure:
    if not identity[STATS]:
        return ProbeFailure(AUTH, "this login sees its own statements only; GRANT pg_monitor to it")
    try:
        found = session.rows(statements.EXTENSION)
    except ProbeFailure as failure:
        return failure
    return found[0] if found else statements.missing(identity["database"])


def _count(session: Session, extension: Row | ProbeFailure, identity: Row) -> Facts | ProbeFailure:
    if isinstance(extension, ProbeFailure):
        return extension
    try:
        info = statements.info_query(extension)
        return {
            "reset": session.row(info)["reset"] if info else None,
            "counted": statements.counted(session.rows(statements.counters_query(extension))),
        }
    except ProbeFailure as failure:
        return statements.failure(identity["database"], failure)


def _statements(
    session: Session, extension: Row | ProbeFailure, identity: Row, before: t.Any, after: t.Any
) -> Facts | ProbeFailure:
    """Return what the statements took in the interval and since the counters began, without this collector's own."""
    if isinstance(extension, ProbeFailure):
        return extension
    for one in (before, after):
        if isinstance(one, ProbeFailure):
            return one
    restarted = before["reset"] != after["reset"]
    lately = statements.difference({} if restarted else before["counted"], after["counted"])
    ever: dict[int, Counted] = after["counted"]
    try:
        rows = session.rows(statements.texts_query(extension, statements.candidates(lately, ever)))
    except ProbeFailure as failure:
        return statements.failure(identity["database"], failure)
    own = {row["id"] for row in rows if row["own"]}
    return {
        "lately": {number: each for number, each in lately.items() if number not in own},
        "ever": {number: each for number, each in ever.items() if number not in own},
        "texts": {row["id"]: statements.shown(row["query"]) for row in rows if not row["own"]},
        "restarted": restarted,
    }


def _advice(facts: Facts, machine: advice.Machine, major: int) -> list[advice.Line] | ProbeFailure:
    settings = facts["settings"]
    return settings if isinstance(settings, ProbeFailure) else advice.compare(settings, machine, major)


# What goes into the report -----------------------------------------------------------------------------------------


def _report(identity: Row, facts: Facts) -> Facts:
    known: Facts = {"role": facts["role"]}
    report: Facts = {"versions": {"postgresql": identity["version"]}, "postgresql": known}
    ticks = [one for one in facts["samples"] if isinstance(one.facts["tick"], dict)]
    if len(ticks) == len(facts["samples"]):
        report["series"] = _series(ticks)
    if isinstance(facts["connections"], list):
        known["connections"] = {row["state"]: row["count"] for row in facts["connections"]}
        known["usable_connections"] = facts["connections"][0]["usable"]
    report["figures"], report["rankings"] = _figures(facts), _rankings(facts)
    if isinstance(facts["statements"], dict):
        known["statements"] = _known_statements(facts["statements"])
    return report


def _series(ticks: t.Sequence[Sample]) -> Facts:
    def level(name: str) -> sampling.Points:
        return sampling.levels(ticks, "tick", lambda row: row[name])

    return {
        "postgresql_connections": {"all": level("connections"), "active": level("active"), "waiting": level("waiting")},
        "postgresql_transactions": {"transactions": sampling.rates(ticks, "tick", lambda row: row["transactions"])},
    }


def _figures(facts: Facts) -> Facts:
    figures: Facts = {}
    speed = None if isinstance(facts["work"], ProbeFailure) else _transactions(facts)
    if speed is not None:
        figures["transactions"] = speed
    found = facts["statements"]
    if isinstance(found, dict):
        total = statements.together(found["lately"])
        if total.calls >= FEWEST_CALLS:
            figures["query_time"] = total.mean
    return figures


def _transactions(facts: Facts) -> float | None:
    before, after = facts["work"]
    grown = after["commits"] + after["rollbacks"] - before["commits"] - before["rollbacks"]
    return grown / facts["seconds"] if grown >= 0 and facts["seconds"] > 0 else None


def _known_statements(found: Facts) -> Facts:
    """Return the mean of the first statements, for a later run to compare with: text, calls and milliseconds."""
    return {
        str(each.id): [each.text, each.counted.calls, round(each.counted.mean, 3)]
        for each in statements.ranked(found["lately"], found["texts"])
    }


def _rankings(facts: Facts) -> Facts:
    rankings: Facts = {}
    found = facts["statements"]
    if isinstance(found, dict):
        for name, group in (("", found["lately"]), ("_ever", found["ever"])):
            whole = statements.together(group).total or 1.0
            for order, by_mean in (("total", False), ("mean", True)):
                ranked = statements.ranked(group, found["texts"], by_mean=by_mean)
                rankings[f"queries_{order}{name}"] = [_query_row(each, whole) for each in ranked]
    if isinstance(facts["dead"], list):
        rankings["tables_dead"] = [
            [row["name"], _dead_share(row), row["dead"], row["live"], row["vacuumed"]] for row in facts["dead"]
        ]
    if isinstance(facts["largest"], list):
        rankings["tables_largest"] = [[row["name"], row["size"], row["live"]] for row in facts["largest"]]
    if isinstance(facts["locks"], list) and facts["locks"]:
        rankings["locks"] = [_lock_row(row) for row in facts["locks"]]
    if isinstance(facts["advice"], list):
        rankings["tuning"] = [list(line) for line in facts["advice"]]
    return {name: rows for name, rows in rankings.items() if rows}


def _query_row(each: Ranked, whole: float) -> list[t.Any]:
    total, mean = round(each.counted.total, 3), round(each.counted.mean, 3)
    return [each.text, round(100 * each.counted.total / whole, 1), total, mean, each.counted.calls]


def _dead_share(row: Row) -> float:
    return float(round(100.0 * row["dead"] / (row["dead"] + row["live"]), 1))


def _lock_row(row: Row) -> list[t.Any]:
    waits = f"{row['pid']} ({_person(row['user'], row['application'])})"
    holder = _holder(row)
    return [waits, round(max(0.0, row["seconds"]), 3), row["relation"] or row["kind"], holder, row["blocker_seconds"]]


def _person(user: str | None, application: str | None) -> str:
    return ", ".join(word for word in (user, application) if word) or "unknown"


def _holder(row: Row) -> str:
    if row["blocker"] is None:
        return "set free meanwhile"
    if row["blocker"] == 0:
        return "a prepared transaction"
    person = _person(row["blocker_user"], row["blocker_application"])
    return f"{row['blocker']} ({person}, {row['blocker_state']})"


# Judges ------------------------------------------------------------------------------------------------------------


def _of(name: str, role: str | None = None) -> t.Callable[[t.Callable[..., t.Any]], Judge]:
    """Make a judge of one answer: it is skipped on the other role, and fails as the question did."""

    def decorate(judge: t.Callable[..., t.Any]) -> Judge:
        @functools.wraps(judge)
        def judged(facts: Facts, limits: Limits) -> Verdict | list[Verdict]:
            if role not in (None, facts["role"]):
                return skipped(f"asked on the {role} only, and this server is a {facts['role']}")
            if isinstance(facts[name], ProbeFailure):
                raise facts[name]
            return t.cast(Verdict, judge(facts[name], facts, limits))

        return judged

    return decorate


@_of("connections")
def judge_connections(rows: list[Row], facts: Facts, limits: Limits) -> Verdict:
    """Judge the share of the usable connections that is taken."""
    used, usable = sum(row["count"] for row in rows), rows[0]["usable"]
    states = ", ".join(f"{row['count']} {row['state']}" for row in rows)
    share = 100.0 * used / usable
    return grade(share, limits, f"{used} of {usable} usable connections are taken ({share:.0f} %): {states}")


@_of("work")
def judge_transactions(_work: t.Any, facts: Facts, limits: Limits) -> Verdict:
    """Judge how many transactions ended per second."""
    speed = _transactions(facts)
    before, after = facts["work"]
    if speed is None:
        return skipped("not enough data: the statistics were set to zero in the interval")
    rollbacks = max(0.0, after["rollbacks"] - before["rollbacks"]) / facts["seconds"]
    return grade(speed, limits, f"{speed:.1f} transactions per second, {rollbacks:.1f} of them rolled back")


def _judge_cache(what: str, plural: str, _work: t.Any, facts: Facts, limits: Limits) -> Verdict:
    before, after = facts["work"]
    hits, reads = (max(0.0, (after[f"{what}_{x}"] or 0) - (before[f"{what}_{x}"] or 0)) for x in ("hits", "reads"))
    ever_hits, ever_reads = after[f"{what}_hits"] or 0.0, after[f"{what}_reads"] or 0.0
    ever = f"{100 * ever_hits / (ever_hits + ever_reads):.1f} % of all time" if ever_hits + ever_reads else "never read"
    if hits + reads >= FEWEST_BLOCKS:
        share = 100.0 * hits / (hits + reads)
        lately = f"{share:.1f} % of {hits + reads:.0f} blocks of {plural} came from shared_buffers in the interval"
        return grade(share, limits, f"{lately}, {ever}", below=True)
    if ever_hits + ever_reads >= FEWEST_BLOCKS_EVER:
        share = 100.0 * ever_hits / (ever_hits + ever_reads)
        lately = f"{hits + reads:.0f} blocks of {plural} were read in the interval, too few for a share"
        return grade(share, limits, f"{lately}; {ever} came from shared_buffers", below=True)
    return skipped(f"not enough data: {ever_hits + ever_reads:.0f} blocks of {plural} were ever read")


@_of("locks")
def judge_locks(rows: list[Row], facts: Facts, limits: Limits) -> Verdict:
    """Judge the longest wait for a lock, and say who holds it."""
    if not rows:
        return grade(0.0, limits, "no session was seen waiting for a lock")
    row = rows[0]
    seconds = max(0.0, row["seconds"])
    waiting = len({each["pid"] for each in rows})
    held = "" if row["blocker_seconds"] is None else f", in a transaction of {human_seconds(row['blocker_seconds'])}"
    return grade(
        seconds,
        limits,
        f"pid {row['pid']} ({_person(row['user'], row['application'])}) waited {human_seconds(seconds)} for "
        f"{row['relation'] or 'a lock of ' + row['kind']}, held by {_holder(row)}{held}; waiting sessions: {waiting}",
    )


@_of("transaction")
def judge_transaction(rows: list[Row], facts: Facts, limits: Limits) -> Verdict:
    """Judge the transaction that has been open for longest."""
    if not rows:
        return grade(0.0, limits, "no transaction of a client is open")
    row = rows[0]
    seconds = max(0.0, row["seconds"])
    who = f"pid {row['pid']} ({_person(row['user'], row['application'])} on {row['database']}, {row['state']})"
    return grade(seconds, limits, f"the longest transaction, of {who}, is {human_seconds(seconds)} old")


@_of("work")
def judge_temp_files(_work: t.Any, facts: Facts, limits: Limits) -> Verdict:
    """Judge what sorts and hashes wrote to disk for want of work_mem."""
    before, after = facts["work"]
    size = after["temp_bytes"] - before["temp_bytes"]
    files = after["temp_files"] - before["temp_files"]
    if size < 0:
        return skipped("not enough data: the statistics were set to zero in the interval")
    message = (
        f"{files:.0f} temporary files with {human_bytes(size)} in the interval, "
        f"{human_bytes(after['temp_bytes'])} since the statistics began"
    )
    return grade(size / facts["seconds"], limits, message)


@_of("checkpoints", PRIMARY)
def judge_checkpoints(rows: list[Row], facts: Facts, limits: Limits) -> Verdict:
    """Judge how many checkpoints came before their time, because the log was full."""
    timed, requested = rows[0]["timed"], rows[0]["requested"]
    if timed + requested < FEWEST_CHECKPOINTS:
        return skipped(f"not enough data: {timed + requested} checkpoints since the statistics began")
    share = 100.0 * requested / (timed + requested)
    return grade(
        share,
        limits,
        f"{share:.0f} % of {timed + requested} checkpoints came before their time; "
        f"where that is much, max_wal_size is small for the writes",
    )


@_of("statements")
def judge_query_time(found: Facts, facts: Facts, limits: Limits) -> Verdict:
    """Judge the mean time of all statements of the interval."""
    total = statements.together(found["lately"])
    again = ", whose counters were set to zero in it" if found["restarted"] else ""
    if total.calls < FEWEST_CALLS:
        return skipped(f"not enough data: {total.calls:.0f} statements in the interval{again}")
    first = statements.ranked(found["lately"], found["texts"])
    share = 100 * first[0].counted.total / total.total if first and total.total else 0.0
    most = f"; {share:.0f} % of the time went into: {first[0].text[:TEXT_CHARS]}" if first else ""
    return grade(
        total.mean,
        limits,
        f"{total.calls:.0f} statements of the interval{again} took {human(total.mean, 'ms')} in the mean{most}",
    )


@_of("statements")
def judge_slow_query(found: Facts, facts: Facts, limits: Limits) -> Verdict:
    """Judge the statement that took longest in the mean."""
    first = statements.ranked(found["lately"], found["texts"], by_mean=True)
    if not first:
        return skipped("not enough data: no statement ended in the interval")
    slowest = first[0]
    return grade(
        slowest.counted.mean,
        limits,
        f"the slowest statement of the interval ran {slowest.counted.calls:.0f} times and took "
        f"{human(slowest.counted.mean, 'ms')} in the mean: {slowest.text[:TEXT_CHARS]}",
    )


@_of("dead")
def judge_dead_rows(rows: list[Row], facts: Facts, limits: Limits) -> Verdict:
    """Judge the table with the largest share of dead rows, of those where there are many."""
    many = [row for row in rows if row["dead"] >= FEWEST_DEAD_ROWS]
    if not many:
        return grade(0.0, limits, f"no table has {FEWEST_DEAD_ROWS} dead rows or more")
    worst = max(many, key=_dead_share)
    ago = "never" if worst["vacuumed"] is None else f"{human_seconds(worst['vacuumed'])} ago"
    return grade(
        _dead_share(worst),
        limits,
        f"{_dead_share(worst):.0f} % of the rows of {worst['name']} are dead ({worst['dead']:.0f} of them), "
        f"vacuumed last: {ago}",
    )


@_of("advice")
def judge_tuning(lines: list[advice.Line], facts: Facts, limits: Limits) -> Verdict:
    """Judge how many settings are not what they would be set to here."""
    others = [line for line in lines if line.verdict != advice.AS_ADVISED]
    named = "; ".join(f"{line.setting} is {line.now}, advised {line.advised}" for line in others[:3])
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    message = f"{len(others)} of {len(lines)} settings are not as advised for this machine"
    return grade(len(others), limits, f"{message}: {named}{more}" if others else message)


# Declarations ------------------------------------------------------------------------------------------------------

CHECKS = (
    Check(
        "postgresql_connections",
        "share of the usable connections (without the reserved ones) that clients hold",
        judge_connections,
        unit="%",
        warning=80,
        critical=90,
        gate=True,
    ),
    Check("postgresql_transactions", "transactions per second; for information", judge_transactions, unit="/s"),
    *(
        Check(
            f"postgresql_cache_{plural}",
            f"share of the blocks of {plural} that came from shared_buffers, in the interval or, with few, of all time",
            _of("work")(functools.partial(_judge_cache, what, plural)),
            unit="%",
            warning=warning,
            below=True,
        )
        for what, plural, warning in (("table", "tables", 90), ("index", "indexes", 95))
    ),
    Check(
        "postgresql_lock_wait",
        "longest wait for a lock that was seen in the interval, and who holds it",
        judge_locks,
        unit="s",
        warning=5,
        critical=60,
    ),
    Check(
        "postgresql_transaction",
        "age of the longest transaction of a client",
        judge_transaction,
        unit="s",
        warning=300,
        critical=3600,
    ),
    Check(
        "postgresql_temp_files",
        "bytes per second that sorts and hashes wrote to disk",
        judge_temp_files,
        unit="B",
        warning=10 * 1024**2,
    ),
    Check(
        "postgresql_checkpoints",
        "share of the checkpoints since the statistics began that came before their time",
        judge_checkpoints,
        unit="%",
        warning=50,
    ),
    Check(
        "postgresql_query_time",
        "mean time of all statements of the interval (pg_stat_statements)",
        judge_query_time,
        unit="ms",
        warning=100,
    ),
    Check(
        "postgresql_slow_query",
        "mean time of the slowest statement of the interval (pg_stat_statements)",
        judge_slow_query,
        unit="ms",
        warning=1000,
        critical=30_000,
    ),
    Check(
        "postgresql_dead_rows",
        "share of dead rows in the table with the largest one, of those with 10 000 dead rows or more",
        judge_dead_rows,
        unit="%",
        warning=30,
    ),
    Check(
        "postgresql_tuning",
        "settings that are not what the role postgresql would set on this machine; for information",
        judge_tuning,
        unit="count",
    ),
)


def probe(server: Server, machine: advice.Machine, interval: Interval, seconds: float) -> Probe:
    """Return the probe of one server."""

    def run_it(deadline: Deadline) -> Facts:
        return observe(server, deadline, interval, machine)

    return Probe(server.where, CHECKS, run_it, timeout=seconds)
