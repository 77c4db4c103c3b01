# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Remove the sets that a policy lets go, and the log that no set needs: what matrixon_backup_prune does."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._backup import options as shared
from ansible_collections.matrixon.ops.plugins.module_utils._backup import retention, wal
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import MEDIA
from ansible_collections.matrixon.ops.plugins.module_utils._backup.media import MediaDriver, MediaPart
from ansible_collections.matrixon.ops.plugins.module_utils._backup.outcome import Outcome
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest import PgBackRest, Tidied
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


class Plan(t.NamedTuple):
    """What goes and what stays, by what the store held when somebody looked."""

    entries: list[Entry]
    decisions: list[retention.Decision]
    log: list[str]
    media: MediaDriver | None
    there: int
    snapshots: list[str]
    repositories: list[PgBackRest]
    spare: list[Tidied]

    @property
    def sets(self) -> list[str]:
        """Return the sets that go, in an order in which none goes before one that needs it."""
        return retention.removals(self.decisions)

    @property
    def anything(self) -> bool:
        """Say whether there is something to remove."""
        return bool(self.sets or self.log or self.snapshots or self.untidy)

    @property
    def untidy(self) -> bool:
        """Say whether a repository of pgBackRest holds something that no set needs that stays."""
        return any(one.removed or one.segments for one in self.spare)

    @property
    def sentences(self) -> tuple[str, ...]:
        """Return in words what happens to every set, to the log and to the media."""
        found = [f"set {d.id} {'stays' if d.keep else 'goes'}: {'; '.join(d.reasons)}" for d in self.decisions]
        if self.log:
            found.append(f"{len(self.log)} segments of the log go, which no set that stays needs")
        if self.snapshots:
            found.append(f"{len(self.snapshots)} snapshots of the media go, which no set that stays names")
        return (*found, *_of_repositories(self.spare))


def _run(options: shared.Options, check_mode: bool, steps: Steps, clock: Clock) -> Outcome:
    with steps.step("prune_plan") as note:
        if found := shared.problems(options):
            raise BackupError(INTERNAL, "; ".join(found))
        place = shared.store(options)
        plan = _plan(options, place, clock)
        note.say(_summary(plan), len(plan.sets), "count")
    if plan.anything and not check_mode:
        plan = _remove(options, place, steps, clock)
    values = {
        "removed": plan.sets,
        "decisions": [{"id": d.id, "keep": d.keep, "reasons": list(d.reasons)} for d in plan.decisions],
    }
    steps.facts["decisions"] = values["decisions"]
    return Outcome(report=steps.report(), changed=plan.anything, plan=plan.sentences, values=values)


def _plan(options: shared.Options, place: Store, clock: Clock) -> Plan:
    entries = place.sets()
    decisions = retention.plan(entries, retention.Policy(**{name: options[name] for name in RULES}), clock())
    log = spare_log(entries, decisions, shared.archive(options, place))
    media = _media_driver(entries, options, place)
    there = media.snapshots(Deadline(options["deadline"])) if media else []
    going = retention.removals(decisions)
    snapshots = spare_snapshots(entries, going, there)
    repositories = shared.pgbackrest(options, place, shared.runner(options)).stores(entries)
    staying = {entry.id: entry.manifest for entry in entries if entry.id not in going}
    spare = [repository.spare(staying, Deadline(options["deadline"])) for repository in repositories]
    return Plan(entries, decisions, log, media, len(there), snapshots, repositories, spare)


def _summary(plan: Plan) -> str:
    words = f"{len(plan.sets)} of {len(plan.entries)} sets may go"
    return f"{words}, and {len(plan.snapshots)} of {plan.there} snapshots of the media" if plan.media else words


def _of_repositories(found: t.Sequence[Tidied]) -> list[str]:
    """Say what goes from repositories of pgBackRest, and what has to stay there."""
    labels = [label for one in found for label in one.removed]
    segments = sum(one.segments for one in found)
    words = [f"{len(labels)} backups go from the repository, which no set that stays names"] if labels else []
    words += [f"{segments} segments go from the repository, which no backup needs"] if segments else []
    return words + [sentence for one in found for sentence in one.kept]


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


def _remove(options: shared.Options, place: Store, steps: Steps, clock: Clock) -> Plan:
    """Remove what goes, and return the plan that was followed.

    It is made anew under the lock: a set that appeared since the first look may
    need what nothing needed then.
    """
    with contextlib.ExitStack() as stack:
        with steps.step("prune_lock") as note:
            stack.enter_context(place.lock("prune"))
            place.sweep()
            plan = _plan(options, place, clock)
            note.say(f"under the lock of the store, {_summary(plan)}", len(plan.sets), "count")
        if plan.sets or plan.log:
            with steps.step("prune_remove") as note:
                size = _remove_sets(place, plan)
                words = f"removed {len(plan.sets)} sets and {len(plan.log)} segments of the log"
                note.say(f"{words}, {human(size, 'B')}", size, "B")
        if plan.media and plan.snapshots:
            # After the sets: a set never names a snapshot that is gone.
            with steps.step("prune_media") as note:
                plan.media.forget(plan.snapshots, Deadline(options["deadline"]))
                note.say(f"forgot {len(plan.snapshots)} snapshots of the media")
        if plan.untidy:
            with steps.step("prune_repository") as note:
                left = {entry.id: entry.manifest for entry in place.sets()}
                done = [repository.tidy(left, Deadline(options["deadline"])) for repository in plan.repositories]
                note.say("; ".join(_of_repositories(done)))
    return plan


def _remove_sets(place: Store, plan: Plan) -> int:
    """Remove sets and segments, and return how many bytes they had."""
    size = 0
    for set_id in plan.sets:
        manifest = place.entry(set_id).manifest
        place.remove(set_id)
        size += manifest.stored_bytes if manifest else 0
    for path in plan.log:
        size += _unlink(path)
    place.write_catalog()
    return size


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


def spare_log(entries: t.Sequence[Entry], decisions: t.Sequence[retention.Decision], archive: str | None) -> list[str]:
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
