# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Ask systemd about units, in as few calls as it takes."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._command import Runner, run
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, PARSE, Deadline, ProbeFailure

PROPERTIES = "Id,Names,LoadState,ActiveState,SubState,Result,NRestarts,ActiveEnterTimestampMonotonic,MainPID"


@dataclass(frozen=True)
class Unit:
    """The state of one unit. ``restarts`` and ``main_pid`` are None where its type has none."""

    name: str
    load: str
    active: str
    sub: str
    result: str
    restarts: int | None
    main_pid: int | None
    active_since: float | None
    """On the monotonic clock, in seconds; None if it was never active."""


def is_booted(root: str = "/") -> bool:
    """Return whether systemd runs this host, by the test that sd_booted(3) uses."""
    return os.path.isdir(os.path.join(root, "run/systemd/system"))


def full_name(name: str) -> str:
    """Return a unit name with its suffix, as systemctl completes it."""
    return name if "." in name else f"{name}.service"


def show(names: t.Sequence[str], deadline: Deadline, runner: Runner = run) -> dict[str, Unit]:
    """Return the state of each unit by the name it was asked for."""
    done = runner(["systemctl", "show", "--no-pager", "--property", PROPERTIES, "--", *names], deadline)
    if done.code != 0:
        raise ProbeFailure(INTERNAL, f"systemctl show failed: {done.complaint}")
    known: dict[str, Unit] = {}
    for values in parse_blocks(done.out):
        unit = _unit(values)
        known.update(dict.fromkeys(values.get("Names", "").split(), unit))
        known[unit.name] = unit
    lost = [name for name in names if full_name(name) not in known]
    if lost:
        raise ProbeFailure(PARSE, f"systemctl show said nothing about {', '.join(lost)}")
    return {name: known[full_name(name)] for name in names}


def failed(deadline: Deadline, runner: Runner = run) -> list[str]:
    """Return the names of all failed units of the host."""
    done = runner(
        ["systemctl", "list-units", "--state=failed", "--all", "--full", "--plain", "--no-legend", "--no-pager"],
        deadline,
    )
    if done.code != 0:
        raise ProbeFailure(INTERNAL, f"systemctl list-units failed: {done.complaint}")
    return [line.split()[0] for line in done.out.splitlines() if line.strip()]


def parse_blocks(text: str) -> list[dict[str, str]]:
    """Return the blocks of ``systemctl show``: key=value lines, an empty line between units."""
    blocks: list[dict[str, str]] = [{}]
    for line in text.splitlines():
        if not line.strip():
            blocks.append({})
            continue
        key, _equals, value = line.partition("=")
        blocks[-1][key] = value
    return [block for block in blocks if block]


def _unit(values: dict[str, str]) -> Unit:
    try:
        since = _number(values.get("ActiveEnterTimestampMonotonic"))
        return Unit(
            name=values["Id"],
            load=values["LoadState"],
            active=values["ActiveState"],
            sub=values["SubState"],
            result=values.get("Result", "success"),
            restarts=_number(values.get("NRestarts")),
            main_pid=_number(values.get("MainPID")) or None,
            active_since=since / 1_000_000 if since else None,
        )
    except (KeyError, ValueError) as error:
        raise ProbeFailure(PARSE, f"systemctl show answered something that was not understood ({error})") from error


def _number(text: str | None) -> int | None:
    return int(text) if text else None
