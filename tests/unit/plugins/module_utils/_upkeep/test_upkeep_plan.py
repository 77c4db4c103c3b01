"""What is work and what is not, without a server."""

from __future__ import annotations

import math
from typing import Any

import pytest
from upkeep_rows import GIB, OPTIONS, holder, index, table

from ansible_collections.matrixon.ops.plugins.module_utils._probe import AUTH, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._upkeep import bloat, plan
from ansible_collections.matrixon.ops.plugins.module_utils._upkeep.plan import ANALYZE, DROP, REINDEX, VACUUM, Rules


def make(
    *tables: dict[str, Any], free: float | str = 10 * GIB, rules: Rules | None = None, **changes: Any
) -> plan.Plan:
    facts = {
        "tables": list(tables),
        "indexes": [],
        "statistics": [{"schema": "public", "table": "events", "column": "body", "nulls": 0.0, "width": 20.0}],
        "options": [OPTIONS],
        "holders": [],
        "building": [],
        "identity": {"block_size": 8192},
        **changes,
    }
    return plan.make(facts, rules or Rules(), lambda _tablespace: free)


def test_a_table_that_needs_nothing_is_left_alone() -> None:
    assert make(table()) == plan.Plan()


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({"dead": 11_000.0}, []),
        ({"dead": 11_200.0}, [VACUUM]),
        ({"dead": 999.0, "live": 100.0, "tuples": 100.0}, []),
        ({"dead": 1000.0, "live": 100.0, "tuples": 100.0}, [VACUUM]),
        ({"dead": 2000.0, "options": ["autovacuum_vacuum_scale_factor=0.01"]}, [VACUUM]),
        ({"inserted": 20_999.0}, []),
        ({"inserted": 21_000.0}, [VACUUM]),
        ({"inserted": 1e9, "options": ["autovacuum_vacuum_insert_threshold=-1"]}, []),
        ({"modified": 10_049.0}, []),
        ({"modified": 10_050.0}, [ANALYZE]),
        ({"analyzed": None}, [ANALYZE]),
        ({"analyzed": None, "live": 10.0, "tuples": 10.0}, []),
        ({"xid_age": 149e6}, []),
        ({"xid_age": 150e6}, [VACUUM]),
        ({"mxid_age": 300e6}, [VACUUM]),
        ({"xid_age": 80e6, "options": ["autovacuum_freeze_max_age=100000000"]}, [VACUUM]),
        # A table's own option can only make it sooner.
        ({"xid_age": 150e6, "options": ["autovacuum_freeze_max_age=400000000"]}, [VACUUM]),
        ({"schema": "pg_catalog", "modified": 1e6}, []),
    ],
)
def test_a_table_is_work_from_its_threshold_on(changes: dict[str, Any], kinds: list[str]) -> None:
    assert [work.kind for work in make(table(**changes)).works] == kinds


def test_the_reason_has_its_figures_and_one_statement_does_all() -> None:
    (work,) = make(table(dead=50_000.0, modified=60_000.0, xid_age=160e6, vacuumed=None)).works
    assert work.statement == 'VACUUM (FREEZE, ANALYZE, PARALLEL 0) "public"."events"'
    why = work.why.replace("\N{NO-BREAK SPACE}", "")
    assert "age 160000000 of autovacuum_freeze_max_age (80 %)" in why
    assert "50000 of 150000 rows are dead (33 %), autovacuum takes it from 20050 on; never vacuumed" in why
    assert "60000 rows changed since the last ANALYZE" in why


def test_autovacuum_that_is_off_is_said() -> None:
    (work,) = make(table(dead=50_000.0, options=["autovacuum_enabled=false"])).works
    assert "and is off" in work.why


def test_the_newest_servers_cap_of_the_threshold_counts() -> None:
    assert plan.threshold(table(tuples=1e9), {**OPTIONS, "autovacuum_vacuum_max_threshold": 1e8}, "vacuum") == 1e8
    assert plan.threshold(table(tuples=1e9), OPTIONS, "vacuum") == 50 + 0.2e9
    off = {**OPTIONS, "autovacuum_vacuum_insert_threshold": -1.0}
    assert plan.threshold(table(), off, "vacuum_insert") == math.inf


def test_names_are_quoted() -> None:
    (work,) = make(table(name='it"s; DROP TABLE users', dead=50_000.0)).works
    assert work.statement == 'VACUUM (PARALLEL 0) "public"."it""s; DROP TABLE users"'


def test_a_missing_right_is_for_a_person() -> None:
    found = make(table(dead=50_000.0, permitted=False))
    assert found.works == [] and "may not vacuum" in found.held[0].reason and found.held[0].status == "warning"


def test_what_is_to_be_skipped_is_skipped_with_its_reason() -> None:
    found = make(table(dead=50_000.0), rules=Rules(skip=("public.events",)))
    assert found.works == [] and found.held[0].status == "skipped" and "option skip" in found.held[0].reason


def test_a_vacuum_that_would_remove_nothing_is_not_run_and_the_analyze_is() -> None:
    found = make(table(dead=50_000.0, modified=60_000.0), holders=[holder()])
    assert [work.kind for work in found.works] == [ANALYZE]
    assert (
        "kept by a transaction of pid 4711 (synapse, worker1, idle in transaction) since 2.0 h" in found.held[0].reason
    )


@pytest.mark.parametrize(("since", "vacuumed"), [(1800.0, 3600.0), (None, 3600.0), (7200.0, None)])
def test_a_vacuum_that_may_remove_something_is_run(since: float | None, vacuumed: float | None) -> None:
    found = make(table(dead=50_000.0, vacuumed=vacuumed), holders=[holder(since)])
    assert [work.kind for work in found.works] == [VACUUM] and found.held == []


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (holder(kind="prepared", name="tx1"), "the prepared transaction tx1 of synapse since 2.0 h"),
        (holder(None, kind="slot", name="db2", state="inactive"), "the inactive replication slot db2"),
        (holder(None, kind="standby"), "the feedback of a standby, pid 4711 (synapse, worker1, idle in transaction)"),
        (holder(60.0, kind="autovacuum"), "autovacuum, pid 4711 since 60 s"),
    ],
)
def test_each_holder_is_named_for_what_it_is(row: dict[str, Any], words: str) -> None:
    assert plan.holder_words(row) == words


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (holder(kind="prepared"), "ROLLBACK PREPARED"),
        (holder(kind="slot", state="inactive"), "pg_drop_replication_slot"),
        (holder(kind="slot", state="active"), "pid 4711"),
        (holder(kind="standby"), "hot_standby_feedback"),
        (holder(kind="autovacuum"), "by itself"),
        (holder(), "pg_terminate_backend(4711)"),
    ],
)
def test_for_each_holder_there_is_a_way_out(row: dict[str, Any], words: str) -> None:
    assert words in plan.way_out(row)


def test_a_transaction_that_is_older_than_its_snapshot_holds_since_the_snapshot() -> None:
    found = make(table(dead=50_000.0), holders=[holder(7200.0, held=10.0)])
    assert [work.kind for work in found.works] == [VACUUM] and found.held == []


def test_the_order_is_leftovers_freeze_vacuum_analyze_rebuild_and_the_worst_first() -> None:
    found = make(
        table(name="some", dead=30_000.0),
        table(name="analysed", modified=50_000.0),
        table(name="old", xid_age=190e6),
        table(name="many", dead=300_000.0),
        indexes=[index(), index(oid=3, name="events_body_ccnew", valid=False)],
    )
    assert [(work.kind, work.name) for work in found.works] == [
        (DROP, "events_body_ccnew"),
        (VACUUM, "old"),
        (VACUUM, "many"),
        (VACUUM, "some"),
        (ANALYZE, "analysed"),
        (REINDEX, "events_body"),
    ]


def test_an_answer_that_is_missing_makes_no_plan() -> None:
    with pytest.raises(ProbeFailure):
        make(table(), holders=ProbeFailure(AUTH, "may not see everything"))


# Indexes -----------------------------------------------------------------------------------------------------------


def test_a_bloated_index_is_rebuilt_where_there_is_room() -> None:
    (work,) = make(indexes=[index()]).works
    assert work.statement == 'REINDEX INDEX CONCURRENTLY "public"."events_body"' and "an estimate" in work.why
    found = make(indexes=[index()], free=2 * GIB - 1)
    assert found.works == [] and "of disk are free, and a rebuild wants" in found.held[0].reason
    found = make(indexes=[index()], free="the server is on another host")
    assert found.works == [] and "its free space is unknown: the server is on another host" in found.held[0].reason


@pytest.mark.parametrize(
    "changes",
    [
        {"pages": 8191.0},
        {"tuples": 30e6},
        {"method": "gin"},
        {"columns": ["events/unknown"]},
        {"tuples": -1.0},
    ],
)
def test_an_index_that_is_small_full_or_unknown_is_left_alone(changes: dict[str, Any]) -> None:
    assert make(indexes=[index(**changes)]) == plan.Plan()


def test_an_index_that_cannot_be_rebuilt_is_for_a_person_and_none_is_where_that_is_off() -> None:
    assert "exclusion" in make(indexes=[index(exclusion=True)]).held[0].reason
    assert "may not rebuild" in make(indexes=[index(permitted=False)]).held[0].reason
    assert make(indexes=[index()], rules=Rules(reindex=False)) == plan.Plan()


def test_only_leftovers_of_a_rebuild_are_dropped() -> None:
    twin = index(pages=10.0)
    left = index(oid=3, name="events_body_ccnew1", valid=False)
    old = index(oid=4, name="events_body_ccold", valid=False)
    found = make(indexes=[twin, left, old])
    assert [work.statement for work in found.works] == [
        'DROP INDEX CONCURRENTLY "public"."events_body_ccnew1"',
        'DROP INDEX CONCURRENTLY "public"."events_body_ccold"',
    ]
    for strange in (
        index(oid=3, name="events_other", valid=False),
        index(oid=3, name="events_body_ccnew1", shape="(1,f,11)", valid=False),
        index(oid=3, name="events_gone_ccnew", valid=False),
        index(oid=3, name="events_body_ccnewer", valid=False),
    ):
        found = make(indexes=[twin, strange])
        assert found.works == [] and found.strange == [strange]
    assert make(indexes=[index(valid=False), index(oid=3, name="events_body_ccnew", valid=False)]).works == []


def test_what_only_its_owner_may_drop_is_for_him_and_no_rebuild_leaves_another() -> None:
    bloated, other = index(owned=False), index(oid=4, name="events_other", owned=False)
    left = index(oid=3, name="events_body_ccnew", valid=False, owned=False)
    found = make(indexes=[bloated, left, other])
    assert [work.target for work in found.works] == ["public.events_other"], "an index of its own"
    reasons = {held.work.target: held.reason for held in found.held}
    assert plan.NOT_OWNED in reasons["public.events_body_ccnew"]
    assert "a rebuild has left events_body_ccnew" in reasons["public.events_body"]


def test_what_is_being_built_is_no_leftover_and_a_long_name_is_cut_as_the_server_does() -> None:
    left = index(oid=3, name="events_body_ccnew", valid=False)
    assert make(indexes=[index(pages=10.0), left], building=[{"table": 1}]) == plan.Plan()
    name = "a" * 63
    cut = index(oid=3, name="a" * 57 + "_ccnew", valid=False)
    assert [work.kind for work in make(indexes=[index(name=name, pages=10.0), cut]).works] == [DROP]


# Estimates ---------------------------------------------------------------------------------------------------------


def test_a_table_is_estimated_by_the_layout_of_its_pages() -> None:
    """Two columns of 4 and 33 bytes: 24 of header, 40 of data and 4 of pointer make 120 rows on a page."""
    found = bloat.of_table(table(pages=2000.0, tuples=120_000.0), [(4.0, 0.0), (33.0, 0.0)], 8192)
    assert found is not None and found.size == 2000 * 8192
    assert found.needed / 8192 == pytest.approx(1000, rel=0.01) and found.share == pytest.approx(50, abs=1)


def test_where_the_planner_knows_too_little_there_is_no_estimate() -> None:
    assert bloat.of_table(table(), [(4.0, 0.0)], 8192) is None
    assert bloat.of_table(table(tuples=-1.0), [(4.0, 0.0), (33.0, 0.0)], 8192) is None


def test_the_fillfactor_counts() -> None:
    known = {("public", "events", "body"): (20.0, 0.0)}
    full, half = (bloat.of_index(index(options=[f"fillfactor={share}"]), known, 8192) for share in (100, 50))
    assert full and half and half.needed == pytest.approx(2 * full.needed, rel=0.02)
