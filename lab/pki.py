"""The lab's certificate authority and the one certificate that HAProxy shows."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.config import PUBLIC_NAME, SERVER_NAME, Lab, write

NAMES = (SERVER_NAME, PUBLIC_NAME, "localhost")
CA_DAYS = 3650
LEAF_DAYS = 90
# Expiry checks warn 30 days ahead: a lab that stood for a while must not trip them.
RENEW_BEFORE_DAYS = 40


def ensure(lab: Lab) -> None:
    ca_pem, ca_key = lab.ca / "ca.pem", lab.ca / "ca.key"
    bundle = lab.etc / "haproxy.pem"
    if not (ca_pem.exists() and ca_key.exists()):
        certificate, key = _authority(f"matrixon.ops lab CA ({lab.name})")
        write(ca_key, _key_text(key), 0o600)
        write(ca_pem, _text(certificate))
        bundle.unlink(missing_ok=True)
    if not bundle.exists() or _days_left(bundle) < RENEW_BEFORE_DAYS:
        issuer = x509.load_pem_x509_certificate(ca_pem.read_bytes())
        issuer_key = serialization.load_pem_private_key(ca_key.read_bytes(), None)
        leaf, leaf_key = _leaf(issuer, issuer_key)
        group = None if lab.owner is None else (0, lab.owner[1])
        write(bundle, _text(leaf) + _key_text(leaf_key), 0o640, group)
        write(lab.ca / "leaf.pem", _text(leaf))


def _authority(common_name: str):
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(common_name)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    usage = _usage(key_cert_sign=True, crl_sign=True)
    certificate = (
        _builder(name, name, key.public_key(), CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def _leaf(issuer: x509.Certificate, issuer_key):
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName(name) for name in NAMES]
    names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    # Strict verifiers (Python 3.13's default) want both key identifiers.
    of_issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        _builder(_name(PUBLIC_NAME), issuer.subject, key.public_key(), LEAF_DAYS)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(server, critical=False)
        .add_extension(own, critical=False)
        .add_extension(of_issuer, critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return certificate, key


def _builder(subject, issuer, public_key, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(**wanted: bool) -> x509.KeyUsage:
    every = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: wanted.get(name, False) for name in every})


def _days_left(bundle: Path) -> int:
    certificate = x509.load_pem_x509_certificate(bundle.read_bytes())
    now = datetime.datetime.now(datetime.UTC)
    return (certificate.not_valid_after_utc - now).days


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_text(key) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
