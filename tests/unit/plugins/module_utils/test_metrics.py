"""The metrics of a report, judged by promtool where it is installed."""

from __future__ import annotations

import datetime
import re
import shutil
import subprocess

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._fleet import NotAReport
from ansible_collections.matrixon.ops.plugins.module_utils._metrics import UNITS, escape, number, report_metrics
from ansible_collections.matrixon.ops.plugins.module_utils._report import CheckResult, Report

MOMENT = datetime.datetime(2026, 11, 23, 3, 0, 0, 500000, tzinfo=datetime.timezone.utc)
LABELS = 'deployment="example.org",host="hs1"'
PROMTOOL = shutil.which("promtool")


def metrics(*checks, **more):
    frame = {"kind": "health", "target": "hs1", "deployment": "example.org", "profile": "synapse", **more}
    return report_metrics(Report(**frame, started=MOMENT, finished=MOMENT, checks=checks).as_dict())


def samples(text):
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))


@pytest.mark.parametrize(("status", "code"), [("ok", "0"), ("warning", "1"), ("critical", "2"), ("unknown", "3")])
def test_verdicts_are_numbers(status, code):
    found = samples(metrics(CheckResult("redis_ping", "r:6379", status, "message")))
    assert found[f'matrixon_health_check_status{{{LABELS},check="redis_ping",target="r:6379"}}'] == code
    assert found[f"matrixon_health_status{{{LABELS}}}"] == code
    assert found[f'matrixon_health_checks{{{LABELS},status="{status}"}}'] == "1"


def test_time_of_the_last_run_is_always_there():
    assert samples(metrics())[f"matrixon_health_last_run_timestamp_seconds{{{LABELS}}}"] == "1795402800.5"


def test_nothing_measured_is_unknown_and_not_absent():
    assert samples(metrics())[f"matrixon_health_status{{{LABELS}}}"] == "3"


def test_skipped_and_unmeasured_give_no_sample():
    text = metrics(
        CheckResult("canary", "hs", "skipped", "", 5, "ms", skipped_reason="no token"),
        CheckResult("redis_ping", "r", "unknown", "no answer", unit="ms"),
    )
    assert "canary" not in text
    assert "check_value" not in text


@pytest.mark.parametrize(("unit", "suffix", "value", "sample"), [
    ("ms", "_seconds", 12.5, "0.0125"), ("s", "_seconds", 3, "3"), ("B", "_bytes", 2**40, "1099511627776"),
    ("%", "_ratio", 83.4, "0.834"), ("/s", "_per_second", 2, "2"), ("count", "", 7, "7"), (None, "", 7, "7"),
    ("count", "", 0, "0"),
])  # fmt: skip
def test_values_are_in_base_units(unit, suffix, value, sample):
    found = samples(metrics(CheckResult("a", "b", "ok", "m", value, unit)))
    assert found[f'matrixon_health_check_value{suffix}{{{LABELS},check="a",target="b"}}'] == sample


def test_self_report_is_a_metric_of_its_own():
    text = metrics(CheckResult("server_health", "hs", "ok", "m", 3, "ms", source="self_report"))
    assert "matrixon_health_self_report_status" in text
    assert "check_status" not in text and "check_value" not in text
    assert samples(text)[f"matrixon_health_status{{{LABELS}}}"] == "3"


def test_the_same_check_twice_gives_the_worse_one_once():
    # Two samples with the same labels would make the node exporter drop the whole file.
    text = metrics(
        CheckResult("a", "b", "ok", "m", 1, "ms"), CheckResult("a", "b", "critical", "m", 9, "ms"),
        CheckResult("a", "b", "unknown", "m"),
    )  # fmt: skip
    names = [line.rsplit(" ", 1)[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(names) == len(set(names))
    assert samples(text)[f'matrixon_health_check_status{{{LABELS},check="a",target="b"}}'] == "2"
    assert samples(text)[f'matrixon_health_check_value_seconds{{{LABELS},check="a",target="b"}}'] == "0.009"


def test_the_value_shown_is_that_of_the_verdict_shown():
    text = metrics(CheckResult("a", "b", "ok", "m", 1, "ms"), CheckResult("a", "b", "unknown", "m"))
    assert samples(text)[f'matrixon_health_check_status{{{LABELS},check="a",target="b"}}'] == "3"
    assert "check_value" not in text


HOSTILE = 'a"b\\c\nd} 1\nevil_metric 1 # \x00\u2028\u202e'


def test_labels_cannot_break_out():
    text = metrics(CheckResult("a", HOSTILE, "ok", "m"), target=HOSTILE, deployment=HOSTILE)
    for line in text.splitlines():
        assert re.match(
            r"# (HELP|TYPE) matrixon_|matrixon_health_[a-z_]+\{([a-z]+=\"([^\"\\\n]|\\[\\n\"])*\",?)+\} [-0-9.e+]+$",
            line,
        ), line
    assert escape('"\\\n') == '\\"\\\\\\n'


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
@pytest.mark.parametrize("target", ["hs1", HOSTILE])
def test_promtool_finds_nothing_wrong(target):
    checks = [CheckResult(f"check_{number}", target, "ok", "m", 1.5, unit) for number, unit in enumerate(UNITS)]
    claim = CheckResult("claim", target, "warning", "m", source="self_report")
    done = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=metrics(*checks, claim), text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_promtool_would_find_something_wrong():
    if PROMTOOL is None:
        pytest.skip("promtool is not installed")
    bad = metrics(CheckResult("a", "b", "ok", "m", 1, "ms")).replace("# HELP", "# NO HELP")
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=bad, text=True, capture_output=True, check=False)
    assert done.returncode != 0


@pytest.mark.parametrize("document", [None, {}, "x", []])
def test_what_is_no_report_has_no_metrics(document):
    with pytest.raises(NotAReport):
        report_metrics(document)


@pytest.mark.parametrize(
    ("value", "text"), [(1, "1"), (1.0, "1"), (0.1, "0.1"), (2**53, "9.007199254740992e+15"), (-3.25, "-3.25")]
)
def test_numbers(value, text):
    assert float(number(value)) == float(text)
