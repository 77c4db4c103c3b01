"""Units and their files: what is stale, what nobody asked for, and what systemd says of it."""

from __future__ import annotations

import os

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils import _units
from ansible_collections.matrixon.ops.plugins.module_utils._command import Finished
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure

STARTED = 1795495198.39399
BLOCK = """\
MainPID={pid}
Result=success
ExecMainStartTimestamp={started}
Id={name}
Names={names}
LoadState=loaded
ActiveState={active}
SubState=running
FragmentPath=/etc/systemd/system/{name}
UnitFileState={enabled}
NeedDaemonReload=no
"""


def block(name, pid=70, started="Tue 2026-11-24 04:39:58.393990 UTC", active="active", enabled="enabled", names=""):
    return BLOCK.format(name=name, names=names or name, pid=pid, started=started, active=active, enabled=enabled)


class Systemctl:
    """Answers as systemctl does, and keeps what it was asked."""

    def __init__(self, show="", listing="", code=0, err=""):
        self.show, self.listing, self.code, self.err = show, listing, code, err
        self.asked = []

    def __call__(self, argv, deadline):
        self.asked.append(argv)
        return Finished(self.code, self.show if argv[1] == "show" else self.listing, self.err)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Tue 2026-11-24 04:39:58.393990 UTC", STARTED),
        ("Tue 2026-11-24 04:39:58 UTC", 1795495198.0),
        ("", None),
        ("n/a", None),
    ],
)
def test_a_time_is_read_with_its_microseconds(text, expected):
    assert _units.parse_timestamp(text) == (expected and pytest.approx(expected, abs=1e-6))


@pytest.mark.parametrize("text", ["Tue 2026-11-24 04:39:58 CET", "yesterday", "Tue 2026-13-24 04:39:58 UTC"])
def test_a_time_that_is_not_understood_is_a_failure_not_a_guess(text):
    with pytest.raises(ProbeFailure, match="not understood"):
        _units.parse_timestamp(text)


def test_a_file_is_newer_by_its_own_time_and_a_link_too(tmp_path):
    target, link, old = tmp_path / "target", tmp_path / "current", tmp_path / "old"
    target.write_text("")
    old.write_text("")
    link.symlink_to(target)
    os.utime(target, (STARTED - 10, STARTED - 10))
    os.utime(old, (STARTED, STARTED))
    os.utime(link, (STARTED + 0.001, STARTED + 0.001), follow_symlinks=False)
    files = [str(target), str(link), str(old), str(tmp_path / "missing")]
    assert _units.newer_files(STARTED, files) == [str(link)]
    assert _units.newer_files(None, files) == []


def test_a_link_is_not_judged_by_what_it_leads_to(tmp_path):
    target, link = tmp_path / "target", tmp_path / "current"
    target.write_text("")
    link.symlink_to(target)
    os.utime(link, (STARTED - 1, STARTED - 1), follow_symlinks=False)
    assert _units.newer_files(STARTED, [str(link)]) == []


def observe(tmp_path, pid=70, age=5.0, **more):
    path = tmp_path / "a.yaml"
    path.write_text("")
    os.utime(path, (STARTED + age, STARTED + age))
    runner = Systemctl(show=block("a.service", pid=pid, **more))
    units, others = _units.observe([{"name": "a.service", "files": [str(path)]}], [], Deadline(5), runner)
    assert others == []
    return units[0]


def test_a_running_unit_with_a_newer_file_is_stale(tmp_path):
    unit = observe(tmp_path)
    assert unit["stale"] and unit["changed_files"] == [str(tmp_path / "a.yaml")]
    assert (unit["main_pid"], unit["enabled"], unit["active"]) == (70, True, "active")
    assert unit["started"] == pytest.approx(STARTED)


def test_a_running_unit_with_an_older_file_is_not(tmp_path):
    assert not observe(tmp_path, age=-5)["stale"]


def test_a_unit_without_a_process_is_not_stale_but_not_active(tmp_path):
    unit = observe(tmp_path, pid=0, active="inactive", enabled="disabled")
    assert (unit["stale"], unit["active"], unit["enabled"]) == (False, "inactive", False)


def test_all_units_are_asked_for_in_one_call():
    runner = Systemctl(show="\n".join(block(f"{name}.service") for name in "abc"))
    units, _others = _units.observe([{"name": f"{name}.service"} for name in "abc"], [], Deadline(5), runner)
    assert [unit["name"] for unit in units] == ["a.service", "b.service", "c.service"]
    assert len(runner.asked) == 1


def test_nothing_asked_for_asks_nothing():
    runner = Systemctl()
    assert _units.observe([], [], Deadline(5), runner) == ([], [])
    assert runner.asked == []


def test_a_unit_is_found_under_the_name_it_was_asked_for():
    runner = Systemctl(show=block("sshd.service", names="ssh.service sshd.service"))
    units, _others = _units.observe([{"name": "ssh"}], [], Deadline(5), runner)
    assert units[0]["name"] == "ssh"


def test_a_unit_that_systemctl_passes_over_is_a_failure():
    with pytest.raises(ProbeFailure, match="said nothing about b.service"):
        _units.observe([{"name": "b.service"}], [], Deadline(5), Systemctl(show=block("a.service")))


@pytest.mark.parametrize("verb", ["show", "list-units"])
def test_what_systemctl_complains_of_is_said(verb):
    runner = Systemctl(code=1, err="Failed to connect to bus")
    patterns = ["w@*.service"] if verb == "list-units" else []
    with pytest.raises(ProbeFailure, match=f"{verb} failed: Failed to connect to bus"):
        _units.observe([{"name": "a.service"}], patterns, Deadline(5), runner)


def test_units_that_fit_are_found_loaded_enabled_or_by_their_file(tmp_path):
    directory = tmp_path / "etc/systemd/system"
    wants = directory / "multi-user.target.wants"
    wants.mkdir(parents=True)
    (directory / "w@.service").write_text("")
    (directory / "main.service").write_text("")
    (directory / "other.service").write_text("")
    (wants / "w@two.service").symlink_to(directory / "w@.service")
    listing = "w@one.service loaded active running A worker\nw@two.service loaded inactive dead Another\n"
    runner = Systemctl(listing=listing)
    found = _units.matching(["main.service", "w@*.service"], Deadline(5), runner, str(tmp_path))
    # The template itself is no unit that could run.
    assert found == ["main.service", "w@one.service", "w@two.service"]


def test_a_unit_that_was_asked_for_is_none_of_the_others():
    listing = "w@one.service loaded active running A worker\nw@two.service loaded active running Another\n"
    runner = Systemctl(show=block("w@one.service") + "\n" + block("w@two.service"), listing=listing)
    units, others = _units.observe([{"name": "w@one.service"}], ["w@*.service"], Deadline(5), runner)
    assert [unit["name"] for unit in units] == ["w@one.service"]
    assert [unit["name"] for unit in others] == ["w@two.service"]
