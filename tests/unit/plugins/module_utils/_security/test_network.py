"""Tests of connections as the kernel lists them, and of fail2ban as it answers."""

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._command import Finished
from ansible_collections.matrixon.ops.plugins.module_utils._probe import MISSING_TOOL, Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._security.network import connections, fail2ban, is_one_of

FOUR = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F48 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 0100007F:1F48 057100CB:C3B4 01 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: 0100007F:1F48 057100CB:C3B5 01 00000000:00000000 00:00000000 00000000     0        0 3 1
   3: 0100007F:1F48 057100CB:C3B6 06 00000000:00000000 00:00000000 00000000     0        0 0 1
   4: 0100007F:0016 057100CB:C3B7 01 00000000:00000000 00:00000000 00000000     0        0 4 1
"""
SIX = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr
   0: 0000000000000000FFFF00000100007F:1F48 0000000000000000FFFF0000057100CB:C3B8 01 0:0 00:0 0 0 0 5 1
   1: 00000000000000000000000001000000:1F48 B80D0120010000000000000007000000:C3B9 01 0:0 00:0 0 0 0 6 1
"""
STATUS = "Status\n|- Number of jail:\t2\n`- Jail list:\tmatrix-synapse, sshd\n"
JAIL = """Status for the jail: sshd
|- Filter
|  |- Currently failed:\t1
|  |- Total failed:\t20
|  `- Journal matches:\t_SYSTEMD_UNIT=sshd.service + _COMM=sshd
`- Actions
   |- Currently banned:\t2
   |- Total banned:\t5
   `- Banned IP list:\t203.0.113.5 203.0.113.6
"""


def deadline() -> Deadline:
    return Deadline(5)


def tree(tmp_path: pathlib.Path, four: str = FOUR, six: str | None = SIX) -> str:
    folder = tmp_path / "proc/net"
    folder.mkdir(parents=True)
    (folder / "tcp").write_text(four)
    if six is not None:
        (folder / "tcp6").write_text(six)
    return str(tmp_path)


def test_established_connections_to_the_ports_are_counted_by_address(tmp_path: pathlib.Path) -> None:
    found = connections(tree(tmp_path), [8008], deadline())
    # A client that came by IPv4 to a socket of IPv6 is the same client.
    assert found == {"203.0.113.5": 3, "2001:db8:0:1::7": 1}


def test_a_host_without_ipv6_has_one_table(tmp_path: pathlib.Path) -> None:
    assert connections(tree(tmp_path, six=None), [8008, 22], deadline()) == {"203.0.113.5": 3}


def test_a_table_that_is_not_understood_is_unknown(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ProbeFailure) as caught:
        connections(tree(tmp_path, four="head\nnonsense\n"), [8008], deadline())
    assert caught.value.kind == "parse"


def runner(*answers: Finished):
    left = list(answers)
    return lambda argv, deadline: left.pop(0)


def test_fail2ban_tells_of_each_jail() -> None:
    found = fail2ban(deadline(), runner(Finished(0, STATUS, ""), Finished(0, JAIL, ""), Finished(0, JAIL, "")))
    counts = {"currently_failed": 1, "total_failed": 20, "currently_banned": 2, "total_banned": 5}
    assert found == {"matrix-synapse": counts, "sshd": counts}


def test_fail2ban_without_a_jail() -> None:
    assert fail2ban(deadline(), runner(Finished(0, STATUS.replace("matrix-synapse, sshd", ""), ""))) == {}


def test_fail2ban_that_is_not_there() -> None:
    def missing(argv: list[str], deadline: Deadline) -> Finished:
        raise ProbeFailure(MISSING_TOOL, "fail2ban-client is not installed")

    assert fail2ban(deadline(), missing) is None


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ([Finished(255, "", "Failed to access socket path: /var/run/fail2ban/fail2ban.sock")], "refused"),
        ([Finished(255, "", "2026-11-27 09:00:00 ERROR   Unable to contact server. Is it running?")], "refused"),
        ([Finished(255, "", "Permission denied to socket: /run/fail2ban.sock, (you must be root)")], "auth"),
        ([Finished(1, "", "Traceback (most recent call last):")], "internal"),
        ([Finished(0, "hello", "")], "parse"),
        ([Finished(0, STATUS, ""), Finished(0, "hello", "")], "parse"),
    ],
)
def test_fail2ban_that_does_not_answer_well(answers: list[Finished], kind: str) -> None:
    with pytest.raises(ProbeFailure) as caught:
        fail2ban(deadline(), runner(*answers))
    assert caught.value.kind == kind


def test_networks_hold_addresses() -> None:
    assert is_one_of("10.0.0.5", ["192.0.2.1", "10.0.0.0/24"])
    assert is_one_of("2001:db8::1", ["2001:db8::/32"])
    assert not is_one_of("10.0.1.5", ["10.0.0.0/24", "2001:db8::/32"])
