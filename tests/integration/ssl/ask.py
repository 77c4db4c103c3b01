"""matrixon_ssl_expiry as Ansible runs it, and what it said."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass

from cases import Expected

ROOT = pathlib.Path(__file__).resolve().parents[3]
MODULE = ROOT / "plugins/modules/matrixon_ssl_expiry.py"
QUIET = ("ok", "skipped")


@dataclass(frozen=True)
class Answer:
    """What one call of the module printed, and how long it took."""

    document: dict[str, t.Any]
    seconds: float

    @property
    def report(self) -> dict[str, t.Any]:
        return self.document["report"]

    @property
    def checks(self) -> list[dict[str, t.Any]]:
        return self.report["checks"]

    def of(self, label: str) -> dict[str, dict[str, t.Any]]:
        """The checks of one target by their names."""
        found = [check for check in self.checks if check["target"] == label]
        names = [check["name"] for check in found]
        assert found, f"nothing about {label}"
        assert len(set(names)) == len(names), f"twice: {sorted(names)}"
        return dict(zip(names, found, strict=True))


def ask(
    before: t.Callable[..., list[str]] | None = None, lacking: pathlib.Path | None = None, **arguments: t.Any
) -> Answer:
    """Run the module in a process of its own, options on standard input.

    ``before`` puts words before its command; what is in ``lacking`` is imported in place of libraries.
    """
    argv = [sys.executable, str(MODULE)]
    options = {"deployment": "test", "profile": "synapse", "detail": "full", "timeout": 2, **arguments}
    path = [str(ROOT / ".build/collections"), *([str(lacking)] if lacking else [])]
    started = time.monotonic()
    done = subprocess.run(
        before(*argv) if before else argv,
        input=json.dumps({"ANSIBLE_MODULE_ARGS": options}),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(reversed(path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip(), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return Answer(json.loads(done.stdout), time.monotonic() - started)


def assert_said(checks: dict[str, dict[str, t.Any]], expected: Expected) -> None:
    """Hold the checks of a target against a table; what it does not name must be quiet."""
    loud = {name: check for name, check in checks.items() if check["status"] not in QUIET}
    assert set(loud) == set(expected), {name: check.get("message") for name, check in loud.items()}
    for name, (status, kind, message) in expected.items():
        check = checks[name]
        assert (check["status"], check.get("error_kind")) == (status, kind), check
        label, _colon, said = check["message"].partition(": ")
        assert label == check["target"]
        assert re.fullmatch(message, said), f"{said!r} is not {message!r}"
