"""Whether a rewind can work, by what two servers say."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup.wal import Switch
from ansible_collections.matrixon.ops.plugins.module_utils._dr import rewind
from ansible_collections.matrixon.ops.plugins.module_utils._dr.lsn import Fork
from ansible_collections.matrixon.ops.plugins.module_utils._dr.rewind import Source, Target, weigh
from ansible_collections.matrixon.ops.plugins.module_utils._probe import ProbeFailure

MIB = 1024 * 1024
FORK = 5 * MIB + 96
TARGET = Target(
    system_identifier="7000",
    state="shut down",
    timeline=1,
    ancestors=(),
    hints=True,
    full_page_writes=True,
    end=6 * MIB + 160,
    segment_bytes=MIB,
    segments=frozenset({"000000010000000000000005", "000000010000000000000006"}),
    signal=False,
)
SOURCE = Source(
    where="db2",
    system_identifier="7000",
    in_recovery=False,
    major=17,
    timeline=2,
    checkpoint_timeline=2,
    ancestors=(Switch(1, FORK),),
    full_page_writes=True,
)


def test_an_old_primary_that_wrote_on_is_to_be_rewound() -> None:
    found = weigh(TARGET, SOURCE, 17)
    assert (found.reasons, found.needed, found.fork, found.proven) == ([], True, Fork(1, FORK), False)
    assert found.facts()["discarded_bytes"] == MIB + 64


@pytest.mark.parametrize("end", [FORK, FORK - 8])
def test_one_that_has_nothing_behind_the_fork_needs_no_rewind_nor_what_it_takes(end: int) -> None:
    found = weigh(TARGET._replace(end=end, hints=False, segments=frozenset()), SOURCE, 17)
    assert (found.reasons, found.needed) == ([], False)
    assert weigh(TARGET._replace(end=FORK + 8), SOURCE, 17).needed


@pytest.mark.parametrize(
    ("target", "source", "words"),
    [
        ({}, {"system_identifier": "7001"}, "db2 is of the cluster 7001"),
        ({}, {"major": 15}, "db2 is PostgreSQL 15, and the data is of 17"),
        ({}, {"in_recovery": True}, "db2 is a standby; name the primary"),
        ({}, {"checkpoint_timeline": 1}, "has made no checkpoint since it was promoted"),
        ({"hints": False}, {}, "neither checksums nor wal_log_hints"),
        ({"full_page_writes": False}, {}, "full_page_writes is off"),
        ({}, {"full_page_writes": False}, "full_page_writes is off"),
        ({"segments": frozenset({"000000010000000000000006"})}, {}, "is gone from pg_wal: 000000010000000000000005"),
        ({"state": "in production", "end": None, "signal": True}, {}, "standby.signal is there"),
        ({"timeline": 2, "ancestors": (Switch(1, FORK + 8),)}, {}, "each was promoted by itself"),
        ({"timeline": 3, "ancestors": (Switch(1, FORK),)}, {}, "it may be the old primary that is named"),
        (
            {"timeline": 3, "ancestors": (Switch(2, FORK),)},
            {"timeline": 1, "checkpoint_timeline": 1, "ancestors": ()},
            "no common ancestor",
        ),
    ],
)
def test_each_obstacle_is_named(target: dict[str, t.Any], source: dict[str, t.Any], words: str) -> None:
    found = weigh(TARGET._replace(**target), SOURCE._replace(**source), 17)
    assert len(found.reasons) == 1 and words in found.reasons[0]
    assert not found.facts()["possible"] and not found.facts()["proven"]


def test_obstacles_come_all_at_once() -> None:
    found = weigh(TARGET._replace(hints=False, segments=frozenset()), SOURCE._replace(full_page_writes=False), 17)
    assert len(found.reasons) == 3 and "and 1 more" in found.reasons[2]


def test_with_an_archive_what_is_gone_may_be_there() -> None:
    assert weigh(TARGET._replace(segments=frozenset()), SOURCE, 17, archive=True).reasons == []


def test_one_that_follows_already_is_left_alone() -> None:
    found = weigh(TARGET._replace(timeline=2, ancestors=SOURCE.ancestors), SOURCE, 17)
    assert (found.reasons, found.needed) == ([], False)


def test_one_that_was_killed_is_recovered_first() -> None:
    found = weigh(TARGET._replace(state="in production", end=None), SOURCE, 17)
    assert found.reasons == [] and found.needed and "its log is replayed first" in found.notes[0]


@pytest.mark.parametrize(
    ("said", "copied"),
    [
        ("pg_rewind: need to copy 53 MB (total source directory size is 80 MB)\n", 53 * MIB),
        ("need to copy 1 MB\n    0/1500 kB (0%) copied\r 1500/1500 kB (100%) copied\n", 1500 * 1024),
    ],
)
def test_how_much_was_copied_is_read(said: str, copied: int) -> None:
    assert rewind.copied_bytes(said) == copied


def test_who_does_not_say_how_much_was_copied_is_not_believed() -> None:
    with pytest.raises(ProbeFailure, match="does not say"):
        rewind.copied_bytes("pg_rewind: Done!\n")


def test_a_complaint_is_told_with_its_cause() -> None:
    said = (
        "pg_rewind: servers diverged at WAL location 0/3000000 on timeline 1\n"
        'pg_rewind: error: could not open file "pg_wal/000000010000000000000002": No such file or directory\n'
        "pg_rewind: error: could not find previous WAL record at 0/2000100\n"
    )
    assert rewind.complaint(said) == (
        'could not open file "pg_wal/000000010000000000000002": No such file or directory; '
        "could not find previous WAL record at 0/2000100"
    )


def test_what_is_the_hosts_own_is_told_from_the_data(tmp_path: pathlib.Path) -> None:
    for name in ("base", "global", "pg_wal", "pg_xact", "conf.d", "log"):
        (tmp_path / name).mkdir()
    for name in (
        "PG_VERSION",
        "postgresql.conf",
        "pg_hba.conf",
        "standby.signal",
        "matrixon-promotion.json",
        "server.key",
    ):
        (tmp_path / name).touch()
    # A log that lies elsewhere is the server's, too.
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "pg_replslot").symlink_to(tmp_path / "elsewhere")
    assert rewind.own_names(str(tmp_path)) == ["conf.d", "elsewhere", "pg_hba.conf", "postgresql.conf", "server.key"]
