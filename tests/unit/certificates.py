"""Certificates for the unit tests, whose times are counted from one that stands still."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ansible_collections.matrixon.ops.plugins.module_utils._ssl.certificate import Certificate

NOW = datetime.datetime(2026, 6, 1, 12, tzinfo=datetime.timezone.utc)
DAY = datetime.timedelta(days=1)
SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)


@dataclass(frozen=True)
class Made:
    """A certificate with its key."""

    x509: x509.Certificate
    key: Any

    @property
    def read(self) -> Certificate:
        """As the checker reads it."""
        return Certificate(self.der)

    @property
    def der(self) -> bytes:
        """As DER."""
        return self.x509.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        """As PEM."""
        return self.x509.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key as PEM."""
        return key_pem(self.key)


def key_pem(key: Any, password: bytes | None = None) -> bytes:
    """Return a key as PEM."""
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)


def new_key() -> Any:
    """Return a key that is made fast."""
    return ec.generate_private_key(ec.SECP256R1())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def make(
    common_name: str = "a server",
    issuer: Made | None = None,
    *,
    names: Sequence[str] = ("m.test",),
    begins: float = -30,
    ends: float = 60,
    key: Any = None,
    authority: bool = False,
    usage: Sequence[x509.ObjectIdentifier] = SERVER,
    more: Sequence[x509.ExtensionType] = (),
) -> Made:
    """Make a certificate that begins and ends some days from NOW; without an issuer it signs itself."""
    key = key or new_key()
    extensions: list[x509.ExtensionType] = [x509.BasicConstraints(ca=authority, path_length=None), *more]
    if names and not authority:
        extensions.append(x509.SubjectAlternativeName([_general(name) for name in names]))
    if usage and not authority:
        extensions.append(x509.ExtendedKeyUsage(list(usage)))
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .issuer_name(issuer.x509.subject if issuer else _name(common_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + begins * DAY)
        .not_valid_after(NOW + ends * DAY)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return Made(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


def new_authority(common_name: str, issuer: Made | None = None, *, ends: float = 1000, key: Any = None) -> Made:
    """Make an authority."""
    return make(common_name, issuer, begins=-1000, ends=ends, authority=True, key=key)
