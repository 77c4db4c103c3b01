"""Positions and forks without a server."""

from __future__ import annotations

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup.wal import Switch
from ansible_collections.matrixon.ops.plugins.module_utils._dr import lsn
from ansible_collections.matrixon.ops.plugins.module_utils._probe import ProbeFailure

MIB = 1024 * 1024
DUMP = (
    "rmgr: XLOG        len (rec/tot):    114/   114, tx:          0, lsn: 0/04000028, prev 0/03FFFFC8, "
    "desc: CHECKPOINT_SHUTDOWN redo 0/4000028\n"
)


@pytest.mark.parametrize(
    ("ahead", "here", "bytes_behind"),
    [("0/5000060", "0/5000060", 0), ("0/5000061", "0/5000060", 1), ("0/1", "0/2", 0), ("1/0", "0/FFFFFFFF", 1)],
)
def test_what_is_behind_is_never_negative(ahead: str, here: str, bytes_behind: int) -> None:
    assert lsn.behind(ahead, here) == bytes_behind


@pytest.mark.parametrize(
    ("ours", "theirs", "place"),
    [
        ((1, ()), (2, (Switch(1, 100),)), (1, 100)),
        ((2, (Switch(1, 100),)), (3, (Switch(1, 100), Switch(2, 200))), (2, 200)),
        # Both were promoted from the same place, or one of them earlier.
        ((2, (Switch(1, 100),)), (3, (Switch(1, 100),)), (1, 100)),
        ((2, (Switch(1, 300),)), (3, (Switch(1, 100),)), (1, 100)),
        ((1, ()), (3, (Switch(1, 100), Switch(2, 200))), (1, 100)),
    ],
)
def test_histories_part_where_the_last_common_timeline_was_left_first(
    ours: tuple[int, tuple[Switch, ...]], theirs: tuple[int, tuple[Switch, ...]], place: tuple[int, int]
) -> None:
    assert lsn.fork(*ours, *theirs) == (lsn.Fork(*place), "")
    assert lsn.fork(*theirs, *ours) == (lsn.Fork(*place), "")


def test_one_history_has_no_fork_and_two_of_one_number_are_told() -> None:
    one, other = (Switch(1, 100),), (Switch(1, 300),)
    assert lsn.fork(2, one, 2, one) == (None, "both are on timeline 2")
    fork, why = lsn.fork(2, one, 2, other)
    assert fork is None and "each was promoted by itself" in why
    fork, why = lsn.fork(3, (Switch(2, 100),), 1, ())
    assert fork is None and "no common ancestor" in why


@pytest.mark.parametrize(
    ("start", "length", "end"),
    [
        (0x4000028, 114, 0x40000A0),
        # Up to the very end of a page, and one byte more: the rest comes behind the header of the next.
        (0x4002000 - 120, 120, 0x4002000),
        (0x4002000 - 120, 121, 0x4002000 + 24 + 8),
        (0x4100000 - 120, 121, 0x4100000 + 40 + 8),
        (0x4002000 - 8, 8 + 8192 - 24 + 16, 0x4004000 + 24 + 16),
    ],
)
def test_a_record_ends_behind_the_headers_on_its_way(start: int, length: int, end: int) -> None:
    assert lsn.end_of_record(start, length, MIB) == end


def test_no_record_begins_in_a_header() -> None:
    with pytest.raises(ProbeFailure, match="no record begins at 0/4002008"):
        lsn.end_of_record(0x4002008, 10, MIB)


def test_the_length_of_a_record_is_read_from_a_dump() -> None:
    assert lsn.record_length(DUMP, "0/4000028") == 114
    with pytest.raises(ProbeFailure, match="no record at 0/4000030"):
        lsn.record_length(DUMP, "0/4000030")
