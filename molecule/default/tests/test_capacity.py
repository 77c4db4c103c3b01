"""What of the fleet fills up, read where it is, and kept on the controller."""

from __future__ import annotations

import csv
import json
import pathlib
import typing as t

import pytest

REPORTS = pathlib.Path(__file__).resolve().parents[3] / "reports"
HISTORY = "capacity_history_path={}"


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("capacity") / "history.csv"


@pytest.fixture(scope="module")
def fleet(playbook: t.Any, history: pathlib.Path) -> dict[str, t.Any]:
    run = playbook("capacity_report", "-e", HISTORY.format(history))
    assert run.code == 0, run.output
    return json.loads((REPORTS / "capacity-molecule.json").read_text())


def rows(history: pathlib.Path) -> dict[tuple[str, str], dict[str, str]]:
    with history.open(newline="") as file:
        return {(row["host"], row["resource"]): row for row in csv.DictReader(file)}


def test_every_host_is_read_and_only_the_primary_counts(fleet: dict[str, t.Any], history: pathlib.Path) -> None:
    found = rows(history)
    hosts = {"lb1", "hs1", "hs2", "db1", "db2", "cache1"}
    assert {host for host, resource in found if resource == "memory"} == hosts
    assert {host["target"] for host in fleet["hosts"]} == {*hosts, "controller"}
    for resource in ("users", "rooms", "events", "daily_active", "media_local", "database"):
        assert [host for host, name in found if name == resource] == ["db1"], resource
    standby = next(host for host in fleet["hosts"] if host["target"] == "db2")
    skipped = [check for check in standby["checks"] if check["status"] == "skipped"]
    assert {"capacity_users", "capacity_database"} <= {check["name"] for check in skipped}
    assert ("db2", "database_connections") in found


def test_numbers_are_those_of_the_database_and_the_system(
    fleet: dict[str, t.Any], history: pathlib.Path, sql: t.Callable[[str, str], str], server: t.Callable[[str], t.Any]
) -> None:
    found = rows(history)
    assert int(found["db1", "users"]["value"]) == int(sql("db1", "SELECT count(*) FROM users WHERE deactivated = 0"))
    size = int(sql("db1", "SELECT pg_database_size('synapse')"))
    assert int(found["db1", "database"]["value"]) == pytest.approx(size, rel=0.1)
    total = server("hs1").check_output("awk '/^MemTotal/ {print $2}' /proc/meminfo")
    assert int(found["hs1", "memory"]["limit"]) == int(total) * 1024
    assert {resource for host, resource in found if host == "hs1" and resource.startswith("service_connections:")} == {
        "service_connections:main",
        "service_connections:worker1",
    }


def test_check_mode_keeps_nothing_and_a_second_run_adds_to_the_first(
    fleet: dict[str, t.Any], playbook: t.Any, history: pathlib.Path
) -> None:
    before = history.read_text()
    run = playbook("capacity_report", "-e", HISTORY.format(history), "--check")
    assert run.code == 0, run.output
    assert history.read_text() == before
    run = playbook("capacity_report", "-e", HISTORY.format(history))
    assert run.code == 0, run.output
    after = history.read_text()
    assert after.startswith(before) and len(after.splitlines()) >= 2 * len(before.splitlines()) - 5
