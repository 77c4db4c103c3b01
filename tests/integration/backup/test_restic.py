"""The restic driver with a real restic: 0.14 of Debian 12 or 0.18 of Debian 13, whichever is on the PATH."""

from __future__ import annotations

import os
import pathlib
import random
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import replace

import pytest
from rest import serving
from stores import MediaStore, flip, kept, mounted, open_to_all, soon, start, tree, wrapper

from ansible_collections.matrixon.ops.plugins.module_utils._backup import media_source, restic
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.media import Kept, MediaPart, Share, Source
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner, find_user
from ansible_collections.matrixon.ops.plugins.module_utils._backup.restic import Restic
from ansible_collections.matrixon.ops.plugins.module_utils._probe import ProbeFailure

EVERYTHING = Share(1, 1)
# How old a file must be so as not to be read a second time, in seconds.
AGE = 0.05
PASSWORD = "correct-horse-battery-staple"


@pytest.fixture(autouse=True)
def soon_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files count as old sooner than on a file server whose clock is not ours."""
    monkeypatch.setattr(media_source, "EARLIER", 20_000_000)


@pytest.fixture
def store(tmp_path: pathlib.Path) -> MediaStore:
    made = MediaStore(tmp_path / "media")
    time.sleep(AGE)
    return made


@pytest.fixture
def password_file(tmp_path: pathlib.Path) -> str:
    return secret(tmp_path / "password", PASSWORD + "\n")


def secret(path: pathlib.Path, content: str) -> str:
    path.write_text(content)
    path.chmod(0o600)
    return str(path)


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A new repository, made once: each has a key that takes half a second on purpose."""
    folder = tmp_path_factory.mktemp("restic")
    driver = Restic(str(folder / "repository"), secret(folder / "password", PASSWORD + "\n"))
    assert driver.prepare(soon()) is True and driver.prepare(soon()) is False
    return folder / "repository"


@pytest.fixture
def repository(empty: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "repository"
    shutil.copytree(empty, path)
    return path


@pytest.fixture
def driver(repository: pathlib.Path, password_file: str) -> Restic:
    return Restic(str(repository), password_file, host="db1")


@pytest.fixture
def full(driver: Restic, store: MediaStore) -> MediaPart:
    return driver.backup(store.source, None, None, soon())


def restored(driver: Restic, part: MediaPart, target: pathlib.Path) -> dict[bytes, tuple[object, ...]]:
    driver.restore(part, str(target), soon())
    return tree(target)


def refused(driver, source, previous, words, changes=None):
    before = driver.snapshots(soon())
    with pytest.raises(BackupError, match=words):
        driver.backup(source, previous, changes, soon())
    assert driver.snapshots(soon()) == before


# --- what is kept


def test_everything_comes_back_as_it_was(driver, store, repository, tmp_path):
    odd = store.add_odd_names()
    os.symlink("/etc/passwd", store.path("local_content/outside"))
    os.mkfifo(store.path("local_content/pipe"))
    store.root.chmod(0o711)
    time.sleep(AGE)
    full = driver.backup(store.source, None, None, soon(), high_water=7)
    assert full.files == 47 and full.chain[0].files == 47 and full.high_water == 7
    assert full.bytes == sum(facts[3] for facts in kept(store.root).values() if len(facts) == 6)
    assert [note.split(":")[0] for note in full.notes] == [
        "remote_content is not there",
        "1 neither file, directory nor link, and skipped",
        "1 symbolic links that lead out of the media store",
    ]
    assert repository.stat().st_mode & 0o777 == 0o700
    assert full == replace(MediaPart.from_dict(full.as_dict()), tool_versions=full.tool_versions, timings=full.timings)

    store.path(odd[0]).write_bytes(b"changed")
    new = store.upload()
    changes = [*odd, *store.paths(new), "local_content/gone", "other/x"]
    part = driver.backup(store.source, full, changes, soon())
    assert part.list_driven and part.parent == full.snapshot and part.found == full.found
    assert part.files == part.chain[1].files == 9
    assert "1 listed, but not there any more: 'local_content/gone'" in part.notes

    time.sleep(AGE)
    same = driver.backup(store.source, part, None, soon())
    assert len(same.chain) == 1 and same.files == 49 and same.stored < 100_000
    assert driver.snapshots(soon()) == [*part.snapshots, same.snapshot]

    expected = {path: facts for path, facts in kept(store.root).items() if path != b"local_content/pipe"}
    assert restored(driver, part, tmp_path / "target") == expected
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o711
    assert restored(driver, same, tmp_path / "other") == expected
    done = driver.restore(part, str(tmp_path / "some"), soon(), only=[os.fsdecode(odd[0]), os.fsdecode(odd[6])])
    assert done.files == 2 and (tmp_path / "some" / os.fsdecode(odd[0])).read_bytes() == b"changed"
    with pytest.raises(BackupError, match="'local_content/none' is in none of the snapshots"):
        driver.restore(part, str(tmp_path / "none"), soon(), only=["local_content/none"])


def test_all_of_a_store_can_be_kept(driver, store, tmp_path):
    source = Source(str(store.root), (Kept("."),))
    part = driver.backup(source, None, None, soon())
    new = store.upload()
    part = driver.backup(source, part, store.paths(new), soon())
    assert restored(driver, part, tmp_path / "target") == kept(store.root)


def test_a_list_of_nothing_makes_no_snapshot(driver, store, full):
    part = driver.backup(store.source, full, [], soon(), high_water=8)
    assert part.chain == full.chain and part.high_water == 8


# --- F14, and repositories that are not the one that is meant


def test_an_emptied_or_shrunk_store_is_refused_and_the_last_copy_stays(driver, store, full, tmp_path):
    before = kept(store.root)
    gone = [store.path(path) for media_id in store.media[:3] for path in store.paths(media_id)]
    for path in gone:
        path.unlink()
    refused(driver, store.source, full, "local_content has 17 files .*: .* % are gone")
    assert driver.backup(replace(store.source, shrink_percent=30), full, None, soon()).files == 34
    store.root.rename(tmp_path / "away")
    store.root.mkdir()
    refused(driver, store.source, full, "is its file system mounted")
    assert restored(driver, full, tmp_path / "target") == before


def test_a_repository_that_is_not_mounted_is_refused_and_not_made_anew(driver, store, full, repository, tmp_path):
    repository.rename(tmp_path / "away")
    with pytest.raises(BackupError, match="there is no repository at .*; is its file system mounted"):
        driver.backup(store.source, full, None, soon())
    with pytest.raises(BackupError, match="there is no repository at"):
        driver.verify(full, EVERYTHING, soon())
    assert not repository.exists()


def test_another_repository_is_refused(driver, store, full, empty, password_file):
    other = Restic(str(empty), password_file)
    refused(other, store.source, full, "does not hold the snapshot that the last run left there")
    refused(other, store.source, full, "does not hold the snapshot", changes=store.paths(store.media[0]))
    refused(other, store.source, full.guards_only(), "make a full run first", changes=store.paths(store.media[0]))


def test_a_wrong_password_is_named(store, full, repository, tmp_path):
    wrong = Restic(str(repository), secret(tmp_path / "wrong", "wrong\n"))
    with pytest.raises(BackupError, match="wrong password") as caught:
        wrong.backup(store.source, full, None, soon())
    assert caught.value.kind == "auth"
    open_to_all = secret(tmp_path / "open", PASSWORD)
    os.chmod(open_to_all, 0o644)
    with pytest.raises(BackupError, match="0600"):
        Restic(str(repository), open_to_all).backup(store.source, full, None, soon())


def test_repository_and_source_stay_apart(store, password_file):
    with pytest.raises(BackupError, match="lies in the media store"):
        Restic(str(store.root / "restic"), password_file).backup(store.source, None, None, soon())


# --- secrets


def test_nothing_secret_is_in_arguments_or_in_the_environment(store, repository, password_file, tmp_path):
    log = tmp_path / "log"
    tool = wrapper(tmp_path / "restic", "restic", before=f'tr "\\0" " " < /proc/$$/cmdline >> {log}; env >> {log}')
    driver = Restic(str(repository), password_file, tool=tool)
    driver.verify(driver.backup(store.source, None, None, soon()), EVERYTHING, soon())
    said = log.read_text()
    assert "backup" in said and password_file in said
    assert PASSWORD not in said


def test_a_rest_server_with_a_password(store, password_file, tmp_path):
    with serving(tmp_path, "me:hunter2") as port:
        log = tmp_path / "log"
        tool = wrapper(tmp_path / "restic", "restic", before=f'tr "\\0" " " < /proc/$$/cmdline >> {log}')
        environment = secret(
            tmp_path / "environment", f"RESTIC_REPOSITORY=rest:http://me:hunter2@127.0.0.1:{port}/far/\n"
        )
        (tmp_path / "far").mkdir()
        driver = Restic(None, password_file, environment, tool=tool, cache=str(tmp_path / "cache"))
        assert driver.prepare(soon()) is True and driver.prepare(soon()) is False
        full = driver.backup(store.source, None, None, soon())
        assert len(full.snapshot) == 64
        part = driver.backup(store.source, full, store.paths(store.upload()), soon())
        driver.verify(part, EVERYTHING, soon())
        assert restored(driver, part, tmp_path / "target") == kept(store.root)
        assert "hunter2" not in log.read_text() and "backup" in log.read_text()
        wrong = secret(tmp_path / "wrong", f"RESTIC_REPOSITORY=rest:http://me:hunter3@127.0.0.1:{port}/far/\n")
        with pytest.raises(ProbeFailure) as caught:
            Restic(None, password_file, wrong).verify(part, EVERYTHING, soon(30))
        assert "hunter" not in caught.value.message
    with pytest.raises(ProbeFailure) as caught:
        driver.backup(store.source, part, None, soon(5))
    assert caught.value.kind in ("refused", "timeout") and "hunter" not in caught.value.message


# --- links, and files that change and vanish


def test_no_link_is_followed(driver, store, full, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("top secret")
    os.symlink(outside, store.path("local_content/link"))
    part = driver.backup(store.source, full, ["local_content/link/secret", "local_content/link"], soon())
    assert "1 listed, but behind a symbolic link, which is never followed: 'local_content/link/secret'" in part.notes
    store.path("local_content/link").unlink()
    store.write("local_content/link/x", b"inside")
    part = driver.backup(store.source, part, ["local_content/link/x"], soon())
    assert restored(driver, part, tmp_path / "target") == kept(store.root)
    assert [path.name for path in outside.iterdir()] == ["secret"]


def test_a_file_that_changes_while_it_is_read_is_read_again(store, repository, password_file, tmp_path):
    victim = store.write("local_content/growing", b"half")
    once = tmp_path / "once"
    tool = wrapper(
        tmp_path / "restic",
        "restic",
        after=f'case "$*" in *backup*) [ -e {once} ] || printf whole >> {victim}; touch {once};; esac',
    )
    driver = Restic(str(repository), password_file, tool=tool)
    time.sleep(AGE)
    part = driver.backup(store.source, None, None, soon())
    assert once.exists() and not [note for note in part.notes if "changed" in note]
    # The young file came in a snapshot of its own, on top of the first.
    assert [link.files for link in part.chain] == [41, 1]
    driver.restore(part, str(tmp_path / "target"), soon())
    assert (tmp_path / "target/local_content/growing").read_bytes() == b"halfwhole"
    once.unlink()
    listed = driver.backup(store.source, part, ["local_content/growing"], soon())
    assert len(listed.chain) == 4
    driver.restore(listed, str(tmp_path / "listed"), soon())
    assert (tmp_path / "listed/local_content/growing").read_bytes() == b"halfwholewhole"


def test_a_file_that_never_rests_is_noted(store, full, repository, password_file, tmp_path):
    victim = store.write("local_content/growing", b"half")
    tool = wrapper(tmp_path / "restic", "restic", after=f'case "$*" in *backup*) printf more >> {victim};; esac')
    part = Restic(str(repository), password_file, tool=tool).backup(
        store.source, full, ["local_content/growing"], soon()
    )
    assert [note for note in part.notes if "changed each time" in note and "'local_content/growing'" in note]


def test_listed_files_that_vanish_are_noted(store, full, repository, password_file, tmp_path):
    paths = ["local_content/gone", "local_content/stays"]
    victim, other = (store.write(path, b"x") for path in paths)
    tool = wrapper(tmp_path / "restic", "restic", before=f'case "$*" in *backup*) rm -f {victim};; esac')
    driver = Restic(str(repository), password_file, tool=tool)
    part = driver.backup(store.source, full, paths, soon())
    assert "1 vanished while they were read: 'local_content/gone'" in part.notes and part.chain[-1].files == 1
    victim.write_bytes(b"x")
    other.unlink()
    part = driver.backup(store.source, full, ["local_content/gone"], soon())
    assert "1 vanished while they were read: 'local_content/gone'" in part.notes and part.chain == full.chain


@pytest.mark.parametrize(
    ("error", "fine"),
    [
        ('{"Op":"lstat","Path":"a/gone","Err":2}', True),
        ('{"message":"incomplete metadata for a/gone: xattr.list a/gone: no such file or directory"}', True),
        ('{"Op":"open","Path":"a/gone","Err":5}', False),
        ('{"message":"read a/gone: input/output error"}', False),
    ],
)
def test_a_file_that_vanishes_is_noted_and_one_that_cannot_be_read_is_no_success(
    store, repository, password_file, tmp_path, error, fine
):
    """A real run whose end is that of one that lost a file, in the words of both generations of restic."""
    line = f'{{"message_type":"error","error":{error},"during":"archival","item":"a/gone"}}'
    tool = wrapper(tmp_path / "restic", "restic", after=f"case \"$*\" in *backup*) echo '{line}' >&2; code=3;; esac")
    driver = Restic(str(repository), password_file, tool=tool)
    if fine:
        part = driver.backup(store.source, None, None, soon())
        assert "1 vanished while they were read: 'a/gone'" in part.notes
    else:
        refused(driver, store.source, None, "could not read 1 files, so the snapshot was dropped.*'a/gone'")


def test_files_that_come_and_go_during_a_full_run(driver, store, tmp_path):
    doomed = [store.write(f"local_content/doomed/{number}", b"x" * 200) for number in range(3000)]
    stop = threading.Event()

    def remove() -> None:
        for path in doomed:
            if stop.wait(0.0003):
                return
            path.unlink()

    thread = threading.Thread(target=remove)
    thread.start()
    try:
        part = driver.backup(replace(store.source, shrink_percent=100), None, None, soon())
    finally:
        stop.set()
        thread.join()
    found = restored(driver, part, tmp_path / "target")
    stayed = {path: facts for path, facts in kept(store.root).items() if b"doomed" not in path}
    assert stayed.items() <= found.items()


def test_a_file_that_cannot_be_read_is_no_success(empty):
    """Restic makes a snapshot all the same and ends with code 3; that snapshot must not stay."""
    with open_to_all() as folder:
        store = MediaStore(folder / "media")
        shutil.copytree(empty, folder / "repository")
        secret(folder / "password", PASSWORD)
        subprocess.run(["chown", "-R", "nobody", str(folder / "repository"), str(folder / "password")], check=True)
        nobody = Runner(find_user("nobody"))
        driver = Restic(str(folder / "repository"), str(folder / "password"), runner=nobody)
        time.sleep(AGE)
        full = driver.backup(store.source, None, None, soon())
        closed = store.write("local_content/closed", b"x")
        closed.chmod(0o600)
        for changes in (None, ["local_content/closed"]):
            refused(driver, store.source, full, "could not read 1 files, so the snapshot was dropped", changes)
        closed.unlink()
        assert driver.backup(store.source, full, None, soon()).files == full.files


# --- F15


def packs(repository: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in (repository / "data").rglob("*") if path.is_file())


def test_one_byte_changed_in_the_repository_is_found(driver, store, full, repository, tmp_path):
    part = full
    for dummy in range(3):
        part = driver.backup(store.source, part, store.paths(store.upload()), soon())
    largest = max(packs(repository), key=lambda path: path.stat().st_size)
    flip(largest, 200)
    found = []
    for number in (1, 2):
        try:
            driver.verify(full, Share(number, 2), soon())
        except BackupError as error:
            assert error.kind == "parse" and "is damaged" in error.message
            found.append(number)
    assert len(found) == 1
    with pytest.raises(ProbeFailure):
        driver.restore(full, str(tmp_path / "target"), soon())


@pytest.mark.parametrize("damage", ["pack cut off", "index", "snapshot", "snapshot gone"])
def test_other_damage_is_found(driver, full, repository, damage):
    target = {
        "pack cut off": packs(repository)[0],
        "index": next((repository / "index").iterdir()),
        "snapshot": repository / "snapshots" / full.snapshot,
        "snapshot gone": repository / "snapshots" / full.snapshot,
    }[damage]
    if damage == "pack cut off":
        target.chmod(0o600)
        os.truncate(target, target.stat().st_size - 50)
    elif damage == "snapshot gone":
        target.unlink()
    else:
        flip(target, 50)
    with pytest.raises(BackupError) as caught:
        driver.verify(full, EVERYTHING, soon())
    assert caught.value.kind == "parse" or damage == "snapshot"


# --- removal, room, killed runs


def test_what_is_forgotten_is_gone_and_the_rest_stays(driver, store, full, repository, tmp_path):
    for dummy in range(3):
        store.write(store.paths(store.upload())[0], random.Random(3).randbytes(200_000))
    time.sleep(AGE)
    second = driver.backup(store.source, full, None, soon())
    for media_id in store.media[:1]:
        store.path(store.paths(media_id)[0]).unlink()
    third = driver.backup(store.source, second, None, soon())
    driver.forget([full.snapshot, second.snapshot], soon())
    assert driver.snapshots(soon()) == [third.snapshot]
    assert driver.verify(third, EVERYTHING, soon()).notes
    assert restored(driver, third, tmp_path / "target") == kept(store.root)
    with pytest.raises(BackupError, match="is not in") as caught:
        driver.verify(second, EVERYTHING, soon())
    assert caught.value.kind == "parse"


def test_a_disk_that_fills_keeps_the_last_copy(store, empty, password_file, tmp_path, monkeypatch):
    place = tmp_path / "small"
    place.mkdir()
    with mounted(place, "3m"):
        shutil.copytree(empty, place / "repository")
        driver = Restic(str(place / "repository"), password_file)
        full = driver.backup(store.source, None, None, soon())
        assert len(full.chain) == 1
        store.write("local_content/large", os.urandom(6_000_000))
        refused(driver, store.source, full, "needs .* left; make room", changes=["local_content/large"])
        monkeypatch.setattr(restic, "check_room", lambda *dummy: None)
        with pytest.raises(ProbeFailure) as caught:
            driver.backup(store.source, full, None, soon(20))
        assert caught.value.kind in ("internal", "timeout")
        for path in (place / "repository/data").rglob("*-tmp-*"):
            path.unlink()
        assert driver.snapshots(soon()) == [full.snapshot]
        assert restored(driver, full, tmp_path / "target")


RUN = """
import sys
from ansible_collections.matrixon.ops.plugins.module_utils._backup.media import Kept, Source
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import terminable
from ansible_collections.matrixon.ops.plugins.module_utils._backup.restic import Restic
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
source = Source(sys.argv[1], (Kept("local_content"), Kept("local_thumbnails")))
print("started", flush=True)
with terminable():
    Restic(sys.argv[2], sys.argv[3], host="db1").backup(source, None, None, Deadline(60))
"""


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.soak), signal.SIGKILL])
def test_the_run_after_killed_ones_is_whole(driver, repository, password_file, tmp_path, number):
    store = MediaStore(tmp_path / "larger", files=600)
    full = driver.backup(store.source, None, None, soon())
    moments = random.Random(int(number))
    for dummy in range(4):
        process = start(RUN, str(store.root), str(repository), password_file)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(moments.uniform(0, 1.2))
        process.send_signal(number)
        process.communicate(timeout=60)
    part = driver.backup(store.source, full, None, soon())
    # What killed runs left behind keeps nothing from being removed or checked.
    others = [snapshot for snapshot in driver.snapshots(soon()) if snapshot != part.snapshot]
    driver.forget(others, soon())
    driver.verify(part, EVERYTHING, soon())
    assert restored(driver, part, tmp_path / "target") == kept(store.root)


def test_a_run_keeps_its_deadline(store, full, repository, password_file, tmp_path):
    tool = wrapper(tmp_path / "restic", "restic", before='case "$*" in *backup*) sleep 60;; esac')
    with pytest.raises(ProbeFailure, match="no answer within") as caught:
        Restic(str(repository), password_file, tool=tool).backup(store.source, full, None, soon(2))
    assert caught.value.kind == "timeout"
    assert [path.name for path in (repository / "snapshots").iterdir()] == [full.snapshot]
