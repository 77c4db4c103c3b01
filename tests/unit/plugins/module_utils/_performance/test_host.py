"""Verdicts on a host, from samples as they are read."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Check, Verdict
from ansible_collections.matrixon.ops.plugins.module_utils._performance import counters, host
from ansible_collections.matrixon.ops.plugins.module_utils._performance.counters import Disk, Interface
from ansible_collections.matrixon.ops.plugins.module_utils._performance.sampling import Clock, Interval, Sample
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure

KIB = 1024
EPOCH = 1_795_780_800.0
CHECKS = {check.name: check for check in host.CHECKS}
MEMORY = {"MemTotal": 1000 * KIB, "MemAvailable": 500 * KIB, "SwapTotal": 100 * KIB}


def reading(**changes: Any) -> dict[str, Any]:
    return {
        "cpu": dict.fromkeys(counters.CPU_FIELDS, 0),
        "memory": MEMORY,
        "load": 1.0,
        "swaps": 0,
        "disks": {},
        "network": {},
        "accepted": 0,
        **{f"stall_{what}": 0 for what in host.STALLS},
        **changes,
    }


def facts(*readings: dict[str, Any], seconds: float = 10.0, cores: Any = 4) -> dict[str, Any]:
    step = seconds / (len(readings) - 1)
    samples = [Sample(at * step, EPOCH + at * step, each) for at, each in enumerate(readings)]
    return {"samples": samples, "cores": cores}


def cpu(**ticks: int) -> dict[str, int]:
    return {**dict.fromkeys(counters.CPU_FIELDS, 0), **ticks}


def judged(name: str, given: dict[str, Any]) -> Verdict:
    check: Check = CHECKS[name]
    verdict = check.judge(given, check.limits)
    assert isinstance(verdict, Verdict)
    return verdict


def each(name: str, given: dict[str, Any]) -> dict[str | None, Verdict]:
    verdicts = CHECKS[name].judge(given, CHECKS[name].limits)
    assert isinstance(verdicts, list)
    return {verdict.target: verdict for verdict in verdicts}


@pytest.mark.parametrize(("busy", "status"), [(699, "ok"), (700, "warning"), (949, "warning"), (950, "critical")])
def test_cpu_on_both_sides_of_its_thresholds(busy: int, status: str) -> None:
    verdict = judged("cpu", facts(reading(), reading(cpu=cpu(user=busy, idle=1000 - busy))))
    assert verdict.status == status and verdict.value == pytest.approx(busy / 10)


def test_the_mean_is_that_of_the_interval_and_the_spread_that_of_its_steps() -> None:
    steps = [reading(cpu=cpu(user=user, idle=idle)) for user, idle in ((0, 0), (10, 90), (110, 90))]
    verdict = judged("cpu", facts(*steps))
    assert verdict.value == pytest.approx(55.0) and "between 10.0 and 100.0 %" in verdict.message


@pytest.mark.parametrize(("name", "field", "warning"), [("cpu_iowait", "iowait", 200), ("cpu_steal", "steal", 100)])
def test_waiting_and_stolen_time(name: str, field: str, warning: int) -> None:
    for ticks, status in ((warning - 1, "ok"), (warning, "warning")):
        verdict = judged(name, facts(reading(), reading(cpu=cpu(**{field: ticks}, idle=1000 - ticks))))
        assert verdict.status == status, verdict


@pytest.mark.parametrize(("available", "status"), [(201, "ok"), (200, "warning"), (101, "warning"), (100, "critical")])
def test_memory(available: int, status: str) -> None:
    memory = {**MEMORY, "MemAvailable": available * KIB}
    assert judged("memory", facts(reading(memory=memory), reading(memory=memory))).status == status


@pytest.mark.parametrize(("pages", "status"), [(4999, "ok"), (5000, "warning")])
def test_swap(pages: int, status: str) -> None:
    assert judged("swap_in", facts(reading(), reading(swaps=pages))).status == status
    without = reading(memory={**MEMORY, "SwapTotal": 0})
    assert judged("swap_in", facts(without, without)).status == "skipped"


@pytest.mark.parametrize(("what", "warning"), [("cpu", 60), ("memory", 10), ("io", 40)])
def test_pressure_is_counted_over_the_interval(what: str, warning: int) -> None:
    for share, status in ((warning - 1, "ok"), (warning, "warning")):
        # Microseconds of 10 seconds.
        verdict = judged(f"{what}_pressure", facts(reading(), reading(**{f"stall_{what}": share * 100_000})))
        assert verdict.status == status and verdict.value == pytest.approx(share), verdict
    unknown = reading(**{f"stall_{what}": None})
    assert judged(f"{what}_pressure", facts(unknown, unknown)).status == "skipped"


def disk(operations: int = 0, milliseconds: int = 0, busy: int = 0) -> dict[str, Any]:
    return {"disks": {"vda": Disk(operations, 0, milliseconds, 0, 0, 0, busy)}}


def test_disks() -> None:
    for busy, status in ((8990, "ok"), (9000, "warning")):
        assert each("disk_busy", facts(reading(**disk()), reading(**disk(busy=busy))))["vda"].status == status
    for milliseconds, status in ((990, "ok"), (1000, "warning"), (10_000, "critical")):
        given = facts(reading(**disk()), reading(**disk(20, milliseconds)))
        assert each("disk_latency", given)["vda"].status == status
    few = each("disk_latency", facts(reading(**disk()), reading(**disk(9, 9000))))["vda"]
    assert few.status == "skipped" and "not enough data" in few.message
    assert judged("disk_busy", facts(reading(), reading())).status == "skipped"


def test_a_disk_that_came_in_the_interval_is_left_out() -> None:
    assert judged("disk_busy", facts(reading(), reading(**disk(5)))).status == "skipped"


def test_network_faults() -> None:
    def eth(faults: int, received: int = 0) -> dict[str, Any]:
        return {"network": {"eth0": Interface(received, 0, faults)}}

    for faults, status in ((99, "ok"), (100, "warning")):
        assert each("network_faults", facts(reading(**eth(0)), reading(**eth(faults))))["eth0"].status == status
    # An interface that was made anew counts from zero.
    assert each("network_faults", facts(reading(**eth(5)), reading(**eth(0))))["eth0"].status == "unknown"


def test_load_is_for_information() -> None:
    verdict = judged("load", facts(reading(), reading(load=400.0)))
    assert (verdict.status, verdict.value) == ("ok", 100.0)


def test_what_could_not_be_read_is_a_failure_of_its_own_checks_only() -> None:
    broken = reading(cpu=ProbeFailure("auth", "/proc/stat cannot be read"))
    given = facts(broken, broken)
    with pytest.raises(ProbeFailure, match="cannot be read"):
        judged("cpu", given)
    assert judged("memory", given).status == "ok"
    assert set(host.report(given["samples"])["series"]) >= {"memory", "load", "pressure"}
    assert "cpu" not in host.report(given["samples"])["figures"]


def test_a_tree_of_files_is_read_at_each_step(tmp_path: pathlib.Path) -> None:
    files = {
        "stat": "cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n",
        "meminfo": "MemTotal: 1000 kB\nMemAvailable: 400 kB\nSwapTotal: 0 kB\n",
        "loadavg": "0.50 1.0 1.0 1/1 1\n",
        "vmstat": "pswpin 0\npswpout 0\n",
        "diskstats": " 254 0 vda 1 0 0 0 1 0 0 0 0 0 0\n",
        "net/dev": "a\nb\n  eth0: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
        "net/snmp": "Tcp: PassiveOpens\nTcp: 0\n",
    }
    for name, text in files.items():
        path = tmp_path / "proc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    now = [0.0]

    def wait(seconds: float) -> None:
        now[0] += seconds
        ticks = int(now[0] * 10)
        (tmp_path / "proc/stat").write_text(f"cpu  {ticks} 0 0 {ticks * 3} 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n")

    clock = Clock(lambda: now[0], lambda: EPOCH + now[0], wait)
    found = host.observe(Deadline(60, lambda: now[0]), str(tmp_path), Interval(10, 5, clock))
    assert judged("cpu", found).value == pytest.approx(25.0)
    assert judged("cpu_pressure", found).status == "skipped"
    assert len(found["report"]["series"]["cpu"]["busy"]) == 5
    assert found["report"]["figures"] == {"cpu": 25.0, "iowait": 0.0, "memory": 60.0}
