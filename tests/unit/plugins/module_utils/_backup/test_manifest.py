"""The manifest of a backup set: there and back without a loss, and nothing believed that is not whole."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import manifest as module
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import (
    App,
    Component,
    Database,
    DatabasePart,
    FileEntry,
    Manifest,
    PostgresqlFacts,
    Retention,
    Table,
    Target,
)
from ansible_collections.matrixon.ops.plugins.module_utils._probe import ProbeFailure

UTC = datetime.timezone.utc
NOW = datetime.datetime(2026, 11, 23, 2, 15, 0, 123456, UTC)
SHA = "ab" * 32
PG = PostgresqlFacts(
    version="15.18",
    major=15,
    system_identifier="7312345678901234567",
    encoding="UTF8",
    collate="C",
    ctype="C",
    locale_provider="libc",
    checksums=True,
    segment_bytes=16 << 20,
    timeline=2,
    lsn_start="0/3000028",
    lsn_stop="16/B374D848",
    wal_start="000000020000000000000003",
    wal_stop="0000000200000016000000B3",
    locale="und",
    extensions={"pg_trgm": "1.6"},
    databases=(
        Database("synapse", 12345, (Table("public", "events", 10, 12),), "synapse", "UTF8", "C", "C", "icu", "de"),
        Database("postgres", 1),
    ),
)


def full(**more: Any) -> Manifest:
    return Manifest(
        **{
            "id": "20261123T021500Z-7f3a",
            "sequence": 7,
            "fleet": "production",
            "server": "db1.example.org",
            "server_name": "example.org",
            "created": NOW,
            "finished": NOW + datetime.timedelta(minutes=3),
            "kind": "incremental",
            "parent": "before-upgrade",
            "chain": ("before-upgrade", "20261123T021500Z-7f3a"),
            "tool_versions": {"pg_basebackup": "15.18"},
            "pg": PG,
            "app": App("synapse", "1.163.2", "88", ("ed25519:a_1",)),
            "media": {"files": 3, "bytes": 99, "high_water": "2026-11-23T02:00:00Z"},
            "components": {
                "database": Component(
                    "native",
                    (FileEntry("db/base.tar.zst", 10, SHA), FileEntry("db/" + os.fsdecode(b"\xff\n"), 0, SHA)),
                    10,
                    {"compression": "zstd:3"},
                ),
                "config": Component("age", (FileEntry("config.tar.age", 5, SHA),), 5),
            },
            "timings": {"database": 12.5, "media": 1},
            "retention": Retention("monthly", NOW + datetime.timedelta(days=400)),
            "previous_set": "before-upgrade",
            **more,
        }
    )


def document(**changes: Any) -> Any:
    """Return a manifest's document as JSON would give it, with changes."""
    return {**json.loads(full().to_bytes()), **changes}


def test_there_and_back_without_a_loss() -> None:
    before = full()
    content = before.to_bytes()
    assert Manifest.from_bytes(content) == before
    assert Manifest.from_bytes(content).to_bytes() == content


def test_the_text_is_ascii_with_sorted_keys_and_a_newline() -> None:
    content = full().to_bytes()
    assert content.isascii() and content.endswith(b"}\n") and b"\\udcff" in content
    keys = list(json.loads(content))
    assert keys == sorted(keys) and json.loads(content)["schema"] == "matrixon.ops/backup-set/1"
    assert json.loads(content)["created"] == "2026-11-23T02:15:00.123Z"


def test_a_small_set_needs_little() -> None:
    small = Manifest("x", 1, "fleet", "db1", NOW, NOW, "full")
    assert small.chain == ("x",) and small.status == "complete" and small.files == () and small.stored_bytes == 0
    assert Manifest.from_bytes(small.to_bytes()) == small


def test_files_and_bytes_are_those_of_all_components() -> None:
    assert [entry.path for entry in full().files][:2] == ["config.tar.age", "db/base.tar.zst"]
    assert full().stored_bytes == 15


def test_a_part_becomes_a_component() -> None:
    part = DatabasePart("native", "full", PG, (FileEntry("db/x", 1, SHA),), 1, detail={"a": 1})
    assert part.component() == Component("native", (FileEntry("db/x", 1, SHA),), 1, {"a": 1})


def test_times_are_in_utc_whatever_zone_they_come_in() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=-5))
    assert full(created=NOW.astimezone(zone)) == full()
    with pytest.raises(ValueError, match="no time zone"):
        full(created=NOW.replace(tzinfo=None))
    with pytest.raises(ValueError, match="no time zone"):
        Retention(keep_until=NOW.replace(tzinfo=None))


def test_what_a_later_version_adds_is_left_out() -> None:
    later = document(schema="matrixon.ops/backup-set/1.4", colour="red")
    later["pg"]["colour"] = later["components"]["config"]["colour"] = later["retention"]["colour"] = 1
    assert Manifest.from_dict(later) == full()


@pytest.mark.parametrize("schema", ["matrixon.ops/backup-set/2", "matrixon.ops/backup-set/10", "x", ""])
def test_another_schema_is_refused(schema: str) -> None:
    with pytest.raises(BackupError, match="its schema is"):
        Manifest.from_dict(document(schema=schema))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'"x"', b"{}", b"\xff", b"[" * 100000, b'{"schema": 1}']
)
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    with pytest.raises(BackupError) as caught:
        Manifest.from_bytes(content)
    assert caught.value.kind == "parse" and "the manifest" in caught.value.message


def test_a_manifest_that_is_cut_anywhere_is_refused() -> None:
    content = full().to_bytes()
    for length in range(0, len(content) - 2, 97):
        with pytest.raises(BackupError):
            Manifest.from_bytes(content[:length])


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the ways to all keys of a document that this version knows."""
    found = []
    # What drivers put there is their own, and names of tools and steps are free.
    free = {"detail", "media", "timings", "tool_versions", "extensions"}
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        if isinstance(key, str):
            found.append((*path, key))
        if key not in free:
            found += _paths(value[key], (*path, key))
    return found


# Without these a manifest says less, and nothing wrong.
OPTIONAL = {
    "server_name",
    "parent",
    "pg",
    "app",
    "media",
    "previous_set",
    "keep_until",
    "owner",
    "locale",
    "timeline",
    "lsn_start",
    "lsn_stop",
    "wal_start",
    "wal_stop",
    "schema_version",
    "inserted",
    "deleted",
}


@pytest.mark.parametrize("path", _paths(document()), ids=lambda path: ".".join(str(key) for key in path))
@pytest.mark.parametrize("wrong", [None, 1.5, True, [1], {"a": 1}, "no", "missing"], ids=repr)
def test_each_key_must_be_there_with_its_type(path: tuple[Any, ...], wrong: Any) -> None:
    changed = document()
    *way, key = path
    place = changed
    for step in way:
        place = place[step]
    before = place[key]
    if wrong == "missing":
        del place[key]
    else:
        place[key] = wrong
    own = (way[:2] == ["pg", "databases"] and len(way) == 3) or way == ["app"]
    optional = key in OPTIONAL or (own and key not in ("name", "bytes", "tables", "implementation", "signing_key_ids"))
    is_text = isinstance(before, str) or (own and before is None)
    fits = (
        (is_text and wrong == "no" and key not in ("created", "finished", "keep_until"))
        or (isinstance(before, bool) and wrong is True)
        or (key in ("media", "timings", "detail") and isinstance(wrong, dict))
        or (optional and wrong in (None, "missing"))
        or (way == ["components"] and wrong == "missing")
    )
    if not fits:
        with pytest.raises(BackupError) as caught:
            Manifest.from_dict(changed)
        assert caught.value.kind == "parse"
    elif key not in ("id", "parent", "kind", "status", "schema", "sha256") and not key.startswith(("lsn_", "wal_")):
        Manifest.from_dict(changed)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "running"}, "its status is 'running' and not 'complete'"),
        ({"kind": "partial"}, "kind: 'partial' is none of full, incremental, logical, files"),
        ({"sequence": 0}, "sequence: 0 is not 1 or more"),
        ({"id": "../x"}, "is no name for a set"),
        ({"fleet": "../x"}, "fleet: "),
        ({"server": ""}, "server: "),
        ({"kind": "full"}, "a set of kind full does not go with the parent before-upgrade"),
        ({"parent": None}, "a set of kind incremental does not go with the parent None"),
        ({"chain": ["before-upgrade"]}, "does not lead over the parent"),
        ({"chain": ["20261123T021500Z-7f3a"]}, "does not lead over the parent"),
        ({"chain": ["other", "20261123T021500Z-7f3a"]}, "does not lead over the parent"),
        ({"chain": []}, "does not lead over the parent"),
        ({"chain": ["x", "x", "before-upgrade", "20261123T021500Z-7f3a"]}, "not a list of different sets"),
        ({"chain": ["../x", "before-upgrade", "20261123T021500Z-7f3a"]}, "not a list of different sets"),
        ({"kind": "full", "parent": None}, "does not lead over the parent None"),
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(BackupError, match=reason) as caught:
        Manifest.from_dict(document(**changes))
    assert caught.value.kind == "parse"


def test_a_long_chain_is_taken() -> None:
    chain = ("full", "more", "before-upgrade", "20261123T021500Z-7f3a")
    assert Manifest.from_dict(document(chain=list(chain))).chain == chain


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", "a\0b", "MANIFEST.json", "MANIFEST.sha256", "."],
)
def test_a_file_outside_the_set_is_refused(path: str) -> None:
    changed = document()
    changed["components"]["config"]["files"][0]["path"] = path
    with pytest.raises(BackupError, match="is not a plain path below the set|is the manifest's own"):
        Manifest.from_dict(changed)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sha256": "AB" * 32}, "no length and SHA-256"),
        ({"sha256": SHA[:-1]}, "no length and SHA-256"),
        ({"sha256": SHA + "\n"}, "no length and SHA-256"),
        ({"bytes": -1}, "no length and SHA-256"),
        ({"path": "db/base.tar.zst"}, "is listed twice"),
    ],
)
def test_a_file_that_cannot_be_checked_is_refused(change: dict[str, Any], reason: str) -> None:
    changed = document()
    changed["components"]["config"]["files"][0].update(change)
    with pytest.raises(BackupError, match=reason):
        Manifest.from_dict(changed)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lsn_start", "x"),
        ("lsn_stop", "0/"),
        ("wal_start", "0" * 23),
        ("wal_stop", "g" * 24),
        ("wal_stop", "0" * 24 + "\n"),
    ],
)
def test_positions_and_segments_look_like_such(key: str, value: str) -> None:
    changed = document()
    changed["pg"][key] = value
    with pytest.raises(BackupError, match="no log position|no name of a segment"):
        Manifest.from_dict(changed)


@pytest.mark.parametrize("text", ["2026-11-23T02:15:00", "2026-11-23", "yesterday", "2026-13-01T00:00:00Z"])
def test_a_time_without_a_zone_is_none(text: str) -> None:
    with pytest.raises(BackupError):
        Manifest.from_dict(document(created=text))


def test_a_manifest_that_health_checks_could_not_read_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    content = full().to_bytes()
    for limit, fits in ((len(content), True), (len(content) - 1, False)):
        monkeypatch.setattr(module, "MAX_BYTES", limit)
        if fits:
            assert Manifest.from_bytes(full().to_bytes()) == full()
            continue
        with pytest.raises(BackupError, match="it lists 3 files: a driver with so many"):
            full().to_bytes()
        with pytest.raises(BackupError, match=f"more than {limit} bytes"):
            Manifest.from_bytes(content)


def test_a_manifest_is_not_changed_by_accident() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        full().id = "other"


# --- names


@pytest.mark.parametrize(
    ("started", "token", "expected"),
    [
        (NOW, b"\x7f\x3a", "20261123T021500Z-7f3a"),
        (NOW.astimezone(datetime.timezone(datetime.timedelta(hours=14))), b"\0\1", "20261123T021500Z-0001"),
    ],
)
def test_ids(started: datetime.datetime, token: bytes, expected: str) -> None:
    assert module.new_id(started, token) == expected
    assert module.check_id(expected) == expected


@pytest.mark.parametrize("name", ["a", "0", "before-upgrade", "v1.2_x", "a" * 64, "20261123T021500Z-7f3a"])
def test_good_names(name: str) -> None:
    assert module.id_problem(name) is None and module.check_id(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".x",
        "-x",
        "_x",
        "a/b",
        "/a",
        "A",
        "a b",
        "a\n",
        "\u00e9",
        "a" * 65,
        "20261123T021500Z-7F3A",
        "latest",
    ],
)
def test_bad_names(name: str) -> None:
    with pytest.raises(BackupError) as caught:
        module.check_id(name, "backup_set")
    assert caught.value.message.startswith(f"backup_set: {name!r}")


# --- targets


@pytest.mark.parametrize(
    ("text", "expected", "words"),
    [
        ("latest", Target(), "the end of the archive"),
        ("immediate", Target("immediate"), "the end of the set"),
        ("16/b374d848", Target("lsn", lsn="16/B374D848"), "log position 16/B374D848"),
        ("2026-11-23T02:15:00.123456Z", Target("time", time=NOW), "2026-11-23T02:15:00.123Z"),
        ("2026-11-23 03:15:00.123456+01:00", Target("time", time=NOW), "2026-11-23T02:15:00.123Z"),
    ],
)
def test_targets(text: str, expected: Target, words: str) -> None:
    assert Target.parse(text) == expected and str(expected) == words
    assert Target.parse(text, 3).timeline == 3 and str(Target.parse(text, 3)) == words + " on timeline 3"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "neither latest"),
        ("yesterday", "neither latest"),
        ("16/", "neither latest"),
        ("2026-11-23T02:15:00", "has no time zone"),
        ("2026-11-23", "has no time zone"),
    ],
)
def test_targets_that_say_nothing_are_refused(text: str, reason: str) -> None:
    with pytest.raises(BackupError, match=reason):
        Target.parse(text)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Target("time"),
        lambda: Target("lsn"),
        lambda: Target("latest", time=NOW),
        lambda: Target("time", time=NOW, lsn="0/1"),
        lambda: Target("never"),
        lambda: Target("lsn", lsn="x"),
        lambda: Target(timeline=0),
        lambda: Target(timeline=2**32),
    ],
)
def test_targets_that_say_two_things_are_refused(make: Callable[[], Target]) -> None:
    with pytest.raises(BackupError, match="target: "):
        make()


# --- errors


def test_a_backup_error_is_a_probe_failure_of_a_known_kind() -> None:
    error = BackupError("internal", "words", {"a": 1})
    assert isinstance(error, ProbeFailure) and (error.kind, error.message, error.facts) == (
        "internal",
        "words",
        {"a": 1},
    )
    with pytest.raises(ValueError, match="'oops' is no kind of error"):
        raise BackupError("oops", "words")
