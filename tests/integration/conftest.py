"""One lab for all integration tests, and ways to ask the module about it."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time
import typing as t

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODULE = ROOT / "plugins/modules/matrixon_health.py"
# Checkouts that test side by side give each lab a name and ports of its own.
NAME = os.environ.get("MATRIXON_LAB_NAME", "tests")
PORT_BASE = int(os.environ.get("MATRIXON_LAB_PORT_BASE", "19000"))


@dataclasses.dataclass
class Result:
    """What one call of the module printed, and how long it took."""

    document: dict[str, t.Any]
    output: str
    seconds: float

    @property
    def report(self) -> dict[str, t.Any]:
        return self.document["report"]

    @property
    def checks(self) -> list[dict[str, t.Any]]:
        return self.report["checks"]

    def check(self, name: str, target: str | None = None) -> dict[str, t.Any]:
        """The one check of that name, and of that target where there are several."""
        found = [c for c in self.checks if c["name"] == name and target in (None, c["target"])]
        assert len(found) == 1, f"{name} {target}: {[(c['name'], c['target']) for c in self.checks]}"
        return found[0]


class Lab:
    """A running lab, driven through its command line as a person would."""

    def __init__(self, name: str, port_base: int) -> None:
        self.name, self.port_base = name, port_base
        self.environment = {**os.environ, "MATRIXON_LAB_NAME": name, "MATRIXON_LAB_PORT_BASE": str(port_base)}

    def __call__(self, *words: str) -> None:
        command = [sys.executable, str(ROOT / "lab/lab.py"), *words]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    @property
    def facts(self) -> dict[str, t.Any]:
        return json.loads((self.dir / "facts.json").read_text())

    @property
    def dir(self) -> pathlib.Path:
        return pathlib.Path(f"/var/tmp/matrixon-lab-{self.name}")

    def secret(self, name: str) -> str:
        return str(self.dir / "secrets" / name)

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.facts['ports'][service]}"

    def options(self, **changes: t.Any) -> dict[str, t.Any]:
        """Options that look at the whole lab from one host."""
        ports, facts = self.facts["ports"], self.facts
        options = {
            "target": "lab",
            "deployment": "lab",
            "profile": "synapse",
            "connect_to": facts["connect_to"],
            "ca_file": facts["ca_file"],
            "timeout": 3,
            "skip_checks": {"time_offset": "the lab has one clock", "failed_units": "the lab has no systemd"},
            "homeserver": {
                "instances": [{"name": name, "url": self.url(name)} for name in ("main", "worker1", "worker2")],
                "public_url": facts["public_url"],
                "room_id": facts["canary_room_id"],
                "sender_token_file": self.secret("canary_sender_token"),
                "reader_token_file": self.secret("canary_reader_token"),
                "canary_timeout": 5,
                "self_report_path": "/health",
            },
            "federation": {"server_name": facts["server_name"], "expected": facts["delegation"]},
            "haproxy": {
                "socket": facts["sockets"]["haproxy"],
                "backends": [
                    {"name": "homeserver_main", "expected": 1},
                    {"name": "homeserver_workers", "expected": 2},
                    {"name": "homeserver_sync", "expected": 2},
                ],
            },
            "postgresql": {
                "port": ports["postgresql"],
                "database": "synapse",
                "user": "monitor",
                "password_file": self.secret("monitor_password"),
                "nodes": [{"name": "db1", "host": "127.0.0.1", "port": ports["postgresql"]}],
            },
            "redis": {"port": ports["redis"], "password_file": self.secret("redis_password")},
            "system": {"mounts": [str(self.dir)]},
        }
        return merged(options, changes)

    def health(
        self, *, check_mode: bool = False, environment: dict[str, str] | None = None, **changes: t.Any
    ) -> Result:
        """Call the module as Ansible does: a process of its own, options on standard input."""
        arguments = {**self.options(**changes), "_ansible_check_mode": check_mode}
        return call_module(arguments, environment)

    def settle(self, seconds: float = 60) -> None:
        """Wait until nothing is critical or unknown any more."""
        end = time.monotonic() + seconds
        while True:
            result = self.health()
            if result.report["status"] in ("ok", "warning"):
                return
            assert time.monotonic() < end, result.document["msg"]
            time.sleep(0.5)


def call_module(arguments: dict[str, t.Any], environment: dict[str, str] | None = None) -> Result:
    """Run matrixon_health as a process and return what it printed."""
    path = str(ROOT / ".build/collections")
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(MODULE)],
        input=json.dumps(
            {"ANSIBLE_MODULE_ARGS": {name: value for name, value in arguments.items() if value is not None}}
        ),
        env={**os.environ, "PYTHONPATH": path, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    seconds = time.monotonic() - started
    assert done.stdout.strip(), done.stderr
    return Result(json.loads(done.stdout), done.stdout + done.stderr, seconds)


def merged(base: dict[str, t.Any], changes: dict[str, t.Any]) -> dict[str, t.Any]:
    """Nested options over nested options; None takes an option out."""
    result = dict(base)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


@pytest.fixture(scope="session")
def lab() -> t.Iterator[Lab]:
    """The lab of the tests, started once and taken down at the end."""
    running = Lab(NAME, PORT_BASE)
    running("up")
    running.settle()
    yield running
    running("down")
