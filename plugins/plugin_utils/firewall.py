# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of a host's packet filter, and what is wrong with what they are made from."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.matrixon.ops.plugins.module_utils import _firewall

NUMBERS = ("ssh_port", "database_port", "redis_port")


def _with_numbers(spec: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the spec with ports that are numbers: up to ansible-core 2.18, templates make text of them."""
    return {key: int(value) if key in NUMBERS and str(value).isdigit() else value for key, value in spec.items()}


def firewall_rules(spec: dict[str, t.Any]) -> list[dict[str, str]]:
    """Return the rules, or say what cannot be one."""
    try:
        return _firewall.firewall_rules(_with_numbers(spec))
    except (KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError(f"firewall_rules: {error}") from error


def firewall_problems(spec: dict[str, t.Any], **others: t.Any) -> list[str]:
    """Return all that is wrong, one sentence for each."""
    try:
        return _firewall.firewall_problems(_with_numbers(spec), **others)
    except (KeyError, TypeError) as error:
        raise AnsibleFilterError(f"firewall_problems: {error}") from error
