"""Certificates as they are found in the world, good and bad. All times are counted from now."""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
import pathlib
import subprocess
import typing as t

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# A little over whole days, so that no run is slow enough to see another day.
MARGIN = datetime.timedelta(hours=1)
LIFETIME = 90
SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)
CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)
MUST_STAPLE = x509.TLSFeature([x509.TLSFeatureType.status_request])


@dataclasses.dataclass(frozen=True)
class Made:
    """A certificate, its key, and what a server sends with it."""

    certificate: x509.Certificate
    key: t.Any
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def sent(self) -> tuple[x509.Certificate, ...]:
        return (self.certificate, *self.chain)

    def with_chain(self, *chain: x509.Certificate) -> Made:
        return dataclasses.replace(self, chain=chain)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def key_pem(key: t.Any, password: bytes | None = None) -> bytes:
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)


def elliptic() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


class Authority:
    """Who signs: a root that clients trust, or an intermediate below it."""

    def __init__(self, made: Made, root: bool = False) -> None:
        self.made, self.root = made, root

    @classmethod
    def new(cls) -> Authority:
        """A root of trustme's."""
        ca = trustme.CA()
        key = serialization.load_pem_private_key(ca.private_key_pem.bytes(), None)
        return cls(Made(x509.load_pem_x509_certificate(ca.cert_pem.bytes()), key), root=True)

    @property
    def certificate(self) -> x509.Certificate:
        return self.made.certificate

    @property
    def sent(self) -> tuple[x509.Certificate, ...]:
        """What a server sends of this authority: a root is known to the client already."""
        return () if self.root else self.made.sent

    def authority(self, common_name: str, *, days: float = 1000, of: float = 2000, key: t.Any = None) -> Authority:
        return Authority(self._sign(subject(common_name), days, of, key or elliptic(), [authority_of()]))

    def cross_sign(self, other: Authority, *, days: float, of: float = 2000) -> x509.Certificate:
        """Sign the name and the key of another root."""
        return self._sign(other.certificate.subject, days, of, other.made.key, [authority_of()]).certificate

    def issue(
        self,
        *names: str,
        days: float = 60,
        of: float = LIFETIME,
        key: t.Any = None,
        usage: t.Sequence[x509.ObjectIdentifier] = SERVER,
        common_name: str | None = None,
        more: t.Sequence[x509.ExtensionType] = (),
    ) -> Made:
        """Issue a certificate of a server that ends in some days."""
        extensions: list[tuple[x509.ExtensionType, bool]] = [(x509.BasicConstraints(False, None), True)]
        if names:
            extensions.append((x509.SubjectAlternativeName([general_name(name) for name in names]), False))
        if usage:
            extensions.append((x509.ExtendedKeyUsage(list(usage)), False))
        extensions += [(extension, False) for extension in more]
        return self._sign(subject(common_name or names[0]), days, of, key or elliptic(), extensions)

    def _sign(
        self,
        name: x509.Name,
        days: float,
        of: float,
        key: t.Any,
        extensions: list[tuple[x509.ExtensionType, bool]],
    ) -> Made:
        end = now() + datetime.timedelta(days=days) + (MARGIN if days > 0 else -MARGIN)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(end - datetime.timedelta(days=of))
            .not_valid_after(end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(self._identifier(), critical=False)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return Made(builder.sign(self.made.key, hashes.SHA256()), key, self.sent)

    def _identifier(self) -> x509.AuthorityKeyIdentifier:
        """Name the key of the certificate, also where another one signs."""
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.certificate.public_key())

    @classmethod
    def own(cls, name: x509.Name, *, days: float = 1000, of: float = 2000) -> Authority:
        """A root that trustme would not make: of a given name, or one that has ended."""
        key = elliptic()
        signer = cls(Made(_bare(name, key), key), root=True)
        return cls(signer._sign(name, days, of, key, [authority_of()]), root=True)

    def forger(self) -> Authority:
        """Someone who has the certificate of this authority, and not its key."""
        return Authority(dataclasses.replace(self.made, key=elliptic()))

    def issue_with_old_hash(self, name: str, directory: pathlib.Path, digest: str = "sha1") -> Made:
        """Issue a certificate as cryptography no longer does: with SHA-1 or MD5. openssl still can."""
        key = elliptic()
        request = x509.CertificateSigningRequestBuilder().subject_name(subject(name)).sign(key, hashes.SHA256())
        files = {
            "request": request.public_bytes(serialization.Encoding.PEM),
            "issuer": pem(self.certificate),
            "key": key_pem(self.made.key),
            "extensions": f"subjectAltName=DNS:{name}\nextendedKeyUsage=serverAuth\n".encode(),
        }
        for file, content in files.items():
            (directory / file).write_bytes(content)
        argv = ["openssl", "x509", "-req", f"-{digest}", "-days", "60", "-in", "request", "-CA", "issuer"]
        argv += ["-CAkey", "key", "-extfile", "extensions", "-set_serial", str(x509.random_serial_number())]
        text = subprocess.run(argv, cwd=directory, capture_output=True, check=True).stdout
        for file in files:
            (directory / file).unlink()
        return Made(x509.load_pem_x509_certificate(text), key, self.sent)


def authority_of() -> tuple[x509.ExtensionType, bool]:
    return x509.BasicConstraints(True, None), True


def self_signed(name: str, *, days: float = 60, of: float = LIFETIME, common_name: str | None = None) -> Made:
    key = elliptic()
    signer = Authority(Made(_bare(subject(common_name or name), key), key), root=True)
    return signer.issue(name, days=days, of=of, key=key, common_name=common_name)


def _bare(name: x509.Name, key: t.Any) -> x509.Certificate:
    """A certificate that lends its subject and key to the one that is signed by itself."""
    return (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now() - datetime.timedelta(days=1))
        .not_valid_after(now() + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )


def general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
