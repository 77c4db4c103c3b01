"""What matrixon_health says when something is really broken.

Each fault is made on the running lab. Its table says, for every check that it
touches, the verdict, the kind of error and the message; every other check must
still be there and must not have turned critical or unknown.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import pathlib
import re
import socket
import subprocess
import threading
import time
import typing as t

import psycopg2
import pytest

pytestmark = pytest.mark.integration

# (name, target) -> (status, error_kind, message as a regular expression)
Expected = dict[tuple[str, str | None], tuple[str, str | None, str]]

PUBLIC = "https://matrix.lab.test"
QUICK = {"timeout": 2, "homeserver": {"canary_timeout": 3}}

# The checks that ask the database something. On a primary two of them have nothing to ask.
DATABASE = [
    "archive",
    "connections",
    "idle_in_transaction",
    "lock_waits",
    "long_queries",
    "replay",
    "replication",
    "role",
    "settings",
    "slots",
    "walreceiver",
    "wraparound",
]
REDIS = ("evictions", "memory", "persistence", "rejected_connections", "role")


def assert_report(result: t.Any, healthy: t.Any, expected: Expected) -> None:
    """Hold a report against a table, and see that nothing else was lost or turned bad."""
    for (name, target), (status, kind, message) in expected.items():
        check = result.check(name, target)
        assert (check["status"], check.get("error_kind")) == (status, kind), check
        assert re.fullmatch(message, check["message"]), f"{check['message']!r} is not {message!r}"
    names = {name for name, _target in expected}
    before, after = {c["name"] for c in healthy.checks}, {c["name"] for c in result.checks}
    assert before <= after, f"lost: {before - after}"
    touched = [c for c in result.checks if c["name"] not in names and c["status"] in ("critical", "unknown")]
    assert touched == []


def every(prefix: str, names: t.Iterable[str], status: str, kind: str, message: str) -> Expected:
    return {(f"{prefix}_{name}", None): (status, kind, message) for name in names}


@contextlib.contextmanager
def broken(lab: t.Any, verb: str, mend: str, *services: str) -> t.Iterator[None]:
    """Break services, and bring the lab back to health whatever happens."""
    try:
        for service in services:
            lab(verb, service)
        yield
    finally:
        for service in services:
            lab(mend, service)
        lab.settle()


@pytest.fixture(scope="module")
def healthy(lab: t.Any) -> t.Any:
    result = lab.health()
    assert result.report["counts"]["critical"] == result.report["counts"]["unknown"] == 0, result.document["msg"]
    return result


def test_healthy_lab_has_no_critical_and_no_unknown(lab: t.Any, healthy: t.Any) -> None:
    assert healthy.report["counts"]["ok"] >= 35
    assert healthy.document["changed"] is False
    assert len(healthy.output) < 20_000


def test_check_mode_gives_the_same_verdicts(lab: t.Any, healthy: t.Any) -> None:
    # Latency may warn on a busy machine; what was looked at may not differ.
    def verdicts(result: t.Any) -> dict[tuple[str, str], str]:
        return {(c["name"], c["target"]): c["status"].replace("warning", "ok") for c in result.checks}

    again = lab.health(check_mode=True)
    assert verdicts(again) == verdicts(healthy)
    assert again.document["changed"] is False


def test_postgresql_stopped(lab: t.Any, healthy: t.Any) -> None:
    with broken(lab, "stop", "start", "postgresql"):
        result = lab.health(**QUICK)
    server = f"PostgreSQL at 127.0.0.1:{lab.facts['ports']['postgresql']}: connection refused, nothing listens there"
    error = r"answered 500 \(M_UNKNOWN: Internal server error\)"
    assert_report(
        result,
        healthy,
        {
            ("postgresql_connect", None): ("critical", "refused", server),
            **every("postgresql", DATABASE, "unknown", "refused", f"not measured: {server}"),
            ("postgresql_primaries", None): ("unknown", "refused", rf"no primary seen, .*\(db1: {server}\)"),
            **{
                ("database_read", name): (
                    "critical",
                    "refused",
                    f"room history cannot be read: {lab.url(name)} {error}",
                )
                for name in ("main", "worker1", "worker2")
            },
            ("canary", PUBLIC): ("critical", "refused", f"before the canary was sent, .*: {PUBLIC} {error}"),
        },
    )
    # The server itself sees nothing wrong, and it is not believed.
    for name in ("main", "worker1", "worker2"):
        said = result.check("self_report", name)
        assert (said["status"], said["source"]) == ("ok", "self_report")
    assert result.check("client_api", "main")["status"] in ("ok", "warning")
    assert result.report["status"] == "critical"


def test_postgresql_frozen(lab: t.Any, healthy: t.Any) -> None:
    with broken(lab, "freeze", "thaw", "postgresql"):
        result = lab.health(**QUICK)
    server = f"connecting to PostgreSQL at 127.0.0.1:{lab.facts['ports']['postgresql']}: no answer within 2 s"
    assert_report(
        result,
        healthy,
        {
            ("postgresql_connect", None): ("critical", "timeout", server),
            **every("postgresql", DATABASE, "unknown", "timeout", f"not measured: {server}"),
            ("postgresql_primaries", None): ("unknown", "timeout", r"no primary seen, .*\(db1: connecting to .*\)"),
            **{
                ("database_read", name): (
                    "critical",
                    "timeout",
                    f"room history cannot be read: {lab.url(name)}: no answer within 2 s",
                )
                for name in ("main", "worker1", "worker2")
            },
            ("canary", PUBLIC): (
                "critical",
                "timeout",
                f"before the canary was sent, .*: {PUBLIC}: no answer within 3 s",
            ),
        },
    )


def test_wrong_passwords_are_unknown_and_not_down(lab: t.Any, healthy: t.Any) -> None:
    wrong = {"password_file": None, "password": "certainly-wrong"}
    result = lab.health(**QUICK, postgresql=wrong, redis=wrong)
    ports = lab.facts["ports"]
    database = (
        f"PostgreSQL at 127.0.0.1:{ports['postgresql']} turns the password or the user away: "
        'password authentication failed for user "monitor"'
    )
    cache = f"Redis at 127.0.0.1:{ports['redis']} answered but refused the password: WRONGPASS .*"
    assert_report(
        result,
        healthy,
        {
            ("postgresql_connect", None): ("unknown", "auth", database),
            **every("postgresql", DATABASE, "unknown", "auth", f"not measured: {database}"),
            ("postgresql_primaries", None): ("unknown", "auth", r"no primary seen, .*"),
            ("redis_ping", None): ("unknown", "auth", cache),
            **every("redis", REDIS, "unknown", "auth", f"not measured: {cache}"),
        },
    )
    assert "certainly-wrong" not in result.output


def test_connections_used_up(lab: t.Any, healthy: t.Any) -> None:
    port = lab.facts["ports"]["postgresql"]
    password = pathlib.Path(lab.secret("monitor_password")).read_text().strip()
    login = {"host": "127.0.0.1", "port": port, "dbname": "synapse", "user": "monitor", "password": password}
    taken = []
    try:
        with pytest.raises(psycopg2.OperationalError, match="connection slots|too many clients"):
            while True:
                taken.append(psycopg2.connect(**login))
        result = lab.health(**QUICK)
    finally:
        for connection in taken:
            connection.close()
        lab.settle()
    full = rf"PostgreSQL at 127.0.0.1:{port} .*(connection slots|too many clients).*"
    for name in ("postgresql_connect", "postgresql_connections"):
        check = result.check(name)
        assert (check["status"], check["error_kind"]) == ("critical", "refused"), check
        assert re.search(full, check["message"]), check["message"]
    assert result.check("postgresql_connections")["value"] == 100
    assert result.check("postgresql_wraparound")["status"] == "unknown"
    assert result.check("redis_ping")["status"] in ("ok", "warning")


@pytest.mark.parametrize(
    ("verb", "mend", "kind", "end"),
    [
        ("stop", "start", "refused", "connection refused, nothing listens there"),
        ("freeze", "thaw", "timeout", "no answer within 2 s"),
    ],
)
def test_redis_gone(lab: t.Any, healthy: t.Any, verb: str, mend: str, kind: str, end: str) -> None:
    with broken(lab, verb, mend, "redis"):
        result = lab.health(**QUICK)
    server = f"Redis at 127.0.0.1:{lab.facts['ports']['redis']}: {end}"
    assert_report(
        result,
        healthy,
        {
            ("redis_ping", None): ("critical", kind, server),
            **every("redis", REDIS, "unknown", kind, f"not measured: {server}"),
            # Reads go on without Redis, sends hang. A check that only reads would call this healthy.
            ("canary", PUBLIC): (
                "critical",
                "timeout",
                f"the canary could not be sent: {PUBLIC}: no answer within 3 s",
            ),
        },
    )


def test_one_worker_killed(lab: t.Any, healthy: t.Any) -> None:
    with broken(lab, "stop", "start", "worker2"):
        time.sleep(1.5)  # HAProxy needs two failed checks of 0.5 s
        result = lab.health(**QUICK)
    gone = f"{lab.url('worker2')}: connection refused, nothing listens there"
    half = r"backend homeserver_{} has 1 of 2 expected servers up \(worker2 DOWN\)"
    assert_report(
        result,
        healthy,
        {
            ("client_api", "worker2"): ("critical", "refused", gone),
            ("database_read", "worker2"): ("critical", "refused", f"room history cannot be read: {gone}"),
            ("self_report", "worker2"): ("unknown", "refused", f"not measured: {gone}"),
            ("instance_versions", None): ("unknown", "refused", f"not measured: {gone}"),
            ("haproxy_servers", "homeserver_workers"): ("warning", None, half.format("workers")),
            ("haproxy_servers", "homeserver_sync"): ("warning", None, half.format("sync")),
        },
    )
    assert result.check("canary")["status"] in ("ok", "warning"), "the deployment still delivers"


def test_main_frozen(lab: t.Any, healthy: t.Any) -> None:
    with broken(lab, "freeze", "thaw", "main"):
        result = lab.health(**QUICK)
    silent = f"{lab.url('main')}: no answer within 2 s"
    expected: Expected = {
        ("client_api", "main"): ("critical", "timeout", silent),
        ("database_read", "main"): ("critical", "timeout", f"room history cannot be read: {silent}"),
        ("canary", PUBLIC): ("critical", "timeout", f"the canary could not be sent: {PUBLIC}: no answer within 3 s"),
        ("instance_versions", None): ("unknown", "timeout", f"not measured: {lab.url('main')}: no answer .*"),
        ("self_report", "main"): ("unknown", "timeout", f"not measured: {silent}"),
        # The lab's well-known and keys come from main.
        ("delegation", None): ("critical", "timeout", r"https://lab\.test: no answer .*"),
        ("federation_version", None): ("critical", "timeout", r"https://lab\.test: no answer .*"),
        ("federation_keys", None): ("critical", "timeout", r"https://lab\.test: no answer .*"),
        ("federation_signature", None): ("unknown", "timeout", r"not measured: https://lab\.test: no answer .*"),
    }
    found = {c["target"]: c for c in result.checks if c["name"] == "haproxy_servers"}
    if found["homeserver_main"]["status"] != "ok":  # HAProxy notices while we look, or a moment later
        expected[("haproxy_servers", "homeserver_main")] = ("critical", None, r"backend homeserver_main has 0 of 1 .*")
    assert_report(result, healthy, expected)


def test_haproxy_backend_down(lab: t.Any, healthy: t.Any) -> None:
    with broken(lab, "stop", "start", "worker1", "worker2"):
        time.sleep(1.5)
        result = lab.health(**QUICK)
    check = result.check("haproxy_servers", "homeserver_workers")
    assert check["status"] == "critical"
    assert check["message"] == (
        "backend homeserver_workers has 0 of 2 expected servers up (worker1 DOWN, worker2 DOWN), "
        "fewer than its quorum of 1"
    )
    assert result.check("haproxy_servers", "homeserver_main")["status"] == "ok"
    assert result.check("postgresql_connect")["status"] in ("ok", "warning")


def test_haproxy_stopped(lab: t.Any, healthy: t.Any) -> None:
    with broken(lab, "stop", "start", "haproxy"):
        result = lab.health(**QUICK)
    gate = result.check("haproxy_servers")
    assert (gate["status"], gate["error_kind"]) == ("critical", "refused")
    api = result.check("client_api", PUBLIC)
    assert (api["status"], api["error_kind"]) == ("critical", "refused")
    assert api["message"] == f"{PUBLIC}: connection refused, nothing listens there"
    assert result.check("client_api", "main")["status"] in ("ok", "warning")


@contextlib.contextmanager
def dripping_server() -> t.Iterator[str]:
    """A server that sends one byte a second and never ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            for byte in b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" * 100:
                if stop.wait(1):
                    return
                connection.send(bytes([byte]))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stop.set()
        listener.close()


@contextlib.contextmanager
def html_server() -> t.Iterator[str]:
    """A server that answers everything with a friendly page and 200."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = b"<html><body>It works!</body></html>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: t.Any) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def instances(lab: t.Any, name: str, url: str) -> dict[str, t.Any]:
    return {"homeserver": {"instances": [{"name": "main", "url": lab.url("main")}, {"name": name, "url": url}]}}


def test_server_that_drips_one_byte_a_second(lab: t.Any, healthy: t.Any) -> None:
    with dripping_server() as url:
        result = lab.health(timeout=2, **instances(lab, "drip", url))
    late = f"{url}: no answer within 2 s"
    assert_report(
        result,
        healthy,
        {
            ("client_api", "drip"): ("critical", "timeout", late),
            ("database_read", "drip"): ("critical", "timeout", f"room history cannot be read: {late}"),
            ("self_report", "drip"): ("unknown", "timeout", f"not measured: {late}"),
            ("instance_versions", None): ("unknown", "timeout", f"not measured: {url}: no answer .*"),
        },
    )
    assert result.report["duration_ms"] < 4000


def test_server_that_answers_200_with_html(lab: t.Any, healthy: t.Any) -> None:
    with html_server() as url:
        result = lab.health(timeout=2, **instances(lab, "html", url))
    check = result.check("client_api", "html")
    assert (check["status"], check["error_kind"]) == ("critical", "parse")
    assert check["message"] == (
        f"{url}/_matrix/client/versions answered 200 with text/html that is not JSON: "
        "'<html><body>It works!</body></html>'"
    )
    assert result.check("database_read", "html")["status"] == "critical"
    assert result.check("client_api", "main")["status"] in ("ok", "warning")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")
def test_full_file_system(lab: t.Any, healthy: t.Any, tmp_path: pathlib.Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=100", "tmpfs", str(tmp_path)], check=True)
    try:
        (tmp_path / "fill").write_bytes(b"x" * (4 * 1024 * 1024 - 8192))
        result = lab.health(system={"mounts": [str(lab.dir), str(tmp_path)]})
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    check = result.check("disk_space", str(tmp_path))
    assert check["status"] == "critical"
    assert check["value"] > 99
    assert str(tmp_path) in check["message"]
    assert result.check("disk_space", str(lab.dir))["status"] in ("ok", "warning")


def test_psycopg2_absent(lab: t.Any, healthy: t.Any, tmp_path: pathlib.Path) -> None:
    (tmp_path / "psycopg2.py").write_text("raise ImportError('not installed')\n")
    blocked = {"PYTHONPATH": f"{tmp_path}:{pathlib.Path(__file__).resolve().parents[2] / '.build/collections'}"}
    result = lab.health(environment=blocked)
    check = result.check("postgresql_connect")
    assert (check["status"], check["error_kind"]) == ("unknown", "missing_tool")
    assert "python3-psycopg2" in check["message"]
    assert result.check("redis_ping")["status"] in ("ok", "warning")
    # What can be seen without the library is still said.
    with broken(lab, "stop", "start", "postgresql"):
        stopped = lab.health(environment=blocked, **QUICK)
    assert (stopped.check("postgresql_connect")["status"], stopped.check("postgresql_connect")["error_kind"]) == (
        "critical",
        "refused",
    )


def test_standby_that_does_not_replay(lab: t.Any, healthy: t.Any) -> None:
    lab("standby-up")
    try:
        port = lab.facts["ports"]["standby"]
        standby = {"port": port, "role": "standby", "standbys": [], "nodes": []}
        good = lab.health(postgresql=standby)
        assert good.check("postgresql_replay")["status"] == "ok", good.check("postgresql_replay")
        assert good.check("postgresql_walreceiver")["status"] == "ok"
        assert good.check("postgresql_archive")["status"] == "skipped", "a standby is not asked primary questions"
        primary = lab.health(postgresql={"standbys": ["standby1"]})
        assert primary.check("postgresql_replication")["status"] == "ok", primary.check("postgresql_replication")

        superuser(lab, port, "SELECT pg_wal_replay_pause()")
        paused = lab.health(postgresql=standby)
        check = paused.check("postgresql_replay")
        assert check["status"] == "warning"
        assert "paused" in check["message"]
        assert paused.check("postgresql_connect")["status"] in ("ok", "warning")
    finally:
        lab("standby-down")
    missing = lab.health(postgresql={"standbys": ["standby1"]})
    check = missing.check("postgresql_replication")
    assert check["status"] == "critical"
    assert "standby1" in check["message"]
    lab.settle()


def superuser(lab: t.Any, port: int, statement: str) -> None:
    """Run SQL as the cluster's superuser."""
    password = pathlib.Path(lab.secret("postgres_password")).read_text().strip()
    connection = psycopg2.connect(host="127.0.0.1", port=port, dbname="postgres", user="postgres", password=password)
    try:
        connection.autocommit = True
        connection.cursor().execute(statement)
    finally:
        connection.close()


def test_everything_frozen_ends_within_the_deadline(lab: t.Any, healthy: t.Any) -> None:
    services = ("haproxy", "main", "worker1", "worker2", "postgresql", "redis")
    with broken(lab, "freeze", "thaw", *services):
        result = lab.health(deadline=4, timeout=10, homeserver={"canary_timeout": 10})
    assert result.report["duration_ms"] <= 4500
    assert {c["name"] for c in healthy.checks} <= {c["name"] for c in result.checks}
    bad = {c["name"]: c for c in result.checks if c["status"] == "critical"}
    for name in ("client_api", "database_read", "canary", "haproxy_servers", "postgresql_connect", "redis_ping"):
        assert bad[name]["error_kind"] == "timeout", bad[name]
    assert result.check("disk_space")["status"] in ("ok", "warning"), "the host itself can still be observed"


def test_retries_keep_every_attempt(lab: t.Any, healthy: t.Any) -> None:
    with broken(lab, "stop", "start", "worker2"):
        result = lab.health(**QUICK, retries=2, retry_delay=0.2)
    attempts = result.check("client_api", "worker2")["attempts"]
    assert [attempt["status"] for attempt in attempts] == ["critical"] * 3


def test_fail_on_fails_with_the_whole_report(lab: t.Any, healthy: t.Any) -> None:
    with broken(lab, "stop", "start", "worker2"):
        result = lab.health(**QUICK, fail_on="critical")
    assert result.document["failed"] is True
    assert result.document["msg"].startswith("critical: ")
    assert {c["name"] for c in healthy.checks} <= {c["name"] for c in result.checks}
    assert result.check("postgresql_connect")["status"] in ("ok", "warning")


def test_secrets_are_in_no_output(lab: t.Any, healthy: t.Any) -> None:
    secrets = ("canary_sender_token", "canary_reader_token", "monitor_password", "redis_password")
    for name in secrets:
        assert pathlib.Path(lab.secret(name)).read_text().strip() not in healthy.output, name


def test_host_with_one_service_and_no_tokens(lab: t.Any, healthy: t.Any) -> None:
    result = lab.health(
        homeserver={"sender_token_file": None, "reader_token_file": None},
        postgresql=None,
        redis=None,
        haproxy=None,
    )
    canary = result.check("canary")
    assert canary["status"] == "skipped"
    assert canary["skipped_reason"] == "no token to write to the canary room with (sender_token)"
    assert not [c for c in result.checks if c["name"].startswith(("postgresql_", "redis_", "haproxy_"))]
