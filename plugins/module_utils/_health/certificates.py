# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Certificates of endpoints, of files, and of where server names lead: the checks of matrixon_ssl_expiry."""

from __future__ import annotations

import functools
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._health.model import (
    Check,
    Context,
    Judge,
    Limits,
    Plan,
    Probe,
    Verdict,
    skipped,
)
from ansible_collections.matrixon.ops.plugins.module_utils._health.validate import seconds_errors
from ansible_collections.matrixon.ops.plugins.module_utils._probe import MISSING_TOOL, Deadline, Facts, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import SKIPPED, UNKNOWN, CheckResult
from ansible_collections.matrixon.ops.plugins.module_utils._ssl import model
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.model import DAY, EXPIRY, Policy
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.options import (
    LIMITS_SPEC,
    TARGETS_SPEC,
    limit_errors,
    target_errors,
)

SPEC: dict[str, t.Any] = {**TARGETS_SPEC, **LIMITS_SPEC, "timeout": {"type": "float", "default": 5}}

# What is asked only where an operator wants it stays with the module that has the options for it.
NOT_ASKED = ("certificate_protocol", "certificate_ocsp")
# What is not done by then is told by name, before the total deadline takes the whole probe.
SHARE = 0.9


def _judge(name: str, facts: Facts, limits: Limits) -> Verdict | list[Verdict]:
    found: list[CheckResult] = [finding for finding in facts["findings"] if finding.name == name]
    return [_verdict(finding) for finding in found] or skipped("nothing here asks for it")


def _verdict(finding: CheckResult) -> Verdict:
    if finding.status == SKIPPED and finding.name == EXPIRY:
        # Certificates that could not be seen are not good until then.
        return Verdict(UNKNOWN, f"not measured: {finding.message}", target=finding.target)
    return Verdict(
        finding.status, finding.message, finding.value, finding.target, finding.error_kind, finding.skipped_reason
    )


def _judge_of(name: str) -> Judge:
    return functools.partial(_judge, name)


CHECKS = tuple(
    Check(name, summary, _judge_of(name), unit="s" if name == EXPIRY else None, below=name == EXPIRY, fixed=True)
    for name, summary in model.CHECKS.items()
    if name not in NOT_ASKED
)


def validate(options: dict[str, t.Any]) -> t.Iterator[str]:
    """Yield what is wrong with the options."""
    yield from target_errors(options, "certificates.")
    yield from limit_errors(options, "certificates.")
    yield from seconds_errors("certificates.timeout", options["timeout"])


def plan(options: dict[str, t.Any], context: Context) -> Plan:
    """Return the one probe that feeds every check: it looks at all targets at once."""
    # It ends with the total deadline alone; each target has a timeout of its own.
    return [Probe("certificates", CHECKS, functools.partial(_observe, options, context), timeout=DAY, heavy=True)]


def _observe(options: dict[str, t.Any], context: Context, deadline: Deadline) -> Facts:
    # Only who looks at certificates pays for the library that reads them.
    from ansible_collections.matrixon.ops.plugins.module_utils._ssl.certificate import HAS_CRYPTOGRAPHY
    from ansible_collections.matrixon.ops.plugins.module_utils._ssl.run import look, tools_for

    if not HAS_CRYPTOGRAPHY:
        raise ProbeFailure(
            MISSING_TOOL, "certificates cannot be read without cryptography (package python3-cryptography)"
        )
    policy = Policy(context.now, **{name: options[name] for name in LIMITS_SPEC})
    inner = deadline.within(deadline.remaining() * SHARE)
    seen = look(options, tools_for(context.http, policy, options["timeout"], inner))
    return {"findings": [finding for one in seen for finding in one.findings]}
