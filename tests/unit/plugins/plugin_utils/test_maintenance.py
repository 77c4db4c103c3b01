"""The reports of a run: a host of which nothing was asked has no part in them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.matrixon.ops.plugins.plugin_utils import maintenance

STEPS = [
    {"id": "20-010", "name": "look", "title": "Look", "groups": ["all"], "acts": False},
    {"id": "20-031", "name": "outside", "title": "Look from outside", "once": True, "acts": False},
]
NOW = "2026-11-27T10:00:00"
ABOUT = {"kind": "maintenance_weekly", "deployment": "d", "profile": "p", "controller": "controller", "now": NOW}


def entry(number: str, state: str) -> dict[str, str]:
    return {"id": number, "name": "x", "state": state, "reason": "" if state == "due" else "why"}


def documents(**plans: list[dict[str, str]]) -> dict[str, str]:
    found = maintenance.maintenance_documents(STEPS, plans, {}, ABOUT)
    return {document["target"]: document["status"] for document in found}


def test_what_is_done_once_has_a_report_of_its_own() -> None:
    found = documents(a=[entry("20-010", "due"), entry("20-031", "due")], b=[entry("20-010", "due")])
    assert found == {"a": "unknown", "controller": "unknown", "b": "unknown"}


def test_what_was_to_be_done_once_and_was_skipped_stands_with_the_host() -> None:
    plan = [entry("20-010", "due"), entry("20-031", "skipped")]
    (found,) = maintenance.maintenance_documents(STEPS, {"a": plan}, {}, ABOUT)
    assert (found["target"], sorted(check["target"] for check in found["checks"])) == ("a", ["20-010", "20-031"])
    # It said itself that there was nothing to do.
    nothing = maintenance.maintenance_outcome(STEPS[1], "skipped", {"began": NOW, "now": NOW, "message": "nothing"})
    plan = [entry("20-010", "due"), entry("20-031", "due")]
    (found,) = maintenance.maintenance_documents(STEPS, {"a": plan}, {"a": [nothing]}, ABOUT)
    assert found["counts"]["skipped"] == 1
    # Nothing else is of this host.
    assert documents(a=[entry("20-031", "skipped")]) == {"controller": "unknown"}


def test_of_whom_nothing_was_asked_has_no_part_unless_nobody_has_one() -> None:
    assert set(documents(a=[entry("20-010", "due"), entry("20-031", "others")])) == {"a"}
    assert set(documents(a=[entry("20-010", "skipped"), entry("20-031", "others")])) == {"a"}
    assert set(documents(a=[entry("20-010", "others")], b=[entry("20-010", "others")])) == {"a", "b"}


def test_an_outcome_ends_in_one_of_five_ways() -> None:
    seen: dict[str, Any] = {"began": NOW, "now": NOW, "message": "gone", "task": "Do", "result": {"msg": "x"}}
    ways = {
        how: maintenance.maintenance_outcome(STEPS[0], how, seen)["status"]
        for how in ("lost", "failed", "refused", "skipped")
    }
    assert ways == {"lost": "unknown", "failed": "critical", "refused": "warning", "skipped": "skipped"}
    with pytest.raises(AnsibleFilterError, match="no way for a step to end"):
        maintenance.maintenance_outcome(STEPS[0], "vanished", seen)
