"""What all tests of the two regions share."""

from __future__ import annotations

import json
import pathlib
import sys
import typing as t
import uuid

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from regions import VARIABLES, Told, User, client, edge


@pytest.fixture(scope="session")
def people() -> tuple[User, User]:
    """Two users."""
    speaker = client(edge())
    found = []
    for name in ("alice", "bob"):
        full, password = f"{name}{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
        speaker.register(VARIABLES["homeserver_registration_shared_secret"], full, password, admin=False)
        answer = speaker.login(full, password)
        found.append(User(answer["user_id"], answer["access_token"], password))
    return found[0], found[1]


@pytest.fixture(scope="session")
def room(people: tuple[User, User]) -> str:
    """A room that both are in."""
    alice, bob = people
    speaker = client(edge())
    body = {"preset": "private_chat", "invite": [bob.id]}
    made = speaker.call("POST", "/_matrix/client/v3/createRoom", alice.token, body)["room_id"]
    speaker.call("POST", f"/_matrix/client/v3/join/{made}", bob.token)
    return made


@pytest.fixture(scope="session")
def told() -> t.Iterator[Told]:
    """Who is told of a move."""
    found = Told()
    yield found
    found.close()


@pytest.fixture(scope="session")
def canary(people: tuple[User, User], room: str, told: Told, tmp_path_factory: t.Any) -> list[str]:
    """What the role is told of the users who try the region, and of who is to be told."""
    alice, bob = people
    path = tmp_path_factory.mktemp("canary") / "canary.json"
    path.write_text(
        json.dumps(
            {
                "matrixon_canary_room_id": room,
                "matrixon_canary_sender_token": alice.token,
                "matrixon_canary_reader_token": bob.token,
                "dr_failover_probe_user": alice.id,
                "dr_failover_probe_password": alice.password,
                "notify_channels": told.channels,
                "notify_state_dir": str(path.parent / "told"),
            }
        )
    )
    path.chmod(0o600)
    return ["-e", f"@{path}"]


@pytest.fixture(scope="session")
def reports(tmp_path_factory: t.Any) -> pathlib.Path:
    return tmp_path_factory.mktemp("reports")
