# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""How everything about backups fails."""

from __future__ import annotations

from ansible_collections.matrixon.ops.plugins.module_utils._probe import Facts, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import ERROR_KINDS


class BackupError(ProbeFailure):
    """A step of a backup, a drill or a restore could not be done.

    ``kind`` is one of ``_report.ERROR_KINDS``. Callers catch ProbeFailure, so
    that a deadline that was hit is caught, too.
    """

    def __init__(self, kind: str, message: str, facts: Facts | None = None) -> None:
        if kind not in ERROR_KINDS:
            raise ValueError(f"{kind!r} is no kind of error; it is one of {', '.join(ERROR_KINDS)}")
        super().__init__(kind, message, facts)
