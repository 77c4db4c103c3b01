"""A real name server on loopback, for names that nobody else knows."""

from __future__ import annotations

import threading
import typing as t

from dnslib import AAAA, QTYPE, RCODE, RR, SRV, A, DNSRecord
from dnslib.server import BaseResolver, DNSLogger, DNSServer

Srv = tuple[str, int]


class Names(BaseResolver):
    """Answers what it was told; other names do not exist."""

    def __init__(self) -> None:
        self.addresses: dict[str, list[str]] = {}
        self.services: dict[str, list[tuple[int, int, str, int]]] = {}
        self.failing: set[str] = set()
        self.silent: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self.ended = threading.Event()
        self._server = DNSServer(self, address="127.0.0.1", port=0, logger=DNSLogger("-request,-reply"))
        self._server.start_thread()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server.server_address[1]}"

    def service(self, name: str, target: str, port: int, priority: int = 10, weight: int = 5) -> None:
        self.services.setdefault(name, []).append((priority, weight, target, port))

    def resolve(self, request: DNSRecord, handler: t.Any) -> DNSRecord:
        name, kind = str(request.q.qname).rstrip(".").lower(), QTYPE[request.q.qtype]
        self.asked.append((name, kind))
        answer = request.reply()
        if name in self.silent:
            self.ended.wait(20)
        if name in self.failing:
            answer.header.rcode = RCODE.SERVFAIL
        elif name in self.addresses:
            for address in self.addresses[name]:
                if kind == ("AAAA" if ":" in address else "A"):
                    answer.add_answer(RR(name, request.q.qtype, rdata=AAAA(address) if ":" in address else A(address)))
        elif name in self.services:
            for priority, weight, target, port in self.services[name] if kind == "SRV" else ():
                answer.add_answer(RR(name, QTYPE.SRV, rdata=SRV(priority, weight, port, target)))
        elif not self._is_above(name):
            answer.header.rcode = RCODE.NXDOMAIN
        return answer

    def _is_above(self, name: str) -> bool:
        """Say whether a name has others below it: it exists then, though with nothing in it."""
        return any(other.endswith(f".{name}") for other in (*self.addresses, *self.services))

    def stop(self) -> None:
        self.ended.set()
        self._server.stop()
        self._server.server.server_close()
