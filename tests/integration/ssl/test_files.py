"""What matrixon_ssl_expiry says about certificates in files, read as they lie on a host."""

from __future__ import annotations

import os
import pathlib
import typing as t
from dataclasses import dataclass, field

import pytest
from ask import Answer, ask, assert_said
from authority import Made, der, elliptic, key_pem, pem, self_signed
from cases import DATE, ODD, ON, THE_CERTIFICATE, Expected, Pki, ended, not_for, soonest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption, pkcs12
from cryptography.x509.oid import ExtensionOID
from farm import LOOPBACK, Farm, context, tls, without_rights
from names import Names

pytestmark = pytest.mark.integration

PASSWORD = b"p12 s3cret-canary"
BROKEN_NAMES = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"\x30\x05no")
FOLDER = "/.*"
NONE = "it holds no certificate: it is neither PEM nor DER nor PKCS#12"
Options = dict[str, t.Any]


@dataclass(frozen=True)
class Case:
    """A file: how it is made, what else is asked of it, and what comes out."""

    make: t.Callable[[pathlib.Path, Pki], Options | None]
    expected: Expected = field(default_factory=dict)


def holding(content: t.Callable[[Pki], bytes], **options: t.Any) -> t.Callable[[pathlib.Path, Pki], Options]:
    def make(path: pathlib.Path, pki: Pki) -> Options:
        path.write_bytes(content(pki))
        return options

    return make


def file(kind: str, message: str, status: str = "critical") -> Expected:
    return {"certificate_file": (status, kind, message)}


def beside(path: pathlib.Path, name: str, content: bytes) -> str:
    other = path.with_name(f"{path.name}.{name}")
    other.write_bytes(content)
    return str(other)


def full_chain(pki: Pki, **settings: t.Any) -> bytes:
    return pem(*pki.issuing.issue("file.farm.test", **settings).sent)


def ten(pki: Pki) -> bytes:
    """A bundle of ten, each of another day; the seventh ends first."""
    days = {7: 5}
    return pem(*(self_signed(f"bundle-{n}.farm.test", days=days.get(n, 50 + n)).certificate for n in range(1, 11)))


def store(password: bytes | None, made: Made) -> bytes:
    hidden = BestAvailableEncryption(password) if password else NoEncryption()
    return pkcs12.serialize_key_and_certificates(b"server", made.key, made.certificate, made.chain, hidden)


def _pkcs12(
    password: bytes | None, lost: bool = False, closed: bool = False
) -> t.Callable[[pathlib.Path, Pki], Options]:
    def make(path: pathlib.Path, pki: Pki) -> Options:
        path.write_bytes(store(PASSWORD, pki.issuing.issue("p12.farm.test", days=20)))
        if password is None:
            return {}
        given = beside(path, "password", password + b"\n")
        if closed:
            os.chmod(given, 0)
        if lost:
            os.unlink(given)
        return {"password_file": given}

    return make


def _open_pkcs12(path: pathlib.Path, pki: Pki) -> Options:
    """No password guards it, and the key in it is that of the certificate."""
    path.write_bytes(store(None, pki.issuing.issue("p12.farm.test")))
    return {}


def _with_key(ours: bool, password: bytes | None = None) -> t.Callable[[pathlib.Path, Pki], Options]:
    def make(path: pathlib.Path, pki: Pki) -> Options:
        made = pki.issuing.issue("keyed.farm.test")
        path.write_bytes(pem(*made.sent))
        return {"key": beside(path, "key", key_pem(made.key if ours else elliptic(), password))}

    return make


def _directory(path: pathlib.Path, _pki: Pki) -> None:
    path.mkdir()


def _pipe(path: pathlib.Path, _pki: Pki) -> None:
    """Whoever opens it waits for a writer, and none comes."""
    os.mkfifo(path)


def _closed(path: pathlib.Path, pki: Pki) -> None:
    path.write_bytes(full_chain(pki))
    path.chmod(0)


def _no_key(path: pathlib.Path, pki: Pki) -> Options:
    path.write_bytes(full_chain(pki))
    return {"key": str(path.with_name("no.key"))}


CASES: dict[str, Case] = {
    "good": Case(holding(full_chain)),
    "days_20": Case(
        holding(lambda pki: full_chain(pki, days=20)),
        soonest("warning", THE_CERTIFICATE, "20.0"),
    ),
    "days_5": Case(
        holding(lambda pki: full_chain(pki, days=5)),
        soonest("critical", THE_CERTIFICATE, "5.0"),
    ),
    "expired": Case(
        holding(lambda pki: full_chain(pki, days=-3)),
        ended(THE_CERTIFICATE, "3.0"),
    ),
    "ten": Case(holding(ten), soonest("critical", "the certificate of 'CN=bundle-7.farm.test'", "5.0")),
    "named": Case(holding(full_chain, names=["file.farm.test"])),
    "named_otherwise": Case(
        holding(full_chain, names=["file.farm.test", "second.farm.test"]),
        not_for("file.farm.test", "second.farm.test"),
    ),
    "odd_subject": Case(holding(lambda pki: pem(self_signed("odd.farm.test", common_name=ODD).certificate))),
    "broken_names": Case(
        holding(
            lambda pki: pem(pki.issuing.issue(common_name="broken.farm.test", more=[BROKEN_NAMES]).certificate),
            names=["broken.farm.test"],
        ),
        {
            f"certificate_{name}": ("critical", "parse", "the extensions of 'CN=broken.farm.test' cannot be read: .*")
            for name in ("name", "purpose")
        },
    ),
    "der": Case(
        holding(lambda pki: der(pki.issuing.issue("der.farm.test", days=20).certificate)),
        soonest("warning", THE_CERTIFICATE, "20.0"),
    ),
    "pkcs12": Case(_pkcs12(PASSWORD), soonest("warning", THE_CERTIFICATE, "20.0")),
    "pkcs12_wrong_password": Case(
        _pkcs12(b"not it"),
        file("auth", rf"it cannot be opened: the password in {FOLDER}/pkcs12_wrong_password\.password is wrong"),
    ),
    "pkcs12_no_password": Case(
        _pkcs12(None), file("auth", "it cannot be opened: it needs a password; give password_file")
    ),
    "pkcs12_password_missing": Case(
        _pkcs12(PASSWORD, lost=True), file("refused", rf"{FOLDER}/pkcs12_password_missing\.password does not exist")
    ),
    "pkcs12_password_closed": Case(
        _pkcs12(PASSWORD, closed=True),
        file("auth", rf"this user may not read {FOLDER}/pkcs12_password_closed\.password", "unknown"),
    ),
    "pkcs12_open": Case(_open_pkcs12),
    "pkcs12_cut": Case(
        holding(lambda pki: store(None, pki.issuing.issue("p12.farm.test"))[:500]),
        file("parse", r"it holds 500 bytes where its own beginning speaks of \d+"),
    ),
    "key": Case(_with_key(True)),
    "other_key": Case(
        _with_key(False),
        {
            "certificate_key_match": (
                "critical",
                None,
                rf"the key in {FOLDER}/other_key\.key is not that of the certificate 'CN=keyed\.farm\.test'",
            )
        },
    ),
    "locked_key": Case(
        _with_key(True, b"locked"),
        {
            "certificate_key_match": (
                "critical",
                "auth",
                rf"the key in {FOLDER}/locked_key\.key is encrypted; give password_file",
            )
        },
    ),
    "no_key": Case(_no_key, {"certificate_key_match": ("critical", "refused", rf"{FOLDER}/no\.key does not exist")}),
    "garbage": Case(holding(lambda pki: b"\0" + os.urandom(3000)), file("parse", NONE)),
    "text": Case(holding(lambda pki: b"not a certificate\n"), file("parse", NONE)),
    "cut_pem": Case(
        holding(lambda pki: full_chain(pki)[:400]),
        file("parse", "it is cut off: 1 certificates begin in it, and 0 end"),
    ),
    "cut_der": Case(
        holding(lambda pki: der(pki.issuing.certificate)[:200]),
        file("parse", r"it holds 200 bytes where its own beginning speaks of \d+"),
    ),
    "broken_der": Case(
        holding(lambda pki: b"\x30\x82\x01\x00" + bytes(256)),
        file("parse", "it holds a certificate that cannot be read: .*"),
    ),
    "key_only": Case(holding(lambda pki: key_pem(elliptic())), file("parse", "it is PEM, and holds no certificate")),
    "large": Case(
        holding(lambda pki: b"x" * 5_000_000),
        file("parse", "it is larger than 1048576 bytes, so it holds something else"),
    ),
    "empty": Case(holding(lambda pki: b""), file("parse", "it is empty")),
    "missing": Case(lambda path, pki: None, file("refused", "it does not exist")),
    "closed": Case(_closed, file("auth", "this user may not read it", "unknown")),
    "directory": Case(_directory, file("parse", "it is a directory, and a file is wanted")),
    "pipe": Case(_pipe, file("parse", "it is no regular file")),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory, pki: Pki, ca_file: str) -> Answer:
    folder = tmp_path_factory.mktemp("files")
    files = []
    for name, case in CASES.items():
        path = folder / name
        files.append({"path": str(path), "name": name, **(case.make(path, pki) or {})})
    return ask(without_rights, files=files, ca_file=ca_file)


@pytest.mark.parametrize("name", CASES)
def test_verdict(said: Answer, name: str) -> None:
    assert_said(said.of(name), CASES[name].expected)


def test_label_is_the_path_where_none_is_given(tmp_path: pathlib.Path, pki: Pki, ca_file: str) -> None:
    path = tmp_path / "cert.pem"
    path.write_bytes(full_chain(pki))
    answer = ask(files=[{"path": str(path)}], ca_file=ca_file)
    assert {check["target"] for check in answer.checks} == {str(path)}


def test_password_and_key_are_in_no_output(said: Answer) -> None:
    text = str(said.document)
    assert PASSWORD.decode() not in text
    assert "PRIVATE KEY" not in text


@dataclass(frozen=True)
class Renewed:
    """Three certificates of one name: the one that is served, and files that are newer, the same, and older."""

    endpoint: Options
    files: list[Options]


@pytest.fixture
def renewed(farm: Farm, pki: Pki, tmp_path: pathlib.Path) -> Renewed:
    made = {
        name: pki.issuing.issue("web.farm.test", days=days) for name, days in (("old", 40), ("same", 60), ("new", 80))
    }
    for name, one in made.items():
        (tmp_path / name).write_bytes(pem(*one.sent))
    return Renewed(
        {"name": "web", "host": "web.farm.test", "port": farm.tls(made["same"]), "address": LOOPBACK},
        [{"name": name, "path": str(tmp_path / name), "endpoint": "web"} for name in made],
    )


def test_reload_that_was_forgotten(renewed: Renewed, ca_file: str) -> None:
    answer = ask(endpoints=[renewed.endpoint], files=renewed.files, ca_file=ca_file)
    assert_said(answer.of("web"), {})
    assert_said(answer.of("same"), {})
    assert answer.of("same")["certificate_served"]["message"] == "same: web serves it"
    forgotten = (
        rf"web serves an older certificate, which ends {ON}, and not the one in the file, which ends {ON}: "
        "a reload was forgotten"
    )
    assert_said(answer.of("new"), {"certificate_served": ("warning", None, forgotten)})
    other = (
        rf"web serves another certificate, serial [0-9A-F]+, valid from {DATE} on, and not the one in the file, "
        "serial [0-9A-F]+: it reads another file"
    )
    assert_said(answer.of("old"), {"certificate_served": ("warning", None, other)})


def test_served_is_unknown_where_the_endpoint_cannot_be_seen(renewed: Renewed, farm: Farm, ca_file: str) -> None:
    endpoint = {**renewed.endpoint, "port": farm.closed()}
    answer = ask(endpoints=[endpoint], files=renewed.files, ca_file=ca_file)
    for file in renewed.files:
        message = "not measured: web served nothing to compare it with"
        assert_said(answer.of(file["name"]), {"certificate_served": ("unknown", None, message)})


def test_each_address_must_serve_the_file(renewed: Renewed, farm: Farm, pki: Pki, names: Names, ca_file: str) -> None:
    """One of two servers behind a name was reloaded."""
    port = renewed.endpoint["port"]
    # It answers last: a verdict on the first to answer would be good.
    farm.serve(tls(context(farm.file(pki.issuing.issue("web.farm.test", days=50))), 0.3), "127.0.0.2", port)
    names.addresses["web.farm.test"] = ["127.0.0.1", "127.0.0.2"]
    endpoint = {"name": "web", "host": "web.farm.test", "port": port}
    answer = ask(endpoints=[endpoint], files=renewed.files[1:2], ca_file=ca_file, resolvers=[names.address])
    older = rf"web at 127\.0\.0\.2 serves an older certificate, which ends {ON}, and not the one in the file, .*"
    assert_said(answer.of("same"), {"certificate_served": ("warning", None, older)})
