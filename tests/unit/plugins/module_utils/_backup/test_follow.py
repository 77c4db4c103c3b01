"""Which segments of an archive a server of another history would not go on behind."""

from __future__ import annotations

import datetime
import os
import pathlib

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import follow, wal
from ansible_collections.matrixon.ops.plugins.module_utils._backup.archive import (
    Archive,
    known_history,
    note_history,
    set_aside,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner

SIZE = 1024 * 1024
NOW = datetime.datetime(2026, 11, 27, 3, 0, tzinfo=datetime.timezone.utc)


def name(timeline: int, number: int, end: str = "") -> str:
    return wal.name_of(timeline, number, SIZE) + end


def history(timeline: int, *left: tuple[int, float]) -> wal.History:
    switches = tuple(wal.Switch(line, int(segments * SIZE)) for line, segments in left)
    return wal.History(timeline, switches, SIZE)


FIRST = [name(1, 4), name(1, 5), name(1, 6), name(1, 7, ".partial")]


@pytest.mark.parametrize(
    ("names", "where", "wanted"),
    [
        (FIRST, history(1), []),
        # Restored into the middle of segment 5: that is received again, on the new timeline.
        (FIRST, history(2, (1, 5.5)), [name(1, 7, ".partial"), name(1, 6), name(1, 5)]),
        # Exactly at the beginning of segment 6 the new timeline goes on behind 5.
        (FIRST, history(2, (1, 6)), [name(1, 7, ".partial"), name(1, 6)]),
        # To the end of what the archive holds: the part of a segment is received again.
        (FIRST, history(2, (1, 7.2)), []),
        # What stands below a segment of the server's own is in nobody's way.
        ([*FIRST[:3], name(2, 5), name(2, 6)], history(2, (1, 5.5)), []),
        # Taken back: the server is on timeline 1 again.
        ([name(1, 4), name(2, 5), name(2, 6)], history(1), [name(2, 6), name(2, 5)]),
        ([name(1, 4), name(2, 5), name(3, 6)], history(3, (1, 5.1), (2, 6.1)), []),
        ([name(1, 4), name(2, 5), name(2, 6)], history(3, (1, 5.1), (2, 6.1)), [name(2, 6)]),
        (["00000002.history", "000000010000000000000009.00000028.backup", "aside"], history(1), []),
        ([name(1, 9, ".zst"), name(1, 8, ".gz")], history(2, (1, 9.5)), [name(1, 9, ".zst")]),
    ],
)
def test_what_is_set_aside(names: list[str], where: wal.History, wanted: list[str]) -> None:
    assert follow.to_set_aside(names, where) == wanted


def asked(where: wal.History, current: int, *kept: tuple[int, int], reserved: int | None = None) -> follow.Asked:
    return follow.Asked(where, current, frozenset(kept), "held", None if reserved is None else reserved * SIZE)


@pytest.mark.parametrize(
    ("names", "server", "wanted"),
    [
        ([], asked(history(1), 9, (1, 9)), (None, False)),
        (FIRST, asked(history(1), 8, (1, 7), (1, 8)), (None, False)),
        (FIRST[:3], asked(history(1), 7), (None, False)),
        # The server went on to 12, and kept 10 to 12 only.
        (FIRST, asked(history(1), 12, (1, 9), (1, 10), (1, 11), (1, 12), (1, 13)), (name(1, 9), True)),
        (FIRST, asked(history(1), 12, (1, 8), (1, 10), (1, 11), (1, 12)), (name(1, 10), True)),
        (FIRST, asked(history(1), 12, (1, 10), (1, 11), (1, 12), reserved=11), (name(1, 11), True)),
        # The timeline was left within a segment: its part is sent, and then the child's.
        (FIRST, asked(history(2, (1, 7.5)), 9, (2, 7), (2, 8), (2, 9)), (None, False)),
        # Exactly at the end of one, there is nothing left to send.
        (FIRST, asked(history(2, (1, 7)), 9, (2, 7), (2, 8), (2, 9)), (name(2, 7), False)),
        (FIRST[:3], asked(history(3, (1, 7), (2, 7)), 9, (3, 7), (3, 8), (3, 9)), (name(3, 7), False)),
        ([*FIRST, name(2, 7)], asked(history(2, (1, 7)), 9, (2, 8), (2, 9)), (None, False)),
    ],
)
def test_where_a_receiver_has_to_begin(names: list[str], server: follow.Asked, wanted: tuple[str | None, bool]) -> None:
    assert follow.resume_at(names, server) == wanted


def test_what_comes_back() -> None:
    aside = {name(1, 5): "a/5", name(1, 6): "a/6", name(2, 5): "b/5", name(1, 7, ".partial"): "a/7"}
    assert follow.to_bring_back([name(1, 4)], aside, history(1)) == {
        name(1, 5): "a/5",
        name(1, 6): "a/6",
        name(1, 7, ".partial"): "a/7",
    }
    assert follow.to_bring_back([name(1, 4)], aside, history(2, (1, 6.5))) == {name(1, 5): "a/5", name(2, 5): "b/5"}
    assert name(1, 5) not in follow.to_bring_back([name(1, 5)], aside, history(1))


def test_there_and_back_nothing_is_lost(tmp_path: pathlib.Path) -> None:
    for each in FIRST:
        (tmp_path / each).write_bytes(each.encode())
    apart = follow.to_set_aside(os.listdir(tmp_path), history(2, (1, 5.5)))
    follow._set_aside(str(tmp_path), apart, NOW)
    assert sorted(os.listdir(tmp_path)) == [name(1, 4), "aside"]
    back = follow.to_bring_back(os.listdir(tmp_path), set_aside(str(tmp_path)), history(1))
    follow._bring_back(str(tmp_path), back)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == {
        each: each.encode() for each in FIRST
    }
    assert os.listdir(tmp_path / "aside") == []


@pytest.mark.parametrize(
    ("where", "timeline", "position", "left"),
    [
        (history(1), 1, 9, False),
        (history(2, (1, 5.5)), 1, 5.5, False),
        (history(2, (1, 5.5)), 1, 6, True),
        (history(2, (1, 5.5)), 2, 9, False),
        # Taken back, and restored again: the second timeline is no ancestor.
        (history(3, (1, 4)), 2, 0, True),
        # Taken back: the server was on timeline 2, and is not any more.
        (history(1).among([1, 2]), 2, 0, True),
        (history(2, (1, 5)).among([1, 2]), 2, 0, False),
        # A standby was promoted since: of that nothing is known here.
        (history(1), 2, 0, False),
    ],
)
def test_which_branches_a_server_has_left(where: wal.History, timeline: int, position: float, left: bool) -> None:
    assert where.left(timeline, int(position * SIZE)) is left


def test_a_timeline_that_was_left_is_not_the_newest(tmp_path: pathlib.Path) -> None:
    text = f"1\t{wal.format_lsn(int(5.5 * SIZE))}\tno recovery target\n"
    (tmp_path / "00000002.history").write_text(text)
    archive = Archive(str(tmp_path), Runner(), "", SIZE)
    assert set(archive._histories(os.listdir(tmp_path))) == {2}
    note_history(str(tmp_path), history(3, (1, 5)).among([1, 2, 3]))
    assert known_history(str(tmp_path)) == history(3, (1, 5))._replace(others=(2,))
    assert set(archive._histories(os.listdir(tmp_path))) == set()
    assert os.stat(tmp_path / "server.json").st_mode & 0o077 == 0


def test_a_note_that_cannot_be_read_is_said(tmp_path: pathlib.Path) -> None:
    (tmp_path / "server.json").write_text('{"timeline": 2}')
    with pytest.raises(BackupError, match=r"server\.json cannot be read"):
        known_history(str(tmp_path))
