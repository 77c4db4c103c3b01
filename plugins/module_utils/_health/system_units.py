# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""systemd units, and the open files of processes."""

from __future__ import annotations

import functools
import time
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._command import Runner, run
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import (
    Check,
    Context,
    Facts,
    Limits,
    Probe,
    Verdict,
    grade,
    human_seconds,
    skipped,
)
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    MISSING_TOOL,
    PARSE,
    Deadline,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import (
    Alive,
    OpenFiles,
    failure_of,
    fullest,
    gather,
    is_alive,
    part,
    read,
)
from ansible_collections.matrixon.ops.plugins.module_utils._report import CRITICAL, OK, UNKNOWN, WARNING
from ansible_collections.matrixon.ops.plugins.module_utils._systemd import Unit, failed, is_booted, show

UNSETTLED_SECONDS = 3600
SERVING = ("active", "reloading", "refreshing")
RESULTS = {
    "exit-code": "it ended with an error",
    "signal": "it was killed by a signal",
    "core-dump": "it crashed",
    "oom-kill": "it was killed for want of memory",
    "watchdog": "it stopped answering its watchdog",
    "timeout": "it did not start or stop in time",
    "start-limit-hit": "it failed too often, systemd has given up",
    "resources": "systemd could not give it what it needs",
    "protocol": "it did not start as its unit promises",
}
LARGEST_PID = 2**22


def read_systemd(
    units: t.Sequence[str],
    deadline: Deadline,
    root: str = "/",
    runner: Runner = run,
    alive: Alive = is_alive,
    clock: t.Callable[[], float] = time.monotonic,
) -> Facts:
    """Read the state of the units, all failed units, and the open files of the units' processes."""
    if not is_booted(root):
        return {"booted": False}
    facts = gather(
        {
            "units": lambda: show(units, deadline, runner) if units else {},
            "failed": lambda: failed(deadline, runner),
        }
    )
    found: dict[str, Unit] = facts["units"] if isinstance(facts["units"], dict) else {}
    processes = gather({name: functools.partial(_of_unit, root, unit, alive) for name, unit in found.items()})
    counts = {
        name: {"restarts": unit.restarts}
        for name, unit in found.items()
        if unit.load == "loaded" and unit.restarts is not None
    }
    return {
        **facts,
        "booted": True,
        "now": clock(),
        "processes": processes,
        "report": {"system": {"units": counts}},
    }


def _of_unit(root: str, unit: Unit, alive: Alive) -> OpenFiles | str | None:
    if unit.main_pid is None:
        return None
    return fullest(root, unit.main_pid, alive) or f"{unit.name}: its main process {unit.main_pid} has just ended"


def read_processes(
    pid_files: t.Mapping[str, str], _deadline: Deadline, root: str = "/", alive: Alive = is_alive
) -> Facts:
    """Read the open files of processes that are named by their PID files."""
    return {
        "booted": True,
        "processes": gather(
            {name: functools.partial(_of_pid_file, root, name, path, alive) for name, path in pid_files.items()}
        ),
    }


def _of_pid_file(root: str, name: str, path: str, alive: Alive) -> OpenFiles | str:
    try:
        words = read(root, path.lstrip("/")).split()
    except (FileNotFoundError, NotADirectoryError):
        return f"{name} is not running, or writes its PID elsewhere: {path} does not exist"
    except OSError as error:
        raise failure_of(error) from error
    if not words or not words[0].isdigit() or not 0 < int(words[0]) <= LARGEST_PID:
        raise ProbeFailure(PARSE, f"{name}: {path} does not begin with a process id")
    pid = int(words[0])
    return fullest(root, pid, alive) or f"{name} is not running: there is no process {pid}, which {path} names"


def judge_units(facts: Facts, limits: Limits) -> list[Verdict]:
    """Judge each unit by its state and its restarts; a flapping unit is active at times."""
    _require_systemd(facts)
    units, before = part(facts, "units"), facts["before"] or {}
    return [_judge_unit(name, unit, before.get(name), facts["now"], limits) for name, unit in units.items()]


def _judge_unit(name: str, unit: Unit, before: Facts | None, now: float, limits: Limits) -> Verdict:
    if unit.active not in SERVING:
        return Verdict(CRITICAL, _trouble(name, unit), target=name)
    if unit.load != "loaded":
        gone = {"not-found": "its unit file is gone", "masked": "it is masked"}.get(
            unit.load, f"systemd says {unit.load}"
        )
        return Verdict(WARNING, f"{name} is active ({unit.sub}), but cannot be started again: {gone}", target=name)
    age = now - unit.active_since if unit.active_since else None
    state = f"active ({unit.sub})" + (f" for {human_seconds(age)}" if age is not None else "")
    if unit.restarts is None:
        return Verdict(OK, f"{name} is {state}", target=name)
    settled = age is None or age >= UNSETTLED_SECONDS
    risen = _risen(unit.restarts, before)
    if risen:
        message = f"{name} failed and was restarted {_times(risen)} since the earlier report; it is {state}"
        # What has stood for an hour since it fell can wait for the day.
        return grade(risen, Limits(limits.warning) if settled else limits, message, target=name)
    if unit.restarts and not settled:
        message = f"{name} failed and was restarted {_times(unit.restarts)}, at last within an hour; it is {state}"
        return grade(1, limits, message, target=name)
    before_that = f", restarted {_times(unit.restarts)} before" if unit.restarts else ""
    return grade(0, limits, f"{name} is {state}{before_that}", target=name)


def _risen(count: int, before: Facts | None) -> int:
    """Return the restarts since the earlier report. The counter starts anew when somebody starts the unit by hand."""
    earlier = before["restarts"] if before else count
    return count - earlier if count >= earlier else count


def _trouble(name: str, unit: Unit) -> str:
    if unit.load == "not-found":
        return f"{name} does not exist on this host"
    if unit.load == "masked":
        return f"{name} is masked: it cannot be started"
    if unit.load != "loaded":
        return f"{name} cannot be started: systemd says {unit.load}"
    why = RESULTS.get(unit.result, f"result {unit.result}")
    if unit.sub.startswith("auto-restart"):
        return f"{name} is flapping: {why}, and waits for restart number {(unit.restarts or 0) + 1}"
    if unit.active == "failed":
        return f"{name} has failed: {why}"
    restarts = f" after {_times(unit.restarts)} failing" if unit.restarts else ""
    return f"{name} is not active but {unit.active} ({unit.sub}){restarts}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def judge_failed_units(facts: Facts, limits: Limits) -> Verdict:
    """Judge the number of failed units on the whole host."""
    if not facts["booted"]:
        return skipped("this host was not booted with systemd")
    names = part(facts, "failed")
    if not names:
        return grade(0, limits, "no unit of this host has failed")
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return grade(len(names), limits, f"failed units on this host: {', '.join(names[:5])}{more}")


def _require_systemd(facts: Facts) -> None:
    if not facts["booted"]:
        raise ProbeFailure(MISSING_TOOL, "this host was not booted with systemd, so it has no units to ask for")


def judge_open_files(facts: Facts, limits: Limits) -> list[Verdict]:
    """Judge the fullest process of each service against its own soft limit."""
    _require_systemd(facts)
    if isinstance(facts.get("units"), ProbeFailure):
        raise facts["units"]
    return [_judge_process(name, entry, limits) for name, entry in facts["processes"].items()]


def _judge_process(name: str, entry: OpenFiles | ProbeFailure | str | None, limits: Limits) -> Verdict:
    if entry is None:
        return skipped(f"{name} has no main process", target=name)
    if isinstance(entry, str):
        return Verdict(CRITICAL, entry, target=name)
    if isinstance(entry, ProbeFailure):
        return Verdict(UNKNOWN, f"not measured: {entry.message}", target=name, error_kind=entry.kind)
    who = f"{name}: process {entry.pid} ({entry.command})"
    if entry.limit is None:
        return skipped(f"{who} has {entry.used} files open and no limit", target=name)
    message = f"{who} has {entry.used} of {entry.limit} files open ({entry.share:.1f} %)"
    return grade(entry.share, limits, message, target=name)


UNITS = Check(
    "units",
    "each named unit is active; value: its restarts by systemd since the earlier report, or 1 if there was one "
    "within the hour",
    judge_units,
    unit="count",
    warning=1,
    critical=5,
)
FAILED_UNITS = Check("failed_units", "failed units on the whole host", judge_failed_units, unit="count", warning=1)
OPEN_FILES = Check(
    "open_files",
    "open files of the fullest process of each unit and PID file, against its soft limit",
    judge_open_files,
    unit="%",
    warning=70,
    critical=90,
)
CHECKS = (UNITS, FAILED_UNITS, OPEN_FILES)


def systemd_probe(units: t.Sequence[str], context: Context, root: str) -> Probe:
    """Return the probe of everything that systemd runs."""
    given = {"before": context.before("system", "units")}
    checks = CHECKS if units else (FAILED_UNITS,)
    return Probe("systemd", checks, functools.partial(read_systemd, units, root=root), given)


def process_probe(processes: t.Sequence[Facts], root: str) -> Probe:
    """Return the probe of the processes that are named by their PID files."""
    pid_files = {entry["name"]: entry["pid_file"] for entry in processes}
    return Probe("host", (OPEN_FILES,), functools.partial(read_processes, pid_files, root=root))
