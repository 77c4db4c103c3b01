"""The configuration of pgBackRest, written and read."""

from __future__ import annotations

import dataclasses
import pathlib
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import pgbackrest_settings as settings
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest_settings import (
    ObjectStore,
    Repository,
    Secrets,
    Settings,
)

LOCAL = Repository("/var/lib/pgbackrest")
STORE = ObjectStore("backup", "s3.example.org", "eu-central-1", ca_file="/etc/ssl/store.pem", uri_style="path")
FAR = Repository("/fleet", STORE)
GOOD = Settings("main", "/var/lib/postgresql/17/main", (LOCAL, FAR))
PASSPHRASES = ("a-passphrase-that-is-long", "another-passphrase-that-is-long")
SECRETS = (Secrets(PASSPHRASES[0]), Secrets(PASSPHRASES[1], "key-of-access", "secret-of-access"))


def test_all_of_a_configuration() -> None:
    assert settings.render(GOOD) == (
        """[global]
repo1-type=posix
repo1-path=/var/lib/pgbackrest
repo1-cipher-type=aes-256-cbc
repo1-bundle=y
repo1-block=y
repo1-retention-full-type=count
repo1-retention-full=9999999
repo2-type=s3
repo2-path=/fleet
repo2-s3-bucket=backup
repo2-s3-endpoint=s3.example.org
repo2-s3-region=eu-central-1
repo2-s3-uri-style=path
repo2-storage-port=443
repo2-storage-verify-tls=y
repo2-storage-ca-file=/etc/ssl/store.pem
repo2-cipher-type=aes-256-cbc
repo2-bundle=y
repo2-block=y
repo2-retention-full-type=count
repo2-retention-full=9999999
compress-type=zst
compress-level=3
process-max=2
spool-path=/var/spool/pgbackrest
log-path=/var/log/pgbackrest
log-level-file=info
log-level-console=warn
log-level-stderr=off
start-fast=y
expire-auto=n
archive-async=y
archive-get-queue-max=134217728

[global:archive-push]
process-max=2

[global:archive-get]
process-max=2

[main]
pg1-path=/var/lib/postgresql/17/main
pg1-port=5432
pg1-socket-path=/var/run/postgresql
"""
    )


def test_what_is_secret_is_in_a_file_of_its_own() -> None:
    assert settings.render_secrets(GOOD, SECRETS) == (
        "[global]\n"
        "repo1-cipher-pass=a-passphrase-that-is-long\n"
        "repo2-cipher-pass=another-passphrase-that-is-long\n"
        "repo2-s3-key=key-of-access\n"
        "repo2-s3-key-secret=secret-of-access\n"
    )
    assert settings.SECRETS_MODE == 0o600
    for secret in (*PASSPHRASES, "key-of-access", "secret-of-access"):
        assert secret not in settings.render(GOOD) + repr(GOOD) + repr(SECRETS) + str(SECRETS)


def test_options_change_their_lines() -> None:
    changed = dataclasses.replace(
        GOOD,
        repositories=(dataclasses.replace(LOCAL, encrypted=False),),
        user="backup",
        lock_directory="/run/pgbackrest",
        asynchronous=False,
        compression="lz4",
        level=1,
        processes=7,
        push_processes=3,
    )
    lines = settings.render(changed).splitlines()
    for line in (
        "repo1-cipher-type=none",
        "pg1-user=backup",
        "lock-path=/run/pgbackrest",
        "archive-async=n",
        "compress-type=lz4",
        "compress-level=1",
        "process-max=7",
    ):
        assert line in lines
    assert lines.count("process-max=3") == 2
    assert settings.render_secrets(changed, [Secrets()]) == "[global]\n"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stanza": "a b"}, "stanza: 'a b' is no name"),
        ({"stanza": "main]\n[global"}, "is no name"),
        ({"data_directory": "data"}, "data_directory: 'data' is no plain absolute path"),
        ({"data_directory": "/"}, "is no plain absolute path"),
        ({"spool": "/a/../b"}, "spool: '/a/../b' is no plain absolute path"),
        ({"socket": "/run/a\nb"}, "has characters that no line of a file can have"),
        ({"lock_directory": ""}, "lock_directory: '' is no plain absolute path"),
        ({"port": 0}, "port: 0 is not from 1 to 65535"),
        ({"processes": 0}, "processes: 0 is not from 1 to 999"),
        ({"push_processes": 1000}, "push_processes: 1000 is not from 1 to 999"),
        ({"queue_bytes": 0}, "queue_bytes: 0 is not above 0"),
        ({"compression": "xz"}, "compression: 'xz' is none of zst, lz4 and gz"),
        ({"level": 0}, "level: 0 is no level of zst"),
        ({"compression": "gz", "level": 10}, "level: 10 is no level of gz"),
        ({"file_level": "loud"}, "file_level: 'loud' is none of off"),
        ({"repositories": ()}, "repositories: there is none"),
        ({"repositories": (LOCAL, LOCAL)}, "two of them are the same directory"),
        ({"repositories": (Repository("relative"),)}, "repositories[1]: path 'relative' is no plain absolute path"),
        ({"repositories": (Repository("/var/lib/postgresql/17/main/r"),)}, "and the data directory"),
        ({"repositories": (Repository("/var/lib/postgresql"),)}, "lie in each other"),
        ({"repositories": (Repository("/var/spool"),)}, "and the spool /var/spool/pgbackrest lie in each other"),
    ],
)
def test_each_setting_that_cannot_be_right_is_refused(change: dict[str, t.Any], words: str) -> None:
    bad = dataclasses.replace(GOOD, **change)
    (problem,) = settings.problems(bad)
    assert words in problem
    with pytest.raises(BackupError):
        settings.render(bad)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bucket": "Under_score"}, "bucket 'Under_score' is no name"),
        ({"endpoint": "https://s3.example.org"}, "give it without https:// and without a port"),
        ({"endpoint": "s3.example.org:9000"}, "without a port"),
        ({"region": "a b"}, "region 'a b' is no name"),
        ({"port": 70000}, "port 70000 is not from 1 to 65535"),
        ({"uri_style": "both"}, "uri_style 'both' is neither"),
        ({"ca_file": "ca.pem"}, "ca_file 'ca.pem' is no plain absolute path"),
    ],
)
def test_each_detail_of_an_object_store_that_cannot_be_right_is_refused(change: dict[str, t.Any], words: str) -> None:
    far = Repository("/fleet", dataclasses.replace(STORE, **change))
    (problem,) = settings.problems(dataclasses.replace(GOOD, repositories=(LOCAL, far)))
    assert problem.startswith("repositories[2]: ") and words in problem


def test_an_object_store_must_be_encrypted() -> None:
    far = dataclasses.replace(FAR, encrypted=False)
    (problem,) = settings.problems(dataclasses.replace(GOOD, repositories=(far,)))
    assert "must be encrypted" in problem


@pytest.mark.parametrize(
    ("secrets", "words"),
    [
        ((SECRETS[0],), "secrets: there are 1, and 2 repositories"),
        ((Secrets(), SECRETS[1]), "repositories[1]: passphrase is missing"),
        ((Secrets("short"), SECRETS[1]), "passphrase has less than 20 characters"),
        ((Secrets("a" * 30 + "\nrepo1-path=/"), SECRETS[1]), "passphrase has characters that no line"),
        ((Secrets(" " + "a" * 30), SECRETS[1]), "passphrase has characters that no line"),
        ((SECRETS[0], Secrets(PASSPHRASES[1], None, "s")), "repositories[2]: access_key is missing"),
        ((SECRETS[0], Secrets(PASSPHRASES[1], "a", "")), "repositories[2]: secret_key is missing"),
    ],
)
def test_each_secret_that_cannot_be_right_is_refused_without_showing_it(
    secrets: tuple[Secrets, ...], words: str
) -> None:
    (problem,) = settings.problems(GOOD, secrets)
    assert words in problem and "aaaa" not in problem and "short" not in problem
    with pytest.raises(BackupError):
        settings.render_secrets(GOOD, secrets)


# --- commands


def test_commands_of_a_server() -> None:
    assert settings.archive_command("main") == "pgbackrest --stanza=main archive-push %p"
    assert settings.archive_command("main", "/srv/50%/a b") == (
        "pgbackrest '--config-path=/srv/50%%/a b' --stanza=main archive-push %p"
    )
    command = settings.restore_command("main", 2, "/srv/conf")
    assert command.startswith("pgbackrest --config-path=/srv/conf --stanza=main --repo=2 ")
    assert command.endswith('archive-get %f "%p"; code=$?; [ $code -le 1 ] || exit 126; exit $code')


GOOD_COMMAND = "pgbackrest --stanza=main archive-push %p"


@pytest.mark.parametrize(
    ("mode", "command", "library", "words"),
    [
        ("on", GOOD_COMMAND, "", None),
        ("always", "/usr/bin/pgbackrest --stanza main archive-push %p", "", None),
        ("on", "PGB=1 nice pgbackrest --config-path=/etc/pgbackrest --stanza=main archive-push %p", "", None),
        ("off", GOOD_COMMAND, "", "archive_mode is off"),
        ("on", GOOD_COMMAND, "basic_archive", "archive_library is 'basic_archive'"),
        ("on", "/bin/true", "", "archive_command is '/bin/true', which is not pgBackRest's"),
        ("on", "", "", "which is not pgBackRest's"),
        ("on", "cp %p /srv/pgbackrest/archive-push", "", "which is not pgBackRest's"),
        ("on", "pgbackrest --stanza=main info", "", "which is not pgBackRest's"),
        ("on", "echo 'pgbackrest archive-push", "", "which is not pgBackRest's"),
        ("on", "pgbackrest --stanza=other archive-push %p", "", "for the stanza 'other', not for 'main'"),
        ("on", "pgbackrest --stanza other archive-push %p", "", "for the stanza 'other'"),
        ("on", "pgbackrest --config-path=/srv --stanza=main archive-push %p", "", "another configuration than"),
    ],
)
def test_only_a_command_that_keeps_the_log_is_good(mode: str, command: str, library: str, words: str | None) -> None:
    problem = settings.archive_problem(mode, command, library, "main", "/etc/pgbackrest")
    assert problem is None if words is None else words in (problem or "")


def test_a_configuration_elsewhere_must_be_the_commands_too() -> None:
    assert settings.archive_problem("on", settings.archive_command("main", "/srv"), "", "main", "/srv") is None
    assert "another configuration" in (settings.archive_problem("on", GOOD_COMMAND, "", "main", "/srv") or "")


# --- reading


def written(folder: pathlib.Path) -> settings.Found:
    (folder / "conf.d").mkdir(parents=True, exist_ok=True)
    (folder / settings.MAIN).write_text(settings.render(GOOD))
    secrets = folder / settings.SECRETS
    secrets.write_text(settings.render_secrets(GOOD, SECRETS))
    secrets.chmod(0o600)
    return settings.read(str(folder))


def test_what_is_written_is_read_without_its_secrets(tmp_path: pathlib.Path) -> None:
    found = written(tmp_path)
    assert found.repository_path("main", 1) == "/var/lib/pgbackrest" and found.repository_path("main", 2) is None
    assert found.get("main", "pg1-path") == GOOD.data_directory
    assert found.get("main", "process-max") == "2" and found.get("main", "none", "x") == "x"
    assert found.stanza_problem("main") is None
    assert found.stanza_problem("other") == f"{tmp_path} knows no stanza 'other' (there are: main)"
    assert (found.retention("main", 1), found.retention("main", 2), found.exposed) == ([], [], ())
    for secret in (*PASSPHRASES, "key-of-access", "secret-of-access"):
        assert secret not in repr(found)


@pytest.mark.parametrize(("mode", "exposed"), [(0o600, False), (0o640, False), (0o644, True), (0o601, True)])
def test_a_file_with_secrets_that_everybody_can_read_is_named(tmp_path: pathlib.Path, mode: int, exposed: bool) -> None:
    written(tmp_path)
    path = tmp_path / settings.SECRETS
    path.chmod(mode)
    # The other file is for everybody to read, and may be.
    (tmp_path / settings.MAIN).chmod(0o644)
    assert settings.read(str(tmp_path)).exposed == ((str(path),) if exposed else ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[global]\nrepo1-retention-full=2\n", ["repo1-retention-full=2"]),
        ("[main]\nrepo1-retention-archive=1\n", ["repo1-retention-archive=1"]),
        ("[global:expire]\nrepo1-retention-diff=3\n", ["repo1-retention-diff=3"]),
        ("[main:backup]\nrepo1-retention-full = 4\n", ["repo1-retention-full=4"]),
        ("[global]\nrepo2-retention-full=2\n# repo1-retention-full=2\n", []),
        ("[global:backup]\nrepo1-retention-full=9999999\n", []),
        ("[other]\nrepo1-retention-full=2\n", []),
    ],
)
def test_what_would_remove_backups_by_itself_is_found(tmp_path: pathlib.Path, text: str, expected: list[str]) -> None:
    written(tmp_path)
    (tmp_path / "conf.d/zz.conf").write_text(text)
    assert settings.read(str(tmp_path)).retention("main", 1) == expected


def test_a_repository_is_where_the_stanza_says_before_the_rest() -> None:
    sections = settings.parse("[global]\nrepo1-path=/a\nrepo2-path=/b\nrepo2-host=far\n[main]\nrepo1-path=/c\n")
    found = settings.Found("/etc/pgbackrest", sections)
    assert (found.repository_path("main", 1), found.repository_path("other", 1)) == ("/c", "/a")
    assert found.repository_path("main", 2) is None and found.repository_path("main", 3) == "/var/lib/pgbackrest"


def test_a_host_without_a_configuration_is_told(tmp_path: pathlib.Path) -> None:
    with pytest.raises(BackupError, match=f"there is no {tmp_path}/pgbackrest.conf"):
        settings.read(str(tmp_path))
