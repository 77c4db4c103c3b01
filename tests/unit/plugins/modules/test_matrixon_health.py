"""Tests of the module as Ansible runs it: JSON in, JSON out, and nothing secret in between."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
import servers
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.testing import patch_module_args

from ansible_collections.matrixon.ops.plugins.doc_fragments import _checks, _https, _observer
from ansible_collections.matrixon.ops.plugins.modules import matrixon_health

ROOT = pathlib.Path(__file__).resolve().parents[4]
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
BASE = {"target": "db1", "deployment": "example", "profile": "synapse"}
PASSWORD, FILE_PASSWORD, TOKEN, FILE_TOKEN = "inl1ne-passw0rd", "f1le-passw0rd", "syt_inl1ne_token", "syt_f1le_token"
SECRETS = (PASSWORD, FILE_PASSWORD, TOKEN, FILE_TOKEN)

INFO = "run_id:a\r\nrole:master\r\nuptime_in_seconds:60\r\nrejected_connections:0\r\nused_memory:1\r\nmaxmemory:0\r\n"
GOOD_INFO = INFO + "aof_enabled:0\r\nrdb_last_bgsave_status:ok\r\nevicted_keys:0\r\n"
REDIS = {"AUTH": b"+OK\r\n", "PING": b"+PONG\r\n"}
# A server for each overall status. The PING threshold is off: this host may be slow.
SERVERS = {
    "ok": {**REDIS, "INFO": servers.bulk(GOOD_INFO)},
    "warning": {**REDIS, "INFO": servers.bulk(GOOD_INFO.replace("evicted_keys:0", "evicted_keys:5"))},
    "unknown": {**REDIS, "PING": b"-NOAUTH Authentication required.\r\n"},
    "critical": {**REDIS, "INFO": servers.bulk(GOOD_INFO.replace("role:master", "role:slave"))},
}
PATIENT = {"redis_ping": {"warning": None}}

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Return a way to call the module in this process, as its wrapper does."""

    def call(**given: Any) -> dict[str, Any]:
        with patch_module_args({**BASE, **given}), pytest.raises(SystemExit) as caught:
            matrixon_health.main()
        result = json.loads(capsys.readouterr().out)
        assert bool(caught.value.code) == bool(result.get("failed"))
        return result

    return call


def run(**given: Any) -> subprocess.CompletedProcess[str]:
    """Run the module in a process of its own."""
    name = matrixon_health.__name__
    return subprocess.run(
        [sys.executable, "-m", name],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {**BASE, **given}}),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


def verdicts(result: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["status"] for check in result["report"]["checks"]}


def test_module_runs_by_itself_and_ends_with_its_report(serve) -> None:
    server = serve(servers.redis(SERVERS["ok"]))
    done = run(redis={"port": server.port}, thresholds=PATIENT)
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    jsonschema.validate(result["report"], SCHEMA)
    assert (result["changed"], result["report"]["status"]) == (False, "ok") and "failed" not in result
    assert (result["msg"], result["report"]["target"]) == ("ok: all 5 checks are good", "db1")


def test_module_ends_at_its_deadline_when_a_server_hangs(serve) -> None:
    done = run(redis={"port": serve(servers.drip(b"$1000\r\n")).port}, deadline=0.3, fail_on="critical")
    result = json.loads(done.stdout)
    assert (done.returncode, result["failed"], result["report"]["status"]) == (1, True, "critical")
    assert result["report"]["duration_ms"] < 800


@pytest.fixture
def telling(serve, tmp_path: pathlib.Path) -> dict[str, Any]:
    """Return options with every way to give a secret, and servers that repeat what they are given."""

    def echo(request: servers.Request) -> bytes:
        return servers.http_answer(request.headers.get("authorization", "").encode(), 400, "text/plain")

    def repeat(sock: Any, server: servers.Server) -> None:
        sock.sendall(b"-ERR what is " + b" ".join(sock.recv(4096).split()) + b"\r\n")

    for name, secret in (("password", FILE_PASSWORD), ("token", FILE_TOKEN)):
        (tmp_path / name).write_text(secret + "\n")
    url = f"http://{serve(servers.web(echo)).authority}"
    return {
        "homeserver": {
            "instances": [{"name": "main", "url": url}],
            "public_url": url,
            "room_id": "!canary:matrix.test",
            "sender_token": TOKEN,
            "reader_token_file": str(tmp_path / "token"),
        },
        "redis": {"port": serve(repeat).port, "password": PASSWORD},
        "postgresql": {
            **{"host": "127.0.0.1", "port": serve(servers.hang_up).port, "database": "d", "user": "u"},
            "password_file": str(tmp_path / "password"),
        },
        "detail": "full",
    }


def test_no_secret_is_ever_told(telling: dict[str, Any]) -> None:
    done = run(**telling)
    told = done.stdout + done.stderr
    assert {secret for secret in SECRETS if secret in told} == set()
    result = json.loads(done.stdout)
    assert result["report"]["status"] == "critical" and verdicts(result)["database_read"] == "critical"
    # The options are in the result, and so is what was hidden in them.
    assert result["invocation"]["module_args"]["redis"]["password"].startswith("VALUE_SPECIFIED")


WRONG = {
    "a file that is missing": {"postgresql": {"password_file": "/nonexistent/password"}},
    "an option that is wrong": {"deadline": 0},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=list(WRONG))
def test_no_secret_is_told_by_an_error_about(call: Call, telling: dict[str, Any], wrong: dict[str, Any]) -> None:
    given = {**telling, **wrong}
    given["postgresql"] = {**telling["postgresql"], **wrong.get("postgresql", {})}
    result = call(**given)
    assert result["failed"] and "report" not in result
    assert {secret for secret in SECRETS if secret in json.dumps(result)} == set()


@pytest.mark.parametrize("status", SERVERS)
def test_check_mode_gives_the_same_verdicts_and_nothing_is_ever_changed(serve, call: Call, status: str) -> None:
    given = {"redis": {"port": serve(servers.redis(SERVERS[status])).port}, "thresholds": PATIENT}
    normal, checking = call(**given), call(**given, _ansible_check_mode=True)
    assert normal["report"]["status"] == status
    assert verdicts(normal) == verdicts(checking) and len(verdicts(normal)) == 6
    assert (normal["changed"], checking["changed"]) == (False, False) and "skipped" not in checking


FAILS = {
    "never": [],
    "warning": ["warning", "unknown", "critical"],
    "unknown": ["unknown", "critical"],
    "critical": ["critical"],
}


@pytest.mark.parametrize("status", SERVERS)
@pytest.mark.parametrize("fail_on", FAILS)
def test_task_fails_on_the_level_that_was_asked_for_and_returns_the_report(
    serve, call: Call, fail_on: str, status: str
) -> None:
    port = serve(servers.redis(SERVERS[status])).port
    result = call(redis={"port": port}, thresholds=PATIENT, fail_on=fail_on)
    assert result.get("failed", False) == (status in FAILS[fail_on])
    assert result["report"]["status"] == status and result["msg"].startswith(f"{status}: ") and not result["changed"]


@pytest.mark.parametrize(("weight", "failed"), [("unknown", False), ("warning", False), ("critical", True)])
def test_unknown_fails_with_the_weight_that_it_was_given(serve, call: Call, weight: str, failed: bool) -> None:
    port = serve(servers.redis(SERVERS["unknown"])).port
    result = call(redis={"port": port}, unknown_as=weight, fail_on="critical")
    assert (result["report"]["status"], result.get("failed", False)) == (weight, failed)
    assert result["report"]["counts"]["unknown"] == 6


def test_unknown_never_weighs_as_ok(call: Call) -> None:
    assert "value of unknown_as must be one of" in call(redis={}, unknown_as="ok")["msg"]


def test_good_checks_come_without_their_message_unless_the_whole_is_wanted(serve, call: Call) -> None:
    given = {"redis": {"port": serve(servers.redis(SERVERS["warning"])).port}, "thresholds": PATIENT}
    problems, full = call(**given), call(**given, detail="full")
    for result in (problems, full):
        jsonschema.validate(result["report"], SCHEMA)
    assert verdicts(problems) == verdicts(full)
    assert [check["name"] for check in problems["report"]["checks"] if "message" in check] == ["redis_evictions"]
    assert all("message" in check for check in full["report"]["checks"])


def test_host_goes_by_its_own_name_where_none_is_given(call: Call, closed_port: int) -> None:
    assert call(redis={"port": closed_port}, target=None)["report"]["target"] == matrixon_health.platform.node()


ERRORS = {
    "no scope": ({}, "one of the following is required: homeserver, federation, haproxy, postgresql, redis"),
    "a scope that is none": ({"redis": {}, "rediss": {}}, "Unsupported parameters"),
    "an option that is none": ({"redis": {"prot": 1}}, "Unsupported parameters"),
    "a wrong type": ({"redis": {"port": "many"}}, "redis"),
    "an option that cannot be right": ({"redis": {"port": 0}}, "redis.port: 0 is not a port; give a number from 1 to"),
    "two of them": ({"redis": {"port": 0}, "timeout": 0}, "timeout: 0 is no time to wait"),
}


@pytest.mark.parametrize(("given", "words"), ERRORS.values(), ids=list(ERRORS))
def test_task_fails_before_anything_is_looked_at_with(call: Call, given: dict[str, Any], words: str) -> None:
    result = call(**given)
    assert result["failed"] and words in result["msg"] and "report" not in result


# The documentation.


def documented(options: dict[str, Any]) -> dict[str, Any]:
    """Return documented options in the words of an argument spec."""
    spec = {}
    for name, option in options.items():
        assert option["description"], name
        rules = {key: option[key] for key in ("type", "required", "default", "choices", "elements") if key in option}
        if "suboptions" in option:
            rules["options"] = documented(option["suboptions"])
        spec[name] = rules
    return spec


def specified(options: dict[str, Any]) -> dict[str, Any]:
    """Return an argument spec without what documentation does not tell."""
    spec = {}
    for name, option in options.items():
        rules = {key: value for key, value in option.items() if key != "no_log"}
        if "options" in option:
            rules["options"] = specified(option["options"])
        spec[name] = rules
    return spec


def test_documented_options_are_those_of_the_argument_spec() -> None:
    fragments = (_observer, _checks, _https)
    texts = (matrixon_health.DOCUMENTATION, *(one.ModuleDocFragment.DOCUMENTATION for one in fragments))
    options = {name: option for text in texts for name, option in yaml.safe_load(text)["options"].items()}
    assert documented(options) == specified(matrixon_health.argument_spec())


@pytest.mark.parametrize("task", yaml.safe_load(matrixon_health.EXAMPLES), ids=lambda task: task["name"])
def test_example_is_accepted(task: dict[str, Any]) -> None:
    given = task.get("matrixon.ops.matrixon_health")
    if given is None:
        assert "health." in json.dumps(task)
        return
    validator = ArgumentSpecValidator(matrixon_health.argument_spec())
    assert validator.validate(given).error_messages == []


def test_returned_report_is_documented() -> None:
    contains = yaml.safe_load(matrixon_health.RETURN)["report"]["contains"]
    assert set(contains) == set(SCHEMA["properties"])
    sample = {key: value["sample"] for key, value in contains.items()}
    jsonschema.validate(sample, SCHEMA)
