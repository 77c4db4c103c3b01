#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_archive_follow
short_description: Keep an archive of PostgreSQL's log to the history of its server
version_added: 0.1.0
description:
  - C(pg_receivewal) goes on behind the highest segment of its directory. After a restore to a moment in the past
    that is one of a branch that the server has left, which the server does not send on, and nothing would be received.
  - This sets such segments aside, in a directory C(aside) below the archive, and brings them back once the server is on
    their branch again. Nothing is removed.
  - Where the server has not kept what the receiver would ask for next, it marks with an empty segment from where on the
    server has the log. Then the archive has a hole, and a new set is needed.
  - Restart the receiver where this changed something.
requirements:
  - psql on the host
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - matrixon.ops._attributes
options:
  path:
    description: Directory that C(pg_receivewal) fills.
    type: path
    required: true
  slot:
    description:
      - Physical replication slot with which the server keeps the log for the receiver. It is made where it is missing,
        and anew where the server gave it up, because it would have had to keep too much.
      - Left out, no slot is looked at.
    type: str
  owner:
    description: User of the operating system as whom psql runs. Left out, the user who runs the module.
    type: str
  host:
    description: Directory of the server's socket, or its name or address.
    type: str
    default: /var/run/postgresql
  port:
    description: Its port.
    type: int
    default: 5432
  user:
    description: A superuser of the server.
    type: str
    default: postgres
  password:
    description: Its password, where the server asks for one.
    type: str
  password_file:
    description: File that holds the password.
    type: path
  sslmode:
    description: How TLS is spoken, in libpq's words.
    type: str
    choices: [disable, allow, prefer, require, verify-ca, verify-full]
    default: prefer
  ca_file:
    description: PEM file with the authorities to trust.
    type: path
  deadline:
    description: Seconds that the whole run may take.
    type: float
    default: 60
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Let the archive follow the server to its new history
  matrixon.ops.matrixon_archive_follow:
    path: /var/backups/matrixon/example/db1/wal
    slot: matrixon_backup
    owner: postgres
"""

RETURN = r"""
msg:
  description: What was done.
  returned: always
  type: str
  sample: >-
    the server is on timeline 2; set aside 3 segments of a branch that the server has left, 000000010000000000000007
    the first
timeline:
  description: The timeline that the server is on.
  returned: success
  type: int
  sample: 2
set_aside:
  description: Names of the files that were set aside.
  returned: success
  type: list
  elements: str
  sample: ["000000010000000000000007"]
hole_before:
  description: The segment from which on the server has kept the log, if that is not where the archive ends.
  returned: success
  type: str
  sample: 00000001000000000000002A
brought_back:
  description: Names of the files that came back.
  returned: success
  type: list
  elements: str
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._backup import follow
from ansible_collections.matrixon.ops.plugins.module_utils._backup import options as shared
from ansible_collections.matrixon.ops.plugins.module_utils._backup.entry import run_module


def main():
    module = AnsibleModule(
        argument_spec=dict(
            shared.CONNECTION,
            path=dict(type="path", required=True),
            slot=dict(type="str"),
            owner=dict(type="str"),
            deadline=dict(type="float", default=60),
        ),
        supports_check_mode=True,
        **shared.CONNECTION_RULES,
    )
    run_module(module, follow.run)


if __name__ == "__main__":
    main()
