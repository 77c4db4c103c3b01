#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_redis_settings
short_description: Hold a running Redis to its settings
version_added: 0.1.0
description:
  - Logs in to a Redis and compares how it runs with how it should. What differs and can be set while it runs is set.
  - What cannot is returned as RV(restart), the reasons for a restart. This module restarts nothing.
  - It also tries the doors. Each address must answer with the password, and none without.
attributes:
  check_mode:
    support: full
    description: In check mode nothing is set, and the result says what would be.
  diff_mode:
    support: full
    description: Shows the settings that differ.
  platform:
    support: full
    description: It works on hosts of this kind.
    platforms: posix
options:
  addresses:
    description:
      - The addresses that it listens on, in the words of its setting C(bind). The first is used for the settings.
      - An address with a leading C(-) may be missing and is not tried.
    type: list
    elements: str
    default: [127.0.0.1]
  port:
    description: Its port.
    type: int
    default: 6379
  password:
    description: Password of its default user.
    type: str
  settings:
    description: Names and values of settings. Amounts of memory may have the units of Redis, such as C(256mb).
    type: dict
    default: {}
  rules:
    description: The command rules that its default user should have, such as C(+@all) and C(-shutdown).
    type: list
    elements: str
    default: []
  config_file:
    description: The file that it should run with.
    type: path
  timeout:
    description: Seconds for all of it. A Redis that starts or loads its data is waited for.
    type: float
    default: 15
  fail_on_restart:
    description: Whether a reason for a restart is a failure, such as after it was restarted.
    type: bool
    default: false
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Give Redis more memory while it runs
  matrixon.ops.matrixon_redis_settings:
    password: "{{ matrixon_redis_password }}"
    settings:
      maxmemory: 512mb
"""

RETURN = r"""
applied:
  description: The settings that were set, each with its value before and after.
  type: dict
  returned: always
  sample: {maxmemory: {before: "0", after: "536870912"}}
restart:
  description: Why it must be restarted. Empty if it need not be.
  type: list
  elements: str
  returned: always
  sample: ["it runs with /etc/redis/redis.conf, not /etc/redis/matrixon.conf"]
version:
  description: Version of the server. Empty if it did not answer.
  type: str
  returned: always
  sample: 8.0.2
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils import _redis_settings
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=dict(
            addresses=dict(type="list", elements="str", default=["127.0.0.1"]),
            port=dict(type="int", default=6379),
            password=dict(type="str", no_log=True),
            settings=dict(type="dict", default={}),
            rules=dict(type="list", elements="str", default=[]),
            config_file=dict(type="path"),
            timeout=dict(type="float", default=15),
            fail_on_restart=dict(type="bool", default=False),
        ),
        supports_check_mode=True,
    )
    wanted = module.params
    servers = _redis_settings.servers_at(wanted["addresses"], wanted["port"], wanted["password"])
    settings = {name: str(value) for name, value in wanted["settings"].items()}
    try:
        outcome = _redis_settings.hold(
            servers,
            settings,
            wanted["rules"],
            wanted["config_file"],
            Deadline(wanted["timeout"]),
            change=not module.check_mode,
        )
    except ProbeFailure as failure:
        module.fail_json(msg=failure.message, error_kind=failure.kind)
    result = dict(applied=outcome.applied, restart=outcome.restart, version=outcome.version)
    if outcome.restart and wanted["fail_on_restart"]:
        module.fail_json(msg=f"Redis does not run as it should: {'; '.join(outcome.restart)}", **result)
    lines = {
        side: "".join(f"{name} {values[side]}\n" for name, values in outcome.applied.items())
        for side in ("before", "after")
    }
    module.exit_json(changed=bool(outcome.applied or outcome.restart), diff=lines, **result)


if __name__ == "__main__":
    main()
