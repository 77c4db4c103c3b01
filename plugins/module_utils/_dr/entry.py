# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""From an AnsibleModule to an operation on the server of a host, and back."""

from __future__ import annotations

import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._backup.entry import Operation
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Terminated, terminable
from ansible_collections.matrixon.ops.plugins.module_utils._probe import ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import FAILING


def act(module: t.Any, operation: Operation) -> None:
    """Run an operation with the module's options, and exit with its outcome. A refusal gives all its reasons."""
    try:
        with terminable():
            outcome = operation(module.params, module.check_mode)
    except ProbeFailure as failure:
        module.fail_json(
            msg=failure.message,
            error_kind=failure.kind,
            reasons=failure.facts.get("reasons", [failure.message]),
        )
    except Terminated as signal:
        module.fail_json(msg=str(signal))
    if outcome.failed:
        module.fail_json(**outcome.result())
    module.exit_json(**outcome.result())


def observe(module: t.Any, operation: Operation) -> None:
    """Do the same for a module that observes: a bad verdict fails only where it was asked to."""
    try:
        with terminable():
            outcome = operation(module.params, module.check_mode)
    except ProbeFailure as failure:
        module.fail_json(msg=failure.message, error_kind=failure.kind)
    except Terminated as signal:
        module.fail_json(msg=str(signal))
    result = outcome.result(module.params["detail"])
    if outcome.report and outcome.report.status in FAILING[module.params["fail_on"]]:
        module.fail_json(**result)
    module.exit_json(**result)
