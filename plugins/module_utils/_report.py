# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The one document in which every operation ends.

A report is a list of checks, each with a verdict, plus facts and evidence.
``docs/report.schema.json`` is its shape for other programs; the tests hold
every report against it.
"""

from __future__ import annotations

import datetime
import typing as t
from dataclasses import dataclass, field

SCHEMA = "matrixon.ops/report/1"

OK = "ok"
WARNING = "warning"
CRITICAL = "critical"
UNKNOWN = "unknown"
SKIPPED = "skipped"

STATUSES = (OK, WARNING, CRITICAL, UNKNOWN, SKIPPED)

# Worst first. "skipped" is no verdict, so it takes no part.
PRECEDENCE = (CRITICAL, UNKNOWN, WARNING, OK)

# What makes an operation fail, by the least status that does.
FAILING = {
    "never": (),
    "warning": (CRITICAL, UNKNOWN, WARNING),
    "unknown": (CRITICAL, UNKNOWN),
    "critical": (CRITICAL,),
}

# The options of every module that observes; the documentation fragment _observer describes them.
OBSERVER: dict[str, t.Any] = {
    "target": {"type": "str"},
    "deployment": {"type": "str", "required": True},
    "profile": {"type": "str", "required": True},
    "fail_on": {"type": "str", "choices": list(FAILING), "default": "never"},
    "unknown_as": {"type": "str", "choices": [UNKNOWN, WARNING, CRITICAL], "default": UNKNOWN},
    "detail": {"type": "str", "choices": ["problems", "full"], "default": "problems"},
}

ERROR_KINDS = ("refused", "timeout", "auth", "dns", "tls", "parse", "missing_tool", "internal")

# What a server says about itself is shown and never believed: such a check
# counts neither for nor against the overall status.
SELF_REPORT = "self_report"
PROBE = "probe"


@dataclass(frozen=True)
class CheckResult:
    """One observation with a verdict.

    ``value``, ``warning`` and ``critical`` are in ``unit`` (``ms``, ``s``,
    ``B``, ``%``, ``count`` or empty). ``value`` is None when nothing was
    measured; it is never 0 for want of a reading.
    """

    name: str
    target: str
    status: str
    message: str
    value: float | None = None
    unit: str | None = None
    warning: float | None = None
    critical: float | None = None
    error_kind: str | None = None
    duration_ms: int = 0
    source: str = PROBE
    skipped_reason: str | None = None
    attempts: tuple[dict[str, t.Any], ...] = ()

    def as_dict(self, detail: str = "full") -> dict[str, t.Any]:
        """Return the check without its empty keys.

        With ``detail="problems"`` a check that is ok keeps only what a metric
        needs; its message is the part that makes results large.
        """
        pairs: dict[str, t.Any] = {
            "name": self.name,
            "target": self.target,
            "status": self.status,
            "value": self.value,
            "unit": self.unit,
            "duration_ms": self.duration_ms,
            "source": self.source,
        }
        if detail == "full" or self.status not in (OK, SKIPPED):
            pairs.update(
                warning=self.warning,
                critical=self.critical,
                message=self.message,
                error_kind=self.error_kind,
            )
        pairs["skipped_reason"] = self.skipped_reason
        if self.attempts:
            pairs["attempts"] = list(self.attempts)
        return {key: value for key, value in pairs.items() if value is not None}


@dataclass(frozen=True)
class Report:
    """A finished operation on one target. Times are UTC."""

    kind: str
    target: str
    deployment: str
    profile: str
    started: datetime.datetime
    finished: datetime.datetime
    checks: tuple[CheckResult, ...]
    facts: dict[str, t.Any] = field(default_factory=dict)
    evidence: tuple[str, ...] = ()
    unknown_as: str = UNKNOWN

    @property
    def status(self) -> str:
        """Return the overall verdict."""
        return overall(self.checks, self.unknown_as)

    def as_dict(self, detail: str = "full") -> dict[str, t.Any]:
        """Return the document of ``docs/report.schema.json``."""
        duration = self.finished - self.started
        return {
            "schema": SCHEMA,
            "kind": self.kind,
            "target": self.target,
            "deployment": self.deployment,
            "profile": self.profile,
            "started": rfc3339(self.started),
            "finished": rfc3339(self.finished),
            "duration_ms": int(duration / datetime.timedelta(milliseconds=1)),
            "status": self.status,
            "counts": count(self.checks),
            "checks": [check.as_dict(detail) for check in sorted(self.checks, key=severity)],
            "facts": self.facts,
            "evidence": list(self.evidence),
        }


def counted(checks: t.Iterable[CheckResult]) -> list[CheckResult]:
    """Return the checks that have a say: all but self-reports."""
    return [check for check in checks if check.source != SELF_REPORT]


def overall(checks: t.Iterable[CheckResult], unknown_as: str = UNKNOWN) -> str:
    """Return the worst verdict; where nothing was executed that is unknown.

    ``unknown_as`` says how heavy an unknown weighs. It never weighs as ok.
    """
    found = {check.status for check in counted(checks)} - {SKIPPED} or {UNKNOWN}
    weighed = {unknown_as if status == UNKNOWN else status for status in found}
    return next(status for status in PRECEDENCE if status in weighed)


def count(checks: t.Iterable[CheckResult]) -> dict[str, int]:
    """Return how many checks have each status."""
    counts = dict.fromkeys(STATUSES, 0)
    for check in counted(checks):
        counts[check.status] += 1
    return counts


def severity(check: CheckResult) -> tuple[int, str, str]:
    """Return a sort key: worst first, then by name and target."""
    order = (*PRECEDENCE[:-1], OK, SKIPPED)
    return order.index(check.status), check.name, check.target


def report_of(
    kind: str,
    options: t.Mapping[str, t.Any],
    started: datetime.datetime,
    checks: t.Iterable[CheckResult],
    facts: dict[str, t.Any],
) -> Report:
    """Return the report of an operation that ends now, for the options of OBSERVER."""
    return Report(
        kind=kind,
        target=options["target"],
        deployment=options["deployment"],
        profile=options["profile"],
        started=started,
        finished=datetime.datetime.now(datetime.timezone.utc),
        checks=tuple(checks),
        facts=facts,
        unknown_as=options["unknown_as"],
    )


def leave(module: t.Any, report: Report, **others: t.Any) -> None:
    """End a module: with its report, and as failed if fail_on names the status. Left out, it changed nothing."""
    result = {"changed": False, "msg": headline(report), "report": report.as_dict(module.params["detail"]), **others}
    end = module.fail_json if report.status in FAILING[module.params["fail_on"]] else module.exit_json
    end(**result)


def headline(report: Report) -> str:
    """Return the verdict in one line, with the worst finding."""
    checks = sorted(counted(report.checks), key=severity)
    executed = [check for check in checks if check.status != SKIPPED]
    if not executed:
        return "unknown: no check was executed"
    worst = executed[0]
    if worst.status == OK:
        return "ok: the one check is good" if len(executed) == 1 else f"ok: all {len(executed)} checks are good"
    same = sum(check.status == worst.status for check in executed)
    verb = "is" if same == 1 else "are"
    return f"{report.status}: {same} of {len(executed)} checks {verb} {worst.status}; {worst.name}: {worst.message}"


def rfc3339(moment: datetime.datetime) -> str:
    """Return a UTC time as 2026-11-23T09:00:00.123Z."""
    utc = moment.astimezone(datetime.timezone.utc)
    return utc.strftime("%Y-%m-%dT%H:%M:%S.") + f"{utc.microsecond // 1000:03d}Z"
