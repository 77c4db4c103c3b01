# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Who can get in, held against a list that somebody answers for.

It is the list that a person reviews: accounts with a shell, rules of sudo, SSH keys, logins of PostgreSQL and
administrators of the homeserver. Only a person can say whether somebody still needs it; a machine can say who is new,
who is gone, and for how long nobody has looked.
"""

from __future__ import annotations

import base64
import datetime
import fnmatch
import hashlib
import json
import os
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._audit import postgresql
from ansible_collections.matrixon.ops.plugins.module_utils._audit.access import SHELLS, parse_sudoers
from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import NotHere, Tools, ask
from ansible_collections.matrixon.ops.plugins.module_utils._probe import PARSE, Deadline, Facts, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import failure_of, read
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    OK,
    SKIPPED,
    UNKNOWN,
    WARNING,
    CheckResult,
)

KINDS = {
    "os_login": "accounts with a shell to log in with",
    "sudo": "rules of sudo",
    "ssh_key": "SSH keys",
    "postgresql_login": "logins of PostgreSQL",
    "homeserver_admin": "administrators of the homeserver",
}
KEYS_FILES = (".ssh/authorized_keys", ".ssh/authorized_keys2")
ROLES = "SELECT coalesce(json_agg(rolname ORDER BY rolname), '[]') FROM pg_roles WHERE rolcanlogin"
# Users, groups, user ids and netgroups as they stand in sudoers.
SIGNS = {"usergroup": "%", "netgroup": "+", "userid": "#", "usergid": "%#"}


class Approved(t.NamedTuple):
    """One access that somebody answers for. ``name`` and ``host`` may be patterns."""

    kind: str
    name: str
    host: str
    owner: str
    reviewed: datetime.date


def parse(entries: t.Sequence[Facts]) -> tuple[list[Approved], list[str]]:
    """Return the list of what is approved, and a sentence for each entry that is wrong."""
    found, problems = [], []
    for place, entry in enumerate(entries, 1):
        where = f"approved: entry {place} ({entry.get('name')})"
        missing = [key for key in ("kind", "name", "owner", "reviewed") if not str(entry.get(key) or "").strip()]
        if missing:
            problems.append(f"{where} lacks {', '.join(missing)}")
            continue
        if entry["kind"] not in KINDS:
            problems.append(f"{where}: kind '{entry['kind']}' is none of {', '.join(KINDS)}")
            continue
        try:
            day = datetime.date.fromisoformat(str(entry["reviewed"])[:10])
        except ValueError:
            problems.append(f"{where}: reviewed '{entry['reviewed']}' is no day; write for example 2026-11-27")
            continue
        host = str(entry.get("host") or "*")
        found.append(Approved(entry["kind"], str(entry["name"]), host, str(entry["owner"]), day))
    return found, problems


def logins(tools: Tools) -> dict[str, str]:
    """Return the home of each account that has a shell."""
    try:
        lines = read(tools.root, "etc/passwd").splitlines()
    except OSError as error:
        raise failure_of(error) from error
    rows = [line.split(":") for line in lines]
    return {row[0]: row[5] for row in rows if len(row) == 7 and os.path.basename(row[6]) in SHELLS}


def sudoers(tools: Tools, deadline: Deadline) -> list[str]:
    """Return whom rules of sudo are for."""
    path = os.path.join(tools.root, "etc/sudoers")
    if not os.path.exists(path):
        raise NotHere("this host has no sudo")
    facts = parse_sudoers(ask(["cvtsudoers", "-e", "-f", "json", path], tools, deadline))
    users = [user for rule in facts["rules"] for user in rule["User_List"] if not user.get("negated")]
    return [_who(user) for user in users]


def _who(entry: Facts) -> str:
    pairs = [(key, value) for key, value in entry.items() if key != "negated"]
    return f"{SIGNS.get(pairs[0][0], '')}{pairs[0][1]}" if pairs else "nobody"


def ssh_keys(tools: Tools) -> list[str]:
    """Return the keys that open an account: user, fingerprint and comment."""
    found = []
    for user, home in logins(tools).items():
        for name in KEYS_FILES:
            path = os.path.join(home.lstrip("/"), name)
            try:
                text = read(tools.root, path)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise failure_of(error) from error
            found += [f"{user}:{key}" for key in map(fingerprint, text.splitlines()) if key]
    return found


def fingerprint(line: str) -> str:
    """Return the fingerprint of a line of authorized_keys as ssh-keygen -l says it, or nothing."""
    words = line.split()
    for place, word in enumerate(words[:-1]):
        if word.startswith(("ssh-", "ecdsa-", "sk-")) and not line.lstrip().startswith("#"):
            try:
                digest = hashlib.sha256(base64.b64decode(words[place + 1], validate=True)).digest()
            except ValueError:
                continue
            return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
    return ""


def database_logins(given: Facts, tools: Tools, deadline: Deadline) -> list[str]:
    """Return who may log in to PostgreSQL."""
    return _names(postgresql.asker(given)("postgres", ROLES, tools, deadline))


def admins(given: Facts, tools: Tools, deadline: Deadline) -> list[str]:
    """Return the administrators of the homeserver. A standby has the same as its primary, which is asked."""
    if not given.get("admins_query"):
        raise NotHere(given.get("admins_unsupported") or "the profile has no question for administrators")
    answer = postgresql.asker(given)
    if answer("postgres", "SELECT pg_is_in_recovery()", tools, deadline) == "t":
        raise NotHere("this server is a standby; its primary is asked")
    question = f"SELECT coalesce(json_agg(a), '[]') FROM ({given['admins_query']}) q(a)"
    return _names(answer(given["database"], question, tools, deadline))


def _names(text: str) -> list[str]:
    try:
        return [str(name) for name in json.loads(text)]
    except (ValueError, TypeError) as error:
        raise ProbeFailure(PARSE, f"PostgreSQL answered something that was not understood: {error}") from error


def review(options: Facts, approved: list[Approved], today: datetime.date, tools: Tools | None = None) -> Facts:
    """Return a check for each kind of access, and who has it."""
    tools = tools or Tools()
    deadline = Deadline(options["deadline"])
    server = options["postgresql"]
    probes: dict[str, t.Callable[[], list[str]]] = {
        "os_login": lambda: list(logins(tools)),
        "sudo": lambda: sudoers(tools, deadline),
        "ssh_key": lambda: ssh_keys(tools),
    }
    if server is not None:
        probes["postgresql_login"] = lambda: database_logins(server, tools, deadline)
        probes["homeserver_admin"] = lambda: admins(server, tools, deadline)
    checks, seen = [], {}
    for kind, probe in probes.items():
        mine = [entry for entry in approved if entry.kind == kind and fnmatch.fnmatch(options["target"], entry.host)]
        try:
            seen[kind] = sorted(set(probe()))
            checks.append(judge(kind, seen[kind], mine, today, options))
        except NotHere as reason:
            text = str(reason)
            checks.append(CheckResult(f"access_{kind}", options["target"], SKIPPED, text, skipped_reason=text))
        except ProbeFailure as failure:
            text = f"not seen: {failure.message}"
            checks.append(CheckResult(f"access_{kind}", options["target"], UNKNOWN, text, error_kind=failure.kind))
    return {"checks": tuple(checks), "seen": seen}


def judge(kind: str, seen: list[str], approved: list[Approved], today: datetime.date, options: Facts) -> CheckResult:
    """Say who is new, who is gone, and what nobody has looked at for too long."""
    new = [name for name in seen if not any(fnmatch.fnmatchcase(name, entry.name) for entry in approved)]
    # A pattern for all hosts need not fit on each of them.
    gone = [entry for entry in approved if entry.host != "*" and not fnmatch.filter(seen, entry.name)]
    most = datetime.timedelta(days=options["review_days"])
    old = [entry for entry in approved if today - entry.reviewed > most]
    parts = []
    if new:
        parts.append(f"new, in no list: {', '.join(new)}")
    if gone:
        parts.append(f"approved and gone: {', '.join(f'{entry.name} (of {entry.owner})' for entry in gone)}")
    if old:
        names = ", ".join(f"{entry.name} (of {entry.owner}, on {entry.reviewed})" for entry in old)
        parts.append(f"last reviewed more than {options['review_days']:g} days ago: {names}")
    text = f"{len(seen)} {KINDS[kind]}"
    if not parts:
        return CheckResult(f"access_{kind}", options["target"], OK, f"{text}, all approved", len(seen), "count")
    text = f"{text}; {'; '.join(parts)}"
    return CheckResult(f"access_{kind}", options["target"], WARNING, text, len(seen), "count")
