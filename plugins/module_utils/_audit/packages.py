# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Packages: pending updates, what updates them by itself, known vulnerabilities, and lynis."""

from __future__ import annotations

import os
import re
import tempfile
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _systemd
from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import (
    Look,
    NotHere,
    Plan,
    Rule,
    Seen,
    Skip,
    Tools,
    ask,
    bad,
    good,
    tool,
    unseen,
)
from ansible_collections.matrixon.ops.plugins.module_utils._human import span
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql_host import os_release
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    DNS,
    INTERNAL,
    PARSE,
    REFUSED,
    Deadline,
    Facts,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import read
from ansible_collections.matrixon.ops.plugins.module_utils._report import CRITICAL

DAY = 86400
MOST_LISTED = 50

SECURITY = Rule(
    "updates-security",
    "warning",
    "no security update is pending",
    "run 'apt upgrade' in a maintenance window",
)
LISTS = Rule(
    "updates-lists-age",
    "warning",
    "the package lists are fresh, for from old ones nothing follows",
    "run 'apt update', and see that apt-daily.timer runs",
)
REBOOT = Rule(
    "updates-reboot",
    "warning",
    "no reboot is pending for an update that was installed",
    "reboot the host in a maintenance window",
)
UNATTENDED = Rule(
    "updates-unattended",
    "warning",
    "security updates are installed by themselves",
    "install unattended-upgrades, set APT::Periodic::Unattended-Upgrade to 1, and start apt-daily-upgrade.timer",
)
VULNERABLE = Rule(
    "vulnerabilities-fixed",
    "warning",
    "no package has a known vulnerability that an update mends",
    "update the packages that are named",
)
LYNIS = Rule(
    "lynis-warnings",
    "warning",
    "lynis warns of nothing",
    "see 'lynis show details TEST' for each test that is named",
)

TIMER = "apt-daily-upgrade.timer"
UPGRADE = re.compile(r"^([^/\s]+)/(\S+) (\S+) \S+ \[upgradable from: (\S+)\]$")
# Nothing is written: apt keeps its caches in memory.
NO_CACHE = ["-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="]
VULNERABILITY = re.compile(r"^(\S+) (\S+)(?: \((.+)\))?$")
URGENCIES = ("high", "medium", "low")
LYNIS_VALUE = re.compile(r"^([a-z_]+)(\[\])?=(.*)$")
# It calls 'apt-get update', which an audit does not.
LYNIS_SKIPPED = "PKGS-7392"


class Upgrade(t.NamedTuple):
    """A package of which there is a newer version."""

    package: str
    suites: str
    version: str
    installed: str
    # A newer version that the archive of security updates has, where the newest of all is elsewhere.
    passed: str = ""

    @property
    def security(self) -> bool:
        """Return whether it comes from the archive of security updates, or brings what came from there before."""
        return bool(self.passed) or any(suite.endswith("-security") for suite in self.suites.split(","))


class Vulnerability(t.NamedTuple):
    """One line of debsecan: a known fault of an installed package."""

    name: str
    package: str
    fixed: bool
    remote: bool
    urgency: str

    @property
    def rank(self) -> tuple[bool, int, bool, str, str]:
        """Return a sort key: what can be mended first, then the urgent ones."""
        urgency = URGENCIES.index(self.urgency) if self.urgency in URGENCIES else len(URGENCIES)
        return not self.fixed, urgency, not self.remote, self.package, self.name


def parse_upgrades(text: str) -> list[Upgrade]:
    """Return what 'apt list --upgradable' lists."""
    found = []
    for line in text.splitlines():
        match = UPGRADE.match(line.strip())
        if match:
            found.append(Upgrade(*match.groups()))
        elif line.strip() and not line.startswith(("Listing...", "WARNING:", "N: ")):
            raise ProbeFailure(PARSE, f"apt listed something that was not understood: {line[:80]!r}")
    return found


def parse_madison(text: str) -> dict[str, list[str]]:
    """Return by package the versions that the archive of security updates has, from 'apt-cache madison'."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        words = [word.strip() for word in line.split("|")]
        if len(words) == 3 and re.search(r" \S+-security(/| )", f"{words[2]} "):
            found.setdefault(words[0], []).append(words[1])
    return found


def parse_apt_config(text: str) -> dict[str, str]:
    """Return what 'apt-config dump' says, but for its lists."""
    return dict(re.findall(r'^([A-Za-z:_-]+[A-Za-z]) "(.*)";$', text, re.MULTILINE))


def parse_vulnerabilities(text: str) -> list[Vulnerability]:
    """Return what 'debsecan --format summary' lists, what can be mended first."""
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        match = VULNERABILITY.match(line)
        if not match:
            raise ProbeFailure(PARSE, f"debsecan listed something that was not understood: {line[:80]!r}")
        notes = (match.group(3) or "").split(", ")
        urgency = next((note.partition(" ")[0] for note in notes if note.endswith(" urgency")), "")
        remote = "remotely exploitable" in notes
        found.append(Vulnerability(match.group(1), match.group(2), "fixed" in notes, remote, urgency))
    return sorted(found, key=lambda one: one.rank)


def parse_lynis(text: str) -> dict[str, list[str]]:
    """Return the values of a report of lynis, each as a list."""
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        match = LYNIS_VALUE.match(line)
        if match:
            values.setdefault(match.group(1), []).append(match.group(3))
    if "lynis_version" not in values:
        raise ProbeFailure(PARSE, "lynis left no report that names its version")
    return values


def probe_updates(tools: Tools, deadline: Deadline) -> Facts:
    """Ask apt's lists as they are, and nobody outside."""
    folder = os.path.join(tools.root, "var/lib/apt/lists")
    if not os.path.isdir(folder):
        raise NotHere("this host has no apt, and no other package manager is known here")
    lists = [name for name in os.listdir(folder) if name.endswith(("_InRelease", "_Release", "_Packages"))]
    if not lists:
        raise ProbeFailure(REFUSED, "there are no package lists on this host; run 'apt update'")
    # A list itself has the time at which its archive made it.
    stamps = [
        folder,
        os.path.join(folder, "partial"),
        os.path.join(tools.root, "var/lib/apt/periodic/update-success-stamp"),
    ]
    updated = max(os.stat(path).st_mtime for path in stamps if os.path.exists(path))
    text = ask(["apt", *NO_CACHE, "list", "--upgradable"], tools, deadline)
    upgrades = parse_upgrades(text)
    return {"age": max(0.0, tools.now - updated), "upgrades": _with_passed(upgrades, tools, deadline)}


def _with_passed(upgrades: list[Upgrade], tools: Tools, deadline: Deadline) -> list[Upgrade]:
    """Note where a security update was passed by a later one: a point release takes them in."""
    others = [one.package for one in upgrades if not one.security]
    if not others:
        return upgrades
    known = parse_madison(ask(["apt-cache", *NO_CACHE, "madison", *others], tools, deadline))

    def is_newer(version: str, installed: str) -> bool:
        return tools.runner(["dpkg", "--compare-versions", version, "gt", installed], deadline).code == 0

    return [
        one._replace(passed=next((v for v in known.get(one.package, []) if is_newer(v, one.installed)), ""))
        for one in upgrades
    ]


def judge_updates(facts: Facts, lists_days: float) -> Seen:
    """Say what is pending. From lists that are too old it does not follow that nothing is."""
    security = [one for one in facts["upgrades"] if one.security]
    age = facts["age"]
    old = age > lists_days * DAY
    findings = []
    if security:
        names = ", ".join(f"{one.package} {one.installed} -> {one.version}" for one in security[:10])
        more = f" and {len(security) - 10} more" if len(security) > 10 else ""
        findings.append(bad(SECURITY, f"{len(security)} pending: {names}{more}", value=len(security)))
    elif old:
        gap = ProbeFailure(REFUSED, f"the package lists are {span(age)} old and name no security update")
        findings.append(unseen(SECURITY, gap))
    if old:
        findings.append(bad(LISTS, f"they are {span(age)} old, more than {lists_days:g} days"))
    listed = [f"{one.package} {one.version}" for one in security[:MOST_LISTED]]
    counts = {"pending": len(facts["upgrades"]), "security": len(security), "lists_age_s": round(age)}
    return Seen(findings, {"updates": {**counts, "security_packages": listed}})


def probe_reboot(tools: Tools, _deadline: Deadline) -> Facts:
    """See whether a package asked for a reboot."""
    wanted = os.path.exists(os.path.join(tools.root, "run/reboot-required"))
    packages = os.path.join(tools.root, "run/reboot-required.pkgs")
    names = sorted(set(read("", packages).split())) if wanted and os.path.exists(packages) else []
    return {"wanted": wanted, "packages": names}


def judge_reboot(facts: Facts) -> Seen:
    """Say who asked for it."""
    if not facts["wanted"]:
        return Seen()
    return Seen([bad(REBOOT, f"one is pending, for {', '.join(facts['packages']) or 'a package that did not say'}")])


def probe_unattended(tools: Tools, deadline: Deadline) -> Facts:
    """Ask what apt is told to do by itself, and whether the tool for it is there."""
    if not os.path.isdir(os.path.join(tools.root, "etc/apt")):
        raise NotHere("this host has no apt, and no other package manager is known here")
    values = parse_apt_config(ask(["apt-config", "dump"], tools, deadline))
    installed = os.path.exists(os.path.join(tools.root, "usr/bin/unattended-upgrade"))
    return {
        "value": values.get("APT::Periodic::Unattended-Upgrade", "0"),
        "enabled": values.get("APT::Periodic::Enable", "1"),
        "installed": installed,
        "timer": _timer(tools, deadline),
    }


def _timer(tools: Tools, deadline: Deadline) -> str:
    """Return the state of the timer that starts it all. Without systemd it is cron that does."""
    if not _systemd.is_booted(tools.root):
        return "active"
    return _systemd.show([TIMER], deadline, tools.runner)[TIMER].active


def judge_unattended(facts: Facts) -> Seen:
    """The tool is needed, both settings, and what starts it."""
    if not facts["installed"]:
        return Seen([bad(UNATTENDED, "unattended-upgrades is not installed")])
    if facts["value"] in ("", "0", "false"):
        return Seen([bad(UNATTENDED, f"APT::Periodic::Unattended-Upgrade is '{facts['value']}'")])
    if facts["enabled"] == "0":
        return Seen([bad(UNATTENDED, "APT::Periodic::Enable is '0', so apt does nothing by itself")])
    if facts["timer"] != "active":
        return Seen([bad(UNATTENDED, f"{TIMER}, which starts it, is {facts['timer']}")])
    return Seen()


def debsecan_probe(source: str) -> t.Callable[[Tools, Deadline], list[Vulnerability]]:
    """Return the probe that asks debsecan, whose data come from Debian's security tracker or another source."""

    def probe(tools: Tools, deadline: Deadline) -> list[Vulnerability]:
        if not os.path.exists(tool("debsecan")):
            raise NotHere("debsecan is not installed; install it to have known vulnerabilities judged")
        codename = re.search(r"^VERSION_CODENAME=\"?(\w+)", read(tools.root, "etc/os-release"), re.MULTILINE)
        suite = codename.group(1) if codename else ""
        if os_release(read(tools.root, "etc/os-release"))[0] != "debian" or not suite:
            raise NotHere("debsecan knows Debian's releases only")
        argv = [tool("debsecan"), "--suite", suite, "--format", "summary"]
        done = tools.runner([*argv, "--source", source] if source else argv, deadline)
        if done.code != 0:
            kind = DNS if "not known" in done.err or "resolution" in done.err else REFUSED
            raise ProbeFailure(
                kind, f"debsecan has no data: {done.complaint}; give security_audit_debsecan_source a mirror of them"
            )
        return parse_vulnerabilities(done.out)

    return probe


def judge_vulnerabilities(found: list[Vulnerability]) -> Seen:
    """What cannot be mended yet is told, and is no finding."""
    fixed = [one for one in found if one.fixed]
    counts = {urgency: sum(one.urgency == urgency for one in found) for urgency in URGENCIES}
    facts: Facts = {"known": len(found), "fixed": len(fixed), "remote": sum(one.remote for one in found), **counts}
    facts["list"] = [
        [one.name, one.package, one.urgency or "not said", "fixed" if one.fixed else "open"]
        for one in found[:MOST_LISTED]
    ]
    findings = []
    if fixed:
        severity = CRITICAL if any(one.urgency == "high" and one.remote for one in fixed) else ""
        packages = sorted({one.package for one in fixed})
        worst = ", ".join(f"{one.name} in {one.package}" for one in fixed[:3])
        names = ", ".join(packages[:10]) + (f" and {len(packages) - 10} more" if len(packages) > 10 else "")
        text = f"{len(fixed)} of {len(found)} known vulnerabilities are mended by updates of {names}; first {worst}"
        findings.append(bad(VULNERABLE, text, severity=severity, value=len(fixed)))
    else:
        findings.append(good(VULNERABLE, f"{len(found)} are known, and an update mends none of them yet"))
    return Seen(findings, {"vulnerabilities": facts})


def probe_lynis(tools: Tools, deadline: Deadline) -> dict[str, list[str]]:
    """Let lynis write into a private directory that is gone afterwards."""
    if not os.path.exists(tool("lynis")):
        raise NotHere("lynis is not installed; install it to have its tests run, too")
    with tempfile.TemporaryDirectory(prefix="matrixon-audit-") as folder:
        place = {name: os.path.join(folder, name) for name in ("report", "log", "profile", "apt.conf")}
        with open(place["profile"], "w", encoding="ascii") as file:
            file.write(f"skip-test={LYNIS_SKIPPED}\n")
        with open(place["apt.conf"], "w", encoding="ascii") as file:
            file.write('Dir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\n')
        done = tools.runner(
            [
                "env",
                f"APT_CONFIG={place['apt.conf']}",
                f"TMPDIR={folder}",
                tool("lynis"),
                "audit",
                "system",
                "--quick",
                "--quiet",
                "--no-colors",
                "--profile",
                place["profile"],
                "--report-file",
                place["report"],
                "--logfile",
                place["log"],
            ],
            deadline,
        )
        if not os.path.exists(place["report"]):
            raise ProbeFailure(INTERNAL, f"lynis left no report: {done.complaint}")
        with open(place["report"], encoding="utf-8", errors="replace") as file:
            return parse_lynis(file.read())


def judge_lynis(values: dict[str, list[str]]) -> Seen:
    """Its warnings are one finding, its suggestions are told."""
    warnings = [line.split("|")[:2] for line in values.get("warning", [])]
    suggestions = list(dict.fromkeys(map(_suggestion, values.get("suggestion", []))))
    index = values.get("hardening_index", [""])[0]
    facts = {
        "version": values["lynis_version"][0],
        "hardening_index": int(index) if index.isdigit() else None,
        "warnings": [": ".join(pair) for pair in warnings],
        "suggestions": suggestions[:MOST_LISTED],
    }
    if not warnings:
        return Seen(facts={"lynis": facts})
    text = "; ".join(": ".join(pair) for pair in warnings[:10])
    return Seen([bad(LYNIS, f"{len(warnings)} warnings: {text}", value=len(warnings))], {"lynis": facts})


def _suggestion(line: str) -> str:
    """Return what lynis suggests with its detail, which is a dash where there is none."""
    test, text, detail = ([*line.split("|"), "", ""])[:3]
    return f"{test}: {text} ({detail})" if detail.strip("-") else f"{test}: {text}"


def plan(options: Facts) -> Plan:
    """Return what is looked at."""
    days = options["lists_max_days"]
    looks: Plan = [
        Look("apt", (SECURITY, LISTS), probe_updates, lambda facts: judge_updates(facts, days)),
        Look("reboot", (REBOOT,), probe_reboot, judge_reboot),
        Look("apt-config", (UNATTENDED,), probe_unattended, judge_unattended),
    ]
    if options["debsecan"]:
        looks.append(Look("debsecan", (VULNERABLE,), debsecan_probe(options["debsecan_source"]), judge_vulnerabilities))
    else:
        looks.append(Skip((VULNERABLE,), "it is switched off (debsecan: false)"))
    if options["lynis"]:
        looks.append(Look("lynis", (LYNIS,), probe_lynis, judge_lynis, slow=True))
    else:
        looks.append(Skip((LYNIS,), "it is switched off (lynis: false)"))
    return looks
