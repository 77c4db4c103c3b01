"""What matrixon_standby_info says of real servers, the two of a split brain among them."""

from __future__ import annotations

import json
import time

from clusters import until
from pairs import Pair, message, statuses

from ansible_collections.matrixon.ops.plugins.module_utils._dr.lsn import behind


def a_marker_alone_is_no_proof_without_the_timeline(pair: Pair) -> None:
    refused = pair.two.call("matrixon_standby_info", marker={"id": "first"})
    assert refused["failed"] and refused["msg"].startswith("marker.timeline:")
    found = pair.two.info(marker={"id": "first", "timeline": 2})
    assert found["standby"]["marker"]["visible"] and statuses(found)["standby_marker"] == "critical"


def a_primary_and_a_stranger_are_no_standby(pair: Pair) -> None:
    primary = pair.one.info(heartbeat={**pair.one.heartbeat(), "system_identifier": "1"})
    assert statuses(primary)["standby_recovery"] == statuses(primary)["standby_identity"] == "critical"
    assert primary["standby"]["flush_lsn"] and primary["standby"]["timeline"] == 1
    # Another server than the one of the data directory answers at the socket.
    wrong = pair.one.info(socket_directory=str(pair.two.socket), port=pair.two.port)
    assert statuses(wrong) == {"standby_server": "unknown", "standby_lag": "skipped"}
    assert str(pair.two.data) in message(wrong, "standby_server")


def what_may_not_be_asked_is_named_and_not_guessed(pair: Pair) -> None:
    # Who may not replicate cannot ask for the timeline, and all else is known.
    pair.one.sql("CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher")
    pair.caught_up(pair.two, pair.one)
    found = pair.two.info(user="watcher", marker={"id": "first", "timeline": 1})
    assert [entry["what"] for entry in found["standby"]["unreadable"]] == ["marker", "timeline"]
    assert "timeline" not in found["standby"] and found["standby"]["replay_lsn"]
    assert statuses(found)["standby_timeline"] == statuses(found)["standby_marker"] == "unknown"


def test_a_standby_that_streams_is_told_with_its_marker_and_lacks_nothing(pair: Pair) -> None:
    marker = pair.one.good("matrixon_marker", id="first")
    assert marker["changed"] and marker["marker"]["timeline"] == 1
    assert not pair.one.good("matrixon_marker", id="first")["changed"]
    pair.caught_up(pair.two, pair.one)
    found = pair.two.info(heartbeat=pair.one.heartbeat(), marker={"id": "first"})
    facts = found["standby"]
    assert found["report"]["status"] == "ok", found["msg"]
    assert set(statuses(found).values()) == {"ok"} and len(statuses(found)) == 9
    assert (facts["lag_bytes"], facts["lag_seconds"], facts["timeline"]) == (0, 0.0, 1)
    assert facts["replay_lsn"] == pair.one.flushed()
    assert facts["receiver"]["status"] == "streaming" and facts["received_timeline"] == 1
    assert facts["limits"]["max_connections"] == 120 and facts["data_bytes"] > 1_000_000
    assert "canary" not in json.dumps(found), "the password of the replication is shown"
    assert facts["unreadable"] == []
    a_marker_alone_is_no_proof_without_the_timeline(pair)
    a_primary_and_a_stranger_are_no_standby(pair)
    what_may_not_be_asked_is_named_and_not_guessed(pair)


def test_a_server_that_is_down_is_told_by_its_files(pair: Pair) -> None:
    identifier, last = pair.one.identifier(), pair.one.flushed()
    pair.one.stop("fast")
    found = pair.one.info()
    assert statuses(found)["standby_server"] == "critical" and "shut down" in found["msg"]
    assert found["standby"]["system_identifier"] == identifier and found["standby"]["clean"]
    # The standby got the last checkpoint, and that is where the log ends.
    until(lambda: pair.two.sql("SELECT count(*) FROM pg_stat_wal_receiver") == "0")
    assert found["standby"]["end_lsn"] == pair.two.sql("SELECT pg_last_wal_replay_lsn()")
    assert behind(found["standby"]["end_lsn"], last) > 0


def test_f22_what_a_promotion_loses_is_said_before_and_a_fake_rejoin_is_told(pair: Pair) -> None:
    pair.one.write(1)
    pair.caught_up(pair.two, pair.one)
    with pair.cut():
        before = pair.two.rows()
        pair.one.write(500)
        heartbeat = pair.one.heartbeat()
        found = pair.two.info(heartbeat=heartbeat, lag_warning=0.001, lag_critical=3600)
        facts = found["standby"]
        assert facts["lag_bytes"] == behind(heartbeat["lsn"], facts["replay_lsn"]) > 500 * 100
        assert statuses(found)["standby_lag"] == "warning"
        promoted = pair.two.promote(from_timeline=1, system_identifier=heartbeat["system_identifier"])
    # What is lost is what was said, to the byte and to the row.
    assert promoted["changed"] and promoted["fork_lsn"] == promoted["drained_lsn"] == facts["replay_lsn"]
    assert pair.two.rows() == before == pair.one.rows() - 500
    # Two primaries now, each of which takes writes, and only one says that it was promoted.
    pair.one.write(1)
    pair.two.write(1)
    assert not pair.one.in_recovery() and not pair.two.in_recovery()
    refused = pair.one.call("matrixon_promote", from_timeline=1)
    assert refused["failed"] and "it may be the old primary" in refused["msg"]
    # The old primary comes back without a rewind, and looks like a standby.
    pair.one.stop("fast")
    pair.follows(pair.one, pair.two)
    pair.one.start()
    assert pair.one.in_recovery()
    written = pair.two.good("matrixon_marker")["marker"]
    time.sleep(0.5)
    fake = pair.one.info(marker={"id": written["id"], "timeline": written["timeline"]})
    assert statuses(fake)["standby_marker"] == statuses(fake)["standby_timeline"] == "critical"
    assert "has not come here" in message(fake, "standby_marker")
    # With a rewind it is one.
    pair.one.stop("fast")
    done = pair.rewind(state="rewound")
    assert not done.get("failed"), done["msg"]
    assert done["changed"] and done["discarded_bytes"] >= facts["lag_bytes"] and done["bytes"] > 0
    pair.one.start()
    pair.caught_up(pair.one, pair.two)
    joined = pair.one.info(marker={"id": written["id"], "timeline": written["timeline"]})
    assert joined["report"]["status"] == "ok", joined["msg"]
    assert pair.one.rows() == pair.two.rows() == before + 1
