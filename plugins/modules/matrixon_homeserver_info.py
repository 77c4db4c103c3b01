#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_homeserver_info
short_description: Which release of the homeserver a host has, and which keys it signs with
version_added: 0.1.0
description:
  - Reads the link to the release that runs, and the ids of the signing keys. The keys themselves stay where they are.
  - It needs no running homeserver, so it can tell whether a region that does not serve could.
attributes:
  check_mode:
    support: full
    description: It only reads, and does the same in check mode.
  diff_mode:
    support: none
    description: Nothing changes.
  idempotent:
    support: full
extends_documentation_fragment:
  - matrixon.ops._attributes
options:
  release_link:
    description: The link that leads to the release.
    type: path
    required: true
  signing_key_file:
    description: The file with the signing keys. Empty if the product keeps them elsewhere.
    type: path
    default: ""
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Ask what this host would serve with
  matrixon.ops.matrixon_homeserver_info:
    release_link: /opt/matrix-synapse/current
    signing_key_file: /etc/matrix-synapse/secrets/signing.key
  register: homeserver
"""

RETURN = r"""
release:
  description: The version of the release. Null if there is none.
  returned: always
  type: str
  sample: 1.163.2
signing_key_ids:
  description: The ids of the keys, without the keys.
  returned: always
  type: list
  elements: str
  sample: ["ed25519:a_key"]
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._dr.guard import signing_key_ids


def main():
    module = AnsibleModule(
        argument_spec=dict(
            release_link=dict(type="path", required=True),
            # A path, and no key.
            signing_key_file=dict(type="path", default="", no_log=False),
        ),
        supports_check_mode=True,
    )
    link, path = module.params["release_link"], module.params["signing_key_file"]
    release = os.path.basename(os.path.realpath(link)) if os.path.isdir(link) else None
    ids = []
    if path and os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            ids = signing_key_ids(file.read())
    module.exit_json(changed=False, release=release, signing_key_ids=ids)


if __name__ == "__main__":
    main()
