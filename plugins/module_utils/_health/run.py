# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""From module options to a health report, without Ansible in it."""

from __future__ import annotations

import datetime
import time
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._health import (
    backup,
    certificates,
    dns,
    engine,
    federation,
    haproxy,
    homeserver,
    postgresql,
    redis,
    system,
)
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import (
    Baseline,
    Check,
    Context,
    Plan,
)
from ansible_collections.matrixon.ops.plugins.module_utils._health.options import (
    Options,
    check_errors,
    select,
    thresholds,
)
from ansible_collections.matrixon.ops.plugins.module_utils._health.options import read_secrets as fill_secrets
from ansible_collections.matrixon.ops.plugins.module_utils._health.validate import (
    endpoint_errors,
    name_errors,
    seconds_errors,
    trust_errors,
)
from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import Report

# Each scope is a module option of the same name.
SCOPES: dict[str, t.Any] = {
    "homeserver": homeserver,
    "federation": federation,
    "haproxy": haproxy,
    "postgresql": postgresql,
    "redis": redis,
    "system": system,
    "backup": backup,
    "certificates": certificates,
    "dns": dns,
}
CHECKS: dict[str, Check] = {check.name: check for scope in SCOPES.values() for check in scope.CHECKS}

SECRETS = {
    "homeserver": ("sender_token", "reader_token"),
    "postgresql": ("password",),
    "redis": ("password",),
}
TRUST_FILES = (None, "postgresql", "redis")


def read_secrets(options: Options) -> list[str]:
    """Fill every secret that is given as a file; return all secrets. Raise OptionErrors."""
    return fill_secrets(options, SECRETS)


def check_health(
    options: Options,
    now: datetime.datetime | None = None,
    clock: t.Callable[[], float] = time.monotonic,
) -> Report:
    """Validate the options, run every check they call for, and return the report.

    Raise OptionErrors before anything is contacted.
    """
    errors = list(_errors(options))
    if errors:
        raise OptionErrors(errors)
    deadline = Deadline(options["deadline"], clock)
    started = now or datetime.datetime.now(datetime.timezone.utc)
    policy = engine.Policy(
        timeout=options["timeout"],
        retries=options["retries"],
        retry_delay=options["retry_delay"],
        thresholds=thresholds(options, CHECKS),
    )
    outcome = engine.execute(make_plan(options, started), policy, deadline)
    return Report(
        kind="health",
        target=options["target"],
        deployment=options["deployment"],
        profile=options["profile"],
        started=started,
        finished=started + datetime.timedelta(seconds=deadline.elapsed()),
        checks=tuple(outcome.results),
        facts=outcome.facts,
        unknown_as=options["unknown_as"],
    )


def make_plan(options: Options, now: datetime.datetime) -> Plan:
    """Return every probe and skip that the options call for."""
    http = HttpClient(options["connect_to"], options["ca_file"], options["validate_certs"])
    context = Context(now, _baseline(options["baseline"]), http)
    plan: Plan = []
    for name, scope in SCOPES.items():
        if options[name] is not None:
            plan += scope.plan(options[name], context)
    return select(plan, options)


def _errors(options: Options) -> t.Iterator[str]:
    yield from name_errors(options)
    for name in ("deadline", "timeout", "retry_delay"):
        yield from seconds_errors(name, options[name])
    if options["retries"] < 0:
        yield f"retries: {options['retries']} is below 0; give 0 for a single attempt"
    yield from check_errors(options, CHECKS)
    for source, other in options["connect_to"].items():
        yield from endpoint_errors("connect_to", source)
        yield from endpoint_errors(f"connect_to.{source}", str(other))
    for scope in TRUST_FILES:
        given = options if scope is None else options[scope] or {}
        yield from trust_errors(f"{scope}.ca_file" if scope else "ca_file", given.get("ca_file"))
    for name, scope in SCOPES.items():
        if options[name] is not None:
            yield from scope.validate(options[name])


def _baseline(document: dict[str, t.Any] | None) -> Baseline | None:
    """Return an earlier report as a baseline; one that cannot be read is none."""
    try:
        taken = datetime.datetime.strptime((document or {})["finished"], "%Y-%m-%dT%H:%M:%S.%f%z")
        return Baseline(dict((document or {})["facts"]), taken)
    except (KeyError, TypeError, ValueError):
        return None
