"""A region that is cut off, and one that is too far behind. Each test begins where the one before it ended."""

from __future__ import annotations

import json
import pathlib
import re
import sys
import threading
import time
import typing as t

import pytest
from regions import (
    ADDRESSES,
    CONTROLLER,
    DATABASES,
    EDGES,
    REGIONS,
    Traffic,
    Unanswered,
    asking,
    checks_of,
    client,
    container,
    cut_off,
    docker,
    events_of,
    go_back_and_die,
    on,
    play,
    report_of,
    serving,
    sql,
    start,
    to,
    until,
)


class Rows(threading.Thread):
    """Somebody beside the homeserver who goes on writing rows, and knows which were acknowledged."""

    def __init__(self, host: str) -> None:
        super().__init__(daemon=True)
        self.host, self.acknowledged = host, 0
        self._end = threading.Event()

    def run(self) -> None:
        sql(self.host, "CREATE TABLE IF NOT EXISTS acknowledged (number int)")
        while not self._end.is_set():
            insert = f"INSERT INTO acknowledged VALUES ({self.acknowledged}) RETURNING number"
            if sql(self.host, insert, check=False) == str(self.acknowledged):
                self.acknowledged += 1

    def stop(self) -> None:
        self._end.set()
        self.join(30)


def takes_no_write_for(seconds: float, region: str) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert sql(DATABASES[region], "CREATE TABLE split (brain int)", check=False) == ""
        assert region not in serving()
        time.sleep(0.2)


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
    with cut_off(REGIONS["one"]):
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
    takes_no_write_for(15, "one")


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
    on("db1", "ip", "route", "del", "blackhole", "172.30.60.32/32")
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


def test_a_region_that_only_the_witness_reaches_is_stopped_by_its_guards_and_nothing_is_lost(
    reports: pathlib.Path, canary: list[str]
) -> None:
    rows = Rows("db1")
    rows.start()
    with cut_off(REGIONS["one"], [CONTROLLER]):
        until(lambda: rows.acknowledged > 5, 30, "rows are written")
        run = play("dr_failover", reports, *to("two"), *canary, region="one")
        rows.stop()
        assert run.code == 0, run.output
        assert serving() == ["two"]
    report = report_of(reports)
    assert checks_of(report)["dr_fenced"]["message"].startswith("guard: the guards of db1 say"), report
    assert int(sql("db2", "SELECT count(*) FROM acknowledged")) >= rows.acknowledged
    assert report["facts"]["loss"]["events"] == 0, report
    takes_no_write_for(15, "one")
    joined = play("dr_failback", reports, "-e", "dr_failback_region=one", region="two")
    assert joined.code == 0, joined.output


def test_a_region_of_which_only_the_edge_is_reached_is_closed_there_and_opened_when_it_serves_again(
    reports: pathlib.Path, canary: list[str], people: t.Any, room: str
) -> None:
    def send(region: str) -> str:
        body = {"msgtype": "m.text", "body": "through the edge"}
        return client(EDGES[region]).send(people[0].token, room, f"edge{time.monotonic_ns()}", body)

    edge_is_fence = ["-e", json.dumps({"dr_failover_fence_edge": True})]
    with cut_off(["db2", "hs2"], ADDRESSES.keys() - {"db2", "hs2", "lb2"}):
        assert send("two"), "its users do not notice"
        time.sleep(15)
        run = play("dr_failover", reports, *to("one"), *edge_is_fence, *canary, region="two")
        assert run.code == 0, run.output
        with pytest.raises(Unanswered), asking():
            send("two")
        assert send("one")
    fenced = checks_of(report_of(reports))["dr_fenced"]
    assert fenced["status"] == "warning" and fenced["message"].startswith("edge: lb2 "), fenced
    until(lambda: serving() == ["one"], 60, "its guard hears that it does not serve")

    for command in (["dr_failback", "-e", "dr_failback_region=two"], ["dr_failover", *to("two"), *canary]):
        run = play(command[0], reports, *command[1:], region="one")
        assert run.code == 0, run.output
    assert send("two")


def test_going_back_loses_nothing_though_the_run_dies_at_each_step(
    reports: pathlib.Path, canary: list[str], people: t.Any, room: str
) -> None:
    joined = play("dr_failback", reports, "-e", "dr_failback_region=one", region="two")
    assert joined.code == 0, joined.output
    steps = ("gates", "fence", "promote", "scale", "verify", "switch_dns")
    go_back_and_die(steps, reports, canary, people[0], room)
