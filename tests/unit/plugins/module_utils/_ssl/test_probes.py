"""Tests of stapled answers, OCSP and older protocols, as far as they can be judged without a network."""

from __future__ import annotations

import base64
import ssl
import urllib.parse
from typing import Any

import pytest
import servers
import trustme
from certificates import DAY, NOW, SERVER, Made, make, new_authority
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from ansible_collections.matrixon.ops.plugins.module_utils import _net
from ansible_collections.matrixon.ops.plugins.module_utils._command import Finished
from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient
from ansible_collections.matrixon.ops.plugins.module_utils._probe import MISSING_TOOL, Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._ssl import probes
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.judge import Chain
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.model import Endpoint

ROOT = new_authority("Root")
OTHER = new_authority("Root")
ENDPOINT = Endpoint("it", "m.test", 443, "m.test", ("m.test",))
ADDRESS = _net.Address(2, ("192.0.2.1", 443))
MUST = [x509.TLSFeature([x509.TLSFeatureType.status_request])]


def chain(*sent: Made) -> Chain:
    whole = tuple(one.read for one in sent)
    return Chain(whole, whole)


GOOD_STAPLE = """OCSP Response Data:
    OCSP Response Status: successful (0x0)
    Cert Status: good
    This Update: May 30 12:00:00 2026 GMT
    Next Update: Jun  2 12:00:00 2026 GMT
"""
STAPLES = {
    "good": (GOOD_STAPLE, "ok"),
    "good, without an end": (GOOD_STAPLE.replace("Next", "Other"), "ok"),
    "none": ("OCSP response: no response sent\n", "critical"),
    "old": (GOOD_STAPLE.replace("Jun  2", "May 31"), "critical"),
    "revoked": (GOOD_STAPLE.replace("good", "revoked"), "critical"),
    "empty": (GOOD_STAPLE.replace("successful (0x0)", "trylater (0x3)"), "critical"),
    "words that are not understood": ("CONNECTED(00000003)\n", "unknown"),
}


@pytest.mark.parametrize(("said", "status"), STAPLES.values(), ids=list(STAPLES))
def test_staple(said: str, status: str) -> None:
    assert probes.judge_staple(said, NOW).status == status


def test_openssl_is_asked_only_where_a_certificate_asks_for_a_staple() -> None:
    asked: list[list[str]] = []

    def runner(argv: list[str], deadline: Deadline) -> Finished:
        asked.append(argv)
        return Finished(0, GOOD_STAPLE, "")

    finding = probes.staple(ENDPOINT, ADDRESS, chain(make()), NOW, Deadline(5), runner)
    assert (finding.status, asked) == ("skipped", [])
    finding = probes.staple(ENDPOINT, ADDRESS, chain(make(more=MUST)), NOW, Deadline(5), runner)
    assert finding.status == "ok"
    assert asked == [["openssl", "s_client", "-connect", "192.0.2.1:443", "-status", "-servername", "m.test"]]


def test_without_openssl_the_staple_is_unknown() -> None:
    def runner(argv: list[str], deadline: Deadline) -> Finished:
        raise ProbeFailure(MISSING_TOOL, "openssl is not installed")

    finding = probes.staple(ENDPOINT, ADDRESS, chain(make(more=MUST)), NOW, Deadline(5), runner)
    assert (finding.status, finding.error_kind) == ("unknown", "missing_tool")


def answer(
    leaf: Made,
    signer: Made = ROOT,
    *,
    issuer: Made = ROOT,
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    begins: float = -1,
    ends: float | None = 1,
    delegate: bool = False,
) -> bytes:
    """Make an answer of OCSP."""
    revoked = status is ocsp.OCSPCertStatus.REVOKED
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=leaf.x509,
        issuer=issuer.x509,
        algorithm=hashes.SHA1(),
        cert_status=status,
        this_update=NOW + begins * DAY,
        next_update=None if ends is None else NOW + ends * DAY,
        revocation_time=NOW - 2 * DAY if revoked else None,
        revocation_reason=None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.NAME, signer.x509)
    if delegate:
        builder = builder.certificates([signer.x509])
    return builder.sign(signer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


LEAF = make(issuer=ROOT)
SIGNER = make("a responder", ROOT, usage=(ExtendedKeyUsageOID.OCSP_SIGNING,))
ANSWERS = {
    "good": (answer(LEAF), "ok"),
    "good, without an end": (answer(LEAF, ends=None), "ok"),
    "good, by one who may": (answer(LEAF, SIGNER, delegate=True), "ok"),
    "revoked": (answer(LEAF, status=ocsp.OCSPCertStatus.REVOKED), "critical"),
    "not known": (answer(LEAF, status=ocsp.OCSPCertStatus.UNKNOWN), "warning"),
    "old": (answer(LEAF, begins=-3, ends=-1), "unknown"),
    "of tomorrow": (answer(LEAF, begins=1, ends=2), "unknown"),
    "about another": (answer(make(issuer=ROOT)), "unknown"),
    "signed by another": (answer(LEAF, OTHER), "unknown"),
    "by one of another authority": (
        answer(LEAF, make("a responder", OTHER, usage=(ExtendedKeyUsageOID.OCSP_SIGNING,)), delegate=True),
        "unknown",
    ),
    "by one who may not": (answer(LEAF, make("a server", ROOT, usage=SERVER), delegate=True), "unknown"),
    "by one whose time is over": (
        answer(LEAF, make("x", ROOT, usage=(ExtendedKeyUsageOID.OCSP_SIGNING,), ends=-1), delegate=True),
        "unknown",
    ),
    "no success": (
        ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER).public_bytes(
            serialization.Encoding.DER
        ),
        "unknown",
    ),
    "nonsense": (b"nonsense", "unknown"),
}


def told_at(url: str) -> list[x509.ExtensionType]:
    place = x509.UniformResourceIdentifier(url)
    return [x509.AuthorityInformationAccess([x509.AccessDescription(AuthorityInformationAccessOID.OCSP, place)])]


@pytest.mark.parametrize(("body", "status"), ANSWERS.values(), ids=list(ANSWERS))
def test_answer_of_ocsp(body: bytes, status: str) -> None:
    try:
        found = probes.judge_answer(body, LEAF.read, ROOT.read, "http://ocsp.test", NOW).status
    except ProbeFailure as failure:
        found = probes.unmeasured(probes.OCSP, failure).status
    assert found == status


def test_authority_is_asked_about_this_certificate(serve: Any) -> None:
    leaf: list[Made] = []

    def handle(request: servers.Request) -> bytes:
        asked = ocsp.load_der_ocsp_request(base64.b64decode(urllib.parse.unquote(request.path.rsplit("/", 1)[1])))
        assert asked.serial_number == leaf[0].x509.serial_number
        return servers.http_answer(answer(leaf[0]), content_type="application/ocsp-response")

    server = serve(servers.web(handle))
    leaf.append(make(issuer=ROOT, more=told_at(f"http://{server.authority}/ocsp/")))
    finding = probes.revocation(chain(leaf[0], ROOT), HttpClient(), NOW, Deadline(5))
    assert (finding.status, finding.message) == ("ok", "its authority has not revoked it")


def test_what_cannot_be_asked(serve: Any, closed_port: int) -> None:
    def status(*sent: Made) -> tuple[str, str | None]:
        finding = probes.revocation(chain(*sent), HttpClient(), NOW, Deadline(5))
        return finding.status, finding.error_kind

    assert status(make(issuer=ROOT), ROOT) == ("skipped", None)
    assert status(make(issuer=ROOT, more=told_at("http://ocsp.test"))) == ("unknown", None)
    assert status(make(issuer=ROOT, more=told_at("ldap://ocsp.test")), ROOT) == ("unknown", "parse")
    assert status(make(issuer=ROOT, more=told_at(f"http://127.0.0.1:{closed_port}")), ROOT) == ("unknown", "refused")
    error = serve(servers.web(lambda _request: servers.http_answer(b"", 500)))
    assert status(make(issuer=ROOT, more=told_at(f"http://{error.authority}")), ROOT) == ("unknown", "refused")


@pytest.mark.parametrize(
    ("oldest", "newest", "status"),
    [("TLSv1.2", "TLSv1_1", "critical"), ("TLSv1.2", "TLSv1_2", "ok"), ("TLSv1.3", "TLSv1_2", "critical")],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_protocol(serve: Any, authority: trustme.CA, oldest: str, newest: str, status: str) -> None:
    tls = servers.tls_for(authority, "m.test")
    tls.set_ciphers("ALL:@SECLEVEL=0")
    tls.minimum_version = tls.maximum_version = ssl.TLSVersion[newest]
    server = serve(servers.silent, tls)
    address = _net.Address(2, ("127.0.0.1", server.port))
    finding = probes.protocol(ENDPOINT, address, oldest, Deadline(2))
    assert (finding.status, finding.error_kind) == (status, "tls" if status == "critical" else None)


def test_protocol_is_unknown_where_nothing_answers(serve: Any, closed_port: int) -> None:
    for port, kind in ((closed_port, "refused"), (serve(servers.silent).port, "timeout")):
        finding = probes.protocol(ENDPOINT, _net.Address(2, ("127.0.0.1", port)), "TLSv1.2", Deadline(0.3))
        assert (finding.status, finding.error_kind) == ("unknown", kind)
