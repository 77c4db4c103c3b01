"""Counters of statements, and texts that are fit to show."""

from __future__ import annotations

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._performance import statements
from ansible_collections.matrixon.ops.plugins.module_utils._performance.statements import Counted
from ansible_collections.matrixon.ops.plugins.module_utils._probe import ProbeFailure


def extension(version: str) -> dict[str, str]:
    return {"version": version, "schema": "public"}


@pytest.mark.parametrize(
    ("version", "column", "outer"),
    [
        # 12, and a server that was upgraded from it and kept its extension.
        ("1.7", "sum(total_time)", False),
        ("1.8", "sum(total_exec_time)", False),
        ("1.9", "sum(total_exec_time)", True),
        # Not 1.1: versions are numbers with a dot between.
        ("1.10", "sum(total_exec_time)", True),
        ("1.12", "sum(total_exec_time)", True),
    ],
)
def test_the_columns_are_those_of_the_extensions_version(version: str, column: str, outer: bool) -> None:
    query = statements.counters_query(extension(version))
    assert column in query and ("toplevel" in query) is outer
    # The texts lie in a file that would be read whole.
    assert "pg_stat_statements(false)" in query
    assert (statements.info_query(extension(version)) is None) is (version in ("1.7", "1.8"))


def test_the_difference_of_two_readings() -> None:
    before = {1: Counted(10, 100.0), 2: Counted(5, 50.0), 3: Counted(9, 90.0), 4: Counted(4, 4.0)}
    after = {1: Counted(12, 160.0), 2: Counted(5, 50.0), 3: Counted(2, 8.0), 5: Counted(1, 7.0)}
    found = statements.difference(before, after)
    # 2 did not run; 3 was pushed out and came back; 4 is gone; 5 is new.
    assert found == {1: Counted(2, 60.0), 3: Counted(2, 8.0), 5: Counted(1, 7.0)}
    assert statements.together(found) == Counted(5, 75.0)


def test_the_order_by_total_and_by_mean() -> None:
    group = {1: Counted(1000, 500.0), 2: Counted(2, 400.0), 3: Counted(1, 1.0), 4: Counted(1, 9000.0)}
    texts = {1: "one", 2: "two", 3: "three"}
    assert [each.text for each in statements.ranked(group, texts)] == ["one", "two", "three"]
    assert [each.text for each in statements.ranked(group, texts, by_mean=True)] == ["two", "three", "one"]


def test_candidates_leave_room_for_the_collectors_own() -> None:
    many = {number: Counted(1, float(number)) for number in range(200)}
    assert len(statements.candidates(many)) == statements.CANDIDATES > 2 * statements.MOST_RANKED


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("SELECT  a\n FROM t WHERE b = $1", "SELECT a FROM t WHERE b = $1"),
        ("ALTER ROLE x PASSWORD 'hunter2' VALID UNTIL 'y'", "ALTER ROLE x PASSWORD ..."),
        ("CREATE USER MAPPING FOR x OPTIONS (password $$hunter2$$)", "CREATE USER MAPPING FOR x OPTIONS (password ..."),
        ("COPY t FROM PROGRAM E'echo \\'hunter2'", "COPY t FROM PROGRAM E..."),
        ("SELECT crypt('hunter2', $1)", "SELECT crypt('...', $1)"),
        ("SELECT E'a\\'hunter2', 'b''hunter2', $t$hunter2$t$, $2", "SELECT '...', '...', '...', $2"),
        ("SELECT 'never ended hunter2", "SELECT '...'"),
        ("/* from 'here' */ (SELECT 1)", "/* from '...' */ (SELECT 1)"),
        ("DO $$ BEGIN PERFORM 'hunter2'; END $$", "DO ..."),
        (None, ""),
    ],
)
def test_no_text_shows_what_a_person_put_into_quotes(query: str | None, shown: str) -> None:
    assert statements.shown(query) == shown
    assert "hunter2" not in statements.shown(query)


def test_a_long_text_is_cut() -> None:
    assert len(statements.shown("SELECT " + "a, " * 900 + "b")) == statements.TEXT_CHARS


def test_each_refusal_has_its_way_out() -> None:
    unloaded = statements.failure("synapse", ProbeFailure("internal", "x", {"sqlstate": "55000"}))
    assert unloaded.kind == "missing_tool" and "shared_preload_libraries" in unloaded.message
    denied = statements.failure("synapse", ProbeFailure("auth", "no right", {"sqlstate": "42501"}))
    assert denied.kind == "auth" and "GRANT pg_read_all_stats" in denied.message
    assert "CREATE EXTENSION" in statements.missing("synapse").message
    other = ProbeFailure("timeout", "late")
    assert statements.failure("synapse", other) is other
