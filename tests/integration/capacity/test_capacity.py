"""What is read of the lab is what others say of it, and both histories keep it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import typing as t

import jsonschema
import pytest
from capacity_ask import ROOT, Database, admin, call, check, read, upload, values

from ansible_collections.matrixon.ops.plugins.module_utils._capacity.store_postgresql import LOCK

pytestmark = pytest.mark.integration

SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
COUNTED = ("users", "rooms", "events", "daily_active", "media_local", "media_remote")


def test_users_rooms_and_sizes_are_what_the_admin_api_and_sql_say(lab: t.Any, operations: Database) -> None:
    document = read(lab)
    jsonschema.validate(document["report"], SCHEMA)
    assert document["changed"] is False
    found = values(document)
    assert found["users"] == admin(lab, "/_synapse/admin/v2/users?from=0&limit=1&deactivated=false")["total"] > 3
    assert found["rooms"] == admin(lab, "/_synapse/admin/v1/rooms?limit=1")["total_rooms"] > 3

    def sql(statement: str) -> t.Any:
        return operations.ask(statement, "synapse")[0][0]

    assert found["events"] == pytest.approx(sql("SELECT count(*) FROM events"), rel=0.25)
    assert found["daily_active"] == sql("SELECT count(DISTINCT user_id) FROM user_ips") > 0
    assert found["database"] == pytest.approx(sql("SELECT pg_database_size('synapse')"), rel=0.05)
    assert found["table:events"] == pytest.approx(sql("SELECT pg_total_relation_size('events')"), rel=0.1)
    largest = [row["resource"] for row in document["rows"] if row["resource"].startswith("table:")]
    assert len(largest) == 10
    limit = {row["resource"]: row["limit"] for row in document["rows"]}["database_connections"]
    assert limit == int(sql("SHOW max_connections")) - int(sql("SHOW superuser_reserved_connections"))


def test_media_grow_by_what_is_put_up(lab: t.Any) -> None:
    before = values(read(lab))["media_local"]
    upload(lab, os.urandom(54321))
    assert values(read(lab))["media_local"] == before + 54321


def test_connections_are_those_that_ss_counts(lab: t.Any) -> None:
    port = lab.facts["ports"]["worker2"]

    def counted() -> int:
        argv = ["ss", "-Htn", "state", "established", "sport", "=", f":{port}"]
        return len(subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines())

    with contextlib.ExitStack() as held:
        for _number in range(25):
            held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        # HAProxy asks for its health in between, so it may take more than one look.
        for _attempt in range(10):
            before, found, after = counted(), values(read(lab, queries={}))["service_connections:worker2"], counted()
            assert found >= 25
            if found == before == after:
                break
        assert found == before == after


def test_what_the_database_refuses_is_unknown_and_gives_no_row(lab: t.Any) -> None:
    # The monitor's login may see sizes and not the homeserver's tables.
    document = read(lab, postgresql={"user": "monitor", "password_file": lab.secret("monitor_password")})
    assert "database" in values(document) and not set(COUNTED) & set(values(document))
    for name in COUNTED:
        found = check(document, f"capacity_{name}")
        assert (found["status"], found["error_kind"]) == ("unknown", "auth"), found
        assert "permission denied" in found["message"]


def test_a_server_that_is_not_there_takes_nothing_else_with_it(lab: t.Any) -> None:
    document = read(lab, postgresql={"port": lab.facts["ports"]["standby"]})
    assert check(document, "capacity_database")["error_kind"] == "refused"
    kinds = {resource.partition(":")[0] for resource in values(document)}
    assert {"disk", "memory", "load", "service_connections"} <= kinds
    assert not kinds & {"database", "table", *COUNTED}


def test_a_database_keeps_the_history(operations: Database) -> None:
    report = call("info", target="lab", mounts=["/"])["report"]
    given = {"target": "controller", "documents": [report], "postgresql": operations.options}
    refused = call("history", **given)
    assert check(refused, "capacity_history_rows")["status"] == "unknown"
    assert "is not there; give create=true once" in refused["msg"]
    would = call("history", check_mode=True, create=True, **given)
    assert (would["changed"], would["added"]) == (True, len(report["facts"]["rows"]))
    assert operations.ask("SELECT to_regclass('matrixon_capacity.readings')") == [(None,)]
    first = call("history", create=True, **given)
    assert (first["changed"], first["added"]) == (True, len(report["facts"]["rows"]))
    second = call("history", **given)
    assert (second["changed"], second["added"], second["known"]) == (False, 0, first["added"])
    assert operations.ask("SELECT count(*) FROM matrixon_capacity.readings") == [(first["added"],)]
    ahead = call("forecast", **given)
    assert check({"report": ahead["documents"][-1]}, "capacity_history")["value"] == first["added"]
    assert "1 day, and the window is 28" in ahead["answer"]


def test_good_checks_of_a_history_come_with_their_message_where_that_is_asked_for(tmp_path: pathlib.Path) -> None:
    report = call("info", target="lab", mounts=["/"])["report"]
    given = {"target": "controller", "documents": [report], "path": str(tmp_path / "capacity.csv")}
    short, full = (call("history", **given, detail=detail) for detail in ("problems", "full"))
    assert "message" not in check(short, "capacity_history_rows")
    assert check(full, "capacity_history_rows")["message"] == full["msg"]
    short, full = (call("forecast", **given, detail=detail)["documents"][-1] for detail in ("problems", "full"))
    assert "message" not in check({"report": short}, "capacity_history")
    assert "holds" in check({"report": full}, "capacity_history")["message"]


def test_many_runs_at_once_keep_each_row_once(operations: Database) -> None:
    report = call("info", target="lab", mounts=["/"])["report"]
    given = {"target": "controller", "documents": [report], "postgresql": operations.options, "create": True}
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _number: call("history", **given), range(4)))
    assert {one["report"]["status"] for one in found} == {"ok"}
    rows = len(report["facts"]["rows"])
    # The first one adds them, and the others say that they came later.
    assert sorted((one["changed"], one["added"], one["known"]) for one in found) == [
        *[(False, 0, rows)] * 3,
        (True, rows, 0),
    ]
    assert operations.ask("SELECT count(*) FROM matrixon_capacity.readings") == [(rows,)]


def test_a_lock_that_another_run_holds_is_given_up_on(operations: Database) -> None:
    report = call("info", target="lab", mounts=["/"])["report"]
    given = {"target": "controller", "documents": [report], "postgresql": operations.options, "create": True}
    with operations.holding(LOCK):
        refused = call("history", deadline=1, **given)
    assert check(refused, "capacity_history_rows")["error_kind"] == "timeout"
    assert refused["msg"].startswith("nothing was added: ")
    assert operations.ask("SELECT to_regclass('matrixon_capacity.readings')") == [(None,)]


def test_a_table_of_somebody_else_is_left_alone(operations: Database) -> None:
    operations.ask("CREATE SCHEMA matrixon_capacity")
    operations.ask("CREATE TABLE matrixon_capacity.readings (what text)")
    report = call("info", target="lab", mounts=["/"])["report"]
    given = {"target": "controller", "documents": [report], "postgresql": operations.options, "create": True}
    assert "has other columns and was left alone: what" in call("history", **given)["msg"]
    assert operations.ask("SELECT count(*) FROM matrixon_capacity.readings") == [(0,)]


def _play(lab: t.Any, reports: pathlib.Path, *arguments: str) -> str:
    variables = json.dumps({"matrixon_report_dir": str(reports), "ansible_become": False})
    argv = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", str(ROOT / "inventories/lab")]
    done = subprocess.run(
        [*argv, str(ROOT / "playbooks/capacity_report.yml"), "-e", variables, *arguments],
        cwd=ROOT,
        env={**lab.environment, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stderr
    return done.stdout


def test_the_playbook_keeps_what_it_read_and_publishes_once(lab: t.Any, tmp_path: pathlib.Path) -> None:
    reports = tmp_path / "reports"
    _play(lab, reports, "--check")
    assert not reports.exists()
    printed = _play(lab, reports)
    # The directory, the history and the page are the controller's; no host is changed.
    assert printed.count("changed: [") == 3
    lines = (reports / "capacity/lab.csv").read_text().splitlines()
    fleet = json.loads((reports / "capacity-lab.json").read_text())
    assert {host["target"] for host in fleet["hosts"]} == {"lab-lb", "lab-hs", "lab-db", "lab-cache", "controller"}
    assert len(lines) == 1 + sum(len(host.get("facts", {}).get("rows", [])) for host in fleet["hosts"])
    assert (reports / "capacity-lab.html").read_text().startswith("<!DOCTYPE html>")
    assert fleet["status"] in ("ok", "warning")
