# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""All that a reading of capacity asks of a host. Nothing here scans files or counts events one by one."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils import _postgresql, _procfs
from ansible_collections.matrixon.ops.plugins.module_utils._health.system_disk import read_disk
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Server, Session
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    AUTH,
    MISSING_TOOL,
    PARSE,
    Deadline,
    Facts,
    ProbeFailure,
)

ESTABLISHED = b"01"


@dataclass(frozen=True)
class Reading:
    """One number, and the limit that it has by itself."""

    value: float
    limit: float | None = None


class Skipped(t.NamedTuple):
    """Why there is nothing to read here."""

    reason: str


# What is found of each resource: by its whole name, such as disk:/var.
Found = dict[str, t.Union[Reading, Skipped, ProbeFailure]]


# Files ------------------------------------------------------------------------------------------------------------


def file_systems(path: str, what: str, deadline: Deadline, root: str = "/") -> Facts:
    """Read the file system that a path is on; it goes by its mount point, so that two paths give it once."""
    facts = read_disk(path, deadline, root)
    if "broken" in facts:
        raise ProbeFailure(MISSING_TOOL, facts["broken"])
    disk = facts["disk"]
    found: Found = {
        f"disk:{disk.mount_point}": Reading(disk.used, disk.size) if disk.size else Skipped("it has no size"),
        f"inodes:{disk.mount_point}": Reading(disk.inodes_used, disk.inodes)
        if disk.inodes
        else Skipped("it has no fixed number of inodes"),
    }
    return {"found": found, "report": {"file_systems": {what or path: disk.mount_point}}}


def machine(_deadline: Deadline, root: str = "/") -> Facts:
    """Read memory and load from the kernel's own figures."""
    parts = _procfs.gather({"memory": lambda: _memory(root), "load": lambda: _load(root)})
    return {"found": parts}


def _memory(root: str) -> Reading:
    sizes = _procfs.parse_meminfo(_procfs.read(root, "proc/meminfo"))
    return Reading(sizes["MemTotal"] - sizes["MemAvailable"], sizes["MemTotal"])


def _load(root: str) -> Reading:
    words = _procfs.read(root, "proc/loadavg").split()
    return Reading(float(words[2]), _procfs.parse_cores(_procfs.read(root, "proc/stat")))


def connections(ports: t.Mapping[str, int], limit: float, deadline: Deadline, root: str = "/") -> Facts:
    """Count the established connections to each port, IPv4 and IPv6, by the kernel's tables."""
    names = {b"%04X" % port: name for name, port in ports.items()}
    counts = dict.fromkeys(ports, 0)
    try:
        for table in ("proc/net/tcp", "proc/net/tcp6"):
            path = os.path.join(root, table)
            # A host without IPv6 has only the first.
            if table == "proc/net/tcp" or os.path.exists(path):
                _count(path, names, counts, deadline)
    except OSError as error:
        raise _procfs.failure_of(error) from error
    except ValueError as error:
        raise ProbeFailure(PARSE, f"a table of /proc/net was not understood ({error})") from error
    return {"found": {f"service_connections:{name}": Reading(count, limit) for name, count in counts.items()}}


def _count(path: str, names: t.Mapping[bytes, str], counts: dict[str, int], deadline: Deadline) -> None:
    for lines in _procfs.batches(path, deadline):
        for line in lines:
            dummy, local, dummy, state, dummy = line.split(None, 4)
            if state == ESTABLISHED and local[-4:] in names:
                counts[names[local[-4:]]] += 1


# PostgreSQL -------------------------------------------------------------------------------------------------------

CONNECTIONS = """
SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid())
       AS value,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
       - coalesce(current_setting('reserved_connections', true), '0')::int AS usable"""
DATABASE = "SELECT pg_database_size(current_database()) AS value"
# Sizes of the files on the disk. Tables of the server itself are left out.
TABLES = """
SELECT n.nspname AS schema, c.relname AS name, pg_total_relation_size(c.oid) AS value
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
ORDER BY 3 DESC NULLS LAST, 1, 2 LIMIT {limit}"""
IDENTITY = "SELECT pg_is_in_recovery() AS standby, pg_has_role('pg_read_all_stats', 'USAGE') AS sees"
STANDBY = Skipped("read on the primary, and this server is a standby")


def server(where: Server, tables: int, queries: t.Mapping[str, str], deadline: Deadline) -> Facts:
    """Ask PostgreSQL for its connections, and a primary for sizes and what the homeserver's tables say.

    All in one session, which so is not counted itself. One question that
    fails leaves its failure in its place; tables come last, for that one may
    have to wait for a lock.
    """
    with _postgresql.connect(where, deadline) as session:
        identity = session.row(IDENTITY)
        found: Found = {"database_connections": _used_connections(session, identity["sees"], where)}
        if identity["standby"]:
            return {"found": {**found, **dict.fromkeys(("database", "table", *queries), STANDBY)}}
        found["database"] = _value(session, DATABASE)
        found.update({resource: _value(session, sql) for resource, sql in queries.items()})
        found.update(_tables(session, tables))
        return {"found": found}


def _used_connections(session: Session, sees: bool, where: Server) -> Reading | ProbeFailure:
    if not sees:
        # Without it sessions of others come without their type, and none would be counted.
        return ProbeFailure(AUTH, f"{where}: {where.user} may not see all sessions; GRANT pg_monitor TO {where.user}")
    try:
        row = session.row(CONNECTIONS)
    except ProbeFailure as failure:
        return failure
    return Reading(row["value"], row["usable"])


def _value(session: Session, sql: str) -> Reading | ProbeFailure:
    try:
        rows = session.rows(sql)
    except ProbeFailure as failure:
        return failure
    if len(rows) != 1 or len(rows[0]) != 1:
        return ProbeFailure(PARSE, f"the query gave {len(rows)} rows where one value was expected")
    (value,) = rows[0].values()
    try:
        return Reading(float(value))
    except (TypeError, ValueError):
        return ProbeFailure(PARSE, f"the query gave {value!r:.40} where a number was expected")


def _tables(session: Session, most: int) -> Found:
    try:
        rows = session.rows(TABLES.format(limit=int(most)))
    except ProbeFailure as failure:
        return {"table": failure}
    return {f"table:{_table_name(row)}": Reading(row["value"]) for row in rows if row["value"] is not None}


def _table_name(row: t.Mapping[str, t.Any]) -> str:
    return str(row["name"]) if row["schema"] == "public" else f"{row['schema']}.{row['name']}"
