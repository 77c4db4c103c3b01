"""How far an archive of the log leads, and the command with which recovery takes from it."""

from __future__ import annotations

import datetime
import gzip
import pathlib
import subprocess

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import archive, wal
from ansible_collections.matrixon.ops.plugins.module_utils._backup.archive import Archive, first_hole, restore_command
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import PostgresqlFacts, Target
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

MIB = 1 << 20
LATEST = Target("latest")
UTC = datetime.timezone.utc

# Plays pg_waldump: says what stands in a segment, which is text here.
WALDUMP = """#!/bin/sh
for path; do :; done
case "$1" in --rmgr=*) grep COMMIT "$path" ;; *) grep -v ^# "$path" ;; esac
echo "pg_waldump: error: error in WAL record at 0/0: invalid record length at 0/0: wanted 24, got 0" >&2
exit 1
"""


def pg(start: int = 3, stop: int = 3) -> PostgresqlFacts:
    return PostgresqlFacts(
        version="15.18",
        major=15,
        system_identifier="7",
        encoding="UTF8",
        collate="C",
        ctype="C",
        locale_provider="libc",
        checksums=True,
        segment_bytes=MIB,
        timeline=1,
        lsn_start=wal.format_lsn(start * MIB + 40),
        lsn_stop=wal.format_lsn(stop * MIB + 256),
        wal_start=wal.name_of(1, start, MIB),
        wal_stop=wal.name_of(1, stop, MIB),
    )


def record(position: int, words: str = "INSERT") -> str:
    return f"rmgr: X len: 1, tx: 1, lsn: {wal.format_lsn(position)}, prev 0/0, desc: {words}\n"


def commit(position: int, moment: str) -> str:
    return record(position, f"COMMIT {moment} UTC; inval msgs: snapshot 2396")


@pytest.fixture
def place(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/pg_waldump").write_text(WALDUMP)
    (tmp_path / "tools/pg_waldump").chmod(0o755)
    (tmp_path / "wal").mkdir()
    return tmp_path


def put(place: pathlib.Path, number: int, text: str = "", suffix: str = "") -> None:
    content = text.encode().ljust(MIB, b"#" if not text else b"\n")
    name = place / "wal" / (wal.name_of(1, number, MIB) + suffix)
    name.write_bytes(gzip.compress(content) if suffix == ".gz" else content)


def opened(place: pathlib.Path) -> Archive:
    return Archive(str(place / "wal"), Runner(), str(place / "tools"), MIB)


# --- how far it leads


def test_the_sets_own_copy_of_its_last_segment_hides_no_hole(place: pathlib.Path) -> None:
    """That copy ends where the set does, so recovery would end there, too."""
    put(place, 4)
    walk, names = opened(place).walk(pg(), LATEST)
    assert first_hole(walk, "/wal") == f"the archive /wal lacks {wal.name_of(1, 3, MIB)}"
    put(place, 3)
    walk, names = opened(place).walk(pg(), LATEST)
    assert first_hole(walk, "/wal") is None
    assert sorted(names) == [wal.name_of(1, number, MIB) for number in (3, 4)]


def test_an_empty_archive_leads_to_the_end_of_the_set(place: pathlib.Path) -> None:
    found = opened(place)
    walk, names = found.walk(pg(2, 3), LATEST)
    stop = 3 * MIB + 256
    assert (first_hole(walk, "/wal"), names) == (None, [])
    assert found.last_record(walk, stop, Deadline(5)) == stop - 1
    assert found.last_commit(walk, stop, Deadline(5)) is None


def test_several_segments_that_are_missing_are_counted(place: pathlib.Path) -> None:
    for number in (3, 7):
        put(place, number)
    walk, dummy = opened(place).walk(pg(), LATEST)
    first, last = wal.name_of(1, 4, MIB), wal.name_of(1, 6, MIB)
    assert first_hole(walk, "/wal") == f"the archive /wal lacks {first} to {last} (3 segments)"


def test_a_segment_that_was_cut_off_is_none(place: pathlib.Path) -> None:
    for number in (3, 4, 5):
        put(place, number)
    (place / "wal" / wal.name_of(1, 4, MIB)).write_bytes(b"short")
    (place / "wal/000000010000000000000006.gz.partial").write_bytes(b"half a stream")
    (place / "wal/notes.txt").touch()
    walk, names = opened(place).walk(pg(), LATEST)
    assert wal.name_of(1, 4, MIB) in str(first_hole(walk, "/wal"))
    assert len(names) == 2


def test_an_archive_that_cannot_be_listed_is_named(place: pathlib.Path) -> None:
    with pytest.raises(BackupError, match="nowhere cannot be listed: No such file"):
        Archive(str(place / "nowhere"), Runner(), "", MIB).walk(pg(), LATEST)


def test_another_timeline_is_followed_by_its_history(place: pathlib.Path) -> None:
    put(place, 3)
    (place / "wal/00000002.history").write_text(f"1\t{wal.format_lsn(4 * MIB + 99)}\tno recovery target specified\n")
    for name in (wal.name_of(2, 4, MIB), wal.name_of(2, 5, MIB)):
        (place / "wal" / name).write_bytes(record(5 * MIB + 8).encode().ljust(MIB, b"\n"))
    found = opened(place)
    walk, dummy = found.walk(pg(), LATEST)
    assert (walk.timelines, walk.holes) == ((1, 2), ())
    assert found.last_record(walk, 3 * MIB + 256, Deadline(5)) == 5 * MIB + 8


# --- what stands in it


def test_the_last_record_is_in_the_unfinished_segment(place: pathlib.Path) -> None:
    put(place, 3, record(3 * MIB + 300))
    put(place, 4, record(4 * MIB + 40) + record(4 * MIB + 80), ".partial")
    found = opened(place)
    walk, dummy = found.walk(pg(), LATEST)
    assert found.last_record(walk, 3 * MIB + 256, Deadline(5)) == 4 * MIB + 80


def test_the_last_record_before_a_hole_is_what_recovery_comes_to(place: pathlib.Path) -> None:
    put(place, 3, record(3 * MIB + 300))
    put(place, 5, record(5 * MIB + 300), ".partial")
    put(place, 5, record(5 * MIB + 300))
    found = opened(place)
    walk, dummy = found.walk(pg(), LATEST)
    assert walk.holes
    assert found.last_record(walk, 3 * MIB + 256, Deadline(5)) == 3 * MIB + 300


def test_a_segment_that_is_compressed_is_read(place: pathlib.Path) -> None:
    put(place, 3, record(3 * MIB + 300))
    put(place, 4, commit(4 * MIB + 40, "2026-11-23 10:00:00.123456"), ".gz")
    found = opened(place)
    walk, dummy = found.walk(pg(), LATEST)
    assert found.last_record(walk, 3 * MIB + 256, Deadline(5)) == 4 * MIB + 40
    assert found.last_commit(walk, 3 * MIB + 256, Deadline(5)) == datetime.datetime(
        2026, 11, 23, 10, 0, 0, 123456, tzinfo=UTC
    )


def test_the_last_commit_is_looked_for_backwards_to_the_end_of_the_set(place: pathlib.Path) -> None:
    put(place, 2, commit(2 * MIB + 40, "2026-11-23 09:00:00.000000"))
    put(place, 3, record(3 * MIB + 300))
    put(place, 4, commit(4 * MIB + 40, "2026-11-23 14:00:00.000000"))
    put(place, 5)
    found = opened(place)
    walk, dummy = found.walk(pg(2, 3), LATEST)
    assert found.last_commit(walk, 3 * MIB + 256, Deadline(5)) == datetime.datetime(2026, 11, 23, 14, tzinfo=UTC)
    (place / "wal" / wal.name_of(1, 4, MIB)).write_bytes(b"#" * MIB)
    # What was committed before the set ended is no moment that can be reached.
    assert found.last_commit(walk, 3 * MIB + 256, Deadline(5)) is None


def test_the_last_commit_may_be_on_an_older_timeline(place: pathlib.Path) -> None:
    put(place, 3, commit(3 * MIB + 300, "2026-11-23 10:00:00.000000"))
    (place / "wal/00000002.history").write_text(f"1\t{wal.format_lsn(4 * MIB + 99)}\tno recovery target specified\n")
    for number in (4, 5):
        (place / "wal" / wal.name_of(2, number, MIB)).write_bytes(b"#" * MIB)
    found = opened(place)
    walk, dummy = found.walk(pg(), LATEST)
    assert walk.timelines == (1, 2)
    assert found.last_commit(walk, 3 * MIB + 256, Deadline(5)) == datetime.datetime(2026, 11, 23, 10, tzinfo=UTC)


def test_an_unfinished_segment_in_the_middle_is_not_counted_on(place: pathlib.Path) -> None:
    put(place, 3, record(3 * MIB + 300))
    put(place, 4, record(4 * MIB + 40), ".partial")
    put(place, 5, record(5 * MIB + 40))
    found = opened(place)
    walk, dummy = found.walk(pg(), LATEST)
    assert walk.holes and walk.partial == wal.name_of(1, 4, MIB)
    assert found.last_record(walk, 3 * MIB + 256, Deadline(5)) == 3 * MIB + 300


@pytest.mark.parametrize(
    "words",
    [
        "COMMIT 2026-11-23 10:00:00.5 UTC",
        "COMMIT 2026-11-23 10:00:00.500000 UTC; rels: base/1/2; inval msgs: catcache 21",
        "COMMIT_PREPARED 725: 2026-11-23 10:00:00.500000 UTC",
    ],
)
def test_commits_are_recognised(words: str) -> None:
    assert archive._COMMIT.findall(record(1, words))[0].startswith("2026-11-23 10:00:00.5")


def test_an_abort_is_no_commit() -> None:
    assert archive._COMMIT.findall(record(1, "ABORT 2026-11-23 10:00:00.500000 UTC")) == []


# --- taking from it


@pytest.mark.parametrize("folder", ["wal", 'it\'s 100% %f %p "mine" $HOME'])
def test_the_restore_command_takes_what_is_there(tmp_path: pathlib.Path, folder: str) -> None:
    place, target = tmp_path / folder, tmp_path / "pg_wal"
    place.mkdir()
    target.mkdir()
    (place / "A").write_bytes(b"plain")
    (place / "B.gz").write_bytes(gzip.compress(b"packed"))
    (place / "C.partial").write_bytes(b"partial")
    (place / "D.partial").write_bytes(b"old")
    (place / "D").write_bytes(b"whole")
    command = restore_command(str(place), {None, "gz", "unknown"})

    def fetch(name: str) -> int:
        # As the server fills it in.
        filled = command.replace("%%", "\0").replace("%f", name).replace("%p", "pg_wal/RECOVERYXLOG")
        return subprocess.run(filled.replace("\0", "%"), shell=True, cwd=tmp_path, check=False).returncode

    for name, content in (("A", b"plain"), ("B", b"packed"), ("C", b"partial"), ("D", b"whole")):
        assert fetch(name) == 0
        assert (target / "RECOVERYXLOG").read_bytes() == content
        (target / "RECOVERYXLOG").unlink()
    # Above 125 the server would give up altogether.
    assert fetch("E") == 1
    assert list(target.iterdir()) == []


def test_without_an_archive_nothing_is_fetched() -> None:
    assert restore_command(None, {"gz"}) == "/bin/false"
