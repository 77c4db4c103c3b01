"""Files, directories and links: whole or not at all, and never through a link of somebody else's."""

from __future__ import annotations

import errno
import os

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils import _files as files

ME, MINE = os.getuid(), os.getgid()


@pytest.mark.parametrize(
    ("before", "content", "after"),
    [
        ("a\n", "b\nc\n", "a\n# BEGIN x\nb\nc\n# END x\n"),
        ("a\n# BEGIN x\nold\n# END x\nz\n", "new", "a\n# BEGIN x\nnew\n# END x\nz\n"),
        ("a\n# BEGIN x\nold\n# END x\nz\n", "", "a\nz\n"),
        ("a\nz\n", "", "a\nz\n"),
        ("without end", "b", "without end\n# BEGIN x\nb\n# END x\n"),
        ("# BEGIN y\nother\n# END y\n", "b", "# BEGIN y\nother\n# END y\n# BEGIN x\nb\n# END x\n"),
    ],
)
def test_a_block_leaves_the_rest_of_the_file(before, content, after):
    assert files.with_block(before, "x", content) == after
    assert files.with_block(after, "x", content) == after


@pytest.mark.parametrize("text", ["# BEGIN x\n", "# END x\n# BEGIN x\n", "# BEGIN x\n# END x\n# BEGIN x\n# END x\n"])
def test_marks_that_do_not_fit_are_left_to_a_person(text):
    with pytest.raises(files.FilesError, match="both be there once"):
        files.with_block(text, "x", "b")


def test_a_file_is_replaced_whole_with_its_mode(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    files.replace(str(path), b"new", ME, MINE, 0o640)
    assert files.look(str(path)) == files.Found("file", b"new", None, ME, MINE, 0o640)
    assert [item.name for item in tmp_path.iterdir()] == ["a"]


def test_a_file_that_is_a_mount_is_written_in_place(tmp_path, monkeypatch):
    path = tmp_path / "hosts"
    path.write_text("a much longer text than the new one")
    inode = path.stat().st_ino

    def busy(dummy_source, dummy_target):
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(files.os, "replace", busy)
    files.replace(str(path), b"new\n", ME, MINE, 0o644)
    assert path.read_text() == "new\n" and path.stat().st_ino == inode
    assert [item.name for item in tmp_path.iterdir()] == ["hosts"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("old")

    def full(dummy):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.replace(str(path), b"new", ME, MINE, 0o644)
    assert path.read_text() == "old" and [item.name for item in tmp_path.iterdir()] == ["a"]


def test_a_directory_gets_parents_that_all_can_read_whatever_the_umask_is(tmp_path):
    old = os.umask(0o077)
    try:
        files.make_directory(str(tmp_path / "a/b/c"), ME, MINE, 0o750)
    finally:
        os.umask(old)
    modes = [files.look(str(tmp_path / name)).mode for name in ("a", "a/b", "a/b/c")]
    assert modes == [0o755, 0o755, 0o750]


def test_a_directory_gets_its_mode_back(tmp_path):
    path = tmp_path / "a"
    path.mkdir(0o777)
    files.make_directory(str(path), ME, MINE, 0o750)
    assert files.look(str(path)).mode == 0o750


def test_a_link_that_somebody_put_in_the_way_is_not_followed(tmp_path, monkeypatch):
    victim, path = tmp_path / "etc", tmp_path / "media"
    victim.mkdir(0o755)
    path.symlink_to(victim)
    monkeypatch.setattr(
        files, "look", lambda path, read=True: files.Found("link", None, str(victim), 1234, 1234, 0o777)
    )
    with pytest.raises(files.FilesError, match="root did not make"):
        files.make_directory(str(path), ME, MINE, 0o700)
    # Nor when it takes the directory's place after somebody looked.
    monkeypatch.setattr(files, "look", lambda path, read=True: files.Found("directory", None, None, ME, MINE, 0o755))
    with pytest.raises(OSError, match="directory|symbolic"):
        files.make_directory(str(path), ME, MINE, 0o700)
    assert victim.stat().st_mode & 0o777 == 0o755


def test_a_link_is_turned_in_one_step(tmp_path):
    path = tmp_path / "localtime"
    path.write_text("a file that was copied")
    files.make_link(str(path), "/usr/share/zoneinfo/Etc/UTC")
    assert files.look(str(path)).target == "/usr/share/zoneinfo/Etc/UTC"
    assert [item.name for item in tmp_path.iterdir()] == ["localtime"]
