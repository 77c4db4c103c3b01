# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Disks: space and inodes of a mount, and how long until it is full."""

from __future__ import annotations

import functools
import math
import os
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
from ansible_collections.matrixon.ops.plugins.module_utils._probe import AUTH, Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import CRITICAL, OK, UNKNOWN, WARNING

GIB = 1024**3
# On a large file system a free share of a few percent looks small and is
# much, so its thresholds get raised. Then this many bytes still warn.
LARGE, FLOOR = 50 * GIB, 10 * GIB
SHORTEST_SPAN, STEADY_SPAN = 600, 3600


class Disk(t.NamedTuple):
    """A file system as a user without privileges sees it. Sizes in bytes."""

    mount_point: str
    fsid: str
    used: int
    available: int
    inodes_used: int
    inodes_available: int
    read_only: bool

    @property
    def size(self) -> int:
        """Return the bytes that users can fill; what is reserved for root is not theirs."""
        return self.used + self.available

    @property
    def inodes(self) -> int:
        """Return the inodes that users can take."""
        return self.inodes_used + self.inodes_available


def read_disk(
    mount: str, _deadline: Deadline, root: str = "/", statvfs: t.Callable[[str], t.Any] = os.statvfs
) -> Facts:
    """Measure the file system a path is on. One that hangs costs its own probe only."""
    path = os.path.join(root, mount.lstrip("/"))
    try:
        stat = statvfs(path)
    except PermissionError as error:
        raise ProbeFailure(AUTH, f"{mount}: this user may not look into the directories above it") from error
    except (FileNotFoundError, NotADirectoryError):
        return {"broken": f"{mount} does not exist: its file system is not mounted, or the path is wrong"}
    except OSError as error:
        return {"broken": f"{mount}: the file system is broken: {error.strerror}"}
    disk = Disk(
        mount_point=_mount_point(path),
        fsid=f"{stat.f_fsid:x}",
        used=(stat.f_blocks - stat.f_bfree) * stat.f_frsize,
        available=stat.f_bavail * stat.f_frsize,
        inodes_used=stat.f_files - stat.f_ffree,
        inodes_available=stat.f_favail,
        read_only=bool(stat.f_flag & os.ST_RDONLY),
    )
    kept = {"fsid": disk.fsid, "used": disk.used, "size": disk.size}
    return {"disk": disk, "report": {"system": {"disks": {mount: kept}}}}


def _mount_point(path: str) -> str:
    path = os.path.realpath(path)
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path


def _named(facts: Facts) -> str:
    """Name the path, and the file system it is on where that is another."""
    disk, mount = facts["disk"], facts["mount"]
    where = "" if disk.mount_point == os.path.realpath(mount) else f" (on the file system of {disk.mount_point})"
    return f"{mount}{where}{' (mounted read-only)' if disk.read_only else ''}"


def _share(used: int, whole: int) -> tuple[float, str]:
    """Return a share in percent, and as text that never rounds up over a threshold."""
    share = 100 * used / whole
    return share, f"{math.floor(share * 10) / 10:g} %"


def judge_space(facts: Facts, limits: Limits) -> Verdict:
    """Judge the used share, and on large file systems the bytes that are left."""
    if "broken" in facts:
        return Verdict(CRITICAL, facts["broken"])
    disk = facts["disk"]
    if not disk.size:
        return skipped(f"{_named(facts)} is a file system without a size")
    share, text = _share(disk.used, disk.size)
    message = (
        f"{_named(facts)}: {text} used, {human_bytes(disk.available)} of {human_bytes(disk.size)} free for services"
    )
    verdict = grade(share, limits, message)
    if verdict.status == OK and disk.size > LARGE and disk.available < FLOOR:
        return Verdict(WARNING, f"{message}: less than {human_bytes(FLOOR)}", value=share)
    return verdict


def judge_inodes(facts: Facts, limits: Limits) -> Verdict:
    """Judge the used share of the inodes."""
    if "broken" in facts:
        return _not_measured(facts)
    disk = facts["disk"]
    if not disk.inodes:
        return skipped(f"{_named(facts)} is a file system without a fixed number of inodes")
    share, text = _share(disk.inodes_used, disk.inodes)
    return grade(share, limits, f"{_named(facts)}: {text} of the inodes used, {disk.inodes_available} free")


def judge_time_to_full(facts: Facts, limits: Limits) -> Verdict:
    """Judge how long the free space lasts at the growth since the earlier report."""
    if "broken" in facts:
        return _not_measured(facts)
    disk, before, span = facts["disk"], facts["before"], facts["seconds"]
    reason = _no_growth_known(disk, before, span)
    if reason:
        return skipped(reason)
    growth = (disk.used - before["used"]) / span
    if growth <= 0:
        return Verdict(OK, f"{_named(facts)} has not grown in the last {human_seconds(span)}")
    left = disk.available / growth
    message = (
        f"{_named(facts)}: {human_bytes(disk.available)} left, full in {human_seconds(left)} "
        f"at the growth of the last {human_seconds(span)} ({human_bytes(growth * 3600)} per hour)"
    )
    if span < STEADY_SPAN:
        # A burst of some minutes, such as a dump, is no trend to wake somebody for.
        limits = Limits(limits.warning if limits.warning is not None else limits.critical)
    return grade(left, limits, message, below=True)


def _no_growth_known(disk: Disk, before: Facts | None, span: float | None) -> str | None:
    if before is None or span is None:
        return "no earlier report to compare with"
    if span < SHORTEST_SPAN:
        return f"the earlier report is {human_seconds(span)} old; growth shows after {human_seconds(SHORTEST_SPAN)}"
    if before["fsid"] != disk.fsid:
        return "another file system is mounted there than at the time of the earlier report"
    return None


def _not_measured(facts: Facts) -> Verdict:
    return Verdict(UNKNOWN, f"not measured: {facts['broken']}")


SPACE = Check(
    "disk_space",
    "used share of each mount as services see it, without what is reserved for root; "
    "above 50 GiB fewer than 10 GiB left always warns",
    judge_space,
    unit="%",
    warning=80,
    critical=90,
    gate=True,
)
INODES = Check("disk_inodes", "used share of the inodes of each mount", judge_inodes, unit="%", warning=80, critical=90)
TIME_TO_FULL = Check(
    "disk_time_to_full",
    "time until a mount is full at its growth since the earlier report; under an hour apart it warns at most",
    judge_time_to_full,
    unit="s",
    warning=72 * 3600,
    critical=24 * 3600,
    below=True,
)
CHECKS = (SPACE, INODES, TIME_TO_FULL)


def probe(mount: str, context: Context, root: str) -> Probe:
    """Return the probe of one mount."""
    given = {
        "mount": mount,
        "before": context.before("system", "disks", mount),
        "seconds": context.seconds_since_baseline,
    }
    return Probe(mount, CHECKS, functools.partial(read_disk, mount, root=root), given)
