"""What the report says of the fleet's hosts, beside what other tools say."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

REPORTS = pathlib.Path(__file__).resolve().parents[3] / "reports"
SLOW = "SELECT count(*), pg_sleep(0.3) FROM events WHERE room_id = 'slow'"


class Found(t.NamedTuple):
    """How the playbook ended, and the report of each host that it published."""

    code: int
    output: str
    hosts: dict[str, dict[str, t.Any]]

    def checks(self, host: str) -> dict[tuple[str, str], dict[str, t.Any]]:
        return {(check["name"], check["target"]): check for check in self.hosts[host]["checks"]}

    def status(self, host: str, name: str) -> str:
        (found,) = [check["status"] for check in self.hosts[host]["checks"] if check["name"] == name]
        return found

    def ranking(self, host: str, name: str) -> list[list[t.Any]]:
        tables = self.hosts[host]["facts"]["rankings"]
        return next((table["rows"] for table in tables if table["name"] == name), [])


@pytest.fixture(scope="module")
def look(playbook: t.Any) -> t.Callable[..., Found]:
    def call(*arguments: str) -> Found:
        # The machine under the hosts is busy with other things, which is no fault of the fleet.
        options = {"performance_interval": 4, "performance_fail_on": "never", "performance_detail": "full"}
        run = playbook("performance_report", "-e", json.dumps(options), *arguments)
        document = json.loads((REPORTS / "performance-molecule.json").read_text())
        assert document["kind"] == "performance", document
        return Found(run.code, run.output, {host["target"]: host for host in document["hosts"]})

    return call


@pytest.fixture(scope="module")
def fleet(look: t.Callable[..., Found], server: t.Any, sql: t.Any, until: t.Any) -> Found:
    """One run over the fleet, with a query on the primary that takes long."""
    db1 = server("db1")
    loop = f'for i in $(seq 200); do psql -XqAt -d synapse -c "{SLOW}" >/dev/null; done'
    db1.check_output("systemd-run --quiet --collect --unit=slow-query --uid=postgres sh -c %s", loop)
    try:
        ran = "SELECT count(*) > 0 FROM pg_stat_statements WHERE query LIKE '%pg_sleep($%'"
        assert until(lambda: sql("db1", ran) == "t", 30)
        found = look()
    finally:
        db1.run("systemctl stop slow-query.service")
    assert found.code == 0, found.output
    return found


def test_every_host_is_measured(fleet: Found) -> None:
    assert set(fleet.hosts) == {"lb1", "hs1", "hs2", "db1", "db2", "cache1"}
    for name in fleet.hosts:
        assert fleet.status(name, "memory") in ("ok", "warning", "critical"), name
        assert fleet.hosts[name]["facts"]["footprint"]["cpu_seconds"] > 0, name


def test_the_slow_query_is_found_first(fleet: Found) -> None:
    for name in ("queries_total", "queries_mean"):
        assert "pg_sleep" in fleet.ranking("db1", name)[0][0], fleet.ranking("db1", name)


def test_units_are_seen_on_the_hosts_where_they_run(fleet: Found) -> None:
    expected = {
        "lb1": {"haproxy.service"},
        "hs1": {"matrix-synapse.service", "matrix-synapse-worker@worker1.service"},
        "hs2": {"matrix-synapse-worker@worker2.service", "matrix-synapse-worker@worker3.service"},
        "db1": {"postgresql@17-main.service"},
        "cache1": {"redis-server.service"},
    }
    for host, units in expected.items():
        found = fleet.checks(host)
        for unit in units:
            assert found["process_memory", unit]["value"] > 1e6, (host, unit, found)
            assert found["process_cpu", unit]["status"] in ("ok", "warning"), (host, unit, found)


def test_each_process_shows_its_response_times(fleet: Found) -> None:
    for host, names in (("hs1", ("main", "worker1")), ("hs2", ("worker2", "worker3"))):
        assert {fleet.checks(host)["metrics", name]["status"] for name in names} == {"ok"}, host
        assert fleet.ranking(host, "endpoints_ever"), host


def test_the_settings_of_the_role_are_those_that_are_advised(fleet: Found) -> None:
    others = [row for row in fleet.ranking("db1", "tuning") if row[1] != "as advised"]
    assert others == [], others


def test_each_server_is_asked_itself(fleet: Found) -> None:
    assert fleet.hosts["db1"]["facts"]["postgresql"]["role"] == "primary"
    assert fleet.hosts["db2"]["facts"]["postgresql"]["role"] == "standby"


def test_connections_are_those_that_ss_counts(look: t.Callable[..., Found], server: t.Callable[[str], t.Any]) -> None:
    """Pools come and go, so ss is asked before and after."""
    db1 = server("db1")

    def counted() -> int:
        return int(db1.check_output("ss -Hnt state established 'sport = :5432' | wc -l"))

    before = counted()
    found = look("--limit", "db1")
    after = counted()
    told = found.checks("db1")["connections", "postgresql"]["value"]
    # The collector's own session has ended, or is just ending.
    assert min(before, after) <= told <= max(before, after) + 1, (before, told, after)


def test_check_mode_says_the_same_and_writes_nothing(look: t.Callable[..., Found]) -> None:
    report = REPORTS / "performance-molecule.json"
    before = report.stat().st_mtime_ns
    found = look("--check", "--limit", "cache1")
    assert found.code == 0, found.output
    assert report.stat().st_mtime_ns == before
