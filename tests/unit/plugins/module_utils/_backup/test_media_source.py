"""Reading a media store: what is refused, what is counted, and what is never followed."""

from __future__ import annotations

import hashlib
import os
import random
import time
from dataclasses import replace

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import media_source
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.media import Found, Kept, Link, MediaPart, Source
from ansible_collections.matrixon.ops.plugins.module_utils._backup.mounts import FileSystem, Mount
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

DISK, OTHER = FileSystem("ext4", "/dev/sda1", "4711"), FileSystem("ext4", "/dev/sdb1", "0815")


@pytest.fixture
def store(tmp_path):
    root = tmp_path / "media"
    for name in ("local_content/aa/bb/one", "local_content/aa/cc/two", "local_thumbnails/aa/bb/one/32-32"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


@pytest.fixture
def source(store):
    return Source(str(store), (Kept("local_content"), Kept("local_thumbnails"), Kept("remote_content", False)))


def part(files=2, size=46, system=DISK, **more):
    found = {"local_content": Found(files, size, system), **more}
    return MediaPart("rsync", (Link("20261126T020000Z-0001", files, size),), False, files, size, found=found)


def counted(**files):
    return {path: Found(number, number * 10, DISK) for path, number in files.items()}


@pytest.fixture(autouse=True)
def one_disk(monkeypatch):
    """Let everything lie on one disk, until a test says otherwise."""
    monkeypatch.setattr(media_source, "read_mounts", lambda: [Mount(b"/", "ext4", "/dev/sda1")])
    monkeypatch.setattr(media_source, "known_uuids", lambda: {"/dev/sda1": "4711"})


# --- before a run


def test_a_store_as_it_should_be(source, store):
    looked = media_source.look(source, None)
    assert looked.present == (b"local_content", b"local_thumbnails")
    assert looked.file_systems == {"local_content": DISK, "local_thumbnails": DISK}
    assert looked.notes == ["remote_content is not there"]
    assert looked.root == os.fsencode(store)


def test_an_empty_store_is_refused(tmp_path):
    root = tmp_path / "media"
    root.mkdir()
    source = Source(str(root), (Kept("local_content"),))
    with pytest.raises(BackupError, match="has nothing in local_content; is its file system mounted") as caught:
        media_source.look(source, None)
    assert "accept_empty" in caught.value.message
    (root / "local_content").mkdir()
    with pytest.raises(BackupError, match="had 2 files at the last full run"):
        media_source.look(source, part())
    # It never had a file, or it is said to be empty.
    media_source.look(source, part(files=0, size=0))
    media_source.look(replace(source, accept_empty=True), part())


def test_an_optional_directory_fills_no_store(source, store, tmp_path):
    for name in ("local_content", "local_thumbnails"):
        (store / name).rename(tmp_path / name)
    (store / "remote_content/x").mkdir(parents=True)
    with pytest.raises(BackupError, match="has nothing in local_content, local_thumbnails"):
        media_source.look(source, None)


def test_a_store_that_is_not_there_or_closed(source, store, tmp_path):
    with pytest.raises(BackupError, match="No such file"):
        media_source.look(replace(source, root=str(tmp_path / "none")), None)
    with pytest.raises(BackupError, match="Not a directory"):
        media_source.look(replace(source, root=str(store / "local_content/aa/bb/one")), None)
    with pytest.raises(BackupError, match="absolute"):
        media_source.look(replace(source, root="media"), None)


def test_another_file_system_is_refused(source, store):
    media_source.look(source, part())
    with pytest.raises(BackupError, match="is the right file system mounted") as caught:
        media_source.look(source, part(system=OTHER))
    assert f"{store}/local_content lies on ext4 on /dev/sda1 (4711)" in caught.value.message
    assert "/dev/sdb1 (0815)" in caught.value.message and "accept_file_system" in caught.value.message
    media_source.look(replace(source, accept_file_system=True), part(system=OTHER))


def test_a_kept_directory_that_is_a_link_is_refused(source, store, tmp_path):
    (store / "local_content").rename(tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", store / "local_content")
    with pytest.raises(BackupError, match="is a symbolic link to .*/elsewhere, and links are never followed"):
        media_source.look(source, None)


def test_a_kept_directory_that_is_a_file_is_refused(source, store, tmp_path):
    (store / "local_thumbnails").rename(tmp_path / "elsewhere")
    (store / "local_thumbnails").write_text("")
    with pytest.raises(BackupError, match="is no directory"):
        media_source.look(source, None)


# --- scanning


def test_a_scan_counts_and_follows_nothing(source, store, tmp_path):
    (tmp_path / "secret").write_text("secret")
    os.symlink("../../secret", store / "local_content/out")
    os.symlink(tmp_path, store / "local_content/aa/dir")
    os.symlink("aa", store / "local_content/in")
    os.mkfifo(store / "local_content/aa/pipe")
    (store / "local_content/new\nline").write_text("x")
    with open(os.fsencode(store) + b"/local_content/\xff", "wb") as file:
        file.write(b"y")
    os.utime(store / "local_content/aa/bb/one", ns=(0, 4_000_000_000_000_000_123))
    looked = media_source.look(source, None)
    scan = media_source.scan(looked, Deadline(10))
    found = scan.found(looked)
    assert found["local_content"] == Found(4, 48, DISK) and found["local_thumbnails"] == Found(1, 32, DISK)
    assert scan.newest == 4_000_000_000_000_000_123
    assert scan.special == [b"local_content/aa/pipe"]
    assert sorted(scan.outside) == [b"local_content/aa/dir", b"local_content/out"]
    assert scan.tallies[b"local_content"].directories == 3
    assert [note.split()[0] for note in scan.notes()] == ["1", "2"]
    assert sorted(scan.pick.paths) == sorted(
        [
            b"local_content/aa/bb/one",
            b"local_content/aa/cc/two",
            b"local_content/new\nline",
            b"local_content/\xff",
            b"local_thumbnails/aa/bb/one/32-32",
        ]
    )


def test_the_whole_store_can_be_kept(store):
    looked = media_source.look(Source(str(store), (Kept("."),)), None)
    assert media_source.scan(looked, Deadline(10)).found(looked) == {".": Found(3, 78, DISK)}


def test_young_files_are_those_whose_inode_was_touched(source, store):
    old = store / "local_content/aa/bb/one"
    since = max(path.stat().st_ctime_ns for path in store.rglob("*"))
    # Longer than a tick, which is as exact as the kernel's stamps are.
    time.sleep(0.02)
    os.utime(old, ns=(0, 0))
    scan = media_source.scan(media_source.look(source, None), Deadline(10), since + 1)
    # Neither its length nor its mtime says so.
    assert scan.young == [b"local_content/aa/bb/one"]
    assert b"local_content/aa/bb/one" not in scan.pick.paths


def test_a_scan_keeps_its_deadline(source, clock):
    clock.step = 1.0
    with pytest.raises(Exception, match="scanning the media store: no answer within"):
        media_source.scan(media_source.look(source, None), Deadline(3, clock))


def test_a_pick_has_its_size_and_no_large_file():
    pick = media_source.Pick(5, random.Random(1))
    for number in range(1000):
        pick.add(b"%04d" % number, number)
    pick.add(b"large", media_source.SAMPLE_BYTES + 1)
    assert len(pick.paths) == 5 and b"large" not in pick.paths
    assert max(pick.paths) > b"0500"


# --- the shrink guard


@pytest.mark.parametrize(
    ("before", "now", "refused"),
    [(100, 100, False), (100, 90, False), (100, 89, True), (100, 200, False), (10, 9, False), (10, 8, True)],
)
def test_a_required_directory_may_lose_ten_percent(source, before, now, refused):
    previous = part(before, before * 10)
    if not refused:
        assert media_source.judge(source, previous, counted(local_content=now)) == []
        return
    with pytest.raises(BackupError, match="are gone") as caught:
        media_source.judge(source, previous, counted(local_content=now))
    assert caught.value.facts["directory"] == "local_content"
    assert "the copies before stay" in caught.value.message and "shrink_percent" in caught.value.message
    assert media_source.judge(replace(source, shrink_percent=30), previous, counted(local_content=now)) == []


def test_bytes_count_as_well_as_files(source):
    with pytest.raises(BackupError, match="50 % are gone"):
        media_source.judge(source, part(100, 1000), {"local_content": Found(100, 500, DISK)})


def test_a_required_directory_that_is_gone_shrank_to_nothing(source):
    previous = part(100, 1000, local_thumbnails=Found(50, 50, DISK))
    with pytest.raises(BackupError, match="local_thumbnails has no files, and had 50 .*: 100 % are gone"):
        media_source.judge(source, previous, counted(local_content=100))


def test_an_optional_directory_that_shrank_is_a_note(source):
    previous = part(100, 1000, remote_content=Found(50, 500, DISK))
    (note,) = media_source.judge(source, previous, counted(local_content=100, remote_content=5))
    assert note.startswith("remote_content has 5 files") and "90 % are gone" in note


def test_a_tree_of_empty_directories_is_empty(source):
    with pytest.raises(BackupError, match="holds no file"):
        media_source.judge(source, None, counted(local_content=0, remote_content=7))
    with pytest.raises(BackupError, match="holds no file"):
        media_source.judge(source, part(), counted(local_content=0))
    media_source.judge(replace(source, accept_empty=True), part(), counted(local_content=0))
    assert media_source.judge(source, part(0, 0), counted(local_content=0)) == []


# --- a list of changes


def resolved(source, *changes):
    looked = media_source.look(source, None)
    return media_source.resolve(looked, source, changes, Deadline(10))


def test_a_list_is_looked_at(source, store):
    listed = resolved(
        source,
        "local_content/aa/bb/one",
        b"./local_content/aa/bb/one",
        f"{store}/local_content/aa/cc/two",
        "local_content/gone",
        "elsewhere/x",
        "local_thumbnails/aa/bb",
    )
    assert listed.paths == [
        b"local_content/aa/bb/one",
        b"local_content/aa/cc/two",
        b"local_thumbnails/aa/bb/one/32-32",
    ]
    assert listed.bytes == 78
    assert [note.split(": ")[0] for note in listed.notes] == [
        "1 listed, but in no directory that is kept",
        "1 listed, but not there any more",
    ]


def test_nothing_of_a_list_is_followed(source, store, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    os.symlink(outside, store / "local_content/aa/link")
    os.mkfifo(store / "local_content/pipe")
    listed = resolved(
        source, "local_content/aa/link/secret", "local_content/aa/link", "local_content/pipe", "local_content/aa/bb/one"
    )
    assert listed.paths == [b"local_content/aa/link", b"local_content/aa/bb/one"]
    assert [note.split(": ")[0] for note in listed.notes] == [
        "1 listed, but neither file, directory nor link, and skipped",
        "1 listed, but behind a symbolic link, which is never followed",
    ]


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", ""])
def test_a_listed_path_that_leads_out_is_refused(source, path):
    with pytest.raises(BackupError, match="changes: "):
        resolved(source, path)


def test_a_list_of_which_nothing_is_there_is_refused(source):
    with pytest.raises(BackupError, match="none of the 2 listed files is in .*, for example 'local_content/x'"):
        resolved(source, "local_content/x", "local_content/y")
    assert resolved(source).paths == []


# --- files that change


def test_a_file_that_changes_while_it_is_copied_is_copied_again(tmp_path):
    (tmp_path / "still").write_text("still")
    (tmp_path / "busy").write_text("busy")
    copied = []

    def copy(paths):
        copied.append(list(paths))
        if len(copied) == 1:
            (tmp_path / "busy").write_text("longer")

    assert media_source.settle(os.fsencode(tmp_path), [b"still", b"busy"], copy) == []
    assert copied == [[b"still", b"busy"], [b"busy"]]


def test_a_file_that_never_rests_is_noted(tmp_path):
    (tmp_path / "busy").write_text("busy")
    copied = []

    def copy(paths):
        copied.append(list(paths))
        with (tmp_path / "busy").open("a") as file:
            file.write("more")

    (note,) = media_source.settle(os.fsencode(tmp_path), [b"busy"], copy)
    assert note.startswith("1 changed each time") and "'busy'" in note
    assert len(copied) == media_source.ROUNDS


def test_files_that_vanish_are_noted(tmp_path):
    (tmp_path / "here").write_text("here")
    copied = []

    def copy(paths):
        copied.append(list(paths))
        (tmp_path / "here").unlink()

    (note,) = media_source.settle(os.fsencode(tmp_path), [b"gone", b"here"], copy)
    assert note == "2 vanished while they were read: 'gone', 'here'"
    assert copied == [[b"here"]]
    assert media_source.settle(os.fsencode(tmp_path), [b"gone"], copy) != [] and len(copied) == 1


def test_a_note_shows_some_names():
    assert media_source.note([], "lost") == []
    assert media_source.note([b"a\n", b"\xff"], "lost") == [r"2 lost: 'a\n', '\udcff'"]
    assert media_source.note([b"%d" % number for number in range(9)], "lost")[0].endswith("and 4 more")


# --- the sample


def test_a_sample_leaves_out_what_is_not_at_rest(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    real = media_source.digest_of

    def digest(path, deadline):
        found = real(path, deadline)
        if path.endswith(b"two"):
            (tmp_path / "two").write_text("changed")
        return found

    monkeypatch.setattr(media_source, "digest_of", digest)
    (sample,) = media_source.take_sample(os.fsencode(tmp_path), [b"one", b"two", b"gone"], Deadline(10))
    assert sample == ("one", hashlib.sha256(b"one").hexdigest())


def test_a_sample_is_half_of_the_chain_so_far():
    old = tuple(media_source.Sample(f"old{number}", "00") for number in range(media_source.SAMPLE))
    own = tuple(media_source.Sample(f"own{number}", "00") for number in range(media_source.SAMPLE))
    previous = replace(part(), sample=old)
    joined = media_source.join_samples(own, previous, {b"old0"})
    assert len(joined) == media_source.SAMPLE and "old0" not in {entry.path for entry in joined}
    assert sum(entry.path.startswith("own") for entry in joined) == media_source.SAMPLE // 2
    assert media_source.join_samples(own[:1], previous, set())[0] == own[0]
