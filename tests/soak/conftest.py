"""The soak runs on the same lab and the same servers as the integration tests."""

from __future__ import annotations

from tests.integration.backup.conftest import base, major, place, server, store, template
from tests.integration.conftest import lab

__all__ = ["base", "lab", "major", "place", "server", "store", "template"]
