# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""From an AnsibleModule to an operation and back: the same for every module about backups."""

from __future__ import annotations

import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._backup.options import Options
from ansible_collections.matrixon.ops.plugins.module_utils._backup.outcome import Outcome
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Terminated, terminable
from ansible_collections.matrixon.ops.plugins.module_utils._probe import ProbeFailure

Operation = t.Callable[[Options, bool], Outcome]


def run_module(module: t.Any, operation: Operation) -> None:
    """Run an operation with the module's options, and exit with its outcome.

    SIGTERM ends what runs below, takes back what was half made, and fails.
    """
    try:
        with terminable():
            outcome = operation(module.params, module.check_mode)
    except ProbeFailure as failure:
        module.fail_json(msg=failure.message, error_kind=failure.kind)
    except Terminated as signal:
        module.fail_json(msg=str(signal))
    if outcome.failed:
        module.fail_json(**outcome.result())
    module.exit_json(**outcome.result())
