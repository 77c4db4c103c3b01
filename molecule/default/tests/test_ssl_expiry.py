"""The fleet's certificates as its operator and the outside see them."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

REPORTS = pathlib.Path(__file__).resolve().parents[3] / "reports"
PUBLIC = "/etc/ssl/matrixon/public/fullchain.pem"


class Found(t.NamedTuple):
    """How the playbook ended, and the checks of the report that it published."""

    code: int
    output: str
    checks: dict[tuple[str, str], dict[str, t.Any]]

    def status(self, name: str, target: str) -> str:
        return self.checks[name, target]["status"]


@pytest.fixture(scope="module")
def look(playbook: t.Any, ca: str) -> t.Callable[..., Found]:
    def call(*arguments: str) -> Found:
        run = playbook("ssl_expiry", "-e", f"ssl_expiry_outside_ca_file={ca}", *arguments)
        document = json.loads((REPORTS / "ssl_expiry-molecule.json").read_text())
        assert document["kind"] == "ssl_expiry", document
        found = [check for host in document["hosts"] for check in host["checks"]]
        checks = {(check["name"], check["target"]): check for check in found}
        return Found(run.code, run.output, checks)

    return call


def test_a_good_fleet_is_green(look: t.Callable[..., Found]) -> None:
    found = look("-e", "ssl_expiry_warning_days=20")
    assert found.code == 0, found.output
    assert {target for dummy, target in found.checks} >= {"fleet.test", "public", "database", PUBLIC}
    assert {check["status"] for check in found.checks.values()} <= {"ok", "skipped"}, found.checks


def test_a_certificate_that_was_renewed_and_is_not_served_is_told(
    look: t.Callable[..., Found], server: t.Callable[[str], t.Any]
) -> None:
    """HAProxy goes on with the old one until it is reloaded."""
    host = server("lb1")
    host.check_output("cp -a %s /run/public.pem", PUBLIC)
    try:
        host.check_output(
            "sh -c %s",
            f"openssl req -x509 -newkey rsa:2048 -nodes -keyout /dev/null -days 90 "
            f"-subj /CN=matrix.fleet.test -addext subjectAltName=DNS:matrix.fleet.test > {PUBLIC}",
        )
        found = look("-e", "ssl_expiry_warning_days=20")
        assert found.code != 0, found.output
    finally:
        host.check_output("mv /run/public.pem %s", PUBLIC)
    assert found.status("certificate_key_match", PUBLIC) == "critical"
    told = found.checks["certificate_served", PUBLIC]
    assert told["status"] == "warning" and "a reload was forgotten" in told["message"], told
    assert found.status("certificate_expiry", "public") == "ok"
