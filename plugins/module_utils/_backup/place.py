# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Whether a place is fit for backups, and the space that it has."""

from __future__ import annotations

import errno
import os
import pwd
import stat
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._backup import tree
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._net import reason
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL

_LINKS = 40


# --- problems


def problems(root: str, path: str, uid: int, gid: int) -> t.Iterator[str]:
    """Yield sentences that say why somebody else could get at a store.

    ``path`` is the store's, below ``root``; ``uid`` and ``gid`` are its
    owner's. All that the system passes on its way there is looked at, links and
    their targets too.
    """
    trusted = (0, uid)
    groups = _groups(uid, gid)
    below = os.path.realpath(root)
    open_to_all = False
    try:
        steps = list(_steps(path))
    except OSError as error:
        yield f"root: {tree.shown(path)} cannot be looked at: {reason(error)}"
        return
    for step, info in steps:
        shown = tree.shown(step)
        ours = _inside(step, below)
        if stat.S_ISLNK(info.st_mode):
            if info.st_uid not in trusted:
                yield (
                    f"root: {shown} is a symbolic link that uid {info.st_uid} made, who could lead the backups "
                    "elsewhere; remove it, or let root make it"
                )
        elif not stat.S_ISDIR(info.st_mode):
            yield f"root: {shown} is not a directory"
        else:
            if info.st_uid not in trusted and (ours or open_to_all):
                yield (
                    f"root: {shown} belongs to uid {info.st_uid}, who could read or replace the backups; "
                    f"give it to uid {uid}, or choose another place"
                )
            if info.st_mode & stat.S_IWOTH and not info.st_mode & stat.S_ISVTX:
                yield (
                    f"root: everybody can rename what lies in {shown}; take the right to write there away from "
                    "others (chmod o-w), or choose another place"
                )
            if not _may_enter(info, uid, groups):
                yield f"root: {shown} cannot be entered by uid {uid}, to whom the store belongs (chmod o+x)"
        open_to_all = bool(info.st_mode & stat.S_IWOTH) and stat.S_ISDIR(info.st_mode)


def apart_problems(root: str, path: str, apart: t.Mapping[str, str]) -> t.Iterator[str]:
    """Yield sentences that say which places a store shares that it must not; ``apart`` gives them by their words."""
    mine = os.path.realpath(path)
    for words, there in apart.items():
        other = os.path.realpath(there)
        if _inside(mine, other):
            yield (
                f"root: {tree.shown(root)} lies in {words} {tree.shown(there)}, and would be lost together with it; "
                "choose a place outside, best on another disk"
            )
        elif _inside(other, mine):
            yield f"root: {words} {tree.shown(there)} lies in the store {tree.shown(path)}; choose another place"


# --- space


class Space(t.NamedTuple):
    """The file system of a path: what may still be written to it and its size, in bytes."""

    path: str
    free: int
    total: int


def space(path: str) -> Space:
    """Return what may still be written to the file system of a path, which need not be there yet."""
    place = path
    while not os.path.isdir(place) and place != os.path.dirname(place):
        place = os.path.dirname(place)
    with tree.told(path, "cannot be measured"):
        found = os.statvfs(place)
    # Not what root may use beyond that: the server's own user writes here.
    return Space(path, found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def require_space(path: str, needed: int, reserve: int = 0) -> None:
    """Fail where so many bytes, with so many left over, do not fit."""
    found = space(path)
    if needed + reserve > found.free:
        kept = f" and {human(reserve, 'B')} are to stay free" if reserve else ""
        raise BackupError(
            INTERNAL,
            f"{tree.shown(path)} has too little space: {human(needed, 'B')} ({needed} bytes) are needed{kept}, and "
            f"{human(found.free, 'B')} ({found.free} bytes) are free; make room, or choose another place",
        )


# --- who may do what


def _steps(path: str) -> t.Iterator[tuple[str, os.stat_result]]:
    """Yield all that the system passes on its way along a path, links and their targets, as far as it is there."""
    here, hops = "/", 0
    yield here, os.lstat(here)
    parts = path.split("/")[::-1]
    while parts:
        part = parts.pop()
        if part in ("", "."):
            continue
        if part == "..":
            here = os.path.dirname(here)
            continue
        there = os.path.join(here, part)
        try:
            info = os.lstat(there)
        except (FileNotFoundError, NotADirectoryError):
            return
        yield there, info
        if not stat.S_ISLNK(info.st_mode):
            here = there
            continue
        hops += 1
        if hops > _LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        target = os.readlink(there)
        parts += target.split("/")[::-1]
        if target.startswith("/"):
            here = "/"


def _inside(path: str, other: str) -> bool:
    """Say whether a path is another one, or below it."""
    return path == other or path.startswith(other.rstrip("/") + "/")


def _groups(uid: int, gid: int) -> set[int]:
    try:
        return set(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
    except KeyError:
        return {gid}


def _may_enter(info: os.stat_result, uid: int, groups: set[int]) -> bool:
    if uid == 0:
        return True
    if info.st_uid == uid:
        return bool(info.st_mode & stat.S_IXUSR)
    return bool(info.st_mode & (stat.S_IXGRP if info.st_gid in groups else stat.S_IXOTH))
