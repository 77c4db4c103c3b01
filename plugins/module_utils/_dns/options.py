# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""From module options to what is looked at. What cannot be right is refused at once, with the way out."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._delegation import is_address
from ansible_collections.matrixon.ops.plugins.module_utils._dns.model import TYPES, normal_name, normal_value
from ansible_collections.matrixon.ops.plugins.module_utils._health.validate import duplicate_errors, seconds_errors
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.resolver import parse_server

Options = dict[str, t.Any]

LONGEST_NAME = 253
LONGEST_TTL = 2**31 - 1
LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.IGNORECASE)
EXAMPLES = {"A": "192.0.2.10", "AAAA": "2001:db8::10", "CNAME": "lb.example.net"}

RECORD_SPEC: dict[str, t.Any] = dict(
    name=dict(type="str", required=True),
    type=dict(type="str", choices=list(TYPES), default="A"),
    values=dict(type="list", elements="str", default=[]),
    ttl=dict(type="int"),
)
LOOK_SPEC: dict[str, t.Any] = dict(
    records=dict(type="list", elements="dict", required=True, options=RECORD_SPEC),
    servers=dict(type="list", elements="str", default=[]),
    resolvers=dict(type="list", elements="str", default=[]),
    accept_silent=dict(type="list", elements="str", default=[]),
    max_ttl=dict(type="int", default=60),
    timeout=dict(type="float", default=3),
)


def look_errors(options: Options, prefix: str = "") -> t.Iterator[str]:
    """Yield what is wrong with what is to be looked at."""
    yield from records_errors(options["records"], f"{prefix}records")
    for name in ("servers", "resolvers", "accept_silent"):
        yield from servers_errors(options[name], f"{prefix}{name}")
    yield from ttl_errors(f"{prefix}max_ttl", options["max_ttl"])
    yield from seconds_errors(f"{prefix}timeout", options["timeout"])


def errors(options: Options) -> t.Iterator[str]:
    """Yield everything that cannot be right, before anything is contacted."""
    for name in ("deployment", "profile"):
        if not options[name].strip():
            yield f"{name}: it is empty; give the name that is to stand in the report"
    yield from look_errors(options)
    yield from seconds_errors("deadline", options["deadline"])
    if options["wait"]:
        yield from seconds_errors("wait", options["wait"])
    yield from moves_errors(options["connect_to"])


def records_errors(records: list[Options], where: str) -> t.Iterator[str]:
    """Yield what is wrong with a list of records."""
    if not records:
        yield f"{where}: the list is empty; give the names to look at, such as {{name: matrix.example.com, type: A}}"
    for number, given in enumerate(records):
        yield from _record_errors(given, f"{where}[{number}]")
    yield from duplicate_errors(where, [f"{normal_name(given['name'])} {given['type']}" for given in records])


def _record_errors(given: Options, where: str) -> t.Iterator[str]:
    yield from name_errors(f"{where}.name", given["name"])
    kind = given["type"]
    values = given.get("values") or []
    for number, value in enumerate(values):
        yield from _value_errors(f"{where}.values[{number}]", kind, value)
    if kind == "CNAME" and len(values) > 1:
        yield f"{where}.values: {', '.join(values)} are too many; a CNAME record has one value"
    if given.get("ttl") is not None:
        yield from ttl_errors(f"{where}.ttl", given["ttl"])


def _value_errors(where: str, kind: str, value: str) -> t.Iterator[str]:
    if kind == "CNAME":
        yield from name_errors(where, value)
        return
    try:
        normal_value(kind, value)
    except ValueError:
        family = "IPv4" if kind == "A" else "IPv6"
        yield f"{where}: {value!r} is no {family} address; a record of type {kind} needs one, such as {EXAMPLES[kind]}"


def name_errors(where: str, name: str) -> t.Iterator[str]:
    """Yield an error for a text that is no name of DNS."""
    labels = name[:-1].split(".") if name.endswith(".") else name.split(".")
    if is_address(name):
        yield f"{where}: {name!r} is an address; give a name, such as matrix.example.com"
    elif not name.isascii():
        yield f"{where}: {name!r} is not ASCII; give the name as DNS has it, such as xn--bcher-kva.example"
    elif len(name) > LONGEST_NAME or len(labels) < 2 or not all(LABEL.fullmatch(label) for label in labels):
        yield f"{where}: {name!r} is no full name of DNS; give for example matrix.example.com"


def ttl_errors(where: str, ttl: int) -> t.Iterator[str]:
    """Yield an error for a number that is no TTL."""
    if not 0 <= ttl <= LONGEST_TTL:
        yield f"{where}: {ttl} is no TTL; give seconds from 0 to {LONGEST_TTL}, such as 60"


def servers_errors(servers: list[str], where: str) -> t.Iterator[str]:
    """Yield an error for each text that is no name server."""
    for number, server in enumerate(servers):
        try:
            parse_server(server)
        except ValueError:
            hint = "give an address or address:port, such as 192.0.2.53 or [2001:db8::53]:5353"
            yield f"{where}[{number}]: {server!r} is no name server; {hint}"


def moves_errors(connect_to: dict[str, t.Any]) -> t.Iterator[str]:
    """Yield an error for each address that leads to no address. Those of names are for others."""
    for source, other in connect_to.items():
        if not _is_server(source):
            continue
        if not _is_server(str(other)):
            yield f"connect_to.{source}: {other!r} is no address:port; write for example 127.0.0.1:5353"


def _is_server(text: str) -> bool:
    try:
        parse_server(text)
    except ValueError:
        return False
    return True
