"""The server's own rules of who may do what, by its version."""

from __future__ import annotations

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._upkeep import questions


@pytest.mark.parametrize("ask", [questions.tables, questions.indexes])
@pytest.mark.parametrize(("number", "known"), [(169999, False), (170000, True), (180000, True)])
def test_maintain_is_asked_for_from_the_version_on_that_has_it(ask: object, number: int, known: bool) -> None:
    assert callable(ask) and ("'MAINTAIN'" in ask(number)) is known


def test_owning_the_database_is_a_right_to_tend_tables_and_none_to_rebuild() -> None:
    assert "datdba" in questions.tables(150000) and "datdba" not in questions.indexes(150000)
