"""Promotions of real standbys: refused, drained, killed in the middle, and proven."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import typing as t

from clusters import until
from pairs import NAMES, ROOT, Node, Pair, statuses

from ansible_collections.matrixon.ops.plugins.module_utils._dr import promote
from ansible_collections.matrixon.ops.plugins.module_utils._dr.lsn import behind

DEFAULTS = {
    "state": "promoted",
    **dict.fromkeys(("system_identifier", "from_timeline", "until_lsn", "marker", "target")),
    "archive": True,
    **dict.fromkeys(("drain_timeout", "promote_timeout", "archive_timeout"), 60.0),
    **{"deadline": 120.0, "version": 0, "cluster": "main", "user": "postgres"},
}


def auto(node: Node) -> str:
    return (node.data / "postgresql.auto.conf").read_text()


def test_all_reasons_against_it_are_named_at_once_and_nothing_is_touched(pair: Pair) -> None:
    pair.two.reload(recovery_min_apply_delay="5s")
    pair.two.sql("SELECT pg_wal_replay_pause()")
    until(lambda: pair.two.sql("SHOW recovery_min_apply_delay") == "5s")
    before = auto(pair.two)
    refused = pair.two.call("matrixon_promote", system_identifier="1", from_timeline=7)
    assert refused["failed"] and not refused.get("changed")
    assert [reason.split(" ")[0] for reason in refused["reasons"]] == [
        "system_identifier:",
        "its",
        "recovery_min_apply_delay",
        "from_timeline:",
    ]
    assert "pg_wal_replay_resume" in refused["msg"] and "5 s" in refused["msg"]
    assert pair.two.in_recovery() and auto(pair.two) == before
    # A primary of which nobody knows that it was promoted is none of ours.
    assert "is a primary already" in pair.one.call("matrixon_promote")["msg"]
    wrong = pair.two.call("matrixon_promote", until_lsn="here", drain_timeout=0)
    assert wrong["reasons"] and len(wrong["reasons"]) == 2


def test_the_last_segments_come_from_the_archive_before_it_is_promoted(pair: Pair) -> None:
    pair.one.stop("fast")
    pair.archiving(pair.one)
    pair.one.start()
    pair.streams()
    pair.restoring(pair.two)
    with pair.cut():
        before = pair.two.rows()
        pair.one.write(300)
        last = pair.one.sql("SELECT pg_walfile_name(pg_switch_wal())")
        until((pair.archive / last).exists)
        lost = pair.one.flushed()
        pair.one.write(7)
        end = pair.one.flushed()
        # It believes that it streams, so it does not ask the archive by itself.
        assert pair.two.rows() == before
        plan = pair.two.call("matrixon_promote", check=True)
        assert plan["changed"] and len(plan["plan"]) == 4 and pair.two.rows() == before
        drained = pair.two.promote(state="drained")
        assert drained["changed"] and behind(lost, drained["drained_lsn"]) == 0
        assert pair.two.rows() == before + 300
        assert not pair.two.promote(state="drained")["changed"]
        # What cannot be had is refused, and the standby follows its primary again.
        refused = pair.two.call("matrixon_promote", until_lsn=end, from_timeline=1)
        assert refused["failed"] and refused["msg"].startswith("until_lsn:"), refused["msg"]
        assert statuses(refused) == {"promote_drain": "critical"}
        assert "primary_conninfo = ''" not in auto(pair.two) and pair.two.in_recovery()
    until(lambda: pair.two.rows() == before + 307)
    assert pair.two.promote(state="drained")["changed"]
    pair.one.write(1)
    assert pair.two.promote(state="following")["changed"]
    assert not pair.two.promote(state="following")["changed"]
    until(lambda: pair.two.rows() == before + 308)


def test_a_planned_switchover_loses_nothing_and_needs_no_rewind(pair: Pair) -> None:
    pair.one.write(200)
    rows = pair.one.rows()
    pair.one.stop("fast")
    end = pair.one.info()["standby"]["end_lsn"]
    promoted = pair.two.promote(until_lsn=end, from_timeline=1)
    assert promoted["fork_lsn"] == promoted["drained_lsn"] == end
    assert (promoted["from_timeline"], promoted["timeline"]) == (1, 2)
    # What was promoted without what was asked for is not called good afterwards.
    late = pair.two.call("matrixon_promote", until_lsn=pair.two.flushed(), from_timeline=1)
    assert late["failed"] and statuses(late)["promote_timeline"] == "critical", late["msg"]
    assert promoted["archive"] == {"proven": False, "reason": "archive_mode is off"}
    assert pair.two.rows() == rows
    assert pair.two.sql("SELECT timeline_id FROM pg_control_checkpoint()") == "2"
    found = pair.rewind()
    assert found["possible"] and found["proven"] and not found["needed"] and not found["changed"]
    done = pair.rewind(state="rewound")
    assert done["changed"] and done["bytes"] == 0
    pair.follows(pair.one, pair.two)
    pair.one.start()
    pair.caught_up(pair.one, pair.two)
    joined = pair.one.info(marker={"id": promoted["marker"]["id"], "timeline": 2})
    assert joined["report"]["status"] == "ok", joined["msg"]
    assert pair.one.rows() == rows


def test_a_run_that_is_killed_after_any_step_is_ended_by_the_next(pair: Pair) -> None:
    pair.two.stop("fast")
    pair.archiving(pair.two)
    pair.two.start()
    pair.streams()
    rows = pair.one.rows()
    pair.one.stop("fast")
    options = {**DEFAULTS, **pair.two.options, **NAMES, "marker": "of-the-promotion"}
    for name, dummy in promote.STEPS:
        process = subprocess.run(
            [sys.executable, str(pathlib.Path(__file__).parent / "killed.py"), name],
            input=json.dumps(options),
            env={**os.environ, "PYTHONPATH": str(ROOT / ".build/collections")},
            text=True,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert process.returncode == -signal.SIGKILL, process.stderr
        assert pair.two.in_recovery() == (name == "drain"), name
    # No run was told that it is done, so what they wrote down is still there.
    note = pair.two.data / "matrixon-promotion.json"
    assert note.exists()
    ended = pair.two.promote(marker="of-the-promotion")
    assert not ended["changed"] and ended["timeline"] == 2 and ended["drained_lsn"] == ended["fork_lsn"]
    assert set(statuses(ended).values()) == {"ok"} and ended["archive"]["proven"]
    assert not note.exists() and "primary_conninfo = ''" not in auto(pair.two)
    assert pair.two.sql("SELECT count(*) FROM matrixon_dr.marker") == "1" and pair.two.rows() == rows
    # Once more it is only known by its timeline, and proven again.
    assert "is a primary already" in pair.two.call("matrixon_promote", marker="of-the-promotion")["msg"]
    again = pair.two.promote(marker="of-the-promotion", from_timeline=1)
    assert not again["changed"] and again["archive"]["segment"] > ended["archive"]["segment"]


def test_what_keeps_the_new_primary_from_its_work_is_named(pair: Pair) -> None:
    pair.two.stop("fast")
    pair.archiving(pair.two, "false")
    pair.two.set(synchronous_standby_names="gone")
    pair.two.start()
    pair.streams()
    pair.one.stop("immediate")
    waits = pair.two.call("matrixon_promote", marker="one", archive_timeout=3)
    assert waits["failed"] and waits["msg"].startswith("synchronous_standby_names is 'gone'"), waits["msg"]
    assert not pair.two.in_recovery() and "fork_lsn" in waits
    pair.two.reload(synchronous_standby_names="")
    until(lambda: pair.two.sql("SHOW synchronous_standby_names") == "")
    failed = pair.two.call("matrixon_promote", marker="one", archive_timeout=3)
    assert failed["failed"] and failed["msg"].startswith("archive_timeout: 00000002"), failed["msg"]
    # The history of the new timeline goes first.
    assert "archiving of 00000002.history failed" in failed["msg"], failed["msg"]
    assert statuses(failed)["promote_write"] == "ok" and statuses(failed)["promote_archive"] == "critical"
    assert pair.two.promote(marker="one", archive=False)["archive"] == {"proven": False, "reason": "archive: false"}
    pair.two.reload(archive_command=f"cp %p {pair.archive}/%f")
    mended = pair.two.promote(marker="one", from_timeline=1)
    assert mended["archive"]["proven"] and (pair.archive / mended["archive"]["segment"]).exists()


def test_a_receiver_that_hangs_at_a_primary_which_says_nothing_holds_nothing_up(pair: Pair) -> None:
    rows = pair.one.rows()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        pair.one.stop("immediate")
        pair.two.reload(primary_conninfo=f"host=127.0.0.1 port={silent.getsockname()[1]} user=postgres")
        receivers = "SELECT count(*) FROM pg_stat_activity WHERE wait_event ILIKE 'libpqwalreceiverconnect'"
        until(lambda: pair.two.sql(receivers) == "1")
        found = pair.two.info()
        assert found["standby"]["receiver"] == {"status": "stopped"}
        assert pair.two.promote(from_timeline=1, drain_timeout=50)["timeline"] == 2
    assert pair.two.rows() == rows


def test_a_standby_that_still_gets_log_is_not_promoted(pair: Pair) -> None:
    writer = subprocess.Popen(
        [str(pair.one.tools / "psql"), "-XqAt", f"--host={pair.one.socket}", f"--port={pair.one.port}", "-Upostgres"],
        stdin=subprocess.PIPE,
        text=True,
        **({"user": "postgres", "extra_groups": [], "cwd": "/"} if os.geteuid() == 0 else {}),
    )
    assert writer.stdin
    loop = (
        "DO $$ BEGIN LOOP INSERT INTO messages (body) VALUES ('x'); COMMIT; PERFORM pg_sleep(0.05); END LOOP; END $$;\n"
    )
    try:
        writer.stdin.write(loop)
        writer.stdin.flush()
        until(lambda: pair.one.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO %'") != "0")
        refused: dict[str, t.Any] = pair.two.call("matrixon_promote", drain_timeout=3)
    finally:
        writer.kill()
        writer.wait()
    assert refused["failed"] and "still gets log" in refused["msg"], refused["msg"]
    assert pair.two.in_recovery() and "primary_conninfo = ''" not in auto(pair.two)
