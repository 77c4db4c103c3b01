# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Make an old primary fit to follow the new one: what matrixon_rewind does.

pg_rewind that fails in the middle leaves a directory that nobody can use, and
a server that is started as a standby without it looks well and gets nothing.
So it is proven first that it can work, by what the two servers say of
themselves and by a dry run. From the first file that is copied to the end, a
mark stands beside the data directory: where a run ends in between, nothing of
this collection takes the directory for data again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils import _files
from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster, process, wal
from ansible_collections.matrixon.ops.plugins.module_utils._backup import options as shared
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.outcome import Outcome
from ansible_collections.matrixon.ops.plugins.module_utils._dr import lsn
from ansible_collections.matrixon.ops.plugins.module_utils._dr.server import (
    CLEAN,
    NOTE,
    REWIND_STATE,
    Facts,
    Host,
    Options,
    open_host,
    patroni_problems,
    refuse,
    require_stopped,
    rewind_phase,
    rewind_place,
)
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, PARSE, Deadline, ProbeFailure

CHECKED, REWOUND = "checked", "rewound"
SAVED = "saved"
# Between the two, nobody can use the directory; after the second, only the host's own files are to come back.
COPYING, COPIED = "copying", "copied"
SIGNAL = "standby.signal"
# The first major version whose pg_rewind can be told where the configuration is.
CONFIG_FILE = 15

# What lies in a data directory and is no configuration of the host.
OWN = {
    *("base", "global", "log", "current_logfiles", "PG_VERSION", "postmaster.pid", "postmaster.opts"),
    *("backup_label", "backup_label.old", "tablespace_map", "tablespace_map.old", "backup_manifest"),
    *(SIGNAL, "recovery.signal", "postgresql.auto.conf.tmp", NOTE),
}

SOURCE = """
SELECT pg_is_in_recovery() AS in_recovery,
    (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
    (SELECT timeline_id FROM pg_control_checkpoint()) AS checkpoint_timeline,
    current_setting('server_version_num')::int / 10000 AS major,
    current_setting('full_page_writes') AS full_page_writes
"""
TIMELINE = "SELECT substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)"
# What pg_rewind itself asks with, so who may rewind may do this.
HISTORY = "SELECT convert_from(pg_read_binary_file('pg_wal/{}', 0, 1000000, true), 'UTF8')"

NEED = re.compile(r"need to copy (\d+) MB")
PROGRESS = re.compile(r"(\d+)/\s*\d+ kB \(\d+%\) copied")
COPIES = "need to copy"
NO_NEED = "no rewind required"
BROKEN = (
    "pg_rewind ended in the middle of {}, which is not whole and must not be started; move the directory away, and a "
    "standby is built anew"
)


class Target(t.NamedTuple):
    """What the old primary's files say. ``end`` is None where only crash recovery can tell it."""

    system_identifier: str
    state: str
    timeline: int
    ancestors: tuple[wal.Switch, ...]
    hints: bool
    full_page_writes: bool
    end: int | None
    segment_bytes: int
    segments: frozenset[str]
    signal: bool

    @property
    def clean(self) -> bool:
        """Say whether the server was stopped cleanly."""
        return self.state in CLEAN


class Source(t.NamedTuple):
    """What the new primary says."""

    where: str
    system_identifier: str
    in_recovery: bool
    major: int
    timeline: int
    checkpoint_timeline: int
    ancestors: tuple[wal.Switch, ...]
    full_page_writes: bool


@dataclass
class Prospect:
    """Whether a rewind can work. ``proven`` is False where only its own crash recovery would tell."""

    needed: bool = True
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    fork: lsn.Fork | None = None
    end: int | None = None
    proven: bool = False

    def facts(self) -> Facts:
        """Return what a module says of it."""
        found: Facts = {
            "possible": not self.reasons,
            "needed": self.needed,
            "proven": self.proven and not self.reasons,
            "reasons": self.reasons,
            "notes": self.notes,
        }
        if self.fork:
            found["fork"] = {"timeline": self.fork.timeline, "lsn": lsn.format_lsn(self.fork.position)}
        if self.end is not None:
            found["end_lsn"] = lsn.format_lsn(self.end)
        if self.fork and self.end is not None:
            found["discarded_bytes"] = max(0, self.end - self.fork.position)
        return found


# --- what is known before


def weigh(target: Target, source: Source, major: int, archive: bool = False) -> Prospect:
    """Return what the two servers' own words say about a rewind: all reasons at once.

    With an archive, what is gone from the data directory may be there.
    """
    found = Prospect(end=target.end)
    reasons = found.reasons
    if source.system_identifier != target.system_identifier:
        reasons.append(
            f"source: {source.where} is of the cluster {source.system_identifier}, and the data is of "
            f"{target.system_identifier}; name the new primary of this cluster"
        )
        return found
    if source.major != major:
        reasons.append(f"source: {source.where} is PostgreSQL {source.major}, and the data is of {major}")
    if source.in_recovery:
        reasons.append(f"source: {source.where} is a standby; name the primary")
        return found
    if source.checkpoint_timeline != source.timeline:
        reasons.append(
            f"source: {source.where} has made no checkpoint since it was promoted to timeline {source.timeline}, and "
            "pg_rewind would take it for the old one; have it make one (CHECKPOINT)"
        )
    found.fork, why = lsn.fork(target.timeline, target.ancestors, source.timeline, source.ancestors)
    if found.fork is None:
        if (target.timeline, target.ancestors) != (source.timeline, source.ancestors):
            reasons.append(f"source: {why}")
            return found
        found.needed = False
        found.notes.append(f"{why}, so nothing has to be taken back")
        return found
    if target.timeline > source.timeline:
        reasons.append(
            f"source: the data is on timeline {target.timeline}, and {source.where} on the earlier one "
            f"{source.timeline}; it may be the old primary that is named"
        )
        return found
    if target.end is not None and target.end <= found.fork.position:
        found.needed = False
        found.notes.append(
            f"the data ends at {lsn.format_lsn(target.end)}, and the new primary left it at "
            f"{lsn.format_lsn(found.fork.position)}, so nothing has to be taken back"
        )
        return found
    if not target.hints:
        reasons.append("the data has neither checksums nor wal_log_hints, without which pg_rewind cannot know changes")
    if not (target.full_page_writes and source.full_page_writes):
        reasons.append("full_page_writes is off on one of the two servers")
    reasons += [] if archive else _lost_log(target, found.fork)
    if not target.clean:
        found.notes.append(
            f"the server was not stopped cleanly ({target.state}): its log is replayed first, by a server for one user"
        )
        if target.signal:
            reasons.append(
                f"the server was not stopped cleanly, and {SIGNAL} is there, so its log cannot be replayed by itself; "
                "start it where no client reaches it, and stop it cleanly"
            )
    return found


def _lost_log(target: Target, fork: lsn.Fork) -> list[str]:
    """Return which segment of the log behind the fork is gone, if one is."""
    # Where the data went on to a timeline of its own, pg_rewind alone knows which segments it wants.
    if target.end is None or target.timeline != fork.timeline:
        return []
    first = fork.position // target.segment_bytes
    last = max(first, (target.end - 1) // target.segment_bytes)
    names = (wal.name_of(target.timeline, number, target.segment_bytes) for number in range(first, last + 1))
    missing = [name for name in names if name not in target.segments]
    if not missing:
        return []
    return [
        f"the log behind the fork at {lsn.format_lsn(fork.position)} is gone from pg_wal: {missing[0]}"
        + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
    ]


def read_target(place: Host, deadline: Deadline) -> Target:
    """Read what the files of a stopped server say."""
    control = place.control(deadline)
    state = control["Database cluster state"]
    timeline = int(control["Latest checkpoint's TimeLineID"])
    end = None
    if state == CLEAN[0]:
        end = wal.parse_lsn(place.end_of_log(control, deadline))
    elif state in CLEAN:
        end = wal.parse_lsn(control["Minimum recovery ending location"])
        timeline = max(timeline, int(control["Min recovery ending loc's timeline"]))
    return Target(
        system_identifier=control["Database system identifier"],
        state=state,
        timeline=timeline,
        ancestors=place.history(timeline),
        hints=control["Data page checksum version"] != "0" or control["wal_log_hints setting"] == "on",
        full_page_writes=control["Latest checkpoint's full_page_writes"] == "on",
        end=end,
        segment_bytes=int(control["Bytes per WAL segment"]),
        segments=frozenset(os.listdir(place.path("pg_wal"))),
        signal=os.path.exists(place.path(SIGNAL)),
    )


def ask_source(source: cluster.Client, deadline: Deadline) -> Source:
    """Ask the new primary."""
    with source.session(deadline) as session:
        row = session.row(SOURCE)
        timeline, ancestors = 0, t.cast("tuple[wal.Switch, ...]", ())
        if not row["in_recovery"]:
            timeline = int(session.value(TIMELINE), 16)
            if timeline > 1:
                text = session.value(HISTORY.format(wal.history_name(timeline)))
                ancestors = wal.parse_history(timeline, text)
    return Source(
        where=str(source.server),
        system_identifier=row["system_identifier"],
        in_recovery=row["in_recovery"],
        major=row["major"],
        timeline=timeline,
        checkpoint_timeline=row["checkpoint_timeline"],
        ancestors=ancestors,
        full_page_writes=row["full_page_writes"] == "on",
    )


# --- pg_rewind itself


@dataclass(frozen=True)
class Tool:
    """How pg_rewind is run on one data directory, from one source."""

    place: Host
    source: cluster.Client
    archive: bool

    def argv(self, *more: str) -> list[str]:
        """Return the command. A password goes by a file."""
        server = self.source.server
        words = {"host": server.host, "port": server.port, "user": server.user, "dbname": server.database}
        conninfo = " ".join(f"{name}='{_escaped(str(value))}'" for name, value in words.items())
        argv = [self.place.tool("pg_rewind"), f"--target-pgdata={self.place.data}", f"--source-server={conninfo}"]
        argv += ["--progress", "--no-ensure-shutdown"]
        if self.archive:
            argv.append("--restore-target-wal")
        if self.place.major >= CONFIG_FILE:
            argv.append(f"--config-file={self.place.configuration}")
        return [*argv, *more]

    def run(self, deadline: Deadline, *more: str) -> tuple[int, str]:
        """Run it, and return its code and what it said."""
        finished = self.source.runner.run(
            self.argv(*more), deadline, accept=range(-64, 256), doing=f"pg_rewind of {self.place.data}"
        )
        return finished.code, finished.out + finished.err


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def try_out(tool: Tool, found: Prospect, deadline: Deadline) -> None:
    """Have pg_rewind itself say whether it can work; nothing is written."""
    code, said = tool.run(deadline, "--dry-run")
    if code:
        found.reasons.append(f"pg_rewind --dry-run: {complaint(said)}")
        return
    found.proven = True
    if NO_NEED in said:
        found.needed = False


def complaint(said: str) -> str:
    """Return what pg_rewind complains of: the error, and what it said of the cause."""
    lines = [line.strip().removeprefix("pg_rewind: ") for line in said.splitlines()]
    wrong = [line.removeprefix("error: ") for line in lines if line.startswith(("error:", "fatal:"))]
    if not wrong:
        return process.complaint(said)
    return "; ".join(dict.fromkeys(wrong))


def restore_command(place: Host, deadline: Deadline) -> str:
    """Return the restore_command of the stopped server."""
    argv = [place.tool("postgres"), "-D", place.data, "-c", f"config_file={place.configuration}"]
    return place.runner.run([*argv, "-C", "restore_command"], deadline, doing=place.configuration).out.strip()


def recover(place: Host, deadline: Deadline) -> None:
    """Replay the log of a server that was not stopped cleanly, by a server for one user that ends at once."""
    argv = [place.tool("postgres"), "--single", "-F", "-D", place.data]
    # The checkpoint at its end must not take away the very log that pg_rewind needs then.
    argv += ["-c", "wal_keep_size=1TB", "-c", "max_slot_wal_keep_size=-1"]
    argv += ["-c", f"config_file={place.configuration}", "template1"]
    place.runner.run(argv, deadline, doing=f"crash recovery of {place.data}")
    state = place.control(deadline)["Database cluster state"]
    if state not in CLEAN:
        raise BackupError(INTERNAL, f"after crash recovery the control file of {place.data} says: {state}")


# --- keeping what is the host's own


def own_names(data: str) -> list[str]:
    """Return what lies at the top of a data directory and is the host's: configuration, certificates."""
    found = []
    for entry in os.scandir(data):
        folder = entry.is_dir(follow_symlinks=False) or entry.name.startswith("pg_") and entry.is_dir()
        if entry.name not in OWN and not (folder and entry.name.startswith("pg_")):
            found.append(entry.name)
    return sorted(found)


def begin(place: Host, deadline: Deadline) -> None:
    """Put away what is the host's own, and set the mark."""
    beside = rewind_place(place.data)
    if os.path.lexists(beside):
        # Of a run that ended before the mark, or of a directory that was moved away.
        shutil.rmtree(beside)
    os.mkdir(beside, 0o700)
    saved = os.path.join(beside, SAVED)
    os.mkdir(saved, 0o700)
    for name in own_names(place.data):
        _copy(os.path.join(place.data, name), saved, deadline)
    mark(place, COPYING)


def mark(place: Host, phase: str) -> None:
    """Write down beside the data directory how far its rewind is."""
    content = json.dumps({"inode": os.stat(place.data).st_ino, "phase": phase}).encode() + b"\n"
    path = os.path.join(rewind_place(place.data), REWIND_STATE)
    _files.replace(path, content, os.geteuid(), os.getegid(), 0o600)


def end(place: Host, deadline: Deadline) -> None:
    """Bring back what is the host's own, take away what is the source's, and take the mark away."""
    beside = rewind_place(place.data)
    saved = os.path.join(beside, SAVED)
    kept = os.listdir(saved)
    for name in {*own_names(place.data), *kept, NOTE}:
        remove(place.path(name))
    for name in kept:
        _copy(os.path.join(saved, name), place.data, deadline)
    follow(place)
    shutil.rmtree(beside)


def follow(place: Host) -> bool:
    """Let the server start as a standby. Say whether it would not have."""
    if os.path.exists(place.path(SIGNAL)):
        return False
    info = os.stat(place.data)
    _files.replace(place.path(SIGNAL), b"", info.st_uid, info.st_gid, 0o600)
    return True


def _copy(path: str, folder: str, deadline: Deadline) -> None:
    process.Runner().run(["cp", "-a", "--", path, folder], deadline)


def remove(path: str) -> None:
    """Remove a file or a directory, if it is there."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


# --- the whole


def problems(options: Options) -> t.Iterator[str]:
    """Yield what is wrong with the options: one sentence for each."""
    if options["deadline"] <= 0:
        yield f"deadline: {options['deadline']:g} is not more than 0; name a number of seconds"
    if not 1 <= options["source"]["port"] <= 65535:
        yield f"source.port: {options['source']['port']} is no port; name one from 1 to 65535"


@contextlib.contextmanager
def _connected(place: Host, options: Options, deadline: Deadline) -> t.Iterator[cluster.Client]:
    with cluster.client(shared.reach(options["source"]), place.runner, deadline) as source:
        yield source


def prospect(tool: Tool, deadline: Deadline) -> Prospect:
    """Return whether a rewind can work, as far as can be told without writing anything."""
    target = read_target(tool.place, deadline)
    found = weigh(target, ask_source(tool.source, deadline), tool.place.major, tool.archive)
    if not found.needed and not found.reasons:
        found.proven = True
    elif target.clean and not found.reasons:
        try_out(tool, found, deadline)
    return found


def run(options: Options, check: bool, clock: t.Callable[[], float] = time.monotonic) -> Outcome:
    """Say whether the data directory can be rewound, and do it where it is asked for."""
    refuse(problems(options))
    deadline = Deadline(options["deadline"], clock)
    place = open_host(options)
    refuse(patroni_problems(place, "start Patroni, which rewinds by itself"))
    require_stopped(place)
    for name in ("pg_rewind", "pg_waldump", "postgres"):
        if not os.access(place.tool(name), os.X_OK):
            refuse([f"bin_directory: {place.tools} has no {name}; name the directory of the server's own tools"])
    phase = rewind_phase(place.data)
    if phase == COPYING:
        return _answer(options, Prospect(reasons=[BROKEN.format(place.data)]), False)
    finishing = phase == COPIED and options["state"] == REWOUND and not check
    if finishing:
        end(place, deadline)
    with _connected(place, options, deadline) as source:
        archive = options["archive"] and bool(restore_command(place, deadline))
        tool = Tool(place, source, archive)
        found = prospect(tool, deadline)
        if options["state"] == CHECKED or check or found.reasons:
            changes = phase is not None or found.needed or not os.path.exists(place.path(SIGNAL))
            return _answer(options, found, changes)
        outcome = _rewind(tool, found, options, deadline, clock)
        return dataclasses.replace(outcome, changed=outcome.changed or finishing)


def _answer(options: Options, found: Prospect, changes: bool) -> Outcome:
    """Return what is known, without doing anything."""
    facts = found.facts()
    acts = options["state"] == REWOUND
    if found.reasons:
        msg = "it cannot be rewound: " + "; ".join(found.reasons)
        if not any("built anew" in reason for reason in found.reasons):
            msg += "; where this cannot be mended, move the directory away, and a standby is built anew"
        return Outcome(changed=False, msg=msg, values=facts, failed=acts)
    words = words_of(found)
    plan: tuple[str, ...] = ()
    if acts and changes:
        plan = (*found.notes, *(("run pg_rewind",) if found.needed else ()), f"write {SIGNAL}")
    return Outcome(changed=bool(plan), msg=words, plan=plan, values=facts)


def words_of(found: Prospect) -> str:
    """Return in words what a prospect without obstacles says."""
    if not found.needed:
        return "; ".join(found.notes) or "nothing has to be taken back"
    if not found.proven:
        return "nothing speaks against a rewind so far, and its own crash recovery must show the rest: " + "; ".join(
            found.notes
        )
    facts = found.facts()
    return (
        f"it can be rewound: {facts['discarded_bytes']} bytes of log behind the fork at {facts['fork']['lsn']} of "
        f"timeline {facts['fork']['timeline']} would be given up"
    )


def _rewind(tool: Tool, found: Prospect, options: Options, deadline: Deadline, clock: t.Callable[[], float]) -> Outcome:
    place = tool.place
    recovered = not found.proven
    if recovered:
        recover(place, deadline)
        found = prospect(tool, deadline)
        if found.reasons:
            return dataclasses.replace(_answer(options, found, False), changed=True)
    if not found.needed:
        changed = follow(place) or recovered
        return Outcome(changed=changed, msg=words_of(found), values={**found.facts(), "bytes": 0, "seconds": 0.0})
    began = clock()
    begin(place, deadline)
    try:
        code, said = tool.run(deadline)
    except ProbeFailure as failure:
        # Nobody knows how far it came.
        raise BackupError(failure.kind, f"{failure.message}; {BROKEN.format(place.data)}") from failure
    if code:
        why = f"pg_rewind ended with code {code}: {complaint(said)}"
        if COPIES in said:
            raise BackupError(INTERNAL, f"{why}; {BROKEN.format(place.data)}")
        shutil.rmtree(rewind_place(place.data))
        raise BackupError(INTERNAL, f"{why}; nothing was changed yet")
    mark(place, COPIED)
    end(place, deadline)
    facts = {**found.facts(), "bytes": copied_bytes(said), "seconds": round(clock() - began, 3)}
    msg = (
        f"rewound to the fork at {facts['fork']['lsn']} of timeline {facts['fork']['timeline']}, giving up "
        f"{facts['discarded_bytes']} bytes of log"
    )
    return Outcome(changed=True, msg=msg, values=facts)


def copied_bytes(said: str) -> int:
    """Return how much pg_rewind says that it copied."""
    copied = PROGRESS.findall(said)
    if copied:
        return int(copied[-1]) * 1024
    need = NEED.search(said)
    if not need:
        raise BackupError(PARSE, "pg_rewind does not say how much it copied")
    return int(need[1]) * 1024 * 1024
