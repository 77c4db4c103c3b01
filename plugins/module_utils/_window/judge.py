# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Whether a window may be announced, opened, or go on. Pure: every answer is the list of all reasons against it."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._dr.standby import parse_time
from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._report import SELF_REPORT
from ansible_collections.matrixon.ops.plugins.module_utils._window.journal import (
    CLOSED,
    EXPIRED,
    OPEN,
    UNFINISHED,
    Journal,
)
from ansible_collections.matrixon.ops.plugins.module_utils._window.model import AFTER, BEFORE, IN, Window, window_of

Documents = t.Sequence[dict[str, t.Any]]


class Seen(t.NamedTuple):
    """What was seen of the fleet before a window is opened."""

    health: Documents
    silent: t.Mapping[str, str]
    backups: Documents
    drained: t.Sequence[str]
    clocks: t.Sequence[dict[str, t.Any]]


class Limits(t.NamedTuple):
    """How old a proven backup may be, how far clocks may differ, and what must be left of the window: seconds."""

    backup_age_s: float
    clock_s: float
    margin_s: float


def changed(journal: Journal | None, window: Window) -> list[str]:
    """Return what speaks against a window of which people were told something else."""
    if journal is None or not journal["announced"]:
        return []
    told = window_of(journal["window"], float("inf"))
    if (told.starts, told.ends) == (window.starts, window.ends):
        return []
    return [
        f"window: {window.id} was announced for {told.shown()} and is now {window.shown()}; give it a new id, "
        "and announce that"
    ]


def too_early(window: Window, now: datetime.datetime, earliest_s: float) -> str:
    """Return why it is too early to tell people, or nothing. Who is told too early has forgotten."""
    if window.ahead(now) <= earliest_s:
        return ""
    since = window.starts - datetime.timedelta(seconds=earliest_s)
    return (
        f"{window.id} starts in {human(window.ahead(now), 's')}; "
        f"it is announced from {since.strftime('%Y-%m-%d %H:%M UTC')} on"
    )


def announcing(
    journal: Journal | None, window: Window, now: datetime.datetime, notice_s: float, short_notice: str
) -> list[str]:
    """Return what speaks against telling people of a window now."""
    reasons = changed(journal, window)
    if journal is not None and journal["announced"]:
        return reasons
    if window.stage(now) == AFTER:
        return [f"window.ends: {window.id} ended at {window.ends.isoformat()}; nobody can be told of it ahead"]
    if window.ahead(now) < notice_s and not short_notice:
        when = f"starts in {human(window.ahead(now), 's')}" if window.stage(now) == BEFORE else "has begun"
        reasons.append(
            f"window.starts: {window.id} {when} and is to be announced {human(notice_s, 's')} ahead; move it, "
            "or say in maintenance_window_short_notice why it cannot wait"
        )
    return reasons


def opening(
    journal: Journal | None,
    others: t.Sequence[Journal],
    window: Window,
    now: datetime.datetime,
    seen: Seen,
    limits: Limits,
) -> list[str]:
    """Return everything that speaks against opening a window now."""
    if journal is not None and journal["state"] == OPEN and window.stage(now) == IN:
        return [*changed(journal, window), *_others(others)]
    return [
        *changed(journal, window),
        *_time(journal, window, now, limits),
        *_others(others),
        *_rollback(window),
        *_backups(seen, limits),
        *_health(seen),
        *_drained(seen),
        *_clocks(seen, limits),
    ]


def stepping(journal: Journal, now: datetime.datetime, margin_s: float) -> list[str]:
    """Return what speaks against the next step of a window."""
    window = window_of(journal["window"], float("inf"))
    if journal["state"] != OPEN:
        return [f"{window.id} is {journal['state'] or 'not announced'}, not open"]
    if window.stage(now) == BEFORE:
        return [f"{window.id} starts at {window.shown()[:20]}; the clock of the controller went back"]
    if window.stage(now) == AFTER:
        return [f"{window.id} ran out {human(-window.left(now), 's')} ago"]
    if window.left(now) < margin_s:
        return [
            f"{human(window.left(now), 's')} are left of {window.id}, less than the {human(margin_s, 's')} for a step"
        ]
    return []


def states(document: dict[str, t.Any]) -> dict[str, dict[str, str]]:
    """Return the verdicts of a health report by check, which is what a window keeps of it."""
    return {
        f"{check['name']} of {check['target']}": {"status": check["status"], "message": check.get("message", "")}
        for check in document["checks"]
        if check["source"] != SELF_REPORT
    }


def proven_age(document: dict[str, t.Any]) -> tuple[float | None, str]:
    """Return how old the newest proven set is in seconds, None where that is not known, and the message."""
    found = next((check for check in document["checks"] if check["name"] == "verified_age"), None)
    if found is None:
        return None, "the report does not say when a set was last proven"
    return found.get("value"), found.get("message", "")


def _time(journal: Journal | None, window: Window, now: datetime.datetime, limits: Limits) -> t.Iterator[str]:
    stage = window.stage(now)
    if stage == BEFORE:
        yield f"window.starts: {window.id} has not begun; it starts in {human(window.ahead(now), 's')}"
    elif stage == AFTER:
        yield f"window.ends: {window.id} ended {human(-window.left(now), 's')} ago; announce a new one"
    elif window.left(now) < limits.margin_s:
        yield (
            f"window.ends: {human(window.left(now), 's')} are left of {window.id}, less than the "
            f"{human(limits.margin_s, 's')} of maintenance_window_margin; announce a new one"
        )
    if journal is None or not journal["announced"]:
        yield f"{window.id} was not announced; run maintenance_window_announce.yml first"
    elif journal["state"] in (CLOSED, EXPIRED):
        yield f"{window.id} is {journal['state']}, and a window opens once; announce a new one with another id"


def _others(others: t.Sequence[Journal]) -> t.Iterator[str]:
    for other in others:
        if other["state"] in UNFINISHED:
            yield (
                f"{other['window']['id']} was opened at {other['opened']} and nobody closed it; "
                "run maintenance_window_close.yml, which heals that"
            )


def _rollback(window: Window) -> t.Iterator[str]:
    if not window.rollback.strip():
        yield "window.rollback: it names no way back; give the plan's address, or the plan in words"


def _backups(seen: Seen, limits: Limits) -> t.Iterator[str]:
    if not seen.backups:
        yield "no host keeps backup sets that were looked at; there is nothing to fall back on"
    for document in seen.backups:
        age, message = proven_age(document)
        if age is None:
            yield f"{document['target']}: {message or 'nobody knows when a backup was last proven'}"
        elif age > limits.backup_age_s:
            yield (
                f"{document['target']}: the newest proven backup is {human(age, 's')} old, more than the "
                f"{human(limits.backup_age_s, 's')} of maintenance_window_backup_max_age; take one, and prove it"
            )


def _health(seen: Seen) -> t.Iterator[str]:
    if not seen.health and not seen.silent:
        yield "no host was looked at, so nobody could say afterwards what got worse"
    for host, why in seen.silent.items():
        yield f"{host}: its health could not be seen ({why}), so nobody could say afterwards what got worse"


def _drained(seen: Seen) -> t.Iterator[str]:
    if seen.drained:
        yield f"{', '.join(sorted(seen.drained))}: drained by an earlier run; bring them back with load_balancer.yml"


def _clocks(seen: Seen, limits: Limits) -> t.Iterator[str]:
    for clock in seen.clocks:
        early = (parse_time(clock["before"]) - parse_time(clock["started"])).total_seconds()
        late = (parse_time(clock["finished"]) - parse_time(clock["after"])).total_seconds()
        off = max(early, late)
        if off > limits.clock_s:
            word = "behind" if early > late else "ahead of"
            how = f"at least {human(off, 's')} {word} the controller's"
            yield f"{clock['host']}: its clock is {how}; set both right first"
