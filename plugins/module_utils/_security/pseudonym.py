# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Names in the stead of addresses and users: always the same on one host, and no way back without its key."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._security.tally import OTHERS

LENGTH = 10
ADDRESSES, USERS = "addresses", "users"


class Names:
    """Names people and addresses as a report may show them. ``shown`` holds what is shown as it is."""

    def __init__(self, key: bytes, shown: t.Collection[str] = ()) -> None:
        self._key = key
        self._shown = shown

    def address(self, text: str) -> str:
        """Return an address or network under its pseudonym. Loopback is nobody, and tells of a proxy."""
        if ADDRESSES in self._shown or text == OTHERS or _is_loopback(text):
            return text
        if "/" in text:
            return f"net6-{self._digest('network', text)}"
        return f"{'ip6' if ':' in text else 'ip4'}-{self._digest('address', text)}"

    def user(self, text: str) -> str:
        """Return a user under its pseudonym."""
        if USERS in self._shown or text == OTHERS:
            return text
        return f"user-{self._digest('user', text)}"

    def _digest(self, sort: str, text: str) -> str:
        return hmac.new(self._key, f"{sort}\0{text}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[
            :LENGTH
        ]


def _is_loopback(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False
