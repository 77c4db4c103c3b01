"""Tables whose order says something."""

from __future__ import annotations

import json
import random
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils import _ranking


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def queries(*totals: t.Any, **more: t.Any) -> dict[str, t.Any]:
    columns = [{"title": "query", "unit": "code"}, {"title": "total", "unit": "ms"}]
    return {"title": "Queries", "columns": columns, "rows": [["SELECT 1", total] for total in totals], "bar": 1, **more}


def test_numbers_are_in_the_units_of_people_and_the_longest_bar_is_whole():
    table = _ranking.table(queries(75000, 37500, 0, None))
    assert [plain(row[1]["text"]) for row in table["shown"]] == ["1 min 15 s", "37.5 s", "0 ms", "–"]
    assert [row[1]["share"] for row in table["shown"]] == [100, 50, 0, None]
    assert [row[0]["share"] for row in table["shown"]] == [None] * 4
    assert table["columns"] == [{"title": "query", "number": False}, {"title": "total", "number": True}]


@pytest.mark.parametrize(("value", "unit", "text", "kind", "status"), [
    ("critical", "status", "critical", "status", "critical"), ("odd", "status", "odd", "status", ""),
    ("2026-11-27T09:30:00.123Z", "time", "2026-11-27 09:30:00", "time", ""),
    ("yesterday", "time", "yesterday", "time", ""),
    (True, "text", "yes", "text", ""), (12, "text", "12", "text", ""), (1536, "B", "1.5 KiB", "number", ""),
    ("none", "count", "none", "text", ""), (None, "count", "–", "number", ""), ("", "text", "–", "text", ""),
    ("SELECT", "code", "SELECT", "code", ""), ([1], "text", "[1]", "text", ""), (float("nan"), "ms", "nan", "text", ""),
    ("token=abc", "text", "token=***", "text", ""), (5, "status", "5", "status", ""),
])  # fmt: skip
def test_cells(value, unit, text, kind, status):
    found = _ranking.cell(value, unit)
    assert (plain(found["text"]), found["kind"], found["status"]) == (text, kind, status)


def test_rows_beyond_the_first_are_folded_and_too_many_are_counted():
    table = _ranking.table(queries(*range(120)))
    assert (len(table["shown"]), len(table["folded"])) == (10, 90)
    assert table["notes"] == ["Not shown, but in the report: 20 more rows."]
    assert len(_ranking.table(queries(*range(12)))["shown"]) == 12


def test_a_short_row_is_filled_a_long_one_cut_and_what_is_no_row_is_counted():
    table = _ranking.table(queries(rows=[["a"], ["b", 1, 2], 5, []]))
    assert [[plain(item["text"]) for item in row] for row in table["shown"]] == [["a", "–"], ["b", "1 ms"]]
    assert table["notes"] == ["2 rows could not be read."]


@pytest.mark.parametrize("place", [None, -1, 2, True, "1", 1.0])
def test_without_a_column_of_its_own_there_is_no_bar(place):
    table = _ranking.table(queries(1, 2, bar=place))
    assert all(item["share"] is None for row in table["shown"] for item in row)


def test_negative_numbers_have_no_bar():
    assert [row[1]["share"] for row in _ranking.table(queries(-1, -2))["shown"]] == [None, None]


def test_long_texts_are_cut():
    table = _ranking.table(queries(rows=[["x" * 10_000, 1]], title="t" * 10_000))
    assert len(table["shown"][0][0]["text"]) == 280 and len(table["title"]) == 120


def test_many_tables_and_what_is_none():
    view = _ranking.rankings({"rankings": [*(queries(1) for dummy in range(22)), "x"]})
    assert len(view["tables"]) == 20
    assert view["notes"] == [
        "Not shown, but in the report: Queries, Queries.",
        "1 table could not be read.",
    ]


@pytest.mark.parametrize("facts", [None, {}, {"rankings": None}, {"rankings": {}}])
def test_facts_without_rankings_have_none(facts):
    assert _ranking.rankings(facts) == {"tables": [], "notes": []}


def test_no_document_breaks_the_page():
    odd = (None, True, 5, 10**400, float("inf"), "x" * 9000, [], [[]], {}, {"title": 5}, [5], "status", "time", 0, -1)
    noise = random.Random(5)
    for dummy in range(2000):
        stated = {
            key: noise.choice((noise.choice(odd), value))
            for key, value in {
                "title": "t", "columns": [noise.choice(odd), {"title": noise.choice(odd), "unit": noise.choice(odd)}],
                "rows": [noise.choice(odd), [noise.choice(odd), noise.choice(odd)]], "bar": 0,
            }.items()
        }  # fmt: skip
        json.dumps(_ranking.rankings({"rankings": [stated]}), allow_nan=False)
