# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Configure pgBackRest for a server, and make its stanza: what matrixon_pgbackrest does.

A repository that lost its stanza is not given a new one where the server has
archived into it before: then it is rather not mounted.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _files
from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster
from ansible_collections.matrixon.ops.plugins.module_utils._backup import pgbackrest_rules as rules
from ansible_collections.matrixon.ops.plugins.module_utils._backup import pgbackrest_settings as settings
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest_archive import Engine
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest_output import Version
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner, find_user, this_user
from ansible_collections.matrixon.ops.plugins.module_utils._net import reason
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Server
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, MISSING_TOOL, Deadline, ProbeFailure

Options = t.Mapping[str, t.Any]
MAIN_MODE = 0o640
FOLDER_MODE = 0o750


class File(t.NamedTuple):
    """A file as it is to be, and as it was found."""

    path: str
    text: str
    uid: int
    gid: int
    mode: int
    found: _files.Found

    @property
    def right(self) -> bool:
        """Say whether nothing is to be done."""
        found = self.found
        return (found.content, found.uid, found.gid, found.mode) == (
            self.text.encode(),
            self.uid,
            self.gid,
            self.mode,
        )


class Done(t.NamedTuple):
    """What was done, or in check mode would be. ``made`` are the numbers of the repositories that got the stanza."""

    changed: bool
    before: str
    after: str
    made: tuple[int, ...]
    version: str | None
    archive_command: str
    words: tuple[str, ...]


def wanted(options: Options) -> tuple[settings.Settings, list[settings.Secrets]]:
    """Return the settings that a module's options mean, and apart from them what is secret."""
    repositories, secrets = [], []
    for given in options["repositories"]:
        s3 = given["s3"]
        store = None
        if s3:
            store = settings.ObjectStore(
                s3["bucket"], s3["endpoint"], s3["region"], s3["port"], s3["uri_style"], s3["ca_file"]
            )
        repositories.append(settings.Repository(given["path"], store, given["encrypted"]))
        keys = s3 or {}
        secrets.append(settings.Secrets(given["passphrase"], keys.get("access_key"), keys.get("secret_key")))
    made = settings.Settings(
        stanza=options["stanza"],
        data_directory=options["data_directory"],
        repositories=tuple(repositories),
        port=options["port"],
        socket=options["socket"],
        processes=options["processes"],
        push_processes=options["processes"],
        compression=options["compression"],
        level=options["compression_level"],
        asynchronous=options["asynchronous"],
        spool=options["spool"],
        log_directory=options["log_directory"],
    )
    return made, secrets


def too_old(version: Version) -> str | None:
    """Return why a version will not do, or None."""
    if version >= rules.WANTED:
        return None
    has, needs = (".".join(str(part) for part in one) for one in (version, rules.WANTED))
    return (
        f"pgBackRest is {has} on this host, and {needs} or later is needed, which copies what changed of a file and "
        "not the whole file; take it from apt.postgresql.org or from Debian 13, or use the driver native"
    )


def lost(before: str, after: str, missing: t.Sequence[int], archived: int, stanza: str) -> list[int]:
    """Return the repositories that lack a stanza which they once had.

    ``before`` and ``after`` are the texts of the configuration, ``archived``
    how many segments the server has handed to pgBackRest.
    """
    old, new = (settings.parse(text) for text in (before, after))
    if not archived or stanza not in old:
        return []
    return [number for number in missing if _place(old, number) and _place(old, number) == _place(new, number)]


def _place(sections: dict[str, dict[str, list[str]]], number: int) -> list[tuple[str, list[str]]]:
    keys = [f"repo{number}-{name}" for name in ("type", "path", "s3-bucket", "s3-endpoint")]
    return [(key, values) for key, values in sections.get("global", {}).items() if key in keys]


def run(options: Options, check_mode: bool) -> Done:
    """Bring about the configuration and the stanza. What goes wrong behind the files brings the old ones back."""
    deadline = Deadline(options["deadline"])
    desired, secrets = wanted(options)
    found = settings.problems(desired, secrets)
    if not options["deadline"] > 0:
        found.append(f"deadline: {options['deadline']:g} is no time to do anything in; give more than 0 seconds")
    if not os.path.isabs(options["configuration"]):
        found.append(f"configuration: {options['configuration']!r} is no absolute path")
    if found:
        raise BackupError(INTERNAL, "; ".join(found))
    owner = find_user(options["owner"])
    runner = Runner() if owner.uid == this_user().uid else Runner(user=owner)
    engines = [
        Engine(runner, desired.stanza, number, options["configuration"])
        for number in range(1, len(desired.repositories) + 1)
    ]
    try:
        version = engines[0].version(deadline)
    except ProbeFailure as failure:
        # A dry run comes here before anything was installed.
        if not check_mode or failure.kind != MISSING_TOOL:
            raise
        version = None
    if version and (problem := too_old(version)):
        raise BackupError(INTERNAL, problem)
    files = _files_of(options["configuration"], desired, secrets, owner.uid, owner.gid)
    folders = _folders_of(options["configuration"], desired, owner.uid, owner.gid)
    before = (files[0].found.content or b"").decode("utf-8", "replace")
    words = [f"{file.path} {'would be' if check_mode else 'was'} written" for file in files if not file.right]
    changed = bool(words or [folder for folder in folders if not _is_right(folder)])
    made: list[int] = []
    if not check_mode:
        with _written(files, folders):
            made = _stanza(engines, before, files[0].text, options, runner, deadline)
    elif version and not changed:
        made = [engine.repository for engine in engines if engine.info(deadline).missing]
    verb = "would be made" if check_mode else "was made"
    words += [f"the stanza {desired.stanza} {verb} in repository {number}" for number in made]
    return Done(
        changed=changed or bool(made),
        before=before,
        after=files[0].text,
        made=tuple(made),
        version=".".join(str(part) for part in version) if version else None,
        archive_command=settings.archive_command(desired.stanza, options["configuration"]),
        words=tuple(words),
    )


def _stanza(
    engines: t.Sequence[Engine], before: str, after: str, options: Options, runner: Runner, deadline: Deadline
) -> list[int]:
    """Make the stanza where it is missing, and return the numbers of those repositories."""
    server = Server(options["socket"], options["port"], "postgres", options["user"])
    with cluster.client(server, runner, deadline) as client, client.session(deadline) as session:
        archiving = rules.look_at_archiving(session)
        archived = int(session.value("SELECT archived_count FROM pg_stat_archiver"))
    if settings.archive_problem(
        archiving.mode, archiving.command, archiving.library, options["stanza"], options["configuration"]
    ):
        # What it archived until now went elsewhere.
        archived = 0
    missing = [engine.repository for engine in engines if engine.info(deadline).missing]
    if gone := lost(before, after, missing, archived, options["stanza"]):
        raise BackupError(
            INTERNAL,
            f"repository {gone[0]} holds no stanza {options['stanza']} any more, and the server has archived into it "
            "before: look whether it is mounted. If it is gone for good, make a new one with 'pgbackrest "
            f"--stanza={options['stanza']} stanza-create'",
        )
    if missing:
        engines[0].run(deadline, "stanza-create", doing=f"making the stanza {options['stanza']}", everywhere=True)
    for engine in engines:
        there = engine.info(deadline)
        if there.missing:
            raise BackupError(
                INTERNAL,
                f"repository {engine.repository} still holds no stanza, though pgbackrest stanza-create ended with 0",
            )
        if there.clusters and there.clusters[-1][1] != archiving.system_identifier:
            raise BackupError(
                INTERNAL,
                f"repository {engine.repository} belongs to another server: its stanza {options['stanza']} is of the "
                f"cluster {there.clusters[-1][1]}, and this is {archiving.system_identifier}; choose another stanza "
                "or repository",
            )
    return missing


# --- files


class Folder(t.NamedTuple):
    """A directory as it is to be."""

    path: str
    uid: int
    gid: int
    mode: int


def _files_of(
    directory: str, desired: settings.Settings, secrets: t.Sequence[settings.Secrets], uid: int, gid: int
) -> list[File]:
    main, hidden = (os.path.join(directory, name) for name in (settings.MAIN, settings.SECRETS))
    return [
        File(main, settings.render(desired), uid, gid, MAIN_MODE, _look(main)),
        File(hidden, settings.render_secrets(desired, secrets), uid, gid, settings.SECRETS_MODE, _look(hidden)),
    ]


def _folders_of(directory: str, desired: settings.Settings, uid: int, gid: int) -> list[Folder]:
    paths = [directory, os.path.join(directory, "conf.d"), desired.spool, desired.log_directory]
    paths += [repository.path for repository in desired.repositories if not repository.store]
    return [Folder(path, uid, gid, FOLDER_MODE) for path in paths]


def _look(path: str) -> _files.Found:
    found = _files.look(path)
    if found.kind not in ("absent", "file"):
        raise BackupError(INTERNAL, f"{path} is no plain file; move it away")
    return found


def _is_right(folder: Folder) -> bool:
    found = _files.look(folder.path, read=False)
    if found.kind == "link":
        return found.uid == 0 and os.path.isdir(folder.path)
    if found.kind not in ("absent", "directory"):
        raise BackupError(INTERNAL, f"{folder.path} is no directory; move it away")
    return (found.uid, found.gid) == (folder.uid, folder.gid) and not (found.mode or 0) & 0o7


@contextlib.contextmanager
def _written(files: t.Sequence[File], folders: t.Sequence[Folder]) -> t.Iterator[None]:
    """Write what is not right. If what is done with it fails, the old files come back."""
    path = ""
    try:
        for folder in folders:
            path = folder.path
            if not _is_right(folder):
                _files.make_directory(path, folder.uid, folder.gid, folder.mode)
        for file in files:
            path = file.path
            if not file.right:
                _files.replace(path, file.text.encode(), file.uid, file.gid, file.mode)
    except (OSError, _files.FilesError) as error:
        _back(files)
        words = reason(error) if isinstance(error, OSError) else str(error)
        raise BackupError(INTERNAL, f"{path} cannot be written: {words}") from error
    try:
        yield
    except BaseException:
        _back(files)
        raise


def _back(files: t.Sequence[File]) -> None:
    for file in files:
        found = file.found
        if found.kind == "absent":
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file.path)
        elif found.content is not None:
            _files.replace(file.path, found.content, found.uid or 0, found.gid or 0, found.mode or 0o600)
