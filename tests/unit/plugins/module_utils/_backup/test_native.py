"""What the native driver decides without a server; the rest is in the integration tests."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import pathlib
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import native
from ansible_collections.matrixon.ops.plugins.module_utils._backup.cluster import Running
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import (
    DATABASE,
    Component,
    Database,
    Manifest,
    PostgresqlFacts,
    Target,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.native import Native, read_server_manifest
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

NOW = datetime.datetime(2026, 11, 23, 2, tzinfo=datetime.timezone.utc)
MIB = 1 << 20
GOOD = Running(
    version="15.18",
    major=15,
    data_directory="/var/lib/postgresql/15/main",
    in_recovery=False,
    superuser=True,
    replication=True,
    reads_all=True,
    wal_level="replica",
    max_wal_senders=10,
    summarize_wal=False,
    zstd=True,
    tablespaces=(),
    bytes=1000,
    segment_bytes=16 * MIB,
)
PG = PostgresqlFacts(
    version="15.18",
    major=15,
    system_identifier="7",
    encoding="UTF8",
    collate="C",
    ctype="C",
    locale_provider="libc",
    checksums=True,
    segment_bytes=16 * MIB,
    timeline=3,
    lsn_start="0/3000028",
    lsn_stop="0/3000100",
    wal_start="000000030000000000000003",
    wal_stop="000000030000000000000003",
    databases=(Database("synapse", 500),),
)


def manifest(**more: t.Any) -> Manifest:
    component = Component("native", (), 5, {"unpacked_bytes": 1000, "compression": "zst"})
    options: dict[str, t.Any] = {
        "id": "a",
        "sequence": 1,
        "fleet": "f",
        "server": "s",
        "created": NOW,
        "finished": NOW,
        "kind": "full",
        "pg": PG,
        "components": {DATABASE: component},
    }
    return Manifest(**{**options, **more})


# --- what stands in the way


def test_a_good_server_has_no_problems() -> None:
    assert native.problems(GOOD, "postgres", "/srv/backup", "/srv/wal") == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"replication": False}, 'the role u may not copy the cluster; ALTER ROLE "u" REPLICATION'),
        ({"reads_all": False}, 'GRANT pg_read_all_data TO "u"'),
        ({"wal_level": "minimal"}, "wal_level is minimal"),
        ({"max_wal_senders": 1}, "max_wal_senders is 1, and a backup needs two"),
        ({"tablespaces": (("far", "/mnt/far"),)}, "tablespace far lies in /mnt/far"),
        ({"data_directory": "/srv"}, "the store /srv/backup lies inside the data directory /srv"),
        ({"data_directory": "/srv/wal"}, "the archive of the log /srv/wal lies inside the data directory"),
    ],
)
def test_each_problem_is_a_sentence_of_its_own(change: dict[str, t.Any], words: str) -> None:
    (problem, *others) = native.problems(GOOD._replace(**change), "u", "/srv/backup", "/srv/wal")
    assert words in problem
    assert len(others) == (1 if change.get("data_directory") == "/srv" else 0)


def test_a_data_directory_that_may_not_be_known_is_no_problem() -> None:
    assert native.problems(GOOD._replace(data_directory=""), "u", "/srv/backup", None) == []


def test_a_backup_without_a_server_is_refused() -> None:
    with pytest.raises(BackupError, match="needs a server, and none was named"):
        Native("/srv/backup", Runner()).problems()


# --- the server's own list


def server_manifest(path: pathlib.Path, ranges: list[dict[str, t.Any]], sizes: tuple[int, ...] = (10, 20)) -> str:
    document = {"Files": [{"Path": f"f{size}", "Size": size} for size in sizes], "WAL-Ranges": ranges}
    body = json.dumps(document)[:-1].encode() + b",\n"
    path.write_bytes(body + b'"Manifest-Checksum": "' + hashlib.sha256(body).hexdigest().encode() + b'"}\n')
    return str(path)


def span(timeline: int, start: str, stop: str) -> dict[str, t.Any]:
    return {"Timeline": timeline, "Start-LSN": start, "End-LSN": stop}


def test_the_range_of_the_log_is_that_of_the_server(tmp_path: pathlib.Path) -> None:
    path = server_manifest(tmp_path / "m", [span(1, "0/2000028", "0/2000100")])
    found = read_server_manifest(path)
    assert (found.timeline, found.start, found.stop, found.bytes) == (1, "0/2000028", "0/2000100", 30)
    facts = native._with_positions(dataclasses.replace(PG, timeline=None), found)
    assert (facts.timeline, facts.wal_start, facts.wal_stop) == (
        1,
        "000000010000000000000002",
        "000000010000000000000002",
    )


def test_a_range_over_two_timelines_begins_on_the_older_one(tmp_path: pathlib.Path) -> None:
    """The server names the newest first. A copy that ends with a segment does not need the next."""
    ranges = [span(2, "0/3000000", "0/5000000"), span(1, "0/2000028", "0/3000000")]
    facts = native._with_positions(PG, read_server_manifest(server_manifest(tmp_path / "m", ranges)))
    assert (facts.timeline, facts.lsn_start, facts.lsn_stop) == (2, "0/2000028", "0/5000000")
    assert (facts.wal_start, facts.wal_stop) == ("000000010000000000000002", "000000020000000000000004")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda content: content.replace(b"0/2000100", b"0/2000101"), "does not have the checksum that it names"),
        (lambda content: content[: len(content) // 2], "is no list of files that PostgreSQL made"),
        (lambda content: b"", "is no list of files"),
        (lambda content: b"{}", "does not have the checksum|is no list of files"),
        (lambda content: b"[]", "does not have the checksum|is no list of files"),
    ],
)
def test_a_list_that_is_not_whole_is_damage(
    tmp_path: pathlib.Path, spoil: t.Callable[[bytes], bytes], words: str
) -> None:
    path = pathlib.Path(server_manifest(tmp_path / "m", [span(1, "0/2000028", "0/2000100")]))
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(BackupError, match=words) as caught:
        read_server_manifest(str(path))
    assert caught.value.kind == "parse"


def test_a_list_that_is_gone_is_damage(tmp_path: pathlib.Path) -> None:
    with pytest.raises(BackupError, match="cannot be read: No such file"):
        read_server_manifest(str(tmp_path / "gone"))


# --- targets and room


def test_a_set_alone_reaches_its_own_end() -> None:
    driver = Native("/srv/backup", Runner())
    for target, more in ((Target("latest"), {}), (Target("immediate"), {"recovery_target": "immediate"})):
        reach = driver.reach([("/s/a", manifest())], target, Deadline(5))
        assert (reach.position, reach.timelines) == (0x3000100, (3,))
        assert reach.settings == {
            "recovery_target_timeline": "current",
            "restore_command": "/bin/false",
            **more,
        }


@pytest.mark.parametrize("target", ["2026-11-23T03:00:00Z", "0/4000000"])
def test_later_moments_need_an_archive(target: str) -> None:
    with pytest.raises(BackupError, match="cannot be reached with set a alone, which ends at log position 0/3000100"):
        Native("/srv/backup", Runner()).reach([("/s/a", manifest())], Target.parse(target), Deadline(5))


def test_room_is_for_all_parts_and_what_they_are_combined_to() -> None:
    full = manifest()
    child = manifest(id="b", kind="incremental", parent="a", chain=("a", "b"))
    log = 4 * 16 * MIB
    assert native.needed_bytes([("", full)], PG) == 1000 + log
    assert native.needed_bytes([("", full), ("", child)], PG) == 2000 + 500 + log


def test_tablespaces_of_a_copy_are_not_followed(tmp_path: pathlib.Path) -> None:
    """They would lead to where the source still has its own."""
    native._no_tablespaces(str(tmp_path), "a")
    (tmp_path / "tablespace_map").touch()
    native._no_tablespaces(str(tmp_path), "a")
    (tmp_path / "tablespace_map").write_text("16390 /mnt/far\n")
    with pytest.raises(BackupError, match="set a has tablespaces"):
        native._no_tablespaces(str(tmp_path), "a")


@pytest.mark.parametrize(("microsecond", "rounded"), [(0, 0), (1, 1000), (999, 1000), (1000, 1000), (999_999, 0)])
def test_the_end_of_a_set_is_never_written_down_too_early(microsecond: int, rounded: int) -> None:
    moment = NOW.replace(microsecond=microsecond)
    assert native._rounded_up(moment).microsecond == rounded
    assert native._rounded_up(moment) >= moment
