"""The steps of a move are declared once: playbook, role, report and runbook follow that declaration."""

from __future__ import annotations

import importlib.util
import pathlib
import re
from typing import Any

import pytest
import yaml

from ansible_collections.matrixon.ops.plugins.module_utils._dr.gates import ACCEPTED, GATES
from ansible_collections.matrixon.ops.plugins.module_utils._dr.steps import FENCES, NAMES, STEPS
from ansible_collections.matrixon.ops.plugins.modules import matrixon_dr_gates, matrixon_witness

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles/dr_failover"
VARIABLES = yaml.safe_load((ROLE / "vars/main.yml").read_text())
SPECS = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]
PLAYBOOK = yaml.safe_load((ROOT / "playbooks/dr_failover.yml").read_text())
# The gates are an entry point that a preflight has beside them.
ENTRIES = {"gates": "preflight"}


def tool() -> Any:
    """Return the program that makes the runbook."""
    spec = importlib.util.spec_from_file_location("runbook", ROOT / "tests/tools/runbook.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def entries_of(play: dict[str, Any]) -> list[str]:
    """Return the entry points of the role that a play calls, that behind an attempt among them."""
    found = []
    for task in play.get("tasks", []):
        role = task.get("ansible.builtin.include_role", {})
        if role.get("name") == "matrixon.ops.dr_failover":
            found.append(task.get("vars", {}).get("dr_failover_attempt", role["tasks_from"]))
    return found


def test_the_runbook_is_what_is_declared() -> None:
    made = tool()
    assert made.PAGE.read_text() == made.page(STEPS, GATES, FENCES), "run `.venv/bin/python tests/tools/runbook.py`"


def test_the_playbook_does_the_steps_in_their_order() -> None:
    called = [entry for play in PLAYBOOK for entry in entries_of(play)]
    wanted = [ENTRIES.get(name, name) for name in NAMES]
    assert [entry for entry in called if entry in wanted] == wanted


def test_every_step_after_the_gates_waits_for_a_run_before_it_only_where_it_is_left() -> None:
    plays = {entry: play for play in PLAYBOOK for entry in entries_of(play)}
    for name in NAMES[1:]:
        assert f"dr_left_{name}" in str(plays[name]["hosts"])


@pytest.mark.parametrize("name", NAMES)
def test_the_role_has_an_entry_point_for_each_step_that_begins_and_ends_it_in_the_journal(name: str) -> None:
    entry = ENTRIES.get(name, name)
    assert entry in SPECS and (ROLE / f"tasks/{entry}.yml").exists()
    text = "".join(path.read_text() for path in ROLE.glob("tasks/*.yml"))
    if name == "gates":
        assert re.search(r"state: done\n(?:.*\n){1,4}\s+step: gates", text)
        return
    states = re.findall(rf"__dr_failover_step: {name}\n\s+__dr_failover_step_state: (\w+)", text)
    assert {"begun", "done"} <= set(states)


def test_what_is_left_to_do_are_the_steps_without_the_gates() -> None:
    assert tuple(VARIABLES["__dr_failover_order"]) == NAMES[1:]


def test_every_gate_that_can_be_accepted_has_its_variable() -> None:
    options = SPECS["main"]["options"]
    variables = {name for name in options if name.startswith("dr_failover_accept_")}
    assert variables == {f"dr_failover_accept_{accept}" for accept in ACCEPTED}
    handed = dict(re.findall(r"'(\w+)': (dr_failover_accept_\w+)", VARIABLES["__dr_failover_accept"]))
    assert handed == {accept: f"dr_failover_accept_{accept}" for accept in ACCEPTED}
    assert set(matrixon_dr_gates.argument_spec()["accept"]["options"]) == set(ACCEPTED)
    readme = (ROLE / "README.md").read_text()
    assert [gate.name for gate in GATES if f"`{gate.name}`" not in readme] == []


def test_fences_count_in_the_order_that_is_told() -> None:
    methods = [fence.method for fence in FENCES]
    assert re.findall(r"\['(\w+)'\]", VARIABLES["__dr_failover_fences"]) == methods
    assert re.findall(r"'method': '(\w+)'", VARIABLES["__dr_failover_proofs"]) == methods
    # What was seen comes before what is believed.
    assert sorted(FENCES, key=lambda fence: not fence.seen) == list(FENCES)
    readme = (ROLE / "README.md").read_text().split("## Fences")[1]
    places = [readme.index(f"`{name}" if "_" in name else f" `{name}`") for name in
              ("ssh", "guard", "lease", "dr_failover_fence_command", "dr_failover_fence_statement")]  # fmt: skip
    assert places == sorted(places)


def test_every_step_says_what_why_and_how_it_is_shown_and_done_by_hand() -> None:
    for step in STEPS:
        assert all((step.title, step.does, step.why, step.proof, step.by_hand)), step.name
        assert not any(line.startswith("ansible-playbook") and not exists(line) for line in step.by_hand)


def exists(command: str) -> bool:
    """Say whether there is a playbook that a command names."""
    (name,) = re.findall(r"matrixon\.ops\.(\w+)", command)
    return (ROOT / f"playbooks/{name}.yml").exists()


def test_every_command_of_the_runbook_names_what_exists() -> None:
    text = (ROOT / "docs/dr-runbook.md").read_text()
    commands = re.findall(r"^\s*ansible-playbook (?:\S+ )*?matrixon\.ops\..*$", text, re.MULTILINE)
    assert len(commands) > 10 and [command for command in commands if not exists(command)] == []
    roles = ROOT.glob("roles/*/meta/argument_specs.yml")
    known = {
        option
        for path in roles
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values()
        for option in entry.get("options") or {}
    }
    named = set(re.findall(r"\b(?:dr_(?:failover|failback|guard|drill)|health)_[a-z_]+", text))
    named -= {"dr_failover_undo", "dr_fence"}
    assert named - known == set()


def test_the_claim_by_hand_can_be_made() -> None:
    text = (ROOT / "docs/dr-runbook.md").read_text()
    (play,) = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0])
    calls = [task["matrixon.ops.matrixon_witness"] for task in play["tasks"] if "matrixon.ops.matrixon_witness" in task]
    options = yaml.safe_load(matrixon_witness.DOCUMENTATION)["options"]
    assert len(calls) == 2 and all(set(call) <= set(options) for call in calls)
    needed = {"region", "system_identifier", "timeline", "expected_epoch"}
    assert needed <= set(calls[1]) and calls[1]["state"] == "claimed" and "state" not in calls[0]
