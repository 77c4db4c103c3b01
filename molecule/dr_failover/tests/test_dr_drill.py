"""A failover is rehearsed in region two, while region one serves and region two follows it."""

from __future__ import annotations

import contextlib
import json
import pathlib
import typing as t

from regions import active, checks_of, die_when, on, play, sql, until

DIRECTORY, RUN = "/var/lib/postgresql/matrixon-drill", "/run/matrixon-drill"
HOMESERVER, COPY = "matrixon-drill-homeserver.service", "matrixon-drill-postgresql.service"
# So that the copy need not wait for a checkpoint that is spread over minutes.
FAST = ["-e", "dr_drill_checkpoint=fast"]
STARTED = "SELECT pg_postmaster_start_time(), pg_is_in_recovery(), (SELECT status FROM pg_stat_wal_receiver)"
OTHERS = ("172.30.60.31:5432", "172.30.60.32:5432", "172.30.60.51:2379", "172.30.60.11:443", "172.30.60.1:22")
CONNECT = "import socket, sys; a, _, p = sys.argv[1].rpartition(':'); socket.create_connection((a, int(p)), 3)"


def report_of(reports: pathlib.Path) -> dict[str, t.Any]:
    (host,) = json.loads((reports / "drill_dr-molecule-dr.json").read_text())["hosts"]
    return t.cast("dict[str, t.Any]", host)


def flat(text: str) -> str:
    return " ".join(text.split())


def units(host: str) -> str:
    return on(host, "systemctl", "list-units", "--all", "--plain", "--no-legend", "matrixon-drill*")


def nothing_is_left() -> None:
    for host in ("db2", "hs2"):
        assert not units(host)
        assert not on(host, "find", "/run/systemd/system", "-name", "matrixon-drill*")
        for path in (DIRECTORY, RUN, "/run/matrixon-drill-postgresql"):
            assert not on(host, "find", path, "-maxdepth", "0", check=False), f"{path} on {host}"
    assert "matrixon-drill" not in on("db2", "ps", "-eo", "args")


@contextlib.contextmanager
def listening(host: str, port: int) -> t.Iterator[None]:
    """Let somebody else have a port."""
    unit = f"somebody-{port}"
    on(host, "systemd-run", f"--unit={unit}", "python3", "-m", "http.server", str(port))
    try:
        until(lambda: on(host, "ss", "-Hltn", f"sport = :{port}"), 20, f"{host} listens at {port}")
        yield
    finally:
        on(host, "systemctl", "stop", unit)


def test_a_drill_that_cannot_go_well_is_refused_with_all_reasons(reports: pathlib.Path) -> None:
    with listening("hs2", 18008), listening("db2", 5499):
        run = play("dr_drill", reports, "-e", "dr_drill_directory=/var/lib/postgresql", *FAST, region="one")
    assert run.code == 2
    for reason in (
        "dr_drill_api_port: 18008 of hs2 is in use",
        "listen_port: 5499 of 172.30.60.32 is in use",
        "directory: /var/lib/postgresql is not empty, and no drill made it",
    ):
        assert reason in flat(run.output), run.output
    nothing_is_left()


def test_the_region_that_serves_is_not_drilled_without_a_word(reports: pathlib.Path) -> None:
    run = play("dr_drill", reports, "-e", "dr_drill_region=one", *FAST, region="one")
    assert run.code == 2
    assert "dr_drill_confirm: is '', and one is the region that serves" in flat(run.output), run.output


def test_check_mode_says_what_would_be_done(reports: pathlib.Path) -> None:
    run = play("dr_drill", reports, "--check", *FAST, region="one")
    assert run.code == 0, run.output
    assert "start the homeserver of hs2 on it, in a network of its own" in flat(run.output), run.output
    nothing_is_left()


def test_a_drill_rehearses_all_of_it_and_production_does_not_notice(
    reports: pathlib.Path, canary: list[str], room: str
) -> None:
    before = sql("db2", STARTED)
    run = play("dr_drill", reports, *FAST, *canary, region="one")
    assert run.code == 0, run.output
    assert sql("db2", STARTED) == before
    assert before.endswith("|t|streaming")
    assert not active("hs2", "matrix-synapse.service")
    nothing_is_left()

    report = report_of(reports)
    checks = checks_of(report)
    for name in ("user_login", "user_message", "user_media", "drill_isolation", "drill_amcheck", "promote_write"):
        assert checks[name]["status"] == "ok", checks[name]
    for name in ("drill_production", "drill_removed", "drill_forecast_rto", "drill_forecast_rpo"):
        assert checks[name]["status"] == "ok", checks[name]
    assert checks["drill_forecast_rto"]["value"] > 1
    print({"phases": report["facts"]["phases_s"], "forecast": report["facts"]["forecast"], "playbook": run.seconds})

    # What was sent in the drill was sent to the copy, and to nobody else.
    event = checks["user_message"]["message"].split()[0]
    assert event.startswith("$")
    assert sql("db1", f"SELECT count(*) FROM events WHERE event_id = '{event}'") == "0"
    assert sql("db1", f"SELECT count(*) > 0 FROM events WHERE room_id = '{room}'") == "t"


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
