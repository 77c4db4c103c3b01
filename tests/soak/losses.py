"""What is lost with a primary: who writes, how it is killed, and how the loss is told."""

from __future__ import annotations

import contextlib
import math
import os
import pathlib
import signal
import subprocess
import threading
import time
import typing as t

from clusters import Cluster, run

ROUNDS = int(os.environ.get("ROUNDS", "20"))
# Seconds between two rows.
EVERY = 0.02
LAST = "SELECT max(id) || '|' || extract(epoch FROM max(at)) || '|' || count(*) FROM beats"


class Loss(t.NamedTuple):
    """What one round lost: seconds between the last acknowledged row and the last one that was found, and rows."""

    seconds: float
    rows: int


class Session:
    """A session that stays open: a statement in, a line out."""

    def __init__(self, server: Cluster) -> None:
        argv = [str(server.tools / "psql"), "-XqAt", f"--host={server.socket}", f"--port={server.port}"]
        self._process = subprocess.Popen(
            [*argv, "--username=postgres", "--dbname=postgres"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, statement: str) -> str:
        """Return the answer, or nothing when the server is gone."""
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(statement)
            self._process.stdin.flush()
            return self._process.stdout.readline().strip()
        return ""

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class Writer(threading.Thread):
    """Writes a row every now and then, and remembers the last one that the server acknowledged."""

    def __init__(self, server: Cluster) -> None:
        super().__init__(daemon=True)
        self._session = Session(server)
        self.number, self.moment = 0, 0.0
        self.start()

    def run(self) -> None:
        statement = "INSERT INTO beats (at) VALUES (clock_timestamp()) RETURNING id, extract(epoch FROM at);\n"
        while answer := self._session.ask(statement):
            number, _bar, moment = answer.partition("|")
            self.number, self.moment = int(number), float(moment)
            time.sleep(EVERY)
        self._session.close()

    def loss(self, restored: dict[str, t.Any]) -> Loss:
        """Return what a restore that asked for LAST did not bring back."""
        assert self.number > 0
        number, moment, rows = restored["report"]["facts"]["answers"]["last"].split("|")
        assert number == rows, "there are rows missing before the last one"
        return Loss(max(0.0, self.moment - float(moment)), max(0, self.number - int(number)))


def kill(server: Cluster) -> None:
    """End every process of a server at once, none of which has time for anything."""
    postmaster = server.postmaster()
    # Stopped, it starts no process while the others are looked up.
    os.kill(postmaster, signal.SIGSTOP)
    found = run("ps", "--ppid", str(postmaster), "-o", "pid=").split()
    for pid in [postmaster, *map(int, found)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def writable(base: pathlib.Path, major: int) -> Cluster:
    """A stopped server with a table to write to, which brings everything to its disk."""
    made = Cluster(base / "primary", major, 5433)
    made.make()
    with open(made.data / "postgresql.conf", "a", encoding="utf-8") as file:
        file.write("fsync = on\n")
    made.start()
    made.sql("CREATE TABLE beats (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL)")
    made.sql("CREATE TABLE flood (words text)")
    made.stop("fast")
    return made


def percentile(values: t.Sequence[float], percent: float) -> float:
    """Return the smallest value that is not below so many of a hundred."""
    return sorted(values)[max(1, math.ceil(len(values) * percent / 100)) - 1]


def show(words: str, losses: t.Sequence[Loss]) -> None:
    """Print the distribution of some losses."""
    seconds = [loss.seconds for loss in losses]
    figures = ", ".join(f"p{percent} {percentile(seconds, percent):.3f} s" for percent in (50, 99))
    rows = max(loss.rows for loss in losses)
    print(f"{words}, {len(losses)} rounds: {figures}, most {max(seconds):.3f} s, {rows} rows", flush=True)
