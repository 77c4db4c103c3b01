# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.

from __future__ import annotations


class ModuleDocFragment:
    """Which store of backup sets, for every module that works on one. The spec is STORE of _backup/options.py."""

    DOCUMENTATION = r"""
options:
  root:
    description:
      - Directory with all backup sets of this host. Sets lie in C(<root>/<deployment>/<server>/sets).
      - It must not lie in what is backed up.
    type: path
    required: true
  deployment:
    description: Name of the deployment.
    type: str
    required: true
  profile:
    description: Name of the homeserver profile.
    type: str
    required: true
  server:
    description: Name of the server that the sets are of. Left out, this host's name.
    type: str
  owner:
    description:
      - User of the operating system to whom the store belongs, and as whom the tools run.
      - For a database, name the one that its server runs as, such as V(postgres). Left out, the user who runs the
        module.
    type: str
  deadline:
    description: Seconds that the whole run may take.
    type: float
    default: 14400
"""
