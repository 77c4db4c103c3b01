"""The store of backup sets: whole or not at all, one run at a time, and nothing removed that is not to go."""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import locks, place, tree
from ansible_collections.matrixon.ops.plugins.module_utils._backup import store as module
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import Component, FileEntry, Manifest
from ansible_collections.matrixon.ops.plugins.module_utils._backup.store import Entry, Store
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure

NOW = datetime.datetime(2026, 11, 23, 2, 15, tzinfo=datetime.timezone.utc)
HOUR = datetime.timedelta(hours=1)
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
NOT_ROOT = 65533


class Wall:
    """A clock on the wall that is set by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime.datetime:
        return self.now


@pytest.fixture(autouse=True)
def events() -> Iterator[list[Any]]:
    """Note what is brought to the disk, and what is renamed, in place of waiting for a slow disk."""
    seen: list[Any] = []
    rename = os.rename

    def noted(source: str, target: str) -> None:
        seen.append((source, target))
        rename(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: seen.append(os.fstat(handle).st_ino))
        patch.setattr(os, "rename", noted)
        yield seen


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def store(tmp_path: pathlib.Path, wall: Wall) -> Store:
    return open_store(tmp_path, wall)


@pytest.fixture
def open_place() -> Iterator[pathlib.Path]:
    """A directory that any user can enter; pytest's own are closed to them, and stay so."""
    with tempfile.TemporaryDirectory(prefix="matrixon-store-", dir="/var/tmp") as name:
        os.chmod(name, 0o755)
        yield pathlib.Path(name)


def open_store(tmp_path: pathlib.Path, wall: Wall | None = None, **more: Any) -> Store:
    return Store(str(tmp_path / "root"), "fleet", "db1", clock=wall or Wall(), **more)


def later() -> Deadline:
    return Deadline(30)


def fill(path: str, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        target = os.path.join(os.fsencode(path), os.fsencode(name))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(content)


def manifest(store: Store, set_id: str, path: str, parent: Manifest | None = None, **more: Any) -> Manifest:
    return Manifest(
        id=set_id,
        fleet="fleet",
        server="db1",
        **{
            "created": NOW,
            "finished": NOW,
            "sequence": store.next_sequence(),
            "kind": "incremental" if parent else "full",
            "parent": parent and parent.id,
            "chain": (*parent.chain, set_id) if parent else (),
            "components": {"database": Component("native", tree.digest_tree(path + "/db", later(), "db"))},
            **more,
        },
    )


def make(store: Store, set_id: str, parent: Manifest | None = None, **more: Any) -> Entry:
    """Make a set; the lock must be held."""
    with store.begin(set_id) as partial:
        fill(partial.path, {"db/base": set_id.encode() * 10, "db/deep/er": b"x"})
        return store.commit(partial, manifest(store, set_id, partial.path, parent, **more))


def prove(store: Store, set_id: str, status: str = "ok") -> str:
    return store.record_drill(set_id, {"status": status, "facts": {"mb_per_s": 5}})


def ids(store: Store) -> list[str]:
    return [entry.id for entry in store.sets()]


def listing(path: str) -> list[str]:
    found = []
    for folder, folders, files in os.walk(path):
        found += [os.path.relpath(os.path.join(folder, name), path) for name in (*folders, *files)]
    return sorted(found)


@contextlib.contextmanager
def child(act: Callable[[], object]) -> Iterator[int]:
    """Run something in another process, which is killed at the end. It says when it is there."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(reader)
            with contextlib.suppress(BaseException):
                act_result = act()
                if isinstance(act_result, contextlib.AbstractContextManager):
                    with act_result:
                        os.write(writer, b"y")
                        time.sleep(60)
                os.write(writer, b"y")
        finally:
            os._exit(3)
    os.close(writer)
    try:
        assert os.read(reader, 1) == b"y"
        yield pid
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


# --- making sets


def test_a_set_appears_whole_with_manifest_and_checksum(store: Store) -> None:
    with store.lock("backup"):
        with store.begin("one") as partial:
            assert ids(store) == []
            fill(partial.path, {"db/base": b"hello", "db/deep/er": b""})
            store.commit(partial, manifest(store, "one", partial.path))
            assert not partial.open and not os.path.lexists(partial.path)
        assert ids(store) == ["one"]
    path = pathlib.Path(store.set_path("one"))
    content = (path / "MANIFEST.json").read_bytes()
    assert (path / "MANIFEST.sha256").read_text() == f"{hashlib.sha256(content).hexdigest()}  MANIFEST.json\n"
    assert content.endswith(b"}\n") and json.loads(content)["sequence"] == 1
    assert listing(str(path)) == ["MANIFEST.json", "MANIFEST.sha256", "db", "db/base", "db/deep", "db/deep/er"]
    (entry,) = store.sets()
    assert (entry.damage, entry.verified, entry.in_use, entry.held) == (None, False, False, None)
    assert entry.manifest == Manifest.from_bytes(content)


def test_everything_is_on_the_disk_before_the_set_appears(store: Store, events: list[Any]) -> None:
    with store.lock("backup"), store.begin("one") as partial:
        fill(partial.path, {"db/base": b"1", "db/deep/er": b"2", "media/x": b"3"})
        described = manifest(store, "one", partial.path)
        events.clear()
        store.commit(partial, described, unlisted=["media"])
    path = store.set_path("one")
    appears = events.index((partial.path, path))
    before, after = events[:appears], events[appears + 1 :]
    for name in (".", "db", "db/base", "db/deep", "db/deep/er", "MANIFEST.json", "MANIFEST.sha256"):
        assert os.stat(os.path.join(path, name)).st_ino in before, name
    # Once more after the lock in it was taken away, before the number of the set is written.
    assert before[-4:-2] == [os.stat(path).st_ino] * 2
    assert os.stat(os.path.join(store.path, ".sequence")).st_ino in before
    assert after == [os.stat(os.path.dirname(path)).st_ino]


def test_a_large_tree_is_brought_to_the_disk_by_one_call(
    store: Store, monkeypatch: pytest.MonkeyPatch, events: list[Any]
) -> None:
    class Library:
        """A C library whose file system has met an error."""

        def syncfs(self, handle: int) -> int:
            tree.ctypes.set_errno(errno.EIO)
            return -1

    monkeypatch.setattr(tree.ctypes, "CDLL", lambda *dummy, **more: Library())
    with store.lock("backup"):
        with pytest.raises(BackupError, match="cannot be completed: Input/output error"), store.begin("one") as partial:
            fill(partial.path, {"db/base": b"", "media/x": b"3"})
            store.commit(partial, manifest(store, "one", partial.path), unlisted=["media"])
        assert ids(store) == []
        # Without the call, as on another C library.
        synced: list[bool] = []
        monkeypatch.setattr(tree.ctypes, "CDLL", lambda *dummy, **more: object())
        monkeypatch.setattr(os, "sync", lambda: synced.append(True))
        with store.begin("one") as partial:
            fill(partial.path, {"db/base": b"", "media/x": b"3"})
            store.commit(partial, manifest(store, "one", partial.path), unlisted=["media"])
        assert synced == [True]


def test_a_removal_is_on_the_disk_before_anything_is_deleted(store: Store, events: list[Any]) -> None:
    with store.lock("removal"):
        make(store, "one")
        events.clear()
        store.remove("one")
    assert events[0][1].endswith("/sets/.removing-one") and events[1] == os.stat(store.path + "/sets").st_ino


def test_everything_is_for_the_owner_alone_whatever_the_umask_is(store: Store) -> None:
    # F13: a dump that everybody could read.
    old = os.umask(0)
    try:
        with store.lock("backup"):
            make(store, "one")
            prove(store, "one")
            store.hold("one", "audit")
            store.write_catalog()
    finally:
        os.umask(old)
    for name in listing(store.root):
        info = os.lstat(os.path.join(store.root, name))
        assert stat.S_IMODE(info.st_mode) == (0o700 if stat.S_ISDIR(info.st_mode) else 0o600), name


@ROOT
def test_everything_belongs_to_the_owner(open_place: pathlib.Path) -> None:
    store = open_store(open_place, owner=(NOT_ROOT, NOT_ROOT))
    with store.lock("backup"):
        make(store, "one")
        prove(store, "one")
        store.hold("one", "audit")
        store.write_catalog()
        names = listing(store.root)
        assert "fleet/db1/.lock" in names
        for name in names:
            info = os.lstat(os.path.join(store.root, name))
            assert (info.st_uid, info.st_gid) == (NOT_ROOT, NOT_ROOT), name


@ROOT
def test_a_file_of_somebody_else_with_a_second_name_is_not_given_away(open_place: pathlib.Path) -> None:
    store = open_store(open_place, owner=(NOT_ROOT, NOT_ROOT))
    secret = open_place / "secret"
    secret.write_bytes(b"s")
    with (
        store.lock("backup"),
        pytest.raises(BackupError, match="another name elsewhere"),
        store.begin("one") as partial,
    ):
        fill(partial.path, {"db/base": b""})
        os.link(secret, partial.path + "/db/link")
        store.commit(partial, manifest(store, "one", partial.path))
    assert secret.stat().st_uid == 0


def test_names_with_newlines_and_bytes_that_are_no_text(store: Store) -> None:
    names = {"db/new\nline": b"a", "db/" + os.fsdecode(b"\xff\xfe \xc3"): b"bb", "db/\u00e9\u20ac": b"ccc", "db/ ": b""}
    with store.lock("backup"):
        with store.begin("one") as partial:
            fill(partial.path, names)
            store.commit(partial, manifest(store, "one", partial.path))
        (entry,) = store.sets()
        assert entry.manifest is not None
        assert {file.path: file.bytes for file in entry.manifest.files} == {
            key: len(value) for key, value in names.items()
        }
        assert store.verify_files(entry, later()) == tree.Verification(4, 6, 4, 6, ())
        os.unlink(os.path.join(os.fsencode(entry.path), b"db/\xff\xfe \xc3"))
        assert store.verify_files(entry, later()).bad == (r"'db/\udcff\udcfe \udcc3' is missing",)
        store.remove("one")
    assert ids(store) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: fill(path, {"db/more": b""}), "is in the set and not in its manifest"),
        (lambda path: os.unlink(path + "/db/base"), "db/base is in the manifest of the set and not in the set"),
        (lambda path: fill(path, {"db/base": b"longer than before"}), "has 18 bytes, and the manifest says 5"),
        (lambda path: os.symlink("/etc/passwd", path + "/db/link"), "is a symbolic link"),
        (lambda path: os.symlink("/etc", path + "/db/folder"), "is a symbolic link"),
        (lambda path: os.mkfifo(path + "/db/pipe"), "is a pipe"),
        (lambda path: fill(path, {"MANIFEST.json": b"{}"}), "is in the set and not in its manifest"),
    ],
)
def test_a_set_that_is_not_as_its_manifest_says_does_not_appear(
    store: Store, change: Callable[[str], object], reason: str
) -> None:
    with store.lock("backup"):
        make(store, "old")
        with pytest.raises(BackupError, match=reason), store.begin("one") as partial:
            fill(partial.path, {"db/base": b"hello"})
            described = manifest(store, "one", partial.path)
            change(partial.path)
            store.commit(partial, described)
        assert ids(store) == ["old"] and store.leftovers() == [] and listing(store.path + "/sets")[0] == "old"


def test_a_tree_with_a_list_of_its_own_stays_as_it_is(store: Store, tmp_path: pathlib.Path) -> None:
    with store.lock("backup"):
        with pytest.raises(BackupError, match="unlisted media is not in the set"), store.begin("one") as partial:
            fill(partial.path, {"db/base": b""})
            store.commit(partial, manifest(store, "one", partial.path), unlisted=["media"])
        with pytest.raises(BackupError, match=r"unlisted: \.\./x is not a plain path"), store.begin("one") as partial:
            fill(partial.path, {"db/base": b""})
            store.commit(partial, manifest(store, "one", partial.path), unlisted=["../x"])
        with store.begin("one") as partial:
            fill(partial.path, {"db/base": b"", "media/a/b": b"picture"})
            os.symlink(str(tmp_path), partial.path + "/media/out")
            os.chmod(partial.path + "/media/a/b", 0o440)
            store.commit(partial, manifest(store, "one", partial.path), unlisted=["media"])
        mode = os.stat(store.set_path("one") + "/media/a/b").st_mode
        assert stat.S_IMODE(mode) == 0o440 and os.path.islink(store.set_path("one") + "/media/out")
        store.remove("one")
    assert tmp_path.exists()


def test_a_manifest_of_another_set_or_server_is_refused(store: Store) -> None:
    with store.lock("backup"), store.begin("one") as partial:
        fill(partial.path, {"db/base": b""})
        for other, more in (("two", {}), ("one", {"server": "db2"}), ("one", {"fleet": "other"})):
            wrong = manifest(store, other, partial.path)
            with pytest.raises(BackupError, match="and not of set one of fleet/db1"):
                store.commit(partial, Manifest(**{**vars(wrong), **more}))


def test_a_set_is_made_once(store: Store, tmp_path: pathlib.Path) -> None:
    with store.lock("backup"), store.begin("one") as partial:
        fill(partial.path, {"db/base": b""})
        described = manifest(store, "one", partial.path)
        os.mkdir(store.set_path("one"))
        with pytest.raises(BackupError, match="set one is there already"):
            store.commit(partial, described)
        os.rmdir(store.set_path("one"))
        other = Store(store.root, "fleet", "db2", clock=Wall())
        with other.lock("x"), pytest.raises(BackupError, match="is no set in the making of this store"):
            other.commit(partial, described)
        store.commit(partial, described)
        with pytest.raises(BackupError, match="is no set in the making of this store"):
            store.commit(partial, described)
        store.remove("one")
        with store.begin("one") as again:
            # The old one is done with, and leaves the new one alone.
            partial.discard()
            assert os.path.isdir(again.path)
        assert not again.open


def test_no_handle_stays_open(store: Store) -> None:
    def run(name: str) -> int:
        with store.lock("backup"):
            full = make(store, name).manifest
            make(store, name + "-more", full)
            with store.begin(name + "-none"):
                pass
            store.hold(name, "why")
            store.release(name)
            prove(store, name)
            with store.in_use(name + "-more"):
                store.sets()
            assert not store.verify_files(store.entry(name), later()).bad
            with contextlib.suppress(BackupError), open_like(store).lock("second"):
                pass
            store.remove(name + "-more")
            store.sweep()
        return len(os.listdir("/proc/self/fd"))

    assert run("one") == run("two") == run("three")


def test_a_set_is_never_changed(store: Store) -> None:
    with store.lock("backup"):
        before = make(store, "one")
        with pytest.raises(BackupError, match="set one is there already"):
            store.begin("one")
        assert store.sets() == [before]


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", ".", "..", ".partial-x", "A", "x\n", "", "x" * 65, "latest"])
def test_a_name_that_is_a_path_is_refused_everywhere(store: Store, name: str) -> None:
    with store.lock("backup"):
        make(store, "one")
        before = listing(store.root)
        for act in (
            store.begin,
            store.remove,
            store.release,
            store.entry,
            store.chain,
            store.drills,
            lambda set_id: store.hold(set_id, "why"),
            lambda set_id: store.record_drill(set_id, {"status": "ok"}),
            lambda set_id: contextlib.ExitStack().enter_context(store.in_use(set_id)),
        ):
            with pytest.raises(BackupError, match="set: "):
                act(name)
        assert listing(store.root) == before


def test_new_ids_differ_and_say_when(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = iter([b"\0\1", b"\0\1", b"\0\2", b"\0\2", b"\0\3"])
    monkeypatch.setattr(os, "urandom", lambda dummy: next(tokens))
    with store.lock("backup"):
        first = store.new_id()
        assert first == "20261123T021500Z-0001"
        make(store, first)
        second = store.new_id()
        assert second == "20261123T021500Z-0002"
        with store.begin(second):
            assert store.new_id() == "20261123T021500Z-0003"


# --- order


def test_a_sequence_is_never_used_twice(store: Store) -> None:
    with store.lock("backup"):
        make(store, "a")
        make(store, "b")
        store.remove("b")
        assert store.next_sequence() == 3
        used = make(store, "c").sequence
        assert used == 3
        for wrong in (1, 2, 3):
            with pytest.raises(BackupError, match=f"sequence {wrong} was used before"), store.begin("d") as partial:
                fill(partial.path, {"db/base": b""})
                store.commit(partial, manifest(store, "d", partial.path, sequence=wrong))
        for content in ("", "junk", "1\n"):
            pathlib.Path(store.path, ".sequence").write_text(content)
            assert store.next_sequence() == 4
        os.unlink(os.path.join(store.path, ".sequence"))
        assert store.next_sequence() == 4


def test_a_clock_that_jumps_back_changes_no_order(store: Store, wall: Wall) -> None:
    with store.lock("backup"):
        make(store, "z", finished=NOW)
        make(store, "m", finished=NOW - HOUR, created=NOW - HOUR)
        make(store, "a", finished=NOW - 2 * HOUR, created=NOW - 2 * HOUR)
    assert ids(store) == ["z", "m", "a"]
    prove(store, "z", "ok")
    wall.now = NOW - HOUR
    prove(store, "z", "critical")
    assert [drill.status for drill in store.drills("z")] == ["ok", "critical"]
    assert not store.entry("z").verified


# --- the lock


def test_a_second_run_fails_at_once_and_names_the_first(store: Store, tmp_path: pathlib.Path) -> None:
    # F11.
    with child(lambda: store.lock("backup")) as pid:
        begun = time.monotonic()
        with pytest.raises(BackupError) as caught, open_store(tmp_path).lock("removal"):
            pass
        assert time.monotonic() - begun < 1
        assert f"process {pid} on " in caught.value.message and "which does: backup, since 2026-11-23T02:15" in str(
            caught.value
        )
    with open_store(tmp_path).lock("removal"):
        written = json.loads(pathlib.Path(store.path, ".lock").read_text())
        assert set(written) == {"pid", "boot_id", "start_time", "host", "since", "doing"}
        assert (written["pid"], written["doing"]) == (os.getpid(), "removal")
        assert written["start_time"] > 0 and len(written["boot_id"]) == 36
    assert pathlib.Path(store.path, ".lock").read_text() == ""


def test_a_lock_is_not_taken_twice_by_one_run(store: Store) -> None:
    with store.lock("backup"), pytest.raises(BackupError, match="holds the lock already"), store.lock("backup"):
        pass


def test_a_holder_that_has_ended_while_its_child_runs_is_said(store: Store) -> None:
    with child(lambda: store.lock("backup")):
        path = pathlib.Path(store.path, ".lock")
        owner = json.loads(path.read_text())
        path.write_text(json.dumps({**owner, "start_time": owner["start_time"] + 1}))
        with pytest.raises(BackupError, match="has ended, but one that it started still runs"), store.lock("x"):
            pass
        for other in ({"host": "elsewhere"}, {"boot_id": "another"}):
            path.write_text(json.dumps({**owner, "start_time": 1, **other}))
            with pytest.raises(BackupError, match="is held by process") as caught, store.lock("x"):
                pass
            assert "ended, but" not in caught.value.message
        path.write_text("junk")
        with pytest.raises(BackupError, match="held by another run, which has not said"), store.lock("x"):
            pass


def test_what_a_killed_run_left_in_the_lock_is_overwritten(store: Store) -> None:
    with store.lock("x"):
        pass
    path = pathlib.Path(store.path, ".lock")
    path.write_text("x" * 4000)
    with store.lock("y"):
        assert json.loads(path.read_text())["doing"] == "y"


def test_the_lock_is_free_after_an_error(store: Store) -> None:
    with pytest.raises(RuntimeError), store.lock("backup"):
        raise RuntimeError
    with store.lock("backup"):
        pass


def test_what_changes_sets_needs_the_lock(store: Store) -> None:
    with store.lock("backup"):
        make(store, "one")
        partial = store.begin("two")
        fill(partial.path, {"db/base": b""})
        described = manifest(store, "two", partial.path)
    for act in (
        lambda: store.begin("x"),
        lambda: store.commit(partial, described),
        lambda: store.remove("one"),
        store.sweep,
        store.next_sequence,
        store.write_catalog,
    ):
        with pytest.raises(BackupError, match="needs the lock"):
            act()
    partial.discard()
    assert ids(store) == ["one"]


# --- use


def test_a_set_that_is_read_is_not_removed_nor_is_its_chain(
    store: Store, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    with store.lock("backup"):
        full = make(store, "full").manifest
        more = make(store, "more", full).manifest
        make(store, "most", more)
        make(store, "other")
        reader = open_store(tmp_path)
        with reader.in_use("more") as chain:
            assert chain == [(store.set_path("full"), full), (store.set_path("more"), more)]
            assert {entry.id: entry.in_use for entry in store.sets()} == {
                "full": True,
                "more": True,
                "most": False,
                "other": False,
            }
            store.remove("most")
            with pytest.raises(BackupError, match="set more is in use by a restore or a drill"):
                store.remove("more")
        with reader.in_use("full"), reader.in_use("full"):
            store.remove("more")
            with pytest.raises(BackupError, match="set full is in use"):
                store.remove("full")
        store.remove("full")
        assert ids(store) == ["other"]


def test_a_reader_does_not_outlive_its_process(store: Store) -> None:
    with store.lock("backup"):
        make(store, "one")
        with child(lambda: open_like(store).in_use("one")):
            assert store.entry("one").in_use
        assert not store.entry("one").in_use
        store.remove("one")


def open_like(store: Store) -> Store:
    return Store(store.root, store.fleet, store.server, clock=Wall())


def test_only_whole_sets_can_be_used(store: Store) -> None:
    with store.lock("backup"):
        full = make(store, "full").manifest
        make(store, "more", full)
    with pytest.raises(BackupError, match="there is no set none"), store.in_use("none"):
        pass
    os.truncate(store.set_path("full") + "/MANIFEST.json", 10)
    with pytest.raises(BackupError, match="set full is damaged"), store.in_use("full"):
        pass
    with pytest.raises(BackupError, match="set more needs set full: set full is damaged"), store.in_use("more"):
        pass
    os.unlink(store.set_path("full") + "/MANIFEST.json")
    with (
        pytest.raises(BackupError, match=r"set full is damaged: it has no readable MANIFEST\.json"),
        store.in_use("full"),
    ):
        pass


# --- chains


def test_a_chain_is_followed_from_the_full_set(store: Store) -> None:
    with store.lock("backup"):
        full = make(store, "full").manifest
        more = make(store, "more", full).manifest
        make(store, "most", more)
    assert [entry.id for entry in store.chain("most")] == ["full", "more", "most"]
    assert [entry.id for entry in store.chain("full")] == ["full"]
    with pytest.raises(BackupError, match="there is no set none"):
        store.chain("none")


def test_a_set_without_its_full_one_is_damaged(store: Store) -> None:
    # F23: pg_verifybackup of such an incremental ends with 0.
    with store.lock("backup"):
        full = make(store, "full").manifest
        more = make(store, "more", full).manifest
        make(store, "most", more)
        prove(store, "most")
        os.rename(store.set_path("full"), store.path + "/away")
        why = "its chain is broken: set full is missing or damaged"
        assert {entry.id: (entry.damage, entry.verified) for entry in store.sets()} == {
            "more": (why, False),
            "most": (why, False),
        }
        with pytest.raises(BackupError, match="set most is damaged: its chain is broken"):
            store.chain("most")
        with pytest.raises(BackupError, match="set new: its chain is broken"), store.begin("new") as partial:
            fill(partial.path, {"db/base": b""})
            store.commit(partial, manifest(store, "new", partial.path, more))


def test_another_set_of_the_same_name_does_not_mend_a_chain(store: Store) -> None:
    with store.lock("backup"):
        full = make(store, "full").manifest
        make(store, "more", full)
        os.rename(store.set_path("full"), store.path + "/away")
        make(store, "full")
        assert {entry.id: entry.damage for entry in store.sets()} == {
            "more": "its chain is broken: set full is not the one that it was made on",
            "full": None,
        }


@pytest.mark.parametrize(
    "changes", [{"sequence": 2}, {"sequence": 9}, {"kind": "incremental", "parent": "x", "chain": ["x", "full"]}]
)
def test_a_set_that_cannot_have_been_the_base_breaks_the_chain(store: Store, changes: dict[str, Any]) -> None:
    with store.lock("backup"):
        full = make(store, "full").manifest
        make(store, "more", full)
    rewrite(store.set_path("full"), **changes)
    assert store.entry("more").damage == "its chain is broken: set full is not the one that it was made on"
    with pytest.raises(BackupError, match="set more: its chain is broken"), store.in_use("more"):
        pass


def test_a_base_that_can_be_read_and_is_damaged_is_no_base(store: Store) -> None:
    with store.lock("backup"):
        full = make(store, "full").manifest
        make(store, "more", full)
        fill(store.set_path("full"), {"MANIFEST.sha256": b"x"})
        assert store.entry("full").manifest == full
        assert store.entry("more").damage == "its chain is broken: set full is missing or damaged"
        with (
            pytest.raises(BackupError, match="set full is damaged: .* does not have the checksum"),
            store.in_use("full"),
        ):
            pass
        with pytest.raises(BackupError, match="set next: its chain is broken"), store.begin("next") as partial:
            fill(partial.path, {"db/base": b""})
            store.commit(partial, manifest(store, "next", partial.path, full))


def test_an_own_file_may_have_two_names(store: Store) -> None:
    with store.lock("backup"):
        with store.begin("one") as partial:
            fill(partial.path, {"db/base": b"1"})
            os.link(partial.path + "/db/base", partial.path + "/db/again")
            store.commit(partial, manifest(store, "one", partial.path))
        assert store.entry("one").damage is None


def test_a_set_that_others_need_is_not_removed(store: Store) -> None:
    # F20.
    with store.lock("backup"):
        full = make(store, "full").manifest
        more = make(store, "more", full).manifest
        make(store, "most", more)
        with pytest.raises(BackupError, match="set more, most cannot do without it"):
            store.remove("full")
        with pytest.raises(BackupError, match="set most cannot do without it"):
            store.remove("more")
        for name in ("most", "more", "full"):
            store.remove(name)
    assert ids(store) == []


# --- damage


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: os.unlink(path + "/MANIFEST.json"), "no readable MANIFEST.json"),
        (lambda path: os.unlink(path + "/MANIFEST.sha256"), "does not have the checksum"),
        (lambda path: fill(path, {"MANIFEST.sha256": b"0" * 64 + b"  MANIFEST.json\n"}), "does not have the checksum"),
        (lambda path: os.truncate(path + "/MANIFEST.json", 100), "is no JSON"),
        (lambda path: rewrite(path, status="running"), "its status is 'running' and not 'complete'"),
        (lambda path: rewrite(path, id="two", chain=["two"]), "its manifest is that of set two"),
        (lambda path: rewrite(path, server="db2"), "it belongs to fleet/db2"),
        (lambda path: rewrite(path, schema="matrixon.ops/backup-set/2"), "its schema is"),
        (lambda path: (os.unlink(path + "/MANIFEST.json"), os.mkfifo(path + "/MANIFEST.json")), "no readable"),
        (lambda path: (os.unlink(path + "/MANIFEST.json"), os.mkdir(path + "/MANIFEST.json")), "no readable"),
        (
            lambda path: (os.unlink(path + "/MANIFEST.json"), os.symlink("/etc/passwd", path + "/MANIFEST.json")),
            "no readable",
        ),
        (
            lambda path: (os.rename(path, path + ".x"), os.symlink(path + ".x", path)),
            "it is a symbolic link and not a directory",
        ),
        (
            lambda path: (os.rename(path, path + ".x"), pathlib.Path(path).touch()),
            "it is a file and not a directory",
        ),
    ],
)
def test_a_damaged_set_is_named_with_its_reason_and_never_counts(
    store: Store, change: Callable[[str], object], reason: str
) -> None:
    with store.lock("backup"):
        make(store, "one")
        prove(store, "one")
        make(store, "two")
    assert store.entry("one").verified
    change(store.set_path("one"))
    entry = store.entry("one")
    assert entry.damage is not None and reason in entry.damage and not entry.verified
    assert store.entry("two").damage is None


def rewrite(path: str, **changes: Any) -> None:
    """Change the manifest of a set, with a checksum that is right."""
    document = json.loads(pathlib.Path(path, "MANIFEST.json").read_text())
    content = json.dumps({**document, **changes}).encode()
    fill(path, {"MANIFEST.json": content})
    fill(path, {"MANIFEST.sha256": f"{hashlib.sha256(content).hexdigest()}  MANIFEST.json\n".encode()})


def test_a_changed_manifest_loses_its_proof(store: Store) -> None:
    with store.lock("backup"):
        make(store, "one")
    prove(store, "one")
    rewrite(store.set_path("one"), server_name="other.example.org")
    entry = store.entry("one")
    assert (entry.damage, entry.drill, entry.verified) == (None, None, False)


def test_a_stranger_among_the_sets_is_shown_and_hidden_things_are_not(store: Store) -> None:
    with store.lock("backup"):
        make(store, "one")
    os.mkdir(store.path + "/sets/Not A Set")
    os.mkdir(store.path + "/sets/.hidden")
    assert {entry.id: entry.damage for entry in store.sets()} == {
        "Not A Set": "its name is none that a set can have",
        "one": None,
    }


def test_a_set_that_goes_while_others_look_is_not_called_damaged(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.lock("backup"):
        make(store, "one")
    real = store._names
    monkeypatch.setattr(store, "_names", lambda folder: [*real(folder), "gone"] if folder == "sets" else real(folder))
    assert ids(store) == ["one"]
    with pytest.raises(BackupError, match="there is no set gone"):
        store.entry("gone")


def test_no_store_has_no_sets(store: Store) -> None:
    assert store.sets() == [] and store.leftovers() == [] and not os.path.exists(store.root)


def test_what_may_not_be_read_is_not_called_damaged(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.lock("backup"):
        make(store, "one")

    def forbidden(*dummy: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tree, "content", forbidden)
    with pytest.raises(BackupError, match="sets/one cannot be read: Permission denied") as caught:
        store.sets()
    assert caught.value.kind == "auth"


def test_a_disk_that_cannot_be_read_damages_one_set_only(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.lock("backup"):
        make(store, "one")
        make(store, "two")
    real = tree.content

    def broken(directory: str, name: str, limit: int) -> bytes | None:
        if directory.endswith("/one"):
            raise OSError(errno.EIO, "Input/output error")
        return real(directory, name, limit)

    monkeypatch.setattr(tree, "content", broken)
    assert {entry.id: entry.damage for entry in store.sets()} == {
        "one": "it cannot be read: Input/output error",
        "two": None,
    }


# --- the files of a set


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: os.unlink(path + "/db/base"), "db/base is missing"),
        (lambda path: os.truncate(path + "/db/base", 29), "db/base has 29 bytes in place of 30"),
        (lambda path: flip(path + "/db/base"), "db/base has another content than was written"),
        (
            lambda path: (os.rename(path + "/db/base", path + "/b"), os.symlink("../b", path + "/db/base")),
            "db/base cannot be",
        ),
        (
            lambda path: (os.rename(path + "/db", path + "/d"), os.symlink("d", path + "/db")),
            "db/base cannot be opened",
        ),
        (lambda path: (os.unlink(path + "/db/base"), os.mkfifo(path + "/db/base")), "db/base is a pipe"),
        (lambda path: (os.unlink(path + "/db/base"), os.mkdir(path + "/db/base")), "db/base is a directory"),
    ],
)
def test_a_file_that_changed_is_found(store: Store, change: Callable[[str], object], reason: str) -> None:
    # F15 and F19: a byte that flipped, with its time kept.
    with store.lock("backup"):
        make(store, "one")
    entry = store.entry("one")
    assert store.verify_files(entry, later()) == tree.Verification(2, 31, 2, 31, ())
    change(entry.path)
    found = store.verify_files(entry, later())
    assert found.finished and found.bad[0].startswith(reason)


def flip(path: str) -> None:
    info = os.stat(path)
    with open(path, "r+b") as file:
        byte = file.read(1)
        file.seek(0)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


@pytest.mark.parametrize("seed", range(40))
def test_all_turns_together_read_every_file_once(store: Store, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    files = [
        FileEntry(f"f{number}", chance.choice([0, 0, 1, 7, 5000]), "0" * 64)
        for number in range(chance.randrange(1, 30))
    ]
    described = Manifest(
        "x", 1, "fleet", "db1", NOW, NOW, "full", components={"database": Component("n", tuple(files))}
    )
    read: list[str] = []
    monkeypatch.setattr(tree, "_compare", lambda dummy, file, deadline: (read.append(file.path), (None, file.bytes))[1])
    shares = chance.randrange(1, 9)
    sizes = [
        store.verify_files(Entry("x", "/x", described), later(), shares, turn).bytes for turn in range(5, 5 + shares)
    ]
    assert sorted(read) == sorted(file.path for file in files)
    assert max(sizes) <= sum(file.bytes for file in files) / shares + 5000


def test_the_turn_goes_on_with_the_days(store: Store, wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tuple(FileEntry(f"f{number}", 10, "0" * 64) for number in range(3))
    entry = Entry("x", "/x", Manifest("x", 1, "f", "s", NOW, NOW, "full", components={"m": Component("n", files)}))
    read: list[str] = []
    monkeypatch.setattr(tree, "_compare", lambda dummy, file, deadline: (read.append(file.path), (None, file.bytes))[1])
    for _day in range(3):
        store.verify_files(entry, later(), 3)
        wall.now += 24 * HOUR
    assert sorted(read) == ["f0", "f1", "f2"] and len(set(read)) == 3
    for shares in (0, -1):
        with pytest.raises(BackupError, match="shares: "):
            store.verify_files(entry, later(), shares)


def test_time_that_is_up_is_no_proof_and_no_reason_to_forget(store: Store) -> None:
    with store.lock("backup"):
        make(store, "one")
    entry = store.entry("one")
    with pytest.raises(ProbeFailure, match="no answer within") as caught:
        store.verify_files(entry, Deadline(0))
    assert caught.value.kind == "timeout"
    flip(entry.path + "/db/base")
    ticks = iter(range(1000))
    # Long enough for the first file and not for the second.
    found = store.verify_files(entry, Deadline(2.5, lambda: next(ticks)))
    assert not found.finished and found.bad == ("db/base has another content than was written",) and found.files == 1


def test_a_set_without_a_manifest_has_nothing_to_be_read(store: Store) -> None:
    with pytest.raises(BackupError, match="set x is damaged: why"):
        store.verify_files(Entry("x", "/x", damage="why"), later())


def test_a_tree_is_digested_in_order(tmp_path: pathlib.Path) -> None:
    fill(str(tmp_path), {"b": b"2", "a/z": b"", "a.x": b"3"})
    found = tree.digest_tree(str(tmp_path), later(), "db")
    assert [(file.path, file.bytes) for file in found] == [("db/a.x", 1), ("db/a/z", 0), ("db/b", 1)]
    assert found[2].sha256 == hashlib.sha256(b"2").hexdigest()
    assert tree.digest_tree(str(tmp_path / "a"), later())[0].path == "z"
    with pytest.raises(ProbeFailure, match="reading .*: no answer within"):
        tree.digest_tree(str(tmp_path), Deadline(0))
    with pytest.raises(BackupError, match="none cannot be read") as caught:
        tree.digest_tree(str(tmp_path / "none"), later())
    assert caught.value.kind == "internal"
    real = os.scandir

    def broken(path: Any) -> Any:
        if isinstance(path, int):
            raise OSError(errno.EIO, "Input/output error")
        return real(path)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(BackupError, match="cannot be read: Input/output"):
        patch.setattr(os, "scandir", broken)
        tree.digest_tree(str(tmp_path), later())
    reached = os.open

    def closed(path: Any, *args: Any, **more: Any) -> int:
        if path == b"a":
            raise PermissionError(errno.EACCES, "Permission denied")
        return reached(path, *args, **more)

    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(BackupError, match="cannot be read: Permission") as caught,
    ):
        patch.setattr(os, "open", closed)
        tree.digest_tree(str(tmp_path), later())
    assert caught.value.kind == "auth"
    os.symlink("b", tmp_path / "link")
    with pytest.raises(BackupError, match="link is a symbolic link"):
        tree.digest_tree(str(tmp_path), later())


def test_names_are_shown_in_one_line_and_in_ascii() -> None:
    assert tree.shown("/a b/c") == "/a b/c"
    assert tree.shown("/a\nb") == r"'/a\nb'"
    assert tree.shown("/\u00e9") == r"'/\xe9'"


def test_each_turn_reads_its_own_part(tmp_path: pathlib.Path) -> None:
    fill(str(tmp_path), {"a": b"1", "b": b"2"})
    files = tree.digest_tree(str(tmp_path), later())
    assert tree.verify(str(tmp_path), files, later()) == tree.Verification(2, 2, 2, 2, ())
    os.unlink(tmp_path / "a")
    found = [tree.verify(str(tmp_path), files, later(), 2, turn).bad for turn in range(4)]
    assert found == [("a is missing",), (), ("a is missing",), ()]


@pytest.mark.parametrize("change", [b"more", b"", b"other"])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: pathlib.Path, change: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"first")
    os.utime(path, (1, 1))
    real = os.read

    def slow(handle: int, size: int) -> bytes:
        chunk = real(handle, 3)
        if chunk == b"fir":
            path.write_bytes(change)
        return chunk

    monkeypatch.setattr(os, "read", slow)
    with pytest.raises(BackupError, match="changed while it was read"):
        tree.digest_tree(str(tmp_path), later())


# --- removal, holds, drills


def test_removal_leaves_the_other_sets(store: Store) -> None:
    with store.lock("removal"):
        make(store, "one")
        make(store, "two")
        store.remove("one")
        with pytest.raises(BackupError, match="there is no set one"):
            store.remove("one")
    assert ids(store) == ["two"] and os.listdir(store.path + "/sets") == ["two"]


def test_a_link_in_a_set_is_not_followed_by_removal(store: Store, tmp_path: pathlib.Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    with store.lock("removal"):
        make(store, "one")
        os.symlink(tmp_path / "precious", store.set_path("one") + "/link")
        store.remove("one")
        os.symlink(tmp_path / "precious", store.set_path("two"))
        with pytest.raises(BackupError, match="is a symbolic link, and no set; look at it yourself"):
            store.remove("two")
    assert (tmp_path / "precious" / "file").exists()


def test_a_damaged_set_can_be_removed(store: Store) -> None:
    with store.lock("removal"):
        make(store, "one")
        os.unlink(store.set_path("one") + "/MANIFEST.json")
        store.remove("one")
    assert ids(store) == []


def test_a_held_set_stays_until_it_is_released(store: Store) -> None:
    with store.lock("removal"):
        make(store, "one")
        assert store.hold("one", "court order 7")
        assert not store.hold("one", "court order 7")
        assert store.entry("one").held == "court order 7"
        with pytest.raises(BackupError, match="set one is held: court order 7; release it first"):
            store.remove("one")
        assert ids(store) == ["one"]
        assert store.release("one") and not store.release("one")
        store.remove("one")


def test_a_hold_needs_a_reason_and_a_set(store: Store) -> None:
    with store.lock("x"):
        make(store, "one")
    with pytest.raises(BackupError, match="say why"):
        store.hold("one", " ")
    with pytest.raises(BackupError, match="there is no set two"):
        store.hold("two", "why")
    assert os.listdir(store.path + "/holds") == []


@pytest.mark.parametrize("content", [b"", b"junk", b"{}", b"[]"])
def test_a_hold_that_cannot_be_read_holds(store: Store, content: bytes) -> None:
    with store.lock("removal"):
        make(store, "one")
        fill(store.path, {"holds/one": content})
        with pytest.raises(BackupError, match="set one is held: .*/holds/one does not say why"):
            store.remove("one")
        os.unlink(store.path + "/holds/one")
        os.symlink("/nowhere", store.path + "/holds/one")
        assert store.entry("one").held


def test_a_set_that_is_being_removed_takes_no_hold_and_no_reader(
    store: Store, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    seen = []
    real = os.rename

    def look(source: str, target: str) -> None:
        other = open_store(tmp_path)
        for act in (lambda: other.hold("one", "too late"), lambda: other.in_use("one").__enter__()):
            with pytest.raises(BackupError) as caught:
                act()
            seen.append(caught.value.message)
        real(source, target)

    with store.lock("removal"):
        make(store, "one")
        monkeypatch.setattr(os, "rename", look)
        store.remove("one")
    assert seen == ["set one is being removed"] * 2 and os.listdir(store.path + "/holds") == []


def test_a_drill_is_kept_with_the_set_that_it_was_of(store: Store) -> None:
    with store.lock("backup"):
        entry = make(store, "one")
        path = prove(store, "one")
        assert os.path.basename(path) == "20261123T021500Z-0001.json"
        report = json.loads(pathlib.Path(path).read_text())
        assert report == {
            "status": "ok",
            "facts": {"mb_per_s": 5, "set": "one", "manifest_sha256": entry.sha256},
        }
        assert store.entry("one").verified
        store.remove("one")
        make(store, "one")
        assert not store.entry("one").verified and store.drills("one") == []
        assert os.path.basename(prove(store, "one", "warning")) == "20261123T021500Z-0002.json"
        assert not store.entry("one").verified
        prove(store, "one")
        assert [(drill.number, drill.status) for drill in store.drills("one")] == [(2, "warning"), (3, "ok")]
        assert store.entry("one").verified


def test_drills_holds_and_their_end_are_on_the_disk(store: Store, events: list[Any]) -> None:
    with store.lock("backup"):
        make(store, "one")
    for act, folder in (
        (lambda: prove(store, "one"), "drills/one"),
        (lambda: store.hold("one", "why"), "holds"),
        (lambda: store.release("one"), "holds"),
    ):
        events.clear()
        act()
        assert events[-1] == os.stat(os.path.join(store.path, folder)).st_ino


def test_a_drill_is_of_a_set_and_says_how_it_went(store: Store) -> None:
    with store.lock("x"):
        make(store, "one")
    with pytest.raises(BackupError, match="there is no set two"):
        prove(store, "two")
    with pytest.raises(BackupError, match="has no status"):
        store.record_drill("one", {"facts": {}})
    assert os.listdir(store.path + "/drills") == []


@pytest.mark.parametrize("content", [b"", b"junk", b"[]", b'{"facts": {}}'])
def test_a_newest_drill_that_cannot_be_read_proves_nothing(store: Store, content: bytes) -> None:
    with store.lock("x"):
        make(store, "one")
    prove(store, "one")
    fill(store.path, {"drills/one/20261123T021500Z-0002.json": content, "drills/one/readme": b"not a drill"})
    entry = store.entry("one")
    assert entry.drill is not None and (entry.drill.status, entry.drill.number, entry.verified) == ("unknown", 2, False)
    prove(store, "one")
    assert store.entry("one").verified


def test_a_drill_that_does_not_say_of_what_is_passed_over(store: Store) -> None:
    with store.lock("x"):
        make(store, "one")
    prove(store, "one")
    fill(store.path, {"drills/one/20261123T021500Z-0002.json": b'{"status": "critical", "facts": []}'})
    assert store.entry("one").verified and len(store.drills("one")) == 1


def test_drills_at_the_same_moment_get_different_numbers(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.lock("x"):
        make(store, "one")
    prove(store, "one")
    real, calls = store._drill_names, []

    def stale(set_id: str) -> list[tuple[int, str, str]]:
        calls.append(set_id)
        return [] if len(calls) == 1 else real(set_id)

    monkeypatch.setattr(store, "_drill_names", stale)
    assert prove(store, "one").endswith("-0002.json")
    monkeypatch.undo()
    assert [drill.number for drill in store.drills("one")] == [1, 2]


def test_the_catalog_says_what_there_is(store: Store) -> None:
    with store.lock("x"):
        make(store, "one")
        prove(store, "one")
        make(store, "two")
        os.unlink(store.set_path("two") + "/MANIFEST.json")
        path = pathlib.Path(store.write_catalog())
    document = json.loads(path.read_text())
    assert document["schema"] == "matrixon.ops/backup-catalog/1" and document["written"] == "2026-11-23T02:15:00.000Z"
    assert {item["id"]: (item["verified"], item["damage"]) for item in document["sets"]} == {
        "one": (True, None),
        "two": (False, "it has no readable MANIFEST.json"),
    }
    assert document["sets"][1] == {
        "id": "one",
        "sequence": 1,
        "kind": "full",
        "chain": ["one"],
        "created": "2026-11-23T02:15:00.000Z",
        "finished": "2026-11-23T02:15:00.000Z",
        "bytes": 0,
        "components": ["database"],
        "manifest_sha256": store.entry("one").sha256,
        "verified": True,
        "damage": None,
        "held": None,
        "in_use": False,
        "drill": {"number": 1, "time": "20261123T021500Z", "status": "ok"},
    }
    path.write_text("junk")
    assert len(store.sets()) == 2


# --- killed runs


def test_what_a_killed_run_left_is_swept_and_nothing_else(store: Store, wall: Wall, tmp_path: pathlib.Path) -> None:
    with store.lock("x"):
        make(store, "one")
        prove(store, "one")
    sets = store.path + "/sets/"
    keep = [".partial-../x", ".partial-A B", ".hidden", ".removing", "two.partial-x"]
    for name in keep[1:]:
        os.mkdir(sets + name)
    fill(sets, {".partial-file": b"", ".partial-old/db/x": b"", ".removing-gone/MANIFEST.json": b""})
    os.symlink(tmp_path, sets + ".partial-link")
    fill(store.path, {".sequence.abcd_123.tmp": b"", ".catalog.json.abcd0123.tmp": b"", "mine.tmp": b"", ".x.tmp": b""})
    fill(store.path, {"drills/one/.a.json.abcd0123.tmp": b"", "holds/.one.abcd0123.tmp": b""})
    wall.now = datetime.datetime.now(datetime.timezone.utc)
    found = {
        sets + ".partial-old",
        sets + ".removing-gone",
        store.path + "/.sequence.abcd_123.tmp",
        store.path + "/.catalog.json.abcd0123.tmp",
    }
    young = {store.path + "/drills/one/.a.json.abcd0123.tmp", store.path + "/holds/.one.abcd0123.tmp"}
    assert set(store.leftovers()) == found
    wall.now += 25 * HOUR
    assert set(store.leftovers()) == found | young
    before = set(listing(store.path))
    with store.lock("x"):
        assert set(store.sweep()) == found | young
        assert store.sweep() == []
    gone = {os.path.relpath(path, store.path) for path in found | young}
    assert before - set(listing(store.path)) == gone | {
        "sets/.partial-old/db",
        "sets/.partial-old/db/x",
        "sets/.removing-gone/MANIFEST.json",
    }
    assert "one" in ids(store) and tmp_path.exists()


def test_a_set_that_is_being_made_is_no_leftover(store: Store) -> None:
    other = open_like(store)

    @contextlib.contextmanager
    def making() -> Iterator[None]:
        with other.lock("backup"), other.begin("one"):
            yield

    with child(making):
        assert os.path.isdir(store.partial_path("one")) and store.leftovers() == []
    assert store.leftovers() == [store.partial_path("one")]


def test_a_child_of_a_killed_run_keeps_its_set(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    # The store's lock is free, and somebody who got the handle of the set still writes.
    with store.lock("backup"):
        partial = store.begin("one")
    with store.lock("next"):
        assert store.sweep() == [] and store.leftovers() == []
        with pytest.raises(BackupError, match="is in use by another run"):
            store.begin("one")
        partial.close()
        with store.begin("one") as again:
            assert os.listdir(again.path) == [".run"]


def points(act: Callable[[], None], monkeypatch: pytest.MonkeyPatch, fault: Callable[[int], None]) -> int:
    """Call a fault before each step towards the disk, and return how many there were."""
    count = 0

    def wrap(name: str) -> None:
        real = getattr(os, name)

        def step(*args: Any, **more: Any) -> Any:
            nonlocal count
            count += 1
            fault(count)
            return real(*args, **more)

        monkeypatch.setattr(os, name, step)

    for name in ("fsync", "rename", "replace", "unlink", "rmdir", "mkdir"):
        wrap(name)
    try:
        act()
    finally:
        monkeypatch.undo()
    return count


def attempt(store: Store) -> None:
    """Sweep, make one set and remove another, as a run does."""
    with store.lock("backup"):
        store.sweep()
        make(store, "new")
        store.remove("old")
        store.write_catalog()


@pytest.mark.parametrize("how", ["full", "killed"])
def test_a_run_that_ends_at_any_step_leaves_whole_sets_only(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    def prepared(name: str) -> Store:
        store = Store(str(tmp_path / name), "fleet", "db1", clock=Wall())
        with store.lock("x"):
            make(store, "old")
            make(store, "kept")
        return store

    first = prepared("total")
    total = points(lambda: attempt(first), monkeypatch, lambda dummy: None)
    assert total > 20
    for number in range(1, total + 1):
        store = prepared(f"{how}{number}")

        def fault(step: int, number: int = number) -> None:
            # Removing goes on on a full disk, so only this step fails.
            if step == number and how == "full":
                raise OSError(errno.ENOSPC, "No space left on device")
            if step == number:
                os._exit(9)

        if how == "full":
            with contextlib.suppress(BackupError, OSError):
                points(lambda store=store: attempt(store), monkeypatch, fault)
        else:
            pid = os.fork()
            if not pid:
                points(lambda store=store: attempt(store), monkeypatch, fault)
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
        present = store.sets()
        assert all(entry.damage is None for entry in present)
        assert all(store.verify_files(entry, later()).bad == () for entry in present)
        found = {entry.id for entry in present}
        assert "kept" in found and found & {"old", "new"}
        with store.lock("next"):
            store.sweep()
            if "new" not in found:
                make(store, "new")
        hidden = [name for name in os.listdir(store.path + "/sets") if name.startswith(".")]
        assert hidden == [] and store.leftovers() == []
        assert [name for name in os.listdir(store.path) if name.endswith(".tmp")] == []


@pytest.mark.parametrize("seed", range(10))
def test_a_run_that_is_killed_at_a_random_moment(store: Store, seed: int) -> None:
    chance = random.Random(seed)
    with store.lock("x"):
        make(store, "kept")
    pid = os.fork()
    if not pid:
        mine = open_like(store)
        for number in range(10000):
            with mine.lock("backup"):
                mine.sweep()
                make(mine, f"s{number}")
                if number > 2:
                    mine.remove(f"s{number - 2}")
        os._exit(0)
    time.sleep(chance.uniform(0.02, 0.25))
    os.kill(pid, chance.choice([signal.SIGKILL, signal.SIGTERM]))
    os.waitpid(pid, 0)
    present = store.sets()
    assert present and all(entry.damage is None and not store.verify_files(entry, later()).bad for entry in present)
    with store.lock("next"):
        store.sweep()
        make(store, "next")
    assert not [name for name in os.listdir(store.path + "/sets") if name.startswith(".")]
    sequences = [entry.sequence for entry in store.sets()]
    assert len(set(sequences)) == len(sequences) and store.sets()[-1].id == "next"


def test_an_error_in_the_making_is_told_and_nothing_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.lock("x"):
        with pytest.raises(RuntimeError, match="dump died"), store.begin("one") as partial:
            fill(partial.path, {"db/base": b"half"})
            raise RuntimeError("dump died")
        assert os.listdir(store.path + "/sets") == []

        def stuck(path: str) -> None:
            raise OSError(errno.EBUSY, "Device or resource busy", path)

        monkeypatch.setattr(shutil, "rmtree", stuck)
        # Why it failed is worth more than that it could not be cleared away.
        with pytest.raises(RuntimeError, match="dump died"), store.begin("two"):
            raise RuntimeError("dump died")
        with pytest.raises(BackupError, match=r"partial-three cannot be removed: Device"), store.begin("three"):
            pass


# --- places


def test_a_good_place_has_no_problems(store: Store, tmp_path: pathlib.Path) -> None:
    assert store.problems() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("root", ["backups", "", "/", "//", "/..", "/srv/../backups", "./x"])
def test_a_root_that_is_no_plain_absolute_path_is_refused(root: str) -> None:
    (problem,) = Store(root, "fleet", "db1").problems()
    assert problem.startswith(f"root: {root!r} is not the absolute path")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", "x\n", ".x", "a b"])
def test_fleet_and_server_are_names_of_directories(tmp_path: pathlib.Path, name: str) -> None:
    assert Store(str(tmp_path), name, "db1").problems()[0].startswith(f"fleet: {name!r}")
    assert Store(str(tmp_path), "fleet", name).problems()[0].startswith(f"server: {name!r}")


def test_nothing_is_touched_where_there_is_a_problem(tmp_path: pathlib.Path) -> None:
    store = open_store(tmp_path, apart={"the data directory": str(tmp_path)})
    with pytest.raises(BackupError, match="lies in the data directory") as caught, store.lock("backup"):
        pass
    assert caught.value.kind == "internal" and list(tmp_path.iterdir()) == []


def test_a_store_lies_in_no_data_and_no_data_in_it(tmp_path: pathlib.Path) -> None:
    def problems(path: pathlib.Path) -> list[str]:
        return open_store(tmp_path, apart={"the media": str(path)}).problems()

    (tmp_path / "link").symlink_to(tmp_path)
    for path in (tmp_path, tmp_path / "root", tmp_path / "root/fleet/db1", tmp_path / "link", pathlib.Path("/")):
        assert "lies in the media" in "".join(problems(path)), path
    assert "the media" in problems(tmp_path / "root/fleet/db1/sets")[0]
    assert "lies in the store" in problems(tmp_path / "root/fleet/db1/media")[0]
    for path in (tmp_path / "roo", tmp_path / "root2", tmp_path / "root/fleet/db10", tmp_path / "media"):
        assert problems(path) == []


def test_a_place_that_everybody_can_rename_is_refused(tmp_path: pathlib.Path) -> None:
    place = tmp_path / "open"
    place.mkdir()
    store = Store(str(place / "root"), "fleet", "db1")
    for mode, bad in ((0o777, True), (0o1777, False), (0o755, False), (0o702, True)):
        place.chmod(mode)
        found = store.problems()
        assert bool(found) == bad and all(f"everybody can rename what lies in {place}" in problem for problem in found)
    (tmp_path / "way").symlink_to(place)
    assert "everybody" in Store(str(tmp_path / "way/root"), "fleet", "db1").problems()[0]
    place.chmod(0o755)
    with store.lock("x"):
        pass
    os.chmod(store.path + "/sets", 0o777)
    with store.lock("x"):
        assert stat.S_IMODE(os.stat(store.path + "/sets").st_mode) == 0o700


@ROOT
def test_a_link_that_somebody_else_made_is_refused(open_place: pathlib.Path) -> None:
    (open_place / "elsewhere").mkdir()
    (open_place / "root").mkdir()
    link = open_place / "root" / "fleet"
    link.symlink_to(open_place / "elsewhere")
    assert open_store(open_place).problems() == []
    os.lchown(link, NOT_ROOT, NOT_ROOT)
    (problem,) = open_store(open_place).problems()
    assert f"{link} is a symbolic link that uid {NOT_ROOT} made" in problem
    for name in ("elsewhere", "root"):
        os.chown(open_place / name, NOT_ROOT, NOT_ROOT)
    # The owner's own link, and root's, are as good as a directory of theirs.
    for maker in (NOT_ROOT, 0):
        os.lchown(link, maker, maker)
        assert open_store(open_place, owner=(NOT_ROOT, NOT_ROOT)).problems() == []


@ROOT
def test_a_link_is_no_place_where_everybody_can_write(tmp_path: pathlib.Path) -> None:
    (tmp_path / "theirs/root").mkdir(parents=True)
    os.chown(tmp_path / "theirs", NOT_ROOT, NOT_ROOT)
    (tmp_path / "way").symlink_to("theirs")
    assert Store(str(tmp_path / "way/root"), "fleet", "db1").problems() == []


@ROOT
def test_a_directory_of_somebody_else_is_refused(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "root"
    (root / "fleet").mkdir(parents=True)
    os.chown(root, NOT_ROOT, NOT_ROOT)
    assert f"{root} belongs to uid {NOT_ROOT}" in open_store(tmp_path).problems()[0]
    os.chown(root, 0, 0)
    os.chown(tmp_path, NOT_ROOT, NOT_ROOT)
    assert open_store(tmp_path).problems() == []
    # One that was put where everybody may put things.
    (tmp_path / "all").mkdir()
    os.chmod(tmp_path / "all", 0o1777)
    (tmp_path / "all/theirs").mkdir()
    os.chown(tmp_path / "all/theirs", NOT_ROOT, NOT_ROOT)
    (problem,) = Store(str(tmp_path / "all/theirs/root"), "fleet", "db1").problems()
    assert "all/theirs belongs to uid" in problem


@ROOT
def test_a_way_over_links_and_back_is_looked_at_as_what_it_is(tmp_path: pathlib.Path) -> None:
    (tmp_path / "disk/a/fleet").mkdir(parents=True)
    (tmp_path / "root").symlink_to("disk/./a/../a")
    assert open_store(tmp_path).problems() == []
    os.chown(tmp_path / "disk/a/fleet", NOT_ROOT, NOT_ROOT)
    (problem,) = open_store(tmp_path).problems()
    assert f"{tmp_path}/disk/a/fleet belongs to uid {NOT_ROOT}" in problem


@ROOT
def test_a_place_that_the_owner_cannot_enter_is_refused(open_place: pathlib.Path) -> None:
    store = open_store(open_place, owner=(NOT_ROOT, NOT_ROOT))
    assert store.problems() == []
    for mode, gid, bad in ((0o700, 0, True), (0o710, 0, True), (0o710, NOT_ROOT, False), (0o701, NOT_ROOT, True)):
        os.chown(open_place, 0, gid)
        os.chmod(open_place, mode)
        found = store.problems()
        assert bool(found) == bad and all(f"{open_place} cannot be entered by uid {NOT_ROOT}" in one for one in found)
    os.chown(open_place, NOT_ROOT, 0)
    os.chmod(open_place, 0o600)
    assert "cannot be entered" in store.problems()[0]
    os.chmod(open_place, 0o700)
    assert store.problems() == []


def test_another_user_than_the_owner_is_refused(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path, owner=(os.getuid(), os.getgid()))
    monkeypatch.setattr(os, "geteuid", lambda: NOT_ROOT)
    assert f"belongs to the user with uid {os.getuid()}, and this is uid {NOT_ROOT}" in store.problems()[0]


def test_a_root_that_is_a_file_or_a_loop_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "root").write_text("")
    assert "root is not a directory" in open_store(tmp_path).problems()[0]
    (tmp_path / "root").unlink()
    (tmp_path / "root").symlink_to("root")
    assert "cannot be looked at: Too many levels" in open_store(tmp_path).problems()[0]


def test_links_of_the_administrator_are_followed_wherever_they_lead(tmp_path: pathlib.Path) -> None:
    (tmp_path / "disk/a").mkdir(parents=True)
    (tmp_path / "root").symlink_to("disk/a/../a")
    store = open_store(tmp_path)
    with store.lock("x"):
        make(store, "one")
    assert (tmp_path / "disk/a/fleet/db1/sets/one").is_dir()


def test_what_is_no_directory_is_told(tmp_path: pathlib.Path) -> None:
    store = open_store(tmp_path)
    with store.lock("x"):
        pass
    os.rmdir(store.path + "/drills")
    pathlib.Path(store.path, "drills").write_text("")
    with pytest.raises(BackupError, match="/drills cannot be made: Not a directory"), store.lock("x"):
        pass


# --- space


def test_space_is_that_of_the_place_where_the_store_will_be(store: Store, tmp_path: pathlib.Path) -> None:
    found = os.statvfs(tmp_path)
    seen = store.space()
    assert seen.path == store.path and seen.total == found.f_blocks * found.f_frsize
    assert abs(seen.free - found.f_bavail * found.f_frsize) < 1 << 30


def test_too_little_space_says_needed_free_and_where(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "space", lambda path: place.Space(path, 1000, 5000))
    for needed, reserve in ((1000, 0), (0, 1000), (600, 400)):
        store.require_space(needed, reserve)
    with pytest.raises(BackupError) as caught:
        store.require_space(700, 301)
    message = caught.value.message.replace("\N{NO-BREAK SPACE}", " ")
    assert message == (
        f"{store.path} has too little space: 700 B (700 bytes) are needed and 301 B are to stay free, and 1 000 B "
        "(1000 bytes) are free; make room, or choose another place"
    )
    with pytest.raises(BackupError, match=r"\(1001 bytes\) are needed, and"):
        store.require_space(1001)
    place.require_space("/x", 1000)


# --- files and locks


def test_a_file_is_read_up_to_its_limit(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert tree.content(str(tmp_path), "a", 5) == b"12345"
    assert tree.content(str(tmp_path), "a", 4) is None
    assert tree.content(str(tmp_path), "none", 4) is None
    with pytest.raises(OSError, match="File name too long"):
        tree.content(str(tmp_path), "x" * 300, 4)


def test_an_exclusive_lock_is_asked_for_as_a_writer_where_that_can_be(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"")

    def access(exclusive: bool) -> int | None:
        handle = locks.open_file(str(tmp_path), "a", exclusive)
        if handle is None:
            return None
        try:
            return fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE
        finally:
            os.close(handle)

    # NFS gives an exclusive lock to a writer only.
    assert (access(True), access(False)) == (os.O_RDWR, os.O_RDONLY)
    real = tree.open_below

    def read_only(directory: str, path: str, how: int = os.O_RDONLY) -> int:
        if how == os.O_RDWR:
            raise OSError(errno.EROFS, "Read-only file system")
        return real(directory, path, how)

    monkeypatch.setattr(tree, "open_below", read_only)
    assert access(True) == os.O_RDONLY
    monkeypatch.setattr(tree, "open_below", lambda *dummy: os.open(tmp_path / "none", os.O_RDONLY))
    assert access(True) is None

    def broken(*dummy: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(tree, "open_below", broken)
    with pytest.raises(OSError, match="Input/output"):
        access(True)

    def forbidden(*dummy: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tree, "open_below", forbidden)
    with pytest.raises(PermissionError):
        access(True)


def test_the_start_of_a_process_is_told() -> None:
    with child(lambda: None) as pid:
        started = locks._start_time(pid)
        assert started is not None
        uptime = float(pathlib.Path("/proc/uptime").read_text().split()[0])
        assert -1 < uptime - started / os.sysconf("SC_CLK_TCK") < 30
    assert locks._start_time(pid) is None


def test_a_lock_is_waited_for_as_long_as_asked(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"")
    first, second = (os.open(tmp_path / "a", os.O_RDWR) for dummy in range(2))
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        if now > 1:
            fcntl.flock(first, fcntl.LOCK_UN)

    monkeypatch.setattr(locks.time, "monotonic", lambda: now)
    monkeypatch.setattr(locks.time, "sleep", sleep)
    assert locks.take(first, locks.EXCLUSIVE)
    assert not locks.take(second, locks.SHARED) and now == 0
    assert not locks.take(second, locks.SHARED, 0.5) and 0.5 <= now < 0.6
    assert locks.take(second, locks.SHARED, 1) and now > 1
    os.close(first)
    os.close(second)
