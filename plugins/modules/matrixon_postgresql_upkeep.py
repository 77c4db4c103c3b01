#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_postgresql_upkeep
short_description: See what a PostgreSQL database needs, and vacuum, analyse and rebuild by need
version_added: 0.1.0
description:
  - With O(mode=look) it judges connections, dead rows, bloat, ages of transaction ids, who keeps rows from being
    removed, invalid indexes, cache, checksums. It reads only, and reads no table but PostgreSQL's own catalogs.
  - With O(mode=act) it works out which tables need VACUUM, ANALYZE or FREEZE and which indexes
    C(REINDEX CONCURRENTLY), each with the reason, and runs one after the other, what needs it most first. It never
    runs C(VACUUM FULL), and drops no index but what a rebuild that did not end has left (C(_ccnew), C(_ccold)).
  - A lock is waited for no longer than O(lock_timeout). The table is then left to a person, with who holds it, and
    the others go on. What a cancelled rebuild leaves is dropped.
  - What was done is proven from the catalog. PostgreSQL says no more than a warning where a login may not vacuum a
    table; such a table is never reported as done.
  - It does nothing on a standby, while another run of it works in the same database, or while a standby is further
    behind than O(max_lag). A base backup that runs does not hinder it.
  - V(critical) means that a bad fact was observed, or that a statement failed. V(unknown) means that it could not be
    observed. V(warning) of a statement means that a person is needed. V(skipped) says why nothing was done.
notes:
  - "On the target: Python 3.9 and C(psycopg2). PostgreSQL 13 or later."
  - "On the controller: nothing beyond ansible-core."
  - The login must be a member of C(pg_monitor). To vacuum and analyse it needs to own the tables or the database, to
    rebuild indexes the tables. From version 17 on the right C(MAINTAIN) on the tables, or C(pg_maintain), is enough
    for both; what a rebuild that did not end has left can then be dropped by the owner only, and until that is done
    the index is not rebuilt again. To estimate bloat it needs to read the tables, as statistics are hidden else. The
    superuser through the server's socket has all of it.
  - A rebuild needs twice the size of the index on the disk. That is looked at on this host, so an index is rebuilt
    only where the server is reached by a socket or by loopback.
  - The lag of standbys is looked at before each statement, not within one.
author:
  - the matrixon.ops authors (@matrixon-ops)
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._observer
  - matrixon.ops._checks
  - matrixon.ops._postgresql_login
attributes:
  check_mode:
    support: full
    details:
      - With O(mode=look) it runs in full. With O(mode=act) it says what it would do. What is only planned is
        V(skipped) in the report and never V(ok).
  diff_mode:
    support: none
  idempotent:
    support: full
    details:
      - A second run finds nothing to do, unless the database was written to, or something kept the first from it.
options:
  mode:
    description:
      - Whether to look only, or to act.
      - O(checks), O(skip_checks) and O(thresholds) are for V(look).
    type: str
    choices: [look, act]
    default: look
  postgresql:
    description:
      - The server, and the database that is tended.
    required: true
  deadline:
    description:
      - Seconds for the whole run. When they end, nothing new is begun, what runs is cancelled, and the report says
        what is left.
    type: float
    default: 60
  statement_deadline:
    description: Seconds that one statement may take.
    type: float
    default: 3600
  lock_timeout:
    description: Seconds for which a statement waits for a lock.
    type: float
    default: 5
  cost_delay:
    description: Milliseconds that VACUUM and ANALYZE rest whenever O(cost_limit) is used up. V(0) is no rest.
    type: float
    default: 2
  cost_limit:
    description: What VACUUM and ANALYZE may do until they rest, in the units of C(vacuum_cost_limit).
    type: int
    default: 200
  max_lag:
    description:
      - Bytes by which the slowest standby may be behind. Before each statement the run waits until it is nearer, for
        O(lag_wait) at most, and stops then. V(0) does not look at standbys.
    type: int
    default: 0
  lag_wait:
    description: Seconds to wait for a standby that is behind.
    type: float
    default: 60
  dead_rows:
    description: Tables with fewer dead, new or changed rows are left alone.
    type: int
    default: 1000
  dead_share:
    description:
      - Share of dead rows in percent from which on a table is vacuumed. It also is where autovacuum would take it.
    type: float
    default: 10
  freeze_share:
    description: Age of a table from which on it is frozen, in percent of C(autovacuum_freeze_max_age).
    type: float
    default: 75
  reindex:
    description: Whether indexes are rebuilt.
    type: bool
    default: true
  reindex_share:
    description: Estimated bloat of a B-tree in percent from which on it is rebuilt.
    type: float
    default: 40
  reindex_size:
    description: Bytes of the smallest index that is rebuilt.
    type: int
    default: 67108864
  skip:
    description: Tables and indexes to leave alone, as V(schema.name).
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: See how the database is
  matrixon.ops.matrixon_postgresql_upkeep:
    deployment: example
    profile: synapse
    postgresql:
      host: /var/run/postgresql
      database: synapse
      user: postgres
  become: true
  become_user: postgres
  register: looked

- name: Tend it for two hours at most, and not while a standby is more than 256 MiB behind
  matrixon.ops.matrixon_postgresql_upkeep:
    mode: act
    deployment: example
    profile: synapse
    postgresql:
      host: /var/run/postgresql
      database: synapse
      user: postgres
    deadline: 7200
    max_lag: 268435456
  become: true
  become_user: postgres
"""

RETURN = r"""
msg:
  description: The verdict in one line, with the worst finding.
  returned: always
  type: str
  sample: "warning: 1 of 4 checks is warning; upkeep_vacuum: needs a person: lock AccessExclusiveLock held by pid 4711
    (synapse, worker1, idle in transaction, since 12 min); waited 5 s"
plan:
  description: What was needed at the beginning, in the order in which it is done.
  returned: with O(mode=act), when the options are good
  type: list
  elements: dict
  sample:
    - statement: VACUUM (ANALYZE, PARALLEL 0) "public"."events"
      target: public.events
      why: 40 000 of 50 000 rows are dead (80 %), autovacuum takes it from 10 050; never vacuumed
report:
  description:
    - The report, of the kind V(database_upkeep). Its whole shape is described by C(docs/report.schema.json).
      Keys without a value are left out.
  returned: when the options are good
  type: dict
  contains:
    facts:
      description: What was found or done beside the verdicts, with figures before and after.
      type: dict
      sample: {role: primary, mode: act, left: [], planned: []}
"""

import platform

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._health.options import read_secrets
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._report import FAILING, OBSERVER, headline
from ansible_collections.matrixon.ops.plugins.module_utils._upkeep.options import ACT, SECRETS, SPEC
from ansible_collections.matrixon.ops.plugins.module_utils._upkeep.run import tend


def main():
    module = AnsibleModule(argument_spec=dict(OBSERVER, **SPEC), supports_check_mode=True)
    options = dict(module.params, target=module.params["target"] or platform.node())
    try:
        module.no_log_values.update(read_secrets(options, SECRETS))
        outcome = tend(options, module.check_mode)
    except OptionErrors as error:
        module.fail_json(msg=str(error))
    report = outcome.report
    changed = outcome.changed or (module.check_mode and bool(outcome.plan))
    result = dict(changed=changed, msg=headline(report), report=report.as_dict(options["detail"]))
    if options["mode"] == ACT:
        result["plan"] = list(outcome.plan)
    if report.status in FAILING[options["fail_on"]]:
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
