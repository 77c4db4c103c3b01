# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""PostgreSQL clusters as backups need them: what a running one is, and scratch ones of our own.

Questions go through psql, run as an OS user: so peer authentication works, and
no Python package is needed on a database host. Passwords go by a file that
only that user can read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import json
import os
import re
import secrets
import shutil
import tempfile
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import Database, PostgresqlFacts, Table
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import (
    Conversation,
    Runner,
    complaint,
    uninterrupted,
)
from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import APPLICATION_NAME, Server
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    INTERNAL,
    MISSING_TOOL,
    Deadline,
)

# Where distributions put the tools of each major version.
PROGRAMS = ("/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin", "/opt/postgresql/{}/bin")
PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}

# A path at which nothing can be: passwords are not to be found in the user's home by chance.
NO_FILE = "/dev/null/none"

Row = dict[str, t.Any]


# --- tools


def programs(major: int, tool: str = "pg_restore") -> str:
    """Return the directory with the tools of a major version, or fail with what is here instead.

    The tool that is named must be there; some come with the server only.
    """
    for pattern in PROGRAMS:
        if os.access(os.path.join(pattern.format(major), tool), os.X_OK):
            return pattern.format(major)
    others = ", ".join(str(number) for number in installed()) or "none"
    raise BackupError(
        MISSING_TOOL,
        f"{tool} of PostgreSQL {major} is not installed on this host (found tools of: {others}); the data needs the "
        f"tools of its own major version, so install postgresql-{major}",
    )


def installed() -> list[int]:
    """Return the major versions whose tools are here, newest first."""
    found = set()
    for pattern in PROGRAMS:
        for path in glob.glob(os.path.join(pattern.format("*"), "psql")):
            if match := re.fullmatch(pattern.format("([0-9]+)"), os.path.dirname(path)):
                found.add(int(match[1]))
    return sorted(found, reverse=True)


def _psql() -> str:
    for major in installed():
        return os.path.join(programs_of_psql(major), "psql")
    found = shutil.which("psql")
    if not found:
        raise BackupError(MISSING_TOOL, "no psql is installed on this host; install postgresql-client")
    return found


def programs_of_psql(major: int) -> str:
    """Return the directory with psql of a major version that ``installed`` named."""
    paths = (pattern.format(major) for pattern in PROGRAMS)
    return next(path for path in paths if os.path.exists(os.path.join(path, "psql")))


# --- asking


@dataclass(frozen=True)
class Client:
    """A server and how its tools are run.

    ``programs`` is the directory with the tools of the server's own major
    version, which is ``major``.
    """

    server: Server
    runner: Runner
    programs: str
    major: int

    def tool(self, name: str) -> str:
        """Return the path of a tool of the server's own version."""
        return os.path.join(self.programs, name)

    def options(self, database: str | None = None) -> list[str]:
        """Return what a tool is told about the server. Never a password."""
        server = self.server
        options = [f"--host={server.host}", f"--port={server.port}", f"--username={server.user}", "--no-password"]
        return [*options, f"--dbname={conninfo(database)}"] if database is not None else options

    def session(self, deadline: Deadline, database: str | None = None) -> Session:
        """Open a session with one of the server's databases."""
        return Session(self, self.server.database if database is None else database, deadline)

    def run(self, deadline: Deadline, name: str, *arguments: str, **options: t.Any) -> str:
        """Run a tool of the server's version with the server's address, and return its output."""
        argv = [self.tool(name), *self.options(), *arguments]
        return self.runner.run(argv, deadline, **options).out


@contextlib.contextmanager
def client(server: Server, runner: Runner, deadline: Deadline) -> t.Iterator[Client]:
    """Reach a server, find the tools of its major version, and keep its password in a file meanwhile."""
    variables = {
        "PGAPPNAME": APPLICATION_NAME,
        "PGCLIENTENCODING": "UTF8",
        "PGGSSENCMODE": "disable",
        "PGPASSFILE": NO_FILE,
        **({} if server.socket_path else {"PGSSLMODE": server.sslmode}),
        **({"PGSSLROOTCERT": server.ca_file} if server.ca_file else {}),
    }
    with contextlib.ExitStack() as stack:
        if server.password is not None:
            variables["PGPASSFILE"] = stack.enter_context(_password_file(server, runner))
        ready = runner.with_environment(**variables)
        with Session(Client(server, ready, os.path.dirname(_psql()), 0), server.database, deadline) as session:
            major = int(session.value("SELECT current_setting('server_version_num')::int / 10000"))
        yield Client(server, ready, programs(major), major)


@contextlib.contextmanager
def _password_file(server: Server, runner: Runner) -> t.Iterator[str]:
    password = server.password or ""
    if "\n" in password:
        raise BackupError(INTERNAL, f"{server}: no password can have a line end")
    folder = tempfile.mkdtemp(prefix="matrixon-")
    try:
        path = os.path.join(folder, "passfile")
        with runner.create(path) as file:
            escaped = password.replace("\\", "\\\\").replace(":", "\\:")
            file.write(f"*:*:*:*:{escaped}\n".encode())
        give(folder, runner)
        yield path
    finally:
        with uninterrupted():
            shutil.rmtree(folder, ignore_errors=True)


def give(path: str, runner: Runner) -> None:
    if runner.user and runner.user.uid != os.geteuid():
        os.chown(path, runner.user.uid, runner.user.gid)


def conninfo(database: str) -> str:
    """Return a connection string for a database. A bare name with = in it would be read as one."""
    return "dbname='" + database.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quoted(name: str) -> str:
    """Return a name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as SQL writes it, whatever the server thinks of backslashes."""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'"


class Session:
    """A conversation with one database through psql. The first error ends it."""

    def __init__(self, client: Client, database: str, deadline: Deadline) -> None:
        self.client = client
        self.database = database
        self._deadline = deadline
        self._pending: list[str] = []
        self._doing = f"{client.server}, database {database}"
        argv = [client.tool("psql"), "-XqAt", "--set=ON_ERROR_STOP=1", *client.options(database)]
        self._psql: Conversation = client.runner.converse(argv)
        try:
            # What the server's owner, the database or the role set must not cut this short, nor change the meaning.
            milliseconds = max(1, int(deadline.remaining() * 1000))
            self.execute(
                f"SET statement_timeout = {milliseconds}; SET lock_timeout = 0; "
                "SET idle_in_transaction_session_timeout = 0; SET standard_conforming_strings = on; "
                "SET row_security = off; SELECT pg_catalog.set_config('search_path', '', false)"
            )
        except BaseException:
            self.close()
            raise

    def execute(self, sql: str) -> list[str]:
        """Run statements and return the lines that they print."""
        self.send(sql)
        return self.receive()

    def rows(self, sql: str) -> list[Row]:
        """Return what one query yields, with JSON's types."""
        lines = self.execute(f"SELECT coalesce(json_agg(row_to_json(q)), '[]') FROM ({sql}\n) AS q")
        return t.cast("list[Row]", json.loads("\n".join(lines)))

    def row(self, sql: str) -> Row:
        """Return the first row of a query that always yields one."""
        return self.rows(sql)[0]

    def value(self, sql: str) -> str:
        """Return the one value of a query as text."""
        return "\n".join(self.execute(sql))

    def send(self, sql: str) -> None:
        """Start statements without waiting for what they print. ``receive`` returns that, in the same order."""
        mark = secrets.token_hex(8)
        self._psql.send(f"{sql}\n;\n\\echo {mark}\n", self._deadline, self._doing)
        self._pending.append(mark)

    def receive(self) -> list[str]:
        """Return what the oldest statements print that nobody received yet."""
        mark = self._pending.pop(0)
        lines: list[str] = []
        while True:
            line = self._psql.line(self._deadline, self._doing)
            if line is None:
                raise self._psql.failure(self._doing)
            if line == mark:
                return lines
            lines.append(line)

    def words(self) -> str:
        """Return what it has complained of so far."""
        return self._psql.child.words()

    def close(self) -> None:
        """End it; what runs on the server is cancelled at the deadline."""
        self._psql.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


# --- what a running server is


class Running(t.NamedTuple):
    """What decides whether a server can be backed up, and how.

    ``zstd`` is None where the server does not say how it was built.
    ``tablespaces`` are (name, place) of those that lie outside of the data
    directory; ``bytes`` the size of all databases.
    """

    version: str
    major: int
    data_directory: str
    in_recovery: bool
    superuser: bool
    replication: bool
    reads_all: bool
    wal_level: str
    max_wal_senders: int
    summarize_wal: bool
    zstd: bool | None
    tablespaces: tuple[tuple[str, str], ...]
    bytes: int
    segment_bytes: int


def look(session: Session) -> Running:
    """Return what the server says about itself that a backup must know first."""
    row = session.row(
        """
        SELECT current_setting('server_version') AS version,
            current_setting('server_version_num')::int / 10000 AS major,
            (SELECT setting FROM pg_settings WHERE name = 'data_directory') AS data_directory,
            pg_is_in_recovery() AS in_recovery,
            r.rolsuper AS superuser, r.rolsuper OR r.rolreplication AS replication,
            r.rolsuper OR pg_has_role(r.oid, 'pg_read_all_data', 'usage') AS reads_all,
            current_setting('wal_level') AS wal_level,
            current_setting('max_wal_senders')::int AS max_wal_senders,
            coalesce(current_setting('summarize_wal', true), 'off') = 'on' AS summarize_wal,
            (SELECT json_agg(json_build_array(spcname, pg_tablespace_location(oid)))
                FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')) AS tablespaces,
            (SELECT sum(pg_database_size(oid)) FROM pg_database) AS bytes,
            (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size') AS segment_bytes
        FROM pg_roles r WHERE r.rolname = current_user
        """
    )
    zstd = None
    if row["superuser"]:
        zstd = "--with-zstd" in session.value("SELECT setting FROM pg_config WHERE name = 'CONFIGURE'")
    return Running(
        version=row["version"].split()[0],
        major=row["major"],
        data_directory=row["data_directory"] or "",
        in_recovery=row["in_recovery"],
        superuser=row["superuser"],
        replication=row["replication"],
        reads_all=row["reads_all"],
        wal_level=row["wal_level"],
        max_wal_senders=row["max_wal_senders"],
        summarize_wal=row["summarize_wal"],
        zstd=zstd,
        tablespaces=tuple((name, place) for name, place in row["tablespaces"] or ()),
        bytes=int(row["bytes"]),
        segment_bytes=int(row["segment_bytes"]),
    )


def database_names(session: Session) -> list[str]:
    """Return the databases that hold data: all that take connections, without templates."""
    rows = session.rows("SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname")
    return [row["datname"] for row in rows]


def facts(client: Client, deadline: Deadline) -> PostgresqlFacts:
    """Return what the manifest says of a server, without positions in its log and without tables."""
    with client.session(deadline) as session:
        server = session.row(
            """
            SELECT current_setting('server_version') AS version,
                current_setting('server_version_num')::int / 10000 AS major,
                (SELECT system_identifier FROM pg_control_system())::text AS system_identifier,
                current_setting('data_checksums') = 'on' AS checksums,
                (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size') AS segment_bytes
            """
        )
        # Which columns tell of the locale has changed in 15, 16 and 17.
        described = session.rows(
            """
            SELECT to_json(d) AS database, pg_encoding_to_char(d.encoding) AS encoding,
                pg_get_userbyid(d.datdba) AS owner, pg_get_userbyid(10) AS first_owner,
                CASE WHEN d.datallowconn THEN pg_database_size(d.oid) ELSE 0 END AS bytes
            FROM pg_database d ORDER BY d.datname
            """
        )
    databases = {row["database"]["datname"]: row for row in described}
    base = databases["template0"]
    names = [
        name
        for name, row in databases.items()
        if row["database"]["datallowconn"] and not row["database"]["datistemplate"]
    ]
    extensions: dict[str, str] = {}
    for name in names:
        with client.session(deadline, name) as session:
            found = session.rows("SELECT extname, extversion FROM pg_extension ORDER BY extname")
            extensions.update((row["extname"], row["extversion"]) for row in found)
    collate, ctype, provider, locale = _locale(base["database"])
    return PostgresqlFacts(
        version=server["version"].split()[0],
        major=server["major"],
        system_identifier=server["system_identifier"],
        encoding=base["encoding"],
        collate=collate,
        ctype=ctype,
        locale_provider=provider,
        locale=locale,
        checksums=server["checksums"],
        segment_bytes=server["segment_bytes"],
        extensions=extensions,
        databases=tuple(_database(name, databases[name], base) for name in names),
    )


def _locale(row: Row) -> tuple[str, str, str, str | None]:
    """Return collation, ctype, provider and the provider's own name of a row of pg_database."""
    provider = PROVIDERS.get(row.get("datlocprovider", "c"), "libc")
    return row["datcollate"], row["datctype"], provider, row.get("datlocale", row.get("daticulocale"))


def _database(name: str, row: Row, base: Row) -> Database:
    """Return a database with what differs from the cluster's own."""
    same = row["encoding"] == base["encoding"] and _locale(row["database"]) == _locale(base["database"])
    collate, ctype, provider, locale = _locale(row["database"])
    return Database(
        name=name,
        bytes=int(row["bytes"]),
        owner=None if row["owner"] == row["first_owner"] else row["owner"],
        encoding=None if same else row["encoding"],
        collate=None if same else collate,
        ctype=None if same else ctype,
        locale_provider=None if same else provider,
        locale=None if same else locale,
    )


# --- counting


class Counted(t.NamedTuple):
    """One table in one snapshot: its rows, and the counters of rows ever inserted and deleted."""

    oid: int
    schema: str
    name: str
    rows: int
    inserted: int
    deleted: int


TABLES = """
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name,
    coalesce(pg_stat_get_tuples_inserted(c.oid), 0) AS inserted,
    coalesce(pg_stat_get_tuples_deleted(c.oid), 0) AS deleted
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_'
    AND NOT EXISTS (
        SELECT FROM pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 2, 3
"""


class Count:
    """Counts every row of a database in one snapshot, while its caller does something else.

    Tables that are not logged are left out, because no physical copy has
    them; those of extensions, because no dump has them.
    """

    def __init__(self, client: Client, database: str, deadline: Deadline) -> None:
        self._session = client.session(deadline, database)
        self.database = database
        try:
            self._session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            self._tables = self._session.rows(TABLES)
        except BaseException:
            self._session.close()
            raise

    def export(self) -> str:
        """Return the name under which others can use the same snapshot, as long as this is open."""
        return self._session.value("SELECT pg_export_snapshot()")

    def start(self) -> None:
        """Let the server count."""
        # A table that is dropped now must not end the others' counting.
        lines = ["\\set ON_ERROR_STOP 0", "\\set ON_ERROR_ROLLBACK on"]
        lines += [
            f"SELECT {place}, count(*) FROM ONLY {quoted(table['schema'])}.{quoted(table['name'])};"
            for place, table in enumerate(self._tables)
        ]
        self._session.send("\n".join(lines))

    def finish(self) -> list[Counted]:
        """Return what was counted. Tables that were dropped meanwhile are left out."""
        answers = dict(line.split("|") for line in self._session.receive())
        rows = {int(place): int(number) for place, number in answers.items()}
        lost = [table for place, table in enumerate(self._tables) if place not in rows]
        if lost:
            self._explain(lost)
        return [
            Counted(table["oid"], table["schema"], table["name"], rows[place], table["inserted"], table["deleted"])
            for place, table in enumerate(self._tables)
            if place in rows
        ]

    def _explain(self, lost: list[Row]) -> None:
        """Fail if a table that was not counted is still there."""
        oids = ",".join(str(table["oid"]) for table in lost)
        self._session.execute("\\set ON_ERROR_STOP 1\nROLLBACK")
        there = self._session.rows(f"SELECT oid::regclass::text AS name FROM pg_class WHERE oid IN ({oids})")
        if there:
            words = complaint(self._session.words())
            raise BackupError(
                INTERNAL,
                f"the rows of {there[0]['name']} in database {self.database} could not be counted: {words}",
            )

    def close(self) -> None:
        """End the snapshot."""
        self._session.close()


@contextlib.contextmanager
def counting(client: Client, names: t.Iterable[str], deadline: Deadline) -> t.Iterator[dict[str, Count]]:
    """Take a snapshot of each database, and let go of them at the end."""
    counts: dict[str, Count] = {}
    try:
        for name in names:
            counts[name] = Count(client, name, deadline)
        yield counts
    finally:
        with uninterrupted():
            for count in counts.values():
                count.close()


def count_rows(client: Client, names: t.Iterable[str], deadline: Deadline) -> dict[str, list[Counted]]:
    """Count every row of these databases, all databases at once."""
    with counting(client, names, deadline) as counts:
        for count in counts.values():
            count.start()
        return {name: count.finish() for name, count in counts.items()}


def tables(before: list[Counted], after: list[Counted]) -> tuple[Table, ...]:
    """Return a database's tables by two counts. Those that only one of them saw came or went meanwhile."""
    earlier = {table.oid: table for table in before}
    return tuple(
        Table(
            schema=table.schema,
            name=table.name,
            rows_before=first.rows,
            rows_after=table.rows,
            inserted=max(0, table.inserted - first.inserted),
            deleted=max(0, table.deleted - first.deleted),
        )
        for table in after
        if (first := earlier.get(table.oid))
    )


def with_tables(
    described: PostgresqlFacts, before: dict[str, list[Counted]], after: dict[str, list[Counted]]
) -> PostgresqlFacts:
    """Return the facts with the tables of each database that both counts saw."""
    databases = tuple(
        dataclasses.replace(database, tables=tables(before[database.name], after[database.name]))
        for database in described.databases
        if database.name in before and database.name in after
    )
    return dataclasses.replace(described, databases=databases)


def bounds(table: Table) -> tuple[int, int]:
    """Return the fewest and the most rows that a table can have had between its two counts."""
    before, after = table.rows_before, table.rows_after
    low = max(before - table.deleted, after - table.inserted)
    high = min(before + table.inserted, after + table.deleted)
    return min(before, after, low), max(before, after, high)


def shrunk(before: PostgresqlFacts, after: PostgresqlFacts, percent: float) -> list[str]:
    """Return sentences about data that was there at the last set and is gone, by more than so many percent of rows.

    A dump of the wrong or of a freshly made server is whole, and still no backup.
    """
    sentences = []
    now = {database.name: database for database in after.databases}
    for database in before.databases:
        rows = sum(table.rows_after for table in database.tables)
        if database.name not in now:
            if rows:
                sentences.append(f"database {database.name} with {rows} rows is not there any more")
            continue
        left = sum(table.rows_after for table in now[database.name].tables)
        if left < rows * (1 - percent / 100):
            sentences.append(f"database {database.name} had {rows} rows and has {left} now")
    if before.system_identifier != after.system_identifier:
        sentences.append(
            f"this is another cluster: system identifier {after.system_identifier} instead of "
            f"{before.system_identifier}"
        )
    return sentences


# --- places


def free_bytes(path: str) -> int:
    """Return the room on the file system of a path that need not exist yet."""
    while not os.path.isdir(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def inside(path: str, directory: str) -> bool:
    """Say whether a path lies in a directory, or is it, whatever links lead there."""
    path, directory = os.path.realpath(path), os.path.realpath(directory)
    return os.path.commonpath([path, directory]) == directory


def empty_problem(directory: str) -> str | None:
    """Return why nothing may be written to a directory, or None: it must be absent or empty."""
    if not os.path.isabs(directory):
        return f"{directory!r} is no absolute path"
    if not os.path.lexists(directory):
        parent = os.path.dirname(os.path.normpath(directory))
        return None if os.path.isdir(parent) else f"{directory} cannot be made, because {parent} is no directory"
    if os.path.islink(directory) or not os.path.isdir(directory):
        return f"{directory} is no directory"
    if os.path.ismount(directory) and os.listdir(directory) == ["lost+found"]:
        return f"{directory} is a mount point with a lost+found in it; use a directory below it"
    if os.listdir(directory):
        return f"{directory} is not empty, and a restore writes over nothing; name another directory"
    return None


def occupy(directory: str, runner: Runner) -> None:
    """Make a directory ours that is absent or empty."""
    problem = empty_problem(directory)
    if problem:
        raise BackupError(INTERNAL, problem)
    if not os.path.isdir(directory):
        runner.make_directory(directory)
        return
    os.chmod(directory, 0o700)
    give(directory, runner)


@contextlib.contextmanager
def occupied(directory: str, runner: Runner) -> t.Iterator[None]:
    """Make a directory ours that is absent or empty, and leave it like that again if this block fails."""
    existed = os.path.isdir(directory)
    occupy(directory, runner)
    try:
        yield
    except BaseException:
        with uninterrupted():
            clear(directory)
            if not existed:
                os.rmdir(directory)
        raise


def require_room(path: str, needed: int) -> None:
    """Fail unless so many bytes have a place at a path, which need not exist yet."""
    free = free_bytes(path)
    if free < needed:
        raise BackupError(
            INTERNAL,
            f"{path} has no room: {human(needed, 'B')} are needed and {human(free, 'B')} are free; "
            "make room there, or use another file system",
            {"no_space": True},
        )


def running_on(data: str) -> int | None:
    """Return the process of the server that runs on a data directory, or None. Where nobody can tell, it runs."""
    try:
        with open(os.path.join(data, "postmaster.pid"), encoding="ascii", errors="replace") as file:
            pid = int(file.readline())
    except (FileNotFoundError, ValueError):
        return None
    try:
        # A server stands in its data directory; after a crash the number may be anybody's.
        return pid if os.path.samefile(f"/proc/{pid}/cwd", data) else None
    except FileNotFoundError:
        return None
    except PermissionError:
        # In a container even root may not look.
        return pid


def clear(directory: str) -> None:
    """Remove what is in a directory that was empty when it became ours."""
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
