"""A backup of the running fleet: proven, on the hosts that have something to put away, and no restore by accident."""

from __future__ import annotations

import json
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
