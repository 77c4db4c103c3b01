"""A server whose tables are neglected on purpose, and the module as Ansible runs it."""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
import socket
import threading
import time
import typing as t
from dataclasses import dataclass

import psycopg2
from ansible.module_utils.testing import patch_module_args
from clusters import Cluster

from ansible_collections.matrixon.ops.plugins.modules import matrixon_postgresql_upkeep

ROOT = pathlib.Path(__file__).resolve().parents[3]
DATABASE = "tended"
# So small that a test is quick, and enough for a share to say something.
GIVEN = {"dead_rows": 500, "reindex_size": 128 * 1024, "deadline": 60, "lock_timeout": 0.5, "cost_delay": 0}


@dataclass(frozen=True)
class Answer:
    """What one call of the module printed."""

    document: dict[str, t.Any]
    output: str

    @property
    def changed(self) -> bool:
        return bool(self.document["changed"])

    @property
    def report(self) -> dict[str, t.Any]:
        return self.document["report"]

    @property
    def plan(self) -> list[dict[str, str]]:
        return self.document["plan"]

    def checks(self, name: str, target: str | None = None) -> list[dict[str, t.Any]]:
        """All checks of a name, and of a target if one is given."""
        return [one for one in self.report["checks"] if one["name"] == name and target in (None, one["target"])]

    def check(self, name: str, target: str | None = None) -> dict[str, t.Any]:
        """The one check of that name, and of that target where there are several."""
        found = self.checks(name, target)
        assert len(found) == 1, (name, target, [(one["name"], one["target"]) for one in self.report["checks"]])
        return found[0]


def ask(
    server: Cluster, *, check_mode: bool = False, login: dict[str, t.Any] | None = None, **options: t.Any
) -> Answer:
    """Call the module in this process: JSON in, JSON out. A process for each call would take most of the time."""
    given = {"deployment": "test", "profile": "synapse", "detail": "full", **GIVEN, **options}
    given["postgresql"] = {
        "host": str(server.socket),
        "port": server.port,
        "database": DATABASE,
        "user": "postgres",
        **(login or {}),
    }
    said = io.StringIO()
    with (
        patch_module_args({**given, "_ansible_check_mode": check_mode}),
        contextlib.redirect_stdout(said),
        contextlib.suppress(SystemExit),
    ):
        matrixon_postgresql_upkeep.main()
    return Answer(json.loads(said.getvalue()), said.getvalue())


def start(base: pathlib.Path, major: int) -> Cluster:
    """Start a server that leaves all upkeep to others."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Cluster(base, major, port)
    server.make()
    with open(server.data / "postgresql.auto.conf", "a", encoding="utf-8") as file:
        file.write("listen_addresses = '127.0.0.1'\nautovacuum = off\nmax_prepared_transactions = 5\n")
        # For a logical slot.
        file.write("wal_level = logical\n")
    server.start()
    server.sql(f"CREATE DATABASE {DATABASE}")
    return server


def neglect(server: Cluster, name: str, rows: int = 8000) -> None:
    """Make a table and an index, and leave most of both dead."""
    for statement in (
        f"CREATE TABLE {name} (id int, body text, changed int DEFAULT 0)",
        f"INSERT INTO {name} SELECT i, md5(i::text) FROM generate_series(1, {rows}) i",
        f"CREATE INDEX {name}_body ON {name} (body)",
        f"ANALYZE {name}",
        f"UPDATE {name} SET body = md5(body), changed = 1",
        f"UPDATE {name} SET body = md5(body), changed = 2 WHERE id % 2 = 0",
    ):
        server.sql(statement, DATABASE)


def drop(server: Cluster, *names: str) -> None:
    """Take tables away again."""
    for name in names:
        server.sql(f"DROP TABLE IF EXISTS {name}", DATABASE)


@contextlib.contextmanager
def session(server: Cluster, *statements: str, name: str = "somebody") -> t.Iterator[t.Any]:
    """A session that has done something and whose transaction stays open for as long as the test takes."""
    connection = psycopg2.connect(
        host=str(server.socket), port=server.port, dbname=DATABASE, user="postgres", application_name=name
    )
    try:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            yield cursor
    finally:
        connection.close()


def until(condition: t.Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        threading.Event().wait(0.05)
