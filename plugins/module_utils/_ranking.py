# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Rankings of a report's facts: tables whose order says something, in words and shares.

A collector puts data into its report, and the page shows them for every kind::

    facts["rankings"] = [
        {
            "name": "queries_total",
            "title": "Queries by total time",
            "columns": [{"title": "query", "unit": "code"}, {"title": "total", "unit": "ms"}],
            "rows": [["SELECT ...", 12.0]],  # the first one first; None is shown as a dash
            "bar": 1,  # the column that is drawn as a bar, too, or None
        }
    ]

The unit of a column is one of _human.py, or ``text``, ``code`` (in letters of
one width), ``status`` (ok, warning, critical, unknown or skipped, with its
icon), ``time`` (such as 2026-11-27T09:30:00Z). Long texts are cut on the page,
and stay whole in the JSON.
"""

from __future__ import annotations

import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._fleet import quantity, some
from ansible_collections.matrixon.ops.plugins.module_utils._plot_axes import figure
from ansible_collections.matrixon.ops.plugins.module_utils._plot_data import as_list, number, title_of, words
from ansible_collections.matrixon.ops.plugins.module_utils._report import STATUSES

Document = dict[str, t.Any]

MOST_RANKINGS, MOST_ROWS, SHOWN_ROWS, MOST_COLUMNS = 20, 100, 10, 8
_CELL_CHARS, _TITLE_CHARS, _UNIT_CHARS = 280, 40, 12
TEXT, CODE, STATUS, TIME = "text", "code", "status", "time"
_WORDS = (TEXT, CODE, STATUS, TIME)
_DASH = "\N{EN DASH}"


def rankings(facts: t.Any) -> Document:
    """Return the tables of a report's facts."""
    given = as_list(facts.get("rankings")) if isinstance(facts, dict) else []
    stated = [ranking for ranking in given if isinstance(ranking, dict)]
    notes = []
    if len(stated) > MOST_RANKINGS:
        names = some([title_of(ranking) for ranking in stated[MOST_RANKINGS:]], 5)
        notes.append(f"Not shown, but in the report: {names}.")
    if len(stated) < len(given):
        notes.append(f"{quantity(len(given) - len(stated), 'table')} could not be read.")
    return {"tables": [table(ranking) for ranking in stated[:MOST_RANKINGS]], "notes": notes}


def table(ranking: Document) -> Document:
    """Return one table; the rows beyond the first ones are to be folded."""
    columns = [column for column in as_list(ranking.get("columns")) if isinstance(column, dict)][:MOST_COLUMNS]
    units = [words(column.get("unit"), _UNIT_CHARS) for column in columns]
    given = as_list(ranking.get("rows"))
    rows = [list(row)[: len(columns)] for row in given if isinstance(row, (list, tuple))]
    rows = [row + [None] * (len(columns) - len(row)) for row in rows if row]
    stated = ranking.get("bar")
    drawn = stated if isinstance(stated, int) and not isinstance(stated, bool) and 0 <= stated < len(columns) else None
    longest = max((number(row[drawn]) or 0.0 for row in rows), default=0.0) if drawn is not None else 0.0
    cells = [
        [
            {**cell(value, unit), "share": _share(value, longest) if place == drawn else None}
            for place, (value, unit) in enumerate(zip(row, units))
        ]
        for row in rows[:MOST_ROWS]
    ]
    shown = len(cells) if len(cells) <= SHOWN_ROWS + 2 else SHOWN_ROWS
    notes = []
    if len(rows) > MOST_ROWS:
        notes.append(f"Not shown, but in the report: {quantity(len(rows) - MOST_ROWS, 'more row')}.")
    if len(rows) < len(given):
        notes.append(f"{quantity(len(given) - len(rows), 'row')} could not be read.")
    return {
        "title": title_of(ranking),
        "columns": [
            {"title": words(column.get("title"), _TITLE_CHARS) or _DASH, "number": unit not in _WORDS}
            for column, unit in zip(columns, units)
        ],
        "shown": cells[:shown],
        "folded": cells[shown:],
        "notes": notes,
    }


def cell(value: t.Any, unit: str) -> Document:
    """Return what stands in one cell."""
    kind = unit if unit in _WORDS else "number"
    if kind == STATUS and value in STATUSES:
        return {"text": value, "kind": kind, "status": value}
    if isinstance(value, bool):
        return {"text": "yes" if value else "no", "kind": kind, "status": ""}
    measured = number(value)
    if measured is not None and kind in ("number", TEXT):
        return {"text": figure(measured, "" if kind == TEXT else unit), "kind": kind, "status": ""}
    text = words(value, _CELL_CHARS)
    if kind == TIME and len(text) >= 19 and text[10] == "T":
        text = f"{text[:10]} {text[11:19]}"
    # A word in a column of numbers stands as words do.
    return {"text": text or _DASH, "kind": TEXT if text and kind == "number" else kind, "status": ""}


def _share(value: t.Any, longest: float) -> float | None:
    measured = number(value)
    return round(100 * measured / longest, 1) if measured is not None and measured >= 0 and longest > 0 else None
