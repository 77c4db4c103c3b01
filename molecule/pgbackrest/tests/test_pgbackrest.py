"""A database whose backups and log pgBackRest keeps: proven, brought back to a moment, refused; the engine itself."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import tarfile
import time
import typing as t

import pytest

testinfra_hosts = ["ansible://postgresql"]

ROOT = pathlib.Path(__file__).resolve().parents[3]
HOST = "matrixon-ops-pgbackrest-db3"
STORE = "/srv/backup/molecule-pgbackrest/db3"
REPOSITORY = "/srv/backup/pgbackrest/molecule-pgbackrest/db3"
PASSPHRASE = "molecule-passphrase-of-the-repository"
SECRETS = "/etc/pgbackrest/conf.d/secrets.conf"
PLAYBOOK_TIMEOUT_S = 300
# What the engine calls good and is not. All of its tests are in the soak.
ENGINE_TESTS = "f19"


class Run(t.NamedTuple):
    """How a command of the operator ended."""

    code: int
    output: str


def call(*command: str) -> Run:
    words = {"NO_COLOR": "1", "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **words},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PLAYBOOK_TIMEOUT_S,
        check=False,
    )
    return Run(done.returncode, done.stdout + done.stderr)


def inventory() -> str:
    return str(pathlib.Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent)


def playbook(name: str, *arguments: str) -> Run:
    return call("ansible-playbook", "-i", inventory(), f"playbooks/{name}.yml", *arguments)


def module(name: str, **options: t.Any) -> dict[str, t.Any]:
    """Run a module on the host, and return what it said."""
    given = {"root": "/srv/backup", "deployment": "molecule-pgbackrest", "profile": "synapse", "server": "db3"}
    arguments = json.dumps({**given, "owner": "postgres", **options})
    run = call("ansible", "-i", inventory(), "postgresql", "--become", "-m", f"matrixon.ops.{name}", "-a", arguments)
    _host, found, answer = run.output.partition(" => ")
    assert found, run.output
    return {**json.JSONDecoder().raw_decode(answer)[0], "failed": run.code != 0}


@pytest.fixture(scope="module")
def sql(host: t.Any) -> t.Callable[..., str]:
    def ask(statement: str, database: str = "synapse") -> str:
        words = ["runuser", "-u", "postgres", "--", "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database, "-c"]
        return host.check_output(" ".join(["%s"] * (len(words) + 1)), *words, statement)

    return ask


def archived(sql: t.Callable[..., str]) -> str:
    """Finish the segment that is written, wait until it was taken, and return its name."""
    sql("SELECT pg_create_restore_point('test')")
    name = sql("SELECT pg_walfile_name(pg_switch_wal())")
    deadline = time.monotonic() + 60
    while sql("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver") < name:
        assert time.monotonic() < deadline, sql("SELECT * FROM pg_stat_archiver")
        time.sleep(0.5)
    return name


@pytest.fixture(scope="module")
def catalog(host: t.Any) -> t.Callable[[], list[dict[str, t.Any]]]:
    def read() -> list[dict[str, t.Any]]:
        found = json.loads(host.check_output("cat %s", f"{STORE}/catalog.json"))["sets"]
        return sorted(found, key=lambda entry: entry["sequence"])

    return read


@pytest.fixture(scope="module")
def sets(sql: t.Callable[..., str], catalog: t.Callable[[], list[dict[str, t.Any]]]) -> list[dict[str, t.Any]]:
    """Two nights: a whole set and one of what changed, each proven by a drill."""
    sql("CREATE TABLE IF NOT EXISTS schema_version AS SELECT 94 AS version")
    sql("CREATE TABLE IF NOT EXISTS messages AS SELECT i AS id, md5(i::text) AS body FROM generate_series(1, 20000) i")
    for _night in range(2):
        run = playbook("backup")
        assert run.code == 0, run.output
        sql("INSERT INTO messages VALUES (0, 'more')")
    return catalog()


def test_the_secrets_are_the_servers_own(host: t.Any) -> None:
    file = host.file(SECRETS)
    assert (file.user, file.mode) == ("postgres", 0o600) and PASSPHRASE in file.content_string
    main = host.file("/etc/pgbackrest/pgbackrest.conf")
    assert (main.user, main.mode) == ("postgres", 0o640) and PASSPHRASE not in main.content_string
    assert host.file(REPOSITORY).mode == 0o750
    # The words of the search itself are in the journal, so they must not hold it.
    host.check_output("sh -c %s", f"sed -n s/repo1-cipher-pass=//p {SECRETS} > /run/passphrase")
    found = host.run("grep -rlsFf /run/passphrase /etc /srv /var/log /var/lib/postgresql").stdout.split()
    host.check_output("rm /run/passphrase")
    assert found == [SECRETS]
    assert host.run("runuser -u nobody -- cat %s", SECRETS).rc != 0


def test_the_server_hands_its_log_over_by_itself(host: t.Any, sql: t.Callable[..., str]) -> None:
    shown = [sql(f"SHOW {name}") for name in ("archive_mode", "archive_command", "archive_timeout")]
    assert shown == ["on", "pgbackrest --stanza=main archive-push %p", "1min"]
    name = archived(sql)
    assert len(host.run("find %s -name %s", f"{REPOSITORY}/archive", f"{name}-*").stdout.split()) == 1
    assert sql("SELECT last_failed_wal IS NULL OR last_archived_time > last_failed_time FROM pg_stat_archiver") == "t"


def test_two_nights_are_a_chain_and_each_is_proven(host: t.Any, sets: list[dict[str, t.Any]]) -> None:
    assert [entry["kind"] for entry in sets[:2]] == ["full", "incremental"]
    listed = module("matrixon_backup_info", verify_shares=1)
    assert not listed["failed"], listed
    assert {entry["status"] for entry in listed["sets"]} == {"verified"}
    verdicts = {check["name"]: check["status"] for check in listed["report"]["checks"]}
    assert [verdicts[name] for name in ("archive_age", "repository_checksums", "set_checksums")] == ["ok"] * 3, listed
    for path in ("scratch/data", "wal"):
        assert not host.file(f"{STORE}/{path}").exists
    # The second proof wrote only what differed from the first.
    assert host.file("/srv/copy/data/PG_VERSION").exists and not host.file("/srv/copy/data/postmaster.pid").exists


def test_a_deleted_row_is_back_in_a_new_place(
    host: t.Any, sql: t.Callable[..., str], sets: list[dict[str, t.Any]]
) -> None:
    sql("INSERT INTO messages VALUES (-1, 'dear')")
    moment = sql("SELECT to_json(clock_timestamp())#>>'{}'")
    sql("DELETE FROM messages WHERE id = -1")
    archived(sql)
    question = "SELECT count(*) FROM messages WHERE id = -1"
    directory = "/var/lib/postgresql/17/restored"
    done = module(
        "matrixon_restore",
        directory=directory,
        target=moment,
        queries=[{"name": "dear", "database": "synapse", "sql": question}],
    )
    assert not done["failed"], done
    assert done["report"]["facts"]["answers"] == {"dear": 1}
    assert sql(question) == "0", "the server that is in use was touched"
    # What is ready there starts, and does not hand its log to the repository before somebody says so.
    host.check_output("rm -r %s", directory)
    for target, words in (("2036-01-01T00:00:00Z", "the archive ends before it"), ("2001-01-01T00:00:00Z", "before")):
        refused = module("matrixon_restore", directory=directory, target=target)
        assert refused["failed"] and words in refused["msg"], refused
    assert not host.file(directory).exists


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backup_pgbackrest_passphrase": ""}, "backup_pgbackrest_passphrase: a repository has none"),
        ({"backup_pgbackrest_repository": 2}, "backup_pgbackrest_repository: there is no number 2"),
        ({"backup_archive_enabled": False}, "backup_archive_enabled: without the log no copy"),
        ({"backup_drill_copy": "copy"}, "backup_drill_copy: 'copy' is not an absolute path"),
    ],
)
def test_what_cannot_be_is_refused_and_the_files_stay(
    host: t.Any, sets: list[dict[str, t.Any]], options: dict[str, t.Any], words: str
) -> None:
    before = host.check_output("sha256sum /etc/pgbackrest/pgbackrest.conf %s", SECRETS)
    run = playbook("backup", "-e", json.dumps(options))
    assert run.code != 0 and words in run.output, run.output
    assert host.check_output("sha256sum /etc/pgbackrest/pgbackrest.conf %s", SECRETS) == before


def test_another_passphrase_is_refused_and_the_old_one_comes_back(host: t.Any, sets: list[dict[str, t.Any]]) -> None:
    run = playbook("backup", "-e", "backup_pgbackrest_passphrase=molecule-another-passphrase-than-that")
    assert run.code != 0 and "The passphrase is another than that of the repository" in run.output, run.output
    assert PASSPHRASE in host.file(SECRETS).content_string


@pytest.fixture(scope="module")
def tests_here(host: t.Any) -> t.Callable[[str, str], None]:
    """Run tests on this host, with its engine and its PostgreSQL: the machine that runs this may have others."""
    tree = "/opt/tests/ansible_collections/matrixon/ops"
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "plugins", "tests", "lab"]
    names = subprocess.run([*listing, "galaxy.yml"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    host.check_output("mkdir -p %s", f"{tree}/.build/collections/ansible_collections/matrixon")
    host.check_output("ln -sfn %s %s", tree, f"{tree}/.build/collections/ansible_collections/matrixon/ops")
    with (
        subprocess.Popen(["docker", "exec", "-i", HOST, "tar", "-x", "-C", tree], stdin=subprocess.PIPE) as unpack,
        tarfile.open(fileobj=unpack.stdin, mode="w|") as archive,
    ):
        for name in names.rstrip("\0").split("\0"):
            if (ROOT / name).is_file():
                archive.add(ROOT / name, arcname=name)
    packages = "python3-pytest python3-psycopg2 python3-yaml ansible-core lz4 rsync procps"
    host.check_output(f"env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends {packages}")

    def run(path: str, which: str) -> None:
        command = "python3 -m pytest -q -p no:cacheprovider -o addopts=--import-mode=importlib -k %s %s"
        done = host.run(f"cd {tree} && env LC_ALL=C.UTF-8 {command}", which, path)
        assert done.rc == 0 and " passed" in done.stdout and "skipped" not in done.stdout, done.stdout + done.stderr

    return run


def test_the_engine_on_this_host(tests_here: t.Callable[[str, str], None]) -> None:
    tests_here("tests/integration/backup/test_pgbackrest.py", ENGINE_TESTS)


def test_the_server_of_this_host_starts_with_what_is_advised(tests_here: t.Callable[[str, str], None]) -> None:
    tests_here("tests/integration/performance/test_tuning_starts.py", "starts")


def test_the_upkeep_on_this_host_has_the_rights_that_came_with_17(tests_here: t.Callable[[str, str], None]) -> None:
    tests_here("tests/integration/upkeep/test_upkeep_rights.py", "rights")
