# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""How large a table or a B-tree would be if it were written anew: an estimate from the planner's statistics.

The arithmetic is that of the page layout: what a row of mean width takes,
how many fit on a page at the fillfactor, how many pages that makes. It knows
nothing of deduplication, so an index of repeated values seems less bloated
than it is, and never more.
"""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Row

PAGE_HEADER = 24
LINE_POINTER = 4
ALIGNMENT = 8
ROW_HEADER = 23
INDEX_HEADER = 8
INDEX_NULLS = 4
BTREE_SPECIAL = 16
FILLFACTOR = {"table": 100.0, "index": 90.0}
# Rows that were moved out of line lie four to a page.
TOAST_ROWS = 4
MORE_THAN_ONE_PAGE = 2

# Mean width and share of nulls of a column, by schema, table or index, and column.
Widths = t.Mapping[tuple[str, str, str], tuple[float, float]]


@dataclass(frozen=True)
class Estimate:
    """Bytes that a relation has, and bytes that it would need."""

    size: float
    needed: float

    @property
    def wasted(self) -> float:
        """Return the bytes that it would not need."""
        return max(0.0, self.size - self.needed)

    @property
    def share(self) -> float:
        """Return the part of it that is wasted, in percent."""
        return 100.0 * self.wasted / self.size if self.size else 0.0


def widths(statistics: t.Iterable[Row]) -> dict[tuple[str, str, str], tuple[float, float]]:
    """Return what the planner knows of each column."""
    return {(row["schema"], row["table"], row["column"]): (row["width"], row["nulls"]) for row in statistics}


def by_table(known: Widths) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """Return the columns of each table that the planner knows of."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for (schema, table, _column), figures in known.items():
        found.setdefault((schema, table), []).append(figures)
    return found


def of_table(row: Row, columns: t.Sequence[tuple[float, float]], block: int) -> Estimate | None:
    """Estimate a table, or say None where the planner knows too little of it."""
    if row["tuples"] < 0 or row["pages"] < MORE_THAN_ONE_PAGE or len(columns) < row["columns"]:
        return None
    nulls = any(share > 0 for _width, share in columns)
    header = ROW_HEADER + ((7 + len(columns)) // 8 if nulls else 0)
    data = sum((1 - share) * width for width, share in columns)
    width = LINE_POINTER + _aligned(header) + _aligned(math.ceil(data))
    per_page = max(1.0, (block - PAGE_HEADER) * fillfactor(row, "table") / 100 / width)
    pages = math.ceil(row["tuples"] / per_page)
    toast = math.ceil(row["toast_tuples"] / TOAST_ROWS)
    return Estimate((row["pages"] + row["toast_pages"]) * block, (pages + toast) * block)


def of_index(row: Row, known: Widths, block: int) -> Estimate | None:
    """Estimate a B-tree, or say None for another method and where the planner knows too little."""
    columns = [known.get((row["schema"], *name.split("/", 1))) for name in row["columns"]]
    if row["method"] != "btree" or row["pages"] < MORE_THAN_ONE_PAGE or row["tuples"] < 0 or None in columns:
        return None
    found = [figures for figures in columns if figures]
    header = INDEX_HEADER + (INDEX_NULLS if any(share > 0 for _width, share in found) else 0)
    width = LINE_POINTER + _aligned(header) + _aligned(math.ceil(sum((1 - share) * wide for wide, share in found)))
    room = (block - PAGE_HEADER - BTREE_SPECIAL) * fillfactor(row, "index") / 100
    pages = math.ceil(row["tuples"] / max(1.0, room // width)) + 1
    return Estimate(row["pages"] * block, pages * block)


def fillfactor(row: Row, kind: str) -> float:
    """Return how full its pages are made, in percent."""
    options = dict(option.split("=", 1) for option in row["options"])
    return float(options.get("fillfactor", FILLFACTOR[kind]))


def _aligned(size: int) -> int:
    return math.ceil(size / ALIGNMENT) * ALIGNMENT
