# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of the maintenance calendar."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.matrixon.ops.plugins.module_utils._fleet import plain
from ansible_collections.matrixon.ops.plugins.module_utils._maintenance import calendar, outcome
from ansible_collections.matrixon.ops.plugins.module_utils._report import SKIPPED, UNKNOWN

WRONG = (KeyError, TypeError, ValueError, AttributeError, StopIteration)


def maintenance_plan(calendars: t.Any, name: str, wanted: t.Any, groups: t.Any, first: bool) -> dict[str, t.Any]:
    """Return what is wrong with a choice of steps, and which steps of a calendar a host runs."""
    try:
        steps = {str(key): calendar.steps_of(entries) for key, entries in plain(calendars).items()}
        given = plain(wanted)
        choice = calendar.choice_of(given["skip"], given["only"], given["tags"], given["skip_tags"])
        found = calendar.problems(choice, str(name), steps)
        return {"problems": found, "plan": calendar.plan(steps[str(name)], choice, plain(groups), bool(first))}
    except WRONG as error:
        raise AnsibleFilterError(f"maintenance_plan: {type(error).__name__}: {error}") from error


def maintenance_blocked(entry: t.Any, fleet: t.Any) -> str:
    """Return which failed step one is waiting for."""
    try:
        return outcome.blocked_by(_step(entry), plain(fleet))
    except WRONG as error:
        raise AnsibleFilterError(f"maintenance_blocked: {type(error).__name__}: {error}") from error


def maintenance_outcome(entry: t.Any, how: str, seen: t.Any) -> dict[str, t.Any]:
    """Return what became of a step: it finished, failed, was skipped or refused, or the host was lost."""
    try:
        step, facts = _step(entry), plain(seen)
        began, now = facts["began"], facts["now"]
        if how == "finished":
            results = outcome.fresh(facts["results"], facts.get("before") or [])
            return outcome.finished(step, results, bool(facts["dry"]), began, now)
        if how == "failed":
            return outcome.failed(step, facts["task"], facts["result"], began, now)
        if how == "lost":
            return outcome.lost(step, facts["message"], began, now)
        if how == "refused":
            return outcome.refused(step, facts["message"], now)
        if how == "skipped":
            return outcome.skipped(step, facts["message"], now)
        raise ValueError(f"'{how}' is no way for a step to end")
    except WRONG as error:
        raise AnsibleFilterError(f"maintenance_outcome: {type(error).__name__}: {error}") from error


def maintenance_documents(entries: t.Any, plans: t.Any, fleet: t.Any, about: t.Any) -> list[dict[str, t.Any]]:
    """Return the reports of a run: one for each host, and one for what was done once for all of them."""
    try:
        steps, facts = calendar.steps_of(plain(entries)), plain(about)
        once = {step.id for step in steps if step.once}
        outcomes = plain(fleet)
        parts = [
            (target, host, plan)
            for host, planned in plain(plans).items()
            for target, plan in _shared_out(planned, once, outcomes.get(host) or [], host, facts["controller"])
            if plan
        ]
        # Of whom nothing was asked, because other steps were, has no part in the report.
        asked = [part for part in parts if any(entry["state"] != calendar.OTHERS for entry in part[2])] or parts
        about_all = [facts[key] for key in ("kind", "deployment", "profile")]
        return [
            outcome.document(about_all[0], target, *about_all[1:], steps, plan, outcomes.get(host) or [], facts["now"])
            for target, host, plan in asked
        ]
    except WRONG as error:
        raise AnsibleFilterError(f"maintenance_documents: {type(error).__name__}: {error}") from error


def _shared_out(
    planned: list[dict[str, str]],
    once: set[str],
    outcomes: t.Sequence[t.Mapping[str, t.Any]],
    host: str,
    controller: str,
) -> list[tuple[str, list[dict[str, str]]]]:
    """Return whose report the steps of a host's plan stand in.

    What is done once is the controller's. Where none of that was to be done, it has no report of its own, which could
    only say that nothing is known; why it was not done stands in the host's.
    """
    own = [entry for entry in planned if entry["id"] not in once]
    shared = [entry for entry in planned if entry["id"] in once]
    status = {one["id"]: one["status"] for one in outcomes}
    judged = [e for e in shared if e["state"] == calendar.DUE and status.get(e["id"], UNKNOWN) != SKIPPED]
    return [(host, own), (controller, shared)] if judged or not own else [(host, planned)]


def _step(entry: t.Any) -> calendar.Step:
    return calendar.steps_of([plain(entry)])[0]
