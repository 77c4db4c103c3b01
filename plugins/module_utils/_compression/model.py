# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What a compression of room state is about, all pure: the way, parts, what a part came to, and what may be said."""

from __future__ import annotations

import typing as t
import urllib.parse
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._human import digits
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Server

# How many groups a message names.
NAMED = 5
# What takes the place of a password.
HIDDEN = "***"
# Seconds for which the tool tries to connect, and waits for a lock.
CONNECT_SECONDS = 10
LOCK_MS = 5000

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Way:
    """How the profile compresses: its tool and its queries, see schema.json."""

    program: str
    module: str
    functions: tuple[str, ...]
    table: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    own: tuple[str, ...]
    # Seconds for which a group that is to be deleted is left alone. A part takes less.
    grace: float
    busy: str
    others: str
    position: str
    progress: str
    next: str
    chunk: str
    ahead: str
    heads: str
    shape: str
    state: str

    @classmethod
    def of(cls, value: t.Mapping[str, t.Any]) -> Way:
        """Return the way that a profile describes."""

        def names(key: str) -> tuple[str, ...]:
            return tuple(str(name) for name in value[key])

        plain = {
            name: str(value[name])
            for name in ("program", "module", "table", "busy", "others", "position", "progress")
            + ("next", "chunk", "ahead", "heads", "shape", "state")
        }
        return cls(
            functions=names("functions"),
            reads=names("reads"),
            writes=names("writes"),
            own=names("own"),
            grace=float(value["grace"]),
            **plain,
        )


@dataclass(frozen=True)
class Chunk:
    """What the tool takes at once: groups of one room, in their order."""

    room: str
    ids: Ids


@dataclass(frozen=True)
class Shape:
    """How a group is stored: on top of which other one, in how many rows; ``lost`` if that other one is not there."""

    before: int | None
    rows: int
    lost: bool


@dataclass(frozen=True)
class State:
    """What a group says of its room when it is put together: how many entries, and their fingerprint."""

    entries: int
    hash: str


@dataclass(frozen=True)
class Seen:
    """The groups of a part as they were at one moment: how all are stored, and what some of them say."""

    shapes: t.Mapping[int, Shape]
    states: t.Mapping[int, State]


@dataclass(frozen=True)
class Difference:
    """What lies between two looks at a part."""

    changed: Ids
    removed: int
    added: int
    # Groups that say something else; that stand on one that is not there, or on one that is younger; that are not there
    # any more in rooms that are; and those that went with their rooms.
    spoilt: Ids
    hanging: Ids
    lost: Ids
    gone: Ids

    @property
    def bad(self) -> bool:
        """Return whether a group was hurt."""
        return bool(self.spoilt or self.hanging or self.lost)


# --- plan


def sample(chunks: t.Sequence[Chunk], most: int) -> Ids:
    """Return the groups whose whole state is compared: all, or of each chunk the same number from end to end."""
    ids = [number for chunk in chunks for number in chunk.ids]
    if len(ids) <= most:
        return tuple(ids)
    # The last group of a chunk stands on the longest chain, so it is always one of them.
    ends = {chunk.ids[-1] for chunk in chunks[-most:]}
    others = [number for number in ids if number not in ends]
    wanted = most - len(ends)
    return tuple(sorted(ends | {others[at * len(others) // wanted] for at in range(wanted)}))


# --- what became of a part


def difference(before: Seen, after: Seen, chunks: t.Sequence[Chunk]) -> Difference:
    """Return what became of the groups of a part.

    The homeserver may purge a room with all its groups meanwhile. A single group it does not delete while a part runs.
    """
    rooms = {number: chunk.room for chunk in chunks for number in chunk.ids}
    there = {rooms[number] for number in after.shapes}
    absent = [number for number in before.shapes if number not in after.shapes]
    both = [number for number in before.shapes if number in after.shapes]
    rows = {number: after.shapes[number].rows - before.shapes[number].rows for number in both}
    return Difference(
        changed=tuple(number for number in both if before.shapes[number] != after.shapes[number]),
        removed=-sum(change for change in rows.values() if change < 0),
        added=sum(change for change in rows.values() if change > 0),
        spoilt=tuple(
            number
            for number, state in before.states.items()
            if number in after.shapes and after.states.get(number) != state
        ),
        hanging=tuple(
            number
            for number in both
            if _hangs(number, after.shapes[number]) and not _hangs(number, before.shapes[number])
        ),
        lost=tuple(number for number in absent if rooms[number] in there),
        gone=tuple(number for number in absent if rooms[number] not in there),
    )


def _hangs(number: int, shape: Shape) -> bool:
    """The homeserver lets the entry of the youngest group win, so a group must not stand on a younger one."""
    return shape.lost or (shape.before is not None and shape.before >= number)


def lagging(chunks: t.Sequence[Chunk], progress: t.Mapping[str, int]) -> tuple[str, ...]:
    """Return the rooms in which the tool did not get to the end of what it was to take."""
    ends = {chunk.room: chunk.ids[-1] for chunk in chunks}
    return tuple(room for room, end in ends.items() if progress.get(room, -1) < end)


# --- words


def named(numbers: t.Sequence[t.Any]) -> str:
    """Return the first of them, and how many more there are."""
    more = len(numbers) - NAMED
    return ", ".join(str(number) for number in numbers[:NAMED]) + (f" and {digits(more)} more" if more > 0 else "")


def hurt_words(found: Difference) -> str:
    """Say which groups were hurt, and how."""
    words = []
    if found.spoilt:
        words.append(f"{digits(len(found.spoilt))} say something else than before: {named(found.spoilt)}")
    if found.hanging:
        words.append(f"{digits(len(found.hanging))} stand on a group that is not below them: {named(found.hanging)}")
    if found.lost:
        words.append(f"{digits(len(found.lost))} are not there any more: {named(found.lost)}")
    return "; ".join(words)


def location(server: Server, name: str, statement_ms: int, checks: bool = False, password: bool = True) -> str:
    """Return where the database is, in the words of libpq that the tool reads.

    ``name`` is what its sessions are called, and ``checks`` has the server notice when the tool is gone.
    """
    settings = {"lock_timeout": f"{LOCK_MS}ms", "statement_timeout": f"{statement_ms}ms"}
    if checks:
        settings["client_connection_check_interval"] = "5s"
    words = {
        "host": server.host,
        "port": str(server.port),
        "dbname": server.database,
        "user": server.user,
        # The tool knows three modes, and looks at no certificate.
        "sslmode": "disable" if server.socket_path else "prefer" if server.sslmode == "allow" else server.sslmode,
        "connect_timeout": str(CONNECT_SECONDS),
        "application_name": name,
        "options": " ".join(f"-c {key}={value}" for key, value in settings.items()),
    }
    if password and server.password:
        words["password"] = server.password
    return " ".join(f"{key}={_quoted(value)}" for key, value in words.items())


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def redacted(text: str, password: str | None) -> str:
    """Return a text without the password, however it was written."""
    for form in forms(password):
        text = text.replace(form, HIDDEN)
    return text


def forms(password: str | None) -> list[str]:
    """Return how a password may stand in what a tool says, the longest first: plain, in a location, and escaped."""
    if not password:
        return []
    plain = {password, _quoted(password)[1:-1], urllib.parse.quote(password, safe="")}
    escaped = {text.replace("\\", "\\\\") for text in plain}
    # As Python, Rust and JSON write a text.
    found = plain | escaped
    for quote in ("'", '"'):
        found |= {text.replace(quote, f"\\{quote}") for text in tuple(escaped)}
    return sorted(found, key=len, reverse=True)
