"""Processes as /proc shows them.

Pid files lie after a crash, so none is trusted here: a process belongs to the lab when its
command line names the lab's own files. Signals go through a pidfd after a second look at
the start time, so that a reused pid is never hit.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.config import Lab

# Children of a long-lived caller (a test run) must be reaped, or they stay as zombies.
_children: list[subprocess.Popen] = []


@dataclass(frozen=True)
class Process:
    pid: int
    ppid: int
    uid: int
    state: str
    started: int
    argv: tuple[str, ...]

    @property
    def program(self) -> str:
        return os.path.basename(self.argv[0]) if self.argv else ""

    @property
    def frozen(self) -> bool:
        return self.state in "Tt"


def _elsewhere(pid: int) -> bool:
    """In a container or chroot: the same path and the same uid mean something else there."""
    try:
        root, ours = os.stat(f"/proc/{pid}/root"), os.stat("/proc/self/root")
    except PermissionError:
        return False
    return (root.st_dev, root.st_ino) != (ours.st_dev, ours.st_ino)


def _read(pid: int) -> Process | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        argv = Path(f"/proc/{pid}/cmdline").read_bytes()
        status = Path(f"/proc/{pid}/status").read_text()
        if not argv or _elsewhere(pid):
            # Without a command line it is a kernel thread or a zombie.
            return None
    except OSError:
        return None
    # The name stands in brackets and may hold anything, so count from the last bracket.
    fields = stat.rpartition(")")[2].split()
    state, ppid, started = fields[0], int(fields[1]), int(fields[19])
    if state in "ZX":
        return None
    uid = int(status.partition("\nUid:")[2].split(None, 1)[0])
    words = tuple(word.decode(errors="replace") for word in argv.rstrip(b"\0").split(b"\0"))
    return Process(pid, ppid, uid, state, started, words)


def table() -> dict[int, Process]:
    reap()
    found = (_read(int(entry)) for entry in os.listdir("/proc") if entry.isdigit())
    return {process.pid: process for process in found if process is not None}


def with_descendants(roots: Iterable[Process], processes: dict[int, Process]) -> list[Process]:
    """Parents come before their children."""
    result = {process.pid: process for process in roots}
    grew = True
    while grew:
        more = {pid: process for pid, process in processes.items() if process.ppid in result and pid not in result}
        result.update(more)
        grew = bool(more)
    return list(result.values())


def works_in(process: Process, directory: Path) -> bool:
    try:
        return os.readlink(f"/proc/{process.pid}/cwd") == str(directory)
    except OSError:
        return False


def send(process: Process, signum: signal.Signals) -> None:
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return
    try:
        now = _read(process.pid)
        if now is not None and now.started == process.started:
            signal.pidfd_send_signal(handle, signum)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)


def reap() -> None:
    _children[:] = [child for child in _children if child.poll() is None]


def wait_gone(find: Callable[[], list[Process]], seconds: float) -> list[Process]:
    """Wait until `find` finds nothing; return what is still there."""
    deadline = time.monotonic() + seconds
    while (left := find()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def identity(lab: Lab) -> dict:
    """How to run as the lab's user: a dedicated one when we are root."""
    owner = lab.owner
    if owner is None:
        return {}
    return {"user": owner[0], "group": owner[1], "extra_groups": []}


def environment(lab: Lab) -> dict[str, str]:
    """Services get nothing of the caller's environment."""
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(lab.synapse),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def spawn(lab: Lab, argv: list[str], log: Path, cwd: Path) -> subprocess.Popen:
    """Start a service in its own session; it outlives this program."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o640)
    with os.fdopen(descriptor, "ab") as output:
        if lab.owner is not None:
            os.fchown(output.fileno(), *lab.owner)
        child = subprocess.Popen(
            argv,
            cwd=cwd,
            env=environment(lab),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o027,
            **identity(lab),
        )
    _children.append(child)
    return child


def run(lab: Lab, argv: list[str], timeout: float = 120) -> subprocess.CompletedProcess:
    """Run a helper such as initdb as the lab's user and wait for it."""
    return subprocess.run(
        argv,
        cwd=lab.root,
        env=environment(lab),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
        umask=0o077,
        **identity(lab),
    )
