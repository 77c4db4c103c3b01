#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_maintenance_answer
short_description: Have HAProxy answer in the homeserver's stead until a set time
version_added: 0.1.0
description:
  - Tells a running HAProxy, as the role C(load_balancer) sets it up, until when it is to answer Matrix requests itself,
    without a reload. After that time it stops by its own clock, whether anybody is there to tell it or not.
  - Writes the same into the file of the map, so that a reload or restart keeps the answer, and its end.
attributes:
  check_mode:
    support: full
    description: Says whether the answer would change, and changes nothing.
  diff_mode:
    support: full
  idempotent:
    support: full
  platform:
    support: full
    description: It works on hosts of this kind.
    platforms: posix
extends_documentation_fragment:
  - matrixon.ops._attributes
options:
  answer:
    description:
      - V(all) answers every request under C(/_matrix/), V(writes) every one that is not GET or HEAD, V(none) none.
      - Clients that synchronise by POST, as sliding sync does, cannot do so under V(writes).
    type: str
    choices: [none, writes, all]
    required: true
  until:
    description: When it ends, in UTC, as V(2026-12-01T03:00:00Z). Required unless O(answer=none). Not past.
    type: str
  socket:
    description: HAProxy's runtime socket, of the level C(admin).
    type: path
    default: /run/haproxy/admin.sock
  map:
    description: File of the map, as the configuration names it.
    type: path
    default: /etc/haproxy/maintenance.map
  timeout:
    description: Seconds for all of it.
    type: float
    default: 10
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Take no writes until three o'clock
  matrixon.ops.matrixon_maintenance_answer:
    answer: writes
    until: "2026-12-01T03:00:00Z"
"""

RETURN = r"""
before:
  description: Until when the running HAProxy gave each answer, in seconds since 1970.
  returned: success
  type: dict
  sample: {all: 0, writes: 0}
after:
  description: The same, as it is now.
  returned: success
  type: dict
  sample: {all: 0, writes: 1796094000}
"""

import os
import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils import _files
from ansible_collections.matrixon.ops.plugins.module_utils._dr.standby import parse_time
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._window import answer as answers


def end_of(module):
    """Return the end of the answer in seconds since 1970."""
    if module.params["answer"] == "none":
        return 0
    text = module.params["until"]
    try:
        until = int(parse_time(text).timestamp())
    except ValueError as error:
        module.fail_json(msg=f"until: {error}")
    if until <= time.time():
        module.fail_json(msg=f"until: {text} is past by the clock of this host, so there would be no answer")
    return until


def main():
    module = AnsibleModule(
        argument_spec=dict(
            answer=dict(type="str", choices=["none", "writes", "all"], required=True),
            until=dict(type="str"),
            socket=dict(type="path", default="/run/haproxy/admin.sock"),
            map=dict(type="path", default="/etc/haproxy/maintenance.map"),
            timeout=dict(type="float", default=10),
        ),
        required_if=[("answer", "writes", ["until"]), ("answer", "all", ["until"])],
        supports_check_mode=True,
    )
    socket, path, deadline = module.params["socket"], module.params["map"], Deadline(module.params["timeout"])
    wanted = answers.wanted(module.params["answer"], end_of(module))
    text = answers.render(wanted)
    try:
        before = answers.running(socket, path, deadline)
        found = _files.look(path)
        written = found.content == text.encode()
        changed = not answers.holds(before, wanted) or not written
        if found.kind != "file":
            module.fail_json(msg=f"map: there is no file at {path}; bring it up with load_balancer.yml")
        if changed and not module.check_mode:
            # The file first: what the running HAProxy answers must outlive a reload that comes in between.
            if not written:
                _files.replace(path, text.encode(), found.uid, found.gid, found.mode)
                _files.sync_directory(os.path.dirname(path))
            answers.switch(socket, path, wanted, deadline)
    except (ProbeFailure, OSError) as failure:
        module.fail_json(msg=str(failure))
    diff = {"before": answers.render({**dict.fromkeys(answers.KEYS, 0), **before}), "after": text}
    module.exit_json(changed=changed, before=before, after=wanted, diff=diff)


if __name__ == "__main__":
    main()
