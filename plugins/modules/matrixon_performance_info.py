#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_performance_info
short_description: Measure one host of a Matrix deployment over an interval, and say what is slow and why
version_added: 0.1.0
description:
  - Watches a host for some seconds and returns one report. CPU, memory, swapping, pressure, disks and network are
    always looked at. Services, ports, the homeserver and PostgreSQL are where the options name them.
  - Counters are read at the beginning and at the end, and in steps between, so that what is told is what went on in
    the interval and not the mean since the host was started.
  - The settings of PostgreSQL are held against those that the role C(postgresql) would write for this machine,
    each with the reason.
  - V(critical) means that a bad fact was observed. V(unknown) means that it could not be observed.
    V(skipped) means that there was nothing to look at, or not enough to judge by, and is never V(ok).
  - The module reads only.
notes:
  - "On the target: nothing but Python 3.9 for the host. What is asked of PostgreSQL needs C(psycopg2), and a login that
    is a member of C(pg_monitor). Its statements need the extension C(pg_stat_statements) in the database.
    What is missing makes the checks that need it V(unknown), and no others."
  - "On the controller: nothing beyond ansible-core."
  - In a container CPU, disks and pressure are those of the machine that it runs on.
author:
  - the matrixon.ops authors (@matrixon-ops)
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._observer
  - matrixon.ops._checks
  - matrixon.ops._https
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
  interval:
    description:
      - Seconds for which the host is watched, 1 to 3600.
    type: float
    default: 10
  samples:
    description:
      - Into how many steps the interval is divided. The least and the most of a figure are those of a step.
    type: int
    default: 10
  timeout:
    description:
      - Seconds that a probe may take beside the interval.
    type: float
    default: 10
  deadline:
    description:
      - Seconds after which the module returns, whatever still hangs. It must be longer than O(interval).
    type: float
    default: 60
  units:
    description:
      - systemd units whose processes are looked at, with all their descendants. A C(*) stands for any part of a name.
    type: list
    elements: str
    default: []
  processes:
    description:
      - Services without a unit whose processes are looked at.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: How the report calls the service.
        type: str
        required: true
      pid_file:
        description: File that holds its process id.
        type: path
        required: true
  ports:
    description:
      - TCP ports of this host whose connections are counted by their state.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: How the report calls the port.
        type: str
        required: true
      port:
        description: The local port.
        type: int
        required: true
  homeserver:
    description:
      - The homeserver processes on this host.
    type: dict
    suboptions:
      instances:
        description: The processes whose metrics are read.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: How the report calls the process.
            type: str
            required: true
          metrics_url:
            description: Where it shows its metrics to Prometheus.
            type: str
            required: true
      latency_histogram:
        description: The histogram of its response times.
        type: dict
        suboptions:
          name:
            description: Name of the metric without C(_bucket), in seconds.
            type: str
            required: true
          labels:
            description: Labels that together name an endpoint.
            type: list
            elements: str
            required: true
          excluded:
            description: Values of these labels of endpoints that say nothing of speed, such as long polls and probes.
            type: list
            elements: str
            default: []
      unsupported:
        description: Why this product shows no response times. The checks are V(skipped) with it.
        type: str
  postgresql:
    description:
      - The PostgreSQL server on this host, 13 or later.
    type: dict
    suboptions:
      host:
        description: Name, address or socket directory of the server.
        type: str
        default: 127.0.0.1
      port:
        description: Port to connect to.
        type: int
        default: 5432
      database:
        description: Database to connect to. Statements and tables are those of this database.
        type: str
        required: true
      user:
        description: User to log in as. A member of the role C(pg_monitor) sees everything that is looked at.
        type: str
        required: true
      password:
        description: Password to log in with.
        type: str
      password_file:
        description: File on the target that holds the password.
        type: path
      sslmode:
        description: How to use TLS, in the words of libpq.
        type: str
        choices: [disable, allow, prefer, require, verify-ca, verify-full]
        default: prefer
      ca_file:
        description: PEM file with the certificate authorities to trust.
        type: path
      tuning:
        description: What the advised settings are computed from.
        type: dict
        suboptions:
          memory_bytes:
            description: Memory for the server. V(0) is all of the host's.
            type: int
            default: 0
          cores:
            description: Cores for the server. V(0) is all of the host's.
            type: int
            default: 0
          connections:
            description: Connections that it should allow. V(0) is what it allows now.
            type: int
            default: 0
          storage:
            description: What the data lies on.
            type: str
            choices: [ssd, hdd]
            default: ssd
          standbys:
            description: How many standbys it has.
            type: int
            default: 0
          settings:
            description: Settings of your own, by name, that take the place of advised ones.
            type: dict
            default: {}
  guide_settings:
    description:
      - Settings that a guide recommends for every server, to be held against this machine.
    type: list
    elements: dict
    default: []
    suboptions:
      setting:
        description: Name of the setting.
        type: str
        required: true
      value:
        description: What the guide sets it to.
        type: str
        required: true
      rule:
        description: What it is held against.
        type: str
        required: true
        choices:
          - threads
          - blocking_threads
          - keepalive
          - cache_memory
          - database_connections
          - query_timeout
          - statement_cache
          - local_service
          - any
  earlier:
    description:
      - An earlier run of the same host, with C(finished) and C(kept), the fact of that name in its report; or with
        C(reason), why there is none. The filter P(matrixon.ops.performance_earlier#filter) makes it.
    type: dict
"""

EXAMPLES = r"""
- name: See what is slow on a host that has everything
  matrixon.ops.matrixon_performance_info:
    deployment: example
    profile: synapse
    interval: 30
    units: [matrix-synapse.service, "postgresql@*.service"]
    ports:
      - {name: client, port: 8008}
      - {name: postgresql, port: 5432}
    homeserver:
      instances:
        - {name: main, metrics_url: "http://127.0.0.1:9000/_synapse/metrics"}
      latency_histogram:
        name: synapse_http_server_response_time_seconds
        labels: [method, servlet]
        excluded: [SyncRestServlet]
    postgresql:
      database: synapse
      user: monitor
      password_file: /etc/matrixon/monitor-password
  register: performance

- name: Fail where the database keeps clients waiting
  matrixon.ops.matrixon_performance_info:
    deployment: example
    profile: synapse
    postgresql:
      database: synapse
      user: monitor
      password_file: /etc/matrixon/monitor-password
    checks: [postgresql_query_time, postgresql_lock_wait]
    thresholds:
      postgresql_query_time: {warning: 20, critical: 200}
    fail_on: critical
"""

RETURN = r"""
msg:
  description: The verdict in one line, with the worst finding.
  returned: always
  type: str
  sample: "warning: 1 of 24 checks is warning; postgresql_slow_query: the slowest statement of the interval ran 41
    times and took 1.2 s in the mean: SELECT ..."
report:
  description:
    - The report, of the kind V(performance). Its whole shape is described by C(docs/report.schema.json).
      Keys without a value are left out.
  returned: when the options are good
  type: dict
  contains:
    facts:
      description:
        - What was found beside the verdicts. C(plots), C(rankings) and C(answer) are what the page shows.
        - C(rankings) holds queries by total and by mean time, of the interval and since their counters began,
          endpoints, processes, tables, locks, and the settings with what is advised.
        - C(footprint) is what the module itself took, and C(kept) what a later run compares with.
      type: dict
      sample:
        answer: "Nothing stands out: CPUs busy 12 %, memory in use 41 %, a query takes 0.4 ms."
        footprint: {cpu_seconds: 0.4, seconds: 10.2, memory_bytes: 31457280}
"""

import platform

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._health.options import read_secrets
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._performance.options import SECRETS, SPEC
from ansible_collections.matrixon.ops.plugins.module_utils._performance.run import check_performance
from ansible_collections.matrixon.ops.plugins.module_utils._report import FAILING, OBSERVER, headline


def main():
    module = AnsibleModule(argument_spec=dict(OBSERVER, **SPEC), supports_check_mode=True)
    options = dict(module.params, target=module.params["target"] or platform.node())
    try:
        module.no_log_values.update(read_secrets(options, SECRETS))
        report = check_performance(options)
    except OptionErrors as error:
        module.fail_json(msg=str(error))
    result = dict(changed=False, msg=headline(report), report=report.as_dict(options["detail"]))
    if report.status in FAILING[options["fail_on"]]:
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
