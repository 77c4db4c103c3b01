"""Tests of who is told what, and of the file that remembers it."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._notify import memory
from ansible_collections.matrixon.ops.plugins.module_utils._notify.memory import Forgotten, Memory, Remembered, Told
from ansible_collections.matrixon.ops.plugins.module_utils._notify.model import Channel, Message
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

AT = "2026-11-27T12:00:00.000Z"
KNOWN = Remembered("key", "id")


def message(**more: t.Any) -> Message:
    given = {
        **{
            "key": "key",
            "state": "started",
            "occasion": "",
            "severity": "warning",
            "incident": "open",
            "subject": "s",
            "text": "t",
        },
        **{"html": "", "public_subject": "s", "public_text": "p", "link": "", "deployment": "d"},
    }
    return Message(**{**given, **more})


def channel(kind: str = "webhook", min_severity: str = "info", states: tuple[str, ...] = ()) -> Channel:
    return Channel("one", kind, {}, min_severity, states, 1.0)


def reason(one: Channel, said: Message, known: Remembered = KNOWN, chosen: tuple[str, ...] = ()) -> str | None:
    return memory.reason_to_pass_over(one, said, chosen, known)


def told_of(incident: str) -> Remembered:
    return KNOWN.in_state("before").told("one", incident, AT).in_state("started")


def test_same_state_again_is_no_change_and_each_other_is() -> None:
    first = KNOWN.in_state("a").told("one", "none", AT)
    one = channel()
    assert memory.already_told(one, first.in_state("a")) == Told(1, "a", AT)
    assert memory.already_told(one, first.in_state("b")) is None
    # The same on another occasion.
    assert memory.already_told(one, first.in_state("a", "run2")) is None
    assert first.in_state("a", "run2").in_state("a", "run2").change == 2
    # Back in a, of which it was told before b.
    assert memory.already_told(one, first.in_state("b").in_state("a")) is None


def test_repeat_is_known_by_its_id_and_nothing_else_is() -> None:
    first = KNOWN.in_state("a")
    assert first.in_state("a").transaction("one") == first.transaction("one")
    others = [first.in_state("b"), first.in_state("b").in_state("a"), Remembered("key", "id2").in_state("a")]
    ids = {first.transaction("one"), first.transaction("two"), *(other.transaction("one") for other in others)}
    assert len(ids) == 5


@pytest.mark.parametrize(
    ("one", "said", "words"),
    [
        (channel(), message(), None),
        (channel(min_severity="warning"), message(), None),
        (channel(min_severity="error"), message(), "warning is below its error"),
        (channel(states=("started",)), message(), None),
        (channel(states=("failed",)), message(), "it is not told of the state started"),
        (channel("matrix"), message(incident="none"), None),
        (channel("pagerduty"), message(incident="none"), "this message is about none"),
        (channel("status_page"), message(incident="none"), "this message is about none"),
        (channel("status_page"), message(public_text=""), "there are no words for the public"),
        (channel("status_page"), message(public_text="", incident="resolve"), None),
        (channel("pagerduty"), message(public_text=""), None),
    ],
)
def test_who_is_meant(one: Channel, said: Message, words: str | None) -> None:
    found = reason(one, said)
    assert found is None if words is None else words in (found or "")


def test_choice_by_name() -> None:
    assert reason(channel(), message(), chosen=("one",)) is None
    assert reason(channel(), message(), chosen=("two",)) == "it is not among those that were chosen"
    # Even the end of what it was told of.
    over = message(incident="resolve")
    assert reason(channel(), over, told_of("open"), ("two",)) is not None


@pytest.mark.parametrize("limits", [{"min_severity": "critical"}, {"states": ("failed",)}])
def test_who_was_told_of_the_beginning_is_told_of_the_end(limits: dict[str, t.Any]) -> None:
    one, over = channel(**limits), message(incident="resolve", severity="info")
    assert reason(one, over, told_of("open")) is None
    assert reason(one, over, told_of("acknowledge")) is None
    assert reason(one, over, told_of("open").told("one", "none", AT)) is None
    assert reason(one, over, told_of("none")) is not None
    assert reason(one, over, told_of("open").told("one", "resolve", AT)) is not None
    assert reason(one, over) is not None
    assert reason(one, message(), told_of("open")) is not None


def test_file_holds_what_was_told(tmp_path: pathlib.Path) -> None:
    one = Memory(str(tmp_path / "deep/state"), "dr_failover/example.test")
    one.prepare()
    fresh = one.load()
    assert (fresh.change, fresh.channels) == (0, {})
    known = fresh.in_state("a", "run2").told("one", "open", AT).told("two", "none", AT)
    one.save(known)
    assert one.load() == known
    assert pathlib.Path(one.path).stat().st_mode & 0o777 == 0o600
    assert pathlib.Path(one.directory).stat().st_mode & 0o777 == 0o700
    assert [path.name for path in pathlib.Path(one.directory).iterdir()] == [f"{one.name}.json"]


def test_keys_that_look_alike_have_files_of_their_own() -> None:
    names = {Memory("/x", key).path for key in ("a/b", "a_b", "a//b", "../a", "k" * 200, "k" * 199)}
    assert len(names) == 6
    assert all(pathlib.PurePath(name).parent == pathlib.PurePath("/x") and len(name) < 100 for name in names)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"schema": "x"}', '{"schema": "matrixon.ops/notify/1", "key": "other"}'],
)
def test_damaged_file_is_told_of(tmp_path: pathlib.Path, content: str) -> None:
    one = Memory(str(tmp_path), "key")
    pathlib.Path(one.path).write_text(content)
    with pytest.raises(Forgotten, match="is damaged"):
        one.load()


def test_link_is_not_followed(tmp_path: pathlib.Path) -> None:
    one = Memory(str(tmp_path), "key")
    (tmp_path / "elsewhere").write_text("{}")
    pathlib.Path(one.path).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Forgotten, match="is a link and no file"):
        one.load()


def test_lock_keeps_others_away_until_it_is_given_back(tmp_path: pathlib.Path, clock: t.Any) -> None:
    one, two = Memory(str(tmp_path), "key"), Memory(str(tmp_path), "key")

    def sleep(seconds: float) -> None:
        clock.now += seconds

    with one.locked(Deadline(1, clock), sleep):
        with (
            pytest.raises(Forgotten, match="another run has been telling of key for 1 s"),
            two.locked(Deadline(1, clock), sleep),
        ):
            pass
        with Memory(str(tmp_path), "other").locked(Deadline(1, clock), sleep):
            pass
    with two.locked(Deadline(1, clock), sleep):
        pass


def test_place_that_cannot_be_used_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    one = Memory(str(tmp_path / "file/below"), "key")
    with pytest.raises(Forgotten, match="file/below: File exists"):
        one.prepare()
    with pytest.raises(Forgotten, match=r"file/below/key-.*\.json: Not a directory"):
        one.save(KNOWN)
