"""Tests of what stays between two runs."""

from __future__ import annotations

import json
import os
import pathlib
import stat
import threading

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._security import state
from ansible_collections.matrixon.ops.plugins.module_utils._security.model import Event
from ansible_collections.matrixon.ops.plugins.module_utils._security.pseudonym import Names
from ansible_collections.matrixon.ops.plugins.module_utils._security.state import State

PLACE = {"inode": 5, "offset": 7, "head": "a", "head_size": 7, "tail": "b", "tail_size": 7, "seen": 1.5}


def full() -> State:
    left = State(updated=7200.0, begun=0.0)
    left.sources = {"/a.log": {"seen": 1.0, "trail": [PLACE]}, "journal": {"seen": 2.0, "cursor": "s=1"}}
    left.tally.take(Event("ban", 60, "u", None, "203.0.113.5", "@b\udcff:x"))
    left.tally.take(Event("login_wrong_password", 61, "u v", "POST-1", None, "@bob:x"))
    left.hours = {(0, "ban"): 1}
    return left


def test_what_is_kept_comes_back(tmp_path: pathlib.Path) -> None:
    state.save(str(tmp_path), full())
    path = tmp_path / state.NAME
    found = state.load(str(path))
    given = full()
    for name in ("minutes", "addresses", "users", "waiting"):
        assert getattr(found.tally, name) == getattr(given.tally, name)
    assert (found.updated, found.begun, found.hours, found.sources) == (7200.0, 0.0, given.hours, given.sources)
    assert [place.as_dict() for place in found.trail("/a.log")] == [PLACE]
    assert (found.cursor("journal"), found.seen("journal"), found.cursor("other")) == ("s=1", 2.0, None)
    # What counts as new begins anew.
    assert (found.garbled, found.tally.kinds) == ("", {})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_file_is_a_first_run(tmp_path: pathlib.Path) -> None:
    found = state.load(str(tmp_path / "none"))
    assert (found.updated, found.garbled) == (None, "")


GOOD = json.loads(state.dump(full()))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"{}",
        b"[]",
        b"null",
        state.dump(full())[:-20],
        json.dumps({**GOOD, "version": 2}).encode(),
        json.dumps({**GOOD, "minutes": [[1, 2]]}).encode(),
        json.dumps({**GOOD, "sources": {"/a.log": {"trail": [{"inode": "x"}]}}}).encode(),
        json.dumps({**GOOD, "sources": {"/a.log": []}}).encode(),
        json.dumps({**GOOD, "sources": {"journal": {"cursor": 5}}}).encode(),
        json.dumps({**GOOD, "updated": None}).encode(),
    ],
)
def test_a_garbled_file_is_kept_and_never_overwritten(tmp_path: pathlib.Path, text: bytes) -> None:
    path = tmp_path / state.NAME
    path.write_bytes(text)
    found = state.load(str(path))
    assert found.garbled
    assert path.read_bytes() == text
    after = full()
    after.garbled = found.garbled
    state.save(str(tmp_path), after)
    kept = pathlib.Path(state.kept_name(str(path), 7200.0))
    assert kept.name == "events.json.garbled-19700101T020000Z"
    assert kept.read_bytes() == text
    assert not state.load(str(path)).garbled


def test_hours_add_up_and_end_after_two_weeks() -> None:
    now = 400 * 3600.0
    found = state.added_hours(
        {(399, "ban"): 1, (63, "ban"): 9, (64, "ban"): 2}, {(399, "ban"): 2, (400, "kick"): 1}, now
    )
    assert found == {(64, "ban"): 2, (399, "ban"): 3, (400, "kick"): 1}


def test_the_directory_is_made_for_its_owner_only(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a/b"
    with state.locked(str(path), Deadline(5)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_two_runs_do_not_read_at_once(tmp_path: pathlib.Path) -> None:
    refused = pytest.raises(ProbeFailure, match="another run holds")
    with state.locked(str(tmp_path), Deadline(5)), refused, state.locked(str(tmp_path), Deadline(0.05)):
        pass
    order: list[str] = []
    held = threading.Event()

    def second() -> None:
        held.wait()
        with state.locked(str(tmp_path), Deadline(30)):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with state.locked(str(tmp_path), Deadline(5)):
        held.set()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_directory_that_cannot_be_is_told(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ProbeFailure, match="give state_dir"), state.locked(str(tmp_path / "file"), Deadline(5)):
        pass


def test_the_key_is_made_once_for_its_owner_only(tmp_path: pathlib.Path) -> None:
    key, kept = state.key_of(str(tmp_path), True)
    assert (len(key), kept) == (32, True)
    assert state.key_of(str(tmp_path), True) == (key, True)
    assert state.key_of(str(tmp_path), False) == (key, True)
    assert stat.S_IMODE((tmp_path / state.KEY).stat().st_mode) == 0o600


def test_without_the_right_to_make_a_key_there_is_one_for_this_run(tmp_path: pathlib.Path) -> None:
    key, kept = state.key_of(str(tmp_path), False)
    assert (len(key), kept, os.listdir(tmp_path)) == (32, False, [])
    assert state.key_of(str(tmp_path), False)[0] != key


def test_a_key_of_another_size_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / state.KEY).write_bytes(b"short")
    with pytest.raises(ProbeFailure, match="not a key of 32 bytes"):
        state.key_of(str(tmp_path), True)


def test_pseudonyms_are_stable_and_tell_nothing() -> None:
    names, other = Names(b"k" * 32), Names(b"l" * 32)
    assert names.address("203.0.113.5") == names.address("203.0.113.5")
    assert names.address("203.0.113.5") != names.address("203.0.113.6")
    assert names.address("203.0.113.5") != other.address("203.0.113.5")
    assert names.address("203.0.113.5").startswith("ip4-")
    assert names.address("2001:db8::1").startswith("ip6-")
    assert names.address("2001:db8::/64").startswith("net6-")
    assert names.user("@bob:x").startswith("user-")
    assert names.user("@b\udcff:x").startswith("user-")
    assert names.address("127.0.0.1") == "127.0.0.1"
    # What is a user and what an address never have the same name.
    assert names.user("203.0.113.5").split("-")[1] != names.address("203.0.113.5").split("-")[1]


def test_what_is_to_be_shown_is() -> None:
    names = Names(b"k" * 32, ["addresses"])
    assert names.address("203.0.113.5") == "203.0.113.5"
    assert names.address("2001:db8::/64") == "2001:db8::/64"
    assert names.user("@bob:x").startswith("user-")
    assert Names(b"k" * 32, ["users"]).user("@bob:x") == "@bob:x"
