"""Knot DNS on loopback: real primaries and secondaries, each a process of its own in a directory of its own."""

from __future__ import annotations

import contextlib
import getpass
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import typing as t
from dataclasses import dataclass, field

import dns.exception
import dns.message
import dns.query

LOOPBACK = "127.0.0.1"
KEY_NAME = "matrixon-failover"
KEY_SECRET = "bWF0cml4b24tdGVzdHMtb25seS1rZXktbm90LXNlY3JldA=="
OTHER_SECRET = "YW5vdGhlci1rZXktdGhhdC1uby1zZXJ2ZXIta25vd3MtLS0tLQ=="
PATIENCE = 60.0
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def program(name: str) -> str:
    found = shutil.which(name, path=PATH)
    assert found, f"{name} is missing; `make system` installs it"
    return found


def free_port() -> int:
    """A port that is free for TCP and UDP, on both families of loopback."""
    places = [(socket.AF_INET, LOOPBACK), (socket.AF_INET6, "::1")]
    for _attempt in range(100):
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            first.bind((LOOPBACK, 0))
            port = int(first.getsockname()[1])
            try:
                for family, address in places:
                    stack.enter_context(socket.socket(family, socket.SOCK_DGRAM)).bind((address, port))
                return port
            except OSError:
                continue
    raise AssertionError("no port is free")


@dataclass
class Zone:
    """A zone of a server: its own records, or the server that it copies them from."""

    name: str
    records: str = ""
    primary: NameServer | None = None
    hears: bool = True
    notifies: list[NameServer] = field(default_factory=list)


class NameServer:
    """One knotd."""

    def __init__(self, directory: pathlib.Path, name: str, zones: list[Zone], *, ipv6: bool = False) -> None:
        self.directory = directory / name
        self.directory.mkdir()
        self.name, self.zones, self.ipv6 = name, zones, ipv6
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def start(self) -> None:
        for zone in self.zones:
            if zone.primary is None and not self._file(zone).exists():
                self._file(zone).write_text(f"$ORIGIN {zone.name}.\n{zone.records}")
        (self.directory / "knot.conf").write_text(self._configuration())
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [program("knotd"), "-c", str(self.directory / "knot.conf")], stdout=log, stderr=subprocess.STDOUT
            )
        until(self._answers, f"{self.name} answers: {self.directory / 'log'}")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.directory / "log").read_text()
        query = dns.message.make_query(self.zones[0].name, "SOA")
        try:
            dns.query.udp(query, LOOPBACK, timeout=0.2, port=self.port)
        except dns.exception.Timeout:
            return False
        return True

    def _file(self, zone: Zone) -> pathlib.Path:
        return self.directory / f"{zone.name}.zone"

    def _configuration(self) -> str:
        also = f", ::1@{self.port}" if self.ipv6 else ""
        others = {server.name: server for zone in self.zones for server in (*zone.notifies, zone.primary) if server}
        text = f"""
server:
    rundir: {self.directory}
    user: {getpass.getuser()}
    listen: [{LOOPBACK}@{self.port}{also}]
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: {self.directory}
log:
  - target: stdout
    any: info
key:
  - id: {KEY_NAME}
    algorithm: hmac-sha256
    secret: {KEY_SECRET}
acl:
  - id: change
    key: {KEY_NAME}
    action: update
  - id: copy
    address: {LOOPBACK}
    action: [transfer, notify]
"""
        if others:
            text += "remote:\n"
            text += "".join(f"  - id: {one.name}\n    address: {LOOPBACK}@{one.port}\n" for one in others.values())
        text += "zone:\n"
        for zone in self.zones:
            text += f"  - domain: {zone.name}\n    storage: {self.directory}\n    file: {zone.name}.zone\n"
            text += "    journal-content: none\n" if zone.primary is None else f"    master: {zone.primary.name}\n"
            if zone.notifies:
                text += f"    notify: [{', '.join(server.name for server in zone.notifies)}]\n"
            text += f"    acl: [{'change, copy' if zone.hears else 'change'}]\n"
        return text

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            self.process.wait(30)
            self.process = None

    @contextlib.contextmanager
    def stopped(self) -> t.Iterator[None]:
        """Nothing listens."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextlib.contextmanager
    def hung(self) -> t.Iterator[None]:
        """It takes questions and never answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def says(self, name: str, kind: str = "A") -> tuple[int | None, list[str]]:
        """TTL and values of a record, asked without the code that is tested."""
        query = dns.message.make_query(name, kind)
        message = dns.query.tcp(query, LOOPBACK, timeout=10, port=self.port)
        found = [rrset for rrset in message.answer if rrset.rdtype == query.question[0].rdtype]
        return (found[0].ttl, sorted(str(record) for record in found[0])) if found else (None, [])

    def serial(self, zone: str) -> int:
        """The serial of a zone; 0 where there is none."""
        message = dns.query.udp(dns.message.make_query(zone, "SOA"), LOOPBACK, timeout=10, port=self.port)
        return int(message.answer[0][0].serial) if message.answer else 0

    def control(self, *words: str) -> None:
        """Tell it something through its control socket."""
        argv = [program("knotc"), "-b", "-s", str(self.directory / "knot.sock"), *words]
        subprocess.run(argv, check=True, capture_output=True, timeout=60)

    def put(self, zone: str, name: str, *lines: str) -> None:
        """Replace the records of a name in one transaction, whatever was there."""
        self.control("zone-begin", zone)
        with contextlib.suppress(subprocess.CalledProcessError):
            self.control("zone-unset", zone, name)
        for line in lines:
            self.control("zone-set", zone, name, *line.split())
        self.control("zone-commit", zone)


def until(happened: t.Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, f"not within {PATIENCE:g} s: {what}"
        time.sleep(0.05)
