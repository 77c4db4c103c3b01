"""Tests of what HTTP answers mean for a message."""

from __future__ import annotations

import datetime
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._http import Response
from ansible_collections.matrixon.ops.plugins.module_utils._notify import web
from ansible_collections.matrixon.ops.plugins.module_utils._notify.model import Message

NOW = datetime.datetime(2026, 11, 27, 12, 0, tzinfo=datetime.timezone.utc)


def response(status: int, body: bytes = b"", retry_after: str | None = None) -> Response:
    return Response("https://h.test/secret", status, "", body, 1.0, "h", retry_after=retry_after)


def message(**more: t.Any) -> Message:
    given = {
        **{
            "key": "key",
            "state": "started",
            "occasion": "",
            "severity": "error",
            "incident": "open",
            "subject": "s<",
            "text": "t",
        },
        **{"html": "<p>t</p>", "public_subject": "ps", "public_text": "p", "link": "", "deployment": "d"},
    }
    return Message(**{**given, **more})


@pytest.mark.parametrize(
    ("status", "repeatable", "again", "uncertain", "kind"),
    [
        (429, False, True, False, "refused"),
        (420, False, True, False, "refused"),
        (503, False, True, False, "refused"),
        (500, False, False, True, "refused"),
        (500, True, True, True, "refused"),
        (504, True, True, True, "refused"),
        (401, True, False, False, "auth"),
        (403, True, False, False, "auth"),
        (404, True, False, False, "refused"),
        (302, True, False, False, "refused"),
    ],
)
def test_refusal(status: int, repeatable: bool, again: bool, uncertain: bool, kind: str) -> None:
    failure = web.refusal(response(status, b"words"), "https://h.test", repeatable)
    assert (failure.again, failure.uncertain, failure.kind) == (again, uncertain, kind)
    assert f"answered {status}" in failure.message and "secret" not in failure.message


@pytest.mark.parametrize(
    ("retry_after", "body", "wait"),
    [
        ("7", b"", 7.0),
        ("Fri, 27 Nov 2026 12:00:30 GMT", b"", 30.0),
        ("Fri, 27 Nov 2026 11:00:00 GMT", b"", 0.0),
        ("soon", b"", None),
        ("-3", b"", None),
        (None, b'{"retry_after_ms": 1500}', 1.5),
        (None, b'{"retry_after_ms": "x"}', None),
        (None, b"[]", None),
        (None, b"", None),
    ],
)
def test_asked_wait(retry_after: str | None, body: bytes, wait: float | None) -> None:
    assert web.asked_wait(response(429, body, retry_after), lambda: NOW) == wait


def test_room_gets_text_alone_where_there_is_no_html_or_too_much() -> None:
    options = {"url": "https://m.test/", "room_id": "!a/b:c.test", "token": "x"}
    room = web.MatrixRoom(options, message(), "id")
    assert room.url == "https://m.test/_matrix/client/v3/rooms/%21a%2Fb%3Ac.test/send/m.room.message/id"
    assert room.body["formatted_body"] == "<p><strong>s&lt;</strong></p>\n<p>t</p>"
    for html in ("", "x" * 30_000):
        assert "formatted_body" not in web.MatrixRoom(options, message(html=html), "id").body
    assert len(web.MatrixRoom(options, message(text="x" * 100_000), "id").body["body"]) == web.LONGEST_MATRIX


def test_pager_is_told_of_what_is_open_alone() -> None:
    options = {"routing_key": "k"}
    opened = web.PagerDuty(options, message(subject="s" * 2000)).body
    assert (opened["event_action"], opened["payload"]["severity"]) == ("trigger", "error")
    assert len(opened["payload"]["summary"]) == 1024 and "links" not in opened
    for incident in ("acknowledge", "resolve"):
        body = web.PagerDuty(options, message(incident=incident)).body
        assert body == {"routing_key": "k", "event_action": incident, "dedup_key": "key"}
    assert web.PagerDuty(options, message()).url == "https://events.pagerduty.com/v2/enqueue"


@pytest.mark.parametrize(
    ("incident", "has", "status"),
    [
        ("open", None, "investigating"),
        ("open", "monitoring", "monitoring"),
        ("acknowledge", "investigating", "identified"),
        ("acknowledge", "monitoring", "monitoring"),
        ("acknowledge", None, "identified"),
        ("open", "strange", "investigating"),
        ("resolve", "monitoring", "resolved"),
    ],
)
def test_status_of_an_incident_never_goes_back(incident: str, has: str | None, status: str) -> None:
    page = web.StatusPage({"page_id": "p", "token": "x", "component_ids": ["c"]}, message(incident=incident))
    wanted = page._wanted({"status": has} if has else None)
    assert wanted["status"] == status
    # Who has taken it up changes nothing for the components.
    assert ("components" in wanted) == (incident != "acknowledge")


@pytest.mark.parametrize("metadata", [None, [], {}, {"matrixon_ops": None}, {"matrixon_ops": {"key": "other"}}])
def test_incident_of_somebody_else_is_not_touched(metadata: t.Any) -> None:
    assert web._key_of({"metadata": metadata}) != "key"
    assert web._key_of({"metadata": {"matrixon_ops": {"key": "key"}}}) == "key"
