# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The weekly upkeep: one statement after the other, each under its own limits, each proven from the catalog."""

from __future__ import annotations

import dataclasses
import os
import threading
import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils import _postgresql
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import human_bytes, human_seconds
from ansible_collections.matrixon.ops.plugins.module_utils._health.postgresql import STATS
from ansible_collections.matrixon.ops.plugins.module_utils._human import digits, human
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Row, Server, Session
from ansible_collections.matrixon.ops.plugins.module_utils._probe import AUTH, Deadline, Facts, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    SKIPPED,
    UNKNOWN,
    WARNING,
    CheckResult,
)
from ansible_collections.matrixon.ops.plugins.module_utils._upkeep import plan as planning
from ansible_collections.matrixon.ops.plugins.module_utils._upkeep import questions
from ansible_collections.matrixon.ops.plugins.module_utils._upkeep.plan import (
    ANALYZE,
    DROP,
    REINDEX,
    VACUUM,
    Held,
    Plan,
    Rules,
    Work,
)

GATES, LEFT, INVALID = "upkeep_gates", "upkeep_left", "upkeep_invalid_index"
NAMES = {VACUUM: "upkeep_vacuum", ANALYZE: "upkeep_analyze", REINDEX: "upkeep_reindex", DROP: "upkeep_drop_index"}
UNITS = {VACUUM: "count", ANALYZE: "count", REINDEX: "B", DROP: None}

LOCK_NOT_AVAILABLE, CANCELLED, NO_RIGHT = "55P03", "57014", "42501"
# What is kept of the whole time for proofs and for clearing away, beside a wait for a lock.
RESERVE = 5.0
# With less time a statement is not begun.
LEAST_TIME = 1.0
# How long the server's own limit comes before ours, so that the statement ends there and not only here.
GRACE = 3.0
# A rebuild waits at its end for each transaction that is older than itself.
OLD_TRANSACTION = 60.0
LAG_PAUSE = 1.0
STATISTICS_WAIT, STATISTICS_PAUSE = 3.0, 0.1
# A table is not frozen if both its ages are more than this part of what they were.
FROZEN = 0.9
# A rebuild that frees less was not worth it: the estimate is wrong for this index.
WORTH = 10.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")

Sleep = t.Callable[[float], object]


@dataclass(frozen=True)
class Limits:
    """How gentle the upkeep is. Times are in seconds."""

    lock_timeout: float = 5.0
    statement_deadline: float = 3600.0
    cost_delay_ms: float = 2.0
    cost_limit: int = 200
    max_lag: int = 0
    lag_wait: float = 60.0

    @property
    def reserve(self) -> float:
        """Return what is kept of the whole time after a statement."""
        return self.lock_timeout + RESERVE + GRACE


@dataclass
class Done:
    """What a run came to."""

    results: list[CheckResult] = field(default_factory=list)
    changed: bool = False
    facts: Facts = field(default_factory=dict)
    # What was done, for the page: name, kind, verdict, figures before and after, words.
    shown: list[list[t.Any]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


@dataclass
class Step:
    """What one statement came to, with figures before and after."""

    status: str
    message: str
    value: float | None = None
    changed: bool = False
    error_kind: str | None = None
    before: float | None = None
    after: float | None = None


class Stop(Exception):
    """No further statement is to be started, and why."""


class Hand:
    """One server, with the session that holds the lock of the upkeep and asks the questions."""

    def __init__(self, server: Server, control: Session, identity: Row, limits: Limits, deadline: Deadline) -> None:
        self.server, self.control, self.identity = server, control, identity
        self.limits, self.deadline = limits, deadline
        self.sleep: Sleep = threading.Event().wait
        # Whether a statement has run to its end, so that what fails after it is the proof.
        self.ran = False

    def allowed(self) -> float:
        """Return how long a statement may take from now on."""
        return min(self.limits.statement_deadline, self.left())

    def left(self) -> float:
        """Return how much time for statements is left; it may be below 0."""
        return self.deadline.remaining() - self.limits.reserve

    def run(self, statement: str, seconds: float) -> list[str]:
        """Run one statement in a session of its own; return what the server said beside it."""
        with _postgresql.connect(self.server, self.deadline.within(seconds + GRACE), writes=True) as session:
            session.execute(self._settings(seconds))
            session.execute(statement)
            self.ran = True
            return session.notices()

    def _settings(self, seconds: float) -> str:
        settings = {
            "lock_timeout": f"{max(1, int(self.limits.lock_timeout * 1000))}ms",
            "statement_timeout": f"{max(1, int(seconds * 1000))}ms",
            "vacuum_cost_delay": f"{self.limits.cost_delay_ms:g}ms",
            "vacuum_cost_limit": str(self.limits.cost_limit),
        }
        if self.identity["number"] >= 140000:
            # Where this module is killed, its statement is to end, too.
            settings["client_connection_check_interval"] = "5s"
        return "; ".join(f"SET {name} = '{value}'" for name, value in settings.items())

    def table(self, oid: int) -> Row | None:
        """Return what the catalog says of a table now."""
        found = self.control.rows(f"{questions.tables(self.identity['number'])} AND c.oid = {oid}")
        return found[0] if found else None

    def index(self, work: Work) -> Row | None:
        """Return what the catalog says of an index now. It waits for a lock, so it has a session of its own."""
        with _postgresql.connect(self.server, self.deadline.within(self.limits.lock_timeout + GRACE)) as session:
            session.execute(self._settings(self.limits.lock_timeout))
            found = session.rows(questions.INDEX, (work.schema, work.name))
        return found[0] if found else None

    def locked_by(self, work: Work) -> str:
        """Say who holds what a statement has waited for."""
        modes = questions.STRONG if work.kind in (VACUUM, ANALYZE) else questions.ANY
        found = self.control.rows(questions.LOCKED_BY.format(oid=work.table_oid, modes=modes))
        if found:
            row = found[0]
            since = f", since {human_seconds(max(0.0, row['seconds']))}" if row["seconds"] is not None else ""
            if row["kind"] == "prepared":
                return f"lock {row['mode']} held by {planning.holder_words(row)}; {planning.PREPARED_WAY_OUT}"
            words = ", ".join(word for word in (row["user"], row["application"], row["state"]) if word)
            return f"lock {row['mode']} held by pid {row['pid']} ({words}{since})"
        oldest = self.older(work) if work.kind in (REINDEX, DROP) else None
        return (
            f"it waits for {planning.holder_words(oldest)}" if oldest else "whoever held the lock has let it go since"
        )

    def older(self, work: Work) -> Row | None:
        """Return the oldest transaction for which a rebuild of an index waits at its end."""
        found = self.control.rows(questions.OLDER.format(oid=work.table_oid))
        return max(found, key=lambda row: row["seconds"] or 0.0) if found else None

    def room(self, tablespace: int) -> float | str:
        """Return how many bytes are free where an index lies, or why that is not known."""
        if not self.server.host.startswith("/") and self.server.host not in LOOPBACK:
            return f"the server is on another host ({self.server.host}); run this on that one"
        try:
            place = self.control.row(questions.PLACE.format(oid=tablespace))["place"] if tablespace else ""
            path = place or self.control.row(questions.DATA_DIRECTORY)["place"]
            free = os.statvfs(path)
        except ProbeFailure as failure:
            return failure.message
        except OSError as error:
            return f"{path} cannot be looked at: {error.strerror}"
        return float(free.f_bavail * free.f_frsize)


# Gates -------------------------------------------------------------------------------------------------------------


def pass_gates(hand: Hand) -> str:
    """Take the lock of the upkeep and look at the standbys; say what was seen, or raise Stop."""
    if not hand.control.row(questions.TAKE_LOCK)["taken"]:
        owners = hand.control.rows(questions.LOCK_OWNER)
        who = f"pid {owners[0]['pid']} ({owners[0]['user']}, {owners[0]['application']})" if owners else "somebody"
        raise Stop(f"another upkeep works in {hand.identity['database']}: {who} holds its lock")
    words = [f"{hand.server} is a primary, and no other upkeep works in {hand.identity['database']}", lag_words(hand)]
    if hand.identity[STATS] and hand.control.row(questions.BASEBACKUPS)["count"]:
        words.append("a base backup runs, which the upkeep does not disturb but for the log that it writes")
    return "; ".join(words)


def lag_words(hand: Hand) -> str:
    """Wait until no standby is further behind than allowed; say how far they are, or raise Stop."""
    most = hand.limits.max_lag
    if not most:
        return "standbys are not looked at (max_lag is 0)"
    if not hand.identity[STATS]:
        raise Stop(
            f"{hand.identity['user']} may not see how far the standbys are; GRANT pg_monitor TO it, or set max_lag to 0"
        )
    wait = hand.deadline.within(hand.limits.lag_wait)
    while True:
        found = hand.control.rows(questions.LAG)
        if not found:
            return "no standby is connected"
        behind = max(0.0, found[0]["behind"])
        words = f"standby {found[0]['name']} is {human_bytes(behind)} behind"
        if behind <= most:
            return words
        if wait.remaining() <= 0:
            raise Stop(
                f"{words}, more than max_lag of {human_bytes(most)}, after {hand.limits.lag_wait:g} s of waiting"
            )
        hand.sleep(min(LAG_PAUSE, wait.remaining()))


# Steps -------------------------------------------------------------------------------------------------------------


def step(hand: Hand, work: Work, rules: Rules) -> Step:
    """Run one piece of work and prove it."""
    hand.ran = False
    try:
        if work.kind in (VACUUM, ANALYZE):
            return _tend(hand, work, rules)
        return _rebuild(hand, work) if work.kind == REINDEX else _drop(hand, work)
    except ProbeFailure as failure:
        if hand.ran:
            message = f"it ran, but what it came to could not be seen: {failure.message}"
            return Step(UNKNOWN, message, changed=True, error_kind=failure.kind)
        return _failed(hand, work, failure)


def _tend(hand: Hand, work: Work, rules: Rules) -> Step:
    before = hand.table(work.oid)
    if before is None:
        return Step(SKIPPED, "the table is gone")
    said = hand.run(work.statement, hand.allowed())
    after = _counted(hand, work, before)
    if after is None:
        return Step(SKIPPED, "the table was dropped meanwhile")
    counter = "vacuums" if work.kind == VACUUM else "analyzes"
    if after[counter] <= before[counter]:
        why = f"the server said: {'; '.join(said)}" if said else "the server counted none and gave no reason"
        return Step(WARNING, f"not done, {why}", error_kind=AUTH if said else None)
    if work.kind == ANALYZE:
        message = f"analysed; rows changed since: {digits(before['modified'])} before, {digits(after['modified'])} now"
        return Step(OK, message, after["modified"], True, None, before["modified"], after["modified"])
    return _vacuumed(hand, work, rules, before, after)


def _vacuumed(hand: Hand, work: Work, rules: Rules, before: Row, after: Row) -> Step:
    words = [f"dead rows: {digits(before['dead'])} before, {digits(after['dead'])} now"]
    if work.freeze:
        words.append(f"age: {digits(before['xid_age'])} before, {digits(after['xid_age'])} now")
    status = OK
    kept = after["dead"] >= rules.dead_rows
    unfrozen = work.freeze and all(after[age] >= FROZEN * before[age] for age in ("xid_age", "mxid_age"))
    if kept or unfrozen:
        catalog = work.schema == "pg_catalog"
        rows = hand.control.rows(questions.HOLDERS)
        held = [row for row in rows if row["age"] is not None and (catalog or not row["catalogs"])]
        status = WARNING
        who = "nobody who can be seen now; the next run takes them, if whoever it was has let go"
        if held:
            who = f"{planning.holder_words(held[0])}; {planning.way_out(held[0])}"
        what = f"{digits(after['dead'])} dead rows cannot be removed" if kept else "rows cannot be frozen"
        words.append(f"{what}: kept by {who}")
    return Step(status, "; ".join(words), after["dead"], True, None, before["dead"], after["dead"])


def _counted(hand: Hand, work: Work, before: Row) -> Row | None:
    """Return the table once the statistics count the statement; before version 15 they come a little later."""
    wait = hand.deadline.within(0 if hand.identity["number"] >= 150000 else STATISTICS_WAIT)
    counter = "vacuums" if work.kind == VACUUM else "analyzes"
    while True:
        after = hand.table(work.oid)
        if after is None or after[counter] > before[counter] or wait.remaining() <= 0:
            return after
        hand.sleep(STATISTICS_PAUSE)


def _rebuild(hand: Hand, work: Work) -> Step:
    before = hand.index(work)
    if before is None:
        return Step(SKIPPED, "the index is gone")
    narrow = planning.too_narrow(dataclasses.replace(work, size=before["size"]), hand.room)
    if narrow:
        return Step(WARNING, narrow)
    oldest = hand.older(work)
    if oldest and (oldest["seconds"] or 0.0) >= OLD_TRANSACTION:
        who = f"{planning.holder_words(oldest)}; {planning.way_out(oldest)}"
        return Step(WARNING, f"not begun, for a rebuild would wait at its end for {who}")
    hand.run(work.statement, hand.allowed())
    after = hand.index(work)
    if after is None or not after["valid"] or after["oid"] == before["oid"]:
        return Step(CRITICAL, "the server reports success, but the catalog does not show a new, valid index")
    freed = 100.0 * (before["size"] - after["size"]) / before["size"] if before["size"] else 0.0
    sizes = f"{human(before['size'], 'B')} before, {human(after['size'], 'B')} now, valid"
    figures = (after["size"], True, None, before["size"], after["size"])
    if freed < WORTH:
        hint = "the estimate is wrong for this index; name it in the option skip"
        return Step(WARNING, f"rebuilt for little: {sizes}; {hint}", *figures)
    return Step(OK, f"rebuilt: {sizes}", *figures)


def _drop(hand: Hand, work: Work) -> Step:
    before = hand.index(work)
    if before is None or before["oid"] != work.oid or before["valid"]:
        return Step(SKIPPED, "it is no invalid index any more")
    hand.run(work.statement, hand.allowed())
    if hand.index(work) is not None:
        return Step(CRITICAL, "the server reports success, but the index is still in the catalog")
    return Step(OK, f"dropped: it took {human(before['size'], 'B')}", None, True)


def _failed(hand: Hand, work: Work, failure: ProbeFailure) -> Step:
    code = failure.facts.get("sqlstate")
    lost = code is None or code.startswith(("08", "57P"))
    if lost:
        return Step(UNKNOWN, failure.message, error_kind=failure.kind)
    changed, tail = False, ""
    if work.kind == REINDEX:
        changed, tail = _clear(hand, work)
    if code == LOCK_NOT_AVAILABLE:
        waited = human_seconds(hand.limits.lock_timeout)
        return Step(WARNING, f"needs a person: {hand.locked_by(work)}; waited {waited}{tail}", changed=changed)
    if code == CANCELLED:
        partly = "; what it did until then stays" if work.kind == VACUUM else ""
        message = f"not ended: the server cancelled it, at its time limit or by hand{partly}{tail}"
        return Step(WARNING, message, changed=changed or work.kind == VACUUM)
    if code == NO_RIGHT:
        return Step(WARNING, f"needs a person: {failure.message}{tail}", changed=changed, error_kind=AUTH)
    return Step(CRITICAL, f"failed: {failure.message}{tail}", changed=changed, error_kind=failure.kind)


def _clear(hand: Hand, work: Work) -> tuple[bool, str]:
    """Drop what a rebuild that did not end has left; say so."""
    indexes = hand.control.rows(questions.indexes(hand.identity["number"]))
    left = [
        row
        for row in indexes
        if row["table_oid"] == work.table_oid
        and not row["valid"]
        and (planning.twin_of(row, indexes) or {}).get("name") == work.name
    ]
    words, changed = [], False
    for row in left:
        if not row["owned"]:
            changed = True
            words.append(f"its leftover {row['name']} is still there: {planning.NOT_OWNED}, which this login is not")
            continue
        rest = Work(DROP, row["schema"], row["name"], row["oid"], "", table_oid=work.table_oid)
        try:
            hand.run(rest.statement, max(1.0, min(hand.deadline.remaining() - GRACE, hand.limits.lock_timeout * 2)))
            gone = hand.index(rest) is None
        except ProbeFailure as failure:
            changed = True
            words.append(f"its leftover {row['name']} is still there ({failure.message}), the next run drops it")
            continue
        changed = changed or not gone
        words.append(f"its leftover {row['name']} was {'dropped' if gone else 'not dropped'}")
    return changed, "".join(f"; {word}" for word in words)


# A run -------------------------------------------------------------------------------------------------------------


def perform(hand: Hand, works: t.Sequence[Work], rules: Rules, done: Done) -> bool:
    """Do the work in its order until it is done, time runs out, or something speaks against going on.

    Return whether it was gone through to its end.
    """
    for at, work in enumerate(works):
        began = hand.deadline.elapsed()
        why = _speaks_against(hand)
        if why:
            return _leave(hand, works[at:], why, done)
        taken = step(hand, work, rules)
        done.changed = done.changed or taken.changed
        done.results.append(_result(work, taken, hand.deadline.elapsed() - began))
        done.shown.append([work.target, work.kind, taken.status, taken.before, taken.after, taken.message])
        if taken.status == UNKNOWN:
            return _leave(hand, works[at + 1 :], f"what the one before came to is unknown: {taken.message}", done)
    return True


def _speaks_against(hand: Hand) -> str | None:
    try:
        if hand.left() <= LEAST_TIME:
            raise Stop(f"the deadline of {human_seconds(hand.deadline.seconds)} ended before its turn")
        lag_words(hand)
    except Stop as stop:
        return str(stop)
    except ProbeFailure as failure:
        return failure.message
    return None


def _leave(hand: Hand, works: t.Sequence[Work], why: str, done: Done) -> bool:
    done.left += [work.target for work in works]
    done.results += [skipped(work, why) for work in works]
    if works:
        names = ", ".join(f"{work.kind} {work.target}" for work in works)
        message = f"left for the next run ({why}): {names}"
        done.results.append(CheckResult(LEFT, hand.server.where, WARNING, message, len(works), "count"))
    return False


def foresee(works: t.Sequence[Work], done: Done) -> None:
    """Say what would be done; nothing of it counts as done."""
    done.results += [skipped(work, f"planned: {work.statement}, because {work.why}") for work in works]


def not_done(plan: Plan) -> list[CheckResult]:
    """Return what is needed and not done: held work, and indexes that only a person can judge."""
    results = [_held(held) for held in plan.held]
    for row in plan.strange:
        message = (
            f"needs a person: invalid, and not left by a rebuild; build it again or drop it "
            f"(table {row['schema']}.{row['table']})"
        )
        results.append(CheckResult(INVALID, f"{row['schema']}.{row['name']}", WARNING, message))
    return results


def _held(held: Held) -> CheckResult:
    if held.status == SKIPPED:
        return skipped(held.work, held.reason)
    return CheckResult(NAMES[held.work.kind], held.work.target, held.status, f"needs a person: {held.reason}")


def skipped(work: Work, reason: str) -> CheckResult:
    """Return the verdict of work that was not done."""
    return CheckResult(NAMES[work.kind], work.target, SKIPPED, reason, skipped_reason=reason)


def _result(work: Work, taken: Step, seconds: float) -> CheckResult:
    message = taken.message if taken.status == SKIPPED else f"{taken.message}. Why: {work.why}"
    return CheckResult(
        NAMES[work.kind],
        work.target,
        taken.status,
        message,
        value=taken.value,
        unit=None if taken.value is None else UNITS[work.kind],
        error_kind=taken.error_kind,
        duration_ms=int(seconds * 1000),
        skipped_reason=taken.message if taken.status == SKIPPED else None,
    )


def refused(where: str, reason: str, kind: str | None = None) -> CheckResult:
    """Return the verdict of gates that did not open."""
    status = UNKNOWN if kind else WARNING
    return CheckResult(GATES, where, status, f"nothing was done: {reason}", error_kind=kind)
