"""A directory that cannot be read is told, and never passed over as one without files."""

from __future__ import annotations

import errno
import os
import pathlib
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import archive, drill, driver, restic
from ansible_collections.matrixon.ops.plugins.module_utils._probe import AUTH, Deadline, ProbeFailure

WALKS: dict[str, t.Callable[[pathlib.Path], t.Any]] = {
    "the files of a set": lambda path: driver.entries(str(path), ".", Deadline(10)),
    "special files that came back": lambda path: restic._drop_special(os.fsencode(path)),
    "what came back": lambda path: restic._counted(os.fsencode(path), Deadline(10)),
    "the size of a drill": lambda path: drill.tree_bytes(str(path)),
    "what was set aside": lambda path: archive.set_aside(str(path)),
}


@pytest.fixture
def closed(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A directory below that the system does not let us read, whoever runs this."""
    path = str(tmp_path / archive.ASIDE / "closed")
    os.makedirs(path)
    (tmp_path / archive.ASIDE / "seen").write_text("seen")
    scandir = os.scandir

    def refuse(given: t.Any) -> t.Any:
        if os.fsdecode(given).endswith("/closed"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), given)
        return scandir(given)

    monkeypatch.setattr(os, "scandir", refuse)
    return path


@pytest.mark.parametrize("name", WALKS)
def test_a_directory_that_cannot_be_read_is_told(tmp_path: pathlib.Path, closed: str, name: str) -> None:
    with pytest.raises(ProbeFailure) as caught:
        WALKS[name](tmp_path)
    path = caught.value.message.partition(" cannot be read: Permission denied")[0].replace("/./", "/")
    assert path == closed and caught.value.kind == AUTH


def test_an_archive_from_which_nothing_was_set_aside_has_nothing(tmp_path: pathlib.Path) -> None:
    assert archive.set_aside(str(tmp_path)) == {}
