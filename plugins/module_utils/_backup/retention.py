# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Which backup sets stay, which go, and why. Pure: nothing is read or removed here.

Only verified sets count. Three bad nights after three good ones must never
leave the three bad ones. What is newer goes by the sequence of the sets; the
clock gives ages and days only, and a set from the future has no age.
"""

from __future__ import annotations

import datetime
import math
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import PHYSICAL
from ansible_collections.matrixon.ops.plugins.module_utils._backup.store import Entry
from ansible_collections.matrixon.ops.plugins.module_utils._human import span
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL
from ansible_collections.matrixon.ops.plugins.module_utils._report import rfc3339

DAY = 86400.0

# The rules that keep the newest verified set of a length of time: what the time is called, and its days at least.
_PERIODS = (("keep_daily", "day", 1), ("keep_weekly", "week", 7), ("keep_monthly", "month", 28))


@dataclass(frozen=True)
class Policy:
    """What is to stay.

    ``keep_last`` is a number of sets; ``keep_daily``, ``keep_weekly`` and
    ``keep_monthly`` are numbers of days, weeks and months that have a set, of
    which the newest stays; 0 switches a rule off. Without any of the four all
    sets stay until they reach ``max_age``, in days; with one of them, sets that
    no rule wants go before. None is no limit. ``min_verified`` is the number of
    verified sets that stay whatever the other rules say.
    """

    keep_last: int = 0
    keep_daily: int = 0
    keep_weekly: int = 0
    keep_monthly: int = 0
    max_age: float | None = None
    min_verified: int = 2

    @property
    def rules(self) -> dict[str, int]:
        """Return the rules that are switched on, with their numbers."""
        names = ("keep_last", *(name for name, _word, _days in _PERIODS))
        return {name: number for name in names if (number := getattr(self, name))}

    def problems(self) -> list[str]:
        """Return sentences that say why nobody can mean this."""
        found = [f"{name}: {number} is not 0 or more" for name, number in self.rules.items() if number < 0]
        if self.min_verified < 1:
            found.append(f"min_verified: {self.min_verified} is not 1 or more; the last proven set always stays")
        if self.max_age is not None and not (self.max_age > 0 and math.isfinite(self.max_age)):
            found.append(f"max_age: {self.max_age} is no number of days above 0; leave it out for no limit")
        if not self.rules and self.max_age is None:
            found.append(
                "keep_last, keep_daily, keep_weekly, keep_monthly: all are 0 and there is no max_age, so this policy "
                "would keep nothing; set one of them, for example keep_daily: 30"
            )
        for name, _word, days in _PERIODS:
            reach = (getattr(self, name) - 1) * days
            if self.max_age is not None and reach > self.max_age > 0:
                found.append(
                    f"{name}: {getattr(self, name)} reaches back {reach} days or more, and max_age: {self.max_age:g} "
                    "removes such sets before; raise max_age, or lower the number"
                )
        return found


class Decision(t.NamedTuple):
    """What is to happen to a set, with sentences that say why."""

    id: str
    keep: bool
    reasons: tuple[str, ...]


class WalNeed(t.NamedTuple):
    """From which segment on a kept set needs the log of its server."""

    system_identifier: str
    timeline: int
    segment: str


def plan(entries: t.Iterable[Entry], policy: Policy, now: datetime.datetime) -> list[Decision]:
    """Decide about every set, oldest first. Fails with what is wrong with the policy.

    Sets must be removed in the opposite order, see ``removals``.
    """
    if problems := policy.problems():
        raise BackupError(INTERNAL, "; ".join(problems))
    series = sorted(entries, key=lambda entry: (entry.sequence, entry.id))
    reasons: dict[str, list[str]] = {entry.id: list(_own_reasons(entry, now)) for entry in series}
    verified = [entry for entry in series if entry.verified]
    _keep_newest(series, verified, reasons)
    _keep_by_rules(verified, policy, now, reasons)
    # The chain of what stays so far may hold verified sets, too, and they count.
    _keep_chains(series, reasons)
    _keep_minimum(verified, policy, reasons)
    enough = sum(bool(reasons[entry.id]) for entry in verified) >= policy.min_verified
    for entry in series:
        if not entry.verified and not reasons[entry.id]:
            reasons[entry.id] += _unverified(entry, policy, now, enough)
    _keep_chains(series, reasons)
    return [
        Decision(entry.id, True, tuple(reasons[entry.id]))
        if reasons[entry.id]
        else Decision(entry.id, False, (_farewell(entry, policy, now),))
        for entry in series
    ]


def removals(decisions: t.Sequence[Decision]) -> list[str]:
    """Return the sets that go, in an order in which none goes before one that needs it."""
    return [decision.id for decision in reversed(decisions) if not decision.keep]


def age(entry: Entry, now: datetime.datetime) -> float:
    """Return the seconds since a set was finished, never below zero; 0 where the manifest cannot be read."""
    return max(0.0, (now - entry.manifest.finished).total_seconds()) if entry.manifest else 0.0


def _own_reasons(entry: Entry, now: datetime.datetime) -> t.Iterator[str]:
    """Yield why a set stays whatever the policy and the other sets are."""
    if entry.damage or entry.manifest is None:
        yield f"it is damaged ({entry.damage}), counts for nothing, and goes only when somebody asks for it"
    if entry.held:
        yield f"it is held: {entry.held}"
    if entry.in_use:
        yield "a restore or a drill is reading it"
    until = entry.manifest.retention.keep_until if entry.manifest else None
    if until and until > now:
        yield f"it was made to be kept until {rfc3339(until)}"


def _keep_newest(series: list[Entry], verified: list[Entry], reasons: dict[str, list[str]]) -> None:
    if verified:
        reasons[verified[-1].id].append("it is the newest verified set, which stays whatever its age")
    for entry in series:
        if entry.damage is None and not verified:
            reasons[entry.id].append("no set is verified, so none can be spared")
        elif entry.damage is None and entry.sequence > verified[-1].sequence:
            reasons[entry.id].append("it is newer than the newest verified set, and no drill has proved it yet")


def _keep_by_rules(
    verified: list[Entry], policy: Policy, now: datetime.datetime, reasons: dict[str, list[str]]
) -> None:
    limit = math.inf if policy.max_age is None else policy.max_age * DAY
    young = [entry for entry in reversed(verified) if age(entry, now) <= limit]
    if not policy.rules:
        for entry in young:
            reasons[entry.id].append(f"it is {span(age(entry, now))} old, and max_age is {policy.max_age:g} days")
    for place, entry in enumerate(young[: policy.keep_last], 1):
        reasons[entry.id].append(f"keep_last {policy.keep_last}: it is number {place} of the verified sets")
    for name, word, _days in _PERIODS:
        number = getattr(policy, name)
        seen: set[str] = set()
        for entry in young:
            period = _period(word, entry, now)
            if len(seen) < number and period not in seen:
                seen.add(period)
                reasons[entry.id].append(f"{name} {number}: it is the newest verified set of the {word} {period}")


def _period(word: str, entry: Entry, now: datetime.datetime) -> str:
    """Return the day, week or month (UTC) in which a set was finished, today for one from the future."""
    moment = (now - datetime.timedelta(seconds=age(entry, now))).astimezone(datetime.timezone.utc)
    if word == "week":
        year, week, _day = moment.isocalendar()
        return f"{year}-W{week:02d}"
    return f"{moment:%Y-%m-%d}" if word == "day" else f"{moment:%Y-%m}"


def _keep_minimum(verified: list[Entry], policy: Policy, reasons: dict[str, list[str]]) -> None:
    stay = sum(bool(reasons[entry.id]) for entry in verified)
    for entry in reversed(verified):
        if stay >= policy.min_verified:
            return
        if not reasons[entry.id]:
            stay += 1
            reasons[entry.id].append(f"min_verified {policy.min_verified}: without it fewer verified sets would stay")


def _unverified(entry: Entry, policy: Policy, now: datetime.datetime, enough: bool) -> t.Iterator[str]:
    """Yield why an older set stays that no drill has proved."""
    if policy.max_age is None:
        yield "no drill has proved it, and without max_age such a set goes only when somebody asks for it"
    elif age(entry, now) <= policy.max_age * DAY:
        yield f"no drill has proved it, it is {span(age(entry, now))} old, and max_age is {policy.max_age:g} days"
    elif not enough:
        yield f"no drill has proved it, and there are fewer than {policy.min_verified} verified sets (min_verified)"


def _keep_chains(series: list[Entry], reasons: dict[str, list[str]]) -> None:
    """Keep what kept sets need. A chain names all its sets, so one round is enough."""
    staying = [entry for entry in series if reasons[entry.id]]
    for entry in staying:
        for link in entry.manifest.chain[:-1] if entry.manifest else ():
            sentence = f"set {entry.id} cannot be restored without it"
            if link in reasons and sentence not in reasons[link]:
                reasons[link].append(sentence)


def _farewell(entry: Entry, policy: Policy, now: datetime.datetime) -> str:
    """Return why a set goes."""
    old = span(age(entry, now))
    what = "it is verified" if entry.verified else "no drill has proved it"
    if policy.max_age is not None and age(entry, now) > policy.max_age * DAY:
        return f"{what}, it is {old} old, and max_age is {policy.max_age:g} days"
    rules = ", ".join(f"{name} {number}" for name, number in policy.rules.items())
    return f"{what}, it is {old} old, and newer sets fulfil {rules}"


# --- the log


def wal_needs(entries: t.Iterable[Entry], decisions: t.Iterable[Decision]) -> list[WalNeed]:
    """Return from where on the physical sets that stay need the log, for each server and timeline.

    A damaged set whose manifest can be read is among them. Where the list has
    nothing for a server, nothing is known, and its log must stay.
    """
    staying = {decision.id for decision in decisions if decision.keep}
    first: dict[tuple[str, int], str] = {}
    for entry in entries:
        facts = entry.manifest.pg if entry.manifest and entry.manifest.kind in PHYSICAL else None
        if entry.id not in staying or facts is None or facts.timeline is None or facts.wal_start is None:
            continue
        key = (facts.system_identifier, facts.timeline)
        first[key] = min(facts.wal_start, first.get(key, facts.wal_start))
    return [WalNeed(server, timeline, segment) for (server, timeline), segment in sorted(first.items())]


def needs_segment(needs: t.Iterable[WalNeed], system_identifier: str, segment: str) -> bool:
    """Say whether a segment of a server's log must stay, by its plain name of 24 digits.

    A set needs its own timeline and all later ones from its start on. A
    timeline's history is needed always and is no segment.
    """
    mine = [need for need in needs if need.system_identifier == system_identifier]
    timeline, place = int(segment[:8], 16), segment[8:]
    return not mine or any(need.timeline <= timeline and need.segment[8:] <= place for need in mine)
