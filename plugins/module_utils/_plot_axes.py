# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The axes of a plot: from where to where they go, and the round values and moments at which they are marked."""

from __future__ import annotations

import datetime
import math
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._human import Scale, human, scale_of

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
DAY = 86400
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


class Axis(t.NamedTuple):
    """From where to where a picture shows something."""

    low: float
    high: float

    def share(self, value: float) -> float:
        """Return where a value stands, from 0 to 1."""
        return (value - self.low) / (self.high - self.low)


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
_DAY_STEPS, _MONTH_STEPS, _YEARS = (1, 2, 7, 14), (1, 2, 3, 6), (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


def time_ticks(axis: Axis, most: int = 7) -> list[Tick]:
    """Return marks at round times, each with what it is a part of: a day, a year."""
    whole = axis.high - axis.low
    for step in _STEPS:
        # Seconds are long words.
        if whole / step <= (most if step >= 60 else most - 2):
            return _named(_multiples(axis, step, 0), "%H:%M:%S" if step < 60 else "%H:%M", by_day=True)
    for days in _DAY_STEPS:
        if whole / (days * DAY) <= most:
            # The first Monday of the era is its fifth day.
            return _named(_multiples(axis, days * DAY, 4 * DAY if days > 2 else 0), "day", by_day=False)
    for months in _MONTH_STEPS:
        if whole / (months * 30.4 * DAY) <= most:
            return _named(_months(axis, months), "month", by_day=False)
    years = next((years for years in _YEARS if whole / (years * 365.2 * DAY) <= most), _YEARS[-1])
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
        when = (datetime.datetime(year, place % 12 + 1, 1, tzinfo=datetime.timezone.utc) - EPOCH).total_seconds()
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
    return EPOCH + datetime.timedelta(seconds=min(most, max(least, seconds)))


def _day_words(at: datetime.datetime) -> str:
    return f"{at.day} {_MONTHS[at.month - 1]}"


def time_words(seconds: float, whole: float) -> str:
    """Return a time as exactly as a picture of this length lets one see it."""
    at = moment(seconds)
    if whole > 3 * DAY:
        return f"{at.day} {_MONTHS[at.month - 1]} {at.year}"
    return f"{at:%Y-%m-%d %H:%M}" if whole > 1800 else f"{at:%Y-%m-%d %H:%M:%S}"


def figure(value: float, unit: str) -> str:
    """Return a measured value in words that stay short."""
    if value and not 1e-6 <= abs(value) < 1e15 and not (unit == "B" and abs(value) >= 1):
        return f"{value:.3g} {unit}".rstrip()
    return human(value, unit)
