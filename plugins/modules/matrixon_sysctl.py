#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_sysctl
short_description: Give the kernel a set of settings, now and at every boot
version_added: 0.1.0
description:
  - Writes one file of C(sysctl.d) with all settings, and puts right every live value that differs.
  - Reads each value back. If the kernel did not take one, that is a failure; then the values that were found are
    put back, and the file stays as it is.
  - Refuses before it touches anything, with all reasons at once, when a setting does not exist or must not be written.
  - Warns of a file that is read later at boot and says something else.
  - A setting that is left out of a later call disappears from the file, and keeps its live value until the next boot.
attributes:
  check_mode:
    support: full
    description: In check mode nothing is written, and the result says what would be.
  diff_mode:
    support: full
    description: Shows the lines of the file and the live values that change.
  platform:
    support: full
    description: It works on hosts of this kind.
    platforms: linux
options:
  path:
    description: The file, in a directory that is read at boot.
    type: path
    required: true
  settings:
    description: The settings by name. Of a value of several numbers, the spaces between them do not matter.
    type: dict
    required: true
  optional:
    description:
      - Names of settings that count only where the kernel has them.
      - Such are those of kernel modules that may not be loaded.
    type: list
    elements: str
    default: []
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Make room for many connections
  matrixon.ops.matrixon_sysctl:
    path: /etc/sysctl.d/90-matrixon.conf
    settings:
      net.core.somaxconn: 65535
      net.ipv4.ip_local_port_range: 10240 65535
"""

RETURN = r"""
drifted:
  description: Settings whose live value was not what was asked for, with the value found.
  type: dict
  returned: success
  sample: {net.core.somaxconn: "4096"}
missing:
  description: Optional settings that this kernel does not have now.
  type: list
  elements: str
  returned: success
  sample: [net.netfilter.nf_conntrack_max]
"""

import errno
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._files import Found, look, make_parents, replace
from ansible_collections.matrixon.ops.plugins.module_utils._sysctl import (
    later_files,
    normal,
    overruled,
    relative_path,
    render,
)

ROOT = "/proc/sys"
WAY_OUT = "leave it out on this host (system_setup_sysctl_skip of the role system_setup)"


def read(key: str, root: str = ROOT) -> str | None:
    """Return a live value, or None if the kernel has no such setting."""
    try:
        with open(os.path.join(root, relative_path(key)), encoding="utf-8") as file:
            return normal(file.read())
    except FileNotFoundError:
        return None


def write(key: str, value: str, root: str = ROOT) -> str | None:
    """Give the kernel a value; return what is wrong, or None once the kernel says the same."""
    try:
        with open(os.path.join(root, relative_path(key)), "w", encoding="utf-8") as file:
            file.write(value)
    except OSError as error:
        return f"{key}: the kernel refuses {value}: {os.strerror(error.errno or errno.EIO)}"
    live = read(key, root)
    return None if live == value else f"{key}: the kernel was given {value} and says {live}"


def survey(
    settings: t.Mapping[str, str], optional: t.Collection[str], root: str = ROOT
) -> tuple[dict[str, str], list[str], list[str]]:
    """Return the live values that differ, the optional settings that are missing, and what makes it impossible."""
    drifted, missing, problems = {}, [], []
    for key, value in settings.items():
        try:
            live = read(key, root)
        except (OSError, ValueError) as error:
            problems.append(f"{key}: {error}")
            continue
        if live is None:
            if key in optional:
                missing.append(key)
            else:
                problems.append(f"{key}: this kernel has no such setting; correct its name, or {WAY_OUT}")
        elif live != value:
            drifted[key] = live
            if not os.access(os.path.join(root, relative_path(key)), os.W_OK):
                problems.append(
                    f"{key}: it is {live}, should be {value}, and cannot be written here, as in a container; {WAY_OUT}"
                )
    return drifted, missing, problems


def apply(settings: t.Mapping[str, str], drifted: t.Mapping[str, str], root: str = ROOT) -> list[str]:
    """Give the kernel all that drifted, or give back what it had; return what is wrong."""
    problems = [problem for key in drifted if (problem := write(key, settings[key], root))]
    if problems:
        lost = [
            problem
            for key, value in drifted.items()
            if read(key, root) != value and (problem := write(key, value, root))
        ]
        problems += [f"not put back: {problem}" for problem in lost]
    return problems


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "settings": {"type": "dict", "required": True},
            "optional": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    path, optional = module.params["path"], module.params["optional"]
    settings = {key: normal(value) for key, value in module.params["settings"].items()}
    drifted, missing, problems = survey(settings, optional)
    if problems:
        module.fail_json(msg="; ".join(problems), problems=problems)

    text = render(settings, optional)
    try:
        found = look(path)
        file_differs = found != Found("file", text.encode(), None, 0, 0, 0o644)
        if not module.check_mode:
            problems = apply(settings, drifted)
            if problems:
                module.fail_json(msg="; ".join(problems), problems=problems)
            if file_differs:
                make_parents(path)
                replace(path, text.encode(), 0, 0, 0o644)
    except OSError as error:
        module.fail_json(msg=f"{path} cannot be written: {error}")
    for warning in overruled(settings, later_files(path)):
        module.warn(warning)

    result: dict[str, t.Any] = {"changed": file_differs or bool(drifted), "drifted": drifted, "missing": missing}
    if module._diff:
        before = (found.content or b"").decode("utf-8", "replace")
        lines = [f"{key} = {value}\n" for key, value in sorted(drifted.items())]
        after = [f"{key} = {settings[key]}\n" for key in sorted(drifted)]
        result["diff"] = [
            {"before_header": path, "after_header": path, "before": before, "after": text},
            {"before_header": ROOT, "after_header": ROOT, "before": "".join(lines), "after": "".join(after)},
        ]
    module.exit_json(**result)


if __name__ == "__main__":
    main()
