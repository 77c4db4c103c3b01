# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Read /proc: small files, the tables of TCP sockets, and the open files of processes.

The parsers take text. The readers take the root of the tree, so that a copy
can stand in for the real one.
"""

from __future__ import annotations

import glob
import ipaddress
import os
import sys
import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    AUTH,
    INTERNAL,
    MISSING_TOOL,
    PARSE,
    Deadline,
    Facts,
    ProbeFailure,
)

LIMIT = 1024 * 1024
BATCH = 1024 * 1024
LISTEN, CLOSE = b"0A", b"07"
MOST_PROCESSES = 2000

Alive = t.Callable[[int], bool]
Place = tuple[str, int]


def read(root: str, path: str) -> str:
    """Return a small text file below the root."""
    with open(os.path.join(root, path), "rb") as file:
        return file.read(LIMIT).decode("utf-8", "replace")


def peak_memory(status: str) -> int | None:
    """Return the most memory in bytes that a process has had, from its status file, if the kernel counts it.

    What getrusage calls so is, after an exec, at least what the starter of the process had.
    """
    found = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(found[0][1]) * 1024 if found else None


def gather(parts: t.Mapping[str, t.Callable[[], t.Any]]) -> Facts:
    """Observe several things. One that fails leaves its failure in its place, for ``part`` to raise."""
    return {name: _kept(observe) for name, observe in parts.items()}


def part(facts: Facts, name: str) -> t.Any:
    """Return one of the things that ``gather`` observed, or raise its failure."""
    value = facts[name]
    if isinstance(value, ProbeFailure):
        raise value
    return value


def _kept(observe: t.Callable[[], t.Any]) -> t.Any:
    try:
        return observe()
    except ProbeFailure as failure:
        return failure
    except OSError as error:
        return failure_of(error)
    except (ValueError, LookupError) as error:
        return ProbeFailure(PARSE, f"what the kernel reports was not understood ({error})")


def failure_of(error: OSError) -> ProbeFailure:
    """Return the failure for a file that could not be read."""
    kinds = {PermissionError: AUTH, FileNotFoundError: MISSING_TOOL}
    kind = next((kind for cls, kind in kinds.items() if isinstance(error, cls)), INTERNAL)
    name = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
    return ProbeFailure(kind, f"{name} cannot be read: {error.strerror}")


def unseen(error: OSError) -> None:
    """Raise the failure for a directory that ``os.walk`` would pass over; one that is not there has nothing in it."""
    if not isinstance(error, FileNotFoundError):
        raise failure_of(error) from error


def parse_meminfo(text: str) -> dict[str, int]:
    """Return the sizes of /proc/meminfo in bytes."""
    sizes = {}
    for line in text.splitlines():
        name, _colon, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[1] == "kB":
            sizes[name] = int(words[0]) * 1024
    return sizes


def parse_counter(text: str, name: str) -> int:
    """Return one counter of /proc/vmstat."""
    for line in text.splitlines():
        key, _space, value = line.partition(" ")
        if key == name:
            return int(value)
    raise ProbeFailure(PARSE, f"/proc/vmstat has no {name}")


def parse_pressure(text: str) -> float:
    """Return for which share of the last minute some task stood still, from a file of /proc/pressure."""
    for line in text.splitlines():
        words = line.split()
        if words and words[0] == "some":
            return float(dict(word.split("=", 1) for word in words[1:])["avg60"])
    raise ProbeFailure(PARSE, "the pressure file has no line 'some'")


def parse_cores(text: str) -> int:
    """Return the number of CPUs that are online, from /proc/stat."""
    cores = sum(1 for line in text.splitlines() if line.startswith("cpu") and line[3:4].isdigit())
    if not cores:
        raise ProbeFailure(PARSE, "/proc/stat names no CPU")
    return cores


def parse_open_files_limit(text: str) -> int | None:
    """Return the soft limit of open files from /proc/PID/limits, None for unlimited."""
    for line in text.splitlines():
        if line.startswith("Max open files"):
            soft = line.split()[3]
            return None if soft == "unlimited" else int(soft)
    raise ProbeFailure(PARSE, "/proc/PID/limits has no line 'Max open files'")


def parse_stat(text: str) -> tuple[str, str]:
    """Return command and state from /proc/PID/stat. A command may hold spaces and brackets."""
    head, _bracket, tail = text.rpartition(")")
    return head.partition("(")[2], tail.split()[0]


def parse_address(text: str) -> str:
    """Return an address of /proc/net/tcp or tcp6 as people write it; mapped IPv4 as IPv4."""
    words = [text[at : at + 8] for at in range(0, len(text), 8)]
    raw = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    address = ipaddress.ip_address(raw)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


@dataclass
class Sockets:
    """Who listens, and how many local ports of a range each (source address, destination) holds."""

    first: int
    last: int
    listening: set[Place] = field(default_factory=set)
    outgoing: dict[tuple[str, Place], int] = field(default_factory=dict)

    @property
    def ports(self) -> int:
        """Return how many ports the range has."""
        return self.last - self.first + 1

    def add(self, batches: t.Iterable[list[bytes]]) -> None:
        """Add a table of /proc/net.

        The kernel lists listening sockets first. A connection whose local
        port is one of theirs came in and takes no port of the range.
        """
        low, high = b"%04X" % self.first, b"%04X" % self.last
        own: set[bytes] = set()
        counts: dict[tuple[bytes, bytes], int] = {}
        for batch in batches:
            for line in batch:
                _slot, local, remote, state, _rest = line.split(None, 4)
                port = local[-4:]
                if state == LISTEN:
                    own.add(port)
                    self.listening.add(_place(local))
                elif low <= port <= high and state != CLOSE and port not in own:
                    pair = local[:-5], remote
                    counts[pair] = counts.get(pair, 0) + 1
        for (source, remote), count in counts.items():
            key = parse_address(source.decode()), _place(remote)
            self.outgoing[key] = self.outgoing.get(key, 0) + count


def _place(text: bytes) -> Place:
    address, _colon, port = text.decode().partition(":")
    return parse_address(address), int(port, 16)


def read_sockets(root: str, deadline: Deadline) -> Sockets:
    """Read both TCP tables. A host without IPv6 has only the first."""
    first, last = (int(word) for word in read(root, "proc/sys/net/ipv4/ip_local_port_range").split())
    sockets = Sockets(first, last)
    sockets.add(batches(os.path.join(root, "proc/net/tcp"), deadline))
    six = os.path.join(root, "proc/net/tcp6")
    if os.path.exists(six):
        sockets.add(batches(six, deadline))
    return sockets


def batches(path: str, deadline: Deadline) -> t.Iterator[list[bytes]]:
    """Yield the lines below the heading, a bounded number at a time."""
    with open(path, "rb", buffering=BATCH) as file:
        file.readline()
        while True:
            deadline.require(f"reading {path}")
            lines = file.readlines(BATCH)
            if not lines:
                return
            yield lines


class OpenFiles(t.NamedTuple):
    """How many files a process has open, and how many it may; None is without limit."""

    pid: int
    command: str
    used: int
    limit: int | None

    @property
    def share(self) -> float:
        """Return the used part of the limit in percent."""
        return 100 * self.used / self.limit if self.limit else 0.0


def is_alive(pid: int) -> bool:
    """Return whether a process exists, even where /proc hides it from this user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def fullest(root: str, pid: int, alive: Alive = is_alive) -> OpenFiles | None:
    """Return the process nearest to its limit among one and its descendants; None if it is gone.

    The main process of HAProxy or PostgreSQL holds few files. It is a child
    that runs out of them.
    """
    main = open_files(root, pid, alive)
    if main is None:
        return None
    family = (open_files(root, child, alive) for child in descendants(root, pid))
    return max((main, *(each for each in family if each)), key=lambda each: each.share)


def open_files(root: str, pid: int, alive: Alive = is_alive) -> OpenFiles | None:
    """Return the open files of a process, or None if there is no such process."""
    base = os.path.join(root, "proc", str(pid))
    try:
        command, state = parse_stat(read(base, "stat"))
        if state in ("Z", "X"):
            return None
        used = sum(1 for _entry in os.scandir(os.path.join(base, "fd")))
        return OpenFiles(pid, command, used, parse_open_files_limit(read(base, "limits")))
    except PermissionError as error:
        raise _hidden(pid) from error
    except (FileNotFoundError, ProcessLookupError) as error:
        if alive(pid):
            raise _hidden(pid) from error
        return None


def _hidden(pid: int) -> ProbeFailure:
    return ProbeFailure(AUTH, f"this user may not see the open files of process {pid}; run with become")


def descendants(root: str, pid: int) -> list[int]:
    """Return the children of a process, their children and so on, as far as the kernel tells."""
    found: list[int] = []
    front = [pid]
    while front and len(found) < MOST_PROCESSES:
        front = [child for parent in front for child in _children(root, parent)]
        found += front
    return found[:MOST_PROCESSES]


def _children(root: str, pid: int) -> t.Iterator[int]:
    for path in glob.glob(os.path.join(glob.escape(root), "proc", str(pid), "task", "*", "children")):
        try:
            yield from (int(word) for word in read("", path).split())
        except OSError:
            continue
