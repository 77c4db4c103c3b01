#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_capacity_history
short_description: Add readings of capacity to a history
version_added: 0.1.0
description:
  - Adds the rows of reports of M(matrixon.ops.matrixon_capacity_info) to a CSV file, or to a table of PostgreSQL.
  - All rows of a call are added or none. Two runs at once wait for each other. What stands there already is not added
    again.
  - A file that begins with another header is not ours. It is left alone, nothing is added, and the check
    C(capacity_history_rows) is V(unknown). Lines that cannot be read are kept as they are.
  - A row that is older than the last one of its host tells of a clock that went back, and one that is more than five
    minutes ahead of this clock would do so to all rows after it. Both are refused, and the check is a V(warning).
notes:
  - "Where it runs, usually the controller: Python 3.9, and C(psycopg2) for O(postgresql)."
author:
  - the matrixon.ops authors (@matrixon-ops)
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._observer
  - matrixon.ops._capacity_store
attributes:
  check_mode:
    support: full
    details:
      - Reads the history and says what would be added.
  diff_mode:
    support: full
    details:
      - Returns the lines that are added.
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Keep what was read
  matrixon.ops.matrixon_capacity_history:
    target: controller
    deployment: example
    profile: synapse
    documents: ["{{ capacity.report }}"]
    path: /var/lib/matrixon/capacity.csv
  delegate_to: localhost
  register: history

- name: Keep it in a database, and make the table there the first time
  matrixon.ops.matrixon_capacity_history:
    target: controller
    deployment: example
    profile: synapse
    documents: ["{{ capacity.report }}"]
    postgresql:
      host: db1.internal
      database: operations
      user: capacity
      password: "{{ vault_capacity_password }}"
      sslmode: require
    create: true
  delegate_to: localhost
"""

RETURN = r"""
msg:
  description: What was added, or why nothing was.
  returned: always
  type: str
  sample: "ok: the one check is good"
report:
  description: The report, of the kind V(capacity), on the history itself.
  returned: when the options are good
  type: dict
  sample: {schema: matrixon.ops/report/1, kind: capacity, status: ok}
added:
  description: How many rows were added, or would be in check mode.
  returned: when the history could be read
  type: int
  sample: 31
known:
  description: How many stood there already.
  returned: when the history could be read
  type: int
  sample: 0
refused:
  description: Rows that were refused because of a clock, each with the reason.
  returned: when the history could be read
  type: list
  elements: dict
  sample:
    - {host: db1, resource: memory, time: "2020-01-01T00:00:00Z", reason: the clock of db1 went back}
"""

import platform

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._capacity.review import STORE, record
from ansible_collections.matrixon.ops.plugins.module_utils._capacity.store_csv import lines
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._report import FAILING, OBSERVER


def main():
    module = AnsibleModule(argument_spec=dict(OBSERVER, **STORE), supports_check_mode=True)
    options = dict(module.params, target=module.params["target"] or platform.node())
    try:
        written = record(options, write=not module.check_mode)
    except OptionErrors as error:
        module.fail_json(msg=str(error))
    report, decision = written.report, written.decision
    result = dict(changed=written.changed, msg=report.checks[0].message, report=report.as_dict(options["detail"]))
    if decision is not None:
        result["added"] = len(decision.add)
        result["known"] = len(decision.known)
        result["refused"] = [
            dict(host=row.host, resource=row.resource, time=row.as_dict()["time"], reason=reason)
            for row, reason in decision.refused
        ]
        if module._diff:
            result["diff"] = dict(before="", after=lines(decision.add))
    if report.status in FAILING[options["fail_on"]]:
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
