# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""From facts to verdicts. A check is declared once, in CHECKS: its name, and who judges it."""

from __future__ import annotations

import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._human import human, span
from ansible_collections.matrixon.ops.plugins.module_utils._probe import REFUSED, Facts, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import part
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    SKIPPED,
    UNKNOWN,
    WARNING,
    CheckResult,
)
from ansible_collections.matrixon.ops.plugins.module_utils._updates.apt import Mirror
from ansible_collections.matrixon.ops.plugins.module_utils._updates.plan import TO_DECIDE, Choice, Left

MOST_NAMED = 10
# What needrestart says of a kernel that is newer than the running one.
NEWER_KERNEL = ("2", "3")


class Verdict(t.NamedTuple):
    """What one judge says."""

    status: str
    message: str
    value: float | None = None
    unit: str | None = None
    skipped_reason: str | None = None


def named(words: t.Sequence[str], most: int = MOST_NAMED) -> str:
    """Return the first of a list, and how many there are more."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def judge_lists(facts: Facts, options: Facts) -> Verdict:
    """Old lists say nothing of new updates, so every archive must have answered, and still have what they say."""
    mirrors: list[Mirror] = part(facts, "mirrors")
    silent = [f"{one.uri} ({one.message})" for one in mirrors if not one.answered]
    if silent:
        raise ProbeFailure(REFUSED, f"{len(silent)} of {len(mirrors)} archives did not answer: {named(silent, 3)}")
    old = [one.uri for one in mirrors if not one.current]
    if old:
        return Verdict(
            WARNING,
            f"{named(old, 3)} has changed since the package lists of this host were made, so what is pending is not "
            "known to the full; run 'apt-get update'",
        )
    return Verdict(OK, f"all {len(mirrors)} archives answered, and the package lists of this host are theirs")


def judge_pending(facts: Facts, options: Facts) -> Verdict:
    """What is in the plan and was not made yet. A plan is not done."""
    choice: Choice = part(facts, "choice")
    rows = [f"{one.package} {one.installed} -> {one.version}" for one in choice.selected]
    if not rows:
        return Verdict(OK, f"nothing is to be updated (updates_packages: {options['packages']})", 0, "count")
    brought = len(choice.installs) - len(rows)
    more = f", which bring {brought} further packages along" if brought > 0 else ""
    return Verdict(WARNING, f"{len(rows)} would be updated: {named(rows)}{more}", len(rows), "count")


def judge_left(facts: Facts, options: Facts) -> Verdict:
    """A security update that somebody holds back is told every time, for nobody else remembers it."""
    left: list[Left] = part(facts, "choice").left
    decide = [each for each in left if each.upgrade.security and each.why in TO_DECIDE]
    if not decide:
        return Verdict(OK, f"no security update is held back; {len(left)} other updates are left", len(left), "count")
    rows = [f"{each.upgrade.package} {each.upgrade.version} ({each.message})" for each in decide]
    return Verdict(WARNING, f"{len(rows)} security updates are held back: {named(rows)}", len(rows), "count")


def judge_dpkg(facts: Facts, options: Facts) -> Verdict:
    """On a half-configured package nothing can be built."""
    found = part(facts, "packages")
    if found["cut_off"]:
        return Verdict(CRITICAL, "a run of dpkg was cut off; run 'dpkg --configure -a'")
    if found["unfinished"]:
        return Verdict(
            CRITICAL,
            f"dpkg did not finish: {named(found['unfinished'])}; run 'dpkg --configure -a' and see what it says",
            len(found["unfinished"]),
            "count",
        )
    return Verdict(OK, f"all {len(found['versions'])} packages are whole")


def judge_locks(facts: Facts, options: Facts) -> Verdict:
    """Name who is in the way."""
    found = part(facts, "locks")
    if not found["holders"]:
        return Verdict(OK, f"nobody holds the locks of apt and dpkg; waited {span(found['waited'])}")
    rows = [
        f"{one['path']} by {one['process'] or 'a process that cannot be seen'} (process {one['pid']})"
        for one in found["holders"]
    ]
    return Verdict(
        CRITICAL if options["lock_timeout"] else WARNING,
        f"held after {span(found['waited'])}: {named(rows, 3)}; wait for its end, or raise updates_lock_timeout",
    )


def judge_disk(facts: Facts, options: Facts) -> Verdict:
    """The fullest of the file systems, by the part of what is asked for that it has."""
    rows = part(facts, "disk")
    if not rows:
        raise ProbeFailure(REFUSED, "none of the directories is there that updates are written to")
    limits: dict[str, int] = {"/boot": options["free_boot"]}
    enough: int = options["free_bytes"]
    tight = [one for one in rows if one["free"] < limits.get(one["path"], enough)]
    if tight:
        told = ", ".join(
            f"{one['path']} has {human(one['free'], 'B')} and needs {human(limits.get(one['path'], enough), 'B')}"
            for one in tight
        )
        return Verdict(CRITICAL, f"there is no room for updates: {told}; make some", tight[0]["free"], "B")
    least = min(rows, key=lambda one: one["free"])
    return Verdict(OK, f"{human(least['free'], 'B')} are free on {least['path']}", least["free"], "B")


def judge_restarts(facts: Facts, options: Facts) -> Verdict:
    """What still runs with files that were replaced is not updated, whatever dpkg says."""
    found = part(facts, "restarts")
    waiting = found["services"] + found["containers"]
    if waiting:
        return Verdict(WARNING, f"they run with files that were replaced: {named(waiting)}", len(waiting), "count")
    return Verdict(OK, "no service runs with files that were replaced", 0, "count")


def reboot_reasons(facts: Facts) -> list[str]:
    """Return why a reboot is needed. What cannot be seen raises, unless something else is seen that needs one."""
    wanted = part(facts, "reboot")
    reasons = [f"it was asked for by {named(wanted['packages']) or 'a package'}"] if wanted["wanted"] else []
    if reasons and isinstance(facts["restarts"], ProbeFailure):
        return reasons
    found = part(facts, "restarts")
    if found["kernel_state"] in NEWER_KERNEL:
        reasons.append(f"the kernel {found['kernel_expected']} is there and {found['kernel_running']} runs")
    return reasons


def judge_reboot(facts: Facts, options: Facts) -> Verdict:
    """By what packages asked for, and by the kernel that runs."""
    reasons = reboot_reasons(facts)
    if reasons:
        return Verdict(WARNING, f"a reboot is needed: {'; '.join(reasons)}")
    kernel = "" if part(facts, "restarts")["kernel_state"] else "; the kernel is not this host's own"
    return Verdict(OK, f"no reboot is needed{kernel}")


def judge_journal(facts: Facts, options: Facts) -> Verdict:
    """A run that was killed between drain and return left its mark."""
    found = part(facts, "journal")
    if found:
        return Verdict(
            CRITICAL,
            f"an earlier run began at {found.get('started', 'a time that it did not write down')} to update this host "
            "and did not end, so it may still be out of service; run the playbook updates, which brings it back first",
        )
    return Verdict(OK, "no earlier run was cut off here")


def judge_installed(facts: Facts, options: Facts) -> Verdict:
    """Asked of dpkg, and not of the tool that was told to install."""
    expected = options["expected"]
    if not expected:
        return Verdict(SKIPPED, "", skipped_reason="no versions were given that should be installed now")
    versions = part(facts, "packages")["versions"]
    wrong = [
        f"{name} is {versions.get(name, 'not installed')} and not {version}"
        for name, version in sorted(expected.items())
        if versions.get(name) != version
    ]
    if wrong:
        return Verdict(CRITICAL, f"{len(wrong)} of {len(expected)} were not installed: {named(wrong)}", len(wrong))
    return Verdict(OK, f"all {len(expected)} planned versions are installed", len(expected), "count")


Judge = t.Callable[[Facts, Facts], Verdict]

CHECKS: dict[str, Judge] = {
    "updates_lists": judge_lists,
    "updates_pending": judge_pending,
    "updates_left": judge_left,
    "updates_dpkg": judge_dpkg,
    "updates_locks": judge_locks,
    "updates_disk": judge_disk,
    "updates_restarts": judge_restarts,
    "updates_reboot": judge_reboot,
    "updates_journal": judge_journal,
    "updates_installed": judge_installed,
}


def verdict(name: str, target: str, facts: Facts, options: Facts) -> CheckResult:
    """Return one check. What could not be seen is unknown, with its reason."""
    if name in options["skip_checks"]:
        return CheckResult(name, target, SKIPPED, "", skipped_reason=str(options["skip_checks"][name]))
    try:
        said = CHECKS[name](facts, options)
    except ProbeFailure as failure:
        return CheckResult(name, target, UNKNOWN, failure.message, error_kind=failure.kind)
    return CheckResult(
        name, target, said.status, said.message, value=said.value, unit=said.unit, skipped_reason=said.skipped_reason
    )
