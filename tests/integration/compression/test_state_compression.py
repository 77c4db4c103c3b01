"""The real tool on tables of Synapse's shape: what it saves, that no state changes by it, and each way it can fail."""

from __future__ import annotations

import json
import os
import pathlib
import pwd
import shutil
import subprocess
import threading
import time
import typing as t

import jsonschema
import psycopg2
import pytest
from clusters import USER, Cluster, make_owned
from clusters import run as as_postgres
from compressed import GROUPS, MODULE, PASSWORD, PROFILES, ROOM, ROOT, World, backup_set

pytestmark = pytest.mark.integration

SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
OTHER = "!other:lab.test"
RESULT, GATES, PROOF = "state_compression", "state_compression_gates", "state_compression_proof"


def until(condition: t.Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        threading.Event().wait(0.05)


def made(world: World) -> str:
    """How many of its own tables the tool has made."""
    kind = "relkind = 'r' AND relpersistence = 'p'"
    return world.sql(f"SELECT count(*) FROM pg_class WHERE relname ~ '^state_compressor' AND {kind}")


def test_it_compresses_proves_and_has_nothing_left_to_do(world: World) -> None:
    # The tool goes from room to room and back.
    world.room(GROUPS + 1, GROUPS + 50, OTHER)
    rows, states, before = world.rows(), world.states(), world.fingerprint()
    would = world.ask(check_mode=True)
    assert would.changed and world.fingerprint() == before and made(world) == "0"
    assert would.statuses[RESULT] == "skipped" and would.facts["ahead"] == GROUPS + 50
    assert "would begin with group 1 " in would.check(RESULT)["message"]

    first = world.ask(chunks=2, part=1)
    assert first.report["status"] == "ok" and first.facts["parts"] == 2 and "150 groups are left" in first.output
    done = world.ask(part=2)
    jsonschema.validate(done.report, SCHEMA)
    assert (done.changed, done.report["status"]) == (True, "ok"), done.document
    assert world.states() == states and world.rows() < rows / 2
    saved = sum(answer.facts["removed"] - answer.facts["added"] for answer in (first, done))
    assert saved == rows - world.rows() and done.check(RESULT)["value"] < saved
    facts = done.facts
    assert (facts["groups"], facts["chunks"], facts["parts"], facts["ahead_after"]) == (150, 2, 1, 0)
    assert facts["proven"] == 50 and facts["position"] < facts["position_after"]
    assert "nothing is left" in done.check(RESULT)["message"] and "VACUUM" in done.check(RESULT)["message"]

    again = world.ask()
    assert (again.changed, again.report["status"]) == (False, "ok")
    assert again.check(RESULT)["message"] == "nothing is left to compress"


def test_the_executable_does_it_where_no_password_is_needed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    states, program = world.states(), world.tools.program()
    monkeypatch.setenv("PATH", f"{pathlib.Path(program).parent}:{os.environ['PATH']}")
    barred = world.ask(tool=None, python=None, login=world.address)
    assert barred.statuses == {RESULT: "skipped"} and "command line" in barred.document["msg"]
    assert not pathlib.Path(f"{program}.argv").exists()
    done = world.ask(tool=None, python=None)
    assert (done.changed, done.report["status"], done.facts["tool"]) == (True, "ok", program), done.document
    assert world.states() == states and "password" not in pathlib.Path(f"{program}.argv").read_text()


def test_no_password_is_shown_by_a_tool_that_says_where_it_works(world: World) -> None:
    seen = world.tools.base / "seen"
    python = world.tools.wrapped(f"""
        for name in ("cmdline", "environ"):
            open({str(seen)!r}, "ab").write(open("/proc/self/" + name, "rb").read())
        raise RuntimeError("Failed to connect to database at " + given["db_url"] + " with " + repr(given))
    """)
    failed = world.ask(python=python, login=world.address)
    assert failed.statuses[RESULT] == "critical" and not failed.changed
    assert "Failed to connect to database at ***" in failed.check(RESULT)["message"]
    assert MODULE in seen.read_text() or seen.stat().st_size
    # As a library does that prints by itself and then ends the process.
    panicked = world.ask(
        python=world.tools.wrapped("sys.stderr.write('error: at ' + given['db_url']); sys.stderr.flush(); os._exit(9)"),
        login=world.address,
    )
    assert "ended with code 9: error: at ***" in panicked.check(RESULT)["message"]
    assert panicked.check(RESULT)["error_kind"] == "internal"
    for text in (failed.output, panicked.output, seen.read_text()):
        assert "canary" not in text and "of the tool" not in text


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"tool": "synapse-not-there"}, "synapse-not-there is not installed on this host"),
        ({"tool": None, "python": None}, f"neither tool nor python is given, and {MODULE} is not installed"),
        ({"python": "/nowhere/python"}, "/nowhere/python is no interpreter on this host"),
        ({"python": "bare"}, f"has no module {MODULE}"),
        ({"python": "shell"}, "is an empty shell, as some releases of it on PyPI are: it has none of run_compression"),
        ({"profile": "matrixon"}, "profile matrixon cannot compress state: today's source"),
    ],
)
def test_what_is_not_there_is_skipped_with_its_reason(world: World, options: dict[str, t.Any], reason: str) -> None:
    given = {"way": PROFILES[options.get("profile", "synapse")]["state_compression"], **options}
    if given.get("python") in ("bare", "shell"):
        given["python"] = getattr(world.tools, given["python"])
    skipped = world.ask(**given, login={"port": 1})
    assert skipped.statuses == {RESULT: "skipped"} and skipped.report["status"] == "unknown"
    assert not skipped.changed and reason in skipped.document["msg"], skipped.document["msg"]


def test_a_tool_that_dies_midway_is_critical_and_the_next_run_goes_on(world: World) -> None:
    states = world.states()
    python = world.tools.wrapped("real(**{**given, 'number_of_chunks': 1}); os.kill(os.getpid(), 9)")
    died = world.ask(python=python)
    assert died.changed and died.statuses[RESULT] == "critical" and died.statuses[PROOF] == "ok"
    assert "was killed by SIGKILL" in died.check(RESULT)["message"] and died.facts["ahead_after"] == GROUPS - 200
    assert world.states() == states
    assert world.ask().report["status"] == "ok" and world.states() == states


def test_a_tool_that_hangs_is_ended_by_the_deadline_and_its_sessions_too(world: World) -> None:
    states, mark = world.states(), world.tools.base / "pid"
    python = world.tools.wrapped(f"""
        real(**{{**given, 'number_of_chunks': 1}})
        connection = psycopg2.connect(given['db_url'])
        connection.cursor().execute("UPDATE state_groups_state SET event_id = '$late' WHERE state_group = 450")
        open({str(mark)!r}, 'w').write(str(os.getpid()))
        time.sleep(600)
    """)
    began = time.monotonic()
    hung = world.ask(python=python, deadline=10)
    assert time.monotonic() - began < 20 and not pathlib.Path(f"/proc/{mark.read_text()}").exists()
    assert hung.changed and hung.statuses[RESULT] == "warning" and hung.statuses[PROOF] == "ok"
    assert hung.check(RESULT)["error_kind"] == "timeout" and "the next run goes on there" in hung.output
    assert world.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name ~ 'compression'") == "0"
    assert world.states() == states


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "UPDATE state_groups_state SET event_id = '$wrong' WHERE state_group = "
            "(SELECT prev_state_group FROM state_group_edges WHERE state_group = 200)",
            "say something else than before: ",
        ),
        (
            "UPDATE state_group_edges SET prev_state_group = 999999 WHERE state_group = 37",
            "stand on a group that is not below them: 37",
        ),
        ("UPDATE state_group_edges SET prev_state_group = 90 WHERE state_group = 37", "below them: 37"),
        ("DELETE FROM state_groups WHERE id = 37", "are not there any more: 37"),
    ],
)
def test_a_tool_that_spoils_a_group_is_found_out_and_nothing_more_is_begun(
    world: World, statement: str, words: str
) -> None:
    python = world.tools.wrapped(f"real(**given); sql(given, {statement!r})")
    spoilt = world.ask(python=python, part=1)
    assert spoilt.changed and spoilt.statuses[PROOF] == spoilt.statuses[RESULT] == "critical"
    assert words in spoilt.check(PROOF)["message"] and spoilt.facts["parts"] == 1, spoilt.check(PROOF)
    assert "200" in spoilt.check(PROOF)["message"] or "37" in spoilt.check(PROOF)["message"]


def test_a_tool_that_does_nothing_and_says_that_it_is_done_is_not_believed(world: World) -> None:
    lied = world.ask(python=world.tools.wrapped("pass"))
    assert not lied.changed and lied.statuses[RESULT] == "critical"
    assert f"did not get through {ROOM}" in lied.check(RESULT)["message"]


def test_gates_refuse_before_anything_is_touched(world: World, server: Cluster) -> None:
    before = world.fingerprint()

    def refused(words: str, status: str = "critical", name: str = GATES, **options: t.Any) -> None:
        answer = world.ask(**options)
        assert (answer.changed, answer.check(name)["status"]) == (False, status), answer.document
        assert words in answer.check(name)["message"], answer.check(name)
        assert RESULT not in answer.statuses and world.fingerprint() == before and made(world) == "0"

    where = {"host": str(server.socket), "port": server.port, "dbname": world.name, "user": "postgres"}
    holder = psycopg2.connect(**where, application_name="other run")
    holder.cursor().execute("SELECT pg_try_advisory_lock(1836350510, 1668246896)")
    refused("another compression works in")
    holder.close()
    until(lambda: world.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0")

    other = psycopg2.connect(**where)
    other.autocommit = True
    other.cursor().execute("CREATE TEMP TABLE state_compressor_total_progress (a int)")
    other.cursor().execute("UPDATE state_compressor_total_progress SET a = 1")
    refused("another compressor, pid ")
    other.close()
    until(lambda: world.sql("SELECT count(*) FROM pg_stat_activity WHERE query ~ '^UPDATE state_comp'") == "0")

    world.sql("INSERT INTO state_groups_pending_deletion (state_group, insertion_ts) VALUES (7, 0)")
    refused("1 groups that are about to be deleted; run it again when that is through")
    # Of a room that was purged meanwhile: the homeserver never looks at this row again.
    world.sql("UPDATE state_groups_pending_deletion SET state_group = 999999")
    world.sql("INSERT INTO background_updates VALUES ('state_group_state_deduplication', '{}')")
    refused("background updates (state_group_state_deduplication)")
    world.sql("UPDATE background_updates SET update_name = 'user_directory'")

    unproven, old = [backup_set(status="complete")], [backup_set(age=200_000)]
    refused("none is of the database and verified", name="database_backup", backup_sets=unproven)
    refused("and may be 1\N{NO-BREAK SPACE}d 2\N{NO-BREAK SPACE}h", name="database_backup", backup_sets=old)
    refused("and min_free is ", min_free=10**18)
    refused("turns the password", "unknown", login={**world.address, "password": "wrong"})
    refused("may not work on", "unknown", login=stranger(world))
    refused("has no background_updates", "unknown", login={"database": "postgres"})
    waived = world.ask(backup_sets=[], without_backup="a test", chunks=1)
    assert waived.report["status"] == "ok" and waived.statuses["database_backup"] == "skipped"
    assert "a test" in waived.report["evidence"][0]


def stranger(world: World) -> dict[str, t.Any]:
    """A login that may read, and no more."""
    world.sql("DROP OWNED BY stranger; DROP ROLE stranger" if role(world) else "SELECT 1")
    world.sql("CREATE ROLE stranger LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO stranger")
    return {"user": "stranger"}


def role(world: World) -> bool:
    return world.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'stranger'") == "1"


def test_a_group_that_was_deleted_under_the_tool_is_named_with_the_way_out(world: World) -> None:
    assert world.ask(chunks=1).changed
    world.sql("UPDATE state_compressor_state SET current_head = 999999 WHERE level_num = 1")
    before = world.fingerprint()
    refused = world.ask()
    message = refused.check(GATES)["message"]
    assert refused.statuses[GATES] == "critical" and not refused.changed and world.fingerprint() == before
    assert f"has deleted group 999999, on which the tool would go on in {ROOM}" in message
    for table in ("state_compressor_state", "state_compressor_progress"):
        assert table in message
        world.sql(f"DELETE FROM {table} WHERE room_id = '{ROOM}'")
    assert world.ask().report["status"] == "ok"


def test_a_standby_is_skipped_and_one_that_is_far_behind_stops_the_run(world: World, server: Cluster) -> None:
    base = server.base.parent / "standby"
    shutil.rmtree(base, ignore_errors=True)
    make_owned(base)
    where = [f"--host={server.socket}", f"--port={server.port}", "--username=postgres", f"--pgdata={base}/data"]
    tool = str(server.tools / "pg_basebackup")
    as_postgres(tool, *where, "--checkpoint=fast", "--no-sync", "--write-recovery-conf")
    standby = Cluster(base, server.major, server.port)
    make_owned(standby.socket)
    with open(standby.data / "postgresql.auto.conf", "a", encoding="utf-8") as file:
        file.write(f"listen_addresses = ''\nunix_socket_directories = '{standby.socket}'\n")
    standby.start()
    try:
        skipped = world.ask(login={"host": str(standby.socket)})
        assert skipped.statuses == {RESULT: "skipped"} and "is a standby" in skipped.document["msg"]
        streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND replay_lsn IS NOT NULL"
        until(lambda: server.sql(streaming) == "1")
        standby.sql("SELECT pg_wal_replay_pause()")
        until(lambda: standby.sql("SELECT pg_get_wal_replay_pause_state()") == "paused")
        # The first part brings it behind, and no second one is begun.
        more = "SELECT pg_logical_emit_message(false, 'test', repeat('x', 8000000))"
        python = world.tools.wrapped(f"real(**given); sql(given, {more!r})")
        stopped = world.ask(part=1, max_lag=6_000_000, lag_wait=0.5, python=python)
        assert stopped.changed and stopped.statuses[RESULT] == "warning" and stopped.facts["parts"] == 1
        assert "more than max_lag" in stopped.check(RESULT)["message"] and stopped.statuses[PROOF] == "ok"
        refused = world.ask(max_lag=6_000_000, lag_wait=0.5)
        assert not refused.changed and refused.statuses[GATES] == "critical"
    finally:
        standby.stop()
        shutil.rmtree(base)


def test_the_tool_runs_as_the_user_that_was_named(world: World, server: Cluster) -> None:
    # Nobody but root may look below root's home, where the interpreter of the tests may be.
    base = server.base.parent / "as_user"
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", str(base)], check=True, timeout=60)
    packages = next(base.glob("lib/python*/site-packages"))
    (packages / f"{MODULE}.py").write_text(
        "import os\ndef run_compression(**given):\n    raise RuntimeError(f'user {os.geteuid()}')\n"
    )
    user = pwd.getpwnam(USER)
    ran = world.ask(python=str(base / "bin/python"), tool_user=USER)
    assert f"RuntimeError: user {user.pw_uid}" in ran.check(RESULT)["message"], ran.document
    nobody = world.ask(python=str(base / "bin/python"), tool_user="matrixon-nobody")
    words = "no user 'matrixon-nobody'" if os.geteuid() == 0 else "only root can run the tool as matrixon-nobody"
    assert words in nobody.document["msg"] and not nobody.document.get("changed")


def test_all_that_cannot_be_right_is_said_at_once(world: World) -> None:
    wrong = world.ask(
        tool="/opt/x", python="python3", login={**world.address, "sslmode": "verify-full", "ca_file": None},
        chunk_size=50, part=0, levels=[100], without_backup=" ", deadline=0, max_lag=-1,
    )  # fmt: skip
    assert wrong.document["failed"]
    for words in (
        "tool: give it or python, not both",
        "tool: /opt/x takes the location with the password on its command line",
        "python: 'python3' is not the absolute path",
        "postgresql.sslmode: verify-full: the tool checks no certificate",
        "chunk_size: 50 is less than the first of levels, 100",
        "part: 0 is nothing to work on",
        "without_backup: is empty",
        "deadline: 0 is no time",
        "max_lag: -1 is below 0",
    ):
        assert words in wrong.document["msg"], words
    assert PASSWORD not in wrong.output
