"""A server with a load that is known, and the module as Ansible runs it."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys
import typing as t
from dataclasses import dataclass

from clusters import USER, Cluster, run

ROOT = pathlib.Path(__file__).resolve().parents[3]
MODULE = ROOT / "plugins/modules/matrixon_performance_info.py"
DATABASE, WATCHER, PASSWORD = "load", "watcher", "not-a-secret"
# Found by no index, and made long by sleeping, so that it needs no CPU of a busy machine.
SLOW = "SELECT count(*), pg_sleep(0.25) FROM pgbench_accounts WHERE abalance = :number;"


@dataclass(frozen=True)
class Answer:
    """What one call of the module printed."""

    document: dict[str, t.Any]
    output: str
    # What the kernel counted of the process, with the tools that it called.
    cpu_seconds: float

    @property
    def report(self) -> dict[str, t.Any]:
        return self.document["report"]

    @property
    def facts(self) -> dict[str, t.Any]:
        return self.report["facts"]

    def check(self, name: str, target: str | None = None) -> dict[str, t.Any]:
        """The one check of that name, and of that target where there are several."""
        found = [one for one in self.report["checks"] if one["name"] == name and target in (None, one["target"])]
        assert len(found) == 1, (name, target, [(one["name"], one["target"]) for one in self.report["checks"]])
        return found[0]

    def ranking(self, name: str) -> list[list[t.Any]]:
        """The rows of a table, none if it is not there."""
        return next((one["rows"] for one in self.facts["rankings"] if one["name"] == name), [])


def ask(*, check_mode: bool = False, **options: t.Any) -> Answer:
    """Run the module in a process of its own, options on standard input."""
    given = {"deployment": "test", "profile": "synapse", "detail": "full", "interval": 2, "samples": 4, **options}
    before = _cpu_of_children()
    done = subprocess.run(
        [sys.executable, str(MODULE)],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {**given, "_ansible_check_mode": check_mode}}),
        env={**os.environ, "PYTHONPATH": str(ROOT / ".build/collections")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip(), done.stderr
    return Answer(json.loads(done.stdout), done.stdout + done.stderr, _cpu_of_children() - before)


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def start(base: pathlib.Path, major: int, *lines: str) -> Cluster:
    """Start a server that listens on a free port of loopback."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Cluster(base, major, port)
    server.make()
    with open(server.data / "postgresql.auto.conf", "a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in ("listen_addresses = '127.0.0.1'", *lines))
    server.start()
    return server


def fill(server: Cluster, database: str) -> None:
    """Make a database with pgbench's tables, and the login that watches it."""
    server.sql(f"CREATE ROLE {WATCHER} LOGIN PASSWORD '{PASSWORD}'")
    server.sql(f"GRANT pg_monitor TO {WATCHER}")
    server.sql(f"CREATE DATABASE {database}")
    server.sql("CREATE EXTENSION pg_stat_statements", database)
    bench(server, database, "--initialize", "--quiet", "--scale=1")


def tool(server: Cluster, name: str, database: str, *options: str) -> list[str]:
    """A command of the server's own tools against it."""
    where = [f"--host={server.socket}", f"--port={server.port}", "--username=postgres"]
    return [str(server.tools / name), *where, *options, database]


def bench(server: Cluster, database: str, *options: str) -> None:
    """Let pgbench do something and end."""
    run(*tool(server, "pgbench", database, *options))


@contextlib.contextmanager
def running(argv: list[str], **options: t.Any) -> t.Iterator[subprocess.Popen[str]]:
    """A program beside the test, as the server's user, that is ended with it."""
    keywords: dict[str, t.Any] = {"user": USER, "extra_groups": []} if os.geteuid() == 0 else {}
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
        start_new_session=True,
        **keywords,
        **options,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=30)


@contextlib.contextmanager
def load(server: Cluster, base: pathlib.Path) -> t.Iterator[None]:
    """Many short statements beside a slow one, for as long as the test takes and a minute at most."""
    script = base / "slow.sql"
    script.write_text(f"\\set number random(1, 1000)\n{SLOW}\n")
    script.chmod(0o644)
    common = ("--no-vacuum", "--time=60")
    # Gently: the machine has other things to do.
    short = tool(server, "pgbench", DATABASE, "--client=2", "--rate=40", "--select-only", *common)
    slow = tool(server, "pgbench", DATABASE, "--client=1", f"--file={script}", *common)
    with running(short), running(slow):
        yield


def postgresql(server: Cluster, **changes: t.Any) -> dict[str, t.Any]:
    """Options that watch it over TCP."""
    return {
        "host": "127.0.0.1",
        "port": server.port,
        "database": DATABASE,
        "user": WATCHER,
        "password": PASSWORD,
        **changes,
    }
