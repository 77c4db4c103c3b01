# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""From a history and what was just read to when something is full: checks, plots and one sentence. All pure."""

from __future__ import annotations

import collections
import datetime
import math
import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils._capacity import growth
from ansible_collections.matrixon.ops.plugins.module_utils._capacity.growth import (
    Day,
    Growth,
    NotEnough,
    Reached,
    days_text,
)
from ansible_collections.matrixon.ops.plugins.module_utils._capacity.resources import (
    BYTES,
    Key,
    Kind,
    Row,
    limit_of,
    plain,
    share_of,
    text_of,
    title_of,
)
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    SKIPPED,
    UNKNOWN,
    WARNING,
    CheckResult,
)

DAY_SECONDS = 86400
# What a picture shows of the past and at least of what is to come, in days.
PAST, AHEAD, MOST_AHEAD = 365, 28, 180
POINTS_AHEAD = 60
MOST_RANKED = 25
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


@dataclass(frozen=True)
class Policy:
    """How far back and ahead to look, in days, and what to say when."""

    window: int = 28
    level: float = 90
    horizon: int = 365
    warning_days: float = 60
    critical_days: float = 14
    provision_days: int = 180
    thresholds: t.Mapping[str, t.Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Outlook:
    """What is known of one resource: a fitted growth, or why there is none."""

    row: Row
    days: list[Day]
    threshold: float | None
    share: float
    grown: Growth | None = None
    reached: Reached | None = None
    reason: str = ""

    @property
    def title(self) -> str:
        """Return the resource with its host, as people call it."""
        title = title_of(self.row.resource)
        return title if self.row.kind.wide else f"{title} on {self.row.host}"

    @property
    def now(self) -> float:
        """Return the level that it has now, or where there is no growth what was just read."""
        return self.grown.now if self.grown else self.row.value

    @property
    def beyond(self) -> bool:
        """Say whether it is over its threshold already, and not for a moment only."""
        return self.grown is not None and self.threshold is not None and self.now >= self.threshold

    @property
    def breaks(self) -> bool:
        """Say whether something breaks at the threshold. At a scaling trigger nothing does, so that is not critical."""
        return not self.row.kind.trigger

    @property
    def urgency(self) -> float:
        """Return in how many days it is full; infinite where that is not in sight."""
        if self.beyond:
            return 0.0
        return math.inf if self.reached is None or self.reached.days is None else float(self.reached.days)


class Bag:
    """Rows by the history that they belong to."""

    def __init__(self, rows: t.Iterable[Row]) -> None:
        self._rows: dict[Key, dict[tuple[t.Any, ...], Row]] = collections.defaultdict(dict)
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Add a row that may be there already."""
        self._rows[row.key][row.identity] = row

    def of(self, row: Row) -> list[Day]:
        """Return the days of the history that a row belongs to, up to its own."""
        rows = self._rows[row.key].values()
        return growth.daily((one.time, one.value) for one in rows if one.time <= row.time)


def look(row: Row, bag: Bag, policy: Policy) -> Outlook:
    """Look ahead for one resource."""
    share = share_of(row.kind, "full", policy.thresholds) or 100
    threshold = row.limit * share / 100 if row.limit else None
    days = bag.of(row)
    try:
        grown = growth.fit(days, policy.window, policy.level, row.kind.settle)
    except NotEnough as reason:
        return Outlook(row, days, threshold, share, reason=str(reason))
    reached = None if threshold is None else grown.reach(threshold, policy.horizon)
    return Outlook(row, days, threshold, share, grown, reached)


# Checks -----------------------------------------------------------------------------------------------------------


def check(outlook: Outlook, policy: Policy) -> CheckResult | None:
    """Return the verdict on when a resource is full, None where it has no limit."""
    if outlook.threshold is None:
        return None
    status, value = _verdict(outlook, policy)
    message = sentence(outlook, policy)
    return CheckResult(
        name=outlook.row.kind.growth_check,
        target=outlook.row.resource.partition(":")[2] or outlook.row.host,
        status=status,
        message=message,
        value=value,
        unit="s",
        warning=policy.warning_days * DAY_SECONDS,
        critical=policy.critical_days * DAY_SECONDS,
        skipped_reason=message if status == SKIPPED else None,
    )


def _verdict(outlook: Outlook, policy: Policy) -> tuple[str, float | None]:
    if outlook.beyond:
        return CRITICAL if outlook.breaks else WARNING, 0.0
    if outlook.reached is None:
        return SKIPPED, None
    days = outlook.reached.days
    if days is None:
        return OK, None
    worst = CRITICAL if outlook.breaks else WARNING
    status = worst if days <= policy.critical_days else WARNING if days <= policy.warning_days else OK
    return status, float(days * DAY_SECONDS)


def unknown(row: Row, why: str, error_kind: str) -> CheckResult | None:
    """Return the verdict where the history could not be read."""
    if row.limit is None:
        return None
    target = row.resource.partition(":")[2] or row.host
    message = f"not measured: the history could not be read: {why}"
    return CheckResult(row.kind.growth_check, target, UNKNOWN, message, error_kind=error_kind)


# Words ------------------------------------------------------------------------------------------------------------


def sentence(outlook: Outlook, policy: Policy) -> str:
    """Return what is to be said of one resource in one sentence."""
    what, grown, reached = outlook.title, outlook.grown, outlook.reached
    verb = "are" if outlook.row.kind.plural else "is"
    if outlook.beyond:
        return f"{what} {verb} at {_share(outlook)} now{_then(outlook, policy, None)}"
    if grown is None:
        return f"{what}: {outlook.reason}"
    trend = _trend(outlook, grown)
    if reached is None:
        return f"{what} {trend}"
    if reached.days is None:
        early = f"; at the upper edge of the interval in {reached.earliest} days" if reached.earliest else ""
        return f"{what} {trend} and {verb} not {_full(outlook)} within {policy.horizon} days{early}"
    latest = f"more than {policy.horizon}" if reached.latest is None else str(reached.latest)
    edges = f"{reached.earliest} to {latest} days, {policy.level:g} % sure"
    when = f"{verb} {_full(outlook)} in {days_text(reached.days)} at the present rate ({edges})"
    return f"{what} {when}{_then(outlook, policy, reached)}"


def _then(outlook: Outlook, policy: Policy, reached: Reached | None) -> str:
    """Say how much to add, and by which day: the early edge of the interval."""
    grown = outlook.grown
    if grown is None or grown.per_day.mean <= 0:
        return ""
    more = outlook.now - (outlook.threshold or 0) if reached is None else 0
    needed = (max(0.0, more) + grown.per_day.mean * policy.provision_days) * 100 / outlook.share
    what = order(round_up(needed, outlook.row.unit), outlook.row.kind)
    if reached is None:
        return f"; {what} now"
    return f"; {what} by {date_text(grown.last + datetime.timedelta(days=reached.earliest or 0))}"


def order(amount: float, kind: Kind) -> str:
    """Return what is to be done so that there is so much more."""
    text = text_of(amount, kind.unit)
    if kind.unit == BYTES:
        return f"add {text}"
    return f"add {text} {kind.remedy}" if kind.remedy else f"make room for {text} more {kind.title}"


def _trend(outlook: Outlook, grown: Growth) -> str:
    unit, rate = outlook.row.unit, grown.per_day
    low, high = (f"{'-' if edge < 0 else ''}{text_of(abs(edge), unit)}" for edge in (rate.low, rate.high))
    plural = outlook.row.kind.plural
    if grown.direction == "steady":
        trend = f"{'do' if plural else 'does'} not clearly grow ({low} to {high} a day)"
    else:
        does = grown.direction[:-1] if plural else grown.direction
        trend = f"{does} by {text_of(abs(rate.mean), unit)} a day ({low} to {high})"
    for step in grown.steps:
        sign = "up" if step.size > 0 else "down"
        trend += f", stepped {sign} by {text_of(abs(step.size), unit)} on {date_text(step.date)}"
    return trend


def _full(outlook: Outlook) -> str:
    return "full" if outlook.share == 100 and outlook.row.unit == BYTES else f"at {_share(outlook)}"


def _share(outlook: Outlook) -> str:
    row, limit = outlook.row, outlook.row.limit or 1
    share = 100 * outlook.now / limit if outlook.beyond else outlook.share
    whose = "their" if row.kind.plural else "its"
    return f"{math.floor(share * 10) / 10:g} % of {whose} limit of {limit_of(limit, row.kind)}"


def date_text(day: datetime.date) -> str:
    """Return a day as people write it, in English whatever the locale."""
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def round_up(amount: float, unit: str) -> float:
    """Return an amount to order: two digits that matter, up, in a unit of its size."""
    if amount <= 0:
        return 0
    base = 1.0
    if unit == "B":
        while base * 1024 <= amount:
            base *= 1024
    digits = 10.0 ** max(0, math.floor(math.log10(amount / base)) - 1)
    return math.ceil(round(amount / base / digits, 9)) * digits * base


def answer(outlooks: t.Sequence[Outlook], policy: Policy) -> str:
    """Return the one sentence that matters most of several resources."""
    limited = [one for one in outlooks if one.threshold is not None]
    first = min(limited, key=lambda one: order_of(one, policy), default=None)
    if first is None:
        return ""
    if first.urgency < math.inf:
        return sentence(first, policy)
    waiting = [one for one in limited if one.grown is None]
    fullest = max([one for one in limited if one.breaks] or limited, key=_used)
    verb = "are" if fullest.row.kind.plural else "is"
    whose = "their" if fullest.row.kind.plural else "its"
    now = f"{fullest.title} {verb} fullest, at {_used(fullest):.0f} % of {whose} limit now"
    if len(waiting) == len(limited):
        return f"{first.reason[:1].upper()}{first.reason[1:]}; {now}"
    some = f"; of {len(waiting)} of {len(limited)} there is not enough data" if waiting else ""
    return f"Nothing is full within {policy.horizon} days{some}; {now}"


def pressing(outlooks: t.Sequence[Outlook], policy: Policy) -> bool:
    """Say whether one of them is full so soon that somebody should know."""
    return any(_verdict(one, policy)[0] in (WARNING, CRITICAL) for one in outlooks if one.threshold is not None)


def order_of(outlook: Outlook, policy: Policy) -> tuple[int, bool, float, float]:
    """Return a sort key: the worst verdict first, what breaks before what is only scaled, then by its day."""
    status = _verdict(outlook, policy)[0]
    return (CRITICAL, WARNING, OK, SKIPPED).index(status), not outlook.breaks, outlook.urgency, -_used(outlook)


def _used(outlook: Outlook) -> float:
    return 100 * outlook.now / outlook.row.limit if outlook.row.limit else 0.0


# Facts ------------------------------------------------------------------------------------------------------------


def data(outlook: Outlook) -> dict[str, t.Any]:
    """Return a resource's outlook as data: numbers in its unit, days as numbers."""
    found: dict[str, t.Any] = {"resource": outlook.row.resource, "unit": outlook.row.unit, "value": outlook.row.value}
    if outlook.threshold is not None:
        found["threshold"] = plain(outlook.threshold)
    if outlook.grown is None:
        return {**found, "reason": outlook.reason}
    rate = outlook.grown.per_day
    found["per_day"] = {name: round(value, 3) for name, value in rate._asdict().items()}
    found["direction"] = outlook.grown.direction
    found["steps"] = [{"date": step.date.isoformat(), "size": round(step.size, 3)} for step in outlook.grown.steps]
    found["left_out"] = [day.date.isoformat() for day in outlook.grown.outliers]
    if outlook.reached is not None:
        found["reached_in_days"] = outlook.reached._asdict()
    return found


def ranking(outlooks: t.Sequence[Outlook]) -> dict[str, t.Any] | None:
    """Return what grows, what is full first on top."""
    ranked = sorted((one for one in outlooks if one.grown), key=lambda one: (one.urgency, -_used(one), one.title))
    if not ranked:
        return None
    titles = ("resource", "now", "of", "each day", "in days", "earliest", "latest")
    return {
        "name": "growth",
        "title": "What grows, and when it is full",
        "columns": [{"title": title, "unit": "text" if place < 4 else ""} for place, title in enumerate(titles)],
        "rows": [_ranked(one) for one in ranked[:MOST_RANKED]],
        "bar": None,
    }


def _ranked(one: Outlook) -> list[t.Any]:
    rate, unit = t.cast(Growth, one.grown).per_day.mean, one.row.unit
    threshold = "" if one.threshold is None else text_of(one.threshold, unit)
    sign = "" if abs(rate) < 5e-4 else "-" if rate < 0 else "+"
    reached = [None, None, None] if one.reached is None else list(one.reached)
    return [
        one.title,
        text_of(one.row.value, unit),
        threshold,
        sign + text_of(abs(rate) if sign else 0, unit),
        *reached,
    ]


def plot(outlook: Outlook, policy: Policy) -> dict[str, t.Any] | None:
    """Return the picture of a resource: a measured year, the forecast with its band, and thresholds."""
    row, grown = outlook.row, outlook.grown
    last = outlook.days[-1].date if outlook.days else row.time.date()
    measured = [[_noon(day.date), plain(day.value)] for day in outlook.days if (last - day.date).days < PAST]
    if not row.kind.drawn or not measured:
        return None
    name = "used" if row.limit else row.kind.title
    series: list[dict[str, t.Any]] = [{"name": name, "role": "measured", "points": measured}]
    drawn: dict[str, t.Any] = {
        "name": row.resource,
        "title": outlook.title[:1].upper() + outlook.title[1:],
        "unit": row.unit,
        "series": series,
        "lines": _lines(outlook, policy),
    }
    if grown is not None:
        reached = (outlook.reached.latest or outlook.reached.days or 0) if outlook.reached else 0
        ahead = max(AHEAD, min(MOST_AHEAD, math.ceil(reached * 1.1)))
        pace = math.ceil(ahead / POINTS_AHEAD)
        days = [(last + datetime.timedelta(days=day), grown.expect(day)) for day in range(pace, ahead + 1, pace)]
        points = [[_noon(day), round(expected.mean, 3)] for day, expected in days]
        series.append({"name": name, "role": "forecast", "points": points})
        drawn["band"] = [[_noon(day), round(expected.low, 3), round(expected.high, 3)] for day, expected in days]
    return drawn


def _lines(outlook: Outlook, policy: Policy) -> list[dict[str, t.Any]]:
    row = outlook.row
    if not row.limit:
        return []
    shares = {name: share_of(row.kind, name, policy.thresholds) for name in (WARNING, CRITICAL)}
    lines = [
        {"name": name, "value": plain(row.limit * share / 100), "status": name}
        for name, share in shares.items()
        if share is not None
    ]
    if outlook.share not in shares.values():
        lines.append({"name": "full", "value": plain(row.limit * outlook.share / 100), "status": CRITICAL})
    return lines


def _noon(day: datetime.date) -> str:
    return f"{day.isoformat()}T12:00:00Z"
