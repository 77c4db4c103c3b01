"""The homeserver's processes, each by itself."""

from __future__ import annotations

import json
import typing as t
import uuid

import pytest

PROCESSES = {
    "main": ("hs1", "matrix-synapse", 8008, 9000),
    "worker1": ("hs1", "matrix-synapse-worker@worker1", 8081, 9081),
    "worker2": ("hs2", "matrix-synapse-worker@worker2", 8082, 9082),
    "worker3": ("hs2", "matrix-synapse-worker@worker3", 8083, 9083),
}
ADDRESSES = {"hs1": "172.30.10.21", "hs2": "172.30.10.22"}
# The load balancer may speak to the processes; this machine may not.
CALL = """
import urllib.request
found = []
for call in given["calls"]:
    headers = {"Authorization": "Bearer " + call["token"]} if call.get("token") else {}
    data = json.dumps(call["body"]).encode() if "body" in call else None
    request = urllib.request.Request(call["url"], data=data, method=call.get("method", "GET"), headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=20)
    except urllib.error.HTTPError as error:
        answer = error
    found.append([answer.status, answer.read().decode()])
print(json.dumps(found))
"""


def url(name: str, path: str) -> str:
    host, _unit, port, _metrics = PROCESSES[name]
    return f"http://{ADDRESSES[host]}:{port}{path}"


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_answers_and_reads_the_database(run_python: t.Any, name: str) -> None:
    ready = "/_matrix/client/v3/directory/room/%23ready%3Afleet.test"
    found = run_python("lb1", CALL, calls=[{"url": url(name, "/health")}, {"url": url(name, ready)}])
    assert found[0] == [200, "OK"]
    assert found[1][0] == 404 and json.loads(found[1][1])["errcode"] == "M_NOT_FOUND"


def test_what_one_worker_takes_another_on_the_other_host_gives(
    run_python: t.Any, people: t.Any, room: str, until: t.Any
) -> None:
    alice, bob = people
    marker = uuid.uuid4().hex
    send = url("worker1", f"/_matrix/client/v3/rooms/{room}/send/m.room.message/{marker}")
    body = {"msgtype": "m.text", "body": marker}
    calls = [{"url": send, "method": "PUT", "token": alice.token, "body": body}]
    ((status, answer),) = run_python("lb1", CALL, calls=calls)
    assert status == 200, answer
    read = url("worker3", f"/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=5")

    def arrived() -> bool:
        ((status, answer),) = run_python("lb1", CALL, calls=[{"url": read, "token": bob.token}])
        return status == 200 and marker in answer

    assert until(arrived, 15)


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_may_do_little_and_counts_what_it_does(server: t.Any, run_python: t.Any, name: str) -> None:
    host_name, unit, _port, metrics = PROCESSES[name]
    host = server(host_name)
    names = ("User", "NoNewPrivileges", "ProtectSystem", "PrivateTmp", "UnitFileState", "Restart", "LimitNOFILE")
    shown = host.check_output(f"systemctl show -p {','.join(names)} {unit}")
    assert dict(line.split("=", 1) for line in shown.splitlines()) == {
        "User": "matrix-synapse",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "PrivateTmp": "yes",
        "UnitFileState": "enabled",
        "Restart": "on-failure",
        "LimitNOFILE": "200000",
    }
    ((status, text),) = run_python(host_name, CALL, calls=[{"url": f"http://127.0.0.1:{metrics}/_synapse/metrics"}])
    assert status == 200 and "synapse_build_info" in text


@pytest.mark.parametrize("name", ADDRESSES)
def test_no_secret_is_in_a_command_line_or_an_environment(server: t.Any, variables: dict, name: str) -> None:
    host = server(name)
    seen = host.check_output("ps axwwe -o args")
    for unit in (unit for host_name, unit, _port, _metrics in PROCESSES.values() if host_name == name):
        seen += host.check_output(f"systemctl show {unit}")
    secrets = {key: value for key, value in variables.items() if key.endswith(("password", "secret", "_key"))}
    assert len(secrets) >= 7
    # This search itself is not in the list: it runs here.
    assert [key for key, value in secrets.items() if value in seen] == []


@pytest.mark.parametrize("name", ADDRESSES)
def test_the_release_is_recorded(server: t.Any, name: str, variables: dict) -> None:
    host, release = server(name), f"/opt/matrix-synapse/releases/{variables['homeserver_version']}"
    assert host.check_output("readlink /opt/matrix-synapse/current") == release
    frozen = host.check_output(f"{release}/bin/python -m pip freeze").splitlines()
    recorded = host.check_output(f"cat {release}/constraints.txt").splitlines()
    assert f"matrix-synapse=={variables['homeserver_version']}" in frozen
    assert [line for line in recorded if line and not line.startswith("#")] == frozen


def test_a_setting_that_the_server_refuses_changes_nothing(server: t.Any, playbook: t.Any) -> None:
    def state() -> list[str]:
        return [
            server(host).check_output(
                "sha256sum /etc/matrix-synapse/*.yaml; systemctl show --value -p ExecMainStartTimestampMonotonic %s",
                unit,
            )
            for host, unit, _port, _metrics in PROCESSES.values()
        ]

    before = state()
    run = playbook("homeserver", "-e", json.dumps({"homeserver_settings": {"max_upload_size": "many"}}))
    assert run.code == 2, run.output
    assert "many" in run.output and "Configure the processes" in run.output
    assert state() == before


def test_check_mode_says_which_worker_it_would_remove(playbook: t.Any, variables: dict, server: t.Any) -> None:
    fewer = [process for process in variables["matrixon_processes"] if process["name"] != "worker3"]
    run = playbook("homeserver", "--check", "-e", json.dumps({"matrixon_processes": fewer}))
    assert run.code == 0, run.output
    assert "Would remove: matrix-synapse-worker@worker3.service" in " ".join(run.output.split())
    assert server("hs2").check_output("systemctl is-active matrix-synapse-worker@worker3") == "active"
