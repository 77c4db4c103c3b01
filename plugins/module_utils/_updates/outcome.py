# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""How the update of a host ended, added to the report of the last look at it. Pure."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    SCHEMA,
    SELF_REPORT,
    SKIPPED,
    UNKNOWN,
    WARNING,
    CheckResult,
    overall,
    rfc3339,
    severity,
)

NAME = "updates_run"
STATES = {
    "done": OK,
    "nothing": OK,
    "planned": WARNING,
    "person": WARNING,
    "failed": CRITICAL,
    "unknown": UNKNOWN,
    "stopped": SKIPPED,
}
Document = dict[str, t.Any]


def empty(frame: t.Mapping[str, str], now: datetime.datetime) -> Document:
    """Return the report of a host of which nothing was seen."""
    moment = rfc3339(now)
    return {
        "schema": SCHEMA,
        "kind": "updates",
        **{key: frame[key] for key in ("target", "deployment", "profile")},
        "started": moment,
        "finished": moment,
        "duration_ms": 0,
        "checks": [],
        "facts": {},
        "evidence": [],
    }


def with_outcome(
    report: Document | None, frame: t.Mapping[str, str], state: str, message: str, now: datetime.datetime
) -> Document:
    """Return the report with the check that says how it ended, and with the status that follows."""
    document = dict(report or empty(frame, now))
    status = STATES[state]
    check = CheckResult(
        NAME,
        document["target"],
        status,
        message,
        error_kind="refused" if status == UNKNOWN else None,
        skipped_reason=message if status == SKIPPED else None,
    )
    checks = [one for one in document["checks"] if one["name"] != NAME] + [check.as_dict()]
    results = [CheckResult(one["name"], one["target"], one["status"], "", source=one["source"]) for one in checks]
    counted = [one.status for one in results if one.source != SELF_REPORT]
    return {
        **document,
        "checks": sorted(checks, key=lambda one: severity(CheckResult(one["name"], one["target"], one["status"], ""))),
        "status": overall(results),
        "counts": {name: counted.count(name) for name in (OK, WARNING, CRITICAL, UNKNOWN, SKIPPED)},
    }
