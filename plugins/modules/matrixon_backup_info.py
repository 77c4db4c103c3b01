#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_backup_info
short_description: What there is to fall back on, and how good it is
version_added: 0.1.0
description:
  - Lists the backup sets of a server, and grades the age of the newest complete and of the newest proven one, damage,
    the continuity and the age of the log's archive, how long a restore would take, and how long the room lasts.
  - It reads manifests, the records of drills and the archive's own listing. No engine is asked for its opinion.
attributes:
  check_mode:
    support: full
    description: It only reads, and does the same in check mode.
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._backup
  - matrixon.ops._backup_pgbackrest
options:
  archive:
    description: Directory that C(pg_receivewal) fills. Left out, C(wal) in the store, if it is there.
    type: path
  verify_shares:
    description:
      - Reads files of all sets again and compares their checksums. V(1) reads everything, V(7) a seventh part, which is
        another one each day, and V(0) nothing.
      - A repository of pgBackRest is read as a whole, on one of so many days.
    type: int
    default: 0
  thresholds:
    description:
      - Seconds from which on a check warns and is critical, by check. Those that are not named keep their defaults.
      - V(complete_age) 26 and 50 hours, V(verified_age) 8 and 15 days, V(archive_age) 10 and 15 minutes,
        V(restore_time) 2 and 4 hours.
    type: dict
    default: {}
  fail_on:
    description: The verdict from which on the module fails.
    type: str
    choices: [never, warning, unknown, critical]
    default: never
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: See what there is to fall back on
  matrixon.ops.matrixon_backup_info:
    root: /var/backups/matrixon
    deployment: example.com
    profile: synapse
    owner: postgres
    thresholds:
      complete_age: {warning: 3600, critical: 7200}
  register: backups
"""

RETURN = r"""
msg:
  description: The verdict in one line.
  returned: always
  type: str
  sample: "critical: 1 of 6 checks is critical; verified_age: no set was ever proven by a drill"
sets:
  description: All sets, the newest first.
  returned: when the options are good
  type: list
  elements: dict
  sample:
    - id: 20261123T021500Z-7f3a
      status: verified
      kind: full
      bytes: 711000000
report:
  description: The report, whose shape is that of C(docs/report.schema.json).
  returned: when the options are good
  type: dict
  sample: {kind: backup_info, status: ok}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._backup import options, overview
from ansible_collections.matrixon.ops.plugins.module_utils._backup.entry import run_module
from ansible_collections.matrixon.ops.plugins.module_utils._report import FAILING


def main():
    module = AnsibleModule(
        argument_spec=dict(
            options.STORE,
            **options.ENGINE,
            archive=dict(type="path"),
            verify_shares=dict(type="int", default=0),
            thresholds=dict(type="dict", default={}),
            fail_on=dict(type="str", choices=list(FAILING), default="never"),
        ),
        supports_check_mode=True,
    )
    run_module(module, overview.run)


if __name__ == "__main__":
    main()
