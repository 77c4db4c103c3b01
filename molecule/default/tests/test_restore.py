"""A backup of the running fleet is proven, and brings it back to a moment.

With MATRIXON_FLEET_TESTS=soak the restore is taken back, too, and a data directory that is lost comes back.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import typing as t
import uuid

import pytest

from lab.matrix import MatrixError

NAME = "fleet.test"
SOAK = os.environ.get("MATRIXON_FLEET_TESTS") == "soak"


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


def sets_of(server: t.Any, host: str) -> list[dict[str, t.Any]]:
    """The sets of a host, in the order in which they were made."""
    catalog = json.loads(server(host).check_output(f"cat /var/backups/matrixon/molecule/{host}/catalog.json"))
    return sorted(catalog["sets"], key=lambda entry: entry["sequence"])


def test_media_and_keys_are_put_away_where_they_are(server: t.Any, backup: str) -> None:
    for host, components in (("hs1", ["config", "media"]), ("hs2", ["config"])):
        newest = sets_of(server, host)[-1]
        assert sorted(newest["components"]) == components, newest
        found = server(host).run("grep -rlsF molecule-macaroon-secret-key /var/backups/matrixon")
        assert found.stdout == "", "a secret lies in a backup in the clear"


def test_new_media_are_put_away_by_what_the_tables_say(
    playbook: t.Any, backup: str, server: t.Any, people: t.Any
) -> None:
    alice, _bob = people
    content = os.urandom(10_000)
    name = alice.client.upload(alice.token, "new.bin", "application/octet-stream", content).rpartition("/")[2]
    run = playbook("backup_media")
    assert run.code == 0, run.output
    hs1 = server("hs1")
    newest = sets_of(server, "hs1")[-1]
    assert newest["components"] == ["media"], newest
    path = f"/var/backups/matrixon/molecule/hs1/sets/{newest['id']}/MANIFEST.json"
    media = json.loads(hs1.check_output("cat %s", path))["media"]
    assert media["list_driven"], media
    kept = "find /var/backups/matrixon/molecule/hs1/media -path '*/%s/%s/%s' -exec sha256sum {} +"
    assert hashlib.sha256(content).hexdigest() in hs1.check_output(kept % (name[:2], name[2:4], name[4:]))


def test_a_restore_is_refused_without_its_word(playbook: t.Any, backup: str, server: t.Any) -> None:
    run = playbook("restore")
    assert run.code != 0 and f"restore_confirm={NAME}" in run.output
    assert server("hs1").service("matrix-synapse").is_running


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("2036-01-01T00:00:00Z", "the archive ends before it"),
        ("2026-01-01T00:00:00Z", "before"),
        ("2036-01-01T00:00:00", "zone"),
    ],
)
def test_a_moment_that_cannot_be_reached_is_refused_before_anything_stops(
    playbook: t.Any, backup: str, server: t.Any, sql: t.Any, target: str, reason: str
) -> None:
    started = sql("db1", "SELECT pg_postmaster_start_time()")
    run = playbook("restore", "-e", f"restore_confirm={NAME}", "-e", f"restore_target={target}")
    assert run.code != 0 and reason in run.output, run.output
    assert sql("db1", "SELECT pg_postmaster_start_time()") == started
    assert server("hs1").service("matrix-synapse").is_running


class Disaster(t.NamedTuple):
    """What was there before the mistake and after it, and how the way back ended."""

    before: str
    after: str
    other_room: str
    set: dict[str, t.Any]
    media: dict[str, bytes]
    run: t.Any


def common_room(alice: t.Any, bob: t.Any) -> str:
    """Make a room that both are in."""
    made = alice.call("POST", "v3/createRoom", {"preset": "private_chat", "invite": [bob.id]})["room_id"]
    bob.call("POST", f"v3/join/{made}")
    return made


def say(user: t.Any, room: str) -> str:
    """Send a message, and return its event."""
    marker = uuid.uuid4().hex
    return user.client.send(user.token, room, marker, {"msgtype": "m.text", "body": marker})


def readable(user: t.Any, room: str, event: str) -> bool:
    """Whether a user reads an event, with the token that was there all the time."""
    try:
        return user.call("GET", f"v3/rooms/{room}/event/{event}")["event_id"] == event
    except MatrixError as error:
        assert error.status == 404, error
        return False


@pytest.fixture(scope="module")
def disaster(playbook: t.Any, people: t.Any, room: str, backup: str, server: t.Any, sql: t.Any) -> Disaster:
    """A table and a file of the media are lost by mistake, and everything comes back to the second before."""
    alice, bob = people
    other = common_room(alice, bob)
    signed = {"signatures": {alice.id: {"ed25519:DEVICE": "c2lnbmF0dXJl"}}}
    keys = {f"signed_curve25519:AAAA{number}": {"key": f"key{number}", **signed} for number in range(3)}
    counts = alice.call("POST", "v3/keys/upload", {"one_time_keys": keys})["one_time_key_counts"]
    assert counts["signed_curve25519"] == 3
    contents = {}
    for moment in ("before the set", "after the set"):
        content = os.urandom(20_000)
        contents[alice.client.upload(alice.token, f"{moment}.bin", "application/octet-stream", content)] = content
        if moment == "before the set":
            run = playbook("backup")
            assert run.code == 0, run.output
            newest = sets_of(server, "db1")[-1]
    before = say(alice, room)
    time.sleep(1.5)
    moment = sql("db1", "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
    time.sleep(1.5)
    sql("db1", f"DELETE FROM event_json WHERE event_id IN ('{before}', '{backup}')")
    lost = next(iter(contents)).rpartition("/")[2]
    path = f"/var/lib/matrix-synapse/media/local_content/{lost[:2]}/{lost[2:4]}/{lost[4:]}"
    server("hs1").check_output(f"rm {path}")
    # In its own room the homeserver cannot go on.
    after = say(alice, other)
    words = [f"restore_confirm={NAME}", f"restore_target={moment}", "restore_media_enabled=true"]
    run = playbook("restore", *(part for word in words for part in ("-e", word)))
    return Disaster(before, after, other, newest, contents, run)


def test_the_second_backup_added_to_the_first(disaster: Disaster) -> None:
    assert disaster.set["kind"] == "incremental", disaster.set


def test_what_was_deleted_by_mistake_is_back(people: t.Any, room: str, backup: str, disaster: Disaster) -> None:
    assert disaster.run.code == 0, disaster.run.output
    assert re.search(r"so \d+\.\d+ s of messages are gone", disaster.run.output), disaster.run.output
    _alice, bob = people
    assert readable(bob, room, backup) and readable(bob, room, disaster.before)
    assert not readable(bob, disaster.other_room, disaster.after), "it was written after the moment"


def test_media_are_what_they_were(people: t.Any, disaster: Disaster) -> None:
    _alice, bob = people
    for address, content in disaster.media.items():
        path = "/_matrix/client/v1/media/download/" + address.removeprefix("mxc://")
        status, body = bob.client.raw("GET", path, None, {"Authorization": f"Bearer {bob.token}"})
        assert (status, body) == (200, content)


def test_one_time_keys_are_not_used_again(people: t.Any, disaster: Disaster) -> None:
    alice, bob = people
    assert alice.call("POST", "v3/keys/upload", {})["one_time_key_counts"].get("signed_curve25519", 0) == 0
    device = alice.call("GET", "v3/account/whoami")["device_id"]
    wanted = {"one_time_keys": {alice.id: {device: "signed_curve25519"}}}
    assert bob.call("POST", "v3/keys/claim", wanted)["one_time_keys"].get(alice.id, {}) == {}


def test_life_goes_on_and_the_standby_and_the_archive_follow(
    people: t.Any, room: str, disaster: Disaster, sql: t.Any, until: t.Any, playbook: t.Any
) -> None:
    alice, bob = people
    event = say(alice, room)
    assert readable(bob, room, event)
    ask = f"SELECT count(*) FROM event_json WHERE event_id = '{event}'"
    assert until(lambda: sql("db2", ask) == "1", 30), "the standby does not follow"
    archived = "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'pg_receivewal' AND flush_lsn >= '{}'"
    position = sql("db1", "SELECT pg_current_wal_lsn()")
    assert until(lambda: sql("db1", archived.format(position)) == "1", 30), "nobody receives the log"
    run = playbook("backup")
    assert run.code == 0, run.output


@pytest.mark.skipif(SOAK, reason="the next test takes the restore back")
def test_what_was_kept_aside_goes_when_the_restore_is_finished(
    disaster: Disaster, playbook: t.Any, server: t.Any
) -> None:
    kept = "find /var/lib/postgresql/17 -mindepth 1 -maxdepth 1"
    assert "/main.before-" in server("db1").check_output(kept)
    run = playbook("restore_finish")
    assert run.code == 0, run.output
    assert server("db1").check_output(kept) == "/var/lib/postgresql/17/main"


@pytest.mark.soak
def test_a_restore_can_be_taken_back(
    people: t.Any, room: str, disaster: Disaster, playbook: t.Any, server: t.Any
) -> None:
    run = playbook("restore_revert")
    assert run.code == 0, run.output
    _alice, bob = people
    assert readable(bob, disaster.other_room, disaster.after) and not readable(bob, room, disaster.before)
    # The newest set is of the branch that was left; restoring it would lose what was written since.
    run = playbook("restore", "-e", f"restore_confirm={NAME}")
    assert run.code != 0 and "the server left that before the end of the set" in " ".join(run.output.split())
    branches = "find /var/backups/matrixon/molecule/db1/wal/aside -type f"
    assert server("db1").check_output(branches) != "", "the branch that was taken back is kept until the end"
    run = playbook("restore_finish")
    assert run.code == 0, run.output
    assert server("db1").check_output(branches) == ""


@pytest.mark.soak
def test_a_lost_data_directory_comes_back_to_the_last_message(
    people: t.Any, server: t.Any, playbook: t.Any, sql: t.Any, until: t.Any, disaster: Disaster
) -> None:
    alice, bob = people
    # In the room of before a message is missing again, on which the next ones would build.
    room = common_room(alice, bob)
    last = say(alice, room)
    position = sql("db1", "SELECT pg_current_wal_lsn()")
    archived = "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'pg_receivewal' AND flush_lsn >= '{}'"
    assert until(lambda: sql("db1", archived.format(position)) == "1", 30)
    server("db1").check_output("systemctl kill --signal=SIGKILL postgresql@17-main")
    server("db1").check_output("rm -rf /var/lib/postgresql/17/main")
    # From a set of before all that: the log leads through the branch that was left for a while.
    run = playbook("restore", "-e", f"restore_confirm={NAME}", "-e", f"restore_set={disaster.set['id']}")
    assert run.code == 0, run.output
    assert readable(bob, room, last) and readable(bob, room, say(alice, room))
    left = server("db1").check_output("ls -A /var/lib/postgresql/17")
    assert playbook("restore_finish").code == 0, left
