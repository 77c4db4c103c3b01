"""The archive of configuration and keys, as far as it takes no encryption."""

from __future__ import annotations

import io
import os
import tarfile
from dataclasses import replace

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import config
from ansible_collections.matrixon.ops.plugins.module_utils._backup.config import Config, ConfigPath, Member
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

KEY = "age1kcl42x0660rkreftknt49gn67lt0lnndgcx20lc3cf7nff2fd57sw43yle"
SECRET = "AGE-SECRET-KEY-1QQPQQQSYQCYQ5RQWZQFPG9SCRGWPUGPZYSNZS23V9CCRYDPK8QARC0SZQGQX"


@pytest.fixture
def etc(tmp_path):
    place = tmp_path / "etc/synapse"
    place.mkdir(parents=True)
    (place / "homeserver.yaml").write_text("server_name: example.org\n")
    (place / "signing.key").write_text("ed25519 a_AbCd QWxsIHlvdXIgYmFzZSBhcmUgYmVsb25nIHRvIHVzIQ\n")
    (place / "signing.key").chmod(0o640)
    (place / "conf.d").mkdir(mode=0o750)
    os.symlink("../shared.yaml", place / "conf.d/shared.yaml")
    return place


def gathered(*paths, limit=1 << 20):
    return config.gather([ConfigPath(str(path)) for path in paths], limit, Deadline(10))


# --- recipients and keys


def test_recipients():
    assert config.recipient_problems([KEY, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA me@example.org"]) == []
    assert "never stored in the clear" in config.recipient_problems([])[0]
    problems = config.recipient_problems([KEY, SECRET, SECRET.lower(), "me@example.org", "age1"])
    assert [problem.partition(" is ")[0] for problem in problems] == [
        f"recipients: number {number}" for number in (2, 3, 4, 5)
    ]
    assert not any("QQPQQQ" in problem.upper() for problem in problems)


def test_the_ids_of_signing_keys_and_nothing_secret():
    content = (
        b"# keys\ned25519 a_AbCd QWxsIHlvdXIgYmFzZSBhcmUgYmVsb25nIHRvIHVzIQ\n"
        b" ed25519 2 c29tZXRoaW5nIGVsc2UgYWx0b2dldGhlcg==\n"
    )
    assert config.signing_key_ids(content) == ["ed25519:a_AbCd", "ed25519:2"]
    assert config.signing_key_ids(b"ed25519 is a kind of key\n") == []


def test_options_that_cannot_be_right(etc, tmp_path):
    driver = Config([KEY])
    assert driver.problems([ConfigPath(str(etc)), ConfigPath(str(tmp_path / "none"), optional=True)]) == []
    assert "no path" in driver.problems([])[0]
    assert "no absolute path" in driver.problems([ConfigPath("etc")])[0]
    assert "no absolute path" in driver.problems([ConfigPath("//")])[0]
    assert f"{tmp_path}/none is not there" in driver.problems([ConfigPath(str(tmp_path / "none"))])[0]
    assert "holds the store" in driver.problems([ConfigPath(str(tmp_path))], str(tmp_path / "etc"))[0]
    assert "compression" in Config([KEY], compression="xz").problems([ConfigPath(str(etc))])[0]
    assert "not installed" in Config([KEY], tool="age-that-is-not-there").problems([ConfigPath(str(etc))])[0]


# --- reading


def test_what_is_gathered(etc):
    members, notes = gathered(etc, etc / "signing.key")
    assert notes == []
    base = os.fsencode(etc).lstrip(b"/")
    assert [(member.name[len(base) :], member.kind, member.mode) for member in members] == [
        (b"", "directory", 0o755),
        (b"/conf.d", "directory", 0o750),
        (b"/conf.d/shared.yaml", "link", 0o777),
        (b"/homeserver.yaml", "file", 0o644),
        (b"/signing.key", "file", 0o640),
    ]
    assert members[2].target == "../shared.yaml" and members[3].content == b"server_name: example.org\n"


def test_a_path_that_is_a_link_brings_what_it_leads_to(etc, tmp_path):
    os.symlink(etc / "signing.key", tmp_path / "key")
    members, dummy = gathered(tmp_path / "key")
    assert [(member.name.rpartition(b"/")[2], member.kind) for member in members] == [
        (b"signing.key", "file"),
        (b"key", "link"),
    ]
    (etc / "signing.key").unlink()
    with pytest.raises(BackupError, match="leads nowhere"):
        gathered(tmp_path / "key")


def test_odd_names_and_special_files(etc):
    os.mkfifo(etc / "pipe")
    (etc / "new\nline").write_text("x")
    with open(os.fsencode(etc) + b"/\xff", "wb") as file:
        file.write(b"y")
    members, notes = gathered(etc)
    assert {member.name.rpartition(b"/")[2] for member in members} >= {b"new\nline", b"\xff"}
    assert len(notes) == 1 and "pipe' is neither file, directory nor link, and was skipped" in notes[0]
    assert config.unpack(config.pack(members)) == members


def test_data_is_no_configuration(etc):
    (etc / "large").write_bytes(b"x" * 5000)
    with pytest.raises(BackupError, match=r"config: with .*/(large|signing.key) it is more than .*KiB"):
        gathered(etc, limit=5000)


def test_a_file_that_changes_is_read_again(etc, monkeypatch):
    path, rounds = etc / "homeserver.yaml", []
    real = os.fstat

    def fstat(handle):
        if os.readlink(f"/proc/self/fd/{handle}") == str(path):
            rounds.append(1)
            if len(rounds) == 2:
                path.write_text("server_name: example.com\n")
        return real(handle)

    monkeypatch.setattr(config.os, "fstat", fstat)
    members, dummy = gathered(path)
    assert members[0].content == b"server_name: example.com\n" and len(rounds) == 4


def test_a_file_that_never_rests_is_refused(etc, monkeypatch):
    path = etc / "homeserver.yaml"
    real = os.fstat

    def fstat(handle):
        with path.open("a") as file:
            file.write("#")
        return real(handle)

    monkeypatch.setattr(config.os, "fstat", fstat)
    with pytest.raises(BackupError, match="changed each of the 3 times"):
        gathered(path)


def test_a_file_that_vanishes_is_noted_unless_it_was_named(etc, monkeypatch):
    real = os.listdir
    monkeypatch.setattr(config.os, "listdir", lambda path: [*real(path), b"ghost"])
    dummy, notes = gathered(etc)
    assert len(notes) == 2 and "vanished" in notes[0]


# --- the archive


def member(**changes):
    made = Member(b"etc/x", "file", 0o640, 0, 0, "root", "root", 1, content=b"x", size=1)
    return replace(made, **{"sha256": config.hashlib.sha256(made.content).hexdigest(), **changes})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (b"../x", "no plain path"),
        (b"etc/../../x", "no plain path"),
        (b"etc//x", "no plain path"),
        (b"", "no plain path"),
    ],
)
def test_a_name_that_leads_out_is_refused(name, words):
    with pytest.raises(BackupError, match=words) as caught:
        config.unpack(config.pack([member(name=name)]))
    assert caught.value.kind == "parse"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b'"mode": 416', b'"mode": 420', "another length, mode or owner"),
        (b'"uid": 0', b'"uid": 1', "another length, mode or owner"),
        (b'"name": "etc/x"', b'"name": "etc/y"', "stands where"),
        (b'"sha256": "2', b'"sha256": "3', "another content"),
        (b'"kind": "file"', b'"kind": "pipe"', "no known kind"),
        (b"config/1", b"config/2", "its schema"),
        (b'"members"', b'"mombers"', "'members'"),
    ],
)
def test_a_member_that_is_not_as_its_manifest_says(old, new, words):
    plain = config.pack([member()])
    assert plain.count(old) == 1
    with pytest.raises(BackupError, match=words) as caught:
        config.unpack(plain.replace(old, new))
    assert caught.value.kind == "parse"


def test_a_changed_content_is_found():
    plain = config.pack([member(content=b"secret", size=6, sha256=config.hashlib.sha256(b"secret").hexdigest())])
    with pytest.raises(BackupError, match="another content"):
        config.unpack(plain.replace(b"secret", b"sekret"))


def test_an_archive_that_is_cut_off_or_none():
    plain = config.pack([member(name=b"etc/%d" % number) for number in range(9)])
    for broken in (b"", plain[:100], plain[: len(plain) // 2], b"x" * 2048):
        with pytest.raises(BackupError) as caught:
            config.unpack(broken)
        assert caught.value.kind == "parse"


def test_a_member_twice_is_refused():
    with pytest.raises(BackupError, match="lists a member twice"):
        config.unpack(config.pack([member(), member()]))


def test_a_member_too_many_is_found():
    buffer = io.BytesIO(config.pack([member()]))
    with tarfile.open(fileobj=buffer, mode="a") as archive:
        archive.addfile(tarfile.TarInfo("files/etc/cron.d/evil"))
    with pytest.raises(BackupError, match="has 2 members, and lists 1"):
        config.unpack(buffer.getvalue())


# --- what age makes


HEADER = b"age-encryption.org/v1\n-> X25519 cYKL\nQqm4\n-> X25519 NpKR\nKD6b\n--- venq\n"


def test_the_header_of_age():
    assert config.parse_header(HEADER + b"\x00--- \n-> ", "x") == (2, len(HEADER))
    for broken in (b"", b"PK", HEADER[:-1], HEADER[:60]):
        with pytest.raises(BackupError) as caught:
            config.parse_header(broken, "x")
        assert caught.value.kind == "parse"


@pytest.mark.parametrize(("size", "chunks"), [(0, 1), (1, 1), (65536, 1), (65537, 2), (131072, 2), (131073, 3)])
def test_the_length_of_what_age_makes(size, chunks):
    assert config.encrypted_size(200, size) == 200 + 16 + size + 16 * chunks


# --- writing


def test_what_is_written(etc, tmp_path):
    (etc / "signing.key").chmod(0o4640)
    members, dummy = gathered(etc)
    root = tmp_path / "root"
    root.mkdir()
    notes = config.write(members, os.fsencode(root))
    place = root / str(etc).lstrip("/")
    assert (place / "homeserver.yaml").read_text() == "server_name: example.org\n"
    assert (place / "signing.key").stat().st_mode & 0o7777 == 0o640 and "lost its right" in notes[0]
    assert (place / "conf.d").stat().st_mode & 0o777 == 0o750
    assert os.readlink(place / "conf.d/shared.yaml") == "../shared.yaml"
    assert int((place / "signing.key").stat().st_mtime) == int((etc / "signing.key").stat().st_mtime)


def test_nothing_is_written_through_a_link(tmp_path):
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    root.mkdir()
    link = member(name=b"etc/dir", kind="link", target=str(outside), content=b"", size=0, sha256=None)
    with pytest.raises(OSError, match="exists"):
        config.write([link, member(name=b"etc/dir/x")], os.fsencode(root))
    assert list(outside.iterdir()) == []
