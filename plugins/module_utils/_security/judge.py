# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""From what was read to verdicts. Pure: no clock, no file."""

from __future__ import annotations

import typing as t
from collections import Counter
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Limits, Verdict, grade, skipped
from ansible_collections.matrixon.ops.plugins.module_utils._human import digits, span
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, PARSE, REFUSED, TIMEOUT, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import CRITICAL, OK, UNKNOWN, WARNING
from ansible_collections.matrixon.ops.plugins.module_utils._security import tally as counts
from ansible_collections.matrixon.ops.plugins.module_utils._security.model import (
    KINDS,
    MINUTE,
    SERVER,
    SOURCE,
    USER,
    Check,
    source_of,
)
from ansible_collections.matrixon.ops.plugins.module_utils._security.network import is_one_of
from ansible_collections.matrixon.ops.plugins.module_utils._security.pseudonym import Names
from ansible_collections.matrixon.ops.plugins.module_utils._security.tally import Tally

# So few lines may all be the rest of a traceback.
ENOUGH_LINES = 8


@dataclass
class Source:
    """One log and what came of reading it."""

    name: str
    origin: str
    lines: int = 0
    size: int = 0
    files: int = 0
    cut: int = 0
    bad: int = 0
    lost: str = ""
    left: str = ""
    tried: int = 0
    fitting: int = 0
    first: bool = False
    newest: float = 0.0
    back: float = 0.0
    ahead: float = 0.0
    failure: ProbeFailure | None = None

    @property
    def blind(self) -> str:
        """Return why not all of it was seen; empty if all was."""
        if self.failure:
            return self.failure.message
        if self.left:
            return self.left
        if self.strange:
            return "none of its lines begins as the profile says"
        return ""

    @property
    def strange(self) -> bool:
        """Return whether it seems to be a log of another format."""
        return self.tried >= ENOUGH_LINES and not self.fitting


@dataclass
class Seen:
    """Everything that was found. ``missing`` says for an origin why there is no log of it."""

    tally: Tally
    sources: list[Source]
    window: int
    names: Names
    missing: dict[str, str] = field(default_factory=dict)


def log(source: Source) -> Verdict:
    """Judge how a log was read."""
    if source.failure:
        return Verdict(UNKNOWN, source.failure.message, target=source.name, error_kind=source.failure.kind)
    read = f"{digits(source.lines)} lines read"
    if source.left:
        return Verdict(UNKNOWN, f"{read}; {source.left}", float(source.lines), source.name, error_kind=TIMEOUT)
    if source.strange:
        return Verdict(UNKNOWN, f"{read}; {source.blind}", float(source.lines), source.name, error_kind=PARSE)
    if source.first and not source.lines and source.origin == SERVER:
        why = "it holds nothing of the time that a first run looks at; is it the right one?"
        return Verdict(UNKNOWN, why, 0.0, source.name, error_kind=INTERNAL)
    problems = [source.lost] if source.lost else []
    if source.bad:
        problems.append(f"{digits(source.bad)} entries were not understood")
    if source.cut:
        problems.append(f"{digits(source.cut)} lines are so long that only their beginning was read")
    status = WARNING if source.lost or source.bad else OK
    return Verdict(status, "; ".join([read, *problems]), float(source.lines), source.name)


def clock(source: Source, limits: Limits) -> Verdict:
    """Judge the times in a log."""
    value = max(source.back, source.ahead)
    if source.back >= source.ahead and source.back:
        words = f"its times go back by {span(source.back)}: the clock was set, or summer time ended"
    elif source.ahead:
        words = f"its times lie {span(source.ahead)} ahead of the clock of this host"
    else:
        words = "its times go forward"
    return grade(value, limits, words, target=source.name)


def counted(check: Check, seen: Seen, limits: Limits) -> Verdict:
    """Judge the largest count that a check is about."""
    if check.origin in seen.missing:
        return skipped(seen.missing[check.origin])
    sources = [source for source in seen.sources if source.origin == check.origin]
    value, words = _largest(check, seen)
    verdict = grade(float(value), limits, words)
    blind = next((source for source in sources if source.blind), None)
    if verdict.status == OK and blind is not None:
        kind = blind.failure.kind if blind.failure else TIMEOUT if blind.left else PARSE
        return Verdict(UNKNOWN, f"not measured in full: {blind.name}: {blind.blind}", float(value), error_kind=kind)
    if verdict.status == OK and check.per == SOURCE and _nameless(check, seen.tally, limits):
        why = "no event could be joined to the address of its request; does the log hold the line that ends a request?"
        return Verdict(UNKNOWN, why, error_kind=PARSE)
    return verdict


def _largest(check: Check, seen: Seen) -> tuple[int, str]:
    tally, kinds, window = seen.tally, check.kinds, seen.window
    what = " and ".join(KINDS[kind].title for kind in kinds)
    if check.per == MINUTE:
        found = counts.worst_minute(tally, kinds)
        value = found[1] if found else 0
        return value, f"{what}: {digits(value)} in the worst minute"
    if check.per in (SOURCE, USER):
        by, rows = (source_of, tally.addresses) if check.per == SOURCE else (str, tally.users)
        most = counts.worst(rows, kinds, window, by)
        if most is None:
            return 0, f"{what}: none {'from an address' if check.per == SOURCE else 'for a user'} that is known"
        name = seen.names.address(most[0]) if check.per == SOURCE else seen.names.user(most[0])
        return most[
            1
        ], f"{what}: {digits(most[1])} within {window} min {'from' if check.per == SOURCE else 'for'} {name}"
    value = counts.most_within(tally, kinds, window)
    return value, f"{what}: {digits(value)} within {window} min"


def _nameless(check: Check, tally: Tally, limits: Limits) -> bool:
    """Return whether there were enough events to warn of, and not one has an address."""
    new = sum(tally.kinds[kind] for kind in check.kinds)
    joined = sum(tally.with_address[kind] for kind in check.kinds)
    return limits.warning is not None and new >= limits.warning and not joined


def addresses(tally: Tally, proxies: t.Sequence[str], names: Names) -> Verdict:
    """Judge whether the addresses in the homeserver's log are those of clients."""
    found: Counter[str] = Counter()
    for (_minute, kind, address), count in tally.addresses.items():
        if KINDS[kind].origin == SERVER and address != counts.OTHERS:
            found[address] += count
    total = sum(found.values())
    if not total:
        return skipped("no event has an address")
    networks = ["127.0.0.0/8", "::1/128", *proxies]
    own = {address: count for address, count in found.items() if is_one_of(address, networks)}
    if not own:
        return Verdict(OK, f"{digits(total)} events have the addresses of clients", 0.0)
    share = 100 * sum(own.values()) / total
    most = max(own, key=lambda address: own[address])
    words = (
        f"{digits(sum(own.values()))} of {digits(total)} events seem to come from {names.address(most)}, which is this "
        "host or a proxy: a limit by address then locks out everybody; let the proxy set X-Forwarded-For and the "
        "homeserver trust it (x_forwarded)"
    )
    return Verdict(WARNING, words, share)


def connected(found: Counter[str] | ProbeFailure, proxies: t.Sequence[str], names: Names, limits: Limits) -> Verdict:
    """Judge the connections of one address; those of proxies and of this host are many by their nature."""
    if isinstance(found, ProbeFailure):
        return Verdict(UNKNOWN, f"not measured: {found.message}", error_kind=found.kind)
    networks = ["127.0.0.0/8", "::1/128", *proxies]
    sources: Counter[str] = Counter()
    for address, count in found.items():
        if not is_one_of(address, networks):
            sources[source_of(address)] += count
    total = sum(found.values())
    if not sources:
        return grade(0.0, limits, f"{digits(total)} connections, none from outside")
    who, most = max(sources.items(), key=lambda item: (item[1], item[0]))
    return grade(float(most), limits, f"{digits(total)} connections, {digits(most)} of them from {names.address(who)}")


def fail2ban(found: dict[str, dict[str, int]] | ProbeFailure | None, jails: t.Sequence[str]) -> Verdict:
    """Judge whether fail2ban runs with its jails."""
    if isinstance(found, ProbeFailure):
        return Verdict(CRITICAL if found.kind == REFUSED else UNKNOWN, found.message, error_kind=found.kind)
    if found is None:
        if jails:
            return Verdict(CRITICAL, f"fail2ban is not installed, and the jails {', '.join(jails)} should run")
        return skipped("fail2ban is not installed on this host; with fail2ban_jails it has to be")
    lacking = [jail for jail in jails if jail not in found]
    if lacking:
        return Verdict(CRITICAL, f"fail2ban has no jail {', '.join(lacking)}")
    banned = sum(jail["currently_banned"] for jail in found.values())
    words = f"{len(found)} jails ({', '.join(sorted(found)) or 'none'}), {digits(banned)} addresses are banned now"
    return Verdict(OK if found else WARNING, words, float(banned))
