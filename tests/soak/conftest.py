"""The soak runs on the same lab and the same servers as the integration tests."""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration/dr"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration/witness"))

from tests.integration.backup.conftest import base, major, place, runner, server, store, template
from tests.integration.conftest import lab

__all__ = ["base", "lab", "major", "place", "runner", "server", "store", "template"]
