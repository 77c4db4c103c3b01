#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_promote
short_description: Make a standby of PostgreSQL the primary, and prove that it is one
version_added: 0.1.0
description:
  - Refuses, with all reasons at once, a server that is no standby, that is a copy of another cluster, whose replay is
    paused, or which replays with a delay.
  - Then it lets come in what still can, ends the receiver of the log, and has the server ask its archive until that has
    nothing more. What is replayed then is all that there will be. With O(state=drained) it ends here, so that the loss
    can be judged before it is final.
  - After the promotion it proves that the server is on a new timeline and where that begins, that it takes a write
    which another session reads, that its control file knows the new timeline, which C(pg_rewind) needs, and that a
    segment of the new timeline comes into the archive.
  - It does not fence the old primary. Do that first.
  - A run that died can be run again with the same options, and goes on. Meanwhile the standby may be held back by two
    lines at the end of its C(postgresql.auto.conf); O(state=following) takes them out again.
author:
  - The matrixon.ops authors (@matrixon)
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._dr_server
attributes:
  check_mode:
    support: full
    details:
      - Says in RV(plan) what would be done. Everything is refused that is refused otherwise, before the draining.
  diff_mode:
    support: none
  idempotent:
    support: full
    details:
      - A server that was promoted is proven again. That finishes a segment of its log, and reports no change if
        O(marker) names a row that is there.
options:
  state:
    description:
      - V(promoted) drains, promotes and proves.
      - V(drained) drains only. The standby then follows nobody, until it is promoted or V(following).
      - V(following) lets a standby that was drained follow its primary again.
    type: str
    choices: [promoted, drained, following]
    default: promoted
  system_identifier:
    description: Which cluster it must be a copy of, as the control file and the witness have it.
    type: str
  from_timeline:
    description:
      - The timeline that the standby must be on. A server that is a primary on a later one which comes from it counts
        as promoted.
      - Left out, only a run that died here before makes a primary count as promoted.
    type: int
  until_lsn:
    description:
      - Position of the log that must be replayed before anything is promoted, such as
        RV(matrixon.ops.matrixon_standby_info#module:standby.end_lsn) of the old primary that was stopped cleanly. Then
        nothing is lost.
    type: str
  marker:
    description: Name of the row that is written. One that is there already is read only. Left out, it is a new one.
    type: str
  archive:
    description: Whether to prove that the archive gets the new timeline, where C(archive_mode) is on.
    type: bool
    default: true
  drain_timeout:
    description: Seconds that the draining may take. A standby that still gets log at its end is refused.
    type: float
    default: 60
  promote_timeout:
    description: Seconds that the server may take to end its recovery.
    type: float
    default: 60
  archive_timeout:
    description: Seconds that the first segment of the new timeline may take to be archived.
    type: float
    default: 60
  deadline:
    description: Seconds that the whole run may take.
    type: float
    default: 300
  target:
    description: How the report calls this host. Defaults to the host's own name.
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
- name: Let nothing more come in, to know what is lost
  matrixon.ops.matrixon_promote:
    deployment: example
    profile: synapse
    state: drained
    system_identifier: "{{ heartbeat.system_identifier }}"
  register: drained

- name: Make it the primary
  matrixon.ops.matrixon_promote:
    deployment: example
    profile: synapse
    system_identifier: "{{ heartbeat.system_identifier }}"
    from_timeline: "{{ heartbeat.timeline }}"
  register: promoted
"""

RETURN = r"""
msg:
  description: What was done and seen, or why it was refused.
  returned: always
  type: str
  sample: nothing more comes; the log is replayed up to 0/5000060
reasons:
  description: All reasons for which it was refused.
  returned: when it was refused before anything was touched
  type: list
  elements: str
  sample: ["recovery_min_apply_delay is 5 s, so what it received last is not replayed; set it to 0 and reload"]
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
  sample: [make a checkpoint]
drained_lsn:
  description: Up to where the log was replayed when nothing more could come.
  returned: when it was drained, also by an earlier run that died
  type: str
  sample: 0/5000060
incomplete_bytes:
  description: Length of what was received of a last record that never came whole.
  returned: when it was drained
  type: int
  sample: 0
from_timeline:
  description: The timeline that was left.
  returned: when it was promoted
  type: int
  sample: 1
timeline:
  description: The new timeline.
  returned: when it was promoted
  type: int
  sample: 2
fork_lsn:
  description: Where the new timeline left the old one.
  returned: when it was promoted
  type: str
  sample: 0/5000060
marker:
  description: The row that was written, with C(id), C(written_at), C(lsn) behind which it is flushed, and C(timeline).
  returned: when it was written
  type: dict
  sample: {id: 4f6c, written_at: "2026-11-27T12:00:00.123Z", lsn: 0/50004A8, timeline: 2}
archive:
  description: Whether it is C(proven) that the archive gets the new timeline, by which C(segment), or the C(reason).
  returned: when it was looked at
  type: dict
  sample: {proven: true, segment: 000000020000000000000005}
durations_ms:
  description: Milliseconds of each step that was taken.
  returned: when a step was taken
  type: dict
  sample: {drain: 1600, promote: 210, timeline: 40, write: 60, checkpoint: 90, archive: 300}
report:
  description: The report, of the kind V(promotion), with a check for each step.
  returned: when a step was taken
  type: dict
  sample: {schema: matrixon.ops/report/1, kind: promotion, status: ok}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._dr import promote
from ansible_collections.matrixon.ops.plugins.module_utils._dr.entry import act
from ansible_collections.matrixon.ops.plugins.module_utils._dr.server import SERVER


def argument_spec():
    """Return the options."""
    spec = dict(
        SERVER,
        state=dict(type="str", choices=[promote.PROMOTED, promote.DRAINED, promote.FOLLOWING], default="promoted"),
        system_identifier=dict(type="str"),
        from_timeline=dict(type="int"),
        until_lsn=dict(type="str"),
        marker=dict(type="str"),
        archive=dict(type="bool", default=True),
        drain_timeout=dict(type="float", default=60),
        promote_timeout=dict(type="float", default=60),
        archive_timeout=dict(type="float", default=60),
        target=dict(type="str"),
        deployment=dict(type="str", required=True),
        profile=dict(type="str", required=True),
    )
    spec["deadline"] = dict(type="float", default=300)
    return spec


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    act(module, promote.run)


if __name__ == "__main__":
    main()
