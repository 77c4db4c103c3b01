# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What is asked of an endpoint beyond its certificate: an older protocol, a stapled answer, OCSP."""

from __future__ import annotations

import base64
import datetime
import functools
import re
import ssl
import typing as t
import urllib.parse
import warnings

from ansible_collections.matrixon.ops.plugins.module_utils import _certificates as pki
from ansible_collections.matrixon.ops.plugins.module_utils import _net
from ansible_collections.matrixon.ops.plugins.module_utils._command import Runner, run
from ansible_collections.matrixon.ops.plugins.module_utils._delegation import is_address
from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    MISSING_TOOL,
    PARSE,
    REFUSED,
    TLS,
    Deadline,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._report import UNKNOWN
from ansible_collections.matrixon.ops.plugins.module_utils._ssl import handshake
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.certificate import Certificate
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.judge import Chain, moment
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.model import (
    Endpoint,
    Finding,
    critical,
    ok,
    skipped,
    warning,
)

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509 import ocsp
    from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
except ImportError:
    pass

PROTOCOL, STAPLE, OCSP = "certificate_protocol", "certificate_staple", "certificate_ocsp"
# The newest that must be refused, by the oldest that is wanted.
OLDER = {"TLSv1.2": "TLSv1_1", "TLSv1.3": "TLSv1_2"}
EVERY_CIPHER = "ALL:@SECLEVEL=0"
NOT_HERE = ("no protocols available", "no ciphers available", "no cipher match")
STARTTLS_OF_OPENSSL = {"smtp": "smtp", "imap": "imap", "postgresql": "postgres"}
LARGEST_ANSWER = 64 * 1024
# A responder's clock may be ahead of ours.
SKEW = datetime.timedelta(minutes=5)


def unmeasured(check: str, failure: ProbeFailure) -> Finding:
    """Return the verdict of a question that got no answer."""
    return Finding(check, UNKNOWN, f"not measured: {failure.message}", error_kind=failure.kind)


@functools.cache
def _old_context(newest: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers(EVERY_CIPHER)
    with warnings.catch_warnings():
        # That they are old is the point.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion[newest]
    return context


def protocol(endpoint: Endpoint, address: _net.Address, oldest: str, deadline: Deadline) -> Finding:
    """Offer only what is older than wanted. It must be refused."""
    newest = OLDER[oldest]
    sock = None
    try:
        sock = handshake.open_to(address, endpoint.starttls, deadline)
        with handshake.shake(sock, endpoint.server_name, _old_context(newest), deadline) as older:
            return critical(PROTOCOL, f"it takes {older.version()}, and {oldest} is the oldest that it should", TLS)
    except ProbeFailure as failure:
        if sock is None or failure.kind not in (TLS, REFUSED):
            return unmeasured(PROTOCOL, failure)
        if any(words in failure.message for words in NOT_HERE):
            reason = f"not measured: the OpenSSL of this host cannot speak anything older than {oldest}"
            return Finding(PROTOCOL, UNKNOWN, reason, error_kind=MISSING_TOOL)
    return ok(PROTOCOL, f"it refuses what is older than {oldest}")


def staple(
    endpoint: Endpoint,
    address: _net.Address,
    chain: Chain,
    now: datetime.datetime,
    deadline: Deadline,
    runner: Runner = run,
) -> Finding:
    """Ask for the stapled answer that a certificate asks for. Python's ssl has no way to it, so openssl is asked."""
    if not chain.leaf.must_staple:
        return skipped(STAPLE, "the certificate does not ask for a stapled answer")
    argv = ["openssl", "s_client", "-connect", str(address), "-status"]
    if endpoint.starttls:
        argv += ["-starttls", STARTTLS_OF_OPENSSL[endpoint.starttls]]
    if not is_address(endpoint.server_name):
        argv += ["-servername", endpoint.server_name]
    try:
        said = runner(argv, deadline).out
    except ProbeFailure as failure:
        return unmeasured(STAPLE, failure)
    return judge_staple(said, now)


def judge_staple(said: str, now: datetime.datetime) -> Finding:
    """Judge what openssl printed of a stapled answer."""
    if "OCSP response: no response sent" in said:
        return critical(
            STAPLE, "the certificate says that an answer of its authority is stapled to it, and none is sent"
        )
    status = re.search(r"OCSP Response Status: (\w+)", said)
    if status is None:
        return unmeasured(STAPLE, ProbeFailure(PARSE, "openssl did not tell whether an answer was stapled"))
    if status.group(1) != "successful":
        return critical(STAPLE, f"the stapled answer is none: {status.group(1)}")
    verdict = re.search(r"Cert Status: (\w+)", said)
    if verdict is None or verdict.group(1) != "good":
        return critical(STAPLE, f"the stapled answer calls it {verdict.group(1) if verdict else 'nothing'}")
    until = re.search(r"Next Update: (\w+ +\d+ [\d:]+ \d+) GMT", said)
    if until is not None:
        end = datetime.datetime.strptime(until.group(1), "%b %d %H:%M:%S %Y").replace(tzinfo=datetime.timezone.utc)
        if end <= now:
            return critical(STAPLE, f"the stapled answer is out of date since {moment(end)}")
    return ok(STAPLE, "an answer of its authority is stapled to it")


def revocation(chain: Chain, http: HttpClient, now: datetime.datetime, deadline: Deadline) -> Finding:
    """Ask the authority whether it has revoked the certificate."""
    leaf = chain.leaf
    try:
        url = _responder(leaf)
        if url is None:
            return skipped(
                OCSP, "the certificate names no place to ask: its authority tells of revocations in lists only"
            )
        if len(chain.needed) < 2:
            return Finding(
                OCSP, UNKNOWN, "not measured: the issuer's certificate is not there, and it is needed to ask"
            )
        issuer = chain.needed[1]
        # RFC 6960 in its form for GET, which caches can keep.
        asked = ocsp.OCSPRequestBuilder().add_certificate(leaf.x509, issuer.x509, hashes.SHA1()).build()
        text = urllib.parse.quote(base64.b64encode(asked.public_bytes(Encoding.DER)), safe="")
        answer = http.request("GET", f"{url.rstrip('/')}/{text}", deadline, max_body=LARGEST_ANSWER)
        if answer.status != 200:
            raise ProbeFailure(REFUSED, f"{url} answered {answer.status}")
        return judge_answer(answer.body, leaf, issuer, url, now)
    except ProbeFailure as failure:
        return unmeasured(OCSP, failure)


def judge_answer(body: bytes, leaf: Certificate, issuer: Certificate, url: str, now: datetime.datetime) -> Finding:
    """Judge an answer of OCSP. One that the authority did not sign, or that is old, says nothing."""
    try:
        response = ocsp.load_der_ocsp_response(body)
    except ValueError as error:
        raise ProbeFailure(PARSE, f"{url} answers with no OCSP") from error
    if response.response_status != ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise ProbeFailure(REFUSED, f"{url} has no answer: {response.response_status.name.lower()}")
    if response.serial_number != leaf.x509.serial_number:
        raise ProbeFailure(PARSE, f"{url} answers about another certificate")
    if not _signed(response, issuer, now):
        raise ProbeFailure(PARSE, f"the answer of {url} is not signed by the authority")
    begin, end = _time(response, "this_update"), _time(response, "next_update")
    if begin is None or begin > now + SKEW or (end is not None and end <= now):
        raise ProbeFailure(PARSE, f"the answer of {url} is not of this time")
    if response.certificate_status == ocsp.OCSPCertStatus.REVOKED:
        when = _time(response, "revocation_time")
        return critical(OCSP, f"its authority has revoked it{f', on {moment(when)}' if when else ''}")
    if response.certificate_status == ocsp.OCSPCertStatus.UNKNOWN:
        return warning(OCSP, f"its authority does not know it (so says {url})")
    return ok(OCSP, "its authority has not revoked it")


def _responder(leaf: Certificate) -> str | None:
    access = leaf.extension("AuthorityInformationAccess")
    found = [
        one.access_location.value
        for one in access or ()
        if one.access_method == AuthorityInformationAccessOID.OCSP
        and isinstance(one.access_location, x509.UniformResourceIdentifier)
    ]
    if not found:
        return None
    url = str(found[0])
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ProbeFailure(PARSE, f"the certificate names {url!r} to ask, and only http is known here")
    return url


def _signed(response: t.Any, issuer: Certificate, now: datetime.datetime) -> bool:
    """Say whether the issuer signed an answer, or one to whom it gave the right to."""
    if pki.signed(response, response.tbs_response_bytes, issuer.x509.public_key()):
        return True
    for one in response.certificates:
        delegate = Certificate(one.public_bytes(Encoding.DER))
        usage = delegate.extension("ExtendedKeyUsage")
        if (
            usage is not None
            and ExtendedKeyUsageOID.OCSP_SIGNING in usage
            and delegate.not_before <= now <= delegate.not_after
            and pki.issued_by(delegate.x509, issuer.x509)
            and pki.signed(response, response.tbs_response_bytes, delegate.x509.public_key())
        ):
            return True
    return False


def _time(response: t.Any, name: str) -> datetime.datetime | None:
    """Return a time of an answer; the library gave it without a zone before version 43."""
    found: datetime.datetime | None = getattr(response, f"{name}_utc" if hasattr(response, f"{name}_utc") else name)
    return found.replace(tzinfo=datetime.timezone.utc) if found else None
