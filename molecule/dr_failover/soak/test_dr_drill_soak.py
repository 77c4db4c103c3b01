"""Drills that find something, and that die. Region one serves and region two follows it, before and after."""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import subprocess
import typing as t

import pytest
from drills import COPY, DIRECTORY, FAST, HOMESERVER, flat, nothing_is_left, report_of
from regions import active, checks_of, container, die_when, on, play, sql, until

SETS = "/srv/sets"

OTHERS = ("172.30.60.31:5432", "172.30.60.32:5432", "172.30.60.51:2379", "172.30.60.11:443", "172.30.60.1:22")
CONNECT = "import socket, sys; a, _, p = sys.argv[1].rpartition(':'); socket.create_connection((a, int(p)), 3)"


def test_a_move_that_would_be_refused_today_is_a_finding_and_the_drill_goes_on(reports: pathlib.Path) -> None:
    sql("db2", "SELECT pg_wal_replay_pause()")
    try:
        run = play("dr_drill", reports, *FAST, "-e", "dr_drill_amcheck=false", region="one")
    finally:
        sql("db2", "SELECT pg_wal_replay_resume()")
    assert run.code == 2
    checks = checks_of(report_of(reports))
    assert checks["dr_replay"]["status"] == "critical", checks["dr_replay"]
    assert checks["promote_write"]["status"] == "ok", checks
    assert checks["drill_removed"]["status"] == "ok", checks
    nothing_is_left()


def test_a_drill_that_is_killed_reaches_nobody_and_the_next_one_removes_it(reports: pathlib.Path) -> None:
    die_when("dr_drill", reports, *FAST, region="one", seen=lambda: active("hs2", HOMESERVER))
    assert active("db2", COPY)

    # Whoever has the network of the rehearsed homeserver comes to the copy, and nowhere else.
    pid = on("hs2", "systemctl", "show", "--property=MainPID", "--value", HOMESERVER)
    inside = ["nsenter", f"--target={pid}", "--net", "--", "python3", "-c", CONNECT]
    on("hs2", *inside, "127.0.0.1:5499")
    for address in OTHERS:
        said = on("hs2", "sh", "-c", '! "$@" 2>&1', "sh", *inside, address)
        assert "Network is unreachable" in said, (address, said)
    devices = on("hs2", "cat", f"/proc/{pid}/net/dev").splitlines()[2:]
    assert [line.split(":")[0].strip() for line in devices] == ["lo"]

    refused = play("dr_drill", reports, *FAST, region="one")
    assert refused.code == 2
    begun = json.loads(on("db2", "cat", f"{DIRECTORY}/.matrixon-drill"))["begun"]
    assert f"dr_drill_forget={begun}" in flat(refused.output), refused.output
    assert active("db2", COPY)

    run = play("dr_drill", reports, *FAST, "-e", f"dr_drill_forget={begun}", region="one")
    assert run.code == 0, run.output
    nothing_is_left()


@pytest.fixture
def backed_up(reports: pathlib.Path) -> t.Iterator[str]:
    """Where the log was behind a proven set of region one, which lies with its log in region two."""
    words = ["-e", "backup_hosts=db1", "-e", f"backup_root={SETS}"]
    try:
        run = play("backup", reports, *words, region="one")
        assert run.code == 0, run.output
        sql("db1", "CREATE TABLE behind_the_set (number int)")
        written = sql("db1", "SELECT pg_current_wal_lsn()")
        received = "SELECT flush_lsn >= '{}' FROM pg_stat_replication WHERE application_name = 'pg_receivewal'"
        until(lambda: sql("db1", received.format(written)) == "t", 30, "the log is received")
        with contextlib.ExitStack() as stack:
            argv = ["docker", "exec", container("db1"), "tar", "-C", "/", "-c", SETS.strip("/")]
            tar = stack.enter_context(subprocess.Popen(argv, stdout=subprocess.PIPE))
            into = ["docker", "exec", "-i", container("db2"), "tar", "-C", "/", "-x"]
            subprocess.run(into, stdin=tar.stdout, check=True, timeout=60)
        yield written
    finally:
        on("db1", "sh", "-c", f"systemctl disable --now matrixon-receivewal; rm -rf {SETS}", check=False)
        on("db2", "rm", "-rf", SETS)
        sql("db1", "SELECT pg_drop_replication_slot('matrixon_backup')", check=False)
        sql("db1", "DROP TABLE IF EXISTS behind_the_set")


def test_a_drill_restores_what_is_left_where_the_standby_is_lost_too(
    reports: pathlib.Path, canary: list[str], backed_up: str
) -> None:
    words = [*FAST, *canary, "-e", f"dr_drill_backup_root={SETS}"]
    refused = play("dr_drill", reports, *words, "-e", "dr_drill_backup_server=nowhere", region="one")
    assert refused.code == 2
    assert "there is no complete set" in flat(refused.output), refused.output
    nothing_is_left()

    run = play("dr_drill", reports, *words, region="one")
    assert run.code == 0, run.output
    nothing_is_left()
    checks = checks_of(report_of(reports))
    for name in ("drill_restore", "promote_write", "drill_amcheck", "user_login", "user_message", "drill_production"):
        assert checks[name]["status"] == "ok", checks
    message = checks["drill_restore"]["message"]
    print(message)
    (end,) = re.findall(r"to ([0-9A-F]+/[0-9A-F]+) of the log", message)
    assert sql("db1", f"SELECT '{end}'::pg_lsn >= '{backed_up}'") == "t"
