"""What is deleted when the world moves meanwhile, without a server."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._media.model import Item, Kind, Way
from ansible_collections.matrixon.ops.plugins.module_utils._media.run import Call, Run, _Kind
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure

QUERIES = dict.fromkeys(("total", "old", "present", "kept"), "SELECT 1")
WAY_VALUE = {
    **QUERIES,
    "takes": "file",
    "call": {"method": "DELETE", "path": "/media/{media_id}"},
    "counted": "total",
    "keys": ["media_id"],
    "download": "/download/{media_id}",
    "file": "content/{media_id}",
    "thumbnails": "small/{media_id}",
}
WAY = Way.of(WAY_VALUE)
KIND = Kind("local", 90, WAY)


def item(media_id: str) -> Item:
    row = {"media_id": media_id}
    return Item(row, (media_id,), WAY.file.expand(row), WAY.thumbnails.expand(row), 1000, 10)


class Tables:
    """Tables of which the first look is the test's, and the second says what is old still."""

    def __init__(self, old: list[Item]) -> None:
        self.rows = {one.key: one for one in old}

    def old(self, *dummy: t.Any) -> list[Item]:
        return list(self.rows.values())

    def present(self, _way: Way, items: t.Sequence[Item]) -> set[t.Any]:
        return {one.key for one in items if one.key in self.rows}


class Api:
    """An API that takes files, or only says so."""

    def __init__(self, tables: Tables, acts: bool = True) -> None:
        self.tables, self.acts, self.taken = tables, acts, []

    def take(self, _way: Way, values: t.Mapping[str, t.Any], _deadline: Deadline) -> int:
        self.taken.append(values["media_id"])
        if self.acts:
            del self.tables.rows[(values["media_id"],)]
        return 1


def taken(items: list[Item], tables: Tables, api: Api, deadline: Deadline) -> Call:
    run = Run({"target": "hs1", "batch": 500}, False, lambda: 0.0, deadline)
    one = _Kind(run, KIND, WAY, t.cast(t.Any, api), t.cast(t.Any, tables), t.cast(t.Any, None), 0.0)
    return one._take(items)


def test_what_was_used_since_it_was_listed_is_spared() -> None:
    items = [item("aaaa"), item("bbbb"), item("cccc")]
    tables = Tables([items[0], items[2]])
    api = Api(tables)
    call = taken(items, tables, api, Deadline(60))
    assert api.taken == ["aaaa", "cccc"] and (call.said, call.spared, call.failure) == (2, 1, None)


def test_an_api_of_another_database_is_found_out_after_the_first_part() -> None:
    items = [item(f"id{number:03}") for number in range(250)]
    tables = Tables(items)
    api = Api(tables, acts=False)
    call = taken(items, tables, api, Deadline(60))
    assert isinstance(call.failure, ProbeFailure) and "of one server?" in call.failure.message
    assert len(api.taken) == 100


def test_the_deadline_is_total_and_leaves_time_to_look_afterwards() -> None:
    items = [item(f"id{number:03}") for number in range(50)]
    seconds = iter(range(10_000))
    tables = Tables(items)
    api = Api(tables)
    call = taken(items, tables, api, Deadline(40, lambda: float(next(seconds))))
    assert call.failure is not None and call.failure.kind == "timeout"
    assert 0 < len(api.taken) < 32


@pytest.mark.parametrize("absent", [None, 404])
def test_a_file_that_went_by_itself_counts_for_nothing(absent: int | None) -> None:
    assert Way.of({**WAY_VALUE, "call": {"method": "DELETE", "path": "/m", "absent": absent}}).absent == absent
