#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_dr_journal
short_description: Write down what a move between regions did, so that it can go on where it stopped
version_added: 0.1.0
description:
  - Keeps one journal on the database host of the region that is to serve, for that host is there whatever else is lost.
  - What a step found first stands. A later run cannot measure it any more, for example what would be lost.
  - While a move has not ended, no other one can begin.
attributes:
  check_mode:
    support: full
    description: Says what the journal would be, and writes nothing.
  diff_mode:
    support: none
  idempotent:
    support: partial
    description: A step that is done stays as it is. One that begins again counts its attempts.
extends_documentation_fragment:
  - matrixon.ops._attributes
options:
  path:
    description: Where the journal is kept. Only root can read it.
    type: path
    default: /var/lib/matrixon-dr/journal.json
  state:
    description:
      - V(read) changes nothing. V(begun) begins a step, or begins it again, and the move with its first.
      - V(noted) adds what a step found, V(done) ends it well. V(ended) ends the move.
      - V(forgotten) puts the journal of a move that has not ended aside, if O(started) names it.
    type: str
    choices: [read, begun, noted, done, ended, forgotten]
    default: read
  operation:
    description: What is done. Required unless O(state=read).
    type: str
    choices: [failover, failback, drill]
  from_region:
    description: The region that serves, or served. Required unless O(state=read).
    type: str
  to_region:
    description: The region that is to serve. Required unless O(state=read).
    type: str
  step:
    description: Name of the step.
    type: str
    choices: [gates, fence, promote, scale, verify, switch_dns, communicate]
  data:
    description: What the step found.
    type: dict
    default: {}
  since:
    description: When the step really began, as V(2026-11-27T12:00:00.000Z). Left out, it is now.
    type: str
  started:
    description: When the move began that is to be forgotten, as its journal says.
    type: str
  report:
    description: Return a report of the move, too.
    type: dict
    suboptions:
      target:
        description: Name of the host that became the primary.
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
      rto_seconds:
        description: In which time the move should be done.
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
- name: Write down that the old region is being fenced
  matrixon.ops.matrixon_dr_journal:
    state: begun
    operation: failover
    from_region: one
    to_region: two
    step: fence
"""

RETURN = r"""
journal:
  description: The journal as it is now. Empty if there is none.
  returned: always
  type: dict
  sample:
    schema: matrixon.ops/dr/1
    operation: failover
    from: one
    to: two
    started: "2026-11-27T12:00:00.000Z"
    finished: null
    steps:
      fence: {started: "2026-11-27T12:00:01.000Z", finished: null, attempts: 1, data: {}}
seconds:
  description: How long each step took that is done.
  returned: always
  type: dict
  sample: {fence: 3.2}
report:
  description: The report of the move. Its kind is the operation.
  returned: when O(report) is given and there is a journal
  type: dict
  sample: {"schema": "matrixon.ops/report/1", "kind": "failover", "status": "ok"}
"""

import datetime
import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._dr import journal as journals
from ansible_collections.matrixon.ops.plugins.module_utils._dr import report as reports
from ansible_collections.matrixon.ops.plugins.module_utils._dr.standby import parse_time
from ansible_collections.matrixon.ops.plugins.module_utils._dr.steps import NAMES, OPERATIONS
from ansible_collections.matrixon.ops.plugins.module_utils._report import rfc3339

STEPPING = ("begun", "noted", "done")
REPORT = dict(
    target=dict(type="str", required=True),
    deployment=dict(type="str", required=True),
    profile=dict(type="str", required=True),
    rto_seconds=dict(type="float", default=14400),
    rpo_seconds=dict(type="float", default=900),
)


def changed_journal(options, found, now):
    """Return the journal that the options ask for."""
    since = options["since"] or now
    state = options["state"]
    if state == "ended" and (found is None or found["finished"]):
        return found
    first = options["step"] == journals.GATES
    journal = journals.opened(found, options["operation"], options["from_region"], options["to_region"], since, first)
    if state == "begun":
        return journals.begun(journal, options["step"], since)
    if state == "ended":
        return journals.ended(journal, now)
    journal = journals.begun(journal, options["step"], since) if options["step"] not in journal["steps"] else journal
    if state == "noted":
        return journals.noted(journal, options["step"], options["data"])
    return journals.done(journal, options["step"], options["data"], now)


def forget(module, path, found):
    """Put the journal of a move that has not ended aside."""
    if found is None or found["finished"]:
        return False
    if module.params["started"] != found["started"]:
        module.fail_json(
            msg=f"started: the move that has not ended began at {found['started']}, not at {module.params['started']}"
        )
    if not module.check_mode:
        os.replace(path, f"{path}.forgotten-{found['started']}")
    return True


def main():
    moving = ["operation", "from_region", "to_region"]
    module = AnsibleModule(
        argument_spec=dict(
            path=dict(type="path", default="/var/lib/matrixon-dr/journal.json"),
            state=dict(type="str", choices=["read", *STEPPING, "ended", "forgotten"], default="read"),
            operation=dict(type="str", choices=list(OPERATIONS)),
            from_region=dict(type="str"),
            to_region=dict(type="str"),
            step=dict(type="str", choices=list(NAMES)),
            data=dict(type="dict", default={}),
            since=dict(type="str"),
            started=dict(type="str"),
            report=dict(type="dict", options=REPORT),
        ),
        required_if=[
            *(("state", state, [*moving, "step"]) for state in STEPPING),
            ("state", "ended", moving),
            ("state", "forgotten", ["started"]),
        ],
        supports_check_mode=True,
    )
    options, path = module.params, module.params["path"]
    if options["since"]:
        try:
            options["since"] = rfc3339(parse_time(options["since"]))
        except ValueError as error:
            module.fail_json(msg=f"since: {error}")
    clock = datetime.datetime.now(datetime.timezone.utc)
    now = rfc3339(clock)
    try:
        found = journals.load(path)
        if options["state"] == "forgotten":
            changed = forget(module, path, found)
            module.exit_json(changed=changed, journal={} if changed else found or {}, seconds={})
        wanted = found if options["state"] == "read" else changed_journal(options, found, now)
    except (journals.OtherRun, journals.NoMove, journals.NotAJournal) as error:
        module.fail_json(msg=str(error))
    if wanted != found and not module.check_mode:
        journals.save(path, wanted)
    # The bookkeeping of a run is no change of the host.
    result = dict(changed=False, journal=wanted or {}, seconds=journals.seconds(wanted) if wanted else {})
    if options["report"] and wanted:
        asked = options["report"]
        frame = reports.Frame(
            asked["target"], asked["deployment"], asked["profile"], asked["rto_seconds"], asked["rpo_seconds"]
        )
        result["report"] = reports.report(wanted, frame, clock).as_dict("full")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
