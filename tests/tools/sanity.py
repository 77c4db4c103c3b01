"""Run `ansible-test sanity` in the current directory, with all arguments passed on."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
from types import SimpleNamespace

from ansible_test._internal.python_requirements import get_venv_packages

version = get_venv_packages(SimpleNamespace(version="3.11"))["pip"]
cache = pathlib.Path.home() / ".ansible/test/cache" / f"get_pip_{version.replace('.', '_')}.py"
if not cache.exists():
    cache.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(pathlib.Path(__file__).with_name("get_pip.py"), cache)
sys.exit(subprocess.call(["ansible-test", "sanity", "--color", "no", *sys.argv[1:]]))
