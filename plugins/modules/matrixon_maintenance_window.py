#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_maintenance_window
short_description: Keep the journal of a maintenance window, and judge whether it may go on
version_added: 0.1.0
description:
  - Keeps one journal for each window of a deployment, on the host that runs the playbooks.
  - Says whether a window may be announced, opened, go on with a step, and how it went, by the time and by what was seen
    of the fleet. A refusal names all its reasons at once.
  - A window that is open when its time runs out is V(expired), whoever notices first.
attributes:
  check_mode:
    support: full
    description: It judges in full and says what the journal would be, and writes nothing.
  diff_mode:
    support: none
  idempotent:
    support: partial
    description: What a window found or was told first stands. A step that asks again is noted again.
extends_documentation_fragment:
  - matrixon.ops._attributes
options:
  state:
    description:
      - V(read) finds the journal of O(window), or without it of the one that is open or ran out.
      - V(announced) notes that people were told. V(opened) opens the window. V(step) asks for leave to begin O(step).
        V(noted) notes O(silence). V(closed) closes the window, and gives its report.
    type: str
    choices: [read, announced, opened, step, noted, closed]
    default: read
  deployment:
    description: Name of the deployment, to which the window belongs.
    type: str
    required: true
  profile:
    description: Name of the homeserver profile, for the report.
    type: str
    required: true
  directory:
    description: Where the journals are kept. Only their owner can read them.
    type: path
    default: ~/.local/state/matrixon-maintenance
  window:
    description: The window. Required with O(state=announced) and O(state=opened).
    type: dict
    suboptions:
      id:
        description: Its name, of letters, digits and C(. _ -). A window opens once.
        type: str
        required: true
      starts:
        description: When it starts, in UTC, as V(2026-12-01T02:00:00Z).
        type: str
        required: true
      ends:
        description: When it ends, in UTC.
        type: str
        required: true
      summary:
        description: What is done, in one sentence.
        type: str
        required: true
      affects:
        description: Groups or hosts that are touched.
        type: list
        elements: str
        required: true
      rollback:
        description: The way back, as an address or in words. A window without one does not open.
        type: str
        default: ""
  longest_hours:
    description: How long a window may last, in hours.
    type: float
    default: 24
  notice_hours:
    description: How many hours ahead people are told at the latest.
    type: float
    default: 48
  earliest_hours:
    description: How many hours ahead people are told at the earliest.
    type: float
    default: 72
  short_notice:
    description: Why this window cannot wait. With it people may be told later.
    type: str
    default: ""
  margin:
    description: Seconds that must be left of the window for a step to begin.
    type: float
    default: 900
  backup_max_age:
    description: Seconds that the newest proven backup may be old.
    type: float
    default: 93600
  clock_tolerance:
    description: Seconds by which the clock of a host may differ from the controller's.
    type: float
    default: 5
  health:
    description: Health reports of the hosts.
    type: list
    elements: dict
    default: []
  silent:
    description: Hosts whose health could not be seen, with the reason.
    type: dict
    default: {}
  backups:
    description: Reports of M(matrixon.ops.matrixon_backup_info).
    type: list
    elements: dict
    default: []
  drained:
    description: Servers that are drained in a load balancer.
    type: list
    elements: str
    default: []
  clocks:
    description:
      - What the hosts take for now, each with C(host), C(started) and C(finished) by its clock, C(before) and C(after)
        by the controller's.
    type: list
    elements: dict
    default: []
  answer:
    description: Which requests the load balancers answer themselves while the window is open.
    type: str
    choices: [none, writes, all]
    default: none
  step:
    description: Name of the step that is to begin. Required with O(state=step).
    type: str
  required:
    description: Whether a step needs a window. If not, one without any window open may begin.
    type: bool
    default: true
  silence:
    description: Id of the silence in Alertmanager.
    type: str
  answers:
    description: Load balancers whose answer was ended, with an empty text, or why that is not known.
    type: dict
    default: {}
  silence_error:
    description: Why it is not known that the silence is over. Empty if it is. Left out, nothing was silenced.
    type: str
  told:
    description: Results of M(matrixon.ops.matrixon_notify), for the report.
    type: list
    elements: dict
    default: []
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: See whether a window is open, or ran out without being closed
  matrixon.ops.matrixon_maintenance_window:
    deployment: example.com
    profile: synapse
  register: window

- name: Ask for leave to begin a step
  matrixon.ops.matrixon_maintenance_window:
    deployment: example.com
    profile: synapse
    state: step
    step: update hs1
    margin: 600
  register: leave
"""

RETURN = r"""
journal:
  description: The journal as it is now. Empty if there is none.
  returned: always
  type: dict
  sample: {schema: matrixon.ops/window/1, state: open, opened: "2026-12-01T02:00:04.000Z", steps: []}
unfinished:
  description: Names of the windows that are open, or ran out without being closed.
  returned: always
  type: list
  elements: str
  sample: [2026-12-01-db]
allowed:
  description: Whether what was asked for may be done.
  returned: always
  type: bool
  sample: true
reasons:
  description: Everything that speaks against it.
  returned: always
  type: list
  elements: str
  sample: []
early:
  description: Why it is too early to tell people. Empty if it is not.
  returned: with O(state=announced)
  type: str
  sample: ""
left:
  description: Seconds that are left of the window, below zero afterwards.
  returned: when there is a window
  type: float
  sample: 3600.0
report:
  description: The report of the window, of the kind V(maintenance_window).
  returned: with O(state=closed) if there was a window to close
  type: dict
  sample: {"schema": "matrixon.ops/report/1", "kind": "maintenance_window", "status": "ok"}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._window.journal import NotAJournal
from ansible_collections.matrixon.ops.plugins.module_utils._window.model import SPEC
from ansible_collections.matrixon.ops.plugins.module_utils._window.run import run


def main():
    module = AnsibleModule(
        argument_spec=dict(
            state=dict(type="str", choices=["read", "announced", "opened", "step", "noted", "closed"], default="read"),
            deployment=dict(type="str", required=True),
            profile=dict(type="str", required=True),
            directory=dict(type="path", default="~/.local/state/matrixon-maintenance"),
            window=dict(type="dict", options=SPEC),
            longest_hours=dict(type="float", default=24),
            notice_hours=dict(type="float", default=48),
            earliest_hours=dict(type="float", default=72),
            short_notice=dict(type="str", default=""),
            margin=dict(type="float", default=900),
            backup_max_age=dict(type="float", default=93600),
            clock_tolerance=dict(type="float", default=5),
            health=dict(type="list", elements="dict", default=[]),
            silent=dict(type="dict", default={}),
            backups=dict(type="list", elements="dict", default=[]),
            drained=dict(type="list", elements="str", default=[]),
            clocks=dict(type="list", elements="dict", default=[]),
            answer=dict(type="str", choices=["none", "writes", "all"], default="none"),
            step=dict(type="str"),
            required=dict(type="bool", default=True),
            silence=dict(type="str"),
            answers=dict(type="dict", default={}),
            silence_error=dict(type="str"),
            told=dict(type="list", elements="dict", default=[]),
        ),
        required_if=[
            ("state", "announced", ["window"]),
            ("state", "opened", ["window"]),
            ("state", "noted", ["silence"]),
            ("state", "step", ["step"]),
        ],
        supports_check_mode=True,
    )
    try:
        result = run(module.params, module.check_mode)
    except OptionErrors as error:
        module.fail_json(msg=str(error), reasons=error.errors)
    except (NotAJournal, OSError) as error:
        module.fail_json(msg=f"directory: {error}")
    # The bookkeeping of a run is no change of a host.
    if result["reasons"] and module.params["state"] in ("announced", "opened"):
        module.fail_json(msg="; ".join(result["reasons"]), **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
