"""The scope system as a whole: its options, its plan, and a run against a small tree that stands in for the host."""

from __future__ import annotations

import datetime
import pathlib
from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._health import system
from ansible_collections.matrixon.ops.plugins.module_utils._health.engine import Policy, execute
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Context, Probe, Skip
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import CheckResult

NOW = datetime.datetime(2026, 11, 23, 9, 0, tzinfo=datetime.timezone.utc)

TREE = {
    "proc/meminfo": "MemTotal: 1000 kB\nMemAvailable: 700 kB\nSwapTotal: 0 kB\n",
    "proc/vmstat": "pgpgin 5\npswpin 7\n",
    "proc/loadavg": "9.00 3.00 1.00 1/89 6899\n",
    "proc/stat": "cpu  1 2\ncpu0 1 2\ncpu1 1 2\nintr 5\n",
    "proc/pressure/cpu": "some avg10=0.00 avg60=12.50 avg300=0.00 total=0\n",
    "proc/pressure/memory": "some avg10=0.00 avg60=1.50 avg300=0.00 total=0\n",
    "proc/pressure/io": "some avg10=0.00 avg60=2.50 avg300=0.00 total=0\n",
    "proc/sys/net/ipv4/ip_local_port_range": "32768\t60999\n",
    "proc/net/tcp": "  sl  local_address rem_address   st\n",
}


def options(**given: Any) -> dict[str, Any]:
    """Return options as they are after the argument spec."""
    defaults = {name: spec.get("default") for name, spec in system.SPEC.items()}
    return {**defaults, **given}


def listener(name: str = "api", port: int = 8008, address: str | None = None) -> dict[str, Any]:
    return {"name": name, "port": port, "address": address}


def run(root: pathlib.Path, **given: Any) -> dict[str, CheckResult]:
    plan = system.plan(options(**given), Context(NOW), str(root))
    return {result.name: result for result in execute(plan, Policy(), Deadline(5)).results}


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
    for name, text in TREE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({}, None),
        ({"units": ["matrix-synapse.service", "worker@1", r"srv-media\x2dold.mount"]}, None),
        ({"listeners": [listener(address="::1"), listener("b", 1)], "expected_connections": 1}, None),
        ({"mounts": ["srv"]}, "system.mounts[0]: 'srv' is not an absolute path; begin it with /"),
        ({"mounts": ["/srv", "/srv"]}, "system.mounts: /srv stands there twice; give each its own name"),
        (
            {"units": ["matrix-*"]},
            "system.units[0]: 'matrix-*' is not the name of one unit; write for example haproxy.service",
        ),
        (
            {"units": ["--all"]},
            "system.units[0]: '--all' is not the name of one unit; write for example haproxy.service",
        ),
        ({"units": ["a", "a"]}, "system.units: a stands there twice; give each its own name"),
        (
            {"listeners": [listener(port=70000)]},
            "system.listeners[0].port: 70000 is not a port; give a number from 1 to 65535",
        ),
        (
            {"listeners": [listener(address="localhost")]},
            "system.listeners[0].address: 'localhost' is not an IP address; give one, or leave it out for any address",
        ),
        ({"listeners": [listener(), listener()]}, "system.listeners: api stands there twice; give each its own name"),
        (
            {"processes": [{"name": "a", "pid_file": "run/a.pid"}]},
            "system.processes[0].pid_file: 'run/a.pid' is not an absolute path; begin it with /",
        ),
        (
            {"expected_connections": 0},
            "system.expected_connections: 0 is no number of connections; give 1 or more, or leave it out",
        ),
    ],
)
def test_validate(given: dict[str, Any], error: str | None) -> None:
    assert list(system.validate(options(**given))) == ([] if error is None else [error])


def test_every_check_has_its_own_name_and_is_planned() -> None:
    given = options(units=["a"], listeners=[listener()], processes=[{"name": "p", "pid_file": "/p"}])
    planned = [
        check for entry in system.plan(given, Context(NOW)) if isinstance(entry, Probe) for check in entry.checks
    ]
    names = [check.name for check in system.CHECKS]
    assert len(set(names)) == len(names) and {check.name for check in planned} == set(names)


def test_one_probe_per_mount() -> None:
    plan = system.plan(options(mounts=["/", "/srv"]), Context(NOW))
    assert [entry.target for entry in plan if isinstance(entry, Probe)][:2] == ["/", "/srv"]


def test_what_is_not_configured_is_skipped_with_its_reason() -> None:
    plan = system.plan(options(mounts=[]), Context(NOW))
    assert {entry.check.name: entry.reason for entry in plan if isinstance(entry, Skip)} == {
        "disk_space": "system.mounts names no mount",
        "disk_inodes": "system.mounts names no mount",
        "disk_time_to_full": "system.mounts names no mount",
        "units": "system.units names no unit",
        "open_files": "neither system.units nor system.processes names a service",
        "listeners": "system.listeners names no port",
    }


def test_run(tree: pathlib.Path) -> None:
    found = run(tree)
    assert {
        name: (result.status, result.value) for name, result in found.items() if name[:4] not in ("disk", "time")
    } == {
        "memory": ("ok", 30),
        "swap_in": ("skipped", None),
        "memory_pressure": ("ok", 1.5),
        "cpu_pressure": ("ok", 12.5),
        "io_pressure": ("ok", 2.5),
        "load": ("ok", 1.5),
        "failed_units": ("skipped", None),
        "ephemeral_ports": ("ok", 0),
        "units": ("skipped", None),
        "open_files": ("skipped", None),
        "listeners": ("skipped", None),
    }
    assert found["disk_space"].status in ("ok", "warning", "critical") and found["disk_space"].value is not None


@pytest.mark.parametrize(
    ("broken", "unknown"),
    [
        ("proc/meminfo", {"memory", "swap_in"}),
        ("proc/loadavg", {"load"}),
        ("proc/stat", {"load"}),
        ("proc/pressure/cpu", {"cpu_pressure"}),
        ("proc/net/tcp", {"ephemeral_ports", "listeners"}),
        ("proc/sys/net/ipv4/ip_local_port_range", {"ephemeral_ports", "listeners"}),
    ],
)
def test_a_broken_file_takes_only_its_own_checks(tree: pathlib.Path, broken: str, unknown: set[str]) -> None:
    (tree / broken).write_text("\nnonsense\n")
    found = run(tree, listeners=[listener()])
    assert {name for name, result in found.items() if result.status == "unknown"} - {"time_offset"} == unknown
    assert {found[name].error_kind for name in unknown} == {"parse"}
