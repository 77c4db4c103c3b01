# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""From module options to targets. What cannot be right is refused at once, with the way out."""

from __future__ import annotations

import difflib
import os
import re
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _net
from ansible_collections.matrixon.ops.plugins.module_utils._delegation import is_address, split_server_name
from ansible_collections.matrixon.ops.plugins.module_utils._health.validate import (
    duplicate_errors,
    endpoint_errors,
    port_errors,
    seconds_errors,
    trust_errors,
)
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.model import CHECKS, Endpoint, File, Renewal
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.resolver import parse_server

Options = dict[str, t.Any]

MOST_THREADS = 256
LONGEST_NAME = 253
LONGEST_LABEL = 63
UNIT = re.compile(r"[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*")

ENDPOINT_SPEC: dict[str, t.Any] = dict(
    host=dict(type="str", required=True),
    port=dict(type="int", default=443),
    name=dict(type="str"),
    server_name=dict(type="str"),
    names=dict(type="list", elements="str"),
    starttls=dict(type="str", choices=["smtp", "imap", "postgresql"]),
    address=dict(type="str"),
    self_signed=dict(type="bool", default=False),
    required=dict(type="bool", default=False),
)
FILE_SPEC: dict[str, t.Any] = dict(
    path=dict(type="path", required=True),
    name=dict(type="str"),
    password_file=dict(type="path"),
    key=dict(type="path", no_log=False),
    names=dict(type="list", elements="str"),
    endpoint=dict(type="str"),
)
RENEWAL_SPEC: dict[str, t.Any] = dict(
    timer=dict(type="str", required=True),
    service=dict(type="str"),
    files=dict(type="list", elements="path", default=[]),
)
LIMITS_SPEC: dict[str, t.Any] = dict(
    warning_days=dict(type="float", default=30),
    critical_days=dict(type="float", default=14),
    warning_share=dict(type="float", default=1 / 3),
    critical_share=dict(type="float", default=1 / 6),
)
TARGETS_SPEC: dict[str, t.Any] = dict(
    endpoints=dict(type="list", elements="dict", default=[], options=ENDPOINT_SPEC),
    files=dict(type="list", elements="dict", default=[], options=FILE_SPEC),
    server_names=dict(type="list", elements="str", default=[]),
    renewal=dict(type="list", elements="dict", default=[], options=RENEWAL_SPEC),
)


def endpoint_of(given: Options) -> Endpoint:
    """Return an endpoint with its defaults."""
    host = given["host"].strip("[]")
    # DNS ends a name with a dot, TLS does not.
    server_name = (given["server_name"] or host).strip("[]").rstrip(".")
    return Endpoint(
        label=given["name"] or _net.join_host_port(host, given["port"]),
        host=host,
        port=given["port"],
        server_name=server_name,
        names=tuple(given["names"] if given["names"] is not None else [server_name]),
        starttls=given["starttls"],
        address=(given["address"] or "").strip("[]") or None,
        self_signed=given["self_signed"],
        required=given["required"],
    )


def file_of(given: Options) -> File:
    """Return a file with its defaults."""
    return File(
        label=given["name"] or given["path"],
        path=given["path"],
        password_file=given["password_file"],
        key=given["key"],
        names=tuple(given["names"] or ()),
        endpoint=given["endpoint"],
    )


def renewal_of(given: Options) -> Renewal:
    """Return a renewal by the full names of its units."""
    return Renewal(given["timer"], given["service"], tuple(given["files"]))


def target_errors(options: Options, prefix: str = "") -> t.Iterator[str]:
    """Yield what is wrong with the targets."""
    if not any(options[name] for name in TARGETS_SPEC):
        yield f"{prefix}endpoints: there is nothing to look at; give endpoints, files, server_names or renewal"
    endpoints, given_files = options["endpoints"], options["files"]
    for number, given in enumerate(endpoints):
        yield from _endpoint_errors(given, f"{prefix}endpoints[{number}]")
    for number, given in enumerate(given_files):
        yield from _file_errors(given, f"{prefix}files[{number}]")
    for number, name in enumerate(options["server_names"]):
        yield from server_name_errors(f"{prefix}server_names[{number}]", name)
    for number, given in enumerate(options["renewal"]):
        yield from _renewal_errors(given, f"{prefix}renewal[{number}]")
    yield from duplicate_errors(f"{prefix}server_names", options["server_names"])
    yield from duplicate_errors(f"{prefix}renewal", [given["timer"] for given in options["renewal"]])
    labels = [endpoint_of(given).label for given in endpoints]
    files = [file_of(given) for given in given_files]
    yield from duplicate_errors(f"{prefix}endpoints", labels)
    yield from duplicate_errors(f"{prefix}files", [file.label for file in files])
    others = [*(file.label for file in files), *options["server_names"], *(one["timer"] for one in options["renewal"])]
    both = sorted({name for name in (*labels, *others) if labels.count(name) and others.count(name)})
    if both:
        yield f"{prefix}endpoints: {', '.join(both)} is also the name of something else; give the endpoint its own"
    for number, file in enumerate(files):
        if file.endpoint is not None and file.endpoint not in labels:
            where = f"{prefix}files[{number}].endpoint"
            yield f"{where}: {file.endpoint!r} is no endpoint of this list; {_known(file.endpoint, labels)}"


def errors(options: Options) -> t.Iterator[str]:
    """Yield everything that cannot be right, before anything is contacted or read."""
    for name in ("deployment", "profile"):
        if not options[name].strip():
            yield f"{name}: it is empty; give the name that is to stand in the report"
    for name in ("deadline", "timeout"):
        yield from seconds_errors(name, options[name])
    if not 1 <= options["threads"] <= MOST_THREADS:
        yield f"threads: {options['threads']} cannot be; give a number from 1 to {MOST_THREADS}"
    yield from limit_errors(options)
    yield from _check_errors(options)
    yield from trust_errors("ca_file", options["ca_file"])
    for source, other in options["connect_to"].items():
        yield from endpoint_errors("connect_to", source)
        yield from endpoint_errors(f"connect_to.{source}", str(other))
    for number, server in enumerate(options["resolvers"]):
        try:
            parse_server(server)
        except ValueError:
            hint = "give an address or address:port, such as 10.0.0.2:53"
            yield f"resolvers[{number}]: {server!r} is no name server; {hint}"
    yield from target_errors(options)


def limit_errors(options: Options, prefix: str = "") -> t.Iterator[str]:
    """Yield what is wrong with the limits of expiry."""
    for name in ("warning_days", "critical_days"):
        if not 0 <= options[name] <= 36500:
            yield f"{prefix}{name}: {options[name]:g} cannot be; give days from 0 to 36500"
    for name in ("warning_share", "critical_share"):
        if not 0 <= options[name] <= 1:
            yield f"{prefix}{name}: {options[name]:g} cannot be; give a part of the lifetime from 0 to 1, such as 0.33"
    for kind in ("days", "share"):
        warn, crit = options[f"warning_{kind}"], options[f"critical_{kind}"]
        if warn < crit:
            yield (
                f"{prefix}warning_{kind}: {warn:g} is below critical_{kind} {crit:g}, so it would never warn; "
                "exchange them or give both"
            )


def _check_errors(options: Options) -> t.Iterator[str]:
    if options["checks"] is not None and not options["checks"]:
        yield "checks: the list is empty; leave the option out to run every check"
    for option in ("checks", "skip_checks"):
        for name in options[option] or ():
            if name not in CHECKS:
                yield f"{option}: {name!r} is not a check; {_known(name, list(CHECKS))}"
    for name, reason in options["skip_checks"].items():
        if not isinstance(reason, str) or not reason.strip():
            yield f"skip_checks.{name}: say why it is skipped; the reason stands in the report"


def _known(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known)) or 'none'}"


def _endpoint_errors(given: Options, where: str) -> t.Iterator[str]:
    yield from name_errors(f"{where}.host", given["host"])
    yield from port_errors(f"{where}.port", given["port"])
    if given["name"] is not None and not given["name"].strip():
        yield f"{where}.name: it is empty; leave it out, or give the name that is to stand in the report"
    if given["server_name"] is not None:
        yield from name_errors(f"{where}.server_name", given["server_name"])
    yield from _names_errors(f"{where}.names", given["names"])
    address = given["address"]
    if address is not None and not is_address(address.strip("[]")):
        yield f"{where}.address: {address!r} is no IP address; give the one to connect to, such as 10.0.0.5"


def _file_errors(given: Options, where: str) -> t.Iterator[str]:
    for name in ("path", "key", "password_file"):
        path = given[name]
        if path is not None and not os.path.isabs(path):
            yield f"{where}.{name}: {path!r} is no absolute path; give one that begins with /"
    if given["name"] is not None and not given["name"].strip():
        yield f"{where}.name: it is empty; leave it out, or give the name that is to stand in the report"
    yield from _names_errors(f"{where}.names", given["names"])


def _renewal_errors(given: Options, where: str) -> t.Iterator[str]:
    for name, suffix in (("timer", ".timer"), ("service", ".service")):
        unit = given[name]
        if unit is not None and not (UNIT.fullmatch(unit) and unit.endswith(suffix)):
            yield f"{where}.{name}: {unit!r} is not the full name of a unit; give for example certbot{suffix}"
    for number, path in enumerate(given["files"]):
        if not os.path.isabs(path):
            yield f"{where}.files[{number}]: {path!r} is no absolute path; give one that begins with /"


def _names_errors(where: str, names: list[str] | None) -> t.Iterator[str]:
    if names is not None and not names:
        yield f"{where}: the list is empty; leave it out, or give the names that the certificate must be for"
    for number, name in enumerate(names or ()):
        yield from name_errors(f"{where}[{number}]", name)


def name_errors(where: str, name: str) -> t.Iterator[str]:
    """Yield an error for a text that is no host name or address."""
    if is_address(name.strip("[]")):
        return
    labels = name.rstrip(".").split(".")
    if not name.isascii():
        yield f"{where}: {name!r} is not ASCII; give the name as DNS has it, such as xn--bcher-kva.example"
    elif (
        len(name) > LONGEST_NAME
        or any(not 0 < len(label) <= LONGEST_LABEL for label in labels)
        or not all(letter.isalnum() or letter in "-_." for letter in name)
    ):
        yield f"{where}: {name!r} is no host name and no address; give for example matrix.example.com, without a port"


def server_name_errors(where: str, name: str) -> t.Iterator[str]:
    """Yield an error for a text that is no Matrix server name."""
    try:
        split_server_name(name)
    except ValueError as error:
        yield f"{where}: {name!r} cannot be used: {error}"
