"""Growth that is known because it was made: the truth lies within the interval as often as it says."""

from __future__ import annotations

import datetime
import math
import random

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._capacity import growth
from ansible_collections.matrixon.ops.plugins.module_utils._capacity.growth import Day, NotEnough

START = datetime.date(2026, 1, 1)
WEEK = (5.0, 8.0, 6.0, 4.0, 0.0, -12.0, -11.0)
LEVEL = 90


def days(values: list[float], start: datetime.date = START) -> list[Day]:
    return [Day(start + datetime.timedelta(days=place), value) for place, value in enumerate(values)]


def grown(
    seed: int, count: int, slope: float, share: float = 0.0, *, week: bool = True, step: float = 0.0, noise: float = 3.0
) -> list[float]:
    """Values with a slope a day, a weekly season, errors that keep a share of yesterday's, and a step ten days ago."""
    rng = random.Random(seed)
    error = rng.gauss(0, noise / math.sqrt(1 - share**2)) if share < 1 else 0.0
    values = []
    for place in range(count + 91):
        error = share * error + rng.gauss(0, noise)
        jumped = step if place >= count - 10 else 0.0
        values.append(5000 + slope * place + error + jumped + (WEEK[place % 7] if week else 0.0))
    return values


CASES = {
    "linear": {"slope": 4.0, "week": False},
    "weekly season": {"slope": 4.0},
    "step up": {"slope": 2.0, "step": 150.0},
    "step down": {"slope": 2.0, "step": -400.0},
    "shrinking": {"slope": -3.0},
    "flat": {"slope": 0.0},
    "errors that last": {"slope": 2.0, "share": 0.6},
    "errors that add up": {"slope": 2.0, "share": 1.0},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("count", [28, 56])
def test_the_truth_is_within_the_interval_as_often_as_it_says(case: str, count: int) -> None:
    seeds, inside, slopes = 50, 0, 0
    for seed in range(seeds):
        values = grown(seed, count, **CASES[case])
        fitted = growth.fit(days(values[:count]), count, LEVEL)
        for ahead in (7, 30, 90):
            expected = fitted.expect(ahead)
            inside += expected.low <= values[count - 1 + ahead] <= expected.high
        rate = fitted.per_day
        slopes += rate.low <= CASES[case]["slope"] <= rate.high
    # Of 50 seeds 90 % is 45; two standard deviations of chance are 4. Where errors add up it is a little less.
    least = 0.76 if case == "errors that add up" else 0.83
    assert inside / (3 * seeds) >= least
    assert slopes / seeds >= least


def test_a_wider_interval_is_right_more_often() -> None:
    hits = {50: 0, 80: 0, 95: 0}
    for seed in range(60):
        values = grown(seed, 56, 2.0)
        for level in hits:
            expected = growth.fit(days(values[:56]), 56, level).expect(10)
            hits[level] += expected.low <= values[65] <= expected.high
    assert all(abs(count / 60 - level / 100) < 0.18 for level, count in hits.items()), hits


def test_the_interval_is_no_wider_than_it_must_be() -> None:
    # Noise of 3 a day: an interval of +-5 at once, and no hundreds.
    fitted = growth.fit(days(grown(1, 56, 4.0)[:56]), 56, LEVEL)
    expected = fitted.expect(7)
    assert 5 < expected.high - expected.low < 30
    assert fitted.direction == "grows"


@pytest.mark.parametrize("case", [name for name, case in CASES.items() if case["slope"] > 0])
def test_the_day_of_reaching_is_within_its_interval(case: str) -> None:
    slope = float(CASES[case]["slope"])
    right = 0
    for seed in range(30):
        values = grown(seed, 56, noise=2.0, **CASES[case])
        threshold = values[55] + slope * 60
        reached = growth.fit(days(values[:56]), 56, LEVEL).reach(threshold, 400)
        # The day on which the line itself gets there, without the noise of that day.
        latest = math.inf if reached.latest is None else reached.latest
        right += reached.earliest is not None and reached.earliest <= 60 <= latest + 7
    assert right >= 25


def test_direction_and_steps_are_named() -> None:
    shrinking = growth.fit(days(grown(3, 56, -3.0)[:56]), 56, LEVEL)
    assert (shrinking.direction, shrinking.steps) == ("shrinks", [])
    flat = growth.fit(days(grown(3, 56, 0.0)[:56]), 56, LEVEL)
    assert flat.direction == "steady"
    stepped = growth.fit(days(grown(3, 56, 2.0, step=150.0)[:56]), 56, LEVEL)
    (step,) = stepped.steps
    assert step.date == START + datetime.timedelta(days=46)
    assert step.size == pytest.approx(150, rel=0.2)
    # The step is no growth.
    assert stepped.per_day.mean == pytest.approx(2, abs=0.6)


def test_a_shrinking_resource_is_never_full() -> None:
    fitted = growth.fit(days(grown(4, 56, -3.0)[:56]), 56, LEVEL)
    assert fitted.reach(9000, 365) == (None, None, None)
    assert fitted.expect(4000).low == 0


def test_one_day_that_stands_out_is_left_out() -> None:
    values = grown(5, 56, 2.0)[:56]
    odd = [value + (2000 if place == 30 else 0) for place, value in enumerate(values)]
    fitted = growth.fit(days(odd), 56, LEVEL)
    assert [day.date for day in fitted.outliers] == [START + datetime.timedelta(days=30)]
    assert fitted.per_day.mean == pytest.approx(growth.fit(days(values), 56, LEVEL).per_day.mean, abs=0.1)


@pytest.mark.parametrize(
    "values",
    [
        [7.0] * 56,
        [0.0] * 56,
        [float(place) for place in range(56)],
        [float(place // 5) for place in range(56)],
        [1e15 + 1e9 * place for place in range(56)],
    ],
    ids=["constant", "zero", "exact", "counts", "huge"],
)
def test_series_without_noise_are_fitted(values: list[float]) -> None:
    fitted = growth.fit(days(values), 56, LEVEL)
    slope = (values[-1] - values[0]) / 55
    assert fitted.per_day.mean == pytest.approx(slope, rel=0.2, abs=1e-6)
    expected = fitted.expect(10)
    assert expected.low <= expected.mean <= expected.high


def test_missing_days_are_bridged() -> None:
    kept = [day for place, day in enumerate(days(grown(6, 56, 4.0)[:56])) if place % 4 or place in (0, 55)]
    fitted = growth.fit(kept, 56, LEVEL)
    assert fitted.per_day.mean == pytest.approx(4, abs=0.6)


def test_the_readings_of_a_day_become_their_median() -> None:
    morning = datetime.datetime(2026, 1, 1, 6, tzinfo=datetime.timezone.utc)
    readings = [(morning + datetime.timedelta(hours=hour), value) for hour, value in ((0, 1.0), (1, 900.0), (2, 3.0))]
    later = (morning + datetime.timedelta(days=1), 5.0)
    assert growth.daily([later, *readings]) == [Day(START, 3.0), Day(START + datetime.timedelta(days=1), 5.0)]


@pytest.mark.parametrize(
    ("places", "window", "what"),
    [
        ([], 28, "not enough data: there is no reading yet, and the window is 28 days"),
        ([0], 28, "not enough data: the history has 1 day, and the window is 28; wait, or make it shorter"),
        (range(27), 28, "not enough data: the history has 27 days, and the window is 28"),
        (range(56), 90, "not enough data: the history has 56 days, and the window is 90"),
        ([*range(0, 28, 3), 27], 28, "not enough data: 11 of the last 28 days have a reading, it takes 19"),
        ([*range(13), 40], 14, "not enough data: 1 of the last 14 days have a reading, it takes 14"),
    ],
)
def test_too_few_days_are_not_enough_data(places: list[int], window: int, what: str) -> None:
    history = [Day(START + datetime.timedelta(days=place), 100.0 + place) for place in places]
    with pytest.raises(NotEnough) as caught:
        growth.fit(history, window, LEVEL)
    assert str(caught.value).startswith(what)


@pytest.mark.parametrize(
    ("probability", "freedom", "value"),
    [(0.95, 5, 2.015), (0.95, 10, 1.812), (0.975, 20, 2.086), (0.995, 30, 2.750), (0.95, 1000, 1.646)],
)
def test_quantiles_are_those_of_the_tables(probability: float, freedom: int, value: float) -> None:
    assert growth.student(probability, freedom) == pytest.approx(value, abs=0.003)
