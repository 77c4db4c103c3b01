"""The judges of the daily look, at both sides of what they judge."""

from __future__ import annotations

from typing import Any

import pytest
from upkeep_rows import OPTIONS, holder, index, table

from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Verdict
from ansible_collections.matrixon.ops.plugins.module_utils._probe import AUTH, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._upkeep import run


def facts(**changes: Any) -> dict[str, Any]:
    return {
        "identity": {"block_size": 8192, "version": "17.5"},
        "server": "PostgreSQL at db1",
        "where": "db1:5432",
        "role": "primary",
        "tables": [table()],
        "indexes": [index()],
        "statistics": [{"schema": "public", "table": "events", "column": "body", "nulls": 0.0, "width": 20.0}],
        "options": [{**OPTIONS, "checksums": True}],
        "ages": [{"database": "synapse", "xid": 100e6, "mxid": 1e6}],
        "building": [],
        "holders": [],
        "prepared": [],
        "checksums": [{"failures": 0.0, "last": None, "databases": None}],
        **changes,
    }


def judge(name: str, **changes: Any) -> Verdict:
    check = run.CHECKS[name]
    said = check.judge(facts(**changes), check.limits)
    return max(said, key=lambda one: one.value or 0) if isinstance(said, list) else said


@pytest.mark.parametrize(
    ("name", "changes", "status", "words"),
    [
        ("database_role", {}, "ok", "is a primary of version 17.5"),
        ("database_autovacuum", {}, "ok", "is on"),
        ("database_autovacuum", {"options": [{**OPTIONS, "autovacuum": False}]}, "critical", "is off"),
        (
            "database_autovacuum",
            {"tables": [table(options=["autovacuum_enabled=off"])]},
            "warning",
            "not for public.events",
        ),
        ("database_dead_rows", {"tables": [table(dead=9_999.0)]}, "ok", "no table has 10000"),
        ("database_dead_rows", {"tables": [table(dead=40_000.0)]}, "ok", "public.events"),
        ("database_dead_rows", {"tables": [table(dead=40_100.0)]}, "warning", "public.events"),
        ("database_dead_rows", {"tables": [table(dead=200_500.0)]}, "critical", "public.events"),
        ("database_index_bloat", {}, "warning", "estimated from the planner's statistics"),
        ("database_index_bloat", {"indexes": [index(tuples=30e6)]}, "ok", "public.events_body"),
        ("database_index_bloat", {"statistics": [], "indexes": [index()]}, "skipped", "not enough data"),
        ("database_index_bloat", {"indexes": []}, "ok", "no index has"),
        ("database_unused_space", {}, "ok", "unused space"),
        ("database_unused_space", {"indexes": []}, "skipped", "not enough data"),
        ("database_freeze_age", {}, "ok", "synapse"),
        ("database_freeze_age", {"ages": [{"database": "a", "xid": 250e6, "mxid": 0.0}]}, "warning", "125 %"),
        ("database_freeze_age", {"ages": [{"database": "a", "xid": 0.0, "mxid": 1.2e9}]}, "critical", "multixact"),
        ("database_horizon", {}, "ok", "nobody"),
        ("database_horizon", {"holders": [holder(age=999_999.0)]}, "ok", "pid 4711"),
        ("database_horizon", {"holders": [holder(age=1e6)]}, "warning", "pg_terminate_backend(4711)"),
        (
            "database_horizon",
            {"holders": [holder(), holder(None, age=50e6, kind="slot", name="copy", catalogs=True)]},
            "critical",
            "what died in the system catalogs within",
        ),
        ("database_prepared", {}, "ok", "no prepared"),
        (
            "database_prepared",
            {"prepared": [{"name": "tx1", "user": "u", "database": "d", "seconds": 3600.0}]},
            "critical",
            "ROLLBACK PREPARED",
        ),
        ("database_invalid_indexes", {}, "ok", "are valid"),
        ("database_invalid_indexes", {"indexes": [index(valid=False)]}, "warning", "public.events_body"),
        (
            "database_invalid_indexes",
            {"indexes": [index(valid=False)], "building": [{"table": 1}]},
            "ok",
            "being built",
        ),
        ("database_last_vacuum", {}, "skipped", "has changed"),
        ("database_last_vacuum", {"tables": [table(dead=1.0, vacuumed=29 * 86400.0)]}, "ok", "vacuumed 29"),
        ("database_last_vacuum", {"tables": [table(dead=1.0, vacuumed=30 * 86400.0)]}, "warning", "vacuumed 30"),
        ("database_last_vacuum", {"tables": [table(modified=1.0, analyzed=None)]}, "warning", "never analysed"),
        ("database_checksums", {}, "ok", "no page"),
        ("database_checksums", {"options": [{"checksums": False}]}, "skipped", "no checksums"),
        (
            "database_checksums",
            {"checksums": [{"failures": 1.0, "last": "2026-11-27", "databases": "synapse"}]},
            "critical",
            "in synapse, last at 2026-11-27",
        ),
    ],
)
def test_each_judge_at_both_sides(name: str, changes: dict[str, Any], status: str, words: str) -> None:
    verdict = judge(name, **changes)
    assert (verdict.status, words in verdict.message) == (status, True), verdict


@pytest.mark.parametrize(
    "name", ["database_dead_rows", "database_table_bloat", "database_unused_space", "database_freeze_age"]
)
def test_a_standby_is_not_asked_what_only_a_primary_knows(name: str) -> None:
    verdict = judge(name, role="standby")
    assert verdict.status == "skipped" and "standby" in verdict.message


def test_a_question_that_failed_is_not_judged() -> None:
    with pytest.raises(ProbeFailure):
        judge("database_horizon", holders=ProbeFailure(AUTH, "may not see everything"))
