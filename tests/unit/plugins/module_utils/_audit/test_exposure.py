"""Who listens, held against the ports that the inventory names."""

from __future__ import annotations

import os
import pathlib
import socket

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._audit import exposure
from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import Tools
from ansible_collections.matrixon.ops.plugins.module_utils._command import Finished
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
# Timers, users and the rest, as far as nobody looks at them.
REST = "00000000:00000000 00:00000000 00000000"
TCP = HEAD + (
    f"   0: 0100007F:1538 00000000:0000 0A {REST}   103        0 24286861 1 0 100 0 0 10 0\n"
    f"   1: 00000000:0016 00000000:0000 0A {REST}     0        0 24193435 1 0 100 0 0 10 0\n"
    f"   2: 0A00020F:0016 0A000201:C350 01 {REST}     0        0 24193439 1 0 100 0 0 10 0\n"
)
TCP6 = HEAD + (
    "   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 "
    "00:00000000 00000000     0        0 24193446 1 0 100 0 0 10 0\n"
)
UDP = HEAD + (
    "  12: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   100        0 31 2 0 0\n"
    "  13: 00000000:9C40 00000000:0000 07 00000000:00000000 00:00000000 00000000   100        0 32 2 0 0\n"
    "  14: 0A00020F:9C41 08080808:0035 01 00000000:00000000 00:00000000 00000000   100        0 33 2 0 0\n"
)


@pytest.fixture
def host(tmp_path: pathlib.Path) -> pathlib.Path:
    for name, text in (("tcp", TCP), ("tcp6", TCP6), ("udp", UDP)):
        path = tmp_path / "proc/net" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    ranges = tmp_path / "proc/sys/net/ipv4/ip_local_port_range"
    ranges.parent.mkdir(parents=True)
    ranges.write_text("32768\t60999\n")
    descriptors = tmp_path / "proc/812/fd"
    descriptors.mkdir(parents=True)
    (tmp_path / "proc/812/stat").write_text("812 (sshd) S 1 812 812 0 -1")
    os.symlink("socket:[24193435]", descriptors / "3")
    os.symlink("/dev/null", descriptors / "0")
    return tmp_path


def found(host: pathlib.Path, *ports: str) -> dict[str, str]:
    facts = exposure.probe_ports(Tools(str(host)), Deadline(5))
    seen = exposure.judge_ports(facts, [exposure.parse_ports(text) for text in ports])
    return {finding.id: finding.found for finding in seen.findings}


def test_what_nobody_named_is_found_with_its_process(host: pathlib.Path) -> None:
    weak = found(host, "443")
    assert set(weak) == {"port-unexpected:22/tcp", "port-unexpected:53/udp"}
    assert weak["port-unexpected:22/tcp"] == "sshd (812) listens at 0.0.0.0:22, [::]:22 (tcp)"
    assert "not seen" in weak["port-unexpected:53/udp"]


def test_what_is_named_is_not(host: pathlib.Path) -> None:
    assert found(host, "22/tcp", "53/udp") == {}
    # A port of TCP is not the same one of UDP.
    assert set(found(host, "22/any", "53/tcp")) == {"port-unexpected:53/udp"}
    assert found(host, "1:100/any") == {}


@pytest.mark.parametrize("text", ["", "ssh", "0", "70000", "20:10", "22/sctp", "22 "])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a port"):
        exposure.parse_ports(text)


def test_a_listener_of_this_machine_is_seen_with_this_process() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        facts = exposure.probe_ports(Tools(), Deadline(20))
        seen = exposure.judge_ports(facts, [exposure.Ports(1, port - 1, "any"), exposure.Ports(port + 1, 65535, "any")])
        mine = [finding for finding in seen.findings if finding.subject == f"{port}/tcp"]
    assert len(mine) == 1 and f"({os.getpid()})" in mine[0].found


@pytest.mark.parametrize(
    ("said", "wrong"), [("Status: active\n\nTo  Action\n", ""), ("Status: inactive\n", "ufw is inactive")]
)
def test_the_packet_filter(said: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposure, "tool", lambda name: "/bin/sh")
    tools = Tools(runner=lambda argv, deadline: Finished(0, said, ""))
    assert exposure.probe_firewall(tools, Deadline(5)) == wrong
    assert bool(exposure.judge_firewall(wrong).findings) is bool(wrong)


def test_a_packet_filter_that_is_not_there_is_inactive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposure, "tool", lambda name: f"/nowhere/{name}")
    assert exposure.probe_firewall(Tools(), Deadline(5)) == "ufw is not installed"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (Finished(1, "", "ERROR: You need to be root to run this script\n"), "auth"),
        (Finished(1, "", "ERROR: problem running ufw-init\n"), "parse"),
        (Finished(0, "hello\n", ""), "parse"),
    ],
)
def test_one_that_does_not_tell_is_unknown(said: Finished, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposure, "tool", lambda name: "/bin/sh")
    with pytest.raises(ProbeFailure) as caught:
        exposure.probe_firewall(Tools(runner=lambda argv, deadline: said), Deadline(5))
    assert caught.value.kind == kind
