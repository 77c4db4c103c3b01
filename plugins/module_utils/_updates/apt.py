# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What apt, dpkg and needrestart say of a host. The parsers are pure; the probes do all the I/O and change nothing."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import struct
import tempfile
import time
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import Tools, ask
from ansible_collections.matrixon.ops.plugins.module_utils._audit.packages import NO_CACHE
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    INTERNAL,
    MISSING_TOOL,
    PARSE,
    REFUSED,
    Deadline,
    Facts,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import read
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.pool import Pool

LOCKS = (
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/lock",
    "var/lib/apt/lists/lock",
    "var/cache/apt/archives/lock",
)
DPKG_JOURNAL = "var/lib/dpkg/updates"
LISTS = "var/lib/apt/lists"
HELPER = "usr/lib/apt/apt-helper"
# struct flock of 64-bit Linux: type, whence, start, length, process.
FLOCK = "@hhqqi4x"
LOCK_PAUSE = 0.5
MIRROR_THREADS = 4

ACTION = re.compile(r"^(Inst|Remv) ([^\s:]+)(?::\S+)?(?: \[([^\]]*)\])?(?: \((\S+) )?")
INDEX = re.compile(r"^'([^']+/(?:In)?Release)' (\S+)")
DEFERRED = "The following upgrades have been deferred due to phasing:"
# The second letter of a state, in which dpkg left a package that it did not finish.
UNFINISHED = {"H": "half-installed", "U": "unpacked", "F": "half-configured", "W": "waiting for a trigger"}


class Simulated(t.NamedTuple):
    """What apt would do: new versions by package, what it would remove, and what its phases defer."""

    installs: dict[str, str]
    removes: list[str]
    deferred: list[str]


class Mirror(t.NamedTuple):
    """Whether one archive answered, and whether it is still what the lists on this host were made from."""

    uri: str
    answered: bool
    current: bool
    message: str = ""


def parse_packages(text: str) -> Facts:
    """Return what dpkg has: versions by package, what is held, and what was not finished."""
    versions: dict[str, str] = {}
    held, unfinished = [], []
    for line in text.splitlines():
        words = line.split("\t")
        if len(words) != 3 or len(words[1]) < 2:
            raise ProbeFailure(PARSE, f"dpkg-query listed something that was not understood: {line[:80]!r}")
        name, state, version = words[0], words[1], words[2].strip()
        if state[1] in "nc":
            continue
        versions[name] = version
        if state[0] == "h":
            held.append(name)
        if state[1] in UNFINISHED:
            unfinished.append(f"{name} is {UNFINISHED[state[1]]}")
        elif state[2:3] == "R":
            unfinished.append(f"{name} must be installed again")
    return {"versions": versions, "held": sorted(set(held)), "unfinished": unfinished}


def parse_simulation(text: str) -> Simulated:
    """Return what a simulated run of apt-get would do."""
    installs: dict[str, str] = {}
    removes, deferred = [], []
    phasing = False
    for line in text.splitlines():
        if phasing and line.startswith("  "):
            deferred += line.split()
            continue
        phasing = line.startswith(DEFERRED)
        match = ACTION.match(line)
        if match and match.group(1) == "Inst":
            installs[match.group(2)] = match.group(4) or ""
        elif match:
            removes.append(match.group(2))
    return Simulated(installs, removes, deferred)


def parse_indexes(text: str) -> list[tuple[str, str]]:
    """Return the archives that 'apt-get update' would ask, each with the name of its file among the lists."""
    return [(match.group(1), match.group(2)) for match in map(INDEX.match, text.splitlines()) if match]


def parse_needrestart(text: str) -> Facts:
    """Return what 'needrestart -b' says. A container has no kernel of its own, and nothing is said of it then."""
    pairs = [line.partition(": ")[::2] for line in text.splitlines() if line.startswith("NEEDRESTART-")]
    values = {key: value.strip() for key, value in pairs}
    if "NEEDRESTART-VER" not in values:
        raise ProbeFailure(PARSE, "needrestart did not answer in its batch format")
    return {
        "services": sorted({value.strip() for key, value in pairs if key == "NEEDRESTART-SVC"}),
        "containers": sorted({value.strip() for key, value in pairs if key == "NEEDRESTART-CONT"}),
        "sessions": sorted({value.strip() for key, value in pairs if key == "NEEDRESTART-SESS"}),
        "kernel_running": values.get("NEEDRESTART-KCUR", ""),
        "kernel_expected": values.get("NEEDRESTART-KEXP", ""),
        "kernel_state": values.get("NEEDRESTART-KSTA", ""),
    }


def probe_packages(tools: Tools, deadline: Deadline) -> Facts:
    """Ask dpkg for everything at once, and see whether a run of it was cut off."""
    text = ask(["dpkg-query", "-W", "-f", "${Package}\t${db:Status-Abbrev}\t${Version}\n"], tools, deadline)
    journal = os.path.join(tools.root, DPKG_JOURNAL)
    left = [name for name in os.listdir(journal) if name.isdigit()] if os.path.isdir(journal) else []
    return {**parse_packages(text), "cut_off": bool(left)}


def simulate(arguments: list[str], tools: Tools, deadline: Deadline) -> Simulated:
    """Let apt say what it would do. It takes no lock and writes nothing."""
    return parse_simulation(ask(["apt-get", *NO_CACHE, "--simulate", "--quiet", *arguments], tools, deadline))


def probe_upgrade(tools: Tools, deadline: Deadline) -> Simulated:
    """Return what a whole upgrade would do: what is not in it, apt keeps back."""
    return simulate(["--with-new-pkgs", "upgrade"], tools, deadline)


def probe_locks(tools: Tools, deadline: Deadline, patience: float, pause: t.Callable[[float], None]) -> Facts:
    """Return who holds the locks of apt and dpkg, after having waited for them as long as is asked for."""
    waiting = deadline.within(patience)
    while True:
        holders = _holders(tools.root)
        if not holders or waiting.remaining() <= 0:
            return {"holders": holders, "waited": round(waiting.elapsed(), 1)}
        pause(LOCK_PAUSE)


def _holders(root: str) -> list[Facts]:
    found: list[Facts] = []
    for name in LOCKS:
        path = os.path.join(root, name)
        if os.path.exists(path):
            holder = _holder(path)
            if holder is not None:
                found.append({"path": f"/{name}", "pid": holder, "process": _process(holder)})
    return found


def _holder(path: str) -> int | None:
    """Ask the kernel who would be in the way, without taking the lock."""
    if struct.calcsize("P") != 8:
        raise ProbeFailure(INTERNAL, "locks can be read on 64-bit systems only")
    with open(path, "rb") as file:
        asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _whence, _start, _length, pid = struct.unpack(FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    return None if kind == fcntl.F_UNLCK else pid


def _process(pid: int) -> str:
    try:
        # Arguments may hold secrets; the name is enough.
        return read("/", f"proc/{pid}/comm").strip()
    except OSError:
        return ""


def probe_mirrors(tools: Tools, deadline: Deadline, timeout: float) -> list[Mirror]:
    """Ask every archive for its table of contents, by apt's own ways, and compare it with that of the lists."""
    indexes = parse_indexes(ask(["apt-get", *NO_CACHE, "update", "--print-uris"], tools, deadline))
    if not indexes:
        raise ProbeFailure(REFUSED, "apt has no archive to ask; give it sources in /etc/apt/sources.list.d")
    with tempfile.TemporaryDirectory(prefix="matrixon-updates-") as folder:
        _give_to_apt(folder)
        pool: Pool[Mirror] = Pool(MIRROR_THREADS, deadline)
        for number, (uri, name) in enumerate(indexes):
            target = os.path.join(folder, str(number))
            pool.add(uri, _mirror_job(uri, name, target, tools, deadline, timeout))
        found, open_ones = pool.collect()
    silent = [Mirror(uri, False, False, f"no answer within {deadline.seconds:.3g} s") for uri in open_ones]
    return sorted([*found, *silent])


def _give_to_apt(folder: str) -> None:
    """What comes from outside is fetched by apt's user without rights, where there is one."""
    try:
        shutil.chown(folder, "_apt")
    except (LookupError, PermissionError):
        return


def _mirror_job(
    uri: str, name: str, target: str, tools: Tools, deadline: Deadline, timeout: float
) -> t.Callable[[], list[Mirror]]:
    def job() -> list[Mirror]:
        try:
            return [_ask_mirror(uri, name, target, tools, deadline.within(timeout))]
        except ProbeFailure as failure:
            return [Mirror(_shown(uri), False, False, failure.message)]
        except OSError as error:
            return [Mirror(_shown(uri), False, False, f"{error.filename}: {error.strerror}")]

    return job


def _ask_mirror(uri: str, name: str, target: str, tools: Tools, deadline: Deadline) -> Mirror:
    helper = [os.path.join("/", HELPER), "-o", "Acquire::Retries=0", "download-file"]
    tries = [(uri, name)]
    if uri.endswith("/InRelease"):
        # An archive may have its signature beside it, or none where it is trusted by its source.
        tries.append((uri[: -len("InRelease")] + "Release", name[: -len("InRelease")] + "Release"))
    complaint = ""
    for place, (wanted, listed) in enumerate(tries):
        kept = f"{target}-{place}"
        done = tools.runner([*helper, wanted, kept], deadline)
        if done.code == 0 and os.path.exists(kept):
            return Mirror(_shown(wanted), True, _same(kept, os.path.join(tools.root, LISTS, listed)))
        complaint = complaint or done.complaint
    return Mirror(_shown(uri), False, False, complaint)


def _shown(uri: str) -> str:
    """Return an address without a login in it."""
    return re.sub(r"//[^/@]*@", "//", uri)


def _same(one: str, other: str) -> bool:
    try:
        with open(one, "rb") as first, open(other, "rb") as second:
            return first.read() == second.read()
    except FileNotFoundError:
        return False


def probe_restarts(tools: Tools, deadline: Deadline) -> Facts:
    """Ask needrestart what still runs with files that were replaced. In this mode it restarts nothing."""
    try:
        return parse_needrestart(ask(["needrestart", "-b", "-r", "l"], tools, deadline))
    except ProbeFailure as failure:
        if failure.kind != MISSING_TOOL:
            raise
        raise ProbeFailure(MISSING_TOOL, f"{failure.message}; install it, for nothing else knows this") from failure


def probe_disk(tools: Tools, paths: t.Sequence[str]) -> list[Facts]:
    """Return the room of the file systems that updates are written to, each once."""
    found: dict[int, Facts] = {}
    for path in paths:
        place = os.path.join(tools.root, path.lstrip("/"))
        if os.path.isdir(place):
            told = os.statvfs(place)
            found.setdefault(os.stat(place).st_dev, {"path": path, "free": told.f_bavail * told.f_frsize})
    return list(found.values())


def pause(seconds: float) -> None:
    """Wait between two looks at a lock."""
    time.sleep(seconds)
