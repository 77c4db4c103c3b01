# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""One certificate: what it says of itself, and which one issued which."""

from __future__ import annotations

import datetime
import functools
import hashlib
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _certificates as pki
from ansible_collections.matrixon.ops.plugins.module_utils._probe import PARSE, ProbeFailure

try:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID

    HAS_CRYPTOGRAPHY = True
except ImportError:
    HAS_CRYPTOGRAPHY = False

# Broken long ago: a signature with them can be forged.
WEAK_HASHES = ("md2", "md4", "md5", "sha1")
SHORTEST_RSA = 2048
SHORTEST_CURVE = 224
STATUS_REQUEST = 5
LONGEST_TEXT = 256


def printable(text: str) -> str:
    """Return a text from a certificate so that it stays in one line of a log, whatever stands in it."""
    shown = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return shown if len(shown) <= LONGEST_TEXT else f"{shown[:LONGEST_TEXT]}..."


class Certificate:
    """A certificate that was read. What it says is looked up when it is asked for."""

    def __init__(self, der: bytes) -> None:
        try:
            self.x509 = x509.load_der_x509_certificate(der)
            self.subject = printable(self.x509.subject.rfc4514_string()) or "an empty subject"
            self.issuer = printable(self.x509.issuer.rfc4514_string())
        except Exception as error:  # The library has errors of its own for what is malformed.
            raise ProbeFailure(PARSE, f"a certificate that cannot be read: {printable(str(error))}") from error
        # Read now, for those who share it: before version 42 the library gives them to one thread at a time.
        self._extensions = _extensions(self.x509)
        self.der = der
        self.not_before = pki.not_before(self.x509).replace(tzinfo=datetime.timezone.utc)
        self.not_after = pki.not_after(self.x509).replace(tzinfo=datetime.timezone.utc)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Certificate) and self.der == other.der

    def __hash__(self) -> int:
        return hash(self.der)

    @property
    def lifetime(self) -> float:
        """Return for how many seconds it was issued."""
        return (self.not_after - self.not_before).total_seconds()

    @property
    def serial(self) -> str:
        """Return its serial number as other tools print it."""
        return f"{self.x509.serial_number:X}"

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of all of it."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def self_issued(self) -> bool:
        """Say whether it names itself as its issuer."""
        return bool(self.x509.subject == self.x509.issuer)

    @property
    def names(self) -> list[str]:
        """Return the names that clients look at. The common name is none of them."""
        found = self.extension("SubjectAlternativeName")
        return [] if found is None else [printable(name) for name in pki.names_in(found)]

    @property
    def is_authority(self) -> bool:
        """Say whether it may issue others. One whose extensions cannot be read may not."""
        constraints = self._readable_extension("BasicConstraints")
        return bool(constraints is not None and constraints.ca)

    @property
    def must_staple(self) -> bool:
        """Say whether it asks for a stapled answer of its authority."""
        features = self._readable_extension("TLSFeature")
        return features is not None and any(feature.value == STATUS_REQUEST for feature in features)

    @property
    def unfit(self) -> str | None:
        """Return why no server may use it, or None."""
        extended = self.extension("ExtendedKeyUsage")
        if extended is not None and ExtendedKeyUsageOID.SERVER_AUTH not in extended:
            return "its extended key usage has no serverAuth in it"
        usage = self.extension("KeyUsage")
        if usage is not None and not (usage.digital_signature or usage.key_encipherment or usage.key_agreement):
            return "its key usage allows neither signatures nor the agreement of keys"
        return None

    @property
    def key(self) -> str:
        """Return its kind of key and the size."""
        key = self._public_key()
        if isinstance(key, rsa.RSAPublicKey):
            return f"RSA {key.key_size}"
        if isinstance(key, ec.EllipticCurvePublicKey):
            return f"EC {key.curve.name}"
        if isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
            return type(key).__name__.replace("PublicKey", "")
        return f"DSA {key.key_size}" if isinstance(key, dsa.DSAPublicKey) else type(key).__name__

    @property
    def weak_key(self) -> str | None:
        """Return what is wrong with its key, or None."""
        key = self._public_key()
        if isinstance(key, rsa.RSAPublicKey) and key.key_size < SHORTEST_RSA:
            return f"an RSA key of {key.key_size} bits, and {SHORTEST_RSA} is the least that clients take"
        if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.key_size < SHORTEST_CURVE:
            return f"a key on the curve {key.curve.name}, which is too short"
        if isinstance(key, dsa.DSAPublicKey):
            return "a DSA key, which no client takes"
        return None

    @property
    def signature(self) -> str:
        """Return the hash that was signed, with the kind of signature."""
        name = getattr(self.x509.signature_algorithm_oid, "_name", "")
        return name if name and "Unknown" not in name else str(self.x509.signature_algorithm_oid.dotted_string)

    @property
    def weak_hash(self) -> str | None:
        """Return the broken hash of its signature, or None."""
        try:
            found = self.x509.signature_hash_algorithm
        except UnsupportedAlgorithm:
            # So old that the library does not know it any more, or too new to be broken.
            return next((hash_name for hash_name in WEAK_HASHES if hash_name in self.signature.lower()), None)
        return found.name if found is not None and found.name in WEAK_HASHES else None

    def extension(self, name: str) -> t.Any:
        """Return an extension by the name that the library has for it, or None."""
        with _readable(self, "extensions"):
            if isinstance(self._extensions, Exception):
                raise self._extensions
            try:
                return self._extensions.get_extension_for_class(getattr(x509, name)).value
            except x509.ExtensionNotFound:
                return None

    def _readable_extension(self, name: str) -> t.Any:
        return None if isinstance(self._extensions, Exception) else self.extension(name)

    def _public_key(self) -> t.Any:
        with _readable(self, "key"):
            return self.x509.public_key()


def _extensions(certificate: t.Any) -> t.Any:
    """Return the extensions of a certificate, or why they cannot be read."""
    try:
        return certificate.extensions
    except Exception as error:
        return error


class _readable:
    """Turn what the library says of something malformed into a failure."""

    def __init__(self, certificate: Certificate, what: str) -> None:
        self.certificate = certificate
        self.what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: t.Any, error: BaseException | None, trace: t.Any) -> None:
        if isinstance(error, Exception):
            message = f"the {self.what} of '{self.certificate.subject}' cannot be read: {printable(str(error))}"
            raise ProbeFailure(PARSE, message) from error


@functools.lru_cache(maxsize=256)
def read(der: bytes) -> Certificate:
    """Return a certificate. A fleet has few intermediates, so each is read once."""
    return Certificate(der)


def path(leaf: Certificate, others: t.Iterable[Certificate], anchors: Anchors | None = None) -> list[Certificate]:
    """Return the leaf and its issuers among the others, as far as they go or until an anchor is next."""
    pool = sorted(dict.fromkeys(others), key=lambda other: other.not_after, reverse=True)
    found = [leaf]
    while not found[-1].self_issued and not (anchors is not None and anchors.issued(found[-1])):
        last = found[-1]
        above = next((one for one in pool if one not in found and pki.issued_by(last.x509, one.x509)), None)
        if above is None:
            break
        found.append(above)
    return found


class Anchors:
    """The authorities that are trusted here, by their subjects."""

    def __init__(self, certificates: t.Iterable[Certificate]) -> None:
        self._by_subject: dict[bytes, list[Certificate]] = {}
        for one in certificates:
            self._by_subject.setdefault(one.x509.subject.public_bytes(), []).append(one)

    def issued(self, certificate: Certificate) -> bool:
        """Say whether one of them issued a certificate."""
        found = self._by_subject.get(certificate.x509.issuer.public_bytes(), ())
        return any(pki.issued_by(certificate.x509, anchor.x509) for anchor in found)
