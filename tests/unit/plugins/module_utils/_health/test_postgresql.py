"""PostgreSQL's verdicts, from rows as the server gives them."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils import _postgresql
from ansible_collections.matrixon.ops.plugins.module_utils._health import engine, postgresql
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Baseline, Context, Probe, Skip
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Server
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import CheckResult

CHECKS = {check.name.replace("postgresql_", ""): check for check in postgresql.CHECKS}
ROLES = {"replication": "primary", "slots": "primary", "wraparound": "primary", "archive": "primary"}
ROLES |= {"replay": "standby", "walreceiver": "standby"}
MIB = 1024**2
GIB = 1024**3
NOW = datetime.datetime(2026, 11, 23, 9, tzinfo=datetime.timezone.utc)
DENIED = ProbeFailure("auth", "PostgreSQL at db:5432: monitor may not see everything")
FULL = {"sqlstate": "53300", "words": "sorry, too many clients already"}

GIVEN: dict[str, Any] = {
    "server": "PostgreSQL at db:5432",
    "where": "db:5432",
    "expected_role": "primary",
    "standbys": [],
    "settings_checksum": None,
    "settings_before": None,
}


def options(**more: Any) -> dict[str, Any]:
    defaults = {name: spec.get("default") for name, spec in postgresql.SPEC.items()}
    return {**defaults, "database": "matrix", "user": "monitor", "password": "s3cret-canary", **more}


def judged(name: str, **facts: Any) -> list[CheckResult]:
    """Put facts through the engine, as a probe would bring them."""
    facts = {"role": ROLES.get(name, "primary"), **facts}
    probe = Probe("db:5432", (CHECKS[name],), lambda _deadline: facts, GIVEN)
    return engine.execute([probe], engine.Policy(), Deadline(5)).results


def one(name: str, **facts: Any) -> CheckResult:
    (result,) = judged(name, **facts)
    return result


def standby(**row: Any) -> dict[str, Any]:
    return {"name": "b", "address": "10.0.0.6", "state": "streaming", "behind": 0.0, "unwritten": 0.0, **row}


def replay(**row: Any) -> dict[str, Any]:
    return {"paused": False, "waiting": 0.0, "age": 1.0, **row}


def slot(**row: Any) -> dict[str, Any]:
    return {"name": "b", "active": True, "wal_status": "reserved", "retained": 0.0, "most": None, **row}


def session(**row: Any) -> dict[str, Any]:
    who = {"pid": 42, "user": "synapse", "database": "matrix", "application": "main"}
    return {**who, "seconds": 0.0, "transaction": 9.0, **row}


def waiter(**row: Any) -> dict[str, Any]:
    return session(**{"blocker": 7, "blocker_user": "admin", "blocker_state": "idle in transaction", **row})


def archive(**row: Any) -> dict[str, Any]:
    quiet = {"mode": "on", "waiting": 0, "waited": None, "failed_wal": None, "archived_ago": 9.0, "failed_ago": None}
    return {**quiet, **row}


def setting(name: str, value: str, **row: Any) -> dict[str, Any]:
    return {"name": name, "setting": value, "pending": False, "given": True, **row}


def used(number: int) -> dict[str, Any]:
    return {"used": number, "usable": 100}


@pytest.mark.parametrize(
    ("name", "row", "status", "value"),
    [
        ("connections", used(79), "ok", 79),
        ("connections", used(80), "warning", 80),
        ("connections", used(90), "critical", 90),
        ("connections", {"used": 98, "usable": 97}, "critical", 101.031),
        ("replication", standby(behind=16.0 * MIB - 1), "ok", 16 * MIB - 1),
        ("replication", standby(behind=16.0 * MIB), "warning", 16 * MIB),
        ("replication", standby(behind=256.0 * MIB, state="catchup"), "critical", 256 * MIB),
        ("replay", replay(waiting=16.0 * MIB - 1), "ok", 16 * MIB - 1),
        ("replay", replay(waiting=16.0 * MIB), "warning", 16 * MIB),
        ("replay", replay(waiting=256.0 * MIB), "critical", 256 * MIB),
        ("replay", replay(waiting=-24.0), "ok", 0),
        ("replay", replay(waiting=None), "unknown", None),
        ("replay", replay(paused=True), "warning", 0),
        ("replay", replay(paused=True, waiting=None), "warning", None),
        ("replay", replay(paused=True, age=86400.0), "warning", 0),
        ("replay", replay(paused=True, waiting=8.0, age=599.9), "warning", 8),
        ("replay", replay(paused=True, waiting=8.0, age=600.0), "critical", 8),
        ("replay", replay(paused=True, waiting=256.0 * MIB), "critical", 256 * MIB),
        ("slots", slot(retained=5.0 * GIB - 1), "ok", 5 * GIB - 1),
        ("slots", slot(retained=5.0 * GIB), "warning", 5 * GIB),
        ("slots", slot(retained=20.0 * GIB), "critical", 20 * GIB),
        ("slots", slot(retained=20.0 * GIB, active=False), "critical", 20 * GIB),
        ("slots", slot(active=False), "warning", 0),
        ("slots", slot(active=False, retained=None), "warning", None),
        ("slots", slot(wal_status="lost", retained=None), "critical", None),
        ("wraparound", {"database": "matrix", "age": 999_999_999}, "ok", 999_999_999),
        ("wraparound", {"database": "matrix", "age": 1_000_000_000}, "warning", 1e9),
        ("wraparound", {"database": "matrix", "age": 1_400_000_000}, "critical", 1.4e9),
        ("idle_in_transaction", session(seconds=299.9), "ok", 299.9),
        ("idle_in_transaction", session(seconds=300.0), "warning", 300),
        ("idle_in_transaction", session(seconds=1800.0), "critical", 1800),
        ("long_queries", session(seconds=119.9), "ok", 119.9),
        ("long_queries", session(seconds=120.0), "warning", 120),
        ("long_queries", session(seconds=600.0), "critical", 600),
        ("lock_waits", waiter(seconds=29.9), "ok", 29.9),
        ("lock_waits", waiter(seconds=30.0), "warning", 30),
        ("lock_waits", waiter(seconds=300.0), "critical", 300),
        ("archive", archive(waiting=1, waited=599.9), "ok", 599.9),
        ("archive", archive(waiting=1, waited=600.0), "warning", 600),
        ("archive", archive(waiting=1, waited=900.0), "critical", 900),
        ("walreceiver", {"status": "streaming", "host": "a", "port": 5432, "silent": 1.0}, "ok", None),
        ("walreceiver", {"status": "waiting", "host": "a", "port": 5432, "silent": 99.0}, "critical", None),
    ],
)
def test_verdict(name: str, row: dict[str, Any], status: str, value: float | None) -> None:
    result = one(name, **{name: [row]})
    assert (result.status, result.value) == (status, value), result.message


@pytest.mark.parametrize("name", ["idle_in_transaction", "long_queries", "lock_waits"])
def test_no_such_session_is_ok(name: str) -> None:
    result = one(name, **{name: []})
    assert (result.status, result.value) == ("ok", 0)


@pytest.mark.parametrize(("milliseconds", "status"), [(99.9, "ok"), (100.0, "warning"), (5000.0, "warning")])
def test_connect(milliseconds: float, status: str) -> None:
    result = one("connect", query_ms=milliseconds, connect_ms=7.0)
    assert (result.status, result.value) == (status, milliseconds)
    assert "connecting took 7.0 ms" in result.message


@pytest.mark.parametrize(("role", "status"), [("primary", "ok"), ("standby", "critical")])
def test_role(role: str, status: str) -> None:
    assert one("role", role=role).status == status


# Failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(CHECKS) - {"connect", "role", "primaries"}))
def test_what_may_not_be_seen_is_unknown_and_never_ok(name: str) -> None:
    result = one(name, **{name: DENIED})
    assert (result.status, result.value, result.error_kind) == ("unknown", None, "auth")


@pytest.mark.parametrize("name", sorted(set(CHECKS) - {"connect", "primaries"}))
def test_without_an_identity_nothing_else_is_claimed(name: str) -> None:
    result = one(name, query_ms=1.0, connect_ms=1.0, failure=ProbeFailure("timeout", "no answer"))
    assert (result.status, result.error_kind) == ("unknown", "timeout")


@pytest.mark.parametrize(
    ("kind", "status"),
    [("refused", "critical"), ("timeout", "critical"), ("auth", "unknown"), ("missing_tool", "unknown")],
)
def test_failed_connect_is_critical_only_where_a_bad_fact_was_seen(kind: str, status: str) -> None:
    result = one("connect", failure=ProbeFailure(kind, "words"))
    assert (result.status, result.value, result.error_kind) == (status, None, kind)


@pytest.mark.parametrize(
    ("words", "status", "value"),
    [
        ("sorry, too many clients already", "critical", 100),
        ("remaining connection slots are reserved for non-replication superuser connections", "critical", 100),
        ("remaining connection slots are reserved for roles with the SUPERUSER attribute", "critical", 100),
        ('too many connections for role "monitor"', "unknown", None),
        ('too many connections for database "reserved"', "unknown", None),
    ],
)
def test_a_full_server_uses_all_connections_and_a_full_role_does_not(
    words: str, status: str, value: float | None
) -> None:
    failure = ProbeFailure("refused", words, {"sqlstate": "53300", "words": words})
    result = one("connections", failure=failure)
    assert (result.status, result.value) == (status, value)
    assert words in result.message


# Roles ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "role"), sorted(ROLES.items()))
def test_question_for_the_other_role_is_skipped(name: str, role: str) -> None:
    other = {"primary": "standby", "standby": "primary"}[role]
    result = one(name, role=other)
    assert (result.status, result.skipped_reason) == (
        "skipped",
        f"asked on the {role} only, and this server is a {other}",
    )


# Primaries --------------------------------------------------------------------------------------------------------

GONE = ProbeFailure("refused", "PostgreSQL at c:5432: connection refused")


@pytest.mark.parametrize(
    ("nodes", "status", "value", "words"),
    [
        ({"a": True, "b": False}, "ok", 1, "a is the only primary among 2 nodes"),
        ({"a": False, "b": False}, "critical", 0, "no primary"),
        ({"a": True, "b": True}, "critical", 2, "split brain"),
        ({"a": True, "b": True, "c": GONE}, "critical", 2, "a, b"),
        ({"a": True, "c": GONE}, "unknown", None, "primary seen: a, but 1 of 2 nodes could not be asked"),
        ({"b": False, "c": GONE}, "unknown", None, "no primary seen"),
    ],
)
def test_one_silent_node_makes_the_number_of_primaries_unknown(
    nodes: dict[str, Any], status: str, value: int | None, words: str
) -> None:
    result = one("primaries", nodes=nodes)
    assert (result.status, result.value) == (status, value)
    assert words in result.message
    assert result.error_kind == ("refused" if status == "unknown" else None)


def test_a_node_that_hangs_does_not_hide_two_primaries(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_primary(server: Server, deadline: Deadline) -> Any:
        if server.host == "c":
            # As a resolver that heeds no deadline.
            engine.threading.Event().wait(3)
        return True

    monkeypatch.setattr(postgresql, "is_primary", is_primary)
    nodes = {name: Server(name, 5432, "matrix", "monitor") for name in "abc"}
    deadline = Deadline(0.3)
    answers = postgresql.ask_nodes(nodes, deadline)["nodes"]
    assert deadline.remaining() > 0
    assert (answers["a"], answers["b"], answers["c"].kind) == (True, True, "timeout")


# Lies to avoid ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["startup", "catchup", "streaming"])
def test_a_standby_without_a_position_is_catching_up_and_not_far_behind(state: str) -> None:
    result = one("replication", replication=[standby(state=state, behind=None, unwritten=None)])
    assert (result.status, result.value) == ("warning", None)
    assert "catching up" in result.message


def test_position_of_a_standby_in_startup_is_not_believed() -> None:
    result = one("replication", replication=[standby(state="startup", behind=1e15)])
    assert (result.status, result.value) == ("warning", None)


def test_a_missing_standby_is_critical_beside_one_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GIVEN, "standbys", ["b", "c"])
    found = {result.target: result.status for result in judged("replication", replication=[standby()])}
    assert found == {"db:5432 standby c": "critical", "db:5432 standby b at 10.0.0.6": "ok"}


def test_standbys_of_one_name_at_one_address_are_one_result_the_worst() -> None:
    rows = [standby(behind=256.0 * MIB), standby(), standby(address="10.0.0.7")]
    found = {result.target: result.status for result in judged("replication", replication=rows)}
    assert found == {"db:5432 standby b at 10.0.0.6": "critical", "db:5432 standby b at 10.0.0.7": "ok"}


@pytest.mark.parametrize(
    "row",
    [
        standby(name="pg_basebackup", state="backup", behind=None, unwritten=None),
        standby(name="pg_receivewal", behind=None, unwritten=9.0 * GIB),
    ],
)
def test_what_copies_and_replays_nothing_is_no_standby(row: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert one("replication", replication=[row]).status == "skipped"
    monkeypatch.setitem(GIVEN, "standbys", [row["name"]])
    assert one("replication", replication=[row]).status in ("ok", "warning")


def test_no_standby_wanted_and_none_connected_is_skipped() -> None:
    assert one("replication", replication=[]).status == "skipped"


def test_no_walreceiver_is_critical() -> None:
    assert one("walreceiver", walreceiver=[]).status == "critical"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (slot(active=False), "keeps more and more; if nothing will read again, drop it"),
        (slot(active=False, most="1GB"), "keeps up to 1GB (max_slot_wal_keep_size) and is lost then"),
        (slot(active=False, retained=None), "keeps no WAL and is inactive: nothing has read from it yet"),
    ],
)
def test_what_an_idle_slot_will_come_to_is_said(row: dict[str, Any], words: str) -> None:
    assert words in one("slots", slots=[row]).message


def test_no_slots_is_skipped() -> None:
    assert one("slots", slots=[]).status == "skipped"


@pytest.mark.parametrize(
    ("row", "status", "words"),
    [
        (archive(mode="off"), "skipped", "archive_mode is off"),
        (archive(archived_ago=86400.0), "ok", "no WAL waits to be archived; the last was archived 24.0 h ago"),
        (archive(archived_ago=None), "ok", "nothing was ever archived"),
        (archive(archived_ago=None, waiting=1, waited=1.0), "critical", "nothing was ever archived"),
        (archive(archived_ago=9.0, failed_ago=60.0, failed_wal="0A"), "ok", "no WAL waits"),
        (archive(archived_ago=60.0, failed_ago=9.0, failed_wal="0A"), "critical", "cannot archive WAL 0A"),
        (archive(archived_ago=None, failed_ago=9.0, failed_wal="0A"), "critical", "cannot archive WAL 0A"),
        (archive(archived_ago=1.0, waiting=99, waited=3600.0), "critical", "99, the oldest for 60 min"),
    ],
    ids=[
        "off",
        "idle with nothing to archive is fine",
        "a new server with nothing to archive is fine",
        "no failures is not archived",
        "a failure that was made good",
        "a failure since",
        "failed from the start",
        "archiving now, an hour late",
    ],
)
def test_archive(row: dict[str, Any], status: str, words: str) -> None:
    result = one("archive", archive=[row])
    assert result.status == status
    assert words in result.message


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({}, "pid 42 (synapse on matrix, main) has waited 31 s for a lock held by pid 7 (admin, idle in transaction)"),
        ({"blocker": 0}, "held by a prepared transaction"),
        ({"blocker": None}, "set free meanwhile"),
    ],
)
def test_lock_wait_names_who_holds_the_lock(row: dict[str, Any], words: str) -> None:
    assert words in one("lock_waits", lock_waits=[waiter(seconds=31.0, **row)]).message


# Settings ---------------------------------------------------------------------------------------------------------

ROWS = [setting("work_mem", "4096"), setting("port", "5432")]
HASHES = postgresql.setting_hashes(ROWS)
SUM = postgresql.checksum(HASHES)
OTHER = {**HASHES, "port": "00000000", "ssl": "00000000"}


@pytest.mark.parametrize(
    ("expected", "before", "status", "words"),
    [
        (None, None, "skipped", "nothing to compare with"),
        (SUM, None, "ok", "as expected"),
        (None, HASHES, "ok", "as before"),
        (SUM, OTHER, "ok", "as expected"),
        ("0" * 16, None, "warning", f"settings have checksum {SUM}, expected is 0000000000000000"),
        ("0" * 16, OTHER, "warning", "since the earlier report port, ssl changed"),
        (None, OTHER, "warning", "settings changed since the earlier report: port, ssl"),
    ],
)
def test_settings(expected: str | None, before: Any, status: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GIVEN, "settings_checksum", expected)
    monkeypatch.setitem(GIVEN, "settings_before", before)
    result = one("settings", settings=ROWS)
    assert result.status == status
    assert words in result.message


def test_setting_that_waits_for_a_restart_warns_with_nothing_to_compare_with() -> None:
    result = one("settings", settings=[*ROWS, setting("max_connections", "100", pending=True, given=False)])
    assert (result.status, "wait for a restart: max_connections" in result.message) == ("warning", True)


@pytest.mark.parametrize(
    "value",
    [
        "host=a password={} user=r",
        "host=a password='{}' user=r",
        "host=a PASSWORD = {} user=r",
        "postgresql://repl:{}@a:5432/x",
    ],
)
def test_hash_of_a_setting_knows_no_password(value: str) -> None:
    one_hash, other_hash = (
        postgresql.setting_hashes([setting("primary_conninfo", value.format(password))]) for password in ("x", "y")
    )
    assert one_hash == other_hash
    assert one_hash != postgresql.setting_hashes([setting("primary_conninfo", "host=b")])


# The probe --------------------------------------------------------------------------------------------------------


class FakeSession:
    """A server in a given role that answers every question with no rows, and breaks on one."""

    def __init__(self, role: str, member: bool = True, version: int = 150018) -> None:
        self.identity = {
            "in_recovery": role == "standby",
            "version": "15.18",
            "number": version,
            "pg_read_all_stats": member,
            "pg_read_all_settings": member,
        }
        self.asked: list[str] = []

    def rows(self, sql: str) -> list[dict[str, Any]]:
        self.asked.append(sql)
        if "datfrozenxid" in sql:
            raise ProbeFailure("timeout", "canceled")
        return [setting("port", "5432")] if "FROM pg_settings" in sql else []

    def row(self, _sql: str) -> dict[str, Any]:
        return self.identity

    def __enter__(self) -> FakeSession:
        return self

    def __exit__(self, *_exception: object) -> None:
        return


def observed(session: FakeSession, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(_postgresql, "connect", lambda _server, _deadline: session)
    return postgresql.observe(Server("db", 5432, "matrix", "monitor"), Deadline(5))


def test_primary_is_asked_and_one_broken_question_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = observed(FakeSession("primary"), monkeypatch)
    assert facts["wraparound"].kind == "timeout"
    assert facts["slots"] == []
    assert "replay" not in facts
    assert facts["report"]["versions"] == {"postgresql": "15.18"}
    assert set(facts["report"]["postgresql"]) == {"role", "settings", "settings_checksum"}


def test_standby_is_never_asked_what_a_primary_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    session = FakeSession("standby")
    facts = observed(session, monkeypatch)
    assert not any(sign in sql for sql in session.asked for sign in ("pg_current_wal", "pg_stat_archiver"))
    assert {"replay", "walreceiver", "connections"} <= set(facts)
    assert not {"replication", "slots", "archive", "wraparound"} & set(facts)


def test_without_pg_monitor_half_empty_rows_are_not_even_read(monkeypatch: pytest.MonkeyPatch) -> None:
    session = FakeSession("primary", member=False)
    facts = observed(session, monkeypatch)
    assert not any("pg_stat_activity" in sql for sql in session.asked)
    assert {facts[name].kind for name in ("connections", "long_queries", "settings")} == {"auth"}
    assert "GRANT pg_monitor TO monitor" in facts["connections"].message


@pytest.mark.parametrize(("version", "waitstart"), [(130000, False), (140000, True), (180000, True)])
def test_wait_start_is_asked_for_where_it_exists(version: int, waitstart: bool) -> None:
    assert ("waitstart" in postgresql.questions(version)["lock_waits"].sql) is waitstart


def test_sessions_exclude_ourselves_and_all_but_clients() -> None:
    for name in ("connections", "idle_in_transaction", "long_queries"):
        sql = postgresql.questions(170000)[name].sql
        assert "backend_type = 'client backend' AND pid <> pg_backend_pid()" in sql


def test_a_full_server_is_a_fact_and_any_other_refusal_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(_server: Server, _deadline: Deadline) -> Any:
        raise failure

    monkeypatch.setattr(_postgresql, "connect", connect)
    server = Server("db", 5432, "matrix", "monitor")
    failure = ProbeFailure("refused", "full", FULL)
    assert postgresql.observe(server, Deadline(1)) == {"failure": failure}
    failure = ProbeFailure("refused", "starting up", {"sqlstate": "57P03", "words": "starting up"})
    with pytest.raises(ProbeFailure):
        postgresql.observe(server, Deadline(1))


# Plan and options -------------------------------------------------------------------------------------------------


def test_plan_has_every_check_once() -> None:
    plan = postgresql.plan(options(), Context(NOW))
    names = [check.name for entry in plan for check in (entry.checks if isinstance(entry, Probe) else (entry.check,))]
    assert sorted(names) == sorted(check.name for check in postgresql.CHECKS)
    assert [entry.check.name for entry in plan if isinstance(entry, Skip)] == ["postgresql_primaries"]


def test_plan_asks_the_nodes_and_compares_with_the_baseline() -> None:
    baseline = Baseline({"postgresql": {"settings": HASHES}}, NOW)
    nodes = [{"name": "a", "host": "10.0.0.5", "port": 5432}]
    server, cluster = postgresql.plan(options(nodes=nodes), Context(NOW, baseline))
    assert isinstance(server, Probe) and server.given["settings_before"] == HASHES
    assert isinstance(cluster, Probe) and cluster.checks == (postgresql.PRIMARIES,)


def test_plan_shows_no_password() -> None:
    nodes = [{"name": "a", "host": "10.0.0.5", "port": 5432}]
    assert "s3cret-canary" not in repr(postgresql.plan(options(nodes=nodes), Context(NOW)))


def test_good_options_pass() -> None:
    nodes = [{"name": "a", "host": "a", "port": 5432}, {"name": "b", "host": "b", "port": 5432}]
    assert list(postgresql.validate(options(nodes=nodes, standbys=["b"], settings_checksum=SUM))) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"port": 70000}, "postgresql.port: 70000 is not a port; give a number from 1 to 65535"),
        ({"host": " "}, "postgresql.host: it is empty"),
        ({"user": ""}, "postgresql.user: it is empty"),
        ({"sslmode": "verify-full"}, "postgresql.sslmode: verify-full needs certificates"),
        ({"standbys": ["b", "b"]}, "postgresql.standbys: b stands there twice"),
        ({"standbys": [""]}, "postgresql.standbys: a name is empty"),
        ({"settings_checksum": "x"}, "postgresql.settings_checksum: 'x' is no checksum"),
        ({"nodes": [{"name": "a", "host": "a", "port": 0}]}, "postgresql.nodes[0].port: 0 is not a port"),
        ({"nodes": [{"name": "a", "host": "", "port": 1}]}, "postgresql.nodes[0].host: it is empty"),
        ({"nodes": [{"name": "a", "host": "a", "port": 1}] * 2}, "postgresql.nodes: a stands there twice"),
    ],
)
def test_bad_options_name_the_option_the_value_and_the_way_out(given: dict[str, Any], words: str) -> None:
    (error,) = postgresql.validate(options(**given))
    assert error.startswith(words)
    assert ";" in error
