"""OCSP responders on loopback: what an authority says about a certificate."""

from __future__ import annotations

import base64
import datetime
import socket
import urllib.parse

from authority import Authority, Made, now
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID
from farm import LOOPBACK, Farm


def access(port: int) -> x509.AuthorityInformationAccess:
    """The extension that says where to ask."""
    place = x509.UniformResourceIdentifier(f"http://{LOOPBACK}:{port}/ocsp")
    return x509.AuthorityInformationAccess([x509.AccessDescription(AuthorityInformationAccessOID.OCSP, place)])


def answer(
    issuer: Authority,
    certificate: x509.Certificate,
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    *,
    signer: Made | None = None,
    age: datetime.timedelta = datetime.timedelta(hours=1),
) -> bytes:
    """Return a signed answer, made some time ago and good for a day."""
    made = now() - age
    revoked = status == ocsp.OCSPCertStatus.REVOKED
    signed_by = signer or issuer.made
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            certificate,
            issuer.certificate,
            hashes.SHA1(),
            status,
            made,
            made + datetime.timedelta(days=1),
            made - datetime.timedelta(days=1) if revoked else None,
            x509.ReasonFlags.key_compromise if revoked else None,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, signed_by.certificate)
    )
    if signer:
        builder = builder.certificates([signer.certificate])
    response = builder.sign(signed_by.key, hashes.SHA256())
    return response.public_bytes(serialization.Encoding.DER)


class Responder:
    """One responder; what it answers is set by the serial number that is asked for."""

    def __init__(self, farm: Farm) -> None:
        self.answers: dict[int, bytes] = {}
        self.asked: list[int] = []
        self.port = farm.serve(self._serve)

    def _serve(self, connection: socket.socket) -> None:
        """Answer a question that is asked by GET: its path ends in the question, as base64."""
        path = connection.makefile("rb").readline().split()[1].decode()
        question = urllib.parse.unquote(path.removeprefix("/ocsp/"))
        serial = ocsp.load_der_ocsp_request(base64.b64decode(question)).serial_number
        self.asked.append(serial)
        body = self.answers[serial]
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
