"""Tests of the client-server API as a health check meets it."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils import _matrix
from ansible_collections.matrixon.ops.plugins.module_utils._http import Response
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    AUTH,
    PARSE,
    REFUSED,
    TIMEOUT,
    Deadline,
    ProbeFailure,
)

BASE = "http://matrix.test:8008"
ROOM = "!canary/room:matrix.test"
HTML = (200, "<html>It works</html>")

Answer = tuple[int, Any]


class Http:
    """Answers requests from a function, and remembers them."""

    def __init__(self, answer: Callable[[str, str], Answer | ProbeFailure]) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str, str | None, Any]] = []

    def request(
        self, method: str, url: str, _deadline: Deadline, *, token: str | None = None, body: Any = None
    ) -> Response:
        self.asked.append((method, url, token, body))
        answer = self.answer(method, url)
        if isinstance(answer, ProbeFailure):
            raise answer
        status, document = answer
        text = document if isinstance(document, str) else json.dumps(document)
        return Response(url, status, "text/plain", text.encode(), 12.0, "127.0.0.1:8008")


def client(answer: Answer | ProbeFailure, token: str | None = None) -> _matrix.Client:
    return _matrix.Client(Http(lambda _method, _url: answer), BASE + "/", token)


CALLS: dict[str, tuple[Callable[[_matrix.Client], Any], Any, Any]] = {
    "versions": (
        lambda client: client.versions(Deadline(5)),
        {"versions": ["v1.1", "v1.11"]},
        (["v1.1", "v1.11"], 12.0),
    ),
    "server_version": (
        lambda client: client.server_version(Deadline(5)),
        {"server": {"name": "Synapse", "version": "1.163.2"}},
        ("Synapse", "1.163.2"),
    ),
    "newest_events": (lambda client: client.newest_events(ROOM, Deadline(5)), {"chunk": []}, 12.0),
    "sync": (lambda client: client.sync(ROOM, None, 0, Deadline(5)), {"next_batch": "s1"}, ("s1", [])),
    "send_marker": (lambda client: client.send_marker(ROOM, 1, Deadline(5)), {"event_id": "$1"}, "$1"),
}
call_each = pytest.mark.parametrize(("call", "document", "found"), CALLS.values(), ids=list(CALLS))


@call_each
def test_answer_is_understood_by(call: Callable, document: Any, found: Any) -> None:
    assert call(client((200, document))) == found


NONSENSE = {"HTML": "<html>", "an empty object": {}, "a list": [], "a text": "ok", "null": None, "nothing": ""}


@pytest.mark.parametrize("body", NONSENSE.values(), ids=list(NONSENSE))
@call_each
def test_200_with_something_else_is_no_success_for(call: Callable, document: Any, found: Any, body: Any) -> None:
    with pytest.raises(ProbeFailure) as caught:
        call(client((200, body)))
    assert caught.value.kind == PARSE and "matrix.test:8008" in caught.value.message


@pytest.mark.parametrize("versions", [[], {}, "v1.1", None], ids=repr)
def test_versions_without_a_version_are_none(versions: Any) -> None:
    with pytest.raises(ProbeFailure) as caught:
        client((200, {"versions": versions})).versions(Deadline(5))
    assert caught.value.kind == PARSE


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AUTH),
        (403, AUTH),
        (400, REFUSED),
        (404, REFUSED),
        (429, REFUSED),
        (502, REFUSED),
        (300, REFUSED),
        (302, REFUSED),
    ],
)
@call_each
def test_refusal_tells_status_and_reason_and_no_token_to(
    call: Callable, document: Any, found: Any, status: int, kind: str
) -> None:
    error = {"errcode": "M_SAID", "error": "Not now"}
    with pytest.raises(ProbeFailure) as caught:
        call(client((status, error), "syt_secret"))
    assert caught.value.kind == kind
    assert str(status) in caught.value.message and "M_SAID: Not now" in caught.value.message
    assert "syt_secret" not in caught.value.message


@call_each
def test_token_is_sent_apart_from_the_url_by(call: Callable, document: Any, found: Any) -> None:
    speaker = client((200, document), "syt_secret")
    call(speaker)
    ((_method, url, token, _body),) = speaker.http.asked
    assert token == "syt_secret" and "syt_secret" not in url
    assert url.startswith(BASE + "/_matrix/")


class Homeserver:
    """Takes a marker, and gives it back in the sync where a test wants it. Each sync costs its poll time and 5 ms."""

    def __init__(self, clock: Any, batches: list[list[str]]) -> None:
        self.clock, self.batches = clock, batches
        self.http = Http(self.answer)
        self.polls: list[dict[str, str]] = []
        self.failing: dict[str, Answer | ProbeFailure] = {}

    def answer(self, method: str, url: str) -> Answer | ProbeFailure:
        stage = "send" if method == "PUT" else "first sync" if not self.polls else "later sync"
        if method == "GET":
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)
            self.polls.append({key: values[0] for key, values in query.items()})
            self.clock.now += int(query["timeout"][0]) / 1000 + 0.005
        if stage in self.failing:
            return self.failing[stage]
        if stage == "send":
            self.clock.now += 0.25
            return 200, {"event_id": "$canary"}
        at = len(self.polls) - 1
        events = [{"event_id": event} for event in self.batches[at]] if at < len(self.batches) else []
        joined = {ROOM: {"timeline": {"events": events}}} if events else {}
        return 200, {"next_batch": f"s{at}", "rooms": {"join": joined}}

    def deliver(self, seconds: float = 10) -> tuple[str, float]:
        users = [_matrix.Client(self.http, BASE, token) for token in ("syt_sender", "syt_reader")]
        return _matrix.deliver_marker(users[0], users[1], ROOM, 1_700_000_000_000, Deadline(seconds, self.clock))


def test_canary_is_found_late_and_among_other_events(clock) -> None:
    server = Homeserver(clock, [["$old"], ["$other"], [], ["$another", "$canary", "$third"]])
    event_id, ms = server.deliver()
    assert event_id == "$canary"
    # The way of the marker: sent in 250 ms, then three long polls. The first sync is not part of it.
    assert ms == pytest.approx(250 + 3 * 2005)
    assert [poll.get("since") for poll in server.polls] == [None, "s0", "s1", "s2"]


def test_canary_is_written_by_the_sender_and_read_by_the_reader(clock) -> None:
    server = Homeserver(clock, [[], ["$canary"]])
    server.deliver()
    assert [(method, token) for method, _url, token, _body in server.http.asked] == [
        ("GET", "syt_reader"),
        ("PUT", "syt_sender"),
        ("GET", "syt_reader"),
    ]
    _method, url, _token, body = server.http.asked[1]
    marker = body[_matrix.CANARY_KEY]
    assert marker["sent_ms"] == 1_700_000_000_000 and url.endswith(f"/send/m.room.message/{marker['id']}")
    assert "/rooms/%21canary%2Froom%3Amatrix.test/" in url


def test_sync_asks_for_nothing_but_the_room(clock) -> None:
    server = Homeserver(clock, [[], ["$canary"]])
    server.deliver()
    wanted = json.loads(server.polls[0]["filter"])
    assert wanted["room"]["rooms"] == [ROOM] and wanted["presence"] == {"types": []}
    assert server.polls[0]["set_presence"] == "offline"


def test_every_marker_is_new(clock) -> None:
    urls = set()
    for _time in range(3):
        server = Homeserver(clock, [[], ["$canary"]])
        server.deliver()
        urls.add(server.http.asked[1][1])
    assert len(urls) == 3


def test_canary_that_does_not_come_is_lost_at_the_deadline_and_no_poll_outlives_it(clock) -> None:
    server = Homeserver(clock, [["$other"]] * 5)
    started = clock.now
    with pytest.raises(ProbeFailure) as caught:
        server.deliver(10)
    assert caught.value.kind == TIMEOUT and caught.value.message.startswith("canary $canary was sent and not delivered")
    assert clock.now - started == pytest.approx(10, abs=0.02)
    polls = [int(poll["timeout"]) for poll in server.polls]
    assert polls[0] == 0 and max(polls) == _matrix.POLL_MS and len(polls) < 40


FIRST = "before the canary was sent, the reader's /sync"
SEND = "the canary could not be sent"
LATER = "canary $canary was sent and not delivered"
STAGES = {
    "the first sync": ("first sync", FIRST),
    "the send": ("send", SEND),
    "a later sync": ("later sync", LATER),
}
TROUBLES = {
    "refused the token": ((401, {"errcode": "M_UNKNOWN_TOKEN", "error": "Invalid"}), AUTH, "M_UNKNOWN_TOKEN"),
    "forbade it": ((403, {"errcode": "M_FORBIDDEN", "error": "Not in room"}), AUTH, "M_FORBIDDEN"),
    "failed": ((500, {"errcode": "M_UNKNOWN", "error": "Internal"}), REFUSED, "answered 500"),
    "answered with a page": ((200, "<html>"), PARSE, "not JSON"),
    "answered with nothing in it": ((200, {}), PARSE, "without"),
    "did not answer": (ProbeFailure(TIMEOUT, "matrix.test: no answer"), TIMEOUT, "no answer"),
}


@pytest.mark.parametrize(("stage", "words"), STAGES.values(), ids=list(STAGES))
@pytest.mark.parametrize(("answer", "kind", "said"), TROUBLES.values(), ids=list(TROUBLES))
def test_failure_names_the_stage_at_which_the_server(
    clock, stage: str, words: str, answer: Any, kind: str, said: str
) -> None:
    server = Homeserver(clock, [])
    server.failing[stage] = answer
    with pytest.raises(ProbeFailure) as caught:
        server.deliver()
    assert caught.value.kind == kind
    assert caught.value.message.startswith(words + ": ") and said in caught.value.message
    assert "syt_" not in caught.value.message
    sent = any(method == "PUT" for method, *_rest in server.http.asked)
    assert sent == (stage != "first sync")
