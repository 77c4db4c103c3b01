"""Tests of the module as Ansible runs it: JSON in, JSON out."""

from __future__ import annotations

import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from ansible_collections.matrixon.ops.plugins.module_utils._security import state
from ansible_collections.matrixon.ops.plugins.modules import matrixon_security_events_info as module

ROOT = pathlib.Path(__file__).resolve().parents[4]
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
PATTERNS = yaml.safe_load((ROOT / "roles/matrixon/files/profiles/synapse.yml").read_text())["security"]
PATTERNS.pop("log")

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path) -> Call:
    """Return a way to call the module in this process, as its wrapper does, on the recorded logs."""
    for path in (ROOT / "tests/unit/fixtures/security").glob("*.log"):
        shutil.copy(path, tmp_path)
    base = {
        "target": "hs1",
        "deployment": "example",
        "profile": "synapse",
        "patterns": PATTERNS,
        "log_files": [f"{tmp_path}/*.log"],
        "host_log": False,
        "fail2ban": False,
        "state_dir": str(tmp_path / "state"),
        # The lines were recorded at one time, and the window ends now.
        "since_hours": 336,
    }

    def call(**given: Any) -> dict[str, Any]:
        with patch_module_args({**base, **given}), pytest.raises(SystemExit) as caught:
            module.main()
        result = json.loads(capsys.readouterr().out)
        assert bool(caught.value.code) == bool(result.get("failed"))
        return result

    return call


@pytest.fixture(autouse=True)
def everything_is_recent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the time of the recorded lines be no reason to leave them out, whenever this test runs."""
    from ansible_collections.matrixon.ops.plugins.module_utils._security import language

    monkeypatch.setattr(language.Clock, "_read", lambda self, minute: __import__("time").time() - 600)


def test_a_report_comes_back_and_nothing_counts_as_changed(call: Call) -> None:
    result = call()
    jsonschema.validate(result["report"], SCHEMA)
    assert (result["changed"], result["report"]["kind"], result["report"]["status"]) == (False, "security", "warning")
    assert sum(result["events"].values()) == 51
    assert result["events"] == result["report"]["facts"]["events"]
    assert call()["events"] == {}


def test_check_mode_moves_nothing(call: Call, tmp_path: pathlib.Path) -> None:
    for _run in range(2):
        assert sum(call(_ansible_check_mode=True)["events"].values()) == 51
    assert not (tmp_path / "state").exists()


def test_it_fails_on_a_bad_verdict_only_if_it_is_asked_to_and_the_place_has_moved(call: Call) -> None:
    result = call(fail_on="warning")
    assert result["failed"]
    assert result["msg"].startswith("warning: ")
    assert sum(result["report"]["facts"]["events"].values()) == 51
    assert call()["events"] == {}


def test_a_place_that_cannot_be_kept_is_told_with_the_report(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(directory: str, left: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(state, "save", full)
        result = call()
    assert result["failed"]
    assert "No space left on device; the next call will count the same events again" in result["msg"]
    assert sum(result["report"]["facts"]["events"].values()) == 51
    assert sum(call()["events"].values()) == 51


def test_what_cannot_be_is_refused(call: Call, tmp_path: pathlib.Path) -> None:
    assert "top: 0 cannot be; give a number from 1 to 100" in call(top=0)["msg"]
    (tmp_path / "file").touch()
    assert "give state_dir" in call(state_dir=str(tmp_path / "file"))["msg"]
