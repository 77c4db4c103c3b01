"""The PostgreSQL cluster, its roles, and a streaming standby."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
from psycopg2 import sql

from lab import processes, render, software
from lab.config import DATABASE, Lab, LabError, write

STANDBY_NAME = "standby1"


def binary(name: str) -> str:
    directory = software.postgresql_bin()
    if directory is None:
        raise LabError("no PostgreSQL server is installed: run up")
    return str(directory / name)


@contextlib.contextmanager
def connect(lab: Lab, user: str, secret: str, database: str, port: str = "postgresql") -> Iterator:
    """One autocommitted session over TCP, with a bound on connecting and on each statement."""
    connection = psycopg2.connect(
        host="127.0.0.1",
        port=lab.ports[port],
        user=user,
        password=lab.secret(secret),
        dbname=database,
        connect_timeout=2,
        application_name="lab",
        options="-c statement_timeout=20000",
    )
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def as_superuser(lab: Lab, database: str = "postgres", port: str = "postgresql"):
    return connect(lab, "postgres", "postgres_password", database, port)


def ensure_cluster(lab: Lab) -> None:
    """initdb beside and rename: a killed initdb leaves nothing that looks like a cluster."""
    if not (lab.pg / "PG_VERSION").exists():
        beside = lab.run / "pg.new"
        password_file = lab.run / "initdb.password"
        shutil.rmtree(beside, ignore_errors=True)
        write(password_file, lab.secret("postgres_password") + "\n", 0o600, lab.owner)
        try:
            _helper(
                lab,
                "initdb",
                f"--pgdata={beside}",
                "--username=postgres",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--locale=C",
                "--encoding=UTF8",
                "--data-checksums",
                # Nothing of value is in it yet.
                "--no-sync",
            )
        finally:
            password_file.unlink()
        _place(lab, beside, lab.pg)
    write_config(lab, "postgresql")


def write_config(lab: Lab, service: str) -> None:
    directory = lab.pg if service == "postgresql" else lab.standby
    cluster = "lab-db" if service == "postgresql" else "lab-standby"
    text = render.filled(lab, "postgresql.conf", port=lab.ports[service], cluster=cluster)
    write(directory / "postgresql.conf", text, 0o600, lab.owner)
    write(directory / "pg_hba.conf", render.filled(lab, "pg_hba.conf"), 0o600, lab.owner)


def ensure_roles(lab: Lab) -> None:
    with as_superuser(lab) as cursor:
        for role, attributes in (
            ("synapse", "LOGIN"),
            ("monitor", "LOGIN"),
            ("replicator", "LOGIN REPLICATION"),
        ):
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,))
            verb = "ALTER" if cursor.fetchone() else "CREATE"
            secret = "synapse_db_password" if role == "synapse" else f"{role}_password"
            statement = sql.SQL(f"{verb} ROLE {{}} {attributes} PASSWORD %s")
            cursor.execute(statement.format(sql.Identifier(role)), (lab.secret(secret),))
        cursor.execute("GRANT pg_monitor TO monitor")
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
        if not cursor.fetchone():
            cursor.execute(
                f"CREATE DATABASE {DATABASE} OWNER synapse TEMPLATE template0 "
                "ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
            )
        cursor.execute(f"REVOKE CONNECT ON DATABASE {DATABASE} FROM PUBLIC")
        cursor.execute(f"GRANT CONNECT ON DATABASE {DATABASE} TO monitor")
    with as_superuser(lab, DATABASE) as cursor:
        cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")


def build_standby(lab: Lab) -> None:
    """A base backup with its own slot, renamed into place when it is whole."""
    beside = lab.run / "standby.new"
    shutil.rmtree(beside, ignore_errors=True)
    drop_slot(lab)
    passfile = lab.run / "replicator.pgpass"
    port = lab.ports["postgresql"]
    line = f"127.0.0.1:{port}:*:replicator:{lab.secret('replicator_password')}\n"
    write(passfile, line, 0o600, lab.owner)
    conninfo = f"host=127.0.0.1 port={port} user=replicator passfile={passfile} application_name={STANDBY_NAME}"
    _helper(
        lab,
        "pg_basebackup",
        f"--pgdata={beside}",
        f"--dbname={conninfo}",
        "--create-slot",
        f"--slot={STANDBY_NAME}",
        "--wal-method=stream",
        "--checkpoint=fast",
        "--write-recovery-conf",
        "--no-sync",
        "--no-password",
    )
    _place(lab, beside, lab.standby)


def drop_slot(lab: Lab) -> None:
    """A walsender may need a moment to notice that its standby is gone."""
    deadline = time.monotonic() + 10
    with as_superuser(lab) as cursor:
        while True:
            cursor.execute("SELECT active FROM pg_replication_slots WHERE slot_name = %s", (STANDBY_NAME,))
            row = cursor.fetchone()
            if row is None:
                return
            if not row[0]:
                cursor.execute("SELECT pg_drop_replication_slot(%s)", (STANDBY_NAME,))
                return
            if time.monotonic() > deadline:
                raise LabError(f"slot {STANDBY_NAME} is still in use")
            time.sleep(0.1)


def wait_replayed(lab: Lab, seconds: float = 30) -> str:
    """The standby streams, and has replayed what the primary had written when we asked."""
    deadline = time.monotonic() + seconds
    with as_superuser(lab) as cursor:
        cursor.execute("SELECT pg_current_wal_lsn()")
        target = cursor.fetchone()[0]
        while time.monotonic() < deadline:
            cursor.execute(
                "SELECT replay_lsn >= %s::pg_lsn FROM pg_stat_replication "
                "WHERE application_name = %s AND state = 'streaming'",
                (target, STANDBY_NAME),
            )
            row = cursor.fetchone()
            if row and row[0]:
                return target
            time.sleep(0.1)
    raise LabError(f"the standby did not replay {target} within {seconds:.0f} s")


def clear_stale_pid(lab: Lab, service: str, directory: Path) -> None:
    """Only called when no server runs on this directory: a recycled pid must not block a start."""
    socket_lock = lab.run / f".s.PGSQL.{lab.ports[service]}.lock"
    for path in (directory / "postmaster.pid", socket_lock):
        path.unlink(missing_ok=True)


def shared_memory_id(directory: Path) -> str | None:
    """The System V segment that a killed server leaves behind; postmaster.pid names it."""
    try:
        line = (directory / "postmaster.pid").read_text().splitlines()[6]
        return line.split()[1]
    except (OSError, IndexError):
        return None


def _place(lab: Lab, beside: Path, final: Path) -> None:
    # A half-removed earlier one may stand in the way; it is no cluster, or we were not here.
    shutil.rmtree(final, ignore_errors=True)
    beside.rename(final)


def _helper(lab: Lab, program: str, *arguments: str) -> None:
    done = processes.run(lab, [binary(program), *arguments])
    if done.returncode:
        raise LabError(f"{program} failed:\n{done.stdout.strip()}")
