"""Tests of what is said about federation."""

from __future__ import annotations

import base64
import builtins
import datetime
import json
import socket
import time
from typing import Any

import pytest
import servers
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ansible_collections.matrixon.ops.plugins.module_utils import _net
from ansible_collections.matrixon.ops.plugins.module_utils._delegation import Delegation, Srv
from ansible_collections.matrixon.ops.plugins.module_utils._health import engine, federation
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Context
from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient, Response
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    AUTH,
    MISSING_TOOL,
    PARSE,
    REFUSED,
    TIMEOUT,
    Deadline,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    SKIPPED,
    UNKNOWN,
    WARNING,
    CheckResult,
)

DELEGATION, VERSION, KEYS, SIGNATURE = federation.CHECKS
NAME = "example.test"
NOW = datetime.datetime(2026, 11, 23, 9, tzinfo=datetime.timezone.utc)
KEY, OTHER_KEY = Ed25519PrivateKey.from_private_bytes(b"1" * 32), Ed25519PrivateKey.from_private_bytes(b"2" * 32)


def unpadded(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def public(key: Ed25519PrivateKey) -> str:
    return unpadded(key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw))


def key_document(signers: dict[str, Ed25519PrivateKey] | None = None, valid_for: float = 86400, **changes: Any) -> dict:
    """Return a key document as a homeserver signs it, for a key named ed25519:a."""
    document = {
        "server_name": NAME,
        "valid_until_ts": int((NOW.timestamp() + valid_for) * 1000),
        "verify_keys": {"ed25519:a": {"key": public(KEY)}},
        "old_verify_keys": {},
        **changes,
    }
    message = json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    signed = {
        name: unpadded(key.sign(message)) for name, key in ({"ed25519:a": KEY} if signers is None else signers).items()
    }
    return {**document, "signatures": {NAME: signed}, "unsigned": {"age_ts": 1}}


def answer(document: Any = None, status: int = 200, ms: float = 20.0) -> Response:
    body = document.encode() if isinstance(document, str) else json.dumps(document).encode()
    return Response("https://example.test:8448/x", status, "application/json", body, ms, "10.0.0.5:8448")


GOOD = answer({"server": {"name": "Synapse", "version": "1.163.2"}})
GONE = answer({"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"}, 404)
DOWN = ProbeFailure(REFUSED, "https://example.test:8448: connection refused, nothing listens there")


@pytest.fixture
def look(judged) -> Any:
    def look(check: Any, **facts: Any) -> CheckResult:
        given = {"server_name": NAME, "expected": None, "now": NOW.timestamp(), "answers": {"10.0.0.5:8448": GOOD}}
        return judged(check, **{**given, **facts})

    return look


# Delegation.

PLAIN = Delegation("n1.test", 8449, NAME, NAME, ("well-known could not be read", "SRV says n1.test:8449"))
TROUBLED = Delegation(
    "n1.test", 8449, NAME, NAME, ("well-known could not be read",), ProbeFailure(TIMEOUT, "no answer")
)
DELEGATIONS = {
    "nothing expected": (PLAIN, None, OK, "n1.test:8449, with a certificate for example.test"),
    "what is expected": (PLAIN, "n1.test:8449", OK, "leads to n1.test:8449"),
    "the expected in capitals": (PLAIN, "N1.Test:8449", OK, "leads to n1.test:8449"),
    "another host": (PLAIN, "n2.test:8449", CRITICAL, "leads to n1.test:8449, expected n2.test:8449"),
    "another port": (PLAIN, "n1.test:8448", CRITICAL, "expected n1.test:8448 (well-known could not be read; SRV says"),
    "trouble with well-known": (TROUBLED, None, WARNING, "well-known could not be read: no answer"),
    "trouble and what is expected": (TROUBLED, "n1.test:8449", WARNING, "could not be read"),
    "trouble and another host": (TROUBLED, "n2.test:8449", CRITICAL, "expected n2.test:8449"),
}


@pytest.mark.parametrize(("found", "expected", "status", "words"), DELEGATIONS.values(), ids=list(DELEGATIONS))
def test_delegation_with(look, found: Delegation, expected: str | None, status: str, words: str) -> None:
    result = look(DELEGATION, delegation=found, expected=expected)
    assert result.status == status and words in result.message and NAME in result.message
    assert (result.error_kind == TIMEOUT) == (status == WARNING)


# The version at each address.

SLOW = answer({"server": {"name": "Synapse", "version": "1"}}, ms=250)
ANSWERS: dict[str, tuple[list[Any], str, float | None, str]] = {
    "the only address": ([GOOD], OK, 20, "1 of 1 addresses"),
    "both addresses": ([GOOD, GOOD], OK, 20, "2 of 2 addresses"),
    "both, one of them slowly": ([GOOD, SLOW], WARNING, 250, "slowest in 250 ms"),
    "one of two": ([GOOD, DOWN], WARNING, 20, "1 of 2 addresses fail, 10.0.0.2:8448: https"),
    "none of two": ([DOWN, DOWN], CRITICAL, None, "connection refused"),
    "none, and one for want of permission": ([ProbeFailure(AUTH, "answered 403")], UNKNOWN, None, "answered 403"),
    "with 404": ([GONE], WARNING, None, "not served"),
    "with 404 at one of two": ([GOOD, GONE], WARNING, None, "not served"),
}


@pytest.mark.parametrize(("found", "status", "value", "words"), ANSWERS.values(), ids=list(ANSWERS))
def test_version_is_answered_by(look, found: list, status: str, value: float | None, words: str) -> None:
    answers = {f"10.0.0.{number}:8448": each for number, each in enumerate(found, 1)}
    result = look(VERSION, answers=answers)
    assert (result.status, result.value) == (status, value) and words in result.message


@pytest.mark.parametrize(("ms", "status"), [(99.9, OK), (100, WARNING), (100_000, WARNING)])
def test_version_is_graded_at_its_threshold(look, ms: float, status: str) -> None:
    assert look(VERSION, answers={"a": answer({}, ms=ms)}).status == status


# Keys and their signature.

LIVES = [(86400, OK), (3600.001, OK), (3600, WARNING), (1, WARNING), (0, CRITICAL), (-7200, CRITICAL)]


@pytest.mark.parametrize(("left", "status"), LIVES)
def test_keys_are_graded_by_the_time_that_is_left(look, left: float, status: str) -> None:
    result = look(KEYS, keys=answer(key_document(valid_for=left)))
    assert (result.status, result.unit) == (status, "s") and result.value == pytest.approx(left, abs=0.01)
    assert ("ran out" in result.message) == (status == CRITICAL)


def test_keys_that_ran_out_are_told_with_their_age(look) -> None:
    assert "ran out 2.0 h ago" in look(KEYS, keys=answer(key_document(valid_for=-7200))).message


def test_keys_of_another_server_are_critical(look) -> None:
    result = look(KEYS, keys=answer(key_document(server_name="other.test")))
    assert result.status == CRITICAL and "those of other.test, expected example.test" in result.message


TWO_KEYS = {"verify_keys": {"ed25519:a": {"key": public(KEY)}, "ed25519:b": {"key": public(OTHER_KEY)}}}
SIGNATURES = {
    "its key": (key_document(), OK, "ed25519:a"),
    "its key, with letters outside ASCII in it": (key_document(note="\u00fc\U0001f600"), OK, "ed25519:a"),
    "both its keys": (key_document({"ed25519:a": KEY, "ed25519:b": OTHER_KEY}, **TWO_KEYS), OK, "ed25519:b"),
    "one of its two keys": (key_document(**TWO_KEYS), CRITICAL, "(ed25519:b)"),
    "another key": (key_document({"ed25519:a": OTHER_KEY}), CRITICAL, "(ed25519:a)"),
    "a key under another name": (key_document({"ed25519:z": KEY}), CRITICAL, "(ed25519:a)"),
    "nobody": (key_document({}), CRITICAL, "(ed25519:a)"),
    "nobody, having no keys": (key_document(verify_keys={}), CRITICAL, "no signature"),
    "its key before it was changed": ({**key_document(), "valid_until_ts": 1}, CRITICAL, "(ed25519:a)"),
    "something that is no signature": ({**key_document(), "signatures": {NAME: {"ed25519:a": "?"}}}, CRITICAL, "(ed"),
    "something of another shape": ({**key_document(), "signatures": {NAME: ["ed25519:a"]}}, CRITICAL, "(ed25519:a)"),
    "a key of the wrong length": (key_document(verify_keys={"ed25519:a": {"key": "AAAA"}}), CRITICAL, "(ed25519:a)"),
    "a key that is none": (key_document(verify_keys={"ed25519:a": None}), CRITICAL, "(ed25519:a)"),
}


@pytest.mark.parametrize(("document", "status", "words"), SIGNATURES.values(), ids=list(SIGNATURES))
def test_key_document_signed_by(look, document: dict, status: str, words: str) -> None:
    result = look(SIGNATURE, keys=answer(document))
    assert result.status == status and words in result.message


def test_signature_is_unknown_without_cryptography_and_the_keys_are_judged_all_the_same(
    look, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("cryptography"):
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    result = look(SIGNATURE, keys=answer(key_document()))
    assert (result.status, result.error_kind) == (UNKNOWN, MISSING_TOOL) and "python3-cryptography" in result.message
    assert look(KEYS, keys=answer(key_document())).status == OK


NO_DOCUMENTS = {
    "a page": (answer("<html>It works</html>"), CRITICAL, PARSE, "not JSON"),
    "an empty object": (answer({}), CRITICAL, PARSE, "not a key document"),
    "a list": (answer([]), CRITICAL, PARSE, "not a key document"),
    "times in words": (answer({**key_document(), "valid_until_ts": "soon"}), CRITICAL, PARSE, "not a key document"),
    "no signatures": (answer({**key_document(), "signatures": None}), CRITICAL, PARSE, "not a key document"),
    "404, where the version is served": (GONE, CRITICAL, REFUSED, "M_UNRECOGNIZED"),
    "no connection": (DOWN, CRITICAL, REFUSED, "connection refused"),
    "a closed door": (ProbeFailure(AUTH, "answered 403"), UNKNOWN, AUTH, "answered 403"),
}


@pytest.mark.parametrize(("keys", "status", "kind", "words"), NO_DOCUMENTS.values(), ids=list(NO_DOCUMENTS))
def test_keys_answered_with(look, keys: Any, status: str, kind: str, words: str) -> None:
    result = look(KEYS, keys=keys)
    assert (result.status, result.error_kind, result.value) == (status, kind, None) and words in result.message
    signature = look(SIGNATURE, keys=keys)
    assert (signature.status, signature.error_kind) == (UNKNOWN, kind)


def test_federation_that_is_not_served_is_a_warning_and_no_fault_of_the_keys(look) -> None:
    facts = {"keys": GONE, "answers": {"10.0.0.5:8448": GONE}}
    assert {check.name: look(check, **facts).status for check in (VERSION, KEYS, SIGNATURE)} == {
        "federation_version": WARNING,
        "federation_keys": WARNING,
        "federation_signature": SKIPPED,
    }
    assert "not served" in look(KEYS, **facts).message


# The whole way, from the server name to the results, over TLS.

VERSION_PATH, KEYS_PATH = "/_matrix/federation/v1/version", "/_matrix/key/v2/server"
FEDERATION = {VERSION_PATH: servers.http_answer(GOOD.json()), KEYS_PATH: servers.http_answer(key_document())}
WELL_KNOWN = "/.well-known/matrix/server"


class Site:
    """A server name with a web server, federation servers and a DNS of its own."""

    def __init__(self, serve: Any, authority: Any, ca_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.serve, self.authority, self.ca_file, self.monkeypatch = serve, authority, ca_file, monkeypatch
        self.connect_to: dict[str, str] = {}
        self.srv: dict[str, Srv] = {}
        monkeypatch.setattr(federation, "look_up_srv", lambda record, _deadline: self.srv.get(record))
        self.web(servers.http_answer({}, 404))

    def web(self, well_known: bytes) -> None:
        """Answer the well-known request."""
        self.at(f"{NAME}:443", NAME, servers.pages({WELL_KNOWN: well_known}))

    def at(self, where: str, certificate: str, script: servers.Script) -> servers.Server:
        """Serve at a host:port with a certificate for a name."""
        server = self.serve(script, tls=servers.tls_for(self.authority, certificate))
        self.connect_to[where] = server.authority
        return server

    def check(self, name: str = NAME, seconds: float = 5) -> dict[str, CheckResult]:
        context = Context(NOW, None, HttpClient(self.connect_to, self.ca_file))
        plan = federation.plan({"server_name": name, "expected": None}, context)
        policy = engine.Policy(timeout=seconds, thresholds={VERSION.name: engine.Limits()})
        return {result.name: result for result in engine.execute(plan, policy, Deadline(seconds + 1)).results}


@pytest.fixture
def site(serve, authority, ca_file: str, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(serve, authority, ca_file, monkeypatch)


def statuses(results: dict[str, CheckResult]) -> list[str]:
    return [results[check.name].status for check in federation.CHECKS]


def test_name_with_federation_at_the_default_port_is_ok_in_all(site: Site) -> None:
    server = site.at(f"{NAME}:8448", NAME, servers.pages(FEDERATION))
    assert statuses(site.check()) == [OK] * 4
    assert [(request.path, request.headers["host"]) for request in server.requests] == [
        (VERSION_PATH, NAME),
        (KEYS_PATH, NAME),
    ]


def test_host_header_has_a_port_only_where_one_was_named(site: Site) -> None:
    server = site.at("m.test:8449", "m.test", servers.pages(FEDERATION))
    site.web(servers.http_answer({"m.server": "m.test:8449"}))
    assert statuses(site.check()) == [OK] * 4
    assert {request.headers["host"] for request in server.requests} == {"m.test:8449"}


CERTIFICATES = {
    "well-known wants the name that it names": ({"m.server": "m.test"}, "m.test", [OK] * 4),
    "well-known accepts no other": ({"m.server": "m.test"}, NAME, [OK, CRITICAL, CRITICAL, UNKNOWN]),
    "SRV wants the server name": (None, NAME, [OK] * 4),
    "SRV does not want its target": (None, "n1.test", [OK, CRITICAL, CRITICAL, UNKNOWN]),
}


@pytest.mark.parametrize(("well_known", "certificate", "expected"), CERTIFICATES.values(), ids=list(CERTIFICATES))
def test_certificate_behind(site: Site, well_known: Any, certificate: str, expected: list[str]) -> None:
    if well_known:
        site.web(servers.http_answer(well_known))
    site.srv = {f"_matrix-fed._tcp.{host}": Srv("n1.test", 8449) for host in ("m.test", NAME)}
    site.at("n1.test:8449", certificate, servers.pages(FEDERATION))
    results = site.check()
    assert statuses(results) == expected
    if expected[1] == CRITICAL:
        assert results["federation_version"].error_kind == "tls"


FEDERATION_LIES = {
    "a web server that says 200 to all": servers.web(lambda _request: servers.http_answer(b"<html>", 200, "text/html")),
    "200 with an empty object": servers.web(lambda _request: servers.http_answer({})),
    "a redirect": servers.web(lambda _request: servers.http_answer(b"", 302, "text/html")),
    "an error of the load balancer": servers.web(lambda _request: servers.http_answer(b"<html>", 503, "text/html")),
    "no HTTP": servers.say(b"220 mail.test ESMTP\r\n"),
}


@pytest.mark.parametrize("script", FEDERATION_LIES.values(), ids=list(FEDERATION_LIES))
def test_federation_is_critical_behind(site: Site, script: servers.Script) -> None:
    site.at(f"{NAME}:8448", NAME, script)
    assert statuses(site.check()) == [OK, CRITICAL, CRITICAL, UNKNOWN]


def test_federation_that_is_not_served_is_told_from_a_fault(site: Site) -> None:
    site.at(f"{NAME}:8448", NAME, servers.pages({}))
    assert statuses(site.check()) == [OK, WARNING, WARNING, SKIPPED]


@pytest.mark.parametrize("status", [401, 403])
def test_closed_door_is_unknown(site: Site, status: int) -> None:
    site.at(f"{NAME}:8448", NAME, servers.web(lambda _request: servers.http_answer({}, status)))
    assert statuses(site.check()) == [OK, UNKNOWN, UNKNOWN, UNKNOWN]


def test_broken_well_known_is_a_warning_for_the_delegation_alone(site: Site) -> None:
    site.web(servers.http_answer(b"<html>", 200, "text/html"))
    site.at(f"{NAME}:8448", NAME, servers.pages(FEDERATION))
    assert statuses(site.check()) == [WARNING, OK, OK, OK]


def test_silent_well_known_is_a_warning_and_the_rest_is_still_looked_at(site: Site) -> None:
    site.connect_to[f"{NAME}:443"] = site.serve(servers.silent).authority
    site.at(f"{NAME}:8448", NAME, servers.pages(FEDERATION))
    results = site.check(seconds=0.9)
    assert statuses(results) == [WARNING, OK, OK, OK] and results["delegation"].error_kind == TIMEOUT


def test_name_that_leads_nowhere_is_critical(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_args: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *args, **more: real(host, *args, **more) if host == "127.0.0.1" else unknown(),
    )
    results = site.check()
    assert statuses(results) == [CRITICAL] * 3 + [UNKNOWN]
    assert {result.error_kind for result in results.values()} == {"dns"} and NAME in results["delegation"].message


def two_addresses(port: int) -> list[_net.Address]:
    return [_net.Address(socket.AF_INET, (host, port)) for host in ("127.0.0.2", "127.0.0.1")]


@pytest.mark.parametrize("silent", [False, True], ids=["refuses", "is silent"])
def test_one_of_two_addresses_is_a_warning_and_the_keys_are_read_from_the_other_when_it(
    site: Site, monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    server = site.at(f"{NAME}:8448", NAME, servers.pages(FEDERATION))
    if silent:
        site.serve(servers.silent, listener=socket.create_server(("127.0.0.2", server.port)))
    real = _net.resolve
    monkeypatch.setattr(
        _net, "resolve", lambda host, port: two_addresses(port) if port == server.port else real(host, port)
    )
    started = time.monotonic()
    results = site.check(seconds=1 if silent else 5)
    assert statuses(results) == [OK, WARNING, OK, OK] and time.monotonic() - started < 1.2
    assert f"1 of 2 addresses fail, 127.0.0.2:{server.port}" in results["federation_version"].message


def test_all_of_two_addresses_failing_is_critical(
    site: Site, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    real = _net.resolve
    site.connect_to[f"{NAME}:8448"] = f"127.0.0.1:{closed_port}"
    monkeypatch.setattr(
        _net, "resolve", lambda host, port: two_addresses(port) if port == closed_port else real(host, port)
    )
    assert statuses(site.check()) == [OK, CRITICAL, CRITICAL, UNKNOWN]


ERRORS = {
    "a URL for a name": ({"server_name": "https://example.test"}, "federation.server_name: 'https://example.test'"),
    "a port out of range": ({"server_name": "example.test:70000"}, "federation.server_name: 'example.test:70000'"),
    "an expectation without a port": ({"expected": "m.test"}, "federation.expected: 'm.test' is not host:port"),
    "an expectation of no port": ({"expected": "m.test:0"}, "federation.expected: 0 is not a port"),
}


@pytest.mark.parametrize(("changes", "words"), ERRORS.values(), ids=list(ERRORS))
def test_options_are_refused_with(changes: dict[str, str], words: str) -> None:
    (error,) = federation.validate({"server_name": NAME, "expected": None, **changes})
    assert error.startswith(words)


def test_good_options_are_not_refused() -> None:
    assert list(federation.validate({"server_name": "[fd00::1]:8448", "expected": "[fd00::1]:8448"})) == []
