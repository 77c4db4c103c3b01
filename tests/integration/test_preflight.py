"""The preflight as an operator runs it, on inventories of hosts that are all this machine."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest
import yaml

pytestmark = pytest.mark.integration

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLAYBOOK = ROOT / "playbooks/preflight.yml"
EXAMPLE = ROOT / "inventories/example"

# What the play may do: nothing of it touches a host.
HARMLESS = {"validate_argument_spec", "set_fact", "assert", "include_tasks", "include_role", "raw", "meta"}
SECRET = "xK29-dkfj-29fj-Qss{}"
SIGNING_KEY = "ed25519 a_test " + "A" * 43
VAULT = {
    "vault_database_owner_password": SECRET.format("a"),
    "vault_database_monitor_password": SECRET.format("b"),
    "vault_database_replication_password": SECRET.format("c"),
    "vault_redis_password": SECRET.format("d"),
    "vault_signing_key": SIGNING_KEY,
    "vault_registration_shared_secret": SECRET.format("e"),
    "vault_macaroon_secret_key": SECRET.format("f"),
    "vault_form_secret": SECRET.format("g"),
    "vault_worker_replication_secret": SECRET.format("h"),
    "vault_certbot_dns_credentials": "dns_rfc2136_server = 192.0.2.1",
}


@dataclasses.dataclass
class Run:
    """One run of the playbook."""

    code: int
    document: dict[str, t.Any]
    output: str

    @property
    def tasks(self) -> list[dict[str, t.Any]]:
        return [task for play in self.document["plays"] for task in play["tasks"]]

    @property
    def message(self) -> list[str]:
        """What the last task said. It runs once."""
        ((_host, result),) = self.tasks[-1]["hosts"].items()
        return result["msg"]

    @property
    def problems(self) -> list[str]:
        # What may be meant so comes behind, under a line of its own.
        errors = itertools.takewhile(lambda line: line[0].isdigit(), self.message[1:])
        return [line.split(". ", 1)[1] for line in errors]

    def assert_nothing_was_done(self) -> None:
        actions = {
            result.get("action", "").rsplit(".", 1)[-1] for task in self.tasks for result in task["hosts"].values()
        }
        assert actions - {""} <= HARMLESS
        assert [host for host, counts in self.document["stats"].items() if counts["changed"]] == []


def preflight(inventory: pathlib.Path, *arguments: str, **variables: t.Any) -> Run:
    """Run the playbook; keywords are extra variables."""
    command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), str(PLAYBOOK), "-i", str(inventory)]
    command += ["-e", json.dumps(variables), *arguments]
    environment = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_FORKS": "6"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    output = done.stdout + done.stderr
    assert "{" in done.stdout, output
    return Run(done.returncode, json.loads(done.stdout[done.stdout.index("{") :]), output)


def fleet() -> dict[str, t.Any]:
    """Return a good inventory, small and with Synapse."""
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "matrixon_server_name": "example.com",
        "matrixon_profile": "synapse",
        "matrixon_processes": [
            {"name": "main", "host": "hs1", "address": "10.0.0.11"},
            {"name": "worker1", "host": "hs1", "address": "10.0.0.11", "port": 8081},
            {"name": "worker2", "host": "hs2", "address": "10.0.0.12", "port": 8081},
        ],
        "matrixon_addresses": {
            "load_balancer": ["10.0.0.1"],
            "homeserver": ["10.0.0.11", "10.0.0.12"],
            "postgresql": ["10.0.0.21", "10.0.0.22"],
            "redis": ["10.0.0.31"],
        },
        "matrixon_database_host": "10.0.0.21",
        "matrixon_database_owner_password": SECRET.format("a"),
        "matrixon_database_password": SECRET.format("b"),
        "matrixon_database_standbys": ["db2"],
        "matrixon_redis_host": "10.0.0.31",
        "matrixon_redis_password": SECRET.format("c"),
        "postgresql_replication_password": SECRET.format("d"),
        "homeserver_version": "1.163.2",
        "homeserver_signing_key": SIGNING_KEY,
        "homeserver_registration_shared_secret": SECRET.format("e"),
        "homeserver_macaroon_secret_key": SECRET.format("f"),
        "homeserver_form_secret": SECRET.format("g"),
        "homeserver_worker_replication_secret": SECRET.format("h"),
        "certificates_method": "lab_ca",
        "firewall_ssh_networks": ["10.0.9.0/24"],
        # Where Ansible comes by SSH, the hosts tell this themselves.
        "firewall_controller_address": "10.0.9.7",
    }
    standby = {
        "matrixon_database_role": "standby",
        "postgresql_slot_name": "db2",
        "postgresql_primary_host": "10.0.0.21",
    }
    return {
        "all": {
            "vars": variables,
            "children": {
                "load_balancer": {"hosts": {"lb1": {}}},
                "homeserver": {"hosts": {"hs1": {}, "hs2": {}}},
                "postgresql": {"hosts": {"db1": {}, "db2": standby}},
                "redis": {"hosts": {"cache1": {}}},
            },
        }
    }


Fault = t.Callable[[dict[str, t.Any]], None]


def _set(**values: t.Any) -> Fault:
    return lambda inventory: inventory["all"]["vars"].update(values)


def _host(group: str, name: str, **values: t.Any) -> Fault:
    return lambda inventory: inventory["all"]["children"][group]["hosts"][name].update(values)


def _process(number: int, **values: t.Any) -> Fault:
    return lambda inventory: inventory["all"]["vars"]["matrixon_processes"][number].update(values)


CERTBOT = {
    "certificates_method": "certbot",
    "certificates_certbot_email": "hostmaster@example.com",
    "certificates_certbot_agree_tos": True,
}

# Each fault that the preflight must know, and the beginning of what it says.
FAULTS: dict[str, tuple[Fault, str]] = {
    "no primary": (
        _host(
            "postgresql",
            "db1",
            matrixon_database_role="standby",
            postgresql_slot_name="db1",
            postgresql_primary_host="10.0.0.22",
        ),
        "matrixon_database_role: no host of group postgresql is the primary",
    ),
    "two primaries": (
        _host("postgresql", "db2", matrixon_database_role="primary"),
        "matrixon_database_role: db1 and db2 are all primary",
    ),
    "a standby without a slot name": (
        _host("postgresql", "db2", postgresql_slot_name=""),
        "db2: postgresql_slot_name: it is empty on a standby",
    ),
    "two mains": (_process(1, kind="main"), "matrixon_processes: main and worker1 are main processes"),
    "pools above max_connections": (
        _set(postgresql_max_connections=40),
        "db1, db2: postgresql_max_connections: 40 is less than the 30 connections",
    ),
    "a port twice on a host": (_process(1, port=8008), "hs1: port 8008 is wanted by main (port) and worker1 (port)"),
    "a database to be verified by nobody": (
        _set(matrixon_database_sslmode="verify-full"),
        "hs1, hs2: matrixon_ca_file: is empty, and with matrixon_database_sslmode verify-full",
    ),
    "a missing secret": (_set(homeserver_form_secret=""), "hs1, hs2: homeserver_form_secret: "),
    "a default password": (
        _set(matrixon_database_owner_password="changeme-2026"),
        "db1, db2: matrixon_database_owner_",
    ),
    "a short password": (_set(matrixon_redis_password="Xk2!"), "cache1: matrixon_redis_password: has 4 characters"),
    "an SSH network without the controller": (
        _set(firewall_controller_address="203.0.113.9"),
        "lb1, hs1, hs2, db1, db2, cache1: firewall_ssh_networks: 10.0.9.0/24 does not hold 203.0.113.9",
    ),
    "a certificate that cannot be renewed": (
        _host("load_balancer", "lb1", **CERTBOT),
        "lb1: load_balancer_acme_server: is empty",
    ),
    "a secret of one host": (
        _host("homeserver", "hs2", homeserver_macaroon_secret_key=SECRET.format("z")),
        "homeserver_macaroon_secret_key: differs between hosts (hs1 / ",
    ),
    "two releases": (
        _host("homeserver", "hs2", homeserver_version="1.162.0"),
        "homeserver_version: differs between hosts (hs1 / hs2)",
    ),
}
# This one and another are about the same hosts and contradict each other.
EXCLUDED = {"no primary"}


@pytest.fixture
def run(tmp_path: pathlib.Path) -> t.Callable[..., Run]:
    """Write an inventory and run the preflight on it."""

    def call(inventory: dict[str, t.Any], *arguments: str, **variables: t.Any) -> Run:
        path = tmp_path / "hosts.json"
        path.write_text(json.dumps(inventory))
        return preflight(path, *arguments, **variables)

    return call


def test_a_good_inventory_passes(run: t.Callable[..., Run]) -> None:
    inventory = fleet()
    # What renews the certificate can be reached, which else is one of the faults.
    _host("load_balancer", "lb1", load_balancer_acme_server="127.0.0.1:8402", **CERTBOT)(inventory)
    done = run(inventory)
    assert done.code == 0 and done.message == ["No problem in the inventory of 6 hosts."], done.output
    done.assert_nothing_was_done()


@pytest.mark.parametrize("fault", EXCLUDED)
def test_a_fault_alone_is_the_only_problem(run: t.Callable[..., Run], fault: str) -> None:
    inventory = fleet()
    spoil, sentence = FAULTS[fault]
    spoil(inventory)
    done = run(inventory)
    assert done.code != 0
    (problem,) = done.problems
    assert problem.startswith(sentence)
    done.assert_nothing_was_done()


def test_all_faults_at_once_are_one_list(run: t.Callable[..., Run]) -> None:
    inventory = fleet()
    for fault in FAULTS.keys() - EXCLUDED:
        FAULTS[fault][0](inventory)
    # A standby it must still be, for its slot to be missing.
    _host("postgresql", "db2", matrixon_database_role="standby")(inventory)
    standby = {"matrixon_database_role": "primary"}
    inventory["all"]["children"]["postgresql"]["hosts"]["db3"] = standby
    inventory["all"]["vars"]["matrixon_addresses"]["postgresql"].append("10.0.0.23")
    done = run(inventory)
    assert done.code != 0
    # The pools and the passwords concern the third database host, too.
    found = [
        problem.replace("db1, db2, db3:", "db1, db2:").replace("db2, db3, c", "db2, c") for problem in done.problems
    ]
    for fault in FAULTS.keys() - EXCLUDED - {"two primaries"}:
        assert len([problem for problem in found if problem.startswith(FAULTS[fault][1])]) == 1, fault
    assert [problem for problem in found if problem.startswith("matrixon_database_role: db1 and db3 are all primary")]
    assert len(found) == len(FAULTS) - len(EXCLUDED)
    (renewal,) = [problem for problem in found if "load_balancer_acme_server" in problem]
    assert renewal.endswith("give 127.0.0.1:8402")
    assert done.message[0] == f"{len(found)} problems in the inventory. Nothing was changed on any host."
    done.assert_nothing_was_done()
    # The list names secrets and tells none.
    assert "changeme-2026" not in done.output and "Xk2!" not in done.output and SECRET.format("a") not in done.output
    assert SECRET.format("z") not in done.output


# Every secret of a fleet but the key, which has a form of its own.
SECRETS = {
    "matrixon_database_owner_password",
    "matrixon_database_password",
    "matrixon_redis_password",
    "postgresql_replication_password",
    "homeserver_registration_shared_secret",
    "homeserver_macaroon_secret_key",
    "homeserver_form_secret",
    "homeserver_worker_replication_secret",
}


def test_no_secret_may_be_a_default_however_long_and_a_host_that_is_away_hides_none(run: t.Callable[..., Run]) -> None:
    inventory = fleet()
    _set(**dict.fromkeys(SECRETS, "changeme-changeme-2026"))(inventory)
    for name in ("hs1", "hs2"):
        away = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1, "firewall_proof": "none"}
        _host("homeserver", name, **away)(inventory)
    done = run(inventory)
    assert done.code != 0
    away, *others = sorted(done.problems, key=lambda problem: "cannot be reached" not in problem)
    assert away.startswith("hs1, hs2: cannot be reached: Task failed")
    named = [problem.split(": ")[1] for problem in others]
    assert sorted(named) == sorted(SECRETS)
    assert all("is a default or a well-known password" in problem for problem in others)
    assert "changeme-changeme-2026" not in done.output


def archive() -> dict[str, t.Any]:
    """Return a good inventory with the other profile: a release archive, one main process on each host."""
    inventory = fleet()
    mains = [{"name": f"main{number}", "kind": "main", "host": f"hs{number}"} for number in (1, 2)]
    _set(
        matrixon_profile="matrixon",
        matrixon_processes=mains,
        homeserver_version="1.0.0",
        homeserver_archive_url="https://releases.example.com/matrixon-1.0.0.tar.gz",
        homeserver_archive_checksum="sha256:" + 64 * "0",
    )(inventory)
    return inventory


@pytest.mark.soak
def test_a_release_archive_passes_with_its_checksum(run: t.Callable[..., Run]) -> None:
    done = run(archive())
    assert done.code == 0, done.output


def test_an_absent_checksum_is_in_the_list(run: t.Callable[..., Run]) -> None:
    inventory = archive()
    _set(homeserver_archive_checksum="", postgresql_replication_password="")(inventory)
    _process(1, host="hs1", port=8009)(inventory)
    done = run(inventory)
    assert done.code != 0
    assert [problem.split(";")[0] for problem in done.problems] == [
        "matrixon_processes: 2 main processes are to run on hs1, and a host has one unit for them",
        "db1, db2: postgresql_replication_password: is missing",
        "hs1, hs2: homeserver_archive_checksum: is missing",
    ]
    done.assert_nothing_was_done()


def test_what_argument_specs_refuse_hides_nothing_else(run: t.Callable[..., Run]) -> None:
    inventory = fleet()
    del inventory["all"]["vars"]["matrixon_server_name"]
    _set(redis_max_clients="many", redis_maxmemory="lots", matrixon_redis_password="Xk2!")(inventory)
    done = run(inventory)
    text = "\n".join(done.problems)
    assert done.code != 0
    assert "matrixon_server_name: is not defined" in text
    assert "redis_max_clients" in text and "redis_maxmemory: 'lots'" in text
    assert "matrixon_redis_password: has 4 characters" in text
    done.assert_nothing_was_done()


def test_check_mode_and_a_limit_say_the_same(run: t.Callable[..., Run]) -> None:
    inventory = fleet()
    _host("postgresql", "db2", postgresql_slot_name="")(inventory)
    done = run(inventory, "--check", "--limit", "db2")
    assert done.code != 0
    assert [problem[:26] for problem in done.problems] == ["db2: postgresql_slot_name:"]


def test_the_example_passes_with_its_vault() -> None:
    given = {**VAULT, "ansible_connection": "local", "firewall_controller_address": "10.10.99.5"}
    done = preflight(EXAMPLE, **given)
    assert done.code == 0 and done.message == ["No problem in the inventory of 15 hosts."], done.output
    done.assert_nothing_was_done()


@pytest.mark.soak
def test_the_example_is_refused_for_what_stands_in_its_vault_alone_where_the_other_region_serves() -> None:
    vault = yaml.safe_load((EXAMPLE / "group_vars/all/vault.yml.example").read_text())
    given = {"ansible_connection": "local", "firewall_controller_address": "10.10.99.5", "matrixon_active_region": "us"}
    done = preflight(EXAMPLE, **given, **vault)
    assert done.code != 0
    # One sentence for each secret, by the name of its option, and no other.
    options = yaml.safe_load((EXAMPLE / "group_vars/all/secrets.yml").read_text())
    named = [[option for option in options if f": {option}: " in problem] for problem in done.problems]
    assert sorted(named) == sorted([option] for option in options), done.problems
    assert "CHANGE-ME" not in "\n".join(done.message)
    done.assert_nothing_was_done()
