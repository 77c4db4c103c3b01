#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_user_probe
short_description: Do once what users do with a homeserver
version_added: 0.1.0
description:
  - Logs in with a password, sends a message from one user to another and waits until it is read, puts a file up and
    fetches it, and says of each whether it worked.
  - It leaves a marker message in the room, and a file of 4 KiB, which the homeserver keeps as long as it keeps media.
attributes:
  check_mode:
    support: full
    description: It does the same in check mode, for what it leaves is not what anybody asks for.
  diff_mode:
    support: none
    description: Nothing changes.
  idempotent:
    support: full
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._observer
options:
  url:
    description: Base URL of the client API.
    type: str
    required: true
  connect_to:
    description:
      - Where to connect in the stead of an address, as V(host:port) to V(host:port). Names in certificates stay as they
        were, so a region can be tried before DNS leads there.
    type: dict
    default: {}
  ca_file:
    description: PEM file with the authorities to trust. Left out, those of the system are trusted.
    type: path
  user:
    description: Who logs in. Empty skips it.
    type: str
    default: ""
  password:
    description: The password for it.
    type: str
    default: ""
  room_id:
    description: A room for marker messages.
    type: str
    default: ""
  sender_token:
    description: Token of a user in it.
    type: str
    default: ""
  sender_token_file:
    description: File that holds it. It counts where both are given.
    type: path
  reader_token:
    description: Token of another user in it.
    type: str
    default: ""
  reader_token_file:
    description: File that holds it. It counts where both are given.
    type: path
  deadline:
    description: Seconds for all of it.
    type: float
    default: 30
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Try the other region before DNS leads there
  matrixon.ops.matrixon_user_probe:
    deployment: example
    profile: synapse
    url: https://matrix.example.com
    connect_to: {"matrix.example.com:443": "192.0.2.12:443"}
    user: probe
    password: "{{ probe_password }}"
    fail_on: unknown
"""

RETURN = r"""
msg:
  description: The verdict in one line, with the worst finding.
  returned: always
  type: str
  sample: "ok: all 3 checks are good"
report:
  description: The report, of the kind V(user_probe).
  returned: always
  type: dict
  sample: {"schema": "matrixon.ops/report/1", "kind": "user_probe", "status": "ok"}
"""

import datetime
import platform

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import OBSERVER, leave, report_of
from ansible_collections.matrixon.ops.plugins.module_utils._user import Person, try_all


def argument_spec():
    """Return the options."""
    return dict(
        OBSERVER,
        url=dict(type="str", required=True),
        connect_to=dict(type="dict", default={}),
        ca_file=dict(type="path"),
        user=dict(type="str", default=""),
        password=dict(type="str", default="", no_log=True),
        room_id=dict(type="str", default=""),
        sender_token=dict(type="str", default="", no_log=True),
        sender_token_file=dict(type="path", no_log=False),
        reader_token=dict(type="str", default="", no_log=True),
        reader_token_file=dict(type="path", no_log=False),
        deadline=dict(type="float", default=30),
    )


def secret(module, name):
    """Return a token, from its file where one is given."""
    path = module.params[f"{name}_file"]
    if not path:
        return module.params[name]
    try:
        with open(path, encoding="utf-8") as file:
            value = file.read().strip()
    except OSError as error:
        module.fail_json(msg=f"{name}_file: {path} cannot be read: {error.strerror}; give the file with the token")
    if not value:
        module.fail_json(msg=f"{name}_file: {path} is empty; write the token into it")
    module.no_log_values.add(value)
    return value


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    options = module.params
    if options["deadline"] <= 0:
        module.fail_json(msg=f"deadline: {options['deadline']:g} is no time to wait; name a number of seconds above 0")
    http = HttpClient(connect_to=options["connect_to"], ca_file=options["ca_file"] or None)
    person = Person(
        options["user"],
        options["password"],
        options["room_id"],
        secret(module, "sender_token"),
        secret(module, "reader_token"),
    )
    started = datetime.datetime.now(datetime.timezone.utc)
    checks = try_all(http, options["url"], person, Deadline(options["deadline"]))
    named = dict(options, target=options["target"] or platform.node())
    leave(module, report_of("user_probe", named, started, checks, {}))


if __name__ == "__main__":
    main()
