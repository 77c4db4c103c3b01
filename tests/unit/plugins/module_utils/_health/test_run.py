"""Tests of the way from the module's options to the report."""

from __future__ import annotations

import datetime
import json
import pathlib
import socket
import subprocess
from typing import Any

import jsonschema
import pytest
import servers
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.matrixon.ops.plugins.module_utils import _report
from ansible_collections.matrixon.ops.plugins.module_utils._health import engine, run
from ansible_collections.matrixon.ops.plugins.module_utils._health.options import threshold_errors
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.modules.matrixon_health import argument_spec

NOW = datetime.datetime(2026, 11, 23, 9, tzinfo=datetime.timezone.utc)
SCHEMA = json.loads((pathlib.Path(__file__).resolve().parents[5] / "docs/report.schema.json").read_text())
PONG = {
    "PING": b"+PONG\r\n",
    "AUTH": b"+OK\r\n",
    "INFO": servers.bulk(
        "run_id:a\r\nrole:master\r\nevicted_keys:5\r\nrejected_connections:0\r\nuptime_in_seconds:60\r\n"
    ),
}


def options(**given: Any) -> dict[str, Any]:
    """Return module options with their defaults, as the argument spec leaves them."""
    base = {"target": "db1", "deployment": "example", "profile": "synapse"}
    result = ArgumentSpecValidator(argument_spec()).validate({**base, **given})
    assert not result.error_messages, result.error_messages
    return result.validated_parameters


def errors(**given: Any) -> list[str]:
    with pytest.raises(OptionErrors) as caught:
        run.check_health(options(**given))
    assert str(caught.value) == "; ".join(caught.value.errors)
    return caught.value.errors


def check(**given: Any) -> _report.Report:
    return run.check_health(options(**given), NOW)


def by_name(report: _report.Report) -> dict[str, _report.CheckResult]:
    return {result.name: result for result in report.checks}


# Every check, as it is declared.


def test_every_check_has_a_name_of_its_own() -> None:
    names = [check.name for scope in run.SCOPES.values() for check in scope.CHECKS]
    assert len(names) == len(set(names)) == len(run.CHECKS) and len(names) > 40


@pytest.mark.parametrize("check", run.CHECKS.values(), ids=list(run.CHECKS))
def test_declaration_of(check: Any) -> None:
    shape = SCHEMA["$defs"]["check"]["properties"]
    jsonschema.validate(check.name, shape["name"])
    assert check.summary and "\n" not in check.summary and not check.summary.endswith(".")
    assert check.unit is None or check.unit in shape["unit"]["enum"]
    if check.warning is not None and check.critical is not None:
        assert check.warning > check.critical if check.below else check.warning < check.critical
    if check.warning is not None or check.critical is not None:
        assert check.unit is not None


@pytest.mark.parametrize("name", run.SCOPES)
def test_every_secret_is_hidden_and_can_come_from_a_file(name: str) -> None:
    spec = run.SCOPES[name].SPEC
    hidden = {option for option, rules in spec.items() if rules.get("no_log")}
    assert hidden == set(run.SECRETS.get(name, ()))
    assert all(spec[f"{option}_file"]["type"] == "path" for option in hidden)


# Options that cannot be right.

MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no deployment": ({"deployment": ""}, "deployment: it is empty"),
    "no profile": ({"profile": " "}, "profile: it is empty"),
    "deadline 0": ({"deadline": 0}, "deadline: 0 is no time to wait; give seconds above 0"),
    "a deadline below 0": ({"deadline": -1}, "deadline: -1 is no time"),
    "a deadline that is no number": ({"deadline": "nan"}, "deadline: nan is no time"),
    "a deadline without end": ({"deadline": "inf"}, "deadline: inf is no time"),
    "timeout 0": ({"timeout": 0}, "timeout: 0 is no time"),
    "a delay without end": ({"retry_delay": "inf"}, "retry_delay: inf is no time"),
    "retries below 0": ({"retries": -1}, "retries: -1 is below 0; give 0"),
    "an empty list of checks": ({"checks": []}, "checks: the list is empty; leave the option out"),
    "a check with a slip in it": (
        {"checks": ["redis_pong"]},
        "checks: 'redis_pong' is not a check; did you mean redis_ping?",
    ),
    "a check like no other": ({"checks": ["zzz"]}, "checks: 'zzz' is not a check; known are backup_age, "),
    "a skip of no check": (
        {"skip_checks": {"redis_pimg": "x"}},
        "skip_checks: 'redis_pimg' is not a check; did you mean",
    ),
    "a skip without reason": ({"skip_checks": {"redis_ping": " "}}, "skip_checks.redis_ping: say why"),
    "a skip with no text for a reason": ({"skip_checks": {"redis_ping": True}}, "skip_checks.redis_ping: say why"),
    "thresholds of no check": (
        {"thresholds": {"redis_pimg": {"warning": 1}}},
        "thresholds: 'redis_pimg' is not a check",
    ),
    "a threshold alone": (
        {"thresholds": {"redis_ping": 5}},
        "thresholds.redis_ping: 5 is not understood; give warning",
    ),
    "no thresholds": ({"thresholds": {"redis_ping": {}}}, "thresholds.redis_ping: {} is not understood"),
    "another level": (
        {"thresholds": {"redis_ping": {"warn": 5}}},
        "thresholds.redis_ping: {'warn': 5} is not understood",
    ),
    "a threshold below 0": (
        {"thresholds": {"redis_ping": {"warning": -1}}},
        "thresholds.redis_ping.warning: -1 is below 0",
    ),
    "a threshold nan": (
        {"thresholds": {"redis_ping": {"warning": "nan"}}},
        "thresholds.redis_ping.warning: 'nan' is not a",
    ),
    "a threshold in words": (
        {"thresholds": {"redis_ping": {"critical": "high"}}},
        "thresholds.redis_ping.critical: 'high'",
    ),
    "a threshold yes": (
        {"thresholds": {"redis_ping": {"warning": True}}},
        "thresholds.redis_ping.warning: True is not",
    ),
    "a warning beyond critical": (
        {"thresholds": {"redis_memory": {"warning": 90, "critical": 80}}},
        "thresholds.redis_memory: warning 90 is above critical 80, so it would never warn",
    ),
    "a warning beyond the default": (
        {"thresholds": {"redis_memory": {"warning": 95}}},
        "thresholds.redis_memory: warning 95 is above critical 90",
    ),
    "a critical before the default warning": (
        {"thresholds": {"redis_memory": {"critical": 70}}},
        "thresholds.redis_memory: warning 80 is above critical 70",
    ),
    "a warning below critical where small is bad": (
        {"thresholds": {"federation_keys": {"warning": 60, "critical": 600}}},
        "thresholds.federation_keys: warning 60 is below critical 600",
    ),
    "a critical above the default where small is bad": (
        {"thresholds": {"federation_keys": {"critical": 7200}}},
        "thresholds.federation_keys: warning 3600 is below critical 7200",
    ),
    "connect_to from no port": ({"connect_to": {"m.test": "a:1"}}, "connect_to: 'm.test' is not host:port"),
    "connect_to to no port": ({"connect_to": {"m.test:1": "a"}}, "connect_to.m.test:1: 'a' is not host:port"),
    "connect_to to a port in words": ({"connect_to": {"m.test:1": "a:http"}}, "connect_to.m.test:1: 'a:http' is not"),
    "connect_to to port 0": ({"connect_to": {"m.test:1": "a:0"}}, "connect_to.m.test:1: 0 is not a port"),
    "connect_to to a number": ({"connect_to": {"m.test:1": 8448}}, "connect_to.m.test:1: '8448' is not host:port"),
    "a missing ca_file": (
        {"ca_file": "/nonexistent/ca.pem"},
        "ca_file: /nonexistent/ca.pem cannot be read: No such file",
    ),
    "a directory for a ca_file": ({"ca_file": "/"}, "ca_file: / cannot be read: Is a directory"),
    "a ca_file of Redis": (
        {"redis": {"ca_file": "/nonexistent/ca.pem"}},
        "redis.ca_file: /nonexistent/ca.pem cannot be read",
    ),
    "a Redis port": ({"redis": {"port": 70000}}, "redis.port: 70000 is not a port; give a number from 1 to 65535"),
    "a URL without scheme": (
        {"homeserver": {"public_url": "matrix.test:8008"}},
        "homeserver.public_url: 'matrix.test:8008' cannot be used: a URL starts with http:// or https://; write",
    ),
    "an instance that stands there twice": (
        {"homeserver": {"instances": [{"name": "main", "url": "http://127.0.0.1:8008"}] * 2}},
        "homeserver.instances: main stands there twice",
    ),
    "a federation port": ({"federation": {"server_name": "m.test:70000"}}, "federation.server_name: 'm.test:70000'"),
    "no HAProxy server expected": (
        {"haproxy": {"socket": "/x", "backends": [{"name": "a", "expected": 0}]}},
        "haproxy.backends[0].expected: 0 servers",
    ),
}


@pytest.fixture
def contacted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what was contacted; it is recorded, and goes nowhere."""
    seen: list[str] = []

    def record(what: str) -> Any:
        def refuse(*_args: Any, **_options: Any) -> None:
            seen.append(what)
            raise ConnectionRefusedError(what)

        return refuse

    monkeypatch.setattr(socket.socket, "connect", record("connect"))
    monkeypatch.setattr(socket, "getaddrinfo", record("getaddrinfo"))
    monkeypatch.setattr(subprocess, "Popen", record("Popen"))
    return seen


@pytest.mark.parametrize(("given", "words"), MISTAKES.values(), ids=list(MISTAKES))
def test_one_clear_error_and_no_contact_with(contacted: list[str], given: dict[str, Any], words: str) -> None:
    (error,) = errors(**{"redis": {}, **given})
    assert error.startswith(words), error
    assert contacted == []


def test_good_options_do_contact_the_server(contacted: list[str]) -> None:
    check(redis={})
    assert contacted == ["getaddrinfo"]


def test_all_errors_are_told_at_once() -> None:
    found = errors(deadline=0, redis={"port": 0}, haproxy={"socket": "/x", "backends": [{"name": "a", "expected": 0}]})
    assert [error.split(":")[0] for error in found] == ["deadline", "haproxy.backends[0].expected", "redis.port"]


def test_ca_file_without_a_certificate_that_can_be_read_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "ca.pem"
    for content in ("", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        path.write_text(content)
        (error,) = errors(redis={}, ca_file=str(path))
        assert error.startswith(f"ca_file: {path} holds no PEM certificate")


def test_ca_file_that_is_good_is_not_refused(contacted: list[str], ca_file: str) -> None:
    assert check(redis={"ca_file": ca_file}, ca_file=ca_file).checks


def test_outermost_values_are_good(contacted: list[str]) -> None:
    ends = {"a.test:1": "b.test:65535"}
    check(redis={"port": 65535}, connect_to=ends, deadline=86400, thresholds={"federation_keys": {"critical": 3600}})
    assert contacted
    assert errors(redis={}, deadline=86400.5)[0].startswith("deadline: 86400.5 is no time")


GOOD_THRESHOLDS = {
    "numbers in text": ({"warning": "60", "critical": "75.5"}, (60, 75.5)),
    "one level": ({"warning": 60}, (60, 90)),
    "both levels equal": ({"warning": 90, "critical": 90}, (90, 90)),
    "no warning": ({"warning": None}, (None, 90)),
    "a warning beyond a critical that is off": ({"warning": 99, "critical": None}, (99, None)),
    "zero": ({"warning": 0}, (0, 90)),
}


@pytest.mark.parametrize(("given", "expected"), GOOD_THRESHOLDS.values(), ids=list(GOOD_THRESHOLDS))
def test_thresholds_may_be(contacted: list[str], given: dict[str, Any], expected: tuple[float | None, ...]) -> None:
    result = by_name(check(redis={}, thresholds={"redis_memory": given}))["redis_memory"]
    assert (result.warning, result.critical) == expected


# Secrets.

PASSWORD = "s3cret-from-a-file"


def test_secrets_are_read_from_their_files_without_the_line_end(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    given = options(
        redis={"password_file": str(path)}, homeserver={"sender_token": "syt_inline", "public_url": "http://m"}
    )
    assert sorted(run.read_secrets(given)) == [PASSWORD, "syt_inline"]
    assert given["redis"]["password"] == PASSWORD


def test_secret_may_be_as_long_as_a_token_gets(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "password"
    path.write_text("x" * 4096)
    assert run.read_secrets(options(redis={"password_file": str(path)})) == ["x" * 4096]


SECRET_FILES: dict[str, tuple[Any, str]] = {
    "missing": (None, "No such file or directory"),
    "empty": (b"", "the file is empty"),
    "blank": (b" \n\n", "the file is empty"),
    "no text": (b"\xff\xfe", "decode"),
    "too long for a secret": (b"x" * 4097, "longer than 4096"),
}


@pytest.mark.parametrize(("content", "words"), SECRET_FILES.values(), ids=list(SECRET_FILES))
def test_secret_file_is_refused_that_is(tmp_path: pathlib.Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OptionErrors) as caught:
        run.read_secrets(options(redis={"password_file": str(path)}))
    (error,) = caught.value.errors
    assert error.startswith(f"redis.password_file: {path} cannot be read: ") and words in error
    assert "xxx" not in error


def test_secret_file_that_is_a_directory_is_refused() -> None:
    with pytest.raises(OptionErrors, match="postgresql.password_file: / cannot be read: Is a directory"):
        run.read_secrets(options(postgresql={"password_file": "/", "user": "u", "database": "d"}))


def test_no_secret_is_filled_in_when_another_cannot_be_read(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "token"
    path.write_text("syt_secret")
    files = {"sender_token_file": str(path), "reader_token_file": "/nonexistent/token"}
    given = options(homeserver={"public_url": "http://m", **files})
    with pytest.raises(OptionErrors):
        run.read_secrets(given)
    # The caller could not hide it.
    assert "syt_secret" not in str(given)


def test_every_secret_file_that_cannot_be_read_is_named() -> None:
    files = {"sender_token_file": "/nonexistent/1", "reader_token_file": "/nonexistent/2"}
    with pytest.raises(OptionErrors) as caught:
        run.read_secrets(options(homeserver={"public_url": "http://m", **files}))
    assert [error.split(":")[0] for error in caught.value.errors] == [f"homeserver.{name}" for name in files]


# What runs, and what comes of it.


def test_only_given_scopes_are_checked(contacted: list[str]) -> None:
    assert {result.name.split("_")[0] for result in check(redis={}).checks} == {"redis"}


def test_only_the_wanted_checks_run(contacted: list[str]) -> None:
    report = check(redis={}, homeserver={"public_url": "http://127.0.0.1:1"}, checks=["redis_ping", "canary"])
    assert {result.name for result in report.checks} == {"redis_ping", "canary"}


def test_checks_of_no_given_scope_measure_nothing_and_that_is_unknown(contacted: list[str]) -> None:
    report = check(redis={}, checks=["client_api"])
    assert (report.status, report.checks, contacted) == ("unknown", (), [])


def test_skipped_checks_stand_in_the_report_with_their_reason_and_weigh_nothing(serve) -> None:
    server = serve(servers.redis(PONG))
    skips = {"redis_memory": "known, ticket 12", "redis_persistence": "a cache only"}
    report = check(redis={"port": server.port}, skip_checks=skips, thresholds={"redis_evictions": {"warning": None}})
    found = by_name(report)
    assert {name: found[name].skipped_reason for name in skips} == skips
    assert report.status == "ok" and len(found) == 6


def test_nothing_is_contacted_for_checks_that_are_all_skipped(serve) -> None:
    server = serve(servers.redis(PONG))
    names = [name for name in run.CHECKS if name.startswith("redis_")]
    report = check(redis={"port": server.port}, skip_checks=dict.fromkeys(names, "maintenance"))
    assert report.status == "unknown" and server.connections == 0
    assert _report.headline(report) == "unknown: no check was executed"


def test_reason_of_the_plan_stays_beside_a_reason_of_the_user(contacted: list[str]) -> None:
    report = check(homeserver={"public_url": "http://127.0.0.1:1"}, skip_checks={"canary": "not today"})
    assert "room_id" in str(by_name(report)["canary"].skipped_reason)


def test_report_is_as_its_schema_says(serve) -> None:
    server = serve(servers.redis(PONG))
    report = check(redis={"port": server.port}, haproxy={"socket": "/nonexistent/s"}, retries=1, retry_delay=0.01)
    assert {result.status for result in report.checks} >= {"ok", "critical", "unknown"}
    for detail in ("full", "problems"):
        jsonschema.validate(report.as_dict(detail), SCHEMA)
    assert (report.kind, report.target, report.deployment, report.profile) == ("health", "db1", "example", "synapse")
    assert (report.started, report.status) == (NOW, "critical") and report.finished > NOW


def test_retries_are_those_of_the_options(closed_port: int) -> None:
    ping = by_name(check(redis={"port": closed_port}, retries=2, retry_delay=0.01))["redis_ping"]
    assert [attempt["error_kind"] for attempt in ping.attempts] == ["refused"] * 3


def test_timeout_and_deadline_are_those_of_the_options(serve) -> None:
    server = serve(servers.silent)
    report = check(redis={"port": server.port}, timeout=0.2, deadline=3)
    assert "within 0.2 s" in by_name(report)["redis_ping"].message
    report = check(redis={"port": server.port}, timeout=3, deadline=0.2)
    assert by_name(report)["redis_ping"].error_kind == "timeout" and report.finished - NOW < datetime.timedelta(
        seconds=0.7
    )


@pytest.mark.parametrize(
    ("weight", "status"), [("unknown", "unknown"), ("warning", "warning"), ("critical", "critical")]
)
def test_unknown_weighs_as_much_as_the_options_say(serve, weight: str, status: str) -> None:
    server = serve(servers.redis({**PONG, "PING": b"-NOAUTH Authentication required.\r\n"}))
    report = check(redis={"port": server.port}, unknown_as=weight)
    assert report.status == status and {result.status for result in report.checks} == {"unknown"}


def test_report_is_the_baseline_of_the_next(serve) -> None:
    server = serve(servers.redis(PONG))
    first = check(redis={"port": server.port})
    assert by_name(first)["redis_evictions"].value == 5
    second = check(redis={"port": server.port}, baseline=first.as_dict())
    assert by_name(second)["redis_evictions"].value == 0


BASELINES = {
    "nothing": {},
    "no time": {"facts": {}},
    "a time that is none": {"finished": "yesterday", "facts": {}},
    "a time that is no text": {"finished": 5, "facts": {}},
    "no facts": {"finished": "2026-11-23T09:00:00.000Z"},
    "facts that are none": {"finished": "2026-11-23T09:00:00.000Z", "facts": None},
    "facts that are a text": {"finished": "2026-11-23T09:00:00.000Z", "facts": "redis"},
}


@pytest.mark.parametrize("document", BASELINES.values(), ids=list(BASELINES))
def test_baseline_counts_as_none_with(serve, document: dict[str, Any]) -> None:
    server = serve(servers.redis(PONG))
    assert (
        "since it started" in by_name(check(redis={"port": server.port}, baseline=document))["redis_evictions"].message
    )


def test_trust_and_addresses_of_the_options_reach_every_scope(
    serve, authority, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = servers.pages({"/_matrix/client/versions": servers.http_answer({"versions": ["v1.1"]})})
    server = serve(versions, tls=servers.tls_for(authority, "matrix.test"))
    given = {"homeserver": {"public_url": "https://matrix.test"}, "connect_to": {"matrix.test:443": server.authority}}
    assert by_name(check(**given, ca_file=ca_file))["client_api"].value is not None
    assert by_name(check(**given))["client_api"].error_kind == "tls"
    assert by_name(check(**given, validate_certs=False))["client_api"].value is not None


def test_execution_gets_the_whole_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    plans = []
    monkeypatch.setattr(engine, "execute", lambda plan, *_rest: plans.append(plan) or engine.Outcome([], {}))
    check(homeserver={"public_url": "http://m.test"}, redis={}, haproxy={"socket": "/x"}, system={})
    names = {check.name for entry in plans[0] for check in getattr(entry, "checks", None) or (entry.check,)}
    assert names >= {"client_api", "canary", "redis_ping", "haproxy_queue", "disk_space"}


FIXED = sorted(name for name, check in run.CHECKS.items() if check.fixed)


@pytest.mark.parametrize("name", FIXED)
def test_threshold_that_would_change_nothing_is_refused(name: str) -> None:
    check = run.CHECKS[name]
    assert (check.warning, check.critical) == (None, None)
    said = list(threshold_errors(name, {"warning": 1}, run.CHECKS))
    assert said == [f"thresholds.{name}: the verdict of this check depends on no threshold; leave it out"]


def test_checks_without_thresholds_are_known() -> None:
    assert {"haproxy_servers", "delegation", "listeners", "postgresql_role"} <= set(FIXED)
    assert not {"load", "cpu_pressure", "disk_space", "canary"} & set(FIXED)
