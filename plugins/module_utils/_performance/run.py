# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""From module options to a performance report, without Ansible in it."""

from __future__ import annotations

import datetime
import os
import resource
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _postgresql_host
from ansible_collections.matrixon.ops.plugins.module_utils._health import engine
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Check, Plan, Probe, Skip
from ansible_collections.matrixon.ops.plugins.module_utils._health.options import (
    Options,
    select,
    thresholds,
)
from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._performance import (
    advice,
    earlier,
    endpoints,
    guide,
    host,
    postgresql,
    services,
    showing,
)
from ansible_collections.matrixon.ops.plugins.module_utils._performance.options import errors
from ansible_collections.matrixon.ops.plugins.module_utils._performance.sampling import Clock, Interval
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import server_of
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, Facts, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import (
    gather,
    parse_cores,
    peak_memory,
    read,
    read_sockets,
)
from ansible_collections.matrixon.ops.plugins.module_utils._report import Report


class Scope(t.NamedTuple):
    """What the checks of one part of the report look at."""

    CHECKS: tuple[Check, ...]


SCOPES = {
    "host": Scope(host.CHECKS),
    "services": Scope(services.CHECKS),
    "homeserver": Scope(endpoints.CHECKS),
    "postgresql": Scope(postgresql.CHECKS),
    "all together": Scope((earlier.COMPARISON, guide.GUIDE)),
}
CHECKS: dict[str, Check] = {check.name: check for scope in SCOPES.values() for check in scope.CHECKS}
_LIMIT_FILES = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")
# Below this the tuning has no figures for a server.
LEAST_MEMORY = 128 * 1024**2


def check_performance(
    options: Options,
    now: datetime.datetime | None = None,
    clock: Clock | None = None,
    root: str = "/",
) -> Report:
    """Validate the options, watch the host for the interval, and return the report.

    Raise OptionErrors before anything is contacted.
    """
    wrong = list(errors(options, CHECKS))
    if wrong:
        raise OptionErrors(wrong)
    clock = clock or Clock()
    deadline = Deadline(options["deadline"], clock.tick)
    started = now or datetime.datetime.now(datetime.timezone.utc)
    policy = engine.Policy(
        timeout=options["timeout"],
        thresholds=thresholds(options, CHECKS),
    )
    outcome = engine.execute(select(make_plan(options, clock, root), options), policy, deadline)
    before = earlier.read(options["earlier"])
    late = engine.execute(select(_late_plan(options, outcome.facts, before, started, root), options), policy, deadline)
    engine.merge(outcome.facts, late.facts)
    results = [*outcome.results, *late.results]
    facts = _facts(outcome.facts, options, policy, before, started)
    facts["answer"] = showing.answer(results, outcome.facts.get("rankings", {}), outcome.facts.get("figures", {}))
    return Report(
        kind="performance",
        target=options["target"],
        deployment=options["deployment"],
        profile=options["profile"],
        started=started,
        finished=started + datetime.timedelta(seconds=deadline.elapsed()),
        checks=tuple(results),
        facts={**facts, "footprint": _footprint(deadline)},
        unknown_as=options["unknown_as"],
    )


# Plan --------------------------------------------------------------------------------------------------------------


def make_plan(options: Options, clock: Clock, root: str = "/") -> Plan:
    """Return every probe and skip that the options call for. All of them watch the same interval."""
    interval = Interval(options["interval"], options["samples"], clock)
    seconds = options["interval"] + options["timeout"]
    plan: Plan = [host.probe(root, interval, seconds)]
    pid_files = {entry["name"]: entry["pid_file"] for entry in options["processes"]}
    if options["units"] or pid_files:
        plan.append(services.process_probe(options["units"], pid_files, root, interval, seconds))
    else:
        plan += [Skip(check, "host", "neither units nor processes names one") for check in services.PROCESS_CHECKS]
    if options["ports"]:
        plan.append(services.connection_probe(options["ports"], root, interval, seconds))
    else:
        plan.append(Skip(services.CONNECTIONS, "host", "ports names none"))
    return plan + _homeserver(options, interval, seconds) + _postgresql(options, interval, seconds, root)


def _homeserver(options: Options, interval: Interval, seconds: float) -> Plan:
    given = options["homeserver"]
    if given is None:
        return []
    if given["unsupported"]:
        return [Skip(check, "homeserver", given["unsupported"]) for check in endpoints.CHECKS]
    if not given["instances"]:
        return [Skip(check, "homeserver", "homeserver.instances names none") for check in endpoints.CHECKS]
    histogram = endpoints.Histogram(
        given["latency_histogram"]["name"],
        tuple(given["latency_histogram"]["labels"]),
        tuple(given["latency_histogram"]["excluded"]),
    )
    client = HttpClient(options["connect_to"], options["ca_file"], options["validate_certs"])
    return [endpoints.probe(client, given["instances"], histogram, interval, seconds)]


def _postgresql(options: Options, interval: Interval, seconds: float, root: str) -> Plan:
    given = options["postgresql"]
    if given is None:
        return []
    return [postgresql.probe(server_of(given), machine(given["tuning"], root), interval, seconds)]


def machine(given: Options, root: str = "/") -> advice.Machine:
    """Return what the advice is computed from: what was given, and else what this host says."""
    return advice.Machine(
        memory_bytes=given["memory_bytes"] or memory_of(root),
        cores=given["cores"] or cores_of(root),
        connections=given["connections"],
        storage=given["storage"],
        standbys=given["standbys"],
        overrides=given["settings"],
    )


def memory_of(root: str) -> int:
    """Return the memory of the host, or the smaller limit that it is under; never too little to compute with."""
    limit = next((text for text in (_content(root, path) for path in _LIMIT_FILES) if text), "")
    return max(LEAST_MEMORY, _postgresql_host.memory_bytes(_content(root, "proc/meminfo"), limit))


def cores_of(root: str) -> int:
    """Return the cores that may be used."""
    if root == "/":
        return len(os.sched_getaffinity(0))
    return parse_cores(read(root, "proc/stat"))


def _content(root: str, path: str) -> str:
    try:
        return read(root, path)
    except OSError:
        return ""


def _late_plan(options: Options, facts: Facts, before: earlier.Earlier, now: datetime.datetime, root: str) -> Plan:
    """Return what is judged from the facts of all the others."""
    changes = earlier.changes(facts.get("figures", {}), before.kept)
    slower = earlier.slower_queries(facts.get("postgresql", {}).get("statements"), before.kept)
    given: Facts = {"earlier": before, "changes": changes}
    if before.taken:
        given["seconds"] = (now - before.taken).total_seconds()
    tables = {"queries_slower": slower, "comparison": [change.row() for change in changes]}
    compared = {"report": {"rankings": tables, "comparison": _compared(before, changes)}}
    plan: Plan = [Probe("host", (earlier.COMPARISON,), lambda _deadline: compared, given)]
    if options["guide_settings"]:

        def look(deadline: Deadline) -> Facts:
            found = guide.lines(options["guide_settings"], seen(options, facts, deadline, root))
            return {"lines": found, "report": {"rankings": {"guide": [list(line) for line in found]}}}

        plan.append(Probe("host", (guide.GUIDE,), look))
    else:
        plan.append(Skip(guide.GUIDE, "host", "the profile knows no settings of the guide"))
    return plan


def _compared(before: earlier.Earlier, changes: t.Sequence[earlier.Change]) -> Facts:
    if before.taken is None:
        return {"reason": before.reason}
    rows = {change.title: [round(change.before, 3), round(change.now, 3)] for change in changes}
    return {"with": before.taken.strftime("%Y-%m-%dT%H:%M:%S.000Z"), "figures": rows}


def seen(options: Options, facts: Facts, deadline: Deadline, root: str) -> guide.Seen:
    """Return what the guide's settings are held against."""
    tuning = (options["postgresql"] or {}).get("tuning") or {}
    found = facts.get("postgresql", {})
    ever = facts.get("rankings", {}).get("queries_mean_ever")
    scopes = [name for name in (guide.HOMESERVER, guide.DATABASE) if options[name] is not None]
    sockets = gather({"sockets": lambda: read_sockets(root, deadline)})["sockets"]
    unread = isinstance(sockets, ProbeFailure)
    return guide.Seen(
        scopes=scopes,
        memory_bytes=tuning.get("memory_bytes") or memory_of(root),
        cores=tuning.get("cores") or cores_of(root),
        accepted=facts.get("accepted_per_second"),
        open_files=facts.get("open_files"),
        connections=found.get("usable_connections"),
        slowest_ms=ever[0][3] if ever else None,
        listening=None if unread else {port for _address, port in sockets.listening},
    )


# Report ------------------------------------------------------------------------------------------------------------


def _facts(
    found: Facts, options: Options, policy: engine.Policy, before: earlier.Earlier, started: datetime.datetime
) -> Facts:
    """Return the facts of the report: what the page draws, what a later run compares with, and the rest as it is."""
    shift = (started - before.taken).total_seconds() if before.taken else None
    kept_series = before.kept.get("series")
    levels = {name: policy.limits(check) for name, check in CHECKS.items()}
    rest = {name: value for name, value in found.items() if name not in ("series", "rankings")}
    return {
        **rest,
        "interval": {"seconds": options["interval"], "samples": options["samples"]},
        "plots": showing.plots(
            found.get("series", {}), levels, kept_series if isinstance(kept_series, dict) else {}, shift
        ),
        "rankings": showing.rankings(found.get("rankings", {})),
        "kept": earlier.keep(found),
    }


def _footprint(deadline: Deadline) -> Facts:
    """Return what this collector itself took: seconds of a CPU, with the tools that it called, and of time."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    memory = peak_memory(read("/", "proc/self/status"))
    return {
        "cpu_seconds": round(sum(one.ru_utime + one.ru_stime for one in spent), 3),
        "seconds": round(deadline.elapsed(), 3),
        **({} if memory is None else {"memory_bytes": memory}),
    }
