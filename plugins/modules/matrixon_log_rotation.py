#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_log_rotation
short_description: See that log files are rotated, and do it where nobody did
version_added: 0.1.0
description:
  - Looks if C(logrotate.timer) is active, when logrotate last came to its end and how, and which files below
    O(directories) have grown past O(max_bytes).
  - Where its last run failed, is older than O(max_age) or never was, it starts C(logrotate.service) once.
    What is rotated, and when, stays logrotate's own business; nothing is forced.
  - A timer that is not active, and a log that no rule keeps small, are V(warning), for they need a person.
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._observer
author:
  - the matrixon.ops authors (@matrixon-ops)
attributes:
  check_mode:
    support: full
    details:
      - Says whether logrotate would be run, and does not run it.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  directories:
    description: Absolute paths of directories with logs. One that is not there has none.
    type: list
    elements: path
    default: []
  max_bytes:
    description: From how many bytes on a file is too large.
    type: int
    default: 1073741824
  max_age:
    description: Seconds after which the last run of logrotate is too old.
    type: float
    default: 93600
  deadline:
    description: Seconds after which the module gives up.
    type: float
    default: 300
notes:
  - "On the target: Python 3.9, systemd 249 or later, and root's rights."
  - "On the controller: nothing beyond ansible-core."
"""

EXAMPLES = r"""
- name: See that logs are rotated
  matrixon.ops.matrixon_log_rotation:
    deployment: example
    profile: synapse
    directories: [/var/log/haproxy, /var/log/postgresql]
"""

RETURN = r"""
msg:
  description: The verdict in one line, with the worst finding.
  returned: always
  type: str
  sample: "ok: all 3 checks are good"
plan:
  description: What would be done, a sentence each.
  returned: in check mode
  type: list
  elements: str
  sample: ["logrotate would be run once, for its last run was 3 d ago, more than 26 h"]
report:
  description: The report, of the kind V(log_rotation), whose shape is that of C(docs/report.schema.json).
  returned: when the options are good
  type: dict
  sample: {kind: log_rotation, status: ok}
"""

import datetime
import os
import platform

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._maintenance.logs import rotate
from ansible_collections.matrixon.ops.plugins.module_utils._report import OBSERVER, leave, report_of


def argument_spec():
    """Return the options."""
    return dict(
        OBSERVER,
        directories=dict(type="list", elements="path", default=[]),
        max_bytes=dict(type="int", default=1073741824),
        max_age=dict(type="float", default=93600),
        deadline=dict(type="float", default=300),
    )


def problems(options):
    """Return what cannot be right, a sentence each."""
    found = [
        f"directories: '{path}' is no absolute path; write for example /var/log/haproxy"
        for path in options["directories"]
        if not os.path.isabs(path)
    ]
    for name in ("max_bytes", "max_age", "deadline"):
        if options[name] <= 0:
            found.append(f"{name}: {options[name]:g} is not more than 0; leave it out for the default")
    return found


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    options = dict(module.params, target=module.params["target"] or platform.node())
    wrong = problems(options)
    if wrong:
        module.fail_json(msg="; ".join(wrong))
    started = datetime.datetime.now(datetime.timezone.utc)
    done = rotate(options, module.check_mode)
    facts = {"answer": "; ".join(check.message for check in done.checks)}
    report = report_of("log_rotation", options, started, done.checks, facts)
    leave(module, report, changed=done.changed, plan=done.plan)


if __name__ == "__main__":
    main()
