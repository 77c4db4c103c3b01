# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.

from __future__ import annotations


class ModuleDocFragment:
    """How HTTP is spoken to the servers: HTTPS_SPEC in module_utils/_http.py."""

    DOCUMENTATION = r"""
options:
  connect_to:
    description:
      - Where to connect in the stead of an address, as V(host:port) to V(host:port).
        Names in certificates and Host headers stay as they were.
    type: dict
    default: {}
  ca_file:
    description:
      - PEM file with the certificate authorities to trust in HTTPS. Left out, those of the system are trusted.
    type: path
  validate_certs:
    description:
      - Whether certificates and their names are verified.
    type: bool
    default: true
"""
