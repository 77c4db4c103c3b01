# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What can fill up or grow, declared once, and one reading of it as a typed row.

A resource is a kind and, where a host has several of it, a part:
``memory``, ``disk:/var``, ``table:events``. A value is in bytes or a count,
never text for people, and a reading that failed gives no row at all.
"""

from __future__ import annotations

import datetime
import functools
import math
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._report import rfc3339

BYTES, COUNT = "B", "count"
LONGEST = 512
GAUGE = 3


@dataclass(frozen=True)
class Kind:
    """One kind of resource. Shares are percent of its limit.

    ``full`` is the share that a forecast looks ahead to: 100 where something
    breaks there, and the guide's trigger where more machines are wanted.
    ``wide`` marks what belongs to the deployment whichever host read it, so
    that a failover does not start its history anew. ``drawn`` marks what gets
    a picture. ``settle`` is for how many days a new level must have lasted to
    count: one where what came stays, such as on a disk, and some where a busy
    day goes by. ``trigger`` marks a limit at which the guide adds machines and
    nothing breaks.
    """

    name: str
    title: str
    unit: str
    meaning: str
    limited: bool = False
    warning: float | None = None
    critical: float | None = None
    full: float = 100
    wide: bool = False
    drawn: bool = True
    remedy: str = ""
    plural: bool = False
    settle: int = 1
    trigger: bool = False

    @property
    def check(self) -> str:
        """Return the name of the check that tells of one reading."""
        return f"capacity_{self.name}"

    @property
    def growth_check(self) -> str:
        """Return the name of the check that looks ahead."""
        return f"capacity_{self.name}_growth"


_ALL = (
    Kind("disk", "disk", BYTES, "used bytes of a file system, of those that services may fill", True, 80, 90),
    Kind("inodes", "inodes", COUNT, "used inodes of a file system, where it has a number", True, 80, 90, plural=True),
    Kind(
        "memory",
        "memory",
        BYTES,
        "memory that is not available; the guide scales above 80 %",
        True,
        80,
        95,
        80,
        settle=GAUGE,
        trigger=True,
    ),
    Kind(
        "load",
        "load",
        COUNT,
        "the kernel's average of running and waiting tasks over 15 minutes against the cores; "
        "it stands for the guide's 70 % CPU for 15 minutes",
        True,
        warning=70,
        full=70,
        remedy="cores",
        settle=GAUGE,
        trigger=True,
    ),
    Kind(
        "database_connections",
        "connections of the database",
        COUNT,
        "clients of PostgreSQL against max_connections without those kept for superusers",
        True,
        80,
        90,
        plural=True,
        settle=GAUGE,
    ),
    Kind(
        "service_connections",
        "client connections",
        COUNT,
        "established connections of an instance; the guide scales above 150 000",
        True,
        warning=100,
        plural=True,
        settle=GAUGE,
        trigger=True,
    ),
    Kind("users", "users", COUNT, "accounts that are not deactivated", wide=True, plural=True),
    Kind("rooms", "rooms", COUNT, "rooms that the server knows", wide=True, plural=True),
    Kind(
        "events",
        "events",
        COUNT,
        "number of the newest event: all ever stored, with purged ones",
        wide=True,
        plural=True,
    ),
    Kind("daily_active", "daily active users", COUNT, "those seen in 24 hours", wide=True, plural=True, settle=GAUGE),
    Kind("media_local", "media of own users", BYTES, "by the homeserver's tables, with thumbnails", wide=True),
    Kind("media_remote", "media of other servers", BYTES, "by the homeserver's tables, with thumbnails", wide=True),
    Kind("database", "database", BYTES, "size of the homeserver's database by PostgreSQL", wide=True),
    Kind("table", "table", BYTES, "size of a large table with its indexes", wide=True, drawn=False),
)
KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}
# What the homeserver's own tables say; the profile has the query of each.
COUNTED = ("users", "rooms", "events", "daily_active", "media_local", "media_remote")
# Kinds that the limits of the inventory may name.
UNLIMITED = tuple(kind.name for kind in _ALL if not kind.limited and kind.name != "table")


class Key(t.NamedTuple):
    """Which history a reading belongs to. The host is empty for what belongs to the deployment."""

    deployment: str
    host: str
    resource: str


@dataclass(frozen=True)
class Row:
    """One reading."""

    time: datetime.datetime
    deployment: str
    host: str
    resource: str
    value: float
    limit: float | None
    unit: str

    @property
    def kind(self) -> Kind:
        """Return what kind of resource it is of."""
        return kind_of(self.resource)

    @property
    def key(self) -> Key:
        """Return the history that it belongs to."""
        return Key(self.deployment, "" if self.kind.wide else self.host, self.resource)

    @property
    def identity(self) -> tuple[datetime.datetime, str, str, str]:
        """Return what no two rows have in common."""
        return self.time, self.deployment, self.host, self.resource

    def as_dict(self) -> dict[str, t.Any]:
        """Return the row as data for a report."""
        return {
            "time": stamp(self.time),
            "deployment": self.deployment,
            "host": self.host,
            "resource": self.resource,
            "value": plain(self.value),
            "limit": None if self.limit is None else plain(self.limit),
            "unit": self.unit,
        }


COLUMNS = ("time", "deployment", "host", "resource", "value", "limit", "unit")


def kind_of(resource: str) -> Kind:
    """Return the kind of a resource."""
    return KINDS[resource.partition(":")[0]]


def title_of(resource: str) -> str:
    """Return a resource as people call it, such as disk of /var."""
    kind, part = kind_of(resource), resource.partition(":")[2]
    return f"{kind.title} of {part}" if part else kind.title


def text_of(value: float, unit: str) -> str:
    """Return a value as a line of text shows it."""
    return human(value, unit).replace("\N{NO-BREAK SPACE}", " ")


def limit_of(limit: float, kind: Kind) -> str:
    """Return a limit as a line of text shows it, such as 2 cores."""
    return " ".join([text_of(limit, kind.unit), *([kind.remedy] if kind.remedy else [])])


def stamp(moment: datetime.datetime) -> str:
    """Return a time in whole seconds, as rows carry it."""
    return rfc3339(moment)[:19] + "Z"


def plain(value: float) -> float:
    """Return a number without a fraction that says nothing."""
    return int(value) if float(value).is_integer() else value


_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def parse_row(fields: t.Mapping[str, t.Any]) -> Row:
    """Return a row from its fields, texts or numbers; raise ValueError with what is wrong."""
    missing = [name for name in COLUMNS if name not in fields]
    if missing:
        raise ValueError(f"it has no {', '.join(missing)}")
    resource = _text(fields, "resource")
    if resource.partition(":")[0] not in KINDS:
        raise ValueError(f"its resource {resource!r:.80} is none of {', '.join(KINDS)}")
    unit = KINDS[resource.partition(":")[0]].unit
    if fields["unit"] != unit:
        raise ValueError(f"its unit is {fields['unit']!r:.20}, and {resource} is in {unit}")
    limit = fields["limit"]
    return Row(
        time=parse_time(fields["time"]),
        deployment=_text(fields, "deployment"),
        host=_text(fields, "host"),
        resource=resource,
        value=_number(fields["value"], "value"),
        limit=None if limit in (None, "") else _number(limit, "limit"),
        unit=unit,
    )


def parse_time(text: t.Any) -> datetime.datetime:
    """Return a time in UTC; raise ValueError if it is none."""
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        raise ValueError(f"its time {text!r:.40} is not like 2026-11-27T09:00:00Z")
    return _moment(text)


@functools.lru_cache(maxsize=1024)
def _moment(text: str) -> datetime.datetime:
    # All rows of a run share one.
    return datetime.datetime.fromisoformat(text[:-1]).replace(tzinfo=datetime.timezone.utc)


def _text(fields: t.Mapping[str, t.Any], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str) or not value or len(value) > LONGEST or _CONTROL.search(value):
        raise ValueError(f"its {name} {value!r:.40} is no plain text")
    return value


def _number(value: t.Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number) or number < 0:
        raise ValueError(f"its {name} {value!r:.40} is no number of 0 or more")
    return plain(number)


def rows_of(document: t.Mapping[str, t.Any]) -> list[Row]:
    """Return the rows in the facts of a report; raise ValueError if one is none."""
    facts = document.get("facts")
    rows = facts.get("rows", []) if isinstance(facts, dict) else []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("its rows are no list of rows")
    return [parse_row(row) for row in rows]


def document_errors(option: str, document: t.Mapping[str, t.Any]) -> t.Iterator[str]:
    """Yield what is wrong with a report that is to bring rows."""
    keys = ("kind", "target", "checks", "facts", "status", "counts")
    missing = [key for key in keys if key not in document]
    if missing:
        yield f"{option}: it is no report without {', '.join(missing)}; give what matrixon_capacity_info returned"
        return
    try:
        rows_of(document)
    except ValueError as error:
        yield f"{option}: a row of {document['target']!r:.60} cannot be used: {error}"


def threshold_errors(option: str, given: t.Mapping[str, t.Any]) -> t.Iterator[str]:
    """Yield what is wrong with shares that are to hold in place of the declared ones."""
    limited = [kind.name for kind in _ALL if kind.limited]
    for name, levels in given.items():
        if name not in limited:
            yield f"{option}: {name!r} has no thresholds; known are {', '.join(limited)}"
        elif not isinstance(levels, dict) or not levels or set(levels) - {"warning", "critical", "full"}:
            yield f"{option}.{name}: {levels!r} is not understood; write for example {{warning: 80, full: 95}}"
        else:
            wrong = {level: share for level, share in levels.items() if not _is_share(share)}
            for level, share in wrong.items():
                yield f"{option}.{name}.{level}: {share!r} is not a share; give percent of the limit above 0"
            if not wrong:
                yield from _order_errors(f"{option}.{name}", KINDS[name], given)


def _is_share(value: t.Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, (int, float)) and 0 < value <= 10000


def _order_errors(option: str, kind: Kind, given: t.Mapping[str, t.Any]) -> t.Iterator[str]:
    warning, critical = (share_of(kind, level, given) for level in ("warning", "critical"))
    if warning is not None and critical is not None and warning > critical:
        yield (
            f"{option}: warning {warning:g} is above critical {critical:g}, so it would never warn; "
            "exchange them or give both"
        )


def limit_errors(option: str, given: t.Mapping[str, t.Any]) -> t.Iterator[str]:
    """Yield what is wrong with limits for what has none by itself."""
    for name, limit in given.items():
        if name not in UNLIMITED:
            yield f"{option}: {name!r} cannot be given a limit; known are {', '.join(UNLIMITED)}"
        elif isinstance(limit, bool) or not isinstance(limit, (int, float)) or not 0 < limit < math.inf:
            yield f"{option}.{name}: {limit!r} is not a limit; give a number above 0, in bytes or a count"


def share_of(kind: Kind, level: str, given: t.Mapping[str, t.Any]) -> float | None:
    """Return a share of a kind: the one that was given, else the declared one."""
    declared: float | None = getattr(kind, level)
    share = given.get(kind.name, {}).get(level, declared)
    return None if share is None else float(share)
