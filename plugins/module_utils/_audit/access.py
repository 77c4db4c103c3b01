# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Who gets in: accounts, sudo, and the SSH server."""

from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import (
    Finding,
    Look,
    NotHere,
    Plan,
    Rule,
    Seen,
    Tools,
    ask,
    bad,
    tool,
)
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    AUTH,
    INTERNAL,
    PARSE,
    Deadline,
    Facts,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import failure_of, read

ROOT_TWICE = Rule("user-uid0", "critical", "only root has the user id 0", "give the user another id, or remove it")
SYSTEM_SHELL = Rule(
    "user-system-shell",
    "warning",
    "no account of a service has a shell to log in with",
    "run 'usermod --shell /usr/sbin/nologin USER', or name it in security_audit_shell_users",
)
NO_PASSWORD = Rule(
    "user-passwordless", "critical", "no account is without a password", "run 'passwd --lock USER', or set one"
)
OLD_HASH = Rule(
    "user-weak-hash",
    "warning",
    "passwords are kept as yescrypt, SHA-512, SHA-256 or bcrypt",
    "let the user set a new password",
)
SUDO_ALL = Rule(
    "sudo-nopasswd-all",
    "critical",
    "nobody but the automation becomes root for everything without a password",
    "remove NOPASSWD, or name the single commands, or name the user in security_audit_automation_users",
)
SUDO_OFF = Rule(
    "sudo-no-authentication",
    "critical",
    "sudo asks for a password",
    "remove '!authenticate' from the Defaults of sudoers",
)

MIN_USER = 1000
SHELLS = ("sh", "bash", "dash", "zsh", "ksh", "mksh", "fish", "csh", "tcsh", "rbash")
# crypt(5): what the letters between the first two dollars mean. Others, and none at all, are older.
GOOD_HASHES = ("y", "gy", "7", "6", "5", "2a", "2b", "2y")


class Account(t.NamedTuple):
    """One line of the table of users."""

    name: str
    uid: int
    shell: str


def parse_passwd(text: str) -> list[Account]:
    """Return the accounts."""
    found = []
    for line in text.splitlines():
        words = line.split(":")
        if not line.strip() or line.startswith(("#", "+", "-")):
            continue
        if len(words) != 7 or not words[2].isdigit():
            raise ProbeFailure(PARSE, f"the table of users has a line that was not understood, of {words[0][:32]!r}")
        found.append(Account(words[0], int(words[2]), words[6]))
    return found


def parse_shadow(text: str) -> dict[str, str]:
    """Return of each account what its password is: none, locked, or the kind of its hash. Never a hash."""
    kinds = {}
    for line in text.splitlines():
        name, _colon, rest = line.partition(":")
        if rest:
            kinds[name] = _kind(rest.partition(":")[0])
    return kinds


def _kind(word: str) -> str:
    if not word:
        return "none"
    if word.startswith(("!", "*")):
        return "locked"
    if word.startswith("$"):
        return word.split("$")[1]
    # Thirteen letters are DES; what cannot be a hash opens nothing.
    return "des" if len(word) == 13 or word.startswith("_") else "locked"


def probe_accounts(tools: Tools, _deadline: Deadline) -> list[Account]:
    """Read the table of users."""
    return parse_passwd(_content(tools.root, "etc/passwd"))


def judge_accounts(accounts: list[Account], shell_users: t.Collection[str]) -> Seen:
    """Say who is root under another name, and which service could have a session."""
    findings = []
    for one in accounts:
        if one.uid == 0 and one.name != "root":
            findings.append(bad(ROOT_TWICE, f"the user {one.name} has the user id 0", one.name))
        service = 0 < one.uid < MIN_USER
        if service and os.path.basename(one.shell) in SHELLS and one.name not in shell_users:
            findings.append(
                bad(SYSTEM_SHELL, f"the user {one.name} (id {one.uid}) has the shell {one.shell}", one.name)
            )
    people = sorted(one.name for one in accounts if one.uid >= MIN_USER and os.path.basename(one.shell) in SHELLS)
    return Seen(findings, {"users": people})


def probe_passwords(tools: Tools, _deadline: Deadline) -> dict[str, str]:
    """Read of what kind the passwords are."""
    return parse_shadow(_content(tools.root, "etc/shadow"))


def judge_passwords(kinds: dict[str, str]) -> Seen:
    """Say who has none, and who has one that is easily tried."""
    findings = []
    for name, kind in kinds.items():
        if kind == "none":
            findings.append(bad(NO_PASSWORD, f"the user {name} has an empty password", name))
        elif kind != "locked" and kind not in GOOD_HASHES:
            names = {"1": "MD5", "des": "DES"}
            findings.append(bad(OLD_HASH, f"the password of {name} is kept as {names.get(kind, kind)}", name))
    return Seen(findings)


def _content(root: str, path: str) -> str:
    try:
        return read(root, path)
    except OSError as error:
        raise failure_of(error) from error


def probe_sudo(tools: Tools, deadline: Deadline) -> Facts:
    """Let sudo's own reader say what the rules are, with includes and aliases resolved."""
    path = os.path.join(tools.root, "etc/sudoers")
    if not os.path.exists(path):
        raise NotHere("this host has no sudo")
    return parse_sudoers(ask(["cvtsudoers", "-e", "-f", "json", path], tools, deadline))


def parse_sudoers(text: str) -> Facts:
    """Return the rules as 'cvtsudoers -f json' has them."""
    try:
        found = json.loads(text)
        return {"defaults": found.get("Defaults", []), "rules": found.get("User_Specs", [])}
    except (ValueError, AttributeError) as error:
        raise ProbeFailure(PARSE, f"cvtsudoers printed something that is not JSON: {error}") from error


def judge_sudo(facts: Facts, automation: t.Collection[str]) -> Seen:
    """Say who may do everything unasked."""
    findings = []
    for default in facts["defaults"]:
        who = ", ".join(map(_who, default.get("Binding", []))) or "everybody"
        if any(option.get("authenticate") is False for option in default.get("Options", [])):
            findings.append(bad(SUDO_OFF, f"'!authenticate' is set for {who}", who))
    free = sorted({_who(user) for rule in facts["rules"] if _free(rule) for user in _users(rule)})
    findings += [
        bad(SUDO_ALL, f"{who} may run every command without a password", who) for who in free if who not in automation
    ]
    return Seen(findings)


def _users(rule: Facts) -> list[Facts]:
    """Return whom a rule is for, without those whom it leaves out."""
    return [user for user in rule["User_List"] if not user.get("negated")]


def _free(rule: Facts) -> bool:
    """Say whether a rule lets somebody run everything without a password."""
    return any(
        any(option.get("authenticate") is False for option in part.get("Options", []))
        and any(command.get("command") == "ALL" and not command.get("negated") for command in part.get("Commands", []))
        for part in rule.get("Cmnd_Specs", [])
    )


def _who(entry: Facts) -> str:
    """Write a user of sudoers as one would in the file."""
    signs = {"usergroup": "%", "netgroup": "+", "userid": "#", "usergid": "%#"}
    for key, value in entry.items():
        if key != "negated":
            return f"{signs.get(key, '')}{value}"
    return "nobody"


class Setting(t.NamedTuple):
    """A rule for one setting of the SSH server, and what is wrong with a value: nothing, or a word for it."""

    key: str
    rule: Rule
    wrong: t.Callable[[str], str]


def _when(*values: str) -> t.Callable[[str], str]:
    return lambda value: value if value in values else ""


def _above(most: int) -> t.Callable[[str], str]:
    return lambda value: value if value.isdigit() and int(value) > most else ""


def _among(weak: t.Callable[[str], bool]) -> t.Callable[[str], str]:
    return lambda value: ", ".join(name for name in value.split(",") if weak(name))


def weak_cipher(name: str) -> bool:
    """Return whether a cipher is broken or leaks: block chaining, stream ciphers of old, short blocks."""
    return "cbc" in name or name.startswith(("arcfour", "3des", "blowfish", "cast128", "none"))


def weak_mac(name: str) -> bool:
    """Return whether a code of authenticity is cut short or made with a broken hash."""
    return "md5" in name or "-96" in name or "ripemd" in name or name == "none"


def weak_kex(name: str) -> bool:
    """Return whether an exchange of keys is too short or made with SHA-1."""
    return name.endswith("-sha1") or name.startswith("rsa1024")


def _ssh(name: str, severity: str, expected: str, mend: str) -> Rule:
    return Rule(f"ssh-{name}", severity, expected, f"{mend} in sshd_config, then reload ssh")


SETTINGS = (
    Setting(
        "permitrootlogin",
        _ssh(
            "root-login",
            "critical",
            "root does not log in with a password",
            "set PermitRootLogin prohibit-password or no",
        ),
        _when("yes"),
    ),
    Setting(
        "passwordauthentication",
        _ssh("password-login", "warning", "people log in with keys", "set PasswordAuthentication no"),
        _when("yes"),
    ),
    Setting(
        "permitemptypasswords",
        _ssh("empty-passwords", "critical", "an empty password opens nothing", "set PermitEmptyPasswords no"),
        _when("yes"),
    ),
    Setting(
        "hostbasedauthentication",
        _ssh("host-based", "critical", "no other host vouches for its users", "set HostbasedAuthentication no"),
        _when("yes"),
    ),
    Setting(
        "permituserenvironment",
        _ssh("user-environment", "warning", "users bring no environment", "set PermitUserEnvironment no"),
        lambda value: "" if value == "no" else value,
    ),
    Setting(
        "x11forwarding",
        _ssh("x11-forwarding", "warning", "a server forwards no X11", "set X11Forwarding no"),
        _when("yes"),
    ),
    Setting(
        "maxauthtries",
        _ssh("max-auth-tries", "warning", "a connection has six tries at most", "set MaxAuthTries 6 or less"),
        _above(6),
    ),
    Setting(
        "ciphers",
        _ssh("weak-ciphers", "warning", "no weak cipher is offered", "take them out of Ciphers"),
        _among(weak_cipher),
    ),
    Setting("macs", _ssh("weak-macs", "warning", "no weak MAC is offered", "take them out of MACs"), _among(weak_mac)),
    Setting(
        "kexalgorithms",
        _ssh("weak-kex", "warning", "no weak key exchange is offered", "take them out of KexAlgorithms"),
        _among(weak_kex),
    ),
)


def parse_sshd(text: str) -> dict[str, str]:
    """Return the settings that 'sshd -T' prints, the first of each."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, _space, value = line.strip().partition(" ")
        found.setdefault(key.lower(), value)
    missing = [setting.key for setting in SETTINGS if setting.key not in found]
    if missing:
        raise ProbeFailure(PARSE, f"'sshd -T' does not name {', '.join(missing)}")
    return found


def probe_sshd(tools: Tools, deadline: Deadline) -> dict[str, str]:
    """Let the server say what its configuration comes to."""
    if not os.path.exists(tool("sshd")):
        raise NotHere("this host has no OpenSSH server")
    done = tools.runner([tool("sshd"), "-T"], deadline)
    if done.code != 0:
        kind = AUTH if "ermission denied" in done.err or "no hostkeys" in done.err else INTERNAL
        raise ProbeFailure(kind, f"'sshd -T' failed: {done.complaint}")
    return parse_sshd(done.out)


def judge_sshd(values: dict[str, str]) -> Seen:
    """Hold each setting against its rule."""
    findings: list[Finding] = []
    for setting in SETTINGS:
        wrong = setting.wrong(values[setting.key])
        if wrong:
            findings.append(
                bad(
                    setting.rule,
                    f"{setting.key} is {wrong}" if wrong == values[setting.key] else f"{setting.key} offers {wrong}",
                )
            )
    return Seen(findings)


def plan(options: Facts) -> Plan:
    """Return what is looked at."""
    shells, automation = options["shell_users"], options["automation_users"]
    return [
        Look("users", (ROOT_TWICE, SYSTEM_SHELL), probe_accounts, lambda found: judge_accounts(found, shells)),
        Look("passwords", (NO_PASSWORD, OLD_HASH), probe_passwords, judge_passwords),
        Look("sudo", (SUDO_ALL, SUDO_OFF), probe_sudo, lambda facts: judge_sudo(facts, automation)),
        Look("sshd", tuple(setting.rule for setting in SETTINGS), probe_sshd, judge_sshd),
    ]
