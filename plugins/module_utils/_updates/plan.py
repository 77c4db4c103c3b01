# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Which updates a host is to get. Pure: what apt would do is asked through a function."""

from __future__ import annotations

import fnmatch
import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils._audit.packages import Upgrade
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._updates.apt import Simulated

HELD, SERVICE, EXCLUDED, PHASED, KEPT, OTHER = "held", "service", "excluded", "phased", "kept_back", "not_security"
# A person has something to decide where a security update is left for one of these.
TO_DECIDE = (HELD, SERVICE, KEPT)

Simulate = t.Callable[[list[str]], Simulated]


@dataclass(frozen=True)
class Wishes:
    """What the options say."""

    packages: str = "security"
    hold: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    include_services: bool = False


@dataclass(frozen=True)
class Left:
    """An update that is not made, and why."""

    upgrade: Upgrade
    why: str
    message: str


@dataclass(frozen=True)
class Choice:
    """The plan of a host: what apt is told to install, what comes of it, and what is left."""

    selected: list[Upgrade]
    left: list[Left]
    # With what apt brings along for it.
    installs: dict[str, str] = field(default_factory=dict)


def matching(name: str, patterns: t.Iterable[str]) -> str:
    """Return the first pattern that fits."""
    return next((pattern for pattern in patterns if fnmatch.fnmatchcase(name, pattern)), "")


def _why_left(one: Upgrade, wishes: Wishes, held: t.Collection[str], whole: Simulated) -> tuple[str, str] | None:
    """Return why an update is left by what was asked for, or by what apt itself would do."""
    hold, service = matching(one.package, wishes.hold), matching(one.package, wishes.services)
    if one.package in held:
        return HELD, "it is held (apt-mark hold)"
    if hold:
        return HELD, f"updates_hold names '{hold}'"
    if matching(one.package, wishes.exclude):
        return EXCLUDED, f"updates_exclude names '{matching(one.package, wishes.exclude)}'"
    if service and not wishes.include_services:
        return SERVICE, "it is of the deployment itself, and updates_include_services is false"
    if wishes.packages == "security" and not one.security:
        return OTHER, "it is no security update"
    if one.package in whole.deferred:
        return PHASED, "its archive gives it to other hosts first"
    if one.package not in whole.installs:
        return KEPT, "apt keeps it back, for something would have to be removed, or is held"
    return None


def choose(
    upgrades: t.Sequence[Upgrade], held: t.Collection[str], wishes: Wishes, whole: Simulated, simulate: Simulate
) -> Choice:
    """Sort the updates, and let apt show that those of the plan move nothing that must stay."""
    left, wanted = [], []
    for one in {one.package: one for one in upgrades}.values():
        why = _why_left(one, wishes, held, whole)
        if why:
            left.append(Left(one, *why))
        else:
            wanted.append(one)
    fixed = set(held) | {each.upgrade.package for each in left if each.why not in (OTHER, PHASED)}
    selected, spoilt = _that_move_nothing(wanted, fixed, simulate)
    return Choice(selected, [*left, *spoilt], simulate(arguments(selected)).installs if selected else {})


def arguments(selected: t.Iterable[Upgrade]) -> list[str]:
    """Return what apt-get is told, for exactly these versions."""
    return ["install", "--only-upgrade", *(f"{one.package}={one.version}" for one in selected)]


def _trouble(chosen: t.Sequence[Upgrade], fixed: t.Collection[str], simulate: Simulate) -> str:
    try:
        found = simulate(arguments(chosen))
    except ProbeFailure as failure:
        if failure.kind != INTERNAL:
            raise
        return f"apt does not find a way: {failure.message}"
    moved = sorted(set(found.installs) & set(fixed))
    if found.removes:
        return f"it would remove {', '.join(found.removes)}"
    return f"it would move {', '.join(moved)}, which must stay" if moved else ""


def _that_move_nothing(
    wanted: list[Upgrade], fixed: t.Collection[str], simulate: Simulate
) -> tuple[list[Upgrade], list[Left]]:
    """All at once in the common case; one by one only where something is in the way."""
    if not wanted or not _trouble(wanted, fixed, simulate):
        return wanted, []
    found = {one.package: _trouble([one], fixed, simulate) for one in wanted}
    good = [one for one in wanted if not found[one.package]]
    spoilt = [Left(one, KEPT, found[one.package]) for one in wanted if found[one.package]]
    if good and _trouble(good, fixed, simulate):
        together = "together with the others it would move what must stay"
        return [], [*spoilt, *(Left(one, KEPT, together) for one in good)]
    return good, spoilt
