# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""From module options to a health report, without Ansible in it."""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import math
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
    Limits,
    Plan,
    Skip,
)
from ansible_collections.matrixon.ops.plugins.module_utils._health.validate import (
    endpoint_errors,
    seconds_errors,
    secret_from,
    trust_errors,
)
from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import Report

Options = dict[str, t.Any]

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


class OptionErrors(Exception):
    """Options that cannot be right. Nothing has been contacted yet."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


def read_secrets(options: Options) -> list[str]:
    """Fill every secret that is given as a file; return all secrets.

    Raise OptionErrors, and fill none then: the caller learns too late what to hide.
    """
    errors, secrets, found = [], [], []
    for scope, names in SECRETS.items():
        given = options.get(scope) or {}
        for name in names:
            path = given.get(f"{name}_file")
            if path:
                try:
                    found.append((given, name, secret_from(path)))
                except (OSError, ValueError) as error:
                    why = getattr(error, "strerror", None) or error
                    errors.append(f"{scope}.{name}_file: {path} cannot be read: {why}")
            elif given.get(name):
                secrets.append(given[name])
    if errors:
        raise OptionErrors(errors)
    for given, name, secret in found:
        given[name] = secret
        secrets.append(secret)
    return secrets


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
        thresholds=_thresholds(options["thresholds"]),
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
    return _select(plan, options["checks"], options["skip_checks"])


def _select(plan: Plan, wanted: list[str] | None, skips: dict[str, str]) -> Plan:
    """Drop what was not asked for, and turn what is to be skipped into a skip with its reason."""
    selected: Plan = []
    for entry in plan:
        if isinstance(entry, Skip):
            if wanted is None or entry.check.name in wanted:
                selected.append(entry)
            continue
        checks = [check for check in entry.checks if wanted is None or check.name in wanted]
        selected += [Skip(check, entry.target, skips[check.name]) for check in checks if check.name in skips]
        kept = tuple(check for check in checks if check.name not in skips)
        if kept:
            selected.append(dataclasses.replace(entry, checks=kept))
    return selected


def _errors(options: Options) -> t.Iterator[str]:
    for name in ("deployment", "profile"):
        if not options[name].strip():
            yield f"{name}: it is empty; give the name that is to stand in the report"
    for name in ("deadline", "timeout", "retry_delay"):
        yield from seconds_errors(name, options[name])
    if options["retries"] < 0:
        yield f"retries: {options['retries']} is below 0; give 0 for a single attempt"
    if options["checks"] is not None and not options["checks"]:
        yield "checks: the list is empty; leave the option out to run every check"
    for option in ("checks", "skip_checks", "thresholds"):
        for name in options[option] or ():
            yield from _unknown_check(option, name)
    for name, reason in options["skip_checks"].items():
        if not isinstance(reason, str) or not reason.strip():
            yield f"skip_checks.{name}: say why it is skipped; the reason stands in the report"
    for name, given in options["thresholds"].items():
        yield from _threshold_errors(name, given)
    for source, other in options["connect_to"].items():
        yield from endpoint_errors("connect_to", source)
        yield from endpoint_errors(f"connect_to.{source}", str(other))
    for scope in TRUST_FILES:
        given = options if scope is None else options[scope] or {}
        yield from trust_errors(f"{scope}.ca_file" if scope else "ca_file", given.get("ca_file"))
    for name, scope in SCOPES.items():
        if options[name] is not None:
            yield from scope.validate(options[name])


def _unknown_check(option: str, name: str) -> t.Iterator[str]:
    if name not in CHECKS:
        near = difflib.get_close_matches(name, CHECKS, 1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(CHECKS))}"
        yield f"{option}: {name!r} is not a check; {hint}"


def _threshold_errors(name: str, given: t.Any) -> t.Iterator[str]:
    where = f"thresholds.{name}"
    if name in CHECKS and CHECKS[name].fixed:
        yield f"{where}: the verdict of this check depends on no threshold; leave it out"
        return
    if not isinstance(given, dict) or not given or set(given) - {"warning", "critical"}:
        hint = "give warning, critical or both, such as {warning: 80, critical: 90}"
        yield f"{where}: {given!r} is not understood; {hint}"
        return
    for level, value in given.items():
        if value is not None and _number(value) is None:
            yield f"{where}.{level}: {value!r} is not a number; give a number, or null to switch this level off"
        elif value is not None and t.cast(float, _number(value)) < 0:
            yield f"{where}.{level}: {value!r} is below 0; give 0 or more"
    limits = _limits(name, given) if name in CHECKS else Limits()
    if limits.warning is None or limits.critical is None:
        return
    below = CHECKS[name].below
    if limits.warning < limits.critical if below else limits.warning > limits.critical:
        side = "below" if below else "above"
        yield (
            f"{where}: warning {limits.warning:g} is {side} critical {limits.critical:g}, so it would never warn; "
            "exchange them or give both"
        )


def _number(value: t.Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _limits(name: str, given: dict[str, t.Any]) -> Limits:
    """Return the given thresholds over the check's own."""
    defaults = CHECKS[name].limits
    return Limits(
        _number(given["warning"]) if "warning" in given else defaults.warning,
        _number(given["critical"]) if "critical" in given else defaults.critical,
    )


def _thresholds(given: dict[str, t.Any]) -> dict[str, Limits]:
    return {name: _limits(name, levels) for name, levels in given.items()}


def _baseline(document: dict[str, t.Any] | None) -> Baseline | None:
    """Return an earlier report as a baseline; one that cannot be read is none."""
    try:
        taken = datetime.datetime.strptime((document or {})["finished"], "%Y-%m-%dT%H:%M:%S.%f%z")
        return Baseline(dict((document or {})["facts"]), taken)
    except (KeyError, TypeError, ValueError):
        return None
