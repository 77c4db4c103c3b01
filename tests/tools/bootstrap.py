#!/usr/bin/env python
"""Make the checkout ready for work: .venv and the collection's name.

Runs with the machine's own Python and needs nothing beyond it. Does nothing
when everything is in place, so every make target calls it first.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import pathlib
import shutil
import subprocess
import sys
import time

import system

ROOT = pathlib.Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
STAMP = VENV / "stamp"
LINK = ROOT / ".build/collections/ansible_collections/matrixon/ops"
REQUIREMENTS = ROOT / "tests/requirements.txt"
CONSTRAINTS = ROOT / "tests/constraints.txt"


def key() -> list[str]:
    """Name the Python that .venv is made of and the packages in it, in two words."""
    python = f"{sys.version} {sys.base_prefix}".encode()
    packages = REQUIREMENTS.read_bytes() + CONSTRAINTS.read_bytes()
    return [hashlib.sha256(part).hexdigest() for part in (python, packages)]


def has_pip() -> bool:
    """Tell if .venv is more than the rest of an interrupted start."""
    python = VENV / "bin/python"
    command = [python, "-m", "pip", "--version"]
    return python.exists() and subprocess.run(command, capture_output=True, check=False).returncode == 0


def make_venv() -> None:
    """Create .venv, or update it when the pins or the Python have changed."""
    old = STAMP.read_text().split() if STAMP.exists() else []
    if old == key():
        return
    started = time.monotonic()
    if not has_pip() or (old and old[0] != key()[0]):
        if importlib.util.find_spec("ensurepip") is None:
            system.install(["python3-venv"])
        print("Creating .venv", flush=True)
        shutil.rmtree(VENV, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    print("Installing what tests/requirements.txt names (some minutes the first time)", flush=True)
    pip = [VENV / "bin/python", "-m", "pip", "install", "-qq", "-r", REQUIREMENTS, "-c", CONSTRAINTS]
    if subprocess.call(pip) != 0:
        sys.exit("pip could not install what the tests need; its message is above")
    STAMP.write_text(" ".join(key()))
    print(f".venv is ready after {time.monotonic() - started:.0f} s", flush=True)


def make_link() -> None:
    """Let Ansible and Python find the checkout as matrixon.ops."""
    if LINK.is_symlink() and LINK.resolve() == ROOT:
        return
    LINK.parent.mkdir(parents=True, exist_ok=True)
    LINK.unlink(missing_ok=True)
    LINK.symlink_to(ROOT)


def main() -> None:
    """Do both, one caller at a time."""
    if sys.version_info < (3, 11):  # noqa: UP036  (an older Python can still read this file)
        sys.exit(f"Python 3.11 or later is needed, this is {sys.version.split()[0]}; try make PYTHON=/path/to/python3")
    (ROOT / ".build").mkdir(exist_ok=True)
    with open(ROOT / ".build/bootstrap.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_venv()
        make_link()


if __name__ == "__main__":
    main()
