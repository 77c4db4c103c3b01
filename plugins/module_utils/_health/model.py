# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The words of a health check: check, probe, verdict.

A check is declared once. The plan, the tables in the documentation, the
default thresholds and the tests are made from that declaration::

    options -> plan -> probes (all I/O) -> judges (pure) -> report
"""

from __future__ import annotations

import datetime
import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    DNS,
    PARSE,
    REFUSED,
    TIMEOUT,
    TLS,
    Deadline,
    Facts,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._report import CRITICAL, OK, PROBE, SKIPPED, UNKNOWN, WARNING

# A service that refuses, stays silent or talks nonsense was observed to be
# bad. One that turns our credentials away was not observed at all.
BAD_FACTS = (REFUSED, TIMEOUT, TLS, DNS, PARSE)


@dataclass(frozen=True)
class Limits:
    """From which value on a check warns and is critical, in the check's unit."""

    warning: float | None = None
    critical: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What a judge says. ``target`` names a part of the probe's target, such as a mount."""

    status: str
    message: str
    value: float | None = None
    target: str | None = None
    error_kind: str | None = None
    skipped_reason: str | None = None


Judge = t.Callable[[Facts, Limits], t.Union[Verdict, list[Verdict]]]


@dataclass(frozen=True)
class Check:
    """One observation, declared once.

    ``gate`` marks the check that stands for the service as a whole: where its
    probe fails, the service is critical. The other checks of that probe are
    then unknown, for nothing was measured.
    ``below`` marks a check in which small values are the bad ones.
    ``fixed`` marks one whose verdict depends on no threshold, so none is taken.
    ``summary`` is one line for the documentation.
    """

    name: str
    summary: str
    judge: Judge
    unit: str | None = None
    warning: float | None = None
    critical: float | None = None
    gate: bool = False
    below: bool = False
    fixed: bool = False
    source: str = PROBE

    @property
    def limits(self) -> Limits:
        """Return the default thresholds."""
        return Limits(self.warning, self.critical)

    def failed(self, failure: ProbeFailure) -> Verdict:
        """Return the verdict for a probe that did not bring its facts."""
        if self.gate and failure.kind in BAD_FACTS:
            return Verdict(CRITICAL, failure.message, error_kind=failure.kind)
        prefix = "" if self.gate else "not measured: "
        return Verdict(UNKNOWN, prefix + failure.message, error_kind=failure.kind)


@dataclass(frozen=True)
class Probe:
    """One piece of I/O against one target, and the checks that its facts feed.

    ``run`` gets a deadline and returns facts or raises ProbeFailure. ``given``
    are facts that come from the options, such as what is expected; the judges
    see both. A key ``report`` in the facts goes into the report's own facts.
    ``heavy`` marks a probe that makes the servers work: it lets the light ones
    go first, so that their latency is not the work of the observer.
    """

    target: str
    checks: tuple[Check, ...]
    run: t.Callable[[Deadline], Facts]
    given: Facts = field(default_factory=dict)
    timeout: float | None = None
    heavy: bool = False


@dataclass(frozen=True)
class Skip:
    """A check that does not apply here, and why."""

    check: Check
    target: str
    reason: str


Plan = list[t.Union[Probe, Skip]]


@dataclass(frozen=True)
class Baseline:
    """What an earlier report of the same target found, for rates and differences."""

    facts: Facts
    taken: datetime.datetime


@dataclass(frozen=True)
class Context:
    """What every scope may know beside its own options."""

    now: datetime.datetime
    baseline: Baseline | None = None
    http: HttpClient = field(default_factory=HttpClient)

    def before(self, *path: str) -> t.Any:
        """Return a fact of the baseline, or None."""
        value: t.Any = self.baseline.facts if self.baseline else None
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    @property
    def seconds_since_baseline(self) -> float | None:
        """Return the age of the baseline in seconds, or None without one."""
        if self.baseline is None:
            return None
        return (self.now - self.baseline.taken).total_seconds()


def grade(value: float, limits: Limits, message: str, *, below: bool = False, target: str | None = None) -> Verdict:
    """Compare a value with its thresholds. A threshold that is None never fires."""

    def beyond(threshold: float | None) -> bool:
        if threshold is None:
            return False
        return value <= threshold if below else value >= threshold

    status = CRITICAL if beyond(limits.critical) else WARNING if beyond(limits.warning) else OK
    return Verdict(status, message, value=value, target=target)


def skipped(reason: str, target: str | None = None) -> Verdict:
    """Return the verdict of a check that has nothing to look at here."""
    return Verdict(SKIPPED, reason, target=target, skipped_reason=reason)


def human_bytes(size: float) -> str:
    """Return bytes as people read them: 1.5 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1024 or unit == "TiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")


def human_seconds(seconds: float) -> str:
    """Return a span of time as people read it: 4 min, 2.5 h, 3.1 d."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} d"
