# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What every probe shares: how it fails, and when it must be done."""

from __future__ import annotations

import time
import typing as t

REFUSED = "refused"
TIMEOUT = "timeout"
AUTH = "auth"
DNS = "dns"
TLS = "tls"
PARSE = "parse"
MISSING_TOOL = "missing_tool"
INTERNAL = "internal"

Facts = dict[str, t.Any]


class ProbeFailure(Exception):
    """A probe could not bring its facts home.

    ``kind`` is one of ``_report.ERROR_KINDS``; ``message`` is for people and
    names the peer; ``facts`` is what was seen before it failed.
    """

    def __init__(self, kind: str, message: str, facts: Facts | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.facts = facts or {}


class Deadline:
    """A point in monotonic time by which everything below it must be done.

    A timeout per socket call is not a deadline: a peer that sends one byte a
    second never runs into it.
    """

    def __init__(self, seconds: float, clock: t.Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = clock()
        self._end = self._start + seconds

    @property
    def seconds(self) -> float:
        """Return how long the deadline was when it was set."""
        return self._end - self._start

    def remaining(self) -> float:
        """Return the seconds that are left, never below zero."""
        return max(0.0, self._end - self._clock())

    def elapsed(self) -> float:
        """Return the seconds since the deadline was set."""
        return self._clock() - self._start

    def require(self, doing: str) -> float:
        """Return the seconds that are left, or fail naming what was going on."""
        left = self.remaining()
        if left <= 0:
            raise self.failure(doing)
        return left

    def failure(self, doing: str) -> ProbeFailure:
        """Return the failure for a deadline that was hit while ``doing``."""
        return ProbeFailure(TIMEOUT, f"{doing}: no answer within {self.seconds:.3g} s")

    def within(self, seconds: float) -> Deadline:
        """Return a deadline that ends after ``seconds``, or with this one."""
        return Deadline(min(seconds, self.remaining()), self._clock)
