# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Read certificates and keys from files: PEM with any number of them, DER, PKCS#12."""

from __future__ import annotations

import binascii
import os
import re
import stat
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _certificates as pki
from ansible_collections.matrixon.ops.plugins.module_utils import _net
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    AUTH,
    INTERNAL,
    MISSING_TOOL,
    PARSE,
    REFUSED,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._ssl import certificate
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.certificate import Certificate
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.judge import Chain
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.model import File, Finding, critical, failed, ok

try:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        load_der_private_key,
        load_pem_private_key,
        pkcs12,
    )
except ImportError:
    pass

LARGEST = 1024 * 1024
LONGEST_PASSWORD = 4096
CERTIFICATE = re.compile(
    rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----.*?-----END [A-Z0-9 ]*CERTIFICATE-----", re.DOTALL
)
BEGIN_CERTIFICATE = re.compile(rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----")
PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?-----END [A-Z0-9 ]*PRIVATE KEY-----", re.DOTALL)
MATCH = "certificate_key_match"


class Content(t.NamedTuple):
    """What a file holds: certificates as they stand there, and a key if there is one too."""

    kind: str
    certificates: tuple[Certificate, ...]
    key: bytes | t.Any | None
    """PEM of a key, or a key that was in PKCS#12."""

    @property
    def chain(self) -> Chain:
        """Return them as a chain.

        A file that begins with a server's certificate needs its issuers and every other server's; one that
        begins with an authority is a list of authorities, and each of them is needed.
        """
        first, others = self.certificates[0], self.certificates[1:]
        if first.is_authority:
            return Chain(self.certificates, self.certificates)
        needed = certificate.path(first, others)
        needed += [one for one in others if not one.is_authority and one not in needed]
        return Chain(self.certificates, tuple(needed))


def read_bytes(path: str, what: str, largest: int = LARGEST) -> bytes:
    """Return what a regular file holds, called ``what``. Neither a pipe nor a huge file holds it up."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ProbeFailure(PARSE, f"{what} is no regular file")
            content = file.read(largest + 1)
    except FileNotFoundError as error:
        raise ProbeFailure(REFUSED, f"{what} does not exist") from error
    except NotADirectoryError as error:
        raise ProbeFailure(REFUSED, f"{what} does not exist: a part of its path is no directory") from error
    except IsADirectoryError as error:
        raise ProbeFailure(PARSE, f"{what} is a directory, and a file is wanted") from error
    except PermissionError as error:
        raise ProbeFailure(AUTH, f"this user may not read {what}") from error
    except OSError as error:
        raise ProbeFailure(INTERNAL, f"{what} cannot be read: {_net.reason(error)}") from error
    if len(content) > largest:
        raise ProbeFailure(PARSE, f"{what} is larger than {largest} bytes, so it holds something else")
    if not content.strip():
        raise ProbeFailure(PARSE, f"{what} is empty")
    return content


def read(file: File) -> Content:
    """Return the certificates of a file, and the key in it."""
    data = read_bytes(file.path, "it")
    if b"-----BEGIN" in data:
        return _pem(data)
    if not data.startswith(b"\x30"):
        raise ProbeFailure(PARSE, "it holds no certificate: it is neither PEM nor DER nor PKCS#12")
    length = _der_length(data)
    if length != len(data):
        raise ProbeFailure(PARSE, f"it holds {len(data)} bytes where its own beginning speaks of {length}")
    if _is_pkcs12(data):
        return _pkcs12(data, file)
    return Content("DER", (_certificate(data, "it"),), None)


def key_match(file: File, content: Content) -> Finding | None:
    """Judge whether the private key is that of the certificate; None where there is no key to compare."""
    if file.key is None and content.key is None:
        return None
    where = file.key or file.path
    try:
        key = _key(read_bytes(file.key, file.key), file, file.key) if file.key else _key(content.key, file, file.path)
        leaf = content.certificates[0]
        if pki.same_key(leaf.x509, key):
            return ok(MATCH, f"the key in {where} is that of the certificate")
    except ProbeFailure as failure:
        bad = failure.kind == AUTH and not _may_not_read(failure)
        return critical(MATCH, failure.message, AUTH) if bad else failed(MATCH, failure)
    return critical(MATCH, f"the key in {where} is not that of the certificate '{leaf.subject}'")


def _may_not_read(failure: ProbeFailure) -> bool:
    return isinstance(failure.__cause__, PermissionError)


def failing(failure: ProbeFailure, check: str) -> Finding:
    """Return the verdict on a file without certificates. A password that is wrong was seen to be so."""
    if failure.kind == AUTH and not _may_not_read(failure):
        return critical(check, failure.message, AUTH)
    return failed(check, failure)


def _pem(data: bytes) -> Content:
    blocks = CERTIFICATE.findall(data)
    begun = len(BEGIN_CERTIFICATE.findall(data))
    if not begun:
        raise ProbeFailure(PARSE, "it is PEM, and holds no certificate")
    if begun != len(blocks):
        raise ProbeFailure(PARSE, f"it is cut off: {begun} certificates begin in it, and {len(blocks)} end")
    key = PRIVATE_KEY.search(data)
    found = tuple(_from_pem(block, number) for number, block in enumerate(blocks, 1))
    return Content("PEM", found, key.group() if key else None)


def _from_pem(block: bytes, number: int) -> Certificate:
    body = b"".join(line for line in block.splitlines() if line and not line.startswith(b"-----"))
    try:
        der = binascii.a2b_base64(body)
    except ValueError as error:
        raise ProbeFailure(PARSE, f"certificate {number} in it is not base64: {error}") from error
    return _certificate(der, f"place {number} in it")


def _certificate(der: bytes, where: str) -> Certificate:
    try:
        return certificate.read(der)
    except ProbeFailure as failure:
        raise ProbeFailure(PARSE, f"{where} holds {failure.message}") from failure


def _der_length(data: bytes) -> int:
    """Return how long the outermost element says it is, 0 if that cannot be told."""
    if len(data) < 2:
        return 0
    size = data[1]
    if size < 0x80:
        return 2 + size
    count = size & 0x7F
    return 2 + count + int.from_bytes(data[2 : 2 + count], "big") if 0 < count <= 4 else 0


def _is_pkcs12(data: bytes) -> bool:
    """Say whether it begins as PKCS#12 does: with the number 3, its version."""
    header = 2 if data[1] < 0x80 else 2 + (data[1] & 0x7F)
    return data[header : header + 3] == b"\x02\x01\x03"


def _password(file: File) -> bytes | None:
    if file.password_file is None:
        return None
    lines = read_bytes(file.password_file, file.password_file, LONGEST_PASSWORD).splitlines()
    return lines[0] if lines else b""


def _pkcs12(data: bytes, file: File) -> Content:
    password = _password(file)
    try:
        key, leaf, others = pkcs12.load_key_and_certificates(data, password)
    except ValueError as error:
        if "password" not in str(error).lower():
            raise ProbeFailure(PARSE, f"it is no PKCS#12 that can be read: {error}") from error
        hint = (
            f"the password in {file.password_file} is wrong" if password else "it needs a password; give password_file"
        )
        raise ProbeFailure(AUTH, f"it cannot be opened: {hint}") from error
    except UnsupportedAlgorithm as error:
        raise ProbeFailure(MISSING_TOOL, f"it is PKCS#12 of a kind that cannot be read here: {error}") from error
    found = [one for one in (leaf, *others) if one is not None]
    if not found:
        raise ProbeFailure(PARSE, "it is PKCS#12 without a certificate in it")
    return Content("PKCS#12", tuple(_certificate(one.public_bytes(Encoding.DER), "it") for one in found), key)


def _key(given: t.Any, file: File, path: str) -> t.Any:
    if not isinstance(given, bytes):
        return given
    load = load_pem_private_key if b"-----BEGIN" in given else load_der_private_key
    try:
        return load(given, None)
    except TypeError:
        pass  # It is encrypted.
    except Exception:  # Some errors of the library repeat what they were given.
        raise ProbeFailure(PARSE, f"{path} holds no private key that can be read") from None
    password = _password(file)
    if password is None:
        raise ProbeFailure(AUTH, f"the key in {path} is encrypted; give password_file")
    try:
        return load(given, password)
    except Exception:
        raise ProbeFailure(AUTH, f"the password in {file.password_file} does not open the key in {path}") from None
