"""The place of a copy that is kept: only our own is ever written over."""

from __future__ import annotations

import os
import pathlib

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import kept
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

RUNNER = Runner()


def hold(place: pathlib.Path, identifier: str = "7") -> list[str]:
    """Hold a place, and return what is in it meanwhile."""
    with kept.hold(str(place), identifier, RUNNER):
        return sorted(os.listdir(place))


def refused(place: pathlib.Path, words: str, identifier: str = "7") -> None:
    before = sorted(os.listdir(place)) if place.is_dir() else None
    with pytest.raises(BackupError, match=words):
        hold(place, identifier)
    assert before is None or sorted(os.listdir(place)) == before


def test_a_place_is_made_and_found_again(tmp_path: pathlib.Path) -> None:
    place = tmp_path / "kept"
    assert hold(place) == [kept.MARKER]
    assert place.stat().st_mode & 0o777 == 0o700 and (place / kept.MARKER).stat().st_mode & 0o777 == 0o600
    (place / kept.DATA).mkdir()
    assert hold(place) == [kept.MARKER, kept.DATA]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert hold(empty) == [kept.MARKER]


def test_two_runs_do_not_write_at_the_same_time(tmp_path: pathlib.Path) -> None:
    place = tmp_path / "kept"
    with kept.hold(str(place), "7", RUNNER):
        refused(place, "another run works in")
    assert hold(place) == [kept.MARKER]


def test_what_is_not_ours_is_left_alone(tmp_path: pathlib.Path) -> None:
    place = tmp_path / "kept"
    place.mkdir()
    (place / "precious").write_text("mine")
    refused(place, "is not empty")
    (place / "precious").unlink()
    hold(place)
    refused(place, "holds a copy of the cluster 7, and the set is of 8", "8")
    (place / "precious").write_text("mine")
    refused(place, "holds precious, which is no copy")
    (place / "precious").unlink()
    (tmp_path / "elsewhere").mkdir()
    (place / kept.DATA).symlink_to(tmp_path / "elsewhere")
    refused(place, "is a symbolic link")
    (place / kept.DATA).unlink()
    link = tmp_path / "link"
    link.symlink_to(place)
    refused(link, "is no directory")


@pytest.mark.parametrize("content", ["", "{}", "[]", "7", "nonsense"])
def test_a_marker_that_nobody_wrote_marks_nothing(tmp_path: pathlib.Path, content: str) -> None:
    (tmp_path / kept.MARKER).write_text(content)
    refused(tmp_path, "was not made for a copy")


def test_a_marker_that_is_a_link_marks_nothing(tmp_path: pathlib.Path) -> None:
    place = tmp_path / "kept"
    hold(place)
    os.rename(place / kept.MARKER, tmp_path / "marker")
    (place / kept.MARKER).symlink_to(tmp_path / "marker")
    refused(place, "cannot be opened")


def test_what_belongs_to_somebody_else_is_not_ours(tmp_path: pathlib.Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    place = tmp_path / "kept"
    hold(place)
    os.chown(place / kept.MARKER, 65534, 65534)
    refused(place, "belongs to somebody else")
    os.chown(place / kept.MARKER, 0, 0)
    os.chown(place, 65534, 65534)
    refused(place, "belongs to somebody else")


def test_a_server_that_runs_on_the_copy_is_not_disturbed(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "kept"
    hold(place)
    data = place / kept.DATA
    data.mkdir()
    monkeypatch.chdir(data)
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n")
    refused(place, f"a server with process {os.getpid()} runs on")


def test_what_is_no_whole_copy_is_none(tmp_path: pathlib.Path) -> None:
    def is_copy() -> bool:
        return kept.is_copy(str(tmp_path), "7", RUNNER, str(tmp_path), Deadline(20))

    tool = tmp_path / "pg_controldata"
    tool.write_text("#!/bin/sh\necho 'Database system identifier:           7'\n")
    tool.chmod(0o755)
    assert not is_copy()
    (tmp_path / "PG_VERSION").write_text("17\n")
    (tmp_path / "postmaster.pid").write_text("1\n")
    assert is_copy() and not (tmp_path / "postmaster.pid").exists()
    tool.write_text("#!/bin/sh\necho 'Database system identifier:           8'\n")
    assert not is_copy()
    tool.write_text("#!/bin/sh\necho 'could not open file' >&2; exit 1\n")
    assert not is_copy()
