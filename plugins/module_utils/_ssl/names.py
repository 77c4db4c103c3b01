# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Matrix server names: where they lead, and which name other homeservers ask for there."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.matrixon.ops.plugins.module_utils._delegation import Delegation, split_server_name
from ansible_collections.matrixon.ops.plugins.module_utils._human import span
from ansible_collections.matrixon.ops.plugins.module_utils._report import OK, WARNING
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.model import Endpoint, Finding

DELEGATION = "certificate_delegation"


def endpoints_of(server_name: str, found: Delegation) -> list[Endpoint]:
    """Return every place that a server name leads to as an endpoint whose certificate is judged."""
    places = dict.fromkeys([(found.host, found.port), *found.others])
    return [_endpoint(server_name, replace(found, host=host, port=port)) for host, port in places if host]


def _endpoint(server_name: str, found: Delegation) -> Endpoint:
    return Endpoint(
        label=f"{server_name} ({found})",
        host=found.host,
        port=found.port,
        server_name=found.certificate_name,
        names=(found.certificate_name,),
        why=why(server_name, found),
    )


def why(server_name: str, found: Delegation) -> str:
    """Say why other homeservers ask for this name and for no other."""
    host, _port = split_server_name(server_name)
    asked = found.certificate_name
    first, by_srv = found.steps[0], any(step.startswith("SRV ") for step in found.steps)
    if first.startswith("the server name"):
        reason = "the server name itself says where, so its host is asked for"
    elif first.startswith("well-known says"):
        reason = f"well-known delegates to {asked}, so that is asked for" + (
            f" and not {host}" if asked != host else ""
        )
    elif found.trouble:
        reason = "well-known could not be read, so the server name is asked for"
    elif by_srv:
        reason = "well-known does not delegate, so the server name is asked for"
    else:
        reason = "nothing delegates, so the server name is asked for"
    if by_srv:
        reason += f"; the SRV record only says where to connect, and {found.host} is not asked for"
    return reason


def delegation(server_name: str, found: Delegation) -> Finding:
    """Judge how a server name was resolved."""
    path = "; ".join(found.steps)
    if found.trouble:
        message = f"it leads to {found} only because its well-known could not be read: {found.trouble}"
        return Finding(DELEGATION, WARNING, message, error_kind=found.trouble.kind)
    kept = "" if found.kept is None else f"; when it changes, others keep that for up to {span(found.kept)}"
    text = f"it leads to {found}, with a certificate for {found.certificate_name} ({path}){kept}"
    return Finding(DELEGATION, OK, text)
