#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_dr_drill_report
short_description: What a rehearsed failover found, and how long a real one would take
version_added: 0.1.0
description:
  - Makes one report of what other modules observed and of how long the phases of a drill took. It asks nobody and
    changes nothing.
  - The forecast of the time is the sum of the steps of a move, each as it was rehearsed, or as it was in the last real
    move. What is not in it is said. The forecast of the loss is how far the standby is behind now.
  - The role P(matrixon.ops.dr_drill#role) calls it.
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
    description: Name of the host that the drill was on.
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
  started:
    description: When the drill began, in RFC 3339.
    type: str
    required: true
  marks:
    description: When each phase ended, in seconds since 1970 and in their order, each with C(phase) and C(at).
    type: list
    elements: dict
    default: []
    suboptions:
      phase:
        description: Name of the phase.
        type: str
        required: true
      at:
        description: Seconds since 1970 at its end.
        type: float
        required: true
      seconds:
        description: How long it took, where that was measured better than by the end of the phase before it.
        type: float
  checks:
    description: The checks of other reports.
    type: list
    elements: dict
    default: []
  failures:
    description: What did not work, each with C(phase) and C(reason).
    type: list
    elements: dict
    default: []
    suboptions:
      phase:
        description: Name of the phase.
        type: str
        required: true
      reason:
        description: Why.
        type: str
        required: true
  move:
    description: The last real move that ended, with C(started) and C(seconds) by step. Empty if there was none.
    type: dict
    default: {}
  loss:
    description: How far the standby is behind, with C(bytes), C(seconds), and the time of the heartbeat in C(at).
    type: dict
    default: {}
  media:
    description: The newest copy of the media, with C(taken) and C(age_s). Left out, nothing is judged.
    type: dict
  before:
    description: The RV(matrixon.ops.matrixon_dr_copy#module:production) before the drill.
    type: dict
    default: {}
  after:
    description: The same after it.
    type: dict
    default: {}
  left:
    description: What is left of the drill. Left out, that could not be asked.
    type: list
    elements: str
  rto_seconds:
    description: In which time a move should be done.
    type: float
    default: 14400
  rpo_seconds:
    description: How many seconds of what was written may be lost.
    type: float
    default: 900
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Make the report of a drill
  matrixon.ops.matrixon_dr_drill_report:
    target: db2
    deployment: example
    profile: synapse
    started: "2026-11-27T12:00:00.000Z"
    marks:
      - {phase: promote, at: 1795780805.2, seconds: 2.1}
      - {phase: homeserver, at: 1795780821.9}
    loss: {bytes: 0, seconds: 0, at: "2026-11-27T11:59:58.000Z"}
  register: drill
"""

RETURN = r"""
msg:
  description: The verdict in one line.
  returned: always
  type: str
  sample: "ok: all 24 checks are good"
report:
  description: The report, of the kind V(drill_dr).
  returned: always
  type: dict
  sample: {"schema": "matrixon.ops/report/1", "kind": "drill_dr", "status": "ok"}
"""

import datetime

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._dr import rehearsal
from ansible_collections.matrixon.ops.plugins.module_utils._dr.standby import parse_time
from ansible_collections.matrixon.ops.plugins.module_utils._report import headline


def argument_spec():
    """Return the options."""
    mark = dict(phase=dict(type="str", required=True), at=dict(type="float", required=True), seconds=dict(type="float"))
    failure = dict(phase=dict(type="str", required=True), reason=dict(type="str", required=True))
    return dict(
        target=dict(type="str", required=True),
        deployment=dict(type="str", required=True),
        profile=dict(type="str", required=True),
        started=dict(type="str", required=True),
        marks=dict(type="list", elements="dict", options=mark, default=[]),
        checks=dict(type="list", elements="dict", default=[]),
        failures=dict(type="list", elements="dict", options=failure, default=[]),
        move=dict(type="dict", default={}),
        loss=dict(type="dict", default={}),
        media=dict(type="dict"),
        before=dict(type="dict", default={}),
        after=dict(type="dict", default={}),
        left=dict(type="list", elements="str"),
        rto_seconds=dict(type="float", default=14400),
        rpo_seconds=dict(type="float", default=900),
    )


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    options = module.params
    try:
        started = parse_time(options["started"])
    except ValueError as error:
        module.fail_json(msg=f"started: {error}")
    drill = rehearsal.Drill(
        options["target"],
        options["deployment"],
        options["profile"],
        started,
        datetime.datetime.now(datetime.timezone.utc),
        options["rto_seconds"],
        options["rpo_seconds"],
        rehearsal.phases(started, options["marks"]),
        options["checks"],
        options["failures"],
        options["move"],
        options["loss"],
        options["media"],
        options["before"],
        options["after"],
        options["left"],
    )
    report = rehearsal.report(drill)
    module.exit_json(changed=False, msg=headline(report), report=report.as_dict("full"))


if __name__ == "__main__":
    main()
