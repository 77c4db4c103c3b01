"""The look at updates with the real apt and dpkg, on a private root, with an archive on disk."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import typing as t

import pytest
from archive_of_debs import make

from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import Tools
from ansible_collections.matrixon.ops.plugins.module_utils._command import Finished, run
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._updates.run import Outcome, check_updates

SUITE = "local-security"
INSTALLED = {"ops-alpha": "1", "ops-beta": "1", "ops-held": "1", "ops-plain": "1", "haproxy-like": "1"}
PARAGRAPH = """Package: {name}
Status: {state} ok installed
Architecture: all
Maintainer: Tests <tests@example.com>
Version: {version}
Description: made by a test
"""
OPTIONS = {
    "target": "host",
    "deployment": "test",
    "profile": "synapse",
    "unknown_as": "unknown",
    "packages": "security",
    "hold": [],
    "exclude": [],
    "services": ["haproxy*"],
    "include_services": False,
    "expected": {},
    "journal": "/var/lib/matrixon-updates/journal.json",
    "lock_timeout": 0.0,
    "free_bytes": 1,
    "free_boot": 1,
    "skip_checks": {},
    "timeout": 20.0,
    "deadline": 60.0,
}


def newer(name: str, version: str = "2", **more: t.Any) -> dict[str, t.Any]:
    return {"name": name, "version": version, **more}


class Place:
    """A root of apt and dpkg below a directory, and the archive that it takes from."""

    def __init__(self, base: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.archive = base / "root", base / "archive"
        for name in ("var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/lib/dpkg/updates", "etc/apt"):
            (self.root / name).mkdir(parents=True)
        for name in ("preferences.d", "apt.conf.d", "sources.list.d", "trusted.gpg.d"):
            (self.root / "etc/apt" / name).mkdir()
        for name in ("var/lib/dpkg/lock-frontend", "var/lib/dpkg/available", "var/lib/apt/extended_states"):
            (self.root / name).touch()
        self.installed({})
        (self.root / "etc/apt/sources.list").write_text(f"deb [trusted=yes] file:{self.archive} {SUITE} main\n")
        config = base / "apt.conf"
        config.write_text(
            f'Dir "{self.root}/";\nDir::State::status "{self.root}/var/lib/dpkg/status";\nDir::Bin::methods '
            '"/usr/lib/apt/methods";\nAPT::Architecture "amd64";\nAPT::Sandbox::User "root";\n'
        )
        monkeypatch.setenv("APT_CONFIG", str(config))
        monkeypatch.setenv("DPKG_ADMINDIR", str(self.root / "var/lib/dpkg"))

    def installed(self, states: dict[str, str]) -> None:
        """Say what dpkg has installed, with the states that are not the usual."""
        paragraphs = [
            PARAGRAPH.format(name=name, version=version, state=states.get(name, "install"))
            for name, version in INSTALLED.items()
        ]
        (self.root / "var/lib/dpkg/status").write_text("\n".join(paragraphs))

    def offer(self, *packages: dict[str, t.Any], refresh: bool = True) -> None:
        """Put packages into the archive, and let apt know of them."""
        make(str(self.archive), {SUITE: list(packages)})
        if refresh:
            subprocess.run(["apt-get", "update", "--error-on=any"], check=True, capture_output=True)

    def times(self) -> dict[pathlib.Path, int]:
        """Return when each file and directory was written."""
        return {path: path.lstat().st_mtime_ns for path in self.root.rglob("*")}

    def look(self, restarts: str = "", **changes: t.Any) -> Outcome:
        """Look at it, with a needrestart that says what is given."""

        def runner(argv: list[str], deadline: Deadline) -> Finished:
            if argv[0].endswith("needrestart"):
                return Finished(0, f"NEEDRESTART-VER: 3.6\n{restarts}", "")
            return run(argv, deadline)

        tools = Tools(root=str(self.root), runner=runner)
        return check_updates({**OPTIONS, **changes}, tools=tools)


@pytest.fixture
def place(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


def statuses(outcome: Outcome) -> dict[str, str]:
    return {check.name: check.status for check in outcome.report.checks}


def message(outcome: Outcome, name: str) -> str:
    return next(check.message for check in outcome.report.checks if check.name == name)


def test_the_plan_is_what_apt_would_do_and_nothing_that_must_stay_moves(place: Place) -> None:
    place.offer(
        newer("ops-alpha", depends="ops-brought"),
        newer("ops-brought"),
        newer("ops-beta", depends="ops-held (>= 2)"),
        newer("ops-held"),
        newer("haproxy-like"),
    )
    place.installed({"ops-held": "hold"})
    found = place.look()
    assert [one["package"] for one in found.planned] == ["ops-alpha"], found.left
    assert found.installs == {"ops-alpha": "2", "ops-brought": "2"}
    left = {one["package"]: one["why"] for one in found.left}
    assert left == {"ops-beta": "kept_back", "ops-held": "held", "haproxy-like": "service"}
    said = statuses(found)
    assert (said["updates_lists"], said["updates_pending"], said["updates_left"]) == ("ok", "warning", "warning")
    assert found.current
    before = place.times()
    assert place.look().planned == found.planned
    assert place.times() == before, "a look wrote something"


def test_what_would_pull_a_service_along_is_left_and_told(place: Place) -> None:
    place.offer(newer("ops-alpha", depends="haproxy-like (>= 2)"), newer("haproxy-like"), newer("ops-beta"))
    found = place.look()
    assert [one["package"] for one in found.planned] == ["ops-beta"]
    assert "haproxy-like, which must stay" in message(found, "updates_left")
    both = place.look(include_services=True)
    assert {one["package"] for one in both.planned} == {"ops-alpha", "ops-beta", "haproxy-like"}


def test_lists_that_the_archive_has_left_behind_and_an_archive_that_is_gone(place: Place) -> None:
    place.offer(newer("ops-plain"))
    assert statuses(place.look())["updates_lists"] == "ok"
    place.offer(newer("ops-plain", "3"), refresh=False)
    old = place.look()
    assert (statuses(old)["updates_lists"], old.current) == ("warning", False)
    shutil.rmtree(place.archive)
    gone = place.look()
    assert (statuses(gone)["updates_lists"], gone.current) == ("unknown", False)
    assert "did not answer" in message(gone, "updates_lists")
    assert gone.report.status == "unknown"


def test_what_was_not_finished_is_critical_and_versions_are_held_against_the_plan(place: Place) -> None:
    place.offer(newer("ops-plain"))
    status = place.root / "var/lib/dpkg/status"
    status.write_text(status.read_text().replace("install ok installed", "install ok half-configured", 1))
    found = place.look(expected={"ops-plain": "2", "ops-held": "1"})
    assert statuses(found)["updates_dpkg"] == "critical"
    assert "ops-alpha is half-configured" in message(found, "updates_dpkg")
    assert "ops-plain is 1 and not 2" in message(found, "updates_installed")
    assert statuses(place.look(expected={"ops-held": "1"}))["updates_installed"] == "ok"


def test_needrestart_asks_for_restarts_and_a_reboot(place: Place) -> None:
    place.offer(newer("ops-plain"))
    kernel = "NEEDRESTART-KCUR: 6.1.0-31\nNEEDRESTART-KEXP: 6.1.0-32\nNEEDRESTART-KSTA: 3\n"
    found = place.look(restarts=f"{kernel}NEEDRESTART-SVC: cron.service\n")
    assert found.restarts == ["cron.service"]
    assert found.reboot == ["the kernel 6.1.0-32 is there and 6.1.0-31 runs"]
    assert (statuses(found)["updates_restarts"], statuses(found)["updates_reboot"]) == ("warning", "warning")


def test_a_run_that_was_cut_off_is_seen(place: Place) -> None:
    place.offer(newer("ops-plain"))
    journal = place.root / "var/lib/matrixon-updates/journal.json"
    journal.parent.mkdir()
    journal.write_text('{"started": "2026-11-27T12:00:00Z"}')
    assert statuses(place.look())["updates_journal"] == "critical"
    journal.write_text("half of it")
    assert statuses(place.look())["updates_journal"] == "unknown"
