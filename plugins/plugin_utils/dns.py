# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role dns is to do, and what came of it."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.matrixon.ops.plugins.module_utils._dns import plan
from ansible_collections.matrixon.ops.plugins.module_utils._fleet import plain


def dns_plan(settings: dict[str, t.Any], seen: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
    """Return problems, what is wanted, and what is to be changed."""
    try:
        return plan.plan(plain(settings), plain(seen or {}))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AnsibleFilterError(f"dns_plan: {type(error).__name__}: {error}") from error


def dns_result(planned: dict[str, t.Any], proven: dict[str, t.Any], changed: bool) -> dict[str, t.Any]:
    """Return what came of a plan."""
    try:
        return plan.result(plain(planned), plain(proven), bool(changed))
    except (KeyError, TypeError, AttributeError) as error:
        raise AnsibleFilterError(f"dns_result: {type(error).__name__}: {error}") from error
