# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Jobs in a few threads that can be left behind.

Those of concurrent.futures cannot: the interpreter waits for each of them when it ends, so one stuck name
server would hold the module.
"""

from __future__ import annotations

import queue
import threading
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

PAUSE = 0.02

R = t.TypeVar("R")


class Pool(t.Generic[R]):
    """Runs jobs and collects what they return. A job may add others while it runs."""

    def __init__(self, threads: int, deadline: Deadline) -> None:
        self.threads = threads
        self.deadline = deadline
        self._waiting: queue.Queue[tuple[str, t.Callable[[], list[R]]]] = queue.Queue()
        self._done: queue.Queue[tuple[str, list[R]]] = queue.Queue()
        self._open: dict[str, int] = {}
        self._lock = threading.Lock()
        self._started = 0

    def add(self, name: str, job: t.Callable[[], list[R]]) -> None:
        """Give the pool a job. Jobs of one name are told apart by nobody."""
        with self._lock:
            self._open[name] = self._open.get(name, 0) + 1
            more = self._started < self.threads
            self._started += more
        self._waiting.put((name, job))
        if more:
            threading.Thread(target=self._work, daemon=True).start()

    def collect(self) -> tuple[list[R], list[str]]:
        """Return all results, and the names of the jobs that were not done by the deadline."""
        results: list[R] = []
        while True:
            with self._lock:
                if not self._open:
                    return results, []
            try:
                name, found = self._done.get(timeout=self.deadline.remaining() + PAUSE)
            except queue.Empty:
                with self._lock:
                    return results, list(self._open)
            results += found
            with self._lock:
                self._open[name] -= 1
                if not self._open[name]:
                    del self._open[name]

    def _work(self) -> None:
        while self.deadline.remaining() > 0:
            name, job = self._waiting.get()
            self._done.put((name, job()))
