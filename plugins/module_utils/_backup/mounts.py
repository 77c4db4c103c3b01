# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""On which file system a directory lies, said so that it is still the same after the host was started anew.

A directory whose file system is not mounted is there, too: empty, or with
what somebody wrote below the mount. Numbers of devices change with the order
in which disks are found, so the UUID counts where there is one, and else kind
and source, such as nfs4 and files.example.org:/media.
"""

from __future__ import annotations

import os
import re
import typing as t

UUIDS = "/dev/disk/by-uuid"
MOUNTS = "/proc/self/mountinfo"

_ESCAPE = re.compile(rb"\\([0-7]{3})")


class Mount(t.NamedTuple):
    """One mounted file system: where, of what kind, from where."""

    point: bytes
    kind: str
    source: str


class FileSystem(t.NamedTuple):
    """What tells a file system from another one. ``uuid`` is empty where it has none that is known."""

    kind: str
    source: str
    uuid: str

    def same_as(self, other: FileSystem) -> bool:
        """Say whether both are the same file system, as far as that can be known."""
        if self.uuid and other.uuid:
            return self.uuid == other.uuid
        return (self.kind, self.source) == (other.kind, other.source)

    def __str__(self) -> str:
        """Return kind and source for people, and the UUID where there is one."""
        return f"{self.kind} on {self.source}" + (f" ({self.uuid})" if self.uuid else "")


def parse_mounts(text: bytes) -> list[Mount]:
    """Return what a mountinfo file lists, in its order."""
    found = []
    for line in text.splitlines():
        before, dash, after = line.partition(b" - ")
        fields, rest = before.split(b" "), after.split(b" ")
        if dash and len(fields) >= 5 and len(rest) >= 2:
            found.append(Mount(_plain(fields[4]), _text(rest[0]), _text(_plain(rest[1]))))
    return found


def mount_of(path: bytes, mounts: t.Iterable[Mount]) -> Mount | None:
    """Return the mount that a path lies on; of several at one place the last, which lies on top. No links in it."""
    best: Mount | None = None
    for mount in mounts:
        inside = path == mount.point or path.startswith(mount.point.rstrip(b"/") + b"/")
        if inside and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def read_mounts(path: str = MOUNTS) -> list[Mount]:
    """Return what is mounted."""
    with open(path, "rb") as file:
        return parse_mounts(file.read())


def known_uuids(directory: str = UUIDS) -> dict[str, str]:
    """Return the UUIDs that udev knows, by the real path of the device."""
    try:
        names = os.listdir(directory)
    except OSError:
        return {}
    return {os.path.realpath(os.path.join(directory, name)): name for name in names}


def file_system(path: bytes, mounts: t.Iterable[Mount], uuids: t.Mapping[str, str]) -> FileSystem:
    """Return the file system that an existing directory lies on."""
    mount = mount_of(os.path.realpath(path), mounts)
    if mount is None:
        return FileSystem("unknown", "unknown", "")
    device = os.path.realpath(mount.source) if mount.source.startswith("/") else ""
    return FileSystem(mount.kind, mount.source, uuids.get(device, ""))


def _plain(field: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), field)


def _text(field: bytes) -> str:
    return field.decode("utf-8", "replace")
