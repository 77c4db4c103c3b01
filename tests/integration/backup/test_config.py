"""Configuration and keys, encrypted with a real age: nothing leaks, everything comes back, every change is found."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import typing as t
from dataclasses import replace

import pytest
from stores import flip, mounted, open_to_all, soon, start, tree, wrapper

from ansible_collections.matrixon.ops.plugins.module_utils._backup import capture, config
from ansible_collections.matrixon.ops.plugins.module_utils._backup.config import Config, ConfigPart, ConfigPath
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import FileEntry
from ansible_collections.matrixon.ops.plugins.module_utils._probe import ProbeFailure

SECRET = b"QWxsIHlvdXIgYmFzZSBhcmUgYmVsb25nIHRvIHVzIQ"


class Key(t.NamedTuple):
    """An identity and its public key."""

    identity: str
    recipient: str


def new_key(path: pathlib.Path) -> Key:
    subprocess.run(["age-keygen", "-o", str(path)], check=True, capture_output=True)
    made = subprocess.run(["age-keygen", "-y", str(path)], check=True, capture_output=True, text=True)
    return Key(str(path), made.stdout.strip())


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[Key]:
    folder = tmp_path_factory.mktemp("keys")
    return [new_key(folder / name) for name in ("one", "two", "three")]


@pytest.fixture
def etc(tmp_path: pathlib.Path) -> pathlib.Path:
    place = tmp_path / "etc/matrix-synapse"
    (place / "conf.d").mkdir(parents=True)
    (place / "homeserver.yaml").write_text("server_name: example.org\n" * 5000)
    (place / "signing.key").write_bytes(b"ed25519 a_AbCd " + SECRET + b"\n")
    (place / "signing.key").chmod(0o640)
    os.chown(place / "signing.key", 12345, 54321)
    (place / "conf.d").chmod(0o750)
    (place / "conf.d/new\nline").write_text("odd")
    (place / os.fsdecode(b"\xff\xfe")).write_text("odd, too")
    os.symlink("../homeserver.yaml", place / "conf.d/link.yaml")
    return place


@pytest.fixture
def directory(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "set"
    path.mkdir(mode=0o700)
    return path


def made(keys: list[Key], etc: pathlib.Path, directory: pathlib.Path, **options: t.Any) -> ConfigPart:
    driver = Config([key.recipient for key in keys[:2]], **options)
    return driver.backup([ConfigPath(str(etc))], str(directory), soon())


def archive(directory: pathlib.Path) -> pathlib.Path:
    (path,) = directory.iterdir()
    return path


def without_times(found: dict[bytes, tuple[t.Any, ...]]) -> dict[bytes, tuple[t.Any, ...]]:
    """Times are kept to the second, and those of directories are not worth keeping."""
    return {path: (*facts[:4], *facts[5:]) if len(facts) == 6 else facts for path, facts in found.items()}


# --- there and back


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_each_recipient_gets_everything_back(keys, etc, directory, tmp_path, compression):
    part = made(keys, etc, directory, compression=compression)
    component, driver = part.component(), Config()
    assert part.signing_key_ids == ("ed25519:a_AbCd",) and component.detail["members"] == 7
    driver.check(component, str(directory), soon())
    for number, key in enumerate(keys[:2]):
        target = tmp_path / f"target{number}"
        assert driver.restore(component, str(directory), key.identity, str(target), soon()) == []
        back = target / str(etc).lstrip("/")
        assert without_times(tree(back)) == without_times(tree(etc))
        info = (back / "signing.key").stat()
        assert (info.st_uid, info.st_gid) == (12345, 54321)
        assert int(info.st_mtime) == int((etc / "signing.key").stat().st_mtime)
        assert target.stat().st_mode & 0o777 == 0o700


def test_common_tools_open_it(keys, etc, directory, tmp_path):
    made(keys, etc, directory)
    command = f"age -d -i {keys[0].identity} {archive(directory)} | zstd -d | tar -xO --wildcards '*/signing.key'"
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=False)
    assert SECRET in done.stdout, done.stderr


def test_gzip_is_taken_where_there_is_no_zstd(keys, etc, directory, monkeypatch):
    real = shutil.which
    monkeypatch.setattr(config.shutil, "which", lambda tool, **more: None if tool == "zstd" else real(tool, **more))
    made(keys, etc, directory)
    assert archive(directory).name == "config.tar.gz.age"


def test_nobody_else_opens_it(keys, etc, directory):
    component = made(keys, etc, directory).component()
    with pytest.raises(BackupError, match="belongs to none of the recipients; it was made for age1") as caught:
        Config().read(component, str(directory), keys[2].identity, soon())
    assert caught.value.kind == "auth"
    os.chmod(keys[2].identity, 0o644)
    with pytest.raises(BackupError, match="0600"):
        Config().read(component, str(directory), keys[2].identity, soon())
    os.chmod(keys[2].identity, 0o600)


# --- F13, and what else could leak


def test_nothing_in_the_clear_touches_a_disk_or_an_argument(keys, etc, directory, tmp_path, monkeypatch):
    written: list[bytes] = []
    real = capture.tempfile.TemporaryFile

    class Watched:
        """A temporary file whose content is looked at when it is closed."""

        def __init__(self) -> None:
            self.file = real()

        def __getattr__(self, name: str) -> t.Any:
            return getattr(self.file, name)

        def __enter__(self) -> t.Any:
            return self.file

        def __exit__(self, *dummy: object) -> None:
            self.file.seek(0)
            written.append(self.file.read())
            self.file.close()

    monkeypatch.setattr(capture.tempfile, "TemporaryFile", Watched)
    log = tmp_path / "log"
    tool = wrapper(tmp_path / "age", "age", before=f'tr "\\0" " " < /proc/$$/cmdline >> {log}; env >> {log}')
    old = os.umask(0o022)
    try:
        part = made(keys, etc, directory, tool=tool)
    finally:
        os.umask(old)
    Config(tool=tool).read(part.component(), str(directory), keys[0].identity, soon())
    assert written and not [content for content in written if b"server_name" in content or SECRET in content]
    assert "--recipient" in log.read_text() and "AGE-SECRET" not in log.read_text()
    path = archive(directory)
    assert path.stat().st_mode & 0o777 == 0o600
    assert b"server_name" not in path.read_bytes() and SECRET not in path.read_bytes()
    # Nor does what stands in the set's manifest, which is not encrypted.
    assert SECRET.decode() not in repr(part) and "signing.key" not in repr(part)


def test_without_recipients_nothing_is_kept(etc, directory):
    with pytest.raises(BackupError, match="never stored in the clear"):
        Config().backup([ConfigPath(str(etc))], str(directory), soon())
    assert list(directory.iterdir()) == []


# --- what is found wrong


def test_every_byte_counts_even_without_an_identity(keys, etc, directory):
    part = made(keys, etc, directory)
    component, path = part.component(), archive(directory)
    whole = path.read_bytes()
    for position in (5, 60, len(whole) // 2, len(whole) - 1):
        flip(path, position)
        with pytest.raises(BackupError, match="is not what was written") as caught:
            Config().check(component, str(directory), soon())
        assert caught.value.kind == "parse"
        flip(path, position)
    Config().check(component, str(directory), soon())
    for other in (whole[:-1], whole + b"x", b""):
        path.write_bytes(other)
        with pytest.raises(BackupError, match="is not what was written"):
            Config().check(component, str(directory), soon())
    path.unlink()
    with pytest.raises(BackupError, match="cannot be read"):
        Config().check(component, str(directory), soon())


def component_of(part: ConfigPart, path: pathlib.Path, **detail: t.Any) -> t.Any:
    """The component as it would be for a file that was changed, and whose manifest was changed with it."""
    content = path.read_bytes()
    entry = FileEntry(path.name, len(content), config.hashlib.sha256(content).hexdigest())
    return replace(part.component(), files=(entry,), detail={**part.detail, **detail})


def test_an_archive_for_fewer_recipients_is_found(keys, etc, directory, tmp_path):
    part = made(keys, etc, directory)
    plain = subprocess.run(
        ["age", "-d", "-i", keys[0].identity, str(archive(directory))], capture_output=True, check=True
    ).stdout
    path = archive(directory)
    path.write_bytes(
        subprocess.run(["age", "-r", keys[0].recipient], input=plain, capture_output=True, check=True).stdout
    )
    with pytest.raises(BackupError, match="can be opened by 1 recipients, and 2 were asked for"):
        Config().check(component_of(part, path), str(directory), soon())
    # Cut between two of age's chunks the sums agree with each other, and not with what was put in.
    component = component_of(part, path, recipients=[keys[0].recipient], packed_bytes=len(plain) + 1)
    with pytest.raises(BackupError, match="and its content makes"):
        Config().check(component, str(directory), soon())


def test_another_archive_in_its_place_is_found(keys, etc, directory, tmp_path):
    part = made(keys, etc, directory)
    # Of the same length, and planted by somebody who knows the public keys and can write the manifest's file list.
    (etc / "homeserver.yaml").write_text("server_name: example.com\n" * 5000)
    other = tmp_path / "other"
    other.mkdir()
    planted = made(keys, etc, other)
    shutil.copy(archive(other), archive(directory))
    component = component_of(part, archive(directory), packed_bytes=planted.detail["packed_bytes"])
    Config().check(component, str(directory), soon())
    with pytest.raises(BackupError, match="another archive than the one that was put away") as caught:
        Config().restore(component, str(directory), keys[0].identity, str(tmp_path / "target"), soon())
    assert caught.value.kind == "parse" and not (tmp_path / "target").exists()


@pytest.mark.parametrize("code", [0, 1])
def test_an_age_that_fails_is_no_backup(keys, etc, directory, tmp_path, code):
    """Killed midway it leaves half a file; that it ends with 0 is not believed either."""
    tool = tmp_path / "age"
    tool.write_text(
        f'#!/bin/sh\ncase "$1" in --encrypt) head -c 300 | age "$@"; exit {code};; *) exec age "$@";; esac\n'
    )
    tool.chmod(0o755)
    words = "and its content makes" if code == 0 else "encrypting the configuration: .* ended with code 1"
    with pytest.raises(BackupError, match=words):
        made(keys, etc, directory, tool=str(tool))


def test_a_zstd_that_lies_is_found_before_anything_is_encrypted(keys, etc, directory, tmp_path, monkeypatch):
    tool = tmp_path / "zstd"
    tool.write_text(
        '#!/bin/sh\ncase "$*" in *-d*) exec /usr/bin/zstd "$@";; *) head -c 20000 | /usr/bin/zstd "$@";; esac\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(BackupError, match="did not unpack as it was packed"):
        made(keys, etc, directory)
    assert list(directory.iterdir()) == []


def test_a_full_disk_is_named(keys, etc, tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    (etc / "noise").write_bytes(os.urandom(300_000))
    with mounted(place, "128k"), pytest.raises(ProbeFailure, match="no space left on device; make room"):
        made(keys, etc, place)


def test_a_target_with_files_is_refused(keys, etc, directory, tmp_path):
    component = made(keys, etc, directory).component()
    (tmp_path / "target").mkdir()
    (tmp_path / "target/mine").write_text("mine")
    with pytest.raises(BackupError, match="is not empty"):
        Config().restore(component, str(directory), keys[0].identity, str(tmp_path / "target"), soon())
    assert (tmp_path / "target/mine").read_text() == "mine"


def test_a_file_that_cannot_be_read_is_no_success(keys):
    """Root reads everything, so this is done as somebody else."""
    with open_to_all() as folder:
        for name in ("etc", "set"):
            (folder / name).mkdir()
            shutil.chown(folder / name, "nobody")
        (folder / "etc/closed").write_text("x")
        (folder / "etc/closed").chmod(0o600)
        code = (
            "import os, sys\n"
            "from ansible_collections.matrixon.ops.plugins.module_utils._backup.config import Config, ConfigPath\n"
            "from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "try:\n"
            "    Config([sys.argv[1]]).backup([ConfigPath(sys.argv[2] + '/etc')], sys.argv[2] + '/set', Deadline(60))\n"
            "except ProbeFailure as error:\n"
            "    print(error.kind, error.message)\n"
        )
        said = start(code, keys[0].recipient, str(folder)).communicate(timeout=60)[0].decode()
        assert said == f"auth config: {folder}/etc/closed cannot be read: Permission denied\n"
        assert list((folder / "set").iterdir()) == []
