# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Memory, swapping, pressure and load of a host."""

from __future__ import annotations

import errno
import functools
import time
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._health.model import (
    Check,
    Context,
    Facts,
    Limits,
    Probe,
    Verdict,
    grade,
    human_bytes,
    human_seconds,
    skipped,
)
from ansible_collections.matrixon.ops.plugins.module_utils._probe import PARSE, Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import (
    gather,
    parse_cores,
    parse_counter,
    parse_meminfo,
    parse_pressure,
    part,
    read,
)

SAMPLE_SECONDS = 0.5
# A mean over less is chance, and over more it hides what goes on now.
SHORTEST_SPAN, LONGEST_SPAN = 60, 3600


class Swapping(t.NamedTuple):
    """Pages read back from swap per second. ``span`` is the time over which they were counted."""

    rate: float
    span: float
    restarted: bool = False


def read_load(
    deadline: Deadline,
    root: str = "/",
    before: int | None = None,
    seconds: float | None = None,
    clock: t.Callable[[], float] = time.monotonic,
    wait: t.Callable[[float], None] = time.sleep,
) -> Facts:
    """Read memory, swapping, pressure and load. Each of them may fail alone."""

    def pages_in() -> int:
        return parse_counter(read(root, "proc/vmstat"), "pswpin")

    def swapping() -> Swapping | None:
        if not parse_meminfo(read(root, "proc/meminfo"))["SwapTotal"]:
            return None
        first, started = pages_in(), clock()
        usable = before is not None and seconds is not None and SHORTEST_SPAN <= seconds <= LONGEST_SPAN
        if usable and first >= t.cast(int, before):
            span = t.cast(float, seconds)
            return Swapping((first - t.cast(int, before)) / span, span)
        wait(min(SAMPLE_SECONDS, deadline.require("counting swapped pages") / 2))
        span = clock() - started
        return Swapping((pages_in() - first) / span, span, before is not None and first < before)

    facts = gather(
        {
            "memory": lambda: parse_meminfo(read(root, "proc/meminfo")),
            "load": lambda: float(read(root, "proc/loadavg").split()[1]),
            "cores": lambda: parse_cores(read(root, "proc/stat")),
            "cpu": lambda: _pressure(root, "cpu"),
            "memory_pressure": lambda: _pressure(root, "memory"),
            "io": lambda: _pressure(root, "io"),
            "swap": swapping,
            "pages_in": pages_in,
        }
    )
    counted = facts["pages_in"]
    return {**facts, "report": {"system": {"swap": {"pages_in": counted}}} if isinstance(counted, int) else {}}


def _pressure(root: str, what: str) -> float | None:
    """Return the share in percent, or None on a kernel that does not measure it."""
    try:
        return parse_pressure(read(root, f"proc/pressure/{what}"))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EOPNOTSUPP):
            return None
        raise


def judge_memory(facts: Facts, limits: Limits) -> Verdict:
    """Judge what is not available. Page cache is available; that is not what ``free`` calls used."""
    memory = part(facts, "memory")
    if "MemTotal" not in memory or "MemAvailable" not in memory:
        raise ProbeFailure(PARSE, "/proc/meminfo has no MemTotal or no MemAvailable")
    total, available = memory["MemTotal"], memory["MemAvailable"]
    share = 100 * (total - available) / total
    return grade(
        share, limits, f"{share:.1f} % of memory used, {human_bytes(available)} of {human_bytes(total)} available"
    )


def judge_swap_in(facts: Facts, limits: Limits) -> Verdict:
    """Judge how fast pages come back from swap: used swap is harmless until it is read."""
    swapping = part(facts, "swap")
    if swapping is None:
        return skipped("this host has no swap")
    again = "; the host was restarted since the earlier report" if swapping.restarted else ""
    message = f"{swapping.rate:.0f} pages per second read back from swap over {human_seconds(swapping.span)}{again}"
    return grade(swapping.rate, limits, message)


def _judge_pressure(key: str, waited_for: str, facts: Facts, limits: Limits) -> Verdict:
    share = part(facts, key)
    if share is None:
        return skipped("this kernel does not measure pressure (PSI)")
    return grade(share, limits, f"in the last minute some task waited for {waited_for} {share:.1f} % of the time")


def judge_load(facts: Facts, limits: Limits) -> Verdict:
    """Judge the mean over five minutes, not a moment."""
    load, cores = part(facts, "load"), part(facts, "cores")
    each = load / cores
    return grade(each, limits, f"load average of 5 min is {load:.2f}, {each:.2f} per core (cores: {cores})")


MEMORY = Check("memory", "memory in use, page cache not counted", judge_memory, unit="%", warning=80, critical=90)
SWAP_IN = Check("swap_in", "pages read back from swap per second", judge_swap_in, unit="/s", warning=500)
MEMORY_PRESSURE = Check(
    "memory_pressure",
    "share of the last minute in which some task waited for memory (PSI)",
    functools.partial(_judge_pressure, "memory_pressure", "memory"),
    unit="%",
    warning=10,
    critical=40,
)
CPU_PRESSURE = Check(
    "cpu_pressure",
    "share of the last minute in which some task waited for a CPU (PSI); for information",
    functools.partial(_judge_pressure, "cpu", "a CPU"),
    unit="%",
)
IO_PRESSURE = Check(
    "io_pressure",
    "share of the last minute in which some task waited for a disk (PSI); for information",
    functools.partial(_judge_pressure, "io", "a disk"),
    unit="%",
)
LOAD = Check("load", "load average of 5 minutes per core; for information", judge_load)
CHECKS = (MEMORY, SWAP_IN, MEMORY_PRESSURE, CPU_PRESSURE, IO_PRESSURE, LOAD)


def probe(context: Context, root: str) -> Probe:
    """Return the probe of the host's load."""
    before = context.before("system", "swap", "pages_in")
    run = functools.partial(read_load, root=root, before=before, seconds=context.seconds_since_baseline)
    return Probe("host", CHECKS, run)
