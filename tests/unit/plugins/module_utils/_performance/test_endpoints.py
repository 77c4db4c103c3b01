"""Histograms of a homeserver, and what they say of its endpoints."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Verdict
from ansible_collections.matrixon.ops.plugins.module_utils._performance import endpoints
from ansible_collections.matrixon.ops.plugins.module_utils._performance.endpoints import Histogram, Times
from ansible_collections.matrixon.ops.plugins.module_utils._probe import ProbeFailure

NAME = "synapse_http_server_response_time_seconds"
HISTOGRAM = Histogram(NAME, ("method", "servlet"), ("SyncRestServlet",))
CHECKS = {check.name: check for check in endpoints.CHECKS}
# As Synapse writes it, cut to two bounds.
TEXT = f"""\
# HELP {NAME} sec
# TYPE {NAME} histogram
{NAME}_bucket{{code="200",le="0.1",method="GET",server_name="lab.test",servlet="Room",tag=""}} 90.0
{NAME}_bucket{{code="200",le="1.0",method="GET",server_name="lab.test",servlet="Room",tag=""}} 99.0
{NAME}_bucket{{code="200",le="+Inf",method="GET",server_name="lab.test",servlet="Room",tag=""}} 100.0
{NAME}_count{{code="200",method="GET",server_name="lab.test",servlet="Room",tag=""}} 100.0
{NAME}_sum{{code="200",method="GET",server_name="lab.test",servlet="Room",tag=""}} 12.5
{NAME}_bucket{{code="404",le="0.1",method="GET",server_name="lab.test",servlet="Room",tag=""}} 10.0
{NAME}_bucket{{code="404",le="1.0",method="GET",server_name="lab.test",servlet="Room",tag=""}} 10.0
{NAME}_bucket{{code="404",le="+Inf",method="GET",server_name="lab.test",servlet="Room",tag=""}} 10.0
{NAME}_count{{code="404",method="GET",server_name="lab.test",servlet="Room",tag=""}} 10.0
{NAME}_sum{{code="404",method="GET",server_name="lab.test",servlet="Room",tag=""}} 0.5
{NAME}_created{{code="404",method="GET",server_name="lab.test",servlet="Room",tag=""}} 1.7e9
{NAME}_count{{code="200",method="GET",server_name="lab.test",servlet="SyncRestServlet",tag=""}} 3.0
{NAME}_sum{{code="200",method="GET",server_name="lab.test",servlet="SyncRestServlet",tag=""}} 90.0
process_cpu_seconds_total 1.0
"""
ROOM, SYNC = ("GET", "Room"), ("GET", "SyncRestServlet")


def times(count: float, seconds: float, **buckets: float) -> Times:
    bounds = {math.inf if name == "inf" else int(name[1:]) / 1000: value for name, value in buckets.items()}
    return Times(count, seconds, bounds)


def test_codes_of_an_endpoint_are_added() -> None:
    found = endpoints.parse(TEXT, HISTOGRAM)
    assert set(found) == {ROOM, SYNC}
    assert (found[ROOM].count, found[ROOM].seconds) == (110.0, 13.0)
    assert found[ROOM].buckets == {0.1: 100.0, 1.0: 109.0, math.inf: 110.0}


def test_a_line_that_is_not_understood_is_a_failure() -> None:
    with pytest.raises(ProbeFailure, match="not understood"):
        endpoints.parse(f'{NAME}_count{{servlet="Room"}} many\n', HISTOGRAM)


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.45, 50.0), (0.9, 100.0), (0.945, 550.0), (0.99, 1000.0), (0.999, 1000.0)],
)
def test_quantiles_are_worked_out_as_prometheus_does(share: float, expected: float) -> None:
    # 100 requests: 90 within 0.1 s, 99 within 1 s, one beyond: no less than the last bound is known of it.
    found = times(100, 20, b100=90, b1000=99, inf=100)
    assert found.quantile_ms(share) == pytest.approx(expected)


def test_without_requests_or_buckets_there_is_no_quantile() -> None:
    assert times(0, 0, b100=0, inf=0).quantile_ms(0.95) is None
    assert Times(5, 1.0, {}).quantile_ms(0.95) is None


def test_the_interval_counts_over_all_processes_and_a_restart_counts_from_zero() -> None:
    before = [{ROOM: times(100, 10, b100=90, inf=100)}, {ROOM: times(500, 50, b100=500, inf=500)}]
    after = [{ROOM: times(110, 12, b100=98, inf=110)}, {ROOM: times(20, 1, b100=20, inf=20)}]
    found = endpoints.combined(zip(before, after, strict=True))
    assert (found[ROOM].count, found[ROOM].seconds) == (30, 3)
    assert found[ROOM].buckets == {0.1: 28, math.inf: 30}
    assert endpoints.combined([(before[0], before[0])]) == {}


def facts(**answers: Any) -> dict[str, Any]:
    good = [answer for answer in answers.values() if isinstance(answer, tuple)]
    found: dict[str, Any] = {"answers": answers, "histogram": HISTOGRAM}
    return {**found, "times": endpoints.combined(good), "ever": {}} if good else found


def judge(name: str, given: dict[str, Any]) -> Verdict:
    verdict = CHECKS[name].judge(given, CHECKS[name].limits)
    assert isinstance(verdict, Verdict)
    return verdict


@pytest.mark.parametrize(("slow", "status"), [(0, "ok"), (5, "ok"), (6, "warning"), (20, "warning")])
def test_response_time_warns_from_the_threshold_on(slow: int, status: str) -> None:
    answer = ({}, {ROOM: times(100, 9, b50=100 - slow, b99=100 - slow, b200=100, inf=100)})
    verdict = judge("response_time", facts(main=answer))
    # With 5 of 100 beyond 99 ms the 95th percentile is 99 ms, with 6 it is more than 100.
    assert verdict.status == status, verdict


def test_long_polls_do_not_count() -> None:
    answer = ({}, {ROOM: times(100, 1, b50=100, inf=100), SYNC: times(900, 27000, b50=0, inf=900)})
    verdict = judge("response_time", facts(main=answer))
    assert verdict.value == pytest.approx(47.5) and "the mean of 100 is" in verdict.message
    slowest = judge("slow_endpoint", facts(main=answer))
    assert slowest.value == 10.0 and "GET Room" in slowest.message


def test_few_requests_are_not_enough_data() -> None:
    verdict = judge("response_time", facts(main=({}, {ROOM: times(19, 100, b50=0, inf=19)})))
    assert verdict.status == "skipped" and "not enough data: 19 requests" in verdict.message
    assert judge("slow_endpoint", facts(main=({}, {}))).status == "skipped"


def test_a_process_that_is_silent_is_told_and_the_others_are_judged() -> None:
    silent = ProbeFailure("refused", "worker1: connection refused")
    given = facts(main=({}, {ROOM: times(100, 1, b50=100, inf=100)}), worker1=silent)
    verdict = judge("response_time", given)
    assert verdict.status == "ok" and "1 of 2 processes could be asked" in verdict.message
    told = CHECKS["metrics"].judge(given, CHECKS["metrics"].limits)
    assert isinstance(told, list)
    assert [(one.target, one.status, one.error_kind) for one in told] == [
        ("main", "ok", None),
        ("worker1", "unknown", "refused"),
    ]
    with pytest.raises(ProbeFailure, match="connection refused"):
        judge("response_time", facts(worker1=silent))
