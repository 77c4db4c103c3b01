# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.

from __future__ import annotations


class ModuleDocFragment:
    """What every module of this collection says of itself."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
  diff_mode:
    description: Can run in C(check_mode) and predict the changed status without modifying the target.
  idempotent:
    description: When run twice with the same arguments outside check mode, the second run reports no change.
  action_group:
    description: Use C(group/matrixon.ops.matrixon) in C(module_defaults) to set defaults for this module.
    support: full
    membership: [matrixon.ops.matrixon]
"""
