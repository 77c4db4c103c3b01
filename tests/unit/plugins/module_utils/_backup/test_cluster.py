"""What is known of a cluster, and which directories may be written to; the rest needs a server."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster
from ansible_collections.matrixon.ops.plugins.module_utils._backup.cluster import Counted
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import Database, PostgresqlFacts, Table
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Server

PG = PostgresqlFacts(
    version="15.18",
    major=15,
    system_identifier="7",
    encoding="UTF8",
    collate="C",
    ctype="C",
    locale_provider="libc",
    checksums=True,
    segment_bytes=16 << 20,
    databases=(Database("synapse", 1, (Table("public", "events", 100, 100),)),),
)


@pytest.fixture
def tools(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., None]:
    """Return a way to install tools of a major version."""
    monkeypatch.setattr(cluster, "PROGRAMS", (f"{tmp_path}/a/{{}}/bin", f"{tmp_path}/b/{{}}/bin"))

    def install(place: str, major: int, *names: str) -> None:
        folder = tmp_path / place / str(major) / "bin"
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).write_text("")
            (folder / name).chmod(0o755)

    return install


def test_tools_are_those_of_the_datas_own_version(tmp_path: pathlib.Path, tools: t.Callable[..., None]) -> None:
    tools("a", 9, "psql", "pg_restore")
    tools("b", 17, "psql", "pg_restore", "postgres")
    assert cluster.programs(17) == f"{tmp_path}/b/17/bin"
    assert cluster.installed() == [17, 9]
    for major, tool in ((15, "pg_restore"), (9, "postgres")):
        with pytest.raises(
            BackupError, match=rf"{tool} of PostgreSQL {major} .*\(found tools of: 17, 9\).*install postgresql-{major}"
        ) as caught:
            cluster.programs(major, tool)
        assert caught.value.kind == "missing_tool"


def test_a_host_without_tools_says_so(tools: t.Callable[..., None]) -> None:
    with pytest.raises(BackupError, match="found tools of: none"):
        cluster.programs(15)


def test_what_a_tool_is_told_holds_no_password() -> None:
    server = Server("/run/postgresql", 5432, "postgres", "backup", "s3cret")
    client = cluster.Client(server, Runner(), "/usr/lib/postgresql/15/bin", 15)
    assert client.options() == ["--host=/run/postgresql", "--port=5432", "--username=backup", "--no-password"]
    assert client.options("a = 'b'")[-1] == r"--dbname=dbname='a = \'b\''"
    assert client.tool("pg_dump") == "/usr/lib/postgresql/15/bin/pg_dump"
    assert "s3cret" not in repr(client)


def test_a_password_file_holds_what_would_be_taken_apart(tmp_path: pathlib.Path) -> None:
    server = Server("h", 1, "d", "u", r"a:b\c")
    with cluster._password_file(server, Runner()) as path:
        assert pathlib.Path(path).read_text() == r"*:*:*:*:a\:b\\c" + "\n"
        assert os.stat(path).st_mode & 0o777 == 0o600
        folder = os.path.dirname(path)
        assert os.stat(folder).st_mode & 0o777 == 0o700
    assert not os.path.exists(folder)
    broken = dataclasses.replace(server, password="a\nb:*:*:*:c")
    with pytest.raises(BackupError, match="no password can have a line end"), cluster._password_file(broken, Runner()):
        pytest.fail("it should not be written")


@pytest.mark.parametrize(
    ("text", "name", "constant"),
    [
        ("plain", '"plain"', "E'plain'"),
        ("it's", '"it\'s"', "E'it''s'"),
        ('a"b', '"a""b"', "E'a\"b'"),
        ("a\\'b", '"a\\\'b"', "E'a\\\\''b'"),
    ],
)
def test_names_and_texts_are_quoted(text: str, name: str, constant: str) -> None:
    assert (cluster.quoted(text), cluster.literal(text)) == (name, constant)


# --- locale


def database(name: str, **row: t.Any) -> dict[str, t.Any]:
    return {
        "database": {"datname": name, **row},
        "encoding": "UTF8",
        "owner": "postgres",
        "first_owner": "postgres",
        "bytes": 5,
    }


@pytest.mark.parametrize(
    ("row", "locale"),
    [
        # 14, 15, 15 with ICU, 17 with its own.
        ({"datcollate": "C", "datctype": "C"}, ("C", "C", "libc", None)),
        (
            {"datcollate": "C", "datctype": "C", "datlocprovider": "c", "daticulocale": None},
            ("C", "C", "libc", None),
        ),
        (
            {"datcollate": "C", "datctype": "C", "datlocprovider": "i", "daticulocale": "de"},
            ("C", "C", "icu", "de"),
        ),
        (
            {"datcollate": "C", "datctype": "C", "datlocprovider": "b", "datlocale": "C.UTF-8"},
            ("C", "C", "builtin", "C.UTF-8"),
        ),
    ],
)
def test_the_locale_is_read_from_every_version(row: dict[str, t.Any], locale: tuple[str | None, ...]) -> None:
    assert cluster._locale(row) == locale


def test_a_database_says_only_what_differs_from_its_cluster() -> None:
    base = database("template0", datcollate="C.UTF-8", datctype="C.UTF-8", datlocprovider="c")
    same = database("a", datcollate="C.UTF-8", datctype="C.UTF-8", datlocprovider="c")
    other = {**database("b", datcollate="C", datctype="C", datlocprovider="c"), "owner": "synapse"}
    assert cluster._database("a", same, base) == Database("a", 5)
    assert cluster._database("b", other, base) == Database("b", 5, (), "synapse", "UTF8", "C", "C", "libc")


# --- rows


@pytest.mark.parametrize(
    ("before", "after", "inserted", "deleted", "low", "high"),
    [
        (10, 10, 0, 0, 10, 10),
        (10, 15, 5, 0, 10, 15),
        (15, 10, 0, 5, 10, 15),
        # As many came as went, and in which order nobody knows.
        (10, 10, 5, 5, 5, 15),
        (10, 12, 5, 3, 7, 15),
        # The statistics came too late to know.
        (10, 15, 0, 0, 10, 15),
    ],
)
def test_a_table_can_have_had_any_number_between_its_counts(
    before: int, after: int, inserted: int, deleted: int, low: int, high: int
) -> None:
    assert cluster.bounds(Table("public", "t", before, after, inserted, deleted)) == (low, high)


def test_tables_that_came_or_went_meanwhile_are_left_out() -> None:
    before = [Counted(1, "s", "kept", 10, 100, 50), Counted(2, "s", "dropped", 1, 0, 0)]
    after = [Counted(1, "s", "renamed", 12, 103, 51), Counted(3, "s", "made", 1, 0, 0)]
    assert cluster.tables(before, after) == (Table("s", "renamed", 10, 12, 3, 1),)
    facts = cluster.with_tables(PG, {"synapse": before}, {"synapse": after, "new": []})
    assert [(one.name, len(one.tables)) for one in facts.databases] == [("synapse", 1)]


@pytest.mark.parametrize(
    ("rows", "percent", "found"),
    [
        (100, 20, []),
        (80, 20, []),
        (79, 20, ["database synapse had 100 rows and has 79 now"]),
        (0, 99, ["database synapse had 100 rows and has 0 now"]),
        (1000, 0, []),
    ],
)
def test_a_database_that_shrank_is_told(rows: int, percent: float, found: list[str]) -> None:
    now = dataclasses.replace(PG, databases=(Database("synapse", 1, (Table("public", "events", rows, rows),)),))
    assert cluster.shrunk(PG, now, percent) == found


def test_a_database_that_is_gone_and_another_cluster_are_told() -> None:
    now = dataclasses.replace(PG, databases=(), system_identifier="8")
    assert cluster.shrunk(PG, now, 100) == [
        "database synapse with 100 rows is not there any more",
        "this is another cluster: system identifier 8 instead of 7",
    ]
    empty = dataclasses.replace(PG, databases=(Database("empty", 1),))
    assert cluster.shrunk(empty, dataclasses.replace(PG, databases=()), 0) == []


# --- places


def test_only_an_absent_or_empty_directory_may_be_written_to(tmp_path: pathlib.Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    assert cluster.empty_problem(str(tmp_path / "empty")) is None
    assert cluster.empty_problem(str(tmp_path / "absent")) is None
    for name, words in (
        ("full", "is not empty"),
        ("full/file", "is no directory"),
        ("link", "is no directory"),
        ("absent/deeper", "cannot be made, because"),
    ):
        assert words in str(cluster.empty_problem(str(tmp_path / name)))
    assert "no absolute path" in str(cluster.empty_problem("relative"))


@pytest.mark.parametrize("existing", [True, False])
def test_a_directory_is_left_as_it_was_found_if_the_work_fails(tmp_path: pathlib.Path, existing: bool) -> None:
    path = tmp_path / "data"
    if existing:
        path.mkdir(mode=0o755)
    (tmp_path / "precious").touch()
    with pytest.raises(KeyboardInterrupt), cluster.occupied(str(path), Runner()):
        assert path.stat().st_mode & 0o777 == 0o700
        (path / "deep/er").mkdir(parents=True)
        (path / "deep/er/file").touch()
        (path / "link").symlink_to(tmp_path)
        raise KeyboardInterrupt
    assert path.exists() is existing
    assert (tmp_path / "precious").exists()
    if existing:
        assert list(path.iterdir()) == []


def test_work_that_goes_well_stays(tmp_path: pathlib.Path) -> None:
    with cluster.occupied(str(tmp_path / "data"), Runner()):
        (tmp_path / "data/file").touch()
    assert (tmp_path / "data/file").exists()


def test_too_little_room_is_a_failure_with_both_numbers(tmp_path: pathlib.Path) -> None:
    cluster.require_room(str(tmp_path / "not/yet/there"), 1)
    words = r"not/yet has no room: 1024.0\DPiB are needed and .* are free"
    with pytest.raises(BackupError, match=words) as caught:
        cluster.require_room(str(tmp_path / "not/yet"), 1 << 60)
    assert caught.value.facts == {"no_space": True}


def test_a_path_is_inside_a_directory_whatever_links_say(tmp_path: pathlib.Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "database").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    data = str(tmp_path / "data")
    assert cluster.inside(str(tmp_path / "link/store"), data)
    assert cluster.inside(data, data)
    assert not cluster.inside(str(tmp_path / "database"), data)


def test_a_process_in_a_data_directory_is_told_from_an_old_number(tmp_path: pathlib.Path) -> None:
    assert cluster.running_on(str(tmp_path)) is None
    (tmp_path / "postmaster.pid").write_text(f"{os.getpid()}\n{tmp_path}\n")
    assert cluster.running_on(str(tmp_path)) is None
    for text in ("nonsense\n", "", "4194305\n"):
        (tmp_path / "postmaster.pid").write_text(text)
        assert cluster.running_on(str(tmp_path)) is None
    before = os.getcwd()
    (tmp_path / "postmaster.pid").write_text(f"{os.getpid()}\n")
    os.chdir(tmp_path)
    try:
        assert cluster.running_on(str(tmp_path)) == os.getpid()
    finally:
        os.chdir(before)


def test_a_process_that_may_not_be_looked_at_counts_as_running(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_paths: str) -> bool:
        raise PermissionError

    (tmp_path / "postmaster.pid").write_text(f"{os.getpid()}\n")
    monkeypatch.setattr(os.path, "samefile", refuse)
    assert cluster.running_on(str(tmp_path)) == os.getpid()
