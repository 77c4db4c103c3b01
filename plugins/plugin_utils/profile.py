# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of a homeserver product, by the name of its profile.

A filter and not a task, so that the defaults of the role may use them: Ansible
validates a role's variables before it runs the role's first task.
"""

from __future__ import annotations

import functools
import pathlib
import typing as t

import yaml
from ansible.errors import AnsibleFilterError

PROFILES = pathlib.Path(__file__).resolve().parents[2] / "roles/matrixon/files/profiles"


# Each task of each host is worked out in a process of its own, which reads the profile again: libyaml does so in a
# tenth of the time.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@functools.cache
def _load(name: str) -> dict[str, t.Any]:
    facts: dict[str, t.Any] = yaml.load((PROFILES / f"{name}.yml").read_text(encoding="utf-8"), Loader=LOADER)
    return facts


def profile_facts(name: t.Any) -> dict[str, t.Any]:
    """Return the facts of a profile, or say which profiles there are."""
    known = sorted(path.stem for path in PROFILES.glob("*.yml"))
    if name not in known:
        raise AnsibleFilterError(f"matrixon_profile: {name!r} is not a profile; known are {', '.join(known)}")
    return _load(str(name))
