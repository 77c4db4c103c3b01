"""This run beside an earlier one, and which of the kept ones that is."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils import _fleet
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Verdict
from ansible_collections.matrixon.ops.plugins.module_utils._performance import earlier, history

NOW = 1_795_780_800.0
DAY = 86400
KEPT = {"figures": {"query_time": 4.0, "cpu": 20.0, "memory": 40.0, "transactions": 100.0}}


def judged(figures: dict[str, Any], kept: dict[str, Any] | None = None, **document: Any) -> Verdict:
    before = earlier.read({"finished": "2026-11-20T12:00:00.000Z", "kept": KEPT if kept is None else kept, **document})
    facts = {"earlier": before, "changes": earlier.changes(figures, before.kept), "seconds": 7 * DAY}
    return earlier.judge(facts, earlier.COMPARISON.limits)


def test_what_takes_longer_is_said_with_its_ratio() -> None:
    verdict = judged({"query_time": 12.4, "cpu": 22.0, "memory": 40.1, "transactions": 101.0})
    assert (verdict.status, verdict.value) == ("warning", pytest.approx(3.1))
    assert "compared with 7.0 d ago (2026-11-20 12:00 UTC): mean query time 3.1x" in verdict.message
    # What changed within chance has no word.
    assert "memory" not in verdict.message and "transactions" not in verdict.message


def test_more_load_is_told_and_is_no_fault() -> None:
    verdict = judged({"query_time": 4.1, "transactions": 900.0, "cpu": 90.0})
    assert (verdict.status, verdict.value) == ("ok", 1.0)
    assert "transactions 9.0x" in verdict.message and "busy CPUs 4.5x" in verdict.message


@pytest.mark.parametrize(("now", "status"), [(4.9, "ok"), (11.9, "ok"), (12.0, "warning"), (0.5, "ok")])
def test_the_threshold_and_the_floor(now: float, status: str) -> None:
    assert judged({"query_time": now}).status == status
    # Ten times nearly nothing is still nearly nothing.
    assert judged({"query_time": 0.1}, {"figures": {"query_time": 0.01}}).status == "ok"


def test_no_earlier_run_is_said_and_not_taken_for_no_change() -> None:
    for document, words in (
        (None, "no earlier run was given"),
        ({"reason": "no run of 4.9 to 9.1 days ago is kept"}, "no run of 4.9 to 9.1 days ago is kept"),
        ({"finished": "yesterday", "kept": {}}, "cannot be read"),
        ({"finished": "2026-11-20T12:00:00.000Z", "kept": []}, "cannot be read"),
    ):
        before = earlier.read(document)
        verdict = earlier.judge({"earlier": before, "changes": []}, earlier.COMPARISON.limits)
        assert verdict.status == "skipped" and words in verdict.message, verdict


@pytest.mark.parametrize(
    "kept", [{}, {"figures": []}, {"figures": {"cpu": "20"}}, {"figures": {"cpu": True}}, {"figures": {"cpu": None}}]
)
def test_figures_that_are_no_numbers_do_not_count(kept: dict[str, Any]) -> None:
    assert earlier.changes({"cpu": 5.0}, kept) == []


def test_queries_that_take_longer() -> None:
    now = {"1": ["a", 100.0, 8.0], "2": ["b", 100.0, 8.0], "3": ["c", 2.0, 800.0], "4": ["d", 100.0, 0.9], "5": ["e"]}
    now.pop("5")
    kept = {"statements": {"1": ["a", 90.0, 2.0], "2": ["b", 90.0, 4.0], "3": ["c", 90.0, 1.0], "4": ["d", 90.0, 0.1]}}
    # 3 ran too rarely, and 4 grew by less than a millisecond.
    assert earlier.slower_queries(now, kept) == [["a", 8.0, 2.0, 4.0], ["b", 8.0, 4.0, 2.0]]
    assert earlier.slower_queries(now, {"statements": {"1": "nonsense", "2": ["b", "x", 4.0]}}) == []
    assert earlier.slower_queries(None, kept) == [] and earlier.slower_queries(now, {}) == []


def stamped(days: float, deployment: str = "example") -> str:
    moment = datetime.datetime.fromtimestamp(NOW - days * DAY, datetime.timezone.utc)
    return f"/reports/history/performance-{deployment}-{moment:%Y%m%dT%H%M%S}123Z.json"


def test_the_run_nearest_to_a_week_ago_is_chosen() -> None:
    paths = [stamped(days) for days in (0.1, 5.5, 6.8, 7.5, 30)] + [stamped(7, "other"), stamped(7, "example-2")]
    assert history.choose(paths, "example", NOW, 7)["path"] == stamped(6.8)
    assert history.choose(paths, "example", NOW, 30)["path"] == stamped(30)
    assert history.choose(paths, "other", NOW, 7)["path"] == stamped(7, "other")


def test_where_none_is_near_it_is_said_what_there_is() -> None:
    for days in ((), (1.0,), (1.0, 20.0)):
        found = history.choose([stamped(each) for each in days], "example", NOW, 7)
        assert found["path"] == ""
        assert {0: "no earlier run", 1: "the one kept run is 1.0 days old", 2: "from 1.0 to 20.0 days old"}[
            len(days)
        ] in found["reason"]
    with pytest.raises(ValueError, match="0 is no number of days"):
        history.choose([], "example", NOW, 0)


def test_what_a_run_kept_comes_back_from_its_file() -> None:
    report = {
        "schema": "matrixon.ops/report/1",
        "kind": "performance",
        "target": "db1",
        "deployment": "example",
        "profile": "synapse",
        "started": "2026-11-20T12:00:00.000Z",
        "finished": "2026-11-20T12:00:10.000Z",
        "checks": [{"name": "cpu", "target": "host", "status": "ok", "value": 1, "duration_ms": 1, "source": "probe"}],
        "facts": {"kept": KEPT},
    }
    fleet = _fleet.fleet_view([report], ["db2"], kind="performance", deployment="example")
    text = json.dumps(_fleet.history_point(fleet))
    assert history.of_host(text, "db1") == {"finished": fleet["finished"], "kept": KEPT}
    assert "kept no figures of db2" in history.of_host(text, "db2")["reason"]
    assert "does not know db3" in history.of_host(text, "db3")["reason"]
    for broken in ("", "{ not JSON", "[]", json.dumps({"schema": "other"})):
        assert history.of_host(broken, "db1") == {"reason": "the kept run cannot be read"}


def test_a_run_of_the_most_samples_is_kept() -> None:
    points = [[f"2026-11-20T12:{at // 60:02d}:{at % 60:02d}.000Z", 99.125] for at in range(601)]
    names = {"cpu": ("busy", "user"), "memory": ("used",), "postgresql_transactions": ("transactions",)}
    series = {name: dict.fromkeys(parts, points) for name, parts in names.items()}
    statements = {str(10**18 + at): ["x" * 300, 1e6, 1234.567] for at in range(10)}
    kept = earlier.keep({"figures": {"cpu": 1.0}, "series": series, "postgresql": {"statements": statements}})
    host = {"target": "a", "status": "ok", "counts": {}, "checks": [], "facts": {"kept": kept}}
    assert _fleet._kept(host) == {"kept": kept}
    assert set(kept["series"]["cpu"]) == {"busy"} and len(kept["series"]["cpu"]["busy"]) >= 100
    assert earlier.keep({"series": {"memory": {"used": points[:11]}}})["series"]["memory"]["used"] == points[:11]
    assert earlier.keep({"series": {"memory": {"used": []}}})["series"]["memory"]["used"] == []


def test_the_history_keeps_no_more_than_is_small() -> None:
    host = {"target": "a", "status": "ok", "counts": {}, "checks": [], "facts": {"kept": {"x": "y" * 100_000}}}
    assert _fleet._kept(host) == {} and _fleet._kept({**host, "facts": {"kept": "text"}}) == {}
    assert _fleet._kept({**host, "facts": {"kept": KEPT}}) == {"kept": KEPT}
