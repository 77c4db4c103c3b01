# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Journals of operations that outlive the run that writes them: one JSON file, replaced whole."""

from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _files

Journal = dict[str, t.Any]


class NotAJournal(ValueError):
    """A file is there and is no journal."""


def load(path: str, schema: str, whole: t.Callable[[Journal], bool]) -> Journal | None:
    """Return the journal of a file, or none if there is no file; raise NotAJournal for anything else."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise NotAJournal(f"{path} cannot be read ({error}); look at it, and move it away") from error
    if not isinstance(found, dict) or found.get("schema") != schema:
        raise NotAJournal(f"{path} is not of the schema {schema}; look at it, and move it away")
    if not whole(found):
        raise NotAJournal(f"{path} says that it is of the schema {schema}, and is not; look at it, and move it away")
    return found


def has_parts(found: t.Any, parts: t.Mapping[str, t.Any]) -> bool:
    """Return whether a mapping has each part, each of its type."""
    return isinstance(found, dict) and all(
        name in found and isinstance(found[name], kind) for name, kind in parts.items()
    )


def save(path: str, journal: Journal) -> None:
    """Write a journal beside its place and put it there, for its owner alone."""
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    _files.replace(path, json.dumps(journal, indent=1).encode() + b"\n", os.geteuid(), os.getegid(), 0o600)
    _files.sync_directory(directory)
