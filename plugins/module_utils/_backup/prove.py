# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Prove sets by restoring them: what matrixon_backup_drill does.

A set is *verified* when its newest drill went well. The drill's report is
written beside the set, whatever it found.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._backup import options as shared
from ansible_collections.matrixon.ops.plugins.module_utils._backup import take
from ansible_collections.matrixon.ops.plugins.module_utils._backup.config import Config
from ansible_collections.matrixon.ops.plugins.module_utils._backup.drill import Query, drill
from ansible_collections.matrixon.ops.plugins.module_utils._backup.driver import Chain
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import (
    CONFIG,
    DATABASE,
    MEDIA,
    Component,
    Manifest,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.media import MediaPart, Share, sample_problems
from ansible_collections.matrixon.ops.plugins.module_utils._backup.outcome import Outcome
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import uninterrupted
from ansible_collections.matrixon.ops.plugins.module_utils._backup.steps import Failed, Steps
from ansible_collections.matrixon.ops.plugins.module_utils._backup.store import Clock, Entry, Store, utc_now
from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, PARSE, Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import FAILING, headline

LATEST = "latest"
_NO_REPOSITORY: dict[str, t.Any] = dict.fromkeys(shared.REPOSITORY)
UNPROVEN = "unproven"


def run(options: shared.Options, check_mode: bool, clock: Clock = utc_now) -> Outcome:
    """Prove the sets that were asked for. The reports of several are one, with the set as each check's target."""
    steps = Steps("drill", shared.server_name(options), options["deployment"], options["profile"], clock)
    try:
        with steps.step("drill_sets") as note:
            if found := _problems(options):
                raise BackupError(INTERNAL, "; ".join(found))
            place = shared.store(options)
            entries = place.sets()
            # Where a run would make the first set, there is none to name yet.
            foreseen = check_mode and not take.sound(entries) and options["set"] == LATEST
            chosen = [] if foreseen else choose(entries, options["set"])
            note.say(f"to be proven: {', '.join(entry.id for entry in chosen) or 'none, each set was proven before'}")
        if check_mode:
            names = ["the first one"] if foreseen else [entry.id for entry in chosen]
            where = options["copy"] or _scratch(options, place)
            lines = [f"set {name} would be restored in {where} and proven" for name in names]
            return Outcome(report=steps.report(), changed=bool(lines), plan=tuple(lines), msg="; ".join(lines))
        deadline = Deadline(options["deadline"])
        for entry in chosen:
            _prove(entry, place, options, steps, deadline, clock)
    except Failed:
        report = steps.report()
        return Outcome(report=report, failed=True, msg=headline(report))
    report = steps.report()
    return Outcome(
        report=report,
        changed=bool(chosen),
        failed=report.status in FAILING[options["fail_on"]],
        values={"sets": [entry.id for entry in chosen]},
    )


def _problems(options: shared.Options) -> list[str]:
    found = shared.problems(options)
    for name in ("scratch", "copy"):
        if options[name] and not os.path.isabs(options[name]):
            found.append(f"{name}: {options[name]!r} is no absolute path")
    if not options["media_shares"] > 0:
        found.append(f"media_shares: {options['media_shares']} is not above 0; 1 reads the whole repository")
    if not options["jobs"] > 0:
        found.append(f"jobs: {options['jobs']} is not above 0")
    return found


def choose(entries: t.Sequence[Entry], wanted: str) -> list[Entry]:
    """Return the sets to prove: the newest, those that were never proven, or the one of that name."""
    sound = take.sound(entries)
    if wanted == LATEST:
        if not sound:
            raise BackupError(INTERNAL, "there is no complete set that could be proven; make one first")
        return sound[-1:]
    if wanted == UNPROVEN:
        return [entry for entry in sound if not entry.verified]
    found = [entry for entry in entries if entry.id == wanted]
    if not found:
        known = ", ".join(entry.id for entry in sound[-3:]) or "none"
        raise BackupError(INTERNAL, f"set: there is no set {wanted!r}; the newest ones are {known}")
    return found


def _scratch(options: shared.Options, place: Store) -> str:
    return options["scratch"] or os.path.join(place.path, "scratch")


def _prove(entry: Entry, place: Store, options: shared.Options, steps: Steps, deadline: Deadline, clock: Clock) -> None:
    """Prove one set and write down what was found. Only what cannot be written down ends the whole run."""
    one = Steps("drill", f"set {entry.id}", options["deployment"], options["profile"], clock)
    with contextlib.suppress(Failed):
        _checks(entry, place, options, one, deadline)
    steps.add(*one.checks)
    steps.facts.setdefault("drills", {})[entry.id] = one.facts
    with steps.step("drill_record") as note:
        path = place.record_drill(entry.id, one.report().as_dict())
        note.say(f"what was found is in {path}")
    steps.evidence.append(path)


def _checks(entry: Entry, place: Store, options: shared.Options, steps: Steps, deadline: Deadline) -> None:
    with contextlib.ExitStack() as stack:
        with steps.step("set_whole") as note:
            chain = stack.enter_context(place.in_use(entry.id))
            note.say(f"the chain of the set is whole: {len(chain)} of {len(chain)}")
        with steps.step("set_checksums") as note:
            size = 0
            for link in place.chain(entry.id):
                read = place.verify_files(link, deadline)
                if read.bad:
                    raise BackupError(PARSE, f"set {link.id} is damaged: {'; '.join(read.bad)}")
                size += read.bytes
            note.say(f"{human(size, 'B')} read again, each file has its checksum", size, "B")
        manifest = chain[-1][1]
        if DATABASE in manifest.components:
            _database(manifest, chain, place, options, steps, deadline)
        if MEDIA in manifest.components:
            _media(manifest, place, options, steps, deadline)
        if CONFIG in manifest.components:
            _config(manifest.components[CONFIG], chain[-1][0], options, steps, deadline)


def _database(
    manifest: Manifest, chain: Chain, place: Store, options: shared.Options, steps: Steps, deadline: Deadline
) -> None:
    how = shared.runner(options)
    with steps.step("drill_database") as note:
        driver = shared.stored_driver(manifest.components[DATABASE].driver, options, place, how, durable=False)
        scratch = _scratch(options, place)
        copy = options["copy"]
        proof = drill(driver, chain, scratch, how, deadline, queries=_queries(options), jobs=options["jobs"], copy=copy)
        end = f"{copy}, looked at, and kept" if copy else f"{scratch}, looked at, and removed again"
        note.say(f"restored in {end}")
    steps.add(*proof.checks)
    steps.facts.update(proof.facts)


def _queries(options: shared.Options) -> list[Query]:
    return [
        Query(query["name"], query["database"], query["sql"], query["meaning"] or "") for query in options["queries"]
    ]


def _media(manifest: Manifest, place: Store, options: shared.Options, steps: Steps, deadline: Deadline) -> None:
    """Bring the sample of files back and compare it, and read today's share of the repository."""
    part = MediaPart.from_dict(manifest.media)
    with steps.step("media_sample") as note:
        driver = shared.media_driver(part.driver, options["media"] or _NO_REPOSITORY, place)
        scratch = f"{_scratch(options, place)}-media"
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            if part.sample:
                driver.restore(part, scratch, deadline, only=[entry.path for entry in part.sample])
            if wrong := sample_problems(part, scratch, deadline):
                raise BackupError(PARSE, "; ".join(wrong[:3]))
        finally:
            with uninterrupted():
                shutil.rmtree(scratch, ignore_errors=True)
        note.say(f"{len(part.sample)} files were brought back and are as they were", len(part.sample), "count")
    with steps.step("media_repository") as note:
        share = Share.of_day(datetime.datetime.now(datetime.timezone.utc).date(), options["media_shares"])
        driver.verify(part, share, deadline)
        note.say(f"{share} of the repository was read and is whole")


def _config(component: Component, directory: str, options: shared.Options, steps: Steps, deadline: Deadline) -> None:
    """Open the archive where an identity is at hand, else prove what can be proved of it closed."""
    with steps.step("config_archive") as note:
        if options["identity_file"]:
            members = Config().read(component, directory, options["identity_file"], deadline)
            note.say(f"all {len(members)} files and directories of the archive are as they were", len(members), "count")
        else:
            Config().check(component, directory, deadline)
            note.say("the archive is whole as far as can be seen without an identity")
