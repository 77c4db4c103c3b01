"""The module as Ansible calls it, and what it printed."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[3]
MODULE = ROOT / "plugins/modules/matrixon_security_audit_info.py"


@dataclasses.dataclass
class Audited:
    """What the module printed."""

    document: dict[str, t.Any]
    output: str

    @property
    def weak(self) -> set[str]:
        return {finding["id"] for finding in self.document["findings"]}

    def statuses(self, *names: str) -> dict[str, str]:
        return {check["name"]: check["status"] for check in self.document["report"]["checks"] if check["name"] in names}


def audit(**options: t.Any) -> Audited:
    """Call the module in a process of its own, with its options on standard input."""
    base = {"target": "host1", "deployment": "example", "profile": "synapse", "detail": "full"}
    done = subprocess.run(
        [sys.executable, str(MODULE)],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {**base, **options}}),
        env={**os.environ, "PYTHONPATH": str(ROOT / ".build/collections")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip(), done.stderr
    return Audited(json.loads(done.stdout), done.stdout + done.stderr)
