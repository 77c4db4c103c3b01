# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""One message per change of a state, to everybody who is to know of it."""

from __future__ import annotations

import contextlib
import datetime
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._notify import options as _options
from ansible_collections.matrixon.ops.plugins.module_utils._notify.deliver import sender_of, tell_all
from ansible_collections.matrixon.ops.plugins.module_utils._notify.memory import (
    Forgotten,
    Memory,
    Remembered,
    already_told,
    fresh,
    reason_to_pass_over,
)
from ansible_collections.matrixon.ops.plugins.module_utils._notify.model import (
    FAILED,
    SENT,
    SKIPPED,
    UNCHANGED,
    WOULD_SEND,
    Channel,
    Message,
    Result,
    Sender,
)
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    UNKNOWN,
    WARNING,
    CheckResult,
    Report,
    rfc3339,
)
from ansible_collections.matrixon.ops.plugins.module_utils._report import SKIPPED as NOT_LOOKED_AT

CHECK = "notify_delivery"
# More than another run of the same key can take with ordinary deadlines.
LONGEST_LOCK = 120

Now = t.Callable[[], datetime.datetime]
TOLD = (SENT, UNCHANGED)


@dataclass(frozen=True)
class Outcome:
    """What became of a message, channel by channel."""

    results: list[Result]
    report: Report
    warnings: list[str]
    before: dict[str, str]
    after: dict[str, str]

    @property
    def changed(self) -> bool:
        """Tell if anybody was told, or would be."""
        return any(result.status in (SENT, WOULD_SEND) for result in self.results)

    def fails(self, fail_on: str) -> bool:
        """Tell if this is a failure for who asks for it."""
        failed = [result for result in self.results if result.status == FAILED]
        reached = any(result.status in TOLD for result in self.results)
        return bool(failed) and (fail_on == "any" or (fail_on == "all" and not reached))


def utc_now() -> datetime.datetime:
    """Return the time."""
    return datetime.datetime.now(datetime.timezone.utc)


def notify(
    given: dict[str, t.Any],
    check_mode: bool = False,
    now: Now = utc_now,
    clock: t.Callable[[], float] = time.monotonic,
    sleep: t.Callable[[float], None] = time.sleep,
) -> Outcome:
    """Tell every channel that is meant and does not know; raise OptionErrors."""
    _options.check(given)
    return Run(given, check_mode, now, clock, sleep).outcome()


class Run:
    """One call."""

    def __init__(
        self,
        given: dict[str, t.Any],
        check_mode: bool,
        now: Now,
        clock: t.Callable[[], float],
        sleep: t.Callable[[float], None],
    ) -> None:
        self.given = given
        self.check_mode = check_mode
        self.now, self.clock, self.sleep = now, clock, sleep
        self.message = _options.message_of(given)
        self.channels = _options.channels_of(given)
        self.memory = Memory(given["state_dir"], self.message.key)
        self.warnings: list[str] = []

    def outcome(self) -> Outcome:
        """Do it."""
        started = self.now()
        with self._held():
            before = self._load()
            known = before.in_state(self.message.state, self.message.occasion)
            plan = {channel.name: self._decided(channel, known) for channel in self.channels}
            meant = [channel for channel in self.channels if plan[channel.name] is None]
            if known is not before and not self.check_mode:
                # Before anything is sent: a run that dies is known to the next, which repeats with the same ids.
                self._save(known)
            results, after = self._foresee(meant, known) if self.check_mode else self._tell(meant, known)
        told = {result.channel: result for result in results}
        ordered = [plan[channel.name] or told[channel.name] for channel in self.channels]
        return Outcome(
            results=ordered,
            report=self._report(started, ordered),
            warnings=self.warnings,
            before={name: entry.state for name, entry in before.channels.items()},
            after={name: entry.state for name, entry in after.channels.items()},
        )

    @contextlib.contextmanager
    def _held(self) -> t.Iterator[None]:
        """Keep other runs away, if that can be: to tell twice is better than not to tell."""
        with contextlib.ExitStack() as stack:
            if not self.check_mode:
                try:
                    self.memory.prepare()
                    stack.enter_context(self.memory.locked(Deadline(LONGEST_LOCK, self.clock), self.sleep))
                except Forgotten as error:
                    self._warn(error)
            yield

    def _load(self) -> Remembered:
        try:
            return self.memory.load()
        except Forgotten as error:
            self._warn(error)
            return fresh(self.message.key)

    def _save(self, known: Remembered) -> None:
        try:
            self.memory.save(known)
        except Forgotten as error:
            self._warn(error)

    def _warn(self, error: Forgotten) -> None:
        said = f"What was told before is not known, so some may be told twice: {error}"
        if said not in self.warnings:
            self.warnings.append(said)

    def _decided(self, channel: Channel, known: Remembered) -> Result | None:
        """Return the result of a channel that is not to be told, or None."""
        reason = reason_to_pass_over(channel, self.message, self.given["to"], known)
        if reason is not None:
            return Result(channel.name, channel.type, SKIPPED, reason)
        told = already_told(channel, known)
        if told is not None:
            return Result(channel.name, channel.type, UNCHANGED, f"it was told of {told.state} at {told.at}")
        return None

    def _sender(self, channel: Channel, known: Remembered) -> Sender:
        return sender_of(channel, self.message, known.transaction(channel.name), self.now())

    def _tell(self, meant: list[Channel], known: Remembered) -> tuple[list[Result], Remembered]:
        senders = [(channel, self._sender(channel, known)) for channel in meant]
        results = tell_all(senders, self.given["attempts"], self.clock, self.sleep)
        for result in results:
            if result.status == SENT:
                known = known.told(result.channel, self.message.incident, rfc3339(self.now()))
        if any(result.status == SENT for result in results):
            self._save(known)
        return results, known

    def _foresee(self, meant: list[Channel], known: Remembered) -> tuple[list[Result], Remembered]:
        results = []
        for channel in meant:
            to = self._sender(channel, known).destination()
            results.append(Result(channel.name, channel.type, WOULD_SEND, f"{self.message.subject!r} would go to {to}"))
            known = known.told(channel.name, self.message.incident, rfc3339(self.now()))
        return results, known

    def _report(self, started: datetime.datetime, results: list[Result]) -> Report:
        return Report(
            kind="notify",
            target=self.given["target"],
            deployment=self.given["deployment"],
            profile=self.given["profile"],
            started=started,
            finished=self.now(),
            checks=tuple(checks_of(results)),
            facts=facts_of(self.message),
        )


def facts_of(message: Message) -> dict[str, t.Any]:
    """Return what the report says of the message."""
    words = ("key", "state", "severity", "incident", "subject")
    return {word: getattr(message, word) for word in words}


def checks_of(results: list[Result]) -> t.Iterator[CheckResult]:
    """Yield the verdict on each channel.

    One that failed is a warning while somebody was told, and critical where
    nobody was. Where nobody knows if the message came through it is unknown.
    """
    bad = WARNING if any(result.status in TOLD for result in results) else CRITICAL
    verdicts = {SENT: OK, UNCHANGED: OK, FAILED: bad}
    for result in results:
        status = UNKNOWN if result.uncertain else verdicts.get(result.status, NOT_LOOKED_AT)
        yield CheckResult(
            name=CHECK,
            target=result.channel,
            status=status,
            message=result.message,
            error_kind=result.error_kind,
            duration_ms=result.duration_ms,
            skipped_reason=result.message if status == NOT_LOOKED_AT else None,
            attempts=result.tries,
        )


def summary(outcome: Outcome, message_key: str, state: str) -> str:
    """Return in one line who was told, and who was not."""
    parts = []
    for status, words in ((SENT, "told"), (WOULD_SEND, "would tell"), (UNCHANGED, "knew it"), (SKIPPED, "passed over")):
        names = [result.channel for result in outcome.results if result.status == status]
        if names:
            parts.append(f"{words}: {', '.join(names)}")
    failed = [f"{one.channel} ({one.message})" for one in outcome.results if one.status == FAILED]
    if failed:
        parts.append(f"FAILED: {'; '.join(failed)}")
    return f"{message_key} is {state}; {'; '.join(parts)}"
