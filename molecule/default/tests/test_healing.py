"""What an operator does to a running fleet: heal it, change one thing, read its health.

With MATRIXON_FLEET_TESTS=soak the main process moves, too, a setting changes without a restart, and check mode looks
at the whole fleet once more.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import pathlib
import time
import typing as t

import pytest

# The unit of each part, by host. Their start times tell what a run has touched.
UNITS = {
    "lb1": ["haproxy"],
    "hs1": ["matrix-synapse", "matrix-synapse-worker@worker1"],
    "hs2": ["matrix-synapse-worker@worker2", "matrix-synapse-worker@worker3"],
    "db1": ["postgresql@17-main"],
    "db2": ["postgresql@17-main"],
    "cache1": ["redis-server"],
}


@pytest.fixture(scope="module")
def starts(server: t.Any) -> t.Callable[[], dict[str, str]]:
    """When each part was started, in microseconds since its host's start."""

    def ask() -> dict[str, str]:
        found = {}
        for host, units in UNITS.items():
            for unit in units:
                done = server(host).run("systemctl show --value -p ExecMainStartTimestampMonotonic %s", unit)
                found[f"{host}/{unit}"] = done.stdout.strip()
        return found

    return ask


def touched(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {unit for unit in before if before[unit] != after[unit]}


@pytest.mark.soak
def test_check_mode_finds_nothing_to_do_on_a_running_fleet(playbook: t.Any) -> None:
    run = playbook("site", "--check")
    assert run.code == 0 and run.changed == set(), run.output


def test_what_was_stopped_is_healed_and_nothing_else_is_touched(
    server: t.Any, starts: t.Any, playbook: t.Any, people: t.Any, room: str, sql: t.Any, until: t.Any
) -> None:
    before = starts()
    for host, unit in (("hs2", "matrix-synapse-worker@worker2"), ("cache1", "redis-server")):
        assert server(host).run("systemctl stop %s", unit).rc == 0
    # The replication breaks off; its server brings it back by itself.
    sql("db1", "SELECT pg_terminate_backend(pid) FROM pg_stat_replication")

    run = playbook("site")
    assert run.code == 0, run.output
    # Nothing but the two starts, so this shows, too, that a second run changes nothing.
    changes = {host: counts["changed"] for host, counts in run.recap.items()}
    assert changes == {**dict.fromkeys(UNITS, 0), "hs2": 1, "cache1": 1}, run.output
    assert touched(before, starts()) == {"hs2/matrix-synapse-worker@worker2", "cache1/redis-server"}

    alice, bob = people
    body = {"msgtype": "m.text", "body": "healed"}
    event = alice.client.send(alice.token, room, f"healed{time.monotonic_ns()}", body)
    assert until(lambda: bob.call("GET", f"v3/rooms/{room}/event/{event}")["content"] == body, 20)
    assert until(lambda: sql("db2", f"SELECT count(*) FROM event_json WHERE event_id = '{event}'") == "1", 20)


def test_one_setting_restarts_what_it_concerns_one_at_a_time_behind_a_drain(
    starts: t.Any, playbook: t.Any, client_as: t.Any, people: t.Any, room: str, keep_asking: t.Any
) -> None:
    def upload_limit() -> int:
        return people[0].call("GET", "v1/media/config")["m.upload.size"]

    megabytes = 51 if upload_limit() != 51 * 2**20 else 52
    before = starts()
    # Short requests, reads of the database, and long polls: cut off, a poll is an error.
    stranger, (alice, bob) = client_as("matrix.fleet.test"), people
    since = bob.call("GET", "v3/sync", query={"timeout": 0})["next_batch"]
    askers = keep_asking(
        lambda: stranger.call("GET", "/_matrix/client/versions"),
        lambda: alice.call("GET", f"v3/rooms/{room}/messages", query={"dir": "b", "limit": 5}),
        lambda: bob.call("GET", "v3/sync", query={"since": since, "timeout": 5000}),
    )
    run = playbook("homeserver", "-e", json.dumps({"homeserver_settings": {"max_upload_size": f"{megabytes}M"}}))
    for asker in askers:
        asker.stop()
    assert run.code == 0, run.output
    after = starts()
    concerned = {f"{host}/{unit}" for host in ("hs1", "hs2") for unit in UNITS[host]}
    assert touched(before, after) == concerned
    times = sorted(int(after[unit]) for unit in concerned)
    gaps_s = [(later - earlier) / 1e6 for earlier, later in itertools.pairwise(times)]
    assert min(gaps_s) > 1, f"processes were started {gaps_s} s after each other"
    assert [asker.failures for asker in askers] == [[], [], []]
    assert min(asker.count for asker in askers) > 3
    assert upload_limit() == megabytes * 2**20


@pytest.mark.soak
def test_a_setting_that_needs_no_restart_restarts_nothing(starts: t.Any, playbook: t.Any, sql: t.Any) -> None:
    before, as_before = starts(), sql("db1", "SHOW work_mem")
    try:
        run = playbook("postgresql", "-e", json.dumps({"postgresql_settings": {"work_mem": "7MB"}}))
        assert run.code == 0, run.output
        assert sql("db1", "SHOW work_mem") == "7MB"
        assert sql("db2", "SHOW work_mem") == "7MB"
    finally:
        run = playbook("postgresql")
    assert run.code == 0, run.output
    assert sql("db1", "SHOW work_mem") == sql("db2", "SHOW work_mem") == as_before != "7MB"
    assert touched(before, starts()) == set()


def test_nobody_can_read_a_secret(server: t.Any, variables: dict) -> None:
    secrets = [value for name, value in variables.items() if name.endswith(("password", "secret", "_key"))]
    assert len(secrets) >= 8
    words = "\n".join(secrets)
    with concurrent.futures.ThreadPoolExecutor(len(UNITS)) as pool:
        search = "grep -rlsF -f /dev/stdin /etc /home /opt /run /srv /tmp /usr/local /var"
        command = f"printf '%s\\n' {json.dumps(words)} | setpriv --reuid 65534 --regid 65534 --clear-groups {search}"
        found = dict(zip(UNITS, pool.map(lambda name: server(name).run(command).stdout, UNITS), strict=True))
    assert found == dict.fromkeys(UNITS, "")


def test_health_is_green_and_saw_replication_and_haproxy(
    playbook: t.Any, people: t.Any, room: str, tmp_path: pathlib.Path
) -> None:
    alice, bob = people
    canary = {
        "matrixon_report_dir": str(tmp_path),
        "matrixon_canary_room_id": room,
        "matrixon_canary_sender_token": alice.token,
        "matrixon_canary_reader_token": bob.token,
    }
    run = playbook("health", "--become", "-e", json.dumps(canary))
    assert run.code == 0, run.output
    documents = [json.loads(path.read_text()) for path in tmp_path.rglob("*.json")]
    # Besides the report of each host there is that of the fleet.
    checks = {
        (document["target"], check["name"]): check["status"]
        for document in documents
        if "target" in document
        for check in document["checks"]
    }
    executed = {
        ("lb1", "haproxy_servers"),
        ("lb1", "canary"),
        ("db1", "postgresql_replication"),
        ("db1", "postgresql_slots"),
        ("db2", "postgresql_walreceiver"),
        ("db2", "postgresql_replay"),
        ("db1", "postgresql_primaries"),
        ("cache1", "redis_ping"),
        ("hs1", "units"),
        ("hs2", "units"),
    }
    assert {key: checks.get(key) for key in executed} == dict.fromkeys(executed, "ok")


def moment(server: t.Any, host: str, word: str) -> float:
    """When systemd last said a word about the main process of a host. All hosts here have one clock."""
    command = "journalctl --unit matrix-synapse.service --lines 1 --output json --grep %s"
    return int(json.loads(server(host).check_output(command, f"^{word} "))["__REALTIME_TIMESTAMP"]) / 1e6


@pytest.mark.soak
def test_a_main_process_that_moves_stops_on_its_old_host_before_it_starts_on_the_new(
    server: t.Any, playbook: t.Any, variables: dict, people: t.Any, room: str
) -> None:
    def runs(host: str) -> str:
        return server(host).run("systemctl is-active matrix-synapse.service").stdout.strip()

    moved = [
        {"name": "main", "host": "hs2", "address": "172.30.10.22"} if process["name"] == "main" else process
        for process in variables["matrixon_processes"]
    ]
    asked = ("-e", json.dumps({"matrixon_processes": moved}))
    try:
        # The old host is not visited, so its process cannot be stopped.
        run = playbook("homeserver", "--limit", "hs2", *asked)
        assert run.code == 2 and "hs1 still runs one" in " ".join(run.output.split()), run.output
        assert (runs("hs1"), runs("hs2")) == ("active", "inactive")
        # Not after a reboot either.
        assert server("hs2").run("systemctl is-enabled matrix-synapse.service").stdout.strip() == "disabled"

        run = playbook("site", *asked)
        assert run.code == 0, run.output
        assert (runs("hs1"), runs("hs2")) == ("inactive", "active")
        assert moment(server, "hs1", "Stopped") < moment(server, "hs2", "Starting")
        alice, bob = people
        body = {"msgtype": "m.text", "body": "moved"}
        event = alice.client.send(alice.token, room, f"moved{time.monotonic_ns()}", body)
        assert bob.call("GET", f"v3/rooms/{room}/event/{event}")["content"] == body
    finally:
        run = playbook("site")
    assert run.code == 0, run.output
    assert (runs("hs1"), runs("hs2")) == ("active", "inactive")
    assert moment(server, "hs2", "Stopped") < moment(server, "hs1", "Starting")
    assert playbook("site").changed == set()
