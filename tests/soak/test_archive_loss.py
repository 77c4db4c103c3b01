"""How much is lost when a primary is, whose log pgBackRest takes segment by segment: measured, not assumed.

The server hands a segment over when it is full or when `archive_timeout` has
passed, so what is lost is at most that and the time of one push. Somebody writes
all the time, and every process of the primary is killed at a random moment of
two such periods; its data directory and what waits in the spool count as lost.

Five primaries at a time, since each waits most of the time. SEED repeats a run,
ROUNDS says how long it is.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import pathlib
import random
import shutil
import time

import pytest
import yaml
from clusters import Cluster, Sets, copy_of, make_owned
from losses import LAST, ROUNDS, Loss, Writer, kill, show, writable
from sites import WHY_NOT, Modules, Site

from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster, process
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

DEFAULTS = yaml.safe_load((pathlib.Path(__file__).resolve().parents[2] / "roles/backup/defaults/main.yml").read_text())
TIMEOUT = DEFAULTS["backup_archive_timeout"]
GOAL = 90.0
AT_A_TIME = 5


@pytest.fixture
def template(base: pathlib.Path, major: int) -> Cluster:
    return writable(base, major)


def lose(template: Cluster, base: pathlib.Path, place: pathlib.Path, wait: float, runner: process.Runner) -> Loss:
    """Kill a primary that is written to, restore elsewhere, and return what is lost."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(copy_of(template, base))
        client = stack.enter_context(cluster.client(server.server, runner, Deadline(600)))
        site = Site(server, Sets(place / "sets"), runner, client, stanza=place.name)
        modules = Modules(site)
        site.configure()
        modules.bare()
        modules.begin()
        server.sql(f"ALTER SYSTEM SET archive_timeout = {TIMEOUT}")
        server.sql("SELECT pg_reload_conf()")
        writer = Writer(server)
        name = modules.made()
        time.sleep(wait)
        kill(server)
        writer.join(20)
        # Whoever still pushes goes with the host.
        site.lost()
        return writer.loss(
            modules.read(
                "matrixon_restore",
                directory=str(place / "restored"),
                set=name,
                accept_unverified=name,
                queries=[{"name": "last", "database": "postgres", "sql": LAST}],
            )
        )


def test_no_more_than_a_period_and_a_push_is_lost(
    template: Cluster, base: pathlib.Path, runner: process.Runner
) -> None:
    assert not WHY_NOT, WHY_NOT
    seed = int(os.environ.get("SEED", "1"))
    chance = random.Random(seed)
    waits = [chance.uniform(1, 2 * TIMEOUT) for _round in range(ROUNDS)]
    losses: list[Loss] = []

    def one(number: int) -> Loss:
        place = make_owned(base / f"round{number}")
        loss = lose(template, base, place, waits[number - 1], runner)
        shutil.rmtree(place)
        words = f"seed {seed} round {number}/{ROUNDS}, killed after {waits[number - 1]:.0f} s"
        print(f"{words}: {loss.seconds:.1f} s, {loss.rows} rows", flush=True)
        return loss

    with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
        losses += pool.map(one, range(1, ROUNDS + 1))
    show("pgbackrest", losses)
    assert max(loss.seconds for loss in losses) <= GOAL
