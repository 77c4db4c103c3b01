"""What decides about a configuration of pgBackRest before and after it is written."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import pwd
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import pgbackrest_settings as settings
from ansible_collections.matrixon.ops.plugins.module_utils._backup import pgbackrest_setup as setup
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError

NEAR = settings.Repository("/srv/near")
FAR = settings.Repository("/fleet", settings.ObjectStore("backup", "s3.example.org"))
BEFORE = settings.Settings("main", "/var/lib/postgresql/17/main", (NEAR, FAR))


@pytest.mark.parametrize(("version", "good"), [((2, 45), False), ((2, 54, 9), False), ((2, 55), True), ((2, 59), True)])
def test_only_an_old_version_is_refused(version: tuple[int, ...], good: bool) -> None:
    problem = setup.too_old(version)
    assert (problem is None) is good
    if problem:
        assert "2.55 or later is needed" in problem and "use the driver native" in problem


def test_only_a_repository_that_had_the_stanza_has_lost_it() -> None:
    before = settings.render(BEFORE)
    assert setup.lost(before, before, [1, 2], 7, "main") == [1, 2]
    # The server has not archived yet: the first run was ended between the files and the stanza.
    assert setup.lost(before, before, [1, 2], 0, "main") == []
    assert setup.lost("", before, [1], 7, "main") == []
    assert setup.lost(before, before, [1], 7, "other") == []
    # Another place under the same number is a new repository.
    moved = settings.render(dataclasses.replace(BEFORE, repositories=(settings.Repository("/srv/new"), FAR)))
    assert setup.lost(before, moved, [1, 2], 7, "main") == [2]
    bucket = dataclasses.replace(FAR, store=settings.ObjectStore("another", "s3.example.org"))
    moved = settings.render(dataclasses.replace(BEFORE, repositories=(NEAR, bucket)))
    assert setup.lost(before, moved, [1, 2], 7, "main") == [1]


@pytest.fixture
def options(tmp_path: pathlib.Path) -> dict[str, t.Any]:
    place = {"path": str(tmp_path / "repository"), "encrypted": True, "passphrase": "a-passphrase-that-is-long"}
    return {
        "stanza": "main",
        "data_directory": "/var/lib/postgresql/17/main",
        "socket": str(tmp_path),
        "port": 5432,
        "user": "postgres",
        "owner": pwd.getpwuid(os.geteuid()).pw_name,
        "repositories": [{**place, "s3": None}],
        "compression": "zst",
        "compression_level": 3,
        "processes": 2,
        "asynchronous": True,
        "spool": str(tmp_path / "spool"),
        "log_directory": str(tmp_path / "log"),
        "configuration": str(tmp_path / "etc"),
        "deadline": 20.0,
    }


def test_a_dry_run_comes_before_the_tool(
    options: dict[str, t.Any], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    done = setup.run(options, True)
    assert done.changed and done.version is None and "repo1-path" in done.after
    assert "a-passphrase" not in done.after and "would be written" in "; ".join(done.words)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BackupError, match="pgbackrest"):
        setup.run(options, False)
    assert list(tmp_path.iterdir()) == []


def test_what_fails_behind_the_files_brings_the_old_ones_back(
    options: dict[str, t.Any], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "bin/pgbackrest"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho pgBackRest 2.55.1\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / settings.MAIN).write_text("[global]\n# mine\n")
    # There is no server behind this socket.
    with pytest.raises(BackupError):
        setup.run(options, False)
    assert (etc / settings.MAIN).read_text() == "[global]\n# mine\n"
    assert not (etc / settings.SECRETS).exists()


def test_a_link_in_the_place_of_the_secrets_is_not_followed(options: dict[str, t.Any], tmp_path: pathlib.Path) -> None:
    (tmp_path / "etc/conf.d").mkdir(parents=True)
    (tmp_path / "etc" / settings.SECRETS).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BackupError, match="no plain file; move it away"):
        setup.run(options, True)
    assert not (tmp_path / "elsewhere").exists()
