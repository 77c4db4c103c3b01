# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a configuration, from what the template of a product says."""

from __future__ import annotations

import json
import typing as t

import yaml
from ansible.errors import AnsibleFilterError

KINDS = ("files", "secret_files")


class _Dumper(yaml.SafeDumper):
    """Indents lists below their key, as people write them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        return super().increase_indent(flow, False)


def configuration_files(text: str, note: str = "") -> dict[str, list[dict[str, str]]]:
    """Return the files as the module matrixon_configuration takes them.

    The text is YAML or JSON: ``{files: {path: content}, secret_files: {path: content}}``.
    Content that is a text is taken as it is, anything else is written as YAML below the note.
    """
    try:
        wanted = yaml.safe_load(text)
    except yaml.YAMLError as error:
        # Its message would quote the text, and that holds secrets.
        raise AnsibleFilterError(f"configuration_files: the text is not YAML ({type(error).__name__})") from None
    if not isinstance(wanted, dict) or set(wanted) - set(KINDS):
        raise AnsibleFilterError(f"configuration_files: the text must be a dictionary of {' and '.join(KINDS)}")
    head = "".join(f"# {line}\n" for line in note.splitlines())
    return {
        kind: [{"path": path, "content": _content(value, head)} for path, value in (wanted.get(kind) or {}).items()]
        for kind in KINDS
    }


def _content(value: t.Any, head: str) -> str:
    if isinstance(value, str):
        return value
    plain = json.loads(json.dumps(value))
    return head + yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
