# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What every module about backups returns."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils._report import Report, headline


@dataclass(frozen=True)
class Outcome:
    """How an operation ended: what a module exits with.

    ``plan`` are sentences, for check mode; ``values`` what this one module
    returns beside.
    """

    report: Report | None = None
    changed: bool = False
    msg: str = ""
    plan: tuple[str, ...] = ()
    values: dict[str, t.Any] = field(default_factory=dict)
    failed: bool = False

    def result(self, detail: str = "full") -> dict[str, t.Any]:
        """Return the module's result."""
        result: dict[str, t.Any] = {"changed": self.changed, "msg": self.msg, **self.values}
        if self.report:
            result["report"] = self.report.as_dict(detail)
            result["msg"] = self.msg or headline(self.report)
        if self.plan:
            result["plan"] = list(self.plan)
        return result
