# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The data of a plot: read without trusting them, and thinned to what a picture can show."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._fleet import redacted, shorten
from ansible_collections.matrixon.ops.plugins.module_utils._human import span
from ansible_collections.matrixon.ops.plugins.module_utils._plot_axes import EPOCH
from ansible_collections.matrixon.ops.plugins.module_utils._report import CRITICAL, OK, WARNING

Document = dict[str, t.Any]
# Seconds since 1970, and what was measured then.
Point = tuple[float, t.Optional[float]]
Known = tuple[float, float]

MEASURED, FORECAST, EARLIER = "measured", "forecast", "earlier"
ROLES = (MEASURED, FORECAST, EARLIER)
MOST_SERIES, MOST_LINES = 6, 8
# More points than these are told apart by no pointer and on no paper.
KEPT_POINTS = 4000
TITLE_CHARS, NAME_CHARS = 120, 60
_UNIT_CHARS = 12
# Beyond this a number is no measurement, and its digits would fill the page.
_PLAUSIBLE = 1e24
_LINE_STATUSES = (OK, WARNING, CRITICAL)


class Series(t.NamedTuple):
    """One line of a picture."""

    name: str
    role: str
    points: list[Point]
    colour: int
    shift: float
    # The median time from one point to the next.
    usual: float

    @property
    def label(self) -> str:
        """Return its name with what sets it apart from a plain measurement."""
        if self.role == EARLIER:
            return f"{self.name}, {span(self.shift)} earlier" if self.shift else f"{self.name}, earlier"
        return f"{self.name}, forecast" if self.role == FORECAST else self.name


class Data(t.NamedTuple):
    """What a plot holds once it was read."""

    unit: str
    series: list[Series]
    band: list[tuple[float, float, float]]
    lines: list[Document]
    unread: int
    dropped: list[str]


def as_list(value: t.Any) -> list[t.Any]:
    """Return a list, or an empty one in place of anything else."""
    return list(value) if isinstance(value, (list, tuple)) else []


def words(value: t.Any, most: int) -> str:
    """Return a text from a report as one line that fits."""
    return shorten(redacted(str(value)[: most * 20]), most) if value not in (None, "") else ""


def title_of(plot: Document) -> str:
    """Return the heading of a plot."""
    return words(plot.get("title"), TITLE_CHARS) or words(plot.get("name"), TITLE_CHARS) or "Untitled"


def read(plot: Document) -> Data:
    series: list[Series] = []
    unread = 0
    stated = [one for one in as_list(plot.get("series")) if isinstance(one, dict)]
    for one in stated[:MOST_SERIES]:
        role = one.get("role") if one.get("role") in ROLES else MEASURED
        shift = number(one.get("shift_s")) or 0.0 if role == EARLIER else 0.0
        points, bad = _points(one.get("points"), shift)
        name = words(one.get("name"), NAME_CHARS) or "value"
        colour = _colour(name, str(role), series)
        series.append(Series(name, str(role), thin(points, KEPT_POINTS), colour, shift, usual_distance(points)))
        unread += bad
    band, bad = _band(plot.get("band"))
    return Data(
        words(plot.get("unit"), _UNIT_CHARS),
        series,
        band,
        _lines(plot.get("lines")),
        unread + bad,
        [words(one.get("name"), NAME_CHARS) or "value" for one in stated[MOST_SERIES:]],
    )


def _colour(name: str, role: str, others: t.Sequence[Series]) -> int:
    """Return the number of a colour: that of the name, or the next one."""
    for other in others:
        if other.name == name:
            return other.colour
    measured = [other for other in others if other.role == MEASURED]
    if role != MEASURED and len(measured) == 1:
        return measured[0].colour
    return len({other.colour for other in others}) + 1


def number(value: t.Any) -> float | None:
    """Return a number that can be drawn, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if -_PLAUSIBLE < value < _PLAUSIBLE else None


def _points(given: t.Any, shift: float) -> tuple[list[Point], int]:
    """Return points in the order of their times, and how many were none."""
    read = _Times()
    points: list[Point] = []
    bad = 0
    for item in as_list(given):
        when = read.seconds(item[0]) if isinstance(item, (list, tuple)) and len(item) > 1 else None
        if when is None:
            bad += 1
            continue
        value = number(item[1])
        bad += value is None and item[1] is not None
        points.append((when + shift, value))
    points.sort(key=lambda point: point[0])
    return points, bad


def _band(given: t.Any) -> tuple[list[tuple[float, float, float]], int]:
    read = _Times()
    found = []
    rows = as_list(given)
    for item in rows:
        if not isinstance(item, (list, tuple)) or len(item) < 3:
            continue
        when, one, other = read.seconds(item[0]), number(item[1]), number(item[2])
        if when is not None and one is not None and other is not None:
            found.append((when, min(one, other), max(one, other)))
    return sorted(found), len(rows) - len(found)


def _lines(given: t.Any) -> list[Document]:
    found = []
    for item in as_list(given)[:MOST_LINES]:
        value = number(item.get("value")) if isinstance(item, dict) else None
        if value is not None:
            status = item.get("status") if item.get("status") in _LINE_STATUSES else ""
            found.append({"name": words(item.get("name"), NAME_CHARS) or "limit", "value": value, "status": status})
    return found


class _Times:
    """Reads times; many of them share their hour with one before."""

    def __init__(self) -> None:
        self._hours: dict[str, float] = {}

    def seconds(self, text: t.Any) -> float | None:
        """Return a time such as 2026-11-27T09:30:00Z in seconds since 1970, or None."""
        if not isinstance(text, str) or not 10 <= len(text) <= 40:
            return None
        try:
            if text[-1] == "Z" and len(text) == 20 and text[16] == ":":
                minute, second = int(text[14:16]), int(text[17:19])
                return self._hour(text[:14]) + minute * 60 + second if 0 <= minute < 60 and 0 <= second < 61 else None
            # Python before 3.11 knows no Z.
            moment = datetime.datetime.fromisoformat(text[:-1] + "+00:00" if text[-1] == "Z" else text)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=datetime.timezone.utc)
            return (moment - EPOCH).total_seconds()
        except (ValueError, OverflowError):
            return None

    def _hour(self, text: str) -> float:
        known = self._hours.get(text)
        if known is None:
            moment = datetime.datetime.strptime(text, "%Y-%m-%dT%H:").replace(tzinfo=datetime.timezone.utc)
            known = self._hours[text] = (moment - EPOCH).total_seconds()
        return known


# Thinning


def thin(points: t.Sequence[Point], most: int) -> list[Point]:
    """Return at most so many points: the first, the last two, and of each stretch the lowest and the highest.

    The last two are the last of all and the last at which something was
    measured. A stretch in which nothing was measured stays as one gap.
    """
    if len(points) <= most or most < 5:
        return list(points)
    first, whole = points[0][0], points[-1][0] - points[0][0] or 1.0
    stretches = (most - 3) // 2
    measured = [place for place, point in enumerate(points) if point[1] is not None]
    kept = {0, len(points) - 1, *measured[-1:]}
    within: dict[int, list[int]] = {}
    for place, point in enumerate(points):
        within.setdefault(min(stretches - 1, int((point[0] - first) / whole * stretches)), []).append(place)
    for places in within.values():
        known = [(value, place) for place in places if (value := points[place][1]) is not None]
        kept.update((min(known)[1], max(known)[1]) if known else places[:1])
    return [points[place] for place in sorted(kept)]


def thin_band(band: t.Sequence[tuple[float, float, float]], most: int) -> list[tuple[float, float, float]]:
    """Return at most so many rows of a band, each as wide as the widest of its stretch."""
    if len(band) <= most:
        return list(band)
    size = -(-len(band) // (most - 1))
    rows = [
        (part[0][0], min(row[1] for row in part), max(row[2] for row in part))
        for part in (band[place : place + size] for place in range(0, len(band) - 1, size))
    ]
    return [*rows, band[-1]]


def runs(points: t.Sequence[Point], whole: float, usual: float) -> list[list[Known]]:
    """Return the stretches that are drawn as one line each; between them nothing was measured."""
    longest = max(6 * usual, 0.03 * whole)
    found: list[list[Known]] = []
    open_run = False
    for when, value in points:
        if value is None:
            open_run = False
            continue
        if not open_run or when - found[-1][-1][0] > longest:
            found.append([])
        found[-1].append((when, value))
        open_run = True
    return found


def usual_distance(points: t.Sequence[Point]) -> float:
    """Return the median time from one point to the next."""
    between = sorted(after[0] - before[0] for before, after in zip(points, points[1:]))
    return between[len(between) // 2] if between else 0.0
