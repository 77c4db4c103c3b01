#!/usr/bin/env python
"""Run a command in a container of Debian 13, which has PostgreSQL 17 and pgBackRest 2.55.

    contained.py [--package NAME]... -- COMMAND...

It sees this checkout and may write only to reports/ and to /srv/work, which is
a volume of its own and goes with it.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
IMAGE = "matrixon-ops/host:trixie"
WORK = "/srv/work"
INSTALL = (
    "apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends $PACKAGES "
    '> /dev/null && exec "$@"'
)


def run(packages: t.Sequence[str], command: t.Sequence[str]) -> int:
    """Return the command's exit status."""
    if subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True, check=False).returncode:
        raise SystemExit(f"there is no image {IMAGE}; make it with: make images")
    reports = ROOT / "reports"
    reports.mkdir(exist_ok=True)
    argv = ["docker", "run", "--rm", "--init", f"--name=matrixon-ops-contained-{os.getpid()}"]
    # The memory of processes that belong to another user is closed without it.
    argv += ["--label=matrixon-ops=contained", "--cap-add=SYS_PTRACE", f"--workdir={ROOT}"]
    argv += [f"--volume={ROOT}:{ROOT}:ro", f"--volume={reports}:{reports}", f"--mount=type=volume,dst={WORK}"]
    argv += ["--volume=matrixon-ops-apt-trixie-contained:/var/cache/apt/archives"]
    passed = {key: os.environ[key] for key in ("SEED", "ROUNDS") if key in os.environ}
    environment = {"PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8", "PACKAGES": " ".join(packages), **passed}
    argv += [f"--env={key}={value}" for key, value in environment.items()]
    return subprocess.run([*argv, IMAGE, "bash", "-c", INSTALL, "bash", *command], check=False).returncode


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", action="append", default=[], help="a Debian package that the command needs")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    sys.exit(run(options.package, options.command))
