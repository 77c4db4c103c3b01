"""The modules of a move between regions, as Ansible runs them: JSON in, JSON out."""

from __future__ import annotations

import json
import os
import pathlib
import stat
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
import servers
from ansible.module_utils.testing import patch_module_args

from ansible_collections.matrixon.ops.plugins.modules import (
    matrixon_dr_gates,
    matrixon_dr_journal,
    matrixon_homeserver_info,
    matrixon_user_probe,
)

ROOT = pathlib.Path(__file__).resolve().parents[4]
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
BASE = {"target": "db2", "deployment": "example", "profile": "synapse"}
MOVE = {"operation": "failover", "from_region": "one", "to_region": "two"}
OFFLINE = {"in_recovery": True, "replay_paused": False, "disk_free_bytes": 9, "data_bytes": 10}

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Return a way to call a module in this process, as its wrapper does."""

    def call(module: Any, **given: Any) -> dict[str, Any]:
        with patch_module_args(given), pytest.raises(SystemExit) as caught:
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert bool(caught.value.code) == bool(result.get("failed"))
        return result

    return call


@pytest.fixture
def write(call: Call, tmp_path: pathlib.Path) -> Call:
    """Return a way to write into one journal."""
    path = tmp_path / "dr/journal.json"

    def write(state: str, step: str | None = None, **more: Any) -> dict[str, Any]:
        given = {**MOVE, "path": str(path), "state": state, **({"step": step} if step else {}), **more}
        return call(matrixon_dr_journal, **given)

    return write


# --- matrixon_dr_gates


@pytest.mark.parametrize("check_mode", [False, True])
def test_gates_refuse_with_all_reasons_and_a_report_of_the_house(call: Call, check_mode: bool) -> None:
    given = {**BASE, "from_region": "one", "to_region": "one", "standby": {**OFFLINE, "replay_paused": True}}
    given["media"] = None
    result = call(matrixon_dr_gates, **given, _ansible_check_mode=check_mode)
    jsonschema.validate(result["report"], SCHEMA)
    assert (result["changed"], result["report"]["kind"], result["report"]["status"]) == (
        False,
        "failover_gates",
        "critical",
    )
    gates = [text.split(":")[0] for text in result["refusals"]]
    assert gates == ["dr_regions", "dr_fence", "dr_replay", "dr_heartbeat", "dr_release", "dr_signing_key"]
    assert "failed" not in result


def test_gates_take_what_the_operator_accepts_also_as_a_number(call: Call) -> None:
    given = {
        **BASE,
        "from_region": "one",
        "to_region": "two",
        "standby": OFFLINE,
        "fences": ["ssh"],
        "homeservers": [{"host": "hs2", "release": "1.2", "signing_key_ids": ["ed25519:a"]}],
        "primary_homeservers": [{"release": "1.2", "signing_key_ids": ["ed25519:a"]}],
        "dns": [{"name": "matrix.test", "ttl": 300}],
        "max_ttl": 60,
    }
    assert len(call(matrixon_dr_gates, **given)["refusals"]) == 2
    accepted = call(matrixon_dr_gates, **given, accept={"heartbeat": "none", "dns_ttl": 300})
    assert accepted["refusals"] == [] and accepted["report"]["status"] == "ok"
    assert len(call(matrixon_dr_gates, **{**given, "max_ttl": 300})["refusals"]) == 1
    refused = call(matrixon_dr_gates, **given, accept={"everything": "yes"})
    assert refused["failed"] and "everything" in refused["msg"]


# --- matrixon_dr_journal


def test_a_move_is_written_step_by_step_and_ends_in_a_report(write: Call, tmp_path: pathlib.Path) -> None:
    none = write("read")
    assert (none["changed"], none["journal"], none["seconds"]) == (False, {}, {})
    first = write("done", "gates", since="2026-11-27T12:00:00.000Z", data={"accepted": {}})
    assert first["journal"]["started"] == "2026-11-27T12:00:00.000Z" and first["changed"] is False
    assert stat.S_IMODE(os.stat(tmp_path / "dr/journal.json").st_mode) == 0o600
    write("begun", "fence")
    again = write("begun", "fence")
    assert again["journal"]["steps"]["fence"]["attempts"] == 2
    write("done", "fence", data={"proofs": [{"method": "ssh", "message": "seen"}]})
    write("noted", "promote", data={"loss": {"bytes": 96, "seconds": 1.0}})
    write("noted", "promote", data={"loss": {"bytes": 0, "seconds": 0.0}})
    for step in ("promote", "scale", "verify", "switch_dns", "communicate"):
        write("done", step)
    ended = write("ended", report={**BASE, "rto_seconds": 1e9})
    jsonschema.validate(ended["report"], SCHEMA)
    assert ended["report"]["status"] == "warning" and ended["report"]["facts"]["loss"]["bytes"] == 96
    assert set(ended["seconds"]) == set(ended["journal"]["steps"]) and ended["journal"]["finished"]
    # It has ended: once more changes nothing.
    assert write("ended")["journal"] == ended["journal"]


def test_nothing_is_written_in_check_mode(write: Call, tmp_path: pathlib.Path) -> None:
    would = write("begun", "gates", _ansible_check_mode=True)
    assert would["journal"]["steps"]["gates"]["attempts"] == 1 and not (tmp_path / "dr").exists()
    begun = write("done", "gates")
    kept = (tmp_path / "dr/journal.json").read_bytes()
    write("forgotten", started=begun["journal"]["started"], _ansible_check_mode=True)
    write("begun", "fence", _ansible_check_mode=True)
    assert (tmp_path / "dr/journal.json").read_bytes() == kept


def test_another_move_in_the_middle_is_refused_until_it_is_forgotten_by_name(
    write: Call, tmp_path: pathlib.Path
) -> None:
    begun = write("done", "gates")
    started = begun["journal"]["started"]
    other = write("begun", "gates", from_region="two", to_region="one")
    assert other["failed"] and f"dr_failover_forget={started}" in other["msg"]
    wrong = write("forgotten", started="2020-01-01T00:00:00.000Z")
    assert wrong["failed"] and started in wrong["msg"]
    assert write("forgotten", started=started)["changed"]
    assert os.listdir(tmp_path / "dr") == [f"journal.json.forgotten-{started}"]
    assert write("forgotten", started=started)["changed"] is False
    assert "failed" not in write("begun", "gates", from_region="two", to_region="one")


def test_a_move_that_has_ended_cannot_be_forgotten(write: Call) -> None:
    started = write("done", "gates")["journal"]["started"]
    write("ended")
    assert write("forgotten", started=started)["changed"] is False
    assert write("read")["journal"]["started"] == started


@pytest.mark.parametrize("state", ["begun", "noted", "done"])
def test_no_step_without_gates(write: Call, state: str) -> None:
    refused = write(state, "promote")
    assert refused["failed"] and "has passed its gates" in refused["msg"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"since": "yesterday"}, "since: 'yesterday' is no time such as"),
        ({"since": "2026-11-27T12:00:00"}, "since: "),
        ({"step": None}, "step"),
        ({"operation": None}, "operation"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    call: Call, tmp_path: pathlib.Path, given: dict[str, Any], words: str
) -> None:
    whole = {**MOVE, "path": str(tmp_path / "dr/journal.json"), "state": "done", "step": "gates", **given}
    result = call(matrixon_dr_journal, **{name: value for name, value in whole.items() if value is not None})
    assert result["failed"] and words in result["msg"] and not (tmp_path / "dr").exists()


def test_a_file_that_is_no_journal_is_left_alone(write: Call, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "dr/journal.json"
    path.parent.mkdir()
    path.write_text("somebody's notes")
    for state, step in (("read", None), ("begun", "gates"), ("forgotten", None)):
        result = write(state, step, started="2026-11-27T12:00:00.000Z")
        assert result["failed"] and str(path) in result["msg"]
    assert path.read_text() == "somebody's notes"


# --- matrixon_homeserver_info


def test_a_homeserver_tells_its_release_and_the_ids_of_its_keys_and_no_key(call: Call, tmp_path: pathlib.Path) -> None:
    (tmp_path / "releases/1.163.2").mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/1.163.2")
    (tmp_path / "signing.key").write_text("ed25519 a_1 c2VjcmV0\n# old\ned25519 b_2 b3RoZXI\n")
    given = {"release_link": str(tmp_path / "current"), "signing_key_file": str(tmp_path / "signing.key")}
    result = call(matrixon_homeserver_info, **given)
    assert (result["release"], result["signing_key_ids"]) == ("1.163.2", ["ed25519:a_1", "ed25519:b_2"])
    assert "c2VjcmV0" not in json.dumps(result) and result["changed"] is False


def test_a_host_without_a_release_and_without_keys_says_so(call: Call, tmp_path: pathlib.Path) -> None:
    (tmp_path / "current").symlink_to("releases/gone")
    result = call(matrixon_homeserver_info, release_link=str(tmp_path / "current"))
    assert (result["release"], result["signing_key_ids"]) == (None, [])
    result = call(matrixon_homeserver_info, release_link=str(tmp_path / "x"), signing_key_file=str(tmp_path / "y"))
    assert (result["release"], result["signing_key_ids"]) == (None, [])


# --- matrixon_user_probe


@pytest.mark.parametrize(("fail_on", "fails"), [("never", False), ("critical", True)])
def test_a_probe_fails_where_it_is_told_to(call: Call, closed_port: int, fail_on: str, fails: bool) -> None:
    given = {**BASE, "url": f"http://127.0.0.1:{closed_port}", "user": "probe", "password": "a-passw0rd"}
    result = call(matrixon_user_probe, **given, fail_on=fail_on, deadline=5, detail="full")
    jsonschema.validate(result["report"], SCHEMA)
    assert bool(result.get("failed")) == fails and result["report"]["kind"] == "user_probe"
    assert result["report"]["counts"] == {"ok": 0, "warning": 0, "critical": 1, "unknown": 0, "skipped": 2}
    assert "a-passw0rd" not in json.dumps(result)


def test_a_probe_that_tried_nothing_is_unknown_and_never_ok(call: Call) -> None:
    result = call(matrixon_user_probe, **BASE, url="http://127.0.0.1:1", fail_on="unknown")
    assert result["failed"] and result["msg"] == "unknown: no check was executed"


def test_tokens_come_from_files_and_are_told_to_nobody(call: Call, serve: Any, tmp_path: pathlib.Path) -> None:
    (tmp_path / "token").write_text("syt_from_file\n")
    server = serve(servers.pages({}))
    result = call(
        matrixon_user_probe,
        **BASE,
        url=f"http://{server.authority}",
        sender_token="syt_other",
        sender_token_file=str(tmp_path / "token"),
    )
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer syt_from_file"}
    assert "syt_from_file" not in json.dumps(result) and "syt_other" not in json.dumps(result)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sender_token_file": "missing"}, "sender_token_file: "),
        ({"reader_token_file": "empty"}, "is empty; write the token into it"),
        ({"deadline": 0}, "deadline: 0 is no time to wait"),
        ({"deadline": -1}, "deadline: -1 is no time to wait"),
    ],
)
def test_bad_options_of_a_probe_are_refused_before_anybody_is_asked(
    call: Call, serve: Any, tmp_path: pathlib.Path, given: dict[str, Any], words: str
) -> None:
    (tmp_path / "empty").write_text("\n")
    server = serve(servers.pages({}))
    given = {name: str(tmp_path / value) if name.endswith("_file") else value for name, value in given.items()}
    result = call(matrixon_user_probe, **BASE, url=f"http://{server.authority}", user="probe", **given)
    assert result["failed"] and words in result["msg"] and server.requests == []
