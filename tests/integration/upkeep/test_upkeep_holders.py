"""Who keeps dead rows and log, on a real server: what is said of each is true, names it, and says the way out."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import typing as t

import psycopg2
import pytest
from clusters import Background, Cluster, make_owned, run
from upkept import DATABASE, ask, drop, neglect, session, until

from ansible_collections.matrixon.ops.plugins.module_utils import _postgresql
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Server
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._upkeep import act, questions
from ansible_collections.matrixon.ops.plugins.module_utils._upkeep.plan import REINDEX, Rules, Work

pytestmark = pytest.mark.integration

DEAD = "12\N{NO-BREAK SPACE}000 dead rows cannot be removed: kept by"


@pytest.fixture
def rooms(upkept: Cluster) -> t.Iterator[Cluster]:
    """The server with a table that others write to."""
    neglect(upkept, "rooms", 2000)
    yield upkept
    drop(upkept, "events", "rooms")


@contextlib.contextmanager
def busy(server: Cluster, cursor: t.Any, statement: str, seen: str) -> t.Iterator[None]:
    """Keep a session busy with a statement that shows somewhere."""
    running = Background(lambda: cursor.execute(statement))
    try:
        until(lambda: server.sql(f"SELECT count(*) FROM {seen}") != "0")
        yield
    finally:
        cursor.connection.cancel()
        running.join(20)


def dead(server: Cluster, name: str) -> int:
    return int(server.sql(f"SELECT n_dead_tup FROM pg_stat_all_tables WHERE relname = '{name}'", DATABASE))


@contextlib.contextmanager
def prepared(server: Cluster, name: str, statement: str) -> t.Iterator[None]:
    """A transaction that outlived its session."""
    server.psql(DATABASE, f"BEGIN;\n{statement};\nPREPARE TRANSACTION '{name}';")
    try:
        yield
    finally:
        server.sql(f"ROLLBACK PREPARED '{name}'", DATABASE)


@contextlib.contextmanager
def slot(server: Cluster, name: str, call: str) -> t.Iterator[None]:
    server.sql(f"SELECT {call}", DATABASE)
    try:
        yield
    finally:
        server.sql(f"SELECT pg_drop_replication_slot('{name}')")


def test_a_prepared_transaction_is_named_with_its_age_and_ended_as_is_said(rooms: Cluster) -> None:
    with prepared(rooms, "payment 7", "INSERT INTO rooms VALUES (0)"):
        neglect(rooms, "events")
        until(lambda: rooms.sql("SELECT now() - prepared > '1 second' FROM pg_prepared_xacts") == "t")
        limits = {"database_prepared": {"warning": 1, "critical": 600}, "database_horizon": {"warning": 1}}
        looked = ask(rooms, thresholds=limits)
        found = looked.check("database_prepared")
        assert found["status"] == "warning" and 1 <= found["value"] < 60
        assert f"the prepared transaction payment 7 of postgres in {DATABASE} is " in found["message"]
        assert "ROLLBACK PREPARED" in found["message"]
        assert ask(rooms).check("database_prepared")["status"] == "ok", "it is young"
        horizon = looked.check("database_horizon")
        assert horizon["status"] == "warning" and "ROLLBACK PREPARED" in horizon["message"]
        assert "the prepared transaction payment 7 of postgres" in horizon["message"]

        tended = ask(rooms, mode="act", reindex=False).check("upkeep_vacuum", "public.events")
        assert tended["status"] == "warning" and dead(rooms, "events") == 12_000
        assert f"{DEAD} the prepared transaction payment 7 of postgres" in tended["message"]
        assert "ROLLBACK PREPARED" in tended["message"]
        again = ask(rooms, mode="act", reindex=False)
        assert not again.changed, "another VACUUM would remove nothing"
        assert "ROLLBACK PREPARED" in again.check("upkeep_vacuum", "public.events")["message"]
    assert "no prepared" in ask(rooms).check("database_prepared")["message"]
    assert ask(rooms, mode="act", reindex=False).report["status"] == "ok" and dead(rooms, "events") == 0


def test_the_lock_of_a_prepared_transaction_is_told_by_its_name(rooms: Cluster) -> None:
    with prepared(rooms, "payment 8", "LOCK TABLE rooms IN SHARE MODE; SELECT txid_current()"):
        found = ask(rooms, mode="act", reindex=False).check("upkeep_vacuum", "public.rooms")
    assert found["status"] == "warning" and "ROLLBACK PREPARED" in found["message"], found
    assert "lock ShareLock held by the prepared transaction payment 8 of postgres" in found["message"]


def rebuild(server: Cluster, monkeypatch: pytest.MonkeyPatch) -> act.Step:
    """Rebuild an index of the table, and take every transaction for an old one."""
    monkeypatch.setattr(act, "OLD_TRANSACTION", 0.0)
    oid = int(server.sql("SELECT 'rooms'::regclass::oid", DATABASE))
    login, deadline = Server(str(server.socket), server.port, DATABASE, "postgres"), Deadline(30)
    with _postgresql.connect(login, deadline) as control:
        limits = act.Limits(lock_timeout=0.5)
        hand = act.Hand(login, control, control.row(questions.IDENTITY), limits, deadline)
        return act.step(hand, Work(REINDEX, "public", "rooms_body", 0, "a test", table_oid=oid), Rules())


def test_a_rebuild_waits_for_those_only_for_whom_the_server_would(
    rooms: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms.sql("CREATE TABLE events (id int)", DATABASE)
    with prepared(rooms, "other", "INSERT INTO events VALUES (0)"), session(rooms, "INSERT INTO events VALUES (0)"):
        taken = rebuild(rooms, monkeypatch)
        assert taken.status == "ok" and "rebuilt" in taken.message, taken
    with prepared(rooms, "same", "INSERT INTO rooms VALUES (0)"):
        taken = rebuild(rooms, monkeypatch)
        assert taken.status == "warning" and not taken.changed, taken
        assert "not begun" in taken.message and "the prepared transaction same of postgres" in taken.message
    for statements in (["SELECT count(*) FROM rooms"], ["SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT 1"]):
        with session(rooms, *statements, name="reader") as cursor:
            words = f"a transaction of pid {cursor.connection.info.backend_pid} (postgres, reader"
            taken = rebuild(rooms, monkeypatch)
        assert taken.status == "warning" and not taken.changed and words in taken.message, taken


def test_a_slot_is_told_by_what_it_keeps(rooms: Cluster) -> None:
    limits = {"postgresql_slots": {"warning": 1024**2, "critical": 1024**4}}

    def said(name: str, **options: t.Any) -> dict[str, t.Any]:
        target = next(one["target"] for one in ask(rooms).checks("postgresql_slots") if name in one["target"])
        return ask(rooms, **options).check("postgresql_slots", target)

    assert ask(rooms).check("postgresql_slots")["status"] == "skipped"
    with slot(rooms, "fresh", "pg_create_physical_replication_slot('fresh')"):
        found = said("fresh")
        assert found["status"] == "warning" and "value" not in found, "one that was never read keeps nothing"
        assert "keeps no WAL" in found["message"] and "more and more" not in found["message"]
        assert "pg_drop_replication_slot" in found["message"]
    with slot(rooms, "away", "pg_create_physical_replication_slot('away', true)"):
        neglect(rooms, "events")
        found = said("away", thresholds=limits)
        assert found["status"] == "warning" and found["value"] > 1024**2, found
        assert "keeps more and more" in found["message"] and "pg_drop_replication_slot" in found["message"]
        rooms.sql("ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'")
        rooms.sql("SELECT pg_reload_conf()")
        try:
            until(lambda: "16MB" in said("away")["message"])
            assert "more and more" not in said("away")["message"]
            for _segment in range(4):
                rooms.sql("SELECT pg_logical_emit_message(true, 'a', 'b'); SELECT pg_switch_wal()")
            rooms.sql("CHECKPOINT")
            found = said("away")
            assert found["status"] == "critical" and "is lost" in found["message"]
        finally:
            rooms.sql("ALTER SYSTEM RESET max_slot_wal_keep_size")
            rooms.sql("SELECT pg_reload_conf()")


def test_what_a_logical_slot_keeps_in_the_catalogs_is_put_down_to_it(rooms: Cluster) -> None:
    with slot(rooms, "copy", "pg_create_logical_replication_slot('copy', 'pgoutput')"):
        loop = "FOR i IN 1..150 LOOP CREATE TABLE brief (a int, b int, c int); DROP TABLE brief; COMMIT; END LOOP;"
        rooms.sql(f"DO 'BEGIN {loop} END'", DATABASE)
        until(lambda: dead(rooms, "pg_attribute") > 1000)
        horizon = ask(rooms, thresholds={"database_horizon": {"warning": 150}}).check("database_horizon")
        done = ask(rooms, mode="act", reindex=False)
    assert horizon["status"] == "warning" and horizon["value"] >= 150, horizon
    words = "the inactive replication slot copy"
    assert "in the system catalogs" in horizon["message"] and words in horizon["message"]
    assert "pg_drop_replication_slot" in horizon["message"]
    found = done.check("upkeep_vacuum", "pg_catalog.pg_attribute")
    assert found["status"] == "warning" and f"cannot be removed: kept by {words}" in found["message"]
    assert "pg_drop_replication_slot" in found["message"]
    assert done.check("upkeep_vacuum", "public.rooms")["status"] == "ok", "a logical slot keeps no rows of users"


def test_a_standby_and_the_slot_that_it_leaves_are_named(rooms: Cluster) -> None:
    base = rooms.base.parent / "feedback"
    shutil.rmtree(base, ignore_errors=True)
    make_owned(base)
    with slot(rooms, "db2", "pg_create_physical_replication_slot('db2')"):
        run(
            str(rooms.tools / "pg_basebackup"),
            f"--host={rooms.socket}",
            f"--port={rooms.port}",
            "--username=postgres",
            f"--pgdata={base}/data",
            "--checkpoint=fast",
            "--no-sync",
            "--write-recovery-conf",
        )
        standby = Cluster(base, rooms.major, rooms.port)
        make_owned(standby.socket)
        settings = standby.data / "postgresql.auto.conf"
        with open(settings, "a", encoding="utf-8") as file:
            file.write(f"listen_addresses = ''\nunix_socket_directories = '{standby.socket}'\n")
            file.write("hot_standby_feedback = on\nwal_receiver_status_interval = 1\n")
        try:
            standby.start()
            until(lambda: rooms.sql("SELECT count(*) FROM pg_stat_replication WHERE backend_xmin IS NOT NULL") == "1")
            horizon = ask(rooms, thresholds={"database_horizon": {"warning": 0}}).check("database_horizon")
            assert "the feedback of a standby, pid " in horizon["message"], horizon
            assert "hot_standby_feedback" in horizon["message"]
            standby.stop("fast")
            with open(settings, "a", encoding="utf-8") as file:
                file.write("primary_slot_name = 'db2'\n")
            standby.start()
            until(lambda: rooms.sql("SELECT xmin IS NOT NULL AND active FROM pg_replication_slots") == "t")
        finally:
            standby.stop("fast")
            shutil.rmtree(base)
        until(lambda: rooms.sql("SELECT active FROM pg_replication_slots") == "f")
        neglect(rooms, "events")
        found = ask(rooms, mode="act", reindex=False).check("upkeep_vacuum", "public.events")
        assert found["status"] == "warning" and f"{DEAD} the inactive replication slot db2" in found["message"], found
        assert "pg_drop_replication_slot" in found["message"]
    assert ask(rooms, mode="act", reindex=False).report["status"] == "ok" and dead(rooms, "events") == 0


def test_a_base_backup_keeps_no_rows_and_the_upkeep_goes_on_beside_it(rooms: Cluster) -> None:
    base = rooms.base.parent / "copy"
    shutil.rmtree(base, ignore_errors=True)
    make_owned(base)
    start = "pg_backup_start('by hand', true)" if rooms.major >= 15 else "pg_start_backup('by hand', true, false)"
    with psycopg2.connect(
        host=str(rooms.socket), port=rooms.port, dbname=DATABASE, user="postgres", application_name="copier"
    ) as copier:
        copier.autocommit = True
        copier.cursor().execute(f"SELECT {start}")
        argv = [str(rooms.tools / "pg_basebackup"), f"--host={rooms.socket}", f"--port={rooms.port}"]
        argv += ["--username=postgres", f"--pgdata={base}/data", "--checkpoint=fast", "--no-sync", "--max-rate=32k"]
        keywords: dict[str, t.Any] = {"user": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        with subprocess.Popen(
            argv, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **keywords
        ) as running:
            try:
                until(lambda: rooms.sql("SELECT phase LIKE 'streaming%' FROM pg_stat_progress_basebackup") == "t")
                neglect(rooms, "events")
                horizon = ask(rooms).check("database_horizon")
                done = ask(rooms, mode="act")
                running.poll()
                assert running.returncode is None, "the copy ended too soon for the test"
            finally:
                # What a shell started in the background would ignore SIGINT.
                running.terminate()
                running.wait(20)
    shutil.rmtree(base)
    assert "nobody keeps VACUUM" in horizon["message"]
    assert "a base backup runs" in done.check("upkeep_gates")["message"]
    assert done.report["status"] == "ok" and dead(rooms, "events") == 0, done.document["msg"]


def test_rows_that_died_before_a_query_began_are_not_kept_by_its_old_transaction(rooms: Cluster) -> None:
    """A transaction of READ COMMITTED has a new snapshot for each query: its own age says nothing."""
    with session(rooms, "SELECT 1") as cursor:
        neglect(rooms, "events")
        assert ask(rooms, mode="act", reindex=False).changed and dead(rooms, "events") == 0
        rooms.sql("UPDATE events SET changed = 3", DATABASE)
        with busy(rooms, cursor, "SELECT pg_sleep(60)", "pg_stat_activity WHERE wait_event = 'PgSleep'"):
            done = ask(rooms, mode="act", reindex=False)
    assert done.changed and done.check("upkeep_vacuum", "public.events")["status"] == "ok", done.document["msg"]
    assert dead(rooms, "events") == 0


def test_the_vacuum_of_somebody_else_keeps_no_rows_and_is_not_named(rooms: Cluster) -> None:
    neglect(rooms, "events")
    with session(rooms, "SET vacuum_cost_delay = '100ms'", "SET vacuum_cost_limit = 1") as cursor:
        cursor.connection.commit()
        cursor.connection.autocommit = True
        with busy(rooms, cursor, "VACUUM events", "pg_stat_progress_vacuum"):
            assert rooms.sql("SELECT count(backend_xmin) FROM pg_stat_activity WHERE query = 'VACUUM events'") == "1"
            looked = ask(rooms)
            done = ask(rooms, mode="act", reindex=False)
    assert "nobody keeps VACUUM" in looked.check("database_horizon")["message"]
    assert done.check("upkeep_vacuum", "public.rooms")["status"] == "ok"
