"""Playbooks that run by timers: as whom, where, with what; and what a failing one looks like."""

from __future__ import annotations

import json
import typing as t

import pytest

# In the place of ansible-playbook: says how it was called.
STAND_IN = r"""#!/bin/sh
printf '%s\n' "$(id -un)" "$(pwd)" "$@"
case "$*" in *fails*) exit 2 ;; esac
"""
JOBS = [
    {"name": "nightly", "playbook": "matrixon.ops.backup", "when": "*-*-* 02:15:00", "options": ["-e", 'a="1 $x %y"']},
    {"name": "wrong", "playbook": "fails.yml", "when": "Sun 05:00"},
]


@pytest.fixture(scope="module")
def control(server: t.Any) -> t.Any:
    """A host on which jobs can be run, and on which nothing is left."""
    host = server("cache1")
    host.check_output("printf %s %s > /usr/local/bin/stand-in && chmod 755 /usr/local/bin/stand-in", "%s", STAND_IN)
    yield host
    host.check_output("rm -f /usr/local/bin/stand-in")


def units(host: t.Any) -> str:
    """Return the units of jobs that are there."""
    return host.check_output("find /etc/systemd/system -name 'matrixon-job-*'")


def arguments(jobs: list, **given: str) -> list[str]:
    variables = {
        "schedule_hosts": "cache1",
        "schedule_user": "nobody",
        "schedule_directory": "/var",
        "schedule_command": "/usr/local/bin/stand-in",
        "schedule_jobs": jobs,
        **given,
    }
    return ["-e", json.dumps(variables)]


def test_a_job_runs_as_its_user_with_its_words(playbook: t.Any, control: t.Any) -> None:
    run = playbook("schedule", *arguments(JOBS))
    assert run.code == 0, run.output
    assert control.check_output("systemctl is-active matrixon-job-nightly.timer") == "active"
    assert "matrixon-job-nightly.service" in units(control)
    control.check_output("systemctl start matrixon-job-nightly.service")
    run_id = control.check_output("systemctl show -P InvocationID matrixon-job-nightly.service")
    said = control.check_output("journalctl --output=cat _SYSTEMD_INVOCATION_ID=%s SYSLOG_IDENTIFIER=stand-in", run_id)
    expected = ["nobody", "/var", "--inventory", "inventory", "-e", 'a="1 $x %y"', "matrixon.ops.backup"]
    assert said.splitlines() == expected
    again = playbook("schedule", *arguments(JOBS))
    assert again.code == 0 and not again.changed, again.output


def test_a_job_that_fails_is_a_failed_unit(playbook: t.Any, control: t.Any) -> None:
    assert control.run("systemctl start matrixon-job-wrong.service").rc != 0
    assert control.run("systemctl is-failed matrixon-job-wrong.service").stdout.strip() == "failed"
    control.check_output("systemctl reset-failed matrixon-job-wrong.service")


def test_a_job_that_is_not_named_any_more_is_gone(playbook: t.Any, control: t.Any) -> None:
    run = playbook("schedule", *arguments([]))
    assert run.code == 0, run.output
    assert units(control) == ""


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"schedule_directory": "fleet"}, "schedule_directory: 'fleet' is not an absolute path"),
        ({"schedule_user": "root"}, "schedule_user: 'root' must be a user other than root"),
        ({"schedule_command": "ansible-playbook"}, "schedule_command: 'ansible-playbook' is not an absolute path"),
    ],
)
def test_what_cannot_be_right_is_refused(playbook: t.Any, control: t.Any, given: dict, reason: str) -> None:
    run = playbook("schedule", *arguments(JOBS, **given))
    assert run.code != 0 and reason in " ".join(run.output.split())
    assert units(control) == ""


def test_a_time_that_is_none_is_refused(playbook: t.Any, control: t.Any) -> None:
    run = playbook("schedule", *arguments([{"name": "never", "playbook": "a.yml", "when": "at midnight"}]))
    assert run.code != 0 and "at midnight" in run.output
    assert units(control) == ""
