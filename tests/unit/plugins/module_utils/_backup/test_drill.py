"""Verdicts on a restored copy: each with the facts on which it must be good, and those on which it must not."""

from __future__ import annotations

import dataclasses
import re
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import drill
from ansible_collections.matrixon.ops.plugins.module_utils._backup.cluster import Counted
from ansible_collections.matrixon.ops.plugins.module_utils._backup.drill import Query
from ansible_collections.matrixon.ops.plugins.module_utils._backup.driver import Reach
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import Database, PostgresqlFacts, Table
from ansible_collections.matrixon.ops.plugins.module_utils._backup.scratch import Recovered
from ansible_collections.matrixon.ops.plugins.module_utils._probe import ProbeFailure

REACH = Reach(0x3000100, (2, 3), {})
PG = PostgresqlFacts(
    version="15.18",
    major=15,
    system_identifier="7",
    encoding="UTF8",
    collate="C.UTF-8",
    ctype="C.UTF-8",
    locale_provider="libc",
    checksums=True,
    segment_bytes=16 << 20,
    databases=(
        Database("postgres", 1),
        Database(
            "synapse",
            1,
            (Table("public", "events", 10, 10), Table("public", "users", 5, 8)),
            "synapse",
            "UTF8",
            "C",
            "C",
            "libc",
        ),
    ),
)


def counted(**rows: int) -> dict[str, list[Counted]]:
    return {"postgres": [], "synapse": [Counted(1, "public", name, number, 0, 0) for name, number in rows.items()]}


# --- where recovery ended


@pytest.mark.parametrize(
    ("recovered", "status"),
    [(Recovered(2, 1, ""), "ok"), (Recovered(3, 1, ""), "ok"), (Recovered(4, 1, ""), "critical"), (None, "unknown")],
)
def test_recovery_must_end_on_a_planned_timeline(recovered: Recovered | None, status: str) -> None:
    verdict = drill.judge_timeline(REACH, recovered, logical=False)
    assert verdict.status == status
    if status == "critical":
        assert "on timeline 4 and not on 2 or 3" in verdict.message


@pytest.mark.parametrize(
    ("position", "status", "missing"),
    [(0x3000100, "ok", 0), (0x3000101, "ok", 0), (0x30000FF, "critical", 1), (0x2000100, "critical", 1 << 24)],
)
def test_recovery_must_come_as_far_as_the_log_goes(position: int, status: str, missing: int) -> None:
    verdict = drill.judge_position(REACH, Recovered(2, position, ""), logical=False)
    assert (verdict.status, verdict.value) == (status, missing)
    if missing:
        assert "should have come to 0/3000100" in verdict.message


def test_a_position_that_is_not_known_is_no_good_one() -> None:
    assert drill.judge_position(REACH, None, logical=False).status == "unknown"


def test_what_a_dump_does_not_have_is_skipped() -> None:
    assert drill.judge_timeline(REACH, None, logical=True).status == "skipped"
    assert drill.judge_position(REACH, None, logical=True).status == "skipped"
    assert drill.judge_identifier(PG, "8", logical=True).status == "skipped"


@pytest.mark.parametrize(("found", "status"), [("7", "ok"), ("8", "critical"), ("", "critical")])
def test_the_copy_must_be_of_the_same_cluster(found: str, status: str) -> None:
    assert drill.judge_identifier(PG, found, logical=False).status == status


# --- locale


def test_the_same_locale_is_good_however_it_is_written_down() -> None:
    """In a cluster whose own locale is C, a database with C says nothing of its own."""
    same = dataclasses.replace(
        PG,
        collate="C",
        ctype="C",
        databases=(
            dataclasses.replace(
                PG.databases[0], encoding="UTF8", collate="C.UTF-8", ctype="C.UTF-8", locale_provider="libc"
            ),
            Database("synapse", 1),
        ),
    )
    assert drill.judge_locale(PG, PG).status == "ok"
    verdict = drill.judge_locale(PG, same)
    assert verdict.message == "the cluster has UTF8, C/C, libc and had UTF8, C.UTF-8/C.UTF-8, libc"


def test_a_database_with_another_locale_is_critical() -> None:
    wrong = dataclasses.replace(PG, databases=(PG.databases[0], Database("synapse", 1)))
    verdict = drill.judge_locale(PG, wrong)
    assert verdict.status == "critical"
    assert verdict.message == "database synapse has UTF8, C.UTF-8/C.UTF-8, libc and had UTF8, C/C, libc"


def test_a_database_that_is_missing_is_critical() -> None:
    verdict = drill.judge_locale(PG, dataclasses.replace(PG, databases=PG.databases[:1]))
    assert (verdict.status, verdict.message) == ("critical", "database synapse is missing")


# --- rows


@pytest.mark.parametrize("users", [5, 6, 8])
def test_rows_within_what_was_counted_are_good(users: int) -> None:
    verdict = drill.judge_rows(PG, counted(events=10, users=users))
    assert verdict.status == "ok"
    assert verdict.message.startswith(f"all {10 + users} rows of 2 tables are there, 1 of which moved")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"events": 9, "users": 5}, "table public.events of synapse has 9 rows and should have 10"),
        ({"events": 11, "users": 5}, "table public.events of synapse has 11 rows and should have 10"),
        ({"events": 10, "users": 4}, "table public.users of synapse has 4 rows and should have 5 to 8"),
        ({"events": 10, "users": 9}, "table public.users of synapse has 9 rows and should have 5 to 8"),
        ({"users": 5}, "table public.events of synapse is missing; it had 10 rows"),
    ],
)
def test_rows_outside_of_it_are_critical(rows: dict[str, int], message: str) -> None:
    verdict = drill.judge_rows(PG, counted(**rows))
    assert (verdict.status, verdict.message, verdict.value) == ("critical", message, 1)


def test_a_database_without_its_rows_is_critical() -> None:
    assert drill.judge_rows(PG, {"postgres": []}).message == "database synapse is missing"


def test_nothing_to_compare_is_no_proof() -> None:
    empty = dataclasses.replace(PG, databases=(Database("synapse", 1),))
    assert drill.judge_rows(empty, {"synapse": []}).status == "unknown"


def test_of_many_findings_a_few_are_named() -> None:
    assert drill.some(["a", "b", "c"]) == "a; b; c"
    assert drill.some(["a", "b", "c", "d", "e"]) == "a; b; c; and 2 more"


# --- what the tools say


def test_amcheck_that_found_nothing_is_good() -> None:
    assert drill.judge_amcheck(0, "\n", "").status == "ok"


@pytest.mark.parametrize("code", [0, 2])
def test_amcheck_that_prints_anything_is_critical(code: int) -> None:
    out = (
        'btree index "synapse.public.users_f":\n    ERROR:  heap tuple (0,1) from table "users" lacks matching index '
        'tuple\nheap table "synapse.public.events", block 1, offset 1:\n    xmin 4 precedes relation freeze\n'
    )
    verdict = drill.judge_amcheck(code, out, "")
    assert (verdict.status, verdict.value) == ("critical", 2)
    assert 'users_f": ERROR: heap tuple' in re.sub(r"\s+", " ", verdict.message)


def test_amcheck_that_failed_without_a_word_is_critical() -> None:
    assert drill.judge_amcheck(2, "", "pg_amcheck: error: query failed").status == "critical"


CHECKSUMS = "Checksum operation completed\nFiles scanned:   100\nBlocks scanned:  {}\nBad checksums:  {}\n"


@pytest.mark.parametrize(
    ("code", "pages", "wrong", "status"),
    [
        (0, 500, 0, "ok"),
        (1, 500, 1, "critical"),
        (0, 500, 1, "critical"),
        (1, 500, 0, "critical"),
        (0, 0, 0, "critical"),
    ],
)
def test_pages_are_counted_not_believed(code: int, pages: int, wrong: int, status: str) -> None:
    assert drill.judge_checksums(code, CHECKSUMS.format(pages, wrong), "").status == status


def test_pg_checksums_without_an_answer_is_a_failure() -> None:
    with pytest.raises(BackupError, match="gave no answer that can be read: pg_checksums: error: cluster must be"):
        drill.judge_checksums(1, "", "pg_checksums: error: cluster must be shut down")


@pytest.mark.parametrize(
    ("rows", "status"),
    [
        ([{"max": 6000}], "ok"),
        ([{"max": 0}], "ok"),
        ([{"max": None}], "critical"),
        ([], "critical"),
        ([{"a": 1, "b": 2}], "critical"),
        ([{"a": 1}, {"a": 2}], "critical"),
    ],
)
def test_one_value_is_the_good_answer(rows: list[dict[str, t.Any]], status: str) -> None:
    assert drill.judge_query(Query("q", "synapse", "SELECT 1", "what it means"), rows).status == status


# --- failures


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (BackupError("parse", "set a is damaged"), "critical"),
        (BackupError("internal", "the archive has a hole"), "critical"),
        (BackupError("internal", "pg_restore ended with code 1", {"code": 1}), "critical"),
        # None of these says anything about the set.
        (BackupError("internal", "no room", {"no_space": True}), "unknown"),
        (BackupError("internal", "no shared memory", {"outside": True}), "unknown"),
        (BackupError("internal", "tar was killed", {"code": -9}), "unknown"),
        (BackupError("missing_tool", "zstd is not installed"), "unknown"),
        (ProbeFailure("timeout", "no answer"), "unknown"),
    ],
)
def test_only_what_was_seen_of_the_set_is_critical(failure: ProbeFailure, status: str) -> None:
    assert drill.status_of(failure) == status
