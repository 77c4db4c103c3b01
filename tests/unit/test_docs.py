"""Documentation that is made from code is what the code says now."""

from __future__ import annotations

import importlib.util
import pathlib

from ansible_collections.matrixon.ops.plugins.module_utils._health.run import SCOPES
from ansible_collections.matrixon.ops.plugins.module_utils._performance import run as performance
from ansible_collections.matrixon.ops.plugins.module_utils._upkeep import run as upkeep

TOOL = pathlib.Path(__file__).resolve().parents[1] / "tools/checks.py"


def test_the_pages_of_checks_are_what_is_declared() -> None:
    spec = importlib.util.spec_from_file_location("checks", TOOL)
    assert spec and spec.loader
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.PAGE.read_text() == tool.page(SCOPES), "run `.venv/bin/python tests/tools/checks.py`"
    assert tool.PERFORMANCE_PAGE.read_text() == tool.page(performance.SCOPES, tool.PERFORMANCE_HEAD)
    assert tool.DATABASE_PAGE.read_text() == tool.page(upkeep.SCOPES, tool.DATABASE_HEAD)
