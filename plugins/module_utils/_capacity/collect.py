# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""From module options to the rows of one host and a report, without Ansible in it."""

from __future__ import annotations

import datetime
import functools
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._capacity import probes
from ansible_collections.matrixon.ops.plugins.module_utils._capacity.resources import (
    COUNTED,
    KINDS,
    Kind,
    Row,
    limit_errors,
    limit_of,
    share_of,
    text_of,
    threshold_errors,
    title_of,
)
from ansible_collections.matrixon.ops.plugins.module_utils._health import engine
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import (
    Check,
    Limits,
    Plan,
    Probe,
    Skip,
    Verdict,
    grade,
    skipped,
)
from ansible_collections.matrixon.ops.plugins.module_utils._health.options import Options
from ansible_collections.matrixon.ops.plugins.module_utils._health.validate import (
    duplicate_errors,
    login_errors,
    name_errors,
    seconds_errors,
    url_errors,
)
from ansible_collections.matrixon.ops.plugins.module_utils._http import parse_url
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import LOGIN_SPEC, PASSWORD_FILE_SPEC, server_of
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, Deadline, Facts, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import OK, UNKNOWN, Report

POSTGRESQL: dict[str, t.Any] = {**LOGIN_SPEC, **PASSWORD_FILE_SPEC}
INSTANCE: dict[str, t.Any] = {"name": {"type": "str", "required": True}, "url": {"type": "str", "required": True}}
SECRETS = {"postgresql": ("password",)}
MOST_TABLES = 100
UNSUPPORTED = "unsupported"


@dataclass(frozen=True)
class Outcome:
    """A finished run."""

    report: Report
    rows: list[Row]


def collect(
    options: Options,
    now: datetime.datetime | None = None,
    clock: t.Callable[[], float] = time.monotonic,
    root: str = "/",
) -> Outcome:
    """Validate the options, read everything at once, and return rows and a report.

    Raise OptionErrors before anything is looked at.
    """
    errors = list(_errors(options))
    if errors:
        raise OptionErrors(errors)
    deadline = Deadline(options["deadline"], clock)
    started = now or datetime.datetime.now(datetime.timezone.utc)
    thresholds = {kind.check: _limits(kind, options["thresholds"]) for kind in KINDS.values()}
    policy = engine.Policy(timeout=options["timeout"], thresholds=thresholds)
    outcome = engine.execute(make_plan(options, root), policy, deadline)
    rows = _rows(options, outcome.facts.pop("readings", {}), started.replace(microsecond=0))
    facts: Facts = {**outcome.facts, "rows": [row.as_dict() for row in rows]}
    facts["rankings"] = _rankings(rows)
    report = Report(
        kind="capacity",
        target=options["target"],
        deployment=options["deployment"],
        profile=options["profile"],
        started=started,
        finished=started + datetime.timedelta(seconds=deadline.elapsed()),
        checks=tuple({(one.name, one.target): one for one in outcome.results}.values()),
        facts=facts,
        unknown_as=options["unknown_as"],
    )
    return Outcome(report, rows)


def make_plan(options: Options, root: str = "/") -> Plan:
    """Return every probe that the options call for."""
    plan: Plan = []
    paths = dict.fromkeys(options["mounts"], "")
    if options["media_dir"]:
        paths[options["media_dir"]] = "media"
    for path, what in paths.items():
        read = functools.partial(probes.file_systems, path, what, root=root)
        plan.append(_probe(path, ("disk", "inodes"), read))
    if options["machine"]:
        plan.append(_probe(options["target"], ("memory", "load"), functools.partial(probes.machine, root=root)))
    if options["instances"]:
        ports = {entry["name"]: parse_url(entry["url"]).port for entry in options["instances"]}
        read = functools.partial(probes.connections, ports, options["instance_limit"], root=root)
        plan.append(_probe(options["target"], ("service_connections",), read))
    if options["postgresql"]:
        plan += _database_plan(options)
    return plan


def _database_plan(options: Options) -> Plan:
    server = server_of(options["postgresql"])
    queries = {name: query["value"] for name, query in options["queries"].items() if query["state"] != UNSUPPORTED}
    read = functools.partial(probes.server, server, options["tables"], queries)
    plan: Plan = [_probe(server.where, ("database_connections", "database", *queries, "table"), read)]
    for name, query in options["queries"].items():
        if query["state"] == UNSUPPORTED:
            reason = f"profile {options['profile']} cannot tell: {query['reason']}"
            plan.append(Skip(_check(KINDS[name]), server.where, reason))
    return plan


def _probe(target: str, kinds: tuple[str, ...], read: t.Callable[[Deadline], Facts]) -> Probe:
    def run(deadline: Deadline) -> Facts:
        facts = read(deadline)
        readings = {name: one for name, one in facts["found"].items() if isinstance(one, probes.Reading)}
        # By way of the report, so that what comes after the deadline is not taken for good.
        return {**facts, "report": {**facts.get("report", {}), "readings": readings}}

    return Probe(target, tuple(_check(KINDS[kind]) for kind in kinds), run)


def _check(kind: Kind) -> Check:
    return Check(kind.check, kind.meaning, functools.partial(judge, kind), unit="%" if kind.limited else kind.unit)


def judge(kind: Kind, facts: Facts, limits: Limits) -> list[Verdict]:
    """Return the verdict on each reading of a kind: as a share of its limit, or the number itself."""
    found: probes.Found = facts["found"]
    mine = {name: one for name, one in found.items() if name.partition(":")[0] == kind.name}
    if not mine:
        return [skipped(f"there is no {kind.title} yet")]
    return [_judged(kind, name, one, limits) for name, one in mine.items()]


def _judged(kind: Kind, name: str, one: probes.Reading | probes.Skipped | ProbeFailure, limits: Limits) -> Verdict:
    part = name.partition(":")[2] or None
    if isinstance(one, ProbeFailure):
        return Verdict(UNKNOWN, f"not measured: {one.message}", target=part, error_kind=one.kind)
    if isinstance(one, probes.Skipped):
        return skipped(one.reason, target=part)
    what, value = title_of(name), text_of(one.value, kind.unit)
    if not kind.limited:
        return Verdict(OK, f"{what}: {value}", value=one.value, target=part)
    if not one.limit:
        return Verdict(UNKNOWN, f"not measured: {what} has no limit to compare with", target=part, error_kind=INTERNAL)
    share = 100 * one.value / one.limit
    message = f"{what}: {value} of {limit_of(one.limit, kind)}, {text_of(share, '%')} now"
    return grade(share, limits, message, target=part)


def _limits(kind: Kind, given: t.Mapping[str, t.Any]) -> Limits:
    return Limits(share_of(kind, "warning", given), share_of(kind, "critical", given)) if kind.limited else Limits()


def _rows(options: Options, readings: dict[str, probes.Reading], moment: datetime.datetime) -> list[Row]:
    """Return a row for each reading that came in time."""
    rows = []
    for resource, one in sorted(readings.items()):
        kind = KINDS[resource.partition(":")[0]]
        limit = one.limit if kind.limited else options["limits"].get(kind.name)
        rows.append(Row(moment, options["deployment"], options["target"], resource, one.value, limit, kind.unit))
    return rows


def _rankings(rows: list[Row]) -> list[dict[str, t.Any]]:
    tables = sorted((row for row in rows if row.kind.name == "table"), key=lambda row: -row.value)
    if not tables:
        return []
    columns = [{"title": "table", "unit": "text"}, {"title": "size", "unit": "B"}]
    return [
        {
            "name": "tables",
            "title": "Largest tables, with their indexes",
            "columns": columns,
            "rows": [[row.resource.partition(":")[2], row.value] for row in tables],
            "bar": 1,
        }
    ]


# Options ----------------------------------------------------------------------------------------------------------


def _errors(options: Options) -> t.Iterator[str]:
    yield from name_errors(options)
    yield from seconds_errors("deadline", options["deadline"])
    yield from seconds_errors("timeout", options["timeout"])
    for path in (*options["mounts"], *([options["media_dir"]] if options["media_dir"] else [])):
        if not path.startswith("/"):
            yield f"mounts: {path!r} is no absolute path; write for example /var"
    for entry in options["instances"]:
        yield from url_errors(f"instances.{entry['name']}.url", entry["url"])
    yield from duplicate_errors("instances", [entry["name"] for entry in options["instances"]])
    if not options["instance_limit"] > 0:
        yield f"instance_limit: {options['instance_limit']:g} is no number of connections; give one above 0"
    if not 1 <= options["tables"] <= MOST_TABLES:
        yield f"tables: {options['tables']} cannot be read; give a number from 1 to {MOST_TABLES}"
    yield from threshold_errors("thresholds", options["thresholds"])
    yield from limit_errors("limits", options["limits"])
    yield from _query_errors(options)
    if not any(options[name] for name in ("mounts", "media_dir", "machine", "instances", "postgresql")):
        yield "mounts: nothing is left to read; give mounts, instances, postgresql, or machine=true"


def _query_errors(options: Options) -> t.Iterator[str]:
    for name, query in options["queries"].items():
        if name not in COUNTED:
            yield f"queries: {name!r} is not counted; known are {', '.join(COUNTED)}"
        elif not isinstance(query, dict) or not isinstance(query.get("state"), str):
            yield f"queries.{name}: {query!r:.60} is not understood; give state, and value or reason"
        else:
            needed = "reason" if query["state"] == UNSUPPORTED else "value"
            if not isinstance(query.get(needed), str) or not query[needed].strip():
                yield f"queries.{name}: it has no {needed}, which the state {query['state']!r} needs"
    if options["queries"] and not options["postgresql"]:
        yield "queries: they need a database; give postgresql, too"
    if options["postgresql"]:
        yield from login_errors("postgresql", options["postgresql"])
