# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Kernel settings: their names, their files, and what a later file says instead."""

from __future__ import annotations

import os
import re
import typing as t

# The files that systemd-sysctl reads. A name counts once, in the first directory that has it.
DIRECTORIES = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d")

KEY = re.compile(r"[A-Za-z0-9_]+(?:[./][A-Za-z0-9_:-]+)+")
LINE = re.compile(r"\s*-?\s*([^#;\s=][^\s=]*)\s*=\s*(.*?)\s*")


def relative_path(key: str) -> str:
    """Return the path of a key below /proc/sys, by the rule of sysctl.d(5).

    The first separator decides: net.ipv4.conf.eth0/100.x and
    net/ipv4/conf/eth0.100/x are the same.
    """
    if not KEY.fullmatch(key):
        raise ValueError(f"{key!r} is not the name of a kernel setting; write for example net.core.somaxconn")
    separator = re.search(r"[./]", key)
    if separator is not None and separator.group() == ".":
        return key.translate(str.maketrans("./", "/."))
    return key


def normal(value: object) -> str:
    """Return a value as the kernel means it: tabs and spaces are the same to it."""
    if isinstance(value, bool):
        value = int(value)
    return " ".join(str(value).split())


def render(settings: t.Mapping[str, str], optional: t.Collection[str]) -> str:
    """Return the file for sysctl.d. A dash lets a kernel go without that setting."""
    lines = [f"{'-' if key in optional else ''}{key} = {value}" for key, value in sorted(settings.items())]
    return "\n".join(["# Managed by matrixon.ops; changes are overwritten.", *lines, ""])


def assignments(text: str) -> dict[str, str]:
    """Return what a file of sysctl.d says, by path below /proc/sys."""
    found = {}
    for line in text.splitlines():
        match = LINE.fullmatch(line)
        if match and KEY.fullmatch(match.group(1)):
            found[relative_path(match.group(1))] = normal(match.group(2))
    return found


def later_files(own: str, directories: t.Sequence[str] = DIRECTORIES) -> list[str]:
    """Return the files that are read after our own at boot."""
    files: dict[str, str] = {}
    for folder in directories:
        names = os.listdir(folder) if os.path.isdir(folder) else []
        for name in names:
            if name.endswith(".conf"):
                files.setdefault(name, os.path.join(folder, name))
    return [files[name] for name in sorted(files) if name > os.path.basename(own)]


def overruled(settings: t.Mapping[str, str], files: t.Sequence[str]) -> list[str]:
    """Return a sentence for every setting of which a later file says something else."""
    said: dict[str, tuple[str, str]] = {}
    for path in files:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read()
        except FileNotFoundError:
            # A link that leads nowhere, as /etc/sysctl.d/99-sysctl.conf often does.
            continue
        for key, value in assignments(text).items():
            said[key] = (path, value)
    wanted = {key: (relative_path(key), normal(value)) for key, value in settings.items()}
    return [
        f"{key} is {value} now, but {said[place][0]} is read later at boot and says {said[place][1]}; remove it there"
        for key, (place, value) in sorted(wanted.items())
        if place in said and said[place][1] != value
    ]
