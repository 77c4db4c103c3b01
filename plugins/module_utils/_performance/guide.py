# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Settings that a guide recommends for every server, held against the machine at hand. All pure.

A profile lists them with the rule by which each is judged. A rule says good,
or why not, or what is not known.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._health.model import (
    Check,
    Facts,
    Limits,
    Verdict,
    grade,
    human_bytes,
    skipped,
)
from ansible_collections.matrixon.ops.plugins.module_utils._performance.advice import number
from ansible_collections.matrixon.ops.plugins.module_utils._probe import MISSING_TOOL
from ansible_collections.matrixon.ops.plugins.module_utils._report import OK, UNKNOWN, WARNING

MIB = 1024**2
# What one of each takes when it is busy: a thread's stack, a database connection, a prepared statement.
STACK, BACKEND, STATEMENT = 2 * MIB, 10 * MIB, 16 * 1024
THREADS_PER_CORE = 4
_URL = re.compile(r"\w+://(?:[^@/]*@)?(localhost|127\.0\.0\.1|\[::1\]):(\d+)")

HOMESERVER, DATABASE = "homeserver", "postgresql"


@dataclass(frozen=True)
class Seen:
    """What is known of this host. None is not known, and is never taken for nothing."""

    scopes: t.Collection[str]
    memory_bytes: int
    cores: int
    accepted: float | None = None
    open_files: int | None = None
    connections: int | None = None
    slowest_ms: float | None = None
    listening: t.Collection[int] | None = None


class Line(t.NamedTuple):
    """One setting of the guide on this machine."""

    setting: str
    value: str
    status: str
    reason: str


Said = tuple[str, str]


def _threads(value: float, seen: Seen) -> Said:
    most = THREADS_PER_CORE * seen.cores
    if value > most:
        return WARNING, f"{value:.0f} threads take turns on {seen.cores} cores; {most} are enough here"
    if value < seen.cores:
        return WARNING, f"{value:.0f} threads leave some of {seen.cores} cores idle"
    return OK, f"{value:.0f} threads fit {seen.cores} cores"


def _share_of_memory(size: float, seen: Seen, what: str) -> Said:
    total = human_bytes(seen.memory_bytes)
    if size > seen.memory_bytes / 4:
        return WARNING, f"{what} may take {human_bytes(size)}, more than a quarter of the {total} here"
    return OK, f"{what} may take {human_bytes(size)}, which fits a quarter of the {total} here"


def _blocking_threads(value: float, seen: Seen) -> Said:
    return _share_of_memory(value * STACK, seen, f"{value:.0f} threads with a stack of {human_bytes(STACK)}")


def _cache_memory(value: float, seen: Seen) -> Said:
    return _share_of_memory(value, seen, "the cache")


def _keepalive(value: float, seen: Seen) -> Said:
    if seen.accepted is None or seen.open_files is None:
        return UNKNOWN, "the connections per second or the open files that a process may have are not known"
    idle = seen.accepted * value
    words = f"{seen.accepted:.1f} new connections per second, kept for {value:.0f} s, are {idle:.0f} at once"
    if idle > seen.open_files / 2:
        return WARNING, f"{words}, more than half of the {seen.open_files} files that a process may open"
    return OK, f"{words}, and a process may open {seen.open_files} files"


def _database_connections(value: float, seen: Seen) -> Said:
    if seen.connections is not None and value > seen.connections:
        return WARNING, f"the server has {seen.connections} usable connections, so the others would be refused"
    return _share_of_memory(value * BACKEND, seen, f"{value:.0f} connections of {human_bytes(BACKEND)}")


def _query_timeout(value: float, seen: Seen) -> Said:
    if seen.slowest_ms is None:
        return UNKNOWN, "pg_stat_statements does not tell how long statements take here"
    words = f"the slowest statement takes {seen.slowest_ms / 1000:.3g} s in the mean"
    if seen.slowest_ms > value * 1000:
        return WARNING, f"{words}, so it would be broken off after {value:.0f} s"
    return OK, f"{words}, well within {value:.0f} s" if seen.slowest_ms < value * 500 else f"{words}, just within"


def _statement_cache(value: float, seen: Seen) -> Said:
    if seen.connections is None:
        return UNKNOWN, "the number of connections is not known"
    what = f"{value:.0f} prepared statements on each of {seen.connections} connections"
    return _share_of_memory(value * seen.connections * STATEMENT, seen, what)


RULES: dict[str, tuple[str, t.Callable[[float, Seen], Said]]] = {
    "threads": (HOMESERVER, _threads),
    "blocking_threads": (HOMESERVER, _blocking_threads),
    "keepalive": (HOMESERVER, _keepalive),
    "cache_memory": (HOMESERVER, _cache_memory),
    "database_connections": (DATABASE, _database_connections),
    "query_timeout": (DATABASE, _query_timeout),
    "statement_cache": (DATABASE, _statement_cache),
}
LOCAL_SERVICE, ANY = "local_service", "any"
NAMES = (*RULES, LOCAL_SERVICE, ANY)


def lines(settings: t.Sequence[Facts], seen: Seen) -> list[Line]:
    """Return what becomes of each setting that concerns this host."""
    found = [_line(entry, seen) for entry in settings]
    return [line for line in found if line is not None]


def _line(entry: Facts, seen: Seen) -> Line | None:
    value = str(entry["value"])
    if entry["rule"] == ANY:
        said: Said = (OK, "depends on no size of a machine")
        return Line(entry["setting"], value, *said) if HOMESERVER in seen.scopes else None
    if entry["rule"] == LOCAL_SERVICE:
        return Line(entry["setting"], value, *_local_service(value, seen)) if HOMESERVER in seen.scopes else None
    scope, rule = RULES[entry["rule"]]
    if scope not in seen.scopes:
        return None
    amount = number(value, None)
    if amount is None:
        return Line(entry["setting"], value, UNKNOWN, "the value is not a number")
    return Line(entry["setting"], value, *rule(amount, seen))


def _local_service(value: str, seen: Seen) -> Said:
    found = _URL.match(value)
    if not found:
        return UNKNOWN, "the address is not one of this host"
    if seen.listening is None:
        return UNKNOWN, "the sockets of this host could not be read"
    port = int(found.group(2))
    if port in seen.listening:
        return OK, f"something listens on port {port} here"
    return WARNING, f"nothing listens on port {port} here; name the host where it runs"


def judge(facts: Facts, limits: Limits) -> Verdict:
    """Judge how many of the settings are not good here."""
    found: list[Line] = facts["lines"]
    if not found:
        return skipped("none of the settings concerns this host")
    bad = [line for line in found if line.status == WARNING]
    unknown = [line for line in found if line.status == UNKNOWN]
    if len(unknown) == len(found):
        reasons = "; ".join(f"{line.setting}: {line.reason}" for line in unknown[:3])
        return Verdict(UNKNOWN, f"not measured: {reasons}", error_kind=MISSING_TOOL)
    rest = f"; not known: {', '.join(line.setting for line in unknown)}" if unknown else ""
    if not bad:
        return grade(0, limits, f"{len(found) - len(unknown)} of {len(found)} settings are good here{rest}")
    reasons = "; ".join(f"{line.setting} = {line.value}: {line.reason}" for line in bad[:3])
    return grade(len(bad), limits, f"{len(bad)} of {len(found)} settings are not good here: {reasons}{rest}")


GUIDE = Check(
    "guide_settings",
    "settings of the guide that are not good for this machine",
    judge,
    unit="count",
    warning=1,
)
