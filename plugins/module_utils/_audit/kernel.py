# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The kernel's settings, core dumps, and the clock."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _timesync
from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import (
    Finding,
    Look,
    NotHere,
    Plan,
    Rule,
    Seen,
    Tools,
    bad,
    good,
    unseen,
)
from ansible_collections.matrixon.ops.plugins.module_utils._human import span
from ansible_collections.matrixon.ops.plugins.module_utils._probe import PARSE, Deadline, Facts, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import gather, part, read
from ansible_collections.matrixon.ops.plugins.module_utils._sysctl import relative_path

SETTING = Rule(
    "kernel-setting",
    "warning",
    "the kernel's own protections are on",
    "set the value in system_setup_sysctl_override, or in a file of /etc/sysctl.d",
)
CORES = Rule(
    "core-dumps",
    "warning",
    "no program that holds secrets leaves its memory in a file that others find",
    "set fs.suid_dumpable to 0",
)
CLOCK = Rule(
    "time-sync",
    "warning",
    "the clock is kept right, for logs, tokens and certificates count on it",
    "run the playbook matrixon.ops.system_setup, which sets up chrony",
)

# What each setting must at least be, or with a list exactly one of it.
LEAST: dict[str, int] = {
    "kernel.randomize_va_space": 2,
    "kernel.dmesg_restrict": 1,
    "kernel.kptr_restrict": 1,
    "kernel.unprivileged_bpf_disabled": 1,
    "fs.protected_symlinks": 1,
    "fs.protected_hardlinks": 1,
    "net.ipv4.tcp_syncookies": 1,
}
NONE: tuple[str, ...] = (
    "net.ipv4.conf.all.accept_source_route",
    "net.ipv4.conf.all.accept_redirects",
    "net.ipv6.conf.all.accept_source_route",
    "net.ipv6.conf.all.accept_redirects",
)
MOST_OFFSET_S = 1.0
CONTAINER_MARKS = ("run/systemd/container", ".dockerenv", "run/.containerenv")


def in_container(root: str) -> bool:
    """Return whether this host shares the kernel of the machine under it: whoever made it left a mark."""
    return any(os.path.exists(os.path.join(root, mark)) for mark in CONTAINER_MARKS)


def probe_settings(tools: Tools, _deadline: Deadline) -> Facts:
    """Read what the kernel has now. A setting that it does not know is left out, and one of the machine under it."""
    found = {}
    shared = in_container(tools.root)
    for key in (*LEAST, *NONE):
        if shared and not key.startswith("net."):
            continue
        path = os.path.join("proc/sys", relative_path(key))
        if os.path.exists(os.path.join(tools.root, path)):
            found[key] = lambda path=path: int(read(tools.root, path).split()[0])
    return gather(found)


def judge_settings(facts: Facts) -> Seen:
    """Hold each against what it must be."""
    findings: list[Finding] = []
    if not facts:
        return Seen([unseen(SETTING, ProbeFailure(PARSE, "the kernel shows none of its settings"))])
    for key in facts:
        try:
            value = part(facts, key)
        except ProbeFailure as failure:
            findings.append(unseen(SETTING, failure, key))
            continue
        if key in LEAST and value < LEAST[key]:
            findings.append(bad(SETTING, f"{key} is {value}, and should be {LEAST[key]} at least", key))
        elif key in NONE and value > 0:
            findings.append(bad(SETTING, f"{key} is {value}, and should be 0", key))
    return Seen(findings or [good(SETTING, f"{len(facts)} settings are as they should be: {', '.join(facts)}")])


def probe_cores(tools: Tools, _deadline: Deadline) -> Facts:
    """Read where the memory of a program that died goes."""
    if in_container(tools.root):
        raise NotHere("a container shares the kernel of the machine under it; audit that machine")
    return {
        "suid": int(read(tools.root, "proc/sys/fs/suid_dumpable")),
        "pattern": read(tools.root, "proc/sys/kernel/core_pattern").strip(),
    }


def judge_cores(facts: Facts) -> Seen:
    """A program that changed its user may leave a dump only where a collector takes it, as systemd's does."""
    suid, pattern = facts["suid"], facts["pattern"]
    if suid == 0 or (suid == 2 and pattern.startswith(("|", "/"))):
        return Seen()
    return Seen([bad(CORES, f"fs.suid_dumpable is {suid}, and dumps go to {pattern or 'nowhere'}")])


def probe_clock(tools: Tools, deadline: Deadline) -> t.Any:
    """Ask who keeps the clock."""
    if in_container(tools.root):
        raise NotHere("a container has the clock of the machine under it; audit that machine")
    return _timesync.measure(deadline, tools.root, tools.runner)


def judge_clock(offset: t.Any) -> Seen:
    """Say whether it is right. That nobody keeps it was seen."""
    if offset.seconds is None:
        return Seen([bad(CLOCK, f"the clock is not synchronised: {offset.source} says {offset.why}")])
    if abs(offset.seconds) > MOST_OFFSET_S:
        return Seen([bad(CLOCK, f"the clock is off by {span(offset.seconds)}, says {offset.source}")])
    return Seen(facts={"clock_offset_s": round(offset.seconds, 6)})


def plan(_options: Facts) -> Plan:
    """Return what is looked at."""
    return [
        Look("sysctl", (SETTING,), probe_settings, judge_settings),
        Look("cores", (CORES,), probe_cores, judge_cores),
        Look("clock", (CLOCK,), probe_clock, judge_clock),
    ]
