"""What is compared, what a difference is, and what may be said: without a server and without the tool."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
import yaml

from ansible_collections.matrixon.ops.plugins.module_utils._compression import model
from ansible_collections.matrixon.ops.plugins.module_utils._compression.model import Chunk, Seen, Shape, State, Way
from ansible_collections.matrixon.ops.plugins.module_utils._compression.options import SPEC, way_of
from ansible_collections.matrixon.ops.plugins.module_utils._compression.run import compress
from ansible_collections.matrixon.ops.plugins.module_utils._compression.tables import Tables
from ansible_collections.matrixon.ops.plugins.module_utils._compression.tool import find
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Server
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure

ROOT = pathlib.Path(__file__).resolve().parents[5]
PROFILES = {
    name: yaml.safe_load((ROOT / f"roles/matrixon/files/profiles/{name}.yml").read_text())["state_compression"]
    for name in ("synapse", "matrixon")
}
WAY = Way.of(PROFILES["synapse"]["value"])
LOGIN = {"host": "/run", "port": 5432, "database": "synapse", "user": "postgres", "password": None}
ALL = [Chunk("a", (1, 2, 3))]
PASSWORD = 'it\'s "a" \\ secret'


def options(**changes: t.Any) -> dict[str, t.Any]:
    given: dict[str, t.Any] = {name: one.get("default") for name, one in SPEC.items()}
    given.update(deployment="example", profile="synapse", target="db1", way=PROFILES["synapse"])
    login = {**LOGIN, "sslmode": "prefer", "ca_file": None, **changes.pop("login", {})}
    return {**given, "postgresql": login, **changes}


def seen(*groups: tuple[int, int | None, int, str]) -> Seen:
    """Groups by number, what they stand on, rows and what they say."""
    there = {number for number, *_others in groups} | {None, 0}
    return Seen(
        {number: Shape(before, rows, before not in there) for number, before, rows, _word in groups},
        {number: State(rows, word) for number, _before, rows, word in groups if word},
    )


# --- what is compared


def test_all_groups_are_compared_where_they_are_few() -> None:
    assert model.sample([Chunk("a", (1, 2)), Chunk("b", (5,))], 3) == (1, 2, 5)


def test_of_many_groups_some_are_compared_from_end_to_end_with_the_last_of_each_chunk() -> None:
    chunks = [Chunk("a", tuple(range(1, 101))), Chunk("b", tuple(range(101, 201)))]
    found = model.sample(chunks, 10)
    assert len(found) == 10 and {100, 200} <= set(found) and found[0] == 1
    assert max(later - earlier for earlier, later in zip(found, found[1:], strict=False)) <= 40
    assert set(model.sample(chunks, 1)) == {200}


# --- what a difference is


def test_groups_that_are_stored_anew_are_counted_by_their_rows() -> None:
    before = seen((1, None, 100, "a"), (2, None, 100, "b"), (3, 2, 5, "c"))
    after = Seen({1: Shape(None, 100, False), 2: Shape(1, 10, False), 3: Shape(1, 12, False)}, before.states)
    found = model.difference(before, after, ALL)
    assert (found.changed, found.removed, found.added, found.bad) == ((2, 3), 90, 7, False)
    assert not model.difference(before, before, ALL).changed


@pytest.mark.parametrize(
    ("shape", "hanging"),
    [
        (Shape(1, 5, False), ()),
        (Shape(None, 5, False), ()),
        (Shape(1, 5, True), (2,)),
        (Shape(2, 5, False), (2,)),
        (Shape(3, 5, False), (2,)),
    ],
)
def test_a_group_stands_on_an_older_one_that_is_there(shape: Shape, hanging: tuple[int, ...]) -> None:
    before = Seen({2: Shape(None, 9, False)}, {})
    found = model.difference(before, Seen({2: shape}, {}), ALL)
    assert found.hanging == hanging and found.bad is bool(hanging)
    # What was so before is not the tool's doing.
    assert not model.difference(Seen({2: shape}, {}), Seen({2: shape}, {}), ALL).bad


def test_a_group_that_says_something_else_or_is_not_there_is_found() -> None:
    before = seen((1, None, 3, "a"), (2, 1, 3, "b"), (3, 1, 3, "c"))
    after = Seen({1: before.shapes[1], 2: before.shapes[2]}, {1: State(3, "other")})
    found = model.difference(before, after, ALL)
    assert (found.spoilt, found.lost, found.gone, found.bad) == ((1, 2), (3,), (), True)
    assert "2 say something else than before: 1, 2" in model.hurt_words(found)
    assert "1 are not there any more: 3" in model.hurt_words(found)


def test_a_room_that_was_purged_takes_its_groups_with_it_and_that_is_not_the_tool() -> None:
    before = seen((1, None, 3, "a"), (2, 1, 3, "b"), (9, None, 3, "c"))
    after = Seen({1: before.shapes[1], 2: before.shapes[2]}, {1: before.states[1], 2: before.states[2]})
    found = model.difference(before, after, [Chunk("a", (1, 2)), Chunk("b", (9,))])
    assert (found.gone, found.lost, found.bad) == ((9,), (), False)


def test_a_room_in_which_the_tool_did_not_get_to_the_end_is_named() -> None:
    chunks = [Chunk("a", (1, 2)), Chunk("b", (3,)), Chunk("a", (4, 5))]
    assert model.lagging(chunks, {"a": 5, "b": 3}) == ()
    assert model.lagging(chunks, {"a": 4, "b": 9}) == ("a",)
    assert model.lagging(chunks, {}) == ("a", "b")


# --- what the tool takes next


class Session:
    """Groups of rooms, and how far the tool is."""

    def __init__(self, groups: dict[int, str], last: dict[str, int]) -> None:
        self.groups, self.last = groups, last

    def rows(self, query: str, values: t.Any = None) -> list[dict[str, t.Any]]:
        if "to_regclass" in query:
            return []
        if query == WAY.position:
            return [{"position": 1}]
        if query == WAY.chunk:
            room, after = values["room"], values["after"]
            ids = [number for number, name in self.groups.items() if name == room and number > after]
            return [{"id": number} for number in ids[: values["size"]]]
        done = {**self.last, **dict(zip(values["rooms"], values["lasts"], strict=True))}
        left = [(number, room) for number, room in self.groups.items() if number > done.get(room, -1)]
        return [{"room": room, "after": done.get(room, -1)} for _number, room in left[:1]]


def test_a_part_goes_on_in_the_room_of_the_oldest_group() -> None:
    groups = {1: "a", 2: "b", 3: "a", 4: "a", 5: "b", 6: "c"}
    tables = Tables(t.cast(t.Any, Session(groups, {"c": 6})), WAY)
    assert tables.part(9, 2) == [Chunk("a", (1, 3)), Chunk("b", (2, 5)), Chunk("a", (4,))]
    assert tables.part(1, 2) == [Chunk("a", (1, 3))]
    assert Tables(t.cast(t.Any, Session({}, {})), WAY).part(9, 2) == []


# --- what may be said


def test_the_location_is_quoted_and_has_the_password_only_where_it_may() -> None:
    server = Server("127.0.0.1", 5432, "it's", "synapse", PASSWORD, "allow")
    text = model.location(server, "name", 5000)
    assert r"dbname='it\'s'" in text and r"""password='it\'s "a" \\ secret'""" in text and "sslmode='prefer'" in text
    assert "statement_timeout=5000ms" in text and "client_connection_check" not in text
    assert "secret" not in model.location(server, "name", 5000, checks=True, password=False)


@pytest.mark.parametrize(
    "said",
    [
        f"at {PASSWORD}!",
        f"at {model.location(Server('h', 1, 'd', 'u', PASSWORD), 'n', 1)}",
        repr({"url": model.location(Server("h", 1, "d", "u", PASSWORD), "n", 1)}),
        "at postgresql://u:it%27s%20%22a%22%20%5C%20secret@h/d",
        '"it\'s \\"a\\" \\\\ secret"',
    ],
)
def test_a_password_is_taken_out_however_it_is_written(said: str) -> None:
    assert "secret" not in model.redacted(said, PASSWORD) and "***" in model.redacted(said, PASSWORD)
    assert model.redacted(said, None) == said


def test_an_executable_is_not_told_a_password(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / WAY.program
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert str(find(WAY, None, None, None, False, Deadline(5))) == str(tool)
    with pytest.raises(ProbeFailure) as failed:
        find(WAY, None, None, None, True, Deadline(5))
    assert failed.value.kind == "missing_tool" and "command line" in failed.value.message


# --- options


def test_a_profile_that_has_no_way_is_skipped_and_never_ok() -> None:
    assert way_of(options()) == WAY
    outcome = compress(options(profile="matrixon", way=PROFILES["matrixon"]))
    (check,) = outcome.report.checks
    assert (check.status, outcome.report.status, outcome.changed) == ("skipped", "unknown", False)
    assert "profile matrixon cannot compress state: today's source" in str(check.skipped_reason)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"chunk_size": 99}, "chunk_size: 99 is less than the first of levels, 100; give that or more"),
        ({"levels": []}, "levels: [] are no sizes"),
        ({"levels": [100, 0]}, "levels: [100, 0] are no sizes"),
        ({"chunks": 0}, "chunks: 0 is nothing to work on"),
        ({"min_free": -1}, "min_free: -1 is below 0"),
        ({"backup_max_age": 0}, "backup_max_age: 0 is no time"),
        ({"without_backup": ""}, "without_backup: is empty"),
        ({"tool": "x", "python": "/x"}, "tool: give it or python, not both"),
        ({"tool": "x", "login": {"password": "p"}}, "tool: x takes the location with the password on its command line"),
        ({"python": "python3"}, "python: 'python3' is not the absolute path"),
        ({"login": {"host": "db1", "sslmode": "verify-full"}}, "postgresql.sslmode: verify-full: the tool checks no"),
        ({"way": {"state": "tested"}}, "way: 'value' is missing or of another kind"),
        ({"way": {"state": "tested", "value": {}}}, "is missing or of another kind; give what the profile has"),
    ],
)
def test_what_cannot_be_right_is_said_with_the_way_out(changes: dict[str, t.Any], words: str) -> None:
    with pytest.raises(OptionErrors) as failed:
        way_of(options(**changes))
    assert words in str(failed.value)
