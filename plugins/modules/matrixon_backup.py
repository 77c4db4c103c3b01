#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_backup
short_description: Make or remove a backup set
version_added: 0.1.0
description:
  - Puts the database, the media and the configuration of a host away as one immutable set, which appears by rename when
    it is whole. Whatever goes wrong before, the sets that were there stay, and nothing half made counts.
  - A set is complete when it is there, and verified once M(matrixon.ops.matrixon_backup_drill) proved it.
  - The exit status of a tool is not believed alone. The set has the checksums of all of its files, the number of rows
    of every table, and what the server said of itself.
attributes:
  check_mode:
    support: full
    description: Says in RV(plan) what would be made and why, after the same refusals.
  diff_mode:
    support: none
  idempotent:
    support: partial
    description: A named set that is there is held against its checksums and left alone. Without a name each run makes
      a new one.
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._backup
options:
  name:
    description:
      - Name of the set, in small letters. Left out, one is made of the time, such as V(20261123T021500Z-7f3a).
      - Required to remove a set.
    type: str
    default: ""
  state:
    description:
      - V(present) makes the set unless it is there; V(absent) removes it.
      - The last set that a drill has proved is never removed.
      - A set that is held, in use, or needed by another one is not removed. What a set of the driver V(pgbackrest) has
        in the repository goes with it, unless it is the only full backup there.
    type: str
    choices: [present, absent]
    default: present
  server_name:
    description: The Matrix server name, for the manifest.
    type: str
  retention_class:
    description: A word of the operator's own for the set, such as V(before-upgrade).
    type: str
    default: regular
  keep_until:
    description: Time with a zone before which retention does not remove the set, such as V(2027-01-31T00:00:00Z).
    type: str
  database:
    description: The PostgreSQL server to put away.
    type: dict
    suboptions:
      driver:
        description:
          - V(native) copies the whole cluster with C(pg_basebackup). It restores fast, and with an archive of the log
            to any moment.
          - V(logical) dumps every database and the roles with C(pg_dump) of the server's own major version. It is for
            upgrades and for single tables.
          - V(pgbackrest) lets pgBackRest 2.55 or later copy the whole cluster into its repository, on this host or in
            an object store. It copies what changed of a file, and restores to any moment. The server must archive
            its log there, see M(matrixon.ops.matrixon_pgbackrest).
        type: str
        choices: [native, logical, pgbackrest]
        default: native
      kind:
        description:
          - V(full) copies everything, V(incremental) what changed since the newest set, which with V(native) needs
            PostgreSQL 17 and its setting C(summarize_wal).
          - V(auto) takes the incremental one where it can be had and the chain is neither too old nor too long.
        type: str
        choices: [auto, full, incremental]
        default: auto
      full_after:
        description: Days after which V(auto) begins a new chain with a full set.
        type: float
        default: 7
      longest_chain:
        description: Most sets of a chain, the full one among them.
        type: int
        default: 14
      host:
        description: Directory of the server's socket, or its name or address.
        type: str
        default: /var/run/postgresql
      port:
        description: Its port.
        type: int
        default: 5432
      user:
        description: A superuser of the server, or for V(native) a role that may replicate and read all statistics.
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
      archive:
        description:
          - Directory that C(pg_receivewal) fills. Left out, C(wal) in the store, if it is there.
        type: path
      stanza:
        description: Name of the cluster in pgBackRest's configuration. Required for V(pgbackrest).
        type: str
      repository:
        description: Number of the repository in pgBackRest's configuration that the set goes to.
        type: int
        default: 1
      configuration:
        description: Directory of pgBackRest's configuration.
        type: path
        default: /etc/pgbackrest
      jobs:
        description: How many processors compress or dump at the same time.
        type: int
        default: 2
      shrink_percent:
        description:
          - Refuse a copy in which a database has lost more than this part of its rows since the newest set. A copy of
            an emptied server is whole, and would push the good ones out.
        type: float
        default: 30
  media:
    description:
      - The media store to keep. Its files lie in the driver's repository, and the set names the snapshot.
    type: dict
    suboptions:
      driver:
        description:
          - V(restic) encrypts, keeps what is equal once, and takes remote repositories. V(rsync) keeps plain snapshots
            in which unchanged files are hard links.
        type: str
        choices: [restic, rsync]
        default: restic
      path:
        description: The media store.
        type: path
        required: true
      required:
        description: Directories below it that exist nowhere else. C(.) is all of it.
        type: list
        elements: str
        default: [.]
      optional:
        description: Directories below it that could be fetched or made again, and may shrink.
        type: list
        elements: str
        default: []
      repository:
        description:
          - The driver's repository. For V(restic) also an address. Left out, the one that C(RESTIC_REPOSITORY) or
            C(RESTIC_REPOSITORY_FILE) of O(media.environment_file) names, else C(media) in the store.
        type: str
      password_file:
        description: File with the repository's password, readable by its owner only. Required for V(restic).
        type: path
      environment_file:
        description: File with variables for restic, such as the keys of an object store, readable by its owner only.
        type: path
      changes:
        description:
          - Paths, below the media store, of the files that are new since the last set. Then only those are looked at,
            which takes a fraction of the time. A run without it now and then sees what the list forgot.
        type: list
        elements: str
      changes_file:
        description: The same list as a file, with a zero byte behind each path.
        type: path
      shrink_percent:
        description: Refuse if a required directory has lost more than this part of its files since the last full run.
        type: float
        default: 10
      accept_file_system:
        description: The media store was moved to another file system on purpose.
        type: bool
        default: false
      accept_empty:
        description: The media store has no files yet.
        type: bool
        default: false
  config:
    description: Configuration and keys, which are kept encrypted, always.
    type: dict
    suboptions:
      paths:
        description: Files and directories that must be there.
        type: list
        elements: path
        required: true
      optional_paths:
        description: Files and directories that may be absent.
        type: list
        elements: path
        default: []
      recipients:
        description: Public keys of C(age), or of SSH. Whoever has one of the secret keys can read the archive.
        type: list
        elements: str
        required: true
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Put the database away
  matrixon.ops.matrixon_backup:
    root: /var/backups/matrixon
    deployment: example.com
    profile: synapse
    owner: postgres
    database: {}

- name: Put it away once more before an upgrade, as a dump, and keep that
  matrixon.ops.matrixon_backup:
    root: /var/backups/matrixon
    deployment: example.com
    profile: synapse
    owner: postgres
    name: before-1.164
    keep_until: "2027-06-30T00:00:00Z"
    database:
      driver: logical
"""

RETURN = r"""
msg:
  description: The verdict in one line.
  returned: always
  type: str
  sample: "ok: all 6 checks are good"
plan:
  description: What would be done and why, a sentence each.
  returned: in check mode
  type: list
  elements: str
  sample: ["a set under a new id would be made in /var/backups/matrixon/example.com/db1"]
set:
  description: The set that is there now.
  returned: when a set was made or found
  type: dict
  sample:
    id: 20261123T021500Z-7f3a
    path: /var/backups/matrixon/example.com/db1/sets/20261123T021500Z-7f3a
    status: complete
    kind: full
    bytes: 711000000
report:
  description: The report, whose shape is that of C(docs/report.schema.json).
  returned: when the options are good
  type: dict
  sample: {kind: backup, status: ok}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._backup import backup, options
from ansible_collections.matrixon.ops.plugins.module_utils._backup.entry import run_module
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest_settings import DIRECTORY

DATABASE = dict(
    options.CONNECTION,
    driver=dict(type="str", choices=list(options.DRIVERS), default="native"),
    kind=dict(type="str", choices=["auto", "full", "incremental"], default="auto"),
    full_after=dict(type="float", default=7),
    longest_chain=dict(type="int", default=14),
    archive=dict(type="path"),
    stanza=dict(type="str"),
    repository=dict(type="int", default=1),
    configuration=dict(type="path", default=DIRECTORY),
    jobs=dict(type="int", default=2),
    shrink_percent=dict(type="float", default=30),
)
MEDIA = dict(
    options.REPOSITORY,
    driver=dict(type="str", choices=list(options.MEDIA_DRIVERS), default="restic"),
    path=dict(type="path", required=True),
    required=dict(type="list", elements="str", default=["."]),
    optional=dict(type="list", elements="str", default=[]),
    changes=dict(type="list", elements="str"),
    changes_file=dict(type="path"),
    shrink_percent=dict(type="float", default=10),
    accept_file_system=dict(type="bool", default=False),
    accept_empty=dict(type="bool", default=False),
)
CONFIG = dict(
    paths=dict(type="list", elements="path", required=True),
    optional_paths=dict(type="list", elements="path", default=[]),
    recipients=dict(type="list", elements="str", required=True),
)


def main():
    module = AnsibleModule(
        argument_spec=dict(
            options.STORE,
            name=dict(type="str", default=""),
            state=dict(type="str", choices=["present", "absent"], default="present"),
            server_name=dict(type="str"),
            retention_class=dict(type="str", default="regular"),
            keep_until=dict(type="str"),
            database=dict(
                type="dict",
                options=DATABASE,
                required_if=[("driver", options.PGBACKREST, ["stanza"])],
                **options.CONNECTION_RULES,
            ),
            media=dict(type="dict", options=MEDIA, mutually_exclusive=[("changes", "changes_file")]),
            config=dict(type="dict", options=CONFIG),
        ),
        required_if=[("state", "absent", ["name"]), ("state", "present", ["database", "media", "config"], True)],
        supports_check_mode=True,
    )
    if module.params["state"] == "absent" and not module.params["name"]:
        module.fail_json(msg="name: is empty; name the set that is to be removed")
    run_module(module, backup.run)


if __name__ == "__main__":
    main()
