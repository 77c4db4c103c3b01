#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_units_info
short_description: Which systemd units run, and which of them are older than their files
version_added: 0.1.0
description:
  - Asks systemd about any number of units in one call, and compares when their main process began with when their
    files last changed. A process that began before is stale, and needs a restart to know what the files say.
  - So a run that wrote a configuration and died before the restart is made good by the next one.
attributes:
  check_mode:
    support: full
    description: It only reads.
  diff_mode:
    support: N/A
    description: It changes nothing.
  platform:
    support: full
    description: It works on hosts of this kind, where systemd 249 or later runs.
    platforms: posix
options:
  units:
    description: The units to ask about.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the unit.
        type: str
        required: true
      files:
        description:
          - Files that its process reads once, when it starts.
          - A link counts by its own time, not by that of its target.
        type: list
        elements: path
        default: []
  patterns:
    description:
      - Shell patterns of unit names. Units that fit and are not in O(units) are returned in RV(others), whether they
        are loaded, enabled, or have a file in C(/etc/systemd/system).
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds for the whole call.
    type: float
    default: 20
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: See what needs a restart
  matrixon.ops.matrixon_units_info:
    units:
      - name: matrix-synapse.service
        files: [/etc/matrix-synapse/homeserver.yaml, /opt/matrix-synapse/current]
    patterns: ["matrix-synapse-worker@*.service"]
  register: units

- name: Show it
  ansible.builtin.debug:
    msg: "{{ units.units | selectattr('stale') | map(attribute='name') }}"
"""

RETURN = r"""
units:
  description: What is known of each unit, in the order of O(units).
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the unit as it was asked for.
      type: str
      sample: matrix-synapse.service
    load:
      description: Whether systemd has its file, C(loaded) or C(not-found) for example.
      type: str
      sample: loaded
    enabled:
      description: Whether it starts with the host.
      type: bool
      sample: true
    active:
      description: Its state.
      type: str
      sample: active
    sub:
      description: Its state in the words of its type.
      type: str
      sample: running
    result:
      description: How its last run ended.
      type: str
      sample: success
    main_pid:
      description: Its main process, 0 if there is none.
      type: int
      sample: 4711
    started:
      description: When that process began, in seconds since 1970, with microseconds.
      type: float
      sample: 1795495198.39399
    fragment:
      description: The file of the unit.
      type: str
      sample: /etc/systemd/system/matrix-synapse.service
    reload:
      description: Whether systemd has yet to read this file again.
      type: bool
      sample: false
    changed_files:
      description: The files that changed after the process began.
      type: list
      elements: str
      sample: [/etc/matrix-synapse/homeserver.yaml]
    stale:
      description: Whether there are any.
      type: bool
      sample: true
others:
  description: The same of the units that fit O(patterns) and are not in O(units).
  returned: always
  type: list
  elements: dict
  sample: []
"""

import os
import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._systemd import is_booted
from ansible_collections.matrixon.ops.plugins.module_utils._units import observe


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "units": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "files": {"type": "list", "elements": "path", "default": []},
                },
            },
            "patterns": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "float", "default": 20},
        },
        supports_check_mode=True,
    )
    if not is_booted():
        module.fail_json(msg="this host was not started by systemd, so its units cannot be asked for")
    try:
        units, others = observe(module.params["units"], module.params["patterns"], Deadline(module.params["timeout"]))
    except ProbeFailure as failure:
        module.fail_json(msg=str(failure))
    changed = {name for unit in units for name in unit["changed_files"]}
    ahead = sorted(name for name in changed if os.lstat(name).st_mtime > time.time() + 1)
    if ahead:
        # No restart makes a process younger than these.
        module.warn(f"these files were changed later than now: {', '.join(ahead)}; set the clock of this host")
    module.exit_json(changed=False, units=units, others=others)


if __name__ == "__main__":
    main()
