# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Redis: does it answer, is it in its role, does it hold its memory and its promises."""

from __future__ import annotations

import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._health.model import (
    Check,
    Context,
    Facts,
    Limits,
    Plan,
    Probe,
    Verdict,
    grade,
    human_bytes,
    human_seconds,
    skipped,
)
from ansible_collections.matrixon.ops.plugins.module_utils._health.validate import port_errors
from ansible_collections.matrixon.ops.plugins.module_utils._probe import AUTH, PARSE, REFUSED, Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._redis import RedisError, RedisServer, Session
from ansible_collections.matrixon.ops.plugins.module_utils._report import CRITICAL, OK, UNKNOWN, WARNING

SPEC: dict[str, t.Any] = dict(
    host=dict(type="str", default="127.0.0.1"),
    port=dict(type="int", default=6379),
    socket=dict(type="path"),
    user=dict(type="str"),
    password=dict(type="str", no_log=True),
    password_file=dict(type="path", no_log=False),
    tls=dict(type="bool", default=False),
    ca_file=dict(type="path"),
    role=dict(type="str", choices=["master", "replica"], default="master"),
)

# Error replies that tell a state of a living server.
STATES = {
    "LOADING": "is loading its data set and does not serve yet",
    "BUSY": "is busy with a script and does not serve",
    "MASTERDOWN": "has lost its master and refuses stale reads",
}


def _judge_ping(facts: Facts, limits: Limits) -> Verdict:
    return grade(facts["ping_ms"], limits, f"Redis at {facts['name']} answered PING in {facts['ping_ms']:.1f} ms")


def _told(facts: Facts, key: str) -> str:
    """Return a value of INFO. What this server does not tell is unknown, not bad."""
    if key not in facts["info"]:
        raise ProbeFailure(PARSE, f"Redis at {facts['name']} does not tell {key}")
    return str(facts["info"][key])


def _judge_role(facts: Facts, limits: Limits) -> Verdict:
    info, name, role = facts["info"], facts["name"], _told(facts, "role")
    role = {"slave": "replica"}.get(role, role)
    if role != facts["role"]:
        hint = ": writes are refused" if role == "replica" else ": it takes writes that nobody expects there"
        return Verdict(CRITICAL, f"Redis at {name} is a {role}, expected a {facts['role']}{hint}")
    if role == "master":
        return Verdict(
            OK, f"Redis at {name} is the master, with {info.get('connected_slaves', '0')} replicas connected"
        )
    if _told(facts, "master_link_status") != "up":
        # -1 where there was no link since it started.
        down = float(info.get("master_link_down_since_seconds", -1))
        since = f" for {human_seconds(down)}" if down >= 0 else ", and had none since it started"
        return Verdict(CRITICAL, f"Redis at {name} has no link to its master{since}")
    silence = float(_told(facts, "master_last_io_seconds_ago"))
    return grade(silence, limits, f"Redis at {name} heard from its master {human_seconds(silence)} ago")


def _judge_memory(facts: Facts, limits: Limits) -> Verdict:
    info, name = facts["info"], facts["name"]
    used, limit = int(_told(facts, "used_memory")), int(_told(facts, "maxmemory"))
    if limit == 0:
        return skipped(f"Redis at {name} uses {human_bytes(used)} and has no maxmemory to compare with")
    share = 100 * used / limit
    policy = info.get("maxmemory_policy", "unknown")
    return grade(
        share,
        limits,
        f"Redis at {name} uses {human_bytes(used)} of {human_bytes(limit)} ({share:.0f} %), policy {policy}",
    )


def _judge_evictions(facts: Facts, limits: Limits) -> Verdict:
    return _judge_counter(facts, limits, "evicted_keys", "keys evicted for want of memory")


def _judge_rejections(facts: Facts, limits: Limits) -> Verdict:
    return _judge_counter(facts, limits, "rejected_connections", "connections rejected at maxclients")


def _judge_counter(facts: Facts, limits: Limits, key: str, words: str) -> Verdict:
    """Judge a counter by its growth since the earlier report of the same server process."""
    now, name, before = int(_told(facts, key)), facts["name"], facts["before"] or {}
    if before.get("run_id") != facts["info"].get("run_id") or key not in before:
        grown, since = now, f"since it started {human_seconds(float(_told(facts, 'uptime_in_seconds')))} ago"
    elif now < int(before[key]):
        grown, since = now, "since its counters were reset"
    else:
        grown, since = now - int(before[key]), "since the last report"
    return grade(grown, limits, f"Redis at {name}: {grown} {words} {since}")


def _judge_persistence(facts: Facts, limits: Limits) -> Verdict:
    info, name = facts["info"], facts["name"]
    aof = info.get("aof_enabled") == "1"
    if info.get("loading") == "1":
        return Verdict(UNKNOWN, f"Redis at {name} is loading its data set", error_kind=REFUSED)
    if aof and _told(facts, "aof_last_write_status") != "ok":
        return Verdict(CRITICAL, f"Redis at {name} could not write its append-only file")
    if aof and _told(facts, "aof_last_bgrewrite_status") != "ok":
        return Verdict(WARNING, f"Redis at {name} could not rewrite its append-only file")
    if _told(facts, "rdb_last_bgsave_status") != "ok":
        return Verdict(CRITICAL, f"Redis at {name} failed its last snapshot: by default it then refuses writes")
    return Verdict(OK, f"Redis at {name}: no write to disk has failed")


PING = Check("redis_ping", "Redis answers PING after login", _judge_ping, unit="ms", warning=10, gate=True)
CHECKS = (
    PING,
    Check(
        "redis_role",
        "Redis is master or replica as expected, and a replica hears its master",
        _judge_role,
        unit="s",
        warning=15,
        critical=60,
    ),
    Check("redis_memory", "share of maxmemory in use", _judge_memory, unit="%", warning=80, critical=90),
    Check("redis_evictions", "keys evicted since the last report", _judge_evictions, unit="count", warning=1),
    Check(
        "redis_rejected_connections",
        "connections rejected since the last report",
        _judge_rejections,
        unit="count",
        warning=1,
        critical=100,
    ),
    Check("redis_persistence", "the last snapshot and append-only write were good", _judge_persistence, fixed=True),
)


def validate(options: dict[str, t.Any]) -> t.Iterator[str]:
    """Yield what is wrong with the options."""
    if not options["socket"]:
        yield from port_errors("redis.port", options["port"])
    if options["user"] and not options["password"]:
        yield "redis.user: a user needs redis.password or redis.password_file"


def plan(options: dict[str, t.Any], context: Context) -> Plan:
    """Return the one probe that feeds every check."""
    keys = ("host", "port", "socket", "user", "password", "tls", "ca_file")
    server = RedisServer(**{key: options[key] for key in keys})
    given = {"name": server.name, "role": options["role"], "before": context.before("redis", server.name)}
    return [Probe(server.name, CHECKS, lambda deadline: _observe(server, deadline), given)]


def _observe(server: RedisServer, deadline: Deadline) -> Facts:
    session = server.session(deadline)
    try:
        ping_ms = min(_ping(session, deadline), _ping(session, deadline))
        info = session.info()
    except RedisError as error:
        raise _refusal(server.name, error) from error
    finally:
        session.close()
    counters = {key: info[key] for key in ("run_id", "evicted_keys", "rejected_connections") if key in info}
    report = {"versions": {"redis": info.get("redis_version", "unknown")}, "redis": {server.name: counters}}
    return {"ping_ms": ping_ms, "info": info, "report": report}


def _ping(session: Session, deadline: Deadline) -> float:
    """Return the milliseconds of one PING; the better of two is less of this host's own work."""
    started = deadline.elapsed()
    session.call("PING")
    return (deadline.elapsed() - started) * 1000


def _refusal(name: str, error: RedisError) -> ProbeFailure:
    if error.code in STATES:
        return ProbeFailure(REFUSED, f"Redis at {name} {STATES[error.code]}")
    if error.code in ("NOAUTH", "NOPERM", "WRONGPASS"):
        return ProbeFailure(AUTH, f"Redis at {name} answered but wants a login: {error}")
    return ProbeFailure(REFUSED, f"Redis at {name} refuses: {error}")
