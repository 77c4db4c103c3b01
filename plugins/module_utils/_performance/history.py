# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Which of the runs that the controller keeps is the one to compare with. All pure."""

from __future__ import annotations

import calendar
import json
import os
import re
import time
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._fleet import file_name, is_history_point

KIND = "performance"
# How far from the wanted day a run may lie, as a part of its age.
TOLERANCE = 0.3
DAY = 86400.0


def choose(paths: t.Sequence[str], deployment: str, now: float, days: float) -> dict[str, str]:
    """Return the path of the run that is nearest to so many days before now, or with an empty path the reason."""
    if not 0 < days < 3660:
        raise ValueError(f"{days:g} is no number of days; give more than 0, such as 7")
    pattern = re.compile(rf"{KIND}-{re.escape(file_name(deployment))}-(\d{{8}}T\d{{6}})\d{{3}}Z\.json")
    ages: list[tuple[float, str]] = []
    for path in paths:
        found = pattern.fullmatch(os.path.basename(path))
        if found:
            ages.append(((now - _seconds(found.group(1))) / DAY, path))
    near = [(abs(age - days), path) for age, path in ages if abs(age - days) <= TOLERANCE * days]
    if near:
        return {"path": min(near)[1], "reason": ""}
    if not ages:
        return {"path": "", "reason": "no earlier run of this deployment is kept"}
    oldest, newest = max(ages)[0], min(ages)[0]
    low, high = days * (1 - TOLERANCE), days * (1 + TOLERANCE)
    kept = (
        f"{len(ages)} kept runs are from {newest:.1f} to {oldest:.1f} days old"
        if len(ages) > 1
        else (f"the one kept run is {oldest:.1f} days old")
    )
    return {"path": "", "reason": f"no run of {low:.1f} to {high:.1f} days ago is kept; {kept}"}


def _seconds(stamp: str) -> float:
    return float(calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%S")))


def of_host(text: str, target: str) -> dict[str, t.Any]:
    """Return what a kept run says of one host: when it was, and what it kept; or the reason why nothing."""
    try:
        point = json.loads(text)
    except ValueError:
        point = None
    if not is_history_point(point):
        return {"reason": "the kept run cannot be read"}
    host = next((host for host in point["hosts"] if host.get("target") == target), None)
    if host is None:
        return {"reason": f"the run of {point['finished']} does not know {target}"}
    if not isinstance(host.get("kept"), dict):
        return {"reason": f"the run of {point['finished']} kept no figures of {target}"}
    return {"finished": point["finished"], "kept": host["kept"]}
