"""The native driver against a real server: what it copies, and to which moments it comes back."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import re
import signal
import time
import typing as t

import pytest
from clusters import EVENTS, ODD, Background, Cluster, Make, Sets, listing, make_owned, until

from ansible_collections.matrixon.ops.plugins.module_utils._backup import archive, cluster, process, scratch
from ansible_collections.matrixon.ops.plugins.module_utils._backup.drill import drill
from ansible_collections.matrixon.ops.plugins.module_utils._backup.driver import prepare
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import DATABASE, Target
from ansible_collections.matrixon.ops.plugins.module_utils._backup.native import FOLDER
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

NOW = "SELECT to_json(clock_timestamp())#>>'{}'"
IMMEDIATE = Target("immediate")


@contextlib.contextmanager
def opened(data: pathlib.Path, runner: process.Runner, tools: pathlib.Path) -> t.Iterator[scratch.Scratch]:
    with scratch.Scratch(str(data), None, runner, str(tools)) as server:
        server.start(Deadline(30))
        yield server


def ask(server: scratch.Scratch, sql: str, database: str = "synapse") -> str:
    with server.client().session(Deadline(10), database) as session:
        return session.value(f"SET search_path TO DEFAULT; {sql}")


def test_what_a_set_says_about_its_server(shared: Cluster, native: Make, sets: Sets) -> None:
    driver = native(shared)
    assert driver.problems() == []
    manifest = sets.take(driver)
    pg = manifest.pg
    assert pg
    control = {
        words: shared.sql(f"SELECT {words}")
        for words in ("system_identifier FROM pg_control_system()", "timeline_id FROM pg_control_checkpoint()")
    }
    assert [pg.system_identifier, str(pg.timeline)] == list(control.values())
    assert (pg.major, pg.checksums, pg.encoding, pg.collate) == (shared.major, True, "UTF8", "C.UTF-8")
    assert set(pg.extensions) == {"plpgsql", "pg_stat_statements"}
    assert {database.name: database.owner for database in pg.databases} == {
        ODD: None,
        "postgres": None,
        "synapse": "synapse",
    }
    rows = {(database.name, table.name): table.rows_before for database in pg.databases for table in database.tables}
    # Neither the table that is not logged nor what belongs to an extension.
    assert rows == {
        (ODD, "t"): 1,
        ("synapse", "users"): 500,
        ("synapse", "events"): EVENTS,
        ("synapse", "event_json"): EVENTS,
        ("synapse", 'it\'s "odd" one'): 7,
    }
    part = manifest.components[DATABASE]
    assert [entry.path.split("/")[-1].split(".")[0] for entry in part.files] == ["backup_manifest", "base", "pg_wal"]
    assert part.bytes < driver.estimate() < 20 * part.bytes
    for entry in part.files:
        path = sets.folder / manifest.id / entry.path
        assert checksum(path) == (entry.bytes, entry.sha256)


def checksum(path: pathlib.Path) -> tuple[int, str]:
    content = path.read_bytes()
    return len(content), hashlib.sha256(content).hexdigest()


def test_a_server_that_cannot_be_copied_says_why(server: Cluster, native: Make, sets: Sets) -> None:
    place = make_owned(server.base / "elsewhere")
    server.sql(f"CREATE TABLESPACE far LOCATION '{place}'")
    server.sql("CREATE ROLE weak LOGIN")
    with cluster.client(dataclasses.replace(server.server, user="weak"), native(server)._runner, Deadline(10)) as weak:
        with weak.session(Deadline(10)) as session:
            running = cluster.look(session)
        assert native(server).problems() == [
            f"tablespace far lies in {place}, outside of the data directory, and the driver native does not carry "
            "tablespaces; move its tables into pg_default, or use the driver logical, which brings them back there"
        ]
    assert not running.superuser and not running.replication and not running.reads_all
    inside = make_owned(server.data / "store")
    driver = native(server)
    driver.store = str(inside)
    assert any("inside the data directory" in problem for problem in driver.problems())


def test_a_backup_of_a_server_in_full_swing_is_proven(
    server: Cluster, native: Make, sets: Sets, runner: process.Runner, place: pathlib.Path
) -> None:
    """Rows come and go while it is made, so each table may have any of the numbers in between."""
    server.sql("CREATE TABLE inbox (id bigint GENERATED ALWAYS AS IDENTITY, body text)", "synapse")
    server.sql("INSERT INTO inbox (body) SELECT 'x' FROM generate_series(1, 1000)", "synapse")
    stop = False

    def traffic() -> None:
        while not stop:
            server.sql("INSERT INTO users SELECT gen_random_uuid(), '', 0 FROM generate_series(1, 20)", "synapse")
            server.sql("INSERT INTO inbox (body) SELECT 'y' FROM generate_series(1, 500)", "synapse")
            server.sql("DELETE FROM inbox WHERE id IN (SELECT id FROM inbox ORDER BY id LIMIT 500)", "synapse")

    busy = Background(traffic)
    try:
        time.sleep(0.5)
        manifest = sets.take(native(server))
    finally:
        stop = True
        busy.succeeds()
    tables = {table.name: table for database in manifest.pg.databases for table in database.tables}
    assert tables["users"].rows_before < tables["users"].rows_after
    proof = drill(native(None), sets.chain(manifest), str(place / "drill"), runner, Deadline(120))
    assert {check.name: check.message for check in proof.checks if check.status not in ("ok", "skipped")} == {}


def test_a_directory_with_something_in_it_is_left_alone(
    shared: Cluster, native: Make, sets: Sets, place: pathlib.Path
) -> None:
    manifest = sets.take(native(shared))
    data = make_owned(place / "data")
    (data / "precious").write_text("mine")
    link = place / "link"
    link.symlink_to(data)
    for path, words in ((data, "is not empty"), (link, "is no directory"), (place / "no/such", "is no directory")):
        with pytest.raises(BackupError, match=words):
            native(None).restore(sets.chain(manifest), str(path), IMMEDIATE, Deadline(60))
    with pytest.raises(BackupError, match="is no absolute path"):
        native(None).restore(sets.chain(manifest), "data", IMMEDIATE, Deadline(60))
    assert listing(data) == ["precious"]


@pytest.mark.parametrize("existing", [True, False])
def test_what_cannot_be_restored_leaves_nothing(
    shared: Cluster, native: Make, sets: Sets, place: pathlib.Path, existing: bool
) -> None:
    manifest = sets.take(native(shared))
    base = next((sets.folder / manifest.id / "db/physical").glob("base.tar.*"))
    with open(base, "r+b") as file:
        file.seek(base.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0x55]))
    data = place / "data"
    if existing:
        make_owned(data)
    with pytest.raises(BackupError, match="set set-1 is damaged") as caught:
        native(None).restore(sets.chain(manifest), str(data), IMMEDIATE, Deadline(60))
    assert caught.value.kind == "parse"
    assert data.exists() is existing
    assert listing(data) == []


def test_a_changed_file_in_the_copy_is_found_though_it_unpacks(
    shared: Cluster, native: Make, sets: Sets, place: pathlib.Path
) -> None:
    """The server's own list of files has a checksum of each; here one of them is not that of the file."""
    manifest = sets.take(native(shared))
    path = sets.folder / manifest.id / "db/physical/backup_manifest"
    content = path.read_bytes()
    pattern = rb'("PG_VERSION".{0,200}?"Checksum": ")(.)'
    changed = re.sub(pattern, lambda match: match[1] + (b"1" if match[2] == b"0" else b"0"), content, count=1)
    body = changed[: changed.rindex(b'"Manifest-Checksum"')]
    path.write_bytes(body + b'"Manifest-Checksum": "' + hashlib.sha256(body).hexdigest().encode() + b'"}\n')
    with pytest.raises(BackupError, match="set set-1 is damaged: pg_verifybackup .*PG_VERSION"):
        native(None).restore(sets.chain(manifest), str(place / "data"), IMMEDIATE, Deadline(60))
    assert not (place / "data").exists()


# --- moments


class Receiver:
    """pg_receivewal as a supervisor keeps it running."""

    def __init__(self, server: Cluster, sets: Sets, runner: process.Runner) -> None:
        self._stack = contextlib.ExitStack()
        client = self._stack.enter_context(cluster.client(server.server, runner, Deadline(10)))
        archive.create_slot(client, "archive", Deadline(10))
        archive.create_slot(client, "archive", Deadline(10))
        self._server = server
        self._child = client.runner.start(archive.receiver(client, str(sets.archive), "archive"))

    def caught_up(self) -> None:
        """Wait until all that was committed so far is in the archive."""
        lsn = self._server.sql("SELECT pg_current_wal_lsn()")
        self._server.waits(
            f"EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming' AND flush_lsn >= '{lsn}')"
        )

    def stop(self) -> None:
        self._child.end(signal.SIGINT)
        self._stack.close()


@pytest.fixture
def receiver(server: Cluster, sets: Sets, runner: process.Runner) -> t.Iterator[Receiver]:
    running = Receiver(server, sets, runner)
    yield running
    running.stop()


def test_what_was_deleted_by_mistake_is_back_a_moment_before(
    server: Cluster, native: Make, sets: Sets, runner: process.Runner, receiver: Receiver, place: pathlib.Path
) -> None:
    manifest = sets.take(native(server))
    server.sql("INSERT INTO users VALUES ('@late:example.org', '', 1)", "synapse")
    time.sleep(0.05)
    good = server.sql(NOW)
    good_lsn = server.sql("SELECT pg_current_wal_insert_lsn()")
    time.sleep(0.05)
    server.sql("DELETE FROM users", "synapse")
    server.sql("INSERT INTO users VALUES ('@after:example.org', '', 1)", "synapse")
    server.sql("CHECKPOINT")
    receiver.caught_up()
    driver = native(None, archive=str(sets.archive))
    # The unfinished segment counts: nothing was switched, so all of it is in one.
    assert [path.name[-8:] for path in sets.archive.iterdir()].count(".partial") == 1
    for number, (target, rows) in enumerate(
        (
            (Target.parse(good), "501"),
            (Target.parse(good_lsn), "501"),
            (Target("latest"), "1"),
            (IMMEDIATE, "500"),
        )
    ):
        data = place / f"data{number}"
        driver.restore(sets.chain(manifest), str(data), target, Deadline(60))
        with opened(data, runner, server.tools) as copy:
            assert ask(copy, "SELECT count(*) FROM users") == rows, str(target)
            reach = driver.reach(sets.chain(manifest), target, Deadline(60))
            recovered = copy.recovered(Deadline(10))
            assert recovered.exact and recovered.position >= reach.position
            assert recovered.timeline in reach.timelines


def test_a_restore_goes_on_over_a_change_of_timeline(
    server: Cluster, native: Make, sets: Sets, runner: process.Runner, place: pathlib.Path
) -> None:
    """After a restore the log goes on on a timeline of its own, and the old set leads there, too."""
    first = Receiver(server, sets, runner)
    manifest = sets.take(native(server))
    server.sql("INSERT INTO users VALUES ('@one:example.org', '', 1)", "synapse")
    first.caught_up()
    first.stop()
    driver = native(None, archive=str(sets.archive))
    data = place / "data"
    driver.restore(sets.chain(manifest), str(data), Target("latest"), Deadline(60))
    server.stop()
    os.rename(server.data, server.base / "before")
    os.rename(data, server.data)
    server.configure()
    server.start()
    until(lambda: server.sql("SELECT pg_is_in_recovery()") == "f")
    second = Receiver(server, sets, runner)
    server.sql("INSERT INTO users VALUES ('@two:example.org', '', 1)", "synapse")
    second.caught_up()
    second.stop()
    reach = driver.reach(sets.chain(manifest), Target("latest"), Deadline(60))
    assert reach.timelines == (1, 2)
    driver.restore(sets.chain(manifest), str(data), Target("latest"), Deadline(60))
    with opened(data, runner, server.tools) as copy:
        assert ask(copy, "SELECT count(*) FROM users") == "502"


def test_a_copy_of_a_standby_does_not_stay_one(
    shared: Cluster, native: Make, sets: Sets, runner: process.Runner, place: pathlib.Path
) -> None:
    """Its files say that it is one, where its primary is, and where its log is to be archived."""
    server = Cluster(place, shared.major, shared.port)
    manifest = sets.take(native(shared))
    native(None).restore(sets.chain(manifest), str(place / "first"), IMMEDIATE, Deadline(60))
    (place / "first/standby.signal").touch()
    with open(place / "first/postgresql.auto.conf", "a", encoding="utf-8") as file:
        file.write(
            "primary_conninfo = 'host=/nowhere'\nrecovery_target_time = '2001-01-01'\nrecovery_target = ''\n"
            f"archive_mode = on\narchive_command = 'touch {place}/was-archived'\n"
            "shared_preload_libraries = 'no_such_library'\nsynchronous_standby_names = '*'\n"
        )
    os.remove(place / "first/recovery.signal")
    # As to the end of an archive: a standby would wait there for more, for ever.
    prepare(str(place / "first"), {"restore_command": "/bin/false"}, runner)
    with opened(place / "first", runner, server.tools) as copy:
        assert ask(copy, "SELECT pg_is_in_recovery()") == "f"
        # A commit that waited for a standby would wait for ever.
        ask(copy, "CREATE TABLE written (a int)")
        assert ask(copy, "SHOW archive_mode") == "off"
        assert ask(copy, "SHOW listen_addresses") == ""
        copy.stop(Deadline(20))
    assert not (place / "was-archived").exists()


# --- increments


def test_only_what_changed_is_copied(
    server: Cluster, native: Make, sets: Sets, runner: process.Runner, place: pathlib.Path
) -> None:
    full = sets.take(native(server))
    if server.major < 17:
        reason = native(server).reason_for_full(full)
        assert reason == f"PostgreSQL {server.major} has no incremental backups; they came with 17"
        with pytest.raises(BackupError, match="make a full one"):
            sets.take(native(server), full)
        return
    assert native(server).reason_for_full(full) is None
    server.sql("INSERT INTO users VALUES ('@one:example.org', '', 1)", "synapse")
    second = sets.take(native(server), full)
    server.sql("INSERT INTO users VALUES ('@two:example.org', '', 1)", "synapse")
    third = sets.take(native(server), second)
    assert (third.kind, third.chain) == ("incremental", ("set-1", "set-2", "set-3"))
    assert third.components[DATABASE].bytes < full.components[DATABASE].bytes / 3
    chain = sets.chain(full, second, third)
    proof = drill(native(None), chain, str(place / "drill"), runner, Deadline(120))
    assert {check.name: check.message for check in proof.checks if check.status not in ("ok", "skipped")} == {}
    # The whole chain is verified: a damaged link in the middle is found, too.
    manifest = sets.folder / second.id / FOLDER / "backup_manifest"
    manifest.write_bytes(manifest.read_bytes().replace(b'"Checksum": "0', b'"Checksum": "1', 1))
    with pytest.raises(BackupError, match="set set-2 is damaged"):
        native(None).restore(chain, str(place / "data"), IMMEDIATE, Deadline(60))
    assert not (place / "data").exists()
