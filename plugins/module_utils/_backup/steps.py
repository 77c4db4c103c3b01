# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""An operation as a list of steps, each of which ends as one check of its report."""

from __future__ import annotations

import contextlib
import datetime
import time
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._probe import ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import CRITICAL, OK, CheckResult, Report

T = t.TypeVar("T")


class Failed(Exception):
    """A step failed, so the operation ended; ``failure`` is the reason."""

    def __init__(self, step: str, failure: ProbeFailure) -> None:
        super().__init__(failure.message)
        self.step = step
        self.failure = failure


class Note:
    """What a step has to say when it went well."""

    message = "done"
    value: float | None = None
    unit: str | None = None

    def say(self, message: str, value: float | None = None, unit: str | None = None) -> None:
        """Set the words, and what was measured."""
        self.message, self.value, self.unit = message, value, unit


class Steps:
    """The steps of one operation on one target, as they are done.

    The clock on the wall gives the times of the report, the monotonic one
    every length of time.
    """

    def __init__(self, kind: str, target: str, deployment: str, profile: str, clock: t.Callable[[], datetime.datetime]):
        self._frame = (kind, target, deployment, profile)
        self._target = target
        self._clock = clock
        self._started = clock()
        self.checks: list[CheckResult] = []
        self.facts: dict[str, t.Any] = {}
        self.evidence: list[str] = []

    @contextlib.contextmanager
    def step(self, name: str) -> t.Iterator[Note]:
        """Do one step. A failure of it is recorded as critical, and ends the operation as Failed."""
        begun = time.monotonic()
        note = Note()
        try:
            yield note
        except ProbeFailure as failure:
            self.add(
                CheckResult(
                    name, self._target, CRITICAL, failure.message, error_kind=failure.kind, duration_ms=_since(begun)
                )
            )
            raise Failed(name, failure) from failure
        self.add(
            CheckResult(
                name, self._target, OK, note.message, value=note.value, unit=note.unit, duration_ms=_since(begun)
            )
        )

    def add(self, *checks: CheckResult) -> None:
        """Take over checks that were made elsewhere."""
        self.checks.extend(checks)

    def report(self) -> Report:
        """Return the report of what was done so far."""
        return Report(
            *self._frame,
            started=self._started,
            finished=max(self._started, self._clock()),
            checks=tuple(self.checks),
            facts=self.facts,
            evidence=tuple(self.evidence),
        )


def _since(begun: float) -> int:
    return int((time.monotonic() - begun) * 1000)
