"""The page about failures names tests that exist, for every failure."""

from __future__ import annotations

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/failure-modes.md").read_text(encoding="utf-8")
TESTS = (ROOT / "tests/integration/backup", ROOT / "tests/integration/dr")
ROWS = {match[1]: match[0] for match in re.finditer(r"^\| (F\d+) \|.*$", PAGE, re.MULTILINE)}
NAMED = re.compile(r"`(test_\w+\.py)::(\w+)`")


def functions(name: str) -> set[str]:
    """Return the tests of a file."""
    (path,) = (folder / name for folder in TESTS if (folder / name).exists())
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_failure_has_its_row() -> None:
    assert list(ROWS) == [f"F{number}" for number in range(1, 24)]


@pytest.mark.parametrize("number", ROWS)
def test_every_failure_has_a_test(number: str) -> None:
    assert NAMED.search(ROWS[number])


@pytest.mark.parametrize(("name", "test"), sorted(set(NAMED.findall(PAGE))))
def test_every_test_that_is_named_exists(name: str, test: str) -> None:
    assert test in functions(name)
