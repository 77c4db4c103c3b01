# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The options by which a caller chooses among declared checks and sets their thresholds."""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Check, Limits, Plan, Skip
from ansible_collections.matrixon.ops.plugins.module_utils._health.validate import secret_from
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors

Options = dict[str, t.Any]
Checks = t.Mapping[str, Check]

# The documentation fragment _checks describes them.
CHECKS_SPEC: dict[str, t.Any] = {
    "checks": {"type": "list", "elements": "str"},
    "skip_checks": {"type": "dict", "default": {}},
    "thresholds": {"type": "dict", "default": {}},
}


# Options that are secrets, by the option that they stand in.
Secrets = t.Mapping[str, t.Sequence[str]]


def read_secrets(options: Options, known: Secrets) -> list[str]:
    """Fill every secret that is given as a file; return all secrets.

    Raise OptionErrors, and fill none then: the caller learns too late what to hide.
    """
    errors, secrets, found = [], [], []
    for scope, names in known.items():
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


def check_errors(options: Options, known: Checks) -> t.Iterator[str]:
    """Yield what is wrong with the choice of checks, the reasons for leaving some out, and the thresholds."""
    if options["checks"] is not None and not options["checks"]:
        yield "checks: the list is empty; leave the option out to run every check"
    for option in CHECKS_SPEC:
        for name in options[option] or ():
            yield from _unknown_check(option, name, known)
    for name, reason in options["skip_checks"].items():
        if not isinstance(reason, str) or not reason.strip():
            yield f"skip_checks.{name}: say why it is skipped; the reason stands in the report"
    for name, given in options["thresholds"].items():
        yield from threshold_errors(name, given, known)


def _unknown_check(option: str, name: str, known: Checks) -> t.Iterator[str]:
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
        yield f"{option}: {name!r} is not a check; {hint}"


def threshold_errors(name: str, given: t.Any, known: Checks) -> t.Iterator[str]:
    """Yield what is wrong with the thresholds of one check."""
    where = f"thresholds.{name}"
    if name in known and known[name].fixed:
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
    if name not in known:
        return
    limits = _limits(known[name], given)
    if limits.warning is None or limits.critical is None:
        return
    below = known[name].below
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


def _limits(check: Check, given: t.Mapping[str, t.Any]) -> Limits:
    return Limits(
        _number(given["warning"]) if "warning" in given else check.warning,
        _number(given["critical"]) if "critical" in given else check.critical,
    )


def thresholds(options: Options, known: Checks) -> dict[str, Limits]:
    """Return the given thresholds, each over the check's own."""
    return {name: _limits(known[name], given) for name, given in options["thresholds"].items()}


def select(plan: Plan, options: Options) -> Plan:
    """Drop what was not asked for, and turn what is to be skipped into a skip with its reason."""
    wanted, skips = options["checks"], options["skip_checks"]
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
