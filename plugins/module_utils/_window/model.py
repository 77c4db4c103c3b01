# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""A maintenance window as it was announced: when, what it touches, and the way back. Pure."""

from __future__ import annotations

import datetime
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._dr.standby import parse_time
from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._report import rfc3339

HOUR = 3600
# Where a moment is, seen from the window.
BEFORE, IN, AFTER = "before", "in", "after"
SHOWN = "%Y-%m-%d %H:%M UTC"

SPEC: dict[str, t.Any] = {
    "id": {"type": "str", "required": True},
    "starts": {"type": "str", "required": True},
    "ends": {"type": "str", "required": True},
    "summary": {"type": "str", "required": True},
    "affects": {"type": "list", "elements": "str", "required": True},
    "rollback": {"type": "str", "default": ""},
}


@dataclass(frozen=True)
class Window:
    """A time in which a maintenance run may act."""

    id: str
    starts: datetime.datetime
    ends: datetime.datetime
    summary: str
    affects: tuple[str, ...]
    rollback: str = ""

    def stage(self, now: datetime.datetime) -> str:
        """Return whether a moment is before, in or after the window. Its end is no part of it."""
        return BEFORE if now < self.starts else IN if now < self.ends else AFTER

    def left(self, now: datetime.datetime) -> float:
        """Return the seconds until it ends, below zero afterwards."""
        return (self.ends - now).total_seconds()

    def ahead(self, now: datetime.datetime) -> float:
        """Return the seconds until it starts, below zero afterwards."""
        return (self.starts - now).total_seconds()

    def shown(self) -> str:
        """Return when it is, for people."""
        return f"{self.starts.strftime(SHOWN)} to {self.ends.strftime(SHOWN)}"

    def as_dict(self) -> dict[str, t.Any]:
        """Return it as a journal keeps it."""
        return {
            "id": self.id,
            "starts": rfc3339(self.starts),
            "ends": rfc3339(self.ends),
            "summary": self.summary,
            "affects": list(self.affects),
            "rollback": self.rollback,
        }


def window_of(given: t.Mapping[str, t.Any], longest_hours: float = 24) -> Window:
    """Return the window that options or a journal describe; raise OptionErrors with all that is wrong."""
    errors = []
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", given["id"]):
        errors.append(
            f"window.id: {given['id']!r} cannot name a window; use up to 64 letters, digits and . _ -, "
            "such as 2026-12-01-db"
        )
    moments = {}
    for name in ("starts", "ends"):
        try:
            moment = parse_time(given[name])
            if moment.utcoffset():
                raise ValueError(f"{given[name]!r} is not in UTC, so that not everybody reads it as the same time")
            moments[name] = moment
        except ValueError as error:
            errors.append(f"window.{name}: {error}; write it in UTC, such as 2026-12-01T02:00:00Z")
    if len(moments) == 2:
        seconds = (moments["ends"] - moments["starts"]).total_seconds()
        if seconds <= 0:
            errors.append(f"window.ends: {given['ends']!r} is not behind window.starts; give the later time")
        elif seconds > longest_hours * HOUR:
            errors.append(
                f"window.ends: a window of {human(seconds, 's')} is longer than the {longest_hours:g} hours that one "
                "may last; make several, or raise maintenance_window_longest_hours"
            )
    errors += [f"window.{name}: it is empty; {why}" for name, why in MEANT.items() if not given[name]]
    if errors:
        raise OptionErrors(errors)
    return Window(
        given["id"],
        moments["starts"],
        moments["ends"],
        given["summary"],
        tuple(given["affects"]),
        given.get("rollback") or "",
    )


MEANT = {
    "summary": "say in one sentence what is done",
    "affects": "name the groups or hosts that are touched",
}
