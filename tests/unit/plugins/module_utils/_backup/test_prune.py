"""Which log and which snapshots of the media no set needs any more."""

from __future__ import annotations

import contextlib
import datetime
import os
import pathlib
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import options as shared
from ansible_collections.matrixon.ops.plugins.module_utils._backup import prune
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import (
    DATABASE,
    MEDIA,
    Component,
    Manifest,
    PostgresqlFacts,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.media import Link, MediaPart
from ansible_collections.matrixon.ops.plugins.module_utils._backup.prune import spare_log, spare_snapshots
from ansible_collections.matrixon.ops.plugins.module_utils._backup.store import Entry, Store

NOW = datetime.datetime(2026, 11, 23, 9, tzinfo=datetime.timezone.utc)


def entry(name: str, number: int, *snapshots: str) -> Entry:
    part = MediaPart("rsync", tuple(Link(snapshot, 1, 1) for snapshot in snapshots), len(snapshots) > 1, 1, 1)
    manifest = Manifest(
        id=name,
        sequence=number,
        fleet="f",
        server="s",
        created=NOW,
        finished=NOW,
        kind="files",
        media=part.as_dict(),
        components={MEDIA: Component("rsync")},
    )
    return Entry(name, f"/sets/{name}", manifest)


def test_snapshots_go_with_the_last_set_that_names_them() -> None:
    entries = [entry("one", 1, "a"), entry("two", 2, "a", "b"), entry("three", 3, "c")]
    there = ["a", "b", "c"]
    assert spare_snapshots(entries, [], there) == []
    assert spare_snapshots(entries, ["one"], there) == [], "set two adds to snapshot a"
    assert spare_snapshots(entries, ["one", "two"], there) == ["a", "b"]


def test_a_snapshot_that_nobody_names_goes_unless_it_is_newer_than_all() -> None:
    assert spare_snapshots([entry("one", 1, "b")], [], ["a", "b", "c"]) == ["a"]
    assert spare_snapshots([], [], ["a", "b"]) == [], "no set stays, so nothing says what may go"


def test_with_a_manifest_that_cannot_be_read_no_snapshot_goes() -> None:
    unread = Entry("broken", "/sets/broken", damage="it has no readable MANIFEST.json")
    assert spare_snapshots([unread, entry("one", 1, "b")], [], ["a", "b"]) == []
    assert spare_snapshots([unread, entry("one", 1, "b")], ["broken"], ["a", "b"]) == ["a"]


def test_without_a_physical_set_all_of_the_log_stays(tmp_path: pathlib.Path) -> None:
    (tmp_path / "000000010000000000000001").touch()
    assert spare_log([entry("one", 1, "a")], [], str(tmp_path)) == []
    assert spare_log([], [], None) == []


# --- a set that appears between the first look and the lock


PG = PostgresqlFacts(
    version="17.5",
    major=17,
    system_identifier="7",
    encoding="UTF8",
    collate="C",
    ctype="C",
    locale_provider="libc",
    checksums=True,
    segment_bytes=16 << 20,
    timeline=1,
)
FIRST, SECOND = (f"00000001000000000000000{number}" for number in (1, 5))
DAYS = datetime.timedelta(days=1)


class Media:
    """A media repository that says what it holds and notes what it shall forget."""

    def __init__(self, *there: str) -> None:
        self.there = list(there)

    def snapshots(self, deadline: object) -> list[str]:
        return list(self.there)

    def forget(self, snapshots: t.Sequence[str], deadline: object) -> None:
        self.there = [name for name in self.there if name not in snapshots]


def take(store: Store, name: str, wal_start: str, *snapshots: str, age: int = 0, proven: bool = True) -> None:
    """Make a set of the database and of media; the lock must be held."""
    part = MediaPart("rsync", tuple(Link(snapshot, 1, 1) for snapshot in snapshots), len(snapshots) > 1, 1, 1)
    with store.begin(name) as partial:
        manifest = Manifest(
            id=name,
            sequence=store.next_sequence(),
            fleet="f",
            server="s",
            created=NOW - age * DAYS,
            finished=NOW - age * DAYS,
            kind="full",
            pg=PostgresqlFacts(**{**vars(PG), "wal_start": wal_start}),
            media=part.as_dict(),
            components={DATABASE: Component("native"), MEDIA: Component("rsync")},
        )
        store.commit(partial, manifest)
    if proven:
        store.record_drill(name, {"status": "ok"})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for a slow disk."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
    """Two proven sets, of which a policy that keeps one lets the first go with its log and its media."""
    made = Store(str(tmp_path / "root"), "f", "s", clock=lambda: NOW)
    with made.lock("backup"):
        take(made, "one", FIRST, "a", age=2)
        take(made, "two", SECOND, "b", age=1)
    os.mkdir(f"{made.path}/wal")
    for number in range(1, 7):
        pathlib.Path(f"{made.path}/wal/00000001000000000000000{number}").touch()
    return made


@pytest.fixture
def media(monkeypatch: pytest.MonkeyPatch) -> Media:
    media = Media("a", "b")
    monkeypatch.setattr(shared, "media_driver", lambda *dummy: media)
    return media


OPTIONS: dict[str, t.Any] = {
    **dict.fromkeys(prune.RULES, 0),
    "keep_last": 1,
    "max_age": None,
    "min_verified": 1,
    "deployment": "f",
    "profile": "synapse",
    "server": "s",
    "owner": None,
    "deadline": 60,
    "archive": None,
    "media": {},
}


def segments(store: Store) -> list[str]:
    return sorted(name[-1] for name in os.listdir(f"{store.path}/wal"))


def run(store: Store, check_mode: bool = False) -> prune.Outcome:
    return prune.run({**OPTIONS, "root": store.root}, check_mode, lambda: NOW)


def test_a_set_goes_with_its_log_and_its_media(store: Store, media: Media) -> None:
    foreseen = run(store, check_mode=True)
    assert foreseen.values["removed"] == ["one"] and foreseen.changed
    assert [entry.id for entry in store.sets()] == ["one", "two"] and media.there == ["a", "b"]
    done = run(store)
    assert done.values["removed"] == ["one"] and done.changed and not done.failed
    assert done.plan == foreseen.plan
    assert [entry.id for entry in store.sets()] == ["two"]
    assert segments(store) == ["5", "6"] and media.there == ["b"]
    assert not run(store).changed


def test_a_set_that_appears_after_the_first_look_keeps_what_it_needs(
    store: Store, media: Media, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Store.lock

    @contextlib.contextmanager
    def late(self: Store, doing: str) -> t.Iterator[None]:
        monkeypatch.setattr(Store, "lock", lock)
        with self.lock("backup"):
            take(self, "three", FIRST, "a", "c", proven=False)
            media.there.append("c")
        with self.lock(doing):
            yield

    monkeypatch.setattr(Store, "lock", late)
    done = run(store)
    assert done.values["removed"] == ["one"] and not done.failed
    assert [entry.id for entry in store.sets()] == ["two", "three"]
    assert segments(store) == list("123456"), "set three needs the log from the first segment on"
    assert media.there == ["a", "b", "c"], "set three adds to snapshot a"
    assert any(sentence.startswith("set three stays") for sentence in done.plan)


def test_a_hold_that_is_put_on_after_the_first_look_counts(
    store: Store, media: Media, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Store.lock

    @contextlib.contextmanager
    def late(self: Store, doing: str) -> t.Iterator[None]:
        self.hold("one", "audit")
        with lock(self, doing):
            yield

    monkeypatch.setattr(Store, "lock", late)
    done = run(store)
    assert not done.changed and not done.failed and done.values["removed"] == []
    assert [entry.id for entry in store.sets()] == ["one", "two"] and media.there == ["a", "b"]


def test_without_anything_to_remove_the_store_is_not_touched(tmp_path: pathlib.Path) -> None:
    nowhere = Store(str(tmp_path / "none"), "f", "s")
    assert not run(nowhere).changed
    assert list(tmp_path.iterdir()) == []
