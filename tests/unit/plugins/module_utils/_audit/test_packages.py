"""Packages: what apt, debsecan and lynis print, kept from real hosts, and what is made of it."""

from __future__ import annotations

import os
import pathlib

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._audit import packages
from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import NotHere, Tools
from ansible_collections.matrixon.ops.plugins.module_utils._command import Finished
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure

FIXTURES = pathlib.Path(__file__).parents[3] / "fixtures/audit"
DAY = 86400
NOW = 1_800_000_000.0


def ids(seen: packages.Seen) -> dict[str, str]:
    return {finding.id: finding.status for finding in seen.findings}


def test_apt_tells_what_is_pending_and_what_of_it_is_security() -> None:
    found = packages.parse_upgrades((FIXTURES / "apt_list.txt").read_text())
    assert [one.package for one in found] == ["openssl", "tzdata"]
    assert found[0].version == "3.0.22-1~deb12u2" and found[0].installed == "3.0.20-1~deb12u2"
    assert all(one.security for one in found)
    assert not packages.Upgrade("a", "stable,stable-updates", "2", "1").security
    assert packages.Upgrade("a", "stable-updates,stable-security", "2", "1").security


def test_a_line_that_was_not_understood_is_told() -> None:
    with pytest.raises(ProbeFailure, match="not understood"):
        packages.parse_upgrades("Listing...\nopenssl is old\n")


def test_security_updates_are_a_finding_and_others_are_not() -> None:
    upgrades = packages.parse_upgrades((FIXTURES / "apt_list.txt").read_text())
    seen = packages.judge_updates({"age": DAY, "upgrades": upgrades}, 7)
    assert ids(seen) == {"updates-security": "warning"}
    assert seen.findings[0].value == 2
    other = [packages.Upgrade("a", "stable", "2", "1")]
    assert packages.judge_updates({"age": DAY, "upgrades": other}, 7).findings == []


def test_from_old_lists_nothing_follows() -> None:
    old = packages.judge_updates({"age": 7 * DAY + 1, "upgrades": []}, 7)
    assert ids(old) == {"updates-security": "unknown", "updates-lists-age": "warning"}
    upgrades = packages.parse_upgrades((FIXTURES / "apt_list.txt").read_text())
    # What they name is pending all the same.
    assert ids(packages.judge_updates({"age": 8 * DAY, "upgrades": upgrades}, 7))["updates-security"] == "warning"
    assert packages.judge_updates({"age": 7 * DAY, "upgrades": []}, 7).findings == []


def lists(root: pathlib.Path, age: float) -> Tools:
    """A host whose lists were fetched some time ago."""
    folder = root / "var/lib/apt/lists/partial"
    folder.mkdir(parents=True)
    (folder.parent / "deb.example_InRelease").write_text("")
    for path in (folder, folder.parent):
        os.utime(path, (NOW - age, NOW - age))
    calls: list[list[str]] = []

    def runner(argv: list[str], _deadline: Deadline) -> Finished:
        calls.append(argv)
        return Finished(0, (FIXTURES / "apt_list.txt").read_text(), "WARNING: apt does not have a stable CLI")

    return Tools(str(root), runner, NOW)


def test_the_age_of_lists_is_that_of_the_last_update(tmp_path: pathlib.Path) -> None:
    tools = lists(tmp_path, 3 * DAY)
    assert packages.probe_updates(tools, Deadline(5))["age"] == pytest.approx(3 * DAY)
    stamp = tmp_path / "var/lib/apt/periodic/update-success-stamp"
    stamp.parent.mkdir(parents=True)
    stamp.write_text("")
    os.utime(stamp, (NOW - DAY, NOW - DAY))
    assert packages.probe_updates(tools, Deadline(5))["age"] == pytest.approx(DAY)


def test_without_lists_it_is_unknown_and_without_apt_not_asked(tmp_path: pathlib.Path) -> None:
    with pytest.raises(NotHere, match="no apt"):
        packages.probe_updates(Tools(str(tmp_path), now=NOW), Deadline(5))
    (tmp_path / "var/lib/apt/lists").mkdir(parents=True)
    with pytest.raises(ProbeFailure, match="apt update"):
        packages.probe_updates(Tools(str(tmp_path), now=NOW), Deadline(5))


def test_unattended_upgrades_need_the_tool_and_the_setting() -> None:
    values = packages.parse_apt_config((FIXTURES / "apt_config.txt").read_text())
    assert values["APT::Periodic::Unattended-Upgrade"] == "1"
    assert "Unattended-Upgrade::Origins-Pattern::" not in values
    good = {"value": "1", "enabled": "1", "installed": True, "timer": "active"}
    assert packages.judge_unattended(good).findings == []
    for change in ({"installed": False}, {"value": "0"}, {"enabled": "0"}, {"timer": "inactive"}):
        assert ids(packages.judge_unattended({**good, **change})) == {"updates-unattended": "warning"}


@pytest.mark.parametrize(
    ("more", "timer", "weak"),
    [
        ("", "active", set()),
        ('APT::Periodic::Enable "0";\n', "active", {"updates-unattended"}),
        # Stopped, disabled or masked.
        ("", "inactive", {"updates-unattended"}),
    ],
)
def test_apt_that_does_nothing_by_itself(tmp_path: pathlib.Path, more: str, timer: str, weak: set[str]) -> None:
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/apt").mkdir(parents=True)
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/unattended-upgrade").write_text("")
    config = (FIXTURES / "apt_config.txt").read_text() + more
    unit = f"Id={packages.TIMER}\nNames={packages.TIMER}\nLoadState=loaded\nActiveState={timer}\nSubState=dead\n"

    def runner(argv: list[str], _deadline: Deadline) -> Finished:
        return Finished(0, unit if argv[0] == "systemctl" else config, "")

    facts = packages.probe_unattended(Tools(str(tmp_path), runner), Deadline(5))
    assert set(ids(packages.judge_unattended(facts))) == weak


def test_vulnerabilities_that_can_be_mended_come_first() -> None:
    found = packages.parse_vulnerabilities((FIXTURES / "debsecan.txt").read_text())
    assert len(found) == 8 and sum(one.fixed for one in found) == 5
    assert [one.urgency for one in found[:2]] == ["high", "high"] and found[0].fixed
    assert not found[-1].fixed
    seen = packages.judge_vulnerabilities(found)
    assert ids(seen) == {"vulnerabilities-fixed": "critical"}
    assert seen.facts["vulnerabilities"]["high"] == 3


def test_urgency_alone_or_distance_alone_is_a_warning() -> None:
    local = packages.parse_vulnerabilities(
        "CVE-2026-1 a (fixed, high urgency)\nCVE-2026-2 b (fixed, remotely exploitable)\n"
    )
    assert ids(packages.judge_vulnerabilities(local)) == {"vulnerabilities-fixed": "warning"}
    open_ = packages.parse_vulnerabilities("CVE-2026-1 a (remotely exploitable, high urgency)\nCVE-2026-2 b\n")
    assert ids(packages.judge_vulnerabilities(open_)) == {"vulnerabilities-fixed": "ok"}


def test_debsecan_without_data_is_unknown(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n')
    monkeypatch.setattr(packages, "tool", lambda name: "/bin/sh" if name == "debsecan" else name)
    said = "error: while downloading https://tracker.example/bookworm:\nerror: [Errno -2] Name or service not known\n"
    calls: list[list[str]] = []

    def runner(argv: list[str], _deadline: Deadline) -> Finished:
        calls.append(argv)
        return Finished(1, "", said)

    with pytest.raises(ProbeFailure) as caught:
        packages.debsecan_probe("https://mirror.example/")(Tools(str(tmp_path), runner, NOW), Deadline(5))
    assert caught.value.kind == "dns"
    assert calls == [["/bin/sh", "--suite", "bookworm", "--format", "summary", "--source", "https://mirror.example/"]]


def test_a_tool_that_is_missing_is_skipped_with_the_way_out(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "tool", lambda name: f"/nowhere/{name}")
    for probe in (packages.probe_lynis, packages.debsecan_probe("")):
        with pytest.raises(NotHere, match="install it"):
            probe(Tools(str(tmp_path), now=NOW), Deadline(5))


def test_lynis_report_is_read() -> None:
    values = packages.parse_lynis((FIXTURES / "lynis.dat").read_text())
    seen = packages.judge_lynis(values)
    assert ids(seen) == {"lynis-warnings": "warning"} and "FIRE-4512" in seen.findings[0].found
    assert (
        seen.facts["lynis"]["hardening_index"] == 61
        and "SSH-7408: Consider hardening SSH configuration (LogLevel (set INFO to VERBOSE))"
        in seen.facts["lynis"]["suggestions"]
    )
    assert packages.judge_lynis({"lynis_version": ["3"]}).findings == []
    with pytest.raises(ProbeFailure, match="no report"):
        packages.parse_lynis("nonsense")


def test_lynis_writes_into_a_directory_that_is_gone(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "tool", lambda name: "/bin/sh")
    places = []

    def runner(argv: list[str], _deadline: Deadline) -> Finished:
        assert argv[0] == "env" and "APT_CONFIG=" in argv[1]
        path = pathlib.Path(argv[argv.index("--report-file") + 1])
        places.append(path.parent)
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert "PKGS-7392" in (path.parent / "profile").read_text()
        path.write_text("lynis_version=3.0.8\n")
        return Finished(0, "", "")

    assert packages.probe_lynis(Tools(str(tmp_path), runner, NOW), Deadline(5)) == {"lynis_version": ["3.0.8"]}
    assert not places[0].exists()


MADISON = """   openssl | 3.5.9-1~deb13u1 | http://deb.debian.org/debian trixie/main amd64 Packages
   openssl | 3.5.7-1~deb13u3 | http://security.debian.org/debian-security trixie-security/main amd64 Packages
    tzdata | 2026f-0+deb13u1 | http://deb.debian.org/debian trixie/main amd64 Packages
"""


@pytest.mark.parametrize(("newer", "security"), [(0, True), (1, False)])
def test_a_point_release_that_took_a_security_update_in_is_one(
    tmp_path: pathlib.Path, newer: int, security: bool
) -> None:
    """apt names only where the newest version is."""
    tools = lists(tmp_path, DAY)
    listed = "Listing...\nopenssl/stable 3.5.9-1~deb13u1 amd64 [upgradable from: 3.5.7-1~deb13u1]\n"

    def runner(argv: list[str], _deadline: Deadline) -> Finished:
        if "dpkg" in argv[0]:
            assert argv[1:] == ["--compare-versions", "3.5.7-1~deb13u3", "gt", "3.5.7-1~deb13u1"]
            return Finished(newer, "", "")
        return Finished(0, MADISON if "madison" in argv else listed, "")

    found = packages.probe_updates(Tools(tools.root, runner, NOW), Deadline(5))["upgrades"]
    assert [one.security for one in found] == [security]
    assert packages.parse_madison(MADISON) == {"openssl": ["3.5.7-1~deb13u3"]}
