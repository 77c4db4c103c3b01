# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The words of the certificate checker: target, limits, finding."""

from __future__ import annotations

import datetime
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    DNS,
    PARSE,
    REFUSED,
    TIMEOUT,
    TLS,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    SKIPPED,
    UNKNOWN,
    WARNING,
    CheckResult,
)

DAY = 86400
EXPIRY = "certificate_expiry"

CONNECTION = "certificate_connection"
FILE = "certificate_file"

# Each check with one line of meaning, in the order in which they are judged.
CHECKS = {
    CONNECTION: "the endpoint answers and speaks TLS",
    FILE: "the file is there and holds certificates",
    "certificate_delegation": "the server name leads somewhere, by the rules of Matrix",
    EXPIRY: "the certificate and all that it needs are valid, and for long enough",
    "certificate_chain": "every certificate that a client needs is sent, in order, and none that has ended",
    "certificate_trust": "the chain leads to an authority that is trusted",
    "certificate_name": "it is for every name that clients ask for",
    "certificate_key": "its key, and those above it, are long enough",
    "certificate_signature": "no signature in the chain is made with a broken hash",
    "certificate_purpose": "a server may use it",
    "certificate_staple": "a certificate that asks for a stapled answer comes with one",
    "certificate_protocol": "a protocol older than wanted is refused",
    "certificate_ocsp": "its authority has not revoked it",
    "certificate_key_match": "the private key is the one of the certificate",
    "certificate_served": "what is served is what the file holds",
    "certificate_renewal": "the timer that renews it runs, did well, and runs again in time",
}


@dataclass(frozen=True)
class Policy:
    """What is asked of every certificate, and the time it is asked at."""

    now: datetime.datetime
    warning_days: float = 30
    critical_days: float = 14
    warning_share: float = 1 / 3
    critical_share: float = 1 / 6
    min_protocol: str | None = None
    ocsp: bool = False

    def limits(self, lifetime: float) -> tuple[float, float]:
        """Return the seconds left from which it warns and is critical: a short life has shorter ones."""
        return (
            min(self.warning_days * DAY, self.warning_share * lifetime),
            min(self.critical_days * DAY, self.critical_share * lifetime),
        )


@dataclass(frozen=True)
class Endpoint:
    """One host and port, and what is expected there. ``why`` tells where an expected name comes from."""

    label: str
    host: str
    port: int
    server_name: str
    names: tuple[str, ...]
    starttls: str | None = None
    address: str | None = None
    self_signed: bool = False
    required: bool = False
    why: str | None = None


@dataclass(frozen=True)
class File:
    """One file with certificates, and what is expected of it."""

    label: str
    path: str
    password_file: str | None = None
    key: str | None = None
    names: tuple[str, ...] = ()
    endpoint: str | None = None


@dataclass(frozen=True)
class Renewal:
    """A timer, the service that it starts if that is not the timer's own, and the files that it renews."""

    timer: str
    service: str | None = None
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """What one check says of one target."""

    check: str
    status: str
    message: str
    value: float | None = None
    warning: float | None = None
    critical: float | None = None
    error_kind: str | None = None

    def result(self, target: str, duration_ms: int) -> CheckResult:
        """Return it as the report has it."""
        skip = self.status == SKIPPED
        return CheckResult(
            name=self.check,
            target=target,
            status=self.status,
            message=self.message if skip else f"{target}: {self.message}",
            value=None if self.value is None else round(self.value, 3),
            unit="s" if self.check == EXPIRY else None,
            warning=None if self.warning is None else round(self.warning),
            critical=None if self.critical is None else round(self.critical),
            error_kind=self.error_kind,
            duration_ms=duration_ms,
            skipped_reason=self.message if skip else None,
        )


def ok(check: str, message: str) -> Finding:
    """Return a good verdict."""
    return Finding(check, OK, message)


def warning(check: str, message: str) -> Finding:
    """Return a warning."""
    return Finding(check, WARNING, message)


def critical(check: str, message: str, kind: str | None = None) -> Finding:
    """Return a critical verdict."""
    return Finding(check, CRITICAL, message, error_kind=kind)


def skipped(check: str, reason: str) -> Finding:
    """Return the verdict of a check that has nothing to look at."""
    return Finding(check, SKIPPED, reason)


def failed(check: str, failure: ProbeFailure, required: bool = False) -> Finding:
    """Return the verdict where nothing could be seen: bad only where that itself was seen to be bad."""
    bad = failure.kind in (REFUSED, TLS, PARSE)
    bad = bad or (failure.kind == DNS and failure.facts.get("nonexistent", False))
    bad = bad or (failure.kind == TIMEOUT and required)
    return Finding(check, CRITICAL if bad else UNKNOWN, failure.message, error_kind=failure.kind)


def worst(findings: t.Iterable[CheckResult]) -> str:
    """Return the worst status, skipped only where all are."""
    order = (CRITICAL, UNKNOWN, WARNING, OK, SKIPPED)
    found = {finding.status for finding in findings}
    return next((status for status in order if status in found), UNKNOWN)
