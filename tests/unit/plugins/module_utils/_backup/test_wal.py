"""The write-ahead log by its names: every hole is found, over every change of timeline."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import wal
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError

MIB = 1024 * 1024
SIZES = [MIB << power for power in range(11)]
START = "000000010000000000000005"
DIGEST = "0123456789abcdef0123456789abcdef01234567"


def name(number: int, timeline: int = 1, segment_bytes: int = 16 * MIB) -> str:
    return wal.name_of(timeline, number, segment_bytes)


def names(numbers: Iterable[int], timeline: int = 1) -> list[str]:
    return [name(number, timeline) for number in numbers]


def at(number: float, segment_bytes: int = 16 * MIB) -> str:
    """Return the position so many segments from the beginning."""
    return wal.format_lsn(int(number * segment_bytes))


# --- positions


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("0/0", 0),
        ("0/1000000", 16 * MIB),
        ("0/FFFFFFFF", 2**32 - 1),
        ("1/0", 2**32),
        ("16/B374D848", 0x16B374D848),
        ("FFFFFFFF/FFFFFFFF", 2**64 - 1),
    ],
)
def test_positions_there_and_back(text: str, position: int) -> None:
    assert wal.parse_lsn(text) == position and wal.format_lsn(position) == text


def test_positions_compare_as_numbers_and_not_as_texts() -> None:
    assert wal.parse_lsn("A/0") > wal.parse_lsn("9/FFFFFFFF")
    assert wal.parse_lsn("10/0") > wal.parse_lsn("9/0")
    # As PostgreSQL 19 writes it, and as people do.
    assert wal.parse_lsn("16/0000b374") == wal.parse_lsn("16/B374")


@pytest.mark.parametrize("text", ["", "0", "/", "0/", "/0", "0/0\n", "0/123456789", "g/0", "-1/0", "0/0/0", " 0/0"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(BackupError, match="no log position"):
        wal.parse_lsn(text)


@pytest.mark.parametrize("position", [-1, 2**64])
def test_a_position_outside_the_log_is_not_written(position: int) -> None:
    with pytest.raises(ValueError, match="no log position"):
        wal.format_lsn(position)


# --- names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (START, wal.File("segment", 1, START)),
        ("0000001A" + START[8:], wal.File("segment", 26, "0000001A" + START[8:])),
        ("0000001A" + START[8:] + ".00000028.backup", wal.File("backup", 26, "0000001A" + START[8:])),
        ("0000001A.history", wal.File("history", 26)),
        (START + ".gz", wal.File("segment", 1, START, "gz")),
        (START + ".zst", wal.File("segment", 1, START, "zst")),
        (START + ".lz4", wal.File("segment", 1, START, "lz4")),
        (f"{START}-{DIGEST}", wal.File("segment", 1, START, None, DIGEST)),
        (f"{START}-{DIGEST}.zst", wal.File("segment", 1, START, "zst", DIGEST)),
        (START + ".partial", wal.File("partial", 1, START)),
        (START + ".gz.partial", wal.File("partial", 1, START, "gz")),
        (f"{START}.partial-{DIGEST}.zst", wal.File("partial", 1, START, "zst", DIGEST)),
        ("0000000A.history", wal.File("history", 10)),
        ("0000000A.history.gz", wal.File("history", 10, None, "gz")),
        (START + ".00000028.backup", wal.File("backup", 1, START)),
        (START + ".00000028.backup.zst", wal.File("backup", 1, START, "zst")),
    ],
)
def test_names_that_mean_something(text: str, expected: wal.File) -> None:
    assert wal.parse_name(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        START[:-1],
        START + "0",
        START.lower().replace("0", "a"),
        START + "\n",
        START + ".tmp",
        START + ".gz.tmp",
        START + ".gz.gz",
        f"{START}-{DIGEST[:-1]}.zst",
        f"{START}-{DIGEST.upper()}.zst",
        f"{START}-{DIGEST}.zst.pgbackrest.tmp",
        "0000000A.history.tmp",
        "archive_status",
    ],
)
def test_names_that_mean_nothing(text: str) -> None:
    assert wal.parse_name(text) is None


@pytest.mark.parametrize(
    ("segment_bytes", "before", "after"),
    [
        (MIB, "000000010000000000000FFF", "000000010000000100000000"),
        (16 * MIB, "0000000100000000000000FE", "0000000100000000000000FF"),
        (16 * MIB, "0000000100000000000000FF", "000000010000000100000000"),
        (16 * MIB, "00000001000000FF000000FF", "000000010000010000000000"),
        (16 * MIB, "0000000A00000000000000FF", "0000000A0000000100000000"),
        (64 * MIB, "00000001000000000000003F", "000000010000000100000000"),
        (1024 * MIB, "000000010000000000000003", "000000010000000100000000"),
    ],
)
def test_the_segment_after_the_last_of_a_log_file(segment_bytes: int, before: str, after: str) -> None:
    assert wal.next_segment(before, segment_bytes) == after


@pytest.mark.parametrize("segment_bytes", SIZES)
def test_names_there_and_back_for_every_size(segment_bytes: int) -> None:
    per_log = 2**32 // segment_bytes
    for number in (0, 1, per_log - 1, per_log, per_log + 1, 256 * per_log - 1, 2**32 * per_log - 1):
        assert wal.split(wal.name_of(7, number, segment_bytes), segment_bytes) == (7, number)
    with pytest.raises(BackupError, match="cannot be the name of a segment"):
        wal.split(f"00000001{0:08X}{per_log:08X}", segment_bytes)
    with pytest.raises(ValueError, match="no segment"):
        wal.next_segment(wal.name_of(7, 2**32 * per_log - 1, segment_bytes), segment_bytes)


@pytest.mark.parametrize("segment_bytes", [0, MIB // 2, 3 * MIB, 2048 * MIB, -MIB])
def test_a_size_that_no_server_has_is_refused(segment_bytes: int) -> None:
    with pytest.raises(BackupError, match="power of two"):
        wal.split(START, segment_bytes)


@pytest.mark.parametrize("text", ["", START + ".gz", START.lower() + "x", "000000000000000000000001"])
def test_what_is_no_segment_is_refused(text: str) -> None:
    with pytest.raises(BackupError, match="no name of a segment|timeline 0"):
        wal.split(text, 16 * MIB)


@pytest.mark.parametrize("timeline", [0, 2**32])
def test_a_timeline_that_cannot_be_has_no_name(timeline: int) -> None:
    with pytest.raises(ValueError, match="no segment"):
        wal.name_of(timeline, 1, 16 * MIB)
    assert wal.name_of(2**32 - 1, 1, 16 * MIB).startswith("FFFFFFFF")


def test_segments_in_a_row_cross_the_end_of_a_log_file() -> None:
    found = list(wal.segments("0000000100000000000000FE", "000000010000000100000001", 16 * MIB))
    assert found == [
        "0000000100000000000000FE",
        "0000000100000000000000FF",
        "000000010000000100000000",
        "000000010000000100000001",
    ]
    with pytest.raises(BackupError, match="different timelines"):
        list(wal.segments(START, name(9, 2), 16 * MIB))


@pytest.mark.parametrize(
    ("position", "here", "before"),
    [
        ("0/5000000", "000000010000000000000005", "000000010000000000000004"),
        ("0/5000001", "000000010000000000000005", "000000010000000000000005"),
        ("0/5FFFFFF", "000000010000000000000005", "000000010000000000000005"),
        ("1/0", "000000010000000100000000", "0000000100000000000000FF"),
        ("0/0", "000000010000000000000000", "000000010000000000000000"),
    ],
)
def test_the_segment_of_a_position(position: str, here: str, before: str) -> None:
    assert wal.segment_at(1, wal.parse_lsn(position), 16 * MIB) == here
    assert wal.segment_before(1, wal.parse_lsn(position), 16 * MIB) == before


# --- histories


def test_a_history_as_postgresql_writes_it() -> None:
    text = "1\t0/C00000\tno recovery target specified\n\n2\t0/C53960\tafter LSN 0/C53920\n"
    assert wal.parse_history(3, text) == (wal.Switch(1, 0xC00000), wal.Switch(2, 0xC53960))


def test_a_history_may_have_comments_and_no_reason() -> None:
    assert wal.parse_history(3, "# by hand\n  1 A/0\n") == (wal.Switch(1, 0xA00000000),)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no ancestor"),
        ("\n# nothing\n", "no ancestor"),
        ("1\t0/C000", None),
        ("1\t0/", "line 1"),
        ("one\t0/1000", "line 1"),
        ("1\t0/2000\n\n2\t0/1000\n", "line 3.*goes back"),
        ("2\t0/2000\n1\t0/3000\n", "line 2.*goes back"),
        ("2\t0/2000\n2\t0/3000\n", "line 2.*goes back"),
        ("4\t0/2000\n", "no ancestor"),
        ("0\t0/2000\n", "no ancestor"),
    ],
)
def test_a_history_that_was_cut_or_makes_no_sense_is_refused(text: str, reason: str | None) -> None:
    if reason is None:
        wal.parse_history(4, text)
        return
    with pytest.raises(BackupError, match=reason) as caught:
        wal.parse_history(4, text)
    assert caught.value.kind == "parse"


# --- walks on one timeline


def test_an_archive_without_holes() -> None:
    found = wal.walk(names(range(1, 9)), {}, START, 1)
    assert found == wal.Walk(
        last=name(8),
        holes=(),
        timelines=(1,),
        path=(wal.Leg(1, START, None),),
        end=9 * 16 * MIB,
        newest=name(8),
    )


def test_a_missing_segment_ends_the_walk_and_is_named() -> None:
    # F17: one is missing, and everybody else says that all is well.
    found = wal.walk(names([5, 6, 8, 9, 12]), {}, START, 1)
    assert (found.last, found.end, found.newest) == (name(6), 7 * 16 * MIB, name(12))
    assert found.holes == (wal.Span(1, name(7), name(7), 1), wal.Span(1, name(10), name(11), 2))


def test_what_an_archiver_threw_away_is_a_hole_when_it_stores_again() -> None:
    # F16: archive_command was /bin/true for 300 segments.
    found = wal.walk(names([5, *range(306, 400)]), {}, START, 1)
    assert found.holes == (wal.Span(1, name(6), "000000010000000100000031", 300),)


def test_an_unreachable_position_is_seen_before_the_restore() -> None:
    # F18: the target lies behind the hole.
    found = wal.walk(names([5, 6, 8]), {}, START, 1)
    assert found.end is not None
    assert found.end == wal.parse_lsn(at(7)) < wal.parse_lsn(at(7.5))


def test_the_end_of_the_archive_is_no_hole() -> None:
    assert wal.walk([START], {}, START, 1).holes == ()


def test_without_the_first_segment_there_is_no_way() -> None:
    found = wal.walk(names([6, 7]), {}, START, 1)
    assert (found.last, found.end, found.newest) == (None, None, name(7))
    assert found.holes == (wal.Span(1, START, START, 1),)
    nothing = wal.walk(names([1, 2]), {}, START, 1)
    assert (nothing.last, nothing.end, nothing.newest, nothing.holes) == (None, None, None, ())


@pytest.mark.parametrize("segment_bytes", SIZES)
def test_a_walk_and_a_hole_over_the_end_of_a_log_file(segment_bytes: int) -> None:
    edge = 2**32 // segment_bytes
    everything = [name(number, 1, segment_bytes) for number in range(edge - 2, edge + 3)]
    start = everything[0]
    whole = wal.walk(everything, {}, start, 1, segment_bytes=segment_bytes)
    assert (whole.last, whole.holes) == (everything[-1], ())
    for missing in everything[1:-1]:
        found = wal.walk([other for other in everything if other != missing], {}, start, 1, segment_bytes=segment_bytes)
        assert found.holes == (wal.Span(1, missing, missing, 1),)
        assert found.last == everything[everything.index(missing) - 1]


def test_any_compression_counts_and_unfinished_files_do_not() -> None:
    listing = [START + ".gz", f"{name(6)}-{DIGEST}.zst", name(7) + ".partial", name(6) + ".00000028.backup", "junk"]
    found = wal.walk(listing, {}, START, 1)
    assert (found.last, found.partial, found.holes) == (name(6), name(7), ())
    assert wal.walk([START, name(6) + ".00000028.backup"], {}, START, 1).partial is None
    # One that does not follow is of no use.
    assert wal.walk([START, name(8) + ".partial"], {}, START, 1).partial is None


def test_an_unfinished_file_does_not_fill_a_hole() -> None:
    found = wal.walk([START, name(6) + ".partial", name(7)], {}, START, 1)
    assert found.holes == (wal.Span(1, name(6), name(6), 1),)


def test_a_wrong_size_of_segments_is_noticed() -> None:
    with pytest.raises(BackupError, match="cannot be the name of a segment of 67108864 bytes"):
        wal.walk(["000000010000000000000040"], {}, START, 1, segment_bytes=64 * MIB)


def test_a_start_on_another_timeline_is_refused() -> None:
    with pytest.raises(BackupError, match="not on timeline 2"):
        wal.walk([START], {}, START, 2)


# --- walks over changes of timeline


def test_a_change_of_timeline_is_followed() -> None:
    listing = [*names(range(5, 8)), *names(range(7, 10), 2), "00000002.history"]
    found = wal.walk(listing, {2: f"1\t{at(7.5)}\tx\n"}, START, 1)
    assert (found.last, found.holes, found.timelines, found.end) == (name(9, 2), (), (1, 2), 10 * 16 * MIB)
    assert found.path == (wal.Leg(1, START, name(6)), wal.Leg(2, name(7, 2), None))


@pytest.mark.parametrize("missing", [name(6), name(7, 2), name(8, 2)])
def test_a_hole_on_either_side_of_a_change_is_found(missing: str) -> None:
    # The old primary went on to write, so its own segments are all there.
    listing = {*names(range(5, 20)), *names(range(7, 10), 2)} - {missing}
    found = wal.walk(listing, {2: f"1\t{at(7.5)}\tx\n"}, START, 1)
    assert found.holes == (wal.Span(int(missing[:8], 16), missing, missing, 1),)
    assert found.last == {name(6): START, name(7, 2): name(6), name(8, 2): name(7, 2)}[missing]


def test_the_parents_copy_of_the_segment_of_the_change_is_not_needed() -> None:
    listing = [*names([5, 6]), *names([7, 8], 2)]
    assert wal.walk(listing, {2: f"1\t{at(7.5)}\tx\n"}, START, 1).holes == ()


@pytest.mark.parametrize(("switch", "first"), [(7.0, 7), (7.0 - 2**-24, 6), (7.0 + 2**-24, 7)])
def test_a_change_at_the_edge_of_a_segment(switch: float, first: int) -> None:
    history = {2: f"1\t{at(switch)}\tx\n"}
    found = wal.walk([*names(range(5, first)), *names(range(first, 10), 2)], history, START, 1)
    assert (found.last, found.holes, found.path[0].last) == (name(9, 2), (), name(first - 1))


def test_a_hole_at_xff_right_before_a_change() -> None:
    edge = 256
    start = name(edge - 3)
    listing = [*names([edge - 3, edge - 2]), *names([edge, edge + 1], 2)]
    found = wal.walk(listing, {2: "1\t1/0\tx\n"}, start, 1)
    assert found.holes == (wal.Span(1, "0000000100000000000000FF", "0000000100000000000000FF", 1),)
    assert (found.last, found.end) == (name(edge - 2), (edge - 1) * 16 * MIB)


@pytest.mark.parametrize("later", [7.2, 7.4])
def test_timelines_within_one_segment_need_no_segment_of_their_own(later: float) -> None:
    history = {2: f"1\t{at(7.2)}\tx\n", 3: f"1\t{at(7.2)}\tx\n2\t{at(later)}\ty\n"}
    found = wal.walk([*names([5, 6]), *names([7, 8], 3)], history, START, 1)
    assert (found.last, found.holes, found.timelines) == (name(8, 3), (), (1, 2, 3))
    assert [leg.timeline for leg in found.path] == [1, 3]


def test_a_change_in_the_very_segment_of_the_start() -> None:
    history = {2: f"1\t{at(5.5)}\tx\n"}
    found = wal.walk([*names([5]), *names([5, 6], 2)], history, START, 1)
    assert (found.last, found.path) == (name(6, 2), (wal.Leg(2, name(5, 2), None),))


def test_a_new_timeline_without_a_segment_yet_is_the_end_and_no_hole() -> None:
    found = wal.walk([*names([5, 6]), "00000002.history"], {2: f"1\t{at(7.5)}\tx\n"}, START, 1)
    assert (found.last, found.holes, found.timelines, found.trap) == (name(6), (), (1, 2), None)


@pytest.mark.parametrize("switch", [7.0, 7.5])
def test_an_ancestors_copy_in_place_of_the_first_segment_is_a_trap(switch: float) -> None:
    # Tried with PostgreSQL 15: it takes the copy, goes on along timeline 1 and says that recovery is complete.
    listing = [*names(range(5, 9)), "00000002.history"]
    found = wal.walk(listing, {2: f"1\t{at(switch)}\tx\n"}, START, 1)
    assert (found.trap, found.last, found.end) == (name(7), name(6), 7 * 16 * MIB)
    assert wal.walk([*listing, name(7, 2)], {2: f"1\t{at(switch)}\tx\n"}, START, 1).trap is None


def test_an_ancestors_copy_of_a_later_segment_is_no_trap() -> None:
    listing = [*names(range(5, 10)), name(7, 2)]
    found = wal.walk(listing, {2: f"1\t{at(7.5)}\tx\n"}, START, 1)
    assert (found.last, found.trap) == (name(7, 2), None)


def test_the_old_timeline_can_be_the_target() -> None:
    listing = [*names(range(5, 12)), *names(range(7, 9), 2)]
    found = wal.walk(listing, {2: f"1\t{at(7.5)}\tx\n"}, START, 1, target_timeline=1)
    assert (found.last, found.timelines) == (name(11), (1,))


def test_the_newest_kin_is_chosen_and_strangers_are_named() -> None:
    # 3 left 1 before the set began; 4 has no history; 5 comes from 3; 6 is older kin's child.
    history = {
        2: f"1\t{at(7.5)}\tx\n",
        3: f"1\t{at(4.5)}\tx\n",
        5: f"1\t{at(4.5)}\tx\n3\t{at(6)}\ty\n",
    }
    listing = [*names([5, 6]), *names([7], 2), *names([4, 5, 6], 3), *names([9], 4), *names([6, 7], 5)]
    found = wal.walk(listing, history, START, 1)
    assert (found.timelines, found.last) == ((1, 2), name(7, 2))
    assert wal.walk(listing, history, START, 1, target_timeline=2) == found
    why = dict(found.strangers)
    assert list(why) == [3, 4, 5]
    assert "left timeline 1 at 0/4800000, before 0/5000001" in why[3] and "no 00000004.history" in why[4]
    for timeline in (3, 4, 5):
        with pytest.raises(BackupError, match=f"timeline {timeline} cannot be reached from {START}: "):
            wal.walk(listing, history, START, 1, target_timeline=timeline)


@pytest.mark.parametrize(("minimum", "timelines"), [(7.5, (1, 2)), (7.5 + 2**-24, (1,))])
def test_a_timeline_that_left_before_the_end_of_the_set_is_no_way(minimum: float, timelines: tuple[int, ...]) -> None:
    history = {2: f"1\t{at(7.5)}\tx\n"}
    listing = [*names(range(5, 9)), *names([7, 8], 2)]
    assert wal.walk(listing, history, START, 1, minimum=wal.parse_lsn(at(minimum))).timelines == timelines


def test_a_start_on_a_later_timeline() -> None:
    history = {2: f"1\t{at(3.5)}\tx\n", 3: f"1\t{at(3.5)}\tx\n2\t{at(7.5)}\ty\n", 4: f"1\t{at(2)}\tx\n"}
    listing = [*names(range(1, 9)), *names(range(3, 7), 2), *names([7, 8], 3), *names([2, 3], 4)]
    found = wal.walk(listing, history, name(5, 2), 2)
    assert (found.timelines, found.last, found.holes) == ((2, 3), name(8, 3), ())
    assert dict(found.strangers) == {4: "its ancestors are 1, and timeline 2 is none of them"}
    with pytest.raises(BackupError, match="timeline 1 cannot be reached"):
        wal.walk(listing, history, name(5, 2), 2, target_timeline=1)


def test_timeline_1_has_no_history_whatever_a_file_says() -> None:
    assert wal.walk([START], {1: "junk"}, START, 1).last == START


def test_a_broken_history_is_not_walked_past() -> None:
    with pytest.raises(BackupError, match=r"00000002\.history names no ancestor"):
        wal.walk([START], {2: ""}, START, 1)


# --- against a plain model of what recovery does


def recover(
    lines: list[tuple[int, int]], present: set[tuple[int, int]], start: int
) -> tuple[list[tuple[int, int]], str]:
    """Read segment by segment as PostgreSQL does, trying the newest timeline first. ``lines`` are (timeline, begin).

    Returns what was read, each on the timeline it should be on, and what came then.
    """
    read: list[tuple[int, int]] = []
    number, current = start, 0
    while True:
        wanted = max(timeline for timeline, begin in lines if begin <= number)
        took = next(
            (
                timeline
                for timeline, begin in reversed(lines)
                if timeline >= current and begin <= number and (timeline, number) in present
            ),
            None,
        )
        if took != wanted:
            return read, "end" if took is None else name(number, took)
        read.append((took, number))
        number, current = number + 1, took


@pytest.mark.parametrize("seed", range(300))
def test_random_archives_against_a_model(seed: int) -> None:
    chance = random.Random(seed)
    start = chance.randrange(250, 258)
    switches, place = [], start * 4
    for timeline in range(1, chance.randrange(1, 5)):
        place += chance.randrange(1, 14)
        switches.append(wal.Switch(timeline, place * 4 * MIB))
    last = len(switches) + 1
    history = {
        timeline: "".join(f"{line}\t{wal.format_lsn(end)}\tx\n" for line, end in switches[: timeline - 1])
        for timeline in range(2, last + 1)
    }
    lines = [(1, 0), *((switch.timeline + 1, switch.position // (16 * MIB)) for switch in switches)]
    stop = place // 4 + chance.randrange(0, 5)
    present = {
        (timeline, number)
        for timeline, begin in lines
        for number in range(max(begin, start - 2), stop + 1)
        if chance.random() > chance.choice([0.0, 0.05, 0.3])
    }
    found = wal.walk([name(number, timeline) for timeline, number in present], history, name(start), 1)

    def wanted(number: int) -> tuple[int, int]:
        return max(timeline for timeline, begin in lines if begin <= number), number

    read, then = recover(lines, present, start)
    expected = [wanted(number) for number in range(start, stop + 1)]
    there = [place for place, pair in enumerate(expected) if pair in present]
    missing = [pair for pair in expected[: there[-1]] if pair not in present] if there else []
    spans = [pair for span in found.holes for pair in _numbers(span)]
    assert found.timelines == tuple(range(1, last + 1))
    assert found.last == (name(read[-1][1], read[-1][0]) if read else None)
    assert spans == missing and sum(span.length for span in found.holes) == len(missing)
    assert found.newest == (name(expected[there[-1]][1], expected[there[-1]][0]) if there else None)
    assert (found.trap or "end") == then


def _numbers(span: wal.Span) -> list[tuple[int, int]]:
    return [wal.split(segment, 16 * MIB) for segment in wal.segments(span.first, span.last, 16 * MIB)]
