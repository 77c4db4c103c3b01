"""State of rooms as Synapse stores it, the tool in forms that work and that fail, and the module as Ansible runs it."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
import json
import pathlib
import socket
import stat
import textwrap
import time
import typing as t
import venv
from dataclasses import dataclass

import psycopg2
import yaml
from ansible.module_utils.testing import patch_module_args
from clusters import Cluster

from ansible_collections.matrixon.ops.plugins.modules import matrixon_state_compression

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROFILES = {
    name: yaml.safe_load((ROOT / f"roles/matrixon/files/profiles/{name}.yml").read_text())
    for name in ("synapse", "matrixon")
}
MODULE = "synapse_auto_compressor"
PASSWORD = "s3cret 'canary' \\ \"of the tool\""
GROUPS, MEMBERS, ROOM = 500, 40, "!large:lab.test"
# As Synapse makes them, with what the module asks for.
SCHEMA = """
CREATE TABLE state_groups (id bigint PRIMARY KEY, room_id text NOT NULL, event_id text NOT NULL);
CREATE INDEX state_groups_room_id_idx ON state_groups (room_id);
CREATE TABLE state_groups_state (
    state_group bigint NOT NULL, room_id text NOT NULL, type text NOT NULL, state_key text NOT NULL,
    event_id text NOT NULL);
CREATE INDEX state_groups_state_type_idx ON state_groups_state (state_group, type, state_key);
CREATE TABLE state_group_edges (state_group bigint NOT NULL, prev_state_group bigint NOT NULL);
CREATE UNIQUE INDEX state_group_edges_unique_idx ON state_group_edges (state_group, prev_state_group);
CREATE INDEX state_group_edges_prev_idx ON state_group_edges (prev_state_group);
CREATE TABLE state_groups_pending_deletion (
    sequence_number bigint GENERATED ALWAYS AS IDENTITY, state_group bigint PRIMARY KEY, insertion_ts bigint NOT NULL);
CREATE TABLE background_updates (update_name text PRIMARY KEY, progress_json text NOT NULL, depends_on text);
"""
# A room in which somebody changes their name with each group. Each tenth group is stored whole, as Synapse does after
# so many steps or where it does not know what went before.
FILL = """
INSERT INTO state_groups SELECT i, '{room}', '$e' || i FROM generate_series({first}, {last}) i;
INSERT INTO state_group_edges SELECT i, i - 1 FROM generate_series({first}, {last}) i WHERE (i - {first}) % 10 <> 0;
INSERT INTO state_groups_state
    SELECT i, '{room}', 'm.room.member', '@user' || i % {members} || ':lab.test', '$e' || i
    FROM generate_series({first}, {last}) i WHERE (i - {first}) % 10 <> 0;
INSERT INTO state_groups_state
    SELECT i, '{room}', 'm.room.member', '@user' || m || ':lab.test',
        '$e' || CASE WHEN i - (i - m) % {members} >= {first} THEN i - (i - m) % {members} ELSE -m END
    FROM generate_series({first}, {last}, 10) i, generate_series(0, {members} - 1) m;
"""
_numbers = itertools.count()


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
    def facts(self) -> dict[str, t.Any]:
        return self.report["facts"]

    @property
    def statuses(self) -> dict[str, str]:
        return {one["name"]: one["status"] for one in self.report["checks"]}

    def check(self, name: str) -> dict[str, t.Any]:
        """The one check of that name."""
        found = [one for one in self.report["checks"] if one["name"] == name]
        assert len(found) == 1, self.report["checks"]
        return found[0]


def start(base: pathlib.Path, major: int) -> Cluster:
    """Start a server that asks for passwords at its address, and for none at its socket."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Cluster(base, major, port)
    server.make()
    with open(server.data / "postgresql.auto.conf", "a", encoding="utf-8") as file:
        file.write("listen_addresses = '127.0.0.1'\nautovacuum = off\n")
    (server.data / "pg_hba.conf").write_text(
        "local all,replication all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
    )
    server.start()
    server.psql("postgres", "CREATE ROLE synapse LOGIN PASSWORD :'password'", f"--set=password={PASSWORD}")
    return server


class Tools:
    """Interpreters with a module, each of which works or fails in its own way, and executables."""

    def __init__(self, base: pathlib.Path) -> None:
        self.base = base
        real = importlib.util.find_spec(MODULE)
        assert real and real.origin, f"{MODULE} is not installed; `make setup` does that"
        self.real = pathlib.Path(real.origin)
        self.python = self.interpreter("real", "")
        # Where PyPI's 0.1.4 was installed, this is what is there.
        self.shell = self.interpreter("shell", "__all__ = ['lib', 'ffi']\n", real=False)
        self.bare = self.interpreter("bare", "", real=False)

    def interpreter(self, name: str, before: str, real: bool = True) -> str:
        """Make an interpreter whose module runs ``before`` at each call, and then the real one if that is wanted."""
        base = self.base / name
        venv.create(base, symlinks=True)
        packages = next(base.glob("lib/python*/site-packages"))
        if real:
            (packages / self.real.name).symlink_to(self.real)
        if before:
            directory = packages / MODULE
            directory.mkdir()
            (directory / "__init__.py").write_text(before)
        return str(base / "bin/python")

    def wrapped(self, body: str) -> str:
        """Make an interpreter whose module has a function of this body, in which ``real(**given)`` is the real one."""
        code = f"""
import importlib.machinery, importlib.util, os, sys, time
import psycopg2
def real(**given):
    loader = importlib.machinery.ExtensionFileLoader({MODULE!r}, {str(self.real)!r})
    spec = importlib.util.spec_from_file_location({MODULE!r}, {str(self.real)!r}, loader=loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module.compress_state_events_table(**given)
def sql(given, statement):
    connection = psycopg2.connect(given["db_url"])
    connection.autocommit = True
    connection.cursor().execute(statement)
    connection.close()
def compress_state_events_table(**given):
{textwrap.indent(textwrap.dedent(body), "    ")}
"""
        name = f"wrapped{next(_numbers)}"
        python = self.interpreter(name, code, real=False)
        packages = next((self.base / name).glob("lib/python*/site-packages"))
        # Nothing but what it is to find there: the rest of the tests' packages stays away.
        for name in ("psycopg2", "psycopg2_binary.libs"):
            source = pathlib.Path(psycopg2.__file__).parents[1] / name
            if source.exists():
                (packages / name).symlink_to(source)
        return python

    def program(self, body: str = "") -> str:
        """Make an executable of the tool's name and options. The real one is built with Rust; this calls its module."""
        path = self.base / f"program{next(_numbers)}" / MODULE
        path.parent.mkdir()
        path.write_text(
            f"#!{self.python}\nimport sys, time\nimport {MODULE} as module\n"
            "given = dict(zip(sys.argv[1::2], sys.argv[2::2]))\n"
            f"open({str(path) + '.argv'!r}, 'a').write(repr(sys.argv) + chr(10))\n{body}\n"
            "module.compress_state_events_table(db_url=given['-p'], chunk_size=int(given['-c']),\n"
            "    number_of_chunks=int(given['-n']), default_levels=given['-l'])\n"
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)


class World:
    """One database with the tables of a homeserver."""

    def __init__(self, server: Cluster, tools: Tools, groups: int = GROUPS) -> None:
        self.server, self.tools = server, tools
        self.name = f"world{next(_numbers)}"
        server.sql(f"CREATE DATABASE {self.name} OWNER synapse")
        server.psql(self.name, f"SET ROLE synapse; {SCHEMA}")
        if int(server.sql("SHOW server_version_num")) >= 150000:
            server.sql("GRANT CREATE ON SCHEMA public TO synapse", self.name)
        self.room(1, groups)

    def room(self, first: int, last: int, room: str = ROOM) -> None:
        """Add groups to a room."""
        self.server.psql(self.name, FILL.format(first=first, last=last, room=room, members=MEMBERS))

    def drop(self) -> None:
        self.server.sql(f"DROP DATABASE {self.name} WITH (FORCE)")

    def sql(self, statement: str) -> str:
        return self.server.sql(statement, self.name)

    def rows(self) -> int:
        return int(self.sql("SELECT count(*) FROM state_groups_state"))

    def states(self) -> str:
        """What every group says, put together by a query of the test's own."""
        return self.sql("""
            WITH RECURSIVE chain(top, id, depth) AS (SELECT id, id, 0 FROM state_groups UNION ALL
                SELECT top, prev_state_group, depth + 1 FROM chain JOIN state_group_edges ON state_group = id)
            SELECT md5(string_agg(word, ',' ORDER BY word)) FROM (
                SELECT DISTINCT ON (top, s.type, s.state_key) concat_ws('|', top, s.type, s.state_key, s.event_id) word
                FROM chain JOIN state_groups_state s ON s.state_group = chain.id
                ORDER BY top, s.type, s.state_key, depth) w""")

    def fingerprint(self) -> str:
        """What is in the tables."""
        return self.sql("""
            SELECT md5(string_agg(s::text, ',' ORDER BY s::text)) || (SELECT md5(string_agg(e::text, ','
            ORDER BY e::text)) FROM state_group_edges e) || count(*) FROM state_groups_state s""")

    def ask(self, *, check_mode: bool = False, login: dict[str, t.Any] | None = None, **options: t.Any) -> Answer:
        """Call the module in this process: JSON in, JSON out. A process for each call would take most of the time."""
        given: dict[str, t.Any] = {
            "deployment": "test",
            "profile": "synapse",
            "target": "db1",
            "detail": "full",
            "way": PROFILES["synapse"]["state_compression"],
            "backup_sets": [backup_set()],
            "min_free": 0,
            "deadline": 60,
            "chunk_size": 200,
            **({} if "tool" in options else {"python": self.tools.python}),
            **options,
        }
        socket_login = {"host": str(self.server.socket), "port": self.server.port, "user": "postgres"}
        given["postgresql"] = {**socket_login, "database": self.name, **(login or {})}
        return run(given, check_mode)

    @property
    def address(self) -> dict[str, t.Any]:
        """The way in by the address, with a password."""
        return {"host": "127.0.0.1", "user": "synapse", "password": PASSWORD, "sslmode": "disable"}


def run(given: dict[str, t.Any], check_mode: bool = False) -> Answer:
    """Call the module in this process."""
    said = io.StringIO()
    arguments = {name: value for name, value in given.items() if value is not None}
    with (
        patch_module_args({**arguments, "_ansible_check_mode": check_mode}),
        contextlib.redirect_stdout(said),
        contextlib.suppress(SystemExit),
    ):
        matrixon_state_compression.main()
    return Answer(json.loads(said.getvalue()), said.getvalue())


def backup_set(age: float = 3600, status: str = "verified") -> dict[str, t.Any]:
    """A set of the database as matrixon_backup_info says it."""
    finished = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - age))
    return {"id": "20261101T020000Z-00aa", "status": status, "components": ["database"], "finished": finished}
