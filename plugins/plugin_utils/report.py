# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters over report documents. Each is documented in a file of its own name."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.matrixon.ops.plugins.module_utils import _fleet, _metrics


def fleet_view(documents: t.Any, unreachable: t.Any = (), kind: str = "health", deployment: str = "") -> t.Any:
    """Return what the reports of many hosts say together."""
    for name, value in (("reports", documents), ("unreachable", unreachable)):
        if not isinstance(value, (list, tuple)):
            raise AnsibleFilterError(f"fleet_view: {name} must be a list, not {type(value).__name__}")
    return _fleet.fleet_view(documents, unreachable, kind=str(kind), deployment=str(deployment))


def report_metrics(document: t.Any) -> str:
    """Return one report as Prometheus text."""
    try:
        return _metrics.report_metrics(document)
    except _fleet.NotAReport as error:
        raise AnsibleFilterError(f"report_metrics: the input is not a report: {error}") from error
