# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Which rows may join a history: pure, whatever keeps it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils._capacity.resources import Row, stamp

# Seconds by which the clocks of a host and of the controller may differ.
SKEW = 300
SHOWN = 3

Host = tuple[str, str]


class StoreError(Exception):
    """A history that cannot be used as it is. It was not touched. ``kind`` is one of ERROR_KINDS."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass
class Content:
    """What a history holds, and what in it is not to be understood: (line, what is wrong)."""

    rows: list[Row] = field(default_factory=list)
    bad: list[tuple[int, str]] = field(default_factory=list)
    bad_count: int = 0
    exists: bool = True
    # There is a place for it, and nothing in it: it may have been lost.
    empty: bool = False
    # The last line was cut off, as by a full disk.
    torn: bool = False

    def complaint(self) -> str:
        """Return in one sentence what is wrong with it, or nothing."""
        said = []
        if self.empty:
            said.append("it is there and empty, so what it held may be lost")
        if self.bad_count:
            shown = "; ".join(f"line {line}: {what}" for line, what in self.bad[:SHOWN])
            more = f" and {self.bad_count - SHOWN} more" if self.bad_count > SHOWN else ""
            lines = "line" if self.bad_count == 1 else "lines"
            said.append(f"{self.bad_count} {lines} cannot be read and were kept as they are: {shown}{more}")
        return ", and ".join(said)


@dataclass(frozen=True)
class Decision:
    """What happens to the rows of a run."""

    add: list[Row]
    known: list[Row]
    refused: list[tuple[Row, str]]


def decide(rows: list[Row], content: Content, now: datetime.datetime) -> Decision:
    """Sort new rows: those to add, those that stand there already, and those whose clock is wrong.

    A row from before the last one of its host tells of a clock that went
    back, and one from the future would do so to all rows after it.
    """
    there = {row.identity for row in content.rows}
    newest: dict[Host, datetime.datetime] = {}
    for row in content.rows:
        host = row.deployment, row.host
        newest[host] = max(newest.get(host, row.time), row.time)
    decision = Decision([], [], [])
    for row in rows:
        last = newest.get((row.deployment, row.host))
        if row.identity in there:
            decision.known.append(row)
        elif last is not None and row.time < last:
            decision.refused.append((row, _went_back(row, last, now)))
        elif (row.time - now).total_seconds() > SKEW:
            ahead = f"the clock of {row.host} is ahead: it read {stamp(row.time)} when it was {stamp(now)} here"
            decision.refused.append((row, ahead))
        else:
            decision.add.append(row)
            there.add(row.identity)
    return decision


def _went_back(row: Row, last: datetime.datetime, now: datetime.datetime) -> str:
    message = f"the clock of {row.host} went back: it read {stamp(row.time)} after {stamp(last)}"
    if (last - now).total_seconds() > SKEW:
        return f"{message}, which is still to come; remove the rows of that time from the history"
    return message
