"""The modules as Ansible runs them, and a store of sets that they work on."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

from clusters import Cluster

ROOT = pathlib.Path(__file__).resolve().parents[3]
OWNER = "postgres" if os.geteuid() == 0 else None


def start(module: str, **arguments: t.Any) -> subprocess.Popen[str]:
    """Run a module as Ansible does: a process of its own, options on standard input."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / f"plugins/modules/{module}.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / ".build/collections")},
        text=True,
    )
    assert process.stdin
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
    process.stdin.close()
    process.stdin = None
    return process


def answer(process: subprocess.Popen[str]) -> dict[str, t.Any]:
    """Return what a module said."""
    out, err = process.communicate(timeout=120)
    assert out.strip(), err
    return json.loads(out)


class Store:
    """A store of sets, and the modules that work on it."""

    def __init__(self, root: pathlib.Path, server: Cluster) -> None:
        self.root, self.server = root, server
        self.options = {"root": str(root), "deployment": "test", "profile": "synapse", "server": "db1", "owner": OWNER}
        self.database = {"host": str(server.socket), "port": server.port}

    @property
    def path(self) -> pathlib.Path:
        return self.root / "test/db1"

    @property
    def sets(self) -> list[str]:
        """Names of the sets that can be seen."""
        names = os.listdir(self.path / "sets") if (self.path / "sets").exists() else []
        return sorted(name for name in names if not name.startswith("."))

    def start(self, module: str, *, check: bool = False, **options: t.Any) -> subprocess.Popen[str]:
        return start(module, **{**self.options, **options, "_ansible_check_mode": check})

    def call(self, module: str, *, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        return answer(self.start(module, check=check, **options))

    def backup(self, check: bool = False, database: dict[str, t.Any] | None = None, **options: t.Any) -> dict:
        return self.call("matrixon_backup", check=check, database={**self.database, **(database or {})}, **options)

    def good(self, module: str, **options: t.Any) -> dict[str, t.Any]:
        result = self.call(module, **options)
        assert not result.get("failed"), result["msg"]
        return result

    def made(self, **options: t.Any) -> str:
        result = self.backup(**options)
        assert not result.get("failed"), result["msg"]
        return result["set"]["id"]

    def statuses(self, result: dict[str, t.Any]) -> dict[str, str]:
        return {check["name"]: check["status"] for check in result["report"]["checks"]}
