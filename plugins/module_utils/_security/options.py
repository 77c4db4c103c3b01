# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""From module options to what is asked. What cannot be right is refused at once, with the way out."""

from __future__ import annotations

import difflib
import ipaddress
import math
import os
import re
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Limits
from ansible_collections.matrixon.ops.plugins.module_utils._health.validate import (
    duplicate_errors,
    port_errors,
    seconds_errors,
)
from ansible_collections.matrixon.ops.plugins.module_utils._security.language import compile_language
from ansible_collections.matrixon.ops.plugins.module_utils._security.model import CHECKS, KINDS, SERVER, Check
from ansible_collections.matrixon.ops.plugins.module_utils._security.pseudonym import ADDRESSES, USERS

Options = dict[str, t.Any]

UNIT = re.compile(r"[A-Za-z0-9:_.\\@*?\[\]-]+\.[a-z]+")
LONGEST_SINCE = 24 * 14
LONGEST_WINDOW = 24 * 60
MOST_TOP = 100

PATTERNS_SPEC: dict[str, t.Any] = dict(
    line=dict(type="str", required=True),
    access=dict(
        type="dict",
        options=dict(
            logger=dict(type="str", required=True),
            needles=dict(type="list", elements="str", required=True),
            pattern=dict(type="str", required=True),
        ),
    ),
    internal_paths=dict(type="str"),
    events=dict(
        type="list",
        elements="dict",
        required=True,
        options=dict(
            kind=dict(
                type="str", required=True, choices=[kind.name for kind in KINDS.values() if kind.origin == SERVER]
            ),
            needle=dict(type="str", required=True),
            logger=dict(type="str", required=True),
            pattern=dict(type="str", required=True),
        ),
    ),
)
SPEC: dict[str, t.Any] = dict(
    patterns=dict(type="dict", options=PATTERNS_SPEC),
    unsupported=dict(type="str"),
    journal_units=dict(type="list", elements="str", default=[]),
    log_files=dict(type="list", elements="path", default=[]),
    host_log=dict(type="bool", default=True),
    service_ports=dict(type="list", elements="int", default=[]),
    proxies=dict(type="list", elements="str", default=[]),
    fail2ban=dict(type="bool", default=True),
    fail2ban_jails=dict(type="list", elements="str", default=[]),
    since_hours=dict(type="float", default=24),
    window_minutes=dict(type="int", default=60),
    state_dir=dict(type="path", default="/var/lib/matrixon-security"),
    show=dict(type="list", elements="str", choices=[ADDRESSES, USERS], default=[]),
    top=dict(type="int", default=10),
    thresholds=dict(type="dict", default={}),
    skip_checks=dict(type="dict", default={}),
    deadline=dict(type="float", default=120),
)


def errors(options: Options) -> t.Iterator[str]:
    """Yield everything that cannot be right."""
    for name in ("deployment", "profile"):
        if not options[name].strip():
            yield f"{name}: it is empty; give the name that is to stand in the report"
    yield from seconds_errors("deadline", options["deadline"])
    yield from _pattern_errors(options)
    yield from _source_errors(options)
    yield from _number_errors(options)
    for number, port in enumerate(options["service_ports"]):
        yield from port_errors(f"service_ports[{number}]", port)
    for number, network in enumerate(options["proxies"]):
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            yield f"proxies[{number}]: {network!r} is no address or network; give for example 10.0.0.5 or 10.0.0.0/24"
    if options["fail2ban_jails"] and not options["fail2ban"]:
        yield "fail2ban_jails: they are not looked at with fail2ban: false; leave them out, or set it to true"
    yield from _check_errors(options)


def _pattern_errors(options: Options) -> t.Iterator[str]:
    patterns, sources = options["patterns"], options["journal_units"] or options["log_files"]
    if patterns and options["unsupported"]:
        yield "unsupported: there are patterns, too; give one of both"
    if not patterns and not options["unsupported"] and sources:
        yield "patterns: there is a log and no way to read it; give them, or say in unsupported why there are none"
    if patterns:
        if not options["journal_units"] and not options["log_files"]:
            yield "patterns: there is no log to read with them; give journal_units or log_files"
        for number, event in enumerate(patterns["events"]):
            if len(event["needle"]) < 4 or "\n" in event["needle"]:
                hint = "give a piece of text of one line that stands word for word in each line of the event"
                yield f"patterns.events[{number}].needle: {event['needle']!r} finds too much; {hint}"
        try:
            compile_language(patterns)
        except ValueError as error:
            yield f"patterns.{error}"


def _source_errors(options: Options) -> t.Iterator[str]:
    for number, unit in enumerate(options["journal_units"]):
        if not UNIT.fullmatch(unit) or unit.startswith("-"):
            hint = "give for example matrix-synapse.service or worker@*.service"
            yield f"journal_units[{number}]: {unit!r} is not the full name of a unit, nor a pattern of one; {hint}"
    for number, path in enumerate(options["log_files"]):
        if not os.path.isabs(path):
            yield f"log_files[{number}]: {path!r} is no absolute path; give one that begins with /"
    if not os.path.isabs(options["state_dir"]) or options["state_dir"] == "/":
        yield f"state_dir: {options['state_dir']!r} cannot be; give the absolute path of a directory of its own"
    yield from duplicate_errors("journal_units", options["journal_units"])
    yield from duplicate_errors("log_files", options["log_files"])
    asked = ("patterns", "unsupported", "host_log", "service_ports", "fail2ban")
    if not any(options[name] for name in asked):
        yield "patterns: there is nothing to look at; give patterns with a log, host_log, service_ports or fail2ban"


def _number_errors(options: Options) -> t.Iterator[str]:
    if not 0 < options["since_hours"] <= LONGEST_SINCE:
        yield f"since_hours: {options['since_hours']:g} cannot be; give hours above 0, {LONGEST_SINCE} at most"
    for name, most in (("window_minutes", LONGEST_WINDOW), ("top", MOST_TOP)):
        if not 1 <= options[name] <= most:
            yield f"{name}: {options[name]} cannot be; give a number from 1 to {most}"


def _check_errors(options: Options) -> t.Iterator[str]:
    for option in ("skip_checks", "thresholds"):
        for name in options[option]:
            if name not in CHECKS:
                near = difflib.get_close_matches(name, CHECKS, 1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(CHECKS))}"
                yield f"{option}: {name!r} is not a check; {hint}"
    for name, reason in options["skip_checks"].items():
        if not isinstance(reason, str) or not reason.strip():
            yield f"skip_checks.{name}: say why it is skipped; the reason stands in the report"
    for name, given in options["thresholds"].items():
        if name in CHECKS:
            yield from _threshold_errors(name, given)


def _threshold_errors(name: str, given: t.Any) -> t.Iterator[str]:
    where, check = f"thresholds.{name}", CHECKS[name]
    if not isinstance(check, Check) and check.fixed:
        yield f"{where}: the verdict of this check depends on no threshold; leave it out"
        return
    if not isinstance(given, dict) or not given or set(given) - {"warning", "critical"}:
        hint = "give warning, critical or both, such as {warning: 20, critical: 100}"
        yield f"{where}: {given!r} is not understood; {hint}"
        return
    wrong = [level for level, value in given.items() if value is not None and _number(value) is None]
    for level in wrong:
        yield f"{where}.{level}: {given[level]!r} is no number above 0; give one, or null to switch this level off"
    if wrong:
        return
    limits = limits_of(name, {name: given})
    if limits.warning is not None and limits.critical is not None and limits.warning > limits.critical:
        yield (
            f"{where}: warning {limits.warning:g} is above critical {limits.critical:g}, so it would never warn; "
            "exchange them or give both"
        )


def limits_of(name: str, thresholds: dict[str, t.Any]) -> Limits:
    """Return the thresholds of a check: the given ones over its own."""
    check, given = CHECKS[name], thresholds.get(name, {})
    return Limits(
        _number(given["warning"]) if "warning" in given else check.warning,
        _number(given["critical"]) if "critical" in given else check.critical,
    )


def _number(value: t.Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None
