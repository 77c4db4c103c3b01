"""Tests of log files that are rotated while they are read: every line counts once, and what is gone is told."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import pathlib
import random
import shutil
from collections.abc import Callable

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._security.files import (
    Place,
    Read,
    expand,
    read_log,
    rotated,
)


class Log:
    """A log with numbered lines, the ways to rotate it, and a reader that goes on where it ended."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.path = directory / "server.log"
        self.number = 0
        self.lines: list[int] = []
        self.trail: list[Place] = []
        self.last = Read()

    def write(self, count: int = 1, path: pathlib.Path | None = None) -> None:
        with open(path or self.path, "a") as file:
            for _line in range(count):
                self.number += 1
                file.write(f"2026-11-27 line {self.number:06}\n")

    def read(self, deadline: float = 60, since: float = 0.0, chunk: int = 4096) -> Read:
        def take(block: bytes) -> None:
            self.lines += [int(line.split()[-1]) for line in block.splitlines()]

        now = self.last_time()
        self.last = read_log(str(self.path), self.trail, since, now, take, Deadline(deadline), chunk)
        # As it goes through the file that keeps it.
        self.trail = [Place.of(place.as_dict()) for place in self.last.trail]
        return self.last

    def last_time(self) -> float:
        found = [path.stat().st_mtime for path in self.path.parent.iterdir()]
        return max(found, default=0.0)

    def shift(self, packed: str = "", keep: int = 9) -> None:
        """Give each rotated file the next number."""
        for number in range(keep, 0, -1):
            for suffix in ("", ".gz"):
                old = pathlib.Path(f"{self.path}.{number}{suffix}")
                if old.exists():
                    if number == keep:
                        old.unlink()
                    else:
                        old.rename(f"{self.path}.{number + 1}{suffix}")

    def rename(self) -> None:
        self.shift()
        self.path.rename(f"{self.path}.1")
        self.path.touch()

    def copy_truncate(self) -> None:
        self.shift()
        shutil.copy2(self.path, f"{self.path}.1")
        os.truncate(self.path, 0)

    def pack(self, number: int = 1) -> None:
        plain = pathlib.Path(f"{self.path}.{number}")
        packed = pathlib.Path(f"{plain}.gz")
        packed.write_bytes(gzip.compress(plain.read_bytes()))
        info = plain.stat()
        os.utime(packed, ns=(info.st_atime_ns, info.st_mtime_ns))
        plain.unlink()

    def check(self) -> None:
        assert self.lines == list(range(1, self.number + 1))
        assert self.last.lost == ""


@pytest.fixture
def log(tmp_path: pathlib.Path) -> Log:
    return Log(tmp_path)


def renamed(log: Log) -> None:
    log.rename()


def copied(log: Log) -> None:
    log.copy_truncate()


def renamed_packed(log: Log) -> None:
    log.rename()
    log.pack()


def copied_packed(log: Log) -> None:
    log.copy_truncate()
    log.pack()


def twice(log: Log) -> None:
    log.rename()
    log.write(5)
    log.rename()
    log.pack(2)


def dated(log: Log) -> None:
    log.path.rename(f"{log.path}-20261127")
    log.path.touch()


def dated_with_dots(log: Log) -> None:
    log.path.rename(f"{log.path}.2026-11-27")
    log.path.touch()


def renamed_and_not_made_anew(log: Log) -> None:
    log.rename()
    log.path.unlink()
    log.read()


WAYS = [renamed, copied, renamed_packed, copied_packed, twice, dated, dated_with_dots, renamed_and_not_made_anew]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("before", [0, 3, 500])
@pytest.mark.parametrize("unread", [0, 4])
def test_rotation_loses_nothing_and_counts_nothing_twice(
    log: Log, way: Callable[[Log], None], before: int, unread: int
) -> None:
    log.write(before)
    log.path.touch()
    log.read()
    log.write(unread)
    way(log)
    log.write(6)
    log.read()
    log.write(2)
    log.read()
    log.check()
    assert log.read().lines == 0


def test_a_line_that_is_being_written_counts_when_it_is_whole(log: Log) -> None:
    log.write(2)
    with open(log.path, "a") as file:
        file.write("2026-11-27 line 00")
        file.flush()
        assert log.read().lines == 2
        assert log.read().lines == 0
        file.write("0003\n")
    log.number = 3
    log.read()
    log.check()


def test_what_is_written_to_a_renamed_file_before_the_server_opens_the_new_one_counts(log: Log) -> None:
    log.write(3)
    log.read()
    with open(log.path, "a") as server:
        log.rename()
        log.read()
        server.write("2026-11-27 line 000004\n")
    log.number = 4
    log.write(2)
    log.read()
    log.check()


def test_a_log_that_was_emptied_tells_what_is_lost(log: Log) -> None:
    log.write(50)
    log.read()
    os.truncate(log.path, 0)
    log.write(3)
    done = log.read()
    assert log.lines == list(range(1, 54))
    assert "what was written after byte" in done.lost
    assert log.read().lost == ""


def test_a_file_that_grew_again_beyond_the_place_is_not_taken_for_the_old_one(log: Log) -> None:
    log.write(50)
    log.read()
    log.copy_truncate()
    log.write(200)
    log.read()
    log.check()


def test_a_new_file_with_the_inode_of_the_old_one_is_not_taken_for_it(log: Log) -> None:
    log.write(10)
    log.read()
    log.rename()
    log.write(10)
    # The place says that the inode is the new file's, as it is where the number was given anew.
    log.trail = [Place(**{**log.trail[-1].as_dict(), "inode": log.path.stat().st_ino})]
    log.read()
    log.check()


def test_copies_that_no_rotation_made_do_not_count(log: Log) -> None:
    log.write(10)
    log.read()
    shutil.copy(log.path, f"{log.path}.bak")
    shutil.copy(log.path, f"{log.path}.5")
    log.write(2)
    log.read()
    log.check()


def test_files_that_only_begin_alike_are_no_copies(log: Log) -> None:
    banner = "a banner of the server\n" * 100
    for _round in range(2):
        with open(log.path, "a") as file:
            file.write(banner)
        log.rename()
        log.write(3, pathlib.Path(f"{log.path}.1"))
    with open(log.path, "a") as file:
        file.write(banner)
    log.write(3)
    seen: list[bytes] = []
    done = read_log(str(log.path), [], 0.0, 1.0, seen.append, Deadline(60))
    assert [line[-6:] for line in b"".join(seen).splitlines() if b"line" in line] == [b"%06d" % n for n in range(1, 10)]
    log.write(1)
    read_log(str(log.path), done.trail, 0.0, 1.0, seen.append, Deadline(60))
    assert seen[-1] == b"2026-11-27 line 000010\n"


def test_a_file_that_only_begins_like_the_one_that_was_read_is_another(log: Log) -> None:
    banner = "a banner of the server\n" * 100
    seen: list[bytes] = []
    log.path.write_text(banner)
    log.write(20)
    done = read_log(str(log.path), [], 0.0, 1.0, seen.append, Deadline(60))
    log.path.write_text(banner)
    log.write(40)
    seen.clear()
    done = read_log(str(log.path), done.trail, 0.0, 1.0, seen.append, Deadline(60))
    assert b"".join(seen) == log.path.read_bytes()
    assert "is gone" in done.lost


def test_a_file_that_is_being_packed_counts_once(log: Log) -> None:
    log.write(400)
    log.read()
    log.write(5)
    log.rename()
    whole = gzip.compress(pathlib.Path(f"{log.path}.1").read_bytes())
    packed = pathlib.Path(f"{log.path}.1.gz")
    packed.write_bytes(whole[: len(whole) // 2])
    log.read()
    packed.write_bytes(whole)
    log.read()
    pathlib.Path(f"{log.path}.1").unlink()
    log.write(1)
    log.read()
    log.check()


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])
def test_packed_files_are_read(log: Log, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    log.write(30)
    log.read()
    log.write(30)
    log.rename()
    plain = pathlib.Path(f"{log.path}.1")
    pathlib.Path(f"{plain}{suffix}").write_bytes(pack(plain.read_bytes()))
    plain.unlink()
    log.write(1)
    log.read()
    log.check()


def test_a_damaged_packed_file_is_told_and_what_follows_is_read(log: Log) -> None:
    log.write(3000)
    log.rename()
    plain = pathlib.Path(f"{log.path}.1")
    whole = gzip.compress(random.Random(1).randbytes(3000) + plain.read_bytes())
    pathlib.Path(f"{plain}.gz").write_bytes(whole[:4000])
    plain.unlink()
    log.write(2)
    seen: list[bytes] = []
    done = read_log(str(log.path), [], 0.0, 1.0, seen.append, Deadline(60))
    assert seen[-1] == b"2026-11-27 line 003001\n2026-11-27 line 003002\n"
    assert "is damaged" in done.lost
    again = read_log(str(log.path), done.trail, 0.0, 1.0, seen.append, Deadline(60))
    assert (again.lines, again.lost) == (0, "")


def test_a_first_run_reads_what_is_young_enough(log: Log) -> None:
    log.write(3)
    log.rename()
    log.write(3)
    log.rename()
    log.write(3)
    os.utime(f"{log.path}.2", (1000, 1000))
    os.utime(f"{log.path}.1", (3000, 3000))
    log.read(since=2000)
    assert log.lines == [4, 5, 6, 7, 8, 9]


def test_where_the_time_is_up_the_next_run_goes_on(log: Log) -> None:
    log.write(2000)
    log.rename()
    log.write(2000)
    runs = 0
    while log.read(deadline=0).left or not runs:
        runs += 1
        assert runs < 100
    assert runs > 10
    log.check()


def test_a_log_that_is_not_there_is_a_failure(log: Log) -> None:
    with pytest.raises(ProbeFailure, match="does not exist"):
        log.read()


def test_the_order_of_rotated_files_is_that_of_numbers_and_dates() -> None:
    names = ["a.log", "a.log.10", "a.log.2.gz", "a.log.1", "a.log.bak", "a.log-20261126.gz", "a.log-20261125", "a.log2"]
    assert rotated("a.log", names) == ["a.log-20261125", "a.log-20261126.gz", "a.log.10", "a.log.2.gz", "a.log.1"]


def test_patterns_name_logs_and_not_what_was_rotated(tmp_path: pathlib.Path) -> None:
    for name in ("main.log", "main.log.1", "worker1.log", "worker1.log.2.gz", "gone.log.1"):
        (tmp_path / name).touch()
    base = str(tmp_path)
    assert expand([f"{base}/*.log*", f"{base}/main.log"]) == (
        [f"{base}/gone.log.1", f"{base}/main.log", f"{base}/worker1.log"],
        [],
    )
    assert expand([f"{base}/gone.log"]) == ([f"{base}/gone.log"], [])
    assert expand([f"{base}/none.log", f"{base}/*.txt"]) == ([], [f"{base}/none.log", f"{base}/*.txt"])


@pytest.mark.parametrize("given", [{}, {"inode": 1}, {"x": 1}, None, [], "text"])
def test_a_place_that_is_none_is_refused(given: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        Place.of(given)


@pytest.mark.parametrize("seed", range(20))
def test_random_rotations_lose_nothing(log: Log, seed: int) -> None:
    source = random.Random(seed)
    log.path.touch()
    log.read()
    for _step in range(40):
        act = source.random()
        if act < 0.5:
            log.write(source.choice([1, 2, 50, 300]))
        elif act < 0.6 and log.path.stat().st_size:
            source.choice([log.rename, log.copy_truncate])()
        elif act < 0.7 and pathlib.Path(f"{log.path}.1").exists():
            log.pack()
        else:
            log.read(deadline=source.choice([0, 60]))
            assert log.last.lost == ""
    while log.read().left:
        pass
    log.check()
