"""Tests of what is said about Redis."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
import servers

from ansible_collections.matrixon.ops.plugins.module_utils._health import engine, redis
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Baseline, Context
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    SKIPPED,
    UNKNOWN,
    WARNING,
    CheckResult,
)

CHECKS = {check.name: check for check in redis.CHECKS}
NOW = datetime.datetime(2026, 11, 23, 9, tzinfo=datetime.timezone.utc)
MIB = 1024 * 1024

# What Redis 8 says, as far as it is looked at.
MASTER = {
    "redis_version": "8.0.2",
    "run_id": "0a1b",
    "uptime_in_seconds": "7200",
    "loading": "0",
    "used_memory": str(50 * MIB),
    "maxmemory": str(100 * MIB),
    "maxmemory_policy": "allkeys-lru",
    "aof_enabled": "1",
    "aof_last_write_status": "ok",
    "aof_last_bgrewrite_status": "ok",
    "rdb_last_bgsave_status": "ok",
    "evicted_keys": "10",
    "rejected_connections": "0",
    "role": "master",
    "connected_slaves": "2",
}
REPLICA = {**MASTER, "role": "slave", "master_link_status": "up", "master_last_io_seconds_ago": "3"}


def info(start: dict[str, str] | None = None, **changes: str | None) -> dict[str, str]:
    """Return an INFO with some values changed, or taken away where they are None."""
    return {key: value for key, value in {**(start or MASTER), **changes}.items() if value is not None}


@pytest.fixture
def look(judged) -> Any:
    def look(check: str, found: dict[str, str], role: str = "master", before: Any = None) -> CheckResult:
        return judged(CHECKS[check], info=found, role=role, before=before, name="redis1:6379", ping_ms=1.0)

    return look


@pytest.mark.parametrize(("ms", "status"), [(9.99, OK), (10, WARNING)])
def test_ping_is_graded_at_its_threshold(judged, ms: float, status: str) -> None:
    result = judged(CHECKS["redis_ping"], name="redis1:6379", ping_ms=ms)
    assert (result.status, result.value, result.unit) == (status, ms, "ms") and "redis1:6379" in result.message


DOWN = {**REPLICA, "master_link_status": "down", "master_last_io_seconds_ago": "-1"}
ROLES = {
    "a master as expected": (info(), "master", OK, "with 2 replicas"),
    "a replica as expected": (info(REPLICA), "replica", OK, "3 s ago"),
    "a replica where a master is expected": (info(REPLICA), "master", CRITICAL, "writes are refused"),
    "a master where a replica is expected": (info(), "replica", CRITICAL, "takes writes"),
    "a link that is down": (info(DOWN, master_link_down_since_seconds="90"), "replica", CRITICAL, "for 90 s"),
    "a link that fell just now": (info(DOWN, master_link_down_since_seconds="0"), "replica", CRITICAL, "for 0 s"),
    "a link that never was": (info(DOWN, master_link_down_since_seconds="-1"), "replica", CRITICAL, "since it started"),
    "silence below the warning": (info(REPLICA, master_last_io_seconds_ago="14"), "replica", OK, "14 s ago"),
    "silence at the warning": (info(REPLICA, master_last_io_seconds_ago="15"), "replica", WARNING, "15 s ago"),
    "silence at the limit": (info(REPLICA, master_last_io_seconds_ago="60"), "replica", CRITICAL, "60 s ago"),
    "no word of its role": (info(role=None), "master", UNKNOWN, "role"),
    "no word of its link": (info(REPLICA, master_link_status=None), "replica", UNKNOWN, "master_link_status"),
}


@pytest.mark.parametrize(("found", "role", "status", "words"), ROLES.values(), ids=list(ROLES))
def test_role_with(look, found: dict[str, str], role: str, status: str, words: str) -> None:
    result = look("redis_role", found, role)
    assert result.status == status and words in result.message and "redis1:6379" in result.message
    assert "-1" not in result.message


MEMORY = {
    "half of it used": (info(), OK, "50 %"),
    "just below the warning": (info(used_memory="79", maxmemory="100"), OK, "79 %"),
    "the warning": (info(used_memory="80", maxmemory="100"), WARNING, "policy allkeys-lru"),
    "the limit": (info(used_memory="90", maxmemory="100"), CRITICAL, "90 %"),
    "more than all of it": (info(used_memory="101", maxmemory="100"), CRITICAL, "101 %"),
    "no maxmemory, which is not endless use": (info(maxmemory="0"), SKIPPED, "no maxmemory"),
    "no word of it": (info(used_memory=None), UNKNOWN, "used_memory"),
}


@pytest.mark.parametrize(("found", "status", "words"), MEMORY.values(), ids=list(MEMORY))
def test_memory_with(look, found: dict[str, str], status: str, words: str) -> None:
    result = look("redis_memory", found)
    assert result.status == status and words in (result.skipped_reason or result.message)


SAME = {"run_id": "0a1b", "evicted_keys": "10", "rejected_connections": "0"}
COUNTERS = {
    "no earlier report": (None, "since it started 2.0 h ago"),
    "an earlier report": (SAME, "since the last report"),
    "an earlier report of another process": ({**SAME, "run_id": "ffff"}, "since it started"),
    "an earlier report without this counter": ({"run_id": "0a1b"}, "since it started"),
}


@pytest.mark.parametrize(("before", "words"), COUNTERS.values(), ids=list(COUNTERS))
@pytest.mark.parametrize(("grown", "status"), [(0, OK), (1, WARNING), (99, WARNING), (100, CRITICAL)])
def test_rejected_connections_are_counted_with(look, before: Any, words: str, grown: int, status: str) -> None:
    result = look("redis_rejected_connections", info(rejected_connections=str(grown)), before=before)
    assert (result.status, result.value) == (status, grown) and words in result.message


EVICTIONS = {
    "growth": ("13", SAME, WARNING, 3, "3 keys evicted for want of memory since the last report"),
    "no growth of a counter that is not 0": ("10", SAME, OK, 0, "0 keys"),
    "a restart": ("2", {**SAME, "run_id": "ffff"}, WARNING, 2, "since it started 2.0 h ago"),
    "growth by one": ("11", SAME, WARNING, 1, "1 keys evicted"),
    "a counter that was reset": ("0", SAME, OK, 0, "since its counters were reset"),
    "growth after a reset": ("4", SAME, WARNING, 4, "since its counters were reset"),
}


@pytest.mark.parametrize(("now", "before", "status", "grown", "words"), EVICTIONS.values(), ids=list(EVICTIONS))
def test_evictions_with(look, now: str, before: dict[str, str], status: str, grown: int, words: str) -> None:
    result = look("redis_evictions", info(evicted_keys=now), before=before)
    assert (result.status, result.value) == (status, grown) and words in result.message


def test_eviction_is_never_critical_by_default(look) -> None:
    assert look("redis_evictions", info(evicted_keys="1000000")).status == WARNING


PERSISTENCE = {
    "everything written": ({}, OK, "no write to disk has failed"),
    "no append-only file": ({"aof_enabled": "0", "aof_last_write_status": "err"}, OK, "no write"),
    "no append-only file any more": ({"aof_enabled": "0", "aof_last_bgrewrite_status": "err"}, OK, "no write"),
    "a failed snapshot": ({"rdb_last_bgsave_status": "err"}, CRITICAL, "failed its last snapshot"),
    "a failed append": ({"aof_last_write_status": "err"}, CRITICAL, "could not write"),
    "a failed rewrite": ({"aof_last_bgrewrite_status": "err"}, WARNING, "could not rewrite"),
    "a data set that is loading": ({"loading": "1", "rdb_last_bgsave_status": "err"}, UNKNOWN, "loading"),
    "no word of its snapshots": ({"rdb_last_bgsave_status": None}, UNKNOWN, "rdb_last_bgsave_status"),
    "no word of its appends": ({"aof_last_write_status": None}, UNKNOWN, "aof_last_write_status"),
}


@pytest.mark.parametrize(("changes", "status", "words"), PERSISTENCE.values(), ids=list(PERSISTENCE))
def test_persistence_with(look, changes: dict[str, str | None], status: str, words: str) -> None:
    result = look("redis_persistence", info(**changes))
    assert result.status == status and words in result.message


# The whole way, from the options to the results, with a server that speaks Redis.

INFO = "# Server\r\n" + "".join(f"{key}:{value}\r\n" for key, value in MASTER.items())
GOOD = {"AUTH": b"+OK\r\n", "PING": b"+PONG\r\n", "INFO": servers.bulk(INFO)}


def options(server: servers.Server | None = None, **changes: object) -> dict[str, Any]:
    defaults = {key: spec.get("default") for key, spec in redis.SPEC.items()}
    return {**defaults, "port": server.port if server else 6379, **changes}


def check(given: dict[str, Any], baseline: Baseline | None = None) -> tuple[dict[str, CheckResult], dict[str, Any]]:
    results, facts = engine.execute(redis.plan(given, Context(NOW, baseline)), engine.Policy(), Deadline(5))
    return {result.name: result for result in results}, facts


def test_good_server_is_ok_in_all_and_leaves_its_counters_for_the_next_run(serve) -> None:
    server = serve(servers.redis(GOOD))
    results, facts = check(options(server, password="s3cret"))
    assert set(results) == set(CHECKS)
    assert {name for name, result in results.items() if result.status != OK} == {"redis_evictions"}
    assert facts == {
        "versions": {"redis": "8.0.2"},
        "redis": {server.authority: {"run_id": "0a1b", "evicted_keys": "10", "rejected_connections": "0"}},
    }
    again, _facts = check(options(server, password="s3cret"), Baseline(facts, NOW))
    assert {result.status for result in again.values()} == {OK}


STATES = {
    "loads its data": (b"-LOADING Redis is loading the dataset in memory\r\n", CRITICAL, "refused", "is loading"),
    "runs a script": (b"-BUSY Redis is busy running a script\r\n", CRITICAL, "refused", "busy"),
    "lost its master": (b"-MASTERDOWN Link with MASTER is down\r\n", CRITICAL, "refused", "lost its master"),
    "cannot save": (b"-MISCONF Redis is configured to save RDB snapshots\r\n", CRITICAL, "refused", "MISCONF"),
    "is full of clients": (b"-ERR max number of clients reached\r\n", CRITICAL, "refused", "max number of clients"),
    "wants a login": (b"-NOAUTH Authentication required.\r\n", UNKNOWN, "auth", "wants a login"),
    "permits no PING": (b"-NOPERM this user has no permissions\r\n", UNKNOWN, "auth", "wants a login"),
}


@pytest.mark.parametrize(("reply", "status", "kind", "words"), STATES.values(), ids=list(STATES))
def test_server_that(serve, reply: bytes, status: str, kind: str, words: str) -> None:
    results, facts = check(options(serve(servers.redis({**GOOD, "PING": reply}))))
    ping = results.pop("redis_ping")
    assert (ping.status, ping.error_kind) == (status, kind) and words in ping.message
    assert {(result.status, result.value) for result in results.values()} == {(UNKNOWN, None)}
    assert facts == {}


def test_wrong_password_is_unknown_and_not_told(serve) -> None:
    replies = {**GOOD, "AUTH": b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"}
    results, _facts = check(options(serve(servers.redis(replies)), password="s3cret"))
    assert {(result.status, result.error_kind) for result in results.values()} == {(UNKNOWN, "auth")}
    assert not any("s3cret" in result.message for result in results.values())


def test_info_that_is_cut_short_measures_nothing(serve) -> None:
    cut = servers.redis({**GOOD, "INFO": GOOD["INFO"][:200]}, last="INFO")
    results, facts = check(options(serve(cut)))
    assert {(result.value, result.error_kind) for result in results.values()} == {(None, "parse")}
    assert results["redis_ping"].status == CRITICAL and facts == {}


def test_nothing_listening_is_critical_once(closed_port: int) -> None:
    results, _facts = check(options(port=closed_port))
    ping = results.pop("redis_ping")
    assert (ping.status, ping.error_kind) == (CRITICAL, "refused") and str(closed_port) in ping.message
    assert {result.status for result in results.values()} == {UNKNOWN}


ERRORS = {
    "port 0": ({"port": 0}, "redis.port: 0 is not a port"),
    "port 65536": ({"port": 65536}, "redis.port: 65536 is not a port"),
    "a user without a password": ({"user": "mon"}, "redis.user: a user needs"),
}


@pytest.mark.parametrize(("changes", "words"), ERRORS.values(), ids=list(ERRORS))
def test_options_are_refused_with(changes: dict[str, Any], words: str) -> None:
    (error,) = redis.validate(options(**changes))
    assert error.startswith(words)


def test_port_does_not_matter_beside_a_socket() -> None:
    assert list(redis.validate(options(port=0, socket="/run/redis.sock"))) == []
    assert list(redis.validate(options(user="mon", password="s3cret"))) == list(redis.validate(options())) == []


def test_ping_is_timed_in_milliseconds(clock) -> None:
    class Slow:
        def call(self, *_words: str) -> str:
            clock.now += 0.25
            return "PONG"

    deadline = Deadline(5, clock)
    clock.now += 1
    assert redis._ping(Slow(), deadline) == pytest.approx(250)
