# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The clock of a host."""

from __future__ import annotations

import functools

from ansible_collections.matrixon.ops.plugins.module_utils._health.model import (
    Check,
    Facts,
    Limits,
    Probe,
    Verdict,
    grade,
)
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import UNKNOWN
from ansible_collections.matrixon.ops.plugins.module_utils._timesync import measure


def observe(deadline: Deadline, root: str = "/") -> Facts:
    """Ask who steers the clock how far it is off."""
    return {"offset": measure(deadline, root)}


def judge_offset(facts: Facts, limits: Limits) -> Verdict:
    """Judge the offset. A clock that nobody compares has no offset that anybody knows."""
    offset = facts["offset"]
    if offset.seconds is None:
        message = f"the clock is not synchronised, its offset is unknown: {offset.source} says {offset.why}"
        return Verdict(UNKNOWN, message)
    return grade(offset.seconds, limits, f"the clock is {offset.seconds * 1000:.3g} ms off, says {offset.source}")


TIME_OFFSET = Check(
    "time_offset", "offset of the clock from its time source", judge_offset, unit="s", warning=0.5, critical=5
)


def probe(root: str) -> Probe:
    """Return the probe of the clock."""
    return Probe("clock", (TIME_OFFSET,), functools.partial(observe, root=root))
