"""Tests of what an answer of a name server means."""

from __future__ import annotations

import errno
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._dns import query
from ansible_collections.matrixon.ops.plugins.module_utils._dns.model import Answer, Server
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

SERVER = Server("192.0.2.53")
SOA = "test. 900 IN SOA ns1.test. admin.test. 7 3600 600 86400 30"


def message(*answer: str, authority: tuple[str, ...] = (), flags: int = dns.flags.AA, rcode: str = "NOERROR") -> Any:
    made = dns.message.make_response(dns.message.make_query("a.test", "A"))
    made.flags |= flags
    made.set_rcode(dns.rcode.from_text(rcode))
    for section, lines in ((made.answer, answer), (made.authority, authority)):
        for line in lines:
            name, ttl, kind_class, kind, *rest = line.split()
            section.append(dns.rrset.from_text(name, int(ttl), kind_class, kind, " ".join(rest)))
    return made


def read(*answer: str, kind: str = "A", **more: Any) -> Answer:
    return query.read(SERVER, message(*answer, **more), "a.test", kind)


def test_values() -> None:
    found = read("A.test. 60 IN A 192.0.2.1")
    assert (found.outcome, found.values, found.ttl, found.target) == ("answered", ("192.0.2.1",), 60, None)


def test_aliases_within_the_answer() -> None:
    found = read("a.test. 900 IN CNAME B.test.", "b.test. 30 IN CNAME c.test.", "c.test. 60 IN A 192.0.2.1")
    assert (found.values, found.ttl, found.aliases) == (("192.0.2.1",), 900, ("b.test", "c.test"))
    assert found.target is None


def test_an_alias_that_leads_away() -> None:
    found = read("a.test. 900 IN CNAME b.other.")
    assert (found.outcome, found.values, found.target, found.ttl) == ("answered", (), "b.other", 900)


def test_an_alias_is_not_followed_where_it_is_asked_for() -> None:
    found = read("a.test. 900 IN CNAME B.other.", kind="CNAME")
    assert (found.values, found.ttl, found.aliases) == (("b.other",), 900, ())


def test_a_circle() -> None:
    found = read("a.test. 60 IN CNAME b.test.", "b.test. 60 IN CNAME a.test.")
    assert (found.outcome, found.message) == ("loop", "aliases lead in a circle: a.test -> b.test -> a.test")


def test_nothing_there() -> None:
    found = read(authority=(SOA,), rcode="NXDOMAIN")
    # The smaller of both numbers is for how long that may be kept.
    assert (found.outcome, found.ttl) == ("nxdomain", 30)
    assert read(authority=(SOA,)).outcome == "nodata"
    found = read("a.test. 60 IN CNAME b.test.", authority=(SOA,), rcode="NXDOMAIN")
    assert (found.outcome, found.message) == ("nxdomain", "its alias b.test does not exist (NXDOMAIN)")


def test_a_server_without_authority() -> None:
    assert read("a.test. 60 IN A 192.0.2.1", flags=0).outcome == "lame"
    found = read(authority=("test. 60 IN NS ns.other.",), flags=0)
    assert (found.outcome, found.message.endswith("refers to the servers of test")) == ("lame", True)


@pytest.mark.parametrize(
    ("rcode", "outcome"), [("SERVFAIL", "servfail"), ("REFUSED", "refused"), ("NOTIMP", "malformed")]
)
def test_rcodes(rcode: str, outcome: str) -> None:
    assert read(rcode=rcode).outcome == outcome


@pytest.mark.parametrize(
    ("address", "number", "outcome"),
    [
        ("2001:db8::53", errno.ENETUNREACH, "no_ipv6"),
        ("2001:db8::53", errno.EADDRNOTAVAIL, "no_ipv6"),
        ("2001:db8::53", errno.ECONNREFUSED, "unreachable"),
        # That the host is cut off from IPv4 says nothing of IPv6.
        ("192.0.2.53", errno.ENETUNREACH, "unreachable"),
        ("192.0.2.53", errno.EHOSTUNREACH, "unreachable"),
    ],
)
def test_a_server_that_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch, address: str, number: int, outcome: str
) -> None:
    def fails(server: Server) -> Any:
        raise OSError(number, "no")

    monkeypatch.setattr(query, "_connected", fails)
    server = Server(address)
    answer = query.look_up(server, server, "a.test", "A", Deadline(5))
    assert (answer.outcome, answer.error_kind) == (outcome, "refused")


def test_the_zone_of_a_name() -> None:
    def zone(*answer: str, name: str = "a.b.test", candidate: str = "a.b.test", **more: Any) -> str | None:
        return query.zone_in(message(*answer, **more), name, candidate, authoritative=True)

    assert zone(SOA, candidate="test") == "test"
    assert zone(authority=(SOA,)) == "test"
    assert zone(authority=(SOA,), flags=0) is None
    assert zone(authority=(SOA,), rcode="REFUSED") is None
    # The zone of where an alias leads is not that of the name.
    assert zone("a.b.test. 60 IN CNAME c.test.", authority=(SOA,)) is None
    assert zone(authority=(SOA.replace("test. 900", "other. 900", 1),)) is None
    assert query.zone_in(message(authority=(SOA,), flags=0), "a.test", "a.test", authoritative=False) == "test"


def test_addresses_past_aliases() -> None:
    given = message("ns.test. 60 IN CNAME n.test.", "n.test. 60 IN A 192.0.2.9")
    assert query.values_in(given, "ns.test", "A") == ["192.0.2.9"]
    assert query.values_in(given, "ns.test", "AAAA") == []
