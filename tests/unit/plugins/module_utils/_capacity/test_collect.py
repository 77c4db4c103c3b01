"""From options to rows: what is read becomes a row, what is not becomes an unknown check and none."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import socket
import typing as t

import jsonschema
import pytest

from ansible_collections.matrixon.ops.plugins.module_utils import _postgresql
from ansible_collections.matrixon.ops.plugins.module_utils._capacity import collect as module
from ansible_collections.matrixon.ops.plugins.module_utils._capacity import probes
from ansible_collections.matrixon.ops.plugins.module_utils._capacity.collect import Outcome, collect
from ansible_collections.matrixon.ops.plugins.module_utils._capacity.resources import parse_row
from ansible_collections.matrixon.ops.plugins.module_utils._health.options import read_secrets
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._probe import AUTH, Deadline, ProbeFailure

ROOT = pathlib.Path(__file__).resolve().parents[5]
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
NOW = datetime.datetime(2026, 11, 27, 9, 0, 0, 123456, tzinfo=datetime.timezone.utc)
HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def line(local: str, state: str) -> str:
    return f"   0: {local} 0100007F:A1B2 {state} 00000000:00000000 00:00000000 00000000     0        0 1 1 0\n"


@pytest.fixture
def root(tmp_path: pathlib.Path) -> str:
    """A tree of the kernel's files: 16 GB of memory of which 4 are used, load 1.5 on 2 cores, five connections."""
    files = {
        "proc/meminfo": "MemTotal: 16000000 kB\nMemFree: 1 kB\nMemAvailable: 12000000 kB\n",
        "proc/loadavg": "0.10 0.50 1.50 2/345 6789\n",
        "proc/stat": "cpu  1 2 3\ncpu0 1 2 3\ncpu1 1 2 3\nintr 5\n",
        # 1F48 is 8008, 1F91 is 8081. Only established ones count, and not those to other ports.
        "proc/net/tcp": HEAD
        + line("0100007F:1F48", "0A")
        + line("0100007F:1F48", "01") * 2
        + line("0100007F:1F48", "06")
        + line("0100007F:1F49", "01"),
        "proc/net/tcp6": HEAD + line("00000000000000000000000001000000:1F48", "01") * 3,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return str(tmp_path)


def options(**changes: t.Any) -> dict[str, t.Any]:
    return {
        "target": "hs1",
        "deployment": "example",
        "profile": "synapse",
        "unknown_as": "unknown",
        "mounts": [],
        "media_dir": None,
        "machine": False,
        "instances": [],
        "instance_limit": 150000,
        "postgresql": None,
        "queries": {},
        "tables": 10,
        "limits": {},
        "thresholds": {},
        "timeout": 5,
        "deadline": 5,
        **changes,
    }


def run(root: str = "/", **changes: t.Any) -> Outcome:
    outcome = collect(options(**changes), NOW, root=root)
    document = outcome.report.as_dict("full")
    jsonschema.validate(document, SCHEMA)
    assert [parse_row(row) for row in document["facts"]["rows"]] == outcome.rows
    return outcome


def values(outcome: Outcome) -> dict[str, tuple[float, float | None]]:
    return {row.resource: (row.value, row.limit) for row in outcome.rows}


def verdicts(outcome: Outcome) -> dict[tuple[str, str], str]:
    return {(check.name, check.target): check.status for check in outcome.report.checks}


def test_memory_load_and_connections_are_read(root: str) -> None:
    instances = [{"name": "main", "url": "http://127.0.0.1:8008"}, {"name": "worker1", "url": "http://127.0.0.1:8081"}]
    outcome = run(root, machine=True, instances=instances)
    assert values(outcome) == {
        "load": (1.5, 2),
        "memory": (4000000 * 1024, 16000000 * 1024),
        "service_connections:main": (5, 150000),
        "service_connections:worker1": (0, 150000),
    }
    assert {row.unit for row in outcome.rows} == {"B", "count"}
    assert {row.time for row in outcome.rows} == {NOW.replace(microsecond=0)}
    (load,) = [check for check in outcome.report.checks if check.name == "capacity_load"]
    assert (load.status, load.message) == ("warning", "load: 1.5 of 2 cores, 75 % now")
    assert verdicts(outcome)[("capacity_service_connections", "main")] == "ok"


@pytest.mark.parametrize(("available", "status"), [(3_200_001, "ok"), (3_200_000, "warning"), (800_000, "critical")])
def test_the_guides_share_of_memory_is_a_warning(root: str, available: int, status: str) -> None:
    meminfo = pathlib.Path(root, "proc/meminfo")
    meminfo.write_text(f"MemTotal: 16000000 kB\nMemAvailable: {available} kB\n")
    assert verdicts(run(root, machine=True))[("capacity_memory", "hs1")] == status


def test_thresholds_can_be_given(root: str) -> None:
    found = run(root, machine=True, thresholds={"memory": {"warning": 20, "critical": 25}})
    (check,) = [one for one in found.report.checks if one.name == "capacity_memory"]
    assert (check.status, check.value, check.warning, check.critical) == ("critical", 25, 20, 25)


def test_what_fails_gives_no_row_and_the_rest_is_there(root: str) -> None:
    pathlib.Path(root, "proc/meminfo").write_text("nonsense\n")
    outcome = run(root, machine=True)
    assert values(outcome) == {"load": (1.5, 2)}
    (check,) = [one for one in outcome.report.checks if one.name == "capacity_memory"]
    assert (check.status, check.error_kind, check.value) == ("unknown", "parse", None)
    assert outcome.report.status == "unknown"


def test_a_file_system_is_read_once_whatever_paths_lead_to_it(tmp_path: pathlib.Path) -> None:
    (tmp_path / "media").mkdir()
    outcome = run(mounts=[str(tmp_path), str(tmp_path / "media")], media_dir=str(tmp_path / "media"))
    (disk,) = [row for row in outcome.rows if row.kind.name == "disk"]
    stat = os.statvfs(tmp_path)
    assert disk.value == pytest.approx((stat.f_blocks - stat.f_bfree) * stat.f_frsize, rel=0.01)
    assert disk.limit is not None and disk.value <= disk.limit
    mount = disk.resource.partition(":")[2]
    assert os.path.ismount(mount)
    assert outcome.report.facts["file_systems"] == {str(tmp_path): mount, "media": mount}
    assert len([name for name, _target in verdicts(outcome) if name == "capacity_disk"]) == 1


def test_a_mount_that_is_missing_is_unknown_and_gives_no_row() -> None:
    outcome = run(mounts=["/nowhere/at/all"])
    assert outcome.rows == []
    assert verdicts(outcome) == {
        ("capacity_disk", "/nowhere/at/all"): "unknown",
        ("capacity_inodes", "/nowhere/at/all"): "unknown",
    }


def test_a_reading_that_hangs_does_not_take_the_others(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = socket.socketpair()

    def hang(path: str, what: str, deadline: Deadline, root: str = "/") -> probes.Facts:
        stopped[0].recv(1)
        return {"found": {"disk:/late": probes.Reading(1, 2)}}

    monkeypatch.setattr(probes, "file_systems", hang)
    outcome = run(root, mounts=["/srv"], machine=True, deadline=0.5, timeout=0.4)
    stopped[1].send(b"x")
    assert verdicts(outcome)[("capacity_disk", "/srv")] == "unknown"
    assert set(values(outcome)) == {"load", "memory"}


# PostgreSQL -------------------------------------------------------------------------------------------------------

SERVER = {
    "host": "127.0.0.1",
    "port": 5432,
    "database": "synapse",
    "user": "monitor",
    "password": "m",
    "password_file": None,
    "sslmode": "prefer",
    "ca_file": None,
}
QUERIES = {
    "users": {"state": "tested", "value": "SELECT users"},
    "rooms": {"state": "tested", "value": "SELECT rooms"},
    "events": {"state": "unsupported", "reason": "it has none"},
}


class FakeSession:
    """Answers from a table; a failure in it is raised."""

    def __init__(self, answers: dict[str, t.Any]) -> None:
        self.answers = answers

    def __enter__(self) -> FakeSession:
        return self

    def __exit__(self, *_exception: object) -> None:
        return None

    def rows(self, sql: str) -> list[dict[str, t.Any]]:
        found = next(answer for part, answer in self.answers.items() if part in sql)
        if isinstance(found, ProbeFailure):
            raise found
        return t.cast("list[dict[str, t.Any]]", found)

    def row(self, sql: str) -> dict[str, t.Any]:
        return self.rows(sql)[0]


def serve(monkeypatch: pytest.MonkeyPatch, **changes: t.Any) -> list[str]:
    """Let sessions answer as a healthy primary, with these changes; return who logged in."""
    answers: dict[str, t.Any] = {
        "pg_is_in_recovery": [{"standby": False, "sees": True}],
        "max_connections": [{"value": 20, "usable": 97}],
        "pg_database_size": [{"value": 5_000_000}],
        "pg_total_relation_size": [
            {"schema": "public", "name": "events", "value": 3000},
            {"schema": "other", "name": "big", "value": 1000},
        ],
        "SELECT users": [{"count": 12}],
        "SELECT rooms": [{"count": 3}],
        **changes,
    }
    users: list[str] = []

    def connect(server: _postgresql.Server, _deadline: Deadline) -> FakeSession:
        users.append(server.user)
        return FakeSession(answers)

    monkeypatch.setattr(_postgresql, "connect", connect)
    return users


def test_a_primary_tells_sizes_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    users = serve(monkeypatch)
    outcome = run(postgresql=dict(SERVER), queries=QUERIES, limits={"users": 1000, "database": 1e9})
    assert values(outcome) == {
        "database": (5_000_000, 1e9),
        "database_connections": (20, 97),
        "rooms": (3, None),
        "table:events": (3000, None),
        "table:other.big": (1000, None),
        "users": (12, 1000),
    }
    # One session, which would be counted itself if there were a second.
    assert users == ["monitor"]
    (skipped,) = [check for check in outcome.report.checks if check.status == "skipped"]
    assert (skipped.name, skipped.skipped_reason) == (
        "capacity_events",
        "profile synapse cannot tell: it has none",
    )
    (table,) = outcome.report.facts["rankings"]
    assert table["rows"] == [["events", 3000], ["other.big", 1000]]


def test_a_query_that_is_refused_is_unknown_and_the_others_count(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, **{"SELECT users": ProbeFailure(AUTH, "permission denied for table users")})
    outcome = run(postgresql=dict(SERVER), queries=QUERIES)
    (check,) = [one for one in outcome.report.checks if one.name == "capacity_users"]
    assert (check.status, check.error_kind) == ("unknown", "auth")
    assert check.message == "not measured: permission denied for table users"
    assert {"rooms", "database"} <= set(values(outcome)) and "users" not in values(outcome)


@pytest.mark.parametrize("answer", [[], [{"a": 1, "b": 2}], [{"a": None}], [{"a": "many"}], [{"a": 1}, {"a": 2}]])
def test_a_query_that_gives_no_number_gives_no_row(monkeypatch: pytest.MonkeyPatch, answer: t.Any) -> None:
    serve(monkeypatch, **{"SELECT rooms": answer})
    outcome = run(postgresql=dict(SERVER), queries=QUERIES)
    (check,) = [one for one in outcome.report.checks if one.name == "capacity_rooms"]
    assert (check.status, check.error_kind) == ("unknown", "parse")
    assert "rooms" not in values(outcome)


def test_a_standby_is_asked_for_its_connections_only(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, pg_is_in_recovery=[{"standby": True, "sees": True}])
    outcome = run(postgresql=dict(SERVER), queries=QUERIES)
    assert set(values(outcome)) == {"database_connections"}
    found = {check.name: check.status for check in outcome.report.checks}
    assert found == {
        "capacity_database_connections": "ok",
        **dict.fromkeys(("capacity_database", "capacity_table", "capacity_users", "capacity_rooms"), "skipped"),
        "capacity_events": "skipped",
    }


def test_a_login_that_cannot_see_others_does_not_count_its_own_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, pg_is_in_recovery=[{"standby": False, "sees": False}])
    outcome = run(postgresql=dict(SERVER))
    (check,) = [one for one in outcome.report.checks if one.name == "capacity_database_connections"]
    assert (check.status, check.error_kind) == ("unknown", "auth")
    assert check.message.endswith("GRANT pg_monitor TO monitor")
    assert "database_connections" not in values(outcome)


# Options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({}, "mounts: nothing is left to read"),
        ({"mounts": ["var"]}, "mounts: 'var' is no absolute path"),
        ({"machine": True, "deployment": " "}, "deployment: it is empty"),
        ({"machine": True, "deadline": 0}, "deadline: 0 is no time to wait"),
        ({"machine": True, "tables": 0}, "tables: 0 cannot be read; give a number from 1 to 100"),
        ({"machine": True, "instance_limit": 0}, "instance_limit: 0 is no number of connections"),
        ({"instances": [{"name": "a", "url": "8008"}]}, "instances.a.url: '8008' cannot be used"),
        ({"instances": [{"name": "a", "url": "http://h"}] * 2}, "instances: a stands there twice"),
        ({"machine": True, "queries": {"users": QUERIES["users"]}}, "queries: they need a database"),
        ({"postgresql": SERVER, "queries": {"cats": QUERIES["users"]}}, "queries: 'cats' is not counted"),
        ({"postgresql": SERVER, "queries": {"users": "SELECT"}}, "queries.users: 'SELECT' is not understood"),
        ({"postgresql": SERVER, "queries": {"users": {"state": "tested"}}}, "queries.users: it has no value"),
        ({"postgresql": {**SERVER, "port": 0}}, "postgresql.port: 0 is not a port"),
        ({"postgresql": {**SERVER, "user": ""}}, "postgresql.user: it is empty; give the user to connect to"),
        ({"postgresql": {**SERVER, "sslmode": "verify-ca"}}, "postgresql.sslmode: verify-ca needs certificates"),
        ({"machine": True, "limits": {"disk": 5}}, "limits: 'disk' cannot be given a limit"),
        ({"machine": True, "thresholds": {"users": {"full": 5}}}, "thresholds: 'users' has no thresholds"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_read(changes: dict[str, t.Any], what: str) -> None:
    with pytest.raises(OptionErrors) as caught:
        collect(options(**changes), NOW)
    assert what in str(caught.value)


def test_secrets_come_from_files(tmp_path: pathlib.Path) -> None:
    (tmp_path / "password").write_text("from a file\n")
    given = {"postgresql": {**SERVER, "password_file": str(tmp_path / "password")}}
    assert read_secrets(given, module.SECRETS) == ["from a file"]
    assert given["postgresql"]["password"] == "from a file"
    (tmp_path / "password").write_text("\n")
    with pytest.raises(OptionErrors, match="postgresql.password_file: .* cannot be read: the file is empty"):
        read_secrets(given, module.SECRETS)
    with pytest.raises(OptionErrors, match="cannot be read: No such file or directory"):
        read_secrets({"postgresql": {**SERVER, "password_file": "/nowhere"}}, module.SECRETS)
