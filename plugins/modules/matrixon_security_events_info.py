#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_security_events_info
short_description: Tell who tries to get in, from the logs of a host
version_added: 0.1.0
description:
  - Reads what was written to the logs since the last call, counts failed logins, rate limits, bans and what else looks
    like an attempt to get in, and judges the counts. One call looks at everything of one host.
  - The homeserver's log is read from systemd's journal or from files, by the patterns of its profile. A line that tells
    of a failure names no address, so it is joined to the line that ends its request by the number of the request.
  - Where a log was read last is kept in a file, by what stands there. A log that was renamed, truncated or compressed
    since is read on from there, so nothing counts twice and nothing is missed. What is gone is told.
  - The file is replaced after the report was made, and not in check mode. A file that is not understood is kept.
  - A log of any size is read in bounded memory. Where O(deadline) comes first, the counts are V(unknown), and the next
    call goes on.
  - Addresses and users stand in the report under pseudonyms, unless O(show) names them. They are the same in each
    report of one host, by a key that only its root can read.
  - V(critical) means that a bad fact was observed. V(unknown) means that it could not be observed. A log that could not
    be read is V(unknown), and so are the counts that it would have given, unless what was seen is bad enough.
notes:
  - "On the target: Python 3.9. The command C(journalctl) for the journal, C(fail2ban-client) for fail2ban. A user that
    may read the logs and write O(state_dir), which usually means C(become)."
  - "On the controller: nothing beyond ansible-core."
  - A client can write into a log what looks like a line of it, where the homeserver writes a user name with the line
    breaks in it, as Synapse does. Such a line counts. It is of a request without an end, so it has no address.
author:
  - the matrixon.ops authors (@matrixon-ops)
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._observer
attributes:
  check_mode:
    support: full
    details:
      - Reads and judges the same, and leaves the place up to which the logs were read where it was. It never reports a
        change.
  diff_mode:
    support: N/A
    details:
      - It changes nothing but its own files in O(state_dir).
  idempotent:
    support: N/A
    details:
      - Each call tells what is new since the last one.
options:
  patterns:
    description:
      - How the homeserver's log is read. The group C(security) of a profile holds it.
      - All patterns are regular expressions of Python.
    type: dict
    suboptions:
      line:
        description: How each line begins, with the groups C(time), C(logger) and perhaps C(request).
        type: str
        required: true
      access:
        description: The line that ends a request and tells where it came from.
        type: dict
        suboptions:
          logger:
            description: Who writes it, as a pattern.
            type: str
            required: true
          needles:
            description: Texts of which one stands in each such line of a refused request.
            type: list
            elements: str
            required: true
          pattern:
            description: What follows the beginning, with the group C(address) and perhaps C(user) and C(path).
            type: str
            required: true
      internal_paths:
        description: How paths begin that processes of the homeserver ask each other for. They do not count.
        type: str
      events:
        description: The lines that count.
        type: list
        elements: dict
        required: true
        suboptions:
          kind:
            description: What such a line tells of.
            type: str
            required: true
            choices:
              - login_wrong_password
              - login_unknown_user
              - rate_limited
              - registration_refused
              - admin_refused
              - token_refused
              - account_locked
              - ban
              - kick
              - banned_user
              - federation_signature
              - federation_refused
          needle:
            description: A text that stands word for word in each such line.
            type: str
            required: true
          logger:
            description: Who writes it, as a pattern.
            type: str
            required: true
          pattern:
            description:
              - What follows the beginning, perhaps with the groups C(user), C(address), C(path) and C(detail).
            type: str
            required: true
  unsupported:
    description:
      - Why the homeserver's log cannot be read. Its checks are V(skipped) with this reason.
    type: str
  journal_units:
    description:
      - Units whose entries in the journal are the homeserver's log, as full names or patterns of them.
    type: list
    elements: str
    default: []
  log_files:
    description:
      - Files that are the homeserver's log, as paths or patterns of them. What a rotation left beside a file belongs to
        it, with a number or a date behind the name, plain or as gz, bz2 or xz.
    type: list
    elements: path
    default: []
  host_log:
    description:
      - Whether failed logins by SSH and refused calls of sudo are read from the journal, too.
    type: bool
    default: true
  service_ports:
    description:
      - Local TCP ports whose connections are counted by address. Left out, none are.
    type: list
    elements: int
    default: []
  proxies:
    description:
      - Addresses and networks of load balancers. An event that comes from one of them is the sign of a homeserver that
        does not see its clients, and many connections of one are nothing bad.
    type: list
    elements: str
    default: []
  fail2ban:
    description:
      - Whether fail2ban is asked. Where it is not installed, that is V(skipped).
    type: bool
    default: true
  fail2ban_jails:
    description:
      - Jails that fail2ban must have. With any, it is V(critical) that it is not installed.
    type: list
    elements: str
    default: []
  since_hours:
    description:
      - How far back a first call looks. Each further one goes on where the last ended.
    type: float
    default: 24
  window_minutes:
    description:
      - Within how many minutes the events of one address or user count together. The largest number within any such
        time is judged, also across calls.
    type: int
    default: 60
  state_dir:
    description:
      - Directory on the target for the place up to which the logs were read, the counts of the last hours, and the key
        of the pseudonyms. It is made where it is not there, and only its owner can look into it.
    type: path
    default: /var/lib/matrixon-security
  show:
    description:
      - What stands in the report as it is in the log, and not under a pseudonym.
    type: list
    elements: str
    choices: [addresses, users]
    default: []
  top:
    description:
      - How many rows each ranking has.
    type: int
    default: 10
  thresholds:
    description:
      - Thresholds by check, each with V(warning), V(critical) or both, in the check's unit.
      - A level that is not given keeps the check's default. V(null) switches a level off.
    type: dict
    default: {}
  skip_checks:
    description:
      - Checks that are not to count, each with the reason. They stand in the report as V(skipped) with it.
    type: dict
    default: {}
  deadline:
    description:
      - Seconds after which no more is read.
    type: float
    default: 120
"""

EXAMPLES = r"""
- name: Tell who tried to get in since the last time
  matrixon.ops.matrixon_security_events_info:
    deployment: example
    profile: synapse
    patterns: "{{ matrixon_facts.security | dict2items | rejectattr('key', 'eq', 'log') | items2dict }}"
    journal_units: [matrix-synapse.service, matrix-synapse-worker@*.service]
    service_ports: [8008]
    proxies: [10.20.0.10, 10.20.0.11]
  register: security

- name: Look at the logins of a host that runs no homeserver, and insist on fail2ban
  matrixon.ops.matrixon_security_events_info:
    deployment: example
    profile: synapse
    fail2ban_jails: [sshd]
    thresholds:
      ssh_failed_address: {warning: 5, critical: 50}
    show: [addresses]
    fail_on: critical
"""

RETURN = r"""
msg:
  description: The verdict in one line, with the worst finding.
  returned: always
  type: str
  sample: "critical: 1 of 24 checks is critical; failed_logins_address: wrong passwords and logins of unknown users: 412
    within 60 min from ip4-5f0c9a1b7e"
report:
  description:
    - The report, of the kind V(security). Its whole shape is described by C(docs/report.schema.json). Keys without a
      value are left out.
    - Its facts hold the numbers of new events by kind, what was read, and the data of plots and rankings.
  returned: when the options are good
  type: dict
  sample:
    schema: matrixon.ops/report/1
    kind: security
    status: ok
events:
  description: New events by kind. A kind without one is left out.
  returned: when the options are good
  type: dict
  sample: {login_wrong_password: 12, rate_limited: 3}
"""

import datetime
import platform

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._probe import ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import OBSERVER, leave
from ansible_collections.matrixon.ops.plugins.module_utils._security.options import SPEC
from ansible_collections.matrixon.ops.plugins.module_utils._security.run import watched


def main():
    module = AnsibleModule(argument_spec=dict(OBSERVER, **SPEC), supports_check_mode=True)
    options = dict(module.params, target=module.params["target"] or platform.node())
    now = datetime.datetime.now(datetime.timezone.utc)
    try:
        with watched(options, module.check_mode, now) as outcome:
            report = outcome.report
            events = report.facts["events"]
            try:
                outcome.commit()
            except OSError as error:
                words = (
                    f"the place up to which the logs were read could not be kept in {options['state_dir']}: "
                    f"{error.strerror}; the next call will count the same events again"
                )
                module.fail_json(changed=False, msg=words, report=report.as_dict(options["detail"]), events=events)
    except OptionErrors as error:
        module.fail_json(msg=str(error))
    except ProbeFailure as failure:
        module.fail_json(msg=failure.message)
    leave(module, report, events=events)


if __name__ == "__main__":
    main()
