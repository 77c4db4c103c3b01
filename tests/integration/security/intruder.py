"""Somebody who tries to get into the lab, from addresses that are kept for documentation, and who watches for it."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time
import typing as t
import urllib.error
import urllib.request

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
MODULE = ROOT / "plugins/modules/matrixon_security_events_info.py"
PATTERNS = yaml.safe_load((ROOT / "roles/matrixon/files/profiles/synapse.yml").read_text())["security"]
PATTERNS.pop("log")

LOGIN = "/_matrix/client/v3/login"


class Intruder:
    """Asks processes of the lab by themselves, with an address as the load balancer would give it."""

    def __init__(self, facts: dict[str, t.Any]) -> None:
        self._facts = facts

    def ask(
        self, service: str, method: str, path: str, address: str, body: t.Any = None, token: str = "", **headers: str
    ) -> int:
        """Send one request; return the status of its answer."""
        given = {
            "Content-Type": "application/json",
            "X-Forwarded-For": address,
            "X-Forwarded-Proto": "https",
            **headers,
        }
        if token:
            given["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._facts['ports'][service]}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers=given,
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def login(self, user: str, address: str, service: str = "worker1") -> int:
        """Try a wrong password."""
        identifier = {"type": "m.id.user", "user": user}
        body = {"type": "m.login.password", "identifier": identifier, "password": "wrong"}
        return self.ask(service, "POST", LOGIN, address, body)

    def secret(self, name: str) -> str:
        """Return a secret of the lab."""
        return (pathlib.Path(self._facts["secrets_dir"]) / name).read_text().strip()


class Watch:
    """The module, looking at the logs of the lab with a place of its own."""

    def __init__(self, lab: t.Any, directory: pathlib.Path) -> None:
        self.lab, self.directory = lab, directory

    def __call__(self, check_mode: bool = False, **changes: t.Any) -> dict[str, t.Any]:
        ports = self.lab.facts["ports"]
        given = {
            "deployment": "lab",
            "profile": "synapse",
            "target": "lab",
            "patterns": PATTERNS,
            "log_files": [str(self.lab.dir / "log" / f"{name}.log") for name in ("main", "worker1", "worker2")],
            "host_log": False,
            "fail2ban": False,
            "service_ports": [ports["https"], ports["main"]],
            "state_dir": str(self.directory),
            "show": ["addresses", "users"],
            "detail": "full",
            "_ansible_check_mode": check_mode,
            **changes,
        }
        done = subprocess.run(
            [sys.executable, str(MODULE)],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": given}),
            env={**os.environ, "PYTHONPATH": str(ROOT / ".build/collections")},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.stdout.strip(), done.stderr
        return t.cast("dict[str, t.Any]", json.loads(done.stdout))

    def until(self, expected: dict[str, int]) -> dict[str, t.Any]:
        """Look, without moving the place, until the log holds what was done; then move it. Return that look."""
        end = time.monotonic() + 30
        while True:
            facts = self(check_mode=True)["report"]["facts"]
            if facts["events"] == expected and facts["with_address"] == sum(expected.values()):
                return self()
            assert time.monotonic() < end, (facts["events"], facts["with_address"], expected)
            time.sleep(0.2)
