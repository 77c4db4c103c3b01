# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The words of the security report: kinds of events, what is counted of them, and the checks, declared once."""

from __future__ import annotations

import functools
import ipaddress
import typing as t
from dataclasses import dataclass

SERVER, HOST = "homeserver", "host"


@dataclass(frozen=True)
class Kind:
    """One kind of event. ``origin`` is the log that tells of it: the homeserver's, or that of the host's own logins."""

    name: str
    title: str
    origin: str = SERVER


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("login_wrong_password", "wrong passwords"),
        Kind("login_unknown_user", "logins of unknown users"),
        Kind("rate_limited", "requests over a rate limit"),
        Kind("registration_refused", "refused registrations"),
        Kind("admin_refused", "refused calls of the admin API"),
        Kind("token_refused", "invalid access tokens"),
        Kind("account_locked", "requests of locked accounts"),
        Kind("ban", "bans from rooms"),
        Kind("kick", "kicks from rooms"),
        Kind("banned_user", "attempts of banned users to join"),
        Kind("federation_signature", "federation requests with a wrong signature"),
        Kind("federation_refused", "federation requests of servers that are not admitted"),
        Kind("ssh_failed", "failed SSH logins", HOST),
        Kind("ssh_unknown_user", "SSH logins of unknown users", HOST),
        Kind("sudo_failed", "wrong passwords for sudo", HOST),
        Kind("sudo_refused", "sudo by users who may not", HOST),
    )
}

# What moderators do is told, and makes nobody stand out.
MODERATION = ("ban", "kick")

# What the largest number is sought of.
MINUTE, SOURCE, USER, TOTAL = "minute", "source", "user", "total"


@dataclass(frozen=True)
class Check:
    """A count with thresholds: of these kinds, the most that one minute, address or user has within the window.

    A source is an IPv4 address, or the /64 of an IPv6 address: whoever has one of these has all of it.
    """

    name: str
    summary: str
    kinds: tuple[str, ...]
    per: str
    warning: float | None
    critical: float | None

    @property
    def origin(self) -> str:
        """Return which log tells of it."""
        return KINDS[self.kinds[0]].origin


LOGINS = ("login_wrong_password", "login_unknown_user")
COUNTED: tuple[Check, ...] = (
    Check("failed_logins_minute", "failed logins in the worst minute", LOGINS, MINUTE, 30, 120),
    Check("failed_logins_address", "failed logins from one address within the window", LOGINS, SOURCE, 20, 100),
    Check("failed_logins_user", "failed logins for one user within the window", LOGINS, USER, 20, 100),
    Check("rate_limited_minute", "requests over a rate limit in the worst minute", ("rate_limited",), MINUTE, 60, 600),
    Check("rate_limited_address", "requests over a limit from one address", ("rate_limited",), SOURCE, 100, 1000),
    Check(
        "registrations_refused", "refused registrations from one address", ("registration_refused",), SOURCE, 20, 200
    ),
    Check("admin_refused", "calls of the admin API without the right", ("admin_refused",), TOTAL, 1, 20),
    Check("tokens_refused", "invalid access tokens from one address", ("token_refused",), SOURCE, 100, 1000),
    Check(
        "accounts_misused",
        "requests of locked accounts and joins of banned users",
        ("account_locked", "banned_user"),
        TOTAL,
        20,
        None,
    ),
    Check("bans", "bans and kicks, for information", ("ban", "kick"), TOTAL, None, None),
    Check(
        "federation_refused",
        "federation requests with a wrong signature or of servers that are not admitted",
        ("federation_signature", "federation_refused"),
        SOURCE,
        100,
        None,
    ),
    Check(
        "ssh_failed_address", "failed SSH logins from one address", ("ssh_failed", "ssh_unknown_user"), SOURCE, 20, 200
    ),
    Check(
        "ssh_failed_minute",
        "failed SSH logins in the worst minute",
        ("ssh_failed", "ssh_unknown_user"),
        MINUTE,
        30,
        120,
    ),
    Check("sudo_refused", "wrong passwords and refusals of sudo", ("sudo_failed", "sudo_refused"), TOTAL, 3, 20),
)


@dataclass(frozen=True)
class Plain:
    """A check that is not a count of events."""

    name: str
    summary: str
    warning: float | None = None
    critical: float | None = None
    fixed: bool = True


LOG = Plain("security_log", "a log was read from where the last run ended, without a gap")
CURSOR = Plain("security_cursor", "the place up to which the logs were read is known")
CLOCK = Plain("security_clock", "seconds by which the times in a log go back or lie ahead", 60, 3600, False)
ADDRESSES = Plain("security_addresses", "the log names the addresses of clients, and not that of a proxy")
CONNECTIONS = Plain("connections_address", "connections of one address to the service ports", 200, 2000, False)
FAIL2BAN = Plain("fail2ban", "fail2ban answers and has the jails that it should have")
PLAIN = (LOG, CURSOR, CLOCK, ADDRESSES, CONNECTIONS, FAIL2BAN)

CHECKS: dict[str, Check | Plain] = {
    **{check.name: check for check in COUNTED},
    **{check.name: check for check in PLAIN},
}


class Event(t.NamedTuple):
    """Something that a log line tells. ``unit`` is the process whose request ids these are."""

    kind: str
    seconds: float
    unit: str
    request: str | None = None
    address: str | None = None
    user: str | None = None
    detail: str | None = None
    times: int = 1


class Access(t.NamedTuple):
    """The line that ends a request."""

    unit: str
    request: str
    address: str
    user: str | None
    internal: bool


# The same few addresses come again and again, and reading one costs more than the rest of its line.
@functools.lru_cache(maxsize=65536)
def address_of(text: str) -> str | None:
    """Return an IP address as it is written canonically, mapped IPv4 as IPv4; None for anything else."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


@functools.lru_cache(maxsize=65536)
def source_of(address: str) -> str:
    """Return whom an address stands for: itself, or the /64 of an IPv6 address."""
    if ":" not in address or ipaddress.ip_address(address).is_loopback:
        return address
    return str(ipaddress.ip_network((address, 64), strict=False))
