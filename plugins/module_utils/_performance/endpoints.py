# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""How long a homeserver takes to answer, by endpoint, from the histogram in its metrics."""

from __future__ import annotations

import functools
import math
import re
import threading
import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils._health.model import (
    Check,
    Limits,
    Probe,
    Verdict,
    grade,
    skipped,
)
from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient
from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._performance.sampling import Interval
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, PARSE, Deadline, Facts, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import OK, UNKNOWN

MAX_BODY = 16 * 1024**2
# A share of fewer requests is chance.
FEWEST_REQUESTS = 20
MOST_RANKED = 10
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Key = tuple[str, ...]


@dataclass(frozen=True)
class Histogram:
    """Where the figures are: the metric, the labels that name an endpoint, and the endpoints that do not count."""

    name: str
    labels: tuple[str, ...]
    excluded: tuple[str, ...] = ()

    def excludes(self, key: Key) -> bool:
        """Return whether an endpoint says nothing of speed: a long poll that waits for news, or a probe."""
        return any(part in self.excluded for part in key)


@dataclass
class Times:
    """The requests of one endpoint: how many, the seconds of all, and how many took at most each bound."""

    count: float = 0.0
    seconds: float = 0.0
    buckets: dict[float, float] = field(default_factory=dict)

    @property
    def mean_ms(self) -> float:
        """Return the mean in milliseconds."""
        return 1000.0 * self.seconds / self.count if self.count else 0.0

    def add(self, other: Times) -> None:
        """Add the requests of another."""
        self.count += other.count
        self.seconds += other.seconds
        for bound, count in other.buckets.items():
            self.buckets[bound] = self.buckets.get(bound, 0.0) + count

    def since(self, before: Times | None) -> Times:
        """Return the requests since an earlier reading; all of them, if the process began anew meanwhile."""
        if before is None or before.count > self.count:
            return self
        buckets = {bound: count - before.buckets.get(bound, 0.0) for bound, count in self.buckets.items()}
        return Times(self.count - before.count, max(0.0, self.seconds - before.seconds), buckets)

    def quantile_ms(self, share: float) -> float | None:
        """Return the time within which this share was answered, as Prometheus works it out: straight within a bucket.

        Beyond the last bound it is that bound, so no less than this is known. None without buckets or requests.
        """
        bounds = sorted(self.buckets)
        if not bounds or not math.isinf(bounds[-1]) or self.buckets[bounds[-1]] <= 0:
            return None
        wanted = share * self.buckets[bounds[-1]]
        low, below = 0.0, 0.0
        for bound in bounds:
            within = self.buckets[bound]
            if within >= wanted:
                if math.isinf(bound):
                    return low * 1000.0
                inside = within - below
                return 1000.0 * (low + (bound - low) * ((wanted - below) / inside if inside else 1.0))
            low, below = bound, within
        return None


def parse(text: str, histogram: Histogram) -> dict[Key, Times]:
    """Return the requests of each endpoint from the text that Prometheus reads."""
    found: dict[Key, Times] = {}
    for line in text.splitlines():
        if not line.startswith(histogram.name):
            continue
        head, _bracket, rest = line.partition("{")
        part = head[len(histogram.name) :]
        if part not in ("_count", "_sum", "_bucket"):
            continue
        text_of_labels, _bracket, value_text = rest.rpartition("}")
        labels = dict(_LABEL.findall(text_of_labels))
        try:
            value = float(value_text.split()[0])
            bound = float(labels["le"]) if part == "_bucket" else 0.0
        except (ValueError, LookupError) as error:
            raise ProbeFailure(PARSE, f"a line of the metrics was not understood: {line[:80]}") from error
        times = found.setdefault(tuple(labels.get(label, "") for label in histogram.labels), Times())
        if part == "_count":
            times.count += value
        elif part == "_sum":
            times.seconds += value
        else:
            times.buckets[bound] = times.buckets.get(bound, 0.0) + value
    return found


def combined(readings: t.Iterable[tuple[dict[Key, Times], dict[Key, Times]]]) -> dict[Key, Times]:
    """Return the requests of the interval over all processes: each is a reading before and one after."""
    whole: dict[Key, Times] = {}
    for before, after in readings:
        for key, times in after.items():
            lately = times.since(before.get(key))
            if lately.count > 0:
                whole.setdefault(key, Times()).add(lately)
    return whole


def total(times: dict[Key, Times], histogram: Histogram) -> Times:
    """Return the sum of the endpoints that count."""
    whole = Times()
    for key, each in times.items():
        if not histogram.excludes(key):
            whole.add(each)
    return whole


# Probe -------------------------------------------------------------------------------------------------------------


def scrape(client: HttpClient, url: str, histogram: Histogram, deadline: Deadline) -> dict[Key, Times]:
    """Read the metrics of one process."""
    answer = client.request("GET", url, deadline, headers={"Accept": "text/plain"}, max_body=MAX_BODY)
    if answer.status != 200:
        raise ProbeFailure(PARSE, f"{url} answered {answer.status} in place of metrics")
    found = parse(answer.body.decode("utf-8", "replace"), histogram)
    if not found:
        raise ProbeFailure(PARSE, f"{url} has no {histogram.name}; are its metrics those of the homeserver?")
    return found


def observe(
    deadline: Deadline, client: HttpClient, instances: t.Sequence[Facts], histogram: Histogram, interval: Interval
) -> Facts:
    """Read the metrics of every process at the beginning and at the end of the interval."""
    before = _scrape_all(deadline, client, instances, histogram)
    interval.clock.wait(min(interval.seconds, deadline.require("watching the homeserver")))
    after = _scrape_all(deadline, client, instances, histogram)
    answers: dict[str, t.Any] = {}
    for name, late in after.items():
        early = before[name]
        bad = next((one for one in (early, late) if isinstance(one, ProbeFailure)), None)
        answers[name] = bad or (early, late)
    facts: Facts = {"answers": answers, "histogram": histogram}
    good = [answer for answer in answers.values() if isinstance(answer, tuple)]
    if good:
        facts["times"] = combined(good)
        facts["ever"] = combined(({}, late) for _early, late in good)
    return {**facts, "report": _report(facts)}


def _scrape_all(
    deadline: Deadline, client: HttpClient, instances: t.Sequence[Facts], histogram: Histogram
) -> dict[str, dict[Key, Times] | ProbeFailure]:
    answers: dict[str, dict[Key, Times] | ProbeFailure] = {
        entry["name"]: deadline.failure(f"reading {entry['metrics_url']}") for entry in instances
    }

    def ask(entry: Facts) -> None:
        try:
            answers[entry["name"]] = scrape(client, entry["metrics_url"], histogram, deadline)
        except ProbeFailure as failure:
            answers[entry["name"]] = failure
        except Exception as error:
            answers[entry["name"]] = ProbeFailure(INTERNAL, f"reading {entry['metrics_url']} broke: {error}")

    threads = [threading.Thread(target=ask, args=(entry,), daemon=True) for entry in instances]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(deadline.remaining())
    return dict(answers)


def _report(facts: Facts) -> Facts:
    if "times" not in facts:
        return {}
    histogram: Histogram = facts["histogram"]
    rankings = {
        "endpoints": _rows(facts["times"], histogram),
        "endpoints_ever": _rows(facts["ever"], histogram),
    }
    whole = total(facts["times"], histogram)
    figures: Facts = {}
    p95 = whole.quantile_ms(0.95)
    if whole.count >= FEWEST_REQUESTS and p95 is not None:
        figures = {"response_p95": p95, "response_time": whole.mean_ms}
    return {"rankings": {name: rows for name, rows in rankings.items() if rows}, "figures": figures}


def _rows(times: dict[Key, Times], histogram: Histogram) -> list[list[t.Any]]:
    """Return the endpoints that took most of the time, without those that do not count."""
    known = [(key, each) for key, each in times.items() if not histogram.excludes(key)]
    known.sort(key=lambda item: (-item[1].seconds, item[0]))
    return [
        [
            " ".join(part for part in key if part),
            round(each.seconds * 1000, 1),
            round(each.mean_ms, 2),
            _rounded(each.quantile_ms(0.95)),
            each.count,
        ]
        for key, each in known[:MOST_RANKED]
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


# Judges ------------------------------------------------------------------------------------------------------------


def judge_metrics(facts: Facts, limits: Limits) -> list[Verdict]:
    """Say of each process whether its metrics could be read."""
    verdicts = []
    for name, answer in facts["answers"].items():
        if isinstance(answer, ProbeFailure):
            verdicts.append(Verdict(UNKNOWN, f"not measured: {answer.message}", target=name, error_kind=answer.kind))
        else:
            verdicts.append(Verdict(OK, f"{name} shows the times of {len(answer[1])} endpoints", target=name))
    return verdicts


def _times(facts: Facts) -> tuple[dict[Key, Times], str]:
    failures = [answer for answer in facts["answers"].values() if isinstance(answer, ProbeFailure)]
    if "times" not in facts:
        raise failures[0]
    known = len(facts["answers"]) - len(failures)
    return facts["times"], f"; {known} of {len(facts['answers'])} processes could be asked" if failures else ""


def judge_response_time(facts: Facts, limits: Limits) -> Verdict:
    """Judge within which time 95 of 100 requests were answered; what is excluded does not count."""
    times, partly = _times(facts)
    whole = total(times, facts["histogram"])
    if whole.count < FEWEST_REQUESTS:
        return skipped(f"not enough data: {whole.count:.0f} requests in the interval{partly}")
    p95 = whole.quantile_ms(0.95)
    if p95 is None:
        raise ProbeFailure(PARSE, f"{facts['histogram'].name} has no buckets to work it out from")
    message = f"95 of 100 requests were answered within {human(p95, 'ms')}, the mean of {whole.count:.0f} is"
    return grade(p95, limits, f"{message} {human(whole.mean_ms, 'ms')}{partly}")


def judge_slow_endpoint(facts: Facts, limits: Limits) -> Verdict:
    """Judge the slowest endpoint in the mean."""
    times, partly = _times(facts)
    histogram: Histogram = facts["histogram"]
    known = {key: each for key, each in times.items() if not histogram.excludes(key)}
    if not known:
        return skipped(f"not enough data: no request ended in the interval{partly}")
    key, slowest = max(known.items(), key=lambda item: item[1].mean_ms)
    name = " ".join(part for part in key if part)
    mean = human(slowest.mean_ms, "ms")
    message = f"the slowest endpoint, {name}, answered {slowest.count:.0f} requests in {mean} each"
    return grade(slowest.mean_ms, limits, message + partly)


CHECKS = (
    Check("metrics", "the homeserver's process shows how long its requests took", judge_metrics, fixed=True),
    Check(
        "response_time",
        "time within which 95 of 100 requests of the interval were answered",
        judge_response_time,
        unit="ms",
        warning=100,
        critical=2000,
    ),
    Check(
        "slow_endpoint",
        "mean time of the slowest endpoint in the interval",
        judge_slow_endpoint,
        unit="ms",
        warning=1000,
        critical=10_000,
    ),
)


def probe(
    client: HttpClient, instances: t.Sequence[Facts], histogram: Histogram, interval: Interval, seconds: float
) -> Probe:
    """Return the probe of the homeserver's processes here."""
    run_it = functools.partial(observe, client=client, instances=instances, histogram=histogram, interval=interval)
    return Probe("homeserver", CHECKS, run_it, timeout=seconds)
