# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""From module options to a report on the security of a host, without Ansible in it."""

from __future__ import annotations

import datetime
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._audit import exceptions
from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import (
    SEVERITIES,
    Finding,
    Look,
    NotHere,
    Seen,
    Skip,
    Tools,
    good,
    skipped,
    unseen,
)
from ansible_collections.matrixon.ops.plugins.module_utils._audit.options import (
    Options,
    errors,
    looks,
    make_plan,
    rules,
)
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import failure_of
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    SKIPPED,
    UNKNOWN,
    WARNING,
    Report,
)
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.pool import Pool

# Most of them wait for the disk or another program; more would only be in the way of what the host is for.
THREADS = 3
MOST_ROWS = 100
COLUMNS = ("id", "severity", "found", "expected", "mend")


@dataclass(frozen=True)
class Outcome:
    """A finished run."""

    report: Report
    findings: list[dict[str, str]]
    exceptions: list[dict[str, str]]


class Looked(t.NamedTuple):
    """What came of one look."""

    findings: list[Finding]
    facts: dict[str, t.Any]
    duration_ms: int


def audit(
    options: Options,
    now: datetime.datetime | None = None,
    clock: t.Callable[[], float] = time.monotonic,
    tools: Tools | None = None,
) -> Outcome:
    """Validate the options, look at everything they call for, and return what was found.

    Raise OptionErrors before anything is looked at.
    """
    wrong = list(errors(options))
    if wrong:
        raise OptionErrors(wrong)
    deadline = Deadline(options["deadline"], clock)
    started = now or datetime.datetime.now(datetime.timezone.utc)
    looked = look_all(options, tools or Tools(now=started.timestamp()), deadline)
    host = options["target"]
    exemptions = exceptions.parse(options["exceptions"], rules())[0]
    findings = [finding for one in looked for finding in one.findings]
    spent = [one.duration_ms for one in looked for finding in one.findings]
    judged, states = exceptions.apply(findings, exemptions, host, started.date())
    rows = ranking(judged)
    facts = {name: fact for one in looked for name, fact in one.facts.items()}
    facts.update(rankings=[rows], answer=answer(judged, host))
    report = Report(
        kind="security_audit",
        target=host,
        deployment=options["deployment"],
        profile=options["profile"],
        started=started,
        finished=started + datetime.timedelta(seconds=deadline.elapsed()),
        checks=tuple(finding.result(host, duration) for finding, duration in zip(judged, spent)),
        facts=facts,
        unknown_as=options["unknown_as"],
    )
    return Outcome(report, [dict(zip(COLUMNS, row)) for row in rows["rows"]], states)


def look_all(options: Options, tools: Tools, deadline: Deadline) -> list[Looked]:
    """Do every look of the plan at once, as far as the time allows."""
    plan = make_plan(options)
    pool: Pool[tuple[str, Looked]] = Pool(THREADS, deadline)
    for one in looks(plan):
        pool.add(one.name, _job(one, tools, deadline, options["timeout"]))
    # What is missing from it was not done in time.
    done = dict(pool.collect()[0])
    result = []
    for entry in plan:
        if isinstance(entry, Skip):
            result.append(Looked([skipped(rule, entry.reason) for rule in entry.rules], {}, 0))
        elif entry.name in done:
            result.append(done[entry.name])
        else:
            gone = deadline.failure(f"looking at {entry.name}")
            result.append(Looked([unseen(rule, gone) for rule in entry.rules], {}, int(deadline.elapsed() * 1000)))
    return result


def _job(entry: Look, tools: Tools, deadline: Deadline, timeout: float) -> t.Callable[[], list[tuple[str, Looked]]]:
    def job() -> list[tuple[str, Looked]]:
        mine = deadline.within(deadline.remaining() if entry.slow else timeout)
        seen = look(entry, tools, mine)
        return [(entry.name, Looked(seen.findings, seen.facts, int(mine.elapsed() * 1000)))]

    return job


def look(entry: Look, tools: Tools, deadline: Deadline) -> Seen:
    """Do one look. What cannot be seen makes its rules unknown, and a rule without a finding is good."""
    try:
        seen = entry.judge(entry.probe(tools, deadline))
    except NotHere as reason:
        return Seen([skipped(rule, str(reason)) for rule in entry.rules])
    except ProbeFailure as failure:
        return Seen([unseen(rule, failure) for rule in entry.rules])
    except OSError as error:
        return Seen([unseen(rule, failure_of(error)) for rule in entry.rules])
    except Exception as error:  # One look that goes wrong must not take the others with it.
        wrong = ProbeFailure(INTERNAL, f"the look at {entry.name} went wrong: {type(error).__name__}")
        return Seen([unseen(rule, wrong) for rule in entry.rules])
    named = {finding.rule for finding in seen.findings}
    seen.findings += [good(rule, f"as expected: {rule.expected}") for rule in entry.rules if rule not in named]
    return seen


def _order(finding: Finding) -> tuple[int, str]:
    return SEVERITIES.index(finding.status), finding.id


def ranking(findings: list[Finding]) -> dict[str, t.Any]:
    """Return what is weak as a table, the worst first."""
    weak = sorted((finding for finding in findings if finding.status in SEVERITIES), key=_order)
    return {
        "name": "findings",
        "title": "Findings",
        "columns": [{"title": title, "unit": "text"} for title in COLUMNS],
        "rows": [finding.row() for finding in weak[:MOST_ROWS]],
        "bar": None,
    }


def answer(findings: list[Finding], host: str) -> str:
    """Return what a tired operator wants to read first."""
    count = {
        status: sum(finding.status == status for finding in findings) for status in (OK, *SEVERITIES, UNKNOWN, SKIPPED)
    }
    blind = f"; {count[UNKNOWN]} could not be seen" if count[UNKNOWN] else ""
    weak = sorted((finding for finding in findings if finding.status in SEVERITIES), key=_order)
    if not weak:
        if not count[OK]:
            return f"{host}: nothing was seen, so nothing is known{blind}"
        return f"{host}: no weakness was found in {count[OK]} checks{blind}"
    first = weak[0]
    return (
        f"{host}: {count[CRITICAL]} critical and {count[WARNING]} lesser weaknesses{blind}; "
        f"begin with {first.id}: {first.found}"
    )
