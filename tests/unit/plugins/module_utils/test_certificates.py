"""A certificate is held against its key, its names, the time and its issuer."""

from __future__ import annotations

import datetime
import typing as t

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from ansible_collections.matrixon.ops.plugins.module_utils import _certificates as pki

NOW = datetime.datetime(2026, 3, 1, 12)
NAMES = ["example.com", "matrix.example.com", "10.0.0.1", "fd00::1"]


class Issued(t.NamedTuple):
    """A certificate of a CA, with what belongs to it."""

    ca_key: t.Any
    ca: t.Any
    key: t.Any
    leaf: t.Any


def issue(names: list[str], days: int = 90, key: t.Any = None, moment: datetime.datetime = NOW) -> Issued:
    ca_key, ca = pki.authority("a CA", moment)
    key = key or pki.new_key()
    text = pki.issue(pki.request(key, ["asked.example.org"]), names, ca_key, ca, days, moment)
    (leaf,) = pki.load_chain(text)
    return Issued(ca_key, ca, key, leaf)


@pytest.fixture(scope="module")
def good() -> Issued:
    return issue(NAMES)


def test_nothing_speaks_against_a_good_certificate(good: Issued) -> None:
    assert pki.problems([good.leaf], good.key, NAMES, [good.ca], NOW) == []
    assert pki.problems([good.leaf, good.ca], good.key, NAMES, [good.ca], NOW) == []
    # Whom a public CA signed is not asked.
    assert pki.problems([good.leaf], good.key, ["example.com"], [], NOW) == []


def test_the_names_are_those_of_the_inventory_not_those_asked_for(good: Issued) -> None:
    assert pki.names_of(good.leaf) == NAMES


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda one: ([one.leaf], pki.new_key(), NAMES, [one.ca], NOW), "the key is not the one of the certificate"),
        (lambda one: ([one.leaf], one.key, ["other.example.com"], [one.ca], NOW), "and not for other.example.com"),
        (lambda one: ([one.leaf], one.key, NAMES, [one.ca], NOW + 91 * pki.DAY), "it ended on 2026-05-30 12:00 UTC"),
        (lambda one: ([one.leaf], one.key, NAMES, [one.ca], NOW - pki.DAY), "it begins on 2026-03-01 11:00 UTC"),
        (lambda one: ([one.leaf], one.key, NAMES, [issue(NAMES).ca], NOW), "which is not the CA that was given"),
        (lambda one: ([one.leaf, issue(NAMES).ca], one.key, NAMES, [], NOW), "the chain is out of order"),
        (lambda one: ([], one.key, NAMES, [], NOW), "there is no certificate in it"),
    ],
    ids=["key", "name", "ended", "begins", "issuer", "chain", "empty"],
)
def test_what_speaks_against_it_is_named(good: Issued, spoil: t.Callable[[Issued], tuple], sentence: str) -> None:
    (problem,) = pki.problems(*spoil(good))
    assert sentence in problem


def test_a_short_key_is_named() -> None:
    short = issue(NAMES, key=rsa.generate_private_key(65537, 1024))
    (problem,) = pki.problems([short.leaf], short.key, NAMES, [short.ca], NOW)
    assert "its RSA key of 1024 bits is too short" in problem


@pytest.mark.parametrize(
    ("have", "wanted", "covered"),
    [
        (["example.com"], "EXAMPLE.com.", True),
        (["*.example.com"], "matrix.example.com", True),
        (["*.example.com"], "example.com", False),
        (["*.example.com"], "a.b.example.com", False),
        (["fd00::1"], "FD00:0:0::1", True),
        (["*.0.0.1"], "10.0.0.1", False),
    ],
)
def test_a_wildcard_stands_for_one_label_and_no_address(have: list[str], wanted: str, covered: bool) -> None:
    assert pki.covers(have, wanted) is covered


def test_a_certificate_never_outlives_its_authority() -> None:
    ca_key, ca = pki.authority("a CA", NOW)
    late = NOW + (pki.CA_DAYS - 5) * pki.DAY
    (leaf,) = pki.load_chain(pki.issue(pki.request(pki.new_key(), ["a.b"]), ["a.b"], ca_key, ca, 90, late))
    assert pki.not_after(leaf) <= pki.not_after(ca)


def test_a_placeholder_says_so_and_nothing_else_does(good: Issued) -> None:
    text, key = pki.placeholder(["example.com"], NOW)
    (leaf,) = pki.load_chain(text)
    assert pki.is_placeholder(leaf) and not pki.is_placeholder(good.leaf)
    assert pki.problems([leaf], pki.load_key(key), ["example.com"], [], NOW) == []


def test_a_text_that_is_no_key_is_not_quoted() -> None:
    with pytest.raises(pki.BadCertificate) as error:
        pki.load_key("-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----")
    assert "secret" not in str(error.value)
