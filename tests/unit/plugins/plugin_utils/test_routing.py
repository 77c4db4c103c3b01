"""Which processes answer which requests, from the inventory and the profile."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.plugin_utils import processes as process_filters
from ansible_collections.matrixon.ops.plugins.plugin_utils import profile as profile_filters
from ansible_collections.matrixon.ops.plugins.plugin_utils import routing

SYNAPSE = profile_filters.profile_facts("synapse")
MATRIXON = profile_filters.profile_facts("matrixon")


def backends(facts: dict[str, Any], *processes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    filled = process_filters.process_facts([{"host": "hs1", "port": 8000, **one} for one in processes], facts)
    return {backend["name"]: backend for backend in routing.routing_backends(filled, facts)}


def servers(found: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Return the servers of each backend, without those that only stand in."""
    return {name: [one["name"] for one in backend["servers"] if not one["backup"]] for name, backend in found.items()}


def standing_in(found: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    return {name: [one["name"] for one in backend["servers"] if one["backup"]] for name, backend in found.items()}


def test_without_workers_all_goes_to_the_main_process() -> None:
    assert servers(backends(SYNAPSE, {"name": "main"})) == {"homeserver_main": ["main"]}


def test_a_worker_serves_what_needs_no_setting_of_its_own() -> None:
    found = backends(SYNAPSE, {"name": "main"}, {"name": "w1"}, {"name": "w2", "serves": ["sync"]})
    assert servers(found) == {
        "homeserver_federation_inbound": ["w1"],
        "homeserver_sync": ["w1", "w2"],
        "homeserver_general": ["w1"],
        "homeserver_general_get": ["w1"],
        "homeserver_main": ["main"],
    }
    assert list(found)[-1] == "homeserver_main"


def test_streams_and_media_go_to_their_owners_alone() -> None:
    found = backends(
        SYNAPSE,
        {"name": "main"},
        {"name": "w1"},
        {"name": "w2", "serves": [], "streams": ["typing", "receipts", "events"]},
        {"name": "w3", "serves": ["media"], "streams": ["receipts"]},
    )
    assert servers(found)["homeserver_typing"] == ["w2"]
    assert servers(found)["homeserver_receipts"] == ["w2", "w3"]
    assert servers(found)["homeserver_media"] == ["w3"]
    assert "homeserver_presence" not in found
    assert {name for name, names in standing_in(found).items() if names} == {
        "homeserver_federation_inbound",
        "homeserver_sync",
        "homeserver_general",
        "homeserver_general_get",
    }
    assert standing_in(found)["homeserver_sync"] == ["main"]


def test_naming_a_stream_in_serves_does_not_make_its_writer() -> None:
    assert "homeserver_typing" not in backends(SYNAPSE, {"name": "main"}, {"name": "w1", "serves": ["typing"]})


def test_each_process_is_checked_once() -> None:
    found = backends(SYNAPSE, {"name": "main"}, {"name": "w1"}, {"name": "w2", "streams": ["typing"]})
    checked = [
        (name, server["name"])
        for name, backend in found.items()
        for server in backend["servers"]
        if not server["follows"]
    ]
    # In the broadest backend: it has most of the requests, whose failed connections count, too.
    assert sorted(checked) == [
        ("homeserver_general", "w1"),
        ("homeserver_general", "w2"),
        ("homeserver_main", "main"),
    ]
    followed = {
        tuple(server["follows"].split("/"))
        for backend in found.values()
        for server in backend["servers"]
        if server["follows"]
    }
    assert followed <= set(checked)


def test_every_instance_is_a_main_one_where_requests_are_not_told_apart() -> None:
    found = backends(MATRIXON, {"name": "main"}, {"name": "second"}, {"name": "third", "kind": "main"})
    assert servers(found) == {"homeserver_main": ["main", "second", "third"]}


def test_workers_without_a_main_process_leave_no_main_backend() -> None:
    # The role refuses that; the filter must not invent one.
    assert "homeserver_main" not in backends(SYNAPSE, {"name": "w1"})


def test_expectations_count_the_servers() -> None:
    filled = process_filters.process_facts(
        [{"name": "main", "host": "hs1"}, {"name": "w1", "host": "hs1", "port": 8081, "serves": ["sync"]}], SYNAPSE
    )
    assert routing.haproxy_expectations(filled, SYNAPSE) == [
        # The main process stands in for the worker, so it has to be there, too.
        {"name": "homeserver_sync", "expected": 2},
        {"name": "homeserver_main", "expected": 1},
    ]
    assert routing.haproxy_expectations([], SYNAPSE) == []


@pytest.mark.parametrize("value", ["10.0.0.0/8", "10.1.2.3", "fd00::/8", "::1"])
def test_networks(value: str) -> None:
    assert routing.not_networks([value]) == []


@pytest.mark.parametrize("value", ["10.0.0.1/8", "10.0.0.0/33", "office", "", "*"])
def test_not_networks(value: str) -> None:
    assert routing.not_networks(["10.0.0.0/8", value]) == [value]


def first_class(method: str, path: str) -> str:
    """Which class of the profile takes the request, if all are served."""
    for entry in SYNAPSE["routing"]["classes"]:
        if method in entry.get("methods", [method]) and any(re.search(pattern, path) for pattern in entry["paths"]):
            return str(entry["name"])
    return "main"


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/_matrix/client/v3/sync", "sync"),
        ("PUT", "/_matrix/client/v3/rooms/!r:s/typing/@u:s", "typing"),
        ("POST", "/_matrix/client/v3/rooms/!r:s/receipt/m.read/$e", "receipts"),
        ("PUT", "/_matrix/client/v3/sendToDevice/m.room.encrypted/1", "to_device"),
        ("PUT", "/_matrix/client/v3/user/@u:s/account_data/m.direct", "account_data"),
        ("POST", "/_matrix/client/v3/keys/upload", "device_lists"),
        ("POST", "/_matrix/client/v3/keys/query", "general"),
        ("PUT", "/_matrix/federation/v1/send/1", "federation_inbound"),
        ("PUT", "/_matrix/federation/v2/send_join/!r:s/$e", "general"),
        ("GET", "/_matrix/client/v1/media/download/s/m", "media"),
        ("POST", "/_matrix/media/v3/upload", "media"),
        ("PUT", "/_matrix/client/v3/rooms/!r:s/send/m.room.message/1", "general"),
        ("GET", "/_synapse/admin/v2/users/@u:s", "general_get"),
        ("PUT", "/_synapse/admin/v2/users/@u:s", "main"),
        ("POST", "/_matrix/client/v3/logout", "main"),
        ("GET", "/_matrix/key/v2/server", "main"),
    ],
)
def test_synapse_requests_find_their_class(method: str, path: str, name: str) -> None:
    assert first_class(method, path) == name


@pytest.mark.parametrize("facts", [SYNAPSE, MATRIXON], ids=lambda facts: facts["name"])
def test_patterns_are_regular_expressions(facts: dict[str, Any]) -> None:
    routes = facts["routing"]
    patterns = [*routes["private_paths"], *routes["login_paths"]]
    patterns += [pattern for entry in routes["classes"] for pattern in entry["paths"]]
    for pattern in patterns:
        re.compile(pattern)
    names = [entry["name"] for entry in routes["classes"]]
    assert len(names) == len(set(names)) and "main" not in names
    assert {entry["serves_with"] for entry in routes["classes"] if "serves_with" in entry} <= set(names)
