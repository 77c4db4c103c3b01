# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Count events by minute, address and user, and give those their address whose request is told apart from it.

All counts are kept by minute, so that the largest within any hour can be
found, however often the log is read. What is kept is bounded: where there are
more addresses than fit, the further ones count as one.
"""

from __future__ import annotations

import typing as t
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils._security.model import Access, Event

MINUTE, HOUR = 60, 3600
MOST_ROWS = 100_000
MOST_PENDING = 10_000
MOST_MINUTES = 50_000
OTHERS = "others"
# A request that was not ended by then has lost its last line.
LONGEST_REQUEST = 600

Row = tuple[int, str, str]


@dataclass
class Waiting:
    """Events of one request whose address is not known yet: (minute, kind, count, whether the user is known)."""

    seconds: float
    events: list[tuple[int, str, int, bool]]


@dataclass
class Tally:
    """What was counted."""

    minutes: Counter[tuple[int, str]] = field(default_factory=Counter)
    addresses: Counter[Row] = field(default_factory=Counter)
    users: Counter[Row] = field(default_factory=Counter)
    details: Counter[tuple[str, str]] = field(default_factory=Counter)
    # New events by kind, those of them that got an address, and those that could have one and did not yet.
    kinds: Counter[str] = field(default_factory=Counter)
    with_address: Counter[str] = field(default_factory=Counter)
    waiting: OrderedDict[tuple[str, str], Waiting] = field(default_factory=OrderedDict)
    hours: Counter[tuple[int, str]] = field(default_factory=Counter)
    folded: int = 0

    def take(self, seen: Event | Access) -> None:
        """Count an event, or learn where a request came from."""
        if isinstance(seen, Access):
            self._join(seen)
        else:
            self._count(seen)

    def awaits(self, request: tuple[str, str]) -> bool:
        """Return whether an event waits for the end of its request."""
        return request in self.waiting

    def _count(self, event: Event) -> None:
        minute = int(event.seconds // MINUTE)
        key = (event.unit, event.request) if event.request else None
        waiting = self.waiting.get(key) if key else None
        # The same number again after a long time is another request, of a process that began anew.
        if waiting and abs(event.seconds - waiting.seconds) > LONGEST_REQUEST:
            waiting = None
        if waiting and any(kind == event.kind for _minute, kind, _count, _user in waiting.events):
            return
        self.kinds[event.kind] += event.times
        self._add(self.hours, (int(event.seconds // HOUR), event.kind), event.times, MOST_MINUTES)
        self._add(self.minutes, (minute, event.kind), event.times, MOST_MINUTES)
        if event.detail:
            self.details[(event.kind, event.detail)] += event.times
            if len(self.details) > MOST_ROWS:
                self.details = Counter(dict(self.details.most_common(MOST_ROWS // 2)))
        if event.user:
            self._add(self.users, (minute, event.kind, event.user), event.times)
        if event.address:
            self._locate(minute, event.kind, event.address, event.times)
        elif key:
            if waiting is None:
                waiting = self.waiting[key] = Waiting(event.seconds, [])
                self.waiting.move_to_end(key)
            waiting.events.append((minute, event.kind, event.times, event.user is not None))
            if len(self.waiting) > MOST_PENDING:
                self.waiting.popitem(last=False)

    def _join(self, access: Access) -> None:
        waiting = self.waiting.pop((access.unit, access.request), None)
        if waiting is None or access.internal:
            return
        for minute, kind, count, named in waiting.events:
            self._locate(minute, kind, access.address, count)
            if access.user and not named:
                self._add(self.users, (minute, kind, access.user), count)

    def _locate(self, minute: int, kind: str, address: str, count: int) -> None:
        self.with_address[kind] += count
        self._add(self.addresses, (minute, kind, address), count)

    def _add(self, counter: Counter[t.Any], row: tuple[t.Any, ...], count: int, most: int = MOST_ROWS) -> None:
        before = counter.get(row)
        if before is None and len(counter) >= most:
            self.folded += count
            row = (*row[:2], OTHERS) if len(row) == 3 else (0, row[1])
            before = counter.get(row)
        counter[row] = (before or 0) + count

    def forget(self, before: float) -> None:
        """Drop what is older, and requests that can get no last line any more."""
        first = int(before // MINUTE)
        for counter in (self.minutes, self.addresses, self.users):
            for row in [row for row in counter if row[0] < first]:
                del counter[row]
        newest = max((one.seconds for one in self.waiting.values()), default=0.0)
        for key in [key for key, one in self.waiting.items() if one.seconds < newest - LONGEST_REQUEST]:
            del self.waiting[key]


def worst_minute(tally: Tally, kinds: t.Collection[str]) -> tuple[int, int] | None:
    """Return the minute with the most events of these kinds, and how many; None without any."""
    counts: Counter[int] = Counter()
    for (minute, kind), count in tally.minutes.items():
        if kind in kinds:
            counts[minute] += count
    if not counts:
        return None
    return max(counts.items(), key=lambda item: (item[1], item[0]))


def worst(
    rows: Counter[Row], kinds: t.Collection[str], window: int, by: t.Callable[[str], str] = str
) -> tuple[str, int] | None:
    """Return who has the most events of these kinds within any ``window`` minutes, and how many.

    Those that did not fit count as one and are nobody, so they are left out.
    """
    series: dict[str, Counter[int]] = {}
    for (minute, kind, who), count in rows.items():
        if kind in kinds and who != OTHERS:
            series.setdefault(by(who), Counter())[minute] += count
    best: tuple[str, int] | None = None
    for who, minutes in series.items():
        most = _most(minutes, window)
        if best is None or (most, who) > (best[1], best[0]):
            best = who, most
    return best


def most_within(tally: Tally, kinds: t.Collection[str], window: int) -> int:
    """Return the most events of these kinds within any ``window`` minutes."""
    counts: Counter[int] = Counter()
    for (minute, kind), count in tally.minutes.items():
        if kind in kinds:
            counts[minute] += count
    return _most(counts, window)


def _most(minutes: Counter[int], window: int) -> int:
    """Return the largest sum within any window."""
    held: deque[tuple[int, int]] = deque()
    total = most = 0
    for minute, count in sorted(minutes.items()):
        held.append((minute, count))
        total += count
        while held[0][0] <= minute - window:
            total -= held.popleft()[1]
        most = max(most, total)
    return most


def ranking(rows: Counter[Row], by: t.Callable[[str], str] = str) -> list[tuple[str, int, dict[str, int]]]:
    """Return (who, how many, how many of each kind), the most first."""
    found: dict[str, Counter[str]] = {}
    for (_minute, kind, who), count in rows.items():
        found.setdefault(by(who), Counter())[kind] += count
    lines = [(who, sum(kinds.values()), dict(kinds)) for who, kinds in found.items()]
    return sorted(lines, key=lambda line: (-line[1], line[0]))
