# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""CPU, memory, swapping, pressure, disks and network of a host over an interval."""

from __future__ import annotations

import functools
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._health.model import (
    Check,
    Limits,
    Probe,
    Verdict,
    grade,
    human_bytes,
    skipped,
)
from ansible_collections.matrixon.ops.plugins.module_utils._performance import counters, sampling
from ansible_collections.matrixon.ops.plugins.module_utils._performance.counters import Disk, Interface
from ansible_collections.matrixon.ops.plugins.module_utils._performance.sampling import Interval, Points, Sample
from ansible_collections.matrixon.ops.plugins.module_utils._probe import PARSE, Deadline, Facts, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import (
    gather,
    parse_cores,
    parse_counter,
    parse_meminfo,
    part,
    read,
)
from ansible_collections.matrixon.ops.plugins.module_utils._report import UNKNOWN

STALLS = ("cpu", "memory", "io")
STALL_WORDS = {"cpu": "a CPU", "memory": "memory", "io": "a disk"}
# A mean over fewer operations is chance.
FEWEST_OPERATIONS = 10
MOST_DRAWN = 4


def read_sample(root: str) -> Facts:
    """Read every counter once. Each may fail alone."""
    parts: dict[str, t.Callable[[], t.Any]] = {
        "cpu": lambda: counters.parse_cpu(read(root, "proc/stat")),
        "memory": lambda: parse_meminfo(read(root, "proc/meminfo")),
        "load": lambda: float(read(root, "proc/loadavg").split()[0]),
        "swaps": lambda: parse_counter(read(root, "proc/vmstat"), "pswpin"),
        "disks": lambda: counters.parse_disks(read(root, "proc/diskstats")),
        "network": lambda: counters.parse_interfaces(read(root, "proc/net/dev")),
        "accepted": lambda: counters.parse_accepted(read(root, "proc/net/snmp")),
    }
    parts.update({f"stall_{what}": functools.partial(_stall, root, what) for what in STALLS})
    return gather(parts)


def _stall(root: str, what: str) -> int | None:
    """Return None on a kernel that does not measure it."""
    try:
        return counters.parse_stall(read(root, f"proc/pressure/{what}"))
    except FileNotFoundError:
        return None
    except OSError as error:
        # Built in and switched off.
        if error.errno == 95:
            return None
        raise


def observe(deadline: Deadline, root: str, interval: Interval) -> Facts:
    """Sample the host."""
    samples = sampling.sample(lambda: read_sample(root), interval, deadline, "sampling the host")
    facts: Facts = {"samples": samples, **gather({"cores": lambda: parse_cores(read(root, "proc/stat"))})}
    return {**facts, "report": report(samples)}


# What the samples say ----------------------------------------------------------------------------------------------


def cpu_points(samples: t.Sequence[Sample]) -> dict[str, Points]:
    """Return the points of each use of the CPUs."""
    names = ("user", "system", "iowait", "steal", "busy")
    found: dict[str, Points] = {name: [] for name in names}
    for first, second in zip(samples, samples[1:]):
        shares = counters.cpu_shares(part(first.facts, "cpu"), part(second.facts, "cpu"))
        for name in names:
            found[name].append(sampling.point(second.now, shares[name] if shares else None))
    return found


def cpu_mean(samples: t.Sequence[Sample]) -> dict[str, float]:
    """Return the shares of the whole interval."""
    shares = counters.cpu_shares(part(samples[0].facts, "cpu"), part(samples[-1].facts, "cpu"))
    if shares is None:
        raise ProbeFailure(PARSE, "the kernel counted no CPU time in the interval")
    return shares


def memory_share(memory: t.Mapping[str, int]) -> float:
    """Return the share that is not available. Page cache is available."""
    if "MemTotal" not in memory or "MemAvailable" not in memory:
        raise ProbeFailure(PARSE, "/proc/meminfo has no MemTotal or no MemAvailable")
    return 100.0 * (memory["MemTotal"] - memory["MemAvailable"]) / memory["MemTotal"]


def devices(samples: t.Sequence[Sample], name: str) -> list[str]:
    """Return the disks or interfaces that were there all the time."""
    return sorted(set(part(samples[0].facts, name)) & set(part(samples[-1].facts, name)))


def disk_use(samples: t.Sequence[Sample], name: str) -> dict[str, float]:
    """Return what one disk did in the interval: busy in percent, mean time of an operation, bytes per second."""
    before: Disk = part(samples[0].facts, "disks")[name]
    after: Disk = part(samples[-1].facts, "disks")[name]
    seconds = sampling.seconds_between(samples)
    operations = after.reads + after.writes - before.reads - before.writes
    if seconds <= 0 or operations < 0:
        raise ProbeFailure(PARSE, f"the counters of {name} went back in the interval")
    milliseconds = after.read_ms + after.write_ms - before.read_ms - before.write_ms
    return {
        "busy": min(100.0, (after.busy_ms - before.busy_ms) / seconds / 10),
        "operations": float(operations),
        "operation_ms": milliseconds / operations if operations else 0.0,
        "read_bytes_s": (after.read_bytes - before.read_bytes) / seconds,
        "written_bytes_s": (after.written_bytes - before.written_bytes) / seconds,
    }


def _disk_points(samples: t.Sequence[Sample], name: str) -> dict[str, Points]:
    def of(value: t.Callable[[Disk], float]) -> t.Callable[[dict[str, Disk]], float | None]:
        return lambda disks: value(disks[name]) if name in disks else None

    return {
        "read": sampling.rates(samples, "disks", of(lambda disk: disk.read_bytes)),
        "written": sampling.rates(samples, "disks", of(lambda disk: disk.written_bytes)),
    }


def _counter(name: str, what: str) -> t.Callable[[dict[str, Interface]], float | None]:
    return lambda found: getattr(found[name], what) if name in found else None


def _network_points(samples: t.Sequence[Sample], name: str) -> dict[str, Points]:
    return {what: sampling.rates(samples, "network", _counter(name, what)) for what in ("received", "sent")}


def stall_points(samples: t.Sequence[Sample], what: str) -> Points | None:
    """Return for which share of each step some task stood still; None where it is not measured."""
    if any(part(one.facts, f"stall_{what}") is None for one in samples):
        return None
    points = sampling.rates(samples, f"stall_{what}", float)
    return [[when, None if value is None else min(100.0, value / 10_000)] for when, value in points]


def stall_mean(samples: t.Sequence[Sample], what: str) -> float | None:
    """Return that of the whole interval."""
    if any(part(one.facts, f"stall_{what}") is None for one in samples):
        return None
    share = sampling.rate(samples, f"stall_{what}", float)
    return None if share is None else min(100.0, share / 10_000)


def report(samples: t.Sequence[Sample]) -> Facts:
    """Return what goes into the report: points to draw, figures to compare later, and the spread of each."""
    made = gather(
        {
            "cpu": lambda: cpu_points(samples),
            "memory": lambda: {"used": sampling.levels(samples, "memory", memory_share)},
            "load": lambda: {"load": sampling.levels(samples, "load", float)},
            "pressure": lambda: {
                what: points for what in STALLS for points in [stall_points(samples, what)] if points is not None
            },
            "swap": lambda: {"read back": sampling.rates(samples, "swaps", float)},
        }
    )
    for kind, points_of in (("disks", _disk_points), ("network", _network_points)):
        names = gather({"names": functools.partial(devices, samples, kind)})["names"]
        if isinstance(names, list):
            prefix = "disk" if kind == "disks" else kind
            drawn = {name: points_of(samples, name) for name in names}
            for name in sorted(names, key=lambda name: -_volume(drawn[name]))[:MOST_DRAWN]:
                made[f"{prefix}_{name}"] = drawn[name]
    series = {name: found for name, found in made.items() if isinstance(found, dict) and found}
    means = gather({"cpu": lambda: cpu_mean(samples)})["cpu"]
    figures = {"cpu": means["busy"], "iowait": means["iowait"]} if isinstance(means, dict) else {}
    spreads: Facts = {}
    for name, found in series.items():
        for what, points in found.items():
            span = sampling.spread(points)
            if span:
                spreads.setdefault(name, {})[what] = span.as_dict()
    if "memory" in spreads:
        figures["memory"] = spreads["memory"]["used"]["mean"]
    accepted = gather({"accepted": lambda: sampling.rate(samples, "accepted", float)})["accepted"]
    known = {"accepted_per_second": round(accepted, 3)} if isinstance(accepted, float) else {}
    return {"series": series, "figures": figures, "spread": spreads, **known}


def _volume(series: dict[str, Points]) -> float:
    return float(sum(value for points in series.values() for _when, value in points if value is not None))


# Judges ------------------------------------------------------------------------------------------------------------


def judge_cpu(facts: Facts, limits: Limits) -> Verdict:
    """Judge how busy the CPUs were; waiting for disks is not busy."""
    samples: list[Sample] = facts["samples"]
    mean, found = cpu_mean(samples), sampling.spread(cpu_points(samples)["busy"])
    low, high = (found.low, found.high) if found else (mean["busy"], mean["busy"])
    cores = facts["cores"]
    of = "" if isinstance(cores, ProbeFailure) else f" (cores: {cores})"
    return grade(
        mean["busy"],
        limits,
        f"the CPUs were busy {mean['busy']:.1f} % of the time, between {low:.1f} and {high:.1f} %: "
        f"user {mean['user']:.1f} %, system {mean['system']:.1f} %{of}",
    )


def _judge_cpu_part(name: str, words: str, facts: Facts, limits: Limits) -> Verdict:
    share = cpu_mean(facts["samples"])[name]
    return grade(share, limits, f"the CPUs {words} {share:.1f} % of the time")


def judge_memory(facts: Facts, limits: Limits) -> Verdict:
    """Judge the mean over the interval."""
    samples: list[Sample] = facts["samples"]
    found = t.cast(sampling.Spread, sampling.spread(sampling.levels(samples, "memory", memory_share)))
    memory = part(samples[-1].facts, "memory")
    return grade(
        found.mean,
        limits,
        f"{found.mean:.1f} % of memory used, between {found.low:.1f} and {found.high:.1f} %; "
        f"{human_bytes(memory['MemAvailable'])} of {human_bytes(memory['MemTotal'])} available",
    )


def judge_swap_in(facts: Facts, limits: Limits) -> Verdict:
    """Judge how fast pages come back from swap: used swap is harmless until it is read."""
    samples: list[Sample] = facts["samples"]
    if not part(samples[-1].facts, "memory").get("SwapTotal"):
        return skipped("this host has no swap")
    pages = sampling.rate(samples, "swaps", float)
    if pages is None:
        raise ProbeFailure(PARSE, "the counter of swapped pages went back in the interval")
    return grade(pages, limits, f"{pages:.0f} pages per second read back from swap")


def _judge_stall(what: str, facts: Facts, limits: Limits) -> Verdict:
    samples: list[Sample] = facts["samples"]
    if part(samples[-1].facts, f"stall_{what}") is None:
        return skipped("this kernel does not measure pressure (PSI)")
    share = stall_mean(samples, what)
    if share is None:
        raise ProbeFailure(PARSE, f"the pressure of {what} was not counted throughout the interval")
    return grade(share, limits, f"some task waited for {STALL_WORDS[what]} {share:.1f} % of the time")


def judge_load(facts: Facts, limits: Limits) -> Verdict:
    """Judge the load per core at the end of the interval."""
    load, cores = part(facts["samples"][-1].facts, "load"), part(facts, "cores")
    return grade(load / cores, limits, f"load average of 1 min is {load:.2f}, {load / cores:.2f} per core")


def judge_disk_busy(facts: Facts, limits: Limits) -> Verdict | list[Verdict]:
    """Judge for how much of the time each disk had something to do."""
    samples: list[Sample] = facts["samples"]
    verdicts = []
    for name in devices(samples, "disks"):
        use = disk_use(samples, name)
        message = (
            f"{name} was busy {use['busy']:.1f} % of the time, {human_bytes(use['read_bytes_s'])} read and "
            f"{human_bytes(use['written_bytes_s'])} written per second"
        )
        verdicts.append(grade(use["busy"], limits, message, target=name))
    return verdicts or skipped("this host shows no disk of its own")


def judge_disk_latency(facts: Facts, limits: Limits) -> Verdict | list[Verdict]:
    """Judge the mean time of an operation, where there were enough of them."""
    samples: list[Sample] = facts["samples"]
    verdicts = []
    for name in devices(samples, "disks"):
        use = disk_use(samples, name)
        if use["operations"] < FEWEST_OPERATIONS:
            verdicts.append(skipped(f"not enough data: {name} had {use['operations']:.0f} operations", name))
            continue
        message = f"an operation of {name} took {use['operation_ms']:.1f} ms, the mean of {use['operations']:.0f}"
        verdicts.append(grade(use["operation_ms"], limits, message, target=name))
    return verdicts or skipped("this host shows no disk of its own")


def judge_network(facts: Facts, limits: Limits) -> Verdict | list[Verdict]:
    """Judge the packets that each interface lost."""
    samples: list[Sample] = facts["samples"]
    verdicts = []
    for name in devices(samples, "network"):
        faults = sampling.rate(samples, "network", _counter(name, "faults"))
        amounts = {what: sampling.rate(samples, "network", _counter(name, what)) for what in ("received", "sent")}
        if faults is None or None in amounts.values():
            message = f"the counters of {name} went back in the interval"
            verdicts.append(Verdict(UNKNOWN, message, target=name, error_kind=PARSE))
            continue
        flow = ", ".join(f"{human_bytes(t.cast(float, amount))}/s {what}" for what, amount in amounts.items())
        verdicts.append(grade(faults, limits, f"{name}: {faults:.1f} faulty packets per second; {flow}", target=name))
    return verdicts or skipped("this host shows no interface that leads out")


CPU = Check(
    "cpu",
    "share of the interval in which the CPUs were busy",
    judge_cpu,
    unit="%",
    warning=70,
    critical=95,
)
MEMORY = Check("memory", "memory in use, page cache not counted", judge_memory, unit="%", warning=80, critical=90)
CHECKS = (
    CPU,
    Check(
        "cpu_iowait",
        "share of the interval in which CPUs had nothing to do but wait for disks",
        functools.partial(_judge_cpu_part, "iowait", "waited for disks"),
        unit="%",
        warning=20,
        critical=50,
    ),
    Check(
        "cpu_steal",
        "share of the interval in which the hypervisor gave the CPUs to others",
        functools.partial(_judge_cpu_part, "steal", "were given to other machines"),
        unit="%",
        warning=10,
        critical=30,
    ),
    MEMORY,
    Check("swap_in", "pages read back from swap per second", judge_swap_in, unit="/s", warning=500),
    *(
        Check(
            f"{what}_pressure",
            f"share of the interval in which some task waited for {STALL_WORDS[what]} (PSI)",
            functools.partial(_judge_stall, what),
            unit="%",
            warning=warning,
            critical=critical,
        )
        for what, warning, critical in (("cpu", 60, None), ("memory", 10, 40), ("io", 40, None))
    ),
    Check("load", "load average of 1 minute per core; for information", judge_load),
    Check("disk_busy", "share of the interval in which a disk had something to do", judge_disk_busy, "%", 90),
    Check("disk_latency", "mean time of a disk's operation", judge_disk_latency, unit="ms", warning=50, critical=500),
    Check("network_faults", "faulty and lost packets of an interface per second", judge_network, "/s", 10),
)


def probe(root: str, interval: Interval, seconds: float) -> Probe:
    """Return the probe of the host, which may take so many seconds in all."""
    return Probe("host", CHECKS, functools.partial(observe, root=root, interval=interval), timeout=seconds)
