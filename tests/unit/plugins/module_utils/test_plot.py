"""Plots of a report's facts: what is drawn where, and what is said of it."""

from __future__ import annotations

import datetime
import itertools
import json
import math
import random
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils import _plot, _plot_axes, _plot_data
from ansible_collections.matrixon.ops.plugins.module_utils._plot_axes import Axis

GIB = 1024.0**3
DAY, YEAR = 86400.0, 365 * 86400.0
NOW = datetime.datetime(2026, 11, 27, tzinfo=datetime.timezone.utc)
EPOCH = NOW.timestamp()


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def at(seconds: float) -> str:
    return (NOW + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def points(*values: float | None, step: float = DAY) -> list[list[t.Any]]:
    return [[at(place * step), value] for place, value in enumerate(values)]


def plot(*series: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    return {"name": "p", "title": "Disk of /var", "unit": "B", "series": list(series), **more}


def used(*values: float | None, **more: t.Any) -> dict[str, t.Any]:
    return {"name": "used", "role": "measured", "points": points(*values), **more}


# Times


@pytest.mark.parametrize("text", [
    "2026-11-27T00:00:00Z", "2026-11-27T00:00:00.000Z", "2026-11-27T01:00:00+01:00", "2026-11-27T00:00:00",
    "2026-11-27",
])  # fmt: skip
def test_times_are_read(text):
    assert _plot_data._Times().seconds(text) == EPOCH


@pytest.mark.parametrize("text", [
    None, 5, "", "x" * 20, "2026-02-31T00:00:00Z", "2026-11-27T24:00:00Z", "2026-11-27T00:60:00Z",
    "2026-11-27Tab:00:00Z",
    "1" * 10_000, [], "2026-11-27T-1:00:00Z", "9999-12-31T23:59:59-23:59",
])  # fmt: skip
def test_what_is_no_time_is_not_read(text):
    seconds = _plot_data._Times().seconds(text)
    assert seconds is None or text.startswith("9999")


@pytest.mark.parametrize(("whole", "texts", "context"), [
    (10, ["00:00:00", "00:00:02", "00:00:04", "00:00:06", "00:00:08", "00:00:10"], "27 Nov"),
    (3600, ["00:00", "00:10", "00:20", "00:30", "00:40", "00:50", "01:00"], "27 Nov"),
    (6 * 3600, ["00:00", "01:00", "02:00", "03:00", "04:00", "05:00", "06:00"], "27 Nov"),
    (DAY, ["00:00", "06:00", "12:00", "18:00", "00:00"], "27 Nov"),
    (7 * DAY, ["27 Nov", "28 Nov", "29 Nov", "30 Nov", "1 Dec", "2 Dec", "3 Dec", "4 Dec"], "2026"),
    (30 * DAY, ["30 Nov", "7 Dec", "14 Dec", "21 Dec"], "2026"),
    (90 * DAY, ["7 Dec", "21 Dec", "4 Jan", "18 Jan", "1 Feb", "15 Feb"], "2026"),
    (180 * DAY, ["Dec", "Jan", "Feb", "Mar", "Apr", "May"], "2026"),
    (YEAR, ["Jan", "Mar", "May", "Jul", "Sep", "Nov"], "2027"),
    (5 * YEAR, ["2027", "2028", "2029", "2030", "2031"], ""),
])  # fmt: skip
def test_time_is_marked_at_round_moments(whole, texts, context):
    ticks = _plot_axes.time_ticks(Axis(EPOCH, EPOCH + whole))
    assert [tick.text for tick in ticks] == texts
    assert ticks[0].context == context


def test_weeks_are_marked_on_mondays():
    ticks = _plot_axes.time_ticks(Axis(EPOCH, EPOCH + 30 * DAY))
    assert {_plot_axes.moment(tick.when).weekday() for tick in ticks} == {0}


@pytest.mark.parametrize("whole", [1, 10, 59, 61, 3599, 7200, DAY, 10 * DAY, 45 * DAY, YEAR, 40 * YEAR, 3000 * YEAR])
def test_marks_of_time_are_few_inside_and_in_order(whole):
    for begin in (0.0, EPOCH, EPOCH + 12345.678):
        ticks = _plot_axes.time_ticks(Axis(begin, begin + whole))
        times = [tick.when for tick in ticks]
        assert 1 <= len(ticks) <= 8 and times == sorted(set(times))
        assert begin <= times[0] and times[-1] <= begin + whole


def test_a_day_is_named_where_it_changes_on_wide_and_on_narrow_screens():
    marks = _plot.picture(plot({"name": "x", "points": [[at(6 * 3600), 1], [at(54 * 3600), 2]]}))["time_ticks"]
    assert [mark["text"] for mark in marks] == ["12:00", "00:00", "12:00", "00:00"]
    assert [mark["context"] for mark in marks] == ["27 Nov", "28 Nov", "", "29 Nov"]
    marks = _plot.picture(plot({"name": "x", "points": [[at(0), 1], [at(DAY + 6 * 3600), 2]]}))["time_ticks"]
    shown = [mark for mark in marks if not mark["thin"]]
    assert len(marks) > 4 and len(shown) <= 4
    said = [mark["narrow_context"] for mark in shown if mark["narrow_context"]]
    assert said == ["27 Nov", "28 Nov"]


# Values


@pytest.mark.parametrize(("low", "high", "unit", "texts"), [
    (0, 310 * GIB, "B", ["0", "100 GiB", "200 GiB", "300 GiB", "400 GiB"]),
    (1.2 * 1024 * GIB, 2.4 * 1024 * GIB, "B", ["0", "0.5 TiB", "1.0 TiB", "1.5 TiB", "2.0 TiB", "2.5 TiB"]),
    (300 * GIB, 301 * GIB, "B", ["299.5 GiB", "300.0 GiB", "300.5 GiB", "301.0 GiB", "301.5 GiB"]),
    (0, 83.4, "%", ["0", "20 %", "40 %", "60 %", "80 %", "100 %"]),
    (0.1, 3, "%", ["0", "1 %", "2 %", "3 %", "4 %"]),
    (99.2, 99.9, "%", ["0", "20 %", "40 %", "60 %", "80 %", "100 %"]),
    (4, 184, "ms", ["0", "50 ms", "100 ms", "150 ms", "200 ms"]),
    (4, 7000, "ms", ["0", "2 s", "4 s", "6 s", "8 s"]),
    (0, 430, "s", ["0", "2 min", "4 min", "6 min", "8 min"]),
    (0, 12 * 86400, "s", ["0", "5 d", "10 d", "15 d"]),
    (41000, 45000, "count", ["40 000", "41 000", "42 000", "43 000", "44 000", "45 000", "46 000"]),
    (1, 2, "count", ["0", "1", "2", "3"]),
    (-4, 3, "ms", ["-6 ms", "-4 ms", "-2 ms", "0", "2 ms", "4 ms"]),
    (0.4, 0.8, "/s", ["0", "0.2/s", "0.4/s", "0.6/s", "0.8/s", "1.0/s"]),
    (0, 0, "B", ["0", "0.2 B", "0.4 B", "0.6 B", "0.8 B", "1.0 B"]),
    (-5, -2, "", ["-6", "-4", "-2", "0"]),
    (0, 2.5e8, "count", ["0", "100 M", "200 M", "300 M"]),
    (0, 5e9, "/s", ["0", "2 G/s", "4 G/s", "6 G/s"]),
    (5, 5, "x", ["0", "2 x", "4 x", "6 x"]),
])  # fmt: skip
def test_values_are_marked_in_the_units_of_people(low, high, unit, texts):
    dummy, ticks = _plot_axes.value_ticks(_plot_axes.values_axis([low, high], [], unit), unit)
    assert [plain(text) for value, text in ticks] == texts


def test_marks_of_values_surround_them_and_differ():
    noise = random.Random(11)
    for dummy in range(3000):
        values = [noise.choice((-1, 1)) * 10 ** noise.uniform(-9, 20) for dummy2 in range(noise.randint(1, 4))]
        unit = noise.choice(("B", "%", "ms", "s", "/s", "count", "", "frogs"))
        axis, ticks = _plot_axes.value_ticks(_plot_axes.values_axis(values, [], unit), unit)
        # Less than a hundredth of a pixel beyond the edge is at the edge.
        assert -1e-5 <= axis.share(min(values)) <= axis.share(max(values)) <= 1 + 1e-5, values
        assert 2 <= len(ticks) <= 9, values
        assert max(len(text) for value, text in ticks) < 24
        shares = [axis.share(value) for value, text in ticks]
        assert shares == sorted(set(shares))


def test_a_threshold_that_would_press_the_values_flat_is_told_of_instead():
    view = _plot.picture(plot(used(1, 2), lines=[{"name": "critical", "value": 5000, "status": "critical"}]))
    assert view["lines"] == []
    assert plain(view["notes"][-1]) == "Above the picture: critical 4.9 KiB."
    near = _plot.picture(plot(used(1, 2), lines=[{"name": "critical", "value": 6, "status": "critical"}]))
    assert [line["name"] for line in near["lines"]] == ["critical"]


def test_labels_of_thresholds_do_not_stand_on_each_other():
    limits = [{"name": f"l{place}", "value": 90 + place / 10, "status": "warning"} for place in range(5)]
    marks = _plot.picture(plot(used(10, 95), unit="%", lines=limits))["lines"]
    places = [mark["label_y"] for mark in marks]
    assert [mark["name"] for mark in marks] == ["l4", "l3", "l2", "l1", "l0"]
    assert all(after - before >= 13 for before, after in itertools.pairwise(places))


def test_labels_of_thresholds_stand_where_the_curve_is_not():
    lines = [{"name": "full", "value": 100}]
    assert _plot.picture(plot(used(*range(10, 95)), lines=lines))["lines"][0]["anchor"] == "start"
    assert _plot.picture(plot(used(*range(95, 10, -1)), lines=lines))["lines"][0]["anchor"] == "end"


# Curves


def test_points_that_are_not_in_order_are_put_in_order():
    view = _plot.picture(plot({"name": "x", "points": [[at(DAY), 2], [at(0), 1], [at(2 * DAY), 3]]}))
    xs = [float(spot.split(",")[0]) for spot in view["curves"][0]["path"][1:].split("L")]
    assert xs == [0, 500, 1000]


def test_a_year_of_minutes_keeps_its_lowest_and_its_highest():
    noise = random.Random(3)
    many: list[_plot_data.Point] = [(place * 60.0, noise.gauss(10, 1)) for place in range(100_000)]
    many[51234] = (many[51234][0], 99.0)
    many[77777] = (many[77777][0], -50.0)
    kept = _plot_data.thin(many, 400)
    assert len(kept) <= 400
    assert {99.0, -50.0} <= {value for when, value in kept}
    assert (kept[0], kept[-1]) == (many[0], many[-1])
    assert [when for when, value in kept] == sorted(when for when, value in kept)


@pytest.mark.parametrize("seed", range(20))
def test_thinning_never_makes_more_loses_no_extreme_and_invents_nothing(seed):
    noise = random.Random(seed)
    times = sorted(noise.choice((noise.uniform(0, 1e6), 5e5)) for dummy in range(noise.randint(1, 3000)))
    many: list[_plot_data.Point] = [(when, None if noise.random() < 0.3 else noise.gauss(0, 9)) for when in times]
    most = noise.randint(5, 500)
    kept = _plot_data.thin(many, most)
    assert len(kept) <= most and set(kept) <= set(many)
    known = [value for when, value in many if value is not None]
    shown = [value for when, value in kept if value is not None]
    assert not known or (min(shown), max(shown)) == (min(known), max(known))
    assert shown[-1:] == known[-1:]


def test_very_many_points_are_told_of_as_they_are():
    values = [float(place % 977) for place in range(99_998)]
    view = _plot.picture(plot({"name": "used", "points": points(*values, 5.0, None, step=60)}))
    assert plain(view["legend"][0]["last"]) == "5 B"
    assert "used: between 0 B and 976 B, 5 B at 4 Feb 2027" in plain(view["text"])
    assert len(view["curves"][0]["path"].split("L")) <= 400


def test_a_long_gap_stays_a_gap_when_points_are_left_out():
    many: list[_plot_data.Point] = [(float(place), None if 4000 <= place < 6000 else 1.0) for place in range(10_000)]
    kept = _plot_data.thin(many, 100)
    assert len(_plot_data.runs(kept, 10_000, 1)) == 2


def test_nothing_measured_is_a_gap_and_no_zero():
    curve = _plot.picture(plot(used(1, 2, None, 3, 4)))["curves"][0]
    assert curve["path"].count("M") == 2 and curve["dots"] == []


def test_a_time_without_points_is_a_gap():
    stated = [[at(place * DAY), 1.0] for place in range(100) if not 40 <= place < 60]
    assert _plot.picture(plot({"name": "x", "points": stated}))["curves"][0]["path"].count("M") == 2


@pytest.mark.parametrize("most", [_plot.LEAST_POINTS, 100, _plot.MOST_POINTS])
def test_points_that_are_left_out_are_no_gap(most):
    values = [random.Random(place).random() for place in range(2000)]
    (curve,) = _plot.picture(plot({"name": "x", "points": points(*values, step=300)}), most)["curves"]
    assert curve["path"].count("M") == 1 and curve["dots"] == []
    assert 0.8 * most < len(curve["path"].split("L")) <= most


def test_a_single_point_is_a_dot_in_the_middle():
    view = _plot.picture(plot(used(5)))
    assert view["curves"][0]["path"] == "" and view["curves"][0]["dots"][0]["x"] == 50


def test_a_line_between_gaps_is_a_dot():
    assert len(_plot.picture(plot(used(1, 2, None, 3, None, 4, 5)))["curves"][0]["dots"]) == 1


@pytest.mark.parametrize("series", [
    [], [used()], [used(None)], [{"name": "x"}], None, "text", [5], [used(True)], [{"points": "abc"}], [used(math.nan)],
    [{"points": [["never", 1]]}], [{"points": [[None]]}], [{"points": {"a": 1}}], [used(10**400)], [used(1e300)],
])  # fmt: skip
def test_without_a_number_there_is_no_picture_but_a_sentence(series):
    view = _plot.picture({"title": "Disk", "series": series})
    assert view["empty"] == "Nothing was measured."
    assert view["text"] == "Disk: nothing was measured."


def test_points_that_could_not_be_read_are_counted():
    stated = [*points(1, 2), ["never", 3], [at(0), "four"], "x", [at(0)], [at(9 * DAY), None]]
    view = _plot.picture(plot({"name": "x", "points": stated}, band=[[at(0), "a", 2]]))
    assert "5 points could not be read." in view["notes"]
    assert "1 point could not be read." in _plot.picture(plot(used(1, math.inf)))["notes"]


# Several curves


def test_one_name_has_one_colour_and_the_line_tells_its_role():
    view = _plot.picture(plot(used(1, 2), used(2, 3, role="forecast"), used(0, 1, role="earlier", shift_s=7 * DAY)))
    assert [(curve["role"], curve["colour"]) for curve in view["curves"]] == [
        ("measured", 1), ("forecast", 1), ("earlier", 1)
    ]  # fmt: skip
    assert [plain(item["name"]) for item in view["legend"]] == ["used", "used, forecast", "used, 7 d earlier"]
    assert not any(item["marked"] for item in view["legend"])


def test_measured_curves_are_told_apart_by_shapes_as_well():
    names = ("user", "system", "iowait")
    view = _plot.picture(plot(*({"name": name, "points": points(*range(50))} for name in names)))
    assert [curve["colour"] for curve in view["curves"]] == [1, 2, 3]
    assert all(item["marked"] for item in view["legend"])
    places = [{mark["x"] for mark in curve["marks"]} for curve in view["curves"]]
    assert all(len(found) == 7 for found in places) and not places[0] & places[1]


def test_an_earlier_series_can_be_laid_over_this_one():
    earlier = {"name": "cpu", "role": "earlier", "shift_s": 7 * DAY, "points": [[at(-7 * DAY), 1], [at(-6 * DAY), 2]]}
    view = _plot.picture(plot({"name": "cpu", "points": points(3, 4)}, earlier))
    assert view["curves"][1]["path"].startswith("M0.0,") and "L1000.0," in view["curves"][1]["path"]
    own = _plot.picture(plot({"name": "cpu", "points": points(3, 4)}, {**earlier, "shift_s": 0}))
    assert float(own["curves"][0]["path"][1:].split(",")[0]) == 875.0


def test_more_curves_than_can_be_told_apart_are_named():
    view = _plot.picture(plot(*({"name": f"disk{place}", "points": points(1, 2)} for place in range(9))))
    assert len(view["curves"]) == 6
    assert view["notes"] == ["Not drawn: disk6, disk7, disk8."]


def test_where_the_forecast_begins_is_now():
    ahead = {"name": "used", "role": "forecast", "points": [[at(2 * DAY), 3], [at(4 * DAY), 5]]}
    assert _plot.picture(plot(used(1, 2, 3), ahead))["now"] == 50
    assert _plot.picture(plot(used(1, 2, 3)))["now"] is None


def test_when_a_forecast_reaches_a_threshold_is_said():
    ahead = {"name": "used", "role": "forecast", "points": [[at(0), 100], [at(100 * DAY), 200]]}
    lines = [{"name": "warning", "value": 150, "status": "warning"}, {"name": "full", "value": 300}]
    view = _plot.picture(plot(used(90, 100), ahead, lines=lines))
    assert "The forecast of used reaches warning on 16 Jan 2027." in view["notes"]
    assert "reaches warning on 16 Jan 2027" in view["text"] and "reaches full" not in view["text"]
    assert _plot.crossing([(0, 5.0), (10, 5.0)], 5.0) is None
    assert _plot.crossing([(0, 9.0), (10, 4.0)], 5.0) == 8


def test_the_interval_of_a_forecast_is_drawn_and_named():
    ahead = {"name": "used", "role": "forecast", "points": [[at(DAY), 2], [at(9 * DAY), 9]]}
    view = _plot.picture(plot(used(1, 2), ahead, band=[[at(DAY), 1, 3], [at(9 * DAY), 12, 6]]))
    assert view["band"].startswith("M") and view["band"].endswith("Z") and view["band"].count(",") == 4
    assert plain(view["legend"][-1]["last"]) == "6 B to 12 B" and view["legend"][-1]["role"] == "band"
    assert "Interval at 6 Dec 2026: 6" in view["text"]


def test_an_interval_without_end_does_not_press_the_values_flat():
    band = [[at(place * DAY), -(10.0**place), 10.0**place] for place in range(20)]
    view = _plot.picture(plot(used(50, 60, 70), band=band))
    heights = [float(spot.split(",")[1]) for spot in view["curves"][0]["path"][1:].split("L")]
    assert max(heights) - min(heights) > 15
    spots = [spot.split(",") for spot in view["band"][1:-1].split("L")]
    assert all(0 <= float(y) <= _plot.HEIGHT for dummy, y in spots)


def test_a_long_interval_is_drawn_as_wide_as_its_widest():
    rows = [(float(place), -1.0 - (place == 777), 1.0 + (place == 555)) for place in range(1000)]
    kept = _plot_data.thin_band(rows, 50)
    assert len(kept) <= 50 and kept[-1] == rows[-1]
    assert (min(row[1] for row in kept), max(row[2] for row in kept)) == (-2, 2)


# Words


def test_the_picture_is_told_in_words():
    lines = [{"name": "warning", "value": 8 * GIB, "status": "warning"}]
    view = _plot.picture(plot(used(2 * GIB, 6 * GIB, 5 * GIB), lines=lines))
    assert plain(view["text"]) == (
        "Disk of /var, 2026-11-27 00:00 to 2026-11-29 00:00 UTC. "
        "used: between 2.0 GiB and 6.0 GiB, 5.0 GiB at 2026-11-29 00:00. Line warning: 8.0 GiB."
    )


def test_a_pointer_is_told_the_values_beneath_it():
    view = _plot.picture(plot(used(*range(81))))
    assert len(view["hover"]) == 40
    assert plain(view["hover"][0]["text"]) == "27 Nov 2026 to 29 Nov 2026\nused: 0 B to 1 B"


@pytest.mark.parametrize(("value", "unit", "text"), [
    (0, "B", "0 B"), (5 * GIB, "B", "5.0 GiB"), (1e21, "", "1e+21"), (3e-9, "s", "3e-09 s"), (12.5, "ms", "12.5 ms"),
])  # fmt: skip
def test_figures_stay_short(value, unit, text):
    assert plain(_plot_axes.figure(value, unit)) == text


# All plots of a host, and what may be wrong with them


def test_the_first_plots_are_shown_the_others_folded_and_more_are_named():
    many = [plot(used(1, 2), title=f"Plot {place}") for place in range(45)]
    view = _plot.plots({"plots": many})
    assert (len(view["shown"]), len(view["folded"])) == (6, 34)
    assert view["notes"] == ["Not drawn, but in the report: Plot 40, Plot 41, Plot 42, Plot 43, Plot 44."]
    assert len(_plot.plots({"plots": many[:7]})["shown"]) == 7


@pytest.mark.parametrize("facts", [None, [], {}, {"plots": None}, {"plots": {}}, {"plots": "x"}])
def test_facts_without_plots_have_none(facts):
    assert _plot.plots(facts) == {"shown": [], "folded": [], "notes": []}


def test_what_is_no_plot_is_counted():
    assert _plot.plots({"plots": [5, plot(used(1))]})["notes"] == ["1 plot could not be read."]


def test_long_names_and_secrets_do_not_reach_the_page():
    long = "x" * 10_000
    view = _plot.picture(
        {
            "title": long, "unit": long, "series": [{"name": f"password=hunter2 {long}", "points": points(1, 2)}],
            "lines": [{"name": long, "value": 1.5, "status": long}],
        }
    )  # fmt: skip
    assert len(json.dumps(view)) < 10_000 and "hunter2" not in json.dumps(view)
    assert view["lines"][0]["status"] == ""


def test_a_page_of_many_hosts_has_fewer_points_each():
    def host(plots: int) -> dict[str, t.Any]:
        return {"facts": {"plots": [plot(used(1), used(2)) for dummy in range(plots)]}}

    assert _plot.points_each([host(3)]) == 400
    assert _plot.points_each([host(10)] * 40) == 125
    assert _plot.points_each([host(40)] * 60) == 60
    assert _plot.points_each([{"facts": {"plots": [5, {"series": 4}]}}, {"facts": None}, {}]) == 400


ODD = (
    None, True, 5, -1, 1e308, 10**400, math.nan, math.inf, "", "x" * 10_000, "<b>", [], [[]], {}, {"a": 1},
    "2026-11-27T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "measured", "forecast", "%", "B", "ms",
    0.0, 1e-300,
)  # fmt: skip


def odd_plot(noise: random.Random) -> t.Any:
    def one(*more: t.Any) -> t.Any:
        return noise.choice((*ODD, *more, *more, *more, *more))

    def rows(width: int) -> t.Any:
        made = [[one(at(noise.uniform(-1e8, 1e8))), *(one(noise.gauss(0, 1e3)) for dummy in range(width))]]
        return one(made * noise.randint(0, 3) + [one(row) for row in made])

    def series() -> t.Any:
        return one({"name": one("a"), "role": one("forecast"), "shift_s": one(60), "points": rows(1)})

    limits = [one({"name": one(), "value": one(5), "status": one("ok")})]
    stated = [series() for dummy in range(noise.randint(0, 4))]
    return one(
        {"name": one(), "title": one(), "unit": one(), "series": one(stated), "band": rows(2), "lines": one(limits)}
    )


@pytest.mark.parametrize("seed", range(60))
def test_no_document_breaks_the_page(seed):
    noise = random.Random(seed)
    for dummy in range(25):
        view = _plot.plots({"plots": [odd_plot(noise), odd_plot(noise)]})
        text = json.dumps(view, allow_nan=False)
        assert len(text) < 60_000
        for drawn in view["shown"]:
            assert drawn["empty"] or drawn["time_ticks"] is not None
