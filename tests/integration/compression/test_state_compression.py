"""The real tool on tables of Synapse's shape: what it saves, that no state changes by it, and each way it can fail."""

from __future__ import annotations

import json

import jsonschema
import pytest
from compressed import GROUPS, ROOT, World

pytestmark = pytest.mark.integration

SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())


def test_it_compresses_proves_and_has_nothing_left_to_do(world: World) -> None:
    rows, states, before = world.rows(), world.states(), world.fingerprint()
    would = world.ask(check_mode=True)
    assert would.changed and world.fingerprint() == before
    assert world.sql("SELECT count(*) FROM pg_class WHERE relname ~ '^state_compressor'") == "0"
    assert would.statuses["state_compression"] == "skipped"
    assert "would begin with group 1 " in would.check("state_compression")["message"]
    assert would.facts["ahead"] == GROUPS

    done = world.ask(part=2)
    jsonschema.validate(done.report, SCHEMA)
    assert (done.changed, done.report["status"]) == (True, "ok"), done.document
    assert world.states() == states and world.rows() < rows / 2
    facts = done.facts
    assert facts["removed"] - facts["added"] == rows - world.rows() == done.check("state_compression")["value"]
    assert (facts["groups"], facts["chunks"], facts["parts"], facts["ahead_after"]) == (GROUPS, 3, 2, 0)
    assert facts["proven"] == 100 and facts["position"] < facts["position_after"]
    assert "nothing is left" in done.check("state_compression")["message"]

    again = world.ask()
    assert (again.changed, again.report["status"]) == (False, "ok")
    assert again.check("state_compression")["message"] == "nothing is left to compress"
