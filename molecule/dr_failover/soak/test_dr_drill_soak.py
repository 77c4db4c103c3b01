"""Drills that find something, and that die. Region one serves and region two follows it, before and after."""

from __future__ import annotations

import json
import pathlib

from drills import COPY, DIRECTORY, FAST, HOMESERVER, flat, nothing_is_left, report_of
from regions import active, checks_of, die_when, on, play, sql

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
        said = on("hs2", "sh", "-c", '"$@" 2>&1 || true', "sh", *inside, address)
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
