# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.

from __future__ import annotations


class ModuleDocFragment:
    """How a caller chooses among declared checks: CHECKS_SPEC in module_utils/_health/options.py."""

    DOCUMENTATION = r"""
options:
  checks:
    description:
      - Names of the checks to run. Left out, every check that the other options call for runs.
    type: list
    elements: str
  skip_checks:
    description:
      - Checks that are not to run, each with the reason. They stand in the report as V(skipped) with it.
    type: dict
    default: {}
  thresholds:
    description:
      - Thresholds by check, each with V(warning), V(critical) or both, in the check's unit.
      - A level that is not given keeps the check's default. V(null) switches a level off.
    type: dict
    default: {}
"""
