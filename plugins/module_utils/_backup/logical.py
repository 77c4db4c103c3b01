# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The database driver for portable dumps: pg_dump of the server's own version.

From version 16 on pg_dump itself compresses with zstd, several tables at the
same time. Before, it knows only gzip, and one stream through zstd takes a
third of the time and less room; where zstd is not installed it is gzip.

Each database is dumped in a snapshot in which every row is counted, so a
restore must come to exactly the same numbers. Roles with their passwords are
in the dump, too; without them nobody owns the tables.

A dump knows one moment only. It is for upgrades, for single tables and for
leaving an engine, and never the fast way back.
"""

from __future__ import annotations

import os
import re
import shutil
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster, tree
from ansible_collections.matrixon.ops.plugins.module_utils._backup.driver import (
    QUESTIONS,
    Chain,
    Reach,
    Stopwatch,
    check_chain,
    entries,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import (
    DATABASE,
    IMMEDIATE,
    LATEST,
    LOGICAL,
    Database,
    DatabasePart,
    Manifest,
    PostgresqlFacts,
    Target,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner, damaged, uninterrupted
from ansible_collections.matrixon.ops.plugins.module_utils._backup.scratch import Scratch
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, Deadline

NAME = "logical"
FOLDER = "db/logical"
GLOBALS = "globals.sql"
GLOBALS_END = "-- PostgreSQL database cluster dump complete"
# A guess of what is left of tables in a dump, which has no indexes. The disk has the last word.
COMPRESSED = 0.5
# How long pg_dump waits for a table that somebody alters, in milliseconds.
LOCK_WAIT = 300_000
# The database that every new cluster has.
FIRST_DATABASE = "postgres"

_TABLE_DATA = re.compile(r"^[0-9]+; [0-9]+ ([0-9]+) TABLE DATA ", re.MULTILINE)


DIRECTORY = "directory"
CUSTOM = "custom"
FIRST_WITH_ZSTD = 16
PACK = ["zstd", "-qc", "-3", "-T0"]
UNPACK = ["zstd", "-dcq"]


class Shape(t.NamedTuple):
    """How a database is dumped: pg_dump's format and compression, and what the name of the dump ends in."""

    format: str
    compression: str
    suffix: str


class Logical:
    """Dumps of all databases and roles.

    ``jobs`` is how many tables are dumped or loaded at the same time, where
    the format allows it. A restore needs no ``client``.
    """

    name = NAME

    def __init__(
        self,
        store: str,
        runner: Runner,
        client: cluster.Client | None = None,
        *,
        jobs: int = 2,
        durable: bool = True,
    ) -> None:
        self.store = store
        self._runner, self._client = runner, client
        self._jobs, self._durable = jobs, durable

    # --- before

    def problems(self) -> list[str]:
        """Return what stands in the way of a backup, a sentence each."""
        with self._server.session(Deadline(QUESTIONS)) as session:
            return problems(cluster.look(session), self._server.server.user, self.store)

    def estimate(self) -> int:
        """Return the bytes that a dump will need at most, as far as can be guessed."""
        with self._server.session(Deadline(QUESTIONS)) as session:
            return int(cluster.look(session).bytes * COMPRESSED)

    # --- backup

    def backup(self, directory: str, parent: Manifest | None, deadline: Deadline) -> DatabasePart:
        """Dump all databases into a set's directory."""
        server = self._server
        if parent:
            raise BackupError(INTERNAL, f"a dump stands alone and cannot add to set {parent.id}")
        with server.session(deadline) as session:
            running = cluster.look(session)
            names = cluster.database_names(session)
            superuser = session.value("SELECT pg_get_userbyid(10)")
        folder = os.path.join(directory, FOLDER)
        self._runner.make_directory(os.path.dirname(folder))
        self._runner.make_directory(folder)
        shape = choose(running, bool(shutil.which("zstd")))
        clock = Stopwatch()
        self._dump_globals(os.path.join(folder, GLOBALS), deadline)
        dumps, counted = {}, {}
        with cluster.counting(server, names, deadline) as counts:
            for number, (name, count) in enumerate(counts.items(), 1):
                snapshot = count.export()
                count.start()
                dumps[name] = f"{number}-{re.sub('[^A-Za-z0-9._-]', '_', name)}{shape.suffix}"
                path = os.path.join(folder, dumps[name])
                self._dump(name, path, snapshot, shape, deadline)
                counted[name] = count.finish()
                clock.lap(f"dump {name}")
                self._check(name, path, shape, counted[name], deadline)
        described = cluster.with_tables(cluster.facts(server, deadline), counted, counted)
        files = entries(directory, FOLDER, deadline)
        clock.lap("checksum")
        return DatabasePart(
            driver=self.name,
            kind=LOGICAL,
            pg=described,
            files=files,
            bytes=sum(entry.bytes for entry in files),
            tool_versions={"pg_dump": described.version},
            detail={"dumps": dumps, "superuser": superuser, "format": shape.format, "compression": shape.compression},
            timings=clock.laps,
        )

    def _dump_globals(self, path: str, deadline: Deadline) -> None:
        server = self._server
        # Places of tablespaces mean nothing on another host.
        argv = [server.tool("pg_dumpall"), *server.options(), f"--database={server.server.database}"]
        argv += ["--globals-only", "--no-tablespaces", "--no-sync"]
        server.runner.run(argv, deadline, target=path, doing="the dump of the roles")
        with open(path, "rb") as file:
            if GLOBALS_END.encode() not in file.read():
                raise BackupError(INTERNAL, "the dump of the roles has no end, though pg_dumpall said it was well")

    def _dump(self, name: str, path: str, snapshot: str, shape: Shape, deadline: Deadline) -> None:
        server = self._server
        argv = [server.tool("pg_dump"), *server.options(name), f"--format={shape.format}"]
        argv += [f"--compress={shape.compression}", f"--snapshot={snapshot}", "--no-sync"]
        # It tells only how the database itself is made; the rest is told when it is loaded.
        argv += [f"--lock-wait-timeout={LOCK_WAIT}", "--no-unlogged-table-data", "--no-tablespaces"]
        doing = f"the dump of database {name}"
        if shape.format == DIRECTORY:
            server.runner.run([*argv, f"--jobs={self._jobs}", f"--file={path}"], deadline, doing=doing)
        else:
            server.runner.pipe([argv, PACK], deadline, target=path, doing=doing)

    def _check(self, name: str, dump: str, shape: Shape, counted: list[cluster.Counted], deadline: Deadline) -> None:
        """Keep the dump's own table of contents beside it, and find every table in it."""
        path = f"{dump}.list.txt"
        argv = [self._server.tool("pg_restore"), "--list"]
        if shape.format == DIRECTORY:
            self._runner.run([*argv, dump], deadline, target=path)
        else:
            # It stands at the beginning, and the rest is not read.
            self._runner.pipe([UNPACK, argv], deadline, source=dump, target=path, early=True)
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            listed = set(_TABLE_DATA.findall(file.read()))
        missing = [f"{table.schema}.{table.name}" for table in counted if str(table.oid) not in listed]
        if missing:
            raise BackupError(INTERNAL, f"the dump of database {name} lacks the rows of {', '.join(missing)}")

    @property
    def _server(self) -> cluster.Client:
        if self._client is None:
            raise BackupError(INTERNAL, "a backup needs a server, and none was named")
        return self._client

    # --- restore

    def reach(self, chain: Chain, target: Target, deadline: Deadline) -> Reach:
        """Return what the target means: a dump can only be restored as it is."""
        check_chain(chain, self.name)
        if target.kind not in (LATEST, IMMEDIATE):
            raise BackupError(
                INTERNAL,
                f"target: {target} cannot be reached with set {chain[-1][1].id}, which is a dump of one moment; "
                "take a physical set with an archive of the log",
            )
        return Reach(0, (), {})

    def restore(self, chain: Chain, directory: str, target: Target, deadline: Deadline) -> None:
        """Make a new cluster like the one that was dumped, load everything, and count its rows."""
        pg = check_chain(chain, self.name)
        tools = cluster.programs(pg.major, "initdb")
        self.reach(chain, target, deadline)
        if problem := cluster.empty_problem(directory):
            raise BackupError(INTERNAL, problem)
        needed = sum(database.bytes for database in pg.databases) + 8 * pg.segment_bytes
        cluster.require_room(directory, needed)
        place, manifest = chain[-1]
        _require_whole(place, manifest, deadline)
        superuser = str(manifest.components[DATABASE].detail["superuser"])
        with cluster.occupied(directory, self._runner):
            argv = [os.path.join(tools, "initdb"), f"--pgdata={directory}", *initdb_options(pg, superuser)]
            self._runner.run(argv, deadline, doing="making a cluster")
            # Nothing of value is in it before it is whole, so its log need not bring it back.
            settings = {"wal_level": "minimal", "max_wal_size": "16GB"}
            with Scratch(directory, None, self._runner, tools, superuser, settings) as server:
                server.start(deadline)
                self._load_globals(server.client(), place, superuser, deadline)
                for database in pg.databases:
                    self._load(server.client(), place, manifest, database.name, None, deadline)
                _compare(server.client(), manifest.id, {database.name: database for database in pg.databases}, deadline)
                server.stop(deadline)
            if self._durable:
                self._runner.run(["sync", "-f", directory], deadline)

    def _load_globals(self, client: cluster.Client, place: str, superuser: str, deadline: Deadline) -> None:
        with open(os.path.join(place, FOLDER, GLOBALS), encoding="utf-8", errors="surrogateescape") as file:
            text = without_role(file.read(), superuser)
        argv = [client.tool("psql"), "-Xq", "--set=ON_ERROR_STOP=1", *client.options("postgres"), "--file=-"]
        client.runner.run(argv, deadline, stdin=text.encode("utf-8", "surrogateescape"), doing="making the roles")

    def _load(
        self, client: cluster.Client, place: str, manifest: Manifest, name: str, into: str | None, deadline: Deadline
    ) -> None:
        """Load one database, as itself or into another that is there and empty."""
        detail = manifest.components[DATABASE].detail
        dump = os.path.join(place, FOLDER, str(detail["dumps"][name]))
        argv = [client.tool("pg_restore"), "--exit-on-error", "--no-tablespaces", f"--format={detail['format']}"]
        if into is not None:
            argv += client.options(into)
        elif name == FIRST_DATABASE:
            argv += client.options(name)
        else:
            # That way it gets its encoding, its locale, its settings and its rights.
            argv += ["--create", *client.options(FIRST_DATABASE)]
        doing = f"loading database {name}"
        if detail["format"] == DIRECTORY:
            client.runner.run([*argv, f"--jobs={self._jobs}", dump], deadline, doing=doing)
        else:
            client.runner.pipe([UNPACK, argv], deadline, source=dump, doing=doing)

    def restore_beside(
        self, client: cluster.Client, link: tuple[str, Manifest], name: str, beside: str, deadline: Deadline
    ) -> None:
        """Load one database of a set into a running server, under a name that is not taken, and count its rows.

        The roles must be there. Settings and rights of the database itself
        are not taken over; those of what is in it are. Whatever goes wrong,
        the server is as it was before.
        """
        place, manifest = link
        pg = check_chain([link], self.name)
        database = next((database for database in pg.databases if database.name == name), None)
        if database is None:
            raise BackupError(INTERNAL, f"set {manifest.id} holds no database {name}")
        if client.major < pg.major:
            raise BackupError(
                INTERNAL,
                f"set {manifest.id} is of PostgreSQL {pg.major}, and {client.server} is of {client.major}; "
                "a dump can be loaded into its own version or a later one",
            )
        _require_whole(place, manifest, deadline)
        with client.session(deadline) as session:
            if beside in [row["datname"] for row in session.rows("SELECT datname FROM pg_database")]:
                raise BackupError(INTERNAL, f"{client.server} has a database {beside} already; choose another name")
            with uninterrupted():
                session.execute(create_database(beside, database, pg))
        try:
            self._load(client, place, manifest, name, beside, deadline)
            _compare(client, manifest.id, {beside: database}, deadline)
        except BaseException:
            with uninterrupted(), client.session(Deadline(QUESTIONS)) as session:
                session.execute(f"DROP DATABASE {cluster.quoted(beside)} WITH (FORCE)")
            raise


def _require_whole(place: str, manifest: Manifest, deadline: Deadline) -> None:
    """Refuse a dump of which a byte is another one. What pg_dump compresses with zstd would be loaded all the same."""
    read = tree.verify(place, manifest.components[DATABASE].files, deadline)
    if read.bad:
        raise damaged(f"set {manifest.id} is damaged: {'; '.join(read.bad[:3])}")


def swap(client: cluster.Client, name: str, beside: str, kept: str, deadline: Deadline) -> None:
    """Let a database take another's place in one step. The old one stays, under the name ``kept``."""
    with client.session(deadline) as session:
        users = session.rows(
            f"SELECT DISTINCT application_name AS name FROM pg_stat_activity WHERE datname = {cluster.literal(name)}"
        )
        if users:
            who = ", ".join(sorted(row["name"] or "one without a name" for row in users))
            raise BackupError(INTERNAL, f"database {name} is still in use by {who}; stop what uses it first")
        session.execute(
            f"BEGIN; ALTER DATABASE {cluster.quoted(name)} RENAME TO {cluster.quoted(kept)}; "
            f"ALTER DATABASE {cluster.quoted(beside)} RENAME TO {cluster.quoted(name)}; COMMIT"
        )


# --- pure parts


def problems(running: cluster.Running, user: str, store: str) -> list[str]:
    """Return what stands in the way of a dump of a server, a sentence each."""
    found = []
    if not running.superuser:
        found.append(
            f"the role {user} is no superuser, so the dump would be without the passwords of the roles; "
            "use the cluster's own superuser over its socket"
        )
    if running.data_directory and cluster.inside(store, running.data_directory):
        found.append(
            f"the store {store} lies inside the data directory {running.data_directory}, so it would be lost with it; "
            "choose another place"
        )
    return found


def choose(running: cluster.Running, zstd: bool) -> Shape:
    """Return how a server's databases are dumped. ``zstd`` says whether the tool of that name is installed."""
    if running.major >= FIRST_WITH_ZSTD and running.zstd:
        return Shape(DIRECTORY, "zstd:3", "")
    if zstd:
        return Shape(CUSTOM, "0", ".dump.zst")
    # Its lowest level is twice as fast as its own choice, for a twentieth more bytes.
    return Shape(DIRECTORY, "1", "")


def initdb_options(pg: PostgresqlFacts, superuser: str) -> list[str]:
    """Return what makes a new cluster like another one."""
    options = [
        f"--username={superuser}",
        f"--encoding={pg.encoding}",
        f"--lc-collate={pg.collate}",
        f"--lc-ctype={pg.ctype}",
        f"--wal-segsize={pg.segment_bytes // (1024 * 1024)}",
        "--auth-local=peer",
        "--auth-host=scram-sha-256",
        "--no-sync",
    ]
    if pg.locale_provider != "libc":
        options += [f"--locale-provider={pg.locale_provider}", f"--{pg.locale_provider}-locale={pg.locale}"]
    if pg.checksums:
        options.append("--data-checksums")
    elif pg.major >= 18:
        # From there on they are on if nobody says no.
        options.append("--no-data-checksums")
    return options


def without_role(text: str, superuser: str) -> str:
    """Return the statements that make roles without the one for the role that a new cluster has already."""
    skipped = {f"CREATE ROLE {superuser};", f"CREATE ROLE {cluster.quoted(superuser)};"}
    return "".join(line for line in text.splitlines(keepends=True) if line.strip() not in skipped)


def create_database(name: str, database: Database, pg: PostgresqlFacts) -> str:
    """Return the statement that makes an empty database with the encoding and locale of one that was dumped."""
    own = database.encoding is not None
    provider = (database.locale_provider if own else pg.locale_provider) or "libc"
    locale = database.locale if own else pg.locale
    words = [f"CREATE DATABASE {cluster.quoted(name)} TEMPLATE template0"]
    if database.owner:
        words.append(f"OWNER {cluster.quoted(database.owner)}")
    pairs = [
        ("ENCODING", database.encoding or pg.encoding),
        ("LC_COLLATE", database.collate or pg.collate),
        ("LC_CTYPE", database.ctype or pg.ctype),
    ]
    if pg.major >= 15:
        pairs.append(("LOCALE_PROVIDER", provider))
    if provider != "libc" and locale:
        pairs.append((f"{provider.upper()}_LOCALE", locale))
    return " ".join([*words, *(f"{key} {cluster.literal(value)}" for key, value in pairs)])


def _compare(client: cluster.Client, set_id: str, expected: t.Mapping[str, Database], deadline: Deadline) -> None:
    """Fail unless every table has exactly the rows that were counted in the dump's snapshot."""
    found = cluster.count_rows(client, expected, deadline)
    for name, database in expected.items():
        rows = {(table.schema, table.name): table.rows for table in found[name]}
        for table in database.tables:
            number = rows.get((table.schema, table.name))
            if number != table.rows_after:
                raise damaged(
                    f"set {set_id}: table {table.schema}.{table.name} of database {name} has "
                    f"{'gone' if number is None else f'{number} rows'}, and the dump had {table.rows_after}"
                )
