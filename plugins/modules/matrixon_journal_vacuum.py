#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_journal_vacuum
short_description: Shorten systemd's journal without losing what is to be kept
version_added: 0.1.0
description:
  - Removes files of the journal whose last entry is older than O(keep_days), by C(journalctl --vacuum-time).
  - That command by itself removes each file that begins before the time, with today's entries in it. So the headers of
    the files are read first, and the time that is given is one at which only files go that are old from end to end.
  - A file in use that begins before what is kept is closed by C(journalctl --rotate), for a later run to remove.
  - Afterwards the files are looked at again. Where nothing is old enough, nothing is called and nothing has changed.
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._observer
author:
  - the matrixon.ops authors (@matrixon-ops)
attributes:
  check_mode:
    support: full
    details:
      - Says what would be closed and removed, and does neither.
  diff_mode:
    support: none
    details:
      - RV(msg) has the bytes before and after.
  idempotent:
    support: full
options:
  keep_days:
    description: Entries that are younger than so many days stay. At least V(1).
    type: float
    default: 7
  directory:
    description:
      - Absolute path of the journal's directory. Left out, it is C(/var/log/journal), or C(/run/log/journal) where the
        journal is kept in memory.
    type: path
  rotate:
    description:
      - Whether files in use may be closed. Turn it off with a O(directory) that is not that of this host's journal.
    type: bool
    default: true
  deadline:
    description: Seconds after which the module gives up.
    type: float
    default: 60
notes:
  - "On the target: Python 3.9, C(journalctl), and root's rights."
  - "On the controller: nothing beyond ansible-core."
"""

EXAMPLES = r"""
- name: Keep a week of the journal
  matrixon.ops.matrixon_journal_vacuum:
    deployment: example
    profile: synapse
    keep_days: 7
"""

RETURN = r"""
msg:
  description: What was done, with the bytes before and after.
  returned: always
  type: str
  sample: "1.2 GiB before, 300 MiB in 4 files now; it goes back 6 d 20 h"
plan:
  description: What would be done, a sentence each, and after a run what was.
  returned: when the options are good
  type: list
  elements: str
  sample: ["3 files with 900 MiB would be removed, whose last entry is too old"]
report:
  description: The report, of the kind V(journal), whose shape is that of C(docs/report.schema.json).
  returned: when the options are good
  type: dict
  sample: {kind: journal, status: ok}
"""

import datetime
import platform

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._maintenance.journal import vacuum
from ansible_collections.matrixon.ops.plugins.module_utils._report import OBSERVER, leave, report_of


def argument_spec():
    """Return the options."""
    return dict(
        OBSERVER,
        keep_days=dict(type="float", default=7),
        directory=dict(type="path"),
        rotate=dict(type="bool", default=True),
        deadline=dict(type="float", default=60),
    )


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    options = dict(module.params, target=module.params["target"] or platform.node())
    if not 1 <= options["keep_days"] <= 36500:
        module.fail_json(
            msg=f"keep_days: {options['keep_days']:g} is not from 1 to 36500; give the days of which the journal stays"
        )
    if options["deadline"] <= 0:
        module.fail_json(msg=f"deadline: {options['deadline']:g} is no time; give 1 or more seconds")
    started = datetime.datetime.now(datetime.timezone.utc)
    done = vacuum(options, module.check_mode)
    report = report_of("journal", options, started, (done.check,), done.facts)
    leave(module, report, changed=done.changed, msg=done.check.message, plan=done.plan)


if __name__ == "__main__":
    main()
