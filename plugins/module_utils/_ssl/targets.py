# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""One look at one target: all input and output of the checker, and what the judges say of it."""

from __future__ import annotations

import errno
import functools
import socket
import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils import _net
from ansible_collections.matrixon.ops.plugins.module_utils._delegation import discover, is_address
from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, TIMEOUT, Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import CheckResult
from ansible_collections.matrixon.ops.plugins.module_utils._ssl import files, judge, names, probes
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
    Renewal,
    failed,
    ok,
    skipped,
)
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.names import DELEGATION
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.pool import Pool
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.probes import OCSP, PROTOCOL, STAPLE
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.renewal import RENEWAL, observe
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.renewal import judge as judge_renewal
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.resolver import Resolver

OF_ENDPOINT = (
    EXPIRY,
    "certificate_chain",
    "certificate_trust",
    "certificate_name",
    "certificate_key",
    "certificate_signature",
    "certificate_purpose",
    STAPLE,
)
NO_WAY = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
NO_IPV6 = "this host has no IPv6 to reach it with"
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
    """What every look needs. ``unseen`` tells by job what is said where it does not come to an end."""

    client: Client
    http: HttpClient
    resolver: Resolver
    policy: Policy
    timeout: float
    deadline: Deadline
    pool: Pool[Seen]
    unseen: dict[str, t.Callable[[ProbeFailure, Deadline], Seen]] = field(default_factory=dict)

    def add(
        self,
        name: str,
        look: t.Callable[[Deadline], list[Seen]],
        unseen: t.Callable[[ProbeFailure, Deadline], Seen],
    ) -> None:
        """Put a look into the pool. One that breaks takes no other with it."""
        self.unseen[name] = unseen

        def job() -> list[Seen]:
            inner = self.deadline.within(self.timeout)
            try:
                return look(inner)
            except (Exception, SystemExit) as error:
                what = f"the check itself broke ({type(error).__name__}: {error}); please report this"
                return [unseen(ProbeFailure(INTERNAL, what), inner)]

        self.pool.add(name, job)

    def collect(self) -> list[Seen]:
        """Return what was seen of every target, and of those that were not done in time that they were not."""
        seen, late = self.pool.collect()
        failure = ProbeFailure(TIMEOUT, f"not finished when the total deadline of {self.deadline.seconds:g} s ended")
        return seen + [self.unseen[name](failure, self.deadline) for name in late]


def add_endpoint(endpoint: Endpoint, tools: Tools) -> None:
    """Have an endpoint looked at."""
    look = functools.partial(look_at_endpoint, endpoint, tools)
    tools.add(endpoint.label, look, functools.partial(unreached, endpoint, endpoint.label, tools.policy))


def add_file(file: File, tools: Tools) -> None:
    """Have a file looked at."""
    tools.add(file.label, functools.partial(look_at_file, file, tools), functools.partial(unread, file))


def add_server_name(server_name: str, tools: Tools) -> None:
    """Have a server name resolved, and looked at where it leads."""
    look = functools.partial(look_at_server_name, server_name, tools)
    tools.add(server_name, look, functools.partial(alone, DELEGATION, server_name))


def add_renewal(renewal: Renewal, tools: Tools) -> None:
    """Have a timer looked at."""
    look = functools.partial(look_at_renewal, renewal)
    tools.add(renewal.timer, look, functools.partial(alone, RENEWAL, renewal.timer))


def alone(check: str, target: str, failure: ProbeFailure, deadline: Deadline) -> Seen:
    """Return what is said of a target with one check that failed."""
    return Seen(target, target, results([failed(check, failure)], target, deadline))


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
        return [unreached(endpoint, endpoint.label, tools.policy, failure, deadline)]
    resolved = not is_address(host)
    dual = len({address.family for address in addresses}) > 1
    looks = []
    for address in addresses:
        target, spare = target_of(endpoint, address, resolved), dual and address.family == socket.AF_INET6
        looks.append((target, functools.partial(look_at_address, endpoint, address, target, tools, spare=spare)))
    for target, look in looks[1:]:
        tools.add(target, look, functools.partial(unreached, endpoint, target, tools.policy))
    return looks[0][1](deadline)


def target_of(endpoint: Endpoint, address: _net.Address, resolved: bool) -> str:
    """Return how the report calls one address of an endpoint."""
    return f"{endpoint.label} at {address.sockaddr[0]}" if resolved else endpoint.label


def unreached(endpoint: Endpoint, target: str, policy: Policy, failure: ProbeFailure, deadline: Deadline) -> Seen:
    """Return what is said where nothing was served: the fault once, and that there was nothing else to judge."""
    findings = [failed(CONNECTION, failure, endpoint.required)]
    findings += [skipped(check, "nothing was served") for check in asked_of(policy)]
    return Seen(endpoint.label, target, results(findings, target, deadline))


def asked_of(policy: Policy) -> tuple[str, ...]:
    """Return the checks of an endpoint beside the one of its connection."""
    return (*OF_ENDPOINT, *((PROTOCOL,) if policy.min_protocol else ()), *((OCSP,) if policy.ocsp else ()))


def _no_way(failure: ProbeFailure) -> bool:
    """Say whether this host itself has no way to an address, which says nothing of the other end."""
    return isinstance(failure.__cause__, OSError) and failure.__cause__.errno in NO_WAY


def look_at_address(
    endpoint: Endpoint, address: _net.Address, target: str, tools: Tools, deadline: Deadline, spare: bool = False
) -> list[Seen]:
    """Shake hands with one address and judge what it serves.

    ``spare`` marks an IPv6 address of an endpoint that has one of IPv4 too, so that a host without IPv6 passes it over.
    """
    try:
        served = tools.client.look(address, endpoint.server_name, endpoint.starttls, deadline)
    except ProbeFailure as failure:
        if spare and _no_way(failure):
            findings = [skipped(check, NO_IPV6) for check in (CONNECTION, *asked_of(tools.policy))]
            return [Seen(endpoint.label, target, results(findings, target, deadline))]
        # The target says where that is already.
        failure.message = failure.message.removeprefix(f"{address}: ")
        return [unreached(endpoint, target, tools.policy, failure, deadline)]
    findings = [ok(CONNECTION, f"{address} answers, with {served.protocol}")]
    findings += judge.of_endpoint(served.chain, endpoint.names, endpoint.why, endpoint.self_signed, tools.policy)
    findings += _beyond(endpoint, address, served.chain, tools, deadline)
    details = {"address": str(address), "protocol": served.protocol, "expected_names": list(endpoint.names)}
    if endpoint.why:
        details["why"] = endpoint.why
    return [Seen(endpoint.label, target, results(findings, target, deadline), served.chain, details)]


def _beyond(
    endpoint: Endpoint, address: _net.Address, chain: Chain, tools: Tools, deadline: Deadline
) -> t.Iterator[Finding]:
    """Ask what no handshake tells, where it was asked for."""
    policy = tools.policy
    yield judge.guarded(STAPLE, lambda: probes.staple(endpoint, address, chain, policy.now, deadline))
    if policy.min_protocol:
        yield probes.protocol(endpoint, address, policy.min_protocol, deadline)
    if policy.ocsp:
        yield probes.revocation(chain, tools.http, policy.now, deadline)


def look_at_server_name(server_name: str, tools: Tools, deadline: Deadline) -> list[Seen]:
    """Follow the rules of Matrix, and have what they lead to looked at with its own time."""
    try:
        found = discover(server_name, tools.http, tools.resolver.srv, deadline)
    except ProbeFailure as failure:
        return [alone(DELEGATION, server_name, failure, deadline)]
    for endpoint in names.endpoints_of(server_name, found):
        add_endpoint(endpoint, tools)
    return [Seen(server_name, server_name, results([names.delegation(server_name, found)], server_name, deadline))]


def look_at_renewal(renewal: Renewal, deadline: Deadline) -> list[Seen]:
    """Ask systemd about a timer, and read when what it renews ends."""
    try:
        state = observe(renewal, deadline)
        ends = {path: files.read(File(path, path)).chain.soonest.not_after for path in renewal.files}
    except ProbeFailure as failure:
        return [alone(RENEWAL, renewal.timer, failure, deadline)]
    finding = judge_renewal(renewal, state, ends)
    return [Seen(renewal.timer, renewal.timer, results([finding], renewal.timer, deadline))]


def look_at_file(file: File, tools: Tools, deadline: Deadline) -> list[Seen]:
    """Read one file and judge what it holds."""
    try:
        content = files.read(file)
    except ProbeFailure as failure:
        return [unread(file, failure, deadline)]
    chain = content.chain
    count = len(chain.sent)
    findings = [ok(FILE, f"it holds {count} certificate{'s' if count > 1 else ''} as {content.kind}")]
    findings += judge.of_file(chain, file.names, tools.policy)
    match = files.key_match(file, content)
    if match is not None:
        findings.append(match)
    details = {"path": file.path, "format": content.kind}
    return [Seen(file.label, file.label, results(findings, file.label, deadline), chain, details)]


def unread(file: File, failure: ProbeFailure, deadline: Deadline) -> Seen:
    """Return what is said of a file without certificates: the fault once, and that there was nothing else to judge."""
    asked = {"certificate_name": file.names, files.MATCH: file.key, "certificate_served": file.endpoint}
    unseen = [*OF_FILE, *(check for check, given in asked.items() if given)]
    findings = [files.failing(failure, FILE)]
    findings += [skipped(check, "the file holds nothing that could be read") for check in unseen]
    return Seen(file.label, file.label, results(findings, file.label, deadline))


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
