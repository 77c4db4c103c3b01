"""A backup of the running fleet, and what comes back of it: as users meet it, and as the database has it."""

from __future__ import annotations

import datetime
import json
import time
import typing as t
import uuid

import pytest

NAME = "fleet.test"


@pytest.fixture(scope="module")
def backup(playbook: t.Any, people: t.Any, room: str) -> str:
    """A set that was proven, with a message in it."""
    alice, _bob = people
    marker = uuid.uuid4().hex
    alice.client.upload(alice.token, "first.bin", "application/octet-stream", b"first")
    event = alice.client.send(alice.token, room, marker, {"msgtype": "m.text", "body": marker})
    run = playbook("backup")
    assert run.code == 0, run.output
    return event


def body(user: t.Any, room: str, event: str) -> str | None:
    """What a user reads of a message, None where there is none."""
    status, answer = user.client.raw(
        "GET", f"/_matrix/client/v3/rooms/{room}/event/{event}", None, {"Authorization": f"Bearer {user.token}"}
    )
    return json.loads(answer)["content"]["body"] if status == 200 else None


def say(user: t.Any, room: str) -> str:
    marker = uuid.uuid4().hex
    return user.client.send(user.token, room, marker, {"msgtype": "m.text", "body": marker})


def test_a_second_backup_adds_to_the_first(playbook: t.Any, backup: str, server: t.Any) -> None:
    run = playbook("backup")
    assert run.code == 0, run.output
    catalog = json.loads(server("db1").check_output("cat /var/backups/matrixon/molecule/db1/catalog.json"))
    newest = max(catalog["sets"], key=lambda entry: entry["sequence"])
    assert newest["kind"] == "incremental", newest


def test_media_and_keys_are_put_away_where_they_are(server: t.Any, backup: str) -> None:
    for host, components in (("hs1", ["config", "media"]), ("hs2", ["config"])):
        catalog = json.loads(server(host).check_output(f"cat /var/backups/matrixon/molecule/{host}/catalog.json"))
        newest = max(catalog["sets"], key=lambda entry: entry["sequence"])
        assert sorted(newest["components"]) == components, newest
        found = server(host).run("grep -rlsF molecule-macaroon-secret-key /var/backups/matrixon")
        assert found.stdout == "", "a secret lies in a backup in the clear"


def test_a_restore_is_refused_without_its_word(playbook: t.Any, backup: str, server: t.Any) -> None:
    run = playbook("restore")
    assert run.code != 0 and f"restore_confirm={NAME}" in run.output
    assert server("hs1").service("matrix-synapse").is_running


def test_dropped_tables_come_back_with_everything_that_was_written(
    playbook: t.Any, backup: str, people: t.Any, room: str, sql: t.Any, until: t.Any
) -> None:
    alice, bob = people
    data = uuid.uuid4().bytes * 2048
    uri = alice.client.upload(alice.token, "kept.bin", "application/octet-stream", data)
    newest = say(alice, room)
    sql("db1", "INSERT INTO e2e_one_time_keys_json VALUES ('@x:y', 'D', 'signed_curve25519', 'k', 1, '{}')")
    sql("db1", "DROP TABLE event_json CASCADE")
    run = playbook("restore", "-e", f"restore_confirm={NAME}")
    assert run.code == 0, run.output
    assert body(bob, room, backup) and body(bob, room, newest), "both messages are there, and both tokens are good"
    path = "/_matrix/client/v1/media/download/" + uri.removeprefix("mxc://")
    assert bob.client.raw("GET", path, None, {"Authorization": f"Bearer {bob.token}"}) == (200, data)
    assert sql("db1", "SELECT count(*) FROM e2e_one_time_keys_json") == "0"
    after = say(alice, room)
    assert until(lambda: sql("db2", f"SELECT count(*) FROM event_json WHERE event_id = '{after}'") == "1", 30)
    assert playbook("restore_finish").code == 0


def test_a_mistake_is_undone_to_the_second_before_it(
    playbook: t.Any, backup: str, people: t.Any, room: str, sql: t.Any
) -> None:
    alice, bob = people
    # A set after the restore before: the log of this history begins with it.
    assert playbook("backup").code == 0
    before = say(alice, room)
    time.sleep(2)
    moment = datetime.datetime.fromisoformat(sql("db1", "SELECT clock_timestamp()"))
    time.sleep(2)
    lost = say(alice, room)
    sql("db1", "DELETE FROM event_json WHERE event_id = '" + before + "'")
    unreachable = playbook("restore", "-e", f"restore_confirm={NAME}", "-e", "restore_target=2001-01-01T00:00:00Z")
    assert unreachable.code != 0 and "cannot be reached" in unreachable.output
    run = playbook("restore", "-e", f"restore_confirm={NAME}", "-e", f"restore_target={moment.isoformat()}")
    assert run.code == 0, run.output
    assert "s of messages are gone" in run.output
    assert body(bob, room, before) is not None
    assert body(bob, room, lost) is None
    assert say(alice, room)
    assert playbook("restore_finish").code == 0
