"""What something costs: seconds, processor seconds of it and of a server, and memory."""

from __future__ import annotations

import contextlib
import os
import pathlib
import resource
import subprocess
import threading
import time
import typing as t
from dataclasses import dataclass

# How often memory is looked at, in seconds.
EVERY = 0.1
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Reading:
    """What one run cost: wall and processor seconds, most memory of its processes in bytes, bytes that it wrote.

    The server's processor seconds are in it, its memory is not. ``answer`` is what the run said.
    """

    wall: float
    cpu: float
    peak: int
    stored: int
    answer: t.Any = None

    def figures(self) -> dict[str, float]:
        return {"wall": round(self.wall, 3), "cpu": round(self.cpu, 3), "peak": self.peak, "bytes": self.stored}


def measure(act: t.Callable[[], t.Any], server: int | None, stored: t.Callable[[t.Any], int]) -> Reading:
    """Run something and return what it cost. ``server`` is the process of a server that works for it."""
    # What was written before must not be brought to the disk on this run's account.
    subprocess.run(["sync"], check=True)
    before, memory = _spent(server), _Memory()
    begun = time.monotonic()
    try:
        answer = act()
        wall = time.monotonic() - begun
    finally:
        memory.end()
    return Reading(wall, _spent(server) - before, memory.most, stored(answer), answer)


def _spent(server: int | None) -> float:
    """Return the processor seconds of all children that have ended, and of the server's tree."""
    own = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + (_tree(server) / TICKS if server else 0.0)


def _tree(pid: int) -> int:
    """Return the ticks of a process, of its living descendants and of its dead ones."""
    total = 0
    with contextlib.suppress(OSError):
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total = sum(int(fields[place]) for place in (11, 12, 13, 14))
    return total + sum(_tree(child) for child in _children(pid))


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [
            int(child)
            for thread in os.listdir(f"/proc/{pid}/task")
            for child in pathlib.Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
        ]
    return []


class _Memory(threading.Thread):
    """Looks at the memory of this process's descendants until it is ended; pages that several share count once."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = 0
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._ended.wait(EVERY):
            self.most = max(self.most, sum(self._below(child) for child in _children(os.getpid())))

    def end(self) -> None:
        self._ended.set()
        self.join()

    def _below(self, pid: int) -> int:
        own = 0
        with contextlib.suppress(OSError, StopIteration):
            lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            own = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
        return own + sum(self._below(child) for child in _children(pid))
