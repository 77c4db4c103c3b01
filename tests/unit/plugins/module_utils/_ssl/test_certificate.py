"""Tests of what a certificate says of itself, and of the way from one to its issuer."""

from __future__ import annotations

import concurrent.futures

import pytest
from certificates import Made, make, new_authority, new_key
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519

from ansible_collections.matrixon.ops.plugins.module_utils._probe import PARSE, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._ssl import certificate
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.certificate import Anchors, Certificate

ROOT = new_authority("Root")
BETWEEN = new_authority("Between", ROOT)


def found(leaf: Made, *others: Made, anchors: Anchors | None = None) -> list[str]:
    return [one.subject for one in certificate.path(leaf.read, [other.read for other in others], anchors)]


def test_what_it_says() -> None:
    made = make("it", BETWEEN, names=["M.test", "192.0.2.1"])
    one = made.read
    assert (one.subject, one.issuer) == ("CN=it", "CN=Between")
    assert one.names == ["m.test", "192.0.2.1"]
    assert (one.key, one.signature) == ("EC secp256r1", "ecdsa-with-SHA256")
    assert (one.is_authority, one.self_issued, one.must_staple, one.weak_hash) == (False, False, False, None)
    assert int(one.serial, 16) == made.x509.serial_number
    assert (ROOT.read.is_authority, ROOT.read.self_issued) == (True, True)


def test_must_staple() -> None:
    for feature, wanted in ((x509.TLSFeatureType.status_request, True), (x509.TLSFeatureType.status_request_v2, False)):
        assert make(more=[x509.TLSFeature([feature])]).read.must_staple is wanted


def test_key_of_another_kind() -> None:
    one = make(issuer=BETWEEN, key=ed25519.Ed25519PrivateKey.generate()).read
    assert (one.key, one.weak_key) == ("Ed25519", None)


@pytest.mark.parametrize("der", [b"", b"nonsense", make().der[:-1]], ids=["nothing", "nonsense", "cut off"])
def test_what_is_no_certificate(der: bytes) -> None:
    with pytest.raises(ProbeFailure) as caught:
        Certificate(der)
    assert caught.value.kind == PARSE and caught.value.message.startswith("a certificate that cannot be read")


def test_one_certificate_can_be_asked_by_many_threads_at_once() -> None:
    shared = certificate.read(make(names=[f"n{number}.test" for number in range(50)]).der)

    def ask(_number: int) -> tuple[int, bool, str | None]:
        return len(shared.names), shared.is_authority, shared.unfit

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(200))) == {(50, False, None)}


def test_path_follows_issuers_in_any_order() -> None:
    upper = new_authority("Upper", ROOT)
    lower = new_authority("Lower", upper)
    leaf = make(issuer=lower)
    assert found(leaf, ROOT, upper, BETWEEN, lower) == ["CN=a server", "CN=Lower", "CN=Upper", "CN=Root"]
    assert found(leaf, upper) == ["CN=a server"]


def test_path_takes_a_signature_for_its_word_and_not_a_name() -> None:
    impostor = new_authority("Between", ROOT)
    assert found(make(issuer=BETWEEN), impostor) == ["CN=a server"]
    assert found(make(issuer=BETWEEN), impostor, BETWEEN)[1:] == ["CN=Between"]


def test_path_takes_the_issuer_that_lasts_and_ends_at_an_anchor() -> None:
    key = new_key()
    old, new = new_authority("Twin", ROOT, ends=-5, key=key), new_authority("Twin", ROOT, ends=500, key=key)
    leaf = make(issuer=new)
    way = certificate.path(leaf.read, [old.read, new.read])
    assert way[1] == new.read
    # The anchor of that name makes the one that was sent and that has ended needless.
    assert found(leaf, old, anchors=Anchors([new_authority("Twin", key=key).read])) == ["CN=a server"]
    assert found(leaf, old, anchors=Anchors([new_authority("Twin").read])) == ["CN=a server", "CN=Twin"]


def test_path_ends_where_two_issue_each_other() -> None:
    one, two = new_key(), new_key()
    first = new_authority("One", new_authority("Two", key=two), key=one)
    second = new_authority("Two", new_authority("One", key=one), key=two)
    assert found(make(issuer=first), first, second) == ["CN=a server", "CN=One", "CN=Two"]


BROKEN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.1"), b"\x30\x05no")


def test_extensions_that_cannot_be_read_are_a_failure_of_those_who_need_them() -> None:
    one = make(more=[BROKEN]).read
    assert (one.is_authority, one.must_staple, one.key) == (False, False, "EC secp256r1")
    for ask in (lambda: one.names, lambda: one.unfit):
        with pytest.raises(ProbeFailure) as caught:
            ask()
        assert caught.value.kind == PARSE
        assert caught.value.message.startswith("the extensions of 'CN=a server' cannot be read")


def test_words_of_a_certificate_begin_no_line_and_move_no_terminal() -> None:
    one = make("a\n# b\r\x1b[31m\u202e", names=["m.test\nup 1"]).read
    assert one.subject == one.issuer == "CN=a\\n# b\\r\\x1b[31m\\u202e"
    assert one.names == ["m.test\\nup 1"]
