#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_witness
short_description: Ask the witness which region serves, or tell it
version_added: 0.1.0
description:
  - The witness is an etcd outside of both regions. It keeps a record of the region that may serve, and what the guards
    of the role C(dr_guard) say, such as how far the log of the primary has come.
  - The record is only changed if it still is the one that the caller has seen. Of two who claim at once one is refused.
  - It is asked through etcd's JSON gateway by HTTPS. It can be asked from any host that reaches it.
notes:
  - It needs nothing beyond Python's standard library on the host that asks.
  - Claim a region before its database is promoted. Its guard stops a database that serves without the record's leave.
attributes:
  check_mode:
    support: full
    description: Nothing is written, and the result says what would be.
  diff_mode:
    support: full
    description: Shows the record before and after.
  platform:
    support: full
    description: It works on hosts of this kind.
    platforms: posix
options:
  state:
    description:
      - V(read) returns what the witness knows.
      - V(claimed) says which region may serve from now on.
    type: str
    choices: [read, claimed]
    default: read
  endpoints:
    description: Addresses of the members, as HTTPS URLs. They are tried in turn.
    type: list
    elements: str
    required: true
  user:
    description: Name of the user who may read and write what is kept of the deployment.
    type: str
    required: true
  password:
    description: Password of this user.
    type: str
    required: true
  ca_file:
    description: PEM file with the authorities to trust. Left out, those of the system are trusted.
    type: path
  server_name:
    description: The deployment's server name, under which its keys are kept.
    type: str
    required: true
  timeout:
    description: Seconds for all of it.
    type: float
    default: 10
  region:
    description: The region that may serve, for O(state=claimed). Empty means that nobody may.
    type: str
  system_identifier:
    description: System identifier of the cluster that serves, for O(state=claimed).
    type: str
  timeline:
    description: Timeline of the cluster that serves, for O(state=claimed).
    type: int
  by:
    description: Who claims, for those who read the record later.
    type: str
    default: ansible
  expected_epoch:
    description:
      - The epoch of the record that is to be replaced, for O(state=claimed). V(0) means that there must be no record.
      - If the record says already what is asked for, the epoch is not looked at.
    type: int
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Ask who serves, and how far the log of the primary had come
  matrixon.ops.matrixon_witness:
    endpoints: [https://witness.example.org:2379]
    user: example.org
    password: "{{ witness_password }}"
    ca_file: /etc/ssl/matrixon/ca.pem
    server_name: example.org
  register: witness

- name: Let nobody serve
  matrixon.ops.matrixon_witness:
    state: claimed
    endpoints: [https://witness.example.org:2379]
    user: example.org
    password: "{{ witness_password }}"
    ca_file: /etc/ssl/matrixon/ca.pem
    server_name: example.org
    region: ""
    system_identifier: "{{ witness.record.system_identifier }}"
    timeline: "{{ witness.record.timeline }}"
    by: a failover
    expected_epoch: "{{ witness.record.epoch }}"
"""

RETURN = r"""
msg:
  description: Who may serve, in one line.
  type: str
  returned: always
  sample: region one is the primary since 2026-11-27T12:00:00.000Z (epoch 1, by ansible)
record:
  description: Who may serve. Null if there is no record yet.
  type: dict
  returned: success
  sample:
    region: one
    system_identifier: "7577196071415013215"
    timeline: 1
    epoch: 1
    since: "2026-11-27T12:00:00.000Z"
    by: ansible
revision:
  description: The store's revision at which the record was last written. 0 if there is no record, or in check mode.
  type: int
  returned: success
  sample: 17
heartbeat:
  description: What the guard of the primary's host wrote last, with its age. Null if there is none.
  type: dict
  returned: when O(state=read)
  sample:
    region: one
    host: db1
    system_identifier: "7577196071415013215"
    timeline: 1
    lsn: 0/5000060
    at: "2026-11-27T12:34:56.789Z"
    newest_message_ms: 1795782896000
    newest_event: 71234
    database_bytes: 8123456
    limits:
      max_connections: 100
      max_worker_processes: 8
      max_wal_senders: 10
      max_prepared_transactions: 0
      max_locks_per_transaction: 64
    age_seconds: 1.512
homeservers:
  description: What guards wrote last of hosts whose homeserver serves, by host, with its age.
  type: dict
  returned: when O(state=read)
  sample:
    hs1:
      region: one
      release: 1.163.2
      signing_key_ids: ["ed25519:a_key"]
      at: "2026-11-27T12:34:50.000Z"
      age_seconds: 8.3
guards:
  description:
    - What each guard said last of itself, by host. C(serves) is whether something on the host serves,
      C(epoch) the epoch of the record that it had seen then.
    - C(override) is whether an operator answers for the host. C(lease_seconds) is when it stops without the witness, 0
      if it does not. C(lease_left) is the time until the witness counts it as stopped, null if there is no lease or it
      has expired.
  type: dict
  returned: when O(state=read)
  sample:
    db1:
      region: one
      serves: true
      epoch: 1
      override: false
      lease_seconds: 0
      at: "2026-11-27T12:34:50.000Z"
      age_seconds: 8.3
      lease_left: null
clock_difference_seconds:
  description:
    - How far the witness's clock is ahead of that of the host that asked, to a second. All ages are by the latter.
      Null if the witness did not tell its time.
  type: float
  returned: when O(state=read)
  sample: 0.4
error_kind:
  description: Why the witness could not be asked. C(refused), C(timeout), C(auth), C(dns), C(tls) or C(parse).
  type: str
  returned: when it could not be asked
  sample: timeout
"""

import datetime
import re
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._dr import witness


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=dict(
            state=dict(type="str", choices=["read", "claimed"], default="read"),
            endpoints=dict(type="list", elements="str", required=True),
            user=dict(type="str", required=True),
            password=dict(type="str", required=True, no_log=True),
            ca_file=dict(type="path"),
            server_name=dict(type="str", required=True),
            timeout=dict(type="float", default=10),
            region=dict(type="str"),
            system_identifier=dict(type="str"),
            timeline=dict(type="int"),
            by=dict(type="str", default="ansible"),
            expected_epoch=dict(type="int"),
        ),
        required_if=[("state", "claimed", ["region", "system_identifier", "timeline", "expected_epoch"])],
        supports_check_mode=True,
    )
    try:
        client = witness.Client(settings(module.params))
        if module.params["state"] == "claimed":
            require_claim(module.params)
    except ValueError as error:
        module.fail_json(msg=str(error))
    deadline = witness.Deadline(module.params["timeout"])
    try:
        if module.params["state"] == "claimed":
            result = claimed(client, module.params, deadline, write=not module.check_mode)
        else:
            result = read(client, deadline)
    except witness.WitnessError as failure:
        module.fail_json(msg=failure.message, error_kind=failure.kind)
    except witness.ClaimRefused as refusal:
        module.fail_json(msg=str(refusal))
    module.exit_json(**result)


def settings(wanted: dict[str, t.Any]) -> witness.Settings:
    """Return how the witness is reached, or raise ValueError naming the option that is wrong."""
    if not wanted["endpoints"]:
        raise ValueError("endpoints: there is none; give one or more, for example https://witness.example.org:2379")
    if not 0 < wanted["timeout"] <= 3600:
        raise ValueError(f"timeout: {wanted['timeout']:g} is not from 0 to 3600 seconds; 10 is the default")
    if not wanted["server_name"] or "/" in wanted["server_name"]:
        raise ValueError(f"server_name: '{wanted['server_name']}' is not a server name; write for example example.org")
    try:
        endpoints = tuple(witness.parse_endpoint(text) for text in wanted["endpoints"])
    except ValueError as error:
        raise ValueError(f"endpoints: {error}") from error
    return witness.Settings(
        endpoints, wanted["server_name"], wanted["user"], wanted["password"], wanted["ca_file"] or None
    )


def require_claim(wanted: dict[str, t.Any]) -> None:
    """Raise ValueError naming what cannot be in a record."""
    if not re.match(r"[a-z0-9_]*\Z", wanted["region"]):
        raise ValueError(f"region: '{wanted['region']}' is no region; give its name, or '' so that nobody may serve")
    if not re.match(r"[0-9]+\Z", wanted["system_identifier"]):
        raise ValueError(
            f"system_identifier: '{wanted['system_identifier']}' is not one; give what pg_controldata says"
        )
    if wanted["timeline"] < 1:
        raise ValueError(f"timeline: {wanted['timeline']} is not one; the first is 1")
    if wanted["expected_epoch"] < 0:
        raise ValueError(f"expected_epoch: {wanted['expected_epoch']} is not one; 0 means that there is no record")


def read(client: witness.Client, deadline: witness.Deadline) -> dict[str, t.Any]:
    """Return what the witness knows."""
    snapshot = client.read(deadline)
    now = datetime.datetime.now(datetime.timezone.utc)
    entry = snapshot.entries.get(witness.PRIMARY)
    record = witness.parse_record(entry) if entry else None
    beat = snapshot.entries.get(witness.HEARTBEAT)
    guards = witness.hosts(snapshot, "guard", now)
    for name, guard in guards.items():
        lease = snapshot.entries.get(f"lease/{name}")
        left = client.time_left(lease.lease, deadline) if lease else -1
        guard["lease_left"] = left if left >= 0 else None
    difference = (snapshot.clock - now).total_seconds() if snapshot.clock else None
    return dict(
        changed=False,
        msg=witness.told(record),
        record=record.value() if record else None,
        revision=record.revision if record else 0,
        heartbeat=dict(beat.value, age_seconds=witness.age(beat.value.get("at"), now)) if beat else None,
        homeservers=witness.hosts(snapshot, "homeserver", now),
        guards=guards,
        # The witness cuts its time to seconds, so that it is half a second late in the mean.
        clock_difference_seconds=round(difference + 0.5, 1) if difference is not None else None,
    )


def claimed(
    client: witness.Client, wanted: dict[str, t.Any], deadline: witness.Deadline, write: bool
) -> dict[str, t.Any]:
    """Say who may serve."""
    outcome = witness.claim(
        client,
        wanted["region"],
        wanted["system_identifier"],
        wanted["timeline"],
        wanted["by"],
        wanted["expected_epoch"],
        deadline,
        datetime.datetime.now(datetime.timezone.utc),
        write,
    )
    return dict(
        changed=outcome.after is not outcome.before,
        msg=witness.told(outcome.after),
        record=outcome.after.value(),
        revision=outcome.after.revision,
        diff=dict(
            before=outcome.before.value() if outcome.before else {},
            after=outcome.after.value(),
        ),
    )


if __name__ == "__main__":
    main()
