"""How much is lost when a primary is: measured, not assumed.

Somebody writes all the time, and every process of the primary is killed at a moment
that nobody chose; its data directory counts as lost. What the last acknowledged row
was is known, and what a restore elsewhere brings back is held against it.

SEED repeats a run, ROUNDS says how long it is.
"""

from __future__ import annotations

import contextlib
import math
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import threading
import time
import typing as t

import jinja2
import pytest
from clusters import USER, Cluster, copy_of, make_owned, run, until
from modules import Store

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNIT = ROOT / "roles/backup/templates/receivewal.service.j2"
ROUNDS = int(os.environ.get("ROUNDS", "20"))
# Seconds between two rows, and what may be lost in seconds.
EVERY = 0.02
GOAL = 5.0
# In every other round the log grows as fast as the server can write it.
FLOOD = "INSERT INTO flood SELECT repeat(md5(i::text), 20) FROM generate_series(1, 2000) i;\n"


def receiver(server: Cluster, archive: pathlib.Path) -> list[str]:
    """Return the command with which the role receives the log, for this server."""
    values = {
        "__backup_archive": str(archive),
        "backup_owner": USER,
        "backup_database_host": str(server.socket),
        "backup_database_port": server.port,
        "backup_database_user": "postgres",
        "backup_archive_slot": "matrixon_backup",
        "ansible_managed": "",
    }
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    environment.filters["comment"] = str
    found = re.search(r"^ExecStart=(.+)$", environment.from_string(UNIT.read_text()).render(values), re.MULTILINE)
    assert found
    return found[1].split()


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


class Flood(threading.Thread):
    """Writes as much as the server takes."""

    def __init__(self, server: Cluster) -> None:
        super().__init__(daemon=True)
        self._session = Session(server)
        self.start()

    def run(self) -> None:
        while self._session.ask(FLOOD + "SELECT 1;\n"):
            pass
        self._session.close()


def kill(server: Cluster) -> None:
    """End every process of a server at once, none of which has time for anything."""
    postmaster = server.postmaster()
    # Stopped, it starts no process while the others are looked up.
    os.kill(postmaster, signal.SIGSTOP)
    found = run("ps", "--ppid", str(postmaster), "-o", "pid=").split()
    for pid in [postmaster, *map(int, found)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def receiving(server: Cluster, archive: pathlib.Path) -> t.Iterator[subprocess.Popen[bytes]]:
    """Receive the log of a server as the role does."""
    server.sql("SELECT pg_create_physical_replication_slot('matrixon_backup', true)")
    keywords: dict[str, t.Any] = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}
    process = subprocess.Popen(receiver(server, archive), cwd="/", umask=0o077, stderr=subprocess.DEVNULL, **keywords)
    try:
        until(lambda: server.sql("SELECT count(*) FROM pg_stat_replication") == "1")
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def template(base: pathlib.Path, major: int) -> Cluster:
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


class Loss(t.NamedTuple):
    """What one round lost: seconds between the last acknowledged row and the last one that was found, and rows."""

    seconds: float
    rows: int


def lose(server: Cluster, place: pathlib.Path, chance: random.Random, flood: bool) -> Loss:
    """Kill a primary that is written to, restore elsewhere, and return what is lost."""
    store = Store(make_owned(place / "store"), server)
    for folder in (store.path.parent, store.path, store.path / "wal"):
        make_owned(folder)
    with receiving(server, store.path / "wal") as process:
        writer = Writer(server)
        name = store.made()
        if flood:
            Flood(server)
        time.sleep(chance.uniform(0.2, 6))
        assert process.poll() is None, "nothing received the log when the primary was killed"
        kill(server)
        # As systemd would see it: the receiver ends by itself when its server is gone.
        process.wait(20)
        writer.join(20)
    assert writer.number > 0
    shutil.rmtree(server.data)
    last = "SELECT max(id) || '|' || extract(epoch FROM max(at)) || '|' || count(*) FROM beats"
    done = store.good(
        "matrixon_restore",
        directory=str(place / "restored"),
        set=name,
        accept_unverified=name,
        queries=[{"name": "last", "database": "postgres", "sql": last}],
    )
    number, moment, rows = done["report"]["facts"]["answers"]["last"].split("|")
    assert number == rows, "there are rows missing before the last one"
    return Loss(max(0.0, writer.moment - float(moment)), max(0, writer.number - int(number)))


def percentile(values: t.Sequence[float], percent: float) -> float:
    """Return the smallest value that is not below so many of a hundred."""
    return sorted(values)[max(1, math.ceil(len(values) * percent / 100)) - 1]


def test_the_last_seconds_survive_the_loss_of_the_primary(template: Cluster, base: pathlib.Path) -> None:
    seed = int(os.environ.get("SEED", "1"))
    chance = random.Random(seed)
    losses: list[Loss] = []
    for number in range(1, ROUNDS + 1):
        flood = number % 2 == 0
        place = make_owned(base / f"round{number}")
        with copy_of(template, base) as server:
            losses.append(lose(server, place, chance, flood))
        shutil.rmtree(place)
        print(f"seed {seed} round {number}/{ROUNDS}, {'flooded' if flood else 'steady'}: {losses[-1]}", flush=True)
    for words, found in (("steady", losses[::2]), ("flooded", losses[1::2]), ("all", losses)):
        if found:
            seconds = [loss.seconds for loss in found]
            figures = ", ".join(f"p{percent} {percentile(seconds, percent):.3f} s" for percent in (50, 99))
            rows = max(loss.rows for loss in found)
            print(f"{words}, {len(found)} rounds: {figures}, most {max(seconds):.3f} s, {rows} rows", flush=True)
    assert max(loss.seconds for loss in losses) <= GOAL
