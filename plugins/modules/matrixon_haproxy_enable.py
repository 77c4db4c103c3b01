#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_haproxy_enable
short_description: Send requests again to servers that were left drained
version_added: 0.1.0
description:
  - Asks a running HAProxy for the states of its servers, and takes those out of the drain that should get requests.
  - Whether one is ready is for HAProxy's own checks. One that does not answer gets no requests, drained or not.
  - A server in maintenance stays so, for that is what people use.
attributes:
  check_mode:
    support: full
    description: In check mode nothing is enabled, and the result says what would be.
  diff_mode:
    support: none
    description: It returns what it enabled.
  platform:
    support: full
    description: It works on hosts of this kind.
    platforms: posix
options:
  socket:
    description: HAProxy's runtime socket, of the level C(admin).
    type: path
    default: /run/haproxy/admin.sock
  servers:
    description: Names of the servers, in whatever backend they are. Others are left alone.
    type: list
    elements: str
    required: true
  timeout:
    description: Seconds for all of it.
    type: float
    default: 10
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Leave no worker drained
  matrixon.ops.matrixon_haproxy_enable:
    servers: [main, worker1, worker2]
"""

RETURN = r"""
enabled:
  description: The servers that were drained, each behind its backend.
  type: list
  elements: str
  returned: always
  sample: [homeserver_general/worker1, homeserver_sync/worker1]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils import _haproxy
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=dict(
            socket=dict(type="path", default="/run/haproxy/admin.sock"),
            servers=dict(type="list", elements="str", required=True),
            timeout=dict(type="float", default=10),
        ),
        supports_check_mode=True,
    )
    path, names, deadline = module.params["socket"], module.params["servers"], Deadline(module.params["timeout"])
    try:
        found = _haproxy.drained(_haproxy.servers_state(path, deadline), names)
        if found and not module.check_mode:
            for server in found:
                answer = _haproxy.ask(path, f"set server {server} state ready", deadline).strip()
                if answer:
                    module.fail_json(msg=f"HAProxy did not enable {server}: {answer}")
            left = _haproxy.drained(_haproxy.servers_state(path, deadline), names)
            if left:
                module.fail_json(msg=f"HAProxy was told to enable {', '.join(left)}, and they are drained still")
    except ProbeFailure as failure:
        module.fail_json(msg=str(failure))
    module.exit_json(changed=bool(found), enabled=found)


if __name__ == "__main__":
    main()
