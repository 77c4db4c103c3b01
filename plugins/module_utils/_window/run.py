# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""From module options to the journal of a maintenance window and back, without Ansible in it."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._report import rfc3339
from ansible_collections.matrixon.ops.plugins.module_utils._window import journal as journals
from ansible_collections.matrixon.ops.plugins.module_utils._window import judge, report
from ansible_collections.matrixon.ops.plugins.module_utils._window.journal import Journal
from ansible_collections.matrixon.ops.plugins.module_utils._window.model import AFTER, HOUR, Window, window_of

Options = dict[str, t.Any]
POSITIVE = ("longest_hours", "notice_hours", "earliest_hours", "backup_max_age", "clock_tolerance")


class Book:
    """The journals of a deployment, as they were found and as they are to be."""

    def __init__(self, options: Options, now: datetime.datetime) -> None:
        self.now, self.stamp = now, rfc3339(now)
        self.place = (options["directory"], options["deployment"])
        self.found = {one["window"]["id"]: one for one in journals.known(*self.place)}
        self.kept = {name: self._noticed(one) for name, one in self.found.items()}

    def _noticed(self, journal: Journal) -> Journal:
        over = window_of(journal["window"], float("inf")).stage(self.now) == AFTER
        return journals.expired(journal) if over else journal

    def unfinished(self) -> list[str]:
        """Return the names of the windows that nobody closed."""
        return [name for name, one in self.kept.items() if one["state"] in journals.UNFINISHED]

    def others(self, name: str) -> list[Journal]:
        """Return the journals of all other windows."""
        return [one for other, one in self.kept.items() if other != name]

    def meant(self, window: Window | None) -> Journal | None:
        """Return the journal of a window, or of the one that nobody closed."""
        if window is not None:
            return self.kept.get(window.id)
        names = self.unfinished()
        return self.kept[names[0]] if names else None

    def keep(self, journal: Journal) -> Journal:
        """Take over what a journal is to be."""
        self.kept[journal["window"]["id"]] = journal
        return journal

    def write(self) -> None:
        """Write what is not as it was found."""
        for name, journal in self.kept.items():
            if journal != self.found.get(name):
                journals.save(journals.path_of(*self.place, name), journal)


def run(options: Options, check_mode: bool, now: datetime.datetime | None = None) -> dict[str, t.Any]:
    """Do what the state asks for, and return what the module returns."""
    wrong = [f"{name}: {options[name]:g} is not above 0" for name in POSITIVE if options[name] <= 0]
    wrong += [] if options["margin"] >= 0 else [f"margin: {options['margin']:g} is below 0"]
    if options["earliest_hours"] < options["notice_hours"]:
        wrong.append("earliest_hours: it is less than notice_hours, so there would be no time to tell people in")
    if wrong:
        raise OptionErrors(wrong)
    window = window_of(options["window"], options["longest_hours"]) if options["window"] else None
    begins = options["state"] in ("announced", "opened") and not check_mode
    with journals.locked(options["directory"], options["deployment"], begins):
        book = Book(options, now or datetime.datetime.now(datetime.timezone.utc))
        result = STATES[options["state"]](options, book, window)
        if not check_mode:
            book.write()
    return {**_frame(book, result.pop("journal")), **result}


def _frame(book: Book, journal: Journal | None) -> dict[str, t.Any]:
    frame: dict[str, t.Any] = {
        "journal": journal or {},
        "unfinished": book.unfinished(),
        "reasons": [],
        "allowed": True,
    }
    if journal:
        frame["left"] = window_of(journal["window"], float("inf")).left(book.now)
    return frame


def _outcome(journal: Journal | None, reasons: list[str], **others: t.Any) -> dict[str, t.Any]:
    return {"journal": journal, "reasons": reasons, "allowed": not reasons, **others}


def _read(options: Options, book: Book, window: Window | None) -> dict[str, t.Any]:
    return {"journal": book.meant(window)}


def _announced(options: Options, book: Book, window: Window | None) -> dict[str, t.Any]:
    window = t.cast(Window, window)
    known = book.meant(window)
    early = "" if known and known["announced"] else judge.too_early(window, book.now, options["earliest_hours"] * HOUR)
    short, notice = options["short_notice"], options["notice_hours"] * HOUR
    reasons = judge.announcing(known, window, book.now, notice, short)
    if reasons or early:
        return _outcome(known, reasons, early=early)
    ahead = window.ahead(book.now)
    journal = {**(known or journals.new(window)), "window": window.as_dict()}
    # The reason counts where it was needed.
    journal = journals.announced(journal, book.stamp, ahead, short if ahead < notice else "")
    return _outcome(book.keep(journal), [], early="")


def _opened(options: Options, book: Book, window: Window | None) -> dict[str, t.Any]:
    window = t.cast(Window, window)
    known = book.meant(window)
    seen = judge.Seen(options["health"], options["silent"], options["backups"], options["drained"], options["clocks"])
    limits = judge.Limits(options["backup_max_age"], options["clock_tolerance"], options["margin"])
    reasons = judge.opening(known, book.others(window.id), window, book.now, seen, limits)
    if reasons or known is None:
        return _outcome(known, reasons)
    baseline = {document["target"]: judge.states(document) for document in seen.health}
    backup = {document["target"]: judge.proven_age(document)[0] for document in seen.backups}
    journal = {**known, "window": window.as_dict()}
    return _outcome(book.keep(journals.opened(journal, book.stamp, baseline, options["answer"], backup)), [])


def _step(options: Options, book: Book, window: Window | None) -> dict[str, t.Any]:
    journal = book.meant(window)
    if journal is None and not options["required"]:
        return _outcome(None, [])
    if journal is None:
        return _outcome(None, ["no window is open; open one with maintenance_window_open.yml"])
    reasons = judge.stepping(journal, book.now, options["margin"])
    if not reasons:
        return _outcome(book.keep(journals.step(journal, options["step"], book.stamp)), [])
    if journal["state"] in journals.UNFINISHED:
        book.keep(journals.refused(journal, options["step"], book.stamp, reasons[0]))
    return _outcome(book.meant(window), reasons)


def _noted(options: Options, book: Book, window: Window | None) -> dict[str, t.Any]:
    journal = book.meant(window)
    if journal is None:
        return _outcome(None, ["there is no window to note this for"])
    return _outcome(book.keep({**journal, "silence": options["silence"]}), [])


def _closed(options: Options, book: Book, window: Window | None) -> dict[str, t.Any]:
    journal = book.meant(window)
    if journal is None or journal["state"] not in journals.UNFINISHED:
        return {"journal": journal}
    journal = book.keep(journals.closed(journal, book.stamp))
    after = report.After(
        options["health"], options["silent"], options["answers"], options["silence_error"], options["told"]
    )
    frame = report.Frame(options["deployment"], options["profile"])
    return {"journal": journal, "report": report.report(journal, frame, after, book.now).as_dict("full")}


STATES: dict[str, t.Callable[[Options, Book, Window | None], dict[str, t.Any]]] = {
    "read": _read,
    "announced": _announced,
    "opened": _opened,
    "step": _step,
    "noted": _noted,
    "closed": _closed,
}
