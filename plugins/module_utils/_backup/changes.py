# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Which files are new: from rows of a homeserver's media tables, or from a journal of paths.

Where a homeserver keeps a file is data of its profile, a layout: a table of
templates such as ``local_content/{media_id[0:2]}/{media_id[2:4]}/{media_id[4:]}``.
Paths are bytes, because a file's name need not be text.
"""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, PARSE

Row = t.Mapping[str, t.Any]

# {column}, {column[2:4]} and {column|dashes}, where dashes makes image/jpeg one component, image-jpeg.
_FIELD = re.compile(r"\{(?P<column>[a-z_][a-z0-9_]*)(?:\[(?P<first>[0-9]*):(?P<last>[0-9]*)\])?(?P<dashes>\|dashes)?\}")
_CONDITIONS = ("set", "null")


# --- names


def to_bytes(path: str) -> bytes:
    """Return a path as the file system has it. Bytes that are no UTF-8 stand as lone surrogates in the text."""
    return path.encode("utf-8", "surrogateescape")


def to_text(path: bytes) -> str:
    """Return a path as it stands in a manifest, whatever the locale is."""
    return path.decode("utf-8", "surrogateescape")


def relative(path: bytes, root: bytes) -> bytes:
    """Return a path below ``root`` without detours. ValueError says what is wrong with it."""
    if not path or b"\0" in path:
        raise ValueError("it is empty or has a byte that no path can have")
    if path.startswith(b"/"):
        if not path.startswith(root.rstrip(b"/") + b"/"):
            raise ValueError(f"it does not lie below {to_text(root)}")
        path = path[len(root.rstrip(b"/")) + 1 :]
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise ValueError("it leads upwards with '..'")
    if not parts:
        raise ValueError("it is the directory itself")
    return b"/".join(parts)


# --- rows


@dataclass(frozen=True)
class Layout:
    """Where the file of a row is.

    ``where`` says for which rows this holds: to a column's name the word
    ``set``, the word ``null``, or a regular expression that the whole value
    must fit.
    """

    path: str
    where: t.Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a template with braces that are no field, and a condition that is no expression."""
        if re.search(r"[{}]", _FIELD.sub("", self.path)):
            raise BackupError(
                INTERNAL, f"layout {self.path!r}: a field looks like {{column}}, {{column[0:2]}} or {{column|dashes}}"
            )
        for column, condition in self.where.items():
            try:
                re.compile(condition)
            except re.error as error:
                raise BackupError(INTERNAL, f"layout {self.path!r}: {condition!r} for {column}: {error}") from error

    def fits(self, row: Row) -> bool:
        """Say whether this layout holds for a row."""
        return all(_holds(condition, row.get(column)) for column, condition in self.where.items())

    def expand(self, row: Row) -> bytes:
        """Return the path of a row's file. A value that would make another path of it is refused."""
        whole = []
        for component in self.path.split("/"):
            text = _FIELD.sub(lambda match: _value(row, match), component)
            if text in ("", ".", "..") or "/" in text or "\0" in text:
                raise BackupError(
                    PARSE, f"a row of the media tables gives {text!r} as part of {self.path!r}: {dict(row)!r:.200}"
                )
            whole.append(text)
        return to_bytes("/".join(whole))


def paths_of(rows: t.Iterable[Row], layouts: t.Sequence[Layout]) -> list[bytes]:
    """Return the paths of the rows' files. The first layout that fits counts; a row that none fits has no file."""
    found = []
    for row in rows:
        layout = next((layout for layout in layouts if layout.fits(row)), None)
        if layout is not None:
            found.append(layout.expand(row))
    return list(dict.fromkeys(found))


def _holds(condition: str, value: t.Any) -> bool:
    if condition in _CONDITIONS:
        return (value is not None) == (condition == "set")
    return value is not None and re.fullmatch(condition, str(value)) is not None


def _value(row: Row, match: re.Match[str]) -> str:
    column = match["column"]
    if row.get(column) is None:
        raise BackupError(PARSE, f"a row of the media tables has no {column!r}: {dict(row)!r:.200}")
    value = str(row[column])
    if match["first"] is not None:
        value = value[int(match["first"] or 0) : int(match["last"]) if match["last"] else None]
    return value.replace("/", "-") if match["dashes"] else value


# --- a journal


def read_journal(path: str, position: int = 0, terminator: bytes = b"\0") -> tuple[list[bytes], int]:
    """Return the paths that were added to a journal since a position, and the position for the next time.

    Each path ends with the terminator. One that is still being written does
    not, and is left for the next time. A journal that is shorter than the
    position was begun anew and is read from its start.
    """
    try:
        with open(path, "rb") as file:
            if position > os.fstat(file.fileno()).st_size:
                position = 0
            file.seek(position)
            content = file.read()
    except OSError as error:
        raise BackupError(INTERNAL, f"the journal {path} cannot be read: {error.strerror}") from error
    whole, found, dummy = content.rpartition(terminator)
    if not found:
        return [], position
    return list(dict.fromkeys(entry for entry in whole.split(terminator) if entry)), position + len(whole) + len(found)
