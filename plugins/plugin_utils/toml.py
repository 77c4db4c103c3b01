# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data as TOML, which Ansible and Python cannot write."""

from __future__ import annotations

import datetime
import math
import re
import typing as t
from collections.abc import Mapping, Sequence

from ansible.errors import AnsibleFilterError

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
_TO_ESCAPE = re.compile(r'[\x00-\x1f\x7f"\\]')


def to_toml(data: t.Any) -> str:
    """Return a mapping as a TOML document. A key whose value is null is left out."""
    if not isinstance(data, Mapping):
        raise AnsibleFilterError(f"to_toml: a TOML document is a mapping, and this is {_kind(data)}")
    lines: list[str] = []
    _table(data, (), lines)
    return "\n".join(lines).lstrip("\n") + "\n" if lines else ""


def _table(data: Mapping[t.Any, t.Any], path: tuple[str, ...], lines: list[str]) -> None:
    """Write the plain values of a table, then the tables in it: after the head of one nothing more is of its parent."""
    tables = []
    for key, value in _items(data, path):
        if isinstance(value, Mapping) or _is_list_of_tables(value):
            tables.append((key, value))
        else:
            lines.append(f"{_key(key)} = {_value(value, (*path, key))}")
    for key, value in tables:
        below = (*path, key)
        head = ".".join(_key(part) for part in below)
        if isinstance(value, Mapping):
            # A table that holds only tables needs no head of its own.
            inner = [entry for dummy, entry in _items(value, below)]
            if not inner or not all(isinstance(entry, Mapping) for entry in inner):
                lines += ["", f"[{head}]"]
            _table(value, below, lines)
        else:
            for entry in value:
                lines += ["", f"[[{head}]]"]
                _table(entry, below, lines)


def _items(data: Mapping[t.Any, t.Any], path: tuple[str, ...]) -> list[tuple[str, t.Any]]:
    """Return what a table holds, with keys that are text."""
    items = []
    for key, value in data.items():
        if not isinstance(key, str):
            raise AnsibleFilterError(f"to_toml: {_name(path)}: the key {key!r} is not text; put it in quotes")
        if value is not None:
            items.append((str(key), value))
    return items


def _is_list_of_tables(value: t.Any) -> bool:
    """Tell a list that holds tables and nothing else."""
    return _is_list(value) and len(value) > 0 and all(isinstance(entry, Mapping) for entry in value)


def _is_list(value: t.Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes)) and not _is_vaulted(value)


def _is_vaulted(value: t.Any) -> bool:
    """Tell a text that ansible-core up to 2.18 decrypts only when it is asked for it."""
    return bool(getattr(value, "__ENCRYPTED__", False))


def _value(value: t.Any, path: tuple[str, ...]) -> str:
    """Return a value as it stands behind an equals sign or in a list."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) or _is_vaulted(value):
        return _text(str(value), path)
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise AnsibleFilterError(f"to_toml: {_name(path)}: {value} does not fit into 64 bits")
        return str(int(value))
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, Mapping):
        inner = [f"{_key(key)} = {_value(entry, (*path, key))}" for key, entry in _items(value, path)]
        return "{" + ", ".join(inner) + "}"
    if _is_list(value):
        return "[" + ", ".join(_value(entry, (*path, str(place))) for place, entry in enumerate(value)) + "]"
    raise AnsibleFilterError(f"to_toml: {_name(path)}: TOML has nothing for {_kind(value)}")


def _float(value: float) -> str:
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return repr(float(value))


def _text(value: str, path: tuple[str, ...]) -> str:
    """Return a text in quotes. What is wrong with it is told without quoting it, as it may be a secret."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise AnsibleFilterError(f"to_toml: {_name(path)}: the text is not valid Unicode") from None
    return '"' + _TO_ESCAPE.sub(lambda found: _ESCAPES.get(found[0], f"\\u{ord(found[0]):04X}"), value) + '"'


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _text(key, ())


def _name(path: tuple[str, ...]) -> str:
    return ".".join(path) or "the document"


def _kind(value: t.Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"
