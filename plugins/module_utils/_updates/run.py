# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""From module options to a report on the updates of a host, without Ansible in it."""

from __future__ import annotations

import datetime
import json
import os
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._audit import packages as audit
from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import Tools
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._probe import PARSE, Deadline, Facts, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import gather, part, read
from ansible_collections.matrixon.ops.plugins.module_utils._report import UNKNOWN, Report
from ansible_collections.matrixon.ops.plugins.module_utils._updates import apt, judge
from ansible_collections.matrixon.ops.plugins.module_utils._updates.plan import Choice, Wishes, choose

DISK_PATHS = ("/", "/var", "/var/cache/apt/archives", "/boot")


@dataclass(frozen=True)
class Outcome:
    """A finished run: the report, and the plan for whoever acts on it."""

    report: Report
    planned: list[dict[str, t.Any]]
    installs: dict[str, str]
    left: list[dict[str, t.Any]]
    restarts: list[str]
    reboot: list[str]
    current: bool


def errors(options: Facts) -> t.Iterator[str]:
    """Say what is wrong in the options, each with the way out."""
    for name in ("deadline", "timeout"):
        if options[name] <= 0:
            yield f"{name}: {options[name]:g} is no time; give more than 0 seconds"
    if options["lock_timeout"] < 0:
        yield f"lock_timeout: {options['lock_timeout']:g} is less than nothing; give 0 or more seconds"
    for name in ("free_bytes", "free_boot"):
        if options[name] < 0:
            yield f"{name}: {options[name]} is less than nothing; give 0 or more bytes"
    if not os.path.isabs(options["journal"]):
        yield f"journal: '{options['journal']}' is no absolute path; write it from the root"
    for name in options["skip_checks"]:
        if name not in judge.CHECKS:
            yield f"skip_checks: there is no check '{name}'; the checks are {', '.join(judge.CHECKS)}"


def probe_journal(root: str, path: str) -> Facts:
    """Return the mark that a run leaves while a host is out of service."""
    place = os.path.join(root, path.lstrip("/"))
    if not os.path.exists(place):
        return {}
    try:
        found = json.loads(read("", place))
    except ValueError as error:
        raise ProbeFailure(PARSE, f"{path} is no journal of an update: {error}") from error
    if not isinstance(found, dict) or not found:
        raise ProbeFailure(PARSE, f"{path} is no journal of an update")
    return found


def _choice(facts: Facts, options: Facts, tools: Tools, deadline: Deadline) -> Choice:
    wishes = Wishes(
        options["packages"],
        tuple(options["hold"]),
        tuple(options["exclude"]),
        tuple(options["services"]),
        options["include_services"],
    )
    return choose(
        part(facts, "updates")["upgrades"],
        part(facts, "packages")["held"],
        wishes,
        part(facts, "whole"),
        lambda arguments: apt.simulate(arguments, tools, deadline),
    )


def observe(options: Facts, tools: Tools, deadline: Deadline, pause: t.Callable[[float], None]) -> Facts:
    """Do all the I/O. The locks come first, for what another apt does would change the rest."""
    facts = gather({"locks": lambda: apt.probe_locks(tools, deadline, options["lock_timeout"], pause)})
    facts.update(
        gather(
            {
                "mirrors": lambda: apt.probe_mirrors(tools, deadline, options["timeout"]),
                "packages": lambda: apt.probe_packages(tools, deadline),
                "updates": lambda: audit.probe_updates(tools, deadline),
                "whole": lambda: apt.probe_upgrade(tools, deadline),
                "disk": lambda: apt.probe_disk(tools, DISK_PATHS),
                "restarts": lambda: apt.probe_restarts(tools, deadline),
                "reboot": lambda: audit.probe_reboot(tools, deadline),
                "unattended": lambda: audit.probe_unattended(tools, deadline),
                "journal": lambda: probe_journal(tools.root, options["journal"]),
            }
        )
    )
    facts.update(gather({"choice": lambda: _choice(facts, options, tools, deadline)}))
    return facts


def _rows(choice: Choice | ProbeFailure) -> tuple[list[dict[str, t.Any]], list[dict[str, t.Any]]]:
    if isinstance(choice, ProbeFailure):
        return [], []
    planned = [
        {"package": one.package, "installed": one.installed, "version": one.version, "security": one.security}
        for one in choice.selected
    ]
    left = [
        {
            "package": each.upgrade.package,
            "installed": each.upgrade.installed,
            "version": each.upgrade.version,
            "security": each.upgrade.security,
            "why": each.why,
            "message": each.message,
        }
        for each in choice.left
    ]
    return planned, left


def _ranking(planned: list[dict[str, t.Any]], left: list[dict[str, t.Any]]) -> dict[str, t.Any]:
    rows = [[one["package"], one["installed"], one["version"], _kind(one), "would be made"] for one in planned]
    rows += [[one["package"], one["installed"], one["version"], _kind(one), one["message"]] for one in left]
    titles = ("package", "installed", "newer", "kind", "what becomes of it")
    return {
        "name": "updates",
        "title": "Updates",
        "columns": [{"title": title, "unit": "text"} for title in titles],
        "rows": rows[: audit.MOST_LISTED],
        "bar": None,
    }


def _kind(row: dict[str, t.Any]) -> str:
    return "security" if row["security"] else "other"


def _told(facts: Facts, planned: list[dict[str, t.Any]], left: list[dict[str, t.Any]]) -> Facts:
    """Return the facts of the report; what could not be seen has none."""
    told: Facts = {}
    if not isinstance(facts["updates"], ProbeFailure):
        told["lists_age_s"] = round(facts["updates"]["age"])
    if not isinstance(facts["unattended"], ProbeFailure):
        told["unattended"] = facts["unattended"]
    if not isinstance(facts["choice"], ProbeFailure):
        told["planned"], told["left"] = len(planned), len(left)
        if planned or left:
            told["rankings"] = [_ranking(planned, left)]
    return told


def check_updates(
    options: Facts,
    now: datetime.datetime | None = None,
    clock: t.Callable[[], float] = time.monotonic,
    tools: Tools | None = None,
    pause: t.Callable[[float], None] = apt.pause,
) -> Outcome:
    """Validate the options, look at the host, and return what was found.

    Raise OptionErrors before anything is looked at.
    """
    wrong = list(errors(options))
    if wrong:
        raise OptionErrors(wrong)
    deadline = Deadline(options["deadline"] + options["lock_timeout"], clock)
    started = now or datetime.datetime.now(datetime.timezone.utc)
    tools = tools or Tools(now=started.timestamp())
    facts = observe(options, tools, deadline, pause)
    checks = tuple(judge.verdict(name, options["target"], facts, options) for name in judge.CHECKS)
    planned, left = _rows(facts["choice"])
    report = Report(
        kind="updates",
        target=options["target"],
        deployment=options["deployment"],
        profile=options["profile"],
        started=started,
        finished=started + datetime.timedelta(seconds=deadline.elapsed()),
        checks=checks,
        facts=_told(facts, planned, left),
        unknown_as=options["unknown_as"],
    )
    lists = next(check for check in checks if check.name == "updates_lists")
    return Outcome(
        report,
        planned,
        {} if isinstance(facts["choice"], ProbeFailure) else facts["choice"].installs,
        left,
        [] if isinstance(facts["restarts"], ProbeFailure) else facts["restarts"]["services"],
        _reasons(facts),
        lists.status != UNKNOWN and all(one.current for one in _mirrors(facts)),
    )


def _mirrors(facts: Facts) -> list[apt.Mirror]:
    return [] if isinstance(facts["mirrors"], ProbeFailure) else facts["mirrors"]


def _reasons(facts: Facts) -> list[str]:
    try:
        return judge.reboot_reasons(facts)
    except ProbeFailure:
        return []
