# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Take a backup set: plan, gates, parts, manifest.

The order is database, media, configuration: each row of the database that
names a file of the media has that file in the set.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster
from ansible_collections.matrixon.ops.plugins.module_utils._backup.config import Config, ConfigPath
from ansible_collections.matrixon.ops.plugins.module_utils._backup.driver import Driver
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import (
    CONFIG,
    DATABASE,
    FILES,
    FULL,
    INCREMENTAL,
    MEDIA,
    App,
    Component,
    Json,
    Manifest,
    PostgresqlFacts,
    Retention,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.media import MediaDriver, MediaPart, Source
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import end_orphans
from ansible_collections.matrixon.ops.plugins.module_utils._backup.steps import Steps
from ansible_collections.matrixon.ops.plugins.module_utils._backup.store import Clock, Entry, Store
from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, Deadline

AUTO = "auto"
# What pg_basebackup says when the server refuses before it has sent anything.
NOT_BEGUN = "could not initiate base backup"


@dataclass(frozen=True)
class Kept:
    """What one part of a set put away."""

    component: Component
    kind: str | None = None
    parent: Manifest | None = None
    pg: PostgresqlFacts | None = None
    media: Json | None = None
    tool_versions: dict[str, str] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    # Directories whose driver keeps a list of its own.
    unlisted: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    signing_key_ids: tuple[str, ...] = ()


class Part(t.Protocol):
    """One component of a set and how it is put away. Failures are ProbeFailures."""

    name: str

    def problems(self, entries: t.Sequence[Entry]) -> list[str]:
        """Return what stands in the way, a sentence each. Nothing is touched."""

    def plan(self, entries: t.Sequence[Entry]) -> str:
        """Return in words what would be done."""

    def estimate(self) -> int:
        """Return the bytes that it will need on the store's file system."""

    def take(self, directory: str, entries: t.Sequence[Entry], deadline: Deadline) -> Kept:
        """Put it away in a set's directory."""


@dataclass(frozen=True)
class Wish:
    """The set that is asked for: its name (empty: one that is made), how long nothing may remove it, and its app."""

    name: str = ""
    retention: Retention = Retention()
    server_name: str | None = None
    app: App | None = None


# --- pure parts


def sound(entries: t.Iterable[Entry]) -> list[Entry]:
    """Return the sets that can be used, oldest first."""
    return [entry for entry in entries if entry.manifest is not None and entry.damage is None]


def newest_with(entries: t.Iterable[Entry], component: str) -> Manifest | None:
    """Return the manifest of the newest sound set that has a component."""
    found = [entry.manifest for entry in sound(entries) if entry.manifest and component in entry.manifest.components]
    return found[-1] if found else None


@dataclass(frozen=True)
class ChainRule:
    """When a database is copied whole: its ``kind`` (auto, full, incremental), the age of a full set in seconds at
    which ``auto`` begins a new chain, and the most sets that a chain may have."""

    kind: str = AUTO
    full_after: float = 7 * 86400
    longest: int = 14


def choose_parent(
    entries: t.Iterable[Entry], rule: ChainRule, driver: str, now: datetime.datetime
) -> tuple[Manifest | None, str]:
    """Return the set that the next one should add to, or None for a full one, and the reason in words."""
    if rule.kind == FULL:
        return None, "a full set was asked for"
    usable = sound(entries)
    parent = next(
        (
            entry.manifest
            for entry in reversed(usable)
            if entry.manifest and DATABASE in entry.manifest.components and entry.manifest.pg
        ),
        None,
    )
    if parent is None:
        return None, "there is no set of the database yet"
    if parent.components[DATABASE].driver != driver:
        return None, f"the newest set {parent.id} was made by the driver {parent.components[DATABASE].driver}"
    if rule.kind == INCREMENTAL:
        return parent, f"it adds to set {parent.id}, as was asked for"
    if len(parent.chain) >= rule.longest:
        return None, f"the chain of set {parent.id} has {len(parent.chain)} sets, and {rule.longest} are the most"
    full = next(entry.manifest for entry in usable if entry.id == parent.chain[0])
    if full is None:
        raise AssertionError
    # A set from the future has the age 0: the clock has jumped, the data has not.
    age = max(0.0, (now - full.finished).total_seconds())
    if age >= rule.full_after:
        return None, f"the full set {full.id} of the chain is {human(age, 's')} old"
    return parent, f"it adds to set {parent.id}"


# --- the database


class DatabaseTaker:
    """The database, by one of the drivers."""

    name = DATABASE

    def __init__(self, driver: Driver, rule: ChainRule, shrink_percent: float, clock: Clock) -> None:
        self._driver, self._rule, self._clock = driver, rule, clock
        self._shrink_percent = shrink_percent

    def problems(self, entries: t.Sequence[Entry]) -> list[str]:
        """Return what stands in the way of the driver, and of an incremental set where one was asked for."""
        found = self._driver.problems()
        if self._rule.kind == INCREMENTAL and not found:
            parent, reason = self._choose(entries)
            if parent is None:
                found.append(f"database.kind: no incremental set can be made: {reason}; use auto or full")
        return found

    def plan(self, entries: t.Sequence[Entry]) -> str:
        """Say which kind of set it will be, and why."""
        parent, reason = self._choose(entries)
        return f"the database by {self._driver.name}, {'incremental' if parent else 'whole'}: {reason}"

    def estimate(self) -> int:
        """Return what the driver guesses."""
        return self._driver.estimate()

    def take(self, directory: str, entries: t.Sequence[Entry], deadline: Deadline) -> Kept:
        """Copy it, and hold it against the last set: a dump of a server that lost its data is whole and no backup."""
        notes = [*self._clear(entries, deadline), *getattr(self._driver, "warnings", list)()]
        parent, dummy = self._choose(entries)
        try:
            part = self._driver.backup(directory, parent, deadline)
        except BackupError as error:
            # The server alone knows whether it still has what an incremental copy needs, and it says so at the start.
            if parent is None or self._rule.kind != AUTO or NOT_BEGUN not in error.message:
                raise
            shutil.rmtree(os.path.join(directory, "db"))
            parent = None
            notes.append(f"whole, because the server refuses to add to the last set: {error.message}")
            part = self._driver.backup(directory, None, deadline)
        before = newest_with(entries, DATABASE)
        if before and before.pg and (lost := cluster.shrunk(before.pg, part.pg, self._shrink_percent)):
            raise BackupError(
                INTERNAL,
                f"compared with set {before.id}: {'; '.join(lost)}. If that is right, say so with "
                "database.shrink_percent: 100",
            )
        return Kept(
            part.component(),
            kind=part.kind,
            parent=parent,
            pg=part.pg,
            tool_versions=part.tool_versions,
            timings=part.timings,
            notes=tuple(notes),
        )

    def _clear(self, entries: t.Sequence[Entry], deadline: Deadline) -> t.Iterator[str]:
        """Let a driver with a repository of its own remove what runs left there that did not come as far as a set."""
        tidy = getattr(self._driver, "tidy", None)
        if tidy and (removed := tidy({entry.id: entry.manifest for entry in entries}, deadline).removed):
            yield f"removed from the repository what no set names: {', '.join(removed)}"

    def _choose(self, entries: t.Sequence[Entry]) -> tuple[Manifest | None, str]:
        parent, reason = choose_parent(entries, self._rule, self._driver.name, self._clock())
        unfit = getattr(self._driver, "reason_for_full", lambda _parent: "a dump is always whole")
        if parent and (why := unfit(parent)):
            return None, why
        return parent, reason


# --- the media and the configuration


class MediaTaker:
    """The media store, by one of the drivers. With ``changes`` only the files of that list."""

    name = MEDIA

    def __init__(self, driver: MediaDriver, source: Source, changes: t.Sequence[bytes] | None) -> None:
        self._driver, self._source, self._changes = driver, source, changes

    def problems(self, entries: t.Sequence[Entry]) -> list[str]:
        """Return what stands in the way of the driver."""
        found = self._driver.problems(self._source)
        if self._changes is not None and self._previous(entries) is None:
            found.append("media.changes: there is no set of the media that it could add to; make one without it")
        return found

    def plan(self, entries: t.Sequence[Entry]) -> str:
        """Say how much is looked at."""
        if self._changes is None:
            return f"the media by {self._driver.name}: every directory is looked at"
        return f"the media by {self._driver.name}: {len(self._changes)} files of the list"

    def estimate(self) -> int:
        """Return 0: the driver asks for room where its repository is."""
        return 0

    def take(self, directory: str, entries: t.Sequence[Entry], deadline: Deadline) -> Kept:
        """Keep the media in the driver's repository; the set names the snapshot."""
        self._driver.prepare(deadline)
        part = self._driver.backup(self._source, self._previous(entries), self._changes, deadline)
        return Kept(
            part.component(),
            media=part.as_dict(),
            tool_versions=part.tool_versions,
            timings=part.timings,
            notes=(f"{part.files} files with {human(part.bytes, 'B')} looked at", *part.notes),
        )

    def _previous(self, entries: t.Sequence[Entry]) -> MediaPart | None:
        found = newest_with(entries, MEDIA)
        return MediaPart.from_dict(found.media) if found and found.media else None


class ConfigTaker:
    """Configuration and keys, encrypted for the recipients."""

    name = CONFIG

    def __init__(self, driver: Config, paths: t.Sequence[ConfigPath]) -> None:
        self._driver, self._paths = driver, paths

    def problems(self, entries: t.Sequence[Entry]) -> list[str]:
        """Return what stands in the way of the driver."""
        return self._driver.problems(self._paths)

    def plan(self, entries: t.Sequence[Entry]) -> str:
        """Say what is encrypted."""
        return f"configuration and keys, encrypted: {', '.join(path.path for path in self._paths)}"

    def estimate(self) -> int:
        """Return a megabyte: configuration is small."""
        return 1 << 20

    def take(self, directory: str, entries: t.Sequence[Entry], deadline: Deadline) -> Kept:
        """Put an encrypted archive into the set."""
        part = self._driver.backup(self._paths, directory, deadline)
        return Kept(
            part.component(),
            tool_versions=part.tool_versions,
            timings=part.timings,
            notes=(f"{part.detail['members']} files and directories", *part.notes),
            signing_key_ids=part.signing_key_ids,
        )


# --- the set


def problems(store: Store, parts: t.Sequence[Part], entries: t.Sequence[Entry]) -> list[str]:
    """Return everything that stands in the way of a set, a sentence each. Nothing is touched."""
    return [*store.problems(), *(problem for part in parts for problem in part.problems(entries))]


def plan(store: Store, parts: t.Sequence[Part], wish: Wish, entries: t.Sequence[Entry]) -> list[str]:
    """Return in words what would be done, for check mode."""
    name = wish.name or "a new id"
    lines = [f"a set under {name} would be made in {store.path}", *(part.plan(entries) for part in parts)]
    return lines + [f"{path}, which a killed run left, would be removed" for path in store.leftovers()]


def take(
    store: Store,
    parts: t.Sequence[Part],
    wish: Wish,
    steps: Steps,
    deadline: Deadline,
    clock: Clock,
) -> Entry:
    """Make a set. Whatever goes wrong, the sets that were there stay, and nothing half made counts."""
    with steps.step("backup_preflight") as note:
        entries = store.sets()
        if found := problems(store, parts, entries):
            raise BackupError(INTERNAL, "; ".join(found))
        needed = sum(part.estimate() for part in parts)
        note.say(f"nothing stands in the way; it will need {human(needed, 'B')} at most", needed, "B")
    with contextlib.ExitStack() as stack:
        with steps.step("backup_begin") as note:
            stack.enter_context(store.lock("backup"))
            # Only who holds the lock makes sets, so whatever works on one now is left over.
            ended = end_orphans(store.partial_prefix)
            swept = store.sweep()
            store.require_space(needed)
            partial = stack.enter_context(store.begin(wish.name or store.new_id()))
            said = [f"removed what killed runs left: {', '.join(swept)}"] if swept else []
            said += [f"ended {ended} processes of theirs"] if ended else []
            note.say("; ".join(said) or "the store is free")
        created = clock()
        entries = store.sets()
        kept: dict[str, Kept] = {}
        for part in parts:
            with steps.step(f"backup_{part.name}") as note:
                kept[part.name] = part.take(partial.path, entries, deadline)
                size = kept[part.name].component.bytes
                note.say("; ".join([f"{human(size, 'B')} put away", *kept[part.name].notes]), size, "B")
        with steps.step("backup_set") as note:
            manifest = _manifest(store, partial.id, entries, kept, wish, created, clock())
            entry = store.commit(partial, manifest, [path for part in kept.values() for path in part.unlisted])
            store.write_catalog()
            note.say(f"set {entry.id} is complete: {manifest.kind}, {human(manifest.stored_bytes, 'B')}")
    return entry


def _manifest(
    store: Store,
    set_id: str,
    entries: t.Sequence[Entry],
    kept: t.Mapping[str, Kept],
    wish: Wish,
    created: datetime.datetime,
    finished: datetime.datetime,
) -> Manifest:
    database = kept.get(DATABASE)
    parent = database.parent if database else None
    before = sound(entries)
    return Manifest(
        id=set_id,
        sequence=store.next_sequence(),
        fleet=store.fleet,
        server=store.server,
        server_name=wish.server_name,
        created=created,
        finished=finished,
        kind=database.kind if database and database.kind else FILES,
        parent=parent.id if parent else None,
        chain=(*parent.chain, set_id) if parent else (set_id,),
        tool_versions={name: version for part in kept.values() for name, version in part.tool_versions.items()},
        pg=database.pg if database else None,
        app=_app(wish.app, [key for part in kept.values() for key in part.signing_key_ids]),
        media=next((part.media for part in kept.values() if part.media), None),
        components={name: part.component for name, part in kept.items()},
        timings={f"{name} {lap}": seconds for name, part in kept.items() for lap, seconds in part.timings.items()},
        retention=wish.retention,
        previous_set=before[-1].id if before else None,
    )


def _app(app: App | None, signing_key_ids: t.Sequence[str]) -> App | None:
    return replace(app, signing_key_ids=tuple(signing_key_ids)) if app else None
