"""logrotate is run where nobody did, and a log that nothing rotates is told."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._command import Finished
from ansible_collections.matrixon.ops.plugins.module_utils._maintenance import logs
from ansible_collections.matrixon.ops.plugins.module_utils._probe import ProbeFailure

NOW = 1_800_000_000.0
UNIT = "Id={0}\nNames={0}\nLoadState={1}\nUnitFileState=enabled\nActiveState={2}\nSubState=x\nResult={3}\nMainPID=0\n"


class Host:
    """A host with systemd and logrotate."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root, self.started = root, 0
        self.timer, self.result, self.load, self.code = "active", "success", "loaded", 0
        (root / "run/systemd/system").mkdir(parents=True)
        (root / "var/lib/logrotate").mkdir(parents=True)
        (root / "log").mkdir()

    def ran(self, hours_ago: float) -> None:
        path = self.root / logs.STATUS
        path.write_text("")
        os.utime(path, (NOW - hours_ago * 3600,) * 2)

    def run(self, argv: list[str], deadline: Any) -> Finished:
        if argv[1] == "start":
            self.started += 1
            if self.code == 0:
                self.ran(0)
                self.result = "success"
            return Finished(self.code, "", "Job for logrotate.service failed")
        units = ((logs.TIMER, self.timer, "success"), (logs.SERVICE, "inactive", self.result))
        tail = "FragmentPath=\nNeedDaemonReload=no\nExecMainStartTimestamp=\n"
        text = "\n".join(UNIT.format(name, self.load, active, result) + tail for name, active, result in units)
        return Finished(0, text, "")

    def rotate(self, dry: bool = False) -> logs.Done:
        options = {
            "target": "h", "directories": [str(self.root / "log"), "/nowhere"], "max_bytes": 100, "max_age": 93600.0,
            "deadline": 60.0,
        }  # fmt: skip
        return logs.rotate(options, dry, logs.Tools(str(self.root), self.run, lambda: NOW))


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Host:
    return Host(tmp_path)


def statuses(done: logs.Done) -> dict[str, str]:
    return {check.name: check.status for check in done.checks}


def test_what_was_rotated_is_not_rotated_again(host: Host) -> None:
    host.ran(20)
    done = host.rotate()
    assert not done.changed and host.started == 0
    assert statuses(done) == {"logrotate": "ok", "logrotate_timer": "ok", "log_size": "ok"}


@pytest.mark.parametrize("case", ["never", "old", "failed"])
def test_a_run_that_is_due_is_made_once(host: Host, case: str) -> None:
    if case != "never":
        host.ran(30 if case == "old" else 1)
    host.result = "exit-code" if case == "failed" else "success"
    dry = host.rotate(dry=True)
    assert dry.changed and host.started == 0 and dry.plan[0].startswith("logrotate would be run once")
    assert host.rotate().changed and host.started == 1
    assert not host.rotate().changed and host.started == 1


def test_a_run_that_fails_is_critical(host: Host) -> None:
    host.code = 1
    (check,) = host.rotate().checks
    assert check.status == "critical" and "failed" in check.message


def test_a_dead_timer_and_a_large_log_need_a_person(host: Host) -> None:
    host.ran(1)
    host.timer = "inactive"
    (host.root / "log/big.log").write_bytes(b"x" * 101)
    done = host.rotate()
    assert statuses(done) == {"logrotate": "ok", "logrotate_timer": "warning", "log_size": "warning"}
    assert "big.log" in done.checks[2].message and not done.changed


def test_no_logrotate_is_critical_and_no_systemd_is_said(host: Host, tmp_path: pathlib.Path) -> None:
    host.load = "not-found"
    assert statuses(host.rotate()) == {"logrotate": "critical"}
    (tmp_path / "run/systemd/system").rmdir()
    assert statuses(host.rotate()) == {"logrotate": "skipped"}


def test_a_directory_that_cannot_be_read_is_not_taken_for_one_without_large_logs(tmp_path: pathlib.Path) -> None:
    (tmp_path / "no-directory").write_text("")
    with pytest.raises(ProbeFailure, match="no-directory cannot be read: Not a directory"):
        logs.large_files([str(tmp_path / "no-directory")], 1)
    assert logs.large_files([str(tmp_path / "absent")], 1) == []
