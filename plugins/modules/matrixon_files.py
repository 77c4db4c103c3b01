#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_files
short_description: Put a set of files, directories and links in order with one call
version_added: 0.1.0
description:
  - Does for a list what M(ansible.builtin.copy) and M(ansible.builtin.file) do for one path, in one call for each host.
  - What differs is looked for first, and what stands in the way is named all at once before anything is changed.
  - An entry with O(entries[].content) is a file, one with O(entries[].target) a symbolic link, one with neither
    a directory. Missing directories above an entry are made, owned by root and readable by all.
  - The content is shown in diffs and logs. It is no place for secrets.
attributes:
  check_mode:
    support: full
    description:
      - In check mode nothing is written, and the result says what would be.
      - A user, a group, a link's target or a validating program may then still be missing.
  diff_mode:
    support: full
    description: Shows the lines, owners and modes that change.
  platform:
    support: full
    description: It works on hosts of this kind.
    platforms: posix
options:
  entries:
    description: The entries. A directory comes before what lies in it.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: The path.
        type: path
        required: true
      state:
        description: Whether it is to be there. A directory is never removed.
        type: str
        choices: [present, absent]
        default: present
      content:
        description: What the file is to hold.
        type: str
      block:
        description:
          - Name of a block of lines. Then O(entries[].content) is only that block of the file, between two marks,
            and an empty content removes the block. The rest of the file belongs to others.
          - Such a file must exist. It keeps its owner and mode.
        type: str
      target:
        description: Where the symbolic link leads. It must exist.
        type: path
      owner:
        description: Owner of the file or directory.
        type: str
        default: root
      group:
        description: Its group.
        type: str
        default: root
      mode:
        description: Its mode in octal digits. Defaults to C(0644) for a file and C(0755) for a directory.
        type: str
      validate:
        description:
          - A command that ends with exit code 0 if the new content is good, with C(%s) for its path.
          - No shell runs it. The old file stays when it fails.
        type: list
        elements: str
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Keep the journal for a month
  matrixon.ops.matrixon_files:
    entries:
      - path: /etc/systemd/journald.conf.d/50-matrixon.conf
        content: |
          [Journal]
          MaxRetentionSec=30day
      - path: /var/log/matrixon
        owner: matrixon
        group: matrixon
        mode: "0750"
"""

RETURN = r"""
paths:
  description: The paths that were changed.
  type: list
  elements: str
  returned: success
  sample: [/etc/systemd/journald.conf.d/50-matrixon.conf]
"""

import grp
import os
import pwd
import tempfile
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._files import (
    FilesError,
    Found,
    look,
    make_directory,
    make_link,
    make_parents,
    replace,
    with_block,
)

DEFAULT_MODES = {"file": "0644", "directory": "0755", "link": "0777"}


class Change(t.NamedTuple):
    """An entry that is not as it should be."""

    path: str
    found: Found
    wanted: Found
    validate: t.Sequence[str]


def kind_of(entry: t.Mapping[str, t.Any]) -> str:
    """Return what an entry is to be."""
    if entry["state"] == "absent":
        return "absent"
    return "link" if entry["target"] else "directory" if entry["content"] is None else "file"


def number(name: str, lookup: t.Callable[[str], t.Any], lenient: bool) -> int:
    """Return the number of a user or group; in check mode one that is still to be made is -1."""
    try:
        return int(lookup(name)[2])
    except KeyError:
        if lenient:
            return -1
        raise FilesError(f"there is no user or group {name!r} on this host") from None


def compare(entry: t.Mapping[str, t.Any], lenient: bool = False) -> Change | None:
    """Return how an entry differs from what is there, or None."""
    path, kind = entry["path"], kind_of(entry)
    found = look(path)
    # A file gives way to a link and a link to a file. A directory holds what nobody asked to lose.
    # In its place a link may stand, which leads to a volume of its own.
    fits = {"directory": ("absent", "directory", "link")}.get(kind, ("absent", "file", "link"))
    if found.kind not in fits:
        raise FilesError(f"a {found.kind} is there and a {kind} is wanted; move it out of the way")
    if kind == "absent":
        return Change(path, found, Found("absent"), ()) if found.kind != "absent" else None
    if kind == "link":
        if not lenient and not os.path.exists(entry["target"]):
            raise FilesError(f"it would lead to {entry['target']}, which does not exist")
        wanted = Found("link", target=entry["target"])
        return Change(path, found, wanted, ()) if found.target != entry["target"] else None

    try:
        mode = int(entry["mode"] or DEFAULT_MODES[kind], 8)
    except ValueError:
        raise FilesError(f"mode is {entry['mode']!r}; write octal digits such as '0644'") from None
    uid, gid = number(entry["owner"], pwd.getpwnam, lenient), number(entry["group"], grp.getgrnam, lenient)
    if kind == "directory":
        if found.kind == "link":
            if found.uid != 0:
                raise FilesError("it is a symbolic link that root did not make; remove it, or let root make it")
            if not lenient and not os.path.isdir(path):
                raise FilesError(f"it is a symbolic link to {found.target}, which is no directory")
            if os.path.isdir(path):
                info = os.stat(path)
                found = Found("directory", uid=info.st_uid, gid=info.st_gid, mode=info.st_mode & 0o7777)
        wanted = Found("directory", uid=uid, gid=gid, mode=mode)
    else:
        content = entry["content"]
        if entry["block"]:
            if found.content is None:
                raise FilesError("a block of lines needs a file that is there already")
            content = with_block(found.content.decode("utf-8", "surrogateescape"), entry["block"], content)
            uid, gid, mode = found.uid or 0, found.gid or 0, found.mode or 0o644
        wanted = Found("file", content=content.encode("utf-8", "surrogateescape"), uid=uid, gid=gid, mode=mode)
    return Change(path, found, wanted, entry["validate"] or ()) if found != wanted else None


def bad_content(module: AnsibleModule, change: Change) -> str | None:
    """Return what the validating command says against a new content, or None."""
    if not change.validate or change.found.content == change.wanted.content:
        return None
    if module.check_mode and not module.get_bin_path(change.validate[0]):
        return None
    # A directory of its own, which nobody else can enter.
    with tempfile.TemporaryDirectory() as folder:
        beside = os.path.join(folder, os.path.basename(change.path))
        with open(beside, "wb") as file:
            file.write(change.wanted.content or b"")
        command = [part.replace("%s", beside) for part in change.validate]
        code, out, err = module.run_command(command)
    said = " ".join((err or out).split())
    return f"{change.validate[0]} refuses the new content with exit code {code}: {said}" if code else None


def apply(change: Change) -> None:
    """Make a path what it should be."""
    wanted = change.wanted
    if wanted.kind == "absent":
        os.unlink(change.path)
    elif wanted.kind == "link":
        make_link(change.path, str(wanted.target))
    elif wanted.kind == "directory":
        make_directory(change.path, t.cast(int, wanted.uid), t.cast(int, wanted.gid), t.cast(int, wanted.mode))
    else:
        make_parents(change.path)
        owner = (t.cast(int, wanted.uid), t.cast(int, wanted.gid), t.cast(int, wanted.mode))
        replace(change.path, wanted.content or b"", *owner)


def described(state: Found) -> str:
    """Return a state as lines for a diff."""
    if state.kind == "link":
        return f"link to {state.target}\n"
    if state.kind == "absent":
        return ""
    head = f"{state.kind} owner={state.uid} group={state.gid} mode={state.mode or 0:04o}\n"
    return head + (state.content or b"").decode("utf-8", "replace")


def main() -> None:
    """Run the module."""
    entry = {
        "path": {"type": "path", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "content": {"type": "str"},
        "block": {"type": "str"},
        "target": {"type": "path"},
        "owner": {"type": "str", "default": "root"},
        "group": {"type": "str", "default": "root"},
        "mode": {"type": "str"},
        "validate": {"type": "list", "elements": "str"},
    }
    module = AnsibleModule(
        argument_spec={
            "entries": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": entry,
                "mutually_exclusive": [("content", "target")],
                "required_by": {"block": ["content"], "validate": ["content"]},
            },
        },
        supports_check_mode=True,
    )
    changes, problems = [], []
    for item in module.params["entries"]:
        try:
            change = compare(item, lenient=module.check_mode)
            problem = bad_content(module, change) if change else None
        except (OSError, FilesError) as error:
            change, problem = None, str(error)
        if problem:
            problems.append(f"{item['path']}: {problem}")
        elif change:
            changes.append(change)
    if problems:
        module.fail_json(msg="; ".join(problems), problems=problems)

    done: list[str] = []
    for change in changes:
        try:
            if not module.check_mode:
                apply(change)
        except (OSError, FilesError) as error:
            module.fail_json(msg=f"{change.path}: {error}", paths=done, changed=bool(done))
        done.append(change.path)
    result: dict[str, t.Any] = {"changed": bool(done), "paths": done}
    if module._diff:
        result["diff"] = [
            {
                "before_header": change.path,
                "after_header": change.path,
                "before": described(change.found),
                "after": described(change.wanted),
            }
            for change in changes
        ]
    module.exit_json(**result)


if __name__ == "__main__":
    main()
