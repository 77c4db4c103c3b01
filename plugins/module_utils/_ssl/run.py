# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""From module options to a report on certificates, without Ansible in it."""

from __future__ import annotations

import datetime
import time
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    PRECEDENCE,
    SKIPPED,
    STATUSES,
    UNKNOWN,
    WARNING,
    CheckResult,
    Report,
)
from ansible_collections.matrixon.ops.plugins.module_utils._ssl import judge, targets
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.handshake import Client
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.model import (
    CONNECTION,
    DAY,
    FILE,
    File,
    Policy,
    worst,
)
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.names import DELEGATION
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.options import (
    Options,
    endpoint_of,
    errors,
    file_of,
    renewal_of,
)
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.pool import Pool
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.resolver import Resolver, parse_server
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.targets import Seen, Tools

# Where one of these failed there was nothing to judge, so it is told even if it was not asked for.
GATES = (CONNECTION, FILE, DELEGATION)


@dataclass(frozen=True)
class Outcome:
    """A finished run."""

    report: Report
    certificates: list[dict[str, t.Any]]
    soonest: dict[str, t.Any] | None
    counts: dict[str, int]


def check_certificates(
    options: Options,
    now: datetime.datetime | None = None,
    clock: t.Callable[[], float] = time.monotonic,
) -> Outcome:
    """Validate the options, look at every target at once, and return what was found.

    Raise OptionErrors before anything is contacted.
    """
    wrong = list(errors(options))
    if wrong:
        raise OptionErrors(wrong)
    deadline = Deadline(options["deadline"], clock)
    started = now or datetime.datetime.now(datetime.timezone.utc)
    policy = policy_of(options, started)
    http = HttpClient(options["connect_to"], options["ca_file"])
    resolver = Resolver([parse_server(server) for server in options["resolvers"]])
    seen = look(options, tools_for(http, policy, options["timeout"], deadline, options["threads"], resolver))
    for one in seen:
        one.findings = _select(one.findings, options["checks"], options["skip_checks"])
    seen = [one for one in seen if one.findings]
    soonest = _soonest(seen, policy)
    report = Report(
        kind="ssl_expiry",
        target=options["target"],
        deployment=options["deployment"],
        profile=options["profile"],
        started=started,
        finished=started + datetime.timedelta(seconds=deadline.elapsed()),
        checks=tuple(finding for one in seen for finding in one.findings),
        facts={"soonest": soonest} if soonest else {},
        unknown_as=options["unknown_as"],
    )
    certificates = [_entry(one, policy, options["detail"]) for one in sorted(seen, key=_order)]
    return Outcome(report, certificates, soonest, _counts(seen))


def policy_of(options: Options, now: datetime.datetime) -> Policy:
    """Return what is asked of every certificate."""
    names = ("warning_days", "critical_days", "warning_share", "critical_share", "min_protocol", "ocsp")
    return Policy(now=now, **{name: options[name] for name in names})


def tools_for(
    http: HttpClient,
    policy: Policy,
    timeout: float,
    deadline: Deadline,
    threads: int = 32,
    resolver: Resolver | None = None,
) -> Tools:
    """Return what every look of one run needs; the HTTP client says what is trusted and where to connect."""
    resolver = resolver or Resolver()
    return Tools(
        client=Client(http.ca_file),
        http=replace(http, resolve=resolver.addresses),
        resolver=resolver,
        policy=policy,
        timeout=timeout,
        deadline=deadline,
        pool=Pool(threads, deadline),
    )


def look(options: Options, tools: Tools) -> list[Seen]:
    """Look at every target, and return what was seen of it by the deadline."""
    held = [file_of(given) for given in options["files"]]
    for given in options["endpoints"]:
        targets.add_endpoint(endpoint_of(given), tools)
    for file in held:
        targets.add_file(file, tools)
    for server_name in options["server_names"]:
        targets.add_server_name(server_name, tools)
    for given in options["renewal"]:
        targets.add_renewal(renewal_of(given), tools)
    seen = tools.collect()
    for file in held:
        if file.endpoint is not None:
            _hold_against(file, seen)
    return seen


def _hold_against(file: File, seen: list[Seen]) -> None:
    """Add what is said of a file and the endpoint that should serve it: the worst of its addresses."""
    held = next((one for one in seen if one.label == file.label), None)
    if held is None or held.chain is None:
        return
    looked = [one for one in seen if one.label == file.endpoint and worst(one.findings) != SKIPPED]
    found = [judge.served(held.chain, one.target, one.chain) for one in looked]
    if found:
        first = min(found, key=lambda finding: PRECEDENCE.index(finding.status))
        held.findings.append(first.result(file.label, 0))


def _select(findings: list[CheckResult], wanted: list[str] | None, skips: dict[str, str]) -> list[CheckResult]:
    """Drop what was not asked for, and turn what is to be skipped into a skip with its reason."""
    selected = []
    for finding in findings:
        if finding.name in skips:
            reason = skips[finding.name]
            finding = replace(finding, status=SKIPPED, message=reason, error_kind=None, skipped_reason=reason)
        gate = finding.name in GATES and finding.status not in (OK, SKIPPED)
        if wanted is None or finding.name in wanted or gate:
            selected.append(finding)
    return selected


def _order(seen: Seen) -> tuple[int, str]:
    """Return a sort key: worst first."""
    return (CRITICAL, UNKNOWN, WARNING, OK, SKIPPED).index(worst(seen.findings)), seen.target


def _counts(seen: list[Seen]) -> dict[str, int]:
    """Return how many targets have each status."""
    counts = dict.fromkeys(STATUSES, 0)
    for one in seen:
        counts[worst(one.findings)] += 1
    return counts


def _soonest(seen: list[Seen], policy: Policy) -> dict[str, t.Any] | None:
    """Return the certificate that ends first of all."""
    found = [(one.chain.soonest.not_after, one.target, one.chain.soonest) for one in seen if one.chain]
    if not found:
        return None
    dummy, target, first = min(found, key=lambda item: item[:2])
    return {
        "target": target,
        "subject": first.subject,
        "not_after": targets.stamp(first.not_after),
        "days": round(judge.seconds_left(first, policy) / DAY, 1),
    }


def _entry(seen: Seen, policy: Policy, detail: str) -> dict[str, t.Any]:
    """Return what is told of one target: in full where something is wrong, else in short."""
    status = worst(seen.findings)
    entry: dict[str, t.Any] = {"target": seen.target, "status": status}
    if seen.chain is None:
        return {**entry, **seen.details}
    soonest = seen.chain.soonest
    entry["not_after"] = targets.stamp(soonest.not_after)
    entry["days"] = round(judge.seconds_left(soonest, policy) / DAY, 1)
    if status == OK and detail != "full":
        return entry
    chain = [
        {
            "subject": one.subject,
            "not_after": targets.stamp(one.not_after),
            "needed": one in seen.chain.needed,
            "sent": one in seen.chain.sent,
        }
        for one in dict.fromkeys((*seen.chain.sent, *seen.chain.needed))
    ]
    return {**targets.describe(seen.chain.leaf), **entry, **seen.details, "chain": chain}
