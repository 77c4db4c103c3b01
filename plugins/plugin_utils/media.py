# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a homeserver keeps the files of its media tables' rows."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.matrixon.ops.plugins.module_utils._backup.changes import Layout, paths_of, to_text
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError


def media_paths(rows: list[dict[str, t.Any]], layouts: list[dict[str, t.Any]]) -> list[str]:
    """Return the paths below the media store. A row that would lead elsewhere is refused."""
    try:
        wanted = [Layout(layout["path"], layout.get("where", {})) for layout in layouts]
        return [to_text(path) for path in paths_of(rows, wanted)]
    except BackupError as error:
        raise AnsibleFilterError(f"media_paths: {error.message}") from error
