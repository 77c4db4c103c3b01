# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The write-ahead log by its names: segments, positions, timelines, and holes in an archive.

Recovery that meets a hole ends there and calls it success, and the engines'
own checks do not see one. So an archive is believed only when its listing has
every segment from a set's start to the end, over every change of timeline.

A segment has a name of 24 digits, such as 000000010000000000000001, and a
number: the count of segments before it. Positions are int here (bytes from the
beginning of the log), and texts such as 16/B374D848 outside.
"""

from __future__ import annotations

import bisect
import re
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, PARSE

DEFAULT_SEGMENT_BYTES = 16 * 1024 * 1024
SMALLEST_SEGMENT = 1024 * 1024
LARGEST_SEGMENT = 1024 * 1024 * 1024
_LOG_BYTES = 1 << 32
_LARGEST = 0xFFFFFFFF

SEGMENT = "segment"
PARTIAL = "partial"
HISTORY = "history"
BACKUP = "backup"

_SEGMENT_NAME = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})")
_COMPRESSION = r"(?:\.(?P<compression>gz|zst|lz4|bz2|xz))?"
_FILE = re.compile(
    # pgBackRest puts the checksum of the content between name and compression, pg_receivewal ".partial" after it.
    rf"(?P<segment>[0-9A-F]{{24}})(?P<partial>\.partial)?(?:-(?P<digest>[0-9a-f]{{40}}))?{_COMPRESSION}(?P<late>\.partial)?"
    rf"|(?P<history>[0-9A-F]{{8}})\.history{_COMPRESSION.replace('compression', 'packed')}"
    rf"|(?P<backup>[0-9A-F]{{24}})\.(?P<offset>[0-9A-F]{{8}})\.backup{_COMPRESSION.replace('compression', 'zipped')}"
)
_POSITION = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")
_HISTORY_LINE = re.compile(r"([0-9]+)\s+([0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8})(?:\s.*)?")


# --- positions


def parse_lsn(text: str) -> int:
    """Return a log position as a number of bytes; positions compare as these numbers do."""
    match = _POSITION.fullmatch(text)
    if not match:
        raise BackupError(PARSE, f"{text!r} is no log position; one looks like 16/B374D848")
    return int(match[1], 16) << 32 | int(match[2], 16)


def format_lsn(position: int) -> str:
    """Return a position as PostgreSQL writes it."""
    if not 0 <= position < 1 << 64:
        raise ValueError(f"{position} is no log position")
    return f"{position >> 32:X}/{position & _LARGEST:X}"


# --- names


class File(t.NamedTuple):
    """What the name of a file in an archive says.

    ``kind`` is segment, partial, history or backup. ``segment`` is the plain
    name of 24 digits, None for a history file. ``digest`` is the SHA-1 that
    pgBackRest writes into the name.
    """

    kind: str
    timeline: int
    segment: str | None = None
    compression: str | None = None
    digest: str | None = None


def parse_name(name: str) -> File | None:
    """Return what a file's name says, or None where it is nothing of the log (such as a file in the making)."""
    match = _FILE.fullmatch(name)
    if not match:
        return None
    if match["history"]:
        return File(HISTORY, int(match["history"], 16), None, match["packed"])
    if match["backup"]:
        return File(BACKUP, int(match["backup"][:8], 16), match["backup"], match["zipped"])
    segment = match["segment"]
    kind = PARTIAL if match["partial"] or match["late"] else SEGMENT
    return File(kind, int(segment[:8], 16), segment, match["compression"], match["digest"])


def history_name(timeline: int) -> str:
    """Return the name of the file in which a timeline's ancestors stand."""
    return f"{timeline:08X}.history"


def check_segment_bytes(segment_bytes: int) -> int:
    """Return the size of a segment, or fail where no server can have it."""
    if not SMALLEST_SEGMENT <= segment_bytes <= LARGEST_SEGMENT or segment_bytes & (segment_bytes - 1):
        raise BackupError(INTERNAL, f"a segment of {segment_bytes} bytes is no power of two from 1 MiB to 1 GiB")
    return segment_bytes


def split(name: str, segment_bytes: int) -> tuple[int, int]:
    """Return the timeline and the number of a segment by its plain name."""
    per_log = _LOG_BYTES // check_segment_bytes(segment_bytes)
    match = _SEGMENT_NAME.fullmatch(name)
    if not match:
        raise BackupError(PARSE, f"{name!r} is no name of a segment; one has 24 digits from 0 to F")
    timeline, log, place = (int(part, 16) for part in match.groups())
    if place >= per_log:
        raise BackupError(PARSE, f"{name} cannot be the name of a segment of {segment_bytes} bytes")
    if timeline == 0:
        raise BackupError(PARSE, f"{name} is on timeline 0, and the first one is 1")
    return timeline, log * per_log + place


def name_of(timeline: int, number: int, segment_bytes: int) -> str:
    """Return the plain name of a segment by its timeline and number."""
    log, place = divmod(number, _LOG_BYTES // check_segment_bytes(segment_bytes))
    if not (1 <= timeline <= _LARGEST and 0 <= log <= _LARGEST):
        raise ValueError(f"there is no segment {number} on timeline {timeline}")
    return f"{timeline:08X}{log:08X}{place:08X}"


def next_segment(name: str, segment_bytes: int) -> str:
    """Return the name of the segment that follows on the same timeline."""
    timeline, number = split(name, segment_bytes)
    return name_of(timeline, number + 1, segment_bytes)


def segments(first: str, last: str, segment_bytes: int) -> t.Iterator[str]:
    """Yield the names from a segment to another on the same timeline, both inclusive."""
    timeline, start = split(first, segment_bytes)
    other, end = split(last, segment_bytes)
    if timeline != other:
        raise BackupError(INTERNAL, f"{first} and {last} are on different timelines")
    for number in range(start, end + 1):
        yield name_of(timeline, number, segment_bytes)


def segment_at(timeline: int, position: int, segment_bytes: int) -> str:
    """Return the segment in which the byte at a position stands."""
    return name_of(timeline, position // check_segment_bytes(segment_bytes), segment_bytes)


def segment_before(timeline: int, position: int, segment_bytes: int) -> str:
    """Return the last segment that is needed to recover up to a position.

    That is another one than ``segment_at`` where the position is the very
    beginning of a segment.
    """
    return segment_at(timeline, max(0, position - 1), segment_bytes)


# --- timelines


class Switch(t.NamedTuple):
    """The end of an ancestor: the timeline that was left, and the position at which it was."""

    timeline: int
    position: int


def parse_history(timeline: int, text: str) -> tuple[Switch, ...]:
    """Return the ancestors of a timeline by the text of its history file, oldest first."""
    found: list[Switch] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _HISTORY_LINE.fullmatch(line)
        if not match:
            raise BackupError(PARSE, f"{history_name(timeline)}, line {number}: {line!r:.80} is no entry of a history")
        switch = Switch(int(match[1]), parse_lsn(match[2]))
        if found and (switch.timeline <= found[-1].timeline or switch.position < found[-1].position):
            raise BackupError(PARSE, f"{history_name(timeline)}, line {number}: goes back behind the line before")
        if not 1 <= switch.timeline < timeline:
            raise BackupError(
                PARSE, f"{history_name(timeline)}, line {number}: timeline {switch.timeline} is no ancestor of it"
            )
        found.append(switch)
    if not found:
        raise BackupError(PARSE, f"{history_name(timeline)} names no ancestor: it is empty or was cut off")
    return tuple(found)


class History(t.NamedTuple):
    """The timeline that a server is on, and where its ancestors were left.

    ``others`` are timelines that were known then and that it does not come
    from, such as one that a restore began and that was taken back.
    """

    timeline: int
    ancestors: tuple[Switch, ...]
    segment_bytes: int
    others: tuple[int, ...] = ()

    def sends_behind(self, file: File) -> bool:
        """Tell whether the server sends the log on behind a segment."""
        if not file.segment:
            raise AssertionError
        if file.timeline == self.timeline:
            return True
        end = dict(self.ancestors).get(file.timeline)
        number = split(file.segment, self.segment_bytes)[1]
        # Behind a whole segment comes the next one, and a part of one is received again from its beginning.
        start = number + 1 if file.kind == SEGMENT else number
        return end is not None and start * self.segment_bytes <= end

    def left(self, timeline: int, position: int = 0) -> bool:
        """Tell whether the server left a timeline before a position. Of timelines that came later nothing is known."""
        end = dict(self.ancestors).get(timeline)
        if timeline in self.others:
            return True
        return timeline < self.timeline and (end is None or end < position)

    def among(self, timelines: t.Iterable[int]) -> History:
        """Return the same with those of these timelines that it does not come from."""
        own = {self.timeline, *dict(self.ancestors)}
        return self._replace(others=tuple(sorted({*self.others, *timelines} - own)))


# --- the archive


class Span(t.NamedTuple):
    """Segments in a row on one timeline, from the first to the last name, both inclusive."""

    timeline: int
    first: str
    last: str
    length: int


class Leg(t.NamedTuple):
    """A part of the way: the segments that recovery takes from one timeline.

    ``last`` is None for the last leg, which is open. A timeline that begins
    and ends within one segment gives none, because its child's copy of that
    segment is read.
    """

    timeline: int
    first: str
    last: str | None


class Walk(t.NamedTuple):
    """How far an archive leads from a start.

    ``last`` is the last segment before the first hole, and ``end`` the position
    up to which recovery can come with it; both are None where not even the
    first segment is there. ``holes`` are the missing segments that have one
    behind them, so the end of an archive is no hole. ``timelines`` are all on
    the way, also those without a segment, and the last of them is what
    ``recovery_target_timeline`` must be set to: PostgreSQL's own "latest" takes
    the highest number, whether or not it comes from the start. ``path`` are
    the segments that are wanted. ``partial`` is the unfinished segment
    that follows ``last``, and ``newest`` the last whole one behind all holes.
    ``trap`` is an ancestor's copy of the segment that is wanted next, where that
    is the first of its timeline: PostgreSQL takes it and goes on along the
    ancestor, with rows that the timeline never had, and calls it success (tried
    with 15). So no restore may hand it out: only segments of ``path``, or
    choose the ancestor as the target. ``strangers`` says for other
    later timelines of the archive why they were not followed.
    """

    last: str | None
    holes: tuple[Span, ...]
    timelines: tuple[int, ...]
    path: tuple[Leg, ...]
    end: int | None = None
    partial: str | None = None
    newest: str | None = None
    trap: str | None = None
    strangers: tuple[tuple[int, str], ...] = ()


class _Part(t.NamedTuple):
    """A leg in numbers."""

    timeline: int
    first: int
    last: int | None


def walk(
    listing: t.Iterable[str],
    history_texts: t.Mapping[int, str],
    start_segment: str,
    start_timeline: int,
    target_timeline: int | None = None,
    segment_bytes: int = DEFAULT_SEGMENT_BYTES,
    minimum: int | None = None,
) -> Walk:
    """Follow an archive from a segment, over changes of timeline, and find every hole.

    ``listing`` are names of files in any order, other files among them.
    ``history_texts`` are the contents of history files by timeline.
    ``target_timeline`` is the timeline to follow, None the newest that comes
    from the start. ``minimum`` is the position that must still be on the
    timeline of the start: the end of the set. A target that cannot be reached
    fails with the reason.
    """
    timeline, start = split(start_segment, segment_bytes)
    if timeline != start_timeline:
        raise BackupError(INTERNAL, f"segment {start_segment} is not on timeline {start_timeline}")
    whole, unfinished, timelines = _sort(listing, segment_bytes)
    histories = {number: parse_history(number, text) for number, text in history_texts.items() if number > 1}
    needed = max(start * segment_bytes + 1, minimum or 0)
    strangers: dict[int, str] = {}
    for number in sorted(timelines | set(histories)):
        if number > start_timeline and (why := _stranger(number, histories, start_timeline, needed)):
            strangers[number] = why
    if target_timeline is None:
        kin = (number for number in histories if number not in strangers)
        target_timeline = max((start_timeline, *kin))
    elif target_timeline != start_timeline and (why := _stranger(target_timeline, histories, start_timeline, needed)):
        raise BackupError(INTERNAL, f"timeline {target_timeline} cannot be reached from {start_segment}: {why}")
    return _follow(
        _Archive(whole, unfinished, segment_bytes),
        start,
        start_timeline,
        target_timeline,
        histories.get(target_timeline, ()),
    )._replace(strangers=tuple(strangers.items()))


def _sort(listing: t.Iterable[str], segment_bytes: int) -> tuple[dict[int, list[int]], set[tuple[int, int]], set[int]]:
    """Return the numbers of whole segments by timeline, in order, the unfinished ones, and all timelines."""
    whole: dict[int, set[int]] = {}
    unfinished: set[tuple[int, int]] = set()
    timelines: set[int] = set()
    for name in listing:
        file = parse_name(name)
        if file is None:
            continue
        timelines.add(file.timeline)
        if file.segment and file.kind in (SEGMENT, PARTIAL):
            timeline, number = split(file.segment, segment_bytes)
            if file.kind == SEGMENT:
                whole.setdefault(timeline, set()).add(number)
            else:
                unfinished.add((timeline, number))
    return {timeline: sorted(numbers) for timeline, numbers in whole.items()}, unfinished, timelines


def _stranger(timeline: int, histories: dict[int, tuple[Switch, ...]], start: int, needed: int) -> str | None:
    """Return why a timeline does not come from the start, or None."""
    if timeline not in histories:
        return f"the archive has no {history_name(timeline)}, so nobody knows where it comes from"
    ends = dict(histories[timeline])
    if start not in ends:
        return f"its ancestors are {', '.join(str(number) for number in ends)}, and timeline {start} is none of them"
    if ends[start] < needed:
        return (
            f"it left timeline {start} at {format_lsn(ends[start])}, before {format_lsn(needed)}, "
            "from where on the set needs the log"
        )
    return None


class _Archive(t.NamedTuple):
    whole: dict[int, list[int]]
    unfinished: set[tuple[int, int]]
    segment_bytes: int

    def has(self, timeline: int, number: int) -> bool:
        numbers = self.whole.get(timeline, [])
        place = bisect.bisect_left(numbers, number)
        return place < len(numbers) and numbers[place] == number

    def within(self, part: _Part) -> list[int]:
        """Return the numbers of the segments of a part that are there."""
        numbers = self.whole.get(part.timeline, [])
        end = len(numbers) if part.last is None else bisect.bisect_right(numbers, part.last)
        return numbers[bisect.bisect_left(numbers, part.first) : end]

    def name(self, timeline: int, number: int) -> str:
        return name_of(timeline, number, self.segment_bytes)


def _follow(archive: _Archive, start: int, start_timeline: int, target: int, history: tuple[Switch, ...]) -> Walk:
    switches = [switch for switch in history if switch.timeline >= start_timeline]
    timelines = [*(switch.timeline for switch in switches), target]
    begins = [0, *(switch.position // archive.segment_bytes for switch in switches)]
    parts = []
    for place, timeline in enumerate(timelines):
        first = max(start, begins[place])
        # The child holds a copy of the segment in which it began, with all that is before.
        last = None if timeline == target else begins[place + 1] - 1
        if last is None or last >= first:
            parts.append(_Part(timeline, first, last))
    present = [archive.within(part) for part in parts]
    holes, newest = _holes(parts, present)
    reached, wanted = _reach(parts, present)
    end = None if reached is None else (reached[1] + 1) * archive.segment_bytes
    # Where the segment is not the first of its timeline, recovery has come to this timeline and looks at no older one.
    oldest = reached[0] if reached else start_timeline
    copies = (line for line in reversed(timelines) if oldest <= line < wanted[0] and archive.has(line, wanted[1]))
    trap = next((archive.name(line, wanted[1]) for line in copies), None)
    return Walk(
        last=reached and archive.name(*reached),
        holes=tuple(
            Span(line, archive.name(line, first), archive.name(line, last), last - first + 1)
            for line, first, last in holes
        ),
        timelines=tuple(timelines),
        path=tuple(
            Leg(line, archive.name(line, first), None if last is None else archive.name(line, last))
            for line, first, last in parts
        ),
        end=end,
        partial=archive.name(*wanted) if wanted in archive.unfinished else None,
        newest=newest and archive.name(*newest),
        trap=trap,
    )


def _holes(parts: list[_Part], present: list[list[int]]) -> tuple[list[tuple[int, int, int]], tuple[int, int] | None]:
    """Return what is missing before the last segment that is there, and that one."""
    filled = [place for place, numbers in enumerate(present) if numbers]
    if not filled:
        return [], None
    holes = []
    for place, part in enumerate(parts[: filled[-1] + 1]):
        stop = present[place][-1] if place == filled[-1] or part.last is None else part.last
        expected = part.first
        for number in [*present[place], stop + 1]:
            if number > expected:
                holes.append((part.timeline, expected, number - 1))
            expected = number + 1
    return holes, (parts[filled[-1]].timeline, present[filled[-1]][-1])


def _reach(parts: list[_Part], present: list[list[int]]) -> tuple[tuple[int, int] | None, tuple[int, int]]:
    """Return the last segment before the first one that is missing, and that missing one."""
    reached = None
    for part, numbers in zip(parts, present):
        expected = part.first
        for number in numbers:
            if number != expected:
                break
            expected += 1
        if expected > part.first:
            reached = (part.timeline, expected - 1)
        wanted = (part.timeline, expected)
        if part.last is None or expected <= part.last:
            break
    return reached, wanted
