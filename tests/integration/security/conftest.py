"""A watch over the logs of the lab, and somebody whom it should see."""

from __future__ import annotations

import pathlib
import sys
import typing as t

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from intruder import Intruder, Watch


@pytest.fixture
def watch(lab: t.Any, tmp_path: pathlib.Path) -> Watch:
    """Return a watch that has seen everything so far."""
    found = Watch(lab, tmp_path / "state")
    # Not what other tests did before.
    found(since_hours=0.0003)
    return found


@pytest.fixture
def intruder(lab: t.Any) -> Intruder:
    return Intruder(lab.facts)
