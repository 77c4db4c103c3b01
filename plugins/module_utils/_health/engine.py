# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Run a plan: every probe at once, one total deadline, a result for each check."""

from __future__ import annotations

import queue
import sys
import threading
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.matrixon.ops.plugins.module_utils._health.model import (
    Check,
    Limits,
    Plan,
    Probe,
    Skip,
    Verdict,
    skipped,
)
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    INTERNAL,
    TIMEOUT,
    Deadline,
    Facts,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._report import OK, SKIPPED, CheckResult

PAUSE = 0.02
HEAD_START = 0.1
SWITCH_INTERVAL = 0.0005


@dataclass(frozen=True)
class Policy:
    """How the probes of one run behave. Times are in seconds."""

    timeout: float = 5.0
    retries: int = 0
    retry_delay: float = 1.0
    thresholds: t.Mapping[str, Limits] = field(default_factory=dict)

    def limits(self, check: Check) -> Limits:
        """Return the thresholds of a check: those that were given, else its own."""
        return self.thresholds.get(check.name, check.limits)


class Outcome(t.NamedTuple):
    """What one probe came to."""

    results: list[CheckResult]
    facts: Facts


def execute(plan: Plan, policy: Policy, deadline: Deadline) -> Outcome:
    """Run every probe of a plan and return all results and reportable facts.

    A probe that has not finished by the deadline is left behind in its daemon
    thread, and its checks say so. One probe that hangs or breaks never takes
    the results of another.
    """
    results = [_skipped(entry) for entry in plan if isinstance(entry, Skip)]
    facts: Facts = {}
    probes = [entry for entry in plan if isinstance(entry, Probe)]
    for probe, outcome in zip(probes, _gather(probes, policy, deadline)):
        if outcome is None:
            late = ProbeFailure(
                TIMEOUT, f"{probe.target}: not finished when the total deadline of {deadline.seconds:g} s ended"
            )
            outcome = Outcome(_results(probe, policy, late, deadline.elapsed()), {})
        results += outcome.results
        merge(facts, outcome.facts)
    return Outcome(results, facts)


def _gather(probes: list[Probe], policy: Policy, deadline: Deadline) -> list[Outcome | None]:
    done: queue.Queue[tuple[int, Outcome]] = queue.Queue()
    outcomes: list[Outcome | None] = [None] * len(probes)

    def work(index: int) -> None:
        done.put((index, attempt(probes[index], policy, deadline)))

    def start(heavy: bool) -> None:
        for index, probe in enumerate(probes):
            if probe.heavy is heavy:
                threading.Thread(target=work, args=(index,), daemon=True).start()

    def collect(enough: int, wait: Deadline) -> None:
        while sum(outcome is not None for outcome in outcomes) < enough:
            try:
                index, outcome = done.get(timeout=wait.remaining() + PAUSE)
            except queue.Empty:
                return
            outcomes[index] = outcome

    # The interpreter lets a busy thread keep it for 5 ms. With a thread for each
    # probe that would show up as latency of the servers that are measured.
    sys.setswitchinterval(SWITCH_INTERVAL)
    start(heavy=False)
    collect(sum(not probe.heavy for probe in probes), deadline.within(HEAD_START))
    start(heavy=True)
    collect(len(probes), deadline)
    return outcomes


def attempt(probe: Probe, policy: Policy, deadline: Deadline) -> Outcome:
    """Run a probe, again if asked to while it finds anything amiss; keep each attempt."""
    history: list[list[CheckResult]] = []
    while True:
        inner = deadline.within(probe.timeout or policy.timeout)
        results, facts = _once(probe, policy, inner)
        history.append(results)
        amiss = any(result.status not in (OK, SKIPPED) for result in results)
        if not amiss or len(history) > policy.retries or deadline.remaining() <= policy.retry_delay:
            break
        threading.Event().wait(policy.retry_delay)
    if len(history) > 1:
        results = [_with_attempts(result, history) for result in results]
    return Outcome(results, facts)


def _once(probe: Probe, policy: Policy, deadline: Deadline) -> tuple[list[CheckResult], Facts]:
    observed: Facts | ProbeFailure
    try:
        observed = probe.run(deadline)
        facts = observed.get("report", {})
    except ProbeFailure as failure:
        observed, facts = failure, failure.facts.get("report", {})
    except (Exception, SystemExit) as error:
        observed, facts = _broken(f"{probe.target}: the probe itself broke", error), {}
    return _results(probe, policy, observed, deadline.elapsed()), facts


def _results(probe: Probe, policy: Policy, observed: Facts | ProbeFailure, seconds: float) -> list[CheckResult]:
    return [
        result
        for check in probe.checks
        for result in _judged(check, probe, policy.limits(check), observed, int(seconds * 1000))
    ]


def _judged(
    check: Check, probe: Probe, limits: Limits, observed: Facts | ProbeFailure, duration_ms: int
) -> list[CheckResult]:
    try:
        if isinstance(observed, ProbeFailure):
            raise observed
        said = check.judge({**probe.given, **observed}, limits)
        verdicts = said if isinstance(said, list) else [said]
        if not verdicts:
            raise ValueError("it came to no verdict")
        return [_result(check, verdict, probe.target, limits, duration_ms) for verdict in verdicts]
    except ProbeFailure as failure:
        verdict = check.failed(failure)
    except Exception as error:
        verdict = check.failed(_broken(f"{probe.target}: the check itself broke", error))
    return [_result(check, verdict, probe.target, limits, duration_ms)]


def _result(check: Check, verdict: Verdict, target: str, limits: Limits, duration_ms: int) -> CheckResult:
    return CheckResult(
        name=check.name,
        target=verdict.target or target,
        status=verdict.status,
        message=verdict.message,
        value=None if verdict.value is None else round(verdict.value, 3),
        unit=check.unit,
        warning=limits.warning,
        critical=limits.critical,
        error_kind=verdict.error_kind,
        duration_ms=duration_ms,
        source=check.source,
        skipped_reason=verdict.skipped_reason,
    )


def _skipped(entry: Skip) -> CheckResult:
    return _result(entry.check, skipped(entry.reason), entry.target, Limits(), 0)


def _broken(what: str, error: BaseException) -> ProbeFailure:
    return ProbeFailure(INTERNAL, f"{what} ({type(error).__name__}: {error}); please report this")


def _with_attempts(result: CheckResult, history: list[list[CheckResult]]) -> CheckResult:
    attempts = []
    for results in history:
        for earlier in results:
            if (earlier.name, earlier.target) == (result.name, result.target) and earlier.status != SKIPPED:
                keys = ("status", "message", "value", "error_kind", "duration_ms")
                pairs = {key: getattr(earlier, key) for key in keys}
                attempts.append({key: value for key, value in pairs.items() if value is not None})
    return replace(result, attempts=tuple(attempts))


def merge(into: Facts, more: Facts) -> None:
    """Add nested facts to nested facts."""
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value
