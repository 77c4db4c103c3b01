# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that find the earlier run with which a host's performance is compared."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.matrixon.ops.plugins.module_utils._performance import history


def performance_run(paths: t.Any, deployment: str, now: float, days: float = 7) -> dict[str, str]:
    """Return the path of the kept run of about so many days ago, or why there is none."""
    if not isinstance(paths, (list, tuple)):
        raise AnsibleFilterError(f"performance_run: the input is no list of paths, but {type(paths).__name__}")
    try:
        return history.choose([str(path) for path in paths], str(deployment), float(now), float(days))
    except (TypeError, ValueError) as error:
        raise AnsibleFilterError(f"performance_run: {error}") from error


def performance_earlier(text: t.Any, target: str) -> dict[str, t.Any]:
    """Return what a kept run says of one host, for the module's option earlier."""
    return history.of_host(str(text), str(target))
