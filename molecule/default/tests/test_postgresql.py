"""The database servers, asked from where their clients are."""

from __future__ import annotations

import json
import typing as t
import uuid

import pytest

PRIMARY = "172.30.10.31"
OWNER = {"user": "synapse", "password": "molecule-database-owner-secret"}
MONITOR = {"user": "monitor", "password": "molecule-monitor-login-secret"}
CA = "/etc/ssl/matrixon/ca.pem"
VENV = "/opt/matrix-synapse/current/bin/python"
# Prints nothing where the session was opened, else why not.
CONNECT = """
import psycopg2
try:
    psycopg2.connect(dbname="synapse", connect_timeout=10, **given).close()
    print(json.dumps(""))
except psycopg2.OperationalError as error:
    print(json.dumps(str(error)))
"""


@pytest.fixture
def refusal(run_python: t.Any) -> t.Callable[..., str]:
    """How the primary refuses a login that comes from a homeserver host."""
    return lambda **options: run_python(
        "hs1", CONNECT, python=VENV, **{"host": PRIMARY, "sslmode": "verify-full", "sslrootcert": CA, **options}
    )


def test_the_owner_gets_in_with_its_password_over_tls_alone(refusal: t.Any) -> None:
    assert refusal(**OWNER) == ""
    assert "password authentication failed" in refusal(**{**OWNER, "password": "wrong"})
    assert "no encryption" in refusal(**OWNER, sslmode="disable")


def test_the_certificate_is_for_the_server(refusal: t.Any) -> None:
    assert refusal(**OWNER, host="db1", hostaddr=PRIMARY) == ""
    assert "does not match" in refusal(**OWNER, host="other.test", hostaddr=PRIMARY)


def test_other_logins_are_not_for_homeserver_hosts(refusal: t.Any) -> None:
    assert "no pg_hba.conf entry" in refusal(**MONITOR)
    assert "no pg_hba.conf entry" in refusal(**{**OWNER, "user": "postgres"})


@pytest.mark.parametrize("name", ["db1", "db2"])
def test_the_cluster_is_as_the_homeserver_needs_it(sql: t.Any, name: str) -> None:
    assert sql(name, "SHOW data_checksums") == "on"
    query = "SELECT datcollate, datctype, pg_encoding_to_char(encoding), datdba::regrole FROM pg_database"
    assert sql(name, f"{query} WHERE datname = 'synapse'") == "C|C|UTF8|synapse"
    # The pools of four processes, and the reserve.
    assert sql(name, "SHOW max_connections") == str(4 * 5 + 20)
    assert sql(name, "SHOW password_encryption") == "scram-sha-256"
    assert sql(name, "SELECT count(*) FROM pg_settings WHERE pending_restart") == "0"
    assert int(sql(name, "SELECT count(*) FROM pg_stat_statements")) > 0


def test_logins_have_the_rights_they_need(sql: t.Any) -> None:
    query = "SELECT string_agg(rolname, ',' ORDER BY rolname) FROM pg_roles WHERE rolcanlogin AND "
    assert sql("db1", query + "(rolsuper OR rolcreaterole OR rolcreatedb)") == "postgres"
    assert sql("db1", query + "rolreplication") == "postgres,replicator"
    assert sql("db1", query + "pg_has_role(oid, 'pg_monitor', 'MEMBER') AND NOT rolsuper") == "monitor"


def test_the_standby_streams_through_its_slot_and_replays(sql: t.Any, until: t.Any) -> None:
    query = "SELECT active, wal_status FROM pg_replication_slots WHERE slot_name = 'db2'"
    assert sql("db1", query) == "t|reserved"
    assert sql("db1", "SELECT application_name, state FROM pg_stat_replication") == "db2|streaming"
    assert sql("db1", "SHOW max_slot_wal_keep_size") == "10GB"
    table = f"proof_{uuid.uuid4().hex}"
    sql("db1", f"CREATE TABLE {table} AS SELECT 42 AS answer")
    try:
        assert until(lambda: sql("db2", f"SELECT to_regclass('{table}') IS NOT NULL") == "t", 10)
        assert sql("db2", f"SELECT answer FROM {table}") == "42"
    finally:
        sql("db1", f"DROP TABLE {table}")


def test_no_standby_is_built_over_a_cluster(server: t.Any, sql: t.Any, playbook: t.Any) -> None:
    identity = "SELECT system_identifier, pg_postmaster_start_time() FROM pg_control_system()"
    before = sql("db1", identity)
    words = ("matrixon_database_role=standby", "postgresql_primary_host=172.30.10.32", "postgresql_slot_name=db1")
    run = playbook("postgresql", "--limit", "db1", *(part for word in words for part in ("-e", word)))
    assert run.code == 2, run.output
    assert "holds a cluster that is none; it is left as it is" in " ".join(run.output.split())
    assert sql("db1", identity) == before
    assert sql("db1", "SELECT pg_is_in_recovery()") == "f"


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        (
            {"postgresql_hba_extra": [{"type": "host", "address": "10.0.0.9", "method": "scram"}]},
            "invalid authentication method",
        ),
        # Its own check of a file loads no library.
        (
            {"postgresql_preload_libraries": ["pg_stat_statements", "no_such_library"]},
            "'Restart the server' failed",
        ),
        ({"postgresql_settings": {"work_mem": "much"}}, "invalid value for parameter"),
    ],
    ids=["rule", "restart", "check"],
)
def test_what_the_server_could_not_start_with_does_not_stay(
    server: t.Any, sql: t.Any, playbook: t.Any, until: t.Any, variables: dict, reason: str
) -> None:
    def files() -> str:
        directory = "/etc/postgresql/17/main"
        return server("db1").check_output(f"sha256sum {directory}/pg_hba.conf* {directory}/conf.d/*")

    before = files()
    run = playbook("postgresql", "--limit", "db1", "-e", json.dumps(variables))
    assert run.code == 2, run.output
    said = " ".join(run.output.split())
    assert reason in said, run.output
    assert "The old files are back in place" in said or "failed to validate" in said, run.output
    assert files() == before
    assert sql("db1", "SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL") == "0"
    assert sql("db1", "SELECT count(*) FROM pg_settings WHERE pending_restart") == "0"
    assert until(lambda: sql("db1", "SELECT state FROM pg_stat_replication") == "streaming", 30)


@pytest.mark.soak
def test_an_old_primary_is_not_started_beside_a_promoted_standby(
    server: t.Any, sql: t.Any, playbook: t.Any, until: t.Any
) -> None:
    unit = "postgresql@17-main.service"

    def runs(name: str) -> bool:
        return server(name).run("systemctl is-active --quiet %s", unit).rc == 0

    assert server("db1").run("systemctl stop %s", unit).rc == 0
    try:
        # A host that is cut off may be the one that was promoted.
        run = playbook("postgresql", "--limit", "db1", "-e", '{"postgresql_peers": ["nowhere"]}')
        assert run.code == 2 and "nowhere could not be asked" in " ".join(run.output.split()), run.output
        assert not runs("db1")

        assert server("db2").run("pg_ctlcluster 17 main promote").rc == 0
        assert until(lambda: sql("db2", "SELECT pg_is_in_recovery()") == "f", 30)
        run = playbook("postgresql", "--limit", "db1")
        assert run.code == 2 and "db2 was promoted to timeline" in " ".join(run.output.split()), run.output
        assert not runs("db1")
        # Nor beside one that is stopped.
        assert server("db2").run("systemctl stop %s", unit).rc == 0
        run = playbook("postgresql", "--limit", "db1")
        assert run.code == 2 and "db2 was promoted to timeline" in " ".join(run.output.split()), run.output
        assert not runs("db1")
    finally:
        # Nothing but this test wrote to the promoted one: it becomes a standby anew.
        server("db2").run("systemctl stop %s; pg_dropcluster --stop 17 main", unit)
        run = playbook("postgresql")
    assert run.code == 0, run.output
    assert runs("db1") and sql("db1", "SELECT pg_is_in_recovery()") == "f"
    assert until(
        lambda: sql("db1", "SELECT state FROM pg_stat_replication WHERE application_name = 'db2'") == "streaming", 30
    )
