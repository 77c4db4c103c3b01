"""The daily calendar as its operator runs it: on the lab, and on hosts that are all this machine."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import jsonschema
import pytest

pytestmark = pytest.mark.integration

ROOT = pathlib.Path(__file__).resolve().parents[3]
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())


class Run(t.NamedTuple):
    """How a run ended, and what it published."""

    code: int
    output: str
    reports: pathlib.Path

    def steps(self, host: str) -> dict[str, dict[str, t.Any]]:
        report = json.loads((self.reports / f"hosts/maintenance_daily-{host}.json").read_text())
        jsonschema.validate(report, SCHEMA)
        return {check["target"]: check for check in report["checks"]}


def daily(
    inventory: pathlib.Path, reports: pathlib.Path, *words: str, env: dict[str, str] | None = None, **more: t.Any
) -> Run:
    command = [
        str(pathlib.Path(sys.executable).parent / "ansible-playbook"),
        str(ROOT / "playbooks/maintenance_daily.yml"),
    ]
    command += ["-i", str(inventory), "-e", json.dumps({"matrixon_report_dir": str(reports), **more}), *words]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **(env or {}), "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Run(done.returncode, done.stdout + done.stderr, reports)


@pytest.fixture
def here(tmp_path: pathlib.Path) -> pathlib.Path:
    """Two hosts that are this machine, one of which cannot shorten its journal, and one that is not there."""
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ansible_become": False,
        "matrixon_server_name": "farm.test",
        "matrixon_profile": "synapse",
        "health_checks": ["disk_space"],
    }
    hosts = {
        "good": {"maintenance_skip": {"10-020": "its logs are being examined"}},
        "broken": {"maintenance_journal_days": 0},
        # A directory that nobody can make: Ansible calls that host unreachable.
        "gone": {"ansible_pipelining": False, "ansible_remote_tmp": "/proc/none"},
    }
    inventory = tmp_path / "hosts.json"
    inventory.write_text(json.dumps({"all": {"vars": variables, "children": {"monitoring": {"hosts": hosts}}}}))
    return inventory


def test_the_lab_does_one_step_by_its_tag(lab: t.Any, tmp_path: pathlib.Path) -> None:
    inventory = ROOT / "inventories/lab"
    run = daily(inventory, tmp_path, "--tags", "10-010", env=lab.environment, health_retries=3)
    assert run.code == 0, run.output
    for host in ("lab-lb", "lab-hs", "lab-db", "lab-cache"):
        steps = run.steps(host)
        assert steps["10-010"]["status"] in ("ok", "warning") and steps["10-010"]["duration_ms"] > 0
        assert {step["skipped_reason"] for name, step in steps.items() if name != "10-010"} == {"--tags names 10-010"}
    assert "changed=0" in run.output, "only the report is written"


def test_a_step_that_fails_stops_no_other_and_fails_the_run(here: pathlib.Path, tmp_path: pathlib.Path) -> None:
    run = daily(here, tmp_path)
    assert run.code != 0, run.output
    broken = run.steps("broken")
    assert broken["10-020"]["status"] == "critical"
    assert "Shorten the journal: keep_days: 0 is not from 1" in broken["10-020"]["message"]
    assert broken["10-010"]["status"] == "ok" and broken["10-030"]["status"] != "critical", broken
    good = run.steps("good")
    assert good["10-020"]["skipped_reason"] == "maintenance_skip: its logs are being examined"
    gone = run.steps("gone")
    assert {step["status"] for step in gone.values()} == {"unknown"}
    assert "could not be reached" in gone["10-010"]["message"]
    fleet = json.loads((tmp_path / "maintenance_daily-farm.test.json").read_text())
    assert fleet["status"] == "critical"


def test_a_choice_that_cannot_be_right_is_refused(here: pathlib.Path, tmp_path: pathlib.Path) -> None:
    wrong = {"maintenance_only": "10-010, 10-021", "maintenance_skip": {"journal": ""}}
    run = daily(here, tmp_path / "reports", "--limit", "broken", **wrong)
    output = " ".join(run.output.split())
    assert run.code != 0 and "maintenance_skip: 'journal' has no reason" in output, run.output
    assert "maintenance_only: there is no step '10-021'; did you mean" in output
    assert not (tmp_path / "reports").exists()


def test_a_dry_run_publishes_nothing(here: pathlib.Path, tmp_path: pathlib.Path) -> None:
    run = daily(here, tmp_path / "reports", "--check", "--limit", "good", "--tags", "health")
    assert run.code == 0, run.output
    assert not (tmp_path / "reports").exists()
