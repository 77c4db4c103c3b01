# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The counters of the kernel, read from the text of /proc. All pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._probe import PARSE, ProbeFailure

CPU_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
SECTOR = 512
# Partitions, and what only stands for other devices or for memory.
_NO_DISK = re.compile(r"(loop|ram|zram|sr|fd|dm-|md)\d+|(sd|vd|xvd|hd)[a-z]+\d+|(nvme\d+n\d+|mmcblk\d+)p\d+|nbd\d+p\d+")
_VIRTUAL = re.compile(r"lo|veth.*|br-.*|docker.*|virbr.*|cni.*|flannel.*|cali.*|tap.*|dummy.*|ifb.*")

STATES = {
    "01": "established",
    "02": "syn_sent",
    "03": "syn_recv",
    "04": "fin_wait_1",
    "05": "fin_wait_2",
    "06": "time_wait",
    "07": "close",
    "08": "close_wait",
    "09": "last_ack",
    "0A": "listen",
    "0B": "closing",
    "0C": "syn_recv",
}


class Disk(t.NamedTuple):
    """The counters of one disk since the host started; times are in milliseconds."""

    reads: int
    read_bytes: int
    read_ms: int
    writes: int
    written_bytes: int
    write_ms: int
    busy_ms: int


class Interface(t.NamedTuple):
    """The counters of one network interface since it was made."""

    received: int
    sent: int
    faults: int


class Process(t.NamedTuple):
    """One process. ``ticks`` is what it has used of a CPU; ``began`` tells it from a later one of the same number."""

    pid: int
    command: str
    ticks: int
    began: int


def parse_cpu(text: str) -> dict[str, int]:
    """Return the ticks of all CPUs together, from /proc/stat. What guests used is within user and nice."""
    words = text.split("\n", 1)[0].split()
    if not words or words[0] != "cpu" or len(words) < len(CPU_FIELDS) + 1:
        raise ProbeFailure(PARSE, "/proc/stat does not begin with the times of all CPUs")
    return dict(zip(CPU_FIELDS, map(int, words[1:])))


def cpu_shares(before: t.Mapping[str, int], after: t.Mapping[str, int]) -> dict[str, float] | None:
    """Return for what the CPUs were used between two readings, in percent; None where no tick went by.

    The kernel lets idle and iowait go back a little when a CPU goes off-line: that counts as nothing.
    """
    spent = {name: max(0, after[name] - before[name]) for name in CPU_FIELDS}
    total = sum(spent.values())
    if not total:
        return None
    share = {name: 100.0 * ticks / total for name, ticks in spent.items()}
    return {
        "user": share["user"] + share["nice"],
        "system": share["system"] + share["irq"] + share["softirq"],
        "iowait": share["iowait"],
        "steal": share["steal"],
        "busy": 100.0 - share["idle"] - share["iowait"],
    }


def parse_disks(text: str) -> dict[str, Disk]:
    """Return the whole disks of /proc/diskstats that were ever used."""
    disks = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 14 or _NO_DISK.fullmatch(words[2]):
            continue
        numbers = [int(word) for word in words[3:14]]
        reads, _merged, read, read_ms, writes, _merged_too, written, write_ms, _now, busy, _weighted = numbers
        if reads or writes:
            disks[words[2]] = Disk(reads, read * SECTOR, read_ms, writes, written * SECTOR, write_ms, busy)
    return disks


def parse_interfaces(text: str) -> dict[str, Interface]:
    """Return the interfaces of /proc/net/dev that lead out of the host."""
    found = {}
    for line in text.splitlines()[2:]:
        name, _colon, rest = line.partition(":")
        words = rest.split()
        if len(words) < 16 or _VIRTUAL.fullmatch(name.strip()):
            continue
        numbers = [int(word) for word in words]
        # Received: bytes, packets, errors, drops; sent: the same from the ninth on. A packet that nobody
        # here wants is counted as dropped by receivers, so only errors are faults there.
        found[name.strip()] = Interface(numbers[0], numbers[8], numbers[2] + numbers[10] + numbers[11])
    return found


def parse_stall(text: str) -> int:
    """Return for how many microseconds some task has stood still, from a file of /proc/pressure."""
    for line in text.splitlines():
        words = line.split()
        if words and words[0] == "some":
            return int(dict(word.split("=", 1) for word in words[1:])["total"])
    raise ProbeFailure(PARSE, "the pressure file has no line 'some'")


def parse_accepted(text: str) -> int:
    """Return how many TCP connections were taken since the host started, from /proc/net/snmp."""
    rows = [line.split() for line in text.splitlines() if line.startswith("Tcp:")]
    if len(rows) == 2 and "PassiveOpens" in rows[0]:
        return int(rows[1][rows[0].index("PassiveOpens")])
    raise ProbeFailure(PARSE, "/proc/net/snmp has no PassiveOpens")


def parse_process(text: str) -> Process:
    """Return a process from /proc/PID/stat. A command may hold spaces and brackets."""
    head, _bracket, tail = text.rpartition(")")
    pid, _space, command = head.partition(" (")
    words = tail.split()
    # Fields 14, 15 and 22 of the file, which counts from 1 and has two before the bracket's end.
    return Process(int(pid), command, int(words[11]) + int(words[12]), int(words[19]))


def parse_memory(text: str) -> tuple[int, int]:
    """Return the memory of one process in bytes, from /proc/PID/status: its own, and what it shares with others.

    Shared memory is that of PostgreSQL's buffers, which each of its processes would count again. Pages of files can
    be dropped at any time, so they do not count.
    """
    sizes = {}
    for line in text.splitlines():
        name, _colon, rest = line.partition(":")
        if name in ("RssAnon", "RssShmem"):
            sizes[name] = int(rest.split()[0]) * 1024
    if not sizes:
        # A kernel thread, or a process that has just ended.
        return 0, 0
    return sizes.get("RssAnon", 0), sizes.get("RssShmem", 0)


def count_states(lines: t.Iterable[bytes], ports: t.Collection[int], into: dict[int, dict[str, int]]) -> None:
    """Count the sockets of some local ports by their state, from lines of /proc/net/tcp or tcp6."""
    wanted = {b"%04X" % port: port for port in ports}
    for line in lines:
        _slot, local, _remote, state, _rest = line.split(None, 4)
        port = wanted.get(local[-4:])
        if port is not None:
            counts = into.setdefault(port, {})
            name = STATES.get(state.decode(), "other")
            counts[name] = counts.get(name, 0) + 1
