# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What a move between regions did so far, so that a run that died goes on where it stopped.

Pure but for `load` and `save`. Times are UTC, in RFC 3339 with milliseconds.
"""

from __future__ import annotations

import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _fleet, _journal
from ansible_collections.matrixon.ops.plugins.module_utils._dr.steps import NAMES

SCHEMA = "matrixon.ops/dr/1"
GATES = NAMES[0]
NO_MOVE = "no {} from {} to {} has passed its gates, so no step of it can be done; run the playbook from its beginning"

Journal = _journal.Journal
NotAJournal = _journal.NotAJournal


class OtherRun(ValueError):
    """Another move has begun and not ended."""


class NoMove(ValueError):
    """A step of a move that nobody has begun."""


PARTS: dict[str, t.Any] = {
    "operation": str,
    "from": str,
    "to": str,
    "started": str,
    "finished": (str, type(None)),
    "steps": dict,
}
STEP: dict[str, t.Any] = {"started": str, "finished": (str, type(None)), "attempts": int, "data": dict}


def new(operation: str, source: str, target: str, now: str) -> Journal:
    """Return the journal of a move that begins."""
    return {
        "schema": SCHEMA,
        "operation": operation,
        "from": source,
        "to": target,
        "started": now,
        "finished": None,
        "steps": {},
    }


def opened(journal: Journal | None, operation: str, source: str, target: str, now: str, first: bool) -> Journal:
    """Return the journal to go on with: the one of this move if it has not ended, else a new one for its first step."""
    if (journal is None or journal["finished"]) and first:
        return new(operation, source, target, now)
    if journal is None or journal["finished"]:
        raise NoMove(NO_MOVE.format(operation, source, target))
    if (journal["operation"], journal["from"], journal["to"]) != (operation, source, target):
        raise OtherRun(
            f"a {journal['operation']} from {journal['from']} to {journal['to']} began at {journal['started']} and has "
            f"not ended; run it again to its end, or forget it with dr_failover_forget={journal['started']}"
        )
    if not first and not journal["steps"].get(GATES, {}).get("finished"):
        raise NoMove(NO_MOVE.format(operation, source, target))
    return journal


def begun(journal: Journal, step: str, now: str) -> Journal:
    """Return the journal with a step that begins, or begins again. A step that is done stays as it is."""
    known = journal["steps"].get(step, {"started": now, "finished": None, "attempts": 0, "data": {}})
    if known["finished"]:
        return journal
    return _with(journal, step, {**known, "attempts": known["attempts"] + 1})


def noted(journal: Journal, step: str, data: dict[str, t.Any]) -> Journal:
    """Return the journal with what a step found. What it found first stands: later it may no longer be measured."""
    known = journal["steps"][step]
    return _with(journal, step, {**known, "data": {**data, **known["data"]}})


def done(journal: Journal, step: str, data: dict[str, t.Any], now: str) -> Journal:
    """Return the journal with a step that has ended well."""
    journal = noted(journal, step, data)
    known = journal["steps"][step]
    return _with(journal, step, {**known, "finished": known["finished"] or now})


def ended(journal: Journal, now: str) -> Journal:
    """Return the journal of a move that has ended."""
    return {**journal, "finished": journal["finished"] or now}


def seconds(journal: Journal) -> dict[str, float]:
    """Return how long each step took that is done, by name, in seconds."""
    return {
        name: _fleet.milliseconds_between(step["started"], step["finished"]) / 1000
        for name, step in journal["steps"].items()
        if step["finished"]
    }


def _with(journal: Journal, name: str, step: dict[str, t.Any]) -> Journal:
    return {**journal, "steps": {**journal["steps"], name: step}}


def load(path: str) -> Journal | None:
    """Return the journal of a file, or none if there is no file; raise NotAJournal for anything else."""
    return _journal.load(path, SCHEMA, _whole)


def _whole(found: Journal) -> bool:
    return _journal.has_parts(found, PARTS) and all(_journal.has_parts(step, STEP) for step in found["steps"].values())


save = _journal.save
