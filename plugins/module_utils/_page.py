# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What the fleet's page shows: words and geometry, so that the template only loops.

Nothing here is markup. The template escapes every text.
"""

from __future__ import annotations

import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._calendar import calendar
from ansible_collections.matrixon.ops.plugins.module_utils._fleet import (
    Document,
    epoch_ms,
    is_number,
    natural,
    problems,
    quantity,
    redacted,
    shorten,
    some,
)
from ansible_collections.matrixon.ops.plugins.module_utils._human import digits, human
from ansible_collections.matrixon.ops.plugins.module_utils._plot import plots, points_each
from ansible_collections.matrixon.ops.plugins.module_utils._ranking import rankings
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    PRECEDENCE,
    SELF_REPORT,
    SKIPPED,
    UNKNOWN,
    WARNING,
)
from ansible_collections.matrixon.ops.plugins.module_utils._timeline import timeline

WORDS = {CRITICAL: "Critical", UNKNOWN: "Unknown", WARNING: "Warning", OK: "OK", SKIPPED: "Skipped"}
TITLES = {"ssl_expiry": "Certificates", "drill_dr": "Failover drill", "security": "Security events"}

# How long the sentence may be in which a report answers its question, and how many stand on top.
ANSWER_CHARS, MOST_ANSWERS = 300, 3

# Strips and sparklines are drawn in these units; the page scales them.
SLOT, STRIP_HEIGHT, SPARK_WIDTH, SPARK_HEIGHT = 6, 20, 96, 20
STRIP_RUNS = 30
_BAR_OF_STATUS = {OK: 7, WARNING: 13, UNKNOWN: 20, CRITICAL: 20}
# The latency that a host's tile shows: the first of these that was measured.
LATENCY_ORDER = ("client", "http", "homeserver", "federation", "haproxy", "postgres", "redis")
_TIME_UNITS = ("ms", "s")

Series = dict[tuple[str, str, str], list[tuple[str, float]]]


def page_view(
    fleet: Document,
    history: t.Sequence[Document] = (),
    *,
    version: str = "",
    stale_after: int = 86400,
    unreadable_history: int = 0,
) -> Document:
    """Return everything that the page shows, in the order in which it shows it.

    ``history`` is the stored runs, oldest first; this run is the last of them
    or is not in it.
    """
    earlier = [point for point in history if point["finished"] < fleet["finished"]]
    runs = earlier[-(STRIP_RUNS - 1) :]
    series = _series(runs)
    points = points_each(fleet["hosts"])
    hosts = [
        {**_host_view(number, host, runs, series, fleet), **pictures(host, points)}
        for number, host in enumerate(fleet["hosts"], start=1)
    ]
    answers = _answers(hosts, fleet["headline"])
    counts = fleet["counts"]
    fleet_runs = [(run["finished"], run["status"]) for run in runs] + [(fleet["finished"], fleet["status"])]
    return {
        "title": f"{title(fleet['kind'])} of {fleet['deployment']}",
        "kind": title(fleet["kind"]),
        "deployment": fleet["deployment"],
        "status": fleet["status"],
        "word": WORDS[fleet["status"]],
        "headline": fleet["headline"],
        "answers": answers[:MOST_ANSWERS],
        "more_answers": len(answers[MOST_ANSWERS:]),
        "moment": moment(fleet["finished"]),
        "stale_after": stale_after,
        "facts": [
            ("Deployment", fleet["deployment"]),
            ("Profile", fleet["profile"]),
            ("Run took", human(fleet["duration_ms"], "ms")),
            ("Collection", f"matrixon.ops {version}" if version else "matrixon.ops"),
        ],
        "host_counts": _counts(counts["hosts"], PRECEDENCE),
        "check_counts": _counts(counts["checks"], (*PRECEDENCE, SKIPPED)),
        "hosts_total": quantity(len(hosts), "host"),
        "checks_total": quantity(sum(counts["checks"].values()), "check"),
        "strip": strip(fleet_runs) if earlier else None,
        "checks": [_without_figures(check_view(check, [])) for check in problems(fleet["checks"])],
        "agreed": [check["message"] for check in fleet["checks"] if check["status"] == OK],
        "versions": _versions(fleet["versions"]),
        "calendar": calendar(fleet["hosts"]),
        "timeline": timeline(fleet["hosts"], epoch_ms),
        "hosts": hosts,
        "troubled": [host for host in hosts if host["status"] != OK],
        "healthy": [host for host in hosts if host["status"] == OK],
        "runs": len(earlier),
        "unreadable_history": unreadable_history,
    }


def title(kind: str) -> str:
    """Return a kind of report as a heading."""
    return TITLES.get(kind, kind.replace("_", " ").capitalize())


def moment(when: str) -> dict[str, t.Any]:
    """Return a time for a machine and for a person."""
    return {"machine": when, "text": f"{when[:10]} {when[11:19]} UTC", "epoch_ms": epoch_ms(when)}


def _answers(hosts: t.Sequence[Document], headline: str) -> list[Document]:
    """Return what the reports answer beyond the headline, each once, and whose it is where there are several hosts."""
    said: dict[str, list[str]] = {}
    for host in hosts:
        if host["answer"] and host["answer"] not in headline:
            said.setdefault(host["answer"], []).append(host["name"])
    return [{"text": text, "hosts": some(names, 4) if len(hosts) > 1 else ""} for text, names in said.items()]


def _counts(counts: dict[str, int], statuses: t.Sequence[str]) -> list[dict[str, t.Any]]:
    return [{"status": status, "word": WORDS[status], "number": counts[status]} for status in statuses]


def _versions(versions: dict[str, dict[str, list[str]]]) -> list[dict[str, t.Any]]:
    return [
        {
            "component": component,
            "mixed": len(running) > 1,
            "running": [{"version": version, "hosts": ", ".join(hosts)} for version, hosts in running.items()],
        }
        for component, running in versions.items()
    ]


def _without_figures(check: Document) -> Document:
    """Return a check whose message already says what its number says."""
    targets = "" if check["target_said"] else check["target"]
    return {**check, "value": "", "limits": [], "duration": "", "names": [check["name"]], "targets": targets}


# One host


def _host_view(number: int, host: Document, runs: t.Sequence[Document], series: Series, fleet: Document) -> Document:
    target = host["target"]

    def view(check: Document) -> Document:
        past = series.get((target, check["name"], check["target"]), [])
        now = [(host["finished"], check["value"])] if is_number(check.get("value")) else []
        return check_view(check, past + now if now else [])

    own = [check for check in host["checks"] if check["source"] != SELF_REPORT]
    failing = [{**view(group[0]), **_of_group(group)} for group in by_cause(problems(own))]
    past_status = [(run["finished"], _status_in(run, target)) for run in runs]
    latency = _latency(own)
    tile_check = view(latency) if latency else None
    answer = _answer(host)
    if failing:
        line = failing[0]["message"]
    elif answer:
        line = answer
    elif host["status"] == OK:
        line = f"{quantity(host['counts'][OK], 'check')} passed"
    else:
        line = "No check was executed"
    return {
        "id": f"host-{number}",
        "name": target,
        "status": host["status"],
        "word": WORDS[host["status"]],
        "line": shorten(line, 140),
        "summary": _host_summary(host),
        "answer": answer,
        # One host's stands on top, and what a finding says need not be said again below it.
        "own_answer": answer if len(fleet["hosts"]) > 1 and not _says(failing, answer) else "",
        "synthesised": host.get("synthesised", False),
        "deployment": host["deployment"] if host["deployment"] != fleet["deployment"] else "",
        "moment": moment(host["finished"]),
        "duration": human(host["duration_ms"], "ms"),
        "strip": strip([*past_status, (host["finished"], host["status"])]) if any(past_status) else None,
        "latency": tile_check,
        "failing": failing,
        "passed": [view(check) for check in own if check["status"] == OK],
        "skipped": [check_view(check, []) for check in own if check["status"] == SKIPPED],
        "claims": [check_view(check, []) for check in host["checks"] if check["source"] == SELF_REPORT],
        "evidence": host["evidence"],
    }


def pictures(host: Document, points: int) -> Document:
    """Return the plots and the tables that a host's report holds as data."""
    drawn, ranked = plots(host["facts"], points), rankings(host["facts"])
    return {
        "plots": drawn,
        "rankings": ranked,
        "pictured": bool(drawn["shown"] or ranked["tables"] or drawn["notes"] or ranked["notes"]),
    }


def _answer(host: Document) -> str:
    answer = host["facts"].get("answer")
    return shorten(redacted(answer), ANSWER_CHARS) if isinstance(answer, str) else ""


def _says(checks: t.Iterable[Document], answer: str) -> bool:
    return any(shorten(check["message"], ANSWER_CHARS) == answer for check in checks)


def by_cause(checks: t.Iterable[Document]) -> list[list[Document]]:
    """Return checks in groups: what was not measured for the same reason is one finding."""
    groups: dict[t.Any, list[Document]] = {}
    for place, check in enumerate(checks):
        key: t.Any = (check["status"], check["message"], check.get("error_kind")) if "value" not in check else place
        groups.setdefault(key, []).append(check)
    return list(groups.values())


def _of_group(group: t.Sequence[Document]) -> Document:
    """Return what a finding says of all its checks."""
    targets = list(dict.fromkeys(check["target"] for check in group if check["target"] not in check["message"]))
    return {
        "names": list(dict.fromkeys(check["name"] for check in group)),
        "targets": some(targets),
        "duration": human(longest, "ms") if (longest := max(check["duration_ms"] for check in group)) else "",
    }


def _host_summary(host: Document) -> str:
    counts = host["counts"]
    parts = [f"{counts[status]} {WORDS[status].lower()}" for status in PRECEDENCE[:-1] if counts[status]]
    parts += [f"{counts[OK]} ok"] if counts[OK] else []
    parts += [f"{counts[SKIPPED]} skipped"] if counts[SKIPPED] else []
    return ", ".join(parts) or "no checks"


def _status_in(run: Document, target: str) -> str | None:
    return next((host["status"] for host in run["hosts"] if host.get("target") == target), None)


def _latency(checks: t.Sequence[Document]) -> Document | None:
    """Return the check whose latency stands for the host."""
    timed = [check for check in checks if check.get("unit") == "ms" and is_number(check.get("value"))]

    def order(check: Document) -> tuple[int, str, list[tuple[int, int, str]]]:
        name = check["name"]
        place = next((number for number, word in enumerate(LATENCY_ORDER) if word in name), len(LATENCY_ORDER))
        return place, name, natural(check["target"])

    return min(timed, key=order, default=None)


# One check


def check_view(check: Document, points: t.Sequence[tuple[str, float]]) -> Document:
    """Return one check in words, with its scale and its course where there are numbers."""
    unit, value = check.get("unit"), check.get("value")
    message = check.get("message", "")
    return {
        "name": check["name"],
        "target": check["target"],
        "target_said": check["target"] in message,
        "status": check["status"],
        "word": WORDS[check["status"]],
        "message": message,
        "value": human(value, unit) if is_number(value) and value is not None else "",
        # Without a value the limits may lack their unit, and say nothing.
        "limits": [
            {"name": name, "text": human(check[name], unit)}
            for name in ("warning", "critical")
            if is_number(check.get(name)) and is_number(value)
        ],
        "scale": scale(value, check.get("warning"), check.get("critical"), unit, check["status"]),
        "spark": spark(points, unit) if len({value for dummy, value in points}) > 1 and len(points) > 2 else None,
        "error_kind": (check.get("error_kind") or "").replace("_", " "),
        "duration": human(check["duration_ms"], "ms") if check["duration_ms"] else "",
        "reason": check.get("skipped_reason", ""),
        "unmeasured": value is None and check["status"] != UNKNOWN and ("warning" in check or "critical" in check),
        "attempts": [
            {
                "status": attempt.get("status", UNKNOWN),
                "message": attempt.get("message", ""),
                "duration": human(attempt.get("duration_ms", 0), "ms"),
            }
            for attempt in check.get("attempts", [])
        ],
    }


def scale(
    value: float | None,
    warning: float | None,
    critical: float | None,
    unit: str | None,
    status: str,
) -> dict[str, t.Any] | None:
    """Return a value among its thresholds as shares of 100, or None where that says nothing."""
    limits = [limit for limit in (warning, critical) if limit is not None and is_number(limit)]
    if value is None or not is_number(value) or not limits or min(value, *limits) < 0 or max(limits) <= 0:
        return None
    rising = _rising(value, warning, critical, limits, status)
    top = max(value, *limits) * 1.1
    if unit == "%" and max(value, *limits) <= 100:
        top = 100.0
    # A value far beyond its limits would press them together at the edge.
    top = min(top, max(limits) * 3)
    levels = [(limit, name) for limit, name in ((warning, WARNING), (critical, CRITICAL)) if limit is not None]
    levels.sort(key=lambda item: item[0])
    edges = [0.0, *(_share(limit, top) for limit, dummy in levels), 100.0]
    names = [OK, *(name for dummy, name in levels)] if rising else [*(name for dummy, name in levels), OK]
    return {
        "zones": [
            {"status": name, "x": edges[place], "width": round(edges[place + 1] - edges[place], 2)}
            for place, name in enumerate(names)
            if edges[place + 1] > edges[place]
        ],
        "mark_x": round(_share(value, top) * 0.99, 2),
        "beyond": value > top,
        "text": f"{human(value, unit)}; "
        + ", ".join(
            f"{name} {'from' if rising else 'below'} {human(limit, unit)}"
            for limit, name in ((warning, "warning"), (critical, "critical"))
            if limit is not None
        ),
    }


def _rising(
    value: float, warning: float | None, critical: float | None, limits: t.Sequence[float], status: str
) -> bool:
    """Return whether more is worse."""
    if warning is not None and critical is not None and warning != critical:
        return critical > warning
    over = value >= limits[0]
    return over if status in (WARNING, CRITICAL) else not over


def _share(value: float, top: float) -> float:
    return round(min(100.0, 100.0 * value / top), 2)


# Plots


def strip(runs: t.Sequence[tuple[str, str | None]]) -> dict[str, t.Any]:
    """Return one bar per run; height and colour both say the status."""
    bars = []
    # The newest run is always at the right edge, so hosts can be compared.
    first = STRIP_RUNS - len(runs)
    tally = dict.fromkeys(PRECEDENCE, 0)
    for place, (when, status) in enumerate(runs):
        if status is None:
            continue
        tally[status] += 1
        height = _BAR_OF_STATUS[status]
        bars.append(
            {
                "x": (first + place) * SLOT,
                "y": STRIP_HEIGHT - height,
                "height": height,
                "status": status,
                "title": f"{when[:10]} {when[11:16]} UTC: {WORDS[status].lower()}",
            }
        )
    said = ", ".join(f"{tally[status]} {WORDS[status].lower()}" for status in PRECEDENCE if tally[status])
    return {
        "bars": bars,
        "width": STRIP_RUNS * SLOT - 2,
        "height": STRIP_HEIGHT,
        "label": f"Last {quantity(len(bars), 'run')}",
        "text": f"Last {quantity(len(bars), 'run')}: {said}",
    }


def _series(runs: t.Sequence[Document]) -> Series:
    found: Series = {}
    for run in runs:
        for host in run["hosts"]:
            for item in host.get("values", []):
                if isinstance(item, dict) and is_number(item.get("value")):
                    key = (str(host.get("target")), str(item.get("name")), str(item.get("target")))
                    found.setdefault(key, []).append((run["finished"], item["value"]))
    return found


def spark(points: t.Sequence[tuple[str, float]], unit: str | None) -> dict[str, t.Any]:
    """Return a line from the oldest to the newest value.

    Times start at zero and shares go from 0 to 100, so that a small wiggle does
    not look like a mountain; other values use the range that they have.
    """
    values = [value for dummy, value in points]
    low, high = min(values), max(values)
    base = min(0.0, low) if unit in (*_TIME_UNITS, "%") else low
    reach = (max(100.0, high) if unit == "%" else high) - base
    step = SPARK_WIDTH / (len(values) - 1)

    def at(place: int, value: float) -> tuple[float, float]:
        share = (value - base) / reach if reach else 0.5
        return round(place * step, 1), round(1.5 + (SPARK_HEIGHT - 3) * (1 - share), 1)

    spots = [at(place, value) for place, value in enumerate(values)]
    return {
        "points": " ".join(f"{x:g},{y:g}" for x, y in spots),
        "last": {"x": spots[-1][0], "y": spots[-1][1]},
        "width": SPARK_WIDTH,
        "height": SPARK_HEIGHT,
        "text": f"Last {digits(len(values))} values: between {human(low, unit)} and {human(high, unit)}, "
        f"now {human(values[-1], unit)}",
    }
