# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What decides whether pgBackRest can make, restore and remove a backup. Pure, but for asking the server once."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster
from ansible_collections.matrixon.ops.plugins.module_utils._backup.driver import Chain
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import DATABASE, Component, Manifest
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest_archive import Engine
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest_output import Stanza, Version
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest_settings import (
    FOREVER,
    Found,
    archive_problem,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import damaged
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL

NAME = "pgbackrest"
# The oldest that was tried with incremental backups of blocks; they came with 2.46.
WANTED: Version = (2, 55)

# How a backup is marked: with its set, with the fleet and server of the store, and with the run that made it.
MARK_SET = "matrixon-set"
MARK_STORE = "matrixon-store"
MARK_RUN = "matrixon-run"


class Archiving(t.NamedTuple):
    """How a server's log is kept. ``timeout`` is in seconds; the failures are since its statistics began."""

    system_identifier: str
    mode: str
    command: str
    library: str
    timeout: int
    failing: str | None


def look_at_archiving(session: cluster.Session) -> Archiving:
    """Return what a server says of the archiving of its log."""
    row = session.row(
        """
        SELECT (SELECT system_identifier FROM pg_control_system())::text AS system_identifier,
            current_setting('archive_mode') AS mode, current_setting('archive_command') AS command,
            coalesce(current_setting('archive_library', true), '') AS library,
            (SELECT setting::int FROM pg_settings WHERE name = 'archive_timeout') AS timeout,
            (SELECT last_failed_wal FROM pg_stat_archiver
                WHERE last_failed_time > coalesce(last_archived_time, '-infinity')) AS failing
        """
    )
    return Archiving(**row)


class Look(t.NamedTuple):
    """Everything that decides whether a backup can be made. ``stanza`` is None where it is not configured."""

    version: Version
    found: Found
    running: cluster.Running
    archiving: Archiving
    stanza: Stanza | None


def set_id(directory: str) -> str:
    """Return the id of the set that is made in a directory, which has a prefix as long as it is not whole."""
    return os.path.basename(os.path.normpath(directory)).removeprefix(".partial-")


def store_name(store: str) -> str:
    """Return what tells the backups of one store from those of others: its fleet and server."""
    folder, server = os.path.split(os.path.normpath(store))
    return f"{os.path.basename(folder)}/{server}"


def problems(look: Look, engine: Engine, user: str, places: t.Mapping[str, str]) -> list[str]:
    """Return what stands in the way of a backup, a sentence each."""
    found, running, archiving = look.found, look.running, look.archiving
    sentences = []
    if look.version < WANTED and found.get(engine.stanza, f"repo{engine.repository}-block") == "y":
        sentences.append(
            f"pgBackRest is {_dotted(look.version)}, and incremental backups of blocks need {_dotted(WANTED)}; install "
            f"a newer one, or set repo{engine.repository}-block=n"
        )
    if running.in_recovery:
        sentences.append("the server is a standby; back up the primary that it follows")
    if not running.reads_all:
        sentences.append(
            f"the role {user} may not read all tables, so rows cannot be counted; "
            f"GRANT pg_read_all_data TO {cluster.quoted(user)}"
        )
    for name, place in running.tablespaces:
        sentences.append(
            f"tablespace {name} lies in {place}, outside of the data directory, and the driver {NAME} does not carry "
            "tablespaces; move its tables into pg_default, or use the driver logical"
        )
    sentences += [
        f"{path} holds secrets, and everybody on this host can read it; chmod 0600 {path}" for path in found.exposed
    ]
    if problem := archive_problem(
        archiving.mode, archiving.command, archiving.library, engine.stanza, engine.directory
    ):
        sentences.append(problem)
    if problem := found.stanza_problem(engine.stanza):
        return [*sentences, problem]
    data = found.get(engine.stanza, "pg1-path")
    if running.data_directory and not _same(data, running.data_directory):
        sentences.append(
            f"stanza {engine.stanza} is configured for the data directory {data or 'of no name'}, and that of the "
            f"server is {running.data_directory}"
        )
    sentences += _repository_problems(look, engine, places)
    if removing := found.retention(engine.stanza, engine.repository):
        sentences.append(
            f"{', '.join(removing)}: so pgBackRest removes backups that sets name; which sets stay is decided by their "
            f"own retention, so set repo{engine.repository}-retention-full={FOREVER} and leave out the others"
        )
    return [*sentences, *_stanza_problems(look, engine)]


def _repository_problems(look: Look, engine: Engine, places: t.Mapping[str, str]) -> t.Iterator[str]:
    path = look.found.repository_path(engine.stanza, engine.repository)
    if path is None:
        return
    data = look.running.data_directory
    if data and cluster.inside(path, data):
        yield (
            f"repository {engine.repository} in {path} lies inside the data directory {data}, so it would be lost with "
            "it; choose another place"
        )
    for words, place in places.items():
        if cluster.inside(path, place):
            yield f"repository {engine.repository} in {path} lies inside {words}, {place}; choose another place"
        elif cluster.inside(place, path):
            yield f"{words}, {place}, lies inside repository {engine.repository} in {path}; choose another place"


def _stanza_problems(look: Look, engine: Engine) -> t.Iterator[str]:
    stanza, identifier = look.stanza, look.archiving.system_identifier
    if stanza is None or stanza.missing:
        yield (
            f"repository {engine.repository} holds no stanza {engine.stanza}; if it is a new one, make it with "
            "'pgbackrest stanza-create', and if it is not, look whether it is mounted"
        )
        return
    if stanza.clusters and stanza.clusters[-1][1] != identifier:
        yield (
            f"repository {engine.repository} belongs to another server: its stanza {engine.stanza} is of the cluster "
            f"{stanza.clusters[-1][1]}, and this is {identifier}; choose another stanza or repository"
        )
    if stanza.busy:
        yield f"another pgBackRest works on the stanza {engine.stanza}; wait for it, or look for one that hangs"


def warnings(look: Look, engine: Engine) -> list[str]:
    """Return what is worse than it could be, a sentence each."""
    found, archiving, number = look.found, look.archiving, engine.repository
    sentences = []
    if look.version < WANTED:
        sentences.append(
            f"pgBackRest is {_dotted(look.version)}; from {_dotted(WANTED)} on incremental backups copy what changed "
            "of a file, and not the whole file"
        )
    for option in ("block", "bundle"):
        if look.version >= WANTED and found.get(engine.stanza, f"repo{number}-{option}") != "y":
            sentences.append(f"repo{number}-{option} is not y, so incremental backups are larger than they must be")
    if found.get(engine.stanza, f"repo{number}-cipher-type", "none") == "none":
        sentences.append(f"repository {number} is not encrypted: whoever can read it can read all messages")
    if not archiving.timeout:
        sentences.append(
            "archive_timeout is 0, so on a quiet server the last changes stay on its disk alone; set it to 60"
        )
    if archiving.failing:
        sentences.append(f"the server could not archive {archiving.failing} of its log, and nothing since")
    if limit := found.get(engine.stanza, "archive-push-queue-max"):
        sentences.append(
            f"archive-push-queue-max is {limit}: if so much of the log waits, pgBackRest throws it away, and no "
            "restore can come behind that"
        )
    return sentences


def _dotted(version: Version) -> str:
    return ".".join(str(part) for part in version)


def _same(path: str, other: str) -> bool:
    return bool(path) and os.path.realpath(path) == os.path.realpath(other)


def reason_for_full(parent: Manifest, engine: Engine, identifier: str, stanza: Stanza) -> str | None:
    """Return why no backup can add to a set, or None. pgBackRest adds to the newest backup, whichever that is."""
    part = parent.components.get(DATABASE, Component(""))
    if parent.pg is None or part.driver != NAME:
        return f"set {parent.id} was not made by the driver {NAME}"
    if parent.pg.system_identifier != identifier:
        return f"set {parent.id} is of another cluster"
    if (part.detail.get("stanza"), part.detail.get("repository")) != (engine.stanza, engine.repository):
        return f"set {parent.id} is in another repository"
    label = str(part.detail.get("label"))
    problem = _backup_problem(parent, stanza)
    if problem:
        return problem
    if stanza.newest and stanza.newest.label != label:
        mark = stanza.newest.annotations.get(MARK_SET)
        return (
            f"the newest backup in the repository is {stanza.newest.label} "
            f"({f'of the set {mark}, which was not finished' if mark else 'which no set names'}), and that of set "
            f"{parent.id} is {label}"
        )
    return None


def _backup_problem(manifest: Manifest, stanza: Stanza) -> str | None:
    """Return why a set's backup is not the one in the repository, or None."""
    detail = manifest.components[DATABASE].detail
    label = str(detail.get("label"))
    backup = stanza.find(label)
    if backup is None:
        return f"backup {label} of set {manifest.id} is not in the repository any more"
    if backup.annotations.get(MARK_RUN) != detail.get("run"):
        return f"backup {label} in the repository is not the one of set {manifest.id}, but another of the same name"
    return None


def check_backups(chain: Chain, stanza: Stanza, repository: int) -> None:
    """Fail unless the repository has the backup of each set, and nothing else is needed for the last one."""
    wanted = chain[-1][1]
    if stanza.missing:
        raise BackupError(
            INTERNAL,
            f"set {wanted.id} cannot be restored: repository {repository} holds no such stanza; look whether it is the "
            "right one, and mounted",
        )
    for _place, manifest in chain:
        if problem := _backup_problem(manifest, stanza):
            raise damaged(f"set {wanted.id} cannot be restored: {problem}")
    labels = {str(manifest.components[DATABASE].detail["label"]) for _place, manifest in chain}
    backup = stanza.find(str(wanted.components[DATABASE].detail["label"]))
    if not backup:
        raise AssertionError
    if strangers := sorted(set(backup.needs) - labels):
        raise damaged(
            f"set {wanted.id} cannot be restored: it needs backup {strangers[0]}, which is that of no set of its chain"
        )


def unnamed(stanza: Stanza, store: str, sets: t.Mapping[str, Manifest | None]) -> tuple[list[str], list[str]]:
    """Return the backups of a store that no set names, newest first, and sentences about those that must stay."""
    named = {
        str(part.detail.get("label"))
        for manifest in sets.values()
        if manifest and (part := manifest.components.get(DATABASE)) and part.driver == NAME
    }
    unread = {name for name, manifest in sets.items() if manifest is None}
    candidates = {
        backup.label
        for backup in stanza.backups
        if backup.annotations.get(MARK_STORE) == store
        and MARK_SET in backup.annotations
        and backup.label not in named
        and backup.annotations[MARK_SET] not in unread
    }
    going: list[str] = []
    kept: list[str] = []
    for backup in reversed(stanza.backups):
        if backup.label not in candidates:
            continue
        if problem := removal_problem(stanza, backup.label, {*going, backup.label}):
            kept.append(problem)
        else:
            going.append(backup.label)
    return going, kept


def removal_problem(stanza: Stanza, label: str, going: t.Collection[str]) -> str | None:
    """Return why a backup cannot be removed together with others, or None."""
    if stanza.find(label) is None:
        return None
    if others := [other for other in stanza.dependents(label) if other not in going]:
        return f"backup {label} stays: {others[0]} cannot be restored without it"
    if label in stanza.fulls and not [other for other in stanza.fulls if other not in going]:
        return f"backup {label} stays: it is the only full one in the repository; make another one first"
    return None
