"""A primary and its standby, made once and copied for each test."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import sys
import tempfile
import typing as t

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "backup"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3]))

from pairs import Pair, Parted, Template, numbers

from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster
from lab import software


@pytest.fixture(scope="session")
def major() -> int:
    """The newest PostgreSQL server that is installed; the lab's packages bring one."""
    software.ensure_packages()
    found = [
        number for number in cluster.installed() if pathlib.Path(f"/usr/lib/postgresql/{number}/bin/initdb").exists()
    ]
    assert found, "no PostgreSQL server is installed"
    return found[0]


@pytest.fixture(scope="session")
def base() -> t.Iterator[pathlib.Path]:
    """A directory that PostgreSQL's user can enter; pytest's own are closed to him."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="matrixon-dr-", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def template(base: pathlib.Path, major: int) -> Template:
    """A pair that is stopped."""
    return Template(base / "template", major)


@pytest.fixture(scope="session")
def parted(template: Template, base: pathlib.Path) -> Parted:
    """A stopped old primary, and the new one."""
    with contextlib.ExitStack() as stack:
        pair = Pair(template, base / "parted", stack)
        pair.start()
        made = Parted(pair)
        # The directories stay, to be copied.
        stack.pop_all()
    return made


@pytest.fixture
def split(parted: Parted, base: pathlib.Path) -> t.Iterator[Pair]:
    """A stopped old primary, and the new one, which runs."""
    with contextlib.ExitStack() as stack:
        made = Pair(parted, base / f"split{next(numbers)}", stack)
        made.two.start()
        yield made


@pytest.fixture
def pair(template: Template, base: pathlib.Path) -> t.Iterator[Pair]:
    """A running primary, and a standby that streams from it."""
    with contextlib.ExitStack() as stack:
        made = Pair(template, base / f"pair{next(numbers)}", stack)
        made.start()
        yield made
