"""The report of a move, made of its journal: each status, and always of the house's shape."""

from __future__ import annotations

import datetime
import json
import pathlib
import typing as t

import jsonschema
import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._dr import report
from ansible_collections.matrixon.ops.plugins.module_utils._dr.steps import NAMES, OPERATIONS

ROOT = pathlib.Path(__file__).resolve().parents[5]
VALIDATOR = jsonschema.Draft202012Validator(json.loads((ROOT / "docs/report.schema.json").read_text()))
FRAME = report.Frame("db2", "example", "synapse", 300.0, 900.0)
NOW = datetime.datetime(2026, 11, 27, 12, 2, 0, tzinfo=datetime.timezone.utc)
LOSS = {"bytes": 0, "seconds": 0.0, "at": "2026-11-27T11:59:50.000Z", "events": 0}
PROOF = {"method": "ssh", "message": "db1 were stopped and seen stopped"}


def step(begun: int, took: float | None = 2.5, attempts: int = 1, **data: t.Any) -> dict[str, t.Any]:
    start = datetime.datetime(2026, 11, 27, 12, 0, begun, tzinfo=datetime.timezone.utc)
    end = None if took is None else start + datetime.timedelta(seconds=took)
    return {"started": text(start), "finished": end and text(end), "attempts": attempts, "data": data}


def text(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def moved(loss: dict[str, t.Any] | None = None, proofs: list[dict[str, str]] | None = None, **changes: t.Any) -> t.Any:
    """The journal of a move that went well, with changes of its steps or of itself."""
    steps = {name: step(4 * number) for number, name in enumerate(NAMES)}
    steps["fence"] = step(4, proofs=[PROOF] if proofs is None else proofs)
    beat = {"at": "2026-11-27T11:59:50.000Z"}
    steps["promote"] = step(8, loss=LOSS if loss is None else loss, heartbeat=beat)
    steps.update({name: changes.pop(name) for name in NAMES if name in changes})
    return {
        "schema": "matrixon.ops/dr/1",
        "operation": "failover",
        "from": "one",
        "to": "two",
        "started": "2026-11-27T12:00:00.000Z",
        "finished": "2026-11-27T12:00:40.000Z",
        "steps": {name: known for name, known in steps.items() if known is not None},
        **changes,
    }


def made(journal: t.Any, frame: report.Frame = FRAME) -> dict[str, t.Any]:
    document = report.report(journal, frame, NOW).as_dict("full")
    VALIDATOR.validate(document)
    return json.loads(json.dumps(document))


def check(document: dict[str, t.Any], name: str) -> dict[str, t.Any]:
    (found,) = [one for one in document["checks"] if one["name"] == name]
    return found


def test_a_move_that_went_well_is_ok_and_says_how_long_each_step_took() -> None:
    document = made(moved())
    assert (document["kind"], document["status"], document["duration_ms"]) == ("failover", "ok", 40000)
    assert document["counts"] == {"ok": 10, "warning": 0, "critical": 0, "unknown": 0, "skipped": 0}
    assert [check(document, f"dr_step_{name}")["value"] for name in NAMES] == [2.5] * 7
    assert check(document, "dr_step_fence")["message"] == "Keep the old region from taking writes: 2.5 s"
    assert check(document, "dr_rto")["message"] == (
        "done 40.0 s after the order; 50 s after the last sign of the primary; the objective is 300 s"
    )
    assert document["facts"]["from"] == "one" and document["facts"]["loss"]["bytes"] == 0


@pytest.mark.parametrize("operation", OPERATIONS)
def test_its_kind_is_what_was_done(operation: str) -> None:
    assert made(moved(operation=operation))["kind"] == operation


def test_a_step_that_needed_several_attempts_says_so() -> None:
    document = made(moved(scale=step(12, 20, attempts=3)))
    assert check(document, "dr_step_scale")["message"].endswith("20.0 s, at attempt 3")


def test_a_move_that_died_in_the_middle_is_critical_and_what_was_not_begun_is_unknown() -> None:
    died = moved(
        finished=None, promote=step(8, None, loss=LOSS), scale=None, verify=None, switch_dns=None, communicate=None
    )
    document = made(died)
    assert document["status"] == "critical"
    halted = check(document, "dr_step_promote")
    assert (halted["status"], halted["value"]) == ("critical", 112.0) and "begun 112 s ago, and not done" in halted[
        "message"
    ]
    late = [check(document, f"dr_step_{name}") for name in ("scale", "verify", "switch_dns", "communicate")]
    assert {one["status"] for one in late} == {"unknown"} and late[0]["message"].endswith("not begun")
    assert "value" not in late[0]
    rto = check(document, "dr_rto")
    assert rto["status"] == "critical" and rto["message"].startswith("not done 120.0 s after the order")


@pytest.mark.parametrize(("objective", "status"), [(40.0, "ok"), (39.9, "critical")])
def test_the_time_is_held_against_its_objective(objective: float, status: str) -> None:
    rto = check(made(moved(), FRAME._replace(rto_s=objective)), "dr_rto")
    assert (rto["status"], rto["value"], rto["critical"]) == (status, 40.0, objective)


@pytest.mark.parametrize(
    ("loss", "status", "words"),
    [
        ({}, "unknown", "was not measured"),
        ({"bytes": None, "seconds": None}, "unknown", "there was no heartbeat"),
        ({**LOSS}, "ok", "nothing is lost of what the last heartbeat (2026-11-27T11:59:50.000Z) knew of"),
        ({"bytes": 96, "seconds": 900.0, "events": 12}, "warning", "900 s before the last heartbeat, 12 events"),
        ({"bytes": 96, "seconds": 900.1, "events": None}, "critical", "900 s before the last heartbeat"),
        ({"bytes": 96, "seconds": None}, "critical", "an unknown time before the last heartbeat"),
        # What an older Ansible makes of the same.
        ({"bytes": "", "seconds": "", "events": ""}, "unknown", "there was no heartbeat"),
        ({"bytes": "0", "seconds": "0.0", "events": "0"}, "ok", "nothing is lost"),
        ({"bytes": "96", "seconds": "12.5", "events": "3"}, "warning", "12 s before the last heartbeat, 3 events"),
    ],
)
def test_the_loss_is_told_as_it_was_measured(loss: dict[str, t.Any], status: str, words: str) -> None:
    found = check(made(moved(loss)), "dr_loss")
    assert found["status"] == status and words in found["message"]
    assert found.get("value") == {"ok": 0, "warning": 96, "critical": 96}.get(status)


def test_a_move_before_its_promotion_knows_nothing_of_a_loss() -> None:
    assert check(made(moved(finished=None, promote=None)), "dr_loss")["status"] == "unknown"


@pytest.mark.parametrize(
    ("method", "status"),
    [("ssh", "ok"), ("guard", "ok"), ("lease", "ok"), ("command", "warning"), ("statement", "warning")],
)
def test_what_rests_on_a_word_is_never_shown_as_seen(method: str, status: str) -> None:
    document = made(moved(proofs=[{"method": method, "message": "it was cut off"}]))
    fenced = check(document, "dr_fenced")
    assert (fenced["status"], fenced["message"]) == (status, f"{method}: it was cut off")
    assert document["status"] == status


def test_every_proof_is_told() -> None:
    document = made(moved(proofs=[PROOF, {"method": "statement", "message": "said"}]))
    assert [one["status"] for one in document["checks"] if one["name"] == "dr_fenced"] == ["warning", "ok"]
    assert [one for one in made(moved(proofs=[]))["checks"] if one["name"] == "dr_fenced"] == []


def test_clocks_of_two_hosts_that_differ_make_no_negative_time() -> None:
    early = moved(gates=step(30, -2.0), started="2026-11-27T12:00:41.000Z")
    early["steps"]["promote"]["data"]["heartbeat"] = {"at": "2026-11-27T12:00:45.000Z"}
    document = made(early)
    assert check(document, "dr_step_gates")["value"] == 0 and check(document, "dr_rto")["value"] == 0
    assert "; 0 s after the last sign" in check(document, "dr_rto")["message"]
