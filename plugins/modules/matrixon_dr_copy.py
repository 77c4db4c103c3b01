#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_dr_copy
short_description: A copy of this host's database, to rehearse a failover on
version_added: 0.1.0
description:
  - Takes a copy of the server of this host with C(pg_basebackup), or restores one of its backup sets, and opens it as a
    standby that follows nobody, archives nothing and has little claim on the host.
    M(matrixon.ops.matrixon_promote) can then promote it, as it would the real one.
  - The server itself is only asked. It is neither stopped nor told anything.
  - The copy ends by itself after O(open_seconds), and is removed by O(state=absent). What a drill left that was killed
    is removed by the next one.
  - Needs root, for the copy runs under a unit of systemd.
author:
  - The matrixon.ops authors (@matrixon)
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._dr_server
attributes:
  check_mode:
    support: full
    details:
      - Says in RV(plan) what would be done. Everything is refused that is refused otherwise.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - O(state=present) takes a new copy each time. O(state=absent) has nothing to do a second time.
options:
  state:
    description:
      - V(present) takes a copy and opens it, V(absent) removes it.
      - V(looked) says why no copy could be taken, all reasons at once, and does nothing.
      - V(checked) reads the rows, the tables and the indexes of a copy that was promoted.
    type: str
    choices: [present, absent, looked, checked]
    default: present
  directory:
    description: Directory for the copy. It must not be there, be empty, or have been made by an earlier drill.
    type: path
    default: /var/lib/postgresql/matrixon-drill
  accept_primary:
    description: Whether a primary may be copied. That reads all of it while it serves.
    type: bool
    default: false
  backup:
    description:
      - Restores this set in the place of a copy of the server, recovered and held against its manifest as
        M(matrixon.ops.matrixon_restore) does it.
      - What is restored is refused if it is of another database than the one of this host.
    type: dict
    suboptions:
      root:
        description: Directory below which backup sets are kept.
        type: path
        required: true
      deployment:
        description: Deployment that the sets are of.
        type: str
        required: true
      profile:
        description: Its profile.
        type: str
        required: true
      server:
        description: Server that the sets are of.
        type: str
        required: true
      set:
        description: Which set. V(latest) is the newest complete one.
        type: str
        default: latest
      target:
        description: To which moment, as for M(matrixon.ops.matrixon_restore).
        type: str
        default: latest
      archive:
        description: Directory that C(pg_receivewal) fills. Left out, C(wal) in the store, if it is there.
        type: path
      accept_unverified:
        description: Id of a set that no drill has proven and that is wanted none the less.
        type: str
        default: ""
      pgbackrest:
        description: Where this host finds what pgBackRest keeps for sets of that driver. Other sets do not ask for it.
        type: dict
        suboptions:
          configuration:
            description: Directory of pgBackRest's configuration.
            type: path
            default: /etc/pgbackrest
          repository:
            description: Number of the repository in that configuration. Left out, the one that each set names.
            type: int
  max_rate:
    description: How much may be copied in a second, in kB. V(0) is no limit.
    type: int
    default: 0
  checkpoint:
    description: Whether the checkpoint with which a copy begins is made at once, or spread over time.
    type: str
    choices: [fast, spread]
    default: spread
  open_seconds:
    description: Seconds after which the copy ends by itself.
    type: float
    default: 1800
  memory_max:
    description: How much memory the copy may take, such as V(2G). Empty is no limit.
    type: str
    default: ""
  listen_address:
    description: An address of this host at which the copy listens. Left out, only its socket leads to it.
    type: str
  listen_port:
    description: The port there.
    type: int
    default: 5499
  admit:
    description: Who may come there, with the password that the database has for it.
    type: list
    elements: dict
    default: []
    suboptions:
      database:
        description: The database.
        type: str
        required: true
      user:
        description: The login.
        type: str
        required: true
      address:
        description: The address from which it comes.
        type: str
        required: true
  amcheck:
    description: Whether V(checked) lets C(pg_amcheck) look through all tables and indexes, too.
    type: bool
    default: true
  jobs:
    description: How many processes do that.
    type: int
    default: 1
  run:
    description: The RV(run) that O(state=present) returned, for the calls that follow it.
    type: str
    default: ""
  forget:
    description: When the drill began that died and whose copy is to be removed, as the refusal says.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Take a copy that only its socket leads to
  matrixon.ops.matrixon_dr_copy:
    max_rate: 50000
    deadline: 3600
  register: drill

- name: Remove it
  matrixon.ops.matrixon_dr_copy:
    state: absent
    run: "{{ drill.run }}"
"""

RETURN = r"""
msg:
  description: What was done, or why it was refused.
  returned: always
  type: str
  sample: 1.2 GB were copied in 14.2 s, and the copy is open
reasons:
  description: All reasons for which no copy can be taken.
  returned: with O(state=looked), or when it was refused
  type: list
  elements: str
  sample: ["listen_port: 5499 of 192.0.2.32 is in use; name another one"]
plan:
  description: What would be done.
  returned: in check mode
  type: list
  elements: str
  sample: [copy 1.2 GB of the server's data to /var/lib/postgresql/matrixon-drill/data]
production:
  description: The server of this host, with C(pid), C(started), C(in_recovery), C(receiver) and C(replay_lsn).
  returned: success
  type: dict
  sample: {pid: 812, started: "2026-11-27T12:00:00.000Z", in_recovery: true, receiver: streaming}
place:
  description: Where the copy is, as M(matrixon.ops.matrixon_promote) takes it, its C(bytes), and how long it took.
  returned: when it was taken
  type: dict
  sample: {data_directory: /var/lib/postgresql/matrixon-drill/data, socket_directory: /run/matrixon-drill-postgresql,
           port: 5432, bytes: 1200000000, copy_seconds: 14.2, open_seconds: 1.1}
run:
  description: Names this drill for the calls that follow.
  returned: when a copy was taken
  type: str
  sample: "2026-11-27T12:00:00.000Z"
checks:
  description: >-
    What reading the copy showed, or restoring it, each with C(name), C(status), C(message) and C(duration_ms).
  returned: with O(state=checked) and O(state=present)
  type: list
  elements: dict
  sample: [{name: drill_rows, status: ok, message: 5123 rows of 160 tables were read, duration_ms: 300}]
removed:
  description: What was there and was removed.
  returned: when something was to be removed
  type: list
  elements: str
  sample: ["the directory /var/lib/postgresql/matrixon-drill"]
needed_bytes:
  description: Room that must be free, for the copy and for the server that goes on.
  returned: with O(state=looked) and O(state=present)
  type: int
  sample: 2400000000
room_bytes:
  description: Room that is free.
  returned: with O(state=looked) and O(state=present)
  type: int
  sample: 50000000000
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._backup.options import ENGINE
from ansible_collections.matrixon.ops.plugins.module_utils._dr import copy
from ansible_collections.matrixon.ops.plugins.module_utils._dr.entry import act
from ansible_collections.matrixon.ops.plugins.module_utils._dr.server import SERVER

BACKUP = dict(
    root=dict(type="path", required=True),
    deployment=dict(type="str", required=True),
    profile=dict(type="str", required=True),
    server=dict(type="str", required=True),
    set=dict(type="str", default="latest"),
    target=dict(type="str", default="latest"),
    archive=dict(type="path"),
    accept_unverified=dict(type="str", default=""),
    **ENGINE,
)


def argument_spec():
    """Return the options."""
    admitted = dict(
        database=dict(type="str", required=True),
        user=dict(type="str", required=True),
        address=dict(type="str", required=True),
    )
    return dict(
        SERVER,
        state=dict(type="str", choices=[copy.PRESENT, copy.ABSENT, copy.LOOKED, copy.CHECKED], default=copy.PRESENT),
        directory=dict(type="path", default="/var/lib/postgresql/matrixon-drill"),
        accept_primary=dict(type="bool", default=False),
        backup=dict(type="dict", options=BACKUP),
        max_rate=dict(type="int", default=0),
        checkpoint=dict(type="str", choices=["fast", "spread"], default="spread"),
        open_seconds=dict(type="float", default=1800),
        memory_max=dict(type="str", default=""),
        listen_address=dict(type="str"),
        listen_port=dict(type="int", default=5499),
        admit=dict(type="list", elements="dict", options=admitted, default=[]),
        amcheck=dict(type="bool", default=True),
        jobs=dict(type="int", default=1),
        run=dict(type="str", default=""),
        forget=dict(type="str", default=""),
    )


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    act(module, copy.run)


if __name__ == "__main__":
    main()
