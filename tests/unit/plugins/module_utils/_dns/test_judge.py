"""Tests of the verdicts on what name servers said."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._dns.judge import (
    Policy,
    judge_record,
    judge_serial,
    judge_servers,
    judge_ttl,
    settled,
)
from ansible_collections.matrixon.ops.plugins.module_utils._dns.model import Answer, Seen, Server, Wanted, Zone
from ansible_collections.matrixon.ops.plugins.module_utils._probe import DNS, TIMEOUT, ProbeFailure

ONE, TWO = Server("192.0.2.53", 53, "ns1.test"), Server("192.0.2.54", 53, "ns2.test")
SIX = Server("2001:db8::54", 53, "ns2.test")
POLICY = Policy(max_ttl=60)
WANTED = Wanted("a.test", "A", ("192.0.2.1",))


def said(server: Server, *values: str, ttl: int = 60, **more: Any) -> Answer:
    return Answer(server, "a.test", "answered", values, ttl, **more)


def failed(server: Server, outcome: str) -> Answer:
    return Answer(server, "a.test", outcome, message=f"it is {outcome}")


def seen(*answers: Answer, wanted: Wanted = WANTED, failure: ProbeFailure | None = None) -> Seen:
    return Seen(wanted, "test", answers, failure)


def test_all_agree() -> None:
    check = judge_record(seen(said(ONE, "192.0.2.1"), said(TWO, "192.0.2.1")), POLICY)
    assert (check.status, check.message) == ("ok", "a.test A: 192.0.2.1 at all 2 servers")


def test_one_disagrees() -> None:
    check = judge_record(seen(said(ONE, "192.0.2.1"), said(TWO, "192.0.2.2", "192.0.2.3")), POLICY)
    assert check.status == "critical"
    assert check.message == "a.test A: expected 192.0.2.1, but ns2.test (192.0.2.54:53) says 192.0.2.2, 192.0.2.3"


def test_without_expectation_a_single_server_is_right_and_two_must_agree() -> None:
    bare = Wanted("a.test", "A")
    assert judge_record(seen(said(ONE, "192.0.2.9"), wanted=bare), POLICY).status == "ok"
    check = judge_record(seen(said(ONE, "192.0.2.9"), said(TWO, "192.0.2.8"), wanted=bare), POLICY)
    assert check.status == "critical"
    assert "its servers do not agree: ns1.test (192.0.2.53:53) says 192.0.2.9" in check.message


@pytest.mark.parametrize(
    ("outcome", "status", "kind"),
    [
        ("nxdomain", "critical", "dns"),
        ("nodata", "critical", "dns"),
        ("lame", "critical", "dns"),
        ("servfail", "critical", "dns"),
        ("refused", "critical", "refused"),
        ("loop", "critical", "dns"),
        ("malformed", "critical", "parse"),
        ("timeout", "unknown", "timeout"),
        ("unreachable", "unknown", "refused"),
        ("no_ipv6", "unknown", "refused"),
    ],
)
def test_outcome_of_one_server(outcome: str, status: str, kind: str) -> None:
    answers = (said(ONE, "192.0.2.1"), failed(TWO, outcome))
    check = judge_record(seen(*answers), POLICY)
    assert (check.status, check.error_kind) == (status, kind)
    assert f"ns2.test (192.0.2.54:53): it is {outcome}" in check.message
    # It may be kept for longer where nobody looked.
    assert judge_ttl(seen(*answers), POLICY).status == "unknown"
    assert not settled(seen(*answers), POLICY)


def test_an_address_without_a_way_is_passed_over_where_its_server_has_another() -> None:
    answers = (said(ONE, "192.0.2.1"), said(TWO, "192.0.2.1"), failed(SIX, "no_ipv6"))
    check = judge_record(seen(*answers), POLICY)
    assert (check.status, check.message) == (
        "ok",
        "a.test A: 192.0.2.1 at all 2 servers; not asked: ns2.test ([2001:db8::54]:53)",
    )
    assert judge_record(seen(said(ONE, "192.0.2.1"), failed(SIX, "no_ipv6")), POLICY).status == "unknown"


def test_accepted_silence_counts_as_little_as_it_says() -> None:
    policy = Policy(accept_silent=frozenset({"192.0.2.54:53"}))
    assert judge_record(seen(said(ONE, "192.0.2.1"), failed(TWO, "timeout")), policy).status == "ok"
    # What it says does count, and that all are silent is no proof.
    assert judge_record(seen(said(ONE, "192.0.2.1"), said(TWO, "192.0.2.2")), policy).status == "critical"
    assert judge_record(seen(said(ONE, "192.0.2.1"), failed(TWO, "servfail")), policy).status == "critical"
    assert judge_record(seen(failed(TWO, "timeout")), policy).status == "unknown"


def test_aliases_in_a_circle() -> None:
    circle = [said(ONE, aliases=("b.test",), target="b.test"), said(TWO, aliases=("a.test",), target="a.test")]
    check = judge_record(seen(*circle), POLICY)
    assert (check.status, check.error_kind) == ("critical", "dns")
    assert "aliases lead in a circle" in check.message


def test_a_zone_that_cannot_be_found() -> None:
    gone = ProbeFailure(DNS, "there is no such zone", {"nonexistent": True})
    assert judge_record(seen(failure=gone), POLICY).status == "critical"
    assert judge_record(seen(failure=ProbeFailure(TIMEOUT, "no answer")), POLICY).status == "unknown"
    # That of an alias fails the record that leads there, too.
    half = seen(said(ONE, aliases=("b.other",), target="b.other"), failure=ProbeFailure(TIMEOUT, "no answer"))
    assert (judge_record(half, POLICY).status, judge_ttl(half, POLICY).status) == ("unknown", "unknown")


@pytest.mark.parametrize(("ttl", "status"), [(60, "ok"), (61, "warning"), (0, "ok")])
def test_ttl_against_the_limit(ttl: int, status: str) -> None:
    check = judge_ttl(seen(said(ONE, "192.0.2.1", ttl=ttl), said(TWO, "192.0.2.1", ttl=0)), POLICY)
    assert (check.status, check.value, check.unit) == (status, ttl, "s")


@pytest.mark.parametrize(("ttl", "status"), [(300, "ok"), (301, "warning"), (60, "warning")])
def test_ttl_that_was_asked_for(ttl: int, status: str) -> None:
    wanted = Wanted("a.test", "A", ("192.0.2.1",), 300)
    one = seen(said(ONE, "192.0.2.1", ttl=ttl), wanted=wanted)
    assert judge_ttl(one, POLICY).status == status
    assert settled(one, POLICY) is (status == "ok")


def test_a_limit_alone_does_not_keep_a_record_from_being_settled() -> None:
    assert settled(seen(said(ONE, "192.0.2.1", ttl=3600)), POLICY)


def zone(*serials: Answer, **more: Any) -> Zone:
    return Zone("test", tuple(one.server for one in serials), serials, **more)


def test_serials() -> None:
    check = judge_serial(zone(said(ONE, "7"), said(TWO, "6")), POLICY)
    assert check.status == "warning"
    assert check.message == "test: serials differ: ns1.test (192.0.2.53:53) says 7; ns2.test (192.0.2.54:53) says 6"
    assert judge_serial(zone(said(ONE, "7"), said(TWO, "7")), POLICY).status == "ok"
    assert judge_serial(zone(said(ONE, "7"), failed(TWO, "timeout")), POLICY).status == "unknown"


def test_servers() -> None:
    assert judge_servers(zone(said(ONE, "7"), said(TWO, "7")), POLICY).status == "ok"
    assert judge_servers(zone(said(ONE, "7"), failed(TWO, "lame")), POLICY).status == "critical"
    assert judge_servers(zone(said(ONE, "7"), failed(TWO, "timeout")), POLICY).status == "critical"
    # Where nobody answers it may be this host that cannot ask.
    assert judge_servers(zone(failed(ONE, "timeout"), failed(TWO, "timeout")), POLICY).status == "unknown"
    assert judge_servers(zone(failed(ONE, "timeout"), failed(TWO, "lame")), POLICY).status == "critical"


def test_servers_whose_names_have_no_address() -> None:
    gone = (("ns3.test", ProbeFailure(DNS, "ns3.test has no address", {"nonexistent": True})),)
    check = judge_servers(zone(said(ONE, "7"), lost=gone), POLICY)
    assert (check.status, check.message) == ("critical", "test: ns3.test: ns3.test has no address")
    unsure = (("ns3.test", ProbeFailure(TIMEOUT, "no answer")),)
    assert judge_servers(zone(said(ONE, "7"), lost=unsure), POLICY).status == "unknown"


def test_many_troubles_are_told_in_part() -> None:
    servers = [Server(f"192.0.2.{number}") for number in range(1, 9)]
    check = judge_record(seen(*(failed(server, "lame") for server in servers)), POLICY)
    assert check.message.endswith("; and 3 more")
