#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_witness_access
short_description: Who may read and write what in the witness
version_added: 0.1.0
description:
  - Makes the user root of an etcd, and a user who may read and write what is kept of one deployment and nothing else.
    Then authentication is switched on, if it is not yet.
  - It ends in a proof. As this user it writes, reads and removes a key, and sees that other deployments' keys are not
    for him and that nothing can be read without a password.
  - It is asked through etcd's JSON gateway by HTTPS. No password is in the arguments of a command.
attributes:
  check_mode:
    support: full
    description: Nothing is written, and the result says what would be. There is no proof.
  diff_mode:
    support: none
    description: RV(steps) says what was done, or would be.
  platform:
    support: full
    description: It works on hosts of this kind.
    platforms: posix
options:
  endpoint:
    description: Address of the member to ask, as an HTTPS URL.
    type: str
    required: true
  root_password:
    description: Password of root. Once authentication is on, it must be the one that the witness knows.
    type: str
    required: true
  user:
    description: Name of the user. His role is called the same.
    type: str
    required: true
  password:
    description: Password of the user.
    type: str
    required: true
  ca_file:
    description: PEM file with the authorities to trust. Left out, those of the system are trusted.
    type: path
  server_name:
    description: Server name of the deployment.
    type: str
    required: true
  proof:
    description: Name for the key of the proof, such as that of the host.
    type: str
    default: ansible
  timeout:
    description: Seconds for all of it. A member that has just been started is waited for.
    type: float
    default: 60
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Let the guards of a deployment in
  matrixon.ops.matrixon_witness_access:
    endpoint: https://witness.example.org:2379
    root_password: "{{ witness_root_password }}"
    user: example.org
    password: "{{ witness_password }}"
    ca_file: /etc/ssl/matrixon/ca.pem
    server_name: example.org
"""

RETURN = r"""
steps:
  description: What was done, or would be.
  type: list
  elements: str
  returned: success
  sample: [the user root is made, authentication is switched on]
error_kind:
  description: Why the witness could not be asked. C(refused), C(timeout), C(auth), C(dns), C(tls) or C(parse).
  type: str
  returned: when it could not be asked
  sample: timeout
"""

import secrets
import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._dr import access, witness


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=dict(
            endpoint=dict(type="str", required=True),
            root_password=dict(type="str", required=True, no_log=True),
            user=dict(type="str", required=True),
            password=dict(type="str", required=True, no_log=True),
            ca_file=dict(type="path"),
            server_name=dict(type="str", required=True),
            proof=dict(type="str", default="ansible"),
            timeout=dict(type="float", default=60),
        ),
        supports_check_mode=True,
    )
    wanted = module.params
    if wanted["user"] == access.ROOT:
        module.fail_json(msg="user: root may do everything; give the user another name, such as the server name")
    try:
        endpoint = witness.parse_endpoint(wanted["endpoint"])
    except ValueError as error:
        module.fail_json(msg=f"endpoint: {error}")
    settings = witness.Settings(
        (endpoint,), wanted["server_name"], wanted["user"], wanted["password"], wanted["ca_file"] or None
    )
    root = witness.Client(settings._replace(user=access.ROOT, password=wanted["root_password"]))
    user = witness.Client(settings)
    deadline = witness.Deadline(wanted["timeout"])
    try:
        await_answer(root, deadline)
        steps = access.hold(root, user, deadline, write=not module.check_mode)
        if not module.check_mode:
            access.prove(user, wanted["proof"], secrets.token_hex(8), deadline)
    except witness.WitnessError as failure:
        module.fail_json(msg=failure.message, error_kind=failure.kind)
    except access.AccessRefused as refusal:
        module.fail_json(msg=str(refusal))
    module.exit_json(changed=bool(steps), steps=steps)


def await_answer(root: witness.Client, deadline: witness.Deadline) -> None:
    """Wait for a member that has just been started, or whose cluster has no leader yet."""
    while True:
        try:
            root.login(deadline.within(5))
            return
        except witness.WitnessError as failure:
            # Anything else is an answer, or will not go away.
            if failure.kind not in (witness.REFUSED, witness.TIMEOUT) or access.NOT_ENABLED in failure.message:
                return
            if deadline.remaining() < 1:
                raise
        time.sleep(0.5)


if __name__ == "__main__":
    main()
