"""Rows of media tables and journals become paths, and never paths that lead elsewhere."""

from __future__ import annotations

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import changes
from ansible_collections.matrixon.ops.plugins.module_utils._backup.changes import Layout
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError

THREE = "{media_id[0:2]}/{media_id[2:4]}/{media_id[4:]}"
DATED = "{media_id[0:10]}/{media_id[11:]}"
DATE = r"\d{4}-\d{2}-\d{2}.*"
THUMBNAIL = "{thumbnail_width}-{thumbnail_height}-{thumbnail_type|dashes}-{thumbnail_method}"

# As Synapse's MediaFilePaths has it.
MEDIA = (
    Layout(f"local_content/{THREE}", {"url_cache": "null", "media_length": "set"}),
    Layout(f"url_cache/{DATED}", {"url_cache": "set", "media_length": "set", "media_id": DATE}),
    Layout(f"url_cache/{THREE}", {"url_cache": "set", "media_length": "set"}),
)
THUMBNAILS = (Layout(f"local_thumbnails/{THREE}/{THUMBNAIL}"),)


def row(media_id, url_cache=None, media_length=1):
    return {"media_id": media_id, "url_cache": url_cache, "media_length": media_length, "created_ts": 1}


def test_rows_of_local_media():
    rows = [
        row("GerZNDnDZVjsOtardLuwfIBg"),
        row("2026-11-26_aBcDeF", "https://example.org"),
        row("oldFormatId", "https://example.org"),
        # Created, and its content was never sent.
        row("neverUploadedMedia", media_length=None),
        row("GerZNDnDZVjsOtardLuwfIBg"),
    ]
    assert changes.paths_of(rows, MEDIA) == [
        b"local_content/Ge/rZ/NDnDZVjsOtardLuwfIBg",
        b"url_cache/2026-11-26/aBcDeF",
        b"url_cache/ol/dF/ormatId",
    ]


def test_rows_of_thumbnails():
    thumbnail = {
        "media_id": "GerZNDnDZVjsOtardLuwfIBg",
        "thumbnail_width": 32,
        "thumbnail_height": 24,
        "thumbnail_type": "image/jpeg",
        "thumbnail_method": "crop",
    }
    assert changes.paths_of([thumbnail], THUMBNAILS) == [
        b"local_thumbnails/Ge/rZ/NDnDZVjsOtardLuwfIBg/32-24-image-jpeg-crop"
    ]


@pytest.mark.parametrize(
    "media_id", ["../../etc/passwd", "ab..cdef", "..abcdef", "ab..", "ab/.x", "abcd", "", "a\0cdef", "abcd../x"]
)
def test_a_row_that_would_lead_elsewhere_is_refused(media_id):
    with pytest.raises(BackupError, match="a row of the media tables gives") as caught:
        changes.paths_of([row(media_id)], MEDIA)
    assert caught.value.kind == "parse"


def test_a_row_without_the_column_is_refused():
    with pytest.raises(BackupError, match="has no 'media_id'"):
        changes.paths_of([{"media_length": 1}], MEDIA)


@pytest.mark.parametrize("path", ["a/{Media}", "a/{media_id[1]}", "a/}", "a/{media_id|upper}"])
def test_a_template_that_is_none_is_refused(path):
    with pytest.raises(BackupError, match="a field looks like"):
        Layout(path)


def test_a_condition_that_is_no_expression_is_refused():
    with pytest.raises(BackupError, match=r"'\(' for media_id"):
        Layout("a", {"media_id": "("})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"local_content/aa/bb/c", b"local_content/aa/bb/c"),
        (b"./local_content//aa/", b"local_content/aa"),
        (b"/srv/media/local_content/a", b"local_content/a"),
        (b"local_content/new\nline", b"local_content/new\nline"),
        (b"local_content/\xff\xfe", b"local_content/\xff\xfe"),
        (b"local_content/..name", b"local_content/..name"),
    ],
)
def test_a_path_below_the_root(path, expected):
    assert changes.relative(path, b"/srv/media") == expected
    assert changes.to_bytes(changes.to_text(expected)) == expected


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (b"", "empty"),
        (b"a\0b", "no path"),
        (b"../x", "upwards"),
        (b"local_content/../../x", "upwards"),
        (b"/etc/passwd", "below /srv/media"),
        (b"/srv/media2/x", "below /srv/media"),
        (b"/srv/media/../x", "upwards"),
        (b".", "directory itself"),
    ],
)
def test_a_path_that_leads_out(path, why):
    with pytest.raises(ValueError, match=why):
        changes.relative(path, b"/srv/media")


def test_a_journal_is_read_from_where_it_was_left(tmp_path):
    journal = tmp_path / "journal"
    journal.write_bytes(b"a\0b\nc\0a\0unfini")
    paths, position = changes.read_journal(str(journal))
    assert (paths, position) == ([b"a", b"b\nc"], 8)
    assert changes.read_journal(str(journal), position) == ([], 8)
    with journal.open("ab") as file:
        file.write(b"shed\0\xff\0")
    assert changes.read_journal(str(journal), position) == ([b"unfinished", b"\xff"], 21)
    # It was begun anew.
    journal.write_bytes(b"new\0")
    assert changes.read_journal(str(journal), 21) == ([b"new"], 4)
    journal.write_bytes(b"x\ny\n")
    assert changes.read_journal(str(journal), 0, b"\n") == ([b"x", b"y"], 4)


def test_a_journal_that_is_not_there_is_no_empty_one(tmp_path):
    with pytest.raises(BackupError, match="No such file"):
        changes.read_journal(str(tmp_path / "none"))
