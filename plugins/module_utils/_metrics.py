# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""One host's report in the text format that Prometheus reads.

A value that was not measured gives no sample: absent is not the same as 0.
Values are in base units, one metric family per unit.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._fleet import (
    Document,
    NotAReport,
    epoch_ms,
    is_number,
    plain,
    read_report,
)
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    SELF_REPORT,
    SKIPPED,
    STATUSES,
    UNKNOWN,
    WARNING,
)

# As every Nagios-like monitor has it.
CODES = {OK: 0, WARNING: 1, CRITICAL: 2, UNKNOWN: 3}
_WORSE = {OK: 0, WARNING: 1, UNKNOWN: 2, CRITICAL: 3}


class Unit(t.NamedTuple):
    """How a unit of the report becomes a base unit."""

    suffix: str
    factor: float
    help: str


UNITS = {
    "ms": Unit("_seconds", 0.001, "in seconds"),
    "s": Unit("_seconds", 1, "in seconds"),
    "B": Unit("_bytes", 1, "in bytes"),
    "%": Unit("_ratio", 0.01, "as a ratio, where 1 is 100 percent"),
    "/s": Unit("_per_second", 1, "per second"),
    "count": Unit("", 1, "as a number"),
}

_KIND = re.compile(r"[a-z][a-z_]*\Z")
_MEANING = "0 ok, 1 warning, 2 critical, 3 unknown; a skipped check has none"
Labels = tuple[tuple[str, str], ...]


class Family:
    """One metric: its name, its help line and its samples."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.samples: dict[Labels, float] = {}

    def add(self, labels: Labels, value: float) -> None:
        """Add a sample. A second one of the same labels would void the whole file."""
        self.samples.setdefault(labels, value)

    def lines(self) -> list[str]:
        """Return the family in the text format."""
        head = [f"# HELP {self.name} {self.text}", f"# TYPE {self.name} gauge"]
        return head + [f"{self.name}{_labels(labels)} {number(value)}" for labels, value in self.samples.items()]


def report_metrics(document: t.Any) -> str:
    """Return one host's report as Prometheus text; raise ValueError if it is no report."""
    report = read_report(plain(document))
    kind = report["kind"]
    if not _KIND.match(kind):
        raise NotAReport(f"its kind is {kind!r}")
    prefix = f"matrixon_{kind}"
    common: Labels = (("deployment", report["deployment"]), ("host", report["target"]))

    status = Family(f"{prefix}_status", f"Worst verdict of the last run: {_MEANING}.")
    status.add(common, CODES[report["status"]])
    last_run = Family(f"{prefix}_last_run_timestamp_seconds", "When the last run finished; alert when it is long ago.")
    last_run.add(common, epoch_ms(report["finished"]) / 1000)
    duration = Family(f"{prefix}_duration_seconds", "How long the last run took.")
    duration.add(common, report["duration_ms"] / 1000)
    checks = Family(f"{prefix}_checks", "How many checks of the last run had each verdict.")
    for name in STATUSES:
        checks.add((*common, ("status", name)), report["counts"][name])

    families = [status, last_run, duration, checks, *_check_families(report, prefix, common)]
    return "\n".join(line for family in families if family.samples for line in family.lines()) + "\n"


def _check_families(report: Document, prefix: str, common: Labels) -> list[Family]:
    verdicts = Family(f"{prefix}_check_status", f"Verdict of one check: {_MEANING}.")
    claims = Family(f"{prefix}_self_report_status", f"What the server says about itself, not verified: {_MEANING}.")
    took = Family(f"{prefix}_check_duration_seconds", "How long one check took.")
    values: dict[str, Family] = {}
    # Of two checks with the same name and target the worse one is shown.
    for check in sorted(report["checks"], key=lambda item: -_WORSE.get(item["status"], -1)):
        if check["status"] == SKIPPED:
            continue
        labels: Labels = (*common, ("check", check["name"]), ("target", check["target"]))
        if check["source"] == SELF_REPORT:
            claims.add(labels, CODES[check["status"]])
            continue
        if labels in verdicts.samples:
            continue
        verdicts.add(labels, CODES[check["status"]])
        took.add(labels, check["duration_ms"] / 1000)
        if is_number(check.get("value")):
            unit = UNITS.get(check.get("unit", "count"), UNITS["count"])
            name = f"{prefix}_check_value{unit.suffix}"
            family = values.setdefault(name, Family(name, f"What one check measured, {unit.help}."))
            family.add(labels, check["value"] * unit.factor)
    return [verdicts, claims, took, *(values[name] for name in sorted(values))]


def _labels(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{escape(value)}"' for name, value in labels) + "}"


def escape(text: str) -> str:
    """Return a label value in which quotes, backslashes and line ends are escaped."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return "".join(char for char in text if char == "\t" or char.isprintable())


def number(value: float) -> str:
    """Return a number in full precision, without an exponent where it is whole."""
    if float(value).is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(round(float(value), 9))
