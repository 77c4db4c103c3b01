# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Certificates and keys as PEM: read, judged, asked for and issued. No file is touched here."""

from __future__ import annotations

import datetime
import ipaddress
import re
import typing as t

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    HAS_CRYPTOGRAPHY = True
except ImportError:
    HAS_CRYPTOGRAPHY = False

# Stands in the subject of a certificate that only lets a service start.
PLACEHOLDER = "matrixon.ops placeholder"
PLACEHOLDER_DAYS = 30
CA_DAYS = 3650
# A host whose clock is behind must not refuse what was issued a moment ago.
SKEW = datetime.timedelta(hours=1)
DAY = datetime.timedelta(days=1)
BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class BadCertificate(Exception):
    """Text that is no certificate or key, with the reason. It never quotes the text."""


def now() -> datetime.datetime:
    """Return the time in UTC, without a zone as X.509 has it."""
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)


def load_chain(text: str) -> list[t.Any]:
    """Read certificates, the one of the server first."""
    try:
        return [x509.load_pem_x509_certificate(block.encode()) for block in BLOCK.findall(text)]
    except ValueError as error:
        raise BadCertificate(f"the certificate cannot be read: {error}") from None


def load_key(text: str) -> t.Any:
    """Read a private key."""
    try:
        return serialization.load_pem_private_key(text.encode(), password=None)
    except TypeError:
        raise BadCertificate("the key is encrypted, and a service could not read it; give it without") from None
    except Exception:  # Some errors of the library repeat what they were given.
        raise BadCertificate("the key cannot be read; give a private key in PEM") from None


def pem(certificate: t.Any) -> str:
    """Return a certificate as PEM."""
    text: str = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return text


def key_pem(key: t.Any) -> str:
    """Return a key as PEM, not encrypted."""
    text: str = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return text


def not_before(certificate: t.Any) -> datetime.datetime:
    """Return from when it is valid, in UTC without a zone."""
    if hasattr(certificate, "not_valid_before_utc"):
        moment: datetime.datetime = certificate.not_valid_before_utc.replace(tzinfo=None)
    else:
        moment = certificate.not_valid_before
    return moment


def not_after(certificate: t.Any) -> datetime.datetime:
    """Return until when it is valid, in UTC without a zone."""
    if hasattr(certificate, "not_valid_after_utc"):
        moment: datetime.datetime = certificate.not_valid_after_utc.replace(tzinfo=None)
    else:
        moment = certificate.not_valid_after
    return moment


def names_of(certificate: t.Any) -> list[str]:
    """Return the names and addresses that it is for."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names_in(extension)


def names_in(extension: t.Any) -> list[str]:
    """Return the names and addresses in a subject alternative name."""
    return [
        *(name.lower() for name in extension.get_values_for_type(x509.DNSName)),
        *(str(address) for address in extension.get_values_for_type(x509.IPAddress)),
    ]


def canonical(name: str) -> str:
    """Return a name or an address in the one spelling that is compared."""
    try:
        return str(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return name.lower().rstrip(".")


def covers(names: list[str], wanted: str) -> bool:
    """Return whether one of the names stands for this one. A wildcard stands for one label."""
    wanted = canonical(wanted)
    if wanted in names:
        return True
    try:
        ipaddress.ip_address(wanted)
    except ValueError:
        return "." in wanted and f"*.{wanted.split('.', 1)[1]}" in names
    return False


def is_placeholder(certificate: t.Any) -> bool:
    """Return whether it says of itself that it only lets a service start."""
    found = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return any(attribute.value == PLACEHOLDER for attribute in found)


def issued_by(certificate: t.Any, issuer: t.Any) -> bool:
    """Return whether the issuer's key signed it."""
    if certificate.issuer != issuer.subject:
        return False
    return signed(certificate, certificate.tbs_certificate_bytes, issuer.public_key())


def signed(document: t.Any, content: bytes, key: t.Any) -> bool:
    """Return whether a key signed the content of a certificate, or of what else carries a signature of its kind."""
    signature = document.signature
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, content, padding.PKCS1v15(), document.signature_hash_algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, content, ec.ECDSA(document.signature_hash_algorithm))
        elif isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
            key.verify(signature, content)
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError):
        return False
    return True


def same_key(certificate: t.Any, key: t.Any) -> bool:
    """Return whether the key is the one in the certificate."""
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return bool(certificate.public_key().public_bytes(*form) == key.public_key().public_bytes(*form))


def problems(
    chain: list[t.Any], key: t.Any, names: list[str], authorities: list[t.Any], moment: datetime.datetime
) -> list[str]:
    """Return everything that speaks against serving this certificate with this key."""
    if not chain:
        return ["there is no certificate in it; give PEM, the server's certificate first"]
    leaf, found = chain[0], []
    have = names_of(leaf)
    if not same_key(leaf, key):
        found.append("the key is not the one of the certificate; give the two that were made together")
    missing = [name for name in names if not covers(have, name)]
    if missing:
        found.append(f"it is for {', '.join(have) or 'no name'} and not for {', '.join(missing)}")
    for certificate in chain:
        who = "it" if certificate is leaf else f"the certificate of '{certificate.subject.rfc4514_string()}'"
        if not_after(certificate) <= moment:
            found.append(f"{who} ended on {not_after(certificate):%Y-%m-%d %H:%M} UTC")
        if not_before(certificate) > moment:
            found.append(f"{who} begins on {not_before(certificate):%Y-%m-%d %H:%M} UTC; see that the clock is right")
    if any(not issued_by(below, above) for below, above in zip(chain, chain[1:])):
        found.append("the chain is out of order; give the server's certificate first, then each issuer of the last")
    elif authorities and not any(chain[-1] == ca or issued_by(chain[-1], ca) for ca in authorities):
        found.append(f"'{chain[-1].issuer.rfc4514_string()}' issued it, which is not the CA that was given")
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < 2048:
        found.append(f"its RSA key of {key.key_size} bits is too short; make one of 2048 bits or more")
    return found


def new_key() -> t.Any:
    """Make a key that every client knows and that signs fast."""
    return ec.generate_private_key(ec.SECP256R1())


def _alternative(names: list[str]) -> t.Any:
    entries: list[t.Any] = []
    for name in dict.fromkeys(canonical(name) for name in names):
        try:
            entries.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            entries.append(x509.DNSName(name))
    return x509.SubjectAlternativeName(entries)


def _subject(common_name: str, organization: str | None = None) -> t.Any:
    # X.509 has 64 characters for it, and clients look at the alternative names alone.
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])]
    if organization:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)


def _usage(authority: bool) -> t.Any:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def request(key: t.Any, names: list[str]) -> str:
    """Return a signing request for these names."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_subject(canonical(names[0])))
    builder = builder.add_extension(_alternative(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def _build(
    subject: t.Any, issuer: t.Any, public_key: t.Any, issuer_key: t.Any, begin: datetime.datetime, days: int
) -> t.Any:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - SKEW)
        .not_valid_after(begin + days * DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )


def authority(name: str, moment: datetime.datetime) -> tuple[t.Any, t.Any]:
    """Make a certificate authority: its key and its certificate."""
    key = new_key()
    subject = _subject(name)
    builder = _build(subject, subject, key.public_key(), key, moment, CA_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return key, builder.add_extension(_usage(authority=True), critical=True).sign(key, hashes.SHA256())


def _server(builder: t.Any, names: list[str], key: t.Any) -> t.Any:
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(authority=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.add_extension(_alternative(names), critical=False).sign(key, hashes.SHA256())


def issue(text: str, names: list[str], ca_key: t.Any, ca: t.Any, days: int, moment: datetime.datetime) -> str:
    """Answer a signing request. The names are the inventory's, not those that the request asks for."""
    asked = x509.load_pem_x509_csr(text.encode())
    if not asked.is_signature_valid:
        raise BadCertificate("the signing request is not signed by its own key")
    left = (not_after(ca) - moment) // DAY
    builder = _build(_subject(canonical(names[0])), ca.subject, asked.public_key(), ca_key, moment, min(days, left))
    return pem(_server(builder, names, ca_key))


def placeholder(names: list[str], moment: datetime.datetime) -> tuple[str, str]:
    """Make a certificate that only lets a service start, and its key."""
    key, subject = new_key(), _subject(canonical(names[0]), PLACEHOLDER)
    builder = _build(subject, subject, key.public_key(), key, moment, PLACEHOLDER_DAYS)
    return pem(_server(builder, names, key)), key_pem(key)
