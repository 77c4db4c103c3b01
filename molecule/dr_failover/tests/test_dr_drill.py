"""A failover is rehearsed in region two, while region one serves and region two follows it."""

from __future__ import annotations

import contextlib
import pathlib
import typing as t

from drills import FAST, flat, nothing_is_left, report_of
from regions import active, checks_of, on, play, sql, until

STARTED = "SELECT pg_postmaster_start_time(), pg_is_in_recovery(), (SELECT status FROM pg_stat_wal_receiver)"


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
