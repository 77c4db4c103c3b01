# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Make a set, or remove one: what matrixon_backup does."""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._backup import options as shared
from ansible_collections.matrixon.ops.plugins.module_utils._backup import take
from ansible_collections.matrixon.ops.plugins.module_utils._backup.changes import read_journal, to_bytes
from ansible_collections.matrixon.ops.plugins.module_utils._backup.config import Config, ConfigPath
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import (
    App,
    Retention,
    id_problem,
    parse_time,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.media import Kept, Source
from ansible_collections.matrixon.ops.plugins.module_utils._backup.outcome import Outcome
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest import PgBackRest
from ansible_collections.matrixon.ops.plugins.module_utils._backup.steps import Failed, Steps
from ansible_collections.matrixon.ops.plugins.module_utils._backup.store import Clock, Entry, Store, utc_now
from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, PARSE, Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import CRITICAL, headline, rfc3339


def run(options: shared.Options, check_mode: bool, clock: Clock = utc_now) -> Outcome:
    """Bring about the state that was asked for, or say how that failed."""
    steps = Steps("backup", shared.server_name(options), options["deployment"], options["profile"], clock)
    do = _absent if options["state"] == "absent" else _present
    try:
        return do(options, check_mode, steps, clock)
    except Failed:
        report = steps.report()
        return Outcome(report=report, failed=True, msg=f"{headline(report)}{_what_is_left(options)}")


def _what_is_left(options: shared.Options) -> str:
    """Say what there is to fall back on."""
    with contextlib.suppress(Exception):
        found = [
            entry
            for entry in take.sound(shared.store(options).sets())
            # One that a drill refuted is nothing to fall back on.
            if entry.id != options["name"] and not (entry.drill and entry.drill.status == CRITICAL)
        ]
        if found and found[-1].manifest:
            return f". The newest complete set is still {found[-1].id} of {rfc3339(found[-1].manifest.finished)}"
        return ". There is no other complete set"
    return ""


def _problems(options: shared.Options) -> list[str]:
    found = shared.problems(options)
    if options["name"] and (problem := id_problem(options["name"], "name")):
        found.append(problem)
    database = options["database"]
    if database:
        for name in ("full_after", "longest_chain", "jobs"):
            if not database[name] > 0:
                found.append(f"database.{name}: {database[name]:g} is not above 0")
        if not 0 <= database["shrink_percent"] <= 100:
            found.append(f"database.shrink_percent: {database['shrink_percent']:g} is not from 0 to 100")
        if database["driver"] == shared.LOGICAL and database["kind"] == "incremental":
            found.append("database.kind: a dump is always whole; use auto, or the driver native")
        if not database["repository"] > 0:
            found.append(f"database.repository: {database['repository']} is no number; the first repository is 1")
    if options["keep_until"]:
        try:
            parse_time(options["keep_until"])
        except ValueError:
            found.append(
                f"keep_until: {options['keep_until']!r} is no time with a zone; write for example 2027-01-31T00:00:00Z"
            )
    return found


def _apart(options: shared.Options) -> dict[str, str]:
    """Return what the store must not share a place with."""
    return {"the media": options["media"]["path"]} if options["media"] else {}


def _present(options: shared.Options, check_mode: bool, steps: Steps, clock: Clock) -> Outcome:
    deadline = Deadline(options["deadline"])
    with steps.step("backup_options") as note:
        if found := _problems(options):
            raise BackupError(INTERNAL, "; ".join(found))
        place = shared.store(options, _apart(options))
        there = _named(place, options["name"])
        note.say("the options are good")
    if there:
        return _there_already(place, there, steps, deadline)
    with contextlib.ExitStack() as stack:
        with steps.step("backup_connect") as note:
            parts = list(_parts(options, place, deadline, clock, stack))
            note.say(f"parts of the set: {', '.join(part.name for part in parts)}")
        if check_mode:
            return _foreseen(place, parts, options, steps)
        wish = take.Wish(
            name=options["name"],
            retention=Retention(
                options["retention_class"], parse_time(options["keep_until"]) if options["keep_until"] else None
            ),
            server_name=options["server_name"],
            app=App(options["profile"]),
        )
        entry = take.take(place, parts, wish, steps, deadline, clock)
    return _done(entry, steps, changed=True)


def _named(place: Store, name: str) -> Entry | None:
    return next((entry for entry in place.sets() if name and entry.id == name), None)


def _there_already(place: Store, entry: Entry, steps: Steps, deadline: Deadline) -> Outcome:
    """Hold a set that is there against its own checksums: only then nothing is to be done."""
    with steps.step("backup_set") as note:
        if entry.damage:
            raise BackupError(
                PARSE, f"set {entry.id} is damaged: {entry.damage}; remove it with state: absent, or take another name"
            )
        read = place.verify_files(entry, deadline)
        if read.bad:
            raise BackupError(PARSE, f"set {entry.id} is damaged: {'; '.join(read.bad)}; remove it with state: absent")
        note.say(f"set {entry.id} is there, and its {read.files} files have the checksums that they were given")
    return _done(entry, steps, changed=False)


def _parts(
    options: shared.Options, place: Store, deadline: Deadline, clock: Clock, stack: contextlib.ExitStack
) -> t.Iterator[take.Part]:
    database = options["database"]
    if database:
        driver = stack.enter_context(shared.live_driver(options, place, deadline))
        rule = take.ChainRule(database["kind"], database["full_after"] * 86400, database["longest_chain"])
        yield take.DatabaseTaker(driver, rule, database["shrink_percent"], clock)
    media = options["media"]
    if media:
        yield take.MediaTaker(shared.media_driver(media["driver"], media, place), _source(media), _changes(media))
    config = options["config"]
    if config:
        paths = [ConfigPath(path) for path in config["paths"]]
        paths += [ConfigPath(path, optional=True) for path in config["optional_paths"]]
        # They are read as who may read them all, and the store's owner gets them encrypted.
        yield take.ConfigTaker(Config(config["recipients"]), paths)


def _source(media: shared.Options) -> Source:
    return Source(
        root=media["path"],
        directories=(*(Kept(name) for name in media["required"]), *(Kept(name, False) for name in media["optional"])),
        shrink_percent=media["shrink_percent"],
        accept_file_system=media["accept_file_system"],
        accept_empty=media["accept_empty"],
    )


def _changes(media: shared.Options) -> list[bytes] | None:
    if media["changes_file"]:
        return read_journal(media["changes_file"])[0]
    return None if media["changes"] is None else [to_bytes(path) for path in media["changes"]]


def _foreseen(place: Store, parts: t.Sequence[take.Part], options: shared.Options, steps: Steps) -> Outcome:
    with steps.step("backup_preflight") as note:
        entries = place.sets()
        if found := take.problems(place, parts, entries):
            raise BackupError(INTERNAL, "; ".join(found))
        needed = sum(part.estimate() for part in parts)
        place.require_space(needed)
        note.say(f"nothing stands in the way; it would need {human(needed, 'B')} at most", needed, "B")
    lines = take.plan(place, parts, take.Wish(name=options["name"]), entries)
    return Outcome(report=steps.report(), changed=True, msg="; ".join(lines), plan=tuple(lines))


def _done(entry: Entry, steps: Steps, changed: bool) -> Outcome:
    if not entry.manifest:
        raise AssertionError
    facts = shared.described(entry)
    steps.facts.update({"set": facts, "timings": entry.manifest.timings})
    return Outcome(report=steps.report(), changed=changed, values={"set": facts})


def _absent(options: shared.Options, check_mode: bool, steps: Steps, clock: Clock) -> Outcome:
    with steps.step("backup_options") as note:
        if found := _problems(options):
            raise BackupError(INTERNAL, "; ".join(found))
        place = shared.store(options)
        there = _named(place, options["name"])
        note.say("the options are good")
    with steps.step("backup_remove") as note:
        if there is None:
            note.say(f"there is no set {options['name']}")
        elif check_mode:
            _spare_the_last(place, there.id)
            _require_removable(there, _engine(place, options), Deadline(options["deadline"]))
            note.say(f"set {there.id} would be removed")
        else:
            note.say("; ".join([f"set {there.id} is removed", *_remove(there, place, options)]))
    return Outcome(report=steps.report(), changed=there is not None, msg=note.message)


def _remove(entry: Entry, place: Store, options: shared.Options) -> list[str]:
    """Remove a set, and what it alone had in a repository of pgBackRest. Return what else is to be said of that."""
    deadline, engine = Deadline(options["deadline"]), _engine(place, options)
    repositories = engine.stores([entry])
    with place.lock("removing a set"):
        _spare_the_last(place, entry.id)
        _require_removable(entry, engine, deadline)
        place.sweep()
        place.remove(entry.id)
        place.write_catalog()
        left = {other.id: other.manifest for other in place.sets()}
        tidied = [repository.tidy(left, deadline) for repository in repositories]
    return [words for done in tidied for words in done.kept]


def _engine(place: Store, options: shared.Options) -> PgBackRest:
    configuration = (options["database"] or {}).get("configuration")
    return shared.pgbackrest({"pgbackrest": {"configuration": configuration}}, place, shared.runner(options))


def _require_removable(entry: Entry, engine: PgBackRest, deadline: Deadline) -> None:
    """Refuse where the repository could not do without the backup of the set."""
    if entry.manifest and (found := engine.removal_problems([entry.manifest], deadline)):
        raise BackupError(INTERNAL, "; ".join(found))


def _spare_the_last(place: Store, set_id: str) -> None:
    """Refuse to remove the last set that a drill proved."""
    proven = [entry.id for entry in place.sets() if entry.verified]
    if proven == [set_id]:
        raise BackupError(
            INTERNAL,
            f"name: set {set_id} is the only one that a drill has proved, and the last proven copy always stays; make "
            f"and prove another one first, or remove {place.path} yourself to give up all backups of {place.server}",
        )
