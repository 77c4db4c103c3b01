"""Tests of the counts: by minute, address and user, joined by request, and bounded."""

from __future__ import annotations

from collections import Counter

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._security import tally as module
from ansible_collections.matrixon.ops.plugins.module_utils._security.model import Access, Event, source_of
from ansible_collections.matrixon.ops.plugins.module_utils._security.tally import (
    OTHERS,
    Tally,
    most_within,
    ranking,
    worst,
    worst_minute,
)

WRONG, RATE = "login_wrong_password", "rate_limited"


def event(seconds: float = 0, kind: str = WRONG, request: str | None = "POST-1", **more: str) -> Event:
    return Event(kind, seconds, more.pop("unit", "u"), request, **more)


def access(request: str = "POST-1", address: str = "203.0.113.5", unit: str = "u", **more: object) -> Access:
    return Access(unit, request, address, more.get("user"), bool(more.get("internal")))


def test_an_event_gets_the_address_of_its_request() -> None:
    tally = Tally()
    tally.take(event(60, user="@bob:x"))
    assert not tally.addresses
    tally.take(access())
    tally.take(access())
    assert tally.addresses == {(1, WRONG, "203.0.113.5"): 1}
    assert tally.users == {(1, WRONG, "@bob:x"): 1}
    assert (tally.kinds, tally.with_address) == ({WRONG: 1}, {WRONG: 1})


@pytest.mark.parametrize("other", [access("POST-2"), access(unit="v")])
def test_the_same_number_in_another_process_is_another_request(other: Access) -> None:
    tally = Tally()
    tally.take(event())
    tally.take(other)
    assert not tally.addresses


def test_what_one_process_asks_of_another_has_no_address() -> None:
    tally = Tally()
    tally.take(event())
    tally.take(access(internal=True))
    assert (tally.kinds, tally.addresses) == ({WRONG: 1}, {})


def test_the_access_line_tells_the_user_where_the_event_does_not() -> None:
    tally = Tally()
    tally.take(event(kind=RATE))
    tally.take(access(user="@alice:x"))
    assert tally.users == {(0, RATE, "@alice:x"): 1}


def test_one_request_is_one_event_of_a_kind() -> None:
    tally = Tally()
    for _time in range(3):
        tally.take(event())
    tally.take(event(kind=RATE))
    tally.take(access())
    assert tally.kinds == {WRONG: 1, RATE: 1}
    assert tally.with_address == {WRONG: 1, RATE: 1}
    tally.take(event())
    assert tally.kinds[WRONG] == 2


def test_the_same_number_after_a_restart_is_another_request() -> None:
    tally = Tally()
    tally.take(event(0))
    tally.take(event(7200))
    tally.take(access())
    assert tally.kinds == {WRONG: 2}
    assert tally.addresses == {(120, WRONG, "203.0.113.5"): 1}


def test_what_does_not_fit_counts_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 3)
    monkeypatch.setattr(Tally._add, "__defaults__", (3,))
    tally = Tally()
    for number in range(10):
        tally.take(event(0, request=None, address=f"203.0.113.{number}", user="@bob:x"))
    assert sum(tally.addresses.values()) == tally.kinds[WRONG] == tally.minutes[(0, WRONG)] == 10
    assert (tally.addresses[(0, WRONG, OTHERS)], tally.folded) == (7, 7)
    assert worst(tally.addresses, [WRONG], 60) == ("203.0.113.2", 1)


def test_requests_without_an_end_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PENDING", 5)
    tally = Tally()
    for number in range(100):
        tally.take(event(request=f"POST-{number}"))
    assert len(tally.waiting) == 5
    tally.take(access("POST-99"))
    tally.take(access("POST-0"))
    assert sum(tally.addresses.values()) == 1


def test_the_worst_is_found_within_any_window() -> None:
    rows = Counter({(minute, WRONG, "a"): 1 for minute in range(55, 65)})
    rows.update({(0, WRONG, "b"): 6, (59, WRONG, "b"): 3, (60, WRONG, "b"): 1, (500, RATE, "b"): 99})
    assert worst(rows, [WRONG], 60) == ("a", 10)
    assert worst(rows, [WRONG], 61) == ("b", 10)
    assert worst(rows, [WRONG, RATE], 60) == ("b", 99)
    assert worst(rows, ["ban"], 60) is None


def test_an_ipv6_network_counts_as_one() -> None:
    rows = Counter({(0, WRONG, f"2001:db8:0:1::{number:x}"): 1 for number in range(1, 30)})
    rows[(0, WRONG, "203.0.113.5")] = 5
    assert worst(rows, [WRONG], 60, source_of) == ("2001:db8:0:1::/64", 29)
    assert worst(rows, [WRONG], 60) == ("203.0.113.5", 5)


def test_minutes_and_totals() -> None:
    tally = Tally()
    for seconds in (0, 59, 60, 4000):
        tally.take(event(seconds, request=None))
    assert worst_minute(tally, [WRONG]) == (0, 2)
    assert worst_minute(tally, [RATE]) is None
    assert most_within(tally, [WRONG], 60) == 3
    assert tally.hours == {(0, WRONG): 3, (1, WRONG): 1}


def test_what_is_forgotten_is_older() -> None:
    tally = Tally()
    tally.take(event(0))
    tally.take(event(7200, request="POST-2", user="@b:x"))
    tally.forget(3600)
    assert tally.minutes == {(120, WRONG): 1}
    assert list(tally.waiting) == [("u", "POST-2")]


def test_a_ranking_has_the_most_first() -> None:
    rows = Counter({(0, WRONG, "a"): 1, (5, RATE, "a"): 2, (0, WRONG, "c"): 4, (0, WRONG, "b"): 3})
    assert ranking(rows) == [("c", 4, {WRONG: 4}), ("a", 3, {WRONG: 1, RATE: 2}), ("b", 3, {WRONG: 3})]
