#!/usr/bin/env python
"""Install the Debian packages that a command of this checkout needs.

    system.py COMMAND=PACKAGE...

A package is asked for only when its command is missing. Nothing is started:
the tests and the lab run the servers themselves, on their own ports.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

POLICY = pathlib.Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\n# Written by tests/tools/system.py for one installation.\nexit 101\n"


@contextlib.contextmanager
def no_service_starts() -> Iterator[None]:
    """Have the package scripts start nothing; leave a policy of the machine's owner alone."""
    ours = not POLICY.exists() or POLICY.read_text() == POLICY_TEXT
    if ours:
        POLICY.write_text(POLICY_TEXT)
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink()


def install(packages: list[str]) -> None:
    """Install packages with apt-get, or end with one message that names them."""
    names = " ".join(packages)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(f"This machine lacks {names}. As root:\n\n    apt-get install {names}\n\nThen call make again.")
    print(f"apt-get install {names}", flush=True)
    started = time.monotonic()
    apt = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300"]
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with no_service_starts():
        for command in ([*apt, "update"], [*apt, "install", "--no-install-recommends", *packages]):
            done = subprocess.run(
                command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
            )
            if done.returncode != 0:
                sys.exit(f"{done.stdout}\n{' '.join(command)} failed with exit code {done.returncode}")
    print(f"installed in {time.monotonic() - started:.0f} s", flush=True)


def install_missing(wanted: dict[str, str]) -> None:
    """Install the packages, by command, whose commands are missing."""
    # Debian keeps the commands of servers in sbin, which a user's PATH lacks.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    missing = [package for command, package in wanted.items() if not shutil.which(command, path=path)]
    if missing:
        install(missing)


if __name__ == "__main__":
    install_missing(dict(argument.split("=") for argument in sys.argv[1:]))
