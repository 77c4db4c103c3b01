"""The primary region is lost, cut off, comes back, and serves again. Each test begins where the one before it ended."""

from __future__ import annotations

import json
import pathlib
import re
import sys
import time
import typing as t

import pytest
from regions import (
    DATABASES,
    EDGES,
    NAME,
    REGIONS,
    Traffic,
    active,
    checks_of,
    client,
    container,
    cut_off,
    die_when,
    docker,
    edge,
    events_of,
    journal,
    on,
    play,
    report_of,
    sql,
    start,
    until,
)

CONFIRMED = ["-e", f"dr_failover_confirm={NAME}"]


def to(region: str, *words: str) -> list[str]:
    return ["-e", f"dr_failover_to={region}", *CONFIRMED, *words]


def serving() -> list[str]:
    """The regions in which something takes writes."""
    return [region for region, host in DATABASES.items() if sql(host, "SELECT pg_is_in_recovery()", check=False) == "f"]


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
    reports: pathlib.Path, canary: list[str], people: t.Any, room: str
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


def test_a_move_that_was_made_is_only_told_again(reports: pathlib.Path, canary: list[str]) -> None:
    run = play("dr_failover", reports, *to("two"), *canary, region="one")
    assert run.code == 0, run.output
    assert serving() == ["two"]
    assert report_of(reports)["kind"] == "failover"


def test_the_old_region_comes_back_and_takes_not_one_write(reports: pathlib.Path, people: t.Any, room: str) -> None:
    start(*REGIONS["one"])
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert sql("db1", "CREATE TABLE split (brain int)", check=False) == ""
        assert serving() == ["two"]
        with pytest.raises(Exception):  # noqa: B017
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
    sql("db2", "CREATE TABLE IF NOT EXISTS following (at timestamptz); INSERT INTO following VALUES (now())")
    until(
        lambda: sql("db1", "SELECT count(*) FROM following", check=False) == "1", 30, "a row arrives at the old primary"
    )
    assert sql("db1", "SELECT pg_is_in_recovery()") == "t"
    sql("db2", "DROP TABLE following")


def test_going_back_loses_nothing_though_the_run_dies_at_each_step(
    reports: pathlib.Path, canary: list[str], people: t.Any, room: str
) -> None:
    alice, _bob = people
    words = [*to("one"), *canary]
    with Traffic(alice, room) as traffic:
        begun = time.monotonic()
        for step in ("gates", "fence", "promote", "scale", "verify", "switch_dns"):
            die_when(
                "dr_failover",
                reports,
                *words,
                region="two",
                seen=lambda step=step: (
                    bool(journal("one")["steps"].get(step, {}).get("finished")) and not journal("one")["finished"]
                ),
            )
            assert len(serving()) <= 1, step
        run = play("dr_failover", reports, *words, region="two")
        assert run.code == 0, run.output
        before = len(traffic.acknowledged)
        until(lambda: len(traffic.acknowledged) > before + 5, 60, "users can send again")
    assert serving() == ["one"]
    assert set(traffic.acknowledged) <= events_of("one", room)
    assert report_of(reports)["facts"]["loss"]["bytes"] == 0
    print({"pause, with six deaths": traffic.pause_around(begun)})


def test_a_region_that_is_cut_off_is_left_only_behind_a_fence_and_comes_back_without_one_write(
    reports: pathlib.Path, canary: list[str], tmp_path: pathlib.Path
) -> None:
    joined = play("dr_failback", reports, "-e", "dr_failback_region=two", region="one")
    assert joined.code == 0, joined.output

    # What switches a region off at its power.
    fence = tmp_path / "fence.py"
    fence.write_text(
        "import json, subprocess, sys\n"
        "asked = json.load(sys.stdin)\n"
        f"assert asked['region'] == 'one' and asked['databases'] == ['db1'], asked\n"
        f"hosts = ['{container('')}' + host for host in asked['hosts']]\n"
        "sys.exit(subprocess.run(['docker', 'kill', *hosts]).returncode)\n"
    )
    hook = json.dumps({"dr_failover_fence_command": [sys.executable, str(fence)]})
    with cut_off("one"):
        # Then nobody has heard its guards for a while.
        time.sleep(15)
        refused = play("dr_failover", reports, *to("two"), *canary, region="one")
        assert refused.code == 2
        assert "dr_fence: nothing can make sure that one takes no more writes" in " ".join(refused.output.split())
        assert serving() == ["one"], "it is alive, and nothing was touched"
        run = play("dr_failover", reports, *to("two", "-e", hook), *canary, region="one")
        assert run.code == 0, run.output
        assert serving() == ["two"]
    assert checks_of(report_of(reports))["dr_fenced"]["message"].startswith("command: ")

    start(*REGIONS["one"])
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        assert sql("db1", "CREATE TABLE split (brain int)", check=False) == ""
        assert serving() == ["two"]
        time.sleep(0.2)


def test_a_standby_that_is_too_far_behind_is_refused_and_what_is_lost_in_spite_of_it_is_counted(
    reports: pathlib.Path, canary: list[str], people: t.Any, room: str
) -> None:
    joined = play("dr_failback", reports, "-e", "dr_failback_region=one", region="two")
    assert joined.code == 0, joined.output
    alice, _bob = people
    on("db1", "ip", "route", "add", "blackhole", "172.30.60.32/32")
    until(lambda: sql("db2", "SELECT count(*) FROM pg_stat_replication") == "0", 90, "the standby is cut off")
    with Traffic(alice, room) as traffic:
        until(lambda: len(traffic.acknowledged) > 40, 60, "messages that the standby does not get")
    # Two heartbeats, so that one of them is of after the last message.
    time.sleep(7)
    docker("kill", *(container(host) for host in REGIONS["two"]))
    time.sleep(12)

    statement = {
        "dr_failover_fence_statement": "two takes no writes: its containers were killed",
        "dr_failover_fence_by": "the tests",
        "dr_failover_rpo_bytes": "1000",
    }
    refused = play("dr_failover", reports, *to("one", "-e", json.dumps(statement)), *canary, region="two")
    assert refused.code == 2
    found = re.search(r"dr_loss: .* give dr_failover_accept_loss_bytes=(\d+)", " ".join(refused.output.split()))
    assert found, refused.output
    assert serving() == []

    wrong = {**statement, "dr_failover_accept_loss_bytes": "5"}
    refused = play("dr_failover", reports, *to("one", "-e", json.dumps(wrong)), *canary, region="two")
    assert refused.code == 2
    assert f"dr_failover_accept_loss_bytes is 5, and the value is {found[1]} now" in " ".join(refused.output.split())

    accepted = {**statement, "dr_failover_accept_loss_bytes": found[1]}
    run = play("dr_failover", reports, *to("one", "-e", json.dumps(accepted)), *canary, region="two")
    assert run.code == 0, run.output
    loss = report_of(reports)["facts"]["loss"]
    missing = set(traffic.acknowledged) - events_of("one", room)
    assert len(missing) == len(traffic.acknowledged)
    assert (loss["events"], str(loss["bytes"])) == (len(missing), found[1])


def test_a_region_whose_history_ended_is_copied_anew(reports: pathlib.Path) -> None:
    start(*REGIONS["two"])
    words = ["-e", "dr_failback_region=two", "-e", "dr_failback_method=rebuild"]
    run = play("dr_failback", reports, *words, region="one")
    assert run.code == 0, run.output
    assert on("db2", "sh", "-c", "ls -d /var/lib/postgresql/15/main.before-*")
    again = play("dr_failback", reports, *words, region="one")
    assert again.code == 0, again.output
    assert "db2" in again.output
