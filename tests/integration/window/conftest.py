"""What maintenance windows are tested with, started once."""

from __future__ import annotations

import pathlib
import sys
import typing as t

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "unit"))

from windows import Alerts, Edge, Homeserver


@pytest.fixture(scope="session")
def edge(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Edge]:
    homeserver = Homeserver()
    running = Edge(tmp_path_factory.mktemp("edge"), homeserver)
    yield running
    running.stop()
    homeserver.shutdown()


@pytest.fixture(scope="session")
def alerts(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Alerts]:
    running = Alerts(tmp_path_factory.mktemp("alerts"))
    yield running
    running.stop()
