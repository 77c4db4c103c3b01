"""Disks: thresholds, what a user may fill, growth."""

from __future__ import annotations

import errno
import functools
import os
import pathlib
import threading
import types
from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._health.engine import Policy, execute
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Probe, Verdict
from ansible_collections.matrixon.ops.plugins.module_utils._health.system_disk import (
    CHECKS,
    GIB,
    INODES,
    SPACE,
    TIME_TO_FULL,
    Disk,
    read_disk,
)
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import CheckResult

HOUR = 3600


def disk(used: float = 0, available: float = 100, inodes: tuple[int, int] = (0, 100), fsid: str = "a") -> Disk:
    return Disk("/", fsid, int(used), int(available), *inodes, read_only=False)


def judge(check: Any, measured: Disk, **facts: Any) -> Verdict:
    verdict = check.judge({"mount": "/", "before": None, "seconds": None, "disk": measured, **facts}, check.limits)
    assert isinstance(verdict, Verdict)
    return verdict


def stat(**given: int) -> Any:
    """Return an ext4 file system of 1000 blocks with 50 reserved for root, as statvfs tells it."""
    fields = dict(
        f_frsize=4096, f_blocks=1000, f_bfree=150, f_bavail=100, f_files=10, f_ffree=4, f_favail=4, f_fsid=255, f_flag=0
    )
    return types.SimpleNamespace(**{**fields, **given})


def results(run: Any, deadline: float = 5) -> dict[str, CheckResult]:
    given = {"mount": "/srv", "before": None, "seconds": None}
    outcome = execute([Probe("/srv", CHECKS, run, given)], Policy(), Deadline(deadline))
    return {result.name: result for result in outcome.results}


@pytest.mark.parametrize(
    ("used", "status"),
    [(0, "ok"), (79.9, "ok"), (80, "warning"), (89.9, "warning"), (90, "critical"), (100, "critical")],
)
def test_space_and_inodes_at_the_thresholds(used: float, status: str) -> None:
    parts = int(used * 10), 1000 - int(used * 10)
    assert judge(SPACE, disk(*parts)).status == status
    assert judge(INODES, disk(inodes=parts)).status == status


def test_text_never_rounds_up_over_a_threshold() -> None:
    verdict = judge(SPACE, disk(89_999, 10_001))
    assert verdict.status == "warning" and "89.9 % used" in verdict.message


@pytest.mark.parametrize(
    ("size", "available", "status"),
    [
        (20 * GIB, 9 * GIB, "ok"),  # half of a small disk is free
        (50 * GIB, 10.1 * GIB, "ok"),
        (2000 * GIB, 10 * GIB, "ok"),
        (2000 * GIB, 10 * GIB - 1, "warning"),
    ],
)
def test_few_bytes_left_warn_on_a_large_disk_whatever_its_thresholds(size: int, available: float, status: str) -> None:
    raised = type(SPACE.limits)(99.9, 99.95)
    facts = {"mount": "/", "disk": disk(size - available, available)}
    verdict = SPACE.judge(facts, raised)
    assert isinstance(verdict, Verdict) and verdict.status == status


def test_space_counts_what_is_reserved_for_root_as_gone() -> None:
    # 850 of 1000 blocks are used, but services can have 950 at most.
    facts = read_disk("/", Deadline(1), statvfs=lambda _path: stat())
    assert facts["disk"].used == 850 * 4096 and facts["disk"].available == 100 * 4096
    verdict = SPACE.judge({"mount": "/", **facts}, SPACE.limits)
    assert isinstance(verdict, Verdict) and verdict.value == pytest.approx(100 * 850 / 950)


def test_full_for_services_is_full_though_root_has_room() -> None:
    verdict = results(lambda deadline: read_disk("/", deadline, statvfs=lambda _path: stat(f_bfree=50, f_bavail=0)))
    assert verdict["disk_space"].status == "critical" and verdict["disk_space"].value == 100


@pytest.mark.parametrize(
    ("given", "check", "reason"),
    [
        ({"f_files": 0, "f_ffree": 0, "f_favail": 0}, "disk_inodes", "a file system without a fixed number of inodes"),
        ({"f_blocks": 0, "f_bfree": 0, "f_bavail": 0}, "disk_space", "a file system without a size"),
    ],
)
def test_what_a_file_system_does_not_have_is_skipped(given: dict[str, int], check: str, reason: str) -> None:
    found = results(lambda deadline: read_disk("/", deadline, statvfs=lambda _path: stat(**given)))
    assert found[check].status == "skipped" and reason in str(found[check].skipped_reason)


def fail_with(code: int) -> Any:
    def statvfs(path: str) -> Any:
        raise OSError(code, os.strerror(code), path)

    return statvfs


@pytest.mark.parametrize(
    ("code", "space", "words"),
    [
        (errno.ENOENT, "critical", "/srv does not exist: its file system is not mounted, or the path is wrong"),
        (errno.ENOTDIR, "critical", "/srv does not exist"),
        (errno.EIO, "critical", "/srv: the file system is broken: Input/output error"),
        (errno.ESTALE, "critical", "/srv: the file system is broken: Stale file handle"),
        (errno.EACCES, "unknown", "/srv: this user may not look into the directories above it"),
    ],
)
def test_a_mount_that_cannot_be_measured(code: int, space: str, words: str) -> None:
    found = results(functools.partial(read_disk, "/srv", statvfs=fail_with(code)))
    assert {name: result.status for name, result in found.items()} == {
        "disk_space": space,
        "disk_inodes": "unknown",
        "disk_time_to_full": "unknown",
    }
    assert words in found["disk_space"].message
    assert all(result.value is None for result in found.values())


def test_a_mount_that_hangs_is_critical_and_ends_with_the_deadline() -> None:
    released = threading.Event()
    try:
        found = results(functools.partial(read_disk, "/srv", statvfs=lambda _path: released.wait(30)), deadline=0.1)
    finally:
        released.set()
    assert (found["disk_space"].status, found["disk_space"].error_kind) == ("critical", "timeout")
    assert found["disk_inodes"].status == "unknown"


def test_a_directory_names_the_file_system_it_is_on(tmp_path: pathlib.Path) -> None:
    facts = read_disk(str(tmp_path), Deadline(1))
    verdict = SPACE.judge({"mount": str(tmp_path), **facts}, SPACE.limits)
    assert isinstance(verdict, Verdict)
    assert f"{tmp_path} (on the file system of {facts['disk'].mount_point}): " in verdict.message


def grown(available: float, per_hour: float, hours: float = 2, **facts: Any) -> Verdict:
    measured = disk(used=10**9, available=available)
    before = {"used": 10**9 - per_hour * hours, "fsid": "a", "size": 1}
    return judge(TIME_TO_FULL, measured, **{"before": before, "seconds": hours * HOUR, **facts})


@pytest.mark.parametrize(
    ("hours_left", "status"), [(72.1, "ok"), (72, "warning"), (24.1, "warning"), (24, "critical"), (0, "critical")]
)
def test_time_to_full_at_the_thresholds(hours_left: float, status: str) -> None:
    verdict = grown(available=hours_left * 1000, per_hour=1000)
    assert verdict.status == status and verdict.value == pytest.approx(hours_left * HOUR)


@pytest.mark.parametrize("per_hour", [0, -1000])
def test_without_growth_a_disk_never_fills(per_hour: float) -> None:
    verdict = grown(available=1, per_hour=per_hour)
    assert (verdict.status, verdict.value) == ("ok", None) and "has not grown in the last 2" in verdict.message


@pytest.mark.parametrize(("hours", "status"), [(0.99, "warning"), (1, "critical")])
def test_a_burst_of_minutes_is_no_trend_to_wake_somebody_for(hours: float, status: str) -> None:
    assert grown(available=1000, per_hour=1000, hours=hours).status == status


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"before": None, "seconds": None}, "no earlier report to compare with"),
        ({"before": None}, "no earlier report to compare with"),
        ({"seconds": 599}, "the earlier report is 10 min old; growth shows after 10 min"),
        ({"seconds": -60}, "growth shows after 10 min"),
        ({"before": {"used": 1, "fsid": "b"}}, "another file system is mounted there"),
    ],
)
def test_growth_that_nobody_knows_is_skipped(facts: dict[str, Any], reason: str) -> None:
    verdict = grown(1000, 1000, **facts)
    assert verdict.status == "skipped" and reason in verdict.message


def test_report_is_the_next_baseline() -> None:
    facts = read_disk("/", Deadline(1), statvfs=lambda _path: stat())
    assert facts["report"] == {"system": {"disks": {"/": {"fsid": "ff", "used": 850 * 4096, "size": 950 * 4096}}}}
