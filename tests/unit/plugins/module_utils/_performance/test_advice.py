"""Settings beside those that are advised, and those of the guide beside the machine."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils import _postgresql_tuning as tuning
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Limits
from ansible_collections.matrixon.ops.plugins.module_utils._performance import advice, guide
from ansible_collections.matrixon.ops.plugins.module_utils._performance.advice import Machine
from ansible_collections.matrixon.ops.plugins.module_utils._performance.guide import Seen

GIB = 1024**3


def row(name: str, setting: str, unit: str | None = None, vartype: str = "integer") -> dict[str, Any]:
    return {"name": name, "setting": setting, "unit": unit, "vartype": vartype, "shown": f"{setting}{unit or ''}"}


@pytest.mark.parametrize(
    ("given", "advised", "verdict"),
    [
        (row("shared_buffers", "524288", "8kB"), "4GB", "as advised"),
        (row("shared_buffers", "507904", "8kB"), "4GB", "as advised"),
        (row("shared_buffers", "16384", "8kB"), "4GB", "lower"),
        (row("shared_buffers", "1048576", "8kB"), "4GB", "higher"),
        (row("min_wal_size", "1024", "MB"), "1GB", "as advised"),
        (row("checkpoint_timeout", "900", "s"), "15min", "as advised"),
        (row("checkpoint_timeout", "300", "s"), "15min", "lower"),
        (row("max_connections", "101"), "100", "higher"),
        (row("random_page_cost", "1.1", None, "real"), "1.1", "as advised"),
        (row("random_page_cost", "4", None, "real"), "1.1", "higher"),
        (row("jit", "on", None, "bool"), "off", "other"),
        (row("jit", "off", None, "bool"), "off", "as advised"),
        (row("huge_pages", "try", None, "enum"), "try", "as advised"),
        (row("wal_compression", "pglz", None, "enum"), "on", "as advised"),
        (row("wal_compression", "off", None, "enum"), "on", "other"),
        # -1 stands for another setting, and is no amount.
        (row("autovacuum_work_mem", "-1", "kB"), "64MB", "lower"),
    ],
)
def test_a_setting_stands_to_what_is_advised(given: dict[str, Any], advised: str, verdict: str) -> None:
    assert advice.verdict(given, advised) == verdict


def test_every_advised_setting_has_a_line_with_its_reason_and_those_that_differ_come_first() -> None:
    machine = Machine(16 * GIB, 8, 100, overrides={"work_mem": "7MB", "deadlock_timeout": "5s"})
    settings = [row("work_mem", "7168", "kB"), row("max_connections", "100"), row("jit", "on", None, "bool")]
    lines = advice.compare(settings, machine, 15)
    computed = {line["name"]: line["reason"] for line in tuning.settings(16 * GIB, 8, 100, major=15)}
    assert {line.setting for line in lines} == {*computed, "deadlock_timeout"}
    assert all(line.reason for line in lines)
    found = {line.setting: line for line in lines}
    assert found["work_mem"].verdict == "as advised" and found["work_mem"].reason == "postgresql_settings"
    assert found["shared_buffers"].now == "not known to this server"
    assert found["jit"].reason == computed["jit"]
    order = [line.verdict == "as advised" for line in lines]
    assert order == sorted(order)


def test_connections_are_those_of_the_server_unless_they_are_given() -> None:
    settings = [row("max_connections", "300")]
    for given, advised in ((0, "300"), (50, "50")):
        lines = {line.setting: line for line in advice.compare(settings, Machine(GIB, 1, given), 15)}
        assert lines["max_connections"].advised == advised


def test_a_server_follows_all_advice_when_it_is_set_to_it() -> None:
    computed = tuning.settings(4 * GIB, 2, 100, "hdd", 2, 17)
    kinds = {"on": "bool", "off": "bool", "try": "enum"}
    settings = []
    for line in computed:
        value, name = line["value"], line["name"]
        unit = next((unit for unit in ("GB", "MB", "kB", "min") if value.endswith(unit)), None)
        number = value[: -len(unit)] if unit else value
        settings.append(row(name, number, unit, kinds.get(value, "real" if "." in value else "integer")))
    lines = advice.compare(settings, Machine(4 * GIB, 2, 100, "hdd", 2), 17)
    assert {line.verdict for line in lines} == {"as advised"}, lines


# The guide's settings -----------------------------------------------------------------------------------------------

BOTH = ("homeserver", "postgresql")


def seen(**changes: Any) -> Seen:
    known: dict[str, Any] = {
        "scopes": BOTH,
        "memory_bytes": 64 * GIB,
        "cores": 16,
        "accepted": 10.0,
        "open_files": 65536,
        "connections": 600,
        "slowest_ms": 900.0,
        "listening": {6379},
    }
    return Seen(**{**known, **changes})


@pytest.mark.parametrize(
    ("rule", "value", "changes", "status", "words"),
    [
        ("threads", "32", {}, "ok", "fit 16 cores"),
        ("threads", "32", {"cores": 8}, "ok", "fit 8 cores"),
        ("threads", "32", {"cores": 7}, "warning", "28 are enough"),
        ("threads", "32", {"cores": 64}, "warning", "idle"),
        ("blocking_threads", "1024", {"memory_bytes": 8 * GIB}, "ok", "fits a quarter"),
        ("blocking_threads", "1024", {"memory_bytes": 7 * GIB}, "warning", "more than a quarter"),
        ("cache_memory", "4GB", {"memory_bytes": 16 * GIB}, "ok", "4.0 GiB"),
        ("cache_memory", "4GB", {"memory_bytes": 15 * GIB}, "warning", "more than a quarter"),
        ("keepalive", "300", {}, "ok", "3000 at once"),
        ("keepalive", "300", {"accepted": 110.0}, "warning", "more than half of the 65536"),
        ("keepalive", "300", {"open_files": None}, "unknown", "not"),
        ("keepalive", "300", {"accepted": None}, "unknown", "not"),
        ("database_connections", "500", {}, "ok", "500 connections"),
        ("database_connections", "500", {"connections": 97}, "warning", "97 usable"),
        ("database_connections", "500", {"memory_bytes": 4 * GIB}, "warning", "more than a quarter"),
        ("query_timeout", "30", {}, "ok", "well within"),
        ("query_timeout", "30", {"slowest_ms": 20_000.0}, "ok", "just within"),
        ("query_timeout", "30", {"slowest_ms": 30_001.0}, "warning", "broken off"),
        ("query_timeout", "30", {"slowest_ms": None}, "unknown", "pg_stat_statements"),
        ("statement_cache", "2000", {"connections": 100}, "ok", "3.1 GiB"),
        ("statement_cache", "2000", {"memory_bytes": 16 * GIB}, "warning", "18.3 GiB"),
        ("statement_cache", "2000", {"connections": None}, "unknown", "not known"),
        ("local_service", "redis://localhost:6379", {}, "ok", "6379"),
        ("local_service", "redis://localhost:6379", {"listening": set()}, "warning", "nothing listens"),
        ("local_service", "redis://localhost:6379", {"listening": None}, "unknown", "could not be read"),
        ("local_service", "redis://cache1:6379", {}, "unknown", "not one of this host"),
        ("any", "true", {}, "ok", "no size"),
        ("threads", "many", {}, "unknown", "not a number"),
    ],
)
def test_each_rule_on_both_sides(rule: str, value: str, changes: dict[str, Any], status: str, words: str) -> None:
    (line,) = guide.lines([{"setting": "a.b", "value": value, "rule": rule}], seen(**changes))
    assert line.status == status and words in line.reason, line


def test_a_setting_is_held_only_against_the_hosts_that_it_concerns() -> None:
    settings = [{"setting": rule, "value": "1", "rule": rule} for rule in guide.NAMES]
    database = {line.setting for line in guide.lines(settings, seen(scopes=("postgresql",)))}
    homeserver = {line.setting for line in guide.lines(settings, seen(scopes=("homeserver",)))}
    assert database == {"database_connections", "query_timeout", "statement_cache"}
    assert database | homeserver == set(guide.NAMES) and not database & homeserver
    assert guide.lines(settings, seen(scopes=())) == []
    assert guide.judge({"lines": []}, Limits(1)).status == "skipped"


def test_the_verdict_names_what_is_not_good() -> None:
    settings = [
        {"setting": "performance.worker_threads", "value": "32", "rule": "threads"},
        {"setting": "cache.enabled", "value": "true", "rule": "any"},
        {"setting": "performance.connection_keepalive", "value": "300", "rule": "keepalive"},
    ]
    lines = guide.lines(settings, seen(cores=2, accepted=None))
    verdict = guide.judge({"lines": lines}, guide.GUIDE.limits)
    assert (verdict.status, verdict.value) == ("warning", 1)
    assert "performance.worker_threads = 32" in verdict.message and "not known: performance.conn" in verdict.message
    assert guide.judge({"lines": lines[1:]}, guide.GUIDE.limits).status == "ok"
    # Where nothing is known, nothing is good.
    unseen = guide.judge({"lines": lines[2:]}, guide.GUIDE.limits)
    assert (unseen.status, unseen.error_kind) == ("unknown", "missing_tool"), unseen
    assert "performance.connection_keepalive: the connections per second" in unseen.message
