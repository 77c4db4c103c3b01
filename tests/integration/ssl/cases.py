"""The farm as a table: each endpoint, and what must be said about it.

A check that a case does not name must be ok or skipped. ``openssl`` is the
verify code of ``openssl s_client``, None where it never sees a certificate.
"""

from __future__ import annotations

import functools
import pathlib
import re
import ssl
import typing as t
from dataclasses import dataclass, field

import farm as f
from authority import CLIENT, MUST_STAPLE, Authority, Made, rsa_key, self_signed, subject
from cryptography import x509
from cryptography.x509.oid import ExtensionOID

# The verdict, the kind of error, and the message after the target's label as a regular expression.
Said = tuple[str, str | None, str]
Expected = dict[str, Said]

DATE = r"\d{4}-\d\d-\d\d \d\d:\d\d UTC"
ON = f"on {DATE}"
THE_CERTIFICATE = "the certificate"
# trustme gives each of its authorities a name of its own.
TRUSTME = r"'OU=Testing CA #[^,]+,O=trustme [^,]+'"

# Verify codes of OpenSSL.
OK, NO_ISSUER, NOT_YET, EXPIRED, SELF_SIGNED, SELF_SIGNED_CHAIN = 0, 20, 9, 10, 18, 19
PURPOSE, KEY_TOO_SMALL, CA_KEY_TOO_SMALL, HASH_TOO_WEAK, HOST, ADDRESS = 26, 66, 67, 68, 62, 64


# The words in brackets are OpenSSL's, and change with its version.
NOT_TLS = r"what answers there does not speak TLS \([a-z ]+\)"
SILENT = "the TLS handshake: no answer within 2 s"
# Lines of a log, of metrics and of a page.
UNREADABLE = r"the extensions of 'CN=broken-extension\.farm\.test' cannot be read: .*"
BROKEN = x509.UnrecognizedExtension(ExtensionOID.AUTHORITY_INFORMATION_ACCESS, b"\x30\x05no")
ODD = "odd\n# HELP up\nup 1\r\x1b[31m<b>"
STRANGE: Expected = {
    "certificate_trust": ("critical", None, f"it leads to {TRUSTME}, which is no authority that is trusted here")
}


class Pki:
    """Every authority of the farm."""

    def __init__(self) -> None:
        self.root = Authority.new()
        self.issuing = self.root.authority("Farm Issuing CA")
        self.namesake = self.root.authority("Farm Issuing CA")
        self.expiring = self.root.authority("Farm Expiring CA", days=20)
        self.expired = self.root.authority("Farm Expired CA", days=-2)
        self.policy = self.root.authority("Farm Policy CA")
        self.deep = self.policy.authority("Farm Deep CA")
        self.rsa = self.root.authority("Farm RSA CA", key=rsa_key())
        self.small = self.root.authority("Farm Small CA", key=rsa_key(1024))
        self.stranger_namesake = Authority.own(self.root.certificate.subject)
        self.ended = Authority.own(subject("Farm Ended Root"), days=-5)
        self.stranger = Authority.new()
        self.cross = Authority.new().cross_sign(self.root, days=-100)
        self.anchors = (self.root.certificate, self.ended.certificate)


@dataclass(frozen=True)
class Case:
    """An endpoint: how it is started, what else is asked of it, and what comes out."""

    start: t.Callable[[f.Farm, Pki], int]
    expected: Expected = field(default_factory=dict)
    openssl: int | None = OK
    host: str | None = None
    options: dict[str, t.Any] = field(default_factory=dict)

    def host_of(self, name: str) -> str:
        return self.host or f"{name.replace('_', '-')}.farm.test"


def issued(authority: str = "issuing", *names: str, **settings: t.Any) -> t.Callable[[f.Farm, Pki], int]:
    """Serve a certificate of one of the authorities."""

    def start(farm: f.Farm, pki: Pki) -> int:
        return farm.tls(getattr(pki, authority).issue(*names, **settings))

    return start


def made(make: t.Callable[[Pki, pathlib.Path], Made], **settings: t.Any) -> t.Callable[[f.Farm, Pki], int]:
    """Serve a certificate that is made in a way of its own."""
    return lambda farm, pki: farm.tls(make(pki, farm.directory), **settings)


def answering(serve: f.Serve) -> t.Callable[[f.Farm, Pki], int]:
    """Serve no certificate."""
    return lambda farm, pki: farm.serve(serve)


def upgraded(serve: t.Callable[[ssl.SSLContext], f.Serve], name: str) -> t.Callable[[f.Farm, Pki], int]:
    """Serve a certificate after STARTTLS."""
    return lambda farm, pki: farm.serve(serve(f.context(farm.file(pki.issuing.issue(name)))))


def soonest(status: str, what: str, days: str) -> Expected:
    """What is said of the time that is left."""
    return {"certificate_expiry": (status, None, rf"{what} expires in {re.escape(days)} days, {ON}")}


def ended(what: str, days: str) -> Expected:
    return {"certificate_expiry": ("critical", None, rf"{what} expired {re.escape(days)} days ago, {ON}")}


def not_for(have: str, wanted: str) -> Expected:
    return {"certificate_name": ("critical", None, re.escape(f"it is for {have}, and not for {wanted}"))}


def short_key(what: str) -> Expected:
    message = f"{what} has an RSA key of 1024 bits, and 2048 is the least that clients take"
    return {"certificate_key": ("critical", None, message)}


def old_hash(name: str) -> Expected:
    return {"certificate_signature": ("critical", None, f"the certificate is signed with {name}, which can be forged")}


def connection(kind: str, message: str, status: str = "critical") -> Expected:
    return {"certificate_connection": (status, kind, message)}


def _sni(farm: f.Farm, pki: Pki) -> int:
    default = f.context(farm.file(pki.issuing.issue("default.farm.test")))
    named = f.context(farm.file(pki.issuing.issue("sni.farm.test")))
    return farm.serve(f.by_name(default, {"sni.farm.test": named}))


def _misses_intermediate(pki: Pki, _directory: pathlib.Path) -> Made:
    return pki.issuing.issue("missing-intermediate.farm.test").with_chain()


def _misses_one_of_two(pki: Pki, _directory: pathlib.Path) -> Made:
    return pki.deep.issue("missing-one-of-two.farm.test").with_chain(pki.deep.certificate)


def _has_many_faults(pki: Pki, _directory: pathlib.Path) -> Made:
    return pki.issuing.issue("elsewhere.farm.test", days=-3, usage=CLIENT, key=rsa_key(1024)).with_chain()


def _endless_chain(pki: Pki, _directory: pathlib.Path) -> Made:
    leaf = pki.issuing.issue("endless-chain.farm.test")
    return leaf.with_chain(*leaf.chain, *[pki.deep.certificate] * 400)


def _wrong_order(pki: Pki, _directory: pathlib.Path) -> Made:
    return pki.deep.issue("wrong-order.farm.test").with_chain(pki.policy.certificate, pki.deep.certificate)


def _expired_extra(pki: Pki, _directory: pathlib.Path) -> Made:
    leaf = pki.issuing.issue("expired-extra.farm.test")
    return leaf.with_chain(*leaf.chain, pki.cross)


def _with_root(pki: Pki, _directory: pathlib.Path) -> Made:
    leaf = pki.issuing.issue("with-root.farm.test")
    return leaf.with_chain(*leaf.chain, pki.root.certificate)


def _old_hash(name: str, digest: str, pki: Pki, directory: pathlib.Path) -> Made:
    return pki.rsa.issue_with_old_hash(name, directory, digest)


FORGED: Expected = {"certificate_trust": ("critical", None, "it is not accepted: certificate signature failure")}
NO_INTERMEDIATE: Expected = {
    "certificate_chain": (
        "critical",
        None,
        "only the server's own certificate is sent, and its issuer 'CN=Farm Issuing CA' is no authority that is "
        "trusted here: the intermediate is missing; serve the full chain",
    )
}
NO_SERVER: Expected = {
    "certificate_purpose": (
        "critical",
        None,
        "no server may use it: its extended key usage has no serverAuth in it",
    )
}

# Host names are the case's own with hyphens, such as days-20.farm.test.
CASES: dict[str, Case] = {
    # Time.
    "good": Case(issued("issuing", "good.farm.test")),
    "days_20": Case(
        issued("issuing", "days-20.farm.test", days=20),
        soonest("warning", THE_CERTIFICATE, "20.0"),
    ),
    "days_5": Case(
        issued("issuing", "days-5.farm.test", days=5),
        soonest("critical", THE_CERTIFICATE, "5.0"),
    ),
    "expired": Case(
        issued("issuing", "expired.farm.test", days=-3),
        ended(THE_CERTIFICATE, "3.0"),
        EXPIRED,
    ),
    "not_yet": Case(
        issued("issuing", "not-yet.farm.test", days=92),
        {
            "certificate_expiry": (
                "critical",
                None,
                f"the certificate is not valid for another 2[.]0 days, until {DATE}",
            )
        },
        NOT_YET,
    ),
    # Six days of life: by days alone it would be critical on its first.
    "short_lived": Case(issued("issuing", "short-lived.farm.test", days=4, of=6)),
    "short_lived_late": Case(
        issued("issuing", "short-lived-late.farm.test", days=1.5, of=6),
        soonest("warning", THE_CERTIFICATE, "1.5"),
    ),
    "short_lived_over": Case(
        issued("issuing", "short-lived-over.farm.test", days=0.5, of=6),
        soonest("critical", THE_CERTIFICATE, "0.5"),
    ),
    "expiring_intermediate": Case(
        issued("expiring", "expiring-intermediate.farm.test"),
        soonest("warning", "the intermediate 'CN=Farm Expiring CA'", "20.0"),
    ),
    "expired_intermediate": Case(
        issued("expired", "expired-intermediate.farm.test"),
        ended("the intermediate 'CN=Farm Expired CA'", "2.0"),
        EXPIRED,
    ),
    # Trust.
    "self_signed": Case(
        made(lambda pki, _directory: self_signed("self-signed.farm.test")),
        {
            "certificate_trust": (
                "critical",
                None,
                r"it is signed by itself \('CN=self-signed\.farm\.test'\), and no client trusts that",
            )
        },
        SELF_SIGNED,
    ),
    "self_signed_allowed": Case(
        made(lambda pki, _directory: self_signed("self-signed-allowed.farm.test")),
        {},
        SELF_SIGNED,
        options={"self_signed": True},
    ),
    "self_signed_allowed_expired": Case(
        made(lambda pki, _directory: self_signed("self-signed-allowed-expired.farm.test", days=-3)),
        ended(THE_CERTIFICATE, "3.0"),
        SELF_SIGNED,
        options={"self_signed": True},
    ),
    "stranger": Case(
        made(lambda pki, _directory: pki.stranger.issue("stranger.farm.test").with_chain(pki.stranger.certificate)),
        STRANGE,
        SELF_SIGNED_CHAIN,
    ),
    "stranger_allowed": Case(
        made(lambda pki, _d: pki.stranger.issue("stranger-allowed.farm.test").with_chain(pki.stranger.certificate)),
        STRANGE,
        SELF_SIGNED_CHAIN,
        options={"self_signed": True},
    ),
    # Signed by someone else than who is named: a lie, or an authority that was made anew under its old name.
    "forged": Case(
        made(lambda pki, _directory: pki.issuing.forger().issue("forged.farm.test")),
        FORGED,
        7,
    ),
    "forged_client_only": Case(
        made(lambda pki, _directory: pki.issuing.forger().issue("forged-client-only.farm.test", usage=CLIENT)),
        NO_SERVER,
        PURPOSE,
    ),
    "forged_expired": Case(
        made(lambda pki, _directory: pki.issuing.forger().issue("forged-expired.farm.test", days=-3)),
        {**FORGED, **ended(THE_CERTIFICATE, "3.0")},
        7,
    ),
    "forged_rsa_1024": Case(
        made(lambda pki, _directory: pki.issuing.forger().issue("forged-rsa-1024.farm.test", key=rsa_key(1024))),
        {**FORGED, **short_key(THE_CERTIFICATE)},
        KEY_TOO_SMALL,
    ),
    "namesake": Case(
        made(lambda pki, _directory: pki.namesake.issue("namesake.farm.test").with_chain(pki.issuing.certificate)),
        {
            "certificate_chain": (
                "critical",
                None,
                "the 'CN=Farm Issuing CA' that is sent with it did not issue it: another authority of that name, with "
                "another key, did; serve the full chain that came with the certificate",
            )
        },
        NO_ISSUER,
    ),
    "namesake_anchor": Case(
        made(lambda pki, _directory: pki.stranger_namesake.issue("namesake-anchor.farm.test")),
        {
            "certificate_chain": (
                "critical",
                None,
                f"only the server's own certificate is sent, and its issuer {TRUSTME} is no authority that is trusted "
                "here: the intermediate is missing; serve the full chain",
            )
        },
        NO_ISSUER,
    ),
    "unrelated_sent": Case(
        made(lambda pki, _directory: pki.issuing.issue("unrelated-sent.farm.test").with_chain(pki.deep.certificate)),
        {
            "certificate_chain": (
                "critical",
                None,
                "nothing that is sent with it issued it, and its issuer 'CN=Farm Issuing CA' is no authority that is "
                "trusted here: the intermediate is missing; serve the full chain",
            )
        },
        NO_ISSUER,
    ),
    "ended_root": Case(
        issued("ended", "ended-root.farm.test"),
        {
            "certificate_trust": (
                "critical",
                None,
                "it leads to 'CN=Farm Ended Root', an authority that has expired",
            )
        },
        EXPIRED,
    ),
    # Names.
    "wrong_host": Case(
        issued("issuing", "other.farm.test"),
        not_for("other.farm.test", "wrong-host.farm.test"),
        HOST,
    ),
    "wildcard": Case(issued("issuing", "*.farm.test")),
    "wildcard_depth": Case(
        issued("issuing", "*.farm.test"),
        not_for("*.farm.test", "a.b.farm.test"),
        HOST,
        host="a.b.farm.test",
    ),
    "wildcard_bare": Case(
        issued("issuing", "*.farm.test"),
        not_for("*.farm.test", "farm.test"),
        HOST,
        host="farm.test",
    ),
    "address_named": Case(issued("issuing", f.LOOPBACK), host=f.LOOPBACK),
    "address_not_named": Case(
        issued("issuing", "address-not-named.farm.test"),
        not_for("address-not-named.farm.test", f.LOOPBACK),
        ADDRESS,
        host=f.LOOPBACK,
    ),
    "name_of_two": Case(
        issued("issuing", "name-of-two.farm.test"),
        not_for("name-of-two.farm.test", "second.farm.test"),
        options={"names": ["name-of-two.farm.test", "second.farm.test"]},
    ),
    "common_name_only": Case(
        issued("issuing", common_name="common-name-only.farm.test"),
        {
            "certificate_name": (
                "critical",
                None,
                "it has no subject alternative name, where clients look; it must be for "
                r"common-name-only\.farm\.test",
            )
        },
    ),
    "sni": Case(_sni),
    "sni_wrong": Case(
        _sni,
        not_for("default.farm.test", "sni-wrong.farm.test"),
        HOST,
    ),
    "sni_given": Case(_sni, {}, OK, options={"server_name": "sni.farm.test"}),
    # The chain.
    "missing_intermediate": Case(
        made(_misses_intermediate),
        NO_INTERMEDIATE,
        NO_ISSUER,
    ),
    # From outside this looks like a root that nobody trusts: a server sends no root.
    "missing_one_of_two": Case(
        made(_misses_one_of_two),
        {
            "certificate_trust": (
                "critical",
                None,
                "it leads to 'CN=Farm Policy CA', which was not sent and is no authority that is trusted here",
            )
        },
        NO_ISSUER,
    ),
    "wrong_order": Case(
        made(_wrong_order),
        {
            "certificate_chain": (
                "warning",
                None,
                "the chain is out of order, from 'CN=Farm Policy CA' on: some clients do not put it right; "
                "serve the certificate first, then each one's issuer",
            )
        },
    ),
    "expired_extra": Case(
        made(_expired_extra),
        {
            "certificate_chain": (
                "warning",
                None,
                rf"the intermediate {TRUSTME} expired {ON}: no client needs it, but some trip over it; leave it out",
            )
        },
    ),
    "with_root": Case(made(_with_root)),
    "deep": Case(issued("deep", "deep.farm.test")),
    # Keys, hashes, purposes.
    "rsa_2048": Case(issued("rsa", "rsa-2048.farm.test", key=rsa_key())),
    "rsa_1024": Case(
        issued("rsa", "rsa-1024.farm.test", key=rsa_key(1024)),
        short_key(THE_CERTIFICATE),
        KEY_TOO_SMALL,
    ),
    "rsa_1024_intermediate": Case(
        issued("small", "rsa-1024-intermediate.farm.test"),
        short_key("the intermediate 'CN=Farm Small CA'"),
        CA_KEY_TOO_SMALL,
    ),
    "sha1": Case(
        made(functools.partial(_old_hash, "sha1.farm.test", "sha1")),
        old_hash("SHA1"),
        HASH_TOO_WEAK,
    ),
    "md5": Case(
        made(functools.partial(_old_hash, "md5.farm.test", "md5")),
        old_hash("MD5"),
        HASH_TOO_WEAK,
    ),
    "client_only": Case(
        issued("issuing", "client-only.farm.test", usage=CLIENT),
        NO_SERVER,
        PURPOSE,
    ),
    "no_usage": Case(issued("issuing", "no-usage.farm.test", usage=())),
    "must_staple": Case(
        issued("issuing", "must-staple.farm.test", more=[MUST_STAPLE]),
        {
            "certificate_staple": (
                "critical",
                None,
                "the certificate says that an answer of its authority is stapled to it, and none is sent",
            )
        },
    ),
    # Many at once: the first one that a client trips over hides no other.
    "many": Case(
        made(_has_many_faults),
        {
            **ended(THE_CERTIFICATE, "3.0"),
            **not_for("elsewhere.farm.test", "many.farm.test"),
            **short_key(THE_CERTIFICATE),
            **NO_SERVER,
            **NO_INTERMEDIATE,
        },
        KEY_TOO_SMALL,
    ),
    "many_trusted": Case(
        issued("small", "elsewhere.farm.test", days=-3, usage=CLIENT),
        {
            **ended(THE_CERTIFICATE, "3.0"),
            **not_for("elsewhere.farm.test", "many-trusted.farm.test"),
            **short_key("the intermediate 'CN=Farm Small CA'"),
            **NO_SERVER,
        },
        PURPOSE,
    ),
    "stranger_expired": Case(
        made(
            lambda pki, _d: pki.stranger.issue("stranger-expired.farm.test", days=-3).with_chain(
                pki.stranger.certificate
            )
        ),
        {**STRANGE, **ended(THE_CERTIFICATE, "3.0")},
        SELF_SIGNED_CHAIN,
    ),
    # What is served to hurt whoever looks.
    "endless_chain": Case(
        made(_endless_chain), connection("tls", "the TLS handshake: TLS failed: excessive message size"), None
    ),
    "odd_subject": Case(
        made(lambda pki, _d: self_signed("odd-subject.farm.test", common_name=ODD)),
        {
            "certificate_trust": (
                "critical",
                None,
                re.escape(
                    r"it is signed by itself ('CN=odd\n# HELP up\nup 1\r\x1b[31m\<b\>'), and no client trusts that"
                ),
            )
        },
        SELF_SIGNED,
    ),
    "broken_extension": Case(
        issued("issuing", "broken-extension.farm.test", more=[BROKEN]),
        {f"certificate_{name}": ("critical", "parse", UNREADABLE) for name in ("name", "purpose")},
    ),
    # Servers that want a certificate of the client, such as Redis. With TLS 1.2 they hang up before Python shows
    # theirs. openssl ends with an error either way.
    "mutual": Case(made(lambda pki, _d: pki.issuing.issue("mutual.farm.test"), mutual=True), {}, None),
    "mutual_1_2": Case(
        made(lambda pki, _d: pki.issuing.issue("mutual-1-2.farm.test"), mutual=True, highest=ssl.TLSVersion.TLSv1_2),
        connection("tls", "the TLS handshake: TLS failed: .* alert handshake failure"),
        None,
    ),
    # No certificate to be seen.
    "plain_http": Case(answering(f.plain_http), connection("tls", NOT_TLS), None),
    "ssh": Case(answering(f.ssh), connection("tls", NOT_TLS), None),
    "refused": Case(
        lambda farm, pki: farm.closed(),
        connection("refused", "connection refused, nothing listens there"),
        None,
    ),
    "reset": Case(
        answering(f.reset),
        connection("refused", r"the TLS handshake: the connection was cut \(Connection reset by peer\)"),
        None,
    ),
    "closes_after_hello": Case(
        answering(f.closes_after_hello),
        connection("refused", "it closed the connection during the TLS handshake"),
        None,
    ),
    "silent": Case(lambda farm, pki: farm.silent(), connection("timeout", SILENT, "unknown"), None),
    "silent_required": Case(
        lambda farm, pki: farm.silent(), connection("timeout", SILENT), None, options={"required": True}
    ),
    "drip": Case(
        lambda farm, pki: farm.drip(pki.issuing.issue("drip.farm.test")),
        connection("timeout", SILENT, "unknown"),
        None,
    ),
    "tls_1_0": Case(
        made(
            lambda pki, _directory: pki.issuing.issue("tls-1-0.farm.test"),
            lowest=ssl.TLSVersion.TLSv1,
            highest=ssl.TLSVersion.TLSv1,
        ),
        connection("tls", r"it speaks no TLS 1\.2 or later \(tlsv1 alert protocol version\)"),
        None,
    ),
    "no_such_name": Case(
        lambda farm, pki: farm.closed(),
        connection("dns", r"the name no-such-name\.invalid does not exist"),
        None,
        host="no-such-name.invalid",
        options={"address": None},
    ),
    # STARTTLS.
    "smtp": Case(upgraded(f.smtp, "smtp.farm.test"), options={"starttls": "smtp"}),
    "smtp_without": Case(
        answering(f.smtp(None)),
        connection("tls", "the mail server offers no STARTTLS"),
        None,
        options={"starttls": "smtp"},
    ),
    "smtp_busy": Case(
        answering(f.smtp(None, b"421 too many connections\r\n")),
        connection("tls", "it does not go on to TLS as a mail server does: '421 too many connections'"),
        None,
        options={"starttls": "smtp"},
    ),
    "smtp_endless": Case(
        answering(f.endless_greeting),
        connection("tls", "it sent a line of more than 2048 bytes before TLS"),
        None,
        options={"starttls": "smtp"},
    ),
    "smtp_silent": Case(
        lambda farm, pki: farm.silent(),
        connection("timeout", "the words before TLS: no answer within 2 s", "unknown"),
        None,
        options={"starttls": "smtp"},
    ),
    "imap": Case(upgraded(f.imap, "imap.farm.test"), options={"starttls": "imap"}),
    "imap_without": Case(
        answering(f.imap(None)),
        connection("tls", "the IMAP server does not go on to TLS: 'a1 BAD not here'"),
        None,
        options={"starttls": "imap"},
    ),
    "postgresql_without": Case(
        answering(f.postgresql_without_tls),
        connection("tls", r"PostgreSQL answers that it speaks no TLS \(ssl = off\)"),
        None,
        options={"starttls": "postgresql"},
    ),
}
