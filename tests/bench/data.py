"""Made data in the shape of a homeserver's: a database of a size, and a media store of a number of files."""

from __future__ import annotations

import base64
import os
import pathlib
import random
import typing as t

# What an event takes in the database with its indexes and its share of the other table, in bytes.
EVENT_BYTES = 1800
BATCH = 50_000

TABLES = r"""
CREATE TABLE events (event_id text, room_id text NOT NULL, sender text NOT NULL, type text NOT NULL,
    stream_ordering bigint NOT NULL, origin_server_ts bigint NOT NULL);
CREATE TABLE event_json (event_id text, room_id text NOT NULL, internal_metadata text NOT NULL, json text NOT NULL);
CREATE TABLE accounts (aid int, balance int NOT NULL, filler char(84) NOT NULL);
CREATE TABLE bodies AS SELECT n, (
    SELECT string_agg(substr('lorem ipsum dolor sit amet consetetur sadipscing elitr sed diam nonumy eirmod tempor',
        1 + (random() * 70)::int, 3 + (random() * 8)::int), ' ') FROM generate_series(1, 30) WHERE n = n) AS body
    FROM generate_series(0, 4999) n;
CREATE FUNCTION digest_of(text) RETURNS text IMMUTABLE LANGUAGE sql
    AS $$ SELECT rtrim(translate(encode(sha256($1::bytea), 'base64'), '+/', '-_'), '=') $$;
"""
INDEXES = """
ALTER TABLE events ADD PRIMARY KEY (event_id);
ALTER TABLE event_json ADD PRIMARY KEY (event_id);
ALTER TABLE accounts ADD PRIMARY KEY (aid);
CREATE UNIQUE INDEX ON events (stream_ordering);
CREATE INDEX ON events (room_id, stream_ordering);
"""
# Half of a real event is hashes and signatures, which no compression makes smaller.
EVENTS = r"""
WITH made AS (
    SELECT i, {name} AS event_id, '!room' || i % 997 || ':example.org' AS room_id,
        '@user' || i % 4999 || ':example.org' AS sender, bodies.body
    FROM generate_series({first}, {last}) i JOIN bodies ON bodies.n = i::bigint * 7919 % 5000
), first AS (
    INSERT INTO events SELECT event_id, room_id, sender, 'm.room.message', i, 1700000000000 + i * 731 FROM made
)
INSERT INTO event_json SELECT event_id, room_id, '{{"stream_ordering": ' || i || '}}', format(
    '{{"auth_events": ["$%s", "$%s", "$%s"], "prev_events": ["$%s"], "type": "m.room.message", "room_id": "%s", '
    '"sender": "%s", "content": {{"body": "%s", "msgtype": "m.text"}}, "depth": %s, "hashes": {{"sha256": "%s"}}, '
    '"origin": "example.org", "origin_server_ts": %s, "signatures": {{"example.org": {{"ed25519:a": "%s%s"}}}}, '
    '"unsigned": {{"age_ts": %s}}}}',
    digest_of('a' || i % 997), digest_of('b' || i % 997), digest_of('c' || i % 4999), digest_of('e' || i - 1),
    room_id, sender, body, i, digest_of('h' || i), 1700000000000 + i * 731, digest_of('s' || i), digest_of('t' || i),
    1700000000000 + i * 731) FROM made;
"""

HASHED = "'$' || digest_of('e' || {})"


class Database:
    """A database that grows and changes. ``run`` runs SQL in it."""

    def __init__(self, run: t.Callable[[str], str], size: int) -> None:
        self._run = run
        self.events = max(1000, size // EVENT_BYTES)
        self._last = 0

    def fill(self) -> None:
        """Fill it, and bring it to rest as a server is that has run for long."""
        self._run(TABLES)
        wanted = self.events
        while self._last < wanted:
            self._append(min(BATCH, wanted - self._last))
        self._run(f"INSERT INTO accounts SELECT i, 0, '' FROM generate_series(1, {2 * self.events}) i")
        self._run(INDEXES)
        self._run("VACUUM (FREEZE, ANALYZE)")
        self._run("CHECKPOINT")

    def change(self, ordered: bool = False) -> None:
        """Add a hundredth of events, and change accounts here and there: one for every 400 events.

        The ids of events are hashes, as they are in Matrix, so each new one changes
        another page of every index on them. With ``ordered`` they come at the end.
        """
        self._append(self.events // 100, "'~' || lpad({}::text, 43, '0')" if ordered else HASHED)
        self._run(
            "UPDATE accounts SET balance = balance + 1 WHERE aid IN (SELECT 1 + (random() "
            f"* {2 * self.events - 1})::int FROM generate_series(1, {self.events // 400}))"
        )

    def _append(self, count: int, name: str = HASHED) -> None:
        self._run(EVENTS.format(first=self._last + 1, last=self._last + count, name=name.format("i")))
        self._last += count


class Media:
    """A media store in Synapse's layout, in which almost every file has a directory of its own."""

    def __init__(self, root: pathlib.Path, seed: int = 1) -> None:
        self.root, self._chance = root, random.Random(seed)
        self._noise = self._chance.randbytes(4 << 20)

    def add(self, count: int) -> list[str]:
        """Add files of 1 to 200 KB, most of them small, and return their paths."""
        return [self._write(self._chance.randbytes(18)) for _number in range(count)]

    def _write(self, name: bytes) -> str:
        media_id = base64.urlsafe_b64encode(name).decode().replace("-", "A").replace("_", "B")
        path = f"local_content/{media_id[:2]}/{media_id[2:4]}/{media_id[4:]}"
        whole = self.root / path
        os.makedirs(whole.parent, exist_ok=True)
        size = min(200_000, 1000 + int(self._chance.expovariate(1 / 21_000)))
        start = self._chance.randrange(len(self._noise) - size)
        # No two files are equal.
        whole.write_bytes(name + self._noise[start : start + size])
        return path
