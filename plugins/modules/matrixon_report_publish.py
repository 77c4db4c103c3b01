#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is a virtual module: the code is in the action plugin of the same name.

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_report_publish
short_description: Publish what the hosts of a play returned
version_added: 0.1.0
description:
  - Works out the verdict of a fleet from the reports of its hosts and writes it on the controller,
    as JSON, as one self-contained HTML page, as the last report of each host, and as a history of runs.
  - Files are written whole, by rename, and only where they differ. The same reports change nothing.
  - It runs on the controller and needs no connection, whichever host the task is for.
  - Most playbooks use the role P(matrixon.ops.report#role), which calls this.
attributes:
  check_mode:
    support: full
    description: In check mode nothing is written, and the result says what would be.
  diff_mode:
    support: full
    description: Names each file that changes; of the JSON of the fleet it shows the first 40 lines of difference.
  action:
    support: full
    description: It has an action plugin and runs on the controller.
options:
  documents:
    description:
      - The reports, as the modules of this collection return them.
      - A document that cannot be read becomes a host of status C(unknown).
    type: list
    elements: raw
    required: true
  unreachable:
    description: Hosts that returned no report, each with C(target) and C(message). Their status is C(unknown).
    type: list
    elements: raw
    default: []
  kind:
    description: The kind of operation, which all reports must be of.
    type: str
    default: health
  deployment:
    description: Name of the deployment; if empty it is taken from the reports.
    type: str
    default: ""
  dir:
    description: Directory on the controller that holds the reports. It is made if it is missing.
    type: path
    required: true
  json:
    description: Whether to write the fleet as C(<kind>-<deployment>.json).
    type: bool
    default: true
  hosts:
    description:
      - Whether to write the last report of each host as C(hosts/<kind>-<host>.json).
        The next run takes its baseline from it.
      - A host that returned no report keeps the file that it has.
    type: bool
    default: true
  page:
    description:
      - Whether to write the page C(<kind>-<deployment>.html).
      - It draws what a report of any kind holds as C(facts.plots) and C(facts.rankings),
        and shows C(facts.answer) on top.
    type: bool
    default: true
  keep:
    description: How many runs to keep in C(history/). The page plots the last 30 of them. V(0) keeps none.
    type: int
    default: 30
  file_mode:
    description: Mode of the files. Directories that are made can be entered by whoever can read the files.
    type: str
    default: "0640"
  skew_components:
    description: Components of which every host should run the same version; it is a warning if they do not.
    type: list
    elements: str
    default: [homeserver]
  stale_after:
    description: Age in seconds from which the page says of itself that it is old.
    type: int
    default: 86400
  template:
    description:
      - Template of the page, with C(page.css) and C(page.js) beside it.
      - If empty, it is the one of the collection.
    type: path
    default: ""
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Publish the health of the fleet
  matrixon.ops.matrixon_report_publish:
    documents: "{{ groups['homeserver'] | map('extract', hostvars, ['health', 'report']) | list }}"
    dir: /srv/reports
  register: published
  run_once: true
"""

RETURN = r"""
status:
  description: The verdict of the fleet, one of C(critical), C(unknown), C(warning), C(ok).
  type: str
  returned: success
  sample: critical
headline:
  description: The one sentence that says how the fleet is.
  type: str
  returned: success
  sample: "1 of 4 hosts critical: PostgreSQL at 10.0.0.5:5432 refused the connection (db1)"
summary:
  description: What a workflow passes on - status, counts, the worst checks and the paths of the reports, in a few KB.
  type: dict
  returned: success
changes:
  description: What was done, or would be done in check mode, to which file.
  type: list
  elements: str
  returned: success
  sample: ["update /srv/reports/health-example.org.html"]
"""
