# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role postgresql computes: settings for a machine's size, a password's verifier, and who else is primary."""

from __future__ import annotations

import base64
import hashlib
import hmac
import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.matrixon.ops.plugins.module_utils import _postgresql_host as host
from ansible_collections.matrixon.ops.plugins.module_utils import _postgresql_tuning as tuning

ITERATIONS = 4096


def postgresql_settings(
    machine: dict[str, t.Any],
    connections: int,
    storage: str = "ssd",
    standbys: int = 0,
    overrides: dict[str, t.Any] | None = None,
    at_least: dict[str, int] | None = None,
) -> list[tuning.Setting]:
    """Return the settings for a machine, each with its reason."""
    try:
        computed = tuning.settings(
            memory_bytes=int(machine["memory_bytes"]),
            cores=int(machine["cores"]),
            connections=int(connections),
            storage=storage,
            standbys=int(standbys),
            major=int(machine.get("major", 0)),
        )
        return tuning.merge(computed, overrides or {}, at_least)
    except KeyError as error:
        raise AnsibleFilterError(f"postgresql_settings: the machine has no {error}") from error
    except (TypeError, ValueError) as error:
        raise AnsibleFilterError(f"postgresql_settings: {error}") from error


def postgresql_verifier(password: str, user: str) -> str:
    """Return the SCRAM verifier that a server stores for a password.

    The same one at each call, so that a second run sees no difference: the
    salt is made of the password itself and the login. With it the password
    never goes to the server, whose log and statistics keep statements.
    """
    secret = password.encode()
    salt = hmac.new(secret, b"matrixon.ops salt " + user.encode(), hashlib.sha256).digest()[:16]
    salted = hashlib.pbkdf2_hmac("sha256", secret, salt, ITERATIONS)
    client = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
    stored = hashlib.sha256(client).digest()
    server = hmac.new(salted, b"Server Key", hashlib.sha256).digest()
    salt64, stored64, server64 = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${ITERATIONS}:{salt64}${stored64}:{server64}"


def postgresql_rivals(found: dict[str, t.Any], results: list[dict[str, t.Any]]) -> list[str]:
    """Return why a server must not be started as the primary, from what a loop over the others registered."""
    try:
        return host.rivals(found, {str(one["item"]): one if "data" in one else None for one in results})
    except (KeyError, TypeError) as error:
        raise AnsibleFilterError(
            f"postgresql_rivals: this is not what matrixon_postgresql_info returns: {error}"
        ) from error
