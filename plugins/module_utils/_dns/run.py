# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""From module options to a report on records, without Ansible in it."""

from __future__ import annotations

import datetime
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._dns import model, query
from ansible_collections.matrixon.ops.plugins.module_utils._dns.judge import Policy, judge, judge_record, settled
from ansible_collections.matrixon.ops.plugins.module_utils._dns.look import Tools, look, moves_of, server_of
from ansible_collections.matrixon.ops.plugins.module_utils._dns.model import Answer, Observed, Seen, wanted_of
from ansible_collections.matrixon.ops.plugins.module_utils._dns.options import Options, errors
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import Report

# Between two looks while it waits.
PAUSE = 0.5


@dataclass(frozen=True)
class Outcome:
    """A finished run."""

    report: Report
    records: list[dict[str, t.Any]]
    zones: list[dict[str, t.Any]]
    settled: bool
    seconds: float


def check_dns(
    options: Options,
    now: datetime.datetime | None = None,
    clock: t.Callable[[], float] = time.monotonic,
    sleep: t.Callable[[float], None] = time.sleep,
) -> Outcome:
    """Validate the options, ask every server, again for as long as they let it wait, and return what was found.

    Raise OptionErrors before anything is contacted.
    """
    wrong = list(errors(options))
    if wrong:
        raise OptionErrors(wrong)
    started = now or datetime.datetime.now(datetime.timezone.utc)
    policy = policy_of(options)
    patience = Deadline(options["wait"], clock)
    tools = tools_for(options, options["connect_to"], Deadline(options["deadline"], clock))
    wanted = [wanted_of(given) for given in options["records"]]
    while True:
        observed = look(wanted, tools)
        done = all(settled(seen, policy) for seen in observed.records)
        if done or patience.remaining() <= PAUSE:
            break
        sleep(PAUSE)
        tools.deadline = Deadline(options["deadline"], clock)
    report = Report(
        kind="dns",
        target=options["target"],
        deployment=options["deployment"],
        profile=options["profile"],
        started=started,
        finished=started + datetime.timedelta(seconds=patience.elapsed()),
        checks=tuple(judge(observed, policy)),
        unknown_as=options["unknown_as"],
    )
    return Outcome(
        report,
        [_entry(seen, observed, policy) for seen in observed.records],
        [{"name": zone.name, "servers": [str(server) for server in zone.servers]} for zone in observed.zones],
        done,
        round(patience.elapsed(), 3),
    )


def policy_of(options: Options) -> Policy:
    """Return what is asked of every record."""
    return Policy(options["max_ttl"], frozenset(server_of(text).endpoint for text in options["accept_silent"]))


def tools_for(options: Options, connect_to: t.Mapping[str, t.Any], deadline: Deadline) -> Tools:
    """Return what every look needs."""
    query.require_dnspython()
    return Tools(
        servers=tuple(server_of(text) for text in options["servers"]),
        resolvers=tuple(server_of(text) for text in options["resolvers"]),
        moves=moves_of(connect_to),
        timeout=options["timeout"],
        deadline=deadline,
    )


def _entry(seen: Seen, observed: Observed, policy: Policy) -> dict[str, t.Any]:
    """Return what is told of one record."""
    good = [one for one in seen.answers if one.outcome == model.ANSWERED]
    ttls = [one.ttl for one in seen.answers if one.ttl is not None]
    return {
        "name": seen.wanted.name,
        "type": seen.wanted.type,
        "zone": seen.zone,
        "values": sorted({value for one in good for value in one.values}),
        "ttl": max(ttls, default=None),
        "settled": settled(seen, policy),
        "message": judge_record(seen, policy).message,
        "answers": [_told(one, observed) for one in seen.answers],
    }


def _told(answer: Answer, observed: Observed) -> dict[str, t.Any]:
    above = sorted((zone for zone in observed.zones if _holds(zone.name, answer.name)), key=lambda zone: len(zone.name))
    return {
        "server": str(answer.server),
        "address": answer.server.endpoint,
        "name": answer.name,
        "outcome": answer.outcome,
        "values": list(answer.values),
        "aliases": list(answer.aliases),
        "ttl": answer.ttl,
        "serial": above[-1].serial(answer.server) if above else None,
        "error_kind": answer.error_kind,
        "message": answer.message,
        "duration_ms": answer.duration_ms,
    }


def _holds(zone: str, name: str) -> bool:
    return name == zone or name.endswith(f".{zone}")


def diff_of(options: Options, records: list[dict[str, t.Any]]) -> dict[str, str]:
    """Return what would differ, as the lines of a zone file."""
    before = [
        _line(one["name"], one["ttl"], one["type"], value) for one in records for value in one["values"] or ["(none)"]
    ]
    after = []
    for given in options["records"]:
        wanted = wanted_of(given)
        old = next(one for one in records if (one["name"], one["type"]) == (wanted.name, wanted.type))
        ttl = old["ttl"] if wanted.ttl is None else wanted.ttl
        values = wanted.values or old["values"] or ["(none)"]
        after += [_line(wanted.name, ttl, wanted.type, value) for value in values]
    return {"before": "".join(before), "after": "".join(after)}


def _line(name: str, ttl: int | None, kind: str, value: str) -> str:
    return f"{name}. {ttl if value != '(none)' else '-'} {kind} {value}\n"
