# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What became of a step, and the report of a run.

An outcome is a plain dictionary, for it is kept as a fact of a host until the run ends: ``id``, ``name``, ``status``,
``message``, and where there is one ``error_kind`` and ``skipped_reason``; ``began`` and ``ended`` are its times.
"""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._maintenance.calendar import DUE, Step
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    PRECEDENCE,
    SKIPPED,
    UNKNOWN,
    WARNING,
    CheckResult,
    Report,
)

Outcome = dict[str, t.Any]

LONGEST = 600
MOST_FINDINGS = 4
MEANING = {
    OK: "done",
    WARNING: "needs a person",
    CRITICAL: "failed",
    UNKNOWN: "not known",
    SKIPPED: "skipped",
}
COLUMNS = (("id", "code"), ("step", "text"), ("outcome", "text"), ("took", "s"), ("what was done", "text"))


def outcome(step: Step, status: str, message: str, began: str, ended: str, **others: str) -> Outcome:
    """Return an outcome with one line of bounded length."""
    line = " ".join(str(message).split())
    short = line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."
    found = {"id": step.id, "name": step.name, "status": status, "message": short, "began": began, "ended": ended}
    return {**found, **{key: value for key, value in others.items() if value}}


def skipped(step: Step, reason: str, now: str) -> Outcome:
    """Return that a step was not begun, and why."""
    return outcome(step, SKIPPED, reason, now, now, skipped_reason=reason)


def refused(step: Step, reason: str, now: str) -> Outcome:
    """Return that the maintenance window gave a step no leave. It is due still, so somebody must see to it."""
    return outcome(step, WARNING, f"not begun: {reason}", now, now)


def lost(step: Step, message: str, began: str, now: str) -> Outcome:
    """Return that the host went away, so that nothing is known of the step."""
    return outcome(step, UNKNOWN, f"the host could not be reached: {message}", began, now, error_kind=INTERNAL)


def failed(step: Step, task: str, result: t.Mapping[str, t.Any], began: str, now: str) -> Outcome:
    """Return that a task of the step failed. One that brings a report of its own may only say that it does not know."""
    report = result.get("report") or {}
    status = UNKNOWN if report.get("status") == UNKNOWN else CRITICAL
    text = f"{task}: {result.get('msg') or 'no reason was given'}"
    return outcome(step, status, text, began, now, error_kind=_error_kind(report) if status == UNKNOWN else "")


def fresh(results: t.Sequence[t.Mapping[str, t.Any]], before: t.Sequence[t.Mapping[str, t.Any]]) -> list[t.Any]:
    """Return the results of this step: what a variable held before it is the answer of another one."""
    old = [*before, *([{}] * len(results))]
    return [{} if result == earlier else result for result, earlier in zip(results, old)]


def finished(step: Step, results: t.Sequence[t.Mapping[str, t.Any]], dry: bool, began: str, now: str) -> Outcome:
    """Return what a step that came to its end says of itself: the worst of its reports.

    What was only planned is not done, so in a dry run a change that would be made is a reason and no verdict.
    """
    asked = [_as_one(result) for result in results if result and not result.get("skipped")]
    if not asked:
        return skipped(step, "there is nothing of it on this host", now)
    gone = next((result for result in asked if result.get("unreachable")), None)
    if gone:
        return lost(step, str(gone.get("msg") or "no reason was given"), began, now)
    broken = next((result for result in asked if not (result.get("report") or {}).get("status")), None)
    if broken:
        text = f"it ended without a report: {broken.get('msg') or 'no reason was given'}"
        return outcome(step, UNKNOWN, text, began, now, error_kind=INTERNAL)
    idle = [_idle_reason(result["report"]) for result in asked]
    if all(idle):
        return skipped(step, "; ".join(dict.fromkeys(idle)), now)
    asked = [result for result, reason in zip(asked, idle) if not reason]
    worst = min(asked, key=lambda result: PRECEDENCE.index(result["report"]["status"]))
    status, report = worst["report"]["status"], worst["report"]
    changed = any(result.get("changed") for result in asked)
    text = "; ".join(dict.fromkeys(summary(result) for result in asked))
    if dry and step.acts and changed and status in (OK, WARNING):
        text = "; ".join(dict.fromkeys(intent(result) for result in asked))
        return skipped(step, f"dry run, nothing was done: {text}", now)
    if step.acts and status == OK and not changed:
        text = f"nothing to do: {text}"
    return outcome(step, status, text, began, now, error_kind=_error_kind(report) if status == UNKNOWN else "")


def _as_one(result: t.Mapping[str, t.Any]) -> t.Mapping[str, t.Any]:
    """Return a result with one report: of one that judges many hosts the worst, under what is said of them all."""
    documents = result.get("documents")
    if not documents:
        return result
    worst = min(documents, key=lambda document: PRECEDENCE.index(document["status"]))
    facts = {**worst["facts"], "answer": result.get("answer") or worst["facts"].get("answer")}
    return {**result, "report": {**worst, "facts": facts}}


def _idle_reason(report: t.Mapping[str, t.Any]) -> str:
    """Return why a report looked at nothing, where each of its checks was skipped; or nothing."""
    checks = report.get("checks") or []
    if not checks or any(check.get("status") != SKIPPED for check in checks):
        return ""
    return str(checks[0].get("skipped_reason") or "nothing of it is here")


def summary(result: t.Mapping[str, t.Any]) -> str:
    """Return what one result says, in one sentence: its answer if it has one, else its headline."""
    facts = result["report"].get("facts") or {}
    status = str(result["report"]["status"])
    text = str(facts.get("answer") or result.get("msg") or status)
    # A headline begins with the verdict, which the check says anyhow, and names the worst finding alone.
    text = text[len(status) + 2 :] if text.startswith(f"{status}: ") else text
    return "; ".join([text, *_others(result["report"].get("checks") or [], text)])


def _others(checks: t.Sequence[t.Mapping[str, t.Any]], said: str) -> list[str]:
    """Return what else a report found that is not good, the worst first, without what was said already."""
    bad = [check for check in checks if check.get("status") in PRECEDENCE[:-1] and check.get("message")]
    return [f"{check['name']}: {check['message']}" for check in bad if str(check["message"]) not in said][
        :MOST_FINDINGS
    ]


def intent(result: t.Mapping[str, t.Any]) -> str:
    """Return what a dry run says that it would do."""
    planned = result.get("plan")
    if isinstance(planned, (list, tuple)) and planned and all(isinstance(line, str) for line in planned):
        return "; ".join(planned)
    return f"would change: {summary(result)}"


def _error_kind(report: t.Mapping[str, t.Any]) -> str:
    checks = report.get("checks") or []
    return next((str(check["error_kind"]) for check in checks if check.get("error_kind")), INTERNAL)


def blocked_by(step: Step, fleet: t.Mapping[str, t.Iterable[Outcome]]) -> str:
    """Return which step that this one needs has failed, and where; or nothing. A skipped one is in nobody's way."""
    found = [
        f"{done['id']} failed on {host}"
        for host, outcomes in fleet.items()
        for done in outcomes
        if done["id"] in step.needs and done["status"] in (CRITICAL, UNKNOWN)
    ]
    return "; ".join(sorted(found))


def document(
    kind: str,
    target: str,
    deployment: str,
    profile: str,
    steps: t.Sequence[Step],
    plan: t.Sequence[t.Mapping[str, str]],
    outcomes: t.Sequence[Outcome],
    now: str,
) -> dict[str, t.Any]:
    """Return the report of one host: a check for each step of its plan, also for one that was never begun."""
    done = {one["id"]: one for one in outcomes}
    known = {step.id: step for step in steps}
    rows = [done.get(entry["id"]) or _unfinished(known[entry["id"]], entry, now) for entry in plan]
    moments = [moment(row[key]) for row in rows for key in ("began", "ended")] or [moment(now)]
    return Report(
        kind=kind,
        target=target,
        deployment=deployment,
        profile=profile,
        started=min(moments),
        finished=max(moments),
        checks=tuple(check(row) for row in rows),
        facts={"answer": answer(rows), "rankings": [ranking(rows, known)], "steps": rows},
    ).as_dict("full")


def _unfinished(step: Step, entry: t.Mapping[str, str], now: str) -> Outcome:
    if entry["state"] != DUE:
        return skipped(step, entry["reason"], now)
    text = "it came to no end: the run was broken off before or in it"
    return outcome(step, UNKNOWN, text, now, now, error_kind=INTERNAL)


def check(row: Outcome) -> CheckResult:
    """Return an outcome as the report has it."""
    return CheckResult(
        name=row["name"],
        target=row["id"],
        status=row["status"],
        message=f"{MEANING[row['status']]}: {row['message']}",
        error_kind=row.get("error_kind"),
        duration_ms=round(took(row) * 1000),
        skipped_reason=row.get("skipped_reason"),
    )


def answer(rows: t.Sequence[Outcome]) -> str:
    """Return the sentence on top of the page."""
    count = {status: [row["id"] for row in rows if row["status"] == status] for status in MEANING}
    parts = []
    for status in (CRITICAL, UNKNOWN, WARNING, OK, SKIPPED):
        if count[status]:
            which = "" if status in (OK, SKIPPED) else f" ({', '.join(count[status])})"
            parts.append(f"{len(count[status])} {MEANING[status]}{which}")
    if not rows:
        return "no step is for this host"
    return f"{len(rows)} {'step' if len(rows) == 1 else 'steps'}: {', '.join(parts)}"


def ranking(rows: t.Sequence[Outcome], steps: t.Mapping[str, Step]) -> dict[str, t.Any]:
    """Return the steps as a table, in their order."""
    return {
        "name": "steps",
        "title": "Steps",
        "columns": [{"title": title, "unit": unit} for title, unit in COLUMNS],
        "rows": [
            [row["id"], steps[row["id"]].title, MEANING[row["status"]], took(row), row["message"]]
            for row in sorted(rows, key=lambda row: row["id"])
        ],
        "bar": None,
    }


def took(row: Outcome) -> float:
    """Return how long a step took, in seconds."""
    return max(0.0, (moment(row["ended"]) - moment(row["began"])).total_seconds())


def moment(text: str) -> datetime.datetime:
    """Return a time of ISO 8601; one without a zone is UTC."""
    found = datetime.datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    return found if found.tzinfo else found.replace(tzinfo=datetime.timezone.utc)
