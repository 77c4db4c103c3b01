"""What users do, tried against a homeserver that does some of it wrong."""

from __future__ import annotations

import json
import socket
import urllib.parse
from typing import Any

import pytest
import servers

from ansible_collections.matrixon.ops.plugins.module_utils import _user
from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient, Response
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    REFUSED,
    TIMEOUT,
    Deadline,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._report import CheckResult

BASE = "https://matrix.test"
ROOM = "!probe:test"
PERSON = _user.Person("probe", "a-passw0rd", ROOM, "syt_sender", "syt_reader")
SECRETS = ("a-passw0rd", "syt_sender", "syt_reader", "syt_fresh")

Answer = tuple[int, Any]


class Homeserver:
    """Answers as a homeserver does. ``wrong`` says what it answers in the stead, by the last word of the path."""

    def __init__(self, **wrong: Answer | ProbeFailure) -> None:
        self.wrong = wrong
        self.asked: list[tuple[str, str, str | None, Any]] = []
        self.files: dict[str, bytes] = {}
        self.markers: list[str] = []

    def request(
        self, method: str, url: str, _deadline: Deadline, *, token: str | None = None, body: Any = None
    ) -> Response:
        self.asked.append((method, url, token, body))
        path = urllib.parse.urlsplit(url).path
        words = {"login": "login", "logout": "logout", "upload": "upload", "download": "download", "sync": "sync"}
        word = next((name for part, name in words.items() if f"/{part}" in path.rstrip("/")), "send")
        answer = self.wrong.get(word) or getattr(self, word)(path, body)
        if isinstance(answer, ProbeFailure):
            raise answer
        status, document = answer
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        return Response(url, status, "application/json", content, 12.0, "127.0.0.1:443")

    def login(self, _path: str, _body: Any) -> Answer:
        return 200, {"access_token": "syt_fresh", "user_id": "@probe:test"}

    def logout(self, _path: str, _body: Any) -> Answer:
        return 200, {}

    def upload(self, _path: str, body: Any) -> Answer:
        self.files["a file"] = body
        return 200, {"content_uri": "mxc://test/a file"}

    def download(self, path: str, _body: Any) -> Answer:
        return 200, self.files[urllib.parse.unquote(path.rpartition("/")[2])]

    def send(self, path: str, _body: Any) -> Answer:
        self.markers.append("$" + path.rpartition("/")[2])
        return 200, {"event_id": self.markers[-1]}

    def sync(self, _path: str, _body: Any) -> Answer:
        events = [{"event_id": marker} for marker in self.markers]
        return 200, {"next_batch": "s1", "rooms": {"join": {ROOM: {"timeline": {"events": events}}}}}

    def tried(self, person: _user.Person = PERSON) -> dict[str, CheckResult]:
        checks = _user.try_all(self, BASE, person, Deadline(10))
        assert [check.name for check in checks] == ["user_login", "user_message", "user_media"]
        assert {check.target for check in checks} == {BASE}
        told = repr(checks)
        assert [secret for secret in SECRETS if secret in told] == []
        return {check.name: check for check in checks}


def test_all_of_it_works_and_is_measured() -> None:
    server = Homeserver()
    found = server.tried()
    assert {check.status for check in found.values()} == {"ok"}
    assert found["user_login"].message == "@probe:test logged in and out"
    assert found["user_media"].message == "4096 bytes came back as they were put up"
    assert found["user_media"].value == 24.0 and found["user_media"].unit == "ms"
    assert all((check.value or 0) >= 0 for check in found.values())


def test_each_thing_is_done_by_who_may_do_it_and_no_login_stays() -> None:
    server = Homeserver()
    server.tried()
    by = {urllib.parse.urlsplit(url).path.split("/")[-1]: token for _method, url, token, _body in server.asked}
    assert (by["login"], by["logout"], by["upload"], by["sync"]) == (None, "syt_fresh", "syt_sender", "syt_reader")
    (login,) = [body for _method, url, _token, body in server.asked if url.endswith("/login")]
    assert login["identifier"] == {"type": "m.id.user", "user": "probe"} and login["password"] == "a-passw0rd"
    assert [url for _method, url, *_rest in server.asked if any(secret in url for secret in SECRETS)] == []
    # An id that is no word is a part of the path none the less.
    assert server.asked[-1][1] == f"{BASE}/_matrix/client/v1/media/download/test/a%20file"


def test_every_file_is_another_one() -> None:
    one, two = Homeserver(), Homeserver()
    one.tried(), two.tried()
    assert len(one.files["a file"]) == 4096 and one.files != two.files


@pytest.mark.parametrize(
    ("wrong", "check", "kind", "words"),
    [
        ({"login": (403, {"errcode": "M_FORBIDDEN"})}, "user_login", "auth", "403"),
        ({"login": (200, {"user_id": "@probe:test"})}, "user_login", "parse", "gave no token"),
        ({"login": (200, ["syt_fresh"])}, "user_login", "parse", "gave no token"),
        ({"login": (200, b"<html>")}, "user_login", "parse", "matrix.test"),
        ({"login": ProbeFailure(TIMEOUT, "no answer in time")}, "user_login", "timeout", "no answer in time"),
        ({"logout": (500, {})}, "user_login", "refused", "500"),
        ({"send": (429, {"errcode": "M_LIMIT_EXCEEDED"})}, "user_message", "refused", "429"),
        ({"sync": (401, {"errcode": "M_UNKNOWN_TOKEN"})}, "user_message", "auth", "M_UNKNOWN_TOKEN"),
        ({"upload": ProbeFailure(REFUSED, "connection refused")}, "user_media", "refused", "connection refused"),
        ({"upload": (413, {"errcode": "M_TOO_LARGE"})}, "user_media", "refused", "413"),
        ({"upload": (200, {})}, "user_media", "parse", "gave no address"),
        ({"upload": (200, {"content_uri": None})}, "user_media", "parse", "gave no address"),
        ({"upload": (200, {"content_uri": "test/1"})}, "user_media", "parse", "gave no address"),
        ({"upload": (200, {"content_uri": "mxc://test"})}, "user_media", "parse", "gave no address"),
        ({"upload": (200, {"content_uri": "mxc://test/"})}, "user_media", "parse", "gave no address"),
        ({"upload": (200, {"content_uri": "https://test/1"})}, "user_media", "parse", "gave no address"),
        ({"upload": (200, ["mxc://test/1"])}, "user_media", "parse", "gave no address"),
        ({"download": (404, {"errcode": "M_NOT_FOUND"})}, "user_media", "refused", "404"),
        ({"download": (200, b"x" * 4096)}, "user_media", "parse", "came back with 4096 other bytes than the 4096"),
        ({"download": (200, b"x")}, "user_media", "parse", "came back with 1 other bytes"),
    ],
)
def test_what_a_user_could_not_do_is_critical_and_the_rest_is_tried_all_the_same(
    wrong: dict[str, Any], check: str, kind: str, words: str
) -> None:
    found = Homeserver(**wrong).tried()
    assert (found[check].status, found[check].error_kind, found[check].value) == ("critical", kind, None)
    assert words in found[check].message
    assert {name for name, one in found.items() if one.status == "ok"} == set(found) - {check}


@pytest.mark.parametrize(
    ("person", "skipped"),
    [
        (_user.Person(), {"user_login", "user_message", "user_media"}),
        (_user.Person("probe", "a-passw0rd"), {"user_message", "user_media"}),
        (_user.Person(sender_token="syt_sender"), {"user_login", "user_message"}),
        (_user.Person("", "", ROOM, "syt_sender"), {"user_login", "user_message"}),
        (_user.Person("", "", ROOM, "", "syt_reader"), {"user_login", "user_message", "user_media"}),
        (_user.Person("", "", "", "syt_sender", "syt_reader"), {"user_login", "user_message"}),
    ],
)
def test_what_cannot_be_tried_is_skipped_with_its_reason_and_asks_nobody(
    person: _user.Person, skipped: set[str]
) -> None:
    server = Homeserver()
    found = server.tried(person)
    assert {name for name, check in found.items() if check.status == "skipped"} == skipped
    assert all(found[name].skipped_reason for name in skipped)
    assert bool(server.asked) == (len(skipped) < 3)


def test_a_server_that_is_silent_takes_no_more_time_than_there_is(serve: Any) -> None:
    server = serve(servers.silent)
    base = f"http://{server.authority}"
    checks = _user.try_all(HttpClient(), base, PERSON, Deadline(0.5))
    assert [(check.status, check.error_kind) for check in checks] == [("critical", TIMEOUT)] * 3


def listener() -> tuple[socket.socket, str]:
    """Listen on IPv6 where the machine has it, and say how that address is written."""
    try:
        return socket.create_server(("::1", 0), family=socket.AF_INET6), "[::1]"
    except OSError:
        return servers.tcp_listener(), "127.0.0.1"


def test_names_lead_where_the_region_is_and_that_may_be_an_address_of_ipv6(
    serve: Any, authority: Any, ca_file: str
) -> None:
    listening, address = listener()
    files: list[bytes] = []

    def handle(request: servers.Request) -> bytes:
        if request.path.endswith("/login"):
            return servers.http_answer({"access_token": "syt_fresh", "user_id": "@probe:test"})
        if "/upload" in request.path:
            files.append(request.body)
            return servers.http_answer({"content_uri": "mxc://test/1"})
        return servers.http_answer(files[-1] if "/download/" in request.path else {})

    server = serve(servers.web(handle), servers.tls_for(authority, "matrix.test"), listening)
    http = HttpClient(connect_to={"matrix.test:443": f"{address}:{server.port}"}, ca_file=ca_file)
    person = _user.Person("probe", "a-passw0rd", sender_token="syt_sender")
    found = {check.name: check.status for check in _user.try_all(http, BASE, person, Deadline(10))}
    assert found == {"user_login": "ok", "user_message": "skipped", "user_media": "ok"}
    assert [len(content) for content in files] == [4096]
    assert {request.headers["host"] for request in server.requests} == {"matrix.test"}
