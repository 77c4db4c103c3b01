# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""A history in a table of PostgreSQL, in a schema of its own, made only when that is asked for."""

from __future__ import annotations

import contextlib
import datetime
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _postgresql
from ansible_collections.matrixon.ops.plugins.module_utils._capacity.history import Content, StoreError
from ansible_collections.matrixon.ops.plugins.module_utils._capacity.resources import COLUMNS, Row, parse_row, stamp
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Server
from ansible_collections.matrixon.ops.plugins.module_utils._probe import PARSE, Deadline, ProbeFailure

SCHEMA, TABLE = "matrixon_capacity", "readings"
NAME = f"{SCHEMA}.{TABLE}"

FIND = f"""
SELECT to_regclass('{NAME}') IS NOT NULL AS is_there,
       (SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute
        WHERE attrelid = to_regclass('{NAME}') AND attnum > 0 AND NOT attisdropped) AS columns"""
CREATE = f"""
CREATE SCHEMA IF NOT EXISTS {SCHEMA};
CREATE TABLE IF NOT EXISTS {NAME} (
  "time" timestamptz NOT NULL,
  deployment text NOT NULL,
  host text NOT NULL,
  resource text NOT NULL,
  value double precision NOT NULL CHECK (value >= 0),
  "limit" double precision,
  unit text NOT NULL,
  PRIMARY KEY (deployment, host, resource, "time")
)"""
READ = f'SELECT "time", deployment, host, resource, value, "limit", unit FROM {NAME} ORDER BY "time"'
# Held until its session ends.
LOCK = f"SELECT pg_advisory_lock(hashtextextended('{NAME}', 0))"
# One statement: all rows or none, and none twice whoever else writes.
ADD = f"""
INSERT INTO {NAME} ("time", deployment, host, resource, value, "limit", unit)
SELECT * FROM unnest(%s::timestamptz[], %s::text[], %s::text[], %s::text[],
                     %s::double precision[], %s::double precision[], %s::text[])
ON CONFLICT DO NOTHING"""


class PostgresqlStore:
    """One table, and an advisory lock of its database in place of one of its own: it may not be there yet."""

    def __init__(self, server: Server, create: bool, deadline: Deadline) -> None:
        self._server = server
        self._create = create
        self._deadline = deadline

    def __str__(self) -> str:
        return f"table {NAME} of {self._server}"

    def read(self) -> Content:
        """Return what the table holds; raise StoreError where it is missing and not to be made."""
        with self._session() as session:
            found = session.row(FIND)
            if not found["is_there"]:
                if not self._create:
                    raise StoreError(PARSE, f"{self} is not there; give create=true once, as a user who may make it")
                return Content(exists=False)
            if sorted(found["columns"]) != sorted(COLUMNS):
                raise StoreError(PARSE, f"{self} has other columns and was left alone: {', '.join(found['columns'])}")
            return _content(session.rows(READ))

    @contextlib.contextmanager
    def locked(self) -> t.Iterator[None]:
        """Keep every other run of this collection from writing; readers need no lock."""
        with self._session() as session:
            session.row(LOCK)
            yield

    def append(self, rows: list[Row], content: Content) -> None:
        """Add rows, all or none of them; make the table first if it is not there."""
        values: list[list[t.Any]] = [
            [row.time for row in rows],
            [row.deployment for row in rows],
            [row.host for row in rows],
            [row.resource for row in rows],
            [float(row.value) for row in rows],
            [None if row.limit is None else float(row.limit) for row in rows],
            [row.unit for row in rows],
        ]
        with self._session(writes=True) as session:
            if not content.exists:
                session.execute(CREATE)
            session.execute(ADD, values)

    @contextlib.contextmanager
    def _session(self, writes: bool = False) -> t.Iterator[_postgresql.Session]:
        try:
            with _postgresql.connect(self._server, self._deadline, writes) as session:
                yield session
        except ProbeFailure as failure:
            raise StoreError(failure.kind, failure.message) from failure


def _content(rows: list[dict[str, t.Any]]) -> Content:
    content = Content(empty=not rows)
    for number, fields in enumerate(rows, 1):
        try:
            moment = fields["time"].astimezone(datetime.timezone.utc).replace(microsecond=0)
            content.rows.append(parse_row({**fields, "time": stamp(moment)}))
        except ValueError as error:
            content.bad_count += 1
            content.bad.append((number, str(error)))
    return content
