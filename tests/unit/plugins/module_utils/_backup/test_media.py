"""What media drivers share: options, the part of a manifest, shares, samples, targets of a restore."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from dataclasses import replace

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import media
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.media import (
    Found,
    Kept,
    Link,
    MediaPart,
    Sample,
    Share,
    Source,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.mounts import FileSystem
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

PART = MediaPart(
    driver="rsync",
    chain=(Link("20261126T020000Z-0001", 41, 4100, "ab"), Link("20261126T021500Z-0002", 2, 20)),
    list_driven=True,
    files=2,
    bytes=20,
    stored=20,
    newest=datetime.datetime(2026, 11, 26, 2, 14, tzinfo=datetime.timezone.utc),
    high_water=1795659240000,
    found={"local_content": Found(41, 4100, FileSystem("ext4", "/dev/sda1", "4711"))},
    sample=(Sample("local_content/\udcff\n", "cd"),),
    root=(109, 113, 0o750),
    notes=("1 vanished while they were read: 'x'",),
)


# --- options


def test_options_that_are_right():
    assert Source("/srv/media", (Kept("local_content"), Kept("local_thumbnails", False))).problems() == []
    assert Source("/srv/media", (Kept("."),)).problems() == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"root": "media"}, "'media' is not the absolute path"),
        ({"root": "/"}, "is not the absolute path"),
        ({"root": "//."}, "is not the absolute path"),
        ({"shrink_percent": 101}, "shrink_percent: 101"),
        ({"shrink_percent": -1}, "shrink_percent: -1"),
        ({"directories": ()}, "no directory"),
        ({"directories": (Kept("../x"),)}, "'../x' is no plain path"),
        ({"directories": (Kept("/x"),)}, "'/x' is no plain path"),
        ({"directories": (Kept(""),)}, "'' is no plain path"),
        ({"directories": (Kept("--delete"),)}, "'--delete' is no plain path"),
        ({"directories": (Kept("a"), Kept("a"))}, "overlap"),
        ({"directories": (Kept("a"), Kept("a/b"))}, "overlap"),
        ({"directories": (Kept("a/b"), Kept("a"))}, "overlap"),
        ({"directories": (Kept("."), Kept("a"))}, "overlap"),
    ],
)
def test_options_that_cannot_be_right(changes, words):
    problems = replace(Source("/srv/media", (Kept("local_content"),)), **changes).problems()
    assert len(problems) == 1 and words in problems[0]


def test_names_that_only_begin_alike_do_not_overlap():
    assert Source("/srv/media", (Kept("local"), Kept("local_content"))).problems() == []


def test_repository_and_media_store_stay_apart(tmp_path):
    store = tmp_path / "media"
    store.mkdir()
    source = Source(str(store), (Kept("local_content"),))
    assert media.place_problem(source, str(tmp_path / "backup"), "repository") is None
    assert media.place_problem(source, str(tmp_path / "media2"), "repository") is None
    assert "lies in the media store" in media.place_problem(source, str(store / "backup"), "repository")
    assert "lies in the media store" in media.place_problem(source, str(store), "repository")
    assert "the media store" in media.place_problem(source, str(tmp_path), "repository")
    assert "absolute" in media.place_problem(source, "backup", "repository")
    # Not by a detour either.
    os.symlink(store, tmp_path / "detour")
    assert "lies in the media store" in media.place_problem(source, str(tmp_path / "detour/backup"), "repository")


# --- the part of a manifest


def test_a_part_survives_its_way_through_json():
    text = json.dumps(PART.as_dict(), ensure_ascii=True)
    assert MediaPart.from_dict(json.loads(text)) == PART


def test_a_part_knows_its_place_in_the_chain():
    assert PART.snapshot == "20261126T021500Z-0002" and PART.parent == "20261126T020000Z-0001"
    assert PART.snapshots == (PART.parent, PART.snapshot)
    first = replace(PART, chain=PART.chain[:1])
    assert first.parent is None and first.component().detail == {"snapshot": PART.parent}
    assert PART.guards_only().chain == () and PART.guards_only().found == PART.found


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"snapshot": "another"}, "does not end with its snapshot"),
        ({"chain": []}, "does not end with its snapshot"),
        ({"files": "2"}, "'files'"),
        ({"files": True}, "'files'"),
        ({"sample": [{"path": "x"}]}, "'sha256'"),
        ({"found": {"local_content": {"files": 1, "bytes": 2}}}, "'file_system'"),
        ({"newest": "2026-11-26T02:14:00"}, "time zone"),
    ],
)
def test_a_part_that_is_not_whole_is_refused(changes, words):
    with pytest.raises(BackupError, match=words) as caught:
        MediaPart.from_dict({**PART.as_dict(), **changes})
    assert caught.value.kind == "parse"


def test_no_part_at_all():
    with pytest.raises(BackupError, match="no JSON object"):
        MediaPart.from_dict([])


# --- shares


def test_the_shares_of_days_in_a_row_cover_everything():
    day = datetime.date(2026, 11, 26)
    found = [Share.of_day(day + datetime.timedelta(days=number), 30) for number in range(30)]
    assert {share.number for share in found} == set(range(1, 31))
    assert str(found[0]) == f"share {found[0].number} of 30"


@pytest.mark.parametrize("share", [Share(0, 1), Share(2, 1), Share(1, 0), Share(-1, 3)])
def test_a_share_that_there_is_not(share):
    with pytest.raises(BackupError, match="there is no share"):
        share.checked()


# --- samples and targets


def test_a_sample_finds_what_is_not_as_it_was(tmp_path):
    (tmp_path / "same").write_bytes(b"same")
    (tmp_path / "other").write_bytes(b"0ther")
    os.symlink("same", tmp_path / "link")
    part = replace(
        PART,
        sample=(
            Sample("same", hashlib.sha256(b"same").hexdigest()),
            Sample("other", hashlib.sha256(b"other").hexdigest()),
            Sample("gone", "00"),
            Sample("link", hashlib.sha256(b"same").hexdigest()),
        ),
    )
    problems = media.sample_problems(part, str(tmp_path), Deadline(10))
    assert [problem.split()[0] for problem in problems] == ["'other'", "'gone'", "'link'"]


def test_a_target_is_absent_or_empty(tmp_path):
    target = tmp_path / "target"
    assert media.open_target(str(target)) == os.fsencode(target)
    assert target.stat().st_mode & 0o777 == 0o700
    target.chmod(0o755)
    media.open_target(str(target))
    assert target.stat().st_mode & 0o777 == 0o700
    (target / "x").write_text("mine")
    with pytest.raises(BackupError, match="not empty"):
        media.open_target(str(target))
    with pytest.raises(BackupError, match="no directory"):
        media.open_target(str(target / "x"))
    os.symlink(tmp_path, tmp_path / "link")
    with pytest.raises(BackupError, match="no directory"):
        media.open_target(str(tmp_path / "link"))
    with pytest.raises(BackupError, match="No such file"):
        media.open_target(str(tmp_path / "none/target"))
    with pytest.raises(BackupError, match="absolute"):
        media.open_target("target")
    assert (target / "x").read_text() == "mine"


def test_too_little_room_is_said_before_the_first_byte(tmp_path):
    media.check_room(str(tmp_path), 1, 1, "a copy")
    with pytest.raises(BackupError, match=r"a copy needs .*PiB, and the file system of .* has .* left; make room"):
        media.check_room(str(tmp_path), 1 << 60, 1, "a copy")


def test_too_few_inodes_are_too_little_room(tmp_path, monkeypatch):
    class Room:
        f_bavail, f_frsize, f_files, f_favail = 1000, 4096, 100, 7

    monkeypatch.setattr(media.os, "statvfs", lambda dummy: Room)
    media.check_room(str(tmp_path), 1, 7, "a copy")
    with pytest.raises(BackupError, match="inodes for 7"):
        media.check_room(str(tmp_path), 1, 8, "a copy")
    # A file system that makes them as it needs them says 0.
    Room.f_files = Room.f_favail = 0
    media.check_room(str(tmp_path), 1, 8, "a copy")


def test_times_of_files():
    assert media.moment(0) is None
    assert media.moment(1795659240_123_456_789).isoformat() == "2026-11-26T02:14:00.123000+00:00"
