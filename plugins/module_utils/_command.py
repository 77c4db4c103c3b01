# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Run a local tool under a deadline."""

from __future__ import annotations

import os
import shutil
import subprocess
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, MISSING_TOOL, Deadline, ProbeFailure


class Finished(t.NamedTuple):
    """What a tool left behind."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """Return the last thing it said, for people."""
        lines = (self.err.strip() or self.out.strip()).splitlines()
        return lines[-1] if lines else f"it ended with code {self.code} and said nothing"


Runner = t.Callable[[list[str], Deadline], Finished]


def run(argv: list[str], deadline: Deadline) -> Finished:
    """Run a tool without a shell, in the C locale. A code other than 0 is for the caller to judge."""
    tool = argv[0]
    # exec itself would say "permission denied" where one directory of PATH cannot be searched.
    if not shutil.which(tool):
        raise ProbeFailure(MISSING_TOOL, f"{tool} is not installed on this host, or not on the PATH")
    seconds = deadline.require(tool)
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise deadline.failure(tool) from error
    except OSError as error:
        raise ProbeFailure(INTERNAL, f"{tool} could not be started: {error.strerror}") from error
    return Finished(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))
