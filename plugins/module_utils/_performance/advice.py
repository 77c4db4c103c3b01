# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What PostgreSQL is set to, beside what it would be set to on this machine. All pure.

The values and their reasons are those of ``_postgresql_tuning``, from which
the role postgresql writes its configuration.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils import _postgresql_tuning as tuning
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Row

AS_ADVISED, HIGHER, LOWER, OTHER = "as advised", "higher", "lower", "other"

# What one of a unit of pg_settings is, in bytes or in milliseconds.
_SIZES = {"B": 1, "kB": 1024, "8kB": 8192, "MB": 1024**2, "16MB": 16 * 1024**2, "GB": 1024**3, "TB": 1024**4}
_TIMES = {"us": 0.001, "ms": 1.0, "s": 1000.0, "min": 60_000.0, "h": 3_600_000.0, "d": 86_400_000.0}
_UNITS: dict[str, float] = {**_SIZES, **_TIMES}
_TRUE, _FALSE = ("on", "true", "yes", "1"), ("off", "false", "no", "0")
# A size that differs by less than this part is the same decision, such as 3967MB beside 4GB.
_TOLERANCE = 0.05
# Since 15 the method is named, and "on" is the first of them.
_SYNONYMS = {("wal_compression", "on"): "pglz"}


@dataclass(frozen=True)
class Machine:
    """What the advice is computed from. A number of 0 is one that the server itself tells."""

    memory_bytes: int
    cores: int
    connections: int = 0
    storage: str = "ssd"
    standbys: int = 0
    overrides: t.Mapping[str, tuning.Value] = field(default_factory=dict)


class Line(t.NamedTuple):
    """One setting: what it is now, what is advised, and why."""

    setting: str
    verdict: str
    now: str
    advised: str
    reason: str


def compare(settings: t.Sequence[Row], machine: Machine, major: int) -> list[Line]:
    """Return a line for each setting that is advised, first those that differ. ``settings`` are rows of pg_settings."""
    known = {row["name"]: row for row in settings}
    connections = machine.connections or int(known["max_connections"]["setting"])
    computed = tuning.settings(
        machine.memory_bytes, machine.cores, connections, machine.storage, machine.standbys, major
    )
    lines = [_line(wanted, known.get(wanted["name"])) for wanted in tuning.merge(computed, machine.overrides)]
    return sorted(lines, key=lambda line: line.verdict == AS_ADVISED)


def _line(wanted: tuning.Setting, row: Row | None) -> Line:
    name, value, reason = wanted["name"], wanted["value"], wanted["reason"]
    if row is None:
        return Line(name, OTHER, "not known to this server", value, reason)
    return Line(name, verdict(row, value), row["shown"], value, reason)


def verdict(row: Row, advised: str) -> str:
    """Return how a setting stands to what is advised."""
    if row["vartype"] == "bool":
        return AS_ADVISED if _truth(row["setting"]) == _truth(advised) else OTHER
    now, wanted = number(row["setting"], row["unit"]), number(advised, row["unit"])
    if row["vartype"] in ("integer", "real") and now is not None and wanted is not None:
        near = _TOLERANCE * abs(wanted) if row["unit"] else 0.0
        if abs(now - wanted) <= near:
            return AS_ADVISED
        return HIGHER if now > wanted else LOWER
    text = _SYNONYMS.get((row["name"], advised), advised)
    return AS_ADVISED if row["setting"].lower() in (text.lower(), advised.lower()) else OTHER


def number(text: str, unit: str | None) -> float | None:
    """Return a value such as 4GB, 15min, 1.1 or 524288 in bytes or milliseconds, or as it is where there is no unit.

    A number without a unit of its own is in that of the setting. -1 and 0 mean something of their own.
    """
    text = text.strip()
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    suffix = text[len(digits) :].strip()
    try:
        value = float(digits)
    except ValueError:
        return None
    if suffix:
        return value * _UNITS[suffix] if suffix in _UNITS else None
    return value * _UNITS.get(unit or "", 1.0) if value > 0 else value


def _truth(text: str) -> bool | None:
    lowered = text.lower()
    return True if lowered in _TRUE else False if lowered in _FALSE else None
