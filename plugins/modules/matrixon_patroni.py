#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_patroni
short_description: Have Patroni promote a standby cluster, change its leader, or follow another cluster
version_added: 0.1.0
description:
  - Drives the REST API of Patroni, which holds the leader's lock. Who promotes a server around it is demoted again, or
    makes two primaries.
  - What stands in the way is refused with all reasons at once, before Patroni is told anything. That Patroni has taken
    an order is no proof. The module waits until the members themselves say that it is so.
  - Questions need no password, and go to the API of each member at the address that the cluster knows of it. Orders,
    with the password, go to O(url) alone.
notes:
  - It needs nothing beyond Python's standard library on the host that asks.
  - It does not fence another cluster. Do that before V(promoted).
author:
  - The matrixon.ops authors (@matrixon)
extends_documentation_fragment:
  - matrixon.ops._attributes
attributes:
  check_mode:
    support: full
    details:
      - Says in RV(plan) what would be done, and refuses what is refused otherwise. To see that the user and the
        password are good, it has Patroni remove a setting that does not exist, which changes nothing.
  diff_mode:
    support: none
  idempotent:
    support: full
    details:
      - A cluster that is so already is only proven again. For V(promoted) that needs O(from_timeline).
options:
  state:
    description:
      - V(read) says what the cluster is.
      - V(promoted) makes a standby cluster a primary one. O(url) must be the API of its leader, and that must be a
        primary on a later timeline in the end.
      - V(switchover) makes O(candidate) the leader. The old leader must stream from it in the end.
      - V(standby) makes a cluster the standby of O(primary). Patroni rewinds it, if it is set up to do so, and its
        leader must have replayed what O(until_lsn) and O(timeline) name. What is not on O(primary) is given up.
    type: str
    choices: [read, promoted, switchover, standby]
    default: read
  url:
    description: Where the API of the member of this host listens. HTTPS is needed where there is a password.
    type: str
    required: true
  user:
    description: User of the API. Empty for one that asks for none.
    type: str
    default: ""
  password:
    description: Password of this user.
    type: str
    default: ""
  ca_file:
    description: PEM file with the authorities to trust. Left out, those of the system are trusted.
    type: path
  timeout:
    description: Seconds for all of it.
    type: float
    default: 60
  system_identifier:
    description: Which cluster it must be, as the control file and the witness have it.
    type: str
  from_timeline:
    description:
      - The timeline that a standby cluster must be on to be V(promoted). A primary cluster on a later one counts as
        promoted.
      - Left out, a primary cluster is refused.
    type: int
  candidate:
    description: Name of the member that is to lead, for O(state=switchover).
    type: str
  leader:
    description:
      - Name of the member that leads now, for O(state=switchover). Another one is refused.
      - With it a second run proves again that this member follows O(candidate).
    type: str
  primary:
    description: The server that is followed, for O(state=standby). The leader of the other cluster.
    type: dict
    suboptions:
      host:
        description: Its name or address.
        type: str
        required: true
      port:
        description: Its port.
        type: int
        default: 5432
      slot:
        description: Name of the replication slot there. Left out, none is used.
        type: str
        default: ""
  until_lsn:
    description:
      - Position of the log of O(primary) that the leader must have replayed, for O(state=standby). It must be behind
        all that the cluster itself has written, or it would show nothing.
      - Of a cluster that follows O(primary) already that is not known any more. Then have
        M(matrixon.ops.matrixon_standby_info) see a row of M(matrixon.ops.matrixon_marker) there.
    type: str
  timeline:
    description:
      - The timeline that O(primary) is on, and the leader must replay, for O(state=standby).
      - A primary that is on it or a later one is refused. Patroni goes by the numbers of timelines, and would not
        rewind a cluster that came to the same number by itself, such as an old primary that was started again.
    type: int
  target:
    description: How the report calls the cluster. Defaults to its own name.
    type: str
  deployment:
    description: Name of the deployment, for the report.
    type: str
    required: true
  profile:
    description: Name of the homeserver profile, for the report.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: See what the cluster is
  matrixon.ops.matrixon_patroni:
    deployment: example
    profile: synapse
    url: https://10.20.0.31:8008
  register: patroni

- name: Make the cluster of this region a primary one
  matrixon.ops.matrixon_patroni:
    deployment: example
    profile: synapse
    state: promoted
    url: https://10.20.0.31:8008
    user: patroni
    password: "{{ patroni_password }}"
    ca_file: /etc/ssl/matrixon/ca.pem
    from_timeline: "{{ heartbeat.timeline }}"

- name: Let another member lead
  matrixon.ops.matrixon_patroni:
    deployment: example
    profile: synapse
    state: switchover
    url: https://10.20.0.31:8008
    user: patroni
    password: "{{ patroni_password }}"
    leader: db1
    candidate: db2

- name: Let the old cluster follow the new one
  matrixon.ops.matrixon_patroni:
    deployment: example
    profile: synapse
    state: standby
    url: https://10.10.0.31:8008
    user: patroni
    password: "{{ patroni_password }}"
    primary:
      host: 10.20.0.31
      slot: region_one
    until_lsn: "{{ marker.lsn }}"
    timeline: "{{ marker.timeline }}"
"""

RETURN = r"""
msg:
  description: What was done and seen, or why it was refused.
  returned: always
  type: str
  sample: db3 is primary, running, on timeline 2, and came from timeline 1
reasons:
  description: All reasons for which it was refused or failed. Empty if it did not.
  returned: always
  type: list
  elements: str
  sample: []
error_kind:
  description: Of which kind the failure is.
  returned: failure
  type: str
  sample: refused
plan:
  description: What would be done.
  returned: in check mode
  type: list
  elements: str
  sample: [wait until the leader is a primary]
cluster:
  description:
    - The cluster as it was seen last. C(member) is whose API was asked. C(standby_cluster) is whether it follows
      another one, which C(primary) names. Of a member, C(lag_bytes) is what its leader knows of, C(role) and C(state)
      what the cluster has of it, C(own_role), C(replication) and C(replay_paused) what it says of itself, or C(error)
      why it does not.
  returned: when the API answered, and nothing was refused
  type: dict
  sample:
    scope: two
    version: 4.1.5
    member: db3
    system_identifier: "7577196071415013215"
    paused: false
    standby_cluster: true
    primary: {host: 10.10.0.31, port: 5432, primary_slot_name: region_two}
    leader: db3
    timeline: 1
    members:
      - name: db3
        role: standby_leader
        state: streaming
        api_url: https://10.20.0.31:8008/patroni
        host: 10.20.0.31
        port: 5432
        timeline: 1
        lag_bytes: null
        own_role: standby_leader
        replication: streaming
        replay_paused: false
        error: null
report:
  description: The report, of the kind V(patroni), with a check of the leader and one of each member.
  returned: when the API answered, and nothing was refused, but not in check mode for other states than V(read)
  type: dict
  sample: {schema: matrixon.ops/report/1, kind: patroni, status: ok}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._dr import patroni
from ansible_collections.matrixon.ops.plugins.module_utils._dr.entry import act


def argument_spec():
    """Return the options."""
    return dict(
        state=dict(
            type="str",
            choices=[patroni.READ, patroni.PROMOTED, patroni.SWITCHOVER, patroni.STANDBY],
            default=patroni.READ,
        ),
        url=dict(type="str", required=True),
        user=dict(type="str", default=""),
        password=dict(type="str", default="", no_log=True),
        ca_file=dict(type="path"),
        timeout=dict(type="float", default=60),
        system_identifier=dict(type="str"),
        from_timeline=dict(type="int"),
        candidate=dict(type="str"),
        leader=dict(type="str"),
        primary=dict(
            type="dict",
            options=dict(
                host=dict(type="str", required=True),
                port=dict(type="int", default=5432),
                slot=dict(type="str", default=""),
            ),
        ),
        until_lsn=dict(type="str"),
        timeline=dict(type="int"),
        target=dict(type="str"),
        deployment=dict(type="str", required=True),
        profile=dict(type="str", required=True),
    )


def main():
    module = AnsibleModule(
        argument_spec=argument_spec(),
        required_if=[
            ("state", patroni.SWITCHOVER, ["candidate"]),
            ("state", patroni.STANDBY, ["primary", "until_lsn", "timeline"]),
        ],
        supports_check_mode=True,
    )
    act(module, patroni.run)


if __name__ == "__main__":
    main()
