# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Send to many channels at once, each under its own deadline."""

from __future__ import annotations

import datetime
import threading
import time
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._notify.mail import Mail
from ansible_collections.matrixon.ops.plugins.module_utils._notify.model import (
    EMAIL,
    FAILED,
    MATRIX,
    PAGERDUTY,
    STATUS_PAGE,
    WEBHOOK,
    Channel,
    DeliveryFailure,
    Message,
    Result,
    Sender,
)
from ansible_collections.matrixon.ops.plugins.module_utils._notify.text import one_line, scrub, secrets_of
from ansible_collections.matrixon.ops.plugins.module_utils._notify.web import MatrixRoom, PagerDuty, StatusPage, Webhook
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, TIMEOUT, Deadline

BACKOFF = 0.5
# For a thread to come home with what it saw at its deadline.
GRACE = 0.25
UNCERTAIN = "it may have been delivered none the less"

Sleep = t.Callable[[float], None]


def sender_of(channel: Channel, message: Message, transaction: str, now: datetime.datetime) -> Sender:
    """Return the message on its way to a channel."""
    makers: dict[str, t.Callable[[], Sender]] = {
        WEBHOOK: lambda: Webhook(channel.options, message),
        MATRIX: lambda: MatrixRoom(channel.options, message, transaction),
        PAGERDUTY: lambda: PagerDuty(channel.options, message),
        STATUS_PAGE: lambda: StatusPage(channel.options, message),
        EMAIL: lambda: Mail(channel.options, message, transaction, now),
    }
    return makers[channel.type]()


class Telling:
    """The tries to tell one channel."""

    def __init__(self, channel: Channel, sender: Sender, attempts: int, deadline: Deadline, sleep: Sleep) -> None:
        self.channel = channel
        self.sender = sender
        self.attempts = attempts
        self.deadline = deadline
        self.sleep = sleep
        self.secrets = secrets_of(channel.options)
        self.tries: list[dict[str, t.Any]] = []
        self.uncertain = False

    def run(self) -> Result:
        """Try until it is sent, until a repeat would do harm or no good, or until the deadline."""
        while True:
            started = self.deadline.elapsed()
            try:
                delivery = self.sender.send(self._limit())
            except DeliveryFailure as failure:
                wait = self._failed(failure, started)
                if wait is None:
                    return self._result(FAILED, failure.message, failure.kind)
                if wait >= self.deadline.remaining():
                    said = f"{failure.message}; the next try would be in {wait:.3g} s, which is too late"
                    return self._result(FAILED, said, failure.kind)
                self.sleep(wait)
            else:
                self._note("ok", delivery.message, None, started)
                self.uncertain = False
                return self._result(delivery.status, delivery.message)

    def overdue(self) -> Result:
        """Return the result of one that is stuck where no deadline reaches, such as in the resolver."""
        said = f"{self.sender.destination()}: no answer within {self.deadline.seconds:.3g} s"
        self.uncertain = True
        return self._result(FAILED, said, TIMEOUT)

    def broken(self, error: Exception) -> Result:
        """Return the result of a fault of this program. Its words may hold a secret."""
        self.uncertain = True
        return self._result(FAILED, f"{type(error).__name__} in the program that sends", INTERNAL)

    def _limit(self) -> Deadline:
        # A server that stays silent once may answer the next time, where that does no harm.
        share = 2 if self.sender.repeatable and len(self.tries) + 1 < self.attempts else 1
        return self.deadline.within(self.deadline.remaining() / share)

    def _failed(self, failure: DeliveryFailure, started: float) -> float | None:
        """Note a failed try; return the seconds until the next, or None if there is none."""
        self.uncertain = self.uncertain or failure.uncertain
        self._note("unknown" if failure.uncertain else "critical", failure.message, failure.kind, started)
        if not failure.again or len(self.tries) >= self.attempts:
            return None
        return BACKOFF * 2 ** (len(self.tries) - 1) if failure.wait is None else failure.wait

    def _note(self, status: str, message: str, kind: str | None, started: float) -> None:
        entry = {
            "status": status,
            "message": self._clean(message),
            "duration_ms": int((self.deadline.elapsed() - started) * 1000),
        }
        self.tries.append({**entry, "error_kind": kind} if kind else entry)

    def _result(self, status: str, message: str, kind: str | None = None) -> Result:
        said = self._clean(message)
        if self.uncertain:
            said = f"{said}; {UNCERTAIN}"
        return Result(
            channel=self.channel.name,
            type=self.channel.type,
            status=status,
            message=said,
            error_kind=kind,
            uncertain=self.uncertain,
            tries=tuple(self.tries),
            duration_ms=int(self.deadline.elapsed() * 1000),
        )

    def _clean(self, message: str) -> str:
        return one_line(scrub(message, self.secrets))


def tell_all(
    senders: t.Sequence[tuple[Channel, Sender]],
    attempts: int,
    clock: t.Callable[[], float] = time.monotonic,
    sleep: Sleep = time.sleep,
) -> list[Result]:
    """Tell all channels at once. None waits for another, and none is waited for beyond its deadline."""
    tellings = [
        Telling(channel, sender, attempts, Deadline(channel.timeout, clock), sleep) for channel, sender in senders
    ]
    results: dict[int, Result] = {}

    def work(number: int) -> None:
        try:
            results[number] = tellings[number].run()
        except Exception as error:
            results[number] = tellings[number].broken(error)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(tellings))]
    for thread in threads:
        thread.start()
    for thread, telling in zip(threads, tellings):
        thread.join(telling.deadline.remaining() + GRACE)
    return [results.get(number) or telling.overdue() for number, telling in enumerate(tellings)]
