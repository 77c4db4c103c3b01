"""Tests of the engine: every probe at once, one total deadline, a result for each check."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils import _report
from ansible_collections.matrixon.ops.plugins.module_utils._health import engine
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import (
    Baseline,
    Check,
    Context,
    Limits,
    Plan,
    Probe,
    Skip,
    Verdict,
    grade,
    human_bytes,
    human_seconds,
    skipped,
)
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, Facts, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    SKIPPED,
    UNKNOWN,
    WARNING,
    CheckResult,
)

NOW = datetime.datetime(2026, 11, 23, 9, tzinfo=datetime.timezone.utc)


def judge_value(facts: Facts, limits: Limits) -> Verdict:
    return grade(facts["value"], limits, f"the value is {facts['value']}")


GATE = Check("gate", "stands for the service", judge_value, unit="ms", warning=10, critical=20, gate=True)
DETAIL = Check("detail", "a part of it", judge_value, unit="ms", warning=10, critical=20)


def probe(run: Callable[[Deadline], Facts], *checks: Check, target: str = "db1", **options: object) -> Probe:
    return Probe(target, checks or (GATE,), run, **options)


def finding(value: float) -> Callable[[Deadline], Facts]:
    return lambda _deadline: {"value": value}


def failing(kind: str) -> Callable[[Deadline], Facts]:
    def run(_deadline: Deadline) -> Facts:
        raise ProbeFailure(kind, "db1: no luck")

    return run


def breaking(error: BaseException) -> Callable[[Deadline], Facts]:
    def run(_deadline: Deadline) -> Facts:
        raise error

    return run


def in_turn(*values: float | ProbeFailure) -> Callable[[Deadline], Facts]:
    left = iter(values)

    def run(_deadline: Deadline) -> Facts:
        value = next(left)
        if isinstance(value, ProbeFailure):
            raise value
        return {"value": value}

    return run


def run(*plan: Probe | Skip, seconds: float = 5, **policy: object) -> engine.Outcome:
    entries: Plan = list(plan)
    return engine.execute(entries, engine.Policy(**policy), Deadline(seconds))


def only(outcome: engine.Outcome) -> CheckResult:
    (result,) = outcome.results
    return result


@pytest.fixture
def hang() -> Iterator[Callable[[Deadline], Facts]]:
    """Return a probe that takes no notice of its deadline. The test's end frees its thread."""
    free = threading.Event()

    def run(_deadline: Deadline) -> Facts:
        free.wait(10)
        return {"value": 1}

    yield run
    free.set()


LEVELS = [(9.999, OK), (10, WARNING), (19.999, WARNING), (20, CRITICAL), (1e9, CRITICAL)]


@pytest.mark.parametrize(("value", "status"), LEVELS)
def test_threshold_fires_from_its_very_value_on(value: float, status: str) -> None:
    result = only(run(probe(finding(value))))
    assert (result.status, result.value, result.unit) == (status, value, "ms")
    assert (result.warning, result.critical, result.message) == (10, 20, f"the value is {value}")


LEVELS_BELOW = [(10.001, OK), (10, WARNING), (5.001, WARNING), (5, CRITICAL), (-1, CRITICAL)]


@pytest.mark.parametrize(("value", "status"), LEVELS_BELOW)
def test_threshold_of_a_check_for_small_values_fires_down_from_its_very_value(value: float, status: str) -> None:
    assert grade(value, Limits(10, 5), "", below=True).status == status


@pytest.mark.parametrize("below", [False, True])
def test_threshold_that_is_none_never_fires(below: bool) -> None:
    assert {grade(value, Limits(), "", below=below).status for value in (-1e9, 0, 1e9)} == {OK}
    assert grade(7, Limits(critical=7), "", below=below).status == CRITICAL
    assert grade(7, Limits(warning=7), "", below=below).status == WARNING


def test_given_threshold_stands_in_for_the_check_s_own() -> None:
    result = only(run(probe(finding(5)), thresholds={"gate": Limits(5, None), "other": Limits(1, 1)}))
    assert (result.status, result.warning, result.critical) == (WARNING, 5, None)


BAD = ("refused", "timeout", "tls", "dns", "parse")
UNOBSERVED = ("auth", "missing_tool", "internal")


def test_every_error_kind_is_decided() -> None:
    assert sorted(BAD + UNOBSERVED) == sorted(_report.ERROR_KINDS)


@pytest.mark.parametrize("kind", _report.ERROR_KINDS)
def test_failed_probe_is_critical_for_the_gate_only_if_a_bad_fact_was_seen(kind: str) -> None:
    gate, detail = run(probe(failing(kind), GATE, DETAIL)).results
    assert (gate.status, gate.error_kind, gate.message) == (CRITICAL if kind in BAD else UNKNOWN, kind, "db1: no luck")
    assert (detail.status, detail.error_kind, detail.message) == (UNKNOWN, kind, "not measured: db1: no luck")
    assert gate.value is None and detail.value is None


@pytest.mark.parametrize("kind", _report.ERROR_KINDS)
def test_failure_in_a_judge_is_that_check_s_alone(kind: str) -> None:
    def judge(_facts: Facts, _limits: Limits) -> Verdict:
        raise ProbeFailure(kind, "one query failed")

    broken = Check("broken", "", judge)
    result, other = run(probe(finding(1), broken, DETAIL)).results
    assert (result.status, result.error_kind) == (UNKNOWN, kind) and "one query failed" in result.message
    assert other.status == OK


JUDGES: dict[str, Callable[[Facts, Limits], object]] = {
    "raises": lambda facts, _limits: facts["nothing of this name"],
    "returns nothing": lambda _facts, _limits: None,
    "returns a list with something else in it": lambda _facts, _limits: [Verdict(OK, "fine"), "fine"],
    "returns no number": lambda _facts, _limits: Verdict(OK, "fine", value="12"),
    "returns an empty list": lambda _facts, _limits: [],
}


@pytest.mark.parametrize("judge", JUDGES.values(), ids=list(JUDGES))
def test_check_is_unknown_and_the_others_intact_when_its_judge(judge: object) -> None:
    broken = Check("broken", "", judge, gate=True)
    result, same_probe, other = run(probe(finding(1), broken, DETAIL), probe(finding(2)), seconds=1).results
    assert (result.name, result.status, result.error_kind) == ("broken", UNKNOWN, "internal")
    assert "please report" in result.message
    assert (same_probe.status, other.status) == (OK, OK)


BREAKING = {
    "an exception": breaking(KeyError("rows")),
    "an exit of the whole program": breaking(SystemExit(1)),
    "something that is no facts": lambda _deadline: None,
}


@pytest.mark.parametrize("broken", BREAKING.values(), ids=list(BREAKING))
def test_checks_are_unknown_and_the_others_intact_when_a_probe_gives(broken: Callable[[Deadline], Facts]) -> None:
    started = time.monotonic()
    gate, detail, other = run(probe(broken, GATE, DETAIL), probe(finding(2)), seconds=3).results
    assert [(check.status, check.error_kind) for check in (gate, detail)] == [(UNKNOWN, "internal")] * 2
    assert "please report" in gate.message and other.status == OK
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("heavy", [False, True])
def test_probe_that_hangs_is_left_behind_at_the_deadline_and_takes_no_other_result(hang, heavy: bool) -> None:
    started = time.monotonic()
    plan = [probe(finding(1), target="a"), probe(hang, GATE, DETAIL, target="stuck", heavy=heavy)]
    plan += [probe(finding(2), target="b"), probe(finding(3), target="c", heavy=True)]
    results = {(check.target, check.name): check for check in run(*plan, seconds=0.3).results}
    assert time.monotonic() - started < 0.8
    assert [results[target, "gate"].value for target in "abc"] == [1, 2, 3]
    gate, detail = results["stuck", "gate"], results["stuck", "detail"]
    assert (gate.status, gate.error_kind, detail.status) == (CRITICAL, "timeout", UNKNOWN)
    assert "stuck" in gate.message and "0.3 s" in gate.message
    assert 300 <= gate.duration_ms < 800


def test_many_probes_that_hang_do_not_add_up(hang) -> None:
    started = time.monotonic()
    results = run(*(probe(hang, target=str(number)) for number in range(30)), seconds=0.3).results
    assert time.monotonic() - started < 0.8
    assert [check.target for check in results] == [str(number) for number in range(30)]


def test_probes_run_at_once() -> None:
    together = threading.Barrier(8, timeout=2)

    def run_one(_deadline: Deadline) -> Facts:
        together.wait()
        return {"value": 1}

    assert {check.status for check in run(*[probe(run_one)] * 8).results} == {OK}


def test_heavy_probe_lets_the_light_ones_go_first() -> None:
    order = []

    def noting(name: str) -> Callable[[Deadline], Facts]:
        def run_one(_deadline: Deadline) -> Facts:
            time.sleep(0.03 if name == "light" else 0)
            order.append(name)
            return {"value": 1}

        return run_one

    run(probe(noting("heavy"), heavy=True), probe(noting("light")))
    assert order == ["light", "heavy"]


def test_heavy_probe_does_not_wait_long_for_a_light_one_that_hangs(hang) -> None:
    results = run(probe(hang), probe(lambda deadline: {"value": deadline.remaining()}, heavy=True), seconds=0.4).results
    assert results[1].value is not None and results[1].value > 0.2


def test_probe_that_is_left_behind_does_not_keep_the_program_from_ending() -> None:
    program = (
        "import time; from ansible_collections.matrixon.ops.plugins.module_utils._health import engine, model; "
        "from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline; "
        "print(engine.execute([model.Probe('db1', (), lambda _: time.sleep(9))], engine.Policy(), Deadline(0.1)))"
    )
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", program], env=path, capture_output=True, text=True, timeout=5, check=True
    )
    assert done.stdout.startswith("Outcome")


@pytest.mark.parametrize(
    ("own", "policy", "total", "expected"),
    [(None, 3, 10, 3), (7, 3, 10, 7), (30, 3, 10, 10)],
    ids=["the timeout of the run", "its own", "the total deadline at most"],
)
def test_probe_is_given(own: float | None, policy: float, total: float, expected: float) -> None:
    given = []

    def run_one(deadline: Deadline) -> Facts:
        given.append(deadline.seconds)
        return {"value": 1}

    run(probe(run_one, timeout=own), seconds=total, timeout=policy)
    assert given[0] == pytest.approx(expected, abs=0.5)


def test_judge_sees_what_was_given_and_what_was_observed() -> None:
    seen: Facts = {}

    def judge(facts: Facts, _limits: Limits) -> Verdict:
        seen.update(facts)
        return Verdict(OK, "fine")

    run(probe(finding(1), Check("look", "", judge), given={"expected": 2, "value": 0}))
    assert seen == {"expected": 2, "value": 1}


def test_judge_may_find_several_targets() -> None:
    def judge(_facts: Facts, limits: Limits) -> list[Verdict]:
        return [grade(1, limits, "root", target="/"), grade(15, limits, "var", target="/var"), Verdict(OK, "all")]

    results = run(probe(finding(0), Check("disk", "", judge, warning=10))).results
    assert [(check.target, check.status) for check in results] == [("/", OK), ("/var", WARNING), ("db1", OK)]


def test_skip_stands_in_the_results_with_its_reason_and_no_thresholds() -> None:
    result = only(run(Skip(DETAIL, "db1", "no password is configured")))
    assert (result.status, result.skipped_reason) == (SKIPPED, "no password is configured")
    assert result.value is result.warning is result.critical is result.error_kind is None


def test_skip_of_a_judge_has_its_reason_too() -> None:
    check = Check("look", "", lambda _facts, _limits: skipped("nothing to look at", "/srv"))
    result = only(run(probe(finding(1), check)))
    assert (result.status, result.target, result.skipped_reason) == (SKIPPED, "/srv", "nothing to look at")


def test_value_that_was_not_measured_is_none_and_its_thresholds_keep_their_unit() -> None:
    look = Check("look", "", lambda _facts, _limits: Verdict(OK, "fine"), unit="ms", warning=10)
    result = only(run(probe(finding(1), look)))
    assert result.value is None and "value" not in result.as_dict()
    assert (result.warning, result.unit) == (10, "ms")


def test_value_is_rounded_for_the_report() -> None:
    assert only(run(probe(finding(1.23456)))).value == 1.235


def test_value_of_zero_stays_zero() -> None:
    assert only(run(probe(finding(0)))).as_dict()["value"] == 0


SECOND_LOOK = {
    "warns": ([15, 5, 1], OK, [WARNING, OK]),
    "is critical and then warns": ([25, 15, 1], OK, [CRITICAL, WARNING, OK]),
    "fails": ([ProbeFailure("refused", "no luck"), 5], OK, [CRITICAL, OK]),
    "fails for good": ([ProbeFailure("auth", "no luck")] * 3, UNKNOWN, [UNKNOWN] * 3),
    "stays bad": ([25, 26, 27, 1], CRITICAL, [CRITICAL] * 3),
}


@pytest.mark.parametrize(("found", "status", "history"), SECOND_LOOK.values(), ids=list(SECOND_LOOK))
def test_probe_is_asked_again_and_every_attempt_recorded_when_it(found: list, status: str, history: list[str]) -> None:
    result = only(run(probe(in_turn(*found)), retries=2, retry_delay=0.001))
    assert result.status == status
    assert [attempt["status"] for attempt in result.attempts] == history
    values = [attempt.get("value") for attempt in result.attempts]
    assert values == [value if not isinstance(value, ProbeFailure) else None for value in found[: len(history)]]


def test_probe_that_is_well_is_asked_once_and_has_no_history() -> None:
    assert only(run(probe(in_turn(5)), retries=3, retry_delay=0.001)).attempts == ()


def test_skipped_check_calls_for_no_second_attempt() -> None:
    check = Check("look", "", lambda _facts, _limits: skipped("nothing there"))
    assert only(run(probe(in_turn(5), check), retries=3, retry_delay=0.001)).attempts == ()


def test_attempt_in_which_a_check_was_skipped_is_none() -> None:
    def judge(facts: Facts, _limits: Limits) -> Verdict:
        return skipped("not yet") if facts["value"] > 20 else Verdict(OK, "fine")

    results = run(probe(in_turn(25, 5), GATE, Check("late", "", judge)), retries=1, retry_delay=0.001).results
    assert [attempt["status"] for attempt in results[1].attempts] == [OK]


def test_time_passes_between_two_attempts() -> None:
    started = time.monotonic()
    run(probe(in_turn(25, 5)), retries=1, retry_delay=0.1)
    assert time.monotonic() - started >= 0.1


def test_every_check_of_a_probe_has_its_own_history() -> None:
    strict = Check("strict", "", judge_value, warning=1)
    gate, other = run(probe(in_turn(5, 0), GATE, strict), retries=1, retry_delay=0.001).results
    assert [attempt["status"] for attempt in gate.attempts] == [OK, OK]
    assert [attempt["status"] for attempt in other.attempts] == [WARNING, OK]


def test_no_attempt_is_begun_that_the_deadline_leaves_no_time_for(clock) -> None:
    calls = []

    def run_one(_deadline: Deadline) -> Facts:
        calls.append(clock.now)
        clock.now += 4
        return {"value": 25}

    policy = engine.Policy(timeout=5, retries=5, retry_delay=2)
    engine.attempt(probe(run_one), policy, Deadline(6, clock))
    assert len(calls) == 1


def test_facts_of_all_probes_are_merged() -> None:
    def reporting(**report: object) -> Probe:
        return probe(lambda _deadline: {"value": 1, "report": report})

    outcome = run(
        reporting(versions={"redis": "8.0"}, redis={"a": {"x": 1}}),
        reporting(versions={"haproxy": "3.0"}, redis={"b": {"x": 2}}),
        probe(finding(1)),
    )
    assert outcome.facts == {
        "versions": {"redis": "8.0", "haproxy": "3.0"},
        "redis": {"a": {"x": 1}, "b": {"x": 2}},
    }


@pytest.mark.parametrize(("first", "second"), [({"b": 1}, 2), (2, {"b": 1}), (1, 2)])
def test_later_fact_stands_where_two_do_not_fit(first: object, second: object) -> None:
    facts = {"a": first}
    engine.merge(facts, {"a": second})
    assert facts == {"a": second}


def test_facts_seen_before_a_failure_are_kept() -> None:
    def run_one(_deadline: Deadline) -> Facts:
        raise ProbeFailure("timeout", "too late", {"report": {"versions": {"redis": "8.0"}}})

    assert run(probe(run_one)).facts == {"versions": {"redis": "8.0"}}


def test_baseline_is_read_by_path_and_what_it_lacks_is_none() -> None:
    before = Baseline({"redis": {"a": 1}}, NOW - datetime.timedelta(minutes=5))
    context = Context(NOW, before)
    assert (context.before("redis", "a"), context.seconds_since_baseline) == (1, 300)
    assert context.before("redis", "b") is context.before("redis", "a", "x") is context.before("haproxy") is None
    assert Context(NOW).before("redis") is Context(NOW).seconds_since_baseline is None


SIZES = {0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 5 * 1024**3: "5.0 GiB", 1024**5: "1024.0 TiB"}


@pytest.mark.parametrize(("size", "words"), SIZES.items())
def test_bytes_are_told_as_people_read_them(size: float, words: str) -> None:
    assert human_bytes(size) == words


SPANS = {0.25: "0.25 s", 119: "119 s", 120: "2 min", 7199: "120 min", 7200: "2.0 h", 172799: "48.0 h", 172800: "2.0 d"}


@pytest.mark.parametrize(("seconds", "words"), SPANS.items())
def test_spans_of_time_are_told_as_people_read_them(seconds: float, words: str) -> None:
    assert human_seconds(seconds) == words
