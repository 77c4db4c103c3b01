"""Tests of the verdicts on certificates, at both sides of every limit."""

from __future__ import annotations

from typing import Any

import pytest
from certificates import NOW, Made, make, new_authority
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from ansible_collections.matrixon.ops.plugins.module_utils._ssl import judge
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.judge import Chain, Distrust
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.model import Finding, Policy

POLICY = Policy(now=NOW)
ROOT = new_authority("Root")
BETWEEN = new_authority("Between", ROOT)


def chain(*sent: Made, needed: tuple[Made, ...] | None = None, code: int | None = None, **more: Any) -> Chain:
    """Return a chain as a handshake brings it."""
    whole = tuple(one.read for one in (sent if needed is None else needed))
    distrust = None if code is None else Distrust(code, "what openssl says")
    return Chain(tuple(one.read for one in sent), whole, distrust=distrust, **more)


def said(finding: Finding) -> tuple[str, str]:
    return finding.status, finding.message


# Days that a certificate has left, of the 90 that it was issued for.
LIMITS = {
    "more than 30 days": (30.001, "ok"),
    "30 days": (30, "warning"),
    "more than 14 days": (15.001, "warning"),
    "14 days": (14, "critical"),
    "its last second": (1 / 86400, "critical"),
    "its end": (0, "critical"),
    "long ago": (-40, "critical"),
}


@pytest.mark.parametrize(("left", "status"), LIMITS.values(), ids=list(LIMITS))
def test_limit_of_days(left: float, status: str) -> None:
    finding = judge.expiry(chain(make(begins=left - 90, ends=left)), POLICY)
    assert finding.status == status
    assert finding.value == pytest.approx(left * 86400, abs=1)


SHARES = {
    "over a third": (2.01, "ok"),
    "under a third": (1.99, "warning"),
    "over a sixth": (1.01, "warning"),
    "under a sixth": (0.99, "critical"),
}


@pytest.mark.parametrize(("left", "status"), SHARES.values(), ids=list(SHARES))
def test_certificate_for_six_days_warns_by_its_share(left: float, status: str) -> None:
    finding = judge.expiry(chain(make(begins=left - 6, ends=left)), POLICY)
    assert (finding.status, finding.warning, finding.critical) == (
        status,
        pytest.approx(2 * 86400),
        pytest.approx(86400),
    )


def test_expiry_says_days_with_one_decimal_and_the_date() -> None:
    finding = judge.expiry(chain(make(ends=5.04)), POLICY)
    assert said(finding) == ("critical", "the certificate expires in 5.0 days, on 2026-06-06 12:57 UTC")
    finding = judge.expiry(chain(make(begins=-90, ends=0)), POLICY)
    assert said(finding) == ("critical", "the certificate expired 0.0 days ago, on 2026-06-01 12:00 UTC")
    finding = judge.expiry(chain(make(begins=-90, ends=-3.26)), POLICY)
    assert said(finding) == ("critical", "the certificate expired 3.3 days ago, on 2026-05-29 05:45 UTC")


def test_certificate_that_is_not_valid_yet_is_critical() -> None:
    finding = judge.expiry(chain(make(begins=2, ends=92)), POLICY)
    assert said(finding) == (
        "critical",
        "the certificate is not valid for another 2.0 days, until 2026-06-03 12:00 UTC",
    )
    assert judge.expiry(chain(make(begins=0, ends=92)), POLICY).status == "ok"


def test_worst_of_the_needed_ones_decides_and_is_named() -> None:
    soon = new_authority("Soon", ROOT, ends=20)
    finding = judge.expiry(chain(make(issuer=soon), soon), POLICY)
    assert said(finding) == ("warning", "the intermediate 'CN=Soon' expires in 20.0 days, on 2026-06-21 12:00 UTC")
    # It ends later than the leaf, and is worse: the leaf was made for a short life.
    leaf = make(issuer=soon, begins=-1, ends=5)
    assert judge.expiry(chain(leaf, soon), POLICY).message.startswith("the intermediate 'CN=Soon'")
    assert chain(leaf, soon).soonest == leaf.read


def test_authority_that_was_not_sent_counts_too() -> None:
    root = new_authority("Old root", ends=3)
    leaf = make(issuer=root)
    finding = judge.expiry(chain(leaf, needed=(leaf, root)), POLICY)
    assert said(finding) == ("critical", "the authority 'CN=Old root' expires in 3.0 days, on 2026-06-04 12:00 UTC")


def test_what_nobody_needs_is_a_warning_once_it_has_ended() -> None:
    leaf, extra = make(issuer=BETWEEN), new_authority("Extra", ROOT, ends=-1)
    given = chain(leaf, BETWEEN, extra, needed=(leaf, BETWEEN, ROOT))
    assert judge.expiry(given, POLICY).status == "ok"
    status, message = said(judge.sent_chain(given, POLICY))
    assert status == "warning" and message.startswith("the intermediate 'CN=Extra' expired on 2026-05-31 12:00 UTC")
    still = chain(leaf, BETWEEN, new_authority("Extra", ROOT, ends=1), needed=(leaf, BETWEEN, ROOT))
    assert said(judge.sent_chain(still, POLICY)) == ("ok", "3 certificates in order, 1 of them not needed")


def test_order_of_the_chain() -> None:
    upper = new_authority("Upper", ROOT)
    lower = new_authority("Lower", upper)
    leaf = make(issuer=lower)
    needed = (leaf, lower, upper, ROOT)
    assert judge.sent_chain(chain(leaf, lower, upper, needed=needed), POLICY).status == "ok"
    assert judge.sent_chain(chain(leaf, lower, lower, upper, needed=needed), POLICY).status == "ok"
    status, message = said(judge.sent_chain(chain(leaf, upper, lower, needed=needed), POLICY))
    assert status == "warning" and message.startswith("the chain is out of order, from 'CN=Upper' on")


@pytest.mark.parametrize("code", judge.NO_ISSUER)
def test_missing_intermediate_is_told_once(code: int) -> None:
    given = chain(make(issuer=BETWEEN), code=code)
    status, message = said(judge.sent_chain(given, POLICY))
    assert status == "critical" and "its issuer 'CN=Between'" in message and "the intermediate is missing" in message
    assert judge.trust(given, POLICY).status == "skipped"


def test_intermediate_that_only_this_host_knows_is_missing_for_others() -> None:
    leaf = make(issuer=BETWEEN)
    status, message = said(judge.sent_chain(chain(leaf, needed=(leaf, BETWEEN, ROOT)), POLICY))
    assert status == "warning" and message.startswith("the intermediate 'CN=Between' is not sent: this host knows it")
    assert judge.sent_chain(chain(leaf, BETWEEN, needed=(leaf, BETWEEN, ROOT)), POLICY).status == "ok"


def test_authority_that_is_no_root_is_told_from_a_missing_intermediate() -> None:
    given = chain(make(issuer=BETWEEN), code=judge.NO_ROOT)
    assert judge.sent_chain(given, POLICY).status == "ok"
    assert said(judge.trust(given, POLICY)) == (
        "critical",
        "it leads to 'CN=Between', which is trusted here but is no root; give its issuer too",
    )


def test_chain_to_an_authority_that_is_not_trusted_is_no_missing_intermediate() -> None:
    leaf = make(issuer=BETWEEN)
    given = chain(leaf, BETWEEN, code=20)
    assert judge.sent_chain(given, POLICY).status == "ok"
    status, message = said(judge.trust(given, POLICY))
    assert status == "critical" and message.startswith("it leads to 'CN=Root', which was not sent")
    sent = chain(leaf, BETWEEN, ROOT, code=19)
    assert said(judge.trust(sent, POLICY)) == (
        "critical",
        "it leads to 'CN=Root', which is no authority that is trusted here",
    )


def test_chain_is_unknown_where_this_python_cannot_show_it() -> None:
    finding = judge.sent_chain(chain(make(issuer=BETWEEN), code=20, complete=False), POLICY)
    assert (finding.status, finding.error_kind) == ("unknown", "missing_tool")
    # Then nobody can tell whether an intermediate is missing, but that it is not accepted is a fact.
    for code in (19, 20):
        finding = judge.trust(chain(make(issuer=BETWEEN), code=code, complete=False), POLICY)
        assert said(finding) == ("critical", "it leads to no authority that is trusted here: what openssl says")
    finding = judge.trust(chain(make(issuer=BETWEEN), complete=False), POLICY)
    assert said(finding) == ("ok", "it leads to an authority that is trusted")


def test_self_signed_is_accepted_only_where_it_is_allowed() -> None:
    given = chain(make(), code=18)
    assert judge.trust(given, POLICY).status == "critical"
    assert judge.trust(given, POLICY, self_signed=True).status == "ok"
    # What is allowed is a certificate that signs itself, and nothing else.
    assert judge.trust(chain(make(issuer=BETWEEN), BETWEEN, code=20), POLICY, self_signed=True).status == "critical"


def test_trust_is_not_judged_by_dates() -> None:
    ended = make(issuer=BETWEEN, begins=-90, ends=-1)
    assert judge.trust(chain(ended, BETWEEN, code=judge.EXPIRED), POLICY).status == "ok"
    assert judge.expiry(chain(ended, BETWEEN, code=judge.EXPIRED), POLICY).status == "critical"
    # Nothing that was sent has ended, so it is the authority.
    status, message = said(judge.trust(chain(make(issuer=BETWEEN), BETWEEN, code=judge.EXPIRED), POLICY))
    assert (status, message) == ("critical", "it leads to 'CN=Root', an authority that has expired")


def test_trust_that_fails_for_a_reason_of_its_own_tells_it() -> None:
    good, unfit = make(issuer=BETWEEN), make(issuer=BETWEEN, usage=(ExtendedKeyUsageOID.CLIENT_AUTH,))
    assert judge.trust(chain(good, BETWEEN), POLICY).status == "ok"
    assert judge.trust(chain(unfit, BETWEEN, code=judge.WRONG_PURPOSE), POLICY).status == "skipped"
    for code in (judge.WRONG_PURPOSE, 7, 24):
        status, message = said(judge.trust(chain(good, BETWEEN, code=code), POLICY))
        assert (status, message) == ("critical", "it is not accepted: what openssl says")


NAMES = {
    "the name": (["m.test"], ["m.test"], "ok"),
    "the name in capitals": (["m.test"], ["M.Test."], "ok"),
    "one of two": (["m.test"], ["m.test", "n.test"], "critical"),
    "another": (["n.test"], ["m.test"], "critical"),
    "a wildcard for one label": (["*.m.test"], ["a.m.test"], "ok"),
    "a wildcard for two labels": (["*.m.test"], ["a.b.m.test"], "critical"),
    "a wildcard for none": (["*.m.test"], ["m.test"], "critical"),
    "a wildcard for a whole top level": (["*.test"], ["m.test"], "critical"),
    "half a wildcard": (["a*.m.test"], ["ab.m.test"], "critical"),
    "an address": (["192.0.2.1"], ["192.0.2.1"], "ok"),
    "another address": (["192.0.2.1"], ["192.0.2.2"], "critical"),
    "an IPv6 address in another spelling": (["2001:db8::1"], ["2001:0db8:0:0:0:0:0:1"], "ok"),
    "an address as a name": (["m.test"], ["192.0.2.1"], "critical"),
    "nothing": ([], ["m.test"], "critical"),
}


@pytest.mark.parametrize(("have", "wanted", "status"), NAMES.values(), ids=list(NAMES))
def test_name(have: list[str], wanted: list[str], status: str) -> None:
    assert judge.name(chain(make("m.test", names=have)), wanted, None).status == status


def test_name_that_is_missing_is_told_with_the_reason() -> None:
    finding = judge.name(chain(make(names=["n.test"])), ["m.test"], "because")
    assert finding.message == "it is for n.test, and not for m.test (because)"
    many = judge.name(chain(make(names=[f"n{number}.test" for number in range(12)])), ["m.test"], None)
    assert "n9.test and 2 more, and not for" in many.message


KEYS = {
    "RSA 1024": (rsa.generate_private_key(65537, 1024), "critical"),
    "RSA 2048": (rsa.generate_private_key(65537, 2048), "ok"),
    "a curve of 256 bits": (ec.generate_private_key(ec.SECP256R1()), "ok"),
    "a curve of 192 bits": (ec.generate_private_key(ec.SECP192R1()), "critical"),
}


@pytest.mark.parametrize(("key", "status"), KEYS.values(), ids=list(KEYS))
def test_key(key: Any, status: str) -> None:
    assert judge.key(chain(make(issuer=BETWEEN, key=key), BETWEEN)).status == status


def test_weak_key_above_the_server_is_named() -> None:
    weak = new_authority("Weak", ROOT, key=rsa.generate_private_key(65537, 1024))
    finding = judge.key(chain(make(issuer=BETWEEN), weak))
    assert finding.message.startswith("the intermediate 'CN=Weak' has an RSA key of 1024 bits")


class Hashed:
    """A certificate as far as its signature is looked at."""

    def __init__(self, weak_hash: str | None, self_issued: bool = False, is_authority: bool = False) -> None:
        self.weak_hash, self.self_issued, self.is_authority = weak_hash, self_issued, is_authority
        self.subject, self.signature = "CN=it", "a signature"


def test_signature() -> None:
    def of(*certificates: Any) -> str:
        return judge.signature(Chain(certificates, certificates)).status

    assert of(Hashed(None), Hashed(None)) == "ok"
    assert of(Hashed("sha1"), Hashed(None)) == "critical"
    assert of(Hashed(None), Hashed("md5", is_authority=True)) == "critical"
    assert of(Hashed(None), Hashed("sha1", self_issued=True, is_authority=True)) == "ok"
    assert of(Hashed("sha1", self_issued=True, is_authority=True)) == "ok"
    assert of(Hashed("sha1", self_issued=True)) == "critical"


USAGES: dict[str, tuple[dict[str, Any], str]] = {
    "for servers": ({}, "ok"),
    "for all, for nothing is said": ({"usage": ()}, "ok"),
    "for clients": ({"usage": (ExtendedKeyUsageOID.CLIENT_AUTH,)}, "critical"),
    "for both": ({"usage": (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)}, "ok"),
    "for any, which openssl does not take": ({"usage": (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)}, "critical"),
}


@pytest.mark.parametrize(("given", "status"), USAGES.values(), ids=list(USAGES))
def test_purpose(given: dict[str, Any], status: str) -> None:
    assert judge.purpose(chain(make(**given))).status == status


@pytest.mark.parametrize(("signs", "status"), [(True, "ok"), (False, "critical")])
def test_key_usage(signs: bool, status: str) -> None:
    usage = x509.KeyUsage(signs, False, False, False, False, True, False, False, False)
    assert judge.purpose(chain(make(more=[usage]))).status == status


def test_file_of_authorities_is_not_judged_as_a_server() -> None:
    checks = {finding.check for finding in judge.of_file(chain(ROOT, BETWEEN), (), POLICY)}
    assert checks == {"certificate_expiry", "certificate_key", "certificate_signature"}
    checks = {finding.check for finding in judge.of_file(chain(make()), ("m.test",), POLICY)}
    assert checks >= {"certificate_chain", "certificate_purpose", "certificate_name"}


def test_served_against_the_file() -> None:
    new, old = chain(make(begins=-1, ends=89)), chain(make(begins=-70, ends=20))
    assert judge.served(new, "the endpoint", new).status == "ok"
    forgotten = judge.served(new, "the endpoint", old)
    assert forgotten.status == "warning" and forgotten.message.endswith("a reload was forgotten")
    other = judge.served(old, "the endpoint", new)
    assert other.status == "warning" and other.message.endswith("it reads another file")
    assert judge.served(new, "the endpoint", None).status == "unknown"


def test_what_cannot_be_read_in_a_certificate_spoils_its_own_check_only() -> None:
    broken = chain(make())
    broken.leaf._extensions = ValueError("what the library says")
    found = {one.check: one for one in judge.of_endpoint(broken, ["m.test"], None, False, POLICY)}
    assert {check for check, one in found.items() if one.status != "ok"} == {"certificate_name", "certificate_purpose"}
    assert (found["certificate_name"].status, found["certificate_name"].error_kind) == ("critical", "parse")
