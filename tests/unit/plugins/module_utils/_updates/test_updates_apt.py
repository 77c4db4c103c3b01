"""What apt, dpkg and needrestart print, and what becomes of it."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import Tools
from ansible_collections.matrixon.ops.plugins.module_utils._command import Finished
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._updates import apt

SIMULATED = """\
Reading package lists...
The following packages have been kept back:
  ops-beta ops-held
The following upgrades have been deferred due to phasing:
  base-files
  motd-news
The following NEW packages will be installed:
  linux-image-6.1.0-32
2 upgraded, 1 newly installed, 1 to remove and 2 not upgraded.
Remv old-tool [1.0]
Inst ops-alpha [1] (2 Tests:local-security [all])
Inst linux-image-6.1.0-32 (6.1.129 Debian-Security:12/stable-security [amd64])
Inst libc6:i386 [2.36] (2.37 Debian:12/stable [i386]) []
Conf ops-alpha (2 Tests:local-security [all])
"""
# Takes a lock as dpkg does, says so, and waits to be told to go.
HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "wb")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_simulation_names_what_comes_what_goes_and_what_waits() -> None:
    found = apt.parse_simulation(SIMULATED)
    assert found.installs == {"ops-alpha": "2", "linux-image-6.1.0-32": "6.1.129", "libc6": "2.37"}
    assert found.removes == ["old-tool"]
    assert found.deferred == ["base-files", "motd-news"]


def test_dpkg_tells_what_is_held_and_what_is_not_finished() -> None:
    text = "good\tii \t1\nheld\thi \t2\nhalf\tiF \t3\ngone\trc \t4\nbroken\tiiR\t5\nwaits\tit \t6\n"
    found = apt.parse_packages(text)
    assert found["versions"] == {"good": "1", "held": "2", "half": "3", "broken": "5", "waits": "6"}
    assert found["held"] == ["held"]
    assert found["unfinished"] == ["half is half-configured", "broken must be installed again"]
    with pytest.raises(ProbeFailure, match="not understood"):
        apt.parse_packages("dpkg-query: something else")


def test_a_run_of_dpkg_that_was_cut_off_is_seen(tmp_path: pathlib.Path) -> None:
    tools = Tools(root=str(tmp_path), runner=lambda argv, deadline: Finished(0, "good\tii \t1\n", ""))
    journal = tmp_path / "var/lib/dpkg/updates"
    journal.mkdir(parents=True)
    (journal / "tmp.i").touch()
    assert not apt.probe_packages(tools, Deadline(5))["cut_off"]
    (journal / "0001").touch()
    assert apt.probe_packages(tools, Deadline(5))["cut_off"]


def test_archives_are_told_from_their_lists() -> None:
    text = (
        "'http://deb.example.com/dists/a/InRelease' deb.example.com_dists_a_InRelease 0 \n"
        "'http://deb.example.com/dists/a/main/binary-amd64/Packages.xz' deb.example.com_dists_a_main_Packages 0 \n"
    )
    assert apt.parse_indexes(text) == [
        ("http://deb.example.com/dists/a/InRelease", "deb.example.com_dists_a_InRelease")
    ]


def test_needrestart_in_batch_mode() -> None:
    text = (
        "NEEDRESTART-VER: 3.6\nNEEDRESTART-KCUR: 6.1.0-31-amd64\nNEEDRESTART-KEXP: 6.1.0-32-amd64\n"
        "NEEDRESTART-KSTA: 3\n"
        "NEEDRESTART-SVC: ssh.service\nNEEDRESTART-SVC: cron.service\nNEEDRESTART-SESS: someone @ session 1\n"
    )
    found = apt.parse_needrestart(text)
    assert found["services"] == ["cron.service", "ssh.service"]
    assert (found["kernel_running"], found["kernel_state"]) == ("6.1.0-31-amd64", "3")
    # A container has no kernel of its own.
    assert apt.parse_needrestart("NEEDRESTART-VER: 3.11\n")["kernel_state"] == ""
    with pytest.raises(ProbeFailure, match="batch format"):
        apt.parse_needrestart("")


def test_the_holder_of_a_lock_is_named_and_a_free_lock_is_waited_for(tmp_path: pathlib.Path) -> None:
    lock = tmp_path / apt.LOCKS[0]
    lock.parent.mkdir(parents=True)
    lock.touch()
    tools = Tools(root=str(tmp_path))
    assert apt.probe_locks(tools, Deadline(5), 0, lambda seconds: None)["holders"] == []
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        (found,) = apt.probe_locks(tools, Deadline(5), 0, lambda seconds: None)["holders"]
        assert (found["path"], found["pid"]) == ("/var/lib/dpkg/lock-frontend", holder.pid)
        assert found["process"].startswith("python")

        def let_go(seconds: float) -> None:
            holder.communicate(timeout=10)

        assert apt.probe_locks(tools, Deadline(60), 30, let_go)["holders"] == []
    finally:
        holder.kill()
        holder.wait()


def test_a_login_in_an_address_is_not_shown(tmp_path: pathlib.Path) -> None:
    def runner(argv: list[str], deadline: Deadline) -> Finished:
        if "--print-uris" in argv:
            return Finished(0, "'https://me:hidden@deb.example.com/dists/a/InRelease' x_InRelease 0 \n", "")
        return Finished(100, "", "E: Failed to fetch")

    (found,) = apt.probe_mirrors(Tools(root=str(tmp_path), runner=runner), Deadline(5), 2)
    assert (found.uri, found.answered) == ("https://deb.example.com/dists/a/InRelease", False)
