"""The module as Ansible runs it: JSON in, JSON out."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from ansible_collections.matrixon.ops.plugins.module_utils._performance import guide, run
from ansible_collections.matrixon.ops.plugins.modules import matrixon_performance_info

ROOT = pathlib.Path(__file__).resolve().parents[4]
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
PROFILES = ROOT / "roles/matrixon/files/profiles"
BASE = {"target": "lb1", "deployment": "example", "profile": "synapse", "interval": 1, "samples": 2, "deadline": 10}
PASSWORD = "a-passw0rd"

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Return a way to call the module in this process, as its wrapper does."""

    def call(**given: Any) -> dict[str, Any]:
        with patch_module_args({**BASE, **given}), pytest.raises(SystemExit) as caught:
            matrixon_performance_info.main()
        result = json.loads(capsys.readouterr().out)
        assert bool(caught.value.code) == bool(result.get("failed"))
        return result

    return call


@pytest.mark.parametrize("check_mode", [False, True])
def test_report_is_of_the_house_in_check_mode_too(call: Call, check_mode: bool) -> None:
    result = call(_ansible_check_mode=check_mode)
    jsonschema.validate(result["report"], SCHEMA)
    assert result["changed"] is False and result["report"]["kind"] == "performance"
    names = {check["name"] for check in result["report"]["checks"]}
    assert {"cpu", "memory", "comparison"} <= names <= set(run.CHECKS)


def test_a_bad_verdict_fails_only_where_it_is_asked_to(call: Call) -> None:
    options = {"checks": ["memory"], "thresholds": {"memory": {"warning": 0, "critical": 0}}}
    assert call(**options)["report"]["status"] == "critical"
    failed = call(**options, fail_on="critical")
    assert failed["failed"] and failed["report"]["status"] == "critical" and failed["msg"].startswith("critical: ")


def test_no_password_is_in_the_result(call: Call, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "password"
    path.write_text(PASSWORD)
    server = {"port": 1, "database": f"of {PASSWORD}", "user": "u"}
    for given in ({"password": PASSWORD}, {"password_file": str(path)}):
        result = call(postgresql={**server, **given})
        assert PASSWORD not in json.dumps(result)
        (check,) = [one for one in result["report"]["checks"] if one["name"] == "postgresql_connections"]
        assert check["status"] == "critical" and check["error_kind"] == "refused"


def test_bad_options_are_refused_in_one_sentence(call: Call) -> None:
    result = call(interval=30)
    assert result["failed"] and result["msg"].startswith("deadline: 10 s leave no time beside an interval of 30 s")


def test_the_profiles_speak_of_rules_that_there_are() -> None:
    for path in PROFILES.glob("*.yml"):
        profile = yaml.safe_load(path.read_text())
        # A profile without the key would say nothing of it, not even why.
        rules = [entry["rule"] for entry in profile["guide_settings"].get("value", [])]
        assert set(rules) <= set(guide.NAMES), path.stem
    schema = json.loads((PROFILES / "schema.json").read_text())
    known = schema["properties"]["guide_settings"]["properties"]["value"]["items"]["properties"]["rule"]["enum"]
    assert sorted(known) == sorted(guide.NAMES)


def test_the_guides_settings_are_those_that_its_profile_writes() -> None:
    profile = yaml.safe_load((PROFILES / "matrixon.yml").read_text())
    written = {
        f"{table}.{name}": str(value).lower() if isinstance(value, bool) else str(value)
        for table, settings in profile["config"]["settings"].items()
        for name, value in settings.items()
        if table in ("performance", "database", "cache")
    }
    judged = {entry["setting"]: entry["value"] for entry in profile["guide_settings"]["value"]}
    assert {name: judged.get(name) for name in written} == written
