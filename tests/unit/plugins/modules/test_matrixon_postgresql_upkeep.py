"""The module as Ansible runs it, where no server is needed: options that cannot be right, and secrets."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.matrixon.ops.plugins.modules import matrixon_postgresql_upkeep

ROOT = pathlib.Path(__file__).resolve().parents[4]
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
SERVER = {"port": 1, "database": "synapse", "user": "postgres"}
BASE = {"target": "db1", "deployment": "example", "profile": "synapse", "deadline": 20, "postgresql": SERVER}

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Return a way to call the module in this process, as its wrapper does."""

    def call(**given: Any) -> dict[str, Any]:
        with patch_module_args({**BASE, **given}), pytest.raises(SystemExit):
            matrixon_postgresql_upkeep.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return call


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"deadline": 0}, "deadline: 0 is no time to wait"),
        ({"mode": "act", "deadline": 10}, "deadline: 10 s leave no time for a statement"),
        ({"mode": "act", "lock_timeout": -1}, "lock_timeout: -1 is no time"),
        ({"mode": "act", "dead_share": 0}, "dead_share: 0 is no share"),
        ({"mode": "act", "reindex_share": 101}, "reindex_share: 101 is no share"),
        ({"mode": "act", "dead_rows": 0}, "dead_rows: 0 would make everything work"),
        ({"mode": "act", "max_lag": -1}, "max_lag: -1 is below 0"),
        ({"mode": "act", "cost_delay": 101}, "cost_delay: 101 is outside"),
        ({"mode": "act", "cost_limit": 0}, "cost_limit: 0 is outside"),
        ({"mode": "act", "skip": ["events"]}, "skip[0]: 'events' has no schema; write for example public.events"),
        ({"mode": "act", "skip": ["a.b", "a.b"]}, "skip: a.b stands there twice"),
        ({"checks": ["database_dead"]}, "did you mean database_dead_rows?"),
        ({"postgresql": {**SERVER, "user": ""}}, "postgresql.user: it is empty"),
    ],
)
def test_an_option_that_cannot_be_right_is_named(call: Call, given: dict[str, Any], words: str) -> None:
    result = call(**given)
    assert result["failed"] and words in result["msg"] and "report" not in result


@pytest.mark.parametrize("mode", ["look", "act"])
def test_a_server_that_is_not_there_is_in_the_report_and_the_password_is_not(
    call: Call, mode: str, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "password"
    path.write_text("a-passw0rd\n")
    result = call(mode=mode, postgresql={**SERVER, "password_file": str(path)})
    jsonschema.validate(result["report"], SCHEMA)
    assert result["report"]["status"] != "ok" and result["changed"] is False
    assert result["report"]["kind"] == "database_upkeep" and "a-passw0rd" not in json.dumps(result)


def test_it_fails_where_it_is_asked_to(call: Call) -> None:
    result = call(mode="act", fail_on="unknown")
    assert result["failed"] and result["report"]["status"] == "unknown" and result["plan"] == []
