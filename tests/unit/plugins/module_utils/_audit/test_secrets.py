"""Modes and owners of secrets, and what everybody may write."""

from __future__ import annotations

import getpass
import os
import pathlib

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._audit import secrets
from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import Tools
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure

ME = getpass.getuser()


def mode(bits: int, owner: str = "root", reached: bool = True) -> secrets.Mode:
    return secrets.Mode("/etc/a.key", bits, owner, "root", reached)


def rules(found: secrets.Mode, *owners: str) -> set[str]:
    seen = secrets.judge_secrets([({"path": found.path, "owners": list(owners)}, found)])
    return {finding.rule.id for finding in seen.findings if finding.status != "ok"}


@pytest.mark.parametrize(
    ("bits", "weak"),
    [
        (0o600, set()),
        (0o640, set()),
        (0o644, {"secret-readable"}),
        (0o604, {"secret-readable"}),
        (0o660, {"secret-writable"}),
        (0o620, {"secret-writable"}),
        (0o602, {"secret-writable"}),
        (0o666, {"secret-readable", "secret-writable"}),
    ],
)
def test_modes(bits: int, weak: set[str]) -> None:
    assert rules(mode(bits)) == weak


def test_what_others_cannot_reach_they_cannot_read() -> None:
    assert rules(mode(0o644, reached=False)) == set()
    assert rules(mode(0o660, reached=False)) == {"secret-writable"}


def test_owners() -> None:
    assert rules(mode(0o600, "nobody"), "root", "synapse") == {"secret-owner"}
    assert rules(mode(0o600, "synapse"), "root", "synapse") == set()
    assert rules(mode(0o600, "nobody")) == set()


def probe(root: pathlib.Path, *paths: str) -> list[tuple[dict, secrets.Mode | ProbeFailure]]:
    return secrets.secrets_probe([{"paths": list(paths), "owners": [ME]}])(Tools(str(root)), Deadline(5))


def statuses(found: list[tuple[dict, secrets.Mode | ProbeFailure]]) -> set[tuple[str, str]]:
    return {(finding.rule.id, finding.status) for finding in secrets.judge_secrets(found).findings}


def test_files_are_found_by_patterns_once_and_a_link_counts_as_what_it_leads_to(tmp_path: pathlib.Path) -> None:
    for path in ("etc/tls/a/privkey.pem", "etc/tls/b/privkey.pem"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("")
        (tmp_path / path).chmod(0o600)
    (tmp_path / "etc/tls/b/privkey.pem").chmod(0o644)
    os.symlink("b/privkey.pem", tmp_path / "etc/tls/link.pem")
    found = probe(tmp_path, "/etc/tls/*/privkey.pem", "/etc/tls/b/*", "/etc/tls/link.pem", "/etc/nothing")
    modes = {pathlib.Path(entry["path"]).relative_to(tmp_path).as_posix(): one for entry, one in found}
    assert sorted(modes) == ["etc/tls/a/privkey.pem", "etc/tls/b/privkey.pem", "etc/tls/link.pem"]
    assert isinstance(modes["etc/tls/link.pem"], secrets.Mode) and modes["etc/tls/link.pem"].mode == 0o644
    # Directories of tests are closed, so others do not reach it; /etc is not.
    assert secrets.look_at("/etc/passwd").reached


def test_a_closed_directory_above_is_noticed(tmp_path: pathlib.Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o750)
    (tmp_path / "closed/key").write_text("")
    assert not secrets.look_at(str(tmp_path / "closed/key")).reached


def test_a_link_that_leads_nowhere_is_unknown(tmp_path: pathlib.Path) -> None:
    os.symlink("nowhere", tmp_path / "key")
    found = probe(tmp_path, "/key*")
    # What was not seen says nothing of its owner and writers either.
    assert statuses(found) == {(rule.id, "unknown") for rule in secrets.RULES}


def test_files_that_are_not_there_are_not_good() -> None:
    assert statuses([]) == {(rule.id, "skipped") for rule in secrets.RULES}


def test_a_directory_that_cannot_be_looked_into_is_unknown(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc/ssl/a").mkdir(parents=True)
    closed = str(tmp_path / "etc/ssl/a")
    monkeypatch.setattr(os, "access", lambda place, mode: place != closed)
    found = probe(tmp_path, "/etc/ssl/*/privkey.pem", "/etc/nowhere/key", "/etc/ssl/a/*")
    assert [entry["path"] for entry, _mode in found] == [closed]
    assert statuses(found) == {(rule.id, "unknown") for rule in secrets.RULES}


def walk(root: pathlib.Path, **options: int) -> secrets.Walk:
    return secrets.walk_probe(["/srv"], ["/srv/media"], **options)(Tools(str(root)), Deadline(5))


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
    for name in ("srv/media/deep", "srv/sticky", "srv/open", "srv/good"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("srv/good/file", "srv/good/open", "srv/media/open"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o666 if name.endswith("open") else 0o644)
    (tmp_path / "srv/open").chmod(0o777)
    (tmp_path / "srv/sticky").chmod(0o1777)
    os.symlink("good/file", tmp_path / "srv/link")
    return tmp_path


def test_what_everybody_may_write(tree: pathlib.Path) -> None:
    found = walk(tree)
    assert found.open == [str(tree / "srv/good/open"), str(tree / "srv/open")]
    seen = secrets.judge_walk(found)
    assert {finding.status for finding in seen.findings} == {"critical"} and len(seen.findings) == 2


def test_the_directory_itself_counts(tree: pathlib.Path) -> None:
    (tree / "srv").chmod(0o777)
    assert str(tree / "srv") in walk(tree).open


def test_what_was_not_looked_at_is_said(tree: pathlib.Path) -> None:
    cut = secrets.judge_walk(walk(tree, most=1))
    assert "unknown" in {finding.status for finding in cut.findings}
    late = secrets.walk_probe(["/srv"], [])(Tools(str(tree)), Deadline(0))
    assert "time was up" in late.unfinished
    unread = secrets.judge_walk(secrets.Walk([], 3, ["/srv/closed: Permission denied"], ""))
    assert [finding.status for finding in unread.findings] == ["unknown"]
    many = secrets.judge_walk(secrets.Walk([f"/srv/{number}" for number in range(30)], 30, [], ""))
    assert len(many.findings) == 21 and "10 further" in many.findings[-1].found
