# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Files that nobody but their owner may read: passwords, identities, credentials."""

from __future__ import annotations

import os
import re
import stat

from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._probe import AUTH, INTERNAL

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def secret_problem(path: str, option: str) -> str | None:
    """Return a sentence that says why a file is not fit to hold a secret, or None."""
    if not os.path.isabs(path):
        return f"{option}: {path!r} is not an absolute path"
    try:
        info = os.stat(path)
    except OSError as error:
        return f"{option}: {path} cannot be read: {error.strerror}"
    if not stat.S_ISREG(info.st_mode):
        return f"{option}: {path} is no file"
    if info.st_mode & 0o077:
        return (
            f"{option}: others than its owner have rights to {path} (mode {stat.S_IMODE(info.st_mode):04o}), "
            "and it holds a secret; set its mode to 0600"
        )
    if not info.st_size:
        return f"{option}: {path} is empty"
    return None


def read_environment(path: str, option: str, forbidden: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the variables of a file with lines such as NAME=value, as systemd reads them.

    Errors name the line and never what stands there.
    """
    if problem := secret_problem(path, option):
        raise BackupError(AUTH, problem)
    with open(path, "rb") as file:
        text = file.read().decode("utf-8", "surrogateescape")
    found = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith(("#", ";")):
            continue
        name, equals, value = line.partition("=")
        name = name.strip()
        if not equals or not _NAME.fullmatch(name):
            raise BackupError(INTERNAL, f"{option}: line {number} of {path} is not of the form NAME=value")
        if name in forbidden:
            raise BackupError(
                INTERNAL, f"{option}: line {number} of {path} sets {name}, which has an option of its own"
            )
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[name] = value
    return found
