"""What made the guide's scripts lose data without a word. Each must fail with its cause, and keep what was good."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import signal
import stat
import subprocess
import typing as t

import pytest
from clusters import (
    PASSWORD,
    Background,
    Cluster,
    Make,
    Sets,
    digests,
    listing,
    make_owned,
    pids,
    until,
)

from ansible_collections.matrixon.ops.plugins.module_utils._backup import archive, cluster, process
from ansible_collections.matrixon.ops.plugins.module_utils._backup.drill import drill
from ansible_collections.matrixon.ops.plugins.module_utils._backup.driver import entries
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.logical import Logical, swap
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import (
    DATABASE,
    Manifest,
    PostgresqlFacts,
    Target,
)
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure

LATEST = Target("latest")
NAMES = "SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database"
DUMP_WAITS = "wait_event_type = 'Lock' AND query ~ '^LOCK TABLE'"


class Kept:
    """A good set, which no failure may change."""

    def __init__(self, sets: Sets, manifest: Manifest) -> None:
        self.manifest = manifest
        self._folder = sets.folder / manifest.id
        self._before = digests(self._folder)
        assert self._before

    def check(self) -> None:
        assert digests(self._folder) == self._before


@pytest.fixture
def good(shared: Cluster, native: Make, sets: Sets) -> Kept:
    """A physical set that was taken when all was well."""
    return Kept(sets, sets.take(native(shared)))


@pytest.fixture
def dumped(shared: Cluster, logical: t.Callable[..., Logical], sets: Sets) -> Kept:
    """A dump that was taken when all was well."""
    return Kept(sets, sets.take(logical(shared)))


def only_partial(sets: Sets, *whole: str) -> None:
    names = sorted(path.name for path in sets.folder.iterdir())
    assert [name for name in names if not name.startswith(".partial-")] == sorted(whole)


# --- F1: the tool is killed midway


def test_f1_pg_dump_is_killed(server: Cluster, logical: t.Callable[..., Logical], sets: Sets, good: Kept) -> None:
    with server.locked("events"):
        backup = Background(lambda: sets.take(logical(server)))
        server.waits(DUMP_WAITS)
        for pid in pids("pg_dump ", str(server.socket)):
            os.kill(pid, signal.SIGKILL)
        failure = backup.fails()
    assert "the dump of database synapse: pg_dump was killed by SIGKILL" in str(failure)
    only_partial(sets, good.manifest.id)
    good.check()


def test_f1_pg_basebackup_is_killed(server: Cluster, native: Make, sets: Sets, good: Kept) -> None:
    with server.held():
        backup = Background(lambda: sets.take(native(server)))
        until(lambda: pids("pg_basebackup", str(sets.folder)))
        os.kill(pids("pg_basebackup", str(sets.folder))[0], signal.SIGKILL)
        failure = backup.fails()
    assert "the copy of the database: pg_basebackup was killed by SIGKILL" in str(failure)
    only_partial(sets, good.manifest.id)
    good.check()


def test_f1_a_backup_that_takes_too_long_ends_with_its_deadline(
    server: Cluster, native: Make, sets: Sets, place: pathlib.Path
) -> None:
    directory = make_owned(place / "late")
    with server.held(), pytest.raises(ProbeFailure, match="the copy of the database: no answer within 2 s") as caught:
        native(server).backup(str(directory), None, Deadline(2))
    assert caught.value.kind == "timeout"
    assert not pids(str(directory))


# --- F2: the server ends the dump's session


def test_f2_the_server_ends_the_dump(
    server: Cluster, logical: t.Callable[..., Logical], sets: Sets, good: Kept
) -> None:
    with server.locked("events"):
        backup = Background(lambda: sets.take(logical(server)))
        server.waits(DUMP_WAITS)
        server.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {DUMP_WAITS}")
        failure = backup.fails()
    assert failure.kind == "refused"
    assert "terminating connection due to administrator command" in str(failure)
    only_partial(sets, good.manifest.id)
    good.check()


def test_f2_the_server_ends_the_copy(server: Cluster, native: Make, sets: Sets, good: Kept) -> None:
    with server.held():
        backup = Background(lambda: sets.take(native(server)))
        server.waits("backend_type = 'walsender' AND query ~ 'BASE_BACKUP'")
        server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ '^BASE_BACKUP'")
        failure = backup.fails()
    assert "pg_basebackup ended with code 1" in str(failure)
    assert "terminating connection due to administrator command" in str(failure)
    only_partial(sets, good.manifest.id)
    good.check()


def test_f2_the_server_dies(server: Cluster, native: Make, sets: Sets, good: Kept) -> None:
    with server.held():
        backup = Background(lambda: sets.take(native(server)))
        until(lambda: pids("pg_basebackup", str(sets.folder)))
        server.kill()
        assert "pg_basebackup ended with code 1" in str(backup.fails())
    only_partial(sets, good.manifest.id)
    good.check()


# --- F3: there is no server, or it is the wrong one


def test_f3_nothing_listens(runner: process.Runner, shared: Cluster) -> None:
    nowhere = dataclasses.replace(shared.server, port=shared.port + 1)
    with (
        pytest.raises(BackupError, match=r"\.s\.PGSQL\.5434.* failed: No such file or directory") as caught,
        cluster.client(nowhere, runner, Deadline(10)),
    ):
        pytest.fail("there is no server")
    assert caught.value.kind == "refused"


def test_f3_a_server_without_the_data_is_told_from_the_one_with_it(
    template: Cluster, good: Kept, runner: process.Runner, place: pathlib.Path
) -> None:
    fresh = Cluster(place / "fresh", template.major, template.port)
    fresh.make()
    fresh.start()
    try:
        with cluster.client(fresh.server, runner, Deadline(10)) as client:
            now = cluster.facts(client, Deadline(10))
    finally:
        fresh.stop()
    before = good.manifest.pg
    assert before
    sentences = cluster.shrunk(before, now, 20)
    assert any("database synapse with 12507 rows is not there any more" in sentence for sentence in sentences)
    assert any("another cluster" in sentence for sentence in sentences)
    assert cluster.shrunk(before, before, 20) == []


# --- F5: the disk is full


@pytest.fixture
def small(place: pathlib.Path) -> t.Iterator[pathlib.Path]:
    """A file system with room for less than the data."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    path = make_owned(place / "small")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=0777", "tmpfs", str(path)], check=True)
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_f5_too_little_room_is_seen_before_the_first_byte(
    shared: Cluster, native: Make, small: pathlib.Path, good: Kept, sets: Sets
) -> None:
    with pytest.raises(BackupError, match=r"small/sets has no room: \d.* are needed and 2\.0.MiB are free"):
        cluster.require_room(str(small / "sets"), native(shared).estimate())
    with pytest.raises(BackupError, match="small/data has no room: .* are needed and"):
        native(None).restore(sets.chain(good.manifest), str(small / "data"), LATEST, Deadline(60))
    assert listing(small) == []


@pytest.mark.parametrize("kind", ["native", "logical"])
def test_f5_a_disk_that_fills_is_named(
    shared: Cluster,
    native: Make,
    logical: t.Callable[..., Logical],
    small: pathlib.Path,
    good: Kept,
    kind: str,
) -> None:
    driver = native(shared) if kind == "native" else logical(shared)
    directory = make_owned(small / ".partial-set")
    with pytest.raises(BackupError, match="No space left on device; make room on that file system") as caught:
        driver.backup(str(directory), None, Deadline(60))
    assert caught.value.facts["no_space"]
    good.check()


# --- F7, F8: the dump is cut off, or empty


def copied(sets: Sets, kept: Kept) -> pathlib.Path:
    """Return a copy of a set that may be spoilt."""
    target = sets.root / "spoilt"
    shutil.copytree(sets.folder / kept.manifest.id, target)
    if os.geteuid() == 0:
        for path in [target, *target.rglob("*")]:
            shutil.chown(path, "postgres", "postgres")
    return target


def largest(folder: pathlib.Path) -> pathlib.Path:
    return max((folder / "db/logical").rglob("*"), key=lambda path: path.stat().st_size)


def flip(path: pathlib.Path) -> None:
    """Change one byte in the middle of a file."""
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0xFF]))


@pytest.mark.parametrize("size", ["half", "nothing"])
def test_f7_f8_a_dump_that_is_cut_off_is_not_loaded(
    logical: t.Callable[..., Logical], sets: Sets, dumped: Kept, place: pathlib.Path, size: str
) -> None:
    spoilt = copied(sets, dumped)
    path = largest(spoilt)
    os.truncate(path, path.stat().st_size // 2 if size == "half" else 0)
    with pytest.raises(BackupError, match=rf"{path.name} of set set-1 has \d+ bytes and had \d+") as caught:
        logical(None).restore([(str(spoilt), dumped.manifest)], str(place / "data"), LATEST, Deadline(60))
    assert caught.value.kind == "parse"
    assert not (place / "data").exists()
    dumped.check()


def with_its_checksums(folder: pathlib.Path, manifest: Manifest) -> Manifest:
    """Return the manifest of a spoilt set as if it had been written that way."""
    part = manifest.components[DATABASE]
    files = tuple(entries(str(folder), "db/logical", Deadline(60)))
    return dataclasses.replace(manifest, components={DATABASE: dataclasses.replace(part, files=files)})


@pytest.mark.parametrize("listed", [False, True])
def test_f7_a_byte_of_the_dump_is_wrong(
    logical: t.Callable[..., Logical], sets: Sets, dumped: Kept, place: pathlib.Path, listed: bool
) -> None:
    spoilt = copied(sets, dumped)
    path = largest(spoilt)
    flip(path)
    manifest = with_its_checksums(spoilt, dumped.manifest) if listed else dumped.manifest
    words = f"set set-1 is damaged: .*{path.name}"
    if listed:
        words = "loading database synapse: (pg_restore|zstd) ended with code 1"
    with pytest.raises(BackupError, match=words):
        logical(None).restore([(str(spoilt), manifest)], str(place / "data"), LATEST, Deadline(60))
    assert not (place / "data").exists()


def test_f8_a_dump_of_an_empty_database_is_told_from_the_one_with_the_data(
    shared: Cluster, logical: t.Callable[..., Logical], sets: Sets, dumped: Kept, runner: process.Runner
) -> None:
    """The dump is whole, and not what the manifest counted."""
    part = dumped.manifest.components[DATABASE]
    dumps = {**part.detail["dumps"], "synapse": part.detail["dumps"]["postgres"]}
    component = dataclasses.replace(part, detail={**part.detail, "dumps": dumps})
    lying = dataclasses.replace(dumped.manifest, components={DATABASE: component})
    link = (str(sets.folder / dumped.manifest.id), lying)
    before = shared.sql(NAMES)
    with (
        cluster.client(shared.server, runner, Deadline(10)) as client,
        pytest.raises(BackupError, match=r"table public.event_json of database new has gone, and the dump had 6000"),
    ):
        logical(None).restore_beside(client, link, "synapse", "new", Deadline(60))
    assert shared.sql(NAMES) == before
    dumped.check()


def test_f7_a_database_is_loaded_beside_and_then_takes_the_others_place(
    server: Cluster, logical: t.Callable[..., Logical], sets: Sets
) -> None:
    driver = logical(server)
    manifest = sets.take(driver)
    server.sql("DELETE FROM event_json", "synapse")
    with cluster.client(server.server, driver._runner, Deadline(10)) as client:
        link = (str(sets.folder / manifest.id), manifest)
        driver.restore_beside(client, link, "synapse", "synapse_new", Deadline(60))
        assert server.sql("SELECT count(*) FROM event_json", "synapse") == "0"
        swap(client, "synapse", "synapse_new", "synapse_old", Deadline(10))
        assert server.sql("SELECT count(*) FROM event_json", "synapse") == "6000"
        assert server.sql("SELECT count(*) FROM event_json", "synapse_old") == "0"
        with server.locked("events"), pytest.raises(BackupError, match="still in use by psql"):
            swap(client, "synapse", "synapse_old", "synapse_older", Deadline(10))


def test_f7_what_cannot_be_loaded_beside_leaves_the_server_as_it_was(
    server: Cluster, logical: t.Callable[..., Logical], sets: Sets
) -> None:
    driver = logical(server)
    kept = Kept(sets, sets.take(driver))
    spoilt = copied(sets, kept)
    flip(largest(spoilt))
    before = server.sql(NAMES)
    with cluster.client(server.server, driver._runner, Deadline(10)) as client:
        link = (str(spoilt), kept.manifest)
        with pytest.raises(BackupError, match="set set-1 is damaged"):
            driver.restore_beside(client, link, "synapse", "synapse_new", Deadline(60))
        link = (str(spoilt), with_its_checksums(spoilt, kept.manifest))
        with pytest.raises(BackupError, match="(pg_restore|zstd) ended with code 1"):
            driver.restore_beside(client, link, "synapse", "synapse_new", Deadline(60))
        with pytest.raises(BackupError, match="has a database postgres already"):
            driver.restore_beside(client, link, "synapse", "postgres", Deadline(60))
    assert server.sql(NAMES) == before
    assert server.sql("SELECT count(*) FROM event_json", "synapse") == "6000"


# --- F9: the locale


@pytest.mark.parametrize("kind", ["native", "logical"])
def test_f9_databases_come_back_with_their_own_locale(
    server: Cluster,
    native: Make,
    logical: t.Callable[..., Logical],
    sets: Sets,
    runner: process.Runner,
    place: pathlib.Path,
    kind: str,
) -> None:
    """The cluster's own is C.UTF-8, and Synapse refuses a database that is not C."""
    make = native if kind == "native" else logical
    manifest = sets.take(make(server))
    proof = drill(make(None), sets.chain(manifest), str(place / "drill"), runner, Deadline(120))
    assert {check.name: check.status for check in proof.checks}["locale"] == "ok"
    described = {database.name: (database.encoding, database.collate) for database in manifest.pg.databases}
    assert described["synapse"] == ("UTF8", "C") and described["postgres"] == (None, None)
    assert manifest.pg.collate == "C.UTF-8"


def test_f9_a_database_that_is_loaded_beside_has_its_own_locale(
    server: Cluster, logical: t.Callable[..., Logical], sets: Sets
) -> None:
    driver = logical(server)
    manifest = sets.take(driver)
    with cluster.client(server.server, driver._runner, Deadline(10)) as client:
        driver.restore_beside(client, sets.chain(manifest)[0], "synapse", "new", Deadline(60))
    row = "SELECT datcollate || datctype || pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'new'"
    assert server.sql(row) == "CCsynapse"


def test_f9_another_locale_is_found(
    native: Make, sets: Sets, good: Kept, runner: process.Runner, place: pathlib.Path
) -> None:
    pg = good.manifest.pg
    assert pg
    databases = tuple(dataclasses.replace(one, collate="de_DE.UTF-8") for one in pg.databases)
    lying = dataclasses.replace(good.manifest, pg=dataclasses.replace(pg, databases=databases))
    chain = [(str(sets.folder / good.manifest.id), lying)]
    proof = drill(native(None), chain, str(place / "drill"), runner, Deadline(120))
    (locale,) = [check for check in proof.checks if check.name == "locale"]
    assert locale.status == "critical"
    assert "database synapse has UTF8, C/C, libc and had UTF8, de_DE.UTF-8/C, libc" in locale.message


# --- F10: the roles


def test_f10_roles_their_passwords_and_what_they_own_come_back(
    shared: Cluster, logical: t.Callable[..., Logical], sets: Sets, dumped: Kept, place: pathlib.Path
) -> None:
    logical(None).restore(sets.chain(dumped.manifest), str(place / "data"), LATEST, Deadline(60))
    copy = Cluster(place, shared.major, shared.port)
    make_owned(copy.socket)
    copy.configure()
    copy.start()
    try:
        for question in (
            "SELECT string_agg(rolname || coalesce(rolpassword, ''), ' ' ORDER BY rolname) FROM pg_authid",
            "SELECT datacl FROM pg_database WHERE datname = 'synapse'",
            "SELECT string_agg(setconfig::text, ' ' ORDER BY setconfig::text) FROM pg_db_role_setting",
        ):
            assert copy.sql(question) == shared.sql(question) != ""
        owner = "SELECT relowner::regrole FROM pg_class WHERE relname = 'event_json'"
        assert copy.sql(owner, "synapse") == "synapse"
        assert copy.sql("SHOW data_checksums") == "on"
    finally:
        copy.stop()


def test_f10_a_role_that_is_missing_is_named(
    template: Cluster,
    logical: t.Callable[..., Logical],
    sets: Sets,
    dumped: Kept,
    runner: process.Runner,
    place: pathlib.Path,
) -> None:
    fresh = Cluster(place / "fresh", template.major, template.port)
    fresh.make()
    fresh.start()
    try:
        with cluster.client(fresh.server, runner, Deadline(10)) as client:
            link = sets.chain(dumped.manifest)[0]
            with pytest.raises(BackupError, match='role "synapse" does not exist'):
                logical(None).restore_beside(client, link, "synapse", "synapse", Deadline(60))
        assert fresh.sql("SELECT count(*) FROM pg_database WHERE datname = 'synapse'") == "0"
    finally:
        fresh.stop()


# --- F12, F13: secrets


def visible() -> bytes:
    """Return everything that other users can read of processes, and their environments besides."""
    seen = b""
    for entry in pathlib.Path("/proc").iterdir():
        # This process knows the password, and it is not the one under test.
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            for name in ("cmdline", "environ"):
                with contextlib.suppress(OSError):
                    seen += (entry / name).read_bytes()
    return seen


def test_f12_a_password_goes_by_a_file_that_nobody_else_reads(
    server: Cluster, sets: Sets, runner: process.Runner
) -> None:
    server.sql(f"CREATE ROLE backup SUPERUSER LOGIN PASSWORD {cluster.literal(PASSWORD)}")
    # The test's own way in stays open.
    hba = "local all postgres trust\nlocal all all scram-sha-256\nlocal replication all scram-sha-256\n"
    (server.data / "pg_hba.conf").write_text(hba)
    server.sql("SELECT pg_reload_conf()")
    who = dataclasses.replace(server.server, user="backup", password=PASSWORD)
    with cluster.client(who, runner, Deadline(10)) as client:
        (path,) = {client.runner.environment["PGPASSFILE"]}
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
        driver = Logical(str(sets.root), runner, client, durable=False)
        with server.locked("events"):
            backup = Background(lambda: sets.take(driver))
            server.waits(DUMP_WAITS)
            seen = visible()
        backup.succeeds()
    assert b"pg_dump" in seen
    assert PASSWORD.encode() not in seen
    assert not os.path.exists(path)


def test_f12_a_wrong_password_is_named_and_not_shown(server: Cluster, runner: process.Runner) -> None:
    server.sql("CREATE ROLE backup SUPERUSER LOGIN PASSWORD 'other'")
    (server.data / "pg_hba.conf").write_text("local all postgres trust\nlocal all all scram-sha-256\n")
    server.sql("SELECT pg_reload_conf()")
    who = dataclasses.replace(server.server, user="backup", password=PASSWORD)
    with (
        pytest.raises(BackupError, match='password authentication failed for user "backup"') as caught,
        cluster.client(who, runner, Deadline(10)),
    ):
        pytest.fail("it should not come in")
    assert caught.value.kind == "auth"
    assert PASSWORD not in str(caught.value) + repr(caught.value.facts)


@pytest.mark.parametrize("kind", ["native", "logical"])
def test_f13_nobody_else_reads_a_set_whatever_the_umask(
    shared: Cluster, native: Make, logical: t.Callable[..., Logical], sets: Sets, kind: str
) -> None:
    before = os.umask(0)
    try:
        manifest = sets.take((native if kind == "native" else logical)(shared))
    finally:
        os.umask(before)
    for path in (sets.folder / manifest.id).rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


# --- F17, F18: a segment of the log is missing


class Archived(t.NamedTuple):
    """A set, the log that was archived after it, and where two markers were committed."""

    manifest: Manifest
    archive: pathlib.Path
    segments: list[str]
    middle: str
    after: str


@pytest.fixture
def archived(server: Cluster, native: Make, sets: Sets, runner: process.Runner) -> Archived:
    """Take a set, then fill several segments and archive them as pg_receivewal does."""
    with cluster.client(server.server, runner, Deadline(10)) as client:
        archive.create_slot(client, "archive", Deadline(10))
        manifest = sets.take(native(server))
        server.sql("CREATE TABLE markers (name text, made timestamptz DEFAULT clock_timestamp())", "synapse")
        moments = []
        for name in ("one", "two", "three", "four", "five"):
            server.sql(f"INSERT INTO markers VALUES ('{name}')", "synapse")
            moments.append(server.sql("SELECT to_json(clock_timestamp())#>>'{}'"))
            server.sql("SELECT pg_switch_wal()")
        end = server.sql("SELECT pg_current_wal_lsn()")
        # pg_receivewal stops when something comes that lies behind the end.
        server.sql("INSERT INTO markers VALUES ('six')", "synapse")
        argv = [*archive.receiver(client, str(sets.archive), "archive"), f"--endpos={end}"]
        client.runner.run(argv, Deadline(30))
    segments = sorted(path.name for path in sets.archive.iterdir() if len(path.name) == 24)
    assert len(segments) >= 5
    return Archived(manifest, sets.archive, segments, moments[2], moments[4])


def test_f17_recovery_to_the_end_refuses_a_hole(
    archived: Archived, native: Make, sets: Sets, place: pathlib.Path
) -> None:
    os.unlink(archived.archive / archived.segments[2])
    driver = native(None, archive=str(archived.archive))
    with pytest.raises(BackupError, match=f"lacks {archived.segments[2]}. Recovery would end there") as caught:
        driver.restore(sets.chain(archived.manifest), str(place / "data"), LATEST, Deadline(60))
    assert "choose a target before it, or immediate" in str(caught.value)
    assert not (place / "data").exists()


def test_f17_recovery_that_ends_early_is_seen_by_its_position(
    archived: Archived, native: Make, sets: Sets, runner: process.Runner, place: pathlib.Path
) -> None:
    """All names are there, but one segment holds nothing: the server opens, and calls it success."""
    path = archived.archive / archived.segments[2]
    path.write_bytes(bytes(path.stat().st_size))
    driver = native(None, archive=str(archived.archive))
    chain = sets.chain(archived.manifest)
    proof = drill(driver, chain, str(place / "drill"), runner, Deadline(120), target=LATEST)
    found = {check.name: check for check in proof.checks}
    assert found["recovery"].status == "ok"
    assert found["log_position"].status == "critical"
    assert re.search("the last .*MiB of the log are lost", found["log_position"].message)


def test_f17_a_whole_archive_is_proven(
    archived: Archived, native: Make, sets: Sets, runner: process.Runner, place: pathlib.Path
) -> None:
    driver = native(None, archive=str(archived.archive))
    chain = sets.chain(archived.manifest)
    proof = drill(driver, chain, str(place / "drill"), runner, Deadline(120), target=LATEST)
    assert {check.name: check.status for check in proof.checks} == {
        **dict.fromkeys(
            ("restore", "recovery", "timeline", "log_position", "locale", "system_identifier", "indexes"), "ok"
        ),
        **dict.fromkeys(("clean_stop", "page_checksums"), "ok"),
        "row_counts": "skipped",
    }


@pytest.mark.parametrize("missing", ["removed", "cut off"])
def test_f18_a_time_behind_a_hole_is_refused_before_anything_is_touched(
    archived: Archived, native: Make, sets: Sets, place: pathlib.Path, missing: str
) -> None:
    path = archived.archive / archived.segments[2]
    if missing == "removed":
        path.unlink()
    else:
        os.truncate(path, 8192)
    driver = native(None, archive=str(archived.archive))
    target = Target.parse(archived.after)
    with pytest.raises(BackupError, match=f"cannot be reached from set set-1: .*lacks {path.name}"):
        driver.restore(sets.chain(archived.manifest), str(place / "data"), target, Deadline(60))
    assert not (place / "data").exists()


def test_f18_a_time_that_the_archive_has_not_reached_is_refused(
    archived: Archived, native: Make, sets: Sets, place: pathlib.Path
) -> None:
    driver = native(None, archive=str(archived.archive))
    chain = sets.chain(archived.manifest)
    for target, words in (
        ("2999-01-01T00:00:00Z", "the archive ends before it; of what was committed after the set, .* holds up to 20"),
        ("2001-01-01T00:00:00Z", "lies before the end of set set-1 at 20.*; take an older set"),
        ("FF/0", "cannot be reached from set set-1: the archive .* ends at 0/"),
        ("0/1", "lies before the end of set set-1 at 0/.*; take an older set"),
    ):
        with pytest.raises(BackupError, match=words):
            driver.restore(chain, str(place / "data"), Target.parse(target), Deadline(60))
    with pytest.raises(BackupError, match="needs an archive of the log, and none was named"):
        native(None).restore(chain, str(place / "data"), Target.parse(archived.after), Deadline(60))
    assert not (place / "data").exists()


# --- F21: tools of another version


def test_f21_data_of_another_major_is_refused(
    native: Make, logical: t.Callable[..., Logical], sets: Sets, good: Kept, dumped: Kept, place: pathlib.Path
) -> None:
    for make, kept in ((native, good), (logical, dumped)):
        pg = t.cast(PostgresqlFacts, kept.manifest.pg)
        other = dataclasses.replace(kept.manifest, pg=dataclasses.replace(pg, major=99))
        with pytest.raises(BackupError, match="of PostgreSQL 99 is not installed .* install postgresql-99") as caught:
            make(None).restore([(str(sets.folder / other.id), other)], str(place / "data"), LATEST, Deadline(60))
        assert caught.value.kind == "missing_tool"
        assert not (place / "data").exists()


def test_f21_a_dump_is_not_loaded_into_an_older_server(
    shared: Cluster, logical: t.Callable[..., Logical], sets: Sets, dumped: Kept, runner: process.Runner
) -> None:
    pg = t.cast(PostgresqlFacts, dumped.manifest.pg)
    newer = dataclasses.replace(dumped.manifest, pg=dataclasses.replace(pg, major=shared.major + 2))
    link = (str(sets.folder / newer.id), newer)
    with (
        cluster.client(shared.server, runner, Deadline(10)) as client,
        pytest.raises(BackupError, match="can be loaded into its own version or a later one"),
    ):
        logical(None).restore_beside(client, link, "synapse", "new", Deadline(60))
    assert shared.sql("SELECT count(*) FROM pg_database WHERE datname = 'new'") == "0"


# --- F23: the chain is broken


def test_f23_an_incremental_set_without_its_full_one_is_refused(
    native: Make, sets: Sets, good: Kept, place: pathlib.Path
) -> None:
    child = dataclasses.replace(
        good.manifest, id="child", kind="incremental", parent=good.manifest.id, chain=(good.manifest.id, "child")
    )
    shutil.copytree(sets.folder / good.manifest.id, sets.folder / "child")
    driver = native(None)
    chains = [[(str(sets.folder / "child"), child)], sets.chain(good.manifest, child)]
    shutil.rmtree(sets.folder / good.manifest.id)
    for chain, words in zip(
        chains,
        ("needs the sets set-1, child, and here are child", "of set set-1, which it needs, cannot be read"),
        strict=True,
    ):
        with pytest.raises(BackupError, match=words) as caught:
            driver.restore(chain, str(place / "data"), LATEST, Deadline(60))
        assert caught.value.kind == "parse"
    assert not (place / "data").exists()
