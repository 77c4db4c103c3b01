#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_restore
short_description: Bring a backup set back, beside what is in use
version_added: 0.1.0
description:
  - Restores a database to a new place, lets it recover to a moment under its own eyes, holds it against what was
    planned, and stops it again. What is ready there starts like any other data directory.
  - Media are brought back with their owners and times, and a sample of them is compared by hash.
  - Whether the moment can be reached is found out before a byte is written. A hole in the log ends recovery early, and
    PostgreSQL calls that success; this module does not.
  - Nothing that is there is touched. M(matrixon.ops.matrixon_swap) lets the new directory take the old one's place.
attributes:
  check_mode:
    support: full
    description: Does everything that can refuse, and says in RV(plan) what would be built.
  diff_mode:
    support: none
  idempotent:
    support: none
    description: The directory must be absent or empty, so a second run refuses.
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._backup
  - matrixon.ops._backup_pgbackrest
options:
  component:
    description: What of the set is restored.
    type: str
    choices: [database, media, config]
    default: database
  directory:
    description: Where it is to be. Absent or empty, on a file system with room for all of it.
    type: path
    required: true
  set:
    description: Which set. V(latest) is the newest complete one.
    type: str
    default: latest
  target:
    description:
      - V(immediate) is the end of the set itself, V(latest) the end of what the archive holds.
      - Otherwise a time with a zone, such as V(2026-11-23T02:15:00Z), or a position of the log, such as V(16/B374D848).
    type: str
    default: latest
  timeline:
    description: The timeline to follow. Left out, the newest one that the archive knows.
    type: int
  archive:
    description: Directory that C(pg_receivewal) fills. Left out, C(wal) in the store, if it is there.
    type: path
  media:
    description: Where the media of the set are.
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
  identity_file:
    description: File with a secret key of C(age). Required for the configuration.
    type: path
  accept_unverified:
    description: Id of a set that no drill has proven and that is wanted none the less.
    type: str
    default: ""
  queries:
    description: Questions that the copy must answer with one value, which is returned in the report's facts.
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
  slot:
    description:
      - Physical replication slot to make in the copy, so that its log is kept from the first byte on for a receiver.
        Only for V(component=database), and no dump.
    type: str
  truncate:
    description:
      - Tables to empty in the copy before anybody can use it, because what is in them must not be used a second time.
      - For Synapse that is V(e2e_one_time_keys_json).
    type: list
    elements: dict
    default: []
    suboptions:
      database:
        description: The database.
        type: str
        required: true
      tables:
        description: Its tables.
        type: list
        elements: str
        required: true
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Bring back what there was a second before the mistake
  matrixon.ops.matrixon_restore:
    root: /var/backups/matrixon
    deployment: example.com
    profile: synapse
    owner: postgres
    directory: /var/lib/postgresql/17/main.restored
    target: "2026-11-23T14:31:07Z"
    truncate:
      - {database: synapse, tables: [e2e_one_time_keys_json]}
"""

RETURN = r"""
msg:
  description: The verdict in one line.
  returned: always
  type: str
  sample: "ok: all 9 checks are good"
plan:
  description: What would be built.
  returned: in check mode
  type: list
  elements: str
  sample: ["set 20261123T021500Z-7f3a would be restored to the end of the archive in /srv/restored"]
directory:
  description: The data directory that is ready.
  returned: when it was built
  type: str
  sample: /var/lib/postgresql/17/main.restored
report:
  description: The report, whose shape is that of C(docs/report.schema.json).
  returned: when the options are good
  type: dict
  sample: {kind: restore, status: ok}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._backup import options, rebuild
from ansible_collections.matrixon.ops.plugins.module_utils._backup.entry import run_module


def main():
    query = dict(
        name=dict(type="str", required=True),
        database=dict(type="str", required=True),
        sql=dict(type="str", required=True),
    )
    truncate = dict(
        database=dict(type="str", required=True),
        tables=dict(type="list", elements="str", required=True),
    )
    module = AnsibleModule(
        argument_spec=dict(
            options.STORE,
            **options.ENGINE,
            component=dict(type="str", choices=["database", "media", "config"], default="database"),
            directory=dict(type="path", required=True),
            media=dict(type="dict", options=options.REPOSITORY),
            identity_file=dict(type="path"),
            set=dict(type="str", default="latest"),
            target=dict(type="str", default="latest"),
            timeline=dict(type="int"),
            archive=dict(type="path"),
            accept_unverified=dict(type="str", default=""),
            queries=dict(type="list", elements="dict", options=query, default=[]),
            truncate=dict(type="list", elements="dict", options=truncate, default=[]),
            slot=dict(type="str"),
        ),
        supports_check_mode=True,
    )
    run_module(module, rebuild.run)


if __name__ == "__main__":
    main()
