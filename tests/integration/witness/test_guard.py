"""The guard as a process, a real database and a real witness, and what lies between them."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import time

import pytest
from clusters import run
from etcd import PASSWORD
from host import DATABASE, INTERVAL, NEWEST, Host
from proxy import CUT, DRIP, HANG, PASS

from ansible_collections.matrixon.ops.plugins.module_utils._dr import guard
from ansible_collections.matrixon.ops.plugins.module_utils._dr.witness import Deadline

pytestmark = pytest.mark.integration


def standby(host: Host) -> None:
    """Let a database that is stopped come up as a standby, which waits for a primary for ever."""
    run("touch", str(host.database.data / "standby.signal"))


def test_it_tells_what_a_failover_must_know(running: Host) -> None:
    (running.base / "releases").mkdir()
    (running.base / "releases/1.163.2").mkdir()
    (running.base / "current").symlink_to(running.base / "releases/1.163.2")
    (running.base / "signing.key").write_text("ed25519 a_key c2VjcmV0\n")
    record = running.claim("one")
    running.begin()
    running.until(lambda: running.heartbeat() and running.word())
    beat = running.heartbeat()
    assert (beat["region"], beat["host"], beat["timeline"]) == ("one", "db1", 1)
    assert beat["system_identifier"] == running.identifier
    assert beat["newest_message_ms"] == NEWEST and beat["database_bytes"] > 1_000_000
    assert beat["limits"] == {
        "max_connections": 120,
        "max_locks_per_transaction": 64,
        "max_prepared_transactions": 0,
        "max_wal_senders": 10,
        "max_worker_processes": 8,
    }
    # It follows the log, and is never ahead of it.
    running.database.sql("CREATE TABLE grown AS SELECT generate_series(1, 1000)", "synapse")
    written = running.database.sql("SELECT pg_current_wal_flush_lsn()")
    running.until(lambda: running.database.sql(f"SELECT '{running.heartbeat()['lsn']}'::pg_lsn >= '{written}'") == "t")
    assert running.database.sql(f"SELECT '{running.heartbeat()['lsn']}'::pg_lsn <= pg_current_wal_flush_lsn()") == "t"
    assert running.word() == {
        "region": "one", "serves": True, "epoch": record.epoch, "override": False, "lease_seconds": 0,
        "at": running.word()["at"],
    }  # fmt: skip
    entry = running.client.get("homeserver/db1", Deadline(30))
    assert entry and entry.value["release"] == "1.163.2" and entry.value["signing_key_ids"] == ["ed25519:a_key"]
    assert "c2VjcmV0" not in str(entry)
    assert running.guard
    assert PASSWORD not in pathlib.Path(f"/proc/{running.guard.pid}/cmdline").read_text()
    assert PASSWORD not in running.log


@pytest.mark.parametrize("region", ["two", ""])
def test_a_primary_that_the_record_no_longer_names_is_stopped(running: Host, region: str) -> None:
    running.claim("one")
    running.begin()
    running.beats()
    record = running.claim(region)
    stale = running.heartbeat()
    seconds = running.until(lambda: not running.postmaster() and not running.homeserver_runs())
    # Twice the interval; the rest is for a machine that is busy with other tests.
    assert seconds < 2 * INTERVAL + 5
    running.until(lambda: running.word()["epoch"] == record.epoch and not running.word()["serves"])
    # It does not come back, by systemd or past it.
    running.start(DATABASE)
    assert not running.postmaster()
    tools = str(running.database.tools / "pg_ctl")
    subprocess.run(
        [*pg_ctl_as(running), tools, f"--pgdata={running.database.data}", "--log=/dev/null", "start"], check=False
    )
    running.until(lambda: not running.postmaster())
    assert running.heartbeat() == stale or running.heartbeat()["at"] == stale["at"]
    # Nor when the record names this region again: who failed back starts it.
    running.claim("one")
    running.until(lambda: running.word()["epoch"] == record.epoch + 1)
    assert not running.postmaster() and not running.homeserver_runs()
    running.start(DATABASE)
    running.until(running.postmaster)
    running.beats()


def pg_ctl_as(host: Host) -> list[str]:
    return ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []


def test_a_database_that_hangs_is_killed(running: Host) -> None:
    running.claim("one")
    running.configure(stop_timeout=4)
    running.begin()
    running.beats()
    session = subprocess.Popen(
        [*pg_ctl_as(running), str(running.database.tools / "psql"), "-XAt", f"--host={running.database.socket}",
         f"--port={running.database.port}", "--username=postgres", "--dbname=postgres", "-c", "SELECT pg_sleep(600)"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    running.database.waits("query LIKE 'SELECT pg_sleep%'")
    running.database.kill(signal.SIGSTOP)
    running.claim("two")
    # The sessions that go on without it end at once, and it itself by force.
    assert session.wait(60) != 0
    assert "did not end within" not in running.log
    running.until(lambda: not running.postmaster())
    running.until(lambda: "stopped" in running.log)


def silence(host: Host, mode: str) -> None:
    """Let the witness be silent, in one of the ways in which it can."""
    if mode == "stopped":
        host.store.stop()
    elif mode == "auth":
        settings = json.loads((host.base / "guard.json").read_text())["witness"]
        host.end()
        host.configure(check_timeout=0.5, witness={**settings, "password": "another-password"})
        host.begin()
    else:
        host.proxy.mode = mode


def speak(host: Host, mode: str) -> None:
    """Let it speak again."""
    host.proxy.mode = PASS
    if mode == "stopped":
        host.store.start()
    elif mode == "auth":
        host.end()
        host.configure(check_timeout=0.5)
        host.begin()


def test_no_heartbeat_is_written_over_that_of_another_region(running: Host) -> None:
    record = running.claim("one")
    service = guard.Guard(guard.load_config(str(running.base / "guard.json")))
    assert service.postgresql
    heart = guard.Heart(service, service.postgresql)
    service.leave = record
    assert heart.beat()
    # The record changes when the guard has just asked: the witness itself refuses.
    running.claim("two")
    before = running.heartbeat()
    assert not heart.beat() and running.heartbeat() == before
    # Nor by a copy that was left behind.
    service.leave = running.claim("one", timeline=2)
    assert not heart.beat() and running.heartbeat() == before
    service.leave = None
    assert not heart.beat()


def test_a_silent_witness_stops_nothing_and_starts_nothing(running: Host) -> None:
    running.claim("one")
    running.configure(check_timeout=0.5)
    running.begin()
    running.beats()
    before = running.postmaster()
    modes = (CUT, HANG, DRIP, "stopped", "auth")
    for number, mode in enumerate(modes, 1):
        silence(running, mode)
        try:
            running.until(lambda: running.log.count("not known whether region one may serve") == number)  # noqa: B023
            asked = running.check("database" if number % 2 else "homeserver")
            assert asked.returncode == 1 and len(asked.stderr.splitlines()) == 1, asked.stderr
            assert "stays down until the witness says that it may start" in asked.stderr
            assert "write 1 into" in asked.stderr
            assert before and running.postmaster() == before and running.homeserver_runs()
            if mode == modes[-1]:
                # As after a boot: it was held back, and nobody but the guard knows of it.
                running.check()
                running.database.stop("fast")
        finally:
            speak(running, mode)
        running.until(lambda: not os.listdir(running.base / "run/waiting"))
        running.beats()
    assert running.postmaster() not in (0, before)
    assert f"starting {DATABASE}, which waited for the witness" in running.log


def test_what_waited_does_not_start_when_the_record_says_no(host: Host) -> None:
    host.claim("one")
    host.proxy.mode = CUT
    host.configure(check_timeout=0.5)
    assert host.check().returncode == 1
    host.claim("two")
    host.proxy.mode = PASS
    host.begin()
    host.until(lambda: host.word().get("epoch") == 2)
    assert not host.postmaster() and os.listdir(host.base / "run/waiting") == []


def test_before_a_start_the_record_decides(host: Host) -> None:
    host.configure(check_timeout=0.5)
    nothing = host.check()
    host.configure()
    assert nothing.returncode == 1 and "no record" in nothing.stderr
    host.claim("one")
    assert host.check().returncode == 0 and host.check("homeserver").returncode == 0
    host.claim("two")
    for kind in ("database", "homeserver"):
        other = host.check(kind)
        assert other.returncode == 1 and len(other.stderr.splitlines()) == 1
        assert "region two is the primary since 2026-11-27T12:00:00.000Z (epoch 2, by a test)" in other.stderr
    host.claim("")
    assert "nobody may serve since" in host.check().stderr
    # An operator answers for this record, and not for the next one.
    override = host.base / "override"
    override.write_text("2\n")
    assert host.check().returncode == 1
    override.write_text("3\n")
    assert host.check().returncode == 0
    host.proxy.mode = CUT
    assert host.check().returncode == 0
    host.proxy.mode = PASS
    host.claim("two")
    assert host.check().returncode == 1
    # A standby needs no witness.
    standby(host)
    host.configure(check_timeout=0.5)
    host.proxy.mode = CUT
    assert host.check().returncode == 0 and host.check("homeserver").returncode == 1


def test_a_copy_that_was_left_behind_does_not_start(host: Host) -> None:
    host.claim("one", timeline=2)
    left = host.check()
    assert left.returncode == 1 and "is on timeline 1, and the one that serves" in left.stderr
    host.claim("one", timeline=2, identifier="77")
    assert host.check().returncode == 0


def test_a_broken_configuration_keeps_everything_down(host: Host) -> None:
    (host.base / "guard.json").write_text("{}")
    broken = host.check()
    assert broken.returncode == 1 and "run the role dr_guard" in broken.stderr


def test_a_standby_is_left_alone_and_a_disguise_is_not(spare: Host) -> None:
    standby(spare)
    spare.claim("two")
    spare.run()
    assert spare.check().returncode == 0
    before = spare.postmaster()
    assert before and spare.database.sql("SELECT pg_is_in_recovery()") == "t"
    spare.begin()
    spare.until(lambda: spare.word().get("epoch") == 1 and not spare.homeserver_runs())
    assert spare.postmaster() == before and not spare.word()["serves"] and spare.heartbeat() == {}
    # One that leaves recovery without the record's leave is stopped, with the file there or not.
    run(str(spare.database.tools / "pg_ctl"), f"--pgdata={spare.database.data}", "promote")
    standby(spare)
    spare.until(lambda: not spare.postmaster())


def test_a_guard_that_is_started_again_touches_nothing(running: Host) -> None:
    running.claim("one")
    running.begin()
    running.beats()
    before = running.postmaster()
    for number in (signal.SIGTERM, signal.SIGKILL):
        running.end(number)
        running.begin()
        running.beats()
    commands = (running.base / "units.json.log").read_text()
    assert running.postmaster() == before and running.homeserver_runs()
    assert "stop" not in commands and "kill" not in commands


def test_an_override_lets_serve_and_takes_no_heartbeat(running: Host) -> None:
    running.claim("two")
    (running.base / "override").write_text("1\n")
    running.begin()
    running.until(lambda: running.word().get("override"))
    assert running.word()["serves"] and running.postmaster() and running.heartbeat() == {}
    assert "an operator has answered" in running.log
    running.claim("two", timeline=2)
    running.until(lambda: not running.postmaster())


def lease_of(host: Host) -> int:
    entry = host.client.get("lease/db1", Deadline(30))
    return host.client.time_left(entry.lease, Deadline(30)) if entry else -1


def test_who_has_a_lease_has_stopped_before_it_ends(running: Host) -> None:
    running.claim("one")
    running.configure(lease=2)
    running.begin()
    running.until(lambda: lease_of(running) > 0)
    running.beats()
    running.proxy.mode = HANG
    started = time.monotonic()
    running.until(lambda: not running.postmaster() and not running.homeserver_runs())
    # It waited for its time, and the other side still counts it as serving.
    assert time.monotonic() - started > 2 - 2 * INTERVAL
    assert lease_of(running) > 0
    running.proxy.mode = PASS
    running.until(running.postmaster)
    running.until(running.homeserver_runs)
    running.beats()
    assert lease_of(running) > 0
    # Fenced, it gives the lease back, so that nobody need wait for its end.
    running.claim("")
    running.until(lambda: not running.postmaster() and lease_of(running) < 0, 20)


def test_a_guard_that_hung_counts_from_when_it_was_heard_last(running: Host) -> None:
    running.claim("one")
    running.configure(lease=60)
    running.begin()
    running.until(lambda: lease_of(running) > 0)
    assert running.guard
    # While it hangs nothing is stopped: systemd must kill it, and the lease is long enough for that.
    running.guard.send_signal(signal.SIGSTOP)
    running.proxy.mode = CUT
    running.end(signal.SIGKILL)
    assert running.postmaster()
    # As if that had taken longer than the lease.
    kept = running.base / "run/kept"
    kept.write_text(str(float(kept.read_text()) - 61))
    running.begin()
    # At once, and not after sixty more seconds of its own.
    running.until(lambda: not running.postmaster(), 40)
    assert lease_of(running) > 0
    assert running.log.count("the lease of 60 s has run out") == 1


def test_without_a_lease_nothing_starts(host: Host) -> None:
    host.configure(lease=2)
    host.claim("one")
    assert host.check().returncode == 0
    assert lease_of(host) > 0
