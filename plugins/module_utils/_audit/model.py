# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The words of the security audit: rule, look, finding.

A rule is declared once: its id, what is expected and how to mend it. A look is one piece of I/O and the rules
that its facts are held against::

    options -> plan of looks -> probes (all I/O) -> judges (pure) -> exceptions -> report
"""

from __future__ import annotations

import os
import shutil
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils._command import Runner, run
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    SKIPPED,
    UNKNOWN,
    WARNING,
    CheckResult,
)

# What a finding counts as: its severity in the words of a report.
SEVERITIES = (CRITICAL, WARNING)


@dataclass(frozen=True)
class Rule:
    """What is asked of a host, declared once. The id is stable: exceptions name it."""

    id: str
    severity: str
    expected: str
    mend: str

    @property
    def check(self) -> str:
        """Return the id as the name of a check."""
        return self.id.replace("-", "_")


@dataclass(frozen=True)
class Finding:
    """What one rule says of a host, or of one thing on it: ``subject``, such as a file, a user or a port."""

    rule: Rule
    status: str
    found: str
    subject: str = ""
    note: str = ""
    value: float | None = None
    error_kind: str | None = None
    skipped_reason: str | None = None

    @property
    def id(self) -> str:
        """Return the id by which an exception names exactly this."""
        return f"{self.rule.id}:{self.subject}" if self.subject else self.rule.id

    def result(self, host: str, duration_ms: int) -> CheckResult:
        """Return it as the report has it."""
        bad = self.status in SEVERITIES
        message = self.found
        if bad:
            message += f"; expected: {self.rule.expected}; to mend: {self.rule.mend}{self.note}"
        return CheckResult(
            name=self.rule.check,
            target=self.subject or host,
            status=self.status,
            # Not "id: found": what follows a word such as secret and a colon is hidden in reports.
            message=f"{message} [{self.id}]",
            value=self.value,
            unit=None if self.value is None else "count",
            error_kind=self.error_kind,
            duration_ms=duration_ms,
            skipped_reason=self.skipped_reason,
        )

    def row(self) -> list[str]:
        """Return it as a row of the ranking."""
        return [self.id, self.status, self.found, self.rule.expected, self.rule.mend + self.note]


def bad(rule: Rule, found: str, subject: str = "", severity: str = "", value: float | None = None) -> Finding:
    """Return a finding with the severity of its rule, or another."""
    return Finding(rule, severity or rule.severity, found, subject, value=value)


def good(rule: Rule, found: str, subject: str = "") -> Finding:
    """Return what was seen to be as it should."""
    return Finding(rule, OK, found, subject)


def unseen(rule: Rule, failure: ProbeFailure, subject: str = "") -> Finding:
    """Return that something could not be seen, and why."""
    return Finding(rule, UNKNOWN, f"not seen: {failure.message}", subject, error_kind=failure.kind)


def skipped(rule: Rule, reason: str) -> Finding:
    """Return that a rule has nothing to look at here."""
    return Finding(rule, SKIPPED, reason, skipped_reason=reason)


class NotHere(Exception):
    """There is nothing to look at, or a tool that nobody must have is not there; says why, and the way out."""


@dataclass(frozen=True)
class Tools:
    """What probes work with. Tests put others in their place."""

    root: str = "/"
    runner: Runner = run
    now: float = field(default_factory=time.time)


@dataclass
class Seen:
    """What a judge makes of the facts: findings, and facts for the report. A rule without a finding is good."""

    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, t.Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Look:
    """One piece of I/O, and the rules that its facts are held against. A slow one may take all the time there is."""

    name: str
    rules: tuple[Rule, ...]
    probe: t.Callable[[Tools, Deadline], t.Any]
    judge: t.Callable[[t.Any], Seen]
    slow: bool = False


@dataclass(frozen=True)
class Skip:
    """Rules that are not asked here, and why."""

    rules: tuple[Rule, ...]
    reason: str


Plan = list[t.Union[Look, Skip]]


def tool(name: str) -> str:
    """Return where a tool of administrators lies: not every PATH names sbin."""
    places = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
    return shutil.which(name, path=places) or name


def ask(argv: list[str], tools: Tools, deadline: Deadline) -> str:
    """Run a tool that must succeed, and return what it printed."""
    done = tools.runner([tool(argv[0]), *argv[1:]], deadline)
    if done.code != 0:
        raise ProbeFailure(INTERNAL, f"{argv[0]} failed: {done.complaint}")
    return done.out
