"""What gets through the packet filter, who is kept out, and that nobody is locked out."""

from __future__ import annotations

import time
import typing as t

import pytest

PUBLIC = [80, 443, 8448]
EVERY_PORT = 65535
CONTROLLER = "172.30.20.1"
INSIDE = "172.30.20.12"


@pytest.fixture(scope="module")
def without_rules(lb1: t.Any, db1: t.Any, outside: t.Any, operator: t.Any) -> tuple[dict, t.Any]:
    """What is reached from outside without a packet filter, and the run that brings it back."""
    for host in (lb1, db1):
        host.run("ufw disable")
    found = outside.knock(lb1, db1)
    return found, operator.play("-v")


@pytest.fixture(scope="module")
def from_outside(without_rules: t.Any, lb1: t.Any, db1: t.Any, outside: t.Any) -> dict:
    return outside.knock(lb1, db1)


def test_without_rules_the_outside_reaches_every_port(without_rules: t.Any, listening: list[int]) -> None:
    # The proof that the scanner sees what is open, and misses nothing.
    found, dummy = without_rules
    assert len(found) == 4
    for address, answers in found.items():
        assert answers["open"] == listening, address
        assert answers["answered_count"] == EVERY_PORT, (address, answers["silent"])


def test_a_ufw_that_was_disabled_is_noticed_and_started(without_rules: t.Any) -> None:
    dummy, run = without_rules
    assert run.code == 0, run.output
    assert len(run.recap) == 2 and 0 not in run.count("changed").values(), run.output
    assert "ufw's settings differ: ENABLED is 'no'" in run.text, run.output


def test_the_outside_reaches_what_is_public_and_nothing_else(from_outside: dict, lb1: t.Any) -> None:
    assert len(lb1.addresses) == 2
    for address in lb1.addresses:
        answers = from_outside[address]
        assert answers["open"] == PUBLIC, address
        assert answers["answered_count"] == len(PUBLIC), (address, answers["refused"])
        assert answers["silent_count"] == EVERY_PORT - len(PUBLIC), address


def test_the_outside_reaches_nothing_of_a_database_server(from_outside: dict, db1: t.Any) -> None:
    assert len(db1.addresses) == 2
    for address in db1.addresses:
        answers = from_outside[address]
        assert (answers["open"], answers["refused"]) == ([], []), address
        assert answers["silent_count"] == EVERY_PORT, address


def test_the_inside_reaches_what_the_inventory_gives_it(from_outside: dict, db1: t.Any, inside: t.Any) -> None:
    found = inside.knock(db1)
    for address in db1.addresses:
        assert found[address]["open"] == [22, 5432], address
        assert found[address]["answered_count"] == 2, (address, found[address]["refused"])


def test_the_inside_reaches_ssh_and_what_is_public_of_a_load_balancer(
    from_outside: dict, lb1: t.Any, inside: t.Any
) -> None:
    assert inside.opened(lb1) == [[22, *PUBLIC]] * 2


def test_the_controller_logs_in_anew(from_outside: dict, lb1: t.Any, db1: t.Any) -> None:
    for host in (lb1, db1):
        done = host.log_in()
        assert done.stdout.strip() == host.name, done.stderr


def test_rules_that_cut_the_controller_off_are_taken_back(
    from_outside: dict, lb1: t.Any, db1: t.Any, inside: t.Any, outside: t.Any, operator: t.Any
) -> None:
    before = {host.name: host.rules() for host in (lb1, db1)}
    # The operator is wrong about the address of the controller, so that the first check lets it pass.
    process = operator.start(
        firewall_ssh_networks=[INSIDE],
        firewall_controller_address=INSIDE,
        firewall_public_ports=[80],
        firewall_proof_timeout=5,
        firewall_rollback_after=20,
    )
    logins: dict[str, list[bool]] = {"lb1": [], "db1": []}
    while process.poll() is None:
        for host in (lb1, db1):
            logins[host.name].append(host.log_in().returncode == 0)
        time.sleep(0.2)
    run = operator.end(process)

    assert run.code != 0, run.output
    assert run.count("failed") == {"lb1": 1, "db1": 1}, run.output
    assert run.count("unreachable") == {"lb1": 0, "db1": 0}, run.output
    for host in (lb1, db1):
        assert f"no new connection of the controller through, so {host.name} took them back at" in run.text, run.output
        # It did lock the controller out, and for no longer than was said.
        assert False in logins[host.name], run.output
        assert host.log_in().stdout.strip() == host.name
        assert host.rules() == before[host.name]
        record = host.run("cat /var/lib/matrixon-firewall/last-rollback.json")
        assert '"result": "restored"' in record
        assert "so the old ones are back (restored)" in host.run("journalctl --no-pager -u 'matrixon-firewall-*'")
    assert "has its old rules again" in run.text, run.output
    assert "Rules that were to go: allow in from 172.30.20.1 to any port 22 proto tcp" in run.text, run.output
    assert outside.opened(lb1) == [PUBLIC] * 2
    assert inside.opened(db1) == [[22, 5432]] * 2


def test_a_change_goes_back_when_the_controller_vanishes(
    from_outside: dict, lb1: t.Any, outside: t.Any, operator: t.Any, until: t.Any
) -> None:
    before, files = lb1.rules(), lb1.run("cat /etc/ufw/user.rules")
    rules = [{"port": "22", "from": CONTROLLER}, {"port": "9999"}]
    run = operator.module("lb1", rules=rules, rollback_after=12)
    assert run.code == 0 and '"armed": true' in run.output, run.output
    assert outside.opened(lb1) == [[9999]] * 2
    # A reboot would load the old rules.
    assert lb1.run("cat /etc/ufw/user.rules") == files
    second = operator.module("lb1", rules=rules, rollback_after=12)
    assert second.code != 0 and "another change of the rules waits for its confirmation" in second.text, second.output
    assert until(lambda: lb1.rules() == before, 20)
    assert outside.opened(lb1) == [PUBLIC] * 2


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        (
            {"firewall_ssh_networks": ["10.0.9.0/24"]},
            f"firewall_ssh_networks: 10.0.9.0/24 does not hold {CONTROLLER}, from where this host is managed",
        ),
        (
            {"firewall_rules_extra": [{"action": "deny", "from": [f"{CONTROLLER}/24"]}]},
            f"would lock out {CONTROLLER}, from where this host is managed",
        ),
    ],
    ids=["ssh-network", "deny"],
)
def test_rules_without_the_controller_are_refused(
    from_outside: dict, lb1: t.Any, db1: t.Any, operator: t.Any, variables: dict, reason: str
) -> None:
    before = [host.rules() for host in (lb1, db1)]
    run = operator.play(**variables)
    assert run.code != 0 and reason in run.text, run.output
    assert run.count("failed") == {"lb1": 1, "db1": 1} and run.count("changed") == {"lb1": 0, "db1": 0}, run.output
    assert [host.rules() for host in (lb1, db1)] == before


@pytest.mark.parametrize(
    ("drift", "reason"),
    [
        (
            [f"{tables} {change}" for tables in ("iptables", "ip6tables") for change in ("-P INPUT ACCEPT", "-F")],
            "the kernel does not ask ufw about IPv4",
        ),
        (["ip6tables -F ufw6-user-input"], "the rules in the kernel are not those that were loaded last"),
        (["ufw allow 9999/tcp"], "the rules differ"),
        (["iptables -I INPUT -p tcp --dport 9999 -j ACCEPT"], "rules in the kernel go past ufw"),
    ],
    ids=["flushed", "ipv6-flushed", "ufw-allow", "past-ufw"],
)
def test_what_was_changed_by_hand_is_noticed_and_healed(
    from_outside: dict, lb1: t.Any, outside: t.Any, operator: t.Any, drift: list[str], reason: str
) -> None:
    before = lb1.rules()
    lb1.run(" && ".join(drift))
    assert outside.opened(lb1) != [PUBLIC] * 2
    run = operator.play("--limit", "lb1", "-v")
    assert run.code == 0 and run.count("changed")["lb1"] > 0, run.output
    assert reason in run.text, run.output
    assert outside.opened(lb1) == [PUBLIC] * 2
    assert lb1.rules() == before


def test_check_mode_shows_the_change_and_makes_none(
    from_outside: dict, lb1: t.Any, db1: t.Any, operator: t.Any
) -> None:
    before = [host.rules() for host in (lb1, db1)]
    run = operator.play("--check", "--diff", firewall_rules_extra=[{"port": "9999", "comment": "something new"}])
    assert run.code == 0 and run.count("changed") == {"lb1": 1, "db1": 1}, run.output
    assert "+allow in from any to any port 9999 proto tcp # matrixon: something new" in run.text, run.output
    assert [host.rules() for host in (lb1, db1)] == before


def test_a_second_run_changes_nothing(from_outside: dict, lb1: t.Any, db1: t.Any, operator: t.Any) -> None:
    before = [host.rules() for host in (lb1, db1)]
    run = operator.play()
    assert run.code == 0 and run.count("changed") == {"lb1": 0, "db1": 0}, run.output
    assert [host.rules() for host in (lb1, db1)] == before


def test_a_first_pass_lets_more_in_and_closes_nothing(
    from_outside: dict, lb1: t.Any, outside: t.Any, operator: t.Any
) -> None:
    before = lb1.rules()
    asked = {"firewall_public_ports": [443], "firewall_rules_extra": [{"port": "9999", "comment": "something new"}]}
    run = operator.play("--limit", "lb1", firewall_only_add=True, **asked)
    assert run.code == 0 and run.count("changed")["lb1"] > 0, run.output
    # 80 and 8448 are not wanted any more, and go when the services were looked after.
    assert outside.opened(lb1) == [sorted([*PUBLIC, 9999])] * 2
    run = operator.play("--limit", "lb1", firewall_only_add=True, **asked)
    assert run.code == 0 and run.count("changed") == {"lb1": 0}, run.output
    run = operator.play("--limit", "lb1", **asked)
    assert run.code == 0 and outside.opened(lb1) == [[443, 9999]] * 2, run.output
    run = operator.play("--limit", "lb1")
    assert run.code == 0 and lb1.rules() == before, run.output
