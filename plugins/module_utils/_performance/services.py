# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What the processes of services use of CPU and memory, and the connections to their ports."""

from __future__ import annotations

import functools
import os
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._command import Runner, run
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import (
    Check,
    Limits,
    Probe,
    Verdict,
    grade,
    human_bytes,
    skipped,
)
from ansible_collections.matrixon.ops.plugins.module_utils._performance import counters
from ansible_collections.matrixon.ops.plugins.module_utils._performance.counters import Process
from ansible_collections.matrixon.ops.plugins.module_utils._performance.sampling import Interval
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    MISSING_TOOL,
    PARSE,
    Deadline,
    Facts,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import (
    batches,
    descendants,
    failure_of,
    gather,
    parse_open_files_limit,
    part,
    read,
)
from ansible_collections.matrixon.ops.plugins.module_utils._report import UNKNOWN
from ansible_collections.matrixon.ops.plugins.module_utils._systemd import is_booted, show
from ansible_collections.matrixon.ops.plugins.module_utils._units import matching

MOST_RANKED = 10


@dataclass(frozen=True)
class Service:
    """The processes of one service: the main one and its descendants."""

    name: str
    pid: int


class Use(t.NamedTuple):
    """What one process used: percent of one CPU over the interval, and bytes of memory at its end."""

    process: Process
    cpu: float
    own: int
    shared: int
    open_files: int | None


Found = t.Union[Service, ProbeFailure]


def find(
    units: t.Sequence[str], pid_files: t.Mapping[str, str], deadline: Deadline, root: str = "/", runner: Runner = run
) -> list[tuple[str, Found]]:
    """Return the main process of each unit and PID file, or why it is not known."""
    found: list[tuple[str, Found]] = []
    if units:
        found += _of_systemd(units, deadline, root, runner)
    for name, path in pid_files.items():
        kept = gather({name: functools.partial(_of_pid_file, root, name, path)})[name]
        found.append((name, kept))
    return found


def _of_systemd(units: t.Sequence[str], deadline: Deadline, root: str, runner: Runner) -> list[tuple[str, Found]]:
    try:
        if not is_booted(root):
            raise ProbeFailure(MISSING_TOOL, "systemd does not run this host; name PID files in its stead")
        patterns = [unit for unit in units if "*" in unit]
        names = [unit for unit in units if unit not in patterns] + matching(patterns, deadline, runner, root)
        states = show(names, deadline, runner) if names else {}
    except ProbeFailure as failure:
        return [(unit, failure) for unit in units]
    found: list[tuple[str, Found]] = []
    for name, state in states.items():
        if state.main_pid:
            found.append((name, Service(name, state.main_pid)))
        elif name in units:
            # What only fits a pattern, such as a stopped cluster, was not asked for by name.
            found.append((name, ProbeFailure(MISSING_TOOL, f"{name} is {state.active}, so it has no process")))
    return found


def _of_pid_file(root: str, name: str, path: str) -> Service:
    words = read(root, path.lstrip("/")).split()
    if not words or not words[0].isdigit():
        raise ProbeFailure(PARSE, f"{name}: {path} does not begin with a process id")
    return Service(name, int(words[0]))


def read_processes(root: str, service: Service) -> dict[int, Process]:
    """Return the processes of a service as they are now; those that end meanwhile are left out."""
    found = {}
    for pid in [service.pid, *descendants(root, service.pid)]:
        try:
            found[pid] = counters.parse_process(read(root, f"proc/{pid}/stat"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    if service.pid not in found:
        raise ProbeFailure(MISSING_TOOL, f"{service.name}: process {service.pid} does not run")
    return found


def uses(before: dict[int, Process], after: dict[int, Process], seconds: float, tick: float, root: str) -> list[Use]:
    """Return what each process used. One that began in the interval has used all that it has."""
    found = []
    for pid, process in after.items():
        earlier = before.get(pid)
        base = earlier.ticks if earlier and earlier.began == process.began else 0
        try:
            own, shared = counters.parse_memory(read(root, f"proc/{pid}/status"))
        except (FileNotFoundError, ProcessLookupError):
            continue
        found.append(Use(process, 100.0 * (process.ticks - base) / tick / seconds, own, shared, _limit(root, pid)))
    return found


def _limit(root: str, pid: int) -> int | None:
    """Return how many files a process may open; None where it is not told, or without limit."""
    try:
        return parse_open_files_limit(read(root, f"proc/{pid}/limits"))
    except OSError:
        return None


def observe_processes(
    deadline: Deadline,
    units: t.Sequence[str],
    pid_files: t.Mapping[str, str],
    root: str,
    interval: Interval,
    runner: Runner = run,
) -> Facts:
    """Look at the processes at the beginning and at the end of the interval."""
    services = find(units, pid_files, deadline, root, runner)
    running = [service for _name, service in services if isinstance(service, Service)]
    before = gather({service.name: functools.partial(read_processes, root, service) for service in running})
    started = interval.clock.tick()
    interval.clock.wait(min(interval.seconds, deadline.require("watching the processes")))
    tick = float(os.sysconf("SC_CLK_TCK"))

    def used(service: Service) -> list[Use]:
        now = read_processes(root, service)
        found = uses(part(before, service.name), now, interval.clock.tick() - started, tick, root)
        if not found:
            raise ProbeFailure(MISSING_TOOL, f"{service.name}: its processes ended while they were looked at")
        return found

    facts: Facts = {name: failure for name, failure in services if isinstance(failure, ProbeFailure)}
    facts.update(gather({service.name: functools.partial(used, service) for service in running}))
    return {"services": facts, "report": _report(facts)}


def _report(services: Facts) -> Facts:
    known = {name: found for name, found in services.items() if isinstance(found, list)}
    rows = [
        [name, each.process.command, str(each.process.pid), round(each.cpu, 1), each.own]
        for name, found in known.items()
        for each in found
    ]
    rows.sort(key=lambda row: (-row[3], -row[4]))
    totals = {
        name: {"processes": len(found), "cpu": round(sum(each.cpu for each in found), 1), "memory": _memory(found)}
        for name, found in known.items()
    }
    limits = [each.open_files for found in known.values() for each in found if each.open_files is not None]
    report: Facts = {"services": totals, "rankings": {"processes": rows[:MOST_RANKED]} if rows else {}}
    return {**report, "open_files": min(limits)} if limits else report


def _memory(found: t.Sequence[Use]) -> int:
    """Return the memory of a service: what each has of its own, and what they share, once."""
    return sum(each.own for each in found) + max((each.shared for each in found), default=0)


def _judged(judge: t.Callable[[str, list[Use], Limits], Verdict]) -> t.Callable[[Facts, Limits], t.Any]:
    @functools.wraps(judge)
    def judged(facts: Facts, limits: Limits) -> Verdict | list[Verdict]:
        verdicts = []
        for name, found in facts["services"].items():
            if isinstance(found, ProbeFailure):
                verdicts.append(Verdict(UNKNOWN, f"not measured: {found.message}", target=name, error_kind=found.kind))
            else:
                verdicts.append(judge(name, found, limits))
        return verdicts or skipped("no unit of this host fits the patterns")

    return judged


@_judged
def judge_process_cpu(name: str, found: list[Use], limits: Limits) -> Verdict:
    """Judge the busiest process: one that does one thing at a time ends at 100 %, however many cores there are."""
    busiest = max(found, key=lambda use: use.cpu)
    total = sum(use.cpu for use in found)
    message = (
        f"{name}: the busiest process, {busiest.process.pid} ({busiest.process.command}), used {busiest.cpu:.1f} % of "
        f"one core; all {len(found)} together {total:.1f} %"
    )
    return grade(busiest.cpu, limits, message, target=name)


@_judged
def judge_process_memory(name: str, found: list[Use], limits: Limits) -> Verdict:
    """Judge the memory of a service."""
    size = _memory(found)
    return grade(size, limits, f"{name} has {human_bytes(size)} of memory in {len(found)} processes", target=name)


# Connections -------------------------------------------------------------------------------------------------------


def observe_connections(
    deadline: Deadline, ports: t.Sequence[Facts], root: str, wait: t.Callable[[float], None], seconds: float
) -> Facts:
    """Count the connections of each port by their state, once, at the end of the interval."""
    wait(min(seconds, deadline.require("waiting to count connections")))
    counts: dict[int, dict[str, int]] = {}
    wanted = [entry["port"] for entry in ports]
    try:
        for table in ("proc/net/tcp", "proc/net/tcp6"):
            path = os.path.join(root, table)
            if table == "proc/net/tcp" or os.path.exists(path):
                for lines in batches(path, deadline):
                    counters.count_states(lines, wanted, counts)
    except OSError as error:
        raise failure_of(error) from error
    return {"counts": counts, "report": {"connections": {entry["name"]: _known(counts, entry) for entry in ports}}}


def _known(counts: dict[int, dict[str, int]], entry: Facts) -> dict[str, int]:
    return {"port": entry["port"], "established": 0, **counts.get(entry["port"], {})}


def judge_connections(facts: Facts, limits: Limits) -> list[Verdict]:
    """Judge the established connections of each port."""
    verdicts = []
    for entry in facts["ports"]:
        states = facts["counts"].get(entry["port"], {})
        if not states:
            reason = f"nothing listens on port {entry['port']} here, and nobody is connected to it"
            verdicts.append(skipped(reason, entry["name"]))
            continue
        established = states.get("established", 0)
        others = ", ".join(f"{count} {state}" for state, count in sorted(states.items()) if state != "established")
        message = f"{entry['name']}: {established} connections to port {entry['port']}" + (
            f" ({others})" if others else ""
        )
        verdicts.append(grade(established, limits, message, target=entry["name"]))
    return verdicts


PROCESS_CHECKS = (
    Check(
        "process_cpu",
        "share of one core that the busiest process of a service used",
        judge_process_cpu,
        unit="%",
        warning=90,
    ),
    Check("process_memory", "memory of a service; for information", judge_process_memory, unit="B"),
)
CONNECTIONS = Check(
    "connections",
    "established connections to a port of a service",
    judge_connections,
    unit="count",
    warning=150_000,
)
CHECKS = (*PROCESS_CHECKS, CONNECTIONS)


def process_probe(
    units: t.Sequence[str], pid_files: t.Mapping[str, str], root: str, interval: Interval, seconds: float
) -> Probe:
    """Return the probe of the services' processes."""
    run_it = functools.partial(observe_processes, units=units, pid_files=pid_files, root=root, interval=interval)
    return Probe("host", PROCESS_CHECKS, run_it, timeout=seconds)


def connection_probe(ports: t.Sequence[Facts], root: str, interval: Interval, seconds: float) -> Probe:
    """Return the probe of the services' ports."""
    run_it = functools.partial(
        observe_connections, ports=ports, root=root, wait=interval.clock.wait, seconds=interval.seconds
    )
    return Probe("host", (CONNECTIONS,), run_it, {"ports": list(ports)}, timeout=seconds)
