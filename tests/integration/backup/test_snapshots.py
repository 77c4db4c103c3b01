"""The plain media driver with a real rsync: what it keeps, what it refuses, what it finds damaged."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import gzip
import os
import pathlib
import random
import shutil
import signal
import threading
import time
from dataclasses import replace

import pytest
from stores import MediaStore, flip, kept, mounted, open_to_all, soon, start, tree, wrapper

from ansible_collections.matrixon.ops.plugins.module_utils._backup import snapshots
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.media import Kept, MediaPart, Share, Source
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner, find_user
from ansible_collections.matrixon.ops.plugins.module_utils._backup.snapshots import Snapshots
from ansible_collections.matrixon.ops.plugins.module_utils._probe import ProbeFailure

EVERYTHING = Share(1, 1)


@pytest.fixture
def store(tmp_path: pathlib.Path) -> MediaStore:
    return MediaStore(tmp_path / "media")


@pytest.fixture
def place(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "snapshots"


@pytest.fixture
def driver(place: pathlib.Path) -> Snapshots:
    made = Snapshots(str(place))
    assert made.prepare(soon()) is True and made.prepare(soon()) is False
    assert place.stat().st_mode & 0o777 == 0o700
    return made


@pytest.fixture
def full(driver: Snapshots, store: MediaStore) -> MediaPart:
    return driver.backup(store.source, None, None, soon())


def nothing_half(place: pathlib.Path) -> bool:
    return not [path for path in place.iterdir() if path.name.startswith((".partial", ".removing"))]


def restored(driver: Snapshots, part: MediaPart, target: pathlib.Path) -> dict[bytes, tuple[object, ...]]:
    driver.restore(part, str(target), soon())
    return tree(target)


# --- what is kept


def test_everything_comes_back_as_it_was(driver, store, tmp_path):
    store.add_odd_names()
    os.symlink("/etc/passwd", store.path("local_content/outside"))
    os.symlink("odd", store.path("local_content/inside"))
    store.path("local_content/odd").chmod(0o750)
    store.root.chmod(0o711)
    part = driver.backup(store.source, None, None, soon(), high_water=7)
    assert part.list_driven is False and part.parent is None and part.high_water == 7
    assert part.files == part.found["local_content"].files + part.found["local_thumbnails"].files == 47
    assert part.found["local_content"].files == 27
    assert part.bytes == sum(facts[3] for facts in kept(store.root).values() if len(facts) == 6) == part.stored
    assert [note.split(":")[0] for note in part.notes] == [
        "remote_content is not there",
        "1 symbolic links that lead out of the media store",
    ]
    assert part == replace(MediaPart.from_dict(part.as_dict()), tool_versions=part.tool_versions, timings=part.timings)
    assert restored(driver, part, tmp_path / "target") == kept(store.root)
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o711
    # Nobody else can look into the copies, whatever their own modes are.
    for path in driver.snapshots(soon()):
        assert (tmp_path / "snapshots" / path).stat().st_mode & 0o777 == 0o700


def test_what_did_not_change_is_shared(driver, store, full, place, tmp_path):
    changed, same = store.path(store.paths(store.media[0])[0]), store.paths(store.media[1])[0]
    changed.write_bytes(b"new content")
    part = driver.backup(store.source, full, None, soon())
    assert part.files == full.files and part.stored == len(b"new content")
    first, second = (place / name / "files" for name in (full.snapshot, part.snapshot))
    assert (first / same).stat().st_ino == (second / same).stat().st_ino
    assert (first / changed.relative_to(store.root)).read_bytes() != b"new content"
    assert restored(driver, part, tmp_path / "target") == kept(store.root)
    driver.verify(full, EVERYTHING, soon())


def test_a_change_within_one_second_and_of_the_same_length_is_seen(driver, store, full):
    path = store.path(store.paths(store.media[0])[0])
    info = path.stat()
    path.write_bytes(bytes(len(path.read_bytes())))
    os.utime(path, ns=(info.st_mtime_ns, info.st_mtime_ns // 1_000_000_000 * 1_000_000_000 + 1))
    os.utime(
        path, ns=(info.st_mtime_ns, info.st_mtime_ns + (1 if info.st_mtime_ns % 1_000_000_000 < 999_999_999 else -1))
    )
    assert driver.backup(store.source, full, None, soon()).stored == info.st_size


def test_a_list_costs_what_changed(driver, store, full, place, tmp_path):
    odd = store.add_odd_names()
    new = store.upload()
    changes = [*odd, *store.paths(new), "local_content/gone", "other/x", store.paths(store.media[0])[0]]
    part = driver.backup(store.source, full, changes, soon(), high_water=9)
    assert part.list_driven and part.parent == full.snapshot and part.found == full.found and part.high_water == 9
    # The file of the list that the full snapshot has already is not copied again.
    assert part.files == 10 and part.chain[1].files == 9
    assert len(tree(place / part.snapshot / "files")) < 20
    assert [note.split(":")[0] for note in part.notes][1:] == [
        "1 listed, but in no directory that is kept",
        "1 listed, but not there any more",
    ]
    again = driver.backup(store.source, part, changes, soon())
    assert again.chain == part.chain and again.stored == 0
    store.path(odd[0]).write_bytes(b"changed again")
    last = driver.backup(store.source, again, [odd[0]], soon())
    assert len(last.chain) == 3
    assert restored(driver, last, tmp_path / "target") == kept(store.root)
    driver.verify(last, EVERYTHING, soon())
    only = [os.fsdecode(odd[0]), store.paths(store.media[1])[0]]
    assert driver.restore(last, str(tmp_path / "some"), soon(), only=only).files == 2
    assert (tmp_path / "some" / only[0]).read_bytes() == b"changed again"
    with pytest.raises(BackupError, match="hold no 'local_content/none'"):
        driver.restore(last, str(tmp_path / "none"), soon(), only=["local_content/none"])


def test_a_full_run_after_lists_begins_a_new_chain(driver, store, full, tmp_path):
    new = store.upload()
    listed = driver.backup(store.source, full, store.paths(new), soon())
    part = driver.backup(store.source, listed, None, soon())
    assert len(part.chain) == 1 and part.files == full.files + 2
    assert restored(driver, part, tmp_path / "target") == kept(store.root)


def test_lists_that_overlap_copy_nothing_twice(driver, store, full, tmp_path):
    part, paths = full, []
    for dummy in range(5):
        paths += store.paths(store.upload())
        part = driver.backup(store.source, part, paths, soon())
    assert [link.files for link in part.chain[1:]] == [2] * 5
    store.path(paths[0]).write_bytes(b"changed")
    part = driver.backup(store.source, part, paths, soon())
    assert part.chain[-1].files == 1
    assert restored(driver, part, tmp_path / "target") == kept(store.root)


def test_a_link_of_the_chain_with_a_damaged_list_is_not_relied_on(driver, store, full, place, tmp_path):
    paths = store.paths(store.upload())
    part = driver.backup(store.source, full, paths, soon())
    flip(place / part.snapshot / "LIST.gz", 40)
    last = driver.backup(store.source, part, paths, soon())
    assert last.chain[-1].files == 2 and [note for note in last.notes if "make a full run soon" in note]


def test_all_of_a_store_can_be_kept(driver, store, tmp_path):
    source = Source(str(store.root), (Kept("."),))
    full = driver.backup(source, None, None, soon())
    new = store.upload()
    part = driver.backup(source, full, store.paths(new), soon())
    assert restored(driver, part, tmp_path / "target") == kept(store.root)


def test_order_does_not_go_by_the_clock(driver, store, full, monkeypatch):
    hour_ago = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
    monkeypatch.setattr(snapshots, "utc_now", lambda: hour_ago)
    part = driver.backup(store.source, full, None, soon())
    assert part.snapshot < full.snapshot
    assert driver.snapshots(soon()) == [full.snapshot, part.snapshot]


# --- F14: what is not the media store that is meant


def refused(driver, source, previous, words, changes=None):
    before = driver.snapshots(soon())
    with pytest.raises(BackupError, match=words):
        driver.backup(source, previous, changes, soon())
    assert driver.snapshots(soon()) == before
    assert nothing_half(pathlib.Path(driver.place))


def test_an_emptied_store_is_refused_and_the_last_copy_stays(driver, store, full, tmp_path):
    before = kept(store.root)
    store.root.rename(tmp_path / "away")
    store.root.mkdir()
    refused(driver, store.source, full, "had 40 files at the last full run; is its file system mounted")
    refused(driver, store.source, full, "has nothing in local_content", changes=["local_content/x"])
    assert restored(driver, full, tmp_path / "target") == before


def test_a_store_whose_file_system_is_not_mounted_is_refused(driver, tmp_path):
    root = tmp_path / "media"
    root.mkdir()
    with mounted(root, "4m"):
        store = MediaStore(root)
        full = driver.backup(store.source, None, None, soon())
        assert full.found["local_content"].file_system.kind == "tmpfs"
        before = kept(root)
    refused(driver, store.source, full, "is its file system mounted")
    # Somebody wrote below the mount meanwhile, and not a little.
    other = MediaStore(root, seed=2)
    refused(driver, other.source, full, "lies on .*, and at the last run on tmpfs on tmpfs; is the right")
    assert restored(driver, full, tmp_path / "target") == before
    moved = replace(other.source, accept_file_system=True)
    assert driver.backup(moved, full, None, soon()).files == 40


def test_a_store_that_shrank_is_refused(driver, store, full, tmp_path):
    for media_id in store.media[:3]:
        for path in store.paths(media_id):
            store.path(path).unlink()
    refused(driver, store.source, full, "local_content has 17 files .*: .* % are gone")
    part = driver.backup(replace(store.source, shrink_percent=30), full, None, soon())
    assert part.files == 34
    # What is gone from the source is still in the snapshot that had it.
    assert len(restored(driver, full, tmp_path / "target")) > len(kept(store.root))


def test_directories_without_files_are_no_store(driver, store, full):
    for path in kept(store.root):
        with contextlib.suppress(IsADirectoryError, PermissionError):
            os.unlink(store.path(path))
    refused(driver, store.source, full, "holds no file")


def test_a_place_that_is_not_mounted_is_refused(driver, store, full, place, tmp_path):
    place.rename(tmp_path / "away")
    with pytest.raises(BackupError, match="is its file system mounted, and was it prepared"):
        driver.backup(store.source, full, None, soon())
    assert not place.exists()
    driver.prepare(soon())
    refused(driver, store.source, full, f"has no snapshot {full.snapshot}, which the last run left there")
    # A new place is taken when that is said, and the guards hold all the same.
    part = driver.backup(store.source, full.guards_only(), None, soon())
    assert part.stored == part.bytes
    for path in kept(store.root):
        if path.startswith(b"local_thumbnails") and store.path(path).is_file():
            store.path(path).unlink()
    refused(driver, store.source, part.guards_only(), "local_thumbnails has 0 files")


def test_a_list_without_a_full_run_is_refused(driver, store):
    changes = store.paths(store.media[0])
    refused(driver, store.source, None, "make a full run first", changes)
    full = driver.backup(store.source, None, None, soon())
    refused(driver, store.source, full.guards_only(), "make a full run first", changes)
    refused(driver, store.source, replace(full, driver="restic"), "make a full run first", changes)


def test_repository_and_source_stay_apart(store):
    with pytest.raises(BackupError, match="lies in the media store"):
        Snapshots(str(store.root / "snapshots")).backup(store.source, None, None, soon())
    with pytest.raises(BackupError, match="the media store .* lies in"):
        Snapshots(str(store.root.parent)).backup(store.source, None, None, soon())


# --- links and special files


def test_no_link_is_followed_and_no_special_file_is_read(driver, store, full, place, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("top secret")
    os.symlink(outside, store.path("local_content/link"))
    os.mkfifo(store.path("local_content/pipe"))
    part = driver.backup(store.source, full, None, soon())
    assert [note.split(":")[0] for note in part.notes][1:] == [
        "1 neither file, directory nor link, and skipped",
        "1 symbolic links that lead out of the media store",
    ]
    listed = driver.backup(store.source, part, ["local_content/link/secret", "local_content/pipe"], soon())
    assert listed.chain == part.chain and len(listed.notes) == 3
    assert b"top secret" not in b"".join(path.read_bytes() for path in place.rglob("*") if path.is_file())
    driver.restore(part, str(tmp_path / "target"), soon())
    assert os.readlink(tmp_path / "target/local_content/link") == str(outside)


def test_what_became_of_another_kind_stays_within_the_target(driver, store, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    os.symlink(outside, store.path("local_content/turned"))
    store.write("local_content/flat/x", b"x")
    full = driver.backup(store.source, None, None, soon())
    store.path("local_content/turned").unlink()
    store.write("local_content/turned/x", b"inside")
    store.path("local_content/flat/x").unlink()
    store.path("local_content/flat").rmdir()
    store.write("local_content/flat", b"a file now")
    part = driver.backup(store.source, full, ["local_content/turned/x", "local_content/flat"], soon())
    assert restored(driver, part, tmp_path / "target") == kept(store.root)
    assert list(outside.iterdir()) == []


# --- files that change and vanish


def test_a_file_that_changes_while_it_is_read_is_read_again(driver, store, place, tmp_path):
    victim = store.write("local_content/growing", b"half")
    once = tmp_path / "once"
    tool = wrapper(
        tmp_path / "rsync",
        "rsync",
        after=f'[ -e {once} ] || case "$*" in *recursive*) touch {once}; printf whole >> {victim};; esac',
    )
    part = Snapshots(str(place), tool=tool).backup(store.source, None, None, soon())
    assert once.exists() and not [note for note in part.notes if "changed" in note]
    driver.restore(part, str(tmp_path / "target"), soon())
    assert (tmp_path / "target/local_content/growing").read_bytes() == b"halfwhole"


def test_a_file_that_never_rests_is_noted(driver, store, place, tmp_path):
    victim = store.write("local_content/growing", b"half")
    tool = wrapper(tmp_path / "rsync", "rsync", after=f'case "$*" in *version) ;; *) printf more >> {victim};; esac')
    part = Snapshots(str(place), tool=tool).backup(store.source, None, None, soon())
    assert [note for note in part.notes if "changed each time" in note and "'local_content/growing'" in note]
    listed = Snapshots(str(place), tool=tool).backup(store.source, part, ["local_content/growing"], soon())
    assert [note for note in listed.notes if "changed each time" in note]
    # What is noted is still what the records say that it is.
    driver.verify(listed, EVERYTHING, soon())


def test_a_listed_file_that_vanishes_is_noted(driver, store, full, place, tmp_path):
    victim, other = store.write("local_content/gone", b"x"), store.write("local_content/stays", b"y")
    tool = wrapper(tmp_path / "rsync", "rsync", before=f'case "$*" in *files-from*) rm -f {victim};; esac')
    part = Snapshots(str(place), tool=tool).backup(
        store.source, full, ["local_content/gone", "local_content/stays"], soon()
    )
    assert "1 vanished while they were read: 'local_content/gone'" in part.notes
    assert part.chain[-1].files == 1 and other.exists()


def test_files_that_come_and_go_during_a_full_run(driver, store, tmp_path):
    """Many go while rsync walks; whatever it met, the run says so or has it, and all that stayed is there."""
    doomed = [store.write(f"local_content/doomed/{number}", b"x" * 200) for number in range(3000)]
    stop = threading.Event()

    def remove() -> None:
        for path in doomed:
            if stop.wait(0.0002):
                return
            path.unlink()

    thread = threading.Thread(target=remove)
    thread.start()
    try:
        part = driver.backup(replace(store.source, shrink_percent=100), None, None, soon())
    finally:
        stop.set()
        thread.join()
    driver.verify(part, EVERYTHING, soon())
    found = restored(driver, part, tmp_path / "target")
    stayed = {path: facts for path, facts in kept(store.root).items() if b"doomed" not in path}
    assert stayed.items() <= found.items()


def test_a_file_that_cannot_be_read_is_no_success():
    with open_to_all() as folder:
        store, place = MediaStore(folder / "media"), folder / "snapshots"
        place.mkdir()
        shutil.chown(place, "nobody")
        driver = Snapshots(str(place), Runner(find_user("nobody")))
        full = driver.backup(store.source, None, None, soon())
        closed = store.write("local_content/closed", b"x")
        closed.chmod(0o600)
        for changes in (None, ["local_content/closed"]):
            refused(driver, store.source, full, "code 23: .*local_content/closed.*Permission denied", changes)


# --- F15: copies that are not what was put away


def test_one_byte_changed_in_the_copy_is_found_and_mended(driver, store, full, place, tmp_path, monkeypatch):
    # It is the scrub that finds it here, not the sample of the next run.
    monkeypatch.setattr(snapshots, "_pick", lambda dummy: [])
    name = store.paths(store.media[0])[0]
    second = driver.backup(store.source, full, None, soon())
    flip(place / second.snapshot / "files" / name)
    found = []
    for number in range(1, 6):
        try:
            driver.verify(second, Share(number, 5), soon())
        except BackupError as error:
            assert error.kind == "parse" and repr(name) in error.message
            found.append(number)
    assert len(found) == 1
    with pytest.raises(BackupError, match="1 files of 40 did not come back .* has the SHA-256"):
        driver.restore(second, str(tmp_path / "damaged"), soon())
    # The next full run takes it from the source again, although length and time are equal.
    third = driver.backup(store.source, second, None, soon())
    assert f"1 whose copy was not what was put away; copied anew: {name!r}" in third.notes
    driver.verify(third, EVERYTHING, soon())
    assert restored(driver, third, tmp_path / "target") == kept(store.root)
    fourth = driver.backup(store.source, third, None, soon())
    assert not [note for note in fourth.notes if "anew" in note] and fourth.stored == 0


def test_the_sample_of_a_run_finds_damage_too(driver, place, tmp_path):
    store = MediaStore(tmp_path / "small", files=10)
    full = driver.backup(store.source, None, None, soon())
    name = store.paths(store.media[0])[0]
    flip(place / full.snapshot / "files" / name)
    part = driver.backup(store.source, full, None, soon())
    assert f"1 whose copy was not what was put away; copied anew: {name!r}" in part.notes
    driver.verify(part, EVERYTHING, soon())
    assert name in {entry.path for entry in part.sample}


def test_a_source_that_changed_and_does_not_show_it_is_noted(driver, tmp_path):
    store = MediaStore(tmp_path / "small", files=10)
    full = driver.backup(store.source, None, None, soon())
    before, name = kept(store.root), store.paths(store.media[0])[0]
    flip(store.path(name))
    part = driver.backup(store.source, full, None, soon())
    assert [note for note in part.notes if "another one in the media store" in note and repr(name) in note]
    # Both contents are kept.
    assert restored(driver, full, tmp_path / "old") == before
    assert restored(driver, part, tmp_path / "new") == kept(store.root) != before


@pytest.mark.parametrize("damage", ["missing", "longer", "list", "another list", "list cut off", "facts", "snapshot"])
def test_other_damage_is_found(driver, store, full, place, tmp_path, damage):
    snapshot = place / full.snapshot
    copy = snapshot / "files" / store.paths(store.media[0])[0]
    if damage == "missing":
        copy.unlink()
    elif damage == "longer":
        copy.write_bytes(copy.read_bytes() + b"x")
    elif damage == "list":
        flip(snapshot / "LIST.gz", 40)
    elif damage == "another list":
        content = gzip.decompress((snapshot / "LIST.gz").read_bytes())
        (snapshot / "LIST.gz").write_bytes(gzip.compress(content.partition(b"\0")[2]))
    elif damage == "list cut off":
        os.truncate(snapshot / "LIST.gz", 100)
    elif damage == "facts":
        (snapshot / "SNAPSHOT.json").unlink()
    else:
        snapshot.rename(tmp_path / "away")
    for act in (
        lambda: driver.verify(full, EVERYTHING, soon()),
        lambda: driver.restore(full, str(tmp_path / "target"), soon()),
    ):
        with pytest.raises(BackupError) as caught:
            act()
        assert caught.value.kind == "parse"


# --- room, locks, removal


def test_too_little_room_is_said_before_the_first_byte(store, tmp_path):
    place = tmp_path / "snapshots"
    place.mkdir()
    with mounted(place, "64k"):
        driver = Snapshots(str(place))
        refused(driver, store.source, None, "needs .* and the file system of .* has .* left; make room")


def test_a_disk_that_fills_midway_leaves_nothing_half(store, tmp_path, monkeypatch):
    place = tmp_path / "snapshots"
    place.mkdir()
    store.write("local_content/large", bytes(3_000_000))
    with mounted(place, "2m"):
        driver = Snapshots(str(place))
        monkeypatch.setattr(snapshots, "check_room", lambda *dummy: None)
        refused(driver, store.source, None, "No space left on device.*make room")
        store.path("local_content/large").unlink()
        part = driver.backup(store.source, None, None, soon())
        store.write("local_content/large", bytes(3_000_000))
        refused(driver, store.source, part, "No space left on device", changes=["local_content/large"])
        driver.verify(part, EVERYTHING, soon())


def test_two_runs_at_once(driver, store, full, place):
    with (place / ".lock").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        refused(driver, store.source, full, "another run is at work")
        with pytest.raises(BackupError, match="another run is at work"):
            driver.forget([full.snapshot], soon())
    assert driver.snapshots(soon()) == [full.snapshot]


def test_what_another_snapshot_needs_is_not_forgotten(driver, store, full, place):
    part = driver.backup(store.source, full, store.paths(store.upload()), soon())
    with pytest.raises(BackupError, match=f"snapshot {part.snapshot} needs {full.snapshot}"):
        driver.forget([full.snapshot], soon())
    other = driver.backup(store.source, part, None, soon())
    driver.forget([*part.snapshots, "20200101T000000Z-0000"], soon())
    assert driver.snapshots(soon()) == [other.snapshot]
    driver.verify(other, EVERYTHING, soon())
    assert nothing_half(place)


def test_what_is_being_read_is_not_forgotten(driver, full, place):
    with (place / full.snapshot / "SNAPSHOT.json").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        with pytest.raises(BackupError, match="is being read by a restore or a scrub"):
            driver.forget([full.snapshot], soon())
    driver.forget([full.snapshot], soon())
    assert driver.snapshots(soon()) == []


def test_a_target_with_files_is_refused(driver, full, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "mine").write_text("mine")
    with pytest.raises(BackupError, match="is not empty"):
        driver.restore(full, str(target), soon())
    assert [path.name for path in target.iterdir()] == ["mine"]


RUN = """
import sys
from ansible_collections.matrixon.ops.plugins.module_utils._backup.media import Kept, Source
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import terminable
from ansible_collections.matrixon.ops.plugins.module_utils._backup.snapshots import Snapshots
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
source = Source(sys.argv[1], (Kept("local_content"), Kept("local_thumbnails")))
print("started", flush=True)
with terminable():
    Snapshots(sys.argv[2]).backup(source, None, None, Deadline(60))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_killed_leaves_what_the_next_one_clears_away(driver, place, tmp_path, number):
    store = MediaStore(tmp_path / "larger", files=1000)
    full = driver.backup(store.source, None, None, soon())
    moments = random.Random(int(number))
    for dummy in range(5):
        process = start(RUN, str(store.root), str(place))
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(moments.uniform(0, 0.4))
        process.send_signal(number)
        process.communicate(timeout=60)
    # Each that came to its end before the signal is whole.
    part = driver.backup(store.source, full, None, soon())
    assert nothing_half(place)
    for snapshot in driver.snapshots(soon()):
        assert len(tree(place / snapshot / "files")) == len(kept(store.root))
    driver.verify(part, EVERYTHING, soon())
    assert restored(driver, part, tmp_path / "target") == kept(store.root)


def test_a_run_keeps_its_deadline(driver, store, full, place, tmp_path):
    tool = wrapper(tmp_path / "rsync", "rsync", before='case "$*" in *recursive*) sleep 60;; esac')
    with pytest.raises(ProbeFailure, match="copying the media store: no answer within") as caught:
        Snapshots(str(place), tool=tool).backup(store.source, full, None, soon(2))
    assert caught.value.kind == "timeout"
    assert nothing_half(place) and driver.snapshots(soon()) == [full.snapshot]
