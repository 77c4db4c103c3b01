"""What the driver for dumps decides without a server; the rest is in the integration tests."""

from __future__ import annotations

import dataclasses

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import logical
from ansible_collections.matrixon.ops.plugins.module_utils._backup.cluster import Running
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import Database, PostgresqlFacts
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner

PG = PostgresqlFacts("15.18", 15, "7", "UTF8", "C.UTF-8", "C.UTF-8", "libc", True, 64 << 20)
RUNNING = Running("15.18", 15, "/data", False, True, True, True, "replica", 10, False, True, (), 1, 16 << 20)


def test_what_stands_in_the_way_is_said() -> None:
    assert logical.problems(RUNNING, "postgres", "/srv/backup") == []
    (problem,) = logical.problems(RUNNING._replace(superuser=False), "backup", "/srv/backup")
    assert "the role backup is no superuser" in problem
    (problem,) = logical.problems(RUNNING, "postgres", "/data/backup")
    assert "the store /data/backup lies inside the data directory /data" in problem


def test_a_backup_without_a_server_is_refused() -> None:
    with pytest.raises(BackupError, match="needs a server, and none was named"):
        logical.Logical("/srv/backup", Runner()).estimate()


@pytest.mark.parametrize(
    ("major", "built", "tool", "shape"),
    [
        (15, True, True, ("custom", "0", ".dump.zst")),
        (15, True, False, ("directory", "1", "")),
        (16, True, False, ("directory", "zstd:3", "")),
        (17, True, True, ("directory", "zstd:3", "")),
        (17, False, True, ("custom", "0", ".dump.zst")),
        (17, None, False, ("directory", "1", "")),
    ],
)
def test_a_dump_is_made_in_the_fastest_way_that_there_is(
    major: int, built: bool | None, tool: bool, shape: tuple[str, str, str]
) -> None:
    assert logical.choose(RUNNING._replace(major=major, zstd=built), tool) == shape


def test_a_new_cluster_is_made_like_the_old_one() -> None:
    assert logical.initdb_options(PG, "admin") == [
        "--username=admin",
        "--encoding=UTF8",
        "--lc-collate=C.UTF-8",
        "--lc-ctype=C.UTF-8",
        "--wal-segsize=64",
        "--auth-local=peer",
        "--auth-host=scram-sha-256",
        "--no-sync",
        "--data-checksums",
    ]
    icu = dataclasses.replace(PG, locale_provider="icu", locale="de-DE", checksums=False)
    assert logical.initdb_options(icu, "admin")[-2:] == ["--locale-provider=icu", "--icu-locale=de-DE"]
    assert "--data-checksums" not in logical.initdb_options(icu, "admin")
    # From 18 on a new cluster has them unless it is told not to.
    assert logical.initdb_options(dataclasses.replace(icu, major=18), "admin")[-1] == "--no-data-checksums"


def test_a_new_database_is_made_like_the_old_one() -> None:
    own = Database("synapse", 1, (), "it's", "UTF8", "C", "C", "libc", None)
    assert logical.create_database("new", own, PG) == (
        "CREATE DATABASE \"new\" TEMPLATE template0 OWNER \"it's\" ENCODING E'UTF8' LC_COLLATE E'C' LC_CTYPE E'C' "
        "LOCALE_PROVIDER E'libc'"
    )
    # One that is as the cluster is takes it from the source's cluster, not from the one it is made in.
    assert logical.create_database("new", Database("x", 1), PG) == (
        "CREATE DATABASE \"new\" TEMPLATE template0 ENCODING E'UTF8' LC_COLLATE E'C.UTF-8' LC_CTYPE E'C.UTF-8' "
        "LOCALE_PROVIDER E'libc'"
    )
    icu = Database("x", 1, (), None, "UTF8", "C", "C", "icu", "de")
    assert logical.create_database("new", icu, PG).endswith("LOCALE_PROVIDER E'icu' ICU_LOCALE E'de'")
    before_15 = logical.create_database("new", Database("x", 1), dataclasses.replace(PG, major=14))
    assert "LOCALE_PROVIDER" not in before_15


@pytest.mark.parametrize("name", ["postgres", "Odd one"])
def test_the_role_that_a_new_cluster_has_is_not_made_again(name: str) -> None:
    written = name if name == "postgres" else f'"{name}"'
    text = f"CREATE ROLE {written};\nALTER ROLE {written} WITH SUPERUSER;\nCREATE ROLE {name}2;\n-- CREATE ROLE x;\n"
    assert logical.without_role(text, name) == text.split("\n", 1)[1]


def test_the_tables_of_a_dump_are_known_by_their_numbers() -> None:
    listing = (
        ";\n; Archive created at 2026-11-23\n3333; 1262 16385 DATABASE - synapse synapse\n"
        "215; 1259 16390 TABLE public events synapse\n3355; 0 16390 TABLE DATA public events synapse\n"
        "3356; 0 16399 TABLE DATA public with space synapse\n3400; 0 0 SEQUENCE SET public s synapse\n"
    )
    assert logical._TABLE_DATA.findall(listing) == ["16390", "16399"]
