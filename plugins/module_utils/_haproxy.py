# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""HAProxy's runtime socket: what it says of its servers and limits."""

from __future__ import annotations

import csv
import io
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _net
from ansible_collections.matrixon.ops.plugins.module_utils._probe import PARSE, Deadline, ProbeFailure

MAX_ANSWER = 4 * 1024 * 1024
# In a server's admin state: somebody told HAProxy to drain it.
FORCED_DRAIN = 0x08


def ask(path: str, command: str, deadline: Deadline) -> str:
    """Send one command to the runtime socket and return the answer."""
    peer = f"HAProxy at {path}"
    with _net.Stream(_net.connect_unix(path, deadline, peer), peer, deadline) as stream:
        stream.send(command.encode("ascii") + b"\n")
        return stream.read_to_end(MAX_ANSWER).decode("utf-8", "replace")


def parse_stat(text: str) -> list[dict[str, str]]:
    """Return the rows of ``show stat``."""
    lines = text.lstrip("# ").splitlines()
    if not lines or not lines[0].startswith("pxname,svname,"):
        raise ProbeFailure(PARSE, f"the runtime socket did not answer with a table: {text[:60]!r}")
    return [row for row in csv.DictReader(io.StringIO("\n".join(lines))) if row.get("svname")]


def parse_info(text: str) -> dict[str, str]:
    """Return the pairs of ``show info``."""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def servers_state(path: str, deadline: Deadline) -> list[dict[str, str]]:
    """Return the state of every server, as a reload carries it over."""
    return parse_servers_state(ask(path, "show servers state", deadline))


def parse_servers_state(text: str) -> list[dict[str, str]]:
    """Return the rows of ``show servers state``."""
    lines = [line for line in text.splitlines() if line.strip()]
    # The first line is the version of the format.
    if len(lines) < 2 or lines[0] != "1" or not lines[1].startswith("# be_id be_name "):
        raise ProbeFailure(PARSE, f"the runtime socket did not answer with the states of servers: {text[:60]!r}")
    names = lines[1].lstrip("# ").split()
    return [dict(zip(names, line.split())) for line in lines[2:]]


def drained(rows: list[dict[str, str]], names: t.Collection[str]) -> list[str]:
    """Return the named servers that were drained by hand, each as backend/server.

    One that follows another's drain is not meant: it comes back with that one.
    """
    found = []
    for row in rows:
        admin = row.get("srv_admin_state", "")
        if not admin.isdigit():
            raise ProbeFailure(PARSE, f"the runtime socket gave a server no admin state: {row}")
        if row.get("srv_name") in names and int(admin) & FORCED_DRAIN:
            found.append(f"{row['be_name']}/{row['srv_name']}")
    return found


def misplaced(rows: list[dict[str, str]], ports: dict[str, int]) -> list[tuple[str, str, int]]:
    """Return the servers that have another port than is wanted: backend/server, address, port.

    A reload takes the address from the configuration, and the port from the state of before.
    """
    return [
        (f"{row['be_name']}/{row['srv_name']}", row["srv_addr"], ports[row["srv_name"]])
        for row in rows
        if row.get("srv_name") in ports
        and row.get("srv_port", "").isdigit()
        and row["srv_addr"] != "-"
        and int(row["srv_port"]) != ports[row["srv_name"]]
    ]


def number(row: dict[str, str], key: str) -> int | None:
    """Return a numeric column, or None where HAProxy left it empty."""
    text = row.get(key) or ""
    return int(text) if text.lstrip("-").isdigit() else None
