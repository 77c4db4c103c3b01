"""A set of files: what differs, and what is refused before anything is touched."""

from __future__ import annotations

import grp
import os
import pwd

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._files import FilesError, Found
from ansible_collections.matrixon.ops.plugins.modules import matrixon_files as module

ME, MINE = os.getuid(), os.getgid()
DEFAULTS = {
    "state": "present",
    "content": None,
    "block": None,
    "target": None,
    "owner": pwd.getpwuid(ME).pw_name,
    "group": grp.getgrgid(MINE).gr_name,
    "mode": None,
    "validate": None,
}


def entry(path, **options):
    return {**DEFAULTS, "path": str(path), **options}


def settle(item):
    """Apply an entry, and see that nothing is left to do."""
    change = module.compare(item)
    assert change is not None
    module.apply(change)
    assert module.compare(item) is None


def test_each_kind_is_made_and_then_left_alone(tmp_path):
    settle(entry(tmp_path / "new/file", content="a\n"))
    settle(entry(tmp_path / "new/directory", mode="0750"))
    settle(entry(tmp_path / "new/link", target=str(tmp_path / "new/file")))
    settle(entry(tmp_path / "new/file", state="absent"))
    assert module.compare(entry(tmp_path / "never", state="absent")) is None


@pytest.mark.parametrize("drift", ["content", "mode"])
def test_drift_is_put_right(tmp_path, drift):
    path = tmp_path / "file"
    settle(entry(path, content="a\n", mode="0640"))
    path.write_text("b\n") if drift == "content" else path.chmod(0o666)
    settle(entry(path, content="a\n", mode="0640"))
    assert path.read_text() == "a\n" and path.stat().st_mode & 0o777 == 0o640


def test_a_block_keeps_mode_and_rest_of_the_file(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("127.0.0.1 localhost\n")
    path.chmod(0o664)
    settle(entry(path, content="10.0.0.1 a\n", block="x"))
    assert path.stat().st_mode & 0o777 == 0o664
    settle(entry(path, content="", block="x"))
    assert path.read_text() == "127.0.0.1 localhost\n"


def test_a_directory_is_not_given_up_for_a_file(tmp_path):
    (tmp_path / "a").mkdir()
    for options in ({"content": "x"}, {"target": "/etc"}, {"state": "absent"}):
        with pytest.raises(FilesError, match="a directory is there"):
            module.compare(entry(tmp_path / "a", **options))


def test_a_file_is_not_given_up_for_a_directory(tmp_path):
    (tmp_path / "a").write_text("precious")
    with pytest.raises(FilesError, match="a file is there and a directory is wanted"):
        module.compare(entry(tmp_path / "a"))


def test_a_link_that_leads_nowhere_is_refused(tmp_path):
    item = entry(tmp_path / "a", target=str(tmp_path / "nowhere"))
    with pytest.raises(FilesError, match="does not exist"):
        module.compare(item)
    # In check mode the package that brings it may still be missing.
    assert module.compare(item, lenient=True) is not None


def test_a_user_that_is_missing_is_refused_but_in_check_mode(tmp_path):
    item = entry(tmp_path / "a", owner="nobody-has-this-name")
    with pytest.raises(FilesError, match="nobody-has-this-name"):
        module.compare(item)
    change = module.compare(item, lenient=True)
    assert change is not None and change.wanted == Found("directory", None, None, -1, MINE, 0o755)


def test_a_link_by_root_stands_for_the_directory(tmp_path, monkeypatch):
    volume, path = tmp_path / "volume", tmp_path / "media"
    volume.mkdir(0o755)
    path.symlink_to(volume)
    for owner in (0, 1234):
        monkeypatch.setattr(
            module, "look", lambda path, owner=owner: Found("link", None, str(volume), owner, owner, 0o777)
        )
        if owner:
            with pytest.raises(FilesError, match="root did not make"):
                module.compare(entry(path, mode="0755"))
        else:
            assert module.compare(entry(path, mode="0755")) is None


def test_a_mode_that_is_no_mode_is_refused(tmp_path):
    with pytest.raises(FilesError, match="octal"):
        module.compare(entry(tmp_path / "a", mode="rwx"))
