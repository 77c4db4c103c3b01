"""Tests of the certificates in a health report."""

from __future__ import annotations

import datetime
import pathlib
from typing import Any

import pytest
import servers
import trustme
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from certificates import DAY, NOW, make

from ansible_collections.matrixon.ops.plugins.module_utils._health import certificates
from ansible_collections.matrixon.ops.plugins.module_utils._health.run import check_health
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._report import CheckResult
from ansible_collections.matrixon.ops.plugins.module_utils._ssl import certificate
from ansible_collections.matrixon.ops.plugins.module_utils._ssl import run as checker
from ansible_collections.matrixon.ops.plugins.modules.matrixon_health import argument_spec

BASE = {"target": "h", "deployment": "d", "profile": "p", "deadline": 10}


def run(**given: Any) -> dict[tuple[str, str], CheckResult]:
    """Return the checks of a run by name and target."""
    checked = ArgumentSpecValidator(argument_spec()).validate({**BASE, **given})
    assert not checked.error_messages, checked.error_messages
    return {(check.name, check.target): check for check in check_health(checked.validated_parameters).checks}


@pytest.fixture
def good(serve: Any, authority: trustme.CA, ca_file: str) -> dict[str, Any]:
    """Return options with a good endpoint."""
    server = serve(servers.silent, servers.tls_for(authority, "m.test"))
    endpoint = {"host": "m.test", "address": "127.0.0.1", "port": server.port, "name": "good"}
    return {"ca_file": ca_file, "certificates": {"endpoints": [endpoint]}}


def test_checks_are_those_of_the_checker(good: dict[str, Any]) -> None:
    found = run(**good)
    assert {name for name, _target in found} == {check.name for check in certificates.CHECKS}
    well = {name for (name, target), check in found.items() if check.status == "ok" and target == "good"}
    assert {"certificate_connection", "certificate_expiry", "certificate_trust", "certificate_name"} <= well
    assert found["certificate_expiry", "good"].unit == "s"
    assert found["certificate_expiry", "good"].value > 86400
    # What nobody asked for is skipped, and no fault.
    assert {check.status for check in found.values()} == {"ok", "skipped"}


def test_one_target_hides_no_other(good: dict[str, Any], closed_port: int, tmp_path: pathlib.Path) -> None:
    good["certificates"]["endpoints"].append({"host": "127.0.0.1", "port": closed_port, "name": "dead"})
    good["certificates"]["files"] = [{"path": str(tmp_path / "missing"), "name": "file"}]
    found = run(**good)
    bad = {key: check.status for key, check in found.items() if check.status not in ("ok", "skipped")}
    assert bad == {
        ("certificate_connection", "dead"): "critical",
        ("certificate_expiry", "dead"): "unknown",
        ("certificate_file", "file"): "critical",
        ("certificate_expiry", "file"): "unknown",
    }


def test_expiry_of_what_was_not_seen_is_not_good_by_selection(good: dict[str, Any], closed_port: int) -> None:
    good["certificates"]["endpoints"].append({"host": "127.0.0.1", "port": closed_port, "name": "dead"})
    found = run(**good, checks=["certificate_expiry"])
    assert {key: check.status for key, check in found.items()} == {
        ("certificate_expiry", "good"): "ok",
        ("certificate_expiry", "dead"): "unknown",
    }


def test_limits_are_those_of_the_scope(tmp_path: pathlib.Path) -> None:
    today = (datetime.datetime.now(datetime.timezone.utc) - NOW) / DAY
    made = make(begins=today - 70, ends=today + 20)
    (tmp_path / "it.pem").write_bytes(made.pem)

    def status(**limits: float) -> str:
        scope = {"files": [{"path": str(tmp_path / "it.pem"), "name": "it"}], **limits}
        return run(certificates=scope)["certificate_expiry", "it"].status

    assert status() == "warning"
    assert status(warning_days=19) == "ok"
    assert status(critical_days=21, critical_share=0.3) == "critical"


def test_what_hangs_is_told_by_name_before_the_deadline(good: dict[str, Any], serve: Any) -> None:
    hung = {"host": "127.0.0.1", "port": serve(servers.silent).port, "name": "hung"}
    good["certificates"]["endpoints"].append(hung)
    found = run(**good, deadline=0.8)
    assert found["certificate_connection", "good"].status == "ok"
    late = found["certificate_connection", "hung"]
    assert (late.status, late.error_kind) == ("unknown", "timeout")


def test_looks_end_before_the_probe_does(good: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    tools_for = checker.tools_for

    def watched(http: Any, policy: Any, timeout: float, deadline: Any, **more: Any) -> Any:
        seen.append(deadline.seconds)
        return tools_for(http, policy, timeout, deadline, **more)

    monkeypatch.setattr(checker, "tools_for", watched)
    run(**good, deadline=10)
    assert 8 < seen[0] < 9.1


def test_connect_to_and_trust_are_those_of_the_run(good: dict[str, Any]) -> None:
    port = good["certificates"]["endpoints"][0]["port"]
    given = {"ca_file": good["ca_file"], "certificates": {"endpoints": [{"host": "m.test"}]}}
    found = run(**given, connect_to={"m.test:443": f"127.0.0.1:{port}"})
    assert found["certificate_connection", "m.test:443"].status == "ok"
    assert run(certificates=good["certificates"])["certificate_chain", "good"].status == "critical"


def test_without_cryptography_all_is_unknown(good: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate, "HAS_CRYPTOGRAPHY", False)
    found = run(**good)
    assert {(check.status, check.error_kind) for check in found.values()} == {("unknown", "missing_tool")}


WRONG = {
    "nothing": ({}, "certificates.endpoints: there is nothing to look at"),
    "a port": ({"endpoints": [{"host": "a", "port": 0}]}, "certificates.endpoints[0].port: 0 is not a port"),
    "a limit": ({"server_names": ["a.test"], "warning_days": 1}, "certificates.warning_days: 1 is below critical_days"),
    "a timeout": ({"server_names": ["a.test"], "timeout": 0}, "certificates.timeout: 0 is no time to wait"),
}


@pytest.mark.parametrize(("given", "sentence"), WRONG.values(), ids=list(WRONG))
def test_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionErrors) as caught:
        run(certificates=given)
    assert str(caught.value).startswith(sentence)
