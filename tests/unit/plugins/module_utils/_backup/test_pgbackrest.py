"""What the pgBackRest driver decides without a server; the rest is in the integration tests."""

from __future__ import annotations

import dataclasses
import datetime
import os
import pathlib
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import pgbackrest, wal
from ansible_collections.matrixon.ops.plugins.module_utils._backup import pgbackrest_rules as rules
from ansible_collections.matrixon.ops.plugins.module_utils._backup import pgbackrest_settings as settings
from ansible_collections.matrixon.ops.plugins.module_utils._backup.cluster import Running
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import (
    DATABASE,
    Component,
    Manifest,
    PostgresqlFacts,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest import PgBackRest
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest_archive import Continuity, Engine
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest_output import Stanza, read_info
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

FIXTURES = next(
    parent / "fixtures/pgbackrest" for parent in pathlib.Path(__file__).parents if (parent / "fixtures").is_dir()
)
NOW = datetime.datetime(2026, 11, 27, 2, tzinfo=datetime.timezone.utc)
MIB = 1 << 20
SYSTEM = "7712649044211811368"
FULL_1, INCR_1 = "20261127-005724F", "20261127-005724F_20261127-005729I"
FULL_2, INCR_2 = "20261127-005731F", "20261127-005731F_20261127-005735I"
STANZA: Stanza = read_info((FIXTURES / "info-two-chains.json").read_text(), "main", 1)
ENGINE = Engine(Runner(), "main", 1)
CONFIGURATION = settings.render(
    settings.Settings("main", "/var/lib/postgresql/17/main", (settings.Repository("/var/lib/pgbackrest"),))
)
RUNNING = Running(
    version="17.12",
    major=17,
    data_directory="/var/lib/postgresql/17/main",
    in_recovery=False,
    superuser=True,
    replication=True,
    reads_all=True,
    wal_level="replica",
    max_wal_senders=10,
    summarize_wal=False,
    zstd=True,
    tablespaces=(),
    bytes=1000,
    segment_bytes=16 * MIB,
)
ARCHIVING = rules.Archiving(SYSTEM, "on", "pgbackrest --stanza=main archive-push %p", "", 60, None)
GOOD = rules.Look(
    (2, 55, 1), settings.Found("/etc/pgbackrest", settings.parse(CONFIGURATION)), RUNNING, ARCHIVING, STANZA
)
PLACES = {"the store of the sets": "/var/backups/matrixon", "the media": "/var/lib/matrix/media"}
PG = PostgresqlFacts(
    version="17.12",
    major=17,
    system_identifier=SYSTEM,
    encoding="UTF8",
    collate="C",
    ctype="C",
    locale_provider="libc",
    checksums=True,
    segment_bytes=16 * MIB,
    timeline=1,
    lsn_start="0/2000028",
    lsn_stop="0/2000120",
    wal_start="000000010000000000000002",
    wal_stop="000000010000000000000002",
)


def made(name: str, label: str, run: str, parent: Manifest | None = None, **more: t.Any) -> Manifest:
    detail = {
        "stanza": "main",
        "repository": 1,
        "label": label,
        "run": run,
        "needs": [parent.components[DATABASE].detail["label"]] if parent else [],
        "archive_id": "17-1",
        "unpacked_bytes": 1000,
        **more,
    }
    return Manifest(
        id=name,
        sequence=1,
        fleet="fleet",
        server="db1",
        created=NOW,
        finished=NOW,
        kind="incremental" if parent else "full",
        parent=parent.id if parent else None,
        chain=(*parent.chain, name) if parent else (name,),
        pg=PG,
        components={DATABASE: Component("pgbackrest", (), 5, detail)},
    )


ONE = made("one", FULL_1, "a1")
TWO = made("two", INCR_1, "a2", ONE)
THREE = made("three", FULL_2, "a3")
# By hand, without a mark, the last backup stands in the way of the third set's children.
WITHOUT_LAST = STANZA._replace(backups=STANZA.backups[:3])


def changed(**more: t.Any) -> rules.Look:
    """Return a look with parts of its parts changed, by the name of the part and of the field."""
    look = GOOD
    for key, value in more.items():
        part, _dot, name = key.partition("__")
        if not name:
            look = look._replace(**{part: value})
        else:
            look = look._replace(**{part: getattr(look, part)._replace(**{name: value})})
    return look


def configured(*lines: str, without: str = "") -> settings.Found:
    text = "\n".join(line for line in CONFIGURATION.splitlines() if not without or without not in line)
    return settings.Found("/etc/pgbackrest", settings.parse("\n".join([text, *lines])))


def problems(look: rules.Look, engine: Engine = ENGINE) -> list[str]:
    return rules.problems(look, engine, "backup", PLACES)


# --- what stands in the way


def test_a_good_host_has_no_problems() -> None:
    assert problems(GOOD) == []
    assert rules.warnings(GOOD, ENGINE) == []


@pytest.mark.parametrize(
    ("look", "words"),
    [
        (changed(version=(2, 45)), "pgBackRest is 2.45, and incremental backups of blocks need 2.55"),
        (changed(running__in_recovery=True), "the server is a standby"),
        (changed(running__reads_all=False), 'GRANT pg_read_all_data TO "backup"'),
        (changed(running__tablespaces=(("far", "/mnt/far"),)), "tablespace far lies in /mnt/far"),
        (changed(archiving__mode="off"), "archive_mode is off"),
        (changed(archiving__command="/bin/true"), "archive_command is '/bin/true', which is not pgBackRest's"),
        (changed(archiving__library="basic_archive"), "archive_library is 'basic_archive'"),
        (
            changed(archiving__system_identifier="7"),
            f"belongs to another server: its stanza main is of the cluster {SYSTEM}, and this is 7",
        ),
        (changed(running__data_directory="/srv/data"), "configured for the data directory /var/lib/postgresql/17/main"),
        (changed(stanza=Stanza(missing=True)), "repository 1 holds no stanza main"),
        (changed(stanza__busy=True), "another pgBackRest works on the stanza main"),
        (
            changed(found=configured("[main]", "repo1-retention-full=2")),
            "repo1-retention-full=2: so pgBackRest removes",
        ),
        (
            changed(found=configured("[main]", "repo1-path=/var/lib/postgresql/17/main/x")),
            "repository 1 in /var/lib/postgresql/17/main/x lies inside the data directory",
        ),
        (
            changed(found=configured("[main]", "repo1-path=/var/lib/matrix/media/x")),
            "lies inside the media, /var/lib/matrix/media",
        ),
        (
            changed(found=configured("[main]", "repo1-path=/var/backups")),
            "the store of the sets, /var/backups/matrixon, lies inside repository 1",
        ),
        (
            changed(found=dataclasses.replace(GOOD.found, exposed=("/etc/pgbackrest/conf.d/x.conf",))),
            "chmod 0600 /etc/pgbackrest/conf.d/x.conf",
        ),
    ],
)
def test_each_problem_is_a_sentence_of_its_own(look: rules.Look, words: str) -> None:
    (problem,) = problems(look)
    assert words in problem


def test_a_stanza_that_is_not_configured_is_the_only_thing_to_say_of_it() -> None:
    engine = dataclasses.replace(ENGINE, stanza="other")
    look = changed(archiving__command="pgbackrest --stanza=other archive-push %p", stanza=None)
    assert problems(look, engine) == ["/etc/pgbackrest knows no stanza 'other' (there are: main)"]


def test_a_repository_elsewhere_lies_in_no_place_of_this_host() -> None:
    look = changed(found=configured("[main]", "repo1-path=/var/backups", "repo1-type=s3"))
    assert problems(look) == []


def test_an_upgraded_cluster_is_the_newest_that_the_stanza_knows() -> None:
    clusters = ((1, "7", "15"), (2, SYSTEM, "17"))
    assert problems(changed(stanza__clusters=clusters)) == []
    (problem,) = problems(changed(stanza__clusters=clusters[::-1]))
    assert "belongs to another server" in problem


@pytest.mark.parametrize(
    ("look", "words"),
    [
        (
            changed(version=(2, 45), found=configured("[main]", "repo1-block=n")),
            "pgBackRest is 2.45; from 2.55 on incremental backups copy what changed of a file",
        ),
        (changed(found=configured("[main]", "repo1-block=n")), "repo1-block is not y"),
        (changed(found=configured(without="repo1-bundle")), "repo1-bundle is not y"),
        (changed(found=configured(without="cipher")), "repository 1 is not encrypted"),
        (changed(archiving__timeout=0), "archive_timeout is 0"),
        (changed(archiving__failing="00000001000000000000000C"), "could not archive 00000001000000000000000C"),
        (changed(found=configured("[global]", "archive-push-queue-max=1GB")), "archive-push-queue-max is 1GB"),
    ],
)
def test_each_warning_stands_in_no_way(look: rules.Look, words: str) -> None:
    (warning,) = rules.warnings(look, ENGINE)
    assert words in warning
    assert problems(look) == []


# --- chains


def test_only_the_newest_backup_can_be_added_to() -> None:
    assert rules.reason_for_full(THREE, ENGINE, SYSTEM, WITHOUT_LAST) is None
    reason = rules.reason_for_full(THREE, ENGINE, SYSTEM, STANZA)
    assert reason and f"the newest backup in the repository is {INCR_2} (which no set names)" in reason
    reason = rules.reason_for_full(TWO, ENGINE, SYSTEM, WITHOUT_LAST)
    assert reason and f"is {FULL_2} (of the set three, which was not finished)" in reason


@pytest.mark.parametrize(
    ("parent", "engine", "system", "words"),
    [
        (THREE, ENGINE, "7", "set three is of another cluster"),
        (THREE, dataclasses.replace(ENGINE, repository=2), SYSTEM, "set three is in another repository"),
        (THREE, dataclasses.replace(ENGINE, stanza="other"), SYSTEM, "set three is in another repository"),
        (made("x", "20200101-000000F", "a3"), ENGINE, SYSTEM, "is not in the repository any more"),
        (made("x", FULL_2, "another"), ENGINE, SYSTEM, "is not the one of set x, but another of the same name"),
        (
            dataclasses.replace(THREE, components={DATABASE: Component("native")}),
            ENGINE,
            SYSTEM,
            "was not made by the driver pgbackrest",
        ),
    ],
)
def test_each_reason_for_a_full_backup(parent: Manifest, engine: Engine, system: str, words: str) -> None:
    assert words in (rules.reason_for_full(parent, engine, system, WITHOUT_LAST) or "")


def chain(*manifests: Manifest) -> list[tuple[str, Manifest]]:
    return [("/srv/sets/x", manifest) for manifest in manifests]


def test_a_chain_must_be_in_the_repository_and_need_nothing_else() -> None:
    rules.check_backups(chain(ONE, TWO), STANZA, 1)
    with pytest.raises(BackupError, match="repository 1 holds no such stanza; .* mounted") as caught:
        rules.check_backups(chain(ONE, TWO), Stanza(missing=True), 1)
    assert caught.value.kind == "internal"
    for manifests, words in (
        ((made("one", FULL_1, "b"), TWO), "but another of the same name"),
        ((made("one", "x", "a1"), TWO), "backup x of set one is not in the repository any more"),
        ((THREE, TWO), f"it needs backup {FULL_1}, which is that of no set of its chain"),
    ):
        with pytest.raises(BackupError, match=words) as caught:
            rules.check_backups(chain(*manifests), STANZA, 1)
        assert caught.value.kind == "parse"


# --- removal


ALL: dict[str, Manifest | None] = {"one": ONE, "two": TWO, "three": THREE}


@pytest.mark.parametrize(
    ("sets", "going", "staying"),
    [
        (ALL, [], []),
        ({"three": THREE}, [INCR_1, FULL_1], []),
        ({"three": THREE, "one": ONE}, [INCR_1], []),
        # A set that needs another one, which is gone, still keeps what it needs.
        ({"three": THREE, "two": TWO}, [], [f"backup {FULL_1} stays: {INCR_1} cannot be restored without it"]),
        ({"three": THREE, "one": None, "two": None}, [], []),
        ({"three": THREE, "two": None}, [], [f"backup {FULL_1} stays: {INCR_1} cannot be restored without it"]),
        # Somebody's own backup by hand adds to that of set three.
        ({"one": ONE, "two": TWO}, [], [f"backup {FULL_2} stays: {INCR_2} cannot be restored without it"]),
        # A second try under the same name: the first one's backup is nobody's.
        ({**ALL, "one": made("one", FULL_2, "a3"), "three": THREE, "two": None}, [], [f"backup {FULL_1} stays: "]),
    ],
)
def test_only_what_no_set_names_goes(sets: dict[str, Manifest | None], going: list[str], staying: list[str]) -> None:
    found, kept = rules.unnamed(STANZA, "fleet/db1", sets)
    assert found == going
    assert len(kept) == len(staying) and all(got.startswith(words) for got, words in zip(kept, staying, strict=True))


def test_what_is_anothers_never_goes() -> None:
    assert rules.unnamed(STANZA, "fleet/db2", {}) == ([], [])


def test_the_only_full_backup_never_goes() -> None:
    stanza = STANZA._replace(backups=STANZA.backups[:2])
    going, kept = rules.unnamed(stanza, "fleet/db1", {})
    assert going == [INCR_1] and "it is the only full one in the repository" in kept[0]
    # Two at once are no better than one after the other.
    both = WITHOUT_LAST
    going, kept = rules.unnamed(both, "fleet/db1", {})
    assert going == [FULL_2, INCR_1] and len(kept) == 1 and kept[0].startswith(f"backup {FULL_1} stays: it is the only")


def test_the_store_gives_its_backups_their_mark() -> None:
    assert rules.store_name("/var/backups/matrixon/fleet/db1/") == "fleet/db1"
    assert rules.set_id("/srv/fleet/db1/sets/.partial-before-upgrade") == "before-upgrade"
    assert rules.set_id("/srv/fleet/db1/sets/before-upgrade/") == "before-upgrade"


# --- how far the log leads


def continuity(*segments: int, stop: str = "0/2000120", **more: t.Any) -> Continuity:
    names = [f"0000000100000000{number:08X}" for number in segments]
    walk = wal.walk(names, {}, "000000010000000000000002", 1)
    return Continuity("one", "17-1 in repository 1", wal.parse_lsn(stop), walk._replace(**more), NOW)


def test_a_log_without_a_hole_has_no_problems() -> None:
    assert continuity(2, 3, 4).problems() == []


def test_each_thing_that_the_log_lacks_is_a_sentence() -> None:
    (problem,) = continuity(2, 4).problems()
    assert problem == "the archive 17-1 in repository 1 lacks 000000010000000000000003, behind set one"
    (problem,) = continuity(2, 6).problems()
    assert "lacks 000000010000000000000003 to 000000010000000000000005 (3 segments)" in problem
    (problem,) = continuity().problems()
    assert problem.startswith("set one cannot be restored: it needs the log up to 0/2000120") and "nothing" in problem
    first, second = continuity(2, 4, stop="0/4000000").problems()
    assert "has only the log up to 0/3000000" in first and "lacks" in second
    (problem,) = continuity(2, trap="x").problems()
    assert "recovery would take x instead, which is another history" in problem
    doubled = dataclasses.replace(continuity(2, 4), twice=("000000010000000000000003",))
    assert doubled.problems()[0].endswith("it has 000000010000000000000003 twice, with different contents")


def test_the_age_of_the_log_is_what_can_be_lost() -> None:
    later = NOW + datetime.timedelta(seconds=90)
    found = continuity(2, 3)
    assert found.age(later) == 90 and found.age(NOW - datetime.timedelta(hours=1)) == 0
    # All that the server has written is stored, or there is only the head of a new segment.
    assert found.age(later, wal.parse_lsn("0/4000000")) == 0
    assert found.age(later, wal.parse_lsn("0/4000028")) == 0
    assert found.age(later, wal.parse_lsn("0/4000029")) == 90
    # A hole makes the end of the way another one than the end of the log.
    assert continuity(2, 4).age(later, wal.parse_lsn("0/3000000")) == 90
    assert dataclasses.replace(found, newest=None).age(later) is None


# --- the driver


def test_no_secret_and_no_shell_is_in_a_command_line() -> None:
    argv = dataclasses.replace(ENGINE, directory="/srv/conf").argv("backup", "--type=full")
    assert argv == [
        "pgbackrest",
        "--config-path=/srv/conf",
        "--stanza=main",
        "--log-level-console=off",
        "--log-level-stderr=warn",
        "--no-log-timestamp",
        "--repo=1",
        "backup",
        "--type=full",
    ]
    assert "--repo=1" not in ENGINE.argv("stanza-create", everywhere=True)


def test_what_a_restore_takes_and_what_a_set_takes() -> None:
    assert pgbackrest.needed_bytes(chain(ONE)) == 1000 + 64 * MIB
    assert PgBackRest("/srv/fleet/db1", Runner()).estimate() == MIB


def test_a_driver_without_a_server_or_stanza_says_so() -> None:
    driver = PgBackRest("/srv/fleet/db1", Runner())
    with pytest.raises(BackupError, match="needs a stanza, and none was named"):
        driver.problems()
    driver = PgBackRest("/srv/fleet/db1", Runner(), stanza="main")
    with pytest.raises(BackupError, match="needs a server, and none was named"):
        driver.backup("/srv/fleet/db1/sets/.partial-x", None, Deadline(5))


class Answers:
    """A stand-in for the tool: a program that prints what a fixture holds, and keeps its command lines."""

    def __init__(self, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def give(self, out: str = "", err: str = "", code: int = 0, **by_command: str) -> None:
        """Print ``out``, or for some commands what is given for them."""
        (self.folder / "out").write_text(out)
        (self.folder / "err").write_text(err)
        tool = self.folder / "pgbackrest"
        lines = [f'echo "$@" >> {self.folder}/calls', f"cat {self.folder}/err >&2", f"answer={self.folder}/out"]
        for command, text in by_command.items():
            (self.folder / command).write_text(text)
            lines.append(f'case " $* " in *" {command.replace("_", "-")} "*) answer={self.folder}/{command};; esac')
        lines.append('cat "$answer"')
        tool.write_text("\n".join(["#!/bin/sh", *lines, f"exit {code}\n"]))
        tool.chmod(0o755)

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()


@pytest.fixture
def answers(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Answers:
    return Answers(tmp_path, monkeypatch)


def test_sets_of_several_repositories_are_verified_each_in_its_own(answers: Answers) -> None:
    answers.give((FIXTURES / "verify-flipped-bundle.txt").read_text())
    far = made("far", FULL_2, "a3", repository=2)
    native = dataclasses.replace(ONE, id="other", chain=("other",), components={DATABASE: Component("native")})
    found = PgBackRest("/srv/fleet/db1", Runner()).verify([TWO, far, native], Deadline(20))
    assert [words.partition(": of")[0] for words in found] == [
        # Its own backup is good, and the one that it adds to is not.
        f"set two: backup {FULL_1} is damaged",
        f"pgBackRest says of the stanza main: status: error; backup {FULL_1} is damaged",
    ]
    assert [word for line in answers.calls() for word in line.split() if word.startswith("--repo=")] == [
        "--repo=1",
        "--repo=2",
    ]


def test_the_number_of_a_repository_on_another_host_counts(answers: Answers) -> None:
    answers.give((FIXTURES / "verify-good.txt").read_text())
    driver = PgBackRest("/srv/fleet/db1", Runner(), elsewhere=7)
    assert driver.verify([ONE, THREE], Deadline(20)) == []
    (line,) = answers.calls()
    assert " --repo=7 verify " in line


def test_an_error_before_the_configuration_was_read_is_told(answers: Answers) -> None:
    answers.give(out="ERROR: [041]: unable to open file '/etc/x' for read: [13] Permission denied\n", code=41)
    with pytest.raises(BackupError, match="unable to open file '/etc/x'") as caught:
        ENGINE.info(Deadline(20))
    assert caught.value.kind == "auth"


def test_sets_that_go_together_are_asked_about_together(answers: Answers) -> None:
    answers.give((FIXTURES / "info-two-chains.json").read_text())
    driver = PgBackRest("/srv/fleet/db1", Runner())
    assert driver.removal_problems([ONE, TWO], Deadline(20)) == []
    (problem,) = driver.removal_problems([ONE], Deadline(20))
    assert problem.startswith(f"set one cannot be removed: backup {FULL_1} stays: {INCR_1}")


def test_a_removal_that_did_not_happen_is_no_success(answers: Answers) -> None:
    answers.give((FIXTURES / "info-two-chains.json").read_text(), repo_ls="{}")
    driver = PgBackRest("/srv/fleet/db1", Runner(), stanza="main")
    with pytest.raises(BackupError, match=f"backup {INCR_1} is still there, though pgbackrest expire ended with"):
        driver.tidy({"three": THREE}, Deadline(20))
    assert [line.partition("--repo=1 ")[2] for line in answers.calls() if "expire" in line] == [
        f"expire --set={INCR_1}",
        f"expire --set={FULL_1}",
    ]


def test_a_log_that_did_not_go_is_no_success(answers: Answers) -> None:
    everything = {"one": ONE, "two": TWO, "three": THREE}
    driver = PgBackRest("/srv/fleet/db1", Runner(), stanza="main")
    info, listing = ((FIXTURES / name).read_text() for name in ("info-two-chains.json", "repo-ls-archive.json"))
    answers.give(info=info, repo_ls=listing)
    assert driver.spare(everything, Deadline(20)) == pgbackrest.Tidied((), (), 1)
    with pytest.raises(BackupError, match="1 segments that no backup needs are still there, though"):
        driver.tidy(everything, Deadline(20))
    (line,) = [line.partition("--repo=1 ")[2] for line in answers.calls() if "expire" in line]
    # As many full backups as there are, so none of them goes.
    assert line == (
        "expire --repo1-retention-archive=2 --repo1-retention-archive-type=full --repo1-retention-full=9999999"
    )


def test_a_backup_of_which_nobody_knows_is_no_set() -> None:
    with pytest.raises(BackupError, match="the repository has 0 backups of this run"):
        pgbackrest._made_by(STANZA, "a9")
    backup = pgbackrest._made_by(STANZA, "a2")
    assert backup.label == INCR_1
    pgbackrest._check_made(backup, ONE)
    for parent in (None, THREE):
        with pytest.raises(BackupError, match=f"adds to {FULL_1} and should add to"):
            pgbackrest._check_made(backup, parent)
    with pytest.raises(BackupError, match="pages of the cluster do not have their checksum") as caught:
        pgbackrest._check_made(backup._replace(bad_pages=True), ONE)
    assert caught.value.kind == "parse"
