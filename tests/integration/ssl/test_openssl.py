"""The verdicts of the farm against those of openssl, which is what most clients are made of."""

from __future__ import annotations

import concurrent.futures
import re
import subprocess
import typing as t

import pytest
from ask import Answer, ask
from authority import CLIENT, pem, self_signed
from cases import CASES, EXPIRED, HOST, NO_ISSUER, NOT_YET, OK, PURPOSE, SELF_SIGNED, Pki
from farm import LOOPBACK, Farm

pytestmark = pytest.mark.integration

# Checks by which a client would refuse the connection.
REFUSING = {
    f"certificate_{name}"
    for name in ("connection", "expiry", "chain", "trust", "name", "key", "signature", "purpose", "staple")
}

# Where we say more, or less, than openssl does, and why.
DIFFERENT = {
    "days_5": "it is critical before it ends; openssl looks at today only",
    "short_lived_over": "it is critical before it ends; openssl looks at today only",
    "self_signed_allowed": "the operator said that this one may be self-signed",
    "common_name_only": "openssl falls back to the common name; browsers, Python and Go do not",
    "name_of_two": "openssl is asked for one name, the operator wants two",
    "broken_extension": "openssl does not read this extension; Go and Python's cryptography refuse the whole",
    "must_staple": "openssl does not hold a server to the staple that its certificate promises",
}


def s_client(host: str, port: int, ca_file: str, starttls: str | None = None) -> int | None:
    """Return the verify code of a client that goes on only where all is well; None if it saw no certificate."""
    asked = ["-verify_ip", host] if host == LOOPBACK else ["-verify_hostname", host, "-servername", host]
    argv = ["openssl", "s_client", "-connect", f"{LOOPBACK}:{port}", "-verify_return_error", "-CAfile", ca_file, *asked]
    done = subprocess.run(
        argv + (["-starttls", starttls] if starttls else []),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    refused = re.search(r"verify error:num=(\d+)", done.stderr)
    if refused:
        assert done.returncode != 0, done.stderr
        return int(refused[1])
    if done.returncode != 0:
        return None
    accepted = re.search(r"Verify return code: (\d+)", done.stdout)
    assert accepted, done.stdout
    return int(accepted[1])


# openssl has no deadline: a server that is silent holds it for ever.
ANSWERING = {name: case for name, case in CASES.items() if case.openssl is not None}


@pytest.fixture(scope="module")
def codes(endpoints: dict[str, dict[str, t.Any]], ca_file: str) -> dict[str, int | None]:
    def code(name: str) -> int | None:
        case = CASES[name]
        host = case.options.get("server_name", case.host_of(name))
        return s_client(host, endpoints[name]["port"], ca_file, case.options.get("starttls"))

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return dict(zip(ANSWERING, pool.map(code, ANSWERING), strict=True))


@pytest.fixture(scope="module")
def said(endpoints: dict[str, dict[str, t.Any]], ca_file: str) -> Answer:
    return ask(endpoints=[endpoints[name] for name in ANSWERING], ca_file=ca_file)


@pytest.mark.parametrize("name", ANSWERING)
def test_openssl_sees_the_fault_that_was_made(codes: dict[str, int | None], name: str) -> None:
    assert codes[name] == CASES[name].openssl


@pytest.mark.parametrize("name", ANSWERING)
def test_verdicts_agree(said: Answer, codes: dict[str, int | None], name: str) -> None:
    refused = any(check["name"] in REFUSING and check["status"] == "critical" for check in said.of(name).values())
    if name in DIFFERENT:
        assert refused != (codes[name] != OK), f"they agree now; take {name} out of DIFFERENT"
    else:
        assert refused == (codes[name] != OK), f"openssl: {codes[name]}"


# What lies in a file, the verdict of `openssl verify` on it, and the check in which we say the same.
FILES: dict[str, tuple[t.Callable[[Pki], t.Any], int, str | None]] = {
    "good": (lambda pki: pki.issuing.issue("file.farm.test"), OK, None),
    "deep": (lambda pki: pki.deep.issue("file.farm.test"), OK, None),
    "expired": (lambda pki: pki.issuing.issue("file.farm.test", days=-3), EXPIRED, "certificate_expiry"),
    "not_yet": (lambda pki: pki.issuing.issue("file.farm.test", days=92), NOT_YET, "certificate_expiry"),
    "expired_intermediate": (lambda pki: pki.expired.issue("file.farm.test"), EXPIRED, "certificate_expiry"),
    "client_only": (lambda pki: pki.issuing.issue("file.farm.test", usage=CLIENT), PURPOSE, "certificate_purpose"),
    "wrong_name": (lambda pki: pki.issuing.issue("other.farm.test"), HOST, "certificate_name"),
    # Whom clients trust is asked of the endpoint that serves a file. A file may be for clients of another
    # authority, and its intermediates may lie in another one.
    "self_signed": (lambda pki: self_signed("file.farm.test"), SELF_SIGNED, None),
    "no_intermediate": (lambda pki: pki.issuing.issue("file.farm.test").with_chain(), NO_ISSUER, None),
}


@pytest.mark.parametrize("name", FILES)
def test_files_agree_with_openssl_verify(name: str, pki: Pki, ca_file: str, farm: Farm) -> None:
    make, code, check = FILES[name]
    path = farm.directory / f"verify-{name}.pem"
    path.write_bytes(pem(*make(pki).sent))
    argv = ["openssl", "verify", "-CAfile", ca_file, "-untrusted", str(path), "-purpose", "sslserver"]
    argv += ["-verify_hostname", "file.farm.test", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    said = re.search(r"error (\d+) at", done.stdout + done.stderr)
    assert (int(said[1]) if said else OK) == code
    assert (done.returncode == 0) == (code == OK)
    answer = ask(files=[{"path": str(path), "name": name, "names": ["file.farm.test"]}], ca_file=ca_file)
    bad = {c["name"] for c in answer.of(name).values() if c["status"] == "critical"}
    assert bad == ({check} if check else set())
