"""Run a module's operation, and die with SIGKILL at a step's end: what a host that loses its power does."""

from __future__ import annotations

import json
import os
import signal
import sys
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._dr import promote


def dies_after(name: str, step: t.Callable[[promote.Work], None]) -> t.Callable[[promote.Work], None]:
    """Return the step, which ends the process where it is the one of that name."""

    def act(work: promote.Work) -> None:
        step(work)
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGKILL)

    return act


promote.STEPS = tuple((name, dies_after(name, step)) for name, step in promote.STEPS)
promote.run(json.load(sys.stdin), False)
