#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_documents_info
short_description: Whether what people need on the day is still true
version_added: 0.1.0
description:
  - Opens the links of runbooks, looks at contacts and at the shifts of an escalation matrix, and says how old the
    reports of drills and the files of secrets are.
  - What is not as it should be is V(warning), for it needs a person. What could not be asked is V(unknown).
  - A mail address is good if its domain has a mail server. Whether somebody reads it, only a person can say.
  - Of secrets only the time of the file is looked at. The module reads only.
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._observer
  - matrixon.ops._https
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
  links:
    description: URLs that must answer, such as those of runbooks. One that asks for a login is good.
    type: list
    elements: str
    default: []
  contacts:
    description: Who can be reached and how, each with C(name), and C(email) or C(phone).
    type: list
    elements: dict
    default: []
  escalation:
    description: The shifts, each with C(shift) and C(people), who are names of O(contacts).
    type: list
    elements: dict
    default: []
  reports:
    description: Reports of drills, each with C(path) on this host and C(max_days).
    type: list
    elements: dict
    default: []
  secret_files:
    description: Files of secrets, each with C(paths), which may be patterns, and C(max_days).
    type: list
    elements: dict
    default: []
  timeout:
    description: Seconds after which one link or contact is given up.
    type: float
    default: 10
  deadline:
    description: Seconds after which the module asks nobody any more.
    type: float
    default: 120
notes:
  - "On the target: Python 3.9; C(dnspython) for mail addresses, without which they are V(unknown)."
  - "On the controller: nothing beyond ansible-core."
"""

EXAMPLES = r"""
- name: Review what people need on the day
  matrixon.ops.matrixon_documents_info:
    deployment: example
    profile: synapse
    links: [https://wiki.example.com/matrix/runbook]
    contacts:
      - {name: Alice, email: alice@example.com, phone: +49 30 123456}
    escalation:
      - {shift: night, people: [Alice]}
    reports:
      - {path: /srv/reports/dr_drill-example.json, max_days: 92}
"""

RETURN = r"""
msg:
  description: The verdict in one line, with the worst finding.
  returned: always
  type: str
  sample: "warning: 1 of 4 checks is warning; document_escalation: nobody is called in this shift"
report:
  description: The report, of the kind V(documents), whose shape is that of C(docs/report.schema.json).
  returned: when the options are good
  type: dict
  sample: {kind: documents, status: ok}
"""

import datetime
import platform

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._http import HTTPS_SPEC, HttpClient
from ansible_collections.matrixon.ops.plugins.module_utils._maintenance.documents import problems, review
from ansible_collections.matrixon.ops.plugins.module_utils._report import OBSERVER, leave, report_of


def argument_spec():
    """Return the options."""
    return dict(
        OBSERVER,
        links=dict(type="list", elements="str", default=[]),
        contacts=dict(type="list", elements="dict", default=[]),
        escalation=dict(type="list", elements="dict", default=[]),
        reports=dict(type="list", elements="dict", default=[]),
        # no_log would hide the paths, and those are no secrets.
        secret_files=dict(type="list", elements="dict", default=[], no_log=False),
        timeout=dict(type="float", default=10),
        deadline=dict(type="float", default=120),
        **HTTPS_SPEC,
    )


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    options = dict(module.params, target=module.params["target"] or platform.node())
    wrong = problems(options)
    if wrong:
        module.fail_json(msg="; ".join(wrong))
    started = datetime.datetime.now(datetime.timezone.utc)
    client = HttpClient(options["connect_to"], options["ca_file"], options["validate_certs"])
    checks = review(options, client)
    report = report_of("documents", options, started, checks, {})
    leave(module, report)


if __name__ == "__main__":
    main()
