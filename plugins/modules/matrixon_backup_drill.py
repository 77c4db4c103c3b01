#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_backup_drill
short_description: Prove a backup set by restoring it
version_added: 0.1.0
description:
  - Reads every file of a set and of its chain again, restores its database into a scratch cluster that only a private
    socket leads to, lets it recover, and holds it against what the set recorded.
  - Looked at are the timeline and the position in the log at which recovery ended, locale and system identifier, the
    rows of every table, every index against its table (C(pg_amcheck --heapallindexed)), the checksums of all pages,
    and the questions of O(queries).
  - What was found is written beside the set. A set is verified when its newest drill went well.
  - At the end, however it comes, nothing of the scratch cluster runs, and nothing of it is left but O(copy).
attributes:
  check_mode:
    support: full
    description: Says in RV(plan) which sets would be proven.
  diff_mode:
    support: none
  idempotent:
    support: none
    description: Each run proves the set once more. With O(set=unproven) only those that no drill has proven.
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._backup
  - matrixon.ops._backup_pgbackrest
options:
  set:
    description:
      - Which set. V(latest) is the newest complete one, V(unproven) all that no drill has proven yet.
    type: str
    default: latest
  scratch:
    description:
      - Directory for the scratch cluster, absent or empty. It needs room for the whole database.
      - Left out, C(scratch) in the store.
    type: path
  copy:
    description:
      - Directory in which the restored cluster is kept, absent, empty or made by this option before. The next drill
        then writes only what differs. It takes as much room as the database, for good.
      - Only sets of pgBackRest can be brought back like that.
    type: path
  archive:
    description: Directory that C(pg_receivewal) fills. Left out, C(wal) in the store, if it is there.
    type: path
  queries:
    description:
      - Questions to the restored copy, in read-only transactions. Each must yield one value that is not null.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: A word for it.
        type: str
        required: true
      database:
        description: The database to ask.
        type: str
        required: true
      sql:
        description: The question.
        type: str
        required: true
      meaning:
        description: What the value says, in words.
        type: str
  media:
    description:
      - Where the media of the set are. From there the sample of the set is brought back and compared by hash.
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
  media_shares:
    description: Into how many shares the media's repository is divided, of which each day's drill reads another one.
    type: int
    default: 7
  identity_file:
    description:
      - File with a secret key of C(age), with which the archive of the configuration is opened and compared. Without it
        only its outside is looked at.
    type: path
  jobs:
    description: How many processes read tables and indexes at the same time.
    type: int
    default: 2
  fail_on:
    description: The verdict from which on the module fails. The record is written before.
    type: str
    choices: [never, warning, unknown, critical]
    default: unknown
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Prove the newest set
  matrixon.ops.matrixon_backup_drill:
    root: /var/backups/matrixon
    deployment: example.com
    profile: synapse
    owner: postgres
    queries:
      - {name: schema, database: synapse, sql: SELECT version FROM schema_version, meaning: Synapse's schema}
"""

RETURN = r"""
msg:
  description: The verdict in one line.
  returned: always
  type: str
  sample: "ok: all 13 checks are good"
plan:
  description: Which sets would be proven.
  returned: in check mode
  type: list
  elements: str
  sample: ["set 20261123T021500Z-7f3a would be restored in /var/backups/matrixon/example.com/db1/scratch and proven"]
sets:
  description: The sets that were looked at.
  returned: when the options are good
  type: list
  elements: str
  sample: ["20261123T021500Z-7f3a"]
report:
  description: The report, whose shape is that of C(docs/report.schema.json).
  returned: when the options are good
  type: dict
  sample: {kind: drill, status: ok}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._backup import options, prove
from ansible_collections.matrixon.ops.plugins.module_utils._backup.entry import run_module
from ansible_collections.matrixon.ops.plugins.module_utils._report import FAILING


def main():
    query = dict(
        name=dict(type="str", required=True),
        database=dict(type="str", required=True),
        sql=dict(type="str", required=True),
        meaning=dict(type="str"),
    )
    module = AnsibleModule(
        argument_spec=dict(
            options.STORE,
            **options.ENGINE,
            set=dict(type="str", default="latest"),
            scratch=dict(type="path"),
            copy=dict(type="path"),
            archive=dict(type="path"),
            queries=dict(type="list", elements="dict", options=query, default=[]),
            media=dict(type="dict", options=options.REPOSITORY),
            media_shares=dict(type="int", default=7),
            identity_file=dict(type="path"),
            jobs=dict(type="int", default=2),
            fail_on=dict(type="str", choices=list(FAILING), default="unknown"),
        ),
        supports_check_mode=True,
    )
    run_module(module, prove.run)


if __name__ == "__main__":
    main()
