"""Tests of HTTP under one total deadline."""

from __future__ import annotations

import json
import socket
import ssl
import time
import typing as t

import pytest
import servers

from ansible_collections.matrixon.ops.plugins.module_utils import _net
from ansible_collections.matrixon.ops.plugins.module_utils._http import (
    MAX_BODY,
    HttpClient,
    Response,
    parse_url,
    tls_context,
)
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    DNS,
    PARSE,
    REFUSED,
    TIMEOUT,
    TLS,
    Deadline,
    ProbeFailure,
)

TOKEN = "syt_secret_token"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


def fetch(server: servers.Server, seconds: float = 5, **options: object) -> Response:
    return HttpClient().request("GET", f"http://{server.authority}/x", Deadline(seconds), token=TOKEN, **options)


def failure_with(server: servers.Server, seconds: float = 5, **options: object) -> ProbeFailure:
    with pytest.raises(ProbeFailure) as caught:
        fetch(server, seconds, **options)
    return caught.value


def response(body: bytes, content_type: str = "application/json", status: int = 200) -> Response:
    return Response("http://matrix.test/x", status, content_type, body, 1.0, "127.0.0.1:80")


URLS = {
    "http with its default port": ("http://matrix.test", ("http", "matrix.test", 80, ""), "matrix.test"),
    "https with its default port": ("https://matrix.test", ("https", "matrix.test", 443, ""), "matrix.test"),
    "a port of its own": ("https://matrix.test:8448", ("https", "matrix.test", 8448, ""), "matrix.test:8448"),
    "the default port written out": ("https://matrix.test:443", ("https", "matrix.test", 443, ""), "matrix.test"),
    "path and query": ("http://m.test:8008/a/b?c=d", ("http", "m.test", 8008, "/a/b?c=d"), "m.test:8008"),
    "an IPv6 address": ("http://[::1]:8008/a", ("http", "::1", 8008, "/a"), "[::1]:8008"),
    "capitals in the name": ("http://Matrix.Test", ("http", "matrix.test", 80, ""), "matrix.test"),
    "a slash at the end, which means something": ("http://m.test/a/", ("http", "m.test", 80, "/a/"), "m.test"),
    "a query and no path": ("http://m.test?a=b", ("http", "m.test", 80, "/?a=b"), "m.test"),
}


@pytest.mark.parametrize(("text", "parts", "authority"), URLS.values(), ids=list(URLS))
def test_url_with(text: str, parts: tuple[str, str, int, str], authority: str) -> None:
    url = parse_url(text)
    assert tuple(url) == parts and url.authority == authority


BAD_URLS = {
    "no scheme": ("matrix.test", "http://"),
    "no scheme but a port": ("matrix.test:8008", "http://"),
    "another scheme": ("ftp://matrix.test", "http://"),
    "no host": ("http:///path", "no host"),
    "a port that is none": ("http://m.test:70000", "between 1 and 65535"),
    "port 0": ("http://m.test:0", "between 1 and 65535"),
    "a port in words": ("http://m.test:http", "between 1 and 65535"),
    "a user": ("http://me@m.test", "user or password"),
    "a password": ("http://me:secret@m.test", "user or password"),
    "an open bracket": ("http://[::1", "Invalid IPv6 URL"),
    "letters that no request line can carry": ("http://b\u00fccher.test/", "ASCII"),
    "a space": ("http://m.test/a b", "space"),
}


@pytest.mark.parametrize(("text", "way_out"), BAD_URLS.values(), ids=list(BAD_URLS))
def test_url_is_refused_with(text: str, way_out: str) -> None:
    with pytest.raises(ValueError, match=way_out):
        parse_url(text)


def test_request_says_what_it_wants_and_the_answer_tells_everything(serve) -> None:
    server = serve(servers.pages({"/x": servers.http_answer({"a": 1}, Location="/y")}))
    answer = fetch(server)
    assert (answer.status, answer.content_type, answer.location) == (200, "application/json", "/y")
    assert answer.json() == {"a": 1}
    assert answer.url == f"http://{server.authority}/x" and 0 < answer.elapsed_ms < 5000
    headers = server.requests[0].headers
    assert (headers["host"], headers["authorization"]) == (server.authority, f"Bearer {TOKEN}")
    assert headers["connection"] == "close"


def test_body_is_sent_as_json(serve) -> None:
    server = serve(servers.web(lambda _request: servers.http_answer({})))
    HttpClient().request("PUT", f"http://{server.authority}", Deadline(5), body={"m\u00fc": [1]})
    request = server.requests[0]
    assert (request.method, request.path, json.loads(request.body)) == ("PUT", "/", {"m\u00fc": [1]})
    assert request.headers["content-type"] == "application/json" and "authorization" not in request.headers


def test_chunked_answer_is_put_together(serve) -> None:
    server = serve(servers.say(CHUNKED + b'4\r\n{"a"\r\n4\r\n: 1}\r\n0\r\n\r\n'))
    assert fetch(server).json() == {"a": 1}


def test_answer_without_length_ends_with_the_connection(serve) -> None:
    assert fetch(serve(servers.say(b"HTTP/1.0 200 OK\r\n\r\n{}"))).body == b"{}"


@pytest.mark.parametrize("status", [301, 404, 503])
def test_other_status_is_an_answer_and_no_redirect_is_followed(serve, status: int) -> None:
    server = serve(servers.pages({"/x": servers.http_answer({}, status, Location="http://127.0.0.1:1/")}))
    assert fetch(server).status == status and server.connections == 1


BROKEN = {
    "a server that closes at once": (servers.hang_up, REFUSED, "closed"),
    "a server that resets": (servers.reset, REFUSED, "cut"),
    "a mail server": (servers.say(b"220 mail.test ESMTP\r\n"), PARSE, "not HTTP"),
    "a Redis server": (servers.say(b"-ERR unknown command 'GET'\r\n"), PARSE, "not HTTP"),
    "a status that is no number": (servers.say(b"HTTP/1.1 OK\r\n\r\n"), PARSE, "not HTTP"),
    "chunks cut short": (servers.say(CHUNKED + b"40\r\nabc"), PARSE, "not HTTP"),
    "chunks without a size": (servers.say(CHUNKED + b"zz\r\nabc\r\n"), PARSE, "not HTTP"),
    "endless headers": (servers.flood(b"HTTP/1.1 200 OK\r\nX: "), PARSE, "not HTTP"),
}


@pytest.mark.parametrize(("script", "kind", "words"), BROKEN.values(), ids=list(BROKEN))
def test_failure_names_the_server_and_not_the_token_with(serve, script: servers.Script, kind: str, words: str) -> None:
    server = serve(script)
    failure = failure_with(server)
    assert failure.kind == kind and words in failure.message
    assert server.authority in failure.message and TOKEN not in failure.message


LARGE = {
    "its length says so": servers.flood(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n"),
    "it does not end": servers.flood(b"HTTP/1.1 200 OK\r\n\r\n"),
    "its chunks add up": servers.say(CHUNKED + b"400\r\n" + b"x" * 1024 + b"\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n"),
}


@pytest.mark.parametrize("script", LARGE.values(), ids=list(LARGE))
def test_larger_body_than_allowed_is_refused_when(serve, script: servers.Script) -> None:
    failure = failure_with(serve(script), max_body=2000)
    assert failure.kind == PARSE and "larger than 2000 bytes" in failure.message


def test_body_of_exactly_the_allowed_size_is_taken(serve) -> None:
    server = serve(servers.say(servers.http_answer(b"x" * 2000)))
    assert len(fetch(server, max_body=2000).body) == 2000


def test_no_body_is_read_without_end_by_default(serve) -> None:
    failure = failure_with(serve(servers.flood(b"HTTP/1.1 200 OK\r\n\r\n")))
    assert f"larger than {MAX_BODY} bytes" in failure.message


DRIPPING = {
    "nothing": servers.silent,
    "the status line byte by byte": servers.drip(b"HTTP/1.1 200 O", b"K"),
    "headers without end": servers.drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "the body byte by byte": servers.drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
    "chunks byte by byte": servers.drip(CHUNKED, b"1\r\nx\r\n"),
}


@pytest.mark.parametrize("script", DRIPPING.values(), ids=list(DRIPPING))
def test_request_ends_at_its_total_deadline_when_the_server_sends(serve, script: servers.Script) -> None:
    server = serve(script)
    started = time.monotonic()
    failure = failure_with(server, 0.25)
    assert failure.kind == TIMEOUT and server.authority in failure.message and TOKEN not in failure.message
    assert time.monotonic() - started < 0.9


def test_closed_port_is_refused(closed_port: int) -> None:
    with pytest.raises(ProbeFailure) as caught:
        HttpClient().request("GET", f"http://127.0.0.1:{closed_port}", Deadline(5))
    assert caught.value.kind == REFUSED


def test_https_accepts_the_certificate_of_the_name_it_asked_for(serve, authority, ca_file: str) -> None:
    server = serve(servers.pages({"/x": servers.http_answer({})}), tls=servers.tls_for(authority, "matrix.test"))
    client = HttpClient({"matrix.test:443": server.authority}, ca_file)
    assert client.request("GET", "https://matrix.test/x", Deadline(5)).json() == {}
    assert server.requests[0].headers["host"] == "matrix.test"


WRONG_TRUST = {
    "a certificate for another name": ("other.test", True, "other.test"),
    "an authority that is not trusted": ("matrix.test", False, "certificate"),
}


@pytest.mark.parametrize(("name", "trusted", "words"), WRONG_TRUST.values(), ids=list(WRONG_TRUST))
def test_https_refuses(serve, authority, ca_file: str, name: str, trusted: bool, words: str) -> None:
    server = serve(servers.pages({}), tls=servers.tls_for(authority, "matrix.test"))
    connect_to, anchors = {f"{name}:8448": server.authority}, ca_file if trusted else None
    with pytest.raises(ProbeFailure) as caught:
        HttpClient(connect_to, anchors).request("GET", f"https://{name}:8448/x", Deadline(5), token=TOKEN)
    assert caught.value.kind == TLS and words in caught.value.message
    assert server.requests == []
    unverified = HttpClient(connect_to, anchors, validate_certs=False)
    assert unverified.request("GET", f"https://{name}:8448/x", Deadline(5)).status == 404


ENDPOINTS = {
    "another port is left alone": ("matrix.test", 443, ("matrix.test", 443)),
    "the named one is replaced": ("matrix.test", 8448, ("10.0.0.5", 18448)),
    "an IPv6 address has brackets": ("::1", 8448, ("10.0.0.6", 443)),
    "brackets of the other are taken off": ("v6.test", 8448, ("fd00::1", 443)),
    "capitals do not matter": ("upper.test", 8448, ("10.0.0.7", 443)),
}


@pytest.mark.parametrize(("host", "port", "expected"), ENDPOINTS.values(), ids=list(ENDPOINTS))
def test_connect_to_says_where_to_go(host: str, port: int, expected: tuple[str, int]) -> None:
    others = {
        "matrix.test:8448": "10.0.0.5:18448",
        "[::1]:8448": "10.0.0.6:443",
        "v6.test:8448": "[fd00::1]:443",
        "Upper.Test:8448": "10.0.0.7:443",
    }
    assert HttpClient(others).endpoint(host, port) == expected


def test_addresses_are_those_of_the_endpoint() -> None:
    client = HttpClient({"matrix.test:8448": "127.0.0.1:18448"})
    assert client.addresses("https://matrix.test:8448/x") == [_net.Address(socket.AF_INET, ("127.0.0.1", 18448))]


def test_given_address_is_asked_under_the_name_of_the_url(serve) -> None:
    server = serve(servers.pages({"/x": servers.http_answer({})}))
    address = _net.Address(socket.AF_INET, ("127.0.0.1", server.port))
    answer = HttpClient().request("GET", "http://matrix.test/x", Deadline(5), address=address)
    assert answer.address == server.authority and server.requests[0].headers["host"] == "matrix.test"


def test_host_header_may_be_another_than_the_url_s(serve) -> None:
    server = serve(servers.pages({}))
    HttpClient().request("GET", f"http://{server.authority}/x", Deadline(5), host="example.test")
    assert server.requests[0].headers["host"] == "example.test"


def test_answer_is_timed_from_the_request_on(serve, clock) -> None:
    def slow(_request: servers.Request) -> bytes:
        clock.now += 0.25
        return servers.http_answer({})

    deadline = Deadline(60, clock)
    clock.now += 7
    answer = HttpClient().request("GET", f"http://{serve(servers.web(slow)).authority}/x", deadline)
    assert answer.elapsed_ms == pytest.approx(250)


def test_name_that_does_not_resolve_is_a_dns_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_args: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ProbeFailure) as caught:
        HttpClient().request("GET", "https://matrix.test", Deadline(5))
    assert caught.value.kind == DNS and "matrix.test" in caught.value.message


NOT_JSON = {
    "HTML": (b"<html>\n  <h1>It works</h1>", "text/html", "text/html that is not JSON: '<html> <h1>It works</h1>'"),
    "nothing": (b"", "", "no content type that is not JSON: ''"),
    "bytes that are no text": (b"\xff\xfe\x00", "application/json", "not JSON"),
    "a long text": (b"x" * 100, "text/plain", "'" + "x" * 60 + "...'"),
}


@pytest.mark.parametrize(("body", "content_type", "words"), NOT_JSON.values(), ids=list(NOT_JSON))
def test_answer_200_is_no_json_with(body: bytes, content_type: str, words: str) -> None:
    with pytest.raises(ProbeFailure) as caught:
        response(body, content_type).json()
    assert caught.value.kind == PARSE and words in caught.value.message and "answered 200" in caught.value.message


MATRIX_ERRORS = {
    "code and text": (b'{"errcode": "M_FORBIDDEN", "error": "No"}', "M_FORBIDDEN: No"),
    "a code alone": (b'{"errcode": "M_UNKNOWN"}', "M_UNKNOWN"),
    "another JSON": (b"[1]", "'[1]'"),
    "a page": (b"<html>", "'<html>'"),
}


@pytest.mark.parametrize(("body", "words"), MATRIX_ERRORS.values(), ids=list(MATRIX_ERRORS))
def test_matrix_error_is_told_from(body: bytes, words: str) -> None:
    assert response(body, status=403).matrix_error() == words


def test_trust_is_that_of_every_python(monkeypatch: pytest.MonkeyPatch) -> None:
    # From 3.13 on a context begins with this flag.
    made = ssl.create_default_context()
    made.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    monkeypatch.setattr(ssl, "create_default_context", lambda cafile: made)
    context = tls_context.__wrapped__(None, True)
    assert context is made and context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
    assert not context.verify_flags & ssl.VerifyFlags.VERIFY_X509_STRICT


def test_addresses_come_from_who_is_asked_for_them(monkeypatch: pytest.MonkeyPatch, serve) -> None:
    server = serve(servers.web(lambda _request: servers.http_answer({"a": 1})))

    def resolve(host: str, port: int, deadline: Deadline) -> list[_net.Address]:
        assert (host, port) == ("matrix.test", 80) and deadline.remaining() > 0
        return [_net.Address(socket.AF_INET, ("127.0.0.1", server.port))]

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: pytest.fail("the system was asked"))
    answer = HttpClient(resolve=resolve).request("GET", "http://matrix.test/x", Deadline(5))
    assert answer.json() == {"a": 1}


def test_headers_of_the_caller_and_what_the_server_wants_waited_for(serve: t.Any) -> None:
    server = serve(servers.web(lambda _request: servers.http_answer(status=429, **{"Retry-After": "7"})))
    answer = fetch(server, headers={"X-Asked": "yes"})
    assert (answer.status, answer.retry_after, server.requests[0].headers["x-asked"]) == (429, "7", "yes")


def test_failure_tells_whether_the_request_may_have_been_read(serve: t.Any, closed_port: int) -> None:
    assert failure_with(serve(servers.hang_up)).facts == {"sent": True}
    with pytest.raises(ProbeFailure) as caught:
        HttpClient().request("GET", f"http://127.0.0.1:{closed_port}/", Deadline(5))
    assert caught.value.facts == {}
