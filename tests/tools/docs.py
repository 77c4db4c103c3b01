"""Check that the documentation of every plugin and role can be built, and the changelog too."""

from __future__ import annotations

import pathlib
import subprocess
import sys


def passes(*command: str) -> bool:
    """Run one command; what it prints tells what is wrong."""
    return subprocess.call(command) == 0


def shows(kind: str, name: str) -> bool:
    """Let ansible-doc render one page. The page itself is of no interest here."""
    return subprocess.call(["ansible-doc", "--type", kind, name], stdout=subprocess.DEVNULL) == 0


def public(directory: str) -> list[str]:
    """Full names of the public plugins in a directory."""
    names = (path.stem for path in pathlib.Path(directory).glob("*.py"))
    return sorted(f"matrixon.ops.{name}" for name in names if not name.startswith("_"))


good = passes("antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs=self", ".")
good &= passes("antsibull-changelog", "lint")
for kind, directory in (("module", "plugins/modules"), ("filter", "plugins/filter")):
    for name in public(directory):
        good &= shows(kind, name)
for role in sorted(path.parents[1].name for path in pathlib.Path("roles").glob("*/meta/argument_specs.yml")):
    good &= shows("role", f"matrixon.ops.{role}")
sys.exit(not good)
