# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Positions and timelines of a log that was forked: comparisons, all pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.wal import Switch, format_lsn, parse_lsn
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, PARSE

__all__ = ["Fork", "behind", "end_of_record", "format_lsn", "fork", "parse_lsn", "record_length"]

ALIGNMENT = 8
PAGE = 8192
# The headers of a page of the log, and of the first page of a segment.
SHORT_HEADER = 24
LONG_HEADER = 40
_RECORD = re.compile(r"len \(rec/tot\):\s*[0-9]+/\s*([0-9]+),.* lsn: ([0-9A-F]+/[0-9A-F]+),")


class Fork(t.NamedTuple):
    """Where two histories part: the last timeline that both have, and the position at which they left each other."""

    timeline: int
    position: int


def behind(ahead: str, here: str) -> int:
    """Return by how many bytes of log the second position is behind the first, never less than nothing."""
    return max(0, parse_lsn(ahead) - parse_lsn(here))


def fork(
    timeline: int, ancestors: t.Sequence[Switch], other: int, other_ancestors: t.Sequence[Switch]
) -> tuple[Fork | None, str]:
    """Return where the histories of two timelines part, or the reason why there is no such place."""
    if timeline == other and tuple(ancestors) == tuple(other_ancestors):
        return None, f"both are on timeline {timeline}"
    if timeline == other:
        return None, f"both are on a timeline {timeline}, but not on the same one: each was promoted by itself"
    ours = [*ancestors, Switch(timeline, -1)]
    theirs = [*other_ancestors, Switch(other, -1)]
    common = None
    for one, two in zip(ours, theirs):
        if one.timeline != two.timeline:
            break
        ends = [end for end in (one.position, two.position) if end >= 0]
        common = Fork(one.timeline, min(ends)) if ends else None
        if one.position != two.position:
            break
    if common is None:
        return None, f"timelines {timeline} and {other} have no common ancestor"
    return common, ""


def record_length(dump: str, position: str) -> int:
    """Return the length of the record at a position out of what pg_waldump prints."""
    for match in _RECORD.finditer(dump):
        if parse_lsn(match[2]) == parse_lsn(position):
            return int(match[1])
    raise BackupError(PARSE, f"pg_waldump shows no record at {position}")


def end_of_record(start: int, length: int, segment_bytes: int) -> int:
    """Return where a record ends that begins somewhere: each page on the way brings a header."""
    if start % PAGE < SHORT_HEADER:
        raise BackupError(INTERNAL, f"no record begins at {format_lsn(start)}")
    place, left = start, length
    while True:
        room = PAGE - place % PAGE
        if left <= room:
            end = place + left
            return end + -end % ALIGNMENT
        left -= room
        place += room
        place += SHORT_HEADER if place % segment_bytes else LONG_HEADER
