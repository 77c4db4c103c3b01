# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Scratch clusters: a server on a data directory of our own, which nobody else reaches, and which leaves nothing."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import tempfile
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._backup import wal
from ansible_collections.matrixon.ops.plugins.module_utils._backup.cluster import NO_FILE, Client, give, occupy, quoted
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import (
    NO_SPACE,
    Child,
    Runner,
    complaint,
    this_user,
    uninterrupted,
)
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import APPLICATION_NAME, Server
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, PARSE, Deadline


class Recovered(t.NamedTuple):
    """Where recovery ended: on which timeline and at which position of the log, and why there.

    ``exact`` is False where the server changed no timeline, so that the
    position is that of the last record's begin.
    """

    timeline: int
    position: int
    reason: str
    exact: bool = True


# What a scratch cluster runs with. It listens to nobody, sends nothing anywhere, loads nothing, and is never to be kept
# when the power fails. Given on the command line, so that it has the last word before postgresql.auto.conf.
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "archive_mode": "off",
    "archive_command": "",
    "archive_cleanup_command": "",
    "recovery_end_command": "",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "synchronous_standby_names": "",
    "hot_standby": "off",
    "shared_preload_libraries": "",
    "session_preload_libraries": "",
    "local_preload_libraries": "",
    "autovacuum": "off",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_wal_senders": "0",
    "max_connections": "30",
    "max_worker_processes": "8",
    "huge_pages": "off",
    # In a container there is next to no room in /dev/shm.
    "dynamic_shared_memory_type": "mmap",
    "shared_buffers": "128MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1h",
    "jit": "off",
    "ssl": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_line_prefix": "%m [%p] ",
    "log_min_messages": "warning",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "temp_tablespaces": "",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "cluster_name": "matrixon-scratch",
}
PORT = 5432
# A Unix socket's path has room for 107 bytes.
LONGEST_SOCKET_DIRECTORY = 107 - len(f"/.s.PGSQL.{PORT}")
NEW_TIMELINE = re.compile(r"selected new timeline ID: ([0-9]+)")
REDO_DONE = re.compile(r"redo done at ([0-9A-F]+/[0-9A-F]+)")


# What the server says when the host is to blame, and not the data.
HOST_SIGNS = ("shared memory", "semaphore", "allocate memory", "out of memory", NO_SPACE, "Unix-domain socket")


class Scratch:
    """A server on a data directory that is nobody else's, reached only by the OS user that runs it.

    ``data`` is the data directory, ``work`` a directory for the server's
    files that are not data, which must be absent or empty; None is a
    temporary one. ``owner`` is the cluster's first superuser. As a context
    manager it is stopped at the end, whatever happens; ``data`` stays,
    ``work`` is removed.
    """

    def __init__(
        self,
        data: str,
        work: str | None,
        runner: Runner,
        tools: str,
        owner: str = "postgres",
        settings: dict[str, str] | None = None,
    ) -> None:
        self.data, self.work, self.owner = data, work or "", owner
        self._runner, self._tools = runner, tools
        self._settings = {**SETTINGS, **(settings or {})}
        self._child: Child | None = None
        self._made: list[str] = []
        self._socket = ""
        self._major = read_major(data)

    @property
    def log(self) -> str:
        """Return the path of the server's log."""
        return os.path.join(self.work, "log")

    def start(self, deadline: Deadline) -> None:
        """Start the server and wait until it takes connections, so until recovery has ended."""
        self._prepare()
        control = self._control(deadline)
        settings = {
            # Prepared transactions of the source need their room.
            "max_prepared_transactions": control.get("max_prepared_xacts setting", "0"),
            **self._settings,
            "port": str(PORT),
            "unix_socket_directories": self._socket,
            "config_file": os.path.join(self.work, "postgresql.conf"),
            "hba_file": os.path.join(self.work, "pg_hba.conf"),
            "ident_file": os.path.join(self.work, "pg_ident.conf"),
            "external_pid_file": os.path.join(self.work, "pid"),
            **({"summarize_wal": "off"} if self._major >= 17 else {}),
        }
        argv = [os.path.join(self._tools, "postgres"), "-D", self.data]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        with self._runner.create(self.log) as log, uninterrupted():
            # Were we killed, an immediate stop is what leaves nothing behind.
            self._child = self._runner.start(argv, log=log, end_with="QUIT")
        self._wait_open(deadline)

    def client(self) -> Client:
        """Return the way to ask it."""
        server = Server(self._socket, PORT, "postgres", self.owner)
        variables = {"PGAPPNAME": APPLICATION_NAME, "PGCLIENTENCODING": "UTF8", "PGPASSFILE": NO_FILE}
        # A role or a database may bring settings of its own, which stand above the server's.
        variables["PGOPTIONS"] = "-c statement_timeout=0 -c lock_timeout=0 -c default_transaction_read_only=off"
        return Client(server, self._runner.with_environment(**variables), self._tools, self._major)

    def recovered(self, deadline: Deadline) -> Recovered:
        """Return where recovery ended. The server must be open."""
        said = self.said()
        changed = NEW_TIMELINE.findall(said)
        if changed:
            timeline = int(changed[-1])
            path = os.path.join(self.data, "pg_wal", wal.history_name(timeline))
            with open(path, encoding="ascii", errors="replace") as file:
                text = file.read()
            switch = wal.parse_history(timeline, text)[-1]
            reason = text.strip().splitlines()[-1].split(None, 2)[2:]
            return Recovered(switch.timeline, switch.position, reason[0] if reason else "")
        done = REDO_DONE.findall(said)
        with self.client().session(deadline) as session:
            row = session.row("SELECT timeline_id, redo_lsn::text FROM pg_control_checkpoint()")
        position = wal.parse_lsn(done[-1] if done else row["redo_lsn"])
        return Recovered(row["timeline_id"], position, "no recovery from an archive", exact=False)

    def stop(self, deadline: Deadline, clean: bool = True) -> None:
        """Stop the server. ``clean`` writes everything to the data directory first, and must succeed."""
        if self._child is None:
            return
        with uninterrupted():
            child, self._child = self._child, None
            grace = max(1.0, deadline.remaining()) if clean else 5.0
            code = child.end(signal.SIGINT if clean else signal.SIGQUIT, grace)
            child.forget()
        if clean and code != 0:
            raise BackupError(INTERNAL, f"the scratch server did not stop cleanly: {complaint(self.said())}")

    def close(self) -> None:
        """Stop the server, whatever it does, and remove what is not data."""
        with uninterrupted():
            self.stop(Deadline(0), clean=False)
            while self._made:
                shutil.rmtree(self._made.pop())

    def said(self) -> str:
        """Return the server's log."""
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _prepare(self) -> None:
        if self.work:
            with uninterrupted():
                occupy(self.work, self._runner)
                self._made.append(self.work)
        else:
            self.work = self._temporary()
        self._socket = os.path.join(self.work, "socket")
        if len(os.fsencode(self._socket)) > LONGEST_SOCKET_DIRECTORY:
            self._socket = self._temporary()
        else:
            self._runner.make_directory(self._socket)
        user = self._runner.user or this_user()
        texts = {
            "postgresql.conf": "# All settings are on the command line.\n",
            "pg_hba.conf": "local all all peer map=scratch\n",
            "pg_ident.conf": f"scratch {quoted(user.name)} {quoted(self.owner)}\n",
        }
        for name, text in texts.items():
            with self._runner.create(os.path.join(self.work, name)) as file:
                file.write(text.encode())

    def _temporary(self) -> str:
        with uninterrupted():
            path = tempfile.mkdtemp(prefix="matrixon-")
            self._made.append(path)
        give(path, self._runner)
        return path

    def _control(self, deadline: Deadline) -> dict[str, str]:
        return control(self._runner, self._tools, self.data, deadline)

    def _wait_open(self, deadline: Deadline) -> None:
        if not self._child:
            raise AssertionError
        path = os.path.join(self.data, "postmaster.pid")
        while not self._child.ended(0.02):
            with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
                # A copy never holds this file, so it is the server's own.
                if len(lines) >= 8 and lines[0] == str(self._child.pid) and lines[7].strip() == "ready":
                    return
            if not deadline.remaining():
                raise deadline.failure("the scratch server recovers")
        code = self._child.reap()
        words = complaint(self.said())
        host = any(sign in words for sign in HOST_SIGNS)
        raise BackupError(
            INTERNAL if host else PARSE,
            f"the server does not start on {self.data}, it ended with code {code}: {words}",
            {"outside": host, "log": self.said()[-4000:]},
        )


def control(runner: Runner, tools: str, data: str, deadline: Deadline) -> dict[str, str]:
    """Return all that pg_controldata says of a data directory."""
    out = runner.run([os.path.join(tools, "pg_controldata"), "-D", data], deadline).out
    pairs = (line.partition(":") for line in out.splitlines())
    return {name.strip(): value.strip() for name, dummy, value in pairs}


def read_major(data: str) -> int:
    """Return the major version of a data directory."""
    try:
        with open(os.path.join(data, "PG_VERSION"), encoding="ascii") as file:
            return int(file.read().strip())
    except (OSError, ValueError) as error:
        raise BackupError(PARSE, f"{data} is no data directory of PostgreSQL: it has no readable PG_VERSION") from error
