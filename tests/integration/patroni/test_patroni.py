"""matrixon_patroni against the real Patroni. The tests go on from each other, as a move and the way back do."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import pathlib
import socket
import threading
import time
import typing as t

import jsonschema
import pytest
from ansible.module_utils.testing import patch_module_args
from clusters import USER, until
from patroni_plays import play, tasks
from patronis import API_PASSWORD, API_USER, Member, Regions, free_port

from ansible_collections.matrixon.ops.plugins.module_utils._dr import patroni

ROOT = pathlib.Path(__file__).resolve().parents[3]
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
NAMES = {"deployment": "test", "profile": "synapse"}


def invoke(module: str, **arguments: t.Any) -> dict[str, t.Any]:
    """Run a module in this process: JSON in, JSON out. Its report must be one."""
    code = importlib.import_module(f"ansible_collections.matrixon.ops.plugins.modules.{module}")
    said = io.StringIO()
    names = {} if module in ("matrixon_marker", "matrixon_rewind") else NAMES
    with patch_module_args({**names, **arguments}), contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        code.main()
    result: dict[str, t.Any] = json.loads(said.getvalue())
    assert API_PASSWORD not in said.getvalue()
    if "report" in result:
        jsonschema.validate(result["report"], SCHEMA)
    return result


def ask(member: Member, state: str = "read", **options: t.Any) -> dict[str, t.Any]:
    return invoke(
        "matrixon_patroni",
        **{"url": member.url, "state": state, "user": API_USER, "password": API_PASSWORD, "timeout": 120, **options},
    )


def server(member: Member) -> dict[str, t.Any]:
    """Where the modules that work on a server find it."""
    return {
        "data_directory": str(member.data),
        "bin_directory": str(member.tools),
        "socket_directory": str(member.socket),
        "port": member.port,
        "owner": USER,
    }


def role(member: Member, **variables: t.Any) -> dict[str, t.Any]:
    """Return the variables by which the role dr_failover finds a member."""
    return {
        "matrixon_database_patroni": member.url,
        "matrixon_database_patroni_user": API_USER,
        "matrixon_database_patroni_password": API_PASSWORD,
        **variables,
    }


def paused(member: Member) -> bool | None:
    """Say whether the replay is paused, as its API has it; None while that is silent."""
    found: bool | None = member.ask().get("xlog", {}).get("paused")
    return found


def statuses(result: dict[str, t.Any]) -> dict[str, str]:
    return {f"{each['name']}/{each['target']}": each["status"] for each in result["report"]["checks"]}


def test_says_what_a_cluster_is(regions: Regions) -> None:
    # A member tells the others of its position once in a turn.
    until(lambda: ask(regions.one2)["cluster"]["members"][1]["lag_bytes"] == 0, 60)
    found = ask(regions.one2)
    assert not found.get("failed"), found["msg"]
    cluster = found["cluster"]
    assert (cluster["scope"], cluster["leader"], cluster["member"]) == ("one", "one1", "one2")
    assert (cluster["timeline"], cluster["paused"], cluster["standby_cluster"]) == (1, False, False)
    assert [each["name"] for each in cluster["members"]] == ["one1", "one2"]
    assert found["report"]["kind"] == "patroni"
    assert statuses(found) == {
        "patroni_leader/one": "ok",
        "patroni_paused/one": "ok",
        "patroni_member/one1": "ok",
        "patroni_member/one2": "ok",
    }
    assert cluster["system_identifier"] == regions.one1.psql("SELECT system_identifier FROM pg_control_system()")
    other = ask(regions.two1)["cluster"]
    assert other["standby_cluster"]
    assert other["primary"] == {"host": "127.0.0.1", "port": regions.one1.port, "primary_slot_name": None}


def test_refuses_a_wrong_password_before_anything_is_touched(regions: Regions) -> None:
    for check in (True, False):
        found = ask(regions.two1, "promoted", password="wrong", from_timeline=1, _ansible_check_mode=check)
        assert found["failed"] and "does not take the user 'operator' and this password" in found["msg"]
        assert not found.get("changed")
    assert "standby_cluster" in regions.two1.ask("/config")


@pytest.mark.parametrize("state", ["promoted", "switchover", "standby"])
def test_check_mode_says_what_would_be_done(regions: Regions, state: str) -> None:
    options: dict[str, dict[str, t.Any]] = {
        "promoted": {"from_timeline": 1},
        "switchover": {"candidate": "one2"},
        "standby": {"primary": {"host": "192.0.2.1"}, "until_lsn": "0/1", "timeline": 1},
    }
    member = regions.one1 if state == "switchover" else regions.two1
    before = member.ask("/config")
    found = ask(member, state, _ansible_check_mode=True, **options[state])
    assert found["changed"], found
    assert found["plan"][0].startswith("have Patroni make ")
    assert member.ask("/config") == before


def test_refuses_all_at_once(regions: Regions) -> None:
    regions.two1.configuration(pause=True)
    regions.two1.psql("SELECT pg_wal_replay_pause()")
    try:
        until(lambda: paused(regions.two1), 60)
        found = ask(regions.two1, "promoted", from_timeline=7, system_identifier="7")
        assert found["failed"]
        for words in ("two is paused", "the replay on two1 is paused", "from_timeline", "system_identifier"):
            assert any(words in reason for reason in found["reasons"]), (words, found["reasons"])
        assert len(found["reasons"]) == 4
        assert regions.two1.ask("/config")["standby_cluster"]
        assert statuses(ask(regions.two1))["patroni_paused/two"] == "warning"
    finally:
        regions.two1.psql("SELECT pg_wal_replay_resume()")
        regions.two1.configuration(pause=None)
    until(lambda: paused(regions.two1) is False, 60)


def test_the_gates_of_a_move_ask_patroni(regions: Regions, tmp_path: pathlib.Path) -> None:
    (asked,) = tasks("gates", "Ask Patroni whether it could promote the cluster")

    def noted(name: str, **variables: t.Any) -> dict[str, t.Any]:
        return {"ansible.builtin.set_fact": {name: "{{ __dr_failover_patroni_refusals }}"}, "vars": variables}

    other = {"matrixon_database_patroni": regions.one1.url}
    found = play(
        tmp_path,
        [noted("hidden", matrixon_database_patroni=""), asked, noted("good"), {**asked, "vars": other}, noted("bad")],
        {name: f"{{{{ {name} }}}}" for name in ("good", "bad", "hidden")},
        role(regions.two1, dr_failover_standby_state={"standby": {"patroni": True}}),
    )
    assert found["good"] == []
    assert regions.two1.ask("/config")["standby_cluster"]
    assert len(found["bad"]) == 1 and "one is no standby cluster" in found["bad"][0]
    # Nobody is promoted around it because nobody said that it is there.
    assert len(found["hidden"]) == 1 and "matrixon_database_patroni is empty" in found["hidden"][0]
    assert API_PASSWORD not in found["said"]


def test_refuses_to_promote_what_is_no_standby_cluster(regions: Regions) -> None:
    assert "one is no standby cluster" in ask(regions.one1, "promoted")["msg"]
    assert "it may be the old primary" in ask(regions.one1, "promoted", from_timeline=1)["msg"]
    found = ask(regions.one2, "promoted", from_timeline=1)
    assert f"and one1 leads; name {regions.one1.url}/patroni" in found["msg"]


def test_an_api_that_is_not_there_or_hangs(regions: Regions) -> None:
    found = ask(regions.two1, url=f"http://127.0.0.1:{free_port()}")
    assert (found["failed"], found["error_kind"]) == (True, "refused")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        begin = time.monotonic()
        found = ask(regions.two1, url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=1)
    assert (found["failed"], found["error_kind"]) == (True, "timeout")
    assert time.monotonic() - begin < 20


def test_something_else_answers(regions: Regions) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            for _turn in range(3):
                with listening.accept()[0] as connection:
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

        thread = threading.Thread(target=answer)
        thread.start()
        found = ask(regions.two1, "promoted", url=f"http://127.0.0.1:{listening.getsockname()[1]}")
        thread.join(20)
    assert found["failed"] and "is no API of Patroni" in found["msg"]


def test_a_member_that_hangs_is_unknown(regions: Regions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patroni, "PATIENCE", 1.0)
    regions.one2.hang()
    try:
        found = ask(regions.one1)
    finally:
        regions.one2.go_on()
    assert statuses(found)["patroni_member/one2"] == "unknown"
    assert statuses(found)["patroni_leader/one"] == "ok"


def test_the_leader_changes_and_the_old_one_follows(regions: Regions) -> None:
    refused = ask(regions.one1, "switchover", leader="one2", candidate="nobody")
    assert len(refused["reasons"]) == 2, refused
    found = ask(regions.one1, "switchover", leader="one1", candidate="one2")
    assert not found.get("failed"), found["msg"] + regions.one1.log()
    assert found["changed"]
    assert regions.one2.psql("SELECT pg_is_in_recovery()") == "f"
    assert "one1" in regions.one2.senders()
    assert found["cluster"]["timeline"] == 2
    again = ask(regions.one1, "switchover", leader="one1", candidate="one2")
    assert (again["changed"], again.get("failed")) == (False, None), again


def test_what_promotes_by_itself_leaves_the_cluster_to_patroni(regions: Regions) -> None:
    before = (regions.two1.data / "postgresql.auto.conf").read_text()
    found = invoke("matrixon_promote", **server(regions.two1))
    assert found["failed"] and "Patroni runs this cluster" in found["msg"]
    assert regions.two1.psql("SELECT pg_is_in_recovery()") == "t"
    assert (regions.two1.data / "postgresql.auto.conf").read_text() == before


def test_an_old_primary_is_rewound_and_follows(regions: Regions) -> None:
    timeline = ask(regions.two1)["cluster"]["timeline"]
    found = ask(regions.two1, "promoted", from_timeline=timeline)
    assert not found.get("failed"), found["msg"] + regions.two1.log()
    # Nobody has fenced the other cluster. What it writes now, the new primary never gets, and only a rewind takes back.
    regions.one2.psql("INSERT INTO t SELECT generate_series(100, 1100)")
    low = ask(regions.one1, "standby", primary=regions.two1.address, until_lsn="0/1", timeline=timeline + 1)
    assert "until_lsn: one2 has written up to 0/" in low["msg"]
    own = ask(regions.one1, "standby", primary=regions.one2.address, until_lsn="F/1", timeline=timeline + 1)
    assert "is one2, a member of one itself" in own["msg"]
    assert "standby_cluster" not in regions.one1.ask("/config")
    regions.two1.psql("INSERT INTO t SELECT generate_series(2, 3000)")
    while regions.two1.position() <= regions.one2.position():
        regions.two1.psql("SELECT pg_switch_wal()")
    marker = invoke("matrixon_marker", id="back", **server(regions.two1))["marker"]
    position = {"until_lsn": marker["lsn"], "timeline": marker["timeline"]}
    found = ask(regions.one1, "standby", primary=regions.two1.address, **position)
    assert not found.get("failed"), found["msg"] + regions.one2.log()
    assert found["changed"]
    follower = regions.named(found["cluster"]["leader"])
    assert follower.psql("SELECT count(*) FROM t") == "3000"
    regions.two1.psql("INSERT INTO t VALUES (0)")
    until(lambda: follower.psql("SELECT count(*) FROM t WHERE a = 0") == "1", 60)
    again = ask(regions.one1, "standby", primary=regions.two1.address, **position)
    assert (again["changed"], again.get("failed")) == (False, None), again


def test_promotes_the_standby_cluster_whose_primary_is_gone(regions: Regions, tmp_path: pathlib.Path) -> None:
    regions.two1.kill()
    cluster = ask(regions.one1)["cluster"]
    leader, timeline = regions.named(cluster["leader"]), cluster["timeline"]
    drained = invoke("matrixon_promote", state="drained", **server(leader))
    assert not drained.get("failed"), drained["msg"]
    assert not drained["changed"]
    found = ask(leader, "promoted", from_timeline=timeline)
    assert not found.get("failed"), found["msg"] + leader.log()
    assert found["changed"]
    assert found["cluster"]["timeline"] > timeline
    assert leader.psql("SELECT pg_is_in_recovery()") == "f"
    assert "standby_cluster" not in leader.ask("/config")
    again = ask(leader, "promoted", from_timeline=timeline)
    assert (again["changed"], again.get("failed")) == (False, None), again
    data = {"system_identifier": cluster["system_identifier"], "from_timeline": timeline}
    steps = {"__dr_failover_steps": {"promote": {"data": data}}}
    by_role = [dict(*tasks("promote", "Have Patroni promote the cluster"), register="found")]
    found_again = play(tmp_path, by_role, {"found": "{{ found }}"}, role(leader, **steps))["found"]
    assert (found_again["changed"], found_again["cluster"]["leader"]) == (False, leader.name)
    proof = invoke("matrixon_promote", from_timeline=timeline, **server(leader))
    assert not proof.get("failed"), proof["msg"]
    assert proof["timeline"] == found["cluster"]["timeline"]
    assert leader.psql("SELECT count(*) FROM t") == "3001"


def test_a_cluster_that_came_to_the_same_timeline_by_itself_is_refused(regions: Regions) -> None:
    new = regions.led("one")
    assert new
    timeline = ask(new)["cluster"]["timeline"]
    regions.two1.start()
    regions.two1.await_word(state="running", role="primary", timeline=timeline)
    found = ask(regions.two1, "standby", primary=new.address, until_lsn="F/1", timeline=timeline)
    assert f"two1 is a primary on timeline {timeline} itself" in found["msg"]
    assert "standby_cluster" not in regions.two1.ask("/config")


def test_what_rewinds_by_itself_leaves_the_cluster_to_patroni(regions: Regions) -> None:
    regions.two1.kill()
    found = invoke("matrixon_rewind", source={"host": "127.0.0.1"}, **server(regions.two1))
    assert found["failed"] and "start Patroni, which rewinds by itself" in found["msg"], found
