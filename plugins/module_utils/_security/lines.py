# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Read a stream in large chunks of whole lines, in bounded memory whatever the lines are."""

from __future__ import annotations

import typing as t

CHUNK = 4 * 1024 * 1024
LONGEST_LINE = 1024 * 1024

Read = t.Callable[[int], bytes]


class Lines:
    """The whole lines of a stream. ``consumed`` is how many bytes were handed out or cut, up to a line's end.

    Of a line that is longer than ``longest`` only the beginning is kept, and
    ``cut`` counts it. With ``last`` a line that the stream's end cuts off
    counts as one; without, it is left for when the rest has been written.
    """

    def __init__(self, read: Read, longest: int = LONGEST_LINE, last: bool = False, chunk: int = CHUNK) -> None:
        self._read, self._longest, self._last, self._chunk = read, longest, last, chunk
        self.consumed = 0
        self.cut = 0
        self.lines = 0

    def __iter__(self) -> t.Iterator[bytes]:
        # ``rest`` is the beginning of a line whose end was not read yet, and ``length`` how long it really is.
        rest, length = b"", 0
        while True:
            block = self._read(self._chunk)
            if not block:
                break
            end = block.rfind(b"\n") + 1
            if not end:
                rest, length = self._extended(rest, block), length + len(block)
                continue
            first = block.find(b"\n") + 1
            whole = self._extended(rest, block[: first - 1]) + b"\n" + block[first:end]
            self.cut += length + first - 1 > self._longest
            self._count(whole, length + end)
            rest, length = self._extended(b"", block[end:]), len(block) - end
            yield whole
        if rest and self._last:
            self._count(rest + b"\n", length)
            yield rest + b"\n"

    def _count(self, whole: bytes, length: int) -> None:
        self.lines += whole.count(b"\n")
        self.consumed += length

    def _extended(self, rest: bytes, more: bytes) -> bytes:
        return rest + more[: self._longest - len(rest)] if len(rest) < self._longest else rest
