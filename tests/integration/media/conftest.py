"""The lab's media, as the tests of their clean-up have them."""

from __future__ import annotations

import pathlib
import sys
import typing as t

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from media_world import World


@pytest.fixture
def world(lab: t.Any, tmp_path: pathlib.Path) -> t.Iterator[World]:
    """Media of which none is old, and a place for sets."""
    found = World(lab, tmp_path / "sets")
    found.clear()
    yield found
    found.clear()
    found.database.close()
