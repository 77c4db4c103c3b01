#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_updates_info
short_description: Which updates a host would get, and whether it can take them now
version_added: 0.1.0
description:
  - Says which packages would be updated by what is asked for, which are left and why, and whether something is in the
    way - archives that do not answer, packages that dpkg did not finish, locks and who holds them, a full disk.
  - What apt would do is asked of apt itself, by a simulation. A package that would move one that must stay is left.
  - It asks every archive for its table of contents, and compares it with that of the package lists of this host. Lists
    that are not the archive's own any more are told.
  - needrestart is asked what still runs with files that were replaced, and whether the kernel is newer than the one
    that runs.
  - V(critical) means that a bad fact was observed. V(unknown) means that it could not be observed. What is planned is
    not done, and is V(warning).
  - The module reads only. It takes no lock, writes no package lists and downloads no package.
notes:
  - "On the target: Python 3.9, Debian or Ubuntu with apt 2.0 or later, and root's rights to see locks and processes.
    C(needrestart) is needed for the check C(updates_restarts) and for what is said of the kernel; without it both are
    V(unknown)."
  - "On the controller: nothing beyond ansible-core."
  - Packages of a foreign architecture are not told from those of the host's own.
author:
  - the matrixon.ops authors (@matrixon-ops)
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._observer
attributes:
  check_mode:
    support: full
    details:
      - Runs in full and gives the same verdicts. It never reports a change.
  diff_mode:
    support: N/A
    details:
      - It changes nothing.
  idempotent:
    support: full
options:
  packages:
    description:
      - V(security) plans what comes from an archive of security updates, or brings what came from there before.
        V(all) plans every update.
    type: str
    choices: [security, all]
    default: security
  hold:
    description:
      - Shell patterns of packages that stay. That a security update is among them is V(warning) each time.
    type: list
    elements: str
    default: []
  exclude:
    description:
      - Shell patterns of packages that stay, and nobody is to be told.
    type: list
    elements: str
    default: []
  services:
    description:
      - Shell patterns of the packages that the deployment itself is made of. They stay unless O(include_services).
    type: list
    elements: str
    default: []
  include_services:
    description:
      - Whether packages of O(services) are updated, too.
    type: bool
    default: false
  expected:
    description:
      - Versions by package that should be installed now, to prove an update that was made. dpkg is asked.
    type: dict
    default: {}
  journal:
    description:
      - File that a run leaves on the host while it is out of service.
    type: path
    default: /var/lib/matrixon-updates/journal.json
  lock_timeout:
    description:
      - Seconds to wait until nobody holds the locks of apt and dpkg. With V(0) a lock is V(warning), otherwise one that
        is held still is V(critical).
    type: float
    default: 0
  free_bytes:
    description:
      - Bytes that must be free on each of the file systems that updates are written to.
    type: int
    default: 536870912
  free_boot:
    description:
      - Bytes that must be free on C(/boot), where that is a file system of its own.
    type: int
    default: 157286400
  skip_checks:
    description:
      - Checks that are not to count, each with the reason. They stand in the report as V(skipped) with it.
    type: dict
    default: {}
  timeout:
    description:
      - Seconds after which one archive is given up.
    type: float
    default: 20
  deadline:
    description:
      - Seconds after which the module returns, whatever still hangs. O(lock_timeout) comes on top.
    type: float
    default: 120
"""

EXAMPLES = r"""
- name: Look which security updates are pending
  matrixon.ops.matrixon_updates_info:
    deployment: example
    profile: synapse
    services: ["postgresql*", "redis*", "haproxy*"]
  register: updates

- name: Prove that they were made
  matrixon.ops.matrixon_updates_info:
    deployment: example
    profile: synapse
    expected: "{{ updates.installs }}"
    fail_on: critical
"""

RETURN = r"""
msg:
  description: The verdict in one line, with the worst finding.
  returned: always
  type: str
  sample: "warning: 1 of 9 checks is warning; updates_pending: 1 would be updated: openssl 3.0.15 -> 3.0.16"
report:
  description:
    - The report, of the kind V(updates). Its whole shape is described by C(docs/report.schema.json).
    - Its checks are C(updates_lists), C(updates_pending), C(updates_left), C(updates_dpkg), C(updates_locks),
      C(updates_disk), C(updates_restarts), C(updates_reboot), C(updates_journal) and C(updates_installed).
  returned: when the options are good
  type: dict
  sample: {schema: matrixon.ops/report/1, kind: updates, status: warning}
planned:
  description: The updates that would be made.
  returned: when the options are good
  type: list
  elements: dict
  sample: [{package: openssl, installed: 3.0.15-1, version: 3.0.16-1, security: true}]
installs:
  description: All versions by package that would be installed for it, with what apt brings along.
  returned: when the options are good
  type: dict
  sample: {openssl: 3.0.16-1, libssl3: 3.0.16-1}
left:
  description:
    - The updates that would not be made. C(why) is V(held), V(service), V(excluded), V(phased), V(kept_back) or
      V(not_security), and C(message) says it in words.
  returned: when the options are good
  type: list
  elements: dict
  sample:
    - package: haproxy
      installed: 2.6.12-1
      version: 2.6.12-2
      security: true
      why: service
      message: it is of the deployment itself, and updates_include_services is false
restarts:
  description: The units that run with files that were replaced.
  returned: when the options are good
  type: list
  elements: str
  sample: [cron.service]
reboot:
  description: Why a reboot is needed. Empty if none is, or if that could not be seen, which the report says.
  returned: when the options are good
  type: list
  elements: str
  sample: ["the kernel 6.1.0-32-amd64 is there and 6.1.0-31-amd64 runs"]
current:
  description: Whether all archives answered, and the package lists of this host are theirs.
  returned: when the options are good
  type: bool
  sample: true
"""

import platform

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._report import OBSERVER, leave
from ansible_collections.matrixon.ops.plugins.module_utils._updates.run import check_updates


def argument_spec():
    """Return the options."""
    return dict(
        OBSERVER,
        packages=dict(type="str", choices=["security", "all"], default="security"),
        hold=dict(type="list", elements="str", default=[]),
        exclude=dict(type="list", elements="str", default=[]),
        services=dict(type="list", elements="str", default=[]),
        include_services=dict(type="bool", default=False),
        expected=dict(type="dict", default={}),
        journal=dict(type="path", default="/var/lib/matrixon-updates/journal.json"),
        lock_timeout=dict(type="float", default=0),
        free_bytes=dict(type="int", default=536870912),
        free_boot=dict(type="int", default=157286400),
        skip_checks=dict(type="dict", default={}),
        timeout=dict(type="float", default=20),
        deadline=dict(type="float", default=120),
    )


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    options = dict(module.params, target=module.params["target"] or platform.node())
    try:
        outcome = check_updates(options)
    except OptionErrors as error:
        module.fail_json(msg=str(error))
    leave(
        module,
        outcome.report,
        planned=outcome.planned,
        installs=outcome.installs,
        left=outcome.left,
        restarts=outcome.restarts,
        reboot=outcome.reboot,
        current=outcome.current,
    )


if __name__ == "__main__":
    main()
