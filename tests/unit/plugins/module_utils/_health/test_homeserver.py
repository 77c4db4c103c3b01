"""Tests of what is said about the homeserver."""

from __future__ import annotations

import datetime
import json
import pathlib
import sys
import time
from typing import Any

import pytest
import servers

from ansible_collections.matrixon.ops.plugins.module_utils import _matrix
from ansible_collections.matrixon.ops.plugins.module_utils._health import engine, homeserver
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Context
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    SELF_REPORT,
    SKIPPED,
    UNKNOWN,
    WARNING,
    CheckResult,
    overall,
)

CONTEXT = Context(datetime.datetime(2026, 11, 23, 9, tzinfo=datetime.timezone.utc))
ROOM = "!canary:matrix.test"
VERSIONS = servers.http_answer({"versions": ["v1.1", "v1.11"]})
TOKENS = {"room_id": ROOM, "sender_token": "syt_sender", "reader_token": "syt_reader"}


def options(**changes: Any) -> dict[str, Any]:
    defaults = {key: spec.get("default") for key, spec in homeserver.SPEC.items()}
    return {**defaults, **changes}


def instances(*authorities: str) -> list[dict[str, str]]:
    names = ("main", "worker1")[: len(authorities)]
    return [{"name": name, "url": f"http://{where}"} for name, where in zip(names, authorities, strict=True)]


def check(seconds: float = 5, timeout: float = 5, **changes: Any) -> engine.Outcome:
    plan = homeserver.plan(options(**changes), CONTEXT)
    return engine.execute(plan, engine.Policy(timeout=timeout), Deadline(seconds))


def named(outcome: engine.Outcome, name: str) -> CheckResult:
    (result,) = (result for result in outcome.results if result.name == name)
    return result


def running(server: servers.Request) -> bytes:
    """Answer as a homeserver does that delivers what it is sent, at the second look."""
    if server.method == "PUT":
        return servers.http_answer({"event_id": "$canary"})
    if server.path.startswith("/_matrix/client/v3/sync"):
        events = [{"event_id": "$other"}] + ([{"event_id": "$canary"}] if "since=s1" in server.path else [])
        position = "s1" if "since=s0" in server.path else "s0"
        joined = {ROOM: {"timeline": {"events": events}}}
        return servers.http_answer({"next_batch": position, "rooms": {"join": joined}})
    path = server.path.partition("?")[0]
    if path.endswith("/messages"):
        return servers.http_answer({"chunk": [{}]})
    if path.endswith("/federation/v1/version"):
        return servers.http_answer({"server": {"name": "Synapse", "version": "1.163.2"}})
    return VERSIONS if path == "/_matrix/client/versions" else servers.http_answer({}, 404)


def test_good_homeserver_is_ok_in_all(serve) -> None:
    main, worker, public = (serve(servers.web(running)) for _each in range(3))
    outcome = check(
        instances=instances(main.authority, worker.authority), public_url=f"http://{public.authority}/", **TOKENS
    )
    assert {(result.name, result.target): result.status for result in outcome.results} == {
        ("client_api", "main"): OK,
        ("client_api", "worker1"): OK,
        ("database_read", "main"): OK,
        ("database_read", "worker1"): OK,
        ("instance_versions", "instances"): OK,
        ("client_api", f"http://{public.authority}/"): OK,
        ("canary", f"http://{public.authority}/"): OK,
    }
    assert outcome.facts == {
        "versions": {"homeserver": "Synapse 1.163.2"},
        "canary": {"event_id": "$canary", "room_id": ROOM},
    }
    (sent,) = (json.loads(request.body) for request in public.requests if request.method == "PUT")
    assert sent["org.matrixon.canary"]["sent_ms"] == CONTEXT.now.timestamp() * 1000
    tokens = {request.headers.get("authorization") for request in main.requests}
    assert tokens == {None, "Bearer syt_reader"}
    assert all("syt_" not in request.path for server in (main, worker, public) for request in server.requests)


@pytest.mark.parametrize(("ms", "status"), [(49.9, OK), (50, WARNING), (999.9, WARNING), (1000, CRITICAL)])
def test_client_api_is_graded_at_its_thresholds(judged, ms: float, status: str) -> None:
    result = judged(homeserver.CLIENT_API, name="main", versions=2, ms=ms)
    assert (result.status, result.value, result.unit) == (status, ms, "ms") and "main" in result.message


@pytest.mark.parametrize(("ms", "status"), [(249.9, OK), (250, WARNING), (2000, CRITICAL)])
def test_database_read_is_graded_at_its_thresholds(judged, ms: float, status: str) -> None:
    assert judged(homeserver.DATABASE_READ, name="main", ms=ms).status == status


@pytest.mark.parametrize(("ms", "status"), [(999.9, OK), (1000, WARNING), (1e6, WARNING)])
def test_canary_is_graded_at_its_threshold(judged, ms: float, status: str) -> None:
    assert judged(homeserver.CANARY, ms=ms).status == status


LIES = {
    "HTML": (servers.say(servers.http_answer(b"<html>It works</html>", content_type="text/html")), "parse"),
    "an empty object": (servers.say(servers.http_answer({})), "parse"),
    "an empty list of versions": (servers.say(servers.http_answer({"versions": []})), "parse"),
    "an error page of a load balancer": (servers.say(servers.http_answer(b"<html>503", 503, "text/html")), "refused"),
    "another protocol": (servers.say(b"SSH-2.0-OpenSSH_9.2\r\n"), "parse"),
    "nothing": (servers.hang_up, "refused"),
}


@pytest.mark.parametrize(("script", "kind"), LIES.values(), ids=list(LIES))
def test_client_api_is_critical_when_it_answers_with(serve, script: servers.Script, kind: str) -> None:
    server = serve(script)
    result = named(check(instances=instances(server.authority)), "client_api")
    assert (result.status, result.error_kind, result.value) == (CRITICAL, kind, None)


def test_client_api_that_drips_is_critical_at_the_timeout(serve) -> None:
    server = serve(servers.drip(b"HTTP/1.1 200 OK\r\n\r\n", b" "))
    started = time.monotonic()
    result = named(check(timeout=0.3, instances=instances(server.authority)), "client_api")
    assert (result.status, result.error_kind) == (CRITICAL, "timeout") and time.monotonic() - started < 1


def test_one_dead_instance_takes_nothing_from_the_other(serve, closed_port: int) -> None:
    server = serve(servers.web(running))
    outcome = check(instances=instances(server.authority, f"127.0.0.1:{closed_port}"), **TOKENS)
    found = {(result.name, result.target): result.status for result in outcome.results}
    assert (found["client_api", "main"], found["database_read", "main"]) == (OK, OK)
    assert (found["client_api", "worker1"], found["database_read", "worker1"]) == (CRITICAL, CRITICAL)
    assert found["instance_versions", "instances"] == UNKNOWN


def test_rejected_token_is_unknown_and_not_told(serve) -> None:
    refusal = servers.http_answer({"errcode": "M_UNKNOWN_TOKEN", "error": "Invalid access token"}, 401)
    server = serve(servers.pages({"/_matrix/client/versions": VERSIONS}))
    server.script = servers.web(lambda request: VERSIONS if "versions" in request.path else refusal)
    url = f"http://{server.authority}"
    outcome = check(instances=instances(server.authority), public_url=url, **TOKENS)
    for name in ("canary", "database_read"):
        result = named(outcome, name)
        assert (result.status, result.error_kind) == (UNKNOWN, "auth") and "M_UNKNOWN_TOKEN" in result.message
        assert "syt_" not in result.message


def test_lost_canary_is_critical_within_its_own_timeout(serve) -> None:
    def losing(request: servers.Request) -> bytes:
        if "since=" in request.path:
            # A long poll holds the answer back as long as it was asked to.
            time.sleep(int(request.path.split("timeout=")[1].split("&")[0]) / 1000)
            return servers.http_answer({"next_batch": "s0"})
        return running(request)

    server = serve(servers.web(losing))
    started = time.monotonic()
    outcome = check(public_url=f"http://{server.authority}", canary_timeout=0.4, **TOKENS)
    result = named(outcome, "canary")
    assert (result.status, result.error_kind, result.value) == (CRITICAL, "timeout", None)
    assert "$canary was sent and not delivered" in result.message and "canary" not in outcome.facts
    assert time.monotonic() - started < 1


SKIPS = {
    "no room": ({"room_id": None}, {"canary": "room_id", "database_read": "room_id"}),
    "no sender": ({"sender_token": None}, {"canary": "sender_token"}),
    "no reader": ({"reader_token": None}, {"canary": "reader_token", "database_read": "reader_token"}),
    "an empty token": ({"sender_token": ""}, {"canary": "sender_token"}),
    "nothing of it": (dict.fromkeys(TOKENS), {"canary": "room_id", "database_read": "room_id"}),
}


@pytest.mark.parametrize(("changes", "reasons"), SKIPS.values(), ids=list(SKIPS))
def test_what_needs_a_room_and_tokens_is_skipped_with(serve, changes: dict[str, Any], reasons: dict[str, str]) -> None:
    server = serve(servers.web(running))
    given = {**TOKENS, **changes}
    outcome = check(instances=instances(server.authority), public_url=f"http://{server.authority}", **given)
    skips = {result.name: result.skipped_reason for result in outcome.results if result.status == SKIPPED}
    assert skips.keys() == reasons.keys()
    assert all(words in str(skips[name]) for name, words in reasons.items())


VERSION_SETS = {
    "one instance": ({"main": "Synapse 1.163.2"}, OK, "1 instances run Synapse 1.163.2"),
    "the same": ({"main": "Synapse 1.163.2", "worker1": "Synapse 1.163.2"}, OK, "all 2 instances"),
    "another": ({"main": "Synapse 1.163.2", "worker1": "Synapse 1.162.0"}, WARNING, "worker1 Synapse 1.162.0"),
    "another product": ({"main": "Synapse 1.0", "worker1": "Matrixon 1.0"}, WARNING, "main Synapse 1.0"),
}


@pytest.mark.parametrize(("found", "status", "words"), VERSION_SETS.values(), ids=list(VERSION_SETS))
def test_instances_run(judged, found: dict[str, str], status: str, words: str) -> None:
    result = judged(homeserver.VERSIONS, found=found)
    assert result.status == status and words in result.message


# What the homeserver says of itself is shown, and has no say.

SELF_REPORTS = {
    "good": (servers.http_answer(b"OK", content_type="text/plain"), OK, "answered 200: 'OK'"),
    "bad": (servers.http_answer({"status": "degraded"}, 503), WARNING, "answered 503"),
    "not there": (servers.http_answer(b"", 404), WARNING, "answered 404"),
}


@pytest.mark.parametrize(("answer", "status", "words"), SELF_REPORTS.values(), ids=list(SELF_REPORTS))
def test_self_report_is_shown_and_has_no_say_when_it_is(serve, answer: bytes, status: str, words: str) -> None:
    server = serve(servers.pages({"/health": answer}))
    result = named(check(instances=instances(server.authority), self_report_path="/health"), "self_report")
    assert (result.status, result.source) == (status, SELF_REPORT) and words in result.message
    assert overall([result]) == UNKNOWN


def program(directory: pathlib.Path, lines: str) -> list[str]:
    path = directory / "matrixon"
    path.write_text(f"import sys, time\nif '--help' not in sys.argv:\n    {lines}\n")
    return [sys.executable, str(path), "admin", "health"]


COMMANDS = {
    "says it is well": ("print('Database: Healthy\\nmore')", OK, None, "ended with 0 and says: Database: Healthy"),
    "says nothing": ("pass", OK, None, "ended with 0 and says: nothing"),
    "says it is ill": ("print('ill'); sys.exit(3)", WARNING, None, "ended with 3 and says: ill"),
    "hangs": ("time.sleep(5)", UNKNOWN, "timeout", "no answer"),
}


@pytest.mark.parametrize(("lines", "status", "kind", "words"), COMMANDS.values(), ids=list(COMMANDS))
def test_program_of_the_homeserver_has_no_say_when_it(
    tmp_path, lines: str, status: str, kind: str | None, words: str
) -> None:
    outcome = check(timeout=0.5 if kind else 5, self_report_command=program(tmp_path, lines))
    result = named(outcome, "self_report")
    assert (result.status, result.error_kind, result.source) == (status, kind, SELF_REPORT)
    assert words in result.message and overall([result]) == UNKNOWN


def test_program_that_does_not_know_the_subcommand_is_not_called(tmp_path) -> None:
    path = tmp_path / "matrixon"
    path.write_text("import pathlib, sys\n'--help' in sys.argv and sys.exit(2)\npathlib.Path(__file__).unlink()\n")
    result = named(check(self_report_command=[sys.executable, str(path), "db-check"]), "self_report")
    assert result.status == UNKNOWN and "no such subcommand" in result.message
    assert path.exists()


NO_PROGRAMS = {"is not installed": "matrixon-that-is-not-here", "is no program": "/"}


@pytest.mark.parametrize("tool", NO_PROGRAMS.values(), ids=list(NO_PROGRAMS))
def test_program_is_unknown_when_it(tool: str) -> None:
    result = named(check(self_report_command=[tool, "health"]), "self_report")
    assert (result.status, result.error_kind) == (UNKNOWN, "missing_tool") and tool in result.message


ERRORS = {
    "nothing to ask": ({"instances": []}, "homeserver: neither instances nor public_url is given"),
    "an address without scheme": (
        {"instances": [{"name": "main", "url": "127.0.0.1:8008"}]},
        "homeserver.instances[0].url: '127.0.0.1:8008' cannot be used: a URL starts with http:// or https://",
    ),
    "a public address without scheme": ({"public_url": "matrix.test"}, "homeserver.public_url: 'matrix.test'"),
    "a port out of range": ({"public_url": "https://matrix.test:70000"}, "homeserver.public_url: "),
    "a name that stands there twice": (
        {"instances": instances("a.test") * 2},
        "homeserver.instances: main stands there twice",
    ),
    "an alias in place of a room id": ({"room_id": "#canary:matrix.test"}, "homeserver.room_id: '#canary:matrix.test'"),
    "no time for the canary": ({"canary_timeout": 0.0}, "homeserver.canary_timeout: 0 is no time"),
    "a time that is no number": ({"canary_timeout": float("nan")}, "homeserver.canary_timeout: nan is no time"),
    "time without end": ({"canary_timeout": float("inf")}, "homeserver.canary_timeout: inf is no time"),
    "a path that is none": ({"self_report_path": "health"}, "homeserver.self_report_path: 'health' "),
}


@pytest.mark.parametrize(("changes", "words"), ERRORS.values(), ids=list(ERRORS))
def test_options_are_refused_with(changes: dict[str, Any], words: str) -> None:
    (error,) = homeserver.validate(options(**{"instances": instances("m.test:8008"), **changes}))
    assert error.startswith(words)


def test_good_options_are_not_refused() -> None:
    given = options(instances=instances("m.test:8008", "m.test:8081"), self_report_path="/health", **TOKENS)
    assert list(homeserver.validate(given)) == []
    assert list(homeserver.validate(options(public_url="https://matrix.test"))) == []


def test_canary_key_is_the_one_that_a_restore_looks_for() -> None:
    assert _matrix.CANARY_KEY == "org.matrixon.canary"
