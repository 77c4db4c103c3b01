#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_access_info
short_description: Who can get into a host, held against a list that somebody answers for
version_added: 0.1.0
description:
  - Finds accounts with a shell, rules of sudo, SSH keys that open accounts, logins of PostgreSQL, and administrators of
    the homeserver.
  - Whoever is in no entry of O(approved) is new, an entry for this host alone that fits nobody is gone, and one that
    nobody reviewed for O(review_days) is old. Each of them is V(warning), for only a person can say what is right.
  - The module reads only.
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._observer
author:
  - the matrixon.ops authors (@matrixon-ops)
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
  approved:
    description:
      - What is approved, each with C(kind) (V(os_login), V(sudo), V(ssh_key), V(postgresql_login) or
        V(homeserver_admin)), C(name), C(owner), C(reviewed) as a day, and perhaps C(host).
      - C(name) and C(host) may be shell patterns. A group of sudo begins with V(%); an SSH key is
        V(user:SHA256:fingerprint), as C(ssh-keygen -l) says it.
    type: list
    elements: dict
    default: []
  review_days:
    description: Days after which an entry should be reviewed again.
    type: float
    default: 92
  postgresql:
    description: The PostgreSQL server of this host, as in M(matrixon.ops.matrixon_security_audit_info).
    type: dict
    suboptions:
      socket_directory:
        description: Directory of its socket.
        type: path
        default: /var/run/postgresql
      port:
        description: Its port.
        type: int
        default: 5432
      user:
        description: The user of the operating system and of the database who may read the roles.
        type: str
        default: postgres
      database:
        description: Name of the homeserver's database.
        type: str
        default: postgres
      admins_query:
        description: SQL that gives the names of the homeserver's administrators. Left out, they are V(skipped).
        type: str
      admins_unsupported:
        description: Why there is no such question.
        type: str
  deadline:
    description: Seconds after which the module gives up.
    type: float
    default: 60
notes:
  - "On the target: Python 3.9, and root's rights; C(cvtsudoers) for sudo; C(psql) and C(setpriv) for PostgreSQL."
  - "On the controller: nothing beyond ansible-core."
"""

EXAMPLES = r"""
- name: See who can get in
  matrixon.ops.matrixon_access_info:
    deployment: example
    profile: synapse
    approved:
      - {kind: os_login, name: root, owner: platform team, reviewed: 2026-11-01}
      - {kind: sudo, name: "%sudo", host: "db*", owner: platform team, reviewed: 2026-11-01}
"""

RETURN = r"""
msg:
  description: The verdict in one line, with the worst finding.
  returned: always
  type: str
  sample: "warning: 1 of 3 checks is warning; access_os_login: 3 accounts with a shell; new, in no list: mallory"
access:
  description: Who has which kind of access.
  returned: when the options are good
  type: dict
  sample: {os_login: [root, alice], sudo: ["%sudo", root]}
report:
  description: The report, of the kind V(access), whose shape is that of C(docs/report.schema.json).
  returned: when the options are good
  type: dict
  sample: {kind: access, status: ok}
"""

import datetime
import platform

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._maintenance.access import parse, review
from ansible_collections.matrixon.ops.plugins.module_utils._report import OBSERVER, leave, report_of

SERVER = dict(
    socket_directory=dict(type="path", default="/var/run/postgresql"),
    port=dict(type="int", default=5432),
    user=dict(type="str", default="postgres"),
    database=dict(type="str", default="postgres"),
    admins_query=dict(type="str"),
    admins_unsupported=dict(type="str"),
)


def argument_spec():
    """Return the options."""
    return dict(
        OBSERVER,
        approved=dict(type="list", elements="dict", default=[]),
        review_days=dict(type="float", default=92),
        postgresql=dict(type="dict", options=SERVER),
        deadline=dict(type="float", default=60),
    )


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    options = dict(module.params, target=module.params["target"] or platform.node())
    approved, problems = parse(options["approved"])
    for name in ("review_days", "deadline"):
        if options[name] <= 0:
            problems.append(f"{name}: {options[name]:g} is not more than 0; leave it out for the default")
    if problems:
        module.fail_json(msg="; ".join(problems))
    started = datetime.datetime.now(datetime.timezone.utc)
    found = review(options, approved, started.date())
    report = report_of("access", options, started, found["checks"], {"access": found["seen"]})
    leave(module, report, access=found["seen"])


if __name__ == "__main__":
    main()
