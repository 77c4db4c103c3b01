# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Plots of the numbers in a report's facts: geometry and words, no markup.

A collector puts data into its report, and the page draws them for every kind::

    facts["plots"] = [
        {
            "name": "disk_var",
            "title": "Disk of /var on db1",
            "unit": "B",  # a unit of _human.py: B, %, ms, s, /s, count, or ""
            "series": [
                {
                    "name": "used",
                    "role": "measured",  # or "forecast" (dashed), "earlier" (dotted)
                    "points": [["2026-11-26T00:00:00Z", 1.0], ["2026-11-27T00:00:00Z", None]],
                },
                {"name": "used", "role": "earlier", "shift_s": 604800, "points": [["2026-11-19T00:00:00Z", 0.9]]},
            ],
            "band": [["2026-11-28T00:00:00Z", 1.0, 1.4]],  # optional: the interval of a forecast
            "lines": [{"name": "warning", "value": 8.0, "status": "warning"}],  # optional: thresholds
        }
    ]

Times are UTC, oldest first. A value of None is a gap: it was looked at and
nothing was measured; so is a stretch without points that is long beside the
usual distance of two. Series of one name share a colour, whatever their roles. ``shift_s`` lays an
earlier series over this one: its points are drawn so many seconds later, and
the legend says so; without it they are drawn at their own times. The status of
a line is warning, critical, ok, or absent.

All points may be given: some hundred are drawn, the lowest and the highest
among them. The picture says what it leaves out. ``_ranking.py`` tells of
``facts["rankings"]``; ``facts["answer"]`` is one sentence.
"""

from __future__ import annotations

import datetime
import math
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._fleet import quantity, redacted, shorten, some
from ansible_collections.matrixon.ops.plugins.module_utils._human import Scale, human, scale_of, span
from ansible_collections.matrixon.ops.plugins.module_utils._report import CRITICAL, OK, WARNING

Document = dict[str, t.Any]
# Seconds since 1970, and what was measured then.
Point = tuple[float, t.Optional[float]]
Known = tuple[float, float]

MEASURED, FORECAST, EARLIER = "measured", "forecast", "earlier"
ROLES = (MEASURED, FORECAST, EARLIER)

# Across, a picture is as wide as the screen lets it be and positions are shares of that;
# upwards it has this height in pixels.
WIDTH, HEIGHT = 1000, 180
MOST_PLOTS, SHOWN_PLOTS, MOST_SERIES, MOST_LINES = 40, 6, 6, 8
MOST_POINTS, LEAST_POINTS = 400, 60
# How many points the pictures of one page have in all, so that sixty hosts make no page of many megabytes.
PAGE_POINTS = 100_000
SLOTS = 40
# Beyond this a number is no measurement, and its digits would fill the page.
_PLAUSIBLE = 1e24
_TITLE_CHARS, _NAME_CHARS, _UNIT_CHARS = 120, 60, 12
_LINE_STATUSES = (OK, WARNING, CRITICAL)
_LABEL_HEIGHT = 15
_MARKS = 7
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAY = 86400
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


class Series(t.NamedTuple):
    """One line of a picture."""

    name: str
    role: str
    points: list[Point]
    colour: int
    shift: float

    @property
    def label(self) -> str:
        """Return its name with what sets it apart from a plain measurement."""
        if self.role == EARLIER:
            return f"{self.name}, {span(self.shift)} earlier" if self.shift else f"{self.name}, earlier"
        return f"{self.name}, forecast" if self.role == FORECAST else self.name


class Axis(t.NamedTuple):
    """From where to where a picture shows something."""

    low: float
    high: float

    def share(self, value: float) -> float:
        """Return where a value stands, from 0 to 1."""
        return (value - self.low) / (self.high - self.low)


class Data(t.NamedTuple):
    """What a plot holds once it was read."""

    unit: str
    series: list[Series]
    band: list[tuple[float, float, float]]
    lines: list[Document]
    unread: int
    dropped: list[str]


# All plots of a host


def plots(facts: t.Any, most_points: int = MOST_POINTS) -> Document:
    """Return the pictures of a report's facts, those beyond the first ones to be folded."""
    given = as_list(facts.get("plots")) if isinstance(facts, dict) else []
    stated = [plot for plot in given if isinstance(plot, dict)]
    drawn = [picture(plot, most_points) for plot in stated[:MOST_PLOTS]]
    notes = []
    if len(stated) > MOST_PLOTS:
        names = some([title_of(plot) for plot in stated[MOST_PLOTS:]], 5)
        notes.append(f"{quantity(len(stated) - MOST_PLOTS, 'more plot')} are in the report but not drawn: {names}.")
    if len(stated) < len(given):
        notes.append(f"{quantity(len(given) - len(stated), 'plot')} could not be read.")
    # One plot alone is not worth a fold.
    shown = len(drawn) if len(drawn) <= SHOWN_PLOTS + 1 else SHOWN_PLOTS
    return {"shown": drawn[:shown], "folded": drawn[shown:], "notes": notes}


def points_each(hosts: t.Sequence[Document]) -> int:
    """Return how many points a series may have on a page with these hosts."""
    series = 0
    for host in hosts:
        facts = host.get("facts")
        for plot in as_list(facts.get("plots"))[:MOST_PLOTS] if isinstance(facts, dict) else []:
            series += min(MOST_SERIES, len(as_list(plot.get("series")))) if isinstance(plot, dict) else 0
    return max(LEAST_POINTS, min(MOST_POINTS, PAGE_POINTS // max(1, series)))


def as_list(value: t.Any) -> list[t.Any]:
    """Return a list, or an empty one in place of anything else."""
    return list(value) if isinstance(value, (list, tuple)) else []


def words(value: t.Any, most: int) -> str:
    """Return a text from a report as one line that fits."""
    return shorten(redacted(str(value)[: most * 20]), most) if value not in (None, "") else ""


def title_of(plot: Document) -> str:
    """Return the heading of a plot."""
    return words(plot.get("title"), _TITLE_CHARS) or words(plot.get("name"), _TITLE_CHARS) or "Untitled"


# Reading


def _read(plot: Document) -> Data:
    series: list[Series] = []
    unread = 0
    stated = [one for one in as_list(plot.get("series")) if isinstance(one, dict)]
    for one in stated[:MOST_SERIES]:
        role = one.get("role") if one.get("role") in ROLES else MEASURED
        shift = number(one.get("shift_s")) or 0.0 if role == EARLIER else 0.0
        points, bad = _points(one.get("points"), shift)
        name = words(one.get("name"), _NAME_CHARS) or "value"
        series.append(Series(name, str(role), points, _colour(name, str(role), series), shift))
        unread += bad
    band, bad = _band(plot.get("band"))
    return Data(
        words(plot.get("unit"), _UNIT_CHARS),
        series,
        band,
        _lines(plot.get("lines")),
        unread + bad,
        [words(one.get("name"), _NAME_CHARS) or "value" for one in stated[MOST_SERIES:]],
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
            found.append({"name": words(item.get("name"), _NAME_CHARS) or "limit", "value": value, "status": status})
    return found


class _Times:
    """Reads times; most of them share their day with one before."""

    def __init__(self) -> None:
        self._days: dict[str, float] = {}

    def seconds(self, text: t.Any) -> float | None:
        """Return a time such as 2026-11-27T09:30:00Z in seconds since 1970, or None."""
        if not isinstance(text, str) or not 10 <= len(text) <= 40:
            return None
        try:
            if text[-1] == "Z" and len(text) == 20 and text[13] == text[16] == ":":
                hour, minute, second = int(text[11:13]), int(text[14:16]), int(text[17:19])
                if 0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 61:
                    return self._day(text[:10]) + hour * 3600 + minute * 60 + second
                return None
            # Python before 3.11 knows no Z.
            moment = datetime.datetime.fromisoformat(text[:-1] + "+00:00" if text[-1] == "Z" else text)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=datetime.timezone.utc)
            return (moment - _EPOCH).total_seconds()
        except (ValueError, OverflowError):
            return None

    def _day(self, text: str) -> float:
        known = self._days.get(text)
        if known is None:
            known = self._days[text] = (datetime.date.fromisoformat(text) - _EPOCH.date()).days * float(_DAY)
        return known


# Thinning


def thin(points: t.Sequence[Point], most: int) -> list[Point]:
    """Return at most so many points: the first, the last, and of each stretch the lowest and the highest.

    A stretch in which nothing was measured stays as one gap.
    """
    if len(points) <= most or most < 4:
        return list(points)
    first, whole = points[0][0], points[-1][0] - points[0][0]
    stretches = (most - 2) // 2
    kept = {0, len(points) - 1}
    found: dict[int, tuple[int, int]] = {}
    for place, (when, value) in enumerate(points):
        stretch = min(stretches - 1, int((when - first) / whole * stretches)) if whole else 0
        low, high = found.get(stretch, (place, place))
        found[stretch] = (_lower(points, low, place, value), _higher(points, high, place, value))
    for pair in found.values():
        kept.update(pair)
    return [points[place] for place in sorted(kept)]


def _lower(points: t.Sequence[Point], low: int, place: int, value: float | None) -> int:
    known = points[low][1]
    return place if value is not None and (known is None or value < known) else low


def _higher(points: t.Sequence[Point], high: int, place: int, value: float | None) -> int:
    known = points[high][1]
    return place if value is not None and (known is None or value > known) else high


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


# Axes


def values_axis(values: t.Sequence[float], lines: t.Sequence[float], unit: str) -> Axis:
    """Return the range that a picture shows of its values.

    Times and shares begin at zero, so that a small wiggle does not look like a
    mountain. Other values do unless they change by little beside what they are.
    A threshold is in the picture unless it would press the values flat.
    """
    low, high = min(values), max(values)
    reach = high - min(0.0, low) or 1.0
    inside = [line for line in lines if low - 3 * reach <= line <= high + 3 * reach]
    low, high = min(low, *inside, high), max(high, *inside, low)
    if unit == "%" and low >= 0 and 40 < high <= 100:
        return Axis(0.0, 100.0)
    if low > 0 and unit not in ("%", "ms", "s") and 0 < high - low < 0.25 * high:
        room = 0.08 * (high - low)
        return Axis(low - room, high + room)
    base, top = min(0.0, low), max(0.0, high)
    room = 0.04 * (top - base)
    axis = Axis(base - room if low < 0 else base, top + room if high > 0 else top)
    return axis if axis.high > axis.low else Axis(base, base + 1)


def value_ticks(axis: Axis, unit: str, most: int = 5) -> tuple[Axis, list[tuple[float, str]]]:
    """Return the range widened to whole steps, and its steps in words."""
    scale = scale_of(max(abs(axis.low), abs(axis.high)), unit)
    step = _step((axis.high - axis.low) / scale.size / most, whole=unit == "count")
    first = math.floor(round(axis.low / scale.size / step, 6))
    last = max(first + 1, math.ceil(round(axis.high / scale.size / step, 6)))
    ticks = [(place * step * scale.size, tick_words(place * step, step, scale)) for place in range(first, last + 1)]
    return Axis(ticks[0][0], ticks[-1][0]), ticks


def _step(least: float, *, whole: bool) -> float:
    """Return the first of 1, 2, 5, 10, ... that is not smaller."""
    power = 10.0 ** math.floor(math.log10(least))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * 0.999)
    return max(1.0, step) if whole else step


def tick_words(value: float, step: float, scale: Scale) -> str:
    """Return a number of an axis, with the decimals that tell two steps apart."""
    if not value:
        return "0"
    if not 1e-6 <= step < 1e15:
        return f"{value:.3g}{scale.name}"
    decimals = max(0, -math.floor(math.log10(step * 1.001)))
    text = f"{value:,.{decimals}f}".replace(",", "\N{NO-BREAK SPACE}")
    return (text if len(text) <= 12 else f"{value:.4g}") + scale.name


class Tick(t.NamedTuple):
    """A mark on the axis of time."""

    when: float
    text: str
    context: str


_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200)
_DAYS, _MONTH_STEPS, _YEARS = (1, 2, 7, 14), (1, 2, 3, 6), (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


def time_ticks(axis: Axis, most: int = 7) -> list[Tick]:
    """Return marks at round times, each with what it is a part of: a day, a year."""
    whole = axis.high - axis.low
    for step in _STEPS:
        # Seconds are long words.
        if whole / step <= (most if step >= 60 else most - 2):
            return _named(_multiples(axis, step, 0), "%H:%M:%S" if step < 60 else "%H:%M", by_day=True)
    for days in _DAYS:
        if whole / (days * _DAY) <= most:
            # The first Monday of the era is its fifth day.
            return _named(_multiples(axis, days * _DAY, 4 * _DAY if days > 2 else 0), "day", by_day=False)
    for months in _MONTH_STEPS:
        if whole / (months * 30.4 * _DAY) <= most:
            return _named(_months(axis, months), "month", by_day=False)
    years = next((years for years in _YEARS if whole / (years * 365.2 * _DAY) <= most), _YEARS[-1])
    return _named(_months(axis, years * 12), "year", by_day=False)


def _multiples(axis: Axis, step: float, offset: float) -> list[float]:
    first = math.ceil((axis.low - offset) / step)
    last = math.floor((axis.high - offset) / step)
    return [place * step + offset for place in range(first, last + 1)]


def _months(axis: Axis, step: int) -> list[float]:
    begin = moment(axis.low)
    place = (begin.year * 12 + begin.month - 1) // step * step
    found = []
    while place // 12 <= datetime.MAXYEAR:
        year = max(1, place // 12)
        when = (datetime.datetime(year, place % 12 + 1, 1, tzinfo=datetime.timezone.utc) - _EPOCH).total_seconds()
        if when > axis.high:
            break
        if when >= axis.low:
            found.append(when)
        place += step
    return found


def _named(times: t.Sequence[float], form: str, *, by_day: bool) -> list[Tick]:
    ticks: list[Tick] = []
    for when in times:
        at = moment(when)
        text = {"day": _day_words(at), "month": _MONTHS[at.month - 1], "year": str(at.year)}.get(form) or f"{at:{form}}"
        ticks.append(Tick(when, text, "" if form == "year" else _day_words(at) if by_day else str(at.year)))
    return ticks


def moment(seconds: float) -> datetime.datetime:
    """Return seconds since 1970 as a time, also where it is far off."""
    least, most = -62135596800, 253402300799
    return _EPOCH + datetime.timedelta(seconds=min(most, max(least, seconds)))


def _day_words(at: datetime.datetime) -> str:
    return f"{at.day} {_MONTHS[at.month - 1]}"


def time_words(seconds: float, whole: float) -> str:
    """Return a time as exactly as a picture of this length lets one see it."""
    at = moment(seconds)
    if whole > 3 * _DAY:
        return f"{at.day} {_MONTHS[at.month - 1]} {at.year}"
    return f"{at:%Y-%m-%d %H:%M}" if whole > 1800 else f"{at:%Y-%m-%d %H:%M:%S}"


def figure(value: float, unit: str) -> str:
    """Return a measured value in words that stay short."""
    if value and not 1e-6 <= abs(value) < 1e15 and not (unit == "B" and abs(value) >= 1):
        return f"{value:.3g} {unit}".rstrip()
    return human(value, unit)


# One picture


def picture(plot: Document, most_points: int = MOST_POINTS) -> Document:
    """Return one plot as a picture: where what stands, and in words what it shows."""
    data = _read(plot)
    known = [(when, value) for series in data.series for when, value in series.points if value is not None]
    view: Document = {
        "title": title_of(plot),
        "notes": _notes(data),
        "legend": _legend(data),
    }
    if not known:
        return {
            **view,
            "period": "",
            "empty": "Nothing was measured.",
            "text": f"{view['title']}: nothing was measured.",
        }
    # A gap at the edge of a picture is a part of it.
    times = [when for series in data.series for when, dummy in series.points] + [row[0] for row in data.band]
    across = Axis(min(times), max(times))
    if across.high <= across.low:
        across = Axis(across.low - 1800, across.low + 1800)
    limits = [line["value"] for line in data.lines]
    upwards, ticks = value_ticks(
        _with_band(values_axis([item[1] for item in known], limits, data.unit), data), data.unit
    )
    frame = _Frame(across, upwards)
    drawn = [_curve(series, frame, most_points, data) for series in data.series]
    inside = [line for line in data.lines if upwards.low <= line["value"] <= upwards.high]
    view["notes"] += [*_reached(data, across), *_outside(data, upwards)]
    return {
        **view,
        "empty": "",
        "text": _text(view["title"], data, across),
        "period": _period(across),
        "width": WIDTH,
        "height": HEIGHT,
        "label_width": _label_width([text for dummy, text in ticks]),
        "value_ticks": [{"y": frame.y(value), "text": text, "zero": value == 0} for value, text in ticks],
        "time_ticks": _time_marks(frame),
        "band": _band_path(data.band, frame, most_points // 2),
        "curves": drawn,
        "lines": _line_marks(inside, data, frame),
        "now": _now(data, frame),
        "hover": _hover(data, frame),
    }


class _Frame(t.NamedTuple):
    """Turns times and values into places: across in shares of 100, upwards in pixels from the top."""

    across: Axis
    upwards: Axis

    def x(self, when: float) -> float:
        return round(100 * self.across.share(when), 2)

    def y(self, value: float) -> float:
        return round(HEIGHT * (1 - min(1.0, max(0.0, self.upwards.share(value)))), 1)

    def spot(self, when: float, value: float) -> str:
        return f"{WIDTH * self.across.share(when):.1f},{self.y(value):g}"


def _with_band(axis: Axis, data: Data) -> Axis:
    """Return the range with the band, unless that is so wide that the values would be pressed flat."""
    if not data.band:
        return axis
    reach = axis.high - axis.low
    low, high = min(row[1] for row in data.band), max(row[2] for row in data.band)
    # An interval may reach below zero where no value can.
    least = axis.low if axis.low == 0 else axis.low - 0.5 * reach
    low, high = max(least, min(axis.low, low)), min(axis.high + reach, max(axis.high, high))
    return Axis(low, min(100.0, high) if data.unit == "%" and axis.high == 100 else high)


def _curve(series: Series, frame: _Frame, most: int, data: Data) -> Document:
    whole = frame.across.high - frame.across.low
    found = runs(thin(series.points, most), whole, usual_distance(series.points))
    lines = [run for run in found if len(run) > 1]
    return {
        "role": series.role,
        "colour": series.colour,
        "path": "".join("M" + "L".join(frame.spot(when, value) for when, value in run) for run in lines),
        "dots": [{"x": frame.x(run[0][0]), "y": frame.y(run[0][1])} for run in found if len(run) == 1],
        "marks": _curve_marks(series, found, frame) if _marked(series, data) else [],
    }


def _marked(series: Series, data: Data) -> bool:
    """Return whether a shape must tell this line from others, as colour alone would not."""
    return series.role == MEASURED and len({other.colour for other in data.series if other.role == MEASURED}) > 1


def _curve_marks(series: Series, found: t.Sequence[t.Sequence[Known]], frame: _Frame) -> list[Document]:
    """Return some points of a line, others than those of its neighbours."""
    points = [point for run in found for point in run]
    marks = []
    for place in range(_MARKS):
        share = (place + series.colour / (MOST_SERIES + 1)) / _MARKS
        when = frame.across.low + share * (frame.across.high - frame.across.low)
        nearest = min(points, key=lambda point: abs(point[0] - when), default=None)
        if nearest:
            mark = {"x": frame.x(nearest[0]), "y": frame.y(nearest[1])}
            marks += [mark] if mark not in marks else []
    return marks


def _band_path(band: t.Sequence[tuple[float, float, float]], frame: _Frame, most: int) -> str:
    rows = thin_band(band, most)
    if len(rows) < 2:
        return ""
    upper = [frame.spot(when, high) for when, dummy, high in rows]
    lower = [frame.spot(when, low) for when, low, dummy in reversed(rows)]
    return "M" + "L".join([*upper, *lower]) + "Z"


def _label_width(texts: t.Sequence[str]) -> str:
    longest = max(len(text) for text in texts)
    return next((name for most, name in ((5, "narrow"), (8, "middle"), (11, "broad")) if longest <= most), "broadest")


def _time_marks(frame: _Frame) -> list[Document]:
    """Return the marks of the axis of time; every second one is left out where the screen is narrow.

    What a mark is a part of is said where that changes, for either screen.
    """
    ticks = time_ticks(frame.across)
    crowded = len(ticks) > (3 if ticks and len(ticks[0].text) > 6 else 4)
    marks: list[Document] = []
    said = said_narrow = ""
    for place, tick in enumerate(ticks):
        x = frame.x(tick.when)
        thin_out = crowded and place % 2 == 1
        marks.append(
            {
                "x": x,
                "text": tick.text,
                "anchor": "start" if x < 4 else "end" if x > 96 else "middle",
                "thin": thin_out,
                "context": tick.context if tick.context != said else "",
                "narrow_context": tick.context if tick.context != said_narrow and not thin_out else "",
            }
        )
        said, said_narrow = tick.context, said_narrow if thin_out else tick.context
    return marks


def _line_marks(lines: t.Sequence[Document], data: Data, frame: _Frame) -> list[Document]:
    """Return the thresholds from the top down, with labels that do not stand on each other."""
    anchor = _free_side([line["value"] for line in lines], data, frame.across)
    marks = []
    free = -float(_LABEL_HEIGHT)
    for line in sorted(lines, key=lambda line: -float(line["value"])):
        y = frame.y(line["value"])
        # Above its line, or else below it, or else below what is there.
        places = (y - 5, y + 13, free + _LABEL_HEIGHT)
        free = next(place for place in places if place >= free + _LABEL_HEIGHT)
        text = f"{line['name']} {figure(line['value'], data.unit)}"
        marks.append({**line, "y": y, "label_y": round(free, 1), "anchor": anchor, "text": text})
    return marks


def _free_side(limits: t.Sequence[float], data: Data, across: Axis) -> str:
    """Return at which end the thresholds are farther from the curves, so that their labels can be read."""
    distance = {"start": math.inf, "end": math.inf}
    for series in data.series:
        for when, value in series.points:
            share = across.share(when)
            if value is not None and not 0.3 < share < 0.7:
                side = "start" if share <= 0.3 else "end"
                distance[side] = min([distance[side], *(abs(value - limit) for limit in limits)])
    return "start" if distance["start"] > distance["end"] else "end"


def _now(data: Data, frame: _Frame) -> float | None:
    """Return where the measurements end and a forecast goes on."""
    ends = [series.points[-1][0] for series in data.series if series.role == MEASURED and series.points]
    ahead = [series.points[-1][0] for series in data.series if series.role == FORECAST and series.points]
    return frame.x(max(ends)) if ends and ahead and max(ahead) > max(ends) else None


# Words


def _legend(data: Data) -> list[Document]:
    entries = []
    for series in data.series:
        known = [value for dummy, value in series.points if value is not None]
        last = figure(known[-1], data.unit) if known else "not measured"
        entries.append(
            {
                "name": series.label,
                "role": series.role,
                "colour": series.colour,
                "marked": _marked(series, data),
                "last": last,
            }
        )
    if len(data.band) > 1:
        last = _between(data.band[-1][1], data.band[-1][2], data.unit)
        entries.append({"name": "interval", "role": "band", "colour": 1, "marked": False, "last": last})
    return entries


def _notes(data: Data) -> list[str]:
    notes = []
    if data.dropped:
        notes.append(f"Not drawn: {some(data.dropped, 5)}.")
    if data.unread:
        notes.append(f"{quantity(data.unread, 'point')} could not be read.")
    return notes


def _outside(data: Data, axis: Axis) -> list[str]:
    notes = []
    for where, lines in (
        ("Above", [line for line in data.lines if line["value"] > axis.high]),
        ("Below", [line for line in data.lines if line["value"] < axis.low]),
    ):
        said = ", ".join(f"{line['name']} {figure(line['value'], data.unit)}" for line in lines)
        notes += [f"{where} the picture: {said}."] if said else []
    return notes


def _period(across: Axis) -> str:
    whole = across.high - across.low
    begun, ended = time_words(across.low, whole), time_words(across.high, whole)
    if whole <= 3 * _DAY and begun[:10] == ended[:10]:
        ended = ended[11:]
    return f"{begun} to {ended} UTC"


def _text(title: str, data: Data, across: Axis) -> str:
    """Return what a person would say who describes the picture to one who cannot see it."""
    whole = across.high - across.low
    sentences = [f"{title}, {_period(across)}"]
    for series in data.series:
        known = [(when, value) for when, value in series.points if value is not None]
        if not known:
            sentences.append(f"{series.label}: nothing was measured")
            continue
        values = [value for dummy, value in known]
        sentences.append(
            f"{series.label}: between {figure(min(values), data.unit)} and {figure(max(values), data.unit)}, "
            f"{figure(values[-1], data.unit)} at {time_words(known[-1][0], whole)}"
        )
    if data.band:
        when, low, high = data.band[-1]
        sentences.append(
            f"Interval at {time_words(when, whole)}: {figure(low, data.unit)} to {figure(high, data.unit)}"
        )
    sentences += [sentence[:-1] for sentence in _reached(data, across)]
    sentences += [f"Line {line['name']}: {figure(line['value'], data.unit)}" for line in data.lines]
    return ". ".join(sentences) + "."


def _reached(data: Data, across: Axis) -> list[str]:
    """Return when a forecast reaches each threshold."""
    found = []
    for series in data.series:
        if series.role != FORECAST:
            continue
        known = [(when, value) for when, value in series.points if value is not None]
        times = [(crossing(known, line["value"]), line["name"]) for line in data.lines]
        whole = across.high - across.low
        said = [f"{name} on {time_words(when, whole)}" for when, name in times if when is not None]
        found += [f"The forecast of {series.name} reaches {', '.join(said)}."] if said else []
    return found


def crossing(known: t.Sequence[Known], value: float) -> float | None:
    """Return when a line first passes a value, between its points."""
    for (begun, before), (ended, after) in zip(known, known[1:]):
        if before != after and min(before, after) <= value <= max(before, after):
            return begun + (ended - begun) * (value - before) / (after - before)
    return None


def _hover(data: Data, frame: _Frame) -> list[Document]:
    """Return the stretches over which a pointer is told the values, without a script."""
    whole = frame.across.high - frame.across.low
    said: list[dict[str, tuple[float, float]]] = [{} for dummy in range(SLOTS)]
    for series in data.series:
        for when, value in series.points:
            if value is not None:
                slot = said[min(SLOTS - 1, int(SLOTS * frame.across.share(when)))]
                low, high = slot.get(series.label, (value, value))
                slot[series.label] = (min(low, value), max(high, value))
    found = []
    for place, slot in enumerate(said):
        if slot:
            begun, ended = (frame.across.low + whole * (place + more) / SLOTS for more in (0, 1))
            lines = [f"{time_words(begun, whole)} to {time_words(ended, whole)}"]
            lines += [f"{label}: {_between(*values, data.unit)}" for label, values in slot.items()]
            found.append({"x": round(100 * place / SLOTS, 2), "width": 100 / SLOTS, "text": "\n".join(lines)})
    return found


def _between(low: float, high: float, unit: str) -> str:
    one, other = figure(low, unit), figure(high, unit)
    return one if one == other else f"{one} to {other}"
