"""Tests of the run: options in, report out, with name servers that are made up."""

from __future__ import annotations

import datetime
import threading
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.matrixon.ops.plugins.module_utils._dns import query
from ansible_collections.matrixon.ops.plugins.module_utils._dns.model import Answer
from ansible_collections.matrixon.ops.plugins.module_utils._dns.run import Outcome, check_dns, diff_of
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.modules.matrixon_dns_info import argument_spec

NOW = datetime.datetime(2026, 11, 27, 9, tzinfo=datetime.timezone.utc)
BASE = {"target": "h", "deployment": "d", "profile": "p", "servers": ["192.0.2.53", "[2001:db8::53]:5353"]}


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def options(**given: Any) -> dict[str, Any]:
    checked = ArgumentSpecValidator(argument_spec()).validate({**BASE, **given})
    assert not checked.error_messages, checked.error_messages
    return checked.validated_parameters


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> dict[str, Any]:
    """What the servers say: a TTL and values, from which moment on, and where they were reached."""
    told: dict[str, Any] = {"ttl": 60, "old": "192.0.2.1", "new": "192.0.2.2", "from": 3.0, "reached": set()}

    def look_up(server: Any, at: Any, name: str, kind: str, deadline: Any) -> Answer:
        told["reached"].add(at.endpoint)
        if kind == "SOA":
            return Answer(server, name, "answered", ("7",), 900)
        return Answer(server, name, "answered", (told["new" if clock.now >= told["from"] else "old"],), told["ttl"])

    monkeypatch.setattr(query, "look_up", look_up)
    monkeypatch.setattr(query, "zone_in", lambda message, name, candidate, authoritative: "example.com")

    class Message:
        def rcode(self) -> int:
            return 0

    monkeypatch.setattr(query, "ask", lambda *args, **more: Message())
    return told


def run(clock: Clock, **given: Any) -> Outcome:
    record = {"name": "Matrix.Example.com.", "values": ["192.0.2.2"]}
    return check_dns(options(records=[{**record, **given.pop("record", {})}], **given), NOW, clock, clock.sleep)


def test_it_waits_for_as_long_as_it_may(clock: Clock, world: dict[str, Any]) -> None:
    outcome = run(clock, wait=10)
    assert (outcome.settled, outcome.seconds, outcome.report.status) == (True, 3.0, "ok")
    assert outcome.report.finished - outcome.report.started == datetime.timedelta(seconds=3)


def test_it_gives_up_in_time(clock: Clock, world: dict[str, Any]) -> None:
    world["from"] = 1000
    outcome = run(clock, wait=10)
    assert (outcome.settled, outcome.report.status) == (False, "critical")
    assert 9 <= outcome.seconds <= 10


def test_without_patience_it_looks_once(clock: Clock, world: dict[str, Any]) -> None:
    assert run(clock).settled is False
    assert clock.slept == []


def test_it_waits_for_a_ttl_that_was_asked_for_only(clock: Clock, world: dict[str, Any]) -> None:
    world.update({"ttl": 300, "from": 0})
    assert run(clock, wait=5).seconds == 0
    assert run(clock, wait=5, record={"ttl": 60}).settled is False


def test_the_answer_is_by_record_and_server(clock: Clock, world: dict[str, Any]) -> None:
    (record,) = run(clock).records
    assert (record["name"], record["zone"], record["values"], record["ttl"]) == (
        "matrix.example.com",
        "example.com",
        ["192.0.2.1"],
        60,
    )
    assert [(one["server"], one["serial"]) for one in record["answers"]] == [
        ("192.0.2.53:53", 7),
        ("[2001:db8::53]:5353", 7),
    ]


def test_servers_are_reached_where_it_is_told(clock: Clock, world: dict[str, Any]) -> None:
    run(clock, connect_to={"192.0.2.53:53": "127.0.0.1:5300", "m.test:443": "127.0.0.1:8443"})
    assert world["reached"] == {"127.0.0.1:5300", "[2001:db8::53]:5353"}


def test_the_difference(clock: Clock, world: dict[str, Any]) -> None:
    given = options(records=[{"name": "matrix.example.com", "values": ["192.0.2.2"], "ttl": 30}])
    outcome = check_dns(given, NOW, clock, clock.sleep)
    assert diff_of(given, outcome.records) == {
        "before": "matrix.example.com. 60 A 192.0.2.1\n",
        "after": "matrix.example.com. 30 A 192.0.2.2\n",
    }


def test_one_question_that_breaks_takes_no_other_with_it(
    clock: Clock, world: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = query.look_up

    def broken(server: Any, *more: Any) -> Answer:
        if server.port == 5353:
            raise ZeroDivisionError("a fault")
        return told(server, *more)

    monkeypatch.setattr(query, "look_up", broken)
    answers = run(clock).records[0]["answers"]
    assert answers[0]["outcome"] == "answered"
    assert "the check itself broke (ZeroDivisionError: a fault)" in answers[1]["message"]


def test_what_hangs_is_left_behind_at_the_deadline(
    clock: Clock, world: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    told, ended = query.look_up, threading.Event()

    def stuck(server: Any, *more: Any) -> Answer:
        if server.port == 5353:
            ended.wait(30)
        return told(server, *more)

    monkeypatch.setattr(query, "look_up", stuck)
    try:
        given = options(records=[{"name": "matrix.example.com"}], deadline=0.3)
        answers = check_dns(given, NOW).records[0]["answers"]
        assert not ended.is_set()
    finally:
        ended.set()
    assert [one["outcome"] for one in answers] == ["answered", "timeout"]
    assert "not finished when the total deadline of 0.3 s ended" in answers[1]["message"]


WRONG = {
    "no records": ({"records": []}, "records: the list is empty"),
    "an address": ({"records": [{"name": "192.0.2.1"}]}, "records[0].name: '192.0.2.1' is an address"),
    "a bare name": ({"records": [{"name": "host"}]}, "records[0].name: 'host' is no full name"),
    "letters": ({"records": [{"name": "bücher.de"}]}, "records[0].name: 'bücher.de' is not ASCII"),
    "a long label": ({"records": [{"name": "a" * 64 + ".test"}]}, "records[0].name"),
    "a family": (
        {"records": [{"name": "a.test", "type": "AAAA", "values": ["192.0.2.1"]}]},
        "records[0].values[0]: '192.0.2.1' is no IPv6 address",
    ),
    "twice": ({"records": [{"name": "a.test"}, {"name": "A.test."}]}, "records: a.test A stands there twice"),
    "a ttl": ({"records": [{"name": "a.test", "ttl": -1}]}, "records[0].ttl: -1 is no TTL"),
    "a resolver": ({"records": [{"name": "a.test"}], "resolvers": ["dns"]}, "resolvers[0]: 'dns' is no name server"),
    "a silence": ({"records": [{"name": "a.test"}], "accept_silent": ["ns1"]}, "accept_silent[0]: 'ns1'"),
    "a wait": ({"records": [{"name": "a.test"}], "wait": -1}, "wait: -1 is no time to wait"),
    "a deadline": ({"records": [{"name": "a.test"}], "deadline": 0}, "deadline: 0 is no time to wait"),
    "a move": (
        {"records": [{"name": "a.test"}], "connect_to": {"192.0.2.1:53": "elsewhere"}},
        "connect_to.192.0.2.1:53: 'elsewhere' is no address:port",
    ),
    "a deployment": ({"records": [{"name": "a.test"}], "deployment": " "}, "deployment: it is empty"),
}


@pytest.mark.parametrize(("given", "sentence"), WRONG.values(), ids=list(WRONG))
def test_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionErrors) as caught:
        check_dns(options(**given))
    assert str(caught.value).startswith(sentence)
