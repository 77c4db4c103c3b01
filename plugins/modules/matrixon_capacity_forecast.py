#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_capacity_forecast
short_description: Say when something is full, from a history of capacity
version_added: 0.1.0
description:
  - Fits the growth of each resource that O(documents) have a row of, over the last O(window_days) of its history, and
    says in how many days it comes to its limit, with an interval.
  - A straight line with a weekly season is fitted to the medians of the days. A level that jumped and stayed is a step,
    and a day that stands out alone is left out. Errors of neighbouring days are taken to depend on each other, so that
    the interval is as wide as it must be.
  - Where the history is shorter than the window, or too few of its days have a reading, the check is V(skipped) with
    "not enough data" and what it takes. Where the history cannot be read it is V(unknown).
  - A limit that breaks something, such as a full disk, can be V(critical). One at which the operations guide adds
    machines, such as 80 % of memory, is at most a V(warning).
  - It returns the reports with these checks, plots and one sentence for each, and one report on the history itself.
  - The module reads only.
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
      - Runs in full and gives the same answer. It never reports a change.
  diff_mode:
    support: N/A
    details:
      - It changes nothing.
  idempotent:
    support: full
options:
  window_days:
    description:
      - Days of the past that count, up to the last reading.
    type: int
    default: 28
  level:
    description:
      - Percent of the days to come that lie within the interval if growth goes on as it did.
    type: float
    default: 90
  horizon_days:
    description:
      - Days to look ahead.
    type: int
    default: 365
  warning_days:
    description:
      - A resource that is full in so many days is a V(warning).
    type: float
    default: 60
  critical_days:
    description:
      - One that is full in so many days is V(critical).
    type: float
    default: 14
  provision_days:
    description:
      - For how many more days the amount lasts that the answer says to add.
    type: int
    default: 180
  thresholds:
    description:
      - As in M(matrixon.ops.matrixon_capacity_info). Of each kind, C(full) is what is looked ahead to.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: When is something full?
  matrixon.ops.matrixon_capacity_forecast:
    target: controller
    deployment: example
    profile: synapse
    documents: ["{{ capacity.report }}", "{{ history.report }}"]
    path: /var/lib/matrixon/capacity.csv
    window_days: 42
  delegate_to: localhost
  register: outlook

- name: Say it
  ansible.builtin.debug:
    var: outlook.answer
"""

RETURN = r"""
msg:
  description: The same sentence as RV(answer), or what is wrong with the history.
  returned: always
  type: str
  sample: disk of /var on db1 is full in 41 days at the present rate (33 to 55 days, 90 % sure); add 200.0 GiB by
    30 December 2026
answer:
  description: What matters most of all resources, in one sentence. Empty if there is nothing with a limit.
  returned: when the options are good
  type: str
  sample: disk of /var on db1 is full in 41 days at the present rate (33 to 55 days, 90 % sure); add 200.0 GiB by
    30 December 2026
documents:
  description:
    - The reports of O(documents) with what is ahead of them. The fact C(outlook) has the numbers, C(plots) the pictures
      as data, C(rankings) a table, and C(answer) the sentence of each host.
    - The last one is the report on the history, with the answer of the whole fleet.
  returned: when the options are good
  type: list
  elements: dict
  sample: [{schema: matrixon.ops/report/1, kind: capacity, status: warning}]
"""

import platform

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._capacity.review import STORE, review
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._report import FAILING, OBSERVER


def argument_spec():
    """Return the options."""
    return dict(
        OBSERVER,
        window_days=dict(type="int", default=28),
        level=dict(type="float", default=90),
        horizon_days=dict(type="int", default=365),
        warning_days=dict(type="float", default=60),
        critical_days=dict(type="float", default=14),
        provision_days=dict(type="int", default=180),
        thresholds=dict(type="dict", default={}),
        **STORE,
    )


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    options = dict(module.params, target=module.params["target"] or platform.node())
    try:
        found = review(options)
    except OptionErrors as error:
        module.fail_json(msg=str(error))
    result = dict(changed=False, msg=found.message, answer=found.answer, documents=found.documents)
    if any(document["status"] in FAILING[options["fail_on"]] for document in found.documents):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
