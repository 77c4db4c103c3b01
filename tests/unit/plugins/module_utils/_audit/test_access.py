"""Accounts, sudo and the SSH server, with what real hosts print."""

from __future__ import annotations

import json
import pathlib

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._audit import access
from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import NotHere, Tools
from ansible_collections.matrixon.ops.plugins.module_utils._command import Finished
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure

FIXTURES = pathlib.Path(__file__).parents[3] / "fixtures/audit"

PASSWD = """root:x:0:0:root:/r:/bin/bash
toor:x:0:0::/r:/bin/sh
sync:x:4:65534:sync:/bin:/bin/sync
postgres:x:103:105::/var/lib/postgresql:/bin/bash
backup:x:34:34::/var/backups:/usr/sbin/nologin
deploy:x:998:998::/srv:/usr/bin/zsh
alice:x:1000:1000:Alice:/home/alice:/bin/bash
"""
SHADOW = """root:*:20000::::::
alice:$y$j9T$abc$def:20000::::::
bob::20000::::::
carol:$1$abc$def:20000::::::
dave:abJnggxhB/yWI:20000::::::
erin:!$6$abc$def:20000::::::
frank:$6$abc$def:20000::::::
gina:!!:20000::::::
"""


def ids(seen: access.Seen) -> set[str]:
    return {finding.id for finding in seen.findings}


def test_accounts_that_are_root_or_have_a_shell() -> None:
    accounts = access.parse_passwd(PASSWD)
    assert ids(access.judge_accounts(accounts, ["postgres"])) == {"user-uid0:toor", "user-system-shell:deploy"}
    assert "user-system-shell:postgres" in ids(access.judge_accounts(accounts, []))
    assert access.judge_accounts(accounts, []).facts == {"users": ["alice"]}


def test_a_garbled_table_of_users_is_told() -> None:
    with pytest.raises(ProbeFailure, match="not understood"):
        access.parse_passwd("root:x:0:0\n")


def test_passwords_by_their_kind_and_never_a_hash() -> None:
    kinds = access.parse_shadow(SHADOW)
    assert kinds["erin"] == kinds["gina"] == kinds["root"] == "locked"
    seen = access.judge_passwords(kinds)
    assert ids(seen) == {"user-passwordless:bob", "user-weak-hash:carol", "user-weak-hash:dave"}
    told = json.dumps([finding.found for finding in seen.findings]) + json.dumps(kinds)
    assert "abc" not in told and "yWI" not in told


def test_sudo_rules_that_let_all_through() -> None:
    facts = access.parse_sudoers((FIXTURES / "sudoers.json").read_text())
    seen = access.judge_sudo(facts, [])
    assert ids(seen) == {
        "sudo-no-authentication:carl",
        "sudo-no-authentication:everybody",
        "sudo-nopasswd-all:alice",
        "sudo-nopasswd-all:%wheel",
        "sudo-nopasswd-all:+net",
        "sudo-nopasswd-all:#1005",
    }
    assert "sudo-nopasswd-all:alice" not in ids(access.judge_sudo(facts, ["alice"]))


def test_sudo_that_prints_nonsense_is_unknown() -> None:
    for text in ("", "[]", "not json"):
        with pytest.raises(ProbeFailure, match="not JSON"):
            access.parse_sudoers(text)


@pytest.mark.parametrize("name", ["sshd_bookworm", "sshd_trixie"])
def test_the_ssh_server_as_debian_has_it(name: str) -> None:
    seen = access.judge_sshd(access.parse_sshd((FIXTURES / f"{name}.txt").read_text()))
    assert ids(seen) == {"ssh-password-login", "ssh-x11-forwarding"}


def test_the_ssh_server_weakened() -> None:
    seen = access.judge_sshd(access.parse_sshd((FIXTURES / "sshd_weak.txt").read_text()))
    assert ids(seen) == {setting.rule.id for setting in access.SETTINGS}
    found = {finding.id: finding.found for finding in seen.findings}
    assert found["ssh-weak-ciphers"] == "ciphers offers aes128-cbc, 3des-cbc"
    assert found["ssh-weak-macs"] == "macs offers hmac-md5, hmac-sha1-96"
    assert found["ssh-weak-kex"] == "kexalgorithms offers diffie-hellman-group14-sha1"
    assert found["ssh-root-login"] == "permitrootlogin is yes"


@pytest.mark.parametrize(("value", "bad"), [("6", False), ("7", True), ("1", False)])
def test_six_tries_are_the_most(value: str, bad: bool) -> None:
    values = access.parse_sshd((FIXTURES / "sshd_trixie.txt").read_text())
    seen = access.judge_sshd({**values, "maxauthtries": value})
    assert ("ssh-max-auth-tries" in ids(seen)) is bad


def test_an_ssh_server_that_does_not_tell_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProbeFailure, match="does not name"):
        access.parse_sshd("port 22\n")
    monkeypatch.setattr(access, "tool", lambda name: "/bin/sh")
    tools = Tools(runner=lambda argv, deadline: Finished(1, "", "sshd: no hostkeys available -- exiting."))
    with pytest.raises(ProbeFailure) as caught:
        access.probe_sshd(tools, Deadline(5))
    assert caught.value.kind == "auth"


def test_a_host_without_ssh_and_sudo(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "tool", lambda name: f"/nowhere/{name}")
    for probe in (access.probe_sshd, access.probe_sudo):
        with pytest.raises(NotHere):
            probe(Tools(str(tmp_path)), Deadline(5))


def test_a_command_that_is_taken_away_lets_nobody_through() -> None:
    commands = [{"command": "/bin/ls"}, {"command": "ALL", "negated": True}]
    part = {"Options": [{"authenticate": False}], "Commands": commands}
    rule = {"User_List": [{"username": "alice"}], "Cmnd_Specs": [part]}
    assert ids(access.judge_sudo({"defaults": [], "rules": [rule]}, [])) == set()


def test_who_is_left_out_of_a_rule_is_not_let_through_by_it() -> None:
    part = {"Options": [{"authenticate": False}], "Commands": [{"command": "ALL"}]}
    rule = {"User_List": [{"usergroup": "ops"}, {"username": "bob", "negated": True}], "Cmnd_Specs": [part]}
    assert ids(access.judge_sudo({"defaults": [], "rules": [rule]}, [])) == {"sudo-nopasswd-all:%ops"}
