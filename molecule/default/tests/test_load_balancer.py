"""The public edge, as clients on both sides of its rules meet it."""

from __future__ import annotations

import csv
import http.client
import json
import socket
import ssl
import time
import typing as t

import pytest

ADDRESSES = ["172.30.10.11", "fd00:30:10::11"]
NAME = "matrix.fleet.test"
# From a host that no rule excepts: the answers' status, header and body.
ASK = """
import ssl, urllib.request
context = ssl.create_default_context(cafile="/etc/ssl/matrixon/ca.pem")
context.check_hostname = False
found = []
for method, path in given["requests"]:
    data = b"{}" if method == "POST" else None
    request = urllib.request.Request("https://172.30.10.11" + path, method=method, data=data)
    try:
        answer = urllib.request.urlopen(request, context=context, timeout=20)
    except urllib.error.HTTPError as error:
        answer = error
    found.append([answer.status, dict(answer.headers), answer.read().decode()])
print(json.dumps(found))
"""

METRICS = """
import urllib.request
print(json.dumps(urllib.request.urlopen("http://127.0.0.1:8404/metrics", timeout=10).read().decode()))
"""


def context(ca: str, oldest: ssl.TLSVersion, newest: ssl.TLSVersion) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=ca)
    # Python's own default would refuse old versions before the server can.
    made.set_ciphers("ALL:@SECLEVEL=0")
    made.minimum_version, made.maximum_version = oldest, newest
    made.set_alpn_protocols(["h2", "http/1.1"])
    return made


@pytest.mark.parametrize("port", [443, 8448])
@pytest.mark.parametrize("address", ADDRESSES)
def test_tls_is_modern(address: str, port: int, ca: str) -> None:
    def speak(oldest: ssl.TLSVersion, newest: ssl.TLSVersion) -> tuple[str | None, str | None]:
        plain = socket.create_connection((address, port), timeout=10)
        with context(ca, oldest, newest).wrap_socket(plain, server_hostname=NAME) as secure:
            return secure.version(), secure.selected_alpn_protocol()

    assert speak(ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3) == ("TLSv1.3", "h2")
    assert speak(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.MAXIMUM_SUPPORTED) == ("TLSv1.3", "h2")
    # The alert is the server's: this client would.
    for newest in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_1):
        with pytest.raises(ssl.SSLError, match="(?i)alert protocol version"):
            speak(ssl.TLSVersion.TLSv1, newest)


@pytest.mark.parametrize("address", ADDRESSES)
def test_plain_http_leads_to_https(address: str) -> None:
    connection = http.client.HTTPConnection(address, 80, timeout=10)
    connection.request("GET", "/_matrix/client/versions", headers={"Host": NAME})
    answer = connection.getresponse()
    assert answer.status in (301, 308)
    assert answer.headers["Location"] == f"https://{NAME}/_matrix/client/versions"


def test_federation_answers_on_its_port(client_at: t.Any) -> None:
    version = client_at(("172.30.10.11", 8448), "fleet.test").call("GET", "/_matrix/federation/v1/version")
    assert version["server"]["name"] == "Synapse"


def test_administration_is_for_its_networks(run_python: t.Any, client_as: t.Any) -> None:
    paths = ["/_synapse/admin/v1/register", "/_synapse/metrics", "/_matrix/client/versions"]
    found = run_python("cache1", ASK, requests=[["GET", path] for path in paths])
    assert [status for status, dummy, dummy in found] == [403, 403, 200]
    assert json.loads(found[0][2])["errcode"] == "M_FORBIDDEN"
    assert client_as(NAME).call("GET", "/_synapse/admin/v1/register")["nonce"]


def test_too_many_logins_are_told_to_wait(run_python: t.Any) -> None:
    found = run_python("cache1", ASK, requests=[["POST", "/_matrix/client/v3/login"]] * 40)
    statuses = [status for status, dummy, dummy in found]
    assert set(statuses[:20]) == {400} and statuses[-1] == 429, statuses
    headers, body = found[-1][1], json.loads(found[-1][2])
    assert body["errcode"] == "M_LIMIT_EXCEEDED" and body["retry_after_ms"] > 0
    assert int({name.lower(): value for name, value in headers.items()}["retry-after"]) > 0


def test_a_body_that_is_too_large_is_refused_by_its_length(ca: str) -> None:
    plain = socket.create_connection((ADDRESSES[0], 443), timeout=10)
    with ssl.create_default_context(cafile=ca).wrap_socket(plain, server_hostname=NAME) as secure:
        length = 50 * 2**20 + 1
        head = f"POST /_matrix/media/v3/upload HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {length}\r\n\r\n"
        secure.sendall(head.encode())
        answer = http.client.HTTPResponse(secure)
        answer.begin()
        assert answer.status == 413 and answer.headers["Access-Control-Allow-Origin"] == "*"
        assert json.loads(answer.read())["errcode"] == "M_TOO_LARGE"


def test_prometheus_reads_what_every_server_does(run_python: t.Any) -> None:
    text = run_python("lb1", METRICS)
    assert 'haproxy_server_status{proxy="homeserver_main",server="main",state="UP"} 1' in text
    assert 'haproxy_server_http_responses_total{proxy="homeserver_sync",server="worker1",code="2xx"}' in text


def test_a_client_cannot_name_its_own_address(people: t.Any, newcomer: t.Any, until: t.Any) -> None:
    # Nobody else uses this account: the canary of the health check comes from other addresses.
    (alice, _bob), mallory = people, newcomer("mallory")
    spoofed = {"Authorization": f"Bearer {mallory.token}", "X-Forwarded-For": "203.0.113.9"}
    for path in ("account/whoami", "joined_rooms"):
        status, answer = mallory.client.raw("GET", f"/_matrix/client/v3/{path}", None, spoofed)
        assert status == 200, answer

    def addresses() -> set[str]:
        answer = alice.client.call("GET", f"/_synapse/admin/v1/whois/{mallory.id}", alice.token)
        sessions = [session for device in answer["devices"].values() for session in device["sessions"]]
        return {connection["ip"] for session in sessions for connection in session["connections"]}

    assert until(lambda: "172.30.10.1" in addresses(), 30)
    # Addresses are written some seconds later.
    time.sleep(6)
    assert addresses() == {"172.30.10.1"}


def test_requests_go_to_who_answers_them(server: t.Any, people: t.Any) -> None:
    def totals() -> dict[tuple[str, str], int]:
        output = server("lb1").check_output("echo show stat | socat stdio UNIX-CONNECT:/run/haproxy/admin.sock")
        rows = csv.DictReader(output.removeprefix("# ").splitlines())
        return {(row["pxname"], row["svname"]): int(row["stot"] or 0) for row in rows}

    alice, _bob = people
    before = totals()
    for _round in range(3):
        alice.call("GET", "v3/sync", query={"timeout": 0})
        alice.client.call("GET", "/_synapse/admin/v1/server_version", alice.token)
    after = totals()
    grown = {key for key in after if after[key] > before.get(key, 0)}
    workers = [server for backend, server in grown if backend == "homeserver_sync" and server.startswith("worker")]
    # One user's syncs stay with one worker.
    assert len(workers) == 1
    assert ("homeserver_main", "main") in grown and ("homeserver_sync", "main") not in grown


def test_ten_reloads_lose_no_request(server: t.Any, people: t.Any, client_as: t.Any, keep_asking: t.Any) -> None:
    alice, bob = people
    since = bob.call("GET", "v3/sync", query={"timeout": 0})["next_batch"]
    askers = keep_asking(
        # A new connection each time, so that some meet the very moment of a reload.
        lambda: client_as(NAME).call("GET", "/_matrix/client/versions"),
        lambda: alice.call("GET", "v3/joined_rooms"),
        lambda: bob.call("GET", "v3/sync", query={"since": since, "timeout": 2000}),
    )
    host = server("lb1")
    for _round in range(10):
        assert host.run("systemctl reload haproxy").rc == 0
        time.sleep(0.5)
    for asker in askers:
        asker.stop()
    assert [asker.failures for asker in askers] == [[], [], []]
    assert min(asker.count for asker in askers) > 1


def test_a_drained_server_stays_drained_over_a_reload(server: t.Any) -> None:
    host, socket_path = server("lb1"), "/run/haproxy/admin.sock"

    def tell(words: str) -> str:
        return host.check_output("echo %s | socat stdio UNIX-CONNECT:%s", words, socket_path)

    tell("set server homeserver_general/worker3 state drain")
    try:
        assert host.run("systemctl reload haproxy").rc == 0
        assert "homeserver_general,worker3" in tell("show stat")
        row = next(line for line in tell("show stat").splitlines() if line.startswith("homeserver_general,worker3,"))
        assert ",DRAIN," in row
    finally:
        tell("set server homeserver_general/worker3 state ready")


def test_without_its_database_clients_are_told_at_once(server: t.Any, client_as: t.Any, until: t.Any) -> None:
    def ask() -> tuple[int, dict, float]:
        started = time.monotonic()
        status, answer = client_as(NAME).raw("GET", "/_matrix/client/v3/publicRooms", None, {})
        return status, json.loads(answer), time.monotonic() - started

    database = server("db1")
    assert database.run("systemctl stop postgresql@17-main").rc == 0
    try:
        assert until(lambda: ask()[0] == 503, 40)
        status, body, seconds = ask()
        assert (status, seconds < 2) == (503, True)
        assert body["errcode"].startswith("M_") and body["error"]
    finally:
        assert database.run("systemctl start postgresql@17-main").rc == 0
    assert until(lambda: ask()[0] in (200, 401), 60)


def test_a_worker_that_a_killed_run_left_drained_gets_requests_again(server: t.Any, playbook: t.Any) -> None:
    lb1 = server("lb1")

    def ask(words: str) -> str:
        return lb1.check_output("echo %s | socat -T5 stdio UNIX-CONNECT:/run/haproxy/admin.sock", words)

    def drained() -> set[str]:
        rows = [line.split() for line in ask("show servers state").splitlines()[2:] if line]
        return {row[1] for row in rows if row[3] == "worker2" and int(row[6]) & 8}

    backends = {line.split()[1] for line in ask("show servers state").splitlines()[2:] if " worker2 " in line}
    for backend in backends:
        ask(f"set server {backend}/worker2 state drain")
    assert drained() == backends and backends
    run = playbook("load_balancer")
    assert run.code == 0 and run.changed == {"lb1"}, run.output
    assert drained() == set()
    assert playbook("load_balancer").changed == set()
