# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What the controller does: put the rows of a fleet into the history, and look ahead for every host."""

from __future__ import annotations

import datetime
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._capacity import forecast
from ansible_collections.matrixon.ops.plugins.module_utils._capacity.forecast import Bag, Outlook, Policy
from ansible_collections.matrixon.ops.plugins.module_utils._capacity.history import (
    Content,
    Decision,
    StoreError,
    decide,
)
from ansible_collections.matrixon.ops.plugins.module_utils._capacity.resources import (
    Row,
    document_errors,
    rows_of,
    threshold_errors,
)
from ansible_collections.matrixon.ops.plugins.module_utils._capacity.store_csv import CsvStore
from ansible_collections.matrixon.ops.plugins.module_utils._capacity.store_postgresql import PostgresqlStore
from ansible_collections.matrixon.ops.plugins.module_utils._health.validate import (
    login_errors,
    name_errors,
    seconds_errors,
)
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import LOGIN_SPEC, server_of
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    OK,
    UNKNOWN,
    WARNING,
    CheckResult,
    Report,
    count,
    overall,
    severity,
)

Options = t.Mapping[str, t.Any]
Document = dict[str, t.Any]
Store = t.Union[CsvStore, PostgresqlStore]

KIND = "capacity"
READ, WRITTEN = "capacity_history", "capacity_history_rows"
LEAST_WINDOW, LONGEST_WINDOW = 14, 400

# The options of both modules; the documentation fragment _capacity_store describes them.
STORE: dict[str, t.Any] = {
    "documents": {"type": "list", "elements": "dict", "required": True},
    "path": {"type": "path"},
    "postgresql": {"type": "dict", "options": LOGIN_SPEC},
    "create": {"type": "bool", "default": False},
    "deadline": {"type": "float", "default": 60},
}


# The history ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Written:
    """What came of putting rows into the history."""

    report: Report
    decision: Decision | None
    changed: bool


def record(options: Options, write: bool, now: datetime.datetime | None = None) -> Written:
    """Put the rows of the documents into the history, or with ``write`` off only say what would be put there.

    Raise OptionErrors before anything is touched.
    """
    _refuse([*_store_errors(options)])
    started = now or datetime.datetime.now(datetime.timezone.utc)
    deadline = Deadline(options["deadline"], time.monotonic)
    store, rows = _store(options, deadline), _rows(options["documents"])
    decision: Decision | None = None
    try:
        if write:
            with store.locked():
                content = store.read()
                decision = decide(rows, content, started)
                if decision.add:
                    store.append(decision.add, content)
        else:
            content = store.read()
            decision = decide(rows, content, started)
        checks = _written(decision, str(store), write)
    except StoreError as error:
        decision = None
        checks = [CheckResult(WRITTEN, str(store), UNKNOWN, f"nothing was added: {error}", error_kind=error.kind)]
    report = Report(
        kind=KIND,
        target=options["target"],
        deployment=options["deployment"],
        profile=options["profile"],
        started=started,
        finished=started + datetime.timedelta(seconds=deadline.elapsed()),
        checks=tuple(checks),
        unknown_as=options["unknown_as"],
    )
    return Written(report, decision, bool(decision and decision.add))


def _written(decision: Decision, where: str, write: bool) -> list[CheckResult]:
    one = len(decision.add) == 1
    verb = ("was" if one else "were") if write else "would be"
    said = f"{len(decision.add)} {'row' if one else 'rows'} {verb} added to {where}"
    if decision.known:
        said += f", {len(decision.known)} stood there already"
    if not decision.refused:
        return [CheckResult(WRITTEN, where, OK, said, value=float(len(decision.add)), unit="count")]
    reasons = list(dict.fromkeys(reason for dummy, reason in decision.refused))
    more = f" and {len(reasons) - 3} hosts more" if len(reasons) > 3 else ""
    message = f"{said}, {len(decision.refused)} were refused: {'; '.join(reasons[:3])}{more}"
    return [CheckResult(WRITTEN, where, WARNING, message, value=float(len(decision.add)), unit="count")]


# The outlook ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reviewed:
    """The documents of the hosts with what is ahead of them, and that of the history itself."""

    documents: list[Document]
    answer: str
    message: str


def review(options: Options, now: datetime.datetime | None = None) -> Reviewed:
    """Read the history, and look ahead for every resource that the documents have a row of.

    Raise OptionErrors before anything is read.
    """
    _refuse([*_store_errors(options), *_policy_errors(options)])
    started = now or datetime.datetime.now(datetime.timezone.utc)
    deadline = Deadline(options["deadline"], time.monotonic)
    policy = policy_of(options)
    store = _store(options, deadline)
    outlooks: dict[int, list[Outlook]] = {}
    failure: StoreError | None = None
    try:
        content = store.read()
        bag = Bag([*content.rows, *_rows(options["documents"])])
        outlooks = {
            place: [forecast.look(row, bag, policy) for row in rows_of(document)]
            for place, document in enumerate(options["documents"])
        }
        own = _read(content, str(store))
    except StoreError as error:
        failure = error
        own = CheckResult(READ, str(store), UNKNOWN, str(error), error_kind=error.kind)
    documents = [
        _with_outlook(document, outlooks.get(place, []), policy, options, failure)
        for place, document in enumerate(options["documents"])
    ]
    everything = [one for some in outlooks.values() for one in some]
    answer = forecast.answer(everything, policy) if everything else ""
    report = Report(
        kind=KIND,
        target=options["target"],
        deployment=options["deployment"],
        profile=options["profile"],
        started=started,
        finished=started + datetime.timedelta(seconds=deadline.elapsed()),
        checks=(own,),
        # Of a host that something presses on, its own report says so.
        facts=_facts(everything, "" if forecast.pressing(everything, policy) else answer),
        unknown_as=options["unknown_as"],
    ).as_dict(options["detail"])
    # What was said of writing stands in the same document as what is said of reading.
    mine = [document for document in documents if document["target"] == options["target"]]
    for document in mine:
        report = _joined(report, document["checks"], options)
    rest = [document for document in documents if document["target"] != options["target"]]
    return Reviewed([*rest, report], answer, answer or own.message)


def policy_of(options: Options) -> Policy:
    """Return how far to look."""
    return Policy(
        window=options["window_days"],
        level=options["level"],
        horizon=options["horizon_days"],
        warning_days=options["warning_days"],
        critical_days=options["critical_days"],
        provision_days=options["provision_days"],
        thresholds=options["thresholds"],
    )


def _read(content: Content, where: str) -> CheckResult:
    complaint = content.complaint()
    if complaint:
        return CheckResult(READ, where, WARNING, f"{where}: {complaint}", value=float(len(content.rows)), unit="count")
    if not content.exists:
        return CheckResult(READ, where, OK, f"{where} does not exist yet", value=0.0, unit="count")
    rows = content.rows
    return CheckResult(READ, where, OK, f"{where} holds {len(rows)} rows", value=float(len(rows)), unit="count")


def _facts(outlooks: list[Outlook], answer: str) -> dict[str, t.Any]:
    facts: dict[str, t.Any] = {"answer": answer} if answer else {}
    ranking = forecast.ranking(outlooks)
    return {**facts, "rankings": [ranking]} if ranking else facts


def _with_outlook(
    document: Document, outlooks: list[Outlook], policy: Policy, options: Options, failure: StoreError | None
) -> Document:
    rows = rows_of(document)
    if not rows:
        return document
    if failure:
        found = [forecast.unknown(row, str(failure), failure.kind) for row in rows]
    else:
        found = [forecast.check(one, policy) for one in outlooks]
    checks = [check.as_dict(options["detail"]) for check in found if check]
    joined = _joined(document, checks, options)
    if failure:
        return joined
    facts = dict(joined["facts"])
    drawn = [forecast.plot(one, policy) for one in sorted(outlooks, key=lambda one: _order(one, policy))]
    facts["plots"] = [plot for plot in drawn if plot]
    facts["outlook"] = [forecast.data(one) for one in outlooks]
    ranking = forecast.ranking(outlooks)
    facts["rankings"] = [*([ranking] if ranking else []), *facts.get("rankings", [])]
    if forecast.pressing(outlooks, policy):
        facts["answer"] = forecast.answer(outlooks, policy)
    return {**joined, "facts": facts}


def _order(outlook: Outlook, policy: Policy) -> tuple[bool, tuple[t.Any, ...]]:
    """Return a sort key of pictures: those with a limit first, what presses most on top."""
    return outlook.threshold is None, forecast.order_of(outlook, policy)


def _joined(document: Document, checks: list[dict[str, t.Any]], options: Options) -> Document:
    """Return a document with more checks, and the verdict that follows from all of them."""
    everything = {(check["name"], check["target"]): check for check in (*document["checks"], *checks)}
    results = {
        key: CheckResult(check["name"], check["target"], check["status"], "", source=check.get("source", "probe"))
        for key, check in everything.items()
    }
    order = sorted(results, key=lambda key: severity(results[key]))
    return {
        **document,
        "status": overall(results.values(), options["unknown_as"]),
        "counts": count(results.values()),
        "checks": [everything[key] for key in order],
    }


# Options ----------------------------------------------------------------------------------------------------------


def _refuse(errors: list[str]) -> None:
    if errors:
        raise OptionErrors(errors)


def _rows(documents: list[Document]) -> list[Row]:
    return [row for document in documents for row in rows_of(document)]


def _store(options: Options, deadline: Deadline) -> Store:
    if options["path"]:
        return CsvStore(options["path"], deadline)
    return PostgresqlStore(server_of(options["postgresql"]), options["create"], deadline)


def _store_errors(options: Options) -> t.Iterator[str]:
    yield from name_errors(options, ("deployment", "profile", "target"))
    yield from seconds_errors("deadline", options["deadline"])
    if bool(options["path"]) == bool(options["postgresql"]):
        yield "path: give the path of a CSV file, or postgresql, and not both"
    elif options["path"] and not options["path"].startswith("/"):
        yield f"path: {options['path']!r} is no absolute path; write for example /var/lib/matrixon/capacity.csv"
    elif options["postgresql"]:
        yield from login_errors("postgresql", options["postgresql"])
    for place, document in enumerate(options["documents"]):
        errors = list(document_errors(f"documents[{place}]", document))
        yield from errors
        # Its checks and pictures would be taken for those of the history.
        if not errors and document["target"] == options["target"] and rows_of(document):
            yield f"target: {options['target']!r} is a host with rows of its own; give the history another name"


def _policy_errors(options: Options) -> t.Iterator[str]:
    window = options["window_days"]
    if not LEAST_WINDOW <= window <= LONGEST_WINDOW:
        yield f"window_days: {window} days show no trend; give from {LEAST_WINDOW} to {LONGEST_WINDOW}"
    if not 50 <= options["level"] <= 99:
        yield f"level: {options['level']:g} is no level of an interval; give percent from 50 to 99"
    if not 1 <= options["horizon_days"] <= 3650:
        yield f"horizon_days: {options['horizon_days']} is not to be foreseen; give from 1 to 3650 days"
    if not 1 <= options["provision_days"] <= 3650:
        yield f"provision_days: {options['provision_days']} cannot be planned for; give from 1 to 3650 days"
    warning, critical = options["warning_days"], options["critical_days"]
    if not 0 <= critical <= warning <= options["horizon_days"]:
        yield (
            f"warning_days: {warning:g} with critical_days {critical:g} cannot be; "
            f"give critical_days <= warning_days <= horizon_days"
        )
    yield from threshold_errors("thresholds", options["thresholds"])
