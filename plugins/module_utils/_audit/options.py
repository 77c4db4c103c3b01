# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""From module options to a plan. What cannot be right is refused at once, with the way out."""

from __future__ import annotations

import difflib
import re
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._audit import (
    access,
    exceptions,
    exposure,
    homeserver,
    kernel,
    packages,
    postgresql,
    redis,
    secrets,
)
from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import Look, Plan, Rule
from ansible_collections.matrixon.ops.plugins.module_utils._health.validate import (
    port_errors,
    seconds_errors,
    secret_from,
)
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors

Options = dict[str, t.Any]

# In this order: the slow ones begin first.
AREAS: dict[str, t.Any] = {
    "packages": packages,
    "files": secrets,
    "postgresql": postgresql,
    "redis": redis,
    "homeserver": homeserver,
    "ports": exposure,
    "access": access,
    "kernel": kernel,
}

FILE_SPEC: dict[str, t.Any] = dict(
    paths=dict(type="list", elements="path", required=True),
    owners=dict(type="list", elements="str", default=[]),
)
POSTGRESQL_SPEC: dict[str, t.Any] = dict(
    socket_directory=dict(type="path", default="/var/run/postgresql"),
    port=dict(type="int", default=5432),
    user=dict(type="str", default="postgres"),
    superusers=dict(type="list", elements="str", default=["postgres"]),
    database=dict(type="str", default="postgres"),
    admins_query=dict(type="str"),
    admins_unsupported=dict(type="str"),
    admins=dict(type="list", elements="str", default=[]),
    max_admins=dict(type="int", default=5),
)
REDIS_SPEC: dict[str, t.Any] = dict(
    host=dict(type="str", default="127.0.0.1"),
    port=dict(type="int", default=6379),
    password=dict(type="str", no_log=True),
    password_file=dict(type="path"),
)
HOMESERVER_SPEC: dict[str, t.Any] = dict(
    configuration=dict(type="list", elements="str", default=[]),
    settings=dict(type="dict", default={}),
    unsupported=dict(type="str"),
    signing_key=dict(type="path", no_log=False),
    signing_key_max_days=dict(type="float", default=1095, no_log=False),
)
EXCEPTION_SPEC: dict[str, t.Any] = dict(
    id=dict(type="str", required=True),
    host=dict(type="str", required=True),
    reason=dict(type="str", required=True),
    owner=dict(type="str", required=True),
    expires=dict(type="str", required=True),
)
AREAS_SPEC: dict[str, t.Any] = dict(
    areas=dict(type="list", elements="str", choices=list(AREAS)),
    deadline=dict(type="float", default=300),
    timeout=dict(type="float", default=60),
    lists_max_days=dict(type="float", default=7),
    debsecan=dict(type="bool", default=True),
    debsecan_source=dict(type="str", default=""),
    lynis=dict(type="bool", default=True),
    ports=dict(type="list", elements="str", default=[]),
    firewall=dict(type="bool", default=False),
    automation_users=dict(type="list", elements="str", default=[]),
    shell_users=dict(type="list", elements="str", default=["postgres"]),
    secret_files=dict(type="list", elements="dict", default=[], options=FILE_SPEC, no_log=False),
    directories=dict(type="list", elements="path", default=[]),
    directories_without=dict(type="list", elements="path", default=[]),
    postgresql=dict(type="dict", options=POSTGRESQL_SPEC),
    redis=dict(type="dict", options=REDIS_SPEC),
    homeserver=dict(type="dict", options=HOMESERVER_SPEC),
    exceptions=dict(type="list", elements="dict", default=[], options=EXCEPTION_SPEC),
)

# The least that every option of an area needs, so that all rules can be listed without a host.
_EVERYTHING: Options = {
    "lists_max_days": 7,
    "debsecan": True,
    "debsecan_source": "",
    "lynis": True,
    "ports": ["22"],
    "firewall": True,
    "automation_users": [],
    "shell_users": [],
    "secret_files": [{"paths": ["/"], "owners": []}],
    "directories": ["/"],
    "directories_without": [],
    "postgresql": None,
    "redis": None,
    "homeserver": None,
}
IDENTITY = re.compile(r"^[a-z_][a-z0-9_.-]*$", re.IGNORECASE)


def make_plan(options: Options) -> Plan:
    """Return every look and every skip that the options call for."""
    wanted = options["areas"] or list(AREAS)
    return [entry for name, area in AREAS.items() if name in wanted for entry in area.plan(options)]


def rules() -> dict[str, Rule]:
    """Return every rule there is, by its id."""
    return {rule.id: rule for entry in make_plan({**_EVERYTHING, "areas": None}) for rule in entry.rules}


def read_secrets(options: Options) -> list[str]:
    """Fill in the password that is given as a file; return what no text may hold. Raise OptionErrors."""
    server = options["redis"] or {}
    path = server.get("password_file")
    if path:
        try:
            server["password"] = secret_from(path)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise OptionErrors([f"redis.password_file: {path} cannot be read: {why}"]) from error
    return [server["password"]] if server.get("password") else []


def errors(options: Options) -> t.Iterator[str]:
    """Yield a sentence for each option that cannot be right."""
    for name in ("deployment", "profile"):
        if not options[name].strip():
            yield f"{name}: it is empty; give the name that is to stand in the report"
    for name in ("deadline", "timeout"):
        yield from seconds_errors(name, options[name])
    if options["areas"] is not None and not options["areas"]:
        yield "areas: the list is empty; leave the option out to look at all of them"
    if not options["lists_max_days"] > 0:
        yield f"lists_max_days: {options['lists_max_days']:g} is no time; give days above 0"
    for text in options["ports"]:
        try:
            exposure.parse_ports(text)
        except ValueError as error:
            yield f"ports: {error}"
    for name in ("directories", "directories_without"):
        for path in options[name]:
            if not path.startswith("/"):
                yield f"{name}: '{path}' is not absolute; write it from the root"
    for path in [path for entry in options["secret_files"] for path in entry["paths"]]:
        if not path.startswith("/"):
            yield f"secret_files: '{path}' is not absolute; write it from the root"
    yield from _server_errors(options)
    yield from exceptions.parse(options["exceptions"], rules())[1]


def _server_errors(options: Options) -> t.Iterator[str]:
    for scope in ("postgresql", "redis"):
        if options[scope] is not None:
            yield from port_errors(f"{scope}.port", options[scope]["port"])
    server = options["postgresql"]
    if server is not None:
        if not IDENTITY.match(server["user"]):
            yield f"postgresql.user: '{server['user']}' is no user of the system; give the one that the server runs as"
        if server["max_admins"] < 0:
            yield f"postgresql.max_admins: {server['max_admins']} is less than nobody; give 0 or more"
    given = options["homeserver"]
    if given is not None:
        if not given["signing_key_max_days"] > 0:
            yield f"homeserver.signing_key_max_days: {given['signing_key_max_days']:g} is no time; give days above 0"
        if given["configuration"] and not given["configuration"][0].startswith("/"):
            yield f"homeserver.configuration: '{given['configuration'][0]}' is not absolute; write it from the root"
        unknown = sorted(set(given["settings"]) - set(homeserver.SETTINGS))
        for name in unknown:
            near = difflib.get_close_matches(name, homeserver.SETTINGS, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(homeserver.SETTINGS)}"
            yield f"homeserver.settings: '{name}' is not known; {hint}"


def looks(plan: Plan) -> list[Look]:
    """Return the part of a plan that looks at something."""
    return [entry for entry in plan if isinstance(entry, Look)]
