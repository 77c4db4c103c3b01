"""What the kernel's files say, as they were read from a Debian host."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._performance import counters
from ansible_collections.matrixon.ops.plugins.module_utils._performance.counters import Disk, Interface, Process
from ansible_collections.matrixon.ops.plugins.module_utils._probe import ProbeFailure

STAT = "cpu  100 10 50 800 30 5 5 0 7 0\ncpu0 50 5 25 400 15 2 3 0 3 0\nintr 1\n"
DISKS = """\
   7       0 loop0 5 0 8 0 0 0 0 0 0 0 0
 254       0 vda 1000 20 16000 500 2000 30 64000 4000 0 3000 4500 0 0 0 0 0 0
 254       1 vda1 900 20 15000 400 1900 30 60000 3900 0 2900 4300 0 0 0 0 0 0
 259       0 nvme0n1 1 0 8 1 0 0 0 0 0 1 1 0 0 0 0 0 0
 259       1 nvme0n1p1 1 0 8 1 0 0 0 0 0 1 1 0 0 0 0 0 0
 253       0 dm-0 7 0 8 1 0 0 0 0 0 1 1 0 0 0 0 0 0
   8       0 sda 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
"""
NETWORK = """\
Inter-|   Receive |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo: 7094827199 6277625 0 0 0 0 0 0 7094827199 6277625 0 0 0 0 0 0
  eth0: 1000 10 1 9 0 0 0 0 2000 20 2 3 0 0 0 0
veth9a: 5 5 0 0 0 0 0 0 5 5 0 0 0 0 0 0
"""
PROCESS = (
    "4242 (post gres) (x)) S 1 4242 4242 0 -1 4194560 1 2 3 4 150 50 5 6 20 0 1 0 98765 51429376 4384 1844 1 1 0 0 0 0 "
    "0 4096 1256 0 0 0 17 0 0 0 0 0 0\n"
)


def cpu(**ticks: int) -> dict[str, int]:
    return {**dict.fromkeys(counters.CPU_FIELDS, 0), **ticks}


def test_cpu_shares_are_those_of_the_interval_and_not_since_the_start() -> None:
    before = counters.parse_cpu(STAT)
    assert before["user"] == 100 and before["steal"] == 0
    after = {**before, "user": 140, "nice": 20, "softirq": 15, "iowait": 50, "idle": 820}
    shares = counters.cpu_shares(before, after)
    assert shares == {"user": 50.0, "system": 10.0, "iowait": 20.0, "steal": 0.0, "busy": 60.0}


def test_waiting_for_disks_is_not_busy_and_stolen_time_is() -> None:
    shares = counters.cpu_shares(cpu(), cpu(iowait=70, steal=30))
    assert shares and (shares["busy"], shares["iowait"], shares["steal"]) == (30.0, 70.0, 30.0)


def test_no_tick_is_no_share_and_a_counter_that_goes_back_counts_as_nothing() -> None:
    assert counters.cpu_shares(cpu(user=5), cpu(user=5)) is None
    shares = counters.cpu_shares(cpu(iowait=10), cpu(iowait=8, user=10))
    assert shares and (shares["user"], shares["iowait"]) == (100.0, 0.0)


def test_whole_disks_that_were_used() -> None:
    disks = counters.parse_disks(DISKS)
    assert set(disks) == {"vda", "nvme0n1"}
    assert disks["vda"] == Disk(1000, 16000 * 512, 500, 2000, 64000 * 512, 4000, 3000)


def test_interfaces_that_lead_out() -> None:
    # A packet that nobody wanted is counted as dropped on receipt, and is no fault.
    assert counters.parse_interfaces(NETWORK) == {"eth0": Interface(1000, 2000, 1 + 2 + 3)}


def test_pressure_and_accepted_connections() -> None:
    stall = (
        "some avg10=0.22 avg60=7.96 avg300=39.05 total=23139293805\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
    )
    assert counters.parse_stall(stall) == 23139293805
    snmp = "Tcp: RtoAlgorithm ActiveOpens PassiveOpens\nTcp: 1 436447 243571\nUdp: a\nUdp: 1\n"
    assert counters.parse_accepted(snmp) == 243571


@pytest.mark.parametrize("parse", [counters.parse_cpu, counters.parse_stall, counters.parse_accepted])
def test_what_is_not_understood_is_a_failure_and_no_zero(parse: t.Callable[[str], object]) -> None:
    with pytest.raises(ProbeFailure):
        parse("nonsense\n")


def test_a_process_with_brackets_in_its_name() -> None:
    assert counters.parse_process(PROCESS) == Process(4242, "post gres) (x)", 200, 98765)


def test_memory_of_a_process_is_its_own_and_what_it_shares() -> None:
    status = "Name:\tpostgres\nRssAnon:\t  2048 kB\nRssFile:\t  9999 kB\nRssShmem:\t  4096 kB\n"
    assert counters.parse_memory(status) == (2048 * 1024, 4096 * 1024)
    assert counters.parse_memory("Name:\tkthreadd\n") == (0, 0)


def test_connections_by_port_and_state() -> None:
    rest = b"00000000:00000000 00:00000000 00000000  0 0 1 1 0 100 0 0 10 0"
    lines = [
        b" 0: 00000000:1F48 00000000:0000 0A " + rest,
        b" 1: 0100007F:1F48 0100007F:C350 01 " + rest,
        b" 2: 0100007F:1F48 0100007F:C351 01 " + rest,
        b" 3: 0100007F:C350 0100007F:1F48 01 " + rest,
        b" 4: 0100007F:1F48 0100007F:C352 06 " + rest,
        b" 5: 00000000000000000000000001000000:1F48 00000000000000000000000001000000:C353 01 " + rest,
    ]
    found: dict[int, dict[str, int]] = {}
    counters.count_states(lines, [8008], found)
    # The other end of a connection on this host has another local port.
    assert found == {8008: {"listen": 1, "established": 3, "time_wait": 1}}
