"""Tests of the deployment's names in a health report."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.matrixon.ops.plugins.module_utils._dns import look, query
from ansible_collections.matrixon.ops.plugins.module_utils._dns.model import Answer
from ansible_collections.matrixon.ops.plugins.module_utils._health import dns
from ansible_collections.matrixon.ops.plugins.module_utils._health.run import check_health
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._report import CheckResult
from ansible_collections.matrixon.ops.plugins.modules.matrixon_health import argument_spec

BASE = {"target": "h", "deployment": "d", "profile": "p", "deadline": 5}
RECORDS = [{"name": "matrix.example.com"}]


def run(**given: Any) -> dict[tuple[str, str], CheckResult]:
    """Return the checks of a run by name and target."""
    checked = ArgumentSpecValidator(argument_spec()).validate({**BASE, **given})
    assert not checked.error_messages, checked.error_messages
    return {(check.name, check.target): check for check in check_health(checked.validated_parameters).checks}


@pytest.fixture
def ttl(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The TTL that every server tells."""
    told = {"ttl": 60}

    def look_up(server: Any, at: Any, name: str, kind: str, deadline: Any) -> Answer:
        return Answer(server, name, "answered", ("7" if kind == "SOA" else "192.0.2.1",), told["ttl"])

    monkeypatch.setattr(query, "look_up", look_up)
    monkeypatch.setattr(look, "_first", lambda servers, name, tools, deadline, recurse: "example.com")
    return told


def test_checks_are_those_of_the_module(ttl: dict[str, int]) -> None:
    found = run(dns={"records": RECORDS, "servers": ["192.0.2.53", "192.0.2.54"]})
    assert {name for name, _target in found} == {check.name for check in dns.CHECKS}
    assert {check.status for check in found.values()} == {"ok"}
    assert found["dns_ttl", "matrix.example.com A"].value == 60


@pytest.mark.parametrize(("given", "status"), [({}, "warning"), ({"max_ttl": 61}, "ok"), ({"max_ttl": 60}, "warning")])
def test_the_limit_is_that_of_the_scope(ttl: dict[str, int], given: dict[str, int], status: str) -> None:
    ttl["ttl"] = 61
    found = run(dns={"records": RECORDS, "servers": ["192.0.2.53"], **given})
    assert found["dns_ttl", "matrix.example.com A"].status == status


def test_without_a_zone_the_record_says_so_and_nothing_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_words: Any, **_more: Any) -> str:
        raise query.ProbeFailure("timeout", "nobody answers")

    monkeypatch.setattr(look, "_first", nobody)
    found = run(dns={"records": RECORDS, "servers": ["192.0.2.53"]})
    assert {name: check.status for (name, _target), check in found.items()} == {
        "dns_servers": "skipped",
        "dns_record": "unknown",
        "dns_ttl": "unknown",
        "dns_serial": "skipped",
    }
    assert "nobody answers" in found["dns_record", "matrix.example.com A"].message


def test_without_dnspython_all_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "HAS_DNSPYTHON", False)
    found = run(dns={"records": RECORDS})
    assert {(check.status, check.error_kind) for check in found.values()} == {("unknown", "missing_tool")}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a name": ({"dns": {"records": [{"name": "x"}]}}, "dns.records[0].name: 'x' is no full name"),
    "a limit": ({"dns": {"records": RECORDS, "max_ttl": -1}}, "dns.max_ttl: -1 is no TTL"),
    "a threshold": (
        {"dns": {"records": RECORDS}, "thresholds": {"dns_ttl": {"warning": 5}}},
        "thresholds.dns_ttl: the verdict of this check depends on no threshold",
    ),
}


@pytest.mark.parametrize(("given", "sentence"), WRONG.values(), ids=list(WRONG))
def test_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionErrors) as caught:
        run(**given)
    assert str(caught.value).startswith(sentence)
