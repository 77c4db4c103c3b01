# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""How a number grew from day to day, and where that leads, with an interval that means what it says.

The readings of a day become their median: one odd reading is not a trend.
Over the window a straight line with a weekly season is fitted to the days,
with a step where the level jumped and stayed. A day that stands out alone is
left out.

Plain least squares would take each day for independent of the day before.
Disks and tables are not like that: what was written yesterday is still there,
so errors add up, and a plain interval is several times too narrow. Here the
errors of neighbouring days depend on each other by a share that is not known
either. So the line is fitted once for each of some shares between 0 (a level
with noise) and almost 1 (a sum of random days), and each fit counts by how
likely it makes what was seen (restricted likelihood). The forecast is their
mixture, its interval that of Student's distribution with the mixture's
spread.

The interval is a prediction for each single day: of such days, ``level``
percent lie within it, if growth goes on as it did. What nobody could know,
such as a new team next month, is in no interval.
"""

from __future__ import annotations

import collections
import datetime
import math
import operator
import statistics
import typing as t
from dataclasses import dataclass

# Fewer than this are no trend, with a season of seven days in it.
FEWEST_DAYS = 14
# The part of the window's days that must have a reading.
COVERED = 2 / 3
SEASON = 7
# In one direction.
MOST_STEPS = 2
# How many robust standard deviations a day stands out by, and a step jumps.
STANDS_OUT, JUMPS = 6.0, 8.0
# How many usual changes a step is at least.
MATERIAL = 3.0
# Each share of yesterday's error in today's, and what it counts before anything was seen. Sums of random days count
# more: in a month of days they are easily taken for a line with noise, and the interval would be too narrow.
SHARES = {0.0: 1, 0.3: 1, 0.6: 1, 0.8: 1, 0.9: 2, 0.95: 2, 0.99: 6, 0.999: 24}
# A fit that is less likely than this part of the best counts no more.
NEGLIGIBLE = 0.005
# MAD of a normal distribution to its standard deviation.
MAD = 1.4826

Vector = list[float]
Readings = t.Iterable[tuple[datetime.datetime, float]]


class NotEnough(Exception):
    """There are too few days to say anything; the text says how many there are and how many it takes."""


class Day(t.NamedTuple):
    """The median of the readings of one day."""

    date: datetime.date
    value: float


class Step(t.NamedTuple):
    """A level that changed from one day to the next and stayed."""

    date: datetime.date
    size: float


class Expected(t.NamedTuple):
    """What is expected of one day to come."""

    mean: float
    low: float
    high: float


class Reached(t.NamedTuple):
    """Days from the last one until a threshold is reached; None is not within the horizon."""

    days: int | None
    earliest: int | None
    latest: int | None


def daily(readings: Readings) -> list[Day]:
    """Return the median of each day in UTC, oldest first."""
    days: dict[datetime.date, list[float]] = collections.defaultdict(list)
    for moment, value in readings:
        days[moment.date()].append(value)
    return [Day(date, statistics.median(values)) for date, values in sorted(days.items())]


def fit(days: list[Day], window: int, level: float, settle: int = 1) -> Growth:
    """Fit the days of the window that ends with the last one; raise NotEnough with what is missing.

    A jump that is younger than ``settle`` days may be a busy day and is left out.
    """
    if not days:
        raise NotEnough(f"not enough data: there is no reading yet, and the window is {window} days")
    last = days[-1].date
    # A run that comes some hours earlier each time must not lose the first day.
    span = (last - days[0].date).days + 1
    if span < window:
        raise NotEnough(
            f"not enough data: the history has {days_text(span)}, and the window is {window}; wait, or make it shorter"
        )
    inside = [day for day in days if (last - day.date).days < window]
    needed = max(FEWEST_DAYS, math.ceil(window * COVERED))
    if len(inside) < needed:
        raise NotEnough(f"not enough data: {len(inside)} of the last {window} days have a reading, it takes {needed}")
    return Growth(inside, level, settle)


class Growth:
    """A fitted history."""

    def __init__(self, days: list[Day], level: float, settle: int = 1) -> None:
        self.last = days[-1].date
        self.now = statistics.median(day.value for day in days[-settle:])
        steps = find_steps(days)
        self.steps = [step for step in steps if (self.last - step.date).days + 1 >= settle]
        fresh = min((step.date for step in steps if step not in self.steps), default=None)
        young = [day for day in days if fresh and day.date >= fresh]
        self.outliers = [*_outliers([day for day in days if day not in young], self.steps), *young]
        self.days = [day for day in days if day not in self.outliers]
        self._places = [(day.date - self.last).days for day in self.days]
        self._season = _seasonal(self.days)
        rows = [self._row(place) for place in self._places]
        values = [day.value for day in self.days]
        # Only in this way do numbers of bytes and of users have the same rounding errors.
        self._scale = max(1.0, max(abs(value) for value in values))
        self._fits = _mixture(rows, self._places, [value / self._scale for value in values])
        self._quantile = student((1 + level / 100) / 2, len(rows) - len(rows[0]))

    @property
    def per_day(self) -> Expected:
        """Return how much it grows each day, with the interval."""
        return self._moments([(share.slope, share.slope_variance, share.weight) for share in self._fits])

    @property
    def direction(self) -> str:
        """Return grows, shrinks, or steady where the interval of the slope holds both."""
        slope = self.per_day
        return "grows" if slope.low > 0 else "shrinks" if slope.high < 0 else "steady"

    def expect(self, ahead: int) -> Expected:
        """Return what is expected so many days after the last one."""
        row = self._row(ahead)
        expected = self._moments(
            [(*share.predict(row, ahead - self._places[-1]), share.weight) for share in self._fits]
        )
        return Expected(*(max(0.0, value) for value in expected))

    def reach(self, threshold: float, horizon: int) -> Reached:
        """Return when the forecast and the edges of its interval first come to a threshold."""
        found: list[int | None] = [None, None, None]
        # The edges bend, but not within a few days: where none of these comes near, no day between does.
        nears = [self.expect(ahead) for ahead in range(SEASON, horizon + SEASON, SEASON)]
        swing = max(1e-12, *(abs(a.mean - b.mean) for a, b in zip(nears, nears[1:]))) + self._swing
        if max(near.high for near in nears) + swing < threshold:
            return Reached(None, None, None)
        for ahead in range(1, horizon + 1):
            expected = self.expect(ahead)
            for place, value in enumerate((expected.mean, expected.high, expected.low)):
                if found[place] is None and value >= threshold:
                    found[place] = ahead
            if None not in found:
                break
        return Reached(found[0], found[1], found[2])

    @property
    def _swing(self) -> float:
        """Return how far apart the days of one week lie."""
        week = [self.expect(ahead).mean for ahead in range(1, SEASON + 1)]
        return max(week) - min(week)

    def _moments(self, parts: list[tuple[float, float, float]]) -> Expected:
        mean = sum(weight * value for value, _variance, weight in parts)
        spread = sum(weight * (variance + (value - mean) ** 2) for value, variance, weight in parts)
        half = self._quantile * math.sqrt(spread)
        return Expected(mean * self._scale, (mean - half) * self._scale, (mean + half) * self._scale)

    def _row(self, place: int) -> Vector:
        """Return what a day is made of: level, slope, steps, and its place in the week."""
        row = [1.0, float(place)]
        row += [1.0 if place >= (step.date - self.last).days else 0.0 for step in self.steps]
        if self._season:
            weekday = (self.last + datetime.timedelta(days=place)).weekday()
            # Each effect against the mean of the week, so that the level is that of a whole week.
            row += [1.0 if weekday == each else -1.0 if weekday == SEASON - 1 else 0.0 for each in range(SEASON - 1)]
        return row


# Steps and outliers -----------------------------------------------------------------------------------------------


def find_steps(days: list[Day]) -> list[Step]:
    """Return where the level jumped by far more than it changes from day to day, and stayed."""
    values, changes = [day.value for day in days], _changes(days)
    usual = statistics.median(changes)
    odd = _odd_changes(days)
    least = max(JUMPS * _noise(days, odd), MATERIAL * statistics.median(abs(change) for change in changes))
    found = []
    for place, jump in enumerate(odd, 1):
        after, before = values[place : place + SEASON], values[max(0, place - SEASON) : place]
        stayed = statistics.median(after) - statistics.median(before) - usual * (len(after) + len(before)) / 2
        if abs(jump) > least and stayed * jump > 0 and abs(stayed) > abs(jump) / 2:
            found.append(Step(days[place].date, jump))
    # What jumps in one direction again and again grows in that way.
    signs = collections.Counter(step.size > 0 for step in found)
    return [step for step in found if signs[step.size > 0] <= MOST_STEPS]


def _changes(days: list[Day]) -> list[float]:
    return [(b.value - a.value) / (b.date - a.date).days for a, b in zip(days, days[1:])]


def _odd_changes(days: list[Day]) -> list[float]:
    """Return each change from day to day, less what is usual on that weekday."""
    changes = _changes(days)
    by_weekday: dict[int, list[float]] = collections.defaultdict(list)
    for day, change in zip(days[1:], changes):
        by_weekday[day.date.weekday()].append(change)
    overall = statistics.median(changes)
    # The median of two would take half of a jump for usual.
    usual = {weekday: statistics.median(each) if len(each) > 2 else overall for weekday, each in by_weekday.items()}
    return [change - usual[day.date.weekday()] for day, change in zip(days[1:], changes)]


def _noise(days: list[Day], odd: list[float]) -> float:
    """Return the spread of the changes, which a few that stand out do not move."""
    # With few weeks the median of a weekday takes some of the noise with it.
    weeks = max(2.0, len(odd) / SEASON)
    spread = MAD * statistics.median(abs(each) for each in odd) * math.sqrt(weeks / (weeks - 1))
    return max(spread, 1e-9 * max(abs(day.value) for day in days), 1e-12)


def _outliers(days: list[Day], steps: list[Step]) -> list[Day]:
    """Return days that stand out alone, if they are few; many of them are no accident."""
    odd = _odd_changes(days)
    limit = STANDS_OUT * _noise(days, odd)
    edges = {step.date for step in steps}
    found = [
        day
        for day, after, there, back in zip(days[1:], days[2:], odd, odd[1:])
        # Away and back again.
        if there * back < 0 and min(abs(there), abs(back)) > limit and not edges & {day.date, after.date}
    ]
    return found if len(found) <= len(days) / 10 else []


def _seasonal(days: list[Day]) -> bool:
    counts = collections.Counter(day.date.weekday() for day in days)
    return len(counts) == SEASON and min(counts.values()) >= 2


# The fits ---------------------------------------------------------------------------------------------------------


@dataclass
class _Fit:
    """The line for one share of yesterday's error in today's."""

    share: float
    beta: Vector
    inverse: list[Vector]
    variance: float
    last_row: Vector
    last_error: float
    weight: float

    @property
    def slope(self) -> float:
        return self.beta[1]

    @property
    def slope_variance(self) -> float:
        return self.variance * self.inverse[1][1]

    def predict(self, row: Vector, ahead: int) -> tuple[float, float]:
        """Return mean and variance of the day so many after the last one that was fitted."""
        kept = self.share**ahead
        mean = _dot(row, self.beta) + kept * self.last_error
        rest = [a - kept * b for a, b in zip(row, self.last_row)]
        estimated = sum(rest[i] * _dot(self.inverse[i], rest) for i in range(len(rest)))
        return mean, self.variance * (_accumulated(self.share, ahead) + estimated)


def _accumulated(share: float, gap: int) -> float:
    """Return the variance that errors of the days between add up to."""
    return (1 - share ** (2 * gap)) / (1 - share**2) if share else 1.0


def _mixture(rows: list[Vector], places: list[int], values: Vector) -> list[_Fit]:
    fits, logs = [], []
    for share in SHARES:
        fitted, log = _fit(share, rows, places, values)
        fits.append(fitted)
        logs.append(log)
    best = max(logs)
    for fitted, log in zip(fits, logs):
        fitted.weight = SHARES[fitted.share] * math.exp(log - best)
    kept = [fitted for fitted in fits if fitted.weight >= NEGLIGIBLE]
    total = sum(fitted.weight for fitted in kept)
    for fitted in kept:
        fitted.weight /= total
    return kept


def _fit(share: float, rows: list[Vector], places: list[int], values: Vector) -> tuple[_Fit, float]:
    """Return the fit for one share, and the logarithm of its restricted likelihood."""
    first = math.sqrt(1 - share**2)
    x, y, log = [[first * a for a in rows[0]]], [first * values[0]], math.log(first)
    for place in range(1, len(rows)):
        gap = places[place] - places[place - 1]
        kept, size = share**gap, math.sqrt(_accumulated(share, gap))
        x.append([(a - kept * b) / size for a, b in zip(rows[place], rows[place - 1])])
        y.append((values[place] - kept * values[place - 1]) / size)
        log -= math.log(size)
    columns = list(zip(*x))
    matrix = [[_dot(a, b) for b in columns[: place + 1]] for place, a in enumerate(columns)]
    matrix = [[matrix[max(a, b)][min(a, b)] for b in range(len(columns))] for a in range(len(columns))]
    inverse, determinant = _invert(matrix)
    beta = [_dot(line, [_dot(column, y) for column in columns]) for line in inverse]
    free = len(x) - len(beta)
    squares = sum((b - _dot(a, beta)) ** 2 for a, b in zip(x, y))
    # A series without any noise would have no likelihood.
    variance = max(squares / free, 1e-18)
    log -= (free * math.log(variance) + determinant) / 2
    last_error = values[-1] - _dot(rows[-1], beta)
    return _Fit(share, beta, inverse, variance, rows[-1], last_error, 0.0), log


def _dot(a: t.Sequence[float], b: t.Sequence[float]) -> float:
    total: float = sum(map(operator.mul, a, b))
    return total


def _invert(matrix: list[Vector]) -> tuple[list[Vector], float]:
    """Return the inverse of a positive definite matrix, and the logarithm of its determinant."""
    size = len(matrix)
    work = [[*line, *(1.0 if row == column else 0.0 for column in range(size))] for row, line in enumerate(matrix)]
    log = 0.0
    for column in range(size):
        pivot = max(range(column, size), key=lambda row: abs(work[row][column]))
        work[column], work[pivot] = work[pivot], work[column]
        head = work[column][column]
        if abs(head) < 1e-13:
            raise NotEnough("not enough data: the days that have a reading cannot tell growth, week and steps apart")
        log += math.log(abs(head))
        work[column] = [value / head for value in work[column]]
        for row in range(size):
            factor = work[row][column]
            if row != column and factor:
                work[row] = [a - factor * b for a, b in zip(work[row], work[column])]
    return [line[size:] for line in work], log


def days_text(days: int) -> str:
    """Return a number of days as text."""
    return "1 day" if days == 1 else f"{days} days"


def student(probability: float, freedom: int) -> float:
    """Return a quantile of Student's distribution; good to three digits from five degrees of freedom on."""
    z = statistics.NormalDist().inv_cdf(probability)
    v = float(freedom)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / v**power for power, term in enumerate(terms, 1))
