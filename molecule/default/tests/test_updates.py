"""System updates of the fleet: in which order, behind a drain, and after a run that was killed or failed.

With MATRIXON_FLEET_TESTS=soak a host is lost in the middle, too, and rebooted by the next run.
"""

from __future__ import annotations

import json
import pathlib
import socket
import subprocess
import typing as t

import pytest

JOURNAL = "/var/lib/matrixon-updates/journal.json"
SEEN = "/var/tmp/updates-test-journal.json"
CONTAINER = "matrixon-ops-default-hs2"
WORKERS = {"worker2", "worker3"}
# Holds dpkg's lock until somebody ends it.
HOLD = """
import os, time
holder = os.fork()
if holder == 0:
    os.setsid()
    for handle in (0, 1, 2):
        os.dup2(os.open(os.devnull, os.O_RDWR), handle)
    import fcntl
    lock = open("/var/lib/dpkg/lock-frontend", "w")
    fcntl.lockf(lock, fcntl.LOCK_EX)
    time.sleep(900)
    os._exit(0)
time.sleep(1)
print(json.dumps(holder))
"""
# The host is gone for everybody, until it comes back by itself.
VANISH = (
    "touch /run/reboot-required; systemd-run --on-active=40 --timer-property=AccuracySec=1s systemctl start ssh;"
    " systemctl stop ssh.socket ssh; pkill -KILL -x 'sshd|sshd-session'; sleep 3"
)


class Updated(t.NamedTuple):
    """How the playbook ended, what it says of hs2, and how each host's update went."""

    code: int
    output: str
    status: str
    message: str
    told: dict[str, str]


@pytest.fixture
def update(playbook: t.Any, tmp_path: pathlib.Path) -> t.Callable[..., Updated]:
    def call(**given: t.Any) -> Updated:
        variables = {"updates_hosts": "hs2", "matrixon_report_dir": str(tmp_path), **given}
        run = playbook("updates", "-e", json.dumps(variables))
        published = tmp_path / "updates-molecule.json"
        assert published.exists(), run.output
        document = json.loads(published.read_text())
        status = {entry["target"]: entry["status"] for entry in document["hosts"]}
        told = {
            entry["target"]: f"{check['status']}: {check['message']}"
            for entry in document["hosts"]
            for check in entry["checks"]
            if check["name"] == "updates_run"
        }
        assert "hs2" in told, run.output
        return Updated(run.code, run.output, status["hs2"], told["hs2"], told)

    return call


def test_the_primary_comes_last_and_check_mode_touches_nothing(server: t.Any, playbook: t.Any) -> None:
    run = playbook("updates", "--check", "-e", "updates_hosts=db1:db2:lb1", "-e", "updates_fail_on=never")
    assert run.code == 0, run.output
    # The report of check mode is not written, and nothing else says that it would change.
    steps = run.output.partition("Show the order")[2].partition("TASK")[0]
    assert steps.index("host: db2") < steps.index("host: db1"), steps
    assert "stage: primary" in steps and "lb1: it is the only load balancer" in steps, steps
    assert not server("db2").file(JOURNAL).exists


def test_a_killed_run_is_healed_and_the_host_was_behind_a_drain(
    server: t.Any,
    begun: t.Any,
    update: t.Any,
    client_as: t.Any,
    keep_asking: t.Any,
    offer: t.Any,
    until: t.Any,
    drained: t.Any,
) -> None:
    host = server("hs2")
    offer.put({"name": "fleet-good", "version": "2", "postinst": f"cp {JOURNAL} {SEEN}; sleep 10"})
    (asker,) = keep_asking(lambda: client_as("matrix.fleet.test").call("GET", "/_matrix/client/versions"))
    run = begun("updates", "-e", "updates_hosts=hs2")
    try:
        assert until(lambda: host.file(SEEN).exists, 400), run.said()
    finally:
        run.kill()
    assert drained() == WORKERS, run.said()
    # Seen from within the installation: it was out of service then.
    assert json.loads(host.file(SEEN).content_string)["drained"] is True
    host.check_output("rm %s", SEEN)

    found = update()
    asker.stop()
    assert found.code == 0, found.output
    assert "heal.yml for hs2" in found.output
    assert found.message.startswith("ok: "), found.message
    assert offer.installed["fleet-good"] == "2"
    assert drained() == set()
    assert not host.file(JOURNAL).exists
    assert asker.count > 10 and asker.failures == []


def test_no_host_is_touched_without_the_window_that_it_needs(
    server: t.Any, update: t.Any, offer: t.Any, drained: t.Any, tmp_path: pathlib.Path
) -> None:
    before = offer.installed["fleet-good"]
    offer.put({"name": "fleet-good", "version": "3"})
    found = update(updates_needs_window=True, maintenance_window_dir=str(tmp_path / "windows"))
    assert found.code == 0 and found.status == "warning", found.output
    assert "was not touched" in found.message and "no window is open" in found.message, found.message
    assert offer.installed["fleet-good"] == before and drained() == set()
    assert not server("hs2").file(JOURNAL).exists


def test_a_host_whose_apt_is_busy_is_left_in_service(
    server: t.Any, update: t.Any, offer: t.Any, run_python: t.Any, drained: t.Any
) -> None:
    offer.put({"name": "fleet-good", "version": "3"})
    holder = run_python("hs2", HOLD)
    try:
        found = update(updates_lock_timeout=2)
    finally:
        server("hs2").check_output("kill %s", str(holder))
    assert found.code != 0 and found.status == "critical", found.output
    assert "/var/lib/dpkg/lock-frontend by python3" in found.message, found.message
    assert "nothing was done to it" in found.message and "Drain its processes" not in found.output
    assert offer.installed["fleet-good"] == "2" and drained() == set()
    assert not server("hs2").file(JOURNAL).exists


def test_a_host_whose_update_fails_is_brought_back_and_told_and_the_next_is_not_touched(
    server: t.Any, update: t.Any, offer: t.Any, offer_on: t.Any, drained: t.Any, sql: t.Any
) -> None:
    # Both have something to do: hs2 first, and then the primary.
    primary = offer_on("db1")
    primary.put({"name": "fleet-good", "version": "3"})
    offer.put({"name": "fleet-good", "version": "3"}, {"name": "fleet-bad", "version": "2", "postinst": "exit 1"})
    running_since = sql("db1", "SELECT pg_postmaster_start_time()")
    found = update(updates_hosts="hs2:db1")
    assert found.code != 0, found.output
    assert drained() == set()
    assert not server("hs2").file(JOURNAL).exists
    assert found.status == "critical"
    assert "it is in service" in found.message and "fleet-bad" in found.message, found.message
    assert found.told["db1"] == "skipped: this host was not touched, for the update of hs2 failed"
    assert primary.installed["fleet-good"] == "1" and not server("db1").file(JOURNAL).exists
    assert sql("db1", "SELECT pg_postmaster_start_time()") == running_since
    # dpkg stops at what is half done; the next tests have a good one.
    offer.put({"name": "fleet-good", "version": "3"}, {"name": "fleet-bad", "version": "3"})
    server("hs2").check_output("dpkg --purge --force-all fleet-bad")


@pytest.mark.soak
def test_a_host_that_is_lost_stays_drained_and_is_healed_and_rebooted_by_the_next_run(
    server: t.Any, update: t.Any, offer: t.Any, drained: t.Any, until: t.Any, client_as: t.Any, keep_asking: t.Any
) -> None:
    (asker,) = keep_asking(lambda: client_as("matrix.fleet.test").call("GET", "/_matrix/client/versions"))
    offer.put({"name": "fleet-good", "version": "4", "postinst": VANISH})
    found = update(updates_gate_timeout=10)
    assert found.code != 0 and found.status == "critical", found.output
    assert "IT IS OUT OF SERVICE" in found.message, found.message
    assert drained() == WORKERS

    assert until(lambda: answers_ssh("172.30.10.22"), 60)
    host = server("hs2")
    assert json.loads(host.file(JOURNAL).content_string)["drained"] is True
    began = host.check_output("cut -d ' ' -f 22 /proc/1/stat")
    # A container whose first process ends is started anew, as a machine that reboots is.
    subprocess.run(["docker", "update", "--restart=unless-stopped", CONTAINER], check=True, capture_output=True)
    try:
        found = update(updates_reboot="when_needed")
    finally:
        subprocess.run(["docker", "update", "--restart=no", CONTAINER], check=True, capture_output=True)
    asker.stop()
    assert found.code == 0 and found.message == "ok: done: reboot", found.output
    assert found.output.index("heal.yml for hs2") < found.output.index("Reboot, because")
    assert host.check_output("cut -d ' ' -f 22 /proc/1/stat") != began
    assert not host.file("/run/reboot-required").exists and not host.file(JOURNAL).exists
    assert offer.installed["fleet-good"] == "4" and drained() == set()
    assert asker.count > 100 and asker.failures == []


def answers_ssh(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=2) as sock:
            return sock.recv(3) == b"SSH"
    except OSError:
        return False
