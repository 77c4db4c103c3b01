"""systemd units and open files. The answers of systemctl are those of systemd 257 on Debian 13."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils import _systemd
from ansible_collections.matrixon.ops.plugins.module_utils._command import Finished, run
from ansible_collections.matrixon.ops.plugins.module_utils._health.engine import Policy, execute
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Probe, Verdict
from ansible_collections.matrixon.ops.plugins.module_utils._health.system_units import (
    CHECKS,
    FAILED_UNITS,
    OPEN_FILES,
    UNITS,
    read_processes,
    read_systemd,
)
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import OpenFiles, is_alive, parse_stat
from ansible_collections.matrixon.ops.plugins.module_utils._report import CheckResult
from ansible_collections.matrixon.ops.plugins.module_utils._systemd import Unit

# The order of the properties is that of systemd, not that of the question.
SHOWN = """\
MainPID=156
Result=success
NRestarts=1
Id=kid.service
Names=kid.service nickname.service
LoadState=loaded
ActiveState=active
SubState=running
ActiveEnterTimestampMonotonic=2324700340

MainPID=0
Result=exit-code
NRestarts=0
Id=flap.service
Names=flap.service
LoadState=loaded
ActiveState=activating
SubState=auto-restart
ActiveEnterTimestampMonotonic=2322308396

Result=success
Id=systemd-tmpfiles-clean.timer
Names=systemd-tmpfiles-clean.timer
LoadState=loaded
ActiveState=active
SubState=waiting
ActiveEnterTimestampMonotonic=2294165772

MainPID=0
Result=success
NRestarts=0
Id=nosuch.service
Names=nosuch.service
LoadState=not-found
ActiveState=inactive
SubState=dead
ActiveEnterTimestampMonotonic=0
"""
FAILED = """\
limit.service                loaded failed failed limit.service
systemd-modules-load.service loaded failed failed Load Kernel Modules
"""
LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max processes             96270                96270                processes
Max open files            {soft:<20} 1048576              files
"""
NOW = 10_000.0
UP = {"load": "loaded", "active": "active", "sub": "running", "result": "success", "restarts": 0, "main_pid": 1}


def unit(**given: Any) -> Unit:
    return Unit(**{"name": "a.service", "active_since": NOW - 7200, **UP, **given})


def judge_unit(it: Unit, before: int | None = None) -> Verdict:
    facts = {
        "booted": True,
        "units": {"a": it},
        "now": NOW,
        "before": None if before is None else {"a": {"restarts": before}},
    }
    (verdict,) = UNITS.judge(facts, UNITS.limits)
    return verdict


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ({}, "ok", "a is active (running) for 2.0 h"),
        ({"active": "reloading", "sub": "reload"}, "ok", "a is active (reload)"),
        ({"sub": "exited", "main_pid": None}, "ok", "a is active (exited)"),
        ({"restarts": None}, "ok", "a is active"),
        ({"active": "inactive", "sub": "dead"}, "critical", "a is not active but inactive (dead)"),
        ({"active": "deactivating", "sub": "stop-sigterm"}, "critical", "a is not active but deactivating"),
        ({"active": "activating", "sub": "start"}, "critical", "a is not active but activating (start)"),
        (
            {"active": "failed", "sub": "failed", "result": "oom-kill"},
            "critical",
            "a has failed: it was killed for want of memory",
        ),
        ({"active": "failed", "sub": "failed", "result": "new-word"}, "critical", "a has failed: result new-word"),
        ({"active": "inactive", "sub": "dead", "load": "not-found"}, "critical", "a does not exist on this host"),
        ({"active": "inactive", "sub": "dead", "load": "masked"}, "critical", "a is masked: it cannot be started"),
        (
            {"active": "inactive", "sub": "dead", "load": "bad-setting"},
            "critical",
            "a cannot be started: systemd says bad-setting",
        ),
        ({"load": "not-found"}, "warning", "a is active (running), but cannot be started again: its unit file is gone"),
    ],
)
def test_state_of_a_unit(given: dict[str, Any], status: str, words: str) -> None:
    verdict = judge_unit(unit(**given))
    assert verdict.status == status and verdict.message.startswith(words) and verdict.target == "a"


@pytest.mark.parametrize("sub", ["auto-restart", "auto-restart-queued"])
def test_a_unit_between_two_starts_is_flapping_not_starting(sub: str) -> None:
    verdict = judge_unit(unit(active="activating", sub=sub, result="exit-code", restarts=4))
    assert verdict.status == "critical"
    assert verdict.message == "a is flapping: it ended with an error, and waits for restart number 5"


@pytest.mark.parametrize(
    ("restarts", "before", "age", "status", "value"),
    [
        (0, None, 10, "ok", 0),
        (3, None, 3600, "ok", 0),  # it has stood for an hour
        (3, None, 3599, "warning", 1),  # active now, and fell within the hour
        (3, 3, 7200, "ok", 0),
        (3, 3, 60, "warning", 1),
        (4, 3, 7200, "warning", 1),
        (7, 3, 60, "warning", 4),
        (8, 3, 60, "critical", 5),  # is-active says active
        (8, 3, 7200, "warning", 5),
        (0, 3, 60, "ok", 0),  # started by hand: the counter began anew
        (2, 3, 60, "warning", 2),
        (1, 3, 7200, "warning", 1),
    ],
)
def test_restarts(restarts: int, before: int | None, age: float, status: str, value: float) -> None:
    verdict = judge_unit(unit(restarts=restarts, active_since=NOW - age), before)
    assert (verdict.status, verdict.value) == (status, value)


def judge_failed(names: list[str], **facts: Any) -> Verdict:
    verdict = FAILED_UNITS.judge({"booted": True, "failed": names, **facts}, FAILED_UNITS.limits)
    assert isinstance(verdict, Verdict)
    return verdict


def test_failed_units_are_named_up_to_five() -> None:
    assert (judge_failed([]).status, judge_failed([]).value) == ("ok", 0)
    assert judge_failed(["a.service"]).status == "warning"
    assert judge_failed(list("abcdefg")).message == "failed units on this host: a, b, c, d, e and 2 more"


def boot(root: pathlib.Path) -> pathlib.Path:
    (root / "run/systemd/system").mkdir(parents=True)
    return root


def process(root: pathlib.Path, pid: int, used: int, soft: object = 100, children: str = "", state: str = "S") -> None:
    base = root / "proc" / str(pid)
    (base / "fd").mkdir(parents=True)
    (base / "task" / str(pid)).mkdir(parents=True)
    (base / "task" / str(pid) / "children").write_text(children)
    (base / "stat").write_text(f"{pid} (my (odd) name) {state} 1 1 1 0\n")
    (base / "limits").write_text(LIMITS.format(soft=soft))
    for number in range(used):
        (base / "fd" / str(number)).touch()


def answer(show: Any = SHOWN, failed: Any = FAILED) -> Any:
    """Return a stand-in for systemctl that answers one question each, or raises."""

    def runner(argv: list[str], _deadline: Deadline) -> Finished:
        said = show if argv[1] == "show" else failed
        if isinstance(said, Exception):
            raise said
        return said if isinstance(said, Finished) else Finished(0, said, "")

    return runner


def results(root: pathlib.Path, units: list[str], runner: Any = None) -> dict[tuple[str, str], CheckResult]:
    def observe(deadline: Deadline) -> dict[str, Any]:
        return read_systemd(units, deadline, str(root), runner or answer(), lambda _pid: False, lambda: 9000.0)

    found = execute([Probe("systemd", CHECKS, observe, {"before": None})], Policy(), Deadline(5)).results
    return {(result.name, result.target): result for result in found}


def test_systemd_end_to_end(tmp_path: pathlib.Path) -> None:
    process(boot(tmp_path), 156, used=70)
    names = ["nickname", "flap.service", "systemd-tmpfiles-clean.timer", "nosuch"]
    found = results(tmp_path, names)
    assert {key: result.status for key, result in found.items()} == {
        ("units", "nickname"): "ok",
        ("units", "flap.service"): "critical",
        ("units", "systemd-tmpfiles-clean.timer"): "ok",
        ("units", "nosuch"): "critical",
        ("failed_units", "systemd"): "warning",
        ("open_files", "nickname"): "warning",
        ("open_files", "flap.service"): "skipped",
        ("open_files", "systemd-tmpfiles-clean.timer"): "skipped",
        ("open_files", "nosuch"): "skipped",
    }
    assert (
        found["open_files", "nickname"].message
        == "nickname: process 156 (my (odd) name) has 70 of 100 files open (70.0 %)"
    )


def test_counters_for_the_next_report(tmp_path: pathlib.Path) -> None:
    facts = read_systemd(["nickname", "nosuch"], Deadline(5), str(boot(tmp_path)), answer(), lambda _pid: False)
    assert facts["report"] == {"system": {"units": {"nickname": {"restarts": 1}}}}


def test_a_host_without_systemd_skips_what_nobody_asked_for_and_does_not_know_the_rest(tmp_path: pathlib.Path) -> None:
    found = {name: result for (name, _target), result in results(tmp_path, ["a"]).items()}
    assert found["failed_units"].status == "skipped" and found["failed_units"].value is None
    for name in ("units", "open_files"):
        assert (found[name].status, found[name].error_kind) == ("unknown", "missing_tool")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (Finished(1, "", "Failed to connect to bus: No such file or directory"), "internal"),
        (ProbeFailure("timeout", "systemctl: no answer within 3 s"), "timeout"),
        ("Id=other.service\nLoadState=loaded\nActiveState=active\nSubState=running\n", "parse"),
        ("Id=a.service\nActiveState=active\n", "parse"),
        ("Id=a.service\nLoadState=loaded\nActiveState=active\nSubState=running\nNRestarts=x\n", "parse"),
    ],
)
def test_one_answer_that_fails_leaves_the_other(tmp_path: pathlib.Path, said: Any, kind: str) -> None:
    found = {name: result for (name, _target), result in results(boot(tmp_path), ["a"], answer(show=said)).items()}
    assert {name: (result.status, result.error_kind) for name, result in found.items()} == {
        "units": ("unknown", kind),
        "open_files": ("unknown", kind),
        "failed_units": ("warning", None),
    }
    refused = Finished(1, "", "no")
    assert results(tmp_path, ["kid"], answer(failed=refused))["failed_units", "systemd"].status == "unknown"


def test_a_unit_that_systemctl_says_nothing_about_is_named() -> None:
    with pytest.raises(ProbeFailure, match="said nothing about other, more"):
        _systemd.show(["kid", "other", "more"], Deadline(5), answer())


def test_names_are_asked_for_after_the_end_of_options(tmp_path: pathlib.Path) -> None:
    asked: list[list[str]] = []

    def runner(argv: list[str], _deadline: Deadline) -> Finished:
        asked.append(argv)
        return Finished(0, SHOWN, "")

    _systemd.show(["kid", "flap"], Deadline(5), runner)
    assert len(asked) == 1 and asked[0][-3:] == ["--", "kid", "flap"]


def test_a_missing_tool_is_said_even_with_an_unreadable_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "no"))
    with pytest.raises(ProbeFailure, match="systemctl is not installed") as caught:
        run(["systemctl"], Deadline(1))
    assert caught.value.kind == "missing_tool"


def test_a_tool_that_hangs_ends_with_the_deadline() -> None:
    with pytest.raises(ProbeFailure) as caught:
        run(["sleep", "20"], Deadline(0.1))
    assert caught.value.kind == "timeout"


def of_files(entry: Any) -> Verdict:
    (verdict,) = OPEN_FILES.judge({"booted": True, "processes": {"a": entry}}, OPEN_FILES.limits)
    return verdict


@pytest.mark.parametrize(
    ("used", "status"),
    [(0, "ok"), (699, "ok"), (700, "warning"), (899, "warning"), (900, "critical"), (1000, "critical")],
)
def test_open_files_at_the_thresholds(used: int, status: str) -> None:
    assert of_files(OpenFiles(5, "haproxy", used, 1000)).status == status


def test_no_limit_is_skipped() -> None:
    assert of_files(OpenFiles(5, "haproxy", 10**6, None)).status == "skipped"


def from_pid_file(root: pathlib.Path, text: str | None, alive: bool = False) -> Verdict:
    if text is not None:
        (root / "a.pid").write_text(text)
    return of_files(read_processes({"a": "/a.pid"}, Deadline(5), str(root), lambda _pid: alive)["processes"]["a"])


def test_pid_file(tmp_path: pathlib.Path) -> None:
    process(tmp_path, 7, used=90)
    verdict = from_pid_file(tmp_path, "7\n/var/lib/more\nlines\n")
    assert (verdict.status, verdict.value, verdict.target) == ("critical", 90, "a")


@pytest.mark.parametrize(
    ("text", "alive", "status", "words"),
    [
        (None, False, "critical", "a is not running, or writes its PID elsewhere: /a.pid does not exist"),
        ("7", False, "critical", "a is not running: there is no process 7, which /a.pid names"),
        ("7", True, "unknown", "this user may not see the open files of process 7; run with become"),  # hidepid
        ("", False, "unknown", "a: /a.pid does not begin with a process id"),
        ("-1", False, "unknown", "a: /a.pid does not begin with a process id"),
        ("0", False, "unknown", "a: /a.pid does not begin with a process id"),
        ("99999999", False, "unknown", "a: /a.pid does not begin with a process id"),
    ],
)
def test_a_pid_file_without_a_process(
    tmp_path: pathlib.Path, text: str | None, alive: bool, status: str, words: str
) -> None:
    verdict = from_pid_file(tmp_path, text, alive)
    assert verdict.status == status and words in verdict.message and verdict.value is None


def test_a_zombie_is_not_running(tmp_path: pathlib.Path) -> None:
    process(tmp_path, 7, used=0, state="Z")
    assert from_pid_file(tmp_path, "7").status == "critical"


def test_a_child_that_runs_out_of_files_is_found_behind_an_idle_main_process(tmp_path: pathlib.Path) -> None:
    process(tmp_path, 7, used=3, children="8 9 ")
    process(tmp_path, 8, used=5, children="10 11 ")
    process(tmp_path, 9, used=5)
    process(tmp_path, 10, used=19, soft=20)
    verdict = from_pid_file(tmp_path, "7")  # 11 has just ended
    assert (verdict.status, verdict.value) == ("critical", 95) and "process 10 (" in verdict.message


def test_an_unlimited_process_is_not_the_fullest(tmp_path: pathlib.Path) -> None:
    process(tmp_path, 7, used=50, soft="unlimited", children="8 ")
    process(tmp_path, 8, used=1)
    assert from_pid_file(tmp_path, "7").value == 1


def test_a_live_process_is_alive() -> None:
    assert is_alive(1) and not is_alive(2**22)


def test_stat_with_brackets_in_the_name() -> None:
    assert parse_stat("5 (a) b (c) R 1") == ("a) b (c", "R")
