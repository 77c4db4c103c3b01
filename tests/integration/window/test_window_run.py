"""Whole windows by their playbooks: announced, opened, run, closed; left open, run out, healed."""

from __future__ import annotations

import datetime
import json
import pathlib
import typing as t

import jsonschema
import pytest
import servers
import yaml
from windows import ADMIN, ROOT, Alerts, Edge, module, now, play, proven_set, stamp

pytestmark = pytest.mark.integration

SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
VERSIONS = "/_matrix/client/versions"


class Fleet:
    """One host that is load balancer and homeserver, which is this machine."""

    def __init__(self, place: pathlib.Path, edge: Edge, alerts: Alerts) -> None:
        self.place, self.edge = place, edge
        self.told: list[dict[str, t.Any]] = []
        self.chat = servers.Server(self._chat)
        proven_set(place / "sets")
        self.window = {
            "id": "db",
            "starts": stamp(now() - datetime.timedelta(minutes=1)),
            "ends": stamp(now() + datetime.timedelta(hours=1)),
            "summary": "The database is updated.",
            "affects": ["homeserver"],
            "rollback": "restore the set of today",
        }
        self.variables = {
            **edge.variables,
            "matrixon_report_dir": str(place / "reports"),
            "matrixon_backup_root": str(place / "sets"),
            "backup_database_enabled": False,
            "backup_media_enabled": False,
            "health_public": False,
            "health_checks": ["disk_space"],
            "notify_state_dir": str(place / "told"),
            "notify_channels": [
                {"name": "chat", "type": "webhook", "webhook_url": f"http://127.0.0.1:{self.chat.port}/hook"}
            ],
            "maintenance_window_dir": str(place / "windows"),
            "maintenance_window_alertmanager_url": alerts.url,
            "maintenance_window_short_notice": "the test cannot wait",
            "maintenance_window_answer": "all",
        }
        hosts = {
            "all": {
                "vars": self.variables,
                "children": {"load_balancer": {"hosts": {"hs1": {}}}, "homeserver": {"hosts": {"hs1": {}}}},
            }
        }
        (place / "hosts.yml").write_text(yaml.safe_dump(hosts))

    def _chat(self, sock: t.Any, server: t.Any) -> None:
        with sock.makefile("rwb") as stream:
            length = 0
            while line := stream.readline().strip():
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            self.told.append(json.loads(stream.read(length)))
            stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    def run(self, name: str, *words: str, **variables: t.Any) -> tuple[int, str]:
        given = {"maintenance_window": self.window, **variables}
        return play(ROOT / f"playbooks/{name}.yml", self.place / "hosts.yml", *words, **given)

    @property
    def journal(self) -> dict[str, t.Any]:
        return dict(json.loads((self.place / "windows/example.test/db.json").read_text()))

    def report(self, window: str = "db") -> dict[str, t.Any]:
        report = json.loads((self.place / f"reports/hosts/maintenance_window-{window}.json").read_text())
        jsonschema.validate(report, SCHEMA)
        return dict(report)

    def verdicts(self, window: str = "db") -> dict[str, str]:
        checks = self.report(window)["checks"]
        return {f"{check['name']} {check['target']}": check["status"] for check in checks}


@pytest.fixture
def fleet(tmp_path: pathlib.Path, edge: Edge, alerts: Alerts) -> t.Iterator[Fleet]:
    made = Fleet(tmp_path, edge, alerts)
    yield made
    made.chat.close()


def inside(place: pathlib.Path) -> str:
    """A playbook for the window: what a client sees in it, then a step with leave, and one for which time is short."""
    ask = {
        "name": "See what clients see",
        "ansible.builtin.uri": {
            "url": "https://127.0.0.1:{{ client_port }}" + VERSIONS,
            "validate_certs": False,
            "status_code": [200, 503],
        },
        "register": "seen",
    }
    keep = {"ansible.builtin.copy": {"content": "{{ seen.status }}", "dest": str(place / "seen"), "mode": "0600"}}
    guard = {"name": "matrixon.ops.maintenance_window", "tasks_from": "guard"}
    step = {"ansible.builtin.include_role": guard, "vars": {"maintenance_window_step": "update hs1"}}
    late = {
        "ansible.builtin.include_role": guard,
        "vars": {"maintenance_window_step": "reboot hs1", "maintenance_window_margin": "{{ margin }}"},
    }
    never = {"ansible.builtin.copy": {"content": "done", "dest": str(place / "rebooted"), "mode": "0600"}}
    plays = [
        {"hosts": "homeserver", "gather_facts": False, "tasks": [step, ask, keep]},
        {"hosts": "homeserver", "gather_facts": False, "tasks": [late, never]},
    ]
    path = place / "inside.yml"
    path.write_text(yaml.safe_dump(plays))
    return str(path)


def test_a_window_from_the_announcement_to_the_report_and_one_that_was_left_open(fleet: Fleet, alerts: Alerts) -> None:
    for dummy in range(2):
        code, output = fleet.run("maintenance_window_announce")
        assert code == 0, output
    assert len(fleet.told) == 1 and "The database is updated." in json.dumps(fleet.told[0])
    assert "UTC" in json.dumps(fleet.told[0]) and "the test cannot wait" in json.dumps(fleet.told[0])
    assert output.count("changed=0") == output.count("changed="), output
    assert ("maintenance window db of example.test", "active") in alerts.silences()
    assert alerts.silenced(deployment="example.test", host="hs1")
    assert not alerts.silenced(deployment="example.test", host="lb1")

    given = {"maintenance_window_playbook": inside(fleet.place), "client_port": fleet.edge.port, "margin": 7200}
    code, output = fleet.run("maintenance_window", **given)
    # In the window clients got the answer, the step without leave was not taken, and now all is as before.
    assert code != 0 and "critical: not done: reboot hs1" in output, output
    assert (fleet.place / "seen").read_text() == "503"
    assert not (fleet.place / "rebooted").exists()
    assert fleet.edge.get(VERSIONS)[0] == 200
    assert not alerts.silenced(deployment="example.test", host="hs1")
    assert fleet.journal["state"] == "closed"
    verdicts = fleet.verdicts()
    assert verdicts.pop("window_steps db") == "critical" and verdicts.pop("window_announced db") == "warning"
    assert set(verdicts.values()) == {"ok"}, verdicts
    assert {"window_health hs1", "window_answer hs1", "window_silence db"} <= set(verdicts)
    assert len(fleet.told) == 3 and "NOT all is well" in json.dumps(fleet.told[-1])

    # As a controller leaves it that died in the next window, which was over before somebody came.
    left_open(fleet, alerts)
    assert fleet.edge.get(VERSIONS)[0] == 503 and fleet.edge.get(VERSIONS, source=ADMIN)[0] == 200
    full = {"disk_space": {"warning": 0.0001, "critical": 0.0002}}
    code, output = fleet.run("maintenance_window_close", health_thresholds=full)
    assert code != 0 and "ran out" in output, output
    assert fleet.edge.get(VERSIONS)[0] == 200
    assert not alerts.silenced(deployment="example.test", host="hs1")
    verdicts = fleet.verdicts("later")
    assert verdicts["window_time later"] == verdicts["window_health hs1"] == "critical"
    assert "The way back: restore the set of today" in json.dumps(fleet.told[-1])

    count = len(fleet.told)
    code, output = fleet.run("maintenance_window_close")
    assert code == 0 and "no window is open" in output and len(fleet.told) == count


def left_open(fleet: Fleet, alerts: Alerts) -> None:
    """Leave another window open: its journal, its silence, its answer."""
    window = {**fleet.window, "id": "later", "ends": stamp(now() - datetime.timedelta(seconds=5))}
    found = {**fleet.journal, "window": window, "state": "open", "closed": None, "steps": [], "refused": []}
    (fleet.place / "windows/example.test/later.json").write_text(json.dumps(found))
    later = stamp(now() + datetime.timedelta(hours=1))
    made = module(
        "matrixon_silence",
        url=alerts.url,
        comment="maintenance window later of example.test",
        matchers=[{"name": "host", "value": "hs1"}],
        starts=stamp(now()),
        ends=later,
    )
    assert made["id"], made
    given = {"socket": fleet.edge.socket, "map": fleet.edge.map, "answer": "all", "until": later}
    assert module("matrixon_maintenance_answer", **given)["changed"]
