"""What is understood of the witness's answers, without one."""

from __future__ import annotations

import datetime
import json
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._dr import witness
from ansible_collections.matrixon.ops.plugins.module_utils._dr.witness import Deadline, Endpoint, Entry, WitnessError

NOW = datetime.datetime(2026, 11, 27, 12, 0, 0, 123456, tzinfo=datetime.timezone.utc)
GOOD = {"region": "one", "system_identifier": "7", "timeline": 1, "epoch": 3, "since": "2026", "by": "x"}


@pytest.mark.parametrize(
    ("text", "endpoint", "shown"),
    [
        ("https://w.example.org:2379", Endpoint("w.example.org", 2379), "https://w.example.org:2379"),
        ("https://w.example.org", Endpoint("w.example.org", 2379), "https://w.example.org:2379"),
        ("https://[2001:db8::1]:12379/", Endpoint("2001:db8::1", 12379), "https://[2001:db8::1]:12379"),
    ],
)
def test_an_address_is_read(text: str, endpoint: Endpoint, shown: str) -> None:
    assert witness.parse_endpoint(text) == endpoint
    assert str(endpoint) == shown


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("http://w:2379", "clear"),
        ("w:2379", "https"),
        ("https://:2379", "server"),
        ("https://w:70000", "port"),
        ("https://w:0", "server"),
        ("https://w:2379/v3", "server"),
        ("https://user:hunter2@w:2379", "login"),
    ],
)
def test_another_address_is_refused_with_the_way_out(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word) as caught:
        witness.parse_endpoint(text)
    assert "https://witness.example.org:2379" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_settings_do_not_show_the_password() -> None:
    settings = witness.Settings((Endpoint("w", 2379),), "example.org", "u", "hunter2")
    assert "hunter2" not in f"{settings!r} {settings}"
    assert settings.key("guard", "db1") == "/matrixon/example.org/guard/db1"


@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [
        (400, {"error": "etcdserver: authentication failed, invalid user ID or password", "code": 3}, "auth"),
        (403, {"error": "etcdserver: permission denied", "code": 7}, "auth"),
        (401, {"error": "etcdserver: invalid auth token", "code": 16}, "auth"),
        (503, {"error": "etcdserver: no leader", "code": 14}, "refused"),
        (504, {"error": "context deadline exceeded", "code": 4}, "refused"),
        (404, {"error": "etcdserver: requested lease not found", "code": 5}, "refused"),
        # What a stream answers, and the words of a later gateway.
        (200, {"error": {"grpc_code": 16, "message": "etcdserver: invalid auth token"}}, "auth"),
        (403, {"code": 7, "message": "etcdserver: permission denied"}, "auth"),
        (200, "<html>", "parse"),
        (200, [], "parse"),
        (200, "", "parse"),
    ],
)
def test_a_refusal_has_a_name(status: int, answer: t.Any, kind: str) -> None:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    with pytest.raises(WitnessError) as caught:
        witness._judge("https://w:2379", status, text.encode())
    assert caught.value.kind == kind
    assert "https://w:2379" in caught.value.message


@pytest.mark.parametrize("stale", ["etcdserver: invalid auth token", "etcdserver: revision of auth store is old"])
def test_an_old_token_is_told_from_a_bad_login(stale: str) -> None:
    with pytest.raises(witness._Answered) as caught:
        witness._judge("https://w:2379", 401, json.dumps({"error": stale, "code": 16}).encode())
    assert caught.value.stale_token


def test_a_record_is_read_and_written() -> None:
    record = witness.parse_record(Entry(GOOD, 9))
    assert record.value() == GOOD and record.revision == 9
    later = witness.next_record(record, "", "7", 2, "me", NOW)
    assert later.value() == {**GOOD, "region": "", "timeline": 2, "epoch": 4, "by": "me", "since": witness.stamp(NOW)}
    assert witness.next_record(None, "one", "7", 1, "me", NOW).epoch == 1


@pytest.mark.parametrize("name", sorted(GOOD))
@pytest.mark.parametrize("value", [None, 1.5, True, []])
def test_a_record_that_lacks_something_is_none(name: str, value: t.Any) -> None:
    with pytest.raises(WitnessError, match=f"no good {name}"):
        witness.parse_record(Entry({**GOOD, name: value}, 9))


def test_a_claim_that_says_nothing_new_is_known() -> None:
    record = witness.parse_record(Entry(GOOD, 9))
    assert witness.says_already(record, "one", "7", 1)
    assert not witness.says_already(record, "one", "7", 2)
    assert not witness.says_already(record, "", "7", 1)
    assert not witness.says_already(None, "one", "7", 1)


def test_stamps_are_read_back() -> None:
    assert witness.stamp(NOW) == "2026-11-27T12:00:00.123Z"
    assert witness.age("2026-11-27T11:59:00Z", NOW) == 60.123
    assert witness.age("2026-11-27T11:59:00", NOW) is None
    assert witness.age(None, NOW) is None


def test_a_deadline_ends_whatever_is_asked_below_it() -> None:
    now = [0.0]
    deadline = Deadline(10, lambda: now[0])
    now[0] = 4.0
    inner = deadline.within(30)
    assert inner.seconds == 6
    now[0] = 10.0
    assert inner.remaining() == 0
    with pytest.raises(WitnessError, match=r"https://w:2379 gave no answer within 10 s") as caught:
        deadline.require("https://w:2379")
    assert caught.value.kind == "timeout"
