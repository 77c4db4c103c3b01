# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Numbers as people read them. The raw number stays in the JSON."""

from __future__ import annotations

import typing as t

_SIZES = ("KiB", "MiB", "GiB", "TiB", "PiB")
_SPACE = "\N{NO-BREAK SPACE}"
_SPANS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (0.001, "ms"))

_MULTIPLES = ((1e12, "T"), (1e9, "G"), (1e6, "M"))


def human(value: float, unit: str | None) -> str:
    """Return a measured value with its unit, such as 12.3 GiB or 1.24 s."""
    if unit == "B":
        return _size(value)
    if unit == "ms":
        return f"{digits(value)}{_SPACE}ms" if abs(value) < 1000 else span(value / 1000)
    if unit == "s":
        return span(value)
    if unit == "/s":
        return f"{digits(value)}/s"
    if unit == "%":
        return f"{digits(value)}{_SPACE}%"
    if unit in (None, "", "count"):
        return digits(value)
    return f"{digits(value)}{_SPACE}{unit}"


def digits(value: float) -> str:
    """Return a number with three digits that matter, thousands set apart."""
    if float(value).is_integer() or abs(value) >= 1000:
        return f"{round(value):,}".replace(",", _SPACE)
    if abs(value) >= 100:
        return f"{value:.0f}"
    text = f"{value:.3g}"
    return f"{float(text):f}".rstrip("0").rstrip(".") if "e" in text else text


def span(seconds: float) -> str:
    """Return a length of time in its two largest units."""
    sign, rest = ("-" if seconds < 0 else ""), abs(seconds)
    if rest < 1 and rest != 0:
        return f"{sign}{digits(rest * 1000)}{_SPACE}ms"
    if rest < 60:
        return f"{sign}{digits(rest)}{_SPACE}s"
    whole = round(rest)
    for size, name, smaller, small_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            first, second = whole // size, whole % size // smaller
            tail = f" {second}{_SPACE}{small_name}" if second and first < 30 else ""
            return f"{sign}{digits(first)}{_SPACE}{name}{tail}"
    return f"{sign}{whole}{_SPACE}s"


def _size(value: float) -> str:
    if abs(value) < 1024:
        return f"{digits(value)}{_SPACE}B"
    power = 1
    while power < len(_SIZES) and abs(value) >= 1023.95 * 1024**power:
        power += 1
    return f"{value / 1024**power:.1f}{_SPACE}{_SIZES[power - 1]}"


class Scale(t.NamedTuple):
    """The unit in which an axis is labelled: how large it is, and what stands behind a number."""

    size: float
    name: str


def scale_of(most: float, unit: str | None) -> Scale:
    """Return the unit in which values up to this one are short numbers."""
    if unit == "B":
        power = 0
        while power < len(_SIZES) and most >= 2 * 1024 ** (power + 1):
            power += 1
        return Scale(1024.0**power, f"{_SPACE}{_SIZES[power - 1] if power else 'B'}")
    if unit in ("s", "ms"):
        seconds = most / 1000 if unit == "ms" else most
        size, name = next((entry for entry in _SPANS if seconds >= 2 * entry[0]), _SPANS[-1])
        return Scale(size * 1000 if unit == "ms" else size, f"{_SPACE}{name}")
    size, prefix = next((entry for entry in _MULTIPLES if most >= 2 * entry[0]), (1.0, ""))
    name = "" if unit in (None, "count") else str(unit)
    apart = _SPACE if prefix or name not in ("", "/s") else ""
    return Scale(size, f"{apart}{prefix}{name}")
