"""The modules as Ansible runs them: made, proven, listed, tidied, restored, swapped; killed, refused, run twice."""

from __future__ import annotations

import json
import os
import pathlib
import random
import signal
import time
import typing as t

import pytest
from clusters import Cluster, digests, listing, pids, until
from modules import Store, answer, start
from stores import MediaStore


def test_a_set_is_complete_then_verified_then_the_newest_to_fall_back_on(read_only: Store) -> None:
    name = read_only.made()
    before = read_only.good("matrixon_backup_info")
    assert [entry["status"] for entry in before["sets"]] == ["complete"]
    assert read_only.statuses(before)["verified_age"] == "critical"

    drilled = read_only.good(
        "matrixon_backup_drill",
        queries=[{"name": "events", "database": "synapse", "sql": "SELECT count(*) FROM events"}],
    )
    found = read_only.statuses(drilled)
    assert set(found.values()) == {"ok"}, drilled["msg"]
    assert {"set_checksums", "log_position", "row_counts", "indexes", "page_checksums", "query_events"} <= set(found)
    assert drilled["sets"] == [name]

    after = read_only.good("matrixon_backup_info", verify_shares=1)
    assert [entry["status"] for entry in after["sets"]] == ["verified"]
    assert read_only.statuses(after)["verified_age"] == "ok"
    assert read_only.statuses(after)["restore_time"] == "ok"
    assert read_only.statuses(after)["set_checksums"] == "ok"
    assert not (read_only.path / "scratch").exists()
    assert pids("postgres", "-D", str(read_only.path)) == []


def test_check_mode_says_what_would_be_and_touches_nothing(read_only: Store) -> None:
    foreseen = read_only.backup(check=True)
    assert foreseen["changed"] and "there is no set of the database yet" in foreseen["msg"]
    assert listing(read_only.root) == []
    read_only.made()
    before = digests(read_only.root)
    for module, options in (
        ("matrixon_backup", {"database": read_only.database}),
        ("matrixon_backup_drill", {}),
        ("matrixon_backup_prune", {"keep_daily": 7}),
        ("matrixon_restore", {"directory": f"{read_only.root}/restored", "accept_unverified": read_only.sets[0]}),
    ):
        result = read_only.good(module, check=True, **options)
        assert result["plan"], module
    assert digests(read_only.root) == before


def test_a_named_set_is_made_once_and_held_against_its_checksums(read_only: Store) -> None:
    assert read_only.made(name="before-upgrade") == "before-upgrade"
    again = read_only.backup(name="before-upgrade")
    assert (again["changed"], again.get("failed")) == (False, None)
    victim = next((read_only.path / "sets/before-upgrade/db").rglob("base.tar*"))
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    damaged = read_only.backup(name="before-upgrade")
    assert damaged["failed"] and "set before-upgrade is damaged" in damaged["msg"]
    assert "There is no other complete set" in damaged["msg"]
    assert read_only.call("matrixon_backup_drill")["failed"]
    info = read_only.call("matrixon_backup_info", verify_shares=1, fail_on="critical")
    assert info["failed"] and "before-upgrade" in info["msg"]
    gone = read_only.good("matrixon_backup", name="before-upgrade", state="absent")
    assert gone["changed"] and read_only.sets == []
    assert not read_only.good("matrixon_backup", name="before-upgrade", state="absent")["changed"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "../elsewhere"}, "is no name for a set"),
        ({"name": "latest"}, "choose another"),
        ({"keep_until": "2027-01-31"}, "no time with a zone"),
        ({"deadline": 0}, "no time to do anything in"),
        ({"deployment": "a/b"}, "fleet: 'a/b'"),
        ({"owner": "nobody-of-that-name"}, "has no user"),
        ({"database": {"driver": "logical", "kind": "incremental"}}, "a dump is always whole"),
        ({"database": {"shrink_percent": 101}}, "not from 0 to 100"),
        ({"database": {"port": 1}}, "PostgreSQL at"),
    ],
)
def test_bad_input_is_one_clear_refusal_and_nothing_is_touched(
    read_only: Store, options: dict[str, t.Any], words: str
) -> None:
    for check in (True, False):
        result = read_only.backup(check=check, **options)
        assert result["failed"] and words in result["msg"], result["msg"]
    assert listing(read_only.root) == []


def test_a_store_in_the_data_directory_is_refused(server: Cluster) -> None:
    store = Store(server.data / "backups", server)
    result = store.backup()
    assert result["failed"] and "lies inside the data directory" in result["msg"]
    assert not store.root.exists()


def test_a_second_run_at_the_same_time_is_refused_at_once(store: Store) -> None:
    with store.server.held():
        first = store.start("matrixon_backup", database=store.database)
        until(lambda: listing(store.path / "sets") if (store.path / "sets").exists() else [])
        started = time.monotonic()
        second = store.backup()
        assert second["failed"] and "is held by" in second["msg"], second["msg"]
        assert time.monotonic() - started < 5
    out, err = first.communicate(timeout=60)
    assert json.loads(out).get("failed") is None, out + err
    assert len(store.sets) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_killed_at_any_moment_the_next_run_cleans_up_and_succeeds(store: Store, number: signal.Signals) -> None:
    begun = time.monotonic()
    good = store.made()
    took = time.monotonic() - begun
    before = digests(store.path / "sets" / good)
    seed = int(os.environ.get("SEED", "7"))
    chance = random.Random(seed)
    killed = 0
    for _moment in range(10):
        run = store.start("matrixon_backup", database=store.database)
        time.sleep(chance.uniform(0.0, took))
        run.send_signal(number)
        out, err = run.communicate(timeout=60)
        ended_well = run.returncode == 0 and json.loads(out).get("failed") is None
        killed += not ended_well
        if number == signal.SIGTERM:
            until(lambda: pids("pg_basebackup", str(store.path)) == [])
        if number == signal.SIGTERM and not ended_well and out.strip():
            assert "ended by SIGTERM" in json.loads(out)["msg"], out + err
    assert killed >= 5, "a moment that comes after the end shows nothing"
    found = len(store.sets)
    last = store.made()
    # What forked by itself outlives a SIGKILL, and holds its place on the server until the next run.
    assert pids("pg_basebackup", str(store.path)) == []
    assert len(store.sets) == found + 1
    assert not [name for name in os.listdir(store.path / "sets") if name.startswith(".")]
    assert digests(store.path / "sets" / good) == before
    proven = store.good("matrixon_backup_drill", set=last)
    assert proven["report"]["status"] == "ok"


def test_a_killed_drill_leaves_nothing_that_the_next_one_cannot_clear(read_only: Store) -> None:
    read_only.made()
    run = read_only.start("matrixon_backup_drill")
    until((read_only.path / "scratch/data/PG_VERSION").exists)
    run.kill()
    run.communicate(timeout=60)
    until(lambda: pids("postgres", "-D", str(read_only.path)) == [])
    assert read_only.good("matrixon_backup_drill")["report"]["status"] == "ok"
    # An empty directory is left as it was found.
    assert listing(read_only.path / "scratch") == []


def test_an_emptied_server_does_not_push_the_good_sets_out(store: Store) -> None:
    good = store.made()
    store.server.sql("TRUNCATE events CASCADE", "synapse")
    result = store.backup()
    assert result["failed"] and "rows and has" in result["msg"]
    assert f"The newest complete set is still {good}" in result["msg"]
    assert store.sets == [good]
    assert store.made(database={"shrink_percent": 100})


def test_a_dead_server_fails_with_its_cause_and_keeps_what_is_there(store: Store) -> None:
    good = store.made()
    store.server.kill()
    result = store.backup()
    assert result["failed"] and good in result["msg"]
    assert store.sets == [good]


def test_retention_spares_what_was_not_proven_and_says_why(store: Store) -> None:
    first = store.made()
    store.good("matrixon_backup_drill")
    second = store.made()
    kept = store.good("matrixon_backup_prune", keep_last=1, min_verified=1)
    assert kept["removed"] == [] and len(kept["plan"]) == 2
    store.good("matrixon_backup_drill", set="unproven")
    foreseen = store.good("matrixon_backup_prune", check=True, keep_last=1, min_verified=1)
    assert foreseen["removed"] == [first] and store.sets == sorted([first, second])
    done = store.good("matrixon_backup_prune", keep_last=1, min_verified=1)
    assert done["changed"] and store.sets == [second]
    assert not store.good("matrixon_backup_prune", keep_last=1, min_verified=1)["changed"]
    nothing = store.call("matrixon_backup_prune")
    assert nothing["failed"] and "keep nothing" in nothing["msg"]
    assert store.sets == [second]


def test_a_restore_is_a_new_directory_that_takes_the_old_ones_place(store: Store) -> None:
    name = store.made()
    directory = store.server.base / "restored"
    refused = store.call("matrixon_restore", directory=str(directory))
    assert refused["failed"] and f"accept_unverified: {name}" in refused["msg"]
    store.good("matrixon_backup_drill")
    store.server.sql("DROP TABLE event_json", "synapse")

    done = store.good(
        "matrixon_restore",
        directory=str(directory),
        queries=[{"name": "rows", "database": "synapse", "sql": "SELECT count(*) FROM event_json"}],
        truncate=[{"database": "synapse", "tables": ["users"]}],
    )
    assert done["report"]["facts"]["answers"] == {"rows": 6000}
    again = store.call("matrixon_restore", directory=str(directory))
    assert again["failed"] and "is not empty" in again["msg"]

    swap = {"path": str(store.server.data), "new": str(directory)}
    running = answer(start("matrixon_swap", **swap))
    assert running["failed"] and "stop it first" in running["msg"]
    store.server.stop("fast")
    swapped = answer(start("matrixon_swap", **swap))
    assert swapped["changed"] and not answer(start("matrixon_swap", **swap))["changed"]
    store.server.configure()
    store.server.start()
    assert store.server.sql("SELECT count(*) FROM event_json", "synapse") == "6000"
    assert store.server.sql("SELECT count(*) FROM users", "synapse") == "0"

    store.server.stop("fast")
    assert answer(start("matrixon_swap", path=str(store.server.data), state="reverted"))["changed"]
    store.server.start()
    assert store.server.sql("SELECT to_regclass('event_json') IS NULL", "synapse") == "t"
    assert directory.exists()


def test_what_cannot_be_reached_is_refused_before_a_byte_is_written(store: Store) -> None:
    store.made()
    store.good("matrixon_backup_drill")
    directory = store.root / "restored"
    for target, words in (
        ("2026-11-23T02:15:00", "has no time zone"),
        ("2001-01-01T00:00:00Z", "cannot be reached"),
        ("2099-01-01T00:00:00Z", "cannot be reached"),
        ("yesterday", "neither latest"),
    ):
        result = store.call("matrixon_restore", directory=str(directory), target=target)
        assert result["failed"] and words in result["msg"], result["msg"]
    assert not directory.exists()
    assert not [name for name in os.listdir(store.root) if name.startswith(".restored")]


@pytest.mark.parametrize("form", ["changes", "changes_file"])
def test_of_media_only_what_a_list_names_is_looked_at(read_only: Store, tmp_path: pathlib.Path, form: str) -> None:
    media = MediaStore(tmp_path / "media")
    options = {"driver": "rsync", "path": str(media.root), "required": ["local_content"]}

    def made(**more: t.Any) -> dict[str, t.Any]:
        return read_only.call("matrixon_backup", media={**options, **more})

    listed, forgotten = (media.paths(media.upload())[0] for dummy in range(2))
    journal = tmp_path / "journal"
    journal.write_bytes(listed.encode() + b"\0")
    given: t.Any = [listed] if form == "changes" else str(journal)
    nothing = made(**{form: given})
    assert nothing["failed"] and "media.changes: there is no set of the media" in nothing["msg"]
    for path in (listed, forgotten):
        media.path(path).unlink()
    assert not made().get("failed")
    for path in (listed, forgotten):
        media.write(path, path.encode())
    result = made(**{form: given})
    assert not result.get("failed"), result["msg"]
    set_id = result["set"]["id"]
    read_only.good(
        "matrixon_restore",
        component="media",
        directory=f"{read_only.root}/back",
        media={},
        set=set_id,
        accept_unverified=set_id,
    )
    back = read_only.root / "back"
    assert (back / listed).read_bytes() == listed.encode() and not (back / forgotten).exists()
    both = made(changes=[listed], changes_file=str(journal))
    assert both["failed"] and "changes|changes_file" in both["msg"]
