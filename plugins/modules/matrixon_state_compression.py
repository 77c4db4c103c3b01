#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_state_compression
short_description: Store the state of rooms in fewer rows, where the tool for it is present
version_added: 0.1.0
description:
  - Has the homeserver's own tool go through the groups of room state and store them in fewer rows. The tool is not
    installed by this collection. Where it is missing, or is an empty shell, the run is V(skipped) with the reason.
  - The tool works in small parts. Before each of them standbys, free space, and what the homeserver has to do on the
    same tables itself are looked at. Groups that wait to be deleted keep it from beginning, for the tool could build on
    one of them.
  - Of each part the whole state of a sample of groups is put together before and after and compared, and for all groups
    it is seen that what they stand on is there. A difference is V(critical), names the groups, and ends the run.
  - Rows are counted in the groups of a part, not in the whole table. Space comes back to the table by C(VACUUM) only.
  - It refuses without a verified backup of the database that is new enough, and while another run works in the same
    database. A standby is V(skipped).
  - The password reaches the tool by a pipe, and never a command line, an environment or a message.
notes:
  - "On the target: Python 3.9 and C(psycopg2). PostgreSQL 13 or later."
  - "On the controller: nothing beyond ansible-core."
  - C(synapse_auto_compressor) is built from C(matrix-org/rust-synapse-compress-state), as an executable or as a module
    of Python. On PyPI release 0.1.2 is such a module, and 0.1.4 an empty shell.
  - "The tool checks no certificate of the server, so run it where it reaches the server by a socket or a network that
    is trusted."
  - The login must own the homeserver's tables, or be the superuser. To see the lag of standbys and the data directory
    it must be a member of C(pg_monitor).
author:
  - the matrixon.ops authors (@matrixon-ops)
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._observer
attributes:
  check_mode:
    support: full
    details:
      - Looks and passes the gates as otherwise, and says where the tool would begin and how many groups it has not
        taken yet. It makes no table. Whether rows would be saved only the tool can say, so C(changed) means that they
        may be.
  diff_mode:
    support: none
  idempotent:
    support: full
    details:
      - A second run finds nothing left, or goes on where the first one stopped. C(changed) is true only if a group is
        stored in another way than before.
options:
  way:
    description: What the profile has under C(state_compression), with the tool's name and the queries.
    type: dict
    required: true
  postgresql:
    description: The server that holds the homeserver's database.
    type: dict
    required: true
    suboptions:
      host:
        description: Name, address, or directory of the socket.
        type: str
        default: 127.0.0.1
      port:
        description: Port of the server.
        type: int
        default: 5432
      database:
        description: Name of the homeserver's database.
        type: str
        required: true
      user:
        description: User to log in as.
        type: str
        required: true
      password:
        description: Password of O(postgresql.user).
        type: str
      password_file:
        description: File on this host that holds it.
        type: path
      sslmode:
        description: How much TLS is insisted on. V(verify-ca) and V(verify-full) are refused, as the tool does neither.
        type: str
        choices: [disable, allow, prefer, require, verify-ca, verify-full]
        default: prefer
      ca_file:
        description: PEM file with the authorities to trust.
        type: path
  tool:
    description:
      - The tool as an executable, as a path or a name. Left out, the one of the profile's name on the PATH.
      - It takes the location of the database on its command line, so it is used only with a login that needs no
        password.
    type: str
  python:
    description: Absolute path of the interpreter that has the tool as a module. Give this or O(tool).
    type: path
  tool_user:
    description: User of the operating system as whom the tool runs. Left out, the user who runs the module.
    type: str
  chunk_size:
    description: How many groups of one room the tool takes at once. It holds all their rows in memory.
    type: int
    default: 500
  chunks:
    description: How many chunks a run takes at most.
    type: int
    default: 100
  part:
    description: How many chunks one call of the tool takes.
    type: int
    default: 5
  levels:
    description: How many groups stand on each other at most, level by level, as the tool has it.
    type: list
    elements: int
    default: [100, 50, 25]
  proof_groups:
    description: Of how many groups of a part the whole state is compared. All, if there are no more.
    type: int
    default: 50
  max_lag:
    description:
      - Bytes by which the slowest standby may be behind. Before each part the run waits until it is nearer, for
        O(lag_wait) at most, and stops then. V(0) does not look at standbys.
    type: int
    default: 0
  lag_wait:
    description: Seconds to wait for a standby that is behind.
    type: float
    default: 60
  min_free:
    description: Bytes that must be free where the database is, if that is this host. V(0) does not look.
    type: int
    default: 1073741824
  backup_sets:
    description: The sets of the database, as M(matrixon.ops.matrixon_backup_info) returns them under C(sets).
    type: list
    elements: dict
    default: []
  backup_max_age:
    description: Seconds that the newest verified set of the database may be old.
    type: float
    default: 93600
  without_backup:
    description: Why it may go on without a verified backup. It stands in the report.
    type: str
  deadline:
    description:
      - Seconds for the whole run. The last fifth, a minute at most, is kept for the proof. When it begins the tool is
        ended, and the next run goes on there.
    type: float
    default: 3600
"""

EXAMPLES = r"""
- name: Compress state for an hour at most, with the module of a virtual environment
  matrixon.ops.matrixon_state_compression:
    deployment: example
    profile: synapse
    way: "{{ matrixon_facts.state_compression }}"
    postgresql:
      host: /var/run/postgresql
      database: synapse
      user: postgres
    python: /opt/state-compressor/bin/python
    max_lag: 268435456
    backup_sets: "{{ backups.sets }}"
    fail_on: unknown
  become: true
  become_user: postgres
  register: compressed
"""

RETURN = r"""
msg:
  description: The verdict in one line, with the worst finding or with why it was skipped.
  returned: always
  type: str
  sample: "ok: all 4 checks are good"
plan:
  description: In check mode, what would be done.
  returned: when the options are good
  type: list
  elements: str
  sample:
    - 3 000 groups are not compressed yet; the tool would begin with group 1 and take 100 times 500 of them at most
report:
  description:
    - The report, of the kind V(state_compression). Its whole shape is described by C(docs/report.schema.json).
      Keys without a value are left out.
  returned: when the options are good
  type: dict
  contains:
    facts:
      description: Where the tool was and is, what is left, rows removed and added, and bytes of the table.
      type: dict
      sample: {position: 1, position_after: 3000, ahead: 3000, ahead_after: 0, groups: 3000, proven: 300, changed: 2990,
               removed: 128000, added: 9000}
"""

import platform

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._compression.options import SECRETS, SPEC
from ansible_collections.matrixon.ops.plugins.module_utils._compression.run import compress
from ansible_collections.matrixon.ops.plugins.module_utils._health.options import read_secrets
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._report import count, headline, leave


def main():
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    options = dict(module.params, target=module.params["target"] or platform.node())
    try:
        module.no_log_values.update(read_secrets(options, SECRETS))
        outcome = compress(options, module.check_mode)
    except OptionErrors as error:
        module.fail_json(msg=str(error))
    report = outcome.report
    reasons = "; ".join(check.skipped_reason for check in report.checks if check.skipped_reason)
    # Where nothing was executed, why is all there is to say.
    words = f"{headline(report)}; {reasons}" if reasons and not count(report.checks)["ok"] else headline(report)
    leave(module, report, changed=outcome.changed, msg=words, plan=list(outcome.plan))


if __name__ == "__main__":
    main()
