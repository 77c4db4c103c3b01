"""The age of the newest complete backup set, of the newest proven one, and of the end of the log."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import overview
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import (
    DATABASE,
    Component,
    Manifest,
    PostgresqlFacts,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.store import Store
from ansible_collections.matrixon.ops.plugins.module_utils._health import backup, engine
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Context
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import CheckResult

NOW = datetime.datetime(2026, 11, 23, 9, tzinfo=datetime.timezone.utc)
HOUR = 3600


def add_set(server: pathlib.Path, name: str, age: float, status: str = "complete") -> pathlib.Path:
    finished = NOW - datetime.timedelta(seconds=age)
    manifest = {"id": name, "status": status, "finished": finished.strftime("%Y-%m-%dT%H:%M:%SZ")}
    return write(server, name, json.dumps(manifest))


def write(server: pathlib.Path, name: str, text: str) -> pathlib.Path:
    path = server / "sets" / name / "MANIFEST.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def results(root: pathlib.Path, name: str = "backup_age", expected: bool = True) -> list[CheckResult]:
    plan = backup.plan({"root": str(root), "expected": expected}, Context(NOW))
    return [one for one in engine.execute(plan, engine.Policy(), Deadline(5)).results if one.name == name]


def one(root: pathlib.Path, name: str = "backup_age") -> CheckResult:
    (result,) = results(root, name)
    return result


@pytest.mark.parametrize(
    ("age", "status"),
    [
        (26 * HOUR - 1, "ok"),
        (26 * HOUR, "warning"),
        (50 * HOUR - 1, "warning"),
        (50 * HOUR, "critical"),
        (-299, "ok"),
    ],
)
@pytest.mark.parametrize("below", ["", "fleet", "fleet/server"])
def test_age(age: int, status: str, below: str, tmp_path: pathlib.Path) -> None:
    add_set(tmp_path / below, "new", age)
    add_set(tmp_path / below, "old", 99 * HOUR)
    result = one(tmp_path)
    assert (result.status, result.value) == (status, max(0, age))
    assert "new" in result.message


def test_age_is_the_manifests_and_not_the_files(tmp_path: pathlib.Path) -> None:
    old = add_set(tmp_path, "old", 99 * HOUR)
    os.utime(old, (NOW.timestamp(), NOW.timestamp()))
    assert (one(tmp_path).status, one(tmp_path).value) == ("critical", 99 * HOUR)


@pytest.mark.parametrize(("name", "status"), [(".partial-new", "complete"), ("new", "failed"), ("new", "partial")])
def test_set_that_is_not_complete_does_not_count(name: str, status: str, tmp_path: pathlib.Path) -> None:
    add_set(tmp_path, "old", 51 * HOUR)
    add_set(tmp_path, name, HOUR, status)
    assert (one(tmp_path).status, one(tmp_path).value) == ("critical", 51 * HOUR)


def test_a_fresh_server_does_not_hide_a_stale_one(tmp_path: pathlib.Path) -> None:
    add_set(tmp_path / "fleet/a", "new", HOUR)
    add_set(tmp_path / "fleet/b", "old", 51 * HOUR)
    found = {result.target: result.status for result in results(tmp_path)}
    assert found == {str(tmp_path / "fleet/a"): "ok", str(tmp_path / "fleet/b"): "critical"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"status": "complete"}',
        '{"status": "complete", "finished": "yesterday"}',
        '{"status": "complete", "finished": "2026-11-23T08:00:00"}',
        '{"status": "complete", "finished": "2036-11-23T08:00:00Z"}',
    ],
    ids=["empty", "broken", "list", "no keys", "no end", "no time", "no zone", "in the future"],
)
def test_manifest_that_cannot_be_judged_is_named_and_never_believed(text: str, tmp_path: pathlib.Path) -> None:
    write(tmp_path, "bad", text)
    alone = one(tmp_path)
    assert (alone.status, alone.value) == ("critical", None)
    assert "set bad cannot be judged" in alone.message
    add_set(tmp_path, "good", HOUR)
    beside = one(tmp_path)
    assert (beside.status, beside.value) == ("warning", HOUR)
    assert "set bad cannot be judged" in beside.message


def test_set_without_a_manifest_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "sets/bare").mkdir(parents=True)
    assert "set bare cannot be judged: No such file" in one(tmp_path).message


def test_manifest_that_is_too_large_is_not_read(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "MAX_MANIFEST", 10)
    add_set(tmp_path, "big", HOUR)
    assert "larger than 10 bytes" in one(tmp_path).message


@pytest.mark.parametrize("make", [(), ("elsewhere",), ("sets",)], ids=["empty", "no sets below", "no set"])
def test_no_set_at_all_is_critical(make: tuple[str, ...], tmp_path: pathlib.Path) -> None:
    for name in make:
        (tmp_path / name).mkdir()
    assert (one(tmp_path).status, one(tmp_path).value) == ("critical", None)


def test_missing_root_is_critical(tmp_path: pathlib.Path) -> None:
    result = one(tmp_path / "missing")
    assert result.status == "critical"
    assert "does not exist" in result.message


def test_host_that_need_not_have_sets_is_skipped_with_the_reason(tmp_path: pathlib.Path) -> None:
    for root in (tmp_path, tmp_path / "missing"):
        (result,) = results(root, expected=False)
        assert (result.status, result.skipped_reason) == (
            "skipped",
            f"{root} holds no backup set, and none is expected on this host",
        )
    add_set(tmp_path, "old", 51 * HOUR)
    assert [result.status for result in results(tmp_path, expected=False)] == ["critical"]


def test_directory_that_vanishes_meanwhile_is_not_a_missing_root(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_set(tmp_path / "fleet", "new", HOUR)
    failing("fleet", FileNotFoundError(2, "No such file or directory", str(tmp_path / "fleet")), monkeypatch)
    result = one(tmp_path)
    assert (result.status, result.error_kind) == ("unknown", "internal")
    assert "fleet cannot be read" in result.message


def failing(part: str, error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail on what ends with ``part``, also for root, who runs many a test."""
    for module, name in ((os, "scandir"), (backup, "open")):
        real = getattr(module, name, open)

        def guarded(path: Any, *arguments: Any, real: Any = real) -> Any:
            if str(path).endswith(part):
                raise error
            return real(path, *arguments)

        monkeypatch.setattr(module, name, guarded, raising=False)


@pytest.mark.parametrize("part", ["root", "sets", "new/MANIFEST.json"])
def test_what_may_not_be_read_is_unknown(part: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    add_set(root, "new", HOUR)
    failing(part, PermissionError(13, "Permission denied", part), monkeypatch)
    result = one(root)
    assert (result.status, result.value, result.error_kind) == ("unknown", None, "auth")


def test_unreadable_set_may_be_newer_than_a_stale_one(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_set(tmp_path, "old", 51 * HOUR)
    add_set(tmp_path, "new", HOUR)
    failing("new/MANIFEST.json", PermissionError(13, "Permission denied"), monkeypatch)
    assert one(tmp_path).status == "unknown"


def test_reading_ends_with_the_deadline(tmp_path: pathlib.Path) -> None:
    add_set(tmp_path, "new", HOUR)
    with pytest.raises(ProbeFailure) as caught:
        backup.observe(str(tmp_path), Deadline(0))
    assert caught.value.kind == "timeout"


def test_root_must_be_absolute() -> None:
    assert list(backup.validate({"root": "/var/backups"})) == []
    (error,) = backup.validate({"root": "backups"})
    assert error.startswith("backup.root: 'backups' is not an absolute path;")


# --- what drills and the archive say


DAY = 86400
SEGMENT = 16 << 20
PG = PostgresqlFacts(
    version="15.18",
    major=15,
    system_identifier="7",
    encoding="UTF8",
    collate="C",
    ctype="C",
    locale_provider="libc",
    checksums=True,
    segment_bytes=SEGMENT,
    timeline=1,
    lsn_start="0/2000028",
    lsn_stop="0/2000100",
    wal_start="000000010000000000000002",
    wal_stop="000000010000000000000002",
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for a slow disk."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
    return Store(str(tmp_path / "root"), "fleet", "db1", clock=lambda: NOW)


def take(store: Store, name: str, age: float, proof: str | None = None, driver: str = "native", **more: Any) -> None:
    """Make a set that ended so many seconds ago, and let a drill say something about it."""
    finished = NOW - datetime.timedelta(seconds=age)
    with store.lock("backup"), store.begin(name) as partial:
        manifest = Manifest(
            id=name,
            sequence=store.next_sequence(),
            fleet="fleet",
            server="db1",
            created=finished,
            finished=finished,
            kind="full",
            components={DATABASE: Component(driver)},
            **{"pg": PG, **more},
        )
        store.commit(partial, manifest)
    if proof:
        store.record_drill(name, {"status": proof})


def proof(store: Store) -> CheckResult:
    return one(pathlib.Path(store.root), "backup_verified_age")


def log(store: Store) -> CheckResult:
    return one(pathlib.Path(store.root), "backup_archive_age")


def add_log(store: Store, name: str, age: float, size: int = SEGMENT) -> pathlib.Path:
    path = pathlib.Path(store.path) / "wal" / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    os.truncate(path, size)
    os.utime(path, (NOW.timestamp() - age,) * 2)
    return path


def test_thresholds_are_those_of_the_module_about_backups() -> None:
    for check, name in (
        (backup.AGE, "complete_age"),
        (backup.VERIFIED, "verified_age"),
        (backup.ARCHIVE, "archive_age"),
    ):
        assert vars(check.limits) == vars(overview.DEFAULTS[name])


@pytest.mark.parametrize(
    ("age", "status"),
    [
        (8 * DAY - 1, "ok"),
        (8 * DAY, "warning"),
        (15 * DAY - 1, "warning"),
        (15 * DAY, "critical"),
        (-60, "ok"),
    ],
)
def test_age_of_the_newest_proven_set(store: Store, age: float, status: str) -> None:
    take(store, "old", 99 * DAY, "ok")
    take(store, "proven", age, "ok")
    take(store, "refuted", 2, "critical")
    take(store, "new", 1)
    result = proof(store)
    assert (result.status, result.value) == (status, max(0, age))
    assert "proven, which ended" in result.message


def test_sets_of_which_none_is_proven_are_critical(store: Store) -> None:
    take(store, "new", HOUR)
    take(store, "refuted", HOUR, "critical")
    assert (proof(store).status, proof(store).value) == ("critical", None)
    assert "none of the 2 sets" in proof(store).message


def test_a_set_whose_manifest_was_changed_proves_nothing(store: Store) -> None:
    take(store, "one", HOUR, "ok")
    assert proof(store).status == "ok"
    path = pathlib.Path(store.set_path("one")) / "MANIFEST.json"
    path.write_bytes(path.read_bytes() + b" ")
    assert proof(store).status == "skipped" and "no complete backup set" in proof(store).message


@pytest.mark.parametrize("name", ["backup_verified_age", "backup_archive_age"])
def test_where_no_set_is_kept_the_reason_is_told(tmp_path: pathlib.Path, name: str) -> None:
    for root in (tmp_path, tmp_path / "missing"):
        result = one(root, name)
        assert result.status == "skipped" and result.skipped_reason
        assert result.skipped_reason == f"{root} holds no backup set, which backup_age judges"


@pytest.mark.parametrize("below", ["", "fleet", "fleet/db1", "fleet/db1/"])
def test_the_root_may_be_a_fleet_or_a_server(store: Store, below: str) -> None:
    take(store, "one", HOUR, "ok")
    result = one(pathlib.Path(os.path.join(store.root, below)), "backup_verified_age")
    assert (result.status, result.target) == ("ok", store.path)
    plan = backup.plan({"root": os.path.join(store.root, below), "expected": True}, Context(NOW))
    assert {one.status for one in engine.execute(plan, engine.Policy(), Deadline(5)).results} == {"ok", "skipped"}


@pytest.mark.parametrize(
    ("age", "status"), [(599, "ok"), (600, "warning"), (899, "warning"), (900, "critical"), (-9, "ok")]
)
def test_age_of_the_end_of_the_log(store: Store, age: float, status: str) -> None:
    take(store, "one", 99 * DAY)
    add_log(store, "000000010000000000000002", 99 * DAY)
    add_log(store, "000000010000000000000003", DAY)
    add_log(store, "000000010000000000000004.partial", age)
    result = log(store)
    assert (result.status, result.value) == (status, max(0, age))
    assert "without a hole from set one on" in result.message


@pytest.mark.parametrize("size", [0, SEGMENT - 1, None])
def test_a_hole_in_the_log_is_critical_however_young_its_end_is(store: Store, size: int | None) -> None:
    take(store, "one", HOUR)
    for number in (2, 3, 4, 5):
        path = add_log(store, f"00000001000000000000000{number}", 1, SEGMENT if number != 4 else size or 0)
        if number == 4 and size is None:
            path.unlink()
    assert (log(store).status, log(store).value) == ("critical", None)
    assert "lacks 000000010000000000000004" in log(store).message


def test_where_there_is_no_log_the_reason_is_told(store: Store) -> None:
    take(store, "one", HOUR)
    assert (log(store).status, log(store).skipped_reason) == (
        "skipped",
        f"there is no archive of the log in {store.path}/wal",
    )
    take(store, "two", HOUR, driver="pgbackrest")
    assert log(store).status == "skipped" and "two is kept by pgbackrest" in str(log(store).skipped_reason)


def test_an_empty_archive_is_critical(store: Store) -> None:
    take(store, "one", HOUR)
    os.mkdir(f"{store.path}/wal")
    assert (log(store).status, log(store).value) == ("critical", None)


def test_what_may_not_be_read_is_not_taken_for_missing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    take(store, "one", HOUR, "ok")
    add_log(store, "000000010000000000000002", 1)
    real = os.listdir

    def guarded(path: Any) -> list[Any]:
        if str(path).endswith("wal"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "listdir", guarded)
    assert (log(store).status, proof(store).status) == ("unknown", "ok")
    assert "cannot be listed: Permission denied" in log(store).message
