# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""How far the clock is off, from chrony where it runs, else from the kernel. Nothing is set."""

from __future__ import annotations

import os
import time
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._command import Runner, run
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    AUTH,
    INTERNAL,
    MISSING_TOOL,
    PARSE,
    Deadline,
    ProbeFailure,
)

STA_UNSYNC, STA_NANO = 0x0040, 0x2000
TIME_ERROR = 5
CHRONY_PID_FILE = "run/chrony/chronyd.pid"
LOCAL_REFERENCE = "7F7F0101"
# The kernel takes its own clock for unsynchronised when the error may have
# grown to 16 s, which takes about this long. chrony never says so by itself.
STALE_SECONDS = 9 * 3600


class Offset(t.NamedTuple):
    """How far the clock is off in seconds, None where it is not synchronised; and who says so."""

    seconds: float | None
    source: str
    why: str = ""


class Timex(t.NamedTuple):
    """The part of adjtimex(2) that counts here."""

    state: int
    status: int
    offset: int


def _may_run(pid_file: str) -> bool:
    """Return whether a PID file is there, or may be there out of this user's sight."""
    try:
        os.stat(pid_file)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def parse_tracking(text: str, now: float) -> Offset:
    """Return the offset from ``chronyc -c tracking``."""
    fields = text.strip().split(",")
    try:
        reference, measured, offset, leap = fields[0], float(fields[3]), abs(float(fields[4])), fields[13]
    except (IndexError, ValueError) as error:
        raise ProbeFailure(PARSE, f"the answer of chronyc tracking was not understood: {text[:80]!r}") from error
    if leap == "Not synchronised":
        return Offset(None, "chrony", "it has no time source that it trusts")
    if reference == LOCAL_REFERENCE:
        return Offset(None, "chrony", "it follows its own clock (local reference)")
    if now - measured > STALE_SECONDS:
        return Offset(None, "chrony", f"it last heard from a time source {(now - measured) / 3600:.0f} h ago")
    return Offset(offset, "chrony")


def parse_timex(timex: Timex) -> Offset:
    """Return the offset from what adjtimex(2) found."""
    if timex.state == TIME_ERROR or timex.status & STA_UNSYNC:
        return Offset(None, "the kernel", "no time service has set it lately")
    return Offset(abs(timex.offset) / (1e9 if timex.status & STA_NANO else 1e6), "the kernel")


def read_timex() -> Timex:
    """Ask the kernel, without setting anything (modes = 0)."""
    try:
        import ctypes
    except ImportError as error:
        raise ProbeFailure(
            MISSING_TOOL, "the Python of this host has no ctypes, by which the kernel is asked"
        ) from error

    class Struct(ctypes.Structure):
        """The head of struct timex, and room for the rest of it."""

        _fields_ = (
            ("modes", ctypes.c_uint),
            ("offset", ctypes.c_long),
            ("freq", ctypes.c_long),
            ("maxerror", ctypes.c_long),
            ("esterror", ctypes.c_long),
            ("status", ctypes.c_int),
            ("rest", ctypes.c_long * 64),
        )

    libc = ctypes.CDLL(None, use_errno=True)
    struct = Struct(modes=0)
    state = libc.adjtimex(ctypes.byref(struct))
    if state < 0:
        code = ctypes.get_errno()
        kind = AUTH if code in (1, 13) else INTERNAL
        raise ProbeFailure(kind, f"the kernel does not tell about its clock: {os.strerror(code)}")
    return Timex(state, struct.status, struct.offset)


def measure(
    deadline: Deadline,
    root: str = "/",
    runner: Runner = run,
    adjtimex: t.Callable[[], Timex] = read_timex,
    clock: t.Callable[[], float] = time.time,
) -> Offset:
    """Return the offset of the clock.

    While chrony steers the clock, the kernel's own offset stays at 0 whatever
    the error is; so with a chrony daemon that does not answer the offset is
    unknown.
    """
    chrony_runs = _may_run(os.path.join(root, CHRONY_PID_FILE))
    try:
        done = runner(["chronyc", "-n", "-c", "tracking"], deadline)
    except ProbeFailure as failure:
        if failure.kind != MISSING_TOOL or chrony_runs:
            raise
        return parse_timex(adjtimex())
    if done.code == 0:
        return parse_tracking(done.out, clock())
    if chrony_runs:
        raise ProbeFailure(INTERNAL, f"chrony steers this clock, but chronyc failed: {done.complaint}")
    return parse_timex(adjtimex())
