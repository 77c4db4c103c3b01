# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The host itself: disks, memory, load, units, clock, sockets and open files."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._health import (
    system_disk,
    system_load,
    system_sockets,
    system_time,
    system_units,
)
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Check, Context, Plan, Skip
from ansible_collections.matrixon.ops.plugins.module_utils._health.validate import duplicate_errors, port_errors

SPEC: dict[str, t.Any] = dict(
    mounts=dict(type="list", elements="str", default=["/"]),
    units=dict(type="list", elements="str", default=[]),
    listeners=dict(
        type="list",
        elements="dict",
        default=[],
        options=dict(
            name=dict(type="str", required=True),
            port=dict(type="int", required=True),
            address=dict(type="str"),
        ),
    ),
    processes=dict(
        type="list",
        elements="dict",
        default=[],
        options=dict(
            name=dict(type="str", required=True),
            pid_file=dict(type="str", required=True),
        ),
    ),
    expected_connections=dict(type="int"),
)

CHECKS: tuple[Check, ...] = (
    *system_disk.CHECKS,
    *system_load.CHECKS,
    *system_units.CHECKS,
    system_time.TIME_OFFSET,
    *system_sockets.CHECKS,
)

# The characters that systemd allows, and none of those that make a pattern.
UNIT_NAME = re.compile(r"[A-Za-z0-9:_.\\][A-Za-z0-9:_.\\@-]*")


def validate(options: dict[str, t.Any]) -> t.Iterator[str]:
    """Yield what is wrong with the options."""
    for at, mount in enumerate(options["mounts"]):
        yield from _path_errors(f"system.mounts[{at}]", mount)
    for at, unit in enumerate(options["units"]):
        if not UNIT_NAME.fullmatch(unit):
            yield f"system.units[{at}]: {unit!r} is not the name of one unit; write for example haproxy.service"
    for at, listener in enumerate(options["listeners"]):
        yield from port_errors(f"system.listeners[{at}].port", listener["port"])
        yield from _address_errors(f"system.listeners[{at}].address", listener["address"])
    for at, process in enumerate(options["processes"]):
        yield from _path_errors(f"system.processes[{at}].pid_file", process["pid_file"])
    yield from duplicate_errors("system.mounts", options["mounts"])
    yield from duplicate_errors("system.units", options["units"])
    for option in ("listeners", "processes"):
        yield from duplicate_errors(f"system.{option}", [entry["name"] for entry in options[option]])
    expected = options["expected_connections"]
    if expected is not None and expected < 1:
        yield f"system.expected_connections: {expected} is no number of connections; give 1 or more, or leave it out"


def _path_errors(option: str, path: str) -> t.Iterator[str]:
    if not path.startswith("/"):
        yield f"{option}: {path!r} is not an absolute path; begin it with /"


def _address_errors(option: str, address: str | None) -> t.Iterator[str]:
    try:
        ipaddress.ip_address(address or "::")
    except ValueError:
        yield f"{option}: {address!r} is not an IP address; give one, or leave it out for any address"


def plan(options: dict[str, t.Any], context: Context, root: str = "/") -> Plan:
    """Return a probe for each thing that can hang by itself. ``root`` is where /proc and the mounts are looked for."""
    units, processes, listeners = options["units"], options["processes"], options["listeners"]
    plan: Plan = [system_disk.probe(mount, context, root) for mount in options["mounts"]]
    plan += [
        system_load.probe(context, root),
        system_units.systemd_probe(units, context, root),
        system_time.probe(root),
        system_sockets.probe(listeners, options["expected_connections"], root),
    ]
    if processes:
        plan.append(system_units.process_probe(processes, root))
    return plan + list(_skips(options))


def _skips(options: dict[str, t.Any]) -> t.Iterator[Skip]:
    if not options["mounts"]:
        for check in system_disk.CHECKS:
            yield Skip(check, "host", "system.mounts names no mount")
    if not options["units"]:
        yield Skip(system_units.UNITS, "systemd", "system.units names no unit")
    if not options["units"] and not options["processes"]:
        yield Skip(system_units.OPEN_FILES, "host", "neither system.units nor system.processes names a service")
    if not options["listeners"]:
        yield Skip(system_sockets.LISTENERS, "host", "system.listeners names no port")
