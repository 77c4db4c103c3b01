# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Samples over an interval, and what becomes of them: rates, their spread, and points to draw."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, Facts
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import part

Points = list[list[t.Any]]


@dataclass(frozen=True)
class Clock:
    """Time as the samplers see it: ``tick`` never goes back, ``now`` is the seconds since 1970."""

    tick: t.Callable[[], float] = time.monotonic
    now: t.Callable[[], float] = time.time
    wait: t.Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Interval:
    """For how long is looked, in how many steps."""

    seconds: float
    steps: int
    clock: Clock = field(default_factory=Clock)


class Sample(t.NamedTuple):
    """One reading. ``tick`` is on a clock that never goes back."""

    tick: float
    now: float
    facts: Facts


class Spread(t.NamedTuple):
    """The least, the mean and the most of what was sampled."""

    low: float
    mean: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """Return it for the report's facts."""
        return {name: round(value, 3) for name, value in self._asdict().items()}


def sample(read: t.Callable[[], Facts], interval: Interval, deadline: Deadline, doing: str) -> list[Sample]:
    """Read once, and again at the end of each step. A slow reading takes nothing from the steps after it."""
    clock = interval.clock
    started = clock.tick()
    samples = [Sample(started, clock.now(), read())]
    for step in range(1, interval.steps + 1):
        pause = started + interval.seconds * step / interval.steps - clock.tick()
        if pause > 0:
            deadline.require(doing)
            clock.wait(min(pause, deadline.remaining()))
        deadline.require(doing)
        samples.append(Sample(clock.tick(), clock.now(), read()))
    return samples


def point(now: float, value: float | None) -> list[t.Any]:
    """Return one point as the plots of a report have it."""
    whole = int(now)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return [f"{text}.{int((now - whole) * 1000):03d}Z", None if value is None else round(value, 3)]


def levels(samples: t.Sequence[Sample], name: str, value: t.Callable[[t.Any], float]) -> Points:
    """Return the points of something that is read as it is."""
    return [point(one.now, value(part(one.facts, name))) for one in samples]


def rates(samples: t.Sequence[Sample], name: str, value: t.Callable[[t.Any], float | None]) -> Points:
    """Return the points of a counter: how fast it grew in each step. One that went back, or is not there, is a gap."""
    points = []
    for first, second in zip(samples, samples[1:]):
        before, after = value(part(first.facts, name)), value(part(second.facts, name))
        seconds = second.tick - first.tick
        known = before is not None and after is not None and after >= before and seconds > 0
        points.append(point(second.now, (t.cast(float, after) - t.cast(float, before)) / seconds if known else None))
    return points


def rate(samples: t.Sequence[Sample], name: str, value: t.Callable[[t.Any], float | None]) -> float | None:
    """Return how fast a counter grew over the whole interval; None if it went back or was not there."""
    before, after = value(part(samples[0].facts, name)), value(part(samples[-1].facts, name))
    seconds = samples[-1].tick - samples[0].tick
    if before is None or after is None or after < before or seconds <= 0:
        return None
    return (after - before) / seconds


def spread(points: Points) -> Spread | None:
    """Return the spread of points; None where nothing was measured."""
    values = [value for _when, value in points if value is not None]
    if not values:
        return None
    return Spread(min(values), sum(values) / len(values), max(values))


def seconds_between(samples: t.Sequence[Sample]) -> float:
    """Return how long the interval really was."""
    return samples[-1].tick - samples[0].tick
