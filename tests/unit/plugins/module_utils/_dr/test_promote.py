"""When nothing more comes, and whether a server may be promoted, without a server."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._dr import promote
from ansible_collections.matrixon.ops.plugins.module_utils._dr.promote import ASKED_ALL, AT_THE_END, Quiet, Rounds, Seen

OPTIONS: dict[str, t.Any] = {
    "state": "promoted",
    "system_identifier": "7000",
    "from_timeline": None,
    "until_lsn": None,
    "marker": None,
    "archive": True,
    **dict.fromkeys(("deadline", "drain_timeout", "promote_timeout", "archive_timeout"), 60.0),
}
STANDBY: dict[str, t.Any] = {
    "in_recovery": True,
    "system_identifier": "7000",
    "timeline": 1,
    "replay_paused": False,
    "replay_pause_state": "not paused",
    "apply_delay_s": 0.0,
    "replay_lsn": "0/3000000",
    "archive_mode": "on",
    "held": False,
}
PRIMARY = {**STANDBY, "in_recovery": False, "timeline": 2}


def receives(at: float, receive: str = "0/2", replay: str = "0/2", waits_for: str | None = AT_THE_END) -> Seen:
    return Seen(at, waits_for, 1, receive, replay)


def asks(at: float, waits_for: str | None = ASKED_ALL, replay: str = "0/2", receivers: int = 0) -> Seen:
    return Seen(at, waits_for, receivers, None, replay)


def last(judge: Quiet | Rounds, *looks: Seen) -> bool:
    return [judge.done(look) for look in looks][-1]


def test_a_receiver_is_quiet_when_nothing_came_for_a_while() -> None:
    assert not last(Quiet(), receives(0), receives(0.9))
    assert last(Quiet(), receives(0), receives(1.0))
    assert last(Quiet(), asks(0))


@pytest.mark.parametrize(
    "between",
    [receives(0.9, receive="0/3"), receives(0.9, replay="0/1"), receives(0.9, waits_for=None)],
)
def test_whatever_moves_makes_the_quiet_begin_anew(between: Seen) -> None:
    again = receives(1.2, between.receive or "", between.replay or "")
    assert not last(Quiet(), receives(0), between, again)


def test_a_round_lies_between_two_waits_that_one_wait_cannot_be() -> None:
    assert not last(Rounds(), asks(0), asks(0.499))
    assert last(Rounds(), asks(0), asks(0.5))
    # It may ask in between, and what it does then does not matter.
    assert last(Rounds(), asks(0), asks(0.3, waits_for=None), asks(0.5))


def test_a_segment_that_came_makes_the_rounds_begin_anew() -> None:
    assert not last(Rounds(), asks(0), asks(0.5, replay="0/3"))
    assert last(Rounds(), asks(0), asks(0.5, replay="0/3"), asks(1.0, replay="0/3"))


@pytest.mark.parametrize("look", [asks(9, waits_for="RestoreCommand"), asks(9, waits_for=None), asks(9, receivers=1)])
def test_who_does_not_wait_has_not_asked_to_the_end(look: Seen) -> None:
    assert not last(Rounds(), asks(0), look)


def test_an_archive_that_is_slower_than_a_wait_gets_longer_ones() -> None:
    rounds = Rounds()
    for at in range(4):
        look = asks(at, waits_for="RestoreCommand")
        assert not rounds.done(look)
        # Three seconds are six rounds.
        assert rounds.slower(look) == (at == 3), at
    assert rounds.interval == 4.999
    assert not last(rounds, asks(4), asks(8.9))
    assert last(rounds, asks(9.1))


def test_waits_that_are_seen_are_not_made_longer_nor_without_end() -> None:
    rounds = Rounds()
    rounds.done(asks(0))
    assert not rounds.slower(asks(100))
    endless = Rounds()
    for at in (0, 1000, 2000, 3000):
        endless.done(asks(at, waits_for=None))
        endless.slower(asks(at, waits_for=None))
    assert endless.level == 2


@pytest.mark.parametrize(
    ("look", "words"),
    [
        (asks(9, receivers=1), "did not end although primary_conninfo is empty"),
        (asks(9, waits_for="RestoreCommand"), "waits for RestoreCommand; see whether restore_command hangs"),
    ],
)
def test_what_keeps_the_archive_from_being_asked_is_named(look: Seen, words: str) -> None:
    said = promote.not_asked(look, 60)
    assert said.startswith("drain_timeout: after 60 s") and words in said


@pytest.mark.parametrize("text", ["", "# Do not edit\n", "primary_conninfo = 'host=db1'\n", "work_mem = '4MB'"])
def test_what_holds_the_receiver_back_comes_last_and_goes_away_whole(text: str) -> None:
    held = promote.held(text, 499)
    assert held.splitlines()[-2:] == ["primary_conninfo = ''", "wal_retrieve_retry_interval = '499ms'"]
    assert promote.held(held, 499) == held
    assert promote.held(held, 4999).count("wal_retrieve_retry_interval") == 1
    assert promote.released(held).rstrip("\n") == text.rstrip("\n")
    # The server's own way to write the file drops comments and sorts nothing.
    assert promote.released(held.replace("# Do not edit\n", "# Other\n")).count("''") == 0


@pytest.mark.parametrize(
    ("changes", "begins"),
    [
        ({"system_identifier": "7001"}, ["system_identifier:"]),
        ({"replay_paused": True, "replay_pause_state": "pause requested"}, ["its replay is pause requested"]),
        ({"apply_delay_s": 5.0}, ["recovery_min_apply_delay is 5 s"]),
        ({"timeline": 2}, ["from_timeline: the standby replays timeline 2"]),
        ({"apply_delay_s": 5.0, "system_identifier": "1"}, ["system_identifier:", "recovery_min_apply_delay"]),
    ],
)
def test_a_standby_is_refused_for_all_reasons(changes: dict[str, t.Any], begins: list[str]) -> None:
    options = {**OPTIONS, "from_timeline": 1}
    assert promote.obstacles(STANDBY, options, None) == []
    found = promote.obstacles({**STANDBY, **changes}, options, None)
    assert len(found) == len(begins)
    assert all(reason.startswith(begin) for reason, begin in zip(found, begins, strict=True))


@pytest.mark.parametrize(
    ("from_timeline", "note", "words"),
    [
        (None, None, "a primary already, on timeline 2, and no promotion was begun here"),
        (2, None, "was not promoted from timeline 2; it may be the old primary"),
        (3, None, "was not promoted from timeline 3"),
        (1, None, ""),
        (None, {"from_timeline": 1}, ""),
        # What is asked for counts more than what was written down.
        (2, {"from_timeline": 1}, "was not promoted from timeline 2"),
    ],
)
def test_a_primary_counts_as_promoted_only_by_its_timeline(
    from_timeline: int | None, note: dict[str, t.Any] | None, words: str
) -> None:
    found = promote.obstacles(PRIMARY, {**OPTIONS, "from_timeline": from_timeline}, note)
    assert len(found) == bool(words) and words in "".join(found)


@pytest.mark.parametrize(
    ("last_archived", "good"),
    [
        ("000000020000000000000005", True),
        ("000000020000000000000006", True),
        ("000000020000000000000004", False),
        ("000000010000000000000009", False),
        ("00000002.history", False),
        ("000000020000000000000005.partial", False),
        ("000000020000000000000005.00000028.backup", False),
        ("", False),
    ],
)
def test_only_a_segment_of_the_new_timeline_proves_the_archive(last_archived: str, good: bool) -> None:
    assert promote.archived("000000020000000000000005", last_archived) == good


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"failing": True, "failed": "00000002.history", "failed_count": 3}, "of 00000002.history failed, 3 times"),
        ({"failed": "000000010000000000000001", "failed_count": 3}, "it has not failed either"),
        ({"command": ""}, "neither archive_command nor archive_library is set"),
        ({"command": "", "library": "basic_archive"}, "it has not failed either"),
    ],
)
def test_why_nothing_is_archived_is_named(changes: dict[str, t.Any], words: str) -> None:
    row = {"command": "false", "library": "", "failing": False, "failed": "", "failed_count": 0, **changes}
    said = promote.archive_failure("000000020000000000000005", row, 3)
    assert said.startswith("archive_timeout: 000000020000000000000005") and words in said


def test_the_plan_says_what_would_be_done() -> None:
    assert len(promote.plan(STANDBY, OPTIONS)) == 5
    assert len(promote.plan(STANDBY, {**OPTIONS, "archive": False})) == 4
    assert len(promote.plan({**STANDBY, "archive_mode": "off"}, OPTIONS)) == 4
    assert promote.plan(PRIMARY, OPTIONS) == ("prove again that the server takes writes and archives them",)
    assert len(promote.plan(STANDBY, {**OPTIONS, "state": "drained"})) == 1
    assert promote.plan(STANDBY, {**OPTIONS, "state": "following"}) == ()
    assert len(promote.plan({**STANDBY, "held": True}, {**OPTIONS, "state": "following"})) == 1


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"deadline": 0}, "deadline:"),
        ({"drain_timeout": -1}, "drain_timeout:"),
        ({"from_timeline": 0}, "from_timeline:"),
        ({"marker": "a b"}, "marker:"),
        ({"system_identifier": "seven"}, "system_identifier:"),
        ({"until_lsn": "5000060"}, "until_lsn:"),
    ],
)
def test_bad_options_are_refused_by_name(changes: dict[str, t.Any], option: str) -> None:
    assert list(promote.problems(OPTIONS)) == []
    (problem,) = promote.problems({**OPTIONS, **changes})
    assert problem.startswith(option)


def test_who_only_watches_waits_as_long_as_the_server_does() -> None:
    rounds = promote.Watched(5.0)
    assert not rounds.done(asks(0))
    assert not rounds.done(asks(4.9))
    assert rounds.done(asks(5.1))
    assert not rounds.slower(asks(500))
