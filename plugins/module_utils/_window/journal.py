# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What became of a maintenance window so far, so that a run that died leaves nothing open unnoticed.

Pure but for `load`, `save` and `known`. Times are UTC, in RFC 3339 with milliseconds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _journal
from ansible_collections.matrixon.ops.plugins.module_utils._window.model import SPEC, Window

SCHEMA = "matrixon.ops/window/1"
# A window that is only known was never told to anybody. One that expired ran out before somebody closed it.
ANNOUNCED, OPEN, EXPIRED, CLOSED = "announced", "open", "expired", "closed"
UNFINISHED = (OPEN, EXPIRED)

Journal = _journal.Journal
NotAJournal = _journal.NotAJournal

PARTS: dict[str, t.Any] = {
    "window": dict,
    "state": str,
    "announced": (dict, type(None)),
    "opened": (str, type(None)),
    "expired": (str, type(None)),
    "closed": (str, type(None)),
    "silence": (str, type(None)),
    "answer": str,
    "baseline": dict,
    "steps": list,
    "refused": list,
}


def new(window: Window) -> Journal:
    """Return the journal of a window of which nothing is known."""
    return {
        "schema": SCHEMA,
        "window": window.as_dict(),
        "state": "",
        "announced": None,
        "opened": None,
        "expired": None,
        "closed": None,
        "silence": None,
        "answer": "none",
        "backup": None,
        "baseline": {},
        "steps": [],
        "refused": [],
    }


def announced(journal: Journal, now: str, ahead_s: float, short_notice: str) -> Journal:
    """Return the journal of a window that people were told of. The first time counts."""
    if journal["announced"]:
        return journal
    told = {"at": now, "ahead_s": round(ahead_s), "short_notice": short_notice}
    return {**journal, "state": ANNOUNCED, "announced": told}


def opened(journal: Journal, now: str, baseline: Journal, answer: str, backup: Journal) -> Journal:
    """Return the journal of a window that is open. What was found when it was opened first stands."""
    if journal["state"] == OPEN:
        return journal
    return {**journal, "state": OPEN, "opened": now, "baseline": baseline, "answer": answer, "backup": backup}


def step(journal: Journal, name: str, now: str) -> Journal:
    """Return the journal with a step that may begin."""
    return {**journal, "steps": [*journal["steps"], {"name": name, "at": now}]}


def refused(journal: Journal, name: str, now: str, why: str) -> Journal:
    """Return the journal with a step that may not begin. The first refusal of each counts."""
    if any(one["name"] == name for one in journal["refused"]):
        return journal
    return {**journal, "refused": [*journal["refused"], {"name": name, "at": now, "why": why}]}


def expired(journal: Journal) -> Journal:
    """Return the journal of a window that ran out while it was open."""
    if journal["state"] != OPEN:
        return journal
    return {**journal, "state": EXPIRED, "expired": journal["window"]["ends"]}


def closed(journal: Journal, now: str) -> Journal:
    """Return the journal of a window that is over."""
    return {**journal, "state": CLOSED, "closed": journal["closed"] or now}


def path_of(directory: str, deployment: str, identifier: str) -> str:
    """Return where the journal of a window is kept."""
    return os.path.join(directory, deployment, f"{identifier}.json")


def load(path: str) -> Journal | None:
    """Return the journal of a file, or none if there is no file."""
    return _journal.load(path, SCHEMA, _whole)


save = _journal.save


def known(directory: str, deployment: str) -> list[Journal]:
    """Return the journals of all windows of a deployment, by the names of their files."""
    place = os.path.join(directory, deployment)
    try:
        names = sorted(name for name in os.listdir(place) if name.endswith(".json") and not name.startswith("."))
    except FileNotFoundError:
        return []
    found = (load(os.path.join(place, name)) for name in names)
    return [journal for journal in found if journal is not None]


@contextlib.contextmanager
def locked(directory: str, deployment: str, begins: bool = True) -> t.Iterator[None]:
    """Keep other runs away from the journals of a deployment: two must not both find that no window is open.

    What begins no window makes no place for one: whoever only asks may be someone who may not write there.
    """
    place = os.path.join(directory, deployment)
    if not begins and not os.path.isdir(place):
        yield
        return
    os.makedirs(place, mode=0o700, exist_ok=True)
    handle = os.open(os.path.join(place, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _whole(found: Journal) -> bool:
    return _journal.has_parts(found, PARTS) and all(name in found["window"] for name in SPEC)
