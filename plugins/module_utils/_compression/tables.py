# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What is asked of the homeserver's tables before and after the tool. All of it only reads."""

from __future__ import annotations

import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._compression.model import (
    Chunk,
    Ids,
    Seen,
    Shape,
    State,
    Way,
)
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Session
from ansible_collections.matrixon.ops.plugins.module_utils._probe import AUTH, PARSE, ProbeFailure

# "mtx." and "comp": no two runs work in one database.
LOCK = (1836350510, 1668246896)
TAKE_LOCK = f"SELECT pg_try_advisory_lock({LOCK[0]}, {LOCK[1]}) AS taken"
LOCK_OWNER = f"""
SELECT l.pid, a.usename AS user, a.application_name AS application
FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.classid = {LOCK[0]} AND l.objid = {LOCK[1]} AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"""

# What stands for the tool's own table where it has never run.
NO_PROGRESS = "SELECT NULL::text AS room, NULL::bigint AS last WHERE false"
MISSING = """
SELECT name FROM unnest(%(names)s::text[]) AS name WHERE to_regclass(name) IS NULL ORDER BY name"""
FORBIDDEN = """
SELECT name || ' (' || lower(deed) || ')' AS name FROM unnest(%(names)s::text[]) AS name,
  unnest(%(deeds)s::text[]) AS deed WHERE NOT has_table_privilege(name, deed) ORDER BY 1"""
# The tool says CREATE ... IF NOT EXISTS whenever it starts, for which PostgreSQL wants the owner.
OWNED = """
SELECT current_schema() AS schema, coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS create,
  ARRAY(SELECT relname::text FROM pg_class
        WHERE oid IN (SELECT to_regclass(name) FROM unnest(%(names)s::text[]) AS name)
        AND NOT pg_has_role(relowner, 'USAGE') ORDER BY 1) AS foreign"""
SIZE = "SELECT pg_total_relation_size(%(name)s::regclass)::float8 AS bytes"
END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = %(name)s AND pid <> pg_backend_pid()"""
SESSIONS = "SELECT count(*) AS count FROM pg_stat_activity WHERE application_name = %(name)s"
# So many groups ahead are counted, and no more.
MOST_AHEAD = 1_000_000


class Tables:
    """The tables of one homeserver, through one session."""

    def __init__(self, session: Session, way: Way) -> None:
        self.session, self.way = session, way

    # --- may it be done

    def require(self) -> None:
        """Raise ProbeFailure where a table or a right is missing."""
        way = self.way
        if absent := self._names(MISSING, names=[*way.reads, *way.writes]):
            raise ProbeFailure(
                PARSE,
                f"this database has no {', '.join(absent)}; is it the homeserver's, and is the homeserver new enough?",
            )
        barred = self._names(FORBIDDEN, names=list(way.reads), deeds=["SELECT"])
        barred += self._names(FORBIDDEN, names=list(way.writes), deeds=["SELECT", "INSERT", "DELETE"])
        owned = self.session.row(OWNED, {"names": list(way.own)})
        barred += [f"{name} (it belongs to somebody else)" for name in owned["foreign"]]
        if not owned["create"]:
            barred.append(f"schema {owned['schema']} (create)")
        if barred:
            raise ProbeFailure(
                AUTH, f"the login may not work on {', '.join(barred)}; log in as the homeserver's or as the superuser"
            )

    def _names(self, query: str, **values: t.Any) -> list[str]:
        return [str(row["name"]) for row in self.session.rows(query, values)]

    def busy(self) -> list[str]:
        """Return what the homeserver has to do on these tables itself, and who else compresses."""
        found = [f"{row['count']} {row['what']}" for row in self.session.rows(self.way.busy)]
        others = self.session.rows(self.way.others)
        return found + [f"another compressor, pid {row['pid']} ({row['user']})" for row in others]

    # --- where it is

    def begun(self) -> bool:
        """Return whether the tool has ever run here."""
        return not self._names(MISSING, names=list(self.way.own))

    def position(self) -> int:
        """Return the group from which on the tool looks for work."""
        rows = self.session.rows(self.way.position) if self.begun() else []
        return int(rows[0]["position"]) if rows else 0

    def ahead(self) -> int:
        """Return how many groups are not compressed yet, MOST_AHEAD at most."""
        values = {"position": self.position(), "most": MOST_AHEAD}
        return int(self.session.row(self._with_progress(self.way.ahead), values)["count"])

    def size(self) -> float:
        """Return the bytes of the table that shrinks, with its indexes."""
        return float(self.session.row(SIZE, {"name": self.way.table})["bytes"])

    def progress(self, rooms: t.Sequence[str]) -> dict[str, int]:
        """Return the last group of each room that the tool has taken."""
        query = f"SELECT p.room, p.last FROM ({self._progress()}) AS p WHERE p.room = ANY(%(rooms)s::text[])"
        return {str(row["room"]): int(row["last"]) for row in self.session.rows(query, {"rooms": list(rooms)})}

    def _progress(self) -> str:
        return self.way.progress if self.begun() else NO_PROGRESS

    def _with_progress(self, query: str) -> str:
        return query.replace("{progress}", self._progress())

    # --- what it takes next

    def part(self, chunks: int, size: int) -> list[Chunk]:
        """Return what the tool takes next: it always goes on in the room of the oldest group that was not taken."""
        position = self.position()
        found: list[Chunk] = []
        following = self._with_progress(self.way.next)
        done: dict[str, int] = {}
        while len(found) < chunks:
            rows = self.session.rows(
                following, {"position": position, "rooms": list(done), "lasts": list(done.values())}
            )
            if not rows:
                break
            room, after = str(rows[0]["room"]), int(rows[0]["after"])
            ids = tuple(
                int(row["id"])
                for row in self.session.rows(self.way.chunk, {"room": room, "after": after, "size": size})
            )
            found.append(Chunk(room, ids))
            done[room] = ids[-1]
        return found

    def stale(self, chunks: t.Sequence[Chunk]) -> list[tuple[str, int]]:
        """Return the rooms of chunks in which the tool would build on a group that is not there, with that group."""
        if not self.begun():
            return []
        rows = self.session.rows(self.way.heads, {"rooms": sorted({chunk.room for chunk in chunks})})
        return [(str(row["room"]), int(row["head"])) for row in rows]

    # --- what is there

    def see(self, ids: Ids, some: Ids) -> Seen:
        """Return how groups are stored, and what some of them say."""
        shapes = {
            int(row["id"]): Shape(row["before"], int(row["rows"]), bool(row["lost"]))
            for row in self.session.rows(self.way.shape, {"ids": list(ids)})
        }
        states = {}
        for number in some:
            row = self.session.row(self.way.state, {"id": number})
            states[number] = State(int(row["entries"]), str(row["hash"]))
        return Seen(shapes, states)

    # --- the tool's sessions

    def end_sessions(self, name: str) -> bool:
        """End what is left of the tool's sessions, and return whether none is there."""
        self.session.rows(END_SESSIONS, {"name": name})
        return not self.session.row(SESSIONS, {"name": name})["count"]
