#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_swap
short_description: Let a restored directory take the old one's place, with a way back
version_added: 0.1.0
description:
  - Renames the old directory aside and the new one into its place. The old one is kept until that is confirmed.
  - A run that was killed between the renames is finished by the next one.
  - It refuses while a PostgreSQL server runs on one of them.
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - matrixon.ops._attributes
options:
  path:
    description: The place, such as a data directory.
    type: path
    required: true
  new:
    description: The directory that is to take it, on the same file system. Required for V(swapped).
    type: path
  state:
    description:
      - V(swapped) makes the exchange, V(reverted) takes it back, and V(confirmed) removes the old directory for good.
    type: str
    choices: [swapped, reverted, confirmed]
    default: swapped
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Use the restored data directory
  matrixon.ops.matrixon_swap:
    path: /var/lib/postgresql/17/main
    new: /var/lib/postgresql/17/main.restored

- name: Everything is as it should be, so the old one may go
  matrixon.ops.matrixon_swap:
    path: /var/lib/postgresql/17/main
    state: confirmed
"""

RETURN = r"""
msg:
  description: What was done, or was there already.
  returned: always
  type: str
  sample: /srv/new takes the place of /srv/data; the old one is /srv/data.before-20261123T021500Z
kept:
  description: Where the old directory is, if it is kept.
  returned: success
  type: str
  sample: /var/lib/postgresql/17/main.before-20261123T021500Z
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._backup import swap
from ansible_collections.matrixon.ops.plugins.module_utils._backup.entry import run_module


def main():
    module = AnsibleModule(
        argument_spec=dict(
            path=dict(type="path", required=True),
            new=dict(type="path"),
            state=dict(type="str", choices=list(swap.STATES), default="swapped"),
        ),
        required_if=[("state", "swapped", ["new"])],
        supports_check_mode=True,
    )
    run_module(module, swap.run)


if __name__ == "__main__":
    main()
