# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Remove the sets that a policy lets go, and the log that no set needs: what matrixon_backup_prune does."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._backup import options as shared
from ansible_collections.matrixon.ops.plugins.module_utils._backup import retention, wal
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import MEDIA
from ansible_collections.matrixon.ops.plugins.module_utils._backup.media import MediaDriver, MediaPart
from ansible_collections.matrixon.ops.plugins.module_utils._backup.outcome import Outcome
from ansible_collections.matrixon.ops.plugins.module_utils._backup.steps import Failed, Steps
from ansible_collections.matrixon.ops.plugins.module_utils._backup.store import Clock, Entry, Store, utc_now
from ansible_collections.matrixon.ops.plugins.module_utils._backup.take import newest_with
from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._net import reason
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import headline

RULES: dict[str, t.Any] = {
    "keep_last": {"type": "int", "default": 0},
    "keep_daily": {"type": "int", "default": 0},
    "keep_weekly": {"type": "int", "default": 0},
    "keep_monthly": {"type": "int", "default": 0},
    "max_age": {"type": "float"},
    "min_verified": {"type": "int", "default": 2},
}


def run(options: shared.Options, check_mode: bool, clock: Clock = utc_now) -> Outcome:
    """Remove what the policy lets go. Every decision has its reason."""
    steps = Steps("backup_prune", shared.server_name(options), options["deployment"], options["profile"], clock)
    try:
        return _run(options, check_mode, steps, clock)
    except Failed:
        report = steps.report()
        return Outcome(report=report, failed=True, msg=headline(report))


def _run(options: shared.Options, check_mode: bool, steps: Steps, clock: Clock) -> Outcome:
    with steps.step("prune_plan") as note:
        if found := shared.problems(options):
            raise BackupError(INTERNAL, "; ".join(found))
        place = shared.store(options)
        entries = place.sets()
        decisions = retention.plan(entries, retention.Policy(**{name: options[name] for name in RULES}), clock())
        going = retention.removals(decisions)
        note.say(f"{len(going)} of {len(entries)} sets may go", len(going), "count")
    log = spare_log(entries, decisions, shared.archive(options, place))
    plan = [f"set {d.id} {'stays' if d.keep else 'goes'}: {'; '.join(d.reasons)}" for d in decisions]
    if log:
        plan.append(f"{len(log)} segments of the log go, which no set that stays needs")
    values = {
        "removed": going,
        "decisions": [{"id": d.id, "keep": d.keep, "reasons": list(d.reasons)} for d in decisions],
    }
    media = _media_driver(entries, options, place)
    spare: list[str] = []
    if media:
        with steps.step("prune_media_plan") as note:
            there = media.snapshots(Deadline(options["deadline"]))
            spare = spare_snapshots(entries, going, there)
            note.say(f"{len(spare)} of {len(there)} snapshots of the media may go", len(spare), "count")
        if spare:
            plan.append(f"{len(spare)} snapshots of the media go, which no set that stays names")
    if not check_mode and (going or log):
        _remove(place, going, log, steps)
    if not check_mode and media and spare:
        # After the sets: a set never names a snapshot that is gone.
        with steps.step("prune_media") as note, place.lock("prune"):
            media.forget(spare, Deadline(options["deadline"]))
            note.say(f"forgot {len(spare)} snapshots of the media", len(spare), "count")
    steps.facts["decisions"] = values["decisions"]
    changed = bool(going or log or spare)
    return Outcome(report=steps.report(), changed=changed, plan=tuple(plan), values=values)


def _media_driver(entries: t.Sequence[Entry], options: shared.Options, place: Store) -> MediaDriver | None:
    """Return the driver of the newest set's media, where the options say how to reach its repository."""
    newest = newest_with(entries, MEDIA)
    if options["media"] is None or newest is None:
        return None
    return shared.media_driver(newest.components[MEDIA].driver, options["media"], place)


def spare_snapshots(entries: t.Sequence[Entry], going: t.Collection[str], there: t.Sequence[str]) -> list[str]:
    """Return the snapshots that no set names that stays. Where a manifest cannot be read, nothing is spare."""
    staying = [entry for entry in entries if entry.id not in going]
    if any(entry.manifest is None for entry in staying):
        return []
    named = {
        snapshot
        for entry in staying
        if entry.manifest and entry.manifest.media
        for snapshot in MediaPart.from_dict(entry.manifest.media).snapshots
    }
    newest = max((place for place, snapshot in enumerate(there) if snapshot in named), default=0)
    # What is newer than all of them may be of a run that makes its set right now.
    return [snapshot for snapshot in there[:newest] if snapshot not in named]


def _remove(place: Store, going: t.Sequence[str], log: t.Sequence[str], steps: Steps) -> None:
    with steps.step("prune_remove") as note:
        size = 0
        with place.lock("prune"):
            place.sweep()
            for set_id in going:
                manifest = place.entry(set_id).manifest
                place.remove(set_id)
                size += manifest.stored_bytes if manifest else 0
            for path in log:
                size += _unlink(path)
            place.write_catalog()
        note.say(f"removed {len(going)} sets and {len(log)} segments of the log, {human(size, 'B')}", size, "B")


def _unlink(path: str) -> int:
    """Remove one segment and return its length. Somebody else may have been quicker."""
    try:
        size = os.lstat(path).st_size
        os.unlink(path)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise BackupError(INTERNAL, f"{path} cannot be removed: {reason(error)}") from error
    return size


def spare_log(
    entries: t.Sequence[Entry], decisions: t.Sequence[retention.Decision], archive: str | None
) -> list[str]:
    """Return the segments of an archive that no set needs that stays; none where the archive may be of two servers."""
    if archive is None:
        return []
    needs = retention.wal_needs(entries, decisions)
    servers = {need.system_identifier for need in needs}
    if len(servers) != 1:
        return []
    (server,) = servers
    try:
        names = sorted(os.listdir(archive))
    except OSError as error:
        raise BackupError(INTERNAL, f"the archive {archive} cannot be listed: {reason(error)}") from error
    # A history is small, has no segment, and without it nobody knows how timelines follow each other.
    files = [(name, file) for name in names if (file := wal.parse_name(name)) and file.kind != wal.PARTIAL]
    return [
        os.path.join(archive, name)
        for name, file in files
        if file.segment and not retention.needs_segment(needs, server, file.segment)
    ]
