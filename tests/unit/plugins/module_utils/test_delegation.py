"""Tests of how a server name leads to an address: the rules of the Matrix server-server API."""

from __future__ import annotations

import builtins
import json
import time
from types import SimpleNamespace
from typing import Any

import dns.exception
import dns.resolver
import pytest
import servers

from ansible_collections.matrixon.ops.plugins.module_utils import _delegation
from ansible_collections.matrixon.ops.plugins.module_utils._delegation import (
    Delegation,
    Srv,
    discover,
    split_server_name,
)
from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient, Response
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    DNS,
    MISSING_TOOL,
    PARSE,
    REFUSED,
    TIMEOUT,
    TLS,
    Deadline,
    ProbeFailure,
)

URL = "https://example.test/.well-known/matrix/server"
NONE: tuple[int, Any, str | None] = (404, {}, None)


def says(target: Any) -> tuple[int, Any, str | None]:
    return 200, {"m.server": target}, None


def goes_to(location: str) -> tuple[int, Any, str | None]:
    return 302, "moved", location


class Http:
    """Answers well-known requests from a table, and remembers them."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def request(self, _method: str, url: str, _deadline: Deadline, max_body: int) -> Response:
        self.asked.append(url)
        assert max_body == 51200
        answer = self.answers[url]
        if isinstance(answer, ProbeFailure):
            raise answer
        status, document, location = answer
        body = document if isinstance(document, str) else json.dumps(document)
        return Response(url, status, "application/json", body.encode(), 1.0, "127.0.0.1:443", location)


def find(name: str, well_known: Any = None, srv: dict[str, Srv | ProbeFailure] | None = None) -> Delegation:
    """Follow the rules; without a well-known answer none may be asked for."""
    answers = well_known if isinstance(well_known, dict) else {URL: well_known} if well_known else {}

    def look_up(record: str, _deadline: Deadline) -> Srv | None:
        answer = (srv or {}).get(record)
        if isinstance(answer, ProbeFailure):
            raise answer
        return answer

    return discover(name, Http(answers), look_up, Deadline(5))


FED, OLD = "_matrix-fed._tcp.", "_matrix._tcp."
# server name, well-known, SRV, connected to, certificate for, Host header
RULES: dict[str, tuple[str, Any, dict, str, str, str]] = {
    "1: an IPv4 address": ("10.0.0.5", None, {}, "10.0.0.5:8448", "10.0.0.5", "10.0.0.5"),
    "1: an IPv4 address with a port": ("10.0.0.5:443", None, {}, "10.0.0.5:443", "10.0.0.5", "10.0.0.5:443"),
    "1: an IPv6 address": ("[fd00::5]", None, {}, "[fd00::5]:8448", "fd00::5", "[fd00::5]"),
    "1: an IPv6 address with a port": ("[fd00::5]:443", None, {}, "[fd00::5]:443", "fd00::5", "[fd00::5]:443"),
    "2: a port of its own": ("example.test:8000", None, {}, "example.test:8000", "example.test", "example.test:8000"),
    "3.1: well-known with an address": (
        *("example.test", says("10.0.0.5"), {FED + "10.0.0.5": Srv("never.test", 1)}),
        *("10.0.0.5:8448", "10.0.0.5", "10.0.0.5"),
    ),
    "3.1: well-known with address and port": (
        *("example.test", says("10.0.0.5:443"), {}),
        *("10.0.0.5:443", "10.0.0.5", "10.0.0.5:443"),
    ),
    "3.2: well-known with a port": (
        *("example.test", says("m.test:443"), {FED + "m.test": Srv("never.test", 1)}),
        *("m.test:443", "m.test", "m.test:443"),
    ),
    "3.3: well-known and then SRV": (
        *("example.test", says("m.test"), {FED + "m.test": Srv("n1.test", 8449), OLD + "m.test": Srv("never.test", 1)}),
        *("n1.test:8449", "m.test", "m.test"),
    ),
    "3.4: well-known and then the old SRV": (
        *("example.test", says("m.test"), {OLD + "m.test": Srv("n2.test", 8450), FED + "example.test": Srv("x", 1)}),
        *("n2.test:8450", "m.test", "m.test"),
    ),
    "3.5: well-known alone": ("example.test", says("m.test"), {}, "m.test:8448", "m.test", "m.test"),
    "4: SRV without well-known": (
        *("example.test", NONE, {FED + "example.test": Srv("n1.test", 8449), OLD + "example.test": Srv("x", 1)}),
        *("n1.test:8449", "example.test", "example.test"),
    ),
    "5: the old SRV without well-known": (
        *("example.test", NONE, {OLD + "example.test": Srv("n2.test", 8450)}),
        *("n2.test:8450", "example.test", "example.test"),
    ),
    "6: nothing but the name": ("example.test", NONE, {}, "example.test:8448", "example.test", "example.test"),
}


@pytest.mark.parametrize(
    ("name", "well_known", "srv", "leads_to", "certificate", "host"), RULES.values(), ids=list(RULES)
)
def test_rule(name: str, well_known: Any, srv: dict, leads_to: str, certificate: str, host: str) -> None:
    found = find(name, well_known, srv)
    assert (str(found), found.certificate_name, found.host_header) == (leads_to, certificate, host)
    assert found.trouble is None


def test_steps_tell_the_way() -> None:
    found = find("example.test", says("m.test"), {FED + "m.test": Srv("n1.test", 8449)})
    assert found.steps == ("well-known says m.test", "SRV _matrix-fed._tcp.m.test says n1.test:8449")
    assert find("example.test", NONE).steps == ("no well-known file", "no SRV record", "default port")


CACHES: dict[str, tuple[dict[str, str], int | None]] = {
    "nothing": ({}, 24 * 3600),
    "an age": ({"cache_control": "public, Max-Age=600"}, 600),
    "an age in quotes": ({"cache_control": 'max-age="600"'}, 600),
    "a year": ({"cache_control": "max-age=31536000"}, 48 * 3600),
    "no age": ({"cache_control": "max-age=soon"}, 24 * 3600),
    "not to keep it": ({"cache_control": "no-store, max-age=600"}, 0),
    "a date alone": ({"expires": "Thu, 01 Dec 2026 16:00:00 GMT"}, None),
    "a date and an age": ({"expires": "Thu, 01 Dec 2026 16:00:00 GMT", "cache_control": "max-age=60"}, 60),
}


@pytest.mark.parametrize(("headers", "seconds"), CACHES.values(), ids=list(CACHES))
def test_well_known_is_kept_by_others(headers: dict[str, str], seconds: int | None) -> None:
    response = Response("https://example.test", 200, "application/json", b"{}", 1.0, "127.0.0.1:443", **headers)
    assert _delegation.kept_for(response) == seconds


def test_only_a_well_known_that_delegates_is_kept() -> None:
    assert find("example.test", says("m.test")).kept == find("example.test", says("m.test:443")).kept == 24 * 3600
    assert find("example.test", NONE).kept is None


def test_other_records_are_told() -> None:
    others = (("n2.test", 8449), ("n3.test", 8450))
    assert find("example.test", NONE, {FED + "example.test": Srv("n1.test", 8449, others)}).others == others
    assert find("example.test", NONE).others == ()


TROUBLES = {
    "500": ((500, "", None), REFUSED, "answered 500"),
    "403": ((403, "", None), REFUSED, "answered 403"),
    "a page": ((200, "<html>It works</html>", None), PARSE, "not JSON with an m.server"),
    "an empty file": ((200, "", None), PARSE, "not JSON with an m.server"),
    "another document": ((200, {"m.homeserver": {}}, None), PARSE, "not JSON with an m.server"),
    "a list": ((200, ["m.server"], None), PARSE, "not JSON with an m.server"),
    "null for a server": (says(None), PARSE, "not JSON with an m.server"),
    "a number for a server": (says(8448), PARSE, "not JSON with an m.server"),
    "too large a file": (ProbeFailure(PARSE, "larger than 51200 bytes"), PARSE, "larger than 51200 bytes"),
    "no answer in time": (ProbeFailure(TIMEOUT, "example.test: no answer"), TIMEOUT, "no answer"),
    "nobody listening": (ProbeFailure(REFUSED, "connection refused"), REFUSED, "connection refused"),
    "a wrong certificate": (ProbeFailure(TLS, "certificate is not accepted"), TLS, "not accepted"),
    "no such name": (ProbeFailure(DNS, "does not resolve"), DNS, "does not resolve"),
    "a redirect to itself": (goes_to(URL), REFUSED, "answered 302"),
    "a redirect to nowhere": ((302, "", None), REFUSED, "answered 302"),
    "a redirect out of the web": (goes_to("ftp://example.test/x"), PARSE, "ftp://example.test/x"),
}


@pytest.mark.parametrize(("answer", "kind", "words"), TROUBLES.values(), ids=list(TROUBLES))
def test_well_known_is_passed_over_and_the_trouble_kept_with(answer: Any, kind: str, words: str) -> None:
    found = find("example.test", answer, {FED + "example.test": Srv("n1.test", 8449)})
    assert str(found) == "n1.test:8449" and found.certificate_name == "example.test"
    assert found.trouble is not None and found.trouble.kind == kind and words in found.trouble.message
    assert found.steps[0] == "well-known could not be read"
    assert str(find("example.test", answer)) == "example.test:8448"


@pytest.mark.parametrize(
    "target", ["", "m.test:port", "m.test:99999", "https://m.test", "m.test/path", "b\u00fccher.test"]
)
def test_well_known_that_names_no_server_is_a_failure(target: str) -> None:
    with pytest.raises(ProbeFailure) as caught:
        find("example.test", says(target))
    assert caught.value.kind == PARSE and "well-known of example.test" in caught.value.message


REDIRECTS = {
    "another host": ["https://www.example.test/.well-known/matrix/server"],
    "a path": ["https://example.test/matrix/server.json"],
    "a slash at the end": [URL + "/"],
    "four hops": [f"https://h{number}.test/x" for number in range(4)],
}


@pytest.mark.parametrize("hops", REDIRECTS.values(), ids=list(REDIRECTS))
def test_redirect_is_followed_to(hops: list[str]) -> None:
    way = [URL, *hops]
    answers = {url: goes_to(after) for url, after in zip(way, way[1:], strict=False)}
    assert str(find("example.test", {**answers, way[-1]: says("m.test:443")})) == "m.test:443"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_every_kind_of_redirect_is_followed(status: int) -> None:
    answers = {URL: (status, "moved", "https://w.test/x"), "https://w.test/x": says("m.test:443")}
    assert str(find("example.test", answers)) == "m.test:443"


def test_redirects_are_not_followed_without_end_and_a_file_is_read_once() -> None:
    way = [f"https://h{number}.test/x" for number in range(9)]
    http = Http({URL: goes_to(way[0]), **{url: goes_to(after) for url, after in zip(way, way[1:], strict=False)}})
    found = discover("example.test", http, lambda *_args: None, Deadline(5))
    assert found.trouble is not None and len(http.asked) == 5
    http = Http({URL: says("m.test:443")})
    discover("example.test", http, lambda *_args: None, Deadline(5))
    assert http.asked == [URL]


def test_relative_redirect_stays_at_its_host() -> None:
    answers = {URL: goes_to("/server.json"), "https://example.test/server.json": says("m.test:443")}
    assert str(find("example.test", answers)) == "m.test:443"


SRV_FAILURES = {
    "timeout": ProbeFailure(TIMEOUT, "the name server does not answer"),
    "missing library": ProbeFailure(MISSING_TOOL, "without dnspython"),
    "broken zone": ProbeFailure(DNS, "SERVFAIL"),
}


@pytest.mark.parametrize("failure", SRV_FAILURES.values(), ids=list(SRV_FAILURES))
def test_srv_failure_is_not_taken_for_no_record(failure: ProbeFailure) -> None:
    with pytest.raises(ProbeFailure) as caught:
        find("example.test", NONE, {FED + "example.test": failure})
    assert caught.value is failure


@pytest.mark.parametrize("failure", SRV_FAILURES.values(), ids=list(SRV_FAILURES))
def test_srv_failure_does_not_hide_the_trouble_with_well_known(failure: ProbeFailure) -> None:
    with pytest.raises(ProbeFailure) as caught:
        find("example.test", (500, "", None), {FED + "example.test": failure})
    assert "answered 500" in caught.value.message and failure.message in caught.value.message
    # What could not be looked up for want of a library may be good for others.
    assert caught.value.kind == (MISSING_TOOL if failure.kind == MISSING_TOOL else REFUSED)


def test_silent_web_server_leaves_time_for_srv(serve) -> None:
    server = serve(servers.silent)
    left = []

    def look_up(_record: str, deadline: Deadline) -> Srv:
        left.append(deadline.remaining())
        return Srv("n1.test", 8449)

    started = time.monotonic()
    http = HttpClient({"example.test:443": server.authority})
    found = discover("example.test", http, look_up, Deadline(0.6))
    assert str(found) == "n1.test:8449" and found.trouble is not None and found.trouble.kind == TIMEOUT
    assert left[0] > 0.2 and time.monotonic() - started < 0.5


def test_well_known_is_read_over_verified_tls_only(serve, authority, ca_file: str) -> None:
    answer = {"/.well-known/matrix/server": servers.http_answer({"m.server": "m.test:443"})}
    good = serve(servers.pages(answer), tls=servers.tls_for(authority, "example.test"))
    wrong = serve(servers.pages(answer), tls=servers.tls_for(authority, "www.example.test"))

    def find_at(server: servers.Server) -> Delegation:
        http = HttpClient({"example.test:443": server.authority}, ca_file)
        return discover("example.test", http, lambda *_args: None, Deadline(5))

    assert str(find_at(good)) == "m.test:443"
    found = find_at(wrong)
    assert str(found) == "example.test:8448" and found.trouble is not None and found.trouble.kind == TLS


NAMES = {
    "a name": ("example.test", ("example.test", None)),
    "a name with a port": ("example.test:443", ("example.test", 443)),
    "an IPv4 address": ("10.0.0.5", ("10.0.0.5", None)),
    "an IPv6 address": ("[fd00::5]:443", ("fd00::5", 443)),
    "capitals": ("Example.Test", ("example.test", None)),
}


@pytest.mark.parametrize(("name", "parts"), NAMES.values(), ids=list(NAMES))
def test_server_name_is(name: str, parts: tuple[str, int | None]) -> None:
    assert split_server_name(name) == parts


@pytest.mark.parametrize(
    "name",
    [
        "",
        ":8448",
        "https://example.test",
        "example.test/x",
        "a@b.test",
        "a.test?x",
        "a.test:x",
        "a.test:70000",
        "a b",
        "\u00fc.test",
    ],
)
def test_server_name_is_not(name: str) -> None:
    with pytest.raises(ValueError):
        split_server_name(name)


# DNS, with a resolver that answers from here.


def record(priority: int, weight: int, target: str, port: int = 8448) -> SimpleNamespace:
    return SimpleNamespace(priority=priority, weight=weight, target=f"{target}.", port=port)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Any:
    def use(answer: Any) -> list[tuple[Any, ...]]:
        asked: list[tuple[Any, ...]] = []

        def resolve(name: str, kind: str, lifetime: float) -> Any:
            asked.append((name, kind, lifetime))
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(dns.resolver, "resolve", resolve)
        return asked

    return use


RECORDS = {
    "the only one": ([record(10, 5, "n1.test")], ()),
    "the lowest priority": ([record(20, 99, "n2.test"), record(10, 1, "n1.test")], (("n2.test", 8448),)),
    "the heaviest of equals": ([record(10, 1, "n2.test"), record(10, 60, "n1.test")], (("n2.test", 8448),)),
}


@pytest.mark.parametrize(("records", "others"), RECORDS.values(), ids=list(RECORDS))
def test_srv_record_is(resolver, clock, records: list[Any], others: tuple[Any, ...]) -> None:
    asked = resolver(records)
    assert _delegation.look_up_srv("_matrix._tcp.example.test", Deadline(5, clock)) == Srv("n1.test", 8448, others)
    assert asked == [("_matrix._tcp.example.test", "SRV", 5)]


@pytest.mark.parametrize("error", [dns.resolver.NXDOMAIN(), dns.resolver.NoAnswer], ids=["name", "record"])
def test_no_srv_record_for_want_of_a(resolver, error: Any) -> None:
    # NoAnswer wants the whole response for its words.
    resolver(error if isinstance(error, Exception) else error.__new__(error))
    assert _delegation.look_up_srv("_matrix._tcp.example.test", Deadline(5)) is None


LOOK_UP_FAILURES = {
    "the name server is silent": (dns.resolver.LifetimeTimeout(timeout=5, errors=[]), TIMEOUT),
    "the zone is broken": (dns.resolver.NoNameservers(), DNS),
    "the name is none": (dns.resolver.YXDOMAIN(), DNS),
    "this host has no resolver": (dns.resolver.NoResolverConfiguration(), DNS),
}


@pytest.mark.parametrize(("error", "kind"), LOOK_UP_FAILURES.values(), ids=list(LOOK_UP_FAILURES))
def test_srv_look_up_fails_when(resolver, error: Exception, kind: str) -> None:
    resolver(error)
    with pytest.raises(ProbeFailure) as caught:
        _delegation.look_up_srv("_matrix._tcp.example.test", Deadline(5))
    assert caught.value.kind == kind and "_matrix._tcp.example.test" in caught.value.message


def test_srv_record_may_say_that_there_is_no_such_service(resolver) -> None:
    resolver([record(0, 0, "")])
    with pytest.raises(ProbeFailure) as caught:
        _delegation.look_up_srv("_matrix._tcp.example.test", Deadline(5))
    assert caught.value.kind == REFUSED and "no such service" in caught.value.message


def test_srv_look_up_without_dnspython_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_dns(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("dns"):
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without_dns)
    with pytest.raises(ProbeFailure) as caught:
        _delegation.look_up_srv("_matrix._tcp.example.test", Deadline(5))
    assert caught.value.kind == MISSING_TOOL and "python3-dnspython" in caught.value.message
