"""A drill says of a good set that it is good, and of each kind of bad one what is bad."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import pathlib
import typing as t

import pytest
from clusters import Cluster, Make, Sets, digests, listing, make_owned, pids

from ansible_collections.matrixon.ops.plugins.module_utils._backup import process
from ansible_collections.matrixon.ops.plugins.module_utils._backup.drill import MARKER, Proof, Query, drill
from ansible_collections.matrixon.ops.plugins.module_utils._backup.driver import Chain
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.logical import Logical
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import (
    Manifest,
    PostgresqlFacts,
    Target,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.native import Native
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import CheckResult

NEWEST = Query("newest_event", "synapse", "SELECT max(stream_ordering) FROM events", "the newest event")


class Prove(t.Protocol):
    def __call__(self, driver: t.Any, chain: Chain, **options: t.Any) -> Proof: ...


@pytest.fixture
def prove(runner: process.Runner, place: pathlib.Path) -> Prove:
    """Return a way to prove a set. Whatever comes out, nothing may run or lie there afterwards."""

    def run(driver: t.Any, chain: Chain, **options: t.Any) -> Proof:
        before = listing(place)
        proof = drill(driver, chain, str(place / "drill"), runner, Deadline(120), **options)
        assert listing(place) == before
        assert pids(str(place / "drill")) == []
        return proof

    return run


@pytest.fixture
def manifest(shared: Cluster, native: Make, sets: Sets) -> Manifest:
    """A good set."""
    return sets.take(native(shared))


def bad(proof: Proof) -> dict[str, CheckResult]:
    return {check.name: check for check in proof.checks if check.status not in ("ok", "skipped")}


def pg_of(manifest: Manifest) -> PostgresqlFacts:
    assert manifest.pg
    return manifest.pg


def test_a_good_set_is_proven(native: Make, sets: Sets, manifest: Manifest, prove: Prove) -> None:
    proof = prove(native(None), sets.chain(manifest), queries=[NEWEST])
    assert {check.name: check.status for check in proof.checks} == dict.fromkeys(
        (
            "restore",
            "recovery",
            "timeline",
            "log_position",
            "locale",
            "system_identifier",
            "row_counts",
            "indexes",
            "query_newest_event",
            "clean_stop",
            "page_checksums",
        ),
        "ok",
    )
    found = {check.name: check for check in proof.checks}
    assert found["row_counts"].message == "all 12508 rows of 5 tables are there"
    assert found["query_newest_event"].message == "the answer is '6000' (the newest event)"
    assert proof.facts["bytes"] > 20_000_000
    assert 0 < proof.facts["restore_seconds"] < proof.facts["open_seconds"]
    assert proof.facts["lsn"] == pg_of(manifest).lsn_stop


def test_a_good_dump_is_proven(shared: Cluster, logical: t.Callable[..., Logical], sets: Sets, prove: Prove) -> None:
    proof = prove(logical(None), sets.chain(sets.take(logical(shared))), queries=[NEWEST])
    skipped = {check.name for check in proof.checks if check.status == "skipped"}
    assert (bad(proof), skipped) == ({}, {"timeline", "log_position", "system_identifier"})


def test_a_dump_brings_tablespaces_back_into_the_default_one(
    server: Cluster, logical: t.Callable[..., Logical], sets: Sets, prove: Prove
) -> None:
    far = make_owned(server.base / "far")
    server.sql(f"CREATE TABLESPACE far LOCATION '{far}'")
    server.sql("CREATE DATABASE elsewhere TABLESPACE far")
    server.sql("CREATE TABLE t AS SELECT generate_series(1, 9)", "elsewhere")
    server.sql("ALTER TABLE events SET TABLESPACE far", "synapse")
    server.sql("ALTER INDEX events_room SET TABLESPACE far", "synapse")
    manifest = sets.take(logical(server))
    where = "SELECT count(*) FROM pg_class JOIN pg_tablespace s ON s.oid = reltablespace WHERE spcname = 'far'"
    assert server.sql(where, "synapse") != "0"
    proof = prove(
        logical(None),
        sets.chain(manifest),
        queries=[NEWEST, Query("far", "elsewhere", "SELECT sum(generate_series) FROM t")],
    )
    assert bad(proof) == {}
    assert {check.name: check.message for check in proof.checks}["query_far"] == "the answer is '45'"


def test_the_drill_changes_nothing_of_the_set(native: Make, sets: Sets, manifest: Manifest, prove: Prove) -> None:
    before = digests(sets.folder)
    prove(native(None), sets.chain(manifest))
    assert digests(sets.folder) == before


def test_the_scratch_server_steps_back_for_everything_else(
    native: Make, sets: Sets, manifest: Manifest, prove: Prove
) -> None:
    niceness = "SELECT (string_to_array(pg_read_file('/proc/self/stat'), ' '))[19]::int - {} > 0 OR NULL"
    before = os.getpriority(os.PRIO_PROCESS, 0)
    proof = prove(native(None), sets.chain(manifest), queries=[Query("nice", "postgres", niceness.format(before))])
    assert bad(proof) == {}


def test_a_row_that_is_missing_is_found(native: Make, sets: Sets, manifest: Manifest, prove: Prove) -> None:
    def more(table: t.Any) -> t.Any:
        wanted = {"rows_before": table.rows_before + 1, "rows_after": table.rows_after + 1}
        return dataclasses.replace(table, **wanted) if table.name == "users" else table

    pg = pg_of(manifest)
    databases = tuple(dataclasses.replace(one, tables=tuple(map(more, one.tables))) for one in pg.databases)
    lying = dataclasses.replace(manifest, pg=dataclasses.replace(pg, databases=databases))
    proof = prove(native(None), [(str(sets.folder / manifest.id), lying)])
    assert bad(proof).keys() == {"row_counts"}
    message = "table public.users of synapse has 500 rows and should have 501"
    assert bad(proof)["row_counts"].message == message


def test_another_cluster_is_found(native: Make, sets: Sets, manifest: Manifest, prove: Prove) -> None:
    lying = dataclasses.replace(manifest, pg=dataclasses.replace(pg_of(manifest), system_identifier="1"))
    proof = prove(native(None), [(str(sets.folder / manifest.id), lying)])
    assert bad(proof).keys() == {"system_identifier"}


def test_an_index_that_lacks_a_row_is_found(server: Cluster, native: Make, sets: Sets, prove: Prove) -> None:
    """No checksum sees it: the page is as the server wrote it."""
    server.sql("CREATE FUNCTION f(text) RETURNS text IMMUTABLE LANGUAGE sql RETURN $1", "synapse")
    server.sql("CREATE INDEX users_f ON users (f(name))", "synapse")
    server.sql("CREATE OR REPLACE FUNCTION f(text) RETURNS text IMMUTABLE LANGUAGE sql RETURN 'x' || $1", "synapse")
    proof = prove(native(None), sets.chain(sets.take(native(server))))
    assert bad(proof).keys() == {"indexes"}
    assert "users_f" in bad(proof)["indexes"].message
    assert "lacks matching index tuple" in bad(proof)["indexes"].message


class Spoiling(Native):
    """A driver after which the disk returns something else than was written to it."""

    def restore(self, chain: Chain, directory: str, target: Target, deadline: Deadline) -> None:
        super().restore(chain, directory, target, deadline)
        path = max(pathlib.Path(directory, "base").rglob("*"), key=lambda file: file.stat().st_size)
        with open(path, "r+b") as file:
            file.seek(8192 * 3 + 5000)
            file.write(b"spoilt")


def test_a_page_that_is_damaged_is_found(sets: Sets, runner: process.Runner, manifest: Manifest, prove: Prove) -> None:
    proof = prove(Spoiling(str(sets.root), runner, durable=False), sets.chain(manifest))
    # Counting may get by with an index.
    assert {"indexes", "page_checksums"} <= bad(proof).keys() <= {"row_counts", "indexes", "page_checksums"}
    assert "invalid page in block 3" in bad(proof)["indexes"].message
    assert "1 of" in bad(proof)["page_checksums"].message
    assert {check.status for check in bad(proof).values()} == {"critical"}


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT max(stream_ordering) FROM events WHERE false", "the answer is nothing, and one value was expected"),
        ("SELECT name FROM users", "the answer is 500 rows with 500 values"),
        ("SELECT 1 FROM no_such_table", 'relation "no_such_table" does not exist'),
        ("DELETE FROM users RETURNING 1", "ERROR"),
        ("SELECT 1 \\! touch {place}/was-run", "has a backslash, which psql would take"),
    ],
)
def test_a_question_without_an_answer_is_critical(
    native: Make, sets: Sets, manifest: Manifest, prove: Prove, place: pathlib.Path, sql: str, words: str
) -> None:
    query = Query("bad", "synapse", sql.format(place=place))
    proof = prove(native(None), sets.chain(manifest), queries=[query])
    assert bad(proof).keys() == {"query_bad"}
    assert words in bad(proof)["query_bad"].message
    assert not (place / "was-run").exists()


def test_a_set_that_is_damaged_is_critical_and_a_tool_that_is_missing_is_not(
    native: Make, sets: Sets, manifest: Manifest, prove: Prove, monkeypatch: pytest.MonkeyPatch
) -> None:
    (base,) = (sets.folder / manifest.id / "db/physical").glob("base.tar.*")
    content = base.read_bytes()
    base.write_bytes(content[:-1000])
    proof = prove(native(None), sets.chain(manifest))
    assert [(check.name, check.status, check.error_kind) for check in proof.checks] == [
        ("restore", "critical", "parse")
    ]
    base.write_bytes(content)
    monkeypatch.setenv("PATH", "/nonexistent")
    proof = prove(native(None), sets.chain(manifest))
    assert [(check.name, check.status, check.error_kind) for check in proof.checks] == [
        ("restore", "unknown", "missing_tool")
    ]


def test_a_drill_that_runs_out_of_time_knows_nothing_and_leaves_nothing(
    native: Make, sets: Sets, manifest: Manifest, runner: process.Runner, place: pathlib.Path
) -> None:
    proof = drill(native(None), sets.chain(manifest), str(place / "drill"), runner, Deadline(0.6))
    assert {check.status for check in proof.checks} <= {"ok", "unknown"}
    assert [check.error_kind for check in proof.checks][-1] == "timeout"
    assert not (place / "drill").exists()
    assert pids(str(place / "drill")) == []


# --- what a source brings along


def test_what_the_source_preloads_is_no_hurdle(server: Cluster, native: Make, sets: Sets, prove: Prove) -> None:
    """Nor what its roles and databases have set, nor that it waits for standbys."""
    server.sql("ALTER ROLE postgres SET statement_timeout = '1ms'")
    server.sql("ALTER DATABASE synapse SET default_transaction_read_only = on")
    server.sql("ALTER SYSTEM SET synchronous_standby_names = ''")
    with open(server.data / "postgresql.auto.conf", "a", encoding="utf-8") as file:
        file.write(
            "shared_preload_libraries = 'pg_stat_statements,no_such_library'\nshared_buffers = '900GB'\n"
            "synchronous_standby_names = '*'\nlisten_addresses = '*'\nunix_socket_directories = '/nonexistent'\n"
            "huge_pages = on\nssl = on\nssl_cert_file = '/nonexistent'\n"
        )
    manifest = sets.take(native(server))
    assert bad(prove(native(None), sets.chain(manifest), queries=[NEWEST])) == {}


# --- the place


def test_a_directory_that_is_not_the_drills_is_left_alone(
    native: Make, sets: Sets, manifest: Manifest, runner: process.Runner, place: pathlib.Path
) -> None:
    directory = make_owned(place / "drill")
    (directory / "data").mkdir()
    (directory / "precious").write_text("mine")
    before = listing(directory)
    with pytest.raises(BackupError, match="is not empty"):
        drill(native(None), sets.chain(manifest), str(directory), runner, Deadline(60))
    assert listing(directory) == before
    (directory / MARKER).touch()
    with pytest.raises(BackupError, match="holds precious, which no drill made"):
        drill(native(None), sets.chain(manifest), str(directory), runner, Deadline(60))
    assert listing(directory) == [MARKER, *before]


def test_two_drills_do_not_share_a_directory(
    native: Make, sets: Sets, manifest: Manifest, runner: process.Runner, place: pathlib.Path
) -> None:
    directory = make_owned(place / "drill")
    make_owned(directory / "data")
    with open(directory / MARKER, "w") as marker:
        fcntl.flock(marker, fcntl.LOCK_EX)
        with pytest.raises(BackupError, match="another drill runs in"):
            drill(native(None), sets.chain(manifest), str(directory), runner, Deadline(60))
    assert listing(directory) == [MARKER, "data"]


def test_what_a_killed_drill_left_is_cleared_away(
    native: Make, sets: Sets, manifest: Manifest, runner: process.Runner, place: pathlib.Path
) -> None:
    directory = make_owned(place / "drill")
    for name in ("data", "run"):
        (make_owned(directory / name) / "rest").touch()
    (directory / MARKER).touch()
    proof = drill(native(None), sets.chain(manifest), str(directory), runner, Deadline(60))
    assert bad(proof) == {}
    assert listing(directory) == []


def test_a_server_that_still_runs_on_what_is_left_is_not_pulled_away(
    server: Cluster, native: Make, sets: Sets, runner: process.Runner, place: pathlib.Path
) -> None:
    manifest = sets.take(native(server))
    directory = make_owned(place / "drill")
    (directory / MARKER).touch()
    (directory / "data").symlink_to(server.data)
    with pytest.raises(BackupError, match=f"a server with process {server.postmaster()} still runs on"):
        drill(native(None), sets.chain(manifest), str(directory), runner, Deadline(60))
    assert server.sql("SELECT 1") == "1"


def test_a_link_in_what_is_left_is_not_followed(
    native: Make, sets: Sets, manifest: Manifest, runner: process.Runner, place: pathlib.Path
) -> None:
    directory, elsewhere = make_owned(place / "drill"), make_owned(place / "elsewhere")
    (directory / MARKER).touch()
    (elsewhere / "precious").touch()
    (directory / "data").symlink_to(elsewhere)
    with pytest.raises(BackupError, match="is a symbolic link, which no drill made"):
        drill(native(None), sets.chain(manifest), str(directory), runner, Deadline(60))
    assert listing(elsewhere) == ["precious"]
