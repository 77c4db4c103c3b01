# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What the reports of many hosts say together.

Documents come from other machines, so nothing about their shape is believed:
a document that cannot be read becomes a host that could not be judged, and the
verdicts are worked out again from the checks. No I/O happens here.
"""

from __future__ import annotations

import calendar
import hashlib
import json
import math
import re
import time
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    ERROR_KINDS,
    OK,
    PRECEDENCE,
    PROBE,
    SCHEMA,
    SELF_REPORT,
    SKIPPED,
    STATUSES,
    UNKNOWN,
    WARNING,
)

Document = dict[str, t.Any]

FLEET_SCHEMA = "matrixon.ops/fleet/1"
HISTORY_SCHEMA = "matrixon.ops/history/1"

PROBLEMS = (CRITICAL, UNKNOWN, WARNING)
DEFAULT_SKEW_COMPONENTS = ("homeserver",)
# Longest message that goes into job artifacts, which hold a few KB in all.
SUMMARY_MESSAGE_CHARS = 160
SUMMARY_PROBLEMS = 5
# The most that a host may have kept of one run.
KEPT_BYTES = 65_536

_CHECK_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
_TEXT_KEYS = ("target", "deployment", "profile")
_NUMBER_KEYS = ("value", "warning", "critical")
_URL_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^/\s@]+@")
_NAMED_SECRET = re.compile(r"(?i)\b((?:password|passwd|secret|access_token|token|api_?key)\s*[=:]\s*)[^\s,;&\"']+")


class Unreachable(t.NamedTuple):
    """A host that returned no report, and why."""

    target: str
    message: str


class NotAReport(ValueError):
    """A document does not have the shape of a report."""


# Reading


def plain(value: t.Any) -> t.Any:
    """Return nested data as the plain types of JSON, whatever carried them here."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, t.Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return str(value)


def redacted(text: str) -> str:
    """Return a message without the passwords that an error text may quote."""
    return _NAMED_SECRET.sub(r"\1***", _URL_PASSWORD.sub(r"\1***@", text))


def is_number(value: t.Any) -> bool:
    """Return whether something was measured; a truth value is no measurement."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    # A whole number of hundreds of digits is none that a computer measures with.
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 10**300


def read_report(document: t.Any) -> Document:
    """Return one report in its schema's shape, or raise NotAReport.

    Status and counts are worked out from the checks. What the document claims
    is not used, but for how heavy it lets an unknown weigh.
    """
    if not isinstance(document, dict):
        raise NotAReport(f"it is {type(document).__name__}, not a mapping")
    if document.get("schema") != SCHEMA:
        raise NotAReport(f"its schema is {document.get('schema')!r}, not {SCHEMA!r}")
    for key in _TEXT_KEYS:
        if not isinstance(document.get(key), str) or not document[key]:
            raise NotAReport(f"its {key} is missing")
    for key in ("started", "finished"):
        if not isinstance(document.get(key), str) or not _TIME.match(document[key]):
            raise NotAReport(f"its time {key} is not of the form 2026-11-23T09:00:00.000Z")
    if not isinstance(document.get("checks"), list):
        raise NotAReport("its checks are not a list")
    checks = sorted((read_check(check) for check in document["checks"]), key=severity)
    facts = document.get("facts")
    evidence = document.get("evidence")
    return {
        "schema": SCHEMA,
        "kind": str(document.get("kind")),
        "target": document["target"],
        "deployment": document["deployment"],
        "profile": document["profile"],
        "started": document["started"],
        "finished": document["finished"],
        "duration_ms": _milliseconds(document),
        "status": _verdict(document.get("status"), checks),
        "counts": count(checks),
        "checks": checks,
        "facts": facts if isinstance(facts, dict) else {},
        "evidence": [redacted(str(line)) for line in evidence] if isinstance(evidence, list) else [],
    }


def read_check(check: t.Any) -> Document:
    """Return one check in its schema's shape, or raise NotAReport."""
    if not isinstance(check, dict):
        raise NotAReport(f"one of its checks is {type(check).__name__}, not a mapping")
    name, status = check.get("name"), check.get("status")
    if not isinstance(name, str) or not _CHECK_NAME.match(name):
        raise NotAReport(f"a check has the name {name!r}")
    if status not in STATUSES:
        raise NotAReport(f"check {name} has the status {status!r}")
    result: Document = {
        "name": name,
        "target": str(check.get("target") or "-"),
        "status": status,
        "duration_ms": _milliseconds(check),
        "source": SELF_REPORT if check.get("source") == SELF_REPORT else PROBE,
    }
    for key in _NUMBER_KEYS:
        if is_number(check.get(key)):
            result[key] = check[key]
    if check.get("unit"):
        result["unit"] = str(check["unit"])
    if check.get("message"):
        result["message"] = redacted(str(check["message"]))
    elif status in PROBLEMS:
        result["message"] = f"{name} is {status}; the report gives no reason"
    if check.get("error_kind") in ERROR_KINDS:
        result["error_kind"] = check["error_kind"]
    if status == SKIPPED:
        result["skipped_reason"] = redacted(str(check.get("skipped_reason") or "no reason given"))
    attempts = [dict(item) for item in check.get("attempts") or [] if isinstance(item, dict)]
    if attempts:
        for attempt in attempts:
            attempt["message"] = redacted(str(attempt.get("message", "")))
        result["attempts"] = attempts
    return result


def _milliseconds(source: Document) -> int:
    duration = source.get("duration_ms")
    return max(0, int(duration)) if duration is not None and is_number(duration) else 0


# Verdicts


def overall(checks: t.Iterable[Document]) -> str:
    """Return the worst verdict; where nothing was executed that is unknown."""
    return worst(check["status"] for check in checks if check["source"] != SELF_REPORT)


def _verdict(stated: t.Any, checks: t.Sequence[Document]) -> str:
    """Return the verdict of a host, as its own setting weighs an unknown."""
    found = overall(checks)
    if found == UNKNOWN and stated in (WARNING, CRITICAL):
        return str(stated)
    return found


def worst(statuses: t.Iterable[str]) -> str:
    """Return the worst of some verdicts; of none it is unknown."""
    found = set(statuses)
    return next((status for status in PRECEDENCE if status in found), UNKNOWN)


def count(checks: t.Iterable[Document]) -> dict[str, int]:
    """Return how many checks have each status; self-reports have no say."""
    counts = dict.fromkeys(STATUSES, 0)
    for check in checks:
        if check["source"] != SELF_REPORT:
            counts[check["status"]] += 1
    return counts


def severity(check: Document) -> tuple[int, bool, str, str]:
    """Return a sort key: worst first, then what did not answer, then by name and target.

    What did not answer is more often the cause, a number beyond its limit the effect.
    """
    rank = (*PRECEDENCE, SKIPPED).index(check["status"])
    return rank, "error_kind" not in check, check["name"], check["target"]


def problems(checks: t.Iterable[Document]) -> list[Document]:
    """Return the checks that need a person, worst first."""
    return [check for check in checks if check["status"] in PROBLEMS and check["source"] != SELF_REPORT]


# The fleet


def fleet_view(
    documents: t.Iterable[t.Any],
    unreachable: t.Iterable[t.Any] = (),
    *,
    kind: str = "health",
    deployment: str = "",
    now: str = "1970-01-01T00:00:00.000Z",
    skew_components: t.Iterable[str] = DEFAULT_SKEW_COMPONENTS,
) -> Document:
    """Return what all hosts say together, worst first.

    ``now`` is used only when no host returned a time of its own, so the same
    documents always give the same view.
    """
    reports, unread = _read_all(documents, kind)
    times = [report["finished"] for report in reports]
    finished = max(times) if times else now
    started = min((report["started"] for report in reports), default=finished)
    deployments = sorted({report["deployment"] for report in reports})
    name = deployment or "+".join(deployments) or "unknown"
    profiles = sorted({report["profile"] for report in reports})

    hosts = {report["target"]: report for report in reports}
    frame = {"kind": kind, "deployment": name, "profile": "+".join(profiles) or "unknown", "time": finished}
    for target, reason in unread:
        _mark(hosts, frame, target, "report_readable", f"The report of {target} cannot be read: {reason}", "parse")
    for host in _unreachable(unreachable):
        _mark(hosts, frame, host.target, "host_reachable", host.message, None)

    ordered = sorted(hosts.values(), key=_host_order)
    versions = fleet_versions(reports)
    checks = sorted(version_skew(reports, list(skew_components)), key=severity)
    fleet: Document = {
        "schema": FLEET_SCHEMA,
        "kind": kind,
        "deployment": name,
        "profile": frame["profile"],
        "started": started,
        "finished": finished,
        "duration_ms": milliseconds_between(started, finished),
        "status": worst([*(host["status"] for host in ordered), *(check["status"] for check in checks if ordered)]),
        "headline": "",
        "counts": {"hosts": _count_hosts(ordered), "checks": _sum_counts(ordered, checks)},
        "checks": checks,
        "versions": versions,
        "hosts": ordered,
    }
    fleet["headline"] = headline(fleet)
    return fleet


def _read_all(documents: t.Iterable[t.Any], kind: str) -> tuple[list[Document], list[tuple[str, str]]]:
    """Return the reports by host, and the hosts whose document is none."""
    reports: dict[str, Document] = {}
    unread: list[tuple[str, str]] = []
    for number, raw in enumerate(documents, start=1):
        document = plain(raw)
        try:
            report = read_report(document)
            if report["kind"] != kind:
                raise NotAReport(f"its kind is {report['kind']!r}, not {kind!r}")
        except NotAReport as error:
            target = document.get("target") if isinstance(document, dict) else None
            unread.append((str(target or f"document {number}"), redacted(str(error))))
            continue
        earlier = reports.get(report["target"])
        if earlier is None or earlier["finished"] <= report["finished"]:
            reports[report["target"]] = report
    return list(reports.values()), unread


def _unreachable(entries: t.Iterable[t.Any]) -> list[Unreachable]:
    hosts = []
    for raw in entries:
        entry = plain(raw)
        if not isinstance(entry, dict):
            entry = {"target": entry}
        target = str(entry.get("target") or "unnamed host")
        message = redacted(str(entry.get("message") or "")).strip()
        hosts.append(Unreachable(target, message or f"{target} could not be reached"))
    return hosts


def _mark(
    hosts: dict[str, Document],
    frame: dict[str, str],
    target: str,
    check_name: str,
    message: str,
    error_kind: str | None,
) -> None:
    """Add a check of status unknown to a host, which may have no report yet."""
    check: Document = {
        "name": check_name,
        "target": target,
        "status": UNKNOWN,
        "duration_ms": 0,
        "source": PROBE,
        "message": message,
    }
    if error_kind:
        check["error_kind"] = error_kind
    known = hosts.get(target)
    checks = sorted([*(known["checks"] if known else []), check], key=severity)
    base: Document = known or {
        "schema": SCHEMA,
        "kind": frame["kind"],
        "target": target,
        "deployment": frame["deployment"],
        "profile": frame["profile"],
        "started": frame["time"],
        "finished": frame["time"],
        "duration_ms": 0,
        "facts": {},
        "evidence": [],
        # It stands in for a report that never came, so it must not become
        # the baseline of the next run.
        "synthesised": True,
    }
    status = worst([known["status"], UNKNOWN]) if known else UNKNOWN
    hosts[target] = {**base, "status": status, "counts": count(checks), "checks": checks}


def _host_order(host: Document) -> tuple[t.Any, ...]:
    counts = host["counts"]
    return (
        PRECEDENCE.index(host["status"]),
        *(-counts[status] for status in PROBLEMS),
        natural(host["target"]),
    )


def natural(text: str) -> list[tuple[int, int, str]]:
    """Return a sort key in which host2 stands before host10."""
    return [
        (0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part)
        for part in re.split(r"([0-9]+)", text)
        if part
    ]


def _count_hosts(hosts: t.Iterable[Document]) -> dict[str, int]:
    counts = dict.fromkeys(PRECEDENCE, 0)
    for host in hosts:
        counts[host["status"]] += 1
    return counts


def _sum_counts(hosts: t.Iterable[Document], checks: t.Iterable[Document]) -> dict[str, int]:
    total = count(checks)
    for host in hosts:
        for status, number in host["counts"].items():
            total[status] += number
    return total


def milliseconds_between(started: str, finished: str) -> int:
    """Return the time between two moments of the schema's form."""
    return max(0, epoch_ms(finished) - epoch_ms(started))


def epoch_ms(moment: str) -> int:
    """Return a UTC time such as 2026-11-23T09:00:00.123Z as milliseconds since 1970."""
    whole = calendar.timegm(time.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S"))
    return whole * 1000 + int(moment[20:23])


# Versions


def host_versions(report: Document) -> dict[str, list[str]]:
    """Return the versions that a report names, by component."""
    stated = report["facts"].get("versions")
    if not isinstance(stated, dict):
        return {}
    found: dict[str, list[str]] = {}
    for component, versions in stated.items():
        listed = versions if isinstance(versions, list) else [versions]
        texts = sorted({str(version) for version in listed if version not in (None, "")})
        if texts:
            found[str(component)] = texts
    return found


def fleet_versions(reports: t.Iterable[Document]) -> dict[str, dict[str, list[str]]]:
    """Return component -> version -> the hosts that run it."""
    found: dict[str, dict[str, list[str]]] = {}
    for report in sorted(reports, key=lambda item: natural(item["target"])):
        for component, versions in host_versions(report).items():
            for version in versions:
                found.setdefault(component, {}).setdefault(version, []).append(report["target"])
    return {
        component: dict(sorted(found[component].items(), key=lambda item: natural(item[0])))
        for component in sorted(found)
    }


def version_skew(reports: t.Sequence[Document], components: t.Sequence[str]) -> list[Document]:
    """Return one check per deployment and component whose versions should be equal."""
    checks = []
    deployments = sorted({report["deployment"] for report in reports})
    for deployment in deployments:
        members = [report for report in reports if report["deployment"] == deployment]
        versions = fleet_versions(members)
        for component in components:
            running = versions.get(component)
            if not running:
                continue
            target = component if len(deployments) == 1 else f"{component} of {deployment}"
            skewed = len(running) > 1
            checks.append(
                {
                    "name": "version_skew",
                    "target": target,
                    "status": WARNING if skewed else OK,
                    "value": len(running),
                    "unit": "count",
                    "duration_ms": 0,
                    "source": PROBE,
                    "message": _skew_message(target, running),
                }
            )
    return checks


def _skew_message(component: str, running: dict[str, list[str]]) -> str:
    if len(running) == 1:
        version, hosts = next(iter(running.items()))
        return f"{component}: {version} on {quantity(len(hosts), 'host')}, no other version on the hosts that answered"
    parts = "; ".join(f"{version} on {some(hosts)}" for version, hosts in running.items())
    return f"{component}: {len(running)} versions run side by side: {parts}"


def some(names: t.Sequence[str], most: int = 8) -> str:
    """Return names as a list in words that stays readable."""
    if len(names) <= most:
        return ", ".join(names)
    return ", ".join(names[:most]) + f" and {len(names) - most} more"


# Sentences


def quantity(number: int, noun: str) -> str:
    """Return "1 host" or "2 hosts"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


_STATE_OF_HOSTS = {CRITICAL: "critical", UNKNOWN: "could not be judged", WARNING: "with warnings"}


def headline(fleet: Document) -> str:
    """Return the one sentence that says how the fleet is."""
    hosts, status = fleet["hosts"], fleet["status"]
    if not hosts:
        return "Nothing was measured: no host returned a report"
    total = len(hosts)
    same = [host for host in hosts if host["status"] == status]
    if status == OK:
        passed = quantity(fleet["counts"]["checks"][OK], "check")
        return f"{_all(total)} ok: {passed} passed"
    if not same:
        return f"{_all(total)} ok, but the fleet is not: {problems(fleet['checks'])[0]['message']}"
    # Where most could not be measured is nearest to the cause; the others feel it.
    host = max(same, key=lambda host: host["counts"][UNKNOWN])
    found = problems(host["checks"])
    first = next((check for check in found if check["status"] == status), found[0] if found else None)
    reason = shorten(first["message"], 220) if first else "no check was executed"
    named = reason if host["target"] in reason else f"{reason} ({host['target']})"
    if total == 1:
        state = {CRITICAL: "is critical", UNKNOWN: "could not be judged", WARNING: "has warnings"}[status]
        return f"{host['target']} {state}: {reason}"
    return f"{len(same)} of {total} hosts {_STATE_OF_HOSTS[status]}: {named}"


def _all(total: int) -> str:
    return "The one host is" if total == 1 else f"All {total} hosts are"


def shorten(text: str, most: int) -> str:
    """Return a text in one line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


# What is kept


def compact(report: Document) -> Document:
    """Return a report that keeps the facts and the numbers; it is still schema-valid.

    The next run reads it as the baseline for what has changed.
    """
    checks = []
    for check in report["checks"]:
        keep = dict(check)
        if keep["status"] in (OK, SKIPPED):
            for key in ("message", "warning", "critical", "attempts"):
                keep.pop(key, None)
        checks.append(keep)
    return {**{key: value for key, value in report.items() if key != "synthesised"}, "checks": checks}


_HISTORY_KEYS = ("kind", "deployment", "finished", "duration_ms", "status", "headline", "counts")


def history_point(fleet: Document) -> Document:
    """Return one run as the history keeps it: verdicts, problems and numbers.

    A collector whose later runs need more than that puts it into its facts as ``kept``.
    """
    hosts = []
    for host in fleet["hosts"]:
        hosts.append(
            {
                "target": host["target"],
                "status": host["status"],
                "counts": host["counts"],
                "problems": problems(host["checks"]),
                "values": [
                    {key: check.get(key) for key in ("name", "target", "unit", "value")}
                    for check in host["checks"]
                    if "value" in check
                ],
                **_kept(host),
            }
        )
    return {
        "schema": HISTORY_SCHEMA,
        **{key: fleet[key] for key in _HISTORY_KEYS},
        "checks": problems(fleet["checks"]),
        "hosts": hosts,
    }


def _kept(host: Document) -> Document:
    found = host.get("facts", {}).get("kept")
    # The history has a file for each run, so what is kept must stay small.
    small = isinstance(found, dict) and len(json.dumps(found)) <= KEPT_BYTES
    return {"kept": found} if small else {}


def is_history_point(point: t.Any) -> bool:
    """Return whether a stored run can be plotted."""
    return (
        isinstance(point, dict)
        and point.get("schema") == HISTORY_SCHEMA
        and isinstance(point.get("finished"), str)
        and bool(_TIME.match(point["finished"]))
        and point.get("status") in PRECEDENCE
        and isinstance(point.get("hosts"), list)
        and all(isinstance(host, dict) and host.get("status") in PRECEDENCE for host in point["hosts"])
    )


def summary(fleet: Document, paths: dict[str, str], previous: str | None = None) -> Document:
    """Return the few lines that a workflow passes on."""
    failing = [(fleet["deployment"], check) for check in problems(fleet["checks"])]
    for host in fleet["hosts"]:
        failing += [(host["target"], check) for check in problems(host["checks"])]
    failing.sort(key=lambda item: PRECEDENCE.index(item[1]["status"]))
    return {
        "kind": fleet["kind"],
        "deployment": fleet["deployment"],
        "status": fleet["status"],
        "previous_status": previous,
        "status_changed": previous is not None and previous != fleet["status"],
        "headline": shorten(fleet["headline"], 300),
        "finished": fleet["finished"],
        "hosts": fleet["counts"]["hosts"],
        "checks": fleet["counts"]["checks"],
        "problems": len(failing),
        "worst": [
            {
                "host": host,
                "check": check["name"],
                "status": check["status"],
                "message": shorten(check["message"], SUMMARY_MESSAGE_CHARS),
            }
            for host, check in failing[:SUMMARY_PROBLEMS]
        ],
        "paths": paths,
    }


def file_name(text: str) -> str:
    """Return a name as part of a file name; odd names stay apart by a checksum."""
    safe = re.sub(r"[^A-Za-z0-9._@+:-]", "_", text)[:120]
    if safe == text and safe not in (".", "..") and not safe.startswith("."):
        return safe
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{safe.lstrip('.') or 'name'}-{digest[:8]}"


def timestamp_name(moment: str) -> str:
    """Return a time as part of a file name that sorts by time: 20261123T090000123Z."""
    return re.sub(r"[-:.]", "", moment)
