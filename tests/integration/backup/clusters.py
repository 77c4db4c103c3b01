"""Servers and backup sets for the tests: a cluster with data as a homeserver has it, which can be copied and hurt."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import itertools
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import threading
import time
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster
from ansible_collections.matrixon.ops.plugins.module_utils._backup.driver import Chain, Driver
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import DATABASE, Manifest
from ansible_collections.matrixon.ops.plugins.module_utils._backup.native import Native
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Server
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure

# The server does not run as root. Whoever else runs the tests, runs it, too.
USER = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
EVENTS = 6000
ODD = 'o\'dd = "name"'
PASSWORD = "s3cret-canary: \\ with what must be escaped"

SCHEMA = r"""
CREATE TABLE users (name text PRIMARY KEY, password_hash text, creation_ts bigint);
CREATE TABLE events (
    event_id text PRIMARY KEY, room_id text NOT NULL, sender text NOT NULL, type text NOT NULL,
    stream_ordering bigint GENERATED ALWAYS AS IDENTITY UNIQUE, origin_server_ts bigint);
CREATE INDEX events_room ON events (room_id, stream_ordering);
CREATE TABLE event_json (event_id text PRIMARY KEY REFERENCES events, room_id text NOT NULL, json text NOT NULL);
CREATE TABLE "it's ""odd"" one" (a int);
CREATE UNLOGGED TABLE cache_hints (a int);
CREATE EXTENSION pg_stat_statements;
CREATE TABLE of_an_extension (a int);
ALTER EXTENSION pg_stat_statements ADD TABLE of_an_extension;
INSERT INTO cache_hints SELECT generate_series(1, 10);
INSERT INTO "it's ""odd"" one" SELECT generate_series(1, 7);
INSERT INTO users SELECT '@user' || i || ':example.org', md5(i::text), i FROM generate_series(1, 500) i;
INSERT INTO events (event_id, room_id, sender, type, origin_server_ts)
    SELECT '$' || md5(i::text), '!' || i % 50 || ':example.org', '@user' || i % 500 + 1 || ':example.org',
        'm.room.message', i FROM generate_series(1, :events) i;
INSERT INTO event_json SELECT event_id, room_id, json_build_object('type', type, 'sender', sender, 'content',
    json_build_object('body', (SELECT string_agg(md5(event_id || j), ' ') FROM generate_series(1, 24) j)))
    FROM events;
"""


def run(*argv: str, **options: t.Any) -> str:
    """Run a command as the server's user; it must succeed."""
    keywords = {"user": USER, "extra_groups": []} if os.geteuid() == 0 else {}
    done = subprocess.run(
        argv, capture_output=True, text=True, cwd="/", timeout=120, check=False, umask=0o077, **keywords, **options
    )
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


class Cluster:
    """A server that the code under test does not control."""

    def __init__(self, base: pathlib.Path, major: int, port: int) -> None:
        self.base, self.major, self.port = base, major, port
        self.data, self.socket = base / "data", base / "socket"
        self.tools = pathlib.Path(f"/usr/lib/postgresql/{major}/bin")

    def make(self, *options: str) -> None:
        make_owned(self.base)
        make_owned(self.socket)
        run(
            str(self.tools / "initdb"),
            f"--pgdata={self.data}",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--data-checksums",
            "--no-sync",
            *options,
        )
        self.configure()
        with open(self.data / "postgresql.auto.conf", "a", encoding="utf-8") as file:
            file.write("shared_preload_libraries = 'pg_stat_statements'\npg_stat_statements.max = 1000\n")

    def configure(self) -> None:
        settings = {
            "listen_addresses": "",
            "port": str(self.port),
            "unix_socket_directories": str(self.socket),
            "max_wal_senders": "10",
            # More than a scratch cluster has, which must not stumble over it.
            "max_connections": "120",
            "fsync": "off",
            "shared_buffers": "64MB",
            "dynamic_shared_memory_type": "mmap",
            "log_timezone": "UTC",
            "lc_messages": "C",
            **({"summarize_wal": "on"} if self.major >= 17 else {}),
        }
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def start(self) -> None:
        run(str(self.tools / "pg_ctl"), f"--pgdata={self.data}", f"--log={self.base}/log", "--wait", "start")

    def stop(self, mode: str = "immediate") -> None:
        if (self.data / "postmaster.pid").exists():
            run(str(self.tools / "pg_ctl"), f"--pgdata={self.data}", f"--mode={mode}", "stop")

    def fill(self) -> None:
        self.sql(f"CREATE ROLE synapse LOGIN PASSWORD '{PASSWORD}'")
        self.sql("CREATE ROLE pruned NOLOGIN")
        self.sql("CREATE DATABASE synapse OWNER synapse TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'")
        self.sql("ALTER DATABASE synapse SET statement_timeout = '1h'")
        self.sql("ALTER ROLE synapse IN DATABASE synapse SET work_mem = '8MB'")
        self.sql("GRANT CONNECT ON DATABASE synapse TO pruned")
        self.sql(f"CREATE DATABASE {cluster.quoted(ODD)}")
        self.sql("CREATE TABLE t AS SELECT 1 AS a", ODD)
        self.psql("synapse", SCHEMA, f"--set=events={EVENTS}")
        for table in ("users", "events", "event_json"):
            self.sql(f"ALTER TABLE {table} OWNER TO synapse", "synapse")
        # Else the server does it by itself, and if that is during a backup, its log mends a page that was spoilt.
        self.sql("VACUUM (ANALYZE)", "synapse")

    def psql(self, database: str, text: str, *options: str) -> str:
        argv = [str(self.tools / "psql"), "-XqAt", "--set=ON_ERROR_STOP=1", f"--host={self.socket}"]
        argv += [f"--port={self.port}", "--username=postgres", f"--dbname={cluster.conninfo(database)}", *options]
        return run(*argv, input=text)

    def sql(self, statement: str, database: str = "postgres") -> str:
        return self.psql(database, statement)

    @property
    def server(self) -> Server:
        return Server(str(self.socket), self.port, "postgres", "postgres")

    def postmaster(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def process(self, words: str) -> int:
        """Return one of the server's own processes, such as the checkpointer."""
        lines = run("ps", "--ppid", str(self.postmaster()), "-o", "pid=,args=").splitlines()
        return next(int(line.split()[0]) for line in lines if words in line)

    @contextlib.contextmanager
    def held(self) -> t.Iterator[None]:
        """Let no physical backup go on: each begins with a checkpoint."""
        pid = self.process("checkpointer")
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def locked(self, table: str, database: str = "synapse") -> t.Iterator[None]:
        """Let no dump go on: each locks every table for itself."""
        argv = [str(self.tools / "psql"), "-XqAt", f"--host={self.socket}", f"--port={self.port}"]
        argv += ["--username=postgres", f"--dbname={database}"]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as psql:
            assert psql.stdin and psql.stdout
            psql.stdin.write(f"BEGIN; LOCK TABLE {table}; SELECT 'locked';\n")
            psql.stdin.flush()
            assert psql.stdout.readline() == "locked\n"
            try:
                yield
            finally:
                psql.stdin.close()

    def waits(self, condition: str) -> None:
        """Wait until a backend is in some condition."""
        until(lambda: self.sql(f"SELECT count(*) FROM pg_stat_activity WHERE {condition}") != "0")

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.postmaster(), number)


def make_owned(path: pathlib.Path) -> pathlib.Path:
    path.mkdir(mode=0o700)
    owner = pwd.getpwnam(USER)
    os.chown(path, owner.pw_uid, owner.pw_gid)
    return path


class Sets:
    """Sets of one server, made as the store makes them: in a hidden directory that is renamed when it is whole."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = make_owned(root)
        self.folder = make_owned(root / "sets")
        self.archive = make_owned(root / "wal")
        self._numbers = itertools.count(1)

    def take(self, driver: Driver, parent: Manifest | None = None) -> Manifest:
        number = next(self._numbers)
        name = f"set-{number}"
        hidden = make_owned(self.folder / f".partial-{name}")
        now = datetime.datetime.now(datetime.timezone.utc)
        part = driver.backup(str(hidden), parent, Deadline(120))
        manifest = Manifest(
            id=name,
            sequence=number,
            fleet="test",
            server="db1",
            created=now,
            finished=datetime.datetime.now(datetime.timezone.utc),
            kind=part.kind,
            parent=part.parent,
            chain=(*parent.chain, name) if parent else (name,),
            tool_versions=part.tool_versions,
            pg=part.pg,
            components={DATABASE: part.component()},
            timings=part.timings,
        )
        os.rename(hidden, self.folder / name)
        # What a restore sees has been through JSON.
        return Manifest.from_bytes(manifest.to_bytes())

    def chain(self, *manifests: Manifest) -> Chain:
        return [(str(self.folder / manifest.id), manifest) for manifest in manifests]


@contextlib.contextmanager
def copy_of(template: Cluster, base: pathlib.Path) -> t.Iterator[Cluster]:
    number = next(numbers)
    copy = Cluster(base / f"server{number}", template.major, template.port)
    make_owned(copy.base)
    make_owned(copy.socket)
    run("cp", "-a", str(template.data), str(copy.data))
    path = copy.data / "postgresql.conf"
    path.write_text(path.read_text().replace(str(template.socket), str(copy.socket)))
    try:
        copy.start()
        yield copy
    finally:
        with contextlib.suppress(AssertionError):
            copy.stop()
        shutil.rmtree(copy.base)


numbers = itertools.count(1)


Make = t.Callable[..., Native]


def until(condition: t.Callable[[], t.Any], seconds: float = 20) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.05)


def listing(path: pathlib.Path) -> list[str]:
    """Return all names below a directory."""
    return sorted(str(entry.relative_to(path)) for entry in path.rglob("*"))


class Background(threading.Thread):
    """Something that goes on while a test does something else. Its end is awaited, and its failure returned."""

    def __init__(self, act: t.Callable[[], t.Any]) -> None:
        super().__init__(daemon=True)
        self._act = act
        self.failure: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._act()
        except BaseException as error:
            self.failure = error

    def fails(self, seconds: float = 30) -> ProbeFailure:
        self.join(seconds)
        assert not self.is_alive(), "it did not end"
        assert isinstance(self.failure, ProbeFailure), f"it should have failed as backups fail: {self.failure!r}"
        return self.failure

    def succeeds(self, seconds: float = 60) -> None:
        self.join(seconds)
        assert not self.is_alive(), "it did not end"
        if self.failure:
            raise self.failure


def pids(*words: str) -> list[int]:
    """Return the processes whose command lines contain all of these words."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                if all(word in line for word in words):
                    found.append(int(entry.name))
    return found


def digests(path: pathlib.Path) -> dict[str, str]:
    """Return all files below a directory with their checksums."""
    return {
        str(entry.relative_to(path)): hashlib.sha256(entry.read_bytes()).hexdigest()
        for entry in sorted(path.rglob("*"))
        if entry.is_file()
    }
