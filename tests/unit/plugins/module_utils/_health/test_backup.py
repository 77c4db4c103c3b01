"""The age of the newest complete backup set."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
from typing import Any

import pytest

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


def results(root: pathlib.Path) -> list[CheckResult]:
    plan = backup.plan({"root": str(root)}, Context(NOW))
    return engine.execute(plan, engine.Policy(), Deadline(5)).results


def one(root: pathlib.Path) -> CheckResult:
    (result,) = results(root)
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
