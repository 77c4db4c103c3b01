"""The clock. The answers of chronyc are those of chrony 4.3."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._command import Finished
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Verdict
from ansible_collections.matrixon.ops.plugins.module_utils._health.system_time import TIME_OFFSET
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._timesync import (
    STA_NANO,
    STA_UNSYNC,
    STALE_SECONDS,
    Offset,
    Timex,
    measure,
    parse_timex,
    parse_tracking,
    read_timex,
)

MEASURED = 1795425773.309587164
GOOD = (
    "7F000001,127.0.0.1,9,1795425773.309587164,-0.000001590,0.000000182,0.000000364,-0.135,0.005,0.481,"
    "0.000006447,0.000003042,1.0,Normal\n"
)
LOCAL = "7F7F0101,,8,1795425765.258192429,0.000000000,0.000000000,0.000000000,0.000,0.000,0.000,0.0,0.0,0.0,Normal\n"
NO_SOURCE = (
    "00000000,,0,0.000000000,0.000000000,0.000000000,0.000000000,0.000,0.000,0.000,1.0,1.0,0.0,Not synchronised\n"
)


def judge(offset: Offset) -> Verdict:
    verdict = TIME_OFFSET.judge({"offset": offset}, TIME_OFFSET.limits)
    assert isinstance(verdict, Verdict)
    return verdict


@pytest.mark.parametrize(
    ("seconds", "status"),
    [(0, "ok"), (0.499, "ok"), (0.5, "warning"), (4.999, "warning"), (5, "critical"), (900, "critical")],
)
def test_offset_at_the_thresholds(seconds: float, status: str) -> None:
    assert judge(Offset(seconds, "chrony")).status == status


def test_an_unsynchronised_clock_has_no_offset() -> None:
    verdict = judge(parse_timex(Timex(5, STA_UNSYNC, 0)))
    assert (verdict.status, verdict.value) == ("unknown", None)
    assert verdict.message.startswith("the clock is not synchronised, its offset is unknown")


@pytest.mark.parametrize(
    ("timex", "seconds"),
    [
        (Timex(0, 0, -600_000), 0.6),
        (Timex(0, STA_NANO, 600_000_000), 0.6),
        (Timex(1, 0, 0), 0),  # a leap second is coming
        (Timex(5, 0, 0), None),
        (Timex(0, STA_UNSYNC, 0), None),
    ],
)
def test_kernel(timex: Timex, seconds: float | None) -> None:
    assert parse_timex(timex).seconds == (None if seconds is None else pytest.approx(seconds))


def test_the_kernel_answers_here() -> None:
    timex = read_timex()
    assert 0 <= timex.state <= 5 and 0 <= timex.status < 2**16


@pytest.mark.parametrize(
    ("text", "late", "seconds", "why"),
    [
        (GOOD, 1, 0.00000159, ""),
        (GOOD.replace("-0.000001590", "0.700000000"), STALE_SECONDS, 0.7, ""),
        (GOOD, STALE_SECONDS + 1, None, "it last heard from a time source 9 h ago"),
        (LOCAL, 1, None, "it follows its own clock (local reference)"),
        (NO_SOURCE, 1, None, "it has no time source that it trusts"),
    ],
)
def test_chrony(text: str, late: float, seconds: float | None, why: str) -> None:
    offset = parse_tracking(text, MEASURED + late)
    assert (offset.seconds, offset.why) == (None if seconds is None else pytest.approx(seconds), why)


@pytest.mark.parametrize("text", ["", "nonsense", "a,b,c,d,e,f,g,h,i,j,k,l,m,Normal"])
def test_an_answer_of_chrony_that_is_none(text: str) -> None:
    with pytest.raises(ProbeFailure) as caught:
        parse_tracking(text, MEASURED)
    assert caught.value.kind == "parse"


MISSING = ProbeFailure("missing_tool", "chronyc is not installed on this host")
SILENT = Finished(1, "506 Cannot talk to daemon\n", "")


def measured(root: pathlib.Path, said: Any) -> Offset:
    def runner(_argv: list[str], _deadline: Deadline) -> Finished:
        if isinstance(said, Exception):
            raise said
        assert isinstance(said, Finished)
        return said

    return measure(Deadline(1), str(root), runner, lambda: Timex(0, 0, 2000), lambda: MEASURED)


@pytest.mark.parametrize("said", [MISSING, SILENT])
def test_without_chrony_the_kernel_is_asked(tmp_path: pathlib.Path, said: Any) -> None:
    assert measured(tmp_path, said) == Offset(0.002, "the kernel")


def test_with_chrony_the_kernel_is_not_asked(tmp_path: pathlib.Path) -> None:
    assert measured(tmp_path, Finished(0, GOOD, "")).source == "chrony"


@pytest.mark.parametrize("said", [MISSING, SILENT, ProbeFailure("timeout", "chronyc: no answer within 3 s")])
def test_the_kernels_offset_is_not_believed_while_chrony_steers(tmp_path: pathlib.Path, said: Any) -> None:
    (tmp_path / "run/chrony").mkdir(parents=True)
    (tmp_path / "run/chrony/chronyd.pid").write_text("5")
    with pytest.raises(ProbeFailure):
        measured(tmp_path, said)
