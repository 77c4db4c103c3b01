"""What is read out of pgBackRest's answers. They are real ones of 2.55.1, kept in fixtures/pgbackrest."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest_output import (
    DAMAGE,
    Stanza,
    archive_listing,
    read_info,
    read_listing,
    read_verification,
    read_version,
    trouble,
)

FIXTURES = next(
    parent / "fixtures/pgbackrest" for parent in pathlib.Path(__file__).parents if (parent / "fixtures").is_dir()
)
FULL_1, INCR_1 = "20261127-005724F", "20261127-005724F_20261127-005729I"
FULL_2, INCR_2 = "20261127-005731F", "20261127-005731F_20261127-005735I"
ARCHIVE = "17-1"


def text(name: str) -> str:
    return (FIXTURES / name).read_text()


def info(name: str, repository: int = 1) -> Stanza:
    return read_info(text(f"info-{name}.json"), "main", repository)


# --- version


def test_versions_can_be_compared() -> None:
    assert read_version(text("version.txt")) == (2, 55, 1)
    assert read_version("pgBackRest 2.45\n") < (2, 55) <= read_version("pgBackRest 2.55\n")
    with pytest.raises(BackupError, match="names no version") as caught:
        read_version("bash: pgbackrest: no\n")
    assert caught.value.kind == "parse"


# --- info


def test_info_names_backups_and_what_they_need() -> None:
    stanza = info("two-chains")
    assert [backup.label for backup in stanza.backups] == [FULL_1, INCR_1, FULL_2, INCR_2]
    full, incremental = stanza.backups[:2]
    assert full._asdict() == {
        "label": FULL_1,
        "kind": "full",
        "prior": None,
        "needs": (),
        "archive_id": ARCHIVE,
        "wal_start": "000000010000000000000002",
        "wal_stop": "000000010000000000000002",
        "lsn_start": "0/2000028",
        "lsn_stop": "0/2000120",
        "bytes": 23422101,
        "stored": 2806790,
        "bad_pages": False,
        "started": 1795741044,
        "stopped": 1795741048,
        "annotations": {"matrixon-run": "a1", "matrixon-set": "one", "matrixon-store": "fleet/db1"},
    }
    assert (incremental.prior, incremental.needs) == (FULL_1, (FULL_1,))
    assert stanza.backups[3].annotations == {}
    assert stanza.clusters == ((1, "7712649044211811368", "17"),)
    assert (stanza.missing, stanza.busy, stanza.cipher) == (False, False, "none")
    assert stanza.newest is stanza.backups[3] and stanza.fulls == [FULL_1, FULL_2]
    assert stanza.dependents(FULL_1) == [INCR_1] and stanza.dependents(INCR_1) == []
    assert stanza.find("x") is None and stanza.find(FULL_2) is stanza.backups[2]


def test_info_tells_an_empty_repository_from_an_unknown_stanza() -> None:
    assert info("missing-stanza").missing and not info("no-backup").missing
    assert info("no-backup").backups == () and info("no-backup").newest is None
    assert read_info("[]", "main", 1).missing
    assert read_info(text("info-two-chains.json"), "other", 1).missing
    assert info("locked").busy


def test_pages_with_a_wrong_checksum_are_seen() -> None:
    document = json.loads(text("info-two-chains.json"))
    document[0]["backup"][1]["error"] = True
    stanza = read_info(json.dumps(document), "main", 1)
    assert [backup.bad_pages for backup in stanza.backups] == [False, True, False, False]


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("forbidden", "auth", r"repository 2 cannot be read: .*403 \(Forbidden\) \(SignatureDoesNotMatch\)"),
        ("one-of-two-forbidden", "auth", "repository 2 cannot be read"),
        ("certificate", "tls", "unable to verify certificate presented by"),
    ],
)
def test_a_repository_that_cannot_be_read_is_no_empty_one(name: str, kind: str, words: str) -> None:
    """pgBackRest prints these with exit status 0."""
    with pytest.raises(BackupError, match=words) as caught:
        info(name, 2)
    assert caught.value.kind == kind


def test_the_other_repository_is_not_its_neighbours_fault() -> None:
    assert len(info("one-of-two-forbidden", 1).backups) == 4


def test_a_wrong_passphrase_is_called_that() -> None:
    document = json.loads(text("info-certificate.json"))
    document[0]["repo"][0]["status"]["message"] = "[CryptoError] unable to flush"
    with pytest.raises(BackupError, match="The passphrase is another") as caught:
        read_info(json.dumps(document), "main", 2)
    assert caught.value.kind == "auth"
    # What it took for text has no encoding, and characters that no JSON may have.
    nonsense = (FIXTURES / "info-wrong-passphrase.json").read_bytes().decode("utf-8", "surrogateescape")
    with pytest.raises(BackupError, match="The passphrase is another") as caught:
        read_info(nonsense, "main", 1)
    assert caught.value.kind == "auth" and caught.value.message.isprintable()


@pytest.mark.parametrize("broken", ["", "{}x", "[1]", '[{"name": "main"}]', '[{"name": "main", "repo": [], "db": []}]'])
def test_an_answer_that_is_none_is_not_believed(broken: str) -> None:
    with pytest.raises(BackupError, match="pgbackrest info gave no answer that can be read") as caught:
        read_info(broken, "main", 1)
    assert caught.value.kind == "parse"


@pytest.mark.parametrize("key", ["label", "type", "archive", "lsn", "info", "error", "timestamp", "database"])
def test_a_backup_without_what_is_needed_is_not_believed(key: str) -> None:
    document = json.loads(text("info-two-chains.json"))
    del document[0]["backup"][2][key]
    with pytest.raises(BackupError, match=f"'{key}'"):
        read_info(json.dumps(document), "main", 1)


# --- repo-ls


def test_the_log_is_known_by_its_listing() -> None:
    items = read_listing(text("repo-ls-archive.json"))
    listed = archive_listing(items)
    assert sorted(listed.segments) == [f"0000000100000000000000{number:02X}" for number in range(1, 12)]
    first = listed.segments["000000010000000000000001"]
    assert first.path.startswith("0000000100000000/000000010000000000000001-") and first.path.endswith(".zst")
    assert first.bytes > 0 and first.time > 1795000000
    assert (listed.histories, listed.twice) == ({}, ())
    assert sorted(listed.names) == sorted(listed.segments)


def test_a_directory_that_is_not_there_has_no_files() -> None:
    assert read_listing(text("repo-ls-absent.json")) == []


def test_what_recovery_cannot_use_is_no_part_of_the_log() -> None:
    digest, other = "a" * 40, "b" * 40
    base = "0000000200000000/0000000200000000000000"
    names = {
        f"{base}01-{digest}.zst": 5,
        f"{base}02-{digest}": 5,
        f"{base}03-{digest}.zst": 0,
        f"{base}04.partial-{digest}.zst": 5,
        f"{base}05-{digest}.zst.pgbackrest.tmp": 5,
        f"{base}06-{digest}.zst": 5,
        f"{base}06-{other}.zst": 5,
        f"{base}02.00000028.backup": 5,
        "00000002.history": 5,
        "archive.info": 5,
    }
    listing = json.dumps({name: {"type": "file", "size": size, "time": 7} for name, size in names.items()})
    listed = archive_listing(read_listing(listing))
    assert sorted(listed.segments) == ["000000020000000000000001", "000000020000000000000002"]
    assert listed.histories == {2: "00000002.history"} and "00000002.history" in listed.names
    assert listed.twice == ("000000020000000000000006",)


@pytest.mark.parametrize("broken", ["", "[]", '{"a": 1}', '{"a": {"type": "file", "size": "5"}}'])
def test_a_listing_that_is_none_is_not_believed(broken: str) -> None:
    with pytest.raises(BackupError, match="gave no listing that can be read"):
        read_listing(broken)


# --- verify


def found(name: str, *labels: str) -> list[str]:
    wanted = labels or (FULL_1, INCR_1)
    return read_verification(text(f"verify-{name}.txt"), "main").problems(
        {label: f"set {number}" for number, label in enumerate(wanted, 1)}, [ARCHIVE]
    )


def test_only_what_is_named_as_good_is_good() -> None:
    assert found("good") == []
    assert found("good", FULL_1, INCR_1, FULL_2, INCR_2) == []
    assert found("good", "20200101-000000F") == [
        "set 1: backup 20200101-000000F was not looked at, as if it were not there"
    ]
    verified = read_verification(text("verify-good.txt"), "main")
    assert verified.problems({}, ["17-2"]) == ["the archive 17-2 has no segment at all"]


@pytest.mark.parametrize(
    ("name", "sentences"),
    [
        (
            "flipped-bundle",
            [
                f"set 1: backup {FULL_1} is damaged: of 966 files 965 are good "
                "(missing: 0, checksum invalid: 1, size invalid: 0, other: 0)"
            ],
        ),
        (
            "missing-bundle",
            [
                f"set 1: backup {FULL_1} is damaged: of 966 files 918 are good "
                "(missing: 48, checksum invalid: 0, size invalid: 0, other: 0)"
            ],
        ),
        (
            "flipped-segment",
            [
                "the archive 17-1 is damaged: of 11 segments 10 are good "
                "(missing: 0, checksum invalid: 0, size invalid: 0, other: 1)"
            ],
        ),
    ],
)
def test_damage_is_told_with_its_numbers(name: str, sentences: list[str]) -> None:
    assert found(name) == sentences


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing-manifest", f"set 1: backup {FULL_1} is not good: manifest missing"),
        ("empty-archive", "the archive 17-1 has no segment at all"),
    ],
)
def test_damage_that_verify_itself_calls_ok_is_told(name: str, words: str) -> None:
    assert "status: ok" in text(f"verify-{name}.txt")
    assert found(name) == [words]


def test_a_backup_that_has_lost_its_full_one_is_damaged() -> None:
    first, second = found("missing-backup")
    assert first == f"set 1: backup {FULL_1} was not looked at, as if it were not there"
    assert second.startswith(f"set 2: backup {INCR_1} is damaged: of 967 files")
    # The damage is not that of the other chain, and there is nothing else to be said about that.
    assert found("missing-backup", FULL_2) == [
        "pgBackRest says of the stanza main: status: error; " + second.partition(": ")[2]
    ]


def test_a_segment_with_two_contents_is_damage() -> None:
    assert [words.partition(" (")[0] for words in found("segment-twice")] == [
        "the archive 17-1 is damaged: of 12 segments 10 are good"
    ]


@pytest.mark.parametrize(("name", "files"), [("no-archive-info", 1), ("no-stanza", 2)])
def test_a_stanza_without_its_records_is_told(name: str, files: int) -> None:
    sentences = found(name)
    assert [words for words in sentences if "No usable" in words] == sentences[:files]
    assert any("was not looked at" in words for words in sentences)


@pytest.mark.parametrize(
    "broken", ["", "stanza: main\n", "stanza: other\nstatus: ok\n", "status: ok\n", "ERROR: [025]: it broke\n"]
)
def test_a_verification_that_is_none_is_not_believed(broken: str) -> None:
    with pytest.raises(BackupError, match="pgbackrest verify gave no answer that can be read"):
        read_verification(broken, "main")


def test_a_line_that_nobody_knows_is_told() -> None:
    verified = read_verification(text("verify-good.txt") + "  backup: x, something new\n", "main")
    assert verified.problems({FULL_1: "set 1"}, [ARCHIVE]) == [
        "pgBackRest says of the stanza main: backup: x, something new"
    ]
    verified = read_verification("stanza: main\nstatus: error\n", "main")
    assert verified.problems({}, []) == ["pgBackRest says of the stanza main: status: error; it does not say why"]


def test_a_backup_of_which_nothing_was_read_is_not_good() -> None:
    verified = read_verification(
        "stanza: main\nstatus: ok\n  backup: b, status: valid, total files checked: 0, total valid files: 0\n", "main"
    )
    assert verified.problems({"b": "set 1"}, [])[0].startswith("set 1: backup b is damaged: of 0 files 0 are good")


# --- failures


@pytest.mark.parametrize(
    ("name", "code", "kind", "engine_code", "words"),
    [
        ("locked", 50, "internal", 50, "another pgBackRest works on this stanza; wait for it"),
        ("stopped", 62, "internal", 62, "let it go on with 'pgbackrest start'"),
        ("only-full", 104, "internal", 75, "cannot be expired until another full backup has been created"),
        ("server-down", 56, "refused", 56, "unable to find primary cluster"),
        ("restore-flipped", 26, "internal", 26, "actual checksum '"),
        ("restore-missing", 55, "internal", 55, "unable to open missing file"),
        ("restore-no-manifest", 55, "internal", 55, "unable to load backup manifest file"),
        ("unknown-label", 75, "internal", 75, "backup set 20200101-000000F is not valid"),
        ("not-empty", 40, "internal", 40, "because it contains files"),
        ("no-stanza", 55, "internal", 55, "unable to load info file"),
        ("s3-forbidden", 39, "auth", 39, "HTTP request failed with 403 (Forbidden)"),
        ("s3-no-bucket", 39, "refused", 39, "404 (Not Found) (NoSuchBucket)"),
        ("s3-certificate", 95, "tls", 95, "self-signed certificate"),
        ("s3-refused", 49, "refused", 49, "unable to connect to"),
        ("s3-unknown-host", 49, "dns", 49, "unable to get address for 'nowhere.invalid'"),
    ],
)
def test_each_failure_has_its_kind(name: str, code: int, kind: str, engine_code: int, words: str) -> None:
    error = trouble(code, text(f"error-{name}.txt"), "the copy")
    assert error.message.startswith(f"the copy: pgbackrest ended with code {code}: ") and words in error.message
    assert (error.kind, error.facts["engine_code"], error.facts["code"]) == (kind, engine_code, code)
    assert error.facts["outside"] is (name in ("locked", "stopped"))
    assert not error.message.endswith(":") and "WARN" not in error.message


def test_what_a_restore_says_of_damage_is_known_as_damage() -> None:
    for name in ("restore-flipped", "restore-missing", "restore-no-manifest", "unknown-label"):
        assert trouble(1, text(f"error-{name}.txt"), "x").facts["engine_code"] in DAMAGE
    for name in ("locked", "stopped", "not-empty", "s3-refused", "server-down"):
        assert trouble(1, text(f"error-{name}.txt"), "x").facts["engine_code"] not in DAMAGE


@pytest.mark.parametrize(
    ("code", "words", "expected"),
    [
        (1, "", "it said nothing"),
        (-9, "ERROR: [025]: x\n", "was killed by signal 9"),
        (64, "ERROR: [064]: unable to write 'f': [28] No space left on device\n", "; make room on that file system"),
    ],
)
def test_failures_without_words_without_room_and_without_an_end(code: int, words: str, expected: str) -> None:
    error = trouble(code, words, "the copy")
    assert expected in error.message and error.kind == "internal"
    assert error.facts["no_space"] is (code == 64)


def fixture_names() -> t.Iterator[str]:
    yield from sorted(path.name for path in FIXTURES.iterdir())


def test_no_fixture_holds_a_secret_or_the_path_of_a_developers_machine() -> None:
    for name in fixture_names():
        content = text(name)
        assert "/home/" not in content and "canary" not in content and "/root" not in content
