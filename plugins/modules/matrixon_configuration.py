#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_configuration
short_description: Write a configuration of several files, once its program found it right
version_added: 0.1.0
description:
  - A configuration is often spread over several files, which M(ansible.builtin.template) can only validate one by one.
  - If a file differs, copies of the whole set are put into a directory beside, and each of O(checks) is run over them.
    Only if all of them are content the files are replaced, each by a rename. A refused set changes nothing.
  - In check mode the checks are run, too, if the program is already on the host.
attributes:
  check_mode:
    support: full
    description: The files are checked, and nothing is written but the copies for the checks, which are removed.
  diff_mode:
    support: full
    description: Shows the lines that change, but none of O(secret_files).
  platform:
    support: full
    description: It works on hosts of this kind.
    platforms: posix
options:
  root:
    description: The directory of the set. It is made if it is missing.
    type: path
    required: true
  files:
    description: The files whose content may be seen.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path below O(root).
        type: str
        required: true
      content:
        description: What it should hold.
        type: str
        required: true
      mode:
        description: Its mode, if not O(mode).
        type: str
  secret_files:
    description: The files whose content is never shown.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path below O(root).
        type: str
        required: true
      content:
        description: What it should hold.
        type: str
        required: true
      mode:
        description: Its mode, if not O(secret_mode).
        type: str
  owner:
    description: Owner of the files.
    type: str
    default: root
  group:
    description: Group of the files.
    type: str
    default: root
  mode:
    description: Mode of O(files).
    type: str
    default: "0644"
  secret_mode:
    description: Mode of O(secret_files).
    type: str
    default: "0640"
  directory_mode:
    description: Mode of directories that have to be made.
    type: str
    default: "0755"
  checks:
    description:
      - Commands that must end with code 0, each as a list of arguments.
      - C({root}) in an argument stands for the directory with the copies. Where a copy names a file of the set by its
        full path, it names the copy of that file.
    type: list
    elements: list
    default: []
  check_user:
    description: Who runs the checks. It should be who reads the files later.
    type: str
  check_always:
    description: Run the checks even if no file differs, for example because the program is a new one.
    type: bool
    default: false
  check_timeout:
    description: Seconds for one check.
    type: float
    default: 60
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Configure the server
  matrixon.ops.matrixon_configuration:
    root: /etc/example
    group: example
    files:
      - path: server.yaml
        content: "{{ settings | to_nice_yaml }}"
    secret_files:
      - path: password
        content: "{{ password }}"
    checks:
      - [/usr/bin/example, --check, "{root}/server.yaml"]
    check_user: example
"""

RETURN = r"""
paths:
  description: The files that were or would be written, or whose owner or mode was changed.
  returned: always
  type: list
  elements: str
  sample: [/etc/example/server.yaml]
checked:
  description: Whether the checks were run.
  returned: always
  type: bool
  sample: true
"""

import grp
import os
import pwd
import shutil

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._configuration import (
    Account,
    Entry,
    Owner,
    Refused,
    apply,
    check,
    differences,
)

FILE_OPTIONS = {
    "path": {"type": "str", "required": True},
    "content": {"type": "str", "required": True},
    "mode": {"type": "str"},
}
SECRET_OPTIONS = {**FILE_OPTIONS, "content": {"type": "str", "required": True, "no_log": True}}


def octal(module: AnsibleModule, option: str, value: str) -> int:
    """Return a mode, or fail with the name of the option."""
    try:
        return int(value, 8)
    except ValueError:
        module.fail_json(msg=f"{option} is {value!r}; it must be octal digits such as '0644'")
        raise


def entries_of(module: AnsibleModule) -> list[Entry]:
    """Return the set that the options ask for."""
    entries = []
    for option, default, secret in (("files", "mode", False), ("secret_files", "secret_mode", True)):
        for item in module.params[option]:
            path = os.path.normpath(item["path"])
            if os.path.isabs(path) or path.split(os.sep)[0] == "..":
                module.fail_json(msg=f"{option}: the path {item['path']!r} is not below root")
            mode = octal(module, option, item["mode"] or module.params[default])
            entries.append(Entry(path, item["content"].encode(), mode, secret))
    names = [entry.path for entry in entries]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        module.fail_json(msg=f"these files are asked for more than once: {', '.join(twice)}")
    return entries


def owner_of(module: AnsibleModule) -> Owner | None:
    """Return the ids of owner and group; None in check mode where they are yet to be made."""
    try:
        return Owner(pwd.getpwnam(module.params["owner"]).pw_uid, grp.getgrnam(module.params["group"]).gr_gid)
    except KeyError as error:
        if module.check_mode:
            return None
        module.fail_json(msg=f"owner or group of the files does not exist: {error.args[0]}")
        raise


def account_of(module: AnsibleModule) -> Account | None:
    """Return who runs the checks."""
    name = module.params["check_user"]
    if not name:
        return None
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        module.fail_json(msg=f"check_user: there is no user {name!r} on this host")
        raise
    return Account(user.pw_uid, user.pw_gid, tuple(os.getgrouplist(name, user.pw_gid)))


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "files": {"type": "list", "elements": "dict", "default": [], "options": FILE_OPTIONS},
            "secret_files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "no_log": False,
                "options": SECRET_OPTIONS,
            },
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": "root"},
            "mode": {"type": "str", "default": "0644"},
            "secret_mode": {"type": "str", "default": "0640", "no_log": False},
            "directory_mode": {"type": "str", "default": "0755"},
            "checks": {"type": "list", "elements": "list", "default": []},
            "check_user": {"type": "str"},
            "check_always": {"type": "bool", "default": False},
            "check_timeout": {"type": "float", "default": 60},
        },
        supports_check_mode=True,
    )
    root = module.params["root"].rstrip("/")
    entries = entries_of(module)
    directory_mode = octal(module, "directory_mode", module.params["directory_mode"])
    owner = owner_of(module)
    checks = [[str(argument) for argument in command] for command in module.params["checks"]]
    checked = False
    try:
        found = differences(root, entries, owner or Owner(-1, -1))
        changes = [item for item in found if item.content]
        if checks and (changes or module.params["check_always"]) and can_check(module, owner, checks):
            account = account_of(module)
            check(root, entries, checks, owner or Owner(0, 0), account, module.params["check_timeout"])
            checked = True
        if found and not module.check_mode and owner is not None:
            apply(root, found, owner, directory_mode)
    except Refused as error:
        module.fail_json(msg=f"nothing was changed in {root}: {error}")
    except OSError as error:
        module.fail_json(msg=f"{error.filename or root} cannot be written: {error.strerror}")

    result = {
        "changed": bool(found),
        "checked": checked,
        "paths": [os.path.join(root, item.entry.path) for item in found],
    }
    if module._diff:
        result["diff"] = [shown(root, item) for item in found]
    module.exit_json(**result)


def can_check(module: AnsibleModule, owner: Owner | None, checks: list[list[str]]) -> bool:
    """Return whether the checks can be run: in check mode their program may be yet to come."""
    return not module.check_mode or (owner is not None and all(shutil.which(command[0]) for command in checks))


def shown(root, item):
    """Return the difference of one file, for people."""
    path = os.path.join(root, item.entry.path)
    header = {"before_header": path, "after_header": path}
    if item.entry.secret or not item.content:
        what = "content of a secret file" if item.content else "owner or mode"
        return {**header, "before": "", "after": f"({what} differs)\n"}
    before = (item.before or b"").decode("utf-8", "replace")
    return {**header, "before": before, "after": item.entry.content.decode("utf-8", "replace")}


if __name__ == "__main__":
    main()
