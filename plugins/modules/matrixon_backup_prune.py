#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_backup_prune
short_description: Remove the backup sets that a policy lets go
version_added: 0.1.0
description:
  - Decides about every set, says why, and removes those that no rule wants, with the part of the log's archive that no
    set needs that stays.
  - Only verified sets count, those that M(matrixon.ops.matrixon_backup_drill) has proven. The newest verified set and
    its whole chain stay whatever their age; so do sets that are newer, held, or in use.
attributes:
  check_mode:
    support: full
    description: Decides in the same way, and removes nothing.
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._backup
  - matrixon.ops._backup_pgbackrest
options:
  keep_last:
    description: How many of the newest verified sets stay.
    type: int
    default: 0
  keep_daily:
    description: Of how many days that have a verified set the newest stays.
    type: int
    default: 0
  keep_weekly:
    description: Of how many weeks that have a verified set the newest stays.
    type: int
    default: 0
  keep_monthly:
    description: Of how many months that have a verified set the newest stays.
    type: int
    default: 0
  max_age:
    description:
      - Days after which a set goes although a rule wants it, as long as O(min_verified) stay. Left out, no limit.
      - At least one of the rules or this must be given.
    type: float
  min_verified:
    description: How many verified sets stay whatever the other rules say.
    type: int
    default: 2
  archive:
    description: Directory that C(pg_receivewal) fills. Left out, C(wal) in the store, if it is there.
    type: path
  media:
    description:
      - Where the media of the sets are. Then the snapshots go that no set names that stays. Left out, they stay.
    type: dict
    suboptions:
      repository:
        description:
          - The driver's repository. Left out, the one that O(media.environment_file) names, else C(media) in the
            store.
        type: str
      password_file:
        description: File with the repository's password. Required for restic.
        type: path
      environment_file:
        description: File with variables for restic.
        type: path
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Keep a set of each of 7 days and 5 weeks, and none older than 30 days
  matrixon.ops.matrixon_backup_prune:
    root: /var/backups/matrixon
    deployment: example.com
    profile: synapse
    owner: postgres
    keep_daily: 7
    keep_weekly: 4
    max_age: 30
"""

RETURN = r"""
msg:
  description: The verdict in one line.
  returned: always
  type: str
  sample: "ok: all 2 checks are good"
plan:
  description: What happens to every set and why, a sentence each.
  returned: when the policy is good
  type: list
  elements: str
  sample: ["set 20261123T021500Z-7f3a stays: it is the newest verified set, which stays whatever its age"]
decisions:
  description: The same as data.
  returned: when the policy is good
  type: list
  elements: dict
  sample: [{"id": "20261123T021500Z-7f3a", "keep": true, "reasons": ["it is the newest verified set"]}]
removed:
  description: The sets that were removed, or in check mode would be.
  returned: when the policy is good
  type: list
  elements: str
  sample: []
report:
  description: The report, whose shape is that of C(docs/report.schema.json).
  returned: when the options are good
  type: dict
  sample: {kind: backup_prune, status: ok}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._backup import options, prune
from ansible_collections.matrixon.ops.plugins.module_utils._backup.entry import run_module


def main():
    module = AnsibleModule(
        argument_spec=dict(
            options.STORE,
            **options.ENGINE,
            archive=dict(type="path"),
            media=dict(type="dict", options=options.REPOSITORY),
            **prune.RULES,
        ),
        supports_check_mode=True,
    )
    run_module(module, prune.run)


if __name__ == "__main__":
    main()
