# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""HAProxy: are the backends served by as many servers as they should be, and is there room."""

from __future__ import annotations

import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _haproxy
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import (
    Check,
    Context,
    Facts,
    Limits,
    Plan,
    Probe,
    Verdict,
    grade,
    skipped,
)
from ansible_collections.matrixon.ops.plugins.module_utils._health.validate import duplicate_errors
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import CRITICAL, OK, UNKNOWN, WARNING

SPEC: dict[str, t.Any] = dict(
    socket=dict(type="path", required=True),
    backends=dict(
        type="list",
        elements="dict",
        default=[],
        options=dict(
            name=dict(type="str", required=True),
            expected=dict(type="int", required=True),
            quorum=dict(type="int"),
        ),
    ),
)


def _judge_servers(facts: Facts, limits: Limits) -> list[Verdict]:
    expected = facts["backends"] or _all_backends(facts["rows"])
    verdicts = [_judge_backend(facts["rows"], backend) for backend in expected]
    return verdicts or [skipped("HAProxy has no backend with servers in it")]


def _judge_backend(rows: list[dict[str, str]], backend: dict[str, t.Any]) -> Verdict:
    name, expected = backend["name"], backend["expected"]
    servers = [row for row in rows if row["pxname"] == name and row["svname"] not in ("FRONTEND", "BACKEND")]
    if not servers:
        return Verdict(CRITICAL, f"HAProxy has no backend {name} with servers in it", target=name)
    up = [row["svname"] for row in servers if row["status"].startswith("UP")]
    unchecked = [row["svname"] for row in servers if row["status"].startswith("no check")]
    others = [f"{row['svname']} {row['status']}" for row in servers if row["svname"] not in up + unchecked]
    tail = f" ({', '.join(others)})" if others else ""
    found = f"backend {name} has {len(up)} of {expected} expected servers up{tail}"
    quorum = backend.get("quorum") or (expected + 1) // 2
    at_best = len(up) + len(unchecked)
    if len(up) >= expected:
        status = OK
    elif at_best >= expected or at_best >= quorum > len(up):
        status, found = UNKNOWN, f"{found}; HAProxy does not check {', '.join(unchecked)}, so it knows nothing of them"
    elif len(up) < quorum:
        status, found = CRITICAL, f"{found}, fewer than its quorum of {quorum}"
    else:
        status = WARNING
    return Verdict(status, found, value=float(len(up)), target=name)


def _all_backends(rows: list[dict[str, str]]) -> list[dict[str, t.Any]]:
    """Return every backend with servers, expecting all of them."""
    counts: dict[str, int] = {}
    for row in rows:
        if row.get("type") == "2":
            counts[row["pxname"]] = counts.get(row["pxname"], 0) + 1
    return [{"name": name, "expected": number} for name, number in counts.items()]


def _judge_queue(facts: Facts, limits: Limits) -> list[Verdict]:
    verdicts = []
    for row in facts["rows"]:
        if row["svname"] == "BACKEND":
            verdicts.append(_judge_backend_queue(row["pxname"], _haproxy.number(row, "qcur"), limits))
    return verdicts or [skipped("HAProxy has no backends")]


def _judge_backend_queue(name: str, queued: int | None, limits: Limits) -> Verdict:
    if queued is None:
        return Verdict(UNKNOWN, f"HAProxy tells no queue of backend {name}", target=name, error_kind="parse")
    return grade(queued, limits, f"{queued} requests wait for a server of backend {name}", target=name)


def _judge_sessions(facts: Facts, limits: Limits) -> list[Verdict]:
    verdicts = [_judge_limit(row, limits) for row in facts["rows"] if row["svname"] == "FRONTEND"]
    process = {
        "scur": facts["info"].get("CurrConns", ""),
        "slim": facts["info"].get("Maxconn", ""),
        "pxname": "process",
    }
    return [*verdicts, _judge_limit(process, limits)]


def _judge_limit(row: dict[str, str], limits: Limits) -> Verdict:
    name, now, limit = row["pxname"], _haproxy.number(row, "scur"), _haproxy.number(row, "slim")
    if now is None:
        return Verdict(UNKNOWN, f"HAProxy tells no sessions of {name}", target=name, error_kind="parse")
    if not limit:
        return skipped(f"{now} sessions in {name}, which has no limit", target=name)
    share = 100 * now / limit
    return grade(share, limits, f"{now} of {limit} sessions in {name} ({share:.0f} %)", target=name)


CHECKS = (
    Check(
        "haproxy_servers",
        "servers that are up in each backend, against what is expected",
        _judge_servers,
        unit="count",
        gate=True,
        fixed=True,
    ),
    Check("haproxy_queue", "requests that wait for a server", _judge_queue, unit="count", warning=1, critical=100),
    Check(
        "haproxy_sessions",
        "share of each frontend's and the process's session limit",
        _judge_sessions,
        unit="%",
        warning=80,
        critical=95,
    ),
)


def validate(options: dict[str, t.Any]) -> t.Iterator[str]:
    """Yield what is wrong with the options."""
    yield from duplicate_errors("haproxy.backends", [backend["name"] for backend in options["backends"]])
    for index, backend in enumerate(options["backends"]):
        where = f"haproxy.backends[{index}]"
        if backend["expected"] < 1:
            yield f"{where}.expected: {backend['expected']} servers cannot be expected; give 1 or more"
        if backend["quorum"] is not None and not 1 <= backend["quorum"] <= backend["expected"]:
            yield f"{where}.quorum: {backend['quorum']} is not between 1 and the {backend['expected']} expected servers"


def plan(options: dict[str, t.Any], context: Context) -> Plan:
    """Return the one probe that feeds every check."""
    path = options["socket"]
    given = {"backends": options["backends"]}
    return [Probe(path, CHECKS, lambda deadline: _observe(path, deadline), given)]


def _observe(path: str, deadline: Deadline) -> Facts:
    info = _haproxy.parse_info(_haproxy.ask(path, "show info", deadline))
    rows = _haproxy.parse_stat(_haproxy.ask(path, "show stat", deadline))
    return {"info": info, "rows": rows, "report": {"versions": {"haproxy": info.get("Version", "unknown")}}}
