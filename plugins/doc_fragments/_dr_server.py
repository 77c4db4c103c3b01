# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.

from __future__ import annotations


class ModuleDocFragment:
    """Which server of the host, for every module that works on it there. The spec is SERVER of _dr/server.py."""

    DOCUMENTATION = r"""
options:
  version:
    description: The major version, to find Debian's place of the cluster. V(0) stands for the one that the distribution
      brings.
    type: int
    default: 0
  cluster:
    description: Name of the cluster, in Debian's sense.
    type: str
    default: main
  data_directory:
    description: Where the data lies. Left out, it is what Debian's configuration of the cluster says.
    type: path
  bin_directory:
    description: Directory with the server's own tools. Left out, it is the distribution's place of the major version
      that the data has.
    type: path
  socket_directory:
    description: Directory of the server's socket.
    type: path
    default: /var/run/postgresql
  port:
    description: Port that the socket is named after.
    type: int
    default: 5432
  owner:
    description: User of the operating system that the server runs as. Its tools are run as this user.
    type: str
    default: postgres
  user:
    description: A superuser of the server, as whom O(owner) may log in at the socket.
    type: str
    default: postgres
  deadline:
    description: Seconds that the whole run may take.
    type: float
    default: 60
"""
