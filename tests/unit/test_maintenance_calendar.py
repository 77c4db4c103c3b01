"""The steps of the calendar are data: role, playbooks and page follow it."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import re
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = ROOT / "roles/maintenance/files/calendar"
SCHEMA = json.loads((FILES / "schema.json").read_text())
DIGIT = {"daily": "1", "weekly": "2", "monthly": "3"}
CALENDARS = {name: yaml.safe_load((FILES / f"{name}.yml").read_text()) for name in DIGIT}
STEPS = [step for steps in CALENDARS.values() for step in steps]
# Ids of steps that there are no more. They are not to be given to another one.
RETIRED: set[str] = set()


def tool() -> Any:
    """Return the program that makes the page."""
    spec = importlib.util.spec_from_file_location("calendar_page", ROOT / "tests/tools/calendar_page.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_files_say() -> None:
    made = tool()
    assert made.PAGE.read_text() == made.page(), "run `.venv/bin/python tests/tools/calendar_page.py`"


@pytest.mark.parametrize("name", DIGIT)
def test_a_calendar_has_the_shape_of_its_schema_and_ids_in_order(name: str) -> None:
    jsonschema.validate(CALENDARS[name], SCHEMA)
    ids = [step["id"] for step in CALENDARS[name]]
    assert ids == sorted(ids) and {number[0] for number in ids} == {DIGIT[name]}


def test_ids_and_names_are_there_once() -> None:
    ids, names = [step["id"] for step in STEPS], [step["name"] for step in STEPS]
    assert len(set(ids)) == len(ids) and len(set(names)) == len(names) and not set(ids) & RETIRED


@pytest.mark.parametrize("name", DIGIT)
def test_a_step_needs_only_what_comes_before_it(name: str) -> None:
    before: set[str] = set()
    for step in CALENDARS[name]:
        assert set(step.get("needs", [])) <= before, step["id"]
        before.add(step["id"])


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step["id"])
def test_a_step_runs_entry_points_that_exist_and_register_its_results(step: dict[str, Any]) -> None:
    texts = []
    for call in step.get("calls", []):
        role = ROOT / "roles" / call["role"].rpartition(".")[2]
        assert (role / f"tasks/{call['entry']}.yml").exists(), call
        texts += [path.read_text() for path in role.glob("tasks/*.yml")]
    for name in step["results"] if texts else []:
        assert any(re.search(rf"^\s+(register: {name}$|{name}: )", text, re.MULTILINE) for text in texts), name


@pytest.mark.parametrize("name", DIGIT)
def test_a_playbook_runs_its_calendar_whatever_the_tags(name: str) -> None:
    plays = yaml.safe_load((ROOT / f"playbooks/maintenance_{name}.yml").read_text())
    assert any(play.get("vars", {}).get("maintenance_calendar") == name for play in plays)
    assert all(play.get("tags") == ["always"] for play in plays)
