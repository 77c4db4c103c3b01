"""Tests of the pool: jobs add jobs, and one that hangs is left behind."""

from __future__ import annotations

import threading
import time

from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.pool import Pool


def test_all_results_also_of_jobs_that_jobs_add() -> None:
    pool: Pool[int] = Pool(2, Deadline(5))

    def parent(number: int) -> list[int]:
        for child in range(3):
            pool.add(f"child {number}.{child}", lambda child=child: [number * 10 + child])
        return [number]

    for number in range(1, 4):
        pool.add(f"parent {number}", lambda number=number: parent(number))
    found, late = pool.collect()
    assert sorted(found) == [1, 2, 3, 10, 11, 12, 20, 21, 22, 30, 31, 32]
    assert late == []


def test_no_more_threads_than_it_may_have() -> None:
    pool: Pool[int] = Pool(3, Deadline(5))
    running, most, lock = [0], [0], threading.Lock()

    def job() -> list[int]:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.01)
        with lock:
            running[0] -= 1
        return [1]

    for number in range(12):
        pool.add(str(number), job)
    assert (len(pool.collect()[0]), most[0]) == (12, 3)


def test_what_hangs_is_left_behind_with_its_name() -> None:
    release = threading.Event()
    pool: Pool[str] = Pool(2, Deadline(0.2))

    def hang() -> list[str]:
        release.wait(10)
        return ["late"]

    pool.add("hung", hang)
    pool.add("good", lambda: ["good"])
    began = time.monotonic()
    found, late = pool.collect()
    assert (found, late) == (["good"], ["hung"])
    assert time.monotonic() - began < 2
    assert all(thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread())
    release.set()


def test_empty_pool_ends_at_once() -> None:
    assert Pool[int](2, Deadline(5)).collect() == ([], [])
