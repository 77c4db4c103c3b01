"""Somebody tries to get into the fleet, through HAProxy and by SSH: the report says who, and how often."""

from __future__ import annotations

import json
import pathlib
import typing as t
import uuid
from collections import Counter

import pytest

from lab.matrix import Client, MatrixError

REPORTS = pathlib.Path(__file__).resolve().parents[3] / "reports"
STATE = "/var/lib/matrixon-security"
SHOWN = '{"security_monitor_show": ["addresses", "users"], "security_monitor_fail_on": "never"}'
ATTEMPTS = 4


class Found(t.NamedTuple):
    """How the playbook ended, and the hosts of the report that it published."""

    run: t.Any
    hosts: dict[str, dict[str, t.Any]]

    def rows(self, ranking: str) -> dict[str, float]:
        """The rows of a ranking, over all hosts."""
        found: Counter[str] = Counter()
        for host in self.hosts.values():
            for table in host["facts"]["rankings"]:
                if table["name"] == ranking:
                    found.update({row[0]: row[1] for row in table["rows"]})
        return dict(found)

    def events(self) -> dict[str, int]:
        """The new events of all hosts."""
        found: Counter[str] = Counter()
        for host in self.hosts.values():
            found.update(host["facts"]["events"])
        return dict(found)


@pytest.fixture(scope="module")
def look(playbook: t.Any) -> t.Callable[..., Found]:
    def call(*words: str) -> Found:
        run = playbook("security_report", "-e", SHOWN, *words)
        document = json.loads((REPORTS / "security-molecule.json").read_text())
        assert document["kind"] == "security", document
        return Found(run, {host["target"]: host for host in document["hosts"]})

    return call


def test_who_tries_to_get_in_is_seen_once_and_by_its_own_address(
    look: t.Callable[..., Found], client_as: t.Callable[[str], Client], server: t.Callable[[str], t.Any]
) -> None:
    first = look()
    assert first.run.code == 0, first.run.output
    nobody = f"nobody-{uuid.uuid4().hex[:8]}"
    asker = client_as("matrix.fleet.test")
    for _attempt in range(ATTEMPTS):
        with pytest.raises(MatrixError):
            asker.login(nobody, "wrong")
    # Anybody can write as sshd; only what sshd itself wrote counts.
    server("lb1").check_output("logger -t sshd %s", "Failed password for root from 203.0.113.5 port 4242 ssh2")

    # Check mode publishes nothing and leaves the place: the next run counts what it saw.
    look("--check")
    server("hs1").check_output("test -s %s/events.json", STATE)
    found = look()
    name = f"@{nobody}:fleet.test"
    # One more than the burst of a limit may have been turned away before its name was looked at.
    tried = found.rows("users").get(name, 0)
    assert 0 < tried <= ATTEMPTS, found.hosts
    assert found.events().get("login_unknown_user", 0) == tried
    assert "ssh_failed" not in found.events()
    # The client's address, and not the load balancer's.
    assert "172.30.10.11" not in found.rows("addresses"), found.rows("addresses")
    assert found.rows("addresses"), found.hosts

    again = look()
    assert "login_unknown_user" not in again.events()
    mode = server("hs1").check_output("stat -c %%a:%%U %s %s/events.json %s/pseudonym.key", STATE, STATE, STATE)
    assert mode.split() == ["700:root", "600:root", "600:root"]


def test_a_report_names_nobody_unless_it_is_asked_to(playbook: t.Any, client_as: t.Callable[[str], Client]) -> None:
    nobody = f"nobody-{uuid.uuid4().hex[:8]}"
    with pytest.raises(MatrixError):
        client_as("matrix.fleet.test").login(nobody, "wrong")
    playbook("security_report", "-e", '{"security_monitor_fail_on": "never"}')
    text = (REPORTS / "security-molecule.json").read_text() + (REPORTS / "security-molecule.html").read_text()
    assert nobody not in text
