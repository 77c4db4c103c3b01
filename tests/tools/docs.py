"""Check that the documentation of every plugin and role can be built, and the changelog too."""

from __future__ import annotations

import json
import subprocess
import sys


def passes(*command: str) -> bool:
    """Run one command; what it prints tells what is wrong."""
    return subprocess.call(command) == 0


def shows_all(kind: str) -> bool:
    """Let ansible-doc render every page of a kind. The pages themselves are of no interest here."""
    doc = ["ansible-doc", "--type", kind]
    names = json.loads(subprocess.check_output([*doc, "--list", "--json", "matrixon.ops"]))
    return not names or subprocess.call([*doc, *names], stdout=subprocess.DEVNULL) == 0


good = passes("antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs=self", ".")
good &= passes("antsibull-changelog", "lint")
for kind in ("module", "filter", "lookup", "role"):
    good &= shows_all(kind)
sys.exit(not good)
