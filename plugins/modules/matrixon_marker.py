#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_marker
short_description: Write a row on a primary by which a standby shows that it has joined it
version_added: 0.1.0
description:
  - Commits a row in the table C(matrixon_dr.marker) of the database C(postgres), and reads it back in another session.
  - M(matrixon.ops.matrixon_standby_info) looks for it on a standby. One that does not get it follows another primary.
author:
  - The matrixon.ops authors (@matrixon)
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._dr_server
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - Only with O(id), as each run writes a row of its own otherwise.
options:
  id:
    description: Name of the row. One that is there already stays as it is. Left out, it is a new one.
    type: str
"""

EXAMPLES = r"""
- name: Write something that the standby must get
  matrixon.ops.matrixon_marker:
  register: written
"""

RETURN = r"""
msg:
  description: What was done.
  returned: always
  type: str
  sample: the marker 4f6c was written, on timeline 2
marker:
  description: The row, with C(id), C(written_at), C(lsn) behind which it is flushed, and the C(timeline) of the server.
  returned: success, not in check mode
  type: dict
  sample: {id: 4f6c, written_at: "2026-11-27T12:00:00.123Z", lsn: 0/50004A8, timeline: 2}
plan:
  description: What would be done.
  returned: in check mode
  type: list
  elements: str
  sample: [write the marker 4f6c into matrixon_dr.marker]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._dr import marker
from ansible_collections.matrixon.ops.plugins.module_utils._dr.entry import act
from ansible_collections.matrixon.ops.plugins.module_utils._dr.server import SERVER


def main():
    module = AnsibleModule(argument_spec=dict(SERVER, id=dict(type="str")), supports_check_mode=True)
    act(module, marker.run)


if __name__ == "__main__":
    main()
