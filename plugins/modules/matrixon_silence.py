#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_silence
short_description: Silence alerts in Alertmanager for a set time
version_added: 0.1.0
description:
  - Sees to it that there is one silence of this author and comment, with these matchers and times, and asks for it
    again to be sure. One of other matchers or times is ended once the right one is there.
  - A run that died after it made a silence is no matter. The next one finds it.
attributes:
  check_mode:
    support: full
    description: Asks Alertmanager, says what would change, and changes nothing.
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._https
options:
  state:
    description: Whether there should be a silence.
    type: str
    choices: [present, absent]
    default: present
  url:
    description: Base URL of Alertmanager, of any member of a cluster.
    type: str
    required: true
  username:
    description: Login for basic authentication.
    type: str
    default: ""
  password:
    description: Its password.
    type: str
    default: ""
  matchers:
    description: Which alerts are silenced, those that match all of them. Required with O(state=present).
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of a label.
        type: str
        required: true
      value:
        description: Its value.
        type: str
        required: true
      isRegex:
        description: Whether the value is a regular expression, which must match the whole label.
        type: bool
        default: false
      isEqual:
        description: Whether it must match. False silences what does not.
        type: bool
        default: true
  starts:
    description: When it starts, as V(2026-12-01T02:00:00Z). Required with O(state=present).
    type: str
  ends:
    description: When it ends. Required with O(state=present).
    type: str
  author:
    description: By whom it is, as Alertmanager shows it.
    type: str
    default: matrixon.ops
  comment:
    description: What it is for. With O(author) it says which silence is meant, so it must be no other one's.
    type: str
    required: true
  timeout:
    description: Seconds for all of it.
    type: float
    default: 15
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Silence what is said of one deployment
  matrixon.ops.matrixon_silence:
    url: https://alertmanager.example.com
    matchers: [{name: deployment, value: example.com}]
    starts: "2026-12-01T02:00:00Z"
    ends: "2026-12-01T03:00:00Z"
    comment: maintenance window 2026-12-01-db of example.com
"""

RETURN = r"""
id:
  description: Id of the silence. Empty if there is none.
  returned: success
  type: str
  sample: 512860da-74f3-43c9-8833-cec026542b32
ended:
  description: Ids of silences that were ended, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._dr.standby import parse_time
from ansible_collections.matrixon.ops.plugins.module_utils._http import HTTPS_SPEC, HttpClient, parse_url
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._window.silence import Alertmanager, Wanted

MATCHER = dict(
    name=dict(type="str", required=True),
    value=dict(type="str", required=True),
    isRegex=dict(type="bool", default=False),
    isEqual=dict(type="bool", default=True),
)


def wanted_of(module):
    """Return the silence that is meant."""
    options, times = module.params, {}
    for name in ("starts", "ends"):
        try:
            times[name] = parse_time(options[name] or "1970-01-01T00:00:00Z")
        except ValueError as error:
            module.fail_json(msg=f"{name}: {error}")
    if options["state"] == "present" and not options["matchers"]:
        module.fail_json(msg="matchers: it is empty, which would silence nothing; name labels")
    return Wanted(options["matchers"] or [], times["starts"], times["ends"], options["author"], options["comment"])


def main():
    module = AnsibleModule(
        argument_spec=dict(
            HTTPS_SPEC,
            state=dict(type="str", choices=["present", "absent"], default="present"),
            url=dict(type="str", required=True),
            username=dict(type="str", default=""),
            password=dict(type="str", default="", no_log=True),
            matchers=dict(type="list", elements="dict", options=MATCHER),
            starts=dict(type="str"),
            ends=dict(type="str"),
            author=dict(type="str", default="matrixon.ops"),
            comment=dict(type="str", required=True),
            timeout=dict(type="float", default=15),
        ),
        required_if=[("state", "present", ["matchers", "starts", "ends"])],
        supports_check_mode=True,
    )
    options = module.params
    try:
        parse_url(options["url"])
    except ValueError as error:
        module.fail_json(msg=f"url: {error}")
    wanted = wanted_of(module)
    http = HttpClient(options["connect_to"], options["ca_file"], options["validate_certs"])
    server = Alertmanager(options["url"], http, Deadline(options["timeout"]), options["username"], options["password"])
    present = options["state"] == "present"
    try:
        found = server.unexpired(wanted)
        good = next((one for one in found if present and wanted.is_same(one)), None)
        others = [one["id"] for one in found if one is not good]
        changed = bool(others) or (present and good is None)
        if not module.check_mode:
            if present and good is None:
                good = server.create(wanted)
            for identifier in others:
                server.expire(identifier)
    except ProbeFailure as failure:
        module.fail_json(msg=failure.message, error_kind=failure.kind)
    module.exit_json(changed=changed, id=good["id"] if good else "", ended=others)


if __name__ == "__main__":
    main()
