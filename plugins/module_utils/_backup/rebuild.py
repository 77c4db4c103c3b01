# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Build a directory out of a set, beside the one that is in use: what matrixon_restore does.

A database recovers under our eyes, on a private socket, and is held against
what was planned before anybody may use it. Nothing that is there is touched;
letting the new directory take the old one's place is a rename, made by swap.py.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _files
from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster, drill, wal
from ansible_collections.matrixon.ops.plugins.module_utils._backup import options as shared
from ansible_collections.matrixon.ops.plugins.module_utils._backup.archive import create_slot, slot_problems
from ansible_collections.matrixon.ops.plugins.module_utils._backup.config import Config
from ansible_collections.matrixon.ops.plugins.module_utils._backup.driver import RECOVERY_NOTE, Chain, Driver, Reach
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import (
    CONFIG,
    DATABASE,
    IMMEDIATE,
    LOGICAL,
    Manifest,
    Target,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.media import MediaPart, sample_problems
from ansible_collections.matrixon.ops.plugins.module_utils._backup.outcome import Outcome
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner, uninterrupted
from ansible_collections.matrixon.ops.plugins.module_utils._backup.prove import choose
from ansible_collections.matrixon.ops.plugins.module_utils._backup.scratch import Scratch
from ansible_collections.matrixon.ops.plugins.module_utils._backup.steps import Failed, Steps
from ansible_collections.matrixon.ops.plugins.module_utils._backup.store import Clock, Entry, Store, utc_now
from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, PARSE, Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import OK, SKIPPED, headline

# What is to stay is written for good; the rest is as in a drill.
DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
BUILDING = ".restoring"
# Sessions find nothing by themselves, so that nobody's function runs in the stead of the server's own.
SEARCH_PATH = "SET search_path TO DEFAULT"


def run(options: shared.Options, check_mode: bool, clock: Clock = utc_now) -> Outcome:
    """Build the data directory that was asked for, or say why not. Nothing that is there is touched."""
    steps = Steps("restore", shared.server_name(options), options["deployment"], options["profile"], clock)
    try:
        return _run(options, check_mode, steps)
    except Failed:
        report = steps.report()
        return Outcome(report=report, failed=True, msg=f"{headline(report)}. Nothing that was there was touched")


def _run(options: shared.Options, check_mode: bool, steps: Steps) -> Outcome:
    deadline = Deadline(options["deadline"])
    with steps.step("restore_options") as note:
        if found := _problems(options):
            raise BackupError(INTERNAL, "; ".join(found))
        target = Target.parse(options["target"], options["timeline"])
        place = shared.store(options)
        (entry,) = choose(place.sets(), options["set"])
        _require_proof(entry, options["accept_unverified"])
        if entry.manifest and options["component"] not in entry.manifest.components:
            held = ", ".join(sorted(entry.manifest.components))
            raise BackupError(INTERNAL, f"component: set {entry.id} holds no {options['component']}, but {held}")
        note.say(f"{options['component']} of set {entry.id} is to be restored")
    with place.in_use(entry.id) as chain:
        manifest = chain[-1][1]
        if options["component"] != DATABASE:
            with steps.step("restore_place") as note:
                _check_place(options["directory"])
                note.say(f"{options['directory']} is free")
            if not check_mode:
                _build_files(manifest, chain[-1][0], place, options, steps, deadline)
            line = f"{options['component']} of set {entry.id} would be restored in {options['directory']}"
            return _done(entry, options, steps, check_mode, line)
        how = shared.runner(options)
        with steps.step("restore_reach") as note:
            driver = shared.stored_driver(manifest.components[DATABASE].driver, options, place, how, durable=True)
            reach = driver.reach(chain, target, deadline)
            _check_place(options["directory"])
            note.say(f"{target} can be reached: at {wal.format_lsn(reach.position)} of the log or behind it")
        if not check_mode:
            _build(driver, chain, target, reach, options, how, steps, deadline)
    steps.facts["target"] = str(target)
    line = f"set {entry.id} would be restored to {target} in {options['directory']}"
    return _done(entry, options, steps, check_mode, line)


def _done(entry: Entry, options: shared.Options, steps: Steps, check_mode: bool, line: str) -> Outcome:
    if check_mode:
        return Outcome(report=steps.report(), changed=True, plan=(line,), msg=line)
    steps.facts.update({"set": shared.described(entry), "directory": options["directory"]})
    return Outcome(report=steps.report(), changed=True, values={"directory": options["directory"]})


def _problems(options: shared.Options) -> list[str]:
    found = [*shared.problems(options), *slot_problems(options["slot"])]
    if options["slot"] and options["component"] != DATABASE:
        found.append(f"slot: {options['component']} has no log that it could keep; leave it out")
    if not os.path.isabs(options["directory"]):
        found.append(f"directory: {options['directory']!r} is no absolute path")
    if options["set"] == "unproven":
        found.append("set: several sets cannot be restored to one place; name one, or latest")
    for entry in options["truncate"]:
        for name in entry["tables"]:
            if not name.replace("_", "").isalnum():
                found.append(f"truncate: {name!r} is no plain name of a table")
    return found


def _require_proof(entry: Entry, accepted: str) -> None:
    """Refuse a set that no drill has proven, unless the operator named this very one."""
    if entry.damage:
        raise BackupError(PARSE, f"set {entry.id} is damaged: {entry.damage}")
    if entry.verified or accepted == entry.id:
        return
    why = f"its last drill ended {entry.drill.status}" if entry.drill else "no drill has proven it"
    raise BackupError(
        INTERNAL,
        f"set {entry.id} may not be what it seems: {why}. Prove it with matrixon_backup_drill first, take another set, "
        f"or say that you want it as it is with accept_unverified: {entry.id}",
    )


def _check_place(directory: str) -> None:
    if problem := cluster.empty_problem(directory):
        raise BackupError(INTERNAL, f"directory: {problem}")


def _build(
    driver: Driver,
    chain: Chain,
    target: Target,
    reach: Reach,
    options: shared.Options,
    how: Runner,
    steps: Steps,
    deadline: Deadline,
) -> None:
    """Copy, recover and look beside the place, and come to the place by rename."""
    with _beside(options["directory"], steps) as building:
        with steps.step("restore_copy") as note:
            driver.restore(chain, building, target, deadline)
            size = drill.tree_bytes(building)
            note.say(f"{human(size, 'B')} copied", size, "B")
        _recover(building, chain[-1][1], target, reach, options, how, steps, deadline)
        _forget_recovery(building)
        if timeline := steps.facts.get("timeline"):
            _announce(building, timeline)


def _build_files(
    manifest: Manifest, folder: str, place: Store, options: shared.Options, steps: Steps, deadline: Deadline
) -> None:
    """Bring media or configuration back."""
    with _beside(options["directory"], steps) as building, steps.step("restore_copy") as note:
        if options["component"] == CONFIG:
            if not options["identity_file"]:
                raise BackupError(INTERNAL, "identity_file: is missing; the configuration is encrypted")
            notes = Config().restore(manifest.components[CONFIG], folder, options["identity_file"], building, deadline)
            note.say("; ".join(["configuration and keys are back", *notes]))
            return
        part = MediaPart.from_dict(manifest.media)
        driver = shared.media_driver(part.driver, options["media"] or dict.fromkeys(shared.REPOSITORY), place)
        done = driver.restore(part, building, deadline)
        if wrong := sample_problems(part, building, deadline):
            raise BackupError(PARSE, "; ".join(wrong[:3]))
        words = [f"{done.files} files with {human(done.bytes, 'B')} are back", *done.notes]
        note.say("; ".join([*words, f"{len(part.sample)} were compared by hash"]), done.bytes, "B")


@contextlib.contextmanager
def _beside(directory: str, steps: Steps) -> t.Iterator[str]:
    """Give a directory to build in, on the same file system, which comes to its place by rename if all went well."""
    building = os.path.join(os.path.dirname(directory), f".{os.path.basename(directory)}{BUILDING}")
    try:
        with steps.step("restore_clear") as note:
            _clear(building)
            note.say(f"it is built in {building}")
        yield building
        with steps.step("restore_rename") as note, uninterrupted():
            _check_place(directory)
            if os.path.isdir(directory):
                os.rmdir(directory)
            os.rename(building, directory)
            _files.sync_directory(os.path.dirname(directory))
            note.say(f"{directory} is ready")
    except BaseException:
        with uninterrupted():
            _clear(building)
        raise


def _clear(building: str) -> None:
    if pid := cluster.running_on(building):
        raise BackupError(INTERNAL, f"a server with process {pid} runs on {building}; stop it first")
    if os.path.lexists(building):
        shutil.rmtree(building)


def _recover(
    data: str,
    manifest: Manifest,
    target: Target,
    reach: Reach,
    options: shared.Options,
    how: Runner,
    steps: Steps,
    deadline: Deadline,
) -> None:
    pg = manifest.pg
    if not pg:
        raise AssertionError
    logical = manifest.kind == LOGICAL
    tools = cluster.programs(pg.major, "postgres")
    superuser = str(manifest.components[DATABASE].detail.get("superuser", "postgres"))
    with Scratch(data, None, how, tools, superuser, DURABLE) as server:
        with steps.step("restore_recover") as note:
            server.start(deadline)
            note.say("the server took connections, on a socket of its own")
        with steps.step("restore_position") as note:
            recovered = None if logical else server.recovered(deadline)
            judges = (drill.judge_timeline, drill.judge_position)
            verdicts = [judge(reach, recovered, logical) for judge in judges]
            for verdict in verdicts:
                if verdict.status not in (OK, SKIPPED):
                    raise BackupError(PARSE, verdict.message)
            if recovered:
                steps.facts.update(timeline=recovered.timeline, lsn=wal.format_lsn(recovered.position))
            note.say("; ".join(verdict.message for verdict in verdicts))
        client = server.client()
        if target.kind == IMMEDIATE or logical:
            with steps.step("restore_rows") as note:
                names = [database.name for database in pg.databases]
                verdict = drill.judge_rows(pg, cluster.count_rows(client, names, deadline))
                if verdict.status != OK:
                    raise BackupError(PARSE, verdict.message)
                note.say(verdict.message, verdict.value, verdict.unit)
        for query in options["queries"]:
            with steps.step(f"restore_query_{query['name']}") as note:
                with client.session(deadline, query["database"]) as session:
                    session.execute(f"{SEARCH_PATH}; SET default_transaction_read_only = on")
                    rows = session.rows(query["sql"])
                verdict = drill.judge_query(drill.Query(query["name"], query["database"], query["sql"]), rows)
                if verdict.status != OK:
                    raise BackupError(PARSE, verdict.message)
                steps.facts.setdefault("answers", {})[query["name"]] = next(iter(rows[0].values()))
                note.say(verdict.message)
        if options["slot"] and not logical:
            # Before the next checkpoint, which would let go of the log that a receiver has to begin with.
            with steps.step("restore_slot") as note:
                create_slot(client, options["slot"], deadline)
                note.say(f"the slot {options['slot']} keeps the log of the copy")
        for entry in options["truncate"]:
            with steps.step("restore_truncate") as note:
                tables = ", ".join(cluster.quoted(name) for name in entry["tables"])
                with client.session(deadline, entry["database"]) as session:
                    session.execute(f"{SEARCH_PATH}; TRUNCATE {tables}")
                note.say(f"emptied in {entry['database']}: {', '.join(entry['tables'])}")
        with steps.step("restore_stop") as note:
            server.stop(deadline)
            note.say("the server stopped and left everything on the disk")


def _forget_recovery(data: str) -> None:
    """Take back what only the recovery was told: with it the server would archive nothing."""
    path = os.path.join(data, "postgresql.auto.conf")
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        kept = file.read().partition(RECOVERY_NOTE)[0].rstrip("\n")
    info = os.stat(path)
    _files.replace(path, (kept + "\n").encode("utf-8", "surrogateescape"), info.st_uid, info.st_gid, 0o600)


def _announce(data: str, timeline: int) -> None:
    """Let a server that archives hand over the history of what recovery began behind a timeline, archiving nothing.

    Segments it finds by itself, histories it does not, and without this one
    nobody can follow the log to the new timeline.
    """
    folder = os.path.join(data, "pg_wal/archive_status")
    info = os.stat(folder)
    for name in os.listdir(os.path.join(data, "pg_wal")):
        file = wal.parse_name(name)
        if file and file.kind == wal.HISTORY and file.timeline > timeline:
            _files.replace(os.path.join(folder, f"{name}.ready"), b"", info.st_uid, info.st_gid, 0o600)
