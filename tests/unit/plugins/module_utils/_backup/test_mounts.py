"""File systems are told apart by what stays the same when the host is started anew."""

from __future__ import annotations

import os

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import mounts
from ansible_collections.matrixon.ops.plugins.module_utils._backup.mounts import FileSystem, Mount

MOUNTINFO = rb"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /srv rw - autofs systemd-1 rw
31 30 8:17 / /srv rw - xfs /dev/sdb1 rw
32 31 0:40 /media /srv/my\040media rw master:3 - nfs4 files.example.org:/export rw
33 22 0:41 / /srvx rw - tmpfs tmpfs rw
not a line of it
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/", Mount(b"/", "ext4", "/dev/sda1")),
        (b"/etc", Mount(b"/", "ext4", "/dev/sda1")),
        # The later of two at one place lies on top.
        (b"/srv", Mount(b"/srv", "xfs", "/dev/sdb1")),
        (b"/srv/media", Mount(b"/srv", "xfs", "/dev/sdb1")),
        (b"/srv/my media/local_content", Mount(b"/srv/my media", "nfs4", "files.example.org:/export")),
        (b"/srvx", Mount(b"/srvx", "tmpfs", "tmpfs")),
        (b"/srvy", Mount(b"/", "ext4", "/dev/sda1")),
    ],
)
def test_a_path_lies_on_the_deepest_mount(path, expected):
    assert mounts.mount_of(path, mounts.parse_mounts(MOUNTINFO)) == expected


def test_nothing_is_mounted_where_nothing_is_listed():
    assert mounts.mount_of(b"/srv", []) is None
    assert mounts.file_system(b"/srv", [], {}) == FileSystem("unknown", "unknown", "")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        # The disk was found in another order; it is the same one.
        (FileSystem("ext4", "/dev/sda1", "4711"), FileSystem("ext4", "/dev/sdb1", "4711"), True),
        (FileSystem("ext4", "/dev/sda1", "4711"), FileSystem("ext4", "/dev/sda1", "4712"), False),
        (FileSystem("nfs4", "a:/x", ""), FileSystem("nfs4", "a:/x", ""), True),
        (FileSystem("nfs4", "a:/x", ""), FileSystem("nfs4", "b:/x", ""), False),
        # Where one of the two was not known, what is known counts.
        (FileSystem("ext4", "/dev/sda1", "4711"), FileSystem("ext4", "/dev/sda1", ""), True),
        (FileSystem("ext4", "/dev/sda1", ""), FileSystem("xfs", "/dev/sda1", ""), False),
    ],
)
def test_the_same_file_system(one, other, same):
    assert one.same_as(other) is same and other.same_as(one) is same


def test_the_uuid_is_that_of_the_device(tmp_path):
    (tmp_path / "disk").write_text("")
    os.symlink("disk", tmp_path / "mapper")
    by_uuid = tmp_path / "by-uuid"
    by_uuid.mkdir()
    os.symlink("../disk", by_uuid / "4711-0815")
    uuids = mounts.known_uuids(str(by_uuid))
    table = [Mount(b"/", "ext4", str(tmp_path / "mapper"))]
    assert mounts.file_system(b"/", table, uuids) == FileSystem("ext4", str(tmp_path / "mapper"), "4711-0815")
    assert str(mounts.file_system(b"/", table, uuids)) == f"ext4 on {tmp_path}/mapper (4711-0815)"
    assert mounts.known_uuids(str(tmp_path / "nowhere")) == {}


def test_this_host_has_a_root():
    found = mounts.file_system(b"/", mounts.read_mounts(), {})
    assert found.kind not in ("", "unknown")
