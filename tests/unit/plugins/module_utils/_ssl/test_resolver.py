"""Tests of names that are looked up, with a name server on loopback and with a system that hangs."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._delegation import Srv
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.model import failed
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.resolver import Resolver, Server, parse_server

ZONE = {
    ("m.test", "A"): ["192.0.2.1", "192.0.2.2"],
    ("m.test", "AAAA"): ["2001:db8::1"],
    ("six.test", "AAAA"): ["2001:db8::6"],
    ("bare.test", "TXT"): ['"no address"'],
    ("_matrix-fed._tcp.m.test", "SRV"): ["10 0 8448 far.test.", "0 0 443 near.test."],
}


class NameServer:
    """A name server that answers from a zone, or not at all."""

    def __init__(self, answers: bool = True, code: int = dns.rcode.NOERROR) -> None:
        self.answers, self.code = answers, code
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.server = Server("127.0.0.1", self.socket.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                data, peer = self.socket.recvfrom(4096)
            except OSError:
                return
            if self.answers:
                self.socket.sendto(self._answer(data).to_wire(), peer)

    def _answer(self, data: bytes) -> dns.message.Message:
        asked = dns.message.from_wire(data)
        answer = dns.message.make_response(asked, recursion_available=True)
        name = asked.question[0].name.to_text(omit_final_dot=True)
        kind = dns.rdatatype.to_text(asked.question[0].rdtype)
        answer.set_rcode(self.code)
        if (name, kind) in ZONE and self.code == dns.rcode.NOERROR:
            answer.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", kind, *ZONE[name, kind]))
        elif not any(known == name for known, _kind in ZONE) and self.code == dns.rcode.NOERROR:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer


@pytest.fixture
def name_server() -> Iterator[Any]:
    """Return a way to start name servers."""
    started: list[NameServer] = []

    def start(*args: Any, **options: Any) -> Server:
        started.append(NameServer(*args, **options))
        return started[-1].server

    yield start
    for one in started:
        one.socket.close()


def hosts(resolver: Resolver, name: str, seconds: float = 3) -> list[str]:
    return [address.sockaddr[0] for address in resolver.addresses(name, 443, Deadline(seconds))]


def test_given_name_server_is_asked_for_both_kinds(name_server: Any) -> None:
    resolver = Resolver([name_server()])
    assert sorted(hosts(resolver, "m.test")) == ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
    assert hosts(resolver, "six.test") == ["2001:db8::6"]
    assert hosts(resolver, "192.0.2.9") == ["192.0.2.9"]
    assert resolver.srv("_matrix-fed._tcp.m.test", Deadline(3)) == Srv("near.test", 443, (("far.test", 8448),))
    assert resolver.srv("_matrix._tcp.m.test", Deadline(3)) is None


def refusal(resolver: Resolver, name: str, seconds: float = 3) -> tuple[str, str | None]:
    with pytest.raises(ProbeFailure) as caught:
        resolver.addresses(name, 443, Deadline(seconds))
    finding = failed("certificate_connection", caught.value)
    return finding.status, finding.error_kind


def test_that_a_name_does_not_exist_is_a_fact_and_that_nobody_could_say_is_none(name_server: Any) -> None:
    good, silent, broken = name_server(), name_server(answers=False), name_server(code=dns.rcode.SERVFAIL)
    assert refusal(Resolver([good]), "no.test") == ("critical", "dns")
    assert refusal(Resolver([good]), "bare.test") == ("critical", "dns")
    assert refusal(Resolver([silent]), "m.test", 0.4) == ("unknown", "timeout")
    assert refusal(Resolver([broken]), "m.test") == ("unknown", "dns")
    # A second one may know.
    assert hosts(Resolver([silent, good]), "six.test") == ["2001:db8::6"]
    assert hosts(Resolver([broken, good]), "six.test") == ["2001:db8::6"]


def test_system_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: release.wait(10))
    began = time.monotonic()
    assert refusal(Resolver(), "m.test", 0.2) == ("unknown", "timeout")
    assert time.monotonic() - began < 1
    release.set()


@pytest.mark.parametrize(
    ("code", "status"), [(socket.EAI_NONAME, "critical"), (socket.EAI_AGAIN, "unknown"), (socket.EAI_FAIL, "unknown")]
)
def test_what_the_system_says(monkeypatch: pytest.MonkeyPatch, code: int, status: str) -> None:
    def fail(*_args: Any, **_options: Any) -> None:
        raise socket.gaierror(code, "what it says")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert refusal(Resolver(), "m.test") == (status, "dns")


SERVERS = {
    "192.0.2.1": Server("192.0.2.1", 53),
    "192.0.2.1:5353": Server("192.0.2.1", 5353),
    "2001:db8::1": Server("2001:db8::1", 53),
    "[2001:db8::1]": Server("2001:db8::1", 53),
    "[2001:db8::1]:5353": Server("2001:db8::1", 5353),
}


@pytest.mark.parametrize("text", SERVERS)
def test_name_server(text: str) -> None:
    assert parse_server(text) == SERVERS[text]


@pytest.mark.parametrize("text", ["", "ns.test", "ns.test:53", "192.0.2.1:", "192.0.2.1:x", "192.0.2.1:70000"])
def test_no_name_server(text: str) -> None:
    with pytest.raises(ValueError):
        parse_server(text)
