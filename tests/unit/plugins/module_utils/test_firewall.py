"""Which rules a host needs, and which wishes are refused."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils import _firewall as firewall

CONTROLLER = "10.0.9.7"
CONNECTION = f"{CONTROLLER} 50022 10.0.0.21 22"
ADDRESSES = {
    "load_balancer": ["10.0.0.11", "2001:db8::11"],
    "homeserver": ["10.0.0.21", "2001:db8::21"],
    "postgresql": ["10.0.0.31"],
    "redis": ["10.0.0.41"],
    "monitoring": ["10.0.0.51"],
    "backup": ["10.0.0.61"],
}
PROCESSES = [
    {"name": "main", "host": "hs1", "port": 8008, "metrics_port": 9000, "replication_port": 9093},
    {"name": "worker1", "host": "hs2", "port": 8081, "metrics_port": 9081, "replication_port": 0},
]


def spec(*groups: str, **others: t.Any) -> dict[str, t.Any]:
    return {
        "groups": list(groups),
        "host": "hs1",
        "addresses": ADDRESSES,
        "processes": PROCESSES,
        "ssh_port": 22,
        "ssh_networks": ["10.0.9.0/24"],
        "database_port": 5432,
        "witness_ports": [2379],
        "redis_port": 6379,
        "public_ports": [80, 443, 8448],
        "metrics_ports": {"all": [9100], "postgresql": [9187]},
        "extra": [],
        **others,
    }


def reached(found: dict[str, t.Any]) -> dict[str, set[str]]:
    """Return who is let in, by port."""
    ports: dict[str, set[str]] = {}
    for rule in firewall.firewall_rules(found):
        assert rule["action"] == "allow" and rule["proto"] == "tcp"
        ports.setdefault(rule["port"], set()).add(rule["from"])
    return ports


def problems(found: dict[str, t.Any], **others: t.Any) -> list[str]:
    given = {"connection": CONNECTION, "proof": "ssh", "over_ssh": True, "rollback_after": 90, "proof_timeout": 20}
    return firewall.firewall_problems(found, **{**given, **others})


COMMON = {"22": {"10.0.9.0/24"}, "9100": {"10.0.0.51"}}


@pytest.mark.parametrize(
    ("group", "ports"),
    [
        ("load_balancer", {"80": {"any"}, "443": {"any"}, "8448": {"any"}}),
        (
            "homeserver",
            {
                "8008": {*ADDRESSES["load_balancer"], *ADDRESSES["homeserver"]},
                "9093": {*ADDRESSES["homeserver"]},
                "9000": {"10.0.0.51"},
            },
        ),
        (
            "postgresql",
            {"5432": {*ADDRESSES["homeserver"], "10.0.0.31", "10.0.0.51", "10.0.0.61"}, "9187": {"10.0.0.51"}},
        ),
        ("redis", {"6379": {*ADDRESSES["homeserver"]}}),
        ("witness", {"2379": {*ADDRESSES["homeserver"], "10.0.0.31"}}),
        ("monitoring", {}),
    ],
)
def test_a_group_is_reached_by_who_needs_it_and_by_nobody_else(group: str, ports: dict[str, set[str]]) -> None:
    assert reached(spec(group)) == {**COMMON, **ports}


def test_a_host_of_two_groups_has_the_rules_of_both_once() -> None:
    both = reached(spec("redis", "postgresql"))
    assert both == {**reached(spec("redis")), **reached(spec("postgresql"))}
    rules = firewall.firewall_rules(spec("redis", extra=[{"port": "6379", "from": ["homeserver"]}]))
    assert [rule["from"] for rule in rules if rule["port"] == "6379"] == ADDRESSES["homeserver"]


def test_only_the_processes_of_this_host_count() -> None:
    assert {"8008", "8081"} & set(reached(spec("homeserver", host="hs2"))) == {"8081"}
    assert "0" not in reached(spec("homeserver", host="hs2"))


def test_without_addresses_of_a_group_nobody_of_it_is_let_in() -> None:
    assert "9100" not in reached(spec("redis", addresses={"homeserver": ["10.0.0.21"]}))


def test_what_denies_stands_first_then_ssh_and_own_permissions_last() -> None:
    extra = [
        {"port": "3478", "proto": "udp"},
        {"action": "deny", "from": ["10.0.0.66"]},
        {"action": "reject", "from": "10.0.0.67"},
    ]
    rules = firewall.firewall_rules(spec("load_balancer", extra=extra))
    assert [rule["action"] for rule in rules[:3]] == ["deny", "reject", "allow"]
    assert rules[2]["port"] == "22" and rules[-1]["port"] == "3478" and rules[-1]["proto"] == "udp"


def test_addresses_are_written_as_ufw_writes_them() -> None:
    networks = ["10.0.9.7/32", "10.0.9.7/24", "2001:DB8:0::9/128", "monitoring", "10.0.9.7"]
    rules = firewall.firewall_rules(spec(ssh_networks=networks, metrics_ports={}))
    assert [rule["from"] for rule in rules] == ["10.0.9.7", "10.0.9.0/24", "2001:db8::9", "10.0.0.51"]


@pytest.mark.parametrize(("text", "ports"), [("443", (443, 443)), (1, (1, 1)), ("1000:65535", (1000, 65535))])
def test_a_port_is_a_number_or_a_range(text: t.Any, ports: tuple[int, int]) -> None:
    assert firewall.port_range(text) == ports


@pytest.mark.parametrize("text", ["0", "65536", "80,443", "2000:1000", "5:5", "http", "1:", "-1", ""])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a port"):
        firewall.port_range(text)


def test_the_first_rule_that_matches_decides() -> None:
    rules = firewall.firewall_rules(
        spec(
            "load_balancer",
            extra=[
                {"action": "deny", "from": ["10.0.9.0/28"]},
                {"action": "deny", "proto": "udp"},
                {"port": "1000:2000", "from": ["10.8.0.0/24"], "interface": "wg0"},
                {"port": "1000:2000", "proto": "any", "from": ["2001:db8:9::/64"]},
            ],
        )
    )

    def action(address: str, port: int, proto: str = "tcp") -> str:
        rule = firewall.verdict(rules, address, port, proto)
        return rule["action"] if rule else "none"

    assert action("10.0.9.7", 22) == action("10.0.9.7", 443) == "deny"
    assert action("10.0.9.77", 22) == "allow" and action("10.0.10.77", 22) == "none"
    assert action("10.0.10.77", 443) == action("2001:db8::1", 443) == "allow"
    assert action("10.0.10.77", 443, "udp") == "deny"
    assert action("2001:db8:9::1", 1000) == action("2001:db8:9::1", 2000) == "allow"
    assert action("2001:db8:9::1", 999) == action("2001:db8:9::1", 2001) == "none"
    # Nobody knows whether it comes in there.
    assert action("10.8.0.5", 1500) == "none"


def test_nothing_is_wrong_with_a_good_inventory() -> None:
    for group in ADDRESSES:
        assert problems(spec(group)) == []


@pytest.mark.parametrize(
    ("connection", "controller", "networks"),
    [
        (CONNECTION, "", ["10.0.9.7"]),
        ("", CONTROLLER, ["10.0.9.0/24"]),
        ("::ffff:10.0.9.7 50022 ::ffff:10.0.0.21 22", "", ["10.0.9.0/24"]),
        ("fe80::1%eth0 50022 fe80::2%eth0 22", "", ["fe80::/64"]),
        ("2001:db8:9::7 50022 2001:db8::21 22", "", ["10.0.9.0/24", "2001:db8:9::/64"]),
        ("10.0.0.51 50022 10.0.0.21 22", "", ["monitoring"]),
        # The operator's word counts more than what the host sees.
        ("10.77.0.1 50022 10.0.0.21 22", CONTROLLER, ["10.0.9.0/24"]),
    ],
)
def test_a_controller_that_gets_in_is_no_problem(connection: str, controller: str, networks: list[str]) -> None:
    assert problems(spec(ssh_networks=networks), connection=connection, controller=controller) == []


@pytest.mark.parametrize(
    ("changes", "others", "message"),
    [
        ({"ssh_networks": ["10.0.8.0/24"]}, {}, "firewall_ssh_networks: 10.0.8.0/24 does not hold 10.0.9.7"),
        ({}, {"connection": "2001:db8:9::7 5 2001:db8::21 22"}, "does not hold 2001:db8:9::7"),
        ({"ssh_networks": ["redis"]}, {}, "firewall_ssh_networks: redis does not hold 10.0.9.7"),
        ({"extra": [{"action": "deny", "from": ["10.0.9.0/29"]}]}, {}, "would lock out 10.0.9.7"),
        ({"extra": [{"action": "reject", "interface": "eth0"}]}, {}, "would lock out 10.0.9.7"),
        ({"ssh_port": 2222}, {}, "firewall_ssh_port: is 2222, but Ansible is logged in at port 22"),
        ({}, {"connection": "", "proof": "tcp"}, "firewall_controller_address: this host does not tell"),
        ({}, {"controller": "the-office"}, "firewall_controller_address: 'the-office' is not an address"),
    ],
)
def test_rules_that_lock_the_controller_out_are_refused(
    changes: dict[str, t.Any], others: dict[str, t.Any], message: str
) -> None:
    found = problems(spec(**changes), **others)
    assert len(found) == 1 and message in found[0]
    assert "; " in found[0], "it names no way out"


def test_where_nothing_is_proven_and_nothing_is_known_there_is_nothing_to_refuse() -> None:
    assert problems(spec(ssh_networks=["10.0.8.0/24"]), connection="", proof="none") == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ssh_networks": []}, "firewall_ssh_networks: is empty"),
        ({"ssh_networks": ["any"]}, "firewall_ssh_networks: 'any' opens SSH to everybody"),
        ({"ssh_networks": ["::/0"]}, "firewall_ssh_networks: '::/0' opens SSH to everybody"),
        (
            {"ssh_networks": ["the-office"]},
            "firewall_ssh_networks: 'the-office' is not an address, a network or",
        ),
        ({"ssh_networks": ["10.0.9.0/33"]}, "'10.0.9.0/33' is not an address"),
        ({"ssh_networks": ["::ffff:10.0.9.0/120"]}, "IPv4 address in IPv6 clothes"),
        ({"ssh_port": 0}, "firewall_ssh_port: 0 is not a port"),
        ({"public_ports": [443, 70000]}, "firewall_public_ports: 70000 is not a port"),
        ({"public_ports": ["80:90"]}, "firewall_public_ports: 80:90 is not a port"),
        ({"metrics_ports": {"all": 9100}}, "firewall_metrics_ports: all is not a list"),
        ({"metrics_ports": {"redis": ["x"]}}, "firewall_metrics_ports: x is not a port"),
        ({"addresses": {**ADDRESSES, "redis": "10.0.0.41"}}, "matrixon_addresses: redis is not a list"),
        ({"addresses": {**ADDRESSES, "redis": ["cache1"]}}, "matrixon_addresses: redis: 'cache1' is not an address"),
        ({"addresses": {**ADDRESSES, "redis": ["0.0.0.0/0"]}}, "matrixon_addresses: redis: '0.0.0.0/0' is everybody"),
        ({"groups": ["redis"], "addresses": {}}, "matrixon_addresses: holds no address of the group homeserver"),
        ({"groups": ["homeserver"], "addresses": {}}, "matrixon_addresses: holds no address of the group load_bal"),
        ({"extra": [{"ports": "80"}]}, "firewall_rules_extra: rule 1: does not know ports"),
        ({"extra": [{"port": "80"}, {"action": "drop"}]}, "firewall_rules_extra: rule 2: action is 'drop'"),
        ({"extra": [{"port": "80", "proto": "icmp"}]}, "firewall_rules_extra: rule 1: proto is 'icmp'"),
        ({"extra": [{"port": "http"}]}, "firewall_rules_extra: rule 1: port 'http' is not a port"),
        ({"extra": [{"port": "1:9", "proto": "any"}]}, "rule 1: a range of ports needs proto tcp or udp"),
        ({"extra": [{"comment": "all"}]}, "firewall_rules_extra: rule 1: allows everything from everybody"),
        ({"extra": [{"port": "80", "from": ["office"]}]}, "rule 1: from: 'office' is not an address, a net"),
        ({"extra": [{"port": "80", "from": []}]}, "firewall_rules_extra: rule 1: from is empty"),
        ({"extra": [{"port": "80", "from": None}]}, "firewall_rules_extra: rule 1: from is empty"),
        ({"extra": [{"port": "80", "interface": "eth0 -j ACCEPT"}]}, "is not the name of an interface"),
    ],
)
def test_a_wrong_wish_is_refused_with_its_option(changes: dict[str, t.Any], message: str) -> None:
    found = problems(spec(**changes))
    assert any(message in sentence for sentence in found), found
    assert all("; " in sentence or "needs" in sentence for sentence in found), "it names no way out"


def test_an_empty_list_of_sources_is_nobody() -> None:
    assert "80" not in reached(spec("redis", extra=[{"port": "80", "from": []}]))
    assert reached(spec("redis", extra=[{"port": "80"}]))["80"] == {"any"}


def test_all_that_is_wrong_is_said_at_once() -> None:
    found = problems(spec(ssh_networks=[], public_ports=[0], extra=[{"port": "x"}]))
    assert [sentence.partition(":")[0] for sentence in found] == [
        "firewall_ssh_networks",
        "firewall_public_ports",
        "firewall_rules_extra",
    ]


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"rollback_after": 29}, "firewall_rollback_after: 29 leaves no time to prove anything"),
        ({"rollback_after": 30}, ""),
        ({"rollback_after": 0, "proof": "none"}, ""),
        ({"over_ssh": False}, "firewall_proof: 'ssh' needs a host that Ansible reaches by ssh"),
    ],
)
def test_a_proof_that_cannot_be_had_is_refused(others: dict[str, t.Any], message: str) -> None:
    found = problems(spec(), **others)
    assert [message in sentence for sentence in found] == ([True] if message else [])
