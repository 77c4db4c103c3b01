"""What rsync says, and what the records of a snapshot find."""

from __future__ import annotations

import hashlib
import os

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import snapshots
from ansible_collections.matrixon.ops.plugins.module_utils._backup.capture import Captured
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.media import Kept, Share, Source
from ansible_collections.matrixon.ops.plugins.module_utils._backup.snapshots import Item, Snapshots
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

SAID = rb"""created directory /srv/snapshots/.partial-1/files
cd+++++++++_4096_./
skipping non-regular file "local_content/fi\#012fo"
cd..t......_4096_local_content/
hf         _2_local_content/ lead trail
>f+++++++++_12_local_content/#c
hf         _2_local_content/a\#134#012b
hL         _11_local_content/link
cf...p....._2_local_content/aa/f
>f.st......_3_local_content/aa/g
.f         _1_local_content/new\#012line
"""


def test_what_rsync_lists():
    items, special = snapshots.parse_items(SAID + b">f+++++++++_1_local_content/\xff_\n")
    assert special == [b"local_content/fi\nfo"]
    assert items == [
        Item("c", "d", 4096, b""),
        Item("c", "d", 4096, b"local_content"),
        Item("h", "f", 2, b"local_content/ lead trail"),
        Item(">", "f", 12, b"local_content/#c"),
        Item("h", "f", 2, rb"local_content/a\#012b"),
        Item("h", "L", 11, b"local_content/link"),
        Item("c", "f", 2, b"local_content/aa/f"),
        Item(">", "f", 3, b"local_content/aa/g"),
        Item(".", "f", 1, b"local_content/new\nline"),
        Item(">", "f", 1, b"local_content/\xff_"),
    ]


def test_every_file_belongs_to_one_share():
    paths = [b"local_content/%d" % number for number in range(500)]
    shares = [[path for path in paths if snapshots.in_share(path, Share(number, 7))] for number in range(1, 8)]
    assert sorted(path for share in shares for path in share) == sorted(paths)
    assert all(shares)
    assert all(snapshots.in_share(path, Share(1, 1)) for path in paths)


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"same", None), (b"lame", "has the SHA-256"), (b"samesame", "has 8 bytes and had 4"), (None, "cannot be read")],
)
def test_a_copy_is_compared(tmp_path, content, expected):
    path = tmp_path / "x"
    record = b"f " + hashlib.sha256(b"same").hexdigest().encode() + b" 4 0"
    if content is not None:
        path.write_bytes(content)
        # F15: its time says nothing.
        os.utime(path, ns=(0, 0))
    found = snapshots._difference(os.fsencode(tmp_path), b"x", record, Deadline(10))
    assert found is None if expected is None else expected in found


def test_a_link_is_compared_by_where_it_leads_to(tmp_path):
    os.symlink("there", tmp_path / "x")
    place, record = os.fsencode(tmp_path), b"l " + hashlib.sha256(b"there").hexdigest().encode() + b" 5 0"
    assert snapshots._difference(place, b"x", record, Deadline(10)) is None
    assert "SHA-256" in snapshots._difference(place, b"x", record[:10] + b"0" + record[11:], Deadline(10))
    os.unlink(tmp_path / "x")
    (tmp_path / "x").write_text("there")
    assert "another kind" in snapshots._difference(place, b"x", record, Deadline(10))


@pytest.mark.parametrize(
    ("out", "problem"),
    [
        (b"rsync  version 3.2.7  protocol version 31\n", None),
        (b"rsync  version 3.1.3  protocol version 31\n", None),
        (b"rsync  version 3.1.2  protocol version 31\n", "rsync is 3.1.2, and before 3.1.3"),
        (b"something else\n", "asking rsync for its version"),
    ],
)
def test_the_version_of_rsync(monkeypatch, tmp_path, out, problem):
    monkeypatch.setattr(snapshots, "capture", lambda *dummy, **more: Captured(0, out, b""))
    problems = Snapshots(str(tmp_path / "snapshots")).problems(
        Source(str(tmp_path / "media"), (Kept("local_content"),))
    )
    assert not problems if problem is None else problem in problems[0]


def test_snapshots_in_the_media_store_are_refused(tmp_path):
    source = Source(str(tmp_path), (Kept("local_content"),))
    assert "lies in the media store" in Snapshots(str(tmp_path / "snapshots")).problems(source)[0]


@pytest.mark.parametrize("name", ["../x", "/etc", ".partial-1", "latest", ""])
def test_a_snapshot_is_a_name_and_no_path(tmp_path, name):
    with pytest.raises(BackupError, match="snapshot: "):
        Snapshots(str(tmp_path)).forget([name], Deadline(10))
