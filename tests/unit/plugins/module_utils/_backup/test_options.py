"""Which driver the options mean, and where its repository is."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import options as shared
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.restic import Restic
from ansible_collections.matrixon.ops.plugins.module_utils._backup.store import Store


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
    return Store(str(tmp_path / "root"), "fleet", "db1")


def secret(path: pathlib.Path, content: str) -> str:
    path.write_text(content)
    path.chmod(0o600)
    return str(path)


def made(store: Store, tmp_path: pathlib.Path, environment: str | None, **options: t.Any) -> Restic:
    files = {
        "password_file": secret(tmp_path / "password", "long enough\n"),
        "environment_file": secret(tmp_path / "environment", environment) if environment is not None else None,
    }
    driver = shared.media_driver("restic", {"repository": None, **files, **options}, store)
    assert isinstance(driver, Restic)
    return driver


def test_the_repository_is_the_stores_own_unless_something_names_another(store: Store, tmp_path: pathlib.Path) -> None:
    usual = f"{store.path}/media"
    elsewhere = secret(tmp_path / "address", "/mnt/far/restic\n")
    assert made(store, tmp_path, None)._address() == usual
    assert made(store, tmp_path, "AWS_ACCESS_KEY_ID=x\n")._address() == usual
    assert made(store, tmp_path, "RESTIC_REPOSITORY=/mnt/restic\n")._address() == "/mnt/restic"
    assert made(store, tmp_path, f"RESTIC_REPOSITORY_FILE={elsewhere}\n")._address() == "/mnt/far/restic"
    assert made(store, tmp_path, "A=b\n", repository="/srv/restic")._address() == "/srv/restic"


def test_the_environment_file_is_enough_to_back_up(store: Store, tmp_path: pathlib.Path) -> None:
    driver = made(store, tmp_path, "RESTIC_REPOSITORY=/mnt/restic\n")
    assert not [problem for problem in driver.problems(None) if "repository" in problem]


def test_two_repositories_are_still_refused(store: Store, tmp_path: pathlib.Path) -> None:
    driver = made(store, tmp_path, "RESTIC_REPOSITORY=/mnt/restic\n", repository="/srv/restic")
    assert any("sets RESTIC_REPOSITORY, too; leave one of them out" in problem for problem in driver.problems(None))


def test_an_environment_file_that_others_read_is_refused(store: Store, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "open"
    path.write_text("RESTIC_REPOSITORY=/mnt/restic\n")
    path.chmod(0o644)
    with pytest.raises(BackupError, match="environment_file: others than its owner have rights"):
        made(store, tmp_path, None, environment_file=str(path))
