"""The CSV history: appended whole, kept whatever is in it, never overwritten."""

from __future__ import annotations

import datetime
import multiprocessing
import os
import pathlib
import resource
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._capacity import store_csv
from ansible_collections.matrixon.ops.plugins.module_utils._capacity.history import StoreError, decide
from ansible_collections.matrixon.ops.plugins.module_utils._capacity.resources import Row
from ansible_collections.matrixon.ops.plugins.module_utils._capacity.store_csv import HEADER, CsvStore
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

NOON = datetime.datetime(2026, 11, 27, 12, tzinfo=datetime.timezone.utc)


def row(
    hours: float = 0, host: str = "db1", resource: str = "disk:/var", value: float = 10, limit: float | None = 100
) -> Row:
    return Row(NOON + datetime.timedelta(hours=hours), "example", host, resource, value, limit, "B")


def store(path: pathlib.Path, seconds: float = 10) -> CsvStore:
    return CsvStore(str(path), Deadline(seconds))


def add(path: pathlib.Path, *rows: Row) -> None:
    kept = store(path)
    with kept.locked():
        content = kept.read()
        kept.append(decide(list(rows), content, NOON + datetime.timedelta(days=30)).add, content)


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "capacity.csv"


def test_rows_come_back_as_they_went_in(path: pathlib.Path) -> None:
    assert not store(path).read().exists
    odd = row(resource='disk:/srv/a, "b" ü', limit=None)
    add(path, row(), odd)
    add(path, row(24, value=11))
    assert store(path).read().rows == [row(), odd, row(24, value=11)]
    assert path.read_text().splitlines()[:2] == [HEADER, "2026-11-27T12:00:00Z,example,db1,disk:/var,10,100,B"]
    assert path.stat().st_mode & 0o007 == 0


def test_a_file_of_somebody_else_is_left_alone(path: pathlib.Path) -> None:
    foreign = b"Fri Nov 27,users,12,rooms,3,db_size,5 GB,media_size,2G\n"
    path.write_bytes(foreign)
    with pytest.raises(StoreError, match="is no history of this collection and was left alone: it begins with b'Fri"):
        store(path).read()
    assert path.read_bytes() == foreign


def test_garbled_lines_are_kept_and_told_of(path: pathlib.Path) -> None:
    add(path, row())
    with path.open("ab") as file:
        file.write(
            b"nonsense\n2026-11-28T12:00:00Z,example,db1,disk:/var,5 GB,100,B\n\xff\xfe\0\n" + b"x" * 10000 + b"\n\n"
        )
    before = path.read_bytes()
    content = store(path).read()
    assert content.rows == [row()]
    complaint = content.complaint()
    assert "cannot be read and were kept as they are: line 3: it has 1 fields in place of 7" in complaint
    assert "line 4: its value '5 GB' is no number of 0 or more" in complaint
    assert "line 5: it is no UTF-8" in complaint
    add(path, row(48))
    assert path.read_bytes().startswith(before)
    assert store(path).read().rows == [row(), row(48)]


def test_an_empty_file_is_told_of_and_used(path: pathlib.Path) -> None:
    path.touch()
    assert store(path).read().complaint() == "it is there and empty, so what it held may be lost"
    add(path, row())
    assert store(path).read().rows == [row()]


@pytest.mark.parametrize("cut", range(2, 48))
def test_a_line_that_was_cut_off_never_passes_for_a_good_one(path: pathlib.Path, cut: int) -> None:
    add(path, row(), row(24))
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    path.write_bytes(whole[: -min(cut, len(last) - 1)])
    assert store(path).read().rows == [row()]
    add(path, row(48))
    content = store(path).read()
    assert (content.rows, content.bad_count) == ([row(), row(48)], 1)


def test_a_line_without_its_end_counts_once_it_has_one(path: pathlib.Path) -> None:
    add(path, row(), row(24))
    path.write_bytes(path.read_bytes()[:-1])
    content = store(path).read()
    assert (content.rows, content.torn, content.bad) == ([row()], True, [(3, "it has no end")])
    add(path, row(48))
    assert store(path).read().rows == [row(), row(24), row(48)]


def test_a_write_that_fails_midway_leaves_the_file_as_it_was(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def full(handle: int, data: bytes) -> int:
        if len(data) < 60:
            raise OSError(28, "No space left on device")
        return real(handle, data[:40])

    def refuse() -> None:
        with (
            monkeypatch.context() as patch,
            pytest.raises(StoreError, match="cannot be written: No space left on device; it is as it was"),
        ):
            patch.setattr(store_csv.os, "write", full)
            add(path, row(24), row(48))

    refuse()
    assert not path.exists()
    add(path, row())
    before = path.read_bytes()
    refuse()
    assert path.read_bytes() == before


def _append_some(path: str, host: str) -> None:
    for hour in range(20):
        add(pathlib.Path(path), row(hour, host=host), row(hour, host=host, resource="memory"))


def test_two_runs_at_once_lose_nothing(path: pathlib.Path) -> None:
    context = multiprocessing.get_context("fork")
    runs = [context.Process(target=_append_some, args=(str(path), host)) for host in ("db1", "db2", "db3")]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
    content = store(path).read()
    assert (len(content.rows), content.bad_count) == (120, 0)
    assert len({one.identity for one in content.rows}) == 120


def test_a_lock_that_is_held_is_given_up_on(path: pathlib.Path) -> None:
    with store(path).locked(), pytest.raises(StoreError, match="another run holds its lock"), store(path, 0.1).locked():
        pass


def test_a_directory_that_is_missing_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(StoreError, match="nowhere cannot be written to: No such file"):
        add(tmp_path / "nowhere/capacity.csv", row())


def test_a_large_history_is_read_without_much_time(path: pathlib.Path) -> None:
    # A year of ten hosts with thirty rows a day each is 110,000; the limit is generous for busy machines.
    line = "2026-11-27T12:00:00Z,example,db1,disk:/var,10,100,B\n"
    path.write_text(HEADER + "\n" + line * 20_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    assert len(store(path).read().rows) == 20_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 5


def test_a_history_that_takes_too_long_is_given_up_on(path: pathlib.Path) -> None:
    path.write_text(HEADER + "\n" + "2026-11-27T12:00:00Z,example,db1,disk:/var,10,100,B\n" * 10_000)
    clock: t.Iterator[float] = iter([0.0, 99.0, 99.0])
    with pytest.raises(StoreError, match="was not read in time"):
        CsvStore(str(path), Deadline(1, lambda: next(clock))).read()
