# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The options that modules about backups share, and what is made of them.

The doc fragment ``_backup`` documents STORE, ``_backup_pgbackrest`` ENGINE.
"""

from __future__ import annotations

import contextlib
import os
import platform
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster
from ansible_collections.matrixon.ops.plugins.module_utils._backup.driver import Driver
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.logical import Logical
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import DATABASE
from ansible_collections.matrixon.ops.plugins.module_utils._backup.media import MediaDriver
from ansible_collections.matrixon.ops.plugins.module_utils._backup.native import Native
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest import PgBackRest
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest_settings import DIRECTORY
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner, find_user, this_user
from ansible_collections.matrixon.ops.plugins.module_utils._backup.restic import Restic, names_repository
from ansible_collections.matrixon.ops.plugins.module_utils._backup.snapshots import Snapshots
from ansible_collections.matrixon.ops.plugins.module_utils._backup.store import Entry, Store
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import SSL_MODES, Server
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import rfc3339

Options = t.Mapping[str, t.Any]

STORE: dict[str, t.Any] = {
    "root": {"type": "path", "required": True},
    "deployment": {"type": "str", "required": True},
    "profile": {"type": "str", "required": True},
    "server": {"type": "str"},
    "owner": {"type": "str"},
    "deadline": {"type": "float", "default": 14400},
}
CONNECTION: dict[str, t.Any] = {
    "host": {"type": "str", "default": "/var/run/postgresql"},
    "port": {"type": "int", "default": 5432},
    "user": {"type": "str", "default": "postgres"},
    "password": {"type": "str", "no_log": True},
    "password_file": {"type": "path"},
    "sslmode": {"type": "str", "choices": list(SSL_MODES), "default": "prefer"},
    "ca_file": {"type": "path"},
}
CONNECTION_RULES: dict[str, t.Any] = {"mutually_exclusive": [("password", "password_file")]}

REPOSITORY: dict[str, t.Any] = {
    "repository": {"type": "str"},
    "password_file": {"type": "path"},
    "environment_file": {"type": "path"},
}

# How a host that reads sets reaches what pgBackRest keeps of them.
ENGINE: dict[str, t.Any] = {
    "pgbackrest": {
        "type": "dict",
        "options": {"configuration": {"type": "path", "default": DIRECTORY}, "repository": {"type": "int"}},
    },
}

NATIVE = "native"
LOGICAL = "logical"
PGBACKREST = PgBackRest.name
DRIVERS = (NATIVE, LOGICAL, PGBACKREST)
RESTIC = Restic.name
SNAPSHOTS = Snapshots.name
MEDIA_DRIVERS = (RESTIC, SNAPSHOTS)


def server_name(options: Options) -> str:
    """Return the server that the sets are of: this host, unless another name is given."""
    return options["server"] or platform.node()


def problems(options: Options) -> list[str]:
    """Return sentences about the options that every module has."""
    found = []
    if not options["deadline"] > 0:
        found.append(f"deadline: {options['deadline']:g} is no time to do anything in; give more than 0 seconds")
    given = (options.get("pgbackrest") or {}).get("repository")
    if given is not None and not given > 0:
        found.append(f"pgbackrest.repository: {given} is no number of a repository; the first one is 1")
    return found


def runner(options: Options) -> Runner:
    """Return how tools are run: as the owner of the store, which is this process's user unless it is root."""
    me = this_user()
    owner = find_user(options["owner"]) if options["owner"] else me
    if owner.uid == me.uid:
        return Runner()
    if me.uid != 0:
        raise BackupError(
            INTERNAL, f"owner: this is the user {me.name}, who cannot work as {owner.name}; become root or {owner.name}"
        )
    return Runner(user=owner)


def store(options: Options, apart: t.Mapping[str, str] | None = None) -> Store:
    """Return the store of the sets."""
    user = runner(options).user
    owner = (user.uid, user.gid) if user else None
    return Store(options["root"], options["deployment"], server_name(options), owner, apart=apart)


def reach(options: Options) -> Server:
    """Return the database server of the options; its password is read from its file."""
    password = options["password"]
    if options["password_file"]:
        try:
            with open(options["password_file"], encoding="utf-8") as file:
                password = file.read().rstrip("\n")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise BackupError(INTERNAL, f"password_file: {options['password_file']} cannot be read: {why}") from error
    return Server(
        host=options["host"],
        port=options["port"],
        database="postgres",
        user=options["user"],
        password=password,
        sslmode=options["sslmode"],
        ca_file=options["ca_file"],
    )


@contextlib.contextmanager
def live_driver(options: Options, place: Store, deadline: Deadline) -> t.Iterator[Driver]:
    """Return the driver of the suboptions ``database``, with a way to the running server."""
    database = options["database"]
    how = runner(options)
    with cluster.client(reach(database), how, deadline) as client:
        if database["driver"] == LOGICAL:
            yield Logical(place.path, how, client, jobs=database["jobs"])
        elif database["driver"] == PGBACKREST:
            yield PgBackRest(
                place.path,
                how,
                client,
                stanza=database["stanza"],
                repository=database["repository"],
                directory=database["configuration"],
                apart={"the media": options["media"]["path"]} if options["media"] else None,
                processes=database["jobs"],
            )
        else:
            yield Native(place.path, how, client, archive(database, place), workers=database["jobs"])


def stored_driver(name: str, options: Options, place: Store, how: Runner, *, durable: bool) -> Driver:
    """Return the driver that made a set, to read it."""
    if name == LOGICAL:
        return Logical(place.path, how, durable=durable)
    if name == NATIVE:
        return Native(place.path, how, archive=archive(options, place), durable=durable)
    if name == PGBACKREST:
        return pgbackrest(options, place, how, durable=durable)
    raise BackupError(INTERNAL, f"the set was made by the driver {name!r}, which this version does not know")


def pgbackrest(options: Options, place: Store, how: Runner, *, durable: bool = True) -> PgBackRest:
    """Return pgBackRest as a host has it that reads sets."""
    given = options.get("pgbackrest") or {}
    return PgBackRest(
        place.path,
        how,
        elsewhere=given.get("repository"),
        directory=given.get("configuration") or DIRECTORY,
        processes=options.get("jobs") or 2,
        durable=durable,
    )


def in_repository(entries: t.Iterable[Entry]) -> bool:
    """Say whether a set has something in a repository of pgBackRest."""
    return any(
        part.driver == PGBACKREST
        for entry in entries
        if entry.manifest and (part := entry.manifest.components.get(DATABASE))
    )


def media_driver(name: str, options: Options, place: Store) -> MediaDriver:
    """Return the media driver of that name.

    Its repository is that of the options, else the one that restic's
    environment file names, else the store's own.
    """
    how = runner({"owner": None})
    usual = os.path.join(place.path, "media")
    if name == SNAPSHOTS:
        return Snapshots(options["repository"] or usual, how)
    if name == RESTIC:
        if not options["password_file"]:
            raise BackupError(INTERNAL, "media.password_file: is missing; restic encrypts with the password in it")
        elsewhere = names_repository(options["environment_file"])
        repository = options["repository"] or (None if elsewhere else usual)
        return Restic(repository, options["password_file"], options["environment_file"], place.server, how)
    raise BackupError(INTERNAL, f"the media were kept by the driver {name!r}, which this version does not know")


def archive(database: Options | None, place: Store) -> str | None:
    """Return the directory that pg_receivewal fills: the one that is named, or the store's own if it is there."""
    named: str | None = (database or {}).get("archive")
    if named:
        return named
    usual = os.path.join(place.path, "wal")
    return usual if os.path.isdir(usual) else None


def described(entry: Entry) -> dict[str, t.Any]:
    """Return a set as modules return it."""
    manifest = entry.manifest
    newest = entry.drill
    facts: dict[str, t.Any] = {
        "id": entry.id,
        "path": entry.path,
        "status": "damaged" if entry.damage else "verified" if entry.verified else "complete",
        "damage": entry.damage,
        "held": entry.held,
        "in_use": entry.in_use,
        "drill": {"time": newest.time, "status": newest.status} if newest else None,
    }
    if manifest:
        facts.update(
            sequence=manifest.sequence,
            kind=manifest.kind,
            chain=list(manifest.chain),
            created=rfc3339(manifest.created),
            finished=rfc3339(manifest.finished),
            bytes=manifest.stored_bytes,
            components=sorted(manifest.components),
        )
    return {key: value for key, value in facts.items() if value is not None}
