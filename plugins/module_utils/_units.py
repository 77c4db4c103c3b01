# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Which units run, which of them are older than their files, and which nobody asked for."""

from __future__ import annotations

import calendar
import fnmatch
import glob
import os
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._command import Runner, run
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, PARSE, Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._systemd import full_name, parse_blocks

PROPERTIES = (
    "Id,Names,LoadState,UnitFileState,ActiveState,SubState,Result,MainPID,ExecMainStartTimestamp,"
    "NeedDaemonReload,FragmentPath"
)
UNIT_DIRECTORY = "/etc/systemd/system"


@dataclass(frozen=True)
class State:
    """What systemd says of one unit. ``started`` is when its main process began, in seconds since 1970."""

    name: str
    load: str
    enabled: str
    active: str
    sub: str
    result: str
    main_pid: int
    started: float | None
    reload: bool
    fragment: str


def parse_timestamp(text: str) -> float | None:
    """Return the seconds since 1970 of a time as ``--timestamp=us+utc`` writes it; None for an empty one."""
    if not text or text == "n/a":
        return None
    try:
        _weekday, day, clock, zone = text.split()
        if zone != "UTC":
            raise ValueError(f"the zone is {zone}")
        seconds, _dot, fraction = clock.partition(".")
        whole = calendar.timegm(time.strptime(f"{day} {seconds}", "%Y-%m-%d %H:%M:%S"))
        return whole + (int(fraction) / 10 ** len(fraction) if fraction else 0.0)
    except ValueError as error:
        raise ProbeFailure(PARSE, f"systemctl gave a time that was not understood: {text!r} ({error})") from error


def states(names: t.Sequence[str], deadline: Deadline, runner: Runner = run) -> dict[str, State]:
    """Return the state of each unit by the name it was asked for."""
    if not names:
        return {}
    argv = ["systemctl", "show", "--no-pager", "--timestamp=us+utc", "--property", PROPERTIES, "--", *names]
    done = runner(argv, deadline)
    if done.code != 0:
        raise ProbeFailure(INTERNAL, f"systemctl show failed: {done.complaint}")
    known: dict[str, State] = {}
    for values in parse_blocks(done.out):
        state = _state(values)
        known.update(dict.fromkeys(values.get("Names", "").split(), state))
        known[state.name] = state
    lost = [name for name in names if full_name(name) not in known]
    if lost:
        raise ProbeFailure(PARSE, f"systemctl show said nothing about {', '.join(lost)}")
    return {name: known[full_name(name)] for name in names}


def newer_files(started: float | None, files: t.Sequence[str]) -> list[str]:
    """Return the files that changed after a process began. A link counts by its own time, not its target's.

    A file that is not there is not newer: whoever needs it says so himself.
    """
    if started is None:
        return []
    found = []
    for name in files:
        try:
            changed = os.lstat(name).st_mtime
        except FileNotFoundError:
            continue
        if changed > started:
            found.append(name)
    return found


def matching(patterns: t.Sequence[str], deadline: Deadline, runner: Runner = run, root: str = "/") -> list[str]:
    """Return the names of the units that fit the patterns: loaded ones, enabled ones, and those with a file."""
    if not patterns:
        return []
    argv = ["systemctl", "list-units", "--all", "--full", "--plain", "--no-legend", "--no-pager", "--", *patterns]
    done = runner(argv, deadline)
    if done.code != 0:
        raise ProbeFailure(INTERNAL, f"systemctl list-units failed: {done.complaint}")
    found = {line.split()[0] for line in done.out.splitlines() if line.strip()}
    directory = os.path.join(root, UNIT_DIRECTORY.lstrip("/"))
    paths = glob.glob(os.path.join(directory, "*")) + glob.glob(os.path.join(directory, "*.wants", "*"))
    found |= {os.path.basename(path) for path in paths}
    return sorted(
        name for name in found if "@." not in name and any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    )


def observe(
    units: t.Sequence[dict[str, t.Any]], patterns: t.Sequence[str], deadline: Deadline, runner: Runner = run
) -> tuple[list[dict[str, t.Any]], list[dict[str, t.Any]]]:
    """Return what is known of the units asked for, and of the others that fit the patterns."""
    asked = [unit["name"] for unit in units]
    known = {full_name(name) for name in asked}
    others = [name for name in matching(patterns, deadline, runner) if name not in known]
    found = states([*asked, *others], deadline, runner)
    return (
        [facts(unit["name"], found[unit["name"]], unit.get("files") or []) for unit in units],
        [facts(name, found[name], []) for name in others],
    )


def facts(name: str, state: State, files: t.Sequence[str]) -> dict[str, t.Any]:
    """Return the facts of one unit, as the module returns them."""
    running = state.main_pid > 0
    changed = newer_files(state.started, files) if running else []
    return {
        "name": name,
        "load": state.load,
        "enabled": state.enabled.startswith("enabled"),
        "active": state.active,
        "sub": state.sub,
        "result": state.result,
        "main_pid": state.main_pid,
        "started": state.started,
        "fragment": state.fragment,
        "reload": state.reload,
        "changed_files": changed,
        "stale": bool(changed),
    }


def _state(values: dict[str, str]) -> State:
    try:
        return State(
            name=values["Id"],
            load=values["LoadState"],
            enabled=values.get("UnitFileState", ""),
            active=values["ActiveState"],
            sub=values["SubState"],
            result=values.get("Result", "success"),
            main_pid=int(values.get("MainPID") or 0),
            started=parse_timestamp(values.get("ExecMainStartTimestamp", "")),
            reload=values.get("NeedDaemonReload") == "yes",
            fragment=values.get("FragmentPath", ""),
        )
    except (KeyError, ValueError) as error:
        raise ProbeFailure(PARSE, f"systemctl show answered something that was not understood ({error})") from error
