"""What restic says, of both generations, and what is made of it."""

from __future__ import annotations

import os
import re
from dataclasses import replace

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import restic
from ansible_collections.matrixon.ops.plugins.module_utils._backup.capture import Captured
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.media import Kept, Link, MediaPart, Share, Source
from ansible_collections.matrixon.ops.plugins.module_utils._backup.restic import Failed, Restic, Summary
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

LONG = "3a34466855dc24e7bdda461d9dc2fde68d1f6f1d6886b892402269f860305fd9"
OLD = (
    b'{"message_type":"summary","files_new":2,"files_changed":0,"files_unmodified":39,"dirs_new":3,"dirs_changed":0,'
    b'"dirs_unmodified":0,"data_blobs":2,"tree_blobs":3,"data_added":2299,"total_files_processed":41,'
    b'"total_bytes_processed":4100,"total_duration":0.25,"snapshot_id":"912ab0bd"}\n'
)
NEW = OLD.replace(b'"data_added":2299', b'"data_added":2295,"data_added_packed":1339').replace(
    b"912ab0bd", LONG.encode()
)
PART = MediaPart("restic", (Link(LONG, 41, 4100),), False, 41, 4100)


@pytest.fixture
def password_file(tmp_path):
    path = tmp_path / "password"
    path.write_text("secret\n")
    path.chmod(0o600)
    return str(path)


@pytest.fixture
def said(monkeypatch):
    """Let restic say something, and keep what it was asked."""
    asked = []
    answers = {"version": Captured(0, b"restic 0.14.0 compiled with go1.19.8 on linux/amd64\n", b"")}

    def capture(runner, argv, deadline, doing, **options):
        asked.append((runner, argv, options))
        verb = next(word for word in argv[1:] if not word.startswith("-"))
        return answers.get(verb, Captured(0, b"", b""))

    monkeypatch.setattr(restic, "capture", capture)
    return answers, asked


# --- its JSON


def test_the_summary_of_both_generations():
    assert restic.parse_summary(OLD) == Summary("912ab0bd", 41, 4100, 2299)
    assert restic.parse_summary(b'{"message_type":"status"}\n' + NEW) == Summary(LONG, 41, 4100, 1339)


@pytest.mark.parametrize(
    "out",
    [
        b"",
        b"snapshot 912ab0bd saved\n",
        OLD[:100],
        OLD.replace(b'"total_files_processed":41,', b""),
        OLD.replace(b"912ab0bd", b""),
        OLD.replace(b'"912ab0bd"', b'"../../etc"'),
        b"[1]\n",
    ],
)
def test_without_a_whole_summary_nothing_was_kept(out):
    with pytest.raises(BackupError) as caught:
        restic.parse_summary(out)
    assert caught.value.kind == "parse"


def test_errors_of_both_generations():
    out = (
        b'{"message_type":"error","error":{"Op":"lstat","Path":"a/46","Err":2},"during":"archival","item":"/m/a/46"}\n'
        b'{"message_type":"error","error":{"Op":"open","Path":"a/47","Err":13},"during":"archival","item":"/m/a/47"}\n'
        b'{"message_type":"error","error":{},"during":"archival","item":"a/48"}\n'
        b'{"message_type":"error","error":{"message":"incomplete metadata for a/1: xattr.list a/1: no such file or '
        b'directory"},"during":"archival","item":"a/1"}\n'
        b'{"message_type":"error","error":{"message":"open a/2: permission denied"},"during":"archival","item":"a/2"}\n'
        b'{"message_type":"error","error":{"message":"open a/3: permission denied"},"during":"scan","item":"a/3"}\n'
        b"Warning: at least one source file could not be read\n"
    )
    assert restic.parse_errors(out) == [
        Failed("/m/a/46", "No such file or directory", True),
        Failed("/m/a/47", "Permission denied", False),
        Failed("a/48", "restic does not say why", None),
        Failed("a/1", "incomplete metadata for a/1: xattr.list a/1: no such file or directory", True),
        Failed("a/2", "open a/2: permission denied", False),
    ]


def test_a_file_of_which_restic_says_nothing_is_looked_for(tmp_path):
    (tmp_path / "here").write_text("x")
    os.symlink("nowhere", tmp_path / "link")
    root = os.fsencode(tmp_path)
    silent = "restic does not say why"
    assert [Failed(name, silent, None).gone_from(root) for name in ("here", "link", "away")] == [False, False, True]
    assert not Failed("\ufffd", silent, None).gone_from(root)
    assert Failed("here", "", True).gone_from(root) and not Failed("away", "", False).gone_from(root)


# --- what it is asked, and what its codes mean


def driver(password_file, repository="/srv/backup/restic", **options):
    return Restic(repository, password_file, **options)


def test_nothing_secret_is_an_argument(said, password_file, tmp_path):
    answers, asked = said
    environment = tmp_path / "environment"
    environment.write_text(
        "AWS_SECRET_ACCESS_KEY=hunter2\nRESTIC_REPOSITORY=rest:https://me:hunter3@backup.example.org/\n"
    )
    environment.chmod(0o600)
    answers["snapshots"] = Captured(0, b"null", b"")
    made = driver(password_file, None, environment_file=str(environment))
    assert made.problems(None) == []
    made.snapshots(Deadline(10))
    runner, argv, dummy = asked[-1]
    assert runner.environment["AWS_SECRET_ACCESS_KEY"] == "hunter2"
    assert runner.environment["RESTIC_REPOSITORY"].startswith("rest:https://me:hunter3@")
    assert runner.environment["RESTIC_PASSWORD_FILE"] == password_file
    assert not any("hunter" in word or "backup.example.org" in word for word in argv)
    with pytest.raises(BackupError, match=r"is not in rest:https://\*\*\*@backup.example.org/"):
        made.verify(PART, Share(1, 1), Deadline(10))


def test_an_address_with_a_password_is_no_option(said, password_file):
    (problem,) = driver(password_file, "rest:https://me:hunter2@backup.example.org/").problems(None)
    assert "RESTIC_REPOSITORY" in problem and "hunter2" not in problem


def test_options_that_cannot_be_right(said, password_file, tmp_path):
    store = tmp_path / "media"
    store.mkdir()
    source = Source(str(store), (Kept("local_content"),))
    assert driver(password_file).problems(source) == []
    assert "lies in the media store" in driver(password_file, str(store / "restic")).problems(source)[0]
    assert "neither an absolute path" in driver(password_file, "restic").problems(source)[0]
    assert "RESTIC_REPOSITORY" in driver(password_file, None).problems(source)[0]
    os.chmod(password_file, 0o644)
    assert driver(password_file).problems(source)[0].startswith("password_file: others")


def private(path, content):
    path.write_text(content)
    path.chmod(0o600)
    return str(path)


@pytest.mark.parametrize("name", restic.ADDRESSES)
def test_two_addresses_are_one_too_many(said, password_file, tmp_path, name):
    environment = private(tmp_path / "environment", f"{name}=s3:https://s3.example.org/media\n")
    (problem,) = driver(password_file, environment_file=environment).problems(None)
    assert name in problem and "leave one of them out" in problem


def test_two_addresses_in_the_environment_are_one_too_many(said, password_file, tmp_path):
    environment = private(tmp_path / "environment", "RESTIC_REPOSITORY=/a\nRESTIC_REPOSITORY_FILE=/b\n")
    (problem,) = driver(password_file, None, environment_file=environment).problems(None)
    assert problem.startswith("environment_file: it sets RESTIC_REPOSITORY and RESTIC_REPOSITORY_FILE")


def test_the_address_may_stand_in_a_file_of_its_own(said, password_file, tmp_path):
    answers, asked = said
    address = private(tmp_path / "address", "rest:https://me:hunter2@backup.example.org/\n")
    environment = private(tmp_path / "environment", f"RESTIC_REPOSITORY_FILE={address}\n")
    answers["snapshots"] = Captured(0, b"null", b"")
    made = driver(password_file, None, environment_file=environment)
    assert made.problems(None) == []
    made.snapshots(Deadline(10))
    runner, argv, dummy = asked[-1]
    assert runner.environment["RESTIC_REPOSITORY"] == "rest:https://me:hunter2@backup.example.org/"
    assert "RESTIC_REPOSITORY_FILE" not in runner.environment, "restic refuses to be told twice"
    assert not any("hunter" in word for word in argv)


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        ("s3:https://s3.example.org/media", 0o644, "others than its owner have rights"),
        ("\ns3:https://s3.example.org/media", 0o600, "the first line of .* is empty; write the repository's address"),
        (None, 0o600, "cannot be read"),
    ],
)
def test_a_file_that_holds_no_address_is_named(said, password_file, tmp_path, content, mode, words):
    address = tmp_path / "address"
    if content is not None:
        address.write_text(content)
        address.chmod(mode)
    environment = private(tmp_path / "environment", f"RESTIC_REPOSITORY_FILE={address}\n")
    (problem,) = driver(password_file, None, environment_file=environment).problems(None)
    assert problem.startswith("environment_file: RESTIC_REPOSITORY_FILE: ")
    assert re.search(words, problem)


def test_an_old_restic_is_refused(said, password_file):
    said[0]["version"] = Captured(0, b"restic 0.12.1 compiled with go1.18 on linux/amd64\n", b"")
    assert driver(password_file).problems(None) == ["restic is 0.12.1; this needs 0.14 or later"]


NOWHERE = (
    b"Fatal: unable to open config file: stat /srv/backup/restic/config: no such file or directory\n"
    b"Is there a repository at the following location?\n/srv/backup/restic\n"
)
REFUSED = (
    b'Fatal: unable to open config file: client.Head: Head "http://me:***@127.0.0.1:9/config": dial tcp 127.0.0.1:9: '
    b"connect: connection refused\nIs there a repository at the following location?\nrest:http://me:***@127.0.0.1:9/\n"
)


@pytest.mark.parametrize(
    ("code", "err", "kind", "words"),
    [
        (1, NOWHERE, "internal", "there is no repository at /srv/backup/restic; is its file system mounted"),
        (
            10,
            b'{"message_type":"exit_error","code":10,"message":"Fatal: repository does not exist"}\n',
            "internal",
            "there is no repository",
        ),
        (1, REFUSED, "refused", "connection refused"),
        (1, b"Fatal: wrong password or no key found\n", "auth", "wrong password"),
        (
            12,
            b'{"message_type":"exit_error","code":12,"message":"Fatal: wrong password or no key found"}\n',
            "auth",
            "wrong password",
        ),
        (
            1,
            b'Fatal: invalid id "deadbeef": no matching ID found for prefix "deadbeef"\n',
            "internal",
            "is it the right repository",
        ),
        (
            11,
            b"Fatal: unable to create lock in backend: repository is already locked by PID 7\n",
            "refused",
            "restic unlock",
        ),
        (1, b"Fatal: Save(<data/1>) returned error: write: no space left on device\n", "internal", "make room"),
        (
            1,
            b"failed to load snapshot fdac: open /srv/backup/restic/snapshots/fdac401403: no such file or directory\n",
            "internal",
            "is it the right repository",
        ),
        (1, b"client.Head: unexpected HTTP response (403): 403 Forbidden\n", "auth", "403 Forbidden"),
        (1, b"dial tcp: lookup backup.example.org: no such host\n", "dns", "no such host"),
        (1, b"x509: certificate signed by unknown authority\n", "tls", "x509"),
        (-9, b"", "internal", "killed by signal 9"),
    ],
)
def test_a_failure_has_its_kind_and_the_way_out(said, password_file, code, err, kind, words):
    said[0]["snapshots"] = Captured(code, b"", err)
    with pytest.raises(BackupError) as caught:
        driver(password_file).snapshots(Deadline(10))
    assert caught.value.kind == kind and words in caught.value.message


def test_a_repository_that_does_not_answer_is_not_made_anew(said, password_file):
    answers, asked = said
    answers["cat"] = Captured(1, b"", REFUSED)
    with pytest.raises(BackupError, match="connection refused"):
        driver(password_file).prepare(Deadline(10))
    assert not any("init" in argv for dummy, argv, more in asked)
    answers["cat"] = Captured(1, b"", NOWHERE)
    assert driver(password_file).prepare(Deadline(10)) is True
    assert "init" in asked[-1][1]


CHECKED = b"check snapshots, trees and blobs\nread group #1 of 2 data packs\nno errors were found\n"


@pytest.mark.parametrize(
    ("code", "out", "err", "kind"),
    [
        # A code alone is believed in neither way.
        (0, b"check snapshots, trees and blobs\n", b"", "parse"),
        (1, b"", b"Pack ID does not match, want 2ec1, got bc92\nFatal: repository contains errors\n", "parse"),
        (1, b"", b"error: load <snapshot/598f>: invalid data returned\nFatal: repository contains errors\n", "parse"),
        (1, b"", b"error: error loading index 12d6403401\nFatal: LoadIndex returned errors\n", "parse"),
        (1, b"", REFUSED, "refused"),
        # Nobody looked at the data, so nobody may say that it is damaged.
        (1, b"", b"pack 1e failed to download: dial tcp: i/o timeout\nFatal: repository contains errors\n", "timeout"),
        (1, b"", b"unable to create lock in backend: repository is already locked\n", "refused"),
    ],
)
def test_a_check_is_good_only_when_it_says_so(said, password_file, code, out, err, kind):
    answers, asked = said
    answers["snapshots"] = Captured(0, b'[{"time":"2026-11-26T02:00:00Z","id":"%s"}]' % LONG.encode(), b"")
    answers["check"] = Captured(0, CHECKED, b"")
    made = driver(password_file)
    assert "share 3 of 30" in made.verify(PART, Share(3, 30), Deadline(10)).notes[0]
    assert "--read-data-subset=3/30" in asked[-1][1]
    answers["check"] = Captured(code, out, err)
    with pytest.raises(BackupError) as caught:
        made.verify(PART, Share(1, 1), Deadline(10))
    assert caught.value.kind == kind


def test_a_snapshot_that_is_gone_is_damage(said, password_file):
    said[0]["snapshots"] = Captured(0, b"[]", b"")
    said[0]["check"] = Captured(0, CHECKED, b"")
    with pytest.raises(BackupError, match=f"snapshot {LONG}, which is needed, is not in") as caught:
        driver(password_file).verify(PART, Share(1, 1), Deadline(10))
    assert caught.value.kind == "parse"


def test_what_was_not_forgotten_is_an_error(said, password_file):
    answers, asked = said
    answers["snapshots"] = Captured(0, b'[{"time":"2026-11-26T02:00:00Z","id":"%s"}]' % LONG.encode(), b"")
    with pytest.raises(BackupError, match="still there"):
        driver(password_file).forget([LONG], Deadline(10))
    with pytest.raises(BackupError, match="no id of a snapshot"):
        driver(password_file).forget(["latest"], Deadline(10))
    asked.clear()
    driver(password_file).forget([], Deadline(10))
    assert asked == []


def test_a_part_of_another_driver_is_refused(said, password_file):
    with pytest.raises(BackupError, match="made by the driver rsync"):
        driver(password_file).verify(replace(PART, driver="rsync"), Share(1, 1), Deadline(10))


def test_a_name_is_no_pattern():
    assert restic.include(["a/*[x]?\\y"]) == [r"--include=/a/\*\[x\]\?\\y"]
    assert restic.include([]) == []


# --- what came back


def test_a_later_snapshot_is_laid_over_the_ones_before(tmp_path):
    outside, target, staging = (tmp_path / name for name in ("outside", "target", "staging"))
    for path in (outside, target / "a", staging / "a/new", staging / "link"):
        path.mkdir(parents=True)
    (outside / "x").write_text("not ours")
    (target / "a/same").write_text("old")
    (target / "a/other").write_text("kept")
    os.symlink(outside, target / "link")
    (staging / "a/same").write_text("new")
    (staging / "a/new/deep").write_text("deep")
    (staging / "link/x").write_text("ours")
    restic.overlay(os.fsencode(staging), os.fsencode(target))
    assert (target / "a/same").read_text() == "new" and (target / "a/other").read_text() == "kept"
    assert (target / "a/new/deep").read_text() == "deep"
    assert not (target / "link").is_symlink() and (target / "link/x").read_text() == "ours"
    assert (outside / "x").read_text() == "not ours"
