"""Memory, swapping, pressure and load."""

from __future__ import annotations

import errno
import itertools
import pathlib
from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils import _procfs
from ansible_collections.matrixon.ops.plugins.module_utils._health import system_load
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Check, Limits, Verdict
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure

KIB = 1024

# From a Debian 12 host with 24 GB, most of it page cache.
MEMINFO = """\
MemTotal:       24684112 kB
MemFree:          512000 kB
MemAvailable:   20981495 kB
Buffers:           81920 kB
Cached:         20123456 kB
SwapTotal:       1048576 kB
SwapFree:        1048576 kB
HugePages_Total:       0
"""
PRESSURE = "some avg10=1.00 avg60=12.34 avg300=3.00 total=99\nfull avg10=0.00 avg60=0.50 avg300=0.00 total=9\n"


def judge(check: Check, facts: dict[str, Any], limits: Limits | None = None) -> Verdict:
    verdict = check.judge(facts, limits or check.limits)
    assert isinstance(verdict, Verdict)
    return verdict


def memory(used: float) -> dict[str, Any]:
    return {"memory": {"MemTotal": 1000 * KIB, "MemAvailable": (1000 - used * 10) * KIB}}


@pytest.mark.parametrize(
    ("used", "status"), [(0, "ok"), (79.9, "ok"), (80, "warning"), (89.9, "warning"), (90, "critical")]
)
def test_memory_at_the_thresholds(used: float, status: str) -> None:
    verdict = judge(system_load.MEMORY, memory(used))
    assert verdict.status == status and verdict.value == pytest.approx(used)


def test_page_cache_is_not_used_memory() -> None:
    verdict = judge(system_load.MEMORY, {"memory": _procfs.parse_meminfo(MEMINFO)})
    assert verdict.status == "ok" and verdict.value == pytest.approx(15, abs=0.01)


def test_memory_without_memavailable_is_unknown() -> None:
    with pytest.raises(ProbeFailure, match="no MemAvailable") as caught:
        judge(system_load.MEMORY, {"memory": {"MemTotal": 5, "MemFree": 0}})
    assert caught.value.kind == "parse"


@pytest.mark.parametrize(("rate", "status"), [(0, "ok"), (499, "ok"), (500, "warning"), (10**6, "warning")])
def test_swap_in_at_the_threshold(rate: float, status: str) -> None:
    assert judge(system_load.SWAP_IN, {"swap": system_load.Swapping(rate, 0.5)}).status == status


@pytest.mark.parametrize(("share", "status"), [(9.9, "ok"), (10, "warning"), (40, "critical")])
def test_memory_pressure_at_the_thresholds(share: float, status: str) -> None:
    assert judge(system_load.MEMORY_PRESSURE, {"memory_pressure": share}).status == status


@pytest.mark.parametrize(
    ("check", "facts"),
    [
        (system_load.CPU_PRESSURE, {"cpu": 100.0}),
        (system_load.IO_PRESSURE, {"io": 100.0}),
        (system_load.LOAD, {"load": 400.0, "cores": 2}),
    ],
)
def test_what_is_for_information_has_a_verdict_only_with_thresholds(check: Check, facts: dict[str, Any]) -> None:
    assert judge(check, facts).status == "ok"
    assert judge(check, facts, Limits(50, 100)).status == "critical"


def test_load_is_the_mean_of_five_minutes_per_core() -> None:
    verdict = judge(system_load.LOAD, {"load": 3.0, "cores": 2})
    assert (verdict.value, verdict.message) == (1.5, "load average of 5 min is 3.00, 1.50 per core (cores: 2)")


def make(root: pathlib.Path, **files: str) -> str:
    tree = {
        "meminfo": MEMINFO,
        "vmstat": "pswpin 1000\npswpout 5\n",
        "loadavg": "0.44 3.00 0.44 1/89 6899\n",
        "stat": "cpu  1\ncpu0 1\ncpu1 1\nintr 1\n",
        **files,
    }
    (root / "proc/pressure").mkdir(parents=True)
    for what in ("cpu", "memory", "io"):
        (root / "proc/pressure" / what).write_text(PRESSURE)
    for name, text in tree.items():
        (root / "proc" / name).write_text(text)
    return str(root)


def read(root: str, counts: tuple[int, ...] = (), **given: Any) -> dict[str, Any]:
    """Read with a clock that ticks once a call; while it waits the counter takes its next value."""
    values = iter(counts)

    def wait(_seconds: float) -> None:
        pathlib.Path(root, "proc/vmstat").write_text(f"pswpin {next(values)}\n")

    ticks = itertools.count()
    return system_load.read_load(Deadline(5), root, clock=lambda: float(next(ticks)), wait=wait, **given)


def test_swapping_is_counted_over_a_short_time_without_an_earlier_report(tmp_path: pathlib.Path) -> None:
    facts = read(make(tmp_path), (1600,))
    assert facts["swap"] == system_load.Swapping(600, 1)
    assert facts["report"] == {"system": {"swap": {"pages_in": 1600}}}


@pytest.mark.parametrize("seconds", [60, 3600])
def test_swapping_since_the_earlier_report_takes_no_time(tmp_path: pathlib.Path, seconds: float) -> None:
    facts = read(make(tmp_path), before=400, seconds=seconds)  # waiting would fail: no further count
    assert facts["swap"] == system_load.Swapping(600 / seconds, seconds)


@pytest.mark.parametrize("seconds", [59, 3601, -5])
def test_an_earlier_report_of_a_bad_age_tells_nothing_about_now(tmp_path: pathlib.Path, seconds: float) -> None:
    assert read(make(tmp_path), (1005,), before=400, seconds=seconds)["swap"] == system_load.Swapping(5, 1)


def test_a_counter_that_went_down_means_a_restart_and_no_negative_rate(tmp_path: pathlib.Path) -> None:
    facts = read(make(tmp_path), (1005,), before=10**6, seconds=300)
    assert facts["swap"] == system_load.Swapping(5, 1, restarted=True)
    assert "the host was restarted since the earlier report" in judge(system_load.SWAP_IN, facts).message


def test_a_host_without_swap_is_skipped_and_costs_no_time(tmp_path: pathlib.Path) -> None:
    facts = read(make(tmp_path, meminfo=MEMINFO.replace("1048576", "0")))
    assert judge(system_load.SWAP_IN, facts).status == "skipped"


def test_pressure_is_that_of_some_task_in_a_minute(tmp_path: pathlib.Path) -> None:
    facts = read(make(tmp_path), (1000,))
    assert [facts[key] for key in ("cpu", "memory_pressure", "io")] == [12.34] * 3


def test_a_kernel_without_pressure_is_skipped(tmp_path: pathlib.Path) -> None:
    root = make(tmp_path)
    (tmp_path / "proc/pressure/cpu").unlink()
    verdict = judge(system_load.CPU_PRESSURE, read(root, (1000,)))
    assert (verdict.status, verdict.value) == ("skipped", None)


@pytest.mark.parametrize(("code", "kept"), [(errno.EOPNOTSUPP, None), (errno.EACCES, ProbeFailure)])
def test_pressure_switched_off_is_skipped_but_forbidden_is_unknown(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, code: int, kept: Any
) -> None:
    def refuse(root: str, path: str) -> str:
        if "pressure" in path:
            raise OSError(code, "no", path)
        return _procfs.read(root, path)

    monkeypatch.setattr(system_load, "read", refuse)
    value = read(make(tmp_path), (1000,))["cpu"]
    assert value is None if kept is None else isinstance(value, kept) and value.kind == "auth"
