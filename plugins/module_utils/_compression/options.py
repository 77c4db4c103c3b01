# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The options of a compression of room state: their shape, and sentences for those that cannot be right."""

from __future__ import annotations

import os
import pwd
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._compression.model import Way
from ansible_collections.matrixon.ops.plugins.module_utils._health.validate import (
    login_errors,
    name_errors,
    seconds_errors,
    trust_errors,
)
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import LOGIN_SPEC, PASSWORD_FILE_SPEC
from ansible_collections.matrixon.ops.plugins.module_utils._report import OBSERVER

Options = t.Mapping[str, t.Any]

SPEC: dict[str, t.Any] = {
    **OBSERVER,
    "way": {"type": "dict", "required": True},
    "postgresql": {"type": "dict", "required": True, "options": {**LOGIN_SPEC, **PASSWORD_FILE_SPEC}},
    "tool": {"type": "str"},
    "python": {"type": "path"},
    "tool_user": {"type": "str"},
    "chunk_size": {"type": "int", "default": 500},
    "chunks": {"type": "int", "default": 100},
    "part": {"type": "int", "default": 5},
    "levels": {"type": "list", "elements": "int", "default": [100, 50, 25]},
    "proof_groups": {"type": "int", "default": 50},
    "max_lag": {"type": "int", "default": 0},
    "lag_wait": {"type": "float", "default": 60},
    "min_free": {"type": "int", "default": 1073741824},
    "backup_sets": {"type": "list", "elements": "dict", "default": []},
    "backup_max_age": {"type": "float", "default": 93600},
    "without_backup": {"type": "str"},
    "deadline": {"type": "float", "default": 3600},
}
SECRETS = {"postgresql": ("password",)}
UNSUPPORTED = "unsupported"
# What is kept of the whole time for the proof.
RESERVE_SHARE, RESERVE_SECONDS = 0.2, 60.0


def way_of(options: Options) -> Way | str:
    """Return how the profile compresses, or why it cannot; raise OptionErrors with all that cannot be right."""
    if errors := [*_errors(options), *_login_errors(options)]:
        raise OptionErrors(errors)
    way = options["way"]
    if way.get("state") == UNSUPPORTED:
        return f"profile {options['profile']} cannot compress state: {way.get('reason')}"
    try:
        return Way.of(way["value"])
    except (KeyError, TypeError, ValueError) as error:
        raise OptionErrors(
            [f"way: {error} is missing or of another kind; give what the profile has under state_compression"]
        ) from error


def _errors(options: Options) -> t.Iterator[str]:
    yield from name_errors(options)
    for name in ("deadline", "lag_wait"):
        yield from seconds_errors(name, options[name])
    if not options["backup_max_age"] > 0:
        yield f"backup_max_age: {options['backup_max_age']:g} is no time; give more than 0 seconds"
    for name in ("chunk_size", "chunks", "part", "proof_groups"):
        if options[name] < 1:
            yield f"{name}: {options[name]} is nothing to work on; give 1 or more"
    for name in ("max_lag", "min_free"):
        if options[name] < 0:
            yield f"{name}: {options[name]} is below 0; give bytes, or 0 to not look at it"
    levels = options["levels"]
    if not levels or min(levels) < 1:
        yield f"levels: {levels} are no sizes; give one number or more above 0, such as [100, 50, 25]"
    elif options["chunk_size"] < levels[0]:
        # The tool then finds that it would add rows, and skips all (its README, "Auto Compressor skips chunks").
        yield f"chunk_size: {options['chunk_size']} is less than the first of levels, {levels[0]}; give that or more"
    waiver = options["without_backup"]
    if waiver is not None and not waiver.strip():
        yield "without_backup: is empty; say why, for it stands in the report, or leave it out"
    if options["python"] and not os.path.isabs(options["python"]):
        yield f"python: {options['python']!r} is not the absolute path of an interpreter; give that"


def _login_errors(options: Options) -> t.Iterator[str]:
    given = options["postgresql"]
    yield from login_errors("postgresql", given)
    yield from trust_errors("postgresql.ca_file", given["ca_file"])
    if given["sslmode"].startswith("verify-") and not given["host"].startswith("/"):
        yield (
            f"postgresql.sslmode: {given['sslmode']}: the tool checks no certificate, so it might give the password to "
            "another server; log in through the server's socket, or choose require"
        )
    user = options["tool_user"]
    if user and os.geteuid() != 0 and user != pwd.getpwuid(os.geteuid()).pw_name:
        yield f"tool_user: only root can run the tool as {user}; run this as root or as {user}, or leave it out"
    if options["tool"] and options["python"]:
        yield "tool: give it or python, not both"
    if options["tool"] and given["password"]:
        yield (
            f"tool: {options['tool']} takes the location with the password on its command line, where each user of the "
            "host can read it; give python with an interpreter that has the module, or a login that needs no password"
        )
