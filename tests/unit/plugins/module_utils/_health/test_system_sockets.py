"""Listeners and the ports for outgoing connections, from tables as the kernel writes them."""

from __future__ import annotations

import pathlib
import socket
import sys
from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Verdict
from ansible_collections.matrixon.ops.plugins.module_utils._health.system_sockets import (
    EPHEMERAL_PORTS,
    LISTENERS,
    observe,
)
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import Sockets, parse_address, read_sockets

HEADING = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
REST = "00000000:00000000 00:00000000 00000000     0        0 1681 1 00000000cf353491 100 0 0 10 0"
LISTEN, ESTABLISHED, TIME_WAIT, CLOSE = "0A", "01", "06", "07"

needs_little_endian = pytest.mark.skipif(sys.byteorder != "little", reason="the samples are from x86")


def hexed(address: str, port: int) -> str:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    raw = socket.inet_pton(family, address)
    words = (raw[at : at + 4] for at in range(0, len(raw), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words) + f":{port:04X}"


def table(*rows: tuple[str, int, str, int, str]) -> str:
    """Return a table of sockets as /proc/net/tcp has it: local, remote, state."""
    lines = (f"{at:4d}: {hexed(*row[:2])} {hexed(*row[2:4])} {row[4]} {REST}\n" for at, row in enumerate(rows))
    return HEADING + "".join(lines)


def make(root: pathlib.Path, four: str = HEADING, six: str | None = HEADING, ports: str = "32768\t60999\n") -> Sockets:
    (root / "proc/net").mkdir(parents=True)
    (root / "proc/sys/net/ipv4").mkdir(parents=True)
    (root / "proc/sys/net/ipv4/ip_local_port_range").write_text(ports)
    (root / "proc/net/tcp").write_text(four)
    if six is not None:
        (root / "proc/net/tcp6").write_text(six)
    return read_sockets(str(root), Deadline(5))


@needs_little_endian
@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0100007F", "127.0.0.1"),
        ("0500000A", "10.0.0.5"),
        ("00000000", "0.0.0.0"),
        ("00000000000000000000000000000000", "::"),
        ("00000000000000000000000001000000", "::1"),
        ("B80D0120000000000000000001000000", "2001:db8::1"),
        ("0000000000000000FFFF00000500000A", "10.0.0.5"),
    ],
)
def test_address(text: str, address: str) -> None:
    assert parse_address(text) == address


def expect(listening: set[tuple[str, int]], address: str | None, port: int = 8008) -> Verdict:
    facts = {"sockets": Sockets(1, 2, listening), "listeners": [{"name": "api", "port": port, "address": address}]}
    (verdict,) = LISTENERS.judge(facts, LISTENERS.limits)
    assert verdict.target == "api"
    return verdict


LOOPBACK = {("127.0.0.1", 8008)}


@pytest.mark.parametrize(
    ("listening", "address", "status", "message"),
    [
        (LOOPBACK, None, "ok", "api: something listens on 127.0.0.1:8008"),
        (LOOPBACK, "127.0.0.1", "ok", "api: something listens on 127.0.0.1:8008"),
        ({("0.0.0.0", 8008)}, "10.0.0.5", "ok", "api: something listens on 0.0.0.0:8008"),
        ({("::", 8008)}, "10.0.0.5", "ok", "api: something listens on [::]:8008"),
        ({("::", 8008)}, "2001:db8::1", "ok", "api: something listens on [::]:8008"),
        ({("2001:db8::1", 8008)}, "2001:0db8:0::1", "ok", "api: something listens on [2001:db8::1]:8008"),
        (LOOPBACK, "10.0.0.5", "critical", "api: nothing listens on 10.0.0.5:8008, only on 127.0.0.1:8008"),
        (LOOPBACK, "0.0.0.0", "critical", "api: nothing listens on 0.0.0.0:8008, only on 127.0.0.1:8008"),
        (
            {("0.0.0.0", 8008)},
            "2001:db8::1",
            "critical",
            "api: nothing listens on [2001:db8::1]:8008, only on 0.0.0.0:8008",
        ),
        ({("127.0.0.1", 8009)}, None, "critical", "api: nothing listens on port 8008"),
        (set(), "10.0.0.5", "critical", "api: nothing listens on 10.0.0.5:8008"),
    ],
)
def test_listener(listening: set[tuple[str, int]], address: str | None, status: str, message: str) -> None:
    verdict = expect(listening, address)
    assert (verdict.status, verdict.message) == (status, message)


def test_a_connection_to_the_port_is_no_listener(tmp_path: pathlib.Path) -> None:
    sockets = make(
        tmp_path,
        table(("10.0.0.5", 8008, "10.0.0.9", 50000, ESTABLISHED)),
        table(("::", 443, "::", 0, LISTEN)),
    )
    assert sockets.listening == {("::", 443)}


def test_only_ports_of_the_range_toward_a_destination_count(tmp_path: pathlib.Path) -> None:
    sockets = make(
        tmp_path,
        table(
            ("0.0.0.0", 443, "0.0.0.0", 0, LISTEN),
            ("0.0.0.0", 40000, "0.0.0.0", 0, LISTEN),
            ("10.0.0.5", 443, "10.9.9.9", 40001, ESTABLISHED),  # came in
            ("10.0.0.5", 40000, "10.9.9.9", 40002, ESTABLISHED),  # came in, on a listener within the range
            ("10.0.0.5", 32767, "10.0.0.6", 8008, ESTABLISHED),  # below the range
            ("10.0.0.5", 61000, "10.0.0.6", 8008, ESTABLISHED),  # above it
            ("10.0.0.5", 32768, "10.0.0.6", 8008, ESTABLISHED),
            ("10.0.0.5", 60999, "10.0.0.6", 8008, TIME_WAIT),
            ("10.0.0.5", 50000, "10.0.0.6", 8008, CLOSE),
            ("10.0.0.5", 50000, "10.0.0.7", 8008, ESTABLISHED),
            ("10.0.0.4", 50000, "10.0.0.6", 8008, ESTABLISHED),
        ),
        table(
            ("::ffff:10.0.0.5", 50001, "::ffff:10.0.0.6", 8008, ESTABLISHED),  # IPv4 from an IPv6 socket
            ("2001:db8::5", 50001, "2001:db8::6", 8008, ESTABLISHED),
        ),
    )
    assert sockets.outgoing == {
        ("10.0.0.5", ("10.0.0.6", 8008)): 3,
        ("10.0.0.5", ("10.0.0.7", 8008)): 1,
        ("10.0.0.4", ("10.0.0.6", 8008)): 1,
        ("2001:db8::5", ("2001:db8::6", 8008)): 1,
    }


def test_a_host_without_ipv6(tmp_path: pathlib.Path) -> None:
    assert make(tmp_path, table(("0.0.0.0", 22, "0.0.0.0", 0, LISTEN)), six=None).listening == {("0.0.0.0", 22)}


def test_a_table_that_is_not_there_is_unknown_not_empty(tmp_path: pathlib.Path) -> None:
    make(tmp_path)
    (tmp_path / "proc/net/tcp").unlink()
    facts = observe(Deadline(5), str(tmp_path))
    with pytest.raises(ProbeFailure, match="proc/net/tcp cannot be read"):
        LISTENERS.judge({**facts, "listeners": []}, LISTENERS.limits)


def test_reading_ends_with_the_deadline(tmp_path: pathlib.Path) -> None:
    make(tmp_path)
    failure = observe(Deadline(0), str(tmp_path))["sockets"]
    assert isinstance(failure, ProbeFailure) and failure.kind == "timeout"


def judge_ports(outgoing: dict[Any, int], expected: int | None = None) -> Verdict:
    facts = {"sockets": Sockets(1001, 2000, outgoing=outgoing), "expected": expected}
    verdict = EPHEMERAL_PORTS.judge(facts, EPHEMERAL_PORTS.limits)
    assert isinstance(verdict, Verdict)
    return verdict


A, B, TO, OTHER = "10.0.0.5", "10.0.0.4", ("10.0.0.6", 8008), ("10.0.0.7", 8008)


@pytest.mark.parametrize(
    ("used", "status"),
    [(1, "ok"), (699, "ok"), (700, "warning"), (899, "warning"), (900, "critical"), (1000, "critical")],
)
def test_ports_at_the_thresholds(used: int, status: str) -> None:
    verdict = judge_ports({(A, TO): used, (A, OTHER): 1})
    assert verdict.status == status and verdict.value == used / 10
    assert f"{used} connections from 10.0.0.5 to 10.0.0.6:8008" in verdict.message


def test_ports_are_counted_by_source_and_destination_not_in_sum() -> None:
    many = {(A, TO): 600, (A, OTHER): 600, (B, TO): 600}
    assert (judge_ports(many).status, judge_ports(many).value) == ("ok", 60)


def test_no_outgoing_connection_uses_no_port() -> None:
    assert (judge_ports({}).status, judge_ports({}).value) == ("ok", 0)


@pytest.mark.parametrize(
    ("outgoing", "expected", "status", "words"),
    [
        ({(A, TO): 1}, 1000, "ok", "busiest destination"),
        ({(A, TO): 1}, 1001, "warning", "1 source address with 1000 ports each carry 1000"),
        ({}, 1001, "warning", "1 source address with 1000 ports each carry 1000"),
        ({(A, TO): 1, (B, TO): 1}, 2000, "ok", "busiest destination"),
        ({(A, TO): 1, (B, TO): 1}, 2001, "warning", "2 source addresses with 1000 ports each carry 2000"),
        ({(A, TO): 1, (B, OTHER): 1}, 2000, "warning", "1 source address with"),  # not both toward one destination
        ({(A, TO): 900}, 2000, "critical", "90.0 % used"),
    ],
)
def test_expected_connections(outgoing: dict[Any, int], expected: int, status: str, words: str) -> None:
    verdict = judge_ports(outgoing, expected)
    assert verdict.status == status and words in verdict.message
