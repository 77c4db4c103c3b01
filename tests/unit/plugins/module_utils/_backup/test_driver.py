"""What all database drivers share: a chain is checked whole, and a copy does not act as its source did."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import pathlib
import re
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import driver
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import (
    DATABASE,
    Component,
    FileEntry,
    Manifest,
    PostgresqlFacts,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure

NOW = datetime.datetime(2026, 11, 23, tzinfo=datetime.timezone.utc)
PG = PostgresqlFacts("15.18", 15, "7", "UTF8", "C", "C", "libc", True, 16 << 20)


def link(root: pathlib.Path, name: str, *chain: str, **more: t.Any) -> tuple[str, Manifest]:
    """Make a set with one file, and return it as a link of a chain."""
    folder = root / name / "db"
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"12345")
    entry = FileEntry("db/file", 5, hashlib.sha256(b"12345").hexdigest())
    options: dict[str, t.Any] = {
        "id": name,
        "sequence": len(chain) + 1,
        "fleet": "f",
        "server": "s",
        "created": NOW,
        "finished": NOW,
        "kind": "incremental" if chain else "full",
        "parent": chain[-1] if chain else None,
        "chain": (*chain, name),
        "pg": PG,
        "components": {DATABASE: Component("native", (entry,), 5)},
    }
    return str(root / name), Manifest(**{**options, **more})


def test_a_whole_chain_is_good(tmp_path: pathlib.Path) -> None:
    chain = [link(tmp_path, "a"), link(tmp_path, "b", "a")]
    assert driver.check_chain(chain, "native") is chain[-1][1].pg


@pytest.mark.parametrize(
    ("spoil", "words", "kind"),
    [
        (lambda chain: [], "there is no set", "internal"),
        (lambda chain: chain[1:], "set b needs the sets a, b, and here are b", "parse"),
        (lambda chain: chain[::-1], "set a needs the sets a, and here are b, a", "parse"),
        (
            lambda chain: [(chain[0][0], dataclasses.replace(chain[0][1], pg=None)), chain[1]],
            "set a was not made by the driver native",
            "internal",
        ),
        (
            lambda chain: [chain[0], (chain[1][0], dataclasses.replace(chain[1][1], pg=None))],
            "set b holds no database",
            "internal",
        ),
        (
            lambda chain: [
                (chain[0][0], dataclasses.replace(chain[0][1], pg=dataclasses.replace(PG, system_identifier="8"))),
                chain[1],
            ],
            "set a is of another cluster than set b",
            "parse",
        ),
        (lambda chain: [("/nonexistent", chain[0][1]), chain[1]], "of set a, which it needs, cannot be read", "parse"),
    ],
)
def test_a_chain_that_is_broken_is_refused(
    tmp_path: pathlib.Path, spoil: t.Callable[[driver.Chain], driver.Chain], words: str, kind: str
) -> None:
    chain = [link(tmp_path, "a"), link(tmp_path, "b", "a")]
    with pytest.raises(BackupError, match=re.escape(words)) as caught:
        driver.check_chain(spoil(chain), "native")
    assert caught.value.kind == kind


def test_a_file_that_lost_its_end_or_became_a_link_is_seen(tmp_path: pathlib.Path) -> None:
    chain = [link(tmp_path, "a")]
    path = tmp_path / "a/db/file"
    path.write_bytes(b"1234")
    with pytest.raises(BackupError, match="db/file of set a has 4 bytes and had 5"):
        driver.check_chain(chain, "native")
    path.unlink()
    (tmp_path / "a/db/other").write_bytes(b"12345")
    path.symlink_to("other")
    assert path.stat(follow_symlinks=False).st_size == path.stat().st_size
    with pytest.raises(BackupError, match="db/file of set a has 0 bytes and had 5"):
        driver.check_chain(chain, "native")


def test_another_drivers_set_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(BackupError, match="set a was not made by the driver logical"):
        driver.check_chain([link(tmp_path, "a")], "logical")


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (BackupError("internal", "zstd ended with code 1", {"code": 1}), "parse", "set a is damaged: zstd ended"),
        # None of these is the set's fault.
        (BackupError("internal", "tar ended with code 2", {"code": 2, "no_space": True}), "internal", "tar ended"),
        (BackupError("internal", "tar was killed by SIGKILL", {"code": -9}), "internal", "tar was killed"),
        (BackupError("missing_tool", "zstd is not installed"), "missing_tool", "zstd is not"),
    ],
)
def test_only_what_the_set_is_to_blame_for_is_its_damage(error: BackupError, kind: str, message: str) -> None:
    with pytest.raises(BackupError, match=message) as caught, driver.as_damage("a"):
        raise error
    assert caught.value.kind == kind


def test_files_are_listed_with_lengths_and_checksums(tmp_path: pathlib.Path) -> None:
    link(tmp_path, "a")
    (tmp_path / "a/db/sub").mkdir()
    (tmp_path / "a/db/sub/empty").touch()
    (tmp_path / "a/other").touch()
    found = driver.entries(str(tmp_path / "a"), "db", Deadline(5))
    assert [(entry.path, entry.bytes) for entry in found] == [("db/file", 5), ("db/sub/empty", 0)]
    assert found[0].sha256 == hashlib.sha256(b"12345").hexdigest()
    with pytest.raises(ProbeFailure, match="reading .*db/file: no answer"):
        driver.entries(str(tmp_path / "a"), "db", Deadline(0))


# --- a copied data directory


def test_a_copy_forgets_whom_its_source_followed(tmp_path: pathlib.Path) -> None:
    (tmp_path / "standby.signal").touch()
    (tmp_path / "postmaster.pid").write_text("1\n")
    before = "shared_buffers = '1GB'\nprimary_conninfo = 'host=db1'\nrecovery_target_time = '2001-01-01'\n"
    (tmp_path / "postgresql.auto.conf").write_text(before)
    driver.prepare(str(tmp_path), {"restore_command": "cp 'a\\b'", "recovery_target": "immediate"}, Runner())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["postgresql.auto.conf", "recovery.signal"]
    text = (tmp_path / "postgresql.auto.conf").read_text()
    assert text.startswith(before)
    last: dict[str, str] = {}
    for name, value in re.findall(r"^(\w+) = (.*)$", text, re.MULTILINE):
        last[name] = value
    assert last == {
        "shared_buffers": "'1GB'",
        **{name: f"'{value}'" for name, value in driver.RECOVERY.items()},
        "recovery_target": "'immediate'",
        "restore_command": "'cp ''a\\\\b'''",
    }
    # A target may be set only when every other one has been taken back.
    assert text.index("recovery_target_time = ''") < text.index("recovery_target = 'immediate'")
    assert (tmp_path / "postgresql.auto.conf").stat().st_mode & 0o777 == 0o600
