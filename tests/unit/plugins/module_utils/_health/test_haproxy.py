"""Tests of what is said about HAProxy."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
import servers

from ansible_collections.matrixon.ops.plugins.module_utils._health import engine, haproxy
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Context, Limits
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import CRITICAL, OK, SKIPPED, UNKNOWN, WARNING

SERVERS, QUEUE, SESSIONS = haproxy.CHECKS
CONTEXT = Context(datetime.datetime(2026, 11, 23, 9, tzinfo=datetime.timezone.utc))


def row(proxy: str, name: str, status: str = "UP", **columns: str) -> dict[str, str]:
    kind = {"FRONTEND": "0", "BACKEND": "1"}.get(name, "2")
    named = {"pxname": proxy, "svname": name, "status": status, "type": kind}
    return {**named, "qcur": "0", "scur": "0", "slim": "", **columns}


def backend(*statuses: str, name: str = "synapse") -> list[dict[str, str]]:
    found = [row(name, f"s{number}", status) for number, status in enumerate(statuses, 1)]
    return [row("matrix", "FRONTEND", "OPEN"), *found, row(name, "BACKEND")]


def expecting(expected: int, quorum: int | None = None, name: str = "synapse") -> list[dict[str, Any]]:
    return [{"name": name, "expected": expected, "quorum": quorum}]


# statuses, expected, quorum, verdict
QUORUMS = {
    "3 of 3": (["UP"] * 3, 3, None, OK),
    "2 of 3": (["UP", "UP", "DOWN"], 3, None, WARNING),
    "1 of 3": (["UP", "DOWN", "DOWN"], 3, None, CRITICAL),
    "0 of 3": (["DOWN"] * 3, 3, None, CRITICAL),
    "2 of 2": (["UP"] * 2, 2, None, OK),
    "1 of 2": (["UP", "DOWN"], 2, None, WARNING),
    "0 of 2": (["DOWN"] * 2, 2, None, CRITICAL),
    "1 of 1": (["UP"], 1, None, OK),
    "0 of 1": (["DOWN"], 1, None, CRITICAL),
    "3 of 5": (["UP"] * 3 + ["DOWN"] * 2, 5, None, WARNING),
    "2 of 5": (["UP"] * 2 + ["DOWN"] * 3, 5, None, CRITICAL),
    "2 of 3 with a quorum of 3": (["UP", "UP", "DOWN"], 3, 3, CRITICAL),
    "1 of 3 with a quorum of 1": (["UP", "DOWN", "DOWN"], 3, 1, WARNING),
    "more than expected": (["UP"] * 4, 3, None, OK),
    "fewer configured than expected": (["UP"] * 2, 3, None, WARNING),
    "one on its way down, which still serves": (["UP", "UP", "UP 1/3"], 3, None, OK),
    "one on its way up, which does not serve yet": (["UP", "UP", "DOWN 1/2"], 3, None, WARNING),
    "one in maintenance": (["UP", "UP", "MAINT"], 3, None, WARNING),
    "one in maintenance through another": (["UP", "UP", "MAINT (via a/b)"], 3, None, WARNING),
    "one that drains": (["UP", "UP", "DRAIN"], 3, None, WARNING),
    "one that takes no load": (["UP", "UP", "NOLB"], 3, None, WARNING),
    "all in maintenance": (["MAINT"] * 3, 3, None, CRITICAL),
}


@pytest.mark.parametrize(("statuses", "expected", "quorum", "status"), QUORUMS.values(), ids=list(QUORUMS))
def test_servers_with(judged, statuses: list[str], expected: int, quorum: int | None, status: str) -> None:
    result = judged(SERVERS, rows=backend(*statuses), backends=expecting(expected, quorum))
    up = sum(status.startswith("UP") for status in statuses)
    assert (result.status, result.value, result.target) == (status, up, "synapse")
    assert f"{up} of {expected} expected servers up" in result.message


NO_CHECK = {
    "that could make up the expected number": (["UP", "UP", "no check"], 3, UNKNOWN),
    "that could make up the quorum": (["UP", "no check", "DOWN"], 3, UNKNOWN),
    "and no other": (["no check"] * 3, 3, UNKNOWN),
    "beside enough that are up": (["UP", "UP", "no check"], 2, OK),
    "that cannot make up the expected number": (["UP", "UP", "no check", "DOWN"], 4, WARNING),
    "that cannot make up the quorum": (["no check", "DOWN", "DOWN"], 3, CRITICAL),
}


@pytest.mark.parametrize(("statuses", "expected", "status"), NO_CHECK.values(), ids=list(NO_CHECK))
def test_server_without_check_counts_neither_as_up_nor_as_down(
    judged, statuses: list[str], expected: int, status: str
) -> None:
    result = judged(SERVERS, rows=backend(*statuses), backends=expecting(expected))
    assert (result.status, result.value) == (status, statuses.count("UP"))
    assert ("does not check s" in result.message) == (status == UNKNOWN)


def test_servers_that_are_not_up_are_named_with_their_state(judged) -> None:
    rows = backend("UP", "MAINT", "DOWN")
    assert "(s2 MAINT, s3 DOWN)" in judged(SERVERS, rows=rows, backends=expecting(3)).message


@pytest.mark.parametrize("name", ["media", "matrix"], ids=["is not there", "is a frontend"])
def test_expected_backend_is_critical_when_it(judged, name: str) -> None:
    result = judged(SERVERS, rows=backend("UP"), backends=expecting(1, name=name))
    assert (result.status, result.target, result.value) == (CRITICAL, name, None)
    assert f"no backend {name}" in result.message


def test_every_server_of_every_backend_is_expected_where_nothing_is_said() -> None:
    rows = backend("UP", "UP") + backend("UP", "DOWN", name="media")
    verdicts = SERVERS.judge({"rows": rows, "backends": []}, Limits())
    assert isinstance(verdicts, list)
    assert [(verdict.target, verdict.status) for verdict in verdicts] == [("synapse", OK), ("media", WARNING)]


def test_haproxy_without_any_server_is_skipped_and_not_left_out(judged) -> None:
    rows = [row("stats", "FRONTEND", "OPEN"), row("stats", "BACKEND")]
    result = judged(SERVERS, rows=rows, backends=[])
    assert result.status == SKIPPED and "no backend" in result.skipped_reason


QUEUES = [("0", OK, 0), ("1", WARNING, 1), ("99", WARNING, 99), ("100", CRITICAL, 100), ("", UNKNOWN, None)]


@pytest.mark.parametrize(("queued", "status", "value"), QUEUES)
def test_queue_is_graded_at_its_thresholds(judged, queued: str, status: str, value: int | None) -> None:
    result = judged(QUEUE, rows=[row("matrix", "FRONTEND", qcur="500"), row("synapse", "BACKEND", qcur=queued)])
    assert (result.status, result.value, result.target) == (status, value, "synapse")


def test_queue_without_backends_is_skipped(judged) -> None:
    assert judged(QUEUE, rows=[row("matrix", "FRONTEND")]).status == SKIPPED


LIMITS = {
    "room": ("79", "100", OK, 79),
    "the warning reached": ("80", "100", WARNING, 80),
    "the limit near": ("95", "100", CRITICAL, 95),
    "all taken": ("100", "100", CRITICAL, 100),
    "limit 0, which is none": ("500", "0", SKIPPED, None),
    "an empty limit, which is none": ("500", "", SKIPPED, None),
    "no word of its sessions": ("", "100", UNKNOWN, None),
}


@pytest.mark.parametrize(("now", "limit", "status", "share"), LIMITS.values(), ids=list(LIMITS))
def test_sessions_with(now: str, limit: str, status: str, share: float | None) -> None:
    facts = {
        "rows": [row("matrix", "FRONTEND", scur=now, slim=limit), row("synapse", "BACKEND", scur="999", slim="1")],
        "info": {"CurrConns": now, "Maxconn": limit},
    }
    verdicts = SESSIONS.judge(facts, SESSIONS.limits)
    assert isinstance(verdicts, list)
    assert [verdict.target for verdict in verdicts] == ["matrix", "process"]
    assert {(verdict.status, verdict.value) for verdict in verdicts} == {(status, share)}


# The whole way, from the options to the results, with a runtime socket.

STAT = (
    "# pxname,svname,qcur,scur,slim,status,type,\n"
    "matrix,FRONTEND,,2,2000,OPEN,0,\nsynapse,main,0,1,,UP,2,\nsynapse,BACKEND,0,1,200,UP,1,\n\n"
)
INFO = "Name: HAProxy\nVersion: 3.0.11\nMaxconn: 4000\nCurrConns: 2\n\n"


def check(serve: Any, path: str, answers: dict[str, str]) -> engine.Outcome:
    serve(servers.commands(answers), listener=servers.unix_listener(path))
    plan = haproxy.plan({"socket": path, "backends": expecting(1)}, CONTEXT)
    return engine.execute(plan, engine.Policy(timeout=1), Deadline(2))


def test_good_haproxy_is_ok_in_all(serve, tmp_path) -> None:
    results, facts = check(serve, str(tmp_path / "s"), {"show info": INFO, "show stat": STAT})
    assert {(result.name, result.target): result.status for result in results} == {
        ("haproxy_servers", "synapse"): OK,
        ("haproxy_queue", "synapse"): OK,
        ("haproxy_sessions", "matrix"): OK,
        ("haproxy_sessions", "process"): OK,
    }
    assert facts == {"versions": {"haproxy": "3.0.11"}}


def test_answer_that_is_no_table_is_critical_and_measures_nothing(serve, tmp_path) -> None:
    results, _facts = check(serve, str(tmp_path / "s"), {"show info": INFO, "show stat": "Permission denied\n"})
    assert [(result.name, result.status, result.error_kind) for result in results] == [
        ("haproxy_servers", CRITICAL, "parse"),
        ("haproxy_queue", UNKNOWN, "parse"),
        ("haproxy_sessions", UNKNOWN, "parse"),
    ]


def test_socket_that_is_not_there_is_critical_by_name(tmp_path) -> None:
    path = str(tmp_path / "haproxy.sock")
    results, _facts = engine.execute(
        haproxy.plan({"socket": path, "backends": []}, CONTEXT), engine.Policy(), Deadline(5)
    )
    assert (results[0].status, results[0].error_kind) == (CRITICAL, "refused") and path in results[0].message


ERRORS = {
    "no server expected": (expecting(0), "haproxy.backends[0].expected: 0 "),
    "fewer than none expected": (expecting(-1), "haproxy.backends[0].expected: -1 "),
    "a quorum of none": (expecting(3, 0), "haproxy.backends[0].quorum: 0 "),
    "a quorum beyond what is expected": (expecting(3, 4), "haproxy.backends[0].quorum: 4 "),
    "a backend that stands there twice": (expecting(3) + expecting(2), "haproxy.backends: synapse stands there twice"),
}


@pytest.mark.parametrize(("backends", "words"), ERRORS.values(), ids=list(ERRORS))
def test_options_are_refused_with(backends: list[dict[str, Any]], words: str) -> None:
    (error,) = haproxy.validate({"socket": "/run/haproxy.sock", "backends": backends})
    assert error.startswith(words)


def test_good_options_are_not_refused() -> None:
    for backends in (expecting(3, 3), expecting(3, 1), expecting(1)):
        assert list(haproxy.validate({"socket": "/run/haproxy.sock", "backends": backends})) == []
