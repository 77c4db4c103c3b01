# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The maintenance answer of HAProxy: two entries of a map that hold until when it is given.

The load balancer compares them with its own clock, so the answer ends by itself.
The file is what a reload takes over, the runtime socket what counts at once.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _haproxy
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, PARSE, Deadline, ProbeFailure

KEYS = ("all", "writes")


def wanted(answer: str, until: int) -> dict[str, int]:
    """Return what the map should hold."""
    return {key: until if key == answer else 0 for key in KEYS}


def render(entries: t.Mapping[str, int]) -> str:
    """Return the file of a map."""
    return "".join(f"{key} {entries[key]}\n" for key in KEYS)


def parse_map(text: str) -> dict[str, int]:
    """Return the entries of ``show map``."""
    entries = {}
    for line in filter(str.strip, text.splitlines()):
        match = re.fullmatch(r"0x[0-9a-f]+ (\S+) (\d+)", line.strip())
        if not match:
            raise ProbeFailure(PARSE, f"the runtime socket did not answer with a map of times: {line[:80]!r}")
        entries[match[1]] = int(match[2])
    return entries


def running(socket: str, path: str, deadline: Deadline) -> dict[str, int]:
    """Return what the running HAProxy has in the map."""
    text = _haproxy.ask(socket, f"show map {path}", deadline)
    if "Unknown map" in text:
        raise ProbeFailure(
            INTERNAL, f"the running HAProxy has no map {path}; bring its configuration up with load_balancer.yml"
        )
    return parse_map(text)


def switch(socket: str, path: str, entries: t.Mapping[str, int], deadline: Deadline) -> None:
    """Give the running HAProxy these entries, and see that it has them."""
    known = running(socket, path, deadline)
    said = [
        _haproxy.ask(socket, f"{'set' if key in known else 'add'} map {path} {key} {value}", deadline).strip()
        for key, value in entries.items()
        if known.get(key) != value
    ]
    if not holds(running(socket, path, deadline), entries):
        raise ProbeFailure(
            INTERNAL, f"HAProxy did not take the answer: {'; '.join(filter(None, said)) or 'it is silent'}"
        )


def holds(known: t.Mapping[str, int], entries: t.Mapping[str, int]) -> bool:
    """Return whether a map gives this answer."""
    return all(known.get(key, 0) == value for key, value in entries.items())
