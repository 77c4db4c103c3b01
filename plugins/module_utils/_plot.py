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

import math
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._fleet import quantity, shorten, some
from ansible_collections.matrixon.ops.plugins.module_utils._plot_axes import (
    DAY,
    Axis,
    figure,
    time_ticks,
    time_words,
    value_ticks,
    values_axis,
)
from ansible_collections.matrixon.ops.plugins.module_utils._plot_data import (
    FORECAST,
    MEASURED,
    MOST_SERIES,
    Data,
    Document,
    Known,
    Series,
    as_list,
    read,
    runs,
    thin,
    thin_band,
    title_of,
)

# Across, a picture is as wide as the screen lets it be and positions are shares of that;
# upwards it has this height in pixels.
WIDTH, HEIGHT = 1000, 180
MOST_PLOTS, SHOWN_PLOTS = 40, 6
MOST_POINTS, LEAST_POINTS = 400, 60
# How many points the pictures of one page have in all, so that sixty hosts make no page of many megabytes.
PAGE_POINTS = 100_000
# Over so many stretches a pointer is told the values, where a picture has all its points; there are a tenth of them.
LEAST_SLOTS = 12
_LABEL_HEIGHT, _LABEL_CHARS = 13, 20
# What a word on the axis of time needs, in shares of its length, on a wide and on a narrow screen; seconds are long.
_WIDE_ROOM, _NARROW_ROOM, _LONG_ROOM = 11.0, 26.0, 50.0
# From where on a word on the axis of time would reach beyond the picture.
_AT_END = 96
_LABEL_WIDTHS = ((5, "narrow"), (8, "middle"), (11, "broad"), (24, "broadest"))
_MARKS = 7


# All plots of a host


def plots(facts: t.Any, most_points: int = MOST_POINTS) -> Document:
    """Return the pictures of a report's facts, those beyond the first ones to be folded."""
    given = as_list(facts.get("plots")) if isinstance(facts, dict) else []
    stated = [plot for plot in given if isinstance(plot, dict)]
    drawn = [picture(plot, most_points) for plot in stated[:MOST_PLOTS]]
    notes = []
    if len(stated) > MOST_PLOTS:
        names = some([title_of(plot) for plot in stated[MOST_PLOTS:]], 5)
        notes.append(f"Not drawn, but in the report: {names}.")
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


# One picture


def picture(plot: Document, most_points: int = MOST_POINTS) -> Document:
    """Return one plot as a picture: where what stands, and in words what it shows."""
    data = read(plot)
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
    label_width = _label_width([text for dummy, text in ticks])
    view["notes"] += [*_reached(data, across), *_outside(data, upwards)]
    return {
        **view,
        "empty": "",
        "text": _text(view["title"], data, across),
        "period": _period(across),
        "width": WIDTH,
        "height": HEIGHT,
        "label_width": label_width,
        "value_ticks": [{"y": frame.y(value), "text": text, "zero": value == 0} for value, text in ticks],
        "time_ticks": _time_marks(frame, label_width),
        "band": _band_path(data.band, frame, most_points // 2),
        "curves": drawn,
        "lines": _line_marks(inside, data, frame),
        "now": _now(data, frame),
        "hover": _hover(data, frame, max(LEAST_SLOTS, most_points // 10)),
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
    # Where nothing was measured is seen before points are left out: few of them lie far apart.
    kept = set(thin(series.points, most))
    found = [part for run in runs(series.points, whole, series.usual) if (part := [one for one in run if one in kept])]
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
    return next((name for most, name in _LABEL_WIDTHS if longest <= most), _LABEL_WIDTHS[-1][1])


def _time_marks(frame: _Frame, label_width: str) -> list[Document]:
    """Return the marks of the axis of time; those for which a narrow screen has no room are left out there.

    What a mark is a part of is said where that changes, for either screen.
    """
    ticks = time_ticks(frame.across)
    places = [frame.x(tick.when) for tick in ticks]
    closest = min((after - before for before, after in zip(places, places[1:])), default=100.0)
    long_words = any(len(tick.text) > 6 for tick in ticks)
    room = (_LONG_ROOM if long_words else _NARROW_ROOM) * (1.3 if label_width == _LABEL_WIDTHS[-1][1] else 1)
    every = math.ceil(room / max(1.0, closest))
    thin_out = [place % every > 0 or (x > _AT_END and every > 1) for place, x in enumerate(places)]
    wide = _contexts([tick.context for tick in ticks], places, _WIDE_ROOM)
    narrow = _contexts([None if out else tick.context for tick, out in zip(ticks, thin_out)], places, room)
    return [
        {
            "x": x,
            "text": tick.text,
            # A word may begin left of the picture, and must end where that ends.
            "at_end": x > _AT_END,
            "thin": out,
            "context": said,
            "narrow_context": said_narrow,
        }
        for x, tick, out, said, said_narrow in zip(places, ticks, thin_out, wide, narrow)
    ]


def _contexts(texts: t.Sequence[str | None], places: t.Sequence[float], room: float) -> list[str]:
    """Return the texts where they change; of two without room between them the later one."""
    said = ["" for dummy in texts]
    last, place = "", -1
    for index, text in enumerate(texts):
        if text is None or text == last:
            continue
        if place >= 0 and places[index] - places[place] < room:
            said[place] = ""
        said[index], last, place = text, text, index
    return said


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
        text = f"{shorten(line['name'], _LABEL_CHARS)} {figure(line['value'], data.unit)}"
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
    if whole <= 3 * DAY and begun[:10] == ended[:10]:
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


def _hover(data: Data, frame: _Frame, slots: int) -> list[Document]:
    """Return the stretches over which a pointer is told the values, without a script."""
    whole = frame.across.high - frame.across.low
    said: list[dict[str, tuple[float, float]]] = [{} for dummy in range(slots)]
    for series in data.series:
        label = series.label
        for when, value in series.points:
            if value is not None:
                slot = said[min(slots - 1, int(slots * frame.across.share(when)))]
                low, high = slot.get(label, (value, value))
                slot[label] = (min(low, value), max(high, value))
    found = []
    for place, slot in enumerate(said):
        if slot:
            begun, ended = (frame.across.low + whole * (place + more) / slots for more in (0, 1))
            lines = [f"{time_words(begun, whole)} to {time_words(ended, whole)}"]
            lines += [f"{label}: {_between(*values, data.unit)}" for label, values in slot.items()]
            found.append({"x": round(100 * place / slots, 2), "width": 100 / slots, "text": "\n".join(lines)})
    return found


def _between(low: float, high: float, unit: str) -> str:
    one, other = figure(low, unit), figure(high, unit)
    return one if one == other else f"{one} to {other}"
