"""The filters that the role firewall and its templates call."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.matrixon.ops.plugins.plugin_utils import firewall

SPEC: dict[str, t.Any] = {
    "groups": ["redis"],
    "host": "cache1",
    "addresses": {"homeserver": ["10.0.0.21"]},
    "processes": [],
    "ssh_port": 22,
    "ssh_networks": ["10.0.9.0/24"],
    "database_port": 5432,
    "witness_ports": [2379],
    "redis_port": 6379,
    "public_ports": [80],
    "metrics_ports": {},
    "extra": [],
}


def test_the_rules_are_those_of_the_host() -> None:
    found = firewall.firewall_rules(SPEC)
    assert [(rule["port"], rule["from"]) for rule in found] == [("22", "10.0.9.0/24"), ("6379", "10.0.0.21")]


@pytest.mark.parametrize("key", ["addresses", "ssh_port", "extra"])
def test_a_spec_that_lacks_something_names_it(key: str) -> None:
    for name in ("firewall_problems", "firewall_rules"):
        with pytest.raises(AnsibleFilterError, match=f"{name}: .*{key}"):
            getattr(firewall, name)({other: value for other, value in SPEC.items() if other != key})


def test_what_is_no_address_is_an_error_of_the_template() -> None:
    with pytest.raises(AnsibleFilterError, match="firewall_rules: 'office' does not appear to be"):
        firewall.firewall_rules({**SPEC, "ssh_networks": ["office"]})


def test_problems_are_sentences() -> None:
    assert firewall.firewall_problems(SPEC, controller="10.0.9.7") == []
    (found,) = firewall.firewall_problems(SPEC, controller="10.0.8.7")
    assert found.startswith("firewall_ssh_networks: 10.0.9.0/24 does not hold 10.0.8.7")


def test_ports_may_be_text_as_older_ansible_makes_them() -> None:
    text = {**SPEC, **{key: str(SPEC[key]) for key in ("ssh_port", "database_port", "redis_port")}}
    assert firewall.firewall_rules(text) == firewall.firewall_rules(SPEC)
    assert firewall.firewall_problems(text, controller="10.0.9.7") == []
