"""The lab as the modules of capacity see it."""

from __future__ import annotations

import pathlib
import sys
import typing as t

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from capacity_ask import Database


@pytest.fixture
def operations(lab: t.Any) -> t.Iterator[Database]:
    """An empty database of its own, for a history; removed at the end."""
    database = Database(lab)
    database.make()
    yield database
    database.remove()
