# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The PostgreSQL server of this host, for who moves a deployment: where it lies, what it is, how it is asked.

Debian's layout is assumed where nothing else is said. Questions go through
psql on the server's socket, as the user that the server runs as.
"""

from __future__ import annotations

import json
import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils import _postgresql_host as host
from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster, scratch, wal
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner, find_user, this_user
from ansible_collections.matrixon.ops.plugins.module_utils._dr.lsn import end_of_record, format_lsn, record_length
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import APPLICATION_NAME, Server
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    INTERNAL,
    MISSING_TOOL,
    PARSE,
    REFUSED,
    Deadline,
)

Options = t.Mapping[str, t.Any]
Facts = dict[str, t.Any]

# The options of every module that works on the server of its host; the doc fragment _dr_server describes them.
SERVER: dict[str, t.Any] = {
    "version": {"type": "int", "default": 0},
    "cluster": {"type": "str", "default": "main"},
    "data_directory": {"type": "path"},
    "bin_directory": {"type": "path"},
    "socket_directory": {"type": "path", "default": "/var/run/postgresql"},
    "port": {"type": "int", "default": 5432},
    "owner": {"type": "str", "default": "postgres"},
    "user": {"type": "str", "default": "postgres"},
    "deadline": {"type": "float", "default": 60},
}

CONFIGURATION = "/etc/postgresql/{}/{}/postgresql.conf"
# What a promotion writes down in the data directory until it is done.
NOTE = "matrixon-promotion.json"
# What Patroni keeps in the data directory of a cluster that it runs.
PATRONI = "patroni.dynamic.json"
REWIND_STATE = "state.json"
CLEAN = ("shut down", "shut down in recovery")


@dataclass(frozen=True)
class Host:
    """A data directory of this host, and the server on it, running or not."""

    data: str
    tools: str
    major: int
    configuration: str
    server: Server
    runner: Runner

    def tool(self, name: str) -> str:
        """Return the path of a tool of the server's version."""
        return os.path.join(self.tools, name)

    def path(self, *names: str) -> str:
        """Return a path below the data directory."""
        return os.path.join(self.data, *names)

    @property
    def client(self) -> cluster.Client:
        """Return the way to ask the server."""
        return cluster.Client(self.server, self.runner, self.tools, self.major)

    def session(self, deadline: Deadline, database: str | None = None) -> cluster.Session:
        """Open a session, if it is the server of this data directory that answers."""
        session = self.client.session(deadline, database)
        try:
            found = session.value("SELECT setting FROM pg_settings WHERE name = 'data_directory'")
            if not _same(found, self.data):
                raise BackupError(
                    INTERNAL,
                    f"data_directory: {self.server} serves {found}, and not {self.data}; name its own directory",
                )
        except BaseException:
            session.close()
            raise
        return session

    @property
    def patroni(self) -> bool:
        """Say whether the files are those of a cluster that Patroni runs."""
        return os.path.exists(self.path(PATRONI))

    def running(self) -> int | None:
        """Return the process of the server that runs here, or None."""
        return cluster.running_on(self.data)

    def control(self, deadline: Deadline) -> Facts:
        """Return what the control file says, in pg_controldata's own names."""
        return dict(scratch.control(self.runner, self.tools, self.data, deadline))

    def history(self, timeline: int) -> tuple[wal.Switch, ...]:
        """Return the ancestors of a timeline by the server's own history file."""
        if timeline == 1:
            return ()
        name = wal.history_name(timeline)
        try:
            with open(self.path("pg_wal", name), encoding="ascii", errors="replace") as file:
                return wal.parse_history(timeline, file.read())
        except OSError as error:
            raise BackupError(PARSE, f"{self.path('pg_wal', name)} cannot be read: {error.strerror}") from error

    def identify(self, deadline: Deadline) -> tuple[str, int]:
        """Return the system identifier and the timeline that the server is on.

        That of a standby is the one that it replays. No function of SQL says
        it: the control file knows only that of the last restartpoint.
        """
        session = self.server
        argv = [self.tool("psql"), "-XqAt", f"--host={session.host}", f"--port={session.port}"]
        argv += [f"--username={session.user}", "--no-password", "--command=IDENTIFY_SYSTEM"]
        argv.append(f"--dbname={cluster.conninfo(session.database)} replication=database")
        said = self.runner.run(argv, deadline, doing=f"{session}: IDENTIFY_SYSTEM").out.strip()
        found = re.match(r"(\d+)\|(\d+)\|", said)
        if not found:
            raise BackupError(PARSE, f"{session}: IDENTIFY_SYSTEM answers {said!r:.80}")
        return found[1], int(found[2])

    def end_of_log(self, control: Facts, deadline: Deadline) -> str:
        """Return where the log ends of a server that was stopped cleanly: behind its last checkpoint."""
        start = control["Latest checkpoint location"]
        size = int(control["Bytes per WAL segment"])
        segment = wal.segment_at(int(control["Latest checkpoint's TimeLineID"]), wal.parse_lsn(start), size)
        argv = [self.tool("pg_waldump"), f"--start={start}", "--limit=1", self.path("pg_wal", segment)]
        dump = self.runner.run(argv, deadline, doing=f"{self.data}: the last checkpoint").out
        return format_lsn(end_of_record(wal.parse_lsn(start), record_length(dump, start), size))


def open_host(options: Options) -> Host:
    """Return the server that the options name, or refuse."""
    configuration = host_configuration(options)
    data = options["data_directory"] or configured_data(options, configuration)
    data = data.rstrip("/") or "/"
    if not os.path.isdir(data):
        raise BackupError(PARSE, f"data_directory: {data} is no directory; name the one that holds the cluster's data")
    major = scratch.read_major(data)
    tools = options["bin_directory"] or cluster.programs(major, "pg_controldata")
    for name in ("pg_controldata", "psql"):
        if not os.access(os.path.join(tools, name), os.X_OK):
            raise BackupError(MISSING_TOOL, f"bin_directory: {tools} has no {name}; name the directory of the tools")
    environment = {"PGAPPNAME": APPLICATION_NAME, "PGCLIENTENCODING": "UTF8", "PGPASSFILE": cluster.NO_FILE}
    # A role or a database may bring settings of its own, which stand above the server's.
    environment["PGOPTIONS"] = "-c statement_timeout=0 -c lock_timeout=0"
    owner = options["owner"]
    runner = Runner(None if owner == this_user().name else find_user(owner), environment)
    own = os.path.join(data, "postgresql.conf")
    return Host(
        data=data,
        tools=tools,
        major=major,
        configuration=configuration if os.path.exists(configuration) and not os.path.exists(own) else own,
        server=Server(options["socket_directory"], options["port"], "postgres", options["user"]),
        runner=runner,
    )


def host_configuration(options: Options) -> str:
    """Return where Debian has the configuration of the cluster."""
    major = options["version"] or host.MAJORS.get(host.os_release(_content("/etc/os-release")), 0)
    return CONFIGURATION.format(major, options["cluster"])


def configured_data(options: Options, configuration: str) -> str:
    """Return the data directory that Debian's configuration names, or Debian's own place."""
    named = host.setting(_content(configuration), "data_directory")
    return named or "/var/lib/postgresql/{}/{}".format(*configuration.split("/")[3:5])


def _content(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _same(one: str, two: str) -> bool:
    try:
        return os.path.samefile(one, two)
    except OSError:
        return False


def rewind_place(data: str) -> str:
    """Return where a rewind of a data directory keeps what it needs: beside it, as pg_rewind removes what it finds."""
    return f"{data}.matrixon-rewind"


def rewind_phase(data: str) -> str | None:
    """Return in which phase a rewind of this very directory ended before it was done, or None."""
    path = os.path.join(rewind_place(data), REWIND_STATE)
    try:
        with open(path, encoding="utf-8") as file:
            state = json.load(file)
        return str(state["phase"]) if state["inode"] == os.stat(data).st_ino else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackupError(PARSE, f"{path} cannot be read; look at it, and remove it") from error


def refuse(reasons: t.Iterable[str], kind: str = REFUSED) -> None:
    """Fail with all reasons at once, if there are any."""
    found = list(reasons)
    if found:
        raise BackupError(kind, "; ".join(found), {"reasons": found})


def patroni_problems(place: Host, instead: str) -> t.Iterator[str]:
    """Yield why this cluster is left to Patroni, and what to do instead."""
    if place.patroni:
        yield (
            f"data_directory: Patroni runs this cluster, as {place.path(PATRONI)} shows; {instead}; or, where it does "
            "not run it (the file comes along in a copy, and stays when Patroni goes), remove the file"
        )


def require_stopped(place: Host) -> None:
    """Refuse a data directory on which a server runs."""
    if pid := place.running():
        raise BackupError(REFUSED, f"data_directory: a server with process {pid} runs on {place.data}; stop it first")
