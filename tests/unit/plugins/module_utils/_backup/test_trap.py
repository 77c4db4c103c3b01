"""An archive in which recovery would follow an ancestor's timeline and call it success: it is refused, and named."""

from __future__ import annotations

import datetime
import os
import pathlib
import types
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import native, overview
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import Manifest, PostgresqlFacts, Target
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner
from ansible_collections.matrixon.ops.plugins.module_utils._backup.store import Entry
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

NOW = datetime.datetime(2026, 11, 23, 9, tzinfo=datetime.timezone.utc)
MIB = 1 << 20


def segment(timeline: int, number: int) -> str:
    return f"{timeline:08X}00000000{number:08X}"


@pytest.fixture
def archive(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Timeline 2 left 1 in segment 5; its own first segment is missing, and the ancestor went on to 6."""
    for name in (segment(1, 3), segment(1, 4), segment(1, 5), segment(1, 6), segment(2, 6)):
        with open(tmp_path / name, "wb") as file:
            os.truncate(file.fileno(), MIB)
    (tmp_path / "00000002.history").write_text("1\t0/580000\tno recovery target specified\n")
    for module in (native, overview):
        monkeypatch.setattr(module.cluster, "programs", lambda *_arguments: "/nowhere")
    monkeypatch.setattr(native.Archive, "last_record", lambda *_arguments: 0x500000)
    monkeypatch.setattr(native.Archive, "last_commit", lambda *_arguments: NOW)
    return tmp_path


def a_set() -> Manifest:
    pg = PostgresqlFacts(
        version="15.18", major=15, system_identifier="7", encoding="UTF8", collate="C", ctype="C", locale_provider="c",
        checksums=True, segment_bytes=MIB, timeline=1, lsn_start="0/300028", lsn_stop="0/400100",
        wal_start=segment(1, 3), wal_stop=segment(1, 4),
    )  # fmt: skip
    return Manifest(
        id="one", sequence=1, fleet="f", server="s", created=NOW, finished=NOW - datetime.timedelta(hours=1),
        kind="full", pg=pg, components={"database": native.Component("native")},
    )  # fmt: skip


@pytest.mark.parametrize("target", [Target(), Target("time", time=NOW)], ids=str)
def test_a_restore_is_refused(archive: pathlib.Path, target: Target) -> None:
    driver = native.Native("/store", Runner(), archive=str(archive))
    with pytest.raises(BackupError, match=f"lacks {segment(2, 5)}.*{segment(1, 5)}"):
        driver.reach([("/store/sets/one", a_set())], target, Deadline(5))
    # With the missing segment there it is an archive like any other.
    with open(archive / segment(2, 5), "wb") as file:
        os.truncate(file.fileno(), MIB)
    assert driver.reach([("/store/sets/one", a_set())], target, Deadline(5)).timelines == (1, 2)


def test_a_position_before_it_can_be_reached_and_none_behind_it(archive: pathlib.Path) -> None:
    driver = native.Native("/store", Runner(), archive=str(archive))
    chain = [("/store/sets/one", a_set())]
    assert driver.reach(chain, Target("lsn", lsn="0/400200"), Deadline(5)).position == 0x400200
    with pytest.raises(BackupError, match="cannot be reached"):
        driver.reach(chain, Target("lsn", lsn="0/580000"), Deadline(5))


def test_who_looks_is_told(archive: pathlib.Path) -> None:
    options: dict[str, t.Any] = {"archive": str(archive), "owner": None}
    place = types.SimpleNamespace(path="/store")
    entries = [Entry("one", "/store/sets/one", a_set())]
    found = overview._archive(entries, place, options, NOW, overview.Limits(), "db1")
    assert found.status == "critical" and segment(2, 5) in found.message
