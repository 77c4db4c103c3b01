# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Redis: who reaches it, and what they may do there."""

from __future__ import annotations

import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._audit.exposure import is_local
from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import (
    Look,
    Plan,
    Rule,
    Seen,
    Skip,
    Tools,
    bad,
    good,
    unseen,
)
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    AUTH,
    MISSING_TOOL,
    Deadline,
    Facts,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._redis import RedisError, RedisServer, Session
from ansible_collections.matrixon.ops.plugins.module_utils._redis_settings import pairs

NO_PASSWORD = Rule(
    "redis-passwordless",
    "critical",
    "nobody uses Redis without a password",
    "run the playbook matrixon.ops.redis with matrixon_redis_password",
)
PROTECTED = Rule("redis-protected-mode", "warning", "protected-mode is on", "set protected-mode to yes")
DANGEROUS = Rule(
    "redis-dangerous-commands",
    "warning",
    "the login of the homeserver cannot take Redis over, stop it or read along",
    "deny them by redis_denied_commands, or in the ACL",
)

# With these, who has the password has the host, or all that passes through.
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("replicaof", "no", "one"),
    ("module", "load", "x"),
    ("debug", "sleep", "0"),
    ("migrate", "h", "1", "k", "0", "1"),
    ("monitor",),
    ("shutdown",),
    ("acl", "setuser", "x"),
    ("config", "rewrite"),
)


def probe(server: RedisServer, deadline: Deadline) -> Facts:
    """Knock without a password, then ask with it. Nothing is run but questions."""
    facts: Facts = {"open": _lets_in(server, deadline)}
    # Where no password is asked for, AUTH with one may fail.
    session = (RedisServer(server.host, server.port) if facts["open"] else server).session(deadline)
    try:
        settings = pairs(_told(session, "CONFIG", "GET", "bind", "protected-mode"))
        facts["bind"] = str(settings.get("bind", "")).split()
        facts["protected"] = settings.get("protected-mode", "")
        facts["user"] = _told(session, "ACL", "WHOAMI")
        facts["commands"] = _may(session, facts["user"])
    finally:
        session.close()
    return facts


def _lets_in(server: RedisServer, deadline: Deadline) -> bool:
    session = RedisServer(server.host, server.port).session(deadline)
    try:
        return bool(session.call("PING"))
    except RedisError as error:
        if error.code == "NOAUTH":
            return False
        if error.code == "DENIED":
            return True
        raise ProbeFailure(AUTH, f"Redis at {server.name} refuses: {error}") from None
    finally:
        session.close()


def _told(session: Session, *words: str) -> t.Any:
    try:
        return session.call(*words)
    except RedisError as error:
        kind = AUTH if error.code in ("NOAUTH", "NOPERM") else MISSING_TOOL
        raise ProbeFailure(kind, f"Redis does not answer {' '.join(words[:2])}: {error}") from None


def _may(session: Session, user: str) -> list[str] | ProbeFailure:
    """Return which commands a user may run, by the dry run that Redis has from 7 on."""
    allowed = []
    for words in COMMANDS:
        try:
            if session.call("ACL", "DRYRUN", user, *words) == "OK":
                allowed.append(words[0] if len(words) == 1 or words[0] in SINGLE else "|".join(words[:2]))
        except RedisError as error:
            if "unknown subcommand" in str(error).lower():
                return ProbeFailure(MISSING_TOOL, "this Redis is older than 7 and has no ACL DRYRUN")
            return ProbeFailure(AUTH, f"Redis does not tell what {user} may do: {error}")
    return allowed


SINGLE = ("replicaof", "debug", "migrate")


def judge(facts: Facts) -> Seen:
    """Say who reaches it, and what they may do."""
    addresses = [address.lstrip("-") for address in facts["bind"]] or ["*"]
    outer = [address for address in addresses if address in ("*", "::*") or not is_local(address)]
    findings = []
    if facts["open"] and outer:
        findings.append(bad(NO_PASSWORD, f"it answers without a password, and listens at {', '.join(outer)}"))
    elif facts["open"]:
        findings.append(bad(NO_PASSWORD, "it answers every user of this host without a password", severity="warning"))
    if facts["protected"] != "yes":
        findings.append(bad(PROTECTED, f"protected-mode is {facts['protected'] or 'not told'}"))
    if isinstance(facts["commands"], ProbeFailure):
        findings.append(unseen(DANGEROUS, facts["commands"]))
    elif facts["commands"]:
        text = f"the user {facts['user']} may run {', '.join(facts['commands'])}"
        findings.append(bad(DANGEROUS, text, value=len(facts["commands"])))
    else:
        findings.append(good(DANGEROUS, f"the user {facts['user']} may run none of them"))
    return Seen(findings, {"redis": {"bind": addresses, "user": facts["user"]}})


def plan(options: Facts) -> Plan:
    """Return what is looked at, where there is a server."""
    given = options["redis"]
    rules = (NO_PASSWORD, PROTECTED, DANGEROUS)
    if given is None:
        return [Skip(rules, "no Redis server is said to be on this host")]
    server = RedisServer(given["host"], given["port"], password=given["password"] or None)

    def ask(_tools: Tools, deadline: Deadline) -> Facts:
        return probe(server, deadline)

    return [Look("redis", rules, ask, judge)]
