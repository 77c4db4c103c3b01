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
  - It also gives a server the port that it should have. A reload that carries over the states of servers carries over
    their ports, too, whatever the configuration says.
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
  ports:
    description: The ports of servers by their names. Servers that are not in it keep theirs.
    type: dict
    default: {}
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
moved:
  description: The servers that had another port, each behind its backend.
  type: list
  elements: str
  returned: always
  sample: [homeserver_general/worker1]
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
            ports=dict(type="dict", default={}),
            timeout=dict(type="float", default=10),
        ),
        supports_check_mode=True,
    )
    path, names, deadline = module.params["socket"], module.params["servers"], Deadline(module.params["timeout"])
    try:
        ports = {name: int(port) for name, port in module.params["ports"].items()}
    except (TypeError, ValueError):
        module.fail_json(msg=f"ports: {module.params['ports']} are no ports; give each a number")
    try:
        rows = _haproxy.servers_state(path, deadline)
        found, moved = _haproxy.drained(rows, names), _haproxy.misplaced(rows, ports)
        if (found or moved) and not module.check_mode:
            said = [
                _haproxy.ask(path, command, deadline).strip()
                for command in (
                    *(f"set server {server} addr {address} port {port}" for server, address, port in moved),
                    *(f"set server {server} state ready" for server in found),
                )
            ]
            rows = _haproxy.servers_state(path, deadline)
            left = [*_haproxy.drained(rows, names), *(server for server, *dummy in _haproxy.misplaced(rows, ports))]
            if left:
                module.fail_json(
                    msg=f"HAProxy was told to change {', '.join(left)} and did not: {'; '.join(filter(None, said))}"
                )
    except ProbeFailure as failure:
        module.fail_json(msg=str(failure))
    module.exit_json(changed=bool(found or moved), enabled=found, moved=[server for server, *dummy in moved])


if __name__ == "__main__":
    main()
