# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.

from __future__ import annotations


class ModuleDocFragment:
    """Where sets of pgBackRest are read, for every module that does. The spec is ENGINE of _backup/options.py."""

    DOCUMENTATION = r"""
options:
  pgbackrest:
    description: Where this host finds what pgBackRest keeps for sets of that driver. Other sets do not ask for it.
    type: dict
    suboptions:
      configuration:
        description: Directory of pgBackRest's configuration.
        type: path
        default: /etc/pgbackrest
      repository:
        description:
          - Number of the repository in that configuration, where it is another one than on the host that made the
            sets. Left out, the one that each set names.
        type: int
"""
