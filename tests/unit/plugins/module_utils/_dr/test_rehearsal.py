"""The report of a drill: what a real move would take, and what it must not be silent about."""

from __future__ import annotations

import dataclasses
import datetime
import json
import pathlib

import jsonschema

from ansible_collections.matrixon.ops.plugins.module_utils._dr import rehearsal

START = datetime.datetime(2026, 11, 27, 12, 0, tzinfo=datetime.timezone.utc)
PHASES = {"gates": 2.0, "copy": 50.0, "promote": 3.0, "check": 9.0, "homeserver": 20.0, "try": 1.0, "teardown": 4.0}
SERVER = {
    "pid": 812,
    "started": "2026-11-20T00:00:00.000Z",
    "in_recovery": True,
    "timeline": 1,
    "receiver": "streaming",
    "replay_lsn": "0/1",
}
DRILL = rehearsal.Drill(
    target="db2",
    deployment="example",
    profile="synapse",
    started=START,
    finished=START + datetime.timedelta(seconds=90),
    rto_s=100,
    rpo_s=100,
    phases=PHASES,
    checks=[{"name": "dr_replay", "target": "db2", "status": "critical", "message": "its replay is paused"}],
    loss={"bytes": 0, "seconds": 0.0, "at": "2026-11-27T11:59:58.000Z"},
    before=SERVER,
    after={**SERVER, "replay_lsn": "0/2"},
    left=[],
)


def checks(**changes):
    report = rehearsal.report(dataclasses.replace(DRILL, **changes)).as_dict("full")
    return {check["name"]: check for check in report["checks"]}


def test_it_is_a_report_and_has_what_the_gates_said() -> None:
    report = rehearsal.report(DRILL).as_dict("full")
    schema = json.loads((pathlib.Path(__file__).parents[5] / "docs/report.schema.json").read_text())
    jsonschema.validate(report, schema)
    assert report["kind"] == "drill_dr"
    assert report["status"] == "critical"
    found = {check["name"]: check["status"] for check in report["checks"]}
    assert {name for name, status in found.items() if status == "critical"} == {"dr_replay"}
    assert found["drill_media"] == "skipped"
    assert report["facts"]["forecast"]["missing"] == ["fence", "switch_dns", "communicate"]


def test_the_time_is_that_of_the_steps_and_names_what_is_not_in_it() -> None:
    check = checks()["drill_forecast_rto"]
    # Copying, reading and removing are no steps of a move.
    assert check["value"] == 26
    assert check["status"] == "ok"
    for words in ("at least 26 s", "not in it: fence, switch_dns, communicate", "TTL", "people"):
        assert words in check["message"]


def test_a_real_move_says_what_a_drill_cannot() -> None:
    move = {"started": "2026-10-01T00:00:00.000Z", "seconds": {"fence": 30, "switch_dns": 4, "promote": 99}}
    check = checks(move=move)["drill_forecast_rto"]
    assert check["value"] == 60
    assert "fence 30.0 s (the move of 2026-10-01T00:00:00.000Z)" in check["message"]
    assert "promote 3.0 s (rehearsed)" in check["message"]
    assert "not in it: communicate" in check["message"]


def test_the_time_is_held_against_the_objective() -> None:
    assert checks(rto_s=32.6)["drill_forecast_rto"]["status"] == "ok"
    assert checks(rto_s=32.4)["drill_forecast_rto"]["status"] == "warning"
    assert checks(rto_s=25.9)["drill_forecast_rto"]["status"] == "critical"


def test_there_is_no_forecast_without_the_steps_that_take_long() -> None:
    phases = {name: seconds for name, seconds in PHASES.items() if name not in ("homeserver", "try")}
    check = checks(phases=phases)["drill_forecast_rto"]
    assert check["status"] == "unknown"
    assert "value" not in check
    assert "scale could not be rehearsed" in check["message"]
    assert checks(phases=phases, move={"started": "x", "seconds": {"scale": 9}})["drill_forecast_rto"]["value"] == 14


def test_the_loss_is_held_against_the_objective_and_an_old_heartbeat_says_nothing() -> None:
    behind = {"bytes": 4096, "at": "2026-11-27T11:59:58.000Z"}
    for seconds, status in ((80, "ok"), (80.1, "warning"), (100, "warning"), (100.1, "critical")):
        check = checks(loss={**behind, "seconds": seconds})["drill_forecast_rpo"]
        assert (check["value"], check["status"]) == (seconds, status)
    assert checks()["drill_forecast_rpo"]["value"] == 0
    for loss in (
        {},
        {**behind, "seconds": None},
        {"bytes": None, "seconds": None, "at": behind["at"]},
        {"bytes": 0, "seconds": 0, "at": "2026-11-27T11:58:59.000Z"},
    ):
        assert checks(loss=loss)["drill_forecast_rpo"]["status"] == "unknown", loss


def test_a_server_that_was_restarted_or_stopped_following_is_seen() -> None:
    assert checks()["drill_production"]["status"] == "ok"
    for key, value in (("pid", 813), ("started", "2026-11-27T12:00:30.000Z"), ("receiver", None), ("timeline", 2)):
        check = checks(after={**SERVER, key: value})["drill_production"]
        assert check["status"] == "critical"
        assert key in check["message"]
    still = {**SERVER, "receiver": None}
    assert checks(before=still, after=still)["drill_production"]["status"] == "warning"
    assert checks(after={})["drill_production"]["status"] == "unknown"


def test_what_is_left_and_what_failed_is_named() -> None:
    assert checks()["drill_removed"]["status"] == "ok"
    assert checks(left=None)["drill_removed"]["status"] == "unknown"
    assert "x.service" in checks(left=["x.service"])["drill_removed"]["message"]
    failed = checks(failures=[{"phase": "promote", "reason": "no answer"}])["drill_promote"]
    assert failed["status"] == "critical"
    assert "no answer" in failed["message"]


def test_media_are_held_against_the_objective() -> None:
    taken = {"taken": "2026-11-27T11:59:00.000Z"}
    assert checks(media={**taken, "age_s": 60})["drill_media"]["status"] == "ok"
    assert checks(media={**taken, "age_s": 101})["drill_media"]["status"] == "critical"
    assert checks(media={"taken": None, "age_s": None})["drill_media"]["status"] == "critical"


def test_a_phase_lasts_from_the_end_of_the_one_before_it_unless_it_was_measured() -> None:
    at = START.timestamp()
    marks = [{"phase": "gates", "at": at + 2}, {"phase": "copy", "at": at + 9, "seconds": None}]
    assert rehearsal.phases(START, [*marks, {"phase": "promote", "at": at + 20, "seconds": 1.5}]) == {
        "gates": 2.0,
        "copy": 7.0,
        "promote": 1.5,
    }
