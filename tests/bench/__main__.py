"""Measure: ``health``, ``backup``, ``certificates``, ``failback``, ``security``, or all in turn.

``backup --help`` and so on list the sizes.
"""

from __future__ import annotations

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The benches work with the handles of the integration tests, and with the collection.
PATHS = (
    "tests/tools",
    "tests/integration",
    "tests/integration/backup",
    "tests/integration/dr",
    "tests/integration/ssl",
    ".build/collections",
)
BENCHES = ("health", "backup", "certificates", "failback", "security")


def main(words: list[str]) -> None:
    """Run the benches that were asked for."""
    sys.path[:0] = [str(ROOT / path) for path in PATHS]
    which, rest = (words[0], words[1:]) if words else ("all", [])
    if which not in (*BENCHES, "all"):
        raise SystemExit(f"there is no bench {which!r}; there are {', '.join(BENCHES)} and all")
    if which in ("health", "all"):
        import health

        health.main()
    if which in ("backup", "all"):
        import backup

        backup.main(rest)
    if which in ("certificates", "all"):
        import certificates

        certificates.main(rest)
    if which in ("failback", "all"):
        import failback

        failback.main(rest)
    if which in ("security", "all"):
        import security

        security.main(rest)


if __name__ == "__main__":
    main(sys.argv[1:])
