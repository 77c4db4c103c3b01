#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_capacity_info
short_description: Read what can fill up on a host, as typed rows
version_added: 0.1.0
description:
  - Reads at once, under one total deadline, what of a Matrix host can fill up. That is file systems and their inodes,
    memory, load, connections of clients, connections of PostgreSQL against its limit, the size of the database and of
    its largest tables, and what the homeserver's tables say of users, rooms, events and media.
  - Each reading becomes a row with time, deployment, host, resource, value, limit and unit. Values are bytes or counts
    and never text for people. A reading that failed gives no row, and its check is V(unknown).
  - It does not look through directories and counts no events one by one, so that a large server hardly notices it.
  - What is asked of the database is asked of the primary only. On a standby these checks are V(skipped).
  - Shares of limits are judged as they are at this moment. M(matrixon.ops.matrixon_capacity_history) keeps the rows,
    and M(matrixon.ops.matrixon_capacity_forecast) says when something is full.
  - The module reads only.
notes:
  - "On the target: Python 3.9, and C(psycopg2) for O(postgresql)."
  - "On the controller: nothing beyond ansible-core."
author:
  - the matrixon.ops authors (@matrixon-ops)
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._observer
  - matrixon.ops._postgresql_login
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
  mounts:
    description:
      - Paths whose file systems are read. Two paths on one file system give it once.
    type: list
    elements: path
    default: []
  media_dir:
    description:
      - Directory of the homeserver's media. Its file system is read, and the fact C(file_systems) tells which it is.
    type: path
  machine:
    description:
      - Whether memory and load are read.
    type: bool
    default: true
  instances:
    description:
      - Homeserver processes of this host, as in M(matrixon.ops.matrixon_health). The established connections to the
        port of each are counted.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: How the rows call it.
        type: str
        required: true
      url:
        description: Where it listens, such as V(http://127.0.0.1:8008).
        type: str
        required: true
  instance_limit:
    description:
      - How many connections one of O(instances) is meant to hold. The operations guide scales above the default.
    type: float
    default: 150000
  postgresql:
    description:
      - The server that holds the homeserver's database, and that database. The session is read-only.
      - The user must be a member of C(pg_monitor) for connections, and for O(queries) it must be one who may read the
        homeserver's tables.
  queries:
    description:
      - What to ask the homeserver's tables, as the profile has it under C(capacity). Each query gives one number.
      - Keys are V(users), V(rooms), V(events), V(daily_active), V(media_local) and V(media_remote). Each takes
        C(state), and with it the query as C(value), or for V(unsupported) the C(reason) with which it is V(skipped).
    type: dict
    default: {}
  tables:
    description:
      - How many of the largest tables are told.
    type: int
    default: 10
  limits:
    description:
      - Limits for what has none by itself, such as C(users) and C(database), in counts or bytes, for the rows.
    type: dict
    default: {}
  thresholds:
    description:
      - Shares of the limit in percent, by kind of resource, in place of the declared ones.
      - Kinds are V(disk), V(inodes), V(memory), V(load), V(database_connections) and V(service_connections). Each takes
        C(warning), C(critical), and C(full), which is what a forecast looks ahead to.
    type: dict
    default: {}
  timeout:
    description:
      - Seconds for one of the things that are read.
    type: float
    default: 20
  deadline:
    description:
      - Seconds after which the module returns, whatever still hangs.
    type: float
    default: 30
"""

EXAMPLES = r"""
- name: Read what can fill up on a database host
  matrixon.ops.matrixon_capacity_info:
    deployment: example
    profile: synapse
    mounts: [/, /var]
    postgresql:
      database: synapse
      host: /var/run/postgresql
      user: postgres
    queries:
      rooms: {state: tested, value: SELECT count(*) FROM rooms}
    limits: {database: 500000000000}
  register: capacity

- name: Count the connections of two processes, and judge memory otherwise
  matrixon.ops.matrixon_capacity_info:
    deployment: example
    profile: synapse
    instances:
      - {name: main, url: "http://127.0.0.1:8008"}
      - {name: worker1, url: "http://127.0.0.1:8081"}
    thresholds: {memory: {warning: 85, critical: 95, full: 90}}
"""

RETURN = r"""
msg:
  description: The verdict in one line, with the worst finding.
  returned: always
  type: str
  sample: "ok: all 12 checks are good"
report:
  description:
    - The report, of the kind V(capacity). Its whole shape is described by C(docs/report.schema.json).
    - Its facts hold the rows, too.
  returned: when the options are good
  type: dict
  sample: {schema: matrixon.ops/report/1, kind: capacity, status: ok}
rows:
  description: A row for each reading, ordered by resource.
  returned: when the options are good
  type: list
  elements: dict
  sample:
    - time: "2026-11-27T09:00:00Z"
      deployment: example
      host: db1
      resource: disk:/var
      value: 6442450944
      limit: 10737418240
      unit: B
"""

import platform

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._capacity.collect import (
    INSTANCE,
    POSTGRESQL,
    SECRETS,
    collect,
)
from ansible_collections.matrixon.ops.plugins.module_utils._health.options import read_secrets
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._report import FAILING, OBSERVER, headline


def argument_spec():
    """Return the options."""
    return dict(
        OBSERVER,
        mounts=dict(type="list", elements="path", default=[]),
        media_dir=dict(type="path"),
        machine=dict(type="bool", default=True),
        instances=dict(type="list", elements="dict", options=INSTANCE, default=[]),
        instance_limit=dict(type="float", default=150000),
        postgresql=dict(type="dict", options=POSTGRESQL),
        queries=dict(type="dict", default={}),
        tables=dict(type="int", default=10),
        limits=dict(type="dict", default={}),
        thresholds=dict(type="dict", default={}),
        timeout=dict(type="float", default=20),
        deadline=dict(type="float", default=30),
    )


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    options = dict(module.params, target=module.params["target"] or platform.node())
    try:
        module.no_log_values.update(read_secrets(options, SECRETS))
        outcome = collect(options)
    except OptionErrors as error:
        module.fail_json(msg=str(error))
    report = outcome.report
    result = dict(
        changed=False,
        msg=headline(report),
        report=report.as_dict(options["detail"]),
        rows=[row.as_dict() for row in outcome.rows],
    )
    if report.status in FAILING[options["fail_on"]]:
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
