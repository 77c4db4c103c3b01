# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Read a log file from where the last run ended, through every way in which logs are rotated.

A place in a log is told by what stands there and not by its name: the inode,
the offset, and fingerprints of the file's beginning and of the bytes before
the offset. So a file that was renamed, copied and truncated, or compressed is
found again, and one that only has the name is not taken for it.
"""

from __future__ import annotations

import bz2
import contextlib
import glob
import gzip
import hashlib
import io
import lzma
import os
import re
import typing as t
from dataclasses import asdict, dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, MISSING_TOOL, Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import failure_of
from ansible_collections.matrixon.ops.plugins.module_utils._security.lines import CHUNK, Lines

HEAD = TAIL = 1024
TICK = 0.02
PACKED: dict[str, t.Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
# What a rotation puts behind a name: a number, or a date.
NUMBERED = re.compile(r"[.-](\d{1,4})(?:\.gz|\.bz2|\.xz)?")
DATED = re.compile(r"[.-](\d{4}-?\d\d-?\d\d[\d_.-]*?)(?:\.gz|\.bz2|\.xz)?")
UNPACKING = (EOFError, OSError, lzma.LZMAError, ValueError)


@dataclass(frozen=True)
class Place:
    """How far a file was read. ``seen`` is when, in seconds since 1970."""

    inode: int
    offset: int
    head: str
    head_size: int
    tail: str
    tail_size: int
    seen: float

    @classmethod
    def of(cls, given: t.Any) -> Place:
        """Return a place from what JSON holds of it; raise ValueError for anything else."""
        try:
            place = cls(**given)
            sizes = (place.inode, place.offset, place.head_size, place.tail_size)
            if any(not isinstance(size, int) or size < 0 for size in sizes) or not isinstance(place.head, str):
                raise ValueError("it holds no numbers")
        except TypeError as error:
            raise ValueError(f"it is no place in a file: {error}") from error
        return place

    def as_dict(self) -> dict[str, t.Any]:
        """Return what JSON can hold."""
        return asdict(self)


class Piece:
    """One file of a log, written or rotated away. It stays open, whatever its name does."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._raw = io.FileIO(path)
        self.info = os.fstat(self._raw.fileno())
        suffix = next((end for end in PACKED if path.endswith(end)), None)
        self.packed = suffix is not None
        self._stream: t.Any = PACKED[suffix](self._raw) if suffix else self._raw
        self._at = 0

    @property
    def inode(self) -> int:
        """Return the number that stays over a rename."""
        return self.info.st_ino

    def close(self) -> None:
        """Close it."""
        with contextlib.suppress(*UNPACKING):
            self._stream.close()
        self._raw.close()

    def seek(self, offset: int) -> None:
        """Go to a place in what was written, packed or not."""
        self._stream.seek(offset)
        self._at = offset

    def read(self, size: int) -> bytes:
        """Return the next bytes. One call may bring fewer."""
        try:
            block = self._stream.read(size)
        except (EOFError, lzma.LZMAError) as error:
            raise ProbeFailure(INTERNAL, f"{self.path} ends in the middle or is damaged ({error})") from error
        self._at += len(block)
        return t.cast(bytes, block)

    def at(self, offset: int, size: int) -> bytes:
        """Return bytes at a place, fewer at the end."""
        self.seek(offset)
        found = b""
        while len(found) < size:
            block = self.read(size - len(found))
            if not block:
                break
            found += block
        return found

    def head(self) -> bytes:
        """Return the first bytes."""
        return self.at(0, HEAD)

    def holds(self, place: Place) -> bool:
        """Return whether this is the file in which that place is."""
        if place.offset == 0:
            return False
        if not self.packed and self.info.st_size < place.offset:
            return False
        if _digest(self.at(0, place.head_size)) != place.head:
            return False
        return _digest(self.at(place.offset - place.tail_size, place.tail_size)) == place.tail

    def place(self, offset: int, now: float) -> Place:
        """Return a place in this file."""
        head, tail = self.at(0, min(HEAD, offset)), self.at(max(0, offset - TAIL), min(TAIL, offset))
        return Place(self.inode, offset, _digest(head), len(head), _digest(tail), len(tail), now)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def rotated(path: str, names: t.Iterable[str]) -> list[str]:
    """Return the names that a rotation gave, the oldest first: by numbers and dates, as a clock may have been set."""
    dated, numbered = [], []
    for name in names:
        behind = name[len(path) :] if name.startswith(path) else ""
        number, date = NUMBERED.fullmatch(behind), DATED.fullmatch(behind)
        if number:
            numbered.append((-int(number[1]), name))
        elif date:
            dated.append((date[1], name))
    return [name for _key, name in sorted(dated)] + [name for _key, name in sorted(numbered)]


def expand(patterns: t.Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the logs that the patterns name, without what was rotated away, and the patterns that name none."""
    found: list[str] = []
    empty = []
    for pattern in patterns:
        names = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]
        names = [name for name in names if os.path.isfile(name) and not name.endswith(tuple(PACKED))]
        behind = {other for name in names for other in rotated(name, names)}
        if not names and rotated(pattern, glob.glob(glob.escape(pattern) + "*")):
            names = [pattern]
        found += [name for name in names if name not in behind and name not in found]
        if not names:
            empty.append(pattern)
    return found, empty


@dataclass
class Segment:
    """A part of a log that is to be read: from an offset to the end."""

    piece: Piece
    offset: int


@dataclass
class Journey:
    """What is to be read, in its order, and what is known to be lost."""

    segments: list[Segment]
    lost: str = ""


def pieces_of(path: str, stack: contextlib.ExitStack) -> list[Piece]:
    """Open a log and all of its rotated files, the oldest first. One whose beginning another has, too, is a copy."""
    pieces: list[Piece] = []
    # The one that is written comes first: if it is renamed meanwhile, it is known by its inode.
    for name in [path, *reversed(rotated(path, glob.glob(glob.escape(path) + "*")))]:
        try:
            piece = Piece(name)
        except FileNotFoundError:
            continue
        stack.callback(piece.close)
        if all(piece.inode != other.inode for other in pieces):
            pieces.append(piece)
    kept: list[tuple[Piece, bytes]] = []
    for piece in sorted(pieces, key=lambda one: one.packed):
        try:
            head = piece.head()
        except (ProbeFailure, *UNPACKING):
            # One that is being packed: the file that it is made from is still there, or it is looked at next time.
            continue
        if (head or piece.path == path) and not any(_copies(piece, head, *other) for other in kept):
            kept.append((piece, head))
    wanted = {id(piece) for piece, _head in kept}
    return [piece for piece in reversed(pieces) if id(piece) in wanted]


def _copies(one: Piece, head: bytes, other: Piece, other_head: bytes) -> bool:
    """Return whether two files begin alike, and go on so to the end of the shorter one, where that can be seen."""
    shorter = min(len(head), len(other_head))
    if shorter == 0 or head[:shorter] != other_head[:shorter]:
        return False
    if one.packed or other.packed:
        return True
    size = min(one.info.st_size, other.info.st_size)
    start = max(0, size - TAIL)
    return one.at(start, size - start) == other.at(start, size - start)


def plan(path: str, pieces: t.Sequence[Piece], trail: t.Sequence[Place], since: float) -> Journey:
    """Return what to read. ``trail`` is where the last run stood: in the file before the last one, and in the last."""
    if not trail:
        return Journey([Segment(piece, 0) for piece in _younger(path, pieces, since)])
    last = trail[-1]
    if last.offset == 0:
        # Nothing tells an empty file from another, so what counts is the file before it, or else the time.
        if len(trail) > 1 and _find(pieces, trail[-2]) is not None:
            return plan(path, pieces, trail[:-1], since)
        return Journey([Segment(piece, 0) for piece in _younger(path, pieces, last.seen)])
    begun = _find(pieces, last)
    segments: list[Segment] = []
    for place in trail[:-1]:
        # Whoever wrote it may have gone on for a moment after it was renamed.
        earlier = _find(pieces, place)
        if earlier is not None and earlier is not begun:
            segments.append(Segment(earlier, place.offset))
    if begun is not None:
        index = pieces.index(begun)
        later = [piece for piece in pieces[index + 1 :] if all(piece is not one.piece for one in segments)]
        return Journey([*segments, Segment(begun, last.offset), *(Segment(piece, 0) for piece in later)])
    newer = _younger(path, pieces, last.seen)
    segments += [Segment(piece, 0) for piece in newer if all(piece is not one.piece for one in segments)]
    return Journey(segments, f"what was written after byte {last.offset} of the file that was read last is gone")


def _younger(path: str, pieces: t.Sequence[Piece], seen: float) -> list[Piece]:
    """Return the log itself and the rotated files that were written to since. The kernel's times are a little late."""
    return [piece for piece in pieces if piece.path == path or piece.info.st_mtime >= seen - TICK]


def _find(pieces: t.Sequence[Piece], place: Place) -> Piece | None:
    order = sorted(pieces, key=lambda piece: (piece.inode != place.inode, piece.packed))
    return next((piece for piece in order if _holds(piece, place)), None)


def _holds(piece: Piece, place: Place) -> bool:
    try:
        return piece.holds(place)
    except (ProbeFailure, *UNPACKING):
        return False


@dataclass
class Read:
    """What came of reading one log."""

    lines: int = 0
    size: int = 0
    cut: int = 0
    left: int = 0
    lost: str = ""
    files: int = 0
    # What went wrong after some of it was read. What was read counts, and the trail says how far.
    failure: ProbeFailure | None = None
    trail: list[Place] = field(default_factory=list)


def read_log(
    path: str,
    trail: t.Sequence[Place],
    since: float,
    now: float,
    take: t.Callable[[bytes], None],
    deadline: Deadline,
    chunk: int = CHUNK,
) -> Read:
    """Read a log from where the trail ends. Where the deadline comes first, the rest is left for the next run."""
    done = Read(trail=list(trail))
    with contextlib.ExitStack() as stack:
        try:
            pieces = pieces_of(path, stack)
            if not pieces and not rotated(path, glob.glob(glob.escape(path) + "*")):
                raise ProbeFailure(MISSING_TOOL, f"{path} does not exist, and nothing that was rotated from it")
            journey = plan(path, pieces, trail, since)
            done.lost = journey.lost
            for segment in journey.segments:
                # Each run reads something, so that each gets on.
                if done.size and deadline.remaining() <= 0:
                    done.left = 1
                    break
                whole = segment.piece.path != path
                _read_segment(segment, whole, take, deadline, done, now, chunk)
                if done.left or done.failure:
                    break
        except OSError as error:
            raise failure_of(error) from error
    return done


def _read_segment(
    segment: Segment,
    whole: bool,
    take: t.Callable[[bytes], None],
    deadline: Deadline,
    done: Read,
    now: float,
    chunk: int,
) -> None:
    piece = segment.piece
    lines = Lines(piece.read, last=whole, chunk=chunk)
    try:
        piece.seek(segment.offset)
        for block in lines:
            take(block)
            if deadline.remaining() <= 0:
                done.left = 1 if piece.packed else max(0, piece.info.st_size - segment.offset - lines.consumed)
                if done.left:
                    break
    except ProbeFailure as failure:
        # A packed file that is damaged stays so: what follows it is read all the same.
        done.lost = failure.message
    except OSError as error:
        done.failure = failure_of(error)
    done.files += 1
    done.lines += lines.lines
    done.cut += lines.cut
    done.size += lines.consumed
    place = piece.place(segment.offset + lines.consumed, now)
    # The trail holds the file before the last one, too; a file that is read again is not there twice.
    earlier = [one for one in done.trail if one.inode != place.inode and not _moved(one, piece)]
    done.trail = [*earlier[-1:], place]


def _moved(place: Place, piece: Piece) -> bool:
    return place.offset > 0 and _holds(piece, place)
