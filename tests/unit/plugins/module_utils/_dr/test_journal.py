"""The journal of a move: what stands, what goes on, and what is refused."""

from __future__ import annotations

import json
import os
import pathlib
import stat
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._dr import journal
from ansible_collections.matrixon.ops.plugins.module_utils._dr.steps import NAMES

MOVE = ("failover", "one", "two")


def at(second: int) -> str:
    return f"2026-11-27T12:00:{second:02d}.000Z"


def gated() -> journal.Journal:
    """A move whose gates are passed."""
    begun = journal.begun(journal.opened(None, *MOVE, at(0), True), NAMES[0], at(0))
    return journal.done(begun, NAMES[0], {"accepted": {}}, at(1))


def test_a_move_begins_with_its_gates() -> None:
    assert journal.opened(None, *MOVE, at(0), True) == {
        "schema": "matrixon.ops/dr/1",
        "operation": "failover",
        "from": "one",
        "to": "two",
        "started": at(0),
        "finished": None,
        "steps": {},
    }


@pytest.mark.parametrize("found", [None, {**gated(), "finished": at(9)}, journal.opened(None, *MOVE, at(0), True)])
def test_no_step_comes_before_the_gates(found: journal.Journal | None) -> None:
    with pytest.raises(journal.NoMove, match="no failover from one to two has passed its gates"):
        journal.opened(found, *MOVE, at(2), False)


def test_no_step_comes_after_gates_that_were_begun_and_not_passed() -> None:
    halted = journal.begun(journal.opened(None, *MOVE, at(0), True), NAMES[0], at(0))
    with pytest.raises(journal.NoMove):
        journal.opened(halted, *MOVE, at(2), False)


def test_a_move_that_has_not_ended_goes_on_and_one_that_has_is_begun_anew() -> None:
    assert journal.opened(gated(), *MOVE, at(5), False) == gated()
    assert journal.opened(gated(), *MOVE, at(5), True) == gated()
    again = journal.opened(journal.ended(gated(), at(8)), *MOVE, at(9), True)
    assert again["started"] == at(9) and again["steps"] == {} and again["finished"] is None


@pytest.mark.parametrize(
    "other", [("failback", "one", "two"), ("failover", "two", "one"), ("failover", "one", "three")]
)
@pytest.mark.parametrize("first", [True, False])
def test_another_move_in_the_middle_is_named_with_the_way_out(other: tuple[str, str, str], first: bool) -> None:
    with pytest.raises(journal.OtherRun) as caught:
        journal.opened(gated(), *other, at(5), first)
    words = str(caught.value)
    assert words.startswith(f"a failover from one to two began at {at(0)} and has not ended")
    assert words.endswith(f"dr_failover_forget={at(0)}")


def test_a_step_that_begins_again_keeps_its_first_time_and_counts() -> None:
    once = journal.begun(gated(), "fence", at(2))
    twice = journal.begun(once, "fence", at(7))
    assert once["steps"]["fence"] == {"started": at(2), "finished": None, "attempts": 1, "data": {}}
    assert twice["steps"]["fence"] == {"started": at(2), "finished": None, "attempts": 2, "data": {}}


def test_a_step_that_is_done_stays_as_it_is() -> None:
    done = journal.done(journal.begun(gated(), "fence", at(2)), "fence", {"proofs": [1]}, at(4))
    assert journal.begun(done, "fence", at(7)) == done
    assert journal.done(done, "fence", {"proofs": [2]}, at(8)) == done


def test_what_a_step_found_first_stands() -> None:
    begun = journal.begun(gated(), "promote", at(2))
    noted = journal.noted(begun, "promote", {"loss": {"bytes": 96}})
    again = journal.noted(noted, "promote", {"loss": {"bytes": 0}, "replay_lsn": "0/1"})
    assert again["steps"]["promote"]["data"] == {"loss": {"bytes": 96}, "replay_lsn": "0/1"}
    done = journal.done(again, "promote", {"loss": {"bytes": 7}, "timeline": 2}, at(4))
    assert done["steps"]["promote"]["data"] == {"loss": {"bytes": 96}, "replay_lsn": "0/1", "timeline": 2}


def test_nothing_is_changed_in_place() -> None:
    before = gated()
    copy = json.loads(json.dumps(before))
    journal.done(journal.noted(journal.begun(before, "fence", at(2)), "fence", {"a": 1}), "fence", {"b": 1}, at(3))
    journal.ended(before, at(9))
    assert before == copy


def test_a_move_ends_once_and_its_steps_have_their_seconds() -> None:
    moved = journal.done(journal.begun(gated(), "fence", at(2)), "fence", {}, "2026-11-27T12:00:05.250Z")
    moved = journal.begun(moved, "promote", at(6))
    ended = journal.ended(moved, at(9))
    assert ended["finished"] == at(9) and journal.ended(ended, at(30))["finished"] == at(9)
    # A step that is not done took no time that anybody knows.
    assert journal.seconds(ended) == {"gates": 1.0, "fence": 3.25}


@pytest.fixture
def path(tmp_path: pathlib.Path) -> str:
    return str(tmp_path / "dr" / "journal.json")


def test_what_was_written_is_read_by_the_next_run_and_by_nobody_else(path: str) -> None:
    assert journal.load(path) is None
    old = os.umask(0)
    try:
        journal.save(path, gated())
    finally:
        os.umask(old)
    assert journal.load(path) == gated()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
    assert os.listdir(os.path.dirname(path)) == ["journal.json"]


def test_a_file_that_others_could_read_is_for_its_owner_alone_afterwards(path: str) -> None:
    os.makedirs(os.path.dirname(path))
    pathlib.Path(path).write_text("{}")
    os.chmod(path, 0o644)
    journal.save(path, gated())
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_a_run_that_is_killed_while_it_writes_leaves_the_journal_as_it_was(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.save(path, gated())

    def killed(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    monkeypatch.setattr(os, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        journal.save(path, journal.begun(gated(), "fence", at(2)))
    assert journal.load(path) == gated()


def damaged(**changes: t.Any) -> str:
    return json.dumps({**gated(), **changes})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"matrixon.ops/dr/1"',
        "{}",
        "\x00\xff",
        damaged(schema="matrixon.ops/dr/2"),
        damaged(steps=None),
        damaged(steps=[]),
        damaged(steps={"fence": None}),
        damaged(steps={"fence": {"started": at(0)}}),
        damaged(started=None),
        damaged(finished=5),
        '{"schema": "matrixon.ops/dr/1"}',
    ],
)
def test_a_file_that_is_no_journal_is_named_and_not_taken_for_none(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path))
    pathlib.Path(path).write_bytes(text.encode("latin-1"))
    with pytest.raises(journal.NotAJournal) as caught:
        journal.load(path)
    assert str(caught.value).startswith(path) and str(caught.value).endswith("look at it, and move it away")
