# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.

from __future__ import annotations


class ModuleDocFragment:
    """Where the history of capacity is kept. The spec is STORE in module_utils/_capacity/review.py."""

    DOCUMENTATION = r"""
options:
  documents:
    description:
      - Reports of M(matrixon.ops.matrixon_capacity_info), one of each host. The rows are in their facts.
    type: list
    elements: dict
    required: true
  path:
    description:
      - Absolute path of a CSV file with the history. Its directory must be there. Give this or O(postgresql).
    type: path
  postgresql:
    description:
      - A database that keeps the history in the table C(matrixon_capacity.readings), which is read whole.
    type: dict
    suboptions:
      host:
        description: Name, address, or directory of the socket.
        type: str
        default: 127.0.0.1
      port:
        description: Port of the server.
        type: int
        default: 5432
      database:
        description: Name of the database. Not that of the homeserver, which a restore takes back.
        type: str
        required: true
      user:
        description: User to log in as, who may read and add to the table.
        type: str
        required: true
      password:
        description: Password of O(postgresql.user).
        type: str
      sslmode:
        description: How much TLS is insisted on.
        type: str
        choices: [disable, allow, prefer, require, verify-ca, verify-full]
        default: prefer
      ca_file:
        description: PEM file with the authorities to trust.
        type: path
  create:
    description:
      - Whether schema and table may be made where they are not there. A CSV file always may.
    type: bool
    default: false
  deadline:
    description:
      - Seconds after which the module gives up.
    type: float
    default: 60
"""
