#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_dr_gates
short_description: Whether a deployment may move to another region, and all reasons why not
version_added: 0.1.0
description:
  - Judges what other modules observed. It asks nobody and changes nothing, so it can run anywhere.
  - What could not be asked is unknown, and refused as well.
  - A gate that refuses names the value that it measured. Where moving is still possible, O(accept) overrides it if it
    repeats this value. That the standby is one, of the same system and on the last history, and that the old region
    can be fenced, cannot be overridden.
  - The role P(matrixon.ops.dr_failover#role) calls it.
attributes:
  check_mode:
    support: full
    description: It does the same in check mode.
  diff_mode:
    support: none
    description: Nothing changes.
  idempotent:
    support: full
extends_documentation_fragment:
  - matrixon.ops._attributes
options:
  target:
    description: Name of the host that is to become the primary.
    type: str
    required: true
  deployment:
    description: Name of the deployment.
    type: str
    required: true
  profile:
    description: The homeserver product.
    type: str
    required: true
  from_region:
    description: The region that serves, or served.
    type: str
    required: true
  to_region:
    description: The region that is to serve.
    type: str
    required: true
  record:
    description: Who serves, as the witness says. See M(matrixon.ops.matrixon_witness).
    type: dict
    default: {}
  heartbeat:
    description: The last heartbeat of the primary. Empty if there is none.
    type: dict
    default: {}
  standby:
    description: The facts of the standby, as from M(matrixon.ops.matrixon_standby_info).
    type: dict
    required: true
  homeservers:
    description: The homeserver hosts of the region, each with C(host), C(release) and C(signing_key_ids).
    type: list
    elements: dict
    default: []
  primary_homeservers:
    description: What the homeserver hosts that served told the witness, each with C(release) and C(signing_key_ids).
    type: list
    elements: dict
    default: []
  media:
    description:
      - The newest copy of the media here, with C(taken) and C(age_s), or with C(message) why there is none.
      - Left out, the media have no part in it, for example because both regions share them.
    type: dict
  dns:
    description: The records that will be changed, each with C(name) and C(ttl). Left out, nothing is judged.
    type: list
    elements: dict
    default: []
  fences:
    description: The ways in which the old region can be fenced now.
    type: list
    elements: str
    default: []
  rpo_seconds:
    description: How many seconds of what was written may be lost.
    type: float
    default: 900
  rpo_bytes:
    description: How many bytes of the log may be lost. Left out, the seconds alone count.
    type: int
  media_max_age:
    description: How old the copy of the media may be, in seconds.
    type: float
    default: 900
  max_ttl:
    description: For how long others may keep the old address, in seconds.
    type: int
    default: 60
  accept:
    description:
      - Values that an operator accepts, by the name behind C(dr_failover_accept_). A gate is passed if its value is
        the one that was measured.
    type: dict
    default: {}
    suboptions:
      heartbeat:
        description: V(none), or the time of the last heartbeat.
        type: str
      loss_bytes:
        description: The bytes of the log that are lost.
        type: str
      max_connections:
        description: The C(max_connections) of the standby, or what the refusal names where other settings are smaller.
        type: str
      disk_free_bytes:
        description: The bytes that are free, rounded down to whole GiB.
        type: str
      release:
        description: The release of the homeserver here. Of several, all with commas between them.
        type: str
      signing_key:
        description: The ids of the signing keys here with commas between them, or V(none).
        type: str
      media_taken:
        description: V(none), or when the copy of the media was made.
        type: str
      dns_ttl:
        description: The TTL, in seconds.
        type: str
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Ask whether region two may take over
  matrixon.ops.matrixon_dr_gates:
    target: db2
    deployment: example
    profile: synapse
    from_region: one
    to_region: two
    record: "{{ witness.record }}"
    heartbeat: "{{ witness.heartbeat }}"
    standby: "{{ standby.report.facts }}"
    fences: [ssh]
  register: gates
"""

RETURN = r"""
refusals:
  description: Why the move is refused, a sentence for each gate. Empty if nothing stands against it.
  returned: always
  type: list
  elements: str
  sample: ["dr_replay: its replay is paused; resume it with SELECT pg_wal_replay_resume()"]
report:
  description: The report, of the kind V(failover_gates), with a check for each gate.
  returned: always
  type: dict
  sample: {"schema": "matrixon.ops/report/1", "kind": "failover_gates", "status": "ok"}
"""

import datetime

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._dr import gates
from ansible_collections.matrixon.ops.plugins.module_utils._report import Report


def argument_spec():
    """Return the options."""
    # Ids of keys are public.
    accept = {name: dict(type="str", no_log=False) for name in gates.ACCEPTED}
    return dict(
        target=dict(type="str", required=True),
        deployment=dict(type="str", required=True),
        profile=dict(type="str", required=True),
        from_region=dict(type="str", required=True),
        to_region=dict(type="str", required=True),
        record=dict(type="dict", default={}),
        heartbeat=dict(type="dict", default={}),
        standby=dict(type="dict", required=True),
        homeservers=dict(type="list", elements="dict", default=[]),
        # What they signed with is public.
        primary_homeservers=dict(type="list", elements="dict", default=[]),
        media=dict(type="dict"),
        dns=dict(type="list", elements="dict", default=[]),
        fences=dict(type="list", elements="str", default=[]),
        rpo_seconds=dict(type="float", default=900),
        rpo_bytes=dict(type="int"),
        media_max_age=dict(type="float", default=900),
        max_ttl=dict(type="int", default=60),
        accept=dict(type="dict", default={}, options=accept),
    )


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    options = module.params
    names = ("record", "heartbeat", "standby", "homeservers", "primary_homeservers", "media", "dns", "fences")
    facts = {name: options[name] for name in names}
    facts.update({"from": options["from_region"], "to": options["to_region"]})
    limits = gates.Limits(options["rpo_seconds"], options["rpo_bytes"], options["media_max_age"], options["max_ttl"])
    now = datetime.datetime.now(datetime.timezone.utc)
    checks = gates.judge(facts, limits, options["accept"] or {}, options["target"])
    report = Report(
        "failover_gates", options["target"], options["deployment"], options["profile"], now, now, tuple(checks)
    )
    module.exit_json(changed=False, refusals=gates.refusals(checks), report=report.as_dict("full"))


if __name__ == "__main__":
    main()
