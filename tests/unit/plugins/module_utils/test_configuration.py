"""A configuration of several files: refused whole, or put in place whole."""

from __future__ import annotations

import os
import sys

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils import _configuration
from ansible_collections.matrixon.ops.plugins.module_utils._configuration import Entry, Owner, Refused

ME = Owner(os.getuid(), os.getgid())
SAYS_YES = [sys.executable, "-c", "pass"]


def entry(path="a.yaml", content=b"a: 1\n", mode=0o640, secret=False):
    return Entry(path, content, mode, secret)


def put(root, entries, checks=()):
    found = _configuration.differences(str(root), entries, ME)
    if found and checks:
        _configuration.check(str(root), entries, checks, ME)
    _configuration.apply(str(root), found, ME, 0o750)
    return found


def test_files_come_with_their_directories_and_modes(tmp_path):
    root = tmp_path / "etc"
    put(root, [entry(), entry("secrets/key", b"k\n", 0o600)])
    assert (root / "secrets/key").read_bytes() == b"k\n"
    modes = {path: (root / path).stat().st_mode & 0o7777 for path in ("", "secrets", "a.yaml", "secrets/key")}
    assert modes == {"": 0o750, "secrets": 0o750, "a.yaml": 0o640, "secrets/key": 0o600}


def test_what_is_right_is_left_alone(tmp_path):
    put(tmp_path, [entry()])
    before = (tmp_path / "a.yaml").stat().st_mtime_ns
    assert put(tmp_path, [entry()]) == []
    assert (tmp_path / "a.yaml").stat().st_mtime_ns == before


def test_a_wrong_mode_is_mended_without_a_new_time(tmp_path):
    # Its time says which processes have not read it yet.
    put(tmp_path, [entry()])
    path = tmp_path / "a.yaml"
    path.chmod(0o666)
    os.utime(path, (1, 1))
    (found,) = put(tmp_path, [entry()])
    assert (found.content, found.attributes) == (False, True)
    assert path.stat().st_mode & 0o7777 == 0o640
    assert path.stat().st_mtime == 1


def test_a_refused_set_changes_nothing_and_leaves_no_copies(tmp_path):
    put(tmp_path, [entry(), entry("b.yaml")])
    bad = [sys.executable, "-c", "import sys; sys.exit('b is no good')"]
    with pytest.raises(Refused, match="b is no good"):
        put(tmp_path, [entry(content=b"new\n"), entry("b.yaml", b"bad\n")], [SAYS_YES, bad])
    assert (tmp_path / "a.yaml").read_bytes() == b"a: 1\n"
    assert sorted(os.listdir(tmp_path)) == ["a.yaml", "b.yaml"]


def test_the_checks_see_the_new_set_whole_under_its_own_paths(tmp_path):
    text = f"include {tmp_path}/b.yaml and {tmp_path}/b.yaml.old and {tmp_path}/other\n".encode()
    looks = (
        "import sys, pathlib; a, b, own, other = sys.argv[1:];"
        "text = pathlib.Path(a).read_text();"
        "words = text.split();"
        "assert pathlib.Path(words[1]).read_text() == 'new', words;"
        "assert words[3] == other + '/b.yaml.old' and words[5] == other + '/other', words"
    )
    argv = [sys.executable, "-c", looks, "{root}/a", "{root}/b.yaml", "x", str(tmp_path)]
    put(tmp_path, [entry("a", text), entry("b.yaml", b"new")], [argv])
    # What is put in place names the real paths.
    assert (tmp_path / "a").read_bytes() == text


def test_a_complaint_names_the_real_path_and_no_secret(tmp_path):
    shouts = "import sys; sys.exit(open(sys.argv[1]).read() + ' in ' + sys.argv[1])"
    entries = [entry(), entry("secrets.yaml", b"database:\n  password: hunter2hunter2\n", secret=True)]
    with pytest.raises(Refused) as caught:
        _configuration.check(str(tmp_path), entries, [[sys.executable, "-c", shouts, "{root}/secrets.yaml"]], ME)
    message = str(caught.value)
    assert "hunter2" not in message and f"in {tmp_path}/secrets.yaml" in message
    assert "matrixon-check" not in message


def test_of_a_traceback_the_cause_is_told():
    err = (
        "Traceback (most recent call last):\n"
        '  File "/a.py", line 1, in read\n    self.size = parse(config.get("max_size"))\n'
        '  File "/b.py", line 2, in parse\n    return int(value)\n'
        "ValueError: invalid literal: 'lots'\n"
    )
    said = _configuration.complaint(err, "")
    assert said.startswith("ValueError: invalid literal: 'lots'") and 'config.get("max_size")' in said
    assert "Traceback" not in said


def test_words_of_a_program_are_told_as_they_are():
    assert _configuration.complaint("\nError in configuration:\n  no such key\n", "x") == (
        "Error in configuration:\n  no such key"
    )
    assert _configuration.complaint("", "only here\n") == "only here"


def test_a_check_that_cannot_start_or_does_not_end_refuses(tmp_path):
    with pytest.raises(Refused, match="could not be started"):
        _configuration.check(str(tmp_path), [entry()], [["/nonexistent/program"]], ME)
    with pytest.raises(Refused, match="did not end within 0.2 s"):
        _configuration.check(
            str(tmp_path), [entry()], [[sys.executable, "-c", "import time; time.sleep(9)"]], ME, timeout=0.2
        )


def test_a_directory_in_the_way_is_named(tmp_path):
    (tmp_path / "a.yaml").mkdir()
    with pytest.raises(Refused, match=r"a\.yaml is not a file"):
        _configuration.differences(str(tmp_path), [entry()], ME)
