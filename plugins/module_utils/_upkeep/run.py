# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""From module options to a report of the database's upkeep, without Ansible in it."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import time
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _postgresql
from ansible_collections.matrixon.ops.plugins.module_utils._health import engine
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Check, Probe
from ansible_collections.matrixon.ops.plugins.module_utils._health.options import Options, select, thresholds
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Server, server_of
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, Facts, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import OK, CheckResult, Report, headline
from ansible_collections.matrixon.ops.plugins.module_utils._upkeep import act, look, plan, questions
from ansible_collections.matrixon.ops.plugins.module_utils._upkeep.options import LOOK, errors, limits, rules


class Scope(t.NamedTuple):
    """What the checks of one part of the report look at."""

    CHECKS: tuple[Check, ...]


SCOPES = {"look": Scope(look.CHECKS)}
CHECKS: dict[str, Check] = {check.name: check for check in look.CHECKS}
KIND = "database_upkeep"
NOTHING: tuple[Facts, ...] = ()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run returns: the report, whether a statement ran, and what was planned."""

    report: Report
    changed: bool = False
    plan: tuple[Facts, ...] = ()


def tend(
    options: Options,
    check_mode: bool = False,
    now: datetime.datetime | None = None,
    clock: t.Callable[[], float] = time.monotonic,
) -> Outcome:
    """Validate the options, look at the database or tend it, and return the report.

    Raise OptionErrors before anything is contacted.
    """
    wrong = list(errors(options, CHECKS))
    if wrong:
        raise OptionErrors(wrong)
    started = now or datetime.datetime.now(datetime.timezone.utc)
    deadline = Deadline(options["deadline"], clock)
    server = server_of(options["postgresql"])
    if options["mode"] == LOOK:
        done, planned = _look(options, server, deadline), NOTHING
    else:
        done, planned = _act(options, server, deadline, check_mode)
    report = Report(
        kind=KIND,
        target=options["target"],
        deployment=options["deployment"],
        profile=options["profile"],
        started=started,
        finished=started + datetime.timedelta(seconds=deadline.elapsed()),
        checks=tuple(done.results),
        facts=done.facts,
        unknown_as=options["unknown_as"],
    )
    return Outcome(_answered(report), done.changed, planned)


def _answered(report: Report) -> Report:
    words = headline(report)
    answer = f"{words[:1].upper()}{words[1:]}."
    return dataclasses.replace(report, facts={**report.facts, "answer": answer})


# Look --------------------------------------------------------------------------------------------------------------


def _look(options: Options, server: Server, deadline: Deadline) -> act.Done:
    policy = engine.Policy(timeout=options["deadline"], thresholds=thresholds(options, CHECKS))
    probe = Probe(server.where, look.CHECKS, functools.partial(_observe, server))
    outcome = engine.execute(select([probe], options), policy, deadline)
    return act.Done(outcome.results, False, outcome.facts)


def _observe(server: Server, deadline: Deadline) -> Facts:
    with _postgresql.connect(server, deadline) as session:
        facts = questions.observe(session, server)
    report: Facts = {"role": facts["role"], "mode": LOOK, "rankings": look.rankings(facts)}
    report["versions"] = {"postgresql": facts["identity"]["version"]}
    return {**facts, "report": report}


# Act ---------------------------------------------------------------------------------------------------------------


def _act(options: Options, server: Server, deadline: Deadline, check_mode: bool) -> tuple[act.Done, tuple[Facts, ...]]:
    try:
        with _postgresql.connect(server, deadline) as control:
            return _tended(options, server, control, deadline, check_mode)
    except act.Stop as stop:
        return act.Done([act.refused(server.where, str(stop))]), ()
    except ProbeFailure as failure:
        return act.Done([act.refused(server.where, failure.message, failure.kind)]), ()


def _tended(
    options: Options, server: Server, control: _postgresql.Session, deadline: Deadline, check_mode: bool
) -> tuple[act.Done, tuple[Facts, ...]]:
    facts = questions.observe(control, server)
    identity = facts["identity"]
    known: Facts = {"role": facts["role"], "mode": options["mode"], "versions": {"postgresql": identity["version"]}}
    if identity["in_recovery"]:
        words = f"{server} is a standby: its primary does the upkeep for it, so nothing is done here"
        return act.Done([CheckResult(act.GATES, server.where, OK, words)], False, known), ()
    hand, done = act.Hand(server, control, identity, limits(options), deadline), act.Done()
    passed = act.pass_gates(hand)
    found = plan.make(facts, rules(options), hand.room)
    if check_mode:
        act.foresee(found.works, done)
    else:
        found = _perform(hand, found, options, done)
    needed = f"{len(found.works)} things to do" if found.works else "there is nothing to do"
    gate = CheckResult(act.GATES, server.where, OK, f"{passed}; {needed}")
    done.results = [gate, *done.results, *act.not_done(found)]
    known["planned"] = [f"{work.statement}: {work.why}" for work in found.works]
    done.facts = {**known, "left": done.left, "rankings": _rankings(done.shown)}
    return done, tuple({"statement": work.statement, "target": work.target, "why": work.why} for work in found.works)


def _perform(hand: act.Hand, found: plan.Plan, options: Options, done: act.Done) -> plan.Plan:
    """Do the work; return the plan with the rebuilds that showed only after tables were vacuumed."""
    tending = [work for work in found.works if work.tends]
    if tending and not act.perform(hand, tending, rules(options), done):
        rebuilds = [work for work in found.works if not work.tends]
        done.results += [act.skipped(work, "the run had stopped before its turn") for work in rebuilds]
        done.left += [work.target for work in rebuilds]
        return found
    later = plan.make(questions.observe(hand.control, hand.server), rules(options), hand.room) if tending else found
    rebuilds = [work for work in later.works if not work.tends]
    act.perform(hand, rebuilds, rules(options), done)
    held = [one for one in found.held if one.work.tends] + [one for one in later.held if not one.work.tends]
    return plan.Plan([*tending, *rebuilds], held, found.strange)


def _rankings(rows: list[list[t.Any]]) -> list[Facts]:
    if not rows:
        return []
    names = (("relation", "code"), ("what", "text"), ("verdict", "status"), ("before", "text"), ("now", "text"))
    columns = [{"title": title, "unit": unit} for title, unit in (*names, ("in words", "text"))]
    shown = [
        [target, what, status, _text(before), _text(after), words]
        for target, what, status, before, after, words in rows
    ]
    return [{"name": "upkeep", "title": "What was done", "columns": columns, "rows": shown, "bar": None}]


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"
