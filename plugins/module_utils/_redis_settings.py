# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""A running Redis held to its settings: what differs, what is set live, what wants a restart."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils._probe import AUTH, PARSE, REFUSED, Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._redis import RedisError, RedisServer, Session

# In Redis's own words: k is a thousand, kb is 1024.
UNITS = {"": 1, "b": 1, "k": 10**3, "kb": 2**10, "m": 10**6, "mb": 2**20, "g": 10**9, "gb": 2**30}
PAUSE = 0.2


@dataclass
class Outcome:
    """What was found at a running Redis, and what was done."""

    applied: dict[str, dict[str, str]] = field(default_factory=dict)
    restart: list[str] = field(default_factory=list)
    version: str = ""


def memory_bytes(text: str) -> int | None:
    """Return an amount of memory in bytes, or None where Redis would not understand it."""
    digits = text.rstrip("bkmgBKMG")
    unit = text[len(digits) :].lower()
    return int(digits) * UNITS[unit] if digits.isdecimal() and unit in UNITS else None


def canonical(text: str) -> str:
    """Return a value as CONFIG GET spells it, so that it can be compared."""
    amount = memory_bytes(text)
    return str(amount) if amount is not None else " ".join(text.split())


def reachable(address: str) -> str:
    """Return where a listener on this address answers; an address may be a wildcard."""
    return {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1", "::*": "::1"}.get(address, address)


def differences(wanted: dict[str, str], running: dict[str, str]) -> dict[str, dict[str, str]]:
    """Return the settings whose running value is another."""
    found = {}
    for name, value in wanted.items():
        before = running.get(name, "")
        if canonical(before) != canonical(value):
            found[name] = {"before": before, "after": canonical(value)}
    return found


def pairs(reply: t.Any) -> dict[str, t.Any]:
    """Return a reply of names and values in turn as a mapping."""
    return dict(zip(reply[::2], reply[1::2]))


def hold(
    servers: list[RedisServer],
    settings: dict[str, str],
    rules: list[str],
    config_file: str | None,
    deadline: Deadline,
    change: bool = True,
    pause: t.Callable[[float], None] = time.sleep,
) -> Outcome:
    """Compare a running Redis with what it should be; set what can be set without a restart."""
    outcome = Outcome()
    try:
        session = _ready(servers[0], deadline, pause)
    except ProbeFailure as failure:
        outcome.restart.append(failure.message)
        return outcome
    try:
        _hold(session, settings, rules, config_file, change, outcome)
    finally:
        session.close()
    if change:
        _look_at_the_doors(servers, deadline, outcome)
    return outcome


def _ready(server: RedisServer, deadline: Deadline, pause: t.Callable[[float], None]) -> Session:
    """Log in, and wait for a server that starts or loads its data set."""
    while True:
        try:
            session = server.session(deadline)
            try:
                if session.call("PING") == "PONG":
                    return session
                failure = ProbeFailure(PARSE, f"Redis at {server.name} does not answer PING with PONG")
            except RedisError as error:
                failure = ProbeFailure(REFUSED, f"Redis at {server.name} refuses: {error}")
            session.close()
        except ProbeFailure as error:
            failure = error
        if failure.kind != REFUSED or deadline.remaining() <= PAUSE:
            raise failure
        pause(PAUSE)


def _hold(
    session: Session,
    settings: dict[str, str],
    rules: list[str],
    config_file: str | None,
    change: bool,
    outcome: Outcome,
) -> None:
    info = session.info()
    outcome.version = info.get("redis_version", "")
    if config_file and info.get("config_file") != config_file:
        outcome.restart.append(f"it runs with {info.get('config_file') or 'no file'}, not {config_file}")
    if rules:
        running = str(pairs(session.call("ACL", "GETUSER", "default")).get("commands", ""))
        if sorted(running.split()) != sorted(rules):
            outcome.restart.append(f"its commands are '{running}', not '{' '.join(rules)}'")
    running_settings = pairs(session.call("CONFIG", "GET", *settings)) if settings else {}
    found = differences(settings, running_settings)
    for name, values in found.items():
        if change:
            try:
                session.call("CONFIG", "SET", name, values["after"])
            except RedisError as error:
                if "immutable" not in str(error):
                    raise ProbeFailure(REFUSED, f"{name}: Redis refuses '{values['after']}': {error}") from None
                outcome.restart.append(f"{name} is '{values['before']}', not '{values['after']}'")
                continue
        outcome.applied[name] = values


def _look_at_the_doors(servers: list[RedisServer], deadline: Deadline, outcome: Outcome) -> None:
    """Try every address as a client would: with the password, and without."""
    for server in servers:
        try:
            _ping(server, deadline)
        except ProbeFailure as failure:
            outcome.restart.append(failure.message)
    if not servers[0].password:
        return
    try:
        _ping(RedisServer(servers[0].host, servers[0].port), deadline)
    except ProbeFailure as failure:
        if failure.kind != AUTH:
            raise
    else:
        outcome.restart.append(f"Redis at {servers[0].name} answers without a password")


def _ping(server: RedisServer, deadline: Deadline) -> None:
    session = server.session(deadline)
    try:
        session.call("PING")
    except RedisError as error:
        kind = AUTH if error.code == "NOAUTH" else REFUSED
        raise ProbeFailure(kind, f"Redis at {server.name} refuses: {error}") from None
    finally:
        session.close()


def servers_at(addresses: list[str], port: int, password: str | None) -> list[RedisServer]:
    """Return the server as it is reached at each of its addresses, but those that it may miss."""
    firm = [address for address in addresses if not address.startswith("-")] or ["127.0.0.1"]
    return [RedisServer(reachable(address), port, password=password or None) for address in firm]
