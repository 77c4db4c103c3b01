# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The deployment's names at each of their authoritative name servers: the checks of matrixon_dns_info."""

from __future__ import annotations

import functools
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._dns import model
from ansible_collections.matrixon.ops.plugins.module_utils._dns.options import LOOK_SPEC, look_errors
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
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, Facts
from ansible_collections.matrixon.ops.plugins.module_utils._report import CheckResult

SPEC: dict[str, t.Any] = LOOK_SPEC

DAY = 86400.0
# What is not done by then is told by name, before the total deadline takes the whole probe.
SHARE = 0.9


def _judge(name: str, facts: Facts, limits: Limits) -> Verdict | list[Verdict]:
    found: list[CheckResult] = [finding for finding in facts["findings"] if finding.name == name]
    return [
        Verdict(one.status, one.message, one.value, one.target, one.error_kind, one.skipped_reason) for one in found
    ] or skipped(f"no zone of these names was found, which {model.RECORD} tells")


def _judge_of(name: str) -> Judge:
    return functools.partial(_judge, name)


CHECKS = tuple(
    Check(name, summary, _judge_of(name), unit="s" if name == model.TTL else None, fixed=True)
    for name, summary in model.CHECKS.items()
)


def validate(options: dict[str, t.Any]) -> t.Iterator[str]:
    """Yield what is wrong with the options."""
    yield from look_errors(options, "dns.")


def plan(options: dict[str, t.Any], context: Context) -> Plan:
    """Return the one probe that feeds every check: it asks all servers at once."""
    # It ends with the total deadline alone; each question has a timeout of its own.
    return [Probe("dns", CHECKS, functools.partial(_observe, options, context), timeout=DAY)]


def _observe(options: dict[str, t.Any], context: Context, deadline: Deadline) -> Facts:
    # Only who asks name servers pays for the library that speaks with them.
    from ansible_collections.matrixon.ops.plugins.module_utils._dns.judge import judge
    from ansible_collections.matrixon.ops.plugins.module_utils._dns.look import look
    from ansible_collections.matrixon.ops.plugins.module_utils._dns.run import policy_of, tools_for

    tools = tools_for(options, context.http.connect_to, deadline.within(deadline.remaining() * SHARE))
    observed = look([model.wanted_of(given) for given in options["records"]], tools)
    return {"findings": judge(observed, policy_of(options))}
