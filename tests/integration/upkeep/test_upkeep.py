"""The module against a real server: what it does, what it leaves to a person, what it never says."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
import typing as t

import jsonschema
import pytest
from clusters import Cluster, make_owned, run
from upkept import DATABASE, ROOT, ask, drop, neglect, session, until

from ansible_collections.matrixon.ops.plugins.module_utils import _postgresql
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Server
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._upkeep import act, questions
from ansible_collections.matrixon.ops.plugins.module_utils._upkeep.plan import REINDEX, VACUUM, Rules, Work

pytestmark = pytest.mark.integration

SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())


@pytest.fixture
def tables(upkept: Cluster) -> t.Iterator[Cluster]:
    """The server with two neglected tables."""
    neglect(upkept, "events")
    neglect(upkept, "rooms", 2000)
    yield upkept
    drop(upkept, "events", "rooms")


def dead(server: Cluster, name: str) -> int:
    return int(server.sql(f"SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = '{name}'", DATABASE))


def index_size(server: Cluster, name: str) -> int:
    return int(server.sql(f"SELECT pg_relation_size('{name}')", DATABASE))


def invalid(server: Cluster) -> list[str]:
    found = server.sql("SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid", DATABASE)
    return sorted(found.split())


def test_it_plans_does_proves_and_has_nothing_left_to_do(tables: Cluster) -> None:
    before = index_size(tables, "events_body")
    planned = ask(tables, mode="act", check_mode=True)
    assert planned.changed and dead(tables, "events") == 12_000, "check mode does nothing"
    assert [one["target"] for one in planned.plan] == ["public.events", "public.rooms"]
    assert "12\N{NO-BREAK SPACE}000 of 20\N{NO-BREAK SPACE}000 rows are dead (60 %)" in planned.plan[0]["why"]
    assert planned.check("upkeep_vacuum", "public.events")["status"] == "skipped", "planned is not done"

    done = ask(tables, mode="act")
    jsonschema.validate(done.report, SCHEMA)
    assert done.changed and done.report["status"] == "ok", done.document["msg"]
    assert dead(tables, "events") == dead(tables, "rooms") == 0
    assert index_size(tables, "events_body") < before / 2 and invalid(tables) == []
    vacuumed, rebuilt = done.check("upkeep_vacuum", "public.events"), done.check("upkeep_reindex", "public.events_body")
    assert "dead rows: 12\N{NO-BREAK SPACE}000 before, 0 now" in vacuumed["message"] and vacuumed["value"] == 0
    assert rebuilt["value"] == index_size(tables, "events_body") and "valid" in rebuilt["message"]

    again = ask(tables, mode="act")
    assert not again.changed and again.plan == [] and again.report["status"] == "ok"
    assert [one["name"] for one in again.report["checks"]] == ["upkeep_gates"]


def test_a_locked_table_is_left_to_a_person_and_the_others_go_on(tables: Cluster) -> None:
    with session(tables, "LOCK TABLE events IN SHARE MODE", name="worker1") as cursor:
        pid = cursor.connection.info.backend_pid
        looked = ask(tables)
        done = ask(tables, mode="act", reindex=False)
    assert looked.report["counts"]["unknown"] == 0, "who looks waits for nobody"
    found = done.check("upkeep_vacuum", "public.events")
    assert found["status"] == "warning" and f"lock ShareLock held by pid {pid} (postgres, worker1" in found["message"]
    assert "idle in transaction, since" in found["message"] and found["message"].startswith("needs a person")
    assert dead(tables, "events") == 12_000 and dead(tables, "rooms") == 0
    assert done.check("upkeep_vacuum", "public.rooms")["status"] == "ok" and done.changed


def test_an_exclusive_lock_hangs_neither_the_look_nor_the_plan(tables: Cluster) -> None:
    with session(tables, "LOCK TABLE events, rooms IN ACCESS EXCLUSIVE MODE"):
        looked = ask(tables, deadline=20)
        done = ask(tables, mode="act")
    assert looked.report["counts"]["unknown"] == 0 and looked.check("database_dead_rows")["value"] > 100
    assert [one["status"] for one in done.checks("upkeep_vacuum")] == ["warning", "warning"] and not done.changed


def test_rows_that_a_transaction_keeps_are_named_with_it_and_not_vacuumed_in_vain(upkept: Cluster) -> None:
    begin = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ"
    with session(upkept, begin, "SELECT txid_current()", name="report") as cursor:
        pid = cursor.connection.info.backend_pid
        neglect(upkept, "events")
        done = ask(upkept, mode="act", reindex=False)
        found = done.check("upkeep_vacuum", "public.events")
        assert found["status"] == "warning" and dead(upkept, "events") == 12_000
        words = "12\N{NO-BREAK SPACE}000 dead rows cannot be removed: kept by a transaction of pid"
        assert f"{words} {pid} (postgres, report" in found["message"]

        again = ask(upkept, mode="act", reindex=False)
        held = again.check("upkeep_vacuum", "public.events")
        assert not again.changed and held["status"] == "warning" and f"pid {pid}" in held["message"]
        assert "another VACUUM would remove nothing" in held["message"]
        horizon = ask(upkept, thresholds={"database_horizon": {"warning": 1}}).check("database_horizon")
        assert horizon["status"] == "warning" and f"pid {pid}" in horizon["message"]
    assert ask(upkept, mode="act", reindex=False).changed and dead(upkept, "events") == 0
    drop(upkept, "events")


def test_a_rebuild_that_was_cancelled_leaves_nothing_behind(tables: Cluster) -> None:
    assert ask(tables, mode="act", reindex=False).changed
    with session(tables, "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT 1", name="old") as cursor:
        pid = cursor.connection.info.backend_pid
        done = ask(tables, mode="act", skip=["public.rooms_body"])
    found = done.check("upkeep_reindex", "public.events_body")
    assert found["status"] == "warning" and f"pid {pid} (postgres, old" in found["message"]
    assert "its leftover events_body_ccnew was dropped" in found["message"] and invalid(tables) == []
    assert done.check("upkeep_reindex", "public.rooms_body")["skipped_reason"].startswith("left out by the option skip")


def test_only_what_a_rebuild_left_is_dropped(tables: Cluster) -> None:
    for statement in (
        "CREATE UNIQUE INDEX CONCURRENTLY rooms_changed ON rooms (changed)",
        "CREATE UNIQUE INDEX CONCURRENTLY rooms_body_ccnew9 ON rooms (changed)",
    ):
        with pytest.raises(AssertionError, match="could not create unique index"):
            tables.sql(statement, DATABASE)
    rebuild = "SET lock_timeout = '100ms';\nREINDEX INDEX CONCURRENTLY events_body"
    with (
        session(tables, "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT 1"),
        pytest.raises(AssertionError, match="lock timeout"),
    ):
        tables.psql(DATABASE, rebuild)
    assert invalid(tables) == ["events_body_ccnew", "rooms_body_ccnew9", "rooms_changed"]
    looked = ask(tables).check("database_invalid_indexes")
    assert looked["value"] == 3 and "1 were left by a rebuild" in looked["message"]

    done = ask(tables, mode="act", reindex=False)
    assert done.check("upkeep_drop_index", "public.events_body_ccnew")["status"] == "ok"
    assert invalid(tables) == ["rooms_body_ccnew9", "rooms_changed"]
    strange = {one["target"] for one in done.checks("upkeep_invalid_index") if one["status"] == "warning"}
    assert strange == {"public.rooms_body_ccnew9", "public.rooms_changed"}


def test_old_rows_are_frozen_and_the_age_shows_it(tables: Cluster) -> None:
    tables.sql("DO 'BEGIN FOR i IN 1..250 LOOP PERFORM txid_current(); COMMIT; END LOOP; END'", DATABASE)
    done = ask(tables, mode="act", reindex=False, freeze_share=0.0001)
    assert 'VACUUM (FREEZE, ANALYZE, PARALLEL 0) "public"."events"' in [one["statement"] for one in done.plan]
    age = int(tables.sql("SELECT age(relfrozenxid) FROM pg_class WHERE relname = 'events'", DATABASE))
    assert age < 250 and "age: " in done.check("upkeep_vacuum", "public.events")["message"]


def test_a_login_without_the_right_says_so_and_does_nothing(tables: Cluster) -> None:
    tables.sql("CREATE ROLE clerk LOGIN; GRANT pg_monitor, pg_read_all_data TO clerk")
    try:
        done = ask(tables, mode="act", login={"user": "clerk"})
        assert not done.changed and done.plan == [] and dead(tables, "events") == 12_000
        found = done.check("upkeep_vacuum", "public.events")
        assert found["status"] == "warning" and "may not vacuum or analyse" in found["message"]
    finally:
        tables.sql("DROP ROLE clerk")


def hand(server: Cluster, user: str, control: _postgresql.Session, deadline: Deadline) -> act.Hand:
    login = Server(str(server.socket), server.port, DATABASE, user)
    return act.Hand(login, control, control.row(questions.IDENTITY), act.Limits(lock_timeout=0.5), deadline)


def test_a_statement_that_the_server_skipped_with_a_warning_is_not_done(tables: Cluster) -> None:
    tables.sql("CREATE ROLE clerk LOGIN; GRANT pg_monitor TO clerk")
    oid = int(tables.sql("SELECT 'events'::regclass::oid", DATABASE))
    deadline = Deadline(30)
    try:
        with _postgresql.connect(Server(str(tables.socket), tables.port, DATABASE, "clerk"), deadline) as control:
            work = Work(VACUUM, "public", "events", oid, "a test", table_oid=oid)
            taken = act.step(hand(tables, "clerk", control, deadline), work, Rules())
    finally:
        tables.sql("DROP ROLE clerk")
    assert taken.status == "warning" and not taken.changed and taken.error_kind == "auth"
    assert taken.message.startswith("not done, the server said: ") and "events" in taken.message


def test_a_statement_that_takes_too_long_is_cancelled_on_the_server(tables: Cluster) -> None:
    done = ask(tables, mode="act", reindex=False, statement_deadline=0.5, cost_delay=100, cost_limit=1)
    found = done.check("upkeep_vacuum", "public.events")
    assert found["status"] == "warning" and "the server cancelled it" in found["message"]
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'VACUUM%' AND state = 'active'"
    until(lambda: tables.sql(running) == "0")


def test_when_time_runs_out_midway_the_rest_is_left_and_named(tables: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock jumps to near the end when the first table has been vacuumed."""
    passed: list[float] = []
    deadline = Deadline(600, lambda: time.monotonic() + sum(passed))
    login = Server(str(tables.socket), tables.port, DATABASE, "postgres")
    done = act.Done()
    with _postgresql.connect(login, Deadline(60)) as control:
        works = [
            Work(VACUUM, "public", name, int(tables.sql(f"SELECT '{name}'::regclass::oid", DATABASE)), "a test")
            for name in ("events", "rooms")
        ]
        worker = hand(tables, "postgres", control, deadline)
        vacuum = worker.run
        monkeypatch.setattr(worker, "run", lambda *given: (vacuum(*given), passed.append(595))[0])
        whole = act.perform(worker, works, Rules(), done)
    assert not whole and done.changed and done.left == ["public.rooms"] and dead(tables, "rooms") == 3000
    statuses = {(one.name, one.target): one.status for one in done.results}
    assert statuses[("upkeep_vacuum", "public.events")] == "ok"
    assert statuses[("upkeep_vacuum", "public.rooms")] == "skipped"
    (left,) = [one for one in done.results if one.name == act.LEFT]
    assert left.status == "warning" and "vacuum public.rooms" in left.message and "deadline" in left.message


def test_two_runs_do_not_work_in_one_database(tables: Cluster) -> None:
    with session(tables, questions.TAKE_LOCK, name="matrixon.ops") as cursor:
        done = ask(tables, mode="act")
        found = done.check("upkeep_gates")
        assert f"pid {cursor.connection.info.backend_pid} (postgres, matrixon.ops)" in found["message"]
    assert found["status"] == "warning" and not done.changed and dead(tables, "events") == 12_000


def test_a_standby_is_left_alone_and_one_that_is_far_behind_stops_the_run(tables: Cluster) -> None:
    base = tables.base.parent / "standby"
    shutil.rmtree(base, ignore_errors=True)
    make_owned(base)
    tool, where = str(tables.tools / "pg_basebackup"), [f"--host={tables.socket}", f"--port={tables.port}"]
    run(
        tool,
        *where,
        "--username=postgres",
        f"--pgdata={base}/data",
        "--checkpoint=fast",
        "--no-sync",
        "--write-recovery-conf",
    )
    standby = Cluster(base, tables.major, tables.port)
    make_owned(standby.socket)
    with open(standby.data / "postgresql.auto.conf", "a", encoding="utf-8") as file:
        file.write(f"listen_addresses = ''\nunix_socket_directories = '{standby.socket}'\n")
    standby.start()
    try:
        done, looked = ask(standby, mode="act"), ask(standby)
        assert not done.changed and done.report["status"] == "ok" and done.plan == []
        assert "is a standby" in done.check("upkeep_gates")["message"]
        assert looked.check("database_dead_rows")["status"] == "skipped"
        assert looked.check("database_checksums")["status"] == "ok"

        streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND replay_lsn IS NOT NULL"
        until(lambda: tables.sql(streaming) == "1")
        standby.sql("SELECT pg_wal_replay_pause()")
        until(lambda: standby.sql("SELECT pg_get_wal_replay_pause_state()") == "paused")
        tables.sql("UPDATE rooms SET changed = 3", DATABASE)
        stopped = ask(tables, mode="act", max_lag=1024, lag_wait=0.5)
        found = stopped.check("upkeep_gates")
        assert not stopped.changed and found["status"] == "warning" and "more than max_lag" in found["message"]
    finally:
        standby.stop()
        shutil.rmtree(base)


def test_a_server_that_is_down_is_unknown_and_no_password_is_shown(upkept: Cluster) -> None:
    login = {"host": "127.0.0.1", "port": 1, "password": "not-to-be-seen"}
    done, looked = ask(upkept, mode="act", login=login), ask(upkept, login=login)
    assert done.report["status"] == "unknown" and not done.changed
    assert looked.check("database_role")["status"] == "critical" and looked.report["counts"]["ok"] == 0
    assert "not-to-be-seen" not in done.output + looked.output


def test_what_ran_and_cannot_be_proven_is_unknown(tables: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index is locked between the rebuild and its proof."""
    oid = int(tables.sql("SELECT 'events'::regclass::oid", DATABASE))
    deadline, held = Deadline(30), contextlib.ExitStack()
    with held, _postgresql.connect(Server(str(tables.socket), tables.port, DATABASE, "postgres"), deadline) as control:
        worker = hand(tables, "postgres", control, deadline)
        rebuild = worker.run

        def lock_after(*given: t.Any) -> list[str]:
            said = rebuild(*given)
            held.enter_context(session(tables, "REINDEX INDEX rooms_body"))
            return said

        monkeypatch.setattr(worker, "run", lock_after)
        work = Work(REINDEX, "public", "rooms_body", 0, "a test", table_oid=oid)
        taken = act.step(worker, work, Rules())
    assert taken.status == "unknown" and taken.changed and taken.message.startswith("it ran, but"), taken
