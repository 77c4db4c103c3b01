"""Who is new, who is gone, and what nobody has looked at for long."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import pathlib
from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import Tools
from ansible_collections.matrixon.ops.plugins.module_utils._command import Finished
from ansible_collections.matrixon.ops.plugins.module_utils._maintenance import access

TODAY = datetime.date(2026, 11, 27)
KEY = base64.b64encode(b"a key").decode()
PRINT = "SHA256:" + base64.b64encode(hashlib.sha256(b"a key").digest()).decode().rstrip("=")
OPTIONS = {"target": "db1", "review_days": 92.0, "deadline": 10.0, "postgresql": None}


def entry(kind: str, name: str, **others: Any) -> dict[str, Any]:
    return {"kind": kind, "name": name, "owner": "alice", "reviewed": "2026-11-01", **others}


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(
        "root:x:0:0::/root:/bin/bash\nbin:x:2:2::/bin:/usr/sbin/nologin\nmal:x:1000:1000::/home/mal:/bin/bash\n"
    )
    (tmp_path / "etc/sudoers").write_text("")
    (tmp_path / "home/mal/.ssh").mkdir(parents=True)
    (tmp_path / "home/mal/.ssh/authorized_keys").write_text(
        f'# ssh-rsa {KEY}\nno-pty,command="a b" ssh-ed25519 {KEY} mal@x\n'
    )
    return tmp_path


def review(root: pathlib.Path, *entries: dict[str, Any]) -> dict[str, Any]:
    rules = [{"User_List": [{"usergroup": "sudo"}, {"username": "mal", "negated": True}]}]
    answer = Finished(0, json.dumps({"User_Specs": rules}), "")
    approved, problems = access.parse(entries)
    assert problems == []
    found = access.review(OPTIONS, approved, TODAY, Tools(str(root), lambda argv, deadline: answer))
    return {check.name: check for check in found["checks"]}


def test_who_is_in_no_list_is_new(root: pathlib.Path) -> None:
    found = review(root, entry("os_login", "root"))
    assert {check.status for check in found.values()} == {"warning"}
    assert found["access_os_login"].message == "2 accounts with a shell to log in with; new, in no list: mal"
    assert "%sudo" in found["access_sudo"].message and "mal" not in found["access_sudo"].message
    assert found["access_ssh_key"].message == f"1 SSH keys; new, in no list: mal:{PRINT}"


def test_who_is_approved_is_good(root: pathlib.Path) -> None:
    found = review(root, entry("os_login", "*", host="db*"), entry("sudo", "%sudo"), entry("ssh_key", f"mal:{PRINT}"))
    assert {check.status for check in found.values()} == {"ok"}


def test_who_is_gone_or_was_not_reviewed_for_long_is_told(root: pathlib.Path) -> None:
    every = entry("os_login", "*")
    assert review(root, every, entry("os_login", "eve", host="hs1"))["access_os_login"].status == "ok"
    gone = review(root, every, entry("os_login", "eve", host="db1"))["access_os_login"]
    assert gone.status == "warning" and "gone: eve (of alice)" in gone.message
    old = review(root, entry("os_login", "*", reviewed="2026-08-01"))["access_os_login"]
    assert old.status == "warning" and "more than 92 days ago: * (of alice, on 2026-08-01)" in old.message


def test_what_cannot_be_seen_is_unknown_and_what_is_not_there_is_skipped(root: pathlib.Path) -> None:
    (root / "etc/sudoers").unlink()
    assert review(root)["access_sudo"].status == "skipped"
    (root / "etc/passwd").unlink()
    assert review(root)["access_os_login"].status == "unknown"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"owner": ""}, "lacks owner"),
        ({"kind": "ftp"}, "kind 'ftp' is none of"),
        ({"reviewed": "soon"}, "reviewed 'soon' is no day"),
    ],
)
def test_an_entry_that_nobody_answers_for_is_refused(wrong: dict[str, Any], said: str) -> None:
    approved, (problem,) = access.parse([{**entry("os_login", "root"), **wrong}])
    assert approved == [] and said in problem
