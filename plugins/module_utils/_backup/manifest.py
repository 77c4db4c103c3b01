# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What a backup set says about itself.

A manifest is written last, is never changed, and is believed only when it is
whole: every key that this version knows must be there with the right type.
Keys that it does not know come from a later minor version and are left out.

Paths are str as ``os.fsdecode`` gives them. In JSON a byte that is no UTF-8 is
a lone surrogate, written as an escape, so every name survives the way there
and back.
"""

from __future__ import annotations

import datetime
import json
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, PARSE
from ansible_collections.matrixon.ops.plugins.module_utils._report import rfc3339

SCHEMA = "matrixon.ops/backup-set/1"
COMPLETE = "complete"

FULL = "full"
INCREMENTAL = "incremental"
LOGICAL = "logical"
FILES = "files"
KINDS = (FULL, INCREMENTAL, LOGICAL, FILES)
PHYSICAL = (FULL, INCREMENTAL)

DATABASE = "database"
CONFIG = "config"
MEDIA = "media"

MANIFEST = "MANIFEST.json"
CHECKSUM = "MANIFEST.sha256"
# Health checks read no more than this. A component with more files than fit keeps its own list in a file.
MAX_BYTES = 16 * 1024 * 1024

# Words that stand for a set in an option can be no set's name.
RESERVED = ("latest",)

LATEST = "latest"
IMMEDIATE = "immediate"
TIME = "time"
LSN = "lsn"

_MADE = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LSN = re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}")
_SEGMENT = re.compile(r"[0-9A-F]{24}")

Json = dict[str, t.Any]


# --- names


def new_id(started: datetime.datetime, token: bytes) -> str:
    """Return the id of a set that starts now, such as 20261123T021500Z-7f3a. ``token`` is two random bytes."""
    return f"{started.astimezone(datetime.timezone.utc):%Y%m%dT%H%M%SZ}-{token[:2].hex():0>4}"


def id_problem(set_id: str, option: str = "set") -> str | None:
    """Return a sentence that says why a text can be no set's id, or None."""
    if _MADE.fullmatch(set_id):
        return None
    if set_id in RESERVED:
        return f"{option}: {set_id!r} means the newest set, so no set can have this name; choose another"
    if not _NAME.fullmatch(set_id):
        return (
            f"{option}: {set_id!r} is no name for a set; use up to 64 small letters, digits, '.', '_' and '-', "
            "beginning with a letter or a digit, such as before-upgrade. It is a name and not a path"
        )
    return None


def check_id(set_id: str, option: str = "set") -> str:
    """Return the id, or fail with the reason why it can be none."""
    if problem := id_problem(set_id, option):
        raise BackupError(INTERNAL, problem)
    return set_id


def folder_problem(name: str, option: str) -> str | None:
    """Return a sentence that says why a fleet or server can give no directory its name, or None."""
    if _FOLDER.fullmatch(name):
        return None
    return (
        f"{option}: {name!r} gives a directory of the store its name, so use letters, digits, '.', '_' and '-', "
        "beginning with a letter or a digit, such as db1.example.org"
    )


def path_problem(path: str) -> str | None:
    """Return why a path may not stand in a manifest, or None. It must lead to a place below the set."""
    parts = path.split("/")
    if not path or "\0" in path or path.startswith("/") or any(part in ("", ".", "..") for part in parts):
        return "is not a plain path below the set"
    if path in (MANIFEST, CHECKSUM):
        return "is the manifest's own"
    return None


# --- times


def parse_time(text: str) -> datetime.datetime:
    """Return an RFC 3339 time in UTC. ValueError where it is none or has no zone."""
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.astimezone(datetime.timezone.utc)


def _stored(moment: datetime.datetime) -> datetime.datetime:
    """Return a time as it is after a way through JSON: in UTC, to the millisecond."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone")
    utc = moment.astimezone(datetime.timezone.utc)
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


# --- where a restore is to end


@dataclass(frozen=True)
class Target:
    """Where recovery ends: ``kind`` is latest, immediate (the end of the set itself), time or lsn.

    ``timeline`` is the one to follow; None is the newest that the archive has.
    """

    kind: str = LATEST
    time: datetime.datetime | None = None
    lsn: str | None = None
    timeline: int | None = None

    def __post_init__(self) -> None:
        """Refuse a target that says two things, or nothing."""
        if self.kind not in (LATEST, IMMEDIATE, TIME, LSN):
            raise BackupError(INTERNAL, f"target: {self.kind!r} is none of latest, immediate, time and lsn")
        if (self.kind == TIME) != (self.time is not None) or (self.kind == LSN) != (self.lsn is not None):
            raise BackupError(INTERNAL, f"target: {self.kind} does not go with time {self.time} and lsn {self.lsn}")
        if self.time is not None and self.time.tzinfo is None:
            raise BackupError(
                INTERNAL,
                f"target: {self.time.isoformat()} has no time zone, and an hour's difference is an hour of messages; "
                "write for example 2026-11-23T02:15:00Z",
            )
        if self.lsn is not None and not _LSN.fullmatch(self.lsn):
            raise BackupError(INTERNAL, f"target: {self.lsn!r} is no log position; one looks like 16/B374D848")
        if self.timeline is not None and not 1 <= self.timeline <= 0xFFFFFFFF:
            raise BackupError(INTERNAL, f"target: timeline {self.timeline} is not between 1 and 4294967295")

    @classmethod
    def parse(cls, text: str, timeline: int | None = None) -> Target:
        """Return the target that an option names: latest, immediate, a time with a zone, or a log position."""
        if text in (LATEST, IMMEDIATE):
            return cls(text, timeline=timeline)
        if _LSN.fullmatch(text.upper()):
            return cls(LSN, lsn=text.upper(), timeline=timeline)
        try:
            moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
        except ValueError as error:
            raise BackupError(
                INTERNAL,
                f"target: {text!r} is neither latest, immediate, a log position such as 16/B374D848 nor a time such as "
                "2026-11-23T02:15:00Z",
            ) from error
        return cls(TIME, time=moment, timeline=timeline)

    def __str__(self) -> str:
        """Return the target in words."""
        where = {
            LATEST: "the end of the archive",
            IMMEDIATE: "the end of the set",
            TIME: self.time and rfc3339(self.time),
            LSN: f"log position {self.lsn}",
        }[self.kind]
        return f"{where} on timeline {self.timeline}" if self.timeline else str(where)


# --- the parts of a manifest


@dataclass(frozen=True)
class FileEntry:
    """One file of a set: its path below the set's directory, its length and its SHA-256 in hexadecimal digits."""

    path: str
    bytes: int
    sha256: str

    def as_dict(self) -> Json:
        """Return the JSON object."""
        return {"path": self.path, "bytes": self.bytes, "sha256": self.sha256}


@dataclass(frozen=True)
class Table:
    """One table and how many rows it had before the copy began and after it ended.

    For a logical backup both are the same, counted in the dump's own snapshot.
    ``inserted`` and ``deleted`` are the rows that came and went between the
    two counts, by the server's statistics, so as far as those know.
    """

    schema: str
    name: str
    rows_before: int
    rows_after: int
    inserted: int = 0
    deleted: int = 0

    def as_dict(self) -> Json:
        """Return the JSON object."""
        return {
            "schema": self.schema,
            "name": self.name,
            "rows_before": self.rows_before,
            "rows_after": self.rows_after,
            "inserted": self.inserted,
            "deleted": self.deleted,
        }


@dataclass(frozen=True)
class Database:
    """One database: its size in bytes, its tables, and what it takes to make an empty one like it.

    Encoding, locale and owner are None where they are those of the cluster,
    which stand in PostgresqlFacts. ``locale`` is the name for a provider that
    is not libc.
    """

    name: str
    bytes: int
    tables: tuple[Table, ...] = ()
    owner: str | None = None
    encoding: str | None = None
    collate: str | None = None
    ctype: str | None = None
    locale_provider: str | None = None
    locale: str | None = None

    def as_dict(self) -> Json:
        """Return the JSON object."""
        return {
            "name": self.name,
            "bytes": self.bytes,
            "tables": [table.as_dict() for table in self.tables],
            "owner": self.owner,
            "encoding": self.encoding,
            "collate": self.collate,
            "ctype": self.ctype,
            "locale_provider": self.locale_provider,
            "locale": self.locale,
        }


@dataclass(frozen=True)
class PostgresqlFacts:
    """The server that was backed up.

    ``version`` as the server says it (15.18), ``system_identifier`` as a text
    because it is larger than JSON's numbers are safe, log positions such as
    16/B374D848, ``wal_start`` and ``wal_stop`` names of segments. Positions,
    segments and timeline are None where the backup is logical.
    """

    version: str
    major: int
    system_identifier: str
    encoding: str
    collate: str
    ctype: str
    locale_provider: str
    checksums: bool
    segment_bytes: int
    timeline: int | None = None
    lsn_start: str | None = None
    lsn_stop: str | None = None
    wal_start: str | None = None
    wal_stop: str | None = None
    locale: str | None = None
    extensions: dict[str, str] = field(default_factory=dict)
    databases: tuple[Database, ...] = ()

    def as_dict(self) -> Json:
        """Return the JSON object."""
        return {
            "version": self.version,
            "major": self.major,
            "system_identifier": self.system_identifier,
            "timeline": self.timeline,
            "lsn_start": self.lsn_start,
            "lsn_stop": self.lsn_stop,
            "wal_start": self.wal_start,
            "wal_stop": self.wal_stop,
            "encoding": self.encoding,
            "collate": self.collate,
            "ctype": self.ctype,
            "locale_provider": self.locale_provider,
            "locale": self.locale,
            "checksums": self.checksums,
            "segment_bytes": self.segment_bytes,
            "extensions": dict(self.extensions),
            "databases": [database.as_dict() for database in self.databases],
        }


@dataclass(frozen=True)
class App:
    """The homeserver that the data belongs to."""

    implementation: str
    version: str | None = None
    schema_version: str | None = None
    signing_key_ids: tuple[str, ...] = ()

    def as_dict(self) -> Json:
        """Return the JSON object."""
        return {
            "implementation": self.implementation,
            "version": self.version,
            "schema_version": self.schema_version,
            "signing_key_ids": list(self.signing_key_ids),
        }


@dataclass(frozen=True)
class Component:
    """What one driver put away: its files in the set, the bytes it stored wherever that is, and what only it knows."""

    driver: str
    files: tuple[FileEntry, ...] = ()
    bytes: int = 0
    detail: Json = field(default_factory=dict)

    def as_dict(self) -> Json:
        """Return the JSON object."""
        return {
            "driver": self.driver,
            "files": [entry.as_dict() for entry in self.files],
            "bytes": self.bytes,
            "detail": self.detail,
        }


@dataclass(frozen=True)
class Retention:
    """The class of a set, as operators name it, and the moment before which nothing removes it."""

    name: str = "regular"
    keep_until: datetime.datetime | None = None

    def __post_init__(self) -> None:
        """Hold the time as JSON will."""
        if self.keep_until is not None:
            object.__setattr__(self, "keep_until", _stored(self.keep_until))

    def as_dict(self) -> Json:
        """Return the JSON object."""
        return {"class": self.name, "keep_until": self.keep_until and rfc3339(self.keep_until)}


@dataclass(frozen=True)
class DatabasePart:
    """What a database driver hands back of a backup that went well.

    ``files`` have paths below the set's directory. ``bytes`` is what was
    stored, also where that lies outside the set. ``parent`` is the id of the
    set that this one adds to, None where it stands alone. ``timings`` are
    seconds.
    """

    driver: str
    kind: str
    pg: PostgresqlFacts
    files: tuple[FileEntry, ...] = ()
    bytes: int = 0
    parent: str | None = None
    tool_versions: dict[str, str] = field(default_factory=dict)
    detail: Json = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)

    def component(self) -> Component:
        """Return the manifest's component."""
        return Component(self.driver, self.files, self.bytes, self.detail)


# --- the manifest


@dataclass(frozen=True)
class Manifest:
    """A set that is complete.

    ``sequence`` gives the order of a store's sets; times are for people and
    for ages, because a clock may jump back. ``chain`` are the ids from the
    full set to this one, inclusive. ``timings`` are seconds.
    """

    id: str
    sequence: int
    fleet: str
    server: str
    created: datetime.datetime
    finished: datetime.datetime
    kind: str
    server_name: str | None = None
    parent: str | None = None
    chain: tuple[str, ...] = ()
    tool_versions: dict[str, str] = field(default_factory=dict)
    pg: PostgresqlFacts | None = None
    app: App | None = None
    media: Json | None = None
    components: dict[str, Component] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    retention: Retention = Retention()
    previous_set: str | None = None
    status: str = COMPLETE

    def __post_init__(self) -> None:
        """Hold times as JSON will; a set without a chain is its own; refuse what contradicts itself."""
        object.__setattr__(self, "created", _stored(self.created))
        object.__setattr__(self, "finished", _stored(self.finished))
        if not self.chain and self.parent is None:
            object.__setattr__(self, "chain", (self.id,))
        if problem := self._problem():
            raise BackupError(PARSE, f"the manifest of set {self.id!r}: {problem}")

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """Return the files of all components."""
        return tuple(entry for _name, part in sorted(self.components.items()) for entry in part.files)

    @property
    def stored_bytes(self) -> int:
        """Return what all components stored, wherever that is."""
        return sum(part.bytes for part in self.components.values())

    def _problem(self) -> str | None:
        if problem := id_problem(self.id, "id"):
            return problem
        for option, name in (("fleet", self.fleet), ("server", self.server)):
            if problem := folder_problem(name, option):
                return problem
        if self.status != COMPLETE:
            return f"its status is {self.status!r} and not {COMPLETE!r}"
        if self.kind not in KINDS:
            return f"kind: {self.kind!r} is none of {', '.join(KINDS)}"
        if self.sequence < 1:
            return f"sequence: {self.sequence} is not 1 or more"
        return self._chain_problem() or self._files_problem()

    def _chain_problem(self) -> str | None:
        if (self.kind == INCREMENTAL) != (self.parent is not None):
            return f"a set of kind {self.kind} does not go with the parent {self.parent}"
        if any(id_problem(link) for link in self.chain) or len(set(self.chain)) != len(self.chain):
            return f"chain: {list(self.chain)} is not a list of different sets"
        expected = (self.id,) if self.parent is None else (self.parent, self.id)
        if self.chain[-2:] != expected or (self.parent is None and len(self.chain) != 1):
            return f"chain: {list(self.chain)} does not lead over the parent {self.parent} to the set itself"
        return None

    def _files_problem(self) -> str | None:
        seen: set[str] = set()
        for entry in self.files:
            if problem := path_problem(entry.path):
                return f"file {entry.path!r} {problem}"
            if entry.path in seen:
                return f"file {entry.path!r} is listed twice"
            if entry.bytes < 0 or not _SHA256.fullmatch(entry.sha256):
                return f"file {entry.path!r} has no length and SHA-256 that can be right"
            seen.add(entry.path)
        return None

    def as_dict(self) -> Json:
        """Return the document that is written."""
        return {
            "schema": SCHEMA,
            "id": self.id,
            "sequence": self.sequence,
            "fleet": self.fleet,
            "server": self.server,
            "server_name": self.server_name,
            "created": rfc3339(self.created),
            "finished": rfc3339(self.finished),
            "status": self.status,
            "kind": self.kind,
            "parent": self.parent,
            "chain": list(self.chain),
            "tool_versions": dict(self.tool_versions),
            "pg": self.pg and self.pg.as_dict(),
            "app": self.app and self.app.as_dict(),
            "media": self.media,
            "components": {name: part.as_dict() for name, part in self.components.items()},
            "timings": dict(self.timings),
            "retention": self.retention.as_dict(),
            "previous_set": self.previous_set,
        }

    def to_bytes(self) -> bytes:
        """Return the text that is written: JSON in ASCII with sorted keys and a newline at the end."""
        content = json.dumps(self.as_dict(), sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False).encode()
        if len(content) >= MAX_BYTES:
            raise BackupError(
                INTERNAL,
                f"the manifest of set {self.id} would have {len(content)} bytes, more than {MAX_BYTES}; "
                f"it lists {len(self.files)} files: a driver with so many keeps their list in a file of its own",
            )
        return content + b"\n"

    @classmethod
    def from_bytes(cls, content: bytes) -> Manifest:
        """Return the manifest that a file holds, or fail with kind parse and the reason."""
        if len(content) > MAX_BYTES:
            raise BackupError(PARSE, f"the manifest has more than {MAX_BYTES} bytes")
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise BackupError(PARSE, f"the manifest is no JSON: {error}") from error
        return cls.from_dict(document)

    @classmethod
    def from_dict(cls, document: t.Any) -> Manifest:
        """Return the manifest that a document holds, or fail with kind parse and the reason."""
        try:
            return _manifest(Reader(document, "the manifest"))
        except (ValueError, OverflowError) as error:
            raise BackupError(PARSE, f"the manifest: {error}") from error


# --- reading


class Reader:
    """An object of a document, read with types. ValueError says what is not as it should be, and where."""

    def __init__(self, value: t.Any, where: str) -> None:
        if not isinstance(value, dict):
            raise ValueError(f"{where} is no JSON object")
        self._value: Json = value
        self._where = where

    def _get(self, key: str, kind: type, words: str) -> t.Any:
        if key not in self._value:
            raise ValueError(f"{self._where} has no {key!r}")
        value = self._value[key]
        # JSON's true is a number to Python.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{key!r} of {self._where} is {value!r:.60} and not {words}")
        return value

    def text(self, key: str) -> str:
        return t.cast(str, self._get(key, str, "a text"))

    def number(self, key: str) -> int:
        return t.cast(int, self._get(key, int, "a whole number"))

    def flag(self, key: str) -> bool:
        return t.cast(bool, self._get(key, bool, "true or false"))

    def table(self, key: str) -> Json:
        return t.cast(Json, self._get(key, dict, "an object"))

    def absent(self, key: str) -> bool:
        return self._value.get(key) is None

    def text_or_none(self, key: str) -> str | None:
        return None if self.absent(key) else self.text(key)

    def number_or_none(self, key: str) -> int | None:
        return None if self.absent(key) else self.number(key)

    def time(self, key: str) -> datetime.datetime:
        return parse_time(self.text(key))

    def texts(self, key: str) -> tuple[str, ...]:
        values: list[t.Any] = self._get(key, list, "a list")
        if not all(isinstance(value, str) for value in values):
            raise ValueError(f"{key!r} of {self._where} is not a list of texts")
        return tuple(values)

    def named_texts(self, key: str) -> dict[str, str]:
        values = self.table(key)
        if not all(isinstance(value, str) for value in values.values()):
            raise ValueError(f"{key!r} of {self._where} does not give a text to each name")
        return values

    def named_numbers(self, key: str) -> dict[str, float]:
        values = self.table(key)
        if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values.values()):
            raise ValueError(f"{key!r} of {self._where} does not give a number to each name")
        return values

    def below(self, key: str) -> Reader:
        return Reader(self.table(key), f"{key!r} of {self._where}")

    def each(self, key: str) -> t.Iterator[Reader]:
        for position, value in enumerate(self._get(key, list, "a list")):
            yield Reader(value, f"{key!r}[{position}] of {self._where}")

    def named(self, key: str) -> t.Iterator[tuple[str, Reader]]:
        for name, value in self.table(key).items():
            yield name, Reader(value, f"{key!r}.{name} of {self._where}")


def _manifest(source: Reader) -> Manifest:
    schema = source.text("schema")
    if schema != SCHEMA and not schema.startswith(SCHEMA + "."):
        raise ValueError(f"its schema is {schema!r}; this version reads {SCHEMA!r}")
    return Manifest(
        id=source.text("id"),
        sequence=source.number("sequence"),
        fleet=source.text("fleet"),
        server=source.text("server"),
        server_name=source.text_or_none("server_name"),
        created=source.time("created"),
        finished=source.time("finished"),
        status=source.text("status"),
        kind=source.text("kind"),
        parent=source.text_or_none("parent"),
        chain=source.texts("chain"),
        tool_versions=source.named_texts("tool_versions"),
        pg=None if source.absent("pg") else _postgresql(source.below("pg")),
        app=None if source.absent("app") else _app(source.below("app")),
        media=None if source.absent("media") else source.table("media"),
        components={name: _component(part) for name, part in source.named("components")},
        timings=source.named_numbers("timings"),
        retention=_retention(source.below("retention")),
        previous_set=source.text_or_none("previous_set"),
    )


def _postgresql(source: Reader) -> PostgresqlFacts:
    facts = PostgresqlFacts(
        version=source.text("version"),
        major=source.number("major"),
        system_identifier=source.text("system_identifier"),
        timeline=source.number_or_none("timeline"),
        lsn_start=source.text_or_none("lsn_start"),
        lsn_stop=source.text_or_none("lsn_stop"),
        wal_start=source.text_or_none("wal_start"),
        wal_stop=source.text_or_none("wal_stop"),
        encoding=source.text("encoding"),
        collate=source.text("collate"),
        ctype=source.text("ctype"),
        locale_provider=source.text("locale_provider"),
        locale=source.text_or_none("locale"),
        checksums=source.flag("checksums"),
        segment_bytes=source.number("segment_bytes"),
        extensions=source.named_texts("extensions"),
        databases=tuple(_database(database) for database in source.each("databases")),
    )
    for lsn in (facts.lsn_start, facts.lsn_stop):
        if lsn is not None and not _LSN.fullmatch(lsn):
            raise ValueError(f"{lsn!r} is no log position")
    for segment in (facts.wal_start, facts.wal_stop):
        if segment is not None and not _SEGMENT.fullmatch(segment):
            raise ValueError(f"{segment!r} is no name of a segment")
    return facts


def _database(source: Reader) -> Database:
    return Database(
        name=source.text("name"),
        bytes=source.number("bytes"),
        tables=tuple(
            Table(
                schema=table.text("schema"),
                name=table.text("name"),
                rows_before=table.number("rows_before"),
                rows_after=table.number("rows_after"),
                inserted=table.number_or_none("inserted") or 0,
                deleted=table.number_or_none("deleted") or 0,
            )
            for table in source.each("tables")
        ),
        owner=source.text_or_none("owner"),
        encoding=source.text_or_none("encoding"),
        collate=source.text_or_none("collate"),
        ctype=source.text_or_none("ctype"),
        locale_provider=source.text_or_none("locale_provider"),
        locale=source.text_or_none("locale"),
    )


def _app(source: Reader) -> App:
    return App(
        implementation=source.text("implementation"),
        version=source.text_or_none("version"),
        schema_version=source.text_or_none("schema_version"),
        signing_key_ids=source.texts("signing_key_ids"),
    )


def _component(source: Reader) -> Component:
    return Component(
        driver=source.text("driver"),
        files=tuple(
            FileEntry(entry.text("path"), entry.number("bytes"), entry.text("sha256")) for entry in source.each("files")
        ),
        bytes=source.number("bytes"),
        detail=source.table("detail"),
    )


def _retention(source: Reader) -> Retention:
    return Retention(source.text("class"), None if source.absent("keep_until") else source.time("keep_until"))
