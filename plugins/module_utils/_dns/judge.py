# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Verdicts on what name servers said. Pure: answers and limits in, checks out."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils._dns import model
from ansible_collections.matrixon.ops.plugins.module_utils._dns.model import Answer, Observed, Seen, Server, Zone
from ansible_collections.matrixon.ops.plugins.module_utils._probe import ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import CRITICAL, OK, UNKNOWN, WARNING, CheckResult

MOST_TOLD = 5


@dataclass(frozen=True)
class Policy:
    """What is asked of every record. ``accept_silent`` are the servers whose silence does not count."""

    max_ttl: int = 60
    accept_silent: frozenset[str] = field(default_factory=frozenset)


def judge(observed: Observed, policy: Policy) -> list[CheckResult]:
    """Return every check."""
    checks = [check for zone in observed.zones for check in (judge_servers(zone, policy), judge_serial(zone, policy))]
    for seen in observed.records:
        checks += [judge_record(seen, policy), judge_ttl(seen, policy)]
    return checks


def settled(seen: Seen, policy: Policy) -> bool:
    """Say whether every server answers as was asked for."""
    good_ttl = seen.wanted.ttl is None or judge_ttl(seen, policy).status == OK
    return good_ttl and judge_record(seen, policy).status == OK


def excused(answers: t.Sequence[Answer], policy: Policy) -> list[Answer]:
    """Return the answers that do not count: silence that was accepted, and ways that this host does not have."""
    reached = {one.server.name for one in answers if one.server.name and one.outcome != model.NO_IPV6}
    return [
        one
        for one in answers
        if (one.outcome in model.UNSEEN and one.server.endpoint in policy.accept_silent)
        or (one.outcome == model.NO_IPV6 and one.server.name in reached)
    ]


def counted(answers: t.Sequence[Answer], policy: Policy) -> list[Answer]:
    """Return the answers that count."""
    passed = excused(answers, policy)
    return [one for one in answers if one not in passed]


def judge_record(seen: Seen, policy: Policy) -> CheckResult:
    """Judge whether all servers answer alike, and as expected."""
    label, expected = seen.wanted.label, seen.wanted.values
    answers = counted(seen.answers, policy)
    told = [one for one in answers if one.outcome == model.ANSWERED and one.target is None]
    silent = [one for one in answers if one.outcome in model.UNSEEN]
    bad = [one for one in answers if one.outcome not in (model.ANSWERED, *model.UNSEEN)]
    said = {one.values for one in told}
    others = [one for one in told if one.values != expected] if expected else told if len(said) > 1 else []
    wrong = _says(others) + [f"{one.server}: {one.message}" for one in bad]
    if wrong:
        before = f"expected {_list(expected)}, but " if expected else "its servers do not agree: " if others else ""
        kind = None if others else bad[0].error_kind
        return _check(model.RECORD, label, CRITICAL, f"{before}{_some(wrong)}", kind)
    if seen.failure:
        return _failed(model.RECORD, label, seen.failure)
    if silent or not answers:
        message = f"not seen at every server: {_some([f'{one.server}: {one.message}' for one in silent])}"
        return _check(model.RECORD, label, UNKNOWN, message, silent[0].error_kind if silent else None)
    if not told:
        names = dict.fromkeys(name for one in answers for name in (one.name, *one.aliases))
        return _check(model.RECORD, label, CRITICAL, f"aliases lead in a circle: {', '.join(names)}", "dns")
    left = excused(seen.answers, policy)
    without = f"; not asked: {', '.join(str(one.server) for one in left)}" if left else ""
    through = next((f" by way of {' -> '.join(one.aliases)}" for one in answers if one.aliases), "")
    message = f"{_list(told[0].values)}{through} at {_servers(len({one.server for one in answers}))}{without}"
    return _check(model.RECORD, label, OK, message)


def judge_ttl(seen: Seen, policy: Policy) -> CheckResult:
    """Judge how long clients may keep the record. Each element of the way to it can hold them."""
    label, wanted = seen.wanted.label, seen.wanted.ttl
    answers = counted(seen.answers, policy)
    ttls = [one.ttl for one in answers if one.outcome == model.ANSWERED and one.ttl is not None]
    limit = policy.max_ttl if wanted is None else wanted
    longest = max(ttls, default=None)
    if longest is not None and (longest > limit or (wanted is not None and longest != wanted)):
        where = next(one for one in answers if one.outcome == model.ANSWERED and one.ttl == longest)
        way = f" on its way through {' -> '.join(where.aliases)}" if where.aliases else ""
        should = f"should be {limit} s" if wanted is not None else f"should be {limit} s at most"
        message = f"the TTL{way} is {longest} s at {where.server} and {should}"
        if longest > limit:
            message += f": clients may keep an old answer for {longest} s after a change"
        return _check(model.TTL, label, WARNING, message, value=longest, limit=limit)
    if longest is None or seen.failure or any(one.outcome != model.ANSWERED for one in answers):
        why = f"not seen at every server; {model.RECORD} says why"
        return _check(model.TTL, label, UNKNOWN, why, value=longest, limit=limit)
    return _check(model.TTL, label, OK, f"the TTL is {longest} s", value=longest, limit=limit)


def judge_servers(zone: Zone, policy: Policy) -> CheckResult:
    """Judge whether each server of a zone answers for it."""
    answers = counted(zone.serials, policy)
    good = [one for one in answers if one.outcome == model.ANSWERED]
    silent = [one for one in answers if one.outcome in model.UNSEEN]
    bad = [one for one in answers if one.outcome not in (model.ANSWERED, *model.UNSEEN)]
    lost = [f"{name}: {failure.message}" for name, failure in zone.lost if failure.facts.get("nonexistent")]
    unsure = [f"{name}: {failure.message}" for name, failure in zone.lost if not failure.facts.get("nonexistent")]
    texts = [f"{one.server}: {one.message}" for one in (*bad, *silent)]
    # Where nobody answers at all, it may be this host that cannot ask.
    if bad or lost or (silent and good):
        kind = (bad + silent)[0].error_kind if bad or silent else "dns"
        return _check(model.SERVERS, zone.name, CRITICAL, _some([*texts, *lost]), kind)
    if silent or unsure or not good:
        kind = silent[0].error_kind if silent else "dns"
        return _check(model.SERVERS, zone.name, UNKNOWN, _some([*texts, *unsure]) or "no server was asked", kind)
    left = excused(zone.serials, policy)
    passed = f"; passed over: {'; '.join(f'{one.server}: {one.message}' for one in left)}" if left else ""
    return _check(model.SERVERS, zone.name, OK, f"{_servers(len(good))} answer for it{passed}")


def judge_serial(zone: Zone, policy: Policy) -> CheckResult:
    """Judge whether all servers have the same version of the zone."""
    answers = counted(zone.serials, policy)
    good = [one for one in answers if one.outcome == model.ANSWERED]
    if len({one.values for one in good}) > 1:
        return _check(model.SERIAL, zone.name, WARNING, f"serials differ: {_some(_says(good))}")
    if not good or len(good) < len(answers):
        return _check(model.SERIAL, zone.name, UNKNOWN, f"not seen at every server; {model.SERVERS} says why")
    return _check(model.SERIAL, zone.name, OK, f"serial {good[0].values[0]} at {_servers(len(good))}")


def _failed(name: str, label: str, failure: ProbeFailure) -> CheckResult:
    status = CRITICAL if failure.facts.get("nonexistent") else UNKNOWN
    return _check(name, label, status, failure.message, failure.kind)


def _says(answers: t.Iterable[Answer]) -> list[str]:
    """Return what is said, each time with the servers that say it."""
    by: dict[tuple[str, ...], list[Server]] = {}
    for one in answers:
        by.setdefault(one.values, []).append(one.server)
    return [f"{', '.join(map(str, servers))} {_verb(servers)} {_list(values)}" for values, servers in by.items()]


def _verb(servers: list[Server]) -> str:
    return "says" if len(servers) == 1 else "say"


def _servers(number: int) -> str:
    return "its only server" if number == 1 else f"all {number} servers"


def _list(values: t.Sequence[str]) -> str:
    return ", ".join(values)


def _some(texts: list[str]) -> str:
    more = f"; and {len(texts) - MOST_TOLD} more" if len(texts) > MOST_TOLD else ""
    return "; ".join(texts[:MOST_TOLD]) + more


def _check(
    name: str,
    target: str,
    status: str,
    message: str,
    error_kind: str | None = None,
    *,
    value: float | None = None,
    limit: float | None = None,
) -> CheckResult:
    unit = "s" if name == model.TTL else None
    text = f"{target}: {message}"
    return CheckResult(name, target, status, text, value=value, unit=unit, warning=limit, error_kind=error_kind)
