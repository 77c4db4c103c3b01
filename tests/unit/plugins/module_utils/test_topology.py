"""Each rule of the fleet: the fleet that keeps it has no problem, the one that breaks it has exactly one."""

from __future__ import annotations

import copy
import json
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._topology import Problem, lines, merged
from ansible_collections.matrixon.ops.plugins.plugin_utils.fleet_problems import (
    fingerprints,
    fleet_problems,
    plain_error,
)

GROUPS = {
    "all": ["lb1", "hs1", "hs2", "db1", "db2", "cache1"],
    "load_balancer": ["lb1"],
    "homeserver": ["hs1", "hs2"],
    "postgresql": ["db1", "db2"],
    "redis": ["cache1"],
    "region_one": ["lb1", "hs1", "hs2", "db1", "cache1"],
}


class Inventory:
    """A good fleet, for a test to spoil."""

    def __init__(self) -> None:
        self.groups: dict[str, list[str]] = copy.deepcopy(GROUPS)
        self.profile = "synapse"
        self.processes: t.Any = [
            {"name": "main", "host": "hs1"},
            {"name": "worker1", "host": "hs1", "port": 8081},
            {"name": "worker2", "host": "hs2", "port": 8081, "metrics_port": 9101, "serves": ["sync", "general"]},
        ]
        self.addresses: t.Any = {
            "load_balancer": ["10.0.0.1", "fd00::1"],
            "homeserver": ["10.0.0.11", "10.0.0.12"],
            "postgresql": ["10.0.0.21", "10.0.0.22"],
            "redis": ["10.0.0.31"],
        }
        self.required = ["homeserver", "postgresql", "redis", "load_balancer"]
        self.lost: list[str] = []
        self.views: dict[str, dict[str, t.Any]] = {
            name: {
                "name": name,
                "problems": [],
                "database_role": "primary",
                "database_host": "10.0.0.21",
                "redis_host": "10.0.0.31",
                "ports": [],
                "fingerprints": {"matrixon_server_name": "aa", "matrixon_redis_password": "bb"},
            }
            for name in GROUPS["all"]
        }
        self.views["db1"].update(slots=["db2"], ports=[{"name": "PostgreSQL", "port": 5432}])
        self.views["db2"].update(database_role="standby", slot="db2", primary_host="10.0.0.21")
        self.views["cache1"]["ports"] = [{"name": "Redis", "port": "6379"}]
        self.views["lb1"]["ports"] = [{"name": "HAProxy", "port": 443}, {"name": "HAProxy's metrics", "port": ""}]

    def judge(self) -> dict[str, list[str]]:
        return fleet_problems(
            list(self.views.values()),
            self.groups,
            self.profile,
            processes=self.processes,
            addresses=self.addresses,
            required_groups=self.required,
            lost=self.lost,
        )


def test_a_good_fleet_has_no_problem() -> None:
    assert Inventory().judge() == {"errors": [], "warnings": []}


def _empty(group: str) -> t.Callable[[Inventory], None]:
    def spoil(fleet: Inventory) -> None:
        for name in fleet.groups[group]:
            del fleet.views[name]
        fleet.groups["all"] = list(fleet.views)
        fleet.groups[group] = []
        fleet.addresses.pop(group)
        # What else would be missing is not asked here.
        fleet.processes = [process for process in fleet.processes if process["host"] in fleet.views]

    return spoil


def _no_primary(fleet: Inventory) -> None:
    fleet.views["db1"].update(database_role="standby", slot="db1", primary_host="10.0.0.22")


def _two_primaries(fleet: Inventory) -> None:
    fleet.views["db2"]["database_role"] = "primary"


def _slot_twice(fleet: Inventory) -> None:
    fleet.groups["postgresql"].append("db3")
    fleet.addresses["postgresql"].append("10.0.0.23")
    fleet.views["db3"] = {**fleet.views["db2"], "name": "db3"}


def _foreign_slot(fleet: Inventory) -> None:
    fleet.views["db2"]["slot"] = "elsewhere"


def _own_primary(fleet: Inventory) -> None:
    fleet.views["db2"]["primary_host"] = "localhost"


def _no_processes(fleet: Inventory) -> None:
    fleet.processes = []


def _process(number: int, **values: t.Any) -> t.Callable[[Inventory], None]:
    def spoil(fleet: Inventory) -> None:
        fleet.processes[number].update(values)

    return spoil


def _no_main(fleet: Inventory) -> None:
    fleet.processes[0].update(kind="worker", port=8008)


def _misplaced(fleet: Inventory) -> None:
    fleet.processes.append({"name": "worker3", "host": "lb1", "port": 8083})


def _shared_host(fleet: Inventory) -> None:
    fleet.groups["homeserver"].append("cache1")
    fleet.addresses["homeserver"].append("10.0.0.31")
    fleet.processes.append({"name": "worker3", "host": "cache1", "port": 6379})


def _unsupported(fleet: Inventory) -> None:
    fleet.profile = "matrixon"
    fleet.processes[2].pop("serves")


def _several_mains(fleet: Inventory) -> None:
    """Make a fleet of a product whose main processes do not know of each other."""
    fleet.profile = "matrixon"
    fleet.processes = [
        {"name": "one", "kind": "main", "host": "hs1"},
        {"name": "two", "kind": "main", "host": "hs2"},
        {"name": "three", "kind": "main", "host": "hs2", "port": 8009},
    ]


def _without_redis(fleet: Inventory) -> None:
    _empty("redis")(fleet)
    fleet.required.remove("redis")


def _address(group: str, *addresses: str) -> t.Callable[[Inventory], None]:
    def spoil(fleet: Inventory) -> None:
        fleet.addresses[group] = list(addresses)

    return spoil


def _view(name: str, **values: t.Any) -> t.Callable[[Inventory], None]:
    def spoil(fleet: Inventory) -> None:
        fleet.views[name].update(values)

    return spoil


def test_media_on_several_hosts_is_worth_a_look() -> None:
    fleet = Inventory()
    fleet.processes[1]["serves"] = ["sync", "media"]
    assert fleet.judge() == {"errors": [], "warnings": []}
    fleet.processes[2]["serves"] = ["sync", "media"]
    (warning,) = fleet.judge()["warnings"]
    assert "worker1 and worker2 serve media on several hosts" in warning and not fleet.judge()["errors"]


def _acme(challenge: str, server: str, *others: str) -> t.Callable[[Inventory], None]:
    def spoil(fleet: Inventory) -> None:
        for name in others:
            fleet.groups["load_balancer"].append(name)
            fleet.addresses["load_balancer"].append(f"10.0.1.{len(fleet.views)}")
            fleet.views[name] = {**fleet.views["lb1"], "name": name}
        for name in fleet.groups["load_balancer"]:
            fleet.views[name].update(acme_challenge=challenge, acme_port=8402, acme_server=server)

    return spoil


def _lost(fleet: Inventory) -> None:
    fleet.lost = ["cache1"]
    del fleet.views["cache1"]


ERRORS: list[tuple[t.Callable[[Inventory], None], str]] = [
    (_empty("load_balancer"), "group load_balancer: has no host"),
    (_empty("redis"), "group redis: has no host"),
    (_no_primary, "matrixon_database_role: no host of group postgresql is the primary; say primary on one of db1"),
    (_two_primaries, "matrixon_database_role: db1 and db2 are all primary"),
    (_slot_twice, "db2, db3: postgresql_slot_name: 'db2' can serve one standby only"),
    (_foreign_slot, "db2: postgresql_slot_name: the primary db1 keeps no slot 'elsewhere'"),
    (_own_primary, "db2: postgresql_primary_host: leads to the standby itself (localhost)"),
    (_no_processes, "matrixon_processes: is empty"),
    (_process(1, kind="main"), "matrixon_processes: main and worker1 are main processes"),
    (_no_main, "matrixon_processes: there is no main process"),
    (_process(2, name="worker1"), "matrixon_processes: 2 processes are called worker1"),
    (_process(1, host="hs9"), "worker1 is to run on hs9, which the inventory does not know"),
    (_misplaced, "worker3 is to run on lb1, which is not in group homeserver"),
    (_process(1, port=0), "worker worker1 has no port"),
    (_process(1, port=443), "port 443 of worker1 cannot be"),
    (_process(1, port=70000), "port 70000 of worker1 cannot be"),
    (_process(1, port=8008), "hs1: port 8008 is wanted by main (port) and worker1 (port)"),
    (_process(1, metrics_port=8081), "hs1: port 8081 is wanted by worker1 (port) and worker1 (metrics_port)"),
    (_process(1, replication_port=9093), "port 9093 is wanted by main (replication_port) and worker1"),
    (_shared_host, "cache1: port 6379 is wanted by Redis and worker3 (port)"),
    (_process(2, serves=["sink"]), "worker2 is to serve 'sink', which Synapse does not know; there are"),
    (
        _process(2, serves=["typing"]),
        "worker2 is to serve 'typing', which only a process that writes the stream typing",
    ),
    (_process(2, streams=["typo"], replication_port=9200), "worker2 is to write the stream 'typo', which Synapse does"),
    (_process(2, address="127.0.0.1"), "worker2 has the address 127.0.0.1, where no other host reaches it"),
    (_process(2, streams=["typing"]), "worker2 writes streams and has no replication_port"),
    (_unsupported, "worker1 and worker2 cannot be: Matrixon has no worker processes"),
    (_several_mains, "matrixon_processes: 2 main processes are to run on hs2"),
    (_without_redis, "group redis: has no host, and processes of Synapse talk to each other"),
    (_address("homeserver", "10.0.0.11"), "matrixon_addresses: has 1 of the 2 hosts of group homeserver"),
    (_address("postgres", "10.0.0.9"), "matrixon_addresses: 'postgres' is no group of the collection"),
    (
        _view("hs2", fingerprints={"matrixon_server_name": "aa", "matrixon_redis_password": "cc"}),
        "matrixon_redis_password: differs between hosts (lb1, hs1, db1, db2, cache1 / hs2)",
    ),
    (_view("hs2", database_host="127.0.0.1"), "hs2: matrixon_database_host: leads to the host itself"),
    (_view("hs2", redis_host="::1"), "hs2: matrixon_redis_host: leads to the host itself"),
    (_view("db1", problems=["postgresql_x: is wrong"]), "db1: postgresql_x: is wrong"),
    (_acme("standalone", ""), "lb1: load_balancer_acme_server: is empty, so the CA's requests do not get past HAProxy"),
    (_acme("standalone", "127.0.0.1:80"), "lb1: load_balancer_acme_server: 127.0.0.1:80, so the CA's requests do not"),
    (_acme("webroot", ""), "lb1: load_balancer_acme_server: is empty, so the CA's requests do not get past HAProxy"),
    (_lost, "cache1: cannot be reached"),
]


@pytest.mark.parametrize(("spoil", "sentence"), ERRORS, ids=[sentence[:60] for _dummy, sentence in ERRORS])
def test_each_fault_alone_is_one_problem(spoil: t.Callable[[Inventory], None], sentence: str) -> None:
    fleet = Inventory()
    spoil(fleet)
    (error,) = fleet.judge()["errors"]
    assert error.startswith("1. ") and sentence in error
    # Every sentence but a list of names that differ says the way out.
    assert ";" in error or "is wrong" in error


WARNINGS: list[tuple[t.Callable[[Inventory], None], str]] = [
    (_process(2, host="hs1", port=8082), "1. hs2: is in group homeserver and matrixon_processes has no process"),
    (_view("hs1", database_host="db2"), "1. hs1: matrixon_database_host: db2 is not the primary"),
    (_view("hs1", database_host="10.9.9.9"), "1. hs1: matrixon_database_host: 10.9.9.9 is none of the addresses"),
    (
        _acme("standalone", "127.0.0.1:8402", "lb2"),
        "1. lb1, lb2: certificates_certbot_challenge: several load balancers answer to one name",
    ),
]


@pytest.mark.parametrize(
    ("challenge", "server"), [("standalone", "127.0.0.1:8402"), ("webroot", "10.0.0.9:80"), ("dns", ""), ("", "")]
)
def test_a_certificate_that_can_be_renewed_is_no_problem(challenge: str, server: str) -> None:
    fleet = Inventory()
    _acme(challenge, server)(fleet)
    assert fleet.judge() == {"errors": [], "warnings": []}


@pytest.mark.parametrize(("spoil", "sentence"), WARNINGS, ids=[sentence[:60] for _dummy, sentence in WARNINGS])
def test_what_may_be_meant_so_is_a_warning(spoil: t.Callable[[Inventory], None], sentence: str) -> None:
    fleet = Inventory()
    spoil(fleet)
    found = fleet.judge()
    (warning,) = found["warnings"]
    assert warning.startswith(sentence) and found["errors"] == []


def test_a_host_without_a_group_is_a_warning() -> None:
    fleet = Inventory()
    fleet.groups["all"].append("bastion1")
    fleet.views["bastion1"] = {**fleet.views["lb1"], "name": "bastion1", "ports": []}
    found = fleet.judge()
    assert found["errors"] == [] and "bastion1: is in none of the groups" in found["warnings"][0]


def test_all_faults_at_once_are_all_named() -> None:
    fleet = Inventory()
    fleet.processes = [
        {"name": "main", "host": "hs1"},
        {"name": "second", "host": "hs1", "kind": "main", "port": 8008},
        {"name": "worker1", "host": "hs3"},
        {"name": "worker1", "host": "hs2", "port": 8081, "metrics_port": 8081, "serves": ["sink"]},
    ]
    fleet.views["db2"]["database_role"] = "primary"
    fleet.views["cache1"]["problems"] = ["matrixon_redis_password: is missing"]
    fleet.views["hs1"]["fingerprints"]["matrixon_redis_password"] = "cc"
    errors = "\n".join(fleet.judge()["errors"])
    for sentence in (
        "main and second are main processes",
        "2 processes are called worker1",
        "hs3, which the inventory does not know",
        "worker worker1 has no port",
        "'sink'",
        "hs2: port 8081 is wanted by worker1 (port) and worker1 (metrics_port)",
        "hs1: port 8008 is wanted by main (port) and second (port)",
        "db1 and db2 are all primary",
        "cache1: matrixon_redis_password: is missing",
        "matrixon_redis_password: differs",
    ):
        assert sentence in errors


def test_a_limit_does_not_make_a_fleet_without_primary() -> None:
    fleet = Inventory()
    fleet.views = {"db2": fleet.views["db2"]}
    assert fleet.judge() == {"errors": [], "warnings": []}


@pytest.mark.parametrize("processes", [None, "main", [None, "main"], [{}], [{"name": "main"}], [{"host": "hs1"}]])
def test_what_has_the_wrong_shape_breaks_nothing(processes: object) -> None:
    fleet = Inventory()
    fleet.processes = processes
    fleet.addresses = {"redis": "10.0.0.31"} if processes else "10.0.0.31"
    assert fleet.judge()["errors"] != [] or processes == [{"name": "main"}]


def test_an_unknown_profile_is_left_to_its_role() -> None:
    fleet = Inventory()
    fleet.profile = "dendrite"
    assert fleet.judge() == {"errors": [], "warnings": []}


def test_one_sentence_stands_once_with_all_its_hosts() -> None:
    problems = [Problem("it is wrong", ("db1",)), Problem("alone"), Problem("it is wrong", ("db2",))]
    assert lines(merged(problems)) == ["1. alone", "2. db1, db2: it is wrong"]


def test_what_a_role_says_of_the_processes_is_not_said_twice() -> None:
    fleet = Inventory()
    fleet.processes[1].pop("port")
    fleet.views["lb1"]["problems"] = [
        "matrixon_processes: worker1 without a port; give each worker one",
        "matrixon_processes: work er1 cannot be the name of a server in HAProxy; use letters",
        "load_balancer_maxconn: a port",
    ]
    errors = fleet.judge()["errors"]
    assert len(errors) == 3 and [error for error in errors if "without a port" in error] == []


def test_fingerprints_compare_and_do_not_tell() -> None:
    first, second = fingerprints({"password": "Xk29dkfj29fj", "none": None}), fingerprints({"password": "Xk29dkfj29fj"})
    assert first == second and set(first) == {"password"}
    assert fingerprints({"password": "Xk29dkfj29fk"}) != first
    assert "Xk29" not in json.dumps(first) and len(first["password"]) == 6


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (
            "Task failed: The filter plugin 'matrixon.ops.profile_facts' failed: matrixon_profile: 'x' is no profile",
            "matrixon_profile: 'x' is no profile",
        ),
        (
            "Task failed: Finalization of task args for 'ansible.builtin.set_fact' failed: Error while resolving value "
            "for 'redis_problems': 'vault_redis' is undefined",
            "vault_redis: is not defined; give it a value",
        ),
        ("Task failed: Module failed:\n no space", "redis: Module failed: no space"),
        # A name of the role's own says nothing to its reader.
        ("'__redis_problems' is undefined", "redis: '__redis_problems' is undefined"),
    ],
)
def test_an_error_names_the_option_that_caused_it(message: str, sentence: str) -> None:
    assert plain_error(message, "redis") == sentence


def test_a_product_may_have_several_main_processes_on_hosts_of_their_own() -> None:
    fleet = Inventory()
    fleet.profile = "matrixon"
    fleet.processes = [{"name": f"main{number}", "kind": "main", "host": f"hs{number}"} for number in (1, 2)]
    assert fleet.judge() == {"errors": [], "warnings": []}
    fleet.processes[1]["host"] = "hs1"
    fleet.processes[1]["port"], fleet.processes[1]["metrics_port"] = 8009, 9091
    (error,) = fleet.judge()["errors"]
    assert "matrixon_processes: 2 main processes are to run on hs1" in error


# Two regions


@pytest.fixture
def regions() -> Inventory:
    """A good fleet in two regions: the second has a main process of its own, which does not run."""
    fleet = Inventory()
    fleet.groups["all"] += ["hs3"]
    fleet.groups["homeserver"] += ["hs3"]
    fleet.groups["region_two"] = ["hs3", "db2"]
    fleet.groups["region_one"] = ["lb1", "hs1", "hs2", "db1", "cache1"]
    for process in fleet.processes:
        process["region"] = "one"
    fleet.processes.append({"name": "main", "host": "hs3", "region": "two"})
    fleet.addresses["homeserver"].append("10.1.0.11")
    fleet.addresses["postgresql"].append("db2")
    fleet.views["hs3"] = {**fleet.views["hs2"], "name": "hs3", "database_host": "db2"}
    for name, view in fleet.views.items():
        view.update(region="two" if name in fleet.groups["region_two"] else "one", active_region="one")
    return fleet


def test_a_good_fleet_in_two_regions_has_no_problem(regions: Inventory) -> None:
    assert regions.judge() == {"errors": [], "warnings": []}


def test_a_region_has_one_main_process(regions: Inventory) -> None:
    regions.processes[-1]["name"] = "worker9"
    regions.processes[-1]["port"] = 8081
    (error,) = regions.judge()["errors"]
    assert "there is no main process in region two" in error


def test_a_second_main_process_of_a_region_is_named(regions: Inventory) -> None:
    regions.processes.append({"name": "other", "kind": "main", "host": "hs2", "region": "one"})
    (error,) = regions.judge()["errors"]
    assert "main and other are main processes in region one" in error


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda fleet: fleet.processes[-2].pop("region"), "worker2 on hs2 has no region, and others have one"),
        (lambda fleet: fleet.processes[-2].update(region="two"), "its host hs2 is not in the group region_two"),
        (lambda fleet: fleet.groups.pop("region_two"), "the region two has no host"),
        (lambda fleet: fleet.views["db2"].update(region="three"), "matrixon_region: three, and the host is in the"),
        (lambda fleet: fleet.views["db2"].update(region=""), "matrixon_region: is missing, and the host"),
        (
            lambda fleet: [view.update(active_region="tow") for view in fleet.views.values()],
            "matrixon_active_region: tow has no process in matrixon_processes; there are one and two",
        ),
    ],
)
def test_what_does_not_fit_the_regions_is_named(
    regions: Inventory, spoil: t.Callable[[Inventory], object], words: str
) -> None:
    spoil(regions)
    assert any(words in error for error in regions.judge()["errors"])


def test_a_homeserver_that_serves_must_lead_to_the_primary(regions: Inventory) -> None:
    regions.views["hs3"]["active_region"] = "two"
    (warning,) = regions.judge()["warnings"]
    assert "db2 is not the primary" in warning
