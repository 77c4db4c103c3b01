"""What may go, in which parts, and when a gate is shut: both sides of every limit."""

from __future__ import annotations

import datetime
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup.changes import Layout
from ansible_collections.matrixon.ops.plugins.module_utils._backup.restic import parse_listing
from ansible_collections.matrixon.ops.plugins.module_utils._media import model
from ansible_collections.matrixon.ops.plugins.module_utils._media.look import MediaFiles, Stored, lacking
from ansible_collections.matrixon.ops.plugins.module_utils._media.model import Amount, Item, Way
from ansible_collections.matrixon.ops.plugins.module_utils._media.options import SPEC, kinds_of
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure

NOW = 1_790_000_000.0
UTC = datetime.timezone.utc
WAY_VALUE = {
    "takes": "time",
    "call": {"method": "POST", "path": "/purge?before_ts={before_ms}"},
    "counted": "deleted",
    "keys": ["media_id"],
    "total": "SELECT 1",
    "old": "SELECT 2",
    "present": "SELECT 3",
    "kept": "SELECT 4",
    "download": "/download/{media_id}",
    "file": "content/{media_id[0:2]}/{media_id[2:]}",
    "thumbnails": "small/{media_id[0:2]}/{media_id[2:]}",
}
WAY = Way.of(WAY_VALUE)


def item(media_id: str, used_ms: int = 1000, size: int = 10) -> Item:
    row = {"media_id": media_id, "used_ms": used_ms, "bytes": size}
    return Item(row, (media_id,), WAY.file.expand(row), WAY.thumbnails.expand(row), used_ms, size)


def options(**changes: t.Any) -> dict[str, t.Any]:
    given: dict[str, t.Any] = {name: one.get("default") for name, one in SPEC.items()}
    given.update(
        profile="synapse",
        server_name="example.com",
        media_dir="/srv/media",
        ways={"remote": {"state": "tested", "value": WAY_VALUE}, "local": {"state": "tested", "value": WAY_VALUE}},
        api={"url": "http://127.0.0.1:8008", "token": "secret"},
        remote_days=90,
    )
    return {**given, **changes}


def test_a_time_is_in_milliseconds_and_never_now() -> None:
    assert model.before(NOW, 90) == 1_790_000_000_000 - 90 * 86_400_000
    assert model.before(NOW, 1) == 1_790_000_000_000 - 86_400_000
    for now, days in ((NOW, 0), (NOW, -1), (NOW / 1000, 90), (NOW / 20, 90), (0.0, 1)):
        with pytest.raises(ProbeFailure):
            model.before(now, days)


def test_a_row_that_is_young_is_refused_whatever_the_query_says() -> None:
    rows = [{"media_id": "abcd", "used_ms": 999, "bytes": 5}, {"media_id": "efgh", "used_ms": 10, "bytes": 5}]
    found = model.items_of(rows, WAY, 1000)
    assert [one.key for one in found] == [("efgh",), ("abcd",)] and found[0].path == b"content/ef/gh"
    with pytest.raises(ProbeFailure, match="used"):
        model.items_of([{**rows[0], "used_ms": 1000}], WAY, 1000)
    with pytest.raises(ProbeFailure):
        model.items_of([{"media_id": "..", "used_ms": 1, "bytes": 5}], WAY, 1000)


def test_parts_end_before_the_next_file_and_keep_one_moment_together() -> None:
    items = [item(f"id{number}", used) for number, used in enumerate((1, 2, 2, 2, 9))]
    parts = model.slices(items, 2, by_time=True)
    assert [(len(part.items), part.before_ms) for part in parts] == [(4, 3), (1, 10)]
    assert [len(part.items) for part in model.slices(items, 2, by_time=False)] == [2, 2, 1]
    assert model.slices([], 2, by_time=True) == []


@pytest.mark.parametrize(
    ("clocks", "status"),
    [
        ((0.0, 60.0, 30.0), "ok"),
        ((0.0, 60.1, 30.0), "critical"),
        ((0.0, 0.0, -61.0), "critical"),
        ((61.0, 0, 0), "critical"),
    ],
)
def test_clocks_may_be_a_minute_apart(clocks: tuple[float, float, float], status: str) -> None:
    assert model.judge_clocks(*(NOW + one for one in clocks), "hs1").status == status


@pytest.mark.parametrize(
    ("old", "total", "value", "status"),
    [
        (Amount(3, 1), Amount(10, 100), 30.0, "ok"),
        (Amount(31, 1), Amount(100, 1000), 31.0, "critical"),
        # Few files that are most of the bytes.
        (Amount(1, 90), Amount(100, 100), 90.0, "critical"),
        (Amount(1, 0), Amount(10, 0), 10.0, "ok"),
        # Tables that contradict each other.
        (Amount(1, 0), Amount(0, 0), 100.0, "critical"),
    ],
)
def test_the_larger_share_counts(old: Amount, total: Amount, value: float, status: str) -> None:
    found = model.judge_share("remote", old, total, 30, "hs1")
    assert (found.value, found.status) == (value, status)
    assert ("max_share is 30 %" in found.message) == (status == "critical")


def backup(age: float, status: str = "verified", components: tuple[str, ...] = ("database",)) -> dict[str, t.Any]:
    finished = datetime.datetime.fromtimestamp(NOW - age, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return {"id": f"set{age:g}", "status": status, "components": list(components), "finished": finished}


@pytest.mark.parametrize(
    ("sets", "status"),
    [
        ([backup(3600)], "ok"),
        ([backup(3601)], "critical"),
        ([backup(99999), backup(10)], "ok"),
        ([backup(10, "complete"), backup(99999)], "critical"),
        ([backup(10, components=("media",))], "critical"),
        ([{"id": "x", "status": "damaged"}], "critical"),
        # Of a clock that was ahead.
        ([backup(-61)], "critical"),
        ([backup(-61), backup(10)], "ok"),
        ([], "critical"),
    ],
)
def test_only_a_verified_set_of_the_database_that_is_new_enough_counts(sets: list[t.Any], status: str) -> None:
    assert model.judge_fresh(sets, datetime.datetime.fromtimestamp(NOW, UTC), 3600, "hs1").status == status


def test_the_set_must_hold_every_file_in_its_length() -> None:
    stored = Stored({b"a": 1, b"b": 2, b"c": 3}, 0, [item("abcd")])
    assert lacking(stored, {b"a": 1, b"b": 2, b"c": 3, b"content/ab/cd": 10}) == []
    assert lacking(stored, {b"a": 1, b"b": 9, b"z": 3}) == ["b (9 bytes there, 2 here)", "c", "content/ab/cd"]
    bad = model.judge_held(["b", "c", "d", "e"], 9, "set1", "hs1")
    assert (bad.status, bad.value) == ("critical", 4) and "lacks 4 of the 9" in bad.message
    assert "b, c, d and 1 more" in bad.message
    assert model.judge_held([], 9, "set1", "hs1").status == "ok"


def test_the_store_is_looked_at_without_following_links(tmp_path: t.Any) -> None:
    (tmp_path / "content/ab").mkdir(parents=True)
    (tmp_path / "content/ab/cd").write_bytes(b"12345")
    (tmp_path / "content/ab/link").symlink_to(tmp_path / "content/ab/cd")
    (tmp_path / "small/ab/cd").mkdir(parents=True)
    (tmp_path / "small/ab/cd/32-32").write_bytes(b"1")
    found = MediaFiles(str(tmp_path)).look([item("abcd"), item("ablink"), item("nope")], Deadline(5))
    assert found.files == {b"content/ab/cd": 5, b"small/ab/cd/32-32": 1}
    assert [one.key for one in found.missing] == [("ablink",), ("nope",)]


def test_what_restic_lists_is_read_and_what_it_cannot_spell_is_left_out() -> None:
    lines = [
        b'{"struct_type":"snapshot","paths":["/srv"]}',
        b'{"type":"dir","path":"/local_content"}',
        b'{"type":"file","path":"/local_content/a","size":3}',
        b'{"type":"file","path":"/local_content/empty"}',
        b'{"type":"file","path":"/local_content/\\ufffd","size":3}',
        b'{"type":"symlink","path":"/local_content/l"}',
    ]
    assert parse_listing(b"\n".join(lines)) == {b"local_content/a": 3, b"local_content/empty": 0}
    with pytest.raises(ProbeFailure):
        parse_listing(b'{"type":"file","size":3}')


def test_values_stay_one_part_of_a_path_and_one_word_of_a_query() -> None:
    assert (
        model.filled("/d/{media_id}?a={before_ms}", {"media_id": "a/../b?c", "before_ms": 5}) == "/d/a%2F..%2Fb%3Fc?a=5"
    )
    assert model.written("'{server_name}' {before_ms}", {"server_name": "a'b", "before_ms": 5}) == "'a''b' 5"


def test_layouts_of_the_way() -> None:
    assert isinstance(WAY.file, Layout) and WAY.absent is None and WAY.keys == ("media_id",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"remote_days": 0}, "remote_days: 0"),
        ({"server_name": "a'b"}, "server_name"),
        ({"media_dir": "/"}, "media_dir"),
        ({"media_dir": "media"}, "media_dir"),
        ({"api": {"url": "ftp://x", "token": "secret"}}, "api.url"),
        ({"api": {"url": "http://x", "token": None}}, "api.token"),
        ({"ways": {}}, "ways: remote is missing"),
        ({"ways": {"remote": {"state": "tested", "value": {}}, "local": {}}}, "ways: "),
        ({"max_share": 101}, "max_share"),
        ({"batch": 0}, "batch"),
        ({"deadline": 0}, "deadline"),
        ({"backup_max_age": -1}, "backup_max_age"),
        ({"remote_without_backup": ""}, "remote_without_backup"),
        ({"local_larger_than": -1}, "local_larger_than"),
        ({"local_days": 90}, "local_confirm: '' is not 'example.com'"),
        ({"local_days": 90, "local_confirm": "example.org"}, "local_confirm: 'example.org'"),
        ({"local_days": 90, "local_confirm": "example.com"}, "backup: is missing"),
    ],
)
def test_options_that_cannot_be_right_are_refused(changes: dict[str, t.Any], words: str) -> None:
    with pytest.raises(OptionErrors, match="(?s)" + words.replace("'", ".")):
        kinds_of(options(**changes))


def test_local_media_are_off_by_default() -> None:
    remote, local = kinds_of(options())
    assert (remote.days, local.days) == (90, None)
    remote, local = kinds_of(options(local_days=7, local_confirm="example.com", backup={"root": "/b"}))
    assert local.days == 7


def test_a_profile_that_cannot_needs_no_token() -> None:
    ways = {name: {"state": "unsupported", "reason": "no tables"} for name in ("remote", "local")}
    remote, local = kinds_of(options(profile="matrixon", ways=ways, api={"url": "http://x", "token": None}))
    assert remote.way is local.way is None
    assert remote.reason == "profile matrixon cannot clean up remote media: no tables"
    with pytest.raises(OptionErrors, match="local_days: profile matrixon cannot clean up local media: no tables"):
        kinds_of(options(profile="matrixon", ways=ways, local_days=9, local_confirm="example.com"))
