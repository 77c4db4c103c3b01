# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""A copy of a cluster that is kept, to be brought to another set by what differs."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _files
from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner, this_user, uninterrupted
from ansible_collections.matrixon.ops.plugins.module_utils._backup.scratch import control
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, Deadline, ProbeFailure

MARKER = ".matrixon-kept"
DATA = "data"


@contextlib.contextmanager
def hold(place: str, identifier: str, runner: Runner) -> t.Iterator[None]:
    """Hold a place for a copy of one cluster that is kept: absent, empty, or made by this before."""
    marker = os.path.join(place, MARKER)
    if os.path.islink(place) or not os.path.lexists(marker):
        cluster.occupy(place, runner)
        user = runner.user or this_user()
        content = json.dumps({"system_identifier": identifier}).encode() + b"\n"
        # In one step, so that a run that is killed here leaves an empty place.
        _files.replace(marker, content, user.uid, user.gid, 0o600)
    handle = _open(place, marker, runner)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise BackupError(INTERNAL, f"another run works in {place}; wait for it, or use another place") from error
        _check(place, os.read(handle, 4096), identifier)
        yield
    finally:
        os.close(handle)


def _open(place: str, marker: str, runner: Runner) -> int:
    """Open the marker, if it and the place are nobody else's."""
    try:
        handle = os.open(marker, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise BackupError(INTERNAL, f"{marker} cannot be opened: {error.strerror}; use another place") from error
    trusted = {0, (runner.user or this_user()).uid}
    if not {os.stat(place).st_uid, os.fstat(handle).st_uid} <= trusted:
        os.close(handle)
        raise BackupError(INTERNAL, f"{place} or its {MARKER} belongs to somebody else; use another place")
    return handle


def _check(place: str, content: bytes, identifier: str) -> None:
    try:
        known = json.loads(content)["system_identifier"]
    except (ValueError, KeyError, TypeError) as error:
        raise BackupError(
            INTERNAL, f"{os.path.join(place, MARKER)} was not made for a copy; use another place"
        ) from error
    if known != identifier:
        raise BackupError(
            INTERNAL, f"{place} holds a copy of the cluster {known}, and the set is of {identifier}; use another place"
        )
    strangers = set(os.listdir(place)) - {MARKER, DATA}
    if strangers:
        raise BackupError(INTERNAL, f"{place} holds {sorted(strangers)[0]}, which is no copy; use another place")
    data = os.path.join(place, DATA)
    if os.path.islink(data):
        raise BackupError(INTERNAL, f"{data} is a symbolic link; remove it, or use another place")
    if pid := cluster.running_on(data):
        raise BackupError(INTERNAL, f"a server with process {pid} runs on {data}; stop it first")


def is_copy(data: str, identifier: str, runner: Runner, tools: str, deadline: Deadline) -> bool:
    """Say whether there is a whole copy of the cluster, of which a part can be used. Else it is made anew."""
    if not os.path.isfile(os.path.join(data, "PG_VERSION")):
        return False
    with uninterrupted(), contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(data, "postmaster.pid"))
    try:
        return control(runner, tools, data, deadline).get("Database system identifier") == identifier
    except ProbeFailure:
        # It is written last, so an earlier run was ended in between.
        return False
