"""The homeserver's settings, read by what the profiles name."""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import pytest
import yaml

from ansible_collections.matrixon.ops.plugins.module_utils._audit import homeserver
from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import NotHere, Tools
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure

ROOT = pathlib.Path(__file__).resolve().parents[5]
SYNAPSE = yaml.safe_load((ROOT / "roles/matrixon/files/profiles/synapse.yml").read_text())["audit"]
MATRIXON = yaml.safe_load((ROOT / "roles/matrixon/files/profiles/matrixon.yml").read_text())["audit"]

GOOD: dict[str, Any] = {
    "server_name": "example.org",
    "enable_registration": False,
    "registration_shared_secret": "vSq8mYp3LkT0wZc7Rb2N",
    "trusted_key_servers": [{"server_name": "keys.example"}],
    "listeners": [
        {"type": "http", "port": 8008, "bind_addresses": ["0.0.0.0"], "resources": [{"names": ["client"]}]},
        {"type": "metrics", "port": 9000, "bind_addresses": ["10.0.0.5", "127.0.0.1"]},
    ],
}


def probe(tmp_path: pathlib.Path, config: Any, profile: dict[str, Any] = SYNAPSE) -> dict[str, Any]:
    """Have the profile's own command read files, with this Python in the place of the release's."""
    (tmp_path / "homeserver.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "secrets.yaml").write_text("database: {name: psycopg2}\n")
    command = [sys.executable, *profile["configuration"]["value"][1:]]
    argv = [word.replace("{config}", str(tmp_path)) for word in command]
    return homeserver.config_probe({"configuration": argv, "settings": profile["settings"]})(Tools(), Deadline(20))


def ids(facts: dict[str, Any], settings: dict[str, Any] = SYNAPSE["settings"]) -> dict[str, str]:
    seen = homeserver.judge_config(facts, settings)
    return {finding.id: finding.status for finding in seen.findings if finding.status != "ok"}


def test_good_settings(tmp_path: pathlib.Path) -> None:
    assert ids(probe(tmp_path, GOOD)) == {}


@pytest.mark.parametrize(
    ("change", "weak"),
    [
        ({"enable_registration": True}, {"homeserver-open-registration": "critical"}),
        ({"enable_registration": True, "registration_requires_token": True}, {}),
        ({"enable_registration": True, "registrations_require_3pid": ["email"]}, {}),
        (
            {"rc_login": {"address": {"per_second": 1000}}},
            {"homeserver-rate-limits:rc_login.address.per_second": "warning"},
        ),
        ({"rc_login": {"address": {"per_second": 10}}}, {}),
        ({"registration_shared_secret": "short"}, {"homeserver-secret-guessable": "critical"}),
        ({"registration_shared_secret": "a" * 40}, {"homeserver-secret-guessable": "critical"}),
        ({"registration_shared_secret": "changeme-1234567890"}, {"homeserver-secret-guessable": "critical"}),
        ({"registration_shared_secret": None}, {}),
        (
            {"trusted_key_servers": [{"server_name": "a.example", "accept_keys_insecurely": True}]},
            {"homeserver-key-servers:a.example": "critical"},
        ),
        ({"federation_verify_certificates": False}, {"homeserver-federation-certificates": "critical"}),
        (
            {"listeners": [{"type": "metrics", "port": 9000, "bind_addresses": ["::"]}]},
            {"homeserver-metrics-public:[::]:9000": "warning"},
        ),
        (
            {
                "listeners": [
                    {"type": "http", "port": 9000, "bind_address": "8.8.8.8", "resources": [{"names": ["metrics"]}]}
                ]
            },
            {"homeserver-metrics-public:8.8.8.8:9000": "critical"},
        ),
        ({"listeners": [{"type": "metrics", "port": 9000}]}, {"homeserver-metrics-public:0.0.0.0:9000": "warning"}),
    ],
)
def test_each_weakness(tmp_path: pathlib.Path, change: dict[str, Any], weak: dict[str, str]) -> None:
    assert ids(probe(tmp_path, {**GOOD, **change})) == weak


def test_a_secret_in_a_file_is_judged_and_none_is_told(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "secret"
    file.write_text("hunter2\n")
    config = {**GOOD, "registration_shared_secret": None, "registration_shared_secret_path": str(file)}
    facts = probe(tmp_path, config)
    assert ids(facts) == {"homeserver-secret-guessable": "critical"}
    assert "hunter2" not in json.dumps(facts)
    assert GOOD["registration_shared_secret"] not in json.dumps(probe(tmp_path, GOOD))


def test_what_a_profile_does_not_name_is_skipped(tmp_path: pathlib.Path) -> None:
    settings = MATRIXON["settings"]
    facts = {**homeserver.pick({"global": {"allow_registration": True}}, settings), "secret": None}
    found = ids(facts, settings)
    assert found.pop("homeserver-open-registration") == "critical"
    assert set(found.values()) == {"skipped"} and len(found) == 5


def test_the_command_of_matrixon_reads_toml(tmp_path: pathlib.Path) -> None:
    (tmp_path / "matrixon.toml").write_text("[global]\nallow_registration = true\n")
    command = [sys.executable, *MATRIXON["configuration"]["value"][1:]]
    argv = [word.replace("{config}", str(tmp_path)) for word in command]
    probe_ = homeserver.config_probe({"configuration": argv, "settings": MATRIXON["settings"]})
    assert probe_(Tools(), Deadline(20))["registration"] is True


def test_a_garbled_configuration_is_unknown_and_repeats_nothing(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ProbeFailure) as caught:
        probe(tmp_path, "registration_shared_secret: hunter2")
    assert "hunter2" not in caught.value.message
    with pytest.raises(ProbeFailure) as caught:
        homeserver.config_probe({"configuration": ["/nowhere/python"], "settings": {}})(Tools(), Deadline(5))
    assert caught.value.kind == "missing_tool"


def test_the_age_of_a_signing_key(tmp_path: pathlib.Path) -> None:
    day = 86400
    assert [finding.status for finding in homeserver.judge_key(100 * day, 100).findings] == ["ok"]
    assert [finding.status for finding in homeserver.judge_key(100 * day + 1, 100).findings] == ["warning"]
    key = tmp_path / "key"
    with pytest.raises(NotHere):
        homeserver.key_probe(str(key))(Tools(), Deadline(5))
    key.write_text("")
    now = key.stat().st_mtime + 5
    assert homeserver.key_probe(str(key))(Tools(now=now), Deadline(5)) == pytest.approx(5)
