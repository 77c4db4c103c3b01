"""Verdicts on a server, from answers as it gives them."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Verdict
from ansible_collections.matrixon.ops.plugins.module_utils._performance import advice, postgresql
from ansible_collections.matrixon.ops.plugins.module_utils._performance.statements import Counted
from ansible_collections.matrixon.ops.plugins.module_utils._probe import ProbeFailure

CHECKS = {check.name.removeprefix("postgresql_"): check for check in postgresql.CHECKS}
MIB = 1024**2


def work(**counters: float) -> dict[str, float]:
    names = "commits rollbacks temp_files temp_bytes table_hits table_reads index_hits index_reads"
    return {**dict.fromkeys(names.split(), 0.0), **counters}


def facts(**changes: Any) -> dict[str, Any]:
    return {"role": "primary", "seconds": 10.0, "work": (work(), work()), **changes}


def judged(name: str, given: dict[str, Any]) -> Verdict:
    verdict = CHECKS[name].judge(given, CHECKS[name].limits)
    assert isinstance(verdict, Verdict)
    return verdict


@pytest.mark.parametrize(("used", "status"), [(79, "ok"), (80, "warning"), (89, "warning"), (90, "critical")])
def test_connections(used: int, status: str) -> None:
    rows = [{"state": "idle", "count": used - 9, "usable": 100}, {"state": "active", "count": 9, "usable": 100}]
    verdict = judged("connections", facts(connections=rows))
    assert (verdict.status, verdict.value) == (status, used)
    assert "9 active" in verdict.message


def test_transactions_are_those_of_the_interval() -> None:
    before, after = work(commits=1000, rollbacks=10), work(commits=1500, rollbacks=30)
    verdict = judged("transactions", facts(work=(before, after)))
    assert verdict.value == 52.0 and "2.0 of them rolled back" in verdict.message
    assert judged("transactions", facts(work=(after, before))).status == "skipped"


@pytest.mark.parametrize(("name", "what", "warning"), [("cache_tables", "table", 90), ("cache_indexes", "index", 95)])
def test_cache_hit_ratios(name: str, what: str, warning: int) -> None:
    old = {f"{what}_hits": 1e9, f"{what}_reads": 1.0}
    for share, status in ((warning + 1, "ok"), (warning, "warning")):
        new = {f"{what}_hits": 1e9 + share * 100, f"{what}_reads": 1.0 + (100 - share) * 100}
        verdict = judged(name, facts(work=(work(**old), work(**new))))
        assert (verdict.status, verdict.value) == (status, pytest.approx(share)), verdict
        assert "100.0 % of all time" in verdict.message
    # With few blocks in the interval all time counts, and with few at all nothing does.
    assert judged(name, facts(work=(work(**old), work(**old)))).value == pytest.approx(100.0)
    few = work(**{f"{what}_hits": 50_000.0, f"{what}_reads": 49_999.0})
    verdict = judged(name, facts(work=(few, few)))
    assert verdict.status == "skipped" and "not enough data" in verdict.message


def waiting(seconds: float, **changes: Any) -> dict[str, Any]:
    row = {
        "pid": 7,
        "user": "synapse",
        "application": "worker1",
        "seconds": seconds,
        "kind": "relation",
        "relation": "events",
        "blocker": 9,
        "blocker_user": "postgres",
        "blocker_application": "psql",
        "blocker_state": "idle in transaction",
        "blocker_seconds": 700.0,
    }
    return {**row, **changes}


def test_locks() -> None:
    assert judged("lock_wait", facts(locks=[])).status == "ok"
    for seconds, status in ((4.9, "ok"), (5.0, "warning"), (60.0, "critical")):
        verdict = judged("lock_wait", facts(locks=[waiting(seconds), waiting(1, pid=8)]))
        assert verdict.status == status
    assert "held by 9 (postgres, psql, idle in transaction), in a transaction of 12 min" in verdict.message
    assert "waiting sessions: 2" in verdict.message
    prepared = judged("lock_wait", facts(locks=[waiting(9, blocker=0, blocker_seconds=None)]))
    assert "a prepared transaction" in prepared.message
    freed = judged("lock_wait", facts(locks=[waiting(9, blocker=None, blocker_seconds=None)]))
    assert "set free meanwhile" in freed.message


def test_the_longest_wait_is_that_of_the_whole_interval() -> None:
    failed = ProbeFailure("timeout", "no answer")
    last, earlier = [waiting(0.2)], [waiting(30), waiting(2, pid=8)]
    assert postgresql.longest_wait(last, [earlier, failed, []]) == earlier
    assert postgresql.longest_wait(earlier, [last]) == earlier
    assert postgresql.longest_wait([], []) == []
    assert postgresql.longest_wait(failed, [earlier]) is failed


def test_transactions_that_were_not_counted_are_no_figure_for_a_later_run() -> None:
    found = {"statements": ProbeFailure("auth", "no")}
    before, after = work(commits=1000), work(commits=1500)
    assert postgresql._figures(facts(work=(before, after), **found)) == {"transactions": 50.0}
    assert postgresql._figures(facts(work=(after, before), **found)) == {}


def test_the_longest_transaction() -> None:
    def row(seconds: float) -> dict[str, Any]:
        return {"pid": 1, "user": "a", "database": "d", "application": "", "state": "active", "seconds": seconds}

    assert judged("transaction", facts(transaction=[])).status == "ok"
    for seconds, status in ((299, "ok"), (300, "warning"), (3600, "critical")):
        assert judged("transaction", facts(transaction=[row(seconds)])).status == status


def test_temporary_files() -> None:
    for size, status in ((100 * MIB - 1, "ok"), (100 * MIB, "warning")):
        verdict = judged("temp_files", facts(work=(work(temp_bytes=5 * MIB), work(temp_bytes=5 * MIB + size))))
        assert verdict.status == status
    assert judged("temp_files", facts(work=(work(temp_bytes=5), work()))).status == "skipped"


def test_checkpoints() -> None:
    def rows(timed: int, requested: int) -> dict[str, Any]:
        return facts(checkpoints=[{"timed": timed, "requested": requested}])

    assert judged("checkpoints", rows(51, 49)).status == "ok"
    assert judged("checkpoints", rows(50, 50)).status == "warning"
    assert judged("checkpoints", rows(0, 9)).status == "skipped"
    standby = judged("checkpoints", facts(role="standby"))
    assert standby.status == "skipped" and "this server is a standby" in standby.message


def statements(lately: dict[int, Counted], **changes: Any) -> dict[str, Any]:
    texts = {number: f"SELECT {number}" for number in lately}
    found = {"lately": lately, "ever": lately, "texts": texts, "restarted": False}
    return facts(statements={**found, **changes})


def test_query_time() -> None:
    for total, status in ((9990, "ok"), (10_000, "warning")):
        verdict = judged("query_time", statements({1: Counted(99, total - 1), 2: Counted(1, 1)}))
        assert verdict.status == status and "SELECT 1" in verdict.message
    few = judged("query_time", statements({1: Counted(9, 9000)}))
    assert few.status == "skipped" and "not enough data: 9 statements" in few.message
    reset = judged("query_time", statements({1: Counted(99, 99)}, restarted=True))
    assert "set to zero" in reset.message


def test_the_slowest_query() -> None:
    assert judged("slow_query", statements({})).status == "skipped"
    for mean, status in ((999, "ok"), (1000, "warning"), (30_000, "critical")):
        verdict = judged("slow_query", statements({1: Counted(1000, 1000), 2: Counted(2, 2 * mean)}))
        assert (verdict.status, verdict.value) == (status, mean) and "SELECT 2" in verdict.message
    missing = facts(statements=ProbeFailure("missing_tool", "no extension"))
    for name in ("slow_query", "query_time"):
        with pytest.raises(ProbeFailure, match="no extension"):
            judged(name, missing)


def test_dead_rows() -> None:
    def table(dead: float, live: float) -> dict[str, Any]:
        return {"name": "public.t", "dead": dead, "live": live, "vacuumed": None}

    small = table(9999, 1)
    for dead, status in ((29_900, "ok"), (30_000, "warning")):
        assert judged("dead_rows", facts(dead=[small, table(dead, 100_000 - dead)])).status == status
    assert judged("dead_rows", facts(dead=[small])).status == "ok"
    assert "vacuumed last: never" in judged("dead_rows", facts(dead=[table(50_000, 1)])).message


def test_tuning_is_for_information_and_names_what_differs() -> None:
    lines = [advice.Line("shared_buffers", advice.LOWER, "128MB", "4GB", "a quarter of it")] * 4
    verdict = judged("tuning", facts(advice=[*lines, advice.Line("jit", advice.AS_ADVISED, "off", "off", "x")]))
    assert (verdict.status, verdict.value) == ("ok", 4)
    assert "4 of 5 settings" in verdict.message and "shared_buffers is 128MB, advised 4GB" in verdict.message
    assert "and 1 more" in verdict.message


def test_questions_of_each_version() -> None:
    assert "pg_stat_checkpointer" in postgresql.questions(170000)["checkpoints"].sql
    assert "pg_stat_bgwriter" in postgresql.questions(160000)["checkpoints"].sql
    assert "waitstart" not in postgresql.questions(130000)["locks"].sql
    for question in postgresql.questions(150000).values():
        assert postgresql.TAG in question.sql
