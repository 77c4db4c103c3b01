"""Tests of the module as Ansible runs it: JSON in, JSON out."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
import servers
import trustme
from ansible.module_utils.testing import patch_module_args
from certificates import key_pem, make

from ansible_collections.matrixon.ops.plugins.modules import matrixon_ssl_expiry

ROOT = pathlib.Path(__file__).resolve().parents[4]
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
BASE = {"target": "lb1", "deployment": "example", "profile": "synapse"}
PASSWORD = "a-passw0rd"

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Return a way to call the module in this process, as its wrapper does."""

    def call(**given: Any) -> dict[str, Any]:
        with patch_module_args({**BASE, **given}), pytest.raises(SystemExit) as caught:
            matrixon_ssl_expiry.main()
        result = json.loads(capsys.readouterr().out)
        assert bool(caught.value.code) == bool(result.get("failed"))
        return result

    return call


@pytest.fixture
def given(serve: Any, authority: trustme.CA, ca_file: str) -> dict[str, Any]:
    """Return options with one good endpoint and one that hangs."""
    good = serve(servers.silent, servers.tls_for(authority, "m.test"))
    hung = serve(servers.silent)
    return {
        "endpoints": [
            {"host": "m.test", "address": "127.0.0.1", "port": good.port, "name": "good"},
            {"host": "m.test", "address": "127.0.0.1", "port": hung.port, "name": "hung"},
        ],
        "ca_file": ca_file,
        "timeout": 0.5,
    }


@pytest.mark.parametrize("check_mode", [False, True])
def test_report_is_of_the_house_in_check_mode_too(call: Call, given: dict[str, Any], check_mode: bool) -> None:
    result = call(**given, _ansible_check_mode=check_mode)
    jsonschema.validate(result["report"], SCHEMA)
    assert (result["changed"], result["report"]["kind"], result["report"]["status"]) == (False, "ssl_expiry", "unknown")
    assert result["counts"] == {"ok": 1, "warning": 0, "critical": 0, "unknown": 1, "skipped": 0}
    assert [one["target"] for one in result["certificates"]] == ["hung", "good"]
    assert result["soonest"]["target"] == "good" == result["report"]["facts"]["soonest"]["target"]
    assert result["msg"].startswith("unknown: 1 of 9 checks is unknown; certificate_connection: hung: ")


@pytest.mark.parametrize(("fail_on", "fails"), [("never", False), ("critical", False), ("unknown", True)])
def test_fail_on(call: Call, given: dict[str, Any], fail_on: str, fails: bool) -> None:
    result = call(**given, fail_on=fail_on)
    assert bool(result.get("failed")) == fails
    assert result["report"]["counts"]["unknown"] == 1


def test_module_by_itself_ends_at_its_deadline(given: dict[str, Any]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", matrixon_ssl_expiry.__name__],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {**BASE, **given, "timeout": 30, "deadline": 0.5}}),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=15,
    )
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert result["report"]["duration_ms"] < 1500
    late = next(check for check in result["report"]["checks"] if check["status"] == "unknown")
    assert (late["target"], late["error_kind"]) == ("hung", "timeout")


def test_bad_options_are_refused_at_once(call: Call) -> None:
    result = call(endpoints=[{"host": "m.test", "port": 0}], deadline=0)
    assert result["failed"] and "report" not in result
    assert "deadline: 0 is no time to wait" in result["msg"] and "endpoints[0].port: 0 is not a port" in result["msg"]


def test_without_cryptography_the_package_is_named(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrixon_ssl_expiry, "HAS_CRYPTOGRAPHY", False)
    result = call(endpoints=[{"host": "m.test"}])
    assert result["failed"] and "python3-cryptography" in result["msg"]


def test_neither_password_nor_key_is_told(call: Call, tmp_path: pathlib.Path) -> None:
    made = make()
    locked = key_pem(made.key, PASSWORD.encode())
    for name, content in (("it.pem", made.pem), ("key.pem", locked), ("password", PASSWORD.encode())):
        (tmp_path / name).write_bytes(content)
    file = {"path": str(tmp_path / "it.pem"), "key": str(tmp_path / "key.pem")}
    result = call(files=[{**file, "password_file": str(tmp_path / "password")}], detail="full")
    told = json.dumps(result)
    assert PASSWORD not in told and "PRIVATE KEY" not in told
    found = {check["name"]: check["status"] for check in result["report"]["checks"]}
    assert found["certificate_key_match"] == "ok"
    # A path is no secret: it is in the result as it was given.
    assert result["invocation"]["module_args"]["files"][0]["key"] == file["key"]
