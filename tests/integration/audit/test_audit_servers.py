"""The audit of real servers: PostgreSQL and Redis, good ones, weak ones, and such as do not answer."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest
import yaml
from auditing import ROOT, Audited
from clusters import Cluster

Audit = t.Callable[..., Audited]

PASSWORD = "a-passw0rd-that-is-long"
DENIED = ["replicaof", "slaveof", "migrate", "module", "debug", "shutdown", "monitor", "acl|setuser", "config|rewrite"]


def given(database: Cluster, **other: t.Any) -> dict[str, t.Any]:
    return {"socket_directory": str(database.socket), "port": database.port, **other}


def hba(database: Cluster, *lines: str) -> None:
    (database.data / "pg_hba.conf").write_text("\n".join(["local all postgres peer", *lines, ""]))


@pytest.fixture
def closed(database: Cluster) -> t.Iterator[Cluster]:
    """The server with rules as they should be; it is not reloaded, so that the tests can still ask it."""
    kept = (database.data / "pg_hba.conf").read_text()
    hba(database, "host synapse synapse 127.0.0.1/32 scram-sha-256")
    yield database
    (database.data / "pg_hba.conf").write_text(kept)


def test_a_good_database(audited: Audit, closed: Cluster) -> None:
    found = audited(areas=["postgresql"], postgresql=given(closed))
    assert found.document["report"]["status"] == "ok", found.output
    assert found.weak == set()


def test_each_weakness_of_a_database(audited: Audit, closed: Cluster) -> None:
    hba(
        closed,
        "host all all 0.0.0.0/0 md5",
        "host all all 192.0.2.0/24 trust",
        "local all all trust",
        "host all all nonsense",
    )
    closed.sql("CREATE ROLE ops SUPERUSER LOGIN PASSWORD 'planted'")
    closed.sql("SET password_encryption = 'md5'; CREATE ROLE old LOGIN PASSWORD 'planted'")
    try:
        found = audited(areas=["postgresql"], postgresql=given(closed))
    finally:
        closed.sql("DROP ROLE ops")
        closed.sql("DROP ROLE old")
    assert found.weak == {
        "pg-hba-anywhere:line 2",
        "pg-hba-error:line 5",
        "pg-hba-method:line 2",
        "pg-hba-plain:line 2",
        "pg-hba-plain:line 3",
        "pg-hba-trust:line 3",
        "pg-hba-trust:line 4",
        "pg-role-md5:old",
        "pg-superuser-network:ops line 2",
        "pg-superuser-network:ops line 3",
        "pg-superuser-network:postgres line 3",
        "pg-superuser:ops",
        "pg-tls-off",
    }
    assert "planted" not in found.output
    again = audited(areas=["postgresql"], postgresql=given(closed))
    assert "pg-superuser:ops" not in again.weak


def test_administrators_of_the_homeserver(audited: Audit, closed: Cluster) -> None:
    profile = yaml.safe_load((ROOT / "roles/matrixon/files/profiles/synapse.yml").read_text())
    closed.sql("CREATE TABLE users (name text, admin smallint, deactivated smallint)")
    closed.sql("INSERT INTO users VALUES ('@a:x', 1, 0), ('@b:x', 0, 0), ('@c:x', 1, 1), ('@d:x', 1, 0)")
    query = profile["audit"]["admins"]["value"]
    try:
        found = audited(areas=["postgresql"], postgresql=given(closed, admins_query=query, max_admins=1))
        known = audited(areas=["postgresql"], postgresql=given(closed, admins_query=query, admins=["@a:x"]))
    finally:
        closed.sql("DROP TABLE users")
    assert found.document["report"]["facts"]["homeserver_admins"] == ["@a:x", "@d:x"]
    assert found.weak == {"homeserver-admins"} and known.weak == {"homeserver-admins:@d:x"}
    gone = audited(areas=["postgresql"], postgresql=given(closed, admins_query=query))
    assert gone.statuses("homeserver_admins", "pg_hba_trust") == {"homeserver_admins": "unknown", "pg_hba_trust": "ok"}
    assert "does not exist" in gone.output


def test_a_query_cannot_write(audited: Audit, closed: Cluster) -> None:
    """Whatever a profile asks, the session is read-only."""
    closed.sql("CREATE SEQUENCE planted")
    query = "SELECT setval('planted', 5)::text"
    found = audited(areas=["postgresql"], postgresql=given(closed, admins_query=query))
    assert closed.sql("SELECT last_value FROM planted") == "1"
    assert found.statuses("homeserver_admins") == {"homeserver_admins": "unknown"}
    assert "read-only" in found.output


def test_a_database_that_is_stopped_is_unknown(audited: Audit, base: pathlib.Path) -> None:
    found = audited(areas=["postgresql"], postgresql={"socket_directory": str(base), "port": 1})
    report = found.document["report"]
    assert report["status"] == "unknown" and report["counts"]["unknown"] == 10
    assert {check.get("error_kind") for check in report["checks"] if check["status"] == "unknown"} == {"refused"}


def redis(audited: Audit, port: int, password: str | None = None) -> Audited:
    options = {"port": port, "password": password}
    return audited(areas=["redis"], redis={key: value for key, value in options.items() if value is not None})


def test_a_good_redis(audited: Audit, redis_at: t.Callable[..., int]) -> None:
    rules = " ".join(f"-{name}" for name in DENIED)
    port = redis_at("bind 127.0.0.1", f"user default on >{PASSWORD} ~* &* +@all {rules}")
    found = redis(audited, port, PASSWORD)
    assert found.document["report"]["status"] == "ok", found.output
    assert PASSWORD not in found.output


def test_a_redis_that_everybody_reaches(audited: Audit, redis_at: t.Callable[..., int]) -> None:
    port = redis_at("bind 0.0.0.0", "protected-mode no")
    found = redis(audited, port)
    assert found.weak == {"redis-passwordless", "redis-protected-mode", "redis-dangerous-commands"}
    severities = {one["id"]: one["severity"] for one in found.document["findings"]}
    assert severities["redis-passwordless"] == "critical"
    # One that has a password in the inventory, and asks for none.
    assert "redis-passwordless" in redis(audited, port, PASSWORD).weak


def test_a_redis_that_only_its_host_reaches_is_less_weak(audited: Audit, redis_at: t.Callable[..., int]) -> None:
    found = redis(audited, redis_at("bind 127.0.0.1"))
    severities = {one["id"]: one["severity"] for one in found.document["findings"]}
    assert severities["redis-passwordless"] == "warning" and "redis-protected-mode" not in severities


@pytest.mark.parametrize("password", [None, "wrong"])
def test_a_redis_that_turns_the_password_away_is_unknown(
    audited: Audit, redis_at: t.Callable[..., int], password: str | None
) -> None:
    port = redis_at("bind 127.0.0.1", f"requirepass {PASSWORD}")
    found = redis(audited, port, password)
    assert set(found.statuses("redis_passwordless", "redis_protected_mode").values()) == {"unknown"}
    assert found.document["report"]["status"] == "unknown"


def test_it_does_not_run_what_it_asks_for(audited: Audit, redis_at: t.Callable[..., int]) -> None:
    port = redis_at("bind 127.0.0.1")
    assert "shutdown" in redis(audited, port).output
    assert redis(audited, port).weak


def play(tmp_path: pathlib.Path, exceptions: str, *arguments: str) -> tuple[int, str, dict[str, t.Any] | None]:
    """Run the playbook on this machine, with a file of exceptions."""
    file = tmp_path / "exceptions.yml"
    file.write_text(exceptions)
    inventory = tmp_path / "inventory.yml"
    variables = {
        "ansible_connection": "local",
        "ansible_become": False,
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "matrixon_server_name": "example.org",
        "matrixon_profile": "synapse",
        "matrixon_report_dir": str(tmp_path / "reports"),
        "security_audit_exceptions": str(file),
        "security_audit_areas": ["access"],
        "security_audit_fail_on": "never",
    }
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {"one": None}, "vars": variables}}))
    program = str(pathlib.Path(sys.executable).parent / "ansible-playbook")
    command = [program, "-i", str(inventory), "playbooks/security_audit.yml", *arguments]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    report = tmp_path / "reports/security_audit-example.org.json"
    return done.returncode, done.stdout + done.stderr, json.loads(report.read_text()) if report.exists() else None


def test_a_garbled_file_of_exceptions_stops_everything(tmp_path: pathlib.Path) -> None:
    code, output, report = play(tmp_path, "- {id: [")
    assert code != 0 and "is not YAML at line 1; mend it" in output, output
    assert report is None and "Look for what is weak on this host" not in output


def test_an_exception_that_matches_nothing_is_a_warning_of_its_own(tmp_path: pathlib.Path) -> None:
    text = """
- {id: "user-uid0:nobody-at-all", host: "*", reason: a test, owner: alice, expires: 2099-01-01}
- {id: ssh-root-login, host: three, reason: a test, owner: alice, expires: 2099-01-01}
"""
    code, output, report = play(tmp_path, text)
    assert code == 0 and report is not None, output
    hosts = {host["target"]: host for host in report["hosts"]}
    assert set(hosts) == {"one", "exceptions"}
    told = {check["target"]: check for check in hosts["exceptions"]["checks"]}
    assert told["user-uid0:nobody-at-all on *"]["status"] == "warning"
    assert "no host of the inventory" in told["ssh-root-login on three"]["message"]
