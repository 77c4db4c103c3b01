"""Which log and which snapshots of the media no set needs any more."""

from __future__ import annotations

import datetime
import pathlib

from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import MEDIA, Component, Manifest
from ansible_collections.matrixon.ops.plugins.module_utils._backup.media import Link, MediaPart
from ansible_collections.matrixon.ops.plugins.module_utils._backup.prune import spare_log, spare_snapshots
from ansible_collections.matrixon.ops.plugins.module_utils._backup.store import Entry

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
