# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What is wrong with certificates: facts in, findings out. Nothing is contacted or read here."""

from __future__ import annotations

import datetime
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils import _certificates as pki
from ansible_collections.matrixon.ops.plugins.module_utils._probe import MISSING_TOOL, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import CRITICAL, OK, UNKNOWN, WARNING
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.certificate import Certificate
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.model import (
    DAY,
    EXPIRY,
    Finding,
    Policy,
    critical,
    failed,
    ok,
    skipped,
    warning,
)

# What OpenSSL says when it finds no issuer: X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY and
# UNABLE_TO_VERIFY_LEAF_SIGNATURE; and UNABLE_TO_GET_ISSUER_CERT where it is that of an authority that was given.
NO_ISSUER, NO_ROOT = (20, 21), 2
# It finds a chain to an anchor before it looks at purpose and dates, so these speak for the trust.
NOT_YET_VALID, EXPIRED, WRONG_PURPOSE = 9, 10, 26
SELF_SIGNED_LEAF, SELF_SIGNED_IN_CHAIN = 18, 19
# None of OpenSSL's: this host trusts nobody at all, which says nothing of the chain.
NO_ANCHOR = -1


class Distrust(t.NamedTuple):
    """Why OpenSSL did not accept a chain."""

    code: int
    message: str


@dataclass(frozen=True)
class Chain:
    """Certificates as they were found, the one of the server first.

    ``needed`` are those that a client needs, from the server's to the last one that was found.
    ``complete`` is false where this Python cannot show more than the server's own. ``distrust`` is
    None where OpenSSL accepted them.
    """

    sent: tuple[Certificate, ...]
    needed: tuple[Certificate, ...]
    complete: bool = True
    distrust: Distrust | None = None

    @property
    def leaf(self) -> Certificate:
        """Return the certificate of the server."""
        return self.sent[0]

    @property
    def soonest(self) -> Certificate:
        """Return the needed one that ends first."""
        return min(self.needed, key=lambda one: one.not_after)

    @property
    def extra(self) -> list[Certificate]:
        """Return what was sent and is not needed."""
        return [one for one in self.sent if one not in self.needed]


Judge = t.Callable[[], Finding]


def guarded(check: str, judge: Judge) -> Finding:
    """Return what a judge says; what it could not read in a certificate is a bad fact of its own."""
    try:
        return judge()
    except ProbeFailure as failure:
        return failed(check, failure)


def days(seconds: float) -> str:
    """Return a number of days with one decimal."""
    return f"{seconds / DAY:.1f} days"


def moment(when: datetime.datetime) -> str:
    """Return a time as people read it."""
    return f"{when:%Y-%m-%d %H:%M} UTC"


def seconds_left(certificate: Certificate, policy: Policy) -> float:
    """Return the seconds until a certificate ends."""
    return (certificate.not_after - policy.now).total_seconds()


def expiry(chain: Chain, policy: Policy) -> Finding:
    """Judge when each needed certificate ends. The worst decides, and of those the one that ends first."""
    order = (OK, WARNING, CRITICAL)
    found = [_expiry_of(one, chain, policy) for one in sorted(chain.needed, key=lambda one: one.not_after)]
    return max(found, key=lambda finding: order.index(finding.status))


def _expiry_of(one: Certificate, chain: Chain, policy: Policy) -> Finding:
    left = seconds_left(one, policy)
    warn, crit = policy.limits(one.lifetime)
    what = called(one, chain)
    if left <= 0:
        status, message = CRITICAL, f"{what} expired {days(abs(left))} ago, on {moment(one.not_after)}"
    elif one.not_before > policy.now:
        wait = (one.not_before - policy.now).total_seconds()
        status = CRITICAL
        message = f"{what} is not valid for another {days(wait)}, until {moment(one.not_before)}"
    else:
        status = CRITICAL if left <= crit else WARNING if left <= warn else OK
        message = f"{what} expires in {days(left)}, on {moment(one.not_after)}"
    return Finding(EXPIRY, status, message, value=left, warning=warn, critical=crit)


def called(one: Certificate, chain: Chain) -> str:
    """Return how a certificate of a chain is called."""
    if one == chain.leaf:
        return "the certificate" if len(chain.sent) == 1 or not one.is_authority else f"'{one.subject}'"
    if one not in chain.sent:
        return f"the authority '{one.subject}'"
    if not one.is_authority:
        return f"the certificate of '{one.subject}'"
    return f"the {'authority' if one.self_issued else 'intermediate'} '{one.subject}'"


def sent_chain(chain: Chain, policy: Policy) -> Finding:
    """Judge what a server sent: enough, in order, nothing that has ended."""
    check = "certificate_chain"
    if not chain.complete:
        message = "this Python cannot show the chain that was sent; from 3.10 on it can"
        return Finding(check, UNKNOWN, message, error_kind=MISSING_TOOL)
    if lacks_intermediate(chain):
        return critical(check, _missing(chain))
    unsent = [one for one in chain.needed if one not in chain.sent and not one.self_issued]
    if unsent:
        return warning(
            check,
            f"the intermediate '{unsent[0].subject}' is not sent: this host knows it already, and a client that does "
            "not refuses the certificate; serve the full chain",
        )
    return ordered(chain, policy)


def _missing(chain: Chain) -> str:
    """Say what is missing between the server's certificate and an authority."""
    issuer = chain.leaf.issuer
    if any(one.subject == issuer for one in chain.sent[1:]):
        return (
            f"the '{issuer}' that is sent with it did not issue it: another authority of that name, with another key, "
            "did; serve the full chain that came with the certificate"
        )
    what = (
        "only the server's own certificate is sent"
        if len(chain.sent) == 1
        else "nothing that is sent with it issued it"
    )
    return (
        f"{what}, and its issuer '{issuer}' is no authority that is trusted here: the intermediate is missing; "
        "serve the full chain"
    )


def lacks_intermediate(chain: Chain) -> bool:
    """Say whether the issuer of the server's certificate was neither sent nor known."""
    if chain.distrust is None or chain.distrust.code not in NO_ISSUER:
        return False
    return chain.complete and len(chain.needed) == 1 and not chain.leaf.self_issued


def ordered(chain: Chain, policy: Policy) -> Finding:
    """Judge the order of certificates, and those that nobody needs."""
    check = "certificate_chain"
    ended = [one for one in chain.extra if seconds_left(one, policy) <= 0]
    if ended:
        count = f" and {len(ended) - 1} more" if len(ended) > 1 else ""
        return warning(
            check,
            f"{called(ended[0], chain)}{count} expired on {moment(ended[0].not_after)}: no client needs it, but some "
            "trip over it; leave it out",
        )
    found = [one for one in dict.fromkeys(chain.sent) if one in chain.needed]
    wanted = [one for one in chain.needed if one in chain.sent]
    if found != wanted:
        first = next(one for one, right in zip(found, wanted) if one != right)
        return warning(
            check,
            f"the chain is out of order, from '{first.subject}' on: some clients do not put it right; "
            "serve the certificate first, then each one's issuer",
        )
    extra = f", {len(chain.extra)} of them not needed" if chain.extra else ""
    return ok(
        check,
        f"{len(chain.sent)} certificates in order{extra}" if len(chain.sent) > 1 else "one certificate",
    )


def trust(chain: Chain, policy: Policy, self_signed: bool = False) -> Finding:
    """Judge whether the chain leads to an authority that is trusted. Dates, names and purpose have their own checks."""
    check = "certificate_trust"
    last = chain.needed[-1]
    distrust = chain.distrust
    if distrust is None:
        root = (
            f"'{last.subject if last.self_issued else last.issuer}', which" if chain.complete else "an authority that"
        )
        return ok(check, f"it leads to {root} is trusted")
    if distrust.code == SELF_SIGNED_LEAF:
        if self_signed:
            return ok(check, "it is signed by itself, which is accepted here")
        return critical(check, f"it is signed by itself ('{chain.leaf.subject}'), and no client trusts that")
    if distrust.code == NO_ANCHOR:
        return Finding(check, UNKNOWN, f"not measured: {distrust.message}", error_kind=MISSING_TOOL)
    if not chain.complete and distrust.code in (SELF_SIGNED_IN_CHAIN, *NO_ISSUER):
        return critical(check, f"it leads to no authority that is trusted here: {distrust.message}")
    if distrust.code == SELF_SIGNED_IN_CHAIN:
        root = last.subject if last.self_issued else last.issuer
        return critical(check, f"it leads to '{root}', which is no authority that is trusted here")
    if distrust.code == NO_ROOT:
        return critical(
            check, f"it leads to '{last.issuer}', which is trusted here but is no root; give its issuer too"
        )
    if distrust.code in NO_ISSUER:
        if lacks_intermediate(chain):
            return skipped(check, "the chain is not complete, so it leads nowhere (see certificate_chain)")
        return critical(
            check, f"it leads to '{last.issuer}', which was not sent and is no authority that is trusted here"
        )
    if distrust.code in (NOT_YET_VALID, EXPIRED):
        return _trust_despite_dates(chain, policy, distrust)
    if distrust.code == WRONG_PURPOSE and chain.leaf.unfit:
        return skipped(check, "OpenSSL looks at no signature before the purpose is right (see certificate_purpose)")
    return critical(check, f"it is not accepted: {distrust.message}")


def _trust_despite_dates(chain: Chain, policy: Policy, distrust: Distrust) -> Finding:
    check = "certificate_trust"
    if any(one.not_before > policy.now or seconds_left(one, policy) <= 0 for one in chain.needed):
        return ok(check, "it leads to an authority that is trusted; that it is out of its time has a check of its own")
    last = chain.needed[-1]
    verb = "has expired" if distrust.code == EXPIRED else "is not valid yet"
    return critical(check, f"it leads to '{last.issuer}', an authority that {verb}")


def name(chain: Chain, expected: t.Sequence[str], why: str | None) -> Finding:
    """Judge whether it is for every name that clients ask for."""
    check = "certificate_name"
    if not expected:
        return skipped(check, "no name is expected of it")
    have = chain.leaf.names
    missing = [wanted for wanted in expected if not covers(have, wanted)]
    reason = f" ({why})" if why else ""
    if not missing:
        return ok(check, f"it is for {', '.join(expected)}{reason}")
    if not have:
        return critical(
            check,
            f"it has no subject alternative name, where clients look; it must be for {', '.join(missing)}{reason}",
        )
    shown = ", ".join(have[:10]) + (f" and {len(have) - 10} more" if len(have) > 10 else "")
    return critical(check, f"it is for {shown}, and not for {', '.join(missing)}{reason}")


def covers(names: t.Sequence[str], wanted: str) -> bool:
    """Return whether one of the names stands for this one, as OpenSSL sees it: no wildcard for a whole top level."""
    return pki.covers([one for one in names if not one.startswith("*.") or one.count(".") > 1], wanted)


def key(chain: Chain) -> Finding:
    """Judge the keys of the server and of those above it."""
    check = "certificate_key"
    for one in chain.needed:
        if one.weak_key:
            return critical(check, f"{called(one, chain)} has {one.weak_key}")
    return ok(check, f"its key is {chain.leaf.key}")


def signature(chain: Chain) -> Finding:
    """Judge the hashes that were signed. What a root signed itself with is not looked at by anybody."""
    check = "certificate_signature"
    for one in chain.needed:
        root = one.self_issued and one.is_authority
        if one.weak_hash and not root:
            return critical(check, f"{called(one, chain)} is signed with {one.weak_hash.upper()}, which can be forged")
    return ok(check, f"it is signed with {chain.leaf.signature}")


def purpose(chain: Chain) -> Finding:
    """Judge whether a server may use it."""
    check = "certificate_purpose"
    why = chain.leaf.unfit
    return critical(check, f"no server may use it: {why}") if why else ok(check, "a server may use it")


def served(held: Chain, at: str, found: Chain | None) -> Finding:
    """Judge whether an endpoint serves the certificate that a file holds."""
    check = "certificate_served"
    if found is None:
        return Finding(check, UNKNOWN, f"not measured: {at} served nothing to compare it with")
    ours, theirs = held.leaf, found.leaf
    if ours == theirs:
        return ok(check, f"{at} serves it")
    if theirs.not_before < ours.not_before:
        return warning(
            check,
            f"{at} serves an older certificate, which ends on {moment(theirs.not_after)}, and not the one in the file, "
            f"which ends on {moment(ours.not_after)}: a reload was forgotten",
        )
    return warning(
        check,
        f"{at} serves another certificate, serial {theirs.serial}, valid from {moment(theirs.not_before)} on, and not "
        f"the one in the file, serial {ours.serial}: it reads another file",
    )


def of_file(chain: Chain, expected: t.Sequence[str], policy: Policy) -> list[Finding]:
    """Judge the certificates of a file. Nobody was asked whether they are trusted."""
    judges: dict[str, Judge] = {
        EXPIRY: lambda: expiry(chain, policy),
        "certificate_key": lambda: key(chain),
        "certificate_signature": lambda: signature(chain),
    }
    if not chain.leaf.is_authority:
        judges["certificate_chain"] = lambda: ordered(chain, policy)
        judges["certificate_purpose"] = lambda: purpose(chain)
    if expected:
        judges["certificate_name"] = lambda: name(chain, expected, None)
    return [guarded(check, judge) for check, judge in judges.items()]


def of_endpoint(
    chain: Chain, expected: t.Sequence[str], why: str | None, self_signed: bool, policy: Policy
) -> list[Finding]:
    """Judge the certificates that an endpoint served."""
    judges: dict[str, Judge] = {
        EXPIRY: lambda: expiry(chain, policy),
        "certificate_chain": lambda: sent_chain(chain, policy),
        "certificate_trust": lambda: trust(chain, policy, self_signed),
        "certificate_name": lambda: name(chain, expected, why),
        "certificate_key": lambda: key(chain),
        "certificate_signature": lambda: signature(chain),
        "certificate_purpose": lambda: purpose(chain),
    }
    return [guarded(check, judge) for check, judge in judges.items()]
