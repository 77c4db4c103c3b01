# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All filters of the collection, each documented in a file of its own name. What they do is in plugin_utils.

Ansible works out each task of each host in a process of its own. The first filter that is named there brings in every
file of this directory, compiled anew. So there is one, and it brings in what is behind a filter when that is called.
"""

from __future__ import annotations

import functools
import importlib
import typing as t

PLACES = {
    "configuration_files": "configuration",
    "dns_plan": "dns",
    "dns_result": "dns",
    "firewall_problems": "firewall",
    "firewall_rules": "firewall",
    "fingerprints": "fleet_problems",
    "fleet_problems": "fleet_problems",
    "plain_error": "fleet_problems",
    "maintenance_blocked": "maintenance",
    "maintenance_documents": "maintenance",
    "maintenance_outcome": "maintenance",
    "maintenance_plan": "maintenance",
    "media_paths": "media",
    "performance_earlier": "performance",
    "performance_run": "performance",
    "postgresql_rivals": "postgresql_settings",
    "postgresql_settings": "postgresql_settings",
    "postgresql_verifier": "postgresql_settings",
    "process_facts": "processes",
    "profile_facts": "profile",
    "fleet_view": "report",
    "report_metrics": "report",
    "haproxy_expectations": "routing",
    "not_networks": "routing",
    "routing_backends": "routing",
    "secret_problems": "secret",
    "security_exceptions": "security_audit",
    "security_exceptions_use": "security_audit",
    "to_toml": "toml",
    "updates_matching": "updates",
    "updates_order": "updates",
    "updates_outcome": "updates",
}


def _call(name: str, *arguments: t.Any, **options: t.Any) -> t.Any:
    module = importlib.import_module(f"ansible_collections.matrixon.ops.plugins.plugin_utils.{PLACES[name]}")
    return getattr(module, name)(*arguments, **options)


class FilterModule:
    """The filters by their names."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return them all."""
        return {name: functools.partial(_call, name) for name in PLACES}
