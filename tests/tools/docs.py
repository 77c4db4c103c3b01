"""Check that the documentation of every plugin and role can be built, and the changelog too."""

from __future__ import annotations

import pathlib
import subprocess
import sys


def run(*command: str) -> bool:
    """Run one command; its own output says what is wrong."""
    return subprocess.run(command, stdout=subprocess.DEVNULL if command[0] == "ansible-doc" else None).returncode == 0


def public(directory: str) -> list[str]:
    """Full names of the public plugins in a directory."""
    names = (path.stem for path in pathlib.Path(directory).glob("*.py"))
    return sorted(f"matrixon.ops.{name}" for name in names if not name.startswith("_"))


good = run("antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs=self", ".")
good &= run("antsibull-changelog", "lint")
for kind, directory in (("module", "plugins/modules"), ("filter", "plugins/filter")):
    for name in public(directory):
        good &= run("ansible-doc", "--type", kind, name)
for role in sorted(path.parents[1].name for path in pathlib.Path("roles").glob("*/meta/argument_specs.yml")):
    good &= run("ansible-doc", "--type", "role", f"matrixon.ops.{role}")
sys.exit(not good)
