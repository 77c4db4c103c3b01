"""What an authority says about a certificate, asked only on demand; and the staple that some certificates promise."""

from __future__ import annotations

import datetime
import typing as t
from dataclasses import dataclass, field

import pytest
from ask import Answer, ask, assert_said
from authority import Made
from cases import ON, Expected, Pki
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from farm import LOOPBACK, Farm
from responder import Responder, access, answer

pytestmark = pytest.mark.integration

Respond = t.Callable[[Pki, Made], bytes]
URL = r"http://127\.0\.0\.1:\d+/ocsp"
SIGNER = (ExtendedKeyUsageOID.OCSP_SIGNING,)
LONG_AGO = datetime.timedelta(days=9)


@dataclass(frozen=True)
class Case:
    respond: Respond
    expected: Expected = field(default_factory=dict)


def said_ocsp(status: str, kind: str | None, message: str) -> Expected:
    return {"certificate_ocsp": (status, kind, message)}


UNSIGNED = said_ocsp("unknown", "parse", f"not measured: the answer of {URL} is not signed by the authority")

CASES: dict[str, Case] = {
    "good": Case(lambda pki, made: answer(pki.issuing, made.certificate)),
    "revoked": Case(
        lambda pki, made: answer(pki.issuing, made.certificate, ocsp.OCSPCertStatus.REVOKED),
        said_ocsp("critical", None, rf"its authority has revoked it, {ON}"),
    ),
    "unknown": Case(
        lambda pki, made: answer(pki.issuing, made.certificate, ocsp.OCSPCertStatus.UNKNOWN),
        said_ocsp("warning", None, rf"its authority does not know it \(so says {URL}\)"),
    ),
    "stale": Case(
        lambda pki, made: answer(pki.issuing, made.certificate, age=LONG_AGO),
        said_ocsp("unknown", "parse", f"not measured: the answer of {URL} is not of this time"),
    ),
    # The authority may let another one answer for it, if it says so in that one's certificate.
    "delegate": Case(
        lambda pki, made: answer(pki.issuing, made.certificate, signer=pki.issuing.issue("o.farm.test", usage=SIGNER))
    ),
    # Anyone can say "good", every server of the same authority too: only the word of the authority counts.
    "forged": Case(lambda pki, made: answer(pki.issuing, made.certificate, signer=pki.stranger.made), UNSIGNED),
    "forged_inside": Case(
        lambda pki, made: answer(pki.issuing, made.certificate, signer=pki.issuing.issue("evil.farm.test")), UNSIGNED
    ),
    "forged_outside": Case(
        lambda pki, made: answer(pki.issuing, made.certificate, signer=pki.stranger.issue("o.farm.test", usage=SIGNER)),
        UNSIGNED,
    ),
    # True, of another certificate.
    "other": Case(
        lambda pki, made: answer(pki.issuing, pki.issuing.issue("x.farm.test").certificate),
        said_ocsp("unknown", "parse", f"not measured: {URL} answers about another certificate"),
    ),
    "garbage": Case(
        lambda pki, made: b"<html>It works!</html>",
        said_ocsp("unknown", "parse", f"not measured: {URL} answers with no OCSP"),
    ),
    "large": Case(
        lambda pki, made: b"x" * 5_000_000,
        said_ocsp("unknown", "parse", rf"not measured: {URL}/\S+: the answer is larger than 65536 bytes"),
    ),
}


@pytest.fixture(scope="module")
def responder(farm: Farm) -> Responder:
    return Responder(farm)


@pytest.fixture(scope="module")
def endpoints(farm: Farm, pki: Pki, responder: Responder) -> list[dict[str, t.Any]]:
    found = []
    for name, case in CASES.items():
        made = pki.issuing.issue(f"{name}.farm.test", more=[access(responder.port)])
        content = case.respond(pki, made)
        responder.answers[made.certificate.serial_number] = content
        found.append(_option(name, farm.tls(made)))
    found.append(_option("nobody", farm.tls(pki.issuing.issue("nobody.farm.test", more=[access(farm.closed())]))))
    found.append(_option("silent", farm.tls(pki.issuing.issue("silent.farm.test", more=[access(farm.silent())]))))
    found.append(_option("none", farm.tls(pki.issuing.issue("none.farm.test"))))
    return found


def _option(name: str, port: int) -> dict[str, t.Any]:
    return {"name": name, "host": f"{name}.farm.test", "port": port, "address": LOOPBACK}


@pytest.fixture(scope="module")
def said(endpoints: list[dict[str, t.Any]], ca_file: str) -> Answer:
    return ask(endpoints=endpoints, ca_file=ca_file, ocsp=True)


@pytest.mark.parametrize("name", CASES)
def test_verdict(said: Answer, name: str) -> None:
    assert_said(said.of(name), CASES[name].expected)


def test_responder_that_does_not_answer_is_no_verdict(said: Answer) -> None:
    assert_said(said.of("nobody"), said_ocsp("unknown", "refused", r".*nothing listens there.*"))
    assert_said(said.of("silent"), said_ocsp("unknown", "timeout", r".*no answer.*"))


def test_certificate_without_a_responder_is_skipped(said: Answer) -> None:
    assert said.of("none")["certificate_ocsp"]["status"] == "skipped"


def test_nobody_is_asked_unless_the_operator_wants_it(
    endpoints: list[dict[str, t.Any]], ca_file: str, responder: Responder
) -> None:
    before = len(responder.asked)
    answered = ask(endpoints=endpoints, ca_file=ca_file)
    assert len(responder.asked) == before
    assert {check["status"] for check in answered.checks} <= {"ok", "skipped"}
