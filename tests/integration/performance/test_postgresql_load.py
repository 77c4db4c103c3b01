"""What the report says of a server whose load is known."""

from __future__ import annotations

import collections
import contextlib
import pathlib
import re
import socket
import subprocess
import time
import typing as t

import pytest
from clusters import Cluster
from loaded import DATABASE, PASSWORD, Answer, ask, load, postgresql, running, tool


def until(true: t.Callable[[], t.Any], seconds: float = 30) -> t.Any:
    """What a question answers once it is true."""
    end = time.monotonic() + seconds
    while True:
        found = true()
        if found:
            return found
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def loaded(busy: Cluster, base: pathlib.Path) -> Answer:
    """The report of a server with many short statements beside a slow one."""
    busy.sql("SELECT pg_stat_statements_reset()", DATABASE)
    with load(busy, base):
        ran = "SELECT count(*) FROM pg_stat_statements WHERE query LIKE '%pg_sleep%' AND calls > 0"
        until(lambda: int(busy.sql(ran, DATABASE)))
        pid_file = str(busy.data / "postmaster.pid")
        return ask(
            interval=4,
            postgresql=postgresql(busy),
            processes=[{"name": "postgresql", "pid_file": pid_file}],
            ports=[{"name": "postgresql", "port": busy.port}],
        )


def test_the_slow_query_is_found_first(loaded: Answer) -> None:
    for name in ("queries_total", "queries_mean", "queries_total_ever", "queries_mean_ever"):
        first = loaded.ranking(name)[0]
        assert "pg_sleep" in first[0], (name, loaded.ranking(name))
    text, share, total, mean, calls = loaded.ranking("queries_total")[0]
    # The sleep alone is 250 ms; it ran one after the other for 4 s.
    assert 250 <= mean < 2000 and 2 <= calls <= 17 and total == pytest.approx(mean * calls, rel=0.01) and share > 50
    # Its constant is a name, and the collector's own questions have no rank.
    assert re.search(r"abalance = \$\d", text), text
    assert not any("matrixon" in row[0] or "pg_stat" in row[0] for row in loaded.ranking("queries_total"))
    slow = loaded.check("postgresql_slow_query")
    assert slow["value"] == pytest.approx(mean, rel=0.01) and "pg_sleep" in slow["message"]


def test_work_is_counted(loaded: Answer) -> None:
    # 40 short ones and 4 slow ones per second, and what the test itself asks.
    assert 20 < loaded.check("postgresql_transactions")["value"] < 80
    assert loaded.check("postgresql_query_time")["value"] < loaded.check("postgresql_slow_query")["value"]
    # The slow one reads the whole table each time.
    assert 50 < loaded.check("postgresql_cache_tables")["value"] <= 100
    assert loaded.check("postgresql_cache_indexes")["status"] in ("ok", "warning", "skipped")
    names = [row[0] for row in loaded.ranking("tables_largest")]
    assert names[0] == "public.pgbench_accounts"


def test_its_processes_are_seen(loaded: Answer) -> None:
    check = loaded.check("process_memory", "postgresql")
    # The shared buffers of 64 MB count once, however many processes map them.
    assert 0 < check["value"] < 300e6
    assert loaded.facts["services"]["postgresql"]["processes"] > 5
    assert loaded.check("process_cpu", "postgresql")["status"] in ("ok", "warning")


def test_the_report_can_be_drawn(loaded: Answer) -> None:
    plots = {plot["name"]: plot for plot in loaded.facts["plots"]}
    assert {"cpu", "memory", "postgresql_connections", "postgresql_transactions"} <= set(plots)
    points = plots["postgresql_connections"]["series"][0]["points"]
    assert len(points) == 5 and [when for when, _value in points] == sorted(when for when, _value in points)
    assert loaded.facts["answer"].endswith(".")
    assert PASSWORD not in loaded.output


def test_the_settings_are_held_against_the_machine(loaded: Answer) -> None:
    rows = {row[0]: row for row in loaded.ranking("tuning")}
    assert rows["max_connections"][1:4] == ["as advised", "120", "120"]
    assert rows["jit"][1] == "other" and rows["shared_buffers"][2] == "64MB"
    assert all(row[4] for row in rows.values())
    # What differs comes first.
    stands = [row[1] for row in loaded.ranking("tuning")]
    assert stands == sorted(stands, key=lambda word: word == "as advised")


def test_the_collector_tells_what_it_takes_itself(loaded: Answer) -> None:
    footprint = loaded.facts["footprint"]
    # It ends a little after it has counted, and what its starter holds is not its own.
    assert 0 < footprint["cpu_seconds"] <= loaded.cpu_seconds
    assert 1e6 < footprint["memory_bytes"] < 120e6


def test_connections_are_those_that_ss_counts(busy: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener, contextlib.ExitStack() as stack:
        port = listener.getsockname()[1]
        for _number in range(23):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        half_closed = socket.create_connection(("127.0.0.1", port))
        stack.enter_context(half_closed)
        half_closed.shutdown(socket.SHUT_WR)
        answer = ask(interval=1, samples=2, ports=[{"name": "service", "port": port}])
        listing = subprocess.run(
            ["ss", "-Hant", f"sport = :{port}"], capture_output=True, text=True, check=True, timeout=30
        ).stdout
    counted = collections.Counter(line.split()[0].lower().replace("-", "_") for line in listing.splitlines())
    words = {"estab": "established"}
    expected = {words.get(state, state): count for state, count in counted.items()}
    found = dict(answer.facts["connections"]["service"])
    assert found.pop("port") == port
    assert found == expected and found["established"] == 23 and found["close_wait"] == 1
    assert answer.check("connections")["value"] == 23


def test_who_waits_for_whom_is_told(busy: Cluster) -> None:
    sql = "BEGIN; SELECT * FROM pgbench_branches FOR UPDATE; SELECT 'locked';\n"
    environment = {"PGAPPNAME": "holder"}
    psql = tool(busy, "psql", DATABASE, "-XqAt")
    with running(psql, env=environment) as holder:
        assert holder.stdin and holder.stdout
        holder.stdin.write(sql)
        holder.stdin.flush()
        for line in holder.stdout:
            if line.strip() == "locked":
                break
        with running([*psql[:-1], "-c", "UPDATE pgbench_branches SET bbalance = 1", DATABASE], env={"PGAPPNAME": "w"}):
            until(lambda: int(busy.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")))
            answer = ask(postgresql=postgresql(busy), thresholds={"postgresql_lock_wait": {"warning": 0.1}})
    check = answer.check("postgresql_lock_wait")
    assert check["status"] == "warning" and "(postgres, w)" in check["message"], check
    assert "held by" in check["message"] and "(postgres, holder, idle in transaction)" in check["message"], check
    waits, seconds, _lock, holder_text, _age = answer.ranking("locks")[0]
    assert "postgres, w" in waits and seconds > 0.1 and "holder" in holder_text
    transaction = answer.check("postgresql_transaction")
    assert transaction["value"] > 0.1 and "holder" in transaction["message"]


def test_the_collector_does_not_count_itself(busy: Cluster) -> None:
    # A statement of the test before counts when it ends, which may be a moment after its client did.
    others = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    until(lambda: int(busy.sql(others)) == 0)
    answer = ask(samples=15, postgresql=postgresql(busy))
    check = answer.check("postgresql_query_time")
    assert check["status"] == "skipped" and "not enough data: 0 statements" in check["skipped_reason"], check
    assert answer.ranking("queries_total") == [], answer.ranking("queries_total")


def test_check_mode_says_the_same(busy: Cluster) -> None:
    names = [
        {check["name"] for check in ask(interval=1, check_mode=mode, postgresql=postgresql(busy)).report["checks"]}
        for mode in (False, True)
    ]
    assert names[0] == names[1]
