"""The lab keeps its word: it is up only when it works, and down leaves nothing.

Everything is looked at from outside: /proc, sockets and HTTP, not the lab's own code.
Its own names and ports, so that it can run beside a standing lab.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pathlib
import pwd
import signal
import socket
import ssl
import subprocess
import sys
import time
import uuid

import psycopg2
import pytest

pytestmark = pytest.mark.integration

CLI = pathlib.Path(__file__).resolve().parents[2] / "lab" / "lab.py"
BASES = {"itest-a": 28000, "itest-b": 29000, "itest-c": 30000}
SERVICES = {"postgresql", "redis", "main", "worker1", "worker2", "haproxy"}
ROOT = os.geteuid() == 0


def command(name: str, *arguments: str) -> list[str]:
    base = str(BASES[name])
    return [sys.executable, str(CLI), "--name", name, "--port-base", base, *arguments]


def environment() -> dict[str, str]:
    """A lab that stands in the caller's environment must not be the one that is tested."""
    return {key: value for key, value in os.environ.items() if not key.startswith("MATRIXON_LAB_")}


def lab(name: str, *arguments: str, expect: int | None = 0) -> subprocess.CompletedProcess:
    done = subprocess.run(
        command(name, *arguments), env=environment(), capture_output=True, text=True, timeout=180, check=False
    )
    if expect is not None:
        assert done.returncode == expect, f"{arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done


def directory(name: str) -> pathlib.Path:
    return pathlib.Path(f"/var/tmp/matrixon-lab-{name}")


def facts(name: str) -> dict:
    return json.loads((directory(name) / "facts.json").read_text())


def secret(name: str, which: str) -> str:
    return (directory(name) / "secrets" / which).read_text().strip()


def rows(name: str) -> dict[str, dict]:
    state = json.loads(lab(name, "status", "--json", expect=None).stdout)
    return {row["service"]: row for row in state["services"]}


def unhealthy(name: str) -> set[str]:
    return {key for key, row in rows(name).items() if row["state"] != "absent" and not row["healthy"]}


def everyone() -> dict[int, tuple[str, int, int, str]]:
    """pid -> (command line, uid, parent, state) of all that is alive."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            status = dict(line.split(":\t", 1) for line in (entry / "status").read_text().splitlines() if ":\t" in line)
            if not status["State"].startswith("Z"):
                uid = int(status["Uid"].split()[0])
                found[int(entry.name)] = (words, uid, int(status["PPid"]), status["State"][0])
    return found


def of_lab(name: str) -> dict[int, tuple[str, int, int, str]]:
    """Processes that name the lab's directory, and their children."""
    table = everyone()
    mine = {pid: row for pid, row in table.items() if f"{directory(name)}/" in row[0]}
    for dummy in range(3):
        mine.update({pid: row for pid, row in table.items() if row[2] in mine})
    return {pid: row for pid, row in mine.items() if str(CLI) not in row[0]}


def ask(name: str, method: str, path: str, token: str | None = None, body: dict | None = None) -> tuple[int, dict]:
    """Through HAProxy, with the certificate checked."""
    known = facts(name)
    context = ssl.create_default_context(cafile=known["ca_file"])
    connection = http.client.HTTPSConnection("localhost", known["ports"]["https"], timeout=15, context=context)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def send(name: str, text: str) -> str:
    room = facts(name)["canary_room_id"]
    path = f"/_matrix/client/v3/rooms/{room}/send/m.room.message/{uuid.uuid4().hex}"
    status, answer = ask(name, "PUT", path, secret(name, "canary_sender_token"), {"msgtype": "m.text", "body": text})
    assert status == 200, answer
    return text


def texts(name: str) -> list[str]:
    room = facts(name)["canary_room_id"]
    path = f"/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=50"
    status, answer = ask(name, "GET", path, secret(name, "canary_reader_token"))
    assert status == 200, answer
    return [event["content"].get("body") for event in answer["chunk"]]


@pytest.fixture(scope="module")
def two_labs():
    names = ("itest-a", "itest-b")
    for name in BASES:  # A killed earlier run may have left something.
        lab(name, "down")
    running = [
        subprocess.Popen(
            command(name, "up", "--messages", "8"), env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        for name in names
    ]
    try:
        for name, process in zip(names, running, strict=True):
            dummy, errors = process.communicate(timeout=600)
            assert process.returncode == 0, f"{name}: {errors.decode()}"
        yield names
    finally:
        for process in running:
            process.kill()
        for name in BASES:
            lab(name, "down")


def test_every_service_answers(two_labs):
    for name in two_labs:
        known = rows(name)
        assert {key for key, row in known.items() if row["healthy"]} == SERVICES
        assert known["standby"]["state"] == "absent"
        status, answer = ask(name, "GET", "/_matrix/client/versions")
        assert status == 200 and answer["versions"]
        assert ask(name, "GET", "/.well-known/matrix/server")[1]["m.server"] == facts(name)["delegation"]
        assert any(text and text.startswith("lab up ") for text in texts(name))


def test_side_by_side_they_are_two(two_labs):
    first, second = two_labs
    assert facts(first)["canary_room_id"] != facts(second)["canary_room_id"]
    status, answer = ask(second, "GET", "/_matrix/client/v3/account/whoami", secret(first, "alice_token"))
    assert (status, answer["errcode"]) == (401, "M_UNKNOWN_TOKEN")
    lab(first, "stop", "redis")
    assert "redis" in unhealthy(first)
    assert lab(first, "status", expect=1)
    assert unhealthy(second) == set()
    lab(first, "start", "redis")
    assert unhealthy(first) == set()


def test_seed_is_whole(two_labs):
    known = facts(two_labs[0])
    media = directory(two_labs[0]) / "synapse" / "media_store" / "local_content"
    on_disk = {"".join(path.relative_to(media).parts) for path in media.rglob("*") if path.is_file()}
    assert len(known["media"]) >= 10
    assert {uri.rpartition("/")[2] for uri in known["media"]} == on_disk
    status, answer = ask(two_labs[0], "GET", "/_synapse/admin/v2/users", secret(two_labs[0], "admin_token"))
    assert status == 200, answer
    assert {user["name"] for user in answer["users"]} == set(known["users"].values())


def test_services_do_not_run_as_root(two_labs):
    for name in two_labs:
        found = of_lab(name)
        assert len(found) > len(SERVICES)
        wanted = pwd.getpwnam(f"mxlab-{name}").pw_uid if ROOT else os.geteuid()
        assert {row[1] for row in found.values()} == {wanted}
        assert not ROOT or wanted != 0


def test_secrets_stay_in_their_files(two_labs):
    place = directory(two_labs[0]) / "secrets"
    assert place.stat().st_mode & 0o777 == 0o700
    values = {}
    for path in place.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path
        values[path.name] = path.read_text().strip()
    assert {"monitor_password", "redis_password", "admin_token", "canary_sender_token"} <= set(values)
    shown = "\n".join(row[0] for row in everyone().values()) + json.dumps(facts(two_labs[0]))
    assert [name for name, value in values.items() if value in shown] == []


def test_up_twice_is_harmless(two_labs):
    name = two_labs[0]
    text = send(name, f"before the second up {uuid.uuid4()}")
    before, leaders = facts(name), of_lab(name)
    lab(name, "up", "--messages", "8")
    after = facts(name)
    assert after == before
    assert set(before["pids"].values()) - {None} <= set(leaders) & set(of_lab(name))
    assert text in texts(name)


def test_a_frozen_database_is_seen_and_thaws(two_labs):
    name = two_labs[0]
    lab(name, "freeze", "postgresql")
    states = {row[3] for row in of_lab(name).values() if "postgres" in row[0].split()[0]}
    assert states == {"T"}
    started = time.monotonic()
    known = rows(name)
    assert time.monotonic() - started < 10
    assert known["postgresql"]["state"] == "frozen" and not known["postgresql"]["healthy"]
    assert known["redis"]["healthy"]
    lab(name, "thaw", "postgresql")
    assert unhealthy(name) == set()
    assert texts(name)


def test_up_heals_a_lab_that_was_killed(two_labs):
    name = two_labs[1]
    text = send(name, f"before the crash {uuid.uuid4()}")
    for pid in of_lab(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    # A recycled pid: postmaster.pid names a live process of the same user that is no postgres.
    account = {"user": pwd.getpwnam(f"mxlab-{name}").pw_uid} if ROOT else {}
    bystander = subprocess.Popen(["sleep", "120"], **account)
    stale = directory(name) / "pg" / "postmaster.pid"
    stale.write_text(stale.read_text().replace(str(facts(name)["pids"]["postgresql"]), str(bystander.pid), 1))
    try:
        assert unhealthy(name) == SERVICES
        lab(name, "up")
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
    assert unhealthy(name) == set()
    assert text in texts(name)


def test_standby_streams_and_goes(two_labs):
    name = two_labs[1]
    password = secret(name, "monitor_password")

    def primary(query: str) -> list[tuple]:
        port = facts(name)["ports"]["postgresql"]
        connection = psycopg2.connect(
            host="127.0.0.1", port=port, user="monitor", password=password, dbname="synapse", connect_timeout=5
        )
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()

    lab(name, "standby-up")
    assert primary("SELECT application_name, state FROM pg_stat_replication") == [("standby1", "streaming")]
    assert primary("SELECT slot_name, active FROM pg_replication_slots") == [("standby1", True)]
    assert rows(name)["standby"]["detail"] == "standby, streaming"
    lab(name, "standby-down")
    assert rows(name)["standby"]["state"] == "absent"
    assert primary("SELECT slot_name FROM pg_replication_slots") == []
    assert not (directory(name) / "standby").exists()


def test_a_busy_port_stops_up_before_anything_starts():
    name = "itest-c"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", BASES[name] + 379))
        taken.listen()
        done = lab(name, "up", expect=2)
    assert str(BASES[name] + 379) in done.stderr and "--port-base" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not directory(name).exists()
    assert f"mxlab-{name}" not in {user.pw_name for user in pwd.getpwall()}


@pytest.mark.parametrize("verb", ["up", "down"])
def test_a_strange_directory_is_not_touched(tmp_path, verb):
    (tmp_path / "precious").write_text("keep")
    done = lab("itest-c", "--state-dir", str(tmp_path), verb, expect=2)
    assert "not touched" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_down_leaves_nothing(two_labs):
    name, other = two_labs
    known = facts(name)
    before = set(of_lab(name))
    uids = {row[1] for row in of_lab(name).values()}
    # The worst that can be met: a dead postmaster whose frozen children are nobody's, its
    # shared memory left behind, and one service dead besides.
    lab(name, "freeze", "postgresql")
    for service in ("postgresql", "worker1"):
        os.kill(known["pids"][service], signal.SIGKILL)
    lab(name, "down")
    assert before & set(everyone()) == set()
    assert of_lab(name) == {}
    assert not directory(name).exists()
    if ROOT:
        assert f"mxlab-{name}" not in {user.pw_name for user in pwd.getpwall()}
        segments = pathlib.Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
        assert [line for line in segments if int(line.split()[7]) in uids] == []
        assert not [path for path in pathlib.Path("/dev/shm").iterdir() if path.stat().st_uid in uids]
    for port in known["ports"].values():
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, port
    lab(name, "down")
    assert unhealthy(other) == set()
