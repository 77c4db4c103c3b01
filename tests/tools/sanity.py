"""Run `ansible-test sanity` in the current directory, with all arguments passed on."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
from types import SimpleNamespace

from ansible_test._internal.python_requirements import get_venv_packages


def provide_get_pip() -> None:
    """Lay our get_pip.py where ansible-test would keep the one that it downloads."""
    version = get_venv_packages(SimpleNamespace(version="3.11"))["pip"]
    cached = pathlib.Path.home() / ".ansible/test/cache" / f"get_pip_{version.replace('.', '_')}.py"
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(pathlib.Path(__file__).with_name("get_pip.py"), cached)


# The oldest and the newest that modules may meet. What passes with both is taken to pass with those between.
ENDS = ("3.9", "3.13")


def skip_pyenv_shims() -> None:
    """Put two of pyenv's Pythons on PATH in the place of its shims.

    ansible-test imports and compiles everything with each Python that it finds,
    and stops at one that exists by name only, as the shims of inactive versions do.
    """
    if shutil.which("pyenv"):
        root = pathlib.Path(subprocess.check_output(["pyenv", "root"], text=True).strip())
        path = [entry for entry in os.environ["PATH"].split(os.pathsep) if pathlib.Path(entry) != root / "shims"]
        found = [entry for end in ENDS for entry in sorted(root.glob(f"versions/{end}.*/bin"))]
        os.environ["PATH"] = os.pathsep.join([*path, *map(str, found)])


provide_get_pip()
skip_pyenv_shims()
sys.exit(subprocess.call(["ansible-test", "sanity", "--color", "no", *sys.argv[1:]]))
