"""What cannot be seen is unknown with the way out, and everything else is still told."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from clusters import Cluster
from loaded import DATABASE, Answer, ask, fill, postgresql, start

STATEMENTS = ("postgresql_query_time", "postgresql_slow_query")
OTHERS = ("postgresql_transactions", "postgresql_dead_rows", "cpu", "memory")


def tells(answer: Answer, kind: str, way: str) -> None:
    for name in STATEMENTS:
        check = answer.check(name)
        assert (check["status"], check["error_kind"]) == ("unknown", kind), check
        assert way in check["message"], check
        assert "value" not in check
    assert not [one for one in answer.facts["rankings"] if one["name"].startswith("queries")]
    for name in OTHERS:
        assert answer.check(name)["status"] in ("ok", "warning", "critical", "skipped"), answer.check(name)


def test_without_the_extension(busy: Cluster) -> None:
    busy.sql("CREATE DATABASE bare")
    try:
        answer = ask(interval=1, postgresql=postgresql(busy, database="bare"))
    finally:
        busy.sql("DROP DATABASE bare WITH (FORCE)")
    tells(answer, "missing_tool", "CREATE EXTENSION pg_stat_statements")


def test_without_the_right(busy: Cluster) -> None:
    busy.sql("CREATE ROLE stranger LOGIN PASSWORD 'not-a-secret'")
    try:
        answer = ask(interval=1, postgresql=postgresql(busy, user="stranger"))
    finally:
        busy.sql("DROP ROLE stranger")
    tells(answer, "auth", "GRANT pg_monitor")
    # What a stranger sees of others' sessions is empty, and would pass for harmless.
    for name in ("postgresql_connections", "postgresql_lock_wait", "postgresql_transaction", "postgresql_tuning"):
        assert answer.check(name)["status"] == "unknown", answer.check(name)


def test_without_the_library(base: pathlib.Path, majors: list[int]) -> None:
    server = start(base / "unloaded", majors[0], "shared_preload_libraries = ''")
    try:
        fill(server, DATABASE)
        answer = ask(interval=1, postgresql=postgresql(server))
    finally:
        server.stop()
    tells(answer, "missing_tool", "shared_preload_libraries")


def test_with_the_server_down(base: pathlib.Path, busy: Cluster) -> None:
    answer = ask(interval=1, postgresql=postgresql(busy, port=1))
    assert answer.check("postgresql_connections")["status"] == "critical"
    assert answer.check("postgresql_query_time")["status"] == "unknown"
    assert answer.check("cpu")["status"] in ("ok", "warning", "critical")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"interval": 0.5}, "interval: 0.5 is no length to measure over; give 1 to 3600 seconds"),
        ({"interval": 60, "deadline": 60}, "deadline: 60 s leave no time beside an interval of 60 s; give 62"),
        ({"samples": 1}, "samples: 1 is no number of samples; give 2 to 600"),
        ({"checks": ["cpus"]}, "checks: 'cpus' is not a check; did you mean cpu?"),
        ({"units": ["a b"]}, "units[0]: 'a b' is not a unit; write for example haproxy.service"),
        ({"homeserver": {"instances": []}}, "homeserver: give either latency_histogram, or with unsupported"),
    ],
)
def test_bad_options_are_refused(options: dict[str, t.Any], words: str) -> None:
    answer = ask(**options)
    assert answer.document["failed"] and answer.document["msg"].startswith(words), answer.document
