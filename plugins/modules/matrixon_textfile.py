#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_textfile
short_description: Write metrics for the textfile collector of the Prometheus node exporter
version_added: 0.1.0
description:
  - Writes a C(.prom) file so that the node exporter sees either the old one or the new one, whole and readable.
  - The text is written beside it under a name that ends in C(.tmp), given its mode, and then renamed.
    M(ansible.builtin.copy) may make a temporary file in the same directory whose name ends in C(.prom),
    and sets the mode after the rename. The node exporter can read the one twice and the other not at all.
attributes:
  check_mode:
    support: full
    description: In check mode nothing is written, and the result says whether it would be.
  diff_mode:
    support: full
    description: Shows the lines that change.
  platform:
    support: full
    description: It works on hosts of this kind.
    platforms: posix
options:
  path:
    description: The file, which must end in C(.prom). Its directory must exist.
    type: path
    required: true
  content:
    description: The metrics in the text format of Prometheus.
    type: str
  state:
    description: Whether the file is to be there.
    type: str
    choices: [present, absent]
    default: present
  mode:
    description: Mode of the file. The node exporter runs as a user of its own and must be able to read it.
    type: str
    default: "0644"
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Show the last health check to Prometheus
  matrixon.ops.matrixon_textfile:
    path: /var/lib/prometheus/node-exporter/matrixon_health.prom
    content: "{{ health.report | matrixon.ops.report_metrics }}"
"""

RETURN = r"""
path:
  description: The file.
  type: str
  returned: always
  sample: /var/lib/prometheus/node-exporter/matrixon_health.prom
"""

import os
import tempfile

from ansible.module_utils.basic import AnsibleModule

SUFFIX = ".prom"


def replace(path: str, content: bytes, mode: int) -> None:
    """Make a file hold a text, in one step for whoever reads it."""
    folder, name = os.path.split(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{name[: -len(SUFFIX)]}.", suffix=".tmp", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read(path: str) -> tuple[bytes | None, int | None]:
    """Return the content and the mode of a file, or None if there is none."""
    try:
        with open(path, "rb") as file:
            return file.read(), os.fstat(file.fileno()).st_mode & 0o7777
    except FileNotFoundError:
        return None, None


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "content": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "mode": {"type": "str", "default": "0644"},
        },
        required_if=[("state", "present", ("content",))],
        supports_check_mode=True,
    )
    path, state = module.params["path"], module.params["state"]
    if not path.endswith(SUFFIX) or not os.path.isabs(path):
        module.fail_json(
            msg=f"path is {path!r}; it must be absolute and end in {SUFFIX}, or the node exporter skips it"
        )
    try:
        mode = int(module.params["mode"], 8)
    except ValueError:
        module.fail_json(msg=f"mode is {module.params['mode']!r}; it must be octal digits such as '0644'")
    if not os.path.isdir(os.path.dirname(path)):
        module.fail_json(msg=f"the directory {os.path.dirname(path)} does not exist; is the node exporter installed?")

    wanted = None
    if state == "present":
        wanted = module.params["content"].encode()
        if not wanted.endswith(b"\n"):
            # The format wants every line ended, the last one too.
            wanted += b"\n"
    try:
        content, found_mode = read(path)
        changed = content != wanted or (wanted is not None and found_mode != mode)
        if changed and not module.check_mode:
            if wanted is None:
                os.unlink(path)
            else:
                replace(path, wanted, mode)
    except OSError as error:
        module.fail_json(msg=f"{path} cannot be written: {error}", path=path)

    result = {"changed": changed, "path": path}
    if module._diff:
        result["diff"] = {
            "before_header": path,
            "after_header": path,
            "before": (content or b"").decode("utf-8", "replace"),
            "after": (wanted or b"").decode("utf-8", "replace"),
        }
    module.exit_json(**result)


if __name__ == "__main__":
    main()
