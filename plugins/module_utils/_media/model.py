# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What a clean-up of media is about, all pure: kinds of media, files that may go, batches, and the gates' verdicts."""

from __future__ import annotations

import datetime
import typing as t
import urllib.parse
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils._backup.changes import Layout, to_text
from ansible_collections.matrixon.ops.plugins.module_utils._human import digits, human
from ansible_collections.matrixon.ops.plugins.module_utils._probe import PARSE, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import CRITICAL, OK, CheckResult, rfc3339

REMOTE = "remote"
LOCAL = "local"

DAY_MS = 86_400_000
# A time in milliseconds since 1970 has more digits than this since 1973; one in seconds gets there in the year 5138.
LEAST_MS = 100_000_000_000
# Seconds that the clocks may differ.
CLOCKS = 60.0
# Files that are asked for again before they are taken one by one.
CHUNK = 100
# How many names a message and a result have.
NAMED = 3
LISTED = 1000

Row = t.Mapping[str, t.Any]
Key = tuple[str, ...]


@dataclass(frozen=True)
class Way:
    """How files of one kind are found and go: the profile's words, see schema.json."""

    takes: str
    method: str
    path: str
    absent: int | None
    counted: str
    keys: tuple[str, ...]
    total: str
    old: str
    present: str
    kept: str
    download: str
    file: Layout
    thumbnails: Layout

    @classmethod
    def of(cls, value: t.Mapping[str, t.Any]) -> Way:
        """Return the way that a profile describes."""
        call = value["call"]
        plain = {name: str(value[name]) for name in ("takes", "counted", "total", "old", "present", "kept", "download")}
        return cls(
            method=str(call["method"]),
            path=str(call["path"]),
            absent=call.get("absent"),
            keys=tuple(value["keys"]),
            file=Layout(value["file"]),
            thumbnails=Layout(value["thumbnails"]),
            **plain,
        )


@dataclass(frozen=True)
class Kind:
    """Media of one kind: for how many days nobody may have used a file that goes, and how. None is off."""

    name: str
    days: int | None
    way: Way | None
    reason: str = ""
    larger_than: int = 0


@dataclass(frozen=True)
class Item:
    """A file that may go, by its row: when it was used last, in ms, and its bytes with its thumbnails."""

    row: Row = field(repr=False)
    key: Key
    path: bytes
    thumbnails: bytes
    used_ms: int
    bytes: int

    def as_dict(self) -> dict[str, t.Any]:
        """Return what people want to know of it."""
        return {"path": to_text(self.path), "bytes": self.bytes, "used": moment(self.used_ms)}


@dataclass(frozen=True)
class Amount:
    """A number of files and their bytes."""

    files: int
    bytes: int

    def __str__(self) -> str:
        return f"{digits(self.files)} {'file' if self.files == 1 else 'files'} with {human(self.bytes, 'B')}"

    def as_dict(self) -> dict[str, int]:
        """Return it for a report."""
        return {"files": self.files, "bytes": self.bytes}


@dataclass(frozen=True)
class Slice:
    """Files that go together: with a call for all before a time, that time."""

    items: tuple[Item, ...]
    before_ms: int


# --- words


def moment(milliseconds: int) -> str:
    """Return a time in ms as people write it."""
    return rfc3339(datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.timezone.utc))


def named(names: t.Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {digits(more)} more" if more > 0 else "")


def filled(template: str, values: Row) -> str:
    """Put values into a path, each as one part of it."""
    for name, value in values.items():
        template = template.replace("{" + name + "}", urllib.parse.quote(str(value), safe=""))
    return template


def written(query: str, values: Row) -> str:
    """Put numbers and names that were checked into a query."""
    for name, value in values.items():
        query = query.replace("{" + name + "}", str(value).replace("'", "''"))
    return query


# --- plan


def before(now: float, days: int) -> int:
    """Return the time, in ms, since when a file was not used that goes, or fail where it can not be one."""
    found = int(now * 1000) - days * DAY_MS
    if days < 1:
        raise ProbeFailure(PARSE, f"{days} days would take everything; give 1 or more")
    if found < LEAST_MS:
        raise ProbeFailure(
            PARSE, f"{found} ms since 1970 looks like seconds or like a clock that is not set ({moment(max(0, found))})"
        )
    return found


def items_of(rows: t.Iterable[Row], way: Way, before_ms: int) -> list[Item]:
    """Return the files of rows, the longest unused first. A row that is not older than the limit is refused."""
    found = []
    for row in rows:
        used = int(row["used_ms"])
        if used >= before_ms:
            raise ProbeFailure(PARSE, f"the query gave a file that was used {moment(used)}, after {moment(before_ms)}")
        key = tuple(str(row[name]) for name in way.keys)
        found.append(Item(row, key, way.file.expand(row), way.thumbnails.expand(row), used, int(row["bytes"])))
    return sorted(found, key=lambda item: (item.used_ms, item.key))


def amount(items: t.Collection[Item]) -> Amount:
    """Return how much files are."""
    return Amount(len(items), sum(item.bytes for item in items))


def slices(items: t.Sequence[Item], size: int, by_time: bool) -> list[Slice]:
    """Cut files into parts. With a call for all before a time, files of the same time go together."""
    found: list[Slice] = []
    part: list[Item] = []
    for item in items:
        if len(part) >= size and not (by_time and part[-1].used_ms == item.used_ms):
            found.append(Slice(tuple(part), part[-1].used_ms + 1))
            part = []
        part.append(item)
    if part:
        found.append(Slice(tuple(part), part[-1].used_ms + 1))
    return found


# --- gates


def judge_clocks(controller: float, host: float, server: float, target: str) -> CheckResult:
    """Refuse where the three clocks do not agree: a wrong one would make new media old."""
    times = {"the controller": controller, "this host": host, "the homeserver": server}
    apart = max(times.values()) - min(times.values())
    said = ", ".join(f"{name} says {moment(int(value * 1000))}" for name, value in times.items())
    bad = apart > CLOCKS
    words = f"the clocks are {human(apart, 's')} apart, and may be {human(CLOCKS, 's')}: {said}"
    return CheckResult(
        "clocks",
        target,
        CRITICAL if bad else OK,
        f"{words}; nothing was deleted, set them right first" if bad else f"the clocks agree: {said}",
        value=round(apart, 3),
        unit="s",
        critical=CLOCKS,
    )


def judge_share(kind: str, old: Amount, total: Amount, most: float, target: str) -> CheckResult:
    """Refuse where too much would go at once: then rather the clock, the limit or the table is wrong."""
    shares = {
        "files": 100 * old.files / total.files if total.files else 100.0,
        "bytes": 100 * old.bytes / total.bytes if total.bytes else 0.0,
    }
    which = max(shares, key=lambda name: shares[name])
    bad = shares[which] > most
    words = f"{old} of {total} of {kind} media would go, {shares[which]:.1f} % of the {which}"
    return CheckResult(
        f"{kind}_share",
        target,
        CRITICAL if bad else OK,
        f"{words}, and max_share is {most:g} %; raise it if that is meant. Nothing was deleted" if bad else words,
        value=round(shares[which], 1),
        unit="%",
        critical=most,
    )


def judge_fresh(sets: t.Sequence[Row], now: datetime.datetime, most: float, target: str) -> CheckResult:
    """Refuse without a verified set of the database that is new enough. Sets are as matrixon_backup_info gives them."""
    name = "database_backup"
    found = [one for one in sets if one.get("status") == "verified" and "database" in one.get("components", ())]
    way_out = "take one with the playbook matrixon.ops.backup. Nothing was deleted"
    if not found:
        words = f"of {len(sets)} backup sets none is of the database and verified; {way_out}"
        return CheckResult(name, target, CRITICAL, words, unit="s", critical=most)
    ages = {str(one["id"]): (now - parsed(str(one["finished"]))).total_seconds() for one in found}
    sane = {key: age for key, age in ages.items() if age >= -CLOCKS}
    if not sane:
        words = f"the verified sets of the database are of a time to come ({named(sorted(ages))}); {way_out}"
        return CheckResult(name, target, CRITICAL, words, unit="s", critical=most)
    best = min(sane, key=lambda key: sane[key])
    age, bad = max(0.0, sane[best]), sane[best] > most
    words = f"the newest verified set of the database is {best}, {human(age, 's')} old"
    return CheckResult(
        name,
        target,
        CRITICAL if bad else OK,
        f"{words}, and may be {human(most, 's')}; {way_out}" if bad else words,
        value=round(age, 1),
        unit="s",
        critical=most,
    )


def judge_held(lacking: t.Sequence[str], files: int, set_id: str, target: str) -> CheckResult:
    """Refuse where the set lacks a file that would go."""
    name = "media_backup"
    if not lacking:
        words = f"the verified set {set_id} holds each of the {digits(files)} files that would go"
        return CheckResult(name, target, OK, words, value=0, unit="count")
    words = (
        f"the verified set {set_id} lacks {digits(len(lacking))} of the {digits(files)} files that would go: "
        f"{named(lacking)}. Nothing was deleted; take and prove a new set of the media first"
    )
    return CheckResult(name, target, CRITICAL, words, value=len(lacking), unit="count", critical=0)


def parsed(text: str) -> datetime.datetime:
    """Return a time of a set."""
    try:
        return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z")
    except ValueError as error:
        raise ProbeFailure(PARSE, f"database_sets: {text!r} is no time as matrixon_backup_info gives it") from error
