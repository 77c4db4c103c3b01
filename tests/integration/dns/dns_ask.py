"""matrixon_dns_info as Ansible runs it, and what it said."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parents[3]
MODULE = ROOT / "plugins/modules/matrixon_dns_info.py"


@dataclass(frozen=True)
class Said:
    """What one call of the module printed, and how long it took."""

    document: dict[str, t.Any]
    seconds: float

    def check(self, name: str, target: str | None = None) -> dict[str, t.Any]:
        """The one check of that name, and of that target where there are several."""
        found = [one for one in self.document["report"]["checks"] if one["name"] == name]
        found = [one for one in found if target in (None, one["target"])]
        assert len(found) == 1, self.document["report"]["checks"]
        return found[0]

    def status(self, name: str, target: str | None = None) -> str:
        return self.check(name, target)["status"]

    @property
    def loud(self) -> dict[tuple[str, str], str]:
        """The checks that are not ok."""
        checks = self.document["report"]["checks"]
        return {(one["name"], one["target"]): one["status"] for one in checks if one["status"] != "ok"}

    def outcomes(self) -> list[str]:
        return [one["outcome"] for one in self.document["records"][0]["answers"]]


def ask(
    *records: dict[str, t.Any],
    module: pathlib.Path = MODULE,
    lacking: pathlib.Path | None = None,
    **arguments: t.Any,
) -> Said:
    """Run a module in a process of its own, options on standard input.

    What is in ``lacking`` is imported in place of libraries.
    """
    path = [*([str(lacking)] if lacking else []), str(ROOT / ".build/collections")]
    options = {"deployment": "test", "profile": "synapse", "detail": "full", **arguments}
    if records:
        options["records"] = list(records)
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(module)],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": options}),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip(), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return Said(json.loads(done.stdout), time.monotonic() - started)
