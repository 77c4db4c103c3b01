# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""A backup set in the place of a copy of the server: chosen, held against the server, and restored."""

from __future__ import annotations

import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._backup import options as shared
from ansible_collections.matrixon.ops.plugins.module_utils._backup import prove, rebuild
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import LOGICAL
from ansible_collections.matrixon.ops.plugins.module_utils._backup.outcome import Outcome
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, Deadline

Options = t.Mapping[str, t.Any]

# What a restore is told beside what was asked for.
RESTORE: dict[str, t.Any] = {
    "component": "database",
    "timeline": None,
    "media": None,
    "identity_file": None,
    "queries": [],
    "truncate": [],
    "slot": None,
}


class Restored(t.NamedTuple):
    """A set that was restored, and the position of the log up to which it was recovered."""

    set: str
    end: str


def unfit(set_id: str, kind: str, found: str | None, wanted: str) -> str | None:
    """Return why a set cannot stand for the server whose system identifier is wanted, or None. Pure."""
    if kind == LOGICAL:
        return f"set {set_id} is a dump, which has no log and nothing to be promoted; name one of another driver"
    if found != wanted:
        other = found or "without a name"
        return f"set {set_id} is of the database {other}, and this host has {wanted}; name a set of this one"
    return None


def choose(backup: Options, owner: str, system_identifier: str) -> Options:
    """Return the options of the restore, which name the one set, or say why there is none that fits."""
    options = {**RESTORE, **backup, "owner": owner}
    entries = prove.choose(shared.store(options).sets(), backup["set"])
    if len(entries) != 1:
        raise BackupError(INTERNAL, f"set: {backup['set']!r} is not one set; name one, or latest")
    (entry,) = entries
    if entry.manifest:
        pg = entry.manifest.pg
        why = unfit(entry.id, entry.manifest.kind, pg.system_identifier if pg else None, system_identifier)
        if why:
            raise BackupError(INTERNAL, why)
    return {**options, "set": entry.id}


def look(chosen: Options, deadline: Deadline, place: str) -> None:
    """Find out whether it could be restored, and touch nothing; raise with the reason."""
    _run(chosen, deadline, place, check=True)


def restore(chosen: Options, deadline: Deadline, place: str) -> Restored:
    """Restore it to a place that is free."""
    report = _run(chosen, deadline, place, check=False).report
    if not report:
        raise AssertionError
    return Restored(chosen["set"], report.facts["lsn"])


def _run(chosen: Options, deadline: Deadline, place: str, check: bool) -> Outcome:
    outcome = rebuild.run({**chosen, "directory": place, "deadline": deadline.remaining()}, check)
    if outcome.failed:
        raise BackupError(INTERNAL, outcome.msg)
    return outcome
