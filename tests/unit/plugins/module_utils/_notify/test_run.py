"""Tests of the verdict on what was told."""

from __future__ import annotations

import datetime
import json
import pathlib

import jsonschema
import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._notify.model import Result
from ansible_collections.matrixon.ops.plugins.module_utils._notify.run import Outcome, checks_of, summary
from ansible_collections.matrixon.ops.plugins.module_utils._report import Report

SCHEMA = json.loads((pathlib.Path(__file__).resolve().parents[5] / "docs/report.schema.json").read_text())
SENT = Result("sent", "webhook", "sent", "m", tries=({"status": "ok", "message": "m", "duration_ms": 1},))
UNCHANGED = Result("unchanged", "webhook", "unchanged", "m")
SKIPPED = Result("skipped", "webhook", "skipped", "m")
PLANNED = Result("planned", "webhook", "would_send", "m")
FAILED = Result("failed", "webhook", "failed", "no", "refused")
DOUBT = Result("doubt", "webhook", "failed", "no", "timeout", uncertain=True)


def outcome(*results: Result) -> Outcome:
    now = datetime.datetime(2026, 11, 27, tzinfo=datetime.timezone.utc)
    report = Report("notify", "here", "d", "synapse", now, now, tuple(checks_of(list(results))))
    jsonschema.validate(report.as_dict(), SCHEMA)
    return Outcome(list(results), report, [], {}, {})


@pytest.mark.parametrize(
    ("results", "status"),
    [
        ((SENT,), "ok"),
        ((UNCHANGED, SKIPPED), "ok"),
        ((SENT, FAILED), "warning"),
        ((UNCHANGED, FAILED), "warning"),
        ((FAILED, SKIPPED), "critical"),
        ((FAILED,), "critical"),
        ((SENT, DOUBT), "unknown"),
        ((FAILED, DOUBT), "critical"),
        ((SKIPPED,), "unknown"),
        ((PLANNED,), "unknown"),
    ],
)
def test_verdict(results: tuple[Result, ...], status: str) -> None:
    assert outcome(*results).report.status == status


@pytest.mark.parametrize(
    ("results", "fails"),
    [
        ((SENT,), set()),
        ((SENT, FAILED), {"any"}),
        ((UNCHANGED, FAILED), {"any"}),
        ((FAILED, SKIPPED), {"any", "all"}),
        ((SKIPPED,), set()),
        ((PLANNED,), set()),
    ],
)
def test_fail_on(results: tuple[Result, ...], fails: set[str]) -> None:
    assert {word for word in ("never", "any", "all") if outcome(*results).fails(word)} == fails


@pytest.mark.parametrize(("result", "changed"), [(SENT, True), (PLANNED, True), (UNCHANGED, False), (FAILED, False)])
def test_changed(result: Result, changed: bool) -> None:
    assert outcome(result).changed == changed


def test_summary_names_everybody() -> None:
    said = summary(outcome(SENT, UNCHANGED, SKIPPED, FAILED, PLANNED), "k", "started")
    assert said == (
        "k is started; told: sent; would tell: planned; knew it: unchanged; passed over: skipped; FAILED: failed (no)"
    )
