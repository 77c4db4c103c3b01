#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_rewind
short_description: Make an old primary of PostgreSQL fit to follow the new one, once it is proven that it can be done
version_added: 0.1.0
description:
  - For a host whose stopped server was the primary before another one was promoted. What it wrote behind the fork, and
    nobody else has, is given up; RV(discarded_bytes) says how much that is.
  - It is proven first that C(pg_rewind) can work, by what both servers say of themselves and by a dry run. All
    obstacles are named at once.
  - A server that was not stopped cleanly is brought to an end first by its own crash recovery, as C(pg_rewind) would do
    it. Only then the dry run is possible, so with O(state=checked) RV(proven) is false for such a server.
  - Where the old primary has nothing that the new one lacks, as after a planned switchover, nothing is rewound.
  - Afterwards the directory starts as a standby. Configuration, certificates and other files of the host that lie in
    the data directory stay the host's own. Which primary it follows is not set here, that is a task of the role
    P(matrixon.ops.postgresql#role).
  - Where C(pg_rewind) ends in the middle, the directory must not be started. A mark beside it, in
    C(<data directory>.matrixon-rewind), says so to this module and to M(matrixon.ops.matrixon_standby_info).
  - Start the server as a standby, and prove by a marker that it has joined its primary.
author:
  - The matrixon.ops authors (@matrixon)
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._dr_server
attributes:
  check_mode:
    support: full
    details:
      - Proves what can be proven without changing the data, and says in RV(plan) what would be done.
      - The dry run may need segments of the log from the archive. Those stay in the data directory.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  state:
    description:
      - V(checked) says whether it can be done, and does not fail where it cannot.
      - V(rewound) does it, or fails with all reasons.
    type: str
    choices: [checked, rewound]
    default: checked
  source:
    description: The new primary.
    type: dict
    required: true
    suboptions:
      host:
        description: Its name or address, or the directory of its socket.
        type: str
        required: true
      port:
        description: Its port.
        type: int
        default: 5432
      user:
        description: A superuser of it, or who may execute the functions that C(pg_rewind) needs.
        type: str
        default: postgres
      password:
        description: Password of the user.
        type: str
      password_file:
        description: File that holds it.
        type: path
      sslmode:
        description: How TLS is spoken, in libpq's words.
        type: str
        choices: [disable, allow, prefer, require, verify-ca, verify-full]
        default: prefer
      ca_file:
        description: PEM file with the authorities to trust.
        type: path
  archive:
    description: Whether segments of the log that are gone from the data directory may be taken from the archive, where
      the server has a C(restore_command).
    type: bool
    default: true
  deadline:
    description: Seconds that the whole run may take.
    type: float
    default: 3600
"""

EXAMPLES = r"""
- name: See whether the old primary can be rewound
  matrixon.ops.matrixon_rewind:
    source:
      host: db2.example.com
      user: rewind
      password_file: /etc/matrixon/rewind_password
      sslmode: verify-full
  register: prospect

- name: Rewind it
  matrixon.ops.matrixon_rewind:
    state: rewound
    source:
      host: db2.example.com
      user: rewind
      password_file: /etc/matrixon/rewind_password
      sslmode: verify-full
  when: prospect.possible
"""

RETURN = r"""
msg:
  description: What was found or done.
  returned: always
  type: str
  sample: "it can be rewound: 16777216 bytes of log behind the fork at 0/5000060 of timeline 1 would be given up"
possible:
  description: Whether nothing speaks against it.
  returned: when the servers could be asked
  type: bool
  sample: true
needed:
  description: Whether there is something to take back. Where there is not, the server can follow as it is.
  returned: when the servers could be asked
  type: bool
  sample: true
proven:
  description: Whether a dry run has shown it, or that nothing is needed.
  returned: when the servers could be asked
  type: bool
  sample: true
reasons:
  description: All that speaks against it.
  returned: when the servers could be asked, or the options were refused
  type: list
  elements: str
  sample: []
notes:
  description: What else is to be known.
  returned: when the servers could be asked
  type: list
  elements: str
  sample: []
fork:
  description: The C(timeline) that both servers have, and the C(lsn) at which they left each other.
  returned: when there is one
  type: dict
  sample: {timeline: 1, lsn: 0/5000060}
end_lsn:
  description: Where the log of the old primary ends.
  returned: when the server was stopped cleanly
  type: str
  sample: 0/6000060
discarded_bytes:
  description: How much log the old primary has behind the fork.
  returned: when both are known
  type: int
  sample: 16777216
bytes:
  description: How much was copied from the source.
  returned: with O(state=rewound), when it was done
  type: int
  sample: 58720256
seconds:
  description: How long it took.
  returned: with O(state=rewound), when it was done
  type: float
  sample: 1.26
plan:
  description: What would be done.
  returned: in check mode, with O(state=rewound)
  type: list
  elements: str
  sample: [run pg_rewind, write standby.signal]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._dr import rewind
from ansible_collections.matrixon.ops.plugins.module_utils._dr.entry import act
from ansible_collections.matrixon.ops.plugins.module_utils._dr.server import SERVER
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import SSL_MODES


def argument_spec():
    """Return the options."""
    source = dict(
        host=dict(type="str", required=True),
        port=dict(type="int", default=5432),
        user=dict(type="str", default="postgres"),
        password=dict(type="str", no_log=True),
        password_file=dict(type="path"),
        sslmode=dict(type="str", choices=list(SSL_MODES), default="prefer"),
        ca_file=dict(type="path"),
    )
    spec = dict(
        SERVER,
        state=dict(type="str", choices=[rewind.CHECKED, rewind.REWOUND], default=rewind.CHECKED),
        source=dict(type="dict", required=True, options=source, mutually_exclusive=[("password", "password_file")]),
        archive=dict(type="bool", default=True),
    )
    spec["deadline"] = dict(type="float", default=3600)
    return spec


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    act(module, rewind.run)


if __name__ == "__main__":
    main()
