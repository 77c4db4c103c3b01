# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.

from __future__ import annotations


class ModuleDocFragment:
    """How to log in at PostgreSQL, where a module asks for nothing more: the LOGIN and PASSWORD_FILE specs of
    module_utils/_postgresql.py. The module itself describes the option, and says what the user must be allowed to do.
    Where other suboptions stand beside these, as in matrixon_health, a fragment cannot be used: Ansible does not merge
    suboptions.
    """

    DOCUMENTATION = r"""
options:
  postgresql:
    type: dict
    suboptions:
      host:
        description: Name, address or socket directory of the server.
        type: str
        default: 127.0.0.1
      port:
        description: Port to connect to.
        type: int
        default: 5432
      database:
        description: Name of the database.
        type: str
        required: true
      user:
        description: User to log in as.
        type: str
        required: true
      password:
        description: Password to log in with.
        type: str
      password_file:
        description: File on the target that holds the password.
        type: path
      sslmode:
        description: How to use TLS, in the words of libpq.
        type: str
        choices: [disable, allow, prefer, require, verify-ca, verify-full]
        default: prefer
      ca_file:
        description: PEM file with the certificate authorities to trust.
        type: path
"""
