# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of a host's packet filter, and what is wrong with what they are made from."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.matrixon.ops.plugins.module_utils import _firewall


def firewall_rules(spec: dict[str, t.Any]) -> list[dict[str, str]]:
    """Return the rules, or say what cannot be one."""
    try:
        return _firewall.firewall_rules(spec)
    except (KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError(f"firewall_rules: {error}") from error


def firewall_problems(spec: dict[str, t.Any], **others: t.Any) -> list[str]:
    """Return all that is wrong, one sentence for each."""
    try:
        return _firewall.firewall_problems(spec, **others)
    except (KeyError, TypeError) as error:
        raise AnsibleFilterError(f"firewall_problems: {error}") from error
