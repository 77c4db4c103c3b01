# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Findings that somebody answers for, until a day: the file of exceptions, and what it does to findings."""

from __future__ import annotations

import dataclasses
import datetime
import fnmatch
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import SEVERITIES, Finding
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    OK,
    SKIPPED,
    UNKNOWN,
    WARNING,
    CheckResult,
)

KEYS = ("id", "host", "reason", "owner", "expires")
DATE = re.compile(r"^\d{4}-\d\d-\d\d$")
UNUSED_CHECK = "exception_unused"

USED, EXPIRED, UNUSED, UNSEEN = "used", "expired", "unused", "unseen"


@dataclass(frozen=True)
class Exemption:
    """One entry of the file. The id is that of a rule, or that of a rule and of one thing: ``rule:subject``."""

    id: str
    host: str
    reason: str
    owner: str
    expires: datetime.date

    def as_dict(self) -> dict[str, str]:
        """Return it as the file has it."""
        return {
            "id": self.id,
            "host": self.host,
            "reason": self.reason,
            "owner": self.owner,
            "expires": self.expires.isoformat(),
        }

    @property
    def rule(self) -> str:
        """Return the id of its rule."""
        return self.id.partition(":")[0]

    def names(self, finding: Finding) -> bool:
        """Return whether it is about a finding."""
        return self.id in (finding.rule.id, finding.id)

    def is_for(self, host: str) -> bool:
        """Return whether it is about a host."""
        return fnmatch.fnmatchcase(host, self.host)


def parse(entries: t.Any, rules: t.Collection[str], where: str = "exceptions") -> tuple[list[Exemption], list[str]]:
    """Return the entries, and a sentence for each that is wrong."""
    if entries is None:
        return [], []
    if not isinstance(entries, list):
        return [], [f"{where}: it is no list; write entries with {', '.join(KEYS)}, each after a dash"]
    found: list[Exemption] = []
    wrong: list[str] = []
    for number, entry in enumerate(entries, 1):
        problems = list(_entry_errors(entry, rules, f"{where}: entry {number}"))
        wrong += problems
        if not problems:
            name, host, reason, owner, expires = (str(entry[key]).strip() for key in KEYS)
            found.append(Exemption(name, host, reason, owner, datetime.date.fromisoformat(expires)))
    twice = sorted({one.id for one in found if sum((one.id, one.host) == (two.id, two.host) for two in found) > 1})
    wrong += [f"{where}: {name} stands there twice for the same hosts; keep one" for name in twice]
    return found, wrong


def _entry_errors(entry: t.Any, rules: t.Collection[str], where: str) -> t.Iterator[str]:
    if not isinstance(entry, dict):
        yield f"{where}: it is no mapping; write {', '.join(KEYS)}"
        return
    unknown = sorted(str(key) for key in entry if key not in KEYS)
    if unknown:
        yield f"{where}: does not know {', '.join(unknown)}; it takes {', '.join(KEYS)}"
    missing = [key for key in KEYS if not str(entry.get(key) if entry.get(key) is not None else "").strip()]
    if missing:
        yield f"{where}: lacks {', '.join(missing)}; each exception says what, where, why, who and until when"
        return
    rule = str(entry["id"]).partition(":")[0].strip()
    if rule not in rules:
        yield f"{where}: id '{rule}' is no rule of the audit; the README of the role security_audit lists them"
    text = str(entry["expires"]).strip()
    try:
        if not DATE.match(text):
            raise ValueError(text)
        datetime.date.fromisoformat(text)
    except ValueError:
        yield f"{where}: expires '{text}' is no day; write it as 2027-01-31"


def apply(
    findings: list[Finding], exemptions: list[Exemption], host: str, today: datetime.date
) -> tuple[list[Finding], list[dict[str, str]]]:
    """Return the findings with those skipped that somebody answers for, and what became of each exception here."""
    mine = [one for one in exemptions if one.is_for(host)]
    # Each rule that was asked has a finding; of one in an area that was left out nothing is known.
    asked = {finding.rule.id for finding in findings}
    states = {one: UNUSED if one.rule in asked else UNSEEN for one in mine}
    result = []
    for finding in findings:
        about = [one for one in mine if one.names(finding)]
        if finding.status in SEVERITIES and about:
            valid = next((one for one in about if one.expires >= today), None)
            states.update({one: USED if one.expires >= today else EXPIRED for one in about})
            finding = _excused(finding, valid) if valid else _expired(finding, about[0])
        elif finding.status == UNKNOWN:
            # What was not seen may be just what somebody answers for.
            unseen = [one for one in mine if one.rule == finding.rule.id and states[one] == UNUSED]
            states.update(dict.fromkeys(unseen, UNSEEN))
        result.append(finding)
    return result, [{"id": one.id, "host": one.host, "state": state} for one, state in states.items()]


def _excused(finding: Finding, by: Exemption) -> Finding:
    reason = f"{finding.found}; {by.reason} (accepted by {by.owner} until {by.expires.isoformat()})"
    return dataclasses.replace(finding, status=SKIPPED, skipped_reason=reason)


def _expired(finding: Finding, by: Exemption) -> Finding:
    note = f" (the exception by {by.owner} ended on {by.expires.isoformat()}: {by.reason})"
    return dataclasses.replace(finding, note=note)


def judge_use(
    exemptions: list[Exemption], states: dict[str, list[dict[str, str]]], hosts: t.Sequence[str]
) -> list[CheckResult]:
    """Return a check for each exception: one that matches nothing on any host any more is a warning.

    ``states`` are what each audited host made of the exceptions, ``hosts`` all of the inventory. Where a host was not
    audited, an exception may be about what is there, so nothing is said.
    """
    results = []
    for one in exemptions:
        meant = [host for host in hosts if one.is_for(host)]
        seen = [
            entry["state"]
            for host in meant
            for entry in states.get(host, [])
            if (entry["id"], entry["host"]) == (one.id, one.host)
        ]
        name = f"{one.id} on {one.host}"
        if not meant:
            results.append(_use(name, WARNING, f"the exception {name} is for no host of the inventory; take it out"))
        elif any(state in (USED, EXPIRED) for state in seen):
            results.append(_use(name, OK, f"the exception {name} is used"))
        elif len(seen) < len(meant) or UNSEEN in seen:
            reason = "it was not looked at on all of its hosts, so it is not known whether it is used"
            results.append(_use(name, SKIPPED, reason, reason))
        else:
            text = f"the exception {name} of {one.owner} matches no finding any more; take it out"
            results.append(_use(name, WARNING, text))
    return results


def _use(target: str, status: str, message: str, reason: str | None = None) -> CheckResult:
    return CheckResult(UNUSED_CHECK, target, status, message, skipped_reason=reason)
