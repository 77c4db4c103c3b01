# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""One look at one target: all input and output of the checker, and what the judges say of it."""

from __future__ import annotations

import functools
import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils import _net
from ansible_collections.matrixon.ops.plugins.module_utils._delegation import is_address
from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import SKIPPED, CheckResult
from ansible_collections.matrixon.ops.plugins.module_utils._ssl import files, judge
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.certificate import Certificate
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.handshake import Client
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.judge import Chain
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.model import (
    CONNECTION,
    EXPIRY,
    FILE,
    Endpoint,
    File,
    Finding,
    Policy,
    failed,
    ok,
    skipped,
)
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.pool import Pool
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.resolver import Resolver

OF_ENDPOINT = (
    EXPIRY,
    "certificate_chain",
    "certificate_trust",
    "certificate_name",
    "certificate_key",
    "certificate_signature",
    "certificate_purpose",
)
OF_FILE = (EXPIRY, "certificate_key", "certificate_signature")


@dataclass
class Seen:
    """What one look at one target brought."""

    label: str
    target: str
    findings: list[CheckResult]
    chain: Chain | None = None
    details: dict[str, t.Any] = field(default_factory=dict)


@dataclass
class Tools:
    """What every look needs."""

    client: Client
    http: HttpClient
    resolver: Resolver
    policy: Policy
    timeout: float
    deadline: Deadline
    pool: Pool[Seen]

    def add(self, name: str, look: t.Callable[[Deadline], t.Sequence[Seen]], label: str | None = None) -> None:
        """Put a look into the pool. One that breaks takes no other with it."""

        def job() -> list[Seen]:
            inner = self.deadline.within(self.timeout)
            try:
                return list(look(inner))
            except (Exception, SystemExit) as error:
                broken = ProbeFailure(
                    INTERNAL, f"the check itself broke ({type(error).__name__}: {error}); please report this"
                )
                return [Seen(label or name, name, results([failed(CONNECTION, broken)], name, inner))]

        self.pool.add(name, job)


def results(findings: t.Iterable[Finding], target: str, deadline: Deadline) -> list[CheckResult]:
    """Return findings as the report has them."""
    spent = int(deadline.elapsed() * 1000)
    return [finding.result(target, spent) for finding in findings]


def look_at_endpoint(endpoint: Endpoint, tools: Tools, deadline: Deadline) -> list[Seen]:
    """Find the addresses of an endpoint, and look at each of them by itself."""
    host, port = tools.http.endpoint(endpoint.address or endpoint.host, endpoint.port)
    try:
        addresses = tools.resolver.addresses(host, port, deadline)
    except ProbeFailure as failure:
        return [unreached(endpoint, endpoint.label, failure, deadline)]
    resolved = not is_address(host)
    first, others = addresses[0], addresses[1:]
    for address in others:
        target = target_of(endpoint, address, resolved)
        tools.add(target, functools.partial(look_at_address, endpoint, address, target, tools), endpoint.label)
    return look_at_address(endpoint, first, target_of(endpoint, first, resolved), tools, deadline)


def target_of(endpoint: Endpoint, address: _net.Address, resolved: bool) -> str:
    """Return how the report calls one address of an endpoint."""
    return f"{endpoint.label} at {address.sockaddr[0]}" if resolved else endpoint.label


def unreached(endpoint: Endpoint, target: str, failure: ProbeFailure, deadline: Deadline) -> Seen:
    """Return what is said where nothing was served: the fault once, and that there was nothing else to judge."""
    findings = [failed(CONNECTION, failure, endpoint.required)]
    findings += [skipped(check, "nothing was served") for check in OF_ENDPOINT]
    return Seen(endpoint.label, target, results(findings, target, deadline))


def look_at_address(
    endpoint: Endpoint, address: _net.Address, target: str, tools: Tools, deadline: Deadline
) -> list[Seen]:
    """Shake hands with one address and judge what it serves."""
    try:
        served = tools.client.look(address, endpoint.server_name, endpoint.starttls, deadline)
    except ProbeFailure as failure:
        # The target says where that is already.
        failure.message = failure.message.removeprefix(f"{address}: ")
        return [unreached(endpoint, target, failure, deadline)]
    findings = [ok(CONNECTION, f"{address} answers, with {served.protocol}")]
    findings += judge.of_endpoint(served.chain, endpoint.names, endpoint.why, endpoint.self_signed, tools.policy)
    details = {"address": str(address), "protocol": served.protocol, "expected_names": list(endpoint.names)}
    if endpoint.why:
        details["why"] = endpoint.why
    return [Seen(endpoint.label, target, results(findings, target, deadline), served.chain, details)]


def look_at_file(file: File, tools: Tools, deadline: Deadline) -> list[Seen]:
    """Read one file and judge what it holds."""
    try:
        content = files.read(file)
    except ProbeFailure as failure:
        findings = [files.failing(failure, FILE)]
        asked = {"certificate_name": file.names, "certificate_key_match": file.key, "certificate_served": file.endpoint}
        unseen = [*OF_FILE, *(check for check, given in asked.items() if given)]
        findings += [skipped(check, "the file holds nothing that could be read") for check in unseen]
        return [Seen(file.label, file.label, results(findings, file.label, deadline))]
    chain = content.chain
    count = len(chain.sent)
    findings = [ok(FILE, f"it holds {count} certificate{'s' if count > 1 else ''} as {content.kind}")]
    findings += judge.of_file(chain, file.names, tools.policy)
    match = files.key_match(file, content)
    if match is not None:
        findings.append(match)
    details = {"path": file.path, "format": content.kind}
    return [Seen(file.label, file.label, results(findings, file.label, deadline), chain, details)]


def describe(certificate: Certificate) -> dict[str, t.Any]:
    """Return all that a certificate says of itself; what cannot be read in it is left out."""
    facts = {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "serial": certificate.serial,
        "not_before": stamp(certificate.not_before),
        "fingerprint": certificate.fingerprint,
    }
    for name in ("names", "key", "signature"):
        try:
            facts[name] = getattr(certificate, name)
        except ProbeFailure:
            continue
    return facts


def stamp(when: t.Any) -> str:
    """Return a time as other programs read it."""
    return f"{when:%Y-%m-%dT%H:%M:%SZ}"


def executed(findings: t.Iterable[CheckResult]) -> list[CheckResult]:
    """Return the checks that came to a verdict."""
    return [finding for finding in findings if finding.status != SKIPPED]
