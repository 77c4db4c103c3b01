"""The primary region is lost, cut off, comes back, and serves again. Each test begins where the one before it ended."""

from __future__ import annotations

import json
import pathlib
import re
import time
import typing as t

import pytest
from regions import (
    EDGES,
    REGIONS,
    Told,
    Traffic,
    Unanswered,
    active,
    asking,
    checks_of,
    client,
    container,
    docker,
    edge,
    events_of,
    go_back_and_die,
    journal,
    on,
    play,
    report_of,
    serving,
    sql,
    start,
    to,
    until,
)


def test_what_cannot_be_right_is_refused_with_all_reasons(reports: pathlib.Path) -> None:
    words = ["-e", "dr_failover_to=one", "-e", "dr_failover_from=one"]
    words += ["-e", json.dumps({"dr_failover_fence_statement": "it is off"})]
    run = play("dr_failover", reports, *words, region="one")
    assert run.code == 2
    flat = " ".join(run.output.split())
    for reason in (
        "dr_failover_to: one is the region that the deployment is to leave",
        "dr_failover_confirm: is ''",
        "dr_failover_fence_statement: 'it is off' by '' is not what the report needs",
    ):
        assert reason in flat, run.output


@pytest.mark.parametrize("name", ["witness", "dr_guard"])
def test_check_mode_finds_nothing_to_change(reports: pathlib.Path, name: str) -> None:
    run = play(name, reports, "--check", region="one")
    assert run.code == 0, run.output
    assert set(re.findall(r"changed=(\d+)", run.output)) == {"0"}, run.output


def test_check_mode_asks_everything_and_touches_nothing(reports: pathlib.Path, canary: list[str]) -> None:
    written = journal("two")
    before = sql("db1", "SELECT system_identifier, timeline_id FROM pg_control_system(), pg_control_checkpoint()")
    run = play("dr_failover", reports, "--check", *to("two"), *canary, region="one")
    assert run.code == 0, run.output
    assert (
        sql("db1", "SELECT system_identifier, timeline_id FROM pg_control_system(), pg_control_checkpoint()") == before
    )
    assert serving() == ["one"]
    assert journal("two") == written
    assert edge() == EDGES["one"]


def test_a_paused_standby_is_refused(reports: pathlib.Path) -> None:
    sql("db2", "SELECT pg_wal_replay_pause()")
    try:
        run = play("dr_failover", reports, *to("two"), region="one")
    finally:
        sql("db2", "SELECT pg_wal_replay_resume()")
    assert run.code == 2
    assert "dr_replay: its replay is paused" in " ".join(run.output.split()), run.output
    assert serving() == ["one"]


def test_a_lost_region_is_left_under_traffic_and_nothing_that_was_acknowledged_is_missing_uncounted(
    reports: pathlib.Path, canary: list[str], people: t.Any, room: str, told: Told
) -> None:
    alice, _bob = people
    statement = json.dumps(
        {
            "dr_failover_fence_statement": "one takes no writes: its containers were killed",
            "dr_failover_fence_by": "the tests",
        }
    )
    with Traffic(alice, room) as traffic:
        time.sleep(5)
        docker("kill", *(container(host) for host in REGIONS["one"]))
        killed = time.monotonic()
        until(lambda: time.monotonic() - killed > 12, 20, "the guards are no longer heard")

        refused = play("dr_failover", reports, *to("two"), *canary, region="one")
        assert refused.code == 2
        assert "dr_fence: nothing can make sure that one takes no more writes" in " ".join(refused.output.split())
        assert serving() == []
        assert told.mail == ["molecule-dr: the failover to region two was refused"]
        assert len(told.chat) == 1 and "dr_fence: nothing can make sure" in told.chat[0], told.chat

        run = play("dr_failover", reports, *to("two", "-e", statement), *canary, region="one")
        assert run.code == 0, run.output
        assert run.seconds < 300
        before = len(traffic.acknowledged)
        until(lambda: len(traffic.acknowledged) > before + 5, 60, "users can send again, with the tokens that they had")

    assert serving() == ["two"]
    assert edge() == EDGES["two"]
    missing = set(traffic.acknowledged) - events_of("two", room)
    report = report_of(reports)
    assert len(missing) == report["facts"]["loss"]["events"], report
    checks = checks_of(report)
    assert checks["dr_fenced"]["message"].startswith("statement: the tests states: one takes no writes"), checks
    assert checks["dr_fenced"]["status"] == "warning"
    assert {name for name in checks if name.startswith("dr_step_")} == {
        f"dr_step_{name}" for name in ("gates", "fence", "promote", "scale", "verify", "switch_dns", "communicate")
    }
    seconds = {name: check["value"] for name, check in checks.items() if name.startswith("dr_step_")}
    print(
        {
            "steps": seconds,
            "rto": checks["dr_rto"]["value"],
            "pause": traffic.pause_around(killed),
            "lost": len(missing),
            "playbook": run.seconds,
        }
    )
    assert seconds["dr_step_fence"] + seconds["dr_step_promote"] < 60


def test_a_move_that_was_made_is_only_reported_again(reports: pathlib.Path, canary: list[str], told: Told) -> None:
    said = [*told.mail]
    assert said[-1] == "molecule-dr serves from region two" and len(told.chat) == len(said) == 2
    assert "The old region is fenced by: the tests states: one takes no writes" in told.chat[-1]
    run = play("dr_failover", reports, *to("two"), *canary, region="one")
    assert run.code == 0, run.output
    assert serving() == ["two"]
    assert report_of(reports)["kind"] == "failover"
    assert told.mail == said


def test_the_old_region_comes_back_and_takes_not_one_write(reports: pathlib.Path, people: t.Any, room: str) -> None:
    start(*REGIONS["one"])
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert sql("db1", "CREATE TABLE split (brain int)", check=False) == ""
        assert serving() == ["two"]
        with pytest.raises(Unanswered), asking():
            client(EDGES["one"]).send(
                people[0].token, room, f"split{time.monotonic_ns()}", {"body": "x", "msgtype": "m.text"}
            )
        time.sleep(0.5)
    assert not active("hs1", "matrix-synapse")
    assert "two is the primary" in on(
        "db1", "journalctl", "-u", "postgresql@15-main", "-u", "matrixon-dr-guard", "--no-pager"
    )


def test_the_old_region_becomes_a_standby_that_follows(reports: pathlib.Path) -> None:
    run = play("dr_failback", reports, "-e", "dr_failback_region=one", region="two")
    assert run.code == 0, run.output
    report = report_of(reports, "failback")
    assert checks_of(report)["standby_marker"]["status"] == "ok", report
    print({name: report["facts"][name] for name in ("rewound", "copied_bytes", "discarded_bytes", "seconds")})
    sql("db2", "CREATE TABLE IF NOT EXISTS following (at timestamptz); INSERT INTO following VALUES (now())")
    until(
        lambda: sql("db1", "SELECT count(*) FROM following", check=False) == "1", 30, "a row arrives at the old primary"
    )
    assert sql("db1", "SELECT pg_is_in_recovery()") == "t"
    sql("db2", "DROP TABLE following")


def test_going_back_loses_nothing_though_the_run_dies_twice(
    reports: pathlib.Path, canary: list[str], people: t.Any, room: str
) -> None:
    # While nothing serves, and right after the promotion. The other steps have their turn in the soak.
    go_back_and_die(("fence", "promote"), reports, canary, people[0], room)
