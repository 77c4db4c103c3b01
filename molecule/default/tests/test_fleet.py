"""From a client's message to the standby: the fleet does what it is there for."""

from __future__ import annotations

import ssl
import typing as t
import uuid

import pytest

REPLAY_TIMEOUT_S = 10


def test_a_message_reaches_another_client_and_the_standby(people: t.Any, room: str, sql: t.Any, until: t.Any) -> None:
    alice, bob = people
    marker = uuid.uuid4().hex
    since = bob.call("GET", "v3/sync", query={"timeout": 0})["next_batch"]
    event = alice.client.send(alice.token, room, marker, {"msgtype": "m.text", "body": marker})

    def arrived() -> bool:
        answer = bob.call("GET", "v3/sync", query={"since": since, "timeout": 2000})
        joined = answer.get("rooms", {}).get("join", {}).get(room, {})
        return any(entry["event_id"] == event for entry in joined.get("timeline", {}).get("events", []))

    assert until(arrived, 20)
    query = f"SELECT count(*) FROM event_json WHERE event_id = '{event}'"
    assert sql("db2", "SELECT pg_is_in_recovery()") == "t"
    assert until(lambda: sql("db2", query) == "1", REPLAY_TIMEOUT_S)


def test_media_goes_up_and_comes_down(people: t.Any) -> None:
    alice, bob = people
    data = uuid.uuid4().bytes * 4096
    uri = alice.client.upload(alice.token, "picture.bin", "application/octet-stream", data)
    path = "/_matrix/client/v1/media/download/" + uri.removeprefix("mxc://")
    status, answer = bob.client.raw("GET", path, None, {"Authorization": f"Bearer {bob.token}"})
    assert (status, answer) == (200, data)


def test_every_name_is_served_and_no_other(client_as: t.Any) -> None:
    for name in ("fleet.test", "matrix.fleet.test"):
        assert client_as(name).call("GET", "/_matrix/client/versions")["versions"]
    with pytest.raises(ssl.SSLCertVerificationError):
        client_as("other.test").call("GET", "/_matrix/client/versions")
