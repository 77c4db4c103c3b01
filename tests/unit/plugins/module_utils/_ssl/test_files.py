"""Tests of certificates and keys in files."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import pytest
from certificates import key_pem, make, new_authority, new_key
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption, pkcs12

from ansible_collections.matrixon.ops.plugins.module_utils._probe import ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._ssl import files
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.model import FILE, File

ROOT = new_authority("Root")
BETWEEN = new_authority("Between", ROOT)
LEAF = make(issuer=BETWEEN)
PASSWORD = b"a passw0rd"
LOCKED = pkcs12.serialize_key_and_certificates(
    b"n", LEAF.key, LEAF.x509, [BETWEEN.x509], BestAvailableEncryption(PASSWORD)
)
OPEN = pkcs12.serialize_key_and_certificates(b"n", LEAF.key, LEAF.x509, [BETWEEN.x509], NoEncryption())


@pytest.fixture
def put(tmp_path: pathlib.Path) -> Any:
    """Return a way to write a file."""

    def put(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return put


GOOD = {
    "PEM": (LEAF.pem, "PEM", 1, False),
    "PEM with its issuer": (LEAF.pem + BETWEEN.pem, "PEM", 2, False),
    "PEM with a key and words between": (b"x\n" + LEAF.key_pem + b"y\n" + LEAF.pem, "PEM", 1, True),
    "PEM with the ends of lines of Windows": (LEAF.pem.replace(b"\n", b"\r\n"), "PEM", 1, False),
    "DER": (LEAF.der, "DER", 1, False),
    "PKCS#12 without a password": (OPEN, "PKCS#12", 2, True),
}


@pytest.mark.parametrize(("content", "kind", "count", "key"), GOOD.values(), ids=list(GOOD))
def test_read(put: Any, content: bytes, kind: str, count: int, key: bool) -> None:
    found = files.read(File("it", put("it", content)))
    assert (found.kind, len(found.certificates), found.key is not None) == (kind, count, key)
    assert found.certificates[0] == LEAF.read


BAD = {
    "nothing": (b"", "it is empty"),
    "blanks": (b" \n", "it is empty"),
    "words": (b"hello", "it is neither PEM nor DER nor PKCS#12"),
    "a key": (LEAF.key_pem, "it is PEM, and holds no certificate"),
    "half of a certificate": (LEAF.pem[:-40], "it is cut off: 1 certificates begin in it, and 0 end"),
    "half of the second": (LEAF.pem + BETWEEN.pem[:-40], "it is cut off: 2 certificates begin in it, and 1 end"),
    "half of the first": (LEAF.pem[:-40] + BETWEEN.pem, "it is cut off: 2 certificates begin in it, and 1 end"),
    "another letter": (LEAF.pem.replace(b"MII", b"MIX", 1), "place 1 in it"),
    "half of DER": (LEAF.der[:-1], "where its own beginning speaks of"),
    "DER with more": (LEAF.der + b"x", "where its own beginning speaks of"),
    "DER of something else": (b"\x30\x03\x02\x01\x05", "cannot be read"),
    "too much": (b"x" * (files.LARGEST + 1), "so it holds something else"),
}


@pytest.mark.parametrize(("content", "words"), BAD.values(), ids=list(BAD))
def test_what_holds_no_certificate(put: Any, content: bytes, words: str) -> None:
    with pytest.raises(ProbeFailure) as caught:
        files.read(File("it", put("it", content)))
    finding = files.failing(caught.value, FILE)
    assert (finding.status, finding.error_kind) == ("critical", "parse")
    assert words in finding.message


def test_what_is_no_file(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    found = {}
    for name in ("missing", "pipe", ".", "pipe/below"):
        with pytest.raises(ProbeFailure) as caught:
            files.read(File("it", str(tmp_path / name)))
        found[name] = caught.value.kind
    assert found == {"missing": "refused", "pipe": "parse", ".": "parse", "pipe/below": "refused"}


def test_file_that_may_not_be_read_is_unknown() -> None:
    failure = ProbeFailure("auth", "this user may not read it")
    failure.__cause__ = PermissionError()
    assert (files.failing(failure, FILE).status, files.failing(failure, FILE).error_kind) == ("unknown", "auth")


def test_pkcs12_with_its_password_and_with_another(put: Any) -> None:
    path, right, wrong = put("it", LOCKED), put("right", PASSWORD + b"\n"), put("wrong", b"nope\n")
    assert files.read(File("it", path, right)).certificates == (LEAF.read, BETWEEN.read)
    for given, words in ((wrong, f"the password in {wrong} is wrong"), (None, "it needs a password")):
        with pytest.raises(ProbeFailure) as caught:
            files.read(File("it", path, given))
        finding = files.failing(caught.value, FILE)
        assert (finding.status, finding.error_kind) == ("critical", "auth")
        assert words in finding.message and PASSWORD.decode() not in finding.message


def test_chain_of_a_file() -> None:
    other, extra = make("another", ROOT), new_authority("Extra", ROOT)

    def needed(*certificates: Any) -> list[str]:
        content = files.Content("PEM", tuple(one.read for one in certificates), None)
        return [one.subject for one in content.chain.needed]

    assert needed(LEAF, BETWEEN, extra) == ["CN=a server", "CN=Between"]
    assert needed(LEAF, BETWEEN, other) == ["CN=a server", "CN=Between", "CN=another"]
    assert needed(ROOT, extra, BETWEEN) == ["CN=Root", "CN=Extra", "CN=Between"]


def match(put: Any, content: bytes, key: bytes | None, password: bytes | None = None) -> tuple[str, str | None] | None:
    file = File("it", put("it", content), put("pw", password) if password else None, put("key", key) if key else None)
    finding = files.key_match(file, files.read(file))
    return (finding.status, finding.error_kind) if finding else None


def test_key_of_a_certificate(put: Any) -> None:
    other = key_pem(new_key())
    assert match(put, LEAF.pem, None) is None
    assert match(put, LEAF.pem, LEAF.key_pem) == ("ok", None)
    assert match(put, LEAF.pem, other) == ("critical", None)
    assert match(put, LEAF.pem + LEAF.key_pem, None) == ("ok", None)
    assert match(put, LEAF.pem + other, None) == ("critical", None)
    # The one that is named is the one that counts.
    assert match(put, LEAF.pem + LEAF.key_pem, other) == ("critical", None)
    assert match(put, OPEN, None) == ("ok", None)
    assert match(put, LEAF.pem, b"nonsense") == ("critical", "parse")


def test_key_that_is_encrypted(put: Any) -> None:
    locked = key_pem(LEAF.key, PASSWORD)
    assert match(put, LEAF.pem, locked) == ("critical", "auth")
    assert match(put, LEAF.pem, locked, b"nope") == ("critical", "auth")
    assert match(put, LEAF.pem, locked, PASSWORD) == ("ok", None)
