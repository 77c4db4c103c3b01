"""How much is lost when a primary is: measured, not assumed.

Somebody writes all the time, and every process of the primary is killed at a moment
that nobody chose; its data directory counts as lost. What the last acknowledged row
was is known, and what a restore elsewhere brings back is held against it.

SEED repeats a run, ROUNDS says how long it is.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import random
import re
import shutil
import subprocess
import threading
import time
import typing as t

import jinja2
import pytest
from clusters import USER, Cluster, copy_of, make_owned, until
from losses import LAST, ROUNDS, Loss, Session, Writer, kill, show, writable
from modules import Store

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNIT = ROOT / "roles/backup/templates/receivewal.service.j2"
# What may be lost, in seconds.
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
    return writable(base, major)


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
    shutil.rmtree(server.data)
    done = store.good(
        "matrixon_restore",
        directory=str(place / "restored"),
        set=name,
        accept_unverified=name,
        queries=[{"name": "last", "database": "postgres", "sql": LAST}],
    )
    return writer.loss(done)


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
            show(words, found)
    assert max(loss.seconds for loss in losses) <= GOAL
