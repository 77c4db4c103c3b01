"""The soak runs on the same lab as the integration tests."""

from __future__ import annotations

from tests.integration.conftest import lab

__all__ = ["lab"]
