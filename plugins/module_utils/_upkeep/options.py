# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The options of the upkeep: their shape, and sentences for those that cannot be right."""

from __future__ import annotations

import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Check
from ansible_collections.matrixon.ops.plugins.module_utils._health.options import CHECKS_SPEC, Options, check_errors
from ansible_collections.matrixon.ops.plugins.module_utils._health.validate import (
    LONGEST_WAIT,
    duplicate_errors,
    login_errors,
    name_errors,
    seconds_errors,
    trust_errors,
)
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import LOGIN_SPEC, PASSWORD_FILE_SPEC
from ansible_collections.matrixon.ops.plugins.module_utils._upkeep.act import Limits
from ansible_collections.matrixon.ops.plugins.module_utils._upkeep.plan import Rules

LOOK, ACT = "look", "act"
SECRETS = {"postgresql": ("password",)}
# The server's own bounds.
MOST_COST_DELAY, MOST_COST_LIMIT = 100.0, 10_000
# A statement must have some time beside what is kept for proofs.
LEAST_TIME = 5.0

_LIMITS, _RULES = Limits(), Rules()
SPEC: dict[str, t.Any] = {
    "mode": {"type": "str", "choices": [LOOK, ACT], "default": LOOK},
    **CHECKS_SPEC,
    "postgresql": {"type": "dict", "required": True, "options": {**LOGIN_SPEC, **PASSWORD_FILE_SPEC}},
    "deadline": {"type": "float", "default": 60},
    "statement_deadline": {"type": "float", "default": _LIMITS.statement_deadline},
    "lock_timeout": {"type": "float", "default": _LIMITS.lock_timeout},
    "cost_delay": {"type": "float", "default": _LIMITS.cost_delay_ms},
    "cost_limit": {"type": "int", "default": _LIMITS.cost_limit},
    "max_lag": {"type": "int", "default": _LIMITS.max_lag},
    "lag_wait": {"type": "float", "default": _LIMITS.lag_wait},
    "dead_rows": {"type": "int", "default": _RULES.dead_rows},
    "dead_share": {"type": "float", "default": _RULES.dead_share},
    "freeze_share": {"type": "float", "default": _RULES.freeze_share},
    "reindex": {"type": "bool", "default": _RULES.reindex},
    "reindex_share": {"type": "float", "default": _RULES.reindex_share},
    "reindex_size": {"type": "int", "default": _RULES.reindex_size},
    "skip": {"type": "list", "elements": "str", "default": []},
}


def limits(options: Options) -> Limits:
    """Return how gentle a run is to be."""
    return Limits(
        options["lock_timeout"],
        options["statement_deadline"],
        options["cost_delay"],
        options["cost_limit"],
        options["max_lag"],
        options["lag_wait"],
    )


def rules(options: Options) -> Rules:
    """Return from when on something is work."""
    return Rules(
        options["dead_rows"],
        options["dead_share"],
        options["freeze_share"],
        options["reindex"],
        options["reindex_share"],
        options["reindex_size"],
        tuple(options["skip"]),
    )


def errors(options: Options, checks: t.Mapping[str, Check]) -> t.Iterator[str]:
    """Yield what is wrong with the options."""
    yield from name_errors(options)
    yield from login_errors("postgresql", options["postgresql"])
    yield from trust_errors("postgresql.ca_file", options["postgresql"]["ca_file"])
    for name in ("deadline", "statement_deadline", "lock_timeout", "lag_wait"):
        yield from seconds_errors(name, options[name])
    yield from check_errors(options, checks)
    if options["mode"] == ACT:
        yield from _act_errors(options)


def _act_errors(options: Options) -> t.Iterator[str]:
    least = limits(options).reserve + LEAST_TIME
    if 0 < options["deadline"] < least:
        yield (
            f"deadline: {options['deadline']:g} s leave no time for a statement beside lock_timeout of "
            f"{options['lock_timeout']:g} s and the proof; give {least:g} at least, {LONGEST_WAIT} at most"
        )
    for name in ("dead_share", "freeze_share", "reindex_share"):
        if not 0 < options[name] <= 100:
            yield f"{name}: {options[name]:g} is no share; give a percentage above 0, 100 at most"
    for name in ("dead_rows", "reindex_size"):
        if options[name] < 1:
            yield f"{name}: {options[name]} would make everything work; give 1 or more"
    if options["max_lag"] < 0:
        yield f"max_lag: {options['max_lag']} is below 0; give bytes, or 0 to not look at standbys"
    if not 0 <= options["cost_delay"] <= MOST_COST_DELAY:
        yield f"cost_delay: {options['cost_delay']:g} is outside the server's bounds; give 0 to 100 milliseconds"
    if not 1 <= options["cost_limit"] <= MOST_COST_LIMIT:
        yield f"cost_limit: {options['cost_limit']} is outside the server's bounds; give 1 to {MOST_COST_LIMIT}"
    yield from duplicate_errors("skip", options["skip"])
    for at, name in enumerate(options["skip"]):
        if "." not in name.strip("."):
            yield f"skip[{at}]: {name!r} has no schema; write for example public.{name or 'events'}"
