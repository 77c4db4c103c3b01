# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Make a standby the primary, and prove that it is one: what matrixon_promote does.

First nothing more may come in: the receiver of the log ends, and the archive
is asked until it has nothing. What is replayed then is all that will ever be
there, so the loss can be told before it is final. After the promotion nothing
is believed that was not seen: a new timeline and where it begins, a write that
another session reads, and a segment of the new timeline in the archive.

A run may die anywhere. What it must know again stands in a file of the data
directory, and each step looks first whether it was done.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils import _files
from ansible_collections.matrixon.ops.plugins.module_utils._backup import wal
from ansible_collections.matrixon.ops.plugins.module_utils._backup.cluster import Session
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.outcome import Outcome
from ansible_collections.matrixon.ops.plugins.module_utils._dr import lsn, marker, standby
from ansible_collections.matrixon.ops.plugins.module_utils._dr.server import (
    NOTE,
    Facts,
    Host,
    Options,
    open_host,
    patroni_problems,
    refuse,
)
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    INTERNAL,
    PARSE,
    REFUSED,
    TIMEOUT,
    Deadline,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._report import CRITICAL, OK, CheckResult, Report

PROMOTED, DRAINED, FOLLOWING = "promoted", "drained", "following"

AUTO = "postgresql.auto.conf"
# No operator writes such a number, so the line is known again as ours.
ROUND = "primary_conninfo = ''"
INTERVALS = (499, 4999, 49999)
OURS = (ROUND, *(f"wal_retrieve_retry_interval = '{each}ms'" for each in INTERVALS))
# How long a receiver must bring nothing before it is ended, in seconds.
QUIET = 1.0
# How many rounds without a sign that one ended it takes before they are made rarer.
PATIENCE = 6
POLL = 0.05

# What the startup process waits for when it has replayed all that it has.
AT_THE_END = "RecoveryWalStream"
# It has asked the archive, pg_wal and the primary, and none of them had more.
ASKED_ALL = "RecoveryRetrieveRetryInterval"

POSITION = """
SELECT pg_is_in_recovery() AS in_recovery,
    (SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'startup') AS waits_for,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walreceiver') AS receivers,
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn()::text END AS receive_lsn,
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()::text END AS replay_lsn
"""
ARCHIVER = """
SELECT coalesce(last_archived_wal, '') AS archived, coalesce(last_failed_wal, '') AS failed,
    coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false) AS failing,
    failed_count, current_setting('archive_mode') AS mode, current_setting('archive_command') AS command,
    coalesce(current_setting('archive_library', true), '') AS library
FROM pg_stat_archiver
"""

END_RECEIVER = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'walreceiver'"

Clock = t.Callable[[], float]
Sleep = t.Callable[[float], None]


# --- when nothing more comes


class Seen(t.NamedTuple):
    """One look at a standby that is being drained."""

    at: float
    waits_for: str | None
    receivers: int
    receive: str | None
    replay: str | None


class Quiet:
    """Whether a receiver has brought nothing for a while, and all that it brought is replayed."""

    def __init__(self, seconds: float = QUIET) -> None:
        self._seconds = seconds
        self._last: Seen | None = None

    def done(self, seen: Seen) -> bool:
        """Take one more look into account."""
        if seen.receivers == 0:
            return True
        last = self._last
        if last is None or (seen.receive, seen.replay) != (last.receive, last.replay) or seen.waits_for != AT_THE_END:
            self._last = seen
            return False
        return seen.at - last.at >= self._seconds


class Rounds:
    """Whether the startup process has asked every source once more since the draining began, and got nothing.

    Between two of its waits that are farther apart than a wait can last, a
    whole round lies that began after the first of them. A round that takes
    longer than the wait leaves none to be seen; then the waits are made longer.
    """

    def __init__(self) -> None:
        self.level = 0
        self._first: Seen | None = None
        self._since: float | None = None
        self._replay: str | None = None

    @property
    def interval(self) -> float:
        """Return how long a wait lasts, in seconds."""
        return INTERVALS[self.level] / 1000

    def done(self, seen: Seen) -> bool:
        """Take one more look into account."""
        if self._since is None or seen.replay != self._replay:
            self._since, self._replay, self._first = seen.at, seen.replay, None
        if seen.receivers or seen.waits_for != ASKED_ALL:
            return False
        if self._first is None:
            self._first = seen
            return False
        return seen.at - self._first.at > self.interval

    def slower(self, seen: Seen) -> bool:
        """Say whether the waits must be longer, because none was seen, and take it that they are."""
        rarely = self._since is not None and seen.at - self._since > PATIENCE * self.interval
        if not rarely or self._first or self.level == len(INTERVALS) - 1:
            return False
        self.level += 1
        self._since, self._first = seen.at, None
        return True


class Watched(Rounds):
    """The same for a server that is left as it is: it waits as long as its own configuration says."""

    def __init__(self, interval: float) -> None:
        super().__init__()
        self._interval = interval

    @property
    def interval(self) -> float:
        """Return how long a wait lasts, in seconds."""
        return self._interval

    def slower(self, seen: Seen) -> bool:
        """Nothing is changed here."""
        return False


# --- the file that holds the receiver back


def held(text: str, interval: int) -> str:
    """Return postgresql.auto.conf with the lines under which nothing is received."""
    base = released(text)
    base += "" if base.endswith("\n") or not base else "\n"
    return f"{base}{ROUND}\nwal_retrieve_retry_interval = '{interval}ms'\n"


def released(text: str) -> str:
    """Return postgresql.auto.conf without these lines."""
    return "".join(line for line in text.splitlines(keepends=True) if line.strip() not in OURS)


def _write_auto(place: Host, change: t.Callable[[str], str], session: Session | None) -> bool:
    """Change postgresql.auto.conf in one step, and have the server read it. Say whether it was changed."""
    path = place.path(AUTO)
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            before = file.read()
        info = os.stat(path)
    except FileNotFoundError:
        before, info = "", os.stat(place.data)
    after = change(before)
    if after == before:
        return False
    content = after.encode("utf-8", "surrogateescape")
    _files.replace(path, content, info.st_uid, info.st_gid, 0o600)
    if session:
        session.value("SELECT pg_reload_conf()")
    return True


# --- what a run that died has left


def read_note(place: Host) -> Facts | None:
    """Return what the run before this one wrote down, if it was on this data directory."""
    try:
        with open(place.path(NOTE), encoding="utf-8") as file:
            note = json.load(file)
        return note if note["inode"] == os.stat(place.data).st_ino else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackupError(PARSE, f"{place.path(NOTE)} cannot be read; look at it, and remove it") from error


def _write_note(place: Host, note: Facts) -> None:
    info = os.stat(place.data)
    content = json.dumps({**note, "inode": info.st_ino}).encode() + b"\n"
    _files.replace(place.path(NOTE), content, info.st_uid, info.st_gid, 0o600)


# --- may it be done


def obstacles(facts: Facts, options: Options, note: Facts | None) -> list[str]:
    """Return why this server must not be promoted: all reasons at once."""
    found = []
    wanted = options["system_identifier"]
    if wanted and facts["system_identifier"] != wanted:
        found.append(
            f"system_identifier: the server is a copy of the cluster {facts['system_identifier']}, and {wanted} is to "
            "be promoted; name the right host"
        )
    if facts["in_recovery"]:
        found += standby.replay_problems(facts)
        if options["from_timeline"] and facts["timeline"] != options["from_timeline"]:
            found.append(
                f"from_timeline: the standby replays timeline {facts['timeline']}, and not {options['from_timeline']}; "
                "look which primary it follows"
            )
        return found
    began = began_on(options, note)
    if began is None:
        found.append(
            f"the server is a primary already, on timeline {facts['timeline']}, and no promotion was begun here; "
            "name the timeline that it came from in from_timeline if it was promoted by an earlier run"
        )
    elif facts["timeline"] <= began:
        found.append(
            f"from_timeline: the server is a primary on timeline {facts['timeline']}, so it was not promoted from "
            f"timeline {began}; it may be the old primary"
        )
    return found


def began_on(options: Options, note: Facts | None) -> int | None:
    """Return the timeline from which the server is or was promoted, as far as it is known before."""
    return options["from_timeline"] or (note["from_timeline"] if note else None)


# --- doing it


@dataclass
class Work:
    """One promotion on its way."""

    place: Host
    options: Options
    deadline: Deadline
    facts: Facts
    note: Facts | None
    clock: Clock = time.monotonic
    sleep: Sleep = time.sleep
    done: Facts = field(default_factory=dict)
    durations: dict[str, int] = field(default_factory=dict)
    changed: bool = False

    @property
    def from_timeline(self) -> int:
        """Return the timeline that is left."""
        if self.facts["in_recovery"]:
            return int(self.facts["timeline"])
        return began_on(self.options, self.note) or 0


def drain(work: Work) -> None:
    """Let come in what still can, then nothing more; and say how far the log is replayed."""
    if not work.facts["in_recovery"]:
        return
    deadline = work.deadline.within(work.options["drain_timeout"])
    with work.place.session(work.deadline) as session:
        _let_come(work, session, deadline)
        with_receiver = _seen(work, session)
        if work.place.patroni:
            seen = _watch_all(work, session, deadline)
        else:
            work.changed |= _write_auto(work.place, lambda text: held(text, INTERVALS[0]), session)
            seen = _ask_all(work, session, deadline, Rounds())
    work.done["drained_lsn"] = seen.replay
    received = with_receiver.receive
    # The beginning of a record that never came whole.
    work.done["incomplete_bytes"] = lsn.behind(received, seen.replay or "0/0") if received else 0
    wanted = work.options["until_lsn"]
    if wanted and lsn.behind(wanted, seen.replay or "0/0"):
        raise BackupError(
            REFUSED,
            f"until_lsn: all that can be had is replayed up to {seen.replay}, and {wanted} was asked for: "
            f"{lsn.behind(wanted, seen.replay or '0/0')} bytes of log are missing; bring them into the archive, or "
            "leave the option out to go without them",
        )


def _seen(work: Work, session: Session) -> Seen:
    row = session.row(POSITION)
    if not row["in_recovery"]:
        raise BackupError(REFUSED, f"{work.place.server} was promoted by somebody else meanwhile; look who it was")
    return Seen(work.clock(), row["waits_for"], row["receivers"], row["receive_lsn"], row["replay_lsn"])


def _let_come(work: Work, session: Session, deadline: Deadline) -> None:
    quiet = Quiet()
    while not quiet.done(seen := _seen(work, session)):
        if not deadline.remaining():
            raise BackupError(
                TIMEOUT,
                f"drain_timeout: after {deadline.seconds:g} s the standby still gets log (received up to "
                f"{seen.receive}, replayed up to {seen.replay}): stop the primary first, or allow more time",
            )
        work.sleep(POLL)


def _watch_all(work: Work, session: Session, deadline: Deadline) -> Seen:
    """See the archive asked to its end, on a server whose settings are Patroni's own."""
    interval = session.value("SELECT setting::int / 1000.0 FROM pg_settings WHERE name = 'wal_retrieve_retry_interval'")
    return _ask_all(work, session, deadline, Watched(float(interval)))


def _ask_all(work: Work, session: Session, deadline: Deadline, rounds: Rounds) -> Seen:
    while not rounds.done(seen := _seen(work, session)):
        if seen.receivers and isinstance(rounds, Watched):
            # It has brought nothing for a while, and while it tries, nobody asks the archive.
            session.value(END_RECEIVER)
        if not deadline.remaining():
            raise BackupError(TIMEOUT, not_asked(seen, deadline.seconds))
        if rounds.slower(seen):
            _write_auto(work.place, lambda text: held(text, INTERVALS[rounds.level]), session)
        work.sleep(POLL)
    return seen


def not_asked(seen: Seen, seconds: float) -> str:
    """Say why it is not known that nothing more comes."""
    words = f"drain_timeout: after {seconds:g} s the archive was not asked to its end (replayed up to {seen.replay}): "
    if seen.receivers:
        return words + (
            "the receiver of the log did not end although primary_conninfo is empty in postgresql.auto.conf; see "
            "whether it is given on the server's command line, or stop the primary"
        )
    return words + (
        f"the server waits for {seen.waits_for or 'nothing'}; see whether restore_command hangs, or allow more time"
    )


def promote(work: Work) -> None:
    """Have the server end its recovery, and wait until it has."""
    if work.facts["in_recovery"]:
        _write_note(work.place, {"from_timeline": work.from_timeline, "drained_lsn": work.done["drained_lsn"]})
        deadline = work.deadline.within(work.options["promote_timeout"])
        with work.place.session(work.deadline) as session:
            work.changed = True
            if session.value("SELECT pg_promote(false)") != "t":
                raise BackupError(INTERNAL, f"{work.place.server}: pg_promote could not signal the server")
            while session.value("SELECT pg_is_in_recovery()") != "f":
                deadline.require("promote_timeout: the server still recovers")
                work.sleep(POLL)
    work.done["drained_lsn"] = work.done.get("drained_lsn") or (work.note or {}).get("drained_lsn")


def follow_timeline(work: Work) -> None:
    """Prove by the server and by its own history file that it is on a timeline that came from the old one."""
    dummy, timeline = work.place.identify(work.deadline)
    before = work.from_timeline
    if timeline <= before:
        raise BackupError(INTERNAL, f"the server takes writes, and is still on timeline {timeline}")
    ends = dict(work.place.history(timeline))
    if before not in ends:
        raise BackupError(
            INTERNAL, f"the server is on timeline {timeline}, and timeline {before} is none of its ancestors"
        )
    work.done.update(timeline=timeline, from_timeline=before, fork_lsn=lsn.format_lsn(ends[before]))
    wanted = work.options["until_lsn"]
    if wanted and lsn.behind(wanted, work.done["fork_lsn"]):
        raise BackupError(
            REFUSED,
            f"until_lsn: {wanted} was to be there before the promotion, and the server was promoted at "
            f"{work.done['fork_lsn']}: {lsn.behind(wanted, work.done['fork_lsn'])} bytes of log are not in it",
        )
    with work.place.session(work.deadline) as session:
        work.changed |= _write_auto(work.place, released, session)


def prove_write(work: Work) -> None:
    """Commit a row, and read it in another session."""
    name = work.options["marker"] or marker.new_name()
    found = marker.write(work.place, name, work.deadline)
    work.changed |= found.pop("new")
    work.done["marker"] = {**found, "timeline": work.done["timeline"]}


def checkpoint(work: Work) -> None:
    """Have the control file know the new timeline: pg_rewind believes only that."""
    with work.place.session(work.deadline) as session:
        query = "SELECT timeline_id FROM pg_control_checkpoint()"
        if int(session.value(query)) != work.done["timeline"]:
            session.execute("CHECKPOINT")
        if int(session.value(query)) != work.done["timeline"]:
            raise BackupError(INTERNAL, "the control file does not know the new timeline after a checkpoint")


def prove_archive(work: Work) -> None:
    """See one segment of the new timeline in the archive, as far as the server can tell."""
    if not work.options["archive"]:
        work.done["archive"] = {"proven": False, "reason": "archive: false"}
        return
    deadline = work.deadline.within(work.options["archive_timeout"])
    with work.place.session(work.deadline) as session:
        row = session.row(ARCHIVER)
        if row["mode"] == "off":
            work.done["archive"] = {"proven": False, "reason": "archive_mode is off"}
            return
        # A segment in which nothing stands is not finished.
        session.value("SELECT pg_create_restore_point('matrixon_dr')")
        wanted = session.value("SELECT pg_walfile_name(pg_switch_wal())")
        while not archived(wanted, row["archived"]):
            if not deadline.remaining():
                raise BackupError(TIMEOUT, archive_failure(wanted, row, deadline.seconds))
            work.sleep(POLL)
            row = session.row(ARCHIVER)
    work.done["archive"] = {"proven": True, "segment": wanted}


def archived(wanted: str, last: str) -> bool:
    """Say whether the segment that was archived last is the wanted one or a later one of its timeline."""
    file = wal.parse_name(last)
    if file is None or file.kind != wal.SEGMENT or file.segment is None:
        return False
    return file.segment[:8] == wanted[:8] and file.segment >= wanted


def archive_failure(wanted: str, row: Facts, seconds: float) -> str:
    """Say why no segment of the new timeline came into the archive."""
    words = f"archive_timeout: {wanted}, a segment of the new timeline, was not archived within {seconds:g} s: "
    if not row["command"] and not row["library"]:
        return words + "archive_mode is on, and neither archive_command nor archive_library is set"
    if row["failing"]:
        words += f"archiving of {row['failed']} failed, {row['failed_count']} times in all"
    else:
        words += "it has not failed either, so the command is slow or hangs"
    return words + "; see the server's log, and mend archive_command"


# In this order. A run that died does those again that are not done yet; all but the first two only look.
STEPS: tuple[tuple[str, t.Callable[[Work], None]], ...] = (
    ("drain", drain),
    ("promote", promote),
    ("timeline", follow_timeline),
    ("write", prove_write),
    ("checkpoint", checkpoint),
    ("archive", prove_archive),
)


def advance(work: Work, names: t.Container[str]) -> tuple[list[CheckResult], ProbeFailure | None]:
    """Take the steps in their order, up to the first that fails, and return what is said of each."""
    checks = []
    target = work.options["target"] or platform.node()
    for name, step in STEPS:
        if name not in names:
            continue
        begin = work.clock()
        failure = None
        try:
            step(work)
        except ProbeFailure as error:
            failure = error
        work.durations[name] = int((work.clock() - begin) * 1000)
        checks.append(
            CheckResult(
                name=f"promote_{name}",
                target=target,
                status=CRITICAL if failure else OK,
                message=failure.message if failure else said(name, work),
                error_kind=failure.kind if failure else None,
                duration_ms=work.durations[name],
            )
        )
        if failure:
            return checks, failure
    return checks, None


def said(step: str, work: Work) -> str:
    """Return in words what a step that is done has found."""
    done = work.done
    archive = done.get("archive", {})
    return {
        "drain": f"nothing more comes; the log is replayed up to {done['drained_lsn']}"
        if "drained_lsn" in done
        else "it was promoted before, and nothing is to be drained",
        "promote": "it has ended its recovery",
        "timeline": f"it is on timeline {done.get('timeline')}, which left {done.get('from_timeline')} at "
        f"{done.get('fork_lsn')}",
        "write": f"the row {done.get('marker', {}).get('id')} was committed, and another session reads it",
        "checkpoint": "the control file knows the new timeline",
        "archive": f"{archive.get('segment')} is archived"
        if archive.get("proven")
        else f"archiving was not proven: {archive.get('reason')}",
    }[step]


# --- the whole


def problems(options: Options) -> t.Iterator[str]:
    """Yield what is wrong with the options: one sentence for each."""
    for name in ("deadline", "drain_timeout", "promote_timeout", "archive_timeout"):
        if options[name] <= 0:
            yield f"{name}: {options[name]:g} is not more than 0; name a number of seconds"
    if options["from_timeline"] is not None and options["from_timeline"] < 1:
        yield f"from_timeline: {options['from_timeline']} is no timeline; the first one is 1"
    name = options["marker"]
    if name is not None and not standby.NAME.fullmatch(name):
        yield f"marker: {name!r:.80} is no name of a marker; use up to 200 letters, digits and _ . : -"
    wanted = options["system_identifier"]
    if wanted is not None and not wanted.isdigit():
        yield f"system_identifier: {wanted!r:.40} is no number; name what pg_controldata calls the system identifier"
    if options["until_lsn"] is not None:
        try:
            lsn.parse_lsn(options["until_lsn"])
        except ProbeFailure as error:
            yield f"until_lsn: {error.message}"


def plan(facts: Facts, options: Options) -> tuple[str, ...]:
    """Return what would be done, in sentences."""
    if options["state"] == FOLLOWING:
        return ("let the standby receive again",) if facts["held"] else ()
    drained = "end the receiver of the log, and replay what the archive still has"
    if options["state"] == DRAINED:
        return (drained,)
    if not facts["in_recovery"]:
        return ("prove again that the server takes writes and archives them",)
    steps = [drained, f"promote the standby from timeline {facts['timeline']}, now at {facts['replay_lsn']}"]
    steps.append(f"write a row into {standby.SCHEMA}.marker of the database postgres")
    steps.append("make a checkpoint")
    if options["archive"] and facts["archive_mode"] != "off":
        steps.append("finish a segment of the log, and wait until it is archived")
    return tuple(steps)


def run(
    options: Options,
    check: bool,
    clock: Clock = time.monotonic,
    sleep: Sleep = time.sleep,
) -> Outcome:
    """Bring the server of this host into the state that is asked for."""
    refuse(problems(options))
    started = datetime.datetime.now(datetime.timezone.utc)
    deadline = Deadline(options["deadline"], clock)
    place = open_host(options)
    facts = _look(place, deadline)
    note = read_note(place)
    state = options["state"]
    if state == PROMOTED and facts["in_recovery"]:
        refuse([*obstacles(facts, options, note), *patroni_problems(place, "promote it by matrixon_patroni")])
    refuse(_wrong_state(facts, state) if state == FOLLOWING else obstacles(facts, options, note))
    if state == DRAINED and not facts["in_recovery"]:
        refuse([f"state: the server is a primary on timeline {facts['timeline']}, and there is nothing to drain"])
    steps = plan(facts, options)
    if check:
        changed = bool(steps) and (facts["in_recovery"])
        return Outcome(changed=changed, msg="; ".join(steps) or "nothing is to be done", plan=steps)
    work = Work(place, options, deadline, facts, note, clock, sleep)
    if state == FOLLOWING:
        return _follow(work)
    checks, failure = advance(work, ("drain",) if state == DRAINED else dict(STEPS))
    if failure and "promote" not in work.durations:
        # Whoever refuses here leaves a standby that follows its primary as before.
        with place.session(Deadline(10, clock)) as session:
            _write_auto(place, released, session)
    if not failure and state == PROMOTED:
        _forget(place)
    report = Report(
        kind="promotion",
        target=options["target"] or platform.node(),
        deployment=options["deployment"],
        profile=options["profile"],
        started=started,
        finished=started + datetime.timedelta(seconds=deadline.elapsed()),
        checks=tuple(checks),
        facts={**work.done, "durations_ms": work.durations},
    )
    values = {**work.done, "durations_ms": work.durations}
    if failure:
        return Outcome(
            report, work.changed, failure.message, values={**values, "error_kind": failure.kind}, failed=True
        )
    return Outcome(report, work.changed, "; ".join(said(name, work) for name in work.durations), values=values)


def _look(place: Host, deadline: Deadline) -> Facts:
    """Return what the server says, all of which must be known here."""
    facts = standby.look(place, deadline, sized=False)
    if facts["server"] != standby.RUNNING:
        raise BackupError(REFUSED, f"no server runs on {place.data}; start it first")
    for failure in facts["unreadable"]:
        raise BackupError(failure["error_kind"], failure["message"])
    try:
        with open(place.path(AUTO), encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except FileNotFoundError:
        text = ""
    return {**facts, "held": released(text) != text}


def _wrong_state(facts: Facts, state: str) -> list[str]:
    if facts["in_recovery"]:
        return []
    return [f"state: the server is a primary on timeline {facts['timeline']}, and cannot be {state}"]


def _follow(work: Work) -> Outcome:
    with work.place.session(work.deadline) as session:
        changed = _write_auto(work.place, released, session)
    words = "the standby receives again" if changed else "nothing held the standby back"
    return Outcome(changed=changed, msg=words)


def _forget(place: Host) -> None:
    try:
        os.unlink(place.path(NOTE))
    except FileNotFoundError:
        return
